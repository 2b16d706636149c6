# SPDX-License-Identifier: Apache-2.0
"""The crash test's comparison finds what it is there to find: in the tables of a real server, to which
one fault at a time is added, and in none without."""

import os
import random
import shutil
import sqlite3
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), 'system')]

import crash  # noqa: E402
import harness  # noqa: E402
import load  # noqa: E402
import model  # noqa: E402
import setting  # noqa: E402
from setting import DAY_US, ERA_US, T0_US  # noqa: E402

REQUESTS = 80
load.ROUND_EVENTS = 2000  # many checks, of few events


class Server(harness.Server):
    def start_process(self, **env):
        setting.fill(self.database)
        super().start_process(**env)


class Checker(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        known = setting.probe()
        cls.pipelines, cls.hooked = setting.pipelines(known), known['webhooks']
        folder = tempfile.mkdtemp(prefix='weir-test-')
        cls.addClassCleanup(shutil.rmtree, folder, ignore_errors=True)
        setting.write_python(folder)
        cls.server = Server.for_class(cls, setting.config(known), folder)
        cls.server.gone = lambda: False
        cls.ledger = load.Ledger()
        clock = load.Clock(T0_US + DAY_US, T0_US + ERA_US - DAY_US)
        client = load.Client(cls.ledger, clock, cls.server, random.Random(5), known, repeats=False)
        for _ in range(REQUESTS):
            client.step(client.next())
        client.finish()
        client.close_windows(T0_US + ERA_US + DAY_US)
        for pipeline in cls.pipelines:
            cls.server.wait_watermark(pipeline.pipeline_name(), T0_US + ERA_US)
        cls.copies = 0

    def check(self, sql='', requests=None):
        """The verdict on a copy of the tables to which `sql` was done."""
        self.__class__.copies += 1
        copy = os.path.join(self.server.folder, f'copy-{self.copies}.db')
        with sqlite3.connect(f'file:{self.server.database}?mode=ro', uri=True) as source, \
                sqlite3.connect(copy) as target:
            source.backup(target)
            if sql:
                self.assertGreater(target.execute(sql).rowcount, 0, sql)
        source.close()
        target.close()
        return model.Checker(self.pipelines, copy).era(requests or self.ledger.requests, T0_US)

    def check_found(self, lost, doubled, wrong, sql='', requests=None):
        verdict = self.check(sql, requests)
        self.assertEqual((verdict.lost, verdict.doubled, verdict.wrong), (lost, doubled, wrong),
                         dict(verdict.texts))
        self.assertFalse(verdict.good())

    def some(self, table, columns='count'):
        """A row in the middle of a table, and how to find it again."""
        n = self.server.rows(f'SELECT count(*) FROM {table}')[0][0]
        row = self.server.rows(f'SELECT window_start, {columns} FROM {table} LIMIT 1 OFFSET {n // 2}')[0]
        return row[1:], f'window_start = {row[0]}'

    def acked(self, shape='length'):
        """An acknowledged request of several events."""
        return next(r for r in self.ledger.requests if r.stream == 'main' and r.fate == load.ACKED and
                    r.shape == shape and len(r.events) > 5)

    def with_changed(self, request, **changes):
        """All requests, with a changed copy of one of them."""
        copy = load.Request.__new__(load.Request)
        copy.__dict__.update(request.__dict__, **changes)
        return [copy if r is request else r for r in self.ledger.requests]

    # ---- Without a fault -------------------------------------------------------------------------

    def test_tables_of_a_server_that_was_left_alone_are_right(self):
        verdict = self.check()
        self.assertTrue(verdict.good(), dict(verdict.texts))
        self.assertEqual(self.ledger.faults, [])
        for shape in ('length', 'chunked', 'gzip', 'array'):
            self.assertTrue(any(r.shape == shape and r.fate == load.ACKED for r in self.ledger.requests))
        self.assertTrue(any(r.fate == load.REFUSED for r in self.ledger.requests))
        self.assertTrue(any(r.bad for r in self.ledger.requests))

    def test_some_events_were_late(self):
        count, = self.server.rows(f'SELECT sum(count) FROM late_one WHERE window_start < {T0_US + ERA_US}')[0]
        self.assertLess(count, sum(len(r.events) for r in self.ledger.requests if r.stream == 'main'))

    # ---- Tables ----------------------------------------------------------------------------------

    def test_row_that_is_missing(self):
        (count, number), where = self.some('by_number', 'count, number')
        self.check_found(count, 0, 0, f'DELETE FROM by_number WHERE {where} AND number = {number}')

    def test_event_counted_twice(self):
        (number,), where = self.some('by_number', 'number')
        self.check_found(0, 1, 0,
                         f'UPDATE by_number SET count = count + 1 WHERE {where} AND number = {number}')

    def test_value_that_is_off_by_one(self):
        (name,), where = self.some('by_name', 'name')
        for column in ('id_sum', 'id_min', 'id_max', 'r_sum', 'r_min', 'r_max'):
            with self.subTest(column):
                self.check_found(0, 0, 1, f'UPDATE by_name SET {column} = {column} + 1 '
                                 f"WHERE {where} AND name = '{name}'")

    def test_result_of_a_chain_that_is_missing(self):
        (count, name), where = self.some('by_day', 'count_sum_sum, name')
        self.check_found(count, 0, 0, f"DELETE FROM by_day WHERE {where} AND name = '{name}'")

    def test_window_with_a_table_that_has_one_too_many(self):
        (name,), where = self.some('of_table', 'name')
        self.check_found(0, 1, 0, f"UPDATE of_table SET count = count + 1 WHERE {where} AND name = '{name}'")

    def test_session_that_is_missing(self):
        (count, name), where = self.some('sessions', 'count, name')
        self.check_found(count, 0, 0, f"DELETE FROM sessions WHERE {where} AND name = '{name}'")

    def test_overlapping_window_that_has_one_too_many(self):
        (name,), where = self.some('hopping', 'name')
        self.check_found(0, 1, 0, f"UPDATE hopping SET count = count + 1 WHERE {where} AND name = '{name}'")

    def test_kept_event_that_is_missing_and_one_that_is_there_twice(self):
        verdict = self.check('UPDATE kept SET id = (SELECT max(id) FROM kept) WHERE '
                             '(ts, position, "row") = (SELECT ts, position, "row" FROM kept LIMIT 1)')
        self.assertEqual([sum(text.startswith('kept: ') for text in verdict.texts[kind])
                          for kind in ('lost', 'doubled', 'wrong')], [1, 1, 0], dict(verdict.texts))

    def test_kept_events_in_another_order(self):
        """Windows that go by the order of the log are others than the tables have."""
        verdict = self.check('UPDATE kept SET id = (SELECT min(id) + max(id) FROM kept) - id')
        self.assertTrue(any(text.startswith('hundreds ') for text in verdict.texts['wrong']), dict(verdict.texts))

    def test_windows_by_key_that_are_missing(self):
        for table in ('hundreds', 'running', 'ends', 'ever', 'while_used'):
            with self.subTest(table):
                (count,), where = self.some(table)
                verdict = self.check(f'DELETE FROM {table} WHERE {where} AND count = {count}')
                self.assertGreaterEqual(verdict.lost, count - len(load.SOURCES))
                read = count if table == 'ever' else 0  # what reads it has them still
                self.assertEqual((verdict.doubled, verdict.wrong), (read, 0), dict(verdict.texts))

    def test_best_rows_that_are_others(self):
        for table, key in (('by_number_rows', 'number'), ('ever_rows', 'name')):
            with self.subTest(table):
                (name, rank), where = self.some(table, f'{key}, rank')
                read = int(table == 'ever_rows')  # what reads it has another sum
                self.check_found(read, 0, 1, f"UPDATE {table} SET id = id + 1 WHERE {where} AND {key} = '{name}' "
                                 f'AND rank = {rank}')

    def test_joined_events_that_are_others(self):
        (name,), where = self.some('joined', 'name')
        for column in ('other_id_sum', 'other_id_max', 'gap_sum', 'behind_max', 'alone'):
            with self.subTest(column):
                self.check_found(0, 0, 1, f"UPDATE joined SET {column} = ifnull({column}, 0) + 1 "
                                 f"WHERE {where} AND name = '{name}'")
        (name,), where = self.some('joined_1h', 'name')
        self.check_found(0, 1, 0, f"UPDATE joined_1h SET count_sum = count_sum + 1 WHERE {where} AND name = '{name}'")

    def test_joined_window_that_is_missing(self):
        (pairs,), where = self.some('pairs_all_sql', 'pairs')
        self.assertGreater(pairs, 0)
        self.check_found(pairs, 0, 0, f'DELETE FROM pairs_all_sql WHERE {where}')

    def test_float_that_is_off_by_its_last_bit(self):
        (name, y), where = self.some('by_name', 'name, y_sum')
        self.check_found(0, 0, 1, f"UPDATE by_name SET y_sum = {y!r} * (1 + 2.3e-16) "
                         f"WHERE {where} AND name = '{name}'")

    def test_most_frequent_value_that_is_another(self):
        (name,), where = self.some('by_name_topk', 'name')
        self.check_found(0, 0, 1, "UPDATE by_name_topk SET tag = 'none' WHERE "
                         f"{where} AND name = '{name}' AND rank = 1")

    def test_late_event_that_only_one_pipeline_counted(self):
        (name,), where = self.some('late_three', 'name')
        self.check_found(0, 1, 0, f"UPDATE late_three SET count = count + 1 WHERE {where} AND name = '{name}'")

    # ---- Requests --------------------------------------------------------------------------------

    def test_acknowledged_request_that_was_not_counted(self):
        """By its row, which is missing, and all other tables, which hold its events."""
        request = self.acked()
        verdict = self.check(f'DELETE FROM by_request WHERE request = {request.number}')
        # Without its events some sessions are others.
        self.assertGreaterEqual(verdict.lost, len(request.events), dict(verdict.texts))
        self.assertGreaterEqual(verdict.doubled, len(request.events))

    def test_acknowledged_request_counted_but_for_an_event(self):
        request = self.acked()
        event = load.event_of(random.Random(1), 1 << 41, request.clock_us)
        verdict = self.check(requests=self.with_changed(request, events=[*request.events, event]))
        self.assertEqual((verdict.lost, verdict.doubled), (1, 0), dict(verdict.texts))

    def test_refused_request_that_was_counted(self):
        request = self.acked()
        verdict = self.check(requests=self.with_changed(request, fate=load.REFUSED))
        self.assertGreaterEqual(verdict.doubled, len(request.events), dict(verdict.texts))
        self.assertEqual([text for text in verdict.texts['lost'] if not text.startswith('sessions ')], [])

    def test_request_of_unknown_fate_that_was_counted_in_part(self):
        request = self.acked()
        changed = self.with_changed(request, fate=load.WHOLE, events=[*request.events, request.events[0]])
        self.check_found(0, 0, 1, requests=changed)

    def test_chunked_request_of_unknown_fate_may_be_counted_up_to_an_event(self):
        request = self.acked('chunked')
        event = load.event_of(random.Random(1), 1 << 41, request.clock_us)
        verdict = self.check(requests=self.with_changed(request, fate=load.PREFIX,
                                                        events=[*request.events, event]))
        self.assertTrue(verdict.good(), dict(verdict.texts))
        verdict = self.check(requests=self.with_changed(request, fate=load.PREFIX,
                                                        events=[event, *request.events]))
        self.assertGreater(verdict.wrong, 0)

    def test_request_that_nobody_sent(self):
        request = self.acked()
        verdict = self.check(requests=[r for r in self.ledger.requests if r is not request])
        self.assertGreaterEqual(verdict.doubled, len(request.events), dict(verdict.texts))

    def test_row_that_a_webhook_did_not_have(self):
        if not self.hooked:
            self.skipTest('built without libcurl')

        def found(change):
            kept = dict(self.hooked.rows)
            change(self.hooked.rows)
            verdict = model.Verdict()
            self.hooked.check(self.server, verdict)
            self.hooked.rows.clear()
            self.hooked.rows.update(kept)
            return verdict.lost, verdict.wrong
        self.assertEqual(found(lambda rows: None), (0, 0))
        one = next(iter(self.hooked.rows))
        self.assertEqual(found(lambda rows: rows.pop(one)), (1, 0))
        self.assertEqual(found(lambda rows: rows.update({one: (0,)})), (0, 1))
        number = self.hooked.last[one[1]] - 1
        self.hooked.seen.discard(number)
        row = {'window_start': '1970-01-01T00:00:00Z', 'name': one[1], **dict.fromkeys(self.hooked.columns)}
        self.hooked.note({'id': f'1-{number}', 'row': row})
        self.assertEqual(found(lambda rows: None), (0, 1))

    def test_damaged_file_is_not_sound(self):
        self.assertEqual(model.integrity(self.server.database), '')
        copy = os.path.join(self.server.folder, 'damaged.db')
        with sqlite3.connect(f'file:{self.server.database}?mode=ro', uri=True) as source, \
                sqlite3.connect(copy) as target:
            source.backup(target)
        target.execute('VACUUM')  # what is overwritten is no free page
        source.close()
        target.close()
        with open(copy, 'r+b') as file:
            file.seek(os.path.getsize(copy) // 2)
            file.write(b'\xa5' * 20000)
        self.assertNotEqual(model.integrity(copy), '')


class Said(unittest.TestCase):
    """What the server says of workers that the crash test kills is told from faults."""
    TIME, DEAD = 'ts=2026-01-02T03:04:05.000000Z ', 'its process was killed by signal 9 (Killed)'
    DIED = TIME + f'level=error part=pipeline msg="pipeline \'p\' is started again: analyzer \'stats\': {DEAD}, in update"\n'
    AGAIN = TIME + 'level=info part=reload msg="pipeline \'p\' is exchanged"\n'

    def error(self, text, part='serve'):
        return f'{self.TIME}level=error part={part} msg="{text}"\n'

    def test_workers_that_were_killed_are_no_faults(self):
        log = [self.DIED, self.AGAIN, self.error(f"SIGHUP: weir.yaml:1:2: analyzer 'stats': {self.DEAD}"),
               self.error(f"SIGHUP: weir.yaml:1:2: analyzer 'stats': {self.DEAD}, in open; the configuration stays as it was"),
               self.error(f"pipeline 'p' cannot be started again yet: weir.yaml:1:2: analyzer 'python': {self.DEAD}", 'restart')]
        self.assertEqual(crash.faults_said(log), [])

    def test_all_other_errors_are(self):
        log = [self.error(f"pipeline 'p' stops, and keeps its place in the journal until it can go on: analyzer 'stats': {self.DEAD}"),
               self.error("pipeline 'p' is started again: analyzer 'stats': its process was killed by signal 11 (Segmentation fault)"),
               self.error("pipeline 'p' cannot be started again yet: no memory"),
               self.error("SIGHUP: weir.yaml:1:2: no such key; the configuration stays as it was"),
               self.error("pipeline 'p' stays as it is: analyzer 'stats' has ended its process 3 times")]
        self.assertEqual(crash.faults_said([*log, self.AGAIN]), log)

    def test_a_pipeline_waits_until_it_is_exchanged(self):
        other = self.AGAIN.replace("'p'", "'q'")
        for log, waits in (([], False), ([self.AGAIN], False), ([self.DIED], True), ([self.DIED, other], True),
                           ([self.DIED, self.AGAIN], False), ([self.DIED, self.AGAIN, self.DIED], True)):
            self.assertEqual(crash.waits_for_restart(log), waits, log)


if __name__ == '__main__':
    harness.main()
