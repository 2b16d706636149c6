# SPDX-License-Identifier: Apache-2.0
"""What the tests of webhooks share: a receiver whose answers are chosen, and a pipeline that has webhooks."""

import collections
import http.server
import json
import socket
import threading
import time
import unittest

import harness

T0 = 1764000000  # seconds
Request = collections.namedtuple('Request', 'time headers body')


class Receiver:
    """Takes requests. `script` says what becomes of them, one after the other: a status, (status, headers), 'cut' (the
    connection, before an answer), 'half' (in the middle of it), an Event that is waited for; 200 once it is at its end."""

    def __init__(self, *script, port=0, tls=None):
        self.requests, self.script, self.changed = [], list(script), threading.Condition()
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = 'HTTP/1.1'

            def do_POST(self):
                body = self.rfile.read(int(self.headers['Content-Length']))
                step = receiver.take(Request(time.monotonic(), dict(self.headers), body))
                if isinstance(step, threading.Event):
                    step.wait(harness.LIMIT_S)
                    step = 200
                if step == 'cut':
                    self.connection.shutdown(socket.SHUT_RDWR)
                    self.close_connection = True
                    return
                status, headers = step if isinstance(step, tuple) else (200 if step == 'half' else step, {})
                try:
                    self.send_response(status)
                    for name, value in headers.items():
                        self.send_header(name, value)
                    self.send_header('Content-Length', '10' if step == 'half' else '0')
                    self.end_headers()
                    if step == 'half':
                        self.wfile.write(b'12345')
                        self.close_connection = True
                except OSError:
                    self.close_connection = True

            def log_message(self, *_):
                pass

        class Quiet(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 100

            def handle_error(self, *_):
                pass

        self.server = Quiet(('127.0.0.1', port), Handler)
        if tls:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.url = f'http{"s" if tls else ""}://127.0.0.1:{self.server.server_port}/hook'
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={'poll_interval': 0.02}, daemon=True)
        self.thread.start()

    def take(self, request):
        with self.changed:
            self.requests.append(request)
            self.changed.notify_all()
            return self.script.pop(0) if self.script else 200

    def items(self):
        with self.changed:
            return [item for r in self.requests for item in json.loads(r.body)['rows']]

    def wait(self, n, items=None):
        """Until there are n requests, or so many items with different ids."""
        harness.wait_until(lambda: len(self.requests) >= n if items is None else
                           len({i['id'] for i in self.items()}) >= items, f'{items or n} at the receiver')

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def config(*hooks, more=''):
    text = '''
server: {listen: {listen}, database: {folder}/weir.db, checkpoint_interval: 300ms, commit_interval: 20ms}
streams:
  trades: {time: {field: ts, unit: s}, fields: {symbol: string, price: float}}
pipelines:
  seconds:
    from: trades
    key: [symbol]
    window: {tumbling: 1s}
    idle_timeout: 1h
''' + more + '''
    analyzers:
      - count
      - stats: {of: price, emit: [max]}
'''
    if hooks:
        text += '    webhook:\n' + ''.join(f'      - {{{hook}}}\n' for hook in hooks)
    return text


def trades(first, last, symbols='ABC', price=lambda s, name: s):
    return '\n'.join(json.dumps({'ts': T0 + s, 'symbol': name, 'price': price(s, name)})
                     for s in range(first, last) for name in symbols)


def in_file(server, table='seconds'):
    """(window_start, symbol): (count, price_max), as SQLite has it."""
    return {(start // 1000000 - T0, symbol): (count, top) for start, symbol, count, top in
            server.rows(f'SELECT window_start, symbol, count, price_max FROM {table}')}


def shown(row):
    seconds = int(time.mktime(time.strptime(row['window_start'], '%Y-%m-%dT%H:%M:%SZ'))) - time.timezone - T0
    return (seconds, row['symbol']), (row['count'], row['price_max'])


def first_of_each(items):
    """The first time that each id came; the same id is the same item."""
    found = {}
    for item in items:
        if found.setdefault(item['id'], item) != item:
            raise AssertionError(f'{item} and {found[item["id"]]} have the same id')
    return list(found.values())


def status(server, name='webhook', pipeline='seconds'):
    return next(h for h in server.get_json(f'/api/v1/pipelines/{pipeline}')['webhooks'] if h['name'] == name)


class WithReceivers(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = harness.tempfile.mkdtemp(prefix='weir-test-')
        cls.addClassCleanup(harness.shutil.rmtree, folder)
        with open(f'{folder}/weir.yaml', 'w', encoding='utf-8') as file:
            file.write(config('to: "http://127.0.0.1:1/"').replace('{listen}', '127.0.0.1:0').replace('{folder}', folder))
        if 'without libcurl' in harness.weir('check', '-c', f'{folder}/weir.yaml').stderr:
            raise unittest.SkipTest('built without libcurl')

    def receiver(self, *script, **more):
        receiver = Receiver(*script, **more)
        self.addCleanup(receiver.close)
        return receiver

    def check_items(self, server, items):
        """All rows of the file, and in order for each key."""
        rows = [shown(item['row']) for item in items]
        self.assertEqual(dict(rows), in_file(server))
        for symbol in {key[1] for key, _ in rows}:
            starts = [key[0] for key, _ in rows if key[1] == symbol]
            self.assertEqual(starts, sorted(set(starts)))
