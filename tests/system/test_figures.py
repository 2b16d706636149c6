# SPDX-License-Identifier: Apache-2.0
"""Figures of each analyzer and each worker in /metrics, and in weir top."""

import shutil
import tempfile
import unittest

from apart import T0, config, events
import harness

# Counts; 20 us of work an event.
BURNS = r'''
#include <weir/plugin.h>
static void step(int64_t *n, const struct weir_rows *r, uint32_t row)
{
    for (volatile int i = 0; i < 20000; i++);
    ++*n;
}
static int emit_one(struct weir_ctx *c, const int64_t *n, const struct weir_window *w, struct weir_out *o)
{
    return weir_put_int(c, o, 0, *n);
}
WEIR_STEP(update, int64_t, step)
WEIR_EMIT(emit, int64_t, emit_one)
static const struct weir_output outputs[] = {{"n", WEIR_INT, "rows", NULL}, {.name = NULL}};
static const struct weir_analyzer burns = {.name = "burns", .version = "1", .help = "Counts", .outputs = outputs,
    .state_size = 8, .update = update, .emit = emit};
WEIR_PLUGIN(burns);
'''
PIPELINES = '''
  p: {from: input, key: [user], window: {tumbling: 1h}, workers: 3, idle_timeout: 1h, analyzers: [count, burns,
      {sum: {of: v}, where: "k = 'a'", as: s}, {topk: {of: s, k: 3}, as: t}, {burns: {}, run: process, as: b}]}
  one: {from: input, window: {tumbling: 1h}, idle_timeout: 1h, analyzers: [count]}
'''


class Figures(unittest.TestCase):
    def test_of_each_analyzer_and_worker(self):
        folder = tempfile.mkdtemp(prefix='weir-test-')
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        harness.compile_plugin(folder, 'burns', BURNS)
        made = events(6000)
        chosen = sum(e.get('k') == 'a' for e in made)
        with harness.Server(config(PIPELINES), WEIR_PLUGIN_PATH=harness.plugin_path() + ':' + folder) as server:
            for at in range(0, len(made), 1000):
                server.post_ok('input', made[at:at + 1000])
            harness.wait_until(lambda: server.metric('weir_analyzer_events_total', pipeline='p', place='5') == len(made) and
                               server.metric('weir_pipeline_events_total', pipeline='one') == len(made), 'all events')

            def of(name, place):
                return server.metric(f'weir_analyzer_{name}', pipeline='p', place=str(place))
            self.assertEqual(of('events_total', 3), chosen)
            self.assertEqual(of('events_total', 1), of('events_total', 2))
            cpu = [of('cpu_seconds_total', place) for place in (1, 2, 3, 4)]
            whole = server.metric('weir_pipeline_cpu_seconds_total', pipeline='p')
            self.assertLessEqual(sum(cpu), 1.001 * whole)
            self.assertGreater(cpu[1], 0.3 * whole, 'one of them does nearly all of the work')
            self.assertGreater(cpu[1], max(cpu[0], cpu[2], cpu[3]))
            groups = server.metric('weir_pipeline_groups', pipeline='p')
            self.assertEqual(groups, len({(e['ts'] // 3600000, e['user']) for e in made}))
            for place in (2, 5):  # 8 bytes, aligned to 16
                self.assertEqual(of('state_bytes', place), 16 * groups)
            self.assertGreater(of('state_bytes', 4), 16 * groups, 'what it has allocated, too')
            workers = [server.metric('weir_worker_events_total', pipeline='p', worker=str(i)) for i in range(3)]
            self.assertEqual(sum(workers), server.metric('weir_pipeline_events_total', pipeline='p'))
            self.assertTrue(all(workers))
            self.assertAlmostEqual(sum(server.metric('weir_worker_cpu_seconds_total', pipeline='p', worker=str(i))
                                       for i in range(3)), whole, delta=0.05 * whole)
            self.assertNotIn('weir_worker_events_total{pipeline="one"', server.get('/metrics').body.decode())
            self.assertGreater(server.metric('weir_pipeline_entries_total', pipeline='one'), 0)
            # Batches that lie in the queue while others are worked on have waited.
            self.assertGreater(server.metric('weir_pipeline_queue_wait_seconds_total', pipeline='p'), 0)
            said = harness.weir('top', '--once', '-u', f'http://127.0.0.1:{server.port}').stdout
            line, = [line.split() for line in said.splitlines() if line.startswith('5:burns')]
            self.assertEqual([line[3], line[4], line[6]], [str(int(16 * groups)), '0', 'p'])
            self.assertRegex(line[5], r'^[0-9]+[.][0-9]{6}$')
            self.assertEqual(next(line.split() for line in said.splitlines() if line.startswith('1:'))[5], '-', 'in a thread')
            self.assertIn('WAIT', said)
            # Its results are waited for, so that it has said what it did.
            server.post_ok('input', [{'ts': T0 + 7200000, 'user': 'u1', 'k': 'b'}])
            server.wait_watermark('p', (T0 + 3600000) // 3600000 * 3600000000)
            self.assertGreater(of('cpu_seconds_total', 5), 0.25 * cpu[1])
            # Each worker's process has begun with what the worker had read; some of it has waited.
            workers_read = server.metric('weir_pipeline_entries_total', pipeline='p')
            self.assertTrue(0 < of('entries_total', 5) <= workers_read)
            self.assertGreater(of('queue_wait_seconds_total', 5), 0)
            self.assertNotIn('weir_analyzer_entries_total{pipeline="p",analyzer="count"', server.get('/metrics').body.decode())


if __name__ == '__main__':
    harness.main()
