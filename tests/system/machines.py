# SPDX-License-Identifier: Apache-2.0
"""Machines for tests: a network namespace each, with a link to all others, which may be cut one way. All of them are in a namespace of
their own, which nobody else sees: a program of tests begins once more in there (`enter`)."""

import contextlib
import ctypes
import itertools
import os
import shutil
import subprocess
import sys

import harness

libc = ctypes.CDLL(None, use_errno=True)
HERE = '10.77.0.1'  # whoever is not on a machine of its own: brokers, PostgreSQL, the tests


def run(*arguments, check=True):
    done = subprocess.run(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if check and done.returncode:
        raise AssertionError(f'{" ".join(arguments)}: {done.stdout}')
    return done.returncode == 0


def can():
    return (os.geteuid() == 0 and all(map(shutil.which, ('ip', 'iptables', 'unshare', 'nsenter')))
            and run('unshare', '-n', 'sh', '-c', 'ip link add weir0 type bridge && iptables -A INPUT -p tcp --sport 1 -j DROP', check=False))


def inside():
    return 'WEIR_MACHINES' in os.environ


def enter():
    """Does not return: the program begins again, with nobody else in its network."""
    os.execvpe('unshare', ['unshare', '-n', sys.executable, *sys.argv], {**os.environ, 'WEIR_MACHINES': '1'})


def set_up():
    run('ip', 'link', 'set', 'lo', 'up')
    run('ip', 'link', 'add', 'weir0', 'type', 'bridge')
    run('ip', 'address', 'add', HERE + '/16', 'dev', 'weir0')
    run('ip', 'link', 'set', 'weir0', 'up')


class Machine:
    """`before`: what a command is run by, to be on it. `group` is another one for each process that makes some."""

    numbers = itertools.count(2)

    def __init__(self, group):
        number = next(self.numbers)
        self.address = f'10.77.{1 + group % 250}.{number}'
        link = f'w{group % 250}-{number}'
        self.process = subprocess.Popen(['unshare', '-n', 'sleep', '100000'])
        at = f'/proc/{self.process.pid}/ns/net'
        harness.wait_until(lambda: os.path.exists(at) and os.readlink(at) != os.readlink('/proc/self/ns/net'), 'the namespace')
        self.before = ['nsenter', '--net=' + at, '--']
        run('ip', 'link', 'add', link, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', str(self.process.pid))
        run('ip', 'link', 'set', link, 'master', 'weir0', 'up')
        self.do('ip', 'address', 'add', self.address + '/16', 'dev', 'eth0')
        self.do('ip', 'link', 'set', 'eth0', 'up')
        self.do('ip', 'link', 'set', 'lo', 'up')

    def do(self, *arguments):
        run(*self.before, *arguments)

    @contextlib.contextmanager
    def entered(self):
        """By this thread: sockets that are made are there, and stay there."""
        with open('/proc/thread-self/ns/net', 'rb') as here, open(f'/proc/{self.process.pid}/ns/net', 'rb') as there:
            for_net = 0x40000000  # CLONE_NEWNET
            if libc.setns(there.fileno(), for_net):
                raise OSError(ctypes.get_errno(), 'setns')
            try:
                yield
            finally:
                libc.setns(here.fileno(), for_net)

    def cut(self, way, *ports):
        """way: 'out', 'in' or 'both'; of connections to these ports elsewhere."""
        for port in map(str, ports):
            if way != 'in':
                self.do('iptables', '-w', '-A', 'OUTPUT', '-p', 'tcp', '--dport', port, '-j', 'DROP')
            if way != 'out':
                self.do('iptables', '-w', '-A', 'INPUT', '-p', 'tcp', '--sport', port, '-j', 'DROP')

    def mend(self):
        self.do('iptables', '-w', '-F')

    def close(self):
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()
