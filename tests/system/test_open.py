# SPDX-License-Identifier: Apache-2.0
"""Results of windows that are still open, live=1: equal to what Python computes from the events so far, for every kind of window,
and beside those of the table neither with a gap nor with a double."""

import collections
import copy
import csv
import io
import json
import random
import threading
import unittest
import urllib.parse

import harness

ORDER = 400  # ms
KINDS = {
    'tumbling': '{tumbling: 2s}',
    'hopping': '{hopping: 6s, by: 2s}',
    'cascade': '{tumbling: [2s, 10s, 40s]}',
    'session': '{session: 1s}',
    'until': '{until: stop}',
    'count': '{count: 7}',
    'count_by': '{count: 6, by: 2}',
    'global': '{global: 5s}',
}
WORKERS = (1, 2, 7)
KEYS = [f'k{i}' for i in range(9)] + ['ä,b "c"', '']
CONFIG = '''
server: {listen: {listen}, database: {folder}/weir.db, sql_timeout: 10m}
streams:
  input: {time: {field: ts, unit: ms}, fields: {key: string, n: int, seq: int, tag: string, stop: int}}
  busy: {time: {field: ts, unit: ms}, fields: {key: string, seq: int}}
  lot: {time: {field: ts, unit: ms}, fields: {key: int}}
pipelines:
''' + ''.join(f'''
  {kind}_{workers}: {{from: input, key: [key], out_of_orderness: {ORDER}ms, idle_timeout: off, workers: {workers},
    window: {window}, analyzers: [count, {{stats: {{of: n, emit: [sum]}}}}, {{topk: {{of: tag, k: 20}}}}
    {', sql: "SELECT count(*) AS rows, max(n) AS most FROM events"' if kind != 'global' else ''}]}}
''' for kind, window in KINDS.items() for workers in WORKERS) + ''.join(f'''
  busy_{kind}: {{from: busy, key: [key], idle_timeout: off, workers: 2, window: {KINDS[kind]},
    analyzers: [count, {{stats: {{of: seq, emit: [sum]}}}}]}}
''' for kind in ('tumbling', 'session', 'count', 'global')) + '''
  child: {from: tumbling_2, key: [key], window: {tumbling: 10s}, analyzers: [{stats: {of: count, emit: [sum]}}]}
  many: {from: lot, key: [key], window: {tumbling: 1h}, idle_timeout: off, analyzers: [count]}
  rows: {from: input, window: none, select: [key, n], idle_timeout: off}
'''


def make_events():
    """Keys come and go in bursts, a little out of order; negative times, too."""
    dice = random.Random(5)
    events = []
    for i in range(3000):
        now = 20 * i - 30000
        key = KEYS[(i // 150 + dice.randrange(4)) % len(KEYS)]
        ts = now - dice.randrange(ORDER // 2)
        events.append({'ts': ts, 'key': key, 'n': dice.randrange(100), 'tag': dice.choice('abcde'),
                       'stop': (now // 3000 + 1) * 3000 + ORDER, 'seq': i})
    return events


def floor(ts, size):
    return ts // size * size


class Model:
    """{(start, key): (end, rows)} of windows that have not ended."""

    def __init__(self, events):
        self.events = events
        self.watermark = max(e['ts'] for e in events) - ORDER
        self.of_key = collections.defaultdict(list)
        for e in events:
            self.of_key[e['key']].append(e)

    def fixed(self, size, by):
        found = collections.defaultdict(list)
        for e in self.events:
            start = floor(e['ts'], by)
            while start > e['ts'] - size:
                if start + size > self.watermark:
                    found[start, e['key']].append(e)
                start -= by
        return {(start, key): (start + size, rows) for (start, key), rows in found.items()}

    def session(self):
        found = {}
        for key, rows in self.of_key.items():
            session = []
            for e in sorted(rows, key=lambda e: e['ts']):
                if session and e['ts'] >= session[-1]['ts'] + 1000:
                    session = []
                session.append(e)
            if session[-1]['ts'] + 1000 > self.watermark:
                found[session[0]['ts'], key] = (session[-1]['ts'] + 1000, session)
        return found

    def until(self):
        """A row goes to the first of the key's windows that has not ended before it."""
        found = {}
        for key, rows in self.of_key.items():
            windows = []
            for e in rows:
                fits = [w for w in windows if w[0] > e['ts']]
                if fits:
                    min(fits)[1].append(e)
                else:
                    windows.append((e['stop'], [e]))
            for end, of in windows:
                if end > self.watermark:
                    found[min(e['ts'] for e in of), key] = (end, of)
        return found

    def count(self, size, by):
        """{(start, key, number): ...}"""
        found = {}
        for key, rows in self.of_key.items():
            for number, first in enumerate(range(0, len(rows), by), 1):
                of = rows[first:first + size]
                if len(of) < size:
                    found[min(e['ts'] for e in of) , key, number] = (max(e['ts'] for e in of) + 0.001, of)
        return found

    def changed(self, every):
        """Of windows for ever: the keys that have rows behind the last border, and what is next."""
        border, newest, since = None, None, 0
        for i, e in enumerate(self.events):
            newest = e['ts'] if newest is None else max(newest, e['ts'])
            at = floor(newest - ORDER, every)
            if border is not None and at > border:
                since = i
            border = at
        return {(0, key): (border + every, rows) for key, rows in self.of_key.items()
                if rows[-1]['seq'] >= since}


def tell(found):
    return sorted((*group, end, len(rows), sum(e['n'] for e in rows)) for group, (end, rows) in found.items())


class Open(unittest.TestCase):
    maxDiff = 3000

    @classmethod
    def setUpClass(cls):
        cls.server = harness.Server.for_class(cls, CONFIG)
        cls.events = make_events()
        for i in range(0, len(cls.events), 500):
            cls.server.post_ok('input', cls.events[i:i + 500])
        cls.model = Model(cls.events)
        for pipeline in [f'{kind}_{workers}' for kind in KINDS for workers in WORKERS]:
            harness.wait_until(lambda p=pipeline: cls.server.metric('weir_pipeline_events_total', pipeline=p) == 3000, pipeline)

    def at_last(self, path):
        """The answer once the workers are not too busy for one."""
        return harness.wait_until(lambda: (answer := self.server.get(path)).status != 504 and answer, 'an answer')

    def ask(self, pipeline, table='', **query):
        query = {'live': '1', 'times': 'us', 'format': 'ndjson', 'limit': 'all', **query}
        answer = self.at_last(f'/api/v1/pipelines/{pipeline}/results{table and "/" + table}?' +
                              urllib.parse.urlencode(query, doseq=True))
        self.assertEqual(answer.status, 200, answer.body)
        self.headers = answer.headers
        return [json.loads(line) for line in answer.body.splitlines()]

    def check(self, kind, found, size='', number=False):
        expected = tell(found)
        self.assertGreater(len(expected), 3)
        for workers in WORKERS:
            name = f'{kind}_{workers}'
            table = f'{name}_{size}' if size else name
            with self.subTest(table):
                rows = self.ask(name, table)
                keys = ['window_start', 'key'] + ['number'] * number
                got = [(r['window_start'] // 1000, *(r[k] for k in keys[1:]), r['window_end'] / 1000,
                        r['count'], r['n_sum']) for r in rows if r['open']]
                self.assertEqual(sorted(got), expected)
                self.assertEqual(len(self.headers['Weir-Positions'].split(',')), workers)
                open_groups = {tuple(r[k] for k in keys) for r in rows if r['open']}
                closed = self.server.rows(f'SELECT {", ".join(keys)} FROM {table} ORDER BY {", ".join(keys)}')
                self.assertEqual([tuple(r[k] for k in keys) for r in rows if not r['open']],
                                 [g for g in closed if g not in open_groups])
                order = [tuple(str(r[k]).encode() if k == 'key' else r[k] for k in keys) for r in rows]
                self.assertEqual(order, sorted(order))
                self.check_many(name, size, found, keys)

    def check_many(self, name, size, found, keys):
        """Analyzers that give many rows, and those that take all rows of a window."""
        of = f'_{size}' if size else ''
        tops = collections.defaultdict(dict)
        for r in self.ask(name, f'{name}{of}_topk', live='only'):
            self.assertTrue(r['open'])
            tops[(r['window_start'] // 1000, *(r[k] for k in keys[1:]))][r['tag']] = r['tag_count']
        self.assertEqual(tops, {g: collections.Counter(e['tag'] for e in rows) for g, (_, rows) in found.items()})
        if name.startswith('global'):
            return
        whole = {(r['window_start'] // 1000, *(r[k] for k in keys[1:])): (r['rows'], r['most'])
                 for r in self.ask(name, f'{name}{of}_sql', live='only')}
        self.assertEqual(whole, {g: (len(rows), max(e['n'] for e in rows)) for g, (_, rows) in found.items()})

    def test_tumbling(self):
        self.check('tumbling', self.model.fixed(2000, 2000))

    def test_hopping(self):
        self.check('hopping', self.model.fixed(6000, 2000))

    def test_cascade(self):
        for size in (2, 10, 40):
            self.check('cascade', self.model.fixed(size * 1000, size * 1000), f'{size}s')

    def test_session(self):
        self.check('session', self.model.session())

    def test_until(self):
        self.check('until', self.model.until())

    def test_count(self):
        self.check('count', self.model.count(7, 7), number=True)

    def test_count_by(self):
        self.check('count_by', self.model.count(6, 2), number=True)

    def test_global(self):
        self.check('global', self.model.changed(5000))

    def test_filters_columns_and_formats_are_those_of_closed_results(self):
        rows = self.ask('hopping_2')
        some = [r for r in rows if r['key'] in ('k3', 'ä,b "c"', '')]
        self.assertTrue(any(r['open'] for r in some))
        self.assertEqual(self.ask('hopping_2', key=['k3', 'ä,b "c"', '']), some)
        newest = max(r['window_start'] for r in rows)
        self.assertEqual(self.ask('hopping_2', **{'from': newest}), [r for r in rows if r['window_start'] >= newest])
        self.assertEqual(self.ask('hopping_2', to=newest), [r for r in rows if r['window_start'] < newest])
        self.assertEqual(self.ask('hopping_2', order='desc'), rows[::-1])
        self.assertEqual(self.ask('hopping_2', live='only'), [r for r in rows if r['open']])
        self.assertEqual(self.ask('hopping_2', columns='count,key'),
                         [{k: r[k] for k in ('count', 'key', 'open')} for r in rows])
        answer = self.server.get('/api/v1/pipelines/hopping_2/results?live=1&format=csv&limit=all&columns=key,count')
        table = list(csv.reader(io.StringIO(answer.body.decode(), newline='')))
        self.assertEqual(table, [['key', 'count', 'open']] +
                         [[r['key'], str(r['count']), 'true' if r['open'] else 'false'] for r in rows])

    def test_pages_go_on_behind_a_cursor(self):
        for pipeline, table in (('hopping_7', ''), ('global_2', ''), ('global_2', 'global_2_topk')):
            for order in ('asc', 'desc'):
                rows, cursor = [], {}
                while cursor is not None:
                    page = self.ask(pipeline, table, limit=7, order=order, **cursor)
                    self.assertLessEqual(len(page), 7)
                    rows += page
                    next_one = self.headers.get('Weir-Next-Cursor')
                    cursor = {'cursor': next_one} if next_one else None
                self.assertEqual(rows, self.ask(pipeline, table, order=order))

    def test_a_pipeline_of_a_pipeline_has_open_windows(self):
        closed = collections.Counter()
        for e in self.events:
            if floor(e['ts'], 2000) + 2000 <= self.model.watermark:
                closed[floor(e['ts'], 10000) * 1000, e['key']] += 1
        harness.wait_until(lambda: sum(r['count_sum'] for r in self.ask('child')) == sum(closed.values()), 'the parent')
        rows = self.ask('child')
        self.assertEqual({(r['window_start'], r['key']): r['count_sum'] for r in rows}, closed)
        self.assertTrue(any(r['open'] for r in rows) and not all(r['open'] for r in rows))

    def test_without_windows_nothing_is_open(self):
        rows = self.ask('rows')
        self.assertEqual(len(rows), 3000)
        self.assertFalse(any(r['open'] for r in rows))

    def test_what_cannot_be_asked_is_said(self):
        for query, text in (('live=2', "live: '2' is not 0, 1 or only"), ('live=', "live: '' is not")):
            answer = self.server.get(f'/api/v1/pipelines/hopping_2/results?{query}')
            self.assertEqual(answer.status, 400)
            self.assertIn(text, answer.body.decode())
        answer = self.server.get('/api/v1/pipelines/hopping_2/results/live?live=1')
        self.assertEqual(answer.status, 400)

    @unittest.skipIf(harness.sanitized(), 'to count to 100,001 takes longer than the 100 ms of a worker that a question may have')
    def test_too_many_rows_are_refused_and_those_of_some_keys_are_not(self):
        for first in range(0, 101000, 10000):
            self.server.post_ok('lot', ''.join(f'{{"ts":1000,"key":{i}}}\n' for i in range(first, first + 10000)))
        harness.wait_until(lambda: self.server.metric('weir_pipeline_events_total', pipeline='many') == 110000, 'all events')
        answer = self.at_last('/api/v1/pipelines/many/results?live=1')
        self.assertEqual((answer.status, json.loads(answer.body)['code']), (422, 'too_large'))
        self.assertIn('ask for some keys', answer.body.decode())
        self.assertEqual([(r['key'], r['count'], r['open']) for r in self.ask('many', key=[5, 100900])],
                         [(5, 1, True), (100900, 1, True)])

    def test_nothing_is_missing_or_double_while_windows_close(self):
        """Events of a key are numbered: what a snapshot has of it are the first ones, whatever is in the file meanwhile."""
        done = threading.Event()

        def post():
            server = copy.copy(self.server)
            server.connection = None
            try:
                for i in range(150):
                    server.post_ok('busy', [{'ts': 400 * i + 40 * k, 'key': f'k{k % 5}', 'seq': 2 * i + k // 5} for k in range(10)])
            finally:
                server.close()
                done.set()

        thread = threading.Thread(target=post)
        thread.start()
        seen = 0
        while not done.is_set() or not seen:
            for kind in ('tumbling', 'session', 'count', 'global'):
                sums = collections.defaultdict(lambda: [0, 0])
                for r in self.ask(f'busy_{kind}'):
                    sums[r['key']][0] += r['count']
                    sums[r['key']][1] += r['seq_sum']
                for key, (n, total) in sums.items():
                    self.assertEqual(total, n * (n - 1) // 2, (kind, key, n))
                    seen += 1
        thread.join()


if __name__ == '__main__':
    harness.main()
