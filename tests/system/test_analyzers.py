# SPDX-License-Identifier: Apache-2.0
"""The analyzers that ship, against plain Python over the same events."""

import collections
import math
import random
import statistics
import unittest

import harness

T0 = 1700000000000
FIELDS = 'fields: {symbol: string, tag: string, price: float, qty: int}'
CONFIG = f'''
server: {{listen: {{listen}}, database: {{folder}}/weir.db}}
streams:
  events: {{time: {{field: ts, unit: ms}}, {FIELDS}}}
  skewed: {{time: {{field: ts, unit: ms}}, {FIELDS}}}
  extremes: {{time: {{field: ts, unit: ms}}, {FIELDS}}}
pipelines:
  events_10s:
    from: events
    key: [symbol]
    window: {{tumbling: 10s}}
    out_of_orderness: 10s
    idle_timeout: 1h
    workers: 3
    analyzers:
      - count
      - stats: {{of: price, emit: [count, sum, min, max, mean, stddev]}}
      - stats: {{of: qty, emit: [count, sum, min, max, mean, stddev]}}
      - vwap: {{price: price, volume: qty}}
      - ohlc: {{of: price}}
      - topk: {{of: tag, k: 50}}
      - quantiles: {{of: price, q: [0, 0.5, 0.999, 1]}}
      - distinct: {{of: tag}}
      - distinct: {{of: [tag, qty]}}
      - first: {{of: tag}}
      - last: {{of: price}}
      - histogram: {{of: qty, bounds: [-500, 0, 500]}}
      - covariance: {{x: qty, y: price, emit: [covariance, correlation, slope]}}
  skewed_100s:
    from: skewed
    window: {{tumbling: 100s}}
    out_of_orderness: 10s
    idle_timeout: 1h
    analyzers: [topk: {{of: tag, k: 10}}]
  extremes_10s:
    from: extremes
    key: [symbol]
    window: {{tumbling: 10s}}
    idle_timeout: 1h
    analyzers:
      - stats: {{of: price, emit: [sum, min, max, mean, stddev]}}
      - stats: {{of: qty, emit: [sum, min, max]}}
      - sum: {{of: qty}}
        as: exact
'''


def make_events(n=20000):
    dice = random.Random(5)
    events = []
    for i in range(n):
        events.append({'ts': T0 + i * 5 + dice.randrange(9000), 'symbol': dice.choice('ABCD'),
                       'tag': f't{int(dice.paretovariate(0.8)) % 40}',
                       'price': None if dice.random() < 0.1 else round(dice.lognormvariate(3, 2), 4),
                       'qty': None if dice.random() < 0.1 else dice.randrange(-1000, 1000)})
    return events


class Analyzers(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = harness.Server.for_class(cls, CONFIG)
        cls.events = make_events()
        for i in range(0, len(cls.events), 777):
            cls.server.post_ok('events', cls.events[i:i + 777])
        cls.server.post_ok('events', [{'ts': T0 + 300000, 'symbol': '~'}])
        cls.server.wait_watermark('events_10s', (T0 + 290000) * 1000)
        cls.groups = collections.defaultdict(list)
        for e in cls.events:
            cls.groups[e['ts'] // 10000 * 10000000, e['symbol']].append(e)

    def rows(self, columns, table='events_10s'):
        found = self.server.rows(f'SELECT window_start, symbol, {columns} FROM {table}')
        return {row[:2]: row[2:] for row in found}

    def check_close(self, found, expected, rel_tol=1e-12):
        if expected is None:
            self.assertIsNone(found)
        else:
            self.assertTrue(math.isclose(found, expected, rel_tol=rel_tol, abs_tol=1e-300),
                            (found, expected))

    def test_count_counts_all_rows_also_those_with_nulls(self):
        self.assertEqual(self.rows('count'), {k: (len(g),) for k, g in self.groups.items()})

    def check_stats(self, field):
        found = self.rows(', '.join(f'{field}_{what}' for what in
                                    ('count', 'sum', 'min', 'max', 'mean', 'stddev')))
        self.assertEqual(found.keys(), self.groups.keys())
        for key, group in self.groups.items():
            values = [e[field] for e in group if e[field] is not None]
            count, total, low, high, mean, stddev = found[key]
            self.assertEqual((count, low, high), (len(values), min(values), max(values)))
            self.check_close(total, math.fsum(values), 1e-15)
            self.check_close(mean, math.fsum(values) / len(values), 1e-15)
            self.check_close(stddev, statistics.stdev(values), 1e-9)

    def test_stats_of_decimal_numbers_with_nulls(self):
        self.check_stats('price')

    def test_stats_of_whole_numbers_with_nulls(self):
        self.check_stats('qty')
        found = self.server.rows('SELECT DISTINCT typeof(qty_sum), typeof(qty_min) FROM events_10s')
        self.assertEqual(found, [('integer', 'integer')])

    def test_vwap_weighs_prices_by_volume(self):
        found = self.rows('vwap')
        for key, group in self.groups.items():
            pairs = [(e['price'], e['qty']) for e in group
                     if e['price'] is not None and e['qty'] is not None]
            volume = sum(q for _, q in pairs)
            self.check_close(found[key][0], math.fsum(p * q for p, q in pairs) / volume
                             if volume != 0 else None, 1e-9)

    def test_ohlc_goes_by_event_time_not_by_arrival(self):
        found = self.rows('price_open, price_high, price_low, price_close')
        for key, group in self.groups.items():
            priced = [e for e in group if e['price'] is not None]
            prices = [e['price'] for e in priced]
            opens, closes = min(e['ts'] for e in priced), max(e['ts'] for e in priced)
            # Of several at the same time, the first that came opens and the last that came closes.
            first = next(e['price'] for e in priced if e['ts'] == opens)
            last = next(e['price'] for e in reversed(priced) if e['ts'] == closes)
            self.assertEqual(found[key], (first, max(prices), min(prices), last))

    def test_quantiles_are_within_one_percent(self):
        found = self.rows('price_p0, price_p50, price_p99_9, price_p100')
        for key, group in self.groups.items():
            prices = sorted(e['price'] for e in group if e['price'] is not None)
            n = len(prices) - 1
            low, median, high, top = found[key]
            self.assertEqual((low, top), (prices[0], prices[-1]))
            self.check_close(median, prices[n // 2], 0.0101)
            self.check_close(high, prices[n * 999 // 1000], 0.0101)

    def test_distinct_counts_values_and_pairs(self):
        found = self.rows('tag_distinct, tag_qty_distinct')
        for key, group in self.groups.items():
            pairs = {(e['tag'], e['qty']) for e in group if e['qty'] is not None}
            self.assertEqual(found[key], (len({e['tag'] for e in group}), len(pairs)))

    def test_first_and_last_go_by_event_time_then_by_arrival(self):
        found = self.rows('tag_first, tag_first_time, price_last, price_last_time')
        for key, group in self.groups.items():
            first = min(group, key=lambda e: e['ts'])
            last = max(reversed([e for e in group if e['price'] is not None]), key=lambda e: e['ts'])
            self.assertEqual(found[key], (first['tag'], first['ts'] * 1000, last['price'], last['ts'] * 1000))

    def test_histogram_counts_between_bounds(self):
        found = collections.defaultdict(list)
        for w, symbol, *row in self.server.rows('SELECT window_start, symbol, qty_lower, qty_upper, qty_count '
                                                'FROM events_10s_histogram ORDER BY 1, 2, rank'):
            found[w, symbol].append(tuple(row))
        for key, group in self.groups.items():
            values = [e['qty'] for e in group if e['qty'] is not None]
            self.assertEqual(found[key], [
                (None, -500, sum(v <= -500 for v in values)), (-500, 0, sum(-500 < v <= 0 for v in values)),
                (0, 500, sum(0 < v <= 500 for v in values)), (500, None, sum(v > 500 for v in values))])

    def test_covariance_takes_rows_with_both_values(self):
        found = self.rows('qty_price_covariance, qty_price_correlation, qty_price_slope')
        for key, group in self.groups.items():
            pairs = [(e['qty'], e['price']) for e in group if e['qty'] is not None and e['price'] is not None]
            x, y = zip(*pairs)
            for value, expected in zip(found[key], (statistics.covariance(x, y), statistics.correlation(x, y),
                                                    statistics.linear_regression(x, y).slope)):
                self.check_close(value, expected, 1e-9)

    def test_topk_is_exact_while_all_values_fit(self):
        found = collections.defaultdict(dict)
        for w, symbol, rank, tag, count, error in self.server.rows(
                'SELECT window_start, symbol, rank, tag, tag_count, tag_error FROM events_10s_topk '
                'ORDER BY 1, 2, 3'):
            group = found[w, symbol]
            self.assertEqual(rank, len(group) + 1)
            self.assertEqual(error, 0)
            group[tag] = count
        expected = {k: dict(collections.Counter(e['tag'] for e in g)) for k, g in self.groups.items()}
        self.assertEqual(dict(found), expected)
        for group in found.values():
            self.assertEqual(list(group.values()), sorted(group.values(), reverse=True))

    def test_topk_bounds_its_error_when_values_do_not_fit(self):
        """Space-Saving (Metwally, Agrawal, El Abbadi 2005): count - error <= true count <= count."""
        dice = random.Random(8)
        tags = [f'tag{int(dice.paretovariate(0.4))}' for _ in range(50000)]
        events = [{'ts': T0 + i, 'symbol': 's', 'tag': tag} for i, tag in enumerate(tags)]
        for i in range(0, len(events), 10000):
            self.server.post_ok('skewed', events[i:i + 10000])
        self.server.post_ok('skewed', [{'ts': T0 + 200000, 'tag': 'end'}])
        self.server.wait_watermark('skewed_100s', (T0 + 190000) * 1000)
        truth = collections.Counter(tags)
        self.assertGreater(len(truth), 3000)
        found = self.server.rows('SELECT tag, tag_count, tag_error FROM skewed_100s_topk '
                                 'WHERE window_start = ? ORDER BY rank', T0 * 1000)
        self.assertEqual(len(found), 10)
        for tag, count, error in found:
            self.assertLessEqual(count - error, truth[tag])
            self.assertGreaterEqual(count, truth[tag])
        self.assertEqual([f[0] for f in found[:5]], [t for t, _ in truth.most_common(5)])

    def test_stats_of_extreme_numbers(self):
        big = 2**62
        events = [{'ts': T0, 'symbol': 'cancel', 'price': p} for p in (1e300, 1.0, -1e300)]
        events += [{'ts': T0, 'symbol': 'tiny', 'price': p} for p in (5e-324, 5e-324)]
        events += [{'ts': T0, 'symbol': 'tenths', 'price': 0.1} for _ in range(10)]
        events += [{'ts': T0, 'symbol': 'null', 'price': None}]
        events += [{'ts': T0, 'symbol': 'large', 'qty': q} for q in (big, -big, 7)]
        events += [{'ts': T0, 'symbol': 'beyond', 'qty': q} for q in (big, big, big)]
        self.server.post_ok('extremes', events + [{'ts': T0 + 20000, 'symbol': '~'}])
        self.server.wait_watermark('extremes_10s', (T0 + 20000) * 1000)
        found = {row[0]: row[1:] for row in self.server.rows(
            'SELECT symbol, price_sum, price_min, price_max, price_mean, qty_sum, '
            'exact_qty_sum, exact_qty_sum_text FROM extremes_10s')}
        self.assertEqual(found['tiny'][:3], (1e-323, 5e-324, 5e-324))
        self.assertEqual(found['tenths'][0], math.fsum([0.1] * 10))
        self.assertEqual(found['cancel'][0], 1.0)
        self.assertEqual(found['null'][1:4], (None, None, None))
        self.assertEqual(found['large'][4:], (7, 7, None))
        self.assertEqual(found['beyond'][4:], (None, None, str(3 * big)))


if __name__ == '__main__':
    harness.main()
