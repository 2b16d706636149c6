# SPDX-License-Identifier: Apache-2.0
"""weir test: cases of events and rows. What is right passes, each thing that is not is told, and nothing is left behind."""

import os
import unittest

import harness

CONFIG = '''
server: {database: must-not-be-made.db}
streams:
  quotes: {time: {field: ts}, fields: {symbol: string, price: float, up: bool, at: time}}
  seen: {time: arrival, fields: {user: string}}
pipelines:
  q10: {from: quotes, key: [symbol], window: {tumbling: 10s}, late: drop,
        analyzers: [count, stats: {of: price, emit: [mean]}, first: {of: up}, last: {of: at}]}
  side: {from: quotes, key: [symbol], window: {tumbling: 10s}, late: side, analyzers: [count]}
  revised: {from: quotes, key: [symbol], window: {tumbling: 10s}, late: revise, allowed_lateness: 1m,
            analyzers: [count]}
  s10: {from: seen, window: {tumbling: 10s}, analyzers: [count, topk: {of: user, k: 2}]}
'''

# By hand: (1.5 + 2.5) / 2; XYZ comes 10 s after its window has closed.
CASES = '''
config: weir.yaml
cases:
  a mean, and one that is late:
    events:
      quotes:
        - {ts: "2026-01-02T03:04:01Z", symbol: ABC, price: 1.5, up: true, at: "2026-01-01T00:00:00Z"}
        - {ts: 2026-01-02T03:04:02Z, symbol: ABC, price: 2.5, up: no-bool}
        - {ts: 2026-01-02T03:04:02.5Z, symbol: ABC, price: 2.5}
        - {ts: 2026-01-02T03:04:22Z, symbol: "12", price: null}
        - {ts: 2026-01-02T03:04:02Z, symbol: XYZ, price: 7}
    rejected: {quotes: 1}
    late: {q10: 1}
    expect:
      q10:
        - {symbol: "12", window_start: 2026-01-02T03:04:20Z, count: 1, price_mean: ~, up_first: ~}
        - {symbol: ABC, count: 2, price_mean: 2.0000000001, up_first: true, at_last: 2026-01-01T00:00:00Z}
      side: [{symbol: ABC}, {symbol: "12"}]
      side_late: [{symbol: XYZ, price: 7.0}]
      revised:
        - {symbol: ABC, count: 2, revision: 0}
        - {symbol: XYZ, count: 1, revision: 1}
        - {symbol: "12", count: 1}
  windows that wait for the end:
    live: no
    events: {quotes: events.ndjson}
    expect:
      q10: [{symbol: a, count: 2}, {symbol: b}]
  the clock stands:
    clock: 2026-01-02T03:04:05Z
    events: {seen: [{user: u}, {user: v}, {user: u}]}
    expect:
      s10: [{window_start: 2026-01-02T03:04:00Z, count: 3}]
      s10_topk: [{rank: 1, user: u, user_count: 2}, {rank: 2, user: v}]
'''

EVENTS = '''{"ts":"2026-01-02T03:04:01Z","symbol":"a","price":1}
{"ts":"2026-01-02T03:05:01Z","symbol":"b","price":1}
{"ts":"2026-01-02T03:04:02Z","symbol":"a","price":1}
'''


class Test(unittest.TestCase):
    def setUp(self):
        self.folder = harness.folder_for_test(self)
        self.write('weir.yaml', CONFIG)
        self.write('events.ndjson', EVENTS)

    def write(self, name, text):
        with open(os.path.join(self.folder, name), 'w', encoding='utf-8') as file:
            file.write(text)

    def run_test(self, text, *more):
        self.write('test.yaml', text)
        temp = os.path.join(self.folder, 'temp')
        os.makedirs(temp, exist_ok=True)
        done = harness.weir('test', 'test.yaml', *more, cwd=self.folder, env=harness.environment(TMPDIR=temp))
        self.assertEqual(os.listdir(temp), [])
        self.assertEqual([n for n in os.listdir(self.folder) if 'must-not' in n], [])
        return done

    def test_what_is_right_passes(self):
        done = self.run_test(CASES)
        self.assertEqual((done.returncode, done.stderr), (0, ''), done.stdout)
        self.assertEqual(done.stdout, 'ok    a mean, and one that is late\nok    windows that wait for the end\n'
                         'ok    the clock stands\n3 cases, 0 failed\n')

    def test_a_wrong_value_a_missing_row_and_one_too_many_are_told(self):
        done = self.run_test('''
config: weir.yaml
events:
  quotes:
    - {ts: 2026-01-02T03:04:01Z, symbol: ABC, price: 1.5}
    - {ts: 2026-01-02T03:04:01Z, symbol: DEF, price: 1.5}
    - {ts: 2026-01-02T03:04:01Z, symbol: GHI, price: 1.5}
expect:
  q10:
    - {symbol: ABC, count: 1, price_mean: 1.50001}
    - {symbol: DEF, count: 1}
    - {symbol: DEF, count: 1, price_mean: 1.5}
  side: []
''')
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn('FAIL  test.yaml\n', done.stdout)
        self.assertIn('    - {symbol: ABC, count: 1, price_mean: 1.50001}   (line 10)\n'
                      '    + {symbol: ABC, count: 1, price_mean: 1.5}\n'
                      '        price_mean is 1.5, not 1.50001\n', done.stdout)
        self.assertIn('side: 0 rows expected, 3 there', done.stdout)
        self.assertIn('        symbol is GHI, not DEF\n', done.stdout)
        self.assertIn('1 case, 1 failed\n', done.stdout)

    def test_the_tolerance_is_what_the_file_says(self):
        text = ('config: weir.yaml\ntolerance: %s\nevents: {quotes: [{ts: 2026-01-02T03:04:01Z, symbol: A, price: 1}]}\n'
                'expect: {q10: [{price_mean: 1.001}]}\n')
        self.assertEqual(self.run_test(text % '0.01').returncode, 0)
        self.assertEqual(self.run_test(text % '0.0001').returncode, 1)

    def test_events_that_get_lost_are_told(self):
        done = self.run_test('''
config: weir.yaml
events:
  quotes:
    - {ts: 2026-01-02T03:04:31Z, symbol: ABC, price: 1.5}
    - {ts: 2026-01-02T03:04:01Z, symbol: ABC, price: 1.5}
    - {ts: 2026-01-02T03:04:31Z, symbol: ABC, price: x}
''')
        self.assertEqual(done.returncode, 1)
        self.assertIn('stream quotes: 1 events rejected, not 0\n    test.yaml:7: ', done.stdout)
        self.assertIn('pipeline q10: 1 events came too late and were dropped, not 0', done.stdout)
        self.assertNotIn('pipeline side', done.stdout)

    def test_events_of_the_future_are_those_behind_the_clock(self):
        text = 'config: weir.yaml\nclock: %s\nevents: {quotes: [{ts: 2026-01-02T03:04:01Z, symbol: A}]}\n'
        self.assertEqual(self.run_test(text % '2026-01-02T03:00:00Z').returncode, 0)
        self.assertEqual(self.run_test(text % '2026-01-02T01:00:00Z').returncode, 1)

    def test_a_configuration_can_stand_in_the_file(self):
        done = self.run_test('''
streams: {s: {fields: {n: int}}}
pipelines: {p: {from: s, window: {tumbling: 1s}, analyzers: [sum: {of: n}]}}
events: {s: [{n: 1}, {n: -3}]}
expect: {p: [{n_sum: -2}]}
''')
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_what_is_wrong_in_the_file_has_its_place(self):
        head = 'config: weir.yaml\nevents: {quotes: [{ts: 2026-01-02T03:04:01Z, symbol: A}]}\n'
        for text, said in (
                (head + 'expect: {q11: []}\n', "test.yaml:3:10: the configuration has no pipeline or table 'q11', "
                                              "did you mean 'q10'?"),
                (head + 'expect: {q10: [{cuont: 1}]}\n', "test.yaml:3:17: table 'q10' has no column 'cuont'"),
                (head + 'expect: {q10: [{count: one}]}\n', "test.yaml:3:24: expected a whole number"),
                (head + 'late: {q: 1}\n', "test.yaml:3:8: the configuration has no pipeline 'q'"),
                (head + 'expcet: {}\n', "test.yaml:3:1: unknown key 'expcet' in the test file, did you mean 'expect'?"),
                ('config: weir.yaml\nevents: {quote: []}\n', "has no stream 'quote', did you mean 'quotes'?"),
                ('config: weir.yaml\n', "'cases' is missing"),
                ('events: {}\n', 'the configuration is missing'),
                ('streams: {s: {fields: {n: itn}}}\nevents: {}\n', 'test.yaml:1:27: expected a type')):
            done = self.run_test(text)
            self.assertEqual(done.returncode, 78, text + done.stdout)
            self.assertIn(said, done.stderr)

    def test_files_that_are_not_there(self):
        self.assertEqual(harness.weir('test', cwd=self.folder).returncode, 64)
        done = harness.weir('test', 'none.yaml', cwd=self.folder)
        self.assertEqual(done.returncode, 78)
        self.assertIn('none.yaml', done.stderr)
        self.assertNotEqual(self.run_test('config: weir.yaml\nevents: {quotes: none.ndjson}\n').returncode, 0)


if __name__ == '__main__':
    harness.main()
