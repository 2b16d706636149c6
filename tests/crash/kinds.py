# SPDX-License-Identifier: Apache-2.0
"""What pipelines give that tumbling, hopping and session windows of one stream do not cover.

Windows by count, `until` and `global` depend on the order of the log, which no client knows. But `window: none` has
kept each event with its position in it, so there is one order that all of these must be true to, and in which each
counted event is once. These models go through it event by event, in all rounds of a chain; a whole table is compared
each time, so that no later round may change what was there.

Joins are computed from the events of both streams, sorted and looked up, or counted and multiplied."""

import bisect
import collections
import heapq

import harness
from setting import BEST, JOIN_COLUMNS, MINUTE_US, NEAR_US, ORDERED_COLUMNS, PAIRS_COLUMNS, RESULT_COLUMNS, RESULT_WITHIN_US, WITHIN_US

KEYS = {'name': 5, 'number': 6}


# ---- In the order of the log ------------------------------------------------------------------------


class Total:
    """Of the events of a key so far, in the order of ORDERED_COLUMNS, and the best of them."""

    def __init__(self, event):
        self.row, self.best = (1, event[1], event[1], event[1], event[2]), [(event[2], event[1])]

    def add(self, event):
        n, ids, least, greatest, r = self.row
        self.row = (n + 1, ids + event[1], min(least, event[1]), max(greatest, event[1]), r + event[2])
        if len(self.best) < BEST or event[2] > self.best[0][0]:
            self.best = heapq.nlargest(BEST, [*self.best, (event[2], event[1])])[::-1]

    def ranks(self):
        """(rank, id, r)"""
        return [(rank, number, r) for rank, (r, number) in enumerate(sorted(self.best, reverse=True), 1)]

    def copy(self):
        other = Total.__new__(Total)
        other.row, other.best = self.row, self.best
        return other


def total_of(events):
    total = Total(events[0])
    for event in events[1:]:
        total.add(event)
    return total.row


class Model:
    """take(): an event, in order. end(): the events of a round have ended, those that close its windows have come."""

    def __init__(self, pipeline):
        self.pipeline, self.column = pipeline, KEYS[pipeline.key[0]]
        self.rows = {}  # that the table has: key to row

    def read(self, database, key, columns, where=''):
        names = ', '.join([*key, *columns])
        found = harness.read_rows(database, f'SELECT {names} FROM {self.pipeline.name} {where}')
        return {row[:len(key)]: row[len(key):] for row in found}


class Count(Model):
    """Windows of so many rows of a key, each begun so many behind the one before."""
    SIZE, BY = 100, 40

    def __init__(self, pipeline):
        super().__init__(pipeline)
        self.waiting, self.number = collections.defaultdict(list), collections.Counter()

    def take(self, event):
        mine, key = self.waiting[event[self.column]], event[self.column]
        mine.append(event)
        if len(mine) == self.SIZE:
            self.number[key] += 1
            times = [e[0] for e in mine]
            self.rows[key, self.number[key]] = (*total_of(mine), min(times), max(times) + 1)
            del mine[:self.BY]

    def compare(self, era, verdict):
        found = self.read(era.database, [*self.pipeline.key, '"number"'],
                          [*ORDERED_COLUMNS, 'window_start', 'window_end'])
        verdict.rows(self.pipeline.name, self.rows, found)


class Running(Count):
    """A row every so many rows of a key, of all that it has had."""
    SIZE = 70

    def __init__(self, pipeline):
        super().__init__(pipeline)
        self.total = {}

    def take(self, event):
        key, mine = event[self.column], self.waiting[event[self.column]]
        if key in self.total:
            self.total[key].add(event)
        else:
            self.total[key] = Total(event)
        mine.append(event[0])
        if len(mine) == self.SIZE:
            self.number[key] += 1
            self.rows[key, self.number[key]] = (*self.total[key].row, min(mine), max(mine) + 1)
            mine.clear()


class Until(Model):
    """The first event says when a window of its key ends. Nothing is late: all that is behind a window belongs to the
    next one."""

    def __init__(self, pipeline):
        super().__init__(pipeline)
        self.open = collections.defaultdict(list)  # (end, events), by end

    def take(self, event):
        mine = self.open[event[self.column]]
        for end, events in mine:
            if event[0] < end:
                events.append(event)
                return
        if event[8] > event[0]:
            mine.append((event[8], [event]))

    def compare(self, era, verdict):
        for key, windows in self.open.items():
            for end, events in windows:
                if end <= era.end_us:
                    self.rows[min(e[0] for e in events), key] = (*total_of(events), end)
            windows[:] = [w for w in windows if w[0] > era.end_us]
        verdict.rows(self.pipeline.name, self.rows,
                     self.read(era.database, ['window_start', *self.pipeline.key], [*ORDERED_COLUMNS, 'window_end']))


class Global(Model):
    """One window for ever. The table has what had come when the watermark reached a border last. All of a round had,
    when the events that end it move the watermark; of these, some had."""

    def __init__(self, pipeline):
        super().__init__(pipeline)
        self.total = {}
        self.expires = 'expire' in pipeline.window
        self.before = {}    # key: (totals that the table may have, is one of them 'none'?), of the events that end a round
        self.closing = []   # (key, event, source) of these
        self.holding = set()  # sources that had sent before

    def take(self, event):
        key = event[self.column]
        if key in self.total:
            self.total[key].add(event)
        else:
            self.total[key] = Total(event)

    def take_closing(self, event, source):
        key = event[self.column]
        if key not in self.before:
            self.before[key] = [self.total[key].copy() if key in self.total else None]
        self.take(event)
        self.before[key].append(self.total[key].copy())
        self.closing.append((key, event, source))

    def expire(self, found):
        """Behind the last border all are forgotten but those with one of the events that end the round and came before the
        watermark moved: with that of the last source that holds it, as one that had sent before does. The key of an event from
        then on begins anew with it, and has no row yet, if it was not kept; or the one that moved it counted before."""
        moved = max((i for i, (_, _, source) in enumerate(self.closing) if source in self.holding), default=0)
        kept, anew = {key for key, _, _ in self.closing[:moved]}, {}
        for i, (key, event, _) in enumerate(self.closing[moved:]):
            if key in kept:
                continue
            if i == 0 and (key,) in found:
                kept.add(key)
            elif key in anew:
                anew[key].add(event)
            else:
                anew[key] = Total(event)
        for key in set(self.total) - kept:
            del self.total[key]
        for key, total in anew.items():
            self.total[key] = total
            self.before[key] = [None]

    def compare(self, era, verdict):
        found = self.read(era.database, self.pipeline.key, ORDERED_COLUMNS)
        if self.expires:
            self.expire(found)
        expected, chosen = {}, {}
        for key, total in self.total.items():
            row, may = found.get((key,)), self.before.get(key, [total])
            chosen[key] = next((t for t in may if (t and t.row) == row), may[0])
            if chosen[key]:
                expected[key,] = chosen[key].row
        verdict.rows(self.pipeline.name, expected, found)
        if self.pipeline.best:
            self.compare_best(era, chosen, verdict)
        self.before, self.closing = {}, []

    def compare_best(self, era, chosen, verdict):
        name = self.pipeline.name
        sql = f'SELECT {self.pipeline.key[0]}, rank, id, r FROM {name}_rows'
        found = {row[:2]: row[2:] for row in harness.read_rows(era.database, sql)}
        expected = {(key, rank): (number, r) for key, total in chosen.items() if total
                    for rank, number, r in total.ranks()}
        verdict.rows(f'{name}_rows', expected, found, counts=False)


MODELS = {'count': Count, 'running': Running, 'until': Until, 'global': Global}


class Order:
    """The order of the log, as the kept events have it, and the models that follow it."""

    def __init__(self, pipelines):
        self.models = [MODELS[p.kind](p) for p in pipelines if p.kind in MODELS]
        self.kept = next((p for p in pipelines if p.kind == 'rows'), None)
        self.position, self.row = -1, -1

    def compare(self, era, requests, verdict):
        """`requests`: all that have been sent so far."""
        if not self.models:
            return
        sent = {event[1]: (event, request.source) for request in requests if request.stream == self.kept.stream and
                request.events[-1][0] >= era.start_us for event in request.events}
        sql = f'''SELECT position, "row", id FROM {self.kept.name} WHERE ts >= ? AND (position, "row") > (?, ?)
                  ORDER BY position, "row"'''
        for self.position, self.row, number in harness.read_rows(era.database, sql, era.start_us, self.position,
                                                                 self.row):
            event, source = sent.get(number, (None, None))
            if event is None:
                verdict.double(1, f'{self.kept.name}: nobody sent {number}')
                continue
            for model in self.models:
                if event[0] >= era.end_us and isinstance(model, Global):
                    model.take_closing(event, source)
                else:
                    model.take(event)
                    if isinstance(model, Global):
                        model.holding.add(source)
        for model in self.models:
            model.compare(era, verdict)


# ---- Joins -------------------------------------------------------------------------------------------


class AsOf:
    """The newest event of the other stream with the same name, at or before: of equal times the one that came last,
    which only those that end a round have, one after the other."""

    def __init__(self, others):
        self.of = collections.defaultdict(list)
        for event in others:
            self.of[event[5]].append((event[0], event[1], event[2]))
        for some in self.of.values():
            some.sort()

    def find(self, event):
        """(time, id, r), or None"""
        some = self.of[event[5]]
        i = bisect.bisect_right(some, (event[0], 1 << 62))
        return some[i - 1] if i and some[i - 1][0] >= event[0] - WITHIN_US else None

    def row(self, events):
        """In the order of JOIN_COLUMNS."""
        found = [(e, f) for e in events if (f := self.find(e))]
        if not found:
            return (len(events), None, None, None, None, None, len(events))
        ids = [f[1] for _, f in found]
        return (len(events), sum(ids), min(ids), max(ids), sum(e[2] - f[2] for e, f in found),
                max(e[0] - f[0] for e, f in found), len(events) - len(found))

    def child_row(self, parent, events):
        """Of the results of the parent, one for each of its windows."""
        rows = [self.row(group) for _, _, group in parent.windows(events)]
        sums, least, greatest = ([row[i] for row in rows if row[i] is not None] for i in (1, 2, 3))
        return (sum(row[0] for row in rows), sum(sums) if sums else None, min(least, default=None),
                max(greatest, default=None), len(rows))


def compare_joined(pipeline, groups, others, found, verdict):
    """`groups`: key to events of the own stream."""
    as_of = AsOf(others)
    expected = {key: as_of.child_row(pipeline.parent, events) if pipeline.parent else as_of.row(events)
                for key, events in groups.items()}
    verdict.rows(pipeline.name, expected, found)


def ten_minutes_of(times):
    """(end, count) of windows, in order."""
    counts = collections.Counter(time // (10 * MINUTE_US) for time in times)
    return [((window + 1) * 10 * MINUTE_US, n) for window, n in sorted(counts.items())]


def sessions_of(times):
    sessions = []
    for time in sorted(times):
        near = sessions and time < sessions[-1][0]
        sessions[-1:] = [(time + NEAR_US, sessions[-1][1] + 1)] if near else [*sessions[-1:], (time + NEAR_US, 1)]
    return sessions


def compare_found(pipeline, groups, others, found, verdict):
    """Of each event the newest window of the other stream that was over, by name: of ten minutes, or a session."""
    times = collections.defaultdict(list)
    for event in others:
        times[event[5]].append(event[0])
    windows = {name: (ten_minutes_of if pipeline.kind == 'found' else sessions_of)(some) for name, some in times.items()}

    def ago_and_count(event):
        mine = windows.get(event[5], [])
        i = bisect.bisect_right(mine, (event[0] + 1, 1 << 62))  # the end of one of which this is the last microsecond counts
        near = i and mine[i - 1][0] - 1 >= event[0] - RESULT_WITHIN_US
        return (event[0] - mine[i - 1][0], mine[i - 1][1]) if near else None
    expected = {}
    for key, events in groups.items():
        some = [f for event in events if (f := ago_and_count(event))]
        ago, n = zip(*some) if some else ((), ())
        expected[key] = (len(events), sum(n) if n else None, max(n, default=None), max(ago, default=None))
    verdict.rows(pipeline.name, expected, found)


def pairs_of(mains, others):
    """In the order of PAIRS_COLUMNS, of events with the same name and tag."""
    total = [collections.defaultdict(lambda: [0, 0]) for _ in range(2)]
    for side, events in zip(total, (mains, others)):
        for event in events:
            both = side[event[5], event[7]]
            both[0] += 1
            both[1] += event[1]
    pairs = [(m, total[1][key]) for key, m in total[0].items() if key in total[1]]
    if not pairs:
        return (0, None, None)
    return (sum(m[0] * o[0] for m, o in pairs), sum(m[1] * o[0] for m, o in pairs), sum(m[0] * o[1] for m, o in pairs))


def compare_pairs(pipeline, mains, others, found, verdict):
    """`mains`, `others`: key to events, of the windows that have some."""
    expected = {(*key, 1): pairs_of(mains.get(key, []), others.get(key, [])) for key in mains.keys() | others.keys()}
    verdict.rows(f'{pipeline.name}_sql', expected, found)


assert JOIN_COLUMNS[0] == RESULT_COLUMNS[0] == 'count' and PAIRS_COLUMNS[0] == 'pairs'
