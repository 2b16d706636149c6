#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tokens: who may do what, how often, until when; what the log and the metrics say of it."""

import base64
import hashlib
import http.client
import json
import os
import re
import signal
import socket
import struct
import subprocess
import time
import unittest

import harness

CONFIG = '''
server:
  listen: "{listen}"
  database: {folder}/weir.db
  tokens: {folder}/tokens
  audit: [sql, admin]
  trusted_proxies: [127.0.0.0/8]
  sql_processes: 2
streams:
  trades: {time: {field: t, unit: ms}, fields: {sym: string, price: float}}
  orders: {time: {field: t, unit: ms}, fields: {sym: string, price: float}}
pipelines:
  of_trades: {from: trades, key: [sym], window: {tumbling: 1s}, analyzers: [{sum: price}]}
  of_orders: {from: orders, key: [sym], window: {tumbling: 1s}, analyzers: [{sum: price}]}
'''
EVENTS = ''.join(json.dumps({'t': 1700000000000 + 700 * i, 'sym': 'a', 'price': 2}) + '\n' for i in range(4))
LINES = 'trades,sym=a price=2 1700000000000000000'

# What each token is made with.
TOKENS = {
    'all': ['--may', 'all'],
    'post': ['--may', 'post'],
    'read': ['--may', 'read'],
    'sql': ['--may', 'sql'],
    'metrics': ['--may', 'metrics'],
    'admin': ['--may', 'admin'],
    'post_trades': ['--may', 'post', '--stream', 'trades'],
    'read_trades': ['--may', 'read', '--stream', 'trades'],
    'read_of_trades': ['--may', 'read,sql', '--pipeline', 'of_trades'],
}

# Who may do what: the table of weir-api(7). Behind each request those who may; all others get 403, and without a
# token 401.
EVERYBODY = set(TOKENS)
MAY = [
    ('POST', '/api/v1/streams/trades/events', {'all', 'post', 'post_trades'}),
    ('POST', '/api/v1/streams/orders/events', {'all', 'post'}),
    ('POST', '/api/v1/streams/nowhere/events', {'all', 'post'}),
    ('POST', '/write', {'all', 'post', 'post_trades'}),
    ('POST', '/api/v2/write', {'all', 'post', 'post_trades'}),
    ('POST', '/api/v3/write_lp', {'all', 'post', 'post_trades'}),
    ('POST', '/api/v1/write', {'all', 'post', 'post_trades'}),
    ('POST', '/api/v1/telegraf', {'all', 'post', 'post_trades'}),
    ('POST', '/v1/logs', {'all', 'post', 'post_trades'}),
    ('POST', '/v1/metrics', {'all', 'post', 'post_trades'}),
    ('GET', '/api/v1/streams', {'all', 'read', 'read_trades', 'read_of_trades'}),
    ('GET', '/api/v1/streams/trades', {'all', 'read', 'read_trades'}),
    ('GET', '/api/v1/streams/orders', {'all', 'read'}),
    ('GET', '/api/v1/streams/trades/dead-letters', {'all', 'read', 'read_trades'}),
    ('GET', '/api/v1/streams/orders/dead-letters', {'all', 'read'}),
    ('DELETE', '/api/v1/streams/trades/dead-letters', {'all', 'admin'}),
    ('GET', '/api/v1/pipelines', {'all', 'read', 'read_trades', 'read_of_trades'}),
    ('GET', '/api/v1/pipelines/of_trades', {'all', 'read', 'read_of_trades'}),
    ('GET', '/api/v1/pipelines/of_orders', {'all', 'read'}),
    ('GET', '/api/v1/pipelines/of_trades/watermarks', {'all', 'read', 'read_of_trades'}),
    ('GET', '/api/v1/pipelines/of_orders/watermarks', {'all', 'read'}),
    ('GET', '/api/v1/pipelines/of_trades/results', {'all', 'read', 'read_of_trades'}),
    ('GET', '/api/v1/pipelines/of_orders/results', {'all', 'read'}),
    ('GET', '/api/v1/pipelines/of_trades/results/of_trades', {'all', 'read', 'read_of_trades'}),
    ('GET', '/api/v1/pipelines/of_orders/results/of_orders', {'all', 'read'}),
    ('GET', '/api/v1/pipelines/of_trades/results/live', {'all', 'read', 'read_of_trades'}),
    ('GET', '/api/v1/pipelines/of_orders/results/live', {'all', 'read'}),
    ('GET', '/api/v1/pipelines/of_trades/results/of_trades/live', {'all', 'read', 'read_of_trades'}),
    ('GET', '/api/v1/pipelines/of_orders/results/of_orders/live', {'all', 'read'}),
    ('GET', '/api/v1/sql?q=SELECT+1', {'all', 'sql', 'read_of_trades'}),
    ('POST', '/api/v1/sql', {'all', 'sql', 'read_of_trades'}),
    ('POST', '/api/v1/backup', {'all', 'admin'}),
    ('GET', '/metrics', {'all', 'metrics'}),
    ('GET', '/api/v1/plugins', EVERYBODY),
    ('GET', '/api/v1/config', EVERYBODY),
    ('GET', '/api/v1/warnings', {'all', 'admin'}),
    ('GET', '/version', EVERYBODY),
    ('GET', '/openapi.json', EVERYBODY),
]
FREE = ['/live', '/livez', '/ready', '/readyz', '/healthz', '/health', '/ping', '/', '/page/main.js']


def new_token(server, *arguments):
    done = harness.weir('token', 'new', '-c', server.path, *arguments)
    if done.returncode != 0:
        raise AssertionError(done.stderr)
    return done.stdout.strip()


def bearer(token, **more):
    return {'Authorization': f'Bearer {token}', **more}


class WhoMay(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = harness.Server(CONFIG)
        cls.token = {name: new_token(cls.server, *arguments) for name, arguments in TOKENS.items()}
        cls.server.__enter__()
        cls.addClassCleanup(cls.server.__exit__, None, None, None)
        answer = cls.server.request('POST', '/api/v1/streams/trades/events', EVENTS, bearer(cls.token['all']))
        assert answer.status == 200, answer
        harness.wait_until(lambda: cls.server.rows('SELECT * FROM of_trades'), 'a result')

    def status(self, method, path, headers):
        """Of the head only: live results have no end."""
        body = {'/api/v1/sql': 'SELECT 1'}.get(path)
        if method == 'POST' and path.endswith('/events'):
            body = EVENTS
        if '/write' in path:
            body = LINES
        connection = http.client.HTTPConnection('127.0.0.1', self.server.port, timeout=harness.LIMIT_S)
        try:
            connection.request(method, path, body=body, headers=headers)
            reply = connection.getresponse()
            return reply.status, reply.headers
        finally:
            connection.close()

    def test_each_cell_of_the_table(self):
        wrong = []
        for method, path, may in MAY:
            for name, token in self.token.items():
                status, _ = self.status(method, path, bearer(token))
                if (status != 403) != (name in may) or status == 401:
                    wrong.append((method, path, name, status))
        self.assertEqual(wrong, [])

    def test_nothing_but_probes_and_the_page_is_answered_without_a_token(self):
        for method, path, _ in MAY:
            status, headers = self.status(method, path, {})
            self.assertEqual((path, status), (path, 401))
            self.assertEqual(headers.get_all('WWW-Authenticate'),
                             ['Bearer realm="weir"', 'Basic realm="weir", charset="UTF-8"'])
        for path in FREE:
            self.assertEqual((path, self.status('GET', path, {})[0] // 100), (path, 2))

    def test_every_path_of_the_description_is_refused_without_a_token_but_those_that_say_so(self):
        answer = self.server.request('GET', '/openapi.json', headers=bearer(self.token['post']))
        document = json.loads(answer.body)
        seen = set()
        for path, methods in document['paths'].items():
            for method, operation in methods.items():
                if not isinstance(operation, dict):
                    continue
                at = re.sub(r'\{[a-z]+\}', 'trades', path)
                status, _ = self.status(method.upper(), at, {})
                self.assertEqual((path, status), (path, int(min(operation['responses'])) if operation.get('security') == [] else 401))
                self.assertEqual('401' in operation['responses'], status == 401, path)
                seen.add(path)
        self.assertGreaterEqual(len(seen), 20)

    def test_the_table_has_every_path_of_the_description(self):
        answer = self.server.request('GET', '/openapi.json', headers=bearer(self.token['post']))
        plain = {re.sub(r'(streams|pipelines)/\w+', r'\1/{}', re.sub(r'results/of_\w+', 'results/{}', p.split('?')[0]))
                 for _, p, _ in MAY} | set(FREE)
        described = {re.sub(r'\{\w+\}', '{}', p) for p in json.loads(answer.body)['paths']}
        self.assertEqual(described - plain, set())

    def test_lists_show_what_the_token_may_see(self):
        def names(path, token):
            answer = self.server.request('GET', path, headers=bearer(self.token[token]))
            return [item['name'] for item in json.loads(answer.body)]
        self.assertEqual(names('/api/v1/streams', 'read'), ['trades', 'orders'])
        self.assertEqual(names('/api/v1/streams', 'read_trades'), ['trades'])
        self.assertEqual(names('/api/v1/streams', 'read_of_trades'), [])
        self.assertEqual(names('/api/v1/pipelines', 'read'), ['of_trades', 'of_orders'])
        self.assertEqual(names('/api/v1/pipelines', 'read_trades'), [])
        self.assertEqual(names('/api/v1/pipelines', 'read_of_trades'), ['of_trades'])

    def test_what_is_not_allowed_is_not_told_to_exist(self):
        def detail(name):
            answer = self.server.request('GET', f'/api/v1/pipelines/{name}',
                                         headers=bearer(self.token['read_of_trades']))
            return answer.status, answer.body.decode().replace(name, 'NAME')
        self.assertEqual(detail('of_orders'), detail('nowhere'))

    def test_lines_of_streams_that_are_not_allowed_are_refused_with_all_others(self):
        def lines(token, body):
            return self.server.request('POST', '/api/v2/write', body, {'Authorization': f'Token {self.token[token]}'})
        before = self.server.request('GET', '/api/v1/streams', headers=bearer(self.token['read'])).body
        answer = lines('post_trades', LINES + '\norders,sym=a price=2 1700000000000000000')
        self.assertEqual(answer.status, 403)
        self.assertIn("not with the stream 'orders'", json.loads(answer.body)['detail'])
        after = self.server.request('GET', '/api/v1/streams', headers=bearer(self.token['read'])).body
        self.assertEqual([s['accepted'] for s in json.loads(before)], [s['accepted'] for s in json.loads(after)])
        self.assertEqual(lines('post', LINES + '\norders,sym=a price=2 1700000000000000000').status, 204)

    # ---- SQL ----

    def sql(self, token, statement):
        answer = self.server.request('POST', '/api/v1/sql', statement, bearer(self.token[token]))
        return answer.status, json.loads(answer.body)

    def test_sql_sees_the_tables_of_its_scope_only(self):
        for good, rows in (('SELECT count(*) > 0 FROM of_trades', [[1]]),
                           ('SELECT count(sym) > 0 FROM main.of_trades', [[1]]),
                           ('WITH x(n) AS (SELECT 1 UNION SELECT 2) SELECT count(*) FROM x', [[2]]),
                           ('WITH of_all AS (SELECT sym FROM of_trades) SELECT DISTINCT sym FROM of_all', [['a']]),
                           ("SELECT value FROM json_each('[7]')", [[7]])):
            status, answer = self.sql('read_of_trades', good)
            self.assertEqual((good, status, answer.get('rows')), (good, 200, rows))
        for bad in ('SELECT * FROM of_orders', 'SELECT count(*) FROM of_orders', 'SELECT 1 FROM OF_ORDERS',
                    'SELECT t.sym FROM of_trades t JOIN of_orders o',
                    'SELECT (SELECT count(*) FROM of_orders)',
                    'SELECT 1 WHERE EXISTS (SELECT 1 FROM of_orders)',
                    'SELECT * FROM of_trades WHERE sym IN (SELECT sym FROM of_orders)',
                    'SELECT * FROM of_trades WHERE sym IN of_orders',
                    'SELECT 1 FROM of_trades, of_orders',
                    'SELECT * FROM sqlite_schema', 'SELECT count(*) FROM sqlite_schema',
                    'SELECT count(*) FROM sqlite_master', 'SELECT count(*) FROM sqlite_temp_schema',
                    'SELECT * FROM weir_dead_letters', 'SELECT count(*) FROM weir_dead_letters',
                    'SELECT * FROM weir_pipelines', 'SELECT * FROM weir_tables', 'SELECT * FROM weir_columns',
                    "SELECT * FROM pragma_table_info('of_orders')", 'SELECT count(*) FROM pragma_table_list',
                    'PRAGMA table_list', 'PRAGMA table_info(of_orders)'):
            status, answer = self.sql('read_of_trades', bad)
            self.assertEqual((bad, status), (bad, 403), answer)
            self.assertEqual(self.sql('sql', bad)[0] in (200, 400, 403), True)
        self.assertEqual(self.sql('sql', 'SELECT count(*) FROM of_orders, weir_dead_letters')[0], 200)

    def test_a_view_does_not_lead_out_of_the_scope(self):
        subprocess.run(['sqlite3', self.server.database,
                        'PRAGMA busy_timeout = 10000; CREATE VIEW IF NOT EXISTS v AS SELECT sym FROM of_orders'],
                       check=True, stdout=subprocess.DEVNULL)
        self.assertEqual(self.sql('read_of_trades', 'SELECT * FROM v')[0], 403)
        self.assertEqual(self.sql('read_of_trades', 'SELECT count(*) FROM v')[0], 403)
        self.assertEqual(self.sql('sql', 'SELECT * FROM v')[0], 200)

    def test_the_scope_is_that_of_the_statement_not_of_the_process(self):
        for _ in range(4):
            self.assertEqual(self.sql('sql', 'SELECT count(*) FROM of_orders')[0], 200)
            self.assertEqual(self.sql('read_of_trades', 'SELECT count(*) FROM of_orders')[0], 403)

    def test_the_database_holds_no_token(self):
        server = self.server
        secrets = [t.split('_')[2] for t in self.token.values()]
        digests = [hashlib.sha256(t.encode()).hexdigest() for t in self.token.values()]
        for name in os.listdir(server.folder):
            if name.startswith('weir.db') and os.path.isfile(os.path.join(server.folder, name)):
                with open(os.path.join(server.folder, name), 'rb') as file:
                    data = file.read()
                self.assertFalse(any(s.encode() in data or bytes.fromhex(s) in data for s in secrets + digests))
        with open(os.path.join(server.folder, 'tokens'), encoding='ascii') as file:
            text = file.read()
        self.assertFalse(any(s in text for s in secrets))
        self.assertTrue(all(d in text for d in digests))
        self.assertEqual(os.stat(os.path.join(server.folder, 'tokens')).st_mode & 0o777, 0o600)

    # ---- How it is sent, and what is said ----

    def test_all_schemes_are_understood(self):
        token = self.token['read']
        basic = base64.b64encode(f'anybody:{token}'.encode()).decode()
        for field in (f'Bearer {token}', f'bearer {token}', f'Token {token}', f'Basic {basic}'):
            self.assertEqual(self.status('GET', '/api/v1/streams', {'Authorization': field})[0], 200)
        turned = token[:-1] + ('0' if token[-1] != '0' else '1')
        for field in (token, f'Digest {token}', f'Bearer {turned}', f'Bearer {token}0', f'Bearer {token[:-1]}',
                      'Bearer', 'Basic !', 'Bearer ' + 'x' * 5000, f'Bearer {token.upper()}'):
            status, headers = self.status('GET', '/api/v1/streams', {'Authorization': field})
            self.assertEqual((field, status), (field, 401))
            self.assertIn('Bearer realm="weir"', headers['WWW-Authenticate'])

    def test_scripts_of_pages_do_not_make_the_browser_ask(self):
        for headers in ({'Authorization': 'Bearer none'}, {'Sec-Fetch-Mode': 'cors', 'Sec-Fetch-Site': 'same-origin'}):
            _, said = self.status('GET', '/api/v1/streams', headers)
            self.assertEqual(len(said.get_all('WWW-Authenticate')), 1)
        _, said = self.status('GET', '/metrics', {'Sec-Fetch-Mode': 'navigate', 'Sec-Fetch-Site': 'none'})
        self.assertEqual(len(said.get_all('WWW-Authenticate')), 2)

    def test_what_is_missing_is_said(self):
        answer = self.server.request('POST', '/api/v1/backup', headers=bearer(self.token['read']))
        self.assertIn("it lacks 'admin'", json.loads(answer.body)['detail'])
        answer = self.server.request('GET', '/api/v1/streams/orders', headers=bearer(self.token['read_trades']))
        self.assertIn("not with the stream 'orders'", json.loads(answer.body)['detail'])

    def test_the_log_tells_who_did_what_and_no_secret(self):
        token = self.token['sql']
        self.server.request('GET', '/api/v1/sql?q=SELECT+1234567', headers=bearer(
            token, **{'X-Forwarded-For': '9.9.9.9, 203.0.113.7, 127.0.0.1', 'X-Forwarded-Proto': 'https'}))
        identity = token.split('_')[1]
        # A proxy that adds a line of its own: what stands before it, anybody can have written.
        with socket.create_connection(('127.0.0.1', self.server.port), timeout=harness.LIMIT_S) as s:
            s.sendall(b'GET /api/v1/sql?q=SELECT+1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n'
                      b'X-Forwarded-For: 9.9.9.9\r\nX-Forwarded-For: 203.0.113.8\r\n'
                      b'Authorization: Bearer %s\r\n\r\n' % token.encode())
            for _ in iter(lambda: s.recv(65536), b''):
                pass
        harness.wait_until(lambda: any('203.0.113.8' in l for l in self.server.log), 'the line that the proxy added')

        def told():
            return [l for l in self.server.log if f'token={identity}' in l and '203.0.113.7' in l]
        line = harness.wait_until(told, 'a line in the log')[0]
        self.assertIn('verb=sql from=203.0.113.7 proto=https status=200 GET /api/v1/sql', line)
        text = ''.join(self.server.log)
        self.assertNotIn('1234567', text)
        for secret in self.token.values():
            self.assertNotIn(secret.split('_')[2], text)

    def test_the_log_tells_of_answers_that_break_off(self):
        """SQL that its client does not take, live results that it leaves; it resets the connection, and then has no address."""
        token = self.token['sql']
        endless = ('/api/v1/sql?format=ndjson&q=WITH+RECURSIVE+n(i)+AS+(SELECT+1+UNION+ALL+SELECT+i%2B1+FROM+n+WHERE+i<900000)'
                   '+SELECT+i,hex(randomblob(50))+AS+x+FROM+n')
        for path, begin in ((endless, b'"i":'), (endless.replace('900000', '1000'), b'"i":1000,')):
            before = len(self.server.log)
            with socket.create_connection(('127.0.0.1', self.server.port)) as s:
                s.settimeout(harness.LIMIT_S)
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
                s.sendall(f'GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n'.encode())
                data = b''
                while begin not in data:
                    data += s.recv(65536)

            def told():
                return [l for l in self.server.log[before:] if f'token={token.split("_")[1]} verb=sql from=127.0.0.1 status=200' in l and 'GET' in l]
            line = harness.wait_until(told, 'a line in the log')
            self.assertEqual(len(line), 1)
            if path == endless:
                self.assertIn('status=200 cut GET /api/v1/sql', line[0])

    def test_metrics_count_by_token(self):
        before = self.counted('post_trades')
        for stream in ('trades', 'trades', 'orders'):
            self.server.request('POST', f'/api/v1/streams/{stream}/events', EVENTS, bearer(self.token['post_trades']))
        after = self.counted('post_trades')
        self.assertEqual([b - a for a, b in zip(before, after)], [3, 8, 1])

    def counted(self, name):
        text = self.server.request('GET', '/metrics', headers=bearer(self.token['metrics'])).body.decode()
        identity = self.token[name].split('_')[1]
        return [int(re.search(rf'{metric}{{token="{identity}"{more}}} (\d+)', text)[1]) for metric, more in
                (('weir_token_requests_total', ''), ('weir_token_events_total', ''),
                 ('weir_token_refused_total', ',reason="forbidden"'))]


class Life(unittest.TestCase):
    """Tokens that come, go and are used too much."""

    def setUp(self):
        self.server = harness.Server(CONFIG)
        self.addCleanup(self.server.remove_folder)

    def reload(self, text):
        begin = len(self.server.log)
        self.server.process.send_signal(signal.SIGHUP)
        harness.wait_until(lambda: any(text in l for l in self.server.log[begin:]), text)

    def streams(self, token):
        return self.server.request('GET', '/api/v1/streams', headers=bearer(token)).status

    def test_tokens_come_and_go_at_sighup(self):
        first = new_token(self.server, '--may', 'read')
        with self.server:
            second = new_token(self.server, '--may', 'read', '--note', 'the second')
            self.assertEqual((self.streams(first), self.streams(second)), (200, 401))
            self.reload('2 tokens')
            self.assertEqual((self.streams(first), self.streams(second)), (200, 200))
            done = harness.weir('token', 'revoke', '-c', self.server.path, first.split('_')[1])
            self.assertEqual(done.returncode, 0, done.stderr)
            listed = harness.weir('token', 'list', '-c', self.server.path).stdout
            self.assertIn('# the second', listed)
            self.assertNotIn(first.split('_')[1], listed)
            self.reload('1 tokens')
            self.assertEqual((self.streams(first), self.streams(second)), (401, 200))
            with open(os.path.join(self.server.folder, 'tokens'), 'a', encoding='ascii') as file:
                file.write('- nonsense\n')
            self.reload('tokens stay as they were')
            self.assertEqual(self.streams(second), 200)
            def failed():
                answer = self.server.request('GET', '/api/v1/config', headers=bearer(second)).body
                self.assertNotIn(b'nonsense', answer)
                return not json.loads(answer)['last_reload']['successful']
            harness.wait_until(failed, 'what came of it')

    def test_what_a_revoked_token_still_does_is_ended(self):
        token = new_token(self.server, '--may', 'all')
        with self.server:
            live = http.client.HTTPConnection('127.0.0.1', self.server.port, timeout=harness.LIMIT_S)
            live.request('GET', '/api/v1/pipelines/of_trades/results/live', headers=bearer(token))
            answer = live.getresponse()
            self.assertEqual(answer.status, 200)
            feed = http.client.HTTPConnection('127.0.0.1', self.server.port, timeout=harness.LIMIT_S)
            feed.putrequest('POST', '/api/v1/streams/trades/events')
            feed.putheader('Authorization', f'Bearer {token}')
            feed.putheader('Transfer-Encoding', 'chunked')
            feed.endheaders()
            event = EVENTS.splitlines(True)[0].encode()
            feed.send(b'%x\r\n%s\r\n' % (len(event), event))
            def both_are_under_way():
                text = self.server.request('GET', '/metrics', headers=bearer(token)).body.decode()
                return re.search(r'weir_token_requests_active{[^}]*} 3\n', text)  # this one is one, too
            harness.wait_until(both_are_under_way, 'the feed')
            harness.weir('token', 'revoke', '-c', self.server.path, token.split('_')[1])
            self.reload('0 tokens')
            try:
                while answer.read1(1000):
                    pass
            except (http.client.IncompleteRead, ConnectionError):
                pass
            feed.sock.settimeout(harness.LIMIT_S)
            try:
                self.assertEqual(feed.sock.recv(1000), b'')
            except ConnectionError:
                pass
            live.close()
            feed.close()

    def test_a_token_expires(self):
        new_token(self.server, '--may', 'read')
        with self.server:
            for i, after in enumerate(('1s', '4s', '16s', '64s')):  # some are too short for a slow machine
                token = new_token(self.server, '--may', 'read', '--expires', after)
                self.reload(f'{2 + i} tokens')
                if self.streams(token) == 200:
                    break
            else:
                self.fail('none was ever good')
            harness.wait_until(lambda: self.streams(token) == 401, 'the end of the token')
            answer = self.server.request('GET', '/api/v1/streams', headers=bearer(token))
            self.assertEqual(json.loads(answer.body)['code'], 'token_expired')

    def test_requests_and_events_have_a_rate(self):
        slow = new_token(self.server, '--may', 'read', '--requests', '2')
        feeder = new_token(self.server, '--may', 'post', '--events', '4')
        with self.server:
            self.assertEqual([self.streams(slow) for _ in range(2)], [200, 200])
            harness.wait_until(lambda: self.streams(slow) == 429, 'more than two in a second', every_s=0)
            answer = self.server.request('GET', '/api/v1/streams', headers=bearer(slow))
            if answer.status == 429:
                self.assertEqual(answer.headers['Retry-After'], '1')
            harness.wait_until(lambda: self.streams(slow) == 200, 'a free place')
            # 480 events of 4 a second: two minutes' worth, in which any machine asks again
            post = [self.server.request('POST', '/api/v1/streams/trades/events', EVENTS * 120, bearer(feeder))
                    for _ in range(2)]
            self.assertEqual([p.status for p in post], [200, 429])
            self.assertEqual(json.loads(post[1].body)['code'], 'too_many_requests')

    def test_a_feed_without_end_is_slowed_down_and_loses_nothing(self):
        feeder = new_token(self.server, '--may', 'post', '--events', '100')
        with self.server:
            began = time.monotonic()
            lines = [EVENTS.splitlines(True)[0].encode()] * 60
            answer = self.server.request('POST', '/api/v1/streams/trades/events',
                                         iter([b''.join(lines)] * 5), bearer(feeder))
            self.assertEqual(json.loads(answer.body)['accepted'], 300)
            # what is beyond the second that is free is waited for, but for the last piece
            self.assertGreater(time.monotonic() - began, 1)

    def test_requests_at_a_time_are_limited(self):
        token = new_token(self.server, '--may', 'read', '--concurrent', '1')
        with self.server:
            live = http.client.HTTPConnection('127.0.0.1', self.server.port, timeout=harness.LIMIT_S)
            live.request('GET', '/api/v1/pipelines/of_trades/results/live', headers=bearer(token))
            self.assertEqual(live.getresponse().status, 200)
            self.assertEqual(self.streams(token), 429)
            live.close()
            harness.wait_until(lambda: self.streams(token) == 200, 'the end of the first')

    def test_refusals_do_not_flood_the_log(self):
        new_token(self.server, '--may', 'read')
        with self.server:
            began = time.monotonic()
            for _ in range(300):
                self.assertEqual(self.server.get('/api/v1/streams').status, 401)
            taken_s = time.monotonic() - began
        self.assertLessEqual(sum('status=401' in line for line in self.server.log), 10 * (taken_s + 2))  # ten a second


class CommandLine(unittest.TestCase):
    def setUp(self):
        self.server = harness.Server(CONFIG)
        self.addCleanup(self.server.remove_folder)

    def token(self, *arguments):
        return harness.weir('token', *arguments)

    def test_mistakes_are_told(self):
        for arguments, status, said in (
                (['new', '-c', self.server.path], 64, '--may is missing'),
                (['new', '-c', self.server.path, '--may', 'write'], 64, "'write' is none of"),
                (['new', '-c', self.server.path, '--may', 'read', '--stream', 'tradse'], 64, "no stream 'tradse'"),
                (['new', '-c', self.server.path, '--may', 'read', '--pipeline', 'x'], 64, "no pipeline 'x'"),
                (['new', '-c', self.server.path, '--may', 'read', '--expires', 'soon'], 64, '--expires'),
                (['new', '-c', self.server.path, '--may', 'read', '--expires', '2001-01-01T00:00:00Z'], 64,
                 '--expires'),
                (['new', '-c', self.server.path, '--may', 'read', '--requests', '0'], 64, '--requests'),
                (['new', '--may', 'read'], 64, '-c FILE is missing'),
                (['new', '-f', '/nowhere/tokens', '--may', 'read'], 73, 'No such file'),
                (['list', '-c', self.server.path], 78, 'No such file'),
                (['revoke', '-c', self.server.path], 64, 'which one'),
                (['list', '-c', self.server.path, '--may', 'read'], 64, 'weir token new'),
                (['burn'], 64, 'new, list and revoke')):
            done = self.token(*arguments)
            self.assertEqual((arguments, done.returncode), (arguments, status), done.stderr)
            self.assertIn(said, done.stderr)
            self.assertEqual(done.stdout, '')

    def test_one_that_is_not_there_revokes_none(self):
        token = new_token(self.server, '--may', 'read')
        done = self.token('revoke', '-c', self.server.path, token.split('_')[1], 'nobody')
        self.assertEqual((done.returncode, "no token 'nobody'" in done.stderr), (1, True))
        self.assertIn(token.split('_')[1], self.token('list', '-c', self.server.path).stdout)

    def test_many_at_once_are_all_kept(self):
        running = [subprocess.Popen([harness.WEIR, 'token', 'new', '-c', self.server.path, '--may', 'post'],
                                    env=harness.environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
                   for _ in range(8)]
        made = {process.communicate()[0].decode().split('_')[1] for process in running}
        listed = {line.split()[0] for line in self.token('list', '-c', self.server.path).stdout.splitlines()}
        self.assertEqual((len(made), listed), (8, made))

    def test_a_server_does_not_start_without_its_tokens(self):
        done = harness.weir('serve', '-c', self.server.path)
        self.assertEqual(done.returncode, 78)
        self.assertIn('tokens', done.stderr)


if __name__ == '__main__':
    harness.main()
