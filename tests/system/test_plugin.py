# SPDX-License-Identifier: Apache-2.0
"""An analyzer of one's own, out of the tree: an installed weir, pkg-config, make."""

import collections
import glob
import math
import os
import random
import shutil
import subprocess
import unittest

import harness

EXAMPLE = os.path.join(harness.SOURCE, 'tests', 'system', 'example-plugin')
T0 = 1700000000000


class OutOfTree(unittest.TestCase):
    def setUp(self):
        if not shutil.which('pkg-config'):
            self.skipTest('no pkg-config')
        self.folder = harness.folder_for_test(self)
        self.stage = os.path.join(self.folder, 'stage')
        self.make(harness.BUILD, 'install', f'DESTDIR={self.stage}')

    def make(self, folder, *arguments, **more):
        """A make that knows nothing of the one that may have started this test."""
        env = {k: v for k, v in os.environ.items() if k not in ('MAKEFLAGS', 'MFLAGS', 'MAKELEVEL')}
        done = subprocess.run([os.environ.get('MAKE', 'make'), '-C', folder, *arguments],
                              env=dict(env, **more), text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, check=False)
        self.assertEqual(done.returncode, 0, done.stdout)

    def installed(self, pattern):
        found = glob.glob(os.path.join(self.stage, '**', pattern), recursive=True)
        self.assertEqual(len(found), 1, (pattern, found))
        return found[0]

    def build_example(self):
        """A copy, so that the source tree may be read-only."""
        folder = os.path.join(self.folder, 'example')
        os.mkdir(folder)
        for path in glob.glob(os.path.join(EXAMPLE, '*')):
            shutil.copyfile(path, os.path.join(folder, os.path.basename(path)))
        self.make(folder, PKG_CONFIG_PATH=os.path.dirname(self.installed('weir.pc')),
                  PKG_CONFIG_SYSROOT_DIR=self.stage)
        return folder

    def test_example_plugin_builds_against_an_installed_weir_and_counts(self):
        folder = self.build_example()
        with open(os.path.join(folder, 'weir.yaml'), encoding='utf-8') as file:
            config = file.read().replace('127.0.0.1:8080', '127.0.0.1:0')
        config = config.replace('idle_timeout: 1s', 'idle_timeout: 1h')
        plugins = os.path.dirname(self.installed('stats.so'))
        quotes = self.quotes()
        with harness.Server(config, folder=folder, program=self.installed('bin/weir'),
                            WEIR_PLUGIN_PATH=plugins) as server:
            self.assertIn('"spread"', server.get('/api/v1/plugins').body.decode())
            server.post_ok('quotes', quotes + [{'ts': T0 + 60000, 'symbol': '~'}])
            server.database = os.path.join(folder, 'spread.db')
            server.wait_watermark('spread_10s', (T0 + 60000) * 1000)
            found = server.rows('SELECT window_start, symbol, count, crossed, spread_max, spread_mean, '
                                'spread_bps FROM spread_10s ORDER BY 1, 2')
        self.check(found, quotes)

    def quotes(self):
        dice = random.Random(4)
        quotes = []
        for i in range(5000):
            bid = round(dice.uniform(10, 500), 2)
            quotes.append({'ts': T0 + i * 6, 'symbol': dice.choice(['A', 'B', 'C']), 'bid': bid,
                           'ask': round(bid + dice.uniform(-0.05, 0.5), 2)})
        return quotes

    def check(self, found, quotes):
        groups = collections.defaultdict(list)
        for q in quotes:
            groups[q['ts'] // 10000 * 10000000, q['symbol']].append(q)
        self.assertEqual([row[:2] for row in found], sorted(groups))
        for row in found:
            group = groups[row[:2]]
            fair = [(q['ask'] - q['bid'], (q['ask'] + q['bid']) / 2) for q in group
                    if q['ask'] >= q['bid']]
            self.assertGreater(len(group), len(fair))
            self.assertEqual(row[2:5], (len(group), len(group) - len(fair), max(s for s, _ in fair)))
            mean = math.fsum(s for s, _ in fair) / len(fair)
            points = math.fsum(1e4 * s / m for s, m in fair) / len(fair)
            self.assertTrue(math.isclose(row[5], mean, rel_tol=1e-12), (row, mean))
            self.assertTrue(math.isclose(row[6], points, rel_tol=1e-12), (row, points))

    def test_installed_header_is_c_and_cxx(self):
        header = self.installed('plugin.h')
        include = os.path.dirname(os.path.dirname(header))
        for compiler, language in ((os.environ.get('CC', 'cc'), ['-std=c11', '-x', 'c']),
                                   ('c++', ['-std=c++17', '-x', 'c++'])):
            if not shutil.which(compiler.split()[0]):
                continue
            done = subprocess.run([*compiler.split(), *language, '-Wall', '-Wextra', '-Werror',
                                   '-fsyntax-only', '-I', include, '-'],
                                  input='#include <weir/plugin.h>\n', text=True,
                                  stderr=subprocess.PIPE, check=False)
            self.assertEqual(done.returncode, 0, done.stderr)


if __name__ == '__main__':
    harness.main()
