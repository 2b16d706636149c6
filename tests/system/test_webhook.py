# SPDX-License-Identifier: Apache-2.0
"""Webhooks, against a receiver of Python's own: at least once, in order by key, whatever the receiver does and whatever
ends the server; alerts against a model; signatures by Python's hmac."""

import base64
import collections
import hashlib
import hmac
import http.server
import json
import os
import random
import re
import signal
import socket
import threading
import time
import unittest

import harness

T0 = 1764000000  # seconds
Request = collections.namedtuple('Request', 'time headers body')


def setUpModule():
    folder = harness.tempfile.mkdtemp(prefix='weir-test-')
    unittest.addModuleCleanup(harness.shutil.rmtree, folder)
    with open(f'{folder}/weir.yaml', 'w', encoding='utf-8') as file:
        file.write(config('to: "http://127.0.0.1:1/"').replace('{listen}', '127.0.0.1:0').replace('{folder}', folder))
    if 'without libcurl' in harness.weir('check', '-c', f'{folder}/weir.yaml').stderr:
        raise unittest.SkipTest('built without libcurl')


class Receiver:
    """Takes requests. `script` says what becomes of them, one after the other: a status, (status, headers), 'cut' (the
    connection, before an answer), 'half' (in the middle of it), an Event that is waited for; 200 once it is at its end."""

    def __init__(self, *script, port=0):
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
        self.url = f'http://127.0.0.1:{self.server.server_port}/hook'
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


class Rows(unittest.TestCase):
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

    def test_a_row_a_request_in_order(self):
        receiver = self.receiver()
        with harness.Server(config(f'to: "{receiver.url}"')) as server:
            server.post_ok('trades', trades(0, 21))
            receiver.wait(60)
            self.check_items(server, receiver.items())
            request = receiver.requests[0]
            self.assertEqual(request.headers['Content-Type'], 'application/json')
            self.assertEqual(request.headers['webhook-id'], 'seconds.webhook.' + json.loads(request.body)['rows'][0]['id'])
            self.assertNotIn('webhook-signature', request.headers)
            self.assertEqual({k: v for k, v in json.loads(request.body).items() if k != 'rows'},
                             {'pipeline': 'seconds', 'table': 'seconds', 'webhook': 'webhook'})
            harness.wait_until(lambda: status(server)['lag'] == 0, 'no lag')
            now = status(server)
            self.assertEqual((now['delivered'], now['state'], now['refused'], now['last_error']), (60, 'well', 0, None))
            self.assertEqual(server.metric('weir_webhook_rows_total', webhook='webhook', outcome='delivered'), 60)
            self.assertEqual(server.metric('weir_webhook_lag_rows', pipeline='seconds'), 0)

    def test_batches_and_many_in_flight(self):
        symbols = 'ABCDEFGHIJ'
        receiver = self.receiver()
        with harness.Server(config(f'to: "{receiver.url}", batch: 7, in_flight: 4', more='    workers: 2')) as server:
            for s in range(0, 60, 6):
                server.post_ok('trades', trades(s, s + 6, symbols))
            receiver.wait(0, items=590)
            self.check_items(server, receiver.items())
            sizes = [len(json.loads(r.body)['rows']) for r in receiver.requests]
            self.assertLessEqual(max(sizes), 7)
            self.assertLess(len(sizes), 590)

    def test_killed_in_the_middle_nothing_is_missing(self):
        receiver = self.receiver()
        with harness.Server(config(f'to: "{receiver.url}", batch: 3, in_flight: 2')) as server:
            for n in range(4):
                server.post_ok('trades', trades(20 * n, 20 * n + 20))
                receiver.wait(15 * n + random.randrange(1, 12))
                server.restart()
            receiver.wait(0, items=79 * 3)
            self.check_items(server, first_of_each(receiver.items()))

    def test_a_receiver_that_is_down_gets_all_later(self):
        with socket.socket() as reserved:
            reserved.bind(('127.0.0.1', 0))
            port = reserved.getsockname()[1]
            other = self.receiver()
            hooks = (f'to: "http://127.0.0.1:{port}/", batch: 10, backoff: 20ms, max_backoff: 100ms',
                     f'name: other, to: "{other.url}"')
            server = harness.Server(config(*hooks))
            with server:
                server.post_ok('trades', trades(0, 11))
                other.wait(30)  # is not held up
                harness.wait_until(lambda: status(server)['state'] == 'broken', 'five failures')
                now = status(server)
                self.assertEqual((now['lag'], now['delivered']), (30, 0))
                self.assertIn('connect', now['last_error'])
                self.assertGreaterEqual(server.metric('weir_webhook_failures_in_a_row', webhook='webhook'), 5)
                server.restart()
                reserved.close()
                receiver = self.receiver(port=port)
                server.post_ok('trades', trades(11, 15))
                receiver.wait(0, items=42)
                self.check_items(server, first_of_each(receiver.items()))
                harness.wait_until(lambda: status(server)['state'] == 'well', 'it is well again')

    def test_failures_are_repeated_in_place(self):
        receiver = self.receiver('cut', 500, 'half', 503, 408, 425, 302)
        with harness.Server(config(f'to: "{receiver.url}", backoff: 10ms, max_backoff: 20ms')) as server:
            server.post_ok('trades', trades(0, 4, 'A'))
            receiver.wait(10)
            ids = [r.headers['webhook-id'] for r in receiver.requests]
            self.assertEqual(len(set(ids[:8])), 1)
            self.assertEqual(len({r.body for r in receiver.requests[:8]}), 1)
            self.check_items(server, first_of_each(receiver.items()))
            harness.wait_until(lambda: status(server)['delivered'] == 3, 'all are delivered')
            self.assertEqual(status(server)['failed_requests'], 7)

    def test_back_off_grows_and_one_at_a_time_is_tried(self):
        receiver = self.receiver(*[500] * 9)
        with harness.Server(config(f'to: "{receiver.url}", backoff: 40ms, max_backoff: 300ms, in_flight: 4')) as server:
            server.post_ok('trades', trades(0, 3, 'ABCDEFGH'))
            receiver.wait(25)
            times = [r.time for r in receiver.requests]
            self.assertGreaterEqual(times[8] - times[7], 0.15)  # half of max_backoff at least
            self.assertGreaterEqual(times[7] - times[6], 0.15)
            self.check_items(server, first_of_each(receiver.items()))

    def test_retry_after_is_honoured(self):
        receiver = self.receiver((429, {'Retry-After': '1'}))
        with harness.Server(config(f'to: "{receiver.url}", backoff: 10ms, in_flight: 3')) as server:
            server.post_ok('trades', trades(0, 2, 'A'))
            receiver.wait(2)
            self.assertGreaterEqual(receiver.requests[1].time - receiver.requests[0].time, 0.95)

    def test_what_is_refused_is_not_repeated(self):
        receiver = self.receiver(200, 400, 404, 200)
        with harness.Server(config(f'to: "{receiver.url}"')) as server:
            server.post_ok('trades', trades(0, 6, 'A'))
            receiver.wait(5)
            harness.wait_until(lambda: status(server)['lag'] == 0, 'no lag')
            now = status(server)
            self.assertEqual((now['delivered'], now['refused'], now['failed_requests'], now['last_error']),
                             (3, 2, 0, 'HTTP status 404'))
            self.assertEqual(len({r.headers['webhook-id'] for r in receiver.requests}), 5)
            self.assertEqual(sum('refuses rows' in line for line in server.log), 1)

    def test_a_slow_receiver_costs_only_its_own_lag(self):
        held = threading.Event()
        self.addCleanup(held.set)
        slow, fast = self.receiver(held, held), self.receiver()
        hooks = (f'to: "{slow.url}", timeout: 200ms, backoff: 10ms', f'name: fast, to: "{fast.url}"')
        with harness.Server(config(*hooks)) as server:
            server.post_ok('trades', trades(0, 5, 'A'))
            fast.wait(4)
            slow.wait(6)  # two were given up
            self.assertEqual(len(first_of_each(slow.items())), 4)
            self.assertGreaterEqual(slow.requests[1].time - slow.requests[0].time, 0.19)

    def test_a_stop_does_not_wait_for_a_receiver(self):
        held = threading.Event()
        self.addCleanup(held.set)
        receiver = self.receiver(200, held)
        with harness.Server(config(f'to: "{receiver.url}", timeout: 60s')) as server:
            server.post_ok('trades', trades(0, 4, 'A'))
            receiver.wait(2)
            began = time.monotonic()
            server.stop()
            self.assertLess(time.monotonic() - began, 5)
            server.start()
            receiver.wait(0, items=3)
            items = receiver.items()  # the first was noted: it does not come again
            self.assertEqual([i['id'] for i in items].count(items[0]['id']), 1)

    def test_only_what_is_wanted_is_sent(self):
        receiver = self.receiver()
        when = "when: price_max % 2 = 0 AND symbol <> 'B' AND window_start >= 0"
        with harness.Server(config(f'to: "{receiver.url}", {when}')) as server:
            server.post_ok('trades', trades(0, 10))
            receiver.wait(10)
            self.assertEqual(sorted(shown(i['row'])[0] for i in receiver.items()),
                             sorted((s, name) for s in range(0, 9, 2) for name in 'AC'))
            harness.wait_until(lambda: status(server)['lag'] == 0, 'no lag')

    def test_what_cannot_be_computed_is_not_sent(self):
        receiver = self.receiver()
        when = 'when: abs(-9223372036854775807 - (price_max = 1)) > 0'
        with harness.Server(config(f'to: "{receiver.url}", {when}')) as server:
            server.post_ok('trades', trades(0, 4, 'A'))
            receiver.wait(2)
            self.assertEqual([shown(i['row'])[0][0] for i in receiver.items()], [0, 2])
            self.assertEqual(server.metric('weir_webhook_when_errors_total'), 1)

    def test_rows_that_are_revised_come_again(self):
        receiver = self.receiver()
        late = '    late: revise\n    allowed_lateness: 1h'
        with harness.Server(config(f'to: "{receiver.url}"', more=late)) as server:
            server.post_ok('trades', trades(0, 3, 'A'))
            receiver.wait(2)
            server.post_ok('trades', trades(0, 1, 'A', lambda *_: 7))
            receiver.wait(3)
            items = receiver.items()
            self.assertEqual([(i['kind'], shown(i['row'])) for i in items],
                             [('row', ((0, 'A'), (1, 0.0))), ('row', ((1, 'A'), (1, 1.0))),
                              ('revised', ((0, 'A'), (2, 7.0)))])
            self.assertEqual(len({i['id'] for i in items}), 3)

    def test_rows_that_were_deleted_are_counted(self):
        held = threading.Event()
        self.addCleanup(held.set)
        receiver = self.receiver(held)
        with harness.Server(config(f'to: "{receiver.url}"', more='    retain: 5s')) as server:
            server.post_ok('trades', trades(0, 2, 'A'))
            receiver.wait(1)
            server.stop()  # what is read already is sent all the same
            with open(server.path, encoding='utf-8') as file:
                text = file.read()
            with open(server.path, 'w', encoding='utf-8') as file:
                file.write(text.replace(receiver.url, 'http://127.0.0.1:1/'))
            server.start()
            server.post_ok('trades', trades(2, 30, 'A'))
            server.wait_watermark('seconds', (T0 + 29) * 1000000)
            harness.wait_until(lambda: len(in_file(server)) == 5, 'the others are deleted')
            server.stop()
            with open(server.path, 'w', encoding='utf-8') as file:
                file.write(text)
            held.set()
            server.start()
            harness.wait_until(lambda: status(server)['lag'] == 0, 'no lag')
            now = status(server)
            self.assertEqual((now['delivered'], now['deleted']), (5, 24))

    def test_who_is_too_far_behind_goes_on_later(self):
        with harness.Server(config('to: "http://127.0.0.1:1/", max_lag: 100, backoff: 10s')) as server:
            server.post_ok('trades', trades(0, 3, 'A'))
            harness.wait_until(lambda: status(server)['failed_requests'] == 1, 'a failure')
            for n in range(3, 63, 20):
                server.post_ok('trades', trades(n, n + 20, [f's{i}' for i in range(100)]))
            harness.wait_until(lambda: len(in_file(server)) == 5903, 'all rows')
            server.restart()
            harness.wait_until(lambda: status(server)['lag'] == 100, 'the rest is skipped')
            self.assertEqual(status(server)['skipped'], 5803)
            self.assertTrue(any("'max_lag'" in line for line in server.log))

    def test_a_body_by_template(self):
        receiver = self.receiver()
        body = '\'{"text": "{symbol} was at {price_max} ({kind})", "start": "{window_start}", "n": {count}, "x": {"y": 1}}\''
        headers = 'headers: {Authorization: Bearer abc, Content-Type: text/x-json}'
        with harness.Server(config(f'to: "{receiver.url}", body: {body}, {headers}')) as server:
            server.post_ok('trades', trades(0, 2, ['a"b\\c\u00e9']))
            receiver.wait(1)
            self.assertEqual(json.loads(receiver.requests[0].body),
                             {'text': 'a"b\\c\u00e9 was at 0 (row)', 'start': '2025-11-24T16:00:00Z', 'n': 1, 'x': {'y': 1}})
            self.assertEqual(receiver.requests[0].headers['Authorization'], 'Bearer abc')
            self.assertEqual(receiver.requests[0].headers['Content-Type'], 'text/x-json')

    def test_signatures(self):
        key = bytes(range(100))
        keys = [b'correct horse', b'from a file', key, b'']
        receivers = [self.receiver() for _ in keys]
        folder = harness.folder_for_test(self)
        with open(f'{folder}/secret', 'w', encoding='ascii') as file:
            file.write('from a file\n')
        secrets = ('secret: "${SECRET}"', f'secret_file: "{folder}/secret"',
                   f'secret: "whsec_{base64.b64encode(key).decode()}"', 'batch: 2')
        hooks = [f'name: h{i}, to: "{r.url}", {secret}' for i, (r, secret) in enumerate(zip(receivers, secrets))]
        with harness.Server(config(*hooks), SECRET='correct horse') as server:
            server.post_ok('trades', trades(0, 4, ['A', '\u00e9']))
            for receiver, secret in zip(receivers, keys):
                receiver.wait(0, items=6)
                for request in receiver.requests:
                    signed = f'{request.headers["webhook-id"]}.{request.headers["webhook-timestamp"]}.'.encode() + request.body
                    expected = base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()
                    self.assertEqual(request.headers.get('webhook-signature'), f'v1,{expected}' if secret else None)
                    self.assertLess(abs(int(request.headers['webhook-timestamp']) - time.time()), 60)

    def test_webhooks_that_cannot_be(self):
        for hook, text in (('name: a', "the key 'to' is missing"),
                           ('to: "ftp://example.org/"', 'expected a URL'),
                           ('to: "http:///x"', 'expected a URL'),
                           ('to: "http://a/ b"', 'expected a URL'),
                           ('to: "http://a/", when: prise_max > 1', 'no such column: prise_max'),
                           ('to: "http://a/", when: "price_max > (SELECT 1)"', 'subqueries prohibited'),
                           ('to: "http://a/", when: "window_start > unixepoch()"', 'non-deterministic'),
                           ('to: "http://a/", body: "{symbl}"', "no column 'symbl', did you mean 'symbol'"),
                           ('to: "http://a/", table: secnds', "has no table 'secnds', did you mean 'seconds'"),
                           ('to: "http://a/", for: 5m', "'for' needs 'when'"),
                           ('to: "http://a/", body: "x", batch: 2', "does not go with 'batch: 2'"),
                           ('to: "http://a/", secret: a, secret_file: b', 'is enough'),
                           ('to: "http://a/", secret_file: /nowhere/x', 'No such file'),
                           ('to: "http://a/", secret: whsec_a', 'not base64'),
                           ('to: "http://a/", headers: {"a b": c}', 'no name of a header'),
                           ('to: "http://a/", headers: {Content-Length: 1}', 'set by weir itself'),
                           ('to: "http://a/", batch: 0', 'from 1 to 1000')):
            with self.subTest(hook=hook):
                folder = harness.folder_for_test(self)
                path = f'{folder}/weir.yaml'
                with open(path, 'w', encoding='utf-8') as file:
                    file.write(config(hook).replace('{listen}', '127.0.0.1:0').replace('{folder}', folder))
                done = harness.weir('check', '-c', path)
                self.assertEqual(done.returncode, 78, done.stderr)
                self.assertIn(text, done.stderr)
                self.assertIn(f'{path}:', done.stderr)

    def test_a_run_sends_nothing(self):
        receiver = self.receiver()
        folder = harness.folder_for_test(self)
        with open(f'{folder}/weir.yaml', 'w', encoding='utf-8') as file:
            file.write(config(f'to: "{receiver.url}"').replace('{listen}', '127.0.0.1:0').replace('{folder}', folder))
        done = harness.weir('run', '-c', f'{folder}/weir.yaml', '--stream', 'trades', stdin=trades(0, 5))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn('webhooks are not sent by a run', done.stderr)
        self.assertEqual(receiver.requests, [])


class Reload(unittest.TestCase):
    receiver = Rows.receiver

    @staticmethod
    def reload(server, text, done='SIGHUP: the configuration was read again'):
        with open(server.path, 'w', encoding='utf-8') as file:
            file.write(text.replace('{listen}', '127.0.0.1:0').replace('{folder}', server.folder))
        before = sum(done in line for line in server.log)
        server.process.send_signal(signal.SIGHUP)
        harness.wait_until(lambda: sum(done in line for line in server.log) > before, done)

    def test_hooks_come_change_and_go_without_their_pipeline(self):
        first, second, third = self.receiver(), self.receiver(), self.receiver()
        with harness.Server(config()) as server:
            server.post_ok('trades', trades(0, 5, 'A'))
            server.wait_watermark('seconds', (T0 + 4) * 1000000)
            self.reload(server, config(f'to: "{first.url}"'))
            server.post_ok('trades', trades(5, 10, 'A'))  # sent are rows from now on
            first.wait(5)
            self.reload(server, config(f'to: "{second.url}", batch: 2', f'name: more, to: "{third.url}", when: price_max > 11'))
            server.post_ok('trades', trades(10, 15, 'A'))
            second.wait(0, items=5)
            third.wait(2)
            self.reload(server, config(f'name: more, to: "{third.url}", when: price_max > 11'))
            server.post_ok('trades', trades(15, 20, 'A'))
            third.wait(7)
            starts = [[shown(i['row'])[0][0] for i in first_of_each(r.items())] for r in (first, second, third)]
            self.assertEqual(starts[0], [4, 5, 6, 7, 8])
            self.assertEqual(starts[1][-5:], [9, 10, 11, 12, 13])
            self.assertEqual(starts[2], [12, 13, 14, 15, 16, 17, 18])
            self.assertFalse(any("'seconds' is exchanged" in line for line in server.log))
            self.assertEqual([h['name'] for h in server.get_json('/api/v1/pipelines/seconds')['webhooks']], ['more'])
            self.reload(server, config())
            harness.wait_until(lambda: server.get_json('/api/v1/pipelines/seconds')['webhooks'] == [], 'no webhooks')
            harness.wait_until(lambda: not server.rows("SELECT 1 FROM sqlite_schema WHERE name GLOB 'weir_changes_*'"),
                               'the table is not followed any more')
            self.assertEqual(server.rows('SELECT count(*) FROM weir_hooks'), [(0,)])

    def test_what_is_wrong_leaves_all_as_it_was(self):
        receiver = self.receiver()
        with harness.Server(config(f'to: "{receiver.url}"')) as server:
            self.reload(server, config('to: "http://127.0.0.1:1/", when: nothing > 1'),
                        done='the configuration stays as it was')
            server.post_ok('trades', trades(0, 3, 'A'))
            receiver.wait(2)

    def test_a_pipeline_is_exchanged_under_a_hook(self):
        receiver = self.receiver()
        with harness.Server(config(f'to: "{receiver.url}"')) as server:
            server.post_ok('trades', trades(0, 5, 'A'))
            receiver.wait(4)
            self.reload(server, config(f'to: "{receiver.url}"', more='    retain: 30d'))
            self.assertTrue(any("'seconds' is exchanged" in line for line in server.log))
            server.post_ok('trades', trades(5, 11, 'A'))
            receiver.wait(0, items=10)
            Rows.check_items(self, server, first_of_each(receiver.items()))


def model(rows, hold, repeat, resolved):
    """What alerts there are: (kind, symbol, second, since) of (second, symbol, whether the condition holds)."""
    since, told, found = {}, {}, []
    for second, symbol, holds in rows:
        if holds:
            begun = since.setdefault(symbol, second)
            if symbol not in told:
                if second - begun >= hold:
                    told[symbol] = second
                    found.append(('firing', symbol, second, begun))
            elif repeat is not None and second - told[symbol] >= repeat:
                told[symbol] = second
                found.append(('repeat', symbol, second, begun))
        elif symbol in since:
            begun = since.pop(symbol)
            if told.pop(symbol, None) is not None and resolved:
                found.append(('resolved', symbol, second, begun))
    return found


class Alerts(unittest.TestCase):
    receiver = Rows.receiver

    def prices(self, seed, seconds, symbols):
        """Walks that stay on one side for a while."""
        dice = random.Random(seed)
        hot = {name: False for name in symbols}
        found = {}
        for s in range(seconds):
            for name in symbols:
                if dice.random() < 0.2:
                    hot[name] = not hot[name]
                found[s, name] = (100 if hot[name] else 1) + dice.random()
        return found

    def told(self, receiver):
        """As model says it; times of a notice are ends of windows, a second behind their start."""
        found = []
        for item in first_of_each(receiver.items()):
            (second, symbol), _ = shown(item['row'])
            begun = int(time.mktime(time.strptime(item['since'], '%Y-%m-%dT%H:%M:%SZ'))) - time.timezone - T0
            found.append((item['kind'], symbol, second, begun - 1))
        return found

    def check(self, receiver, expected, symbols):
        receiver.wait(0, items=len(expected))
        told = self.told(receiver)
        for name in symbols:
            self.assertEqual([t for t in told if t[1] == name], [e for e in expected if e[1] == name])

    def test_as_the_model_says(self):
        symbols = 'ABCDEF'
        for hold, repeat, resolved in ((0, None, True), (3, None, True), (2, 4, True), (3, 3, False)):
            with self.subTest(hold=hold, repeat=repeat, resolved=resolved):
                prices = self.prices(hold, 60, symbols)
                expected = model([(s, n, prices[s, n] > 50) for s in range(59) for n in symbols], hold, repeat, resolved)
                self.assertGreater(len(expected), 20)
                receiver = self.receiver()
                hook = (f'to: "{receiver.url}", when: price_max > 50, for: {hold}s, resolved: {str(resolved).lower()}, '
                        f'repeat: {"never" if repeat is None else f"{repeat}s"}, batch: 3, in_flight: 2')
                with harness.Server(config(hook)) as server:
                    server.post_ok('trades', trades(0, 60, symbols, lambda s, n: prices[s, n]))
                    self.check(receiver, expected, symbols)
                    firing = {e[1] for e in expected if e[0] == 'firing'}
                    harness.wait_until(lambda: status(server)['lag'] == 0, 'no lag')
                    if resolved:
                        ended = {n: [e[0] for e in expected if e[1] == n][-1] == 'resolved' for n in firing}
                        self.assertEqual(status(server)['firing'], sum(not e for e in ended.values()))

    def test_killed_in_the_middle(self):
        symbols = 'ABCD'
        prices = self.prices(9, 80, symbols)
        expected = model([(s, n, prices[s, n] > 50) for s in range(79) for n in symbols], 2, 5, True)
        script = [random.choice([200, 500, 'cut', 'half', 503]) for _ in range(60)]
        receiver = self.receiver(*script)
        hook = f'to: "{receiver.url}", when: price_max > 50, for: 2s, repeat: 5s, backoff: 10ms, max_backoff: 30ms'
        with harness.Server(config(hook)) as server:
            for n in range(4):
                server.post_ok('trades', trades(20 * n, 20 * n + 20, symbols, lambda s, n: prices[s, n]))
                seen = len(receiver.requests)
                receiver.wait(seen + random.randrange(1, 4))
                server.restart()
            self.check(receiver, expected, symbols)
            self.assertEqual(len(first_of_each(receiver.items())), len(expected))

    def test_keys_are_bounded(self):
        receiver = self.receiver()
        hook = f'to: "{receiver.url}", when: price_max > 50, max_keys: 3'
        with harness.Server(config(hook)) as server:
            server.post_ok('trades', trades(0, 2, 'ABCDE', lambda *_: 100))
            receiver.wait(3)
            harness.wait_until(lambda: status(server)['lag'] == 0, 'no lag')
            self.assertEqual((status(server)['over_keys'], status(server)['firing']), (2, 3))

    def test_an_older_row_that_is_revised_changes_no_alert(self):
        receiver = self.receiver()
        hook = f'to: "{receiver.url}", when: price_max > 50, for: 0s'
        late = '    late: revise\n    allowed_lateness: 1h'
        with harness.Server(config(hook, more=late)) as server:
            server.post_ok('trades', trades(0, 5, 'A', lambda *_: 100))
            receiver.wait(1)
            server.post_ok('trades', trades(2, 3, 'A', lambda *_: 200))
            harness.wait_until(lambda: (2, 'A') in in_file(server) and in_file(server)[2, 'A'][0] == 2, 'the revision')
            server.post_ok('trades', trades(5, 8, 'A', lambda *_: 1))
            receiver.wait(2)
            self.assertEqual(self.told(receiver), [('firing', 'A', 0, 0), ('resolved', 'A', 5, 0)])


class Examples(unittest.TestCase):
    receiver = Rows.receiver

    def test_alerts_on_trades(self):
        alerts, chat, candles = self.receiver(), self.receiver(), self.receiver()
        with open(os.path.join(harness.SOURCE, 'etc', 'examples', 'alerts.yaml'), encoding='utf-8') as file:
            text = file.read().replace('127.0.0.1:8080', '{listen}').replace('database: ', 'database: {folder}/')
        dice, trades_, price = random.Random(3), [], {'A': 100.0, 'B': 100.0}
        for s in range(0, 200):
            for name in price:
                if name == 'A':  # falls for a minute and a half, then not
                    price[name] *= 0.995 if 50 <= s < 140 else 1
                trades_.append({'ts': (T0 + s) * 1000, 'symbol': name, 'price': price[name], 'qty': dice.randrange(1, 2000), 'side': 'buy'})
        with harness.Server(text, ALERTS=alerts.url, CHAT=chat.url, CANDLES=candles.url, ALERTS_SECRET='s') as server:
            server.post_ok('trades', trades_)
            candles.wait(0, items=2 * 19)
            windows = collections.defaultdict(list)
            for t in trades_:
                windows[t['ts'] // 10000 - T0 // 10, t['symbol']].append(t)
            closed = {k: v for k, v in windows.items() if k[0] < 19}
            expected = model([(w, n, v[-1]['price'] < 0.99 * v[0]['price']) for (w, n), v in sorted(closed.items())], 3, 360, True)
            self.assertEqual([e[:2] for e in expected], [('firing', 'A'), ('resolved', 'A')])
            alerts.wait(0, items=2)
            self.assertEqual([(i['kind'], i['row']['symbol'], i['row']['window_start']) for i in alerts.items()],
                             [(kind, n, time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(T0 + 10 * w))) for kind, n, w, _ in expected])
            self.assertIn('webhook-signature', alerts.requests[0].headers)
            large = sorted((n, sum(t['price'] * t['qty'] for t in v)) for (_, n), v in closed.items()
                           if sum(t['price'] * t['qty'] for t in v) > 1000000)
            self.assertGreater(len(large), 3)
            chat.wait(len(large))
            self.assertEqual(sorted(json.loads(r.body)['text'].split(':')[0] for r in chat.requests), [n for n, _ in large])

    def test_the_manual(self):
        receiver = self.receiver()
        with open(os.path.join(harness.SOURCE, 'docs', 'weir.yaml.5'), encoding='utf-8') as file:
            example = next(e for e in re.findall(r'\.Bd -literal -offset indent\n(streams:.*?)\.Ed', file.read(), re.S) if 'webhook:' in e)
        text = 'server: {listen: {listen}, database: {folder}/weir.db}\n' + example
        with harness.Server(text, ALERTS=receiver.url) as server:
            warm = {('a', m): 2 < m < 12 for m in range(15)} | {('b', m): m % 5 > 0 for m in range(15)}
            server.post_ok('readings', [{'ts': T0 + 60 * m, 'store': store, 'celsius': 8 if hot else 2}
                                        for (store, m), hot in sorted(warm.items(), key=lambda x: x[0][1])])
            receiver.wait(0, items=2)
            told = [(i['kind'], i['row']['store'], i['row']['window_start']) for i in receiver.items()]
            expected = model(sorted((m, store, hot) for (store, m), hot in warm.items() if m < 14), 5, 60, True)
            self.assertEqual(told, [(kind, store, time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(T0 + 60 * m)))
                                    for kind, store, m, _ in expected])
            self.assertEqual(told, [('firing', 'a', '2025-11-24T16:08:00Z'), ('resolved', 'a', '2025-11-24T16:12:00Z')])


if __name__ == '__main__':
    harness.main()
