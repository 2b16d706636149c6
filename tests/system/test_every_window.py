# SPDX-License-Identifier: Apache-2.0
"""Every analyzer that ships has a manual page and works in every kind of window: where a window of each kind has the same rows, the
results are the same, folded, merged from parts, or given out again and again; and where it cannot be, the configuration says so."""

import json
import math
import os
import random
import re
import unittest

import harness

T0 = 1700000000000  # 800 s into an hour
ROWS = 150          # of each key

# What each needs; `until: event` where the end of the window counts otherwise.
ANALYZERS = {
    'anomaly': '{of: v}', 'change': '{of: s}', 'collect': '{of: s}', 'count': '{of: s}', 'covariance': '{x: v, y: w}',
    'delta': '{of: w}', 'distinct': '{of: [user, w]}', 'drawdown': '{of: v}', 'entropy': '{of: s}', 'ewma': '{of: v}',
    'first': '{of: s}', 'funnel': '{step: s, steps: s1 > s2 > s3, by: user}', 'gap': '{of: v, longer_than: 1s}',
    'histogram': '{of: v}', 'holt_winters': '{of: v, every: 1s}', 'imbalance': '{volume: w, side: s, buy: s1, sell: s2}',
    'last': '{of: s}', 'mad': '{of: v}', 'mode': '{of: s}', 'moments': '{of: v}', 'ohlc': '{of: v}',
    'path': '{of: s, by: user}', 'quantiles': '{of: v, q: [0.1, 0.5, 0.9]}', 'rate': '{of: w}', 'retention': '{by: user, period: 5s}',
    'rows': '{by: v, n: 3}', 'sample': '{of: s}', 'sessions': '{gap: 1s}',
    'sql': '"SELECT s, count(*) AS n, sum(w) AS total FROM events GROUP BY s ORDER BY s"', 'stats': '{of: v}', 'sum': '{of: v}',
    'threshold': '{of: v, limit: 500}', 'time_weighted': '{of: v, until: event}', 'topk': '{of: s, k: 3}',
    'trending': '{of: s, recent: 5s, baseline: 30s}', 'twap': '{price: v, until: event}', 'volatility': '{price: v}',
    'vwap': '{price: v, volume: w}'}
ORDERED = {'anomaly', 'holt_winters'}     # their states are not merged
WHOLE = {'sql'}                           # they take all rows of a window that is over
OF_OTHERS = {'python', 'python_window', 'score'}  # they need files, or a service: test_python, test_async
# name: (window, end of the table's name, whether it is merged from parts)
WINDOWS = {'one': ('{tumbling: 1h}', '', False), 'sizes': ('{tumbling: [10s, 1h]}', '_1h', True),
           'hops': ('{hopping: 1h, by: 30m}', '', True), 'visit': ('{session: 30m}', '', True),
           'number': (f'{{count: {ROWS}}}', '', False), 'ever': ('{global: 2h}', '', False),
           'term': ('{until: expires}', '', False)}
OF_ITS_END = re.compile(r'_(silent|firing)$|^number$')


def config(windows, analyzers):
    text = ('server: {listen: "127.0.0.1:0", database: weir.db}\nstreams:\n  input:\n    time: {field: ts, unit: ms}\n'
            '    fields: {k: string, user: string, s: string, v: float, w: int, expires: time}\npipelines:\n')
    for name in windows:
        text += f'  {name}:\n    from: input\n    key: [k]\n    window: {WINDOWS[name][0]}\n    out_of_orderness: 3s\n    analyzers:\n'
        text += ''.join(f'      - {{{a}: {ANALYZERS[a]}, as: x_{a}}}\n' for a in analyzers
                        if name != 'ever' or a not in WHOLE)
    return text


def events():
    """Some a little late; some values are missing."""
    dice, made = random.Random(1), []
    for i in range(2 * ROWS):
        made.append({'ts': T0 + i * 100 - (dice.randrange(2000) if i > 20 and dice.random() < 0.1 else 0), 'k': 'ab'[i % 2],
                     'user': f'u{dice.randrange(9)}', 's': dice.choice(('s1', 's2', 's3')), 'v': dice.uniform(1, 1000),
                     'w': dice.randrange(50), 'expires': '2023-11-14T23:59:59Z'})
        if dice.random() < 0.05:
            del made[-1][dice.choice('vws')]
    return made


class EveryWindow(unittest.TestCase):
    def write(self, text):
        folder = harness.folder_for_test(self)
        with open(os.path.join(folder, 'weir.yaml'), 'w', encoding='utf-8') as file:
            file.write(text)
        return folder

    def test_all_that_ship_are_here_and_have_a_manual_page(self):
        names = {line.split()[0] for line in harness.weir('plugins').stdout.splitlines()}
        self.assertEqual(names - OF_OTHERS, set(ANALYZERS))
        pages = {file for _, _, files in os.walk(os.path.join(harness.SOURCE, 'plugins')) for file in files}
        self.assertEqual([name for name in names if f'weir-{name}.7' not in pages], [])

    def test_what_cannot_be_merged_is_refused_with_the_reason(self):
        for name, (_, _, merged) in WINDOWS.items():
            for analyzer in ORDERED:
                folder = self.write(config([name], [analyzer]))
                done = harness.weir('check', '-c', 'weir.yaml', '--no-database', cwd=folder)
                if merged:
                    self.assertEqual(done.returncode, 78)
                    self.assertRegex(done.stderr, rf"weir.yaml:\d+:\d+: .*'{analyzer}'.*merge")
                else:
                    self.assertEqual(done.returncode, 0, done.stderr)

    def test_a_window_that_is_never_over_has_not_all_its_rows(self):
        folder = self.write(config(['ever'], ['count']) + f"      - {{sql: {ANALYZERS['sql']}}}\n")
        done = harness.weir('check', '-c', 'weir.yaml', '--no-database', cwd=folder)
        self.assertEqual(done.returncode, 78)
        self.assertIn("'sql' takes all rows of a window once it is over, and a global one never is", done.stderr)

    def results(self, folder, name):
        """{analyzer's table: rows}, without what the end of a window decides, of each of the windows that have all rows."""
        table = name + WINDOWS[name][1]
        database = os.path.join(folder, 'weir.db')
        found = {}
        for other, in harness.read_rows(database, "SELECT name FROM sqlite_master WHERE type = 'table' AND "
                                        f"(name = '{table}' OR name GLOB '{table}_x_*')"):
            columns = [c for _, c, *_ in harness.read_rows(database, f'PRAGMA table_info({other})')
                       if not c.startswith(('window_', 'revision')) and not OF_ITS_END.search(c)]
            for row in harness.read_rows(database, f"SELECT window_start, {', '.join(columns)} FROM {other} ORDER BY 2, 3, 1"):
                found.setdefault(row[0] if name == 'hops' else 0, {}).setdefault(other[len(table):], (columns, []))[1].append(row[1:])
        return list(found.values())

    def check_same(self, found, expected):
        self.assertEqual(found.keys(), expected.keys())
        for table, (columns, rows) in expected.items():
            self.assertEqual(found[table][0], columns)
            self.assertEqual(len(found[table][1]), len(rows), table)
            for one, other in zip(found[table][1], rows):
                for column, a, b in zip(columns, one, other):
                    if isinstance(a, float) and isinstance(b, float):
                        self.assertTrue(math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12), (table, column, a, b))
                    else:
                        self.assertEqual(a, b, (table, column))

    def test_the_same_rows_give_the_same_results(self):
        folder = self.write(config(WINDOWS, sorted(set(ANALYZERS) - ORDERED)))
        with open(os.path.join(folder, 'in.ndjson'), 'w', encoding='utf-8') as file:
            file.writelines(json.dumps(e) + '\n' for e in events())
        done = harness.weir('run', '-c', 'weir.yaml', '--stream', 'input', 'in.ndjson', cwd=folder)
        self.assertEqual(done.returncode, 0, done.stderr)
        expected, = self.results(folder, 'one')
        self.assertEqual(len(expected[''][1]), 2)
        self.assertGreater(sum(len(columns) for columns, _ in expected.values()), 80)
        for name in WINDOWS:
            with self.subTest(name):
                windows = self.results(folder, name)
                self.assertEqual(len(windows), 2 if name == 'hops' else 1)
                for found in windows:
                    if name == 'ever':
                        found['_x_sql'] = expected['_x_sql']
                    self.check_same(found, expected)


if __name__ == '__main__':
    harness.main()
