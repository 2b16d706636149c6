# SPDX-License-Identifier: Apache-2.0
"""Topics of Kafka as a stream's source: each message once, whatever ends, and nothing passed over in silence."""

import json
import os
import random
import re
import unittest
import uuid

import brokers
import harness
import kraft

T0 = 1700000000000
SOON = 'options: {reconnect.backoff.max.ms: 100}'
CONFIG = '''
server: {listen: {listen}, database: {folder}/weir.db, checkpoint_interval: 20ms, commit_interval: 5ms}
streams:
  input:
    time: TIME
    fields: {k: string, v: int}
    source: {kafka: {brokers: "{servers}", topics: TOPICS{more}}}
pipelines:
  all: {from: input, window: none, select: [k, v], idle_timeout: 1h}
  sums: {from: input, key: [k], window: {tumbling: 10s}, idle_timeout: IDLE, late: side,
         analyzers: [count, {stats: {of: v, emit: [sum]}}]}
'''


def config(servers, more='', topics='orders', idle='1h', time='{field: ts, unit: ms}'):
    text = CONFIG.replace('{servers}', servers).replace('{more}', more and ', ' + more).replace('TOPICS', topics)
    return text.replace('IDLE', idle).replace('TIME', time)


def event(v, k='a'):
    return json.dumps({'ts': T0 + v, 'k': k, 'v': v})


def events(first, to, k='a', step=1):
    return [event(v, k) for v in range(first, to, step)]


def sums_of(values):
    """[(k, v)] as rows of `sums`, by the definition."""
    found = {}
    for k, v in values:
        at = ((T0 + v) // 10000 * 10000000, k)
        count, total = found.get(at, (0, 0))
        found[at] = (count + 1, total + v)
    return [(start, k, *found[start, k]) for start, k in sorted(found)]


@unittest.skipUnless(brokers.there(), 'built without librdkafka')
@unittest.skipIf(brokers.traced(), 'ThreadSanitizer knows nothing of librdkafka')
class Kafka(unittest.TestCase):
    def setUp(self):
        self.folder = harness.folder_for_test(self)

    def brokers(self, topic='orders', partitions=2, n=1):
        b = brokers.Brokers(n)
        self.addCleanup(b.close)
        b.topic(topic, partitions)
        return b

    def server(self, servers, *arguments, **more):
        return harness.Server(config(servers, *arguments, **more), folder=self.folder)

    @staticmethod
    def values(server):
        return sorted(server.rows('SELECT k, v FROM "all"'))

    def wait_values(self, server, expected):
        expected = sorted(expected)
        def those():
            found = self.values(server)
            self.assertLessEqual(len(found), len(expected), found[-5:])
            return found == expected
        harness.wait_until(those, f'{len(expected)} values')

    @staticmethod
    def said(server, *words):
        harness.wait_until(lambda: any(all(w in line for w in words) for line in server.log), words)

    @staticmethod
    def sums(server):
        return server.rows('SELECT window_start, k, count, v_sum FROM sums ORDER BY 1, 2')

    @staticmethod
    def wait_source(server, expected):
        harness.wait_until(lambda: server.get_json('/api/v1/streams/input')['source'] == expected, expected)

    # ---- Each once -------------------------------------------------------------------------------

    def test_each_message_once_over_kill_9_and_brokers_that_go(self):
        dice = random.Random(7)
        b = self.brokers(partitions=3)
        sent = [0, 0, 0]

        def produce(n):
            while n > 0:
                p, more = dice.randrange(3), dice.randrange(1, 400)
                lines = events(sent[p], sent[p] + more, f'p{p}')
                if dice.random() < 0.3:
                    b.send('orders', *lines[:20], '\n'.join(lines[20:]), partition=p)
                else:
                    b.send('orders', '\n'.join(lines) + '\n', partition=p)
                sent[p] += more
                n -= more

        with self.server(b.servers, SOON) as server:
            for i in range(4):
                before = len(self.values(server))
                produce(15000)
                harness.wait_until(lambda: len(self.values(server)) > before, 'rows')
                if i == 1:
                    b.do('down 1')
                    self.said(server, 'cannot be reached')
                    b.do('up 1')
                    produce(100)
                server.restart()
            expected = [(f'p{p}', v) for p in range(3) for v in range(sent[p])]
            self.wait_values(server, expected)
            self.assertEqual(server.rows('SELECT count(*) FROM sums_late'), [(0,)])
            done = server.rows('SELECT watermark FROM weir_pipelines WHERE pipeline = ?', 'sums')[0][0]
            self.assertEqual(self.sums(server), [row for row in sums_of(expected) if row[0] + 10000000 <= done])
            self.assertEqual(dict(server.rows('SELECT source, bookmark FROM weir_bookmarks')).keys(),
                             {'orders/0', 'orders/1', 'orders/2'})
            harness.wait_until(lambda: server.metric('weir_source_lag_messages', stream='input') == 0, 'no lag')

    def test_brokers_that_are_not_there_are_waited_for(self):
        b = self.brokers()
        b.send('orders', *events(0, 10))
        b.do('down 1')
        server = self.server(b.servers, SOON)
        self.addCleanup(server.kill)
        server.start_process()
        server.wait_port()
        answer = server.get('/ready')
        self.assertEqual(answer.status, 503)
        self.assertIn(b'its source is not read', answer.body)
        self.said(server, 'tried again until it can be read')
        self.assertIn('127.0.0.1', server.get_json('/api/v1/streams/input')['source']['error'])
        self.assertEqual(server.post_ok('input', [{'ts': T0, 'k': 'posted', 'v': 1}])['accepted'], 1)
        b.do('up 1')
        server.wait_ready()
        self.wait_values(server, [('posted', 1)] + [('a', v) for v in range(10)])
        self.wait_source(server, {'kind': 'kafka', 'lag': 0, 'lag_unit': 'messages', 'error': None})

    # ---- Watermarks ------------------------------------------------------------------------------

    def test_partitions_of_different_pace_do_not_make_each_other_late(self):
        b = self.brokers()
        slow, fast = range(0, 50000, 500), range(0, 400000, 20)
        b.send('orders', '\n'.join(event(v, 'fast') for v in fast), partition=1)
        for v in slow:
            b.send('orders', event(v, 'slow'))
        with self.server(b.servers, idle=f'{round(harness.LIMIT_S / 30)}s') as server:  # longer than they are read
            expected = [('slow', v) for v in slow] + [('fast', v) for v in fast]
            self.wait_values(server, expected)
            # Partition 0 is silent now, and then all are: time goes on without them.
            harness.wait_until(lambda: len(self.sums(server)) == len(sums_of(expected)), 'all windows')
            self.assertEqual(self.sums(server), sums_of(expected))
            self.assertEqual(server.rows('SELECT count(*) FROM sums_late'), [(0,)])

    def test_a_broker_that_is_away_is_no_silence(self):
        b = self.brokers()
        idle_s = round(harness.LIMIT_S / 15)
        with self.server(b.servers, SOON, idle=f'{idle_s}s') as server:
            b.send('orders', *events(0, 5000, step=100), partition=0)
            self.wait_values(server, [('a', v) for v in range(0, 5000, 100)])
            b.do('down 1')
            self.said(server, 'cannot be reached')
            harness.wait_until(lambda: server.metric('weir_source_unreached_partitions', stream='input') == 2, 'both')
            clock = harness.time.monotonic() + idle_s + 0.5
            harness.wait_until(lambda: harness.time.monotonic() > clock, 'longer than idle_timeout')
            self.assertEqual(self.sums(server), [])
            b.do('up 1')
            b.send('orders', *events(5000, 9000, step=100), partition=1)
            expected = [('a', v) for v in range(0, 9000, 100)]
            self.wait_values(server, expected)
            harness.wait_until(lambda: self.sums(server), 'the window')
            self.assertEqual(self.sums(server), sums_of(expected))
            self.assertEqual(server.rows('SELECT count(*) FROM sums_late'), [(0,)])

    def test_arrival_is_the_time_of_the_message(self):
        b = self.brokers()
        for v in (3, 1, 2):
            b.send('orders', json.dumps({'k': 'x', 'v': v}), time_ms=T0 + v)
        with self.server(b.servers, time='arrival') as server:
            self.wait_values(server, [('x', v) for v in (1, 2, 3)])
            self.assertEqual(server.rows('SELECT time, v FROM "all" ORDER BY 2'),
                             [((T0 + v) * 1000, v) for v in (1, 2, 3)])

    def test_a_queue_that_was_full_is_filled_again_at_once(self):
        """librdkafka sleeps for a second each time, unless it is woken: so many would be longer than anything is waited for."""
        b = self.brokers(partitions=1)
        noise = 'x' * 2000
        for v in range(0, 1600, 20):  # a batch each
            b.send('orders', *(event(v + i)[:-1] + f', "noise": "{noise}"}}' for i in range(20)))
        few = 'options: {queued.max.messages.kbytes: 16, fetch.message.max.bytes: 8192}'
        with self.server(b.servers, few) as server:
            self.wait_values(server, [('a', v) for v in range(1600)])

    # ---- What is wrong ---------------------------------------------------------------------------

    def letters(self, server, n):
        get = lambda: server.get_json('/api/v1/streams/input/dead-letters')
        harness.wait_until(lambda: len(get()) >= n, f'{n} dead letters')
        return sorted((l['source'], l['line'], l['record']) for l in get())

    def test_bad_messages_are_kept_with_their_offsets(self):
        b = self.brokers()
        b.send('orders', event(0), 'poison', event(1) + '\n\n' + event(2) + '\n{"ts": 1', '', event(3), partition=1)
        b.send('orders', '\n'.join([event(v) for v in range(4, 300)] + ['late poison'] + [event(300)]), event(301))
        with self.server(b.servers) as server:
            self.wait_values(server, [('a', v) for v in range(302)])
            self.assertEqual(self.letters(server, 3), [('orders/0@0', 297, 'late poison'), ('orders/1@1', 1, 'poison'),
                                                       ('orders/1@2', 4, '{"ts": 1')])
            self.assertEqual(server.metric('weir_rejected_total', stream='input'), 3)

    def test_messages_of_each_codec(self):
        b = self.brokers(partitions=1)
        codecs = ('none', 'gzip', 'snappy', 'lz4', 'zstd')
        for i, codec in enumerate(codecs):
            b.do(f'codec {codec}')
            b.send('orders', *events(100 * i, 100 * i + 100))
        with self.server(b.servers) as server:
            self.wait_values(server, [('a', v) for v in range(100 * len(codecs))])

    def test_messages_without_a_value_are_passed_over(self):
        for form in ('ndjson', 'json', 'csv', 'lines'):
            with self.subTest(form):
                self.setUp()
                b = self.brokers(partitions=1)
                said = {'csv': lambda v: f'k,v,ts\na,{v},{T0}', 'lines': lambda v: f'm k="a",v={v}i {T0}000000'}.get(form, event)
                b.do('nothing orders 0 ada')
                b.send('orders', said(0), '', said(1))
                b.do('nothing orders 0 ada')
                with self.server(b.servers, f'format: {form}') as server:
                    self.wait_values(server, [('a', 0), ('a', 1)])
                    place = lambda: dict(server.rows('SELECT source, bookmark FROM weir_bookmarks')).get('orders/0')
                    harness.wait_until(lambda: place() == 'offset=5 partitions=1', 'behind all of them')
                    harness.wait_until(lambda: server.metric('weir_source_lag_messages', stream='input') == 0, 'no lag')
                    self.assertEqual(server.metric('weir_rejected_total', stream='input'), 0)

    def test_a_bad_message_is_rejected_alone_in_every_form(self):
        """Which goes wrong as a whole, between two that are right; of an array what follows the bad place is rejected with it."""
        bad = {'json': ('[{"ts": 1700000000000, "k": "a"', 'orders/0@1'), 'csv': ('ts,k,v\n\x00', 'orders/0@1'),
               'ndjson': ('{"ts": 17000', 'orders/0@1'), 'lines': ('m k= 1', 'orders/0@1')}
        for form, (message, place) in bad.items():
            with self.subTest(form):
                self.setUp()
                b = self.brokers(partitions=1)
                said = {'csv': lambda v: f'v,ts,k\n{v},{T0},a', 'lines': lambda v: f'm k="a",v={v}i {T0}000000'}.get(form, event)
                b.send('orders', said(0), message, said(1))
                with self.server(b.servers, f'format: {form}') as server:
                    self.wait_values(server, [('a', 0), ('a', 1)])
                    self.assertEqual([source for source, *_ in self.letters(server, 1)], [place])

    def test_messages_that_are_longer_than_max_body(self):
        """It bounds requests; a message is what the brokers let through."""
        many = [event(v) for v in range(2, 40000)]
        messages = {'ndjson': '\n'.join(many), 'json': '[' + ', '.join(many) + ']',
                    'csv': 'ts,k,v\n' + ''.join(f'{T0 + v},a,{v}\n' for v in range(2, 40000))}
        for form, message in messages.items():
            with self.subTest(form):
                self.setUp()
                b = self.brokers(partitions=1)
                b.send('orders', message)
                text = config(b.servers, f'format: {form}').replace('server: {', 'server: {max_body: 64KiB, ')
                with harness.Server(text, folder=self.folder) as server:
                    self.wait_values(server, [('a', v) for v in range(2, 40000)])

    def test_what_a_message_leaves_open_is_its_own(self):
        cases = {
            'csv': (['ts,k,v\n' + f'{T0},a,0\n', 'ts,k,v\n' + f'{T0},"open,1', f'ts,v,k\n{T0},2,"a\nb"\n'],
                    [('a', 0), ('a\nb', 2)], [('orders/0@1', 2, f'{T0},"open,1')]),
            'json': ([f'[{event(0)}, {event(1)}]', f'[{event(2)}, {{"ts": ', json.dumps(json.loads(event(3)), indent=1)],
                     [('a', 0), ('a', 1), ('a', 2), ('a', 3)], None),
            'lines': ([f'm v=1i,k="a" {T0}000000\nm k="open {T0}', f'm v=2i,k="b" {T0}000000'], [('a', 1), ('b', 2)], None),
        }
        for form, (messages, expected, letters) in cases.items():
            with self.subTest(form):
                self.setUp()
                b = self.brokers()
                b.send('orders', *messages)
                with self.server(b.servers, f'format: {form}') as server:
                    self.wait_values(server, expected)
                    found = self.letters(server, 1)
                    self.assertEqual({source for source, *_ in found}, {f'orders/0@{0 if form == "lines" else 1}'})
                    if letters:
                        self.assertEqual(found, letters)

    # ---- What is lost, or new --------------------------------------------------------------------

    def lose(self, more=''):
        """A server that has read up to 3, and whose topic has lost some of what follows."""
        b = self.brokers(partitions=1)
        b.send('orders', *events(0, 3))
        server = self.server(b.servers, more)
        server.start()
        self.addCleanup(server.kill)
        self.wait_values(server, [('a', v) for v in range(3)])
        server.kill()
        noise = os.urandom(300000).hex()
        for v in range(3, 40):  # the mock cluster keeps 5 MiB
            b.send('orders', event(v)[:-1] + f', "noise": "{noise}"}}')
        return b, server

    def test_what_was_removed_unread_stops_the_stream(self):
        _, server = self.lose()
        server.start_process()
        server.wait_port()
        self.said(server, 'messages were removed before they were read', 'read up to offset 3')
        self.assertIn(b'removed before they were read', server.get('/ready').body)
        self.assertEqual(server.get('/ready').status, 503)
        self.assertEqual(self.values(server), [('a', v) for v in range(3)])
        self.assertEqual(server.metric('weir_source_lost_messages_total', stream='input'), 0)

    def test_on_lost_goes_on_and_counts(self):
        b, server = self.lose('on_lost: go_on')
        server.start()
        harness.wait_until(lambda: ('a', 39) in self.values(server), 'the last')
        found = [v for _, v in self.values(server)]
        first = found[3]
        self.assertGreater(first, 3)
        self.assertEqual(found, [*range(3), *range(first, 40)])
        self.assertEqual(server.metric('weir_source_lost_messages_total', stream='input'), first - 3)

    def test_new_partitions_are_read_from_their_beginning_and_fewer_refused(self):
        two, three, one = self.brokers(), self.brokers(partitions=3), self.brokers(partitions=1)
        for b in (two, three, one):
            b.send('orders', *events(0, 5))
        three.send('orders', *events(5, 9), partition=2)
        with self.server(two.servers, 'begin: newest') as server:
            harness.wait_until(lambda: len(server.rows('SELECT 1 FROM weir_bookmarks')) == 2, 'bookmarks')
            two.send('orders', *events(20, 25), partition=1)
            self.wait_values(server, [('a', v) for v in range(20, 25)])
            server.kill()
            three.send('orders', *events(30, 40), partition=1)
            self.rewrite(server, two.servers, three.servers)
            server.start()
            self.wait_values(server, [('a', v) for v in [*range(20, 25), *range(5, 9), *range(35, 40)]])
            server.kill()
            self.rewrite(server, three.servers, one.servers)
            server.start_process()
            server.wait_port()
            self.said(server, "topic 'orders' has 1 partitions, and had 3")
            self.assertEqual(server.get('/ready').status, 503)

    def test_new_partitions_make_none_behind_them_known(self):
        """The server may be killed after the bookmark of any of them: what has none then is still new."""
        b, more = self.brokers(), self.brokers(partitions=4)
        found = lambda: dict(server.rows('SELECT source, bookmark FROM weir_bookmarks'))
        with self.server(b.servers, 'begin: newest') as server:
            harness.wait_until(lambda: found() == {f'orders/{i}': 'offset=0 partitions=2' for i in (0, 1)}, 'two')
            server.kill()
            self.rewrite(server, b.servers, more.servers)
            server.start()
            harness.wait_until(lambda: found().get('orders/0') == 'offset=0 partitions=4', 'that of 0, behind all others')
            self.assertEqual((found()['orders/2'], found()['orders/3']), ('offset=0 partitions=3', 'offset=0 partitions=4'))

    def test_topics_wait_for_one_that_cannot_be_asked(self):
        b = self.brokers('first')
        b.topic('second', 1)
        b.send('first', *events(0, 5), partition=1)
        b.send('second', *events(5, 9))
        b.do('refuse second 5')  # no leader
        server = self.server(b.servers, topics='[first, second]')
        self.addCleanup(server.kill)
        server.start_process()
        server.wait_port()
        self.said(server, "topic 'second'", 'tried again until it can be read')
        b.do('refuse second 0')
        server.wait_ready()
        self.wait_values(server, [('a', v) for v in range(9)])

    def test_a_topic_that_comes_later_does_not_wait_for_one_that_cannot_be_asked(self):
        b = self.brokers('first')
        b.topic('second', 1)
        b.send('first', *events(0, 5), partition=1)
        b.send('second', *events(5, 9))
        b.do('refuse second 3')  # there is no such topic
        server = self.server(b.servers, topics='[first, second]')
        self.addCleanup(server.kill)
        server.start_process()
        server.wait_port()
        self.wait_values(server, [('a', v) for v in range(5)])
        b.do('refuse first 5')  # no leader
        b.do('refuse second 0')
        self.wait_values(server, [('a', v) for v in range(9)])
        server.wait_ready()

    def test_an_offset_that_is_there_when_asked_for_is_not_lost(self):
        b = self.brokers(partitions=1)
        b.send('orders', *events(0, 3))
        with self.server(b.servers) as server:
            self.wait_values(server, [('a', v) for v in range(3)])
            b.do('fail 1 1 1')  # a request for messages: out of range
            self.said(server, "'orders/0' had no offset 3, and has those from 0 to", 'nothing is passed over')
            b.send('orders', *events(3, 9))
            self.wait_values(server, [('a', v) for v in range(9)])
            self.assertEqual(server.metric('weir_source_lost_messages_total', stream='input'), 0)
            self.assertEqual(server.get('/ready').status, 200)

    def test_messages_that_are_there_and_do_not_come_are_asked_for_anew(self):
        b = self.brokers(partitions=1)
        b.send('orders', *events(0, 3))
        with self.server(b.servers) as server:
            self.wait_values(server, [('a', v) for v in range(3)])
            b.do('fail 1 7 100000')  # requests for messages are timed out; the end of the partition is told
            b.send('orders', *events(3, 9))
            self.said(server, "'orders/0': none of the messages from offset 3 to 9 has come for ", 'they are asked for anew')
            b.do('fail 1 7 0')
            self.wait_values(server, [('a', v) for v in range(9)])
            self.assertEqual(server.metric('weir_source_lost_messages_total', stream='input'), 0)

    @staticmethod
    def rewrite(server, old, new):
        with open(server.path, encoding='utf-8') as file:
            text = file.read()
        with open(server.path, 'w', encoding='utf-8') as file:
            file.write(text.replace(old, new))

    # ---- Beside it -------------------------------------------------------------------------------

    def test_a_group_is_told_how_far_it_was_read(self):
        b = self.brokers(partitions=1)
        b.send('orders', *events(0, 12))
        with self.server(b.servers, 'group: lag-tool') as server:
            self.wait_values(server, [('a', v) for v in range(12)])
            harness.wait_until(lambda: b.do('committed lag-tool orders 0') == '12', 'the offset')

    def test_the_recipe(self):
        with open(os.path.join(harness.SOURCE, 'docs', 'clients.md'), encoding='utf-8') as file:
            recipe = re.search(r'^```yaml kafka.yaml\n(.*?)^```$', file.read(), re.M | re.S)[1]
        b = self.brokers()
        for topic in ('shop.public.stock', 'telegraf'):
            b.topic(topic, 1)
        change = {'schema': {}, 'payload': {'op': 'u', 'before': {'sku': 'pen', 'left': 4}, 'after': {'sku': 'pen', 'left': 3}, 'ts_ms': T0}}
        b.send('orders', *(json.dumps({'ts': T0 + t, 'customer': 'ada', 'amount': 2.5}) for t in (0, 1, 120000)))
        b.send('shop.public.stock', json.dumps(change))
        b.send('telegraf', f'cpu,host=web usage_idle=97.5 {T0}000000\ncpu,host=db usage_idle=80 {T0}000000\n')
        text = recipe.replace('127.0.0.1:9092', b.servers).replace('127.0.0.1:8080', '{listen}').replace('weir.db', '{folder}/weir.db')
        with harness.Server(text, folder=self.folder) as server:
            harness.wait_until(lambda: len(server.rows('SELECT 1 FROM cpus')) == 2, 'cpus')
            harness.wait_until(lambda: server.rows('SELECT 1 FROM changes'), 'changes')
            self.assertEqual(server.rows('SELECT host, usage_idle FROM cpus ORDER BY 1'), [('db', 80), ('web', 97.5)])
            self.assertEqual(server.rows('SELECT op, sku, "left" FROM changes'), [('u', 'pen', 3)])
            live = lambda: server.get_json('/api/v1/pipelines/by_customer/results?live=1')
            harness.wait_until(lambda: [(r['customer'], r['count'], r['amount_sum']) for r in live()][:1] == [('ada', 2, 5)], 'the window')

    def check(self, source):
        text = config('h:1').replace('{kafka: {brokers: "h:1", topics: orders}}', source).replace('{folder}', self.folder)
        path = os.path.join(self.folder, 'weir.yaml')
        with open(path, 'w', encoding='utf-8') as file:
            file.write(text.replace('{listen}', '127.0.0.1:0'))
        return harness.weir('check', '-c', path)

    def test_wrong_sources_are_refused_with_their_place(self):
        for inside, word in (('topics: t', "'brokers'"), ('brokers: h:1', "'topics'"), ('brokers: h:1, topics: []', 'one to 100'),
                             ('brokers: h:1, topics: [a, a]', 'listed twice'), ('brokers: h:1, topics: a b', 'no name of a topic'),
                             ('brokers: h:1, topics: t, format: avro', 'ndjson'),
                             ('brokers: h:1, topics: t, options: {group.id: g}', "'group'"),
                             ('brokers: h:1, topics: t, options: {plugin.library.paths: x}', 'runs no code'),
                             ('brokers: h:1, topics: t, options: {no.such: 1}', 'No such configuration property'),
                             ('brokers: h:1, topics: t, options: {security.protocol: tls}', 'security.protocol'),
                             ('brokers: h:1, topics: t, options: {sasl.password: {path: x}}', '{file: PATH}')):
            with self.subTest(inside):
                done = self.check('{kafka: {' + inside + '}}')
                self.assertEqual(done.returncode, 78, done.stderr)
                self.assertRegex(done.stderr, r'weir\.yaml:7:\d+: ')
                self.assertIn(word, done.stderr)

    def test_doctor_asks_the_brokers(self):
        for servers, word, status in ((self.brokers().servers, "of 'input' can be read", 0), ('127.0.0.1:1', 'refused', 1)):
            with self.subTest(word):
                path = os.path.join(self.folder, 'weir.yaml')
                with open(path, 'w', encoding='utf-8') as file:
                    file.write(config(servers).replace('{folder}', self.folder).replace('{listen}', '127.0.0.1:0'))
                done = harness.weir('doctor', '-c', path)
                self.assertIn(word, done.stdout + done.stderr)
                self.assertEqual(done.returncode, status, done.stdout)

    def test_secrets_come_from_files(self):
        options = '{security.protocol: sasl_plaintext, sasl.mechanism: PLAIN, sasl.username: u, sasl.password: {file: "{folder}/secret"}}'
        server = self.server('127.0.0.1:1', f'options: {options}')
        with self.assertRaisesRegex(AssertionError, 'secret.: No such file'):
            server.start()
        server.kill()
        with open(os.path.join(self.folder, 'secret'), 'w', encoding='ascii') as file:
            file.write('hunter2\n')
        server.start_process()
        server.wait_port()
        self.said(server, 'tried again')
        server.kill()
        self.assertNotIn('hunter2', ''.join(server.log))


@unittest.skipUnless(os.environ.get('WEIR_KAFKA'), 'no $WEIR_KAFKA')
class Real(unittest.TestCase):
    """What the mock cluster cannot do, with real brokers."""

    def setUp(self):
        self.topic = 'weir-test-' + uuid.uuid4().hex
        self.brokers = brokers.Brokers(at=os.environ['WEIR_KAFKA'])
        self.addCleanup(self.brokers.close)
        self.brokers.topic(self.topic, 2)

    def test_each_message_once_over_kill_9_while_partitions_are_added(self):
        dice = random.Random(11)
        sent = [0] * 4
        with harness.Server(config(self.brokers.servers, topics=self.topic)) as server:
            for i in range(8):
                before = server.rows('SELECT count(*) FROM "all"')
                if i == 4:
                    self.brokers.do(f'grow {self.topic} 4')
                for _ in range(100):
                    p, n = dice.randrange(2 if i < 4 else 4), dice.randrange(1, 400)
                    self.brokers.send(self.topic, '\n'.join(events(sent[p], sent[p] + n, f'p{p}')), partition=p)
                    sent[p] += n
                harness.wait_until(lambda: server.rows('SELECT count(*) FROM "all"') > before, 'rows')
                server.restart()
            expected = [(f'p{p}', v) for p in range(4) for v in range(sent[p])]
            harness.wait_until(lambda: server.rows('SELECT count(*) FROM "all"')[0][0] >= len(expected), 'all')
            self.assertEqual(sorted(server.rows('SELECT k, v FROM "all"')), expected)

    def test_messages_that_were_removed_stop_the_stream(self):
        self.brokers.send(self.topic, *events(0, 5))
        with harness.Server(config(self.brokers.servers, topics=self.topic)) as server:
            harness.wait_until(lambda: server.rows('SELECT count(*) FROM "all"') == [(5,)], 'all')
            server.kill()
            self.brokers.send(self.topic, *events(5, 20))
            self.brokers.do(f'cut {self.topic} 0 12')
            server.start_process()
            server.wait_port()
            text = f"'{self.topic}/0' was read up to offset 5, and has those from 12 to 20"
            harness.wait_until(lambda: text in server.get('/ready').body.decode(), text)

    def test_what_was_undone_is_not_read_and_does_not_stay_behind(self):
        self.brokers.send(self.topic, *events(0, 5))
        self.brokers.do(f'undo {self.topic} 0 {event(77)}')
        with harness.Server(config(self.brokers.servers, topics=self.topic)) as server:
            place = lambda: dict(server.rows('SELECT source, bookmark FROM weir_bookmarks')).get(self.topic + '/0')
            harness.wait_until(lambda: place() == 'offset=7 partitions=2', 'the end, behind the mark')
            harness.wait_until(lambda: server.metric('weir_source_lag_messages', stream='input') == 0, 'no lag')
            self.brokers.send(self.topic, *events(5, 9))
            server.restart()
            harness.wait_until(lambda: server.rows('SELECT count(*) FROM "all"') == [(9,)], 'all')
            self.assertEqual(server.rows('SELECT max(v) FROM "all"'), [(8,)])

    def test_a_topic_that_is_not_there_is_waited_for(self):
        late = self.topic + '-late'
        self.brokers.send(self.topic, *events(0, 5))
        server = harness.Server(config(self.brokers.servers, topics=f'[{late}, {self.topic}]'))
        self.addCleanup(server.remove_folder)
        self.addCleanup(server.kill)
        self.assertIn(f"there is no topic '{late}'", harness.weir('doctor', '-c', server.path).stdout)
        server.start_process()
        server.wait_port()
        harness.wait_until(lambda: server.rows('SELECT count(*) FROM "all"') == [(5,)], 'those that are there')
        self.assertIn(f"there is no topic '{late}'", server.get('/ready').body.decode())
        self.brokers.topic(late, 1)
        self.brokers.send(late, *events(5, 9))
        server.wait_ready()
        harness.wait_until(lambda: server.rows('SELECT count(*) FROM "all"') == [(9,)], 'all')


@unittest.skipUnless(brokers.there(), 'built without librdkafka')
@unittest.skipIf(brokers.traced(), 'ThreadSanitizer knows nothing of librdkafka')
class Secured(unittest.TestCase):
    """TLS and SASL, with a real broker."""

    @classmethod
    def setUpClass(cls):
        cls.kafka = kraft.Kafka(secured=True)
        cls.addClassCleanup(cls.kafka.close)
        cls.kafka.start()
        cls.brokers = brokers.Brokers(at=cls.kafka.servers)
        cls.addClassCleanup(cls.brokers.close)

    def server(self, password, certificate):
        """A topic with five events, and a server that is to read them."""
        topic = 'weir-test-' + uuid.uuid4().hex
        self.brokers.topic(topic, 1)
        self.brokers.send(topic, *events(0, 5))
        folder = harness.folder_for_test(self)
        secret = os.path.join(folder, 'password')
        with open(secret, 'w', encoding='ascii') as file:
            file.write(password + '\n')
        options = (f'options: {{security.protocol: sasl_ssl, sasl.mechanism: PLAIN, sasl.username: weir, '
                   f'sasl.password: {{file: "{secret}"}}, ssl.ca.location: "{certificate}"}}')
        server = harness.Server(config(self.kafka.secured, options, topics=topic), folder=folder)
        self.addCleanup(server.kill)
        return server

    def test_who_knows_the_password_is_let_in(self):
        server = self.server(kraft.PASSWORD, self.kafka.certificate)
        server.start()
        harness.wait_until(lambda: server.rows('SELECT k, v FROM "all" ORDER BY v') == [('a', v) for v in range(5)], 'all')

    def refused(self, server, word):
        server.start_process()
        server.wait_port()
        error = lambda: server.get_json('/api/v1/streams/input')['source']['error'] or ''
        harness.wait_until(lambda: word in error().lower(), word)
        self.assertEqual(server.get('/ready').status, 503)
        self.assertEqual(server.rows('SELECT count(*) FROM "all"'), [(0,)])
        self.assertNotIn('of another', ''.join(server.log))

    def test_who_does_not_is_not_and_hears_why(self):
        self.refused(self.server('of another', self.kafka.certificate), 'authentication')

    def test_a_broker_whose_certificate_is_of_somebody_else_is_not_read(self):
        other = kraft.certify(os.path.join(harness.folder_for_test(self), 'other.pem'), '127.0.0.1')
        self.refused(self.server(kraft.PASSWORD, other), 'certificate')


class Without(unittest.TestCase):
    @unittest.skipIf(brokers.there(), 'built with librdkafka')
    def test_kafka_is_refused_without_librdkafka(self):
        folder = harness.folder_for_test(self)
        path = os.path.join(folder, 'weir.yaml')
        with open(path, 'w', encoding='utf-8') as file:
            file.write(config('h:1').replace('{folder}', folder).replace('{listen}', '127.0.0.1:0'))
        done = harness.weir('check', '-c', path)
        self.assertEqual(done.returncode, 78, done.stderr)
        self.assertIn('built without librdkafka', done.stderr)


if __name__ == '__main__':
    harness.main()
