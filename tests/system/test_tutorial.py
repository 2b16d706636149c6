# SPDX-License-Identifier: Apache-2.0
"""docs/tutorial.md, typed in: its files are written, its commands run, its output compared."""

import os
import re
import shutil
import subprocess
import unittest

import harness

TUTORIAL = os.path.join(harness.SOURCE, 'docs', 'tutorial.md')


class Tutorial(unittest.TestCase):
    def run_block(self, script, expected):
        """Until the output is as it should be: results need a moment."""
        def output():
            done = subprocess.run(['bash', '-ec', script], cwd=self.folder, env=self.env, text=True, timeout=harness.LIMIT_S,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
            self.assertEqual(done.returncode, 0, done.stdout)
            self.last = done.stdout
            return done.stdout.rstrip('\n') == expected.rstrip('\n')
        if expected is None:
            done = subprocess.run(['bash', '-ec', script], cwd=self.folder, env=self.env, text=True, timeout=harness.LIMIT_S,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
            self.assertEqual(done.returncode, 0, done.stdout)
            return done.stdout
        try:
            harness.wait_until(output, 'the output of the tutorial')
        except AssertionError:
            self.assertEqual(self.last, expected)
        return self.last

    def start_server(self, script):
        command = script.split('&')[0]
        log = os.path.join(self.folder, 'log')
        with open(log, 'w', encoding='utf-8') as file:
            server = subprocess.Popen(command.split(), cwd=self.folder, env=self.env,
                                      stdin=subprocess.DEVNULL, stderr=file)
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)

        def listens():
            with open(log, encoding='utf-8') as file:
                text = file.read()
            self.assertIsNone(server.poll(), text)
            return 'listening on' in text
        harness.wait_until(listens, 'the server')
        self.server, self.env['pid'] = server, str(server.pid)  # pid=$!

    def test_what_it_says_is_what_happens(self):
        for program in ('pkg-config', 'curl', 'sqlite3', 'cc', 'bash'):
            if not shutil.which(program):
                self.skipTest(f'no {program}')
        self.folder = harness.folder_for_test(self)
        stage = os.path.join(self.folder, 'stage')
        clean = {k: v for k, v in os.environ.items() if k not in ('MAKEFLAGS', 'MFLAGS', 'MAKELEVEL')}
        subprocess.run([os.environ.get('MAKE', 'make'), '-C', harness.BUILD, 'install', f'DESTDIR={stage}'],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=clean)
        found = {name: base for base, _, files in os.walk(stage) for name in files}
        self.env = dict(clean, PATH=found['weir'] + ':' + clean['PATH'],
                        PKG_CONFIG_PATH=found['weir.pc'], PKG_CONFIG_SYSROOT_DIR=stage)

        with open(TUTORIAL, encoding='utf-8') as file:
            text = file.read().replace('127.0.0.1:8080', f'127.0.0.1:{harness.free_port()}')
        # Steps in order: the files, then every command with the output that follows it.
        blocks = re.findall(r'^```(\w+)\n(.*?)^```', text, re.MULTILINE | re.DOTALL)
        named = re.findall(r'^`(\S+)`:\n\n```\w+\n(.*?)^```', text, re.MULTILINE | re.DOTALL)
        self.assertEqual([name for name, _ in named], ['spread.c', 'weir.yaml'])
        self.assertEqual(blocks[0][1], 'mkdir spread\ncd spread\n')
        for name, content in named:
            with open(os.path.join(self.folder, name), 'w', encoding='utf-8') as file:
                file.write(content)
        outputs = 0
        for (kind, script), (next_kind, expected) in zip(blocks[1:], blocks[2:] + [('', '')]):
            if kind != 'sh':
                continue
            if script.rstrip().endswith('&'):
                self.start_server(script)
                continue
            wanted = expected if next_kind == 'text' else None
            outputs += wanted is not None
            said = self.run_block(script, wanted)
            if 'curl' in script and wanted is None:
                self.assertIn('"accepted":4', said)
        self.assertEqual(outputs, 4)


if __name__ == '__main__':
    harness.main()
