# SPDX-License-Identifier: Apache-2.0
"""Pipelines that read other pipelines and join tables of the database: what SQLite finds for each result that they read, over kill -9,
and over changes of the tables. Where results are replaced, those that are taken out find what they found."""

import collections
import os
import random
import signal
import sqlite3
import unittest

import harness

MS = 1000
T0 = 1700000000000
HEAD = '''
server: {listen: {listen}, database: {folder}/weir.db, commit_interval: 5ms, checkpoint_interval: 20ms}
streams:
  orders: {time: {field: ts, unit: ms}, fields: {user: string, qty: int}}
pipelines:
  bars: {from: orders, key: [user], window: {tumbling: 1s}, idle_timeout: 1h, analyzers: [{sum: {of: qty}}]}
  users: {from: orders, key: [user], window: {global: 1s}, idle_timeout: 1h, analyzers: [{sum: {of: qty}}]}
'''
MEMBERS = 'join: {members: {table: members, on: {user: name}, columns: {team: string, weight: int}}}'
RATES = 'join: {rates: {table: rates, on: {user: name}, time: {field: since, unit: ms}, within: 10s, columns: {rate: int}}}'
CHILDREN = ''.join(f'''
  teams_{w}: {{from: bars, {MEMBERS}, derive: {{weighted: qty_sum * weight}}, key: [team], window: {{tumbling: 4s}}, workers: {w},
    where: weight > 0, analyzers: [{{count: {{as: n}}}}, {{sum: {{of: weighted}}}}]}}
  rated_{w}: {{from: bars, {RATES}, window: {{hopping: 4s, by: 2s}}, workers: {w},
    analyzers: [{{count: {{as: n, where: rate IS NOT NULL}}}}, {{sum: {{of: rate}}}}]}}
  totals_{w}: {{from: users, {MEMBERS}, derive: {{weighted: qty_sum * weight}}, key: [team], window: {{global: 1s}}, workers: {w},
    analyzers: [{{count: {{as: n}}}}, {{sum: {{of: weighted}}}}, {{stats: {{of: qty_sum, emit: [max]}}}}]}}
''' for w in (1, 3))


def make_events(seed, n):
    dice = random.Random(seed)
    now, events = T0 + seed * 10**6, []
    for _ in range(n):
        now += dice.randrange(3000) if dice.random() < 0.005 else dice.randrange(40)
        events.append({'ts': now, 'user': f'u{int(dice.paretovariate(0.7)) % 20}', 'qty': dice.randrange(-3, 10)})
    return events


class ChainTable(unittest.TestCase):
    def setUp(self):
        self.folder = harness.folder_for_test(self)
        self.path = os.path.join(self.folder, 'weir.db')
        dice = random.Random(1)
        self.members = {f'u{i}': (f't{i % 4}', i % 3) for i in range(18)}
        self.rates = {(f'u{i}', T0 + dice.randrange(10**6, 10**6 + 60000)): i for i in range(15) for _ in range(8)}
        self.sql('CREATE TABLE members (name TEXT, team TEXT, weight INTEGER)',
                 'CREATE TABLE rates (name TEXT, since INTEGER, rate INTEGER)')
        self.fill()

    def sql(self, *statements):
        db = sqlite3.connect(self.path, timeout=harness.LIMIT_S)
        with db:
            for statement in statements:
                db.execute(statement)
        db.close()

    def fill(self):
        db = sqlite3.connect(self.path, timeout=harness.LIMIT_S)
        with db:
            db.execute('DELETE FROM members')
            db.executemany('INSERT INTO members VALUES (?, ?, ?)', [(name, *v) for name, v in self.members.items()])
            db.execute('DELETE FROM rates')
            db.executemany('INSERT INTO rates VALUES (?, ?, ?)', [(*k, v) for k, v in self.rates.items()])
        db.close()

    def start(self):
        server = harness.Server(HEAD + CHILDREN, folder=self.folder)
        server.__enter__()
        self.addCleanup(server.__exit__, None, None, None)
        return server

    def reload(self, server):
        before = len(server.log)
        server.process.send_signal(signal.SIGHUP)
        harness.wait_until(lambda: any('was read again' in line for line in server.log[before:]), 'the verdict')

    def post(self, server, events, size):
        for i in range(0, len(events), size):
            server.post_ok('orders', events[i:i + size], Weir_Source='one')

    def bars(self, events, members):
        """(end, user, sum, team, weight, rate) of each bar that is over. members: (until, table)."""
        sums = collections.Counter()
        for e in events:
            sums[e['ts'] // 1000 * 1000, e['user']] += e['qty']
        found = []
        for (start, user), qty in sorted(sums.items()):
            if start + 1000 > events[-1]['ts']:
                continue
            team, weight = next(table for until, table in members if start < until).get(user, (None, None))
            at = [t for name, t in self.rates if name == user and (start + 999) - 10000 <= t <= start + 999]
            found.append((start, user, qty, team, weight, self.rates[user, max(at)] if at else None))
        return found

    def finals_are_right(self, server, events, members):
        teams, rated = collections.defaultdict(list), collections.defaultdict(list)
        end = events[-1]['ts'] // 1000 * 1000
        for start, _, qty, team, weight, rate in self.bars(events, members):
            if weight:
                teams[start // 4000 * 4000 * MS, team].append(qty * weight)
            for first in (start // 2000 * 2000, start // 2000 * 2000 - 2000):
                rated[first * MS].append(rate)
        teams = sorted((*k, len(v), sum(v)) for k, v in teams.items() if k[0] // MS + 4000 <= end)
        rated = sorted((k, len([r for r in v if r is not None]), sum(r for r in v if r is not None) if any(r is not None for r in v) else None)
                       for k, v in rated.items() if k // MS + 4000 <= end)
        self.assertGreater(len(teams), 10)
        for w in (1, 3):
            server.wait_watermark(f'teams_{w}', end * MS)
            self.assertEqual(server.rows(f'SELECT window_start, team, n, weighted_sum FROM teams_{w} ORDER BY 1, 2'), teams)
            server.wait_watermark(f'rated_{w}', end * MS)
            self.assertEqual(server.rows(f'SELECT window_start, n, rate_sum FROM rated_{w} ORDER BY 1'), rated)

    def totals_are_right(self, server, events, members):
        end = events[-1]['ts'] // 1000 * 1000
        users, teams = collections.Counter(), collections.defaultdict(list)
        for e in events:
            if e['ts'] < end:
                users[e['user']] += e['qty']
        for user, qty in users.items():
            team, weight = members.get(user, (None, None))
            if team:
                teams[team].append((qty, qty * weight))
        want = sorted((team, len(v), sum(w for _, w in v), max(q for q, _ in v)) for team, v in teams.items())
        for w in (1, 3):
            server.wait_watermark(f'totals_{w}', end * MS)
            self.assertEqual(server.rows(f'SELECT team, n, weighted_sum, qty_sum_max FROM totals_{w} WHERE window_end IS NOT NULL ORDER BY 1'), want)

    def test_each_result_has_what_sqlite_finds_over_kills_and_changes(self):
        server = self.start()
        events = make_events(1, 2500)
        self.post(server, events[:600], 100)
        server.restart()
        self.post(server, events[600:1200], 7)
        before = dict(self.members)
        self.totals_are_right(server, events[:1200], before)
        self.finals_are_right(server, events[:1200], [(10**15, before)])
        self.members.update(u1=('t9', 2), u2=('t3', 2), u19=('t9', 1))
        del self.members['u3']
        self.fill()
        self.reload(server)
        server.restart()
        self.post(server, events[1200:1800], 100)
        self.totals_are_right(server, events[:1800], self.members)
        # Windows that were open at the change know what was found before it.
        until = [(events[1199]['ts'] // 1000 * 1000, before), (10**15, self.members)]
        self.finals_are_right(server, events[:1800], until)
        server.restart()
        self.post(server, events[1800:], 300)
        self.totals_are_right(server, events, self.members)
        self.finals_are_right(server, events, until)

    def test_a_table_that_is_changed_while_nobody_runs(self):
        server = self.start()
        events = make_events(2, 1200)
        self.post(server, events[:600], 50)
        self.totals_are_right(server, events[:600], self.members)
        server.kill()
        self.members.update(u1=('t9', 2), u2=('t3', 2))
        self.fill()
        server.start()
        self.post(server, events[600:], 50)
        self.totals_are_right(server, events, self.members)

    def test_what_is_refused(self):
        path = os.path.join(self.folder, 'c.yaml')
        for text, why in (('  p: {from: bars, window: {tumbling: 1m}, join: {orders: {on: [user], as_of: true, within: 1m, columns: [qty]}}, analyzers: [count]}',
                           'joins tables only'),
                          ('  q: {from: orders, key: [user], window: {tumbling: 1m}, late: revise, allowed_lateness: 1m, analyzers: [count]}\n'
                           f'  p: {{from: q, window: {{global: 1m}}, {MEMBERS}, analyzers: [count]}}', 'could not be taken out'),
                          ('  p: {from: bars, window: {tumbling: 1m}, join: {members: {table: members, on: {usr: name}, columns: {team: string}}}, analyzers: [count]}',
                           "'usr'")):
            with open(path, 'w', encoding='utf-8') as file:
                file.write((HEAD + text + '\n').replace('{listen}', '127.0.0.1:0').replace('{folder}', self.folder))
            done = harness.weir('check', '-c', path)
            self.assertEqual(done.returncode, 78, done.stderr)
            self.assertIn(why, done.stderr)


if __name__ == '__main__':
    harness.main()
