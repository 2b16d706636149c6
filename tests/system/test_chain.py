# SPDX-License-Identifier: Apache-2.0
"""Pipelines that read pipelines: what the sqlite3 shell makes of the parent's table is what stands in the child's."""

import collections
import os
import random
import re
import signal
import sqlite3
import threading
import time
import unittest

import harness

MS = 1000
T0 = 1700000000000  # a multiple of 10 s
MINUTE = 60000
WORKERS = (1, 2, 7)
HEAD = '''
server: {listen: {listen}, database: {folder}/weir.db, commit_interval: 5ms, checkpoint_interval: 20ms,
         segment_size: 1MiB}
streams:
  input: {time: {field: ts, unit: ms}, fields: {k: string, n: int, v: float, s: string}}
pipelines:
'''
# The same chain of each number of workers, the children with another one than their parents.
CHAIN = '''
  a_{w}: {{from: input, key: [k, n], window: {{tumbling: 1s}}, workers: {w}, out_of_orderness: 300ms, idle_timeout: 1h,
    analyzers: [count, {{stats: {{of: v, emit: [max, mean]}}}}, {{first: {{of: s}}}}, {{topk: {{of: s, k: 2, capacity: 50}}}}]}}
  b_{w}: {{from: a_{w}, key: [k], window: {{tumbling: 10s}}, workers: {x}, where: count > 1,
    analyzers: [{{sum: {{of: count}}}}, {{stats: {{of: v_max, emit: [count, max, mean]}}}}, {{last: {{of: n}}}}]}}
  c_{w}: {{from: b_{w}, window: {{tumbling: 30s, offset: 10s}},
    analyzers: [count, {{sum: {{of: count_sum}}}}, {{first: {{of: k}}}}, {{last: {{of: k}}}}]}}
  t_{w}: {{from: a_{w}_topk, key: [s], where: rank = 1, window: {{tumbling: 10s}}, workers: 2,
    analyzers: [count, {{sum: {{of: s_count}}}}]}}
'''
CHAINS = ''.join(CHAIN.format(w=w, x=8 - w) for w in WORKERS)
TABLES = ('a', 'a_topk', 'b', 'c', 't')
# The columns of the chain, in SQL of the parent's table. Times are microseconds.
B = '''SELECT window_start / 10000000 * 10000000, k, sum(count), count(v_max), max(v_max), avg(v_max)
  FROM a_{w} WHERE count > 1 GROUP BY 1, 2 ORDER BY 1, 2;'''
B_LAST = '''SELECT window, k, n FROM (SELECT window_start / 10000000 * 10000000 AS window, k, n, row_number()
  OVER (PARTITION BY window_start / 10000000, k ORDER BY window_end DESC, n DESC) AS place
  FROM a_{w} WHERE count > 1) WHERE place = 1 ORDER BY 1, 2;'''
C = '''SELECT (window_start - 10000000) / 30000000 * 30000000 + 10000000, count(*), sum(count_sum),
  (SELECT k FROM b_{w} AS i WHERE (i.window_start - 10000000) / 30000000 = (o.window_start - 10000000) / 30000000
   ORDER BY window_end, k LIMIT 1),
  (SELECT k FROM b_{w} AS i WHERE (i.window_start - 10000000) / 30000000 = (o.window_start - 10000000) / 30000000
   ORDER BY window_end DESC, k DESC LIMIT 1)
  FROM b_{w} AS o GROUP BY 1 ORDER BY 1;'''
T = '''SELECT window_start / 10000000 * 10000000, s, count(*), sum(s_count)
  FROM a_{w}_topk WHERE rank = 1 GROUP BY 1, 2 ORDER BY 1, 2;'''


def disorderly(seed, n, size):
    """Requests of up to `size` events; one event in twenty is late, seconds are left out."""
    dice = random.Random(seed)
    requests, now = [], T0
    for _ in range(n):
        events = []
        for _ in range(dice.randrange(1, size)):
            now += dice.randrange(4000) if dice.random() < 0.01 else dice.randrange(40)
            behind = dice.randrange(6000) if dice.random() < 0.05 else dice.randrange(200)
            events.append({'ts': now - behind, 'k': dice.choice('abcdeö'), 'n': dice.randrange(-1, 3),
                           'v': dice.randrange(10000) / 7 if dice.random() < 0.9 else None,
                           's': f'value{dice.randrange(6)}'})
        requests.append(events)
    return requests


def end_of(requests):
    return max(e['ts'] for r in requests for e in r) + 10 * MINUTE


def groups_of(events):
    """The rows of a_*: Python's own, of what is not late by the watermark of the log."""
    groups, newest, late = collections.defaultdict(list), 0, 0
    for e in events:
        newest = max(newest, e['ts'])
        if e['ts'] // 1000 * 1000 + 1000 <= newest - 300:
            late += 1
            continue
        groups[(e['ts'] // 1000 * 1000 * MS, e['k'], e['n'])].append(e)
    return groups, late


def rows_of(path, sql):
    """With floats as far as sums in another order are equal."""
    return [tuple(float(f'{x:.9g}') if isinstance(x, float) else x for x in row)
            for row in harness.read_rows(path, sql.replace(';', ''))]


def shell_rows(folder, sql):
    """What the sqlite3 shell computes, in Python's types."""
    out = harness.sqlite3_shell(f'.open file:weir.db?mode=ro\n.mode quote\n{sql}\n', folder)
    found = []
    for line in out.splitlines():
        cells = [c[1:-1] if c.startswith("'") else None if c == 'NULL' else float(c) if '.' in c or 'e' in c
                 else int(c) for c in line.split(',')]
        found.append(tuple(float(f'{c:.9g}') if isinstance(c, float) else c for c in cells))
    return found


class Chain(unittest.TestCase):
    def tables_are_right(self, path, until_us, w):
        """Each child is what the shell makes of its parent's table, of the windows that have ended."""
        folder = os.path.dirname(path)

        def ended(rows, size_us):
            return [r for r in rows if r[0] + size_us <= until_us]
        b = shell_rows(folder, B.format(w=w))
        last = [r[2] for r in shell_rows(folder, B_LAST.format(w=w))]
        self.assertEqual(rows_of(path, f'SELECT window_start, k, count_sum, v_max_count, v_max_max, v_max_mean'
                                 f' FROM b_{w} ORDER BY 1, 2'), ended(b, 10 ** 7))
        self.assertEqual([r[0] for r in harness.read_rows(path, f'SELECT n_last FROM b_{w} ORDER BY window_start, k')],
                         last[:len(ended(b, 10 ** 7))])
        self.assertEqual(rows_of(path, f'SELECT window_start, count, count_sum_sum, k_first, k_last FROM c_{w} ORDER BY 1'),
                         ended(shell_rows(folder, C.format(w=w)), 3 * 10 ** 7))
        self.assertEqual(rows_of(path, f'SELECT window_start, s, count, s_count_sum FROM t_{w} ORDER BY 1, 2'),
                         ended(shell_rows(folder, T.format(w=w)), 10 ** 7))
        return b

    def all_workers_agree(self, path):
        for table in TABLES:
            names = [f'{table[0]}_{w}{table[1:]}' for w in WORKERS]
            first, *others = [harness.read_rows(path, f'SELECT * FROM {name}') for name in names]
            self.assertGreater(len(first), 2, table)
            for other in others:
                self.assertEqual(first, other, table)

    def post_all(self, server, requests, size):
        for events in requests:
            for i in range(0, len(events), size):
                server.post_ok('input', events[i:i + size], Weir_Source='one')

    def finish(self, server, end):
        server.post_ok('input', [{'ts': end, 'k': '~', 'n': 0, 'v': 0, 's': ''}], Weir_Source='one')
        for w in WORKERS:
            for name in 'abct':
                server.wait_watermark(f'{name}_{w}', (end - MINUTE) * MS)

    def test_rows_are_those_that_the_shell_makes_of_the_parent(self):
        requests = disorderly(1, 60, 200)
        end = end_of(requests)
        events = [e for r in requests for e in r]
        for size in (1000000, 7):
            with harness.Server(HEAD + CHAINS) as server:
                self.post_all(server, requests if size > 7 else requests[:20], size)
                if size == 7:
                    end = end_of(requests[:20])
                    events = [e for r in requests[:20] for e in r]
                self.finish(server, end)
                groups, late = groups_of(events)
                self.assertGreater(late, 10)
                have = {r[:3]: r[3:] for r in server.rows('SELECT window_start, k, n, count, v_max FROM a_1')}
                want = {g: (len(es), max((e['v'] for e in es if e['v'] is not None), default=None))
                        for g, es in groups.items()}
                self.assertEqual(have, want)
                for w in WORKERS:
                    self.tables_are_right(server.database, (end - 300) * MS, w)
                self.all_workers_agree(server.database)

    def test_a_file_gives_the_same_in_any_order(self):
        folder = harness.folder_for_test(self)
        events = [e for r in disorderly(2, 30, 200) for e in r]
        for e in events:  # of two events with one time the first in the log would be `first`
            e['s'] = 'one'
        random.Random(3).shuffle(events)
        text = (HEAD + CHAINS).replace('{folder}', folder).replace('{listen}', '127.0.0.1:0')
        path = os.path.join(folder, 'weir.yaml')
        with open(path, 'w', encoding='utf-8') as file:
            file.write(text)
        lines = ''.join(f'{{"ts":{e["ts"]},"k":"{e["k"]}","n":{e["n"]},"v":{"null" if e["v"] is None else e["v"]},'
                        f'"s":"{e["s"]}"}}\n' for e in events)
        done = harness.weir('run', '-c', path, '--stream', 'input', stdin=lines, cwd=folder)
        self.assertEqual(done.returncode, 0, done.stderr)
        database = os.path.join(folder, 'weir.db')
        self.assertEqual(harness.read_rows(database, 'SELECT sum(count) FROM a_7'), [(len(events),)])
        for w in WORKERS:
            self.tables_are_right(database, 2 ** 62, w)
        self.all_workers_agree(database)

    def test_killed_at_any_moment_nothing_is_lost_or_doubled(self):
        requests = disorderly(4, 150, 60)
        server = harness.Server(HEAD + CHAINS)
        self.addCleanup(server.remove_folder)
        self.addCleanup(server.kill)
        server.start()
        dice = random.Random(5)
        kills = sorted(dice.sample(range(len(requests)), 5))
        for i, events in enumerate(requests):
            server.post_ok('input', events, Weir_Source='one', Idempotency_Key=f'n{i}')
            if i in kills:
                time.sleep(dice.random() * 0.02)  # somewhere in a commit, a checkpoint
                server.restart()
        self.finish(server, end_of(requests))
        groups, _ = groups_of([e for r in requests for e in r])
        have = {r[:3]: r[3] for r in server.rows('SELECT window_start, k, n, count FROM a_7')}
        self.assertEqual(have, {g: len(es) for g, es in groups.items()})
        for w in WORKERS:
            self.tables_are_right(server.database, (end_of(requests) - 300) * MS, w)
        self.all_workers_agree(server.database)
        server.stop()
        server.kill()
        checked = harness.weir('check', '-c', server.path, '--database', cwd=server.folder)
        self.assertEqual(checked.returncode, 0, checked.stderr + checked.stdout)

    def test_windows_of_children_close_in_silence(self):
        chains = ''.join(CHAIN.format(w=w, x=3) for w in (1, 2))
        for old, new in (('idle_timeout: 1h', 'idle_timeout: 100ms'), ('1s}', '100ms}'), ('10s}', '200ms}'),
                         ('30s, offset: 10s}', '300ms}'), ('count > 1', 'count > 0')):
            chains = chains.replace(old, new)
        with harness.Server(HEAD + chains) as server:
            server.post_ok('input', [{'ts': T0 + 10 * i, 'k': 'a', 'n': 1, 'v': 1, 's': 'x'} for i in range(33)])
            for w in (1, 2):
                harness.wait_until(lambda w=w: server.rows(f'SELECT sum(count_sum_sum) FROM c_{w}') == [(33,)],
                                   'the last window')


KINDS = '''
  sizes: {from: input, key: [k], window: {tumbling: [10s, 1m]}, workers: 2, analyzers: [count]}
  of_short: {from: sizes, window: {tumbling: 1m}, workers: 1, analyzers: [{sum: {of: count}}]}
  of_long: {from: sizes_1m, key: [k], window: {tumbling: [2m, 4m]}, workers: 3, analyzers: [{sum: {of: count}}]}
  hops: {from: input, key: [k], window: {hopping: 20s, by: 10s}, workers: 3, analyzers: [count]}
  of_hops: {from: hops, key: [k], window: {hopping: 1m, by: 20s}, workers: 2, analyzers: [{sum: {of: count}}]}
  derived: {from: sizes_10s, key: [parity], derive: {parity: count % 2, minutes: "(window_end - window_start) / 6e7"},
            window: {tumbling: 1m}, workers: 2,
            analyzers: [{sum: {of: minutes}}, {count: {where: k = 'a', as: of_a}}]}
'''
KINDS_SQL = {
    'SELECT window_start, count_sum FROM of_short':
        'SELECT ts / 60000000 * 60000000, count(*) FROM e GROUP BY 1',
    'SELECT window_start, k, count_sum FROM of_long_2m':
        'SELECT ts / 120000000 * 120000000, k, count(*) FROM e GROUP BY 1, 2',
    'SELECT window_start, k, count_sum FROM of_long_4m':
        'SELECT ts / 240000000 * 240000000, k, count(*) FROM e GROUP BY 1, 2',
    'SELECT window_start, k, count_sum FROM of_hops':  # windows that end in it; those are two for each event
        '''WITH h AS (SELECT ts / 10000000 * 10000000 + n * 10000000 AS ends, k FROM e, (SELECT 1 AS n UNION SELECT 2)),
             d AS (SELECT (ends - 1) / 20000000 * 20000000 - m * 20000000 AS start, k FROM h,
                   (SELECT 0 AS m UNION SELECT 1 UNION SELECT 2))
           SELECT start, k, count(*) FROM d GROUP BY 1, 2''',
    'SELECT window_start, parity, round(minutes_sum, 6), of_a FROM derived':
        '''WITH s AS (SELECT ts / 10000000 * 10000000 AS start, k, count(*) AS n FROM e GROUP BY 1, 2)
           SELECT start / 60000000 * 60000000, n % 2, round(count(*) / 6.0, 6), sum(k = 'a') FROM s GROUP BY 1, 2''',
}


class Kinds(unittest.TestCase):
    def test_windows_of_every_kind_that_comes_in_order(self):
        dice = random.Random(8)
        events = [(T0 // 240000 * 240000 + 97 * i, dice.choice('abc')) for i in range(8000)]
        lines = ''.join(f'{{"ts":{ts},"k":"{k}"}}\n' for ts, k in events)
        model = sqlite3.connect(':memory:')
        model.execute('CREATE TABLE e (ts, k)')
        model.executemany('INSERT INTO e VALUES (?, ?)', [(ts * MS, k) for ts, k in events])
        self.addCleanup(model.close)
        for arguments in ((), ('--live',)):
            folder = harness.folder_for_test(self)
            with open(os.path.join(folder, 'weir.yaml'), 'w', encoding='utf-8') as file:
                file.write((HEAD + KINDS).replace('{folder}', folder).replace('{listen}', '127.0.0.1:0'))
            done = harness.weir('run', '-c', 'weir.yaml', '--stream', 'input', *arguments, stdin=lines, cwd=folder)
            self.assertEqual(done.returncode, 0, done.stderr)
            for mine, theirs in KINDS_SQL.items():
                found = harness.read_rows(os.path.join(folder, 'weir.db'), mine)
                self.assertEqual(sorted(found), sorted(model.execute(theirs)), mine)


PULSE = '''
  a: {from: input, key: [k], window: {tumbling: 100ms}, workers: 3, idle_timeout: 1h, analyzers: [count]}
  left: {from: a, window: {tumbling: 100ms}, workers: 2, analyzers: [{sum: {of: count}}]}
  right: {from: a, key: [k], window: {tumbling: 100ms}, analyzers: [{sum: {of: count}}]}
  last: {from: right, window: {tumbling: 100ms}, analyzers: [{sum: {of: count_sum}}]}
'''
TOGETHER = '''SELECT (SELECT sum(count) FROM a), (SELECT sum(count_sum) FROM left), (SELECT sum(count_sum) FROM right),
  (SELECT sum(count_sum_sum) FROM last)'''


class Together(unittest.TestCase):
    def test_who_reads_the_file_never_sees_a_parent_without_its_children(self):
        with harness.Server(HEAD.replace('5ms', '1ms') + PULSE) as server:
            connection = sqlite3.connect(f'file:{server.database}?mode=ro', uri=True, timeout=harness.LIMIT_S)
            seen, sent, enough = [], [0], threading.Event()

            def send():
                client = harness.http.client.HTTPConnection('127.0.0.1', server.port, timeout=harness.LIMIT_S)
                while not enough.is_set():
                    body = ''.join(f'{{"ts":{T0 + 50 * sent[0] + j},"k":"{"abcdef"[j % 6]}"}}\n' for j in range(50))
                    client.request('POST', '/api/v1/streams/input/events', body, {'Content-Type': 'application/x-ndjson'})
                    client.getresponse().read()
                    sent[0] += 1
                client.close()

            def look():
                seen.append(connection.execute(TOGETHER).fetchone())
                return len(set(seen)) > 20
            sender = threading.Thread(target=send)
            sender.start()
            try:
                harness.wait_until(look, 'many states of the tables', every_s=0)
            finally:
                enough.set()
                sender.join()
            closed = (50 * sent[0] - 1) // 100 * 100  # events of windows that have ended
            harness.wait_until(lambda: connection.execute(TOGETHER).fetchone() == (closed,) * 4, 'all windows')
            connection.close()
        for row in seen:
            self.assertEqual(len(set(row)), 1, row)


class Reload(unittest.TestCase):
    PARENT = '  a: {from: input, key: [k], window: {tumbling: 1s}, workers: %d, idle_timeout: 1h, analyzers: [count]}\n'
    CHILD = '  b: {from: %s, key: [k], window: {tumbling: %s}, workers: %d, analyzers: [{sum: {of: count}}]}\n'

    def reload(self, server, pipelines, expect='was read again'):
        text = (HEAD + pipelines).replace('{folder}', server.folder).replace('{listen}', '127.0.0.1:0')
        with open(server.path, 'w', encoding='utf-8') as file:
            file.write(text)
        before = len(server.log)
        server.process.send_signal(signal.SIGHUP)
        harness.wait_until(lambda: any('SIGHUP' in line and 'the configuration ' in line for line in server.log[before:]),
                           'the verdict')
        said = ''.join(server.log[before:])
        self.assertIn(expect, said)
        return said

    def post(self, server, second, n=10):
        server.post_ok('input', [{'ts': T0 + 1000 * second + i, 'k': 'xy'[i % 2]} for i in range(n)])

    def sums(self, server, table='b', column='count_sum'):
        return {(start // 1000 - T0) // 1000: n for start, n in
                server.rows(f'SELECT window_start, sum({column}) FROM {table} GROUP BY 1')}

    def finish(self, server, *names):
        self.post(server, 3600)
        for name in names:
            server.wait_watermark(name, (T0 + 3590000) * MS)

    def test_a_child_goes_on_when_its_parent_is_exchanged_and_itself(self):
        with harness.Server(HEAD + self.PARENT % 1 + self.CHILD % ('a', '10s', 1)) as server:
            for i in range(40):
                self.post(server, i)
                if i % 7 == 3:
                    said = self.reload(server, self.PARENT % (i % 3 + 1) + self.CHILD % ('a', '10s', i % 2 + 1))
                    self.assertIn("'a' is exchanged", said)
                    self.assertIn("'b' is exchanged", said)
                    self.assertNotIn('partial', said)
            self.finish(server, 'a', 'b')
            self.assertEqual(self.sums(server), {s: 100 for s in (0, 10, 20, 30)})

    def test_children_come_go_and_move(self):
        parent = self.PARENT % 2
        with harness.Server(HEAD + parent) as server:
            self.post(server, 0)
            said = self.reload(server, parent + self.CHILD % ('a', '5s', 2))
            self.assertIn("'b' is started", said)
            self.assertIn("'a' is exchanged", said)
            for i in range(1, 12):
                self.post(server, i)
            other = parent.replace('a:', 'z:')
            said = self.reload(server, parent + other + self.CHILD % ('a', '5s', 2))  # a chain beside it
            self.assertNotIn("'b'", said)
            said = self.reload(server, parent + other + self.CHILD % ('z', '5s', 2))
            self.assertIn("'b' is stopped", said)
            self.assertIn("'b' is started", said)
            for i in range(12, 22):
                self.post(server, i)
            server.wait_watermark('b', (T0 + 20000) * MS)
            self.reload(server, parent + other)
            self.finish(server, 'a', 'z')
            self.assertEqual(self.sums(server, 'a', 'count'), {s: 10 for s in range(22)})
            sums = self.sums(server)
            self.assertEqual((sums[5], sums[15]), (50, 50))  # whole windows before and after it moved
            self.assertEqual(self.post(server, 3601), None)

    def test_what_a_bad_one_would_be_leaves_the_old(self):
        pipelines = self.PARENT % 2 + self.CHILD % ('a', '5s', 2)
        with harness.Server(HEAD + pipelines) as server:
            for bad, why in ((pipelines.replace('of: count', 'of: cuont'), 'cuont'),
                             (pipelines.replace('from: input', 'from: b'), "reads itself: a -> b -> a"),
                             (pipelines.replace('from: a', 'from: aa'), "there is no stream or pipeline 'aa'")):
                self.assertIn(why, self.reload(server, bad, 'stays as it was'))
            for i in range(11):
                self.post(server, i)
            self.finish(server, 'a', 'b')
            self.assertEqual(self.sums(server)[5], 50)

    def test_a_child_that_fails_stops_alone_and_a_parent_takes_it_along(self):
        pipelines = self.PARENT % 2 + self.CHILD % ('a', '5s', 2) + self.CHILD.replace('b:', 'c:').replace('of: count', 'of: count_sum') % ('b', '5s', 1)
        with harness.Server(HEAD + pipelines.replace("{from: b,", "{from: b, max_groups: 1, over_max_groups: fail,")) as server:
            for i in range(11):
                self.post(server, i)
            self.finish(server, 'a', 'b')
            def errors_of():
                return {p['name']: p['status']['error'] for p in server.get_json('/api/v1/pipelines')}
            status = harness.wait_until(lambda: (found := errors_of())['c'] and found, 'the error')
            self.assertEqual((status['a'], status['b']), (None, None))
            self.assertIn('max_groups', status['c'])
            self.assertEqual(self.sums(server)[5], 50)
            before = server.metric('weir_store_checkpoints_total')
            self.post(server, 3601)
            harness.wait_until(lambda: server.metric('weir_store_checkpoints_total') > before, 'a checkpoint')
            self.reload(server, pipelines)
            self.post(server, 3602)
            status = {p['name']: p['status'] for p in server.get_json('/api/v1/pipelines')}
            self.assertEqual(status['c']['error'], None)
            self.assertIn('afresh', status['c']['partial'])
        alone = pipelines.replace('workers: 2', 'workers: 1')
        server = harness.Server(HEAD + alone.replace('{from: input,', '{from: input, max_groups: 1, over_max_groups: fail,'))
        self.addCleanup(server.remove_folder)
        self.addCleanup(server.kill)
        server.start()
        self.post(server, 0)
        harness.wait_until(lambda: all(p['status']['error'] for p in server.get_json('/api/v1/pipelines')), 'the error')
        errors = [p['status']['error'] for p in server.get_json('/api/v1/pipelines')]
        self.assertIn("pipeline 'a', which it reads, has stopped", errors[1])
        self.assertIn("pipeline 'b', which it reads, has stopped", errors[2])

    def test_left_out(self):
        pipelines = self.PARENT % 2 + self.CHILD % ('a', '5s', 2)
        with harness.Server(HEAD + pipelines) as server:
            for i in range(7):
                self.post(server, i)
            server.stop()
            server.kill()
            server.arguments = ['--without', 'a']
            server.start()
            self.post(server, 7)
            server.stop()
            server.kill()
            server.arguments = []
            server.start()
            for i in range(8, 12):
                self.post(server, i)
            self.finish(server, 'a', 'b')
            self.assertEqual(self.sums(server)[5], 50)


class Graph(unittest.TestCase):
    CONFIG = '''
streams:
  trades: {fields: {symbol: string, price: float}}
  empty: {fields: {x: int}}
  quotes: {time: {field: ts, unit: s}, fields: {symbol: string, bid: float}}
pipelines:
  last: {from: day, window: {tumbling: 7d}, analyzers: [count]}
  day: {from: tops_topk, key: [symbol], where: rank = 1, window: {tumbling: 1d, offset: 1h}, analyzers: [count]}
  tops: {from: trades, window: {hopping: 1m, by: 10s}, analyzers: [count, {topk: {of: symbol}}]}
  priced: {from: trades, join: {quotes: {on: [symbol], as_of: true, within: 1m, columns: [bid]}}, window: none, select: [bid]}
  both: {from: [trades, quotes], window: {tumbling: 1h},
    analyzers: [{sql: "SELECT count(*) AS n FROM trades JOIN quotes USING (symbol)"}]}
  beside: {from: tops, key: [], window: {tumbling: 1h}, analyzers: [{sum: {of: count}}]}
'''
    TEXT = '''stream trades
  pipeline tops: hopping 1m by 10s
    table tops
      pipeline beside: tumbling 1h
        table beside
    table tops_topk
      pipeline day: tumbling 1d, key symbol, where
        table day
          pipeline last: tumbling 7d
            table last
  pipeline priced: none, joins quotes
    table priced
  pipeline both: tumbling 1h, with quotes
    table both_sql
stream empty
stream quotes
'''
    EDGES = {('stream trades', 'pipeline tops'), ('pipeline tops', 'table tops'), ('pipeline tops', 'table tops_topk'),
             ('table tops', 'pipeline beside'), ('pipeline beside', 'table beside'), ('table tops_topk', 'pipeline day'),
             ('pipeline day', 'table day'), ('table day', 'pipeline last'), ('pipeline last', 'table last'),
             ('stream trades', 'pipeline priced'), ('stream quotes', 'pipeline priced'), ('pipeline priced', 'table priced'),
             ('stream trades', 'pipeline both'), ('stream quotes', 'pipeline both'), ('pipeline both', 'table both_sql')}

    def check_graph(self, *arguments):
        folder = harness.folder_for_test(self)
        with open(os.path.join(folder, 'weir.yaml'), 'w', encoding='ascii') as file:
            file.write(self.CONFIG)
        done = harness.weir('check', '-c', 'weir.yaml', *arguments, cwd=folder)
        self.assertEqual(os.listdir(folder), ['weir.yaml'])
        return done

    def test_lines(self):
        done = self.check_graph('--graph')
        self.assertEqual((done.returncode, done.stdout), (0, self.TEXT), done.stderr)

    def test_dot(self):
        done = self.check_graph('--graph=dot')
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(set(re.findall(r'"([^"]*)" -> "([^"]*)"(?: \[style=dashed\])?;', done.stdout)), self.EDGES)
        nodes = re.findall(r'^  "([^"]*)" \[', done.stdout, re.M)
        self.assertEqual(len(nodes), len(set(nodes)))
        self.assertEqual(set(nodes), {n for edge in self.EDGES for n in edge} | {'stream empty'})

    def test_no_form_of_it(self):
        done = self.check_graph('--graph=png')
        self.assertEqual(done.returncode, 64)
        self.assertIn("'png' is no form of a graph: dot", done.stderr)


class Manual(unittest.TestCase):
    def test_the_example_of_the_manual(self):
        with open(os.path.join(harness.SOURCE, 'docs', 'weir.yaml.5'), encoding='utf-8') as file:
            page = file.read()
        at = page.index('  candles_1m:')
        text = page[page.rindex('server:\n', 0, at):page.index('.Ed', at)].replace('${PORT:-8080}', '0')
        folder = harness.folder_for_test(self)
        with open(os.path.join(folder, 'weir.yaml'), 'w', encoding='utf-8') as file:
            file.write(text)
        dice = random.Random(6)
        trades = [(T0 // 3600000 * 3600000 + 37 * i, dice.choice('ABC'), dice.randrange(100, 200) / 4, dice.randrange(9))
                  for i in range(20000)]
        lines = ''.join(f'{{"ts":{t},"symbol":"{s}","price":{p},"qty":{q}}}\n' for t, s, p, q in trades)
        done = harness.weir('run', '-c', 'weir.yaml', '-s', 'trades', stdin=lines, cwd=folder)
        self.assertEqual(done.returncode, 0, done.stderr)
        candles, minutes = collections.defaultdict(list), collections.defaultdict(collections.Counter)
        for t, s, p, q in trades:
            candles[(t // 60000 * 60000 * MS, s)].append((p, q))
            minutes[t // 60000][s] += 1
        database = os.path.join(folder, 'candles.db')
        self.assertEqual(
            harness.read_rows(database, 'SELECT window_start, symbol, price_first_first, price_last_last, price_min_min,'
                              ' price_max_max, qty_sum_sum FROM candles_1m ORDER BY 1, 2'),
            [(*group, rows[0][0], rows[-1][0], min(rows)[0], max(rows)[0], sum(q for _, q in rows))
             for group, rows in sorted(candles.items())])
        leaders = collections.Counter(min(n.items(), key=lambda i: (-i[1], i[0]))[0] for n in minutes.values())
        self.assertEqual(dict(harness.read_rows(database, 'SELECT symbol, count FROM leaders')), leaders)


if __name__ == '__main__':
    harness.main()
