#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""As a service: what systemd is told, `weir reload`, and whether the unit's hardening lets everything work."""

import contextlib
import ctypes
import ctypes.util
import errno
import grp
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import unittest

import harness

CONFIG = '''
server: {listen: {listen}, database: {folder}/weir.db, commit_interval: 10ms%s}
streams: {s: {time: {field: t, unit: ms}, fields: {n: int}}}
pipelines:
  p: {from: s, window: {tumbling: 10s}, analyzers: [%s]}
'''
T0 = 1700000000000


def config(analyzers='count', server=''):
    return CONFIG % (server, analyzers)


class Service(unittest.TestCase):
    def start(self, text=None, **env):
        server = harness.Server(text or config(), harness.folder_for_test(self), **env)
        self.addCleanup(server.kill)
        server.start()
        return server

    def rewrite(self, server, text):
        with open(server.path, 'w', encoding='utf-8') as file:
            file.write(text.replace('{folder}', server.folder).replace('{listen}', '127.0.0.1:0'))


class Told(Service):
    """NOTIFY_SOCKET."""

    def listen(self, name):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(self.socket.close)
        self.socket.settimeout(harness.LIMIT_S)
        self.socket.bind(name)

    def next(self):
        """The next that is no sign of life, as a dictionary."""
        while True:
            said = dict(line.split('=', 1) for line in self.socket.recv(4096).decode().splitlines())
            if said != {'WATCHDOG': '1'}:
                return said

    def test_start_reload_and_stop_are_told(self):
        path = os.path.join(harness.folder_for_test(self), 'notify')
        self.listen(path)
        server = self.start(NOTIFY_SOCKET=path)
        self.assertEqual(self.next(), {'READY': '1', 'STATUS': f'listening on http://127.0.0.1:{server.port}'})
        server.process.send_signal(signal.SIGHUP)
        said = self.next()
        self.assertEqual(said['RELOADING'], '1')
        self.assertGreater(int(said['MONOTONIC_USEC']), 0)
        self.assertEqual(self.next()['READY'], '1')
        server.stop()
        self.assertEqual(self.next()['STOPPING'], '1')

    def test_signs_of_life_and_an_abstract_socket(self):
        name = f'weir-test-{os.getpid()}'
        self.listen('\0' + name)
        server = self.start(NOTIFY_SOCKET='@' + name, WATCHDOG_USEC='100000')
        self.next()
        for _ in range(3):
            self.assertEqual(self.socket.recv(4096), b'WATCHDOG=1\n')
        server.process.send_signal(signal.SIGSTOP)
        self.socket.settimeout(0.3)
        with self.assertRaises(TimeoutError):
            while True:
                self.socket.recv(4096)
        self.socket.settimeout(harness.LIMIT_S)
        server.process.send_signal(signal.SIGCONT)
        self.assertEqual(self.socket.recv(4096), b'WATCHDOG=1\n')
        server.stop()

    def test_a_watchdog_of_another_process_is_not_answered(self):
        path = os.path.join(harness.folder_for_test(self), 'notify')
        self.listen(path)
        server = self.start(NOTIFY_SOCKET=path, WATCHDOG_USEC='2000', WATCHDOG_PID='1')
        self.next()
        server.stop()
        self.assertIn(b'STOPPING', self.socket.recv(4096))

    def test_processes_that_it_starts_do_not_know_the_socket(self):
        path = os.path.join(harness.folder_for_test(self), 'notify')
        self.listen(path)
        server = self.start(config('{count: , run: process}'), NOTIFY_SOCKET=path)
        pid = server.get_json('/api/v1/pipelines/p')['processes'][0]['pid']
        with open(f'/proc/{pid}/environ', 'rb') as file:
            self.assertNotIn(b'NOTIFY_SOCKET', file.read())
        server.stop()

    def test_nobody_listens(self):
        self.start(NOTIFY_SOCKET='/nowhere/at/all', WATCHDOG_USEC='10000').stop()


class Reload(Service):
    def reload(self, server, *arguments):
        done = harness.weir('reload', *(arguments or ('-c', server.path)))
        return done.returncode, done.stdout, done.stderr

    def test_it_waits_and_says_what_happened(self):
        server = self.start()
        self.assertEqual(self.reload(server), (0, 'weir: the configuration was read again\n', ''))
        self.rewrite(server, config('{stats: {of: n}}'))
        status, said, errors = self.reload(server)
        self.assertEqual(status, 0, errors)
        self.assertIn("pipeline 'p' is exchanged", said)
        self.assertIn('it starts afresh', errors)  # a warning
        # It has happened when the command ends.
        self.assertEqual(server.get_json('/api/v1/pipelines/p')['analyzers'], ['stats'])
        server.stop()

    def test_what_is_wrong_is_said_and_changes_nothing(self):
        server = self.start()
        self.rewrite(server, config('cuont').replace('from: s', 'from: nobody'))
        with open(server.path, encoding='ascii') as file:
            self.assertIn('nobody', file.read())
        # By the database: as -c, the file could not even say where that is.
        status, said, errors = self.reload(server, '-d', server.database)
        self.assertEqual((status, said), (78, ''))
        self.assertRegex(errors, r"weir\.yaml:\d+:\d+: .*'nobody'.*stays as it was")
        self.assertNotIn('SIGHUP', errors)
        self.assertEqual(server.get_json('/api/v1/pipelines/p')['analyzers'], ['count'])
        status, _, errors = self.reload(server)
        self.assertEqual(status, 78)
        self.assertRegex(errors, r"weir\.yaml:\d+:\d+: ")
        self.assertIn('was not asked: tokens and certificates stay', errors)
        server.stop()

    def test_tokens_that_are_refused_are_a_failure(self):
        folder = harness.folder_for_test(self)
        tokens = os.path.join(folder, 'tokens')
        harness.weir('token', 'new', '-f', tokens, '--may=read')
        server = self.start(config(server=f', tokens: {tokens}'))
        with open(tokens, 'a', encoding='ascii') as file:
            file.write('rubbish\n')
        status, said, errors = self.reload(server)
        self.assertEqual(status, 1, errors)
        self.assertIn('tokens stay as they were', errors)
        self.assertIn('the configuration was read again', said)
        server.kill()

    def test_no_server(self):
        server = self.start()
        server.stop()
        status, said, errors = self.reload(server)
        self.assertEqual((status, said), (69, ''))
        self.assertIn('no server runs', errors)
        self.assertEqual(self.reload(server, '-d', '/nowhere/weir.db')[0], 69)
        self.assertEqual(self.reload(server, '-c', server.path, 'more')[0], 64)

    def test_one_that_was_killed_is_not_waited_for_and_its_successor_is_heard(self):
        server = self.start()
        server.kill()
        self.assertEqual(self.reload(server)[0], 69)
        server.start()
        self.assertEqual(self.reload(server)[0], 0)
        server.stop()

    @unittest.skipIf(os.geteuid() != 0, 'needs root')
    def test_a_name_that_another_user_has_taken(self):
        """Anybody may bind it: the server says so and goes on, and weir reload does not believe them."""
        server = self.start()
        server.stop()
        st = os.stat(server.database + '.journal')
        take = f'import socket; s = socket.socket(socket.AF_UNIX); s.bind("\\0weir-{st.st_dev:x}-{st.st_ino:x}"); ' \
               's.listen(); print("taken", flush=True); s.accept(); input()'
        with subprocess.Popen(['/usr/bin/python3', '-c', take], user=65534, group=65534, extra_groups=[],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
            self.addCleanup(other.kill)
            self.assertEqual(other.stdout.readline(), b'taken\n')
            server.start()
            self.assertTrue(any('weir reload will not work' in line for line in server.log), server.log)
            status, _, errors = self.reload(server)
            self.assertEqual(status, 1)
            self.assertIn("not its owner's", errors)
            other.kill()
        server.stop()

    def test_many_at_once_all_hear_of_one_that_began_after_them(self):
        server = self.start()
        found = []

        def ask(i):
            found.append(self.reload(server))
        threads = [threading.Thread(target=ask, args=(i,)) for i in range(6)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual({status for status, _, _ in found}, {0}, found)
        server.stop()

    @unittest.skipIf(os.geteuid() != 0, 'needs root')
    def test_other_users_are_not_heard(self):
        server = self.start()
        os.chmod(server.folder, 0o755)
        os.chmod(server.database + '.journal', 0o755)
        asked = len([line for line in server.log if 'SIGHUP' in line])
        try:
            done = subprocess.run([harness.WEIR, 'reload', '-d', server.database], user=65534, group=65534, cwd='/',
                                  extra_groups=[], env=harness.environment(), stderr=subprocess.PIPE, text=True, check=False)
        except PermissionError:
            self.skipTest('others may not run what was built here')
        self.assertEqual(done.returncode, 69, done.stderr)
        self.assertIn("another user's", done.stderr)
        self.assertEqual(len([line for line in server.log if 'SIGHUP' in line]), asked)
        server.stop()


class Check(Service):
    """weir check reads what serve would."""

    def check(self, server):
        path = os.path.join(self.folder, 'weir.yaml')
        with open(path, 'w', encoding='ascii') as file:
            file.write(config(server=server).replace('{folder}', self.folder).replace('{listen}', '127.0.0.1:0'))
        done = harness.weir('check', '-c', path)
        return done.returncode, done.stderr

    def setUp(self):
        self.folder = harness.folder_for_test(self)

    def test_tokens(self):
        tokens = os.path.join(self.folder, 'tokens')
        given = f', tokens: {tokens}'
        status, said = self.check(given)
        self.assertEqual((status, tokens in said), (78, True), said)
        harness.weir('token', 'new', '-f', tokens, '--may=read')
        self.assertEqual(self.check(given), (0, ''))
        with open(tokens, 'a', encoding='ascii') as file:
            file.write('rubbish\n')
        status, said = self.check(given)
        self.assertEqual((status, tokens in said), (78, True), said)
        with open(tokens, 'w', encoding='ascii') as file:
            file.write('')
        status, said = self.check(given)
        self.assertIn('nobody may do anything', said)

    @unittest.skipUnless(shutil.which('openssl'), 'no openssl')
    def test_certificates(self):
        def make(name, days):
            subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes',
                            '-days', days, '-subj', '/CN=x', '-keyout', f'{self.folder}/{name}.key', '-out',
                            f'{self.folder}/{name}.pem'], check=True, stderr=subprocess.DEVNULL)
        use = lambda pem, key: f', tls: {{certificate: {self.folder}/{pem}.pem, key: {self.folder}/{key}.key}}'
        make('one', '365')
        make('soon', '1')
        status, said = self.check(use('one', 'one'))
        if 'built without GnuTLS' in said:
            self.skipTest('no TLS')
        self.assertEqual((status, said), (0, ''))
        self.assertEqual(self.check(use('one', 'soon'))[0], 78)
        self.assertEqual(self.check(use('none', 'one'))[0], 78)
        status, said = self.check(use('soon', 'soon'))
        self.assertEqual(status, 0)
        self.assertIn('expires at', said)


# ---- The unit -----------------------------------------------------------------------------------

def unit_lines(name):
    with open(os.path.join(harness.BUILD, 'etc', 'weir.service'), encoding='ascii') as file:
        return re.findall(rf'(?m)^{name}=(.*)$', file.read())


def call_sets():
    """{'@set': its members}, as systemd has them."""
    listing = subprocess.run(['systemd-analyze', 'syscall-filter', '--no-pager'], stdout=subprocess.PIPE, text=True,
                             stderr=subprocess.DEVNULL, check=True).stdout
    sets, name = {}, None
    for line in re.sub(r'\x1b\[[0-9;]*m', '', listing).splitlines():
        word = line.strip()
        if line.startswith('@'):
            name, sets[word] = word, []
        elif word and not word.startswith('#') and name:
            sets[name].append(word)
        elif not word:
            name = None
    return sets


def members(word, sets):
    return {call for member in sets[word] for call in members(member, sets)} if word.startswith('@') else {word}


def allowed_calls():
    """What the unit's SystemCallFilter= lines leave, in their order (systemd.exec(5))."""
    sets = call_sets()
    found = members('@default', sets)
    for line in unit_lines('SystemCallFilter'):
        words = line.lstrip('~').split()
        calls = set().union(*(members(word, sets) for word in words))
        found = found - calls if line.startswith('~') else found | calls
    return found


def fence(calls):
    """Puts this process behind such a filter, as systemd does it: by libseccomp, EPERM for the rest."""
    library = ctypes.CDLL(ctypes.util.find_library('seccomp') or 'libseccomp.so.2', use_errno=True)
    library.seccomp_init.restype = ctypes.c_void_p
    for function in ('seccomp_rule_add', 'seccomp_load'):
        getattr(library, function).argtypes = [ctypes.c_void_p] + ([ctypes.c_uint32, ctypes.c_int, ctypes.c_uint]
                                                                  if function == 'seccomp_rule_add' else [])
    rules = library.seccomp_init(0x00050000 | errno.EPERM)
    for call in calls:
        number = library.seccomp_syscall_resolve_name(call.encode())
        if number >= 0:
            library.seccomp_rule_add(rules, 0x7fff0000, number, 0)

    def load():
        if library.seccomp_load(rules):
            os._exit(99)
    return load


@unittest.skipUnless(shutil.which('systemd-analyze'), 'no systemd-analyze')
class Unit(Service):
    def setUp(self):
        if not os.path.exists(os.path.join(harness.BUILD, 'etc', 'weir.service')):
            self.skipTest('configured without a unit')

    def test_exposure_is_low(self):
        for unit in ('weir.service', 'weir-node.service'):
            done = subprocess.run(['systemd-analyze', 'security', '--offline=yes', '--no-pager',
                                   os.path.join(harness.BUILD, 'etc', unit)],
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
            level = re.search(rf'exposure level for {unit}: ([0-9.]+)', done.stdout)
            if not level:
                self.skipTest('systemd-analyze knows no --offline')
            self.assertLess(float(level[1]), 2.0, done.stdout)

    def test_a_group_may_read_the_database(self):
        mask = int(unit_lines('UMask')[0], 8)
        self.assertEqual(unit_lines('StateDirectoryMode'), ['0750'])
        folder = harness.folder_for_test(self)
        server = harness.Server(config(), folder)
        before = os.umask(mask)
        try:
            self.addCleanup(server.kill)
            server.start()
        finally:
            os.umask(before)
        for name in ('weir.db', 'weir.db-wal', 'weir.db-shm'):
            self.assertEqual(os.stat(f'{folder}/{name}').st_mode & 0o777, 0o640, name)
        server.stop()

    def test_everything_works_behind_its_filter_of_calls(self):
        if harness.sanitized():
            self.skipTest('sanitizers call what weir does not')
        try:
            load = fence(allowed_calls())
        except OSError as error:
            self.skipTest(f'libseccomp: {error}')
        folder = harness.folder_for_test(self)
        group = grp.getgrgid(os.getegid()).gr_name
        text = config('count, {stats: {of: n}, run: process}', f', nice: 5, socket_group: {group}')
        server = harness.Server(text.replace('{listen}', 'unix:{folder}/weir.sock'), folder)
        command = [harness.WEIR, 'serve', '-c', server.path]
        with contextlib.ExitStack() as stack:
            process = stack.enter_context(subprocess.Popen(command, env=server.env, preexec_fn=load, text=True,
                                                           stderr=subprocess.PIPE))
            stack.callback(process.kill)
            log = []
            reader = threading.Thread(target=lambda: log.extend(process.stderr), daemon=True)
            reader.start()

            def curl(path, *arguments):
                done = subprocess.run(['curl', '-sS', '--unix-socket', f'{folder}/weir.sock', *arguments,
                                       'http://localhost' + path], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                      text=True, check=False)
                return done.stdout
            harness.wait_until(lambda: process.poll() is not None or 'true' in curl('/ready'), 'the server')
            self.assertIsNone(process.poll(), log)
            body = ''.join(json.dumps({'t': T0 + i * 1000, 'n': i}) + '\n' for i in range(31))
            said = json.loads(curl('/api/v1/streams/s/events', '--data-binary', body))
            self.assertEqual((said['accepted'], said['durable']), (31, True))
            rows = harness.wait_until(lambda: json.loads(curl('/api/v1/pipelines/p/results')), 'results')
            self.assertEqual(rows[0]['count'], 10)
            rows = json.loads(curl('/api/v1/sql?q=SELECT+sum(count)+FROM+p+WHERE+window_start<1700000010000000'))
            self.assertIn('10', json.dumps(rows))
            pid = json.loads(curl('/api/v1/pipelines/p'))['processes'][0]['pid']
            with open(f'/proc/{pid}/status', encoding='ascii') as file:
                self.assertIn('Seccomp_filters:\t2', file.read())  # the unit's, and its own
            nice = {os.getpriority(os.PRIO_PROCESS, int(task)) for task in os.listdir(f'/proc/{process.pid}/task')}
            self.assertEqual(len(nice), 2, nice)
            self.assertEqual(max(nice) - min(nice), 5)
            done = harness.weir('reload', '-c', server.path)
            self.assertEqual(done.returncode, 0, done.stderr)
            process.terminate()
            self.assertEqual(process.wait(harness.LIMIT_S), 0, log)
            reader.join()
            self.assertFalse([line for line in log if 'level=warn' in line or 'level=error' in line], log)


if __name__ == '__main__':
    harness.main()
