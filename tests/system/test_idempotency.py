# SPDX-License-Identifier: Apache-2.0
"""A request with an Idempotency-Key can be sent again: it is answered as before, and counted once."""

import gzip
import http.client
import json
import random
import threading
import unittest

import harness

T0 = 1700000000000
CONFIG = '''
server: {listen: {listen}, database: {folder}/weir.db, idempotency_keys: 500}
streams:
''' + ''.join(f'  {name}: {{time: {{field: ts, unit: ms}}, fields: {{k: string, v: int}}, ack: {ack}}}\n'
              for name, ack in [('once', 'durable'), ('memory', 'memory'), ('race', 'durable'),
                                ('many', 'durable'), ('other', 'durable')]) + '''
pipelines:
''' + ''.join(f'''
  {name}_10s: {{from: {name}, key: [k], window: {{tumbling: 10s}}, idle_timeout: 1h,
               analyzers: [count, {{stats: {{of: v, emit: [sum]}}}}]}}
''' for name in ('once', 'memory', 'race', 'many', 'other'))


def lines(*values, key='a'):
    return ''.join(f'{{"ts":{T0},"k":"{key}","v":{v}}}\n' for v in values)


class Idempotency(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = harness.Server.for_class(cls, CONFIG)

    def results(self, stream):
        """{key: (count, sum)} of the window that T0 lies in."""
        self.server.post_ok(stream, [{'ts': T0 + 60000, 'k': '~', 'v': 0}])
        self.server.wait_watermark(f'{stream}_10s', (T0 + 60000) * 1000)
        return {k: (n, v) for k, n, v in self.server.rows(f'SELECT k, count, v_sum FROM {stream}_10s')}

    def test_repeats_are_answered_as_before_and_counted_once(self):
        body = lines(1, 2) + '{]\n' + lines(3)
        first = self.server.post('once', body, Idempotency_Key='a-1')
        self.assertEqual(first.status, 200)
        self.assertNotIn('Idempotency-Replayed', first.headers)
        said = json.loads(first.body)
        self.assertEqual(set(said), {'accepted', 'rejected', 'errors', 'durable', 'position'})
        self.assertEqual((said['accepted'], said['rejected'], said['durable']), (3, 1, True))
        for again in (body, body, gzip.compress(body.encode())):
            more = {} if isinstance(again, str) else {'Content_Encoding': 'gzip'}
            answer = self.server.post('once', again, Idempotency_Key='a-1', **more)
            self.assertEqual((answer.status, answer.body), (200, first.body))
            self.assertEqual(answer.headers['Idempotency-Replayed'], 'true')
        answer = self.server.post('once', lines(1, 2, 4), Idempotency_Key='a-1')
        self.assertEqual((answer.status, json.loads(answer.body)['code']), (422, 'idempotency_mismatch'))
        # the same key of another stream is another one
        self.assertEqual(self.server.post_ok('other', lines(9), Idempotency_Key='a-1')['accepted'], 1)
        self.server.post_ok('once', lines(10), Idempotency_Key='a-2')
        self.assertEqual(self.results('once'), {'a': (4, 16)})
        self.assertEqual(self.server.metric('weir_events_total', stream='once'), 5)
        self.assertEqual(self.server.metric('weir_rejected_total', stream='once', reason='syntax'), 1)
        self.assertEqual(self.server.metric('weir_idempotency_replayed_total', stream='once'), 4)
        self.assertEqual(self.server.metric('weir_idempotency_keys', stream='once'), 2)

    def test_ack_memory(self):
        said = self.server.post_ok('memory', lines(1))
        self.assertEqual((said['durable'], said['position']), (False, None))
        for replayed in (None, 'true'):
            answer = self.server.post('memory', lines(2), Idempotency_Key='"k"')
            self.assertEqual(json.loads(answer.body), {'accepted': 1, 'rejected': 0, 'errors': [],
                                                       'durable': False, 'position': None})
            self.assertEqual(answer.headers.get('Idempotency-Replayed'), replayed)
        self.assertEqual(self.results('memory'), {'a': (2, 3)})

    def test_bad_keys(self):
        for key in ('', 'a b', 'k' * 256, 'ä'.encode().decode('latin-1')):
            answer = self.server.post('once', '', Idempotency_Key=key)
            self.assertEqual((answer.status, json.loads(answer.body)['code']), (400, 'bad_idempotency_key'))

    def producer(self, number, bodies):
        """Sends all in an order of its own, and again whatever is under way elsewhere."""
        dice = random.Random(number)
        connection = http.client.HTTPConnection('127.0.0.1', self.server.port, timeout=harness.LIMIT_S)
        left = list(range(len(bodies)))
        while left:
            i = left.pop(dice.randrange(len(left)))
            connection.request('POST', '/api/v1/streams/race/events', bodies[i],
                               {'Content-Type': 'application/x-ndjson', 'Idempotency-Key': f'request {i}'
                                .replace(' ', '-')})
            reply = connection.getresponse()
            said = json.loads(reply.read())
            if reply.status == 409:
                assert reply.headers['Retry-After'] == '1', reply.headers
                left.append(i)
            else:
                assert (reply.status, said['accepted']) == (200, 3), (reply.status, said)
        connection.close()

    def test_producers_with_the_same_keys_at_once(self):
        bodies = [lines(i, i + 1, i + 2, key=f'k{i % 7}') for i in range(300)]
        threads = [threading.Thread(target=self.producer, args=(n, bodies)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        expected = {}
        for i in range(300):
            n, v = expected.get(f'k{i % 7}', (0, 0))
            expected[f'k{i % 7}'] = (n + 3, v + 3 * i + 3)
        self.assertEqual(self.results('race'), expected)
        self.assertEqual(self.server.metric('weir_idempotency_replayed_total', stream='race'), 900)

    def test_oldest_keys_are_forgotten(self):
        for i in range(600):
            self.server.post_ok('many', lines(1), Idempotency_Key=f'k{i}')
        self.assertEqual(self.server.metric('weir_idempotency_keys', stream='many'), 500)
        self.assertEqual(self.server.metric('weir_idempotency_evicted_total', stream='many',
                                            reason='number'), 100)
        self.server.post_ok('many', lines(1), Idempotency_Key='k0')    # taken again
        self.server.post_ok('many', lines(1), Idempotency_Key='k599')  # known
        self.assertEqual(self.results('many'), {'a': (601, 601)})


if __name__ == '__main__':
    harness.main()
