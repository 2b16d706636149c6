#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What skewed keys, a lost node and a hundred million events a second would ask of several nodes. Nothing is measured
here: a model, with the figures that were measured as its defaults. docs/scale.md says what it shows.

    bench/skew.py [skew | lost | cost] [--keys N] [--partitions N] [--nodes N] [--rate EVENTS/S] ...

skew  Keys by Zipf's law over partitions and nodes: the busiest to the mean, where a key's events go to its partition, and in
      two phases, where any node folds any event and sends what it has of each key to the key's owner.
lost  A node ends without a word. Lag by time, until all that it left has been read.
cost  Nodes for a rate, and what they wait for: cores, the network, or PostgreSQL.
"""

import argparse
import math
import sys
import zlib

ZIPF = (0.0, 0.8, 1.0, 1.2, 1.5)
FLUSHES_S = (0.1, 1.0, 10.0)
STEP_S = 0.05
CAUGHT_UP_S = 0.5  # of lag
LONGEST_S = 3600.0


def zipf(keys, exponent):
    """The share of each key, the first the greatest."""
    weights = [(k + 1) ** -exponent for k in range(keys)]
    total = math.fsum(weights)
    return [w / total for w in weights]


def partition_of(key, partitions):
    """As even as any hash: which one makes no difference here."""
    return zlib.crc32(b'key-%d' % key) % partitions


def loads(shares, places, place_of):
    """What of the whole each place gets."""
    load = [0.0] * places
    for key, share in enumerate(shares):
        load[place_of(key)] += share
    return load


def busiest(load):
    return max(load) * len(load) / math.fsum(load)


def node_of(partition, nodes):
    """Partitions are dealt out by their number, as Kafka's assignors do where nothing is owned yet."""
    return partition % nodes


def by_key(shares, partitions, nodes):
    """Busiest partition and busiest node to their means."""
    parts = loads(shares, partitions, lambda key: partition_of(key, partitions))
    on_nodes = [0.0] * nodes
    for p, load in enumerate(parts):
        on_nodes[node_of(p, nodes)] += load
    return busiest(parts), busiest(on_nodes)


def kept(share, events):
    """How probably a key is among so many events."""
    return -math.expm1(events * math.log1p(-share)) if share < 1 else 1.0


def two_phase(shares, partitions, nodes, events_a_flush, partial_cost):
    """Partials an event, and the busiest node to the mean: of its work, where an event costs 1 and a partial partial_cost.
    events_a_flush: of one node."""
    there = [kept(share, events_a_flush) for share in shares]
    partials = math.fsum(there) / events_a_flush
    owners = loads(there, nodes, lambda key: node_of(partition_of(key, partitions), nodes))
    sum_there = math.fsum(there)
    work = [1 + partial_cost * partials * nodes * owner / sum_there for owner in owners]
    return partials, busiest(work)


def print_skew(o):
    print(f'{o.keys:,} keys, {o.partitions} partitions, {o.nodes} nodes, {o.rate:,.0f} events/s in all')
    print('busiest to mean; a partial costs as much as %.1f events\n' % o.partial_cost)
    heads = ''.join(f'  two phases, {flush:g} s' for flush in FLUSHES_S)
    print('                by key: by key:' + heads)
    print('Zipf  greatest  partition node  ' + ' partials   node   ' * len(FLUSHES_S))
    for exponent in ZIPF:
        shares = zipf(o.keys, exponent)
        part, node = by_key(shares, o.partitions, o.nodes)
        line = f'{exponent:4.1f}  {shares[0]:8.2%}  {part:9.2f} {node:4.2f} '
        for flush in FLUSHES_S:
            partials, most = two_phase(shares, o.partitions, o.nodes, o.rate * flush / o.nodes, o.partial_cost)
            line += f'   {partials:8.4f} {most:5.2f}  '
        print(line)


def reassign(owner, lost, nodes, sticky):
    """After node `lost` is gone: (owners, partitions that moved)."""
    left = [n for n in range(nodes) if n != lost]
    after, moved = list(owner), []
    for p, was in enumerate(owner):
        if not sticky:
            after[p] = left[p % len(left)]
        elif was == lost:
            after[p] = min(left, key=after.count)
        if after[p] != was:
            moved.append(p)
    return after, moved


def lose_node(o, sticky):
    """A fluid: each partition's events come at its rate; a node reads its partitions in proportion to what waits. Returns
    (partitions that moved, seconds without anybody reading them, the greatest lag in seconds, until it is caught up)."""
    owner = [node_of(p, o.nodes) for p in range(o.partitions)]
    after, moved = reassign(owner, 0, o.nodes, sticky)
    rate, capacity = o.rate / o.partitions, o.capacity
    taken = [0] * o.nodes
    for p in moved:
        taken[after[p]] += 1
    load_s = max(taken) * o.state_mb / o.load_mb_s
    stops = set(moved) if sticky else set(range(o.partitions))
    resumes = o.session_s + load_s
    waits, worst, now = [0.0] * o.partitions, 0.0, 0.0
    if rate * max(after.count(n) for n in range(1, o.nodes)) >= capacity:
        return len(moved), resumes, math.inf, math.inf
    while now < LONGEST_S:
        now += STEP_S
        for p in range(o.partitions):
            waits[p] += rate * STEP_S
        for n in range(o.nodes):
            # Who is dead reads nothing; others are stopped from the end of the session until they have what is theirs.
            mine = [p for p in range(o.partitions)
                    if (after[p] if now >= resumes else owner[p]) == n and not (now < resumes and n == 0) and
                    not (o.session_s <= now < resumes and p in stops)]
            there = sum(waits[p] for p in mine)
            share = min(1.0, capacity * STEP_S / there) if there else 0.0
            for p in mine:
                waits[p] *= 1 - share
        lag = max(waits) / rate
        worst = max(worst, lag)
        if now > resumes and lag < CAUGHT_UP_S:
            break
    return len(moved), resumes, worst, now


def print_lost(o):
    print(f'{o.partitions} partitions, {o.nodes} nodes of {o.capacity:,.0f} events/s, {o.rate:,.0f} events/s in all; '
          f'session {o.session_s:g} s, {o.state_mb:g} MB of states a partition at {o.load_mb_s:g} MB/s\n')
    print('assignment             moved  read again after  greatest lag  caught up after')
    for name, sticky in (('cooperative, sticky', True), ('eager', False)):
        moved, resumes, worst, caught = lose_node(o, sticky)
        print(f'{name:22} {moved:5d} {resumes:15.1f} s {worst:11.1f} s {caught:14.1f} s')


def cost(o, rate):
    """[(what, nodes)]: the nodes that each of them wants, PostgreSQL in servers."""
    cores = rate / 1e6 * o.cpu_s_per_million / o.busy
    rows = o.rows_s
    cores += rows * o.row_cpu_us / 1e6 / o.busy
    bits = rate * o.event_bytes * 8 / o.compression
    return [('cores', cores / o.cores), ('network', bits / (o.gbit_s * 1e9 * o.busy)),
            ('PostgreSQL', rows / o.pg_rows_s)]


def print_cost(o):
    print(f'{o.cpu_s_per_million:g} CPU s a million events, {o.row_cpu_us:g} us a result row, {o.rows_s:,.0f} rows/s, '
          f'{o.event_bytes:g} bytes an event, compressed {o.compression:g} times')
    print(f'nodes of {o.cores} cores and {o.gbit_s:g} Gbit/s, {o.busy:.0%} busy; PostgreSQL takes {o.pg_rows_s:,.0f} rows/s\n')
    print('events/s        for the cores  for the network   PostgreSQL servers')
    for rate in (1e6, 1e7, 3e7, 1e8):
        of = dict(cost(o, rate))
        print(f'{rate:13,.0f} {of["cores"]:14.2f} {of["network"]:16.2f} {of["PostgreSQL"]:20.2f}')


def options(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('what', nargs='?', choices=('skew', 'lost', 'cost'), help='default: all three')

    def whole(name, value, text):
        parser.add_argument(name, type=int, default=value, metavar='N', help=text)

    def real(name, value, text):
        parser.add_argument(name, type=float, default=value, metavar='N', help=text)

    whole('--keys', 10000, 'default 10,000')
    whole('--partitions', 128, 'default 128')
    whole('--nodes', 8, 'default 8')
    real('--rate', 2e7, 'events/s in all; default 20,000,000')
    real('--partial-cost', 3, 'events that a partial costs as much as; default 3, a guess')
    real('--capacity', 4e6, 'events/s of a node; default 4,000,000')
    real('--session-s', 3, 'until a silent node is taken for dead; default 3')
    real('--state-mb', 10, 'of a partition; default 10')
    real('--load-mb-s', 807, 'states from PostgreSQL; default 807, measured')
    real('--cpu-s-per-million', 0.25, 'of W1 from Kafka, 1,000 a message; default 0.25, measured')
    real('--rows-s', 100000, 'result rows/s; default 100,000')
    real('--row-cpu-us', 1.06, 'a row, SQLite\'s numbers and PostgreSQL; default 1.06, measured')
    real('--event-bytes', 93, 'W1; default 93, measured')
    real('--compression', 1, 'default 1')
    whole('--cores', 16, 'of a node; default 16')
    real('--gbit-s', 10, 'of a node; default 10')
    real('--busy', 0.6, 'what may be used of cores and network; default 0.6')
    real('--pg-rows-s', 300000, 'default 300,000, measured')
    o = parser.parse_args(arguments)
    bad = [name for name, value in vars(o).items() if name != 'what' and value <= 0]
    if bad or o.nodes < 2 or o.partitions < o.nodes:
        parser.error('all are above 0, there are at least two nodes, and as many partitions as nodes')
    return o


def main():
    o = options(sys.argv[1:])
    prints = {'skew': print_skew, 'lost': print_lost, 'cost': print_cost}
    for i, name in enumerate([o.what] if o.what else prints):
        print('\n' if i else '', end='')
        prints[name](o)


if __name__ == '__main__':
    main()
