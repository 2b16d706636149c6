# SPDX-License-Identifier: Apache-2.0
"""The server under test: its streams and pipelines, as data that both the configuration and the model
are made of. Keys that this build of weir does not know are left out, so that the test runs on any."""

import datetime
import os
import random
import sqlite3
import tempfile
import zlib
import zoneinfo

import harness
import hooked
import service

SECOND_US = 1000000
MINUTE_US = 60 * SECOND_US
HOUR_US = 3600 * SECOND_US
DAY_US = 24 * HOUR_US

# Event time. A round lives in an era of its own; nothing is late as long as an event is at most SPAN
# behind the clock of the load, and an unanswered request at most SLACK.
ERA_US = 10 * DAY_US
EXPIRE_US = 2 * DAY_US  # of `while_used`: what an era has given is forgotten at its end, however far its clock came
CHAIN_US = 3650 * DAY_US
T0_US = 5 * CHAIN_US  # 2019-12-20; a multiple of all windows
SPAN_US = HOUR_US
SLACK_US = HOUR_US
ORDER_US = 3 * HOUR_US
LATE_ORDER_US = 5 * MINUTE_US

STREAMS = ('main', 'volatile', 'other')
ANALYZERS = '''
      - count
      - stats: {of: id, emit: [sum, min, max]}
      - stats: {of: r, emit: [sum, min, max]}
      - stats: {of: x, emit: [sum, min, max]}
      - stats: {of: y, emit: [sum]}
'''
COLUMNS = ('count', 'id_sum', 'id_min', 'id_max', 'r_sum', 'r_min', 'r_max', 'x_sum', 'x_min', 'x_max',
           'y_sum')
CHILD_ANALYZERS = '''
      - count
      - sum: {{of: {0}}}
      - sum: {{of: {1}}}
      - stats: {{of: {2}, emit: [min]}}
      - stats: {{of: {3}, emit: [max]}}
'''
ORDERED_ANALYZERS = '''
      - count
      - stats: {of: id, emit: [sum, min, max]}
      - stats: {of: r, emit: [sum]}
'''
ORDERED_COLUMNS = ('count', 'id_sum', 'id_min', 'id_max', 'r_sum')
BEST = 3
BEST_ANALYZER = f'      - rows: {{by: r, n: {BEST}, columns: [id, r]}}\n'

# The newest event of the other stream that has the name, at or before.
WITHIN_US = 2 * MINUTE_US
JOIN = f'''{{other: {{on: [name], as_of: true, within: {WITHIN_US}us,
                  columns: {{other_id: id, other_r: r, other_ts: ts}}}}}}'''
JOIN_DERIVE = '{gap: r - other_r, behind: ts - other_ts}'
JOIN_ANALYZERS = '''
      - count
      - stats: {of: other_id, emit: [sum, min, max]}
      - sum: {of: gap}
      - stats: {of: behind, emit: [max]}
      - count: {where: other_id IS NULL, as: alone}
'''
JOIN_COLUMNS = ('count', 'other_id_sum', 'other_id_min', 'other_id_max', 'gap_sum', 'behind_max', 'alone')
# The newest result that was over, of the same name: of o_by_name, or of sessions with this gap.
NEAR_US = 7 * SECOND_US
RESULT_WITHIN_US = 20 * MINUTE_US


def result_join(of):
    return f'{{{of}: {{on: [name], as_of: true, within: {RESULT_WITHIN_US}us, columns: {{n: count, until: window_end}}}}}}'


RESULT_ANALYZERS = """
      - count
      - stats: {of: n, emit: [sum, max]}
      - stats: {of: ago, emit: [max]}
"""
RESULT_COLUMNS = ('count', 'n_sum', 'n_max', 'ago_max')
# Events of the two streams in the same window that have a name and a tag in common.
PAIRS = """
      - sql: "SELECT count(*) AS pairs, sum(m.id) AS main_ids, sum(o.id) AS other_ids
              FROM main m JOIN other o ON m.name = o.name AND m.tag = o.tag"
"""
PAIRS_COLUMNS = ('pairs', 'main_ids', 'other_ids')
# Some of the analyzers in processes of their own, which are killed, too (crash.py).
APART_ANALYZERS = '''
      - count
      - stats: {of: id, emit: [sum, min, max]}
        run: process
      - stats: {of: r, emit: [sum, min, max]}
      - stats: {of: x, emit: [sum, min, max]}
        run: process
      - stats: {of: y, emit: [sum]}
'''
# The same in Python, where this weir has it; its sums are exact.
PYTHON_FILE = '''from __future__ import annotations
from fractions import Fraction
from typing import NamedTuple
import weir

class Row(NamedTuple):
    count: int
    id_sum: int
    id_min: int
    id_max: int
    r_sum: int
    r_min: int
    r_max: int
    x_sum: float
    x_min: float
    x_max: float
    y_sum: float

class All(weir.Fold):
    arrays = 'memoryview'

    def __init__(self):
        self.n, self.ends, self.sums = 0, [], [0, 0, Fraction(0), Fraction(0)]

    def take(self, n, ends, sums):
        self.n += n
        self.ends = [(min(a[0], b[0]), max(a[1], b[1])) for a, b in zip(self.ends or ends, ends)]
        self.sums = [a + b for a, b in zip(self.sums, sums)]

    def update(self, id, r, x, y):
        self.take(len(id), [(min(c), max(c)) for c in (id, r, x)],
                  [sum(id), sum(r), sum(map(Fraction, x)), sum(map(Fraction, y))])

    def merge(self, other):
        self.take(other.n, other.ends, other.sums)

    def emit(self) -> Row:
        (a, b), (c, d), (e, f) = self.ends
        ids, rs, xs, ys = self.sums
        return Row(self.n, ids, a, b, rs, c, d, float(xs), e, f, float(ys))
'''
PYTHON_ANALYZERS = '''
      - python: {file: "{folder}/all.py", of: [id, r, x, y]}
'''
# What another service knows of a name. It is slow at times, and often of no use; it is asked until it answers.
LOOKUP = '''{{numbers: {{url: "{0}/{{name}}", columns: {{size: {{type: int, path: about.size}}}}, on_error: stop, retries: 1000,
                          backoff: 1ms, max_backoff: 20ms, cache_ttl: 20ms, in_flight: 10}}}}'''


# What a table of the database knows of a number; of odd ones nothing. It is there before the server is.
TABLE = 'sizes'
TABLE_JOIN = f'{{{TABLE}: {{table: {TABLE}, on: [number], columns: {{size: int}}}}}}'


def size_of(number):
    return number * 7 % 11


def fill(database):
    if os.path.exists(database):
        return
    db = sqlite3.connect(database)
    with db:
        db.execute(f'CREATE TABLE {TABLE} (number INTEGER PRIMARY KEY, size INTEGER)')
        db.executemany(f'INSERT INTO {TABLE} VALUES (?, ?)', ((n, size_of(n)) for n in range(0, 1000, 2)))
    db.close()


def known_of(name):
    return zlib.crc32(name.encode()) % 1000


def answer(name, _n):
    fate = random.random()
    if fate < 0.2:
        return random.choice((500, 503, 429, 408))
    reply = {'about': {'size': known_of(name)}}
    return (reply, 0.02) if fate < 0.3 else reply


TOPK = 5
TOPK_COLUMNS = ('rank', 'tag', 'tag_count', 'tag_error')


class Pipeline:
    """kind: 'fate' has a group a request; 'exact' gives every counted event; 'late' leaves out what is
    late, 'side' has that in a table of its own, 'revise' gives every event after all, and says how many of
    a group were late; 'child' reads the results of its parent, of shorter windows and the same key; 'replaced' those that take
    each other's place. Others have a
    model of their own, see kinds.py."""

    def __init__(self, name, stream, key, window_us, kind='exact', offset_us=0, workers=1, where=None,
                 idle='off', topk=False, chain=False, parent=None, window=None, by_us=None, gap_us=None, of=None,
                 analyzers=ANALYZERS, columns=COLUMNS, best=False, zone=None, more='', table=None, of_table=None):
        self.name, self.stream, self.key, self.window_us = name, stream, key, window_us
        self.kind, self.offset_us, self.workers = kind, offset_us, workers
        self.where, self.idle, self.topk, self.chain = where, idle, topk, chain
        self.parent = parent
        self.table, self.of_table = table or (parent and parent.name), of_table  # of the parent, with four of its columns
        # Other windows than tumbling ones, as the configuration says them; of several sizes `of` has the table of the others.
        self.window, self.by_us, self.gap_us, self.of = window, by_us, gap_us, of
        self.analyzers, self.own_columns, self.best, self.more = analyzers, columns, best, more
        self.zone = zoneinfo.ZoneInfo(zone) if zone else None

    def pipeline_name(self):
        if self.of:
            return self.of.pipeline_name()
        return self.name.replace('_10m', '') if self.window and 'tumbling' in self.window else self.name

    def reads(self):
        return self.of_table or self.parent.for_child()

    def for_child(self):
        """Of its columns: number, sum, least and greatest of the ids."""
        names = self.reads() if self.parent else None
        return [f'{name}_{how}' for name, how in zip(names, ('sum', 'sum', 'min', 'max'))] if names \
            else list(JOIN_COLUMNS[:4] if self.kind == 'joined' else ['count', 'id_sum', 'id_min', 'id_max'])

    def columns(self):
        return [*self.for_child(), 'count'] if self.parent else self.own_columns

    def takes(self, event):
        return self.where is None or self.where[1](event)

    def window_start(self, time_us):
        return time_us - (time_us - self.offset_us) % self.window_us

    def days(self, events):
        """Of the zone's clocks."""
        groups, found = {}, []
        for event in events:
            day = datetime.datetime.fromtimestamp(event[0] // SECOND_US, self.zone).date()
            groups.setdefault(day, []).append(event)
        for day, group in groups.items():
            start, end = (int(datetime.datetime.combine(d, datetime.time(), self.zone).timestamp()) * SECOND_US
                          for d in (day, day + datetime.timedelta(1)))
            found.append((start, end, group))
        return found

    def windows(self, events):
        """[(start, end, events)] of the events of one key."""
        if self.zone:
            return self.days(events)
        if self.gap_us:
            found = []
            for event in sorted(events, key=lambda event: event[0]):
                if not found or event[0] >= found[-1][1]:
                    found.append([event[0], 0, []])
                found[-1][1] = event[0] + self.gap_us
                found[-1][2].append(event)
            return found
        by_us, groups = self.by_us or self.window_us, {}
        for event in events:
            start = event[0] - (event[0] - self.offset_us) % by_us
            while start > event[0] - self.window_us:
                groups.setdefault(start, []).append(event)
                start -= by_us
        return [(start, start + self.window_us, group) for start, group in groups.items()]

    def yaml(self, known, turn=0):
        """`turn`: another number of workers, and another time of silence that is longer than any: results are the same."""
        if self.of:
            return ''
        source = self.table if self.parent else '[main, other]' if self.kind == 'pairs' else self.stream
        text = f'  {self.pipeline_name()}:\n    from: {source}\n'
        if self.kind == 'rows':
            return text + '    window: none\n    select: [id, name]\n'
        text += f'    key: [{", ".join(self.key)}]\n'
        window = self.window or f'{{tumbling: {self.window_us}us, offset: {self.offset_us}us}}'
        text += f'    window: {window}\n'
        text += f'    workers: {1 + (self.workers + turn - 1) % 3}\n'
        if self.parent:
            text += f'    where: {self.where[0]}\n' if self.where else ''
            return text + self.more + '    analyzers:' + CHILD_ANALYZERS.format(*self.reads())
        text += f'    idle_timeout: {"1d" if turn and self.idle == "off" else self.idle}\n'
        order_us = LATE_ORDER_US if self.kind in ('late', 'side', 'revise') else ORDER_US
        text += f'    out_of_orderness: {order_us}us\n'
        if self.where:
            text += f'    where: {self.where[0]}\n'
        if self.kind == 'late' and known['late: drop']:
            text += '    late: drop\n'
        if self.kind == 'side':
            text += '    late: side\n'
        if self.kind == 'revise':
            text += '    late: revise\n    allowed_lateness: 1d\n'
        text += self.more + '    analyzers:' + self.analyzers
        if self.topk:
            text += f'      - topk: {{of: tag, k: {TOPK}, capacity: 100}}\n'
        return text + (BEST_ANALYZER if self.best else '')


def pipelines(known):
    """An event is (time_us, id, r, x, y, name, number, tag, ends_us), see load.py."""
    some = [
        Pipeline('by_request', 'main', ['request'], ERA_US, kind='fate'),
        Pipeline('by_name', 'main', ['name'], 10 * MINUTE_US, workers=2, topk=True,
                 more=known['webhooks'].yaml() if known['webhooks'] else ''),
        Pipeline('by_number', 'main', ['number'], HOUR_US, workers=3, best=known['kinds']),
        Pipeline('by_both', 'main', ['number', 'name'], HOUR_US, workers=2, offset_us=7 * MINUTE_US,
                 idle='100ms'),
        Pipeline('even', 'main', ['name'], 30 * MINUTE_US, topk=True,
                 where=('is_even' if known['kinds'] else 'number % 2 = 0', lambda event: event[6] % 2 == 0)),
        Pipeline('for_ever', 'main', ['name'], CHAIN_US, workers=2, topk=True, chain=True),
        Pipeline('late_one', 'main', ['name'], 10 * MINUTE_US, kind='late', topk=True),
        Pipeline('late_three', 'main', ['name'], 10 * MINUTE_US, kind='late', workers=3, topk=True),
        Pipeline('o_by_request', 'other', ['request'], ERA_US, kind='fate'),
        Pipeline('v_by_request', 'volatile', ['request'], ERA_US, kind='fate'),
        Pipeline('v_by_name', 'volatile', ['name'], 10 * MINUTE_US, workers=2, topk=True),
    ]
    if known['late: side']:
        some.append(Pipeline('late_side', 'main', ['name'], 10 * MINUTE_US, kind='side', workers=2))
    if known['late: revise']:
        some.append(Pipeline('late_revise', 'main', ['name'], 10 * MINUTE_US, kind='revise', workers=2))
    if known['chains']:
        by_hour = Pipeline('by_hour', 'main', ['name'], HOUR_US, kind='child', workers=3, parent=some[1])
        by_day = Pipeline('by_day', 'main', ['name'], DAY_US, kind='child', parent=by_hour)
        some += [by_hour, by_day, Pipeline('by_half', 'main', ['name'], HOUR_US // 2, kind='child', workers=2,
                                           parent=some[1])]
    if known['windows']:
        shorter = Pipeline('sizes_10m', 'main', ['name'], 10 * MINUTE_US, workers=2, window='{tumbling: [10m, 1h]}')
        some += [shorter, Pipeline('sizes_1h', 'main', ['name'], HOUR_US, of=shorter),
                 Pipeline('hopping', 'main', ['name'], HOUR_US, workers=3, window='{hopping: 1h, by: 10m}',
                          by_us=10 * MINUTE_US),
                 Pipeline('sessions', 'main', ['name'], 0, workers=2, window='{session: 20s}', gap_us=20 * SECOND_US),
                 Pipeline('kept', 'main', [], 0, kind='rows')]
    if known['kinds']:
        ordered = {'analyzers': ORDERED_ANALYZERS, 'columns': ORDERED_COLUMNS}
        some += [Pipeline('hundreds', 'main', ['name'], 0, 'count', workers=2, window='{count: 100, by: 40}', **ordered),
                 Pipeline('running', 'main', ['name'], 0, 'running', workers=3, window='{count: 70, running: true}',
                          **ordered),
                 Pipeline('ends', 'main', ['name'], 0, 'until', workers=2, window='{until: ends}', **ordered),
                 Pipeline('ever', 'main', ['name'], 0, 'global', workers=2, window='{global: 30m}', best=True, **ordered),
                 Pipeline('while_used', 'main', ['number'], 0, 'global', workers=3, window='{global: 30m, expire: 2d}',
                          **ordered),
                 Pipeline('days', 'main', ['number'], DAY_US, workers=2, window='{tumbling: 1d, zone: America/New_York}',
                          zone='America/New_York')]
    if known['replaced']:
        parents = [p for p in some if p.name in ('late_revise', 'ever')]
        some += [Pipeline(f'of_{p.name}', 'main', ['name'], 0, 'replaced', workers=3 - i, window='{global: 10m}', parent=p)
                 for i, p in enumerate(parents)]
        if known['replaced rows']:
            some.append(Pipeline('of_best', 'main', ['name'], 0, 'replaced', workers=2, window='{global: 10m}', parent=parents[-1],
                                 table='ever_rows', of_table=('id', 'r', 'r', 'id')))
    if known['joins']:
        joined = Pipeline('joined', 'main', ['name'], 10 * MINUTE_US, 'joined', workers=2, analyzers=JOIN_ANALYZERS,
                          columns=JOIN_COLUMNS, more=f'    join: {JOIN}\n    derive: {JOIN_DERIVE}\n')
        some += [joined,
                 Pipeline('joined_1h', 'main', ['name'], HOUR_US, 'joined', parent=joined),
                 Pipeline('pairs', 'main', ['name'], 10 * MINUTE_US, 'pairs', workers=2, analyzers=PAIRS,
                          columns=PAIRS_COLUMNS),
                 Pipeline('pairs_all', 'main', [], 20 * MINUTE_US, 'pairs', window='{hopping: 20m, by: 10m}',
                          by_us=10 * MINUTE_US, analyzers=PAIRS, columns=PAIRS_COLUMNS)]
    if known['tables']:
        some.append(Pipeline('of_table', 'main', ['name'], 10 * MINUTE_US, workers=2,
                             where=('size IN (0, 3, 6, 9)', lambda event: event[6] % 2 == 0 and size_of(event[6]) % 3 == 0),
                             more=f'    join: {TABLE_JOIN}\n'))
        by_number = next(p for p in some if p.name == 'by_number')
        if known['replaced rows']:  # of the same age
            some.append(Pipeline('table_day', 'main', ['number'], DAY_US, 'child', workers=2, parent=by_number,
                                 where=('size >= 0', lambda event: event[6] % 2 == 0), more=f'    join: {TABLE_JOIN}\n'))
    if known['processes']:
        some.append(Pipeline('apart', 'main', ['name'], 10 * MINUTE_US, workers=2, topk=True, analyzers=APART_ANALYZERS))
    if known['python']:
        some += [Pipeline('in_python', 'main', ['name'], HOUR_US, analyzers=PYTHON_ANALYZERS),
                 Pipeline('python_apart', 'main', ['number'], HOUR_US, workers=2,
                          analyzers=PYTHON_ANALYZERS.replace('}\n', '}\n        run: process\n'))]
    if known['results']:
        some += [Pipeline('o_by_name', 'other', ['name'], 10 * MINUTE_US, workers=2),
                 Pipeline('found', 'main', ['name'], 10 * MINUTE_US, 'found', workers=2, analyzers=RESULT_ANALYZERS,
                          columns=RESULT_COLUMNS, more=f'    join: {result_join("o_by_name")}\n    derive: {{ago: ts - until}}\n'),
                 Pipeline('pairs_near', 'main', ['name'], 0, 'pairs', workers=2, window='{session: 20s}',
                          gap_us=20 * SECOND_US, analyzers=PAIRS, columns=PAIRS_COLUMNS)]
    if known['session results']:
        some += [Pipeline('o_near', 'other', ['name'], 0, workers=2, window=f'{{session: {NEAR_US}us}}', gap_us=NEAR_US),
                 Pipeline('found_near', 'main', ['name'], 10 * MINUTE_US, 'found near', workers=3, analyzers=RESULT_ANALYZERS,
                          columns=RESULT_COLUMNS, more=f'    join: {result_join("o_near")}\n    derive: {{ago: ts - until}}\n')]
    if known['look-ups']:
        some.append(Pipeline('looked_up', 'main', ['name'], 10 * MINUTE_US, workers=2,
                             where=('size % 3 = 0', lambda event: known_of(event[5]) % 3 == 0),
                             more=f'    http_lookup: {LOOKUP.format(known["look-ups"])}\n'))
    return some


SERVER_KEYS = {  # what makes checkpoints, trims and rolls happen often
    'journal': '{folder}/journal',
    'segment_size': '1MiB',
    'checkpoint_interval': '50ms',
    'commit_interval': '5ms',
    'queue_events': '20000',
    'queue_wait': '200ms',
}
PROBE = '''
server: {{listen: 127.0.0.1:0{server}}}
streams:
  s: {{time: {{field: ts, unit: us}}, fields: {{id: int}}{stream}}}
  t: {{time: {{field: ts, unit: us}}, fields: {{id: int}}}}
pipelines:
  p: {{from: s, key: [id], window: {{tumbling: 10s}}{pipeline}, analyzers: [count]}}
{more}'''


def write_python(folder):
    with open(os.path.join(folder, 'all.py'), 'w', encoding='ascii') as file:
        file.write(PYTHON_FILE)


def accepts(server='', stream='', pipeline='', more=''):
    """Whether `weir check` takes these further keys, and lines."""
    with tempfile.TemporaryDirectory(prefix='weir-crash-') as folder:
        path = os.path.join(folder, 'weir.yaml')
        write_python(folder)
        with open(path, 'w', encoding='ascii') as file:
            file.write(PROBE.format(server=server, stream=stream, pipeline=pipeline, more=more)
                       .replace('{folder}', folder))
        return harness.weir('check', '-c', path, '--no-database', cwd=folder).returncode == 0


def probe():
    """{feature: whether this build has it}"""
    if not accepts():
        raise AssertionError('weir check refuses the plainest configuration')
    known = {key: accepts(server=f', {key}: "{value}"' if key == 'journal' else f', {key}: {value}')
             for key, value in SERVER_KEYS.items()}
    known['Idempotency-Key'] = accepts(server=', idempotency_keys: 100000')
    known['ack: memory'] = accepts(stream=', ack: memory')
    known['late: drop'] = accepts(pipeline=', late: drop')
    known['late: side'] = accepts(pipeline=', late: side')
    known['late: revise'] = accepts(pipeline=', late: revise, allowed_lateness: 1d')
    known['windows'] = accepts(more='  q: {from: s, window: {session: 1m}, analyzers: [count]}\n'
                                    '  r: {from: s, window: none, select: [id]}')
    known['kinds'] = accepts(stream=', derive: {d: id % 2 = 0}', more=        '  q: {from: s, key: [id], window: {count: 2, running: true}, analyzers: [count]}\n'
        '  r: {from: s, key: [id], window: {until: id}, analyzers: [count]}\n'
        '  u: {from: s, key: [id], window: {global: 1s, expire: 1d}, analyzers: [rows]}\n')
    known['joins'] = accepts(more=        '  q: {from: s, join: {t: {on: [id], as_of: true, within: 1s, columns: {i: id}}}, window: none, select: [i]}\n'
        '  r: {from: [s, t], window: {tumbling: 1s}, analyzers: [{sql: SELECT count(*) AS n FROM s JOIN t USING (id)}]}\n')
    known['tables'] = accepts(pipeline=', join: {x: {table: x, on: [id], columns: {n: int}}}')
    known['results'] = accepts(more=
        '  q: {from: s, join: {p: {on: [id], as_of: true, within: 1s, columns: {i: count}}}, window: none, select: [i]}\n'
        '  r: {from: [s, t], window: {session: 1s}, analyzers: [{sql: SELECT count(*) AS n FROM s JOIN t USING (id)}]}\n')
    known['session results'] = accepts(more=
        '  q: {from: s, window: {session: 1s}, key: [id], analyzers: [count]}\n'
        '  r: {from: s, join: {q: {on: [id], as_of: true, within: 1s, columns: {i: count}}}, window: none, select: [i]}\n')
    known['chains'] = accepts(more='  q: {from: p, window: {tumbling: 10s}, analyzers: [count]}')
    known['processes'] = accepts(more='  q: {from: s, window: {tumbling: 10s}, analyzers: [{count: {}, run: process}]}')
    known['python'] = accepts(
        stream=', derive: {r: id + 1, x: id * 1.5, y: id * 2.5}',
        more='  q: {from: s, window: {tumbling: 10s}, analyzers: [{python: {file: "{folder}/all.py", of: [id, r, x, y]}}]}')
    known['replaced'] = accepts(pipeline=', late: revise, allowed_lateness: 1d',
                                more='  q: {from: p, window: {global: 10s}, analyzers: [{stats: {of: count}}]}')
    known['replaced rows'] = accepts(more='  q: {from: s, key: [id], window: {global: 10s}, analyzers: [rows]}\n'
                                          '  r: {from: q_rows, window: {global: 10s}, analyzers: [count]}\n')
    known['webhooks'] = accepts(pipeline=', webhook: {to: "http://a/"}') and hooked.Hooked('by_name', COLUMNS)
    known['look-ups'] = accepts(pipeline=', http_lookup: {x: {url: "http://a/{id}", columns: {n: int}}}') and \
        service.Service(answer).url
    return known


def config(known, turned=()):
    """The YAML text for harness.Server. Pipelines that are `turned` by a number have other settings, and the same results."""
    text = 'server:\n  listen: {listen}\n  database: {folder}/weir.db\n'
    text += ''.join(f'  {key}: {value}\n' for key, value in SERVER_KEYS.items() if known[key])
    text += 'streams:\n'
    for stream in STREAMS:
        text += f'  {stream}:\n    time: {{field: ts, unit: us}}\n    max_future_skew: off\n'
        text += '    fields: {request: int, id: int, r: int, x: float, y: float, name: string, ends: int,\n'
        text += '             number: {type: int, path: more.number}, tag: {type: string, path: "more.tags[0]"}}\n'
        if known['kinds']:
            text += '    derive: {is_even: number % 2 = 0}\n'
        if stream == 'volatile' and known['ack: memory']:
            text += '    ack: memory\n'
    return text + 'pipelines:\n' + ''.join(p.yaml(known, dict(turned).get(p.name, 0)) for p in pipelines(known))
