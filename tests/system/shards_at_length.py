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
TABLES = 7  # of a shard
HANGS = ['carry_begin', 'carry_begun', 'carry_fenced', 'carry_commit', 'carry_committed']
POINTS = [*HANGS, 'carry_take', 'carry_taken', 'carry_filled', 'store_begin', 'store_rows', 'store_commit', 'store_committed',
          'checkpoint_begin', 'checkpoint_part', 'journal_write', 'journal_written', 'journal_synced', 'log_dispatch']
WHERE = {'carry_begin': 'before BEGIN', 'carry_begun': 'behind BEGIN', 'carry_fenced': 'behind the fence', 'carry_commit': 'before COMMIT',
         'carry_committed': 'behind COMMIT', 'copy_begin': 'before BEGIN of a copy', 'copy_fenced': 'behind the fence of a copy',
         'copy_commit': 'before COMMIT of a copy'}
WEIGHTS = {'kill': 2, 'term': 1, 'rolling': 1, 'postgres': 2, 'copy': 3, 'point': 3, 'hang': 3, 'failover': 3, 'silence': 1, 'link': 3}
MORE = '''
  quiet: {from: s, key: [k], window: {tumbling: 1s}, idle_timeout: 1s, late: side, analyzers: [count]}
  totals: {from: s, key: [k], window: {global: 1s}, idle_timeout: 1h, analyzers: [count, {sum: {of: v}}]}
'''.lstrip('\n')


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
        self.ending = {}  # who is killed at a named place, sooner or later: the place
        self.turns = collections.Counter()

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

    def text(self):
        text = (test_shards.CONFIG + MORE).replace('backoff: 20ms', 'timeout: 2s, backoff: 20ms')
        return text.replace('reconnect.backoff.max.ms: 100', 'reconnect.backoff.max.ms: 100, socket.timeout.ms: 3000')

    def node(self, name, folder=None, partitions=None, started=True, text=None):
        return super().node(name, folder, partitions, started, self.text())

    def next_of(self, places):
        """Rounds whose seeds follow each other have all of them."""
        self.turns[len(places)] += 1
        return places[(self.seed // 2 + 7 * self.turns[len(places)]) % len(places)]

    # ---- Faults, each to a node; they return what they were ----------------------------------------

    def kill(self, name, _):
        self.nodes[name].restart()
        return 'kill -9'

    def term(self, name, _):
        self.nodes[name].stop()
        self.producer.send(100)
        self.nodes[name].start()
        return 'orderly stop'

    def rolling(self, *_):
        """All of them, one after the other."""
        for name, node in self.nodes.items():
            if name in self.ending:
                self.end(name)
            else:
                node.stop()
            self.producer.send(50)
            node.start()
        return 'rolling restart under load'

    def postgres(self, *_):
        self.pg.restart()
        return 'crash of PostgreSQL'

    def another(self, name, n):
        """Machine goes on with the shard. Who is stopped before it has taken all of its tables would take the others once it wakes up, as
        whoever begins last does: it is killed instead."""
        old, taken = self.nodes[name], 0
        copy = self.copy_of(old, f'copy{n}')
        self.producer.send(400)
        old.process.send_signal(signal.SIGSTOP)
        with contextlib.suppress(AssertionError):  # PostgreSQL may be away
            taken = int(self.pg.psql(f"SELECT count(*) FROM weir.weir_shards WHERE shard = '{name}' AND pid = {old.process.pid}")[0])
        self.nodes[name] = self.node(name, copy)
        if taken == TABLES:
            self.stopped.append(old)
        else:
            self.notes['not woken up, as not all tables were its own'] += 1
            old.kill()

    def copy(self, name, n):
        self.another(name, n)
        return 'SIGSTOP anywhere, another goes on, SIGCONT'

    def point(self, name, _):
        """In a while; it may be before it answers. It is counted once it has been."""
        self.nodes[name].kill()
        self.ending[name] = self.next_of(POINTS)
        self.nodes[name].start_process(WEIR_FAULT=f'{self.ending[name]}:{self.dice.randrange(1, 12)}')

    def was_killed(self, node):
        return node.process.poll() == -signal.SIGKILL

    def end(self, name):
        """Who is killed at a place, or was."""
        place = self.ending.pop(name)
        there = self.was_killed(self.nodes[name])
        self.done[f'kill -9 at {place}' if there else 'kill -9 at a place that was not reached, then anywhere'] += 1
        self.nodes[name].kill()

    def hang(self, name, n):
        """At a named place of a transaction, for longer than PostgreSQL lets it; another one goes on meanwhile, or none."""
        node, place = self.nodes[name], self.next_of(HANGS)
        node.kill()
        node.start_process(WEIR_FAULT=f'{place}:{self.dice.randrange(1, 6)}:stop')
        where = self.wait_stopped(place, lambda: [node.process.pid])
        if self.dice.random() < 0.5:
            self.another(name, n)
            return f'SIGSTOP {where}, another goes on, SIGCONT'
        self.producer.send(100)
        time.sleep(6)  # idle_in_transaction_session_timeout is 5 s
        node.process.send_signal(signal.SIGCONT)
        return f'SIGSTOP {where}, past all time-outs, SIGCONT'

    def wait_stopped(self, place, pids):
        """Some of them; so many transactions may not be needed."""
        with contextlib.suppress(AssertionError):
            harness.wait_until(lambda: self.producer.send(50) or any(map(harness.is_stopped, pids())), place, limit_s=15, every_s=0.1)
            return WHERE.get(place, f'at {place}')
        for pid in pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        return 'anywhere'

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
        return 'failover to a standby that is behind' + ', the old primary alive for some' * alive

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
        way, (to, some) = self.dice.choice(['in', 'out', 'both']), self.dice.choice(
            [('PostgreSQL', ports), ('brokers', kafka), ('both', ports + kafka)])
        node.machine.cut(way, *some)
        self.producer.send(300)
        if self.dice.random() < 0.4:
            self.another(name, n)
        self.producer.send(300)
        time.sleep(self.dice.uniform(0.5, 5))
        node.machine.mend()
        return f'link to {to} cut, ' + ('both ways' if way == 'both' else 'one way')

    def silence(self, _, n):
        """On one partition, while its shard is taken over: windows end without it."""
        p = self.dice.choice([0, 1, 3, 4, 5])
        name = 'a' if p < 2 else 'c'
        if name in self.ending:
            self.end(name)
            self.nodes[name].start()
        self.producer.silent = {p}
        self.producer.send(200)
        self.another(name, n)
        self.producer.send(200)
        last = max(ts for ts, k, _ in self.producer.sent if test_shards.partition_of(k) // 2 == p // 2 or name == 'c'
                   and test_shards.partition_of(k) > 2)
        self.wait_far(f"SELECT max(window_start) >= to_timestamp({last // 1000 - 1}) FROM weir.quiet WHERE weir_shard = '{name}'", ['t'],
                      'windows without a partition')
        self.producer.silent = set()
        return 'silence on one partition during a takeover'

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
        last = n == self.faults - 1 and 'copy' in self.kinds  # it wakes up when all else is over: nobody mends what it does
        what = 'copy' if last else self.dice.choices(*zip(*self.kinds.items()))[0]
        if name in self.ending:
            self.end(name)
            self.restart(name)
        self.not_fenced()
        done = getattr(self, what)(name, n)
        if done:
            self.done[done] += 1
        if self.stopped and not last and self.dice.random() < 0.6:
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
        totals = collections.defaultdict(list)
        for _, k, v in producer.sent:
            totals[k].append(v)
        self.wait_rows("SELECT k, count, v_sum FROM weir.totals WHERE k NOT LIKE 'end%'",
                       sorted(f'{k}|{len(vs)}|{sum(vs)}' for k, vs in totals.items()))

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
        for name in list(self.ending):
            self.end(name)
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


NODE_HANGS = [*HANGS, 'copy_begin', 'copy_fenced', 'copy_commit']
NODE_POINTS = [*POINTS, 'copy_claim', 'copy_claimed', 'copy_begin', 'copy_snapshot', 'copy_fenced', 'copy_commit', 'copy_committed']
NODE_WEIGHTS = {'kill': 3, 'term': 1, 'rolling': 1, 'server': 2, 'freeze': 2, 'hang': 4, 'point': 3, 'postgres': 1, 'failover': 2, 'silence': 1,
                'link': 3}
SESSION_S = 3


class Nodes(Fixed):
    """Three nodes with eight partitions, in as many shards or half of them, whose databases are kept in PostgreSQL: folders go with them."""

    def setUp(self):
        test_shards.PARTITIONS = 8
        super().setUp()
        self.shards = self.dice.choice([4, 8])

    def text(self):
        text = super().text().replace('server:\n  listen: {listen}\n  database: {folder}/weir.db', 'server:')
        text = text.replace('shard: "${WEIR_NODE}"', 'shard: "${WEIR_SHARD}", copy: 200ms').replace('topics: orders', f'topics: {self.topic}')
        text += f'nodes: {{shards: {self.shards}, partitions: 8, session: {SESSION_S}s, address: "127.0.0.1:0"}}\n'
        return text.replace('CONNECT', self.pg.connect).replace('SERVERS', self.cluster.servers)

    def node(self, name, *_, **__):
        return nodes.Node(self, name, self.text(), os.path.join(self.folder, name), machine=self.machine()).start()

    def again(self, name, wiped=0.5):
        """It was ended."""
        if self.dice.random() < wiped:
            self.notes['folders deleted'] += 1
            shutil.rmtree(self.nodes[name].shards, ignore_errors=True)
        if self.dice.random() < 0.4:  # others have its shards then
            time.sleep(SESSION_S + 1)
        self.nodes[name].start()

    def kill(self, name, _):
        self.nodes[name].kill()
        self.again(name)
        return 'kill -9, servers with it'

    def another(self, name, n):
        self.kill(name, n)

    def term(self, name, _):
        self.nodes[name].end()
        self.again(name)
        return 'orderly stop'

    def rolling(self, *_):
        for name, node in self.nodes.items():
            if name in self.ending:
                self.end(name)
            else:
                node.end()
            self.producer.send(50)
            self.again(name, 0.2)
        return 'rolling restart under load'

    def server(self, name, _):
        pids = sorted(self.nodes[name].servers().values())
        with contextlib.suppress(ProcessLookupError, IndexError):
            os.kill(self.dice.choice(pids), signal.SIGKILL)
        return 'kill -9 of one server'

    def stop_and_go(self, pids, at_least_s):
        self.signal(pids, signal.SIGSTOP)
        self.producer.send(300)
        time.sleep(self.dice.uniform(at_least_s, at_least_s + 3))
        self.producer.send(100)
        self.signal(pids, signal.SIGCONT)

    def signal(self, pids, number):
        for pid in self.dice.sample(pids, len(pids)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def freeze(self, name, _):
        """A whole machine, for longer than its session; or its node sleeps, and its servers do not."""
        node = self.nodes[name]
        if self.dice.random() < 0.5:
            self.stop_and_go([node.process.pid, *node.servers().values()], SESSION_S)
            return 'SIGSTOP of a whole machine past its session, SIGCONT'
        self.stop_and_go([node.process.pid], SESSION_S + 1)
        return 'SIGSTOP of a node past its session, not of its servers, SIGCONT'

    def hang(self, name, _):
        """Servers stop at a place, for longer than PostgreSQL lets them; their node sleeps, too, so that others go on, and sleeps on when they
        wake up: it does not end them."""
        node, place = self.nodes[name], self.next_of(NODE_HANGS)
        node.kill()
        node.start(WEIR_FAULT=f'{place}:{self.dice.randrange(1, 6)}:stop')
        where = self.wait_stopped(place, lambda: list(node.servers().values()))
        if self.dice.random() < 0.3:
            self.producer.send(100)
            time.sleep(6)  # idle_in_transaction_session_timeout is 5 s
            self.signal(list(node.servers().values()), signal.SIGCONT)
            time.sleep(self.dice.uniform(1, 3))
            self.restart(name)  # its next servers would stop there, too
            return f'SIGSTOP {where}, past all time-outs, SIGCONT'
        node.signal(signal.SIGSTOP)
        self.producer.send(300)
        time.sleep(self.dice.uniform(SESSION_S + 2, SESSION_S + 5))
        self.producer.send(300)
        self.signal(list(node.servers().values()), signal.SIGCONT)
        self.producer.send(300)
        time.sleep(self.dice.uniform(2, 5))
        node.signal(signal.SIGCONT)
        time.sleep(self.dice.uniform(0, 2))
        self.restart(name)
        return f'SIGSTOP {where}, another goes on, SIGCONT'

    def point(self, name, _):
        self.nodes[name].kill()
        self.ending[name] = self.next_of(NODE_POINTS)
        self.nodes[name].start(WEIR_FAULT=f'{self.ending[name]}:{self.dice.randrange(1, 12)}')

    def was_killed(self, node):
        return node.said('was killed by signal 9')

    def silence(self, _, n):
        p = self.dice.randrange(8)
        for name in list(self.ending):
            self.end(name)
            self.nodes[name].start()
        self.producer.silent = {p}
        self.producer.send(200)
        owner = self.pg.psql(f'SELECT node FROM weir.weir_leases WHERE shard = {p % self.shards}')
        self.kill(owner[0] if owner and owner[0] in self.nodes else 'a', n)
        self.producer.send(200)
        others = [ts for ts, k, _ in self.producer.sent if test_shards.partition_of(k) % self.shards == p % self.shards]
        if self.shards < 8:
            self.wait_far(f"SELECT max(window_start) >= to_timestamp({max(others) // 1000 - 1}) FROM weir.quiet"
                          f" WHERE weir_shard = '{p % self.shards}'", ['t'], 'windows without a partition')
        self.producer.silent = set()
        return 'silence on one partition during a takeover'

    def not_fenced(self):
        """Servers may be."""

    def restart(self, name):
        self.nodes[name].kill()
        self.nodes[name].start()

    def check_shards(self, producer):
        found = self.pg.psql('SELECT DISTINCT k, weir_shard FROM weir.sums ORDER BY 1')
        self.assertEqual(sorted(found), sorted({f'{k}|{test_shards.partition_of(k) % self.shards}' for _, k, _ in producer.sent}))

    def tell(self):
        for sql in ('SELECT now(), * FROM weir.weir_leases ORDER BY shard', 'SELECT * FROM weir.weir_copies ORDER BY shard',
                    'SELECT shard, table_name, seq, epoch, writer, changed, watermark, pid FROM weir.weir_shards ORDER BY 1, 2'):
            print(*self.pg.psql(sql), sep='\n')
        for name, node in self.nodes.items():
            print(f'---- {name}', *node.log[-60:], sep='\n')
        if 'WEIR_SHARD_KEEP' in os.environ:
            for name, node in self.nodes.items():
                node.end()
                shutil.copytree(node.folder, os.path.join(os.environ['WEIR_SHARD_KEEP'], f'{os.getpid()}-{name}'))


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


class Round:
    """What was done in it, what came out."""

    def __init__(self, seed, given):
        self.kind = 'nodes' if given.servers == 'nodes' or given.servers == 'both' and seed % 2 == 0 else 'fixed'
        about = {'seed': seed, 'kinds': kinds_of(given, NODE_WEIGHTS if self.kind == 'nodes' else WEIGHTS),
                 'faults': min(A_ROUND, given.faults - (seed - given.seed) * A_ROUND)}
        done = subprocess.run([sys.executable, __file__, f'{self.kind.capitalize()}.test_round'], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, check=False,
                              env={'WEIR_TEST_LIMIT': '180', **os.environ, 'WEIR_ROUND': json.dumps(about)})
        if done.returncode:
            print(done.stdout[-20000:])
        found = re.search(r'done (\[.*)$', done.stdout, re.M)
        self.faults, self.notes = map(collections.Counter, json.loads(found[1]) if found else ({}, {}))
        self.wrong, self.lost = [int(n) for n in re.search(r'wrong=(\d+) lost=(\d+)', done.stdout + ' wrong=0 lost=0').groups()]
        self.result = 'failed' if done.returncode else 'skipped' if 'skipped=' in done.stdout else 'passed'
        print(f'seed {seed}, {self.kind}: {self.result}: ' + '; '.join(f'{what} {n}' for what, n in self.faults.items()), flush=True)


def show(rounds, to_brokers):
    """How often what was done, to which kind of server; notes; the sums."""
    faults = {kind: sum((r.faults for r in rounds if r.kind == kind), collections.Counter()) for kind in ('fixed', 'nodes')}
    notes = sum((r.notes for r in rounds), collections.Counter())
    n = collections.Counter(r.result for r in rounds)
    print(f'\n{"fault":76}{"fixed":>7}{"nodes":>7}')
    for what in sorted(faults['fixed'] | faults['nodes']):
        print(f'{what:76}{faults["fixed"][what]:7}{faults["nodes"][what]:7}')
    print(f'{"all":76}{faults["fixed"].total():7}{faults["nodes"].total():7}')
    print(f'rounds{"":70}{sum(r.kind == "fixed" for r in rounds):7}{sum(r.kind == "nodes" for r in rounds):7}\n')
    for some in (to_brokers, notes):
        if some:
            print(', '.join(f'{what} {n}' for what, n in sorted(some.items())))
    print(f'shards: {len(rounds)} rounds, {faults["fixed"].total() + faults["nodes"].total() + to_brokers.total()} faults,'
          f' {sum(r.wrong for r in rounds)} wrong, {sum(r.lost for r in rounds)} lost')
    print(f'{n["passed"]} passed, {n["failed"]} failed, {n["skipped"]} skipped')
    return n['failed'] != 0


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
    parser.add_argument('--without-fences', action='store_true',
                        help='nothing keeps off who had a table or a shard before but that it asks when it connects: rows have to be wrong')
    given = parser.parse_args()
    if given.links and given.broker == 'mock':
        parser.error('--links wants --broker kafka: machines do not see the other one')
    if given.without_fences:
        os.environ |= {'WEIR_FAULT_SKIP': 'carry_fence,carry_end,copy_fence,copy_end', 'WEIR_TEST_LIMIT': os.environ.get('WEIR_TEST_LIMIT', '60')}
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
    with some_kafka(given) as to_brokers, concurrent.futures.ThreadPoolExecutor(given.jobs) as pool:
        rounds = list(pool.map(lambda seed: Round(seed, given), seeds))
    failed = show(rounds, to_brokers)
    return failed != given.without_fences


if __name__ == '__main__':
    if 'WEIR_ROUND' in os.environ:
        unittest.main()
    sys.exit(main())
