# SPDX-License-Identifier: Apache-2.0
"""As-of joins: each row has what Python finds in the other stream's events, whoever was faster."""

import bisect
import collections
import json
import os
import random
import select
import signal
import subprocess
import time
import unittest

import harness

S = 1000000
T0 = 1700000000 * S  # a multiple of 10 s
WITHIN, LEAD = 5 * S, S
HEAD = '''
server: {listen: {listen}, database: {folder}/weir.db, commit_interval: 5ms, checkpoint_interval: 20ms,
         segment_size: 1MiB, linger: 1ms}
streams:
  trades: {time: {field: ts, unit: us}, fields: {id: int, symbol: string, venue: int}}
  quotes: {time: {field: ts, unit: us}, fields: {sym: string, bid: float, ask: float, note: string, firm: bool}}
  news: {time: {field: ts, unit: us}, fields: {venue: int, symbol: string, head: string}}
pipelines:
'''
# Rows themselves, and windows by a key that is joined, of several workers; one pipeline joins two streams.
PIPELINES = '''
  rows: {from: trades, window: none, select: [id, bid, ask, note, firm, quoted, spread],
    out_of_orderness: 300ms, idle_timeout: 1h,
    join: {quotes: {on: {symbol: sym}, as_of: true, within: 5s, lead: 1s, out_of_orderness: 200ms,
                    columns: {bid: bid, ask: ask, note: note, firm: firm, quoted: ts}}},
    derive: {spread: ask - bid}}
  both: {from: trades, window: none, select: [id, bid, head], out_of_orderness: 300ms, idle_timeout: 1h, where: bid > 20,
    join: {quotes: {on: {symbol: sym}, as_of: true, within: 5s, out_of_orderness: 200ms, columns: [bid]},
           news: {on: [symbol, venue], as_of: true, within: 20s, out_of_orderness: 200ms, columns: [head]}}}
'''
BY_NOTE = '''
  notes_{w}: {{from: trades, key: [note], window: {{tumbling: 10s}}, workers: {w}, out_of_orderness: 300ms, idle_timeout: 1h,
    join: {{quotes: {{on: {{symbol: sym}}, as_of: true, within: 5s, out_of_orderness: 200ms, columns: [note, bid]}}}},
    analyzers: [count, {{stats: {{of: bid, emit: [min, max]}}}}]}}
'''
WORKERS = (1, 2, 7)
CONFIG = HEAD + PIPELINES + ''.join(BY_NOTE.format(w=w) for w in WORKERS)


def events_of(seed, n):
    """Trades, quotes and news over one time: nearly in order, some too late, many at one time, with a gap."""
    dice = random.Random(seed)
    trades, quotes, news, now = [], [], [], T0
    for i in range(n):
        now += dice.choice((0, 0, 1000, 5000, 30000)) + (7 * S if dice.random() < 0.001 else 0)

        def when():
            return now - (dice.randrange(8 * S) if dice.random() < 0.02 else dice.choice((0, 0, 50000, 150000)))
        symbol = f'S{dice.randrange(12)}ü'
        trades.append({'ts': when(), 'id': i, 'symbol': symbol, 'venue': dice.randrange(3)})
        if dice.random() < 0.05:
            trades[-1]['symbol'] = None
        if dice.random() < 0.5:
            quotes.append({'ts': when(), 'sym': f'S{dice.randrange(14)}ü', 'bid': dice.randrange(1000) / 8,
                           'ask': dice.randrange(1000) / 8 if dice.random() < 0.9 else None,
                           'note': 'n' * dice.randrange(4), 'firm': dice.random() < 0.5})
        if dice.random() < 0.1:
            news.append({'ts': when(), 'symbol': f'S{dice.randrange(12)}ü', 'venue': dice.randrange(3),
                         'head': f'h{dice.randrange(100)}'})
    return {'trades': trades, 'quotes': quotes, 'news': news}


class Model:
    """The rows of the other stream that were not late, by key, and the watermark at each own row."""

    def __init__(self, events, names, others, theirs):
        self.names = names
        newest, self.by_key = -2 ** 63, {}
        for event in others:
            if event['ts'] >= newest - 200000:
                key = tuple(event[name] for name in theirs)
                times, rows = self.by_key.setdefault(key, ([], []))
                place = bisect.bisect_right(times, event['ts'])
                times.insert(place, event['ts'])
                rows.insert(place, event)
            newest = max(newest, event['ts'])
        newest, self.late = -2 ** 63, set()
        self.watermark = []
        for event in events:
            newest = max(newest, event['ts'])
            self.watermark.append(newest - 300000)

    def find(self, i, event, within, lead):
        if event['ts'] < self.watermark[i] - within:
            return {}
        times, rows = self.by_key.get(tuple(event[name] for name in self.names), ((), ()))
        place = bisect.bisect_right(times, event['ts'])
        if place and times[place - 1] >= event['ts'] - within:
            return rows[place - 1]
        if lead and place < len(times) and times[place] <= event['ts'] + lead:
            return rows[place]
        return {}


class AsOf(unittest.TestCase):
    def expected(self, events):
        trades = events['trades']
        quotes = Model(trades, ('symbol',), events['quotes'], ('sym',))
        news = Model(trades, ('symbol', 'venue'), events['news'], ('symbol', 'venue'))
        rows, both, notes = [], [], {}
        for i, trade in enumerate(trades):
            q = quotes.find(i, trade, WITHIN, LEAD)
            firm = q.get('firm')
            spread = None if q.get('ask') is None else q['ask'] - q['bid']
            rows.append((trade['id'], q.get('bid'), q.get('ask'), q.get('note'), None if firm is None else int(firm),
                         q.get('ts'), spread))
            q = quotes.find(i, trade, WITHIN, 0)
            if q and q['bid'] > 20:
                both.append((trade['id'], q['bid'], news.find(i, trade, 20 * S, 0).get('head')))
            start = trade['ts'] // (10 * S) * 10 * S
            if start + 10 * S > quotes.watermark[i] and q:
                notes.setdefault((start, q['note']), []).append(q['bid'])
        return rows, both, sorted((*k, len(v), min(v), max(v)) for k, v in notes.items())

    def check(self, path, expected, until=None):
        rows, both, notes = expected
        self.assertEqual(harness.read_rows(path, 'SELECT id, bid, ask, note, firm, quoted, spread FROM rows ORDER BY id'),
                         rows)
        self.assertEqual(harness.read_rows(path, 'SELECT id, bid, head FROM both ORDER BY id'), both)
        for w in WORKERS:
            found = harness.read_rows(path, f'SELECT window_start, note, count, bid_min, bid_max FROM notes_{w}'
                                      ' ORDER BY 1, 2')
            self.assertEqual(found, [row for row in notes if not until or row[0] + 10 * S <= until])

    @staticmethod
    def is_complete(server, expected):
        rows, both, _ = expected
        counts = [server.rows(f'SELECT count(*) FROM {name}')[0][0] for name in ('rows', 'both')]
        return counts == [len(rows), len(both)]

    def finish(self, server, events, expected):
        """Something later in each stream: all rows are given out, and all windows but the last."""
        end = max(e['ts'] for list_of in events.values() for e in list_of) + 60 * S
        server.post_ok('quotes', [{'ts': end + S, 'sym': '~'}], Weir_Source='one')
        server.post_ok('news', [{'ts': end + S, 'venue': 9}], Weir_Source='one')
        harness.wait_until(lambda: self.is_complete(server, expected), 'all rows')
        server.post_ok('trades', [{'ts': end, 'id': -1}], Weir_Source='one')
        for w in WORKERS:
            server.wait_watermark(f'notes_{w}', end - 300000)
        return end

    def post_mixed(self, server, events, size, dice):
        """Each stream in its order, in requests that come in between each other in any way."""
        left = {name: list_of[:] for name, list_of in events.items()}
        while any(left.values()):
            name = dice.choice([name for name in left if left[name]])
            n = dice.randrange(1, size)
            server.post_ok(name, left[name][:n], Weir_Source='one')
            left[name] = left[name][n:]
            yield

    def test_each_row_has_the_newest_before_it(self):
        for seed, size in ((1, 8), (2, 4000)):
            events = events_of(seed, 1500 if size < 10 else 6000)
            expected = self.expected(events)
            with harness.Server(CONFIG) as server:
                for _ in self.post_mixed(server, events, size, random.Random(seed)):
                    pass
                self.finish(server, events, expected)
                server.stop()
                self.check(server.database, expected)

    def test_one_stream_is_far_ahead(self):
        events = events_of(3, 4000)
        expected = self.expected(events)
        for order in (('trades', 'quotes', 'news'), ('news', 'quotes', 'trades')):
            with harness.Server(CONFIG) as server:
                for name in order:
                    for i in range(0, len(events[name]), 500):
                        server.post_ok(name, events[name][i:i + 500], Weir_Source='one')
                self.finish(server, events, expected)
                server.stop()
                self.check(server.database, expected)

    def test_killed_in_the_middle(self):
        events = events_of(4, 5000)
        expected = self.expected(events)
        dice = random.Random(4)
        with harness.Server(CONFIG) as server:
            for i, _ in enumerate(self.post_mixed(server, events, 300, dice)):
                if i % 12 == 7:
                    if dice.random() < 0.5:
                        harness.wait_until(lambda: server.rows('SELECT count(*) FROM weir_checkpoints'
                                                               " WHERE pipeline = 'rows.quotes' AND position > 0")
                                           [0][0], 'a checkpoint')
                    server.restart()
                if i % 12 == 11:
                    server.stop()
                    server.start()
            self.finish(server, events, expected)
            server.stop()
            self.check(server.database, expected)
            done = harness.weir('check', '--database', server.database)
            self.assertEqual(done.returncode, 0, done.stderr + done.stdout)
            self.assertIn("rows.quotes", done.stdout + done.stderr)

    def test_reload_goes_on_where_it_was(self):
        """The pipelines are exchanged while rows of the one stream wait for the other."""
        events = events_of(8, 3000)
        expected = self.expected(events)
        with harness.Server(CONFIG) as server:
            for i, _ in enumerate(self.post_mixed(server, events, 400, random.Random(8))):
                if i % 5 != 3:
                    continue
                with open(server.path, encoding='utf-8') as file:
                    text = file.read()
                with open(server.path, 'w', encoding='utf-8') as file:
                    file.write(text.replace('idle_timeout: 1h', 'idle_timeout: 2h') if 'idle_timeout: 1h' in text
                               else text.replace('idle_timeout: 2h', 'idle_timeout: 1h'))
                before = ''.join(server.log).count('is exchanged')
                server.process.send_signal(signal.SIGHUP)
                harness.wait_until(lambda: ''.join(server.log).count('is exchanged') == before + 5, 'the reload')
            self.finish(server, events, expected)
            server.stop()
            self.check(server.database, expected)
            self.assertNotIn('level=error', ''.join(server.log))

    def test_a_silent_stream_is_not_waited_for(self):
        quiet = CONFIG.replace('idle_timeout: 1h', 'idle_timeout: 100ms')
        with harness.Server(quiet) as server:
            server.post_ok('trades', [{'ts': T0, 'id': 1, 'symbol': 'A'}])  # nobody has sent quotes yet
            harness.wait_until(lambda: server.rows('SELECT id, bid FROM rows') == [(1, None)], 'the first row')
            server.post_ok('quotes', [{'ts': T0 + 10 * S, 'sym': 'A', 'bid': 2.5}])
            server.post_ok('trades', [{'ts': T0 + 11 * S, 'id': 2, 'symbol': 'A'}])
            harness.wait_until(lambda: server.rows('SELECT id, bid FROM rows') == [(1, None), (2, 2.5)], 'the second row')
            status = server.get_json('/api/v1/pipelines/rows/watermarks')
            self.assertEqual([j['stream'] for j in status['joins']], ['quotes'])

    def test_without_keeps_its_place(self):
        events = events_of(9, 1500)
        expected = self.expected(events)
        with harness.Server(CONFIG) as server:
            for i, _ in enumerate(self.post_mixed(server, events, 300, random.Random(9))):
                if i in (4, 9):
                    server.stop()
                    server.arguments = ['--without', 'rows'] if i == 4 else []
                    server.start()
            self.finish(server, events, expected)
            server.stop()
            self.check(server.database, expected)


class Backfill(unittest.TestCase):
    """Pipelines that come later, and begin with what the journals of all their streams have."""
    BEFORE = HEAD.replace('segment_size: 1MiB', 'segment_size: 1MiB, journal_keep: 256MiB') + ''.join(
        f'  before_{name}: {{from: {name}, window: {{tumbling: 10s}}, idle_timeout: 1h, analyzers: [count]}}\n'
        for name in ('trades', 'quotes', 'news'))
    BACK = '  back: {from: quotes, window: none, select: [bid, id], out_of_orderness: 300ms, idle_timeout: 1h, join: {trades:' \
           ' {on: {sym: symbol}, as_of: true, within: 5s, out_of_orderness: 200ms, columns: [id]}}}\n'
    ADDED = (PIPELINES + ''.join(BY_NOTE.format(w=w) for w in WORKERS) + BACK).replace('idle_timeout: 1h',
                                                                                      'idle_timeout: 1h, backfill: journal')

    def write(self, server, text):
        with open(server.path, 'w', encoding='utf-8') as file:
            file.write(text.replace('{folder}', server.folder).replace('{listen}', '127.0.0.1:0'))

    def reload(self, server, text):
        self.write(server, text)
        before = len(server.log)
        server.process.send_signal(signal.SIGHUP)
        harness.wait_until(lambda: any('the configuration ' in line for line in server.log[before:]), 'the verdict')
        self.assertIn('was read again', ''.join(server.log[before:]))

    def is_behind(self, server):
        states = [p['status'] for p in server.get_json('/api/v1/pipelines')]
        self.assertFalse([s['error'] for s in states if s['error']])
        return any(s['backfilling'] for s in states)

    def test_what_was_before_is_joined_as_it_would_have_been(self):
        """By SIGHUP while events come, or by a start; with kill -9 and exchanges in the middle of the journals."""
        events = events_of(21, 2600)
        expected = AsOf().expected(events)
        trades = Model(events['quotes'], ('sym',), events['trades'], ('symbol',))
        back = [(q['bid'], trades.find(i, q, WITHIN, 0).get('id')) for i, q in enumerate(events['quotes'])]
        for start in (False, True):
            with harness.Server(self.BEFORE) as server:
                requests = AsOf().post_mixed(server, events, 8, random.Random(21))
                for _ in zip(range(850), requests):
                    pass
                if start:
                    server.stop()
                    self.write(server, self.BEFORE + self.ADDED)
                    server.start()
                else:
                    self.reload(server, self.BEFORE + self.ADDED)
                for i in range(3):
                    next(requests)
                    harness.wait_until(lambda: server.rows('SELECT count(*) > ? FROM rows', 300 * i)[0][0], 'rows')
                    if i == 1:
                        self.reload(server, self.BEFORE + self.ADDED.replace('1h', '2h'))
                    else:
                        server.restart()
                for _ in requests:
                    pass
                harness.wait_until(lambda: not self.is_behind(server), 'the pipelines to catch up')
                AsOf().finish(server, events, expected)
                self.assertEqual(server.get_json('/api/v1/pipelines/rows').get('partial'), None)
                server.stop()
                AsOf().check(server.database, expected)
                found = harness.read_rows(server.database, 'SELECT bid, id FROM back WHERE bid IS NOT NULL')
                self.assertEqual(sorted(found, key=repr), sorted(back, key=repr))

    def test_streams_that_are_silent_by_then(self):
        events = events_of(22, 1500)
        rows, both, _ = AsOf().expected(events)
        with harness.Server(self.BEFORE) as server:
            for _ in AsOf().post_mixed(server, events, 50, random.Random(22)):
                pass
            self.reload(server, self.BEFORE + self.ADDED.replace('1h', '100ms'))
            harness.wait_until(lambda: AsOf().is_complete(server, (rows, both, None)), 'all rows')
            found = server.rows('SELECT id, bid, ask, note, firm, quoted, spread FROM rows ORDER BY id')
            self.assertEqual(found, rows)
            self.assertIn("'both' has caught up with 'news'", ''.join(server.log))


# Counts; its states can be read back as long as a file is not there.
FRAGILE = r'''
#include <weir/plugin.h>
#include <unistd.h>
static void step(int64_t *n, const struct weir_rows *r, uint32_t row) { ++*n; }
static int emit_one(struct weir_ctx *c, const int64_t *n, const struct weir_window *w, struct weir_out *o)
{
    return weir_put_int(c, o, 0, *n);
}
static int save(struct weir_ctx *c, const void *state, struct weir_out *o) { return c->host->write(c, o, state, 8); }
static int load(struct weir_ctx *c, void *state, uint32_t version, const void *bytes, size_t size)
{
    if (access("broken", F_OK) == 0)
        return weir_fail(c, "it is broken");
    *(int64_t *)state = *(const int64_t *)bytes;
    return 0;
}
WEIR_STEP(update, int64_t, step)
WEIR_EMIT(emit, int64_t, emit_one)
static const struct weir_output outputs[] = {{"n", WEIR_INT, "rows", NULL}, {.name = NULL}};
static const struct weir_analyzer fragile = {.name = "fragile", .version = "1", .help = "Counts", .outputs = outputs,
    .state_size = 8, .update = update, .emit = emit, .save = save, .load = load};
WEIR_PLUGIN(fragile);
'''


class FailedReload(unittest.TestCase):
    CONFIG = HEAD + '''
  joined: {from: trades, key: [note], window: {tumbling: 1h}, idle_timeout: 1d, out_of_orderness: 1s,
    join: {quotes: {on: {symbol: sym}, as_of: true, within: 1h, out_of_orderness: 0s, columns: [note]}},
    analyzers: [fragile]}
  all_quotes: {from: quotes, window: {tumbling: 1s}, idle_timeout: 1d, out_of_orderness: 0s, analyzers: [count]}
'''

    maxDiff = 500

    def reload(self, server, said):
        with open(server.path, encoding='utf-8') as file:
            text = file.read()
        with open(server.path, 'w', encoding='utf-8') as file:
            file.write(text.replace('idle_timeout: 1d, out_of_orderness: 1s', 'idle_timeout: 2d, out_of_orderness: 1s')
                       if 'idle_timeout: 1d, out_of_orderness: 1s' in text else
                       text.replace('idle_timeout: 2d', 'idle_timeout: 1d'))
        server.process.send_signal(signal.SIGHUP)
        harness.wait_until(lambda: said in ''.join(server.log), said)

    def test_what_it_did_not_read_meanwhile_stays_in_the_journals(self):
        """The pipeline cannot start again for a while, in which the journal of the stream that it joins is trimmed behind
        what other pipelines have stored."""
        folder = harness.folder_for_test(self)
        harness.compile_plugin(folder, 'fragile', FRAGILE)
        server = harness.Server(self.CONFIG, folder=folder, WEIR_PLUGIN_PATH=f'{folder}:{harness.plugin_path()}')
        self.addCleanup(server.kill)
        server.start()
        server.post_ok('quotes', [{'ts': T0, 'sym': 'A', 'note': 'first'}, {'ts': T0 + S, 'sym': 'Z'}])
        server.post_ok('trades', [{'ts': T0, 'id': 1, 'symbol': 'A'}])
        harness.wait_until(lambda: server.rows("SELECT 1 FROM weir_checkpoints WHERE pipeline = 'joined' AND groups > 0"),
                           'a checkpoint with a group')
        open(os.path.join(folder, 'broken'), 'wb').close()
        self.reload(server, 'it is broken')
        quotes = [{'ts': T0 + 2 * S + 1000 * i, 'sym': f'S{i}', 'note': 'abcdefg'[i % 7] * 2000} for i in range(2000)]
        for i in range(0, len(quotes), 250):
            server.post_ok('quotes', quotes[i:i + 250])
        server.post_ok('quotes', [{'ts': T0 + 100 * S, 'sym': 'Z'}])
        server.wait_watermark('all_quotes', T0 + 100 * S)
        last = server.post_ok('quotes', [{'ts': T0 + 100 * S, 'sym': 'Z'}])['position']
        harness.wait_until(lambda: server.rows("SELECT 1 FROM weir_checkpoints WHERE pipeline = 'all_quotes'"
                                               f' AND position >= {last}'), 'a checkpoint of the other pipeline')
        os.remove(os.path.join(folder, 'broken'))
        self.reload(server, "'joined' is exchanged")
        server.post_ok('trades', [{'ts': T0 + 10 * S, 'id': i, 'symbol': q['sym']} for i, q in enumerate(quotes)])
        server.post_ok('trades', [{'ts': T0 + 7200 * S, 'id': -1}])
        server.post_ok('quotes', [{'ts': T0 + 7202 * S, 'sym': 'Z'}])
        server.wait_watermark('joined', T0 + 7199 * S)
        expected = sorted(collections.Counter(['first', *(q['note'] for q in quotes)]).items())
        self.assertEqual(server.rows('SELECT note, n FROM joined ORDER BY note'), expected)
        self.assertEqual(server.get_json('/api/v1/pipelines/joined').get('partial'), None)


class Limits(unittest.TestCase):
    """Who is ahead is not read any more, is refused once its log is full, and goes on when the other one has come."""
    ROWS = 50000  # of a request
    HELD = 100000 + 6 * 65536  # in the log, in the mailbox of the pipeline, and on their way
    HEAD = (HEAD.replace('segment_size: 1MiB', 'queue_events: 100000, queue_wait: 300ms')
            .replace('checkpoint_interval: 20ms', 'checkpoint_interval: 1h'))
    REST = ', window: {tumbling: 10s}, out_of_orderness: 0s, idle_timeout: 1h, analyzers: [%s]}\n'
    JOINED = HEAD + '  p: {from: trades, join: {quotes: {on: {symbol: sym}, as_of: true, within: 1h, columns: [bid]}}' + \
        REST % 'count, {stats: {of: bid, emit: [min, max]}}'
    TOGETHER = HEAD + '  p: {from: [trades, quotes]' + \
        REST % '{sql: "SELECT (SELECT count(*) FROM trades) AS trades, (SELECT count(*) FROM quotes) AS quotes"}'

    def fill(self, server, stream, event, least, rows=ROWS):
        """So many are taken, whatever is refused meanwhile; returns how many were when one is refused behind that. `event` may be a
        function of a number."""
        body, taken = '', 0
        deadline = time.monotonic() + harness.LIMIT_S
        while time.monotonic() < deadline:
            if callable(event):
                body = ''.join(json.dumps(event(i)) + '\n' for i in range(taken, taken + rows))
            body = body or (json.dumps(event) + '\n') * rows
            answer = server.post(stream, body)
            if answer.status == 200:
                taken += rows
            elif taken >= least:
                self.assertEqual(answer.status, 429, answer.body)
                return taken
            self.assertLessEqual(taken, least + self.HELD)
        self.fail(f'{taken} events were taken')

    def post(self, server, stream, event):
        harness.wait_until(lambda: server.post(stream, [event]).status == 200, f'room in {stream}')

    def test_events_that_wait(self):
        with harness.Server(self.JOINED) as server:
            trades = self.fill(server, 'trades', {'ts': T0 + S, 'symbol': 'A'}, 1000000)
            self.assertEqual(server.rows('SELECT * FROM p'), [])
            server.post_ok('quotes', [{'ts': T0, 'sym': 'A', 'bid': 2.5}, {'ts': T0 + 60 * S, 'sym': 'A', 'bid': 3.5}])
            self.post(server, 'trades', {'ts': T0 + 20 * S, 'symbol': 'A'})
            server.wait_watermark('p', T0 + 20 * S)
            self.assertEqual(server.rows('SELECT count, bid_min, bid_max FROM p'), [(trades, 2.5, 2.5)])

    @unittest.skipUnless(os.environ.get('WEIR_LONG') == '1', 'four million events; ./dev hard')
    def test_events_that_are_remembered(self):
        with harness.Server(self.JOINED) as server:
            server.post_ok('trades', [{'ts': T0, 'symbol': 'A'}])
            self.fill(server, 'quotes', {'ts': T0 + S, 'sym': 'A', 'bid': 2.5}, 4000000)
            self.post(server, 'trades', {'ts': T0 + 10 * 3600 * S, 'symbol': 'A'})  # finds none, and those are forgotten
            self.post(server, 'quotes', {'ts': T0 + 10 * 3600 * S + 1, 'sym': 'A', 'bid': 3.5})
            server.wait_watermark('p', T0 + 10 * 3600 * S)
            self.assertEqual(server.rows('SELECT count, bid_min FROM p'), [(1, None)])

    def check_bytes(self, event, size):
        """512 MiB at most, of rings that double: no less than a quarter of that are rows."""
        joined = self.JOINED.replace('columns: [bid]', 'columns: [bid, note]')
        with harness.Server(joined) as server:
            server.post_ok('trades', [{'ts': T0, 'symbol': 'A'}])
            taken = self.fill(server, 'quotes', event, (128 << 20) // size, 5000)
            self.assertLess(taken * size, 768 << 20)
            self.assertLess(harness.peak_memory_bytes(server.process.pid), 1536 << 20)
            self.post(server, 'trades', {'ts': T0 + 10 * 3600 * S, 'symbol': 'A'})  # finds none, and those are forgotten
            self.post(server, 'quotes', {'ts': T0 + 10 * 3600 * S + 1, 'sym': 'A', 'bid': 3.5})
            server.wait_watermark('p', T0 + 10 * 3600 * S)
            self.assertEqual(server.rows('SELECT count, bid_min FROM p'), [(1, None)])

    @unittest.skipUnless(os.environ.get('WEIR_LONG') == '1', 'hundreds of megabytes; ./dev hard')
    def test_texts_that_are_remembered(self):
        self.check_bytes({'ts': T0 + S, 'sym': 'A', 'bid': 2.5, 'note': 'x' * 4000}, 4000)

    @unittest.skipUnless(os.environ.get('WEIR_LONG') == '1', 'hundreds of megabytes; ./dev hard')
    def test_keys_that_are_remembered(self):
        self.check_bytes(lambda i: {'ts': T0 + S, 'sym': f'{i:04000d}', 'bid': 2.5}, 4000)

    @unittest.skipUnless(os.environ.get('WEIR_LONG') == '1', 'a million events in a statement; ./dev hard')
    def test_events_of_several_streams(self):
        with harness.Server(self.TOGETHER) as server:
            self.post(server, 'quotes', {'ts': T0, 'sym': 'A'})
            self.post(server, 'trades', {'ts': T0, 'symbol': 'A'})
            trades = self.fill(server, 'trades', {'ts': T0 + S, 'symbol': 'A'}, 1000000)
            self.post(server, 'quotes', {'ts': T0 + 20 * S, 'sym': 'A'})
            self.post(server, 'trades', {'ts': T0 + 20 * S, 'symbol': 'A'})
            server.wait_watermark('p', T0 + 20 * S)
            self.assertEqual(server.rows('SELECT trades, quotes FROM p_sql'), [(trades + 1, 1)])


class Run(unittest.TestCase):
    def run_files(self, folder, events, *more):
        with open(os.path.join(folder, 'weir.yaml'), 'w', encoding='utf-8') as file:
            file.write(CONFIG.replace('{folder}', folder).replace('{listen}', '127.0.0.1:0'))
        arguments = []
        for name, list_of in events.items():
            path = os.path.join(folder, f'{name}.ndjson')
            with open(path, 'w', encoding='utf-8') as file:
                file.writelines(json.dumps(event) + '\n' for event in list_of)
            arguments += ['--stream', f'{name}={path}']
        return harness.weir('run', '-q', '-c', os.path.join(folder, 'weir.yaml'), *arguments, *more)

    def test_files_of_several_streams(self):
        folder = harness.folder_for_test(self)
        events = events_of(5, 20000)
        done = self.run_files(folder, events)
        self.assertEqual(done.returncode, 65, done.stderr)  # some were too late
        self.assertIn('came too late to be joined', done.stderr)
        rows, both, _ = AsOf().expected(events)
        path = os.path.join(folder, 'weir.db')
        self.assertEqual(harness.read_rows(path, 'SELECT id, bid, ask, note, firm, quoted, spread FROM rows ORDER BY id'),
                         rows)
        self.assertEqual(harness.read_rows(path, 'SELECT id, bid, head FROM both ORDER BY id'), both)

    def test_texts_that_no_batch_holds_are_told(self):
        """A note of 40,000 bytes stands in each of 20,000 rows: more than the 64 MiB of a column of a batch."""
        folder = harness.folder_for_test(self)
        quote = {'ts': T0, 'sym': 'A', 'bid': 1.0, 'ask': 2.0, 'note': 'y' * 40000, 'firm': True}
        trades = [{'ts': T0 + 1 + i, 'id': i, 'symbol': 'A', 'venue': 1} for i in range(20000)]
        with open(os.path.join(folder, 'cut.yaml'), 'w', encoding='utf-8') as file:
            file.write(HEAD.replace('{folder}', folder).replace('{listen}', '127.0.0.1:0') + '''
  cut: {from: trades, window: {tumbling: 10s}, join: {quotes: {on: {symbol: sym}, as_of: true, within: 5s, columns: [note]}},
        analyzers: [count, {count: {where: note IS NULL, as: nulls}}]}
''')
        for name, events in (('trades', trades), ('quotes', [quote])):
            with open(os.path.join(folder, name + '.ndjson'), 'w', encoding='utf-8') as file:
                file.writelines(json.dumps(event) + '\n' for event in events)
        done = harness.weir('run', '-q', '-c', os.path.join(folder, 'cut.yaml'),
                            *(f'--stream={name}={folder}/{name}.ndjson' for name in ('trades', 'quotes')))
        self.assertEqual(done.returncode, 65, done.stderr)
        rows, nulls = harness.read_rows(os.path.join(folder, 'weir.db'), 'SELECT sum(count), sum(nulls) FROM cut')[0]
        self.assertEqual(rows, len(trades))
        self.assertGreater(nulls, 1000)
        self.assertIn(f'{nulls} joined texts are null', done.stderr)

    def test_stopped_while_it_waits_for_another_file(self):
        """The one pipe is full of trades, the other gives nothing and does not end."""
        folder = harness.folder_for_test(self)
        config = os.path.join(folder, 'weir.yaml')
        with open(config, 'w', encoding='utf-8') as file:
            file.write(CONFIG.replace('{folder}', folder).replace('{listen}', '127.0.0.1:0'))
        pipes = {name: os.pipe() for name in ('trades', 'quotes', 'news')}
        process = subprocess.Popen(
            [harness.WEIR, 'run', '-q', '--format', 'ndjson', '-c', config, *(f'--stream={name}=/dev/fd/{ends[0]}' for name, ends in pipes.items())],
            pass_fds=[ends[0] for ends in pipes.values()], stderr=subprocess.PIPE, text=True,
            env=harness.environment())
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        for ends in pipes.values():
            os.close(ends[0])
            self.addCleanup(os.close, ends[1])
        lines = (json.dumps({'ts': T0, 'id': 1, 'symbol': 'S1', 'venue': 1}) + '\n').encode() * 1000
        into, at, written = pipes['trades'][1], 0, 0
        os.set_blocking(into, False)
        # Once it has begun to read, it takes nothing more at last.
        while select.select([], [into], [], harness.LIMIT_S / 30 if written > 1 << 20 else harness.LIMIT_S)[1]:
            written += (n := os.write(into, lines[at:]))
            at = (at + n) % len(lines)
        process.terminate()
        self.assertEqual(process.wait(harness.LIMIT_S), 1)
        self.assertIn('stopped', process.stderr.read())
        process.stderr.close()

    def test_an_empty_stream(self):
        folder = harness.folder_for_test(self)
        events = events_of(6, 500)
        events['quotes'] = []
        done = self.run_files(folder, events)
        path = os.path.join(folder, 'weir.db')
        self.assertEqual(harness.read_rows(path, 'SELECT count(*), count(bid), count(spread) FROM rows'), [(500, 0, 0)])
        self.assertEqual(harness.read_rows(path, 'SELECT count(*) FROM notes_1'), [(0,)], done.stderr)

    def test_a_stream_is_missing(self):
        folder = harness.folder_for_test(self)
        events = events_of(7, 10)
        del events['news']
        done = self.run_files(folder, events)
        self.assertEqual(done.returncode, 64)
        self.assertIn("pipeline 'both' joins 'trades' with 'news': --stream trades=FILE", done.stderr)


class Manual(unittest.TestCase):
    def test_the_example_of_the_manual(self):
        with open(os.path.join(harness.SOURCE, 'docs', 'weir.yaml.5'), encoding='utf-8') as file:
            page = file.read()
        at = page.index('  effective_spread:')
        folder = harness.folder_for_test(self)
        with open(os.path.join(folder, 'weir.yaml'), 'w', encoding='utf-8') as file:
            file.write(page[page.rindex('server:', 0, at):page.index('.Ed', at)])
        dice = random.Random(10)
        quotes = [{'ts': T0 // 1000 + 40 * i, 'symbol': dice.choice('ABC'), 'bid': dice.randrange(100) / 4,
                   'ask': dice.randrange(100) / 4} for i in range(3000)]
        trades = [{'ts': T0 // 1000 + 13 * i, 'symbol': dice.choice('ABCD'), 'price': dice.randrange(100) / 4}
                  for i in range(9000)]
        arguments = []
        for name, events in (('trades', trades), ('quotes', quotes)):
            with open(os.path.join(folder, name + '.ndjson'), 'w', encoding='utf-8') as file:
                file.writelines(json.dumps(event) + '\n' for event in events)
            arguments += ['-s', f'{name}={name}.ndjson']
        done = harness.weir('run', '-c', 'weir.yaml', *arguments, cwd=folder)
        self.assertEqual(done.returncode, 0, done.stderr)
        # Of a trade at the time of a quote or behind it, the newest of its symbol: the shell's own join.
        script = '''
.import --csv trades.csv trades
.import --csv quotes.csv quotes
CREATE INDEX by_symbol ON quotes (symbol, CAST(ts AS INTEGER));
.mode list
.separator ,
SELECT ts / 10000 * 10000000, symbol, count(*), max(spread) FROM (SELECT t.ts, t.symbol, 2 * abs(t.price - (q.bid + q.ask) / 2) AS spread
  FROM trades t JOIN quotes q ON q.rowid = (SELECT rowid FROM quotes i WHERE i.symbol = t.symbol
    AND CAST(i.ts AS INTEGER) <= CAST(t.ts AS INTEGER) AND CAST(i.ts AS INTEGER) >= t.ts - 5000 ORDER BY CAST(i.ts AS INTEGER) DESC LIMIT 1))
  GROUP BY 1, 2 ORDER BY 1, 2;
'''
        for name, events in (('trades', trades), ('quotes', quotes)):
            with open(os.path.join(folder, name + '.csv'), 'w', encoding='utf-8') as file:
                file.write(','.join(events[0]) + '\n')
                file.writelines(','.join(str(v) for v in event.values()) + '\n' for event in events)
        lines = harness.sqlite3_shell(script, folder).split()
        want = [(int(w), s, int(n), float(m)) for w, s, n, m in (line.split(',') for line in lines)]
        self.assertEqual(harness.read_rows(os.path.join(folder, 'spreads.db'), 'SELECT window_start, symbol, spread_count,'
                                           ' spread_max FROM effective_spread ORDER BY 1, 2'), want)


if __name__ == '__main__':
    harness.main()
