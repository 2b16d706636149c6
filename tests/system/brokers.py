# SPDX-License-Identifier: Apache-2.0
"""Kafka for tests: tests/system/brokers.c, which is librdkafka's mock cluster and a producer in a process of its own."""

import json
import os
import subprocess
import unittest

import harness

PROGRAM = os.path.join(harness.BUILD, 'tests', 'system', 'brokers')


def there():
    """Was weir built with librdkafka?"""
    with open(os.path.join(harness.BUILD, 'config.h'), encoding='ascii') as file:
        return '#define HAVE_RDKAFKA 1' in file.read()


def traced():
    """By ThreadSanitizer, which does not know the threads of C11 that librdkafka has, and falls over them?"""
    with open(harness.WEIR, 'rb') as file:
        return b'__tsan_init' in file.read()


class Brokers:
    def __init__(self, n=1, at=None):
        if not os.path.exists(PROGRAM):
            raise unittest.SkipTest('built without librdkafka')
        self.process = subprocess.Popen([PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.servers = self.do(f'at {at}' if at else f'brokers {n}')

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.process.kill()
        self.process.wait()
        harness.close_pipe(self.process.stdin)
        self.process.stdout.close()

    def do(self, line, more=b''):
        self.process.stdin.write(line.encode() + b'\n' + more)
        self.process.stdin.flush()
        answer = self.process.stdout.readline().decode().rstrip('\n')
        if not answer.startswith('ok'):
            raise AssertionError(f'{line}: {answer}')
        return answer[3:]

    def topic(self, name, partitions):
        self.do(f'topic {name} {partitions}')

    def read(self, topic):
        """[(partition, weir-op, weir-seq, key, value)] of all messages that are committed; key and value parsed."""
        return [message[:3] + message[4:] for message in self.read_shards(topic)]

    def read_shards(self, topic):
        """The same, with weir-shard behind weir-seq; '': it has none."""
        n = int(self.do(f'read {topic}'))
        found = []
        for _ in range(n):
            partition, op, seq, shard, key, value = self.process.stdout.readline().decode().rstrip('\n').split('\t')
            found.append((int(partition), op, int(seq), shard, json.loads(key), json.loads(value)))
        return found

    def send(self, topic, *messages, partition=0, time_ms=0):
        """Messages, text or bytes, in this order; they are with the broker."""
        for message in messages:
            data = message if isinstance(message, bytes) else message.encode()
            self.do(f'send {topic} {partition} {time_ms} {len(data)}', data)
        self.do('flush')
