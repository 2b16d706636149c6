# SPDX-License-Identifier: Apache-2.0
"""A broker of Apache Kafka in a process of its own, of the jars that Maven has fetched; the mock cluster of librdkafka answers no
client for Java."""

import os
import shutil
import socket
import subprocess
import tempfile

import brokers
import harness

PROPERTIES = '''
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{control}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{control}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={folder}/data
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
'''
META = '''
version=1
cluster.id=d2Vpci10ZXN0cy1vZi1GbA
node.id=1
'''


class Broker:
    def __init__(self, jars):
        self.folder = tempfile.mkdtemp()
        port, control = harness.free_port(), harness.free_port()
        self.servers = f'127.0.0.1:{port}'
        self.address = '127.0.0.1', port
        os.mkdir(os.path.join(self.folder, 'data'))
        self.write('server.properties', PROPERTIES.format(port=port, control=control, folder=self.folder))
        self.write('data/meta.properties', META)
        with open(os.path.join(self.folder, 'log'), 'wb') as log:
            self.process = subprocess.Popen(
                ['java', '-Xmx300m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1', '-cp', os.path.join(jars, '*'), 'kafka.Kafka',
                 os.path.join(self.folder, 'server.properties')], stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def close(self):
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder)

    def write(self, name, text):
        with open(os.path.join(self.folder, name), 'w', encoding='ascii') as file:
            file.write(text)

    def answers(self):
        if self.process.poll() is not None:
            with open(os.path.join(self.folder, 'log'), encoding='utf-8', errors='replace') as log:
                raise AssertionError(f'the broker has ended: {log.read()[-2000:]}')
        try:
            socket.create_connection(self.address, 1).close()
        except OSError:
            return False
        return True

    def client(self, topic, partitions):
        """A producer, once the topic is there."""
        harness.wait_until(self.answers, 'Kafka')
        client = brokers.Brokers(at=self.servers)
        harness.wait_until(lambda: self.made(client, topic, partitions), topic)
        return client

    @staticmethod
    def made(client, topic, partitions):
        try:
            client.topic(topic, partitions)
        except AssertionError as e:
            return 'already exists' in str(e)
        return True
