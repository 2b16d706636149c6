# SPDX-License-Identifier: Apache-2.0
"""What the tests of `run: process` share: configurations, events, and a plugin that does what it must not."""

import os
import random
import shutil
import signal
import tempfile

import harness

T0 = 1700000000000
STREAM = '{time: {field: ts, unit: ms}, fields: {k: string, user: string, s: string, v: float, w: int, yes: bool}}'

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


# Folds rows, until one has the value at which it does what `how` says; then only its process is to know.
HOSTILE = r'''
#define _GNU_SOURCE
#include <weir/plugin.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
struct config { int how; const char *of; double at; const char *file; };
struct state { int64_t rows, done; double sum; char more[4000]; };
enum { FAILS, SEGV, ABORTS, EXITS, HANGS, LEAKS, DEEP, FORKS, EXECS, SOCKETS, WRITES, REMOVES, KILLS, OWNS, STOPS, OUTSIDE, DIES, LOADS, NICES, SCHEDULES, EMITS, READS, OPENS, EARLY };
static const struct weir_param params[] = {
    {.name = "how", .type = WEIR_PARAM_CHOICE, .flags = WEIR_REQUIRED, .offset = offsetof(struct config, how),
     .choices = "fails segv aborts exits hangs leaks deep forks execs sockets writes removes kills owns stops outside dies loads nices schedules emits reads opens early",
     .help = "what it does"},
    {.name = "of", .type = WEIR_PARAM_COLUMN, .flags = WEIR_REQUIRED, .offset = offsetof(struct config, of),
     .column_types = WEIR_NUMBERS, .help = "a column"},
    {.name = "at", .type = WEIR_PARAM_FLOAT, .offset = offsetof(struct config, at), .help = "the value"},
    {.name = "file", .type = WEIR_PARAM_STRING, .flags = WEIR_FILE, .offset = offsetof(struct config, file), .help = "a path"}, {0}};
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
    case NICES: return setpriority(PRIO_PROCESS, getppid(), 19) == 0;
    case SCHEDULES: return sched_setscheduler(getppid(), SCHED_BATCH, &(struct sched_param){0}) == 0;
    case STOPS: raise(SIGSTOP); break;
    case OUTSIDE: /* all that the server has mapped with it, and more */
        for (volatile char *p = (volatile char *)&r;; p += 4096) *p = 1;
    case DIES: raise(SIGKILL); break;
    case EMITS: case READS: case EARLY: return 1;
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
        if (v == c->at && c->how != LOADS)
            s->done += act(c, ctx);
        s->rows++;
        s->sum += v;
    }
    return 0;
}
static int emit(struct weir_ctx *ctx, const struct state *s, const struct weir_window *w, struct weir_out *out)
{
    const struct config *c = ctx->config;
    if (c->how == EMITS && s->done)
        *(volatile int *)8 = 1;
    if (c->how == EARLY && w->flags & WEIR_EARLY && s->done)
        return weir_fail(ctx, "not yet");
    weir_put_int(ctx, out, 0, s->rows);
    weir_put_float(ctx, out, 1, s->sum);
    return weir_put_int(ctx, out, 2, s->done);
}
/* Is what it saved the last time: a crash in reading it comes again with every start. */
static int save(struct weir_ctx *ctx, const void *state, struct weir_out *out)
{
    return ctx->host->write(ctx, out, state, sizeof(struct state));
}
static int load(struct weir_ctx *ctx, void *state, uint32_t version, const void *bytes, size_t size)
{
    const struct config *c = ctx->config;
    if (c->how == LOADS)
        raise(SIGKILL);
    memcpy(state, bytes, sizeof(struct state));
    if (c->how == READS && ((struct state *)state)->done)
        *(volatile int *)8 = 1;
    return 0;
}
static int opened(struct weir_ctx *ctx)
{
    const struct config *c = ctx->config;
    if (c->how == OPENS && access(c->file, F_OK) == 0)
        *(volatile int *)8 = 1;
    return 0;
}
WEIR_EMIT(emit_all, struct state, emit)
static const struct weir_analyzer hostile = {.name = "hostile", .version = "1", .help = "does what it must not",
    .params = params, .outputs = outputs, .config_size = sizeof(struct config), .state_size = sizeof(struct state),
    .open = opened, .update = update, .emit = emit_all,
    .save = save, .load = load};
WEIR_PLUGIN(hostile);
'''
BAD = -7  # the value at which it acts
LIMIT = '3s' if harness.sanitized() else '500ms'  # of a call, where it is to be reached


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


def hostile(name, how, more='', where='true'):
    limit = LIMIT if how in ('hangs', 'stops') else '30s'
    return (f'  {name}: {{from: input, key: [k], window: {{tumbling: 1s}}, idle_timeout: 1h, where: "{where}", analyzers: ['
            f'{{hostile: {{how: {how}, of: v, at: {BAD}, file: "{{folder}}/file"}}, run: process, memory: 64MiB,'
            f' limit_time: {limit}{more}}}]}}\n')


class Case:
    """Of a unittest.TestCase: the plugin is built, and a server has it."""
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix='weir-test-')
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        harness.compile_plugin(cls.folder, 'hostile', HOSTILE)
        cls.path = harness.plugin_path() + ':' + cls.folder

    @classmethod
    def server(cls, body, server=''):
        return harness.Server(config(body + pipeline('fine', '{tumbling: 1s}', '', ['sum: {of: v}'], 'thread')
                                     .replace('out_of_orderness: 500ms', 'workers: 1'), server),
                              WEIR_PLUGIN_PATH=cls.path)

    def check_fine(self, server, made):
        rows = server.rows('SELECT window_start / 1000, k, x_sum FROM fine')
        self.assertEqual({(start, k): total for start, k, total in rows},
                         {key: total for key, (rows, total) in sums(made).items()})


def letters(server, n):
    """(message, record) of events that were set aside, once there are n."""
    found = server.rows("SELECT message, record FROM weir_dead_letters WHERE reason = 'crash'")
    return found if len(found) >= n else None


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
