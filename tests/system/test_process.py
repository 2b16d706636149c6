# SPDX-License-Identifier: Apache-2.0
"""`run: process`: the same rows as in a thread; and what an analyzer does to its process stays there."""

import json
import os
import random
import re
import shutil
import signal
import tempfile
import unittest

import harness

T0 = 1700000000000
STREAM = '{time: {field: ts, unit: ms}, fields: {k: string, user: string, s: string, v: float, w: int, yes: bool}}'

# Every analyzer that ships, and what it needs.
ANALYZERS = ['count', 'anomaly: {of: v}', 'change: {of: w}', 'collect: {of: s}', 'covariance: {x: v, y: w}', 'delta: {of: w}',
             'distinct: {of: [user, w]}', 'drawdown: {of: v}', 'entropy: {of: s}', 'ewma: {of: v}',
             'first: {of: s}', 'funnel: {step: s, steps: s1 > s2 > s3, by: user}', 'gap', 'histogram: {of: v}',
             'holt_winters: {of: v}', 'imbalance: {volume: w, side: s}', 'last: {of: s}', 'mad: {of: v}',
             'mode: {of: s}', 'moments: {of: v}', 'ohlc: {of: v}', 'path: {of: s, by: user}',
             'quantiles: {of: v, q: [0, 0.5, 0.9]}', 'rate: {of: v}', 'retention: {by: user}', 'rows: {by: v, n: 3}',
             'sample: {of: s}', 'sessions: {}', 'sql: "SELECT s, sum(v) AS total FROM events GROUP BY s"',
             'stats: {of: v}', 'sum: {of: v}', 'threshold: {of: v, limit: 500}', 'time_weighted: {of: v}',
             'topk: {of: s, k: 3, capacity: 4}', 'trending: {of: s}', 'twap: {price: v}', 'volatility: {price: v}',
             'vwap: {price: v, volume: w}']
# Windows of each kind, with analyzers whose states are merged, kept, of one row, of many.
KINDS = {
    'hopping': ('{hopping: 3s, by: 1s}', ''),
    'sizes': ('{tumbling: [1s, 5s]}', 'workers: 2,'),
    'session': ('{session: 300ms}', ''),
    'rows': ('{count: 50, by: 20}', ''),
    'running': ('{count: 10, running: true}', ''),
    'ever': ('{global: 2s, expire: 4s}', ''),
    'revised': ('{tumbling: 1s}', 'late: revise, allowed_lateness: 3s, workers: 2,'),
}
SOME = ['count', 'stats: {of: v}', 'topk: {of: s, k: 3, capacity: 4}', 'quantiles: {of: v}', 'first: {of: s}']


def events(n, seed=1, step_ms=3):
    """One in ten comes up to two seconds late; some values are missing, some texts are not ASCII."""
    dice = random.Random(seed)
    made = []
    for i in range(n):
        behind = dice.randrange(2000) if dice.random() < 0.1 else 0
        event = {'ts': T0 + i * step_ms - behind, 'k': dice.choice(['a', 'b', 'zebra', 'é', '']),
                 'user': f'u{dice.randrange(20)}', 's': dice.choice(['s1', 's2', 's3', 'buy', 'sell', 'ß']),
                 'v': dice.randrange(100000) / 7, 'w': dice.randrange(1, 50), 'yes': dice.random() < 0.5}
        if dice.random() < 0.05:
            del event[dice.choice(['v', 's', 'w'])]
        made.append(event)
    return made


def analyzers(list_, way):
    return ''.join(f'      - {{{a if ":" in a else a + ": {}"}, as: x_{a.split(":")[0]}, run: {way}}}\n'
                   for a in list_)


def pipeline(name, window, more, list_, way, stream='input'):
    return (f'  {name}: \n    from: {stream}\n    key: [k]\n    window: {window}\n    out_of_orderness: 500ms\n'
            f'    idle_timeout: 1h\n' + ''.join(f'    {m.strip()}\n' for m in more.split(',') if m.strip()) +
            f'    analyzers:\n{analyzers(list_, way)}')


def config(body, server=''):
    return (f'server: {{listen: {{listen}}, database: {{folder}}/weir.db, {server}}}\n'
            f'streams: {{input: {STREAM}, other: {STREAM}}}\npipelines:\n{body}')


def tables(database, way):
    found = harness.read_rows(database, "SELECT name FROM sqlite_schema WHERE type = 'table' AND name GLOB ?",
                              f'{way}_*')
    return sorted(name[len(way):] for name, in found)


def compare(test, database):
    """The tables of both ways have the same rows, to the last bit; how many."""
    n = 0
    test.assertEqual(tables(database, 'thread'), tables(database, 'process'))
    for table in tables(database, 'thread'):
        rows = [harness.read_rows(database, f'SELECT * FROM {way}{table} ORDER BY 1, 2, 3')
                for way in ('thread', 'process')]
        test.assertEqual(rows[0], rows[1], table)  # no NaN comes from the file
        n += len(rows[0])
    return n


class SameRows(unittest.TestCase):
    def run_files(self, body, made):
        folder = harness.folder_for_test(self)
        with open(os.path.join(folder, 'weir.yaml'), 'w', encoding='utf-8') as file:
            file.write(config(body).replace('{folder}', folder).replace('{listen}', '127.0.0.1:0'))
        with open(os.path.join(folder, 'in.ndjson'), 'w', encoding='utf-8') as file:
            file.writelines(json.dumps(e) + '\n' for e in made)
        done = harness.weir('run', '--live', '-c', 'weir.yaml', '--stream', 'input', 'in.ndjson', cwd=folder)
        self.assertIn(done.returncode, (0, 65), done.stderr)
        return os.path.join(folder, 'weir.db')

    def test_every_analyzer_that_ships(self):
        listed = harness.weir('plugins').stdout
        names = {line.split()[0] for line in listed.splitlines()}
        self.assertEqual({a.split(':')[0] for a in ANALYZERS} - names, set())
        body = ''.join(pipeline(f'{way}_all', '{tumbling: 1s}', '', ANALYZERS, way) for way in ('thread', 'process'))
        self.assertGreater(compare(self, self.run_files(body, events(3000))), 1000)

    def test_every_kind_of_window(self):
        body = ''.join(pipeline(f'{way}_{name}', window, more, SOME, way)
                       for name, (window, more) in KINDS.items() for way in ('thread', 'process'))
        self.assertGreater(compare(self, self.run_files(body, events(4000))), 500)


# Folds rows, until one has the value at which it does what `how` says; then only its process is to know.
HOSTILE = r'''
#include <weir/plugin.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
struct config { int how; const char *of; double at; const char *file; };
struct state { int64_t rows, done; double sum; };
enum { FAILS, SEGV, ABORTS, EXITS, HANGS, LEAKS, DEEP, FORKS, EXECS, SOCKETS, WRITES, REMOVES, KILLS, OWNS, STOPS, OUTSIDE, DIES };
static const struct weir_param params[] = {
    {.name = "how", .type = WEIR_PARAM_CHOICE, .flags = WEIR_REQUIRED, .offset = offsetof(struct config, how),
     .choices = "fails segv aborts exits hangs leaks deep forks execs sockets writes removes kills owns stops outside dies",
     .help = "what it does"},
    {.name = "of", .type = WEIR_PARAM_COLUMN, .flags = WEIR_REQUIRED, .offset = offsetof(struct config, of),
     .column_types = WEIR_NUMBERS, .help = "a column"},
    {.name = "at", .type = WEIR_PARAM_FLOAT, .offset = offsetof(struct config, at), .help = "the value"},
    {.name = "file", .type = WEIR_PARAM_STRING, .offset = offsetof(struct config, file), .help = "a path"}, {0}};
static const struct weir_output outputs[] = {
    {"rows", WEIR_INT, "rows", NULL}, {"sum", WEIR_FLOAT, "their sum", NULL}, {"done", WEIR_INT, "what it did", NULL}, {0}};
static int deep(int n) { volatile char some[1000]; some[0] = (char)n; return n < 0 ? 0 : deep(n + 1) + some[0]; }
/* 0: what it tried was refused, or not tried. */
static int64_t act(const struct config *c, struct weir_ctx *ctx)
{
    int64_t r = 0;
    switch (c->how) {
    case SEGV: *(volatile int *)8 = 1; break;
    case ABORTS: abort();
    case EXITS: exit(0);
    case HANGS: for (volatile int i = 0;; i++); break;
    case LEAKS: for (;;) memset(malloc(1 << 20), 1, 1 << 20); break;
    case DEEP: return deep(0);
    case FORKS: r = fork(); if (r == 0) _exit(0); return r > 0;
    case EXECS: execl("/bin/true", "true", (char *)NULL); return errno != EPERM;
    case SOCKETS: return socket(AF_INET, SOCK_STREAM, 0) >= 0;
    case WRITES: return open(c->file, O_WRONLY | O_CREAT | O_APPEND, 0600) >= 0;
    case REMOVES: return unlink(c->file) == 0;
    case KILLS: return kill(getppid(), SIGTERM) == 0;
    case OWNS: return fcntl(0, F_SETOWN, getppid()) == 0;
    case STOPS: raise(SIGSTOP); break;
    case OUTSIDE: /* all that the server has mapped with it, and more */
        for (volatile char *p = (volatile char *)&r;; p += 4096) *p = 1;
    case DIES: raise(SIGKILL); break;
    }
    return r;
}
static int update(struct weir_ctx *ctx, const struct weir_rows *r)
{
    const struct config *c = ctx->config;
    for (size_t i = 0; i < r->n; i++) {
        struct state *s = (struct state *)(r->states + r->group[i] * r->stride);
        double v = weir_number(r->in[0], r->row[i]);
        if (v == c->at && c->how == FAILS)
            return weir_fail(ctx, "it says why");
        if (v == c->at)
            s->done += act(c, ctx);
        s->rows++;
        s->sum += v;
    }
    return 0;
}
static int emit(struct weir_ctx *ctx, const struct state *s, const struct weir_window *w, struct weir_out *out)
{
    weir_put_int(ctx, out, 0, s->rows);
    weir_put_float(ctx, out, 1, s->sum);
    return weir_put_int(ctx, out, 2, s->done);
}
WEIR_EMIT(emit_all, struct state, emit)
static const struct weir_analyzer hostile = {.name = "hostile", .version = "1", .help = "does what it must not",
    .params = params, .outputs = outputs, .config_size = sizeof(struct config), .state_size = sizeof(struct state),
    .update = update, .emit = emit_all};
WEIR_PLUGIN(hostile);
'''
BAD = -7  # the value at which it acts
KILLED = {'segv': 'killed by signal 11', 'aborts': 'killed by signal 6', 'exits': 'exited with status 0',
          'hangs': r'did not go on for 0.5 s \(limit_time\)', 'stops': 'did not go on for 0.5 s',
          'leaks': 'killed by signal 11', 'deep': 'killed by signal 11', 'outside': 'killed by signal 11',
          'dies': 'killed by signal 9'}
if harness.sanitized():  # it has its own way with a wrong address and at an exit, and there is no limit of memory
    del KILLED['leaks']
    for way in ('segv', 'deep', 'outside', 'exits'):
        KILLED[way] = 'exited with status|killed by signal'
REFUSED = ('forks', 'execs', 'sockets', 'writes', 'removes', 'kills', 'owns')


def simple(n=2000, bad=()):
    """Events whose sums are exact, in order; those at `bad` have the bad value."""
    return [{'ts': T0 + i * 5, 'k': 'ab'[i % 2], 'v': BAD if i in bad else i % 100} for i in range(n)]


def sums(made):
    """Python's own: {(window, key): (rows, sum)} of windows that events behind them close."""
    found = {}
    for e in made:
        rows, total = found.get((e['ts'] // 1000 * 1000, e['k']), (0, 0.0))
        found[e['ts'] // 1000 * 1000, e['k']] = (rows + 1, total + e['v'])
    last = made[-1]['ts'] // 1000 * 1000
    return {key: value for key, value in found.items() if key[0] < last}


def hostile(name, how, more=''):
    limit = '500ms' if how in ('hangs', 'stops') else '30s'
    return (f'  {name}: {{from: input, key: [k], window: {{tumbling: 1s}}, idle_timeout: 1h, analyzers: ['
            f'{{hostile: {{how: {how}, of: v, at: {BAD}, file: "{{folder}}/file"}}, run: process, memory: 64MiB,'
            f' limit_time: {limit}{more}}}]}}\n')


class Hostile(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix='weir-test-')
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        harness.compile_plugin(cls.folder, 'hostile', HOSTILE)
        cls.path = harness.plugin_path() + ':' + cls.folder

    def server(self, body, server=''):
        return harness.Server(config(body + pipeline('fine', '{tumbling: 1s}', '', ['sum: {of: v}'], 'thread')
                                     .replace('out_of_orderness: 500ms', 'workers: 1'), server),
                              WEIR_PLUGIN_PATH=self.path)

    def check_fine(self, server, made):
        rows = server.rows('SELECT window_start / 1000, k, x_sum FROM fine')
        self.assertEqual({(start, k): total for start, k, total in rows},
                         {key: total for key, (rows, total) in sums(made).items()})

    def test_calls_that_reach_beyond_its_process_fail(self):
        made = simple(2000, bad=(333, 1000))
        with self.server(''.join(hostile(how, how) for how in REFUSED)) as server:
            with open(os.path.join(server.folder, 'file'), 'w', encoding='ascii') as file:
                file.write('mine')
            server.post_ok('input', made)
            for name in (*REFUSED, 'fine'):
                server.wait_watermark(name, made[-1]['ts'] // 1000 * 1000000)
                if name == 'fine':
                    continue
                rows = server.rows(f'SELECT window_start / 1000, k, rows, sum, done FROM {name}')
                self.assertEqual({(start, k): (n, total) for start, k, n, total, _ in rows}, sums(made), name)
                self.assertEqual({done for *_, done in rows}, {0}, name)
            self.check_fine(server, made)
            with open(os.path.join(server.folder, 'file'), encoding='ascii') as file:
                self.assertEqual(file.read(), 'mine')

    def test_what_an_analyzer_says_is_said(self):
        server = self.server(hostile('fails', 'fails'))
        self.addCleanup(server.remove_folder)
        self.addCleanup(server.kill)
        server.start()
        made = simple(2000, bad=(900,))
        server.post_ok('input', made)
        harness.wait_until(lambda: server.get('/ready').status == 503, 'the failure')
        self.assertIn(b"analyzer 'hostile': it says why", server.get('/ready').body)
        server.wait_watermark('fine', made[-1]['ts'] // 1000 * 1000000)
        self.check_fine(server, made)

    def test_events_that_kill_it_are_set_aside(self):
        """Each way to die: the event is left out of that analyzer's results, all others are counted once."""
        made = simple(4000, bad=(1501,))
        left = [e for e in made if e['v'] != BAD]
        with self.server(''.join(hostile(how, how) for how in KILLED)) as server:
            for at in range(0, len(made), 250):
                server.post_ok('input', made[at:at + 250])
            server.wait_watermark('fine', made[-1]['ts'] // 1000 * 1000000)
            self.check_fine(server, made)
            for name in KILLED:
                server.wait_watermark(name, made[-1]['ts'] // 1000 * 1000000)
                rows = server.rows(f'SELECT window_start / 1000, k, rows, sum FROM {name}')
                self.assertEqual({(start, k): (n, total) for start, k, n, total in rows}, sums(left), name)
                self.assertGreaterEqual(server.metric('weir_analyzer_restarts_total', pipeline=name), 3)
                status = server.get_json(f'/api/v1/pipelines/{name}')
                process, = status['processes']
                self.assertEqual([process['analyzer'], process['set_aside']], ['hostile', 1])
                self.assertIn(process['pid'], children(server.process.pid))
                self.assertFalse(status['status']['restarting'])
            letters = harness.wait_until(lambda: self.letters(server, len(KILLED)), 'the letters')
            for name, how in KILLED.items():
                mine = [record for message, record in letters if f"pipeline '{name}', analyzer 'hostile'" in message
                        and re.search(how, message)]
                self.assertEqual(len(mine), 1, (name, letters))
                self.assertEqual(json.loads(mine[0]), {'ts': '2023-11-14T22:13:27.505000Z', 'k': 'b', 'user': None,
                                                       's': None, 'v': BAD, 'w': None, 'yes': None})

    @staticmethod
    def letters(server, n):
        found = server.rows("SELECT message, record FROM weir_dead_letters WHERE reason = 'crash'")
        return found if len(found) >= n else None

    def test_a_process_that_is_killed_is_started_again_and_nothing_is_lost_or_doubled(self):
        made = simple(8000)
        with self.server(hostile('p', 'fails'), 'checkpoint_interval: 50ms') as server:
            for at in range(0, len(made), 500):
                server.post_ok('input', made[at:at + 500])
                if at in (1000, 2500, 3000, 6000):
                    for pid in harness.wait_until(lambda: children(server.process.pid), 'a process'):
                        kill(pid)  # the next events find out
            server.wait_watermark('p', made[-1]['ts'] // 1000 * 1000000)
            rows = server.rows('SELECT window_start / 1000, k, rows, sum FROM p')
            self.assertEqual({(start, k): (n, total) for start, k, n, total in rows}, sums(made))
            self.check_fine(server, made)
            self.assertGreaterEqual(server.metric('weir_analyzer_restarts_total', pipeline='p'), 1)
            self.assertEqual(self.letters(server, 0), [])

    def test_on_crash_stop_stops_the_pipeline(self):
        made = simple(2000, bad=(900,))
        server = self.server(hostile('p', 'dies', ', on_crash: stop'))
        self.addCleanup(server.remove_folder)
        self.addCleanup(server.kill)
        server.start()
        server.post_ok('input', made)
        server.wait_watermark('fine', made[-1]['ts'] // 1000 * 1000000)
        harness.wait_until(lambda: server.get('/ready').status == 503, 'the failure')
        self.assertIn(b'its process was killed by signal 9', server.get('/ready').body)
        self.assertIn(b'in update, at entry 1', server.get('/ready').body)
        self.check_fine(server, made)

    def test_states_come_back_after_a_crash_of_the_server(self):
        body = ''.join(pipeline(f'{way}_{name}', window, more, SOME, way).replace('run: process', f'run: {way}')
                       for name, (window, more) in KINDS.items() for way in ('thread', 'process'))
        made = events(3000, seed=2)
        with self.server(body, 'checkpoint_interval: 20ms, commit_interval: 5ms') as server:
            for at in range(0, len(made), 500):
                server.post_ok('input', made[at:at + 500])
                if at in (1000, 2000):
                    server.restart()
            end = {'ts': T0 + 20000, 'k': 'end'}
            server.post_ok('input', [end])
            names = [f'{way}_{name}' for name in KINDS for way in ('thread', 'process')]
            for name in names:
                server.wait_watermark(name, (T0 + 19000) * 1000)
            self.assertGreater(compare(self, server.database), 300)

    def test_the_way_can_change_between_two_starts(self):
        made = simple()
        body = '  p: {from: input, key: [k], window: {tumbling: 1h}, idle_timeout: 1h, analyzers: [{sum: {of: v}, run: WAY}, {topk: {of: s}, run: WAY}]}\n'
        with self.server(body.replace('WAY', 'thread')) as server:
            for way in ('process', 'thread', None):
                server.post_ok('input', made)
                if not way:
                    break
                server.stop()
                server.kill()
                with open(server.path, encoding='utf-8') as file:
                    text = file.read()
                with open(server.path, 'w', encoding='utf-8') as file:
                    file.write(text.replace('run: process', f'run: {way}') if way == 'thread'
                               else text.replace('run: thread', f'run: {way}'))
                server.start()
            server.post_ok('input', [{'ts': T0 + 7200000, 'k': 'end'}])
            server.wait_watermark('p', (T0 + 3600000) * 1000)
            expected = {k: 3 * sum(e['v'] for e in made if e['k'] == k) for k in 'ab'}
            self.assertEqual(dict(server.rows("SELECT k, v_sum FROM p WHERE k <> 'end'")), expected)

    def test_processes_end_with_the_server(self):
        with self.server(hostile('p', 'fails')) as server:
            server.post_ok('input', simple())
            found = children(server.process.pid)
            self.assertEqual(len(found), 1)
            server.process.kill()
            harness.wait_until(lambda: not os.path.exists(f'/proc/{found[0]}') or is_zombie(found[0]), 'its end')
            server.restart()


def kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # it was just exchanged


def children(pid):
    return [int(child) for child in os.listdir('/proc') if child.isdigit() and is_child(child, pid)]


def is_child(pid, parent):
    try:
        with open(f'/proc/{pid}/stat', encoding='ascii', errors='replace') as file:
            state, its_parent = file.read().rsplit(')', 1)[1].split()[:2]
            return int(its_parent) == parent and state != 'Z'
    except (FileNotFoundError, ProcessLookupError):
        return False


def is_zombie(pid):
    try:
        with open(f'/proc/{pid}/stat', encoding='ascii', errors='replace') as file:
            return file.read().rsplit(')', 1)[1].split()[0] == 'Z'
    except (FileNotFoundError, ProcessLookupError):
        return True


class Configuration(unittest.TestCase):
    def check(self, analyzer):
        folder = harness.folder_for_test(self)
        path = os.path.join(folder, 'weir.yaml')
        with open(path, 'w', encoding='utf-8') as file:
            file.write(config('  p: {from: input, window: {tumbling: 1s}, analyzers: [\n' + analyzer + ']}\n')
                       .replace('{folder}', folder).replace('{listen}', '127.0.0.1:0'))
        return harness.weir('check', '-c', path).stderr

    def test_what_cannot_be_is_refused_with_its_place(self):
        for text, said in (
                ('{sum: {of: v}, run: async}', "5:21: 'run: async' is not supported by this version"),
                ('{sum: {of: v}, run: fork}', "5:21: expected"),
                ('{sum: {of: v}, run: process, processes: 2}', "for each of the pipeline's 'workers'"),
                ('{sum: {of: v}, memory: 1GiB}', "'memory' has a meaning with 'run: process' only"),
                ('{sum: {of: v}, limit_time: 1s}', "'limit_time' has a meaning with 'run: process' only"),
                ('{sum: {of: v}, run: process, memory: 1MiB}', "'memory' is 16MiB to 1TiB"),
                ('{sum: {of: v}, run: process, limit_time: 1ms}', "'limit_time' is 100ms to 1h"),
                ('{ewma: {of: v, half_life: nonsense}, run: process}', "half_life")):
            with self.subTest(text):
                self.assertIn(said, self.check(text))
        self.assertEqual(self.check('{sum: {of: v}, run: process, memory: 64MiB, limit_time: 1s}'), '')


if __name__ == '__main__':
    harness.main()
