# SPDX-License-Identifier: Apache-2.0
"""Analyzers of what users do, and those that keep rows or count values, over a restart, against plain Python."""

import collections
import json
import math
import random
import statistics
import unittest

import harness

HOUR = 3600000
T0 = 172800000 * 9838  # begins a window
CONFIG = '''
server: {listen: {listen}, database: {folder}/weir.db}
streams:
  clicks:
    time: {field: ts, unit: ms}
    fields: {country: string, user: int, action: string, ms: float}
pipelines:
  clicks_2d:
    from: clicks
    key: [country]
    window: {tumbling: 2d}
    out_of_orderness: 1h
    idle_timeout: 1h
    workers: 2
    analyzers:
      - mad: {of: ms, sample: 10000}
      - mode: {of: action}
      - entropy: {of: action}
      - collect: {of: action, limit: 20, keep: last}
      - sample: {of: ms, k: 5}
      - funnel: {step: action, steps: view > cart > paid, by: user, within: 30m}
      - path: {of: action, by: user, k: 100}
      - retention: {by: user, period: 6h}
      - trending: {of: action, recent: 1h, baseline: 6h}
'''


def make_events(n=9000):
    dice = random.Random(19)
    events = []
    for i in range(n):
        hours = i / n * 48
        weights = (6, 2, 1, 1 if hours < 95.5 / 2 else 30)
        events.append({'ts': T0 + int(hours * HOUR) + dice.randrange(1000), 'country': dice.choice('DEF'),
                       'user': int(dice.paretovariate(0.6)) % 500, 'ms': round(dice.lognormvariate(3, 1), 3),
                       'action': dice.choices(('view', 'cart', 'paid', 'help'), weights)[0]})
    return sorted(events, key=lambda e: e['ts'] + dice.randrange(HOUR // 2))


class Behaviour(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = harness.Server.for_class(cls, CONFIG)
        events = make_events()
        for i in range(0, len(events), 1000):
            if i == 5000:
                cls.server.restart()
            cls.server.post_ok('clicks', events[i:i + 1000])
        cls.server.post_ok('clicks', [{'ts': T0 + 60 * HOUR, 'country': '~'}])
        cls.server.wait_watermark('clicks_2d', (T0 + 59 * HOUR) * 1000)
        cls.countries = collections.defaultdict(list)
        for e in sorted(events, key=lambda e: e['ts']):
            cls.countries[e['country']].append(e)

    def rows(self, table, columns, order='rank'):
        found = collections.defaultdict(list)
        for country, *row in self.server.rows(f"SELECT country, {columns} FROM {table} WHERE country <> '~' "
                                              f'AND window_start = ? ORDER BY country, {order}', T0 * 1000):
            found[country].append(tuple(row))
        return found

    def users(self, group):
        users = collections.defaultdict(list)
        for e in group:
            users[e['user']].append(e)
        return users.values()

    def test_numbers_and_values(self):
        found = self.rows('clicks_2d', 'ms_median, ms_mad, ms_mad_error, action_mode, action_mode_count, action_entropy, '
                          'action_list, action_list_more', '1')
        self.assertEqual(found.keys(), self.countries.keys())
        for country, group in self.countries.items():
            values = [e['ms'] for e in group]
            median = statistics.median(values)
            counts = collections.Counter(e['action'] for e in group)
            (row,) = found[country]
            self.assertEqual(row[:5], (median, statistics.median(abs(v - median) for v in values), 0,
                                       *counts.most_common(1)[0]))
            self.assertTrue(math.isclose(row[5], sum(c / len(group) * math.log2(len(group) / c) for c in counts.values())))
            self.assertEqual(json.loads(row[6]), [e['action'] for e in group[-20:]])
            self.assertEqual(row[7], len(group) - 20)

    def test_a_sample_is_of_the_rows(self):
        for country, rows in self.rows('clicks_2d_sample', 'ms, ms_time, ms_of').items():
            there = {(e['ms'], e['ts'] * 1000, len(self.countries[country])) for e in self.countries[country]}
            self.assertEqual(len(set(rows)), 5)
            self.assertLessEqual(set(rows), there)
            self.assertEqual(rows, sorted(rows, key=lambda row: row[1]))

    def test_funnels(self):
        found = self.rows('clicks_2d_funnel', 'step, users, part')
        for country, group in self.countries.items():
            reached = [0, 0, 0]
            for user in self.users(group):
                best = 0
                for i, first in enumerate(user):
                    level = 0
                    for e in user[i:]:
                        if level < 3 and e['action'] == ('view', 'cart', 'paid')[level] and e['ts'] - first['ts'] <= HOUR // 2:
                            level += 1
                        elif level == 0:
                            break
                    best = max(best, level)
                for k in range(best):
                    reached[k] += 1
            self.assertEqual(found[country], [(step, n, 1.0) for step, n in zip(('view', 'cart', 'paid'), reached)])

    def test_paths(self):
        found = self.rows('clicks_2d_path', 'action_from, action_to, action_count')
        for country, group in self.countries.items():
            steps = collections.Counter((a['action'], b['action']) for user in self.users(group)
                                        for a, b in zip(user, user[1:]))
            self.assertEqual(found[country], [(*step, n) for step, n in sorted(steps.items(), key=lambda s: (-s[1], s[0]))])

    def test_retention(self):
        found = self.rows('clicks_2d_retention', 'cohort, age, users')
        for country, group in self.countries.items():
            cohorts = collections.Counter()
            for user in self.users(group):
                periods = {e['ts'] // (6 * HOUR) for e in user}
                cohorts.update((min(periods), p - min(periods)) for p in periods)
            self.assertEqual(found[country], [(first * 6 * HOUR * 1000, age, n)
                                              for (first, age), n in sorted(cohorts.items())])

    def test_trends(self):
        """`help` comes 15 times as often in the last half hour."""
        found = self.rows('clicks_2d_trending', 'action, action_score')
        for country, group in self.countries.items():
            newest = max(e['ts'] for e in group)
            age = newest - min(e['ts'] for e in group)
            fast, slow = (math.fsum(0.5**((newest - e['ts']) / (h * HOUR)) for e in group if e['action'] == 'help')
                          for h in (1, 6))
            usual = slow * (1 - 0.5**(age / HOUR)) / 6 / (1 - 0.5**(age / 6 / HOUR))
            action, score = found[country][0]
            self.assertEqual(action, 'help', country)
            self.assertTrue(math.isclose(score, (fast - usual) / math.sqrt(usual / 2 + 1), rel_tol=1e-9))


if __name__ == '__main__':
    harness.main()
