# SPDX-License-Identifier: Apache-2.0
"""Analyzers that take all rows of a window at once: which rows they get, in which order, whatever the workers, late
events, limits and crashes; held against Python's own sorting."""

import collections
import json
import os
import random
import unittest

import harness

MS = 1000
T0 = 1700000000000  # ms, a multiple of 10 s

# Gives the number of rows, and all of them as text: number, then the cells. A column called `left` is left out.
LISTING = r'''
#include <weir/plugin.h>
#include <stdio.h>
#include <string.h>
struct config { struct weir_columns of; };
static const struct weir_param params[] = {
    {.name = "of", .type = WEIR_PARAM_COLUMNS, .flags = WEIR_ALL, .offset = offsetof(struct config, of),
     .column_types = WEIR_NUMBERS | WEIR_TYPES(WEIR_BOOL) | WEIR_TYPES(WEIR_STRING) | WEIR_TYPES(WEIR_TIME),
     .help = "columns"}, {0}};
static const struct weir_output outputs[] = {
    {"n", WEIR_INT, "rows", NULL}, {"list", WEIR_STRING, "all of them", NULL},
    {"start", WEIR_INT, "of the window", NULL}, {0}};
static int open_listing(struct weir_ctx *ctx)
{
    const struct config *c = ctx->config;
    int err = 0;
    for (uint32_t i = 0; !err && i < c->of.n; i++)
        if (!strcmp(c->of.name[i], "left"))
            err = ctx->host->leave_out(ctx, c->of.first + i);
    return err;
}
static int put(char *to, const struct weir_column *c, uint32_t row)
{
    size_t size;
    const char *s;
    if (weir_is_null(c, row))
        return sprintf(to, "|~");
    switch (c->type) {
    case WEIR_FLOAT: return sprintf(to, "|%g", weir_number(c, row));
    case WEIR_BOOL: return sprintf(to, "|%s", weir_bool(c, row) ? "yes" : "no");
    case WEIR_STRING: s = weir_string(c, row, &size); return sprintf(to, "|%.*s", (int)size, s);
    default: return sprintf(to, "|%lld", (long long)weir_int(c, row));
    }
}
static int whole(struct weir_ctx *ctx, const struct weir_window *w, const struct weir_rows *r, struct weir_out *out)
{
    const struct config *c = ctx->config;
    char *text = ctx->host->alloc(ctx, 200 * r->n + 1), *to = text;
    if (!text)
        return -1;
    for (size_t i = 0; i < r->n; i++) {
        to += sprintf(to, "%llu", (unsigned long long)weir_sequence(r, r->row[i]));
        for (uint32_t k = 0; k < c->of.n; k++) {
            const struct weir_column *in = r->in[c->of.first + k];
            if (in && in->type == WEIR_TIME && weir_int(in, r->row[i]) != r->time[r->row[i]] && k == 0)
                return weir_fail(ctx, "the time is not the time");
            to += in ? put(to, in, r->row[i]) : sprintf(to, "|-");
        }
        *to++ = '\n';
    }
    weir_put_int(ctx, out, 0, (int64_t)r->n);
    weir_put_int(ctx, out, 2, w->start / 1000);
    int err = weir_put_string(ctx, out, 1, text, (size_t)(to - text));
    ctx->host->free(ctx, text);
    return err;
}
static const struct weir_analyzer listing = {.name = "listing", .version = "1", .help = "all rows",
    .flags = WEIR_WHOLE, .threads = WEIR_THREADS_CTX, .params = params, .outputs = outputs,
    .config_size = sizeof(struct config), .open = open_listing, .whole = whole};
WEIR_PLUGIN(listing);
'''

FIELDS = '{key: string, n: int, x: float, ok: bool, note: string, at: time, left: int}'
COLUMNS = ('ts', 'key', 'n', 'x', 'ok', 'note', 'at', 'left')
HEAD = '''
server: {listen: {listen}, database: {folder}/weir.db, plugin_path: {folder}, checkpoint_interval: CHECKPOINT}
streams:
  input: {time: {field: ts, unit: ms}, fields: FIELDS}
pipelines:
'''.replace('FIELDS', FIELDS)
KINDS = {
    'all': 'out_of_orderness: 20s',
    'keyed': 'key: [key], out_of_orderness: 20s',
    'revised': 'key: [key], late: revise, allowed_lateness: 1h',
    'aside': 'late: side',
    'beside': 'key: [key], out_of_orderness: 20s, where: n % 2 = 0',
}


def pipelines(workers):
    return ''.join(f'  {name}_{w}: {{from: input, window: {{tumbling: 10s}}, idle_timeout: 1h, workers: {w}, {more}, '
                   f'analyzers: [count, {{listing: {{}}, as: l}}]}}\n'
                   for name, more in KINDS.items() for w in workers)


def events(n, seed=5):
    """50 events a second of event time over six keys, up to 15 s behind; many with the same time."""
    dice = random.Random(seed)
    for i in range(n):
        yield {'ts': T0 + max(0, 20 * i - dice.choice((0, 0, 0, 40, 500, 15000))) // 100 * 100,
               'key': dice.choice(['a', 'b', 'c', 'dd', 'eee', '']), 'n': dice.choice((None, i, -i)),
               'x': dice.choice((None, i / 4, -0.5)), 'ok': dice.choice((None, True, False)),
               'note': dice.choice((None, '', 'ä' * dice.randrange(20), f'note {i}')),
               'at': dice.choice((None, T0 * MS + i)), 'left': i}


def text(row):
    def cell(name, v):
        if name == 'left':
            return '-'
        if v is None:
            return '~'
        if isinstance(v, bool):
            return 'yes' if v else 'no'
        return f'{v:g}' if isinstance(v, float) else str(v * MS if name == 'ts' else v)
    return '|'.join(cell(name, row[name]) for name in COLUMNS)


def expected(rows, keyed):
    """{(window, key): text}: rows by time, then as they came."""
    groups = collections.defaultdict(list)
    for row in rows:
        groups[row['ts'] // 10000 * 10000, row['key'] if keyed else ''].append(row)
    return {group: ''.join(f'{i + 1}|{text(row)}\n' for i, row in enumerate(sorted(those, key=lambda r: r['ts'])))
            for group, those in groups.items()}


class Whole(unittest.TestCase):
    maxDiff = 2000

    def server(self, config, checkpoint='1h', **env):
        self.folder = harness.folder_for_test(self)
        harness.compile_plugin(self.folder, 'listing', LISTING)
        server = harness.Server((HEAD + config).replace('CHECKPOINT', checkpoint), folder=self.folder, **env)
        self.addCleanup(server.kill)
        server.start()
        return server

    def finish(self, server, names):
        """Events so late that all windows before them close."""
        server.post_ok('input', [{'ts': T0 + 10 ** 6, 'key': '~'}])
        for name in names:
            server.wait_watermark(name, (T0 + 10 ** 6 - 20000) * MS)
            self.assertIsNone(server.get_json(f'/api/v1/pipelines/{name}')['status']['error'])

    def found(self, server, name):
        key = 'key' if not name.startswith(('all', 'aside')) else "''"
        rows = server.rows(f'SELECT window_start / 1000, {key}, l_list, l_n, count, l_start FROM {name} '
                           f'WHERE window_start < {(T0 + 900000) * MS}')
        for start, _, listed, n, count, told in rows:
            self.assertEqual((n, told), (count, start))
            self.assertEqual(n, listed.count('\n'))
        return {(start, k): listed for start, k, listed, *_ in rows}

    def check(self, server, rows, workers):
        names = [f'{name}_{w}' for name in KINDS for w in workers]
        self.finish(server, names)
        late = server.rows(f'SELECT n, note FROM aside_{workers[0]}_late')
        self.assertGreater(len(late), 10)
        for name in names:
            with self.subTest(name):
                these = rows
                if name.startswith('beside'):
                    these = [r for r in rows if r['n'] is not None and r['n'] % 2 == 0]
                if name.startswith('aside'):
                    left = server.rows(f'SELECT "left" FROM {name}_late')
                    self.assertEqual(len(left), len(late))
                    missed = {n for n, in left}
                    these = [r for r in rows if r['left'] not in missed]
                keyed = not name.startswith(('all', 'aside'))
                self.assertEqual(self.found(server, name), expected(these, keyed))

    def test_rows_come_by_time_then_log_whatever_the_workers(self):
        workers = (1, 2, 7)
        server = self.server(pipelines(workers))
        rows = list(events(3000))
        server.post_ok('input', rows)
        self.check(server, rows, workers)

    def test_requests_and_crashes_change_nothing(self):
        workers = (1, 3)
        server = self.server(pipelines(workers), checkpoint='20ms')
        rows, dice, at = list(events(2000, 6)), random.Random(7), 0
        kill_at = [500, 900, 1600]
        while at < len(rows):
            n = dice.choice((1, 7, 60))
            server.post_ok('input', rows[at:at + n])
            at += n
            if kill_at and at > kill_at[0]:
                kill_at.pop(0)
                harness.wait_until(lambda: server.rows('SELECT count(*) FROM weir_states')[0][0] > 20,
                                   'a checkpoint')
                server.restart()
        self.check(server, rows, workers)

    def test_stored_rows_find_their_worker_when_the_number_changes(self):
        server = self.server(pipelines((2,)), checkpoint='10ms')
        rows = list(events(1000, 8))
        server.post_ok('input', rows[:700])
        server.stop()
        with open(server.path, encoding='utf-8') as file:
            config = file.read()
        with open(server.path, 'w', encoding='utf-8') as file:
            file.write(config.replace('workers: 2', 'workers: 5'))
        server.start()
        server.post_ok('input', rows[700:])
        self.check(server, rows, (2,))

    def test_sessions_that_a_row_joins_have_the_rows_of_both(self):
        """Also over restarts: of each key, rows less than the gap apart."""
        server = self.server(''.join(
            f'  s_{w}: {{from: input, key: [key], window: {{session: 2050ms}}, out_of_orderness: 20s, idle_timeout: 1h, '
            f'workers: {w}, analyzers: [count, {{listing: {{}}, as: l}}]}}\n' for w in (1, 3)), checkpoint='20ms')
        rows = [row for row in events(3000, 12) if random.Random(row['left']).random() < 0.06]
        for at in range(0, len(rows), 20):
            server.post_ok('input', rows[at:at + 20])
            if at in (60, 120):
                harness.wait_until(lambda: server.rows('SELECT count(*) FROM weir_states')[0][0] > 3, 'a checkpoint')
                server.restart()
        self.finish(server, ['s_1', 's_3'])
        sessions, found = {}, {}
        for row in sorted(rows, key=lambda r: r['ts']):
            those = sessions.setdefault(row['key'], [])
            if not those or row['ts'] - those[-1][-1]['ts'] >= 2050:
                those.append([])
            those[-1].append(row)
        for key, those in sessions.items():
            for session in those:
                found[session[0]['ts'], key] = ''.join(f'{i + 1}|{text(row)}\n' for i, row in enumerate(session))
        self.assertGreater(len(found), 20)
        for name in ('s_1', 's_3'):
            self.assertEqual(self.found(server, name), found)

    def test_windows_that_overlap_have_the_rows_of_their_panes(self):
        window = 'window: {hopping: 10s, by: 2s}, idle_timeout: 1h'
        server = self.server(f'''
  h_drop: {{from: input, key: [key], {window}, out_of_orderness: 20s, workers: 2, analyzers: [count, {{listing: {{}}, as: l}}]}}
  h_revise: {{from: input, key: [key], {window}, late: revise, allowed_lateness: 1h, workers: 3,
    analyzers: [count, {{listing: {{}}, as: l}}]}}
''', checkpoint='20ms')
        rows = list(events(700, 13))
        for at in range(0, len(rows), 50):
            server.post_ok('input', rows[at:at + 50])
            if at == 300:
                harness.wait_until(lambda: server.rows('SELECT count(*) FROM weir_states')[0][0] > 3, 'a checkpoint')
                server.restart()
        self.finish(server, ['h_drop', 'h_revise'])
        found = {}
        for row in sorted(rows, key=lambda r: r['ts']):
            last = row['ts'] // 2000 * 2000
            for start in range(last - 8000, last + 1, 2000):
                those = found.setdefault((start, row['key']), [])
                those.append(f'{len(those) + 1}|{text(row)}\n')
        for name in ('h_drop', 'h_revise'):
            with self.subTest(name):
                self.assertEqual(self.found(server, name), {group: ''.join(those) for group, those in found.items()})

    def test_windows_of_so_many_rows_have_these_in_order(self):
        server = self.server('  c: {from: input, key: [key], window: {count: 7}, idle_timeout: 1h, workers: 2, '
                             'analyzers: [count, {listing: {}, as: l}]}\n', checkpoint='20ms')
        rows = list(events(400, 14))
        for at in range(0, len(rows), 50):
            server.post_ok('input', rows[at:at + 50])
            if at == 200:
                harness.wait_until(lambda: server.rows('SELECT count(*) FROM weir_states')[0][0] > 1, 'a checkpoint')
                server.restart()
        expected_lists = []
        for key in {row['key'] for row in rows}:
            those = [row for row in rows if row['key'] == key]
            for at in range(0, len(those) - 6, 7):
                expected_lists.append((key, ''.join(f'{i + 1}|{text(row)}\n' for i, row in enumerate(
                    sorted(those[at:at + 7], key=lambda r: r['ts'])))))
        harness.wait_until(lambda: server.rows('SELECT count(*) FROM c')[0][0] >= len(expected_lists), 'all windows')
        self.assertEqual(sorted(server.rows('SELECT key, l_list FROM c')), sorted(expected_lists))

    def test_rows_beyond_max_rows_are_counted_and_left_out(self):
        server = self.server('''
  few: {from: input, key: key, window: {tumbling: 10s}, out_of_orderness: 20s, idle_timeout: 1h, workers: 2,
    analyzers: [count, {listing: {of: [n]}, max_rows: 3, as: l}, {listing: {of: [n]}, as: m}]}
''')
        rows = [{'ts': T0 + 9000 - i, 'key': 'ab'[i % 2], 'n': i} for i in range(20)]
        server.post_ok('input', rows)
        self.finish(server, ['few'])
        # The first three that came, ordered by time: the last of them first.
        self.assertEqual(server.rows('SELECT key, count, l_list, m_n FROM few'), [
            ('a', 10, '1|4\n2|2\n3|0\n', 10), ('b', 10, '1|5\n2|3\n3|1\n', 10)])
        self.assertEqual(server.metric('weir_analyzer_skipped_total', pipeline='few', place='2', reason='max_rows'), 14)
        self.assertEqual(server.metric('weir_analyzer_skipped_total', pipeline='few', place='3', reason='max_rows'), 0)
        said = [line for line in server.log if 'max_rows' in line]
        self.assertEqual(len(said), 1)
        self.assertIn("pipeline 'few', analyzer 'listing': a group has more rows than are kept for it, 3 or", said[0])

    def test_a_file_in_any_order_gives_complete_windows(self):
        folder = self.folder = harness.folder_for_test(self)
        harness.compile_plugin(folder, 'listing', LISTING)
        rows = list(events(3000, 9))
        with open(os.path.join(folder, 'events.ndjson'), 'w', encoding='utf-8') as file:
            random.Random(10).shuffle(rows)
            file.writelines(json.dumps(row) + '\n' for row in rows)
        with open(os.path.join(folder, 'weir.yaml'), 'w', encoding='utf-8') as file:
            file.write((HEAD + pipelines((2,))).replace('{folder}', folder).replace('{listen}', '127.0.0.1:0')
                       .replace('CHECKPOINT', '1h'))
        done = harness.weir('run', '-c', 'weir.yaml', '--stream', 'input', 'events.ndjson', cwd=folder)
        self.assertEqual(done.returncode, 0, done.stderr)
        found = harness.read_rows(os.path.join(folder, 'weir.db'),
                                  'SELECT window_start / 1000, key, l_list FROM keyed_2')
        self.assertEqual({(start, key): listed for start, key, listed in found}, expected(rows, True))

    def test_what_makes_no_sense_is_refused(self):
        folder = harness.folder_for_test(self)
        harness.compile_plugin(folder, 'listing', LISTING)
        for analyzers, fault in (
                ('[{count: {}, max_rows: 3}]', "7:21: analyzer 'count' keeps no rows, so 'max_rows' says nothing"),
                ('[{listing: {}, max_rows: 0}]', '7:45: expected a whole number from 1 to 1000000000'),
                ('[listing], key: key', "7:21: analyzer 'listing' takes all rows of a window once it is over, and a global "
                                        'one never is')):
            window = '{global: 10s}' if 'key' in analyzers else '{tumbling: 10s}'
            with self.subTest(analyzers), open(os.path.join(folder, 'weir.yaml'), 'w', encoding='utf-8') as file:
                file.write(HEAD.replace('{folder}', folder).replace('{listen}', '127.0.0.1:0')
                           .replace('CHECKPOINT', '1h') +
                           f'  p: {{from: input, window: {window},\n'
                           f'    analyzers:     {analyzers}}}\n')
                file.flush()
                done = harness.weir('check', '-c', 'weir.yaml', cwd=folder)
                self.assertEqual(done.returncode, 78)
                self.assertIn(fault, done.stderr)


if __name__ == '__main__':
    harness.main()
