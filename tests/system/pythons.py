# SPDX-License-Identifier: Apache-2.0
"""What the tests of analyzers in Python share: events, files that fold them, and what these give, computed here."""

import collections
import json
import os
import random
import time
import unittest

import harness

MS = 1000
T0 = 1700000000000  # ms, a multiple of 10 s
COLUMNS = 'n, x, ok, note, at'
HEAD = '''
server: {listen: 127.0.0.1:0, database: {folder}/weir.db, checkpoint_interval: 50ms, commit_interval: 10ms}
streams:
  input: {time: {field: ts, unit: ms}, fields: {key: string, n: int, x: float, ok: bool, note: string, at: time}}
pipelines:
'''

ROW = '''
from __future__ import annotations
from datetime import datetime
from typing import NamedTuple
import weir

class Row(NamedTuple):
    rows: int
    total: float
    all_ok: bool
    least: str | None
    last: datetime
'''
# Of plain Python: columns are memoryviews, and lists of str.
PLAIN = ROW + '''
class Everything(weir.Fold):
    arrays = 'memoryview'
    weight = 1.0

    def __init__(self):
        self.rows, self.total, self.ok, self.least, self.last = 0, 0.0, True, None, 0

    def update(self, n, x, ok, note, at):
        assert type(n) is type(x) is type(ok) is type(at) is memoryview and type(note) is list
        self.rows += sum(n)
        self.total += sum(x) * self.weight
        self.ok = self.ok and all(ok)
        self.least = min(note) if self.least is None else min(self.least, *note)
        self.last = max(self.last, max(at))

    def merge(self, other):
        self.rows += other.rows
        self.total += other.total
        self.ok = self.ok and other.ok
        self.least = min(self.least, other.least)
        self.last = max(self.last, other.last)

    def emit(self) -> Row:
        return Row(self.rows, self.total, self.ok, self.least, self.last)
'''
ARRAYS = ROW + '''
import numpy as np

class Everything(weir.Fold):
    def __init__(self):
        self.rows, self.total, self.ok, self.least, self.last = 0, 0.0, True, '~', np.datetime64(0, 'us')

    def update(self, n, x, ok, note, at):
        assert (n.dtype, x.dtype, ok.dtype, note.dtype, at.dtype) == ('i8', 'f8', '?', 'O', 'M8[us]')
        assert not n.flags.writeable
        self.rows += n.sum()
        self.total += x.sum()
        self.ok &= ok.all()
        self.least = min(self.least, note.min())
        self.last = max(self.last, at.max())

    def merge(self, other):
        self.rows += other.rows
        self.total += other.total
        self.ok &= other.ok
        self.least = min(self.least, other.least)
        self.last = max(self.last, other.last)

    def emit(self) -> Row:
        return Row(self.rows, self.total, self.ok, self.least, self.last)
'''
GROUPS = ROW + '''
import numpy as np

class Everything(weir.Groups):
    state = np.dtype([('rows', 'i8'), ('total', 'f8'), ('ok', '?'), ('least', 'U12'), ('last', 'M8[us]')])

    def init(self, state):
        state['ok'] = True
        state['least'] = '~'

    def update(self, state, group, n, x, ok, note, at):
        assert group.max() + 1 == len(state) and group.min() == 0 and set(group) == set(range(len(state)))
        state['rows'] += np.bincount(group, n, len(state)).astype('i8')
        state['total'] += np.bincount(group, x, len(state))
        np.logical_and.at(state['ok'], group, ok)
        np.maximum.at(state['last'], group, at)
        for g, s in zip(group, note):
            state['least'][g] = min(state['least'][g], s)

    def merge(self, state, other):
        state['rows'] += other['rows']
        state['total'] += other['total']
        state['ok'] &= other['ok']
        state['least'] = np.where(other['least'] < state['least'], other['least'], state['least'])
        state['last'] = np.maximum(state['last'], other['last'])

    def emit(self, state) -> Row:
        return Row(state['rows'], state['total'], state['ok'], state['least'], state['last'])
'''
# The same with the rows of each group together. What it gives is of types that are not the cells' own.
TOGETHER = ROW + '''
import numpy as np

class Everything(weir.Groups):
    together = True
    state = np.dtype([('rows', 'i8'), ('total', 'f8'), ('ok', '?'), ('least', 'U12'), ('last', 'M8[us]')])

    def init(self, state):
        state['ok'] = True
        state['least'] = '~'

    def update(self, state, first, n, x, ok, note, at):
        assert len(first) == len(state) and first[0] == 0 and (np.diff(first, append=len(n)) > 0).all()
        state['rows'] += np.add.reduceat(n, first)
        state['total'] += np.add.reduceat(x, first)
        state['ok'] &= np.logical_and.reduceat(ok, first)
        state['last'] = np.maximum(state['last'], np.maximum.reduceat(at, first))
        for g, some in enumerate(np.split(note, first[1:])):
            state['least'][g] = min(state['least'][g], *some)

    def merge(self, state, other):
        state['rows'] += other['rows']
        state['total'] += other['total']
        state['ok'] &= other['ok']
        state['least'] = np.where(other['least'] < state['least'], other['least'], state['least'])
        state['last'] = np.maximum(state['last'], other['last'])

    def emit(self, state) -> Row:
        return Row(state['rows'].astype('>i4'), np.stack([state['total'], state['total']])[0].astype('f4'), state['ok'], state['least'],
                   state['last'].astype('M8[ns]'))
'''
FUNCTION = ROW + '''
@weir.window
def everything(n, x, ok, note, at, *, window, part: int = 1) -> list[Row]:
    assert (window.end - window.start).total_seconds() == 10 and window.key[0] in 'abc'
    rows = []
    for k in range(part):
        s = slice(k, None, part)
        if len(n[s]):
            rows.append(Row(sum(n[s].tolist()), sum(x[s].tolist()), all(ok[s].tolist()), min(note[s]), max(at[s])))
    return rows
'''


def events(n, seed=1, nulls=False):
    dice = random.Random(seed)
    for i in range(n):
        event = {'ts': T0 + 20 * i, 'key': dice.choice('abc'), 'n': dice.randrange(-9, 9),
                 'x': dice.randrange(-99, 99) / 8, 'ok': dice.random() < 0.9, 'note': dice.choice(('ä', 'b', 'some text')),
                 'at': (T0 + dice.randrange(10000)) * 1000}
        if nulls and dice.random() < 0.3:
            del event[dice.choice(('n', 'x', 'ok', 'note', 'at'))]
        yield event


def lines(some):
    """Times are strings, so that no unit has to be told."""
    for e in some:
        at = {'at': f'{time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(e["at"] // 1000000))}.{e["at"] % 1000000:06}Z'} \
            if 'at' in e else {}
        yield json.dumps({**e, **at}) + '\n'


def everything_of(some):
    """The row that all of them give."""
    full = [e for e in some if len(e) == 7]
    if not full:
        return (None,) * 5
    return (sum(e['n'] for e in full), sum(e['x'] for e in full), int(all(e['ok'] for e in full)),
            min(e['note'] for e in full), max(e['at'] for e in full))


def expected(some, size_s=10, by_s=10):
    groups = collections.defaultdict(list)
    for e in some:
        start = e['ts'] // 1000 // by_s * by_s
        while start * 1000 > e['ts'] - size_s * 1000:
            groups[start * 1000 * MS, e['key']].append(e)
            start -= by_s
    return {k: everything_of(v) for k, v in groups.items()}


def has_analyzer():
    return os.path.exists(os.path.join(harness.BUILD, 'plugins', 'python.so'))


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if not has_analyzer():
            raise unittest.SkipTest('built without Python')
        with open(harness.WEIR, 'rb') as file:
            if b'__tsan_init' in file.read():
                raise unittest.SkipTest('the thread sanitizer does not know the locks of an interpreter that was built without it')

    def setUp(self):
        self.folder = harness.folder_for_test(self)

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, 'w', encoding='utf-8') as file:
            file.write(text)
        return path

    def config(self, analyzer, window='{tumbling: 10s}', more=''):
        return HEAD.replace('{folder}', self.folder) + f'''
  p: {{from: input, key: [key], window: {window}, out_of_orderness: 1s, idle_timeout: 1h{more}, analyzers: [{analyzer}]}}
'''

    def run_with(self, config, some, env=None):
        """weir run over events in a database of its own."""
        path = self.write('weir.yaml', config)
        for name in os.listdir(self.folder):
            if name.startswith('weir.db'):
                harness.shutil.rmtree(os.path.join(self.folder, name)) if os.path.isdir(
                    os.path.join(self.folder, name)) else os.remove(os.path.join(self.folder, name))
        return harness.weir('run', '-c', path, '--stream', 'input', stdin=''.join(lines(some)), cwd=self.folder,
                            env=env)

    def rows(self, config, some, table='p', columns='rows, total, all_ok, least, last', order=''):
        done = self.run_with(config, some)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotIn('level=error', done.stderr)
        return harness.read_rows(os.path.join(self.folder, 'weir.db'),
                                 f'SELECT window_start, key, {columns} FROM {table} {order}')

    def need_numpy(self):
        """In the interpreter of the plugin, which is not ours."""
        self.write('has.py', 'from typing import NamedTuple\nimport weir, numpy\nclass R(NamedTuple):\n    n: int\n'
                             '@weir.window\ndef f(n) -> R:\n    return R(1)\n')
        path = self.write('has.yaml', self.config('python_window: {file: has.py, of: n}'))
        done = harness.weir('check', '--no-database', '-c', path, cwd=self.folder)
        if 'No module named' in done.stderr:
            self.skipTest('no numpy for the Python that weir was built with')
        self.assertEqual(done.returncode, 0, done.stderr)
