#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""TLS, with certificates made by openssl(1): curl and Python's ssl talk to the server. What libmicrohttpd reads comes through the
guard there, too: what is refused without TLS is refused with it, in the same words."""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import unittest

import harness

CONFIG = '''
server:
  sql_timeout: 10m
  listen: "{listen}"
  database: {folder}/weir.db
  http_threads: 2
  tls: {certificate: {folder}/tls.pem, key: {folder}/tls.key%s}
streams:
  trades: {time: {field: t, unit: ms}, fields: {sym: string, price: float}}
pipelines:
  sums: {from: trades, key: [sym], window: {tumbling: 1s}, analyzers: [{sum: price}]}
'''
EVENTS = ''.join(json.dumps({'t': 1700000000000 + i, 'sym': 'a', 'price': 2}) + '\n' for i in range(100000)).encode()


def openssl(*arguments):
    subprocess.run(['openssl', *arguments], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def make_certificate(folder, name, days='30', ca=None, usage=None):
    """NAME.pem and NAME.key; its own CA, or signed by the CA of that name."""
    path = os.path.join(folder, name)
    extensions = ['subjectAltName=DNS:localhost,IP:127.0.0.1'] + ([f'extendedKeyUsage={usage}'] if usage else [])
    options = [x for e in extensions for x in ('-addext', e)]
    if ca:
        options += ['-CA', f'{os.path.join(folder, ca)}.pem', '-CAkey', f'{os.path.join(folder, ca)}.key',
                    '-addext', 'basicConstraints=critical,CA:FALSE']
    openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', days, '-subj',
            f'/CN={name}', '-keyout', f'{path}.key', '-out', f'{path}.pem', *options)
    return path


class TlsServer(harness.Server):
    """Over TLS, with the certificate tls.pem of its folder."""

    def __init__(self, more='', **env):
        folder = tempfile.mkdtemp(prefix='weir-test-')
        self.use(make_certificate(folder, 'first'), folder)
        super().__init__(CONFIG.replace('{listen}', '127.0.0.1:0') % more.replace('FOLDER', folder), folder, **env)
        self.own_folder = True
        self.client = None  # NAME of a certificate

    def use(self, path, folder=None):
        for end in ('pem', 'key'):
            shutil.copy(f'{path}.{end}', os.path.join(folder or self.folder, f'tls.{end}.new'))
            os.rename(os.path.join(folder or self.folder, f'tls.{end}.new'),
                      os.path.join(folder or self.folder, f'tls.{end}'))

    def context(self, ca='tls', client=None):
        context = ssl.create_default_context(cafile=os.path.join(self.folder, f'{ca}.pem'))
        client = client or self.client
        if client:
            context.load_cert_chain(os.path.join(self.folder, f'{client}.pem'),
                                    os.path.join(self.folder, f'{client}.key'))
        return context

    def request(self, method, path, body=None, headers=None):
        if self.connection is None:
            self.connection = http.client.HTTPSConnection('127.0.0.1', self.port, timeout=harness.LIMIT_S,
                                                          context=self.context())
        self.connection.request(method, path, body=body, headers=headers or {})
        reply = self.connection.getresponse()
        return harness.Answer(reply.status, reply.headers, reply.read())

    def connect(self, **more):
        plain = socket.create_connection(('127.0.0.1', self.port), timeout=harness.LIMIT_S)
        return self.context(**more).wrap_socket(plain, server_hostname='localhost', suppress_ragged_eofs=True)

    def reload(self, said):
        begin = len(self.log)
        self.process.send_signal(signal.SIGHUP)
        harness.wait_until(lambda: any(said in l for l in self.log[begin:]), said)


def read_all(connection):
    text = b''
    try:
        while piece := connection.recv(65536):
            text += piece
    except ConnectionError:
        pass
    return text


if not shutil.which('openssl') or 'built without GnuTLS' in harness.weir(
        'check', '-c', '/dev/stdin', stdin='server: {tls: {certificate: /x, key: /x}}').stderr:
    raise unittest.SkipTest('no openssl, or no TLS')


class Tls(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = TlsServer.for_class(cls)
        cls.plain = harness.Server.for_class(cls, re.sub(r'  tls: .*\n', '', CONFIG))

    def curl(self, *arguments):
        return subprocess.run(['curl', '-sS', '--noproxy', '*', '-m', str(int(harness.LIMIT_S)), '--cacert',
                               f'{self.server.folder}/tls.pem', *arguments], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, check=False)

    def test_weir_top_checks_whom_it_asks(self):
        url, ca = f'https://localhost:{self.server.port}', f'{self.server.folder}/tls.pem'
        ask = lambda *more: harness.weir('top', '--once', '-i', '0.1', '-u', url, *more)
        done = ask('--ca', ca)
        if 'without libcurl' in done.stderr:
            self.skipTest('built without libcurl')
        self.assertEqual((done.returncode, done.stderr), (0, ''))
        self.assertRegex(done.stdout, r'(?m)^sums +runs')
        other = make_certificate(harness.folder_for_test(self), 'other') + '.pem'
        for more in ([], ['--ca', other]):  # nobody has signed it whom it knows
            done = ask(*more)
            self.assertEqual((done.returncode, done.stdout), (69, ''), done.stderr)
            self.assertIn('certificate', done.stderr)

    def test_events_go_in_and_results_come_out(self):
        self.assertEqual(self.server.post_ok('trades', EVENTS)['accepted'], 100000)
        harness.wait_until(lambda: self.server.rows("SELECT count(*) FROM sums")[0][0] >= 99, 'results')
        with open(os.path.join(self.server.folder, 'events'), 'wb') as file:
            file.write(EVENTS)
        url = f'https://localhost:{self.server.port}/api/v1/streams/trades/events'
        path = os.path.join(self.server.folder, 'events')
        for arguments in (['--data-binary', f'@{path}'], ['-T', path, '-X', 'POST'],
                          ['-T', path, '-X', 'POST', '-H', 'Transfer-Encoding: chunked'],
                          ['--data-binary', f'@{path}', '--tls-max', '1.2']):
            done = self.curl(url, *arguments)
            self.assertEqual(json.loads(done.stdout)['accepted'], 100000, done.stderr)

    def test_a_long_answer_is_whole(self):
        sql = 'WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 300000) SELECT n FROM c'
        answer = self.server.request('POST', '/api/v1/sql?format=csv', sql)
        self.assertEqual(answer.body.split(), [b'n'] + [str(n).encode() for n in range(1, 300001)])

    def test_live_results_come(self):
        connection = self.server.connect()
        self.addCleanup(connection.close)
        connection.sendall(b'GET /api/v1/pipelines/sums/results/live HTTP/1.1\r\nHost: localhost\r\n\r\n')
        text = b''
        while b'\r\n\r\n' not in text:
            text += connection.recv(4096)
        self.server.post_ok('trades', [{'t': 1750000000000 + 1500 * i, 'sym': 'live', 'price': 1} for i in range(3)])
        while b'"live"' not in text:
            piece = connection.recv(4096)
            self.assertTrue(piece, text)
            text += piece

    def test_nothing_below_1_2_and_no_plain_text(self):
        url = f'https://localhost:{self.server.port}/live'
        self.assertEqual(self.curl(url, '--tlsv1.2', '--tls-max', '1.2').stdout, '{"live":true}\n')
        self.assertNotEqual(self.curl(url, '--tlsv1.0', '--tls-max', '1.1', '--ciphers',
                                      'DEFAULT@SECLEVEL=0').returncode, 0)
        self.assertNotEqual(self.curl(url.replace('https', 'http')).returncode, 0)
        self.assertEqual(self.curl(url, '-w', '%{http_version}').stdout, '{"live":true}\n1.1')

    # ---- The guard ----

    REQUESTS = {
        'a plain one': b'GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n',
        'many at once': b'GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n' * 20,
        'a body behind its head': b'POST /api/v1/sql HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8\r\n\r\nSELECT 1',
        'space before the colon': b'GET /live HTTP/1.1\r\nHost: localhost\r\nContent-Length : 3\r\n\r\nabc',
        'two lengths': b'POST /api/v1/sql HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\nContent-Length: 1\r\n\r\nSELECT 1',
        'length and chunks': b'POST /api/v1/sql HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n'
                             b'Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /live HTTP/1.1\r\nHost: x\r\n\r\n',
        'a folded field': b'GET /live HTTP/1.1\r\nHost: localhost\r\nX: a\r\n b\r\n\r\n',
        'a zero': b'GET /live HTTP/1.1\r\nHost: localhost\r\nX: a\0b\r\n\r\n',
        'bare line feeds': b'GET /live HTTP/1.1\nHost: localhost\n\n',
        'no host': b'GET /live HTTP/1.1\r\n\r\n',
        'another host': b'GET /live HTTP/1.1\r\nHost: evil.example\r\n\r\n',
        'another origin': b'POST /api/v1/sql HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.example\r\n'
                          b'Content-Length: 8\r\n\r\nSELECT 1',
        'chunks that are none': b'POST /api/v1/streams/trades/events HTTP/1.1\r\nHost: localhost\r\n'
                                b'Transfer-Encoding: chunked\r\n\r\nzz\r\n',
        'a long head': b'GET /live HTTP/1.1\r\nHost: localhost\r\nX: ' + b'a' * 70000 + b'\r\n\r\n',
        'a refused upload': b'POST /api/v1/streams/none/events HTTP/1.1\r\nHost: localhost\r\n'
                            b'Content-Length: 90000000\r\n\r\n' + b'{}\n' * 10000,
        'a HEAD that is refused': b'HEAD /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n',
    }

    def answers(self, connection, request, pieces):
        """What comes back, without dates. With TLS who closes before he is answered is taken to be gone."""
        text = b''
        size = max(1, len(request) // pieces)
        try:
            for at in range(0, len(request), size):
                connection.sendall(request[at:at + size])
            text = connection.recv(65536)
            socket.socket.shutdown(connection, socket.SHUT_WR)  # also below TLS
        except OSError:
            pass
        text += read_all(connection)
        connection.close()
        return re.sub(rb'Date: [^\r]*\r\n', b'', text)

    def test_requests_are_answered_as_without_tls(self):
        for what, request in self.REQUESTS.items():
            for pieces in (1, 7):
                plain = socket.create_connection(('127.0.0.1', self.plain.port), timeout=harness.LIMIT_S)
                expected = self.answers(plain, request, pieces)
                got = self.answers(self.server.connect(), request, pieces)
                self.assertEqual((what, got), (what, expected))
                self.assertTrue(expected, what)

    # ---- Certificates ----

    def test_certificates_are_exchanged_while_connections_go_on(self):
        server = self.server
        old = server.connect()
        self.addCleanup(old.close)
        make_certificate(server.folder, 'second')
        try:
            server.use(os.path.join(server.folder, 'second'))
            server.reload('certificates were read again')
            server.close()
            with server.connect() as new:
                self.assertEqual(dict(x[0] for x in new.getpeercert()['subject'])['commonName'], 'second')
            with self.assertRaises(ssl.SSLError):
                server.connect(ca='first')
            old.sendall(b'GET /live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n')
            self.assertIn(b'200 OK', read_all(old))
            with open(os.path.join(server.folder, 'tls.key'), 'w', encoding='ascii') as file:
                file.write('nonsense')
            server.reload('certificates stay as they were')
            harness.wait_until(lambda: not server.get_json('/api/v1/config')['last_reload']['successful'],
                               'what came of it')
            self.assertEqual(server.get('/live').status, 200)
        finally:
            server.use(os.path.join(server.folder, 'first'))
            server.close()
            server.reload('certificates were read again')

    def test_metrics_say_when_the_certificate_expires(self):
        path = os.path.join(self.server.folder, 'first.pem')
        text = subprocess.run(['openssl', 'x509', '-noout', '-enddate', '-in', path], stdout=subprocess.PIPE, text=True,
                              check=True).stdout
        self.assertEqual(self.server.metric('weir_tls_certificate_expires_timestamp_seconds'),
                         ssl.cert_time_to_seconds(text.strip().split('=')[1]))


class Clients(unittest.TestCase):
    """Certificates of clients."""

    @classmethod
    def setUpClass(cls):
        cls.server = TlsServer(', client_ca: FOLDER/ca.pem')
        folder = cls.server.folder
        make_certificate(folder, 'ca')
        make_certificate(folder, 'other')
        try:
            make_certificate(folder, 'good', ca='ca', usage='clientAuth')
        except subprocess.CalledProcessError as e:
            cls.server.remove_folder()
            raise unittest.SkipTest('this openssl does not sign') from e
        make_certificate(folder, 'server', ca='ca', usage='serverAuth')
        make_certificate(folder, 'stranger', ca='other', usage='clientAuth')
        cls.server.client = 'good'
        cls.server.__enter__()
        cls.addClassCleanup(cls.server.__exit__, None, None, None)

    def answer(self, context):
        try:
            plain = socket.create_connection(('127.0.0.1', self.server.port), timeout=harness.LIMIT_S)
            with context.wrap_socket(plain, server_hostname='localhost') as connection:
                connection.sendall(b'GET /live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n')
                return connection.recv(15)
        except (ssl.SSLError, ConnectionError):
            return b''

    def test_weir_top_shows_its_certificate(self):
        folder = self.server.folder
        ask = lambda *more: harness.weir('top', '--once', '-i', '0.1', '-u', f'https://127.0.0.1:{self.server.port}',
                                         '--ca', f'{folder}/tls.pem', *more)
        done = ask('--cert', f'{folder}/good.pem', '--key', f'{folder}/good.key')
        if 'without libcurl' in done.stderr:
            self.skipTest('built without libcurl')
        self.assertEqual((done.returncode, done.stderr), (0, ''))
        for more in ([], ['--cert', f'{folder}/stranger.pem', '--key', f'{folder}/stranger.key']):
            self.assertEqual(ask(*more).returncode, 69, more)

    def test_only_those_of_the_ca_for_clients_get_in(self):
        self.assertEqual(self.answer(self.server.context(client='good')), b'HTTP/1.1 200 OK')
        for name in ('stranger', 'server', 'other'):
            self.assertEqual((name, self.answer(self.server.context(client=name))), (name, b''))
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            without = ssl.create_default_context(cafile=os.path.join(self.server.folder, 'tls.pem'))
            without.minimum_version = without.maximum_version = version
            self.assertEqual(self.answer(without), b'')


class Start(unittest.TestCase):
    def start(self, server_section):
        folder = harness.folder_for_test(self)
        make_certificate(folder, 'tls')
        make_certificate(folder, 'other')
        path = os.path.join(folder, 'weir.yaml')
        with open(path, 'w', encoding='ascii') as file:
            file.write(f'server: {server_section}\n'.replace('F/', f'{folder}/') + CONFIG[CONFIG.index('streams'):])
        return harness.weir('serve', '-c', path, cwd=folder)

    def test_wrong_files_are_told(self):
        for tls, said in (('{certificate: F/nowhere.pem, key: F/tls.key}', "nowhere.pem': No such file"),
                          ('{certificate: F/tls.pem, key: F/nowhere.key}', "nowhere.key': No such file"),
                          ('{certificate: F/tls.pem, key: F/other.key}', 'do not match'),
                          ('{certificate: F/tls.key, key: F/tls.key}', 'tls: certificate'),
                          ('{certificate: F/tls.pem, key: F/tls.key, client_ca: F/tls.key}', 'client_ca'),
                          ('{certificate: F/tls.pem}', "'key' is missing"),
                          ('yes', 'certificate: and key:')):
            done = self.start(f'{{listen: "127.0.0.1:0", tls: {tls}}}')
            self.assertEqual(done.returncode, 78, (tls, done.stderr))
            self.assertIn(said, done.stderr)

    def test_tls_alone_does_not_open_an_address_to_all(self):
        done = self.start('{listen: "0.0.0.0:0", tls: {certificate: F/tls.pem, key: F/tls.key}}')
        self.assertEqual(done.returncode, 78)
        self.assertIn('nothing says who may', done.stderr)


if __name__ == '__main__':
    harness.main()
