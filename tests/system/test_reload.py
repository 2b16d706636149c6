# SPDX-License-Identifier: Apache-2.0
"""SIGHUP: pipelines are exchanged while events flow; none is lost, none counted twice."""

import collections
import http.client
import json
import os
import re
import resource
import signal
import sqlite3
import subprocess
import threading
import time
import unittest

import harness

MS = 1000
T0 = 1700000000000
HEAD = '''
server: {listen: {listen}, database: {folder}/weir.db, commit_interval: 10ms, plugin_path: {folder},
         checkpoint_interval: 50ms, segment_size: 1MiB}
streams:
  input: {time: {field: ts, unit: ms}, fields: {key: string, id: int}}
  other: {time: {field: ts, unit: ms}, fields: {key: string, id: int}}
pipelines:
'''
KEPT = '''
  kept: {from: input, key: [key], window: {tumbling: 10s}, out_of_orderness: 1h, idle_timeout: 1h,
         analyzers: [count, {stats: {of: id, emit: [sum]}}]}
'''


def changing(workers=1, analyzers='count, {stats: {of: id, emit: [sum]}}', more=''):
    return f'''
  changing: {{from: input, key: [key], window: {{tumbling: 10s}}, out_of_orderness: 1h, idle_timeout: 1h,
             workers: {workers}, analyzers: [{analyzers}]{more}}}
'''


FAILING = r'''
#include "weir/plugin.h"
#include <unistd.h>
struct state { int64_t n; };
static int update(struct weir_ctx *ctx, const struct weir_rows *r)
{
    for (size_t i = 0; i < r->n; i++)
        ((struct state *)(void *)(r->states + r->group[i] * r->stride))->n++;
    return access("broken", F_OK) == 0 ? weir_fail(ctx, "the file 'broken' is there") : 0;
}
static int emit_one(struct weir_ctx *ctx, const struct state *s, const struct weir_window *w, struct weir_out *out)
{
    return weir_put_int(ctx, out, 0, s->n);
}
WEIR_EMIT(emit, struct state, emit_one)
static const struct weir_output outputs[] = {{"n", WEIR_INT, "rows", 0}, {.name = 0}};
static const struct weir_analyzer failing = {.name = "failing", .version = "1", .help = "fails at times",
    .outputs = outputs, .state_size = sizeof(struct state), .update = update, .emit = emit};
WEIR_PLUGIN(failing);
'''


def event(ms, key, number):
    return {'ts': T0 + ms, 'key': key, 'id': number}


class Producer(threading.Thread):
    """Posts events one after the other until told to stop; what was acknowledged is in `sent`."""

    def __init__(self, port, number):
        super().__init__()
        self.port = port
        self.number = number
        self.sent = collections.Counter()
        self.sums = collections.Counter()
        self.stopped = threading.Event()
        self.failure = None

    def run(self):
        try:
            connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=harness.LIMIT_S)
            n = 0
            while not self.stopped.is_set():
                events = [event((n + i) * 7 % 40000, f'k{(n + i) % 5}', self.number * 10**6 + n + i)
                          for i in range(20)]
                body = ''.join(json.dumps(e) + '\n' for e in events)
                connection.request('POST', '/api/v1/streams/input/events', body,
                                   {'Content-Type': 'application/x-ndjson'})
                answer = connection.getresponse()
                said = answer.read()
                if answer.status == 429:
                    continue
                assert answer.status == 200 and json.loads(said)['durable'], said
                for e in events:
                    group = (e['ts'] // 10000 * 10000 * MS, e['key'])
                    self.sent[group] += 1
                    self.sums[group] += e['id']
                n += 20
        except Exception as error:  # told by the test
            self.failure = error


class Reload(unittest.TestCase):
    def start(self, pipelines):
        folder = harness.folder_for_test(self)
        harness.compile_plugin(folder, 'failing', FAILING)
        server = harness.Server(HEAD + pipelines, folder=folder)
        server.__enter__()
        self.addCleanup(server.__exit__, None, None, None)
        return server

    def rewrite(self, server, pipelines):
        text = HEAD + pipelines
        text = text.replace('{folder}', server.folder).replace('{listen}', '127.0.0.1:0')
        with open(server.path, 'w', encoding='utf-8') as file:
            file.write(text)

    def reload(self, server, pipelines, expect='was read again'):
        """SIGHUP; returns what the log says of it."""
        self.rewrite(server, pipelines)
        before = len(server.log)
        server.process.send_signal(signal.SIGHUP)
        harness.wait_until(lambda: any('SIGHUP' in line and 'the configuration ' in line for line in server.log[before:]),
                           'the verdict')
        said = ''.join(server.log[before:])
        self.assertIn(expect, said)
        return said

    def post(self, server, events):
        """Until the pipelines have analyzed it: a signal does not wait for what is still on its way."""
        position = server.post_ok('input', events)['position']

        def analyzed():
            states = [p['status'] for p in server.get_json('/api/v1/pipelines') if p['from'] == 'input']
            return all(s['error'] or s['position'] >= position for s in states)
        harness.wait_until(analyzed, 'the pipelines')

    def rows(self, server, table, columns='count, id_sum'):
        found = server.rows(f'SELECT window_start, key, {columns} FROM {table}')
        return {row[:2]: row[2:] for row in found}

    def finish(self, server):
        server.post_ok('input', [event(2 * 3600 * 1000, '~', 0)])
        for name in ('kept', 'changing'):
            server.wait_watermark(name, (T0 + 40000) * MS)

    def test_no_event_is_lost_while_pipelines_are_exchanged(self):
        server = self.start(KEPT + changing())
        producers = [Producer(server.port, i) for i in range(3)]
        for p in producers:
            p.start()
        for i in range(12):
            said = self.reload(server, KEPT + changing(workers=i % 3 + 1))
            if i:
                self.assertIn("pipeline 'changing' is exchanged", said)
            self.assertNotIn("'kept'", said)
        for p in producers:
            p.stopped.set()
            p.join()
            self.assertIsNone(p.failure)
        self.finish(server)
        sent, sums = collections.Counter(), collections.Counter()
        for p in producers:
            sent.update(p.sent)
            sums.update(p.sums)
        expected = {group: (sent[group], sums[group]) for group in sent}
        self.assertGreater(sum(sent.values()), 1000)
        self.assertEqual(self.rows(server, 'kept'), expected)
        self.assertEqual(self.rows(server, 'changing'), expected)

    def test_bad_configuration_leaves_the_old_one(self):
        server = self.start(KEPT + changing())
        self.post(server, [event(0, 'a', 1)])
        for pipelines, why in (
                (KEPT + changing(workers='many'), 'weir.yaml:'),
                (KEPT + changing(analyzers='cuont'), "there is no analyzer 'cuont'"),
                (KEPT + changing().replace('10s', '20s'), 'its windows are 10s long'),
                ((KEPT + changing()).replace('changing:', '"kept_readable":'), None)):
            said = self.reload(server, pipelines, 'SIGHUP')
            if why:
                self.assertIn(why, said)
                self.assertIn('stays as it was', said)
        self.reload(server, KEPT + changing())
        self.post(server, [event(1, 'a', 2)])
        self.finish(server)
        self.assertEqual(self.rows(server, 'kept'), {(T0 * MS, 'a'): (2, 3)})

    def test_what_came_of_it_is_told_where_people_look(self):
        server = self.start(KEPT + changing())
        config = lambda: json.loads(server.get('/api/v1/config').body)
        gauge = lambda name: server.metric(f'weir_config_last_reload_{name}')
        at_start = gauge('success_timestamp_seconds')
        self.assertEqual((config()['last_reload'], gauge('successful')), (None, 1))
        self.assertLess(abs(at_start - time.time()), 60)
        self.reload(server, KEPT + changing(workers='many').replace('from: input', 'from: nobody'), 'SIGHUP')
        harness.wait_until(lambda: gauge('successful') == 0, 'the metric')
        last = config()['last_reload']
        self.assertFalse(last['successful'])
        self.assertEqual(len(last['errors']), 2, last)
        for word in ("'nobody'", "'many'"):
            self.assertTrue(any(word in text and 'weir.yaml:' in text for text in last['errors']), last)
        self.assertEqual(gauge('success_timestamp_seconds'), at_start)

        def logged():
            """In any order: of two threads that warn at once, each may be first in one of them."""
            found = [re.search(r'^ts=(\S+) level=(warn|error) part=(\S+) msg="(.*)"$', line.strip()) for line in server.log]
            return sorted((*line.groups()[:3], json.loads(f'"{line[4]}"')[:500]) for line in found if line)

        def told():
            return sorted(tuple(line[k] for k in ('time', 'level', 'part', 'message'))
                          for line in server.get_json('/api/v1/warnings'))
        harness.wait_until(lambda: told() == logged(), 'what was logged')
        self.assertGreaterEqual(len(logged()), 2)
        self.reload(server, KEPT + changing())
        harness.wait_until(lambda: gauge('successful') == 1, 'the metric')
        self.assertGreater(gauge('success_timestamp_seconds'), at_start)
        found = config()
        self.assertEqual((found['last_reload']['successful'], found['last_reload']['errors']), (True, []))
        self.assertEqual(found['loaded'], found['last_reload']['time'])

    def test_the_process_itself_is_measured(self):
        server = self.start(KEPT + changing())
        (labels, one), = server.metrics()['weir_build_info']
        version = json.loads(server.get('/version').body)
        self.assertEqual((labels, one), ({'version': version['version'], 'sqlite': version['sqlite']}, 1))
        pid = server.process.pid
        self.assertEqual(server.metric('process_max_fds'), resource.prlimit(pid, resource.RLIMIT_NOFILE)[0])
        self.assertLess(abs(server.metric('process_open_fds') - len(os.listdir(f'/proc/{pid}/fd'))), 5)
        with open(f'/proc/{pid}/statm', encoding='ascii') as file:
            size, resident = (int(n) * resource.getpagesize() for n in file.read().split()[:2])
        self.assertAlmostEqual(server.metric('process_virtual_memory_bytes') / size, 1, delta=0.5)
        self.assertAlmostEqual(server.metric('process_resident_memory_bytes') / resident, 1, delta=0.5)
        self.assertLess(abs(server.metric('process_start_time_seconds') - time.time()), 60)
        self.assertGreater(server.metric('process_cpu_seconds_total'), 0)

    def test_check_refuses_what_sighup_would(self):
        """While the server has the database open: another key for a table that is there."""
        server = self.start(KEPT + changing())
        self.rewrite(server, KEPT + changing())
        self.assertEqual(self.check(server)[0], 0)
        self.rewrite(server, KEPT + changing().replace('key: [key]', 'key: [id]'))
        status, said = self.check(server)
        self.assertEqual(status, 78, said)
        self.assertIn("table 'changing'", said)
        self.reload(server, KEPT + changing().replace('key: [key]', 'key: [id]'), expect="table 'changing'")

    def check(self, server):
        done = subprocess.run([harness.WEIR, 'check', '-c', server.path], env=server.env, text=True, check=False,
                              stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
        return done.returncode, done.stderr

    def test_refused_configuration_leaves_the_database_as_it_was(self):
        server = self.start(KEPT + changing())
        schema = 'SELECT type, name, sql FROM sqlite_schema ORDER BY name', 'SELECT * FROM weir_columns'
        before = [server.rows(sql) for sql in schema]
        added = changing(analyzers='{stats: {of: id, emit: [max]}}').replace('changing', 'added')
        more = KEPT.replace('emit: [sum]', 'emit: [sum, max]')  # a new column
        said = self.reload(server, added + more + changing().replace('10s', '20s'), 'SIGHUP')
        self.assertIn('its windows are 10s long', said)
        self.assertIn('stays as it was', said)
        self.assertEqual([server.rows(sql) for sql in schema], before)
        self.post(server, [event(0, 'a', 1)])
        self.reload(server, added.replace('[key]', '[id]') + more + changing())
        self.post(server, [event(1, 'a', 2)])
        self.finish(server)
        self.assertEqual(self.rows(server, 'changing'), {(T0 * MS, 'a'): (2, 3)})
        server.wait_watermark('added', (T0 + 40000) * MS)
        self.assertEqual(server.rows('SELECT id, id_max FROM added'), [(2, 2)])

    def test_only_a_file_can_be_read_again(self):
        """A pipe would be waited for, and with it every later SIGHUP and the end."""
        server = self.start(KEPT + changing())
        path = server.folder + '/weir.yaml'
        os.rename(path, path + '.away')
        os.mkfifo(path)
        server.process.send_signal(signal.SIGHUP)
        harness.wait_until(lambda: any('weir.yaml: not a regular file' in line for line in server.log), 'the log')
        os.rename(path + '.away', path)
        self.reload(server, KEPT)

    def test_a_signal_while_one_is_under_way_is_not_forgotten(self):
        """The reload waits for the database, which somebody holds; the file is changed meanwhile."""
        server = self.start(KEPT + changing())
        other = sqlite3.connect(server.folder + '/weir.db', isolation_level=None)
        other.execute('BEGIN IMMEDIATE')
        self.rewrite(server, KEPT + changing(workers=2))

        def under_way():
            server.process.send_signal(signal.SIGHUP)
            return any('under way' in line for line in server.log)
        harness.wait_until(under_way, 'one to be under way')
        self.rewrite(server, KEPT + changing(workers=4))
        server.process.send_signal(signal.SIGHUP)
        other.close()
        workers = lambda: json.loads(server.get('/api/v1/pipelines/changing').body)['workers']
        harness.wait_until(lambda: workers() == 4, 'the last configuration')

    def test_many_new_pipelines_do_not_take_long(self):
        """Each of them once read the schema of all, which took a minute for 900."""
        server = self.start(KEPT)
        many = ''.join(f'  p{i}: {{from: input, window: {{tumbling: 1s}}, analyzers: [count]}}\n' for i in range(500))
        self.rewrite(server, KEPT + many)
        before = harness.cpu_seconds(server.process.pid)
        server.process.send_signal(signal.SIGHUP)
        harness.wait_until(lambda: any('was read again' in line for line in server.log), 'the log')
        taken_s = harness.cpu_seconds(server.process.pid) - before
        if not harness.sanitized():
            self.assertLess(taken_s, 2)

    def test_other_streams_take_a_restart(self):
        server = self.start(KEPT + changing())
        self.rewrite(server, KEPT + changing())
        with open(server.path, encoding='utf-8') as file:
            text = file.read()
        with open(server.path, 'w', encoding='utf-8') as file:
            file.write(text.replace('id: int}', 'id: float}', 1))
        server.process.send_signal(signal.SIGHUP)
        harness.wait_until(lambda: any('takes a restart' in line for line in server.log), 'the log')

    def test_added_pipelines_begin_and_removed_ones_end(self):
        server = self.start(KEPT + changing())
        self.post(server, [event(0, 'a', 1)])
        self.reload(server, KEPT + '''
  added: {from: input, key: [key], window: {tumbling: 10s}, out_of_orderness: 1h, idle_timeout: 1h,
          analyzers: [count]}
''')
        self.assertEqual(server.get('/api/v1/pipelines/changing').status, 404)
        self.assertEqual([p['name'] for p in server.get_json('/api/v1/pipelines')], ['kept', 'added'])
        self.post(server, [event(1, 'a', 2)])
        server.post_ok('input', [event(2 * 3600 * 1000, '~', 0)])
        for name in ('kept', 'added'):
            server.wait_watermark(name, (T0 + 10000) * MS)
        self.assertEqual(self.rows(server, 'kept', 'count'), {(T0 * MS, 'a'): (2,)})
        self.assertEqual(self.rows(server, 'added', 'count'), {(T0 * MS, 'a'): (1,)})
        names = {labels.get('pipeline') for labels, _ in server.metrics()['weir_pipeline_events_total']}
        self.assertEqual(names, {'kept', 'added'})

    def test_changed_analyzers_start_afresh_and_the_log_says_so(self):
        server = self.start(KEPT + changing())
        self.post(server, [event(0, 'a', 1)])
        said = self.reload(server, KEPT + changing(analyzers='count, {stats: {of: id, emit: [max]}}'))
        self.assertIn('starts afresh', said)
        self.post(server, [event(1, 'a', 2)])
        self.finish(server)
        self.assertEqual(self.rows(server, 'changing', 'count, id_max, id_sum'),
                         {(T0 * MS, 'a'): (1, 2, None)})
        self.assertEqual(self.rows(server, 'kept'), {(T0 * MS, 'a'): (2, 3)})

    def test_failed_pipeline_starts_again_from_its_checkpoint(self):
        both = KEPT + changing(analyzers='failing')
        server = self.start(both)
        self.post(server, [event(0, 'a', 1)])
        broken = os.path.join(server.folder, 'broken')
        with open(broken, 'w', encoding='ascii'):
            pass
        self.post(server, [event(1, 'a', 2), event(2, 'a', 3)])
        harness.wait_until(lambda: server.get('/ready').status == 503, 'the pipeline to fail')
        self.post(server, [event(3, 'a', 4)])
        os.unlink(broken)
        self.reload(server, both)
        self.assertEqual(server.get('/ready').status, 200)
        self.post(server, [event(4, 'a', 5)])
        self.finish(server)
        self.assertEqual(self.rows(server, 'changing', 'n'), {(T0 * MS, 'a'): (5,)})

    def test_pipeline_whose_table_is_gone_stops_alone(self):
        both = KEPT + changing()
        server = self.start(both)
        self.post(server, [event(0, 'a', 1)])
        other = sqlite3.connect(server.folder + '/weir.db', timeout=harness.LIMIT_S)
        other.execute('DROP TABLE changing')
        other.close()
        server.post_ok('input', [event(2 * 3600 * 1000, 'b', 2)])
        server.wait_watermark('kept', (T0 + 10000) * MS)
        ready = harness.wait_until(lambda: (a := server.get('/ready')).status == 503 and a, 'the pipeline to fail')
        self.assertIn(b"pipeline 'changing': table 'changing': no such table", ready.body)
        self.assertIn('no such table', server.get_json('/api/v1/pipelines/changing')['status']['error'])
        self.assertIsNone(server.get_json('/api/v1/pipelines/kept')['status']['error'])
        self.assertTrue(any("pipeline 'changing' stops" in line for line in server.log))
        server.post_ok('input', [event(2 * 3600 * 1000 + 1, 'b', 3)])
        self.reload(server, both)
        self.assertEqual(server.get('/ready').status, 200)
        self.post(server, [event(4 * 3600 * 1000, '~', 0)])
        for name in ('kept', 'changing'):
            server.wait_watermark(name, (T0 + 2 * 3600 * 1000 + 10000) * MS)
        after = ((T0 + 2 * 3600 * 1000) // 10000 * 10000 * MS, 'b')
        self.assertEqual(self.rows(server, 'kept'), {(T0 * MS, 'a'): (1, 1), after: (2, 5)})
        self.assertEqual(self.rows(server, 'changing'), {(T0 * MS, 'a'): (1, 1), after: (2, 5)})

    def post_many(self, server, times):
        """times x 20,000 events, 200 keys; several MB of the journal. Returns the last entry."""
        body = ''.join(json.dumps(event(i % 9000, f'k{i % 200}', i)) + '\n' for i in range(20000))
        for _ in range(times):
            answer = server.post('input', body)
            self.assertEqual(answer.status, 200)
        return json.loads(answer.body)['position']

    def test_pipeline_that_was_away_for_long_begins_behind_the_last_entry(self):
        """It may not begin in the middle of what the journal still has, with a part of it in its window."""
        both = KEPT + changing()
        server = self.start(both)
        self.post_many(server, 1)
        self.reload(server, KEPT)
        last = self.post_many(server, 20)
        self.wait_trimmed(server)
        said = self.reload(server, both)
        self.assertIn(f'starts afresh behind entry {last}', said)
        partial = server.get_json('/api/v1/pipelines/changing')['status']['partial']
        self.assertIn(f'starts afresh behind entry {last}', partial)
        self.assertEqual(server.metric('weir_pipeline_partial', pipeline='changing'), 1)
        self.assertEqual(server.metric('weir_pipeline_partial', pipeline='kept'), 0)
        self.post_many(server, 1)
        self.finish(server)
        per_key = {(T0 * MS, f'k{k}'): sum(range(k, 20000, 200)) for k in range(200)}
        self.assertEqual(self.rows(server, 'kept'), {k: (2200, 22 * v) for k, v in per_key.items()})
        self.assertEqual(self.rows(server, 'changing'), {k: (100, v) for k, v in per_key.items()})

    def test_groups_of_a_pipeline_that_cannot_go_on_are_forgotten(self):
        server = self.start(KEPT + changing())
        self.post_many(server, 1)
        known = 'SELECT pipeline FROM weir_checkpoints ORDER BY 1'
        states = 'SELECT count(*) FROM weir_states WHERE id >> 40 NOT IN (SELECT number FROM weir_checkpoints)'
        self.reload(server, KEPT)
        self.reload(server, KEPT)
        self.assertEqual(server.rows(known), [('changing',), ('kept',)])  # it could go on
        self.post_many(server, 20)
        self.wait_trimmed(server)
        self.reload(server, KEPT)
        self.assertEqual(server.rows(known), [('kept',)])
        self.assertEqual(server.rows(states), [(0,)])
        self.reload(server, KEPT + changing())
        self.assertIn('begins behind entry',
                      server.get_json('/api/v1/pipelines/changing')['status']['partial'])

    def wait_trimmed(self, server):
        folder = server.folder + '/weir.db.journal/input'
        # A checkpoint that took long is followed by nine times as long without one.
        harness.wait_until(lambda: not os.path.exists(folder + '/00000001.journal'), 'the journal to be trimmed',
                           limit_s=5 * harness.LIMIT_S)

    def test_pipeline_that_cannot_start_keeps_its_place(self):
        """Its groups do not fit the new max_groups. What comes until that is put right is not lost."""
        server = self.start(KEPT + changing())
        self.post_many(server, 1)
        harness.wait_until(lambda: server.metric('weir_pipeline_events_total', pipeline='changing') == 20000,
                           'the pipelines')
        self.reload(server, KEPT + changing(more=', max_groups: 100'))
        self.assertEqual(server.get('/ready').status, 503)
        self.post_many(server, 30)
        harness.wait_until(lambda: server.metric('weir_pipeline_dropped_total', pipeline='changing',
                                                 reason='pipeline_failed') == 600000, 'the events to be left out')
        said = self.reload(server, KEPT + changing())
        self.assertNotIn('afresh', said)
        self.assertEqual(server.get('/ready').status, 200)
        self.wait_trimmed(server)  # now that all have what it held
        self.finish(server)
        expected = {(T0 * MS, f'k{k}'): (3100, 31 * sum(range(k, 20000, 200))) for k in range(200)}
        self.assertEqual(self.rows(server, 'kept'), expected)
        self.assertEqual(self.rows(server, 'changing'), expected)

    def begin_an_end_with_a_reload(self):
        """Somebody holds the database, the reload waits for it. Returns what is to be done once the server has ended, which
        takes 20 s."""
        server = self.start(KEPT + changing())
        self.post(server, [event(0, 'a', 1)])
        other = sqlite3.connect(server.folder + '/weir.db', isolation_level=None)
        other.execute('BEGIN IMMEDIATE')
        self.post(server, [event(1, 'a', 2)])
        self.rewrite(server, KEPT + changing(workers=2))
        server.process.send_signal(signal.SIGHUP)
        harness.wait_until(lambda: server.metric('weir_store_retries_total') > 0, 'the store to wait')
        server.process.send_signal(signal.SIGTERM)

        def ended():
            self.assertNotEqual(server.process.wait(harness.LIMIT_S), -signal.SIGKILL)
            other.close()
            server.restart()
            self.finish(server)
            self.assertEqual(self.rows(server, 'kept'), {(T0 * MS, 'a'): (2, 3)})
            self.assertEqual(self.rows(server, 'changing'), {(T0 * MS, 'a'): (2, 3)})
        return ended

    @classmethod
    def setUpClass(cls):  # the others run meanwhile
        it = cls('begin_an_end_with_a_reload')
        cls.addClassCleanup(it.doCleanups)
        cls.ended = staticmethod(it.begin_an_end_with_a_reload())

    def test_the_end_does_not_wait_for_a_reload(self):
        self.ended()


if __name__ == '__main__':
    harness.main()
