# SPDX-License-Identifier: Apache-2.0
"""`run: process`: the same rows as in a thread."""

import json
import os
import unittest

from apart import KINDS, SOME, T0, compare, config, events, pipeline, tables
import harness

# Every analyzer that ships, and what it needs.
ANALYZERS = ['count', 'anomaly: {of: v}', 'change: {of: w}', 'collect: {of: s}', 'covariance: {x: v, y: w}', 'delta: {of: w}',
             'distinct: {of: [user, w]}', 'drawdown: {of: v}', 'entropy: {of: s}', 'ewma: {of: v}',
             'first: {of: s}', 'funnel: {step: s, steps: s1 > s2 > s3, by: user}', 'gap', 'histogram: {of: v}',
             'holt_winters: {of: v}', 'imbalance: {volume: w, side: s}', 'last: {of: s}', 'mad: {of: v}',
             'mode: {of: s}', 'moments: {of: v}', 'ohlc: {of: v}', 'path: {of: s, by: user}',
             'quantiles: {of: v, q: [0, 0.5, 0.9]}', 'rate: {of: v}', 'retention: {by: user}', 'rows: {by: v, n: 3}',
             'sample: {of: s}', 'sessions: {}', 'sql: "SELECT s, sum(v) AS total FROM events GROUP BY s"',
             'stats: {of: v}', 'sum: {of: v}', 'threshold: {of: v, limit: 500}', 'time_weighted: {of: v}',
             'topk: {of: s, k: 3, capacity: 4}', 'trending: {of: s}', 'twap: {price: v}', 'volatility: {price: v}',
             'vwap: {price: v, volume: w}']


class SameRows(unittest.TestCase):
    def run_files(self, body, made):
        folder = harness.folder_for_test(self)
        with open(os.path.join(folder, 'weir.yaml'), 'w', encoding='utf-8') as file:
            file.write(config(body).replace('{folder}', folder).replace('{listen}', '127.0.0.1:0'))
        with open(os.path.join(folder, 'in.ndjson'), 'w', encoding='utf-8') as file:
            file.writelines(json.dumps(e) + '\n' for e in made)
        done = harness.weir('run', '--live', '-c', 'weir.yaml', '--stream', 'input', 'in.ndjson', cwd=folder)
        self.assertIn(done.returncode, (0, 65), done.stderr)
        return os.path.join(folder, 'weir.db')

    def test_every_analyzer_that_ships(self):
        listed = harness.weir('plugins').stdout
        names = {line.split()[0] for line in listed.splitlines()}
        self.assertEqual({a.split(':')[0] for a in ANALYZERS} - names, set())
        body = ''.join(pipeline(f'{way}_all', '{tumbling: 1s}', '', ANALYZERS, way) for way in ('thread', 'process'))
        self.assertGreater(compare(self, self.run_files(body, events(3000))), 1000)

    def test_every_kind_of_window(self):
        body = ''.join(pipeline(f'{way}_{name}', window, more, SOME, way)
                       for name, (window, more) in KINDS.items() for way in ('thread', 'process'))
        self.assertGreater(compare(self, self.run_files(body, events(4000))), 500)

    def test_groups_shared_among_processes(self):
        """Some, and more than there are keys: the same rows as in one thread."""
        body = pipeline('thread_x', '{tumbling: 1s}', '', SOME, 'thread')
        for n in (3, 7):
            text = pipeline(f'process{n}_x', '{tumbling: 1s}', '', SOME, 'process')
            body += text.replace('run: process}', f'run: process, processes: {n}}}')
        database = self.run_files(body, events(3000, seed=3))
        for table in tables(database, 'thread'):
            expected = harness.read_rows(database, f'SELECT * FROM thread{table} ORDER BY 1, 2, 3')
            self.assertGreater(len(expected), 0)
            for n in (3, 7):
                self.assertEqual(harness.read_rows(database, f'SELECT * FROM process{n}{table} ORDER BY 1, 2, 3'), expected, (n, table))

    def test_states_come_back_after_a_crash_of_the_server(self):
        body = ''.join(pipeline(f'{way}_{name}', window, more, SOME[::2], way).replace('run: process', f'run: {way}')
                       for name, (window, more) in KINDS.items() for way in ('thread', 'process'))
        made = events(3000, seed=2)
        with harness.Server(config(body, 'checkpoint_interval: 20ms, commit_interval: 5ms')) as server:
            for at in range(0, len(made), 500):
                server.post_ok('input', made[at:at + 500])
                if at in (1000, 2000):
                    server.restart()
            end = {'ts': T0 + 20000, 'k': 'end'}
            server.post_ok('input', [end])
            names = [f'{way}_{name}' for name in KINDS for way in ('thread', 'process')]
            for name in names:
                server.wait_watermark(name, (T0 + 19000) * 1000)
            self.assertGreater(compare(self, server.database), 300)


class Configuration(unittest.TestCase):
    def check(self, analyzer):
        folder = harness.folder_for_test(self)
        path = os.path.join(folder, 'weir.yaml')
        with open(path, 'w', encoding='utf-8') as file:
            file.write(config('  p: {from: input, window: {tumbling: 1s}, analyzers: [\n' + analyzer + ']}\n')
                       .replace('{folder}', folder).replace('{listen}', '127.0.0.1:0'))
        return harness.weir('check', '-c', path).stderr

    def test_what_cannot_be_is_refused_with_its_place(self):
        for text, said in (
                ('{sum: {of: v}, run: async}', "5:21: 'run: async' is for analyzers that have an asynchronous part, and 'sum' has none: "),
                ('{sum: {of: v}, run: fork}', "5:21: expected"),
                ('{sum: {of: v}, run: process, processes: 65}', '5:41: expected a whole number from 1 to 64'),
                ('{sum: {of: v}, memory: 1GiB}', "'memory' has a meaning with 'run: process' only"),
                ('{sum: {of: v}, limit_time: 1s}', "'limit_time' has a meaning with 'run: process' only"),
                ('{sum: {of: v}, run: process, memory: 1MiB}', "'memory' is 16MiB to 1TiB"),
                ('{sum: {of: v}, run: process, limit_time: 1ms}', "'limit_time' is 100ms to 1h"),
                ('{ewma: {of: v, half_life: nonsense}, run: process}', "half_life")):
            with self.subTest(text):
                self.assertIn(said, self.check(text))
        self.assertEqual(self.check('{sum: {of: v}, run: process, memory: 64MiB, limit_time: 1s}'), '')


if __name__ == '__main__':
    harness.main()
