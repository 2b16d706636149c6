# SPDX-License-Identifier: Apache-2.0
"""As-of joins with results whose windows depend on the rows of a key: each row has the newest result at or before it that the
models of test_by_key.py compute, whatever the workers, the sizes of requests, and what comes in between."""

import bisect
import collections
import json
import math
import os
import random
import re
import signal
import unittest

import harness
import test_by_key as by_key
from test_by_key import MAX, ORDER, T0

SECOND = 1000000
WITHIN = 5 * SECOND
WORKERS = (1, 2, 7)
KINDS = {
    'session': '{session: 1s}',
    'cut': '{session: 1s, max: 3s}',
    'until': '{until: stop}',
    'count': '{count: 5}',
    'by': '{count: 6, by: 4}',
    'running': '{count: 3, running: true}',
    'expire': '{count: 5, expire: 2s}',
    'ever': '{global: 1s}',
}
CELLS = ', '.join(f'{kind}_n, {kind}_sum, {kind}_start' for kind in KINDS)
JOINING = (('asks', 1), ('asks', 2), ('asks', 7), ('events', 2))  # another stream, or that of which the results are made


def joins(w):
    return ', '.join(f'''{kind}_{w}: {{on: [key], as_of: true, within: 5s,
      columns: {{{kind}_n: count, {kind}_sum: qty_sum, {kind}_start: window_start}}}}''' for kind in KINDS)


CONFIG = '''
server: {listen: {listen}, database: {folder}/weir.db, commit_interval: 5ms, checkpoint_interval: 20ms, segment_size: 1MiB, linger: 1ms}
streams:
  events: {time: {field: ts, unit: us}, fields: {id: int, key: string, qty: int, stop: int}}
  asks: {time: {field: ts, unit: us}, fields: {id: int, key: string}}
pipelines:
''' + ''.join(f'''
  {kind}_{w}: {{from: events, key: [key], window: {window}, workers: {w}, out_of_orderness: 300ms, idle_timeout: 1h,{'' if 'global' in window else ' retain: 1s,'}
    analyzers: [count, {{stats: {{of: qty, emit: [sum]}}}}]}}
''' for kind, window in KINDS.items() for w in WORKERS) + ''.join(f'''
  of_{stream}_{w}: {{from: {stream}, window: none, select: [id, {CELLS}], out_of_orderness: 300ms, idle_timeout: 1h, join: {{{joins(w)}}}}}
''' for stream, w in JOINING)


def asks_of(seed, events, n):
    """About as long as the events, and as disordered: some are so late that they find nothing."""
    dice = random.Random(seed)
    last = max(e['ts'] for e in events)
    asks = []
    for i in range(n):
        behind = dice.randrange(2 * WITHIN) if dice.random() < 0.05 else dice.randrange(ORDER)
        asks.append({'ts': T0 + (last - T0) * i // n - behind, 'key': f'k{dice.randrange(21)}'})
    return asks


def events_of(seed, n):
    """The last of each comes behind all windows."""
    events = by_key.make_events(seed, n)
    end = max(e['ts'] for e in events)
    asks = asks_of(seed + 1, events, n // 2)
    events.append({'ts': end + 60 * SECOND, 'key': '~', 'qty': 0, 'stop': None})
    asks.append({'ts': end + 30 * SECOND, 'key': '~'})
    for list_of in (events, asks):
        newest = -math.inf
        for i, e in enumerate(list_of):
            newest = max(newest, e['ts'])
            e.update(id=i, watermark=newest - ORDER)
    return {'events': events, 'asks': asks}


def as_sent(events):
    return [{k: v for k, v in e.items() if k != 'watermark'} for e in events]


def in_time(counted):
    """Nobody finds a window whose end the watermark had passed when its last row came."""
    return [(start, key, end, rows) for start, key, _, end, rows in sorted(counted, key=lambda r: (r[0], r[2]))
            if end > rows[-1]['watermark']]


def models(events):
    """For each kind the results: start, key, end, rows."""
    def ended(model):
        return [(start, key, end, rows) for start, key, end, _, rows in model.results()]
    lives = [window for life in by_key.lives(events)[0] for window in by_key.counts(life, 5, 5)]
    return {'session': ended(by_key.Sessions(events)), 'cut': ended(by_key.Sessions(events, longest=MAX)),
            'until': ended(by_key.Untils(events)), 'count': in_time(by_key.counts(events, 5, 5)),
            'by': in_time(by_key.counts(events, 6, 4)), 'running': in_time(by_key.running(events, 3)), 'expire': in_time(lives),
            'ever': ever(events)}


def ever(events):
    """Each result of `global` as it was given out; all begin at 0."""
    groups, changed, given, border = collections.defaultdict(list), set(), [], None
    for e in events:
        reached = e['watermark'] // SECOND * SECOND
        while border is None or border < reached:
            border = reached if border is None else border + SECOND
            given += [(0, key, border, groups[key][:]) for key in changed]
            changed = set()
        groups[e['key']].append(e)
        changed.add(e['key'])
    return given


def expected(events, asks):
    """What rows of both streams find."""
    found = {}
    for kind, results in models(events).items():
        of_key = found[kind] = collections.defaultdict(list)
        for start, key, end, rows in sorted(results, key=lambda r: (r[2], r[0])):
            of_key[key].append((end - 1, (len(rows), sum(e['qty'] for e in rows), start)))
    return {'events': [look_up(found, e) for e in events], 'asks': [look_up(found, e) for e in asks]}


def look_up(found, e):
    row = [e['id']]
    for kind in KINDS:
        of_key = found[kind][e['key']]
        place = bisect.bisect_right([time for time, _ in of_key], e['ts'])
        time, cells = of_key[place - 1] if place else (-math.inf, None)
        seen = time >= e['ts'] - WITHIN and e['ts'] >= e['watermark'] - WITHIN
        row += cells if seen else (None, None, None)
    return tuple(row)


class ByKey(unittest.TestCase):
    maxDiff = 2000

    def post_mixed(self, server, events, size, dice):
        left = {name: list_of[:-1] for name, list_of in events.items()}
        while any(left.values()):
            name = dice.choice([name for name in left if left[name]])
            n = dice.randrange(1, size)
            server.post_ok(name, as_sent(left[name][:n]), Weir_Source='one')
            left[name] = left[name][n:]
            yield

    def finish(self, server, events):
        """The last event is an entry of its own: what comes before does not wait with it."""
        server.wait_watermark('session_1', max(e['ts'] for e in events['events'][:-1]) - ORDER)
        for name, list_of in events.items():
            server.post_ok(name, as_sent(list_of[-1:]), Weir_Source='one')

    def check(self, path, wanted, whole=False):
        for name, w in JOINING:
            rows = wanted[name] if whole or name == 'asks' else wanted[name][:-1]
            self.assertEqual(harness.read_rows(path, f'SELECT id, {CELLS} FROM of_{name}_{w} ORDER BY id'), rows)
            for place in range(1, 1 + 3 * len(KINDS), 3):
                self.assertGreater(sum(row[place] is not None for row in rows), len(rows) // 10)

    def check_all(self, server, events, wanted):
        self.finish(server, events)
        for name, w in JOINING:
            n = len(wanted[name]) - (name == 'events')
            harness.wait_until(lambda: server.rows(f'SELECT count(*) FROM of_{name}_{w}') == [(n,)], f'all rows of of_{name}_{w}')
        server.stop()
        self.check(server.database, wanted)
        self.assertNotIn('level=error', ''.join(server.log))

    def test_each_row_has_the_newest_result(self):
        for seed, size in ((1, 12), (2, 3000)):
            events = events_of(seed, 600 if size < 100 else 4000)
            wanted = expected(**events)
            # No name of a pipeline is one that weir's SQL uses for something else.
            with harness.Server(CONFIG.replace('until_1', 'overdue')) as server:
                for _ in self.post_mixed(server, events, size, random.Random(seed)):
                    pass
                self.check_all(server, events, wanted)

    def test_killed_in_the_middle(self):
        events = events_of(3, 3000)
        wanted = expected(**events)
        with harness.Server(CONFIG) as server:
            for i, _ in enumerate(self.post_mixed(server, events, 180, random.Random(3))):
                if i % 8 == 3:
                    server.restart()
                if i % 8 == 7:
                    server.stop()
                    server.start()
            self.check_all(server, events, wanted)
            done = harness.weir('check', '--database', server.database)
            self.assertEqual(done.returncode, 0, done.stderr + done.stdout)

    def reload(self, server, change):
        with open(server.path, encoding='utf-8') as file:
            text = file.read()
        changed = change(text)
        self.assertNotEqual(changed, text)
        with open(server.path, 'w', encoding='utf-8') as file:
            file.write(changed)
        before = len(server.log)
        server.process.send_signal(signal.SIGHUP)
        harness.wait_until(lambda: any('the configuration ' in line for line in server.log[before:]), 'the verdict')
        self.assertIn('was read again', ''.join(server.log[before:]))

    def test_reload_goes_on_where_it_was(self):
        """Results that are joined, and who joins them, are exchanged in turn."""
        events = events_of(4, 2500)
        wanted = expected(**events)
        kinds = list(KINDS)
        with harness.Server(CONFIG) as server:
            for i, _ in enumerate(self.post_mixed(server, events, 200, random.Random(4))):
                if i % 4 != 3:
                    continue
                at = 'of_asks_2: ' if i % 8 == 3 else f'{kinds[i // 8 % len(kinds)]}_{WORKERS[i // 8 % 3]}: {{from'

                def change(text, at=at):
                    start = text.index(at)
                    place = text.index('idle_timeout: ', start) + len('idle_timeout: ')
                    return text[:place] + ('2h' if text[place] == '1' else '1h') + text[place + 2:]
                self.reload(server, change)
            self.check_all(server, events, wanted)

    def test_one_that_comes_later_finds_what_is_there(self):
        """An index by the end is made with the first that joins, and goes with the last."""
        alone = CONFIG[:CONFIG.index('  of_asks_1')].replace('retain: 1s', 'retain: forever')
        indexes = "SELECT count(*) FROM sqlite_schema WHERE type = 'index' AND sql LIKE '%(window_end)%'"
        kept = "SELECT count(*) FROM sqlite_schema WHERE name LIKE 'weir_given_%'"
        events = [{'ts': T0 + i * SECOND // 2, 'key': 'k1', 'qty': i, 'stop': T0 + (i // 4 * 2 + 2) * SECOND} for i in range(25)]
        with harness.Server(alone) as server:
            server.post_ok('events', events, Weir_Source='one')
            for name in ('until_1', 'count_1'):
                server.wait_watermark(name, events[-1]['ts'] - ORDER)
            self.assertEqual(server.rows(indexes), [(0,)])
            self.assertEqual(server.rows(kept), [(0,)])
            self.reload(server, lambda text: text + '''
  late: {from: asks, window: none, select: [id, n, no, ends], out_of_orderness: 0s, idle_timeout: 1h, join: {
    count_1: {on: [key], as_of: true, within: 5s, columns: {n: qty_sum, no: number}},
    until_1: {on: [key], as_of: true, within: 5s, columns: {ends: window_end}},
    ever_1: {on: [key], as_of: true, within: 5s, columns: {last: revision}}}}
''')
            server.post_ok('asks', [{'ts': T0 + 9 * SECOND, 'id': 1, 'key': 'k1'}], Weir_Source='one')
            harness.wait_until(lambda: server.rows('SELECT id FROM late'), 'the row')
            # Until second 9 come events 0 to 18, three windows of five; and windows of four end at 2, 4, 6 and 8.
            self.assertEqual(server.rows('SELECT id, n, no, ends FROM late'), [(1, 10 + 11 + 12 + 13 + 14, 3, T0 + 8 * SECOND)])
            self.assertEqual(server.rows(indexes), [(2,)])
            self.assertEqual(server.rows(kept), [(1,)])
            self.reload(server, lambda text: text[:text.index('  late: ')])
            harness.wait_until(lambda: server.rows(indexes) == [(0,)] and server.rows(kept) == [(0,)], 'the end of what was for them')

    def test_a_second_one_finds_what_the_first_has_read(self):
        """Of a key that has had no result since, and of which the first needs none any more."""
        joins = '''
  {name}: {{from: asks, window: none, select: [id, n], out_of_orderness: 0s, idle_timeout: 1h, join: {{
    ever_1: {{on: [key], as_of: true, within: 60s, columns: {{n: count}}}}}}}}
'''
        with harness.Server(CONFIG[:CONFIG.index('  of_asks_1')] + joins.format(name='first')) as server:
            def post(first, last, key, asks):
                events = [{'ts': T0 + i * SECOND // 2, 'key': key, 'qty': i} for i in range(first, last)]
                server.post_ok('events', events, Weir_Source='one')
                server.wait_watermark('ever_1', events[-1]['ts'] - ORDER)
                server.post_ok('asks', [{'ts': events[-1]['ts'] - 2 * SECOND, 'id': asks, 'key': 'old'}], Weir_Source='one')
            post(0, 6, 'old', 0)
            for last in range(12, 60, 6):
                post(last - 6, last, 'k1', last)
                harness.wait_until(lambda: server.rows(f'SELECT n FROM first WHERE id = {last}'), 'the first')
            # Its checkpoints say what it has read.
            harness.wait_until(lambda: not server.rows("SELECT 1 FROM weir_given_ever_1 WHERE key = 'old'"), 'nobody to need it')
            self.reload(server, lambda text: text + joins.format(name='second'))
            post(last, last + 6, 'k1', 9999)
            for name in ('first', 'second'):
                harness.wait_until(lambda: server.rows(f'SELECT n FROM {name} WHERE id = 9999'), name)
                self.assertEqual(server.rows(f'SELECT n FROM {name} WHERE id = 9999'), [(6,)])

    def test_results_get_a_column_while_they_are_joined(self):
        joined = CONFIG[:CONFIG.index('  of_asks_1')] + '''
  of_ever: {from: asks, window: none, select: [id, n], out_of_orderness: 0s, idle_timeout: 1h, join: {
    ever_2: {on: [key], as_of: true, within: 5s, columns: {n: count}}}}
'''
        with harness.Server(joined) as server:
            def post(first, last):
                events = [{'ts': T0 + i * SECOND // 2, 'key': 'k1', 'qty': i} for i in range(first, last)]
                server.post_ok('events', events, Weir_Source='one')
                server.wait_watermark('ever_2', events[-1]['ts'] - ORDER)

            post(0, 11)
            self.reload(server, lambda text: re.sub(r'(ever_2: .*\n.*emit: \[sum)\]', r'\1, max]', text))
            post(11, 22)
            server.post_ok('asks', [{'ts': T0 + 10 * SECOND, 'id': 1, 'key': 'k1'}], Weir_Source='one')
            harness.wait_until(lambda: server.rows('SELECT id FROM of_ever'), 'the row')
            # With another analyzer it begins afresh; the last event reaches the border, and does not count there.
            self.assertEqual(server.rows('SELECT qty_max FROM ever_2'), [(20,)])
            # What was given out goes once it is read; the column stays.
            self.assertEqual(server.rows("SELECT count(*) FROM pragma_table_info('weir_given_ever_2') WHERE name = 'qty_max'"), [(1,)])
            self.assertEqual(server.rows('SELECT n FROM of_ever'), [(10,)])
            self.assertNotIn('level=error', ''.join(server.log))

    def test_a_giver_with_other_windows_leaves_nothing(self):
        joined = CONFIG[:CONFIG.index('  of_asks_1')] + '''
  of_ever: {from: asks, window: none, select: [id, n], out_of_orderness: 0s, idle_timeout: 1h, join: {
    ever_2: {on: [key], as_of: true, within: 5s, columns: {n: count}}}}
'''
        kept = "SELECT count(*) FROM sqlite_schema WHERE name LIKE 'weir_given_%'"
        with harness.Server(joined) as server:
            server.post_ok('events', [{'ts': T0 + i * SECOND // 2, 'key': 'k1', 'qty': i} for i in range(11)], Weir_Source='one')
            harness.wait_until(lambda: server.rows('SELECT 1 FROM ever_2'), 'rows')
            self.assertEqual(server.rows(kept), [(1,)])
            server.stop()
            with open(server.path, encoding='utf-8') as file:
                text = file.read()
            changed = re.sub(r'(ever_2: .*window: )\{global: [^}]*\}', r'\1{session: 1s}', text)
            self.assertNotEqual(changed, text)
            with open(server.path, 'w', encoding='utf-8') as file:
                file.write(changed)
            server.start()
            self.assertEqual(server.rows(kept), [(0,)])

    def test_files(self):
        folder = harness.folder_for_test(self)
        events = events_of(5, 5000)
        wanted = expected(**events)
        with open(os.path.join(folder, 'weir.yaml'), 'w', encoding='utf-8') as file:
            file.write(CONFIG.replace('{folder}', folder).replace('{listen}', '127.0.0.1:0'))
        arguments = []
        for name, list_of in events.items():
            with open(os.path.join(folder, f'{name}.ndjson'), 'w', encoding='utf-8') as file:
                file.writelines(json.dumps(event) + '\n' for event in as_sent(list_of))
            arguments += ['--stream', f'{name}={name}.ndjson']
        done = harness.weir('run', '-q', '-c', 'weir.yaml', *arguments, cwd=folder)
        self.assertEqual(done.returncode, 65, done.stderr)  # some were late
        self.check(os.path.join(folder, 'weir.db'), wanted, whole=True)


if __name__ == '__main__':
    harness.main()
