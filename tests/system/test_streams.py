# SPDX-License-Identifier: Apache-2.0
"""Pipelines that read several streams: what stands in each window is what sqlite3 finds in the events that were not late by
their own stream, however the streams come in between each other."""

import json
import os
import random
import signal
import sqlite3
import unittest

import harness

S = 1000000
T0 = 1700000000 * S  # a multiple of 10 s
LATE = 300000
WORKERS = (1, 2, 7)
HEAD = '''
server: {listen: {listen}, database: {folder}/weir.db, commit_interval: 5ms, checkpoint_interval: 20ms,
         segment_size: 1MiB, linger: 1ms}
streams:
  bids: {time: {field: ts, unit: us}, fields: {item: int, user: string, price: float}}
  auctions: {time: {field: at, unit: us}, fields: {item: int, seller: string, reserve: float, open: bool}}
  views: {time: {field: ts, unit: us}, fields: {item: int, page: string}}
pipelines:
'''
ALL = '''
  all: {from: [bids, auctions, views], window: {tumbling: 10s}, out_of_orderness: 300ms, idle_timeout: 1h, analyzers: [
    {sql: "SELECT a.item, a.seller, count(*) AS n, max(b.price) AS most, group_concat(b.user, '') AS users FROM auctions a
           JOIN bids b ON b.item = a.item AND b.price >= a.reserve GROUP BY a.item, a.seller"}]}
'''
KEYED = '''
  keyed_{w}: {{from: [auctions, bids, views], key: [item], window: {{hopping: 20s, by: 10s}}, workers: {w}, idle_timeout: 1h,
    out_of_orderness: 300ms, analyzers: [{{sql: "SELECT (SELECT count(*) FROM bids) AS bids, (SELECT count(*) FROM auctions) AS
      auctions, (SELECT count(*) FROM views v WHERE EXISTS (SELECT 1 FROM auctions a WHERE a.time <= v.time)) AS seen,
      (SELECT user FROM bids) AS first, (SELECT sum(open) FROM auctions) AS open"}}]}}
'''
GAP = 600000
SESSIONS = KEYED.replace('keyed_', 'sessions_').replace('{{hopping: 20s, by: 10s}}', '{{session: 600ms}}')
CONFIG = HEAD + ALL + ''.join(KEYED.format(w=w) + SESSIONS.format(w=w) for w in WORKERS)
TIME = {'bids': 'ts', 'auctions': 'at', 'views': 'ts'}
TABLES = ('CREATE TABLE bids (time, item, user, price)', 'CREATE TABLE auctions (time, item, seller, reserve, open)',
          'CREATE TABLE views (time, item, page)')


def events_of(seed, n):
    dice = random.Random(seed)
    events, now = {'bids': [], 'auctions': [], 'views': []}, T0
    for _ in range(n):
        now += dice.choice((0, 1000, 20000, 60000)) + (25 * S if dice.random() < 0.001 else 0)
        when = now - (dice.randrange(25 * S) if dice.random() < 0.03 else dice.choice((0, 0, 100000, 290000)))
        name = dice.choice(('bids', 'bids', 'bids', 'auctions', 'views'))
        event = {TIME[name]: when, 'item': dice.randrange(12)}
        if name == 'bids':
            event.update(user=dice.choice('abcdü'), price=dice.randrange(100) / 4 if dice.random() < 0.9 else None)
        elif name == 'auctions':
            event.update(seller=f's{dice.randrange(3)}', reserve=dice.randrange(60) / 4, open=dice.random() < 0.5)
        else:
            event.update(page='p')
        events[name].append(event)
    return events


def windows_of(events, overlap, ever=False):
    """{start: {stream: events by time, then log}}, of those that are not late for their first window."""
    windows, late = {}, 0
    for name, list_of in events.items():
        newest = -2 ** 63
        for event in list_of:
            us = event[TIME[name]]
            newest = max(newest, us)
            start = us // (10 * S) * 10 * S
            if not ever and start + 10 * S <= newest - LATE:
                late += 1
                continue
            for first in (start - 10 * S, start) if overlap else (start,):
                windows.setdefault(first, {n: [] for n in TIME})[name].append((us, *list(event.values())[1:]))
    for window in windows.values():
        for rows in window.values():
            rows.sort(key=lambda row: row[0])
    return windows, late


def sessions_of(events, ever=False):
    """[(start, end, item, {stream: events by time, then log})]: what of all streams is less than the gap apart. A row is late behind
    the watermark of its stream."""
    rows, late = {}, 0
    for name, list_of in events.items():
        newest = -2 ** 63
        for event in list_of:
            us = event[TIME[name]]
            newest = max(newest, us)
            if us < newest - LATE and not ever:
                late += 1
            else:
                rows.setdefault(event['item'], []).append((us, name, list(event.values())[1:]))
    found = []
    for item, list_of in rows.items():
        list_of.sort(key=lambda row: row[0])
        for i, (us, name, values) in enumerate(list_of):
            if not i or us - list_of[i - 1][0] >= GAP:
                found.append([us, us, item, {n: [] for n in TIME}])
            found[-1][1] = us + GAP
            found[-1][3][name].append((us, *values))
    return found, late


def ask(window, sql):
    db = sqlite3.connect(':memory:')
    for statement in TABLES:
        db.execute(statement)
    for name, rows in window.items():
        if rows:
            db.executemany(f'INSERT INTO {name} VALUES ({", ".join("?" * len(rows[0]))})', rows)
    found = db.execute(sql).fetchall()
    db.close()
    return found


class Streams(unittest.TestCase):
    ALL_SQL = ALL[ALL.index('"') + 1:ALL.rindex('"')]
    KEYED_SQL = KEYED[KEYED.index('"') + 1:KEYED.rindex('"')]

    def expected(self, events, ever=False):
        windows, late = windows_of(events, False, ever)
        rows = sorted((start, *row) for start, window in windows.items() for row in ask(window, self.ALL_SQL))
        keyed = []
        for start, window in windows_of(events, True, ever)[0].items():
            for item in {row[1] for rows_of in window.values() for row in rows_of}:
                of_item = {name: [row for row in list_of if row[1] == item] for name, list_of in window.items()}
                keyed += [(start, item, *row) for row in ask(of_item, self.KEYED_SQL)]
        sessions, sessions_late = sessions_of(events, ever)
        sessions = [(start, end, item, *row) for start, end, item, of_item in sessions for row in ask(of_item, self.KEYED_SQL)]
        return rows, sorted(keyed, key=lambda row: row[:2]), sorted(sessions, key=lambda row: (row[0], row[2])), late, sessions_late

    def check(self, path, expected, until):
        """Users of a group are told in any order."""
        def sorted_users(rows):
            return [(*row[:-1], ''.join(sorted(row[-1]))) for row in rows]
        rows, keyed, sessions, *_ = expected
        self.assertEqual(sorted_users(harness.read_rows(path, 'SELECT window_start, item, seller, n, most, users FROM all_sql'
                                                        ' ORDER BY 1, 2, 3')),
                         sorted_users(row for row in rows if row[0] + 10 * S <= until))
        for w in WORKERS:
            self.assertEqual(harness.read_rows(path, 'SELECT window_start, item, bids, auctions, seen, first, open FROM'
                                               f' keyed_{w}_sql ORDER BY 1, 2'),
                             [row for row in keyed if row[0] + 20 * S <= until])
            self.assertEqual(harness.read_rows(path, 'SELECT window_start, window_end, item, bids, auctions, seen, first, open FROM'
                                               f' sessions_{w}_sql ORDER BY 1, 3'), [row for row in sessions if row[1] <= until])

    def post_mixed(self, server, events, size, dice):
        left = {name: list_of[:] for name, list_of in events.items()}
        while any(left.values()):
            name = dice.choice([name for name in left if left[name]])
            n = dice.randrange(1, size)
            server.post_ok(name, left[name][:n], Weir_Source='one')
            left[name] = left[name][n:]
            yield

    def finish(self, server, events):
        end = max(e[TIME[name]] for name, list_of in events.items() for e in list_of) + 60 * S
        for name in events:
            server.post_ok(name, [{TIME[name]: end}], Weir_Source='one')
        for name in ('all', *(f'{kind}_{w}' for kind in ('keyed', 'sessions') for w in WORKERS)):
            server.wait_watermark(name, end - LATE)
        return end - LATE

    def test_windows_of_all(self):
        for seed, size in ((1, 6), (2, 3000)):
            events = events_of(seed, 1200 if size < 10 else 5000)
            expected = self.expected(events)
            with harness.Server(CONFIG) as server:
                for _ in self.post_mixed(server, events, size, random.Random(seed)):
                    pass
                until = self.finish(server, events)
                self.assertEqual(server.metric('weir_pipeline_late_total', pipeline='all'), expected[3])
                self.assertEqual(server.metric('weir_pipeline_late_total', pipeline='sessions_2'), expected[4])
                server.stop()
                self.check(server.database, expected, until)

    def test_one_stream_is_far_ahead(self):
        events = events_of(3, 3000)
        expected = self.expected(events)
        for order in (('bids', 'auctions', 'views'), ('views', 'auctions', 'bids')):
            with harness.Server(CONFIG) as server:
                for name in order:
                    for i in range(0, len(events[name]), 500):
                        server.post_ok(name, events[name][i:i + 500], Weir_Source='one')
                    if name == order[0]:
                        harness.wait_until(lambda: server.get_json('/api/v1/pipelines/all/watermarks')['joins']
                                           [1 if name == 'auctions' else 0 if name == 'bids' else 2]['watermark'],
                                           'the first')
                        self.assertEqual(server.rows('SELECT count(*) FROM all_sql'), [(0,)])
                until = self.finish(server, events)
                server.stop()
                self.check(server.database, expected, until)

    def test_killed_and_reloaded_in_the_middle(self):
        events = events_of(4, 5000)
        expected = self.expected(events)
        dice = random.Random(4)
        with harness.Server(CONFIG) as server:
            for i, _ in enumerate(self.post_mixed(server, events, 300, dice)):
                if i % 12 == 7:
                    server.restart()
                elif i % 12 == 11:
                    server.stop()
                    server.start()
                elif i % 12 == 3:
                    with open(server.path, encoding='utf-8') as file:
                        text = file.read()
                    with open(server.path, 'w', encoding='utf-8') as file:
                        file.write(text.replace('idle_timeout: 1h', 'idle_timeout: 2h') if 'idle_timeout: 1h' in text
                                   else text.replace('idle_timeout: 2h', 'idle_timeout: 1h'))
                    before = ''.join(server.log).count('is exchanged')
                    server.process.send_signal(signal.SIGHUP)
                    harness.wait_until(lambda: ''.join(server.log).count('is exchanged') == before + 7, 'the reload')
            until = self.finish(server, events)
            server.stop()
            self.check(server.database, expected, until)
            done = harness.weir('check', '--database', server.database)
            self.assertEqual(done.returncode, 0, done.stderr + done.stdout)

    def test_a_silent_stream_is_not_waited_for(self):
        with harness.Server(CONFIG.replace('idle_timeout: 1h', f'idle_timeout: {round(harness.LIMIT_S / 60)}s')) as server:
            server.post_ok('auctions', [{'at': T0, 'item': 1, 'seller': 's', 'reserve': 1}])
            server.post_ok('bids', [{'ts': T0 + S, 'item': 1, 'user': 'u', 'price': 2}, {'ts': T0 + 11 * S}])
            # Which came sooner than that. Nobody has ever sent views; the others are silent, too, and time goes on.
            harness.wait_until(lambda: server.rows('SELECT item, n, most FROM all_sql') == [(1, 1, 2.0)], 'the window')


class Run(unittest.TestCase):
    def test_files_in_any_order(self):
        folder = harness.folder_for_test(self)
        events = events_of(5, 8000)
        with open(os.path.join(folder, 'weir.yaml'), 'w', encoding='utf-8') as file:
            file.write(CONFIG.replace('{folder}', folder).replace('{listen}', '127.0.0.1:0'))
        arguments = []
        for name, list_of in events.items():
            with open(os.path.join(folder, f'{name}.ndjson'), 'w', encoding='utf-8') as file:
                file.writelines(json.dumps(event) + '\n' for event in list_of)
            arguments += ['-s', f'{name}={name}.ndjson']
        done = harness.weir('run', '-c', 'weir.yaml', *arguments, cwd=folder)
        self.assertEqual(done.returncode, 0, done.stderr)
        test = Streams()
        test.check(os.path.join(folder, 'weir.db'), test.expected(events, ever=True), 2 ** 62)


class Manual(unittest.TestCase):
    def test_the_examples_of_the_manual(self):
        with open(os.path.join(harness.SOURCE, 'docs', 'weir.yaml.5'), encoding='utf-8') as file:
            page = file.read()
        at = page.index('  sold:\n')
        folder = harness.folder_for_test(self)
        with open(os.path.join(folder, 'weir.yaml'), 'w', encoding='utf-8') as file:
            file.write(page[page.rindex('server:', 0, at):page.index('.Ed', at)])
            at = page.index('  visits:\n')
            file.write(page[at:page.index('.Ed', at)])
        dice = random.Random(7)
        start = T0 // S // 600 * 600000
        clicks = [(start + 400 * i + 2400000 * (i // 2000), f'u{dice.randrange(30)}', f'p{dice.randrange(4)}') for i in range(4000)]
        orders = [(start + 1300 * i, f'u{dice.randrange(30)}', f'p{dice.randrange(4)}', dice.randrange(100) / 4)
                  for i in range(1000)]
        arguments = []
        for name, names, rows in (('clicks', ('ts', 'user', 'product'), clicks),
                                  ('orders', ('ts', 'user', 'product', 'amount'), orders)):
            with open(os.path.join(folder, f'{name}.ndjson'), 'w', encoding='utf-8') as file:
                file.writelines(json.dumps(dict(zip(names, row))) + '\n' for row in rows)
            arguments += ['-s', f'{name}={name}.ndjson']
        done = harness.weir('run', '-c', 'weir.yaml', *arguments, cwd=folder)
        self.assertEqual(done.returncode, 0, done.stderr)
        want, seen = {}, {}
        for ts, user, product in clicks:
            seen.setdefault((ts // 600000, user, product), ts)
        for ts, user, product, amount in orders:
            if seen.get((ts // 600000, user, product), ts) < ts:
                sums = want.setdefault((ts // 600000 * 600000 * 1000, product), [0, 0])
                sums[0] += 1
                sums[1] += amount
        self.assertEqual(harness.read_rows(os.path.join(folder, 'shop.db'), 'SELECT window_start, product, n, amount FROM sold_sql'
                                           ' ORDER BY 1, 2'), [(*k, *want[k]) for k in sorted(want)])
        gap, visits = 1800000, []
        for user in sorted({row[1] for row in clicks}):
            before = -gap
            for row in sorted(row for row in clicks + orders if row[1] == user):
                if row[0] - before >= gap:
                    visits.append([row[0] * 1000, user, 0, 0, None])
                before = row[0]
                visits[-1][2] += len(row) == 3
                visits[-1][3] += len(row) == 4
                if len(row) == 4:
                    visits[-1][4] = (visits[-1][4] or 0) + row[3]
        self.assertGreater(len(visits), 30)
        self.assertEqual(harness.read_rows(os.path.join(folder, 'shop.db'), 'SELECT window_start, user, clicks, orders, amount FROM'
                                           ' visits_sql ORDER BY user, window_start'), [tuple(row) for row in visits])


class OneTime(unittest.TestCase):
    """Analyzers that are no SQL get the rows of all streams as one list."""
    CONFIG = """
server: {listen: {listen}, database: {folder}/weir.db}
streams:
  asks: {time: {field: ts, unit: ms}, fields: {price: int, who: string, venue: string}}
  bids: {time: {field: ts, unit: ms}, fields: {price: int, who: string}}
pipelines:
""" + ''.join(f"""
  p{i}: {{from: [{of}], window: {{tumbling: 1s}}, out_of_orderness: 5s, idle_timeout: 1h, analyzers: [
    {{python_window: {{file: {{folder}}/all.py, of: [ts, price, who], nulls: keep, as: w}}{run}}}]}}
""" for i, (of, run) in enumerate((('asks, bids', ''), ('bids, asks', ''), ('bids, asks', ', run: process'))))
    CODE = """
from typing import List, NamedTuple
import weir

class Rows(NamedTuple):
    rows: str

@weir.window(arrays='memoryview')
def all(ts, price, who) -> List[Rows]:
    return [Rows(' '.join(f'{p}{w}' for p, w in zip(price, who)))]
"""

    def test_rows_of_one_time_are_ordered_by_their_columns_whoever_was_first(self):
        if not any(os.path.exists(os.path.join(path, 'python_window.so')) for path in harness.plugin_path().split(':')):
            self.skipTest('no Python in this weir')
        dice = random.Random(11)
        events = {name: [{'ts': 1000 * i // 25, 'price': dice.randrange(5), 'who': dice.choice('abc')} for i in range(100)]
                  for name in ('asks', 'bids')}
        dice.shuffle(events['asks'])
        want = {}
        for e in sorted(events['asks'] + events['bids'], key=lambda e: (e['ts'], e['price'], e['who'])):
            want.setdefault(e['ts'] // 1000 * S, []).append(f"{e['price']}{e['who']}")
        for order in (('asks', 'bids'), ('bids', 'asks')):
            folder = harness.folder_for_test(self)
            with open(os.path.join(folder, 'all.py'), 'w', encoding='utf-8') as file:
                file.write(self.CODE)
            with harness.Server(self.CONFIG, folder=folder) as server:
                for part in range(0, 100, 20):
                    for name in order:
                        server.post_ok(name, events[name][part:part + 20])
                for name in order:
                    server.post_ok(name, [{'ts': 60000}])
                for i in range(3):
                    server.wait_watermark(f'p{i}', 55 * S)
                    self.assertEqual(dict(server.rows(f'SELECT window_start, rows FROM p{i}_w')),
                                     {start: ' '.join(rows) for start, rows in want.items()})


class Refused(unittest.TestCase):
    def refused(self, pipeline, text):
        folder = harness.folder_for_test(self)
        with open(os.path.join(folder, 'weir.yaml'), 'w', encoding='utf-8') as file:
            file.write((HEAD + pipeline).replace('{folder}', folder).replace('{listen}', '127.0.0.1:0'))
        done = harness.weir('check', '-c', os.path.join(folder, 'weir.yaml'))
        self.assertEqual(done.returncode, 78, done.stderr)
        self.assertIn(text, done.stderr)

    def test_what_has_no_answer(self):
        sql = 'analyzers: [{sql: "SELECT count(*) AS n FROM bids"}]'
        two = '  p: {from: [bids, auctions], '
        self.refused(two + 'window: {tumbling: 1m}, analyzers: [count]}\n', "analyzer 'count' takes events one after the other")
        self.refused(two + 'window: {tumbling: 1m}, analyzers: [rows: {by: item, columns: [item]}]}\n', "analyzer 'rows' takes events one after")
        self.refused(two + f'window: {{count: 5}}, key: [item], {sql}}}\n', "'count' is for pipelines that read one stream")
        self.refused(two + f'window: {{session: 1m, max: 1h}}, key: [item], {sql}}}\n', "'max' is for sessions of one stream")
        self.refused(two + f'window: {{tumbling: 1m}}, late: side, {sql}}}\n', "'late: side' is for pipelines")
        self.refused(two + f'window: {{tumbling: 1m}}, key: [user], {sql}}}\n', "no field 'user'")
        self.refused(f'  p: {{from: [bids, bids], window: {{tumbling: 1m}}, {sql}}}\n', "'bids' is there twice")
        self.refused(f'  p: {{from: [bids, bid], window: {{tumbling: 1m}}, {sql}}}\n', "there is no stream 'bid', did you mean")
        self.refused(two + f'window: {{tumbling: 1m}}, {sql}}}\n  q: {{from: p_sql, window: {{tumbling: 1m}}, analyzers: [count]}}\n',
                     'which reads several streams, cannot be read')
        self.refused('  p: {from: bids, join: {bids: {on: [item], as_of: true, within: 1s, columns: [user]}}, window:'
                     ' {tumbling: 1m}, analyzers: [count]}\n', 'a pipeline cannot join the stream that it reads')
        self.refused('  p: {from: bids, join: {auctions: {on: {user: item}, as_of: true, within: 1s, columns: [seller]}}, window:'
                     ' {tumbling: 1m}, analyzers: [count]}\n', "'user' is of type string, and 'item' of the joined stream of type int")
        self.refused('  p: {from: bids, join: {auctions: {on: [item], as_of: true, within: 1s, columns: [item]}}, window:'
                     ' {tumbling: 1m}, analyzers: [count]}\n', "there is a column 'item' already; {OTHER_NAME: item}")


if __name__ == '__main__':
    harness.main()
