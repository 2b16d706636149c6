#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Where the server listens, and whose pages may ask: a socket in the file system, addresses that others can reach, CORS."""

import grp
import http.client
import json
import os
import socket
import stat
import subprocess
import sys
import unittest

import harness

STREAMS = '''
streams:
  trades: {time: {field: t, unit: ms}, fields: {sym: string, price: float}}
pipelines:
  sums: {from: trades, key: [sym], window: {tumbling: 1s}, analyzers: [{sum: price}]}
'''
SOCKET = 'server: {listen: "unix:{folder}/weir.sock", database: {folder}/weir.db%s}' + STREAMS


class SocketServer(harness.Server):
    def __init__(self, more='', folder=None):
        super().__init__(SOCKET.replace('%s', more), folder)
        self.socket = os.path.join(self.folder, 'weir.sock')

    def wait_port(self):
        def listening():
            if self.process.poll() is not None:
                raise AssertionError(''.join(self.log))
            return f'listening on unix:{self.socket}' in ''.join(self.log)
        harness.wait_until(listening, 'the socket in the log')

    def request(self, method, path, body=None, headers=None):
        if self.connection is None:
            self.connection = http.client.HTTPConnection('any.name', timeout=harness.LIMIT_S)
            self.connection.sock = socket.socket(socket.AF_UNIX)
            self.connection.sock.connect(self.socket)
        self.connection.request(method, path, body=body, headers=headers or {})
        reply = self.connection.getresponse()
        return harness.Answer(reply.status, reply.headers, reply.read())


class Socket(unittest.TestCase):
    def test_curl_posts_and_reads(self):
        with SocketServer() as server:
            done = subprocess.run(['curl', '-sS', '--unix-socket', server.socket, '--data-binary',
                                   '{"t":1700000000000,"sym":"a","price":1}\n{"t":1700000005000,"sym":"a","price":1}',
                                   'http://localhost/api/v1/streams/trades/events'],
                                  stdout=subprocess.PIPE, text=True, check=True)
            self.assertEqual(json.loads(done.stdout)['accepted'], 2)
            harness.wait_until(lambda: server.get_json('/api/v1/pipelines/sums/results'), 'a result')
            self.assertEqual(stat.S_IMODE(os.stat(server.socket).st_mode), 0o660)
        self.assertFalse(os.path.exists(server.socket))

    def test_mode_and_group_are_those_of_the_configuration(self):
        group = grp.getgrgid(os.getgid()).gr_name
        with SocketServer(f', socket_mode: "0600", socket_group: {group}') as server:
            found = os.stat(server.socket)
            self.assertEqual((stat.S_IMODE(found.st_mode), found.st_gid), (0o600, os.getgid()))

    def test_a_socket_left_over_is_replaced_and_nothing_else(self):
        server = SocketServer()
        with server:
            server.kill()
            self.assertTrue(os.path.exists(server.socket))
            server.start()  # as if nothing had been
            second = SocketServer(folder=server.folder)
            done = harness.weir('serve', '-c', second.path, '-d', os.path.join(server.folder, 'other.db'))
            self.assertEqual(done.returncode, 69, done.stderr)
            self.assertIn('another server listens there', done.stderr)
            self.assertEqual(server.get('/live').status, 200)

    def refused(self, prepare):
        folder = harness.folder_for_test(self)
        server = SocketServer(folder=folder)
        kept = prepare(server.socket)
        done = harness.weir('serve', '-c', server.path)
        self.assertNotEqual(done.returncode, 0)
        self.assertTrue(os.path.lexists(server.socket))
        if kept:
            kept.close()
        return done.stderr

    def test_what_others_have_there_stays(self):
        def a_file(path):
            with open(path, 'w', encoding='ascii') as file:
                file.write('precious')

        def somebody(path):
            s = socket.socket(socket.AF_UNIX)
            s.bind(path)
            s.listen()
            return s
        self.assertIn('is no socket', self.refused(a_file))
        self.assertIn('is no socket', self.refused(lambda path: os.symlink('/etc/passwd', path)))
        self.assertIn('somebody listens there', self.refused(somebody))

    def test_mistakes_are_told(self):
        for server, said in (('listen: "unix:relative"', 'or unix:PATH'),
                             ('listen: "unix:/tmp/' + 'x' * 120 + '"', 'the path has more than'),
                             ('listen: "unix:/tmp/weir-no-group.sock", socket_group: no_such_group', 'no group'),
                             ('socket_mode: rw', 'a mode in octal'), ('socket_mode: "1777"', 'a mode in octal')):
            folder = harness.folder_for_test(self)
            with open(f'{folder}/weir.yaml', 'w', encoding='ascii') as file:
                file.write(f'server: {{{server}}}{STREAMS}')
            done = harness.weir('serve', '-c', f'{folder}/weir.yaml', cwd=folder)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(said, done.stderr)
        self.assertFalse(os.path.exists('/tmp/weir-no-group.sock'))


class Reachable(unittest.TestCase):
    def test_an_address_for_others_takes_tokens_or_certificates_of_clients(self):
        folder = harness.folder_for_test(self)
        path = f'{folder}/weir.yaml'
        for address in ('0.0.0.0:0', '[::]:0', '192.0.2.1:8080'):
            for more, good in (('', False), (', tokens: t', True), (', tls: {certificate: c, key: k}', False),
                               (', tls: {certificate: c, key: k, client_ca: a}', True)):
                with open(path, 'w', encoding='ascii') as file:
                    file.write(f'server: {{listen: "{address}"{more}}}{STREAMS}')
                done = harness.weir('check', '-c', path)
                self.assertEqual((address, more, done.returncode), (address, more, 78), done.stderr)  # no file is there
                self.assertEqual('nothing says who may' in done.stderr, not good)
        with open(path, 'w', encoding='ascii') as file:
            file.write(f'server: {{listen: "127.0.0.1:0"}}{STREAMS}')
        done = harness.weir('serve', '-c', path, '-l', '[::]:0', cwd=folder)
        self.assertEqual((done.returncode, 'nothing says who may' in done.stderr), (64, True))


class Pages(unittest.TestCase):
    """Of other origins."""

    @classmethod
    def setUpClass(cls):
        cls.server = harness.Server('server: {listen: "{listen}", database: {folder}/weir.db, tokens: {folder}/tokens, '
                                    'origins: ["https://grafana.example", "http://localhost:3000"]}' + STREAMS)
        cls.token = harness.weir('token', 'new', '-f', f'{cls.server.folder}/tokens', '--may', 'all').stdout.strip()
        cls.server.__enter__()
        cls.addClassCleanup(cls.server.__exit__, None, None, None)

    def ask(self, method, path, origin, **headers):
        return self.server.request(method, path, headers={'Origin': origin, 'Sec-Fetch-Site': 'cross-site', **{
            name.replace('_', '-'): value for name, value in headers.items()}})

    def test_a_page_that_is_listed_may_ask(self):
        for origin in ('https://grafana.example', 'http://localhost:3000'):
            before = self.ask('OPTIONS', '/api/v1/sql', origin, Access_Control_Request_Method='POST',
                              Access_Control_Request_Headers='authorization,content-type')
            self.assertEqual((before.status, before.body), (204, b''))
            self.assertEqual(before.headers['Access-Control-Allow-Origin'], origin)
            self.assertIn('POST', before.headers['Access-Control-Allow-Methods'])
            self.assertIn('Authorization', before.headers['Access-Control-Allow-Headers'])
            answer = self.ask('GET', '/api/v1/streams', origin, Authorization=f'Bearer {self.token}')
            self.assertEqual(answer.status, 200)
            for answer in (answer, self.ask('GET', '/api/v1/streams', origin), self.ask('GET', '/nothing', origin),
                           self.ask('HEAD', '/api/v1/streams', origin),
                           self.ask('GET', '/api/v1/sql?q=SELECT+1', origin, Authorization=f'Bearer {self.token}')):
                if answer.status == 404:
                    continue  # nothing is there to be seen
                self.assertEqual(answer.headers.get_all('Access-Control-Allow-Origin'), [origin])
                self.assertIn('Origin', answer.headers.get_all('Vary'))
                self.assertIsNone(answer.headers['Access-Control-Allow-Credentials'])

    def test_others_may_not(self):
        for origin in ('https://evil.example', 'http://grafana.example', 'https://grafana.example.evil.example',
                       'https://grafana.example:8443', 'null', ''):
            before = self.ask('OPTIONS', '/api/v1/sql', origin, Access_Control_Request_Method='POST')
            self.assertNotEqual(before.status, 204)
            answer = self.ask('GET', '/api/v1/streams', origin, Authorization=f'Bearer {self.token}')
            self.assertEqual((origin, answer.status), (origin, 403))
            for answer in (before, answer):
                self.assertIsNone(answer.headers['Access-Control-Allow-Origin'])
                self.assertEqual(answer.headers.get_all('Vary').count('Origin'), 1)  # or a cache gives it to those who may
        for path in ('/live', '/nothing', '/api/v1/streams'):
            for method in ('GET', 'HEAD'):
                answer = self.server.request(method, path)
                self.assertEqual((path, method, answer.headers.get_all('Vary').count('Origin')), (path, method, 1))

    def test_another_name_is_refused_whoever_asks(self):
        answer = self.ask('OPTIONS', '/api/v1/sql', 'https://grafana.example', Access_Control_Request_Method='POST',
                          Host='rebound.example')
        self.assertEqual(answer.status, 421)

    def test_at_all_addresses_each_is_a_name_of_ours(self):
        """In a network of its own, that nobody else is in."""
        alone = ['unshare', '-rn', 'sh', '-c', 'ip link set lo up && exec "$@"', 'sh']
        if subprocess.run([*alone, 'true'], stderr=subprocess.DEVNULL, check=False).returncode != 0:
            self.skipTest('no network namespaces')
        script = f'''import sys; sys.path.insert(0, {os.path.dirname(os.path.abspath(__file__))!r})
import harness
config = {'server: {listen: "%s", database: {folder}/weir.db, tokens: {folder}/tokens}' + STREAMS!r}
for address in '0.0.0.0:0', '[::]:0':
    server = harness.Server(config % address)
    harness.weir('token', 'new', '-c', server.path, '--may', 'all')
    with server:
        for host in '10.1.2.3', '[fd00::1]:80', 'localhost', 'rebound.example', '10.1.2.3.rebound.example', '10.1.2':
            print(server.get('/live', Host=host).status)'''
        done = subprocess.run([*alone, sys.executable, '-c', script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
        self.assertEqual(done.stdout.split(), 2 * ['200', '200', '200', '421', '421', '421'], done.stderr)

    def test_any_origin_takes_tokens(self):
        for origins, said in (('"*"', 'only where they take tokens'), ('[https://a.example/path]', 'without a path'),
                              ('[a.example]', 'without a path')):
            folder = harness.folder_for_test(self)
            with open(f'{folder}/weir.yaml', 'w', encoding='ascii') as file:
                file.write(f'server: {{origins: {origins}}}{STREAMS}')
            self.assertIn(said, harness.weir('check', '-c', f'{folder}/weir.yaml').stderr)


if __name__ == '__main__':
    harness.main()
