# SPDX-License-Identifier: Apache-2.0
"""The end, and what plugins do to it: a stop ends within its deadline, a crash has a name, and what was
acknowledged is counted once behind either. WEIR_LONG=1 (./dev hard) waits for the deadlines, too."""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import time
import unittest

import harness
from harness import SECOND_US, wait_until

LONG = os.environ.get('WEIR_LONG') == '1'
T0_US = 1700000000 * SECOND_US
CRASHES, HANGS, SLOW = 13, 14, 15  # values that do it
TRAP = '''
#include <weir/plugin.h>
#include <unistd.h>
struct config { const char *of; };
struct state { int64_t rows; };
static inline void step(struct state *s, const struct weir_rows *r, uint32_t row)
{
    int64_t value = weir_int(r->in[0], row);
    if (value == %d)
        *(volatile int *)0 = 0;
    while (value == %d)
        pause();
    if (value == %d)
        usleep(1000);
    s->rows++;
}
WEIR_STEP(update, struct state, step)
static int merge_one(struct weir_ctx *ctx, struct state *into, const struct state *from, const struct weir_window *w)
{
    into->rows += from->rows;
    return 0;
}
WEIR_MERGE(merge, struct state, merge_one)
static int emit_one(struct weir_ctx *ctx, const struct state *s, const struct weir_window *w, struct weir_out *out)
{
    weir_put_int(ctx, out, 0, s->rows);
    return 0;
}
WEIR_EMIT(emit, struct state, emit_one)
static const struct weir_param params[] = {
    {.name = "of", .type = WEIR_PARAM_COLUMN, .flags = WEIR_REQUIRED, .offset = offsetof(struct config, of),
     .help = "the column", .column_types = WEIR_NUMBERS},
    {.name = NULL},
};
static const struct weir_output outputs[] = {{.name = "trapped", .type = WEIR_INT, .help = "rows"}, {.name = NULL}};
static const struct weir_analyzer analyzer = {
    .name = "trap", .version = "1", .help = "Falls over some values", .threads = WEIR_THREADS_CTX,
    .params = params, .outputs = outputs, .config_size = sizeof(struct config),
    .state_size = sizeof(struct state), .update = update, .merge = merge, .emit = emit,
};
WEIR_PLUGIN(analyzer);
''' % (CRASHES, HANGS, SLOW)
CONFIG = '''
server: {listen: {listen}, database: {folder}/weir.db, plugin_path: {folder}, commit_interval: 5ms}
streams:
  input: {time: {field: ts, unit: us}, fields: {n: int}}
pipelines:
  trapped: {from: input, window: {tumbling: 10s}, analyzers: [count, {trap: {of: n}}]}
  counted: {from: input, window: {tumbling: 10s}, analyzers: [count]}
'''


class Stop(unittest.TestCase):
    def setUp(self):
        self.folder = harness.folder_for_test(self)
        harness.compile_plugin(self.folder, 'trap', TRAP)
        self.server = harness.Server(CONFIG, folder=self.folder)
        self.addCleanup(self.server.kill)
        self.server.start()

    def post(self, values, second=0):
        self.server.post_ok('input', [{'ts': T0_US + second * SECOND_US + i, 'n': n} for i, n in enumerate(values)])

    def close_windows(self):
        """An event that is later than all, and a result for those before it."""
        self.post([0], second=60)
        self.server.wait_watermark('counted', T0_US + 10 * SECOND_US)

    def ended(self, limit_s):
        """(exit status, seconds)"""
        began = time.monotonic()
        status = self.server.process.wait(limit_s)
        return status, time.monotonic() - began

    def log(self):
        return ''.join(self.server.log)

    @unittest.skipIf(harness.sanitized(), 'a sanitizer handles the signals of a crash itself')
    def test_after_a_crash_the_others_go_on_without_it(self):
        self.post([1, 2, 3])
        with contextlib.suppress(OSError, http.client.HTTPException):  # it may end before it has answered
            self.post([4, CRASHES])
        status, _ = self.ended(harness.LIMIT_S)
        self.assertNotEqual(status, 0)
        self.server.close()
        self.server.arguments = ['--without', 'trapped']
        self.server.start()
        self.assertIn("in pipeline 'trapped', analyzer 'trap'", self.log())
        self.assertIn('--without trapped', self.log())
        self.post([6])
        self.close_windows()
        self.assertEqual(self.server.rows('SELECT "count" FROM counted WHERE window_start = ?', T0_US), [(6,)])
        errors = {p['name']: p['status']['error'] for p in self.server.get_json('/api/v1/pipelines')}
        self.assertEqual(errors, {'trapped': 'left out (--without)', 'counted': None})
        # It keeps its place: with a plugin that can take the value all is counted.
        self.server.stop()
        harness.compile_plugin(self.folder, 'trap', TRAP.replace('value == %d)\n        *' % CRASHES,
                                                                 'value == -1)\n        *'))
        self.server.arguments = []
        self.server.start()
        self.server.wait_watermark('trapped', T0_US + 10 * SECOND_US)
        self.assertEqual(self.server.rows('SELECT "count", trapped FROM trapped WHERE window_start = ?', T0_US),
                         [(6, 6)])
        self.server.stop()

    def test_without_a_pipeline_that_is_not_there_is_refused(self):
        out = subprocess.run([harness.WEIR, 'serve', '-c', self.server.path, '--without', 'nobody'], text=True,
                             stderr=subprocess.PIPE, env=self.server.env, check=False)
        self.assertEqual(out.returncode, 64)
        self.assertIn("there is no pipeline 'nobody'", out.stderr)

    def test_sighup_while_it_stops_is_too_late_and_harmless(self):
        with socket.create_connection(('127.0.0.1', self.server.port)) as upload:
            upload.sendall(b'POST /api/v1/streams/input/events HTTP/1.1\r\nHost: localhost\r\n'
                           b'Expect: 100-continue\r\n'
                           b'Content-Type: application/x-ndjson\r\nContent-Length: 40\r\n\r\n')
            self.assertIn(b' 100 ', upload.recv(100))  # the request is under way
            self.server.process.send_signal(signal.SIGTERM)
            wait_until(lambda: 'stopping' in self.log(), 'the stop to begin')
            self.server.process.send_signal(signal.SIGHUP)
            upload.sendall((b'{"ts":%d,"n":1}' % T0_US).ljust(40, b'\n'))
            self.assertEqual(self.ended(harness.LIMIT_S)[0], 0)
        self.assertIn('stopped;', self.log())

    @unittest.skipUnless(LONG, 'WEIR_LONG')
    def test_a_slow_analyzer_leaves_its_events_to_the_next_start(self):
        self.post([SLOW] * 50000)
        self.post([1] * 10)
        self.server.process.send_signal(signal.SIGTERM)
        status, seconds = self.ended(harness.scaled(60))
        self.assertEqual(status, 0)
        self.assertLess(seconds, harness.scaled(22))
        self.assertIn("pipeline 'trapped' is too slow", self.log())
        harness.compile_plugin(self.folder, 'trap', TRAP.replace('usleep(1000);', ';'))
        self.server.close()
        self.server.start()
        self.close_windows()
        self.server.wait_watermark('trapped', T0_US + 10 * SECOND_US)
        self.assertEqual(self.server.rows('SELECT "count", trapped FROM trapped'), [(50010, 50010)])
        self.server.stop()

    @unittest.skipUnless(LONG, 'WEIR_LONG')
    def test_an_analyzer_that_hangs_ends_with_the_process_and_is_named(self):
        self.post([1, 2, HANGS])
        wait_until(lambda: self.server.metric('weir_pipeline_events_total', pipeline='counted') == 3, 'the others')
        self.server.process.send_signal(signal.SIGTERM)
        status, seconds = self.ended(harness.scaled(60))
        self.assertEqual(status, 1)
        self.assertLess(seconds, harness.scaled(22))
        self.assertIn("pipeline 'trapped' is still at entry 1, in analyzer 'trap'", self.log())


if __name__ == '__main__':
    unittest.main()
