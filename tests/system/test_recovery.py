# SPDX-License-Identifier: Apache-2.0
"""Stopped, killed, changed: what a server finds when it starts again, and what it makes of it."""

import glob
import hashlib
import http.client
import json
import os
import random
import signal
import threading
import time
import unittest

import harness

MS = 1000
T0 = 1700000000000
STREAM = '{time: {field: ts, unit: ms}, fields: {k: string, v: int}}'
PIPELINE = '''  {name}: {{from: {stream}, key: [k], window: {{tumbling: 10s}}, idle_timeout: 1h,
    analyzers: [count, {{stats: {{of: v, emit: [sum]}}}}]}}
'''


def config(pipelines, server='', streams=None):
    """`pipelines`: name to stream, or to the pipeline's YAML."""
    text = f'server: {{listen: {{listen}}, database: {{folder}}/weir.db, {server}}}\nstreams:\n'
    for name, body in (streams or {'input': STREAM}).items():
        text += f'  {name}: {body}\n'
    text += 'pipelines:\n'
    for name, body in pipelines.items():
        text += body if ':' in body else PIPELINE.format(name=name, stream=body)
    return text


def event(ms, v=1, k='a'):
    return {'ts': T0 + ms, 'k': k, 'v': v}


def turn_a_bit(path, offset):
    with open(path, 'r+b') as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


def stop(server):
    server.stop()
    server.kill()  # closes what it held


def files(folder):
    """{name: digest} of the journal's files in a folder."""
    found = {}
    for path in glob.glob(os.path.join(folder, '**', '*.journal'), recursive=True):
        with open(path, 'rb') as file:
            found[path] = hashlib.sha256(file.read()).hexdigest()
    return found


def counts(server, pipeline):
    return server.rows(f'SELECT (window_start / 1000 - {T0}) / 1000, k, count, v_sum FROM {pipeline}'
                       ' ORDER BY 1, 2')


def dump(server, tables):
    """All rows of result tables, as the sqlite3 shell prints them."""
    path = os.path.basename(server.database)
    script = f'.open file:{path}?mode=ro\n.mode quote\n'
    script += ''.join(f'SELECT \'{t}\', * FROM {t};\n' for t in tables)
    return harness.sqlite3_shell(script, server.folder)


# ---- Killed -------------------------------------------------------------------------------------

KILLED = """
server: {listen: {listen}, database: {folder}/weir.db, commit_interval: 5ms, checkpoint_interval: 20ms,
         segment_size: 1MiB}
streams:
  ordered: {time: {field: ts, unit: ms}, fields: {k: string, v: float, s: string}}
  mixed: {time: {field: ts, unit: ms}, fields: {k: string, v: float, s: string}}
pipelines:
  side: {from: ordered, key: [k], window: {tumbling: 1s}, out_of_orderness: 300ms, idle_timeout: 1h,
         late: side, analyzers: [count, {stats: {of: v}}, {topk: {of: s, k: 2, capacity: 3}}], workers: 2}
  revise: {from: ordered, key: [k], window: {tumbling: 1s}, out_of_orderness: 300ms, idle_timeout: 1h,
           late: revise, allowed_lateness: 3s, workers: 3,
           analyzers: [count, {stats: {of: v}}, {ohlc: {of: v}}, {topk: {of: s, k: 2, capacity: 3}}]}
  many: {from: mixed, key: [k], window: {tumbling: 1s}, out_of_orderness: 1h, idle_timeout: 1h, workers: 2,
         analyzers: [count, {stats: {of: v}}, {vwap: {price: v, volume: v}}, {topk: {of: s, k: 3}},
                     {quantiles: {of: v, q: [0, 0.5, 0.9]}}, {distinct: {of: s}}, {distinct: {of: [s, v], precision: 8}},
                     {first: {of: s}}, {last: {of: s}}, {sum: {of: v}, as: total}, {histogram: {of: v, bounds: [10, 100, 1000]}}]}
"""
KILLED_TABLES = ['side', 'side_topk', 'side_late', 'revise', 'revise_topk', 'many', 'many_topk', 'many_histogram']


def disorderly(seed, n, keys):
    """Requests of some 20 events; one event in ten is up to six seconds behind."""
    dice = random.Random(seed)
    requests = []
    for i in range(n):
        events = []
        for k in range(dice.randrange(1, 40)):
            behind = dice.randrange(6000) if dice.random() < 0.1 else dice.randrange(200)
            events.append({'ts': T0 + 200 * i + k * 5 - behind, 'k': dice.choice(keys),
                           'v': dice.randrange(10000) / 7, 's': f'value{dice.randrange(6)}'})
        requests.append(events)
    return requests


class Sender(threading.Thread):
    """Posts its requests one after the other, each with a key, again and again until it is taken."""

    def __init__(self, server, stream, source, requests, paused):
        super().__init__()
        self.server, self.stream, self.source, self.requests = server, stream, source, requests
        self.paused = paused  # held while there is no server
        self.sent = 0
        self.repeated = 0
        self.failure = None

    def post(self, body, key):
        with self.paused:
            port = self.server.port
        connection = http.client.HTTPConnection('127.0.0.1', port, timeout=harness.LIMIT_S)
        try:
            connection.request('POST', f'/api/v1/streams/{self.stream}/events', body,
                               {'Content-Type': 'application/x-ndjson', 'Idempotency-Key': key,
                                'Weir-Source': self.source})
            answer = connection.getresponse()
            answer.read()
            self.repeated += answer.headers.get('Idempotency-Replayed') == 'true'
            return answer.status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()

    def run(self):
        try:
            for i, events in enumerate(self.requests):
                body = ''.join(json.dumps(e) + '\n' for e in events)
                harness.wait_until(lambda b=body, n=i: self.post(b, f'{self.source}-{n}') == 200,
                                   f'request {i} of {self.source}')
                self.sent += 1
        except AssertionError as failure:
            self.failure = failure


class Killed(unittest.TestCase):
    """kill -9 at any moment, and the tables are those of a server that nobody has disturbed."""

    def send(self, seed, kills):
        server = harness.Server(KILLED)
        self.addCleanup(server.remove_folder)
        self.addCleanup(server.kill)
        server.start()
        paused = threading.Lock()
        senders = [Sender(server, 'ordered', 'one', disorderly(seed, 250, 'abcde'), paused)]
        for i in range(3):
            keys = [f'{name}{i}' for name in 'abc']  # of one sender, so that their order is fixed
            senders.append(Sender(server, 'mixed', f'sender{i}', disorderly(seed + i, 150, keys), paused))
        for sender in senders:
            sender.start()
        total = sum(len(s.requests) for s in senders)
        dice = random.Random(seed)
        for k in range(kills):
            until = total * (k + dice.random()) / kills
            harness.wait_until(lambda u=until: sum(s.sent for s in senders) >= u or
                               any(s.failure for s in senders), f'the moment of kill {k}', every_s=0.0005)
            with paused:
                server.kill()
                while dice.random() < 0.4:  # and again, on its way up
                    server.start_process()
                    time.sleep(dice.random() * 0.05)
                    server.kill()
                server.start()
        for sender in senders:
            sender.join()
            if sender.failure:
                raise sender.failure
        end = T0 + 3600000 + 200 * 250 + 10000
        server.post_ok('ordered', [{'ts': end, 'k': '~', 'v': 0, 's': ''}], Weir_Source='one')
        for i in range(3):
            server.post_ok('mixed', [{'ts': end, 'k': '~', 'v': 0, 's': ''}], Weir_Source=f'sender{i}')
        server.wait_watermark('many', (end - 3600000) * MS)
        server.wait_watermark('side', (end - 300) * MS)
        server.wait_watermark('revise', (end - 300) * MS)
        stop(server)
        return dump(server, KILLED_TABLES)

    def check(self, seed):
        expected = self.send(seed, 0)
        self.assertGreater(expected.count('\n'), 2000)
        self.assertGreater(expected.count("'side_late'"), 50)
        self.assertEqual(self.send(seed, 8), expected)

    def test_seed_1(self):
        self.check(1)

    def test_seed_2(self):
        self.check(2)

    def test_seed_3(self):
        self.check(3)


# ---- Stopped, changed, started again --------------------------------------------------------------

HOLDING = r"""
#include "weir/plugin.h"
#include <unistd.h>
struct state { int64_t n; };
static int update(struct weir_ctx *ctx, const struct weir_rows *r)
{
    (void)ctx, (void)r;
    while (access("hold", F_OK) == 0)
        usleep(1000);
    return 0;
}
static int emit_one(struct weir_ctx *ctx, const struct state *s, const struct weir_window *w, struct weir_out *out)
{
    return weir_put_int(ctx, out, 0, s->n);
}
WEIR_EMIT(emit, struct state, emit_one)
static const struct weir_output outputs[] = {{"n", WEIR_INT, "nothing", 0}, {.name = 0}};
static const struct weir_analyzer holding = {.name = "holding", .version = "1", .help = "waits at times",
    .outputs = outputs, .state_size = sizeof(struct state), .update = update, .emit = emit};
WEIR_PLUGIN(holding);
"""


class Stopped(unittest.TestCase):
    def server(self, *arguments, **more):
        server = harness.Server(config(*arguments, **more))
        self.addCleanup(server.remove_folder)
        self.addCleanup(server.kill)
        server.start()
        return server

    def change(self, server, *arguments, **more):
        """Another configuration from the next start on."""
        text = config(*arguments, **more)
        with open(server.path, 'w', encoding='utf-8') as file:
            file.write(text.replace('{folder}', server.folder).replace('{listen}', '127.0.0.1:0'))

    @staticmethod
    def wait_log(server, text):
        harness.wait_until(lambda: text in ''.join(server.log), f'in the log: {text}')

    def end_of(self, server, pipeline, stream='input', **more):
        server.post_ok(stream, [{**event(70000), **more}])
        server.wait_watermark(pipeline, (T0 + 70000) * MS)

    def test_open_windows_go_on(self):
        for how in (stop, harness.Server.kill):
            with self.subTest(how.__name__):
                server = self.server({'p': 'input'})
                server.post_ok('input', [event(1000, 5), event(2000, 6, 'b')])
                how(server)
                self.assertEqual(counts(server, 'p'), [])
                server.start()
                server.post_ok('input', [event(3000, 7)])
                self.end_of(server, 'p')
                self.assertEqual(counts(server, 'p'), [(0, 'a', 2, 12), (0, 'b', 1, 6)])
                stop(server)

    def test_status_is_there_before_the_first_event(self):
        def look():
            status = server.get_json('/api/v1/pipelines/p')['status']
            sources = server.get_json('/api/v1/pipelines/p/watermarks')['sources']
            return (status['groups'], status['max_event'], status['position'], sorted(s['name'] for s in sources),
                    server.metric('weir_pipeline_groups', pipeline='p'))
        server = self.server({'p': PIPELINE.format(name='p', stream='input').replace('key:', 'workers: 2, key:')})
        server.post_ok('input', [event(1000, 1, f'key{k}') for k in range(50)], Weir_Source='one')
        server.post_ok('input', [event(2000)], Weir_Source='two')
        expected = (51, '2023-11-14T22:13:22Z', 2, ['one', 'two'], 51)
        harness.wait_until(lambda: look() == expected, f'{expected}')
        for how in (stop, harness.Server.kill):
            with self.subTest(how.__name__):
                how(server)
                server.start()
                harness.wait_until(lambda: look() == expected, f'{expected}')
        stop(server)

    def test_another_definition_begins_afresh(self):
        server = self.server({'p': 'input', 'q': 'input'})
        server.post_ok('input', [event(1000, 5)])
        stop(server)
        changed = PIPELINE.format(name='p', stream='input').replace('count,', "count, {ohlc: {of: v}},")
        self.change(server, {'p': changed, 'q': 'input'})
        server.start()
        self.wait_log(server, "pipeline 'p' has another definition than before: it starts afresh behind entry 1; "
                              '1 groups of windows that were open are given up')
        self.assertNotIn("'q'", ''.join(server.log))
        server.post_ok('input', [event(2000, 6)])
        self.end_of(server, 'p')
        self.end_of(server, 'q')
        self.assertEqual(counts(server, 'p'), [(0, 'a', 1, 6)])
        self.assertEqual(counts(server, 'q'), [(0, 'a', 2, 11)])
        stop(server)

    def test_another_number_of_workers_changes_nothing(self):
        server = self.server({'p': 'input'})
        for workers in (4, 1, 3):
            server.post_ok('input', [event(k, 1, f'key{k}') for k in range(50)])
            stop(server)
            self.change(server, {'p': PIPELINE.format(name='p', stream='input').replace(
                'key:', f'workers: {workers}, key:')})
            server.start()
            self.assertNotIn('another definition', ''.join(server.log))
        self.end_of(server, 'p')
        self.assertEqual(server.rows('SELECT count(*), min(count), max(v_sum) FROM p'), [(50, 3, 3)])
        stop(server)

    def test_another_schema(self):
        """Rows of the journal that were written with another schema; killed, so that they are read."""
        server = self.server({'p': 'input'}, 'checkpoint_interval: 1h')
        server.post_ok('input', [event(1000, 5)])
        server.kill()
        added = STREAM.replace('k: string', 'new: float, k: string, more: string')
        pipeline = """  new: {from: input, key: [k], window: {tumbling: 10s}, idle_timeout: 1h,
    analyzers: [count, {stats: {of: new, emit: [count, sum]}}]}
"""
        self.change(server, {'p': 'input', 'new': pipeline}, 'checkpoint_interval: 1h', {'input': added})
        server.start()
        server.post_ok('input', [{**event(2000, 6), 'new': 1.5}])
        server.kill()
        removed = added.replace('v: int', 'w: int').replace('k: string, more: string', 'k: string')
        last = """  p: {from: input, key: [k], window: {tumbling: 10s}, idle_timeout: 1h, analyzers: [count]}
"""
        self.change(server, {'p': last, 'new': pipeline}, 'checkpoint_interval: 1h', {'input': removed})
        server.start()
        server.post_ok('input', [{'ts': T0 + 3000, 'k': 'a', 'w': 1, 'new': 2.5}])
        self.end_of(server, 'new')
        self.end_of(server, 'p')
        # `new` began at the end of the log: it has the second and the third event.
        self.assertEqual(server.rows('SELECT count, new_count, new_sum FROM new'), [(2, 2, 4.0)])
        # `p` is another one now, which begins at the checkpoint that it had: at the very beginning.
        self.assertEqual(server.rows('SELECT count FROM p'), [(3,)])
        stop(server)

    @staticmethod
    def partial(server, pipeline):
        """What is said of its beginning."""
        return (server.get_json(f'/api/v1/pipelines/{pipeline}')['status']['partial'],
                server.metric('weir_pipeline_partial', pipeline=pipeline))

    def test_pipelines_added_later_begin_at_the_end(self):
        server = self.server({'p': 'input'})
        self.assertEqual(self.partial(server, 'p'), (None, 0))
        server.post_ok('input', [event(1000, 5)])
        stop(server)
        self.change(server, {'p': 'input', 'q': 'input'})
        server.start()
        self.assertEqual(self.partial(server, 'p'), (None, 0))
        self.assertEqual(self.partial(server, 'q'), ('begins behind entry 1 of a stream that is older', 1))
        self.wait_log(server, "pipeline 'q' begins behind entry 1")
        server.post_ok('input', [event(2000, 6)])
        server.kill()
        self.change(server, {'q': 'input'})  # one goes
        server.start()
        server.post_ok('input', [event(3000, 7)])
        stop(server)
        self.change(server, {'p': 'input', 'q': 'input'})  # and is back: the journal has what it missed
        server.start()
        self.assertEqual([self.partial(server, name) for name in 'pq'], [(None, 0), (None, 0)])
        self.end_of(server, 'p')
        self.end_of(server, 'q')
        self.assertEqual(counts(server, 'p'), [(0, 'a', 3, 18)])
        self.assertEqual(counts(server, 'q'), [(0, 'a', 2, 13)])
        stop(server)

    def test_a_pipeline_that_reads_another_stream(self):
        streams = {'input': STREAM, 'other': STREAM}
        server = self.server({'p': 'input', 'q': 'other'}, streams=streams)
        for i in range(5):
            server.post_ok('input', [event(1000)])
        server.post_ok('other', [event(1000, 3)])
        stop(server)
        self.change(server, {'p': 'other', 'q': 'other'}, streams=streams)
        server.start()
        server.post_ok('other', [event(2000, 4)])
        self.end_of(server, 'p', 'other')
        self.end_of(server, 'q', 'other')
        self.assertEqual(counts(server, 'p'), [(0, 'a', 1, 4)])
        self.assertEqual(counts(server, 'q'), [(0, 'a', 2, 7)])
        stop(server)

    def test_repeated_requests(self):
        server = self.server({'p': 'input'}, 'checkpoint_interval: 10ms, segment_size: 1MiB')
        bodies = {name: server.post('input', [event(1000, n)], Idempotency_Key=name)
                  for n, name in enumerate(('one', 'two'), 1)}

        def repeat():
            for n, (name, first) in enumerate(bodies.items(), 1):
                answer = server.post('input', [event(1000, n)], Idempotency_Key=name)
                self.assertEqual((answer.status, answer.body), (200, first.body))
                self.assertEqual(answer.headers['Idempotency-Replayed'], 'true')

        server.kill()
        server.start()
        repeat()
        stop(server)
        server.start()
        repeat()
        # Until the segment with them is gone.
        journal = os.path.join(server.folder, 'weir.db.journal', 'input')
        first = sorted(glob.glob(os.path.join(journal, '*.journal')))[0]

        def trimmed():
            server.post_ok('input', [event(k % 9000, 1, f'key{k}') for k in range(10000)])
            return not os.path.exists(first)
        harness.wait_until(trimmed, f'{first} to be trimmed')
        repeat()
        for how in (harness.Server.kill, stop):
            how(server)
            server.start()
            repeat()
        self.end_of(server, 'p')
        self.assertEqual([row for row in counts(server, 'p') if row[1] == 'a'], [(0, 'a', 2, 3)])
        stop(server)

    def test_ack_memory(self):
        streams = {'input': STREAM.replace('}}', '}, ack: memory}')}
        server = self.server({'p': 'input'}, streams=streams)
        for i in range(100):
            said = server.post_ok('input', [event(i, 1)])
            self.assertEqual((said['durable'], said['position']), (False, None))
        stop(server)  # nothing that was taken is lost when it is told to stop
        server.start()
        for i in range(100):
            server.post_ok('input', [event(i, 1)])
        server.wait_metric('weir_log_events_total', 100)  # written by now
        server.kill()
        server.start()
        self.end_of(server, 'p')
        self.assertEqual(counts(server, 'p'), [(0, 'a', 200, 200)])
        stop(server)

    def test_not_ready_while_the_journal_is_read(self):
        folder = harness.folder_for_test(self)
        harness.compile_plugin(folder, 'holding', HOLDING)
        pipelines = {'p': 'input', 'held': """  held: {from: input, key: [k], window: {tumbling: 10s}, idle_timeout: 1h,
    analyzers: [holding]}
"""}
        server = self.server(pipelines, f'checkpoint_interval: 1h, plugin_path: {folder}')
        server.post_ok('input', [event(1000)])
        self.end_of(server, 'p')
        for _ in range(40):  # more entries than the queues to the pipeline take
            server.post_ok('input', [event(80000)] * 5000)
        server.kill()
        hold = os.path.join(server.folder, 'hold')
        with open(hold, 'wb'):
            server.start_process()
            server.port = int(harness.wait_until(server._find_port, 'the port in the log')[1])
        for _ in range(3):
            answer = server.get('/ready')
            self.assertEqual(answer.status, 503)
            self.assertIn(b'the journal is still being read', answer.body)
            answer = server.post('input', [event(80000)])
            self.assertEqual(answer.status, 503)
            self.assertIn('Retry-After', answer.headers)
            answer = server.get('/api/v1/pipelines/p/results/p')
            self.assertEqual((answer.status, json.loads(answer.body)[0]['count']), (200, 1))
        os.unlink(hold)
        server.wait_ready()
        self.wait_log(server, '200002 events of entries 1 to 42 read from the journal')
        self.assertEqual(server.metric('weir_log_replayed_events_total'), 200002)
        self.assertEqual(server.post('input', [event(80000)]).status, 200)
        stop(server)

    def test_told_to_stop_while_the_journal_is_read(self):
        server = self.server({'p': 'input'}, 'checkpoint_interval: 1h')
        for i in range(20):
            server.post_ok('input', [event(k, 1, f'key{k % 100}') for k in range(5000)])
        server.kill()
        for delay_s in (0, 0.01, 0.05, 0.1):
            server.start_process()
            harness.wait_until(server._find_port, 'the port in the log')
            time.sleep(delay_s)
            server.process.send_signal(signal.SIGTERM)
            self.assertEqual(server.process.wait(harness.LIMIT_S), 0)
            server.kill()
        server.start()
        self.end_of(server, 'p')
        self.assertEqual(server.rows('SELECT count(*), min(count), max(count) FROM p'), [(100, 1000, 1000)])
        stop(server)


class RunAfterServe(unittest.TestCase):
    """weir run on the database of a server."""

    def run_files(self, server, stream, lines, expected=0):
        done = harness.weir('run', '-c', server.path, '--stream', stream, stdin=lines, cwd=server.folder)
        self.assertEqual(done.returncode, expected, done.stderr)
        return done

    def test_other_streams_are_left_as_they_are(self):
        streams = {'input': STREAM, 'other': STREAM}
        with harness.Server(config({'p': 'input', 'q': 'other'}, streams=streams)) as server:
            server.post_ok('other', [event(1000)], Weir_Source='left')
            stop(server)
            self.run_files(server, 'input', f'{{"ts":{T0},"k":"a","v":1}}\n')
            self.assertEqual(counts(server, 'p'), [(0, 'a', 1, 1)])
            self.assertEqual(counts(server, 'q'), [])
            server.start()
            server.post_ok('other', [event(2000), event(70000)], Weir_Source='left')
            server.wait_watermark('q', (T0 + 70000) * MS)
            self.assertEqual(counts(server, 'q'), [(0, 'a', 2, 2)])

    def test_run_and_serve_take_turns(self):
        with harness.Server(config({'p': 'input'})) as server:
            server.post_ok('input', [event(1000, 1)], Weir_Source='left', Idempotency_Key='k')
            server.kill()
            # What the server had taken comes first; then all windows close.
            done = self.run_files(server, 'input', f'{{"ts":{T0 + 2000},"k":"a","v":2}}\n')
            self.assertIn('1 events of entries 1 to 1 read from the journal', done.stderr)
            self.assertEqual(counts(server, 'p'), [(0, 'a', 2, 3)])
            server.start()
            answer = server.post('input', [event(1000, 1)], Weir_Source='left', Idempotency_Key='k')
            self.assertEqual(answer.headers['Idempotency-Replayed'], 'true')
            # Positions go on behind those of the file.
            self.assertEqual(server.post_ok('input', [event(12000, 4)], Weir_Source='left')['position'], 3)
            self.assertEqual(server.post_ok('input', [event(13000, 5)], Weir_Source='right')['position'], 4)
            server.kill()
            server.start()
            for source in ('left', 'right'):
                server.post_ok('input', [event(70000)], Weir_Source=source)
            server.wait_watermark('p', (T0 + 70000) * MS)
            self.assertEqual(counts(server, 'p'), [(0, 'a', 2, 3), (10, 'a', 2, 9)])
            stop(server)
            self.run_files(server, 'input', f'{{"ts":{T0 + 81000},"k":"a","v":2}}\n')
            self.run_files(server, 'input', f'{{"ts":{T0 + 91000},"k":"a","v":3}}\n')
            self.assertEqual(counts(server, 'p')[-3:], [(70, 'a', 2, 2), (80, 'a', 1, 2), (90, 'a', 1, 3)])
            server.start()

    def test_a_journal_that_cannot_be_read_is_kept(self):
        text = config({'p': 'input'}, 'segment_size: 1MiB, checkpoint_interval: 1h')
        with harness.Server(text) as server:
            for i in range(40):
                server.post_ok('input', [event(i, 1, f'key{k}') for k in range(4000)])
            server.kill()
            journal = os.path.join(server.folder, 'weir.db.journal')
            first = sorted(glob.glob(os.path.join(journal, 'input', '*.journal')))[0]
            turn_a_bit(first, 200000)
            before = files(journal)
            for lines in ('', f'{{"ts":{T0},"k":"a","v":1}}\n'):
                done = self.run_files(server, 'input', lines, 74)
                self.assertIn('damaged; positions', done.stderr)
                self.assertEqual(files(journal), before)
            turn_a_bit(first, 200000)
            server.start()
            server.post_ok('input', [event(70000)])
            server.wait_watermark('p', (T0 + 70000) * MS)
            self.assertEqual(server.rows('SELECT sum(count), min(count), max(count) FROM p'),
                             [(160000, 40, 40)])


if __name__ == '__main__':
    harness.main()
