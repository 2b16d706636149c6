# SPDX-License-Identifier: Apache-2.0
"""As-of joins with what other pipelines have found: each row has the newest result at or before it that Python computes from the
same events, whatever the workers, the sizes of requests, and what comes in between."""

import bisect
import json
import os
import random
import signal
import sqlite3
import unittest

import harness

S = 1000000
T0 = 1700000000 * S  # a multiple of 10 s
ORDER, OTHER_ORDER = 300000, 200000
WITHIN, FAR = 30 * S, 60 * S
WORKERS = (1, 2, 7)
HEAD = '''
server: {listen: {listen}, database: {folder}/weir.db, commit_interval: 5ms, checkpoint_interval: 20ms,
         segment_size: 1MiB, linger: 1ms}
streams:
  trades: {time: {field: ts, unit: us}, fields: {id: int, symbol: string, price: float, qty: int}}
  quotes: {time: {field: ts, unit: us}, fields: {sym: string, bid: float, note: string}}
pipelines:
'''
# Of the same stream, of another, with a chain in between; rows, windows by a joined column, and what reads those.
PIPELINES = '''
  vwap: {from: trades, key: [symbol], window: {tumbling: 10s}, out_of_orderness: 300ms, idle_timeout: 1h, workers: 2,
    derive: {value: price * qty}, analyzers: [count, {stats: {of: value, emit: [sum]}},
      {stats: {of: qty, emit: [sum]}}]}
  sliding: {from: quotes, key: [sym], window: {hopping: 20s, by: 5s}, out_of_orderness: 200ms, idle_timeout: 1h, retain: 1s,
    analyzers: [count, {stats: {of: bid, emit: [max]}}]}
  minutes: {from: vwap, key: [symbol], window: {tumbling: 1m}, analyzers: [{stats: {of: count, emit: [sum]}}]}
  rows: {from: trades, window: none, select: [id, n, dear, before, sold, best], out_of_orderness: 300ms, idle_timeout: 1h,
    join: {vwap: {on: [symbol], as_of: true, within: 30s, columns: {n: count, value: value_sum, sold: qty_sum, before: window_end}},
           sliding: {on: {symbol: sym}, as_of: true, within: 60s, columns: {best: bid_max}}},
    derive: {dear: price * sold > value}}
'''
BY_BEST = '''
  by_best_{w}: {{from: trades, key: [best], window: {{tumbling: 10s}}, workers: {w}, out_of_orderness: 300ms, idle_timeout: 1h,
    join: {{sliding: {{on: {{symbol: sym}}, as_of: true, within: 60s, columns: {{best: count}}}},
            minutes: {{on: [symbol], as_of: true, within: 2m, columns: {{trades: count_sum}}}}}},
    where: best IS NOT NULL, analyzers: [count, {{stats: {{of: trades, emit: [max]}}}}]}}
  of_best_{w}: {{from: by_best_{w}, window: {{tumbling: 30s}}, workers: {w}, analyzers: [{{stats: {{of: count, emit: [sum]}}}}]}}
'''
CONFIG = HEAD + PIPELINES + ''.join(BY_BEST.format(w=w) for w in WORKERS)


def events_of(seed, n):
    dice = random.Random(seed)
    trades, quotes, now = [], [], T0
    for i in range(n):
        now += dice.choice((0, 0, 5000, 50000, 100000)) + (45 * S if dice.random() < 0.002 else 0)

        def when():
            return now - (dice.randrange(40 * S) if dice.random() < 0.02 else dice.choice((0, 0, 50000, 150000)))
        trades.append({'ts': when(), 'id': i, 'symbol': f'S{dice.randrange(6)}ü', 'price': dice.randrange(1, 400) / 4,
                       'qty': dice.randrange(1, 9)})
        if dice.random() < 0.05:
            trades[-1]['symbol'] = None
        if dice.random() < 0.5:
            quotes.append({'ts': when(), 'sym': f'S{dice.randrange(7)}ü', 'bid': dice.randrange(1000) / 8, 'note': 'n'})
    return {'trades': trades, 'quotes': quotes}


def with_watermarks(events, order):
    newest = -2 ** 63
    for e in events:
        newest = max(newest, e['ts'])
        yield e, newest - order


def windows_of(events, order, name, size, by):
    """{key: [(time of the result, rows)]} by time; a row counts in each window that its watermark has not passed."""
    found = {}
    for e, watermark in with_watermarks(events, order):
        if e[name] is None:
            continue
        start = e['ts'] // by * by
        while start + size > e['ts']:
            if start + size > watermark:
                found.setdefault(e[name], {}).setdefault(start + size - 1, []).append(e)
            start -= by
    return {key: sorted(windows.items()) for key, windows in found.items()}


def find(results, key, us, within):
    list_of = results.get(key, ())
    place = bisect.bisect_right([time for time, _ in list_of], us)
    return list_of[place - 1] if place and list_of[place - 1][0] >= us - within else (None, None)


class Results(unittest.TestCase):
    maxDiff = 2000

    @staticmethod
    def expected(events):
        trades = events['trades']
        vwap = windows_of(trades, ORDER, 'symbol', 10 * S, 10 * S)
        sliding = windows_of(events['quotes'], OTHER_ORDER, 'sym', 20 * S, 5 * S)
        minutes = {}
        for key, list_of in vwap.items():
            for time, rows in list_of:
                of = minutes.setdefault(key, {})
                end = time // (60 * S) * 60 * S + 60 * S - 1
                of[end] = of.get(end, 0) + len(rows)
        minutes = {key: sorted(of.items()) for key, of in minutes.items()}
        rows, best = [], {}
        for e, watermark in with_watermarks(trades, ORDER):
            def found(results, within):
                late = e['ts'] < watermark - within
                return (None, None) if late else find(results, e['symbol'], e['ts'], within)
            time, of = found(vwap, WITHIN)
            sold, value = (sum(o['qty'] for o in of), sum(o['price'] * o['qty'] for o in of)) if of else (None, None)
            _, seen = found(sliding, FAR)
            rows.append((e['id'], of and len(of), of and int(e['price'] * sold > value), time and time + 1, sold,
                         seen and max(o['bid'] for o in seen)))
            end = e['ts'] // (10 * S) * 10 * S + 10 * S
            if seen and end > watermark:
                _, n = found(minutes, 120 * S)
                best.setdefault((end - 10 * S, len(seen)), []).append(n)
        by_best = sorted((start, of, len(list_of), max((n for n in list_of if n is not None), default=None))
                         for (start, of), list_of in best.items())
        of_best = {}
        for start, _, n, _ in by_best:
            of_best[start // (30 * S) * 30 * S] = of_best.get(start // (30 * S) * 30 * S, 0) + n
        return rows, by_best, sorted(of_best.items())

    def check(self, path, expected, until=2 ** 62):
        rows, by_best, of_best = expected
        self.assertEqual(harness.read_rows(path, 'SELECT id, n, dear, before, sold, best FROM rows WHERE id >= 0 ORDER BY id'), rows)
        self.assertGreater(sum(row[1] is not None for row in rows), len(rows) // 10)
        for w in WORKERS:
            self.assertEqual(harness.read_rows(path, f'SELECT window_start, best, count, trades_max FROM by_best_{w}'
                                               ' ORDER BY 1, 2'), [row for row in by_best if row[0] + 10 * S <= until])
            self.assertEqual(harness.read_rows(path, f'SELECT window_start, count_sum FROM of_best_{w} ORDER BY 1'),
                             [row for row in of_best if row[0] + 30 * S <= until])

    def post_mixed(self, server, events, size, dice):
        left = {name: list_of[:] for name, list_of in events.items()}
        while any(left.values()):
            name = dice.choice([name for name in left if left[name]])
            n = dice.randrange(1, size)
            server.post_ok(name, left[name][:n], Weir_Source='one')
            left[name] = left[name][n:]
            yield

    def finish(self, server, events, expected):
        """Something later: all rows are given out, and the windows before it."""
        server.wait_watermark('vwap', max(e['ts'] for e in events['trades']) - ORDER)  # so that it is an entry of its own
        end = max(e['ts'] for list_of in events.values() for e in list_of) // (60 * S) * 60 * S + 180 * S
        server.post_ok('quotes', [{'ts': end + 60 * S, 'sym': '~'}], Weir_Source='one')
        server.post_ok('trades', [{'ts': end, 'id': -2}], Weir_Source='one')
        harness.wait_until(lambda: server.rows('SELECT count(*) FROM rows WHERE id >= 0') == [(len(expected[0]),)], 'all rows')
        server.post_ok('trades', [{'ts': end + S, 'id': -1}], Weir_Source='one')  # which the one before waits for
        for w in WORKERS:
            server.wait_watermark(f'of_best_{w}', end - 60 * S)
        return end

    def test_each_row_has_the_newest_result(self):
        for seed, size in ((1, 12), (2, 3000)):
            events = events_of(seed, 500 if size < 100 else 4000)
            expected = self.expected(events)
            with harness.Server(CONFIG) as server:
                for _ in self.post_mixed(server, events, size, random.Random(seed)):
                    pass
                end = self.finish(server, events, expected)
                server.stop()
                self.check(server.database, expected, end)

    def test_killed_in_the_middle(self):
        events = events_of(3, 2200)
        expected = self.expected(events)
        dice = random.Random(3)
        with harness.Server(CONFIG) as server:
            for i, _ in enumerate(self.post_mixed(server, events, 140, dice)):
                if i % 10 == 4:
                    if dice.random() < 0.5:
                        harness.wait_until(lambda: server.rows('SELECT 1 FROM weir_checkpoints WHERE groups > 0'
                                                               " AND pipeline = 'rows.vwap'"), 'a checkpoint with results')
                    server.restart()
                if i % 10 == 9:
                    server.stop()
                    server.start()
            end = self.finish(server, events, expected)
            server.stop()
            self.check(server.database, expected, end)
            done = harness.weir('check', '--database', server.database)
            self.assertEqual(done.returncode, 0, done.stderr + done.stdout)
            self.assertNotIn('level=error', ''.join(server.log))

    def test_one_stream_is_far_ahead(self):
        events = events_of(4, 1500)
        expected = self.expected(events)
        for order in (('trades', 'quotes'), ('quotes', 'trades')):
            with harness.Server(CONFIG) as server:
                for name in order:
                    for i in range(0, len(events[name]), 500):
                        server.post_ok(name, events[name][i:i + 500], Weir_Source='one')
                    if name == 'quotes':
                        server.restart()
                end = self.finish(server, events, expected)
                server.stop()
                self.check(server.database, expected, end)

    def reload(self, server, change, what):
        with open(server.path, encoding='utf-8') as file:
            text = file.read()
        with open(server.path, 'w', encoding='utf-8') as file:
            file.write(change(text))
        before = len(server.log)
        server.process.send_signal(signal.SIGHUP)
        harness.wait_until(lambda: any('the configuration ' in line for line in server.log[before:]), 'the verdict')
        self.assertIn(what, ''.join(server.log[before:]))

    def test_what_nobody_joins_any_more_is_forgotten(self):
        known = "SELECT pipeline FROM weir_checkpoints WHERE pipeline LIKE 'rows%' ORDER BY 1"
        sliding = ('sliding: {on: {symbol: sym}, as_of: true, within: 60s, columns: {best: bid_max}}},', '},')
        best = ('before, sold, best]', 'before, sold]')
        with harness.Server(HEAD + PIPELINES) as server:
            server.post_ok('quotes', [{'ts': T0, 'sym': 'A', 'bid': 1.5}], Weir_Source='one')
            server.post_ok('trades', [{'ts': T0, 'id': 1, 'symbol': 'A', 'price': 1.5, 'qty': 1}], Weir_Source='one')
            harness.wait_until(lambda: server.rows(known) == [('rows',), ('rows.sliding',), ('rows.vwap',)], 'checkpoints')
            self.reload(server, lambda text: text.replace(*sliding).replace(*best), 'was read again')
            self.assertEqual(server.rows(known), [('rows',), ('rows.vwap',)])
            self.reload(server, lambda text: text[:text.index('  rows: ')], 'was read again')
            self.assertEqual(server.rows(known), [('rows',), ('rows.vwap',)])  # it may come back
            server.restart()
            self.assertEqual(server.rows(known), [('rows',), ('rows.vwap',)])
            server.stop()
            db = sqlite3.connect(server.database)  # as once the journal is trimmed
            with db:
                db.execute("DELETE FROM weir_checkpoints WHERE pipeline = 'rows'")
            db.close()
            server.start()
            self.assertEqual(server.rows(known), [])

    def test_reload_goes_on_where_it_was(self):
        """What is joined is exchanged, who joins it, or both."""
        events = events_of(5, 1800)
        expected = self.expected(events)
        changes = (('sym], window: {hopping: 20s, by: 5s}, out_of_orderness: 200ms, idle_timeout', "'sliding' is exchanged"),
                   ('spare', "'rows' is exchanged"), ('vwap: {from: trades, key: [symbol], window', "'minutes' is exchanged"))
        with harness.Server(CONFIG.replace('select: [id, n', 'select: [id, spare, n').replace('derive: {dear',
                                                                                             'derive: {spare: 1, dear')) as server:
            for i, _ in enumerate(self.post_mixed(server, events, 180, random.Random(5))):
                if i % 5 != 3:
                    continue
                at, what = changes[i // 5 % 3]

                def change(text, at=at):
                    if at == 'spare':
                        return text.replace('spare: 1,', 'spare: 2,') if 'spare: 1,' in text else text.replace('spare: 2,', 'spare: 1,')
                    start = text.index(at)
                    line = text[start:text.index('analyzers', start)]
                    other = line.replace(': 1h', ': 2h') if ': 1h' in line else line.replace(': 2h', ': 1h')
                    return text[:start] + other + text[start + len(line):]
                self.reload(server, change, what)
            end = self.finish(server, events, expected)
            server.stop()
            self.check(server.database, expected, end)
            self.assertNotIn('level=error', ''.join(server.log))

    def test_one_that_comes_later_finds_what_is_there(self):
        with harness.Server(HEAD + PIPELINES[:PIPELINES.index('  rows:')]) as server:
            server.post_ok('trades', [{'ts': T0 + i * S, 'id': i, 'symbol': 'A', 'price': 2, 'qty': 1} for i in range(25)])
            server.wait_watermark('vwap', T0 + 20 * S)
            self.reload(server, lambda text: text + PIPELINES[PIPELINES.index('  rows:'):], "'rows' is started")
            server.post_ok('trades', [{'ts': T0 + 25 * S, 'id': 25, 'symbol': 'A', 'price': 2, 'qty': 1}])
            harness.wait_until(lambda: server.get_json('/api/v1/pipelines/rows/watermarks')['joins'][0]['waited_for'], 'the trade')
            server.post_ok('trades', [{'ts': T0 + 26 * S, 'id': 26, 'symbol': 'A', 'price': 2, 'qty': 1}])
            server.post_ok('quotes', [{'ts': T0 + 50 * S, 'sym': 'A', 'bid': 1}])
            harness.wait_until(lambda: server.rows('SELECT id, n, before FROM rows') == [(25, 10, T0 + 20 * S)], 'the row')

    def test_a_silent_stream_is_not_waited_for(self):
        with harness.Server(CONFIG.replace('idle_timeout: 1h', 'idle_timeout: 100ms')) as server:
            server.post_ok('trades', [{'ts': T0 + i * 15 * S, 'id': i, 'symbol': 'A', 'price': 2, 'qty': 1} for i in range(2)])
            # Nobody has ever sent quotes, and no trade comes any more.
            harness.wait_until(lambda: server.rows('SELECT id, n, best FROM rows') == [(0, None, None), (1, 1, None)], 'the rows')
            status = server.get_json('/api/v1/pipelines/rows/watermarks')
            self.assertEqual([j['stream'] for j in status['joins']], ['vwap', 'sliding'])

    def test_without_what_it_joins_it_does_not_run(self):
        events = events_of(9, 1500)
        expected = self.expected(events)
        with harness.Server(CONFIG) as server:
            for i, _ in enumerate(self.post_mixed(server, events, 200, random.Random(9))):
                if i in (4, 9):
                    server.stop()
                    server.arguments = ['--without', 'sliding'] if i == 4 else []
                    server.start()
            end = self.finish(server, events, expected)
            server.stop()
            self.check(server.database, expected, end)

    def test_what_it_joins_has_stopped(self):
        server = harness.Server(CONFIG)
        self.addCleanup(server.remove_folder)
        self.addCleanup(server.kill)
        server.start()
        server.post_ok('trades', [{'ts': T0, 'id': 1, 'symbol': 'A', 'price': 2, 'qty': 1}])
        server.wait_watermark('vwap', T0 - ORDER)
        db = sqlite3.connect(server.database)
        db.execute('DROP TABLE vwap')
        db.close()
        for i in range(1, 9):
            server.post_ok('trades', [{'ts': T0 + i * 10 * S, 'id': 1, 'symbol': 'A', 'price': 2, 'qty': 1}])
        def error():
            return [p['status']['error'] for p in server.get_json('/api/v1/pipelines') if p['name'] == 'rows'][0]
        harness.wait_until(error, 'the end of who joins')
        self.assertRegex(error(), "'vwap', whose results it joins, has stopped|results of 'vwap' cannot be read")


class Run(unittest.TestCase):
    def test_files_of_both_streams(self):
        folder = harness.folder_for_test(self)
        events = events_of(6, 15000)
        with open(os.path.join(folder, 'weir.yaml'), 'w', encoding='utf-8') as file:
            file.write(CONFIG.replace('{folder}', folder).replace('{listen}', '127.0.0.1:0'))
        arguments = []
        for name, list_of in events.items():
            with open(os.path.join(folder, f'{name}.ndjson'), 'w', encoding='utf-8') as file:
                file.writelines(json.dumps(event) + '\n' for event in list_of)
            arguments += ['--stream', f'{name}={name}.ndjson']
        done = harness.weir('run', '-q', '-c', 'weir.yaml', *arguments, cwd=folder)
        self.assertEqual(done.returncode, 65, done.stderr)  # some were late
        rows, _, _ = Results.expected(events)
        path = os.path.join(folder, 'weir.db')
        Results().assertEqual(harness.read_rows(path, 'SELECT id, n, dear, before, sold, best FROM rows ORDER BY id'), rows)

    def test_a_stream_is_missing(self):
        folder = harness.folder_for_test(self)
        with open(os.path.join(folder, 'weir.yaml'), 'w', encoding='utf-8') as file:
            file.write(CONFIG.replace('{folder}', folder).replace('{listen}', '127.0.0.1:0'))
        done = harness.weir('run', '-c', 'weir.yaml', '--stream', 'trades', cwd=folder, stdin='')
        self.assertEqual(done.returncode, 64)
        self.assertIn("pipeline 'rows' joins 'trades' with 'quotes': --stream trades=FILE", done.stderr)


class Refused(unittest.TestCase):
    JOIN = 'join: {%s: {on: [symbol], as_of: true, within: 1m, columns: [count]%s}}, window: {tumbling: 1m}, analyzers: [last: count]}\n'

    def refused(self, pipelines, text):
        folder = harness.folder_for_test(self)
        with open(os.path.join(folder, 'weir.yaml'), 'w', encoding='utf-8') as file:
            file.write((HEAD + pipelines).replace('{folder}', folder).replace('{listen}', '127.0.0.1:0'))
        done = harness.weir('check', '-c', os.path.join(folder, 'weir.yaml'))
        self.assertEqual(done.returncode, 78, done.stderr)
        self.assertIn(text, done.stderr)

    def test_what_has_no_answer(self):
        vwap = '  vwap: {from: trades, key: [symbol], window: %s, analyzers: [count]}\n'
        join = '  j: {from: trades, ' + self.JOIN
        self.refused(join % ('vwap', ''), ":8:28: there is no stream or pipeline 'vwap'")
        self.refused(vwap % '{tumbling: 10s}' + join % ('vwapp', ''), "no stream or pipeline 'vwapp', did you mean 'vwap'?")
        self.refused(vwap % '{global: 10s, expire: 1h}' + join % ('vwap', ''), "results of 'vwap' are taken back ('expire')")
        self.refused(vwap % '{global: 10s}' + '  of_vwap: {from: vwap, key: [symbol], window: {global: 10s}, analyzers: [count]}\n' +
                     join % ('of_vwap', ''), "results of 'of_vwap' are taken back (as those that it reads)")
        self.refused('  vwap: {from: trades, window: none, select: [symbol]}\n' + join % ('vwap', ''), "'vwap' has no windows")
        self.refused(vwap % '{tumbling: 10s}, late: revise, allowed_lateness: 1s' + join % ('vwap', ''), 'can be revised')
        self.refused(vwap % '{tumbling: 10s}' + join % ('vwap', ', out_of_orderness: 1s'), "'out_of_orderness' is for streams")
        self.refused(vwap % '{tumbling: 10s}' + (join % ('vwap', '')).replace('on: [symbol]', 'on: [key]'), "no field 'key'")
        self.refused(vwap % '{tumbling: 10s}' + (join % ('vwap', '')).replace('[count]}', '[mean]}'), "no field 'mean'")
        self.refused(vwap % '{tumbling: 10s}' + (join % ('vwap', '')).replace('last: count', 'last: pric'), "'pric'")
        self.refused('  a: {from: trades, key: [symbol], ' + self.JOIN % ('c', '') + '  b: {from: a, key: [symbol], window: {tumbling: 1m},'
                     ' analyzers: [count]}\n  c: {from: trades, key: [symbol], ' + self.JOIN % ('b', ''),
                     "'a' reads itself: a -> c -> b -> a")


class Manual(unittest.TestCase):
    def test_the_example_of_the_manual(self):
        with open(os.path.join(harness.SOURCE, 'docs', 'weir.yaml.5'), encoding='utf-8') as file:
            page = file.read()
        at = page.index('  vwap_minute:')
        folder = harness.folder_for_test(self)
        with open(os.path.join(folder, 'weir.yaml'), 'w', encoding='utf-8') as file:
            file.write(page[page.rindex('server:', 0, at):page.index('.Ed', at)])
        dice = random.Random(10)
        start = T0 // (60 * S) * 60000
        trades = [{'ts': start + 110 * i, 'symbol': dice.choice('ABC'), 'price': dice.randrange(40, 80) / 4,
                   'qty': dice.randrange(1, 8)} for i in range(9000)]
        with open(os.path.join(folder, 'trades.ndjson'), 'w', encoding='utf-8') as file:
            file.writelines(json.dumps(event) + '\n' for event in trades)
        done = harness.weir('run', '-c', 'weir.yaml', '-s', 'trades', 'trades.ndjson', cwd=folder)
        self.assertEqual(done.returncode, 0, done.stderr)
        minutes, want = {}, {}
        for e in trades:
            value, qty = minutes.get((e['ts'] // 60000, e['symbol']), (0, 0))
            minutes[e['ts'] // 60000, e['symbol']] = value + e['price'] * e['qty'], qty + e['qty']
        for e in trades:
            value, qty = minutes.get((e['ts'] // 60000 - 1, e['symbol']), (0, 0))
            if qty and e['price'] > 1.3 * (value / qty):
                key = e['ts'] // 10000 * 10000000, e['symbol']
                want[key] = want.get(key, 0) + 1
        self.assertGreater(len(want), 100)
        self.assertEqual(harness.read_rows(os.path.join(folder, 'trades.db'), 'SELECT window_start, symbol, count FROM spikes'
                                           ' ORDER BY 1, 2'), [(*key, want[key]) for key in sorted(want)])


if __name__ == '__main__':
    harness.main()
