#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Skewed keys on several servers, by key and in two phases (weir.yaml(5), TWO PHASES): what bench/skew.py models.

    bench/phases.py BUILD [--nodes N] [--events N] [--rate EVENTS/S] [--keys N] [--zipf S] [--window-s N ...]

Servers and librdkafka's mock cluster on this machine, so that of processor time only shares mean something. Each server has as many
partitions. By key, events are in the partition of their key, and one pipeline counts; in two phases they are in any, and states of the keys
are merged by who has the key's partition. That the counts are those of all events is looked at. Times of events say the rate."""

import argparse
import bisect
import collections
import itertools
import json
import os
import random
import sys
import tempfile
import zlib

sys.dont_write_bytecode = True
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
EACH = 4  # partitions of a server
LINES = 1000  # of a message
T0 = 1700000000000
HEAD = '''
server:
  listen: {listen}
  database: {folder}/weir.db
KAFKA
streams:
  s:
    time: {field: ts, unit: ms}
    fields: {k: string, v: int}
    source: {kafka: {brokers: "SERVERS", topics: events, partitions: "${WEIR_PARTITIONS}", partitioned_by: FIELD}}
'''
BY_KEY = HEAD.replace('KAFKA\n', '').replace('FIELD', 'k') + '''
pipelines:
  all: {from: s, key: k, window: {tumbling: WINDOW}, idle_timeout: off, analyzers: [count, {stats: {of: v}}]}
'''
PHASES = HEAD.replace('FIELD', 'v').replace('KAFKA', '''
  kafka: {brokers: "SERVERS", pipelines: [parts], shard: "${WEIR_NODE}", watermarks: yes}''') + '''
  p:
    time: window_start
    fields: {k: string, count_state: string, stats_state: string}
    source: {kafka: {brokers: "SERVERS", topics: weir.parts, partitions: "${WEIR_PARTITIONS}", partitioned_by: k, senders: SENDERS}}
pipelines:
  parts: {from: s, key: k, window: {tumbling: WINDOW}, idle_timeout: off, partial: states, analyzers: [count, {stats: {of: v}}]}
  all: {from: p, key: k, window: {tumbling: WINDOW}, idle_timeout: off, parts_of: parts}
'''


def keys_of(o, dice):
    """Numbers of keys by Zipf's law, for ever."""
    sums = list(itertools.accumulate((i + 1) ** -o.zipf for i in range(o.keys)))
    while True:
        yield bisect.bisect_left(sums, dice.random() * sums[-1])


def put_events(o, cluster, by_key):
    """Returns how often each key comes."""
    dice, partitions = random.Random(7), o.nodes * EACH
    lines, found = [[] for _ in range(partitions)], collections.Counter()

    def put(p):
        data = '\n'.join(lines[p]).encode()
        cluster.do(f'send events {p} 0 {len(data)}', data)
        lines[p] = []
    for i, key in zip(range(o.events), keys_of(o, dice)):
        found[f'k{key}'] += 1
        p = zlib.crc32(json.dumps({'k': f'k{key}'}, separators=(',', ':')).encode()) % partitions if by_key else dice.randrange(partitions)
        lines[p].append(f'{{"ts":{T0 + i * 1000 // o.rate},"k":"k{key}","v":{i % 1000}}}')
        if len(lines[p]) == LINES:
            put(p)
    for p in range(partitions):
        lines[p].append(json.dumps({'ts': T0 + 86400000, 'k': 'end', 'v': 0}))
        put(p)
    cluster.do('flush')
    return found


def cpu_s(process):
    with open(f'/proc/{process.pid}/stat', encoding='ascii') as file:
        fields = file.read().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def busiest(values):
    return max(values) * len(values) / sum(values)


def run(o, text, by_key, window_s):
    import brokers
    import harness
    names = [f'n{i}' for i in range(o.nodes)]
    with tempfile.TemporaryDirectory(prefix='weir-phases-') as folder, brokers.Brokers() as cluster:
        for topic in ('events', 'weir.parts'):
            cluster.topic(topic, o.nodes * EACH)
        found = put_events(o, cluster, by_key)
        text = text.replace('SERVERS', cluster.servers).replace('WINDOW', f'{window_s}s').replace('SENDERS', f'[{", ".join(names)}]')
        servers = []
        try:
            for i, name in enumerate(names):
                os.mkdir(os.path.join(folder, name))
                servers.append(harness.Server(text, folder=os.path.join(folder, name), WEIR_NODE=name,
                                              WEIR_PARTITIONS=f'{i * EACH}-{i * EACH + EACH - 1}'))
                servers[-1].start()

            def counts():
                sums = collections.Counter()
                for s in servers:
                    sums.update(dict(s.rows("SELECT k, sum(count) FROM 'all' WHERE k <> 'end' GROUP BY k")))
                return sums
            harness.wait_until(lambda: counts() == found, 'the counts of all events', every_s=1, limit_s=300)
            events = [s.metric('weir_events_total', stream='s') for s in servers]
            parts = [0 if by_key else s.metric('weir_events_total', stream='p') for s in servers]
            cpu = [cpu_s(s.process) for s in servers]
        finally:
            for s in servers:
                s.kill()
    print(f'{"by key" if by_key else "two phases":10} {window_s:6}s {sum(parts) / o.events:16.3f} {busiest(events):15.2f} '
          f'{busiest(parts) if sum(parts) else 0:14.2f} {busiest([e + o.partial_cost * p for e, p in zip(events, parts)]):13.2f} '
          f'{busiest(cpu):13.2f} {sum(cpu) * 1e6 / o.events:12.2f}', flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('build')
    for name, value in (('--nodes', 4), ('--events', 1000000), ('--rate', 50000), ('--keys', 10000), ('--partial-cost', 3)):
        parser.add_argument(name, type=int, default=value, metavar='N', help=f'default {value:,}')
    parser.add_argument('--zipf', type=float, default=1.2, metavar='S', help='default 1.2')
    parser.add_argument('--window-s', type=int, nargs='+', default=[1, 10], metavar='N', help='default 1 and 10')
    o = parser.parse_args()
    os.environ['WEIR_BUILD'] = os.path.abspath(o.build)
    sys.path.insert(0, os.path.join(ROOT, 'tests', 'system'))
    print(f'{o.nodes} servers, {o.events:,} events of {o.keys:,} keys, {o.rate:,} a second of their time, Zipf {o.zipf}')
    print('           window   parts an event  busiest: events          parts  as the model  processor time  us an event')
    for window_s in o.window_s:
        run(o, BY_KEY, True, window_s)
        run(o, PHASES, False, window_s)


if __name__ == '__main__':
    main()
