# SPDX-License-Identifier: Apache-2.0
"""What the system tests and the benchmark share: a real server on a free port in a folder of its own.

    with Server(config) as server:            # started, ready
        server.post('trades', lines)
        server.wait_watermark('trades_10s', us)
        server.rows('SELECT ...')             # from the SQLite file, read-only
"""

import collections
import contextlib
import glob
import http.client
import json
import os
import random
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.environ.get('WEIR_SOURCE', os.path.dirname(os.path.dirname(HERE)))
BUILD = os.path.abspath(os.environ.get('WEIR_BUILD', os.path.join(SOURCE, 'build')))
WEIR = os.path.join(BUILD, 'weir')
LIMIT_S = float(os.environ.get('WEIR_TEST_LIMIT', '60'))  # for anything that is waited for
SECOND_US = 1000000

Answer = collections.namedtuple('Answer', 'status headers body')


def plugin_path():
    """The folders of the build tree that hold plugins."""
    found = glob.glob(os.path.join(BUILD, 'plugins', '**', '*.so'), recursive=True)
    return ':'.join(sorted({os.path.dirname(p) for p in found}))


def environment(**more):
    return {'LSAN_OPTIONS': f'suppressions={SOURCE}/tests/python.supp:print_suppressions=0', **os.environ,
            'WEIR_PLUGIN_PATH': plugin_path(), **more}


def data_folder(*parts):
    """A folder of the recorded data; skips the test where there is none."""
    root = os.environ.get('WEIR_DATA') or os.path.join(SOURCE, '..', 'shared', 'data')
    path = os.path.join(root, *parts)
    if not os.path.isdir(path):
        raise unittest.SkipTest(f'no recorded data at {path}; $WEIR_DATA says where it is')
    return path


def wait_until(condition, what, limit_s=LIMIT_S, every_s=0.005):
    """The first true value of condition(); fails after the limit. Who has waited for long is asked less often."""
    began = time.monotonic()
    with one_connection():
        while True:
            value = condition()
            if value:
                return value
            waited = time.monotonic() - began
            if waited > limit_s:
                raise AssertionError(f'still waiting after {limit_s:g} s for {what}')
            time.sleep(max(every_s, min(waited / 20, 0.05)))


def weir(*args, stdin=None, cwd=None, env=None, limit_s=LIMIT_S):
    """Runs a subcommand to its end: .returncode, .stdout, .stderr as text."""
    return subprocess.run([WEIR, *args], input=stdin, cwd=cwd, env=env or environment(), text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=limit_s,
                          check=False)


def sqlite3_shell(script, folder):
    """The output of the sqlite3 shell for a script; skips the test where there is no shell."""
    program = shutil.which('sqlite3')
    if program is None:
        raise unittest.SkipTest('no sqlite3 shell')
    done = subprocess.run([program, '-batch', '-bail'], input=script, cwd=folder, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    if done.returncode != 0 or done.stderr:
        raise AssertionError(f'sqlite3: {done.stderr}')
    return done.stdout


def free_port():
    """A port that nobody has, below those that the kernel gives to connections: it is still free a moment later."""
    with open('/proc/sys/net/ipv4/ip_local_port_range', encoding='ascii') as file:
        end = int(file.read().split()[0])
    while True:
        port = random.randrange(max(1024, end - 20000), max(end, 2048))
        with contextlib.suppress(OSError), socket.socket() as s:
            s.bind(('127.0.0.1', port))
            return port


def close_pipe(pipe):
    """One that a process reads, or did: what it has left there when it ended goes with it."""
    with contextlib.suppress(BrokenPipeError):
        pipe.close()


def folder_for_test(test):
    path = tempfile.mkdtemp(prefix='weir-test-')
    test.addCleanup(shutil.rmtree, path, ignore_errors=True)
    return path


def compile_plugin(folder, name, text):
    """NAME.so from C source, against the header of the source tree."""
    source = os.path.join(folder, f'{name}.c')
    with open(source, 'w', encoding='ascii') as file:
        file.write(text)
    subprocess.run([*os.environ.get('CC', 'cc').split(), '-std=gnu11', '-shared', '-fPIC', '-w',
                    '-fvisibility=hidden', '-I', os.path.join(SOURCE, 'include'), source,
                    '-o', os.path.join(folder, f'{name}.so')], check=True)


kept = threading.local()


@contextlib.contextmanager
def one_connection():
    """Within, rows() on this thread keeps its connection, which knows the schema: milliseconds where there are many tables.
    No server is to stop meanwhile: who closes a database last removes its WAL."""
    if getattr(kept, 'connections', None) is not None:
        yield
        return
    kept.connections = {}
    try:
        yield
    finally:
        for connection in kept.connections.values():
            connection.close()
        kept.connections = None


def connect(path):
    return sqlite3.connect(f'file:{path}?mode=ro', uri=True, timeout=LIMIT_S)


def read_rows(path, sql, *params):
    connections = getattr(kept, 'connections', None)
    if connections is None:
        with contextlib.closing(connect(path)) as connection:
            return connection.execute(sql, params).fetchall()
    place = path, os.path.exists(path) and os.stat(path).st_ino  # which another database may have taken
    if place not in connections:
        connections[place] = connect(path)
    try:
        return connections[place].execute(sql, params).fetchall()
    except sqlite3.Error:
        connections.pop(place).close()
        raise


class Log:
    """What a process writes to its standard error. lines() has all that it had written before one asks: a line that comes
    before an answer is there with it."""

    def __init__(self):
        self.file, self.found, self.rest, self.place, self.lock = None, [], b'', 0, threading.Lock()

    def open(self):
        self.file = tempfile.TemporaryFile()  # pylint: disable=consider-using-with
        return self.file

    def lines(self):
        with self.lock:
            while self.file and (data := os.pread(self.file.fileno(), 1 << 20, self.place)):
                self.place += len(data)
                *whole, self.rest = (self.rest + data).split(b'\n')
                self.found += [line.decode(errors='replace') + '\n' for line in whole]
            return self.found

    def close(self):
        """Once it has ended; its lines stay."""
        self.lines()
        with self.lock:
            if self.file:
                self.file.close()
                self.file = None
                self.found += [self.rest.decode(errors='replace')] if self.rest else []


class Server:
    """`weir serve` with its log on record. `config` is the YAML text; {folder} in it becomes the
    server's folder, {listen} the address with port 0. `machine`: one of machines.py, where it is."""

    def __init__(self, config, folder=None, program=WEIR, machine=None, **env):
        self.program, self.machine = program, machine
        self.own_folder = folder is None
        self.folder = folder or tempfile.mkdtemp(prefix='weir-test-')
        self.path = os.path.join(self.folder, 'weir.yaml')
        self.database = os.path.join(self.folder, 'weir.db')
        text = config.replace('{folder}', self.folder).replace('{listen}', '127.0.0.1:0')
        with open(self.path, 'w', encoding='utf-8') as file:
            file.write(text)
        self.env = environment(**env)
        self.arguments = []  # more of `weir serve`
        self.record = Log()
        self.process = self.connection = None
        self.port = 0
        self.posted = {}  # stream: its last entry that post_ok() was told of

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.kill()
            self.remove_folder()
            raise
        return self

    def __exit__(self, kind, value, traceback):
        try:
            if kind is None:
                self.stop()
        finally:
            self.kill()
            if kind is not None:
                sys.stderr.write(''.join(self.log[-50:]))
            self.remove_folder()

    def remove_folder(self):
        if self.own_folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    @classmethod
    def for_class(cls, test_class, *arguments, **env):
        """Started now, stopped after the last test of the class."""
        server = cls(*arguments, **env)
        server.__enter__()
        test_class.addClassCleanup(server.__exit__, None, None, None)
        return server

    # ---- Life ------------------------------------------------------------------------------------

    def start(self, **env):
        self.start_process(**env)
        self.wait_ready()

    @property
    def log(self):
        """Lines of the process that was started last, until now."""
        return self.record.lines()

    def start_process(self, **env):
        self.record.close()
        self.record = Log()
        before = self.machine.before if self.machine else []
        self.process = subprocess.Popen([*before, self.program, 'serve', '-c', self.path,
                                         *self.arguments], cwd=self.folder,
                                        env={**self.env, **env}, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=self.record.open())

    def wait_port(self):
        self.port = int(wait_until(self._find_port, 'the port in the log')[1])

    def wait_ready(self):
        self.wait_port()
        wait_until(lambda: self.get('/ready').status == 200, '/ready')

    def _find_port(self):
        if self.process.poll() is not None:
            raise AssertionError(f'weir serve ended with {self.process.returncode}:\n' +
                                 ''.join(self.log))
        return re.search(r'listening on https?://[^ "]*:(\d+)', ''.join(self.log))

    def stop(self, limit_s=LIMIT_S):
        """SIGTERM; the server must drain and end with 0."""
        self.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(limit_s)
        self.record.close()
        if status != 0:
            raise AssertionError(f'weir serve ended with {status}:\n' + ''.join(self.log))

    def restart(self, **env):
        """kill -9, and the same folder once more; `env` is for this start only."""
        self.kill()
        self.start(**env)

    def kill(self):
        self.close()
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.record.close()

    # ---- HTTP ------------------------------------------------------------------------------------

    def request(self, method, path, body=None, headers=None):
        """One request over a kept connection; an idle one that the server closed is opened anew."""
        for attempt in (1, 2):
            if self.connection is None:
                self.connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=LIMIT_S)
            try:
                if self.machine and self.connection.sock is None:
                    with self.machine.entered():
                        self.connection.connect()
                self.connection.request(method, path, body=body, headers=headers or {})
                reply = self.connection.getresponse()
                return Answer(reply.status, reply.headers, reply.read())
            except (ConnectionError, http.client.RemoteDisconnected):
                self.close()
                if attempt == 2:
                    raise
        raise AssertionError('unreachable')

    def close(self):
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def get(self, path, **headers):
        return self.request('GET', path, headers={k.replace('_', '-'): v for k, v in headers.items()})

    def get_json(self, path):
        answer = self.get(path)
        if answer.status != 200:
            raise AssertionError(f'GET {path}: {answer.status} {answer.body[:2000]!r}')
        return json.loads(answer.body)

    def post(self, stream, body, content_type='application/x-ndjson', **headers):
        """The raw answer. Events given as a list of dicts become NDJSON."""
        if isinstance(body, list):
            body = ''.join(json.dumps(event, ensure_ascii=False) + '\n' for event in body)
        if isinstance(body, str):
            body = body.encode()
        every = {'Content-Type': content_type}
        every.update({k.replace('_', '-'): v for k, v in headers.items()})
        return self.request('POST', f'/api/v1/streams/{stream}/events', body, every)

    def post_ok(self, stream, body, content_type='application/x-ndjson', **headers):
        """The answer as JSON; nothing may be rejected."""
        answer = self.post(stream, body, content_type, **headers)
        if answer.status != 200:
            raise AssertionError(f'POST to {stream}: {answer.status} {answer.body[:2000]!r}')
        said = json.loads(answer.body)
        if said['rejected'] != 0:
            raise AssertionError(f'POST to {stream}: {answer.body[:2000]!r}')
        self.posted[stream] = said['position']
        return said

    # ---- What it did -----------------------------------------------------------------------------

    def rows(self, sql, *params):
        return read_rows(self.database, sql, *params)

    def wait_read(self):
        """Until its pipelines have read what was posted: a stop waits for them for some seconds only."""
        def are_there():
            return all(p['status']['position'] >= self.posted[p['from']] for p in self.get_json('/api/v1/pipelines')
                       if p['from'] in self.posted)
        wait_until(are_there, 'the pipelines to read all')

    def watermark(self, pipeline):
        """The committed one; None before the first commit."""
        rows = self.rows('SELECT watermark FROM weir_pipelines WHERE pipeline = ?', pipeline)
        return rows[0][0] if rows else None

    def wait_watermark(self, pipeline, us):
        def reached():
            now = self.watermark(pipeline)
            return now is not None and now >= us
        wait_until(reached, f'the watermark {us} of {pipeline}')

    def metrics(self):
        """{name: [(labels, value), ...]}"""
        found = collections.defaultdict(list)
        for line in self.get('/metrics').body.decode().splitlines():
            match = re.fullmatch(r'(\w+)(?:\{(.*)\})? (\S+)', line)
            if match:
                labels = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', match[2] or ''))
                found[match[1]].append((labels, float(match[3])))
        return found

    def metric(self, metric_name, **labels):
        """The sum over all samples that have these labels; there must be one."""
        values = [value for found, value in self.metrics()[metric_name]
                  if labels.items() <= found.items()]
        if not values:
            raise AssertionError(f'no metric {metric_name} with {labels}')
        return sum(values)

    def wait_metric(self, metric_name, value, **labels):
        wait_until(lambda: self.metric(metric_name, **labels) == value,
                   f'{metric_name}{labels} = {value}')


def is_stopped(pid):
    """By SIGSTOP. One that has ended is not."""
    try:
        with open(f'/proc/{pid}/stat', encoding='ascii', errors='replace') as file:
            return file.read().rsplit(')', 1)[1].split()[0] == 'T'
    except (FileNotFoundError, ProcessLookupError):
        return False


def with_faults():
    """Can it be ended or stopped at named places (base/fault.h)?"""
    with open(os.path.join(BUILD, 'config.h'), encoding='utf-8') as file:
        return '#define WEIR_FAULTS 1' in file.read()


def cpu_seconds(pid):
    """CPU time of a process, all threads, also ended ones: MAKE_PROCESS_CPUCLOCK of Linux with
    CPUCLOCK_SCHED, to the nanosecond."""
    return time.clock_gettime((~pid << 3) | 2)


def sanitized():
    """Whether the program is built with a sanitizer, which takes memory and address space of its own."""
    with open(WEIR, 'rb') as file:
        return re.search(rb'__(asan|tsan)_init', file.read()) is not None


def scaled(seconds):
    """As much longer as everything is waited for: a build with a sanitizer is slower."""
    return seconds * max(1, LIMIT_S / 60)


def held_up_s():
    """A stop takes longer where something keeps it from its end: pipelines are given 16 s, with a sanitizer three times that."""
    return 45 if sanitized() else 15


def memory_bytes(pid, what='VmRSS'):
    with open(f'/proc/{pid}/status', encoding='ascii') as file:
        return int(re.search(rf'{what}:\s+(\d+) kB', file.read())[1]) * 1024


def peak_memory_bytes(pid):
    return memory_bytes(pid, 'VmHWM')


def main():
    """As unittest.main, but exits 77 (skipped, for automake) if nothing was left to run."""
    program = unittest.main(module='__main__', exit=False, verbosity=2)
    result = program.result
    # A class that is skipped as a whole counts as one skip and no run.
    if result.skipped and len(result.skipped) >= result.testsRun:
        sys.exit(77)
    sys.exit(0 if result.wasSuccessful() and result.testsRun > 0 else 1)
