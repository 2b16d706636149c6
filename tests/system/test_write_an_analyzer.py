# SPDX-License-Identifier: Apache-2.0
"""docs/write-an-analyzer.md, typed in: its files are written, its commands run in their order, its output compared."""

import os
import re
import shutil
import unittest

import harness
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
        clean = {k: v for k, v in os.environ.items() if k not in ('MAKEFLAGS', 'MFLAGS', 'MAKELEVEL')}
        self.env = dict(clean, PATH=tools + ':' + clean['PATH'], WEIR_PLUGIN_PATH=plugins)

    def write(self, name, content):
        with open(os.path.join(self.folder, name), 'w', encoding='utf-8') as file:
            file.write(content)

    def test_what_it_says_is_what_happens(self):
        with open(GUIDE, encoding='utf-8') as file:
            text = file.read().replace('127.0.0.1:8080', f'127.0.0.1:{test_tutorial.free_port()}')
        blocks = re.findall(r'(?:^`(\S+)`:\n\n)?^```(\w+)\n(.*?)^```', text, re.MULTILINE | re.DOTALL)
        self.assertGreater(len(blocks), 25)
        compared = 0
        for (name, kind, content), (_, next_kind, expected) in zip(blocks, blocks[1:] + [('', '', '')]):
            if name:
                self.write(name, content)
            elif content.startswith('cd '):
                self.folder = os.path.join(self.folder, content.split()[1])
            elif kind == 'sh' and content.rstrip().endswith('&'):
                self.start_server(content)
            elif kind == 'sh':
                wanted = expected if next_kind == 'text' else None
                said = self.run_block(content, wanted)
                compared += wanted is not None
                if './counter' in content:
                    self.assertRegex(said, r'(?s)they differ\nbroken\nmended\n$')
                if '--data-binary' in content:
                    self.assertIn('"accepted":3', said)
        self.assertEqual(compared, 9)


if __name__ == '__main__':
    harness.main()
