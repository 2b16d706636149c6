# SPDX-License-Identifier: Apache-2.0
"""Clients as people have them, run for real. Those that are not installed are skipped: `./dev clients` installs them,
in a folder that $WEIR_CLIENTS names."""

import os
import shutil
import subprocess
import sys
import textwrap
import time
import unittest

import harness

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
pipelines:
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


if __name__ == '__main__':
    harness.main()
