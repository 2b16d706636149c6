# SPDX-License-Identifier: Apache-2.0
"""Plugins that were built against the header of plugins as ABI 1 was frozen (tests/abi): they load, keep the laws, and give what they
gave, in a thread and in a process, over a restart."""

import os
import shutil
import subprocess
import tempfile
import unittest

from apart import T0, config, events
import harness

ABI = os.path.join(harness.SOURCE, 'tests', 'abi')
OLD = "{old: {of: v, by: s, more: [w], over: [50, 7], times: 2, plus: 0.5, how: %s, wanted: [total, rows, over, longest]}"
PIPELINES = ''.join(
    f'  {way}_{how}: {{from: input, key: [k], window: {window}, idle_timeout: 1h, out_of_orderness: 5s, workers: 2, analyzers: [\n'
    f'    {OLD % how}, run: {way}}}, {{old_whole: {{of: w, unused: v}}, as: w, run: {way}}}]}}\n'
    for way in ('thread', 'process') for how, window in (('sum', '{tumbling: 2s}'), ('max', '{hopping: 4s, by: 2s}')))


def expected(made, how, size, by):
    """{(start, key): (total, rows, over, longest)}, {(start, key): [(value, at), ...]}"""
    groups = {}
    for e in made:
        for start in range((e['ts'] - size) // by * by + by, e['ts'] + 1, by):
            groups.setdefault((start, e['k']), []).append(e)
    totals, risen = {}, {}
    for key, rows in groups.items():
        given = [e for e in rows if 'v' in e]
        values = [2 * e['v'] + 0.5 for e in given]
        texts = [e['s'].encode() for e in given if 's' in e]
        longest = max(texts, key=lambda t: (len(t), t)).decode() if texts else None
        totals[key] = ((sum(values) if how == 'sum' else max(values)) if values else 0, len(values),
                       sum(v > 50 for v in values), longest)
        most = -1
        for e in sorted(rows, key=lambda e: e['ts']):  # stable: by time, then log
            if e.get('w', -1) > most:
                most = e['w']
                risen.setdefault(key, []).append((most, e['ts']))
    return totals, risen


class Abi(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix='weir-test-')
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        for name in ('old', 'old_whole'):
            subprocess.run([*os.environ.get('CC', 'cc').split(), '-std=c11', '-O2', '-shared', '-fPIC',
                            '-fvisibility=hidden', '-I', os.path.join(ABI, '1'), os.path.join(ABI, f'{name}.c'),
                            '-o', os.path.join(cls.folder, f'{name}.so')], check=True)
        cls.path = harness.plugin_path() + ':' + cls.folder

    def test_they_give_what_they_gave(self):
        made = events(3000, seed=4)
        with harness.Server(config(PIPELINES), WEIR_PLUGIN_PATH=self.path) as server:
            for at in range(0, len(made), 500):
                if at == 1500:  # states are saved, and loaded
                    server.stop()
                    server.start()
                server.post_ok('input', made[at:at + 500])
            server.post_ok('input', [{'ts': T0 + 60000, 'k': 'end'}])
            for how, size, by in (('sum', 2000, 2000), ('max', 4000, 2000)):
                totals, risen = expected(made, how, size, by)
                self.assertGreater(len(totals), 10)
                for way in ('thread', 'process'):
                    name = f'{way}_{how}'
                    server.wait_watermark(name, (T0 + 50000) * 1000)
                    rows = server.rows(f"SELECT window_start / 1000, k, v_total, rows, over, longest FROM {name}")
                    found = {(row[0], row[1]): row[2:] for row in rows}
                    self.assertEqual(set(found), set(totals))
                    for key, (total, *rest) in totals.items():
                        self.assertAlmostEqual(found[key][0], total, places=6)
                        self.assertEqual(list(found[key][1:]), rest, key)
                    values = {}
                    for start, k, value, at in server.rows(
                            f'SELECT window_start / 1000, k, value, at / 1000 FROM {name}_w ORDER BY window_start, k, value'):
                        values.setdefault((start, k), []).append((value, at))
                    self.assertEqual(values, risen)
                    self.assertEqual(server.metric('weir_analyzer_skipped_total', pipeline=name, reason='null') > 0, True)

    def test_they_keep_the_laws(self):
        for name in ('old', 'old_whole'):
            done = harness.weir('plugin', 'check', os.path.join(self.folder, f'{name}.so'), limit_s=200)
            self.assertEqual(done.returncode, 0, done.stdout)

    def test_what_they_refuse_is_told(self):
        path = os.path.join(self.folder, 'weir.yaml')
        with open(path, 'w', encoding='utf-8') as file:
            file.write(config('  p: {from: input, window: {tumbling: 1s}, analyzers: [{old: {of: v, by: s, text: bad}}]}\n')
                       .replace('{listen}', '127.0.0.1:0').replace('{folder}', self.folder))
        done = harness.weir('check', '--no-database', '-c', path, env=harness.environment(WEIR_PLUGIN_PATH=self.path))
        self.assertEqual(done.returncode, 78)
        self.assertIn("'text' is 'bad'", done.stderr)


if __name__ == '__main__':
    harness.main()
