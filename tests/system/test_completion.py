#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Completion of the command line, by each shell itself."""

import os
import pty
import re
import select
import shutil
import signal
import subprocess
import unittest

import harness

BASH_COMPLETION = '/usr/share/bash-completion/bash_completion'
COMMANDS = sorted(re.findall(r'(?m)^  (\w+) ', harness.weir('help').stdout))


def options(command):
    return sorted(set(re.findall(r'(?m)(--[a-z][a-z-]*)', harness.weir(command, '--help').stdout)))


class Shell:
    """What every shell has to offer; `offers(line)` is the shell's own."""

    def setUp(self):
        self.folder = harness.folder_for_test(self)
        for name in ('one.yaml', 'two.ndjson'):
            with open(os.path.join(self.folder, name), 'w', encoding='ascii'):
                pass
        self.env = {**harness.environment(), 'PATH': harness.BUILD + ':' + os.environ['PATH'], 'HOME': self.folder,
                    'TERM': 'dumb', 'LC_ALL': 'C.UTF-8', 'XDG_CONFIG_HOME': self.folder}

    def test_commands(self):
        self.assertGreater(len(COMMANDS), 10)
        self.assertEqual(self.offers('weir '), COMMANDS)
        self.assertEqual(self.offers('weir ser'), ['serve'])

    def test_options_are_those_that_help_tells(self):
        for command in ('top', 'reload', 'run'):
            self.assertLessEqual(set(self.offers(f'weir {command} --')), set(options(command)))
            self.assertGreater(len(self.offers(f'weir {command} --')), len(options(command)) * 0.7)
        self.assertEqual(self.offers('weir top --onc'), ['--once'])

    def test_values(self):
        self.assertEqual(self.offers('weir top -s '), sorted(['name', 'events', 'rows', 'lag', 'cpu', 'memory', 'queued']))
        self.assertEqual(self.offers('weir sql -f '), ['arrow', 'csv', 'json', 'ndjson', 'table'])
        self.assertEqual(self.offers('weir token '), ['list', 'new', 'revoke'])
        self.assertIn('one.yaml', self.offers('weir check -c '))
        self.assertIn('two.ndjson', self.offers('weir run -c one.yaml '))

    def test_plugins(self):
        self.assertIn('count', self.offers('weir plugins cou'))


@unittest.skipUnless(shutil.which('bash') and os.path.exists(BASH_COMPLETION), 'no bash-completion')
class Bash(Shell, unittest.TestCase):
    def offers(self, line):
        script = f'''. {BASH_COMPLETION}; . {harness.SOURCE}/etc/weir.bash
            COMP_LINE=$1 COMP_POINT=${{#1}} COMP_TYPE=9
            read -ra COMP_WORDS <<<"$1"; [[ $1 != *' ' ]] || COMP_WORDS+=('')
            COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
            compopt() {{ :; }}
            _weir weir; printf '%s\\n' "${{COMPREPLY[@]}}"'''
        done = subprocess.run(['bash', '--norc', '-c', script, 'bash', line], cwd=self.folder, env=self.env, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        self.assertEqual(done.stderr, '')
        return sorted(done.stdout.split())


@unittest.skipUnless(shutil.which('fish'), 'no fish')
class Fish(Shell, unittest.TestCase):
    def offers(self, line):
        done = subprocess.run(['fish', '--no-config', '-c', f'source {harness.SOURCE}/etc/weir.fish; complete -C $argv[1]', line],
                              cwd=self.folder, env=self.env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              check=False)
        self.assertEqual(done.stderr, '')
        return sorted({offer.split('\t')[0] for offer in done.stdout.splitlines()})


@unittest.skipUnless(shutil.which('zsh'), 'no zsh')
class Zsh(Shell, unittest.TestCase):
    """On a terminal: completion needs its line editor. compadd is told to write down what it is given."""

    SETUP = '''
    autoload -Uz compinit; compinit -u -d {folder}/dump
    zstyle ':completion:*' list-colors ''
    compadd () {{
        local -a given
        builtin compadd -O given "$@"
        print -rl -- $given >>{folder}/offered
        builtin compadd "$@"
    }}
    PROMPT='ready> '
    '''

    def offers(self, line):
        offered, over = os.path.join(self.folder, 'offered'), os.path.join(self.folder, 'over')
        with open(os.path.join(self.folder, 'setup'), 'w', encoding='ascii') as file:
            file.write(f'fpath=({harness.SOURCE}/etc $fpath)\n' + self.SETUP.format(folder=self.folder))
        for path in (offered, over):
            if os.path.exists(path):
                os.remove(path)
        pid, fd = pty.fork()
        if pid == 0:
            os.chdir(self.folder)
            os.execvpe('zsh', ['zsh', '-f', '-i'], self.env)
        try:
            os.write(fd, b'. ./setup\n')
            # Before the prompt the terminal itself edits the line, and knows no completion.
            self.read_until(fd, lambda text: b'ready> ' in text)
            os.write(fd, line.encode() + b'\t\t')
            # What the completion does is done when the line editor takes the next key.
            os.write(fd, b'\x15print over >over\n')
            self.read_until(fd, lambda text: os.path.exists(over))
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            os.close(fd)
        if not os.path.exists(offered):
            return []
        with open(offered, encoding='utf-8') as file:
            return sorted(set(file.read().split()))

    def read_until(self, fd, condition):
        text = b''

        def right():
            nonlocal text
            while select.select([fd], [], [], 0)[0]:
                text += os.read(fd, 65536)
            return condition(text)
        try:
            harness.wait_until(right, 'zsh')
        except AssertionError as fault:
            raise AssertionError(f'{fault}, which has said {text}') from None


if __name__ == '__main__':
    harness.main()
