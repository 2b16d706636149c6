# SPDX-License-Identifier: Apache-2.0
"""Two phases: the key is not that by which the topic's partitions are made, so each server adds up what it reads, publishes that by key, and
the server that has the key's partition puts it together. What all have together are the rows that Python makes of all events."""

import collections
import datetime
import json
import os
import random
import re
import statistics
import unittest
import uuid
import zlib

import brokers
import harness
from test_plugin_calls import build_sums

T0 = 1700000000000
END = T0 + 86400000  # of the last window that counts
CONFIG = '''
server:
  listen: {listen}
  database: {folder}/weir.db
  checkpoint_interval: 20ms
  commit_interval: 5ms
  kafka: {brokers: "SERVERS", pipelines: [parts], shard: "${WEIR_NODE}", watermarks: yes, backoff: 20ms, max_backoff: 100ms,
          options: {reconnect.backoff.max.ms: 100}}
streams:
  s:
    time: {field: ts, unit: ms}
    fields: {u: string, k: string, v: int}
    source: {kafka: {brokers: "SERVERS", topics: orders, partitions: "${WEIR_PARTITIONS}", partitioned_by: u,
                     options: {reconnect.backoff.max.ms: 100}}}
  p:
    time: window_start
    fields: {k: string, count: int, v_sum: int, v_min: int, v_max: int}
    source: {kafka: {brokers: "SERVERS", topics: weir.parts, partitions: "${WEIR_PARTITIONS}", partitioned_by: k, senders: SENDERS,
                     options: {reconnect.backoff.max.ms: 100}}}
pipelines:
  parts: {from: s, key: [k], window: {tumbling: 1s}, partial: rows, idle_timeout: off, retain: 1m,
          analyzers: [count, {stats: {of: v, emit: [sum, min, max]}}]}
  both: {from: p, key: [k], window: {tumbling: 1s}, idle_timeout: off,
         analyzers: [{sum: {of: count}}, {stats: {of: v_sum, emit: [sum]}}, {stats: {of: v_min, emit: [min]}},
                     {stats: {of: v_max, emit: [max]}}]}
  longer: {from: p, key: [k], window: {tumbling: 10s}, idle_timeout: off, analyzers: [{sum: {of: count}}]}
'''
# The same with states, which need not be numbers that can be added.
STATES = CONFIG.replace('v_sum: int, v_min: int, v_max: int',
                        'stats_state: string, distinct_state: string, topk_state: string, collect_state: string')
STATES = STATES.replace('count: int', 'count_state: string')
STATES = STATES[:STATES.index('pipelines:\n')] + '''pipelines:
  parts: {from: s, key: [k], window: {tumbling: 1s}, partial: states, idle_timeout: off, retain: 1m,
          analyzers: [count, {stats: {of: v, emit: [sum, mean, min, max, stddev]}}, {distinct: {of: u}}, {topk: {of: u, k: 300}},
                      {collect: {of: v, limit: 4000}}]}
  both: {from: p, key: [k], window: {tumbling: 1s}, idle_timeout: off, parts_of: parts}
  longer: {from: p, key: [k], window: {hopping: 10s, by: 5s}, idle_timeout: off, parts_of: parts}
'''
# And with a plugin of the test's, in versions.
SUMS = STATES.replace('  checkpoint_interval', '  plugin_path: {folder}\n  checkpoint_interval')
SUMS = SUMS.replace('count_state: string, stats_state: string, distinct_state: string, topk_state: string, collect_state: string',
                    'sums_state: string')
SUMS = SUMS[:SUMS.index('          analyzers:')] + '''          analyzers: [{sums: {of: v}}]}
  both: {from: p, key: [k], window: {tumbling: 1s}, idle_timeout: off, parts_of: parts}
'''
PARTITIONS = 6
NODES = {'a': '0-1', 'b': '2', 'c': '3,5,4'}
FAULTS = int(os.environ.get('WEIR_PHASES_FAULTS', '6'))
SEED = int(os.environ.get('WEIR_PHASES_SEED', '3'))


def seconds(text):
    return int(datetime.datetime.fromisoformat(text.replace('Z', '+00:00')).timestamp())


class Producer:
    """Events of 200 users, each in his partition, in the order of their times; of 30 pages, a few of which are most of them."""

    def __init__(self, cluster, topic='orders'):
        self.cluster, self.topic = cluster, topic
        self.dice = random.Random(5)
        self.sent = []  # (ts, k, v)
        self.users = []
        self.now = T0

    def send(self, n, partitions=range(PARTITIONS)):
        lines = {p: [] for p in partitions}
        for _ in range(n):
            self.now += self.dice.randrange(20)
            u, k, v = f'u{self.dice.randrange(200)}', f'k{int(self.dice.paretovariate(0.7)) % 30}', self.dice.randrange(1000)
            p = zlib.crc32(u.encode()) % PARTITIONS
            if p in lines:
                lines[p].append(json.dumps({'ts': self.now, 'u': u, 'k': k, 'v': v}))
                self.sent.append((self.now, k, v))
                self.users.append(u)
        for p, some in lines.items():
            while some:
                each = self.dice.randrange(1, 50)
                self.cluster.send(self.topic, '\n'.join(some[:each]), partition=p)
                some = some[each:]

    def end(self, partitions=range(PARTITIONS)):
        """All windows end, but those of the last events."""
        for p in partitions:
            self.cluster.send(self.topic, json.dumps({'ts': END, 'u': 'end', 'k': 'end', 'v': p}), partition=p)

    def both(self):
        found = collections.defaultdict(list)
        for ts, k, v in self.sent:
            found[ts // 1000 * 1000000, k].append(v)
        return sorted((start, k, len(v), sum(v), min(v), max(v)) for (start, k), v in found.items())

    def groups(self, start_of):
        """{(start, k): (values, users)}"""
        found = collections.defaultdict(lambda: ([], collections.Counter()))
        for (ts, k, v), u in zip(self.sent, self.users):
            for group in start_of(ts, k):
                found[group][0].append(v)
                found[group][1][u] += 1
        return found

    def longer(self):
        found = collections.Counter((ts // 10000 * 10000000, k) for ts, k, _ in self.sent)
        return sorted((start, k, n) for (start, k), n in found.items())


class Base(unittest.TestCase):
    orders, prefix, at = 'orders', 'weir.', None

    def setUp(self):
        self.folder = harness.folder_for_test(self)
        self.cluster = brokers.Brokers(at=self.at)
        self.addCleanup(self.cluster.close)
        self.cluster.topic(self.orders, PARTITIONS)
        self.cluster.topic(f'{self.prefix}parts', PARTITIONS)

    def node(self, name, text=CONFIG, senders='[a, b, c]', started=True):
        folder = os.path.join(self.folder, name)
        os.makedirs(folder, exist_ok=True)
        text = text.replace('SERVERS', self.cluster.servers).replace('SENDERS', senders).replace('weir.parts', f'{self.prefix}parts')
        text = text.replace('topics: orders', f'topics: {self.orders}').replace('watermarks: yes', f'watermarks: yes, prefix: {self.prefix}')
        server = harness.Server(text, folder=folder, WEIR_NODE=name, WEIR_PARTITIONS=NODES[name])
        self.addCleanup(server.kill)
        if started:
            server.start()
        return server

    def wait_rows(self, nodes, sql, expected):
        """The rows of all nodes together are these; none has a key that another one has."""
        found = []

        def are_those():
            found[:] = sorted(row for node in nodes for row in node.rows(sql))
            return found == expected
        try:
            harness.wait_until(are_those, sql, every_s=0.1)
        except AssertionError as error:
            more, less = (collections.Counter(found) - collections.Counter(expected),
                          collections.Counter(expected) - collections.Counter(found))
            raise AssertionError(f'{error}: {len(found)} of {len(expected)}, too many {sorted(more)[:5]}, missing {sorted(less)[:5]}') from None

    def wait_model(self, nodes, producer):
        self.wait_rows(nodes, "SELECT window_start, k, count_sum, v_sum_sum, v_min_min, v_max_max FROM both WHERE k <> 'end'",
                       producer.both())
        self.wait_rows(nodes, "SELECT window_start, k, count_sum FROM longer WHERE k <> 'end'", producer.longer())


class WhateverEnds:
    def test_rows_of_all_are_those_of_one_whatever_ends(self):
        dice = random.Random(SEED)
        producer = Producer(self.cluster, self.orders)
        nodes = {name: self.node(name) for name in NODES}
        for _ in range(FAULTS):
            producer.send(dice.choice([100, 700]))
            nodes[dice.choice(sorted(nodes))].restart()
        producer.send(300)
        producer.end()
        self.wait_model(nodes.values(), producer)

    def wait_states(self, nodes, table, groups):
        expected = sorted((*group, len(values), sum(values), min(values), max(values), len(users), json.dumps(sorted(values)))
                          for group, (values, users) in groups.items())
        of_end = "WHERE k <> 'end'"
        self.wait_rows(nodes, f"SELECT window_start, k, count, v_sum, v_min, v_max, u_distinct,"
                              f" (SELECT '[' || group_concat(value, ', ') || ']' FROM (SELECT value FROM json_each(v_list) ORDER BY value))"
                              f" FROM {table} {of_end}", expected)
        expected = sorted((*group, u, n) for group, (_, users) in groups.items() for u, n in users.items())
        self.wait_rows(nodes, f'SELECT window_start, k, u, u_count FROM {table}_topk {of_end}', expected)
        for node in nodes:
            for start, k, mean, stddev in node.rows(f'SELECT window_start, k, v_mean, v_stddev FROM {table} {of_end}'):
                values = groups[start, k][0]
                self.assertAlmostEqual(mean, statistics.fmean(values), delta=1e-6)
                if len(values) > 1:
                    self.assertAlmostEqual(stddev, statistics.stdev(values), delta=1e-6)

    def test_states_are_merged_as_if_one_server_had_all_rows(self):
        dice = random.Random(SEED + 1)
        producer = Producer(self.cluster, self.orders)
        nodes = {name: self.node(name, STATES) for name in NODES}
        for _ in range(FAULTS):
            producer.send(dice.choice([100, 700]))
            nodes[dice.choice(sorted(nodes))].restart()
        producer.send(300)
        producer.end()
        self.wait_states(nodes.values(), 'both', producer.groups(lambda ts, k: [(ts // 1000 * 1000000, k)]))
        self.wait_states(nodes.values(), 'longer', producer.groups(lambda ts, k: [(ts // 5000 * 5000000 - before, k) for before in (0, 5000000)]))


@unittest.skipUnless(brokers.there(), 'built without librdkafka')
@unittest.skipIf(brokers.traced(), 'ThreadSanitizer knows nothing of librdkafka')
class Phases(WhateverEnds, Base):
    def test_states_of_another_definition_are_told(self):
        producer = Producer(self.cluster, self.orders)
        a = self.node('a', STATES)
        self.node('b', STATES)
        self.node('c', STATES.replace('k: 300', 'k: 299'))
        producer.send(500)
        producer.end()
        harness.wait_until(lambda: any(re.search("a part of 'weir.parts/[01]/c' cannot be merged: the server that has sent it has "
                                                 'another definition', line) for line in a.log), 'why it stops')

    def test_states_of_other_versions_wait_for_the_plugin_and_older_ones_are_merged(self):
        """One server after the other gets a newer plugin, which loads the older forms."""
        def upgrade(name, version, oldest):
            folder = os.path.join(self.folder, name)
            os.makedirs(folder, exist_ok=True)
            build_sums(folder, version, oldest)
        producer = Producer(self.cluster, self.orders)
        for name, version, oldest in (('a', 1, 0), ('b', 2, 1), ('c', 3, 3)):
            upgrade(name, version, oldest)
        nodes = {name: self.node(name, SUMS) for name in NODES}
        producer.send(500)
        producer.end()
        for name, others, versions, ours, what in (
                ('a', 'bc', '23', 1, ': once the plugin here is as new as there it goes on where it was'),
                ('c', 'ab', '12', 3, ', which does not take older ones')):
            why = re.compile(f"a part of 'weir.parts/[0-5]/[{others}]' cannot be merged: its states are of version [{versions}], "
                             f'those of this server of {ours}{what}')
            harness.wait_until(lambda why=why, name=name: any(why.search(line) for line in nodes[name].log), f'why {name} stops')
        for name, node in nodes.items():
            upgrade(name, 3, 1)
            node.restart()
        self.wait_rows(nodes.values(), "SELECT window_start, k, sum FROM both WHERE k <> 'end'",
                       [(start, k, total) for start, k, _, total, _, _ in producer.both()])

    def test_watermarks_say_what_does_not_follow(self):
        """Of all that is in the topic, of each server in each partition by itself."""
        producer = Producer(self.cluster, self.orders)
        for name in NODES:
            self.node(name)
            producer.send(700)
        producer.end()
        found = []

        def all_told():
            found[:] = self.cluster.read_shards('weir.parts')
            ends = {(p, shard) for p, op, us, shard, *_ in found if op == 'watermark' and us == END * 1000}
            return ends == {(p, name) for p in range(PARTITIONS) for name in NODES}
        harness.wait_until(all_told, 'the last watermarks')
        told, at = {}, {}
        for p, op, number, shard, key, value in found:
            if op == 'watermark':
                self.assertGreater(number, told.get((p, shard), 0))
                told[p, shard] = number
                self.assertEqual((number % 1000000, value), (0, {}))
            else:
                self.assertEqual(op, 'put')
                self.assertGreaterEqual(seconds(value['window_start']) * 1000000, told.get((p, shard), 0))
                self.assertEqual(at.setdefault(key['k'], p), p)
        count = sum(value['count'] for *_, value in found if value and value['k'] != 'end')
        self.assertEqual(count, len(producer.sent))

    def test_a_sender_that_is_away_holds_windows_open(self):
        producer = Producer(self.cluster, self.orders)
        nodes = [self.node('a'), self.node('b')]
        producer.send(500)
        producer.end()
        for node in nodes:
            node.wait_watermark('parts', END * 1000)

        def all_read():
            last = {}
            for p, op, us, shard, *_ in self.cluster.read_shards('weir.parts'):
                if op == 'watermark':
                    last[p, shard] = us
            return (list(last.values()) == [END * 1000] * 2 * PARTITIONS
                    and all(node.metric('weir_source_lag_messages', stream='p') == 0 for node in nodes))
        harness.wait_until(all_read, 'all that these two have sent')
        self.assertEqual([row for node in nodes for row in node.rows('SELECT * FROM both')], [])
        nodes.append(self.node('c'))
        self.wait_model(nodes, producer)
        self.assertEqual([node.metric('weir_pipeline_late_total', pipeline='both') for node in nodes], [0, 0, 0])

    def test_who_is_no_sender_is_told(self):
        producer = Producer(self.cluster, self.orders)
        nodes = [self.node(name, senders='[a, b]') for name in NODES]
        producer.send(300)
        producer.end()
        for node in nodes:
            harness.wait_until(lambda n=node: any("'c' has sent it, which is none of 'senders'" in line for line in n.log), 'who it is')
            harness.wait_until(lambda n=node: n.get('/ready').status == 503, '/ready')

    def test_with_senders_it_is_another_source(self):
        self.cluster.send('weir.parts', '{"window_start": 0, "k": "x", "count": 1, "v_sum": 1, "v_min": 1, "v_max": 1}')
        a = self.node('a', CONFIG.replace(', senders: SENDERS', ''))
        harness.wait_until(lambda: a.rows("SELECT 1 FROM weir_bookmarks WHERE source = 'weir.parts/0'"), 'a bookmark')
        a.kill()
        a = self.node('a', started=False)
        a.start_process()
        a.wait_port()
        harness.wait_until(lambda: any("'weir.parts/0' was read without 'senders' into this database" in line for line in a.log), 'why')

    def check(self, text):
        path = os.path.join(self.folder, 'weir.yaml')
        with open(path, 'w', encoding='utf-8') as file:
            file.write(text.replace('{folder}', self.folder).replace('{listen}', '127.0.0.1:0').replace('SENDERS', '[a, b]'))
        return harness.weir('check', '-c', path, env=harness.environment(WEIR_NODE='a', WEIR_PARTITIONS='0'))

    def refused(self, text, faults):
        done = self.check(text)
        self.assertEqual(done.returncode, 0, done.stderr)
        for before, after, place, words in faults:
            with self.subTest(after):
                self.assertIn(before, text)
                done = self.check(text.replace(before, after, 1))
                self.assertEqual(done.returncode, 78, done.stderr)
                self.assertIn(words, done.stderr)
                self.assertRegex(done.stderr, rf'weir\.yaml:{place}')

    def test_what_cannot_be_put_together(self):
        self.refused(CONFIG, (
            (', partial: rows', '', '21:', "('partial')"),
            ('partial: rows', 'partial: all', '21:', 'rows'),
            ('partial: rows', 'partial: rows, late: side', '21:', "'late: side' does not go with 'partial'"),
            ('partial: rows', 'partial: rows, late: revise, allowed_lateness: 1s', '21:', "'late: revise' does not go"),
            ('partial: rows', 'partial: rows, backfill: journal', '21:', "'backfill' does not go with 'partial'"),
            ('{tumbling: 1s}, partial', '{session: 1s}, partial', '21:', 'windows by time'),
            ('watermarks: yes', 'watermarks: no', '21:', "with 'watermarks: yes'"),
            ('pipelines: [parts]', 'pipelines: [both]', '21:', "has to publish pipeline 'parts'"),
            (', shard: "${WEIR_NODE}"', '', '7:', "'shard' is missing"),
            ('  kafka:', '  postgresql: {connect: dbname=x, shard: a}\n  kafka:', '22:', 'are parts'),
            ('SENDERS', '[a, b, a]', '18:', "'a' is listed twice"),
            ('SENDERS', '[a, "b c"]', '18:', 'another one for each server'),
            ('SENDERS', '[]', '18:', "one to 100 names"),
            ('"${WEIR_PARTITIONS}", partitioned_by: k', '0-400, partitioned_by: k', '18:', 'at most 1023 sources')))

    def test_what_cannot_be_merged(self):
        both, first = '  both:', '[count, {stats'
        self.refused(STATES, (
            (both, '  x: {from: p, key: [k], window: {tumbling: 1s}, parts_of: nobody}\n  both:', '24:', "a pipeline 'nobody'"),
            (both, '  x: {from: p, key: [k], window: {tumbling: 1s}, parts_of: parts, analyzers: [count]}\n  both:', '24:',
             "the analyzers are those of 'parts'"),
            (both, '  x: {from: p, key: [k], window: {session: 1s}, parts_of: parts}\n  both:', '24:', 'windows by time'),
            (both, '  x: {from: s, key: [u], window: {tumbling: 1s}, parts_of: parts}\n  both:', '24:', 'whose source has to name'),
            (', topk_state: string', '', '24:', "no field 'topk_state' of type string"),
            ('topk_state: string', 'topk_state: int', '24:', "no field 'topk_state' of type string"),
            ('SENDERS', '[b, c]', '24:', "'a', this one, among them"),
            ('partial: states', 'partial: rows', '24:', "states' has to stand before"),
            (first, "[{sql: {select: 'SELECT 1 AS one FROM rows'}}, count, {stats", '22:', 'takes all rows of a window at once'),
            ('parts: {from: s, key: [k]', 'parts: {from: s, key: [k, u]', '24:', "the key has to have 'u', too"),
            (first, '[{holt_winters: {of: v}}, count, {stats', '22:', 'cannot merge states'),
            (first, '[{sum: {of: v}, run: process}, {stats', '22:', "not with 'run: process'")))


@unittest.skipUnless(os.environ.get('WEIR_KAFKA'), 'no $WEIR_KAFKA')
@unittest.skipIf(brokers.traced(), 'ThreadSanitizer knows nothing of librdkafka')
class Real(WhateverEnds, Base):
    """Brokers that keep offsets of transactions, and hand out none that was given up."""
    at = os.environ.get('WEIR_KAFKA')

    def setUp(self):
        self.orders, self.prefix = f'orders-{uuid.uuid4().hex}', f'weir-{uuid.uuid4().hex}.'
        super().setUp()


if __name__ == '__main__':
    harness.main()
