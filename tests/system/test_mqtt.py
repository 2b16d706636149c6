# SPDX-License-Identifier: Apache-2.0
"""Topics of MQTT as a stream's source: nothing of QoS 1 is lost, whatever ends, and what comes twice is bounded."""

import collections
import json
import os
import random
import re
import shlex
import ssl
import subprocess
import unittest

import harness
import mosquitto

T0 = 1700000000000
CONFIG = '''
server: {listen: {listen}, database: {folder}/weir.db, checkpoint_interval: 20ms, commit_interval: 5ms}
streams:
  input:
    time: {field: ts, unit: ms}
    fields: {k: string, v: int, room: string, all: string}
    source: SOURCE
pipelines:
  all: {from: input, window: none, select: [k, v, room, all], idle_timeout: 1h}
  sums: {from: input, key: [k], window: {tumbling: 10s}, idle_timeout: 1h, late: side,
         analyzers: [count, {stats: {of: v, emit: [sum]}}]}
'''


def config(port, more='client_id: weir', topics='sensors/+/temp', scheme='mqtt', host='127.0.0.1'):
    return CONFIG.replace('SOURCE', f'{{mqtt: {{url: "{scheme}://{host}:{port}", topics: {topics}, {more}}}}}')


def event(v, k='a'):
    return json.dumps({'ts': T0 + v, 'k': k, 'v': v})


def events(first, to, k='a'):
    return [event(v, k) for v in range(first, to)]


def unacknowledged(log):
    """Messages to `weir` that a broker had no acknowledgement for when a connection ended, all ends together, as its log tells."""
    waiting, total = set(), 0
    for line in log.splitlines():
        sent = re.search(r'Sending PUBLISH to weir \(d\d, q1, r0, m(\d+)', line)
        back = re.search(r'Received PUBACK from weir \(Mid: (\d+)', line)
        if sent:
            waiting.add(sent[1])
        elif back:
            waiting.discard(back[1])
        elif re.search(r'Client weir (closed|disconnected|already connected)|terminating', line):
            total += len(waiting)
    return total


class Base(unittest.TestCase):
    def setUp(self):
        self.folder = harness.folder_for_test(self)

    def broker(self, *arguments, **more):
        b = mosquitto.Broker(self.folder, *arguments, **more)
        self.addCleanup(b.close)
        return b

    def server(self, broker, *arguments, **more):
        return harness.Server(config(broker.port, *arguments, **more), folder=self.folder)

    @staticmethod
    def wait_connected(server, connected=1):
        harness.wait_until(lambda: server.metric('weir_source_connected', stream='input') == connected, connected)

    @staticmethod
    def values(server, columns='k, v'):
        return sorted(server.rows(f'SELECT {columns} FROM "all"'))

    def wait_values(self, server, expected, columns='k, v'):
        expected = sorted(expected)
        def those():
            found = self.values(server, columns)
            self.assertLessEqual(len(found), len(expected), found[-5:])
            return found == expected
        harness.wait_until(those, f'{len(expected)} values')

    @staticmethod
    def said(server, *words):
        harness.wait_until(lambda: any(all(w in line for w in words) for line in server.log), words)

    @staticmethod
    def letters(server, n):
        get = lambda: server.get_json('/api/v1/streams/input/dead-letters')
        harness.wait_until(lambda: len(get()) >= n, f'{n} dead letters')
        return sorted(((l['source'], l['line'], l['reason'], l['record']) for l in get()), key=lambda l: (l[0], l[1]))


@unittest.skipUnless(mosquitto.there(), 'built without libmosquitto')
@unittest.skipUnless(mosquitto.PROGRAM, 'no mosquitto')
class Mqtt(Base):
    # ---- What comes ------------------------------------------------------------------------------

    def test_messages_become_events_with_columns_of_their_topic(self):
        b = self.broker()
        with self.server(b, 'client_id: weir, topic: all, levels: {room: 2}') as server:
            self.wait_connected(server)
            mosquitto.send(b, 'sensors/kitchen/temp', event(1), event(2) + '\n' + event(3) + '\n')
            mosquitto.send(b, 'sensors/küche/temp', *events(4, 24), qos=0)
            mosquitto.send(b, 'sensors/hall/hum', event(999))
            mosquitto.send(b, 'sensors/hall/temp', event(300)[:-1] + ', "room": "mine"}', qos=2)
            expected = [('a', v, 'kitchen', 'sensors/kitchen/temp') for v in (1, 2, 3)]
            expected += [('a', v, 'küche', 'sensors/küche/temp') for v in range(4, 24)]
            expected += [('a', 300, 'hall', 'sensors/hall/temp')]
            self.wait_values(server, expected, 'k, v, room, "all"')
            harness.wait_until(lambda: server.metric('weir_source_messages_total', stream='input') == 23, 'messages')
            self.assertEqual(server.get_json('/api/v1/streams/input')['source'], {'kind': 'mqtt', 'error': None})

    def test_recipe(self):
        with open(os.path.join(harness.SOURCE, 'docs', 'clients.md'), encoding='utf-8') as file:
            recipe = re.search(r'^```yaml mqtt.yaml\n(.*?)^```$', file.read(), re.M | re.S)[1]
        b = self.broker()
        text = recipe.replace('127.0.0.1:8080', '{listen}').replace('weir.db', '{folder}/weir.db').replace(':1883', f':{b.port}')
        with harness.Server(text, folder=self.folder) as server:
            for stream in ('climate', 'power'):
                harness.wait_until(lambda: server.metric('weir_source_connected', stream=stream) == 1, stream)
            mosquitto.send(b, 'sensors/kitchen/temp', '{"ts": 1700000000, "celsius": 21.5}', '{"ts": 1700000030, "celsius": 22.5}')
            mosquitto.send(b, 'zigbee2mqtt/plug', '{"power": 12.5, "state": "ON", "linkquality": 90}')
            harness.wait_until(lambda: server.rows('SELECT device, power, state FROM powers') == [('plug', 12.5, 'ON')], 'power')
            mosquitto.send(b, 'sensors/hall/temp', '{"ts": 1700000090, "celsius": 1}')
            expected = [('kitchen', 2, 22.0)]
            harness.wait_until(lambda: server.rows('SELECT room, count, celsius_mean FROM by_room') == expected, expected)

    def test_forms(self):
        cases = {
            'json': ([f'[{event(0)}, {event(1)}]', f'[{event(2)}, {{"ts": ', json.dumps(json.loads(event(3)), indent=1)],
                     [0, 1, 2, 3]),
            'csv': (['ts,k,v\n' + f'{T0},a,0\n', 'ts,k,v\n' + f'{T0},"open,1', f'ts,v,k\n{T0},2,a\n'], [0, 2]),
            'lines': ([f'm v=1i,k="a" {T0}000000\nm k="open {T0}', f'm v=2i,k="a" {T0}000000'], [1, 2]),
        }
        for form, (messages, expected) in cases.items():
            with self.subTest(form):
                self.setUp()
                b = self.broker()
                with self.server(b, f'client_id: weir, levels: {{room: 2}}, format: {form}') as server:
                    self.wait_connected(server)
                    mosquitto.send(b, 'sensors/x/temp', *messages)
                    self.wait_values(server, [('a', v, 'x') for v in expected], 'k, v, room')
                    self.assertEqual([letter[0] for letter in self.letters(server, 1)], ['sensors/x/temp'])

    def test_bad_messages_are_kept_with_their_topic(self):
        b = self.broker()
        long_topic = 'sensors/' + 'ä' * 200 + '/temp'
        with self.server(b) as server:
            self.wait_connected(server)
            mosquitto.send(b, 'sensors/1/temp', event(0), 'poison', event(1) + '\n\n' + event(2) + '\n{"ts": 1', '', '21.5')
            mosquitto.send(b, long_topic, 'poison', event(3))
            self.wait_values(server, [('a', v) for v in range(4)])
            found = sorted(self.letters(server, 4), key=lambda l: (l[0], l[1], -len(l[3])))
            cut = long_topic.encode()[:255].decode(errors='ignore')
            self.assertEqual([(l[0], l[1], l[3]) for l in found],
                             [('sensors/1/temp', 1, 'poison'), ('sensors/1/temp', 1, '21.5'),
                              ('sensors/1/temp', 4, '{"ts": 1'), (cut, 1, 'poison')])
            self.assertEqual(server.metric('weir_source_passed_over_messages_total', stream='input'), 1)

    def test_what_is_too_long_is_kept_as_dead_letter(self):
        b = self.broker()
        text = config(b.port, 'client_id: weir, topic: all').replace('server: {', 'server: {max_body: 4096, max_record: 4096, ')
        deep = 'sensors/' + 'x' * 1000 + '/temp'
        with harness.Server(text, folder=self.folder) as server:
            self.wait_connected(server)
            mosquitto.send(b, 'sensors/1/temp', 'x' * 5000, event(0))
            mosquitto.send(b, deep, event(1))
            mosquitto.send(b, 'sensors/1/temp', event(2))
            self.wait_values(server, [('a', 0), ('a', 2)])
            found = self.letters(server, 2)
            self.assertEqual([(l[0], l[2], l[3]) for l in found],
                             [('sensors/1/temp', 'too_long', 'x' * 4096), (deep[:255], 'too_long', event(1))])

    def test_retained_messages_are_passed_over_unless_asked_for(self):
        b = self.broker()
        mosquitto.send(b, 'sensors/1/temp', event(1), retain=True)
        with self.server(b) as server:
            self.wait_connected(server)
            mosquitto.send(b, 'sensors/1/temp', event(2), retain=True)  # it comes as it is published
            self.wait_values(server, [('a', 2)])
            self.assertEqual(server.metric('weir_source_passed_over_messages_total', stream='input'), 1)
        self.setUp()
        b.port, more = b.port, 'client_id: other, retained: yes'
        with self.server(b, more) as server:
            self.wait_values(server, [('a', 2)])

    def test_several_topics_and_a_topic_of_an_earlier_configuration(self):
        b = self.broker()
        with self.server(b, topics='[sensors/#, "other/+"]') as server:
            self.wait_connected(server)
            mosquitto.send(b, 'sensors/1', event(1))
            mosquitto.send(b, 'other/1', event(2))
            self.wait_values(server, [('a', 1), ('a', 2)])
        with self.server(b, topics='sensors/#') as server:
            self.wait_connected(server)
            mosquitto.send(b, 'other/1', event(3))
            mosquitto.send(b, 'sensors/1/2', event(4))
            self.wait_values(server, [('a', v) for v in (1, 2, 4)])
            self.said(server, "'other/1', which is not asked for")

    # ---- Nothing lost ----------------------------------------------------------------------------

    def test_what_comes_while_the_server_is_away_comes_afterwards(self):
        b = self.broker()
        with self.server(b) as server:
            self.wait_connected(server)
            mosquitto.send(b, 'sensors/1/temp', *events(0, 50))
            self.wait_values(server, [('a', v) for v in range(50)])
            server.stop()
            mosquitto.send(b, 'sensors/1/temp', *events(50, 500))
            server.start()
            # An orderly stop: none twice.
            self.wait_values(server, [('a', v) for v in range(500)])

    def test_a_clean_session_loses_what_comes_meanwhile(self):
        b = self.broker()
        with self.server(b, 'clean_session: yes') as server:
            self.wait_connected(server)
            mosquitto.send(b, 'sensors/1/temp', event(0))
            self.wait_values(server, [('a', 0)])
            server.stop()
            mosquitto.send(b, 'sensors/1/temp', event(1))
            server.start()
            self.wait_connected(server)
            mosquitto.send(b, 'sensors/1/temp', event(2))
            self.wait_values(server, [('a', 0), ('a', 2)])

    def test_none_is_lost_over_kill_9_and_stops_of_the_broker(self):
        dice, sent = random.Random(5), 0
        b = self.broker('log_type all\n')
        with self.server(b) as server:
            self.wait_connected(server)
            for i in range(6):
                before = server.rows('SELECT count(*) FROM "all"')
                n = dice.randrange(500, 1500)
                mosquitto.send(b, f'sensors/{i}/temp', *events(sent, sent + n))
                sent += n
                harness.wait_until(lambda: server.rows('SELECT count(*) FROM "all"') > before, 'rows')
                if i % 2:
                    connects = server.metric('weir_source_connects_total', stream='input')
                    b.restart()
                    harness.wait_until(lambda: server.metric('weir_source_connects_total', stream='input') > connects, 'connected')
                else:
                    server.restart()  # kill -9
                    self.wait_connected(server)
            mosquitto.send(b, 'sensors/1/temp', event(sent))
            harness.wait_until(lambda: ('a', sent) in self.values(server), 'the last')
            harness.wait_until(lambda: {v for _, v in self.values(server)} == set(range(sent + 1)), 'all')
            twice = collections.Counter(self.values(server))
            self.assertLessEqual(sum(twice.values()) - len(twice), unacknowledged(b.log()))
            self.assertEqual(server.rows('SELECT count(*) FROM sums_late'), [(0,)])

    def test_a_broker_that_goes_is_told_and_comes_again(self):
        b = self.broker()
        with self.server(b) as server:
            self.wait_connected(server)
            mosquitto.send(b, 'sensors/1/temp', *events(0, 100))
            self.wait_values(server, [('a', v) for v in range(100)])
            b.stop()
            self.said(server, 'tried again until it is connected')
            self.wait_connected(server, 0)
            self.assertIn(str(b.port), server.get_json('/api/v1/streams/input')['source']['error'])
            self.assertEqual(server.get('/ready').status, 200)
            self.assertEqual(server.post_ok('input', [{'ts': T0, 'k': 'posted', 'v': 1}])['accepted'], 1)
            b.start()
            self.said(server, 'is connected again')
            self.wait_connected(server)
            mosquitto.send(b, 'sensors/1/temp', *events(100, 200))
            self.wait_values(server, [('a', v) for v in range(200)] + [('posted', 1)])
            self.assertEqual(server.metric('weir_source_connects_total', stream='input'), 2)
            self.assertGreater(server.metric('weir_source_errors_total', stream='input'), 0)
            harness.wait_until(lambda: server.get_json('/api/v1/streams/input')['source']['error'] is None, 'no error')

    def test_a_broker_that_is_not_there_is_waited_for(self):
        b = self.broker()
        b.stop()
        server = self.server(b)
        self.addCleanup(server.kill)
        server.start_process()
        server.wait_port()
        self.said(server, 'tried again until it can be read')
        answer = server.get('/ready')
        self.assertEqual(answer.status, 503)
        self.assertIn(b'its source is not read', answer.body)
        b.start()
        server.wait_ready()
        mosquitto.send(b, 'sensors/1/temp', event(1))
        self.wait_values(server, [('a', 1)])
        server.stop()

    def test_each_address_of_a_name_has_its_turn(self):
        """Where a name has two addresses, and nobody listens at the first one."""
        hosts = os.path.join(self.folder, 'hosts')
        with open(hosts, 'w', encoding='ascii') as file:
            file.write('::1 localhost both\n127.0.0.1 localhost both\n')
        alone = ['unshare', '-rm', 'sh', '-c', f'mount --bind {hosts} /etc/hosts && exec "$@"', 'sh']
        if subprocess.run([*alone, 'true'], stderr=subprocess.DEVNULL, check=False).returncode != 0:
            self.skipTest('no mount namespaces')
        b = self.broker()
        script = os.path.join(self.folder, 'weir.sh')
        with open(script, 'w', encoding='utf-8') as file:
            file.write('#!/bin/sh\nexec ' + shlex.join([*alone, harness.WEIR]) + ' "$@"\n')
        os.chmod(script, 0o755)
        with harness.Server(config(b.port, host='both'), folder=self.folder, program=script) as server:
            for v in range(2):
                self.wait_connected(server)
                mosquitto.send(b, 'sensors/1/temp', event(v))
                self.wait_values(server, [('a', w) for w in range(v + 1)])
                connects = server.metric('weir_source_connects_total', stream='input')
                b.restart()
                harness.wait_until(lambda: server.metric('weir_source_connects_total', stream='input') > connects, 'connected')
            doctor = subprocess.run([script, 'doctor', '-c', server.path], env=harness.environment(), capture_output=True, text=True,
                                    check=False)
            self.assertIn("of 'input' can be read", doctor.stdout)

    # ---- Who is let in ---------------------------------------------------------------------------

    def test_a_user_with_a_password_in_a_file(self):
        passwords = os.path.join(self.folder, 'passwords')
        done = subprocess.run(['mosquitto_passwd', '-c', '-b', passwords, 'weir', 'hunter2'], capture_output=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        os.chmod(passwords, 0o644)
        b = self.broker(f'allow_anonymous false\npassword_file {passwords}\n')
        secret = os.path.join(self.folder, 'secret')
        with open(secret, 'w', encoding='ascii') as file:
            file.write('wrong\n')
        server = self.server(b, f'client_id: weir, user: weir, password: {{file: {secret}}}')
        self.addCleanup(server.kill)
        server.start_process()
        server.wait_port()
        self.said(server, 'tried again until it can be read', 'Connection Refused')
        doctor = harness.weir('doctor', '-c', server.path)
        self.assertIn('Connection Refused', doctor.stdout)
        with open(secret, 'w', encoding='ascii') as file:
            file.write('hunter2\n')  # is read again with each connection
        server.wait_ready()
        with mosquitto.Producer(b.port, user='weir', password='hunter2') as producer:
            producer.send('sensors/1/temp', event(1))
        self.wait_values(server, [('a', 1)])
        self.assertIn("of 'input' can be read", harness.weir('doctor', '-c', server.path).stdout)
        self.assertNotIn('hunter2', ''.join(server.log))
        # The doctor has not driven it out.
        self.assertEqual(server.metric('weir_source_connects_total', stream='input'), 1)

    def certificates(self, *names):
        """NAME.crt and NAME.key, by ca.crt."""
        def openssl(*arguments):
            subprocess.run(['openssl', *arguments], check=True, capture_output=True, cwd=self.folder)
        extension = os.path.join(self.folder, 'san')
        with open(extension, 'w', encoding='ascii') as file:
            file.write('subjectAltName=DNS:localhost,IP:127.0.0.1\n')
        openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', 'ca.key',
                '-out', 'ca.crt', '-days', '2', '-subj', '/CN=test ca')
        for name in names:
            openssl('req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', f'{name}.key',
                    '-out', f'{name}.csr', '-subj', '/CN=localhost')
            openssl('x509', '-req', '-in', f'{name}.csr', '-CA', 'ca.crt', '-CAkey', 'ca.key', '-CAcreateserial',
                    '-out', f'{name}.crt', '-days', '2', '-extfile', 'san')

    def test_tls_with_certificates_of_both_sides(self):
        self.certificates('broker', 'weir')
        tls = harness.free_port()
        at = self.folder
        b = self.broker(listener=f'listener {tls} 127.0.0.1\ncafile {at}/ca.crt\ncertfile {at}/broker.crt\n'
                                 f'keyfile {at}/broker.key\nrequire_certificate true\n')
        files = f'certificate: {at}/weir.crt, key: {at}/weir.key'
        server = harness.Server(config(tls, f'client_id: weir, ca: {at}/ca.crt, {files}', scheme='mqtts'),
                                folder=self.folder)
        with server:
            self.wait_connected(server)
            mosquitto.send(b, 'sensors/1/temp', *events(0, 1000))
            self.wait_values(server, [('a', v) for v in range(1000)])
            server.restart()
            mosquitto.send(b, 'sensors/1/temp', *events(1000, 1010))
            harness.wait_until(lambda: {v for _, v in self.values(server)} == set(range(1010)), 'all')
        server = harness.Server(config(tls, f'client_id: weir, {files}', scheme='mqtts'), folder=self.folder)
        self.addCleanup(server.kill)
        server.start_process()
        server.wait_port()
        self.said(server, 'tried again until it can be read', 'certificate verify failed')

    # ---- Packet by packet ------------------------------------------------------------------------

    def fake(self, *arguments, tls=None, **more):
        fake = mosquitto.Fake(tls)
        self.addCleanup(fake.close)
        server = self.server(fake, *arguments, **more)
        self.addCleanup(server.kill)
        server.start_process()
        return fake, server

    def test_what_was_acknowledged_is_there_after_kill_9_at_once(self):
        fake, server = self.fake()
        for v in range(8):
            wire = fake.accept()
            wire.packet(0x32, wire.text('sensors/1/temp') + bytes([0, v + 1]) + event(v).encode())
            self.assertEqual(wire.read(), (0x40, bytes([0, v + 1])))
            server.kill()
            wire.socket.close()
            server.start_process()
        wire = fake.accept()
        server.wait_ready()
        self.wait_values(server, [('a', v) for v in range(8)])
        wire.socket.close()

    def test_what_comes_in_one_record_with_the_answer_is_stored_before_it_is_acknowledged(self):
        self.certificates('broker')
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(os.path.join(self.folder, 'broker.crt'), os.path.join(self.folder, 'broker.key'))
        fake, server = self.fake(f'client_id: weir, ca: {self.folder}/ca.crt', tls=tls, scheme='mqtts')
        for i in range(4):
            part = [2 * i, 2 * i + 1]
            bodies = [mosquitto.Wire.text('sensors/1/temp') + bytes([0, v + 1]) + event(v).encode() for v in part]
            wire = fake.accept(more=b''.join(bytes([0x32, len(body)]) + body for body in bodies))
            for v in part:
                self.assertEqual(wire.read(), (0x40, bytes([0, v + 1])))
            server.kill()
            wire.socket.close()
            server.start_process()
        wire = fake.accept()
        server.wait_ready()
        self.wait_values(server, [('a', v) for v in range(8)])
        wire.socket.close()

    def test_messages_of_qos_2_that_nobody_asked_for_are_told(self):
        fake, server = self.fake()
        wire = fake.accept()
        server.wait_ready()
        for v in range(3):
            wire.packet(0x34, wire.text('sensors/1/temp') + bytes([0, v + 1]) + event(v).encode())
            self.assertEqual(wire.read(), (0x50, bytes([0, v + 1])))
            wire.packet(0x62, bytes([0, v + 1]))
            self.assertEqual(wire.read(), (0x70, bytes([0, v + 1])))
        self.wait_values(server, [('a', v) for v in range(3)])
        self.said(server, "'sensors/1/temp' with QoS 2", "'weir'")
        self.assertEqual(server.metric('weir_source_errors_total', stream='input'), 1)
        wire.socket.close()

    def test_a_topic_that_is_refused_is_told(self):
        for granted, words in ((128, 'refuses the topic'), (0, 'with QoS 0 only')):
            with self.subTest(granted):
                self.setUp()
                fake, server = self.fake()
                wire = fake.accept(granted)
                server.wait_port()
                self.said(server, words)
                harness.wait_until(lambda: words in str(server.get_json('/api/v1/streams/input')['source']['error']), words)
                wire.socket.close()
                server.kill()


class Check(Base):
    def check(self, source):
        path = os.path.join(self.folder, 'weir.yaml')
        with open(path, 'w', encoding='utf-8') as file:
            file.write(CONFIG.replace('SOURCE', source).replace('{folder}', self.folder).replace('{listen}', '127.0.0.1:0'))
        return harness.weir('check', '-c', path)

    @unittest.skipUnless(mosquitto.there(), 'built without libmosquitto')
    def test_wrong_sources_are_refused_with_their_place(self):
        good = 'url: "mqtt://h", topics: a, client_id: x'
        for source in (good, good + ', qos: 0, keepalive: 5s, retained: yes, user: u, password: p, levels: {room: 2, k: 1}',
                       'url: "mqtts://[::1]:1", topics: [a, b/+, "c/#", $share/g/a], clean_session: yes, ca: /x'):
            done = self.check(f'{{mqtt: {{{source}}}}}')
            self.assertEqual(done.returncode, 0, done.stderr)
        for source, word in (
                ('url: h, topics: a, client_id: x', 'expected mqtt://HOST'), ('url: "mqtt://", topics: a, client_id: x', 'HOST'),
                ('url: "mqtt://h:99999", topics: a, client_id: x', 'HOST'), ('url: "mqtt://h/x", topics: a, client_id: x', 'HOST'),
                ('url: "mqtt://u:p@h", topics: a, client_id: x', "goes into 'user'"),
                ('url: "mqtt://[::1", topics: a, client_id: x', 'HOST'),
                ('topics: a, client_id: x', "'url'"), ('url: "mqtt://h", client_id: x', "'topics'"),
                ('url: "mqtt://h", topics: a', 'needs a client_id'), ('url: "mqtt://h", topics: [a, a], client_id: x', 'twice'),
                ('url: "mqtt://h", topics: a+b, client_id: x', 'nor a filter'),
                ('url: "mqtt://h", topics: [a, "#/b"], client_id: x', 'nor a filter'),
                (good + ', qos: 2', 'QoS 0 or 1'), (good + ', qos: 3', '0 to 2'), (good + ', keepalive: 1s', '5s'),
                (good + ', password: p', "needs a 'user'"), (good + ', ca: /x', 'mqtts://'),
                (good + ', certificate: x', 'go together'), (good + ', topic: nope', "no field 'nope'"),
                (good + ', levels: {v: 1}', "no field 'v' of type string"), (good + ', levels: {k: 0}', '1 to 100'),
                (good + ', tpic: k', "did you mean 'topic'"), (good + ', format: xml', 'ndjson')):
            with self.subTest(source):
                done = self.check(f'{{mqtt: {{{source}}}}}')
                self.assertEqual(done.returncode, 78, source)
                self.assertRegex(done.stderr, r'weir\.yaml:\d+:\d+: ')
                self.assertIn(word, done.stderr)
        done = self.check(f'{{file: x, mqtt: {{{good}}}}}')
        self.assertIn("a source is 'file' or 'mqtt', not both", done.stderr)

    @unittest.skipIf(mosquitto.there(), 'built with libmosquitto')
    def test_mqtt_is_refused_without_libmosquitto(self):
        done = self.check('{mqtt: {url: "mqtt://h", topics: a, client_id: x}}')
        self.assertEqual(done.returncode, 78, done.stderr)
        self.assertIn('built without libmosquitto', done.stderr)
        self.assertIn('libmosquitto-dev', done.stderr)


if __name__ == '__main__':
    harness.main()
