# SPDX-License-Identifier: Apache-2.0
"""Pipelines that begin afresh, as they have another definition, where results are replaced ('global'); also where the start ends
between the first checkpoint of one and that of the next."""

import os
import unittest

import harness

S = 1000000
T0 = 1700000000 * S
CONFIG = '''
server: {listen: {listen}, database: {folder}/weir.db, commit_interval: 5ms, checkpoint_interval: 20ms}
streams: {events: {time: {field: ts, unit: us}, fields: {k: string, v: int}}}
pipelines:
  total: {from: events, key: [k], window: {global: 10s}, where: v > 0, idle_timeout: 1d, analyzers: [{sum: {of: v}}]}
'''
CHILD = '''
  keys: {from: total, window: {global: 10s}, analyzers: [count, {sum: {of: v_sum}}, guarded]}
'''
# Counts; as long as a file is there it opens only once in a process: when the configuration is looked at.
GUARDED = r'''
#include <weir/plugin.h>
#include <unistd.h>
static int open_it(struct weir_ctx *c)
{
    static int times;
    return ++times > 1 && access("broken", F_OK) == 0 ? weir_fail(c, "it is broken") : 0;
}
static void step(int64_t *n, const struct weir_rows *r, uint32_t row) { ++*n; }
static void back(int64_t *n, const struct weir_rows *r, uint32_t row) { --*n; }
static int emit_one(struct weir_ctx *c, const int64_t *n, const struct weir_window *w, struct weir_out *o)
{
    return weir_put_int(c, o, 0, *n);
}
WEIR_STEP(update, int64_t, step)
WEIR_STEP(retract, int64_t, back)
WEIR_EMIT(emit, int64_t, emit_one)
static const struct weir_output outputs[] = {{"n", WEIR_INT, "rows", NULL}, {.name = NULL}};
static const struct weir_analyzer guarded = {.name = "guarded", .version = "1", .help = "Counts", .outputs = outputs,
    .state_size = 8, .open = open_it, .update = update, .retract = retract, .emit = emit};
WEIR_PLUGIN(guarded);
'''


class Afresh(unittest.TestCase):
    def setUp(self):
        self.folder = harness.folder_for_test(self)
        self.border = 0

    def server(self, config):
        server = harness.Server(config, folder=self.folder, WEIR_PLUGIN_PATH=f'{self.folder}:{harness.plugin_path()}')
        self.addCleanup(server.kill)
        server.start()
        return server

    def configure(self, server, *change):
        with open(server.path, encoding='utf-8') as file:
            text = file.read()
        with open(server.path, 'w', encoding='utf-8') as file:
            file.write(text.replace(*change))

    def post(self, server, pipeline, values):
        """Up to the next border, that is given out."""
        server.post_ok('events', [{'ts': T0 + self.border * 10 * S + 1, 'k': k, 'v': v} for k, v in values])
        self.border += 1
        server.post_ok('events', [{'ts': T0 + self.border * 10 * S, 'k': 'none', 'v': -1}])
        server.wait_watermark(pipeline, T0 + self.border * 10 * S)

    def test_the_start_ends_between_the_first_checkpoints_of_two(self):
        """The parent has another definition; the child cannot open its analyzer, which ends the start."""
        harness.compile_plugin(self.folder, 'guarded', GUARDED)
        server = self.server(CONFIG + CHILD)
        self.post(server, 'keys', [(k, 1) for k in 'abcde'])
        self.assertEqual(server.rows('SELECT count, v_sum_sum, n FROM keys'), [(5, 5, 5)])
        server.stop()
        self.configure(server, 'v > 0', 'v > 1')
        open(os.path.join(self.folder, 'broken'), 'wb').close()
        server.start_process()
        self.assertNotEqual(server.process.wait(harness.LIMIT_S), 0)
        server.kill()
        self.assertIn('it is broken', ''.join(server.log))
        os.remove(os.path.join(self.folder, 'broken'))
        server.start()
        self.post(server, 'keys', [('a', 2), ('b', 3)])
        self.assertEqual(server.rows('SELECT count, v_sum_sum, n FROM keys'), [(2, 5, 2)])
        server.stop()

    def test_results_of_another_definition_are_replaced(self):
        """However often they were replaced before."""
        server = self.server(CONFIG)
        for _ in range(5):
            self.post(server, 'total', [('a', 1), ('b', 2)])
        self.assertEqual(server.rows('SELECT k, v_sum FROM total ORDER BY k'), [('a', 5), ('b', 10)])
        server.stop()
        self.configure(server, 'v > 0', 'v > 10')
        server.start()
        self.post(server, 'total', [('a', 100)])
        self.assertEqual(server.rows("SELECT v_sum FROM total WHERE k = 'a'"), [(100,)])
        server.stop()


if __name__ == '__main__':
    harness.main()
