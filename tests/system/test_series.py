# SPDX-License-Identifier: Apache-2.0
"""Analyzers of rows in the order of their time, out of order and over a restart, against plain Python."""

import collections
import fractions
import json
import math
import random
import statistics
import unittest

import harness

T0 = 1700000040000  # begins a minute
CONFIG = '''
server: {listen: {listen}, database: {folder}/weir.db}
streams:
  ticks:
    time: {field: ts, unit: ms}
    fields: {k: string, price: float, bytes: int, status: string, qty: int, side: string}
pipelines:
  ticks_1m:
    from: ticks
    key: [k]
    window: {tumbling: 1m}
    out_of_orderness: 10s
    idle_timeout: 1h
    workers: 3
    analyzers:
      - rate: {of: bytes}
      - delta: {of: price}
      - time_weighted: {of: price, until: event}
      - twap: {price: price}
      - ewma: {of: price, half_life: 10s}
      - change: {of: status}
      - gap: {of: qty, longer_than: 500ms}
      - threshold: {of: price, limit: 100, hysteresis: 2, for: 1s}
      - volatility: {price: price}
      - drawdown: {of: price}
      - imbalance: {volume: qty, side: side}
      - sessions: {gap: 200ms}
      - moments: {of: price}
      - holt_winters: {of: price, every: 1s, season: 10, ahead: 2}
  ticks_hop:
    from: ticks
    key: [k]
    window: {hopping: 1m, by: 20s}
    out_of_orderness: 10s
    idle_timeout: 1h
    analyzers:
      - rate: {of: bytes}
      - time_weighted: {of: price, until: event}
      - change: {of: status}
      - threshold: {of: price, limit: 100, hysteresis: 2, for: 1s}
      - drawdown: {of: price}
      - moments: {of: price}
      - mad: {of: price, sample: 10000}
      - entropy: {of: status}
      - collect: {of: status, limit: 5}
  ticks_ever:
    from: ticks
    key: [k]
    window: {global: 10s}
    out_of_orderness: 10s
    idle_timeout: 1h
    analyzers:
      - rate: {of: bytes}
      - change: {of: status}
      - drawdown: {of: price}
      - moments: {of: price}
      - holt_winters: {of: price, every: 1s, season: 10}
'''


def make_events(n=12000):
    dice = random.Random(9)
    events, price, total = [], 100.0, 0
    for i in range(n):
        price *= math.exp(dice.gauss(0, 0.003))
        total = 0 if dice.random() < 0.002 else total + dice.randrange(2000)
        events.append({'ts': T0 + i * 15 + dice.randrange(15), 'k': dice.choice('ABC'),
                       'price': None if dice.random() < 0.1 else round(price, 4), 'bytes': total,
                       'status': dice.choice(('ok', 'ok', 'ok', 'low', None)),
                       'qty': None if dice.random() < 0.9 else dice.randrange(100),
                       'side': dice.choice(('buy', 'sell', 'sell', '?'))})
    return sorted(events, key=lambda e: e['ts'] + dice.randrange(4000))


class Series(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = harness.Server.for_class(cls, CONFIG)
        events = make_events()
        for i in range(0, len(events), 1000):
            if i == 6000:
                cls.server.restart()
            cls.server.post_ok('ticks', events[i:i + 1000])
        cls.server.post_ok('ticks', [{'ts': T0 + 600000, 'k': '~'}])
        for pipeline in ('ticks_1m', 'ticks_hop', 'ticks_ever'):
            cls.server.wait_watermark(pipeline, (T0 + 590000) * 1000)
        cls.groups, cls.hops, cls.ever = ({}, {}, {})
        for e in sorted(events, key=lambda e: e['ts']):
            cls.groups.setdefault(((e['ts'] - T0) // 60000 * 60000 + T0, e['k']), []).append(e)
            for back in range(3):
                cls.hops.setdefault((e['ts'] // 20000 * 20000 - back * 20000, e['k']), []).append(e)
            cls.ever.setdefault((0, e['k']), []).append(e)

    def check(self, columns, expected, table='ticks_1m'):
        """`expected` is a function of a group's events by time and of the window's end."""
        groups = {'ticks_1m': self.groups, 'ticks_hop': self.hops, 'ticks_ever': self.ever}[table]
        found = self.server.rows(f"SELECT window_start / 1000, k, {columns} FROM {table} WHERE k <> '~'")
        self.assertEqual({row[:2] for row in found}, groups.keys())
        for row in found:
            values = expected(groups[row[:2]], row[0] + 60000)
            for one, other in zip(row[2:], values, strict=True):
                if isinstance(other, float):
                    self.assertTrue(math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9), (row, values))
                else:
                    self.assertEqual(one, other, (row, values))

    def priced(self, group):
        return [(e['ts'], e['price']) for e in group if e['price'] is not None]

    def test_rate_and_delta(self):
        def expected(group, _):
            counts = [e['bytes'] for e in group]
            increase = sum(b - a if b >= a else b for a, b in zip(counts, counts[1:]))
            prices = self.priced(group)
            return (float(increase), increase * 1000 / (group[-1]['ts'] - group[0]['ts']),
                    sum(b < a for a, b in zip(counts, counts[1:])), prices[-1][1] - prices[0][1])
        self.check('bytes_increase, bytes_rate, bytes_resets, price_delta', expected)

    def test_means_by_time(self):
        def expected(group, end):
            prices = self.priced(group)
            areas = [v * (u - t) for (t, v), (u, _) in zip(prices, prices[1:])]
            last, newest = prices[-1][1], prices[-1][0]
            weights = [0.5**((newest - t) / 10000) for t, _ in prices]
            return (math.fsum(areas) / (newest - prices[0][0]),
                    (math.fsum(areas) + last * (end - newest)) / (end - prices[0][0]),
                    math.fsum(w * v for w, (_, v) in zip(weights, prices)) / math.fsum(weights))
        self.check('price_time_weighted, twap, price_ewma', expected)

    def test_windows_that_are_merged_and_one_for_ever(self):
        def increases(group, _):
            counts = [e['bytes'] for e in group]
            prices = [v for _, v in self.priced(group)]
            peaks = [max(prices[:i + 1]) for i in range(len(prices))]
            return (float(sum(b - a if b >= a else b for a, b in zip(counts, counts[1:]))),
                    max(1 - v / peak for v, peak in zip(prices, peaks)))
        for table in ('ticks_hop', 'ticks_ever'):
            self.check('bytes_increase, price_drawdown', increases, table)

        def others(group, _):
            prices = self.priced(group)
            values = [v for _, v in prices]
            area = math.fsum(v * (u - t) for (t, v), (u, _) in zip(prices, prices[1:]))
            median = statistics.median(values)
            there = [e['status'] for e in group if e['status'] is not None]
            parts = [n / len(there) for n in collections.Counter(there).values()]
            return (area / (prices[-1][0] - prices[0][0]), median, statistics.median(abs(v - median) for v in values),
                    math.fsum(-p * math.log2(p) for p in parts), json.dumps(there[:5], separators=(',', ':')))
        self.check('price_time_weighted, price_median, price_mad, status_entropy, status_list', others, 'ticks_hop')

    def test_changes(self):
        def expected(group, _):
            there = [(e['ts'], e['status']) for e in group if e['status'] is not None]
            steps = [(a, b, u * 1000) for (_, a), (u, b) in zip(there, there[1:]) if a != b]
            return (len(steps), *steps[-1])
        for table in ('ticks_1m', 'ticks_hop', 'ticks_ever'):
            self.check('status_changes, status_from, status_to, status_changed', expected, table)

    def test_gaps_and_sessions(self):
        def expected(group, end):
            times = [e['ts'] for e in group if e['qty'] is not None]
            steps = [(u - t, -t) for t, u in zip(times, times[1:])]
            visits = [[group[0]['ts']]]
            for e in group[1:]:
                if e['ts'] - visits[-1][-1] >= 200:
                    visits.append([])
                visits[-1].append(e['ts'])
            return (sum(step > 500 for step, _ in steps), max(steps)[0] / 1000, -max(steps)[1] * 1000,
                    (end - times[-1]) / 1000, len(visits), len(group) / len(visits),
                    statistics.mean((v[-1] - v[0]) / 1000 for v in visits), sum(len(v) == 1 for v in visits))
        self.check('qty_gaps, qty_gap_longest, qty_gap_began, qty_silent, sessions, session_events, session_length, '
                   'session_bounces', expected)

    def test_thresholds(self):
        def expected(group, end):
            since, fired = None, 0
            for t, v in self.priced(group):
                if v > 100:
                    since = t if since is None else since
                elif v <= 98 and since is not None:
                    fired, since = fired + (t - since >= 1000), None
            state = 'ok' if since is None else 'firing' if end - since >= 1000 else 'pending'
            return state, since and since * 1000, fired + (state == 'firing')
        for table in ('ticks_1m', 'ticks_hop'):
            self.check('price_state, price_since, price_fired', expected, table)

    def test_market(self):
        def expected(group, _):
            prices = [v for _, v in self.priced(group)]
            returns = [math.log(b / a) for a, b in zip(prices, prices[1:])]
            peaks = [max(prices[:i + 1]) for i in range(len(prices))]
            side = {s: sum(e['qty'] for e in group if e['side'] == s and e['qty'] is not None) for s in ('buy', 'sell')}
            return (math.sqrt(math.fsum(r * r for r in returns)),
                    math.log(max(prices) / min(prices)) / math.sqrt(4 * math.log(2)),
                    max(1 - v / peak for v, peak in zip(prices, peaks)),
                    float(side['buy']), float(side['sell']),
                    (side['buy'] - side['sell']) / (side['buy'] + side['sell']))
        self.check('price_volatility, price_parkinson, price_drawdown, qty_bought, qty_sold, qty_imbalance', expected)

    def test_moments(self):
        def expected(group, _):
            values = [fractions.Fraction(v) for _, v in self.priced(group)]
            mean = sum(values) / len(values)
            m2, m3, m4 = (sum((v - mean)**k for v in values) / len(values) for k in (2, 3, 4))
            return (float(mean), float(m2 * len(values) / (len(values) - 1)), float(m3 / m2) / math.sqrt(m2),
                    float(m4 / m2**2 - 3))
        for table in ('ticks_1m', 'ticks_hop', 'ticks_ever'):
            self.check('price_mean, price_variance, price_skewness, price_kurtosis', expected, table)

    def test_forecasts(self):
        """A price a second, of those that have any; ten of them are a season."""
        def expected(group, end):
            seconds = [[v for t, v in self.priced(group) if t // 1000 == s] for s in range(end // 1000 - 60, end // 1000)]
            y = [statistics.fmean(vs) if vs else None for vs in seconds]
            first = next(i for i, v in enumerate(y) if v is not None)
            y = y[first:]
            begin = [next(v for v in reversed(y[:i + 1]) if v is not None) for i in range(20)]
            one, two = statistics.fmean(begin[:10]), statistics.fmean(begin[10:])
            trend = (two - one) / 10
            level = one + 4.5 * trend
            season = [v - one - (i - 4.5) * trend for i, v in enumerate(begin[:10])]
            for i, v in enumerate(begin[10:] + y[20:]):
                if v is None:
                    level += trend
                    continue
                old, expect = level, level + trend
                level = 0.3 * (v - season[i % 10]) + 0.7 * expect
                trend = 0.1 * (level - old) + 0.9 * trend
                season[i % 10] = 0.2 * (v - expect) + 0.8 * season[i % 10]
            return level + 2 * trend + season[(len(y) - 10 + 1) % 10], (end + 1000) * 1000
        self.check('price_forecast, price_forecast_time', expected)


if __name__ == '__main__':
    harness.main()
