# SPDX-License-Identifier: Apache-2.0
"""Results published to Kafka: those who read committed messages find each row that the sqlite3 module finds, once, whatever ends."""

import collections
import datetime
import json
import os
import random
import shutil
import signal
import time
import unittest
import uuid

import brokers
import harness

T0 = 1700000000000
CONFIG = '''
server:
  listen: {listen}
  database: {folder}/weir.db
  checkpoint_interval: 20ms
  commit_interval: 5ms
  kafka: {brokers: "SERVERS", pipelines: [plain, revised, visits, all, events], prefix: PREFIX, backoff: 20ms, max_backoff: 100ms,
          options: {reconnect.backoff.max.ms: 100OPTION}}
streams:
  s: {time: {field: ts, unit: ms}, fields: {k: string, v: int}}
pipelines:
  plain: {from: s, key: [k], window: {tumbling: 1s}, idle_timeout: 1h, retain: RETAIN,
          analyzers: [count, {stats: {of: v, emit: [sum, mean]}}, {last: {of: k}}]}
  revised: {from: s, key: [k], window: {tumbling: 1s}, idle_timeout: 1h, late: revise, allowed_lateness: 5s,
            analyzers: [count, {topk: {of: v, k: 3}}]}
  visits: {from: s, key: [k], window: {session: 300ms}, idle_timeout: 1h, late: revise, allowed_lateness: 5s,
           analyzers: [count, {stats: {of: v, emit: [sum]}}]}
  all: {from: s, window: {tumbling: 1s}, idle_timeout: 1h, analyzers: [count]}
  events: {from: s, window: none, select: [k, v], where: v % 5 = 0, idle_timeout: 1h}
  other: {from: s, window: {tumbling: 1s}, idle_timeout: 1h, analyzers: [count]}
'''
PIPELINES = ['plain', 'revised', 'visits', 'all', 'events']
TABLES = [*PIPELINES, 'revised_topk']
ONCE = ['plain', 'all', 'events']  # rows of these are never revised


def event(ms, k='a', v=1):
    return json.dumps({'ts': T0 + ms, 'k': k, 'v': v})


def microseconds(text):
    since = datetime.datetime.fromisoformat(text.replace('Z', '+00:00')) - datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
    return since // datetime.timedelta(microseconds=1)


class Table:
    """A table as the file has it."""

    def __init__(self, server, name):
        columns = server.rows('SELECT name, type, key FROM weir_columns WHERE table_name = ?', name)
        self.server, self.name = server, name
        self.types = {column: kind for column, kind, _ in columns}
        self.key = [column for column, _, key in columns if key > 0]

    def rows(self):
        names = ', '.join(f'"{name}"' for name in self.types)
        return [dict(zip(self.types, row)) for row in self.server.rows(f'SELECT {names} FROM "{self.name}"')]

    def parsed(self, value):
        of = {'time': microseconds, 'float': float}
        return {name: of.get(self.types[name], lambda same: same)(x) if x is not None else None for name, x in value.items()}

    def place(self, row):
        return tuple(row[name] for name in self.key)


def ordered(rows):
    return sorted(json.dumps(row, sort_keys=True) for row in rows)


class Publish(unittest.TestCase):
    prefix = 'weir.'

    def setUp(self):
        self.folder = harness.folder_for_test(self)
        self.posted = 0

    def server(self, servers, folder=None, more=('', ''), retain='forever', option='', **env):
        text = CONFIG.replace('SERVERS', servers).replace('PREFIX', self.prefix).replace('RETAIN', retain)
        text = text.replace('OPTION', option and ', ' + option).replace(*more)
        s = harness.Server(text, folder=folder or self.folder, **env)
        self.addCleanup(s.kill)
        return s

    def post(self, server, n, dice, late=0.0):
        """Events of 20 keys, 40 a second; some so late that results are revised."""
        lines = []
        for _ in range(n):
            self.posted += 1
            ms = self.posted * 25 - (dice.randrange(1000, 4000) if dice.random() < late else 0)
            lines.append(event(max(ms, 0), f'k{dice.randrange(20)}', self.posted))
        server.post_ok('s', '\n'.join(lines) + '\n')

    @staticmethod
    def states(server):
        return {t['table']: t for p in server.get_json('/api/v1/pipelines') for t in p['kafka']}

    def wait_published(self, server):
        """All that is in the file, and will be until more is posted, is there."""
        watermark = (T0 + self.posted * 25) * 1000
        for pipeline in PIPELINES:
            server.wait_watermark(pipeline, watermark)
        last = {table: server.rows('SELECT seq FROM sqlite_sequence WHERE name = ?', f'weir_changes_{table}') for table in TABLES}
        def those():
            states = self.states(server)
            return all(not last[t] or states[t]['position'] >= last[t][0][0] for t in TABLES)
        harness.wait_until(those, 'all is published')

    @staticmethod
    def wait_noted(server):
        """The file knows, too."""
        def those():
            return server.rows('SELECT p.table_name FROM weir_published AS p JOIN sqlite_sequence AS s'
                               " ON s.name = 'weir_changes_' || p.table_name AND s.seq > p.position") == []
        harness.wait_until(those, 'all places are noted')

    def reload(self, server, *more):
        with open(server.path, encoding='utf-8') as file:
            text = file.read()
        text += '  more: {from: s, window: {tumbling: 1s}, idle_timeout: 1h, analyzers: [count]}\n'
        for change in more:
            text = text.replace(*change)
        with open(server.path, 'w', encoding='utf-8') as file:
            file.write(text)
        self.assertEqual(harness.weir('reload', '-c', server.path).returncode, 0)

    def check(self, server, b):
        for name in TABLES:
            table = Table(server, name)
            found = b.read(f'{self.prefix}{name}')
            seqs = collections.Counter(seq for _, _, seq, _, _ in found)
            self.assertEqual([seq for seq, n in seqs.items() if n > 1], [], name)
            partition_of, last_of, now = {}, collections.defaultdict(int), {}
            for partition, op, seq, key, value in found:
                text = json.dumps(key)
                self.assertEqual(partition_of.setdefault(text, partition), partition)
                self.assertGreater(seq, last_of[partition], name)
                last_of[partition] = seq
                row = table.parsed(value)
                self.assertEqual(key, {} if name in ('all', 'events') else {'k': row['k']})
                if op == 'put':
                    self.assertEqual(set(row), set(table.types))
                    now[table.place(row)] = row
                else:
                    self.assertEqual((op, set(row)), ('delete', set(table.key)))
                    now.pop(table.place(row), None)
            rows = table.rows()
            self.assertTrue(rows, name)
            self.assertEqual(ordered(now.values()), ordered(rows), name)
            if name in ONCE:
                self.assertEqual(len(found), len(rows), name)


@unittest.skipUnless(brokers.there(), 'built without librdkafka')
@unittest.skipIf(brokers.traced(), 'ThreadSanitizer knows nothing of librdkafka')
class Mock(Publish):
    """With librdkafka's mock cluster, which shows what was given up, too, and keeps no offsets of transactions: nothing ends before its
    place is noted in the file."""

    def brokers(self):
        b = brokers.Brokers(1)
        self.addCleanup(b.close)
        for table in TABLES:
            b.topic(f'{self.prefix}{table}', 3)
        return b

    def test_each_row_once_over_restarts(self):
        b, dice = self.brokers(), random.Random(3)
        server = self.server(b.servers)
        server.start()
        for i in range(4):
            self.post(server, 500, dice, late=0.05)
            self.post(server, 500, dice, late=0.05)
            self.wait_published(server)
            if i % 2:
                server.stop()
                server.start()
            else:
                self.wait_noted(server)
                server.restart()
        self.post(server, 100, dice)
        self.wait_published(server)
        self.check(server, b)
        self.assertGreater(server.metric('weir_kafka_rows_total', table='plain', outcome='published'), 0)
        self.assertEqual(self.states(server)['plain']['topic'], 'weir.plain')
        server.stop()

    def test_while_kafka_is_away_rows_wait_though_retain_has_passed_them_by(self):
        b, dice = self.brokers(), random.Random(4)
        b.do('down 1')
        server = self.server(b.servers, retain='2s', more=('backoff: 20ms,', 'timeout: 1s, backoff: 20ms,'))
        server.start()
        for _ in range(20):
            self.post(server, 100, dice)
        server.wait_watermark('plain', (T0 + self.posted * 25) * 1000)
        harness.wait_until(lambda: server.metric('weir_kafka_lag_rows', table='plain') > 0, 'a lag')
        harness.wait_until(lambda: self.states(server)['plain']['last_error'], 'an error')
        self.assertEqual(self.states(server)['plain']['state'], 'away')
        self.assertEqual(server.metric('weir_kafka_connected'), 0)
        expected = Table(server, 'plain').rows()
        self.assertGreater(len(expected), 400)  # of 50 s, with a retain of 2 s
        server.restart()
        b.do('up 1')
        self.wait_published(server)
        table = Table(server, 'plain')
        found = [table.parsed(value) for _, _, _, _, value in b.read('weir.plain')]
        self.assertEqual(ordered(found), ordered(expected))
        self.post(server, 100, dice)
        self.wait_published(server)
        self.post(server, 100, dice)
        harness.wait_until(lambda: len(table.rows()) < len(expected), 'rows that go')
        server.stop()

    def test_a_topic_that_is_refused_holds_up_no_other(self):
        b, dice = self.brokers(), random.Random(5)
        b.do('refuse weir.all 29')
        server = self.server(b.servers)
        server.start()
        self.post(server, 500, dice)
        self.post(server, 500, dice)
        harness.wait_until(lambda: self.states(server)['all']['state'] == 'failing', 'failing')
        harness.wait_until(lambda: self.states(server)['plain']['position'] > 0, 'others')
        b.do('refuse weir.all 0')
        self.wait_published(server)
        self.check(server, b)
        server.stop()

    def test_a_reload_goes_on_where_it_was(self):
        b, dice = self.brokers(), random.Random(6)
        server = self.server(b.servers)
        server.start()
        self.post(server, 500, dice)
        self.reload(server)
        self.post(server, 500, dice)
        self.wait_published(server)
        self.check(server, b)
        self.assertEqual(self.states(server).keys(), set(TABLES))
        server.stop()

    def test_a_reload_while_kafka_is_away_loses_no_place(self):
        b, dice = self.brokers(), random.Random(12)
        server = self.server(b.servers)
        server.start()
        self.post(server, 500, dice)
        self.wait_published(server)
        self.wait_noted(server)
        self.post(server, 500, dice)
        self.wait_published(server)
        b.do('down 1')
        self.reload(server)
        # What this run goes on to publish has no bound, until another begins.
        self.assertEqual(server.rows('SELECT DISTINCT bound FROM weir_published'), [(None,)])
        server.stop()
        self.wait_noted(server)

    def test_a_transaction_is_given_up_while_brokers_answer_late(self):
        b, dice = self.brokers(), random.Random(10)
        server = self.server(b.servers, more=('backoff: 20ms,', 'timeout: 1s, backoff: 20ms,'),
                             option='queue.buffering.max.messages: 20')
        server.start()
        harness.wait_until(lambda: all(t['state'] == 'well' for t in self.states(server).values()), 'well')
        b.do('slow 1 1500')
        self.post(server, 500, dice)
        self.post(server, 500, dice)
        harness.wait_until(lambda: any(t['last_error'] for t in self.states(server).values()), 'a failure')
        b.do('slow 1 0')
        self.wait_published(server)
        server.stop()

    def test_a_stop_does_not_wait_for_a_broker_that_does_not_answer(self):
        b, dice = self.brokers(), random.Random(11)
        server = self.server(b.servers)
        server.start()
        harness.wait_until(lambda: all(t['state'] == 'well' for t in self.states(server).values()), 'well')
        b.process.send_signal(signal.SIGSTOP)
        try:
            self.post(server, 500, dice)
            self.post(server, 500, dice)
            server.wait_watermark('plain', (T0 + self.posted * 25) * 1000)
            time.sleep(0.5)  # it has begun, most likely
            server.stop(limit_s=harness.scaled(45))  # librdkafka would wait for a minute
        finally:
            b.process.send_signal(signal.SIGCONT)
        server.start()
        self.wait_published(server)
        server.stop()

    def test_a_row_that_is_too_long_holds_up_only_what_is_behind_it(self):
        b = self.brokers()
        server = self.server(b.servers, option='message.max.bytes: 1000')
        server.start()
        harness.wait_until(lambda: all(t['state'] == 'well' for t in self.states(server).values()), 'well')
        server.post_ok('s', ''.join(event(0, f'a{i}') + '\n' for i in range(50)) + event(1100, 'b' * 2000) + '\n' + event(2200) + '\n')
        harness.wait_until(lambda: self.states(server)['plain']['state'] == 'failing', 'failing')
        harness.wait_until(lambda: self.states(server)['plain']['failures'] > 20, 'failures')
        self.assertIn('message.max.bytes', self.states(server)['plain']['last_error'])
        self.assertEqual(self.states(server)['plain']['published'], 50)
        server.wait_metric('weir_kafka_connected', 1)
        for i in range(3, 8):
            server.post_ok('s', event(i * 1100) + '\n')
            server.wait_metric('weir_kafka_rows_total', i, table='all', outcome='published')
        found = [value['k'] for _, _, _, _, value in b.read('weir.plain')]
        self.assertEqual(sorted(found), sorted(f'a{i}' for i in range(50)))
        server.stop()
        self.assertLess(''.join(server.log).count('results are published to Kafka'), 10)  # one a connection

    def test_what_a_broker_refuses_disconnects_no_table(self):
        b, dice = self.brokers(), random.Random(13)
        server = self.server(b.servers)
        server.start()
        harness.wait_until(lambda: all(t['state'] == 'well' for t in self.states(server).values()), 'well')
        b.do('fail 0 10 2')  # messages are longer than this topic takes
        self.post(server, 500, dice)
        self.post(server, 500, dice)
        self.wait_published(server)
        harness.wait_until(lambda: all(t['state'] == 'well' for t in self.states(server).values()), 'well again')
        tables = self.states(server).values()
        self.assertGreater(sum(t['failures'] for t in tables), 0)
        self.assertIn('a broker refuses it, the log says why', [t['last_error'] for t in tables])
        server.stop()
        self.assertEqual(''.join(server.log).count('results are published to Kafka'), 1)

    def test_without_tables_there_is_no_connection(self):
        b = self.brokers()
        server = self.server(b.servers, more=(str(PIPELINES).replace("'", ''), '[events]'))
        server.start()
        server.wait_metric('weir_kafka_connected', 1)
        self.reload(server, ('[events]', '[all]'), ('  events: {', '  events2: {'))
        server.wait_metric('weir_kafka_connected', 0)
        server.stop()

    def refused(self, *more):
        s = self.server('127.0.0.1:1', more=more)
        found = harness.weir('check', '-c', s.path)
        self.assertNotEqual(found.returncode, 0)
        return found.stderr

    def test_what_is_refused(self):
        self.assertIn("there is no pipeline 'events2'", self.refused('all, events]', 'all, events2]'))
        self.assertIn('transactional.id', self.refused('reconnect.backoff.max.ms: 100', 'transactional.id: x'))
        self.assertIn('names of topics', self.refused('prefix: weir.', 'prefix: a/b'))
        self.assertIn('brokers', self.refused('brokers: "127.0.0.1:1", ', ''))


@unittest.skipUnless(os.environ.get('WEIR_KAFKA'), 'no $WEIR_KAFKA')
class Real(Publish):
    """With real brokers, which give up what was not committed."""

    def setUp(self):
        super().setUp()
        self.prefix = f'weir-test-{uuid.uuid4().hex}.'
        self.b = brokers.Brokers(at=os.environ['WEIR_KAFKA'])
        self.addCleanup(self.b.close)
        for table in TABLES:
            self.b.topic(f'{self.prefix}{table}', 3)

    def test_each_row_once_over_kill_9(self):
        dice = random.Random(8)
        server = self.server(self.b.servers)
        server.start()
        for _ in range(12):
            for _ in range(dice.randrange(1, 6)):
                self.post(server, 300, dice, late=0.05)
            before = self.states(server)['plain']['position']
            if dice.random() < 0.7:
                harness.wait_until(lambda: self.states(server)['plain']['position'] > before, 'some more')
            server.restart()
        self.post(server, 100, dice)
        self.wait_published(server)
        self.check(server, self.b)
        server.stop()

    def test_who_is_superseded_publishes_nothing_more(self):
        dice = random.Random(9)
        server = self.server(self.b.servers)
        server.start()
        self.post(server, 500, dice)
        self.wait_published(server)
        server.stop()
        copy = harness.folder_for_test(self)
        shutil.copytree(self.folder, copy, dirs_exist_ok=True)
        server.start()
        harness.wait_until(lambda: all(t['state'] == 'well' for t in self.states(server).values()), 'well')
        second = self.server(self.b.servers, folder=copy)
        second.start()
        harness.wait_until(lambda: all(self.states(second)[t]['state'] == 'well' for t in TABLES), 'well')
        posted = self.posted
        self.post(server, 500, dice)  # the first notices when it has something to publish
        harness.wait_until(lambda: all(self.states(server)[t]['state'] == 'fenced' for t in TABLES), 'fenced')
        self.posted = posted
        self.post(second, 500, dice)
        self.wait_published(second)
        self.check(second, self.b)
        server.stop()
        second.stop()


if __name__ == '__main__':
    harness.main()
