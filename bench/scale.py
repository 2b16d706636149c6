#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What many things cost: streams, pipelines, pipelines on one stream, named sources.

    bench/scale.py BUILD [--streams N] [--pipelines N] [--sources N] [--idle SECONDS] [--events N]

Every figure is of the whole server process. Wake-ups are the voluntary context switches of all its threads;
a server at rest has nothing else."""

import argparse
import contextlib
import http.client
import os
import re
import shutil
import sys
import tempfile
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))

READY_TARGET_S = 1.5
IDLE_TARGET = 0.02  # of a core
WAKES_TARGET = 200  # a second
MEMORY_TARGET_MB = 300
SOURCES_TARGET = 1.2  # times the CPU of none
START_US = 1700000000000000
REQUEST_ROWS = 500

HEAD = '''server: {listen: "127.0.0.1:0", database: weir.db}
streams:
'''
STREAM = '  s%d: {time: {field: t, unit: us}, fields: {k: string, v: float}}\n'
PIPELINE = '  p%d: {from: s%d, key: [k], window: {tumbling: 1s}, analyzers: [count, {stats: {of: v, emit: [sum]}}]}\n'


def config_of(streams, pipelines):
    """Pipeline i reads stream i, modulo their number."""
    return (HEAD + ''.join(STREAM % i for i in range(streams)) + 'pipelines:\n' +
            ''.join(PIPELINE % (i, i % streams) for i in range(pipelines)))


class Process:
    """What the kernel says of the server."""

    def __init__(self, pid):
        self.pid = pid

    def threads(self):
        return os.listdir(f'/proc/{self.pid}/task')

    def cpu_s(self):
        with open(f'/proc/{self.pid}/stat', encoding='ascii') as file:
            fields = file.read().rsplit(') ', 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')

    def wakes(self):
        total = 0
        for thread in self.threads():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                with open(f'/proc/{self.pid}/task/{thread}/status', encoding='ascii') as file:
                    total += int(re.search(r'^voluntary_ctxt_switches:\s+(\d+)', file.read(), re.M)[1])
        return total

    def memory_mb(self):
        with open(f'/proc/{self.pid}/status', encoding='ascii') as file:
            return int(re.search(r'^VmRSS:\s+(\d+)', file.read(), re.M)[1]) / 1024


def metric(server, name):
    text = server.get('/metrics')[2].decode()
    return sum(float(value) for value in re.findall(rf'^{name}(?:{{[^}}]*}})? (\S+)$', text, re.M))


@contextlib.contextmanager
def started(harness, config):
    """(server, its process, seconds until it is ready)"""
    folder = tempfile.mkdtemp(prefix='scale-', dir=os.path.join(harness.BUILD, 'bench'))
    try:
        began = time.monotonic()
        with harness.Server(config, folder=folder) as server:
            yield server, Process(server.process.pid), time.monotonic() - began
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def at_rest(harness, streams, idle_s):
    config = config_of(streams, streams)
    with started(harness, config) as (_, process, ready_s):
        time.sleep(1)  # what follows the start is not rest
        began, cpu, wakes = time.monotonic(), process.cpu_s(), process.wakes()
        time.sleep(idle_s)
        seconds = time.monotonic() - began
        return {'threads': len(process.threads()), 'ready_s': ready_s,
                'cpu': (process.cpu_s() - cpu) / seconds,
                'wakes': (process.wakes() - wakes) / seconds,
                'memory_mb': process.memory_mb()}


def body(first, rows):
    return ''.join(f'{{"t":{START_US + 100 * i},"k":"k{i % 10}","v":{i % 97}}}\n'
                   for i in range(first, first + rows)).encode()


def post_all(server, events, sources):
    """On one connection; request i is of source i, modulo their number."""
    connection = http.client.HTTPConnection('127.0.0.1', server.port)
    for n, first in enumerate(range(0, events, REQUEST_ROWS)):
        headers = {'Content-Type': 'application/x-ndjson'}
        if sources:
            headers['Weir-Source'] = f'source-{n % sources}'
        while True:
            connection.request('POST', '/api/v1/streams/s0/events', body(first, REQUEST_ROWS), headers)
            answer = connection.getresponse()
            answer.read()
            if answer.status != 429:
                break
            time.sleep(0.05)
        if answer.status != 200:
            raise SystemExit(f'scale: {answer.status}')
    connection.close()


def read_by_all(server, events, pipelines):
    limit = time.monotonic() + 120
    while metric(server, 'weir_pipeline_events_total') < events * pipelines:
        if time.monotonic() > limit:
            raise SystemExit('scale: not all events are read')
        time.sleep(0.05)


def loaded(harness, pipelines, events, sources=0):
    """Events through some pipelines on one stream."""
    with started(harness, config_of(1, pipelines)) as (server, process, _):
        commits, entries = metric(server, 'weir_store_commits_total'), metric(server, 'weir_log_batches_total')
        began, cpu = time.monotonic(), process.cpu_s()
        post_all(server, events, sources)
        read_by_all(server, events, pipelines)
        return {'seconds': time.monotonic() - began, 'cpu_s': process.cpu_s() - cpu,
                'commits': metric(server, 'weir_store_commits_total') - commits,
                'entries': metric(server, 'weir_log_batches_total') - entries}


def line(what, value, target, met):
    print(f'{what.ljust(58)}  {value.rjust(12)}  {"" if met else "MISSES "}target {target}')


def report(harness, arguments):
    most = 4 + 4 * (os.cpu_count() or 1)
    rest = at_rest(harness, arguments.streams, arguments.idle)
    print(f'{arguments.streams} streams with a pipeline each, at rest')
    line('  threads', str(rest['threads']), f'<= {most}', rest['threads'] <= most)
    line('  seconds until ready', f'{rest["ready_s"]:.2f}', f'<= {READY_TARGET_S}', rest['ready_s'] <= READY_TARGET_S)
    line('  CPU, of a core', f'{100 * rest["cpu"]:.1f} %', f'<= {100 * IDLE_TARGET:.0f} %', rest['cpu'] <= IDLE_TARGET)
    line('  wake-ups a second', f'{rest["wakes"]:.0f}', f'<= {WAKES_TARGET}', rest['wakes'] <= WAKES_TARGET)
    line('  memory', f'{rest["memory_mb"]:.0f} MB', f'<= {MEMORY_TARGET_MB} MB', rest['memory_mb'] <= MEMORY_TARGET_MB)

    few, many = arguments.pipelines // 10, arguments.pipelines
    a, b = (loaded(harness, n, arguments.events) for n in (few, many))
    print(f'{arguments.events} events through {few} and {many} pipelines on one stream')
    each = [1e9 * r['cpu_s'] / arguments.events / n for r, n in ((a, few), (b, many))]
    line('  CPU ns for an event and a pipeline', f'{each[0]:.0f}, {each[1]:.0f}', '<= 1.2 times', each[1] <= 1.2 * each[0])
    line(f'  commits, with {many} (entries of the log: {b["entries"]:.0f})', f'{b["commits"]:.0f}',
         'two an entry', b['commits'] <= 2 * b['entries'])  # what comes while nothing else does is committed at once

    pairs = [[loaded(harness, 1, arguments.events * 4, sources)['cpu_s'] for sources in (0, arguments.sources)]
             for _ in range(3)]
    ratio = sorted(named / none for none, named in pairs)[1]
    print(f'{arguments.events * 4} events of {arguments.sources} named sources, or of none')
    line('  CPU of the server, times', f'{ratio:.2f}', f'<= {SOURCES_TARGET}', ratio <= SOURCES_TARGET)


def main():
    parser = argparse.ArgumentParser(prog='bench/scale.py', description='What many things cost.')
    parser.add_argument('build', help='the build folder')
    parser.add_argument('--streams', type=int, default=1000)
    parser.add_argument('--pipelines', type=int, default=500)
    parser.add_argument('--sources', type=int, default=800)
    parser.add_argument('--idle', type=float, default=5, help='seconds of rest')
    parser.add_argument('--events', type=int, default=100000)
    arguments = parser.parse_args()
    os.environ['WEIR_BUILD'] = arguments.build
    sys.path.insert(0, os.path.join(HERE, '..', 'tests', 'system'))
    import harness  # reads WEIR_BUILD
    report(harness, arguments)


if __name__ == '__main__':
    main()
