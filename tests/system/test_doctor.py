# SPDX-License-Identifier: Apache-2.0
"""weir doctor: what is well, what may be a trouble, and what keeps a server from working."""

import os
import resource
import socket
import subprocess
import unittest

import harness

CONFIG = '''
server: {listen: 127.0.0.1:%d, database: %s/weir.db, journal_limit: %s, sql_memory: %s}
streams: {s: {fields: {n: int}}}
pipelines: {p: {from: s, window: {tumbling: 10s}, analyzers: [count]}}
'''


class Doctor(unittest.TestCase):
    def setUp(self):
        self.folder = harness.folder_for_test(self)

    def visit(self, port=0, database=None, journal='4MiB', memory='16MiB', files=None):
        path = os.path.join(self.folder, 'weir.yaml')
        with open(path, 'w', encoding='utf-8') as file:
            file.write(CONFIG % (port, database or self.folder, journal, memory))

        def limit():
            if files:
                resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
        done = subprocess.run([harness.WEIR, 'doctor', '-c', path], env=harness.environment(), text=True, preexec_fn=limit,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        return done.returncode, done.stdout, done.stderr

    def test_what_is_well_is_said_and_nothing_is_made(self):
        status, said, errors = self.visit()
        self.assertEqual((status, errors), (0, ''), said)
        for what in ('config', 'database', 'journal', 'files', 'memory', 'address'):
            self.assertRegex(said, rf'(?m)^(ok|warn)  +{what} ')
        self.assertIn('1 streams, 1 pipelines, their plugins load', said)
        self.assertIn("weir.db' is not there yet", said)
        self.assertEqual(os.listdir(self.folder), ['weir.yaml'])

    def test_what_may_be_a_trouble_is_a_warning(self):
        with socket.socket() as s:
            s.bind(('127.0.0.1', 0))
            s.listen()
            status, said, _ = self.visit(port=s.getsockname()[1], journal='1000000GiB', memory='1000GiB', files=512)
        self.assertEqual(status, 0, said)
        self.assertRegex(said, r'warn  address .* is in use')
        self.assertRegex(said, r"warn  journal .*'journal_limit' is 1000000.0 GiB for each of 1 streams")
        self.assertRegex(said, r'warn  memory .* 4000.0 GiB in all')
        self.assertRegex(said, r'warn  files .*there will be \d+ connections, not 4096')

    def test_what_keeps_a_server_from_working_is_a_fault(self):
        status, said, _ = self.visit(files=40)
        self.assertEqual(status, 1)
        self.assertRegex(said, r'FAIL  files ')
        in_the_way = os.path.join(self.folder, 'file')
        with open(in_the_way, 'w', encoding='ascii'):
            pass
        status, said, _ = self.visit(database=in_the_way)
        self.assertEqual(status, 1)
        self.assertRegex(said, r"FAIL  database .*Not a directory")

    def test_a_wrong_configuration_is_told_as_by_check(self):
        status, _, errors = self.visit(journal='1')
        self.assertEqual(status, 78)
        self.assertIn('expected a size', errors)
        self.assertEqual(harness.weir('doctor').returncode, 64)


if __name__ == '__main__':
    harness.main()
