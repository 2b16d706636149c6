# SPDX-License-Identifier: Apache-2.0
"""The power loss that powerloss.so and powerloss.py play: what was synced is there, what was not may be
there, gone or torn, and over some seeds each of these is seen."""

import os
import sqlite3
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), 'system')]

import harness  # noqa: E402
import powerloss  # noqa: E402

SEEDS = 60
OLD, NEW = b'o' * 4096, b'n' * 4096
PRELUDE = '''
import mmap, os, signal
def make(path, data, flags=0):
    f = os.open(path, os.O_RDWR | os.O_CREAT | flags)
    os.pwrite(f, data, 0)
    return f
def sync_folder():
    f = os.open('.', os.O_RDONLY)
    os.fsync(f)
OLD, NEW = b'o' * 4096, b'n' * 4096
'''


class PowerLoss(unittest.TestCase):
    def run_program(self, text):
        """Runs it under the library, in a fresh folder, to a kill -9."""
        self.folder = harness.folder_for_test(self)
        recorder = powerloss.Recorder(self.folder)
        self.addCleanup(recorder.remove)
        program = PRELUDE + text + '\nos.kill(os.getpid(), signal.SIGKILL)\n'
        done = subprocess.run([sys.executable, '-S', '-c', program], cwd=self.folder, check=False,
                              env={**os.environ, **recorder.environment()})
        self.assertEqual(done.returncode, -9)
        return recorder

    def losses(self, text, seeds=SEEDS):
        """The program is run once; then for each seed: {name: bytes} after a power loss."""
        for folder in self.folders(text, seeds):
            yield {name: self.read(os.path.join(folder, name)) for name in self.names(folder)}

    @staticmethod
    def names(folder):
        return sorted(set(os.listdir(folder)) - {'powerloss.log'})

    def folders(self, text, seeds, any_order=False):
        """For each seed, a copy of the folder after a power loss."""
        recorder = self.run_program(text)
        for seed in range(seeds):
            copy, state = self.folder + '.copy', self.folder + '.copy.state'
            subprocess.run(['rm', '-rf', copy, state], check=True)
            self.copy_both(recorder, copy, state)
            powerloss.play(copy, state, seed, any_order)
            yield copy
        subprocess.run(['rm', '-rf', copy, state], check=True)

    def copy_both(self, recorder, copy, state):
        """Inodes are others in a copy, and so are the paths in `names`."""
        subprocess.run(['cp', '-a', recorder.folder, copy], check=True)
        subprocess.run(['cp', '-a', recorder.state, state], check=True)
        for pair in ((recorder.folder, copy), (recorder.state + '/kept', state + '/kept')):
            for name in os.listdir(pair[0]):
                old = os.stat(os.path.join(pair[0], name)).st_ino
                new = os.stat(os.path.join(pair[1], name)).st_ino
                undo = os.path.join(state, 'undo', str(old))
                if os.path.exists(undo):
                    os.rename(undo, os.path.join(state, 'undo', f'{new}.new'))
        for name in os.listdir(state + '/undo'):
            path = os.path.join(state, 'undo', name)
            if name.endswith('.new'):
                os.rename(path, path[:-4])
            else:
                os.remove(path)
        with open(state + '/names', encoding='utf-8') as file:
            text = file.read()
        with open(state + '/names', 'w', encoding='utf-8') as file:
            file.write(text.replace(recorder.folder + '\t', copy + '\t')
                       .replace(recorder.folder + '/', copy + '/'))

    @staticmethod
    def read(path):
        with open(path, 'rb') as file:
            return file.read()

    # ---- Contents --------------------------------------------------------------------------------

    def test_synced_data_stays(self):
        for call in ('os.fsync(f)', 'os.fdatasync(f)'):
            for files in self.losses(f'f = make("a", OLD); os.pwrite(f, NEW, 100); {call}; sync_folder()', 10):
                self.assertEqual(files, {'a': OLD[:100] + NEW})

    def test_data_that_is_not_synced_is_kept_lost_or_torn_at_sectors(self):
        seen = set()
        for files in self.losses('f = make("a", OLD); os.fsync(f); sync_folder(); os.pwrite(f, NEW, 0)'):
            sectors = [files['a'][at:at + 512] for at in range(0, 4096, 512)]
            self.assertEqual(len(files['a']), 4096)
            for sector in sectors:
                self.assertIn(sector, (OLD[:512], NEW[:512]))
            seen.add(len(set(sectors)) * (1 if sectors[0] == OLD[:512] else -1))
        self.assertTrue({1, -1} <= seen, seen)      # as before, as after
        self.assertTrue({2, -2} & seen, seen)       # torn

    def test_later_write_may_stay_where_an_earlier_one_is_lost(self):
        seen = set()
        for files in self.losses('f = make("a", OLD); os.fsync(f); sync_folder(); '
                                 'os.pwrite(f, b"1" * 512, 0); os.pwrite(f, b"2" * 512, 1024)'):
            seen.add((files['a'][:512] == b'1' * 512, files['a'][1024:1536] == b'2' * 512))
        self.assertEqual(seen, {(a, b) for a in (False, True) for b in (False, True)})

    def test_appended_data_may_be_cut_off_but_never_what_was_synced(self):
        sizes = set()
        for files in self.losses('f = make("a", OLD); os.fsync(f); sync_folder(); os.lseek(f, 0, 2); '
                                 'os.write(f, NEW); os.writev(f, [NEW[:100], NEW[:200]])'):
            self.assertEqual(files['a'][:4096], OLD)
            sizes.add(len(files['a']))
        self.assertEqual(sizes, {4096, 8192, 8492})

    def test_truncation_may_be_undone(self):
        seen = set()
        for files in self.losses('f = make("a", OLD); os.fsync(f); sync_folder(); os.ftruncate(f, 700)'):
            seen.add(files['a'])
        self.assertEqual(seen, {OLD, OLD[:700]})

    def test_write_to_a_synchronous_descriptor_stays(self):
        for flag in ('os.O_DSYNC', 'os.O_SYNC'):
            for files in self.losses(f'f = make("a", OLD); os.fsync(f); sync_folder(); g = os.open("a", os.O_RDWR'
                                     f' | {flag}); os.pwrite(f, NEW, 0); os.pwrite(g, b"s" * 512, 512)', 20):
                self.assertEqual(files['a'][512:1024], b's' * 512)

    def test_direct_write_is_not_synced(self):
        path = os.path.join(harness.folder_for_test(self), 'probe')
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_DIRECT))
        except OSError as error:
            self.skipTest(f'no O_DIRECT here: {error}')
        seen = set()
        for files in self.losses('f = make("a", OLD); os.fsync(f); sync_folder(); g = os.open("a", os.O_RDWR | '
                                 'os.O_DIRECT); m = mmap.mmap(-1, 4096); m.write(NEW); os.pwritev(g, [m], 0)'):
            seen.add(files['a'])
        self.assertTrue({OLD, NEW} < seen)

    def test_sync_covers_writes_of_an_earlier_process(self):
        recorder = self.run_program('f = make("a", OLD); sync_folder()')
        program = PRELUDE + 'os.fsync(os.open("a", os.O_RDWR)); os.kill(os.getpid(), 9)'
        subprocess.run([sys.executable, '-S', '-c', program], cwd=self.folder, check=False,
                       env={**os.environ, **recorder.environment()})
        recorder.play(3)
        self.assertEqual(self.read(os.path.join(self.folder, 'a')), OLD)

    # ---- Names -----------------------------------------------------------------------------------

    def test_file_whose_folder_is_not_synced_may_be_gone_though_it_is_synced(self):
        seen = set()
        for files in self.losses('os.fsync(make("a", OLD))', 20):
            seen.add(files.get('a'))
        self.assertEqual(seen, {None, OLD})

    def test_removed_file_may_be_back(self):
        seen = set()
        for files in self.losses('os.fsync(make("a", OLD)); sync_folder(); os.unlink("a")', 20):
            seen.add(files.get('a'))
        self.assertEqual(seen, {None, OLD})
        for files in self.losses('os.fsync(make("a", OLD)); os.unlink("a"); sync_folder()', 5):
            self.assertEqual(files, {})

    def test_rename_happens_as_a_whole_or_not(self):
        seen = set()
        for files in self.losses('os.fsync(make("a", OLD)); os.fsync(make("b", NEW)); sync_folder(); '
                                 'os.rename("b", "a")', 20):
            seen.add(tuple(sorted(files.items())))
        self.assertEqual(seen, {(('a', NEW),), (('a', OLD), ('b', NEW))})

    def test_names_come_to_disk_in_order_or_in_any(self):
        for any_order in (False, True):
            seen = set()
            for folder in self.folders('os.fsync(make("a", OLD)); os.fsync(make("b", OLD))', 30, any_order):
                seen.add(tuple(self.names(folder)))
            ordered = {(), ('a',), ('a', 'b')}
            self.assertEqual(seen, ordered | {('b',)} if any_order else ordered)

    # ---- A program that is known to do it right ---------------------------------------------------

    def sqlite_losses(self, synchronous, checkpoint, seeds):
        """For each seed, how many committed transactions of SQLite are lost: of 20 with 10 rows each, in
        WAL mode, with a checkpoint after so many pages. The file is always sound, and a transaction there as a whole."""
        text = f'''
import sqlite3
c = sqlite3.connect("a.db", isolation_level=None)
c.executescript("PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = {checkpoint}; CREATE TABLE t (n, row, text);")
c.execute("PRAGMA synchronous = {synchronous}")
for n in range(20):
    c.execute("BEGIN")
    c.executemany("INSERT INTO t VALUES (?, ?, ?)", [(n, row, "x" * 300) for row in range(10)])
    c.execute("COMMIT")
'''
        for folder in self.folders(text, seeds):
            path = os.path.join(folder, 'a.db')
            try:
                self.assertEqual(harness.read_rows(path, 'PRAGMA integrity_check'), [('ok',)])
                found = harness.read_rows(path, 'SELECT n, count(*) FROM t GROUP BY n ORDER BY n')
            except sqlite3.OperationalError:  # not even the table
                found = []
            self.assertEqual(found, [(n, 10) for n in range(len(found))])
            yield 20 - len(found)

    def test_sqlite_with_synchronous_full_loses_no_transaction(self):
        self.assertEqual(set(self.sqlite_losses('FULL', 7, 15)), {0})

    def test_sqlite_with_synchronous_normal_loses_the_last_ones(self):
        self.assertGreater(max(self.sqlite_losses('NORMAL', 50, 15)), 0)

    # ---- What it does not model ------------------------------------------------------------------

    def test_what_is_not_modelled_is_refused(self):
        recorder = self.run_program('f = make("a", OLD); m = mmap.mmap(f, 4096); m[0:1] = b"x"')
        self.assertRaisesRegex(AssertionError, 'mmap', recorder.play, 1)

    def test_other_files_are_left_alone(self):
        for files in self.losses('make("a-shm", OLD); make("a.lock", NEW)', 5):
            self.assertEqual(files, {'a-shm': OLD, 'a.lock': NEW})

RUN = '''
server: {listen: "127.0.0.1:0", database: %s}
streams:
  s: {time: {field: ts, unit: ms}, fields: {k: string}}
pipelines:
  p: {from: s, key: [k], window: {tumbling: 10s}, analyzers: [count]}
'''


@unittest.skipIf(harness.sanitized(), 'the library is for programs that know nothing of sanitizers')
class Run(unittest.TestCase):
    def test_results_of_a_run_are_there_though_somebody_read_at_its_end(self):
        """Who reads keeps the pages in the WAL. Without a first page in the file SQLite would delete it."""
        folder, elsewhere = harness.folder_for_test(self), harness.folder_for_test(self)
        recorder = powerloss.Recorder(folder)
        self.addCleanup(recorder.remove)
        database, fifo = os.path.join(folder, 'r.db'), os.path.join(elsewhere, 'events.ndjson')
        config = os.path.join(elsewhere, 'weir.yaml')
        with open(config, 'w', encoding='ascii') as file:
            file.write(RUN % database)
        os.mkfifo(fifo)
        events = [f'{{"ts":{1700000000000 + i * 100},"k":"k{i % 20}"}}\n' for i in range(4000)]
        with subprocess.Popen([harness.WEIR, 'run', '-c', config, '--stream', 's', fifo], stderr=subprocess.DEVNULL,
                              env={**harness.environment(), **recorder.environment()}) as process:
            with open(fifo, 'w', encoding='ascii') as file:
                file.writelines(events[:2000])
                file.flush()
                reader = harness.wait_until(lambda: self.begin_to_read(database), 'the table to be there')
                file.writelines(events[2000:])
            self.assertEqual(process.wait(timeout=harness.LIMIT_S), 0)
        reader.close()
        self.assertGreater(os.path.getsize(database + '-wal'), 0)
        changes, _ = powerloss.parse(os.path.join(recorder.state, 'undo', str(os.stat(database).st_ino)))
        self.assertTrue(all(change.size > 0 for change in changes), [(c.kind, c.offset, c.size, c.end) for c in changes])

    @unittest.skipUnless(os.path.exists('/proc/self/fd'), 'the library wants /proc')
    def test_what_a_start_finds_in_a_journal_is_made_durable(self):
        """Whoever was killed may have synced neither the last frames nor the name of their segment."""
        folder = harness.folder_for_test(self)
        recorder = powerloss.Recorder(folder)
        self.addCleanup(recorder.remove)
        with harness.Server(RUN.replace('%s', '{folder}/weir.db').replace('"127.0.0.1:0"', '{listen}'), folder=folder) as server:
            server.post_ok('s', '{"ts":1700000000000,"k":"a"}')
        segment = os.path.join(folder, 'weir.db.journal', 's', '00000001.journal')
        as_killed = PRELUDE + f'''
name = {segment!r}
f = os.open(name, os.O_RDWR)
os.pwrite(f, os.pread(f, 4096, 0), 0)
os.rename(name, name + '.x')
os.rename(name + '.x', name)
'''
        subprocess.run([sys.executable, '-S', '-c', as_killed], check=True, env={**os.environ, **recorder.environment()})
        undo = os.path.join(recorder.state, 'undo', str(os.stat(segment).st_ino))

        def pending():
            names = powerloss.parse_names(os.path.join(recorder.state, 'names'))
            changes, _ = powerloss.parse(undo)
            return sum(os.path.dirname(name.path) == os.path.dirname(segment) for name in names), len(changes)
        self.assertEqual(pending(), (2, 1))
        server = harness.Server(RUN.replace('%s', '{folder}/weir.db').replace('"127.0.0.1:0"', '{listen}'), folder=folder,
                                **recorder.environment())
        self.addCleanup(server.kill)
        server.start()
        self.assertEqual(pending(), (0, 0))

    @unittest.skipUnless(os.path.exists('/proc/self/fd'), 'the library wants /proc')
    def test_what_a_start_finds_in_the_wal_is_made_durable(self):
        """Before anything of a journal goes that it makes unneeded: a journal without room is trimmed before something is committed."""
        folder = harness.folder_for_test(self)
        recorder = powerloss.Recorder(folder)
        self.addCleanup(recorder.remove)
        config = RUN.replace('%s', '{folder}/weir.db').replace('"127.0.0.1:0"', '{listen}')
        wal = os.path.join(folder, 'weir.db-wal')
        first = harness.Server(config, folder=folder)
        self.addCleanup(first.kill)
        first.start()
        first.kill()
        as_killed = PRELUDE + f'''
name = {wal!r}
f = os.open(name, os.O_RDWR)
os.pwrite(f, os.pread(f, 4096, 0), 0)
os.rename(name, name + '.x')
os.rename(name + '.x', name)
'''
        subprocess.run([sys.executable, '-S', '-c', as_killed], check=True, env={**os.environ, **recorder.environment()})
        undo = os.path.join(recorder.state, 'undo', str(os.stat(wal).st_ino))
        (change,), _ = powerloss.parse(undo)
        second = harness.Server(config, folder=folder, **recorder.environment())
        self.addCleanup(second.kill)
        second.start()
        self.assertNotIn(change.seq, [c.seq for c in powerloss.parse(undo)[0]])
        names = powerloss.parse_names(os.path.join(recorder.state, 'names'))
        self.assertEqual([name for name in names if wal in (name.path, name.other)], [])

    @staticmethod
    def begin_to_read(database):
        """A connection that has a snapshot, or None."""
        if not os.path.exists(database):
            return None
        db = sqlite3.connect(f'file:{database}?mode=ro', uri=True, isolation_level=None)
        try:
            db.execute('BEGIN')
            if db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'p'").fetchone() == (1,):
                return db
        except sqlite3.Error:
            pass
        db.close()
        return None


if __name__ == '__main__':
    harness.main()
