# SPDX-License-Identifier: Apache-2.0
"""Results in PostgreSQL: what psql finds there is what the sqlite3 shell finds here, each row once, whatever ends."""

import datetime
import json
import os
import random
import re
import signal
import socket
import sqlite3
import unittest

import harness
import postgres

T0 = 1700000000000
CONFIG = '''
server:
  listen: {listen}
  database: {folder}/weir.db
  checkpoint_interval: 20ms
  commit_interval: 5ms
  postgresql: {connect: "CONNECT", backoff: 20ms, max_backoff: 100ms MORE}
streams:
  s: {time: {field: ts, unit: ms}, fields: {k: string, v: int}}
pipelines:
PIPELINES
'''
PLAIN = '''
  plain: {from: s, key: [k], window: {tumbling: 1s}, idle_timeout: 1h, retain: RETAIN,
          analyzers: [count, {stats: {of: v, emit: [sum, mean]}}, {last: {of: k}}]}
'''
# One row a group, many rows a group, rows that are taken back, rows that are replaced again and again.
OTHERS = '''
  revised: {from: s, key: [k], window: {tumbling: 1s}, idle_timeout: 1h, late: revise, allowed_lateness: 5s,
            analyzers: [count, {topk: {of: v, k: 3}}]}
  visits: {from: s, key: [k], window: {session: 300ms}, idle_timeout: 1h, late: revise, allowed_lateness: 5s,
           analyzers: [count, {stats: {of: v, emit: [sum]}}]}
  all: {from: s, key: [k], window: {global: 100ms}, idle_timeout: 1h, analyzers: [count, {sum: {of: v}}]}
  late: {from: s, key: [k], window: {tumbling: 1s}, idle_timeout: 1h, late: side, analyzers: [count]}
  events: {from: s, window: none, select: [k, v], where: v % 5 = 0, idle_timeout: 1h}
'''


def plain(retain='forever'):
    return PLAIN.replace('RETAIN', retain)


def event(ms, k='a', v=1):
    return json.dumps({'ts': T0 + ms, 'k': k, 'v': v})


def columns_here(folder, table):
    """[name, type, whether it is of the key], those of the key first."""
    found = harness.sqlite3_shell(f'.open "file:{folder}/weir.db?mode=ro"\n'
                                  f"SELECT name, type, key > 0 FROM weir_columns WHERE table_name = '{table}'"
                                  f" ORDER BY key = 0, key, name;", folder)
    return [line.split('|') for line in found.splitlines()]


class Base(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.pg = postgres.Postgres()
        cls.addClassCleanup(cls.pg.close)

    def setUp(self):
        if self.pg.process is None:
            self.pg.start()
        self.pg.new_database()
        self.folder = harness.folder_for_test(self)

    def config(self, pipelines=None, more='', connect=None):
        return (CONFIG.replace('PIPELINES', pipelines or plain()).replace('MORE', more and ', ' + more)
                .replace('CONNECT', connect or self.pg.connect))

    def server(self, *arguments, folder=None, env=None, **more):
        s = harness.Server(self.config(*arguments, **more), folder=folder or self.folder, **(env or {}))
        self.addCleanup(s.kill)
        return s

    # ---- Both sides by their own shells, as text ---------------------------------------------------

    @staticmethod
    def here(folder, table, columns):
        as_text = ', '.join(f"CASE WHEN \"{name}\" IS NULL THEN '' ELSE printf('%!.17g', \"{name}\") END" if kind == 'float'
                            else f'"{name}"' for name, kind, _ in columns)
        order = ', '.join(f'"{name}"' for name, _, key in columns if key == '1')
        return harness.sqlite3_shell(f'.open "file:{folder}/weir.db?mode=ro"\nSELECT {as_text} FROM "{table}" ORDER BY {order};',
                                     folder).splitlines()

    def far(self, table, columns):
        as_text = ', '.join({'time': f'(extract(epoch FROM "{name}") * 1000000)::bigint', 'bool': f'"{name}"::int',
                             'float': f'"{name}"::text'}.get(kind, f'"{name}"') for name, kind, _ in columns)
        order = ', '.join(f'"{name}"' for name, _, key in columns if key == '1')
        return self.pg.psql(f'SELECT {as_text} FROM weir."{table}" ORDER BY {order}')

    def same(self, folder, table):
        """The rows here, and whether they are the same ones there, where there may be no such table or column yet."""
        columns = columns_here(folder, table)
        self.assertTrue(columns, table)
        floats = [i for i, (_, kind, _) in enumerate(columns) if kind == 'float']

        def parsed(lines):
            rows = [line.split('|') for line in lines]
            for row in rows:
                for i in floats:
                    row[i] = float(row[i]) if row[i] else None
            return rows
        here = parsed(self.here(folder, table, columns))
        try:
            return here, here == parsed(self.far(table, columns))
        except AssertionError:
            return here, False

    @staticmethod
    def caught_up(server, table):
        try:
            found = server.metric('weir_postgresql_lag_rows', table=table)
        except AssertionError:  # another set of tables is taken over
            return False
        states = [t['state'] for p in server.get_json('/api/v1/pipelines') for t in p['postgresql'] if t['table'] == table]
        return found == 0 and states == ['well']

    def wait_same(self, server, *tables):
        for table in tables:
            harness.wait_until(lambda t=table: self.caught_up(server, t) and self.same(server.folder, t)[1],
                               f'{table} to be the same on both sides', every_s=0.05)

    @staticmethod
    def said(server, *words):
        harness.wait_until(lambda: any(all(w in line for w in words) for line in server.log), words)

    def wait_far(self, sql, expected, what):
        """What psql says there; until then it may fail, as there is no table yet."""
        found = []

        def is_so():
            try:
                found[:] = [self.pg.psql(sql)]
            except AssertionError as error:
                found[:] = [error]
            return found == [expected]
        try:
            harness.wait_until(is_so, what, every_s=0.05)
        except AssertionError as error:
            raise AssertionError(f'{error}: {found} instead of {expected}') from None

    @staticmethod
    def status(server, table):
        return next(t for p in server.get_json('/api/v1/pipelines') for t in p['postgresql'] if t['table'] == table)

    @staticmethod
    def post(server, first_ms, n, dice=None, late=0, keys=7):
        dice = dice or random.Random(first_ms)
        lines = []
        for i in range(n):
            ms = first_ms + 20 * i - (dice.randrange(4000) if dice.random() < late else 0)
            lines.append(event(ms, f'k{dice.randrange(keys)}', dice.randrange(100)))
        server.post_ok('s', '\n'.join(lines))
        return first_ms + 20 * n


class Tables(Base):
    # ---- Each once -------------------------------------------------------------------------------

    def test_each_row_once_whatever_is_killed(self):
        dice = random.Random(11)
        tables = ['plain', 'revised', 'revised_topk', 'visits', 'all', 'late', 'late_late', 'events']
        at = 0
        with self.server(plain() + OTHERS) as server:
            for i in range(8):
                for _ in range(4):
                    at = self.post(server, at, 200, dice, late=0.2)
                what = dice.choice(['weir', 'postgres', 'both', 'backend'])
                if what in ('postgres', 'both'):
                    self.pg.stop()
                if what == 'backend':
                    self.pg.psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'weir'")
                at = self.post(server, at, 100, dice, late=0.2)
                if what in ('weir', 'both'):
                    server.restart()
                if self.pg.process is None:
                    self.pg.start()
            self.wait_same(server, *tables)
            for table in tables:
                rows, _ = self.same(server.folder, table)
                self.assertGreater(len(rows), 6, table)
            for table in ('revised', 'revised_topk', 'visits'):
                self.assertGreater(server.rows(f'SELECT max(revision) FROM {table}')[0][0], 0, table)
            self.assertEqual(self.pg.psql("SELECT DISTINCT seq IS NULL FROM weir.weir_positions"), ['f'])

    def test_rows_that_are_taken_back_go_there_too(self):
        with self.server(OTHERS) as server:
            server.post_ok('s', '\n'.join([event(0), event(1000), event(5000, 'b')]))
            harness.wait_until(lambda: len(server.rows("SELECT * FROM visits WHERE k = 'a'")) == 2, 'two visits')
            self.wait_same(server, 'visits')
            self.assertEqual(self.pg.psql("SELECT count(*) FROM weir.visits WHERE k = 'a'"), ['2'])
            # Late events make one of both.
            server.post_ok('s', '\n'.join(event(ms) for ms in (250, 500, 750)))
            harness.wait_until(lambda: len(server.rows("SELECT * FROM visits WHERE k = 'a'")) == 1, 'one visit')
            harness.wait_until(lambda: self.same(server.folder, 'visits')[1], 'the same there')
            self.assertEqual(self.pg.psql("SELECT count FROM weir.visits WHERE k = 'a'"), ['5'])

    def test_what_was_there_before_is_carried_first(self):
        with harness.Server(self.config().replace('postgresql:', 'sql_timeout: 10s #'), folder=self.folder) as server:
            at = self.post(server, 0, 1000)
            harness.wait_until(lambda: len(server.rows('SELECT * FROM plain')) > 100, 'rows')
        server = self.server()
        server.start()
        self.post(server, at, 100)
        self.wait_same(server, 'plain')

    def test_who_is_killed_before_its_file_knows_of_the_takeover_carries_nothing_twice(self):
        with self.server() as server:
            at = self.post(server, 0, 300)
            self.wait_same(server, 'plain')
        before = self.pg.psql('SELECT *, xmin FROM weir.plain ORDER BY 1, 3')
        writer = 'SELECT writer FROM weir.weir_positions'
        first, all_rows = self.pg.psql(writer), 'all of its rows are carried'
        self.pg.stop()
        for _ in range(2):
            server = self.server()
            server.start()
            file = sqlite3.connect(f'{self.folder}/weir.db', isolation_level=None, timeout=harness.LIMIT_S)
            file.execute('BEGIN IMMEDIATE')  # nothing can be noted
            self.pg.start()
            self.wait_far(f"SELECT writer <> '{first[0]}' FROM weir.weir_positions", ['t'], 'the takeover')
            self.assertFalse([line for line in server.log if all_rows in line])
            first = self.pg.psql(writer)
            server.kill()
            file.close()
            self.pg.stop()
        self.pg.start()
        with self.server() as server:
            self.post(server, at, 300)
            self.wait_same(server, 'plain')
            self.assertFalse([line for line in server.log if all_rows in line])
            self.assertEqual(self.pg.psql('SELECT *, xmin FROM weir.plain ORDER BY 1, 3 LIMIT ' + str(len(before))), before)

    def test_the_table_of_places_that_an_earlier_version_made_gets_its_column(self):
        with self.server() as server:
            at = self.post(server, 0, 300)
            self.wait_same(server, 'plain')
        self.pg.psql('ALTER TABLE weir.weir_positions DROP COLUMN taken_from')
        with self.server() as server:
            self.post(server, at, 300)
            self.wait_same(server, 'plain')
            self.assertFalse([line for line in server.log if 'all of its rows' in line])

    def test_a_table_of_windows_by_key_that_is_filled_again_keeps_what_retain_took(self):
        visits = ("  visits: {from: s, key: [k], window: {session: 300ms}, idle_timeout: 1h, out_of_orderness: 0s, retain: 4s,"
                  " analyzers: [count]}")
        keys = 'SELECT k, count FROM weir.visits ORDER BY 1'
        with self.server('\n' + visits) as server:
            server.post_ok('s', '\n'.join([event(ms, 'long') for ms in range(0, 900, 200)] + [event(1000, 'short'),
                                          event(1000, 'long')] + [event(ms, 'long') for ms in range(1200, 6200, 200)]
                                         + [event(7000, 'last'), event(9000, 'z')]))
            self.wait_far(keys, ['last|1', 'long|31', 'short|1'], 'all of them')
            # `retain` takes the one that has ended, not the one that began before.
            harness.wait_until(lambda: server.rows('SELECT k FROM visits ORDER BY 1') == [('last',), ('long',)], 'retain')
            self.pg.psql("UPDATE weir.visits SET count = 0 WHERE k = 'long'; DELETE FROM weir.weir_positions;"
                         "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'weir'")
            self.wait_far(keys, ['last|1', 'long|31', 'short|1'], 'all that were there')
            harness.wait_until(lambda: self.caught_up(server, 'visits'), 'the end of it')
            self.assertEqual(self.pg.psql(keys), ['last|1', 'long|31', 'short|1'])

    # ---- Another PostgreSQL ------------------------------------------------------------------------

    def test_who_was_known_there_two_runs_ago_goes_on(self):
        """As a standby may that was behind, and is promoted."""
        with self.server() as server:
            at = self.post(server, 0, 300)
            self.wait_same(server, 'plain')
            self.pg.psql('CREATE TABLE places AS SELECT * FROM weir.weir_positions; CREATE TABLE rows AS SELECT * FROM weir.plain')
            for _ in range(3):
                at = self.post(server, at, 300)
                self.wait_same(server, 'plain')
                server.restart()
            at = self.post(server, at, 300)
            self.wait_same(server, 'plain')
            self.pg.psql("BEGIN; TRUNCATE weir.weir_positions, weir.plain; INSERT INTO weir.weir_positions SELECT * FROM places;"
                         " INSERT INTO weir.plain SELECT * FROM rows; COMMIT;"
                         " SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'weir'")
            self.post(server, at, 300)
            self.wait_same(server, 'plain')

    def test_a_host_that_does_not_answer_holds_up_no_other(self):
        with socket.socket() as silent:
            silent.bind(('127.0.0.1', 0))
            silent.listen()
            port = silent.getsockname()[1]
            connect = self.pg.connect.replace('host=', 'host=127.0.0.1,') + f' port={port},5432'
            with self.server(connect=connect, more=f'timeout: {round(harness.LIMIT_S / 15)}s') as server:
                self.post(server, 0, 300)
                self.wait_same(server, 'plain')
            done = harness.weir('doctor', '-c', server.path)
            self.assertEqual(done.returncode, 0, done.stdout)
            # Each is asked for the whole of connect_timeout, if that is less.
            with self.server(connect=connect + ' connect_timeout=1', more='timeout: 1h') as server:
                self.post(server, 6000, 300)
                self.wait_same(server, 'plain')

    def test_one_that_can_only_be_read_is_refused(self):
        self.pg.psql(f'ALTER DATABASE {self.pg.database} SET default_transaction_read_only = on')
        server = self.server()
        done = harness.weir('doctor', '-c', server.path)
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn('read-only', done.stdout)

    # ---- Two servers -----------------------------------------------------------------------------

    def copy_of(self, server, name):
        to = os.path.join(self.folder, name)
        done = harness.weir('backup', '-c', server.path, to, cwd=server.folder)
        self.assertEqual(done.returncode, 0, done.stderr)
        return to

    def test_an_old_server_that_wakes_up_writes_nothing(self):
        old = self.server(folder=os.path.join(self.folder))
        old.start()
        at = self.post(old, 0, 500)
        self.wait_same(old, 'plain')
        folder = self.copy_of(old, 'copy')
        # Stopped in the middle of it, or so: it may hold a transaction open.
        self.post(old, at, 2000)
        old.process.send_signal(signal.SIGSTOP)
        fresh = self.server(folder=folder)
        fresh.start()
        at = self.post(fresh, at, 300, keys=3)
        self.wait_same(fresh, 'plain')
        old.process.send_signal(signal.SIGCONT)
        self.said(old, 'has taken its place')
        self.post(old, at + 100000, 500)
        harness.wait_until(lambda: self.status(old, 'plain')['state'] == 'fenced', 'the fence')
        harness.wait_until(lambda: self.status(old, 'plain')['lag'] > 0, 'rows that wait')
        self.post(fresh, at, 300, keys=3)
        self.wait_same(fresh, 'plain')
        # Started again, it takes its place back, and its rows take the place of the others'.
        fresh.stop()
        old.restart()
        self.wait_same(old, 'plain')

    @unittest.skipUnless(os.environ.get('WEIR_LONG'), 'of ./dev hard')
    def test_any_faults_and_servers_that_take_over(self):
        """Also: a copy takes over while the old server is stopped, wherever that is, and the old one wakes up."""
        for seed in range(10):
            with self.subTest(seed=seed):
                self.pg.new_database()
                self.any_faults(random.Random(seed), f'{self.folder}/{seed}')

    def any_faults(self, dice, folder):
        tables, at, n = ['plain', 'revised', 'revised_topk', 'visits', 'all', 'late', 'late_late', 'events'], 0, 0
        os.mkdir(folder)
        server = self.server(plain() + OTHERS, folder=folder)
        server.start()
        for _ in range(12):
            for _ in range(dice.randrange(1, 4)):
                at = self.post(server, at, dice.choice([50, 400, 1500]), dice, late=0.2, keys=dice.choice([3, 50]))
            what = dice.choice(['weir', 'weir', 'postgres', 'both', 'takeover', 'takeover'])
            if what in ('postgres', 'both'):
                self.pg.stop()
            if what in ('weir', 'both'):
                server.kill()
            if self.pg.process is None:
                self.pg.start()
            if what in ('weir', 'both'):
                server.start()
            if what != 'takeover':
                continue
            n += 1
            copy = self.copy_of(server, f'{folder}/copy{n}')
            self.post(server, at, dice.choice([50, 3000]), dice, keys=50)
            server.process.send_signal(signal.SIGSTOP)
            old, server = server, self.server(plain() + OTHERS, folder=copy)
            server.start()
            at = self.post(server, at, 300, dice, late=0.2)
            if dice.random() < 0.5:
                harness.wait_until(lambda s=server: self.caught_up(s, 'plain'), 'the new one')
            old.process.send_signal(signal.SIGCONT)
            if dice.random() < 0.7:
                self.post(old, at + 50000, 300, dice, keys=9)
            old.kill()
        self.wait_same(server, *tables)
        server.kill()

    def test_a_copy_that_is_put_back_carries_what_it_has(self):
        server = self.server()
        server.start()
        at = self.post(server, 0, 300)
        self.wait_same(server, 'plain')
        folder = self.copy_of(server, 'copy')
        before = len(server.rows('SELECT * FROM plain'))
        self.post(server, at, 500, keys=5)
        harness.wait_until(lambda: len(server.rows('SELECT * FROM plain')) > before, 'rows that the copy has not')
        self.wait_same(server, 'plain')
        server.kill()
        fresh = self.server(folder=folder)
        fresh.start()
        self.post(fresh, at, 900, keys=2)
        self.said(fresh, 'all of its rows are in PostgreSQL')
        self.wait_same(fresh, 'plain')

    def test_another_database_is_refused_until_it_is_told(self):
        with self.server() as server:
            self.post(server, 0, 300)
            self.wait_same(server, 'plain')
            before = self.pg.psql('SELECT * FROM weir.plain ORDER BY 1, 3')
        other = os.path.join(self.folder, 'other')
        os.mkdir(other)
        with self.server(folder=other) as server:
            self.post(server, 0, 100, keys=2)
            self.said(server, 'carried from another database', 'DELETE FROM')
            line = next(line for line in server.log if 'DELETE FROM' in line)
            harness.wait_until(lambda: self.status(server, 'plain')['state'] == 'failing', 'the state')
            self.assertEqual(self.pg.psql('SELECT * FROM weir.plain ORDER BY 1, 3'), before)
            self.pg.psql(re.search("DELETE FROM .* = 'plain'", line.replace('\\"', '"')).group())
            self.wait_same(server, 'plain')

    # ---- Tables ------------------------------------------------------------------------------------

    def test_tables_that_do_not_fit_are_refused_and_others_go_on(self):
        with self.server(plain() + OTHERS) as server:
            self.post(server, 0, 500)
            self.wait_same(server, 'plain', 'all')
        self.pg.psql('ALTER TABLE weir.all ALTER COLUMN count TYPE numeric; ALTER TABLE weir.plain DROP COLUMN v_sum;'
                     'ALTER TABLE weir.plain ADD COLUMN own text, ADD COLUMN at timestamptz NOT NULL DEFAULT now()')
        server = self.server(plain() + OTHERS)
        server.start()
        self.post(server, 20000, 500)
        self.said(server, "table 'all'", "column 'count' is of type numeric", 'here of bigint')
        harness.wait_until(lambda: self.caught_up(server, 'plain'), 'the others')
        # A column that was not there is added; rows of before have nothing in it.
        after = f"SELECT bool_and(v_sum IS NOT NULL) FROM weir.plain WHERE window_start > to_timestamp({T0 // 1000 + 20})"
        self.wait_far(after, ['t'], 'rows with the column')
        self.pg.psql('ALTER TABLE weir.all ALTER COLUMN count TYPE bigint')
        self.wait_same(server, 'all')

    def test_a_transaction_that_fails_once_is_done_again(self):
        """Rows that go by way of temporary tables, in the session that has them already."""
        with self.server(OTHERS) as server:
            at = self.post(server, 0, 300)
            self.wait_same(server, 'all', 'visits')
            self.assertGreater(server.rows('SELECT max(revision) FROM "all"')[0][0], 0)
            session = "SELECT pid FROM pg_stat_activity WHERE application_name = 'weir'"
            before = self.pg.psql(session)
            self.pg.psql('CREATE SEQUENCE once; CREATE FUNCTION fail_once() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN'
                         " IF nextval('once') = 1 THEN RAISE EXCEPTION 'once'; END IF; RETURN NEW; END $$;"
                         'CREATE TRIGGER fails BEFORE INSERT ON weir.all FOR EACH ROW EXECUTE FUNCTION fail_once()')
            self.post(server, at, 300)
            self.said(server, "table 'all' is not carried", 'once')
            self.said(server, "table 'all' is carried again")
            self.assertEqual(self.status(server, 'all')['last_error'], 'PostgreSQL refuses it: SQLSTATE P0001')
            self.wait_same(server, 'all', 'visits')
            self.assertEqual(server.metric('weir_postgresql_failures_total', table='all'), 1)
            self.assertEqual(self.pg.psql(session), before)

    def test_a_table_that_is_locked_does_not_hold_up_others_for_long(self):
        with self.server(plain() + OTHERS, 'timeout: 1s') as server:
            at = self.post(server, 0, 300)
            self.wait_same(server, 'plain', 'all')
            with self.pg.locked('weir.all'):
                self.post(server, at, 300)
                self.said(server, "table 'all' is not carried", 'lock timeout')
                harness.wait_until(lambda: self.same(server.folder, 'plain')[1], 'the others')
            self.wait_same(server, 'plain', 'all')

    def test_columns_that_come_are_added_by_sighup(self):
        server = self.server()
        server.start()
        at = self.post(server, 0, 300)
        self.wait_same(server, 'plain')
        self.reload(server, lambda text: text.replace('[sum, mean]', '[sum, mean, min]') + OTHERS)
        self.post(server, at, 800, late=0.1)
        self.wait_same(server, 'plain', 'revised', 'events')
        self.wait_far("SELECT col_description('weir.plain'::regclass, attnum) FROM pg_attribute"
                      " WHERE attrelid = 'weir.plain'::regclass AND attname = 'v_min'", ['smallest value'], 'its text')

    def test_a_reload_while_postgresql_is_away_keeps_the_place(self):
        server = self.server()
        server.start()
        self.post(server, 0, 300)
        self.wait_same(server, 'plain')
        no_bound = 'SELECT DISTINCT bound FROM weir_carried'
        harness.wait_until(lambda: server.rows(no_bound) == [(None,)], 'the file knows who carries')
        self.pg.stop()
        self.reload(server, lambda text: text + OTHERS)
        # What this run goes on to carry has no bound, until another begins.
        self.assertEqual(server.rows(f"{no_bound} WHERE table_name = 'plain'"), [(None,)])
        self.pg.start()
        self.wait_same(server, 'plain')
        server.stop()

    def reload(self, server, change):
        with open(server.path, encoding='utf-8') as file:
            text = file.read()
        with open(server.path, 'w', encoding='utf-8') as file:
            file.write(change(text))
        done = harness.weir('reload', '-c', server.path)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_settings_stay_until_the_next_start(self):
        with self.server(plain() + OTHERS, 'pipelines: [plain]') as server:
            at = self.post(server, 0, 300)
            self.wait_same(server, 'plain')
            self.reload(server, lambda text: text.replace('[plain]', '[late]').replace('dbname=', 'dbname=no_'))
            at = self.post(server, at, 300)
            self.wait_same(server, 'plain')
            self.reload(server, lambda text: text.replace('postgresql:', 'sql_timeout: 10s #'))
            at = self.post(server, at, 300)
            self.wait_same(server, 'plain')
            self.assertEqual(self.pg.psql("SELECT to_regclass('weir.late')"), [''])
        without = self.config(plain() + OTHERS).replace('postgresql:', 'sql_timeout: 10s #')
        with harness.Server(without, folder=self.folder) as server:
            self.reload(server, lambda text: text.replace('sql_timeout: 10s #', 'postgresql:'))
            self.post(server, at, 300)
            harness.wait_until(lambda: server.rows(f'SELECT * FROM plain WHERE window_start > {T0 + at} * 1000'), 'rows')
            self.assertFalse(any(p['postgresql'] for p in server.get_json('/api/v1/pipelines')))
            self.assertEqual(server.rows("SELECT count(*) FROM weir_meta WHERE key GLOB 'weir_changes_*'"), [(0,)])

    def test_rows_that_postgresql_cannot_hold_are_left_out_and_counted(self):
        with self.server() as server:
            server.post_ok('s', '\n'.join([event(0, 'a'), event(0, 'b\0c'), event(0, 'd'), event(5000)]))
            harness.wait_until(lambda: len(server.rows('SELECT * FROM plain')) == 3, 'rows')
            self.said(server, "table 'plain'", 'zero byte')
            self.wait_far('SELECT k FROM weir.plain ORDER BY 1', ['a', 'd'], 'the others')
            self.assertEqual(server.metric('weir_postgresql_rows_total', table='plain', outcome='refused'), 1)

    def test_rows_of_now_are_there_as_they_are_in_the_file(self):
        """Handed on from memory, they have not been through SQLite."""
        values = [{'x': -0.0, 'b': False, 'k': 'a'}, {'x': None, 'k': '\u00e9'}, {'k': None}, {'x': 1e300, 'b': True, 'k': ''},
                  {'x': 0.1, 'b': None, 'k': 'b'}]
        pipelines = ('\n  events: {from: s, window: none, select: [k, v, x, b], idle_timeout: 1h}\n'
                     '  windows: {from: s, key: [k], window: {tumbling: 1s}, idle_timeout: 1h,'
                     ' analyzers: [count, {last: {of: x}}, {stats: {of: x}}]}\n'
                     '  hopping: {from: s, key: [b], window: {hopping: 2s, by: 1s}, idle_timeout: 1h, analyzers: [count]}')
        config = self.config(pipelines).replace('v: int}', 'v: int, x: float, b: bool}')
        tables = {'events': 'x', 'windows': 'x_last', 'hopping': None}
        with harness.Server(config, folder=self.folder) as server:
            server.post_ok('s', event(0))
            self.wait_same(server, *tables)
            for at in range(1, 4):
                server.post_ok('s', '\n'.join(json.dumps({'ts': T0 + 2000 * at + i, 'v': i, **v}) for i, v in enumerate(values)))
            server.post_ok('s', event(20000))
            harness.wait_until(lambda: len(server.rows('SELECT * FROM windows WHERE k IS NOT NULL')) >= 13, 'rows')
            self.wait_same(server, *tables)
            for table, x in tables.items():
                if x:
                    self.assertEqual(self.pg.psql(f"SELECT DISTINCT {x}::text FROM weir.{table} WHERE {x} = 0"), ['0'])
            server.post_ok('s', '\n'.join([event(21000, 'b\0c'), event(21000, 'd'), event(30000, 'e')]))
            for table in ('events', 'windows'):
                self.wait_far(f"SELECT count(*) FROM weir.{table} WHERE k = 'd'", ['1'], 'the other row')
                harness.wait_until(lambda t=table: server.metric('weir_postgresql_rows_total', table=t, outcome='refused') == 1,
                                   'the one that is refused')

    def test_a_row_that_becomes_one_that_postgresql_cannot_hold_goes_there(self):
        texts = ('  texts: {from: s, key: [v], window: {tumbling: 1s}, idle_timeout: 1h, late: revise, allowed_lateness: 5s,'
                 ' analyzers: [{last: {of: k}}]}')
        first = f'SELECT count(*) FROM weir.texts WHERE window_start = to_timestamp({T0 // 1000})'
        with self.server('\n' + texts) as server:
            server.post_ok('s', event(0) + '\n' + event(3000))
            self.wait_far(first, ['1'], 'the row')
            server.post_ok('s', event(500, 'b\0c'))
            self.wait_far(first, ['0'], 'no row')
            server.post_ok('s', event(600, 'd'))
            self.wait_same(server, 'texts')
            self.assertEqual(self.pg.psql(first), ['1'])

    def test_changes_that_are_carried_are_forgotten_piece_by_piece(self):
        events = '\n  events: {from: s, window: none, select: [k, v], idle_timeout: 1h}'
        with self.server(events) as server:
            for i in range(0, 260000, 65000):
                server.post_ok('s', '\n'.join(event(ms) for ms in range(i, i + 65000)))
            self.wait_far('SELECT count(*) FROM weir.events', ['260000'], 'all rows')
            # What anybody may look back at.
            harness.wait_until(lambda: server.rows('SELECT count(*) FROM weir_changes_events') == [(100000,)], 'the rest to go')

    def test_only_the_pipelines_that_are_named_into_the_schema_that_is_named(self):
        with self.server(plain() + OTHERS, 'schema: Its own, pipelines: [plain, late]') as server:
            self.post(server, 0, 500)
            self.wait_far("SELECT tablename FROM pg_tables WHERE schemaname = 'Its own' ORDER BY 1",
                          ['late', 'late_late', 'plain', 'weir_positions'], 'the tables')
            harness.wait_until(lambda: server.rows('SELECT k FROM plain') and self.pg.psql('SELECT k FROM "Its own".plain ORDER BY 1')
                               == sorted(k for k, in server.rows('SELECT k FROM plain')), 'rows')

    # ---- It is away --------------------------------------------------------------------------------

    def test_rows_wait_for_postgresql_though_they_are_not_retained(self):
        self.pg.stop()
        with self.server(plain('10s')) as server:
            at = self.post(server, 0, 3000)  # a minute
            self.said(server, 'PostgreSQL cannot be reached')
            harness.wait_until(lambda: (server.rows('SELECT max(window_start) FROM plain')[0][0] or 0) >= (T0 + at - 3000) * 1000,
                               'rows')
            self.assertEqual(self.status(server, 'plain')['state'], 'away')
            first = server.rows('SELECT * FROM plain ORDER BY 1, 2 LIMIT 1')
            self.assertEqual(first[0][0], T0 * 1000)
            self.pg.start()
            self.wait_same(server, 'plain')
            self.assertEqual(self.pg.psql('SELECT count(DISTINCT window_start) >= 57 FROM weir.plain'), ['t'])
            # What is there may go here.
            self.post(server, at, 3000)
            harness.wait_until(lambda: server.rows('SELECT min(window_start) FROM plain')[0][0] > T0 * 1000, 'retention')
            harness.wait_until(lambda: self.caught_up(server, 'plain'), 'the rest')
            self.assertEqual(self.pg.psql('SELECT min(window_start) FROM weir.plain'),
                             self.pg.psql(f'SELECT to_timestamp({T0 // 1000})'))

    def test_longer_than_hold_rows_do_not_wait(self):
        self.pg.stop()
        with self.server(plain('10s'), 'hold: 5s') as server:
            self.post(server, 0, 3000)
            harness.wait_until(lambda: (server.rows('SELECT min(window_start) FROM plain')[0][0] or 0) > (T0 + 40000) * 1000,
                               'retention')
            self.pg.start()
            self.wait_same(server, 'plain')

    # ---- Passwords ---------------------------------------------------------------------------------

    def partitions(self, table):
        return self.pg.psql("SELECT relname FROM pg_inherits JOIN pg_class ON oid = inhrelid"
                            f" WHERE inhparent = 'weir.{table}'::regclass ORDER BY 1")

    @staticmethod
    def hours(table, rows):
        return sorted({f'{table}_p' + datetime.datetime.fromtimestamp(us // 1000000, datetime.timezone.utc).strftime('%Y%m%d%H')
                       for us, in rows})

    def test_tables_are_cut_by_time(self):
        tables = ['plain', 'revised', 'revised_topk', 'visits', 'all', 'late', 'late_late', 'events']
        server = self.server(plain() + OTHERS, more='partition: 1h')
        with server:
            for hour in (0, 1, 2, 5, -3):  # 22:13:20 is the first; what is late has a partition, too
                self.post(server, hour * 3600000, 100, late=0.1)
            self.post(server, 6 * 3600000, 1)
            self.wait_same(server, *tables)
            for table in tables:
                of_time = columns_here(self.folder, table)[0][0]
                if table == 'all':  # its rows are those of one window, that never ends
                    self.assertEqual(self.pg.psql("SELECT relkind FROM pg_class WHERE oid = 'weir.all'::regclass"), ['r'])
                else:
                    self.assertEqual(self.partitions(table), self.hours(table, server.rows(f'SELECT "{of_time}" FROM "{table}"')), table)
            self.assertEqual(self.pg.psql("SELECT count(*) > 0 FROM weir.plain_p2023111422"), ['t'])
        # All rows anew, into what is there and what is not.
        self.pg.psql('DELETE FROM weir.weir_positions; DROP TABLE weir.plain_p2023111422, weir.events')
        with server:
            self.wait_same(server, *tables)

    def test_partitions_that_are_older_than_retain_go(self):
        with self.server(plain() + "  late: {from: s, key: [k], window: {tumbling: 1s}, idle_timeout: 1h, late: revise,"
                         " allowed_lateness: 30h, analyzers: [count]}\n", more='partition: 1h, retain: 2h') as server:
            for hour in range(6):
                if hour == 5:  # what all is there of is said with rows that follow those of the beginning
                    harness.wait_until(lambda: self.caught_up(server, 'plain') and self.caught_up(server, 'late'), 'those of the beginning')
                self.post(server, hour * 3600000, 20)
            # 03:13:20 is the watermark, so what began before 01:00 is gone.
            harness.wait_until(lambda: self.partitions('plain') == [f'plain_p20231115{h:02}' for h in (1, 2)], 'retain')
            left = server.rows(f'SELECT k, count FROM plain WHERE window_start >= {1700010000000000} ORDER BY window_start, k')
            self.wait_far('SELECT k, count FROM weir.plain ORDER BY window_start, k', [f'{k}|{n}' for k, n in left], 'the rest')
            self.post(server, 0, 20)  # a row that is as old comes, and goes
            harness.wait_until(lambda: self.caught_up(server, 'late'), 'it to be there')
            harness.wait_until(lambda: len(self.partitions('late')) == 2, 'it to go')

    def test_a_constraint_of_others_is_no_missing_partition(self):
        with self.server(more='partition: 1h') as server:
            self.post(server, 0, 20)
            harness.wait_until(lambda: self.caught_up(server, 'plain'), 'its first rows')
            self.pg.psql('ALTER TABLE weir.plain ADD CHECK (count < 0) NOT VALID')
            self.post(server, 2000, 200)
            harness.wait_until(lambda: '23514' in (self.status(server, 'plain')['last_error'] or ''), 'what is wrong')
            self.pg.psql('ALTER TABLE weir.plain DROP CONSTRAINT plain_count_check')
            self.wait_same(server, 'plain')

    def test_a_password_is_read_from_a_file_and_shown_to_nobody(self):
        self.pg.psql("SET password_encryption = 'scram-sha-256'; CREATE ROLE writer LOGIN PASSWORD 'gu:es5 me';"
                     f'GRANT CREATE ON DATABASE {self.pg.database} TO writer')
        with open(os.path.join(self.pg.data, 'pg_hba.conf'), 'r+', encoding='utf-8') as file:
            text = file.read()
            file.seek(0)
            file.write('local all writer scram-sha-256\n' + text)
        self.pg.psql('SELECT pg_reload_conf()')
        secret = os.path.join(self.folder, 'password')
        with open(secret, 'w', encoding='utf-8') as file:
            file.write('another\n')
        connect = self.pg.connect.replace('user=weir', 'user=writer')
        with self.server(None, f'password_file: {secret}', connect=connect) as server:
            self.said(server, 'cannot be reached', 'password authentication failed')
            harness.wait_until(lambda: self.status(server, 'plain')['last_error'], 'an error')
            self.assertEqual(self.status(server, 'plain')['last_error'], 'PostgreSQL cannot be reached, or refuses the connection')
            with open(secret, 'w', encoding='utf-8') as file:
                file.write('gu:es5 me\n')
            self.post(server, 0, 300)
            self.wait_same(server, 'plain')
            self.assertIn('weir', self.pg.psql('SELECT application_name FROM pg_stat_activity'))
            told = ''.join(server.log) + server.get('/api/v1/pipelines').body.decode() + server.get('/metrics').body.decode()
        self.assertNotIn('es5 me', told)
        self.assertNotIn('another', told)

    def test_doctor_says_what_is_there(self):
        server = self.server()
        done = harness.weir('doctor', '-c', server.path)
        self.assertRegex(done.stdout, r"ok +postgres +PostgreSQL [0-9.]+.*, database '" + self.pg.database + "', user 'weir'")
        self.pg.psql("CREATE ROLE reader LOGIN")
        server = self.server(None, connect=self.pg.connect.replace('user=weir', 'user=reader'))
        done = harness.weir('doctor', '-c', server.path)
        self.assertRegex(done.stdout, r"FAIL +postgres +user 'reader' may not make tables")
        self.pg.stop()
        done = harness.weir('doctor', '-c', server.path)
        self.assertRegex(done.stdout, r'FAIL +postgres +.*(refused|No such file)')


@unittest.skipUnless(postgres.there(), 'built without libpq')
class Configuration(unittest.TestCase):
    def refused(self, text, *words, pipelines=plain()):
        folder = harness.folder_for_test(self)
        server = harness.Server(CONFIG.replace('PIPELINES', pipelines).replace('{connect: "CONNECT", backoff: 20ms, '
                                                                              'max_backoff: 100ms MORE}', text), folder=folder)
        done = harness.weir('check', '-c', server.path)
        self.assertEqual(done.returncode, 78, done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)
        return done.stderr

    def test_what_is_wrong_is_said_with_its_place(self):
        self.refused('{connect: "host=x", pipelines: plane}', 'weir.yaml:7:', "no pipeline 'plane'", 'plain')
        self.refused('{pipelines: plain}', 'connect')
        self.refused('{connect: "host=x", schema: pg_own}', 'schema')
        self.refused('{connect: "host=x", schema: ""}', 'weir.yaml:7:', 'empty')
        long = 40 * 'p'
        self.refused('{connect: "host=x"}', 'weir.yaml:12:45:', f"table '{long}_{long}': the name", 'longer than the 63 bytes',
                     pipelines=f'\n  {long}: {{from: s, window: {{tumbling: 1s}}, analyzers: [{{topk: {{of: v, k: 3}}, as: {long}}}]}}')
        # A name that nothing can have is said, and all else that is wrong.
        self.refused('{connect: "host=x"}', 'more than 48 characters', "no stream or pipeline 'plane'",
                     pipelines=plain() + f'  {2 * long}: {{from: plane, window: {{tumbling: 1s}}, analyzers: [count]}}\n'
                                         '  other: {from: plane, window: {tumbling: 1s}, analyzers: [count]}')
        self.refused('{connect: "host=x", backoff: 1m}', 'max_backoff')
        self.refused('{connect: "host=x", partition: 90m}', 'weir.yaml:7:', "'partition' is whole hours")
        self.refused('{connect: "host=x", retain: 30d}', 'weir.yaml:7:', "'partition' is missing")
        self.refused('{connect: "host=x", partition: 1d}', 'longer than the 48 bytes',
                     pipelines=f'\n  {48 * "p"}: {{from: s, window: {{tumbling: 1s}}, analyzers: [{{topk: {{of: v, k: 3}}, as: q}}]}}')
        self.assertNotIn('sesame', self.refused('{connect: "password=open sesame host"}', 'libpq'))


class Without(unittest.TestCase):
    @unittest.skipIf(postgres.there(), 'built with libpq')
    def test_it_is_refused_without_libpq(self):
        server = harness.Server(CONFIG.replace('PIPELINES', plain()).replace('MORE', ''), folder=harness.folder_for_test(self))
        done = harness.weir('check', '-c', server.path)
        self.assertEqual(done.returncode, 78)
        self.assertIn('built without libpq', done.stderr)


if __name__ == '__main__':
    harness.main()
