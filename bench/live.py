#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Live results: what many listeners cost, and how soon a row is there.

    bench/live.py BUILD [--listeners N] [--rows PER_SECOND] [--events PER_SECOND] [--commit-interval 1ms] [--seconds S]

Events come on one connection, each millisecond, with the time at which they are sent. Each listener must get every row. The
delay of a row is from when the first event behind its window is sent, by which the watermark passes it, until the client
has the row."""

import argparse
import os
import re
import select
import socket
import statistics
import sys
import threading
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
CPU_TARGET = 0.5  # of a core
DELAY_TARGET_MS = 10
KEYS = 10
CONFIG = '''
server: {listen: {listen}, database: {folder}/weir.db, max_connections: 8192, commit_interval: COMMIT}
streams:
  events: {time: {field: t, unit: us}, fields: {k: string, v: float}}
pipelines:
  live: {from: events, key: [k], window: {tumbling: WINDOW}, analyzers: [count, {stats: {of: v, emit: [mean]}}]}
'''
ASK = b'GET /api/v1/pipelines/live/results/live?times=us&columns=window_end,k,count HTTP/1.1\r\nHost: localhost\r\n\r\n'


class Feed(threading.Thread):
    """Chunks of events, `rate` a second in all, until it is told to stop; when each of them was sent."""

    def __init__(self, port, rate):
        super().__init__(daemon=True)
        self.rate, self.sent, self.over = rate, [], False
        self.socket = socket.create_connection(('127.0.0.1', port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(b'POST /api/v1/streams/events/events HTTP/1.1\r\nHost: localhost\r\n'
                            b'Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n')

    def run(self):
        n, began = 0, time.monotonic()
        while not self.over:
            due = int((time.monotonic() - began) * self.rate)
            if due > n:
                now = time.time_ns() // 1000
                text = ''.join(f'{{"t":{now},"k":"k{i % KEYS}","v":{i % 97}}}\n' for i in range(n, due)).encode()
                self.sent.append(now)
                self.socket.sendall(f'{len(text):x}\r\n'.encode() + text + b'\r\n')
                n = due
            time.sleep(0.001)
        self.socket.sendall(b'0\r\n\r\n')
        self.socket.recv(4096)
        self.socket.close()


def listen(port):
    s = socket.create_connection(('127.0.0.1', port))
    s.sendall(ASK)
    return s


def cost(harness, config, n, rows, seconds):
    """CPU of the server, of a core, and the rows a second that each listener got."""
    window_ms = 1000 * KEYS // rows
    with harness.Server(config.replace('WINDOW', f'{window_ms}ms')) as server:
        poll = select.epoll()
        got = {}
        for _ in range(n):
            s = listen(server.port)
            while b'\nid: ' not in s.recv(4096):
                pass
            s.setblocking(False)
            poll.register(s, select.EPOLLIN)
            got[s.fileno()] = [s, 0]
        feed = Feed(server.port, 10 * rows)
        feed.start()

        def take(until):
            while time.monotonic() < until:
                for fd, _ in poll.poll(0.05):
                    data = got[fd][0].recv(65536)
                    got[fd][1] += data.count(b'\ndata: ')
        take(time.monotonic() + 1)
        before = sum(rows_ for _, rows_ in got.values())
        began, cpu = time.monotonic(), harness.cpu_seconds(server.process.pid)
        take(began + seconds)
        took = time.monotonic() - began
        rows = sum(rows_ for _, rows_ in got.values()) - before
        cpu = harness.cpu_seconds(server.process.pid) - cpu
        feed.over = True
        feed.join()
        take(time.monotonic() + 1)
        found = {rows_ for _, rows_ in got.values()}
        if len(found) != 1:
            raise SystemExit(f'live: listeners got {min(found)} to {max(found)} rows')
        for s, _ in got.values():
            s.close()
    return cpu / took, rows / took / n


def delays_ms(harness, config, rate, seconds):
    """Sorted, one of each row."""
    found = []
    with harness.Server(config.replace('WINDOW', '50ms')) as server:
        s = listen(server.port)
        feed = Feed(server.port, rate)
        feed.start()
        until, text = time.monotonic() + seconds + 1, b''
        s.settimeout(1)
        while time.monotonic() < until:
            text += s.recv(65536)
            now = time.time_ns() // 1000
            *lines, text = text.split(b'\n')
            found += [(int(m[1]), now) for m in (re.search(rb'"window_end":(\d+)', l) for l in lines) if m]
        feed.over = True
        feed.join()
        s.close()
    begin = feed.sent[0] + 1000000  # what follows the start is not steady
    delays, sent = [], iter(feed.sent)
    passed = next(sent)
    for end, at in sorted(found):
        while passed < end:
            passed = next(sent)
        if end >= begin:
            delays.append((at - passed) / 1000)
    return sorted(delays)


def line(what, value, target, met):
    print(f'{what.ljust(58)}  {value.rjust(12)}  {"" if met else "MISSES "}target {target}')


def main():
    parser = argparse.ArgumentParser(prog='bench/live.py', description='What live results cost, and how soon they are there.')
    parser.add_argument('build', help='the build folder')
    parser.add_argument('--listeners', type=int, default=1000)
    parser.add_argument('--rows', type=int, default=100, help='a second')
    parser.add_argument('--events', type=int, default=10000, help='a second')
    parser.add_argument('--commit-interval', default='1ms', help='rows that come faster wait so long; 100ms if nothing is said to weir')
    parser.add_argument('--seconds', type=float, default=10)
    arguments = parser.parse_args()
    os.environ['WEIR_BUILD'] = arguments.build
    sys.path.insert(0, os.path.join(HERE, '..', 'tests', 'system'))
    import harness  # reads WEIR_BUILD
    config = CONFIG.replace('COMMIT', arguments.commit_interval)
    cpu, rows = cost(harness, config, arguments.listeners, arguments.rows, arguments.seconds)
    print(f'{arguments.listeners} listeners, {rows:.0f} rows a second to each')
    line('  CPU of the server, of a core', f'{100 * cpu:.0f} %', f'<= {100 * CPU_TARGET:.0f} %', cpu <= CPU_TARGET)
    delays = delays_ms(harness, config, arguments.events, arguments.seconds)
    print(f'{arguments.events} events a second, {len(delays)} rows')
    p99 = delays[int(len(delays) * 0.99)]
    line('  event to row, ms: p50, p99, most', f'{statistics.median(delays):.1f}, {p99:.1f}, {delays[-1]:.1f}',
         f'p99 <= {DELAY_TARGET_MS}', p99 <= DELAY_TARGET_MS)


if __name__ == '__main__':
    main()
