#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How long shards stand still when a node of three is killed, stopped, or killed and started again: from that moment until the first row,
and rows of all its shards, that are of later events are in PostgreSQL. And how many shards have moved.

    bench/takeover.py [--rounds N] [--session 3s] [--copy 200ms] [kill] [term] [static] [restart]

kill, static: -9, and in the latter case started again by its name; term, restart: an order to end, in the latter case to come again
(SIGUSR1), and started again when it has ended. Kafka is librdkafka's mock, PostgreSQL a server of its own, eight partitions and shards, an event a partition every 50 ms.
"""

import argparse
import json
import os
import signal
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'tests', 'system'))
import test_shards  # noqa: E402  pylint: disable=wrong-import-position

test_shards.PARTITIONS = 8
import harness  # noqa: E402  pylint: disable=wrong-import-position
import test_node  # noqa: E402  pylint: disable=wrong-import-position

EVERY_S = 0.05
REST_S = 4  # between faults
arguments = None


class Takeover(test_node.Cluster):
    over = False

    def text(self, session=None):
        return super().text(arguments.session).replace('copy: 100ms', f'copy: {arguments.copy}')

    def send(self):
        keys = {}
        n = 0
        while len(keys) < test_node.SHARDS:
            keys.setdefault(test_shards.partition_of(f'k{n}'), f'k{n}')
            n += 1
        while not self.over:
            for partition, key in keys.items():
                event = json.dumps({'ts': int(time.time() * 1000), 'k': key, 'v': 1})
                self.cluster.send('orders', event, partition=partition)
            time.sleep(EVERY_S)

    def newest(self):
        """{shard: time of its newest row in PostgreSQL, in seconds}"""
        lines = self.pg.psql('SELECT weir_shard, max(extract(epoch FROM ts)) FROM weir.rows GROUP BY 1')
        return {int(shard): float(s) for shard, s in (line.split('|') for line in lines)}

    def resumed(self, shards, since_s):
        """After how many seconds there were rows of one of these shards, and of all."""
        first = []

        def are_there():
            newest = self.newest()
            n = sum(newest.get(shard, 0) > since_s for shard in shards)
            if n and not first:
                first.append(time.time() - since_s)
            return n == len(shards)
        harness.wait_until(are_there, 'rows', every_s=0.02)
        return first[0], time.time() - since_s

    def fault(self, what):
        node, before = self.nodes['a'], self.leases()
        mine = [shard for shard, name in before.items() if name == 'a']
        since_s = time.time()
        if what == 'term':
            node.signal(signal.SIGTERM)
        elif what == 'restart':
            node.end(signal.SIGUSR1)
        else:
            node.kill()
        if what in ('static', 'restart'):
            node.start()
        first_s, all_s = self.resumed(mine, since_s)
        moved = test_node.moved(before, self.leases())
        print(f'{what:7s}  first row {first_s:.2f} s, all shards {all_s:.2f} s; of {len(mine)} shards moved: {moved}'
              f'  (load {os.getloadavg()[0]:.0f})', flush=True)
        if what not in ('static', 'restart'):
            node.process.wait(harness.LIMIT_S)
            self.come_back(node)

    def come_back(self, node):
        time.sleep(REST_S / 2)
        before = self.leases()
        node.start()
        harness.wait_until(lambda: list(self.leases().values()).count('a') >= test_node.SHARDS // 3, 'its share')
        time.sleep(REST_S / 2)
        print(f'         comes again: moved: {test_node.moved(before, self.leases())}', flush=True)

    def test_takeover(self):
        for name in 'abc':
            self.node(name)
            harness.wait_until(lambda n=name: n in self.leases().values(), f'{name} to have shards')
        sender = threading.Thread(target=self.send, daemon=True)
        sender.start()
        harness.wait_until(lambda: len(self.newest()) == test_node.SHARDS, 'rows of all shards')
        time.sleep(REST_S)
        print('without a fault: rows of one, of all after %.2f s, %.2f s'
              % self.resumed(list(range(test_node.SHARDS)), time.time()))
        for what in arguments.what:
            for _ in range(arguments.rounds):
                time.sleep(REST_S)
                self.fault(what)
        self.over = True
        sender.join()


def main():
    global arguments  # pylint: disable=global-statement
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('what', nargs='*', choices=['kill', 'term', 'static', 'restart', 'all'], default='all')
    parser.add_argument('--rounds', type=int, default=4)
    parser.add_argument('--session', default='3s')
    parser.add_argument('--copy', default='200ms')
    arguments = parser.parse_args()
    if arguments.what == 'all':
        arguments.what = ['kill', 'term', 'static', 'restart']
    suite = unittest.TestSuite([Takeover('test_takeover')])
    return 0 if unittest.TextTestRunner(verbosity=0).run(suite).wasSuccessful() else 1


if __name__ == '__main__':
    sys.exit(main())
