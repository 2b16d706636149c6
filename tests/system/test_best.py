# SPDX-License-Identifier: Apache-2.0
"""The best rows of a group with their columns: what Python sorts them to, in every kind of window, whatever the workers and a kill -9
in the middle."""

import collections
import json
import random
import unittest

import harness

KINDS = {
    'tumbling': '{tumbling: 2s}',
    'hopping': '{hopping: 6s, by: 2s}',
    'cascade': '{tumbling: [2s, 10s]}',
    'session': '{session: 300ms}',
    'count': '{count: 6, by: 2}',
    'global': '{global: 5s}',
}
# What is asked -> the order in which Python sorts the rows of a group; they come numbered in the order of the log.
ASKED = {
    'highest': ('{by: price, n: 3}', lambda e: (-e['price'], e['seq'])),
    'lowest': ('{by: price, n: 2, order: asc, columns: [name, seq]}', lambda e: (e['price'], e['seq'])),
    'largest': ('{by: size, n: 4}', lambda e: (-e['size'], e['seq'])),
    'latest': ('{}', lambda e: (-e['ts'], -e['seq'])),
    'first': ('{n: 3, order: asc}', lambda e: (e['ts'], e['seq'])),
}
KEPT = {'highest': 3, 'lowest': 2, 'largest': 4, 'latest': 1, 'first': 3}
NULL = {'highest': 'price', 'lowest': 'price', 'largest': 'size'}
CONFIG = '''
server: {listen: {listen}, database: {folder}/weir.db, checkpoint_interval: 50ms}
streams:
  bids: {time: {field: ts, unit: ms}, fields: {key: string, price: float, size: int, name: string, sold: bool, seq: int}}
pipelines:
''' + ''.join(f'''
  {kind}_{workers}: {{from: bids, key: [key], out_of_orderness: 200ms, idle_timeout: off, workers: {workers}, window: {window},
    analyzers: [{', '.join(f"{{rows: {asked}, as: {name}}}" for name, (asked, _) in ASKED.items())}]}}
''' for kind, window in KINDS.items() for workers in (1, 3))
NAMES = ['', 'ä', 'x' * 300, '"', 'plain', None]


def make_events():
    dice = random.Random(11)
    return [{'ts': 15 * i - 9000 - dice.randrange(150), 'key': f'k{dice.randrange(12)}', 'seq': i,
             'price': dice.choice([None, 0.0, -0.0, -1.5, 1e300] + [dice.randrange(20) / 4 for _ in range(20)]),
             'size': dice.choice([None, -2**63 + 1, 2**63 - 1, dice.randrange(-5, 5)]), 'name': dice.choice(NAMES),
             'sold': dice.random() < .5} for i in range(2400)]


def fixed(events, size, by):
    groups = collections.defaultdict(list)
    for e in events:
        start = e['ts'] // by * by
        while start > e['ts'] - size:
            groups[start, start + size, e['key']].append(e)
            start -= by
    return groups


def of_keys(events):
    found = collections.defaultdict(list)
    for e in events:
        found[e['key']].append(e)
    return found


def sessions(events):
    groups = {}
    for key, rows in of_keys(events).items():
        of = []
        for e in sorted(rows, key=lambda e: e['ts']) + [{'ts': 10**9}]:
            if of and e['ts'] >= of[-1]['ts'] + 300:
                groups[of[0]['ts'], of[-1]['ts'] + 300, key] = of
                of = []
            of.append(e)
    return groups


class Best(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.events = make_events()
        cls.watermark = max(e['ts'] for e in cls.events) - 200
        cls.server = harness.Server.for_class(cls, CONFIG)
        for i in range(0, len(cls.events), 100):
            if i in (700, 1500):
                cls.server.kill()
                cls.server.start()
            cls.server.post_ok('bids', cls.events[i:i + 100])
        for kind in KINDS:
            for workers in (1, 3):
                cls.server.wait_watermark(f'{kind}_{workers}', cls.watermark * 1000)

    def check(self, kind, groups, size='', closed=True):
        """groups: {(start, end, key): events}"""
        if closed:
            groups = {g: rows for g, rows in groups.items() if g[1] <= self.watermark}
        self.assertGreater(len(groups), 10)
        for name, (_, order) in ASKED.items():
            expected = []
            columns = ['name', 'seq'] if name == 'lowest' else ['price', 'size', 'name', 'sold', 'seq']
            for (start, _, key), rows in groups.items():
                rows = sorted((e for e in rows if e.get(NULL.get(name), 0) is not None), key=order)
                expected += [(start * 1000, key, i + 1, *(e[c] for c in columns)) for i, e in enumerate(rows[:KEPT[name]])]
            for workers in (1, 3):
                table = f'{kind}_{workers}{size}_{name}'
                with self.subTest(table):
                    got = self.server.rows(f'SELECT window_start, "key", rank, {", ".join(columns)} FROM {table}')
                    self.assertEqual(sorted(map(str, got)), sorted(map(str, self.plain(expected))))

    @staticmethod
    def plain(rows):
        """As SQLite gives them: bools as numbers, 0.0 for -0.0."""
        return [tuple(int(v) if isinstance(v, bool) else v + 0.0 if isinstance(v, float) else v for v in r) for r in rows]

    def test_tumbling(self):
        self.check('tumbling', fixed(self.events, 2000, 2000))

    def test_hopping(self):
        self.check('hopping', fixed(self.events, 6000, 2000))

    def test_cascade(self):
        for size in (2, 10):
            self.check('cascade', fixed(self.events, size * 1000, size * 1000), f'_{size}s')

    def test_session(self):
        self.check('session', sessions(self.events))

    def test_count(self):
        groups = {}
        for key, rows in of_keys(self.events).items():
            for first in range(0, len(rows) - 5, 2):
                of = rows[first:first + 6]
                groups[min(e['ts'] for e in of), (key, first), key] = of
        self.check('count', groups, closed=False)

    def test_for_ever_replaced_by_key_and_rank(self):
        """Up to the row before the one with which the watermark reached the last border."""
        newest, border, last = None, None, 0
        for i, e in enumerate(self.events):
            newest = e['ts'] if newest is None else max(newest, e['ts'])
            at = (newest - 200) // 5000
            last = i if border is not None and at > border else last
            border = at
        self.check('global', {(0, 0, key): rows for key, rows in of_keys(self.events[:last]).items()}, closed=False)

    def test_the_latest_row_as_of_now(self):
        """Windows for ever that are asked while they are open."""
        answer = self.server.get('/api/v1/pipelines/global_3/results/global_3_latest?live=1&limit=all&format=ndjson')
        got = {r['key']: r['seq'] for r in map(json.loads, answer.body.splitlines())}
        self.assertEqual(got, {key: min(rows, key=ASKED['latest'][1])['seq'] for key, rows in of_keys(self.events).items()})

    def test_what_cannot_be_a_column_is_said(self):
        for asked, text in (('{by: name}', "column 'name' is of type string, but 'by' of 'rows' takes"),
                            ('{columns: [key]}', "column 'key' is in table"), ('{n: 1001}', 'n'), ('{order: up}', 'order')):
            with self.subTest(asked):
                done = self.check_config(asked)
                self.assertEqual(done.returncode, 78, done.stderr)
                self.assertIn(text, done.stderr)

    def check_config(self, asked):
        path = f'{self.server.folder}/bad.yaml'
        with open(path, 'w', encoding='utf-8') as file:
            file.write('streams: {s: {fields: {key: string, name: string, x: float}}}\n'
                       f'pipelines: {{p: {{from: s, key: [key], window: {{tumbling: 1s}}, analyzers: [rows: {asked}]}}}}\n')
        return harness.weir('check', '-c', path)


if __name__ == '__main__':
    harness.main()
