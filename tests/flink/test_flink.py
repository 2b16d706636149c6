#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A pipeline inside Flink gives the rows that `weir run` gives, and those that are counted here: over a failure and over other
parallelisms; what fails says why.

For `dev flink`: WEIR_FLINK is the folder with libweir-shard.so, weir-flink.jar, the classes of the tests and Flink's jars."""

import collections
import glob
import json
import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'system'))
import apart  # noqa: E402
import broker  # noqa: E402
import harness  # noqa: E402
import postgres  # noqa: E402

FLINK = os.environ['WEIR_FLINK']
T0 = 1700000000000
BEHIND_MS = 3000
EVENTS = 60000
KEYS = 300
MESSAGE = 30  # events
FAILS = '''  fails:
    from: trades
    key: [symbol]
    window: {tumbling: 10s}
    analyzers: [{sql: "SELECT sum(qty * 9000000000000000000) AS s FROM events"}]
  crashes:
    from: trades
    key: [symbol]
    window: {tumbling: 10s}
    analyzers: [{hostile: {how: segv, of: qty, at: 99}, run: process}]
  crashes_here:
    from: trades
    key: [symbol]
    window: {tumbling: 10s}
    analyzers: [{hostile: {how: segv, of: qty, at: 99}}]
'''
CONFIG = '''
server: {database: weir.db}
streams:
  trades:
    time: {field: ts, unit: ms}
    fields: {symbol: string, qty: int, price: float, side: string}
    derive: {notional: price * qty}
pipelines:
  p:
    from: trades
    key: [symbol]
    window: {tumbling: 10s}
    out_of_orderness: 3s
    where: qty > 2
    analyzers:
      - count
      - sum: {of: qty}
      - stats: {of: price}
      - sum: {of: notional}
      - ohlc: {of: price}
      - count: {where: side = 'buy', as: buys}
      - quantiles: {of: price, q: [0.5, 0.99]}
      - topk: {of: side, k: 2}
  apart:
    from: trades
    key: [symbol]
    window: {tumbling: 10s}
    out_of_orderness: 3s
    analyzers:
      - {sum: {of: qty}, run: process}
      - {ohlc: {of: price}, run: process}
      - count
      - {topk: {of: side, k: 2}, run: process}
  hops:
    from: trades
    key: [symbol]
    window: {hopping: 20s, by: 5s}
    out_of_orderness: 3s
    analyzers: [count, {stats: {of: price}}]
@FAILS@  joined:
    from: p
    key: [symbol]
    window: {tumbling: 1m}
    analyzers: [count]
'''.replace('@FAILS@', FAILS)
SERVER = '''
server: {database: weir.db, postgresql: {connect: "host=127.0.0.1 port=@PORT@ user=weir dbname=postgres", schema: results}}
'''
KAFKA = SERVER + '''
streams:
  trades:
    time: {field: ts, unit: ms}
    fields: {symbol: string, qty: int, price: float, side: string}
    derive: {notional: price * qty}
    source: {kafka: {brokers: "@BROKERS@", topics: trades, format: @FORMAT@, options: {client.id: w}}}
'''


def make_events(path):
    """Out of order by less than three seconds, but for one in two hundred."""
    chance = random.Random(5)
    with open(path, 'w', encoding='utf-8') as f:
        for i in range(EVENTS):
            if i == EVENTS // 8:  # longer than what is read at once, and rejected
                f.write('{"ts": 1, "symbol": "' + 'x' * 5000000 + '\n')
            back = chance.randrange(2900) if chance.randrange(200) else 45000
            f.write(json.dumps({'ts': T0 + i * 4 - back, 'symbol': f'S{chance.randrange(KEYS)}', 'qty': chance.randrange(1, 100),
                                'price': chance.lognormvariate(4, 1), 'side': chance.choice(['buy', 'sell', 'cross'])}) + '\n')
        f.write('{"ts": 1, "symbol": \n')  # rejected


def write(path, text):
    with open(path, 'w', encoding='utf-8') as f:
        f.write(text)


def ndjson(lines):
    return ''.join(lines)


def csv(lines):
    """With a header, and a line that is wrong."""
    rows = [[str(event[name]) for name in ('side', 'ts', 'price', 'symbol', 'qty')] for event in map(json.loads, lines)]
    return '\n'.join(['side,ts,price,symbol,qty', 'buy,1,2', *map(','.join, rows)])


def line_protocol(lines):
    """The last line has no end, and there is one that is wrong."""
    events = map(json.loads, lines)
    return '\n'.join(['t,symbol= qty=1i', *(f't,symbol={e["symbol"]} qty={e["qty"]}i,price={e["price"]!r},side="{e["side"]}" {e["ts"]}000000'
                                           for e in events)])


def make_sources(folder):
    """All events, none of them late, in a file, and those of each key in one of three others; their names, and the lines of each."""
    chance = random.Random(6)
    lines = [[], [], []]
    everything = []
    for i in range(EVENTS // 2):
        key = chance.randrange(KEYS)
        line = json.dumps({'ts': T0 + i * 8 - chance.randrange(2900), 'symbol': f'S{key}', 'qty': chance.randrange(1, 100),
                           'price': chance.lognormvariate(4, 1), 'side': chance.choice(['buy', 'sell', 'cross'])}) + '\n'
        everything.append(line)
        lines[key % 3].append(line)
    write(os.path.join(folder, 'everything.ndjson'), ''.join(everything))
    os.mkdir(os.path.join(folder, 'sources'))
    for i in range(3):
        write(os.path.join(folder, 'sources', f'{i}.ndjson'), ''.join(lines[i]))
    return lines


def count(path):
    """(window, symbol): [events, quantity] of those that are not late, by the newest time so far less three seconds."""
    newest = 0
    groups = collections.defaultdict(lambda: [0, 0])
    with open(path, encoding='utf-8') as f:
        for line in f:
            try:
                event = json.loads(line)
            except ValueError:
                continue
            newest = max(newest, event['ts'])
            start = event['ts'] // 10000 * 10000
            if event['qty'] > 2 and start + 10000 > newest - BEHIND_MS:
                group = groups[start * 1000, event['symbol']]
                group[0] += 1
                group[1] += event['qty']
    return dict(groups)


class Flink(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp()
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.config = os.path.join(cls.folder, 'weir.yaml')
        cls.events = os.path.join(cls.folder, 'events.ndjson')
        write(cls.config, CONFIG.replace(FAILS, ''))
        make_events(cls.events)
        cls.lines = make_sources(cls.folder)
        harness.compile_plugin(cls.folder, 'hostile', apart.HOSTILE)
        cls.weir_run(cls.events, 'weir.db', 65)  # events are rejected, and late
        cls.weir_run(os.path.join(cls.folder, 'everything.ndjson'), 'sources.db', 0)
        write(cls.config, CONFIG)

    @classmethod
    def weir_run(cls, events, database, status):
        result = harness.weir('run', '-c', cls.config, '--stream', 'trades', '--live', '--database',
                              os.path.join(cls.folder, database), events, cwd=cls.folder)
        assert result.returncode == status, result.stderr

    def environment(self):
        """With the plugin of the tests."""
        env = harness.environment()
        return {**env, 'WEIR_PLUGIN_PATH': env['WEIR_PLUGIN_PATH'] + ':' + self.folder}

    def command(self, main, *args):
        jars = ':'.join([os.path.join(FLINK, 'weir-flink.jar'), os.path.join(FLINK, 'test-classes'),
                         os.path.join(FLINK, 'jars', '*')])
        opens = [f'--add-opens=java.base/{p}=ALL-UNNAMED' for p in ('java.util', 'java.lang', 'java.time')]
        return ['java', '-Xmx1g', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1', '-XX:-CreateCoredumpOnCrash', *opens,
                f'-Dweir.library={FLINK}/libweir-shard.so', f'-Dweir.program={harness.WEIR}', '-cp', jars, main, *args]

    def java(self, main, *args):
        return subprocess.run(self.command(main, *args), env=self.environment(), cwd=self.folder, text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=20 * harness.LIMIT_S, check=False)

    def run_job(self, scenario, pipeline='p', events=None):
        out = os.path.join(self.folder, f'{scenario}-{pipeline}{"-sources" if events else ""}')
        result = self.java('weir.flink.Runs', scenario, self.config, pipeline, events or self.events, out, out)
        return result, out

    def rows(self, out, table):
        """Of the files that are finished."""
        found = []
        for path in glob.glob(os.path.join(out, table, 'part-*')):
            with open(path, encoding='utf-8') as f:
                found += [json.loads(line) for line in f]
        return found

    def expected(self, table, database='weir.db'):
        file = sqlite3.connect(os.path.join(self.folder, database))
        self.addCleanup(file.close)
        file.row_factory = sqlite3.Row
        return [dict(row) for row in file.execute(f'SELECT * FROM {table}')]

    def assert_as_run(self, out, *tables, database='weir.db'):
        for table in tables:
            expected = self.expected(table, database)
            found = self.rows(out, table)
            self.assertGreater(len(expected), 0)
            self.assertEqual(len(found), len(expected), table)
            # Bit for bit: repr of a float tells all of them apart.
            self.assertEqual(sorted(repr(sorted(r.items())) for r in found), sorted(repr(sorted(r.items())) for r in expected), table)

    def test_rows_are_those_of_a_run(self):
        result, out = self.run_job('plain')
        self.assertEqual(result.returncode, 0, result.stdout)
        self.assert_as_run(out, 'p', 'p_topk')
        self.assertEqual({(r['window_start'], r['symbol']): [r['count'], r['qty_sum']] for r in self.rows(out, 'p')},
                         count(self.events))

    def test_typed_rows_are_the_same(self):
        result, out = self.run_job('rows')
        self.assertEqual(result.returncode, 0, result.stdout)
        self.assert_as_run(out, 'p', 'p_topk')

    def test_the_tables_of_flink_have_types_and_keys(self):
        result = self.java('weir.flink.Runs', 'query', self.config, 'p', self.events,
                           'SELECT window_start, symbol, `count`, qty_sum FROM p WHERE qty_sum > 5000')
        self.assertEqual(result.returncode, 0, result.stdout)
        flat = ' '.join(result.stdout.split())
        for column in ('`window_start` TIMESTAMP_LTZ(6) NOT NULL, `window_end` TIMESTAMP_LTZ(6) NOT NULL, `symbol` STRING NOT NULL, '
                       '`count` BIGINT, `qty_sum` BIGINT', '`price_mean` DOUBLE', '`rank` BIGINT NOT NULL',
                       'PRIMARY KEY (`window_start`, `symbol`)', 'PRIMARY KEY (`window_start`, `symbol`, `rank`)'):
            self.assertIn(column, flat)
        rows = [line.split('\t')[1:] for line in result.stdout.splitlines() if line.startswith('row\t')]
        self.assertEqual({(int(start), symbol.strip('"')): [int(n), int(qty)] for start, symbol, n, qty in rows},
                         {group: value for group, value in count(self.events).items() if value[1] > 5000})

    def test_a_failure_changes_nothing(self):
        result, out = self.run_job('failure')
        self.assertEqual(result.returncode, 0, result.stdout)
        self.assert_as_run(out, 'p', 'p_topk')

    def test_another_parallelism_changes_nothing(self):
        result, out = self.run_job('rescale')
        self.assertEqual(result.returncode, 0, result.stdout)
        self.assert_as_run(out, 'p', 'p_topk')

    def test_files_that_are_sources_of_their_own_are_read_by_as_many_tasks(self):
        out = os.path.join(self.folder, 'readers')
        result = self.java('weir.flink.Job', '--config', self.config, '--pipeline', 'p', '--in', os.path.join(self.folder, 'sources'),
                           '--out', out, '--parallelism', '2', '--readers', '3', '--checkpoints', '200')
        self.assertEqual(result.returncode, 0, result.stdout)
        self.assert_as_run(out, 'p', 'p_topk', database='sources.db')

    def test_a_failure_of_one_of_several_readers_changes_nothing(self):
        result, out = self.run_job('failure', events=os.path.join(self.folder, 'sources'))
        self.assertEqual(result.returncode, 0, result.stdout)
        self.assert_as_run(out, 'p', 'p_topk', database='sources.db')

    def messages(self):
        """How many there are in Kafka."""
        return sum(-(-len(lines) // MESSAGE) for lines in self.lines)

    def kafka(self, port=5432, partitions=3, form='ndjson', messages=ndjson):
        """A broker with the events, each key's in one of three partitions, and the path of a configuration that reads them."""
        server = broker.Broker(os.path.join(FLINK, 'jars'))
        self.addCleanup(server.close)
        with server.client('trades', partitions) as client:
            for partition, lines in enumerate(self.lines):
                for i in range(0, len(lines), MESSAGE):
                    body = messages(lines[i:i + MESSAGE]).encode()
                    client.do(f'send trades {partition} 0 {len(body)}', body)
            client.do('flush')
        config = os.path.join(self.folder, f'kafka-{form}.yaml')
        write(config, KAFKA.replace('@PORT@', str(port)).replace('@BROKERS@', server.servers).replace('@FORMAT@', form)
              + CONFIG[CONFIG.index('pipelines:'):])
        return config

    def postgresql(self, prepared=0):
        """One that takes so many prepared transactions."""
        database = postgres.Postgres(tcp=True)
        self.addCleanup(database.close)
        database.start()
        if prepared:
            database.psql(f'ALTER SYSTEM SET max_prepared_transactions = {prepared}')
            database.restart()
        return database

    def files_to(self, database):
        """The path of a configuration with the tables of this one."""
        config = os.path.join(self.folder, 'files.yaml')
        write(config, SERVER.replace('@PORT@', str(database.port)) + CONFIG[CONFIG.index('streams:'):])
        return config

    def assert_in_postgresql(self, database, *tables, of='sources.db'):
        for table in tables:
            rows = [json.loads(row) for row in database.psql(
                f'SELECT row_to_json(t) FROM (SELECT *, (extract(epoch FROM window_start) * 1000000)::bigint AS window_start, '
                f'(extract(epoch FROM window_end) * 1000000)::bigint AS window_end FROM results.{table}) t')]
            self.assertEqual(sorted(repr(sorted(row.items())) for row in rows),
                             sorted(repr(sorted(row.items())) for row in self.expected(table, of)), table)

    def test_from_kafka_to_postgresql(self):
        database = self.postgresql()
        result = self.java('weir.flink.Job', '--config', self.kafka(database.port), '--pipeline', 'p', '--parallelism', '2',
                           '--until', 'end', '--checkpoints', '200')
        self.assertEqual(result.returncode, 0, result.stdout)
        self.assert_in_postgresql(database, 'p', 'p_topk')

    def formed(self, form, messages, rejected):
        out = os.path.join(self.folder, form)
        result = self.java('weir.flink.Job', '--config', self.kafka(form=form, messages=messages), '--pipeline', 'p', '--out', out,
                           '--parallelism', '2', '--until', 'end', '--checkpoints', '200')
        self.assertEqual(result.returncode, 0, result.stdout)
        self.assert_as_run(out, 'p', 'p_topk', database='sources.db')
        self.assertEqual(sum(map(int, re.findall(r'(\d+) rejected,', result.stdout))), rejected, result.stdout)

    def test_messages_of_kafka_may_be_json(self):
        self.formed('json', lambda lines: f'[{",".join(lines)}]', 0)

    def test_messages_of_kafka_may_be_csv(self):
        self.formed('csv', csv, self.messages())

    def test_messages_of_kafka_may_be_line_protocol(self):
        self.formed('lines', line_protocol, self.messages())

    def plain_tables(self, database):
        """Without keys, as a job would make them otherwise."""
        database.psql('CREATE SCHEMA results')
        for table in 'p', 'p_topk':
            file = sqlite3.connect(os.path.join(self.folder, 'weir.db'))
            kinds = {'INTEGER': 'bigint', 'REAL': 'double precision', 'TEXT': 'text'}
            columns = [(name, 'timestamptz' if name.startswith('window_') else kinds[kind])
                       for _, name, kind, *_ in file.execute(f'PRAGMA table_xinfo({table})')]
            file.close()
            database.psql(f'CREATE TABLE results.{table} ({", ".join(f"{name} {kind}" for name, kind in columns)})')

    def inserted(self, scenario):
        """By plain inserts into tables without keys."""
        database = self.postgresql(prepared=40)
        self.plain_tables(database)
        database.psql("BEGIN; INSERT INTO results.p (symbol) VALUES ('orphan'); PREPARE TRANSACTION 'weir 7 5 1 results.p'")
        database.psql("BEGIN; INSERT INTO results.p (symbol) VALUES ('other'); PREPARE TRANSACTION 'weir 7 5 1 results.q'")
        result = self.java('weir.flink.Runs', scenario, self.files_to(database), 'p', self.events, 'postgresql',
                           os.path.join(self.folder, f'{scenario}-postgresql'))
        self.assertEqual(result.returncode, 0, result.stdout)
        self.assert_in_postgresql(database, 'p', 'p_topk', of='weir.db')
        self.assertEqual(database.psql('SELECT gid FROM pg_prepared_xacts'), ['weir 7 5 1 results.q'])

    def test_plain_inserts_are_there_once_over_failures(self):
        self.inserted('failure')

    def test_plain_inserts_are_there_once_over_other_parallelisms(self):
        self.inserted('rescale')

    def test_a_transaction_that_somebody_has_rolled_back_fails_the_job(self):
        database = self.postgresql(prepared=2)
        number = database.psql('BEGIN; SELECT txid_current(); ROLLBACK')[0]
        done = database.psql('BEGIN; SELECT txid_current(); COMMIT')[0]
        for transaction, status in (done, 0), (number, 1):
            result = self.java('weir.flink.Runs', 'commit', self.files_to(database), 'p', f'weir 3 0 {transaction} results.p', '-')
            self.assertEqual(result.returncode, status, result.stdout)
        self.assertIn(f"table 'results.p': transaction 'weir 3 0 {number} results.p' cannot be committed", result.stdout)

    def test_a_transaction_too_old_to_be_known_fails_the_job_until_somebody_says_that_its_rows_are_there(self):
        database = self.postgresql(prepared=2)
        name = 'weir 3 0 3 results.p'  # before the oldest that PostgreSQL keeps
        args = ['weir.flink.Runs', 'commit', self.files_to(database), 'p', name, '-']
        result = self.java(*args)
        self.assertEqual(result.returncode, 1, result.stdout)
        self.assertIn(f"table 'results.p': transaction '{name}' cannot be committed: it is not there, and too old to be known",
                      result.stdout)
        database.psql(f"BEGIN; PREPARE TRANSACTION '{name}'")
        result = self.java(*args)
        self.assertEqual(result.returncode, 0, result.stdout)
        self.assertEqual(database.psql('SELECT gid FROM pg_prepared_xacts'), [])

    def test_an_attempt_ends_the_sessions_of_the_one_before_which_prepare_nothing_more(self):
        database = self.postgresql(prepared=8)
        self.plain_tables(database)
        database.psql("""CREATE FUNCTION sleep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(100000); RETURN NULL; END';
                         CREATE CONSTRAINT TRIGGER sleep AFTER INSERT ON results.p DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
                         EXECUTE FUNCTION sleep()""")
        result = self.java('weir.flink.Runs', 'attempts', self.files_to(database), 'p',
                           f'jdbc:postgresql://127.0.0.1:{database.port}/postgres?user=weir', '-')
        self.assertEqual(result.returncode, 0, result.stdout)
        for task in range(3):
            self.assertIn(f"task {task} of 3: failed: table 'results.p': a transaction cannot be prepared", result.stdout)
        self.assertEqual(database.psql('SELECT gid FROM pg_prepared_xacts'), [])
        self.assertEqual(database.psql('SELECT count(*) FROM results.p'), ['0'])

    def test_a_savepoint_of_upserts_is_refused_by_plain_inserts_and_the_other_way_round(self):
        database = self.postgresql(prepared=40)
        for to in 'postgresql', 'postgresql upserts':
            result = self.java('weir.flink.Runs', 'switch', self.files_to(database), 'p', self.events, to,
                               os.path.join(self.folder, f'switch-{to[-1]}'))
            self.assertEqual(result.returncode, 1, result.stdout)
            self.assertIn('Cannot map checkpoint/savepoint state for operator', result.stdout)
            database.psql('DROP SCHEMA results CASCADE')

    def test_the_job_of_the_jar_inserts_each_row_once_if_postgresql_can(self):
        database = self.postgresql()
        args = ['weir.flink.Job', '--config', self.files_to(database), '--pipeline', 'p', '--in', self.events, '--parallelism', '2',
                '--checkpoints', '200', '--exactly-once', 'yes']
        result = self.java(*args)
        self.assertEqual(result.returncode, 1, result.stdout)
        self.assertIn('max_prepared_transactions is 0, and 2 tables of 2 tasks need 8', result.stdout)
        database.psql('ALTER SYSTEM SET max_prepared_transactions = 8')
        database.restart()
        result = self.java(*args)
        self.assertEqual(result.returncode, 0, result.stdout)
        self.assert_in_postgresql(database, 'p', 'p_topk', of='weir.db')

    def test_a_partition_that_stays_silent_becomes_idle(self):
        database = self.postgresql()
        with subprocess.Popen(self.command('weir.flink.Job', '--config', self.kafka(database.port, partitions=4), '--pipeline', 'p',
                                           '--parallelism', '2', '--idle-timeout', '2', '--checkpoints', '200'),
                              env=self.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as job:
            try:
                harness.wait_until(lambda: database.psql("SELECT to_regclass('results.p')") != [''], 'the table')
                harness.wait_until(lambda: database.psql('SELECT count(*) > 0 FROM results.p') == ['t'], 'rows', every_s=0.2)
                self.assertIsNone(job.poll())
            finally:
                job.kill()

    def test_a_failure_of_a_reader_of_kafka_changes_nothing(self):
        out = os.path.join(self.folder, 'kafka')
        result = self.java('weir.flink.Runs', 'kafka', self.kafka(), 'p', '-', out)
        self.assertEqual(result.returncode, 0, result.stdout)
        self.assert_as_run(out, 'p', 'p_topk', database='sources.db')

    def test_another_parallelism_of_readers_of_kafka_changes_nothing(self):
        out = os.path.join(self.folder, 'kafka-rescale')
        result = self.java('weir.flink.Runs', 'kafka-rescale', self.kafka(), 'p', str(self.messages()), out, out)
        self.assertEqual(result.returncode, 0, result.stdout)
        self.assert_as_run(out, 'p', 'p_topk', database='sources.db')

    def test_an_analyzer_that_fails_fails_the_job_with_its_name(self):
        result, _ = self.run_job('plain', 'fails')
        self.assertEqual(result.returncode, 1, result.stdout)
        self.assertIn("weir.flink.WeirException: pipeline 'fails': analyzer 'sql': integer overflow", result.stdout)

    def test_an_analyzer_that_crashes_in_its_process_fails_the_job_with_its_name(self):
        result, _ = self.run_job('plain', 'crashes')
        self.assertEqual(result.returncode, 1, result.stdout)
        self.assertIn("weir.flink.WeirException: pipeline 'crashes': analyzer 'hostile': its process was killed by signal 11 "
                      "(Segmentation fault), in update", result.stdout)

    def test_an_analyzer_that_crashes_each_time_fails_the_job_once_flink_has_tried_as_often_as_it_was_told(self):
        result, _ = self.run_job('tries', 'crashes')
        self.assertEqual(result.returncode, 1, result.stdout)
        self.assertIn('maxNumberRestartAttempts=2', result.stdout)
        self.assertIn("weir.flink.WeirException: pipeline 'crashes': analyzer 'hostile': its process was killed by signal 11 "
                      "(Segmentation fault), in update", result.stdout)

    def test_an_analyzer_that_crashes_in_the_task_manager_is_named_by_its_last_words(self):
        result, _ = self.run_job('plain', 'crashes_here')
        self.assertEqual(result.returncode, 1, result.stdout)
        self.assertRegex(result.stdout, r'(?s)SIGSEGV.*Problematic frame:\n# C +\[hostile\.so\+')

    def test_a_job_goes_on_after_the_processes_of_analyzers_were_killed(self):
        result, out = self.run_job('crash', 'apart')
        self.assertEqual(result.returncode, 0, result.stdout)
        self.assert_as_run(out, 'apart', 'apart_topk')

    def test_what_cannot_run_there_is_refused_before_it_is_submitted(self):
        result = self.java('weir.flink.Job', '--config', self.config, '--pipeline', 'joined', '--in', self.events,
                           '--out', os.path.join(self.folder, 'refused'))
        self.assertEqual(result.returncode, 1, result.stdout)
        self.assertIn("pipeline 'joined' cannot run here: it reads the results of another pipeline", result.stdout)
        self.assertFalse(os.path.exists(os.path.join(self.folder, 'refused')))

    def test_without_in_the_stream_has_topics(self):
        result = self.java('weir.flink.Job', '--config', self.config, '--pipeline', 'p', '--out', os.path.join(self.folder, 'refused'))
        self.assertEqual(result.returncode, 1, result.stdout)
        self.assertIn("--in is missing, and the stream of pipeline 'p' has no 'source' with 'kafka'", result.stdout)

    def test_the_job_of_the_jar_and_windows_that_overlap(self):
        out = os.path.join(self.folder, 'job')
        result = self.java('weir.flink.Job', '--config', self.config, '--pipeline', 'hops', '--in', self.events,
                           '--out', out, '--parallelism', '2', '--key-groups', '8', '--checkpoints', '200')
        self.assertEqual(result.returncode, 0, result.stdout)
        self.assert_as_run(out, 'hops')


if __name__ == '__main__':
    unittest.main(verbosity=2)
