# SPDX-License-Identifier: Apache-2.0
"""The parts of the benchmark: what each measures in a repetition, its rows of the table, its targets.

What is compared is measured next to each other in one repetition, so that both see the same machine;
which one goes first changes from one repetition to the next. The ratio of a part is the median of the
ratios of its repetitions."""

import itertools
import math
import os
import sqlite3
import statistics

from measure import NEVER, Shape

SHAPES = (Shape('1 MB requests, 2 connections', 2, 1000000, 0.45),
          Shape('100 kB requests, 4 connections', 4, 100000, None),
          Shape('10 kB requests, 8 connections', 8, 10000, 0.20))
EXTRAS = (('one more analyzer, 1 column', '      - stats: {of: qty, emit: [max]}\n', 0.05),
          ('one more analyzer, 4 columns', '      - ohlc: {of: price}\n', None))
WINDOWS = (('10 s', '{tumbling: 10s}', {'trades_10s': 1}, None),
           ('60 s by 10 s', '{hopping: 60s, by: 10s}', {'trades_10s': 6}, 0.6),
           ('10 s, 1 m and 1 h', '{tumbling: [10s, 1m, 1h]}', {'trades_10s_10s': 1, 'trades_10s_1m': 1}, 0.85),
           ('sessions, gap 5 s', '{session: 5s}', {'trades_10s': 1}, 0.5),
           ('global every 10 s', '{global: 10s}', {'trades_10s': 1}, 0.7))
DURABLE_TARGETS = (0.8, 0.7, None)  # of the shapes
# J2: what else is asked of trades, beside J1, the job of w1.yaml.
J2 = """\
      - quantiles: {of: price, q: [0.5, 0.99]}
      - distinct: {of: venue}
  leaders:
    from: trades_10s
    window: {tumbling: 10s}
    analyzers:
      - sql: "SELECT symbol, count FROM events ORDER BY count DESC, symbol LIMIT 10"
"""
J2_TARGET = 0.65  # of J1's events/s
CPU_TARGET_S = 0.25           # of the server, for a million events
PEAK_TARGET_MB = 200
ROW_TARGET_NS = 60            # of an analyzer
EXPRESSION_TARGET_NS = 100
PYTHON_TARGET = 3.0  # million events a second and core, by numpy
DECODER_TARGET_GB = 1.0
YAJL_TARGET = 4.0
LINES_TARGET = 0.7

SINGLES = 200000
SINGLE_CONNECTIONS = 64
SINGLE_TARGET = 20000  # answers a second
SINGLE_P99_TARGET_MS = 50

RECOVERY_TARGET = 0.5

GROUPS = 1000000
CHECKPOINT_TARGET = 0.2
STATES_TARGET = 1.5  # memory of a process to that of its states
PROCESS_TARGET = 0.8  # an analyzer in a process to the same in a thread
CHECKPOINT_RUN_S = 30  # so that the default interval, 10 s, and the rest after a slow one have two
CHECKPOINTS_LEAST = 2
TRIAL_REPEAT = 2


def median(values):
    return statistics.median(list(values))


def verdict(met, target):
    return f'({"" if met else "MISSES "}target {target})'


def spread(values, form='.2f', unit=''):
    """'0.52 (0.48 to 0.55)'"""
    values = list(values)
    return (f'{median(values):{form}}{unit} '
            f'({min(values):{form}} to {max(values):{form}})')


def least(values, target, form='.2f'):
    """Spread and verdict where the median has to be at least the target."""
    values = list(values)
    return f'{spread(values, form)} {verdict(median(values) >= target, f">= {target:{form}}")}'


def most(values, target, form='.2f', unit=''):
    values = list(values)
    return f'{spread(values, form, unit)} {verdict(median(values) <= target, f"<= {target:{form}}{unit}")}'


def percent_more(values, target):
    """Of ratios minus 1."""
    values = [100 * v for v in values]
    text = spread(values, '+.1f', ' %')
    if target is None:
        return text
    return f'{text} {verdict(median(values) <= 100 * target, f"<= {100 * target:.0f} %")}'


def row(name, runs, ratio=None, client=True):
    """A line of the table for one kind of run."""
    speeds = [m.events / m.seconds / 1e6 for m in runs]
    form = '.2f' if median(speeds) >= 0.1 else '.4f'
    return (name, f'{median(speeds):{form}}', f'({min(speeds):{form}} to {max(speeds):{form}})',
            '' if ratio is None else f'{ratio:.2f}',
            f'{median(m.server_cpu / m.events * 1e6 for m in runs):.3f}',
            f'{median(m.client_cpu / m.events * 1e6 for m in runs):.3f}' if client else '',
            f'{median(m.peak_mb for m in runs):.0f}')


def in_turn(turn, first, second):
    """Both results, in the order of the arguments; every other time the second is called first."""
    if turn % 2 == 0:
        return first(), second()
    later = second()
    return first(), later


class Part:
    """`repetitions` is the default; `needs` names a part that is measured before, in each."""
    needs = None

    def measure(self, bench, found, turn):
        """The result of one repetition; found: {part: result} of the parts before."""
        raise NotImplementedError

    def rows(self, bench, repetitions):
        raise NotImplementedError

    def targets(self, bench, repetitions):
        """[(what, text)]; repetitions: a list of `found`."""
        raise NotImplementedError

    def results(self, repetitions):
        return [found[self.name] for found in repetitions if self.name in found]


class Decoder(Part):
    name, repetitions = 'decoder', 5

    def measure(self, bench, found, turn):
        return bench.decoder()

    def rows(self, bench, repetitions):
        rows = []
        results = self.results(repetitions)
        millions = bench.events / os.path.getsize(bench.file) / 1e6
        for parser in results[0]:
            speeds = [d[parser] * millions for d in results]
            rows.append((f'decoder alone, one core: {parser}', f'{median(speeds):.2f}',
                         f'({min(speeds):.2f} to {max(speeds):.2f})',
                         f'{median(d[parser] / d["weir"] for d in results):.2f}', '', '', ''))
        return rows

    def targets(self, bench, repetitions):
        results = self.results(repetitions)
        rows = [('decoder alone, GB/s', least((d['weir'] / 1e9 for d in results), DECODER_TARGET_GB))]
        if 'yajl' in results[0]:
            rows.append(('decoder alone to yajl', least((d['weir'] / d['yajl'] for d in results),
                                                        YAJL_TARGET)))
        rows.append(('line protocol to NDJSON, events/s', least((d['lines'] / d['weir'] for d in results),
                                                                LINES_TARGET)))
        return rows


class Requests(Part):
    """The shapes of requests, and a file without HTTP; to the decoder alone in the same repetition. Answers
    do not wait for the disk, so that it is the server's own work that is compared; Durable has the other."""
    name, repetitions, needs = 'requests', 5, 'decoder'

    def measure(self, bench, found, turn):
        memory = bench.with_options(stream='    ack: memory\n')
        runs = {f'{shape.name}, ack: memory': bench.requests(shape, memory, durable=False)
                for shape in SHAPES}
        return {**runs, 'weir run FILE': bench.weir_run()}

    def ratios(self, bench, repetitions, name):
        size = os.path.getsize(bench.file)
        return [size / found[self.name][name].seconds / found['decoder']['weir']
                for found in repetitions if self.name in found]

    def rows(self, bench, repetitions):
        results = self.results(repetitions)
        return [row(name, [runs[name] for runs in results],
                    median(self.ratios(bench, repetitions, name)), client=name != 'weir run FILE')
                for name in results[0]]

    def targets(self, bench, repetitions):
        rows = [(f'{shape.name}, ack: memory, to the decoder',
                 least(self.ratios(bench, repetitions, f'{shape.name}, ack: memory'), shape.target))
                for shape in SHAPES if shape.target]
        results = self.results(repetitions)
        cpu = (runs[f'{SHAPES[0].name}, ack: memory'].server_cpu / bench.events * 1e6 for runs in results)
        peak = max(m.peak_mb for runs in results for m in runs.values())
        return rows + [('server CPU s/M events', most(cpu, CPU_TARGET_S)),
                       ('peak memory, MB', f'{peak:.0f} {verdict(peak <= PEAK_TARGET_MB, f"<= {PEAK_TARGET_MB}")}')]


class Analyzer(Part):
    """What one more costs."""
    name, repetitions = 'analyzer', 5

    def measure(self, bench, found, turn):
        return {name: in_turn(turn, lambda: bench.requests(SHAPES[0]),
                              lambda: bench.requests(SHAPES[0], bench.config + extra))
                for name, extra, _ in EXTRAS}

    def rows(self, bench, repetitions):
        return []

    def targets(self, bench, repetitions):
        rows = []
        for name, _, target in EXTRAS:
            pairs = [pairs[name] for pairs in self.results(repetitions)]
            more = [after.server_cpu / before.server_cpu - 1 for before, after in pairs]
            rows.append((f'{name}: server CPU', percent_more(more, target)))
        return rows


class Analyzers(Part):
    """What each costs alone, over 1,000 groups."""
    name, repetitions = 'analyzers', 3

    def measure(self, bench, found, turn):
        return bench.analyzers()

    def rows(self, bench, repetitions):
        return []

    def targets(self, bench, repetitions):
        rows = []
        for subject in self.results(repetitions)[0]:
            row_ns, group_ns, group_bytes = zip(*(result[subject] for result in self.results(repetitions)))
            rows.append((f'{subject[0]}: {{{subject[1]}}}',
                         f'{most(row_ns, ROW_TARGET_NS, ".1f", " ns")} a row, {median(group_ns):,.0f} ns and '
                         f'{median(group_bytes):,.0f} bytes a group'))
        return rows


class Jobs(Part):
    """J1 and J2, from a file."""
    name, repetitions = 'jobs', 5

    def measure(self, bench, found, turn):
        return in_turn(turn, bench.weir_run, lambda: bench.weir_run(J2, self.check))

    @staticmethod
    def check(database):
        """The ten leaders of each window have the ten largest counts; medians lie between the extremes; few venues."""
        connection = sqlite3.connect(f'file:{database}?mode=ro', uri=True, timeout=60)
        leaders = connection.execute('SELECT window_start, symbol, count FROM leaders_sql '
                                     'ORDER BY window_start, rank').fetchall()
        expected = connection.execute("""
            SELECT window_start, symbol, count FROM (
              SELECT *, row_number() OVER (PARTITION BY window_start ORDER BY count DESC, symbol) AS place FROM trades_10s)
            WHERE place <= 10 ORDER BY window_start, place""").fetchall()
        (wrong,), = connection.execute("""
            SELECT count(*) FROM trades_10s WHERE NOT (venue_distinct BETWEEN 1 AND count
              AND price_p50 BETWEEN 0.99 * price_min AND 1.01 * price_max AND price_p99 BETWEEN price_p50 AND 1.01 * price_max)
            """).fetchall()
        connection.close()
        if leaders != expected or wrong:
            raise SystemExit(f'bench: J2: the leaders differ, or {wrong} rows cannot be')

    def rows(self, bench, repetitions):
        return [row(f'{name}, weir run FILE', [pair[i] for pair in self.results(repetitions)], client=False)
                for i, name in enumerate(('J1', 'J2'))]

    def targets(self, bench, repetitions):
        return [('J2 to J1, events/s', least((one.seconds / two.seconds for one, two in self.results(repetitions)),
                                            J2_TARGET))]


class Windows(Part):
    """Other windows than tumbling ones of 10 s, to those in the same repetition. Hopping ones give as many rows."""
    name, repetitions = 'windows', 5

    def measure(self, bench, found, turn):
        order = WINDOWS if turn % 2 == 0 else WINDOWS[::-1]
        return {name: bench.windows(SHAPES[0], window, tables) for name, window, tables, _ in order}

    def rows(self, bench, repetitions):
        results = self.results(repetitions)
        return [row(f'windows of {name}, ack: memory', [runs[name] for runs in results]) for name, *_ in WINDOWS]

    def targets(self, bench, repetitions):
        results, base = self.results(repetitions), WINDOWS[0][0]
        return [(f'windows of {name} to those of {base}',
                 least((runs[base].seconds / runs[name].seconds for runs in results), target))
                for name, _, _, target in WINDOWS if target]


class Expressions(Part):
    """A derived column, a `where` of a pipeline or of an analyzer."""
    name, repetitions = 'expressions', 3

    def measure(self, bench, found, turn):
        return bench.expressions()

    def rows(self, bench, repetitions):
        return []

    def targets(self, bench, repetitions):
        return [(f'{use}: {expression}', f'{most((r[use, expression] for r in self.results(repetitions)), EXPRESSION_TARGET_NS, ".1f", " ns")} a row')
                for use, expression in self.results(repetitions)[0]]


class Durable(Part):
    """Answers that wait for the disk, and answers that do not."""
    name, repetitions = 'durable', 9

    def measure(self, bench, found, turn):
        memory = bench.with_options(stream='    ack: memory\n')
        return [in_turn(turn, lambda: bench.requests(shape),
                        lambda: bench.requests(shape, memory, durable=False))
                for shape in SHAPES[:len(DURABLE_TARGETS)]]

    def rows(self, bench, repetitions):
        rows = []
        for i in range(len(DURABLE_TARGETS)):
            for k, ack in enumerate(('durable', 'memory')):
                runs = [pairs[i][k] for pairs in self.results(repetitions)]
                rows.append(row(f'{SHAPES[i].name}, ack: {ack}', runs))
        return rows

    def targets(self, bench, repetitions):
        rows = []
        for i, target in enumerate(DURABLE_TARGETS):
            pairs = [pairs[i] for pairs in self.results(repetitions)]
            ratios = [memory.seconds / durable.seconds for durable, memory in pairs]
            rows.append((f'{SHAPES[i].name}, ack: durable to memory',
                         least(ratios, target) if target else spread(ratios)))
        return rows


class Single(Part):
    """Small requests whose answers all wait for the disk."""
    name, repetitions = 'single', 5

    def measure(self, bench, found, turn):
        return bench.singles(SINGLE_CONNECTIONS, SINGLES)

    def rows(self, bench, repetitions):
        return [row(f'1 event a request, {SINGLE_CONNECTIONS} connections', self.results(repetitions))]

    def targets(self, bench, repetitions):
        clients = [m.client for m in self.results(repetitions)]
        what = f'1 event a request, {SINGLE_CONNECTIONS} connections'
        return [(f'{what}: durable answers/s',
                 least((c['requests'] / c['seconds'] for c in clients), SINGLE_TARGET, ',.0f')),
                (f'{what}: median of latency', spread((c['p50_ms'] for c in clients), '.1f', ' ms')),
                (f'{what}: p99 of latency',
                 most((c['p99_ms'] for c in clients), SINGLE_P99_TARGET_MS, '.1f', ' ms'))]


class Recovery(Part):
    """A journal without a checkpoint, from the start of the process until it is committed again."""
    name, repetitions = 'recovery', 5

    def measure(self, bench, found, turn):
        return bench.recovery(SHAPES[0])

    def rows(self, bench, repetitions):
        return [row('recovery: all of W1 from the journal', [r.replay for r in self.results(repetitions)],
                    client=False)]

    def targets(self, bench, repetitions):
        ratios = [r.intake.seconds / r.replay.seconds for r in self.results(repetitions)]
        return [('recovery to intake, 1 MB requests', least(ratios, RECOVERY_TARGET))]


class Checkpoint(Part):
    """Checkpoints of as many open groups as there are symbols, all of which change between two."""
    name, repetitions = 'checkpoint', 3
    intervals = ('10s', NEVER, '1s')

    def __init__(self):
        self.repeat = None

    def measure(self, bench, found, turn):
        if self.repeat is None:
            self.repeat = self.trial(bench)
        order = self.intervals if turn % 2 == 0 else self.intervals[::-1]
        return {interval: bench.million(SHAPES[0], GROUPS, self.repeat, interval) for interval in order}

    @staticmethod
    def trial(bench):
        """How often the file has to be posted so that a run takes long enough."""
        m = bench.million(SHAPES[0], GROUPS, TRIAL_REPEAT, NEVER).measured
        return math.ceil(CHECKPOINT_RUN_S * TRIAL_REPEAT / m.client['seconds'])

    def rows(self, bench, repetitions):
        results = self.results(repetitions)
        millions = results[0][NEVER].measured.events // 1000000
        return [row(f'{GROUPS:,} open groups, {millions} M events, checkpoints: '
                    f'{"none" if interval == NEVER else "every " + interval}',
                    [r[interval].measured for r in results])
                for interval in sorted(self.intervals, reverse=True)]

    def targets(self, bench, repetitions):
        rows = []
        for interval in self.intervals:
            if interval != NEVER:
                rows += self.targets_of(interval, self.results(repetitions))
        return rows

    @staticmethod
    def targets_of(interval, results):
        pairs = [(r[interval].measured, r[NEVER].measured) for r in results]
        made = [r[interval].checkpoints for r in results]
        mb = median(r[interval].mb / max(r[interval].checkpoints, 1) for r in results)
        what = f'{GROUPS:,} open groups, a checkpoint every {interval}'
        return [(f'{what}: time', percent_more((a.seconds / b.seconds - 1 for a, b in pairs),
                                               CHECKPOINT_TARGET)),
                (f'{what}: server CPU', percent_more((a.server_cpu / b.server_cpu - 1 for a, b in pairs),
                                                     None)),
                (f'{what}: made in a run', f'{min(made):.0f} to {max(made):.0f}, {mb:.0f} MB each '
                 f'{verdict(min(made) >= CHECKPOINTS_LEAST, f">= {CHECKPOINTS_LEAST}")}'),
                (f'{what}: slowest answer', spread((a.client['max_ms'] for a, _ in pairs), '.0f', ' ms'))]


class Memory(Part):
    """What a million groups take, to the bytes of their states; the groups themselves are those of a server that counts."""
    name, repetitions = 'memory', 1
    ANALYZERS = 'quantiles: {of: qty}', 'distinct: {of: qty}'
    SIZES = (GROUPS, 4), (GROUPS // 50, 200)  # groups, events in each: of many their tables have grown

    def measure(self, bench, found, turn):
        return {(analyzer, *size): bench.memory(analyzer, *size) for analyzer in ('count', *self.ANALYZERS)
                for size in self.SIZES}

    def rows(self, bench, repetitions):
        return []

    def targets(self, bench, repetitions):
        rows = []
        for analyzer, (groups, each) in itertools.product(self.ANALYZERS, self.SIZES):
            found = [(*f[analyzer, groups, each], *f['count', groups, each]) for f in self.results(repetitions)]
            rows.append((f'{groups:,} groups of {each} events, {analyzer}: memory to bytes of states, '
                         f'{median(f[1] for f in found) / groups:,.0f} each',
                         most([(all_ - (rest - counts)) / states for all_, states, rest, counts in found], STATES_TARGET)))
        return rows


class Concurrency(Part):
    """Analyzers in processes of their own, to the same in threads, in the same repetition; a file without HTTP."""
    name, repetitions = 'concurrency', 5
    WAYS = (('one of four analyzers in a process', ('vwap: {price: price, volume: qty}',)),
            ('all four analyzers in processes', ('count', 'stats: {of: qty, emit: [sum]}',
                                                 'stats: {of: price, emit: [min, max, mean]}',
                                                 'vwap: {price: price, volume: qty}')))

    def measure(self, bench, found, turn):
        return [in_turn(turn, bench.weir_run, lambda config=bench.in_processes(*analyzers): bench.weir_run(config=config))
                for _, analyzers in self.WAYS]

    def rows(self, bench, repetitions):
        results = self.results(repetitions)
        rows = [row('weir run, analyzers in threads', [r[0][0] for r in results], client=False)]
        for i, (name, _) in enumerate(self.WAYS):
            rows.append(row(f'weir run, {name}', [r[i][1] for r in results], client=False))
        return rows

    def targets(self, bench, repetitions):
        results = self.results(repetitions)
        return [(f'{name} to threads: {what}', text) for i, (name, _) in enumerate(self.WAYS) for what, text in (
            ('speed', least((r[i][0].seconds / r[i][1].seconds for r in results), PROCESS_TARGET)),
            ('CPU', spread(r[i][1].server_cpu / r[i][0].server_cpu for r in results)))]


class Python(Part):
    """One fold of W1 by a plugin in C, by Python in weir, and by a script that reads the same file. CPU time of everything: reading,
    decoding, the tables."""
    name, repetitions = 'python', 3
    FOLD = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'fold.py')

    def analyzer(self, name):
        return f'python: {{file: {self.FOLD}, of: [price, qty], name: {name}}}'

    def measure(self, bench, found, turn):
        if not bench.has_python():
            return {}
        cpu, fold, total = bench.python_script()
        return {'script': cpu, 'script, the fold alone': fold,
                'weir, objects of Python': bench.python_fold(self.analyzer('Objects'), total),
                'weir, arrays of numpy': bench.python_fold(self.analyzer('Arrays'), total),
                'weir, C': bench.python_fold('{stats: {of: qty, emit: [sum], as: qty}}, {vwap: {price: price, volume: qty}}, '
                                             '{stats: {of: price, emit: [min, max]}}', total)}

    def rows(self, bench, repetitions):
        return []

    def targets(self, bench, repetitions):
        results = self.results(repetitions)
        rows = [] if results[0] else [('W1 in Python', 'weir is built without it')]
        for name in results[0]:
            speed = [bench.events / found[name] / 1e6 for found in results]
            rows.append((f'W1 in Python: {name}, M events/s a core',
                         least(speed, PYTHON_TARGET) if 'numpy' in name else spread(speed)))
        return rows


PARTS = {part.name: part for part in (Decoder(), Requests(), Jobs(), Analyzer(), Analyzers(), Expressions(), Windows(), Durable(), Single(), Recovery(),
                                      Checkpoint(), Memory(), Concurrency(), Python())}
