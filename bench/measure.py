# SPDX-License-Identifier: Apache-2.0
"""One run of one workload, checked: what bench/parts.py puts together.

Time counts from the first byte sent until the last result row is committed; CPU is that of all threads of
the server from before the first request until it has come to rest; the client shares the cores. Each run
starts with an empty folder in BUILD, and its rows are checked: counts add up to the events, none is late."""

import collections
import contextlib
import hashlib
import itertools
import json
import mmap
import os
import re
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))

START_MS = 1700000000000
ROWS_OF_ALL = {5000000: 454140}  # groups of symbol and 10 s, counted by a Python dictionary
NEVER = '1h'  # checkpoint_interval: longer than any run

Shape = collections.namedtuple('Shape', 'name connections bytes target')
Measured = collections.namedtuple('Measured', 'events seconds server_cpu client_cpu peak_mb client')
Recovered = collections.namedtuple('Recovered', 'intake replay')
Checkpointed = collections.namedtuple('Checkpointed', 'measured checkpoints mb')


def numbers(text):
    return {name: float(value) for name, value in re.findall(r'(\w+)=([-+.\deE]+)', text)}


class Bench:
    def __init__(self, build, events):
        os.environ['WEIR_BUILD'] = build
        sys.path.insert(0, os.path.join(HERE, '..', 'tests', 'system'))
        import harness  # reads WEIR_BUILD
        self.harness = harness
        self.build = harness.BUILD
        self.events = events
        self.file = self.workload(events)
        with open(os.path.join(HERE, 'w1.yaml'), encoding='utf-8') as file:
            self.config = file.read()

    def program(self, name):
        return os.path.join(self.build, 'bench', name)

    def workload(self, events, *options):
        """A file of bench/w1, made once for each build folder."""
        name = '-'.join(['w1', str(events), *options]).replace('--', '-')
        path = os.path.join(self.build, 'bench', name + '.ndjson')
        program = self.program('w1')
        if not os.path.exists(path) or os.path.getmtime(path) < os.path.getmtime(program):
            print(f'making {path}', file=sys.stderr)
            subprocess.run([program, '-n', str(events), *options, '-o', path + '.part'], check=True)
            os.replace(path + '.part', path)
        return path

    def with_options(self, server='', stream='', window=None):
        """w1.yaml with more keys of its sections."""
        config = self.config
        for section, lines in (('server:\n', server), ('  trades:\n', stream)):
            if config.count(section) != 1:
                raise SystemExit(f'bench: w1.yaml has no {section.strip()}')
            config = config.replace(section, section + lines)
        return config.replace('{tumbling: 10s}', f'{{tumbling: {window}}}') if window else config

    @contextlib.contextmanager
    def folder(self):
        path = tempfile.mkdtemp(prefix='run-', dir=os.path.join(self.build, 'bench'))
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    @contextlib.contextmanager
    def server(self, config):
        with self.folder() as folder:
            with self.harness.Server(config, folder=folder, WEIR_LISTEN='127.0.0.1:0',
                                     WEIR_DATABASE=os.path.join(folder, 'weir.db')) as server:
                yield server

    # ---- What is measured ------------------------------------------------------------------------

    def decoder(self):
        """{parser: bytes/s of NDJSON on one core}, from lines like 'weir  1417.4 MB/s [...] 15.2 M events/s'; line
        protocol has fewer bytes for an event and is given those of NDJSON."""
        out = subprocess.run([self.program('decoder'), '-r', '1', self.file], check=True, text=True,
                             stdout=subprocess.PIPE).stdout
        found = re.findall(r'^(\w+) +[\d.]+ MB/s.*? ([\d.]+) M events/s', out, re.M)
        size = os.path.getsize(self.file) / self.events
        return {name: float(speed) * 1e6 * size for name, speed in found}

    def analyzers(self):
        """{(plugin, parameters): (ns a row, ns a group, bytes a group)}"""
        out = subprocess.run([self.program('analyzers')], check=True, text=True, stdout=subprocess.PIPE,
                             cwd=self.build).stdout
        lines = [line.split('\t') for line in out.splitlines()]
        return {(name, parameters): tuple(map(float, figures)) for name, parameters, *figures in lines}

    def expressions(self):
        """{('derive' or 'where', expression): ns a row}"""
        out = subprocess.run([self.program('expressions')], check=True, text=True, stdout=subprocess.PIPE).stdout
        lines = [line.split('\t') for line in out.splitlines()]
        return {(use, expression): float(ns) for use, expression, ns in lines}

    def disk_sync_us(self, n=200):
        """Median time to write and sync 4 KiB where the runs have their folders."""
        with self.folder() as folder, mmap.mmap(-1, 4096) as block:
            fd = os.open(os.path.join(folder, 'block'), os.O_RDWR | os.O_CREAT | os.O_DIRECT)
            try:
                os.pwrite(fd, block, 0)
                os.fsync(fd)
                return statistics.median(self.sync_us(fd, block) for _ in range(n))
            finally:
                os.close(fd)

    @staticmethod
    def sync_us(fd, block):
        began = time.monotonic()
        os.pwrite(fd, block, 0)
        os.fdatasync(fd)
        return (time.monotonic() - began) * 1e6

    def requests(self, shape, config=None, durable=True):
        """W1 in requests of one shape."""
        with self.server(config or self.config) as server:
            measured = self.post(server, shape, self.file, self.events, durable=durable)
            self.check_rows(server.database)
            return measured

    def windows(self, shape, window, tables):
        """W1 with other windows. `tables`: how often each event is in the rows of each."""
        config = self.with_options(stream='    ack: memory\n').replace('{tumbling: 10s}', window)
        with self.server(config) as server:
            measured = self.post(server, shape, self.file, self.events)
            for table, times in tables.items():
                (counted,), = self.harness.read_rows(server.database,
                                                     f"SELECT sum(count) FROM {table} WHERE symbol <> '~'")
                if counted != times * self.events:
                    raise SystemExit(f'bench: {table} has {counted} of {times} x {self.events} events')
            return measured

    def singles(self, connections, events):
        """The first events of W1, a request each."""
        path = self.workload(events)
        with self.server(self.config) as server:
            measured = self.post(server, Shape('', connections, 1, None), path, events, durable=True)
            if measured.client['requests'] != events + connections:
                raise SystemExit(f'bench: {measured.client["requests"]:.0f} requests of {events} events')
            self.check_rows(server.database, events, rows_of(path))
            return measured

    def recovery(self, shape):
        """W1 without a checkpoint, then kill -9, and all of its journal once more."""
        with self.server(self.with_options(server=f'  checkpoint_interval: {NEVER}\n')) as server:
            intake = self.post(server, shape, self.file, self.events, durable=True)
            self.check_rows(server.database)
            rows = digest(server.database)
            (position,), = server.rows('SELECT position FROM weir_pipelines')
            server.kill()
            return Recovered(intake, self.replay(server, position, rows, shape.connections))

    def replay(self, server, position, rows, last):
        """From the start of the process until everything is committed again."""
        began, began_us = time.monotonic(), time.time() * 1e6
        server.start()
        self.wait_row(server.database,
                      'SELECT 1 FROM weir_pipelines WHERE position >= ? AND committed >= ?',
                      position, began_us)
        seconds = time.monotonic() - began
        pid = server.process.pid
        replayed = server.metric('weir_log_replayed_events_total')
        if replayed != self.events + last:
            raise SystemExit(f'bench: {replayed:.0f} of {self.events + last} events read from the journal')
        if digest(server.database) != rows:
            raise SystemExit('bench: other rows after the replay')
        return Measured(self.events, seconds, self.settled_cpu(pid), 0,
                        self.harness.peak_memory_bytes(pid) / 1e6, {})

    def million(self, shape, symbols, repeat, interval):
        """Every one of so many symbols `repeat` times in each repetition of the file, in one window
        that closes at the end."""
        each = 4
        path = self.workload(each * symbols, '-k', str(symbols))
        with self.server(self.with_options(f'  checkpoint_interval: {interval}\n', window='24h')) as server:
            self.harness.wait_until(lambda: self.checkpoints(server)[0], 'the first checkpoint, of nothing')
            made = [self.checkpoints(server)]
            measured = self.post(server, shape, path, each * symbols, repeat, durable=True,
                                 end_ms=START_MS + 24 * 3600 * 1000,
                                 while_open=lambda: made.append(self.checkpoints(server)))
            n, size = (now - was for was, now in zip(*made))
            self.check_million(server.database, symbols, each * repeat)
            return Checkpointed(measured, n, size / 1e6)

    def memory(self, analyzer, symbols, each):
        """Of a server with an open group for each symbol, so many events in each: its bytes, and those that the analyzer's
        states are made of."""
        path = self.workload(each * symbols, '-k', str(symbols))
        config = self.with_options('  checkpoint_interval: 1h\n', window='24h')
        config = config[:config.index('    analyzers:')] + f'    analyzers: [{analyzer}]\n'
        with self.server(config) as server:
            subprocess.run([self.program('load'), '-u', f'http://127.0.0.1:{server.port}', '-s', 'trades', '-c', '1', path],
                           check=True, stdout=subprocess.DEVNULL)
            server.wait_metric('weir_pipeline_groups', symbols)
            server.wait_metric('weir_pipeline_events_total', each * symbols)
            plugin = analyzer.strip('{').split(':')[0]
            text = self.harness.weir('plugins', plugin).stdout
            fixed = int(re.search(r'^State: +(\d+) bytes a group', text, re.M)[1])
            return (self.harness.memory_bytes(server.process.pid),
                    fixed * symbols + server.metric('weir_pipeline_state_bytes'))

    @staticmethod
    def checkpoints(server):
        """How many are in the file, and the bytes of their groups."""
        return [server.metric(f'weir_store_checkpoint{name}_total') for name in ('s', '_bytes')]

    # ---- How ------------------------------------------------------------------------------------

    def post(self, server, shape, path, events, repeat=1, durable=False, end_ms=None, while_open=None):
        """All of the file, until the windows that began before end_ms are committed; while_open is called
        when all is answered, and before the event that closes the last of them."""
        pid = server.process.pid
        cpu_before = self.harness.cpu_seconds(pid)
        end_ms = end_ms or START_MS + events
        last = '{"ts":%d,"symbol":"~","price":1,"qty":1,"side":"buy","venue":""}' % (end_ms + 120000)
        out = subprocess.run([self.program('load'), '-u', f'http://127.0.0.1:{server.port}',
                              '-s', 'trades', '-c', str(shape.connections), '-b', str(shape.bytes),
                              '--repeat', str(repeat),
                              *([] if while_open else ['--last', last]),
                              *(['--durable'] if durable else []), path],
                             check=True, text=True, stdout=subprocess.PIPE).stdout
        client = numbers(out)
        if while_open:
            while_open()
            server.post_ok('trades', last)
        self.wait_row(server.database, 'SELECT 1 FROM weir_pipelines WHERE watermark >= ?',
                      (end_ms + 20000) * 1000)
        seconds = time.monotonic() - client['began_s']
        cpu = self.settled_cpu(pid) - cpu_before
        late = server.metric('weir_pipeline_late_total')
        if late:
            raise SystemExit(f'bench: {late:.0f} events were late')
        return Measured(events * repeat, seconds, cpu, client['cpu_s'],
                        self.harness.peak_memory_bytes(pid) / 1e6, client)

    def wait_row(self, database, sql, *params):
        connection = sqlite3.connect(f'file:{database}?mode=ro', uri=True, timeout=60)
        self.harness.wait_until(lambda: connection.execute(sql, params).fetchone(), 'the last commit',
                                every_s=0.002)
        connection.close()

    def settled_cpu(self, pid):
        """Once less than 1 ms is used in 50 ms: the last checkpoint of SQLite counts, too."""
        used = self.harness.cpu_seconds(pid)
        while True:
            time.sleep(0.05)
            now = self.harness.cpu_seconds(pid)
            if now - used < 0.001:
                return now
            used = now

    def check_rows(self, database, events=None, rows=None):
        events = events or self.events
        rows = rows or ROWS_OF_ALL.get(events)
        (n, counted), = self.harness.read_rows(
            database, "SELECT count(*), sum(count) FROM trades_10s WHERE symbol <> '~'")
        if counted != events or (rows and n != rows):
            raise SystemExit(f'bench: {n} rows with {counted} of {events} events')

    def check_million(self, database, symbols, each):
        found = self.harness.read_rows(
            database, "SELECT count(*), min(count), max(count) FROM trades_10s WHERE symbol <> '~'")
        if found != [(symbols, each, each)]:
            raise SystemExit(f'bench: rows, least, greatest count: {found} instead of {symbols}, {each}')

    def has_python(self):
        return os.path.exists(os.path.join(self.build, 'plugins', 'python.so'))

    def python_fold(self, analyzer, total):
        """weir run over W1 with one analyzer that gives n and qty: CPU seconds; `total`: of all qty."""
        config = self.config[:self.config.index('    analyzers:')] + f'    analyzers: [{{count: {{as: count}}}}, {analyzer}]\n'
        with self.folder() as folder:
            database, path = os.path.join(folder, 'weir.db'), os.path.join(folder, 'weir.yaml')
            with open(path, 'w', encoding='utf-8') as file:
                file.write(config)
            env = self.harness.environment(WEIR_LISTEN='127.0.0.1:0', WEIR_DATABASE=database)
            process = subprocess.Popen([self.harness.WEIR, 'run', '-c', path, '--stream', 'trades', self.file],
                                       env=env, stdout=subprocess.DEVNULL)
            _, status, usage = os.wait4(process.pid, 0)
            found = self.harness.read_rows(database, 'SELECT sum(count), sum(qty) FROM trades_10s') if status == 0 else status
            if found != [(self.events, total)]:
                raise SystemExit(f'bench: {analyzer}: {found} instead of {self.events}, {total}')
            return usage.ru_utime + usage.ru_stime

    def python_script(self):
        """The same by a script of its own: (CPU seconds, those of the fold alone, the sum of qty)."""
        out = subprocess.run([sys.executable, os.path.join(HERE, 'fold.py'), self.file], check=True, text=True,
                             stdout=subprocess.PIPE).stdout.split()
        if int(out[0]) != self.events:
            raise SystemExit(f'bench: fold.py took {out[0]} of {self.events} events')
        return float(out[2]), float(out[3]), int(out[4])

    def in_processes(self, *analyzers):
        """w1.yaml with these analyzers, as they stand there, in processes of their own."""
        config = self.config
        for text in analyzers:
            if config.count(f'      - {text}\n') != 1:
                raise SystemExit(f'bench: w1.yaml has no analyzer {text}')
            whole = text if ':' in text else f'{text}: {{}}'
            config = config.replace(f'      - {text}\n', f'      - {{{whole}, run: process}}\n')
        return config

    def weir_run(self, more='', check=None, config=None):
        """A file without HTTP. `more`: lines behind those of w1.yaml, or of `config`; check: is given the database."""
        with self.folder() as folder:
            database = os.path.join(folder, 'weir.db')
            path = os.path.join(folder, 'weir.yaml')
            with open(path, 'w', encoding='utf-8') as file:
                file.write((config or self.config) + more)
            env = self.harness.environment(WEIR_LISTEN='127.0.0.1:0', WEIR_DATABASE=database)
            began = time.monotonic()
            process = subprocess.Popen([self.harness.WEIR, 'run', '-c', path, '--stream', 'trades', self.file],
                                       env=env, stdout=subprocess.DEVNULL)
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.monotonic() - began
            if status != 0:
                raise SystemExit(f'bench: weir run ended with status {status}')
            self.check_rows(database)
            if check:
                check(database)
            return Measured(self.events, seconds, usage.ru_utime + usage.ru_stime, 0,
                            usage.ru_maxrss * 1024 / 1e6, {})


def rows_of(path):
    """Groups of symbol and 10 s in a file."""
    with open(path, encoding='ascii') as file:
        events = map(json.loads, file)
        return len({(event['symbol'], event['ts'] // 10000) for event in events})


def digest(database):
    """Of all result rows, in the order of their primary key."""
    found = hashlib.sha256()
    connection = sqlite3.connect(f'file:{database}?mode=ro', uri=True, timeout=60)
    rows = connection.execute('SELECT * FROM trades_10s ORDER BY window_start, symbol')
    for some in iter(lambda: list(itertools.islice(rows, 10000)), []):
        found.update(repr(some).encode())
    connection.close()
    return found.hexdigest()
