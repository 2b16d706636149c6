# SPDX-License-Identifier: Apache-2.0
"""HTTP as the standard says, byte by byte, and as clients speak it that people use."""

import email.utils
import json
import re
import shutil
import socket
import subprocess
import time
import unittest
import urllib.parse
import urllib.request

import harness

T0 = 1700000000
CONFIG = '''
server: {listen: {listen}, database: {folder}/weir.db, sql_timeout: 10m, commit_interval: 20ms, hosts: [weir.example]}
streams:
  s: {time: {field: ts, unit: s}, fields: {k: string, l: string}}
pipelines:
  p: {from: s, key: [k], window: {tumbling: 10s}, idle_timeout: off, analyzers: [count]}
  q: {from: s, key: [k, l], window: {tumbling: 10s}, idle_timeout: off, analyzers: [count]}
'''
EVENTS = '/api/v1/streams/s/events'
LINE = b'{"ts":1700000000,"k":"a","l":"b"}\n'
SQL = '/api/v1/sql?q=SELECT+1'


class Http(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = harness.Server.for_class(cls, CONFIG)

    def raw(self, request, half_close=False):
        """Everything that comes back until the server closes. A client that has closed its half is told `100 Continue` where
        its query takes a while (docs/http.md): it reads over that."""
        with socket.create_connection(('127.0.0.1', self.server.port), timeout=harness.LIMIT_S) as s:
            s.sendall(request)
            if half_close:
                s.shutdown(socket.SHUT_WR)
            answer = b''.join(iter(lambda: s.recv(65536), b''))
        return answer.removeprefix(b'HTTP/1.1 100 Continue\r\n\r\n') if half_close else answer

    def check_refused(self, answer, status, code):
        head, _, body = answer.partition(b'\r\n\r\n')
        self.assertEqual(int(head[9:12]), status, answer[:300])
        self.assertIn(b'\r\nContent-Type: application/problem+json', head)
        self.assertIn(b'\r\nConnection: close', head)
        self.assertEqual(json.loads(body)['code'], code)

    def accepted(self):
        return self.server.metric('weir_events_total', stream='s')

    # ---- Framing ---------------------------------------------------------------------------------

    def test_what_two_readers_could_read_in_two_ways_is_refused_and_counted(self):
        before = self.accepted(), self.server.metric('weir_http_requests_total', status='400')
        fields = [b'Content-Length: 34\r\nContent-Length: 5\r\n',
                  b'Content-Length : 34\r\n',
                  b'Content-Length: 3\r\n 4\r\n',
                  b'Content-Length: 34\0\r\n',
                  b'Content-Length\0: 34\r\n',
                  b'Content-Length: +34\r\n',
                  b'Content-Length: 34\r\nTransfer-Encoding: chunked\r\n',
                  b'Content-Length: 34\r\nTransfer-Encoding : chunked\r\n',
                  b'Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n',
                  b'Transfer-Encoding:\r\n chunked\r\n',
                  b'Content-Length: 34\r\nHost: localhost\r\n',
                  b'Content-Length: 34\r\nIdempotency-Key: a\r\nIdempotency-Key: b\r\n',
                  b'Content-Length: 34\r\nContent-Type: text/csv\r\nContent-Type: application/x-ndjson\r\n']
        for field in fields:
            self.check_refused(self.raw(b'POST %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n%s' %
                                        (EVENTS.encode(), field, LINE)), 400, 'malformed')
        for head in (b'\r\n Host: localhost\r\nContent-Length: 34', b'\r\nContent-Length: 34'):
            self.check_refused(self.raw(b'POST %s HTTP/1.1%s\r\n\r\n%s' %
                                        (EVENTS.encode(), head, LINE)), 400, 'malformed')
        self.assertEqual(self.accepted(), before[0])
        self.server.wait_metric('weir_http_requests_total', before[1] + len(fields) + 2, status='400')

    def test_body_without_a_length_is_411(self):
        before = self.accepted()
        self.check_refused(self.raw(b'POST %s HTTP/1.0\r\n\r\n%s' % (EVENTS.encode(), LINE)), 411,
                           'length_required')
        self.assertEqual(self.accepted(), before)
        self.assertEqual(self.server.request('POST', '/api/v1/backup').status, 201)

    def test_bad_chunks_are_refused(self):
        self.check_refused(self.raw(b'POST %s HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n'
                                    b'zz\r\n' % EVENTS.encode()), 400, 'malformed')

    def test_head_has_the_length_of_get_or_none(self):
        self.server.post_ok('s', LINE)
        for path in ('/live', '/version', '/openapi.json', SQL, '/api/v1/pipelines/p/results', '/none'):
            length = self.server.request('HEAD', path).headers['Content-Length']
            self.assertIn(length, (None, str(len(self.server.get(path).body))), path)

    def test_absolute_target_is_a_path_and_a_host(self):
        answer = self.raw(b'GET http://localhost:1/live HTTP/1.1\r\nHost: x.example\r\nConnection: close\r\n\r\n')
        self.assertEqual(answer[9:12], b'200')
        answer = self.raw(b'GET http://x.example/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n')
        self.assertEqual(answer[9:12], b'421')

    def test_client_that_half_closes_is_answered(self):
        for request in (b'GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n',
                        b'GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n' % SQL.encode(),
                        b'POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s' %
                        (EVENTS.encode(), len(LINE), LINE),
                        b'GET /live HTTP/1.0\r\n\r\n'):
            self.assertEqual(self.raw(request, half_close=True)[9:12], b'200', request)

    def test_requests_before_a_half_close_are_all_answered(self):
        get = b'GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n'
        post = (b'POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s' %
                (EVENTS.encode(), len(LINE), LINE))
        before = self.accepted()
        for requests in ([get] * 3, [post, get, post], [get] * 2000):
            with socket.socket() as s:
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)  # all of it, and its end, at once
                s.settimeout(harness.LIMIT_S)
                s.connect(('127.0.0.1', self.server.port))
                s.sendall(b''.join(requests))
                s.shutdown(socket.SHUT_WR)
                answers = b''.join(iter(lambda: s.recv(65536), b''))
            self.assertEqual(answers.count(b'HTTP/1.1 200 '), len(requests))
        self.assertEqual(self.accepted(), before + 2)

    def test_too_much_is_told_at_once(self):
        self.check_refused(self.raw(b'GET / HTTP/1.1\r\nHost: localhost\r\nX: %s\r\n\r\n' % (b'x' * 70000)),
                           431, 'headers_too_large')
        self.check_refused(self.raw(b'GET /%s HTTP/1.1\r\nHost: localhost\r\n\r\n' % (b'x' * 70000)),
                           414, 'uri_too_long')
        many = '&'.join(f'k={i}' for i in range(1000))
        answer = self.server.get('/api/v1/pipelines/p/results?' + many)
        self.assertEqual((answer.status, json.loads(answer.body)['code']), (400, 'bad_parameter'))
        self.assertEqual(self.server.get('/live?' + many).status, 400)

    def test_unknown_parameters_are_errors_everywhere(self):
        paths = ['/', '/live', '/livez', '/ready', '/readyz', '/healthz', '/version', '/metrics',
                 '/openapi.json', '/api/v1/streams', '/api/v1/streams/s', '/api/v1/pipelines',
                 '/api/v1/pipelines/p', '/api/v1/pipelines/p/watermarks', '/api/v1/plugins',
                 '/api/v1/streams/s/dead-letters', '/api/v1/pipelines/p/results']
        for path in paths:
            self.assertEqual(self.server.get(path).status, 200, path)
            self.assertEqual(self.server.get(path + '?nonsense=1').status, 400, path)
        self.assertEqual(self.server.get(SQL + '&nonsense=1').status, 400)
        self.assertEqual(self.server.request('POST', '/api/v1/backup?nonsense=1').status, 400)
        self.assertEqual(self.server.request('DELETE', '/api/v1/streams/s/dead-letters?x=1').status, 400)
        self.assertEqual(self.server.request('POST', EVENTS + '?precision=s', LINE).status, 400)

    def test_parameter_that_is_there_twice_is_an_error(self):
        """Which of the two is meant is not known; key columns are given as often as one likes."""
        results = '/api/v1/pipelines/p/results'
        for path in (results + '?limit=1&limit=2', results + '?from=1&k=a&from=1', results + '/live?times=s&times=s',
                     results + '?changed_since=now&changed_since=now', SQL + '&format=csv&format=json',
                     SQL + '&q=SELECT+2', SQL + '&sql=SELECT+2', '/api/v1/streams/s/dead-letters?limit=1&limit=1'):
            answer = self.server.get(path)
            self.assertEqual((path, answer.status, json.loads(answer.body)['code']), (path, 400, 'bad_parameter'))
        for path in ('/write', '/api/v2/write'):
            before = self.accepted()
            answer = self.server.request('POST', path + '?precision=s&precision=ms', b's k="a" 1700000000\n')
            self.assertEqual((answer.status, self.accepted()), (400, before))
        self.assertEqual(self.server.get(results + '?k=a&k=b&key.k=c&limit=1').status, 200)

    def test_what_is_no_utf8_is_an_error(self):
        """Latin-1, say, would be another text: no row is found by it, and answers show something else."""
        for path in ('/api/v1/pipelines/p/results?k=%E9', SQL + "+AS+'%E9'", '/api/v1/pipelines/p/results?k=a&k=%ED%A0%80'):
            answer = self.server.get(path)
            self.assertEqual((path, answer.status, json.loads(answer.body)['code']), (path, 400, 'bad_parameter'))
        for body, status in ((b"SELECT '\xe9'", 400), ("SELECT '\xe9'".encode(), 200), (b"SELECT '\xc0\xaf'", 400)):
            answer = self.server.request('POST', '/api/v1/sql', body, {'Content-Type': 'text/plain'})
            self.assertEqual((body, answer.status), (body, status))
        self.assertEqual(self.server.get('/api/v1/pipelines/p/results?k=%C3%A9').status, 200)

    def test_fields_that_are_lists_go_on_in_further_lines(self):
        def of(path, fields):
            answer = self.raw(b'GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n%s\r\n' % (path.encode(), fields))
            return answer.partition(b'\r\n\r\n')[0] + b'\r\n'
        head = of('/api/v1/pipelines/p/results', b'Accept: application/xml\r\nX: a\r\naccept: text/csv\r\n')
        self.assertIn(b'\r\nContent-Type: text/csv', head)
        self.assertIn(b'\r\nContent-Encoding: gzip\r\n', of('/openapi.json', b'Accept-Encoding: br\r\nAccept-Encoding: gzip\r\n'))
        twice = self.raw(b'POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Encoding: gzip\r\nContent-Encoding: gzip\r\n'
                         b'Connection: close\r\nContent-Length: 1\r\n\r\n.' % EVENTS.encode())
        self.check_refused(twice, 415, 'unsupported_encoding')

    def test_every_answer_has_its_date(self):
        for request in (b'GET /live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n',
                        b'GET /live HTTP/1.1\r\n\r\n', b'x\r\n\r\n',
                        b'HEAD /api/v1/pipelines/p/results HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n'):
            since = int(time.time())
            dates = re.findall(rb'\r\nDate: ([^\r]*)\r\n', self.raw(request))
            self.assertEqual(len(dates), 1, request)
            date = email.utils.parsedate_to_datetime(dates[0].decode())
            self.assertEqual(email.utils.format_datetime(date, usegmt=True).encode(), dates[0])
            self.assertGreaterEqual(date.timestamp(), since - 1)
            self.assertLessEqual(date.timestamp(), time.time() + 1)

    def test_options_of_the_server(self):
        answer = self.raw(b'OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n')
        self.assertTrue(answer.startswith(b'HTTP/1.1 204 '), answer)
        self.assertIn(b'\r\nAllow: GET, HEAD, POST, DELETE, OPTIONS\r\n', answer)

    # ---- Other sites -----------------------------------------------------------------------------

    def everything(self, headers, status):
        before = self.accepted()
        for method, path, body in (('GET', SQL, None), ('POST', '/api/v1/sql', b'SELECT 1'),
                                   ('POST', EVENTS, LINE), ('POST', '/api/v1/backup', b''),
                                   ('DELETE', '/api/v1/streams/s/dead-letters', None),
                                   ('GET', '/api/v1/pipelines/p/results', None),
                                   ('GET', '/metrics', None), ('GET', '/', None),
                                   ('HEAD', '/live', None)):
            answer = self.server.request(method, path, body, headers)
            self.assertEqual(answer.status, status, (method, path, answer.body))
        self.assertEqual(self.accepted(), before)

    def test_name_that_is_not_ours_reaches_nothing(self):
        for host in ('shop.example', 'shop.example:8080', '192.0.2.1', 'localhost.shop.example'):
            self.everything({'Host': host}, 421)
        for host in ('localhost', 'LOCALHOST:99', '127.0.0.1', '[::1]:80', 'weir.example:443'):
            self.assertEqual(self.server.request('GET', SQL, headers={'Host': host}).status, 200)

    def test_page_of_another_site_reaches_nothing(self):
        for site in ('cross-site', 'same-site'):
            self.everything({'Sec-Fetch-Site': site}, 403)
        self.everything({'Origin': 'https://shop.example'}, 403)
        self.everything({'Sec-Fetch-Site': 'cross-site', 'Sec-Fetch-Mode': 'no-cors'}, 403)
        visit = {'Sec-Fetch-Site': 'cross-site', 'Sec-Fetch-Mode': 'navigate', 'Sec-Fetch-Dest': 'document'}
        self.assertEqual(self.server.request('GET', '/', headers=visit).status, 200)
        self.assertEqual(self.server.request('GET', SQL, headers=visit).status, 403)

    # ---- Nothing is cut --------------------------------------------------------------------------

    def results(self, pipeline, **arguments):
        answer = self.server.get(f'/api/v1/pipelines/{pipeline}/results?' + urllib.parse.urlencode(arguments))
        self.assertEqual(answer.status, 200, answer.body)
        return json.loads(answer.body), answer.headers

    def test_zero_characters_are_never_the_end(self):
        self.server.post_ok('s', [{'ts': T0 + 300, 'k': k, 'l': 'b'} for k in ('z', 'z\0y', 'z\0')] +
                            [{'ts': T0 + 320, 'k': 'end', 'l': ''}])
        self.server.wait_watermark('p', (T0 + 310) * 1000000)
        for key in ('z', 'z\0y', 'z\0'):
            rows, _ = self.results('p', k=key)
            self.assertEqual([row['k'] for row in rows], [key])
        for query in ('columns=k%00,count', 'limit=1%00', 'from=now%00', 'cursor=x%00', 'k%00=z', 'order=asc%00',
                      'format=csv%00', 'times=us%00'):
            self.assertEqual(self.server.get('/api/v1/pipelines/p/results?' + query).status, 400, query)
        for path in ('/live%00', '/api/v1/pipelines/p%00x/results', '/api/v1/streams/s%00'):
            self.assertEqual(self.server.get(path).status, 404, path)
        self.assertEqual(self.server.get('/api/v1/streams/s/dead-letters?limit=1%00').status, 400)
        self.assertEqual(self.server.get(SQL + '%00').status, 400)
        done = harness.weir('sql', '-d', self.server.database, '-', stdin='SELECT 1\0 junk')
        self.assertEqual((done.returncode, done.stdout), (74, ''))
        # the address of the next page has the whole key
        rows, headers = self.results('p', k='z\0y', limit=1)
        self.assertNotIn('Link', headers)

    def test_pages_go_on_behind_the_longest_keys(self):
        keys = ['%04d' % n + 'x' * n for n in (10, 500, 1000, 2047, 2048, 4089)]
        self.server.post_ok('s', [{'ts': T0 + 200, 'k': k, 'l': 'b'} for k in keys] +
                            [{'ts': T0 + 220, 'k': 'end', 'l': ''}])
        for pipeline in ('p', 'q'):
            self.server.wait_watermark(pipeline, (T0 + 210) * 1000000)
            found, arguments = [], {'limit': 1, 'from': (T0 + 200) * 1000000, 'to': (T0 + 210) * 1000000}
            while True:
                rows, headers = self.results(pipeline, **arguments)
                found += [row['k'] for row in rows]
                if 'Weir-Next-Cursor' not in headers:
                    break
                arguments['cursor'] = headers['Weir-Next-Cursor']
                link = re.fullmatch('<(.*)>; rel="next"', headers['Link'])[1]
                self.assertEqual(dict(urllib.parse.parse_qsl(link.split('?')[1])),
                                 {k: str(v) for k, v in arguments.items()})
            self.assertEqual(found, sorted(keys))

    # ---- Clients ---------------------------------------------------------------------------------

    def test_clients_that_people_use(self):
        try:
            host = socket.gethostbyname('localhost') and 'localhost'
        except OSError:  # no /etc/hosts
            host = '127.0.0.1'
        base = f'http://{host}:{self.server.port}'
        with urllib.request.urlopen(base + SQL, timeout=harness.LIMIT_S) as answer:
            self.assertEqual(json.load(answer)['rows'], [[1]])
        curl = ['curl', '-sS', '-m', str(int(harness.LIMIT_S)), '--fail-with-body']
        if shutil.which('curl'):
            def run(*arguments, **more):
                return subprocess.run([*curl, *arguments], capture_output=True, check=True, **more).stdout
            self.assertEqual(json.loads(run(base + SQL))['rows'], [[1]])
            said = json.loads(run('--data-binary', '@-', base + EVENTS, input=LINE * 50000))
            self.assertEqual(said['accepted'], 50000)
            said = json.loads(run('-T', '-', '-X', 'POST', base + EVENTS, input=LINE * 3))
            self.assertEqual(said['accepted'], 3)
            run('-X', 'POST', base + '/api/v1/backup')
            self.assertIn(b' 200 ', run('-I', base + '/live'))
            self.assertEqual(json.loads(run('--http1.0', base + SQL))['rows'], [[1]])
        node = shutil.which('node')
        if node:
            script = '''
                const base = process.argv[1];
                (async () => {
                  for (let i = 0; i < 3; i++) {
                    const r = await fetch(base + '/api/v1/sql?q=SELECT+1');
                    if ((await r.json()).rows[0][0] !== 1) throw new Error('rows');
                  }
                  const p = await fetch(base + '%s', {method: 'POST', body: process.argv[2],
                                        headers: {'Content-Type': 'application/x-ndjson'}});
                  if ((await p.json()).accepted !== 1) throw new Error('accepted');
                  const n = await fetch(base + '/nothing');
                  if (n.status !== 404) throw new Error('status');
                })().catch(e => { console.error(e); process.exit(1); });
            ''' % EVENTS
            done = subprocess.run([node, '-e', script, base, LINE.decode()], capture_output=True,
                                  text=True, check=False, timeout=harness.LIMIT_S)
            self.assertEqual((done.returncode, done.stderr), (0, ''))


if __name__ == '__main__':
    harness.main()
