# SPDX-License-Identifier: Apache-2.0
"""Real brokers of Kafka for tests: processes of Java on an address of this machine, each a broker and a controller, which may be
killed, stopped, and started again on the same log. `./dev kafka` and `./dev shards` fetch what they need into $WEIR_KAFKA_JARS."""

import contextlib
import glob
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest

import harness

CONFIG = '''
process.roles=broker,controller
node.id={id}
controller.quorum.voters={voters}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{control}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={folder}/data
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
default.replication.factor={copies}
min.insync.replicas={in_sync}
offsets.topic.replication.factor={copies}
offsets.topic.num.partitions=2
transaction.state.log.replication.factor={copies}
transaction.state.log.min.isr={in_sync}
transaction.state.log.num.partitions=2
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
'''
SECURED = '''
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{control},SECURED://{host}:{secured}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SECURED:SASL_SSL
ssl.keystore.type=PEM
ssl.keystore.location={folder}/broker.pem
sasl.enabled.mechanisms=PLAIN
listener.name.secured.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_weir="{password}";
'''
PASSWORD = 'of-a-test'
MEMORY = ['-Xms96m', '-Xmx320m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1', '-XX:CICompilerCount=1', '-Xshare:auto']


def jars():
    """A class path; None: there are no jars, or no Java."""
    folder = os.environ.get('WEIR_KAFKA_JARS')
    return os.path.join(folder, '*') if folder and shutil.which('java') and glob.glob(os.path.join(folder, 'kafka-server-4*.jar')) else None


def certify(path, host):
    """A key and a certificate that is its own authority."""
    key, certificate = path + '.key', path + '.crt'
    subprocess.run(['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=weir', '-addext',
                    f'subjectAltName=IP:{host}', '-keyout', key, '-out', certificate], check=True, stderr=subprocess.DEVNULL)
    with open(path, 'w', encoding='ascii') as file:
        for part in (key, certificate):
            with open(part, encoding='ascii') as text:
                file.write(text.read())
    return certificate


class Broker:
    def __init__(self, folder, number, host, ports, voters, n):
        self.folder = os.path.join(folder, str(number))
        os.mkdir(self.folder)
        self.address = host, ports[number][0]
        self.properties = os.path.join(self.folder, 'server.properties')
        with open(self.properties, 'w', encoding='ascii') as file:
            file.write(CONFIG.format(id=number, voters=voters, host=host, port=ports[number][0], control=ports[number][1],
                                     folder=self.folder, copies=n, in_sync=(n + 1) // 2))
        self.process = None

    def java(self, *arguments):
        with open(os.path.join(self.folder, 'log'), 'ab') as log:
            return subprocess.Popen(['java', *MEMORY, '-cp', jars(), *arguments], cwd=self.folder, stdin=subprocess.DEVNULL,
                                    stdout=log, stderr=log)

    def start(self):
        self.process = self.java('kafka.Kafka', self.properties)

    def kill(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def answers(self):
        if self.process.poll() is not None:
            with open(os.path.join(self.folder, 'log'), encoding='utf-8', errors='replace') as log:
                raise AssertionError(f'the broker has ended: {log.read()[-2000:]}')
        with contextlib.suppress(OSError), socket.create_connection(self.address, 1):
            return True
        return False


class Kafka:
    """n brokers that have a copy of everything each, and go on while more than half of them are there. Secured: over TLS the first
    one lets in who knows the password, too."""

    def __init__(self, n=1, host='127.0.0.1', secured=False):
        if jars() is None:
            raise unittest.SkipTest('no $WEIR_KAFKA_JARS, or no Java')
        self.folder = tempfile.mkdtemp(prefix='weir-kafka-')
        ports = {i: (harness.free_port(), harness.free_port()) for i in range(1, n + 1)}
        voters = ','.join(f'{i}@{host}:{control}' for i, (_, control) in ports.items())
        self.brokers = [Broker(self.folder, i, host, ports, voters, n) for i in ports]
        self.servers = ','.join(f'{host}:{port}' for port, _ in ports.values())
        if secured:
            self.secure(self.brokers[0], *ports[1])

    def secure(self, broker, port, control):
        host = broker.address[0]
        secured = harness.free_port()
        self.secured = f'{host}:{secured}'
        self.certificate = certify(os.path.join(broker.folder, 'broker.pem'), host)
        with open(broker.properties, 'a', encoding='ascii') as file:  # of two lines for a name the last one counts
            file.write(SECURED.format(host=host, port=port, control=control, secured=secured, folder=broker.folder, password=PASSWORD))

    def start(self):
        formats = [b.java('kafka.tools.StorageTool', 'format', '-t', 'd2VpciBpcyBhIHRlc3QhIQ', '-c', b.properties) for b in self.brokers]
        for process in formats:
            if process.wait(harness.LIMIT_S):
                raise AssertionError(f'the log of a broker in {self.folder} cannot be made')
        for b in self.brokers:
            b.start()
        self.wait()
        return self

    def wait(self):
        for b in self.brokers:
            harness.wait_until(b.answers, 'a broker', limit_s=max(harness.LIMIT_S, 180), every_s=0.1)

    def restart(self, *brokers, away_s=0.0):
        """kill -9, and again on the same log."""
        for b in brokers:
            b.kill()
        time.sleep(away_s)
        for b in brokers:
            b.start()

    @contextlib.contextmanager
    def stopped(self, *brokers):
        for b in brokers:
            b.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            for b in brokers:
                b.process.send_signal(signal.SIGCONT)

    def close(self):
        for b in self.brokers:
            b.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def main():
    """kraft.py COMMAND ...: that, while there is a broker at $WEIR_KAFKA."""
    import sys  # pylint: disable=import-outside-toplevel
    with contextlib.closing(Kafka()) as kafka:
        kafka.start()
        return subprocess.run(sys.argv[1:], env={**os.environ, 'WEIR_KAFKA': kafka.servers}, check=False).returncode


if __name__ == '__main__':
    raise SystemExit(main())
