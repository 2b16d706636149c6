# SPDX-License-Identifier: Apache-2.0
"""Nodes take over shards from each other: at any time each shard is run by one of those that live, none moves that need not, and rows in
PostgreSQL are those that Python makes of all messages, each once."""

import collections
import hashlib
import json
import os
import re
import shutil
import signal
import ssl
import unittest
import urllib.parse

import brokers
import harness
import nodes
import postgres
import test_shards
from test_postgresql import Base

try:
    import test_tls
except unittest.SkipTest:
    test_tls = None

CONFIG = test_shards.CONFIG.replace('${WEIR_NODE}', '${WEIR_SHARD}').replace('server:\n  listen: {listen}\n  database: {folder}/weir.db', 'server:').replace('backoff: 20ms', 'copy: 100ms, backoff: 20ms') + '''
nodes: {shards: SHARDS, partitions: SHARDS, session: SESSION, address: "127.0.0.1:0"}
'''
SHARDS = test_shards.PARTITIONS
# Stops at a great value: integer overflow.
FRAGILE = '''  fragile: {from: s, key: [k], window: {tumbling: 1s}, idle_timeout: 1h,
            analyzers: [{sql: "SELECT abs(-9223372036854775807 - (max(v) > 1e9)) AS n FROM events"}]}
'''
TOTALS = '  totals: {from: s, key: [k], window: {global: 1s}, idle_timeout: 1h, analyzers: [count, {sum: {of: v}}]}\n'


def moved(before, after):
    return sum(before[shard] != after[shard] for shard in before)


class Cluster(Base):
    """PostgreSQL, Kafka, and nodes; rows are those of all messages."""
    wait_rows, wait_model = test_shards.Shards.wait_rows, test_shards.Shards.wait_model

    def setUp(self):
        super().setUp()
        self.cluster = brokers.Brokers()
        self.addCleanup(self.cluster.close)
        self.cluster.topic('orders', SHARDS)
        self.producer = test_shards.Producer(self.cluster)
        self.nodes = {}

    def text(self, session='2s', server='', more=''):
        return (CONFIG.replace('server:\n', f'server:\n{server}').replace('\nnodes:', f'{more}\nnodes:').replace('CONNECT', self.pg.connect).replace('SERVERS', self.cluster.servers)
                .replace('SHARDS', str(SHARDS)).replace('SESSION', session))

    def node(self, name, text=None, env=None, **more):
        """In a folder of its own: nobody else has what is in it."""
        node = self.nodes[name] = nodes.Node(self, name, text or self.text(**more), os.path.join(self.folder, name))
        return node.start(**env or {})

    def fail_at(self, shard):
        """A pipeline of the shard is to stop: of two windows, that of the first event, which fails, is closed by the second."""
        for ts in (test_shards.END + 5000, test_shards.END + 10000):
            self.cluster.send('orders', json.dumps({'ts': ts, 'k': 'x', 'v': 2 * 10**9}), partition=shard)

    def leases(self):
        """{shard: node}, '' where it is nobody's; nothing before the first node has made the table."""
        if self.pg.psql("SELECT to_regclass('weir.weir_leases')") == ['']:
            return {}
        return {int(shard): node for shard, node in
                (line.split('|') for line in self.pg.psql('SELECT shard, node FROM weir.weir_leases ORDER BY 1'))}

    def wait_shares(self, **expected):
        """So many shards are run and ready at each, and those of all are all."""
        def are_those():
            if dict(collections.Counter(self.leases().values())) != {name: n for name, n in expected.items() if n}:
                return False
            lines = self.pg.psql('SELECT shard FROM weir.weir_leases WHERE address IS NOT NULL')
            return len(lines) == SHARDS
        harness.wait_until(are_those, f'shares {expected}', every_s=0.05)
        return self.leases()


@unittest.skipUnless(brokers.there(), 'built without librdkafka')
@unittest.skipIf(brokers.traced(), 'ThreadSanitizer knows nothing of librdkafka')
class Nodes(Cluster):
    def test_who_is_killed_is_followed_by_the_others(self):
        a = self.node('a')
        before = self.wait_shares(a=SHARDS)
        self.producer.send(300)
        b = self.node('b')
        after = self.wait_shares(a=SHARDS // 2, b=SHARDS // 2)
        self.assertEqual(moved(before, after), SHARDS // 2)
        self.producer.send(300)
        a.wait_ready()
        servers = a.servers()
        self.assertEqual(set(servers), {shard for shard, node in after.items() if node == 'a'})
        a.kill()
        harness.wait_until(lambda: not any(nodes.is_running(pid) for pid in servers.values()), 'its servers to end with it')
        self.producer.send(300)
        self.wait_shares(b=SHARDS)
        self.assertTrue(b.said("taken over from node 'a', which is over"))
        self.producer.end()
        self.wait_model(self.producer)
        self.assertEqual(b.end(), 0)
        self.assertEqual(set(self.leases().values()), {''})
        self.assertEqual(self.pg.psql('SELECT node FROM weir.weir_nodes'), ['a'])  # forgotten after a day

    def test_only_what_must_move_moves(self):
        """Three, one stops in order, comes again, begins again within its session."""
        for name in 'abc':
            self.node(name, session='10s')
            before = self.wait_shares(**{name: SHARDS // len(self.nodes) for name in self.nodes})
        a, b, c = self.nodes.values()
        self.producer.send(300)
        self.assertEqual(a.end(), 0)
        after = self.wait_shares(b=3, c=3)
        self.assertEqual(moved(before, after), 2)
        self.producer.send(300)
        a.start()
        before = self.wait_shares(a=2, b=2, c=2)
        self.assertEqual(moved(before, after), 2)
        since = self.pg.psql('SELECT shard, since FROM weir.weir_leases ORDER BY 1')
        a.kill()
        a.start()
        a.wait_said('ours still')
        a.wait_ready()
        self.assertEqual(self.pg.psql('SELECT shard, since FROM weir.weir_leases ORDER BY 1'), since)
        self.producer.send(300)
        self.producer.end()
        self.wait_model(self.producer)
        self.assertEqual([b.end(), c.end(), a.end()], [0, 0, 0])
        self.assertEqual(self.pg.psql('SELECT count(*) FROM weir.weir_nodes'), ['0'])

    def test_a_restart_moves_nothing(self):
        """In order, and said to be one."""
        a, b = self.node('a', session='10s, restart: 1m'), self.node('b', session='10s, restart: 1m')
        self.wait_shares(a=3, b=3)
        self.producer.send(300)
        a.wait_ready()
        b.wait_ready()
        leases = 'SELECT shard, node, since FROM weir.weir_leases ORDER BY 1'
        before, others, mine = self.pg.psql(leases), b.servers(), a.servers()
        self.assertEqual(a.end(signal.SIGUSR1), 0)
        self.assertFalse(any(nodes.is_running(pid) for pid in mine.values()))
        self.assertEqual(self.pg.psql("SELECT restarting, until > now() + interval '10s' FROM weir.weir_nodes WHERE node = 'a'"), ['t|t'])
        harness.wait_until(lambda: [n['state'] for n in b.get('/api/v1/nodes')[1]['nodes']] == ['restarts', 'lives'], 'b to see it')
        states = collections.Counter((s['node'], s['state']) for s in b.get('/api/v1/nodes')[1]['shards'])
        self.assertEqual(states, {('a', 'restarts'): 3, ('b', 'ready'): 3})
        self.producer.send(300)
        a.start()
        a.wait_said('ours still')
        self.wait_shares(a=3, b=3)
        a.wait_ready()
        self.assertEqual((self.pg.psql(leases), b.servers()), (before, others))
        self.assertEqual(self.pg.psql('SELECT DISTINCT restarting FROM weir.weir_nodes'), ['f'])
        self.producer.send(300)
        self.producer.end()
        self.wait_model(self.producer)

    def test_who_restarts_gets_nothing_meanwhile(self):
        a, b, c = (self.node(name, session='3s, restart: 10m') for name in 'abc')
        self.wait_shares(a=2, b=2, c=2)
        a.wait_ready()
        self.assertEqual(a.end(signal.SIGUSR1), 0)
        c.kill()
        harness.wait_until(lambda: collections.Counter(self.leases().values()) == {'a': 2, 'b': 4}, 'b to have those of c')
        b.wait_ready()
        a.start()
        self.wait_shares(a=3, b=3)

    def test_who_does_not_come_again_is_followed(self):
        a = self.node('a', session='2s, restart: 500ms')
        b = self.node('b', session='2s, restart: 500ms')
        self.wait_shares(a=3, b=3)
        self.producer.send(300)
        self.assertEqual(a.end(signal.SIGUSR1), 0)
        self.wait_shares(b=SHARDS)
        self.assertTrue(b.said("taken over from node 'a', which is over"))
        self.producer.end()
        self.wait_model(self.producer)

    def test_who_is_stopped_wakes_up_and_changes_nothing(self):
        a, b = self.node('a'), self.node('b')
        self.wait_shares(a=3, b=3)
        self.producer.send(300)
        a.wait_ready()
        servers = a.servers()
        a.signal(signal.SIGSTOP)
        for pid in servers.values():
            os.kill(pid, signal.SIGSTOP)
        self.producer.send(300)
        self.wait_shares(b=SHARDS)
        self.producer.send(300)
        for pid in servers.values():
            os.kill(pid, signal.SIGCONT)  # they go on with what they had under way, and are superseded
        a.signal(signal.SIGCONT)
        harness.wait_until(lambda: not any(nodes.is_running(pid) for pid in servers.values()), 'their end')
        self.wait_shares(a=3, b=3)
        b.wait_ready()
        self.producer.send(300)
        self.producer.end()
        self.wait_model(self.producer)

    def woken(self, place, *skipped):
        """A node and its servers are stopped, these at a place. Another node takes all shards, and its servers end none of the sessions of the
        others; at length these wake up, before their node. Returns whether rows are those of all events."""
        go, skip = os.path.join(self.folder, 'go'), ','.join(['copy_end', 'carry_end', *skipped])
        text = re.sub('(?<=\npipelines:\n).*(?=\nnodes:)', TOTALS, self.text(), flags=re.DOTALL)
        a = self.node('a', text, {'WEIR_FAULT': f'{place}:{go}:stop', 'WEIR_FAULT_SKIP': skip})
        self.wait_shares(a=SHARDS)
        self.producer.send(300)
        a.wait_ready()
        self.wait_far('SELECT count(*) FROM weir.totals', ['40'], 'rows')
        with open(go, 'wb'):  # one that has stopped long before the others is ended, and another one begun, which stops, too
            harness.wait_until(lambda: self.producer.send(50) or len(a.servers()) == SHARDS and all(map(harness.is_stopped, a.servers().values())), place, every_s=0.1)
        a.signal(signal.SIGSTOP)
        servers = a.servers()
        b = self.node('b', text, {'WEIR_FAULT_SKIP': skip})
        self.wait_shares(b=SHARDS)
        b.wait_ready()
        self.producer.send(1000)
        self.producer.end()
        harness.wait_until(self.totals_there, 'the totals', every_s=0.1)
        b.kill()
        for pid in servers.values():
            os.kill(pid, signal.SIGCONT)
        harness.wait_until(lambda: not any(nodes.is_running(pid) for pid in servers.values()), 'their end')
        return self.totals_there()

    def totals_there(self):
        expected = collections.defaultdict(list)
        for _, k, v in self.producer.sent:
            expected[k].append(v)
        return (sorted(self.pg.psql("SELECT k, count, v_sum FROM weir.totals WHERE k NOT LIKE 'end%'"))
                == sorted(f'{k}|{len(vs)}|{sum(vs)}' for k, vs in expected.items()))

    @unittest.skipUnless(harness.with_faults(), 'built without --enable-faults')
    def test_servers_that_wake_up_in_their_old_sessions_change_nothing(self):
        self.assertTrue(self.woken('carry_begin'))

    @unittest.skipUnless(harness.with_faults(), 'built without --enable-faults')
    def test_without_the_fence_they_would(self):
        self.assertFalse(self.woken('carry_begin', 'carry_fence'))

    def test_postgresql_goes_and_comes(self):
        a, b = self.node('a'), self.node('b')
        before = self.wait_shares(a=3, b=3)
        servers = {**a.servers(), **b.servers()}
        self.pg.stop()
        for node in (a, b):  # others may take its shards from now on, as far as it knows
            node.wait_said('the session is over')
        harness.wait_until(lambda: not any(nodes.is_running(pid) for pid in servers.values()), 'their servers to be killed')
        self.assertEqual(a.get('/ready')[0], 503)
        self.producer.send(300)
        self.pg.start()
        for node in (a, b):
            node.wait_said('PostgreSQL answers')
            node.wait_ready()
        self.assertEqual(self.wait_shares(a=3, b=3), before)
        self.producer.end()
        self.wait_model(self.producer)

    def test_a_stop_does_not_wait_for_postgresql(self):
        a = self.node('a')
        self.wait_shares(a=SHARDS)
        self.pg.stop()
        a.wait_said('the session is over')
        self.assertEqual(a.end(), 0)

    def test_a_server_that_hangs_is_ended_and_started_again(self):
        a = self.node('a', session='20s')
        self.wait_shares(a=SHARDS)
        a.wait_ready()
        pid = a.servers()[2]
        os.kill(pid, signal.SIGSTOP)
        a.wait_said('shard 2: its server has said nothing for 20 s')
        harness.wait_until(lambda: a.servers().get(2) not in (None, pid), 'another one')
        a.wait_ready()

    def test_what_somebody_drops_there_is_made_again(self):
        """With all rows, and a copy that is whole."""
        a = self.node('a', session='10s')
        self.wait_shares(a=SHARDS)
        self.producer.send(300)
        self.wait_rows('SELECT count(*) FROM weir.rows', ['300'])
        self.wait_rows('SELECT count(*) > 0 FROM weir.sums', ['t'])
        self.pg.psql('DROP TABLE weir.rows, weir.weir_copy_pages, weir.weir_nodes, weir.weir_positions, weir.weir_shards; ALTER TABLE weir.sums DROP COLUMN v_sum;'
                     'DELETE FROM weir.weir_leases WHERE shard = 1')
        a.wait_said('weir_nodes')
        self.producer.send(300)
        self.wait_rows('SELECT count(*) FROM weir.rows', ['600'])
        self.wait_shares(a=SHARDS)
        a.kill()
        b = self.node('b', session='2s')
        self.wait_shares(b=SHARDS)
        self.producer.send(300)
        self.producer.end()
        self.wait_model(self.producer)
        self.assertFalse(b.said('damaged'))

    def test_who_loses_its_connections_takes_over(self):
        a, b = self.node('a', session='4s'), self.node('b', session='4s')
        self.wait_shares(a=SHARDS // 2, b=SHARDS // 2)
        b.kill()

        def has_all():
            self.pg.psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%weir_nodes%' AND pid <> pg_backend_pid()")
            return set(self.leases().values()) == {'a'}
        harness.wait_until(has_all, 'a to take over', every_s=1)
        a.wait_ready()

    def test_a_session_does_not_end_while_much_is_given_back(self):
        a = self.node('a', session=f'{harness.scaled(6):g}s')
        self.wait_shares(a=SHARDS)
        a.wait_ready()
        self.pg.psql(f"CREATE FUNCTION slow() RETURNS trigger AS $$BEGIN PERFORM pg_sleep({harness.scaled(1.2):g}); RETURN NULL; END$$ LANGUAGE plpgsql;"
                     "CREATE TRIGGER slow AFTER UPDATE ON weir.weir_leases FOR EACH STATEMENT EXECUTE FUNCTION slow()")
        self.assertEqual(a.end(), 0)  # six of them, one after the other
        self.assertFalse(a.said('the session is over'))

    def test_what_it_answers(self):
        a = nodes.Node(self, 'a', self.text(), os.path.join(self.folder, 'a'))
        listed = harness.weir('node', '--list', '-c', a.path)  # who asks makes nothing
        self.assertEqual((listed.returncode, listed.stdout), (69, ''))
        self.assertIn("in schema 'weir' of PostgreSQL there are no tables of nodes", listed.stderr)
        self.assertEqual(self.pg.psql("SELECT to_regnamespace('weir')"), [''])
        a.start()
        self.wait_shares(a=SHARDS)
        a.wait_ready()
        status, found = a.get('/api/v1/nodes')
        self.assertEqual((status, found['node'], found['session']), (200, 'a', '2s'))
        harness.wait_until(lambda: all(shard['state'] == 'ready' for shard in a.get('/api/v1/nodes')[1]['shards']), 'their states')
        found = a.get('/api/v1/nodes')[1]
        self.assertEqual([(node['node'], node['state'], node['shards']) for node in found['nodes']], [('a', 'lives', SHARDS)])
        self.assertEqual([(shard['shard'], shard['partitions'], shard['node']) for shard in found['shards']],
                         [(str(i), [i], 'a') for i in range(SHARDS)])
        self.assertEqual((a.metric('weir_node_shards'), a.metric('weir_node_shards_ready'), a.metric('weir_node_connected')),
                         (SHARDS, SHARDS, 1))
        self.assertEqual(a.get('/live')[0], 200)
        self.assertEqual(a.get('/live?x=1')[0], 400)
        checked = harness.weir('check', '-c', a.path)
        self.assertIn('WEIR_SHARD=0 WEIR_PARTITIONS=0 weir ...', checked.stderr)
        listed = harness.weir('node', '--list', '-c', a.path)
        self.assertEqual(listed.returncode, 0, listed.stderr)
        lines = [line.split() for line in listed.stdout.splitlines()]
        self.assertEqual(lines[1][:3], ['a', 'lives', str(SHARDS)])
        self.assertEqual([line[:3] + line[-1:] for line in lines[4:]], [[str(i), 'a', 'ready', str(i)] for i in range(SHARDS)])
        top = harness.weir('top', '--once', '-i', '0.1', '--url', a.address())
        self.assertEqual((top.returncode, top.stderr), (0, ''))
        lines = [line.split() for line in top.stdout.splitlines()]
        self.assertEqual(lines[4][:3], ['a', 'lives', str(SHARDS)])
        self.assertEqual([line[:3] + line[-1:] for line in lines[7:]], [[str(i), 'a', 'ready', str(i)] for i in range(SHARDS)])
        # The page, whose files are all there.
        files, found = {''}, ['']
        while found:
            text = a.get('/' + found.pop())[1]
            new = {f'page/{name}' for name in re.findall(r'(?:"\./|/page/)([a-z]+\.(?:js|css))"', text)} - files
            files |= new
            found += new
        self.assertLess({'page/nodes.js', 'page/theme.js', 'page/net.js', 'page/style.css'}, files)
        # Rows of all shards, from any of them.
        self.producer.send(300)
        self.producer.end()
        self.wait_model(self.producer)
        rows = json.loads(a.get('/api/v1/pipelines/sums/results?limit=10000&format=json')[1])
        self.assertEqual(sorted(f"{test_shards.json_time(row['window_start'])}|{row['k']}|{row['count']}|{row['v_sum']}" for row in rows),
                         self.producer.sums())
        self.assertEqual({row['weir_shard'] for row in rows}, {str(i) for i in range(SHARDS)})
        # A server that ends is started again, and is told.
        os.kill(a.servers()[2], signal.SIGKILL)
        a.wait_said('shard 2: its server was killed by signal 9 (Killed); it is started again in 0.1 s')
        harness.wait_until(lambda: a.metric('weir_node_restarts_total') == 1 and a.get('/ready')[0] == 200, 'another one')

    def test_servers_say_which_shard_they_are_and_how_they_are(self):
        """One that is started, but not ready, is seen: here a pipeline of it has stopped."""
        a = self.node('a', more=FRAGILE)
        self.wait_shares(a=SHARDS)
        a.wait_ready()
        for i in range(SHARDS):
            a.wait_said(f' part=serve shard={i} msg="listening on ')
        self.producer.send(300)
        lags = "SELECT count(*) FROM weir.weir_leases WHERE lag = 0 AND problem IS NULL"
        harness.wait_until(lambda: self.pg.psql(lags) == [str(SHARDS)], 'all to have read all')
        self.fail_at(4)
        found = harness.wait_until(lambda: [s for s in a.get('/api/v1/nodes')[1]['shards'] if s['state'] == 'not_ready'], 'what is not ready')
        self.assertEqual([(s['shard'], s['state'], s['address'] is None) for s in found], [('4', 'not_ready', False)])
        self.assertIn('overflow', found[0]['problem'])
        status, answer = a.get('/ready')
        self.assertEqual((status, answer['code']), (503, 'not_ready'))
        self.assertEqual(answer['detail'], 'the server of shard 4: ' + found[0]['problem'])
        self.assertEqual(a.metric('weir_node_shards_ready'), SHARDS - 1)
        a.wait_said('shard 4: its server is not ready: ' + found[0]['problem'])
        listed = harness.weir('node', '--list', '-c', a.path).stdout.splitlines()
        self.assertEqual([line.split()[:3] for line in listed if 'not_ready' in line], [['4', 'a', 'not_ready']])
        self.assertEqual(listed[-1], 'shard 4: ' + found[0]['problem'])
        top = harness.weir('top', '--once', '-i', '0.1', '--url', a.address()).stdout.splitlines()
        self.assertEqual(top[-1], 'shard 4: ' + found[0]['problem'])

    @unittest.skipIf(test_tls is None, 'no openssl, or no TLS')
    def test_sighup_renews_certificates(self):
        """Those of the node, and of its servers."""
        def use(name):
            path = test_tls.make_certificate(self.folder, name)
            for kind in ('key', 'pem'):
                shutil.copy(f'{path}.{kind}', os.path.join(self.folder, f'tls.{kind}'))
            with open(f'{path}.pem', encoding='ascii') as file:
                return ssl.PEM_cert_to_DER_cert(file.read())

        def shown(address):
            where = urllib.parse.urlsplit(address)
            return ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate((where.hostname, where.port), timeout=harness.LIMIT_S))
        first = use('first')
        a = self.node('a', server=f'  tls: {{certificate: {self.folder}/tls.pem, key: {self.folder}/tls.key}}\n')
        self.wait_shares(a=SHARDS)
        places = [a.address()] + self.pg.psql('SELECT address FROM weir.weir_leases WHERE shard = 2')
        self.assertEqual([shown(place) for place in places], [first, first])
        second = use('second')
        a.signal(signal.SIGHUP)
        harness.wait_until(lambda: [shown(place) for place in places] == [second, second], 'the other certificate')
        a.wait_said(' part=node msg="SIGHUP: certificates were read again"')
        with open(a.path, 'ab') as file:
            file.write(b'# another one\n')
        a.signal(signal.SIGHUP)
        with open(a.path, 'rb') as file:
            definition = hashlib.sha256(file.read()).hexdigest()[:16]
        harness.wait_until(lambda: self.pg.psql('SELECT definition FROM weir.weir_nodes') == [definition], 'that it is told')

    def test_servers_that_end_are_seen_whoever_started_the_node(self):
        """Some ignore SIGCHLD, and hand that on: the kernel then tells nobody how a child has ended."""
        before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        try:
            a = self.node('a')
        finally:
            signal.signal(signal.SIGCHLD, before)
        self.wait_shares(a=SHARDS)
        os.kill(a.servers()[2], signal.SIGKILL)
        a.wait_said('shard 2: its server was killed by signal 9 (Killed); it is started again in 0.1 s')
        self.assertEqual(a.end(), 0)

    def test_who_has_the_name_of_another_one(self):
        a = self.node('a')
        self.wait_shares(a=SHARDS)
        again = self.node('a', session='2s')
        self.assertEqual(a.process.wait(harness.LIMIT_S), 78)
        a.wait_said("another 'weir node' has the name 'a'")
        again.wait_said('ours still')
        self.wait_shares(a=SHARDS)
        other = nodes.Node(self, 'b', self.text().replace(f'nodes: {{shards: {SHARDS}', 'nodes: {shards: 2'),
                           os.path.join(self.folder, 'other')).start()
        self.assertEqual(other.process.wait(harness.LIMIT_S), 78)
        other.wait_said('6 partitions are dealt out to 6 shards, here 6 to 2')


class Configuration(unittest.TestCase):
    def setUp(self):
        if not brokers.there() or not postgres.there():
            self.skipTest('built without librdkafka or libpq')
        self.folder = harness.folder_for_test(self)

    def refused(self, old, new, *words, status=78, arguments=()):
        text = CONFIG.replace('SHARDS', '6').replace('SESSION', '3s').replace('CONNECT', 'host=/').replace('SERVERS', '127.0.0.1:1')
        self.assertIn(old, text)
        path = os.path.join(self.folder, 'weir.yaml')
        with open(path, 'w', encoding='utf-8') as file:
            file.write(text.replace(old, new))
        done = harness.weir('node', '-c', path, *arguments, cwd=self.folder)
        self.assertEqual(done.returncode, status, done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)

    def test_what_is_refused(self):
        self.refused('shards: 6', 'shards: 1025', 'weir.yaml:18:17', 'from 1 to 1024')
        self.refused('partitions: 6', 'partitions: 5', 'weir.yaml:18:8', '6 shards share 5 partitions')
        self.refused('shards: 6, partitions: 6', 'shards: 1, partitions: 1024', 'more than 1023 partitions')
        self.refused('session: 3s', 'session: 100ms', 'from 500ms to 10m')
        self.refused('127.0.0.1:0', '127.0.0.1:65530', 'shard 5 would listen at port 65536')
        self.refused('127.0.0.1:0', '0.0.0.0:9000', 'can be reached from other machines')
        self.refused('127.0.0.1:0', 'unix:/tmp/x', 'expected an address and a port')
        self.refused(', shard: "${WEIR_SHARD}"', '', "'shard' is missing")
        self.refused('"${WEIR_SHARD}"', 'x', "'shard' is 'x'", '"${WEIR_SHARD}"')
        self.refused('"${WEIR_PARTITIONS}"', '"0-1"', 'partitions: "${WEIR_PARTITIONS}"')
        self.refused('  rows: {from: s', '  rows: {from: t', 'weir.yaml')
        self.refused('\nnodes:', '\n#nodes:', "'nodes' is missing")
        self.refused('streams:', 'streams:\n  t: {time: {field: ts, unit: ms}, fields: {k: string}}', "stream 't' is not read from Kafka")
        self.refused('', '', 'one argument too many', status=64, arguments=['x'])
        self.refused('', '', '--name', "found 'a b'", status=64, arguments=['--name', 'a b'])
        self.refused('', '', 'weir:', status=69, arguments=['--list'])
        self.refused('', '', "nothing can be written in '/proc'", status=69, arguments=['--dir', '/proc'])


if __name__ == '__main__':
    harness.main()
