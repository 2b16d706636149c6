# SPDX-License-Identifier: Apache-2.0
"""Copies of a server's database in PostgreSQL (`copy`): another one, with an empty folder, goes on where the last copy was. Whatever ends or is
stopped, the rows in PostgreSQL are those that Python makes of all messages, each once."""

import collections
import json
import os
import random
import shutil
import signal
import time
import unittest

import brokers
import harness
import test_stop
from test_postgresql import Base

T0 = 1700000000000
END = T0 + 86400000  # of the last window that counts
PARTITIONS = 4
SUPERSEDED = 75  # the exit status
CONFIG = '''
server:
  listen: {listen}
  database: {folder}/weir.db
  checkpoint_interval: 20ms
  commit_interval: 5ms
  postgresql: {connect: "CONNECT", shard: one, copy: COPY, backoff: 20ms, max_backoff: 100ms}
streams:
  s:
    time: {field: ts, unit: ms}
    fields: {k: string, v: int}
    source: {kafka: {brokers: "SERVERS", topics: orders, options: {reconnect.backoff.max.ms: 100}}}
pipelines:
PIPELINES
'''
PIPELINES = '''
  rows: {from: s, window: none, select: [k, v], idle_timeout: 1h}
  sums: {from: s, key: [k], window: {tumbling: 1s}, idle_timeout: 1h, late: revise, allowed_lateness: 1h,
         analyzers: [count, {stats: {of: v, emit: [sum]}}]}
  every: {from: sums, key: [k], window: {global: 1s}, analyzers: [{sum: {of: count}}]}
  calm: {from: s, key: [k], window: {tumbling: 1s}, idle_timeout: 1h, out_of_orderness: 5s, late: side, analyzers: [count]}
  longer: {from: calm, key: [k], window: {tumbling: 10s}, analyzers: [{sum: {of: count}}]}
  best: {from: s, key: [k], window: {tumbling: 2s}, idle_timeout: 1h, late: revise, allowed_lateness: 1h,
         analyzers: [{topk: {of: v, k: 3}}]}
  visits: {from: s, key: [k], window: {session: 400ms}, idle_timeout: 1h, late: revise, allowed_lateness: 1h,
           analyzers: [count, {stats: {of: v, emit: [sum]}}]}
  totals: {from: s, key: [k], window: {global: 1s}, idle_timeout: 1h, analyzers: [count, {sum: {of: v}}]}
'''
TOTALS = '  totals: {from: s, key: [k], window: {global: 1s}, idle_timeout: 1h, analyzers: [count, {sum: {of: v}}]}\n'
POINTS = ['copy_claim', 'copy_claimed', 'copy_begin', 'copy_snapshot', 'copy_fenced', 'copy_commit', 'copy_committed',
          'carry_take', 'carry_taken', 'carry_begun', 'carry_fenced', 'carry_commit', 'carry_committed', 'carry_filled',
          'store_commit', 'store_committed', 'checkpoint_begin', 'log_dispatch']
LONG = os.environ.get('WEIR_LONG') == '1'
FAULTS = int(os.environ.get('WEIR_COPIES_FAULTS', '8'))
SEED = int(os.environ.get('WEIR_COPIES_SEED', '3'))


class Producer:
    """Events of 30 keys, each in its partition; one of ten comes up to 4 s late, so that what was given out is revised or taken back."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.dice = random.Random(5)
        self.sent = []  # (ts, k, v)
        self.now = T0 + 10000

    def send(self, n):
        lines = {p: [] for p in range(PARTITIONS)}
        for _ in range(n):
            self.now += self.dice.randrange(20)
            k, v = self.dice.randrange(30), len(self.sent)
            ts = self.now - (self.dice.randrange(4000) if self.dice.random() < 0.1 else 0)
            lines[k % PARTITIONS].append(json.dumps({'ts': ts, 'k': f'k{k}', 'v': v}))
            self.sent.append((ts, f'k{k}', v))
        for p, some in lines.items():
            while some:
                each = self.dice.randrange(1, 50)
                self.cluster.send('orders', '\n'.join(some[:each]), partition=p)
                some = some[each:]

    def end(self):
        """All windows end, but those of the last events."""
        for p in range(PARTITIONS):
            self.cluster.send('orders', json.dumps({'ts': END, 'k': f'end{p}', 'v': p}), partition=p)

    def by(self, width_ms):
        found = collections.defaultdict(list)
        for ts, k, v in self.sent:
            found[ts // width_ms * width_ms, k].append(v)
        return found

    def visits(self):
        """Sessions: who comes in less than 400 ms belongs to it."""
        times = collections.defaultdict(list)
        for ts, k, v in sorted(self.sent):
            times[k].append((ts, v))
        for k, events in times.items():
            at = [events[0]]
            for event in events[1:]:
                if event[0] - at[-1][0] >= 400:
                    yield k, at
                    at = []
                at.append(event)
            yield k, at

    def model(self):
        """By table: the SELECT, and its lines."""
        yield ('SELECT (extract(epoch FROM ts) * 1000)::bigint, k, v FROM weir.rows WHERE v >= 0',
               [f'{ts}|{k}|{v}' for ts, k, v in self.sent])
        yield ("SELECT (extract(epoch FROM window_start) * 1000)::bigint, k, count, v_sum FROM weir.sums",
               [f'{start}|{k}|{len(vs)}|{sum(vs)}' for (start, k), vs in self.by(1000).items()])
        yield ("SELECT (extract(epoch FROM window_start) * 1000)::bigint, k, count FROM weir.calm",
               [f'{start}|{k}|{len(vs)}' for (start, k), vs in self.by(1000).items()])
        yield ('SELECT (SELECT count(*) FROM weir.calm_late)', ['0'])
        yield ("SELECT (extract(epoch FROM window_start) * 1000)::bigint, k, count_sum FROM weir.longer",
               [f'{start}|{k}|{len(vs)}' for (start, k), vs in self.by(10000).items()])
        yield ("SELECT (extract(epoch FROM window_start) * 1000)::bigint, k, rank, v FROM weir.best_topk",
               [f'{start}|{k}|{rank}|{v}' for (start, k), vs in self.by(2000).items()
                for rank, v in enumerate(sorted(vs)[:3], 1)])
        totals = collections.defaultdict(list)
        for _, k, v in self.sent:
            totals[k].append(v)
        yield ('SELECT k, count_sum FROM weir.every', [f'{k}|{len(vs)}' for k, vs in totals.items()])
        yield ('SELECT k, count, v_sum FROM weir.totals', [f'{k}|{len(vs)}|{sum(vs)}' for k, vs in totals.items()])
        yield ("SELECT (extract(epoch FROM window_start) * 1000)::bigint, k, count, v_sum FROM weir.visits",
               [f'{at[0][0]}|{k}|{len(at)}|{sum(v for _, v in at)}' for k, at in self.visits()])


@unittest.skipUnless(brokers.there(), 'built without librdkafka')
@unittest.skipIf(brokers.traced(), 'ThreadSanitizer knows nothing of librdkafka')
class Copies(Base):
    def setUp(self):
        super().setUp()
        self.cluster = brokers.Brokers()
        self.addCleanup(self.cluster.close)
        self.cluster.topic('orders', PARTITIONS)
        self.producer = Producer(self.cluster)
        self.machines = 0

    def machine(self, started=True, folder=None, pipelines=PIPELINES, copy='50ms', more='', stream='', **env):
        """A server with a folder of its own, empty."""
        if folder is None:
            self.machines += 1
            folder = os.path.join(self.folder, f'machine{self.machines}')
            os.makedirs(folder)
        text = (CONFIG.replace('PIPELINES', pipelines).replace('COPY', copy)
                .replace('\nstreams:', f'\n  {more}\nstreams:{stream.rstrip()}').replace('CONNECT', self.pg.connect).replace('SERVERS', self.cluster.servers))
        server = harness.Server(text, folder=folder, **env)
        self.addCleanup(server.kill)
        if started:
            server.start()
        return server

    def wait_model(self, producer=None):
        for sql, expected in (producer or self.producer).model():
            expected, found = sorted(expected), []

            def are_those():
                try:
                    found[:] = sorted(line for line in self.pg.psql(sql) if 'end' not in line)
                except AssertionError as error:  # there may be no table yet
                    found[:] = [str(error)]
                return found == expected
            try:
                harness.wait_until(are_those, sql, every_s=0.1)
            except AssertionError as error:
                more, less = (collections.Counter(found) - collections.Counter(expected),
                              collections.Counter(expected) - collections.Counter(found))
                raise AssertionError(f'{error}: {len(found)} of {len(expected)}, too many {sorted(more)[:5]}, missing'
                                     f' {sorted(less)[:5]}; wrong={more.total()} lost={less.total()}') from None

    def wait_copy(self, server):
        """One that began after now is there, or nothing has changed since."""
        begin = time.monotonic()

        def is_there():
            try:
                return server.metric('weir_copy_age_seconds') < time.monotonic() - begin
            except OSError:  # it is not there yet
                return False
        harness.wait_until(is_there, 'a copy', every_s=0.05)

    def ended(self, server, status=SUPERSEDED):
        self.assertEqual(server.process.wait(harness.LIMIT_S), status, ''.join(server.log))

    # ---- Whatever ends -----------------------------------------------------------------------------

    def fault(self, dice, server):
        """Who goes on, and who was stopped."""
        what = dice.choice(['restart', 'kill', 'kill', 'stop', 'freeze', 'freeze', 'postgres'] +
                           (['point'] * 4 if harness.with_faults() else []))
        if self.dying:
            what = dice.choice(['restart', 'kill'])
        self.dying = False
        if what == 'restart':
            server.kill()
            server.start_process()
        elif what == 'kill':
            server.kill()
            if dice.random() < 0.5:
                shutil.rmtree(server.folder)
            return self.machine(started=False), None
        elif what == 'stop':
            server.wait_ready()
            server.stop()
            return self.machine(started=False), None
        elif what == 'freeze':
            server.wait_port()  # one that has not claimed the shard yet would do so when it wakes up
            server.process.send_signal(signal.SIGSTOP)
            return self.machine(started=False), server
        elif what == 'postgres':
            self.pg.restart()
        else:  # in a while; here or elsewhere
            server.kill()
            if dice.random() < 0.5:
                server = self.machine(started=False)
            self.dying = True
            server.start_process(WEIR_FAULT=f'{dice.choice(POINTS)}:{dice.randrange(1, 12)}')
        return server, None

    def test_rows_are_those_of_all_messages_whatever_ends(self):
        dice = random.Random(SEED)
        server = self.machine()
        self.dying = False
        stopped = []
        for _ in range(FAULTS):
            self.producer.send(dice.choice([50, 400]))
            if dice.random() < 0.7 and not self.dying:
                server.wait_ready()
                self.wait_copy(server)
            server, old = self.fault(dice, server)
            if old:
                stopped.append(old)
            if server.process is None:
                server.start_process()
            if stopped and dice.random() < 0.6 and not self.dying:
                server.wait_port()  # it has claimed the shard
                old = stopped.pop()
                old.process.send_signal(signal.SIGCONT)
                self.ended(old)
        self.producer.send(300)
        self.producer.end()
        if self.dying:
            server.kill()
            server.start_process()
        server.wait_ready()
        for old in stopped:
            old.process.send_signal(signal.SIGCONT)
            self.ended(old)
        self.wait_model()
        server.stop()
        self.wait_model()

    def test_who_was_stopped_wakes_up_and_writes_nothing(self):
        old = self.machine()
        self.producer.send(300)
        self.wait_copy(old)
        old.process.send_signal(signal.SIGSTOP)
        self.producer.send(300)
        fresh = self.machine()
        self.assertIn('goes on with copy', ''.join(fresh.log))
        self.wait_copy(fresh)
        old.process.send_signal(signal.SIGCONT)
        self.ended(old)
        self.assertIn('has taken its place', ''.join(old.log))
        self.producer.end()
        self.wait_model()
        writers = self.pg.psql('SELECT DISTINCT pid FROM weir.weir_shards UNION SELECT pid FROM weir.weir_copies')
        self.assertEqual(writers, [str(fresh.process.pid)])
        self.assertEqual(self.pg.psql('SELECT epoch FROM weir.weir_copies'), ['2'])
        # It takes the shard back with what the other has had since, and keeps its own aside.
        old.start_process()
        self.ended(fresh)
        old.wait_ready()
        self.assertTrue(os.path.exists(old.database + '.superseded'))
        self.wait_model()

    def test_a_copy_that_was_not_carried_yet(self):
        """The table is locked there while copies are made: who goes on has rows to carry, and those that the old one would have."""
        server = self.machine()
        self.producer.send(300)
        self.wait_far("SELECT count(*) > 0 FROM weir.sums", ['t'], 'rows')
        with self.pg.locked('weir.sums'):
            self.producer.send(300)
            self.wait_copy(server)
            server.process.send_signal(signal.SIGSTOP)
            fresh = self.machine()
            self.producer.send(300)
            self.wait_copy(fresh)
        server.process.send_signal(signal.SIGCONT)
        self.ended(server)
        self.producer.end()
        self.wait_model()

    def test_postgresql_is_away(self):
        server = self.machine()
        self.producer.send(100)
        self.wait_copy(server)
        self.pg.stop()
        self.producer.send(500)
        harness.wait_until(lambda: server.metric('weir_source_lag_messages', stream='s') == 0, 'all is read')
        fresh = self.machine(started=False)
        fresh.start_process()
        harness.wait_until(lambda: 'PostgreSQL is away' in ''.join(fresh.log), 'what it waits for')
        fresh.process.send_signal(signal.SIGTERM)
        self.ended(fresh, 0)
        self.assertIn('stopped while PostgreSQL was away', ''.join(fresh.log))
        fresh.start_process()
        self.pg.start()
        self.ended(server)
        fresh.wait_ready()
        self.producer.end()
        self.wait_model()

    def test_the_last_copy_of_an_orderly_stop_has_all(self):
        server = self.machine(copy='1h')  # but for the first and the last
        harness.wait_until(lambda: server.metric('weir_copies_total') == 1, 'the first')
        self.producer.send(500)
        harness.wait_until(lambda: len(server.rows('SELECT 1 FROM rows')) == 500, 'rows')
        server.stop()
        fresh = self.machine(copy='1h')
        self.assertEqual(len(fresh.rows('SELECT 1 FROM rows')), 500)
        last = self.machine()
        self.ended(fresh)  # though it would make no copy for an hour
        self.assertIn('has taken its place', ''.join(fresh.log))
        self.producer.end()
        self.wait_model()
        last.stop()

    def test_whether_the_shard_is_ours_still_is_asked_and_nothing_written(self):
        server = self.machine(copy='1h')  # but for the first
        harness.wait_until(lambda: server.metric('weir_copies_total') == 1, 'the first')
        before = self.pg.psql('SELECT xmin, seq FROM weir.weir_copies')
        asked = "SELECT query_start FROM pg_stat_activity WHERE query LIKE '%weir_copies%epoch%' AND pid <> pg_backend_pid()"
        for _ in range(2):
            last = self.pg.psql(asked)
            harness.wait_until(lambda last=last: self.pg.psql(asked) not in (last, []), 'the next time', every_s=0.1)
        self.assertEqual(self.pg.psql('SELECT xmin, seq FROM weir.weir_copies'), before)
        size = self.pg.psql('SELECT pages * page_size FROM weir.weir_copies')
        self.assertEqual(server.metric('weir_copy_size_bytes'), int(size[0]))
        server.stop()

    def test_doctor_tells_of_the_last_copy(self):
        def doctor():
            return harness.weir('doctor', '-c', server.path).stdout
        server = self.machine(started=False)
        self.assertRegex(doctor(), "ok +copy +shard 'one' has no copy yet")
        server.start()
        self.wait_copy(server)
        self.assertRegex(doctor(), r"ok +copy +shard 'one': copy [0-9]+ of its database, [0-9.]+ MB, made [0-9]+ s ago")
        server.stop()
        self.pg.psql("UPDATE weir.weir_copies SET claimed = now() - interval '2 minutes', copied = now() - interval '3 minutes'")
        self.assertRegex(doctor(), "warn +copy +shard 'one': the server on '.*', which has had it for 1[0-9][0-9] s, has made no copy: "
                                   'the last one is that of another')

    def test_a_last_copy_that_fails_is_told(self):
        server = self.machine(copy='1h, timeout: 1s')
        harness.wait_until(lambda: server.metric('weir_copies_total') == 1, 'the first')
        self.producer.send(100)
        harness.wait_until(lambda: len(server.rows('SELECT 1 FROM rows')) == 100, 'rows')
        with self.pg.locked('weir.weir_copies'):
            server.stop()
        self.assertIn('PostgreSQL has not taken a last copy', ''.join(server.log))

    def test_another_that_had_the_shard_at_the_same_epoch(self):
        """As two primaries count: what is here is not gone on with."""
        server = self.machine()
        self.producer.send(300)
        self.wait_copy(server)
        server.kill()
        self.assertEqual(self.pg.psql("UPDATE weir.weir_copies SET writer = 'another' RETURNING epoch"), ['1'])
        server.start()
        self.assertIn('goes on with copy', ''.join(server.log))
        self.producer.end()
        self.wait_model()

    def test_damaged_and_newer_copies_are_refused(self):
        server = self.machine()
        self.producer.send(100)
        self.wait_copy(server)
        server.stop()
        for damage, undo, status, words in (
                ('UPDATE weir.weir_copies SET format = 2', 'UPDATE weir.weir_copies SET format = 1', 69, 'made by a newer weir'),
                ('UPDATE weir.weir_copies SET seq = seq + 1', 'UPDATE weir.weir_copies SET seq = seq - 1', 74, 'not the one'),
                ('UPDATE weir.weir_copy_pages SET page = page + 1000 WHERE page = 2',
                 'UPDATE weir.weir_copy_pages SET page = 2 WHERE page = 1002', 74, 'damaged at page 2')):
            self.pg.psql(damage)
            fresh = self.machine(started=False)
            fresh.start_process()
            self.ended(fresh, status)
            self.assertIn(words, ''.join(fresh.log))
            self.assertFalse(os.path.exists(fresh.database))
            self.pg.psql(undo)
        self.machine()
        self.producer.end()
        self.wait_model()

    @unittest.skipUnless(LONG, 'WEIR_LONG')
    def test_a_pipeline_that_hangs_does_not_keep_the_other_streams(self):
        """All are held for 10 s, and not again before 90 s have passed."""
        self.cluster.topic('others', 1)
        folder = os.path.join(self.folder, 'hangs')
        os.makedirs(folder)
        harness.compile_plugin(folder, 'trap', test_stop.TRAP)
        server = self.machine(folder=folder, pipelines='''
  trapped: {from: s, window: {tumbling: 1s}, analyzers: [{trap: {of: v}}]}
  counted: {from: u, window: {tumbling: 1s}, analyzers: [count]}
''', more='plugin_path: {folder}', stream='''
  u:
    time: {field: ts, unit: ms}
    fields: {v: int}
    source: {kafka: {brokers: "SERVERS", topics: others}}
''')
        harness.wait_until(lambda: server.metric('weir_copies_total') > 0, 'a copy')
        self.cluster.send('orders', json.dumps({'ts': T0, 'k': 'a', 'v': test_stop.HANGS}), partition=0)
        harness.wait_until(lambda: 'is not copied' in ''.join(server.log), 'a copy that is given up', limit_s=harness.scaled(30))
        begin = time.monotonic()
        for n in range(1, 6):
            self.cluster.send('others', json.dumps({'ts': T0, 'v': n}))
            harness.wait_until(lambda n=n: server.metric('weir_pipeline_events_total', pipeline='counted') == n, 'an event')
        self.assertLess(time.monotonic() - begin, harness.scaled(10))
        server.kill()

    # ---- The fences --------------------------------------------------------------------------------

    def totals(self):
        return sorted(f'{k}|{len(vs)}|{sum(vs)}' for (_, k), vs in self.producer.by(2 * END).items())

    def totals_there(self):
        return sorted(self.pg.psql("SELECT k, count, v_sum FROM weir.totals WHERE k NOT LIKE 'end%'"))

    def wait_totals(self):
        harness.wait_until(lambda: self.totals_there() == self.totals(), 'the totals', every_s=0.05)

    def copied(self):
        """Which copy is there, and all of its bytes."""
        return self.pg.psql("SELECT seq, pages, (SELECT md5(string_agg(bytes, '' ORDER BY page)) FROM weir.weir_copy_pages) FROM weir.weir_copies")

    def woken(self, place, *skipped):
        """A server is stopped at the place. Another one puts more rows and copies, and ends the sessions of the first one neither when it
        claims the shard nor when it takes the table; then it is killed, and the first one wakes up, until it ends.
        Returns whether rows there, and the copy, are still what they were."""
        go, skip = os.path.join(self.folder, 'go'), ','.join(['copy_end', 'carry_end', *skipped])
        old = self.machine(pipelines=TOTALS, WEIR_FAULT=f'{place}:{go}:stop', WEIR_FAULT_SKIP=skip)
        self.producer.send(300)
        self.wait_far('SELECT count(*) FROM weir.totals', ['30'], 'rows')
        with open(go, 'wb'):
            harness.wait_until(lambda: self.producer.send(50) or harness.is_stopped(old.process.pid), place, every_s=0.1)
        fresh = self.machine(pipelines=TOTALS, WEIR_FAULT_SKIP=skip)
        self.producer.send(1000)
        self.producer.end()
        self.wait_totals()
        self.wait_copy(fresh)
        fresh.kill()
        self.cluster.close()  # nothing more is read
        rows, copied = self.totals_there(), self.copied()
        self.assertEqual(rows, self.totals())
        old.process.send_signal(signal.SIGCONT)
        self.ended(old)  # once it has nothing to copy, it asks whether the shard is its own
        return self.totals_there() == rows, self.copied() == copied

    @unittest.skipUnless(harness.with_faults(), 'built without --enable-faults')
    def test_who_wakes_up_before_rows_puts_none(self):
        self.assertEqual(self.woken('carry_begin'), (True, True))

    @unittest.skipUnless(harness.with_faults(), 'built without --enable-faults')
    def test_without_the_fence_of_rows_it_would(self):
        self.assertEqual(self.woken('carry_begin', 'carry_fence'), (False, True))

    @unittest.skipUnless(harness.with_faults(), 'built without --enable-faults')
    def test_who_wakes_up_before_a_copy_makes_none(self):
        self.assertEqual(self.woken('copy_begin'), (True, True))

    @unittest.skipUnless(harness.with_faults(), 'built without --enable-faults')
    def test_without_the_fence_of_copies_it_would(self):
        self.assertEqual(self.woken('copy_begin', 'copy_fence'), (True, False))

    # ---- Refused aloud -----------------------------------------------------------------------------

    def test_only_what_kafka_has_is_taken(self):
        server = self.machine()
        answer = server.post('s', '{"ts": 1700000000000, "k": "a", "v": 1}\n')
        self.assertEqual((answer.status, json.loads(answer.body)['code']), (403, 'stream_closed'))
        done = harness.weir('run', '-c', server.path, '--stream', 's', '/dev/null', cwd=server.folder)
        self.assertEqual(done.returncode, 78)
        self.assertIn('from Kafka only', done.stderr)

    def test_what_could_not_go_on_elsewhere_is_refused(self):
        good = (CONFIG.replace('PIPELINES', PIPELINES).replace('COPY', '1s').replace('{folder}', self.folder)
                .replace('{listen}', '127.0.0.1:0').replace('CONNECT', 'host=/nowhere').replace('SERVERS', 'localhost:1'))
        sums = '  sums: {from: s, key: [k],'
        for old, new, words in (
                ('', '', ''),
                ('shard: one, ', '', "'shard' is missing"),
                ('copy: 1s', 'copy: 1s, pipelines: [sums]', "leaves out 'rows'"),
                ('pipelines:\n', '  t: {time: {field: ts}, fields: {k: string}}\npipelines:\n', "stream 't' is not read from Kafka"),
                (sums, sums + ' backfill: journal,', "'backfill'"),
                ('  postgresql:', '  kafka: {brokers: "localhost:1", pipelines: [sums]}\n  postgresql:', 'no results go to Kafka')):
            path = os.path.join(self.folder, 'checked.yaml')
            with open(path, 'w', encoding='utf-8') as file:
                file.write(good.replace(old, new, 1) if old else good)
            done = harness.weir('check', '-c', path, cwd=self.folder)
            self.assertEqual((done.returncode, words in done.stderr), (78 if words else 0, True), (new, done.stderr))


if __name__ == '__main__':
    harness.main()
