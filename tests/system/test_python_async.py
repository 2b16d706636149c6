# SPDX-License-Identifier: Apache-2.0
"""Analyzers in Python that are an async def: many wait at once, results are in their places."""

import collections
import os
import sys
import unittest

import harness
from pythons import MS, Case, events

EMIT = '''
import asyncio
from typing import NamedTuple
import weir

flying = most = 0

class Row(NamedTuple):
    total: int
    name: str
    most: int

class Slow(weir.Fold):
    arrays = 'memoryview'
    fails = ''

    def __init__(self):
        self.total = 0

    def update(self, n):
        self.total += sum(n)

    def merge(self, other):
        self.total += other.total

    async def emit(self, window) -> Row:
        global flying, most
        flying, total = flying + 1, self.total
        most = max(most, flying)
        await asyncio.sleep(0.002 * (total % 7))
        flying -= 1
        if window.key[0] == self.fails:
            raise ValueError('not this one')
        return Row(total, window.key[0], most)
'''
WINDOW = '''
import asyncio
from typing import AsyncIterator, NamedTuple
import weir

class Row(NamedTuple):
    n: int
    twice: int

async def ask(v):
    await asyncio.sleep(0.001 * (v % 3))
    return 2 * v

@weir.window
async def listed(n) -> list[Row]:
    n = sorted(n.tolist())
    return [Row(*pair) for pair in zip(n, await asyncio.gather(*map(ask, n)))]

@weir.window
async def yielded(n, *, first: int = 3) -> AsyncIterator[Row]:
    for v in sorted(n.tolist())[:first]:
        yield Row(v, await ask(v))
'''


class Async(Case):
    def totals(self, some):
        found = collections.Counter()
        for e in some:
            found[e['ts'] // 10000 * 10000 * MS, e['key']] += e['n']
        return found

    def test_groups_wait_at_once(self):
        self.write('slow.py', EMIT)
        some = [dict(e, key=f'k{i % 60}') for i, e in enumerate(events(3000))]
        for workers in (1, 2):
            found = self.rows(self.config('python: {file: slow.py, of: n, as: slow}', more=f', workers: {workers}'), some,
                              columns='slow_total, slow_name, slow_most')
            self.assertEqual({r[:2]: r[2] for r in found}, dict(self.totals(some)))
            self.assertTrue(all(r[1] == r[3] for r in found))
            self.assertGreater(max(r[4] for r in found), 20)

    def test_windows_that_overlap(self):
        self.write('slow.py', EMIT)
        some = list(events(2000))
        found = self.rows(self.config('python: {file: slow.py, of: n}', '{hopping: 30s, by: 10s}'), some, columns='total, name')
        want = collections.Counter()
        for (start, key), total in self.totals(some).items():
            for before in range(3):
                want[start - before * 10000 * MS, key] += total
        self.assertEqual({r[:2]: r[2] for r in found}, dict(want))

    def test_one_that_fails_stops_its_pipeline(self):
        self.write('slow.py', EMIT)
        done = self.run_with(self.config('python: {file: slow.py, of: n, with: "fails=\'b\'"}'), list(events(100)))
        self.assertNotEqual(done.returncode, 0)
        self.assertRegex(done.stderr, r"analyzer 'python': slow.py:\d+: ValueError: not this one")

    def test_functions_of_a_window(self):
        self.write('window.py', WINDOW)
        some = list(events(1500))
        for name, first in (('listed', None), ('yielded', 3)):
            found = self.rows(self.config(f'python_window: {{file: window.py, of: n, name: {name}, as: all}}'), some, 'p_all',
                              columns='n, twice', order='ORDER BY window_start, key, n')
            groups = collections.defaultdict(list)
            for e in some:
                groups[e['ts'] // 10000 * 10000 * MS, e['key']].append(e['n'])
            self.assertEqual(found, [(*k, n, 2 * n) for k, v in sorted(groups.items()) for n in sorted(v)[:first]])

    def test_not_in_a_process(self):
        self.write('slow.py', EMIT)
        done = self.run_with(self.config('{python: {file: slow.py, of: n}, run: process}'), list(events(100)))
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("analyzer 'python': an async def wants an event loop", done.stderr)
        self.assertNotIn('Traceback', done.stderr)

    def test_what_cannot_be_one(self):
        for method, text in (('update', 'Slow.update is an async def'), ('merge', 'Slow.merge is an async def')):
            self.write('bad.py', EMIT.replace(f'    def {method}', f'    async def {method}'))
            path = self.write('weir.yaml', self.config('python: {file: bad.py, of: n}'))
            done = harness.weir('check', '--no-database', '-c', path, cwd=self.folder)
            self.assertEqual(done.returncode, 78)
            self.assertIn(text, done.stderr)


class Standalone(unittest.TestCase):
    def test_run_awaits(self):
        if sys.version_info < (3, 10):
            self.skipTest('the module wants Python 3.10')
        folder = harness.folder_for_test(self)
        with open(os.path.join(folder, 'slow.py'), 'w', encoding='utf-8') as file:
            file.write(EMIT)
        for path in (os.path.join(harness.SOURCE, 'plugins', 'python'), folder):
            sys.path.insert(0, path)
            self.addCleanup(sys.path.remove, path)
        import slow  # pylint: disable=import-error,import-outside-toplevel
        import weir  # pylint: disable=import-error,import-outside-toplevel
        window = weir.Window(None, None, ('a',))
        self.assertEqual(weir.run(slow.Slow, {'n': [1, 2, 4]}, window=window)[:2], (7, 'a'))


if __name__ == '__main__':
    harness.main()
