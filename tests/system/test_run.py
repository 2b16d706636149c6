# SPDX-License-Identifier: Apache-2.0
"""`weir run`: files and standard input through the pipelines, without a server."""

import fcntl
import gzip
import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import termios
import unittest

import harness

T0 = 1700000000000
CONFIG = '''
server: {listen: 127.0.0.1:0, database: weir.db}
streams:
  input: {time: {field: ts, unit: ms}, fields: {key: string, n: int}}
pipelines:
  results: {from: input, key: [key], window: {tumbling: 10s}, out_of_orderness: 1h, idle_timeout: 1h,
            analyzers: [count, {stats: {of: n, emit: [sum]}}]}
'''

# Its states own memory: drop must see each of them once, and none that init did not make.
FAILING = '''
#include <weir/plugin.h>
struct config { int64_t init, update, emit; };
struct state { int *count; };
static const struct weir_param params[] = {
    {.name = "init", .type = WEIR_PARAM_INT, .offset = 0, .init = "0", .help = "fails at call"},
    {.name = "update", .type = WEIR_PARAM_INT, .offset = 8, .init = "0", .help = "fails at call"},
    {.name = "emit", .type = WEIR_PARAM_INT, .offset = 16, .init = "0", .help = "fails at call"},
    {0}};
static const struct weir_output outputs[] = {{.name = "n", .type = WEIR_INT, .help = "rows"}, {0}};
static int64_t calls[3];
static int call(struct weir_ctx *ctx, int kind, int64_t fail_at)
{
    return ++calls[kind] == fail_at ? weir_fail(ctx, "told to fail") : 0;
}
static int init(struct weir_ctx *ctx, const struct weir_window *w, void *state)
{
    if (call(ctx, 0, ((const struct config *)ctx->config)->init))
        return -1;
    ((struct state *)state)->count = ctx->host->alloc(ctx, sizeof(int));
    return 0;
}
static int save(struct weir_ctx *ctx, const void *state, struct weir_out *out)
{
    return ctx->host->write(ctx, out, "s", 1);
}

static int load(struct weir_ctx *ctx, void *state, uint32_t version, const void *bytes, size_t size)
{
    return size == 1 ? 0 : weir_fail(ctx, "load: not what save wrote");
}

static void drop(struct weir_ctx *ctx, void *state)
{
    *((struct state *)state)->count = 0;
    ctx->host->free(ctx, ((struct state *)state)->count);
    ((struct state *)state)->count = 0;
}
static int update(struct weir_ctx *ctx, const struct weir_rows *r)
{
    for (size_t i = 0; i < r->n; i++)
        ++*((struct state *)(r->states + r->group[i] * r->stride))->count;
    return call(ctx, 1, ((const struct config *)ctx->config)->update);
}
static int emit_one(struct weir_ctx *ctx, const struct state *s, const struct weir_window *w,
                    struct weir_out *out)
{
    weir_put_int(ctx, out, 0, *s->count);
    return call(ctx, 2, ((const struct config *)ctx->config)->emit);
}
WEIR_EMIT(emit, struct state, emit_one)
static const struct weir_analyzer failing = {
    .name = "failing", .version = "1", .help = "fails", .params = params, .outputs = outputs,
    .config_size = sizeof(struct config), .state_size = sizeof(struct state),
    .init = init, .drop = drop, .update = update, .emit = emit, .save = save, .load = load};
WEIR_PLUGIN(failing);
'''


def lines(first, last, begin=T0):
    return ''.join(json.dumps({'ts': begin + i, 'key': 'ab'[i % 2], 'n': i}) + '\n'
                   for i in range(first, last))


class Run(unittest.TestCase):
    def setUp(self):
        self.folder = harness.folder_for_test(self)
        self.write('weir.yaml', CONFIG)

    def write(self, name, text):
        with open(os.path.join(self.folder, name), 'w', encoding='utf-8') as file:
            file.write(text)

    def run_weir(self, *arguments, stdin=''):
        return harness.weir('run', '-c', 'weir.yaml', '--stream', 'input', *arguments, stdin=stdin,
                            cwd=self.folder)

    def check_rows(self, n=1000):
        found = harness.read_rows(os.path.join(self.folder, 'weir.db'),
                                  'SELECT window_start, key, count, n_sum FROM results ORDER BY 1, 2')
        self.assertEqual(found, [(T0 * 1000, 'ab'[k], n // 2, sum(range(k, n, 2))) for k in (0, 1)])

    def test_standard_input_is_read_and_all_windows_close_at_its_end(self):
        done = self.run_weir(stdin=lines(0, 1000))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.check_rows()

    def test_second_run_over_the_same_window_changes_no_row_whatever_the_workers(self):
        """One key: the other workers have no window open at the end of the input."""
        for workers in (1, 2, 4):
            self.write('weir.yaml', CONFIG.replace('idle_timeout', f'workers: {workers}, idle_timeout'))
            name = f'{workers}.db'
            events = [{'ts': T0 + i, 'key': 'a', 'n': 1} for i in range(100)]
            for stdin, status in ((events, 0), (events[:1], 65)):
                done = self.run_weir('--database', name, stdin='\n'.join(map(json.dumps, stdin)))
                self.assertEqual(done.returncode, status, done.stderr)
            self.assertIn('1 late', done.stderr)
            self.assertIn('1 events are of windows that are in the database already', done.stderr)
            path = os.path.join(self.folder, name)
            self.assertEqual(harness.read_rows(path, 'SELECT key, count FROM results'), [('a', 100)])
            self.assertEqual(harness.read_rows(path, 'SELECT watermark FROM weir_pipelines'),
                             [((T0 + 10000) * 1000,)])

    def test_a_later_file_goes_on_with_what_has_no_end(self):
        """Each run gives out once, as of its own end."""
        self.write('weir.yaml', CONFIG.replace('tumbling: 10s', 'global: 10s'))
        for day in range(3):
            begin = T0 + day * 86400000
            done = self.run_weir(stdin=lines(day * 1000, day * 1000 + 1000, begin - day * 1000))
            self.assertEqual(done.returncode, 0, done.stderr)
            found = harness.read_rows(os.path.join(self.folder, 'weir.db'),
                                      'SELECT key, revision, count, n_sum, window_end FROM results ORDER BY 1')
            n = 1000 * (day + 1)
            self.assertEqual(found, [('ab'[k], day, n // 2, sum(range(k, n, 2)), (begin + 10000) * 1000)
                                     for k in (0, 1)])

    def test_key_may_have_as_many_columns_as_the_stream(self):
        names = [f'k{i}' for i in range(60)]
        self.write('weir.yaml', f'''
server: {{database: weir.db}}
streams:
  input: {{time: {{field: ts, unit: ms}}, fields: {{{', '.join(f'{n}: string' for n in names)}}}}}
pipelines:
  results: {{from: input, key: [{', '.join(names)}], window: {{tumbling: 10s}}, analyzers: [count]}}
''')
        event = {name: f'value of {name}' for name in names}
        done = self.run_weir(stdin=json.dumps({'ts': T0, **event}))
        self.assertEqual(done.returncode, 0, done.stderr)
        found = harness.read_rows(os.path.join(self.folder, 'weir.db'),
                                  f'SELECT {", ".join(names)} FROM results')
        self.assertEqual(found, [tuple(event.values())])

    def test_times_at_the_ends_of_what_is_taken(self):
        limit = 2**62
        for window in ('1ms', '36525d'):
            self.write('weir.yaml', CONFIG.replace('10s', window).replace('unit: ms', 'unit: us')
                       .replace('ts, unit: us}', 'ts, unit: us}, max_future_skew: off')
                       .replace('out_of_orderness: 1h', 'out_of_orderness: 36525d'))
            events = [{'ts': ts, 'key': 'a', 'n': 1} for ts in (-limit, -limit + 1, 0, limit)]
            done = self.run_weir('--database', window + '.db',
                                 stdin='\n'.join(json.dumps(e) for e in events))
            self.assertEqual(done.returncode, 0, done.stderr)
            found = harness.read_rows(os.path.join(self.folder, window + '.db'),
                                      'SELECT window_start, count FROM results ORDER BY 1')
            size = {'1ms': 1000, '36525d': 36525 * 86400 * 1000000}[window]
            self.assertEqual(found[0][0], -limit // size * size)
            self.assertEqual(sum(count for _, count in found), 4)
            done = self.run_weir('--database', window + '.db',
                                 stdin=json.dumps({'ts': 2**63 - 1, 'key': 'a', 'n': 1}))
            self.assertEqual(done.returncode, 65, done.stderr)

    def test_signal_stops_a_run_that_waits_for_input(self):
        with subprocess.Popen([harness.WEIR, 'run', '-c', 'weir.yaml', '--stream', 'input'],
                              stdin=subprocess.PIPE, stderr=subprocess.PIPE, cwd=self.folder,
                              env=harness.environment()) as process:
            self.addCleanup(process.kill)
            process.stdin.write(lines(0, 10).encode())
            process.stdin.flush()

            def waits():  # has read it all and sleeps in the next read
                left = fcntl.ioctl(process.stdin, termios.FIONREAD, b'\0\0\0\0')
                with open(f'/proc/{process.pid}/stat', encoding='ascii') as file:
                    return left == b'\0\0\0\0' and file.read().rsplit(') ', 1)[1][0] == 'S'
            harness.wait_until(waits, 'the run to wait for input')
            process.send_signal(signal.SIGINT)
            self.assertGreaterEqual(process.wait(harness.LIMIT_S), 0)  # ended by itself
            self.assertIn(b'stopped', process.stderr.read())

    def test_events_that_are_left_out_are_told_with_the_reason(self):
        """abs() of the smallest whole number is an error in SQLite; a key has at most 4 KiB."""
        self.write('weir.yaml', CONFIG.replace('key: [key]', 'where: "abs(n) > 0", key: [key]'))
        events = [{'ts': T0, 'key': key, 'n': n} for key, n in
                  (('a', 1), ('a', 0), ('a', -2**63), (None, 1), ('k' * 100000, 1))]
        done = self.run_weir(stdin='\n'.join(json.dumps(event) for event in events))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn('1 events in 1 result rows, 1 not selected by where, 1 for which where failed, '
                      '1 without a key, 1 with too long a key', done.stderr)

    def test_what_has_no_window_or_no_value_is_told_too(self):
        self.write('weir.yaml', '''
            server: {listen: 127.0.0.1:0, database: weir.db}
            streams: {input: {time: {field: ts, unit: ms}, fields: {key: string, n: int, until: time},
                              derive: {size: abs(n)}}}
            pipelines:
              results: {from: input, key: key, window: {until: until}, derive: {more: abs(n) + 1, most: abs(n) + 2},
                        analyzers: [{count: {where: abs(n) > 0, as: a}}, {stats: {of: n, where: abs(n) > 0}},
                                    {count: {where: abs(n) > 1, as: b}}]}''')
        day = '1970-01-02T00:00:00Z'
        events = [dict(ts=0, key='a', n=1, until=day), dict(ts=1, key='a', n=-2**63, until=None),
                  dict(ts=2, key='b', n=1, until=None), dict(ts=3, key='c', n=-2**63, until=day)]
        done = self.run_weir(stdin='\n'.join(map(json.dumps, events)))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn('\n2 derived values of the stream are null for an error\n', '\n' + done.stderr)
        self.assertIn('3 events in 2 result rows, 1 without an end of a window (no_until), 4 for which the where of an '
                      'analyzer failed, 4 derived values that are null for an error\n', done.stderr)

    def test_dash_is_standard_input(self):
        self.assertEqual(self.run_weir('-', stdin=lines(0, 1000)).returncode, 0)
        self.check_rows()

    def test_several_files_are_read_one_after_the_other(self):
        self.write('one.ndjson', lines(0, 300))
        self.write('two.jsonl', lines(300, 500).rstrip('\n'))
        self.write('three.json', json.dumps([json.loads(l) for l in lines(500, 700).splitlines()]))
        self.write('four.csv', 'key,n,ts\n' + ''.join(
            f'{"ab"[i % 2]},{i},{T0 + i}\r\n' for i in range(700, 1000)))
        done = self.run_weir('one.ndjson', 'two.jsonl', 'three.json', 'four.csv')
        self.assertEqual(done.returncode, 0, done.stderr)
        self.check_rows()

    def test_a_file_is_read_once_by_whatever_names(self):
        self.write('one.ndjson', lines(0, 600))
        self.write('two.ndjson', lines(600, 1000))
        os.symlink('one.ndjson', os.path.join(self.folder, 'link.ndjson'))
        os.link(os.path.join(self.folder, 'two.ndjson'), os.path.join(self.folder, 'second.ndjson'))
        done = self.run_weir('one.ndjson', 'two.ndjson', 'link.ndjson', './one.ndjson', 'second.ndjson')
        self.assertEqual(done.returncode, 0, done.stderr)
        self.check_rows()
        for name, first in (('link.ndjson', 'one.ndjson'), ('./one.ndjson', 'one.ndjson'), ('second.ndjson', 'two.ndjson')):
            self.assertIn(f"'{name}' is '{first}': it is read once", done.stderr)

    def test_gzip_files_are_read_whole_or_with_an_error(self):
        """Several members are one file, padded with zeros (as tapes are); what is damaged behind the first is told."""
        first, second = (gzip.compress(lines(*r).encode()) for r in ((0, 400), (400, 1000)))
        names = iter(range(10))

        def run(content):
            name = f'{next(names)}.ndjson.gz'
            with open(os.path.join(self.folder, name), 'wb') as file:
                file.write(content)
            return name, self.run_weir('--database', name + '.db', name)
        for content in (first + second, first + second + bytes(200000), first + bytes(3) + second):
            _, done = run(content)
            self.assertEqual((done.returncode, done.stderr.split()[0]), (0, '1000'), done.stderr)
        for content, why in ((first + b'x' + second[1:], 'what comes behind the gzip data is not gzip'),
                             (first + second[:-100], 'the gzip data are cut off'),
                             (first + second[:100] + b'x' * 40 + second[140:], 'the gzip data are damaged')):
            name, done = run(content)
            self.assertEqual(done.returncode, 74, done.stderr)
            self.assertIn(f'"{name}": {why}', done.stderr)

    def test_format_option_overrides_the_name(self):
        self.write('events.txt', 'ts,key,n\n' + ''.join(f'{T0 + i},{"ab"[i % 2]},{i}\n'
                                                        for i in range(1000)))
        done = self.run_weir('--format', 'csv', 'events.txt')
        self.assertEqual(done.returncode, 0, done.stderr)
        self.check_rows()

    def test_rejected_lines_are_named_and_the_rest_is_taken(self):
        text = lines(0, 500) + 'broken\n' + lines(500, 1000)
        self.write('events.ndjson', text)
        done = self.run_weir('events.ndjson')
        self.assertEqual(done.returncode, 65, done.stderr)
        self.assertIn('501', done.stderr)
        self.check_rows()

    def test_rejected_lines_of_a_file_that_is_read_again_are_kept_once(self):
        self.write('bad.ndjson', lines(0, 2) + '{"ts":"x"}\nno\n' + lines(2, 4))
        for _ in range(2):
            done = self.run_weir('bad.ndjson')
            self.assertEqual(done.returncode, 65, done.stderr)
            self.assertIn('4 events taken, 2 rejected', done.stderr)
        found = harness.read_rows(os.path.join(self.folder, 'weir.db'),
                                  'SELECT source, line, record FROM weir_dead_letters ORDER BY number')
        self.assertEqual(found, [('bad.ndjson', 3, '{"ts":"x"}'), ('bad.ndjson', 4, 'no')])

    def test_rejected_lines_that_were_kept_no_more_are_kept_again(self):
        self.write('weir.yaml', CONFIG.replace('database:', 'dead_letters: 3, database:'))
        found = lambda: harness.read_rows(os.path.join(self.folder, 'weir.db'),
                                          'SELECT source, line FROM weir_dead_letters ORDER BY number')
        self.write('a.ndjson', 'a\n' * 3)
        self.write('b.ndjson', 'b\n' * 7)
        for name, last in (('a', 3), ('b', 7), ('b', 7), ('a', 3), ('a', 3)):
            self.assertEqual(self.run_weir(f'{name}.ndjson').returncode, 65)
            self.assertEqual(found(), [(f'{name}.ndjson', line) for line in range(last - 2, last + 1)])
        for _ in range(2):  # standard input is another one each time
            self.assertEqual(self.run_weir(stdin='no\n').returncode, 65)
        self.assertEqual(found(), [('a.ndjson', 3), ('-', 1), ('-', 1)])

    def test_file_that_is_not_there_ends_with_an_error(self):
        done = self.run_weir('missing.ndjson')
        self.assertNotEqual(done.returncode, 0)
        self.assertIn('missing.ndjson', done.stderr)

    def test_unknown_stream_ends_with_an_error(self):
        done = harness.weir('run', '-c', 'weir.yaml', '--stream', 'inptu', '-', stdin='',
                            cwd=self.folder)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn('inptu', done.stderr)

    def test_nothing_on_standard_error_but_messages(self):
        """No progress bar where there is no terminal."""
        done = self.run_weir(stdin=lines(0, 1000))
        self.assertNotIn('\r', done.stderr)
        self.assertNotIn('\x1b', done.stderr)


class AnyOrder(unittest.TestCase):
    """A file in any order gives complete results while there is room for its windows."""

    def setUp(self):
        self.folder = harness.folder_for_test(self)
        dice = random.Random(1)
        self.events = [{'ts': T0 + dice.randrange(10**6), 'key': dice.choice('abcdefgh'), 'n': dice.randrange(9)}
                       for _ in range(40000)]

    def run_weir(self, order, *arguments, workers=1, settings='', children=''):
        with open(os.path.join(self.folder, 'weir.yaml'), 'w', encoding='utf-8') as file:
            file.write(CONFIG.replace('out_of_orderness: 1h, idle_timeout: 1h',
                                      f'workers: {workers}, idle_timeout: 1ms{settings}')
                       .replace('window: {tumbling: 10s}, ', '' if 'window' in settings else
                                'window: {tumbling: 10s}, ') + children)
        return harness.weir('run', '-c', 'weir.yaml', '--stream', 'input', '--database', 'run.db', *arguments,
                            stdin='\n'.join(map(json.dumps, order)), cwd=self.folder)

    def rows(self):
        path = os.path.join(self.folder, 'run.db')
        found = harness.read_rows(path, 'SELECT window_start, key, count, n_sum FROM results ORDER BY 1, 2')
        os.remove(path)
        return found

    def expected(self, size=10000):
        groups = {}
        for e in self.events:
            at = groups.setdefault((e['ts'] // size * size * 1000, e['key']), [0, 0])
            at[0] += 1
            at[1] += e['n']
        return [(*group, *sums) for group, sums in sorted(groups.items())]

    def test_rows_are_the_same_in_any_order(self):
        rising = sorted(self.events, key=lambda e: e['ts'])
        for name, order in (('random', self.events), ('rising', rising), ('falling', rising[::-1])):
            for workers in (1, 3):
                with self.subTest(name, workers=workers):
                    done = self.run_weir(order, workers=workers)
                    self.assertEqual(done.returncode, 0, done.stderr)
                    self.assertEqual(self.rows(), self.expected())

    def test_rows_are_given_out_once_where_some_events_come_late(self):
        """Most windows are in the file early; those that late events change, and groups that these open, are not."""
        dice = random.Random(2)
        order = sorted(self.events, key=lambda e: e['ts'] + (dice.randrange(400000) if dice.random() < 0.02 else 0))
        for settings in ('', ', late: side', ', late: revise, allowed_lateness: 1h', ', window: {tumbling: 700ms}'):
            with self.subTest(settings):
                size = 700 if '700ms' in settings else 10000
                expected = self.expected(size)
                done = self.run_weir(order, settings=settings, workers=2)
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertIn(f'40000 events in {len(expected)} result rows\n', done.stderr)
                if 'revise' in settings:
                    self.assertEqual(harness.read_rows(os.path.join(self.folder, 'run.db'),
                                                       'SELECT max(revision) FROM results'), [(0,)])
                self.assertEqual(self.rows(), expected)

    def check_children(self, order, *arguments, workers=1):
        """Of one that counts and adds up rows, and one that sees their order: it keeps the first and last of each window."""
        children = """
  sums: {from: results, key: [key], window: {tumbling: 1m},
         analyzers: [count, stats: {of: n_sum, emit: [sum]}, stats: {of: count, emit: [sum]}]}
  edges: {from: results, window: {tumbling: 20s}, analyzers: [first: {of: key}, last: {of: n_sum}]}
"""
        done = self.run_weir(order, *arguments, workers=workers, children=children)
        self.assertEqual(done.returncode, 0, done.stderr)
        path = os.path.join(self.folder, 'run.db')
        sums = harness.read_rows(path, 'SELECT window_start, key, count, n_sum_sum, count_sum FROM sums ORDER BY 1, 2')
        edges = harness.read_rows(path, 'SELECT window_start, key_first, n_sum_last FROM edges ORDER BY 1')
        expected = self.expected()
        self.assertEqual(self.rows(), expected)
        minutes, pairs = {}, {}
        for start, key, count, n_sum in expected:
            at = minutes.setdefault((start // 60000000 * 60000000, key), [0, 0, 0])
            for i, more in enumerate((1, n_sum, count)):
                at[i] += more
            pairs.setdefault(start // 20000000 * 20000000, []).append((key, n_sum))
        self.assertEqual(sums, [(*group, *found) for group, found in sorted(minutes.items())])
        self.assertEqual(edges, [(start, rows[0][0], rows[-1][1]) for start, rows in sorted(pairs.items())])
        return done

    def test_pipelines_that_read_rows_given_out_early_get_the_last_ones(self):
        dice = random.Random(3)
        rising = sorted(self.events, key=lambda e: e['ts'])
        late = sorted(self.events, key=lambda e: e['ts'] + (dice.randrange(400000) if dice.random() < 0.02 else 0))
        for name, order, runs in (('rising', rising, ((1,), (3,), (1, '--memory', '64kB'))),
                                  ('late', late, ((1,), (3,))), ('random', self.events, ((3,),))):
            for workers, *arguments in runs:
                with self.subTest(name, workers=workers, arguments=arguments):
                    self.check_children(order, *arguments, workers=workers)

    def test_pipelines_find_the_columns_that_they_name(self):
        """One each, so that no other one asks for more; what they are to give the shell says of the parent's rows."""
        rising = sorted(self.events, key=lambda e: e['ts'])
        minute = 'window_start / 60000000 * 60000000 AS minute'
        for name, child, mine, theirs in (
                ('an input', 'window: {tumbling: 1m}, analyzers: [stats: {of: n_sum, emit: [sum]}]',
                 'window_start, n_sum_sum', f'{minute}, sum(n_sum) FROM r GROUP BY 1'),
                ('a key', 'key: [key], window: {tumbling: 1m}, analyzers: [count]',
                 'window_start, key, count', f'{minute}, key, count(*) FROM r GROUP BY 1, 2'),
                ('where', "where: count > 60 AND n_sum > 200, window: {tumbling: 1m}, analyzers: [count]",
                 'window_start, count', f'{minute}, count(*) FROM r WHERE count > 60 AND n_sum > 200 GROUP BY 1'),
                ('where of an analyzer', 'window: {tumbling: 1m}, analyzers: [count: {where: n_sum > 250}]',
                 'window_start, count', f'{minute}, sum(n_sum > 250) FROM r GROUP BY 1'),
                ('derived', 'derive: {both: count + n_sum}, window: {tumbling: 1m}, analyzers: [sum: {of: both}]',
                 'window_start, both_sum', f'{minute}, sum(count + n_sum) FROM r GROUP BY 1'),
                ('windows by key', 'key: [key], window: {count: 4}, analyzers: [sum: {of: n_sum}]', 'sum(n_sum_sum)',
                 'sum(n_sum) FROM r'),
                ('sql', 'window: {tumbling: 1m}, analyzers: [sql: "SELECT key, max(n_sum) AS most FROM events GROUP BY key"]',
                 'window_start, key, most', f'{minute}, key, max(n_sum) FROM r GROUP BY 1, 2')):
            with self.subTest(name):
                done = self.run_weir(rising, workers=2, children=f'\n  child: {{from: results, {child}}}\n')
                self.assertEqual(done.returncode, 0, done.stderr)
                table = 'child_sql' if name == 'sql' else 'child'
                found = harness.read_rows(os.path.join(self.folder, 'run.db'), f'SELECT {mine} FROM {table}')
                model = sqlite3.connect(':memory:')
                model.execute('CREATE TABLE r (window_start, key, count, n_sum)')
                model.executemany('INSERT INTO r VALUES (?, ?, ?, ?)', self.expected())
                self.assertEqual(sorted(found), sorted(model.execute(f'SELECT {theirs}').fetchall()))
                model.close()
                self.assertEqual(self.rows(), self.expected())

    def test_rows_for_which_there_is_no_room_until_the_end_are_made_again(self):
        """Groups take 6 MB, and rows for pipelines that read them 20."""
        dice = random.Random(4)
        keys = [f'{i:0200}' for i in range(2000)]
        self.events = [{**e, 'key': dice.choice(keys)} for e in self.events[:30000]]
        order = sorted(self.events, key=lambda e: e['ts'] + (dice.randrange(400000) if dice.random() < 0.02 else 0))
        for workers in (1, 3):
            with self.subTest(workers=workers):
                done = self.check_children(order, '--memory', '12MB', workers=workers)
                self.assertNotIn('no room', done.stderr)

    def test_what_was_given_out_early_goes_with_a_run_that_is_ended(self):
        """By a signal it is gone at once; after kill -9 with the next run, whose events may be others."""
        path = os.path.join(self.folder, 'run.db')
        rising = [{'ts': T0 + 1000 * i, 'key': 'a', 'n': i} for i in range(70000)]  # more than a batch
        for sent in (signal.SIGINT, signal.SIGKILL):
            self.run_weir([])
            with subprocess.Popen([harness.WEIR, 'run', '-c', 'weir.yaml', '--stream', 'input', '--database', path],
                                  stdin=subprocess.PIPE, stderr=subprocess.PIPE, cwd=self.folder,
                                  env=harness.environment()) as process:
                self.addCleanup(process.kill)
                process.stdin.write('\n'.join(map(json.dumps, rising)).encode())
                process.stdin.flush()
                harness.wait_until(lambda: harness.read_rows(path, 'SELECT 1 FROM results LIMIT 1'), 'early rows')
                process.send_signal(sent)
                process.wait(harness.LIMIT_S)
            if sent == signal.SIGINT:
                self.assertEqual(harness.read_rows(path, 'SELECT * FROM results'), [])
            self.events = rising[300:305] + rising[500:505]
            done = self.run_weir(self.events)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(self.rows(), self.expected())

    def check_told(self, done, *words):
        self.assertEqual(done.returncode, 65, done.stderr)
        late = int(re.search(r', (\d+) late\n', done.stderr)[1])
        self.assertIn(f'{late} events came after their window had been closed', done.stderr)
        self.assertNotIn('in the database already', done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)
        self.assertEqual(sum(row[2] for row in self.rows()), 40000 - late)

    def test_without_room_what_is_late_is_told_and_the_exit_status_is_65(self):
        falling = sorted(self.events, key=lambda e: -e['ts'])
        self.check_told(self.run_weir(falling, '--memory', '64kB'), 'raise --memory',
                        'there is no room for more open windows')
        self.check_told(self.run_weir(falling, settings=', max_groups: 300'), 'or max_groups')
        self.check_told(self.run_weir(falling, '--live'), 'without --live')
        done = self.run_weir(sorted(self.events, key=lambda e: e['ts']), '--memory', '64kB')
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.rows(), self.expected())

    def test_signal_ends_a_run_whose_streams_are_silent(self):
        """Each is read by a thread of its own, which signals do not reach."""
        self.run_weir([])
        pipes = [os.path.join(self.folder, name) for name in ('one.ndjson', 'two.ndjson')]
        for pipe in pipes:
            os.mkfifo(pipe)
        with open(os.path.join(self.folder, 'two.yaml'), 'w', encoding='utf-8') as file:
            file.write('''\
server: {database: two.db}
streams:
  one: {time: {field: ts}, fields: {n: int}}
  two: {time: {field: ts}, fields: {n: int}}
pipelines:
  results: {from: one, window: {tumbling: 1s}, analyzers: [count]}
''')
        with subprocess.Popen([harness.WEIR, 'run', '-c', 'two.yaml', '--stream', 'one=one.ndjson', '--stream', 'two=two.ndjson'],
                              stderr=subprocess.PIPE, cwd=self.folder, env=harness.environment()) as process:
            self.addCleanup(process.kill)
            writers = [os.open(pipe, os.O_WRONLY) for pipe in pipes]  # once both are open for reading
            process.send_signal(signal.SIGINT)
            process.wait(harness.LIMIT_S)
            for fd in writers:
                os.close(fd)

    def test_wrong_sizes_of_memory_are_refused(self):
        for size in ('0', 'much', '-1', '1 GiB'):
            self.assertEqual(self.run_weir([], '--memory', size).returncode, 64)


class Failing(unittest.TestCase):
    def test_plugin_that_fails_ends_its_pipeline_and_nothing_else(self):
        folder = harness.folder_for_test(self)
        harness.compile_plugin(folder, 'failing', FAILING)
        env = harness.environment()
        env['WEIR_PLUGIN_PATH'] += ':' + folder
        events = ''.join(json.dumps({'ts': T0 + i * 100, 'key': f'k{i % 13}', 'n': i}) + '\n'
                         for i in range(5000))
        for where in ('init', 'update', 'emit'):
            with self.subTest(where=where):
                with open(os.path.join(folder, 'weir.yaml'), 'w', encoding='utf-8') as file:
                    file.write(CONFIG.replace('[count,', f'[count, {{failing: {{{where}: 5}}}}, '
                                              '{failing: {}, as: other},').replace('1h', '0s', 1))
                done = harness.weir('run', '-c', 'weir.yaml', '--stream', 'input', '--database',
                                    where + '.db', stdin=events * 3, cwd=folder, env=env)
                self.assertEqual(done.returncode, 1, done.stderr)
                self.assertIn("analyzer 'failing': told to fail", done.stderr)


ENDLESS = CONFIG + '''
  kept: {from: input, window: none, select: [key, n]}
  all: {from: input, key: [key], window: {global: 10s}, analyzers: [count, {sum: {of: n}}]}
  hundreds: {from: input, key: [key], window: {count: 100}, analyzers: [count]}
'''


TWO_STREAMS = '''
server: {database: weir.db}
streams:
  a: {time: {field: ts, unit: ms}, fields: {n: int}}
  b: {time: {field: ts, unit: ms}, fields: {n: int}}
pipelines:
  of_a: {from: a, window: none, select: [n]}
  of_b: {from: b, window: none, select: [n]}
'''


class Restart(unittest.TestCase):
    def test_a_run_that_was_killed_as_it_ended_is_not_repeated_unknowingly(self):
        folder = harness.folder_for_test(self)
        database = os.path.join(folder, 'weir.db')
        rows = lambda: [harness.read_rows(database, f'SELECT count(*) FROM {t}')[0][0] for t in ('of_a', 'of_b')]
        for name, text in (('weir.yaml', TWO_STREAMS), ('a.ndjson', lines(0, 50)), ('b.ndjson', lines(0, 70))):
            with open(os.path.join(folder, name), 'w', encoding='utf-8') as file:
                file.write(text)
        both = ('run', '-c', 'weir.yaml', '-s', 'a=a.ndjson', '-s', 'b=b.ndjson')
        for end in (signal.SIGKILL, signal.SIGINT):
            with subprocess.Popen([harness.WEIR, 'run', '-c', 'weir.yaml', '-s', 'a=a.ndjson', '-s', 'b=-'],
                                  stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=folder,
                                  env=harness.environment()) as process:
                self.addCleanup(process.kill)
                # Stream a has ended, and its results are final, while b goes on.
                harness.wait_until(lambda: os.path.exists(database) and harness.read_rows(
                    database, "SELECT 1 FROM sqlite_schema WHERE name = 'of_b'") and rows() == [50, 0], 'the end of a')
                process.send_signal(end)
                process.wait(harness.LIMIT_S)
            done = harness.weir(*both, cwd=folder)
            self.assertEqual(done.returncode, 65, done.stderr)
            self.assertIn('the run before this one was stopped as it ended', done.stderr)
            self.assertEqual(rows(), [50, 0])
            done = harness.weir(*both, '--again', cwd=folder)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(rows()[1], 70)
            done = harness.weir(*both, cwd=folder)  # nothing was stopped
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(rows()[1], 140)
            os.remove(database)

    def test_a_run_that_was_killed_has_taken_nothing(self):
        folder = harness.folder_for_test(self)
        database = os.path.join(folder, 'weir.db')
        n = 160000  # half of them are more than a batch
        for name, text in (('weir.yaml', ENDLESS), ('all.ndjson', lines(0, n))):
            with open(os.path.join(folder, name), 'w', encoding='utf-8') as file:
                file.write(text)
        with subprocess.Popen([harness.WEIR, 'run', '-c', 'weir.yaml', '--stream', 'input'], stdin=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, cwd=folder, env=harness.environment()) as process:
            self.addCleanup(process.kill)
            process.stdin.write(lines(0, n // 2).encode())
            process.stdin.flush()
            harness.wait_until(lambda: harness.read_rows(database, 'SELECT 1 FROM kept LIMIT 1'), 'rows that are kept')
            process.kill()
            process.wait(harness.LIMIT_S)
        done = harness.weir('run', '-c', 'weir.yaml', '--stream', 'input', 'all.ndjson', cwd=folder)
        self.assertEqual(done.returncode, 0, done.stderr)
        kept = harness.read_rows(database, 'SELECT n FROM kept ORDER BY n')
        self.assertEqual(kept, [(i,) for i in range(n)])
        self.assertEqual(harness.read_rows(database, 'SELECT key, count, n_sum FROM "all" ORDER BY key'),
                         [('ab'[k], n // 2, sum(range(k, n, 2))) for k in (0, 1)])
        self.assertEqual(harness.read_rows(database, 'SELECT count, count(*) FROM hundreds'), [(100, n // 100)])

    def test_results_go_on_from_the_committed_watermark(self):
        folder = harness.folder_for_test(self)
        config = CONFIG.replace('out_of_orderness: 1h', 'out_of_orderness: 0s')
        with harness.Server(config, folder=folder) as server:
            server.post_ok('input', lines(0, 1000))
            server.post_ok('input', [{'ts': T0 + 10000, 'key': 'a', 'n': 1}])
            server.wait_watermark('results', (T0 + 10000) * 1000)
        with harness.Server(config, folder=folder) as server:
            # Its window is in the table already; a partial recomputation must not replace it.
            server.post_ok('input', lines(0, 10))
            server.post_ok('input', [{'ts': T0 + 20000, 'key': 'b', 'n': 5},
                                     {'ts': T0 + 40000, 'key': 'b', 'n': 0}])
            server.wait_watermark('results', (T0 + 40000) * 1000)
            self.assertEqual(server.metric('weir_pipeline_late_total', pipeline='results'), 10)
            found = server.rows('SELECT window_start, key, count, n_sum FROM results '
                                'WHERE window_start <> ? ORDER BY 1, 2', (T0 + 10000) * 1000)
        self.assertEqual(found, [(T0 * 1000, 'a', 500, sum(range(0, 1000, 2))),
                                 (T0 * 1000, 'b', 500, sum(range(1, 1000, 2))),
                                 ((T0 + 20000) * 1000, 'b', 1, 5)])

    def test_a_second_run_replaces_nothing_whatever_the_number_of_workers(self):
        """Each worker has its share of the keys, but the input ends at one time for all."""
        for workers in (1, 4):
            with self.subTest(workers=workers):
                folder = harness.folder_for_test(self)
                with open(os.path.join(folder, 'weir.yaml'), 'w', encoding='utf-8') as file:
                    file.write(CONFIG.replace('from: input,', f'from: input, workers: {workers},'))
                text = ''.join(json.dumps({'ts': T0 + i * 10000, 'key': f'k{i}', 'n': i}) + '\n'
                               for i in range(20))
                for stdin, status in ((text, 0), (text.replace('"n": ', '"n": 1'), 65)):
                    done = harness.weir('run', '-c', 'weir.yaml', '--stream', 'input', stdin=stdin,
                                        cwd=folder)
                    self.assertEqual(done.returncode, status, done.stderr)
                found = harness.read_rows(os.path.join(folder, 'weir.db'),
                                          'SELECT key, n_sum FROM results ORDER BY window_start')
                self.assertEqual(found, [(f'k{i}', i) for i in range(20)])


if __name__ == '__main__':
    harness.main()
