# SPDX-License-Identifier: Apache-2.0
"""Webhooks, against a receiver of Python's own: at least once, in order by key, whatever the receiver does and whatever
ends the server; signatures by Python's hmac."""

import base64
import hashlib
import hmac
import json
import random
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
import unittest

import harness
from receiver import T0, WithReceivers, config, first_of_each, in_file, shown, status, trades


class Rows(WithReceivers):
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
            # Eight at most are on their way when the fifth has failed; the next waits for half of max_backoff at least.
            self.assertGreaterEqual(times[8] - times[7], 0.15)
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
            harness.wait_until(lambda: status(server)['delivered'] == 4, 'all are delivered')
            self.assertEqual(status(server)['failed_requests'], 2)
            self.assertIn('timed out', status(server)['last_error'])

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

    def test_certificates_are_checked(self):
        folder = harness.folder_for_test(self)
        if not shutil.which('openssl'):
            raise unittest.SkipTest('no openssl, which makes a certificate')
        subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2',
                        '-keyout', f'{folder}/key', '-out', f'{folder}/certificate', '-subj', '/CN=localhost',
                        '-addext', 'subjectAltName=IP:127.0.0.1'], check=True, capture_output=True)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(f'{folder}/certificate', f'{folder}/key')
        receiver = self.receiver(tls=tls)
        hooks = (f'to: "{receiver.url}", backoff: 10ms', f'name: knows, to: "{receiver.url}", ca_file: "{folder}/certificate"')
        with harness.Server(config(*hooks)) as server:
            server.post_ok('trades', trades(0, 3, 'A'))
            receiver.wait(2)
            harness.wait_until(lambda: status(server)['state'] == 'broken', 'the other one fails')
            self.assertIn('certificate', status(server)['last_error'])
            self.assertEqual({json.loads(r.body)['webhook'] for r in receiver.requests}, {'knows'})

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

    def test_rows_that_wait_in_the_file_are_counted_and_bounded(self):
        names = [f's{i}' for i in range(500)]
        with harness.Server(config('to: "http://127.0.0.1:1/", max_lag: 1500, backoff: 10s, max_backoff: 10s')) as server:
            server.post_ok('trades', trades(0, 1, names))
            for n in range(1, 8):  # 2,000 of them are in memory
                server.post_ok('trades', trades(n, n + 1, names))
                harness.wait_until(lambda: status(server)['lag'] == 500 * n, 'the lag grows with the table')  # pylint: disable=cell-var-from-loop
            self.assertEqual((len(in_file(server)), status(server)['skipped']), (3500, 0))
            self.assertEqual(server.metric('weir_webhook_lag_rows', webhook='webhook'), 3500)
            server.post_ok('trades', trades(8, 10, names))
            harness.wait_until(lambda: status(server)['skipped'] == 1000, 'what is too much is passed over')
            self.assertEqual((len(in_file(server)), status(server)['lag']), (4500, 3500))

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

    def check_refused(self, faults):
        """All of them are told, each at its place."""
        folder = harness.folder_for_test(self)
        path = f'{folder}/weir.yaml'
        text = config(*(f'name: h{i}, {hook}' for i, (hook, _) in enumerate(faults)))
        with open(path, 'w', encoding='utf-8') as file:
            file.write(text.replace('{listen}', '127.0.0.1:0').replace('{folder}', folder))
        done = harness.weir('check', '-c', path)
        self.assertEqual(done.returncode, 78, done.stderr)
        for i, (hook, fault) in enumerate(faults):
            line = next(n for n, part in enumerate(text.splitlines(), 1) if f'{{name: h{i}, ' in part)
            with self.subTest(hook=hook):
                self.assertTrue(any(f'{path}:{line}:' in said and fault in said for said in done.stderr.splitlines()), done.stderr)

    def test_settings_that_cannot_be(self):
        self.check_refused((('batch: 1', "the key 'to' is missing"),
                            ('to: "ftp://example.org/"', 'expected a URL'),
                            ('to: "http:///x"', 'expected a URL'),
                            ('to: "http://a/ b"', 'expected a URL'),
                            ('to: "http://a/", for: 5m', "'for' needs 'when'"),
                            ('to: "http://a/", body: "x", batch: 2', "does not go with 'batch: 2'"),
                            ('to: "http://a/", secret: a, secret_file: b', 'is enough'),
                            ('to: "http://a/", headers: {"a b": c}', 'no name of a header'),
                            ('to: "http://a/", headers: {Content-Length: 1}', 'set by weir itself'),
                            ('to: "http://a/", whne: 1', "did you mean 'when'"),
                            ('to: "http://a/", backoff: 2m', "longer than 'max_backoff'"),
                            ('to: "http://a/", batch: 0', 'from 1 to 1000')))

    def test_what_does_not_fit_the_table(self):
        self.check_refused((('to: "http://a/", when: prise_max > 1', 'no such column: prise_max'),
                            ('to: "http://a/", when: "price_max > (SELECT 1)"', 'subqueries prohibited'),
                            ('to: "http://a/", when: "window_start > unixepoch()"', 'non-deterministic'),
                            ('to: "http://a/", body: "{symbl}"', "no column 'symbl', did you mean 'symbol'"),
                            ('to: "http://a/", table: secnds', "has no table 'secnds', did you mean 'seconds'"),
                            ('to: "http://a/", secret_file: /nowhere/x', 'No such file'),
                            ('to: "http://a/", secret: whsec_a', 'not base64')))

    def test_a_run_sends_nothing(self):
        receiver = self.receiver()
        folder = harness.folder_for_test(self)
        with open(f'{folder}/weir.yaml', 'w', encoding='utf-8') as file:
            file.write(config(f'to: "{receiver.url}"').replace('{listen}', '127.0.0.1:0').replace('{folder}', folder))
        done = harness.weir('run', '-c', f'{folder}/weir.yaml', '--stream', 'trades', stdin=trades(0, 5))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn('webhooks are not sent by a run', done.stderr)
        self.assertEqual(receiver.requests, [])


class Reload(WithReceivers):
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
            self.check_items(server, first_of_each(receiver.items()))


if __name__ == '__main__':
    harness.main()
