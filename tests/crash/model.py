# SPDX-License-Identifier: Apache-2.0
"""What the tables must hold, computed from what clients know, and the comparison. Knows nothing of how
weir works: dictionaries of lists, Python's sum, min, max, math.fsum.

    requests + the tables with a group a request --> events that were counted, and faults
    events that were counted                     --> every other table, and faults
"""

import collections
import math
import sqlite3

import harness
import kinds
from load import ACKED, PREFIX, REFUSED
from setting import BEST, COLUMNS, ERA_US, PAIRS_COLUMNS, T0_US, TOPK, TOPK_COLUMNS

SHOWN = 8  # faults of a kind that are described; all are counted
FATE_COLUMNS = ('count', 'id_sum', 'id_min', 'id_max', 'r_sum')


class Verdict:
    """Events lost and doubled, rows that are wrong otherwise."""

    def __init__(self):
        self.lost = self.doubled = self.wrong = 0
        self.texts = collections.defaultdict(list)  # by kind

    def good(self):
        return not (self.lost or self.doubled or self.wrong)

    def say(self, kind, text):
        if len(self.texts[kind]) < SHOWN:
            self.texts[kind].append(text)

    def fault(self, text):
        self.wrong += 1
        self.say('wrong', text)

    def lose(self, n, text):
        self.lost += n
        self.say('lost', text)

    def double(self, n, text):
        self.doubled += n
        self.say('doubled', text)

    def add(self, other):
        self.lost += other.lost
        self.doubled += other.doubled
        self.wrong += other.wrong
        for kind, texts in other.texts.items():
            for text in texts:
                self.say(kind, text)

    def rows(self, table, expected, found, counts=True):
        """Compares {key: row} with {key: row}; the first cell of a row counts its events."""
        for key in sorted(expected.keys() | found.keys(), key=repr):
            want, have = expected.get(key), found.get(key)
            if want == have:
                continue
            difference = (have[0] if have else 0) - (want[0] if want else 0) if counts else 0
            text = f'{table} {key}: {have}, expected {want}'
            if difference < 0:
                self.lose(-difference, text)
            elif difference > 0:
                self.double(difference, text)
            else:
                self.fault(text)


# ---- Reading --------------------------------------------------------------------------------------


def read(database, table, key, columns, start_us, end_us):
    """{(window_start, key...): row} of the windows that start in [start, end)."""
    names = ', '.join(['window_start', *key, *columns])
    sql = f'SELECT {names} FROM {table} WHERE window_start >= ? AND window_start < ?'
    n = 1 + len(key)
    return {row[:n]: row[n:] for row in harness.read_rows(database, sql, start_us, end_us)}


def has_table(database, table):
    return bool(harness.read_rows(database, 'SELECT 1 FROM sqlite_schema WHERE name = ?', table))


# ---- Computing ------------------------------------------------------------------------------------


def row_of(events):
    """In the order of COLUMNS."""
    _, ids, r, x, y = zip(*(event[:5] for event in events))
    return (len(events), sum(ids), min(ids), max(ids), sum(r), min(r), max(r), math.fsum(x), min(x),
            max(x), math.fsum(y))


def child_row(pipeline, events):
    """In the order of its columns; each event is in one result of the parent."""
    ids = [event[1] for event in events]
    parents = {pipeline.parent.window_start(event[0]) for event in events}
    return (len(ids), sum(ids), min(ids), max(ids), len(parents))


def top_of(events):
    """[(tag, count)]: the most frequent, of equals the smaller first."""
    counts = collections.Counter(event[7] for event in events)
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:TOPK]


def best_of(events):
    """[(id, r)]: the greatest r first; no two have the same."""
    return [event[1:3] for event in sorted(events, key=lambda event: -event[2])[:BEST]]


class Events(list):
    """Of a stream; by the keys that pipelines have, found once for all that have the same."""

    def __init__(self, events):
        super().__init__(events)
        self.found = {}

    def by_key(self, pipeline):
        what = (*pipeline.key, pipeline.where and pipeline.where[0])
        if what not in self.found:
            columns = [kinds.KEYS[name] for name in pipeline.key]
            keys = self.found[what] = collections.defaultdict(list)
            for event in self:
                if pipeline.takes(event):
                    keys[tuple([event[c] for c in columns])].append(event)
        return self.found[what]


def groups_of(pipeline, events, start_us, end_us):
    """{(window_start, key...): events} of the windows in [start, end)."""
    keys = events.by_key(pipeline)
    return {(start, *key): group for key, some in keys.items() for start, end, group in pipeline.windows(some)
            if start_us <= start and end <= end_us}


def tables_of(pipeline, events, start_us, end_us):
    """(rows of the pipeline's table, rows of its top-k table)"""
    groups = groups_of(pipeline, events, start_us, end_us)
    rows = {key: child_row(pipeline, group) if pipeline.parent else row_of(group) for key, group in groups.items()}
    top = {}
    if pipeline.topk:
        for key, group in groups.items():
            for rank, (tag, count) in enumerate(top_of(group), 1):
                top[(*key, rank)] = (count, tag, 0)
    return rows, top


# ---- Comparing ------------------------------------------------------------------------------------


def fate_row(events):
    ids = [event[1] for event in events]
    return (len(ids), sum(ids), min(ids), max(ids), sum(event[2] for event in events))


def counted_of(request, row, verdict):
    """The events of a request that were counted, by its row in the table of fates (None: no row)."""
    events = request.events
    name = f'request {request.number}, {len(events)} events, {request.shape}, {request.fate}'
    n = row[0] if row else 0
    if request.fate == REFUSED:
        if n:
            verdict.double(n, f'{name}: counted {n}')
        return []
    if n > len(events):
        verdict.double(n - len(events), f'{name}: counted {n}')
        return events
    if request.fate == ACKED and n < len(events):
        verdict.lose(len(events) - n, f'{name}: counted {n}')
    elif 0 < n < len(events) and request.fate != PREFIX:
        verdict.fault(f'{name}: counted {n}, in part')
    if n and row != fate_row(events[:n]):
        verdict.fault(f'{name}: {row}, expected {fate_row(events[:n])}')
    return events[:n]


def counted(pipeline, requests, database, start_us, end_us, verdict):
    """All events of a stream that were counted, of windows that start in [start, end)."""
    found = read(database, pipeline.name, pipeline.key, FATE_COLUMNS, start_us, end_us)
    events = []
    for request in requests:
        row = found.pop((pipeline.window_start(request.events[0][0]), request.number), None)
        events += counted_of(request, row, verdict)
    for key, row in found.items():
        verdict.double(row[0], f'{pipeline.name} {key}: nobody sent it')
    return events


class Era:
    """A round's part of event time. Windows that end at or before its end are closed."""

    def __init__(self, database, start_us, end_us):
        self.database, self.start_us, self.end_us = database, start_us, end_us


class Checker:
    """Compares the tables of a database with the requests of a ledger. `pipelines`: see setting.py."""

    def __init__(self, pipelines, database):
        self.pipelines, self.database = pipelines, database
        self.counted = collections.defaultdict(list)  # by stream, of all eras so far
        self.order = kinds.Order(pipelines)

    @harness.one_connection()
    def era(self, requests, start_us):
        """All windows of the era are closed, and all its requests have a fate."""
        verdict = Verdict()
        end_us = start_us + ERA_US
        events = {}
        for fate in self.pipelines:
            if fate.kind == 'fate':
                some = [r for r in requests if r.stream == fate.stream and
                        start_us <= r.events[0][0] < end_us]
                events[fate.stream] = Events(counted(fate, some, self.database, start_us, end_us, verdict))
                self.counted[fate.stream] += events[fate.stream]
        for pipeline in self.pipelines:
            if not pipeline.chain:
                self.compare(pipeline, events, start_us, end_us, verdict)
        self.compare_late(events['main'], start_us, end_us, verdict)
        self.order.compare(Era(self.database, start_us, end_us), requests, verdict)
        return verdict

    def counted_in(self, stream, start_us, end_us):
        return Events(event for event in self.counted[stream] if start_us <= event[0] < end_us)

    def compare_replaced(self, pipeline, verdict):
        """All eras: what SQL makes of the table that it reads."""
        key = ', '.join(pipeline.key)
        how = ', '.join(f'{how}({name})' for name, how in zip(pipeline.reads(), ('sum', 'sum', 'min', 'max')))
        sql = [f'SELECT {key}, {", ".join(pipeline.columns())} FROM {pipeline.name} WHERE window_end IS NOT NULL',
               f'SELECT {key}, {how}, count(*) FROM {pipeline.table} WHERE window_end IS NOT NULL GROUP BY {key}']
        n = len(pipeline.key)
        found, expected = ({row[:n]: row[n:] for row in harness.read_rows(self.database, text)} for text in sql)
        verdict.rows(pipeline.name, expected, found)

    @harness.one_connection()
    def chain(self, end_us):
        """At the end of a chain: the windows that were open all along, and that no later round has
        changed what was there."""
        verdict = Verdict()
        events = {stream: self.counted_in(stream, T0_US, end_us) for stream in self.counted}
        for pipeline in self.pipelines:
            self.compare(pipeline, events, T0_US, end_us, verdict)
        return verdict

    def compare(self, pipeline, by_stream, start_us, end_us, verdict):
        """`by_stream`: the events that were counted."""
        events = by_stream[pipeline.stream]
        if pipeline.kind in ('joined', 'found', 'found near', 'pairs'):
            self.compare_streams(pipeline, events, by_stream['other'], (start_us, end_us), verdict)
        if pipeline.kind == 'replaced':
            self.compare_replaced(pipeline, verdict)
            return
        if pipeline.kind == 'rows':
            self.compare_kept(pipeline, events, start_us, end_us, verdict)
        if pipeline.kind not in ('exact', 'revise', 'child'):
            return
        rows, top = tables_of(pipeline, events, start_us, end_us)
        verdict.rows(pipeline.name, rows, read(self.database, pipeline.name, pipeline.key, pipeline.columns(),
                                               start_us, end_us))
        if pipeline.topk:
            verdict.rows(f'{pipeline.name}_topk', top, self.top(pipeline, start_us, end_us))
        if pipeline.best:
            groups = groups_of(pipeline, events, start_us, end_us)
            best = {(*key, rank): row for key, some in groups.items() for rank, row in enumerate(best_of(some), 1)}
            verdict.rows(f'{pipeline.name}_rows', best,
                         read(self.database, f'{pipeline.name}_rows', [*pipeline.key, 'rank'], ['id', 'r'],
                              start_us, end_us), counts=False)

    def compare_streams(self, pipeline, events, others, span, verdict):
        if pipeline.kind == 'pairs':
            found = read(self.database, f'{pipeline.name}_sql', [*pipeline.key, 'rank'], PAIRS_COLUMNS, *span)
            kinds.compare_pairs(pipeline, *self.groups_of_both(pipeline, events, others, span), found, verdict)
            return
        groups = groups_of(pipeline, events, *span)
        found = read(self.database, pipeline.name, pipeline.key, pipeline.columns(), *span)
        compare = kinds.compare_joined if pipeline.kind == 'joined' else kinds.compare_found
        compare(pipeline, groups, others, found, verdict)

    @staticmethod
    def groups_of_both(pipeline, events, others, span):
        """A session has events of both streams."""
        if not pipeline.gap_us:
            return groups_of(pipeline, events, *span), groups_of(pipeline, others, *span)
        own = {id(event) for event in events}
        both = groups_of(pipeline, Events([*events, *others]), *span)
        return ({key: [e for e in group if (id(e) in own) == mine] for key, group in both.items()} for mine in (True, False))

    def compare_kept(self, pipeline, events, start_us, end_us, verdict):
        sql = f'SELECT id FROM {pipeline.name} WHERE ts >= ? AND ts < ?'
        found = collections.Counter(row[0] for row in harness.read_rows(self.database, sql, start_us, end_us))
        wanted = collections.Counter(event[1] for event in events)
        if wanted - found:
            verdict.lose((wanted - found).total(), f'{pipeline.name}: {(wanted - found).most_common(3)} are missing')
        if found - wanted:
            verdict.double((found - wanted).total(), f'{pipeline.name}: {(found - wanted).most_common(3)} too often')

    def top(self, pipeline, start_us, end_us):
        key = [*pipeline.key, 'rank']
        found = read(self.database, f'{pipeline.name}_topk', key, TOPK_COLUMNS[1:], start_us, end_us)
        return {key: (count, tag, error) for key, (tag, count, error) in found.items()}

    # ---- Late events -----------------------------------------------------------------------------

    def compare_late(self, events, start_us, end_us, verdict):
        """What was late depends on the order of the log, which no client knows. But all pipelines saw
        the same order; and what is not counted in a window is in the side table."""
        late = [p for p in self.pipelines if p.kind in ('late', 'side')]
        rows = {p.name: read(self.database, p.name, p.key, COLUMNS, start_us, end_us) for p in late}
        first = late[0]
        for other in late[1:]:
            verdict.rows(f'{other.name}, against {first.name}', rows[first.name], rows[other.name])
            if other.topk:
                verdict.rows(f'{other.name}_topk, against {first.name}', self.top(first, start_us, end_us),
                             self.top(other, start_us, end_us))
        everything, _ = tables_of(first, events, start_us, end_us)
        for key, row in rows[first.name].items():
            more = row[0] - everything.get(key, (0,))[0]
            if more > 0:
                verdict.double(more, f'{first.name} {key}: {row}, of all {everything.get(key)}')
        for pipeline in self.pipelines:
            if pipeline.kind == 'side':
                self.compare_side(pipeline, events, rows[pipeline.name], (start_us, end_us), verdict)
            if pipeline.kind == 'revise':
                in_time = {key: row[0] for key, row in rows[first.name].items()}
                expected = {key: (row[0] - in_time.get(key, 0),) for key, row in everything.items()}
                verdict.rows(f'{pipeline.name}, revision', expected,
                             read(self.database, pipeline.name, pipeline.key, ['revision'], start_us, end_us),
                             counts=False)

    def compare_side(self, pipeline, events, rows, span, verdict):
        ids = self.side_ids(pipeline, span)
        twice = [number for number, n in collections.Counter(ids).items() if n > 1]
        if twice:
            verdict.double(len(twice), f'{pipeline.name}: twice in the side table: {twice[:5]}')
        unknown = set(ids) - {event[1] for event in events}
        if unknown:
            verdict.double(len(unknown), f'{pipeline.name}: in the side table, but not counted: '
                           f'{sorted(unknown)[:5]}')
        side = set(ids)
        expected, _ = tables_of(pipeline, Events(e for e in events if e[1] not in side), *span)
        verdict.rows(f'{pipeline.name}, without the side table', expected, rows)

    def side_ids(self, pipeline, span):
        sql = f'SELECT id FROM {pipeline.name}_late WHERE ts >= ? AND ts < ?'
        return [row[0] for row in harness.read_rows(self.database, sql, *span)]


def integrity(database):
    """What the sqlite3 shell says of the file; '' if it is sound."""
    try:
        said = harness.sqlite3_shell(f".open '{database}'\nPRAGMA integrity_check;\n", None).strip()
    except AssertionError as error:
        return str(error)
    return '' if said == 'ok' else said
