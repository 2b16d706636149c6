# SPDX-License-Identifier: Apache-2.0
"""Statements that want all of the machine, clients that take no answer, processes that die: each costs its own
answer, and nothing else."""

import concurrent.futures
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
import unittest
import urllib.parse

import harness
from harness import wait_until

CONFIG = '''
server: {listen: {listen}, database: {folder}/weir.db, sql_timeout: TIMEOUT, sql_memory: 48MiB, sql_temp: 4MiB,
         sql_max_bytes: 8MiB, sql_processes: PROCESSES, query_threads: 2}
streams:
  input: {time: {field: ts, unit: s}, fields: {k: string}}
pipelines:
  p: {from: input, key: [k], window: {tumbling: 1s}, idle_timeout: 1h, analyzers: [count]}
'''

COUNT = 'WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT {}) '
# One call takes minutes: SQLite does not look up from it.
INSTR = "SELECT instr(replace(hex(zeroblob(3000000)), '0', 'a'), replace(hex(zeroblob(1500000)), '0', 'a') || 'b')"
LONG_TEXT = 'hex(zeroblob(4000000))'
HOSTILE = {  # name: statement, statuses that are right; 504 with little time, others with much
    'one call that does not end': (INSTR, {504}),
    'one call of replace': (f"SELECT length(replace({LONG_TEXT} || '1', substr({LONG_TEXT}, 1, 3000000) || '1', ''))",
                            {504}),
    'one call of trim': (f"SELECT length(trim({LONG_TEXT}, (SELECT group_concat(char(x + 1000), '') || '0' FROM "
                         f"({COUNT.format(100000)} SELECT x FROM c))))", {504}),
    'calls that are long, one after the other': (COUNT.format(100000) + 'SELECT max(randomblob(16000000)) FROM c', {504}),
    'steps without end': ('WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c',
                          {504}),
    'a row of a gigabyte and a half': ('SELECT ' + ', '.join(['zeroblob(16000000)'] * 100), {422}),
    'lists as values': (COUNT.format(1000) + 'SELECT x, json_group_array(hex(zeroblob(500000))) OVER '
                        '(ORDER BY x ROWS 12 PRECEDING) FROM c', {422, 200}),
    'an aggregate a row': (COUNT.format(300) + 'SELECT x % 100, group_concat(hex(zeroblob(500000))) FROM c GROUP BY 1',
                           {200, 422}),
    'a large sort': (COUNT.format(1000) + 'SELECT x, hex(randomblob(50000)) AS y FROM c ORDER BY y', {422}),
    'a large table in between': ('WITH t AS MATERIALIZED (' + COUNT.format(1000) + 'SELECT x, randomblob(50000) AS y '
                                 'FROM c) SELECT count(*) FROM t AS a JOIN t AS b ON a.y = b.y', {422}),
}


def processes_of(pid):
    """Children that run SQL."""
    found = []
    for name in os.listdir('/proc'):
        try:
            with open(f'/proc/{name}/status', encoding='ascii', errors='replace') as file:
                text = file.read()
        except OSError:
            continue
        if re.search(rf'^PPid:\t{pid}$', text, re.M) and not re.search(r'^State:\tZ', text, re.M):
            found.append(int(name))
    return found


class Hostile(unittest.TestCase):
    def start(self, timeout='20s', processes=2):
        server = harness.Server(CONFIG.replace('TIMEOUT', timeout).replace('PROCESSES', str(processes)))
        server.__enter__()
        self.addCleanup(server.__exit__, None, None, None)
        return server

    def sql(self, server, statement, **more):
        body = json.dumps({'sql': statement, **more})
        return server.request('POST', '/api/v1/sql', body.encode(), {'Content-Type': 'application/json'})

    def check_small(self, server):
        answer = self.sql(server, 'SELECT 1 AS one', format='ndjson')
        self.assertEqual((answer.status, json.loads(answer.body)), (200, {'one': 1}))

    def in_background(self, server, statement):
        """The answer will be in the list."""
        got = []

        def run():
            connection = http.client.HTTPConnection('127.0.0.1', server.port, timeout=harness.LIMIT_S)
            connection.request('POST', '/api/v1/sql', statement.encode(), {'Content-Type': 'text/plain'})
            reply = connection.getresponse()
            got.append((reply.status, reply.read()))
            connection.close()
        thread = threading.Thread(target=run)
        thread.start()
        self.addCleanup(thread.join)
        return thread, got

    def running(self, server, n=1):
        """The processes once so many statements run."""
        wait_until(lambda: server.metric('weir_http_queries') >= n, 'the statement')
        return wait_until(lambda: len(found := processes_of(server.process.pid)) >= n and found, 'its process')


class Statements(Hostile):
    def test_each_is_ended_in_time_and_the_server_takes_no_part_in_it(self):
        server = self.start(timeout='60s')
        self.check_small(server)
        before = harness.peak_memory_bytes(server.process.pid)
        for name, (statement, statuses) in HOSTILE.items():
            with self.subTest(name):
                began = time.monotonic()
                limit_ms = 300 if 504 in statuses else 60000
                answer = self.sql(server, statement, timeout_ms=limit_ms)
                self.assertIn(answer.status, statuses, answer.body[:300])
                self.assertLess(time.monotonic() - began, limit_ms / 1000 + harness.LIMIT_S / 3)
                self.assertLessEqual(len(answer.body), 8 << 20)
                self.check_small(server)
        if not harness.sanitized():
            self.assertLess(harness.peak_memory_bytes(server.process.pid) - before, 32 << 20)

    def test_lower_limit_of_the_question_holds_for_a_call_that_does_not_end(self):
        server = self.start(timeout='10m')
        began = time.monotonic()
        answer = self.sql(server, INSTR, timeout_ms=50)
        self.assertEqual((answer.status, json.loads(answer.body)['code']), (504, 'timeout'))
        self.assertLess(time.monotonic() - began, harness.LIMIT_S)  # not those 10 minutes

    def test_row_over_the_limit_of_bytes_is_left_out_whole(self):
        server = self.start(timeout='20s')
        answer = self.sql(server, COUNT.format(3) + "SELECT x, CASE x WHEN 2 THEN hex(zeroblob(4500000)) END AS y FROM c")
        self.assertEqual(answer.status, 200, answer.body[:300])
        self.assertEqual(json.loads(answer.body), {'columns': ['x', 'y'], 'rows': [[1, None]], 'truncated': True,
                                                   'reason': 'bytes'})
        self.assertEqual(answer.headers['Weir-Truncated'], 'bytes')

    def test_zero_characters_stay_where_they_are(self):
        server = self.start()
        answer = self.sql(server, "SELECT :a AS a, length(CAST(:a AS BLOB)) AS n, :a = 'x' AS same", format='ndjson',
                          params={'a': 'x\0y'})
        self.assertEqual(json.loads(answer.body), {'a': 'x\0y', 'n': 3, 'same': 0})
        server.post_ok('input', [{'ts': 1, 'k': 'a'}, {'ts': 1, 'k': 'a\0b'}, {'ts': 100, 'k': 'end'}])
        wait_until(lambda: server.rows('SELECT 1 FROM p'), 'the results')
        answer = self.sql(server, 'SELECT count(*) AS n FROM p WHERE k = ?', format='ndjson', params=['a\0b'])
        self.assertEqual(json.loads(answer.body), {'n': 1})
        for body, content_type in ((json.dumps({'sql': 'SELECT 1\0'}), 'application/json'),
                                   (json.dumps({'sql': 'SELECT 1', 'format': 'csv\0'}), 'application/json'),
                                   (json.dumps({'sql': 'SELECT :a', 'params': {'a\0': 1}}), 'application/json'),
                                   (json.dumps({'sql\0': 'SELECT 1'}), 'application/json'),
                                   ('SELECT 1\0', 'text/plain')):
            answer = server.request('POST', '/api/v1/sql', body.encode(), {'Content-Type': content_type})
            self.assertEqual(answer.status, 400, (body, answer.body))

    def test_head_runs_no_more_than_it_needs(self):
        server = self.start(timeout='10m')
        for limit in (1, 10**9):
            query = urllib.parse.urlencode({'q': COUNT.format(limit) + 'SELECT x FROM c', 'format': 'csv'})
            began = time.monotonic()
            answer = server.request('HEAD', '/api/v1/sql?' + query)
            self.assertEqual((answer.status, answer.body), (200, b''))
            self.assertEqual(answer.headers['Content-Type'], 'text/csv; charset=utf-8')
            self.assertLess(time.monotonic() - began, harness.LIMIT_S)  # not those 10 minutes


class Processes(Hostile):
    def test_limits_are_the_kernels(self):
        server = self.start()
        self.check_small(server)
        pid, = processes_of(server.process.pid)
        with open(f'/proc/{pid}/limits', encoding='ascii') as file:
            limits = {name.strip(): soft for name, soft in re.findall(r'^(Max [a-z ]+?)  +(\S+)', file.read(), re.M)}
        with open(f'/proc/{pid}/status', encoding='ascii') as file:
            status = dict(re.findall(r'^(\w+):\t(.*)$', file.read(), re.M))
        self.assertEqual(limits['Max core file size'], '0')
        self.assertEqual(int(limits['Max file size']), (4 << 20) // 4)
        self.assertLessEqual(int(limits['Max open files']), 12)
        self.assertLessEqual(int(limits['Max cpu time']), 20 + 5)
        if not harness.sanitized():
            self.assertLessEqual(int(limits['Max address space']), (48 + 64) << 20)
        self.assertEqual(status['NoNewPrivs'], '1')
        open_files = [os.readlink(f'/proc/{pid}/fd/{fd}') for fd in os.listdir(f'/proc/{pid}/fd')]
        self.assertEqual([path for path in open_files if path.startswith(server.folder) and
                          not path.startswith(server.database)], [])

    def test_one_process_answers_many_statements(self):
        server = self.start()
        for _ in range(20):
            self.check_small(server)
        self.assertEqual(server.metric('weir_sql_process_starts_total'), 1)
        self.assertEqual(server.metric('weir_sql_processes'), 1)

    def test_process_that_is_killed_costs_its_own_statement(self):
        server = self.start(timeout='60s')
        thread, got = self.in_background(server, INSTR)
        pid, = self.running(server)
        os.kill(pid, signal.SIGKILL)
        thread.join(harness.LIMIT_S)
        status, body = got[0]
        self.assertEqual((status, json.loads(body)['code']), (500, 'sql_process_died'))
        self.check_small(server)
        server.wait_metric('weir_sql_process_ends_total', 1, reason='died')

    def test_idle_process_that_is_killed_costs_nothing(self):
        server = self.start()
        self.check_small(server)
        pid, = processes_of(server.process.pid)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not processes_of(server.process.pid), 'its end')
        self.check_small(server)

    def test_process_that_is_stopped_costs_its_own_statement(self):
        server = self.start()
        self.check_small(server)
        pid, = processes_of(server.process.pid)
        os.kill(pid, signal.SIGSTOP)
        answer = self.sql(server, 'SELECT 1', timeout_ms=200)
        self.assertEqual((answer.status, json.loads(answer.body)['code']), (504, 'timeout'))
        wait_until(lambda: pid not in processes_of(server.process.pid), 'its end')
        self.check_small(server)
        server.wait_metric('weir_sql_process_ends_total', 1, reason='timeout')

    def test_client_that_leaves_ends_its_statement(self):
        server = self.start(timeout='60s', processes=1)
        s = socket.create_connection(('127.0.0.1', server.port))
        s.sendall(b'POST /api/v1/sql HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/plain\r\nContent-Length: %d'
                  b'\r\n\r\n%s' % (len(INSTR), INSTR.encode()))
        self.running(server)
        s.close()
        self.check_small(server)
        server.wait_metric('weir_sql_process_ends_total', 1, reason='cancelled')

    def test_processes_end_with_the_server(self):
        server = self.start(timeout='60s')
        self.in_background_quietly(server)
        pids = self.running(server)
        server.kill()
        wait_until(lambda: not any(os.path.exists(f'/proc/{pid}') for pid in pids), 'their end')
        server.start()

    def in_background_quietly(self, server):
        s = socket.create_connection(('127.0.0.1', server.port))
        self.addCleanup(s.close)
        s.sendall(b'POST /api/v1/sql HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/plain\r\nContent-Length: %d'
                  b'\r\n\r\n%s' % (len(INSTR), INSTR.encode()))

    def test_server_stops_in_time_while_statements_run(self):
        server = self.start(timeout='700ms')
        for _ in range(4):
            self.in_background_quietly(server)
        pids = self.running(server, 2)
        began = time.monotonic()
        server.stop()
        self.assertLess(time.monotonic() - began, harness.LIMIT_S / 5)
        wait_until(lambda: not any(os.path.exists(f'/proc/{pid}') for pid in pids), 'their end')

    def test_more_statements_than_may_wait_are_refused(self):
        server = self.start(timeout='60s', processes=1)
        for _ in range(20):
            self.in_background_quietly(server)
        wait_until(lambda: server.metric('weir_http_queries') == 16, 'a full queue')
        answer = self.sql(server, 'SELECT 1')
        self.assertEqual((answer.status, json.loads(answer.body)['code']), (503, 'too_many_queries'))
        self.assertGreaterEqual(int(answer.headers['Retry-After']), 1)
        # Statements that wait hold no other query up.
        self.assertEqual(server.get('/api/v1/pipelines/p/results').status, 200)

    def test_interrupt_ends_weir_sql(self):
        server = self.start()
        # Whoever runs the tests in the background has it ignored, and that is inherited.
        process = subprocess.Popen([harness.WEIR, 'sql', '-d', server.database, INSTR], stdout=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE, env=harness.environment(),
                                   preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
        self.addCleanup(process.stderr.close)
        wait_until(lambda: harness.cpu_seconds(process.pid) > 0.2, 'its work')
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(harness.LIMIT_S), -signal.SIGINT)


class SlowClients(Hostile):
    SIZE = 6 << 20

    def ask(self, server, path):
        """Asks, and takes only a little of the answer."""
        return wait_until(lambda: self.ask_once(server, path), 'room for the query')

    def ask_once(self, server, path):
        """None: those before it took so long that it waited in vain."""
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.settimeout(harness.LIMIT_S)
        s.connect(('127.0.0.1', server.port))
        self.addCleanup(s.close)
        s.sendall(f'GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n'.encode())
        head = s.recv(12)
        if head == b'HTTP/1.1 503':
            return None
        self.assertEqual(head, b'HTTP/1.1 200')
        return s

    def test_answers_to_sql_that_nobody_takes_hold_no_process(self):
        server = self.start(timeout='10m')
        rows = self.SIZE // 1000
        query = urllib.parse.urlencode({'q': COUNT.format(rows) + "SELECT printf('%0998d', x) FROM c", 'format': 'csv'})
        slow = [self.ask(server, '/api/v1/sql?' + query) for _ in range(6)]
        wait_until(lambda: server.metric('weir_http_queries') == 0, 'the end of all statements')
        self.check_small(server)
        self.assertGreater(server.metric('weir_http_spooled_bytes'), 6 * (self.SIZE - (1 << 20) - 4 * (1 << 20)))
        expected = b''.join(b'%0998d\r\n' % x for x in range(1, rows + 1))
        for body in self.all_of(slow):
            self.assertTrue(body.endswith(expected), len(body))
        wait_until(lambda: server.metric('weir_http_spooled_bytes') == 0, 'the end of the files')

    def all_of(self, slow):
        """The rest of each, taken at once: who waited for the others for a minute would be taken for gone."""
        with concurrent.futures.ThreadPoolExecutor(len(slow)) as threads:
            return list(threads.map(self.rest, slow))

    @staticmethod
    def rest(s):
        """The body of the answer, chunks joined; the client is slow no longer."""
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        data = b''.join(iter(lambda: s.recv(1 << 20), b''))
        head, _, rest = data.partition(b'\r\n\r\n')
        if b'chunked' not in head:
            return rest
        body = []
        while rest:
            size, _, rest = rest.partition(b'\r\n')
            body.append(rest[:int(size, 16)])
            rest = rest[int(size, 16) + 2:]
        return b''.join(body)

    def test_results_that_nobody_takes_hold_no_thread(self):
        server = self.start(timeout='20s')
        key = 'k' * 500
        n = self.SIZE // 600
        server.post_ok('input', [{'ts': i, 'k': f'{key}{i}'} for i in range(n)])
        server.post_ok('input', [{'ts': n + 100, 'k': 'end'}])
        server.wait_watermark('p', n * harness.SECOND_US)
        path = '/api/v1/pipelines/p/results?limit=all&format=csv'
        whole = server.get(path).body
        self.assertEqual(len(whole.splitlines()), n + 1)
        slow = [self.ask(server, path) for _ in range(6)]
        wait_until(lambda: server.metric('weir_http_queries') == 0, 'all threads')
        self.assertEqual(server.get('/api/v1/pipelines/p/results?limit=1').status, 200)
        for body in self.all_of(slow):
            self.assertEqual((len(body), body[-100:]), (len(whole), whole[-100:]))
            self.assertTrue(body == whole)


if __name__ == '__main__':
    harness.main()
