# SPDX-License-Identifier: Apache-2.0
"""Joins by chance: what is joined and how, windows, workers, producers, sizes of requests and events are drawn, a kill -9 and a
reload come in the middle, or all is read from files, and what Python finds in the same events is what the tables have. A case that
fails is made smaller until nothing of it can be left out.

$WEIR_PROPERTY_SEED draws others, $WEIR_PROPERTY_ROUNDS a third of so many times as many."""

import bisect
import collections
import datetime
import json
import os
import random
import signal
import sqlite3
import unittest
import unittest.mock
import zoneinfo

import harness
import test_by_key
import test_windows
from test_property import DAYS, PLACES, ROUNDS, SEED, shrink

EVENTS = 280
MS = 1000
NEVER = float('-inf')
TEXTS = ('', 'a', 'ü', 'abcd')
STREAM = ('{time: {field: ts, unit: ms, check_unit: false}, fields: {key: string, side: bool, n: int, x: float, text: string, '
          'firm: bool}}')
UNITS = {'s': 1000, 'ms': 1, 'us': 1 / 1000, 'ns': 1 / 1000000}

JOIN_ROUNDS = (ROUNDS + 2) // 3  # they take longer than windows


class Watermark:
    """What all producers that were heard of have reached, less the disorder."""

    def __init__(self, order):
        self.order, self.reached, self.value = order, {}, NEVER

    def at(self, source, ts):
        self.reached[source] = max(self.reached.get(source, NEVER), ts)
        self.value = max(self.value, min(self.reached.values()) - self.order)
        return self.value


def newest(times, rows, ts, within, lead):
    """Of rows by time: the last one at or before, or the first one after."""
    place = bisect.bisect_right(times, ts)
    if place and times[place - 1] >= ts - within:
        return rows[place - 1]
    if place < len(times) and lead and times[place] <= ts + lead:
        return rows[place]
    return {}


def by_key(rows, on):
    """{values: (times, rows)}, by time; of one time in the order in which they came."""
    found = {}
    for ts, row in sorted(rows, key=lambda r: r[0]):
        key = tuple(row[c] for c in on)
        if None not in key:
            times, of = found.setdefault(key, ([], []))
            times.append(ts)
            of.append(row)
    return found


class Join:
    """One thing that is joined; `columns` are {its name here: its name there}."""
    of_own = False
    needs = ()

    def __init__(self, case, dice, number):
        self.case, self.number = case, number
        self.on = dice.choice((['key'], ['key'], ['key', 'side'], ['side']))
        self.within = dice.choice((0, dice.randrange(300), dice.randrange(5000))) * case.slow
        self.lead = dice.choice((0, 0, dice.randrange(1000))) * case.slow
        self.columns = {f'{c}{number}': c for c in dice.sample(('n', 'x', 'text', 'firm'), dice.randrange(1, 5))}
        self.columns.setdefault(f'text{number}', 'text')

    def yaml_columns(self):
        return '{' + ', '.join(f'{here}: {there}' for here, there in self.columns.items()) + '}'

    def spans(self):
        return f'within: {self.within}ms' + (f', lead: {self.lead}ms' if self.lead else '')

    def pipelines(self):
        return ''

    def fill(self, db):
        """Before the start."""

    def find(self, mine, ts, watermark):
        """In what find_in gave."""
        if ts < watermark - self.within:
            return {}
        return newest(*mine, ts, self.within, self.lead)


class OfStream(Join):
    def __init__(self, case, dice, number):
        super().__init__(case, dice, number)
        self.stream = number
        self.order = dice.choice((0, 100, 300)) * case.slow

    def yaml(self):
        return (f'{self.case.stream(self.stream)}: {{on: [{", ".join(self.on)}], as_of: true, {self.spans()}, '
                f'out_of_orderness: {self.order}ms, columns: {self.yaml_columns()}}}')

    def rows(self, requests):
        return by_key([(e['ts'], e) for e, watermark in self.case.marked(requests, self.stream, self.order)
                       if e['ts'] >= watermark], self.on)


class OfResults(Join):
    """The newest result of a pipeline of this stream, or of another one."""

    def __init__(self, case, dice, number):
        super().__init__(case, dice, number)
        self.on, by = ['key'], 50 * dice.randrange(1, 40) * case.slow
        self.yaml_window, self.windows = windows_of(by * dice.choice((1, 1, 3)), by)
        if case.zone:
            self.yaml_window, self.windows = f'{{tumbling: 1d, zone: {case.zone}}}', test_windows.zoned(case.zone, 'day')
        self.stream = dice.choice((0, number))
        self.of_own = self.stream == 0
        self.order = dice.choice((0, 300)) * case.slow
        self.name = f'{case.name}_results{number}'
        self.needs = (self.name,)
        self.workers = dice.choice((1, 3))
        self.columns = {f'n{number}': 'n_sum', f'count{number}': 'count', f'text{number}': 'text_last'}

    def pipelines(self):
        return (f'  {self.name}: {{from: {self.case.stream(self.stream)}, key: [key], window: {self.yaml_window}, out_of_orderness: {self.order}ms, '
                f'idle_timeout: 1h, workers: {self.workers}, analyzers: [count, {{sum: {{of: n}}}}, {{last: {{of: text}}}}]}}\n')

    def yaml(self):
        return f'{self.name}: {{on: [key], as_of: true, {self.spans()}, columns: {self.yaml_columns()}}}'

    def rows(self, requests):
        groups = collections.defaultdict(list)
        for e, watermark in self.case.marked(requests, self.stream, self.order):
            for _, start, end in self.windows(e['ts']):
                if end > watermark:
                    groups[end, e['key']].append(e)
        results = []
        for (end, key), rows in groups.items():
            latest = max(enumerate(rows), key=lambda r: (r[1]['ts'], r[0]))[1]  # of one time the one that came last
            results.append((end - 1 / MS, {'key': key, 'n_sum': sum(e['n'] for e in rows), 'count': len(rows), 'text_last': latest['text']}))
        return by_key(results, self.on)


class OfTable(Join):
    """A table that is there before the start; with or without a time since when a row holds."""

    def __init__(self, case, dice, number):
        super().__init__(case, dice, number)
        self.name, self.unit = f'table_{case.name}_{number}', dice.choice((None, 'text', *UNITS))
        step = 1000 if self.unit in ('s', 'text') else 1
        self.span = ''
        if not self.unit:
            self.within, self.lead = float('inf'), 0
        elif dice.random() < 0.3:
            self.within, self.span = float('inf'), f', lead: {self.lead}ms'
        else:
            self.span = ', ' + self.spans()
        found = {}
        for i in range(dice.choice((0, 5, 200))):
            ts = (case.first + dice.randrange(-2000, 12000) * case.slow) // step * step if self.unit else 0
            row = {'ts': ts, 'key': dice.choice((None, *'abcdef')), 'side': dice.choice((None, False, True)), **values(dice, i)}
            found[tuple(row[c] for c in self.on), ts] = row  # one of a key and time
        self.table = list(found.values())

    def yaml(self):
        time = '' if not self.unit else ', time: since' if self.unit == 'text' else f', time: {{field: since, unit: {self.unit}}}'
        types = {'n': 'int', 'x': 'float', 'text': 'string', 'firm': 'bool'}
        columns = ', '.join(f'{here}: {{column: {there}, type: {types[there]}}}' for here, there in self.columns.items())
        return (f'{self.name}: {{table: {self.name}, on: [{", ".join(self.on)}]{time}{self.span}, columns: {{{columns}}}}}')

    def since(self, ts):
        if self.unit == 'text':
            return (test_windows.EPOCH + datetime.timedelta(milliseconds=ts)).strftime('%Y-%m-%d %H:%M:%S')
        return ts if not self.unit else round(ts / UNITS[self.unit]) if self.unit in ('s', 'ms') else ts * round(1 / UNITS[self.unit])

    def fill(self, db):
        since = 'TEXT' if self.unit == 'text' else 'INTEGER'
        db.execute(f'CREATE TABLE {self.name} (key TEXT, side INTEGER, n INTEGER, x REAL, text TEXT, firm INTEGER, since {since})')
        for row in self.table:
            db.execute(f'INSERT INTO {self.name} VALUES (:key, :side, :n, :x, :text, :firm, :since)', {**row, 'since': self.since(row['ts'])})

    def rows(self, requests):
        return by_key([(row['ts'], row) for row in self.table], self.on)

    def find(self, mine, ts, watermark):
        return newest(*mine, ts if self.unit else 0, self.within, self.lead)


def windows_of(size, by):
    """Tumbling or hopping ones: as they are written, and a function of a time."""
    return (f'{{tumbling: {size}ms}}' if size == by else f'{{hopping: {size}ms, by: {by}ms}}'), test_windows.hopping(size, by)


def values(dice, i):
    return {'n': i, 'x': dice.choice((None, i / 8)), 'text': dice.choice(TEXTS), 'firm': dice.choice((None, False, True))}


class Case:
    """One pipeline, with streams of its own."""

    def __init__(self, dice, number, kind):
        self.name = f'j{number}'
        self.workers = dice.choice((1, 2, 7))
        self.bytes = dice.choice((1000, 1000000))
        self.sources = dice.choice((0, 1, 1, 2))  # none that says its name, or so many that do
        self.slow = 1
        self.first = datetime.datetime.fromisoformat(dice.choice(DAYS) + 'T00:00+00:00') - test_windows.EPOCH
        self.first = round(self.first.total_seconds() * 1000) + dice.randrange(86400000)
        if dice.random() < 0.2:
            self.first = -dice.randrange(10000)  # times on both sides of 0
        self.order = dice.choice((0, 200, 500))
        self.draw(dice, kind)
        self.order *= self.slow
        self.first_stream = dice.randrange(self.n_streams)
        self.events = self.disorderly(dice)

    def stream(self, i):
        return f's{i}_{self.name}'

    def disorderly(self, dice):
        """(stream, producer, event): over few keys, in part at one time, late, twice, with gaps; of some streams none."""
        weights = [1] + [dice.choice((0, 0.3, 1, 1, 3)) for _ in range(self.n_streams - 1)]
        now, events = self.first, []
        for i in range(EVENTS):
            now += dice.choice((0, 0, 1, 5, 20, 60)) * self.slow + (dice.randrange(9000) * self.slow if dice.random() < 0.01 else 0)
            behind = dice.randrange(4000) if dice.random() < 0.05 else dice.choice((0, 0, dice.randrange(200)))
            stream = dice.choices(range(self.n_streams), weights)[0]
            event = {'ts': now - behind * self.slow, 'key': dice.choice('abcde') if dice.random() < 0.95 else None,
                     'side': dice.choice((False, True)) if dice.random() < 0.95 else None, **values(dice, i)}
            events += [(stream, f'p{dice.randrange(self.sources or 1)}', event)] * (3 if dice.random() < 0.02 else 1)
        return events

    def last(self, events):
        """Beyond all that is asked for."""
        return max((e['ts'] for _, _, e in events), default=self.first) + 60000 * self.slow

    def requests(self, events):
        """[(stream, producer, events)] in the order in which they are sent, of about so many bytes."""
        found, open_ = [], {}
        for stream, source, event in events:
            size, rows = open_.get((stream, source), (0, []))
            line = len(json.dumps(event)) + 1
            if rows and size + line > self.bytes:
                found.append((stream, source, rows))
                size, rows = 0, []
            open_[stream, source] = size + line, rows + [event]
        behind = sorted(open_.items(), key=lambda r: ((r[0][0] - self.first_stream) % self.n_streams, r[0][1]))
        return found + [(*of, rows) for of, (_, rows) in behind if rows]

    def parts(self, events):
        third = -(-len(events) // 3) or 1
        return [self.requests(events[at:at + third]) for at in (0, third, 2 * third)]

    def marked(self, requests, stream, order):
        """Events of a stream, each with the watermark at it."""
        watermark = Watermark(order)
        return [(e, watermark.at(source, e['ts'])) for of, source, rows in requests if of == stream for e in rows]

    def streams(self):
        return ''.join(f'  {self.stream(i)}: {STREAM}\n' for i in range(self.n_streams))

    def head(self):
        return f'out_of_orderness: {self.order}ms, idle_timeout: 1h'

    def fill(self, db):
        """Before the start."""

    def post(self, server, stream, source, rows):
        body = ''.join(json.dumps(e) + '\n' for e in rows)
        server.post_ok(self.stream(stream), body, **({'Weir_Source': source} if self.sources else {}))

    def post_last(self, server, stream, ts):
        for source in range(self.sources or 1):
            self.post(server, stream, f'p{source}', [{'ts': ts, 'key': '~', 'n': -1}])


class Sessions(test_by_key.Sessions):
    """Of events that come each with its watermark."""

    def __init__(self, rows, gap, lateness):
        self.lateness, self.longest, self.late, self.revised = lateness, float('inf'), [], 0
        self.windows = collections.defaultdict(list)
        with unittest.mock.patch.object(test_by_key, 'GAP', gap):
            for i, (e, self.watermark) in enumerate(rows):
                self.take(i, e)

    def all(self):
        return sorted((w.start, key, w.revision if self.lateness else 0, len(w.rows), sum(e['n'] for e in w.rows))
                      for key, windows in self.windows.items() for w in windows)


class AsOf(Case):
    """Rows themselves with what is joined, or windows by a joined column."""

    def draw(self, dice, kinds):
        self.n_streams = 1 + len(kinds)
        self.zone = dice.choice(PLACES) if dice.random() < 0.3 else None
        self.slow = test_windows.SLOW if self.zone else 1
        self.joins = [of(self, dice, i + 1) for i, of in enumerate(kinds)]
        getattr(self, 'draw_' + (dice.choice(('rows', 'zone')) if self.zone else dice.choice(('rows', 'time', 'time', 'session'))))(dice)
        self.where = dice.random() < 0.3

    def draw_rows(self, _):
        self.window, self.windows, self.lateness, self.gap = None, None, 0, 0

    def draw_session(self, dice):
        self.draw_rows(dice)
        self.gap = dice.randrange(5, 400)
        self.window = f'{{session: {self.gap}ms}}'
        self.lateness = dice.choice((0, 0, 1500))

    def draw_time(self, dice):
        self.draw_rows(dice)
        by = 10 * dice.randrange(10, 300)
        self.window, self.windows = windows_of(by * dice.choice((1, 1, 2)), by)
        self.lateness = dice.choice((0, 0, 1500))

    def draw_zone(self, dice):
        self.draw_rows(dice)
        size, of = dice.choice((('1d', 'day'), ('1d', 'day'), ('1w', 'week'), ('1mo', 'month')))
        self.window, self.windows = f'{{tumbling: {size}, zone: {self.zone}}}', test_windows.zoned(self.zone, of)
        self.lateness = dice.choice((0, 0, 1500 * self.slow))

    def pipeline(self):
        joins = ', '.join(j.yaml() for j in self.joins)
        where = ', where: "text1 IS NULL OR text1 <> \'a\'"' if self.where else ''
        if self.window:
            late = f', late: revise, allowed_lateness: {self.lateness}ms' if self.lateness else ''
            rest = f'workers: {self.workers}, key: [text1], window: {self.window}{late}, analyzers: [count, {{sum: {{of: n}}}}]'
        else:
            rest = f'window: none, select: [n, key, {", ".join(c for j in self.joins for c in j.columns)}]'
        return (''.join(j.pipelines() for j in self.joins) +
                f'  {self.name}: {{from: {self.stream(0)}, {self.head()}, join: {{{joins}}}{where}, {rest}}}\n')

    def fill(self, db):
        for j in self.joins:
            j.fill(db)

    def expected(self, requests, run):
        rows_of = [j.rows(requests) for j in self.joins]
        rows, windows, revision, keyed = [], collections.defaultdict(list), collections.Counter(), []
        for e, watermark in self.marked(requests, 0, self.order):
            found = {}
            for j, of in zip(self.joins, rows_of):
                mine = of.get(tuple(e[c] for c in j.on), ([], []))
                row = j.find(mine, e['ts'], watermark)
                found.update((here, row.get(there)) for here, there in j.columns.items())
            if self.where and found['text1'] == 'a':
                continue
            rows.append((e['n'], e['key'], *(int(v) if isinstance(v, bool) else v for v in found.values())))
            if found['text1'] is not None:
                keyed.append(({**e, 'ts': e['ts'] * MS, 'key': found['text1']}, NEVER if run else watermark * MS))
            for _, start, end in self.windows(e['ts']) if self.windows and found['text1'] is not None else ():
                if end + self.lateness > watermark or run:
                    windows[start * MS, found['text1']].append(e['n'])
                    revision[start * MS, found['text1']] += end <= watermark and not run
        if self.gap:
            return Sessions(keyed, self.gap * MS, self.lateness * MS).all()
        if self.window:
            return sorted((*of, revision[of] if self.lateness else 0, len(n), sum(n)) for of, n in windows.items())
        return sorted(rows, key=repr)

    def found(self, database):
        if self.window:
            revision = 'revision' if self.lateness else '0'
            return harness.read_rows(database, f'SELECT window_start, text1, {revision}, count, n_sum FROM {self.name} ORDER BY 1, 2')
        columns = ', '.join(c for j in self.joins for c in j.columns)
        return sorted(harness.read_rows(database, f'SELECT n, key, {columns} FROM {self.name} WHERE key IS NOT \'~\''), key=repr)

    def finish(self, server, events):
        """What is behind all: the others first, so that nothing is waited for."""
        last = self.last(events)
        for i in range(1, self.n_streams):
            self.post_last(server, i, last + 60000 * self.slow)
        self.post_last(server, 0, last)
        for j in self.joins:
            if j.of_own:  # which it would wait for, were both in one entry
                server.wait_watermark(j.name, (last - j.order) * MS)
        if any(j.of_own for j in self.joins):
            self.post_last(server, 0, last + 60000 * self.slow)
        return lambda: server.wait_watermark(self.name, (last - self.order) * MS)


class Windows(Case):
    """Several streams in the same windows."""

    def draw(self, dice, kind):
        self.n_streams = dice.choice((2, 2, 3))
        self.keyed = dice.choice(((), ('key',), ('key', 'side')))
        self.yaml, self.gap, self.windows = '', None, None
        getattr(self, 'draw_' + kind)(dice)

    def draw_tumbling(self, dice):
        size = dice.randrange(50, 4000)
        offset = dice.randrange(size)
        self.yaml, self.windows = f'{{tumbling: {size}ms, offset: {offset}ms}}', test_windows.hopping(size, size, offset)

    def draw_hopping(self, dice):
        by = 50 * dice.randrange(2, 30)
        size = by * dice.randrange(2, 5)
        offset = dice.randrange(by)
        self.yaml, self.windows = f'{{hopping: {size}ms, by: {by}ms, offset: {offset}ms}}', test_windows.hopping(size, by, offset)

    def draw_session(self, dice):
        self.keyed = self.keyed or ('key',)
        self.gap = dice.randrange(20, 1500)
        self.yaml = f'{{session: {self.gap}ms}}'

    def draw_zone(self, dice):
        self.slow = test_windows.SLOW
        zone, (size, of) = dice.choice(PLACES), dice.choice((('1d', 'day'), ('1d', 'day'), ('1w', 'week'), ('1mo', 'month')))
        self.yaml, self.windows = f'{{tumbling: {size}, zone: {zone}}}', test_windows.zoned(zone, of)

    def pipeline(self):
        names = [self.stream(i) for i in range(self.n_streams)]
        first, second = names[:2]
        sql = ('SELECT ' + ', '.join(f"(SELECT group_concat(n, ' ') FROM {name}) AS rows{i}" for i, name in enumerate(names)) +
               f', (SELECT count(*) FROM {first} a JOIN {second} b ON a.text = b.text AND a.ts <= b.ts) AS pairs')
        key = f'key: [{", ".join(self.keyed)}], ' if self.keyed else ''
        return (f'  {self.name}: {{from: [{", ".join(names)}], {key}window: {self.yaml}, {self.head()}, workers: {self.workers}, '
                f'analyzers: [{{sql: "{sql}"}}]}}\n')

    def sessions(self, rows):
        found, before = [], None
        for e, of in sorted(rows, key=lambda r: r[0]['ts']):
            if before is None or e['ts'] - before >= self.gap:
                found.append((e['ts'], []))
            before = e['ts']
            found[-1][1].append((e, of))
        return [(start, of[-1][0]['ts'] + self.gap, of) for start, of in found]

    def expected(self, requests, run):
        groups = collections.defaultdict(list)
        for i in range(self.n_streams):
            for e, watermark in self.marked(requests, i, self.order):
                key = tuple(e[c] for c in self.keyed)
                if None in key:
                    continue
                if self.gap:
                    spans = [()] if e['ts'] >= watermark or run else []
                else:
                    spans = [w[1:] for w in self.windows(e['ts'])]
                    spans = spans if min(end for _, end in spans) > watermark or run else []
                for span in spans:
                    groups[(span, key)].append((e, i))
        found = []
        for (span, key), rows in groups.items():
            for start, end, of in self.sessions(rows) if self.gap else [(*span, rows)]:
                of = [sorted((e for e, of_stream in of if of_stream == i), key=lambda e: e['ts']) for i in range(self.n_streams)]
                pairs = sum(a['text'] == b['text'] and a['ts'] <= b['ts'] for a in of[0] for b in of[1])
                key_values = tuple(int(v) if isinstance(v, bool) else v for v in key)
                found.append((start * MS, end * MS, *key_values, *(' '.join(str(e['n']) for e in rows) if rows else None for rows in of), pairs))
        return sorted(found, key=repr)

    def found(self, database):
        columns = ', '.join((*self.keyed, *(f'rows{i}' for i in range(self.n_streams)), 'pairs'))
        return sorted(harness.read_rows(database, f'SELECT window_start, window_end, {columns} FROM {self.name}_sql'), key=repr)

    def finish(self, server, events):
        last = self.last(events)
        for i in range(self.n_streams):
            self.post_last(server, i, last)
        return lambda: server.wait_watermark(self.name, (last - self.order) * MS)


def exchange_all(server):
    """By a reload: nothing but how long a silence is."""
    with open(server.path, encoding='utf-8') as file:
        text = file.read()
    with open(server.path, 'w', encoding='utf-8') as file:
        file.write(text.replace('idle_timeout: 1h', 'idle_timeout: 2h'))
    before = len(server.log)
    server.process.send_signal(signal.SIGHUP)
    harness.wait_until(lambda: any('the configuration ' in line for line in server.log[before:]), 'the verdict')
    exchanged = sum("' is exchanged" in line for line in server.log[before:])
    if exchanged != text.count('idle_timeout: 1h'):
        raise AssertionError(f'{exchanged} pipelines are exchanged:\n' + ''.join(server.log[before:]))


KINDS = ((AsOf, (OfStream,)), (AsOf, (OfStream,)), (AsOf, (OfResults,)), (AsOf, (OfTable,)), (AsOf, (OfStream, OfTable)),
         (AsOf, (OfStream, OfStream)), (AsOf, (OfResults, OfStream)), (AsOf, (OfTable, OfTable)), (AsOf, (OfResults, OfTable, OfStream)),
         (Windows, 'tumbling'), (Windows, 'hopping'), (Windows, 'session'), (Windows, 'session'), (Windows, 'zone'))


def text_of(cases, pipelines=True):
    return ('server: {listen: {listen}, database: {folder}/weir.db, checkpoint_interval: 20ms, commit_interval: 5ms, linger: 1ms, '
            'journal_keep: 64MiB}\nstreams:\n' + ''.join(c.streams() for c in cases) +
            ('pipelines:\n' + ''.join(c.pipeline() for c in cases) if pipelines else ''))


def begin(cases, pipelines=True):
    """A server that has not started, with the tables that are joined."""
    server = harness.Server(text_of(cases, pipelines))
    db = sqlite3.connect(server.database)
    with db:
        for c in cases:
            c.fill(db)
    db.close()
    return server


def served(cases, events):
    """Runs the cases with these events of each, with a kill and a reload in between; returns those whose tables are others."""
    parts = [c.parts(mine) for c, mine in zip(cases, events)]
    with begin(cases) as server:
        for part in range(3):
            for c, mine in zip(cases, parts):
                for stream, source, rows in mine[part]:
                    c.post(server, stream, source, rows)
            if part == 0:
                server.restart()
            elif part == 1:
                exchange_all(server)
        for done in [c.finish(server, mine) for c, mine in zip(cases, events)]:
            done()
        server.stop()
        return wrong(cases, [[r for part in mine for r in part] for mine in parts], server.database, False)


def backfilled(cases, events):
    """The pipelines come when two thirds are there, begin with what the journals have, and are killed there."""
    parts = [c.parts(mine) for c, mine in zip(cases, events)]
    with begin(cases, pipelines=False) as server:
        for part in range(3):
            for c, mine in zip(cases, parts):
                for stream, source, rows in mine[part]:
                    c.post(server, stream, source, rows)
            if part == 1:
                text = text_of(cases).replace('idle_timeout: 1h', 'idle_timeout: 1h, backfill: journal')
                with open(server.path, 'w', encoding='utf-8') as file:
                    file.write(text.replace('{folder}', server.folder).replace('{listen}', '127.0.0.1:0'))
                before = len(server.log)
                server.process.send_signal(signal.SIGHUP)
                harness.wait_until(lambda: any('the configuration ' in line for line in server.log[before:]), 'the verdict')
                server.restart()
        for done in [c.finish(server, mine) for c, mine in zip(cases, events)]:
            done()
        server.stop()
        return wrong(cases, [[r for part in mine for r in part] for mine in parts], server.database, False)


def from_files(cases, events):
    """The same by `weir run`, where windows are open until the end of the input."""
    server = begin(cases)
    try:
        arguments = []
        for c, mine in zip(cases, events):
            for i in range(c.n_streams):
                path = os.path.join(server.folder, c.stream(i) + '.ndjson')
                with open(path, 'w', encoding='utf-8') as file:
                    file.writelines(json.dumps(e) + '\n' for stream, _, e in mine if stream == i)
                arguments += ['-s', f'{c.stream(i)}={path}']
        done = harness.weir('run', '-q', '-c', server.path, *arguments)
        if done.returncode not in (0, 65):  # some may be too late to be joined
            raise AssertionError(done.stderr)
        requests = [[(stream, '', [e]) for stream, _, e in mine] for mine in events]
        return wrong(cases, requests, server.database, True)
    finally:
        server.remove_folder()


def wrong(cases, requests, database, run):
    found = [(c, c.found(database), c.expected(mine, run)) for c, mine in zip(cases, requests)]
    return [(c, rows, want) for c, rows, want in found if rows != want]


def differences(found, want):
    """The rows that only one of them has, the first of them."""
    few, many = collections.Counter(map(repr, found)), collections.Counter(map(repr, want))
    return f'only found {sorted(few - many)[:20]}\nonly model {sorted(many - few)[:20]}'


class Property(unittest.TestCase):
    def check(self, seed, differing):
        try:
            for place in PLACES:
                zoneinfo.ZoneInfo(place)
        except zoneinfo.ZoneInfoNotFoundError:
            self.skipTest('no tzdata')
        dice = random.Random(seed)
        cases = [of(dice, i, kind) for i, (of, kind) in enumerate(KINDS)]
        for c, _, _ in differing(cases, [c.events for c in cases])[:1]:
            few = shrink(c.events, lambda events, c=c: bool(differing([c], [events])))
            again = differing([c], [few])
            _, found, want = again[0] if again else (c, [], ['another time they were right'])
            self.fail(f'seed {seed}, {c.pipeline()}requests of {c.bytes} bytes, {len(few)} events:\n' +
                      ''.join(f'{stream} {source} {json.dumps(e)}\n' for stream, source, e in few[:60]) + differences(found, want))

    def test_a_server_finds_what_the_model_finds(self):
        for number in range(JOIN_ROUNDS):
            self.check(SEED + number, served)

    def test_pipelines_that_come_later_find_what_the_model_finds(self):
        for number in range(JOIN_ROUNDS):
            self.check(SEED + number, backfilled)

    def test_files_give_what_the_model_finds(self):
        for number in range(JOIN_ROUNDS):
            self.check(SEED + number, from_files)


if __name__ == '__main__':
    harness.main()
