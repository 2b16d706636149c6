# SPDX-License-Identifier: Apache-2.0
"""Several servers share the partitions of a topic, and put their rows into the same tables of PostgreSQL: these are the rows that
Python makes of all messages, each once, whatever ends, stops or is taken over."""

import collections
import datetime
import json
import os
import random
import re
import signal
import unittest
import zlib

import brokers
import harness
import postgres
from test_postgresql import Base, plain

T0 = 1700000000000
END = T0 + 86400000  # of the last window that counts
CONFIG = '''
server:
  listen: {listen}
  database: {folder}/weir.db
  checkpoint_interval: 20ms
  commit_interval: 5ms
  postgresql: {connect: "CONNECT", shard: "${WEIR_NODE}", backoff: 20ms, max_backoff: 100ms}
streams:
  s:
    time: {field: ts, unit: ms}
    fields: {k: string, v: int}
    source: {kafka: {brokers: "SERVERS", topics: orders, partitions: "${WEIR_PARTITIONS}", partitioned_by: k,
                     options: {reconnect.backoff.max.ms: 100}}}
pipelines:
  rows: {from: s, window: none, select: [k, v], idle_timeout: 1h}
  sums: {from: s, key: [k], window: {tumbling: 1s}, idle_timeout: 1h, late: side,
         analyzers: [count, {stats: {of: v, emit: [sum]}}]}
  longer: {from: sums, key: [k], window: {tumbling: 10s}, analyzers: [{sum: {of: count}}]}
'''
FAULTS = 8  # shards_at_length.py has more of them, and other ones
NODES = {'a': '0-1', 'b': '2', 'c': '3,5,4'}
PARTITIONS = 6


def faults_there():
    with open(os.path.join(harness.BUILD, 'config.h'), encoding='utf-8') as file:
        return '#define WEIR_FAULTS 1' in file.read()


def json_time(text):
    """Seconds since 1970 of a time without a fraction, as the API writes it."""
    return int(datetime.datetime.fromisoformat(text.replace('Z', '+00:00')).timestamp())


def partition_of(k):
    return zlib.crc32(k.encode()) % PARTITIONS


class Producer:
    """Events of 40 keys, each in its partition, in the order of their times."""

    def __init__(self, cluster, topic='orders'):
        self.cluster, self.topic = cluster, topic
        self.dice = random.Random(5)
        self.sent = []  # (ts, k, v)
        self.now = T0
        self.silent = set()  # partitions

    def send(self, n):
        lines = {p: [] for p in range(PARTITIONS)}
        for _ in range(n):
            self.now += self.dice.randrange(20)
            k, v = f'k{self.dice.randrange(40)}', self.dice.randrange(1000)
            if partition_of(k) in self.silent:
                continue
            lines[partition_of(k)].append(json.dumps({'ts': self.now, 'k': k, 'v': v}))
            self.sent.append((self.now, k, v))
        for p, some in lines.items():
            while some:
                each = self.dice.randrange(1, 50)
                self.cluster.send(self.topic, '\n'.join(some[:each]), partition=p)
                some = some[each:]

    def end(self):
        """All windows end, but those of the last events."""
        for p in range(PARTITIONS):
            self.cluster.send(self.topic, json.dumps({'ts': END, 'k': f'end{p}', 'v': p}), partition=p)

    def sums(self):
        found = {}
        for ts, k, v in self.sent:
            count, total = found.get((ts // 1000, k), (0, 0))
            found[ts // 1000, k] = (count + 1, total + v)
        return sorted(f'{start}|{k}|{count}|{total}' for (start, k), (count, total) in found.items())

    def longer(self):
        found = {}
        for ts, k, _ in self.sent:
            found[ts // 10000 * 10, k] = found.get((ts // 10000 * 10, k), 0) + 1
        return sorted(f'{start}|{k}|{count}' for (start, k), count in found.items())

    def rows(self):
        return sorted(f'{ts}|{k}|{v}' for ts, k, v in self.sent)


@unittest.skipUnless(brokers.there(), 'built without librdkafka')
@unittest.skipIf(brokers.traced(), 'ThreadSanitizer knows nothing of librdkafka')
class Shards(Base):
    topic = 'orders'

    def setUp(self):
        super().setUp()
        self.cluster = self.new_cluster()
        self.addCleanup(self.cluster.close)
        self.cluster.topic(self.topic, PARTITIONS)

    def new_cluster(self):
        return brokers.Brokers()

    def machine(self):
        """Where a server is to be; None: here."""

    def node(self, name, folder=None, partitions=None, started=True, text=None):
        folder = folder or os.path.join(self.folder, name)
        os.makedirs(folder, exist_ok=True)
        text = (text or CONFIG).replace('CONNECT', self.pg.connect).replace('SERVERS', self.cluster.servers)
        text = text.replace('topics: orders', f'topics: {self.topic}')
        server = harness.Server(text, folder=folder, machine=self.machine(), WEIR_NODE=name, WEIR_PARTITIONS=partitions or NODES[name])
        self.addCleanup(server.kill)
        if started:
            server.start()
        return server

    def copy_of(self, server, name):
        to = os.path.join(self.folder, name)
        done = harness.weir('backup', '-c', server.path, to, cwd=server.folder, env=server.env)
        self.assertEqual(done.returncode, 0, done.stderr)
        return to

    def wait_rows(self, sql, expected):
        """The lines that psql says are these, in any order; there may be no table yet."""
        found = []

        def are_those():
            try:
                found[:] = sorted(self.pg.psql(sql))
            except AssertionError as error:
                found[:] = [str(error)]
            return found == expected
        try:
            harness.wait_until(are_those, sql, every_s=0.1)
        except AssertionError as error:
            more, less = (collections.Counter(found) - collections.Counter(expected),
                          collections.Counter(expected) - collections.Counter(found))
            raise AssertionError(f'{error}: {len(found)} of {len(expected)}, too many {sorted(more)[:5]}, missing {sorted(less)[:5]};'
                                 f' wrong={more.total()} lost={less.total()}') from None

    def wait_model(self, producer):
        of_window = "SELECT extract(epoch FROM window_start)::bigint || '|' || k || '|' || "
        self.wait_rows(of_window + "count || '|' || v_sum FROM weir.sums", producer.sums())
        self.wait_rows(of_window + 'count_sum FROM weir.longer', producer.longer())
        self.wait_rows("SELECT (extract(epoch FROM ts) * 1000)::bigint || '|' || k || '|' || v FROM weir.rows"
                       " WHERE k NOT LIKE 'end%'", producer.rows())
        self.assertEqual(self.pg.psql('SELECT count(*) FROM weir.sums_late'), ['0'])

    def take_over(self, nodes, name, n):
        """Another machine goes on with a copy, the old one is cut off anywhere, and returned."""
        copy = self.copy_of(nodes[name], f'copy{n}')
        self.producer.send(400)
        nodes[name].process.send_signal(signal.SIGSTOP)
        old, nodes[name] = nodes[name], self.node(name, copy)
        return old

    def fault(self, dice, nodes, n):
        """To one of them; who goes on is in its place then. Returns who was stopped, to be woken up later."""
        name = dice.choice(sorted(nodes))
        what = dice.choice(['weir', 'postgres', 'copy', 'copy'])
        if what == 'copy':
            return self.take_over(nodes, name, n)
        if what == 'weir':
            nodes[name].restart()
        else:
            self.pg.restart()
        return None

    def check_shards(self, producer):
        """Each has its partitions, and rows of its own keys only."""
        harness.wait_until(lambda: self.pg.psql("SELECT shard, array_to_string(partitions, ' '), seq IS NULL FROM weir.weir_shards"
                                                " WHERE table_name = 'sums' ORDER BY 1") ==
                           [f'{name}|{" ".join(f"{producer.topic}/{p}" for p in sorted(map(int, re.split("[-,]", list_))))}|f'
                            for name, list_ in NODES.items()], 'the shards')
        found = self.pg.psql('SELECT DISTINCT k, weir_shard FROM weir.sums ORDER BY 1')
        shard_of = {int(p): name for name, list_ in NODES.items() for p in re.split('[-,]', list_)}
        self.assertEqual(sorted(found), sorted({f'{k}|{shard_of[partition_of(k)]}' for _, k, _ in producer.sent}))

    def test_rows_of_all_are_those_of_one_whatever_ends(self):
        dice = random.Random(3)
        self.producer = Producer(self.cluster)
        nodes = {name: self.node(name) for name in NODES}
        stopped = []
        for n in range(FAULTS):
            self.producer.send(dice.choice([100, 700]))
            old = self.fault(dice, nodes, n)
            if old:
                stopped.append(old)
            if stopped and dice.random() < 0.6:
                stopped[-1].process.send_signal(signal.SIGCONT)  # it writes nothing any more
        self.producer.send(300)
        self.producer.end()
        for old in stopped:
            old.process.send_signal(signal.SIGCONT)
        self.wait_model(self.producer)
        self.check_shards(self.producer)

    def test_who_was_superseded_is_fenced_and_others_are_not(self):
        producer = Producer(self.cluster)
        a, b = self.node('a'), self.node('b')
        c = self.node('c')
        producer.send(300)
        for table in ('rows', 'sums', 'sums_late', 'longer'):  # taken: otherwise it would take them once it wakes up
            harness.wait_until(lambda t=table: self.caught_up(b, t), f'{table} of b')
        copy = self.copy_of(b, 'copy')
        b.process.send_signal(signal.SIGSTOP)
        fresh = self.node('b', copy)
        producer.send(300)
        self.wait_far("SELECT DISTINCT pid FROM weir.weir_shards WHERE shard = 'b'", [str(fresh.process.pid)], 'who has all tables')
        b.process.send_signal(signal.SIGCONT)
        self.said(b, 'has taken its place')
        harness.wait_until(lambda: self.status(b, 'sums')['state'] == 'fenced', 'the fence')
        producer.send(300)
        producer.end()
        self.wait_model(producer)
        for server in (a, fresh, c):
            harness.wait_until(lambda s=server: self.status(s, 'sums')['state'] == 'well', 'the others are well')

    def test_only_its_partitions_are_read(self):
        producer = Producer(self.cluster)
        producer.send(500)
        server = self.node('c')
        mine = sorted((k, v) for _, k, v in producer.sent if partition_of(k) in (3, 4, 5))
        harness.wait_until(lambda: sorted(server.rows('SELECT k, v FROM rows')) == mine, 'rows of its partitions')
        harness.wait_until(lambda: sorted(server.rows('SELECT source FROM weir_bookmarks'))
                           == [('orders/3',), ('orders/4',), ('orders/5',)], 'their bookmarks')
        self.assertTrue(all('partitions=6' in mark for mark, in server.rows('SELECT bookmark FROM weir_bookmarks')))
        harness.wait_until(lambda: server.metric('weir_source_lag_messages', stream='s') == 0, 'no lag')
        # What is sent to others does not wait for it.
        self.cluster.send('orders', json.dumps({'ts': END, 'k': 'x', 'v': 1}), partition=0)
        self.cluster.send('orders', json.dumps({'ts': END, 'k': 'y', 'v': 2}), partition=5)
        mine = sorted([*mine, ('y', 2)])
        harness.wait_until(lambda: sorted(server.rows('SELECT k, v FROM rows')) == mine, 'the last of its partitions')
        harness.wait_until(lambda: server.metric('weir_source_lag_messages', stream='s') == 0, 'no lag of its own')

    def test_partitions_that_nobody_reads_are_told(self):
        producer = Producer(self.cluster)
        producer.send(500)
        a = self.node('a')
        self.node('b')
        self.said(a, "table 'rows': no server reads these partitions: orders/3, orders/4, orders/5;")
        self.assertIn('orders/3, orders/4, orders/5', str(a.get_json('/api/v1/warnings')))
        self.node('c')
        self.said(a, "table 'rows': all partitions are read")

    def test_all_publish_to_the_same_topics(self):
        """Side by side: none ends the transactions of another, and each message says whose number it has."""
        publish = 'kafka: {brokers: "SERVERS", pipelines: [sums], shard: "${WEIR_NODE}", backoff: 20ms, max_backoff: 100ms}'
        text = CONFIG.replace('  postgresql:', f'  {publish}\n  postgresql:')
        for table in ('sums', 'sums_late'):
            self.cluster.topic(f'weir.{table}', 3)
        producer = Producer(self.cluster)
        for name in NODES:
            self.node(name, text=text)
            producer.send(300)
        producer.end()
        found = []
        def all_there():
            found[:] = self.cluster.read_shards('weir.sums')
            return len(found) >= len(producer.sums())
        harness.wait_until(all_there, 'the messages')
        rows = [f"{json_time(row['window_start'])}|{row['k']}|{row['count']}|{row['v_sum']}" for *_, row in found]
        self.assertEqual(sorted(rows), producer.sums())
        for name in NODES:
            seqs = [seq for _, _, seq, shard, _, _ in found if shard == name]
            self.assertEqual(sorted(seqs), list(range(1, len(seqs) + 1)), name)

    # ---- Refused aloud -----------------------------------------------------------------------------

    def not_read(self, server, *words):
        """It is up, says why, and reads nothing."""
        server.start_process()
        server.wait_port()
        self.said(server, *words)
        self.assertEqual(server.get('/ready').status, 503)
        server.kill()

    def test_other_partitions_than_there_are_or_were(self):
        self.not_read(self.node('b', partitions='2,6', started=False), "'orders' has 6 partitions", "6 in 'partitions' is none")
        a = self.node('a', partitions='0-2')
        harness.wait_until(lambda: len(a.rows('SELECT 1 FROM weir_bookmarks')) == 3, 'bookmarks')
        a.kill()
        self.not_read(self.node('a', partitions='0-1', started=False), "'orders/2' was read into this database")
        more = brokers.Brokers()
        self.addCleanup(more.close)
        more.topic('orders', PARTITIONS + 1)
        self.cluster = more
        self.not_read(self.node('a', partitions='0-2', started=False), 'has 7 partitions, and had 6', 'keys may be in others')

    def test_partitions_that_are_anothers(self):
        producer = Producer(self.cluster)
        a = self.node('a', partitions='0-2')
        producer.send(200)
        producer.end()
        self.wait_far("SELECT count(*) > 0 FROM weir.sums", ['t'], 'rows')
        b = self.node('b', partitions='2-5')
        self.said(b, "table 'sums' is not carried", "shard 'a' has rows of partitions that are this one's, orders/2",
                  "another cluster that has the same name",
                  "DELETE FROM \\\"weir\\\".weir_shards WHERE table_name = 'sums' AND shard = 'a'")
        harness.wait_until(lambda: self.status(b, 'sums')['state'] == 'failing', 'the state')
        self.assertEqual(self.pg.psql('SELECT DISTINCT weir_shard FROM weir.sums'), ['a'])
        # They stay its own when it does not read them any more.
        a.kill()
        b.kill()
        harness.wait_until(lambda: self.pg.psql("SELECT count(*) FROM weir.weir_shards WHERE shard = 'b'") == ['0'], 'nothing of b')
        for shard, partitions in (('a', '0-1'), ('b', '2-5')):
            server = self.node(shard, partitions=partitions, started=False)
            server.start_process()
            server.wait_port()
            if shard == 'b':
                self.said(server, "table 'sums' is not carried", 'orders/2')
            else:
                self.said(server, "'orders/2' was read into this database")
                harness.wait_until(lambda s=server: self.caught_up(s, 'sums'), 'the place')

    def check(self, text):
        path = os.path.join(self.folder, 'weir.yaml')
        with open(path, 'w', encoding='utf-8') as file:
            file.write(text.replace('{folder}', self.folder).replace('{listen}', '127.0.0.1:0').replace('CONNECT', 'dbname=x'))
        return harness.weir('check', '-c', path, env=harness.environment(WEIR_NODE='n', WEIR_PARTITIONS='0'))

    def test_what_would_not_be_the_rows_of_one_server(self):
        self.assertEqual(self.check(CONFIG).returncode, 0, self.check(CONFIG).stderr)
        other = 'pipelines:\n  p: {from: s, PIPELINE}\n'
        for before, after, place, words in (
                ('partitions: "${WEIR_PARTITIONS}", ', '', '12:', "'partitions' is missing"),
                (', partitioned_by: k', '', '12:', "'partitioned_by' is missing"),
                ('partitioned_by: k', 'partitioned_by: [k, w]', '12:', "no field 'w'"),
                ('"${WEIR_PARTITIONS}"', '3-1', '12:', 'numbers of partitions'),
                ('"${WEIR_PARTITIONS}"', '[0-3, 2]', '12:', 'partition 2 is listed twice'),
                ('"${WEIR_PARTITIONS}"', '[]', '12:', 'numbers of partitions'),
                ('"${WEIR_PARTITIONS}"', '0-1023', '12:', 'numbers of partitions'),
                ('"${WEIR_PARTITIONS}"', '-1', '12:', 'numbers of partitions'),
                ('"${WEIR_PARTITIONS}"', '"0, 2-"', '12:', 'numbers of partitions'),
                (', shard: "${WEIR_NODE}"', '', '7:', "'shard' is missing"),
                ('  postgresql:', '  kafka: {brokers: x, pipelines: [longer]}\n  postgresql:', '7:', "publish the table of pipeline 'longer'"),
                ('"${WEIR_NODE}"', '"a b"', '7:', 'another one for each server'),
                ('pipelines:\n', other.replace('PIPELINE', 'window: {tumbling: 1s}, analyzers: [count]'), '15:', "has to have 'k'"),
                ('pipelines:\n', other.replace('PIPELINE', 'key: v, window: {tumbling: 1s}, analyzers: [count]'), '15:', "have 'k'"),
                ('pipelines:\n', other.replace('from: s', 'from: sums').replace('PIPELINE', 'window: {tumbling: 1m}, analyzers: [count]'),
                 '15:', "has to have 'k'"),
                ('pipelines:\n', other.replace('PIPELINE', 'key: k, join: {sums: {on: k, within: 1m, columns: [count]}},'
                                               ' window: {tumbling: 1s}, analyzers: [count]'), '15:', 'not joined'),
                ('pipelines:\n', other.replace('PIPELINE', 'key: k, backfill: [x.ndjson], window: {tumbling: 1s}, analyzers: [count]'),
                 '15:', 'the same files')):
            with self.subTest(after):
                self.assertIn(before, CONFIG)
                done = self.check(CONFIG.replace(before, after, 1))
                self.assertEqual(done.returncode, 78, done.stderr)
                self.assertIn(words, done.stderr)
                self.assertRegex(done.stderr, rf'weir\.yaml:{place}')
        known = 'pipelines:\n  p: {from: s, key: [v, k], window: {tumbling: 1s}, analyzers: [count]}\n'
        done = self.check(CONFIG.replace('pipelines:\n', known))
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_doctor_knows_how_many_there_are(self):
        text = CONFIG.replace('CONNECT', self.pg.connect).replace('SERVERS', self.cluster.servers)
        for partitions, status, words in (('0-5', 0, "of 's' can be read"), ('5-6', 1, "6 in 'partitions' is none of them")):
            with self.subTest(partitions):
                path = os.path.join(self.folder, 'weir.yaml')
                with open(path, 'w', encoding='utf-8') as file:
                    file.write(text.replace('{folder}', self.folder).replace('{listen}', '127.0.0.1:0'))
                done = harness.weir('doctor', '-c', path, env=harness.environment(WEIR_NODE='n', WEIR_PARTITIONS=partitions))
                self.assertIn(words, done.stdout + done.stderr)
                self.assertEqual(done.returncode, status, done.stdout)


@unittest.skipUnless(postgres.there(), 'built without libpq')
class Posted(Base):
    """The same tables, without Kafka: who posts where is the users' matter, rows of the same key included."""

    REVISED = ('  visits: {from: s, key: [k], window: {session: 300ms}, idle_timeout: 1h, late: revise, allowed_lateness: 5s,'
               ' analyzers: [count]}\n')

    def node(self, name, **more):
        folder = os.path.join(self.folder, more.pop('at', name))
        os.makedirs(folder, exist_ok=True)
        env = {key: more.pop(key) for key in list(more) if key.startswith('WEIR_')}
        return self.server(folder=folder, more=f'shard: {name}' if name else '', env=env, **more)

    def of(self, shard):
        return self.pg.psql(f"SELECT window_start, window_end, k, count FROM weir.visits WHERE weir_shard = '{shard}' ORDER BY 1, 3")

    def test_rows_of_another_shard_are_not_touched(self):
        a, b = self.node('a', pipelines=self.REVISED), self.node('b', pipelines=self.REVISED)
        a.start()
        b.start()
        def event(ms, k='a'):
            return json.dumps({'ts': T0 + ms, 'k': k, 'v': 1})
        for server in (a, b):
            server.post_ok('s', '\n'.join([event(0), event(1000), event(2000, 'b'), event(5000, 'c')]))
        for shard in ('a', 'b'):
            self.wait_far(f"SELECT k, count FROM weir.visits WHERE weir_shard = '{shard}' ORDER BY 1, window_start",
                          ['a|1', 'a|1', 'b|1'], 'rows of both')
        others = self.of('b')
        # Rows that are taken back, and replaced.
        a.post_ok('s', '\n'.join(event(ms) for ms in (250, 500, 750)))
        self.wait_far("SELECT k, count FROM weir.visits WHERE weir_shard = 'a' ORDER BY 1, window_start", ['a|5', 'b|1'], 'one visit')
        self.assertEqual(self.of('b'), others)
        # All rows, in the place of those that are there.
        self.pg.psql("UPDATE weir.visits SET count = 7 WHERE weir_shard = 'a';"
                     "INSERT INTO weir.visits (window_start, window_end, k, count, weir_shard)"
                     " SELECT window_start + '1 ms', window_end, k, count, 'a' FROM weir.visits WHERE weir_shard = 'b';"
                     "DELETE FROM weir.weir_shards WHERE shard = 'a';"
                     "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'weir'")
        self.wait_far("SELECT k, count FROM weir.visits WHERE weir_shard = 'a' ORDER BY 1, window_start", ['a|5', 'b|1'], 'all rows')
        self.assertEqual(self.of('b'), others)
        self.assertEqual(self.pg.psql('SELECT shard, partitions IS NULL FROM weir.weir_shards ORDER BY 1'), ['a|t', 'b|t'])

    def anew(self, server, sql=''):
        """All rows are carried once it begins again."""
        server.kill()
        harness.wait_until(lambda: self.pg.psql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'weir'") == ['0'], 'its end')
        self.pg.psql(sql + 'UPDATE weir.weir_shards SET seq = NULL')

    def all_carried(self, server, *tables):
        for table in tables:
            self.said(server, f"table '{table}': all of its rows are in PostgreSQL")

    def answers(self, server, query):
        status, headers, body = server.get(f'/api/v1/pipelines/visits/results?shards=all{query}')
        self.assertEqual(status, 200, body)
        return [json.loads(line) for line in body.splitlines()], headers.get('Weir-Next-Cursor')

    def test_any_of_them_answers_for_all(self):
        a, b = self.node('a', pipelines=self.REVISED), self.node('b', pipelines=self.REVISED)
        a.start()
        b.start()
        keys = ['a', 'B', 'ä', "x'y\"?", 'b', '']
        for n, server in enumerate((a, b)):
            server.post_ok('s', '\n'.join(json.dumps({'ts': T0 + 1000 * i + n, 'k': k, 'v': 1}) for i, k in enumerate(keys)) +
                           f'\n{{"ts": {T0 + 60000}, "k": "end", "v": 1}}')
        expected = sorted([T0 + 1000 * i + n, k, shard] for i, k in enumerate(keys) for n, shard in enumerate('ab'))
        self.wait_far('SELECT count(*) FROM weir.visits', [str(len(expected))], 'rows of both')

        def those(rows):
            return [[row['window_start'], row['k'], row['weir_shard']] for row in rows]
        for server in (a, b):
            rows, more = self.answers(server, '&format=ndjson&times=ms')
            self.assertEqual((those(rows), more), (expected, None))
            self.assertEqual(set(rows[0]), {'window_start', 'window_end', 'k', 'weir_shard', 'revision', 'count'})
        found, cursor = [], ''
        for server in [a, b] * len(expected):  # a cursor goes on at any of them
            rows, more = self.answers(server, f'&format=ndjson&times=ms&limit=5&order=desc{cursor}')
            found += those(rows)
            if not more:
                break
            cursor = f'&cursor={more}'
        self.assertEqual(found, expected[::-1])
        for query, wanted in [('weir_shard=b', lambda r: r[2] == 'b'), ('k=B&k=%C3%A4', lambda r: r[1] in 'Bä' and r[1]),
                              (f'from={T0 + 2000}&to={T0 + 4001}&k=b', lambda r: T0 + 2000 <= r[0] < T0 + 4001 and r[1] == 'b'),
                              ('k=&limit=all', lambda r: r[1] == '')]:
            rows, _ = self.answers(b, f'&format=ndjson&times=ms&{query}')
            self.assertEqual(those(rows), [r for r in expected if wanted(r)], query)
        rows, _ = self.answers(a, '&format=ndjson&columns=count,weir_shard&limit=2')
        self.assertEqual(rows, [{'count': 1, 'weir_shard': 'a'}, {'count': 1, 'weir_shard': 'b'}])

    def test_what_is_not_answered_for_all(self):
        a, alone = self.node('a', pipelines=self.REVISED), self.node('', at='alone', pipelines=self.REVISED)
        a.start()
        alone.start()
        path = '/api/v1/pipelines/visits/results?shards='
        self.wait_far("SELECT count(*) FROM weir.visits", ['0'], 'the table')  # before, nothing was carried
        for server, query, status, code in [(a, 'some', 400, 'bad_parameter'), (a, 'all&live=1', 400, 'bad_parameter'),
                                            (a, 'all&changed_since=now', 400, 'bad_parameter'), (a, 'all&k=%00', 400, 'bad_parameter'),
                                            (a, 'all&cursor=aTE7', 400, 'bad_parameter'), (alone, 'all', 400, 'bad_parameter')]:
            got, _, body = server.get(path + query)
            self.assertEqual((got, json.loads(body)['code']), (status, code), query)
        got, _, body = a.get(path + 'all')
        self.assertEqual((got, json.loads(body)), (200, []))
        self.pg.psql('DROP TABLE weir.visits')
        got, _, body = a.get(path + 'all')
        self.assertEqual((got, json.loads(body)['code']), (404, 'not_carried'))
        self.pg.stop()
        got, _, body = a.get(path + 'all')
        self.assertEqual((got, json.loads(body)['code']), (503, 'postgresql_failed'))

    def test_rows_that_another_copy_has_put_are_replaced(self):
        late = '  late: {from: s, key: [k], window: {tumbling: 1s}, idle_timeout: 1h, late: side, analyzers: [count]}\n'
        rows = "SELECT weir_shard, window_start, k, count FROM weir.plain ORDER BY 1, 2, 3"
        a = self.node('a', pipelines=plain() + late)
        a.start()
        self.post(a, 0, 200)
        a.wait_watermark('plain', (T0 + 3980) * 1000)
        for table in ('plain', 'late_late'):
            harness.wait_until(lambda t=table: self.caught_up(a, t), table)
        # Of what was committed just now it may not know yet.
        harness.wait_until(lambda: len(self.pg.psql(rows)) == len(a.rows('SELECT 1 FROM plain')) > 0, 'its rows')
        expected = self.pg.psql(rows)
        self.anew(a, "INSERT INTO weir.plain (window_start, window_end, k, count, weir_shard)"
                     " SELECT window_start - '1 h'::interval, window_end, k, 7, s"
                     " FROM (SELECT * FROM weir.plain ORDER BY 1 LIMIT 3) AS p, unnest(ARRAY['a', 'b']) AS s;"
                     "INSERT INTO weir.late_late SELECT (json_populate_record(NULL::weir.late_late, json_build_object("
                     "'window_start', now(), 'ts', now(), 'position', 1, 'row', 1, 'k', 'x', 'weir_shard', s))).* FROM unnest(ARRAY['a', 'b']) AS s;")
        others = [line for line in self.pg.psql(rows) if line.startswith('b')]
        self.assertEqual(len(others), 3)
        with self.node('a', pipelines=plain() + late) as again:
            self.all_carried(again, 'plain', 'late_late')
            self.assertEqual(self.pg.psql(rows), expected + others)
            self.assertEqual(self.pg.psql('SELECT weir_shard FROM weir.late_late'), ['b'])  # here it has no row

    def test_rows_stay_that_retain_took_here_also_when_it_is_taken_out(self):
        rows = 'SELECT window_start, k, count FROM weir.plain ORDER BY 1, 2'
        a = self.node('a', pipelines=plain('3s'))
        a.start()
        for at in range(0, 40000, 4000):
            self.post(a, at, 200)
        harness.wait_until(lambda: (a.rows('SELECT min(window_start) FROM plain')[0][0] or 0) > (T0 + 20000) * 1000, 'what retain takes')
        a.wait_watermark('plain', (T0 + 39980) * 1000)
        harness.wait_until(lambda: self.caught_up(a, 'plain'), 'all rows there')
        self.wait_far(f'SELECT max(window_start) = to_timestamp({T0 // 1000 + 38}) FROM weir.plain', ['t'], 'the last row')
        expected = self.pg.psql(rows)
        self.anew(a)
        self.assertEqual(self.pg.psql(f"SELECT min(window_start) < to_timestamp({T0 // 1000 + 2}) FROM weir.plain"), ['t'])
        with self.node('a', pipelines=plain()) as again:
            self.all_carried(again, 'plain')
            self.assertEqual(self.pg.psql(rows), expected)

    def test_who_has_another_definition_waits_for_the_others(self):
        a, b = self.node('a'), self.node('b')
        for server in (a, b):
            server.start()
            self.post(server, 0, 200)
            harness.wait_until(lambda s=server: self.caught_up(s, 'plain'), 'the place')
        other = plain().replace('idle_timeout', 'where: v < 50, idle_timeout')
        b.kill()
        b = self.node('b', pipelines=other)
        b.start()
        self.said(b, "table 'plain' is not carried", "shard 'a' has another definition of pipeline 'plain'", 'until all servers have the same',
                  "DELETE FROM \\\"weir\\\".weir_shards WHERE table_name = 'plain' AND shard = 'a'")
        harness.wait_until(lambda: self.status(b, 'plain')['state'] == 'failing', 'the state')
        self.assertIn('another definition', self.status(b, 'plain')['last_error'])
        a.restart()  # what it was it may be, whatever another one wants
        harness.wait_until(lambda: self.caught_up(a, 'plain'), 'the one that did not change')
        a.kill()
        a = self.node('a', pipelines=other)
        a.start()
        for server in (a, b):
            harness.wait_until(lambda s=server: self.caught_up(s, 'plain'), 'both, with the same')
            self.post(server, 10000, 400)
        self.wait_far("SELECT DISTINCT weir_shard FROM weir.plain WHERE window_start >="
                      f" to_timestamp({T0 // 1000 + 10}) ORDER BY 1", ['a', 'b'], 'rows of both')

    def superseded(self, **env):
        """A server is stopped, a copy goes on and puts rows, the old one wakes up: what PostgreSQL has, and what it should."""
        with self.node('a', **env) as old:
            at = self.post(old, 0, 300)
            harness.wait_until(lambda: self.caught_up(old, 'plain'), 'rows of the old one')
            to = os.path.join(self.folder, 'copy')
            done = harness.weir('backup', '-c', old.path, to, cwd=old.folder, env=old.env)
            self.assertEqual(done.returncode, 0, done.stderr)
            old.process.send_signal(signal.SIGSTOP)
            with self.node('a', at='copy') as fresh:
                self.post(fresh, at, 300)
                self.wait_same_but_shard(fresh)
                expected = fresh.rows('SELECT window_start, k, count FROM plain ORDER BY 1, 2')
                old.process.send_signal(signal.SIGCONT)
                self.woken(old, env)
            return self.pg.psql('SELECT (extract(epoch FROM window_start) * 1000000)::bigint, k, count FROM weir.plain'
                                ' ORDER BY 1, 2'), ['|'.join(map(str, row)) for row in expected]

    def wait_same_but_shard(self, server):
        n = []
        def all_there():
            n[:] = [server.rows('SELECT count(*) FROM plain')[0][0]]
            return self.caught_up(server, 'plain') and self.pg.psql('SELECT count(*) FROM weir.plain') == [str(n[0])]
        server.wait_watermark('plain', (T0 + 300 * 40 - 20) * 1000)
        harness.wait_until(all_there, 'its rows there')

    def woken(self, old, env):
        if env:
            harness.wait_until(lambda: sum("'plain': all of its rows are in PostgreSQL" in line for line in old.log) > 1, 'its rows')
        else:
            self.said(old, 'has taken its place')

    def test_who_wakes_up_changes_nothing(self):
        found, expected = self.superseded()
        self.assertEqual(found, expected)

    @unittest.skipUnless(faults_there(), 'built without --enable-faults')
    def test_without_the_fence_it_would(self):
        found, expected = self.superseded(WEIR_FAULT_SKIP='carry_fence')
        self.assertLess(len(found), len(expected))

    def test_another_writer_with_the_same_number_of_takeovers(self):
        """As two primaries count: it is superseded, unless it has the table from that one."""
        server = self.node('a')
        server.start()
        at = self.post(server, 0, 200)
        harness.wait_until(lambda: self.caught_up(server, 'plain'), 'rows')
        before = self.pg.psql('SELECT writer FROM weir.weir_shards')[0]
        server.restart()
        harness.wait_until(lambda: self.caught_up(server, 'plain'), 'the table')
        self.pg.psql(f"UPDATE weir.weir_shards SET writer = '{before}'")
        at = self.post(server, at, 200)
        self.wait_far(f"SELECT max(window_start) >= to_timestamp({T0 // 1000 + at // 1000 - 2}), count(DISTINCT weir_shard) FROM weir.plain",
                      ['t|1'], 'rows')
        harness.wait_until(lambda: self.pg.psql('SELECT writer FROM weir.weir_shards') != [before], 'the table')
        self.pg.psql("UPDATE weir.weir_shards SET writer = 'another'")
        self.post(server, at, 200)
        self.said(server, 'has taken its place')
        server.kill()

    def test_tables_of_one_and_of_many_are_not_the_same(self):
        with self.node('a') as server:
            at = self.post(server, 0, 200)
            self.wait_far('SELECT count(*) > 9 FROM weir.plain', ['t'], 'rows')
        with self.node('', at='whole') as server:
            self.post(server, at, 100)
            self.said(server, "table 'plain' is not carried", "column 'weir_shard' is in PostgreSQL only")
        with self.node('c', at='a') as server:
            self.said(server, "table 'plain' is not carried", "shard 'a' has rows of this database")
        self.pg.new_database()
        with self.node('', at='new') as server:
            self.post(server, at, 200)
            self.wait_far('SELECT count(*) > 9 FROM weir.plain', ['t'], 'rows')
        with self.node('a', at='more') as server:
            self.said(server, "table 'plain' is not carried", "no column 'weir_shard'")


if __name__ == '__main__':
    harness.main()
