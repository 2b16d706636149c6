#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""W1 from Kafka beside `weir run` of the same file and a program that only counts messages (bench/consume.c), in turn: what
reading from Kafka costs, and what of it is librdkafka's.

    bench/kafka.py BUILD [--broker] [--events N] [--pairs N] [--partitions N] [--each N,N]

With WEIR_KAFKA=HOST:PORT from a broker there, in topics that are made and stay; with --broker from one that is started for this,
of the jars in $WEIR_KAFKA_JARS (`./dev bench kafka --broker` fetches them); otherwise from librdkafka's mock cluster, which keeps
at most 5 MiB of a partition: 300,000 events. What a start takes is taken off, measured without events; of so few events the rate
says little, the CPU does. Brokers have the same cores: beside the rate is that which the CPU of weir alone would do on one core.
Each run's rows are counted."""

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from measure import START_MS, Bench, numbers  # noqa: E402

TARGETS = {1000: (4.0, 0.10), 1: (2.0, 0.30)}  # M events/s; CPU s a million events above weir run
LAST = '{"ts":%d,"symbol":"~","price":1,"qty":1,"side":"buy","venue":""}\n'


def put(cluster, o, topic, each, path):
    """The file, and in each partition an event that closes all windows."""
    cluster.topic(topic, o.partitions)
    if path:
        cluster.do(f'events {topic} {o.partitions} {each} {path}')
    last = (LAST % (START_MS + o.events + 120000)).encode()
    for p in range(o.partitions):
        cluster.do(f'send {topic} {p} 0 {len(last)}', last)
    cluster.do('flush')


def counted(bench, database, events):
    (n,), = bench.harness.read_rows(database, "SELECT coalesce(sum(count), 0) FROM trades_10s WHERE symbol <> '~'")
    if n != events:
        raise SystemExit(f'bench: {n} of {events} events are in the rows')


def from_kafka(bench, o, servers, topic, events):
    """(seconds, CPU seconds) from the start of the process until all rows are committed."""
    config = bench.with_options(stream=f'    source: {{kafka: {{brokers: "{servers}", topics: {topic}}}}}\n')
    began = time.monotonic()
    with bench.server(config) as server:
        bench.wait_row(server.database, 'SELECT 1 FROM weir_pipelines WHERE watermark >= ?',
                       (START_MS + o.events + 20000) * 1000)
        seconds = time.monotonic() - began
        cpu = bench.settled_cpu(server.process.pid)
        counted(bench, server.database, events)
        return seconds, cpu


def from_file(bench, path, events):
    with bench.folder() as folder:
        database, config = os.path.join(folder, 'weir.db'), os.path.join(folder, 'weir.yaml')
        with open(config, 'w', encoding='utf-8') as file:
            file.write(bench.config)
        env = bench.harness.environment(WEIR_LISTEN='127.0.0.1:0', WEIR_DATABASE=database)
        began = time.monotonic()
        with subprocess.Popen([bench.harness.WEIR, 'run', '-c', config, '--stream', 'trades', path], env=env,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = status
        seconds = time.monotonic() - began
        if status:
            raise SystemExit(f'bench: weir run ended with status {status}')
        counted(bench, database, events)
        return seconds, usage.ru_utime + usage.ru_stime


def bare(bench, servers, topic, events):
    """librdkafka alone, over all messages."""
    out = subprocess.run([bench.program('consume'), servers, topic], check=True, text=True, stdout=subprocess.PIPE).stdout
    found = numbers(out)
    if events and found['bytes'] < os.path.getsize(bench.file) - events:
        raise SystemExit(f'bench: {found["bytes"]:.0f} bytes of {events} events are in the topic')
    return found['seconds'], found['cpu_s']


def runs(bench, o, servers, topics, nothing):
    """{what: (seconds, CPU seconds)} of one of each; `what` is the events a message, 0 for the file, negative for librdkafka alone,
    and True: without events."""
    empty = os.path.join(bench.build, 'bench', 'w1-0.ndjson')
    with open(empty, 'w', encoding='ascii'):
        pass
    found = {(each, False): from_kafka(bench, o, servers, topic, o.events) for each, topic in topics.items()}
    found[0, False] = from_file(bench, bench.file, o.events)
    found[0, True] = from_file(bench, empty, 0)
    found[1, True] = from_kafka(bench, o, servers, nothing, 0)
    for each, topic in topics.items():
        found[-each, False] = bare(bench, servers, topic, o.events)
    found[-1, True] = bare(bench, servers, nothing, 0)
    return found


def report(pairs, o):
    """What a start takes is taken off as the median of all: alone it is too uneven."""
    def start(each, i):
        return statistics.median(p[(each > 0) - (each < 0), True][i] for p in pairs)

    def cpu(p, each):
        return (p[each, False][1] - start(each, 1)) / o.events * 1e6

    def median_of(each):
        seconds = statistics.median(p[each, False][0] for p in pairs) - start(each, 0)
        return o.events / seconds / 1e6 if seconds > 0.05 else float('nan'), statistics.median(cpu(p, each) for p in pairs)

    def line(name, each):
        rate, used = median_of(each)
        return f'{name.ljust(34)}{rate:6.2f} M/s  CPU {used:.3f} s/M, {1 / used if used > 0 else float("nan"):5.2f} M/s a core'
    print(line('weir run', 0))
    for each in o.each:
        print(line(f'librdkafka alone, {each} a message', -each))
    for each in o.each:
        least, most = TARGETS.get(each, (0, float('inf')))
        rate, _ = median_of(each)
        more = statistics.median(cpu(p, each) - cpu(p, 0) for p in pairs)
        print(f'{line(f"weir serve, {each} a message", each)}, {more:+.3f} s/M beside weir run'
              f'{"" if rate >= least else f"  MISSES {least} M/s"}{"" if more <= most else f"  MISSES +{most:.2f} s/M"}')


def main():
    parser = argparse.ArgumentParser(prog='bench/kafka.py', description='W1 from Kafka beside weir run.')
    parser.add_argument('build', help='the build folder')
    parser.add_argument('--broker', action='store_true', help='start a real broker')
    parser.add_argument('--events', type=int, help='default 2,000,000; of the mock cluster 300,000')
    parser.add_argument('--pairs', type=int, default=5)
    parser.add_argument('--partitions', type=int, default=4)
    parser.add_argument('--each', type=lambda text: [int(n) for n in text.split(',')], default=[1000, 1],
                        help='events a message')
    o = parser.parse_args()
    there = os.environ.get('WEIR_KAFKA')
    o.events = o.events or (2000000 if there or o.broker else 300000)
    bench = Bench(os.path.abspath(o.build), o.events)
    with contextlib.ExitStack() as stack:
        if o.broker:
            import kraft
            kafka = stack.enter_context(contextlib.closing(kraft.Kafka())).start()
            there = kafka.servers
        compare(bench, o, there)


def compare(bench, o, there):
    import brokers
    run = f'w1-{os.getpid()}'
    with brokers.Brokers(at=there) as cluster:
        topics = {each: f'{run}-{each}' for each in o.each}
        for each, topic in topics.items():
            put(cluster, o, topic, each, bench.file)
        put(cluster, o, f'{run}-nothing', 1, None)
        pairs = []
        for _ in range(o.pairs):
            pairs.append(runs(bench, o, cluster.servers, topics, f'{run}-nothing'))
    print(f'median of {o.pairs}, {o.events} events, {o.partitions} partitions, {"a broker" if there else "the mock cluster"}')
    report(pairs, o)


if __name__ == '__main__':
    main()
