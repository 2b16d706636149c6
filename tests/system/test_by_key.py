# SPDX-License-Identifier: Apache-2.0
"""Windows that depend on the rows of a key - session, until, count, global -, and none, held against models in Python that
go event by event and forget nothing: whatever the requests, the workers, and a kill -9 in the middle."""

import collections
import itertools
import json
import math
import os
import random
import re
import unittest

import harness

T0 = -40000000  # us: the first events are before 1970
ORDER = 300000  # out_of_orderness
GAP, LATENESS, MAX = 1000000, 2500000, 3000000
BORDER, EXPIRE = 1000000, 4000000
EVENTS = 4000
STREAMS = {'small': 1000, 'large': 1000000}  # bytes of a request
COMMON = 'key: [key], out_of_orderness: 300ms, idle_timeout: off'
REVISE = 'late: revise, allowed_lateness: 2500ms'
KINDS = {
    'session': 'window: {session: 1s}',
    'session_side': 'window: {session: 1s}, late: side',
    'session_revise': f'window: {{session: 1s}}, {REVISE}',
    'session_max': 'window: {session: 1s, max: 3s}',
    'session_max_revise': f'window: {{session: 1s, max: 3s}}, {REVISE}',
    'until': 'window: {until: stop}',
    'until_side': 'window: {until: stop}, late: side',
    'until_revise': f'window: {{until: stop}}, {REVISE}',
    'count': 'window: {count: 5}',
    'count_by': 'window: {count: 6, by: 4}',
    'count_expire': 'window: {count: 5, expire: 2s}',
    'count_by_expire': 'window: {count: 6, by: 4, expire: 2s}',
    'running_expire': 'window: {count: 3, running: true, expire: 2s}',
    'running': 'window: {count: 3, running: true}',
    'each': 'window: {count: 1, running: true}',
    'global': 'window: {global: 1s}',
    'global_expire': 'window: {global: 1s, expire: 4s}',
}
CONFIG = '''
server: {listen: {listen}, database: {folder}/weir.db, checkpoint_interval: 50ms}
streams:
''' + ''.join(f'''
  {name}: {{time: {{field: ts, unit: us}}, fields: {{key: string, qty: int, stop: int}}}}
''' for name in STREAMS) + '''
pipelines:
''' + ''.join(f'''
  {stream}_{kind}_{workers}: {{from: {stream}, {COMMON}, {window}, workers: {workers},
    analyzers: [count, {{stats: {{of: qty, emit: [sum]}}}}, {{topk: {{of: qty, k: 1}}}}]}}
''' for stream in STREAMS for workers in (1, 2, 7) for kind, window in KINDS.items()) + ''.join(f'''
  {stream}_none: {{from: {stream}, where: qty > 2, window: none, select: [key, stop, qty], idle_timeout: off}}
''' for stream in STREAMS)


def make_events(seed, n=EVENTS):
    """Twenty keys whose rows come in bursts with gaps, some at equal times; one in ten up to five seconds behind."""
    dice = random.Random(seed)
    quiet = {f'k{i}': 0 for i in range(20)}
    events = []
    for i in range(n):
        now = T0 + 20000 * i
        key = dice.choice([k for k in quiet if quiet[k] <= now] or list(quiet))
        if dice.random() < 0.05:
            quiet[key] = now + dice.randrange(4 * GAP)
        behind = dice.randrange(5000000) if dice.random() < 0.1 else dice.randrange(ORDER)
        ts = now - behind
        if dice.random() < 0.02:
            events.append(dict(events[-1]) if events else dict(ts=ts, key=key, qty=0, stop=None))
            continue
        stop = ts + dice.randrange(-100000, 3000000) if dice.random() < 0.8 else None
        events.append(dict(ts=ts, key=key, qty=dice.randrange(10), stop=stop))
    return events


class Window:
    def __init__(self, start, end, floor=-math.inf):
        self.start, self.end, self.floor = start, end, floor
        self.first = self.last = start
        self.revision = 0
        self.rows = []


class Model:
    """Goes through the events; the watermark at each is the newest time so far less the disorder allowed."""

    def __init__(self, events):
        self.late, self.revised, self.no_until = [], 0, 0
        self.windows = collections.defaultdict(list)
        newest = -math.inf
        for i, e in enumerate(events):
            newest = max(newest, e['ts'])
            self.watermark = newest - ORDER
            self.take(i, e)

    def results(self):
        """Those whose windows have ended: start, key, end, revision, rows."""
        return [(w.start, key, w.end, w.revision, w.rows) for key, list_of_key in self.windows.items()
                for w in list_of_key if w.end <= self.watermark]


class Sessions(Model):
    def __init__(self, events, lateness=0, longest=math.inf):
        self.lateness, self.longest = lateness, longest
        super().__init__(events)

    def dead(self, w):
        return w.end + self.lateness <= self.watermark

    def fits(self, w, ts):
        first, last = min(w.first, ts), max(w.last, ts)
        return ts + GAP > w.first and ts < w.last + GAP and last - first < self.longest

    def add(self, w, ts):
        w.first, w.last = min(w.first, ts), max(w.last, ts)
        w.start, w.end = w.first, min(w.last + GAP, w.first + self.longest)

    def take(self, i, e):
        ts, mine = e['ts'], self.windows[e['key']]
        alive = sorted((w for w in mine if not self.dead(w) and self.fits(w, ts)), key=lambda w: -w.first)[:2]
        dead = any(self.dead(w) and w.first < ts + GAP and ts < w.end for w in mine)
        if dead and not any(w.first <= ts for w in alive):
            self.late.append(i)
            return
        if not alive:
            w = Window(ts, ts + GAP, self.watermark - GAP - self.lateness)
            if self.dead(w):
                self.late.append(i)
                return
            mine.append(w)
        else:
            w = alive[0]
            merged = len(alive) == 2 and max(w.last, alive[1].last, ts) - min(alive[1].first, ts) < self.longest
            if len(alive) == 2 and not merged and ts < w.first and alive[1].first <= ts <= alive[1].last:
                alive = [alive[1]]
            w = alive[0]
        first = alive[1] if alive and merged else w
        if ts < min(first.first, first.floor):
            self.late.append(i)
            return
        late = any(x.end <= self.watermark for x in (alive if alive and merged else [w]))
        self.revised += late
        if alive and merged:
            into = alive[1]
            into.rows += w.rows
            into.revision += w.revision
            self.add(into, w.first)
            self.add(into, w.last)
            mine.remove(w)
            w = into
        w.revision += late
        w.rows.append(e)
        self.add(w, ts)


class Untils(Model):
    """Windows of a key, in order; `least` is where earlier ones may have ended when one began."""

    def __init__(self, events, lateness=0):
        self.lateness = lateness
        super().__init__(events)

    def take(self, i, e):
        ts, mine = e['ts'], self.windows[e['key']]
        alive = [w for w in mine if w.end + self.lateness > self.watermark and ts < w.end]
        if alive:
            w = min(alive, key=lambda w: w.end)
            if ts < min(w.first, w.least):
                self.late.append(i)
                return
            w.start = max(min(w.start, ts), w.least)
        elif e['stop'] is None or e['stop'] <= ts:
            self.no_until += 1
            return
        else:
            least = max([self.watermark - self.lateness, *(w.end for w in mine)])
            w = Window(max(ts, least), e['stop'])
            w.first, w.least = ts, least
            if w.end + self.lateness <= self.watermark:
                self.late.append(i)
                return
            mine.append(w)
        late = w.end <= self.watermark
        w.revision += late
        self.revised += late
        w.rows.append(e)


def counts(events, rows, by):
    by_key = collections.defaultdict(list)
    for e in events:
        by_key[e['key']].append(e)
    found = []
    for key, mine in by_key.items():
        for number, first in enumerate(range(0, len(mine) - rows + 1, by), 1):
            part = mine[first:first + rows]
            found.append((min(e['ts'] for e in part), key, number, max(e['ts'] for e in part) + 1, part))
    return found


def running(events, rows):
    """A result every so many rows of a key, of all that it has had."""
    by_key = collections.defaultdict(list)
    for e in events:
        by_key[e['key']].append(e)
    found = []
    for key, mine in by_key.items():
        for number, end in enumerate(range(rows, len(mine) + 1, rows), 1):
            times = [e['ts'] for e in mine[end - rows:end]]
            found.append((min(times), key, number, max(times) + 1, mine[:end]))
    return found


def lives(events, expire=2000000, order=ORDER):
    """The events of keys between the times at which they are forgotten, each a list of its own; and how many are late: they
    might lie before windows that nobody remembers."""
    alive, found, newest, late = {}, [], -math.inf, 0
    for e in events:
        newest = max(newest, e['ts'])
        mine = alive.get(e['key'])
        if mine and max(x['ts'] for x in mine) + expire <= newest - order:
            mine = None
        if not mine and e['ts'] + expire <= newest - order:
            alive.pop(e['key'], None)
            late += 1
            continue
        if not mine:
            mine = alive[e['key']] = []
            found.append(mine)
        mine.append(e)
    return found, late


def globals_of(events, expire=math.inf, order=ORDER, every=BORDER):
    """What the table has: key to (revision, border, rows). The watermark goes border by border, whatever the events."""
    groups, changed, table, border, newest = {}, set(), {}, None, -math.inf
    revision = collections.Counter()
    for e in events:
        newest = max(newest, e['ts'])
        reached = (newest - order) // every * every
        while border is None or border < reached:
            border = reached if border is None else border + every
            for key in changed:
                table[key] = (revision[key], border, list(groups[key]))
                revision[key] += 1
            changed = set()
            for key in [k for k, rows in groups.items() if max(r['ts'] for r in rows) + expire <= border]:
                del groups[key], table[key], revision[key]
        groups.setdefault(e['key'], []).append(e)
        changed.add(e['key'])
    return table


def top(rows):
    value, n = min(collections.Counter(e['qty'] for e in rows).items(), key=lambda item: (-item[1], item[0]))
    return value, n


def numbers(rows):
    return len(rows), sum(e['qty'] for e in rows)


class ByKey(unittest.TestCase):
    maxDiff = 2000

    @classmethod
    def setUpClass(cls):
        cls.events = make_events(7)
        cls.server = harness.Server.for_class(cls, CONFIG)
        for stream, size in STREAMS.items():
            cls.send(stream, size)
        newest = max(e['ts'] for e in cls.events)
        for pipeline in cls.server.get_json('/api/v1/pipelines'):  # a slow server's end does not wait for them
            cls.server.wait_watermark(pipeline['name'], newest - ORDER)
        cls.server.stop()

    @classmethod
    def send(cls, stream, size):
        """In requests of about so many bytes, with a kill -9 in the middle where there are several."""
        requests, body = [], ''
        for e in cls.events:
            body += json.dumps(e) + '\n'
            if len(body) >= size:
                requests.append(body)
                body = ''
        requests.append(body)
        for i, body in enumerate(requests):
            if i in (len(requests) // 3, len(requests) // 2, len(requests) - 3) and len(requests) > 3:
                cls.server.kill()
                cls.server.start()
            cls.server.post_ok(stream, body, **{'Weir-Source': 'one'})

    @harness.one_connection()
    def check(self, kind, columns, expected, tops=None, top_columns=''):
        """Of the tables of all pipelines of the kind; `kind` may end in _late."""
        for stream in STREAMS:
            for workers in (1, 2, 7):
                pipeline, *late = kind.split('_late')
                table = '_'.join([stream, pipeline, str(workers), *(['late'] if late else [])])
                with self.subTest(table):
                    self.assertEqual(sorted(self.server.rows(f'SELECT {columns} FROM {table}')), sorted(expected))
                    if tops is not None:
                        self.assertEqual(sorted(self.server.rows(
                            f'SELECT {top_columns}, qty, qty_count FROM {table}_topk')), sorted(tops))

    def check_ended(self, kind, model, revision=False):
        what = 'window_start, key, window_end' + (', revision' if revision else '')
        found = model.results()
        self.assertGreater(len(found), 100)
        key = [(start, name, end, *([r] if revision else [])) for start, name, end, r, _ in found]
        self.check(kind, f'{what}, count, qty_sum', [k + numbers(f[4]) for k, f in zip(key, found)],
                   [k + top(f[4]) for k, f in zip(key, found)], what)

    def check_late(self, kind, model, end_of):
        late = [self.events[i] for i in model.late]
        self.assertGreater(len(late), 20)
        self.check(kind + '_late', 'window_start, key, qty, window_end',
                   [(e['ts'], e['key'], e['qty'], end_of(e)) for e in late])

    # ---- Sessions ---------------------------------------------------------------------------------

    def test_rows_closer_than_the_gap_are_one_session(self):
        self.check_ended('session', Sessions(self.events))

    def test_late_rows_of_sessions_go_aside(self):
        model = Sessions(self.events)
        self.check_ended('session_side', model)
        self.check_late('session_side', model, lambda e: e['ts'] + GAP)

    def test_a_late_row_extends_joins_and_replaces_sessions(self):
        model = Sessions(self.events, LATENESS)
        self.assertGreater(model.revised, 100)
        self.check_ended('session_revise', model, True)

    def test_no_session_is_longer_than_max(self):
        model = Sessions(self.events, longest=MAX)
        self.assertEqual(max(end - start for start, _, end, _, _ in model.results()), MAX)
        self.check_ended('session_max', model)
        self.check_ended('session_max_revise', Sessions(self.events, LATENESS, MAX), True)

    # ---- Until ------------------------------------------------------------------------------------

    def test_a_window_ends_when_its_first_row_says(self):
        self.check_ended('until', Untils(self.events))
        self.check_ended('until_revise', Untils(self.events, LATENESS), True)

    def test_late_rows_of_until_go_aside(self):
        self.check_late('until_side', Untils(self.events),
                        lambda e: e['ts'] + 1 if e['stop'] is None else e['stop'])

    # ---- None --------------------------------------------------------------------------------------

    def test_rows_are_kept_once_in_the_order_of_the_log(self):
        expected = [(e['ts'], e['key'], e['qty'], e['stop']) for e in self.events if e['qty'] > 2]
        for stream in STREAMS:
            self.assertEqual(self.server.rows(f'SELECT ts, key, qty, stop FROM {stream}_none ORDER BY position, row'),
                             expected)

    # ---- Count and global --------------------------------------------------------------------------

    def test_so_many_rows_are_a_window(self):
        for kind, rows, by in (('count', 5, 5), ('count_by', 6, 4)):
            found = counts(self.events, rows, by)
            self.check(kind, 'window_start, key, number, window_end, count, qty_sum',
                       [(*f[:4], *numbers(f[4])) for f in found], [(*f[:4], *top(f[4])) for f in found],
                       'window_start, key, number, window_end')

    def test_states_of_running_windows_go_on(self):
        for kind, rows in (('running', 3), ('each', 1)):
            found = running(self.events, rows)
            self.check(kind, 'window_start, key, number, window_end, count, qty_sum',
                       [(*f[:4], *numbers(f[4])) for f in found], [(*f[:4], *top(f[4])) for f in found],
                       'window_start, key, number, window_end')

    def test_keys_by_count_are_forgotten_with_what_they_have_not_filled(self):
        alive, late = lives(self.events)
        self.assertGreater(len(alive), 40)
        self.assertGreater(late, 0)
        for kind, windows in (('count_expire', lambda life: counts(life, 5, 5)), ('count_by_expire', lambda life: counts(life, 6, 4)),
                              ('running_expire', lambda life: running(life, 3))):
            found = [f for life in alive for f in windows(life)]
            self.check(kind, 'window_start, key, number, window_end, count, qty_sum',
                       [(*f[:4], *numbers(f[4])) for f in found], [(*f[:4], *top(f[4])) for f in found],
                       'window_start, key, number, window_end')

    def test_a_window_for_ever_is_given_out_again_and_again(self):
        for kind, expire in (('global', math.inf), ('global_expire', EXPIRE)):
            table = globals_of(self.events, expire)
            self.check(kind, 'window_start, key, revision, window_end, count, qty_sum',
                       [(0, key, revision, border, *numbers(rows)) for key, (revision, border, rows) in table.items()],
                       [(key, revision, border, *top(rows)) for key, (revision, border, rows) in table.items()],
                       'key, revision, window_end')


class Silence(unittest.TestCase):
    def test_windows_end_in_silence_and_say_until_when_they_are_open(self):
        config = '''
            server: {listen: {listen}, database: {folder}/weir.db, commit_interval: 5ms}
            streams: {s: {time: {field: at, unit: ms}, fields: {key: string, stop: time}}}
            pipelines:
              session: {from: s, key: key, window: {session: 400ms}, idle_timeout: 50ms, analyzers: [count]}
              until: {from: s, key: key, window: {until: stop}, idle_timeout: 50ms, analyzers: [count]}
              global: {from: s, key: key, window: {global: 300ms}, idle_timeout: 50ms, analyzers: [count]}
              count: {from: s, key: key, window: {count: 9}, idle_timeout: 50ms, analyzers: [count]}'''
        with harness.Server(config) as server:
            server.post_ok('s', [{'at': 0, 'key': 'a', 'stop': 700000}, {'at': 100, 'key': 'a', 'stop': None}])
            for pipeline, end in (('session', 500000), ('until', 700000), ('global', 300000)):
                self.assertEqual(harness.wait_until(
                    lambda p=pipeline: server.rows(f'SELECT window_end, count FROM {p}'), pipeline), [(end, 2)])
            server.post_ok('s', [{'at': 5000, 'key': 'b', 'stop': 100000000}])
            open_until = harness.wait_until(lambda: server.get_json('/api/v1/pipelines/until/watermarks')
                                            .get('open_window'), 'the window')
            self.assertEqual(open_until, {'start': None, 'end': '1970-01-01T00:01:40Z'})
            self.assertIn('enough events', server.get_json('/api/v1/pipelines/count/watermarks')['waits_for'])


class CountExpiry(unittest.TestCase):
    def test_keys_are_forgotten_across_kills_whatever_the_requests(self):
        events = make_events(7, 1500)
        windows = {'a': ('count: 5', lambda life: counts(life, 5, 5)), 'b': ('count: 6, by: 4', lambda life: counts(life, 6, 4)),
                   'c': ('count: 3, running: true', lambda life: running(life, 3))}
        text = 'server: {listen: {listen}, database: {folder}/weir.db, checkpoint_interval: 10ms}\n' \
               'streams: {s: {time: {field: ts, unit: us}, fields: {key: string, qty: int, stop: int}}}\npipelines:\n'
        for name, (window, _) in windows.items():
            for n in (1, 3):
                text += f'  {name}_{n}: {{from: s, {COMMON}, window: {{{window}, expire: 2s}}, workers: {n}, analyzers: [count]}}\n'
        with harness.Server(text) as server:
            for k, size in enumerate((1, 7, 100, 500)):
                part = events[k * 300:(k + 1) * 300] if k < 3 else events[900:]
                for i in range(0, len(part), size):
                    server.post_ok('s', part[i:i + size], **{'Weir-Source': 'one'})
                server.restart()
            server.wait_read()
            server.stop()
            for name, (_, of) in windows.items():
                expected = sorted((*f[:4], len(f[4])) for life in lives(events)[0] for f in of(life))
                for n in (1, 3):
                    found = server.rows(f'SELECT window_start, key, number, window_end, count FROM {name}_{n}')
                    self.assertEqual(sorted(found), expected, (name, n))


class Expiry(unittest.TestCase):
    """A key whose last result and whose expiry fall in one step of the watermark is gone, and comes again from 0."""

    STREAMS = {
        'two': [(1, 'a'), (11, 'a'), (21, 'a'), (100, 'z'), (110, 'z'), (200, 'z'), (201, 'a'), (211, 'z'), (221, 'z')],
        'one': [(1, 'a'), (11, 'a'), (21, 'a'), (1000, 'a'), (1011, 'a'), (1012, 'a'), (1021, 'a')],
        'gone': [(1, 'a'), (2, 'b'), (21, 'a'), (100, 'z'), (110, 'z'), (200, 'z')],
    }

    def config(self):
        text = 'server: {listen: {listen}, database: {folder}/weir.db}\nstreams:\n'
        for name in self.STREAMS:
            text += f'  {name}: {{time: {{field: ts, unit: s}}, fields: {{key: string}}}}\n'
        text += 'pipelines:\n'
        for name in self.STREAMS:
            for n in (1, 3):
                text += f'  {name}_{n}: {{from: {name}, key: key, window: {{global: 10s, expire: 30s}}, workers: {n},\n' \
                        '    idle_timeout: off, analyzers: [count]}\n'
        return text

    def expected(self, name):
        events = [{'ts': t, 'key': key} for t, key in self.STREAMS[name]]
        table = globals_of(events, 30, 0, 10)
        return sorted((key, revision, border * 1000000, len(rows)) for key, (revision, border, rows) in table.items())

    def check(self, name, rows):
        for n in (1, 3):
            self.assertEqual(rows(f'SELECT key, revision, window_end, count FROM {name}_{n} ORDER BY 1'),
                             self.expected(name), name)

    def test_in_requests_of_one_event_and_of_all(self):
        self.assertIn(('a', 0, 210000000, 1), self.expected('two'))
        for size in (1, 100):
            with harness.Server(self.config()) as server:
                for name, events in self.STREAMS.items():
                    for i in range(0, len(events), size):
                        server.post_ok(name, [{'ts': t, 'key': key} for t, key in events[i:i + size]],
                                       **{'Weir-Source': 'one'})
                server.wait_read()
                server.stop()
                for name in self.STREAMS:
                    self.check(name, server.rows)


class Before(unittest.TestCase):
    """An event before the begin of an open window of `until` is not in it as it stands."""

    def test_it_is_late_or_the_window_begins_there(self):
        config = '\n'.join((
            'server: {listen: {listen}, database: {folder}/weir.db}',
            'streams: {s: {time: {field: ts, unit: s}, fields: {k: string, u: int}}}',
            'pipelines:', *(f'  {name}: {{from: s, key: k, window: {{until: u}}, idle_timeout: off, analyzers: [count],'
                            f' {more}}}' for name, more in (
                                ('dropped', 'late: drop'), ('aside', 'late: side'),
                                ('revised', 'late: revise, allowed_lateness: 1h'), ('ordered', 'out_of_orderness: 10s')))))
        events = [{'ts': 0, 'k': 'a', 'u': 15}, {'ts': 17, 'k': 'a', 'u': 30}, {'ts': 3, 'k': 'a'}, {'ts': 16, 'k': 'a'},
                  {'ts': 50, 'k': 'b'}]
        for size in (1, len(events)):
            with self.subTest(size), harness.Server(config) as server:
                for i in range(0, len(events), size):
                    server.post_ok('s', events[i:i + size], **{'Weir-Source': 'one'})
                server.wait_read()
                server.stop()
                rows = {name: server.rows(f'SELECT window_start / 1000000, window_end / 1000000, count FROM {name}'
                                          ' ORDER BY 1') for name in ('dropped', 'aside', 'revised', 'ordered')}
                for name in ('dropped', 'aside'):  # 3 and 16 lie behind the watermark, 17, at which the second began
                    self.assertEqual(rows[name], [(0, 15, 1), (17, 30, 1)], name)
                for name in ('revised', 'ordered'):
                    self.assertEqual(rows[name], [(0, 15, 2), (16, 30, 2)], name)
                self.assertEqual(server.rows('SELECT ts / 1000000, k FROM aside_late ORDER BY 1'), [(3, 'a'), (16, 'a')])


class Max(unittest.TestCase):
    """What weir.yaml(5) says of `max` and of the order in which the events of a key come."""

    def test_only_sessions_that_are_cut_depend_on_the_order(self):
        long, short = (18, 24, 29), (100, 106, 97)
        orders = [a + b for a in itertools.permutations(long) for b in itertools.permutations(short)]
        pipeline = 'window: {session: 10s, max: 10s}, out_of_orderness: 1h, analyzers: [count]'
        config = ('server: {listen: {listen}, database: {folder}/weir.db}\n'
                  'streams: {s: {time: {field: ts, unit: s}, fields: {key: int}}}\n'
                  f'pipelines: {{p: {{from: s, key: key, idle_timeout: off, {pipeline}}}}}')
        with harness.Server(config) as server:
            server.post_ok('s', [{'ts': t, 'key': i} for i, order in enumerate(orders) for t in order] +
                           [{'ts': 9999, 'key': -1}])
            server.wait_read()
            server.stop()
            for i, order in enumerate(orders):
                rows = server.rows('SELECT window_start / 1000000, window_end / 1000000, count FROM p'
                                   f' WHERE key = {i} ORDER BY 1')
                self.assertEqual(rows[-1], (97, 107, 3), order)
                if order[:3] == (18, 24, 29):
                    self.assertEqual(rows[:-1], [(18, 28, 2), (29, 39, 1)], order)
                elif order[:3] == (24, 29, 18):
                    self.assertEqual(rows[:-1], [(18, 28, 1), (24, 34, 2)], order)
                self.assertEqual(sum(count for *_, count in rows), 6, order)


class Rows(unittest.TestCase):
    def test_rows_are_asked_for_by_their_time(self):
        config = '''
            server: {listen: {listen}, database: {folder}/weir.db}
            streams: {s: {time: {field: at, unit: s}, fields: {row: string, n: int}}}
            pipelines: {raw: {from: s, window: none, select: [n, row]}}'''
        with harness.Server(config) as server:
            server.post_ok('s', [{'at': t, 'row': f'r{t}', 'n': -t} for t in (10, 30, 20)])
            server.wait_metric('weir_pipeline_rows_total', 3, pipeline='raw')
            harness.wait_until(lambda: len(server.rows('SELECT 1 FROM raw')) == 3, 'the rows')
            found = server.get_json('/api/v1/pipelines/raw/results?from=1970-01-01T00:00:20Z')
            self.assertEqual([(r['at'][11:19], r['row'], r['n'], r['row_']) for r in found],
                             [('00:00:20', 2, -20, 'r20'), ('00:00:30', 1, -30, 'r30')])
            answer = server.get_json('/api/v1/pipelines/raw')
            self.assertEqual([c['name'] for c in answer['tables'][0]['columns'] if c['key']], ['at', 'position', 'row'])


class Examples(unittest.TestCase):
    """Those of weir.yaml(5), as they stand there, over events whose results can be counted by hand."""

    @classmethod
    def setUpClass(cls):
        with open(os.path.join(harness.SOURCE, 'docs', 'weir.yaml.5'), encoding='utf-8') as page:
            cls.examples = re.findall(r'\n\.Bd -literal -offset indent\n((?:server: .*?\n)?streams:.*?)\n\.Ed\n', page.read(), re.S)

    def run_example(self, pipeline, stream, events, sql):
        folder = harness.folder_for_test(self)
        example, = (e for e in self.examples if f'\n  {pipeline}:\n' in e)
        with open(os.path.join(folder, 'weir.yaml'), 'w', encoding='utf-8') as file:
            file.write(example)
        done = harness.weir('run', '--live', '-c', 'weir.yaml', '--database', 'weir.db', '--stream', stream, '-', cwd=folder,
                            stdin='\n'.join(map(json.dumps, events)))
        self.assertEqual(done.returncode, 0, done.stderr)
        return harness.read_rows(os.path.join(folder, 'weir.db'), sql)

    def test_sessions(self):
        times = {'ann': [0, 600, 2399, 7200, 7260], 'bob': [3600]}
        events = sorted(({'ts': t, 'user': user, 'page': '/'} for user in times for t in times[user]),
                        key=lambda e: e['ts'])
        self.assertEqual(self.run_example('visits', 'clicks', events, '''
            SELECT user, window_start / 1000000, window_end / 1000000, count FROM visits ORDER BY 1, 2'''), [
                ('ann', 0, 2399 + 1800, 3), ('ann', 7200, 7260 + 1800, 2), ('bob', 3600, 5400, 1)])

    def test_until(self):
        bids = [(0, 1, 5, 60), (10, 2, 7, 20), (15, 1, 9, None), (20, 2, 8, 40), (59, 1, 8, None), (60, 1, 99, None)]
        events = [dict(zip(('ts', 'auction', 'price', 'expires'), b)) for b in bids]
        self.assertEqual(self.run_example('auctions', 'bids', events, '''
            SELECT auction, window_start / 1000000, window_end / 1000000, count, price_max FROM auctions
            ORDER BY 1, 2'''), [(1, 0, 60, 3, 9), (2, 10, 20, 1, 7), (2, 20, 40, 1, 8)])

    def test_count(self):
        events = [{'ts': t, 'sensor': 's', 'value': t * t} for t in range(9)]
        self.assertEqual(self.run_example('smooth', 'readings', events, '''
            SELECT number, window_start / 1000000, window_end, value_mean FROM smooth ORDER BY 1'''), [
                (1, 0, 3000001, 3.5), (2, 2, 5000001, 13.5), (3, 4, 7000001, 31.5)])

    def test_rows(self):
        bids = [(1, 7, 'ann', 5), (2, 7, 'bob', 9), (3, 8, 'ann', 1), (4, 7, 'cid', 9), (5, 7, 'dan', 6), (6, 7, 'eve', 6)]
        events = [dict(zip(('ts', 'auction', 'bidder', 'price'), b)) for b in bids]
        self.assertEqual(self.run_example('highest', 'bids', events, '''
            SELECT auction, rank, bidder, price FROM highest_rows ORDER BY 1, 2'''), [
                (7, 1, 'bob', 9), (7, 2, 'cid', 9), (7, 3, 'dan', 6), (8, 1, 'ann', 1)])

    def test_hours_of_minutes_that_late_events_change(self):
        dice = random.Random(5)
        hour, want = 3600000, {}
        events = [{'ts': 30000 * i + 1000 * hour - (dice.randrange(hour) if dice.random() < 0.2 else 0), 'symbol': dice.choice('AB'),
                   'price': dice.randrange(100) / 4, 'qty': dice.randrange(9)} for i in range(600)]
        for e in events:
            most, qty = want.get((e['symbol'], e['ts'] // hour), (0, 0))
            want[e['symbol'], e['ts'] // hour] = max(most, e['price']), qty + e['qty']
        self.assertEqual(self.run_example('hours', 'trades', events, '''
            SELECT symbol, hour / 3600000000, price_max_max, qty_sum_sum FROM hours ORDER BY 1, 2'''),
                         [(*of, *want[of]) for of in sorted(want)])

    def test_running(self):
        events = [{'ts': t, 'account': a, 'amount': n} for t, a, n in (
            (1, 'x', 5), (3, 'y', 7), (2, 'x', -2), (3, 'x', 4))]
        self.assertEqual(self.run_example('statement', 'payments', events, '''
            SELECT account, number, window_start / 1000000, amount_last, amount_sum FROM statement ORDER BY 1, 2'''), [
                ('x', 1, 1, 5, 5), ('x', 2, 2, -2, 3), ('x', 3, 3, 4, 7), ('y', 1, 3, 7, 7)])

    def test_none(self):
        events = [{'ts': t, 'path': p, 'status': s} for t, p, s in (
            (3, '/a', 200), (2, '/b', 500), (4, None, 503), (5, '/c', 404))]
        self.assertEqual(self.run_example('failed', 'requests', events, '''
            SELECT ts / 1000000, path, status FROM failed ORDER BY position, row'''), [
                (2, '/b', 500), (4, None, 503)])

    def test_global(self):
        day = 86400
        events = [{'ts': t, 'account': a, 'amount': n} for t, a, n in (
            (1, 'ann', 5), (2, 'bob', 3), (12, 'ann', -2), (5 * day, 'ann', 1), (8 * day, 'cid', 7))]
        self.assertEqual(self.run_example('balances', 'payments', events, '''
            SELECT account, revision, count, amount_sum, window_end / 1000000 FROM balances ORDER BY 1'''), [
                ('ann', 2, 3, 4, 5 * day + 10), ('cid', 0, 1, 7, 8 * day + 10)])


if __name__ == '__main__':
    harness.main()
