# SPDX-License-Identifier: Apache-2.0
"""Webhooks, against a receiver of Python's own: at least once, in order by key, whatever the receiver does and whatever ends
the server."""

import json
import random
import shutil
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
        with harness.Server(config(f'to: "{receiver.url}", backoff: 40ms, max_backoff: 2s, in_flight: 4')) as server:
            server.post_ok('trades', trades(0, 3, 'ABCDEFGH'))
            receiver.wait(25)
            times = [r.time for r in receiver.requests]
            # Eight at most are on their way when the fifth has failed; the next waits for half of max_backoff at least.
            self.assertGreaterEqual(times[8] - times[7], 0.5)
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
            harness.wait_until(lambda: any('refuses rows' in line for line in server.log), 'a line in the log')
            self.assertEqual(sum('refuses rows' in line for line in server.log), 1)

    def test_a_slow_receiver_costs_only_its_own_lag(self):
        held = threading.Event()
        self.addCleanup(held.set)
        slow, fast = self.receiver(held, held), self.receiver()
        limit_s = round(harness.LIMIT_S / 60)
        hooks = (f'to: "{slow.url}", timeout: {limit_s}s, backoff: 10ms', f'name: fast, to: "{fast.url}"')
        with harness.Server(config(*hooks)) as server:
            server.post_ok('trades', trades(0, 5, 'A'))
            fast.wait(4)
            slow.wait(6)  # two were given up
            self.assertEqual(len(first_of_each(slow.items())), 4)
            harness.wait_until(lambda: status(server)['delivered'] == 4, 'all are delivered')
            self.assertGreaterEqual(status(server)['failed_requests'], 2)  # more where the machine is slow
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
            self.assertLess(time.monotonic() - began, harness.held_up_s())
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
            harness.wait_until(lambda: (now := status(server)) and (now['lag'], now['delivered'], now['deleted']) == (0, 5, 24),
                               'what is there to be delivered')

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


if __name__ == '__main__':
    harness.main()
