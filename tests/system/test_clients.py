# SPDX-License-Identifier: Apache-2.0
"""Clients as people have them, run for real. Those that are not installed are skipped: `./dev clients` installs them,
in a folder that $WEIR_CLIENTS names."""

import gzip
import http.client
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
import unittest
import unittest.mock

import harness

try:
    import tomllib
except ImportError:  # before 3.11
    tomllib = None

BIN = os.path.join(os.environ.get('WEIR_CLIENTS', os.path.join(harness.BUILD, 'clients')), 'bin')
T0_S = 1700000000
CONFIG = '''
server: {listen: {listen}, database: {folder}/weir.db}
streams:
  cpu:
    time: {field: time}
    fields: {host: string, cpu: string, usage: float, n: int, up: bool, note: string}
  telegraf:
    time: arrival
    fields:
      host: {type: string, path: "metrics[*].tags.host", each: true}
      usage: {type: float, path: "metrics[*].fields.usage", each: true}
  up: {time: {field: time}, fields: {job: string, instance: string, value: float}}
  process_open_fds: {time: {field: time}, fields: {job: string, value: int}}
  all: {time: {field: time}, fields: {metric: {type: string, name: __name__}, stream: string, value: float}}
  checkout_items:
    time: {field: time}
    fields: {country: string, service: {type: string, name: service.name}, value: int, unit: string}
  checkout_seconds:
    time: {field: time}
    fields: {country: string, count: int, sum: float, min: float, max: float}
  logs:
    time: {field: time}
    fields: {body: string, severity_text: string, severity_number: int, order: int, ok: bool, ratio: float,
             service: {type: string, name: service.name}, trace_id: string}
pipelines:
  up_rows: {from: up, window: none, select: [job, instance, value]}
  fds_rows: {from: process_open_fds, window: none, select: [job, value]}
  all_rows: {from: all, window: none, select: [metric, stream, value]}
  items_rows: {from: checkout_items, window: none, select: [country, service, value, unit]}
  seconds_rows: {from: checkout_seconds, window: none, select: [country, count, sum, min, max]}
  logs_rows: {from: logs, window: none, select: [body, severity_text, severity_number, order, ok, ratio, service, trace_id]}
  telegraf_rows: {from: telegraf, window: none, select: [host, usage]}
  cpu_rows: {from: cpu, window: none, select: [host, cpu, usage, n, up, note]}
'''
COLUMNS = 'time, host, cpu, usage, n, up, note'


def program(name):
    found = shutil.which(name, path=BIN + os.pathsep + os.environ['PATH'])
    if not found:
        raise unittest.SkipTest(f'no {name}; ./dev clients')
    return found


def python(*modules):
    """A Python that has the modules."""
    for candidate in (os.path.join(BIN, 'python3'), sys.executable):
        if os.path.exists(candidate) and subprocess.run([candidate, '-c', 'import ' + ', '.join(modules)],
                                                        stderr=subprocess.DEVNULL, check=False).returncode == 0:
            return candidate
    raise unittest.SkipTest(f'no {modules[0]}; ./dev clients')


class Clients(unittest.TestCase):
    def setUp(self):
        self.server = harness.Server(CONFIG)
        self.server.__enter__()
        self.addCleanup(self.server.__exit__, None, None, None)
        self.url = f'http://127.0.0.1:{self.server.port}'

    def run_python(self, modules, script, status=0):
        done = subprocess.run([python(*modules), '-c', textwrap.dedent(script), self.url], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=harness.LIMIT_S, check=False)
        self.assertEqual(done.returncode, status, done.stdout)
        return done.stdout

    def wait_rows(self, expected, table='cpu_rows', columns=COLUMNS):
        harness.wait_until(lambda: len(self.server.rows(f'SELECT * FROM {table}')) >= len(expected), f'rows of {table}')
        self.assertEqual(self.server.rows(f'SELECT {columns} FROM {table} ORDER BY 1, 2'), expected)

    def wait_count(self, table, n):
        harness.wait_until(lambda: len(self.server.rows(f'SELECT * FROM {table}')) == n, f'{n} rows of {table}')

    # ---- InfluxDB --------------------------------------------------------------------------------

    def test_influxdb_client(self):
        said = self.run_python(['influxdb_client'], f'''
            import sys
            from influxdb_client import InfluxDBClient, Point, WritePrecision
            from influxdb_client.client.write_api import SYNCHRONOUS
            from influxdb_client.rest import ApiException
            with InfluxDBClient(url=sys.argv[1], token='any', org='any', enable_gzip=True) as client:
                assert client.ping()
                assert client.health().status == 'pass'
                with client.write_api(write_options=SYNCHRONOUS) as writer:
                    writer.write('bucket', record=[
                        Point('cpu').tag('host', 'a, b=c').field('usage', 1.5).field('n', 7).field('up', True)
                                    .field('note', 'say "hi"\\\\ \\n\\u00e4').time({T0_S} * 10**9 + 5000, WritePrecision.NS),
                        Point('cpu').field('usage', 2).field('ignored', 1).time({T0_S + 1}, WritePrecision.S)])
                    try:
                        writer.write('bucket', record='cpu usage="hot" 1')
                        sys.exit('it was taken')
                    except ApiException as e:
                        print(e.status, e.body)
                with client.write_api() as writer:  # in the background
                    writer.write('bucket', record=[f'cpu,host=h usage={{i}} {{{T0_S + 2} + i}}' for i in range(100)],
                                 write_precision=WritePrecision.S)
            ''')
        self.assertIn('400', said)
        self.assertIn("line 1: field 'usage': expected a number", said)
        first = [(T0_S * 10**6 + 5, 'a, b=c', None, 1.5, 7, 1, 'say "hi"\\ \nä'),
                 ((T0_S + 1) * 10**6, None, None, 2.0, None, None, None)]
        self.wait_rows(first + [((T0_S + 2 + i) * 10**6, 'h', None, float(i), None, None, None) for i in range(100)])

    def test_influxdb3_python(self):
        said = self.run_python(['influxdb_client_3'], f'''
            import sys
            from influxdb_client_3 import InfluxDBClient3, Point
            with InfluxDBClient3(host=sys.argv[1], token='any', database='any') as client:
                client.write(Point('cpu').tag('cpu', 'cpu0').field('usage', 0.25).time({T0_S} * 10**9))
                try:
                    client.write(['cpu usage=1 {T0_S + 1}000000000', 'cpu n=true'])
                    sys.exit('it was taken')
                except Exception as e:
                    print(e)
            ''')
        self.assertIn("line 2: field 'n': expected a whole number, got true", said)
        self.wait_rows([(T0_S * 10**6, None, 'cpu0', 0.25, None, None, None),
                        ((T0_S + 1) * 10**6, None, None, 1.0, None, None, None)])

    # ---- Prometheus ------------------------------------------------------------------------------

    def test_prometheus(self):
        if self.server.request('POST', '/api/v1/write', b'').status == 404:
            self.skipTest('built without snappy')
        config = os.path.join(self.server.folder, 'prometheus.yml')
        with open(config, 'w', encoding='ascii') as file:
            file.write(f'''
global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}
scrape_configs:
  - job_name: weir
    static_configs: [{{targets: ["127.0.0.1:{self.server.port}"]}}]
remote_write:
  - url: {self.url}/api/v1/write
    queue_config: {{batch_send_deadline: 200ms}}
  - url: {self.url}/api/v1/write?stream=all
    queue_config: {{batch_send_deadline: 200ms}}
''')
        port = harness.free_port()
        log = open(os.path.join(self.server.folder, 'prometheus.log'), 'w+', encoding='utf-8')
        self.addCleanup(log.close)
        process = subprocess.Popen([program('prometheus'), '--config.file', config, '--storage.tsdb.path',
                                    os.path.join(self.server.folder, 'tsdb'), '--web.listen-address',
                                    f'127.0.0.1:{port}'], stdout=log, stderr=log)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        harness.wait_until(lambda: len(self.server.rows('SELECT * FROM up_rows')) >= 3, 'three samples of up')
        harness.wait_until(lambda: self.server.rows("SELECT * FROM all_rows WHERE stream = 'up' AND value > 0 "
                                                    "AND metric = 'weir_ingest_requests_total'"), "weir's own metrics")
        self.assertTrue(all(job == 'weir' and value > 5
                            for job, value in self.server.rows('SELECT job, value FROM fds_rows')))
        self.assertEqual(set(self.server.rows('SELECT job, instance, value FROM up_rows')),
                         {('weir', f'127.0.0.1:{self.server.port}', 1.0)})
        now = time.time() * 10**6
        for (t,) in self.server.rows('SELECT time FROM up_rows'):
            self.assertLess(abs(now - t), 60 * 10**6)
        log.seek(0)
        self.assertNotIn('level=error', log.read())

    def test_promtool(self):
        self.assertEqual(self.server.request('POST', '/write', b'cpu usage=1\n').status, 204)
        self.wait_count('cpu_rows', 1)
        done = subprocess.run([program('promtool'), 'check', 'metrics'], input=self.server.get('/metrics').body,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        self.assertEqual((done.returncode, done.stdout), (0, b''))

    # ---- OpenTelemetry ---------------------------------------------------------------------------

    def test_opentelemetry(self):
        begin = time.time() * 10**6
        self.run_python(['opentelemetry.sdk', 'opentelemetry.exporter.otlp.proto.http'], '''
            import logging, sys
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.metrics import MeterProvider
            from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
            from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
            from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
            from opentelemetry.exporter.otlp.proto.http import Compression
            from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
            from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
            resource = Resource.create({'service.name': 'shop'})
            reader = PeriodicExportingMetricReader(OTLPMetricExporter(endpoint=sys.argv[1] + '/v1/metrics'),
                                                   export_interval_millis=3600000)
            meters = MeterProvider([reader], resource=resource)
            meter = meters.get_meter('test')
            items = meter.create_counter('checkout.items', unit='1')
            items.add(3, {'country': 'DE', 'list': ['a', 'b']})
            items.add(4, {'country': 'FR'})
            items.add(5, {'country': 'DE', 'list': ['a', 'b']})
            seconds = meter.create_histogram('checkout.seconds')
            for v in (0.25, 1.5, 0.75):
                seconds.record(v, {'country': 'DE'})
            meter.create_counter('nobody.wants').add(1)
            assert meters.shutdown() is None
            logs = LoggerProvider(resource=resource)
            logs.add_log_record_processor(SimpleLogRecordProcessor(
                OTLPLogExporter(endpoint=sys.argv[1] + '/v1/logs', compression=Compression.Gzip)))
            logger = logging.getLogger('shop')
            logger.addHandler(LoggingHandler(logger_provider=logs))
            logger.error('declined \u00e4 %d', 7, extra={'order': 7, 'ok': False, 'ratio': 0.5})
            logger.warning('slow')
            logs.shutdown()
            ''')
        columns = 'body, severity_text, severity_number, "order", ok, ratio, service'
        harness.wait_until(lambda: len(self.server.rows('SELECT * FROM logs_rows')) == 2, 'two records')
        self.assertEqual(self.server.rows(f'SELECT {columns} FROM logs_rows ORDER BY time'),
                         [('declined ä 7', 'ERROR', 17, 7, 0, 0.5, 'shop'),
                          ('slow', 'WARN', 13, None, None, None, 'shop')])
        harness.wait_until(lambda: len(self.server.rows('SELECT * FROM items_rows')) == 2, 'two points')
        self.assertEqual(self.server.rows('SELECT country, service, value, unit FROM items_rows ORDER BY country'),
                         [('DE', 'shop', 8, '1'), ('FR', 'shop', 4, '1')])
        harness.wait_until(lambda: self.server.rows('SELECT * FROM seconds_rows'), 'a histogram')
        self.assertEqual(self.server.rows('SELECT country, count, sum, min, max FROM seconds_rows'),
                         [('DE', 3, 2.5, 0.25, 1.5)])
        for table in ('logs', 'items', 'seconds'):
            for (t,) in self.server.rows(f'SELECT time FROM {table}_rows'):
                self.assertTrue(begin - 1 <= t <= time.time() * 10**6)

    # ---- Telegraf --------------------------------------------------------------------------------

    def telegraf(self, output, lines):
        config = os.path.join(self.server.folder, 'telegraf.conf')
        source = os.path.join(self.server.folder, 'lines')
        with open(source, 'w', encoding='ascii') as file:
            file.write(lines)
        with open(config, 'w', encoding='ascii') as file:
            file.write(f'''
                [agent]
                  omit_hostname = true
                {output}
                [[inputs.file]]
                  files = ["{source}"]
                  data_format = "influx"
                ''')
        done = subprocess.run([program('telegraf'), '--config', config, '--once'], text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=harness.LIMIT_S, check=False)
        self.assertEqual(done.returncode, 0, done.stdout)
        return done.stdout

    def test_telegraf(self):
        lines = ''.join(f'cpu,host=h\\ {i % 3},cpu=cpu{i} usage={i}.5,n={i}i,up=true,extra=1 {T0_S + i}000000000\n'
                        f'mem,host=h free={i}i {T0_S + i}000000000\n' for i in range(50))
        rows = [((T0_S + i) * 10**6, f'h {i % 3}', f'cpu{i}', i + .5, i, 1, None) for i in range(50)]
        said = self.telegraf(f'[[outputs.influxdb_v2]]\nurls = ["{self.url}"]\ntoken = "any"\n'
                             'organization = "any"\nbucket = "any"', lines)
        self.assertNotIn('Failed', said)
        self.wait_rows(rows)
        said = self.telegraf(f'[[outputs.influxdb]]\nurls = ["{self.url}"]\nskip_database_creation = true',
                             lines.replace(f' {T0_S // 100}', f' {T0_S // 100 + 1}'))
        self.assertNotIn('Failed', said)
        self.wait_rows(rows + [(t + 100 * 10**6, *rest) for t, *rest in rows])

    def test_telegraf_json_to_columns(self):
        for i, (units, encoding) in enumerate((('1s', 'identity'), ('1ms', 'gzip'), ('1ns', 'gzip'))):
            first = T0_S + 1000 * i
            said = self.telegraf(f'[[outputs.http]]\nurl = "{self.url}/api/v1/telegraf"\ndata_format = "json"\n'
                                 f'json_timestamp_units = "{units}"\ncontent_encoding = "{encoding}"',
                                 ''.join(f'cpu,host=h\\ {i % 3},cpu=cpu{i} usage={i}.5,n={i}i,up=true,extra=1 {first + i}000000000\n'
                                         f'mem,host=h free={i}i {first + i}000000000\n' for i in range(50)))
            self.assertNotIn('rror', said)
        self.wait_rows([((T0_S + 1000 * k + i) * 10**6, f'h {i % 3}', f'cpu{i}', i + .5, i, 1, None)
                        for k in range(3) for i in range(50)])

    def test_telegraf_json(self):
        said = self.telegraf(f'[[outputs.http]]\nurl = "{self.url}/api/v1/streams/telegraf/events"\n'
                             'data_format = "json"\n[outputs.http.headers]\nContent-Type = "application/json"',
                             ''.join(f'cpu,host=h{i:02} usage={i}.5 {T0_S + i}000000000\n' for i in range(20)))
        self.assertNotIn('rror', said)
        self.wait_rows([(f'h{i:02}', i + .5) for i in range(20)], 'telegraf_rows', 'host, usage')

    def test_telegraf_hears_what_is_wrong(self):
        begin = time.monotonic()
        for output in ('influxdb_v2', 'influxdb'):
            said = self.telegraf(f'[[outputs.{output}]]\nurls = ["{self.url}"]\n' +
                                 ('skip_database_creation = true' if output == 'influxdb' else 'bucket = "b"'),
                                 'cpu usage="hot" 1\n')
            self.assertIn("line 1: field 'usage': expected a number", said)
        self.assertLess(time.monotonic() - begin, harness.LIMIT_S)


class Recipe(unittest.TestCase):
    """The blocks of docs/clients.md, as they are but for the port."""

    @classmethod
    def read(cls):
        with open(os.path.join(harness.SOURCE, 'docs', 'clients.md'), encoding='utf-8') as file:
            cls.text = file.read()
        cls.blocks = dict(re.findall(r'^```\w+ (\S+)\n(.*?)^```$', cls.text, re.M | re.S))
        return cls.blocks['weir.yaml'].replace('127.0.0.1:8080', '{listen}').replace('weir.db', '{folder}/weir.db')

    def recipe(self, name):
        """The path of a file with it."""
        text = self.blocks[name].replace('127.0.0.1:8080', f'127.0.0.1:{self.server.port}')
        path = os.path.join(self.server.folder, name)
        with open(path, 'w', encoding='utf-8') as file:
            file.write(text.replace("'127.0.0.1', 8080", f"'127.0.0.1', {self.server.port}"))
        return path

    def run_recipe(self, command, name):
        done = subprocess.run([*command, self.recipe(name)], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=harness.LIMIT_S, cwd=self.server.folder, check=False)
        self.assertEqual(done.returncode, 0, done.stdout)
        return done.stdout

    def start(self, *command):
        with open(os.path.join(self.server.folder, 'log'), 'wb') as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                                       cwd=self.server.folder, start_new_session=True)

        def end(by=signal.SIGTERM):
            if process.returncode is None:  # what it has started ends, too
                os.killpg(process.pid, by)
                process.wait()
        self.addCleanup(end)
        return end

    def wait_rows(self, sql, expected):
        harness.wait_until(lambda: len(self.server.rows(sql)) >= len(expected), sql)
        self.assertEqual(self.server.rows(sql), expected)

    def syslog_ng(self, name):
        """Starts it, and logs three lines. Its source is the one that Debian's configuration has, here a socket."""
        path, spool = self.recipe(name), os.path.join(self.server.folder, 'ng.sock')
        with open(path, 'r+', encoding='ascii') as file:
            recipe = file.read()
            file.seek(0)
            file.write('@version: 3.38\noptions { time-zone("UTC"); };\n'
                       f'source s_src {{ unix-dgram("{spool}" host-override("host")); }};\n{recipe}')
        own = [f'--{name}={os.path.join(self.server.folder, "ng." + name)}' for name in ('persist-file', 'pidfile', 'control')]
        self.start(program('syslog-ng'), '-F', '--no-caps', '-f', path, *own)
        harness.wait_until(lambda: os.path.exists(spool), 'the socket')
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            harness.wait_until(lambda: s.connect_ex(spool) == 0, 'that it listens')
            for i in range(3):
                s.send(f'<13>2026-01-02T03:04:0{i}.5+00:00 ng: said "{i}"\n'.encode())
        self.wait_rows("SELECT timereported, hostname, program, msg FROM syslog_rows WHERE program = 'ng' ORDER BY 1",
                       [(1767323040 * 10**6 + i * 10**6, 'host', 'ng', f'said "{i}"') for i in range(3)])


class Recipes(Recipe):
    @classmethod
    def setUpClass(cls):
        cls.server = harness.Server.for_class(cls, cls.read())

    def test_curl(self):
        self.run_recipe([program('bash')], 'curl.sh')
        self.wait_rows("SELECT page, ms FROM clicks_rows WHERE ts < strftime('%s', '2026-01-02 03:05:00') * 1000000 "
                       'ORDER BY ts', [('/', 12.5), ('/cart', 7.0), ('/pay', 31.0)])

    def test_python(self):
        said = self.run_recipe([sys.executable], 'events.py')
        self.assertEqual((said[:3], json.loads(said[3:])['accepted']), ('200', 3))

    def test_node(self):
        said = self.run_recipe([program('node')], 'node.mjs')
        self.assertEqual((said[:3], json.loads(said[3:])['accepted']), ('200', 2))

    def test_influxdb(self):
        self.run_recipe([python('influxdb_client')], 'influx.py')
        self.wait_rows("SELECT usage FROM mem_rows WHERE host = 'python' ORDER BY usage", [(0.0,), (0.25,), (0.5,)])

    def test_readers_of_arrow(self):
        self.run_recipe([sys.executable], 'events.py')
        harness.wait_until(lambda: self.server.rows("SELECT * FROM clicks_rows WHERE page = '/' AND ms = 1"), 'the last event')
        said = self.run_recipe([python('pyarrow')], 'frames.py')
        self.assertIn('timestamp[us, tz=UTC]', said)
        self.assertIn('datetime.datetime(2026, 1, 2, 3, 5, 2, ', said)
        n, mean, total = self.server.rows("SELECT count(*), avg(ms), sum(ms) FROM clicks_rows WHERE page = '/'")[0]
        for modules, name, shown in ((['polars'], 'means.py', f'│ / +┆ {mean:.4g}'),
                                     (['duckdb', 'pyarrow'], 'newest.py', rf"\('/', {n}, datetime"),
                                     (['pandas', 'pyarrow'], 'sums.py', rf'^/ +{total}')):
            with self.subTest(name):
                self.assertRegex(self.run_recipe([python(*modules)], name), re.compile(shown, re.M))

    def test_telegraf(self):
        self.run_recipe([program('telegraf'), '--once', '--config'], 'telegraf.conf')
        harness.wait_until(lambda: self.server.rows("SELECT * FROM mem_rows WHERE host <> 'python' AND "
                                                    'usage BETWEEN 0 AND 100'), 'a row of Telegraf')

    def test_telegraf_json(self):
        self.run_recipe([program('telegraf'), '--once', '--config'], 'telegraf-json.conf')
        harness.wait_until(lambda: self.server.rows("SELECT * FROM mem_rows WHERE host <> 'python' AND "
                                                    'usage BETWEEN 0 AND 100'), 'a row of Telegraf')

    def test_opentelemetry_of_javascript(self):
        modules = os.path.join(os.path.dirname(BIN), 'node', 'node_modules')
        if not os.path.isdir(os.path.join(modules, '@opentelemetry', 'sdk-metrics')):
            self.skipTest('no @opentelemetry/sdk-metrics; ./dev clients')
        os.symlink(modules, os.path.join(self.server.folder, 'node_modules'))
        self.run_recipe([program('node')], 'otel.mjs')
        self.wait_rows("SELECT country, value FROM items_rows WHERE country = 'NL'", [('NL', 5)])

    def test_prometheus(self):
        if self.server.request('POST', '/api/v1/write', b'').status == 404:
            self.skipTest('built without snappy')
        port = harness.free_port()
        self.start(program('prometheus'), '--config.file', self.recipe('prometheus.yml'), '--storage.tsdb.path',
                   os.path.join(self.server.folder, 'tsdb'), '--web.listen-address', f'127.0.0.1:{port}')
        harness.wait_until(lambda: self.server.rows("SELECT * FROM up_rows WHERE job = 'weir' AND value = 1"), 'up')
        harness.wait_until(lambda: self.server.rows("SELECT * FROM samples_rows WHERE metric = 'process_open_fds'"),
                           'process_open_fds')
        self.assertEqual(self.server.rows("SELECT * FROM samples_rows WHERE metric NOT LIKE 'process_%'"), [])

    def test_opentelemetry(self):
        self.run_recipe([python('opentelemetry.sdk', 'opentelemetry.exporter.otlp.proto.http')], 'otel.py')
        self.wait_rows("SELECT country, service, value FROM items_rows WHERE service = 'shop' ORDER BY country",
                       [('DE', 'shop', 3), ('FR', 'shop', 4)])

    def test_rsyslog(self):
        """What it is given comes over a socket here."""
        path, spool = self.recipe('rsyslog.conf'), os.path.join(self.server.folder, 'log.sock')
        with open(path, 'r+', encoding='ascii') as file:
            recipe = file.read()
            file.seek(0)
            file.write(f'module(load="imuxsock" SysSock.Use="off")\ninput(type="imuxsock" Socket="{spool}" '
                       f'CreatePath="on")\n{recipe}')
        self.start(program('rsyslogd'), '-n', '-f', path, '-i', os.path.join(self.server.folder, 'pid'))
        harness.wait_until(lambda: os.path.exists(spool), 'the socket')
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.connect(spool)
            for i in range(3):
                s.send(f'<13>Jan  2 03:04:0{i} shop: said "{i}"\n'.encode())
        self.wait_rows("SELECT program, msg FROM syslog_rows WHERE program = 'shop' ORDER BY msg",
                       [('shop', f' said "{i}"') for i in range(3)])

    def test_journald(self):
        """A journal of its own, to which entries are put as from another machine."""
        journal = os.path.join(self.server.folder, 'test.journal')
        remote, script = program('systemd-journal-remote'), self.recipe('journald.sh')

        def put(*messages):
            text = b''.join(f'__CURSOR=s=1;i={i}\n__REALTIME_TIMESTAMP={1767323000 + i}000007\n__MONOTONIC_TIMESTAMP={i}\n'
                            f'_BOOT_ID={1:032x}\n_SYSTEMD_UNIT=shop.service\nPRIORITY={i % 8}\nMESSAGE\n'.encode() +
                            len(text).to_bytes(8, 'little') + text + b'\n\n' for i, text in messages)
            subprocess.run([remote, '-o', journal, '-'], input=text, check=True, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL, timeout=harness.LIMIT_S)

        def said(i):
            return i, f'said "{i}"'.encode()

        def rows(n):
            self.wait_rows('SELECT time, unit, priority, message FROM journal_rows ORDER BY time',
                           [((1767323000 + i) * 10**6 + 7, 'shop.service', i % 8, f'said "{i}"' if i != 22 else None)
                            for i in range(n)])

        def follow():
            return self.start(program('bash'), '-c', f'journalctl() {{ exec {shlex.quote(program("journalctl"))} '
                              f'--file={shlex.quote(journal)} "$@"; }}; . {shlex.quote(script)}')

        put(*map(said, range(20)))  # more than the ten that -f shows by itself
        end = follow()
        rows(20)
        put(said(20))
        rows(21)
        end()
        put(said(21), (22, b'x' * 5000), (23, b'\xff'))
        follow()
        rows(23)
        harness.wait_until(lambda: [letter['reason'] for letter in self.server.get_json('/api/v1/streams/journal/dead-letters')],
                           'the message that is not UTF-8')

    def send_packed(self, path, content_type, lines):
        answer = self.server.request('POST', path, gzip.compress(lines.encode()),
                                     {'Content-Type': content_type, 'Content-Encoding': 'gzip'})
        self.assertEqual((answer.status, json.loads(answer.body)['accepted']), (200, 2))

    def test_fluent_bit_as_its_manual_says(self):
        said = dict(line.split(None, 1) for line in self.blocks['fluent-bit.conf'].splitlines()[1:])
        self.assertEqual((said['Host'], said['Port'], said['Format'], said['compress'], said['json_date_format']),
                         ('127.0.0.1', '8080', 'json_lines', 'gzip', 'iso8601'))
        name, content_type = said['Header'].split()
        self.assertEqual(name, 'Content-Type')
        self.send_packed(said['URI'], content_type, '\n'.join(
            f'{{"{said["json_date_key"]}":"2026-01-02T03:04:0{i}.123456Z","log":"said \\"{i}\\""}}' for i in range(2)))
        self.wait_rows('SELECT timestamp, log FROM app_rows WHERE log IS NOT NULL ORDER BY 1',
                       [(1767323040123456 + i * 10**6, f'said "{i}"') for i in range(2)])

    @unittest.skipIf(tomllib is None, 'this Python reads no TOML')
    def test_vector_as_its_manual_says(self):
        sink = tomllib.loads(self.blocks['vector.toml'])['sinks']['weir']
        self.assertEqual((sink['encoding'], sink['framing'], sink['compression']),
                         ({'codec': 'json'}, {'method': 'newline_delimited'}, 'gzip'))
        self.send_packed(sink['uri'].removeprefix('http://127.0.0.1:8080'), sink['request']['headers']['Content-Type'], ''.join(
            f'{{"file":"/var/log/app","host":"h","message":"said {i}","source_type":"file",'
            f'"timestamp":"2026-01-02T03:04:0{i}.123456789Z"}}\n' for i in range(2)))
        self.wait_rows('SELECT timestamp, host, message FROM app_rows WHERE message IS NOT NULL ORDER BY 1',
                       [(1767323040123456 + i * 10**6, 'h', f'said {i}') for i in range(2)])

    def test_syslog_ng(self):
        self.syslog_ng('syslog-ng.conf')

    def test_grafana(self):
        """What the dashboard asks for is there, under the names it has."""
        self.server.post_ok('mem', [{'time': '2026-02-01T00:00:00Z', 'host': 'g', 'used_percent': 40},
                                    {'time': '2026-02-01T00:00:05Z', 'host': 'g', 'used_percent': 60},
                                    {'time': '2026-02-01T00:01:00Z', 'host': 'g', 'used_percent': 0}])
        with open(os.path.join(harness.SOURCE, 'etc', 'grafana', 'dashboard.json'), encoding='ascii') as file:
            panels = json.load(file)['panels']
        (target,) = panels[0]['targets']
        url = target['url'].replace('${__from:date:iso}', '2026-02-01T00:00:00.000Z') \
                           .replace('${__to:date:iso}', '2026-02-01T00:00:10.000Z')
        rows = harness.wait_until(lambda: self.server.get_json(url), 'a window')
        found = [[row[column['selector']] for column in target['columns']] for row in rows]
        self.assertEqual(found, [['2026-02-01T00:00:00Z', 'g', 50.0]])
        (target,) = panels[1]['targets']
        for row in self.server.get_json(target['url']):
            self.assertLessEqual({column['selector'] for column in target['columns']}, set(row))


class Ends(Recipe):
    """What is between a client and weir while either ends."""

    @classmethod
    def setUpClass(cls):
        cls.server = harness.Server.for_class(cls, cls.read().replace('{listen}', f'127.0.0.1:{harness.free_port()}'))

    def test_telegraf(self):
        """It gathers 1, 2, 3, ... from a script. While the server is away it keeps them, and as it ends it sends them."""
        folder = self.server.folder
        last = os.path.join(folder, 'last')
        with open(os.path.join(folder, 'next.sh'), 'w', encoding='ascii') as file:
            file.write(f'n=$(cat "{last}") && n=$((n + 1)) && echo "mem,host=script used_percent=$n"\n'
                       f'echo $n >"{last}.new" && mv "{last}.new" "{last}"\n')
        with open(last, 'w', encoding='ascii') as file:
            file.write('0')
        path = self.recipe('telegraf.conf')
        with open(path, 'a', encoding='ascii') as file:
            file.write(f'[agent]\n  interval = "100ms"\n  flush_interval = "200ms"\n  flush_jitter = "0s"\n[[inputs.exec]]\n'
                       f'  commands = [\'sh "{folder}/next.sh"\']\n  data_format = "influx"\n  timeout = "1m"\n')

        def gathered():
            with open(last, encoding='ascii') as file:
                return int(file.read())

        def stored():
            return {int(row[0]) for row in self.server.rows("SELECT usage FROM mem_rows WHERE host = 'script'")}

        def wait_for_more(what):
            n = what()
            return harness.wait_until(lambda: what() if what() != n else None, f'more than {n}')

        def start():
            return self.start(program('telegraf'), '--config', path)

        def wait_stored(n):
            harness.wait_until(lambda: max(stored(), default=0) >= n, f'{n} in the table')

        first = start()
        wait_stored(3)
        self.server.kill()
        for _ in range(5):
            wait_for_more(gathered)
        self.server.start()
        wait_stored(gathered() + 1)
        first()
        wait_stored(gathered())
        self.assertEqual(stored(), set(range(1, gathered() + 1)))
        second = start()
        wait_stored(gathered() + 3)
        second(signal.SIGKILL)
        third = start()
        wait_stored(gathered() + 3)
        third()
        wait_stored(gathered())
        lost = sorted(set(range(1, gathered() + 1)) - stored())  # what it had not sent when it was killed
        self.assertEqual(lost, list(range(lost[0], lost[-1] + 1)) if lost else [])


class WebServer(Recipe):
    """weir reads what nginx writes, over a rotation."""

    @classmethod
    def setUpClass(cls):
        cls.read()
        config = cls.blocks['nginx.yaml'].replace('127.0.0.1:8080', '{listen}').replace('weir.db', '{folder}/weir.db')
        cls.server = harness.Server.for_class(cls, config.replace('/var/log/nginx', '{folder}'))

    def test_nginx(self):
        nginx, folder, port = program('nginx'), self.server.folder, harness.free_port()
        path, log = os.path.join(folder, 'main.conf'), os.path.join(folder, 'weir.ndjson')
        with open(path, 'w', encoding='ascii') as file:
            temporary = ''.join(f'{kind}_temp_path {folder}/temp;\n' for kind in (
                'client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'))
            file.write(f'pid {folder}/pid;\nerror_log {folder}/error.log;\nevents {{}}\nhttp {{\n{temporary}'
                       f'{self.blocks["nginx.conf"].replace("/var/log/nginx", folder)}'
                       f'server {{ listen 127.0.0.1:{port}; location / {{ return 404; }} location /shop {{ return 200; }} }}\n}}\n')
        end = self.start(nginx, '-c', path, '-g', 'daemon off; master_process off;')

        def get(uri):
            connection = http.client.HTTPConnection('127.0.0.1', port, timeout=harness.LIMIT_S)
            connection.request('GET', uri)
            answer = connection.getresponse()
            connection.close()
            return answer.status

        def listens():
            try:
                return get('/shop?first')
            except OSError:
                return None

        harness.wait_until(listens, 'nginx')
        self.assertEqual(get('/shop?q=%22a%22'), 200)
        self.assertEqual(get('/no%e9'), 404)
        expected = [('GET', '/no%e9', 404), ('GET', '/shop', 200), ('GET', '/shop', 200)]
        self.wait_rows('SELECT method, path, status FROM requests_rows ORDER BY 2', expected)
        os.rename(log, log + '.1')
        with open(os.path.join(folder, 'pid'), encoding='ascii') as file:
            os.kill(int(file.read()), signal.SIGUSR1)  # as logrotate does
        harness.wait_until(lambda: os.path.exists(log), 'the new file')
        self.assertEqual(get('/shop/new'), 200)
        self.wait_rows('SELECT method, path, status FROM requests_rows ORDER BY 2', expected + [('GET', '/shop/new', 200)])
        end()


class Tokens(Recipe):
    """The same where the server wants a token, said as the table has it."""

    @classmethod
    def setUpClass(cls):
        cls.server = harness.Server(cls.read().replace('{listen: {listen}', '{listen: "{listen}", tokens: {folder}/tokens'))
        cls.token = harness.weir('token', 'new', '-c', cls.server.path, '--may', 'post').stdout.strip()
        cls.server.__enter__()
        cls.addClassCleanup(cls.server.__exit__, None, None, None)

    def put(self, name, client, old, new='{}'):
        """Puts what the table has for a client into its recipe, in the place of `old`."""
        (cell,) = re.findall(rf'^\| {client} \| `(.*)` \|$', self.text, re.M)
        self.assertIn(old, self.blocks[name])
        self.blocks[name] = self.blocks[name].replace(old, new.format(cell.replace('TOKEN', self.token)))

    def test_curl(self):
        self.put('curl.sh', 'curl, also of rsyslog and journald', 'curl -sSf', 'curl -sSf {}')
        self.run_recipe([program('bash')], 'curl.sh')
        self.wait_rows('SELECT page, ms FROM clicks_rows ORDER BY ts', [('/', 12.5), ('/cart', 7.0), ('/pay', 31.0)])

    def test_influxdb(self):
        self.assertIn('| Telegraf, clients of InfluxDB 2 and 3 | their `token` |', self.text)
        self.blocks['influx.py'] = self.blocks['influx.py'].replace("token='-'", f"token='{self.token}'")
        self.run_recipe([python('influxdb_client')], 'influx.py')
        self.wait_rows('SELECT usage FROM mem_rows ORDER BY usage', [(0.0,), (0.25,), (0.5,)])

    def test_opentelemetry(self):
        (cell,) = re.findall(r'^\| OpenTelemetry \| `(\w+)=(.*)` in the environment \|$', self.text, re.M)
        with unittest.mock.patch.dict(os.environ, {cell[0]: cell[1].replace('TOKEN', self.token)}):
            self.run_recipe([python('opentelemetry.sdk', 'opentelemetry.exporter.otlp.proto.http')], 'otel.py')
        self.wait_rows('SELECT country, service, value FROM items_rows ORDER BY country', [('DE', 'shop', 3), ('FR', 'shop', 4)])

    def test_syslog_ng(self):
        self.put('syslog-ng.conf', 'syslog-ng', 'headers("Content-Type: application/x-ndjson")')
        self.syslog_ng('syslog-ng.conf')


if __name__ == '__main__':
    harness.main()
