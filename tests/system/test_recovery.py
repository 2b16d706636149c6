# SPDX-License-Identifier: Apache-2.0
"""Stopped, killed, changed: what a server finds when it starts again, and what it makes of it."""

import glob
import hashlib
import os
import unittest

import harness

MS = 1000
T0 = 1700000000000
STREAM = '{time: {field: ts, unit: ms}, fields: {k: string, v: int}}'
PIPELINE = '''  {name}: {{from: {stream}, key: [k], window: {{tumbling: 10s}}, idle_timeout: 1h,
    analyzers: [count, {{stats: {{of: v, emit: [sum]}}}}]}}
'''


def config(pipelines, server='', streams=None):
    """`pipelines`: name to stream, or to the pipeline's YAML."""
    text = f'server: {{listen: {{listen}}, database: {{folder}}/weir.db, {server}}}\nstreams:\n'
    for name, body in (streams or {'input': STREAM}).items():
        text += f'  {name}: {body}\n'
    text += 'pipelines:\n'
    for name, body in pipelines.items():
        text += body if ':' in body else PIPELINE.format(name=name, stream=body)
    return text


def event(ms, v=1, k='a'):
    return {'ts': T0 + ms, 'k': k, 'v': v}


def turn_a_bit(path, offset):
    with open(path, 'r+b') as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


def stop(server):
    server.stop()
    server.kill()  # closes what it held


def files(folder):
    """{name: digest} of the journal's files in a folder."""
    found = {}
    for path in glob.glob(os.path.join(folder, '**', '*.journal'), recursive=True):
        with open(path, 'rb') as file:
            found[path] = hashlib.sha256(file.read()).hexdigest()
    return found


def counts(server, pipeline):
    return server.rows(f'SELECT (window_start / 1000 - {T0}) / 1000, k, count, v_sum FROM {pipeline}'
                       ' ORDER BY 1, 2')


class RunAfterServe(unittest.TestCase):
    """weir run on the database of a server."""

    def run_files(self, server, stream, lines, expected=0):
        done = harness.weir('run', '-c', server.path, '--stream', stream, stdin=lines, cwd=server.folder)
        self.assertEqual(done.returncode, expected, done.stderr)
        return done

    def test_other_streams_are_left_as_they_are(self):
        streams = {'input': STREAM, 'other': STREAM}
        with harness.Server(config({'p': 'input', 'q': 'other'}, streams=streams)) as server:
            server.post_ok('other', [event(1000)], Weir_Source='left')
            stop(server)
            self.run_files(server, 'input', f'{{"ts":{T0},"k":"a","v":1}}\n')
            self.assertEqual(counts(server, 'p'), [(0, 'a', 1, 1)])
            self.assertEqual(counts(server, 'q'), [])
            server.start()
            server.post_ok('other', [event(2000), event(70000)], Weir_Source='left')
            server.wait_watermark('q', (T0 + 70000) * MS)
            self.assertEqual(counts(server, 'q'), [(0, 'a', 2, 2)])

    def test_a_journal_that_cannot_be_read_is_kept(self):
        text = config({'p': 'input'}, 'segment_size: 1MiB, checkpoint_interval: 1h')
        with harness.Server(text) as server:
            for i in range(40):
                server.post_ok('input', [event(i, 1, f'key{k}') for k in range(4000)])
            server.kill()
            journal = os.path.join(server.folder, 'weir.db.journal')
            first = sorted(glob.glob(os.path.join(journal, 'input', '*.journal')))[0]
            turn_a_bit(first, 200000)
            before = files(journal)
            for lines in ('', f'{{"ts":{T0},"k":"a","v":1}}\n'):
                done = self.run_files(server, 'input', lines, 74)
                self.assertIn('damaged; positions', done.stderr)
                self.assertEqual(files(journal), before)
            turn_a_bit(first, 200000)
            server.start()
            server.post_ok('input', [event(70000)])
            server.wait_watermark('p', (T0 + 70000) * MS)
            self.assertEqual(server.rows('SELECT sum(count), min(count), max(count) FROM p'),
                             [(160000, 40, 40)])


if __name__ == '__main__':
    harness.main()
