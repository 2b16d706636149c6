#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Who is silent, and who is not: bodies that take their time, a server that did not run, connections that
drift apart, a clock that is set back. With WEIR_LONG=1 (./dev hard) at the length at which it was found."""

import http.client
import json
import os
import signal
import struct
import threading
import time
import unittest

import harness
from harness import wait_until

LONG = os.environ.get('WEIR_LONG') == '1'
IDLE_S = 4 if LONG else max(1, round(harness.LIMIT_S / 90))  # slow clients are not silent for so long
T0_MS = 1700000000000
CONFIG = f'''
server: {{listen: {{listen}}, database: {{folder}}/weir.db, commit_interval: 5ms, checkpoint_interval: 1h}}
streams:
  input: {{time: {{field: ts, unit: ms}}, fields: {{n: int}}}}
pipelines:
  p: {{from: input, window: {{tumbling: 10s}}, idle_timeout: {IDLE_S}s, analyzers: [count]}}
'''
PATIENT = CONFIG.replace(f'idle_timeout: {IDLE_S}s', 'idle_timeout: 1h')


def lines(*seconds):
    """An event for each of these seconds of event time."""
    return ''.join(json.dumps({'ts': T0_MS + int(s * 1000), 'n': 1}) + '\n' for s in seconds).encode()


class Silence(unittest.TestCase):
    def start(self, config):
        server = harness.Server(config)
        server.__enter__()
        self.addCleanup(server.__exit__, None, None, None)
        self.server = server
        return server

    def connect(self, **headers):
        """A connection and what posts over it; `headers` of all its requests."""
        c = http.client.HTTPConnection('127.0.0.1', self.server.port, timeout=harness.LIMIT_S)
        self.addCleanup(c.close)
        headers = {key.replace('_', '-'): value for key, value in headers.items()}

        def post(*seconds):
            c.request('POST', '/api/v1/streams/input/events', lines(*seconds),
                      {'Content-Type': 'application/x-ndjson', **headers})
            answer = c.getresponse()
            self.assertEqual((answer.status, json.loads(answer.read())['accepted']), (200, len(seconds)))
        return c, post

    def wait_reached(self, seconds):
        self.server.wait_watermark('p', (T0_MS + int(seconds * 1000)) * 1000)

    def late(self):
        return self.server.metric('weir_pipeline_late_total', pipeline='p')

    def wait_all(self, events):
        """All that were sent are counted, none is late."""
        wait_until(lambda: self.server.metric('weir_pipeline_events_total', pipeline='p') + self.late() >= events,
                   'all events')
        self.assertEqual(self.late(), 0)

    # ---- What arrives ----------------------------------------------------------------------------

    def upload(self, begin, send, end):
        """A body that takes three times idle_timeout, beside an event a second before the end of the window."""
        pieces, longest_s = 30, IDLE_S
        while longest_s >= IDLE_S:  # it would be silence if this test were so long between two pieces
            self.start(CONFIG)
            begin()
            send(lines(9))
            sent, longest_s = time.monotonic(), 0
            self.server.wait_metric('weir_ingest_requests_total', 1, stream='input')
            self.server.post_ok('input', lines(9))
            for i in range(1, pieces):
                send(lines(9 + i / 100))
                now = time.monotonic()
                sent, longest_s = now, max(longest_s, now - sent)
                time.sleep(3 * IDLE_S / pieces)
            answer = end()
            longest_s = max(longest_s, time.monotonic() - sent)
        self.assertEqual((answer.status, json.loads(answer.read())['accepted']), (200, pieces))
        self.wait_all(1 + pieces)

    def slow(self, **headers):
        """begin, send and end of an upload over a connection of its own; piece by piece as they are sent."""
        c = None

        def begin():
            nonlocal c
            c, _ = self.connect()
            c.putrequest('POST', '/api/v1/streams/input/events')
            c.putheader('Content-Type', 'application/x-ndjson')
            for key, value in headers.items():
                c.putheader(key.replace('_', '-'), value)
            c.endheaders()

        def send(piece):
            c.send(b'%x\r\n%s\r\n' % (len(piece), piece) if 'Transfer_Encoding' in headers else piece)

        def end():
            if 'Transfer_Encoding' in headers:
                c.send(b'0\r\n\r\n')
            return c.getresponse()
        return begin, send, end

    def test_body_that_takes_longer_than_idle_timeout_is_not_late(self):
        size = sum(len(lines(9 + i / 100)) for i in range(30))
        self.upload(*self.slow(Content_Length=str(size)))

    def test_chunked_body_with_a_key_that_takes_longer_than_idle_timeout_is_not_late(self):
        self.upload(*self.slow(Transfer_Encoding='chunked', Idempotency_Key='slow'))

    def test_body_of_a_named_source_that_takes_longer_than_idle_timeout_is_not_late(self):
        size = sum(len(lines(9 + i / 100)) for i in range(30))
        self.upload(*self.slow(Content_Length=str(size), Weir_Source='slow'))

    # ---- A server that did not run ---------------------------------------------------------------

    def test_time_in_which_the_server_was_stopped_is_not_silence(self):
        in_time = False
        while not in_time:  # it would be silence if this test were so long in between
            self.start(CONFIG)
            _, post = self.connect()
            began = time.monotonic()
            post(9)
            pid = self.server.process.pid
            os.kill(pid, signal.SIGSTOP)
            before_s = time.monotonic() - began
            time.sleep(3 * IDLE_S)
            began = time.monotonic()
            os.kill(pid, signal.SIGCONT)
            time.sleep(IDLE_S / 5)  # long enough to look at its clocks
            post(9.5)
            in_time = before_s + time.monotonic() - began < IDLE_S
        self.wait_all(2)

    @unittest.skipUnless(LONG, 'only in ./dev hard')
    def test_server_that_gets_little_of_the_processor_takes_nothing_for_silence(self):
        """As one in a container with a small share: it runs for 10 ms of each 200."""
        self.start(CONFIG)
        _, post = self.connect()
        pid = self.server.process.pid
        over = threading.Event()

        def throttle():
            while not over.is_set():
                os.kill(pid, signal.SIGSTOP)
                time.sleep(0.19)
                os.kill(pid, signal.SIGCONT)
                time.sleep(0.01)
        thread = threading.Thread(target=throttle)
        thread.start()
        try:
            events = 40
            for i in range(events):
                post(9 + i / 100)
                time.sleep(3 * IDLE_S / events)
        finally:
            over.set()
            thread.join()
        self.wait_all(events)

    # ---- Connections -----------------------------------------------------------------------------

    def test_connection_that_is_ahead_does_not_make_another_one_late(self):
        self.start(PATIENT)
        _, ahead = self.connect()
        _, behind = self.connect()
        behind(0)
        for s in range(100, 1000, 100):
            ahead(s, s + 1)
            behind(s / 50)
        self.wait_all(28)
        self.wait_reached(900 / 50)

    def test_connection_that_has_begun_holds_back_before_its_first_event(self):
        self.start(PATIENT)
        c, _ = self.connect()
        _, post = self.connect()
        post(0)
        body = lines(1, 2)
        c.putrequest('POST', '/api/v1/streams/input/events')
        c.putheader('Content-Length', str(len(body)))
        c.endheaders(body[:10])
        wait_until(lambda: self.server.metric('weir_ingest_requests_total', stream='input') == 2, 'its headers')
        for s in range(100, 1000, 100):
            post(s)
        c.send(body[10:])
        self.assertEqual(c.getresponse().status, 200)
        self.wait_all(12)

    def test_connection_that_ends_holds_nothing_back(self):
        self.start(PATIENT)
        (c, behind), (_, ahead) = self.connect(), self.connect()
        behind(0)
        ahead(100)
        behind(20)
        self.wait_reached(20)
        ahead(200)
        c.close()
        self.wait_reached(200)
        self.wait_all(4)

    def test_connection_that_is_silent_holds_nothing_back_after_idle_timeout(self):
        self.start(CONFIG + PATIENT[PATIENT.index('  p:'):].replace('  p:', '  patient:'))
        _, behind = self.connect()
        _, ahead = self.connect()
        behind(0)
        s = 100

        def go_on():
            nonlocal s
            s += 1
            ahead(s)
            reached = self.server.watermark('p')
            return reached and reached >= (T0_MS + 100000) * 1000
        wait_until(go_on, 'the watermark of the one that goes on', every_s=0.05)
        # Whoever waits longer is held back as before.
        self.assertEqual(self.server.watermark('patient'), T0_MS * 1000)

    def test_connections_of_one_name_are_one_source(self):
        self.start(PATIENT)
        _, one = self.connect(Weir_Source='same')
        _, two = self.connect(Weir_Source='same')
        one(0)
        two(100)
        one(1)
        wait_until(lambda: self.late() == 1, 'the late event')

    def test_one_connection_after_the_other_moves_on_at_once(self):
        self.start(PATIENT)
        for s in range(0, 1000, 50):
            _, post = self.connect(Connection='close')
            post(s)
        self.wait_reached(950)
        _, post = self.connect(Connection='close')
        post(10)
        wait_until(lambda: self.late() == 1, 'the late event')

    def test_what_connections_held_back_is_the_same_after_a_crash(self):
        self.start(PATIENT)
        (_, ahead), (c, behind) = self.connect(), self.connect()
        behind(0)
        for s in range(100, 1000, 100):
            ahead(s, s + 1)
            behind(s / 50)
        c.close()
        ahead(1100)
        ahead(2000)
        self.wait_reached(2000)
        found = self.server.rows('SELECT window_start, count FROM p ORDER BY 1')
        self.assertEqual(sum(count for _, count in found), 1 + 9 * 3 + 1)
        # The database has no checkpoint: all of it is made again.
        self.server.kill()
        for name in ('', '-wal', '-shm'):
            if os.path.exists(self.server.database + name):
                os.remove(self.server.database + name)
        self.server.start()
        self.wait_reached(2000)
        self.assertEqual(self.server.rows('SELECT window_start, count FROM p ORDER BY 1'), found)
        self.assertEqual(self.late(), 0)

    def test_windows_of_connections_that_were_held_back_close_after_a_restart(self):
        """One that has begun and sent nothing holds back all without a name when the checkpoint is made."""
        self.start(CONFIG.replace('checkpoint_interval: 1h', 'checkpoint_interval: 10ms'))
        silent, _ = self.connect()
        silent.putrequest('POST', '/api/v1/streams/input/events')
        silent.putheader('Content-Length', '1000')
        silent.endheaders(b'{')
        self.server.wait_metric('weir_ingest_requests_total', 1, stream='input')
        _, post = self.connect()
        post(8, 9)
        wait_until(lambda: self.server.rows('SELECT 1 FROM weir_checkpoints WHERE groups > 0'), 'a checkpoint')
        self.assertIsNone(self.server.watermark('p'))
        self.server.restart()
        wait_until(lambda: self.server.rows('SELECT count FROM p') == [(2,)], 'the window to close')


ARRIVAL = '''
server: {listen: {listen}, database: {folder}/weir.db, commit_interval: 5ms}
streams:
  now: {time: arrival, fields: {n: int}}
pipelines:
  arrived: {from: now, window: {tumbling: 1s}, idle_timeout: 300ms, analyzers: [count]}
'''


class Arrival(unittest.TestCase):
    def test_clock_that_is_set_back_makes_nothing_late_also_across_a_restart(self):
        library = os.path.join(harness.BUILD, 'tests', 'crash', 'clockshift.so')
        if not os.path.exists(library):
            self.skipTest(f'{library} is missing: make check builds it')
        folder = harness.folder_for_test(self)
        shift = os.path.join(folder, 'shift')

        def jump(seconds):
            with open(shift, 'wb' if not os.path.exists(shift) else 'r+b') as file:
                file.write(struct.pack('=q', seconds * 1000000000))
        jump(0)
        env = {'LD_PRELOAD': library, 'CLOCKSHIFT_FILE': shift,
               'ASAN_OPTIONS': os.environ.get('ASAN_OPTIONS', '') + ':verify_asan_link_order=0'}
        server = harness.Server(ARRIVAL, folder=folder, **env)
        server.__enter__()
        self.addCleanup(server.__exit__, None, None, None)

        def counted():
            return sum(n for n, in server.rows('SELECT count FROM arrived'))
        server.post_ok('now', [{'n': 1}] * 10)
        wait_until(lambda: counted() == 10, 'the first window')  # closed by silence
        jump(-600)
        server.post_ok('now', [{'n': 1}] * 10)
        wait_until(lambda: counted() == 20, 'a window while the clock is back')
        server.stop()
        jump(-1200)
        server.start()
        server.post_ok('now', [{'n': 1}] * 10)
        wait_until(lambda: counted() == 30, 'a window after a restart')
        self.assertEqual(server.metric('weir_pipeline_late_total', pipeline='arrived'), 0)


if __name__ == '__main__':
    harness.main()
