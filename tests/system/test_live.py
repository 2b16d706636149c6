# SPDX-License-Identifier: Apache-2.0
"""Live results: rows as they are committed, as Server-Sent Events; nothing missing, nothing twice."""

import collections
import http.client
import json
import random
import signal
import socket
import threading
import unittest

import harness

T0 = 1764000000000
CONFIG = '''
server: {listen: {listen}, database: {folder}/weir.db, checkpoint_interval: 300ms}
streams:
  trades: {time: {field: ts, unit: ms}, fields: {symbol: string, price: float}}
pipelines:
  seconds:
    from: trades
    key: [symbol]
    window: {tumbling: 1s}
    idle_timeout: 1h
    workers: 2
    analyzers:
      - count
      - stats: {of: price, emit: [max]}
  revised:
    from: trades
    key: [symbol]
    window: {tumbling: 1s}
    idle_timeout: 1h
    late: revise
    allowed_lateness: 1h
    analyzers: [count]
'''
Event = collections.namedtuple('Event', 'id name data')


class Listener:
    """Reads events of a path, one after the other."""

    def __init__(self, server, path, last=None, limit_s=harness.LIMIT_S, room=None):
        self.connection = http.client.HTTPConnection('127.0.0.1', server.port, timeout=limit_s)
        if room:
            self.connection.connect()
            self.connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        self.connection.request('GET', path, headers={'Last-Event-ID': last} if last else {})
        self.answer = self.connection.getresponse()
        if self.answer.status == 200:
            self.first = self.next()

    def next(self):
        """None: the end."""
        found = {}
        while True:
            try:
                line = self.answer.readline().decode()
            except (OSError, http.client.HTTPException):
                return None
            if not line:
                return None
            line = line.rstrip('\n')
            if not line:
                if found:
                    return Event(found.get('id'), found.get('event'), found.get('data') and json.loads(found['data']))
                continue
            name, _, value = line.partition(':')
            if name and name != 'retry':
                found[name] = value.strip()

    def take(self, n):
        return [self.next() for _ in range(n)]

    def close(self):
        self.answer.close()
        self.connection.close()


def trades(first, last, symbols='ABC'):
    return '\n'.join(f'{{"ts":{T0 + 1000 * s},"symbol":"{name}","price":{s}}}' for s in range(first, last) for name in symbols)


def shown(row):
    return (row['window_start'], row['symbol'], row['count'])


class Live(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        """Ten of twelve listeners go, which their server may see by its comment after 15 s only: the other tests run meanwhile."""
        cls.left = harness.Server.for_class(cls, CONFIG)
        cls.listeners = [Listener(cls.left, '/api/v1/pipelines/seconds/results/live') for _ in range(12)]
        cls.left.wait_metric('weir_http_connections', 13)  # and who asks
        for i, listener in enumerate(cls.listeners[:10]):
            if i % 2:
                listener.connection.sock and listener.connection.sock.shutdown(socket.SHUT_RDWR)
            listener.close()

    def test_rows_come_when_they_are_committed(self):
        with harness.Server(CONFIG) as server:
            server.post_ok('trades', trades(0, 2))
            server.wait_watermark('seconds', (T0 + 1000) * 1000)
            listener = Listener(server, '/api/v1/pipelines/seconds/results/live')
            self.assertEqual(listener.answer.headers['Content-Type'], 'text/event-stream')
            server.post_ok('trades', trades(2, 5))
            got = listener.take(9)
            rows = server.rows('SELECT (window_start / 1000000) AS s, symbol, count, price_max FROM seconds WHERE window_start >= ?',
                               (T0 + 1000) * 1000)
            self.assertEqual(sorted((r['window_start'][17:19], r['symbol'], r['count'], r['price_max']) for r in (e.data for e in got)),
                             sorted((f'{s % 60:02d}', name, count, top) for s, name, count, top in rows))
            numbers = [int(e.id.split('-')[1]) for e in got]
            self.assertEqual(numbers, sorted(set(numbers)))
            listener.close()

    def test_filters_and_columns(self):
        with harness.Server(CONFIG) as server:
            path = '/api/v1/pipelines/seconds/results/seconds/live?symbol=B&columns=symbol,price_max&times=us'
            listener, all_of_them = Listener(server, path), Listener(server, '/api/v1/pipelines/seconds/results/live')
            server.post_ok('trades', trades(0, 4))
            self.assertEqual([e.data for e in listener.take(3)],
                             [{'symbol': 'B', 'price_max': float(s)} for s in range(3)])
            self.assertEqual(len(all_of_them.take(9)), 9)

    def test_revised_rows_come_again(self):
        with harness.Server(CONFIG) as server:
            listener = Listener(server, '/api/v1/pipelines/revised/results/live')
            server.post_ok('trades', trades(0, 2, 'A'))
            self.assertEqual(listener.next().data['count'], 1)
            server.post_ok('trades', trades(0, 1, 'A'))
            again = listener.next().data
            self.assertEqual((again['count'], again['revision']), (2, 1))

    def test_wrong_questions(self):
        with harness.Server(CONFIG) as server:
            path = '/api/v1/pipelines/seconds/results/live'
            for question, status in (('?limit=3', 400), ('?from=now', 400), ('?none=1', 400), ('?columns=none', 400)):
                self.assertEqual(server.request('GET', path + question).status, status, question)
            self.assertEqual(server.request('GET', path, headers={'Last-Event-ID': 'yesterday'}).status, 400)
            self.assertEqual(server.request('GET', '/api/v1/pipelines/none/results/live').status, 404)
            self.assertEqual(server.request('HEAD', path).status, 200)
            # Pages have no Last-Event-ID.
            self.assertEqual(server.request('GET', '/api/v1/pipelines/seconds/results?last_event_id=1-1').status, 400)

    def test_who_was_away_too_long_is_told(self):
        with harness.Server(CONFIG) as server:
            listener = Listener(server, '/api/v1/pipelines/seconds/results/live')
            began, _ = listener.first.id.split('-')
            for last in (f'{began}-77', f'{int(began) - 1}-0'):
                other = Listener(server, '/api/v1/pipelines/seconds/results/live', last=last)
                self.assertEqual(other.first.name, 'lost')

    def test_resumed_over_kills_nothing_is_missing_or_double(self):
        random.seed(4711)
        seen, ended = [], threading.Event()
        with harness.Server(CONFIG) as server:
            begin = Listener(server, '/api/v1/pipelines/seconds/results/live')
            begin.close()

            def listen():
                last = begin.first.id
                while not ended.is_set():
                    try:
                        listener = Listener(server, '/api/v1/pipelines/seconds/results/live', last=last, limit_s=harness.LIMIT_S / 30)
                        if listener.answer.status != 200:
                            continue
                        if listener.first.name:
                            seen.append(listener.first)
                        while (event := listener.next()) is not None:
                            seen.append(event)
                            last = event.id
                        listener.close()
                    except (OSError, http.client.HTTPException, AttributeError):
                        pass

            thread = threading.Thread(target=listen, daemon=True)
            thread.start()
            self.addCleanup(ended.set)
            second = 0
            for _ in range(5):
                for _ in range(random.randrange(3, 20)):
                    step = random.randrange(1, 9)
                    server.post_ok('trades', trades(second, second + step))
                    second += step
                server.kill()
                server.start()
            server.post_ok('trades', trades(second, second + 1))
            server.wait_watermark('seconds', (T0 + 1000 * second) * 1000)
            wanted = {(s, name) for s in range(second) for name in 'ABC'}
            harness.wait_until(lambda: len(seen) >= len(wanted), f'{len(wanted)} rows')
            ended.set()
            server.stop()
            thread.join()
        self.assertEqual([e for e in seen if e.name], [])
        got = [(int(e.data['price_max']), e.data['symbol']) for e in seen]
        self.assertEqual(len(got), len(set(got)), [x for x, n in collections.Counter(got).items() if n > 1])
        self.assertEqual(set(got), wanted)

    def test_slow_client_is_not_waited_for(self):
        with harness.Server(CONFIG) as server:
            slow = Listener(server, '/api/v1/pipelines/seconds/results/live', room=65536)
            quick = Listener(server, '/api/v1/pipelines/seconds/results/live')
            names = [f'{k:04d}' for k in range(1000)]
            for s in range(50): # more than the sockets hold
                server.post_ok('trades', trades(s, s + 1, names))
            wanted = {(s, name) for s in range(49) for name in names}
            self.assertEqual({(e.data['price_max'], e.data['symbol']) for e in quick.take(49000)}, wanted)
            self.assertLess(int(server.metric('weir_http_spooled_bytes')), 1 << 20)
            # The slow one finds all there was, once it reads: it is only behind.
            self.assertEqual({(e.data['price_max'], e.data['symbol']) for e in slow.take(49000)}, wanted)
            slow.close()
            quick.close()

    def test_who_has_gone_is_forgotten(self):
        self.left.wait_metric('weir_http_connections', 3)
        self.left.post_ok('trades', trades(0, 2))
        for listener in self.listeners[10:]:
            listener.connection.sock and listener.connection.sock.settimeout(harness.LIMIT_S)
            self.assertEqual(len(listener.take(3)), 3)
            listener.close()

    def test_many_at_once_are_not_refused(self):
        with harness.Server(CONFIG) as server:
            sockets = [socket.create_connection(('127.0.0.1', server.port)) for _ in range(400)]
            for s in sockets:
                s.sendall(b'GET /api/v1/pipelines/seconds/results/live HTTP/1.1\r\nHost: localhost\r\n\r\n')
            for s in sockets:
                s.settimeout(harness.LIMIT_S)
                self.assertEqual(s.recv(12), b'HTTP/1.1 200')
                s.close()

    def test_exchanged_pipeline_is_found_again(self):
        with harness.Server(CONFIG) as server:
            listener = Listener(server, '/api/v1/pipelines/seconds/results/live')
            with open(server.path, encoding='utf-8') as file:
                text = file.read()
            with open(server.path, 'w', encoding='utf-8') as file:
                file.write(text.replace('emit: [max]', 'emit: [max, min]'))
            server.process.send_signal(signal.SIGHUP)
            self.assertIsNone(listener.next())
            again = Listener(server, '/api/v1/pipelines/seconds/results/live', last=listener.first.id)
            self.assertIsNone(again.first.name)
            server.post_ok('trades', trades(0, 2))
            self.assertIn('price_min', again.next().data)
            again.close()

    def test_what_retention_has_deleted_does_not_come_again(self):
        config = CONFIG.replace('window: {tumbling: 1s}', 'window: {tumbling: 1s}\n    retain: 1m', 1).replace(
            'checkpoint_interval: 300ms', 'checkpoint_interval: 1h')
        with harness.Server(config) as server:
            begin = Listener(server, '/api/v1/pipelines/seconds/results/live')
            for first in range(0, 3000, 250):
                server.post_ok('trades', trades(first, first + 250, 'ABCDEFG'))
            # What is deleted before it could be sent does not come; each worker's rows come in the order of their windows.
            newest = {}
            while len(newest) < 7:
                last = begin.next()
                if last.data['price_max'] == 2998:
                    newest[last.data['symbol']] = last
            harness.wait_until(lambda: server.rows('SELECT count(*) FROM seconds')[0][0] < 1000, 'retention')
            server.kill()
            server.start()
            again = Listener(server, '/api/v1/pipelines/seconds/results/live', last=last.id)
            server.post_ok('trades', trades(3000, 3001, 'ABCDEFG'))
            self.assertEqual({e.data['price_max'] for e in again.take(7)}, {2999.0})
            again.close()

    def test_stop_ends_what_has_no_end(self):
        with harness.Server(CONFIG) as server:
            listeners = [Listener(server, '/api/v1/pipelines/seconds/results/live') for _ in range(20)]
            server.post_ok('trades', trades(0, 2))
            for listener in listeners:
                self.assertEqual(len(listener.take(3)), 3)
            server.stop()
            for listener in listeners:
                self.assertIsNone(listener.next())


if __name__ == '__main__':
    harness.main()
