#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What carrying rows to PostgreSQL costs, and how soon it goes on behind a standby that was promoted.

    bench/postgres.py BUILD [--keys N] [--windows N] [--rounds N] [--fsync] [live] [changes] [all] [failover]

live: rows are carried while events come, from the first one posted until all rows are there. changes: they have waited here and are
carried change by change; all: the whole table, as at first. CPU is that of the thread that carries, so it is what a client of
PostgreSQL costs; rates depend on what else the machine does, and PostgreSQL shares it.

failover: a primary is killed, its standby is promoted so many seconds later, and weir, with both hosts and its defaults, has rows
there: seconds from the end of pg_promote() until rows that the old primary never had are committed."""

import argparse
import json
import os
import signal
import statistics
import sys
import threading
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))

START_MS = 1700000000000
LEAST_ROWS_S, MOST_US = 400000, 0.2
MOST_FAILOVER_S = 3
AFTER_S = (1, 8, 25)  # from the death of the primary until the standby is promoted
EVERY_S = 0.02

CONFIG = '''
server:
  listen: {listen}
  database: {folder}/weir.db
  postgresql: {connect: "CONNECT"MORE}
streams:
  s: {time: {field: ts, unit: ms}, fields: {k: string, v: int}}
pipelines:
  p: {from: s, key: [k], window: {tumbling: 1s}, idle_timeout: IDLE, analyzers: [count, {stats: {of: v}}]}
'''


def config(connect, more='', idle='1h'):
    return CONFIG.replace('CONNECT', connect).replace('MORE', more).replace('IDLE', idle)


def post_rows(server, keys, windows, first=0):
    """A row of each event, but for the one that closes the last window."""
    end = ''.join(f',"k":"key{k:05d}","v":{k % 97}}}\n' for k in range(keys)).splitlines()
    for w in range(first, first + windows):
        start = f'{{"ts":{START_MS + 1000 * w}'
        for at in range(0, keys, 20000):
            server.post_ok('s', '\n'.join(start + e for e in end[at:at + 20000]))
    close(server, first + windows)


def close(server, window):
    server.post_ok('s', f'{{"ts":{START_MS + 1000 * window},"k":"","v":0}}\n')


class Carrying:
    """What is known of the thread that carries."""

    def __init__(self, server):
        self.server = server
        tasks = f'/proc/{server.process.pid}/task'
        for task in os.listdir(tasks):
            with open(f'{tasks}/{task}/comm', encoding='ascii') as file:
                if file.read().strip() == 'weir-carry':
                    self.path = f'{tasks}/{task}/schedstat'

    def now(self):
        """(rows, seconds, CPU seconds)"""
        rows = self.server.metric('weir_postgresql_rows_total', outcome='carried')
        with open(self.path, encoding='ascii') as file:
            cpu = int(file.read().split()[0]) / 1e9
        return rows, time.monotonic(), cpu


class Rows:
    """Servers with a PostgreSQL of their own, one after the other."""

    def __init__(self, harness, pg, o):
        self.harness, self.pg, self.o = harness, pg, o
        self.n = o.keys * o.windows

    def until(self, carrying, rows, since=None):
        """Until so many rows are there; what they took since the first of them, or since then: (rows/s, CPU us a row)."""
        first = since or self.harness.wait_until(lambda: (now := carrying.now())[0] > 0 and now, 'a row')
        last = self.harness.wait_until(lambda: (now := carrying.now())[0] >= rows and now, 'all rows', limit_s=600, every_s=0.02)
        n, seconds, cpu = (b - a for a, b in zip(first, last))
        return n / seconds, cpu / n * 1e6

    def check(self, server, more=0):
        """As many as here, and the same counts."""
        here = server.rows('SELECT count(*), sum(count), sum(v_sum) FROM p')
        there = [tuple(map(float, line.split('|'))) for line in self.pg.psql('SELECT count(*), sum(count), sum(v_sum) FROM weir.p')]
        if here != there or here[0][0] != self.n + more:
            raise SystemExit(f'bench: {there} there, {here} here')

    def live(self):
        with self.harness.Server(config(self.pg.connect)) as server:
            carrying = Carrying(server)
            began = carrying.now()
            post_rows(server, self.o.keys, self.o.windows)
            found = self.until(carrying, self.n, began)
            self.check(server)
            return found

    def changes(self):
        """The table is known there; then PostgreSQL is away until all rows are here."""
        with self.harness.Server(config(self.pg.connect, ', backoff: 10ms, max_backoff: 50ms')) as server:
            close(server, 0)
            close(server, 1)
            carrying = Carrying(server)
            self.harness.wait_until(lambda: carrying.now()[0] == 1, 'the first row')
            self.pg.stop()
            post_rows(server, self.o.keys, self.o.windows, 1)
            server.wait_watermark('p', (START_MS + 1000 * (self.o.windows + 1)) * 1000)
            self.pg.start()
            first = self.harness.wait_until(lambda: (now := carrying.now())[0] > 1 and now, 'the next row')
            found = self.until(carrying, self.n + 2, first)
            self.check(server, 2)
            return found

    def all(self):
        """Its rows have come while it was away, and PostgreSQL does not know the table."""
        with self.harness.Server(config(self.pg.connect, ', backoff: 10ms, max_backoff: 50ms')) as server:
            self.pg.stop()
            post_rows(server, self.o.keys, self.o.windows)
            server.wait_watermark('p', (START_MS + 1000 * self.o.windows) * 1000)
            server.stop()
            self.pg.start()
            server.start()
            found = self.until(Carrying(server), self.n)
            self.check(server)
            return found

    def run(self, what):
        self.pg.new_database()
        return getattr(self, what)()


def measure_rows(harness, postgres, o):
    pg = postgres.Postgres(settings=['shared_buffers=128MB', 'max_wal_size=4GB', f'fsync={"on" if o.fsync else "off"}'])
    try:
        pg.start()
        rows = Rows(harness, pg, o)
        found = {what: [] for what in o.what if what != 'failover'}
        for _ in range(o.rounds):
            for what, results in found.items():
                results.append(rows.run(what))
    finally:
        pg.close()
    print(f'{rows.n} rows of 9 columns, fsync {"on" if o.fsync else "off"}, median of {o.rounds}')
    for what, results in found.items():
        rate, us = (statistics.median(r[i] for r in results) for i in range(2))
        print(f'{what:10s}{rate:10,.0f} rows/s  CPU {us:.3f} us a row'
              f'{"" if rate >= LEAST_ROWS_S else f"  MISSES {LEAST_ROWS_S:,}/s"}{"" if us <= MOST_US else f"  MISSES {MOST_US} us"}')


class Failover:
    def __init__(self, harness, postgres):
        self.harness = harness
        self.primary = postgres.Postgres(tcp=True)
        self.standby = postgres.Postgres(tcp=True, empty=True)
        self.over = False

    def send(self, server):
        """Each event closes the window before."""
        while not self.over:
            server.post_ok('s', json.dumps({'ts': int(time.time() * 1000), 'k': 'a', 'v': 1}))
            time.sleep(EVERY_S)

    @staticmethod
    def newest(pg):
        """The start of the newest window there, in seconds."""
        try:
            line, = pg.psql('SELECT coalesce(max(extract(epoch FROM window_start)), 0) FROM weir.p')
        except AssertionError:  # there is no table yet
            return 0
        return float(line)

    def one(self, after_s):
        self.primary.start()
        self.standby.follow(self.primary)
        connect = (f'host={self.primary.address},{self.standby.address} port={self.primary.port},{self.standby.port}'
                   ' user=weir dbname=postgres')
        text = config(connect).replace('tumbling: 1s', 'tumbling: 100ms')
        with self.harness.Server(text) as server:
            sender = threading.Thread(target=self.send, args=(server,), daemon=True)
            sender.start()
            self.harness.wait_until(lambda: self.newest(self.standby) > 0, 'rows on the standby')
            self.primary.stop(signal.SIGQUIT)
            died = time.time()
            time.sleep(after_s)
            self.standby.promote()
            began = time.time()
            self.harness.wait_until(lambda: self.newest(self.standby) > died, 'a row', every_s=0.02)
            seconds = time.time() - began
            self.over = True
            sender.join()
        return seconds

    def close(self):
        self.primary.close()
        self.standby.close()


def measure_failover(harness, postgres, o):
    for after_s in AFTER_S:
        found = []
        for _ in range(o.rounds):
            failover = Failover(harness, postgres)
            try:
                found.append(failover.one(after_s))
            finally:
                failover.close()
        worst = max(found)
        print(f'promoted after {after_s:2d} s: a row there {statistics.median(found):5.2f} s later (median), at most {worst:.2f} s'
              f'{"" if worst <= MOST_FAILOVER_S else f"  MISSES {MOST_FAILOVER_S} s"}', flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('build', help='the build folder')
    kinds = ['live', 'changes', 'all', 'failover']
    parser.add_argument('what', nargs='*', metavar='what', help=', '.join(kinds) + '; default: all of them')
    parser.add_argument('--keys', type=int, default=20000, help='rows of a window')
    parser.add_argument('--windows', type=int, default=20)
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--fsync', action='store_true', help='PostgreSQL waits for the disk')
    o = parser.parse_args()
    o.what = o.what or kinds
    if set(o.what) - set(kinds):
        parser.error('what: ' + ', '.join(kinds))
    os.environ['WEIR_BUILD'] = os.path.abspath(o.build)
    sys.path.insert(0, os.path.join(HERE, '..', 'tests', 'system'))
    import harness  # reads WEIR_BUILD
    import postgres
    if set(o.what) - {'failover'}:
        measure_rows(harness, postgres, o)
    if 'failover' in o.what:
        measure_failover(harness, postgres, o)


if __name__ == '__main__':
    main()
