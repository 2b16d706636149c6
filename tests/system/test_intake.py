# SPDX-License-Identifier: Apache-2.0
"""Events by POST: every format and encoding gives the same rows."""

import csv
import gzip
import io
import json
import math
import random
import socket
import unittest

import harness

T0_US = 1700000000000000
CONFIG = '''
server: {listen: {listen}, database: {folder}/weir.db}
streams:
''' + ''.join(f'''
  {name}:
    time: {{field: ts, unit: us}}
    fields: {{name: string, n: int, x: float, yes: bool}}
''' for name in ('ndjson', 'array', 'object', 'csv', 'packed', 'chunked', 'endless', 'mixed')) + '''
  text: {time: {field: when}, fields: {name: string}}
  decimal: {time: {field: when, unit: s}, fields: {name: string}}
  arrival: {time: arrival, fields: {name: string}}
pipelines:
''' + ''.join(f'''
  {name}_10s:
    from: {name}
    key: [name, yes]
    window: {{tumbling: 10s}}
    idle_timeout: 1h
    analyzers:
      - count
      - stats: {{of: n, emit: [sum, min, max]}}
      - stats: {{of: x, emit: [sum, min, max]}}
''' for name in ('ndjson', 'array', 'object', 'csv', 'packed', 'chunked', 'mixed')) + '''
  endless_1s: {from: endless, key: [name], window: {tumbling: 1s}, idle_timeout: 1h, analyzers: [count]}
  text_1s: {from: text, key: [name], window: {tumbling: 1s}, idle_timeout: 1h, analyzers: [count]}
  decimal_1s: {from: decimal, key: [name], window: {tumbling: 1s}, idle_timeout: 1h, analyzers: [count]}
  arrival_1s: {from: arrival, key: [name], window: {tumbling: 1s}, idle_timeout: 50ms, analyzers: [count]}
'''

NAMES = ['plain', 'with "quotes"', 'comma, and\ttab', 'línea', '日本語', '𝄞 clef', 'back\\slash',
         "it's", 'new\nline', 'null\u2028sep']


def make_events(n=500):
    dice = random.Random(11)
    return [{'ts': T0_US + i * 10000, 'name': dice.choice(NAMES),
             'n': dice.randrange(-2**42, 2**42),
             'x': dice.choice([dice.random(), dice.uniform(-1, 1) * 1e15, 5e-324, 0.1]),
             'yes': dice.random() < 0.5} for i in range(n)]


EVENTS = make_events()
LAST = {'ts': T0_US + 60000000, 'name': '~', 'n': 0, 'x': 0.0, 'yes': False}


class Intake(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = harness.Server.for_class(cls, CONFIG)
        cls.expected = cls.rows_of(EVENTS)

    @staticmethod
    def rows_of(events):
        groups = {}
        for e in events:
            groups.setdefault((e['name'], e['yes']), []).append(e)
        return sorted((T0_US, name, int(yes), len(g), sum(e['n'] for e in g), min(e['n'] for e in g),
                       max(e['n'] for e in g), math.fsum(e['x'] for e in g),
                       min(e['x'] for e in g), max(e['x'] for e in g))
                      for (name, yes), g in groups.items())

    def check(self, stream):
        self.server.post_ok(stream, [LAST])
        self.server.wait_watermark(f'{stream}_10s', LAST['ts'])
        found = self.server.rows('SELECT window_start, name, yes, count, n_sum, n_min, n_max, x_sum, '
                                 f'x_min, x_max FROM {stream}_10s')
        self.assertEqual(sorted(found), self.expected)

    def test_ndjson_with_escapes_and_without_a_last_newline(self):
        body = '\n'.join(json.dumps(e, ensure_ascii=i % 2 == 0) for i, e in enumerate(EVENTS))
        self.assertEqual(self.server.post_ok('ndjson', body)['accepted'], len(EVENTS))
        self.check('ndjson')

    def test_json_array_spread_over_lines(self):
        body = json.dumps(EVENTS, indent=2, ensure_ascii=False)
        self.assertEqual(self.server.post_ok('array', body, 'application/json')['accepted'], len(EVENTS))
        self.check('array')

    def test_single_json_object(self):
        for e in EVENTS:
            self.server.post_ok('object', json.dumps(e), 'application/json; charset=utf-8')
        self.check('object')

    def test_csv_with_quotes_columns_in_another_order_and_unknown_ones(self):
        out = io.StringIO()
        writer = csv.DictWriter(out, ['x', 'other', 'name', 'yes', 'ts', 'n'], lineterminator='\r\n')
        writer.writeheader()
        for e in EVENTS:
            writer.writerow(dict(e, other='skipped, too', yes='true' if e['yes'] else 'false'))
        self.assertEqual(self.server.post_ok('csv', out.getvalue(), 'text/csv')['accepted'], len(EVENTS))
        self.check('csv')

    def test_gzip(self):
        body = gzip.compress('\n'.join(map(json.dumps, EVENTS)).encode())
        said = self.server.post_ok('packed', body, Content_Encoding='gzip')
        self.assertEqual(said['accepted'], len(EVENTS))
        self.check('packed')

    def test_chunked_body_cut_anywhere(self):
        body = '\n'.join(json.dumps(e, ensure_ascii=False) for e in EVENTS).encode()
        dice = random.Random(3)
        with socket.create_connection(('127.0.0.1', self.server.port)) as s:
            s.sendall(b'POST /api/v1/streams/chunked/events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n'
                      b'Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n')
            at = 0
            while at < len(body):
                piece = body[at:at + dice.randrange(1, 700)]
                s.sendall(b'%x\r\n%s\r\n' % (len(piece), piece))
                at += len(piece)
            s.sendall(b'0\r\n\r\n')
            answer = b''.join(iter(lambda: s.recv(65536), b''))
        self.assertIn(b' 200 ', answer.split(b'\r\n')[0])
        self.assertIn(b'"accepted":%d' % len(EVENTS), answer.replace(b' ', b''))
        self.check('chunked')

    def test_events_of_a_body_that_never_ends_are_counted_as_they_come(self):
        with socket.create_connection(('127.0.0.1', self.server.port)) as s:
            s.sendall(b'POST /api/v1/streams/endless/events HTTP/1.1\r\nHost: localhost\r\n'
                      b'Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n')
            for i in range(5):
                line = json.dumps({'ts': T0_US + i * 1000000, 'name': 'tick'}).encode() + b'\n'
                s.sendall(b'%x\r\n%s\r\n' % (len(line), line))
                if i > 0:
                    self.server.wait_watermark('endless_1s', T0_US + i * 1000000)
                    found = self.server.rows('SELECT sum(count) FROM endless_1s')
                    self.assertEqual(found, [(i,)])
        # The client goes away in mid-body; what it sent stays counted, and the next one is served.
        self.server.post_ok('endless', [{'ts': T0_US + 9000000, 'name': 'tock'}])
        self.server.wait_watermark('endless_1s', T0_US + 9000000)
        self.assertEqual(self.server.rows('SELECT sum(count) FROM endless_1s'), [(5,)])

    def test_all_formats_into_one_stream(self):
        parts = [EVENTS[:100], EVENTS[100:200], EVENTS[200:]]
        self.server.post_ok('mixed', parts[0])
        self.server.post_ok('mixed', json.dumps(parts[1]), 'application/json')
        self.server.post_ok('mixed', gzip.compress(json.dumps(parts[2]).encode()), 'application/json',
                            Content_Encoding='gzip')
        self.check('mixed')

    def test_times_as_rfc3339_text(self):
        whens = ['2023-11-14T22:13:20Z', '2023-11-14 22:13:20.5', '2023-11-15T00:13:20.999999+02:00',
                 '2023-11-14T22:13:30Z']
        self.server.post_ok('text', [{'when': w, 'name': 'a'} for w in whens])
        self.server.wait_watermark('text_1s', T0_US + 10000000)
        self.assertEqual(self.server.rows('SELECT window_start, count FROM text_1s'), [(T0_US, 3)])

    def test_times_as_decimal_seconds(self):
        body = ''.join(f'{{"when":{w},"name":"a"}}\n' for w in
                       ('1700000000.999999', '1700000000', '1.7e9', '1700000001.0000019', '1700000010'))
        self.server.post_ok('decimal', body)
        self.server.wait_watermark('decimal_1s', T0_US + 10000000)
        self.assertEqual(self.server.rows('SELECT window_start, count FROM decimal_1s'),
                         [(T0_US, 3), (T0_US + 1000000, 1)])

    def test_stream_without_a_time_field_takes_the_time_of_arrival(self):
        before = int(harness.time.time())
        self.server.post_ok('arrival', [{'name': 'a'}])
        sql = 'SELECT window_start, count FROM arrival_1s'
        found = harness.wait_until(lambda: self.server.rows(sql), 'the idle close')
        after = harness.time.time()
        self.assertEqual(found[0][1], 1)
        self.assertTrue(before * 1000000 <= found[0][0] <= after * 1000000)


if __name__ == '__main__':
    harness.main()
