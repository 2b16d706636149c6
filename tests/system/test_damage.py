# SPDX-License-Identifier: Apache-2.0
"""Files that are damaged: `weir check --database` finds it, `weir serve` says what is lost instead of going
on as if nothing had been, and goes on with --skip-damaged."""

import contextlib
import json
import os
import shutil
import sqlite3
import unittest

import files
import harness

BASE_MS = 1767225600000  # 2026-01-01
FAR_MS = BASE_MS + 24 * 3600 * 1000
REQUESTS = 12

# Nothing is checkpointed before the end, unless a test says otherwise.
CONFIG = '''
server:
  listen: {listen}
  database: weir.db
  checkpoint_interval: 1h
  segment_size: 1MiB
streams:
  events:
    time: {field: ts, unit: ms}
    fields: {request: int, pad: string}
  other:
    time: arrival
    fields: {x: int}
pipelines:
  by_request:
    from: events
    key: [request]
    window: {tumbling: 1h}
    idle_timeout: off
    analyzers: [count]
'''


class Damage(unittest.TestCase):
    def server(self, config=CONFIG):
        server = harness.Server(config, folder=harness.folder_for_test(self))
        self.addCleanup(server.kill)
        return server

    def filled(self, pad=0, config=CONFIG):
        """A server that has taken REQUESTS requests, a frame each, and was killed."""
        server = self.server(config)
        server.start()
        for request in range(REQUESTS):
            self.post(server, request, pad)
        server.kill()
        return server

    @staticmethod
    def post(server, request, pad=0):
        server.post_ok('events', [{'ts': BASE_MS + i, 'request': request, 'pad': 'x' * pad}
                                  for i in range(request + 1)])

    def frames(self, server):
        found = files.frames(server.database + '.journal/events')
        return [frame for frame in found if frame.n]

    def results(self, server):
        """Of all windows, closed by a late event."""
        server.post_ok('events', [{'ts': FAR_MS, 'request': -1}])
        server.wait_watermark('by_request', (FAR_MS - 3600000) * 1000)
        return dict(server.rows('SELECT request, count FROM by_request'))

    def everything_but(self, lost):
        return {request: request + 1 for request in range(REQUESTS) if request != lost}

    def refused(self, server, code=74):
        server.start_process()
        self.assertEqual(server.process.wait(harness.LIMIT_S), code)
        return ''.join(server.log)

    def check_text(self, text, frame):
        """It names the file, the place, what is lost, and the way on."""
        name = os.path.basename(frame.path)
        self.assertIn(f'{name}, offset {frame.offset}: damaged', text)
        self.assertIn(f'positions {frame.first} to {frame.first} are lost', text)
        self.assertIn('--skip-damaged', text)

    # ---- weir serve ------------------------------------------------------------------------------

    def test_serve_ends_where_the_last_segment_is_damaged(self):
        server = self.filled()
        frame = self.frames(server)[5]
        files.damage_frame(frame)
        text = self.refused(server)
        self.check_text(text, frame)
        self.assertEqual(self.refused(server), text)  # nothing was changed

    def test_serve_goes_on_without_it_when_told_to(self):
        server = self.filled()
        frame = self.frames(server)[5]
        files.damage_frame(frame)
        server.arguments = ['--skip-damaged']
        server.start()
        self.assertIn(f'{os.path.basename(frame.path)}, offset {frame.offset}: damaged',
                      ''.join(server.log))
        self.assertEqual(self.results(server), self.everything_but(5))
        self.assertGreater(server.metric('weir_journal_damaged_frames_total', stream='events'), 0)
        server.stop()
        server.arguments = []  # the damaged segment was given back
        server.start()
        self.assertEqual(dict(server.rows('SELECT request, count FROM by_request')),
                         self.everything_but(5))
        server.stop()

    def test_a_stream_takes_nothing_where_an_earlier_segment_is_damaged(self):
        server = self.filled(pad=50000)
        damaged = self.frames(server)[4]
        self.assertLess(damaged.path, self.frames(server)[-1].path)
        files.damage_frame(damaged)
        server.start_process()
        server.wait_port()
        harness.wait_until(lambda: b'takes nothing' in server.get('/ready').body, '/ready to say why')
        answer = server.get('/ready')
        self.assertEqual(answer.status, 503)
        self.check_text(json.loads(answer.body)['detail'], damaged)
        harness.wait_until(lambda: 'takes nothing' in ''.join(server.log), 'the log to say why')
        self.check_text(''.join(server.log), damaged)
        answer = server.post('events', [{'ts': BASE_MS, 'request': 1}])
        self.assertEqual((answer.status, json.loads(answer.body)['code']), (503, 'journal_failed'))
        self.assertEqual(server.post_ok('other', [{'x': 1}])['accepted'], 1)
        self.assertEqual(server.get_json('/api/v1/pipelines/by_request')['name'], 'by_request')
        answer = server.request('POST', '/api/v1/sql', b'SELECT count(*) AS n FROM by_request',
                                {'Content-Type': 'text/plain'})
        self.assertEqual(answer.status, 200, answer.body)
        server.stop()
        server.arguments = ['--skip-damaged']
        server.start()
        self.assertEqual(self.results(server), self.everything_but(4))
        server.stop()
        server.arguments = []
        server.start()
        server.stop()

    def test_a_torn_end_is_cut_and_no_damage(self):
        server = self.filled()
        last = self.frames(server)[-1]
        os.truncate(last.path, last.offset + files.HEAD.size + last.size // 2)
        self.assertEqual(self.check(server).returncode, 0)
        server.start()
        self.assertIn('never completed', ''.join(server.log))
        self.assertEqual(self.results(server), self.everything_but(REQUESTS - 1))
        server.stop()

    # ---- weir check --database -------------------------------------------------------------------

    def check(self, server, *more):
        return harness.weir('check', '-c', server.path, '--database', *more, cwd=server.folder)

    def faults(self, server):
        done = self.check(server)
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        self.assertIn('to do: ', done.stderr)
        return done.stderr

    def listing(self, folder):
        found = {}
        for path, _, names in os.walk(folder):
            for name in names:
                with open(os.path.join(path, name), 'rb') as file:
                    found[os.path.join(path, name)] = file.read()
        return found

    def test_check_says_what_there_is_and_changes_nothing(self):
        server = self.filled()
        frames = files.frames(server.database + '.journal/events')
        before = self.listing(server.folder)
        done = self.check(server)
        self.assertEqual((done.returncode, done.stderr), (0, ''), done.stdout)
        after = self.listing(server.folder)
        for name in (server.database + '-shm', server.database + '-wal'):  # SQLite's own
            before.pop(name, None), after.pop(name, None)
        self.assertEqual(after, before)
        self.assertIn('schema version ', done.stdout)
        self.assertIn('pipeline by_request: checkpoint at entry 0, 0 groups in 0 blocks\n', done.stdout)
        first, last = frames[0], frames[-1]
        self.assertIn(f'stream events: entries {first.first} to {last.first + last.n - 1}; '
                      f'1 segments, {len(frames)} frames, ', done.stdout)
        self.assertTrue(done.stdout.endswith('no faults found\n'))

    def test_check_works_while_a_server_runs_and_finds_its_groups(self):
        server = self.server(CONFIG.replace('1h\n  seg', '20ms\n  seg'))
        server.start()
        for request in range(REQUESTS):
            self.post(server, request)
        harness.wait_until(lambda: server.rows('SELECT groups FROM weir_checkpoints') == [(REQUESTS,)],
                           'a checkpoint')
        done = self.check(server)
        self.assertEqual((done.returncode, done.stderr), (0, ''), done.stdout)
        self.assertIn(f', {REQUESTS} groups in ', done.stdout)
        done = harness.weir('check', '--database', server.database)  # no configuration
        self.assertEqual((done.returncode, done.stderr), (0, ''), done.stdout)
        server.stop()

    def test_check_finds_damaged_frames(self):
        server = self.filled()
        frames = self.frames(server)
        for i in (3, 7):
            files.damage_frame(frames[i])
        text = self.faults(server)
        self.check_text(text, frames[3])
        self.assertIn('2 frames are damaged', text)

    def test_a_backup_of_a_damaged_journal_is_made_and_says_so(self):
        server = self.filled(pad=50000)
        damaged = self.frames(server)[4]
        files.damage_frame(damaged)
        done = harness.weir('backup', '-c', server.path, 'copy', cwd=server.folder)
        self.assertEqual(done.returncode, 74, done.stderr)
        self.assertIn(f'stream events: up to entry {REQUESTS}\n', done.stdout)
        self.assertIn('as damaged as the original', done.stderr)
        self.assertIn(f'positions {damaged.first} to {damaged.first} are lost', done.stderr)
        server.start_process()
        server.wait_port()
        answer = server.request('POST', '/api/v1/backup')
        self.assertEqual(answer.status, 201)
        self.assertEqual({s['name']: s['damaged'] for s in json.loads(answer.body)['streams']},
                         {'events': 1, 'other': 0})
        server.stop()
        copy = harness.Server(CONFIG, folder=os.path.join(server.folder, 'copy'))
        self.addCleanup(copy.kill)
        copy.arguments = ['--skip-damaged']
        copy.start()
        self.assertEqual(self.results(copy), self.everything_but(4))
        copy.stop()

    def test_check_finds_a_damaged_page(self):
        server = self.filled()
        server.start()
        self.results(server)
        server.stop()
        files.damage_page(server.database, 'by_request')
        with self.assertRaises(sqlite3.DatabaseError):
            server.rows('SELECT * FROM by_request')
        self.assertIn("database 'weir.db'", self.faults(server))

    def test_check_finds_a_cut_database_and_one_that_is_none(self):
        server = self.filled()
        server.start()
        self.results(server)
        server.stop()
        os.truncate(server.database, os.path.getsize(server.database) // 2)
        self.assertIn("database 'weir.db'", self.faults(server))
        with open(server.database, 'wb') as file:
            file.write(b'no database ' * 1000)
        self.assertIn('not a database', self.faults(server))
        os.remove(server.database)
        for name in ('-wal', '-shm'):
            if os.path.exists(server.database + name):
                os.remove(server.database + name)
        self.assertEqual(self.check(server).returncode, 69)

    def test_check_finds_damaged_groups(self):
        server = self.filled()
        server.start()
        server.stop()
        good = server.database + '.good'
        shutil.copy(server.database, good)
        for statement, word in (
                ("UPDATE weir_states SET data = substr(data, 1, length(data) - 8)", 'stored groups'),
                ("UPDATE weir_states SET data = CAST(data || x'01' AS BLOB)", 'stored groups'),
                ('DELETE FROM weir_states', f'0 groups are stored, not {REQUESTS}'),
                ("UPDATE weir_checkpoints SET marks = substr(marks, 2)", 'watermark is damaged'),
                ('UPDATE weir_states SET id = id + (1 << 40)', 'belong to no checkpoint'),
                ('DROP VIEW by_request_readable; DROP TABLE by_request', "table 'by_request'")):
            shutil.copy(good, server.database)
            connection = sqlite3.connect(server.database)
            connection.executescript(statement)
            connection.close()
            done = self.check(server)
            self.assertEqual(done.returncode, 1, (statement, done.stdout))
            self.assertIn(word, done.stderr, statement)

    def test_check_finds_a_journal_that_does_not_belong_to_the_database(self):
        server = self.filled()
        journal = server.database + '.journal/events'
        shutil.copytree(journal, journal + '.old')
        server.start()
        self.assertEqual(self.results(server), self.everything_but(None))
        server.stop()
        # The checkpoint has seen all; an older journal is put in its place, and a checkpoint that needs it.
        shutil.rmtree(journal)
        connection = sqlite3.connect(server.database)
        position, = connection.execute('SELECT position FROM weir_checkpoints').fetchone()
        connection.execute('UPDATE weir_checkpoints SET position = 2')
        connection.commit()
        os.rename(journal + '.old', journal)
        os.remove(os.path.join(journal, 'lock'))
        text = self.faults(server)
        self.assertIn(f'the journal ends at {REQUESTS}, but the database has seen entry {position}', text)
        self.assertIn('do not belong together', self.refused(server))
        connection.execute('UPDATE weir_checkpoints SET position = ?', (position,))
        connection.commit()
        connection.close()
        self.assertEqual(self.check(server).returncode, 0)  # nothing in it is needed
        server.start()
        server.stop()

    def test_a_journal_that_does_not_belong_can_be_begun_anew(self):
        """As after a run over files in which one pipeline failed, and kill -9: the journal is behind the others."""
        server = self.filled()
        with contextlib.closing(sqlite3.connect(server.database)) as connection:
            connection.execute('UPDATE weir_streams SET position = ?', (REQUESTS + 5,))
            connection.commit()
        self.assertIn('(weir serve --skip-damaged begins it anew)', self.refused(server))
        server.arguments = ['--skip-damaged']
        server.start()
        self.assertIn('it is begun anew', ''.join(server.log))
        self.assertEqual(server.get('/ready').status, 200)
        self.assertEqual(server.post_ok('events', [{'ts': BASE_MS, 'request': 1}])['position'], REQUESTS + 6)
        server.stop()
        server.arguments = []
        server.start()
        server.stop()

    def test_a_pipeline_that_reads_another_stream_now_needs_nothing_of_it(self):
        server = self.filled(config=CONFIG.replace('{x: int}', '{request: int}'))
        server.start()
        server.stop()  # its checkpoint is at the end of the other stream
        server.start()
        for x in range(REQUESTS // 2):
            server.post_ok('other', [{'request': x}])
        server.kill()
        with open(server.path, encoding='utf-8') as file:
            config = file.read()
        with open(server.path, 'w', encoding='utf-8') as file:
            file.write(config.replace('from: events', 'from: other'))
        done = self.check(server)
        self.assertEqual((done.returncode, done.stderr), (0, ''), done.stdout)
        server.start()  # as the server sees it
        server.stop()

    def test_check_finds_entries_that_are_missing(self):
        server = self.filled(pad=50000)
        os.remove(files.segments(server.database + '.journal/events')[0])
        first = self.frames(server)[0].first
        self.assertIn(f"entries 1 to {first - 1} are needed and not in the journal", self.faults(server))

    def test_usage(self):
        folder = harness.folder_for_test(self)
        for arguments in ((), ('--database',), ('--database', '--no-database', '-c', 'x'),
                          ('--database', 'x', 'y')):
            self.assertEqual(harness.weir('check', *arguments, cwd=folder).returncode, 64, arguments)
        self.assertEqual(harness.weir('check', '--database', 'x', cwd=folder).returncode, 69)
        self.assertEqual(harness.weir('check', '--database=x', cwd=folder).returncode, 69)
        self.assertEqual(os.listdir(folder), [])


if __name__ == '__main__':
    harness.main()
