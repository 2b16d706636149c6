# SPDX-License-Identifier: Apache-2.0
"""Streams that are joined get fields and derived columns while they are read, by SIGHUP, also where they join each other, and over
kill -9: what is found is what Python finds. What is new can be joined at once."""

import collections
import random
import re
import signal
import unittest

import harness
import test_join
from test_join import S, T0

# Joined both ways, and in the same windows; behind one of them another pipeline.
MORE = '''
  back: {from: quotes, window: none, select: [sym, bid, id], out_of_orderness: 300ms, idle_timeout: 1h,
    join: {trades: {on: {sym: symbol}, as_of: true, within: 5s, out_of_orderness: 200ms, columns: [id]}}}
  pairs: {from: [trades, quotes], window: {tumbling: 10s}, out_of_orderness: 10s, idle_timeout: 1h,
    analyzers: [{sql: "SELECT count(*) AS n, sum(t.id) AS ids FROM trades t JOIN quotes q ON t.symbol = q.sym AND t.ts = q.ts"}]}
  of_notes: {from: notes_2, window: {tumbling: 20s}, analyzers: [{sum: {of: count}}]}
'''
FIELDS = {'trades': 'venue: int', 'quotes': 'firm: bool', 'news': 'head: string'}
DERIVED = 'derive: {twice: bid * 2, size: length(note)}, '


class Fields(unittest.TestCase):
    def reload(self, server, change):
        with open(server.path, encoding='utf-8') as file:
            text = file.read()
        with open(server.path, 'w', encoding='utf-8') as file:
            file.write(change(text))
        before = len(server.log)
        server.process.send_signal(signal.SIGHUP)
        harness.wait_until(lambda: any('SIGHUP' in line and 'the configuration ' in line for line in server.log[before:]),
                           'the verdict')
        self.assertIn('was read again', ''.join(server.log[before:]))

    def add_field(self, server, stream, number):
        def change(text):
            line = next(line for line in text.splitlines() if line.startswith(f'  {stream}: '))
            return text.replace(line, re.sub(r'(.*)\}\}', rf'\1, x{number}: int}}}}', line))
        self.reload(server, change)

    def back(self, events):
        """What `back` finds: trades that are not late, for quotes in their order."""
        model = test_join.Model(events['quotes'], ('sym',), events['trades'], ('symbol',))
        return [(q['sym'], q['bid'], model.find(i, q, 5 * S, 0).get('id')) for i, q in enumerate(events['quotes'])]

    @staticmethod
    def pairs(events, until):
        sums = collections.defaultdict(lambda: [0, 0])
        at = collections.defaultdict(list)
        for t in events['trades']:
            at[t['ts'], t['symbol']].append(t['id'])
        for q in events['quotes']:
            for number in at.get((q['ts'], q['sym']), ()):
                sums[q['ts'] // (10 * S) * 10 * S][0] += 1
                sums[q['ts'] // (10 * S) * 10 * S][1] += number
        return sorted((start, *v) for start, v in sums.items() if start + 10 * S <= until)

    def test_fields_come_and_nothing_else_changes(self):
        self.fields_come(21, derived=False)

    def test_derived_columns_come_too(self):
        """All go on, as none uses them."""
        self.fields_come(22, derived=True)

    def fields_come(self, seed, derived):
        events = test_join.events_of(seed, 1500)
        asof = test_join.AsOf()
        expected = asof.expected(events)
        with harness.Server(test_join.CONFIG + MORE) as server:
            numbers = iter(range(100))
            for i, _ in enumerate(asof.post_mixed(server, events, 300, random.Random(seed))):
                if i % 4 == 3:
                    self.add_field(server, ('quotes', 'trades', 'news')[i // 4 % 3], next(numbers))
                if i == 9 and derived:  # behind fields come derived columns: these are at other places from now on
                    self.reload(server, lambda text: text.replace('  quotes: {', '  quotes: {' + DERIVED))
                if i % 8 == 5:
                    server.restart()
            self.assertGreater(next(numbers), 3)
            end = asof.finish(server, events, expected)
            server.wait_watermark('of_notes', end - 20 * S)
            server.wait_watermark('pairs', end - 20 * S)
            server.stop()
            asof.check(server.database, expected)
            self.assertEqual(sorted(harness.read_rows(server.database, "SELECT sym, bid, id FROM back WHERE sym <> '~'"),
                                    key=str), sorted(self.back(events), key=str))
            found = harness.read_rows(server.database, 'SELECT window_start, n, ids FROM pairs_sql WHERE n > 0 ORDER BY 1')
            want = self.pairs(events, end - 20 * S)
            self.assertGreater(sum(row[1] for row in want), 10)
            self.assertEqual([row for row in found if row[0] + 10 * S <= end - 20 * S], want)
            notes = collections.Counter()
            for start, _, count, *_ in expected[2]:
                notes[start // (20 * S) * 20 * S] += count
            self.assertEqual([row for row in harness.read_rows(server.database, 'SELECT window_start, count_sum FROM of_notes ORDER BY 1')
                              if row[0] + 20 * S <= end - 20 * S], sorted((k, v) for k, v in notes.items() if k + 20 * S <= end - 20 * S))
            self.assertNotIn('level=error', ''.join(server.log))

    def test_what_is_new_is_joined_in_the_same_reload(self):
        with harness.Server(test_join.CONFIG + MORE) as server:
            server.post_ok('quotes', [{'ts': T0, 'sym': 'A', 'bid': 1.5, 'note': 'abc', 'size': 9}], Weir_Source='one')
            server.post_ok('trades', [{'ts': T0, 'id': 1, 'symbol': 'A'}], Weir_Source='one')
            self.reload(server, lambda text: text.replace('firm: bool', 'firm: bool, size: int').replace(
                '  quotes: {', '  quotes: {derive: {worth: bid * size}, ').replace('columns: [bid]},', 'columns: [bid, size, worth]},').replace(
                'select: [id, bid, head]', 'select: [id, bid, size, worth, head]').replace(', where: bid > 20', ''))
            # A table that has other columns begins anew; what was waiting is in it.
            server.post_ok('quotes', [{'ts': T0 + i * S, 'sym': 'A', 'bid': i + 0.5, 'size': i} for i in range(1, 9)], Weir_Source='one')
            server.restart()
            server.post_ok('trades', [{'ts': T0 + i * S, 'id': i + 1, 'symbol': 'A'} for i in range(1, 9)], Weir_Source='one')
            server.post_ok('news', [{'ts': T0 + 60 * S, 'venue': 1}], Weir_Source='one')
            server.post_ok('quotes', [{'ts': T0 + 60 * S, 'sym': '~'}], Weir_Source='one')
            harness.wait_until(lambda: server.rows('SELECT count(*) FROM both WHERE id > 1') == [(8,)], 'all rows')
            self.assertEqual(server.rows('SELECT id, bid, size, worth FROM both WHERE id > 1 ORDER BY id'),
                             [(i + 1, i + 0.5, i, (i + 0.5) * i) for i in range(1, 9)])


if __name__ == '__main__':
    harness.main()
