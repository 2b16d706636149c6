# SPDX-License-Identifier: Apache-2.0
"""Webhooks, against a receiver of Python's own: bodies, signatures by Python's hmac, settings, SIGHUP."""

import base64
import hashlib
import hmac
import json
import signal
import time

import harness
from receiver import T0, WithReceivers, config, first_of_each, shown, trades


class Form(WithReceivers):
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
            harness.wait_until(lambda: any(shown(i['row'])[0][0] == 13 for i in second.items()), 'the last row')
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
