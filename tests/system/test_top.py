#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""weir top: a table for scripts, and a terminal with its keys and sizes."""

import bisect
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
import unittest

import harness
import test_listen

CONFIG = '''
server: {listen: {listen}, database: {folder}/weir.db%s}
streams:
  clicks: {time: {field: t, unit: ms}, fields: {page: string, price: float}}
  quiet: {time: {field: t, unit: ms}, fields: {n: int}}
  measured: {time: {field: t, unit: ms}, fields: {n: int}}
pipelines:
  by_page: {from: clicks, key: [page], window: {tumbling: 10s}, analyzers: [count, {stats: {of: price}}]}
  all_of_them: {from: clicks, window: {tumbling: 1m}, analyzers: [count]}
  quiet_ones: {from: quiet, window: {tumbling: 1m}, analyzers: [count]}
'''
T0 = 1700000000000


def events(n, first=0):
    return [{'t': T0 + 1000 * i, 'page': f'/{i % 3}', 'price': i} for i in range(first, first + n)]


def top(*arguments, **env):
    return harness.weir('top', '--once', '-i', '0.1', *arguments, env=harness.environment(**env))


def tables(text):
    """{title of the first column: {first cell: {title: cell}}}; the last column may have spaces."""
    found = {}
    for block in text.split('\n\n')[1:]:
        head, *rows = block.strip().split('\n')
        titles = head.split()
        found[titles[0]] = {row.split()[0]: dict(zip(titles, row.split(maxsplit=len(titles) - 1))) for row in rows}
    return found


can_ask = unittest.skipIf('without libcurl' in top('-u', 'http://127.0.0.1:1').stderr, 'built without libcurl')


@can_ask
class Once(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = harness.Server.for_class(cls, CONFIG % '')
        cls.server.post_ok('clicks', events(30))
        cls.server.post('clicks', '{"t": 1700000000000, "price": "no"}\n')
        cls.server.wait_metric('weir_pipeline_events_total', 30, pipeline='by_page')
        cls.url = f'http://127.0.0.1:{cls.server.port}'

    def test_counts_are_those_of_the_events(self):
        done = top('-u', self.url)
        self.assertEqual((done.returncode, done.stderr), (0, ''))
        found = tables(done.stdout)
        self.assertEqual(found['STREAM']['clicks']['EVENTS'], '30')
        self.assertEqual(found['STREAM']['clicks']['REJECTED'], '1')
        self.assertEqual(found['STREAM']['quiet']['EVENTS'], '0')
        row = found['PIPELINE']['by_page']
        self.assertEqual((row['STATE'], row['FROM'], row['QUEUED'], row['ERROR']), ('runs', 'clicks', '0', '-'))
        # The watermark is at the last event, and both clocks are this machine's.
        self.assertAlmostEqual(float(row['LAG']), time.time() - (T0 / 1000 + 29), delta=60)
        self.assertEqual(row['GROUPS'], '3')  # of the last window, which is open: /2, /0, /1 from 20 s on
        self.assertEqual(found['PIPELINE']['quiet_ones']['LAG'], '-')
        self.assertEqual(list(found['ANALYZER']), ['1:count', '2:stats'])

    def test_rates_are_of_the_time_between_two_looks(self):
        posts = [(time.monotonic(), 0)]
        process = subprocess.Popen([harness.WEIR, 'top', '-u', self.url, '--once', '-i', '1'], text=True,
                                   stdout=subprocess.PIPE, env=harness.environment())
        while process.poll() is None:
            self.server.post_ok('measured', [{'t': T0, 'n': i} for i in range(100)])
            posts.append((time.monotonic(), posts[-1][1] + 100))
        times, sent = [t for t, _ in posts], posts[-1][1]
        # Events of every second that lies within: two looks saw one of these, and the machine may have been slower in others.
        seen = [posts[bisect.bisect(times, t + 1) - 1][1] - n for t, n in posts if t + 1 <= times[-1]] or [sent]
        with process.stdout as out:
            row = tables(out.read())['STREAM']['measured']
        self.assertTrue(min(seen) / 2 - 100 < float(row['EVENTS/S']) < 2 * max(seen) + 100, (row, min(seen), max(seen)))
        self.assertLessEqual(int(row['EVENTS']), sent)

    def test_sorted(self):
        def order(*arguments):
            return list(tables(top('-u', self.url, *arguments).stdout)['PIPELINE'])
        self.assertEqual(order(), ['all_of_them', 'by_page', 'quiet_ones'])
        self.assertEqual(order('-s', 'memory')[0], 'by_page')
        self.assertEqual(order('-s', 'lag')[-1], 'quiet_ones')  # not known: last

    def test_no_server_and_wrong_usage(self):
        self.assertEqual(top('-u', 'http://127.0.0.1:1').returncode, 69)
        for arguments in (['-u', 'ftp://127.0.0.1'], ['-s', 'colour', '-u', self.url], ['-i', '0', '-u', self.url],
                          ['-u', self.url, '-c', self.server.path], ['-u', self.url, 'more']):
            done = top(*arguments)
            self.assertEqual((done.returncode, done.stdout), (64, ''), arguments)
        done = harness.weir('top', '-u', self.url, stdin='')
        self.assertEqual(done.returncode, 64)
        self.assertIn('--once', done.stderr)


@can_ask
class Elsewhere(unittest.TestCase):
    def test_a_token_is_needed_and_what_it_may_not_see_is_left_out(self):
        folder = harness.folder_for_test(self)
        server = harness.Server((CONFIG % ', tokens: {folder}/tokens'), folder)
        make = lambda may: harness.weir('token', 'new', '-f', f'{folder}/tokens', f'--may={may}').stdout.strip()
        reads, all_of_it = make('read'), make('read,metrics')
        with open(f'{folder}/token', 'w', encoding='ascii') as file:
            file.write(all_of_it + '\n')
        server.start_process()
        self.addCleanup(server.kill)
        server.wait_port()
        url = f'http://127.0.0.1:{server.port}'
        harness.wait_until(lambda: top('-u', url, WEIR_TOKEN=reads).returncode == 0, 'the server')
        none = top('-u', url)
        self.assertEqual(none.returncode, 1)
        self.assertIn('401', none.stderr)
        wrong = top('-u', url, WEIR_TOKEN='weir_wrong\r\nX: y')
        self.assertEqual(wrong.returncode, 1)
        found = tables(top('-u', url, WEIR_TOKEN=reads).stdout)
        self.assertEqual((found['PIPELINE']['by_page']['CPU%'], found['PIPELINE']['by_page']['STATE']), ('-', 'runs'))
        found = tables(top('-u', url, '-t', f'{folder}/token').stdout)
        self.assertRegex(found['PIPELINE']['by_page']['CPU%'], r'^\d+\.\d$')
        server.stop()

    def test_a_socket_of_the_configuration(self):
        with test_listen.SocketServer() as server:
            for where in (['-c', server.path], ['-u', f'unix:{server.socket}']):
                done = top(*where)
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertEqual(tables(done.stdout)['PIPELINE']['sums']['FROM'], 'trades')


class Terminal:
    """weir top on a terminal of its own."""

    def __init__(self, test, url, rows=24, columns=80, *more):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execve(harness.WEIR, ['weir', 'top', '-u', url, '-i', '0.2', *more], harness.environment())
        self.text = ''
        test.addCleanup(self.end)
        self.resize(rows, columns)

    def end(self):
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)

    def resize(self, rows, columns):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack('HHHH', rows, columns, 0, 0))

    def press(self, keys):
        os.write(self.fd, keys.encode())

    def read(self):
        while select.select([self.fd], [], [], 0)[0]:
            try:
                self.text += os.read(self.fd, 65536).decode('utf-8', 'replace')
            except OSError:
                return

    def screen(self):
        """The lines of the last whole frame."""
        self.read()
        frames = re.findall(r'\x1b\[H((?:(?!\x1b\[H).)*?)\x1b\[J', self.text, re.S)
        return re.sub(r'\x1b\[[0-9;]*[mK]', '', frames[-1]).split('\r\n') if frames else []

    def wait(self, condition, what):
        def right():
            lines = self.screen()
            return lines if lines and condition(lines) else None
        return harness.wait_until(right, f'{what}: {self.screen()}')

    def wait_end(self):
        def ended():
            self.read()
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            return (status,) if pid else None
        status, = harness.wait_until(ended, 'the end')
        self.pid = 0
        self.read()
        return os.waitstatus_to_exitcode(status)


def pipelines(lines):
    names = [line.split()[0] if line.split() else '' for line in lines]
    return [name for name in names if name in ('by_page', 'all_of_them', 'quiet_ones')]


@can_ask
class OnTerminal(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = harness.Server.for_class(cls, CONFIG % '')
        cls.server.post_ok('clicks', events(30))
        cls.server.wait_metric('weir_pipeline_events_total', 30, pipeline='by_page')
        cls.url = f'http://127.0.0.1:{cls.server.port}'

    def test_keys_sort_and_leave(self):
        terminal = Terminal(self, self.url)
        before = termios.tcgetattr(terminal.fd)
        terminal.wait(lambda s: pipelines(s) == ['all_of_them', 'by_page', 'quiet_ones'], 'by name')
        terminal.press('i')
        terminal.wait(lambda s: pipelines(s) == ['quiet_ones', 'by_page', 'all_of_them'], 'turned')
        terminal.press('im')
        terminal.wait(lambda s: pipelines(s)[:1] == ['by_page'] and 'memory' in s[-1], 'by memory')
        terminal.press('a')
        terminal.wait(lambda s: any(line.startswith('2:stats') for line in s), 'analyzers')
        terminal.press('q')
        self.assertEqual(terminal.wait_end(), 0)
        self.assertTrue(terminal.text.endswith('\x1b[?25h\x1b[?1049l'), terminal.text[-40:])
        self.assertEqual(termios.tcgetattr(terminal.fd)[3] & termios.ECHO, before[3] & termios.ECHO)

    def test_signals_leave_the_terminal_as_it_was(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            terminal = Terminal(self, self.url)
            terminal.wait(pipelines, 'a screen')
            os.kill(terminal.pid, number)
            self.assertEqual(terminal.wait_end(), 0)
            self.assertTrue(terminal.text.endswith('\x1b[?25h\x1b[?1049l'))

    def test_stopped_and_gone_on(self):
        terminal = Terminal(self, self.url)
        terminal.wait(pipelines, 'a screen')
        os.kill(terminal.pid, signal.SIGTSTP)
        harness.wait_until(lambda: os.waitpid(terminal.pid, os.WUNTRACED | os.WNOHANG)[0], 'the stop')
        terminal.read()
        self.assertTrue(terminal.text.endswith('\x1b[?1049l'))
        terminal.text = ''
        os.kill(terminal.pid, signal.SIGCONT)
        terminal.wait(pipelines, 'a screen again')
        terminal.press('q')
        self.assertEqual(terminal.wait_end(), 0)

    def test_every_size(self):
        terminal = Terminal(self, self.url, 40, 200)
        wide = terminal.wait(lambda s: any('FROM' in line for line in s), 'all columns')
        self.assertTrue(any('MEMORY  FROM' in line for line in wide))
        for rows, columns in ((40, 80), (40, 40), (10, 40), (4, 20), (1, 1)):
            terminal.resize(rows, columns)
            lines = terminal.wait(lambda s: len(s) <= max(rows, 4) and all(len(line) <= columns for line in s),
                                  f'{columns} columns')
            if columns >= 40 and rows == 40:
                self.assertEqual(len(pipelines(lines)), 3)
                title, = (line for line in lines if line.startswith('PIPELINE'))
                self.assertEqual('FROM' in title, False)
                self.assertIn('LAG', title)
        terminal.resize(8, 80)
        terminal.wait(lambda s: len(s) == 8, '8 lines')
        terminal.press('\x1b[B' * 20)  # further than there is
        terminal.wait(lambda s: pipelines(s)[-1:] == ['quiet_ones'] and 'quiet_ones' in s[-2], 'the last line')
        terminal.press('k' * 20)
        terminal.wait(lambda s: any('STREAM' in line for line in s), 'the first line')

    def test_a_server_that_goes_away_is_told_and_seen_again(self):
        folder = harness.folder_for_test(self)
        server = harness.Server(CONFIG % '', folder)
        server.start()
        self.addCleanup(server.kill)
        terminal = Terminal(self, f'http://127.0.0.1:{server.port}')
        terminal.wait(pipelines, 'a screen')
        server.kill()
        terminal.wait(lambda s: 'connect' in s[-1].lower() and pipelines(s), 'the error')
        server.arguments = ['-l', f'127.0.0.1:{server.port}']
        server.start()
        terminal.wait(lambda s: 'q quit' in s[-1], 'the server again')


if __name__ == '__main__':
    harness.main()
