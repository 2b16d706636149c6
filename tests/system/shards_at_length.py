# SPDX-License-Identifier: Apache-2.0
"""Shards under many faults, a few in each round, another seed each, several rounds at a time: ./dev shards. Its last lines say what
was done, and what became of the rows of all rounds."""

import argparse
import collections
import concurrent.futures
import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import unittest
import uuid

import brokers
import harness
import kraft
import machines
import nodes
import postgres
import test_shards

A_ROUND = 8
POINTS = ['carry_take', 'carry_taken', 'carry_begin', 'carry_begun', 'carry_fenced', 'carry_commit', 'carry_committed', 'carry_filled']
HANGS = POINTS[2:7]
WEIGHTS = {'kill': 2, 'term': 1, 'rolling': 1, 'postgres': 2, 'copy': 3, 'point': 3, 'hang': 2, 'failover': 3, 'silence': 1, 'link': 3}
QUIET = '''
  quiet: {from: s, key: [k], window: {tumbling: 1s}, idle_timeout: 1s, late: side, analyzers: [count]}
'''


def state_of(pid):
    with open(f'/proc/{pid}/stat', encoding='ascii', errors='replace') as file:
        return file.read().rsplit(')', 1)[1].split()[0]


class Pair:
    """A primary that is followed by a standby, which takes its place."""

    def __init__(self, address):
        self.primary, self.standby = postgres.Postgres(address), postgres.Postgres(address, empty=True)
        self.dice = random.Random(1)

    @property
    def process(self):
        return self.primary.process

    @property
    def connect(self):
        """In any order, as servers may have it."""
        both = self.dice.sample([self.primary, self.standby], 2)
        return (f'host={",".join(p.address or p.folder for p in both)} port={",".join(str(p.port) for p in both)} connect_timeout=1'
                f' user=weir dbname={self.primary.database}')

    def start(self):
        self.primary.start()
        self.standby.follow(self.primary)

    def new_database(self):
        self.primary.new_database()
        self.standby.database = self.primary.database

    def psql(self, sql):
        return self.primary.psql(sql)

    def restart(self):
        self.primary.restart()

    def promote(self):
        """Returns who was the primary."""
        self.standby.promote()
        self.primary, self.standby = self.standby, self.primary
        return self.standby

    def close(self):
        self.primary.close()
        self.standby.close()


def last_change(pg):
    try:
        return pg.psql("SELECT coalesce(max(changed)::text, '') FROM weir.weir_shards")[0]
    except AssertionError:
        return ''  # no table yet


class Fixed(test_shards.Shards):
    """Run by its one test, with $WEIR_ROUND."""

    @classmethod
    def setUpClass(cls):
        cls.pg = Pair(machines.HERE if machines.inside() else None)
        cls.addClassCleanup(cls.pg.close)

    def setUp(self):
        given = json.loads(os.environ['WEIR_ROUND'])
        self.seed = given['seed']
        self.dice = random.Random(given['seed'])
        self.kinds = given['kinds']
        self.faults = given['faults']
        self.servers = os.environ.get('WEIR_KAFKA')
        super().setUp()
        self.nodes, self.stopped = {}, []
        self.ending = set()  # whose process ends at a named place, sooner or later

    def new_cluster(self):
        if not self.servers:
            return super().new_cluster()
        self.topic = 'orders-' + uuid.uuid4().hex
        return brokers.Brokers(at=self.servers)

    def machine(self):
        if not machines.inside():
            return None
        machine = machines.Machine(self.seed)
        self.addCleanup(machine.close)
        return machine

    def node(self, name, folder=None, partitions=None, started=True, text=None):
        text = (test_shards.CONFIG + QUIET.lstrip('\n')).replace('backoff: 20ms', 'timeout: 2s, backoff: 20ms')
        text = text.replace('reconnect.backoff.max.ms: 100', 'reconnect.backoff.max.ms: 100, socket.timeout.ms: 3000')
        return super().node(name, folder, partitions, started, text)

    # ---- Faults, each to a node -------------------------------------------------------------------

    def kill(self, name, _):
        self.nodes[name].restart()

    def term(self, name, _):
        self.nodes[name].stop()
        self.producer.send(100)
        self.nodes[name].start()

    def rolling(self, *_):
        """All of them, one after the other."""
        for name, node in self.nodes.items():
            if name in self.ending:
                self.ending.discard(name)
                node.kill()
            else:
                node.stop()
            self.producer.send(50)
            node.start()

    def postgres(self, *_):
        self.pg.restart()

    def another(self, name, n):
        """Machine goes on with the shard."""
        self.stopped.append(self.take_over(self.nodes, name, n))

    def copy(self, name, n):
        self.another(name, n)

    def point(self, name, _):
        """In a while; it may be before it answers."""
        self.nodes[name].kill()
        self.ending.add(name)
        self.nodes[name].start_process(WEIR_FAULT=f'{self.dice.choice(POINTS)}:{self.dice.randrange(1, 12)}')

    def hang(self, name, n):
        """At a named place of a transaction, for longer than PostgreSQL lets it; another one goes on meanwhile, or none."""
        node = self.nodes[name]
        node.kill()
        node.start_process(WEIR_FAULT=f'{self.dice.choice(HANGS)}:{self.dice.randrange(1, 6)}:stop')
        with contextlib.suppress(AssertionError):  # so many transactions may not be needed
            harness.wait_until(lambda: self.producer.send(50) or state_of(node.process.pid) == 'T', 'the place', limit_s=10)
        if self.dice.random() < 0.5:
            self.another(name, n)
            return
        self.producer.send(100)
        time.sleep(6)  # idle_in_transaction_session_timeout is 5 s
        node.process.send_signal(signal.SIGCONT)

    def failover(self, name, n):
        """To a standby that is behind. The primary ends, or some servers go on with it for a while."""
        self.pg.standby.cut()
        harness.wait_until(lambda: self.producer.send(50) or last_change(self.pg.primary) > last_change(self.pg.standby),
                           'a standby that is behind', every_s=0.1)
        alive = self.dice.random() < 0.6
        if not alive:
            self.pg.primary.stop()
        old = self.pg.promote()
        if alive:
            self.go_on_with(old, name, n)
            old.stop()
        for node in self.nodes.values():
            if node.machine:
                node.machine.mend()
        self.pg.standby.follow(self.pg.primary)

    def go_on_with(self, old, name, n):
        """Those who have it first in their list, or, with machines, who are not cut off."""
        if machines.inside():
            for node in self.dice.sample(sorted(self.nodes), 2):
                self.nodes[node].machine.cut(self.dice.choice(['in', 'out', 'both']), old.port)
        else:
            old.psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'weir'")
        before = last_change(old)
        self.producer.send(300)
        if self.dice.random() < 0.5:
            self.another(name, n)
        self.producer.send(300)
        time.sleep(self.dice.uniform(0.5, 4))
        self.notes['with two primaries'] += 1
        self.notes['of which the old one was written to'] += last_change(old) != before

    def link(self, name, n):
        """To PostgreSQL or the brokers, or both, one way or both ways; its shard may go to another machine meanwhile."""
        node = self.nodes[name]
        ports = [p.port for p in (self.pg.primary, self.pg.standby)]
        kafka = [server.rsplit(':', 1)[1] for server in self.cluster.servers.split(',')]
        node.machine.cut(self.dice.choice(['in', 'out', 'both']), *self.dice.choice([ports, kafka, ports + kafka]))
        self.producer.send(300)
        if self.dice.random() < 0.4:
            self.another(name, n)
        self.producer.send(300)
        time.sleep(self.dice.uniform(0.5, 5))
        node.machine.mend()

    def silence(self, _, n):
        """On one partition, while its shard is taken over: windows end without it."""
        p = self.dice.choice([0, 1, 3, 4, 5])
        name = 'a' if p < 2 else 'c'
        if name in self.ending:
            self.ending.discard(name)
            self.nodes[name].restart()
        self.producer.silent = {p}
        self.producer.send(200)
        self.another(name, n)
        self.producer.send(200)
        last = max(ts for ts, k, _ in self.producer.sent if test_shards.partition_of(k) // 2 == p // 2 or name == 'c'
                   and test_shards.partition_of(k) > 2)
        self.wait_far(f"SELECT max(window_start) >= to_timestamp({last // 1000 - 1}) FROM weir.quiet WHERE weir_shard = '{name}'", ['t'],
                      'windows without a partition')
        self.producer.silent = set()

    def wake(self, old):
        """At length it ends again once it knows of the other, or, without the fence, has put all that it had: nobody mends that."""
        said = len(old.log)
        if old.process.poll() is not None:
            return
        old.process.send_signal(signal.SIGCONT)
        with contextlib.suppress(AssertionError):  # it may have taken no table yet
            harness.wait_until(lambda: any('has taken its place' in line or "'sums': all of its rows are in" in line
                                           for line in old.log[said:]), 'what it says', limit_s=10)
        old.kill()

    # ---- A round -----------------------------------------------------------------------------------

    def one(self, n):
        name = self.dice.choice(sorted(self.nodes))
        what = self.dice.choices(*zip(*self.kinds.items()))[0]
        if name in self.ending:
            self.ending.discard(name)
            self.restart(name)
        self.done[what] += 1
        self.not_fenced()
        getattr(self, what)(name, n)
        if self.stopped and self.dice.random() < 0.6:
            self.wake(self.stopped[-1])

    def restart(self, name):
        self.nodes[name].restart()

    def not_fenced(self):
        """None of those who should have their tables."""
        if 'WEIR_FAULT_SKIP' not in os.environ:
            for node in self.nodes.values():
                self.assertFalse([line for line in node.log if 'has taken its place' in line])

    def wait_model(self, producer):
        super().wait_model(producer)
        count = collections.Counter((ts // 1000, k) for ts, k, _ in producer.sent)
        self.wait_rows("SELECT extract(epoch FROM window_start)::bigint || '|' || k || '|' || sum(n) FROM"
                       " (SELECT window_start, k, count AS n FROM weir.quiet UNION ALL SELECT window_start, k, 1 FROM weir.quiet_late)"
                       " AS x WHERE k NOT LIKE 'end%' GROUP BY window_start, k",
                       sorted(f'{start}|{k}|{n}' for (start, k), n in count.items()))

    def test_round(self):
        self.notes = collections.Counter()
        self.producer = test_shards.Producer(self.cluster, self.topic)
        self.done = collections.Counter()
        self.addCleanup(lambda: print('done', json.dumps([self.done, self.notes]), flush=True))
        self.nodes.update({name: self.node(name) for name in test_shards.NODES})
        for n in range(self.faults):
            self.producer.send(self.dice.choice([100, 700]))
            self.one(n)
        self.producer.send(300)
        self.producer.end()
        self.not_fenced()
        for name in self.nodes:
            self.restart(name)  # none ends any more
        for old in self.stopped:
            self.wake(old)
        try:
            self.wait_model(self.producer)
            self.check_shards(self.producer)
        except AssertionError:
            self.tell()
            raise

    def tell(self):
        """What one wants to know of a round that failed."""
        for name, node in self.nodes.items():
            print(f'---- {name}, in {node.folder}', *node.log[-25:], sep='\n')
            with contextlib.suppress(Exception):  # pylint: disable=broad-exception-caught
                print(*(f'{p["name"]}: {p["status"]} {p["postgresql"]}' for p in node.get_json('/api/v1/pipelines')), sep='\n')
        print(*self.pg.psql('SELECT * FROM weir.weir_shards ORDER BY shard, table_name'), sep='\n')
        if 'WEIR_SHARD_KEEP' in os.environ:
            for name, node in self.nodes.items():
                node.kill()
                shutil.copytree(node.folder, os.path.join(os.environ['WEIR_SHARD_KEEP'], f'{os.getpid()}-{name}'))


NODE_POINTS = [*POINTS, 'copy_claim', 'copy_claimed', 'copy_begin', 'copy_snapshot', 'copy_fenced', 'copy_commit', 'copy_committed']
NODE_WEIGHTS = {'kill': 3, 'term': 1, 'rolling': 1, 'server': 2, 'freeze': 3, 'hang': 2, 'point': 2, 'postgres': 1, 'failover': 2, 'link': 3}
SESSION_S = 2


class Nodes(Fixed):
    """Three nodes with eight shards, whose databases are kept in PostgreSQL: folders go with them."""

    def setUp(self):
        test_shards.PARTITIONS = 8
        super().setUp()

    def node(self, name, *_, **__):
        text = (test_shards.CONFIG + QUIET.lstrip('\n')).replace('backoff: 20ms', 'timeout: 2s, backoff: 20ms')
        text = text.replace('reconnect.backoff.max.ms: 100', 'reconnect.backoff.max.ms: 100, socket.timeout.ms: 3000')
        text = text.replace('server:\n  listen: {listen}\n  database: {folder}/weir.db', 'server:')
        text = text.replace('shard: "${WEIR_NODE}"', 'shard: "${WEIR_SHARD}", copy: 200ms').replace('topics: orders', f'topics: {self.topic}')
        text += f'nodes: {{shards: 8, partitions: 8, session: {SESSION_S}s, address: "127.0.0.1:0"}}\n'
        text = text.replace('CONNECT', self.pg.connect).replace('SERVERS', self.cluster.servers)
        return nodes.Node(self, name, text, os.path.join(self.folder, name), machine=self.machine()).start()

    def again(self, name, wiped=0.5):
        """It was ended."""
        node = self.nodes[name]
        if self.dice.random() < wiped:
            self.notes['folders deleted'] += 1
            shutil.rmtree(node.shards, ignore_errors=True)
        if self.dice.random() < 0.4:  # others have its shards then
            time.sleep(SESSION_S + 1)
        node.start()

    def kill(self, name, _):
        self.nodes[name].kill()
        self.again(name)

    def another(self, name, n):
        self.kill(name, n)

    def term(self, name, _):
        self.nodes[name].end()
        self.again(name)

    def rolling(self, *_):
        for name, node in self.nodes.items():
            node.end()
            self.producer.send(50)
            self.again(name, 0.2)

    def server_of(self, name):
        return self.dice.choice(sorted(self.nodes[name].servers().values()) or [None])

    def server(self, name, _):
        pid = self.server_of(name)
        with contextlib.suppress(ProcessLookupError):
            if pid:
                os.kill(pid, signal.SIGKILL)

    def stop_and_go(self, pids, at_least_s):
        for number in (signal.SIGSTOP, signal.SIGCONT):
            for pid in self.dice.sample(pids, len(pids)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            if number == signal.SIGSTOP:
                self.producer.send(300)
                time.sleep(self.dice.uniform(at_least_s, at_least_s + 3))
                self.producer.send(100)

    def freeze(self, name, _):
        """A whole machine, for longer than its session; or its node sleeps on for a while, and does not end servers that wake up."""
        node = self.nodes[name]
        pids = list(node.servers().values())
        if self.dice.random() < 0.5:
            self.stop_and_go([node.process.pid, *pids], SESSION_S)
            return
        os.kill(node.process.pid, signal.SIGSTOP)
        self.stop_and_go(pids, SESSION_S + 2)
        self.producer.send(300)
        time.sleep(self.dice.uniform(2, 5))
        os.kill(node.process.pid, signal.SIGCONT)

    def hang(self, name, _):
        pid = self.server_of(name)
        self.stop_and_go([pid] if pid else [], 0.5)

    def point(self, name, _):
        node = self.nodes[name]
        node.kill()
        self.ending.add(name)
        node.start(WEIR_FAULT=f'{self.dice.choice(NODE_POINTS)}:{self.dice.randrange(1, 12)}')

    def not_fenced(self):
        """Servers may be."""

    def restart(self, name):
        self.nodes[name].kill()
        self.nodes[name].start()

    def check_shards(self, producer):
        found = self.pg.psql('SELECT DISTINCT k, weir_shard FROM weir.sums ORDER BY 1')
        self.assertEqual(sorted(found), sorted({f'{k}|{test_shards.partition_of(k)}' for _, k, _ in producer.sent}))

    def tell(self):
        for name, node in self.nodes.items():
            print(f'---- {name}', *node.log[-40:], sep='\n')


# ---- Many of them -----------------------------------------------------------------------------------


class Troubles(threading.Thread):
    """To the brokers that all rounds share, while they run."""

    def __init__(self, kafka, seed, every_s):
        super().__init__(daemon=True)
        self.kafka, self.dice, self.every_s = kafka, random.Random(seed), every_s
        self.over = threading.Event()
        self.done = collections.Counter()

    def run(self):
        while not self.over.wait(self.dice.uniform(0.5, 1.5) * self.every_s):
            what = self.dice.choice(['killed', 'killed', 'stopped', 'stopped', 'all killed'])
            some = self.kafka.brokers if what == 'all killed' else [self.dice.choice(self.kafka.brokers)]
            self.done[f'brokers {what}' if some is self.kafka.brokers else f'broker {what}'] += 1
            if what == 'stopped':
                with self.kafka.stopped(*some):
                    self.over.wait(self.dice.uniform(0.5, 6))  # a session is 3 s
            else:
                self.kafka.restart(*some, away_s=self.dice.uniform(0, 4))

    def end(self):
        self.over.set()
        self.join()


def one_round(seed, given):
    is_nodes = given.servers == 'nodes' or given.servers == 'both' and seed % 2 == 0
    about = {'seed': seed, 'kinds': kinds_of(given, NODE_WEIGHTS if is_nodes else WEIGHTS), 'faults': A_ROUND}
    test = 'Nodes' if is_nodes else 'Fixed'
    done = subprocess.run([sys.executable, __file__, f'{test}.test_round'], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False, env={'WEIR_TEST_LIMIT': '180', **os.environ, 'WEIR_ROUND': json.dumps(about)})
    if done.returncode:
        print(done.stdout[-20000:])
    found = re.search(r'done (\[.*)$', done.stdout, re.M)
    faults, notes = map(collections.Counter, json.loads(found[1]) if found else ({}, {}))
    wrong, lost = [int(n) for n in re.search(r'wrong=(\d+) lost=(\d+)', done.stdout + ' wrong=0 lost=0').groups()]
    result = 'failed' if done.returncode else 'skipped' if 'skipped=' in done.stdout else 'passed'
    print(f'seed {seed}, {test.lower()}: {result}', *(f'{n} {what}' for what, n in faults.items()), flush=True)
    return collections.Counter({result: 1, 'wrong': wrong, 'lost': lost}), faults, notes


@contextlib.contextmanager
def some_kafka(given):
    """The brokers, if real ones are wanted; what was done to them."""
    if given.broker == 'mock':
        yield collections.Counter()
        return
    with contextlib.closing(kraft.Kafka(given.brokers, machines.HERE if machines.inside() else '127.0.0.1')) as kafka:
        kafka.start()
        os.environ['WEIR_KAFKA'] = kafka.servers
        troubles = Troubles(kafka, given.seed, given.every)
        troubles.start()
        yield troubles.done
        troubles.end()


def arguments():
    parser = argparse.ArgumentParser(prog='./dev shards')
    parser.add_argument('--faults', type=int, default=104)
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--jobs', type=int, default=1, help='rounds at a time')
    parser.add_argument('--broker', choices=['mock', 'kafka'], default='mock', help='real ones are killed and stopped meanwhile')
    parser.add_argument('--brokers', type=int, default=3, help='how many real ones')
    parser.add_argument('--every', type=float, default=15, help='something happens to them every so many seconds')
    parser.add_argument('--servers', choices=['fixed', 'nodes', 'both'], default='fixed',
                        help='nodes: three of `weir node` with eight shards, copies of databases in PostgreSQL, folders that are deleted; both: in turn')
    parser.add_argument('--only', help='these faults: ' + ','.join(WEIGHTS | NODE_WEIGHTS))
    parser.add_argument('--links', action='store_true', help='each server in a network namespace, whose links are cut one way; wants root')
    given = parser.parse_args()
    return given


def kinds_of(given, weights):
    kinds = given.only.split(',') if given.only else weights
    return {what: weights[what] for what in kinds if what in weights and (given.links or what != 'link')}


def nothing(why):
    print(f'{why}: nothing was tried\n\n0 passed, 0 failed, 1 skipped')


def main():
    given = arguments()
    if given.broker == 'kafka' and kraft.jars() is None:
        return nothing('no brokers of Kafka could be fetched, or no Java')
    if given.links and not machines.inside():
        return machines.enter() if machines.can() else nothing('no root, no ip, no iptables, or the kernel has no namespaces')
    if given.links:
        machines.set_up()
    seeds = range(given.seed, given.seed + -(-given.faults // A_ROUND))
    total, faults, notes = collections.Counter(), collections.Counter(), collections.Counter()
    with some_kafka(given) as to_brokers, concurrent.futures.ThreadPoolExecutor(given.jobs) as rounds:
        for result, done, noted in rounds.map(lambda seed: one_round(seed, given), seeds):
            total += result
            faults += done
            notes += noted
    faults += to_brokers
    for some in (faults, notes):
        print(', '.join(f'{what} {n}' for what, n in sorted(some.items())))
    print(f'faults={faults.total()} wrong={total["wrong"]} lost={total["lost"]}')
    print(f'{total["passed"]} passed, {total["failed"]} failed, {total["skipped"]} skipped')
    return total['failed'] != 0


if __name__ == '__main__':
    if 'WEIR_ROUND' in os.environ:
        unittest.main()
    sys.exit(main())
