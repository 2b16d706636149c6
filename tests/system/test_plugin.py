# SPDX-License-Identifier: Apache-2.0
"""An analyzer of one's own, out of the tree: installed weir, pkg-config, one compiler call."""

import collections
import fractions
import os
import random
import shutil
import subprocess
import unittest

import harness

EXAMPLE = os.path.join(harness.SOURCE, 'tests', 'system', 'example-plugin')
SECOND_MS = 1000


def make(folder, *arguments, **variables):
    """Not as a part of the make that runs the tests."""
    env = {k: v for k, v in os.environ.items() if k not in ('MAKEFLAGS', 'MFLAGS', 'MAKELEVEL')}
    done = subprocess.run([os.environ.get('MAKE', 'make'), '-C', folder, *arguments],
                          env=dict(env, **variables), stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode != 0:
        raise AssertionError(done.stdout)


def quotes(n):
    dice = random.Random(1)
    for i in range(n):
        bid = round(dice.uniform(90, 110), 2)
        yield {'ts': i * 10, 'symbol': dice.choice(('ABC', 'XYZ')),
               'bid': dice.choice((None, bid, bid, bid)), 'ask': round(bid + dice.uniform(-0.05, 0.3), 2)}


def expected(events):
    groups = collections.defaultdict(list)
    for e in events:
        groups[e['ts'] // (10 * SECOND_MS) * 10 * harness.SECOND_US, e['symbol']].append(e)
    rows = []
    for key in sorted(groups):
        pairs = [(fractions.Fraction(e['bid']), fractions.Fraction(e['ask'])) for e in groups[key]
                 if e['bid'] is not None]
        good = [(b, a) for b, a in pairs if a >= b]
        rows.append((*key, len(groups[key]), sum(a - b for b, a in good) / len(good),
                     max(a - b for b, a in good), sum(10000 * (a - b) / ((a + b) / 2) for b, a in good) / len(good),
                     len(pairs) - len(good)))
    return rows


class OutOfTree(unittest.TestCase):
    def build(self, folder):
        """The example, built against a weir that is installed below the folder."""
        stage = os.path.join(folder, 'stage')
        make(harness.BUILD, 'install', f'DESTDIR={stage}')
        found = [os.path.join(base, 'weir.pc') for base, _, files in os.walk(stage) if 'weir.pc' in files]
        self.assertEqual(len(found), 1)
        example = os.path.join(folder, 'example')
        shutil.copytree(EXAMPLE, example)
        make(example, PKG_CONFIG_PATH=os.path.dirname(found[0]), PKG_CONFIG_SYSROOT_DIR=stage)
        return example

    def test_example_plugin_builds_against_an_installed_weir_and_runs(self):
        if not shutil.which('pkg-config'):
            self.skipTest('no pkg-config')
        example = self.build(harness.folder_for_test(self))

        listed = harness.weir('plugins', '--path', example, 'spread')
        self.assertEqual(listed.returncode, 0, listed.stderr)
        self.assertIn('Bid-ask spread of quotes', listed.stdout)

        with open(os.path.join(EXAMPLE, 'weir.yaml'), encoding='utf-8') as file:
            config = file.read()
        config = config.replace('listen: 127.0.0.1:8080, database: spread.db, plugin_path: .',
                                f'listen: {{listen}}, database: {{folder}}/weir.db, plugin_path: {example}')
        events = list(quotes(5000))
        with harness.Server(config) as server:
            server.post_ok('quotes', events)
            want = expected(events)
            found = harness.wait_until(
                lambda: (rows := server.rows('SELECT * FROM spread_10s ORDER BY 1, 2')) and
                len(rows) == len(want) and rows, 'all windows in the table')
        for row, right in zip(found, want):
            self.assertEqual(row[:3], right[:3])
            self.assertEqual(row[6], right[6])
            for got, exact in zip(row[3:6], right[3:6]):
                self.assertLessEqual(abs(got - exact), exact * fractions.Fraction(1, 10**12))


if __name__ == '__main__':
    harness.main()
