# SPDX-License-Identifier: Apache-2.0
"""docs/finance.md, shop.md and social.md, typed in: what is printed, and the plots, are those of the pages; what happened in
the events, counted by Python, is there."""

import collections
import json
import os
import re
import shutil
import subprocess
import unittest

import harness

DOCS = os.path.join(harness.SOURCE, 'docs')


class Fields(unittest.TestCase):
    maxDiff = None

    def typed_in(self, field):
        """The folder, and what was printed, a text for each that the page shows."""
        for program in ('bash', 'python3', 'sqlite3'):
            if not shutil.which(program):
                self.skipTest(f'no {program}')
        folder = harness.folder_for_test(self)
        os.symlink(os.path.join(harness.SOURCE, 'etc'), os.path.join(folder, 'etc'))
        os.mkdir(os.path.join(folder, 'bin'))
        os.symlink(harness.WEIR, os.path.join(folder, 'bin', 'weir'))
        env = harness.environment(PATH=os.path.join(folder, 'bin') + ':' + os.environ['PATH'])
        with open(os.path.join(DOCS, field + '.md'), encoding='utf-8') as page:
            blocks = re.findall(r'^```(\w+)\n(.*?)^```', page.read(), re.MULTILINE | re.DOTALL)
        said = []
        for (kind, content), (next_kind, expected) in zip(blocks, blocks[1:] + [('', '')]):
            if kind != 'sh':
                continue
            done = subprocess.run(['bash', '-euc', content], cwd=folder, env=env, text=True, capture_output=True,
                                  timeout=harness.LIMIT_S, check=False)
            self.assertEqual(done.returncode, 0, content + done.stderr)
            if next_kind == 'text':
                self.assertEqual(done.stdout.replace('\r', ''), expected)
                said.append(expected)
        self.assertEqual(len(said), 4)
        with open(os.path.join(folder, field + '.svg'), encoding='utf-8') as made, \
                open(os.path.join(DOCS, field + '.svg'), encoding='utf-8') as kept:
            self.assertEqual(made.read(), kept.read())
        return folder, said

    def events(self, folder, name):
        with open(os.path.join(folder, name), encoding='utf-8') as file:
            return [json.loads(line) for line in file]

    def test_finance(self):
        folder, said = self.typed_in('finance')
        minute = [e for e in self.events(folder, 'trades.ndjson')
                  if e['symbol'] == 'ACME' and e['ts'] // 60000 == (1764000000 + 40 * 60) // 60]
        prices = [e['price'] for e in minute]
        bought = sum(e['qty'] if e['side'] == 'buy' else -e['qty'] for e in minute)
        self.assertIn(f'\n16:40:00,{len(minute)},{prices[0]},{max(prices)},{min(prices)},{prices[-1]},{bought}\n', said[2])
        self.assertRegex(said[1].split('\n')[1], r'^16:40:[0-5]9,ACME,')

    def test_shop(self):
        folder, said = self.typed_in('shop')
        clicks = self.events(folder, 'clicks.ndjson')
        lookers = {e['visitor'] for e in clicks if e['event'] == 'view' and e['country'] == 'DE'
                   and e['ts'] // 60000 == (1764000000 + 33 * 60) // 60}
        self.assertIn(f'16:33:00,DE,view,{len(lookers)},1.0\n16:33:00,DE,cart,0,0.0\n', said[1])
        self.assertIn(f"\n{len({e['visitor'] for e in clicks})},{len({e['visitor'] for e in clicks if e['event'] == 'order'})},",
                      said[2])

    def test_social(self):
        folder, said = self.typed_in('social')
        uses = collections.Counter(e['tag'] for e in self.events(folder, 'hashtags.ndjson')
                                   if e['lang'] == 'en' and e['ts'] // 60000 == (1764000000 + 37 * 60) // 60)
        top = sorted(uses.items(), key=lambda x: (-x[1], x[0]))[:3]
        self.assertEqual(top[0][0], 'eclipse')
        for rank, (tag, count) in enumerate(top, 1):
            self.assertIn(f'\n16:37:00,{rank},{tag},{count},0\n', said[1])


if __name__ == '__main__':
    harness.main()
