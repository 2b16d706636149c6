# SPDX-License-Identifier: Apache-2.0
"""Line protocol on the paths of InfluxDB: what it says becomes rows, what is wrong is told as clients read it."""

import gzip
import json
import shutil
import struct
import subprocess
import time
import unittest

import harness

T0_S = 1700000000
CONFIG = '''
server: {listen: {listen}, database: {folder}/weir.db, max_body: 1MB}
streams:
  cpu:
    time: {field: time, unit: ms}
    fields: {host: string, core: int, usage: float, busy: bool, note: string}
  mem:
    time: {field: time}
    fields: {host: string, used: int, percent: {type: float, name: used.percent}}
  now: {time: arrival, fields: {v: int}}
pipelines:
  cpu_rows: {from: cpu, window: none, select: [host, core, usage, busy, note]}
  mem_rows: {from: mem, window: none, select: [host, used, percent]}
  now_rows: {from: now, window: none, select: [v]}
'''


# ---- Protocol Buffers, as its specification says ------------------------------------------------------

def varint(n):
    out = b''
    while n >= 128:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def field(number, value):
    """A double, a varint, or bytes."""
    if isinstance(value, float):
        return varint(number << 3 | 1) + struct.pack('<d', value)
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def fixed(number, value):
    return varint(number << 3 | 1) + struct.pack('<q', value)


def series(labels, *samples):
    return field(1, b''.join(field(1, field(1, k) + field(2, v)) for k, v in labels.items()) +
                 b''.join(field(2, field(1, v) + field(2, t)) for v, t in samples))


def literal(data):
    """Snappy without compression: its length, and literals of up to 60 bytes."""
    return varint(len(data)) + b''.join(bytes([len(part) - 1 << 2]) + part for part in
                                        (data[i:i + 60] for i in range(0, len(data), 60)))


REMOTE = {'Content-Type': 'application/x-protobuf', 'Content-Encoding': 'snappy'}
OTLP = {'Content-Type': 'application/x-protobuf'}
STALE = struct.unpack('<d', bytes.fromhex('020000000000f07f'))[0]


class Write(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = harness.Server.for_class(cls, CONFIG)

    def write(self, body, path='/api/v2/write', **headers):
        if isinstance(body, str):
            body = body.encode()
        return self.server.request('POST', path, body, headers)

    def rows(self, stream, columns, since_s):
        return self.server.rows(f'SELECT {columns} FROM {stream}_rows WHERE time >= ? AND time < ? ORDER BY time',
                                since_s * 10**6, (since_s + 100) * 10**6)

    def wait_rows(self, stream, columns, since_s, expected):
        harness.wait_until(lambda: len(self.rows(stream, columns, since_s)) >= len(expected), f'rows of {stream}')
        self.assertEqual(self.rows(stream, columns, since_s), expected)

    def test_measurements_are_streams(self):
        t = T0_S
        before = self.server.metric('weir_skipped_fields_total', stream='cpu')
        answer = self.write(f'cpu,host=a\\ b,core=3,rack=7 usage=0.5,busy=t,temp=41i {t}000000001\n'
                            f'mem,host=x used=17i,used.percent=12.5 {t + 1}999999999\n'
                            f'disk,host=x free=1i {t}000000000\n'
                            f'# nothing\n\n'
                            f'cpu,host=c usage=1i,note="a \\"b\\"\nc, d" {t + 2}000000000')
        self.assertEqual((answer.status, answer.body), (204, b''))
        self.assertEqual(answer.headers['Weir-Accepted'], '3')
        self.assertEqual(answer.headers['Weir-Unknown-Lines'], '1')
        self.wait_rows('cpu', 'time, host, core, usage, busy, note', t,
                       [(t * 10**6, 'a b', 3, 0.5, 1, None),
                        ((t + 2) * 10**6, 'c', None, 1.0, None, 'a "b"\nc, d')])
        self.wait_rows('mem', 'time, host, used, percent', t, [((t + 1) * 10**6 + 999999, 'x', 17, 12.5)])
        self.assertEqual(self.server.metric('weir_skipped_fields_total', stream='cpu'), before + 2)

    def test_precision(self):
        for i, (path, digits) in enumerate((
                ('/write?db=x&precision=s', 0), ('/write?precision=ms', 3), ('/write?precision=u', 6),
                ('/write?precision=n&rp=y', 9), ('/write', 9), ('/api/v2/write?org=o&bucket=b&precision=us', 6),
                ('/api/v3/write_lp?db=x&precision=millisecond', 3), ('/api/v3/write_lp?db=x', 0),
                ('/api/v3/write_lp?db=x', 3), ('/api/v3/write_lp?precision=auto', 9))):
            t = T0_S + 1000 + i
            answer = self.write(f'mem used={i}i {t}{"0" * digits}\n', path)
            self.assertEqual(answer.status, 204, answer.body)
        self.wait_rows('mem', 'time, used', T0_S + 1000, [((T0_S + 1000 + i) * 10**6, i) for i in range(10)])
        self.assertEqual(self.write('mem used=1i 1\n', '/write?precision=h').status, 400)
        self.assertEqual(self.write('mem used=1i 1\n', '/write?nonsense=1').status, 400)

    def test_gzip_and_chunks_are_taken_whole(self):
        t = T0_S + 2000
        lines = ''.join(f'mem,host=h{i % 7} used={i}i {t + i % 50}{i:09d}\n' for i in range(3000))
        answer = self.write(gzip.compress(lines.encode()),
                            **{'Content-Encoding': 'gzip', 'Content-Type': 'text/plain; charset=utf-8'})
        self.assertEqual(answer.status, 204, answer.body)
        pieces = [lines[i:i + 1000].encode() for i in range(0, len(lines), 1000)]
        answer = self.server.request('POST', '/write', iter(pieces))
        self.assertEqual((answer.status, answer.headers['Weir-Accepted']), (204, '3000'))
        harness.wait_until(lambda: self.rows('mem', 'count(*)', t) == [(6000,)], '6000 rows')
        self.assertEqual(self.rows('mem', 'sum(used)', t), [(2 * sum(range(3000)),)])

    def test_wrong_lines_are_told_and_the_others_taken(self):
        t = T0_S + 3000
        before = self.server.metric('weir_rejected_total', stream='cpu', reason='type')
        body = f'mem used=1i {t}000000000\nmem used=x {t}000000000\ncpu usage="hot" {t}000000000\n'
        for i, path in enumerate(('/write', '/api/v2/write', '/api/v3/write_lp')):
            answer = self.write(body, path)
            said = json.loads(answer.body)
            self.assertEqual(answer.status, 400)
            self.assertEqual(answer.headers['Content-Type'], 'application/json')
            self.assertEqual((said['code'], said['line'], said['message']), ('invalid', 2, said['error']))
            self.assertEqual(said['message'], 'partial write: 2 lines were rejected, 1 are taken; '
                             'line 2: expected a value; '
                             "line 3: field 'usage': expected a number, got \"hot\"")
            self.assertEqual([(e['line'], e['reason']) for e in said['errors']], [(2, 'syntax'), (3, 'type')])
            self.wait_rows('mem', 'used', t, [(1,)] * (i + 1))
        answer = self.write(body, '/api/v3/write_lp?accept_partial=false')
        self.assertEqual(answer.status, 400)
        self.assertIn('0 are taken', json.loads(answer.body)['message'])
        self.assertEqual(self.server.metric('weir_rejected_total', stream='cpu', reason='type'), before + 3)

    def test_nobodys_lines_are_told(self):
        answer = self.write('cpuu usage=1 1\ndisk free=1i 1\n')
        said = json.loads(answer.body)
        self.assertEqual((answer.status, said['code']), (404, 'unknown_stream'))
        self.assertIn("there is no stream 'cpuu', did you mean 'cpu'?", said['message'])
        self.assertEqual(self.write('').status, 204)

    def test_refusals_have_a_message(self):
        answer = self.write('mem used=1i 1\n' * 100000)
        said = json.loads(answer.body)
        self.assertEqual((answer.status, said['code'], said['message']), (413, 'too_large', said['detail']))
        answer = self.write('mem used=1i 1\n', **{'Idempotency-Key': 'k'})
        self.assertEqual((answer.status, json.loads(answer.body)['code']), (400, 'bad_idempotency_key'))

    def need_snappy(self):
        if self.server.request('POST', '/api/v1/write', b'').status == 404:
            self.skipTest('built without snappy')

    def test_remote_write(self):
        self.need_snappy()
        t = T0_S + 5000
        body = series({'__name__': 'cpu', 'host': 'a', 'core': '3', 'rack': '7'}, (0.5, t * 1000), (1.5, t * 1000 + 1)) + \
            series({'__name__': 'go_goroutines'}, (1.0, t * 1000)) + \
            series({'__name__': 'cpu', 'host': 'b'}, (float('nan'), t * 1000 + 2)) + \
            series({'__name__': 'mem', 'used.percent': '2.5'}, (1.0, t * 1000)) + field(3, b'metadata')
        answer = self.write(literal(body), '/api/v1/write', **REMOTE)
        self.assertEqual((answer.status, answer.body), (204, b''))
        self.assertEqual((answer.headers['Weir-Accepted'], answer.headers['Weir-Unknown-Lines']), ('4', '1'))
        self.wait_rows('cpu', 'time, host, core', t, [(t * 10**6, 'a', 3), (t * 10**6 + 1000, 'a', 3),
                                                      (t * 10**6 + 2000, 'b', None)])
        self.wait_rows('mem', 'time, host, percent', t, [(t * 10**6, None, 2.5)])
        # What ends a series is no sample; of metrics that nobody wants nothing is said.
        answer = self.write(literal(series({'__name__': 'cpu', 'host': 'a'}, (STALE, t * 1000)) +
                                    series({'__name__': 'up'}, (1.0, t * 1000))), '/api/v1/write', **REMOTE)
        self.assertEqual((answer.status, answer.headers['Weir-Accepted']), (204, '0'))

    def test_remote_write_that_is_wrong(self):
        self.need_snappy()
        t = T0_S + 6000
        wrong = series({'__name__': 'cpu', 'core': 'x'}, (1.0, t * 1000)) + series({'__name__': 'cpu', 'host': 'y'},
                                                                                   (1.0, t * 1000))
        answer = self.write(literal(wrong), '/api/v1/write', **REMOTE)
        self.assertEqual(answer.status, 400)
        self.assertIn("partial write: 1 rows were rejected, 1 are taken; row 1: field 'core': expected a whole number",
                      json.loads(answer.body)['message'])
        self.wait_rows('cpu', 'host', t, [('y',)])
        for body, headers, path, status, code in (
                (literal(wrong)[:-1], REMOTE, '/api/v1/write', 400, 'malformed'),
                (literal(wrong[:-1]), REMOTE, '/api/v1/write', 400, 'malformed'),
                (b'\xff\xff\xff\xff\x0f', REMOTE, '/api/v1/write', 413, 'too_large'),
                (wrong, {'Content-Type': 'application/x-protobuf'}, '/api/v1/write', 415, 'unsupported_encoding'),
                (b'x', {'Content-Encoding': 'snappy'}, '/api/v1/write', 415, 'unsupported_type'),
                (b'x', {'Content-Encoding': 'snappy'}, '/write', 415, 'unsupported_encoding'),
                (b'nobody v=1', {'Weir-Source': 'a b'}, '/write', 400, 'bad_source'),
                (literal(wrong), REMOTE, '/api/v1/write?stream=none', 404, 'unknown_stream'),
                (literal(wrong), REMOTE, '/api/v1/write?precision=s', 400, 'unknown_parameter')):
            answer = self.write(body, path, **headers)
            self.assertEqual((answer.status, json.loads(answer.body)['code']), (status, code), (body, path))

    def test_opentelemetry(self):
        t = T0_S + 7000

        def pair(number, name, value):
            return field(number, field(1, name) + field(2, value))
        resource = field(1, pair(1, 'host', field(1, 'r')) + pair(1, 'note', field(5, b'')))
        point = pair(7, 'core', field(3, 5)) + pair(7, 'busy', field(2, 1)) + fixed(3, t * 10**9)
        gauge = field(2, field(1, 'cpu') + field(5, field(1, point + pair(7, 'usage', field(4, 0.25)))))
        bad = field(2, field(1, 'cpu') + field(7, field(1, point + pair(7, 'core', field(1, 'five')))))
        answer = self.write(field(1, resource + field(2, gauge)), '/v1/metrics', **OTLP)
        self.assertEqual((answer.status, answer.body), (200, b''))
        self.assertEqual(answer.headers['Content-Type'], 'application/x-protobuf')
        self.wait_rows('cpu', 'time, host, core, usage, busy', t, [(t * 10**6, 'r', 5, 0.25, 1)])
        answer = self.write(field(1, resource + field(2, bad + gauge)), '/v1/metrics', **OTLP)
        text = "partial write: 1 rows were rejected, 1 are taken; row 1: field 'core': expected a whole number, got five"
        self.assertEqual((answer.status, answer.body), (200, field(1, field(1, 1) + field(2, text))))
        # A stream that the request names, and another one with a dot where the name has an underscore.
        record = fixed(11, (t + 50) * 10**9) + pair(6, 'host', field(1, 'named'))
        answer = self.write(field(1, field(2, field(2, record))), '/v1/logs', **OTLP, **{'Weir-Stream': 'cpu'})
        self.assertEqual((answer.status, answer.body), (200, b''))
        harness.wait_until(lambda: self.server.rows("SELECT * FROM cpu_rows WHERE host = 'named'"), 'a record')
        self.assertEqual(self.write(b'\x0a\x05x', '/v1/logs', **OTLP).status, 400)
        self.assertEqual(self.write(b'{}', '/v1/logs', **{'Content-Type': 'text/json'}).status, 415)

    def test_opentelemetry_as_json(self):
        """As the examples of the specification are: opentelemetry-proto/examples, and JSON Protobuf Encoding."""
        t = T0_S + 7200
        as_json = {'Content-Type': 'application/json; charset=utf-8'}

        def pair(name, kind, value):
            return {'value': {kind: value}, 'key': name}

        def metrics(*points):
            # The name behind the points, the resource behind the metrics: any order is JSON's.
            return json.dumps({'resourceMetrics': [{'schemaUrl': 'x', 'scopeMetrics': [{'scope': {'name': 's', 'attributes': []},
                'metrics': [{'description': 'd', kind: {'isMonotonic': True, 'dataPoints': list(of)}, 'unit': '1', 'name': 'cpu'}
                            for kind, of in points]}],
                'resource': {'attributes': [pair('host', 'stringValue', 'r \u00e4 "\n'), pair('x', 'arrayValue', {'values': [
                    {'intValue': '1'}]}), pair('note', 'kvlistValue', {'values': [pair('a', 'intValue', 1)]})]}}]}, ensure_ascii=True)
        answer = self.write(metrics(
            ('gauge', [{'attributes': [pair('core', 'intValue', '-5'), pair('busy', 'boolValue', True),
                                       pair('usage', 'doubleValue', 2.5e-1)], 'timeUnixNano': f'{t}000000001', 'asDouble': 1},
                       {'attributes': [pair('core', 'intValue', 7), pair('usage', 'doubleValue', 'NaN')],
                        'timeUnixNano': t * 10**9 + 10**6, 'exemplars': [{'asInt': '1'}], 'asInt': '3', 'flags': 0}]),
            ('summary', [{'attributes': [pair('core', 'intValue', 8)], 'timeUnixNano': f'{t}002000000', 'count': '4', 'sum': 9,
                          'quantileValues': [{'quantile': 1, 'value': 2}]}])), '/v1/metrics', **as_json)
        self.assertEqual((answer.status, answer.body), (200, b'{}\n'))
        self.assertEqual(answer.headers['Content-Type'], 'application/json')
        self.wait_rows('cpu', 'time, host, core, usage, busy', t,
                       [(t * 10**6, 'r ä "\n', -5, 0.25, 1), (t * 10**6 + 1000, 'r ä "\n', 7, None, None),
                        (t * 10**6 + 2000, 'r ä "\n', 8, None, None)])
        answer = self.write(metrics(('sum', [{'attributes': [pair('core', 'stringValue', 'five')], 'timeUnixNano': 1}])),
                            '/v1/metrics', **as_json)
        said = json.loads(answer.body)['partialSuccess']
        self.assertEqual((said['rejectedDataPoints'], answer.status), ('1', 200))
        self.assertIn("field 'core': expected a whole number, got five", said['errorMessage'])
        record = {'timeUnixNano': '0', 'observedTimeUnixNano': f'{t + 50}000000000', 'severityNumber': 9, 'severityText': None,
                  'body': {'stringValue': 'b'}, 'traceId': '5B8EFFF798038103d269b633813fc60c', 'spanId': '',
                  'attributes': [pair('host', 'stringValue', 'json'), pair('note', 'stringValue', 'n')]}
        body = json.dumps({'resourceLogs': [{'scopeLogs': [{'logRecords': [record]}]}]})
        answer = self.write(gzip.compress(body.encode()), '/v1/logs?stream=cpu', **as_json, **{'Content-Encoding': 'gzip'})
        self.assertEqual((answer.status, answer.body), (200, b'{}\n'))
        harness.wait_until(lambda: self.server.rows("SELECT * FROM cpu_rows WHERE host = 'json' AND note = 'n'"), 'a record')
        for bad in ('', '[]', '{', '{"resourceLogs":[{}', '{"resourceLogs":7}', '{"resourceLogs":[]} x', '{"resourceLogs":[1]}',
                    '{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"traceId":"5B8"}]}]}]}', '{"a":' + '[' * 1000,
                    '{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"1.5"}]}]}]}', '{"resourceLogs":[],}',
                    '{"resourceLogs":[{"resource":{"attributes":[{"key":"\xff"}]}}]}'):
            answer = self.write(bad.encode('latin-1'), '/v1/logs', **as_json)
            self.assertEqual((answer.status, json.loads(answer.body)['code']), (400, 'malformed'), bad)

    def test_json_of_telegraf(self):
        t = T0_S + 7400
        unknown = self.server.metric('weir_unknown_rows_total')

        def metric(name, time_, fields, **tags):
            return {'fields': fields, 'name': name, 'tags': tags, 'timestamp': time_}
        body = json.dumps({'metrics': [
            metric('cpu', t, {'usage': 0.5, 'core': 3, 'busy': True, 'note': 'a "b"\n\u00e4', 'temp': 41}, host='a b'),
            metric('mem', t + 1, {'used': 17, 'used.percent': 12.5}, host='x', rack='7'),
            metric('disk', t, {'free': 1}), metric('cpu', (t + 2) * 1000, {'usage': 1, 'core': None}, host='ms'),
            metric('cpu', (t + 3) * 10**6, {'usage': 1e3}, host='us'),
            metric('cpu', (t + 4) * 10**9 + 5, {'usage': 2}, host='ns')]})
        answer = self.write(body, '/api/v1/telegraf', **{'Content-Type': 'text/plain; charset=utf-8'})
        self.assertEqual((answer.status, answer.body), (204, b''))
        self.assertEqual((answer.headers['Weir-Accepted'], answer.headers['Weir-Unknown-Lines']), ('5', '1'))
        self.assertEqual(self.server.metric('weir_unknown_rows_total'), unknown + 1)
        when = time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(t + 5))
        more = metric('cpu', when, {'usage': 3}, host='text')
        answer = self.write('\n'.join(map(json.dumps, (more, metric('cpu', t + 6, {'core': 'six'}, host='six')))),
                            '/api/v1/telegraf')
        said = json.loads(answer.body)
        self.assertEqual((answer.status, said['code']), (400, 'invalid'))
        self.assertIn("1 rows were rejected, 1 are taken; row 2: field 'core'", said['message'])
        self.wait_rows('cpu', 'time, host, core, usage, busy, note', t,
                       [(t * 10**6, 'a b', 3, 0.5, 1, 'a "b"\nä'), ((t + 2) * 10**6, 'ms', None, 1.0, None, None),
                        ((t + 3) * 10**6, 'us', None, 1000.0, None, None), ((t + 4) * 10**6, 'ns', None, 2.0, None, None),
                        ((t + 5) * 10**6, 'text', None, 3.0, None, None)])
        self.wait_rows('mem', 'time, host, used, percent', t, [((t + 1) * 10**6, 'x', 17, 12.5)])
        for bad in ('[]', '{', '{"metrics":[{}]}', '{"metrics":[7]}', '{"metrics":{}}', '{"name":"cpu"}', '{"name":"cpu","fields":[1]}',
                    '{"name":"cpu","fields":{"usage":1},"timestamp":1.5}', '{"name":"cpu","fields":{},"timestamp":"soon"}', 'x'):
            self.assertEqual(self.write(bad, '/api/v1/telegraf').status, 400, bad)

    def test_bodies_compressed_with_zstd(self):
        """Frames of raw blocks and of one byte repeated, by RFC 8878; and those of the program, if it is there."""
        answer = self.write(b'x', **{'Content-Encoding': 'zstd'})
        if answer.status == 415:
            self.skipTest('built without zstd')
        self.assertEqual(json.loads(answer.body)['detail'][:30], 'the body is not valid zstd: Un')
        t = T0_S + 7600

        def block(size, kind, last, content):
            return struct.pack('<I', size << 3 | kind << 1 | last)[:3] + content
        line = f'mem used=1i {t}000000000\n'.encode()

        def frame(*blocks):
            return struct.pack('<IBB', 0xFD2FB528, 0, 13 << 3) + b''.join(blocks)  # a window of 8 MiB
        feeds = block(2**17, 1, 0, b'\n')
        skippable = struct.pack('<II', 0x184D2A50, 3) + b'abc'
        body = frame(feeds, block(len(line), 0, 1, line)) + skippable + frame(feeds, block(len(line), 0, 1, line.replace(b'=1', b'=2')))
        zstd = {'Content-Encoding': 'zstd'}
        answer = self.write(body, **zstd)
        self.assertEqual((answer.status, answer.headers['Weir-Accepted']), (204, '2'), answer.body)
        answer = self.server.request('POST', '/api/v2/write', (body[i:i + 1] for i in range(len(body))), zstd)
        self.assertEqual((answer.status, answer.headers['Weir-Accepted']), (204, '2'), answer.body)
        self.wait_rows('mem', 'used', t, [(1,), (2,), (1,), (2,)])
        for bad, status in ((body[:-1], 400), (b'', 204), (struct.pack('<IBB', 0xFD2FB528, 0, 14 << 3), 400),
                            (frame(*[feeds] * 9, block(1, 0, 1, b'\n')), 413)):
            self.assertEqual(self.write(bad, **zstd).status, status, bad[:20])
        program = shutil.which('zstd')
        if program:
            lines = ''.join(f'mem used={i}i {t + 10}{i:09d}\n' for i in range(3000)).encode()
            packed = subprocess.run([program, '-19', '-c'], input=lines, stdout=subprocess.PIPE, check=True).stdout
            answer = self.write(packed, **zstd)
            self.assertEqual((answer.status, answer.headers['Weir-Accepted']), (204, '3000'), answer.body)

    def test_what_alerts_need_is_measured(self):
        """Prometheus reads histograms so: https://prometheus.io/docs/concepts/metric_types/#histogram"""
        self.assertEqual(self.write(f'mem used=1i {T0_S + 8000}000000000\n').status, 204)
        self.wait_rows('mem', 'used', T0_S + 8000, [(1,)])
        for name in ('weir_http_request_duration_seconds', 'weir_store_commit_duration_seconds'):
            found = self.server.metrics()
            counts = [value for labels, value in found[name + '_bucket']]
            bounds = [float(labels['le']) for labels, value in found[name + '_bucket']]
            self.assertEqual((counts, bounds), (sorted(counts), sorted(bounds)))
            self.assertEqual((bounds[-1], counts[-1]), (float('inf'), found[name + '_count'][0][1]))
            self.assertGreater(counts[-1], 0)
            self.assertGreater(found[name + '_sum'][0][1], 0)
        def are_same():  # unless there is one just now
            found = self.server.metrics()
            return found['weir_store_commit_duration_seconds_count'] == found['weir_store_commits_total']
        harness.wait_until(are_same, 'as many durations as commits')
        self.assertLess(self.server.metric('weir_store_last_commit_age_seconds'), harness.LIMIT_S)
        harness.wait_until(lambda: self.server.watermark('mem_rows'), 'a watermark')
        harness.wait_until(lambda: abs(time.time() - self.server.watermark('mem_rows') / 10**6 - self.server.metric(
            'weir_pipeline_watermark_lag_seconds', pipeline='mem_rows')) < 1, 'the lag of the watermark')

    def test_without_a_time_it_is_that_of_arrival(self):
        before = self.server.rows("SELECT CAST(strftime('%s', 'now') AS INTEGER) * 1000000")[0][0]
        self.assertEqual(self.write('now v=1i 5\nnow v=2i\nmem,host=late used=1i\n').status, 204)
        harness.wait_until(lambda: len(self.server.rows('SELECT * FROM now_rows')) == 2, 'two rows')
        harness.wait_until(lambda: self.server.rows("SELECT * FROM mem_rows WHERE host = 'late'"), 'a row')
        for table in ('now_rows', "mem_rows WHERE host = 'late'"):
            for (time,) in self.server.rows(f'SELECT time FROM {table}'):
                self.assertLess(abs(time - before), 60 * 10**6)

    def test_what_clients_ask_before(self):
        answer = self.server.get('/ping')
        self.assertEqual((answer.status, answer.headers['X-Influxdb-Version']), (204, '1.8.0'))
        self.assertEqual(self.server.request('HEAD', '/ping').status, 204)
        self.assertEqual(self.server.get_json('/health')['status'], 'pass')

    def test_what_was_answered_survives_a_kill(self):
        t = T0_S + 4000
        with harness.Server(CONFIG) as server:
            lines = ''.join(f'mem used={i}i {t + i}000000000\ncpu usage={i} {t + i}000000000\n' for i in range(50))
            self.assertEqual(server.request('POST', '/write', lines.encode()).status, 204)
            server.restart()
            for stream, column in (('mem', 'used'), ('cpu', 'usage')):
                harness.wait_until(lambda s=stream: server.rows(f'SELECT count(*) FROM {s}_rows') == [(50,)], stream)
                self.assertEqual(server.rows(f'SELECT sum({column}) FROM {stream}_rows'), [(sum(range(50)),)])


if __name__ == '__main__':
    harness.main()
