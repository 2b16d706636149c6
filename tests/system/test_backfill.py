# SPDX-License-Identifier: Apache-2.0
"""`backfill`: a pipeline that is added begins with files and the journal, and goes on with the stream without a gap or a
double. What Python computes over all events is what stands in its tables."""

import collections
import gzip
import itertools
import json
import os
import random
import signal
import threading
import unittest

import harness

MS = 1000
T0 = 1700000000000
END = T0 + 10**8
WORKERS = (1, 2, 7)
HEAD = '''
server: {listen: {listen}, database: {folder}/weir.db, commit_interval: 5ms, checkpoint_interval: 20ms, plugin_path: {folder},
         segment_size: 1MiB, journal_keep: 256MiB}
streams:
  input: {time: {field: ts, unit: ms}, fields: {k: string, id: int}, derive: {half: id / 2}}
pipelines:
  before: {from: input, window: {tumbling: 10s}, idle_timeout: 1h, analyzers: [count]}
'''
# {b}: how they begin; {s}: one more analyzer.
ADDED = '''
  added_{w}: {{from: input, {b}key: [k], window: {{tumbling: 10s}}, workers: {w}, idle_timeout: 1h, late: side,
    analyzers: [count, {{sum: {{of: half}}}}, {{first: {{of: id}}}}, {{last: {{of: id}}}}{s}]}}
  child_{w}: {{from: added_{w}, window: {{tumbling: 30s}}, workers: 2,
    analyzers: [count, {{sum: {{of: count}}}}, {{first: {{of: k}}}}, {{last: {{of: k}}}}]}}
  ever_{w}: {{from: input, {b}key: [k], window: {{global: 10s}}, workers: {w}, idle_timeout: 1h, derive: {{twice: id * 2}},
    analyzers: [{{sum: {{of: twice}}}}]}}
  rows_{w}: {{from: input, {b}window: none, idle_timeout: 1h, select: [k, id]}}
'''
SLOW = r'''
#include "weir/plugin.h"
#include <stdatomic.h>
#include <unistd.h>
struct state { int64_t n; };
static _Atomic int slept;
static int update(struct weir_ctx *ctx, const struct weir_rows *r)
{
    (void)ctx;
    /* Not for ever: who is started again is ready once it has read what it had read before. */
    if (access("slow", F_OK) == 0 && atomic_fetch_add(&slept, 1) < 1000)
        usleep(20000);
    for (size_t i = 0; i < r->n; i++)
        ((struct state *)(void *)(r->states + r->group[i] * r->stride))->n++;
    return 0;
}
static int emit_one(struct weir_ctx *ctx, const struct state *s, const struct weir_window *w, struct weir_out *out)
{
    (void)w;
    return weir_put_int(ctx, out, 0, s->n);
}
WEIR_EMIT(emit, struct state, emit_one)
static const struct weir_output outputs[] = {{"n", WEIR_INT, "rows", 0}, {.name = 0}};
static const struct weir_analyzer slow = {.name = "slow", .version = "1", .help = "slow while a file is there",
    .outputs = outputs, .state_size = sizeof(struct state), .update = update, .emit = emit};
WEIR_PLUGIN(slow);
'''.replace('20000', str(int(20000 * max(1, harness.LIMIT_S / 60))))  # so slow that slower servers are killed in the middle, too


def added(begins='journal', more=''):
    return ''.join(ADDED.format(w=w, b=f'backfill: {begins}, ' if begins else '', s=more) for w in WORKERS)


def make_events(seed, n, first_ms=0):
    """In order, but one in thirty; equal times are usual."""
    dice = random.Random(seed)
    now, events = T0 + first_ms, []
    for i in range(n):
        now += dice.randrange(30)
        behind = dice.randrange(15000) if dice.random() < 0.03 else 0
        events.append({'ts': now - behind, 'k': dice.choice('abcd'), 'id': seed * 10**6 + i})
    return events


def in_requests(events, size):
    return [events[i:i + size] for i in range(0, len(events), size)]


def tables_of(events):
    """(added, late, child, ever, rows) by Python, of events in the order of the log, all of one source."""
    groups, ever, newest, late = collections.OrderedDict(), {}, 0, []
    for e in events:
        newest = max(newest, e['ts'])
        start = e['ts'] // 10000 * 10000
        ever.setdefault(e['k'], []).append(e['id'] * 2)
        if start + 10000 <= newest:
            late.append((start * MS, e['k'], e['id']))
            continue
        groups.setdefault((start * MS, e['k']), []).append(e)
    closed = newest // 10000 * 10000 * MS
    out = {}
    for group in sorted(g for g in groups if g[0] + 10**7 <= closed):
        rows = groups[group]
        by_time = sorted(range(len(rows)), key=lambda i: (rows[i]['ts'], i))
        out[group] = (len(rows), sum(e['id'] // 2 for e in rows), rows[by_time[0]]['id'], rows[by_time[-1]]['id'])
    child = {}
    for start, windows in itertools.groupby(out.items(), lambda item: item[0][0] // (3 * 10**7) * 3 * 10**7):
        windows = list(windows)
        if start + 3 * 10**7 <= closed:
            child[start] = (len(windows), sum(row[0] for _, row in windows), windows[0][0][1], windows[-1][0][1])
    return out, sorted(late), child, {k: sum(ids) for k, ids in ever.items()}, sorted((e['ts'] * MS, e['k'], e['id']) for e in events)


class Backfill(unittest.TestCase):
    def setUp(self):
        self.folder = harness.folder_for_test(self)

    def start(self, pipelines):
        server = harness.Server(HEAD + pipelines, folder=self.folder)
        server.__enter__()
        self.addCleanup(server.__exit__, None, None, None)
        return server

    def rewrite(self, server, pipelines):
        text = (HEAD + pipelines).replace('{folder}', server.folder).replace('{listen}', '127.0.0.1:0')
        with open(server.path, 'w', encoding='utf-8') as file:
            file.write(text)

    def reload(self, server, pipelines):
        self.rewrite(server, pipelines)
        before = len(server.log)
        server.process.send_signal(signal.SIGHUP)
        harness.wait_until(lambda: any('SIGHUP' in line and 'the configuration ' in line for line in server.log[before:]),
                           'the verdict')
        self.assertIn('was read again', ''.join(server.log[before:]))

    def status(self, server, name):
        return next(p['status'] for p in server.get_json('/api/v1/pipelines') if p['name'] == name)

    def caught_up(self, server, names=('added', 'ever', 'rows')):
        def is_so():
            states = [self.status(server, f'{name}_{w}') for name in names for w in WORKERS]
            self.assertFalse([s['error'] for s in states if s['error']])
            return not any(s['backfilling'] for s in states)
        harness.wait_until(is_so, 'the pipelines to catch up')

    def tables_are_right(self, server, events):
        """An event far behind the others has closed all windows; of `ever` all is given at its border."""
        last = {'ts': END, 'k': '~', 'id': 0}
        server.post_ok('input', [last])
        want, late, child, ever, rows = tables_of(events + [last])
        ever.pop('~')
        for w in WORKERS:
            for name in (f'added_{w}', f'child_{w}', f'ever_{w}'):
                server.wait_watermark(name, (END // 30000 * 30000 if name[0] == 'c' else END) * MS)
            harness.wait_until(lambda: len(server.rows(f'SELECT 1 FROM rows_{w}')) >= len(rows), 'the rows')
            found = server.rows(f'SELECT window_start, k, count, half_sum, id_first, id_last FROM added_{w}')
            self.assertEqual({r[:2]: r[2:] for r in found}, want, w)
            self.assertEqual(sorted(server.rows(f'SELECT window_start, k, id FROM added_{w}_late')), late, w)
            found = server.rows(f'SELECT window_start, count, count_sum, k_first, k_last FROM child_{w}')
            self.assertEqual({r[0]: r[1:] for r in found}, child, w)
            self.assertEqual(dict(server.rows(f"SELECT k, twice_sum FROM ever_{w} WHERE k <> '~'")), ever, w)
            self.assertEqual(sorted(server.rows(f'SELECT ts, k, id FROM rows_{w}')), rows, w)

    def write(self, name, events):
        path = os.path.join(self.folder, name)
        opened = gzip.open if name.endswith('.gz') else open
        with opened(path, 'wt', encoding='utf-8') as file:
            file.writelines(json.dumps(e) + '\n' for e in events)
        return path

    def test_sighup_begins_with_the_journal_while_events_come(self):
        events = make_events(1, 6000)
        requests = in_requests(events, 100)
        server = self.start('')
        for request in requests[:30]:
            server.post_ok('input', request)
        done = threading.Event()

        def produce():
            for request in requests[30:]:
                server.post_ok('input', request)
            done.set()
        producer = threading.Thread(target=produce)
        producer.start()
        self.reload(server, added())
        producer.join()
        self.assertTrue(done.is_set())
        self.caught_up(server)
        self.assertEqual(self.status(server, 'added_1')['partial'], None)
        self.tables_are_right(server, events)

    def test_start_begins_with_the_journal_and_without_it_at_its_end(self):
        first, second = make_events(2, 2000), make_events(3, 2000, 40000)
        server = self.start('')
        for request in in_requests(first, 300):
            server.post_ok('input', request)
        server.stop()
        self.rewrite(server, added())
        server.start()
        server.post_ok('input', second)
        self.caught_up(server)
        self.tables_are_right(server, first + second)

    def test_files_come_before_the_stream(self):
        old, older = make_events(4, 3000), make_events(5, 3000, 50000)
        new = make_events(6, 3000, 100000)
        begins = f'[{self.write("a.ndjson", old)}, {self.write("b.jsonl.gz", older)}]'
        server = self.start('')
        server.post_ok('input', make_events(7, 500))
        self.reload(server, added(begins))
        for request in in_requests(new, 700):
            server.post_ok('input', request)
        self.caught_up(server)
        self.tables_are_right(server, old + older + new)

    def test_files_then_the_journal_then_the_stream_across_a_kill_in_the_files(self):
        old, journal, new = make_events(8, 2000), make_events(9, 2000, 30000), make_events(10, 2000, 60000)
        files = [self.write(f'old_{i}.ndjson', part) for i, part in enumerate(in_requests(old, 10))]
        harness.compile_plugin(self.folder, 'slow', SLOW)
        slow = os.path.join(self.folder, 'slow')
        open(slow, 'w', encoding='utf-8').close()
        server = self.start('')
        server.post_ok('input', journal[:1000])
        self.reload(server, added(f'[{", ".join(files)}, journal]', ', slow'))
        for _ in range(2):
            harness.wait_until(lambda: all(self.status(server, f'added_{w}')['events'] > 300 for w in WORKERS), 'events of the files')
            self.assertTrue(self.status(server, 'added_1')['backfilling'])
            self.assertLess(self.status(server, 'added_1')['events'], len(old))
            server.kill()
            server.start()
        server.post_ok('input', journal[1000:])
        os.unlink(slow)
        for request in in_requests(new, 500):
            server.post_ok('input', request)
        self.caught_up(server)
        server.restart()
        self.tables_are_right(server, old + journal + new)

    def test_kill_in_the_middle_of_the_journal(self):
        events = make_events(11, 5000)
        harness.compile_plugin(self.folder, 'slow', SLOW)
        server = self.start('')
        for request in in_requests(events[:4000], 20):
            server.post_ok('input', request)
        server.stop()
        slow = os.path.join(self.folder, 'slow')
        open(slow, 'w', encoding='utf-8').close()
        self.rewrite(server, added(more=', slow'))
        server.start()
        for _ in range(2):
            begun = self.status(server, 'added_2')['events']
            # A slow machine may look when all is read: then it is killed at the end.
            harness.wait_until(lambda: self.status(server, 'added_2')['events'] > min(begun + 300, 3900), 'some events')
            server.kill()
            server.start()
        os.unlink(slow)
        for request in in_requests(events[4000:], 100):
            server.post_ok('input', request)
        self.caught_up(server)
        self.tables_are_right(server, events)

    def test_exchange_in_the_middle_of_the_journal(self):
        """What is still missing is read beside the others, as before, not while the stream waits."""
        events = make_events(12, 5000)
        harness.compile_plugin(self.folder, 'slow', SLOW)
        server = self.start('')
        for request in in_requests(events[:4000], 10):
            server.post_ok('input', request)
        slow = os.path.join(self.folder, 'slow')
        open(slow, 'w', encoding='utf-8').close()
        self.reload(server, added(more=', slow'))
        harness.wait_until(lambda: self.status(server, 'added_2')['events'] > 300, 'some events')
        self.reload(server, added(more=', slow').replace('1h', '2h'))
        status = self.status(server, 'added_2')
        self.assertTrue(status['backfilling'])
        self.assertLess(status['events'], 4000)
        os.unlink(slow)
        for request in in_requests(events[4000:], 100):
            server.post_ok('input', request)
        self.caught_up(server)
        self.assertIn("'added_2' is exchanged", ''.join(server.log))
        self.tables_are_right(server, events)

    def test_one_that_comes_back_without_backfill_reads_what_it_lacks_beside_the_others(self):
        events = make_events(13, 5000)
        harness.compile_plugin(self.folder, 'slow', SLOW.replace('if (access', 'while (access'))
        pipelines = added('', ', slow')
        server = self.start(pipelines)
        for request in in_requests(events[:500], 100):
            server.post_ok('input', request)
        self.reload(server, '')
        for request in in_requests(events[500:4000], 10):
            server.post_ok('input', request)
        slow = os.path.join(self.folder, 'slow')
        open(slow, 'w', encoding='utf-8').close()
        self.reload(server, pipelines)
        for w in WORKERS:
            status = self.status(server, f'added_{w}')
            self.assertTrue(status['backfilling'])
            self.assertLess(status['events'], 3500)
        for request in in_requests(events[4000:], 100):
            server.post_ok('input', request)
        os.unlink(slow)
        self.caught_up(server)
        self.tables_are_right(server, events)

    def test_a_file_that_is_not_there_stops_the_pipeline_until_it_is(self):
        old = make_events(12, 500)
        path = os.path.join(self.folder, 'later.ndjson')
        server = harness.Server(HEAD + added(f'[{path}]'), folder=self.folder)
        self.addCleanup(server.__exit__, None, None, None)
        server.start_process()
        server.wait_port()
        harness.wait_until(lambda: all(self.status(server, f'added_{w}')['error'] for w in WORKERS), 'the pipeline to fail')
        self.assertIn('later.ndjson', self.status(server, 'added_1')['error'])
        new = make_events(13, 500, 20000)
        server.post_ok('input', new)
        self.write('later.ndjson', old)
        self.reload(server, added(f'[{path}]'))
        self.caught_up(server)
        self.tables_are_right(server, old + new)

    def test_what_is_refused(self):
        stream = 'streams: {s: {time: {field: ts, unit: ms}, fields: {k: string}}, a: {time: arrival, fields: {k: string}}}\n'
        cases = {
            'from: s, backfill: yesterday, window: {tumbling: 1s}, analyzers: [count]': "'journal', or a list of files",
            'from: s, backfill: [journal, a.csv], window: {tumbling: 1s}, analyzers: [count]': "'journal' is the last of the list",
            'from: s, backfill: [old.txt], window: {tumbling: 1s}, analyzers: [count]': 'does not say the format',
            'from: s, backfill: ["-"], window: {tumbling: 1s}, analyzers: [count]': 'no standard input',
            'from: a, backfill: [old.csv], window: {tumbling: 1s}, analyzers: [count]': 'the time at which they arrive',
            'from: q, backfill: journal, window: {tumbling: 1s}, analyzers: [count]': 'for pipelines that read a stream',
            'from: [s, a], backfill: [a.csv], window: {tumbling: 1s}, analyzers: [{sql: "SELECT 1"}]': 'files are of one stream',
            'from: s, backfill: [a.csv, journal], window: {tumbling: 1s}, analyzers: [count], join: {q: {on: [k], as_of: true, within: 1s,'
            ' columns: [count]}}': 'files are of one stream',
        }
        path = os.path.join(self.folder, 'c.yaml')
        for text, why in cases.items():
            with open(path, 'w', encoding='utf-8') as file:
                file.write(f'server: {{journal_keep: 0}}\n{stream}pipelines:\n  p: {{{text}}}\n'
                           '  q: {from: s, key: [k], window: {tumbling: 1s}, analyzers: [count]}\n')
            done = harness.weir('check', '-c', path, '--no-database')
            self.assertEqual(done.returncode, 78, text)
            self.assertIn(f'{path}:4:', done.stderr, text)
            self.assertIn(why, done.stderr, text)


if __name__ == '__main__':
    harness.main()
