# SPDX-License-Identifier: Apache-2.0
"""Event time: windows close by the watermark alone, late events are counted, nothing is lost."""

import collections
import random
import time
import unittest

import harness

MS = 1000
T0 = 1700000000000  # ms, a multiple of 10 s
FIELDS = 'fields: {key: string, side: string, qty: int, price: float}'
CONFIG = '''
server: {listen: {listen}, database: {folder}/weir.db}
streams:
''' + ''.join(f'  {name}: {{time: {{field: ts, unit: ms}}, {FIELDS}}}\n' for name in (
    'single', 'sevens', 'whole', 'ordered', 'silent', 'named', 'forked', 'filtered', 'keyed',
    'nulls', 'watched', 'quiet', 'limited', 'retained')) + f'''
  skewed: {{time: {{field: ts, unit: ms}}, max_future_skew: 1h, {FIELDS}}}
pipelines:
''' + ''.join(f'''
  {name}_{workers}:
    from: {name}
    key: [key]
    window: {{tumbling: 1s}}
    out_of_orderness: 300ms
    idle_timeout: 1h
    workers: {workers}
    analyzers: [count, {{stats: {{of: qty, emit: [sum]}}}}]
''' for name in ('single', 'sevens', 'whole') for workers in (1, 4)) + '''
  ordered_10s: {from: ordered, key: [key], window: {tumbling: 10s}, out_of_orderness: 5s,
                idle_timeout: 1h, analyzers: [count]}
  silent_1s: {from: silent, key: [key], window: {tumbling: 1s}, out_of_orderness: 200ms,
              idle_timeout: 100ms, analyzers: [count]}
  named_10s: {from: named, key: [key], window: {tumbling: 10s}, idle_timeout: 1h, analyzers: [count]}
  forked_1s: {from: forked, key: [key], window: {tumbling: 1s}, idle_timeout: 1h, analyzers: [count]}
  forked_10s: {from: forked, key: [side], window: {tumbling: 10s}, idle_timeout: 1h,
               analyzers: [{stats: {of: qty, emit: [sum]}}]}
  filtered_10s: {from: filtered, where: "price > 10 AND side = 'buy'", key: [key],
                 window: {tumbling: 10s}, idle_timeout: 1h, analyzers: [count]}
  watched_10s: {from: watched, key: [key], window: {tumbling: 10s}, idle_timeout: 1h,
                analyzers: [count]}
  waiting_10s: {from: watched, key: [key], window: {tumbling: 10s}, idle_timeout: off,
                analyzers: [count]}
  keyed_10s: {from: keyed, key: [key, side, qty], window: {tumbling: 10s}, idle_timeout: 1h,
              analyzers: [count]}
  nulls_10s: {from: nulls, key: [key], window: {tumbling: 10s}, idle_timeout: 1h,
              analyzers: [count, {stats: {of: price, emit: [count, sum]}}]}
  quiet_10s: {from: quiet, key: [key], window: {tumbling: 10s}, idle_timeout: 200ms, analyzers: [count]}
  limited_10s: {from: limited, key: [key], window: {tumbling: 10s}, idle_timeout: 1h, max_groups: 3,
                analyzers: [count]}
  retained_1s: {from: retained, key: [key], window: {tumbling: 1s}, idle_timeout: 1h, retain: 10s,
                analyzers: [count]}
  skewed_10s: {from: skewed, key: [key], window: {tumbling: 10s}, idle_timeout: 1h, analyzers: [count]}
'''


def event(ms, key='a', **more):
    return dict({'ts': T0 + ms, 'key': key, 'side': 'buy', 'qty': 1, 'price': 20.0}, **more)


def disorderly(n):
    """Ten events a second of event time for each of five keys; most up to 200 ms too late, one in
    twenty up to three seconds."""
    dice = random.Random(7)
    events = []
    for i in range(n):
        behind = dice.randrange(3000) if dice.random() < 0.05 else dice.randrange(200)
        events.append(event(20 * i - behind, dice.choice('abcde'), qty=dice.randrange(100)))
    return events


def expected_rows(events, window_ms, out_of_orderness_ms):
    """The definition: an event is late when its window ended at or before the watermark, which is the
    newest time seen so far less out_of_orderness. Returns rows of closed windows, and the number late."""
    newest, late = None, 0
    groups = collections.defaultdict(lambda: [0, 0])
    for e in events:
        start = e['ts'] // window_ms * window_ms
        if newest is not None and start + window_ms <= newest - out_of_orderness_ms:
            late += 1
            continue
        newest = e['ts'] if newest is None else max(newest, e['ts'])
        group = groups[start, e['key']]
        group[0] += 1
        group[1] += e['qty']
    closed = newest - out_of_orderness_ms
    return sorted((start * MS, key, count, qty) for (start, key), (count, qty) in groups.items()
                  if start + window_ms <= closed), late


class EventTime(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = harness.Server.for_class(cls, CONFIG)

    def post(self, stream, *events, **headers):
        return self.server.post_ok(stream, list(events), **headers)

    def wait(self, pipeline, ms):
        self.server.wait_watermark(pipeline, (T0 + ms) * MS)

    def rows(self, pipeline, columns='window_start, key, count'):
        found = self.server.rows(f'SELECT {columns} FROM {pipeline} ORDER BY 1, 2')
        return [((row[0] // MS - T0), *row[1:]) for row in found]

    def late(self, pipeline):
        return self.server.metric('weir_pipeline_late_total', pipeline=pipeline)

    def check_disorder(self, stream, size):
        events = disorderly(2000) + [event(60000, '~')]
        for i in range(0, len(events), size):
            self.post(stream, *events[i:i + size])
        rows, late = expected_rows(events, 1000, 300)
        self.assertGreater(late, 20)
        for workers in (1, 4):
            pipeline = f'{stream}_{workers}'
            self.wait(pipeline, 59700)
            found = self.server.rows(f'SELECT window_start, key, count, qty_sum FROM {pipeline} '
                                     'ORDER BY window_start, key')
            self.assertEqual(found, rows)
            self.assertEqual(self.late(pipeline), late)

    def test_late_is_decided_event_by_event_with_one_event_a_request(self):
        self.check_disorder('single', 1)

    def test_late_is_decided_event_by_event_with_seven_events_a_request(self):
        self.check_disorder('sevens', 7)

    def test_late_is_decided_event_by_event_with_all_events_in_one_request(self):
        self.check_disorder('whole', 10000)

    def test_event_within_out_of_orderness_is_counted_and_one_beyond_is_late(self):
        self.post('ordered', event(1000), event(14999), event(9999))
        self.post('ordered', event(15000), event(9998), event(10000))
        self.post('ordered', event(30000))
        self.wait('ordered_10s', 25000)
        # The window [0, 10 s) closes when 15 s is seen: 9.998 s comes after that.
        self.assertEqual(self.rows('ordered_10s'), [(0, 'a', 2), (10000, 'a', 3)])
        self.assertEqual(self.late('ordered_10s'), 1)

    def test_window_of_a_silent_stream_closes_after_idle_timeout(self):
        self.post('silent', event(100), event(900, 'b'))
        harness.wait_until(lambda: len(self.rows('silent_1s')) == 2, 'the idle close')
        self.assertEqual(self.rows('silent_1s'), [(0, 'a', 1), (0, 'b', 1)])
        # What comes afterwards is counted again, from its own window on.
        self.post('silent', event(5000), event(500))
        harness.wait_until(lambda: len(self.rows('silent_1s')) == 3, 'the second idle close')
        self.assertEqual(self.rows('silent_1s')[2], (5000, 'a', 1))
        self.assertEqual(self.late('silent_1s'), 1)

    def test_named_source_that_is_behind_holds_the_watermark_back(self):
        self.post('named', event(1000), Weir_Source='slow')
        self.post('named', event(100000), Weir_Source='fast')
        self.post('named', event(2000), Weir_Source='slow')
        self.post('named', event(11000), Weir_Source='slow')
        self.wait('named_10s', 11000)
        self.assertEqual(self.rows('named_10s'), [(0, 'a', 2)])
        self.assertEqual(self.server.watermark('named_10s'), (T0 + 11000) * MS)
        self.post('named', event(95000), Weir_Source='slow')
        self.wait('named_10s', 95000)
        self.assertEqual(self.rows('named_10s'), [(0, 'a', 2), (10000, 'a', 1)])
        self.post('named', event(200000), Weir_Source='slow')
        self.wait('named_10s', 100000)
        self.assertEqual(self.rows('named_10s')[2], (90000, 'a', 1))
        self.assertEqual(self.late('named_10s'), 0)

    def test_named_source_that_falls_silent_holds_nothing_back(self):
        self.post('quiet', event(1000), Weir_Source='slow')
        ms = 100000

        def fast():
            nonlocal ms
            ms += 1
            self.post('quiet', event(ms), Weir_Source='fast')
            now = self.server.watermark('quiet_10s')
            return now is not None and now >= (T0 + 100000) * MS
        harness.wait_until(fast, 'the watermark of the source that goes on', every_s=0.02)
        self.assertEqual(self.rows('quiet_10s'), [(0, 'a', 1)])
        # Back again: what it brings is late, and counted as such.
        self.post('quiet', event(2000), event(200000), Weir_Source='slow')
        self.server.wait_metric('weir_pipeline_late_total', 1, pipeline='quiet_10s')

    def test_watermarks_endpoint_names_the_source_that_is_behind(self):
        self.server.post_ok('watched', [event(500000, 'late')], Weir_Source='one')
        self.server.post_ok('watched', [event(900000, 'late')], Weir_Source='two')
        self.wait('watched_10s', 500000)
        answer = harness.wait_until(lambda: (said := self.server.get_json('/api/v1/pipelines/watched_10s/watermarks')) and
                                    len(said['sources']) == 2 and said, 'the second source')
        text = repr(answer)
        self.assertIn("'one'", text)
        self.assertIn("'two'", text)
        self.assertIn('2023-11-14T22:21:40Z', text)  # T0 + 500 s
        self.assertIn('2023-11-14T22:28:20Z', text)  # T0 + 900 s
        until = '2023-11-14T22:21:50Z'
        said = f"windows up to {until} close when source 'one' has sent an event of {until} or later"
        self.assertEqual(answer['waits_for'], said + ', or nothing for 1h')
        self.wait('waiting_10s', 500000)
        answer = self.server.get_json('/api/v1/pipelines/waiting_10s/watermarks')
        self.assertEqual((answer['idle_timeout'], answer['waits_for']), (None, said))

    def test_two_pipelines_of_one_stream_each_see_every_event(self):
        self.post('forked', *[event(i * 100, 'ab'[i % 2], side=['buy', 'sell'][i % 2], qty=i)
                              for i in range(100)], event(50000))
        self.wait('forked_1s', 50000)
        self.wait('forked_10s', 50000)
        self.assertEqual(self.rows('forked_1s'),
                         [(w * 1000, key, 5) for w in range(10) for key in 'ab'])
        self.assertEqual(self.rows('forked_10s', 'window_start, side, qty_sum'),
                         [(0, 'buy', sum(range(0, 100, 2))), (0, 'sell', sum(range(1, 100, 2)))])

    def test_where_passes_only_rows_for_which_it_is_true(self):
        self.post('filtered', event(0), event(1, price=10.0), event(2, side='sell'),
                  event(3, price=10.5), event(4, price=None), event(5, 'b', price=1e300),
                  event(60000))
        self.wait('filtered_10s', 60000)
        self.assertEqual(self.rows('filtered_10s'), [(0, 'a', 2), (0, 'b', 1)])
        self.assertEqual(self.server.metric('weir_pipeline_dropped_total', pipeline='filtered_10s',
                                            reason='where'), 3)

    def test_several_key_columns_make_one_group_for_each_combination(self):
        events = [event(i, 'abc'[i % 3], side=['buy', 'sell'][i % 2], qty=i % 5) for i in range(300)]
        self.post('keyed', *events, event(400000, '~'))
        self.wait('keyed_10s', 400000)
        counts = collections.Counter((0, e['key'], e['side'], e['qty']) for e in events)
        found = self.server.rows('SELECT window_start, key, side, qty, count FROM keyed_10s '
                                 'WHERE window_start = ? ORDER BY 1, 2, 3, 4', T0 * MS)
        self.assertEqual([(0, *row[1:]) for row in found],
                         [(*key, n) for key, n in sorted(counts.items())])

    def test_event_with_a_null_key_is_left_out_and_counted(self):
        self.post('nulls', event(0, None), event(1), {'ts': T0 + 2}, event(3, price=None),
                  event(50000))
        self.wait('nulls_10s', 50000)
        self.assertEqual(self.rows('nulls_10s', 'window_start, key, count, price_count, price_sum'),
                         [(0, 'a', 2, 1, 20.0)])
        self.assertEqual(self.server.metric('weir_pipeline_dropped_total', pipeline='nulls_10s',
                                            reason='null_key'), 2)

    def test_group_over_max_groups_is_left_out_and_counted(self):
        self.post('limited', *[event(i, 'abcde'[i % 5]) for i in range(100)])
        # The event that closes the window comes while its groups are still open: no room for it.
        self.post('limited', event(20000, 'a'))
        self.wait('limited_10s', 20000)
        self.assertEqual(self.rows('limited_10s'), [(0, 'a', 20), (0, 'b', 20), (0, 'c', 20)])
        self.assertEqual(self.server.metric('weir_pipeline_dropped_total', pipeline='limited_10s',
                                            reason='max_groups'), 41)

    def test_rows_older_than_retain_go(self):
        self.post('retained', *[event(i * 100) for i in range(300)])
        self.wait('retained_1s', 29900)
        self.post('retained', event(35000))
        self.wait('retained_1s', 35000)
        # The watermark is 35 s: windows that ended at or before 25 s go, a piece at a time.
        harness.wait_until(lambda: self.rows('retained_1s')[0][0] == 25000, 'the purge')
        self.assertEqual(self.rows('retained_1s'), [(ms, 'a', 10) for ms in range(25000, 30000, 1000)])

    def test_event_further_ahead_than_max_future_skew_is_rejected(self):
        now = int(time.time() * 1000)
        body = [{'ts': now + 2 * 3600000, 'key': 'far'}, {'ts': now, 'key': 'here'},
                {'ts': now + 1800000, 'key': 'near'}]
        answer = self.server.post('skewed', body)
        said = harness.json.loads(answer.body)
        self.assertEqual((answer.status, said['accepted'], said['rejected']), (200, 2, 1))
        self.assertEqual(said['errors'][0]['line'], 1)
        self.server.wait_metric('weir_rejected_total', 1, stream='skewed', reason='future')


if __name__ == '__main__':
    harness.main()
