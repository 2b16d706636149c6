# SPDX-License-Identifier: Apache-2.0
"""How exact quantiles, distinct, topk and moments are: over workload W1, the recorded series and series that sketches have
trouble with, in windows that are folded and in windows that are merged, against Python, which keeps all values.

100,000 events of W1, and the series a third each; WEIR_LONG=1 (./dev hard) takes 5,000,000, and the series whole."""

import collections
import csv
import datetime
import fractions
import glob
import itertools
import json
import math
import os
import random
import subprocess
import unittest

import harness
import variants

LONG = os.environ.get('WEIR_LONG') == '1'
EVENTS = 5000000 if LONG else 100000
Q = 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.999
EXACT = 1000  # distinct values, up to which counts are exact
ANALYZERS = f'''
    analyzers:
      - quantiles: {{of: value, q: {list(Q)}}}
      - moments: {{of: value}}
      - distinct: {{of: value}}
      - distinct: {{of: text}}
      - topk: {{of: text, k: 20}}
'''


def power_sums(values):
    """Sums of the powers 0 to 4 and of the amounts, as whole numbers, of values times 2^k; and 2^k."""
    ratios = [v.as_integer_ratio() for v in values]
    scale = max(d for _, d in ratios)
    whole = [n * (scale // d) for n, d in ratios]
    return [sum(v**k for v in whole) for k in range(5)] + [sum(map(abs, whole))], scale


class Accuracy(unittest.TestCase):
    """Of groups of values with texts. A table's rows come by window and key, and so do those of Python."""

    def check_quantiles(self, values, found):
        values = sorted(values)
        for q, v in zip(Q, found, strict=True):
            exact = values[math.floor(fractions.Fraction(str(q)) * (len(values) - 1))]
            self.assertLessEqual(abs(v - exact), 0.01 * abs(exact) * (1 + 1e-9), (q, v, exact))

    def check_moments(self, values, found):
        """Skewness and kurtosis + 3 are of the size of 1 at least, for distributions without skew, too."""
        count, mean, variance, skewness, kurtosis = found
        (n, s1, s2, s3, s4, amounts), scale = power_sums(values)
        self.assertEqual(count, n)
        self.assertLessEqual(abs(fractions.Fraction(mean) - fractions.Fraction(s1, n * scale)),
                             fractions.Fraction(amounts, n * scale) / 10**9)
        m2 = n * s2 - s1**2
        if n < 2 or fractions.Fraction(m2, n * (n - 1) * scale**2) > fractions.Fraction(1.7e308):
            return
        exact = fractions.Fraction(m2, n * (n - 1) * scale**2)
        self.assertLessEqual(abs(fractions.Fraction(variance) - exact), exact / 10**9)
        if m2 == 0:
            self.assertEqual((skewness, kurtosis), (None, None))
            return
        m3 = n**2 * s3 - 3 * n * s1 * s2 + 2 * s1**3
        m4 = n**3 * s4 - 4 * n**2 * s1 * s3 + 6 * n * s1**2 * s2 - 3 * s1**4
        exact = math.copysign(math.sqrt(fractions.Fraction(m3**2, m2**3)), m3)
        self.assertLessEqual(abs(skewness - exact), max(abs(exact), 1) * 1e-9)
        exact = fractions.Fraction(m4, m2**2)
        self.assertLessEqual(abs(fractions.Fraction(kurtosis) + 3 - exact), exact / 10**9)

    def check_distinct(self, values, found):
        n = len(set(values))
        self.assertLessEqual(abs(found - n), 0 if n < EXACT else 0.02 * n, (found, n))

    def check_topk(self, texts, found):
        truth = collections.Counter(texts)
        if len(truth) <= EXACT:
            best = sorted(truth.items(), key=lambda item: (-item[1], item[0].encode()))[:20]
            self.assertEqual(found, [(text, count, 0) for text, count in best])
        for text, count, error in found:
            self.assertLessEqual(count - error, truth[text])
            self.assertGreaterEqual(count, truth[text])

    def check_table(self, database, table, events, window_us):
        """`events` are (time, key, value, text)."""
        groups = {}
        for time_us, key, value, text in events:
            values, texts = groups.setdefault((time_us // window_us * window_us, key), ([], []))
            values.append(value)
            texts.append(text)
        names = [f'value_p{q * 100:g}'.replace('.', '_') for q in Q]
        names += [f'value_{what}' for what in ('count', 'mean', 'variance', 'skewness', 'kurtosis', 'distinct')]
        rows = harness.read_rows(database, f"SELECT window_start, k, {', '.join(names)}, text_distinct FROM {table} "
                                 'ORDER BY window_start, k')
        tops = itertools.groupby(
            harness.read_rows(database, f'SELECT window_start, k, text, text_count, text_error FROM {table}_topk '
                              'ORDER BY window_start, k, rank'), key=lambda row: row[:2])
        self.assertEqual([row[:2] for row in rows], sorted(groups))
        for row, (place, top) in zip(rows, tops, strict=True):
            values, texts = groups[place]
            with self.subTest(table=table, place=place, values=len(values)):
                self.assertEqual(place, row[:2])
                self.check_quantiles(values, row[2:10])
                self.check_moments(values, row[10:15])
                self.check_distinct(values, row[15])
                self.check_distinct(texts, row[16])
                self.check_topk(texts, [t[2:] for t in top])

    def run_weir(self, fields, windows, files, derive=''):
        folder = harness.folder_for_test(self)
        stream = f'    time: {{field: ts, unit: ms}}\n    fields: {fields}\n{derive}'
        pipeline = f'    key: [k]\n    window: {{tumbling: {windows}}}\n    out_of_orderness: 6000d\n{ANALYZERS}'
        return variants.by_run(variants.config(stream, pipeline), os.path.join(folder, 'run'), files)

    def test_w1(self):
        """The values are prices, the texts quantities; windows of 100 s are merged from those of 10 s."""
        folder = harness.folder_for_test(self)
        path = os.path.join(folder, 'w1.ndjson')
        subprocess.run([os.path.join(harness.BUILD, 'bench/w1'), '-n', str(EVENTS), '-o', path], check=True)
        short, long = (100, 1000) if LONG else (10, 100)
        database = self.run_weir('{k: {path: symbol, type: string}, value: {path: price, type: float}, qty: int}',
                                 f'[{short}s, {long}s]', [path], "    derive: {text: 'CAST(qty AS TEXT)'}\n")
        with open(path, encoding='ascii') as file:
            events = [(e['ts'] * 1000, e['symbol'], e['price'], str(e['qty'])) for e in map(json.loads, file)]
        for workers in variants.WORKERS:
            self.check_table(database, f'results_{workers}_{long}s', events, long * harness.SECOND_US)
        if not LONG:
            self.check_table(database, f'results_1_{short}s', events, short * harness.SECOND_US)

    def check_series(self, series):
        """`series`: key to (time in ms, value)s. Days are folded, spans of 400 days merged from them."""
        folder = harness.folder_for_test(self)
        path = os.path.join(folder, 'series.ndjson')
        events = []
        with open(path, 'w', encoding='ascii') as file:
            for key, points in series.items():
                for ts, value in points:
                    events.append((ts * 1000, key, value, repr(value)))
                    file.write(json.dumps({'ts': ts, 'k': key, 'value': value, 'text': repr(value)}) + '\n')
        database = self.run_weir('{k: string, value: float, text: string}', '[1d, 400d]', [path])
        self.check_table(database, 'results_4_400d', events, 400 * 86400 * harness.SECOND_US)
        self.check_table(database, 'results_4_1d', events, 86400 * harness.SECOND_US)

    def test_recorded_series(self):
        series = {}
        for path in sorted(glob.glob(os.path.join(harness.data_folder('nab'), '*', '*.csv')))[::1 if LONG else 3]:
            with open(path, newline='', encoding='ascii') as file:
                series[os.path.basename(path)] = [
                    (int(datetime.datetime.fromisoformat(row['timestamp'] + '+00:00').timestamp()) * 1000,
                     float(row['value'])) for row in csv.DictReader(file)]
        self.check_series(series)

    def test_series_that_sketches_have_trouble_with(self):
        """JSON has no infinities; those are in tests/unit/plugins/test_values.py."""
        dice, n = random.Random(1), 100000 if LONG else 6000
        heavy = [dice.paretovariate(0.5) for _ in range(n)]
        kinds = {'sorted': sorted(heavy), 'reversed': sorted(heavy, reverse=True), 'heavy tail': heavy, 'constant': [3.7] * n,
                 'all distinct': [float(v) for v in dice.sample(range(10 * n), n)],
                 'alternating extremes': [(1.7e308, -1.7e308, 5e-324, -5e-324, 0.0)[i % 5] for i in range(n)],
                 'alternating': [(-1e6, 1e-6)[i % 2] for i in range(n)],
                 'far from zero': [1e9 + dice.random() for _ in range(n)],
                 'both signs': [dice.choice((-1, 1)) * 10.0**dice.uniform(-4, 4) for _ in range(n)]}
        begin, day = 1700006400000 // 86400000 * 86400000, 86400000
        self.check_series({kind: [(begin + i * 3 * day // n, v) for i, v in enumerate(values)] for kind, values in kinds.items()})


if __name__ == '__main__':
    harness.main()
