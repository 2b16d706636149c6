# SPDX-License-Identifier: Apache-2.0
"""Windows by chance: kind, sizes, late policy, workers, sizes of requests and events are drawn, a kill -9 comes in the middle, and
what Python computes is what the tables have. A case that fails is made smaller until nothing of it can be left out.

$WEIR_PROPERTY_SEED draws others, $WEIR_PROPERTY_ROUNDS so many times as many."""

import datetime
import json
import math
import os
import random
import unittest
import unittest.mock
import zoneinfo

import harness
import test_by_key
import test_windows

SEED = int(os.environ.get('WEIR_PROPERTY_SEED', '1'))
ROUNDS = int(os.environ.get('WEIR_PROPERTY_ROUNDS', '1'))
CASES = 24  # of a round
EVENTS = 500
MS = 1000
DAYS = ('2024-03-25', '2018-10-28', '1949-11-25', '2023-09-28', '1969-12-30', '1985-11-14')
STREAM = '{time: {field: ts, unit: ms, check_unit: false}, fields: {key: string, qty: int, stop: int}}'
ZONE_STEPS = {'1h': test_windows.HOUR, '2h': 2 * test_windows.HOUR, '6h': 6 * test_windows.HOUR, '1d': 'day', '1w': 'week', '1mo': 'month',
              '3mo': 'quarter'}
PLACES = ('Europe/Berlin', 'America/Sao_Paulo', 'Australia/Lord_Howe')


class Case:
    """One pipeline of a stream of its own."""

    def __init__(self, dice, number):
        self.name = f'c{number}'
        self.workers = dice.choice((1, 2, 7))
        self.bytes = dice.choice((1000, 1000000))
        self.policy = dice.choice(tuple(test_windows.POLICIES))
        self.slow, self.by_key, self.late = 1, None, ''
        kind = dice.choice(('tumbling', 'hopping', 'steps', 'zone', 'zone_steps', 'session', 'until', 'count', 'running', 'global'))
        getattr(self, 'draw_' + kind)(dice)
        first = datetime.datetime.fromisoformat(dice.choice(DAYS) + 'T00:00+00:00') - test_windows.EPOCH
        first = round(first.total_seconds() * 1000) + dice.randrange(86400000)
        self.events = test_windows.disorderly(EVENTS, first, dice.random(), self.slow)
        if dice.random() < 0.1:
            self.events = []  # but for the last one
        for at in sorted(dice.sample(range(len(self.events)), min(dice.randrange(4), len(self.events))), reverse=True):
            self.events[at:at] = [dict(self.events[at])] * dice.randrange(1, 4)  # duplicates
        for e in self.events:
            e['stop'] = e['ts'] + dice.randrange(-100, 3000) if dice.random() < 0.8 else None

    def windows(self, yaml, of):
        test_windows.KINDS[self.name] = (yaml, of)
        test_windows.WINDOWS[self.name] = of
        self.yaml = yaml

    def draw_tumbling(self, dice):
        size = dice.randrange(50, 4000)
        offset = dice.randrange(size)
        self.windows(f'{{tumbling: {size}ms, offset: {offset}ms}}', test_windows.cascade(('', size), offset=offset))

    def draw_hopping(self, dice):
        by = 50 * dice.randrange(2, 30)
        size = by + 50 * dice.randrange(1, 60)
        offset = dice.randrange(by)
        self.windows(f'{{hopping: {size}ms, by: {by}ms, offset: {offset}ms}}', test_windows.hopping(size, by, offset))

    def draw_steps(self, dice):
        sizes = [dice.randrange(100, 800)]
        for _ in range(dice.randrange(1, 4)):
            sizes.append(sizes[-1] * dice.randrange(2, 5))
        offset = dice.randrange(sizes[0])
        self.windows(f'{{tumbling: [{", ".join(f"{s}ms" for s in sizes)}], offset: {offset}ms}}',
                     test_windows.cascade(*((f'_{named(s)}', s) for s in sizes), offset=offset))

    def draw_zone(self, dice):
        size, of = dice.choice((('1d', 'day'), ('1d', 'day'), ('1w', 'week'), ('1mo', 'month')))
        zone = dice.choice(PLACES)
        self.windows(f'{{tumbling: {size}, zone: {zone}}}', test_windows.zoned(zone, of))
        self.in_zone()

    def draw_zone_steps(self, dice):
        """Of several sizes; those below a day begin with it, and the last one ends with it."""
        steps = dice.choice((('1h', '1d'), ('6h', '1d', '1w'), ('1d', '1mo'), ('1d', '1w'), ('2h', '1d', '1mo', '3mo')))
        zone = dice.choice(PLACES)
        self.windows(f'{{tumbling: [{", ".join(steps)}], zone: {zone}}}',
                     test_windows.zoned_steps(zone, **{f'_{size.replace("1w", "7d")}': ZONE_STEPS[size] for size in steps}))
        self.in_zone()

    def in_zone(self):
        test_windows.ZONED[self.name] = test_windows.KINDS.pop(self.name)
        self.slow = test_windows.SLOW

    def draw_ended(self, yaml, model):
        """Windows of a key that end at a time: what is late is left out, or revises them."""
        lateness = test_windows.EXTRA_MS * MS if self.policy == 'revise' else 0
        self.yaml, self.late = yaml, f', {test_windows.POLICIES[self.policy]}'

        def rows(events):
            found = model(events, lateness).results()
            return [(start, key, revision if lateness else 0, end, part) for start, key, end, revision, part in found]
        self.by_key = rows

    def draw_session(self, dice):
        gap = dice.randrange(20, 1500)
        longest = dice.choice((None, gap + dice.randrange(3000)))

        def model(events, lateness):
            with unittest.mock.patch.object(test_by_key, 'GAP', gap * MS):
                return test_by_key.Sessions(events, lateness, longest * MS if longest else math.inf)
        self.draw_ended(f'{{session: {gap}ms' + (f', max: {longest}ms}}' if longest else '}'), model)

    def draw_until(self, dice):
        self.draw_ended('{until: stop}', test_by_key.Untils)

    def draw_count(self, dice):
        rows = dice.randrange(1, 12)
        by = dice.randrange(1, rows + 1)
        expire = dice.choice((None, dice.randrange(500, 3000)))
        self.yaml = f'{{count: {rows}, by: {by}' + (f', expire: {expire}ms}}' if expire else '}')
        self.by_key = lambda events: [f for life in lives(events, expire) for f in test_by_key.counts(life, rows, by)]

    def draw_running(self, dice):
        rows = dice.randrange(1, 9)
        expire = dice.choice((None, dice.randrange(500, 3000)))
        self.yaml = f'{{count: {rows}, running: true' + (f', expire: {expire}ms}}' if expire else '}')
        self.by_key = lambda events: [f for life in lives(events, expire) for f in test_by_key.running(life, rows)]

    def draw_global(self, dice):
        every = 10 * dice.randrange(5, 200)
        expire = dice.choice((None, dice.randrange(500, 3000)))
        self.yaml = f'{{global: {every}ms' + (f', expire: {expire}ms}}' if expire else '}')
        forget = {'expire': expire * MS} if expire else {}
        self.by_key = lambda events: [(0, key, revision, border, rows) for key, (revision, border, rows) in test_by_key.globals_of(
            events, order=300 * MS, every=every * MS, **forget).items()]

    def pipeline(self):
        if not self.by_key:
            return test_windows.pipeline(self.name, 's_' + self.name, self.name, self.policy, self.workers)
        return (f'  {self.name}: {{from: s_{self.name}, key: [key], window: {self.yaml}, out_of_orderness: 300ms, idle_timeout: 1h,'
                f' workers: {self.workers}{self.late}, analyzers: {test_windows.ANALYZERS}}}\n')

    def requests(self, events):
        """Of about so many bytes."""
        body, size = [], 0
        for e in events:
            line = json.dumps(e) + '\n'
            if body and size + len(line) > self.bytes:
                yield ''.join(body)
                body, size = [], 0
            body.append(line)
            size += len(line)
        yield ''.join(body)

    def last(self, events):
        """Beyond all windows: what is open then is of no interest."""
        newest = max((e['ts'] for e in events), default=0)
        return {'ts': newest + self.slow * 1000, 'key': '~', 'qty': 0, 'stop': None}

    def expected(self, events):
        events = events + [self.last(events)]
        if self.by_key:
            found = self.by_key([{**e, 'ts': e['ts'] * MS, 'stop': e['stop'] and e['stop'] * MS} for e in events])
            return {'': sorted((*f[:4], len(f[4]), sum(e['qty'] for e in f[4])) for f in found)}
        model = test_windows.Model(self.name, self.policy, events)
        return {table: sorted(rows) for table, rows in model.rows.items() if rows}

    def found(self, server, events):
        want = self.expected(events)
        number = 'number' if 'count' in self.yaml else 'revision' if 'global' in self.yaml or 'revise' in self.late else '0'
        if self.by_key:
            columns = f'window_start, key, {number}, window_end, count, qty_sum'
        else:
            columns = f'window_start, window_end, key, {"revision" if self.policy == "revise" else "0"}, count, qty_sum, qty_max'
        tables = [t for t, in server.rows(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND (name = ?1 OR name GLOB ?1 || '_[0-9]*') "
            "AND name NOT GLOB '*_topk'", self.name)]
        rows = {t[len(self.name):]: sorted(server.rows(f'SELECT {columns} FROM {t} WHERE window_end IS NOT NULL')) for t in tables}
        return {table: r for table, r in rows.items() if r}, {table: r for table, r in want.items() if r}


def named(ms):
    """As tables of several sizes are."""
    for unit, size in (('h', 3600000), ('m', 60000), ('s', 1000)):
        if ms % size == 0:
            return f'{ms // size}{unit}'
    return f'{ms}ms'


def lives(events, expire):
    if expire:
        return test_by_key.lives(events, expire * MS, 300 * MS)[0]
    return [events]


def differing(cases, events):
    """Runs the cases with these events of each, and a kill in the middle; returns those whose tables are others."""
    text = ('server: {listen: {listen}, database: {folder}/weir.db, checkpoint_interval: 20ms}\nstreams:\n' +
            ''.join(f'  s_{c.name}: {STREAM}\n' for c in cases) + 'pipelines:\n' + ''.join(c.pipeline() for c in cases))
    bad = []
    with harness.Server(text) as server:
        for part in range(2):
            for c, mine in zip(cases, events):
                half = len(mine) // 2
                rows = mine[half:] + [c.last(mine)] if part else mine[:half]
                for body in c.requests(rows) if rows else ():
                    server.post_ok(f's_{c.name}', body)
            if part == 0:
                server.restart()
        server.wait_read()
        server.stop()
        for c, mine in zip(cases, events):
            found, want = c.found(server, mine)
            if found != want:
                bad.append((c, found, want))
    return bad


def shrink(events, fails, tries=60):
    """As few as still fail, as far as so many tries go: pieces are left out, smaller and smaller ones."""
    piece = len(events) // 2
    while piece and tries:
        at = 0
        while at < len(events) and tries:
            fewer = events[:at] + events[at + piece:]
            tries -= 1
            if fails(fewer):
                events = fewer
            else:
                at += piece
        piece //= 2
    return events


class Property(unittest.TestCase):
    def test_shrinking_leaves_what_a_failure_needs(self):
        self.assertEqual(shrink(list(range(100)), lambda part: 17 in part and 83 in part, 200), [17, 83])

    def test_tables_are_those_of_the_model(self):
        try:
            for place in PLACES:
                zoneinfo.ZoneInfo(place)
        except zoneinfo.ZoneInfoNotFoundError:
            self.skipTest('no tzdata')
        for number in range(ROUNDS):
            dice = random.Random(SEED + number)
            cases = [Case(dice, i) for i in range(CASES)]
            for c, _, _ in differing(cases, [c.events for c in cases])[:1]:
                few = shrink(c.events, lambda events, c=c: bool(differing([c], [events])))
                again = differing([c], [few])
                _, found, want = again[0] if again else (c, 'another time they were right', '')
                self.fail(f'seed {SEED + number}, {c.pipeline()}requests of {c.bytes} bytes, {len(few)} events:\n' +
                          ''.join(json.dumps(e) + '\n' for e in few[:60]) + f'found {found}\nmodel {want}')


if __name__ == '__main__':
    harness.main()
