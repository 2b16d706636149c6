# SPDX-License-Identifier: Apache-2.0
"""How answers come: packed, to HEAD, with times in other units, and what has changed since the last one."""

import csv
import gzip
import io
import json
import socket
import unittest
import urllib.parse
import zlib

import harness

T0 = 1700000000000
CONFIG = '''
server: {listen: {listen}, database: {folder}/weir.db, sql_timeout: 10m}
streams:
  input: {time: {field: ts, unit: ms}, fields: {city: string, n: int}}
pipelines:
  cities:
    from: input
    key: city
    window: {tumbling: 1500ms}
    idle_timeout: 1h
    late: revise
    allowed_lateness: 1h
    analyzers: [count, {stats: {of: n, emit: [sum]}}]
'''
RESULTS = '/api/v1/pipelines/cities/results'


def unpack(answer):
    """The body as it was, which must come packed."""
    assert answer.headers['Content-Encoding'] == 'gzip', (answer.status, answer.headers.items())
    return gzip.decompress(answer.body)


class Answers(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = harness.Server.for_class(cls, CONFIG)
        cls.server.post_ok('input', [{'ts': T0 + i * 10, 'city': f'city {i % 37}', 'n': i} for i in range(30000)] +
                           [{'ts': T0 + 600000, 'city': 'last', 'n': 0}])
        cls.server.wait_watermark('cities', (T0 + 600000) * 1000)

    def ask(self, path, encoding=None, method='GET', **headers):
        if encoding is not None:
            headers['Accept-Encoding'] = encoding
        answer = self.server.request(method, path, headers=headers)
        self.assertEqual(answer.status, 200, answer.body)
        return answer

    # ---- gzip ------------------------------------------------------------------------------------

    def test_answers_of_any_length_are_packed_for_those_who_want_it(self):
        sql = '/api/v1/sql?' + urllib.parse.urlencode({'q': 'SELECT * FROM cities', 'format': 'csv'})
        long = '/api/v1/sql?' + urllib.parse.urlencode({'q': '''
            WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000)
            SELECT i, i * 2654435761 % 1000003 AS noise FROM n''', 'format': 'ndjson'})
        for path in (RESULTS + '?limit=20', RESULTS + '?limit=100', RESULTS + '?format=ndjson&limit=all', sql, long,
                     '/metrics', '/openapi.json', '/', '/page/main.js', '/api/v1/plugins'):
            plain = self.ask(path)
            packed = self.ask(path, 'gzip, deflate, br')
            self.assertNotIn('Content-Encoding', plain.headers)
            self.assertIn('Accept-Encoding', plain.headers.get_all('Vary'))
            self.assertIn('Accept-Encoding', packed.headers.get_all('Vary'))
            if path == '/metrics':
                self.assertIn(b'weir_build_info', unpack(packed))
            else:
                self.assertEqual(unpack(packed), plain.body, path)
            self.assertLess(len(packed.body), len(plain.body), path)

    def test_what_accept_encoding_says(self):
        path = RESULTS + '?limit=1000'
        for encoding in ('gzip', 'GZIP', 'x-gzip', 'br, gzip;q=0.5', 'gzip;q=0.001', '*', '*;q=0.1', 'deflate, gzip;q=1.0',
                         'gzip;q=0.5, identity;q=0.5', 'identity;q=0, gzip'):
            self.assertEqual(self.ask(path, encoding).headers['Content-Encoding'], 'gzip', encoding)
        for encoding in ('', 'identity', 'br', 'deflate', 'gzip;q=0', 'gzip;q=0.000, *', '*;q=0', 'gzip;q=0.4, identity',
                         'gzip;q=0.4, identity;q=0.5'):
            self.assertNotIn('Content-Encoding', self.ask(path, encoding).headers, encoding)

    def test_short_answers_and_problems_come_as_they_are(self):
        for path in ('/version', RESULTS + '?limit=1'):
            self.assertNotIn('Content-Encoding', self.ask(path, 'gzip').headers)
        answer = self.server.get('/api/v1/pipelines/none/results', Accept_Encoding='gzip')
        self.assertEqual((answer.status, json.loads(answer.body)['code']), (404, 'unknown_pipeline'))

    def test_a_failure_in_mid_answer_is_no_whole_gzip(self):
        """Limits of rows are told by cutting the transfer where the format cannot say it."""
        config = CONFIG.replace('server: {', 'server: {sql_max_rows: 50000, ')
        statement = 'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i, random() FROM n'
        with harness.Server(config) as server, socket.create_connection(('127.0.0.1', server.port)) as s:
            s.settimeout(harness.LIMIT_S)
            s.sendall(b'GET /api/v1/sql?format=csv&q=' + urllib.parse.quote(statement).encode() +
                      b' HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept-Encoding: gzip\r\n\r\n')
            data = b''
            while piece := s.recv(65536):
                data += piece
        head, body = data.split(b'\r\n\r\n', 1)
        self.assertIn(b'Content-Encoding: gzip', head)
        self.assertIn(b'Transfer-Encoding: chunked', head)
        self.assertFalse(body.endswith(b'0\r\n\r\n'))

    def test_live_results_come_one_by_one(self):
        with socket.create_connection(('127.0.0.1', self.server.port)) as s:
            s.settimeout(harness.LIMIT_S)
            s.sendall(f'GET {RESULTS}/live HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept-Encoding: gzip\r\n\r\n'.encode())
            data = b''
            while b'id: ' not in data:
                data += s.recv(65536)
        self.assertNotIn(b'Content-Encoding', data)

    def test_a_packed_answer_is_made_piece_by_piece(self):
        """More than fits into the ring, taken byte by byte at first: nothing is lost, nothing is kept in memory."""
        path = RESULTS + '?format=ndjson&limit=all'
        plain = self.ask(path).body
        with socket.create_connection(('127.0.0.1', self.server.port)) as s:
            s.settimeout(harness.LIMIT_S)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            s.sendall(f'GET {path} HTTP/1.0\r\nAccept-Encoding: gzip\r\n\r\n'.encode())
            data = s.recv(1)
            while piece := s.recv(4096):
                data += piece
        body = data.split(b'\r\n\r\n', 1)[1]
        self.assertEqual(zlib.decompress(body, 31), plain)

    # ---- HEAD ------------------------------------------------------------------------------------

    def test_head_has_the_length_of_get_or_none_on_every_route(self):
        values = {'pipeline': 'cities', 'table': 'cities', 'stream': 'input', 'file': 'main.js'}
        paths = json.loads(self.ask('/openapi.json').body)['paths']
        routes = [path.format(**values) for path, item in paths.items() if 'get' in item]
        self.assertGreaterEqual(len(routes), 20)
        more = ['/', '/page/main.js', '/page/none.js', '/none', RESULTS + '?limit=100000', RESULTS + '?limit=0',
                '/api/v1/sql?q=SELECT+1', '/api/v1/sql?q=SELECT']
        compared = 0
        for path in routes + more:
            if path.endswith('/live') and path != '/live':
                continue  # it has no end: below
            for encoding in ('identity', 'gzip'):
                def once(method):
                    return self.server.request(method, path, headers={'Accept-Encoding': encoding})
                first, head, second = once('GET'), once('HEAD'), once('GET')
                self.assertEqual((head.status, head.body), (first.status, b''), path)
                self.assertEqual(head.headers['Content-Type'], first.headers['Content-Type'], path)
                self.assertEqual(head.headers.get_all('Vary'), first.headers.get_all('Vary'), path)
                length = head.headers['Content-Length']
                if length is not None:  # what counts something may grow or shrink in between
                    sizes = sorted((len(first.body), len(second.body)))
                    slack = 0 if first.body == second.body else 64
                    self.assertTrue(sizes[0] - slack <= int(length) <= sizes[1] + slack, (path, length, sizes))
                    compared += 1
        self.assertGreater(compared, 20)

    def test_head_of_live_results_ends(self):
        answer = self.ask(RESULTS + '/live', method='HEAD')
        self.assertEqual((answer.headers['Content-Type'], answer.body), ('text/event-stream', b''))

    # ---- times -----------------------------------------------------------------------------------

    def stored(self, limit):
        return self.server.rows(f'SELECT window_start, city FROM cities ORDER BY 1, 2 LIMIT {limit}')

    def test_times_of_results_in_every_unit_and_format(self):
        rows = self.stored(100)
        self.assertTrue(any(us % 1000000 for us, _ in rows))
        for times, divisor in (('us', 1), ('ms', 1000), ('s', 1000000)):
            expected = [us // divisor for us, _ in rows]
            path = f'{RESULTS}?columns=window_start&limit=100&times={times}&format='
            self.assertEqual([r['window_start'] for r in json.loads(self.ask(path + 'json').body)], expected)
            self.assertEqual([json.loads(line)['window_start'] for line in self.ask(path + 'ndjson').body.splitlines()],
                             expected)
            table = list(csv.reader(io.StringIO(self.ask(path + 'csv').body.decode())))
            self.assertEqual(table, [['window_start']] + [[str(v)] for v in expected])
        answer = self.server.get(RESULTS + '?times=ns')
        self.assertEqual(answer.status, 400)
        self.assertIn('rfc3339, us, ms or s', json.loads(answer.body)['detail'])

    def test_times_of_sql_are_those_of_columns_that_are_times(self):
        us = self.stored(1)[0][0]
        text = self.server.rows('SELECT window_start FROM cities_readable ORDER BY 1 LIMIT 1')[0][0]
        statement = '''SELECT a.window_start AS t, count, a.window_start + 0 AS sum, later FROM
            (SELECT *, window_end AS later FROM cities) AS a ORDER BY 1 LIMIT 1'''
        end = us + 1500000
        for times, t, later in (('us', us, end), ('ms', us // 1000, end // 1000), ('s', us // 1000000, end // 1000000),
                                ('rfc3339', text, None), (None, us, end)):
            more = {'times': times} if times else {}
            row = json.loads(self.ask('/api/v1/sql?' + urllib.parse.urlencode({'q': statement, 'format': 'ndjson', **more})).body)
            self.assertEqual((row['t'], row['sum']), (t, us))
            if later is not None:
                self.assertEqual(row['later'], later)
            body = json.dumps({'sql': statement, **more})
            answer = self.server.request('POST', '/api/v1/sql', body, {'Content-Type': 'application/json'})
            self.assertEqual(json.loads(answer.body)['rows'][0][0], t)
        self.assertEqual(self.server.get('/api/v1/sql?q=SELECT+1&times=h').status, 400)

    def test_times_before_1970_are_rounded_down(self):
        config = CONFIG.replace('late: revise', '').replace('allowed_lateness: 1h', '')
        with harness.Server(config) as server:
            server.post_ok('input', [{'ts': -2500, 'city': 'a', 'n': 1}, {'ts': 60000, 'city': 'a', 'n': 1}])
            server.wait_watermark('cities', 60000000)
            rows = json.loads(server.get(RESULTS + '?times=s&limit=1').body)
            self.assertEqual(rows[0]['window_start'], -3)
            rows = json.loads(server.get(RESULTS + '?times=s&limit=1&columns=window_end').body)
            self.assertEqual(rows[0]['window_end'], -2)  # -1.5 s


class ChangedSince(unittest.TestCase):
    """A poller's view; what is expected is what was posted, summed here."""

    def ask(self, server, since, **more):
        answer = server.get(RESULTS + '?' + urllib.parse.urlencode(
            {'changed_since': since, 'format': 'ndjson', 'columns': 'window_start,city,count,n_sum', 'times': 'ms', **more}))
        self.assertEqual(answer.status, 200, answer.body)
        return [json.loads(line) for line in answer.body.splitlines()], answer.headers

    def test_polls_get_every_row_once_also_revised_ones_and_over_kill_9(self):
        with harness.Server(CONFIG) as server:
            rows, headers = self.ask(server, 'now')
            self.assertEqual(rows, [])
            self.assertIsNone(headers['Link'])
            place = headers['Weir-Next-Cursor']
            self.assertEqual(self.ask(server, place)[1]['Weir-Next-Cursor'], place)
            server.post_ok('input', [{'ts': T0 + i * 500, 'city': f'c{i % 2}', 'n': i} for i in range(30)])
            server.wait_watermark('cities', (T0 + 29 * 500) * 1000)
            expected = {}
            for i in range(30):
                start = (T0 + i * 500) // 1500 * 1500
                if start + 1500 <= T0 + 29 * 500:
                    count, total = expected.get((start, f'c{i % 2}'), (0, 0))
                    expected[start, f'c{i % 2}'] = (count + 1, total + i)
            seen = []
            for page in range(100):  # pages of three
                rows, headers = self.ask(server, place, limit=3)
                self.assertEqual(headers['Link'] is not None, len(seen) + len(rows) < len(expected))
                if page:
                    self.assertNotEqual(rows, [])
                seen += rows
                place = headers['Weir-Next-Cursor']
                if headers['Link'] is None:
                    break
                self.assertIn('changed_since=' + place, headers['Link'])
            found = {(r['window_start'], r['city']): (r['count'], r['n_sum']) for r in seen}
            self.assertEqual((found, len(seen)), (expected, len(expected)))

            server.restart()
            self.assertEqual(self.ask(server, place)[0], [])
            server.post_ok('input', [{'ts': T0 + 10, 'city': 'c0', 'n': 1000}])  # late: the row is given out again
            first = T0 // 1500 * 1500
            count, total = expected[first, 'c0']

            def revised():
                return self.ask(server, place)[0]
            rows = harness.wait_until(revised, 'the revised row')
            self.assertEqual(rows, [{'window_start': first, 'city': 'c0', 'count': count + 1, 'n_sum': total + 1000}])
            self.assertEqual(self.ask(server, place, city='c1')[0], [])
            self.assertEqual(self.ask(server, place, city='c0', limit='all')[0], rows)

    def test_places_that_mean_nothing(self):
        with harness.Server(CONFIG) as server:
            place = self.ask(server, 'now')[1]['Weir-Next-Cursor']
            for since, status, code in (('', 400, 'bad_parameter'), ('x', 400, 'bad_parameter'), ('1-1', 410, 'changes_lost'),
                                        (place + '9', 410, 'changes_lost'), (place[:-1] + '-1', 400, 'bad_parameter')):
                answer = server.get(RESULTS + '?' + urllib.parse.urlencode({'changed_since': since}))
                self.assertEqual((answer.status, json.loads(answer.body)['code']), (status, code), since)
            for more in ('from=-1h', 'order=desc', 'live=1', 'cursor=x', 'to=now'):
                answer = server.get(f'{RESULTS}?changed_since={place}&{more}')
                self.assertEqual(answer.status, 400, more)
                self.assertIn('not asked by pages', json.loads(answer.body)['detail'])


if __name__ == '__main__':
    harness.main()
