# SPDX-License-Identifier: Apache-2.0
"""What analyzers are told and may say: windows, keys, sequence numbers, outputs at open, lists of columns, versions of
states."""

import os
import re
import signal
import unittest

import harness

T0 = 1700000000000
MS = 1000

# Its outputs are one sum for each column of a list, and what it was told of the window and the rows.
PROBE = r'''
#include <weir/plugin.h>
#include <stdio.h>
#include <string.h>
struct config { struct weir_columns of; };
struct state { int64_t start, sum[8]; uint64_t first, last; };
static const struct weir_param params[] = {
    {.name = "of", .type = WEIR_PARAM_COLUMNS, .flags = WEIR_REQUIRED, .offset = offsetof(struct config, of),
     .column_types = WEIR_TYPES(WEIR_INT), .help = "columns"}, {0}};
static int open_probe(struct weir_ctx *ctx)
{
    const struct config *c = ctx->config;
    struct weir_output outputs[16] = {{0}};
    char name[8][64];
    uint32_t n = 0;
    for (; n < c->of.n; n++) {
        snprintf(name[n], 64, "sum_%s", c->of.name[n]);
        outputs[n] = (struct weir_output){name[n], WEIR_SAME_AS(c->of.first + n), "a sum", NULL};
    }
    outputs[n++] = (struct weir_output){"told", WEIR_STRING, "of the window", NULL};
    outputs[n++] = (struct weir_output){"first", WEIR_INT, "sequence number", NULL};
    outputs[n++] = (struct weir_output){"last", WEIR_INT, "sequence number", NULL};
    int err = ctx->host->outputs(ctx, outputs);
    memset(outputs, 0x55, sizeof(outputs));
    memset(name, 0x55, sizeof(name));
    return err;
}
static int init(struct weir_ctx *ctx, const struct weir_window *w, void *state)
{
    ((struct state *)state)->start = w->start;
    return w->n_keys == 2 && w->flags == 0 ? 0 : weir_fail(ctx, "init: %u keys, flags %u", w->n_keys, w->flags);
}
static int update(struct weir_ctx *ctx, const struct weir_rows *r)
{
    const struct config *c = ctx->config;
    for (size_t i = 0; i < r->n; i++) {
        struct state *s = (struct state *)(r->states + r->group[i] * r->stride);
        uint64_t sequence = weir_sequence(r, r->row[i]);
        if (s->last >= sequence)
            return weir_fail(ctx, "sequence");
        s->first = s->first ? s->first : sequence;
        s->last = sequence;
        for (uint32_t k = 0; k < c->of.n; k++)
            s->sum[k] += weir_int(r->in[c->of.first + k], r->row[i]);
    }
    return 0;
}
static int emit_one(struct weir_ctx *ctx, const struct state *s, const struct weir_window *w, struct weir_out *out)
{
    uint32_t n = ((const struct config *)ctx->config)->of.n;
    char text[200];
    for (uint32_t k = 0; k < n; k++)
        weir_put_int(ctx, out, k, s->sum[k]);
    int size = snprintf(text, sizeof(text), "%lld %lld %u %.*s %lld", (long long)(w->start - s->start),
                        (long long)(w->end - w->start), w->flags, (int)w->key[0].size, w->key[0].as.s,
                        (long long)w->key[1].as.i);
    weir_put_string(ctx, out, n, text, size);
    weir_put_int(ctx, out, n + 1, (int64_t)s->first);
    return weir_put_int(ctx, out, n + 2, (int64_t)s->last);
}
WEIR_EMIT(emit, struct state, emit_one)
static const struct weir_analyzer probe = {.name = "probe", .version = "1", .help = "what it was told",
    .threads = WEIR_THREADS_CTX, .params = params, .config_size = sizeof(struct config),
    .state_size = sizeof(struct state), .open = open_probe, .init = init, .update = update, .emit = emit};
WEIR_PLUGIN(probe);
'''

CONFIG = '''
server: {listen: {listen}, database: {folder}/weir.db, plugin_path: {folder}, checkpoint_interval: CHECKPOINT}
streams:
  input: {time: {field: ts, unit: ms}, fields: {key: string, part: int, n: int, m: int}}
pipelines:
  one: {from: input, key: [key, part], window: {tumbling: 10s}, idle_timeout: 1h, late: revise,
    allowed_lateness: 1m, analyzers: [{probe: {of: [n, m]}}]}
  three: {from: input, key: [key, part], window: {tumbling: 10s}, idle_timeout: 1h, workers: 3,
    analyzers: [{probe: {of: n}}, count]}
'''

# Sums rows, and saves the sum as text, in a form that depends on VERSION.
SUMS = r'''
#include <weir/plugin.h>
#include <stdio.h>
#include <stdlib.h>
struct config { const char *of; };
static const struct weir_param params[] = {
    {.name = "of", .type = WEIR_PARAM_COLUMN, .flags = WEIR_REQUIRED, .offset = 0,
     .column_types = WEIR_TYPES(WEIR_INT), .help = "column"}, {0}};
static const struct weir_output outputs[] = {{"sum", WEIR_INT, "sum", NULL}, {0}};
static void step(int64_t *s, const struct weir_rows *r, uint32_t row) { *s += weir_int(r->in[0], row); }
WEIR_STEP(update, int64_t, step)
static int save(struct weir_ctx *ctx, const void *state, struct weir_out *out)
{
    char text[64];
    int size = snprintf(text, sizeof(text), VERSION == 1 ? "%lld" : "v2:%lld", (long long)*(const int64_t *)state);
    return ctx->host->write(ctx, out, text, size);
}
static int load(struct weir_ctx *ctx, void *state, uint32_t version, const void *bytes, size_t size)
{
    char text[64];
    snprintf(text, sizeof(text), "%.*s", (int)size, (const char *)bytes);
    *(int64_t *)state = atoll(version == 1 ? text : text + 3);
    return 0;
}
static int merge_one(struct weir_ctx *ctx, int64_t *s, const int64_t *from, const struct weir_window *w)
{
    *s += *from;
    return 0;
}
WEIR_MERGE(merge, int64_t, merge_one)
static int emit_one(struct weir_ctx *ctx, const int64_t *s, const struct weir_window *w, struct weir_out *out)
{
    return weir_put_int(ctx, out, 0, *s);
}
WEIR_EMIT(emit, int64_t, emit_one)
static const struct weir_analyzer sums = {.name = "sums", .version = TEXT, .help = "sum",
    .state_version = VERSION, .oldest_version = OLDEST, .params = params, .outputs = outputs,
    .config_size = sizeof(struct config), .state_size = 8, .update = update, .merge = merge, .emit = emit, .save = save, .load = load};
WEIR_PLUGIN(sums);
'''


def build_sums(folder, version, oldest, text='a'):
    harness.compile_plugin(folder, 'sums', SUMS.replace('VERSION', str(version)).replace('OLDEST', str(oldest)).replace(
        'TEXT', f'"{text}"'))


SUMS_CONFIG = '''
server: {listen: {listen}, database: {folder}/weir.db, plugin_path: {folder}, checkpoint_interval: 1h}
streams:
  input: {time: {field: ts, unit: ms}, fields: {key: string, n: int}}
pipelines:
  p: {from: input, key: [key], window: {tumbling: 10s}, idle_timeout: 1h, analyzers: [{sums: {of: n}}]}
'''


class Calls(unittest.TestCase):
    def setUp(self):
        self.folder = harness.folder_for_test(self)
        harness.compile_plugin(self.folder, 'probe', PROBE)

    def server(self, checkpoint):
        server = harness.Server(CONFIG.replace('CHECKPOINT', checkpoint), folder=self.folder)
        self.addCleanup(server.kill)
        server.start()
        return server

    def events(self):
        return [{'ts': T0 + i * 10, 'key': f'k{i % 7}', 'part': i % 2, 'n': i, 'm': 2 * i} for i in range(700)]

    def expected(self, positions):
        """By (key, part): what is told, sums, and the numbers of the first and last row."""
        rows = {}
        for e, number in zip(self.events(), positions):
            row = rows.setdefault((e['key'], e['part']), [0, 0, number, 0])
            row[0] += e['n']
            row[1] += e['m']
            row[3] = number
        return rows

    def check(self, server, positions):
        server.post_ok('input', [{'ts': T0 + 70000, 'key': '~', 'part': 0, 'n': 0, 'm': 0}])
        for name in ('one', 'three'):
            server.wait_watermark(name, (T0 + 60000) * MS)
            self.assertIsNone(server.get_json(f'/api/v1/pipelines/{name}')['status']['error'])
        rows = self.expected(positions)
        found = server.rows('SELECT key, part, told, sum_n, sum_m, first, last FROM one ORDER BY key, part')
        self.assertEqual(found, [(*k, f'0 10000000 2 {k[0]} {k[1]}', *v) for k, v in sorted(rows.items())])
        found = server.rows('SELECT key, part, told, sum_n, first, last, count FROM three ORDER BY key, part')
        self.assertEqual(found, [(*k, f'0 10000000 2 {k[0]} {k[1]}', v[0], v[2], v[3], 50)
                                 for k, v in sorted(rows.items())])

    def test_rows_of_one_request_are_numbered_by_their_place(self):
        server = self.server('1h')
        server.post_ok('input', self.events())
        self.check(server, [(1 << 16) + i for i in range(700)])

    def test_numbers_stay_when_requests_are_joined_and_when_the_journal_is_read_again(self):
        """Small requests that come together go to the workers as one entry, and after a kill as others."""
        server = self.server('1h')
        events, positions = self.events(), []
        for at in range(0, 700, 3):
            answer = server.post_ok('input', events[at:at + 3])
            positions += [(answer['position'] << 16) + i for i in range(len(events[at:at + 3]))]
        server.kill()
        server.start()
        self.check(server, positions)

    def test_a_result_that_is_revised_says_so(self):
        server = self.server('1h')
        server.post_ok('input', self.events())
        server.post_ok('input', [{'ts': T0 + 20000, 'key': '~', 'part': 0, 'n': 0, 'm': 0}])
        server.wait_watermark('one', (T0 + 10000) * MS)
        server.post_ok('input', [{'ts': T0, 'key': 'k0', 'part': 0, 'n': 1000, 'm': 0}])
        harness.wait_until(lambda: server.rows('SELECT 1 FROM one WHERE revision = 1'), 'the revision')
        found = server.rows("SELECT told, last FROM one WHERE key = 'k0' AND part = 0")
        self.assertEqual(found, [('0 10000000 6 k0 0', 3 << 16)])

    def test_outputs_described_at_open_are_columns(self):
        done = harness.weir('plugins', '-p', self.folder, 'probe')
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn('columns (int); must be given', done.stdout)
        self.assertIn('as the parameters say', done.stdout)
        server = self.server('1h')
        columns = [c['name'] for c in server.get_json('/api/v1/pipelines/three')['tables'][0]['columns']]
        self.assertEqual([c for c in columns if not c.startswith('window_')],
                         ['key', 'part', 'sum_n', 'told', 'first', 'last', 'count'])


class Headers(unittest.TestCase):
    """Plugins that were built with a header to come."""

    PLUGIN = r'''
#include "later.h"
struct state { int64_t n; };
static int open_later(struct weir_ctx *ctx)
{
    return ctx->later || ctx->host->later ? weir_fail(ctx, "it knows the future") : 0;
}
static int update(struct weir_ctx *ctx, const struct weir_rows *r)
{
    for (size_t i = 0; i < r->n; i++)
        ((struct state *)(r->states + r->group[i] * r->stride))->n++;
    return r->later ? weir_fail(ctx, "rows of the future") : 0;
}
static int emit_one(struct weir_ctx *ctx, const struct state *s, const struct weir_window *w, struct weir_out *out)
{
    return w->later ? weir_fail(ctx, "a window of the future") : weir_put_int(ctx, out, 0, s->n);
}
WEIR_EMIT(emit, struct state, emit_one)
static const struct weir_output outputs[] = {{"n", WEIR_INT, "rows", NULL OUTPUT}, {0}};
static const struct weir_analyzer later = {.name = "later", .version = "1", .help = "of a later header",
    .outputs = outputs, .state_size = 8, .open = open_later, .update = update, .emit = emit ANALYZER};
WEIR_PLUGIN(later);
'''
    STRUCTS = ('weir_rows', 'weir_window', 'weir_ctx', 'weir_host', 'weir_param', 'weir_output', 'weir_analyzer',
               'weir_entry')

    def setUp(self):
        self.folder = harness.folder_for_test(self)
        with open(os.path.join(harness.SOURCE, 'include', 'weir', 'plugin.h'), encoding='utf-8') as file:
            header = file.read()
        for name in self.STRUCTS:
            header, n = re.subn(r'(?ms)^(struct %s \{.*?)^\};' % name, r'\1    int64_t later;\n};', header, count=1)
            self.assertEqual(n, 1, name)
        with open(os.path.join(self.folder, 'later.h'), 'w', encoding='utf-8') as file:
            file.write(header)

    def build(self, output='', analyzer=''):
        harness.compile_plugin(self.folder, 'later',
                               self.PLUGIN.replace('OUTPUT', output).replace('ANALYZER', analyzer))

    def test_finds_zeros_where_this_one_ends(self):
        self.build()
        with harness.Server(CONFIG.replace('CHECKPOINT', '1h').replace('probe: {of: [n, m]}', 'later: {}').replace(
                'probe: {of: n}', 'later: {}'), folder=self.folder) as server:
            server.post_ok('input', [{'ts': T0, 'key': 'k', 'part': 0, 'n': 0, 'm': 0}] * 3)
            server.post_ok('input', [{'ts': T0 + 70000, 'key': 'k', 'part': 0, 'n': 0, 'm': 0}])
            for name in ('one', 'three'):
                server.wait_watermark(name, (T0 + 60000) * MS)
                self.assertEqual(server.rows(f'SELECT n FROM {name}'), [(3,)])

    def test_what_it_asks_for_there_is_refused(self):
        for output, analyzer, text in ((', 1', '', 'its outputs have members that this weir does not know'),
                                       ('', ', .later = 1', 'it has members that this weir does not know')):
            self.build(output, analyzer)
            done = harness.weir('plugins', '-p', self.folder, 'later')
            self.assertEqual(done.returncode, 1)
            self.assertIn(text, done.stderr)


class Versions(unittest.TestCase):
    def setUp(self):
        self.folder = harness.folder_for_test(self)

    def build(self, version, oldest, text):
        build_sums(self.folder, version, oldest, text)

    def stop(self, server):
        server.close()
        server.process.send_signal(signal.SIGTERM)
        self.assertEqual(server.process.wait(harness.LIMIT_S), 0)

    def test_an_older_form_is_loaded_as_long_as_the_plugin_takes_it(self):
        server = harness.Server(SUMS_CONFIG, folder=self.folder)
        self.addCleanup(server.kill)
        total = 0
        # version, the oldest that load takes, the text for people; does what is open stay?
        for n, (version, oldest, text, stays) in enumerate([(1, 0, 'a', True), (1, 0, 'b', True), (2, 1, 'c', True),
                                                            (2, 0, 'c', True), (3, 0, 'd', False)]):
            self.build(version, oldest, text)
            server.start()
            self.assertEqual('another definition' in ''.join(server.log), not stays)
            self.assertEqual("(states of 'sums' were of version 2 and are of version 3)" in ''.join(server.log), not stays)
            total = total + 10 ** n if stays else 10 ** n
            server.post_ok('input', [{'ts': T0, 'key': 'k', 'n': 10 ** n}])
            if n < 4:
                self.stop(server)
        server.post_ok('input', [{'ts': T0 + 60000, 'key': 'k', 'n': 0}])
        server.wait_watermark('p', (T0 + 50000) * MS)
        self.assertEqual(server.rows('SELECT sum FROM p'), [(total,)])
        self.assertEqual(total, 10000)


if __name__ == '__main__':
    harness.main()
