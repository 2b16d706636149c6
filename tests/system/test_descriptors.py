# SPDX-License-Identifier: Apache-2.0
"""File descriptors are a budget: where there are few, weir starts with fewer connections, or not at all, and
whoever asks whether it lives is answered."""

import contextlib
import http.client
import json
import os
import resource
import socket
import subprocess
import unittest

import harness

LIMIT = 1024


def config(streams, connections=4096):
    text = f'server: {{listen: {{listen}}, database: {{folder}}/weir.db, http_threads: 2, ' \
           f'max_connections: {connections}}}\nstreams:\n'
    for i in range(streams):
        text += f'  s{i}: {{time: {{field: ts, unit: s}}, fields: {{k: string}}}}\n'
    return text + 'pipelines:\n  p: {from: s0, key: [k], window: {tumbling: 1s}, analyzers: [count]}\n'


class Descriptors(unittest.TestCase):
    def server(self, streams, soft=LIMIT, hard=LIMIT, connections=4096):
        """Not started; its program runs with these limits."""
        folder = harness.folder_for_test(self)
        program = os.path.join(folder, 'limited')
        with open(program, 'w', encoding='ascii') as file:
            file.write(f'#!/bin/sh\nulimit -S -n {soft}\nulimit -H -n {hard}\nexec {harness.WEIR} "$@"\n')
        os.chmod(program, 0o755)
        return harness.Server(config(streams, connections), folder=folder, program=program)

    def ask(self, server, path):
        connection = http.client.HTTPConnection('127.0.0.1', server.port, timeout=harness.LIMIT_S)
        with contextlib.closing(connection):
            connection.request('GET', path)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())

    def open_files(self, server):
        return len(os.listdir(f'/proc/{server.process.pid}/fd'))

    def sockets(self, server):
        folder, n = f'/proc/{server.process.pid}/fd', 0
        for fd in os.listdir(folder):
            with contextlib.suppress(FileNotFoundError):  # closed since it was listed
                n += os.readlink(f'{folder}/{fd}').startswith('socket:')
        return n

    def test_more_streams_than_files_are_refused_at_start(self):
        server = self.server(300)
        done = subprocess.run([server.program, 'serve', '-c', server.path], env=server.env, text=True,
                              capture_output=True, check=False, timeout=harness.LIMIT_S)
        self.assertEqual(done.returncode, 69, done.stderr)
        self.assertRegex(done.stderr, '300 streams .* the limit is 1024')

    def test_soft_limit_is_raised(self):
        with self.server(1, soft=64, hard=LIMIT) as server:
            with open(f'/proc/{server.process.pid}/limits', encoding='ascii') as file:
                row = next(line.split() for line in file if line.startswith('Max open files'))
            self.assertEqual(row[3:5], ['1024', '1024'])

    def test_few_files_make_few_connections_and_probes_are_answered(self):
        with self.server(100) as server, contextlib.ExitStack() as held:
            self.assertIn('max_connections is', ''.join(server.log))
            for i in range(100):
                server.post_ok(f's{i}', [{'ts': 1700000000, 'k': 'a'}])
            refused = server.metric('weir_http_connections_refused_total')
            server.close()
            while True:  # until one is one too many
                s = held.enter_context(socket.create_connection(('127.0.0.1', server.port)))
                s.sendall(b'GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n')
                if s.recv(65536)[9:12] != b'200':
                    break
            self.assertEqual(self.ask(server, '/live'), (200, {'live': True}))
            self.assertEqual(self.ask(server, '/readyz')[0], 200)
            status, problem = self.ask(server, '/api/v1/sql?q=SELECT+1')
            self.assertEqual((status, problem['code']), (503, 'too_many_connections'))
            self.assertLess(self.open_files(server), LIMIT - 16)
            held.close()
            harness.wait_until(lambda: self.ask(server, '/version')[0] == 200, 'room again')
            self.assertGreater(server.metric('weir_http_connections_refused_total'), refused)

    def test_reserve_answers_when_others_have_taken_everything(self):
        """The limit falls below what is open: as if libraries, or children, had taken all the rest."""
        with self.server(1) as server:
            server.close()
            harness.wait_until(lambda: self.sockets(server) == 3, 'only the listening socket, and those of weir reload and weir run')
            # the reserve is one of them; nothing is free but what it gives
            resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (self.open_files(server), LIMIT))
            for _ in range(5):
                self.assertEqual(self.ask(server, '/live'), (200, {'live': True}))
            resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (LIMIT, LIMIT))


if __name__ == '__main__':
    harness.main()
