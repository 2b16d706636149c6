# SPDX-License-Identifier: Apache-2.0
"""weir backup and POST /api/v1/backup: a copy that is made while events flow has every event that was
acknowledged before exactly once, whole requests, and runs; the original goes on as if nothing had been."""

import collections
import fcntl
import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import threading
import unittest

import files
import harness

EVENTS = 40        # of a request
KEYS = 7
THREADS = 3
BASE_MS = 1767225600000  # 2026-01-01
STEP_MS = 700      # from request to request of a producer
FAR_MS = BASE_MS + 30 * 24 * 3600 * 1000

CONFIG = '''
server:
  listen: {listen}
  database: weir.db
  checkpoint_interval: 20ms
  commit_interval: 5ms
  segment_size: 1MiB
  backups_kept: 3
streams:
  events:
    time: {field: ts, unit: ms}
    fields: {request: int, k: int, id: int, pad: string}
pipelines:
  by_request:
    from: events
    key: [request]
    window: {tumbling: 1s}
    idle_timeout: off
    analyzers: [count, stats: {of: id, emit: [sum]}]
  by_key:
    from: events
    key: [k]
    window: {tumbling: 1m}
    idle_timeout: off
    workers: 2
    analyzers: [count, stats: {of: id, emit: [sum]}]
'''


def number_of(thread, n):
    return thread * 1000000 + n


def ids_of(request):
    return range(request * EVENTS, (request + 1) * EVENTS)


def time_of(request):
    return BASE_MS + request % 1000000 * STEP_MS


class Load(threading.Thread):
    """A named producer, one request after the other over a connection of its own. All have sent their first
    before any goes on: a source that was not heard of yet does not hold the watermark."""

    def __init__(self, server, thread, first_sent):
        super().__init__(daemon=True)
        self.server, self.thread, self.first_sent = server, thread, first_sent
        self.acknowledged = []  # appended by this thread only
        self.ended = threading.Event()
        self.error = None
        self.pad = random.Random(thread)

    def run(self):
        client = Client(self.server.port)
        try:
            while not self.ended.is_set():
                request = number_of(self.thread, len(self.acknowledged))
                client.post(f'thread{self.thread}', [
                    {'ts': time_of(request), 'request': request, 'k': i % KEYS, 'id': i,
                     'pad': self.pad.randbytes(200).hex()} for i in ids_of(request)])
                self.acknowledged.append(request)
                if len(self.acknowledged) == 1:
                    self.first_sent.wait(harness.LIMIT_S)
        except Exception as error:  # pylint: disable=broad-except
            self.error = error
        finally:
            client.close()


class Client:
    def __init__(self, port):
        self.connection = harness.http.client.HTTPConnection('127.0.0.1', port,
                                                             timeout=harness.LIMIT_S)

    def close(self):
        self.connection.close()

    def post(self, source, events):
        body = ''.join(json.dumps(e) + '\n' for e in events)
        while True:
            self.connection.request('POST', '/api/v1/streams/events/events', body,
                                    {'Content-Type': 'application/x-ndjson', 'Weir-Source': source})
            reply = self.connection.getresponse()
            said = json.loads(reply.read())
            if reply.status != 429:  # nothing was taken: a slow disk
                break
        if reply.status != 200 or said['accepted'] != len(events) or not said['durable']:
            raise AssertionError(f'{reply.status} {said}')


def close_windows(server):
    """An event of every producer that is later than all others, behind all windows."""
    client = Client(server.port)
    for thread in range(THREADS):
        client.post(f'thread{thread}', [{'ts': FAR_MS, 'request': -1, 'k': -1, 'id': 0, 'pad': ''}])
    client.close()
    end_us = (FAR_MS - 60000) * 1000
    for pipeline in ('by_request', 'by_key'):
        server.wait_watermark(pipeline, end_us)


class Backup(unittest.TestCase):
    def check_once(self, server, at_least):
        """What is there is whole requests, each exactly once, and what it must have is there. Returns
        the requests."""
        rows = server.rows('SELECT request, count, id_sum, window_start FROM by_request')
        requests = [row[0] for row in rows]
        self.assertEqual(len(requests), len(set(requests)), 'a request in two rows')
        for request, count, total, start_us in rows:
            self.assertEqual((count, total), (EVENTS, sum(ids_of(request))), request)
            self.assertEqual(start_us, time_of(request) // 1000 * 1000000, request)
        self.assertEqual(set(at_least) - set(requests), set(), 'lost')
        expected = collections.Counter(), collections.Counter()
        for request in requests:
            start_us = time_of(request) // 60000 * 60000000
            for i in ids_of(request):
                expected[0][start_us, i % KEYS] += 1
                expected[1][start_us, i % KEYS] += i
        self.assertEqual(
            sorted(server.rows('SELECT window_start, k, count, id_sum FROM by_key')),
            sorted((*key, expected[0][key], expected[1][key]) for key in expected[0]))
        for pipeline in ('by_request', 'by_key'):
            self.assertEqual(server.metric('weir_pipeline_late_total', pipeline=pipeline), 0)
        return set(requests)

    def by_command(self, server, name, *which):
        done = harness.weir('backup', *(which or ('-c', server.path)), name, cwd=server.folder)
        self.assertEqual((done.returncode, done.stderr), (0, ''))
        self.assertRegex(done.stdout, rf'^{name}: \d+ bytes in [\d.]+ s\n'
                                      r'stream events: up to entry \d+\n$')
        return os.path.join(server.folder, name)

    def by_call(self, server):
        client = Client(server.port)
        client.connection.request('POST', '/api/v1/backup')
        reply = client.connection.getresponse()
        said = json.loads(reply.read())
        client.close()
        self.assertEqual(reply.status, 201, said)
        self.assertEqual(set(said), {'path', 'bytes', 'streams', 'seconds'})
        self.assertEqual([s['name'] for s in said['streams']], ['events'])
        self.assertEqual(said['streams'][0]['damaged'], 0)
        self.assertRegex(said['path'], r'^weir\.db\.backups/\d{8}T\d{6}\.\d{3}Z$')
        path = os.path.join(server.folder, said['path'])
        size = sum(os.path.getsize(os.path.join(folder, name))
                   for folder, _, names in os.walk(path) for name in names)
        self.assertEqual(said['bytes'], size)
        last = files.frames(os.path.join(path, 'weir.db.journal/events'))[-1]
        self.assertEqual(said['streams'][0]['position'], last.first + last.n - 1)
        return path

    def check_copy(self, path, acknowledged):
        """A server starts on the copy, and has all of it."""
        done = harness.weir('check', '--database', os.path.join(path, 'weir.db'))
        self.assertEqual((done.returncode, done.stderr), (0, ''), done.stdout)
        connection = sqlite3.connect(os.path.join(path, 'weir.db'))
        self.assertEqual(connection.execute('PRAGMA integrity_check').fetchall(), [('ok',)])
        connection.close()
        with harness.Server(CONFIG, folder=path) as copy:
            close_windows(copy)
            return self.check_once(copy, acknowledged)

    def test_copies_under_load_have_all_that_was_acknowledged_once(self):
        with harness.Server(CONFIG.replace('backups_kept: 3', 'backups_kept: 7')) as server:
            first_sent = threading.Barrier(THREADS)
            load = [Load(server, thread, first_sent) for thread in range(THREADS)]
            for thread in load:
                thread.start()

            def acknowledged():
                return [request for thread in load for request in list(thread.acknowledged)]

            def trimmed():
                return files.segments(server.database + '.journal/events')[0][-16:] > '00000002'

            copies = []
            for i in range(5):
                count = len(acknowledged())
                harness.wait_until(lambda n=count: len(acknowledged()) > n + 60 and trimmed()
                                   or any(t.error for t in load), 'events and a trimmed journal')
                before = acknowledged()
                copies.append((self.by_command(server, f'copy{i}'), before))
                before = acknowledged()
                copies.append((self.by_call(server), before))
            count = len(acknowledged())
            harness.wait_until(lambda: len(acknowledged()) > count + 60 or any(t.error for t in load),
                               'more events')
            for thread in load:
                thread.ended.set()
            for thread in load:
                thread.join(harness.LIMIT_S)
                self.assertIsNone(thread.error)
            close_windows(server)
            self.assertEqual(self.check_once(server, acknowledged()), set(acknowledged()))
            for path, before in copies:
                with self.subTest(path):
                    self.assertLessEqual(self.check_copy(path, before), set(acknowledged()))

    def test_a_copy_of_a_killed_server_has_what_it_had(self):
        with harness.Server(CONFIG.replace('20ms', '1h')) as server:
            load = Load(server, 0, threading.Barrier(1))
            load.start()
            harness.wait_until(lambda: len(load.acknowledged) > 50 or load.error, 'events')
            before = list(load.acknowledged)
            server.kill()
            load.join(harness.LIMIT_S)
            path = self.by_command(server, 'copy', '-d', server.database)
            copied = self.check_copy(path, before)
            server.start()
            close_windows(server)
            self.assertEqual(self.check_once(server, before), copied)

    def test_serve_takes_a_copy_by_its_option(self):
        """The configured journal, elsewhere, is not that of the copy."""
        config = CONFIG.replace('database: weir.db', 'database: weir.db\n  journal: elsewhere')
        with harness.Server(config) as server:
            os.mkdir(os.path.join(server.folder, 'empty'))
            client = Client(server.port)
            client.post('thread0', [{'ts': time_of(0), 'request': 0, 'k': i % KEYS, 'id': i, 'pad': ''}
                                    for i in ids_of(0)])
            client.close()
            path = self.by_command(server, 'empty')  # takes a folder that is empty
            server.stop()
            server.arguments = ['-d', os.path.join(path, 'weir.db')]
            server.database = os.path.join(path, 'weir.db')
            server.start()
            close_windows(server)
            self.assertEqual(self.check_once(server, [0]), {0})
            server.stop()
            server.arguments, server.database = [], os.path.join(server.folder, 'weir.db')
            server.start()
            close_windows(server)
            self.assertEqual(self.check_once(server, [0]), {0})

    # ---- The target ------------------------------------------------------------------------------

    def test_what_is_there_is_never_touched(self):
        with harness.Server(CONFIG) as server:
            folder = server.folder
            os.mkdir(os.path.join(folder, 'full'))
            os.mkdir(os.path.join(folder, 'new.part'))
            for name in ('full/mine', 'file', 'new.part/mine'):
                with open(os.path.join(folder, name), 'w', encoding='ascii') as file:
                    file.write('mine')
            for to in ('full', 'file', 'new', 'no/where'):
                done = harness.weir('backup', '-c', server.path, to, cwd=folder)
                self.assertEqual((done.returncode, done.stdout), (73, ''), to)
                self.assertIn(f"'{to}'", done.stderr)
            for name in ('full/mine', 'file', 'new.part/mine'):
                with open(os.path.join(folder, name), encoding='ascii') as file:
                    self.assertEqual(file.read(), 'mine')
            self.assertFalse(os.path.exists(os.path.join(folder, 'new')))
            self.assertFalse(os.path.exists(os.path.join(folder, 'full.part')))

    def test_nothing_is_left_of_a_copy_that_failed(self):
        folder = harness.folder_for_test(self)
        with open(os.path.join(folder, 'weir.yaml'), 'w', encoding='ascii') as file:
            file.write(CONFIG.replace('{listen}', '127.0.0.1:0'))
        done = harness.weir('backup', '-c', 'weir.yaml', 'copy', cwd=folder)
        self.assertEqual(done.returncode, 69, done.stderr)
        self.assertIn("database 'weir.db': No such file", done.stderr)
        with open(os.path.join(folder, 'weir.db'), 'wb') as file:
            file.write(b'this is no database' * 1000)
        done = harness.weir('backup', '-c', 'weir.yaml', 'copy', cwd=folder)
        self.assertEqual(done.returncode, 69, done.stderr)
        self.assertEqual(sorted(os.listdir(folder)), ['weir.db', 'weir.yaml'])

    def test_usage(self):
        folder = harness.folder_for_test(self)
        for arguments in ((), ('to',), ('-d', 'x'), ('-d', 'x', 'to', 'too')):
            self.assertEqual(harness.weir('backup', *arguments, cwd=folder).returncode, 64, arguments)
        self.assertEqual(harness.weir('backup', '-d', 'x', 'to', cwd=folder).returncode, 69)
        self.assertEqual(harness.weir('backup', '-c', 'x', 'to', cwd=folder).returncode, 78)
        self.assertEqual(os.listdir(folder), [])

    def test_a_signal_ends_it_and_nothing_is_left(self):
        with harness.Server(CONFIG) as server:
            server.post_ok('events', [{'ts': BASE_MS, 'request': 0, 'k': 0, 'id': 0}])
            with Held(server) as held:
                process = subprocess.Popen([harness.WEIR, 'backup', '-c', server.path, 'copy'],
                                           cwd=server.folder, env=server.env, text=True,
                                           stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                harness.wait_until(lambda: held.is_waited_for(process.pid), 'the copy to wait')
                process.send_signal(signal.SIGTERM)
            out, text = process.communicate(timeout=harness.LIMIT_S)
            self.assertEqual((process.returncode, out), (1, ''), text)
            self.assertIn('cancelled', text)
            self.assertFalse({'copy', 'copy.part'} & set(os.listdir(server.folder)))

    # ---- The call --------------------------------------------------------------------------------

    def test_the_oldest_are_removed_and_nothing_else(self):
        with harness.Server(CONFIG) as server:
            folder = server.database + '.backups'
            mine = ('mine', '20250101T000000.000', '20250101T000000.000Z.txt', 'x20250101T000000.000Z')
            for name in (*mine, '20250101T000000.000Z', '20250102T000000.000Z.part'):
                os.makedirs(os.path.join(folder, name, 'weir.db.journal'))
            made = [os.path.basename(self.by_call_of_empty(server)) for _ in range(2)]
            self.assertEqual(set(os.listdir(folder)), {*mine, '20250101T000000.000Z', *made})
            made += [os.path.basename(self.by_call_of_empty(server)) for _ in range(2)]
            self.assertEqual(set(os.listdir(folder)), {*mine, *made[-3:]})
            with harness.Server(CONFIG, folder=os.path.join(folder, made[1])):
                self.by_call_of_empty(server)
                self.assertIn(made[1], os.listdir(folder))  # it is in use
            self.assertIn('cannot be removed', ''.join(server.log))

    def test_the_one_just_made_stays_though_the_clock_went_back(self):
        with harness.Server(CONFIG) as server:
            folder = server.database + '.backups'
            later = [f'2999010{i}T000000.000Z' for i in range(1, 4)]
            for name in later:
                os.makedirs(os.path.join(folder, name))
            made = os.path.basename(self.by_call_of_empty(server))
            self.assertEqual(set(os.listdir(folder)), {made, *later[1:]})

    def by_call_of_empty(self, server):
        answer = server.request('POST', '/api/v1/backup')
        self.assertEqual(answer.status, 201, answer.body)
        return json.loads(answer.body)['path']

    def test_one_at_a_time(self):
        with harness.Server(CONFIG) as server:
            first = []
            with Held(server) as held:
                thread = threading.Thread(target=lambda: first.append(self.by_call_of_empty(server)))
                thread.start()
                harness.wait_until(lambda: held.is_waited_for(server.process.pid), 'the copy to wait')
                client = Client(server.port)
                client.connection.request('POST', '/api/v1/backup')
                reply = client.connection.getresponse()
                said = json.loads(reply.read())
                client.close()
                self.assertEqual((reply.status, said['code']), (409, 'backup_running'))
            thread.join(harness.LIMIT_S)
            self.assertEqual(len(first), 1)
            self.by_call_of_empty(server)

    def test_nothing_of_the_request_is_taken(self):
        with harness.Server(CONFIG) as server:
            for path, body in (('?path=/tmp/x', None), ('', b'{"path":"/tmp/x"}')):
                answer = server.request('POST', '/api/v1/backup' + path, body)
                self.assertEqual(answer.status, 400)
            self.assertEqual(server.get('/api/v1/backup').status, 405)
            self.assertFalse(os.path.exists(server.database + '.backups'))

    def test_the_configured_folder_is_taken(self):
        with harness.Server(CONFIG.replace('backups_kept: 3', 'backups: "{folder}/here"')) as server:
            path = self.by_call_of_empty(server)
            self.assertEqual(os.path.dirname(path), os.path.join(server.folder, 'here'))
            self.assertTrue(os.path.exists(os.path.join(path, 'weir.db')))

    def test_a_disk_that_cannot_be_written_is_told(self):
        with harness.Server(CONFIG.replace('backups_kept: 3', 'backups: /proc/here')) as server:
            answer = server.request('POST', '/api/v1/backup')
            self.assertEqual(answer.status, 500)
            self.assertEqual(json.loads(answer.body)['code'], 'backup_failed')
            self.assertEqual(server.get('/ready').status, 200)


class Held:
    """The lock that trimming takes: a copy waits for it."""

    def __init__(self, server):
        self.path = server.database + '.journal/events/hold'

    def __enter__(self):
        self.file = open(self.path, 'rb')  # pylint: disable=consider-using-with
        fcntl.flock(self.file, fcntl.LOCK_EX)
        return self

    def __exit__(self, *_):
        self.file.close()

    def is_waited_for(self, pid):
        """By the kernel's list: N: -> FLOCK ADVISORY READ PID DEVICE:INODE ..."""
        with open('/proc/locks', encoding='ascii') as file:
            return re.search(rf'^\d+: -> FLOCK .* {pid} .*:{os.fstat(self.file.fileno()).st_ino} ',
                             file.read(), re.MULTILINE)


if __name__ == '__main__':
    harness.main()
