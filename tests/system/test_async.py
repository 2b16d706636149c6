# SPDX-License-Identifier: Apache-2.0
"""run: async, by the plugin score, against a service of Python's own: expected is what the service has answered."""

import collections
import random
import signal
import threading

import harness
from service import T0, WithService, status, trades

HEAD = '''
server: {listen: {listen}, database: {folder}/weir.db, checkpoint_interval: CHECKPOINT, commit_interval: 20ms}
streams:
  trades: {time: {field: ts, unit: ms}, fields: {symbol: string, user: string, n: int, ok: bool}}
pipelines:
  rows:
    from: trades
    key: [symbol]
    window: {tumbling: 10ms}
    analyzers:
      - count
'''
COLUMNS = 'user_score_mean, user_score_min, user_score_max, user_scored, user_unscored'


def asking(url, of='user', ask='backoff: 10ms, max_backoff: 100ms', more=''):
    return f'      - score: {{of: {of}, url: "{url}"}}\n        run: async\n        ask: {{{ask}}}\n{more}'


def config(*analyzers, checkpoint='200ms', more=''):
    return HEAD.replace('CHECKPOINT', checkpoint) + ''.join(analyzers) + more


def windows(rows, score, size=10):
    """Of (ms, symbol, user): {(start, symbol): (count, mean, least, greatest, scored, unscored)}; score gives None for none."""
    groups = collections.defaultdict(list)
    for ms, symbol, user in rows:
        groups[(T0 * 1000 + ms) // size * size * 1000, symbol].append(score(user))
    result = {}
    for group, all_scores in groups.items():
        scores = [s for s in all_scores if s is not None]
        three = (sum(scores) / len(scores), min(scores), max(scores)) if scores else (None, None, None)
        result[group] = (len(all_scores), *three, len(scores), len(all_scores) - len(scores))
    return result


def events(rows):
    return '\n'.join(f'{{"ts": {T0 * 1000 + ms}, "symbol": "{symbol}", "user": "{user}", "n": {n}}}'
                     for n, (ms, symbol, user) in enumerate(rows))


def found(server, table='rows'):
    return {(row[0], row[1]): row[2:] for row in server.rows(f'SELECT window_start, symbol, count, {COLUMNS} FROM {table}')}


def score_of(user):
    return sum(user.encode()) % 1000 / 8  # exact as decimals, and in sums


class WithScores(WithService):
    def score(self, delay=0.0):
        return self.service(lambda key, n: f'{score_of(key)}\n')

    def finish(self, server, ms=10**6):
        server.post_ok('trades', events([(ms, 'end', 'end')]))
        server.wait_watermark('rows', (T0 * 1000 + ms) * 1000)

    def compare(self, server, rows, score=score_of):
        wanted = windows(rows, score)
        have = found(server)
        self.assertEqual(set(have), set(wanted))
        for group, row in wanted.items():
            self.assertEqual(have[group], row, group)


class Asking(WithScores):
    def test_answers_are_folded_as_columns_are(self):
        service = self.score()
        rows = [(i // 2, f's{i % 3}', f'user {i * 7 % 41}') for i in range(2000)]
        for workers in (1, 3):
            text = config(asking(service.url), more=f'    workers: {workers}\n')
            with self.subTest(workers=workers), harness.Server(text) as server:
                for first in range(0, 2000, 250):
                    server.post_ok('trades', events(rows[first:first + 250]))
                self.finish(server)
                self.compare(server, rows)
                now = status(server, 'score')
                self.assertEqual((now['found'], now['failed'], now['last_error']), (42, 0, None))
                self.assertEqual(server.metric('weir_lookups_total', lookup='score', outcome='found'), 42)

    def test_windows_that_are_merged_and_late_events(self):
        service = self.score()
        text = config(asking(service.url), more='    late: revise\n    allowed_lateness: 1h\n').replace('{tumbling: 10ms}', '{tumbling: [10ms, 50ms]}')
        rows = [(i, f's{i % 2}', f'u{i % 13}') for i in range(400)]
        late = [(i, 's0', f'late {i}') for i in range(0, 400, 7)]
        with harness.Server(text) as server:
            server.post_ok('trades', events(rows))
            server.post_ok('trades', events([(10000, 'end', 'end')]))
            server.wait_watermark('rows', (T0 * 1000 + 10000) * 1000)
            server.post_ok('trades', events(late))
            harness.wait_until(lambda: found(server, 'rows_50ms') == windows(rows + late, score_of, 50), 'late ones are folded in')
            harness.wait_until(lambda: found(server, 'rows_10ms') == windows(rows + late, score_of, 10), 'in the small ones, too')

    def test_values_and_rows_without_an_answer(self):
        replies = {'none': 404, 'empty': (204, {}), 'bad': 400, 'text': 'much', 'inf': '1e999', 'more': '1 2', 'minus': '-2.5e1\r\n'}
        service = self.service(lambda key, n: replies.get(key, '3.5'))
        rows = [(i, 'a', user) for i, user in enumerate([*replies, 'fine', 'a b/é?&'])]
        with harness.Server(config(asking(service.url))) as server:
            server.post_ok('trades', events(rows) + f'\n{{"ts": {T0 * 1000}, "symbol": "b", "n": 9}}')
            self.finish(server)
            wanted = windows(rows, lambda user: {'minus': -25.0, 'fine': 3.5, 'a b/é?&': 3.5}.get(user))
            wanted[T0 * 1000000, 'b'] = (1, None, None, None, 0, 0)  # nobody is asked about null
            self.assertEqual(found(server), wanted)
            self.assertEqual(set(service.asked), {user for _, _, user in rows} | {'end'})
            now = status(server, 'score')
            self.assertEqual((now['found'], now['missing'], now['failed'], now['failed_requests']), (4, 2, 4, 0))

    def test_where_says_which_events_are_asked_about(self):
        service = self.score()
        rows = [(i, 'a', f'u{i % 20}') for i in range(100)]
        with harness.Server(config(asking(service.url, ask="where: user < 'u5'"))) as server:
            server.post_ok('trades', events(rows))
            self.finish(server)
            self.compare(server, rows, lambda user: score_of(user) if user < 'u5' else None)
            self.assertEqual(set(service.asked), {f'u{i}' for i in range(20) if f'u{i}' < 'u5'} | {'end'})

    def test_two_of_one_pipeline_and_a_look_up_beside_them(self):
        service = self.service(lambda key, n: {'level': len(key)} if key.startswith('s') else f'{int(key) / 4}')
        first, second = asking(service.url, of='n', more='        as: first\n'), asking(service.url, of='n', more='        as: second\n')
        more = f'''    http_lookup: {{kind: {{url: "{service.url}/{{symbol}}", columns: {{level: int}}}}}}
    derive: {{twice: 2 * level}}
    where: twice < 8
'''
        text = config(first, '      - sum: {of: twice}\n', second, more=more)
        rows = [(0, 's' * (1 + i % 4), 'u') for i in range(40)]
        with harness.Server(text) as server:
            server.post_ok('trades', events(rows))
            server.post_ok('trades', f'{{"ts": {T0 * 1000 + 1000}, "symbol": "s", "n": 8}}')
            server.wait_watermark('rows', (T0 * 1000 + 1000) * 1000)
            have = server.rows('SELECT symbol, count, first_n_score_mean, twice_sum, second_n_score_max FROM rows ORDER BY 1')
            self.assertEqual(have, [('s' * k, 10, sum(range(k - 1, 40, 4)) / 40, 20 * k, (k + 35) / 4) for k in (1, 2, 3)])
            self.assertEqual([s['name'] for s in server.get_json('/api/v1/pipelines/rows')['lookups']], ['kind', 'first', 'second'])

    def test_many_are_under_way_on_one_thread(self):
        service = self.service(lambda key, n: service.hold_until(31) and 3.5)
        rows = [(i, 'a', f'u{i}') for i in range(400)]
        with harness.Server(config(asking(service.url, ask='in_flight: 60, timeout: 10m'))) as server:
            server.post_ok('trades', events(rows))
            self.finish(server)
            self.compare(server, rows, lambda _: 3.5)
            self.assertGreater(service.most, 30)
            self.assertLessEqual(service.most, 60)


class Failures(WithScores):
    def test_what_fails_is_repeated_and_what_is_slow_too(self):
        limit_s = round(harness.LIMIT_S / 30)  # others are answered sooner
        script = {'down': [500, 503, 429], 'slow': [(1.0, 2 * limit_s)]}
        service = self.service(lambda key, n: script[key][n] if n < len(script.get(key, ())) else f'{score_of(key)}')
        rows = [(i, 'a', user) for i, user in enumerate(('x', 'down', 'y', 'slow'))]
        with harness.Server(config(asking(service.url, ask=f'timeout: {limit_s}s, backoff: 10ms'))) as server:
            server.post_ok('trades', events(rows))
            self.finish(server)
            self.compare(server, rows)
            self.assertEqual(status(server, 'score')['failed'], 0)
            self.assertGreaterEqual(status(server, 'score')['failed_requests'], 4)  # more where the machine is slow

    def test_a_service_that_is_down_is_hardly_asked(self):
        down = [True]
        service = self.service(lambda key, _: 500 if down[0] else f'{score_of(key)}')
        ask = 'retries: 1, break_after: 5, in_flight: 2, backoff: 10ms, max_backoff: 500ms, cache_ttl: 0s'
        rows = [(i, 'a', f'u{i}') for i in range(500)]
        with harness.Server(config(asking(service.url, ask=ask))) as server:
            server.post_ok('trades', events(rows))
            self.finish(server, 1000)
            self.compare(server, rows, lambda _: None)
            self.assertLess(service.total(), 30)
            self.assertEqual(status(server, 'score')['state'], 'broken')
            down[0] = False
            number = iter(range(2000, 10**6))

            def well():
                server.post_ok('trades', events([(next(number), 'b', 'again')]))
                return status(server, 'score')['state'] == 'well'
            harness.wait_until(well, 'the service is well again')

    def test_a_pipeline_stops_where_it_is_told_to(self):
        bad = [400]
        service = self.service(lambda key, _: bad[0] if key == 'bad' and bad else f'{score_of(key)}')
        rows = [(1, 'a', 'x'), (12, 'a', 'bad'), (13, 'b', 'y')]
        server = harness.Server(config(asking(service.url, ask='on_error: stop')))
        self.addCleanup(server.remove_folder)
        self.addCleanup(server.kill)
        server.start()
        server.post_ok('trades', events(rows))
        harness.wait_until(lambda: server.get_json('/api/v1/pipelines/rows')['status']['error'], 'the pipeline stops')
        self.assertIn("analyzer 'score': HTTP status 400; 'on_error: stop'", server.get_json('/api/v1/pipelines/rows')['status']['error'])
        bad.clear()
        server.kill()
        server.start()  # what failed was not written down
        self.finish(server)
        self.compare(server, rows)


SUMS = '''  sums:
    from: rows
    key: [symbol]
    window: {tumbling: 100ms}
    analyzers: [{sum: {of: count}}, {sum: {of: user_score_mean}}]
'''


class Recovery(WithScores):
    """Each answer is another number, so that one that was asked for twice shows."""

    def numbers(self, delay=0.0):
        lock, given = threading.Lock(), []

        def answer(key, _n):
            with lock:
                given.append(key)
                number = len(given)
            return (float(number), delay)
        return self.service(answer)

    def wait_for(self, server, ms):
        server.wait_watermark('rows', (T0 * 1000 + ms) * 1000)
        server.wait_watermark('sums', (T0 * 1000 + ms) * 1000 // 100000 * 100000)

    def check_sums(self, server, n_events):
        """What the child was given is what stands in the table of the parent, which has each event once."""
        sums, count = collections.defaultdict(lambda: [0, 0.0]), 0
        for start, symbol, n, mean, scored in server.rows(
                'SELECT window_start, symbol, count, user_score_mean, user_scored FROM rows ORDER BY 1, 2'):
            s = sums[start // 100000 * 100000, symbol]
            s[0] += n
            s[1] += mean
            count += n
            self.assertEqual(scored, n)
        self.assertEqual(count, n_events)
        have = server.rows('SELECT window_start, symbol, count_sum, user_score_mean_sum FROM sums')
        self.assertEqual({(start, symbol) for start, symbol, _, _ in have}, set(sums))
        for start, symbol, n, mean in have:
            self.assertEqual(n, sums[start, symbol][0])
            self.assertAlmostEqual(mean, sums[start, symbol][1], places=6)

    def test_what_was_answered_is_not_asked_for_again(self):
        service = self.numbers()
        with harness.Server(config(asking(service.url, ask='cache_ttl: 0s'), more=SUMS, checkpoint='1h')) as server:
            for k in range(10):
                server.post_ok('trades', events((20 * k + i, f's{i % 3}', f'u{i % 5}') for i in range(20)))
            self.wait_for(server, 199)
            before, asked = server.rows('SELECT * FROM rows ORDER BY 1, 2'), service.total()
            self.assertGreater(len(before), 0)
            server.kill()
            server.start()
            server.post_ok('trades', events([(1000, 'end', 'end')]))
            self.wait_for(server, 1000)
            self.assertEqual(server.rows('SELECT * FROM rows ORDER BY 1, 2')[:len(before)], before)
            self.assertEqual(service.total(), asked + 1)
            self.check_sums(server, 200)

    def test_killed_at_any_time_rows_and_what_follows_agree(self):
        service = self.numbers(delay=0.005)
        text = config(asking(service.url, ask='cache_ttl: 20ms, in_flight: 8'), more=SUMS, checkpoint='100ms')
        n = 0
        with harness.Server(text) as server:
            for round_ in range(6):
                for _ in range(random.randrange(2, 8)):
                    server.post_ok('trades', events((n + i, f's{random.randrange(3)}', f'u{random.randrange(12)}') for i in range(30)))
                    n += 30
                if round_ % 2:
                    self.wait_for(server, random.randrange(n - 60, n - 20))
                server.kill()
                server.start()
            server.post_ok('trades', events([(n + 1000, 'end', 'end')]))
            self.wait_for(server, n + 1000)
            self.check_sums(server, n)

    def test_answers_are_kept_with_rows(self):
        given, folder = collections.defaultdict(list), harness.folder_for_test(self)
        harness.compile_plugin(folder, 'join_all', WHOLE)

        def answer(key, n):
            given[key].append(f'<{key} {n}>')
            return given[key][-1]
        service = self.service(answer)
        analyzer = f'      - join_all: {{of: user, url: "{service.url}"}}\n        run: async\n        ask: {{cache_ttl: 0s}}\n'
        text = config(analyzer).replace('{folder}/weir.db', '{folder}/weir.db, plugin_path: {folder}')
        with harness.Server(text, folder=folder) as server:
            server.post_ok('trades', events([(0, 'a', 'x'), (1, 'a', 'y')]))
            harness.wait_until(lambda: service.total() == 2, 'they are asked for')
            server.post_ok('trades', events([(2, 'a', 'x')]))
            harness.wait_until(lambda: server.rows('SELECT count(*) FROM weir_checkpoints') != [(0,)], 'a checkpoint')
            server.kill()
            server.start()
            server.post_ok('trades', events([(3, 'a', 'y'), (1000, 'end', 'end')]))
            server.wait_watermark('rows', (T0 * 1000 + 1000) * 1000)
            ((count, text),) = server.rows("SELECT count, \"all\" FROM rows WHERE symbol = 'a'")
            self.assertEqual(count, 4)
            parts = [f'<{part}' for part in text.split('<')[1:]]
            self.assertEqual([part[1] for part in parts], list('xyxy'))
            self.assertEqual([part for part in parts if part not in given[part[1]]], [])

    def test_other_limits_by_sighup_go_on_with_open_windows(self):
        service = self.score()
        rows = [(0, 'a', 'x'), (1, 'a', 'y'), (2, 'a', 'z')]
        with harness.Server(config(asking(service.url))) as server:
            server.post_ok('trades', events(rows[:2]))
            harness.wait_until(lambda: service.total() == 2, 'two are asked for')
            with open(server.path, 'w', encoding='utf-8') as file:
                text = config(asking(service.url, ask='in_flight: 7, timeout: 3s'))
                file.write(text.replace('{listen}', '127.0.0.1:0').replace('{folder}', server.folder))
            server.process.send_signal(signal.SIGHUP)
            harness.wait_until(lambda: any('the configuration was read again' in line for line in server.log), 'it is read')
            server.post_ok('trades', events(rows[2:]))
            self.finish(server)
            self.compare(server, rows)

    def test_a_run_asks_too(self):
        service = self.score()
        folder = harness.folder_for_test(self)
        rows = [(i, f's{i % 3}', f'u{i % 9}') for i in range(300)]
        self.check(folder, config(asking(service.url)))
        done = harness.weir('run', '-c', f'{folder}/weir.yaml', '--stream', 'trades', stdin=events(rows))
        self.assertEqual(done.returncode, 0, done.stderr)
        have = harness.read_rows(f'{folder}/weir.db', f'SELECT window_start, symbol, count, {COLUMNS} FROM rows')
        self.assertEqual({(row[0], row[1]): row[2:] for row in have}, windows(rows, score_of))


# What it does, and what its pipeline says; None: that is allowed.
HOSTILE = {
    'fine': None, 'again': None, 'none': None,
    'no_request': 'ask has made no request',
    'two_requests': 'request: it is for ask, once a call',
    'ask_fails': 'ask says why',
    'ask_positive': 'ask returned 1, and only 0 and what is negative has a meaning',
    'other_url': 'request: the URL is not http or https, or has more than 8192 bytes',
    'bad_header': 'request: a header is not "Name: value" of up to 4096 bytes, or there are more than 32',
    'no_size': 'request: size is sizeof(struct weir_request)',
    'wrong_type': 'put_int: cell 0 is declared as float',
    'wild_cell': 'put_int: there is no cell 5, it declares 5 answers',
    'bad_utf8': 'put_string: the string for cell 3 is not UTF-8 at byte 0',
    'read_fails': 'read says why',
    'read_positive': 'read returned 3, and only 0 and what is negative has a meaning',
}
PLUGIN = r'''
#include <weir/async.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
enum how { WORDS_ENUM, CRASH };
struct config { int how; const char *s, *n, *ok, *url; };
struct state { int64_t rows, ints, bools, texts, times; double total; };
static int how(struct weir_ctx *ctx) { return ((const struct config *)ctx->config)->how; }
static int ask(struct weir_ctx *ctx, const struct weir_cell *v, struct weir_asked *to)
{
    char url[500], user[100], *headers[] = {user, NULL};
    const struct config *c = ctx->config;
    snprintf(url, sizeof(url), "%s/%.*s-%lld-%lld", c->url, (int)v[0].size, v[0].as.s, (long long)v[1].as.i, (long long)v[2].as.i);
    snprintf(user, sizeof(user), how(ctx) == BAD_HEADER ? "X-User" : "X-User: %.*s", (int)v[0].size, v[0].as.s);
    struct weir_request q = {.size = sizeof(q), .url = url, .headers = (const char *const *)headers};
    switch (how(ctx)) {
    case NO_REQUEST: return 0;
    case TWO_REQUESTS: to->request(ctx, to, &q); break;
    case ASK_FAILS: return weir_fail(ctx, "ask says why");
    case ASK_POSITIVE: return 1;
    case OTHER_URL: q.url = "file:///etc/passwd"; break;
    case NO_SIZE: q.size = 0; break;
    case CRASH: abort();
    }
    to->request(ctx, to, &q);
    memset(url, 'x', sizeof(url));
    return 0;
}
static int reply(struct weir_ctx *ctx, const struct weir_reply *r, struct weir_out *out)
{
    char text[200];
    switch (how(ctx)) {
    case AGAIN: if (strcmp(r->body, "again") == 0) return WEIR_AGAIN; break;
    case NONE: weir_fail(ctx, "it says none"); return WEIR_NO_ANSWER;
    case WRONG_TYPE: weir_put_int(ctx, out, 0, 1); return 0;
    case WILD_CELL: weir_put_int(ctx, out, 5, 1); return 0;
    case BAD_UTF8: return weir_put_string(ctx, out, 3, "\xc3(", 2);
    case READ_FAILS: return weir_fail(ctx, "read says why");
    case READ_POSITIVE: return 3;
    }
    int size = snprintf(text, sizeof(text), "%.*s/%s/%d", (int)r->value[0].size, r->value[0].as.s, r->body, r->status);
    weir_put_float(ctx, out, 0, 0.5);
    weir_put_int(ctx, out, 1, r->value[1].as.i);
    weir_put_int(ctx, out, 2, r->value[2].as.i);
    weir_put_int(ctx, out, 4, 1000000 * r->value[1].as.i);
    weir_put_string(ctx, out, 3, text, size);
    memset(text, 'x', sizeof(text));
    return 0;
}
static const struct weir_output answers[] = {
    {"f", WEIR_FLOAT, "f", NULL}, {"i", WEIR_INT, "i", NULL}, {"b", WEIR_BOOL, "b", NULL}, {"s", WEIR_STRING, "s", NULL},
    {"t", WEIR_TIME, "t", NULL}, {0}};
static const struct weir_async async = {sizeof(async), answers, ask, reply};
static inline void step(struct state *s, const struct weir_rows *r, uint32_t row)
{
    size_t size;
    s->rows++;
    if (weir_is_null(r->in[3], row))
        return;
    s->total += weir_number(r->in[3], row);
    s->ints += weir_int(r->in[4], row);
    s->bools += weir_bool(r->in[5], row);
    weir_string(r->in[6], row, &size);
    s->texts += (int64_t)size;
    s->times += weir_int(r->in[7], row);
}
WEIR_STEP(update, struct state, step)
static int emit_one(struct weir_ctx *ctx, const struct state *s, const struct weir_window *w, struct weir_out *out)
{
    weir_put_float(ctx, out, 0, s->total);
    weir_put_int(ctx, out, 1, s->ints);
    weir_put_int(ctx, out, 2, s->bools);
    weir_put_int(ctx, out, 3, s->texts);
    return weir_put_int(ctx, out, 4, s->times);
}
WEIR_EMIT(emit, struct state, emit_one)
#define COLUMN(m, t) {.name = #m, .type = WEIR_PARAM_COLUMN, .flags = WEIR_REQUIRED | WEIR_ASKED, .offset = offsetof(struct config, m), \
    .help = "a column", .column_types = WEIR_TYPES(t)}
static const struct weir_param params[] = {
    COLUMN(s, WEIR_STRING), COLUMN(n, WEIR_INT), COLUMN(ok, WEIR_BOOL),
    {.name = "url", .type = WEIR_PARAM_STRING, .offset = offsetof(struct config, url), .help = "who is asked"},
    {.name = "how", .type = WEIR_PARAM_CHOICE, .offset = offsetof(struct config, how), .choices = "WORDS crash", .help = "what it does"}, {0}};
static const struct weir_output outputs[] = {
    {"floats", WEIR_FLOAT, "f", NULL}, {"ints", WEIR_INT, "i", NULL}, {"bools", WEIR_INT, "b", NULL}, {"texts", WEIR_INT, "s", NULL},
    {"times", WEIR_INT, "t", NULL}, {0}};
static const struct weir_analyzer asks = {.name = "asks", .version = "1", .help = "asks", .params = params, .outputs = outputs,
    .config_size = sizeof(struct config), .state_size = sizeof(struct state), .update = update, .emit = emit, .async = &async};
WEIR_PLUGIN(asks);
'''
OTHERS = '  KIND: {from: trades, key: [symbol], window: {tumbling: 10ms}, idle_timeout: 1h,\n' \
         '    analyzers: [{asks: {s: user, n: n, ok: ok, url: "URL", how: KIND}, run: async, ask: {backoff: 5ms, retries: 5}}]}\n'


# Takes all rows of a window at once: the answers are kept with them.
WHOLE = r'''
#include <weir/async.h>
struct config { const char *of, *url; };
static int ask(struct weir_ctx *ctx, const struct weir_cell *v, struct weir_asked *to)
{
    const struct config *c = ctx->config;
    struct weir_request q = {.size = sizeof(q), .url = c->url, .body = v->as.s, .body_size = v->size};
    return to->request(ctx, to, &q);
}
static int reply(struct weir_ctx *ctx, const struct weir_reply *r, struct weir_out *out)
{
    return weir_put_string(ctx, out, 0, r->body, r->body_size);
}
static const struct weir_output answers[] = {{"s", WEIR_STRING, "s", NULL}, {0}};
static const struct weir_async async = {sizeof(async), answers, ask, reply};
static int whole(struct weir_ctx *ctx, const struct weir_window *w, const struct weir_rows *r, struct weir_out *out)
{
    char text[4096];
    size_t n = 0, size;
    for (size_t i = 0; i < r->n; i++) {
        const char *s = weir_string(r->in[1], (uint32_t)i, &size);
        for (size_t k = 0; k < size && n < sizeof(text); k++)
            text[n++] = s[k];
    }
    return weir_put_string(ctx, out, 0, text, n);
}
static const struct weir_param params[] = {
    {.name = "of", .type = WEIR_PARAM_COLUMN, .flags = WEIR_REQUIRED | WEIR_ASKED, .help = "a column", .column_types = WEIR_TYPES(WEIR_STRING)},
    {.name = "url", .type = WEIR_PARAM_STRING, .offset = offsetof(struct config, url), .help = "who is asked"}, {0}};
static const struct weir_output outputs[] = {{"all", WEIR_STRING, "a text", NULL}, {0}};
static const struct weir_analyzer join = {.name = "join_all", .version = "1", .help = "all answers", .flags = WEIR_WHOLE, .params = params,
    .outputs = outputs, .config_size = sizeof(struct config), .whole = whole, .async = &async};
WEIR_PLUGIN(join);
'''


class Hostile(WithService):
    def setUp(self):
        self.folder = harness.folder_for_test(self)
        words = ' '.join(HOSTILE)
        harness.compile_plugin(self.folder, 'asks', PLUGIN.replace('WORDS_ENUM', ', '.join(HOSTILE).upper()).replace('WORDS', words))

    def start(self, kinds, url, again=None):
        head = HEAD.replace('CHECKPOINT', '1h').replace('{folder}/weir.db', '{folder}/weir.db, plugin_path: {folder}')
        others = ''.join(OTHERS.replace('KIND', kind).replace('URL', again if kind == 'again' else url) for kind in kinds)
        server = harness.Server(head + others, folder=self.folder)
        self.addCleanup(server.kill)
        server.start()
        return server

    def test_each_stops_its_own_pipeline_with_a_text_that_names_it(self):
        service = self.service(lambda key, n: f'<{key}>')
        again = self.service(lambda key, n: f'<{key}>' if n == 2 else 'again')
        server = self.start(HOSTILE, service.url, again.url)
        server.post_ok('trades', trades([(7, 'once'), (8, 'u\u00e9')]) + '\n' + trades([(1000, 'end')]))
        for kind, text in HOSTILE.items():
            with self.subTest(kind):
                if text:
                    harness.wait_until(lambda: server.get_json(f'/api/v1/pipelines/{kind}')['status']['error'], f'{kind} to stop')
                    self.assertEqual(server.get_json(f'/api/v1/pipelines/{kind}')['status']['error'], f"analyzer 'asks': {text}")
                    self.assertEqual(server.rows(f'SELECT * FROM {kind}'), [])
                else:
                    server.wait_watermark(kind, (T0 * 1000 + 1000) * 1000)
        size = {'once': len('once/<once-7-1>/200'), 'u\u00e9': len('u\u00e9/<u\u00e9-8-1>/200'.encode())}
        wanted = [(0.5, 7, 1, size['once'], 7000000), (0.5, 8, 1, size['u\u00e9'], 8000000)]
        for kind in ('fine', 'again'):
            self.assertEqual(server.rows(f'SELECT floats, ints, bools, texts, times FROM {kind} ORDER BY symbol'), wanted)
        self.assertEqual(status(server, 'asks', 'again')['failed_requests'], 6)
        self.assertEqual(server.rows('SELECT floats, texts FROM none'), [(0.0, 0), (0.0, 0)])
        self.assertIn('it says none', status(server, 'asks', 'none')['last_error'])
        self.assertIn(('/once-7-1', 'once'), {(path, headers['X-User']) for _, path, headers in service.keys})
        server.wait_watermark('rows', (T0 * 1000 + 1000) * 1000)
        self.assertEqual(server.rows('SELECT count FROM rows'), [(1,), (1,)])

    def test_one_that_crashes_is_named_and_left_out(self):
        server = self.start(['crash'], 'http://127.0.0.1:1')
        server.post_ok('trades', trades([(7, 'a')]))
        server.process.wait(harness.LIMIT_S)
        server.kill()
        server.start()
        self.assertIn("in pipeline 'crash', analyzer 'asks' at place 1", ''.join(server.log))
        self.assertIn('run: async, which is not for a process of its own', server.get_json('/api/v1/pipelines/crash')['status']['error'])
        server.post_ok('trades', trades([(1000, 'end')]))
        server.wait_watermark('rows', (T0 * 1000 + 1000) * 1000)
        self.assertEqual(server.rows('SELECT count FROM rows'), [(1,)])


class Refused(WithService):
    def test_what_cannot_be(self):
        url = 'http://127.0.0.1:1/'
        for analyzer, more, said in (
                (f'      - score: {{of: user, url: "{url}"}}\n', '', "analyzer 'score' asks other services: it needs 'run: async'"),
                (f'      - score: {{of: user, url: "{url}"}}\n        run: process\n', '', "it needs 'run: async'"),
                (asking('ftp://h/'), '', "url: 'ftp://h/' is not a URL"),
                (asking(url, of='up'), '    derive: {up: upper(user)}\n', "'up' is a column of this pipeline (derive, http_lookup)"),
                (asking(url, of='ok'), '', "'ok' is of type bool, but 'of' of 'score' takes: int, string"),
                ('      - sum: {of: n}\n        run: async\n', '', "'sum' has none: 'run' is 'thread' or 'process'; an 'async def' of Python")):
            with self.subTest(said):
                self.assertIn(said, self.check(harness.folder_for_test(self), config(analyzer, more=more)).stderr)
        child = '''  more:
    from: rows
    key: [symbol]
    window: {tumbling: 100ms}
    analyzers: [{score: {of: symbol, url: "http://h/"}, run: async}]
'''
        self.assertIn("'run: async' is for pipelines that read a stream, and this one reads 'rows'",
                      self.check(harness.folder_for_test(self), config(more=child)).stderr)


if __name__ == '__main__':
    harness.main()
