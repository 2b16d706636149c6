# SPDX-License-Identifier: Apache-2.0
"""Tables with any number of rows for a key, and windows of several sizes, whose results are replaced: who reads them takes out all
rows of the group that were there, and gets those that are there now."""

import collections
import random
import signal
import unittest

import harness

MS = 1000
T0 = 1700000000000
WORKERS = (1, 3)
HEAD = '''
server: {listen: {listen}, database: {folder}/weir.db, commit_interval: 5ms, checkpoint_interval: 20ms}
streams:
  orders: {time: {field: ts, unit: ms}, fields: {user: string, qty: int, price: float}}
pipelines:
'''
# What each user orders most often, and best; users are forgotten in `gone`.
TOPS = '''
  tops_{w}: {{from: orders, key: [user], window: {{global: 1s}}, workers: {w}, idle_timeout: 1h,
    analyzers: [count, {{topk: {{of: qty, k: 3}}}}, {{rows: {{by: price, n: 2, columns: [qty, price]}}, where: qty > 2}}]}}
  gone_{w}: {{from: orders, key: [user], window: {{global: 1s, expire: 15s}}, workers: {w}, idle_timeout: 1h,
    analyzers: [{{topk: {{of: qty, k: 2}}}}]}}
'''
OF_TOPS = '''
  ranks_{w}: {{from: tops_{w}_topk, derive: {{place: rank + 0}}, key: [place], window: {{global: 1s}}, workers: {x},
    analyzers: [{{count: {{as: n}}}}, {{sum: {{of: qty_count}}}}]}}
  best_{w}: {{from: tops_{w}_rows, key: [qty], window: {{global: 1s}}, workers: {x},
    analyzers: [{{stats: {{of: price, emit: [count, max]}}}},
                {{sql: "SELECT user, count(*) AS n FROM events GROUP BY user HAVING count(*) > 1 OR user < 'u4' ORDER BY user"}}]}}
  users_{w}: {{from: best_{w}_sql, key: [user], window: {{global: 1s}}, analyzers: [{{count: {{as: kinds}}}}, {{sum: {{of: n}}}}]}}
  wanted_{w}: {{from: gone_{w}_topk, key: [qty], window: {{global: 1s}}, analyzers: [{{count: {{as: n}}}}, {{sum: {{of: rank}}}}]}}
'''
QUERY_TOPS = {
    'ranks': ('place, n, qty_count_sum', 'SELECT rank, count(*), sum(qty_count) FROM tops_{w}_topk WHERE rank > 0 GROUP BY 1'),
    'best': ('qty, price_count, price_max', 'SELECT qty, count(*), max(price) FROM tops_{w}_rows WHERE rank > 0 GROUP BY 1'),
    'users': ('user, kinds, n_sum', '''SELECT user, count(*), sum(n) FROM (SELECT user, count(*) AS n FROM tops_{w}_rows WHERE rank > 0
        GROUP BY qty, user HAVING count(*) > 1 OR user < 'u4') GROUP BY 1'''),
    'wanted': ('qty, n, rank_sum', 'SELECT qty, count(*), sum(rank) FROM gone_{w}_topk WHERE rank > 0 GROUP BY 1'),
}

# Windows of two sizes that late events change.
BARS = '''
  bars_{w}: {{from: orders, key: [user], window: {{tumbling: [2s, 6s]}}, workers: {w}, idle_timeout: 1h, late: revise,
    allowed_lateness: 9s, retain: 30d, analyzers: [{{count: {{as: orders}}}}, {{rows: {{by: qty, n: 2, columns: [qty]}}, where: qty > 5}}]}}
'''
OF_BARS = '''
  short_{w}: {{from: bars_{w}, key: [orders], window: {{global: 1s}}, workers: {x}, analyzers: [{{count: {{as: n}}}}]}}
  long_{w}: {{from: bars_{w}_6s, key: [user], window: {{global: 2s}}, workers: {x}, analyzers: [{{count: {{as: n}}}}, {{sum: {{of: orders}}}}]}}
  shortbest_{w}: {{from: bars_{w}_2s_rows, key: [qty], window: {{global: 1s}}, workers: {x},
    analyzers: [{{count: {{as: n}}}}, {{stats: {{of: rank, emit: [sum, max]}}}}]}}
  longbest_{w}: {{from: bars_{w}_6s_rows, key: [user], window: {{global: 3s}}, analyzers: [{{count: {{as: n}}}}, {{sum: {{of: qty}}}}]}}
'''
QUERY_BARS = {
    'short': ('orders, n', 'SELECT orders, count(*) FROM bars_{w}_2s GROUP BY 1'),
    'long': ('user, n, orders_sum', 'SELECT user, count(*), sum(orders) FROM bars_{w}_6s GROUP BY 1'),
    'shortbest': ('qty, n, rank_sum, rank_max', 'SELECT qty, count(*), sum(rank), max(rank) FROM bars_{w}_2s_rows WHERE rank > 0 GROUP BY 1'),
    'longbest': ('user, n, qty_sum', 'SELECT user, count(*), sum(qty) FROM bars_{w}_6s_rows WHERE rank > 0 GROUP BY 1'),
}


def pipelines(text):
    return ''.join(text.format(w=w, x=4 - w) for w in WORKERS)


def make_events(seed, n, users=30, late=0.0):
    dice = random.Random(seed)
    now, events = T0 + seed * 10**6, []
    for i in range(n):
        now += dice.randrange(5000) if dice.random() < 0.002 else dice.randrange(60)
        events.append({'ts': now - (dice.randrange(15000) if dice.random() < late else 0), 'user': f'u{int(dice.paretovariate(0.7)) % users}é',
                       'qty': dice.randrange(9), 'price': i % 97 + i / 1024})
    return events


class RetractRows(unittest.TestCase):
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

    def post(self, server, events, size):
        for i in range(0, len(events), size):
            server.post_ok('orders', events[i:i + size], Weir_Source='one')

    def are_right(self, server, us, queries):
        for w in WORKERS:
            for name, (columns, sql) in queries.items():
                server.wait_watermark(f'{name}_{w}', us)
                # Two looks at tables that go on for a while: what is behind the watermark is asked for until it stays.
                def look():
                    found = server.rows(f'SELECT {columns} FROM {name}_{w} WHERE window_end IS NOT NULL')
                    want = harness.sqlite3_shell(f'.open file:weir.db?mode=ro\n.mode tabs\n{sql.format(w=w)};\n', self.folder)
                    looks[:] = [sorted('\t'.join(str(c) for c in row) for row in found), sorted(want.splitlines())]
                    return len(found) > 1 and looks[0] == looks[1]
                looks = []
                try:
                    harness.wait_until(look, f'{name}_{w} as SQLite has it')
                except AssertionError:
                    self.assertEqual(*looks, (name, w))
                    raise

    def tops_are_right(self, server, events):
        """By the events alone."""
        counts = collections.defaultdict(collections.Counter)
        prices = collections.defaultdict(list)
        for e in events:
            counts[e['user']][e['qty']] += 1
            if e['qty'] > 2:
                prices[e['user']].append((e['price'], e['qty']))
        tops = [sorted(((n, -qty) for qty, n in c.items()), reverse=True)[:3] for c in counts.values()]
        ranks = [(rank + 1, sum(len(t) > rank for t in tops), sum(t[rank][0] for t in tops if len(t) > rank)) for rank in range(3)]
        best = collections.defaultdict(list)
        for of_user in prices.values():
            for price, qty in sorted(of_user, reverse=True)[:2]:
                best[qty].append(price)
        for w in WORKERS:
            self.assertEqual(server.rows(f'SELECT place, n, qty_count_sum FROM ranks_{w} WHERE window_end IS NOT NULL ORDER BY 1'), ranks)
            self.assertEqual(server.rows(f'SELECT qty, price_count, price_max FROM best_{w} WHERE window_end IS NOT NULL ORDER BY 1'),
                             sorted((qty, len(p), max(p)) for qty, p in best.items()))

    def finish(self, server, events):
        """Past the next border."""
        last = events[-1]['ts'] // 1000 * 1000
        events += [{'ts': last + 2000, 'user': 'last', 'qty': 7, 'price': 1.0}, {'ts': last + 3000, 'user': 'last', 'qty': 1, 'price': 1.0}]
        self.post(server, events[-2:], 2)
        return events[-1]['ts'] * MS

    def test_all_rows_of_a_group_are_replaced_at_each_border_and_over_kills(self):
        server = self.start(pipelines(TOPS + OF_TOPS))
        events = make_events(1, 2400)
        for i, part in enumerate(events[k:k + 600] for k in range(0, len(events), 600)):
            self.post(server, part, (7, 1000, 50)[i % 3])
            if i % 2:
                server.restart()
            self.are_right(server, part[-1]['ts'] // 1000 * 1000 * MS, QUERY_TOPS)
        us = self.finish(server, events)
        self.are_right(server, us, QUERY_TOPS)
        self.tops_are_right(server, events[:-1])
        for name in QUERY_TOPS:
            first, other = (server.rows(f'SELECT * FROM {name}_{w} ORDER BY 1, 2, 3') for w in WORKERS)
            self.assertEqual(first, other, name)

    def test_who_comes_later_is_given_all_rows_and_a_table_that_changes_begins_afresh(self):
        server = self.start(pipelines(TOPS))
        events = make_events(2, 1500)
        self.post(server, events[:500], 100)
        self.reload(server, pipelines(TOPS + OF_TOPS))
        server.restart()
        self.post(server, events[500:700], 100)
        self.are_right(server, events[699]['ts'] // 1000 * 1000 * MS, QUERY_TOPS)
        # The rows of best_N are the same ones, but not what is given out for them: users_N begins afresh.
        other = OF_TOPS.replace('count(*) AS n FROM events', 'count(*) AS n, 1.5 AS more FROM events').replace('emit: [count, max]',
                                                                                                        'emit: [count, max, min]')
        self.reload(server, pipelines(TOPS + other))
        self.assertEqual(sum("starts afresh, as 'best_" in line for line in server.log), len(WORKERS))
        self.post(server, events[700:900], 100)
        server.restart()
        self.are_right(server, events[899]['ts'] // 1000 * 1000 * MS, QUERY_TOPS)
        some = ''.join(line for line in OF_TOPS.splitlines(True) if 'wanted' not in line)
        self.reload(server, pipelines(TOPS + some))
        self.post(server, events[900:1200], 60)
        self.reload(server, pipelines(TOPS + OF_TOPS))
        self.post(server, events[1200:], 100)
        self.are_right(server, self.finish(server, events), QUERY_TOPS)
        self.tops_are_right(server, events[:-1])

    def test_windows_of_several_sizes_are_revised_whatever_the_requests_and_kills(self):
        events = make_events(3, 1600, 10, 0.2)
        last = events[-1]['ts'] // 60000 * 60000 + 120000
        events += [{'ts': last + i * 60000, 'user': 'last', 'qty': 7, 'price': 1.0} for i in range(2)]
        tables = []
        for sizes in ((7, 300, 50), (1000,)):
            self.folder = harness.folder_for_test(self)
            server = self.start(pipelines(BARS + OF_BARS))
            for i, part in enumerate(events[k:k + 400] for k in range(0, len(events), 400)):
                self.post(server, part, sizes[i % len(sizes)])
                if len(sizes) > 1 and i % 2 == 0:
                    server.restart()
            self.are_right(server, events[-1]['ts'] * MS, QUERY_BARS)
            tables.append([server.rows(f'SELECT * FROM {name}_{w} ORDER BY 1, 2, 3') for name in QUERY_BARS for w in WORKERS])
            for w in WORKERS:
                for size, seconds in (('2s', 2), ('6s', 6)):
                    self.assertEqual(server.rows(f'SELECT window_start, user, orders FROM bars_{w}_{size} ORDER BY 1, 2'),
                                     self.windows(events, seconds * 1000, 9000), size)
            server.stop()
        self.assertEqual(tables[0], tables[1])
        self.assertEqual(tables[0][::2], tables[0][1::2])

    def windows(self, events, size, lateness):
        """What the windows hold, by the rule alone: an event counts while the newest before is not `lateness` behind its end."""
        found, newest = collections.Counter(), -10**18
        for e in events:
            newest = max(newest, e['ts'])
            start = e['ts'] // size * size
            if newest < start + size + lateness:
                found[start * MS, e['user']] += 1
        return sorted((start, user, n) for (start, user), n in found.items() if start + size * MS <= newest * MS)

    def test_who_comes_later_to_one_size_gets_what_can_still_be_revised(self):
        server = self.start(pipelines(BARS + '\n'.join(OF_BARS.splitlines()[:2]) + '\n'))
        events = make_events(4, 1200, 10, 0.2)
        last = events[-1]['ts'] // 60000 * 60000 + 120000
        events += [{'ts': last + i * 60000, 'user': 'last', 'qty': 7, 'price': 1.0} for i in range(2)]
        self.post(server, events[:600], 100)
        self.reload(server, pipelines(BARS + OF_BARS))
        server.restart()
        self.post(server, events[600:], 100)
        newest = border = 0
        for e in events[:600]:  # the event with which the last window of these ended
            newest = max(newest, e['ts'])
            if newest // 2000 > border // 2000:
                border = newest
        for w in WORKERS:
            server.wait_watermark(f'long_{w}', events[-1]['ts'] * MS)
            self.assertEqual(server.rows(f'SELECT user, n, orders_sum FROM long_{w} ORDER BY 1'),
                             server.rows(f'SELECT user, count(*), sum(orders) FROM bars_{w}_6s WHERE window_end > ? GROUP BY 1',
                                         (border - 9000) * MS))
        self.are_right(server, events[-1]['ts'] * MS, {'short': QUERY_BARS['short']})


if __name__ == '__main__':
    harness.main()
