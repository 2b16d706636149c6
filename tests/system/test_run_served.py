# SPDX-License-Identifier: Apache-2.0
"""`weir run` where a server has the database: the server reads the files, beside what else comes, each event once, whoever is
killed in between."""

import collections
import contextlib
import csv
import gzip
import io
import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import threading
import time
import unittest

from apart import HOSTILE
import harness

T0 = 1700000000000
STEP = 10000
CONFIG = '''
server: {listen: {listen}, database: {folder}/weir.db, commit_interval: 5ms, checkpoint_interval: 50ms}
streams:
  input: {time: {field: ts, unit: ms}, fields: {k: string, id: int}}
  other: {time: {field: ts, unit: ms}, fields: {id: int}}
pipelines:
  results: {from: input, key: [k], window: {tumbling: 10s}, out_of_orderness: 1m, idle_timeout: off, late: LATE, workers: 2,
            analyzers: [count, {sum: {of: id}}]}
  kept: {from: input, window: none, idle_timeout: off, select: [k, id]}
  others: {from: other, window: none, select: [id]}
'''.replace('LATE', '{late}')
TWO = '''
server: {listen: {listen}, database: {folder}/weir.db, commit_interval: 5ms, checkpoint_interval: 50ms}
streams:
  s: {time: {field: ts, unit: ms}, fields: {k: string, id: int}}
  a: {time: {field: ts, unit: ms}, fields: {k: string, id: int}}
pipelines:
'''
SEVERAL = TWO + '''
  j: {from: [s, a], window: {tumbling: 10s}, out_of_orderness: 0s, idle_timeout: 200ms,
      analyzers: [{sql: "SELECT (SELECT count(*) FROM s) AS x, (SELECT count(*) FROM a) AS y"}]}
'''
JOINED = TWO + '''
  g: {from: s, key: [k], window: {tumbling: 1s}, out_of_orderness: 0s, idle_timeout: off, analyzers: [count]}
  j: {from: s, window: none, select: [id, n], out_of_orderness: 0s, idle_timeout: off,
      join: {g: {on: [k], as_of: true, within: 1h, columns: {n: count}}}}
'''
WITH_OTHER = TWO + '''
  j: {from: s, window: none, select: [id, n], out_of_orderness: 0s, idle_timeout: off,
      join: {a: {on: [k], as_of: true, within: 1h, columns: {n: id}}}}
'''
FAILS = TWO + '''
  p: {from: s, window: {tumbling: 10s}, out_of_orderness: 1m, analyzers: [{hostile: {how: fails, of: id, at: 50}}]}
'''
NOISE = 'x' * 100  # a field that nobody reads: fewer events make a MiB
MIB = 1 << 20


def config(late='drop'):
    return CONFIG.replace('{late}', late)


def make_events(n, first=0, seed=1, start=T0, span=600000):
    """In order but for half a minute, which out_of_orderness allows."""
    rng = random.Random(seed)
    return [{'ts': max(start, start + i * span // n - rng.randrange(30000)), 'k': rng.choice('abc'), 'id': first + i}
            for i in range(n)]


def ndjson(events, noise=''):
    return ''.join(json.dumps({**e, 'noise': noise}) + '\n' for e in events).encode()


def as_csv(events):
    text = io.StringIO()
    out = csv.DictWriter(text, ['ts', 'k', 'id'])
    out.writeheader()
    out.writerows(events)
    return text.getvalue().encode()


def threads(pid, name):
    n = 0
    for thread in os.listdir(f'/proc/{pid}/task'):
        try:
            with open(f'/proc/{pid}/task/{thread}/comm', encoding='utf-8') as file:
                n += file.read().strip() == name
        except OSError:  # it has ended
            pass
    return n


def has_socket(pid):
    for fd in os.listdir(f'/proc/{pid}/fd'):
        try:
            if os.readlink(f'/proc/{pid}/fd/{fd}').startswith('socket:'):
                return True
        except OSError:  # it is closed
            pass
    return False


def expected(events):
    groups = collections.defaultdict(lambda: [0, 0])
    for e in events:
        group = groups[e['k'], e['ts'] // STEP * STEP]
        group[0] += 1
        group[1] += e['id']
    return sorted((k, start, n, s) for (k, start), (n, s) in groups.items())


class Served(unittest.TestCase):
    def serve(self, late='drop', text=None):
        server = harness.Server(text or config(late))
        self.addCleanup(server.__exit__, None, None, None)
        server.__enter__()
        return server

    def write(self, server, name, data):
        path = os.path.join(server.folder, name)
        with open(path, 'wb') as file:
            file.write(data)
        return path

    def run_files(self, server, *args, status=0, **more):
        done = harness.weir('run', '-c', server.path, *args, **more)
        self.assertEqual(done.returncode, status, done.stderr)
        return done.stderr

    def start_run(self, server, *args, **more):
        process = subprocess.Popen([harness.WEIR, 'run', '-c', server.path, *args], env=harness.environment(),
                                   stdin=subprocess.PIPE, stderr=subprocess.PIPE, **more)
        self.addCleanup(process.stderr.close)
        self.addCleanup(lambda: process.poll() is None and (process.kill(), process.wait()))
        self.addCleanup(harness.close_pipe, process.stdin)
        return process

    def start_half(self, server, data, cut):
        """A run of standard input that has so many bytes; and in the background they are written."""
        process = self.start_run(server, '-s', 'input')

        def feed(pipe):
            with contextlib.suppress(OSError, ValueError):  # nobody reads it any more, or it is closed
                pipe.write(data[:cut])
                pipe.flush()
        thread = threading.Thread(target=feed, args=(process.stdin,))
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(process.kill)
        harness.wait_until(lambda: server.metric('weir_events_total', stream='input') > 0, 'the first events')
        return process

    def check(self, server, events):
        """Every event is there once; windows that a last one of the stream closes are equal to Python's."""
        last = {'ts': max(e['ts'] for e in events) + 10 * 60000, 'k': 'end', 'id': 0}
        server.post_ok('input', [last])
        want = collections.Counter((e['k'], e['id']) for e in events + [last])
        harness.wait_until(lambda: collections.Counter(server.rows('SELECT k, id FROM kept')) == want, 'every event once')
        server.wait_watermark('results', (last['ts'] - 60000) * 1000)
        rows = sorted(server.rows('SELECT k, window_start / 1000, count, id_sum FROM results'))
        self.assertEqual(rows, expected(events))


class Files(Served):
    def test_the_format_may_be_given(self):
        server = self.serve()
        events = make_events(2000)
        path = self.write(server, 'a.ndjson', ndjson(events))
        self.run_files(server, '-s', 'input', path)
        self.assertIn('2000 of them before', self.run_files(server, '-s', 'input', '-f', 'ndjson', path))
        self.check(server, events)

    def test_standard_input_is_closed(self):
        server = self.serve()
        done = subprocess.run(['sh', '-c', 'exec "$0" run -c "$1" -s input - <&-', harness.WEIR, server.path],
                              env=harness.environment(), capture_output=True, text=True, timeout=harness.LIMIT_S)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn('0 events taken by the server', done.stderr)

    def test_formats_and_live_events_beside(self):
        server = self.serve()
        events = make_events(9000)
        live = make_events(300, first=10**6, seed=2, span=60000)  # as far as the files begin: late before, not after them
        paths = [self.write(server, 'a.ndjson', ndjson(events[:3000])),
                 self.write(server, 'b.csv.gz', gzip.compress(as_csv(events[3000:6000]))),
                 self.write(server, 'c.json', json.dumps(events[6000:]).encode())]
        server.post_ok('input', live[:100])
        said = self.run_files(server, '-s', 'input', *paths)
        server.post_ok('input', live[100:])
        self.assertIn('9000 events taken by the server, 0 rejected', said)
        self.assertIn('pipeline results: ', said)
        self.check(server, events + live)

    def test_what_was_taken_is_told_to_be_so(self):
        server = self.serve()
        events = make_events(2000)
        path = self.write(server, 'a.ndjson', ndjson(events))
        self.run_files(server, '-s', 'input', path)
        said = self.run_files(server, '-s', 'input', path)
        self.assertIn('2000 events taken by the server, 2000 of them before, and not again, 0 rejected', said)
        self.check(server, events)


class Interrupted(Served):
    """Input of several MiB, each of which is taken as a whole."""

    def setUp(self):
        self.server = self.serve()
        self.events = make_events(30000)
        self.data = ndjson(self.events, NOISE)
        self.assertGreater(len(self.data), 4 * MIB)

    def again(self):
        path = self.write(self.server, 'all.ndjson', self.data)
        said = self.run_files(self.server, '-s', 'input', path)
        self.assertRegex(said, r'30000 events taken by the server, [1-9][0-9]* of them before, and not again')
        self.check(self.server, self.events)

    def test_the_server_is_killed(self):
        process = self.start_half(self.server, self.data, 3 * MIB + 1000)
        self.server.kill()
        self.assertEqual(process.wait(harness.LIMIT_S), 69)
        said = process.stderr.read().decode()
        self.assertIn('ended; what it has taken it does not take again', said)
        self.server.start()
        self.again()

    def test_the_server_is_stopped(self):
        process = self.start_half(self.server, self.data, 3 * MIB + 1000)
        self.server.stop()
        self.assertEqual(process.wait(harness.LIMIT_S), 69)
        self.server.start()
        self.again()

    def run_without(self, *options):
        """A run of all of the file without a server. Returns what it says, and how often each event is there."""
        path = self.write(self.server, 'all.ndjson', self.data)
        said = self.run_files(self.server, '-s', 'input', *options, path)
        kept = collections.Counter(harness.read_rows(self.server.database, 'SELECT k, id FROM kept'))
        return said, kept

    def test_the_server_is_killed_and_none_is_there_again(self):
        process = self.start_half(self.server, self.data, 3 * MIB + 1000)
        self.server.kill()
        process.wait(harness.LIMIT_S)
        said, kept = self.run_without()
        self.assertRegex(said, r'30000 events taken, [1-9][0-9]* of them before, and not again')
        self.assertEqual(kept, collections.Counter((e['k'], e['id']) for e in self.events))
        rows = harness.read_rows(self.server.database, 'SELECT k, window_start / 1000, count, id_sum FROM results')
        self.assertEqual(sorted(rows), expected(self.events))
        self.server.start()  # and a server that begins behind it knows its keys still
        said = self.run_files(self.server, '-s', 'input', os.path.join(self.server.folder, 'all.ndjson'), status=65)
        self.assertRegex(said, r'30000 events taken by the server, [1-9][0-9]* of them before, and not again')

    def test_what_a_server_has_taken_is_taken_again_where_that_is_asked_for(self):
        path = self.write(self.server, 'all.ndjson', self.data)
        self.run_files(self.server, '-s', 'input', path)
        self.assertIn('a server has the database', self.run_files(self.server, '-s', 'input', '--again', path, status=64))
        self.server.stop()
        said, kept = self.run_without()
        self.assertIn('30000 events taken, 30000 of them before, and not again', said)
        self.assertEqual(set(kept.values()), {1})
        # results drops what it has given out
        done = harness.weir('run', '-c', self.server.path, '-s', 'input', '--again', path)
        self.assertEqual(done.returncode, 65)
        kept = collections.Counter(harness.read_rows(self.server.database, 'SELECT k, id FROM kept'))
        self.assertEqual((len(kept), set(kept.values())), (30000, {2}))

    def test_the_run_is_killed(self):
        process = self.start_half(self.server, self.data, 3 * MIB + 1000)
        process.kill()
        process.wait()
        self.again()

    def test_the_run_is_interrupted(self):
        process = self.start_half(self.server, self.data, 3 * MIB + 1000)
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(harness.LIMIT_S), 1)
        said = process.stderr.read().decode()
        self.assertIn('stopped', said)
        taken = int(re.search(r'(\d+) events taken by the server', said)[1])
        self.assertEqual(taken, self.server.metric('weir_events_total', stream='input'))
        self.again()

    def test_the_run_is_interrupted_with_who_writes_to_it(self):
        """The server hears of the end of the pipe before weir run says that it stops."""
        process = self.start_run(self.server, '-s', 'input')
        process.stdin.write(self.data[:MIB + 500000])
        process.stdin.flush()
        harness.wait_until(lambda: self.server.metric('weir_events_total', stream='input') > 0, 'the first events')
        process.send_signal(signal.SIGSTOP)
        harness.close_pipe(process.stdin)
        time.sleep(0.3)  # not waited for: it only makes the order likely that failed once
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGCONT)
        self.assertEqual(process.wait(harness.LIMIT_S), 1)
        self.assertIn('stopped', process.stderr.read().decode())
        self.again()

    def test_a_gzip_file_that_is_cut_off(self):
        whole = gzip.compress(self.data)
        path = self.write(self.server, 'all.ndjson.gz', whole[:len(whole) * 3 // 4])
        self.assertIn('cut off', self.run_files(self.server, '-s', 'input', path, status=74))
        self.write(self.server, 'all.ndjson.gz', whole)
        self.again()

    def test_two_at_a_time_count_once(self):
        path = self.write(self.server, 'all.ndjson', self.data)
        both = [self.start_run(self.server, '-s', 'input', path) for _ in range(2)]
        for process in both:
            self.assertEqual(process.wait(harness.LIMIT_S), 0)
        self.check(self.server, self.events)


class Told(Served):
    def test_old_events_are_late(self):
        for late, status, word in (('drop', 65, '100 events late'), ('side', 0, '100 events late, in the table'),
                                   ('revise, allowed_lateness: 36500d', 0, '100 events late that revised results')):
            with self.subTest(late):
                server = self.serve(late)
                now = [{'ts': T0 + 86400000, 'k': 'a', 'id': 1}]
                server.post_ok('input', now)
                harness.wait_until(lambda: server.rows('SELECT k FROM kept') == [('a',)], 'the live event')
                path = self.write(server, 'old.ndjson', ndjson(make_events(100)))
                said = self.run_files(server, '-s', 'input', path, status=status)
                self.assertIn(word, said)
                self.assertEqual('backfill: FILE' in said, late == 'drop')

    def test_only_late_events_of_the_files_are_told(self):
        server = self.serve()
        server.post_ok('input', [{'ts': T0 + 86400000, 'k': 'a', 'id': 1}])
        server.post_ok('input', make_events(10))
        harness.wait_until(lambda: server.metric('weir_pipeline_late_total', pipeline='results', outcome='drop') == 10, 'late events')
        new = [{**e, 'ts': e['ts'] + 86400000} for e in make_events(100)]
        said = self.run_files(server, '-s', 'input', self.write(server, 'new.ndjson', ndjson(new)))
        self.assertNotIn('late', said)

    def test_late_events_of_runs_before_are_not_told_again(self):
        server = self.serve()
        server.post_ok('input', [{'ts': T0 + 86400000, 'k': 'a', 'id': 1}])
        harness.wait_until(lambda: server.rows('SELECT k FROM kept') == [('a',)], 'the live event')
        said = self.run_files(server, '-s', 'input', self.write(server, 'old.ndjson', ndjson(make_events(100))), status=65)
        self.assertIn('100 events late', said)
        new = [{**e, 'ts': e['ts'] + 2 * 86400000} for e in make_events(100)]
        said = self.run_files(server, '-s', 'input', self.write(server, 'new.ndjson', ndjson(new)))
        self.assertNotIn('events late', said)

    def test_a_pipeline_of_several_streams(self):
        """Of each only the late events of the files count, also if another source of the other stream has the same number."""
        server = self.serve(text=SEVERAL)
        events = lambda ts, n: ndjson([{'ts': T0 + ts + i, 'k': 'a', 'id': i} for i in range(n)])
        server.post_ok('a', events(10000000, 1), **{'Weir-Source': 'somebody'})
        server.post_ok('s', events(10000000, 1))
        server.wait_watermark('j', (T0 + 10000000) * 1000)
        server.post_ok('a', events(0, 50), **{'Weir-Source': 'somebody'})
        harness.wait_until(lambda: server.metric('weir_pipeline_late_total', pipeline='j', outcome='drop') == 50, 'late events')
        said = self.run_files(server, '-s', 's', self.write(server, 's.ndjson', events(20000000, 10)))
        self.assertNotIn('events late', said)
        self.assertNotIn('not read all', said)
        old = self.write(server, 'old.ndjson', events(0, 7))
        new = self.write(server, 'new.ndjson', events(40000000, 10))
        for s, a in ((old, new), (self.write(server, 'later.ndjson', events(50000000, 10)), old)):
            said = self.run_files(server, '-s', f's={s}', '-s', f'a={a}', status=65)
            self.assertEqual(re.findall(r'pipeline j: \d+ result rows.*', said)[0].partition(', ')[2], '7 events late')
            self.assertEqual(said.count(' result rows since'), 1)

    def test_events_too_late_to_be_joined(self):
        server = self.serve(text=WITH_OTHER)
        server.post_ok('a', [{'ts': T0 + 86400000, 'k': 'a', 'id': 1}])
        server.post_ok('a', [{'ts': T0, 'k': 'a', 'id': 1}])
        harness.wait_until(lambda: server.metric('weir_pipeline_join_late_total', pipeline='j') == 1, 'a late event')
        old = self.write(server, 'old.ndjson', ndjson(make_events(10)))
        said = self.run_files(server, '-s', 'a', old, status=65)
        self.assertIn('pipeline j: 10 events came too late to be joined', said)

    def test_a_pipeline_that_has_failed(self):
        folder = harness.folder_for_test(self)
        harness.compile_plugin(folder, 'hostile', HOSTILE)
        server = harness.Server(FAILS, WEIR_PLUGIN_PATH=folder)
        self.addCleanup(server.remove_folder)
        self.addCleanup(server.kill)  # a stop would say that a pipeline has failed
        server.start()
        path = self.write(server, 'a.ndjson', ndjson(make_events(100)))
        said = self.run_files(server, '-s', 's', path, status=1, env=harness.environment(WEIR_PLUGIN_PATH=folder))
        self.assertRegex(said, 'pipeline p: .*; it has failed')

    def test_faults_with_file_and_line_and_dead_letters_once(self):
        server = self.serve()
        events = make_events(100)
        lines = ndjson(events).splitlines(keepends=True)
        lines.insert(41, b'{"ts": 1, "k": "a", "id": "x"}\n')
        path = self.write(server, 'bad.ndjson', b''.join(lines))
        for _ in range(2):
            said = self.run_files(server, '-s', 'input', path, status=65)
            self.assertIn(f'{path}:42:', said)
            self.assertIn('100 events taken by the server', said)
            self.assertIn('1 rejected', said)
        dead = lambda: server.rows('SELECT source, line FROM weir_dead_letters')
        harness.wait_until(dead, 'the dead letter')
        self.check(server, events)
        self.assertEqual(dead(), [(path, 42)])

    def test_dead_letters_that_the_killed_server_had_not_stored(self):
        server = self.serve()
        events = make_events(10)
        path = self.write(server, 'bad.ndjson', ndjson(events) + b'no\n')
        other = sqlite3.connect(server.database, isolation_level=None, timeout=harness.LIMIT_S)
        self.addCleanup(other.close)
        other.execute('BEGIN IMMEDIATE')
        process = self.start_run(server, '-s', 'input', path)
        harness.wait_until(lambda: server.metric('weir_events_total', stream='input') == len(events), 'the events')
        server.kill()
        process.wait(harness.LIMIT_S)
        other.execute('ROLLBACK')
        server.start()
        self.run_files(server, '-s', 'input', path, status=65)
        dead = lambda: server.rows('SELECT source, line FROM weir_dead_letters')
        harness.wait_until(dead, 'the dead letter')
        self.check(server, events)
        self.assertEqual(dead(), [(path, 11)])

    def test_dead_letters_of_a_file_without_any_events_once(self):
        """No request of the log says that it was taken."""
        server = self.serve()
        path = self.write(server, 'bad.ndjson', b'{"ts": 1, "k": "a", "id": "x"}\nno\n')
        for _ in range(3):
            said = self.run_files(server, '-s', 'input', path, status=65)
            self.assertIn('0 events taken by the server, 2 rejected', said)
        server.restart()
        self.run_files(server, '-s', 'input', path, status=65)
        other = self.write(server, 'other.ndjson', b'no\n')
        self.run_files(server, '-s', 'input', other, status=65)
        dead = lambda: server.rows('SELECT source, line FROM weir_dead_letters ORDER BY number')
        harness.wait_until(lambda: (other, 1) in dead(), 'the last one')
        self.assertEqual(dead(), [(path, 1), (path, 2), (other, 1)])

    def test_a_file_that_cannot_be_read(self):
        server = self.serve()
        missing = os.path.join(server.folder, 'missing.ndjson')
        self.assertIn(f'"{missing}"', self.run_files(server, '-s', 'input', missing, status=74))
        self.assertIn('directory', self.run_files(server, '-s', 'input', '-f', 'ndjson', server.folder, status=74))
        cut = self.write(server, 'cut.ndjson.gz', gzip.compress(ndjson(make_events(1000)))[:-20])
        self.assertIn('cut off', self.run_files(server, '-s', 'input', cut, status=74))
        odd = self.write(server, 'odd.txt', b'')
        self.assertIn('does not say the format', self.run_files(server, '-s', 'input', odd, status=64))

    def test_a_stream_that_is_unknown(self):
        server = self.serve()
        self.assertIn("stream 'inptu' is not in the configuration", self.run_files(server, '-s', 'inptu', '-', status=64))
        more = config().replace('{listen}', '127.0.0.1:0').replace('{folder}', server.folder).replace(
            'pipelines:', '  added: {time: {field: ts, unit: ms}, fields: {id: int}}\npipelines:')
        later = self.write(server, 'later.yaml', more.encode())
        done = harness.weir('run', '-c', later, '-s', 'added', '-', stdin='')
        self.assertEqual(done.returncode, 64, done.stderr)
        self.assertIn("the server has no stream 'added'", done.stderr)

    def test_several_streams(self):
        server = self.serve()
        events = make_events(500)
        first = self.write(server, 'a.ndjson', ndjson(events))
        second = self.write(server, 'b.ndjson', ndjson([{'ts': T0, 'id': 7}]))
        said = self.run_files(server, '-s', f'input={first}', '-s', f'other={second}')
        self.assertIn('501 events taken by the server', said)
        self.assertIn('pipeline others: ', said)
        harness.wait_until(lambda: server.rows('SELECT id FROM others') == [(7,)], 'the event of the other stream')
        self.check(server, events)


class Watermark(Served):
    def test_a_run_that_has_ended_holds_nothing_back(self):
        """Though sources of this pipeline are never idle: also after a start."""
        server = self.serve()
        self.run_files(server, '-s', 'input', self.write(server, 'a.ndjson', ndjson(make_events(100))))
        server.post_ok('input', [{'ts': T0 + 86400000, 'k': 'a', 'id': 1}])
        server.wait_watermark('results', (T0 + 86400000 - 60000) * 1000)
        server.restart()
        server.post_ok('input', [{'ts': T0 + 2 * 86400000, 'k': 'a', 'id': 2}])
        server.wait_watermark('results', (T0 + 2 * 86400000 - 60000) * 1000)

    def test_one_whose_files_are_read_does_not_wait_for_itself(self):
        """Events wait for results that are closed once nobody holds the watermark back."""
        server = self.serve(text=JOINED)
        events = sorted(make_events(8000), key=lambda e: e['ts'])
        data = ndjson(events, NOISE)[:-1]
        data += b' ' * (-(len(data) + 1) % MIB) + b'\n'  # whole MiB: all is taken before the end
        process = self.start_run(server, '-s', 's')
        process.stdin.write(data)
        process.stdin.flush()
        harness.wait_until(lambda: server.metric('weir_events_total', stream='s') == len(events), 'the events')
        server.post_ok('s', [{'ts': T0 + 86400000, 'k': 'a', 'id': -1}])
        harness.close_pipe(process.stdin)
        self.assertEqual(process.wait(harness.LIMIT_S), 0)
        self.assertNotIn('not read all', process.stderr.read().decode())

    def test_one_that_goes_on_does(self):
        server = self.serve()
        events = make_events(30000)
        data = ndjson(events, NOISE)
        process = self.start_half(server, data, 2 * MIB + 1000)
        server.post_ok('input', [{'ts': T0 + 86400000, 'k': 'late', 'id': -1}])
        process.stdin.write(data[2 * MIB + 1000:])
        harness.close_pipe(process.stdin)
        self.assertEqual(process.wait(harness.LIMIT_S), 0)
        self.check(server, events + [{'ts': T0 + 86400000, 'k': 'late', 'id': -1}])


class Many(Served):
    def test_one_that_waits_for_room_can_be_interrupted(self):
        server = self.serve()
        eight = [self.start_run(server, '-s', 'input') for _ in range(8)]
        harness.wait_until(lambda: threads(server.process.pid, 'run') == 8, 'all but one')
        ninth = self.start_run(server, '-s', 'input')
        harness.wait_until(lambda: has_socket(ninth.pid), 'the ninth')
        ninth.send_signal(signal.SIGINT)
        self.assertEqual(ninth.wait(harness.LIMIT_S), 1)
        self.assertIn('stopped', ninth.stderr.read().decode())
        for process in eight:
            harness.close_pipe(process.stdin)
            self.assertEqual(process.wait(harness.LIMIT_S), 0)

    def test_more_streams_than_it_takes(self):
        server = self.serve()
        nine = [arg for i in range(9) for arg in ('-s', f's{i}=x.ndjson')]
        self.assertIn('8 streams at a time', self.run_files(server, *nine, status=64))


class Who(Served):
    def test_tokens_are_not_asked_for(self):
        server = self.serve_with_tokens()
        events = make_events(100)
        self.run_files(server, '-s', 'input', self.write(server, 'a.ndjson', ndjson(events)))
        want = sorted((e['id'],) for e in events)
        harness.wait_until(lambda: sorted(server.rows('SELECT id FROM kept')) == want, 'the events')

    def serve_with_tokens(self):
        server = harness.Server(config().replace('{listen: {listen}', '{listen: "unix:{folder}/socket", tokens: {folder}/tokens'))
        made = harness.weir('token', 'new', '-c', server.path, '--may', 'read')
        self.assertEqual(made.returncode, 0, made.stderr)
        self.addCleanup(server.__exit__, None, None, None)
        server.start_process()
        harness.wait_until(lambda: any('listening on unix:' in line for line in server.log), 'the socket')
        return server

    @unittest.skipIf(os.geteuid(), 'needs root')
    def test_another_user_may_not(self):
        server = self.serve()
        os.chmod(server.folder, 0o755)
        path = self.write(server, 'a.ndjson', ndjson(make_events(10)))
        done = subprocess.run([harness.WEIR, 'run', '-c', server.path, '-s', 'input', path], env=harness.environment(),
                              user=65534, group=65534, extra_groups=[], capture_output=True, text=True,
                              timeout=harness.LIMIT_S)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("the server is another user's", done.stderr)
        self.assertEqual(server.metric('weir_events_total', stream='input'), 0)


if __name__ == '__main__':
    harness.main()
