# SPDX-License-Identifier: Apache-2.0
"""What the tests of http_lookup share: a service whose answers are chosen, and a pipeline that asks it."""

import collections
import http.server
import json
import threading
import time
import unittest
import urllib.parse

import harness

T0 = 1764000000  # seconds


class Service:
    """Answers GET /KEY, or POST of a key, with what `answer(key, n)` says, n: how often the key was asked for before: a status, (status,
    headers), an object, (object, seconds) that it takes so long for, or text."""

    def __init__(self, answer, port=0):
        self.answer, self.asked, self.lock, self.keys = answer, collections.Counter(), threading.Lock(), []
        self.flying = self.most = 0
        service = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = 'HTTP/1.1'
            wbufsize = -1

            def do_GET(self):
                self.reply(urllib.parse.unquote(self.path.rsplit('/', 1)[1]))

            def do_POST(self):
                self.reply(self.rfile.read(int(self.headers['Content-Length'])).decode())

            def reply(self, key):
                with service.lock:
                    n, service.asked[key] = service.asked[key], service.asked[key] + 1
                    service.keys.append((time.monotonic(), self.path, dict(self.headers)))
                    service.flying += 1
                    service.most = max(service.most, service.flying)
                reply = service.answer(key, n)
                status, headers, body = 200, {}, b''
                if isinstance(reply, tuple) and isinstance(reply[0], int):
                    status, headers = reply
                elif isinstance(reply, tuple):
                    time.sleep(reply[1])
                    body = json.dumps(reply[0]).encode()
                elif isinstance(reply, int):
                    status = reply
                else:
                    body = reply.encode() if isinstance(reply, str) else json.dumps(reply).encode()
                with service.lock:
                    service.flying -= 1
                try:
                    self.send_response(status)
                    for name, value in headers.items():
                        self.send_header(name, value)
                    self.send_header('Content-Length', str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                except OSError:
                    self.close_connection = True

            def log_message(self, *_):
                pass

        class Quiet(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 200

            def handle_error(self, *_):
                pass

        self.server = Quiet(('127.0.0.1', port), Handler)
        self.url = f'http://127.0.0.1:{self.server.server_port}'
        threading.Thread(target=self.server.serve_forever, kwargs={'poll_interval': 0.02}, daemon=True).start()

    def hold_until(self, n):
        """True, once so many were asked for at a time; who comes after that is not held."""
        harness.wait_until(lambda: self.most >= n, f'{n} requests at a time')
        return True

    def total(self):
        return sum(self.asked.values())

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def lookup(url, columns='country: string, tier: {path: account.tier, type: int}', more=''):
    if 'backoff' not in more:
        more += ', backoff: 10ms, max_backoff: 100ms'
    return f'{{url: "{url}", columns: {{{columns}}}{more}}}'


HEAD = '''
server: {listen: {listen}, database: {folder}/weir.db, checkpoint_interval: CHECKPOINT, commit_interval: 20ms}
streams:
  trades: {time: {field: ts, unit: ms}, fields: {symbol: string, user: string, n: int, ok: bool}}
pipelines:
'''


def config(*lookups, body='', checkpoint='200ms', more=''):
    text = HEAD.replace('CHECKPOINT', checkpoint) + '''
  rows:
    from: trades
    http_lookup:
''' + ''.join(f'      s{i}: {text}\n' for i, text in enumerate(lookups))
    return text + (body or '    window: none\n    select: [n, symbol, country, tier]\n') + more


def trades(rows):
    return '\n'.join(json.dumps({'ts': T0 * 1000 + i, 'symbol': symbol, 'user': symbol, 'n': i, 'ok': True}) for i, symbol in rows)


def of_key(key, _n=0):
    return {'id': key, 'country': f'C{len(key)}', 'account': {'tier': sum(key.encode()) % 7, 'other': [1, {'x': 2}]}}


def expected(rows):
    return [(i, s, of_key(s)['country'], of_key(s)['account']['tier']) for i, s in rows]


def in_file(server, columns='n, symbol, country, tier', table='rows'):
    return server.rows(f'SELECT {columns} FROM {table} ORDER BY 1, 2')


def status(server, name='s0', pipeline='rows'):
    return next(s for s in server.get_json(f'/api/v1/pipelines/{pipeline}')['lookups'] if s['name'] == name)


class WithService(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = harness.tempfile.mkdtemp(prefix='weir-test-')
        cls.addClassCleanup(harness.shutil.rmtree, folder)
        if 'without libcurl' in cls.check(folder, config(lookup('http://127.0.0.1:1/{user}'))).stderr:
            raise unittest.SkipTest('built without libcurl')

    @staticmethod
    def check(folder, text):
        with open(f'{folder}/weir.yaml', 'w', encoding='utf-8') as file:
            file.write(text.replace('{listen}', '127.0.0.1:0').replace('{folder}', folder))
        return harness.weir('check', '-c', f'{folder}/weir.yaml')

    def service(self, answer=of_key, **more):
        service = Service(answer, **more)
        self.addCleanup(service.close)
        return service

    def wait_rows(self, server, n, table='rows', limit_s=harness.LIMIT_S):
        harness.wait_until(lambda: server.rows(f'SELECT count(*) FROM {table}') == [(n,)], f'{n} rows in {table}', limit_s)
