# SPDX-License-Identifier: Apache-2.0
"""What the plugins give, against Python's statistics, math.fsum, fractions and collections.Counter."""

import bisect
import collections
import fractions
import math
import os
import random
import statistics
import subprocess
import unittest

BUILD = os.environ.get('WEIR_BUILD', '.')
INT64 = range(-2**63, 2**63)


def drive(plugin, rows, *parameters, fails=False):
    """Rows: tuples (time, input...), None is null, or the string 'merge'. Returns rows of texts."""
    lines = [row if row == 'merge' else
             '\t'.join('null' if v is None else repr(v) if isinstance(v, float) else str(v) for v in row)
             for row in rows]
    done = subprocess.run([os.path.join(BUILD, 'tests/unit/plugins/drive'),
                           os.path.join(BUILD, 'plugins', plugin + '.so'), *parameters],
                          input=''.join(line + '\n' for line in lines).encode(), capture_output=True)
    if fails:
        assert done.returncode == 1, done
        return done.stderr.decode()
    assert done.returncode == 0, done
    return [line.split('\t') for line in done.stdout.decode().splitlines()]


def numbers(row, types):
    return [None if text == 'null' else kind(text) for text, kind in zip(row, types)]


def timed(values):
    return [(i, v) for i, v in enumerate(values)]


def root(fraction):
    """The square root to 800 decimal places, as a fraction."""
    places = 10**800
    return fractions.Fraction(math.isqrt(int(fraction * places**2)), places)


class Count(unittest.TestCase):
    def test_all_rows(self):
        self.assertEqual(drive('count', [(1,), (2,), (3,)]), [['3']])

    def test_rows_in_which_a_column_is_not_null(self):
        rows = timed([None, 'a', None, '', 'b'])
        self.assertEqual(drive('count', rows, 'of=x:s'), [['3']])
        self.assertEqual(drive('count', timed([1, 2, None]), 'of=x:i'), [['2']])

    def test_no_rows(self):
        self.assertEqual(drive('count', []), [['0']])


class Stats(unittest.TestCase):
    def stats(self, values, kind, pieces=1):
        rows = timed(values)
        for i in range(1, pieces):
            rows.insert(i * len(rows) // pieces, 'merge')
        k = int if kind == 'i' else float
        return numbers(drive('stats', rows, f'of=x:{kind}')[0], [int, k, k, k, float, float])

    def close(self, found, expected, relative):
        if expected is None:
            self.assertIsNone(found)
        else:
            self.assertLessEqual(abs(found - expected), relative * abs(expected), (found, expected))

    def check_floats(self, values, pieces=1, deviation=1e-12):
        count, total, low, high, mean, stddev = self.stats(values, 'f', pieces)
        there = [v for v in values if v is not None]
        self.assertEqual(count, len(there))
        self.assertEqual((low, high), (min(there), max(there)))
        self.assertEqual(total, math.fsum(there))
        self.assertEqual(mean, math.fsum(there) / len(there))
        exact = [fractions.Fraction(v) for v in there]
        self.close(stddev, float(root(statistics.variance(exact))) if len(exact) > 1 else None, deviation)

    def check_ints(self, values, pieces=1):
        count, total, low, high, mean, stddev = self.stats(values, 'i', pieces)
        there = [v for v in values if v is not None]
        self.assertEqual((count, low, high), (len(there), min(there), max(there)))
        self.assertEqual(total, sum(there) if sum(there) in INT64 else None)
        self.close(mean, statistics.mean(there), 2**-52)
        self.close(stddev, statistics.stdev(there) if len(there) > 1 else None, 1e-12)

    def test_random_floats(self):
        dice = random.Random(1)
        for n in (1, 2, 3, 10, 1000, 10000):
            self.check_floats([dice.uniform(-1e6, 1e6) for _ in range(n)])
            self.check_floats([dice.lognormvariate(0, 10) for _ in range(n)])
            self.check_floats([round(dice.gauss(100, 20), 2) for _ in range(n)])

    def test_nulls_are_passed_over(self):
        dice = random.Random(2)
        self.check_floats([dice.choice((None, dice.random())) for _ in range(1000)])
        self.check_ints([dice.choice((None, dice.randrange(1000))) for _ in range(1000)])

    def test_sums_that_lose_everything_when_added_up_plainly(self):
        self.check_floats([1e16, 1.0, -1e16], deviation=1e-9)
        self.check_floats([1e100, 1.0, -1e100, 1.0] * 100, deviation=1e-9)
        self.check_floats([0.1] * 10000, deviation=1)
        # Series with a known sum: 1/k - 1/(k+1) telescopes.
        self.check_floats([s / k for k in range(1, 3000) for s in (1.0, -1.0)])

    def test_a_small_deviation_far_from_zero(self):
        dice = random.Random(3)
        self.check_floats([1e9 + dice.random() for _ in range(10000)])
        self.check_floats([1e9 + dice.random() for _ in range(1000)], 7)

    def test_extreme_floats(self):
        self.check_floats([5e-324, 2.2250738585072014e-308, -5e-324])
        self.check_floats([-0.0, 0.0, -0.0])
        self.assertEqual(self.stats([1.7976931348623157e308] * 2, 'f')[1], math.inf)

    def check_exactly(self, values, pieces=1):
        """Whatever is finite as an exact fraction is so in the result, to 1e-12."""
        _, total, _, _, mean, stddev = self.stats(values, 'f', pieces)
        exact = [fractions.Fraction(v) for v in values]
        n, sum_ = len(exact), sum(exact)
        variance = sum((v - sum_ / n)**2 for v in exact) / (n - 1)
        for found, expected in ((total, sum_), (mean, sum_ / n), (stddev, root(variance))):
            if abs(expected) > fractions.Fraction(1.7976931348623157e308):
                self.assertEqual(found, math.inf if expected > 0 else -math.inf)
            elif abs(expected) < fractions.Fraction(1, 10**300):
                self.assertLessEqual(abs(fractions.Fraction(found) - expected), fractions.Fraction(5e-324))
            else:
                self.assertLessEqual(abs(fractions.Fraction(found) - expected), abs(expected) / 10**12)

    def test_variances(self):
        dice = random.Random(17)
        for kind, values in (('f', [1e9 + dice.random() for _ in range(999)]), ('i', dice.sample(range(10**6), 999)),
                             ('f', [1e-150, 3e-150, 7e-150]), ('f', [5.0]), ('f', [])):
            found = drive('stats', timed(values), f'of=x:{kind}', 'emit=variance')[0][6]
            expected = statistics.variance(map(fractions.Fraction, values)) if len(values) > 1 else None
            self.close(None if found == 'null' else float(found), expected and float(expected), 1e-12)

    def test_what_leaves_the_range_of_floats_on_the_way(self):
        for values in ([1e308, 1e308, -1e308], [1e308, 1e308], [-1e308] * 9 + [1e308] * 8, [1e-200, 3e-200],
                       [1.7e308, -1.7e308], [1.0, 1.0, 1e308, -1e308], [5e-324, 0.0, 5e-324],
                       [1e-200, 3e-200, 1e200, 5e200], [1e200, 5e200, 1e-200, 3e-200], [7.0, 7.0 + 1e-12],
                       [0.0, 1e-300, 1e-10, 1.0, 1e150, 1e300, 0.0, 1e305], [1e160] * 3 + [0.0] + [1e160] * 3):
            for pieces in (1, 2, len(values)):
                self.check_exactly(values, pieces)
        dice = random.Random(14)
        for _ in range(30):
            values = [dice.choice((-1, 1)) * 10.0**dice.uniform(-320, 308) for _ in range(20)]
            self.check_exactly(values, dice.choice((1, 1, 3)))

    def test_not_a_number_is_passed_over(self):
        self.assertEqual(self.stats([math.nan, 1.0, math.nan, 2.0], 'f')[:5], [2, 3.0, 1.0, 2.0, 1.5])
        self.assertEqual(self.stats([math.nan], 'f'), [0] + [None] * 5)

    def test_random_ints(self):
        dice = random.Random(4)
        for n in (1, 2, 3, 10, 1000, 10000):
            self.check_ints([dice.randrange(-10**6, 10**6) for _ in range(n)])
            self.check_ints([dice.randrange(10**15, 10**16) for _ in range(n)])

    def test_int_sums_beyond_64_bits(self):
        self.check_ints([2**63 - 1, 2**63 - 1])
        self.check_ints([2**63 - 1, 2**63 - 1, -2**63])
        self.check_ints([-2**63] * 1000)
        self.check_ints([2**63 - 1, -2**63])

    def test_no_values(self):
        for kind in 'if':
            for values in ([], [None], [None] * 9):
                self.assertEqual(self.stats(values, kind), [0] + [None] * 5)

    def test_one_value_has_no_deviation(self):
        self.assertEqual(self.stats([7], 'i'), [1, 7, 7, 7, 7.0, None])

    def test_merged_pieces_are_as_the_whole(self):
        dice = random.Random(5)
        for pieces in (2, 3, 17):
            self.check_floats([dice.choice((None, dice.gauss(50, 3))) for _ in range(2000)], pieces)
            self.check_floats([dice.lognormvariate(0, 10) for _ in range(1000)], pieces)
            self.check_ints([dice.randrange(-10**18, 10**18) for _ in range(500)], pieces)


class Vwap(unittest.TestCase):
    def check(self, rows, *kinds, pieces=1):
        lines = [(0, p, v) for p, v in rows]
        for i in range(1, pieces):
            lines.insert(i * len(lines) // pieces, 'merge')
        found = float(drive('vwap', lines, *kinds)[0][0])
        there = [(fractions.Fraction(p), fractions.Fraction(v)) for p, v in rows
                 if p is not None and v is not None]
        expected = sum(p * v for p, v in there) / sum(v for _, v in there)
        self.assertLessEqual(abs(found - expected), abs(expected) * fractions.Fraction(1, 2**50))

    def test_random_trades(self):
        dice = random.Random(6)
        price = lambda: dice.choice((None, 1.25, round(dice.uniform(1, 500), 2)))
        volume = lambda: dice.choice((None, 100, dice.randrange(1, 1000)))
        for n in (10, 1000, 10000):
            self.check([(price(), volume()) for _ in range(n)], 'price=p:f', 'volume=v:i')
        self.check([(dice.randrange(1, 999), dice.random()) for _ in range(999)], 'price=p:i', 'volume=v:f')

    def test_products_that_no_float_can_hold(self):
        kinds = 'price=p:f', 'volume=v:f'
        self.check([(1e-200, 1e-200), (3e-200, 1e-200)], *kinds)
        self.check([(1e200, 1e200)], *kinds)
        self.check([(1e300, 1e308), (1e308, 1e308), (1.5e308, 1e308)], *kinds)
        self.check([(0.0, 1.0), (1e-200, 1e-200), (2.0, 3.0), (1e200, 1e200)], *kinds)
        self.check([(1e200, 1e200), (1e-200, 1e-200)], *kinds)
        dice = random.Random(15)
        for _ in range(30):
            self.check([(10.0**dice.uniform(-300, 300), 10.0**dice.uniform(-300, 300))
                        for _ in range(20)], *kinds, pieces=dice.choice((1, 1, 4)))

    def test_no_volume_is_null(self):
        for rows in ([], [(0, 1.5, 0)], [(0, None, 3)], [(0, 1.5, None)], [(0, 1.5, 4), (0, 2.5, -4)]):
            self.assertEqual(drive('vwap', rows, 'price=p:f', 'volume=v:i'), [['null']])


class Ohlc(unittest.TestCase):
    def check(self, rows, kind):
        there = [(t, n, v) for n, (t, v) in enumerate(row for row in rows if row != 'merge') if v is not None]
        values = [v for _, _, v in there]
        expected = ([min(there)[2], max(values), min(values), max(there)[2]] if there else [None] * 4)
        k = int if kind == 'i' else float
        self.assertEqual(numbers(drive('ohlc', rows, f'of=x:{kind}')[0], [k] * 4), expected)

    def test_open_and_close_go_by_time_then_by_order(self):
        dice = random.Random(7)
        for n in (0, 1, 2, 3, 5, 50, 1000):
            for kind, value in (('f', lambda: round(dice.gauss(0, 10), 3)),
                                ('i', lambda: dice.randrange(-2**63, 2**63))):
                # Few different times, so that many rows have the same one.
                rows = [(dice.randrange(n // 3 + 1), dice.choice((None, value(), value())))
                        for _ in range(n)]
                self.check(rows, kind)
                for _ in range(3):
                    rows.insert(dice.randrange(len(rows) + 1), 'merge')
                self.check(rows, kind)

    def test_not_a_number_is_passed_over(self):
        rows = [(1, math.nan), (2, 5.0), (3, math.nan), (4, 4.0), (5, math.nan)]
        self.assertEqual(drive('ohlc', rows, 'of=x:f'), [['5', '5', '4', '4']])


class Topk(unittest.TestCase):
    def top(self, values, k, kind='s', **parameters):
        rows = [v if v == 'merge' else (0, v) for v in values]
        found = drive('topk', rows, f'of=x:{kind}', f'k={k}', *(f'{n}={v}' for n, v in parameters.items()))
        return [(int(value) if kind == 'i' else value, int(count), int(error))
                for value, count, error in found]

    def expected(self, values, k):
        counter = collections.Counter(v for v in values if v is not None and v != 'merge')
        order = sorted(counter.items(), key=lambda item: (
            -item[1], item[0].encode() if isinstance(item[0], str) else item[0]))
        return [(value, count, 0) for value, count in order[:k]]

    def zipf(self, dice, n, values, prefix='tag'):
        weights = [1 / (i + 1) for i in range(values)]
        return [prefix + str(i) for i in dice.choices(range(values), weights, k=n)]

    def test_exact_while_all_values_fit(self):
        dice = random.Random(8)
        for n, values in ((0, 1), (1, 1), (10, 10), (1000, 100), (20000, 100)):
            for prefix in ('', 'tag', 'a value of more than sixteen bytes ', 'é' * 200):
                rows = self.zipf(dice, n, values, prefix)
                self.assertEqual(self.top(rows, 10), self.expected(rows, 10))

    def test_a_thousand_values_are_exact_whatever_k(self):
        """61 values, the first of which comes last: with 30 places of ten times k it was left out."""
        rows = [f'v{i}' for i in range(60) for _ in range(10)] + ['first'] * 11
        self.assertEqual(self.top(rows, 3), self.expected(rows, 3))
        dice = random.Random(16)
        rows = [f'v{dice.randrange(1000)}' for _ in range(20000)]
        self.assertEqual(self.top(rows, 3), self.expected(rows, 3))

    def test_ints(self):
        dice = random.Random(9)
        rows = [dice.choice((-5, 2**63 - 1, -2**63, 0, 7, 12, None)) for _ in range(1000)]
        self.assertEqual(self.top(rows, 4, 'i'), self.expected(rows, 4))
        self.assertEqual(self.top([3, -2, 11, 5], 4, 'i'), self.expected([3, -2, 11, 5], 4))

    def test_nulls_and_empty_strings(self):
        self.assertEqual(self.top([None, '', 'a', '', None], 5), [('', 2, 0), ('a', 1, 0)])
        self.assertEqual(self.top([None], 5), [])

    def test_by_hand(self):
        """a b a c with two places: c takes the place of b, which had come once."""
        self.assertEqual(self.top(list('abac'), 2, capacity=2), [('a', 2, 0), ('c', 2, 1)])
        self.assertEqual(self.top(list('abacc'), 2, capacity=2), [('c', 3, 1), ('a', 2, 0)])
        self.assertEqual(self.top(list('abaccb'), 2, capacity=2), [('b', 3, 2), ('c', 3, 1)])

    def check_bounds(self, values, k, capacity):
        """Metwally et al. 2005: lemma 3, theorems 1 and 2."""
        truth = collections.Counter(v for v in values if v != 'merge')
        total = sum(truth.values())
        found = self.top(values, capacity, capacity=capacity)
        for value, count, error in found:
            self.assertLessEqual(count - error, truth[value])
            self.assertGreaterEqual(count, truth[value])
            self.assertLessEqual(error, total // capacity)
        kept = {value for value, _, _ in found}
        for value, count in truth.items():
            if count > total / capacity:
                self.assertIn(value, kept)
        self.assertEqual(found, sorted(found, key=lambda f: (-f[1], f[0].encode())))
        self.assertEqual(self.top(values, k, capacity=capacity), found[:k])

    def test_bounds_hold_when_values_do_not_fit(self):
        dice = random.Random(10)
        for capacity in (10, 100, 1000):
            self.check_bounds(self.zipf(dice, 20000, 5000), 10, capacity)
            self.check_bounds([f'v{dice.randrange(3000)}' for _ in range(10000)], 10, capacity)
            self.check_bounds([f'v{i}' for i in range(3000)], 10, capacity)

    def test_counts_without_merging_add_up_to_the_rows(self):
        dice = random.Random(11)
        rows = self.zipf(dice, 5000, 2000)
        self.assertEqual(sum(count for _, count, _ in self.top(rows, 50, capacity=50)), 5000)

    def test_bounds_hold_after_merging(self):
        dice = random.Random(12)
        for capacity in (10, 100):
            rows = self.zipf(dice, 9000, 3000)
            for _ in range(5):
                rows.insert(dice.randrange(len(rows)), 'merge')
            self.check_bounds(rows, 10, capacity)

    def test_merging_is_exact_while_all_values_fit(self):
        dice = random.Random(13)
        rows = self.zipf(dice, 3000, 100, 'a value of more than sixteen bytes ')
        for _ in range(5):
            rows.insert(dice.randrange(len(rows)), 'merge')
        self.assertEqual(self.top(rows, 10), self.expected(rows, 10))

    def test_long_values_are_cut_but_stay_different(self):
        values = ['ü' * 1000 + 'a', 'ü' * 1000 + 'b', 'ü' * 1000 + 'a']
        found = self.top(values, 5)
        self.assertEqual([(count, error) for _, count, error in found], [(2, 0), (1, 0)])
        for value, _, _ in found:
            self.assertLessEqual(len(value.encode()), 512)
            self.assertRegex(value, '^ü+…[0-9a-f]{16}$')

    def test_capacity_below_k_is_refused(self):
        self.assertIn('capacity 5 is less than k, 10', drive('topk', [], 'of=x:s', 'k=10', 'capacity=5', fails=True))


def adversarial(dice, n):
    """Runs of floats that sketches have trouble with, by name."""
    heavy = [dice.paretovariate(0.3) for _ in range(n)]
    return {'sorted': sorted(heavy), 'reversed': sorted(heavy, reverse=True), 'constant': [3.7] * n,
            'heavy tail': heavy, 'normal': [dice.gauss(0, 1) for _ in range(n)],
            'prices': [round(100 + dice.gauss(0, 5), 2) for _ in range(n)],
            'all distinct': [float(i) for i in dice.sample(range(10 * n), n)],
            'alternating extremes': [(1.7e308, -1.7e308, 5e-324, -5e-324, 0.0)[i % 5] for i in range(n)],
            'infinities': [dice.choice((math.inf, -math.inf, 1.0, 2.5)) for _ in range(n)],
            'all magnitudes': [10.0**dice.uniform(-4, 4) * dice.choice((-1, 1)) for _ in range(n)]}


class Quantiles(unittest.TestCase):
    Q = 0, 0.01, 0.05, 0.25, 0.5, 0.57, 0.75, 0.9, 0.99, 0.999, 1

    def quantiles(self, values, q=Q, kind='f', **parameters):
        rows = [v if v == 'merge' else (0, v) for v in values]
        found = drive('quantiles', rows, f'of=x:{kind}', 'q=' + ' '.join(map(str, q)),
                      *(f'{n}={v}' for n, v in parameters.items()))
        return numbers(found[0], [float] * len(q))

    def check(self, values, q=Q, error=0.01, **parameters):
        there = sorted(v for v in values if v not in (None, 'merge') and v == v)
        found = self.quantiles(values, q, error=error, **parameters)
        for q, v in zip(q, found):
            exact = there[math.floor(fractions.Fraction(str(q)) * (len(there) - 1))]
            if q in (0, 1) or math.isinf(exact):
                self.assertEqual(v, exact)
            else:
                self.assertLessEqual(abs(v - exact), error * abs(exact) * (1 + 1e-9), (q, v, exact))

    def test_within_the_error_of_the_exact_ones(self):
        dice = random.Random(20)
        for n in (1, 2, 3, 101, 20000):
            for name, values in adversarial(dice, n).items():
                with self.subTest(name, n=n):
                    self.check(values)

    def test_other_errors(self):
        dice = random.Random(21)
        for error in (0.0001, 0.001, 0.1, 0.25):
            self.check([dice.lognormvariate(3, 1) for _ in range(5000)], error=error, buckets=65536)

    def test_every_double_has_its_bucket(self):
        dice = random.Random(22)
        values = [dice.choice((-1, 1)) * 10.0**dice.uniform(-307, 308) for _ in range(20000)]
        self.check(values, buckets=65536)
        self.check([1.7976931348623157e308, -1.7976931348623157e308, 2.2250738585072014e-308, 5e-324, 0.0, -0.0])

    def test_merged_pieces_are_as_the_whole(self):
        dice = random.Random(23)
        for values in adversarial(dice, 3000).values():
            whole = self.quantiles(values, buckets=64)
            for _ in range(5):
                values.insert(dice.randrange(len(values)), 'merge')
            self.assertEqual(self.quantiles(values, buckets=64), whole)

    def test_of_more_buckets_the_lowest_collapse(self):
        """Powers of 10 are in a bucket each: of a thousand rows, those with the 16 highest powers stay right."""
        values = [10.0**i for i in range(-50, 50)] * 10
        random.Random(24).shuffle(values)
        q = 0, 0.85, 0.9, 0.99, 1
        self.check(values, q, buckets=16)
        found = self.quantiles(values, (0, 0.1, 0.5, 0.8), buckets=16)
        self.assertEqual(found[0], 1e-50)
        for v in found[1:]:
            self.assertLessEqual(abs(v - 1e34), 1e32)

    def test_collapsed_or_not_the_order_does_not_matter(self):
        dice = random.Random(26)
        for n in (15, 16, 17, 19, 20, 21, 22, 100, 1000):
            values = [dice.choice((-1, 1)) * 10.0**dice.randrange(-200, 200) for _ in range(n)]
            ways = [sorted(values), sorted(values, reverse=True), values, dice.sample(values, n)]
            found = [self.quantiles(way, buckets=16) for way in ways]
            self.assertEqual(found, [found[0]] * len(ways))

    def test_ints_nulls_and_no_numbers(self):
        dice = random.Random(25)
        self.check([dice.choice((None, dice.randrange(-1000, 1000))) for _ in range(3000)], kind='i')
        self.check([2**63 - 1, -2**63, 5], (0.5,), kind='i')
        self.check([dice.choice((None, math.nan, dice.random())) for _ in range(3000)])
        for values in ([], [None], [math.nan]):
            self.assertEqual(self.quantiles(values), [None] * len(self.Q))


class Distinct(unittest.TestCase):
    def distinct(self, rows, of, **parameters):
        found = drive('distinct', [row if row == 'merge' else (0, *row) for row in rows], f'of={of}',
                      *(f'{n}={v}' for n, v in parameters.items()))
        return int(found[0][0])

    def test_exact_of_every_type(self):
        dice = random.Random(30)
        for n in (0, 1, 2, 10, 100, 3000):
            for of, value in (('x:i', lambda: dice.randrange(-n, n + 1)), ('x:f', lambda: dice.randrange(n + 1) / 7),
                              ('x:t', lambda: dice.randrange(n + 1)), ('x:b', lambda: dice.randrange(2)),
                              ('x:s', lambda: 'x' * dice.randrange(60) + str(dice.randrange(40)))):
                rows = [dice.choice((None, value(), value())) for _ in range(n)]
                self.assertEqual(self.distinct([(v,) for v in rows], of), len(set(rows) - {None}))

    def test_strings_that_differ_little(self):
        """Each length from 0 to 40, and each place of it changed."""
        strings = {'a' * size for size in range(41)}
        strings |= {'a' * at + 'b' + 'a' * (size - at - 1) for size in range(41) for at in range(size)}
        self.assertEqual(self.distinct([(s,) for s in strings], 'x:s'), len(strings))

    def test_several_columns(self):
        dice = random.Random(31)
        rows = [tuple(dice.choice((None, dice.randrange(9), dice.randrange(9))) for _ in range(3))
                for _ in range(1000)]
        there = {row for row in rows if None not in row}
        self.assertEqual(self.distinct(rows, 'x:i y:i z:i'), len(there))
        self.assertEqual(self.distinct([(a, str(b), c) for a, b, c in there], 'x:i y:s z:f'), len(there))
        self.assertEqual(self.distinct([('ab', 'c'), ('a', 'bc'), ('', 'abc'), ('abc', '')], 'x:s y:s'), 4)
        self.assertEqual(self.distinct([(1, 2), (2, 1)], 'x:i y:i'), 2)

    def test_what_is_one_value_and_what_is_none(self):
        self.assertEqual(self.distinct([(0.0,), (-0.0,), (math.nan,), (None,)], 'x:f'), 1)
        self.assertEqual(self.distinct([(math.inf,), (-math.inf,), (5e-324,), (0.0,)], 'x:f'), 4)
        self.assertEqual(self.distinct([('',), (None,)], 'x:s'), 1)

    def test_exact_up_to_3072_then_within_its_error(self):
        dice = random.Random(32)
        for n, error in ((3072, 0), (3073, 0.02), (10000, 0.02), (100000, 0.02)):
            for rows in ([(i,) for i in range(n)], [(i,) for i in range(n, 0, -1)],
                         [(v,) for v in dice.sample(range(2**60), n)]):
                self.assertLessEqual(abs(self.distinct(rows, 'x:i') - n), error * n)
        self.assertEqual(self.distinct([(7,)] * 100000, 'x:i'), 1)

    def test_merged_pieces_are_as_the_whole(self):
        dice = random.Random(33)
        for n in (100, 3000, 30000):
            rows = [(dice.randrange(n),) for _ in range(n)]
            whole = self.distinct(rows, 'x:i')
            for _ in range(5):
                rows.insert(dice.randrange(len(rows)), 'merge')
            self.assertEqual(self.distinct(rows, 'x:i'), whole)


class FirstLast(unittest.TestCase):
    def check(self, rows, kind, value=str):
        there = [(t, n, v) for n, (t, v) in enumerate(row for row in rows if row != 'merge') if v is not None]
        for plugin, choose in (('first', min), ('last', max)):
            (found, time), = drive(plugin, rows, f'of=x:{kind}')
            expected = choose(there, key=lambda row: row[:2]) if there else (None, None, None)
            self.assertEqual((None if time == 'null' else int(time)), expected[0])
            self.assertEqual(None if time == 'null' else value(found), expected[2])

    def test_by_time_then_by_order(self):
        dice = random.Random(40)
        for n in (0, 1, 2, 3, 50, 1000):
            for kind, value, make in (('i', int, lambda: dice.randrange(-2**63, 2**63)),
                                      ('f', float, lambda: dice.gauss(0, 1)), ('b', int, lambda: dice.randrange(2)),
                                      ('t', int, lambda: dice.randrange(10**15)),
                                      ('s', str, lambda: 'é' * dice.randrange(99))):
                # Few different times, so that many rows have the same one.
                rows = [(dice.randrange(n // 3 + 1), dice.choice((None, make(), make()))) for _ in range(n)]
                self.check(rows, kind, value)
                for _ in range(3):
                    rows.insert(dice.randrange(len(rows) + 1), 'merge')
                self.check(rows, kind, value)

    def test_not_a_number_is_passed_over(self):
        rows = [(1, math.nan), (2, 5.0), (3, math.inf), (4, math.nan)]
        self.assertEqual(drive('first', rows, 'of=x:f'), [['5', '2']])
        self.assertEqual(drive('last', rows, 'of=x:f'), [['inf', '3']])


class Sum(unittest.TestCase):
    def ints(self, values, pieces=1):
        rows = timed(values)
        for i in range(1, pieces):
            rows.insert(i * len(rows) // pieces, 'merge')
        (found, text), = drive('sum', rows, 'of=x:i')
        self.assertTrue('null' in (found, text))
        return None if found == text else int(found) if text == 'null' else text

    def check_ints(self, values, pieces=1):
        total = sum(v for v in values if v is not None)
        self.assertEqual(self.ints(values, pieces), total if total in INT64 else str(total))

    def check_floats(self, values, pieces=1):
        rows = timed(values)
        for i in range(1, pieces):
            rows.insert(i * len(rows) // pieces, 'merge')
        found = float(drive('sum', rows, 'of=x:f')[0][0])
        exact = sum(fractions.Fraction(v) for v in values)
        if abs(exact) > fractions.Fraction(1.7976931348623157e308):
            self.assertEqual(found, math.inf if exact > 0 else -math.inf)
        else:
            self.assertLessEqual(abs(fractions.Fraction(found) - exact), fractions.Fraction(math.ulp(float(exact))))

    def test_ints_of_any_size(self):
        dice = random.Random(50)
        for n in (1, 2, 1000, 10000):
            for pieces in (1, 2, 7):
                self.check_ints([dice.randrange(-2**63, 2**63) for _ in range(n)], pieces)
                self.check_ints([dice.choice((None, 1, dice.randrange(1000))) for _ in range(n)] + [1], pieces)
        for values in ([2**63 - 1], [2**63 - 1, 1], [-2**63], [-2**63, -1], [-2**63] * 100000,
                       [2**63 - 1, 2**63 - 1, -2**63, 1]):
            self.check_ints(values)

    def test_floats(self):
        dice = random.Random(51)
        for n in (1, 2, 1000, 10000):
            for pieces in (1, 2, 7):
                self.check_floats([dice.lognormvariate(0, 10) for _ in range(n)], pieces)
                self.check_floats([dice.gauss(0, 1) for _ in range(n)], pieces)
        self.check_floats([0.1] * 10000)
        self.check_floats([1e100, 1.0, -1e100, 1.0] * 100)
        for name, values in adversarial(dice, 3000).items():
            if name != 'infinities':
                with self.subTest(name):
                    self.check_floats(values)

    def test_what_leaves_the_range_on_the_way(self):
        for values in ([1e308, 1e308, -1e308], [1e308] * 3, [-1e308] * 9 + [1e308] * 8, [1.7e308, 1.0, -1.7e308],
                       [1e288, -1e308, 1e308, 1e-300], [9.7e288, 9.8e288, -1e289], [5e-324] * 9):
            for pieces in (1, 2):
                self.check_floats(values, pieces)

    def test_infinities_and_no_numbers(self):
        for values, expected in (([math.inf, 1.0, math.nan], 'inf'), ([1e308, -math.inf], '-inf'), ([], 'null'),
                                 ([None, math.nan], 'null')):
            self.assertEqual(drive('sum', timed(values), 'of=x:f'), [[expected]])
        self.assertTrue(math.isnan(float(drive('sum', timed([math.inf, -math.inf]), 'of=x:f')[0][0])))
        self.assertIsNone(self.ints([None]))


class Histogram(unittest.TestCase):
    def check(self, values, bounds, kind='f', *parameters):
        rows = [v if v == 'merge' else (0, v) for v in values]
        found = drive('histogram', rows, f'of=x:{kind}',
                      *(parameters or ['bounds=' + ' '.join(map(repr, bounds))]))
        there = [v for v in values if v not in (None, 'merge') and v == v]
        places = collections.Counter(bisect.bisect_left(bounds, v) for v in there)
        expected = [(low, high, places[k]) for k, (low, high) in
                    enumerate(zip([None, *bounds], [*bounds, None]))] if there else []
        self.assertEqual([tuple(numbers(row, [float, float, int])) for row in found], expected)

    def test_bounds_of_a_list(self):
        dice = random.Random(60)
        for n in (1, 2, 3, 4, 5, 7, 8, 100, 256):
            bounds = sorted(dice.sample(range(-1000, 1000), n))
            self.check([dice.randrange(-1100, 1100) for _ in range(2000)], bounds, 'i')
            self.check([dice.choice((None, dice.uniform(-1100, 1100), float(dice.choice(bounds))))
                        for _ in range(2000)], bounds)

    def test_bounds_that_grow(self):
        dice = random.Random(61)
        self.check([dice.choice((-1.0, dice.paretovariate(0.1))) for _ in range(2000)], [2.0**i for i in range(20)],
                   'f', 'start=1')
        self.check([dice.paretovariate(0.1) for _ in range(999)], [0.5, 5.0, 50.0], 'f', 'start=0.5', 'factor=10',
                   'count=3')

    def test_adversarial_values_merged(self):
        dice = random.Random(62)
        for values in adversarial(dice, 1000).values():
            for _ in range(4):
                values.insert(dice.randrange(len(values)), 'merge')
            self.check(values, [-1e300, -1.0, 0.0, 1.0, 3.7, 1e300])

    def test_no_values_give_no_rows(self):
        self.check([None, math.nan], [1.0])

    def test_bounds_that_do_not_rise_are_refused(self):
        self.assertIn('2 is not above 2', drive('histogram', [], 'of=x:f', 'bounds=1 2 2', fails=True))
        self.assertIn('no finite number', drive('histogram', [], 'of=x:f', 'factor=1e6', 'count=256', fails=True))


class Covariance(unittest.TestCase):
    def pairs(self, rows, kinds='ff', pieces=1):
        lines = [(0, *row) for row in rows]
        for i in range(1, pieces):
            lines.insert(i * len(lines) // pieces, 'merge')
        found = drive('covariance', lines, f'x=x:{kinds[0]}', f'y=y:{kinds[1]}')
        return numbers(found[0], [int] + [float] * 4)

    def check(self, rows, kinds='ff', pieces=1):
        count, covariance, correlation, slope, intercept = self.pairs(rows, kinds, pieces)
        there = [(fractions.Fraction(x), fractions.Fraction(y)) for x, y in rows if None not in (x, y)]
        n = len(there)
        self.assertEqual(count, n)
        mx, my = sum(x for x, _ in there) / n, sum(y for _, y in there) / n
        xx, yy = sum((x - mx)**2 for x, _ in there), sum((y - my)**2 for _, y in there)
        xy = sum((x - mx) * (y - my) for x, y in there)
        sx, sy = math.sqrt(xx), math.sqrt(yy)
        self.assertLessEqual(abs(covariance - xy / (n - 1)), 1e-12 * sx * sy / (n - 1))
        self.assertLessEqual(abs(correlation - float(xy) / sx / sy), 1e-12)
        self.assertLessEqual(abs(slope - xy / xx), 1e-12 * sy / sx)
        self.assertLessEqual(abs(intercept - (my - xy / xx * mx)), 1e-12 * (sy / sx * abs(mx) + abs(my)))

    def test_random_pairs(self):
        dice = random.Random(70)
        for n in (3, 10, 1000):
            for pieces in (1, 2, 7):
                self.check([(dice.gauss(0, 1), dice.gauss(5, 2)) for _ in range(n)], pieces=pieces)
                self.check([(x, 3 - 2.5 * x + dice.gauss(0, 0.1)) for x in
                            (dice.uniform(0, 10) for _ in range(n))], pieces=pieces)
                self.check([(x, 7 * x) for x in dice.sample(range(-999, 999), n)], 'ii', pieces)
                self.check([(dice.choice((None, 1.5, x)), dice.choice((None, x, 2 * x))) for x in range(1, 5 * n)],
                           'fi', pieces)

    def test_far_from_zero_and_adversarial(self):
        dice = random.Random(71)
        for pieces in (1, 5):
            self.check([(1e9 + x, 1e9 - x + dice.random()) for x in (dice.random() for _ in range(2000))],
                       pieces=pieces)
            for name, values in adversarial(dice, 1000).items():
                if name not in ('constant', 'infinities', 'alternating extremes'):
                    with self.subTest(name):
                        self.check([(v, dice.gauss(0, 1)) for v in values], pieces=pieces)

    def test_what_has_no_answer_is_null(self):
        self.assertEqual(self.pairs([]), [0] + [None] * 4)
        self.assertEqual(self.pairs([(1.0, 2.0), (math.nan, 1.0), (None, 1.0), (1.0, math.inf)]), [1] + [None] * 4)
        for pieces in (1, 3):
            self.assertEqual(self.pairs([(0.1, 1.0), (0.1, 2.0), (0.1, 4.0)], pieces=pieces),
                             [3, 0.0, None, None, None])
            self.assertEqual(self.pairs([(1.0, 0.1), (2.0, 0.1), (4.0, 0.1)], pieces=pieces),
                             [3, 0.0, None, 0.0, 0.1])
        self.assertEqual(self.pairs([(1e300, 1.0), (-1e300, 2.0)]), [2] + [None] * 4)


if __name__ == '__main__':
    unittest.main()
