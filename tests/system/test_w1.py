# SPDX-License-Identifier: Apache-2.0
"""Workload W1 gives the rows that the sqlite3 shell and Python compute from the same file.

100,000 events; `make check-w1` takes all 5,000,000."""

import collections
import functools
import json
import math
import os
import subprocess
import unittest

import harness
import variants

EVENTS = int(os.environ.get('WEIR_W1_EVENTS', '100000'))
START_MS = 1700000000000
CLOSE_MS = START_MS + EVENTS + 120000

STREAM = '''
    time: {field: ts, unit: ms}
    fields: {symbol: string, price: float, qty: int, side: string, venue: string}
'''
PIPELINE = '''
    key: [symbol]
    window: {tumbling: 10s}
    out_of_orderness: 60s
    idle_timeout: 1h
    analyzers:
      - count
      - stats: {of: price, emit: [sum, min, max, mean, stddev]}
      - stats: {of: qty, emit: [sum, min, max]}
      - vwap: {price: price, volume: qty}
      - ohlc: {of: price}
      - topk: {of: venue, k: 3}
'''

SHELL = '''
.mode ascii
.separator "\\037" "\\n"
CREATE TABLE raw(line TEXT);
.import {path} raw
CREATE TABLE trades AS
SELECT json_extract(line, '$.ts') / 10000 * 10000000 AS w, json_extract(line, '$.symbol') AS symbol,
       json_extract(line, '$.price') AS price, json_extract(line, '$.qty') AS qty
FROM raw;
.mode list
.separator "|" "\\n"
SELECT w, symbol, count(*), sum(qty), min(qty), max(qty), min(price), max(price), avg(price),
       sum(price * qty) / sum(qty)
FROM trades GROUP BY w, symbol ORDER BY w, symbol;
'''


def close_line():
    return json.dumps({'ts': CLOSE_MS, 'symbol': '~', 'price': 1, 'qty': 1, 'side': 'buy', 'venue': ''})


class W1(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = harness.tempfile.mkdtemp(prefix='weir-test-')
        cls.addClassCleanup(harness.shutil.rmtree, cls.folder, ignore_errors=True)
        cls.file = os.path.join(cls.folder, 'w1.ndjson')
        subprocess.run([os.path.join(harness.BUILD, 'bench/w1'), '-n', str(EVENTS), '-o', cls.file],
                       check=True)
        text = variants.config(STREAM, PIPELINE)
        cls.databases = {}
        for size in (1000, 1000000):
            cls.databases[f'requests of {size}'] = variants.by_server(
                text, os.path.join(cls.folder, f'server-{size}'),
                lambda server, size=size: cls.post(server, size), (START_MS + EVENTS + 20000) * 1000)
        cls.databases['run'] = variants.by_run(text, os.path.join(cls.folder, 'run'), [cls.file])

    @classmethod
    def post(cls, server, size):
        """One connection: the order in the log is that of the file."""
        done = subprocess.run([os.path.join(harness.BUILD, 'bench/load'), '-s', 'input', '-c', '1',
                               '-u', f'http://127.0.0.1:{server.port}', '-b', str(size),
                               '--last', close_line(), cls.file],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            raise AssertionError(done.stderr)
        assert f' events={EVENTS + 1} ' in done.stdout, done.stdout

    def rows(self, columns):
        return harness.read_rows(self.databases['run'],
                                 f"SELECT {columns} FROM results_1 WHERE symbol <> '~' "
                                 'ORDER BY window_start, symbol')

    @classmethod
    @functools.lru_cache(1)
    def shell_rows(cls):
        out = harness.sqlite3_shell(SHELL.format(path=cls.file), cls.folder)
        return [line.split('|') for line in out.splitlines()]

    def test_counts_sums_and_extremes_equal_those_of_the_sqlite3_shell(self):
        expected = [(int(r[0]), r[1], int(r[2]), int(r[3]), int(r[4]), int(r[5]), float(r[6]),
                     float(r[7])) for r in self.shell_rows()]
        self.assertEqual(sum(r[2] for r in expected), EVENTS)
        found = self.rows('window_start, symbol, count, qty_sum, qty_min, qty_max, price_min, '
                          'price_max')
        self.assertEqual(len(found), len(expected))
        self.assertEqual(found, expected)

    def test_means_and_vwap_agree_with_the_sqlite3_shell_to_12_digits(self):
        found = self.rows('price_mean, vwap')
        expected = self.shell_rows()
        self.assertEqual(len(found), len(expected))
        for (mean, vwap), row in zip(found, expected):
            self.assertTrue(math.isclose(mean, float(row[8]), rel_tol=1e-12), (row, mean))
            self.assertTrue(math.isclose(vwap, float(row[9]), rel_tol=1e-12), (row, vwap))

    def test_sums_and_means_of_prices_are_rounded_once(self):
        """math.fsum is exact; a correct sum equals it to the last bit."""
        prices = collections.defaultdict(list)
        with open(self.file, encoding='ascii') as file:
            for line in file:
                event = json.loads(line)
                prices[event['ts'] // 10000 * 10000000, event['symbol']].append(event['price'])
        expected = [(w, symbol, math.fsum(p), math.fsum(p) / len(p))
                    for (w, symbol), p in sorted(prices.items())]
        found = self.rows('window_start, symbol, price_sum, price_mean')
        self.assertEqual(len(found), len(expected))
        for f, e in zip(found, expected):
            self.assertEqual(f, e)

    def test_workers_request_sizes_and_run_give_the_same_rows_bit_for_bit(self):
        for table in ('results', 'results_topk'):
            self.check_identical(table)

    def check_identical(self, table):
        digests = {}
        for way, path in self.databases.items():
            for workers in variants.WORKERS:
                name = table.replace('results', f'results_{workers}')
                sql = f"SELECT * FROM {name} WHERE symbol <> '~'"
                digests[way, workers] = (variants.digest(path, sql), path, sql)
        first = digests['run', 1]
        self.assertGreater(first[0][0], 0)
        for (way, workers), found in digests.items():
            if found[0] != first[0]:
                a = set(harness.read_rows(first[1], first[2]))
                b = set(harness.read_rows(found[1], found[2]))
                self.fail(f'{table}: {way}, {workers} workers: only there '
                          f'{sorted(b - a, key=repr)[:3]}, only with run: '
                          f'{sorted(a - b, key=repr)[:3]}')


if __name__ == '__main__':
    harness.main()
