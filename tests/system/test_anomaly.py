# SPDX-License-Identifier: Apache-2.0
"""The analyzer anomaly, a row for each event: against a plain Python model that forgets nothing it need not, and on series
of which everybody can see what is unusual."""

import csv
import io
import math
import os
import random
import subprocess
import sys
import unittest

import harness

sys.path.insert(0, os.path.join(harness.SOURCE, 'bench', 'nab'))
import score  # noqa: E402

STEP_S = 300
DAY = 86400 // STEP_S  # rows
CONFIG = '''
server: {database: {folder}/weir.db}
streams:
  metrics:
    time: {field: ts, unit: s}
    fields: {series: string, value: float}
pipelines:
  scored:
    from: metrics
    key: [series]
    window: {count: 1, running: true}
    workers: 2
    analyzers: [{anomaly: {of: value}}, {last: {of: value}}]
  strict:
    from: metrics
    key: [series]
    window: {count: 1, running: true}
    analyzers: [{anomaly: {of: value, season: 0s, sensitivity: 0.5}}]
'''


class Known:
    """Values seen in the last 3,000 rows; those closer than 1/256 of the range are one."""

    def __init__(self):
        self.seen = {}  # value to row

    def distance(self, x, now):
        for v in [v for v, row in self.seen.items() if now - row > 3000]:
            del self.seen[v]
        if not self.seen:
            self.seen[x] = now
            return 0
        extent = max(self.seen) - min(self.seen)
        nearest = min(self.seen, key=lambda v: (abs(v - x), v < x))
        distance = abs(nearest - x)
        if distance == 0 or distance < extent / 256:
            self.seen[nearest] = now
            return distance / extent if extent else 0
        self.seen[x] = now
        if len(self.seen) == 264:
            self.thin()
        return distance / extent if distance < extent else 1

    def thin(self):
        values = sorted(self.seen)
        part = (values[-1] - values[0]) / 256
        kept = [values[0]]
        rows = [self.seen[values[0]]]
        for v in values[1:]:
            last = v == values[-1]
            if v - kept[-1] >= part or (last and len(kept) == 1):
                kept.append(v)
                rows.append(self.seen[v])
                continue
            rows[-1] = max(rows[-1], self.seen[v])
            if last:
                kept[-1] = v
        self.seen = dict(zip(kept, rows))


class Model:
    def __init__(self, season_s=86400, sensitivity=1.0):
        self.season_s, self.sensitivity = season_s, sensitivity
        self.values, self.known, self.rest_known = [], [Known() for _ in range(6)], Known()
        self.phases, self.error, self.rest, self.slow, self.time = {}, 0, 0, 0, None
        self.step, self.run, self.runs, self.told, self.silent = 0, 0, [], False, 0

    def season(self, x, t, now):
        phase, cycle = int(t % self.season_s / self.season_s * 48), t // self.season_s
        p = self.phases.setdefault(phase, {'mean': 0, 'rows': [], 'cycle': cycle, 'cycles': 0})
        if p['rows'] and p['cycle'] != cycle:
            p['cycles'] = min(p['cycles'] + 1, 5)
            p['mean'] += (sum(p['rows']) / len(p['rows']) - p['mean']) / p['cycles']
            p['rows'] = []
        p['cycle'] = cycle
        unusual = expected = None
        if p['cycles']:
            rest = x - p['mean']
            self.error += (abs(x - self.slow) - self.error) / 3000
            self.rest += (abs(rest) - self.rest) / 3000
            distance = self.rest_known.distance(rest, now)
            if p['cycles'] >= 2 and self.rest < 0.7 * self.error:
                unusual, expected = distance / 0.05, p['mean']
        passed = max(t - self.time, 0) if now else 0
        self.slow += (x - self.slow) * max(1 - math.exp(-passed / (5 * self.season_s)), 1 / (now + 1))
        p['rows'].append(x)
        return unusual, expected

    def still(self, size, now):
        unusual = 0
        if size > self.step:
            self.runs.append(self.run)
            self.run, self.told = 0, False
        else:
            self.run += 1
            if sum(r > 1 for r in self.runs) >= 5 and not self.told and self.run // 2 > max(self.runs):
                self.told, unusual = True, 2
        self.step += (size - self.step) / min(now, 3000)
        return unusual

    def take(self, x, t):
        """(score, verdict, expected)"""
        now, before = len(self.values), self.values[-12:]
        self.values.append(x)
        last = self.values[-12:]
        mean = sum(last) / len(last)
        spread = math.sqrt(sum((v - mean)**2 for v in last) / len(last))
        step = x - before[-1] if before else 0
        features = (x, step, mean, spread, min(last), max(last))
        distances = [k.distance(f, now) for k, f in zip(self.known, features)]
        unusual = (sum(map(math.sqrt, distances)) / 6)**2 / 0.011
        expected = sum(before) / len(before) if before else x
        if now:
            unusual = max(unusual, self.still(abs(step), now))
        if self.season_s:
            seasonal, mean = self.season(x, t, now)
            if seasonal is not None:
                unusual, expected = max(unusual, seasonal), mean
        self.time = t
        unusual *= self.sensitivity
        verdict = unusual > 1 and now >= 100 and not self.silent
        self.silent = 12 if verdict else max(self.silent - 1, 0)
        return unusual / (1 + unusual), verdict, expected


def series():
    """Name to [(time, value)]; times begin a day."""
    dice = random.Random(5)
    times = [19700 * 86400 + STEP_S * i for i in range(12 * DAY)]
    day = [50 + 30 * math.sin(2 * math.pi * t / 86400) + dice.gauss(0, 1) for t in times]
    jump = [(80 if 9 <= t % 86400 / 3600 < 18 else 20) + dice.random() for t in times]
    noise = [dice.gauss(10, 1) for _ in times]
    found = {
        'day': day,
        'spike': [90.0 if i == 2000 else v for i, v in enumerate(noise)],
        'no jump': [v - 60 if i // DAY == 9 and v > 50 else v for i, v in enumerate(jump)],
        'constant': [7.0] * len(times),
        'trend': [0.1 * i + dice.gauss(0, 1) for i in range(len(times))],
        'stuck': [noise[2000] if 2000 <= i < 2100 else v for i, v in enumerate(noise)],
        'level': [v + (30 if i >= 1500 else 0) for i, v in enumerate(noise)],
        'words': [float(dice.choice((1, 2, 3, 50))) for _ in times],
        'tiny': [5e-324 * (1 + i % 601) for i in range(len(times))],
        'walk': [0.0] * len(times)}
    for i in range(1, len(times)):
        found['walk'][i] = found['walk'][i - 1] + dice.gauss(0, 1) * (4 if 2200 < i < 2300 else 1)
    return {name: list(zip(times, values)) for name, values in found.items()}


class Anomaly(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = harness.tempfile.mkdtemp(prefix='weir-test-')
        cls.addClassCleanup(harness.shutil.rmtree, folder, ignore_errors=True)
        cls.series = series()
        config, events = os.path.join(folder, 'weir.yaml'), os.path.join(folder, 'metrics.csv')
        with open(config, 'w', encoding='utf-8') as file:
            file.write(CONFIG.replace('{folder}', folder))
        text = io.StringIO()
        out = csv.writer(text)
        out.writerow(('ts', 'series', 'value'))
        for rows in zip(*([(t, name, v) for t, v in points] for name, points in cls.series.items())):
            out.writerows(rows)
        with open(events, 'w', encoding='utf-8') as file:
            file.write(text.getvalue())
        done = harness.weir('run', '-c', config, '--stream', 'metrics', events)
        assert done.returncode == 0, done.stderr
        cls.database = os.path.join(folder, 'weir.db')

    def rows(self, columns, name, table='scored'):
        return harness.read_rows(self.database, f'SELECT {columns} FROM {table} WHERE series = ? ORDER BY number', name)

    def verdicts(self, name):
        """Rows of the series with one, from 0."""
        return [n - 1 for n, verdict in self.rows('number, value_anomaly', name) if verdict]

    def test_scores_and_verdicts_equal_those_of_the_model(self):
        for table, name in (('scored', 'day'), ('scored', 'no jump'), ('scored', 'walk'), ('scored', 'stuck'),
                            ('strict', 'day')):
            with self.subTest(table=table, name=name):
                points, anomalies = self.series[name], 0
                m = Model() if table == 'scored' else Model(0, 0.5)
                found = self.rows('window_start, value_score, value_anomaly, value_expected, value_anomalies', name, table)
                self.assertEqual(len(found), len(points))
                for (t, v), row in zip(points, found):
                    score, verdict, expected = m.take(v, t)
                    anomalies += verdict
                    self.assertEqual((row[0], row[2], row[4]), (t * 1000000, verdict, anomalies))
                    self.assertTrue(math.isclose(row[1], score, rel_tol=1e-6, abs_tol=1e-9), (row, score))
                    self.assertTrue(math.isclose(row[3], expected, rel_tol=1e-9, abs_tol=1e-9), (row, expected))

    def test_values_as_small_as_there_are(self):
        """The parts of their range are rounded to the distance between two of them."""
        self.assertEqual(len(self.rows('number', 'tiny')), len(self.series['tiny']))

    def test_what_is_unusual_is_found_with_the_row_itself(self):
        self.assertIn(2000, self.verdicts('spike'))
        self.assertIn(1500, self.verdicts('level'))
        missing = 9 * DAY + 9 * 3600 // STEP_S
        self.assertTrue(set(self.verdicts('no jump')) & set(range(missing, missing + 7)))
        self.assertTrue(set(self.verdicts('stuck')) & set(range(2000, 2100)))
        self.assertTrue(set(self.verdicts('walk')) & set(range(2200, 2300)))

    def test_what_is_as_usual_is_not(self):
        self.assertEqual(self.verdicts('constant'), [])
        for name in ('day', 'trend', 'words'):
            self.assertLessEqual(len([i for i in self.verdicts(name) if i > 3 * DAY]), 2, name)


class Values(unittest.TestCase):
    def test_a_row_without_a_usable_value_has_no_score(self):
        config = CONFIG.replace('{database:', '{listen: {listen}, database:')
        with harness.Server(config) as server:
            server.post_ok('metrics', 'ts,series,value\n1,a,5\n2,a,\n3,a,1e200\n4,a,6\n', 'text/csv')
            server.wait_read()
            server.stop()
            self.assertEqual(server.rows('SELECT value_score IS NULL, value_anomaly, value_anomalies, value_expected '
                                         'FROM scored ORDER BY number'),
                             [(0, 0, 0, 5.0), (1, None, 0, None), (1, None, 0, None), (0, 0, 0, 5.0)])


class Score(unittest.TestCase):
    """A series of 1,000 rows with labelled windows, scored by hand from the paper's formula: 2 / (1 + exp(5 y)) - 1."""

    WINDOWS = [(300, 399), (600, 699)]

    def score(self, verdicts, profile='standard', windows=None):
        tally = score.Tally(profile)
        tally.add(1000, self.WINDOWS if windows is None else windows, verdicts)
        return tally

    def test_none_and_all_are_0_and_100(self):
        for profile in score.PROFILES:
            self.assertEqual(self.score([], profile).score(), 0)
            self.assertAlmostEqual(self.score([300, 600], profile).score(), 100, 12)

    def test_by_hand(self):
        # y = -0.5 in the first window: 0.8482836 of 0.9866143; 49 rows behind it y = 49 / 99: -0.8447049; then rows before
        # any window, in the second one a miss.
        raw = 0.8482836 / 0.9866143 - 0.11 * 0.8447049 - 0.11 - 1
        tally = self.score([100, 200, 350, 360, 448])
        self.assertEqual((tally.windows, tally.missed, tally.wrong), (2, 1, 2))
        self.assertAlmostEqual(tally.score(), 100 * (raw + 2) / 4, 4)
        raw = 0.8482836 / 0.9866143 - 0.22 * 0.8447049 - 0.22 - 1
        self.assertAlmostEqual(self.score([200, 350, 448], 'low FP').score(), 100 * (raw + 2) / 4, 4)
        raw = 0.8482836 / 0.9866143 - 0.11 * 0.8447049 - 0.11 - 2
        self.assertAlmostEqual(self.score([200, 350, 448], 'low FN').score(), 100 * (raw + 4) / 6, 4)

    def test_far_behind_a_window_a_verdict_is_as_wrong_as_before_it(self):
        self.assertAlmostEqual(self.score([300, 600, 999]).score(), 100 - 100 * 0.11 / 4, 5)
        self.assertAlmostEqual(self.score([200, 300, 600]).score(), 100 - 100 * 0.11 / 4, 12)
        self.assertEqual(self.score([149], windows=[]).wrong, 0)
        self.assertEqual(self.score([150], windows=[]).wrong, 1)

    def test_recorded_series_reach_80(self):
        data = harness.data_folder('nab')
        done = subprocess.run([sys.executable, os.path.join(harness.SOURCE, 'bench', 'nab', 'run'), harness.BUILD,
                               '--data', data], capture_output=True, text=True, timeout=2 * harness.LIMIT_S, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        table = {line[:44].strip(): line[44:].split() for line in done.stdout.splitlines()}
        self.assertEqual(table['no verdict at all'], ['30', '58', '58', '0', '0.0', '0.0', '0.0'])
        self.assertEqual(table['the first row of each window'], ['30', '58', '0', '0', '100.0', '100.0', '100.0'])
        self.assertGreaterEqual(float(table['all'][4]), 80)


if __name__ == '__main__':
    harness.main()
