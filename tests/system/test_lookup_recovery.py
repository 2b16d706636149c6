# SPDX-License-Identifier: Apache-2.0
"""http_lookup, and whatever ends the server: who was asked once is not asked again, and what follows from the answers agrees."""

import collections
import random
import signal
import threading
import time

import harness
from service import T0, WithService, config, expected, in_file, lookup, of_key, trades


NUMBERS = '''    key: [symbol]
    window: {tumbling: 10ms}
    analyzers: [count, {sum: {of: x}}]
  sums:
    from: rows
    key: [symbol]
    window: {tumbling: 100ms}
    analyzers: [{sum: {of: count}}, {sum: {of: x_sum}}]
'''


class Recovery(WithService):
    """Each answer is another number, so that one that was asked for twice shows."""

    def numbers(self, delay=0.0):
        lock, given = threading.Lock(), []

        def answer(key, _n):
            with lock:
                given.append(key)
                number = len(given)
            return ({'x': number}, delay) if delay else {'x': number}
        return self.service(answer)

    def check_sums(self, server, events):
        """What the child was given is what stands in the table of the parent, which has each event once."""
        sums, count = collections.defaultdict(lambda: [0, 0]), 0
        rows = server.rows('SELECT window_start, symbol, count, x_sum FROM rows')
        for start, symbol, n, x in rows:
            s = sums[start // 100000 * 100000, symbol]
            s[0] += n
            s[1] += x
            count += n
        self.assertEqual(count, events)
        found = server.rows('SELECT window_start, symbol, count_sum, x_sum_sum FROM sums')
        self.assertEqual({(start, symbol): [n, x] for start, symbol, n, x in found}, dict(sums))

    def wait_until(self, server, ms):
        server.wait_watermark('rows', (T0 * 1000 + ms) * 1000)
        server.wait_watermark('sums', (T0 * 1000 + ms) * 1000 // 100000 * 100000)

    def test_what_was_answered_is_not_asked_for_again(self):
        service = self.numbers()
        text = config(lookup(service.url + '/{symbol}', columns='x: int', more=', cache_ttl: 0s'), body=NUMBERS, checkpoint='1h')
        with harness.Server(text) as server:
            for k in range(10):
                server.post_ok('trades', trades([(20 * k + i, f's{i % 4}') for i in range(20)]))
            self.wait_until(server, 199)
            before, asked = server.rows('SELECT * FROM rows ORDER BY 1, 2'), service.total()
            self.assertGreater(len(before), 0)
            server.kill()
            server.start()
            server.post_ok('trades', trades([(1000, 'end')]))
            self.wait_until(server, 1000)
            self.assertEqual(server.rows('SELECT * FROM rows ORDER BY 1, 2')[:len(before)], before)
            self.assertEqual(service.total(), asked + 1)
            self.check_sums(server, 200)

    def test_killed_at_any_time_rows_and_what_follows_agree(self):
        service = self.numbers(delay=0.005)
        more = ', cache_ttl: 20ms, in_flight: 8'
        text = config(lookup(service.url + '/{symbol}', columns='x: int', more=more), body=NUMBERS, checkpoint='100ms')
        n = 0
        with harness.Server(text) as server:
            for round_ in range(8):
                for _ in range(random.randrange(2, 8)):
                    server.post_ok('trades', trades([(n + i, f's{random.randrange(12)}') for i in range(30)]))
                    n += 30
                if round_ % 2:
                    self.wait_until(server, random.randrange(n - 60, n - 20))
                server.kill()
                server.start()
            server.post_ok('trades', trades([(n + 1000, 'end')]))
            self.wait_until(server, n + 1000)
            self.check_sums(server, n)

    def test_what_was_answered_is_forgotten_behind_a_checkpoint(self):
        service = self.numbers()
        text = config(lookup(service.url + '/{symbol}', columns='x: int'), body=NUMBERS, checkpoint='100ms')
        with harness.Server(text) as server:
            server.post_ok('trades', trades([(i, f's{i}') for i in range(50)]))
            number = iter(range(100, 10000))

            def forgotten():
                server.post_ok('trades', trades([(next(number), 'a')]))
                return server.rows('SELECT count(*) FROM weir_answers WHERE first = 1') == [(0,)]
            self.wait_until(server, 49)
            harness.wait_until(forgotten, 'they are forgotten')

    def test_a_stop_does_not_wait_for_a_service(self):
        held = threading.Event()
        self.addCleanup(held.set)

        def answer(key, n):
            if key == 'slow' and n == 0:
                held.wait(harness.LIMIT_S)
            return of_key(key)
        service = self.service(answer)
        with harness.Server(config(lookup(service.url + '/{symbol}', more=', timeout: 60s'))) as server:
            server.post_ok('trades', trades([(1, 'a')]))
            self.wait_rows(server, 1)
            server.post_ok('trades', trades([(2, 'slow'), (3, 'a')]))
            harness.wait_until(lambda: service.asked['slow'] == 1, 'it is asked for')
            began = time.monotonic()
            server.stop()
            self.assertLess(time.monotonic() - began, harness.held_up_s())
            server.start()
            self.wait_rows(server, 3)
            self.assertEqual(in_file(server), expected([(1, 'a'), (2, 'slow'), (3, 'a')]))

    def test_another_configuration(self):
        first, second = self.service(), self.service(lambda key, _: dict(of_key(key), country='new'))
        with harness.Server(config(lookup(first.url + '/{symbol}'))) as server:
            server.post_ok('trades', trades([(1, 'a')]))
            self.wait_rows(server, 1)
            with open(server.path, 'w', encoding='utf-8') as file:
                text = config(lookup(second.url + '/{symbol}'))
                file.write(text.replace('{listen}', '127.0.0.1:0').replace('{folder}', server.folder))
            server.process.send_signal(signal.SIGHUP)
            harness.wait_until(lambda: any('the configuration was read again' in line for line in server.log), 'it is read')
            server.post_ok('trades', trades([(2, 'a')]))
            self.wait_rows(server, 2)
            self.assertEqual([row[2] for row in in_file(server)], ['C1', 'new'])

    def test_a_run_asks_too(self):
        service = self.service()
        folder = harness.folder_for_test(self)
        rows = [(i, f's{i % 9}') for i in range(300)]
        self.check(folder, config(lookup(service.url + '/{symbol}')))
        done = harness.weir('run', '-c', f'{folder}/weir.yaml', '--stream', 'trades', stdin=trades(rows))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(harness.read_rows(f'{folder}/weir.db', 'SELECT n, symbol, country, tier FROM rows ORDER BY n'), expected(rows))


if __name__ == '__main__':
    harness.main()
