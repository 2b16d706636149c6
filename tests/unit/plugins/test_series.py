# SPDX-License-Identifier: Apache-2.0
"""Analyzers of rows in the order of their time, against plain Python over the same rows, sorted."""

import fractions
import itertools
import math
import random
import statistics
import unittest

from test_values import adversarial, drive, numbers, root

S = 1000000
END = 1000000  # of the window of drive, in seconds


def in_order(rows):
    """[(time, value)] of the rows with a value, by time, then by place."""
    there = [(t, n, v) for n, (t, v) in enumerate(row for row in rows if row != 'merge') if v is not None]
    return [(t, v) for t, _, v in sorted(there, key=lambda row: row[:2])]


def shuffled(dice, n, value, pieces=1):
    """Times are in no order, and some are the same; the states of pieces are merged."""
    rows = [(dice.randrange(n + 1) * S, value()) for _ in range(n)]
    for _ in range(1, pieces):
        rows.insert(dice.randrange(len(rows) + 1), 'merge')
    return rows


def nearly_sorted(dice, n, value, pieces=1):
    """As events arrive, up to 100 places away from their order. Pieces do not overlap: they are panes."""
    rows = []
    for piece in range(pieces):
        part = [((n * piece + i) * S, value()) for i in range(n // pieces)]
        rows += ['merge'] * bool(piece) + sorted(part, key=lambda row: row[0] + dice.randrange(100) * S)
    return rows


def shapes(dice, value):
    for n in (0, 1, 2, 3, 40, 900):
        for pieces in (1, 2, 6):
            yield shuffled(dice, n, value, pieces)
    for n, pieces in ((1500, 1), (3600, 1), (3600, 2)):
        yield nearly_sorted(dice, n, value, pieces)


class Case(unittest.TestCase):
    def assertClose(self, found, expected, relative=1e-12):
        if expected is None or found is None:
            self.assertEqual(found, expected)
        else:
            self.assertLessEqual(abs(fractions.Fraction(found) - fractions.Fraction(expected)),
                                 relative * abs(fractions.Fraction(expected)) + fractions.Fraction(1, 10**300),
                                 (found, expected))


class Rate(Case):
    def test_over_resets(self):
        dice = random.Random(100)
        count = itertools.count(5, 7)
        for kind, value in (('i', lambda: dice.choice((None, dice.randrange(1000), next(count) % 500))),
                            ('f', lambda: dice.choice((None, dice.random())))):
            for rows in shapes(dice, value):
                there = in_order(rows)
                increase, resets = fractions.Fraction(0), 0
                for (_, a), (_, b) in zip(there, there[1:]):
                    increase += fractions.Fraction(b) - (fractions.Fraction(a) if b >= a else 0)
                    resets += b < a
                seconds = (there[-1][0] - there[0][0]) // S if there else 0
                found = numbers(drive('rate', rows, f'of=x:{kind}')[0], [float, float, int])
                self.assertEqual(found[2], resets if there else None)
                self.assertClose(found[0], increase if seconds else None)
                self.assertClose(found[1], increase / seconds if seconds else None)

    def test_what_is_no_count_is_passed_over(self):
        rows = [(0, 5.0), (S, -1.0), (2 * S, math.inf), (3 * S, 8.0), (4 * S, math.nan)]
        self.assertEqual(drive('rate', rows, 'of=x:f'), [['3', '1', '0']])

    def test_a_late_row_inside_what_is_folded_is_left_out(self):
        """Of 1,024 rows 512 are folded when the next one comes; the row at 100.5 would be two resets."""
        rows = [(i * S, i) for i in range(1100)] + [(100 * S + S // 2, 7)]
        self.assertEqual(drive('rate', rows, 'of=x:i'), [['1099', '1', '0']])
        self.assertEqual(drive('rate', rows[:900] + rows[-1:], 'of=x:i')[0][2], '1')


class Delta(Case):
    def test_last_less_first(self):
        dice = random.Random(101)
        for rows in shapes(dice, lambda: dice.choice((None, dice.randrange(-1000, 1000)))):
            there = in_order(rows)
            found = numbers(drive('delta', rows, 'of=x:i')[0], [float, float])
            delta = there[-1][1] - there[0][1] if there else None
            seconds = (there[-1][0] - there[0][0]) // S if there else 0
            self.assertEqual(found, [delta, delta / seconds if seconds else None])


class TimeWeighted(Case):
    def expected(self, rows, method, until):
        there = in_order(rows)
        if not there:
            return None
        if until == 'window':
            there.append((END * S, there[-1][1]))
        area = sum((fractions.Fraction(a) if method == 'hold' else (fractions.Fraction(a) + fractions.Fraction(b)) / 2)
                   * (u - t) for (t, a), (u, b) in zip(there, there[1:]))
        seconds = there[-1][0] - there[0][0]
        return area / seconds if seconds else there[-1][1]

    def test_areas(self):
        dice = random.Random(102)
        for method in ('hold', 'linear'):
            for until in ('window', 'event'):
                for rows in shapes(dice, lambda: dice.choice((None, dice.uniform(1, 50)))):
                    options = f'method={method}', f'until={until}'
                    (found,), = drive('time_weighted', rows, 'of=x:f', *options)
                    self.assertClose(None if found == 'null' else float(found), self.expected(rows, method, until))
                    self.assertEqual(drive('twap', rows, 'price=x:f', *options), [[found]])

    def test_by_hand(self):
        """10 for 1 s, 20 for 3 s: (10 + 60) / 4."""
        rows = [(0, 10), (S, 20), (4 * S, 99)]
        self.assertEqual(drive('time_weighted', rows, 'of=x:i', 'until=event'), [['17.5']])


class Ewma(Case):
    def test_ages_count(self):
        dice = random.Random(103)
        for rows in shapes(dice, lambda: dice.choice((None, dice.uniform(1, 50)))):
            there = in_order(rows)
            newest = there[-1][0] if there else 0
            weights = [2.0**((t - newest) / (90 * S)) for t, _ in there]
            expected = math.fsum(w * v for w, (_, v) in zip(weights, there)) / math.fsum(weights) if there else None
            (found,), = drive('ewma', rows, 'of=x:f', 'half_life=1m30s')
            self.assertClose(None if found == 'null' else float(found), expected)

    def test_durations(self):
        for text in ('', '5', 's', '5 s', '-1s', '1x', '1.5s', '99999999w'):
            self.assertIn('is not a duration', drive('ewma', [], 'of=x:f', f'half_life={text}', fails=True))
        self.assertIn('longer than 0s', drive('ewma', [], 'of=x:f', 'half_life=0s', fails=True))
        for text, seconds in (('500ms', 0.5), ('1h30m', 5400), ('2d', 172800), ('1w', 604800), ('250us', 0.00025)):
            rows = [(0, 0), (round(seconds * S), 3)]
            self.assertClose(float(drive('ewma', rows, 'of=x:i', f'half_life={text}')[0][0]), 2)


class Gap(Case):
    def test_silences(self):
        dice = random.Random(104)
        for rows in shapes(dice, lambda: dice.choice((None, 1))):
            there = [t for t, _ in in_order(rows)]
            steps = [(u - t, t) for t, u in zip(there, there[1:])]
            longest = max(steps, key=lambda step: (step[0], -step[1])) if steps and max(steps)[0] else (None, None)
            expected = ([sum(step > 2 * S for step, _ in steps), longest[0] and longest[0] / S, longest[1],
                         END - there[-1] / S] if there else [None] * 4)
            self.assertEqual(numbers(drive('gap', rows, 'of=x:i', 'longer_than=2s')[0], [int, float, int, float]),
                             expected)

    def test_all_rows_count_without_a_column(self):
        self.assertEqual(drive('gap', [(0,), (5 * S,), (6 * S,), (9 * S,)], 'longer_than=2s')[0][:3], ['2', '5', '0'])


class Threshold(Case):
    def expected(self, rows, limit, hysteresis, wait, sign):
        """A step for each row, as an alert evaluates."""
        there = in_order(rows)
        since, fired, firing = None, 0, 0

        def close(end):
            nonlocal fired, firing
            if end - since >= wait:
                fired, firing = fired + 1, firing + (end - since - wait)
        for t, v in there:
            if sign * (v - limit) > 0:
                since = t if since is None else since
            elif sign * (v - limit) <= -hysteresis and since is not None:
                close(t)
                since = None
        if not there:
            return [None] * 4
        state = 'ok' if since is None else 'firing' if END * S - since >= wait else 'pending'
        if since is not None:
            close(END * S)
        return [state, since, fired, firing / S]

    def test_against_a_step_for_each_row(self):
        dice = random.Random(105)
        for limit, hysteresis, wait, when in ((50, 0, 0, 'above'), (50, 20, 3, 'above'), (30, 5, 10, 'below'),
                                              (95, 90, 2, 'above'), (50, 10, END, 'above')):
            for rows in shapes(dice, lambda: dice.choice((None, dice.randrange(100)))):
                found = drive('threshold', rows, 'of=x:i', f'limit={limit}', f'hysteresis={hysteresis}',
                              f'for={wait}s', f'when={when}')[0]
                found = numbers(found, [str, int, int, float])
                expected = self.expected(rows, limit, hysteresis, wait * S, 1 if when == 'above' else -1)
                self.assertEqual(found[:3], expected[:3])
                self.assertClose(found[3], expected[3])

    def test_by_hand(self):
        """Over 80 from 10 s on, at 78 still not ok; firing from 40 s to 50 s."""
        rows = [(0, 70), (10 * S, 81), (20 * S, 78), (45 * S, 90), (50 * S, 75)]
        options = 'of=x:i', 'limit=80', 'hysteresis=5', 'for=30s'
        self.assertEqual(drive('threshold', rows, *options), [['ok', 'null', '1', '10']])
        self.assertEqual(drive('threshold', rows[:-1], *options)[0][:3], ['firing', str(10 * S), '1'])


class Change(Case):
    def test_of_every_type(self):
        dice = random.Random(106)
        for kind, make, read in (('i', lambda: dice.randrange(3), int), ('f', lambda: dice.choice((0.0, -0.0, 1.5)), float),
                                 ('b', lambda: dice.randrange(2), int), ('t', lambda: dice.randrange(2), int),
                                 ('s', lambda: dice.choice(('ok', '', 'a' * 39, 'broken')), str)):
            for rows in shapes(dice, lambda: dice.choice((None, make()))):
                there = in_order(rows)
                steps = [(a, b, u) for (_, a), (u, b) in zip(there, there[1:]) if a != b]
                expected = [len(steps), *(steps[-1] if steps else [None] * 3)] if there else [None] * 4
                self.assertEqual(numbers(drive('change', rows, f'of=x:{kind}')[0], [int, read, read, int]), expected)

    def test_long_strings_are_told_apart_and_shown_by_their_first_bytes(self):
        rows = [(0, 'é' * 40 + 'a'), (1, 'é' * 40 + 'b')]
        self.assertEqual(drive('change', rows, 'of=x:s'), [['1', 'é' * 19, 'é' * 19, '1']])


class Volatility(Case):
    def test_both_estimators(self):
        dice = random.Random(107)
        price = 100.0

        def walk():
            nonlocal price
            price *= math.exp(dice.gauss(0, 0.001))
            return dice.choice((None, price, price))
        for rows in shapes(dice, walk):
            prices = [v for _, v in in_order(rows)]
            returns = [math.log(b / a) for a, b in zip(prices, prices[1:])]
            expected = ([math.sqrt(math.fsum(r * r for r in returns)),
                         math.log(max(prices) / min(prices)) / math.sqrt(4 * math.log(2)), len(returns)] if returns
                        else [None, None, 0 if prices else None])
            found = numbers(drive('volatility', rows, 'price=x:f')[0], [float, float, int])
            self.assertEqual(found[2], expected[2])
            self.assertClose(found[0], expected[0], 1e-9)
            self.assertClose(found[1], expected[1], 1e-9)

    def test_what_is_no_price_is_passed_over(self):
        rows = [(0, 1.0), (1, 0.0), (2, -5.0), (3, math.inf), (4, math.e), (5, math.nan)]
        found = numbers(drive('volatility', rows, 'price=x:f')[0], [float, float, int])
        self.assertClose(found[0], 1.0)
        self.assertEqual(found[2], 1)

    def test_extreme_prices(self):
        found = numbers(drive('volatility', [(0, 5e-324), (1, 1.7e308)], 'price=x:f')[0], [float, float, int])
        self.assertClose(found[0], math.log(1.7e308) - math.log(5e-324))


class Drawdown(Case):
    def test_every_pair_is_tried(self):
        dice = random.Random(108)
        for rows in shapes(dice, lambda: dice.choice((None, float(dice.randrange(1, 1000)), dice.lognormvariate(0, 1)))):
            there = in_order(rows)
            best, peak, expected = fractions.Fraction(0), None, [0] + [None] * 4
            for t, v in there:
                if peak is None or v > peak[1]:
                    peak = (t, v)
                loss = 1 - fractions.Fraction(v) / fractions.Fraction(peak[1])
                if loss > best:
                    best, expected = loss, [loss, peak[1], peak[0], v, t]
            if not there:
                expected = [None] * 5
            found = numbers(drive('drawdown', rows, 'of=x:f')[0], [float, float, int, float, int])
            self.assertClose(found[0], expected[0])
            self.assertEqual(found[1:], expected[1:])


class Sessions(Case):
    def test_cut_at_gaps(self):
        dice = random.Random(109)
        for gap in (1, 2, 4):
            for rows in shapes(dice, lambda: dice.choice((None, 1))):
                sessions = []
                for t, _ in in_order(rows):
                    if not sessions or t - sessions[-1][-1] >= gap * S:
                        sessions.append([])
                    sessions[-1].append(t)
                lengths = [(s[-1] - s[0]) / S for s in sessions]
                expected = ([len(sessions), statistics.mean(map(len, sessions)), statistics.mean(lengths), max(lengths),
                             sum(len(s) == 1 for s in sessions)] if sessions else [None] * 5)
                found = numbers(drive('sessions', rows, 'of=x:i', f'gap={gap}s')[0], [int, float, float, float, int])
                self.assertEqual((found[0], found[3], found[4]), (expected[0], expected[3], expected[4]))
                self.assertClose(found[1], expected[1])
                self.assertClose(found[2], expected[2])


class Imbalance(Case):
    def check(self, rows, options, side):
        bought = sum(abs(fractions.Fraction(v)) for v, s in rows if None not in (v, s) and side(v, s) == 1)
        sold = sum(abs(fractions.Fraction(v)) for v, s in rows if None not in (v, s) and side(v, s) == -1)
        lines = [(0, *row) for row in rows]
        for _ in range(3):
            lines.insert(len(lines) // 3, 'merge')
        found = numbers(drive('imbalance', lines, *options)[0], [float] * 3)
        self.assertClose(found[0], bought, 1e-15)
        self.assertClose(found[1], sold, 1e-15)
        self.assertClose(found[2], (bought - sold) / (bought + sold), 1e-12 * float(bought + sold))

    def test_sides(self):
        dice = random.Random(110)
        for n in (5, 1000):
            volumes = [dice.choice((None, 1.5, dice.lognormvariate(0, 4), -dice.random())) for _ in range(n)]
            words = {'B': 1, 'S': -1}
            self.check([(v, dice.choice(('B', 'S', 'other', None))) for v in volumes],
                       ('volume=v:f', 'side=s:s', 'buy=B', 'sell=S'), lambda v, s: words.get(s))
            self.check([(v, dice.choice((0, 1, None))) for v in volumes], ('volume=v:f', 'side=s:b'),
                       lambda v, s: 1 if s else -1)
            self.check([(v, 0) for v in volumes], ('volume=v:f',), lambda v, s: -1 if v < 0 else 1)

    def test_no_rows_are_null(self):
        self.assertEqual(drive('imbalance', [(0, None)], 'volume=v:f'), [['null'] * 3])
        self.assertEqual(drive('imbalance', [(0, 0)], 'volume=v:i'), [['0', '0', 'null']])


class Moments(Case):
    def check(self, values, pieces=1, kind='f'):
        rows = [(0, v) for v in values]
        for i in range(1, pieces):
            rows.insert(i * len(rows) // pieces, 'merge')
        count, mean, variance, skewness, kurtosis = numbers(drive('moments', rows, f'of=x:{kind}')[0],
                                                            [int] + [float] * 4)
        there = [fractions.Fraction(v) for v in values if v is not None and math.isfinite(v)]
        n = len(there)
        self.assertEqual(count, n)
        exact = sum(there) / n
        m2, m3, m4 = (sum((v - exact)**k for v in there) / n for k in (2, 3, 4))
        a3 = sum(abs(v - exact)**3 for v in there) / n
        self.assertLessEqual(abs(fractions.Fraction(mean) - exact), sum(map(abs, there)) / n / 10**12)
        if n < 2 or m2 * n / (n - 1) > fractions.Fraction(1.7e308):
            return
        self.assertClose(variance, m2 * n / (n - 1))
        if m2 == 0:
            self.assertEqual((skewness, kurtosis), (None, None))
            return
        self.assertLessEqual(abs(fractions.Fraction(skewness) - m3 / m2 / root(m2)), a3 / m2 / root(m2) / 10**12)
        self.assertLessEqual(abs(fractions.Fraction(kurtosis) - (m4 / m2**2 - 3)), (m4 / m2**2 + 3) / 10**12)

    def test_against_fractions(self):
        dice = random.Random(111)
        for pieces in (1, 2, 9):
            for name, values in adversarial(dice, 600).items():
                with self.subTest(name, pieces=pieces):
                    self.check(values, pieces)
            self.check([1e9 + dice.random() for _ in range(600)], pieces)
            self.check([dice.randrange(-10**18, 10**18) for _ in range(300)], pieces, 'i')
            self.check([dice.choice((None, 0.0, 1.0)) for _ in range(600)], pieces)
            self.check(sorted(dice.gauss(0, 1) for _ in range(600)), pieces)

    def test_magnitudes(self):
        dice = random.Random(112)
        for values in ([1e-300, 3e-300, 7e-300], [1e300, 3e300, 7e300, 2e300], [5e-324, 0.0, 5e-324, 1e-323],
                       [1e-200, 3e-200, 1e200, 5e200], [1e200, 5e200, 1e-200, 3e-200], [0.0] * 5 + [1e-300, 1e-10, 1e150],
                       [1.7e308, -1.7e308], [7.0, 7.0 + 1e-12, 7.0], [1e308, 1.1e308, 1.2e308, 0.0]):
            for pieces in (1, 2, len(values)):
                with self.subTest(values, pieces=pieces):
                    self.check(values, pieces)
        for _ in range(40):
            self.check([dice.choice((-1, 1)) * 10.0**dice.uniform(-150, 150) for _ in range(20)], dice.choice((1, 4)))

    def test_by_hand(self):
        """2 4 4 4 5 5 7 9: mean 5, m2 4, m3 5.25, m4 44.5."""
        found = numbers(drive('moments', [(0, v) for v in (2, 4, 4, 4, 5, 5, 7, 9)], 'of=x:i')[0], [float] * 5)
        for value, expected in zip(found, (8, 5, 32 / 7, 0.65625, -0.21875)):
            self.assertClose(value, expected)

    def test_what_has_no_answer_is_null(self):
        self.assertEqual(drive('moments', [], 'of=x:f'), [['0'] + ['null'] * 4])
        self.assertEqual(drive('moments', [(0, 7)], 'of=x:i'), [['1', '7'] + ['null'] * 3])
        self.assertEqual(drive('moments', [(0, 7)] * 3, 'of=x:i'), [['3', '7', '0', 'null', 'null']])


class HoltWinters(Case):
    EVERY = 50  # seconds: the window ends with a bucket

    def forecast(self, values, m, alpha, beta, gamma, ahead):
        """Forecasting: principles and practice, 8.3; the beginning as the manual page says. None: missing."""
        filled = [next(v for v in reversed(values[:i + 1]) if v is not None) for i in range(2 * max(m, 1))]
        if m:
            one, two = statistics.fmean(filled[:m]), statistics.fmean(filled[m:2 * m])
            trend = (two - one) / m
            level = one + (m - 1) / 2 * trend
            season = [v - one - (i - (m - 1) / 2) * trend for i, v in enumerate(filled[:m])]
            rest = filled[m:] + values[2 * m:]
        else:
            level, trend, season, rest = filled[1], filled[1] - filled[0], None, values[2:]
        errors = []
        for t, y in enumerate(rest):
            s = season[t % m] if m else 0
            if y is None:
                level += trend
                continue
            errors.append(y - level - trend - s)
            new = alpha * (y - s) + (1 - alpha) * (level + trend)
            if m:
                season[t % m] = gamma * (y - level - trend) + (1 - gamma) * s
            trend = beta * (new - level) + (1 - beta) * trend
            level = new
        s = season[(len(rest) - 1 + ahead) % m] if m else 0
        rmse = math.sqrt(statistics.fmean(e * e for e in errors))
        return level + ahead * trend + s, rmse

    def variance(self, m, alpha, beta, gamma, ahead):
        """8.7: sigma^2 (1 + sum of c_j^2), c_j = alpha + alpha beta j + gamma where j is a multiple of m."""
        return 1 + math.fsum((alpha + alpha * beta * j + (gamma if m and j % m == 0 else 0))**2
                             for j in range(1, ahead))

    def rows(self, dice, values):
        """Up to 3 events a bucket, up to 14 buckets out of order; the last bucket ends with the window."""
        rows = []
        for i, v in enumerate(values):
            start = END - (len(values) - i) * self.EVERY
            parts = [] if v is None else [v] if i % 2 else [v - 1, v, v + 1]
            rows += [((start + dice.randrange(self.EVERY)) * S, part) for part in parts]
        return sorted(rows, key=lambda row: row[0] + dice.randrange(14 * self.EVERY) * S)

    def series(self, dice, n, m):
        return [50 + 0.1 * i + (8 * math.sin(2 * math.pi * i / m) if m else 0) + dice.gauss(0, 1) for i in range(n)]

    def test_against_the_recurrence(self):
        dice = random.Random(113)
        for m, n, ahead in ((0, 2 + 1, 1), (0, 200, 1), (0, 200, 30), (2, 40, 3), (12, 24, 1), (12, 100, 1), (12, 300, 40),
                            (7, 60, 7), (24, 60, 25)):
            for holes in (False, True):
                values = [v if not holes or i == 0 or i == n - 1 or dice.random() < 0.8 else None
                          for i, v in enumerate(self.series(dice, n, m))]
                found = numbers(drive('holt_winters', self.rows(dice, values), 'of=x:f', f'every={self.EVERY}s', f'season={m}',
                                      f'ahead={ahead}', 'alpha=0.4', 'beta=0.05', 'gamma=0.3', 'band=0.9')[0],
                                [float, float, float, int, float])
                forecast, rmse = self.forecast(values, m, 0.4, 0.05, 0.3, ahead)
                half = statistics.NormalDist().inv_cdf(0.95) * rmse * math.sqrt(self.variance(m, 0.4, 0.05, 0.3, ahead))
                for one, other in zip(found, (forecast, forecast - half, forecast + half, None, rmse)):
                    if other is not None:
                        self.assertClose(one, other, 1e-9)
                self.assertEqual(found[3], (END + (ahead - 1) * self.EVERY) * S)

    def test_as_statsmodels(self):
        """statsmodels 0.15 with these parameters, the beginning given: with a season ETSModel and the variances of its
        intervals, without one ExponentialSmoothing. (That has 31.645 for the last of the first season: its forecast of that
        one takes the season as it was before the last value.)"""
        values = [round(20 + i / 5 + 6 * math.sin(2 * math.pi * i / 6) + 3 * math.cos(i * i), 2) for i in range(40)]
        rows = [((END - (40 - i) * self.EVERY) * S, v) for i, v in enumerate(values)]
        forecasts = (25.650836550734034, 26.109686601539032, 29.521566460274435, 36.61270887206797, 36.431839296059366,
                     31.959749243631684, 27.445341216287527, 27.904191267092525)
        variances = 1, 1.1764, 1.37, 1.5816, 1.812, 2.062, 2.7344, 3.026
        options = 'of=x:f', f'every={self.EVERY}s', 'alpha=0.4', 'beta=0.05'
        for ahead, (forecast, variance) in enumerate(zip(forecasts, variances), 1):
            found = numbers(drive('holt_winters', rows, *options, 'season=6', 'gamma=0.3', f'ahead={ahead}')[0], [float] * 5)
            self.assertClose(found[0], forecast, 1e-9)
            self.assertClose(found[4], 3.1049522670928034, 1e-9)
            self.assertClose(found[2] - found[0], 1.959963984540054 * 3.1049522670928034 * math.sqrt(variance), 1e-9)
        for ahead, forecast in enumerate((33.12086554645263, 33.91978635876629, 34.71870717107994), 1):
            found = numbers(drive('holt_winters', rows, *options, f'ahead={ahead}')[0], [float] * 5)
            self.assertClose(found[0], forecast, 1e-9)
            self.assertClose(found[4], 6.963889385287913, 1e-9)

    def test_fitted_as_by_statsmodels(self):
        """What ExponentialSmoothing(...).fit() of statsmodels 0.15 finds for the same values, the beginning given."""
        values = [round(20 + i / 5 + 6 * math.sin(2 * math.pi * i / 6) + 3 * math.cos(i * i), 2) for i in range(40)]
        rows = [((END - (40 - i) * self.EVERY) * S, v) for i, v in enumerate(values)]
        for season, error, forecasts, smoothing in (
                (6, 2.7679663940304224, (26.102916328320724, 26.60739920941635, 29.449133111163825),
                 (0.09774356060586033, 0.03556167568924209, 0.481987404908815)),
                (0, 4.920741922466755, (30.848099407627288, 31.21619874987731, 31.584298092127334),
                 (0.9999999850988388, 0.09784729120383275, None))):
            for ahead, forecast in enumerate(forecasts, 1):
                found = numbers(drive('holt_winters', rows, 'of=x:f', f'every={self.EVERY}s', f'season={season}', 'fit=true',
                                      f'ahead={ahead}')[0], [float] * 8)
                self.assertClose(found[0], forecast, 1e-4)
                self.assertClose(found[4], error, 1e-6)
                for one, other in zip(found[5:], smoothing):
                    self.assertEqual(one is None, other is None)
                    self.assertLess(abs((one or 0) - (other or 0)), 1e-3)

    def test_fitted_to_the_newest_buckets_only(self):
        dice = random.Random(115)
        values = self.series(dice, 300, 7)
        options = 'of=x:f', f'every={self.EVERY}s', 'season=7', 'fit=true', 'history=100'
        for holes in ((), (200, 201, 230, 299)):
            there = [None if i in holes else v for i, v in enumerate(values)]
            begin = 202 if holes else 200
            self.assertEqual(drive('holt_winters', self.rows(dice, there), *options),
                             drive('holt_winters', self.rows(dice, there[begin:]), *options))

    def test_too_few_errors_to_fit_to(self):
        values = self.series(random.Random(116), 17, 4)
        rows = self.rows(random.Random(117), values)
        options = 'of=x:f', f'every={self.EVERY}s', 'season=4'
        self.assertEqual(drive('holt_winters', rows[:len(rows) // 2], *options, 'fit=true'),
                         drive('holt_winters', rows[:len(rows) // 2], *options))
        self.assertNotEqual(drive('holt_winters', rows, *options, 'fit=true'), drive('holt_winters', rows, *options))

    def test_what_cannot_be_fitted_is_refused(self):
        for options, said in ((('history=50',), 'history is of use only with fit'),
                              (('fit=true', 'season=24', 'history=71'), 'history has to be three seasons at least')):
            self.assertIn(said, drive('holt_winters', [], 'of=x:f', *options, fails=True))

    def test_sums_and_counts_of_buckets(self):
        dice = random.Random(114)
        rows = [((END - 6000 + dice.randrange(6000)) * S, dice.randrange(10)) for _ in range(500)] + [((END - 6000) * S, 1)]
        rows.sort()
        for value, count in (('sum', lambda vs: sum(vs)), ('count', len)):
            values = [float(count([v for t, v in rows if t // S // 60 == k])) for k in range((END - 6000) // 60, END // 60)]
            self.assertEqual(END % 60, 40)
            found = drive('holt_winters', rows, 'of=x:i', 'every=60s', f'value={value}')[0]
            self.assertClose(float(found[0]), self.forecast(values, 0, 0.3, 0.1, 0.2, 1)[0], 1e-9)

    def test_too_few_buckets_are_null(self):
        self.assertEqual(drive('holt_winters', [((END - 60) * S, 5)], 'of=x:i', 'every=60s'), [['null'] * 8])
        self.assertIn('season has to be 0', drive('holt_winters', [], 'of=x:i', 'season=1', fails=True))


if __name__ == '__main__':
    unittest.main()
