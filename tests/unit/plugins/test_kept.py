# SPDX-License-Identifier: Apache-2.0
"""Analyzers that keep rows or count values, against plain Python over all of the rows."""

import collections
import fractions
import itertools
import json
import math
import random
import statistics
import unittest

from test_series import S, Case, in_order, shuffled
from test_values import adversarial, drive, numbers


def counted(values):
    return collections.Counter(v for v in values if v not in (None, 'merge'))


def rows_of(values):
    return [v if v == 'merge' else (0, v) for v in values]


class Mode(Case):
    def test_exact(self):
        dice = random.Random(200)
        for kind, read, make in (('s', str, lambda: 'é' * dice.randrange(9)), ('i', int, lambda: dice.randrange(-4, 4))):
            for n in (0, 1, 5, 2000):
                values = [dice.choice((None, make(), make())) for _ in range(n)]
                values.insert(n // 2, 'merge')
                counts = counted(values)
                best = min(counts, key=lambda v: (-counts[v], v.encode() if kind == 's' else v)) if counts else None
                self.assertEqual(numbers(drive('mode', rows_of(values), f'of=x:{kind}')[0], [read, int, int]),
                                 [best, counts[best], 0] if counts else [None] * 3)

    def test_bounds(self):
        dice = random.Random(201)
        values = [int(dice.paretovariate(0.5)) for _ in range(5000)]
        (value, count, error), = drive('mode', rows_of(values), 'of=x:i', 'capacity=50')
        true = values.count(int(value))
        self.assertEqual(int(value), counted(values).most_common(1)[0][0])
        self.assertTrue(int(count) - int(error) <= true <= int(count))


class Entropy(Case):
    def exact(self, values):
        counts = counted(values).values()
        n = sum(counts)
        return math.fsum(c / n * math.log2(n / c) for c in counts)

    def test_exact(self):
        dice = random.Random(202)
        for n in (1, 2, 50, 3000):
            for make in (lambda: 'same', lambda: f'v{dice.randrange(900)}', lambda: f'v{int(dice.paretovariate(1)) % 99}'):
                values = [dice.choice((None, make(), make())) for _ in range(n)] + ['end']
                values.insert(n // 2, 'merge')
                entropy, error, perplexity = map(float, drive('entropy', rows_of(values), 'of=x:s')[0])
                self.assertTrue(math.isclose(entropy, self.exact(values), rel_tol=1e-12, abs_tol=1e-12))
                self.assertTrue(math.isclose(perplexity, 2**self.exact(values), rel_tol=1e-12))
                self.assertEqual(error, 0)

    def test_by_hand(self):
        """Shannon: four symbols of 1/2, 1/4, 1/8, 1/8 have 7/4 bits."""
        self.assertEqual(drive('entropy', rows_of('aaaabbcd'), 'of=x:s')[0][:2], ['1.75', '0'])
        self.assertEqual(drive('entropy', [], 'of=x:s'), [['null'] * 3])

    def test_bounds_hold_beyond_the_capacity(self):
        dice = random.Random(203)
        for pieces in (0, 4):
            for make in (lambda: dice.randrange(3000), lambda: int(dice.paretovariate(0.4)), lambda: int(dice.paretovariate(1.5))):
                values = [make() for _ in range(4000)]
                true = self.exact(values)
                for _ in range(pieces):
                    values.insert(dice.randrange(len(values)), 'merge')
                entropy, error, _ = map(float, drive('entropy', rows_of(values), 'of=x:i', 'capacity=40')[0])
                self.assertGreater(error, 0)
                self.assertLessEqual(entropy, true + 1e-9)
                self.assertGreaterEqual(entropy + error, true - 1e-9)


class Mad(Case):
    def test_exact(self):
        dice = random.Random(204)
        for name, values in adversarial(dice, 999).items():
            for values in (values, values[:500], values[:1]):
                there = [v for v in values if math.isfinite(v)]
                rows = rows_of(values)
                rows.insert(len(rows) // 3, 'merge')
                found = numbers(drive('mad', rows, 'of=x:f')[0], [float] * 3)
                if not there:
                    self.assertEqual(found, [None] * 3)
                    continue
                middle = float(statistics.median(map(fractions.Fraction, there)))
                far = [abs(v - middle) for v in there]
                deviation = float(statistics.median(map(fractions.Fraction, far))) if max(far) < math.inf else found[1]
                self.assertEqual(found, [middle, deviation, 0], name)

    def test_by_hand(self):
        """1 1 2 2 4 6 9: the median is 2, distances are 1 1 0 0 2 4 7, their median is 1."""
        self.assertEqual(drive('mad', rows_of([1, 1, 2, 2, 4, 6, 9]), 'of=x:i'), [['2', '1', '0']])

    def test_of_a_sample_the_rank_is_within_the_bound(self):
        dice = random.Random(205)
        misses = 0
        for _ in range(40):
            values = [dice.lognormvariate(0, 2) for _ in range(3000)]
            median, _, error = map(float, drive('mad', rows_of(values), 'of=x:f', 'sample=100')[0])
            self.assertTrue(math.isclose(error, math.sqrt(math.log(200) / 200)))
            misses += abs(sum(v <= median for v in values) / 3000 - 0.5) > error
        self.assertLessEqual(misses, 3)


class Sample(Case):
    def sample(self, values, k, kind='i'):
        return drive('sample', [v if v == 'merge' else (i, v) for i, v in enumerate(values)], f'of=x:{kind}', f'k={k}')

    def test_all_of_few_in_the_order_of_time(self):
        self.assertEqual(self.sample([5, None, 7, 5], 10), [['5', '0', '3'], ['7', '2', '3'], ['5', '3', '3']])
        self.assertEqual(self.sample(['a', '', 'é' * 300], 3, 's'), [['a', '0', '3'], ['', '1', '3'], ['é' * 256, '2', '3']])
        self.assertEqual(self.sample([], 3), [])

    def test_every_row_has_the_same_chance(self):
        """Of 4,000 rows 1,000: each quarter of the log has 250, standard deviation 11.9; a replay has the same ones."""
        found = self.sample(list(range(4000)), 1000)
        self.assertEqual(found, self.sample(list(range(4000)), 1000))
        self.assertEqual(len({row[0] for row in found}), 1000)
        self.assertEqual({row[2] for row in found}, {'4000'})
        quarters = collections.Counter(int(row[0]) // 1000 for row in found)
        for quarter in range(4):
            self.assertLess(abs(quarters[quarter] - 250), 5 * 11.9)
        self.assertLess(abs(sum(int(row[0]) % 2 for row in found) - 500), 5 * 13.7)


class Collect(Case):
    def test_every_type(self):
        dice = random.Random(206)
        kinds = {'i': lambda: dice.randrange(-2**63, 2**63), 'f': lambda: dice.lognormvariate(0, 50),
                 'b': lambda: dice.randrange(2), 't': lambda: dice.randrange(10**15),
                 's': lambda: dice.choice(('', 'é', '"quoted"', 'back\\slash', '\x01\x1f', '😀' * 9))}
        for kind, make in kinds.items():
            for n, limit, keep in itertools.product((0, 1, 99, 250), (1, 100), ('first', 'last')):
                rows = shuffled(dice, n, lambda: dice.choice((None, make())), 3)
                values = [v for _, v in in_order(rows)]
                kept = values[:limit] if keep == 'first' else values[len(values) - min(limit, len(values)):]
                (text, more), = drive('collect', rows, f'of=x:{kind}', f'limit={limit}', f'keep={keep}')
                self.assertEqual(json.loads(text), kept)
                self.assertEqual(int(more), len(values) - len(kept))

    def test_what_json_has_no_word_for(self):
        rows = [(0, math.inf), (1, 0.1), (2, 1e300)]
        self.assertEqual(drive('collect', rows, 'of=x:f'), [['[null,0.1,1e+300]', '0']])


def by_user(rows):
    """[(time, what)] of each user, in order."""
    users = collections.defaultdict(list)
    for n, row in enumerate(row for row in rows if row != 'merge'):
        if row[1] is not None and row[2] is not None:
            users[row[2]].append((row[0], n, row[1]))
    return {user: [(t, what) for t, _, what in sorted(there, key=lambda row: row[:2])] for user, there in users.items()}


class Funnel(Case):
    def furthest(self, there, steps, within):
        """By trying every first step; `steps` have different names. The number of steps."""
        best = 0
        for i, (start, what) in enumerate(there):
            if what != steps[0]:
                continue
            level = 1
            for t, what in there[i + 1:]:
                if level < len(steps) and what == steps[level] and t - start <= within:
                    level += 1
            best = max(best, level)
        return best

    def make(self, dice, n, users, words, pieces=3):
        rows = [(dice.randrange(20 * n // users + 1) * S, dice.choice((None, *words)), dice.choice((None, *range(users))))
                for _ in range(n)]
        for _ in range(1, pieces):
            rows.insert(dice.randrange(n + 1), 'merge')
        return rows

    def test_against_every_chain(self):
        dice = random.Random(207)
        words = 'view', 'cart', 'paid', 'other'
        for n, users, within in ((5, 1, 50), (60, 3, 20), (3000, 200, 40), (3000, 200, 100000)):
            rows = self.make(dice, n, users, words)
            reached = [self.furthest(there, words[:3], within * S) for there in by_user(rows).values()]
            found = drive('funnel', rows, 'step=x:s', 'by=y:i', 'steps=view > cart>paid', f'within={within}s')
            self.assertEqual([(row[0], int(row[1])) for row in found],
                             [(word, sum(r > k for r in reached)) for k, word in enumerate(words[:3])])
            self.assertEqual({row[4] for row in found}, {'1'})
            for row in found:
                self.assertEqual(row[2], 'null') if found[0][1] == '0' else self.assertEqual(
                    float(row[2]), int(row[1]) / int(found[0][1]))

    def test_times_between_steps(self):
        """a: 10 s and 5 s; b: 20 s, then too late; c: 40 s from its second view."""
        rows = [(0, 'view', 1), (10 * S, 'cart', 1), (15 * S, 'paid', 1), (0, 'view', 2), (20 * S, 'cart', 2),
                (90 * S, 'paid', 2), (0, 'view', 3), (50 * S, 'view', 3), (90 * S, 'cart', 3), (0, 'cart', 4)]
        options = 'step=x:s', 'by=y:i', 'steps=view > cart > paid', 'within=60s'
        self.assertEqual(drive('funnel', rows, *options), [
            ['view', '3', '1', 'null', '1'], ['cart', '3', '1', '20', '1'],
            ['paid', '1', '0.33333333333333331', '5', '1']])

    def test_a_step_twice_needs_two_events(self):
        options = 'step=x:s', 'steps=view > view > paid'
        self.assertEqual([row[1] for row in drive('funnel', [(0, 'view'), (1, 'paid')], *options)], ['1', '0', '0'])
        self.assertEqual([row[1] for row in drive('funnel', [(0, 'view'), (1, 'view'), (2, 'paid')], *options)],
                         ['1', '1', '1'])

    def test_of_too_many_a_sample_of_users(self):
        """800 of 1,000 users get to the second step, 200 to the third: of some 300 users within 15 %."""
        rows = []
        for user in range(1000):
            rows += [(0, 'view', user)] + [(S, 'cart', user)] * (user % 5 > 0) + [(2 * S, 'paid', user)] * (user % 5 == 1)
        random.Random(208).shuffle(rows)
        found = drive('funnel', rows, 'step=x:s', 'by=y:i', 'steps=view > cart > paid', 'events=600')
        self.assertTrue(0.2 < float(found[0][4]) < 0.4)
        for row, expected in zip(found, (1000, 800, 200)):
            self.assertLess(abs(int(row[1]) - expected), 0.15 * 1000)

    def test_what_is_no_funnel_is_refused(self):
        for steps in ('', 'view', 'view >', 'a > > b', ' > '.join('abcdefghijklmnopq')):
            self.assertIn('is not 2 to 16 names', drive('funnel', [], 'step=x:s', f'steps={steps}', fails=True))


class Path(Case):
    def check(self, rows, kind, k=1000, **parameters):
        steps = collections.Counter()
        for there in by_user(rows).values():
            steps.update(zip([v for _, v in there], [v for _, v in there][1:]))
        out = collections.Counter()
        for (a, _), n in steps.items():
            out[a] += n
        order = sorted(steps, key=lambda s: (-steps[s], *(v.encode() if kind == 's' else v for v in s)))
        expected = [[*step, steps[step], steps[step] / out[step[0]]] for step in order[:k]]
        read = str if kind == 's' else int
        found = drive('path', rows, f'of=x:{kind}', 'by=y:i', f'k={k}', *(f'{n}={v}' for n, v in parameters.items()))
        self.assertEqual([numbers(row, [read, read, int, float]) for row in found], expected)

    def test_all_steps_of_all_users(self):
        dice = random.Random(209)
        for n, users in ((0, 1), (1, 1), (10, 1), (3000, 50)):
            for kind, words in (('s', ('/', '/home', '', 'é')), ('i', range(-3, 3))):
                rows = [(dice.randrange(n + 1) * S, dice.choice((None, *words)), dice.choice((None, *range(users))))
                        for _ in range(n)]
                for _ in range(3):
                    rows.insert(dice.randrange(len(rows) + 1), 'merge')
                self.check(rows, kind)
                self.check(rows, kind, 3)

    def test_of_too_many_a_sample_of_users(self):
        """Each user goes a, b, and every second one on to c: of some 300 of 1,000 users within 15 %."""
        rows = []
        for user in range(1000):
            rows += [(0, 'a', user), (S, 'b', user)] + [(2 * S, 'c', user)] * (user % 2)
        random.Random(210).shuffle(rows)
        found = drive('path', rows, 'of=x:s', 'by=y:i', 'events=700')
        self.assertEqual([row[:2] for row in found], [['a', 'b'], ['b', 'c']])
        for row, expected in zip(found, (1000, 500)):
            self.assertLess(abs(int(row[2]) - expected), 150)

    def test_without_users_the_group_is_one(self):
        rows = [(3, 'c'), (1, 'a'), (2, 'b'), (4, 'a'), (5, 'b')]
        self.assertEqual(drive('path', rows, 'of=x:s', 'k=1'), [['a', 'b', '2', '1']])


class Retention(Case):
    def expected(self, rows, period):
        came = collections.defaultdict(set)
        for t, user in (row for row in rows if row != 'merge'):
            if user is not None:
                came[user].add(t // period)
        cohorts = collections.defaultdict(collections.Counter)
        for periods in came.values():
            first = min(periods)
            cohorts[first].update(p - first for p in periods if p - first < 64)
        return [[cohort * period, age, cohorts[cohort][age], cohorts[cohort][age] / cohorts[cohort][0], 1]
                for cohort in sorted(cohorts)[-1000:] for age in sorted(cohorts[cohort])]

    def test_cohorts(self):
        dice = random.Random(211)
        for n, users, periods in ((0, 1, 1), (1, 1, 1), (3000, 300, 20), (3000, 40, 90), (3000, 2500, 3000)):
            for kind, make in (('i', lambda: dice.randrange(-users, 0)), ('s', lambda: f'u{dice.randrange(users)}')):
                rows = [(dice.randrange(-periods * 3600, periods * 3600) * S // 2, dice.choice((None, make(), make())))
                        for _ in range(n)]
                for _ in range(4):
                    rows.insert(dice.randrange(len(rows) + 1), 'merge')
                found = drive('retention', rows, f'by=x:{kind}', 'period=1h')
                self.assertEqual([numbers(row, [int, int, int, float, float]) for row in found],
                                 self.expected(rows, 3600 * S))

    def test_of_too_many_a_sample_of_users(self):
        """20,000 users, half of them come again: of 400 within 20 %; merged states agree with folding."""
        rows = [(0, user) for user in range(20000)] + [(S, user) for user in range(10000)]
        found = drive('retention', rows, 'by=x:i', 'period=1s', 'users=400')
        self.assertEqual([row[:2] for row in found], [['0', '0'], ['0', '1']])
        self.assertLess(abs(int(found[0][2]) - 20000), 4000)
        self.assertLess(abs(float(found[1][3]) - 0.5), 0.1)
        dice = random.Random(212)
        for _ in range(3):
            dice.shuffle(rows)
            pieces = rows[:]
            for _ in range(5):
                pieces.insert(dice.randrange(len(pieces)), 'merge')
            self.assertEqual(drive('retention', pieces, 'by=x:i', 'period=1s', 'users=400'), found)


class Trending(Case):
    def expected(self, rows, recent, baseline):
        there = [(t / S, v) for t, v in (row for row in rows if row != 'merge') if v is not None]
        newest, age = max(t for t, _ in there), max(t for t, _ in there) - min(t for t, _ in there)
        found = []
        for value in {v for _, v in there}:
            fast = math.fsum(0.5**((newest - t) / recent) for t, v in there if v == value)
            slow = math.fsum(0.5**((newest - t) / baseline) for t, v in there if v == value)
            usual = slow * recent * (1 - 0.5**(age / recent)) / (baseline * (1 - 0.5**(age / baseline)))
            score = (fast - usual) / math.sqrt(usual / 2 + 1)
            if score > 1e-9:
                found.append((value, score, fast, usual))
        return sorted(found, key=lambda row: -row[1])

    def test_scores(self):
        dice = random.Random(213)
        for kind, read, words in (('s', str, ('', 'é', 'a', 'b', 'c', 'd')), ('i', int, range(-3, 3))):
            rows = shuffled(dice, 2000, lambda: dice.choice((None, *words)), 4) + [
                (dice.randrange(1990, 2000) * S, words[2]) for _ in range(30)]
            expected = self.expected(rows, 20, 300)
            found = drive('trending', rows, f'of=x:{kind}', 'recent=20s', 'baseline=5m')
            self.assertEqual(len(found), len(expected))
            self.assertEqual(found[0][0], str(words[2]))
            self.assertGreater(float(found[0][1]), 5)
            for row, other in zip(found, expected):
                row = numbers(row, [read, float, float, float])
                self.assertEqual(row[0], other[0])
                for one, two in zip(row[1:], other[1:]):
                    self.assertTrue(math.isclose(one, two, rel_tol=1e-9))

    def test_steady_values_are_no_trend(self):
        rows = [(i * S, i % 7) for i in range(3000)]
        self.assertTrue(all(float(row[1]) < 0.5 for row in drive('trending', rows, 'of=x:i', 'recent=1m')))

    def test_frequent_values_are_followed_beyond_the_capacity(self):
        """A value that comes every second row, and later another one, among 3,000 that come once."""
        rows = [(i * S, 0 if i < 2000 else 1) if i % 2 else (i * S, i + 10) for i in range(6000)]
        found = drive('trending', rows, 'of=x:i', 'capacity=50', 'recent=1m', 'baseline=1h', 'k=1')
        self.assertEqual(found[0][0], '1')
        (_, score, recent, usual), = [row for row in self.expected(rows, 60, 3600) if row[0] == 1]
        self.assertTrue(math.isclose(float(found[0][1]), score, rel_tol=1e-9))


if __name__ == '__main__':
    unittest.main()
