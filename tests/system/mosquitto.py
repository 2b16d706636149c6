# SPDX-License-Identifier: Apache-2.0
"""A broker of MQTT for tests, mosquitto(8), and a producer of a hundred lines that needs no library."""

import os
import shutil
import socket
import struct
import subprocess
import unittest
import uuid

import harness

PROGRAM = shutil.which('mosquitto', path=os.environ.get('PATH', '') + ':/usr/sbin:/usr/local/sbin')


def there():
    """Was weir built with libmosquitto?"""
    with open(os.path.join(harness.BUILD, 'config.h'), encoding='ascii') as file:
        return '#define HAVE_MOSQUITTO 1' in file.read()


class Broker:
    """Keeps sessions on disk, so that it may be killed. `more`: further lines of mosquitto.conf(5)."""

    def __init__(self, folder, more='', listener=''):
        if not PROGRAM:
            raise unittest.SkipTest('no mosquitto')
        self.folder = os.path.join(folder, 'broker')
        os.makedirs(self.folder)
        self.port = harness.free_port()
        self.path = os.path.join(self.folder, 'mosquitto.conf')
        self.more, self.listener = more, listener
        self.process = None
        self.start()

    def start(self):
        me = 'root' if os.getuid() == 0 else ''
        with open(self.path, 'w', encoding='ascii') as file:
            file.write(f'per_listener_settings false\npersistence true\npersistence_location {self.folder}/\n'
                       'max_queued_messages 0\n' + (f'user {me}\n' if me else '') +
                       ('' if 'allow_anonymous' in self.more else 'allow_anonymous true\n') + self.more +
                       f'\nlistener {self.port} 127.0.0.1\n' + self.listener)
        with open(os.path.join(self.folder, 'log'), 'ab') as log:
            self.process = subprocess.Popen([PROGRAM, '-c', self.path], stdout=log, stderr=log)
        def is_up():
            if self.process.poll() is not None:
                raise AssertionError(self.log())
            with socket.socket() as s:
                return s.connect_ex(('127.0.0.1', self.port)) == 0
        harness.wait_until(is_up, 'the broker')

    def log(self):
        with open(os.path.join(self.folder, 'log'), encoding='utf-8', errors='replace') as file:
            return file.read()

    def stop(self):
        """Orderly: it writes what it has to its file."""
        self.process.terminate()
        self.process.wait()

    def restart(self):
        self.stop()
        self.start()

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Wire:
    """Packets of MQTT 3.1.1."""

    def __init__(self, connected):
        self.socket = connected
        self.socket.settimeout(harness.LIMIT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @staticmethod
    def text(value):
        data = value.encode() if isinstance(value, str) else value
        return struct.pack('>H', len(data)) + data

    def packet(self, kind, body):
        size, length = len(body), b''
        while True:
            size, digit = size >> 7, size & 127
            length += bytes([digit | (128 if size else 0)])
            if not size:
                break
        self.socket.sendall(bytes([kind]) + length + body)

    def exactly(self, n):
        data = b''
        while len(data) < n:
            more = self.socket.recv(n - len(data))
            assert more, 'the broker has closed the connection'
            data += more
        return data

    def read(self):
        kind, size, shift = self.exactly(1)[0], 0, 0
        while True:
            digit = self.exactly(1)[0]
            size |= (digit & 127) << shift
            shift += 7
            if digit < 128:
                return kind, self.exactly(size)


class Producer(Wire):
    """With QoS 1 and 2 `send` returns once the broker has all messages."""

    def __init__(self, port, client='producer', user=None, password=None):
        super().__init__(socket.create_connection(('127.0.0.1', port), timeout=harness.LIMIT_S))
        flags = 2 | (0x80 if user else 0) | (0x40 if password else 0)
        self.packet(0x10, b'\x00\x04MQTT\x04' + bytes([flags]) + b'\x00\x00' + self.text(client) +
                    (self.text(user) if user else b'') + (self.text(password) if password else b''))
        kind, body = self.read()
        assert kind == 0x20 and body[1] == 0, (kind, body)
        self.mid = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.packet(0xe0, b'')
        self.socket.close()

    def send(self, topic, *messages, qos=1, retain=False):
        for at in range(0, len(messages), 100):
            part = messages[at:at + 100]
            for message in part:
                self.mid = self.mid % 65535 + 1
                data = message if isinstance(message, bytes) else message.encode()
                self.packet(0x30 | qos << 1 | retain,
                            self.text(topic) + (struct.pack('>H', self.mid) if qos else b'') + data)
            for _ in part if qos else ():
                kind, body = self.read()
                assert kind == (0x40 if qos == 1 else 0x50), kind
                if qos == 2:
                    self.packet(0x62, body)
            for _ in part if qos == 2 else ():
                kind, _ = self.read()
                assert kind == 0x70, kind


def send(broker, topic, *messages, **more):
    # Another one each time: a client of the same name would drive out the last one, with what was not read of it.
    with Producer(broker.port, f'producer-{uuid.uuid4().hex}') as producer:
        producer.send(topic, *messages, **more)


class Fake:
    """Of a broker what a test wants to decide itself, packet by packet. `tls`: an ssl.SSLContext."""

    def __init__(self, tls=None):
        self.tls = tls
        self.listener = socket.create_server(('127.0.0.1', 0))
        self.listener.settimeout(harness.LIMIT_S)
        self.port = self.listener.getsockname()[1]

    def close(self):
        self.listener.close()

    def accept(self, granted=1, more=b''):
        """A client that was let in and has asked for one topic, with what that was answered. `more`: packets that are in the same
        segment, or record of TLS, as the answer that lets it in."""
        connected = self.listener.accept()[0]
        if self.tls:
            connected = self.tls.wrap_socket(connected, server_side=True)
        wire = Wire(connected)
        kind, _ = wire.read()
        assert kind == 0x10, kind
        wire.socket.sendall(b'\x20\x02\x00\x00' + more)
        kind, body = wire.read()
        assert kind == 0x82, kind
        wire.packet(0x90, body[:2] + bytes([granted]))
        return wire
