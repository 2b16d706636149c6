# SPDX-License-Identifier: Apache-2.0
"""weir plugin new: what it makes builds without a warning, loads, and gives what it says."""

import os
import subprocess
import sys
import unittest

import harness


class New(unittest.TestCase):
    def setUp(self):
        self.folder = harness.folder_for_test(self)

    def build(self, name, *targets):
        """Not installed here: what pkg-config would say is given in its place."""
        fake = os.path.join(self.folder, 'pkg-config')
        with open(fake, 'w', encoding='ascii') as file:
            file.write(f'#!/bin/sh\necho "-I{harness.SOURCE}/include"\n')
        os.chmod(fake, 0o755)
        env = {k: v for k, v in os.environ.items() if k not in ('MAKEFLAGS', 'MFLAGS', 'MAKELEVEL')}
        done = subprocess.run([os.environ.get('MAKE', 'make'), '-C', os.path.join(self.folder, name),
                               'PKG_CONFIG=' + fake, 'CFLAGS=-O2 -Wall -Wextra -pedantic -Werror',
                               'WEIR=' + harness.WEIR, *targets],
                              env={**env, 'WEIR_PLUGIN_PATH': harness.plugin_path()}, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        self.assertEqual(done.returncode, 0, done.stdout)
        return done.stdout

    def test_each_kind_builds_and_passes_its_own_tests(self):
        for option in ([], ['--many'], ['--whole']):
            name = 'my' + ''.join(option)[2:]
            done = harness.weir('plugin', 'new', *option, name, cwd=self.folder)
            self.assertEqual(done.returncode, 0, done.stderr)
            said = self.build(name, f'{name}.so', 'test')
            self.assertIn('ok    layout', said)
            self.assertIn('1 case, 0 failed', said)
            self.build(name, 'install', 'DESTDIR=' + self.folder, 'plugindir=/stage')
            self.assertTrue(os.access(os.path.join(self.folder, 'stage', f'{name}.so'), os.X_OK))
            self.build(name, 'clean')
            self.assertEqual(sorted(os.listdir(os.path.join(self.folder, name))),
                             sorted([f'{name}.c', 'Makefile', 'weir.yaml', 'test.yaml']))
        self.assertEqual(harness.weir('plugin', 'new', '--many', '--whole', 'x', cwd=self.folder).returncode, 64)

    def test_one_that_asks_passes_its_own_tests(self):
        done = harness.weir('plugin', 'new', '--async', 'mine', cwd=self.folder)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn('mine/mine.c, service.py, Makefile', done.stdout)
        self.build('mine')
        if 'without libcurl' in harness.weir('check', '--no-database', '-c', 'weir.yaml', cwd=os.path.join(self.folder, 'mine')).stderr:
            self.skipTest('built without libcurl')
        said = self.build('mine', 'test', 'PYTHON=' + sys.executable)
        self.assertIn('ok    layout', said)
        self.assertIn('1 case, 0 failed', said)
        self.build('mine', 'clean')
        self.assertEqual(sorted(os.listdir(os.path.join(self.folder, 'mine'))), ['Makefile', 'mine.c', 'service.py', 'test.yaml', 'weir.yaml'])

    def test_a_new_plugin_builds_and_runs(self):
        done = harness.weir('plugin', 'new', 'mine', cwd=self.folder)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.build('mine')
        mine = os.path.join(self.folder, 'mine')
        checked = harness.weir('check', '--no-database', '-c', 'weir.yaml', cwd=mine)
        self.assertEqual(checked.returncode, 0, checked.stderr)
        self.assertIn('table try_mine: window_start window_end key count value_mine', checked.stdout)
        events = ''.join('{"key":"a","value":%s}\n' % v for v in ('1.5', '2.5', 'null', '5'))
        done = harness.weir('run', '-c', 'weir.yaml', '--stream', 'input', cwd=mine, stdin=events)
        self.assertEqual(done.returncode, 0, done.stderr)
        rows = harness.read_rows(os.path.join(mine, 'mine.db'),
                                 'SELECT sum(count), sum(value_mine) FROM try_mine')
        self.assertEqual(rows, [(4, 3.0)])

    def test_what_is_there_is_not_written_over(self):
        os.mkdir(os.path.join(self.folder, 'mine'))
        done = harness.weir('plugin', 'new', 'mine', cwd=self.folder)
        self.assertEqual(done.returncode, 73)
        self.assertIn("cannot make 'mine'", done.stderr)
        self.assertEqual(os.listdir(os.path.join(self.folder, 'mine')), [])

    def test_names_are_checked(self):
        for name in ('', 'Mine', '../x', 'a-b', 'x' * 41):
            self.assertEqual(harness.weir('plugin', 'new', name, cwd=self.folder).returncode, 64)
        self.assertEqual(os.listdir(self.folder), [])


if __name__ == '__main__':
    harness.main()
