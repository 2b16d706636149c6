#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The ways to do many things at once: threads, processes and asyncio of plain Python, beside those of weir, in one run.

    bench/ways.py BUILD [--events N] [--all N] [--lookups N] [--in-flight N] [--repetitions N] [--only fold,lookup]

Two jobs. The fold, which wants processors: W1's, for each symbol in each 10 s the number of trades, quantity, lowest and highest price,
and the mean price by volume, from the JSON in the file to rows in a table of SQLite, committed, by Python as by weir. The look-up, which
wants to wait: a key each at a local service that answers after 20 ms, each key another one. Every repetition runs all, one after the
other; figures are medians, ratios those of pairs in one repetition. What runs Python for each event has the first 1,000,000 events of W1, the
rest all 5,000,000: rates are compared, and starting is a smaller part of those that are quick. Results are checked: all count the same trades and
the same quantity in as many rows, and those of the plugins in C are Python's, each, for the first 1,000,000."""

import argparse
import json
import math
import multiprocessing
import os
import resource
import sqlite3
import statistics
import re
import subprocess
import sys
import threading
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))

from measure import Bench, ROWS_OF_ALL  # noqa: E402

LATE_MS = 20
C_TARGET, PROCESSES_TARGET, NUMPY_TARGET = 30, 1.5, 3.0
ASKED_TARGET, ASKED_CPU_TARGET = 1.0, 0.5


# ---- The fold in plain Python ------------------------------------------------------------------------

def fold_lines(lines, groups):
    for event in map(json.loads, lines):
        key = event['symbol'], event['ts'] // 10000
        price, qty = event['price'], event['qty']
        group = groups.get(key)
        if group is None:
            groups[key] = [1, qty, price * qty, price, price]
            continue
        group[0] += 1
        group[1] += qty
        group[2] += price * qty
        group[3] = min(group[3], price)
        group[4] = max(group[4], price)


def merge(into, groups):
    for key, (n, qty, turnover, low, high) in groups.items():
        group = into.setdefault(key, [0, 0, 0.0, low, high])
        group[0] += n
        group[1] += qty
        group[2] += turnover
        group[3] = min(group[3], low)
        group[4] = max(group[4], high)


def fold_part(path, first, end):
    """The lines that begin in these bytes."""
    groups = {}
    with open(path, 'rb') as file:
        file.seek(max(first - 1, 0))
        if first:
            file.readline()
        while file.tell() < end and (lines := file.readlines(min(1 << 20, end - file.tell()))):
            fold_lines(lines, groups)
    return groups


def halves(path):
    middle, end = os.path.getsize(path) // 2, os.path.getsize(path)
    return [(path, 0, middle), (path, middle, end)]


TABLE = '''CREATE TABLE trades_10s (window_start INTEGER NOT NULL, symbol TEXT NOT NULL, window_end INTEGER NOT NULL, count INTEGER,
    qty INTEGER, vwap REAL, price_min REAL, price_max REAL, PRIMARY KEY (window_start, symbol)) STRICT, WITHOUT ROWID'''
COLUMNS = 'window_start, symbol, window_end, count, qty, vwap, price_min, price_max'


def write(groups, database):
    """Rows as weir's, in the order of the primary key, in one transaction."""
    rows = ((start * 10000000, symbol, (start + 1) * 10000000, n, qty, turnover / qty if qty else None, low, high)
            for (symbol, start), (n, qty, turnover, low, high) in sorted(groups.items(), key=lambda g: (g[0][1], g[0][0])))
    db = sqlite3.connect(database)
    db.execute('PRAGMA journal_mode = WAL')
    db.execute(TABLE)
    db.executemany(f'INSERT INTO trades_10s ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)', rows)
    db.commit()
    db.close()


def in_one_thread(path):
    return fold_part(path, 0, os.path.getsize(path))


def in_two_threads(path):
    parts = [{}, {}]

    def work(i, part):
        parts[i] = fold_part(*part)
    threads = [threading.Thread(target=work, args=(i, part)) for i, part in enumerate(halves(path))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    merge(parts[0], parts[1])
    return parts[0]


def in_two_processes(path):
    with multiprocessing.get_context('fork').Pool(2) as pool:
        parts = pool.starmap(fold_part, halves(path))
    merge(parts[0], parts[1])
    return parts[0]


WAYS = {'one thread': in_one_thread, 'two threads': in_two_threads, 'multiprocessing, 2 workers': in_two_processes}


# ---- What is run -------------------------------------------------------------------------------------

def children_cpu():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def run(command, **more):
    """(seconds, CPU seconds with those of its children, output)"""
    began, cpu = time.monotonic(), children_cpu()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, **more)
    if done.returncode:
        raise SystemExit(f'bench: {command[:3]} ended with {done.returncode}')
    return time.monotonic() - began, children_cpu() - cpu, done.stdout


def total_qty(path):
    with open(path, 'rb') as file:
        return sum(sum(map(int, re.findall(rb'"qty":(\d+)', b''.join(lines)))) for lines in iter(lambda: file.readlines(1 << 24), []))


class Fold:
    """{way: (seconds, CPU seconds, events)}"""
    OBJECTS, ARRAYS = (f'python: {{file: {HERE}/fold.py, of: [price, qty], name: {name}}}' for name in ('Objects', 'Arrays'))
    C = 'stats: {of: qty, emit: [sum], as: qty}}, {vwap: {price: price, volume: qty}}, {stats: {of: price, emit: [min, max]}'

    def __init__(self, bench, n_all):
        self.bench, self.n_all, self.all = bench, n_all, bench.workload(n_all)
        self.expected = self.rows = None  # of the first script
        self.expected_of_all = ROWS_OF_ALL.get(n_all), n_all, total_qty(self.all)

    def script(self, way):
        bench = self.bench
        with bench.folder() as folder:
            database = os.path.join(folder, 'weir.db')
            seconds, cpu, _ = run([sys.executable, os.path.abspath(__file__), '--fold', way, bench.file, database])
            if not self.rows:
                self.rows = bench.harness.read_rows(database, f'SELECT {COLUMNS} FROM trades_10s ORDER BY 1, 2')
                self.expected = len(self.rows), sum(row[3] for row in self.rows), sum(row[4] for row in self.rows)
                if self.expected[1] != bench.events:
                    raise SystemExit(f'bench: {way}: {self.expected[1]} events')
                self.weir(self.C, check_each=True)
            self.check(way, database, self.expected)
        return seconds, cpu, bench.events

    def weir(self, analyzers, *options, workers=1, whole=False, check_each=False):
        """By `whole` of all events."""
        bench, config = self.bench, self.bench.config
        config = config[:config.index('    analyzers:')].replace('    key: [symbol]\n', f'    key: [symbol]\n    workers: {workers}\n')
        config += f'    analyzers: [{{count: {{as: count}}}}, {{{analyzers}}}]\n'
        with bench.folder() as folder:
            path, database = os.path.join(folder, 'weir.yaml'), os.path.join(folder, 'weir.db')
            with open(path, 'w', encoding='utf-8') as file:
                file.write(config)
            env = bench.harness.environment(WEIR_LISTEN='127.0.0.1:0', WEIR_DATABASE=database)
            seconds, cpu, _ = run([bench.harness.WEIR, 'run', '-c', path, *options, '--stream', 'trades', self.all if whole else bench.file],
                                  env=env)
            self.check(analyzers, database, self.expected_of_all if whole else self.expected)
            if check_each:
                self.check_rows(bench.harness.read_rows(database, f'SELECT {COLUMNS} FROM trades_10s ORDER BY 1, 2'))
        return seconds, cpu, self.n_all if whole else bench.events

    def check(self, way, database, expected):
        found = self.bench.harness.read_rows(database, 'SELECT count(*), sum(count), sum(qty) FROM trades_10s')[0]
        if found[1:] != expected[1:] or found[0] != (expected[0] or found[0]):
            raise SystemExit(f'bench: {way}: {found} instead of {expected}')

    def check_rows(self, found):
        """The mean by volume is added up another way: to the last digits but two."""
        for row, wanted in zip(found, self.rows):
            if row[:5] + row[6:] != wanted[:5] + wanted[6:] or not math.isclose(row[5], wanted[5], rel_tol=1e-13):
                raise SystemExit(f'bench: {row} instead of {wanted}')

    def measure(self):
        found = {f'Python, {way}': self.script(way) for way in WAYS}
        found['weir, C in threads'] = self.weir(self.C, whole=True)
        found['weir, C in threads, windows as they end (--live)'] = self.weir(self.C, '--live', whole=True)
        found['weir, C in threads, 2 workers'] = self.weir(self.C, workers=2, whole=True)
        if self.bench.has_python():
            found['weir, Python in a thread'] = self.weir(self.OBJECTS)
            found['weir, Python in 2 processes'] = self.weir(self.OBJECTS + ', run: process', workers=2)
            found['weir, numpy in a thread'] = self.weir(self.ARRAYS, whole=True)
        return found

    def report(self, results):
        rows(results, 'the fold, W1', 'M events/s', 1e6)
        def ratio(a, b, what=0):
            return [r[a][what] / r[a][2] / (r[b][what] / r[b][2]) for r in results]
        target('C in threads to Python in one thread, events/s', ratio('Python, one thread', 'weir, C in threads'), C_TARGET)
        target('the same with --live', ratio('Python, one thread', 'weir, C in threads, windows as they end (--live)'), C_TARGET)
        target('the same with 2 workers', ratio('Python, one thread', 'weir, C in threads, 2 workers'), C_TARGET)
        target('C in threads to Python in one thread, events a CPU second', ratio('Python, one thread', 'weir, C in threads', 1))
        if 'weir, numpy in a thread' in results[0]:
            target('Python in 2 processes to multiprocessing with 2', ratio('Python, multiprocessing, 2 workers',
                                                                          'weir, Python in 2 processes'), PROCESSES_TARGET)
            target('numpy, M events/s a core', [n / cpu / 1e6 for _, cpu, n in (r['weir, numpy in a thread'] for r in results)],
                   NUMPY_TARGET)


class Lookup:
    def __init__(self, bench, lookups, in_flight):
        self.bench, self.lookups, self.in_flight = bench, lookups, in_flight
        self.service = subprocess.Popen([bench.program('late'), str(LATE_MS)], stdout=subprocess.PIPE, text=True)
        self.url = f'http://127.0.0.1:{int(self.service.stdout.readline())}/n'
        self.python = next((p for p in (os.path.join(bench.build, 'bench', 'venv', 'bin', 'python'), sys.executable)
                            if os.path.exists(p) and subprocess.run([p, '-c', 'import aiohttp'], stderr=subprocess.DEVNULL,
                                                                    check=False).returncode == 0), None)
        self.file = os.path.join(bench.build, 'bench', f'w1-keys-{lookups}.ndjson')
        with open(self.file, 'w', encoding='ascii') as file:
            file.writelines(f'{{"ts":{i},"k":{i}}}\n' for i in range(lookups))

    def close(self):
        self.service.terminate()
        self.service.wait()

    def asked(self, python, how):
        out = run([python, os.path.join(HERE, 'asked.py'), how, self.url, str(self.lookups), str(self.in_flight)])[2].split()
        self.check(how, int(out[0]), int(out[3]))
        return float(out[1]), float(out[2]), self.lookups

    def weir(self):
        config = f'''
server: {{listen: "127.0.0.1:0", database: DATABASE}}
streams:
  s: {{time: {{field: ts, unit: ms, check_unit: no}}, fields: {{k: int}}}}
pipelines:
  p:
    from: s
    http_lookup:
      late: {{url: "{self.url}/{{k}}", columns: {{n: int}}, in_flight: {self.in_flight}, on_error: stop}}
    window: {{tumbling: 1h}}
    analyzers: [count, {{sum: {{of: n}}}}]
'''
        with self.bench.folder() as folder:
            path, database = os.path.join(folder, 'weir.yaml'), os.path.join(folder, 'weir.db')
            with open(path, 'w', encoding='utf-8') as file:
                file.write(config.replace('DATABASE', database))
            seconds, cpu, _ = run([self.bench.harness.WEIR, 'run', '-c', path, '--stream', 's', self.file],
                                  env=self.bench.harness.environment())
            self.check('weir', *self.bench.harness.read_rows(database, 'SELECT sum(count), sum(n_sum) FROM p')[0])
        return seconds, cpu, self.lookups

    def check(self, way, n, total):
        if (n, total) != (self.lookups, self.lookups * (self.lookups - 1) // 2):
            raise SystemExit(f'bench: {way}: {n} answers with a sum of {total}')

    def measure(self):
        found = {'weir, http_lookup': self.weir(), 'Python, asyncio, streams': self.asked(sys.executable, 'streams')}
        if self.python:
            found['Python, asyncio, aiohttp'] = self.asked(self.python, 'aiohttp')
        return found

    def report(self, results):
        rows(results, f'{self.in_flight:,} look-ups in flight, {LATE_MS} ms each', 'look-ups/s', 1)
        for way in ('aiohttp', 'streams'):
            name = f'Python, asyncio, {way}'
            if name not in results[0]:
                print('aiohttp is not there: ./dev bench concurrency installs it where it can')
                continue
            target(f'http_lookup to {way}: look-ups a second', [r[name][0] / r['weir, http_lookup'][0] for r in results],
                   ASKED_TARGET if way == 'aiohttp' else None)
            target(f'http_lookup to {way}: CPU', [r['weir, http_lookup'][1] / r[name][1] for r in results],
                   ASKED_CPU_TARGET if way == 'aiohttp' else None, most=True)


# ---- The table ---------------------------------------------------------------------------------------

def rows(results, title, unit, scale):
    print(f'{title:<50}{"events":>11}{unit:>12}{"seconds":>10}{"CPU s":>9}{"us CPU each":>13}')
    for name, (_, _, n) in results[0].items():
        seconds, cpu = (statistics.median(r[name][i] for r in results) for i in (0, 1))
        speed = n / seconds / scale
        print(f'{name:<50}{n:>11,}{speed:>12,.{2 if speed < 100 else 0}f}{seconds:>10.2f}{cpu:>9.2f}{cpu / n * 1e6:>13.2f}')
    print()


def target(what, values, wanted=None, most=False):
    middle = statistics.median(values)
    text = f'{middle:.2f} ({min(values):.2f} to {max(values):.2f})'
    if wanted is not None:
        met = middle <= wanted if most else middle >= wanted
        text += f'; wanted: {"at most" if most else "at least"} {wanted}{"" if met else ", MISSED"}'
    print(f'{what:<60}{text}')


def main():
    if sys.argv[1:2] == ['--fold']:
        write(WAYS[sys.argv[2]](sys.argv[3]), sys.argv[4])
        return
    parser = argparse.ArgumentParser(prog='bench/ways.py', description=__doc__.split('\n', maxsplit=1)[0])
    parser.add_argument('build', help='the build folder')
    parser.add_argument('--events', type=int, default=1000000, help='for what runs Python for each')
    parser.add_argument('--all', type=int, default=5000000, help='for the others')
    parser.add_argument('--lookups', type=int, default=30000)
    parser.add_argument('--in-flight', type=int, default=1000)
    parser.add_argument('--repetitions', type=int, default=3)
    parser.add_argument('--only', help='fold, lookup')
    arguments = parser.parse_args()
    bench = Bench(arguments.build, arguments.events)
    only = (arguments.only or 'fold,lookup').split(',')
    lookup = Lookup(bench, arguments.lookups, arguments.in_flight) if 'lookup' in only else None
    jobs = ([Fold(bench, arguments.all)] if 'fold' in only else []) + ([lookup] if lookup else [])
    try:
        results = [[job.measure() for job in jobs] for _ in range(arguments.repetitions)]
    finally:
        if lookup:
            lookup.close()
    print(f'{os.cpu_count()} cores; medians of {arguments.repetitions}\n')
    for i, job in enumerate(jobs):
        job.report([r[i] for r in results])
        print()


if __name__ == '__main__':
    main()
