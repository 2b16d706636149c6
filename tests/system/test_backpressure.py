# SPDX-License-Identifier: Apache-2.0
"""When analyzers are slower than clients, a full queue answers 429 with Retry-After; what was accepted
is counted, what was not is not. What the journal could never hold is 413, and holds nobody up."""

import contextlib
import http.client
import json
import os
import threading
import unittest

import harness

T0 = 1700000000000
CONFIG = '''
server: {listen: {listen}, database: {folder}/weir.db, queue_events: 2000, queue_wait: 20ms}
streams:
  input: {time: {field: ts, unit: ms}, fields: {key: string}}
pipelines:
  slow_10s: {from: input, key: [key], window: {tumbling: 10s}, out_of_orderness: 1h, idle_timeout: 1h,
             analyzers: [slow]}
'''
SLOW = '''
#include "weir/plugin.h"
#include <unistd.h>
struct state { int64_t n; };
static int update(struct weir_ctx *ctx, const struct weir_rows *r)
{
    (void)ctx;
    while (access("hold", F_OK) == 0)
        usleep(10000);
    usleep(100000);
    for (size_t i = 0; i < r->n; i++)
        ((struct state *)(r->states + r->group[i] * r->stride))->n++;
    return 0;
}
static int emit_one(struct weir_ctx *ctx, const struct state *s, const struct weir_window *w,
                    struct weir_out *o)
{
    return weir_put_int(ctx, o, 0, s->n);
}
WEIR_EMIT(emit, struct state, emit_one)
static const struct weir_output outputs[] = {{"rows", WEIR_INT, "rows", NULL}, {NULL, 0, NULL, NULL}};
static const struct weir_analyzer slow = {.name = "slow", .version = "1", .help = "Counts slowly",
    .threads = WEIR_THREADS_CTX, .outputs = outputs, .state_size = sizeof (struct state),
    .update = update, .emit = emit};
WEIR_PLUGIN(slow);
'''


class Backpressure(unittest.TestCase):
    def setUp(self):
        folder = harness.folder_for_test(self)
        harness.compile_plugin(folder, 'slow', SLOW)
        config = CONFIG.replace('{listen: {listen}', f'{{listen: {{listen}}, plugin_path: [{folder}]')
        self.server = harness.Server(config)
        self.hold = os.path.join(self.server.folder, 'hold')
        with open(self.hold, 'wb'):  # until the first is refused: however slow clients are, the queue is full then
            pass
        self.server.__enter__()
        self.addCleanup(self.server.__exit__, None, None, None)
        self.lock = threading.Lock()
        self.accepted = self.refused = 0

    def client(self, number, body, n):
        connection = http.client.HTTPConnection('127.0.0.1', self.server.port, timeout=harness.LIMIT_S)
        for _ in range(20):
            connection.request('POST', '/api/v1/streams/input/events', body,
                               {'Content-Type': 'application/x-ndjson'})
            reply = connection.getresponse()
            text = reply.read()
            with self.lock:
                if reply.status == 200:
                    assert json.loads(text)['accepted'] == n, text
                    self.accepted += n
                else:
                    assert reply.status == 429, (reply.status, text)
                    assert int(reply.headers['Retry-After']) >= 1, reply.headers
                    self.refused += 1
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(self.hold)
        connection.close()

    def test_full_queue_answers_429_and_what_was_accepted_is_counted(self):
        n = 1500
        threads = []
        for number in range(4):
            body = f'{{"ts":{T0},"key":"client {number}"}}\n' * n
            threads.append(threading.Thread(target=self.client, args=(number, body, n)))
            threads[-1].start()
        for thread in threads:
            thread.join()
        self.assertGreater(self.refused, 0)
        self.assertGreater(self.accepted, 0)

        def last():
            return self.server.post('input', [{'ts': T0 + 7200000, 'key': '~'}]).status == 200
        harness.wait_until(last, 'room in the queue')
        self.server.wait_watermark('slow_10s', (T0 + 3600000) * 1000)
        self.assertEqual(self.server.rows('SELECT sum(rows) FROM slow_10s'), [(self.accepted,)])


SMALL_CONFIG = '''
server: {listen: {listen}, database: {folder}/weir.db, journal_limit: 4MiB, checkpoint_interval: 10ms}
streams:
  durable: {time: {field: ts, unit: ms}, fields: {n: int, text: string}}
  memory: {time: {field: ts, unit: ms}, fields: {n: int, text: string}, ack: memory}
pipelines:
  durable_1h: {from: durable, window: {tumbling: 1h}, idle_timeout: 1h, analyzers: [count]}
  memory_1h: {from: memory, window: {tumbling: 1h}, idle_timeout: 1h, analyzers: [count]}
'''


class SmallJournal(unittest.TestCase):
    @staticmethod
    def body(n, size):
        return f'{{"ts":{T0},"n":1,"text":"{"x" * size}"}}\n' * n

    def check(self, server, stream):
        for headers in ({}, {'Idempotency_Key': 'large'}):
            answer = server.post(stream, self.body(200, 10000), **headers)
            self.assertEqual(answer.status, 413, answer.body)
            said = json.loads(answer.body)
            self.assertEqual(said['code'], 'too_large_for_journal')
            self.assertIn('journal_limit', said['detail'])
        self.assertEqual(server.metric('weir_too_large_total', stream=stream), 2)
        n = 0
        for _ in range(8):  # several times the limit, each as large as can be
            harness.wait_until(lambda: server.post(stream, self.body(200, 7500)).status == 200, 'room')
            n += 200
        harness.wait_until(lambda: server.post(stream, [{'ts': T0 + 7200000, 'n': 0, 'text': ''}]).status == 200,
                           'room for the last event')
        server.wait_watermark(f'{stream}_1h', (T0 + 3600000) * 1000)
        self.assertEqual(server.rows(f'SELECT sum(count) FROM {stream}_1h'), [(n,)])

    def test_what_can_never_be_written_is_413_and_all_else_goes_on(self):
        with harness.Server(SMALL_CONFIG) as server:
            self.check(server, 'durable')
            self.check(server, 'memory')

    def test_check_warns_of_a_journal_too_small_for_the_largest_body(self):
        folder = harness.folder_for_test(self)
        for limit, warns in (('4MiB', True), ('16GiB', False)):
            config = SMALL_CONFIG.replace('{folder}', folder).replace('{listen}', '127.0.0.1:0')
            path = os.path.join(folder, 'weir.yaml')
            with open(path, 'w', encoding='ascii') as file:
                file.write(config.replace('4MiB', limit))
            done = harness.weir('check', '-c', path, '--no-database', cwd=folder)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual('max_body' in done.stderr, warns, done.stderr)


if __name__ == '__main__':
    harness.main()
