# SPDX-License-Identifier: Apache-2.0
"""Whatever a client sends, it gets an error that says where, and the server goes on."""

import gzip
import json
import socket
import time
import unittest

import harness

T0 = 1700000000000
CONFIG = '''
server: {listen: {listen}, database: {folder}/weir.db, max_body: 1MiB, max_record: 4KiB,
         sql_timeout: SQL_TIMEOUT, sql_max_rows: 1000, sql_max_bytes: 1MiB}
streams:
  input: {time: {field: ts, unit: ms}, fields: {key: string, n: int, x: float, yes: bool}}
pipelines:
  results_1s: {from: input, key: [key], window: {tumbling: 1s}, idle_timeout: 1h,
               analyzers: [count, {stats: {of: n, emit: [sum]}}]}
'''.replace('SQL_TIMEOUT', f'{round(harness.LIMIT_S / 30)}s')


def good(n=1, key='good'):
    return json.dumps({'ts': T0, 'key': key, 'n': n, 'x': 0.5, 'yes': True})


class BadInput(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = harness.Server.for_class(cls, CONFIG)

    def rejected(self, reason):
        return self.server.metric('weir_rejected_total', stream='input', reason=reason)

    def check_problem(self, answer, status, code=None):
        self.assertEqual(answer.status, status, answer.body)
        self.assertEqual(answer.headers['Content-Type'], 'application/problem+json')
        problem = json.loads(answer.body)
        self.assertEqual(problem['status'], status)
        self.assertRegex(problem['code'], '^[a-z][a-z0-9_]*$')
        self.assertTrue(problem['title'])
        if code:
            self.assertEqual(problem['code'], code)
        return problem

    def check_line(self, line, reason, content_type='application/x-ndjson', head='', at=2):
        """The bad line between two good ones is rejected alone, with its number."""
        if isinstance(line, str):
            line = line.encode()
        rows = [good(), line, good()] if not head else [head, '1700000000000,good,1', line,
                                                       '1700000000000,good,1']
        body = b'\n'.join(r.encode() if isinstance(r, str) else r for r in rows) + b'\n'
        before = self.rejected(reason)
        answer = self.server.post('input', body, content_type)
        self.assertEqual(answer.status, 200, answer.body)
        said = json.loads(answer.body)
        self.assertEqual((said['accepted'], said['rejected']), (2, 1), said)
        error = said['errors'][0]
        self.assertEqual((error['line'], error['reason']), (at, reason), said)
        self.assertTrue(error['message'])
        self.assertLessEqual(error.get('column', 0), len(line) + 1)
        self.assertEqual(self.rejected(reason), before + 1)
        return error

    # ---- Events ----------------------------------------------------------------------------------

    def test_malformed_json_is_rejected_with_line_and_column(self):
        ts = '{"ts":%d,' % T0
        for line in ('{', 'x', ts + '}', ts + '"n":}', ts + '"n":1,}',
                     ts + '"n" 1}', ts + '"n":1}}', ts + '"n":01}', ts + '"n":+1}', ts + '"n":.5}',
                     ts + '"x":1.}', ts + '"x":1e}', ts + '"x":NaN}', ts + '"x":Infinity}',
                     ts + '"x":0x10}', ts + '"yes":tru}', ts + '"yes":True}', ts + "'n':1}",
                     ts + 'n:1}', ts + '"key":"a\tb"}', ts + '"key":"\\x"}', ts + '"key":"\\u12"}',
                     ts + '"other":[1,2}',
                     ts + '"other":{"a":}}', ts + '"other":[01]}', ts + '"n":1} {}',
                     ts + '"key":"open', ts + '"n":1', ts + '"n":-}', ts + '"other":nul}'):
            with self.subTest(line=line):
                self.check_line(line, 'syntax')

    def test_json_that_is_no_object_is_rejected(self):
        for line in ('[]', '1', '"a"', 'null', 'true', '[{"ts":%d}]' % T0):
            with self.subTest(line=line):
                self.check_line(line, 'type')

    def test_column_of_a_fault_is_where_it_is(self):
        line = '{"ts":%d,"other":[1,2,}],"n":1}' % T0
        self.assertEqual(self.check_line(line, 'syntax')['column'], line.index('}]') + 1)

    def test_text_that_is_not_utf8_is_rejected(self):
        for raw in (b'\xff', b'\xc0\x80', b'\xed\xa0\x80', b'\xf4\x90\x80\x80', b'\xe2\x82', b'\x80',
                    b'\xf8\x88\x80\x80\x80'):
            for field in (b'key', b'other'):
                with self.subTest(raw=raw, field=field):
                    self.check_line(b'{"ts":%d,"%s":"a%sb"}' % (T0, field, raw), 'utf8')

    def test_half_of_a_surrogate_pair_is_rejected(self):
        for text in ('\\ud800', '\\udc00', '\\ud800\\ud800', '\\ud800x', '\\udbff\\u0041'):
            with self.subTest(text=text):
                self.check_line('{"ts":%d,"key":"%s"}' % (T0, text), 'utf8')

    def test_deeply_nested_json_is_rejected(self):
        self.check_line('{"ts":%d,"other":%s%s}' % (T0, '[' * 1500, ']' * 1500), 'depth')

    def test_line_over_the_limit_is_rejected_and_the_next_one_taken(self):
        self.check_line('{"ts":%d,"key":"%s"}' % (T0, 'x' * 5000), 'too_long')
        self.check_line('{"ts":%d,"key":"%s"}' % (T0, 'x' * 500000), 'too_long')

    def test_value_of_another_type_is_rejected(self):
        for part in ('"n":"1"', '"n":1.5', '"n":true', '"n":[1]', '"n":{}', '"x":"1"', '"x":false',
                     '"key":1', '"key":true', '"key":["a"]', '"yes":1', '"yes":"true"'):
            with self.subTest(part=part):
                self.check_line('{"ts":%d,%s}' % (T0, part), 'type')

    def test_number_out_of_range_is_rejected(self):
        for part in ('"n":9223372036854775808', '"n":-9223372036854775809', '"x":1e309', '"x":-1e999',
                     '"n":1' + '0' * 100):
            with self.subTest(part=part):
                self.check_line('{"ts":%d,%s}' % (T0, part), 'range')

    def test_event_without_a_readable_time_is_rejected(self):
        for line in ('{}', '{"key":"a"}', '{"ts":null,"key":"a"}'):
            with self.subTest(line=line):
                self.check_line(line, 'no_time')
        for line in ('{"ts":"now"}', '{"ts":true}', '{"ts":[%d]}' % T0):
            with self.subTest(line=line):
                self.check_line(line, 'type')

    def test_time_far_in_the_future_is_rejected(self):
        self.check_line('{"ts":%d,"key":"a"}' % ((time.time() + 86400) * 1000), 'future')

    def test_time_in_another_unit_is_rejected(self):
        self.check_line('{"ts":%d,"key":"a"}' % time.time(), 'unit')
        self.check_line('{"ts":%d,"key":"a"}' % (time.time() * 1e6), 'future')

    def test_csv_row_with_too_few_or_too_many_fields_is_rejected(self):
        for row in ('1700000000000,a', '1700000000000', '1700000000000,a,1,2'):
            with self.subTest(row=row):
                self.check_line(row, 'fields', 'text/csv', 'ts,key,n', at=3)

    def test_csv_row_with_a_wrong_value_is_rejected(self):
        self.check_line('1700000000000,a,many', 'type', 'text/csv', 'ts,key,n', at=3)
        self.check_line('1700000000000,a"b,1', 'syntax', 'text/csv', 'ts,key,n', at=3)
        self.check_line('when,a,1', 'type', 'text/csv', 'ts,key,n', at=3)

    def test_csv_without_the_time_column_is_refused(self):
        self.check_problem(self.server.post('input', 'key,n\na,1\n', 'text/csv'), 400)

    def test_truncated_array_is_refused_whole(self):
        before = self.server.metric('weir_events_total', stream='input')
        for end in (',{"ts":', ',', '', ',{"ts":1,"key":"' + 'x' * 5000):
            body = '[%s,%s%s' % (good(), good(), end)
            problem = self.check_problem(self.server.post('input', body, 'application/json'), 400,
                                         'malformed')
            self.assertIn('0 events were taken', problem['detail'])
        self.assertEqual(self.server.metric('weir_events_total', stream='input'), before)

    def test_only_the_first_hundred_errors_are_told(self):
        said = json.loads(self.server.post('input', 'bad\n' * 250 + good()).body)
        self.assertEqual((said['accepted'], said['rejected'], len(said['errors'])), (1, 250, 100))
        self.assertEqual([e['line'] for e in said['errors']], list(range(1, 101)))

    # ---- Requests --------------------------------------------------------------------------------

    def test_unknown_stream_is_404(self):
        problem = self.check_problem(self.server.post('inptu', good()), 404, 'unknown_stream')
        self.assertIn('inptu', problem['detail'])

    def test_unknown_path_is_404_and_wrong_method_405(self):
        self.check_problem(self.server.get('/api/v1/nothing'), 404)
        answer = self.server.request('DELETE', '/api/v1/streams/input/events')
        self.check_problem(answer, 405)
        self.assertIn('POST', answer.headers['Allow'])

    def test_unknown_content_type_and_encoding_are_415(self):
        self.check_problem(self.server.post('input', good(), 'application/xml'), 415)
        self.check_problem(self.server.post('input', good(), Content_Encoding='br'), 415)

    def test_body_over_the_limit_is_413(self):
        self.check_problem(self.server.post('input', (good() + '\n') * 20000), 413)
        bomb = gzip.compress(b' ' * 50000000 + b'\n')
        self.check_problem(self.server.post('input', bomb, Content_Encoding='gzip'), 413)

    def test_broken_gzip_is_400(self):
        whole = gzip.compress((good() + '\n').encode() * 1000)
        for body in (b'not gzip', whole[:len(whole) // 2], whole[:20] + b'\xff' * 40):
            with self.subTest(body=body[:10]):
                self.check_problem(self.server.post('input', body, Content_Encoding='gzip'), 400)

    def test_client_that_goes_away_in_mid_body_harms_nobody(self):
        self.server.wait_metric('weir_http_requests_active', 1)  # who asks
        sockets = []
        for _ in range(20):
            sockets.append(socket.create_connection(('127.0.0.1', self.server.port)))
            sockets[-1].sendall(b'POST /api/v1/streams/input/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: '
                                b'application/x-ndjson\r\nContent-Length: 100000\r\n\r\n{"ts":17000')
        self.server.wait_metric('weir_http_requests_active', 21)
        for s in sockets:
            s.close()
        self.server.wait_metric('weir_http_requests_active', 1)
        self.server.post_ok('input', good())

    def test_client_that_goes_away_with_its_last_bytes_is_noticed_at_once(self):
        for _ in range(20):
            with socket.create_connection(('127.0.0.1', self.server.port)) as s:
                s.sendall(b'POST /api/v1/streams/input/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: '
                          b'application/x-ndjson\r\nContent-Length: 100000\r\n\r\n{"ts":17000')
        self.server.wait_metric('weir_http_requests_active', 1)
        self.server.post_ok('input', good())

    def test_bytes_that_are_not_http_harm_nobody(self):
        for raw in (b'\x16\x03\x01\x02\x00', b'GET\r\n\r\n', b'POST / HTTP/9.9\r\n\r\n',
                    b'GET / HTTP/1.1\r\n' + b'X: ' + b'y' * 100000 + b'\r\n\r\n'):
            with socket.create_connection(('127.0.0.1', self.server.port)) as s:
                try:
                    s.sendall(raw)
                    s.shutdown(socket.SHUT_WR)
                    while s.recv(65536):
                        pass
                except OSError:
                    pass
        self.server.post_ok('input', good())

    # ---- SQL -------------------------------------------------------------------------------------

    def sql(self, statement):
        return self.server.request('POST', '/api/v1/sql', statement.encode(),
                                   {'Content-Type': 'text/plain'})

    def test_sql_that_does_more_than_read_is_refused(self):
        for statement in ('DELETE FROM results_1s', 'DROP TABLE results_1s', 'CREATE TABLE t (x)',
                          "INSERT INTO weir_meta VALUES ('a', 'b')", 'UPDATE results_1s SET count = 0',
                          "ATTACH '/tmp/other.db' AS other", 'PRAGMA journal_mode = DELETE',
                          'PRAGMA query_only = 0', 'BEGIN', 'VACUUM', "VACUUM INTO '/tmp/copy.db'",
                          "SELECT load_extension('x')", 'CREATE TEMP TABLE t (x)',
                          "SELECT writefile('/tmp/x', 'y')", 'ANALYZE', 'REINDEX', 'DETACH main',
                          'WITH a AS (SELECT 1) DELETE FROM results_1s'):
            with self.subTest(statement=statement):
                answer = self.sql(statement)
                self.assertIn(answer.status, (400, 403, 422), answer.body)
                self.check_problem(answer, answer.status)

    def test_sql_that_is_wrong_is_refused_with_the_reason(self):
        for statement, word in (('SELEC 1', 'syntax'), ('SELECT nothing FROM results_1s', 'nothing'),
                                ('SELECT * FROM nowhere', 'nowhere'), ('', ''),
                                ('SELECT 1; SELECT 2', ''), ("SELECT 'open", '')):
            with self.subTest(statement=statement):
                answer = self.sql(statement)
                self.assertIn(answer.status, (400, 422), answer.body)
                self.assertIn(word, self.check_problem(answer, answer.status)['detail'])

    def test_sql_in_a_json_body_that_is_wrong_is_refused(self):
        for body in (b'', b'   ', b'[]', b'{', b'{}', b'{"sql":1}', b'{"sql":"SELECT 1","other":2}',
                     b'{"sql":"SELECT :a","params":{}}', b'{"sql":"SELECT 1","params":{"a":1}}',
                     b'{"sql":"SELECT :a","params":{"a":1,"\\u0061":2}}',
                     b'{"sql":"SELECT 1","timeout_ms":"long"}', b'\xff'):
            with self.subTest(body=body):
                self.check_problem(self.server.request('POST', '/api/v1/sql', body, {
                    'Content-Type': 'application/json'}), 400)

    def test_sql_that_never_ends_is_stopped(self):
        started = time.monotonic()
        answer = self.sql('WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) '
                          'SELECT count(*) FROM c')
        self.check_problem(answer, 504)
        self.assertLess(time.monotonic() - started, harness.LIMIT_S / 3)

    def test_sql_that_returns_too_much_is_cut_and_says_so(self):
        answer = self.sql('WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 5000) '
                          'SELECT x FROM c')
        self.assertEqual(answer.status, 200, answer.body)
        self.assertIn(b'"truncated":true', answer.body)
        answer = self.sql('WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 900) '
                          'SELECT printf(\'%10000d\', x) AS wide FROM c')
        self.assertEqual(answer.status, 200)
        self.assertIn(b'"truncated":true', answer.body)
        self.assertLess(len(answer.body), 3000000)

    def test_zz_afterwards_the_server_still_counts(self):
        before = self.server.metric('weir_events_total', stream='input')
        self.server.post_ok('input', '\n'.join(good(i, 'after') for i in range(10)))
        self.server.post_ok('input', json.dumps({'ts': T0 + 5000}))
        self.assertEqual(self.server.metric('weir_events_total', stream='input'), before + 11)
        self.server.wait_watermark('results_1s', (T0 + 5000) * 1000)
        found = self.server.rows("SELECT count, n_sum FROM results_1s WHERE key = 'after'")
        self.assertEqual(found, [(10, 45)])
        answer = self.server.get_json('/api/v1/pipelines')
        self.assertIn('results_1s', repr(answer))


if __name__ == '__main__':
    harness.main()
