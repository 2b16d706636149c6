# SPDX-License-Identifier: Apache-2.0
"""Plugins that do what they must not: each stops its own pipeline, with a text that names it, and nothing else."""

import signal
import unittest

import harness

T0 = 1700000000000
HOSTILE = r'''
#include <weir/plugin.h>
#include <string.h>
#include <stdio.h>
enum how { WORDS_ENUM };
struct config { int how; const char *key; };
struct state { int64_t rows; char *memory; };
static const struct weir_param params[] = {
    {.name = "how", .type = WEIR_PARAM_CHOICE, .flags = WEIR_REQUIRED, .offset = offsetof(struct config, how),
     .choices = "WORDS", .help = "what it does"}, {0}};
static const struct weir_output outputs[] = {
    {"n", WEIR_INT, "rows", NULL}, {"text", WEIR_STRING, "a text", NULL}, {"yes", WEIR_BOOL, "a bool", NULL},
    {"x", WEIR_FLOAT, "a float", NULL}, {0}};
static int how(struct weir_ctx *ctx) { return ((const struct config *)ctx->config)->how; }
static int update(struct weir_ctx *ctx, const struct weir_rows *r)
{
    for (size_t i = 0; i < r->n; i++) {
        struct state *s = (struct state *)(r->states + r->group[i] * r->stride);
        s->rows++;
        if (how(ctx) == NOSAVE && !s->memory)
            s->memory = ctx->host->alloc(ctx, 100);
        if (how(ctx) == LEAK)
            for (int k = 0; k < 5; k++)
                if (!ctx->host->alloc(ctx, (size_t)1 << 30))
                    return -1;
    }
    if (how(ctx) == UPDATE_FAILS)
        return weir_fail(ctx, "update says why");
    if (how(ctx) == LATE_OUTPUTS)
        ctx->host->outputs(ctx, outputs);
    if (how(ctx) == WILD_REASON)
        ctx->host->skip(ctx, 3, 1);
    if (how(ctx) == SKIPS)
        ctx->host->skip(ctx, 1, r->n);
    return 0;
}
static char *on_the_stack(struct weir_ctx *ctx, struct weir_out *out, int64_t rows)
{
    char text[64];
    int size = snprintf(text, sizeof(text), "%lld rows on the stack", (long long)rows);
    weir_put_string(ctx, out, 1, text, size);
    memset(text, 'x', sizeof(text));
    return NULL;
}
static int emit(struct weir_ctx *ctx, size_t n, const struct weir_window *const *w, const void *const *state,
                struct weir_out *out)
{
    const struct weir_host *h = ctx->host;
    static const char zeros[64];
    if (how(ctx) == NO_GROUP)
        return h->put_int(ctx, out, 0, 1);
    if (how(ctx) == WILD_GROUP)
        return h->group(ctx, out, n);
    for (size_t i = 0; i < n; i++) {
        h->group(ctx, out, i);
        h->put_int(ctx, out, 0, ((const struct state *)state[i])->rows);
        switch (how(ctx)) {
        case WRONG_TYPE: h->put_float(ctx, out, 0, 1.5); break; /* and returns 0 */
        case WRONG_STRING: h->put_string(ctx, out, 0, "1", 1); break;
        case WILD_CELL: h->put_int(ctx, out, 1000000, 1); break;
        case BAD_BOOL: h->put_int(ctx, out, 2, 2); break;
        case BAD_UTF8: h->put_string(ctx, out, 1, "abc\xc3(", 5); break;
        case HUGE_STRING: h->put_string(ctx, out, 1, zeros, (size_t)2 << 30); break;
        case NULL_STRING: h->put_string(ctx, out, 1, NULL, 5); break;
        case STACK_STRING: on_the_stack(ctx, out, ((const struct state *)state[i])->rows); break;
        case NAN_FLOAT: h->put_float(ctx, out, 3, 0.0 / zeros[0]); break;
        case NO_MANY_ROWS: h->row(ctx, out); break;
        case WRITES: h->write(ctx, out, zeros, 8); break;
        case GROUP_AGAIN: h->group(ctx, out, i); break;
        case POSITIVE: return 7;
        case SILENT: return -1;
        }
    }
    return 0;
}
static const struct weir_analyzer hostile = {.name = "hostile", .version = "1", .help = "does what it must not",
    .params = params, .outputs = outputs, .reasons = "nan torn", .config_size = sizeof(struct config),
    .state_size = sizeof(struct state), .update = update, .emit = emit};
WEIR_PLUGIN(hostile);
'''

# Gives many rows: too many, or some that are not finished.
FLOOD = r'''
#include <weir/plugin.h>
struct config { int how; };
static const struct weir_param params[] = {
    {.name = "how", .type = WEIR_PARAM_CHOICE, .flags = WEIR_REQUIRED, .choices = "rows bytes half none",
     .help = "what it does"}, {0}};
static const struct weir_output outputs[] = {{"n", WEIR_INT, "a number", NULL}, {"t", WEIR_STRING, "a text", NULL}, {0}};
static int update(struct weir_ctx *ctx, const struct weir_rows *r) { return 0; }
static char text[1 << 24];
static int emit_one(struct weir_ctx *ctx, const char *s, const struct weir_window *w, struct weir_out *out)
{
    int how = ((const struct config *)ctx->config)->how;
    for (size_t k = 0; how == 1 && k < sizeof(text); k++)
        text[k] = 'a';
    for (int i = 0; how < 2; i++) { /* for ever, but that it is told to stop */
        int err = weir_put_int(ctx, out, 0, i);
        if (!err && how == 1)
            err = weir_put_string(ctx, out, 1, text, sizeof(text));
        if (!err)
            err = ctx->host->row(ctx, out);
        if (err)
            return err;
    }
    return how == 2 ? weir_put_int(ctx, out, 0, 1) : 0;
}
WEIR_EMIT(emit, char, emit_one)
static const struct weir_analyzer flood = {.name = "flood", .version = "1", .help = "gives rows for ever",
    .flags = WEIR_MANY_ROWS, .params = params, .outputs = outputs, .config_size = sizeof(struct config),
    .state_size = 8, .update = update, .emit = emit};
WEIR_PLUGIN(flood);
'''

# What it does, and what its pipeline says; None: that is allowed.
KINDS = {
    'wrong_type': 'put_float: cell 0 is declared as int',
    'wrong_string': 'put_string: cell 0 is declared as int',
    'wild_cell': 'put_int: there is no cell 1000000, it declares 4 outputs',
    'no_group': 'put_int: there is no group that the cell is of',
    'wild_group': 'group: 1 came, of 1 those from 0 on can',
    'group_again': 'group: 0 came, of 1 those from 1 on can',
    'bad_bool': 'put_int: cell 2 is a bool, 0 or 1, not 2',
    'bad_utf8': 'put_string: the string for cell 1 is not UTF-8 at byte 3',
    'huge_string': 'put_string: the string for cell 1 has 2147483648 bytes, the limit is 16777216',
    'null_string': 'put_string: the string for cell 1 is NULL',
    'no_many_rows': 'row: it declares one row a group (no WEIR_MANY_ROWS)',
    'writes': 'write: it was called outside of save',
    'positive': 'emit returned 7, and only 0 and what is negative has a meaning',
    'silent': 'emit failed and did not say why',
    'update_fails': 'update says why',
    'late_outputs': 'outputs: only open can describe them, and only where the table is NULL',
    'wild_reason': 'skip: there is no reason 3, it declares 2',
    'leak': 'no memory: it holds 4294967296 bytes, and asked for 1073741824 more; 4 GiB are the limit',
    'nosave': 'its states hold 100 bytes from alloc, and it has no save and load: they cannot be stored',
    'stack_string': None,
    'nan_float': None,
    'skips': None,
}

CONFIG = '''
server: {listen: {listen}, database: {folder}/weir.db, plugin_path: {folder}, checkpoint_interval: CHECKPOINT}
streams:
  input: {time: {field: ts, unit: ms}, fields: {key: string, n: int}}
pipelines:
  good: {from: input, key: [key], window: {tumbling: 10s}, idle_timeout: 1h, analyzers: [count]}
'''
PIPELINE = '''  NAME: {from: input, key: [key], window: {tumbling: 10s}, idle_timeout: 1h,
    analyzers: [count, {hostile: {how: NAME}}]}
'''


class Hostile(unittest.TestCase):
    def setUp(self):
        self.folder = harness.folder_for_test(self)
        words = ' '.join(KINDS)
        harness.compile_plugin(self.folder, 'hostile', HOSTILE.replace(
            'WORDS_ENUM', ', '.join(KINDS).upper()).replace('WORDS', words))

    def config(self, kinds, checkpoint='1h'):
        return (CONFIG.replace('CHECKPOINT', checkpoint) +
                ''.join(PIPELINE.replace('NAME', kind) for kind in kinds))

    def server(self, kinds, checkpoint='1h'):
        """A stop of it ends with 1, as pipelines have stopped: it is killed."""
        server = harness.Server(self.config(kinds, checkpoint), folder=self.folder)
        self.addCleanup(server.kill)
        server.start()
        return server

    def error(self, server, name):
        return server.get_json(f'/api/v1/pipelines/{name}')['status']['error']

    def fill(self, server, end=T0 + 60000):
        server.post_ok('input', [{'ts': T0 + i, 'key': 'k', 'n': i} for i in range(3)])
        server.post_ok('input', [{'ts': end, 'key': 'k', 'n': 0}])

    def check_stopped(self, server, kind, text):
        said = f"analyzer 'hostile': {text}"
        harness.wait_until(lambda: self.error(server, kind), f'{kind} to stop')
        self.assertEqual(self.error(server, kind), said)
        harness.wait_until(lambda: f"pipeline '{kind}' stops" in ''.join(server.log), f'{kind} in the log')
        line, = [l for l in server.log if f"pipeline '{kind}' stops" in l]
        self.assertIn(said, line)

    def test_each_stops_its_own_pipeline_with_a_text_that_names_it(self):
        kinds = {k: text for k, text in KINDS.items() if k != 'nosave'}
        server = self.server(kinds)
        self.fill(server)
        for kind, text in kinds.items():
            with self.subTest(kind):
                if text:
                    self.check_stopped(server, kind, text)
                    self.assertEqual(server.rows(f'SELECT * FROM {kind}'), [])
                else:
                    server.wait_watermark(kind, (T0 + 50000) * 1000)
                    self.assertIsNone(self.error(server, kind))
        server.wait_watermark('good', (T0 + 50000) * 1000)
        self.assertEqual(server.rows('SELECT count FROM good'), [(3,)])
        self.assertEqual(server.rows('SELECT n, text FROM stack_string'), [(3, '3 rows on the stack')])
        self.assertEqual(server.rows('SELECT n, x FROM nan_float'), [(3, None)])
        self.assertEqual(server.metric('weir_analyzer_skipped_total', pipeline='skips', reason='torn'), 4)
        self.assertEqual(server.metric('weir_analyzer_skipped_total', pipeline='skips', reason='nan'), 0)
        # Others go on.
        server.post_ok('input', [{'ts': T0 + 120000, 'key': 'k', 'n': 0}])
        server.wait_watermark('good', (T0 + 110000) * 1000)
        self.assertEqual(server.rows('SELECT count FROM good'), [(3,), (1,)])

    def test_rows_without_end_stop_their_pipeline(self):
        harness.compile_plugin(self.folder, 'flood', FLOOD)
        kinds = {'rows': 'row: a group has more than 1000000 rows',
                 'bytes': 'put_string: more than 268435456 bytes in one call',
                 'half': 'cells were put behind the last row of a group', 'none': None}
        config = self.config(kinds).replace('hostile:', 'flood:')
        server = harness.Server(config, folder=self.folder)
        self.addCleanup(server.kill)
        server.start()
        self.fill(server)
        for kind, text in kinds.items():
            with self.subTest(kind):
                if text:
                    harness.wait_until(lambda: self.error(server, kind), f'{kind} to stop')
                    self.assertEqual(self.error(server, kind), f"analyzer 'flood': {text}")
                else:
                    server.wait_watermark(kind, (T0 + 50000) * 1000)
        server.wait_watermark('good', (T0 + 50000) * 1000)
        self.assertEqual(server.rows('SELECT count FROM good'), [(3,)])
        self.assertEqual(server.rows('SELECT count(*) FROM none_flood'), [(0,)])

    def test_memory_that_cannot_be_saved_stops_at_the_first_checkpoint(self):
        server = self.server(['nosave'], '1s')
        self.fill(server, T0 + 1)
        self.check_stopped(server, 'nosave', KINDS['nosave'])
        self.assertIsNone(self.error(server, 'good'))

    def test_and_at_a_stop_if_that_comes_first(self):
        server = self.server(['nosave'])
        self.fill(server, T0 + 1)
        harness.wait_until(lambda: server.metric('weir_pipeline_events_total', pipeline='nosave') == 4, 'events')
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(harness.LIMIT_S)
        self.assertIn("pipeline 'nosave' stops", ''.join(server.log))
        self.assertIn(KINDS['nosave'], ''.join(server.log))
        # The other one has its checkpoint, and goes on from it.
        server.start()
        server.post_ok('input', [{'ts': T0 + 60000, 'key': 'k', 'n': 0}])
        server.wait_watermark('good', (T0 + 50000) * 1000)
        self.assertEqual(server.rows('SELECT count FROM good'), [(4,)])


if __name__ == '__main__':
    harness.main()
