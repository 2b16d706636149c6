# SPDX-License-Identifier: Apache-2.0
"""Recorded series (Numenta Anomaly Benchmark) as CSV, all in one stream keyed by series, in hourly
windows: the rows that the sqlite3 shell and Python compute from the same file."""

import collections
import csv
import datetime
import glob
import math
import os
import unittest

import harness
import variants

HOUR_US = 3600 * harness.SECOND_US
STREAM = '''
    time: {field: timestamp}
    fields: {series: string, value: float}
'''
# The series cover different years and come one after the other: the first is the newest.
PIPELINE = '''
    key: [series]
    window: {tumbling: 1h}
    out_of_orderness: 3650d
    idle_timeout: 1h
    analyzers:
      - count
      - stats: {of: value, emit: [sum, min, max, mean, stddev]}
      - ohlc: {of: value}
'''

SHELL = '''
.mode csv
.import {path} raw
CREATE TABLE points AS
SELECT strftime('%s', timestamp) / 3600 * 3600000000 AS w, series, value AS text,
       CAST(value AS REAL) AS value FROM raw;
.mode list
.separator "|" "\\n"
SELECT w, series, count(*), avg(value) FROM points GROUP BY w, series ORDER BY w, series;
SELECT min(value), text FROM points GROUP BY w, series ORDER BY w, series;
SELECT max(value), text FROM points GROUP BY w, series ORDER BY w, series;
'''


def time_us(text):
    when = datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.timezone.utc)
    return int(when.timestamp()) * harness.SECOND_US


def read_points(folder):
    points = []
    for path in sorted(glob.glob(os.path.join(folder, '*', '*.csv'))):
        with open(path, newline='', encoding='ascii') as file:
            name = os.path.splitext(os.path.basename(path))[0]
            points += [(r['timestamp'], name, r['value']) for r in csv.DictReader(file)]
    return points


class Nab(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        data = harness.data_folder('nab')
        cls.folder = harness.tempfile.mkdtemp(prefix='weir-test-')
        cls.addClassCleanup(harness.shutil.rmtree, cls.folder, ignore_errors=True)
        cls.points = read_points(data)
        cls.file = os.path.join(cls.folder, 'nab.csv')
        cls.lines = [','.join(p) + '\n' for p in cls.points]
        with open(cls.file, 'w', encoding='ascii') as file:
            file.write('timestamp,series,value\n' + ''.join(cls.lines))
        text = variants.config(STREAM, PIPELINE)
        last = max(time_us(p[0]) for p in cls.points)
        cls.databases = {}
        for size in (1000, 1000000):
            cls.databases[f'requests of {size}'] = variants.by_server(
                text, os.path.join(cls.folder, f'server-{size}'),
                lambda server, size=size: cls.post(server, size), last + HOUR_US)
        cls.databases['run'] = variants.by_run(text, os.path.join(cls.folder, 'run'), [cls.file])

    @classmethod
    def post(cls, server, size):
        posted = 0
        body = []
        n = 0
        for line in cls.lines + [None]:
            if line is None or n + len(line) > size:
                said = server.post_ok('input', 'timestamp,series,value\n' + ''.join(body), 'text/csv')
                posted += said['accepted']
                body, n = [], 0
            if line is not None:
                body.append(line)
                n += len(line)
        assert posted == len(cls.points), posted
        # Ten years and a day after the newest closes every window.
        server.post_ok('input', 'timestamp,series,value\n2025-12-31 00:00:00,~,0\n', 'text/csv')

    def rows(self, columns):
        return harness.read_rows(self.databases['run'], f'SELECT {columns} FROM results_1 '
                                 "WHERE series <> '~' ORDER BY window_start, series")

    def groups(self):
        values = collections.defaultdict(list)
        for when, series, value in self.points:
            values[time_us(when) // HOUR_US * HOUR_US, series].append(float(value))
        return sorted(values.items())

    def test_thirty_series_are_there(self):
        self.assertEqual(len({p[1] for p in self.points}), 30)
        found = self.rows('sum(count), count(DISTINCT series)')
        self.assertEqual(found, [(len(self.points), 30)])

    def test_counts_extremes_and_means_equal_those_of_the_sqlite3_shell(self):
        """min and max are compared as the text of the row that has them, read by Python: SQLite's
        own text to double is not always rounded correctly."""
        out = harness.sqlite3_shell(SHELL.format(path=self.file), self.folder).splitlines()
        n = len(out) // 3
        found = self.rows('window_start, series, count, value_mean, value_min, value_max')
        self.assertEqual(len(found), n)
        for f, total, low, high in zip(found, out[:n], out[n:2 * n], out[2 * n:]):
            w, series, count, mean = total.split('|')
            self.assertEqual(f[:3], (int(w), series, int(count)))
            self.assertTrue(math.isclose(f[3], float(mean), rel_tol=1e-12, abs_tol=1e-300), (f, mean))
            self.assertEqual(f[4:], (float(low.split('|')[1]), float(high.split('|')[1])))

    def test_sums_and_means_are_rounded_once(self):
        found = self.rows('window_start, series, value_sum, value_mean')
        expected = [(w, series, math.fsum(v), math.fsum(v) / len(v))
                    for (w, series), v in self.groups()]
        self.assertEqual(len(found), len(expected))
        for f, e in zip(found, expected):
            self.assertEqual(f, e)

    def test_workers_request_sizes_and_run_give_the_same_rows_bit_for_bit(self):
        digests = {}
        for way, path in self.databases.items():
            for workers in variants.WORKERS:
                sql = f"SELECT * FROM results_{workers} WHERE series <> '~'"
                digests[way, workers] = variants.digest(path, sql)
        self.assertEqual(len(digests), 6)
        self.assertGreater(digests['run', 1][0], 7000)
        self.assertEqual(len(set(digests.values())), 1, digests)


if __name__ == '__main__':
    harness.main()
