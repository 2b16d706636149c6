# SPDX-License-Identifier: Apache-2.0
"""`weir node` for tests: processes that start servers for shards, and what they and PostgreSQL say of who has what."""

import json
import os
import re
import signal as signals
import subprocess
import urllib.error
import urllib.request

import harness


class Node:
    """`weir node` in a folder of its own."""

    def __init__(self, test, name, text, folder, machine=None):
        self.name, self.folder, self.machine = name, folder, machine
        self.shards = os.path.join(folder, 'shards')
        self.record = harness.Log()
        self.process = None
        os.makedirs(folder, exist_ok=True)
        self.path = os.path.join(folder, 'weir.yaml')
        with open(self.path, 'w', encoding='utf-8') as file:
            file.write(text)
        test.addCleanup(self.kill)

    def start(self, **env):
        self.record.close()
        self.record = harness.Log()
        before = self.machine.before if self.machine else []
        self.process = subprocess.Popen([*before, harness.WEIR, 'node', '-c', self.path, '--name', self.name, '--dir', self.shards],
                                        cwd=self.folder, env=harness.environment(**env), stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=self.record.open())
        return self

    @property
    def log(self):
        return self.record.lines()

    def said(self, text):
        return any(text in line for line in self.log)

    def wait_said(self, text):
        harness.wait_until(lambda: self.said(text), f'{self.name} to say: {text}')

    def signal(self, number):
        self.process.send_signal(number)

    def end(self, number=signals.SIGTERM):
        """Its exit status."""
        self.signal(number)
        return self.process.wait(harness.LIMIT_S)

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.record.close()

    def address(self):
        return harness.wait_until(lambda: re.search(r', listening on (https?://[^;]*);', ''.join(self.log)), 'its address')[1]

    def get(self, path):
        """(status, parsed JSON or text), also where it is sent on."""
        try:
            with urllib.request.urlopen(self.address() + path, timeout=harness.LIMIT_S) as answer:
                status, text = answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read().decode()
        return status, json.loads(text) if text.startswith('{') else text

    def wait_ready(self):
        harness.wait_until(lambda: self.get('/ready')[0] == 200, f'{self.name} to be ready')

    def metric(self, name):
        return float(re.search(rf'^{name} (\S+)$', self.get('/metrics')[1], re.MULTILINE)[1])

    def servers(self):
        """{shard: pid} of servers that it has started, as its log says, and that run."""
        found = dict(re.findall(r'shard (\d+): its server is process (\d+)', ''.join(self.log)))
        return {int(shard): int(pid) for shard, pid in found.items() if is_running(int(pid))}


def is_running(pid):
    """A zombie, which nobody has waited for, does not."""
    try:
        with open(f'/proc/{pid}/stat', encoding='ascii', errors='replace') as file:
            return file.read().rsplit(')', 1)[1].split()[0] not in 'ZX'
    except (FileNotFoundError, ProcessLookupError):
        return False
