# SPDX-License-Identifier: Apache-2.0
"""docs/write-an-analyzer.md, typed in: its files are written, its commands run in their order, its output compared."""

import os
import re
import shutil
import subprocess
import unittest

import harness
import pythons
import test_tutorial

GUIDE = os.path.join(harness.SOURCE, 'docs', 'write-an-analyzer.md')


class Guide(test_tutorial.Tutorial):
    def setUp(self):
        for program in ('curl', 'cc', 'bash', 'make', 'install'):
            if not shutil.which(program):
                self.skipTest(f'no {program}')
        top = harness.folder_for_test(self)
        self.folder, tools, plugins = (os.path.join(top, name) for name in ('work', 'tools', 'plugins'))
        for path in (self.folder, tools, plugins):
            os.mkdir(path)
        # As if it were installed: pkg-config says where the header is, and where plugins go.
        with open(os.path.join(tools, 'pkg-config'), 'w', encoding='ascii') as file:
            file.write(f'#!/bin/sh\ncase $1 in --cflags) echo "-I{harness.SOURCE}/include" ;; *) echo "{plugins}" ;; esac\n')
        os.chmod(os.path.join(tools, 'pkg-config'), 0o755)
        os.symlink(harness.WEIR, os.path.join(tools, 'weir'))
        clean = {k: v for k, v in harness.environment().items() if k not in ('MAKEFLAGS', 'MFLAGS', 'MAKELEVEL')}
        self.env = dict(clean, PATH=tools + ':' + clean['PATH'], WEIR_PLUGIN_PATH=plugins)

    def write(self, name, content):
        with open(os.path.join(self.folder, name), 'w', encoding='utf-8') as file:
            file.write(content)

    def page(self):
        """(name, kind, content) of its blocks, but for those in Python, which not every build has; and those."""
        with open(GUIDE, encoding='utf-8') as file:
            text = file.read().replace('127.0.0.1:8080', f'127.0.0.1:{harness.free_port()}')
        return [re.findall(r'(?:^`(\S+)`:\n\n)?^```(\w+)\n(.*?)^```', part, re.MULTILINE | re.DOTALL)
                for part in text.split('## The same in Python')]

    def put_whole(self, function):
        """"In place of `compare` and `whole`"."""
        path = os.path.join(self.folder, 'rises', 'rises.c')
        with open(path, encoding='utf-8') as file:
            old = file.read()
        new = re.sub(r'^static int compare.*?(?=^static const struct weir_param)', lambda _: function + '\n', old,
                     flags=re.MULTILINE | re.DOTALL)
        self.assertNotEqual(new, old)
        self.write('rises/rises.c', new)

    def test_what_it_says_is_what_happens(self):
        blocks, _ = self.page()
        self.assertGreater(len(blocks), 30)
        compared = 0
        for (name, kind, content), (_, next_kind, expected) in zip(blocks, blocks[1:] + [('', '', '')]):
            if name:
                self.write(name, content)
            elif content.startswith('cd '):
                self.folder = os.path.join(self.folder, content.split()[1])
            elif kind == 'c':
                self.put_whole(content)
            elif kind == 'sh' and '&\n' in content:
                self.start_server(content)
            elif kind == 'sh':
                wanted = expected if next_kind == 'text' else None
                said = self.run_block(content, wanted)
                compared += wanted is not None
                if './counter' in content:
                    self.assertRegex(said, r'(?s)they differ\nbroken\nmended\n$')
                if next_kind == 'json':
                    self.assertEqual(said, expected)
                if next_kind == 'metrics':  # values differ from run to run
                    names = [re.sub(r' \S+$', '', line) for line in expected.splitlines()]
                    self.assertEqual(names, [re.sub(r' \S+$', '', line) for line in said.splitlines()])
        self.assertEqual(compared, 9)
        self.assertEqual(self.server.wait(harness.LIMIT_S), 0)

    def test_it_is_the_same_in_python(self):
        pythons.Case.setUpClass()  # skips where there is none
        for name, kind, content in self.page()[0]:
            if kind == 'yaml':
                self.write(name, content)
        (name, _, program), (_, _, check) = self.page()[1]
        self.write(name, program)
        os.symlink(os.path.join(harness.BUILD, 'plugins', 'python.so'), os.path.join(self.env['WEIR_PLUGIN_PATH'], 'python.so'))
        done = subprocess.run(['bash', '-ec', check], cwd=self.folder, env=self.env, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        if "No module named 'numpy'" in done.stdout:
            self.skipTest('no numpy for the Python that weir was built with')
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn('ok    process ', done.stdout)
        for path, line, other in (('weir.yaml', 'share: {of: ms, limit: 300}', 'python: {file: share.py, of: ms, with: limit=300, as: ms}'),
                                  ('test.yaml', 'ms_over: 0, ms_share: null', 'ms_over: null, ms_share: null')):
            with open(os.path.join(self.folder, path), encoding='utf-8') as file:
                text = file.read()
            self.assertIn(line, text)
            self.write(path, text.replace(line, other))
        self.assertIn('2 cases, 0 failed', self.run_block('weir test test.yaml', None))


if __name__ == '__main__':
    harness.main()
