# SPDX-License-Identifier: Apache-2.0
"""Files that weir reads as they grow: each line once, whatever becomes of the file or of the server."""

import contextlib
import json
import os
import random
import sqlite3
import threading
import time
import unittest

import harness

T0 = 1700000000000
CONFIG = '''
server: {listen: {listen}, database: {folder}/weir.db, checkpoint_interval: 20ms, commit_interval: 5ms}
streams:
  input:
    time: {field: ts, unit: ms}
    fields: {k: string, v: int}
    source: {SOURCE}
pipelines:
  all: {from: input, window: none, select: [k, v], idle_timeout: 1h}
  sums: {from: input, key: [k], window: {tumbling: 10s}, idle_timeout: IDLE, late: side,
         analyzers: [count, {stats: {of: v, emit: [sum]}}]}
'''


def config(source, idle='1h'):
    return CONFIG.replace('{SOURCE}', source).replace('IDLE', idle)


def lines(first, to, k='a'):
    return ''.join(json.dumps({'ts': T0 + v, 'k': k, 'v': v}) + '\n' for v in range(first, to))


def csv(first, to):
    return ''.join(f'{T0 + v},"a\n""{v}""",{v}\n' for v in range(first, to))


class Tail(unittest.TestCase):
    def setUp(self):
        self.folder = harness.folder_for_test(self)
        self.path = os.path.join(self.folder, 'in.ndjson')

    def write(self, text, path=None, mode='a'):
        with open(path or self.path, mode, encoding='utf-8') as file:
            file.write(text)

    def server(self, source='{file: {folder}/in.ndjson}', **more):
        return harness.Server(config(source, **more), folder=self.folder)

    @staticmethod
    def values(server):
        return sorted(v for v, in server.rows('SELECT v FROM "all"'))

    def wait_values(self, server, expected):
        expected = sorted(expected)
        def those():
            found = self.values(server)
            self.assertLessEqual(len(found), len(expected), found[-5:])
            return found == expected
        harness.wait_until(those, f'{len(expected)} values')

    def said(self, server, *words):
        harness.wait_until(lambda: any(all(w in line for w in words) for line in server.log), words)

    def test_lines_are_read_as_they_come(self):
        with self.server() as server:
            self.said(server, 'is not there')
            self.write(lines(0, 10))
            self.wait_values(server, range(10))
            self.write(lines(10, 11)[:-5])
            self.write('')
            self.write(lines(10, 11)[-5:] + 'no JSON\n' + lines(11, 12))
            self.wait_values(server, range(12))
            letters = harness.wait_until(lambda: server.get_json('/api/v1/streams/input/dead-letters'), 'the dead letter')
            self.assertEqual(letters[0]['record'], 'no JSON')
            self.assertEqual(letters[0]['line'], 12)

    def test_each_line_once_through_kill_9_and_rotation(self):
        dice = random.Random(5)
        stop = threading.Event()
        written = [0]

        def write():
            while not stop.is_set() and written[0] < 80000:
                n = dice.randrange(1, 2000)
                text = lines(written[0], written[0] + n)
                cut = dice.randrange(len(text))
                self.write(text[:cut])
                self.write(text[cut:])
                written[0] += n
                if dice.random() < 0.15:
                    for i in range(40, 0, -1):
                        if os.path.exists(f'{self.path}.{i}'):
                            os.rename(f'{self.path}.{i}', f'{self.path}.{i + 1}')
                    os.rename(self.path, self.path + '.1')
                time.sleep(0.01)

        with self.server() as server:
            self.write(lines(0, 1))  # what was renamed before it was ever seen is not looked for
            self.wait_values(server, [0])
            written[0] = 1
            writer = threading.Thread(target=write)
            writer.start()
            try:
                for _ in range(5):
                    before = len(self.values(server))
                    harness.wait_until(lambda: len(self.values(server)) > before or not writer.is_alive(), 'rows')
                    server.restart()
            finally:
                stop.set()
                writer.join()
            self.wait_values(server, range(written[0]))
            self.assertFalse([line for line in server.log if 'lost' in line])
            self.assertEqual(server.rows('SELECT count(*) FROM sums_late'), [(0,)])

    def test_last_line_of_a_renamed_file_needs_no_end(self):
        with self.server() as server:
            self.write(lines(0, 3).rstrip('\n'))
            self.wait_values(server, range(2))
            os.rename(self.path, self.path + '-20260102')
            self.write(lines(3, 5))
            self.wait_values(server, range(5))

    def test_files_that_were_renamed_while_nobody_looked_are_read_in_order(self):
        with self.server() as server:
            self.write(lines(0, 100))
            self.wait_values(server, range(100))
            server.kill()
            self.write(lines(100, 150))
            os.rename(self.path, self.path + '.3')
            self.write(lines(150, 200), self.path + '.2')
            self.write(lines(200, 250), self.path + '.1')
            self.write(lines(250, 300))
            for i, name in enumerate(('.3', '.2', '.1', '')):
                os.utime(self.path + name, ns=(0, time.time_ns() + 1000000 * i))
            self.write('not of it', self.path + '.old')
            server.start()
            self.wait_values(server, range(300))

    def test_truncation_is_told_and_what_follows_is_read(self):
        with self.server() as server:
            self.write(lines(0, 100))
            self.wait_values(server, range(100))
            self.write(lines(100, 103), mode='w')
            self.wait_values(server, range(103))
            self.said(server, 'was truncated', 'after')
            server.kill()
            self.write('x' * 20 + '\n' + lines(103, 110) + lines(110, 120), mode='w')  # the same inode, longer
            server.start()
            self.said(server, 'is not the file any more of which', 'lost')
            self.wait_values(server, range(120))
            self.assertGreater(server.metric('weir_source_errors_total', stream='input'), 0)

    def in_its_place(self, text):
        """Another file with the same inode, where the file system gives it again at once."""
        inode = os.stat(self.path).st_ino
        for _ in range(20):
            os.remove(self.path)
            self.write(text)
            if os.stat(self.path).st_ino == inode:
                return
        self.skipTest('inodes are not given again here')

    def test_a_file_written_anew_with_as_many_bytes_is_told_and_read(self):
        self.write(lines(10, 14))
        with self.server() as server:
            self.wait_values(server, range(10, 14))
            self.write(lines(20, 24), mode='w')
            self.wait_values(server, [*range(10, 14), *range(20, 24)])
            self.said(server, 'truncated')
            os.utime(self.path)  # it says that it has changed, and has not
            self.write(lines(24, 25))
            self.wait_values(server, [*range(10, 14), *range(20, 25)])

    def test_a_file_with_several_names_is_read_once(self):
        """Links, symbolic ones and others, to a file that the pattern finds, too; that which names the newest one comes first."""
        def path(name):
            return os.path.join(self.folder, name)

        def point(name, to):
            os.symlink(to, path('link'))
            os.rename(path('link'), path(name))

        self.write(lines(0, 5), path('app-a.ndjson'))
        point('a-current.ndjson', 'app-a.ndjson')
        point('z-current.ndjson', 'app-a.ndjson')
        os.link(path('app-a.ndjson'), path('b.ndjson'))
        source = '{file: "{folder}/*.ndjson"}'
        with self.server(source) as server:
            for name in ('app-a', 'b', 'z-current'):
                self.said(server, f'{name}.ndjson', 'the same file')
            self.write(lines(5, 8), path('app-a.ndjson'))
            self.wait_values(server, range(8))
            self.write(lines(8, 9), path('app-b.ndjson'))
            for name in ('a-current.ndjson', 'z-current.ndjson'):
                point(name, 'app-b.ndjson')
            self.write(lines(9, 10), path('app-a.ndjson'))  # its writer goes on a while
            self.wait_values(server, range(10))
            self.write(lines(10, 11), path('a-current.ndjson'))
            self.wait_values(server, range(11))
        point('0-current.ndjson', 'app-b.ndjson')
        with self.server(source) as server:
            self.said(server, '0-current.ndjson', 'the same file')
            self.write(lines(11, 12), path('app-a.ndjson'))
            self.write(lines(12, 13), path('app-b.ndjson'))
            self.wait_values(server, range(13))
            os.unlink(path('app-b.ndjson'))
            os.link(path('app-a.ndjson'), path('app-b.ndjson'))
            self.write(lines(13, 14), path('app-c.ndjson'))
            self.wait_values(server, range(14))

    def test_a_file_with_the_inode_of_one_that_was_deleted_is_another(self):
        with self.server() as server:
            self.write(lines(0, 100))
            self.wait_values(server, range(100))
            server.kill()
            self.in_its_place(lines(0, 50) + lines(200, 300))  # begins with the same bytes, and is longer
            server.start()
            self.said(server, 'is not the file any more of which', 'lost')
            self.wait_values(server, [*range(100), *range(50), *range(200, 300)])
            server.kill()
            self.in_its_place(lines(0, 200))
            os.rename(self.path, self.path + '.1')
            self.write(lines(300, 310))
            for i, name in enumerate(('.1', '')):
                os.utime(self.path + name, ns=(0, time.time_ns() + 1000000 * i))
            server.start()
            self.wait_values(server, [*range(100), *range(50), *range(200, 300), *range(200), *range(300, 310)])

    def test_a_bookmark_of_a_version_that_did_not_ask_when_files_were_made(self):
        with self.server() as server:
            self.write(lines(0, 100))
            self.wait_values(server, range(100))
            server.stop()
            with contextlib.closing(sqlite3.connect(f'{self.folder}/weir.db')) as file:
                changed = file.execute("UPDATE weir_bookmarks SET bookmark = substr(bookmark, 1,"
                                       " instr(bookmark, ' born=') - 1)").rowcount
                file.commit()
            self.assertEqual(changed, 1)
            self.write(lines(100, 110))
            server.start()
            self.wait_values(server, range(110))

    def test_csv_goes_on_behind_its_header(self):
        path = os.path.join(self.folder, 'in.csv')
        with self.server('{file: {folder}/in.csv}') as server:
            self.write('ts,k,v\n' + csv(0, 50) + f'{T0},"half', path)
            self.wait_values(server, range(50))
            server.restart()
            self.write(f'\nof it",50\n' + csv(51, 60), path)
            self.wait_values(server, range(60))
            self.assertEqual(server.rows('SELECT k FROM "all" WHERE v = 50'), [('half\nof it',)])

    def test_files_of_a_pattern_do_not_make_each_other_late(self):
        for name, k, first in (('a', 'a', 0), ('b', 'b', 0), ('c', 'c', 0)):
            self.write(''.join(lines(v, v + 1, k) for v in range(first, 100000, 20)), os.path.join(self.folder, name + '.log'))
        self.write(lines(0, 5), os.path.join(self.folder, 'a.log.1'))
        with self.server('{file: "{folder}/*.log*"}', idle=f'{round(harness.LIMIT_S / 30)}s') as server:
            self.wait_values(server, list(range(0, 100000, 20)) * 3)
            harness.wait_until(lambda: len(server.rows('SELECT 1 FROM sums')) == 30, 'all windows')
            expected = [(k, sum(1 for v in range(0, 100000, 20) if (T0 + v) // 10000 == w),
                         sum(v for v in range(0, 100000, 20) if (T0 + v) // 10000 == w))
                        for w in sorted({(T0 + v) // 10000 for v in range(0, 100000, 20)}) for k in 'abc']
            self.assertEqual(server.rows('SELECT k, count, v_sum FROM sums ORDER BY window_start, k'), expected)
            self.assertEqual(server.rows('SELECT count(*) FROM sums_late'), [(0,)])
            self.write(lines(100000, 100010), os.path.join(self.folder, 'd.log'))
            self.wait_values(server, list(range(0, 100000, 20)) * 3 + list(range(100000, 100010)))

    def test_a_file_with_another_name_of_the_pattern_is_no_new_one(self):
        app, dated = os.path.join(self.folder, 'app.ndjson'), os.path.join(self.folder, 'app.2026-01-0%d.ndjson')
        self.write(lines(0, 10), app)
        with self.server('{file: "{folder}/app*.ndjson"}') as server:
            self.wait_values(server, range(10))
            os.rename(app, dated % 2)
            self.write(lines(10, 12), dated % 2)
            self.write(lines(12, 20), app)
            self.wait_values(server, range(20))
            server.restart()
            self.write(lines(20, 21), dated % 2)
            self.write(lines(21, 30), app)
            self.wait_values(server, range(30))
            server.kill()
            self.write(lines(30, 35), app)
            os.rename(app, dated % 3)  # and there is none of the old name
            server.start()
            self.wait_values(server, range(35))
            self.write(lines(35, 40), app)
            self.wait_values(server, range(40))
            server.restart()
            self.write(lines(40, 42), app)
            self.wait_values(server, range(42))
            self.assertFalse([line for line in server.log if 'lost' in line])

    def test_a_deleted_file_is_let_go_once_it_was_read(self):
        path = os.path.join(self.folder, 'a.ndjson')
        with self.server('{file: "{folder}/*.ndjson"}') as server:
            self.write(lines(0, 10).rstrip('\n'), path)
            self.wait_values(server, range(9))
            os.utime(path, (T0 // 1000, T0 // 1000))  # nobody has written for long
            os.unlink(path)
            self.wait_values(server, range(10))

            def held():
                return [fd for fd in os.scandir(f'/proc/{server.process.pid}/fd') if '(deleted)' in os.readlink(fd.path)
                        and path in os.readlink(fd.path)]
            harness.wait_until(lambda: not held(), 'the file to be closed')
            self.write(lines(10, 20), path)
            self.wait_values(server, range(20))
            self.assertFalse([line for line in server.log if 'lost' in line])

    def test_a_number_behind_a_name_is_no_date(self):
        worker = os.path.join(self.folder, 'worker')
        with self.server('{file: "{folder}/worker*"}') as server:
            self.write(lines(0, 10), worker)
            self.write(lines(10, 20), worker + '-1')
            self.wait_values(server, range(20))
            os.rename(worker, worker + '-20260102')
            self.write(lines(20, 30), worker)
            self.write(lines(30, 40), worker + '-1')
            self.wait_values(server, range(40))

    def test_newest_begins_at_the_end_of_what_is_there(self):
        self.write(lines(0, 10))
        with self.server('{file: {folder}/in.ndjson, begin: newest}') as server:
            harness.wait_until(lambda: server.rows("SELECT 1 FROM weir_bookmarks"), 'a bookmark')
            self.write(lines(10, 20))
            self.wait_values(server, range(10, 20))
            server.restart()
            self.write(lines(20, 30))
            self.wait_values(server, range(10, 30))

    def test_wrong_sources_are_refused_with_their_place(self):
        for source, word in (('[]', 'expected {file: PATH}'), ('{}', 'expected {file: PATH}'), ('{file: x.gz}', 'cannot be packed'),
                             ('{file: x.json}', 'line by line'), ('{file: x, format: json}', 'ndjson, csv or lines'),
                             ('{file: x, begin: tomorrow}', 'oldest'), ('{file: x, kafka: {}}', 'not both')):
            with self.subTest(source):
                text = config(source).replace('{folder}', self.folder).replace('{listen}', '127.0.0.1:0')
                path = os.path.join(self.folder, 'weir.yaml')
                self.write(text, path, 'w')
                done = harness.weir('check', '-c', path)
                self.assertEqual(done.returncode, 78, done.stderr)
                self.assertRegex(done.stderr, r'weir\.yaml:7:\d+: ')
                self.assertIn(word, done.stderr)


if __name__ == '__main__':
    unittest.main()
