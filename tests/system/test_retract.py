# SPDX-License-Identifier: Apache-2.0
"""Results that are replaced (`global`) in chains: who reads them takes the row before out again and gets the new one. At each time
what stands there is what the sqlite3 shell makes of the table that is read."""

import collections
import os
import random
import signal
import unittest
import unittest.mock

import harness

MS = 1000
T0 = 1700000000000
WORKERS = (1, 2, 7)
HEAD = '''
server: {listen: {listen}, database: {folder}/weir.db, commit_interval: 5ms, checkpoint_interval: 20ms}
streams:
  orders: {time: {field: ts, unit: ms}, fields: {user: string, qty: int, price: float}}
pipelines:
'''
# Who has ordered how much; how many users have ordered how often; all of it. In `gone` users are forgotten.
USERS = '''
  users_{w}: {{from: orders, key: [user], window: {{global: 1s}}, workers: {w}, idle_timeout: 1h,
    analyzers: [count: {{as: orders}}, sum: {{of: qty}}, sum: {{of: price}}]}}
  gone_{w}: {{from: orders, key: [user], window: {{global: 1s, expire: 20s}}, workers: {w}, idle_timeout: 1h,
    analyzers: [count: {{as: orders}}, sum: {{of: qty}}]}}
'''.replace('[count: ', '[{{count: ').replace('orders}}, sum: ', 'orders}}}}, {{sum: ').replace(
    'qty}}, sum: ', 'qty}}}}, {{sum: ').replace('price}}]', 'price}}}}]').replace('qty}}]', 'qty}}}}]')
OFTEN = '''
  often_{w}: {{from: users_{w}, key: [orders], window: {{global: 1s}}, workers: {x}, where: qty_sum % 3 <> 0,
    analyzers: [{{count: {{as: n}}}}, {{sum: {{of: qty_sum}}}}, {{sum: {{of: price_sum}}}},
                {{count: {{as: large, where: qty_sum > 40}}}}]}}
  all_{w}: {{from: often_{w}, window: {{global: 1s}}, derive: {{both: orders * n}},
    analyzers: [{{count: {{as: groups}}}}, {{sum: {{of: n}}}}, {{sum: {{of: both}}}}]}}
  gone_often_{w}: {{from: gone_{w}, key: [orders], window: {{global: 1s}}, workers: 2, derive: {{length: length(user)}},
    analyzers: [{{count: {{as: n}}}}, {{sum: {{of: length}}}}]}}
'''

# Analyzers that cannot take rows out: theirs are kept.
KEPT = '''
  kept_{w}: {{from: users_{w}, key: [orders], window: {{global: 1s}}, workers: {x},
    analyzers: [{{stats: {{of: qty_sum, emit: [count, sum, min, max, mean, variance]}}}}, {{stats: {{of: price_sum, emit: [max, mean]}}}},
                {{first: {{of: user}}}}, {{last: {{of: user}}}}, {{topk: {{of: qty_sum, k: 3}}, where: orders > 2}},
                {{rows: {{by: qty_sum, n: 2, columns: [user, qty_sum]}}}},
                {{sql: "SELECT user, qty_sum FROM events WHERE qty_sum > (SELECT avg(qty_sum) FROM events) ORDER BY user"}}]}}
'''

# Windows that late events change, and what is made of their results.
REVISED = '''
  bars_{w}: {{from: orders, key: [user], window: {{tumbling: 5s}}, workers: {w}, idle_timeout: 1h, late: revise, allowed_lateness: 12s,
    analyzers: [{{count: {{as: orders}}}}, {{sum: {{of: qty}}}}]}}
  slides_{w}: {{from: orders, key: [user], window: {{hopping: 6s, by: 2s}}, workers: {w}, idle_timeout: 1h, late: revise,
    allowed_lateness: 7s, analyzers: [{{count: {{as: orders}}}}, {{sum: {{of: qty}}}}]}}
'''
OF_REVISED = '''
  minutes_{w}: {{from: bars_{w}, derive: {{minute: window_start / 60000000}}, key: [minute], window: {{global: 1s}}, workers: {x},
    analyzers: [{{count: {{as: bars}}}}, {{sum: {{of: orders}}}}, {{stats: {{of: qty_sum, emit: [min, max, mean]}}}}]}}
  users_{w}: {{from: slides_{w}, key: [user], window: {{global: 5s}}, workers: {x}, where: qty_sum > 3,
    analyzers: [{{count: {{as: slides}}}}, {{sum: {{of: qty_sum}}}}, {{last: {{of: orders}}}}]}}
'''
QUERY_REVISED = {
    'minutes': ('minute, bars, orders_sum, qty_sum_min, qty_sum_max, qty_sum_mean', '''SELECT window_start / 60000000, count(*),
        sum(orders), min(qty_sum), max(qty_sum), round(avg(qty_sum), 6) FROM bars_{w} GROUP BY 1;'''),
    'users': ('user, slides, qty_sum_sum', '''SELECT user, count(*), sum(qty_sum) FROM slides_{w}
        WHERE qty_sum > 3 GROUP BY 1;'''),
}


def pipelines(text):
    return ''.join(text.format(w=w, x=8 - w) for w in WORKERS)


QUERY = {
    'often': ('orders, n, qty_sum_sum, price_sum_sum, large', '''SELECT orders, count(*), sum(qty_sum), round(sum(price_sum), 6),
        count(*) FILTER (WHERE qty_sum > 40) FROM users_{w} WHERE qty_sum % 3 <> 0 GROUP BY orders ORDER BY 1;'''),
    'all': ('groups, n_sum, both_sum', 'SELECT count(*), sum(n), sum(orders * n) FROM often_{w} HAVING count(*) > 0;'),
    'gone_often': ('orders, n, length_sum', '''SELECT orders, count(*), sum(length(user)) FROM gone_{w}
        GROUP BY orders ORDER BY 1;'''),
    'kept': ('orders, qty_sum_count, qty_sum_sum, qty_sum_min, qty_sum_max, qty_sum_mean, qty_sum_variance, price_sum_max, '
             'price_sum_mean',
             '''SELECT orders, count(*), sum(qty_sum), min(qty_sum), max(qty_sum), round(avg(qty_sum), 6),
        CASE WHEN count(*) > 1 THEN round((sum(qty_sum * qty_sum) - sum(qty_sum) * avg(qty_sum)) / (count(*) - 1), 6) END,
        round(max(price_sum), 6), round(avg(price_sum), 6) FROM users_{w} GROUP BY orders ORDER BY 1;'''),
    'kept_rows': ('orders, rank, qty_sum', '''SELECT orders, rank, qty_sum FROM (SELECT *, row_number() OVER (PARTITION BY orders
        ORDER BY qty_sum DESC) AS rank FROM users_{w}) WHERE rank <= 2 ORDER BY 1, 2;'''),
    'kept_topk': ('orders, rank, qty_sum, qty_sum_count', '''SELECT orders, rank, qty_sum, n FROM (SELECT *, row_number() OVER
        (PARTITION BY orders ORDER BY n DESC, qty_sum) AS rank FROM (SELECT orders, qty_sum, count(*) AS n FROM users_{w}
        WHERE orders > 2 GROUP BY 1, 2)) WHERE rank <= 3 ORDER BY 1, 2;'''),
}
# Texts, for which the order of rows matters: by time, then by what the analyzer takes.
TEXTS = {
    'kept': ('orders, user_first, user_last', '''SELECT DISTINCT orders, first_value(user) OVER w, last_value(user) OVER w FROM users_{w}
        WINDOW w AS (PARTITION BY orders ORDER BY window_end, user ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)'''),
    'kept_sql': ('orders, rank, user, qty_sum', '''SELECT orders, row_number() OVER (PARTITION BY orders ORDER BY user), user, qty_sum
        FROM users_{w} AS u WHERE qty_sum > (SELECT avg(qty_sum) FROM users_{w} AS v WHERE v.orders = u.orders)'''),
}


def make_events(seed, n, users=60):
    dice = random.Random(seed)
    now, events = T0 + seed * 10**6, []
    for _ in range(n):
        now += dice.randrange(5000) if dice.random() < 0.002 else dice.randrange(60)
        events.append({'ts': now, 'user': f'u{int(dice.paretovariate(0.7)) % users}é', 'qty': dice.randrange(-3, 10),
                       'price': dice.randrange(10**6) / 7 if dice.random() < 0.9 else None})
    return events


class Retract(unittest.TestCase):
    def setUp(self):
        self.folder = harness.folder_for_test(self)

    def start(self, text):
        server = harness.Server(HEAD + text, folder=self.folder)
        server.__enter__()
        self.addCleanup(server.__exit__, None, None, None)
        return server

    def reload(self, server, text):
        with open(server.path, 'w', encoding='utf-8') as file:
            file.write((HEAD + text).replace('{folder}', server.folder).replace('{listen}', '127.0.0.1:0'))
        before = len(server.log)
        server.process.send_signal(signal.SIGHUP)
        harness.wait_until(lambda: any('SIGHUP' in line and 'the configuration ' in line for line in server.log[before:]),
                           'the verdict')
        self.assertIn('was read again', ''.join(server.log[before:]))

    def shell(self, sql):
        out = harness.sqlite3_shell(f'.open file:weir.db?mode=ro\n.mode quote\n{sql}\n', self.folder)
        return [tuple(None if c == 'NULL' else float(c) if '.' in c or 'e' in c else int(c) for c in line.split(','))
                for line in out.splitlines()]

    def rows(self, server, columns, table):
        found = server.rows(f'SELECT {columns} FROM {table} WHERE window_end IS NOT NULL')
        return sorted(tuple(round(c, 6) if isinstance(c, float) else c for c in row) for row in found)

    def kept_are_right(self, server, us):
        for w in WORKERS:
            server.wait_watermark(f'kept_{w}', us)
            for name in ('kept', 'kept_rows', 'kept_topk'):
                columns, sql = QUERY[name]
                self.assertEqual(self.rows(server, columns, name.replace('kept', f'kept_{w}')), sorted(self.shell(sql.format(w=w))),
                                 (name, w))
            for name, (columns, sql) in TEXTS.items():
                found = server.rows(f"SELECT {columns} FROM {name.replace('kept', f'kept_{w}')} WHERE window_end IS NOT NULL")
                want = harness.sqlite3_shell(f'.open file:weir.db?mode=ro\n.mode tabs\n{sql.format(w=w)};\n', self.folder)
                self.assertEqual(sorted('\t'.join(map(str, row)) for row in found), sorted(want.splitlines()), (name, w))

    def are_right(self, server, us, names=('often', 'all', 'gone_often')):
        """All have come to the border at `us`. What is forgotten has no end."""
        for w in WORKERS:
            for name in names:
                server.wait_watermark(f'{name}_{w}', us)
                columns, sql = QUERY[name]
                parent = {'often': 'users', 'all': 'often', 'gone_often': 'gone'}[name]
                sql = sql.format(w=w).replace(f'FROM {parent}_{w}',
                                              f'FROM (SELECT * FROM {parent}_{w} WHERE window_end IS NOT NULL)')
                self.assertEqual(self.rows(server, columns, f'{name}_{w}'), sorted(self.shell(sql)), (name, w))

    def users_are_right(self, server, events):
        want = collections.defaultdict(lambda: [0, 0])
        for e in events:
            want[e['user']][0] += 1
            want[e['user']][1] += e['qty']
        for w in WORKERS:
            self.assertEqual(self.rows(server, 'user, orders, qty_sum', f'users_{w}'), sorted((u, *v) for u, v in want.items()))

    def post(self, server, events, size):
        for i in range(0, len(events), size):
            server.post_ok('orders', events[i:i + size], Weir_Source='one')
        return events[-1]['ts'] // 1000 * 1000 * MS

    def finish(self, server, events):
        """Past the next border, with a row that is there in all tables."""
        events.append({'ts': events[-1]['ts'] // 1000 * 1000 + 2000, 'user': 'last', 'qty': 1, 'price': 1.0})
        events.append({'ts': events[-1]['ts'] + 1000, 'user': 'last', 'qty': 1, 'price': 1.0})
        us = self.post(server, events[-2:], 2)
        self.are_right(server, us)
        return us

    def test_what_is_read_is_what_the_shell_makes_of_it_at_many_borders(self):
        server = self.start(pipelines(USERS + OFTEN))
        events = make_events(1, 6000)
        for i, part in enumerate(events[k:k + 1000] for k in range(0, len(events), 1000)):
            self.are_right(server, self.post(server, part, (7, 1000, 100)[i % 3]))
        self.finish(server, events)
        seen = events[:-1]  # the last one is behind the border
        self.users_are_right(server, seen)
        self.assertGreater(len(self.rows(server, 'orders', 'often_1')), 10)
        for name in ('users', 'often', 'all', 'gone', 'gone_often'):
            first, *others = [server.rows(f'SELECT * FROM {name}_{w} ORDER BY 1, 2') for w in WORKERS]
            if name != 'all':
                self.assertEqual(others, [first, first], name)

    def test_kill_and_restart(self):
        server = self.start(pipelines(USERS + OFTEN))
        events = make_events(2, 4000)
        for part in (events[k:k + 500] for k in range(0, len(events), 500)):
            us = self.post(server, part, 50)
            server.restart()
            self.are_right(server, us)
        self.finish(server, events)
        self.users_are_right(server, events[:-1])

    def test_what_an_analyzer_cannot_take_out_is_kept_for_it(self):
        server = self.start(pipelines(USERS + KEPT))
        events = make_events(5, 3000)
        for i, part in enumerate(events[k:k + 500] for k in range(0, len(events), 500)):
            self.post(server, part[:400], (7, 500, 50)[i % 3])
            if i % 2:
                server.restart()
            self.kept_are_right(server, self.post(server, part[400:], 100))
        self.assertGreater(len(self.rows(server, 'orders', 'kept_1')), 10)
        for name in ('', '_rows', '_topk', '_sql'):
            first, *others = [server.rows(f'SELECT * FROM kept_{w}{name} ORDER BY 1, 2, 3') for w in WORKERS]
            self.assertEqual(others, [first, first], name)

    def test_rows_that_are_gone_take_no_place_from_those_that_are_left(self):
        """Room for as many rows as there are at once, and each is replaced many times between two results."""
        server = self.start('''
  users: {from: orders, key: [user], window: {global: 1s}, idle_timeout: 1h, analyzers: [{sum: {of: qty}}]}
  total: {from: users, window: {global: 20s}, analyzers: [{stats: {of: qty_sum, emit: [count, sum]}, max_rows: 5}]}
''')
        events = [{'ts': T0 + i * 100, 'user': f'u{i % 5}', 'qty': i % 7, 'price': 1.0} for i in range(1205)]
        self.post(server, events, 50)
        server.wait_watermark('total', (T0 + 120000) * MS)
        self.assertEqual(server.rows('SELECT qty_sum_count, qty_sum_sum FROM total'),
                         [(5, sum(e['qty'] for e in events if e['ts'] < T0 + 120000))])
        skipped = server.metrics()['weir_analyzer_skipped_total']
        self.assertEqual(sum(n for labels, n in skipped if labels['reason'] == 'max_rows'), 0)

    def test_one_that_comes_later_begins_with_what_there_is(self):
        server = self.start(pipelines(USERS))
        events = make_events(3, 3000)
        self.post(server, events[:1000], 100)
        self.reload(server, pipelines(USERS + OFTEN))
        server.restart()
        self.are_right(server, self.post(server, events[1000:2000], 100))
        self.reload(server, pipelines(USERS))
        self.reload(server, pipelines(USERS + OFTEN))
        self.post(server, events[2000:2500], 100)
        self.reload(server, pipelines(USERS))
        self.post(server, events[2500:2600], 100)
        self.reload(server, pipelines(USERS + OFTEN.replace(' % 3 <> 0', ' % 2 <> 0')))
        self.post(server, events[2600:2800], 100)
        self.reload(server, pipelines(USERS + OFTEN))
        self.are_right(server, self.post(server, events[2800:2900], 100))
        self.reload(server, pipelines(USERS + OFTEN.replace(' % 3 <> 0', ' % 2 <> 0')))
        self.post(server, events[2900:], 100)
        with unittest.mock.patch.dict(QUERY, often=(QUERY['often'][0], QUERY['often'][1].replace(' % 3 <> 0', ' % 2 <> 0'))):
            self.finish(server, events)
        self.users_are_right(server, events[:-1])

    def test_a_run_over_a_file(self):
        events = make_events(4, 3000)
        path = os.path.join(self.folder, 'c.yaml')
        with open(path, 'w', encoding='utf-8') as file:
            file.write((HEAD + pipelines(USERS + OFTEN)).replace('{folder}', self.folder).replace('{listen}', '127.0.0.1:0'))
        for part in (events[:1500], events[1500:]):
            done = harness.weir('run', '-c', path, '-q', '--stream', 'orders', '-', cwd=self.folder,
                                stdin=''.join(f'{{"ts": {e["ts"]}, "user": "{e["user"]}", "qty": {e["qty"]}, "price": 1.5}}\n' for e in part))
            self.assertEqual(done.returncode, 0, done.stderr)
            for w in WORKERS:
                for name, parent in (('often', 'users'), ('all', 'often'), ('gone_often', 'gone')):
                    columns, sql = QUERY[name]
                    found = harness.read_rows(os.path.join(self.folder, 'weir.db'),
                                              f'SELECT {columns} FROM {name}_{w} WHERE window_end IS NOT NULL')
                    sql = sql.format(w=w).replace(f'FROM {parent}_{w}',
                                                  f'FROM (SELECT * FROM {parent}_{w} WHERE window_end IS NOT NULL)')
                    self.assertEqual(sorted(tuple(round(c, 6) if isinstance(c, float) else c for c in r) for r in found),
                                     sorted(self.shell(sql)), (name, w))

    def test_what_is_refused(self):
        stream = 'streams: {s: {time: {field: ts, unit: ms}, fields: {k: string, n: int}}}\n'
        cases = {
            'window: {tumbling: 1s}, analyzers: [count]': "a pipeline that reads them is 'global', too",
            'window: {global: 1s, expire: 1h}, analyzers: [count]': "'expire' is for pipelines that read a stream",
            'window: {global: 1s}, analyzers: [{count: {}, run: process}]': "'run: process' is not for results that are replaced",
        }
        path = os.path.join(self.folder, 'c.yaml')
        parent = '  q: {from: s, key: [k], window: {global: 1s}, analyzers: [{sum: {of: n}}, {topk: {of: n}}]}\n'
        for text, why in cases.items():
            with open(path, 'w', encoding='utf-8') as file:
                file.write(f'{stream}pipelines:\n{parent}  p: {{from: q, {text}}}\n')
            done = harness.weir('check', '-c', path, '--no-database')
            self.assertEqual(done.returncode, 78, text)
            self.assertIn(f'{path}:4:', done.stderr, text)
            self.assertIn(why, done.stderr, text)
        parent = '  q: {from: s, window: {WINDOW}, late: revise, allowed_lateness: 1m, analyzers: [count, {topk: {of: n}}]}\n'
        for window, table, text, why in (('tumbling: 1m', 'q', 'tumbling: 1h', "are replaced ('late: revise')"),
                                         ('session: 1m', 'q', 'global: 1s', "do not come in the order of their windows' ends")):
            with open(path, 'w', encoding='utf-8') as file:
                file.write(f"{stream}pipelines:\n{parent.replace('WINDOW', window)}  p: {{from: {table}, window: {{{text}}}, analyzers: [count]}}\n")
            self.assertIn(why, harness.weir('check', '-c', path, '--no-database').stderr, window)

    # ---- Results that are revised --------------------------------------------------------------

    def disorder(self, seed, n):
        dice = random.Random(seed)
        events = make_events(seed, n, 12)
        for e in events:
            if dice.random() < 0.2:
                e['ts'] -= dice.randrange(20000)
        return events

    def windows(self, events, size, by, lateness):
        """What the windows hold, by the rule alone: an event counts while the newest before is not `lateness` behind its end."""
        found, newest = collections.defaultdict(lambda: [0, 0]), -10**18
        for e in events:
            newest = max(newest, e['ts'])
            start = e['ts'] // by * by
            while start > e['ts'] - size:
                if newest < start + size + lateness:
                    found[start * MS, e['user']][0] += 1
                    found[start * MS, e['user']][1] += e['qty']
                start -= by
        return sorted((start, user, *v) for (start, user), v in found.items() if start + size * MS <= newest * MS)

    def end_of(self, events):
        """Two events, of which the second ends all windows of the first."""
        last = events[-1]['ts'] // 60000 * 60000 + 120000
        return [{'ts': last, 'user': 'last', 'qty': 5, 'price': 1.0}, {'ts': last + 60000, 'user': 'last', 'qty': 1, 'price': 1.0}]

    def revised_are_right(self, server, events):
        us = events[-1]['ts'] * MS
        for w in WORKERS:
            for name in ('minutes', 'users'):
                server.wait_watermark(f'{name}_{w}', us)
                columns, sql = QUERY_REVISED[name]
                found = server.rows(f'SELECT {columns} FROM {name}_{w} WHERE window_end IS NOT NULL')
                want = harness.sqlite3_shell(f'.open file:weir.db?mode=ro\n.mode tabs\n{sql.format(w=w)}\n', self.folder)
                self.assertEqual(sorted('\t'.join(str(round(c, 6) if isinstance(c, float) else c) for c in row) for row in found),
                                 sorted(want.splitlines()), (name, w))
            for name, *window in (('bars', 5000, 5000, 12000), ('slides', 6000, 2000, 7000)):
                self.assertEqual(server.rows(f'SELECT window_start, user, orders, qty_sum FROM {name}_{w} ORDER BY 1, 2'),
                                 self.windows(events, *window), name)

    def test_results_that_are_revised_are_taken_out_whatever_the_requests_and_kills(self):
        events = self.disorder(6, 3000)
        events += self.end_of(events)
        tables = []
        for sizes in ((7, 400, 50), (1000,)):
            self.folder = harness.folder_for_test(self)
            server = self.start(pipelines(REVISED + OF_REVISED))
            for i, part in enumerate(events[k:k + 600] for k in range(0, len(events), 600)):
                self.post(server, part, sizes[i % len(sizes)])
                if len(sizes) > 1 and i % 2:
                    server.restart()
            self.revised_are_right(server, events)
            tables.append([server.rows(f'SELECT * FROM {name}_{w} ORDER BY 1, 2, 3') for name in QUERY_REVISED for w in WORKERS])
            revised = sum(v for _, v in server.metrics()['weir_pipeline_revisions_total'])
            self.assertGreater(revised, 0 if len(sizes) > 1 else 1000)  # since the last start
            server.stop()
        self.assertEqual(tables[0], tables[1])
        self.assertEqual(tables[0][0:3], [tables[0][0]] * 3)

    def test_who_comes_later_gets_the_results_that_can_still_be_revised(self):
        server = self.start(pipelines(REVISED))
        events = self.disorder(7, 2400)
        events += self.end_of(events)
        self.post(server, events[:1200], 100)
        newest = border = 0
        for e in events[:1200]:  # the event with which the last window of these ended
            newest = max(newest, e['ts'])
            if newest // 5000 > border // 5000:
                border = newest
        for w in WORKERS:
            server.wait_watermark(f'bars_{w}', border // 5000 * 5000 * MS)
        self.reload(server, pipelines(REVISED + OF_REVISED))
        self.post(server, events[1200:1800], 100)
        server.restart()
        self.post(server, events[1800:], 300)
        for w in WORKERS:
            server.wait_watermark(f'minutes_{w}', events[-1]['ts'] * MS)
            want = server.rows(f'SELECT window_start / 60000000, count(*), sum(orders), max(qty_sum) FROM bars_{w} '
                               'WHERE window_end > ? GROUP BY 1', (border - 12000) * MS)
            self.assertEqual(server.rows(f'SELECT minute, bars, orders_sum, qty_sum_max FROM minutes_{w} ORDER BY 1'), want)
            self.assertLess(sum(row[1] for row in want), server.rows(f'SELECT count(*) FROM bars_{w}')[0][0])

    def test_what_waits_is_handed_on_in_silence(self):
        server = self.start('''
  bars: {from: orders, window: {tumbling: 200ms}, idle_timeout: 100ms, late: revise, allowed_lateness: 1h, analyzers: [{sum: {of: qty}}]}
  all: {from: bars, window: {global: 200ms}, analyzers: [{sum: {of: qty_sum}}]}
''')
        def wait(total):
            harness.wait_until(lambda: server.rows('SELECT qty_sum_sum FROM "all"') == [(total,)], f'a sum of {total}')
        for ts, qty, total in ((T0, 1, 1), (T0 - 5000, 10, 11), (T0 - 5000, 100, 111), (T0, 1000, 1111), (T0 + 5000, 10000, 11111)):
            server.post_ok('orders', [{'ts': ts, 'user': 'a', 'qty': qty, 'price': 1.0}])
            wait(total)

    def test_a_run_over_files_whose_windows_close_on_the_way(self):
        """With --live there are revisions."""
        events = self.disorder(8, 2000)
        events += self.end_of(events)
        path = os.path.join(self.folder, 'c.yaml')
        with open(path, 'w', encoding='utf-8') as file:
            file.write((HEAD + pipelines(REVISED + OF_REVISED)).replace('{folder}', self.folder).replace('{listen}', '127.0.0.1:0'))
        for part in (events[:1000], events[1000:]):
            text = ''.join(f'{{"ts": {e["ts"]}, "user": "{e["user"]}", "qty": {e["qty"]}, "price": 1.5}}\n' for e in part)
            done = harness.weir('run', '-c', path, '-q', '--live', '--stream', 'orders', '-', cwd=self.folder, stdin=text)
            self.assertIn(done.returncode, (0, 65), done.stderr)  # 65: some were later than that
        for w in WORKERS:
            for name, (columns, sql) in QUERY_REVISED.items():
                found = harness.read_rows(os.path.join(self.folder, 'weir.db'),
                                          f'SELECT {columns} FROM {name}_{w} WHERE window_end IS NOT NULL')
                want = harness.sqlite3_shell(f'.open file:weir.db?mode=ro\n.mode tabs\n{sql.format(w=w)}\n', self.folder)
                self.assertEqual(sorted('\t'.join(str(round(c, 6) if isinstance(c, float) else c) for c in row) for row in found),
                                 sorted(want.splitlines()), (name, w))


if __name__ == '__main__':
    harness.main()
