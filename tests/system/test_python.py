# SPDX-License-Identifier: Apache-2.0
"""Analyzers in Python: what folds and functions give, against the same computed here from the events; what they may not
do; crashes, workers, and files that change."""

import collections
import json
import os
import random
import re
import signal
import subprocess
import sys
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


class Results(Case):
    def check_everything(self, text, where=''):
        self.write('all.py', text)
        some = list(events(3000, nulls=True))
        for window, size, by in (('{tumbling: 10s}', 10, 10), ('{hopping: 30s, by: 10s}', 30, 10)):
            for workers in (1, 4):
                with self.subTest(window=window, workers=workers):
                    found = self.rows(self.config(f'python: {{file: all.py, of: [{COLUMNS}]}}', window,
                                                  f', workers: {workers}'), some)
                    self.assertEqual({r[:2]: r[2:] for r in found}, expected(some, size, by))

    def test_a_fold_of_plain_python(self):
        self.check_everything(PLAIN)

    def test_a_fold_of_arrays(self):
        self.need_numpy()
        self.check_everything(ARRAYS)

    def test_many_groups_at_once(self):
        self.need_numpy()
        self.check_everything(GROUPS)

    def test_a_function_of_all_rows(self):
        self.write('all.py', FUNCTION)
        some = list(events(3000, nulls=True))
        found = self.rows(self.config(f'python_window: {{file: all.py, of: [{COLUMNS}], as: whole}}'), some, 'p_whole')
        self.assertEqual({r[:2]: r[2:] for r in found},
                         {k: v for k, v in expected(some).items() if v[0] is not None})

    def test_where_as_and_with(self):
        self.write('all.py', PLAIN)
        some = list(events(1000))
        found = self.rows(self.config(f'{{python: {{file: all.py, of: [{COLUMNS}], where: "n > 0 AND ok", as: some, '
                                      'with: weight=2}}'), some, columns='some_rows, some_total')
        self.assertEqual({r[:2]: r[2:] for r in found},
                         {k: (v[0], v[1] and 2 * v[1]) for k, v in expected(
                             [e if e['n'] > 0 and e['ok'] else {'ts': e['ts'], 'key': e['key']} for e in some]).items()})

    def test_nulls_can_be_kept(self):
        self.write('nulls.py', '''
from typing import NamedTuple
import weir
class Row(NamedTuple):
    n: int
    gone: int
    notes: int
class Nulls(weir.Fold):
    n = gone = notes = 0
    def update(self, n, note):
        self.n += sum(v for v in list(n) if isinstance(v, int) or hasattr(v, 'dtype') and v.dtype == 'i8')
        self.gone += sum(v is None or getattr(v, 'mask', False) is not False and bool(v.mask) for v in list(n))
        self.notes += sum(v is not None for v in note)
    def emit(self) -> Row:
        return Row(self.n, self.gone, self.notes)
''')
        some = list(events(1000, nulls=True))
        groups = collections.defaultdict(lambda: [0, 0, 0])
        for e in some:
            g = groups[e['ts'] // 10000 * 10000 * MS, e['key']]
            g[0] += e.get('n', 0)
            g[1] += 'n' not in e
            g[2] += 'note' in e
        found = self.rows(self.config('python: {file: nulls.py, of: [n, note], nulls: keep}'), some, columns='n, gone, notes')
        self.assertEqual({r[:2]: list(r[2:]) for r in found}, dict(groups))

    def test_hashes_are_the_same_in_every_run(self):
        self.write('set.py', '''
from typing import NamedTuple
import weir
class Row(NamedTuple):
    order: str
class Words(weir.Fold):
    def __init__(self):
        self.words = set()
    def update(self, note, n):
        self.words.update(f'{a}{b}' for a, b in zip(note, n))
    def emit(self) -> Row:
        return Row(' '.join(self.words))
''')
        config = self.config('python: {file: set.py, of: [note, n]}')
        first = self.rows(config, events(500), columns='"order"')
        self.assertEqual(self.rows(config, events(500), columns='"order"'), first)
        self.assertGreater(len(first[0][2].split()), 3)


class Refused(Case):
    def check(self, text, message, parameters='of: [n, x]', analyzer='python'):
        self.write('bad.py', text)
        path = self.write('weir.yaml', self.config(f'{analyzer}: {{file: bad.py, {parameters}}}'))
        done = harness.weir('check', '--no-database', '-c', path, cwd=self.folder)
        self.assertEqual(done.returncode, 78, done.stderr)
        self.assertRegex(done.stderr, r'weir\.yaml:\d+:\d+: ' + f"analyzer '{analyzer}': ")
        self.assertIn(message, done.stderr)

    def test_what_a_file_declares(self):
        head = 'from typing import NamedTuple\nimport weir\nclass Row(NamedTuple):\n    n: int\n'
        fold = head + 'class A(weir.Fold):\n    def update(self, n, x): pass\n'
        good = fold + '    def emit(self) -> Row: return Row(1)\n'
        self.check('def (:', 'bad.py:1:5: SyntaxError')
        self.check('import no_such_module', "bad.py:1: ModuleNotFoundError: No module named 'no_such_module'")
        self.check('x = 1 / 0', 'bad.py:1: ZeroDivisionError: division by zero')
        self.check('raise SystemExit(3)', 'bad.py:1: SystemExit: 3')
        self.check(head, 'bad.py has no class of weir.Fold or weir.Groups')
        self.check(good, 'A.update takes n, x, but is given 1 column (n)', 'of: n')
        self.check(fold, 'bad.py:5: class A has no method emit')
        self.check(fold + '    def emit(self): pass\n', 'bad.py:5: A.emit does not say what it gives')
        self.check(fold + '    def emit(self) -> float: pass\n', 'A.emit does not say what it gives')
        self.check(fold.replace('n: int', 'n: list') + '    def emit(self) -> Row: pass\n',
                   "output 'n' is of type list, and can be: int, float")
        self.check(good.replace('def emit', 'async def emit'), 'A.emit is an async def')
        self.check(good + 'class B(A): pass\n', 'bad.py has 2 class of weir.Fold or weir.Groups: A, B, name: CLASS says which one')
        self.check(good, "is called 'C'", 'of: [n, x], name: C')
        self.check(good, "A has no attribute 'c'", 'of: [n, x], with: c=1')
        self.check(good + '    c = 1\n', "'c' of A is of type int, and 'one' is not", 'of: [n, x], with: "c=\'one\'"')
        self.check(good + '    c = 1\n', 'with is ', 'of: [n, x], with: print(1)')
        self.check(good, 'bad.py has no function with @weir.window', analyzer='python_window')

    def test_a_file_that_is_not_there(self):
        path = self.write('weir.yaml', self.config('python: {file: no.py, of: n}'))
        done = harness.weir('check', '--no-database', '-c', path, cwd=self.folder)
        self.assertEqual(done.returncode, 78)
        self.assertIn("cannot read 'no.py': No such file or directory", done.stderr)

    def failing(self, body, message, result='Row(1)', of='n'):
        self.write('bad.py', 'from typing import NamedTuple\nimport weir\nclass Row(NamedTuple):\n    n: int\n'
                             f'class A(weir.Fold):\n    def update(self, n):\n        {body}\n'
                             f'    def emit(self) -> Row:\n        return {result}\n')
        done = self.run_with(self.config('python: {file: bad.py, of: n}'), events(1500))
        self.assertIn("pipeline 'p' stops", done.stderr)
        self.assertIn(message, done.stderr)
        return done.stderr

    def test_what_it_does_wrong_stops_its_pipeline(self):
        said = self.failing('raise ValueError("no good")', 'bad.py:7: ValueError: no good')
        self.assertIn('Traceback (most recent call last)', said)
        self.assertIn('bad.py\\", line 7, in update', said)
        self.failing('import sys; sys.exit(3)', 'bad.py:7: SystemExit: 3')
        self.failing('pass', "output 'n' is declared as int, and is 'a', of type str", 'Row("a")')
        self.failing('pass', "output 'n' is declared as int, and is 1.5, of type float", 'Row(1.5)')
        self.failing('pass', 'does not fit 64 bits', 'Row(2 ** 63)')
        self.failing('pass', 'a row is a Row with 1 values, and not 7', '7')
        self.failing('pass', 'a row is a Row with 1 values, and not (1, 2)', '(1, 2)')

    def test_who_keeps_a_column_is_stopped(self):
        self.failing('self.n = n', 'it keeps an array')
        self.failing('self.n = n[1:]', 'it keeps an array')
        self.failing('self.n = memoryview(n)', 'it keeps an array')
        self.failing('n[0] = 1', 'bad.py:7: ')  # ValueError of numpy, TypeError otherwise

    def test_windows_that_are_merged_need_merge(self):
        self.write('bad.py', PLAIN.replace('def merge', 'def forge'))
        done = self.run_with(self.config(f'python: {{file: bad.py, of: [{COLUMNS}]}}', '{hopping: 20s, by: 10s}'), events(2000))
        self.assertIn('Everything has no merge', done.stderr)


class Serving(Case):
    def serve(self, config):
        server = harness.Server(config, self.folder)
        server.__enter__()
        self.addCleanup(server.kill)
        return server

    def post(self, server, some):
        server.post_ok('input', ''.join(lines(some)))

    def finish(self, server, upto_ms):
        self.post(server, [{'ts': upto_ms + 100000, 'key': 'end'}])
        server.wait_watermark('p', (upto_ms + 90000) * MS)

    def found(self, server):
        return {r[:2]: r[2:] for r in server.rows(
            "SELECT window_start, key, rows, total, all_ok, least, last FROM p WHERE key IS NOT 'end'")}

    def test_killed_and_read_again(self):
        """States are in checkpoints, what came behind them in the journal."""
        self.check_killed(PLAIN)

    def test_killed_with_records(self):
        self.need_numpy()
        self.check_killed(GROUPS)

    def check_killed(self, text):
        self.write('all.py', text)
        some = list(events(2400))
        server = self.serve(self.config(f'python: {{file: all.py, of: [{COLUMNS}]}}', '{hopping: 30s, by: 10s}', ', workers: 2'))
        for i in range(0, len(some), 300):
            self.post(server, some[i:i + 300])
            if i in (600, 1500):
                harness.wait_until(lambda: server.rows('SELECT count(*) FROM weir_checkpoints')[0][0], 'a checkpoint')
                server.restart()
        self.finish(server, some[-1]['ts'])
        self.assertEqual(self.found(server), expected(some, 30, 10))
        server.stop()

    def test_sighup_takes_an_edited_file(self):
        """Open windows go on: objects of the old class become those of the new one."""
        self.write('all.py', PLAIN)
        some = list(events(800))
        server = self.serve(self.config(f'python: {{file: all.py, of: [{COLUMNS}]}}', '{tumbling: 1h}'))
        self.post(server, some[:400])
        self.write('all.py', PLAIN.replace("Row(self.rows, self.total, ", "Row(self.rows, -self.total, "))
        server.process.send_signal(signal.SIGHUP)
        harness.wait_until(lambda: "pipeline 'p' is exchanged" in ''.join(server.log), 'the exchange')
        self.post(server, some[400:])
        self.finish(server, some[-1]['ts'] + 3600000)
        negative = {k: (v[0], -v[1], *v[2:]) for k, v in expected(some, 3600, 3600).items()}
        self.assertEqual(self.found(server), negative)
        before = len(server.log)
        server.process.send_signal(signal.SIGHUP)
        harness.wait_until(lambda: 'configuration' in ''.join(server.log[before:]), 'the reload')
        self.assertNotIn('is exchanged', ''.join(server.log[before:]), 'the file is as it was')
        server.stop()

    def test_a_file_that_failed_is_mended(self):
        """The pipeline goes on where it stopped, without a gap."""
        self.write('all.py', PLAIN.replace('self.rows += sum(n)', 'raise RuntimeError("not today")'))
        some = list(events(800))
        server = self.serve(self.config(f'python: {{file: all.py, of: [{COLUMNS}]}}'))
        self.post(server, some[:400])
        harness.wait_until(lambda: "pipeline 'p' stops" in ''.join(server.log), 'the end of the pipeline')
        said = server.get_json('/api/v1/pipelines')
        self.assertIn('all.py:23: RuntimeError: not today', json.dumps(said))
        self.write('all.py', PLAIN)
        server.process.send_signal(signal.SIGHUP)
        harness.wait_until(lambda: "pipeline 'p' is exchanged" in ''.join(server.log), 'the exchange')
        self.post(server, some[400:])
        self.finish(server, some[-1]['ts'])
        self.assertEqual(self.found(server), expected(some))
        server.stop()

    def test_another_form_of_states_begins_anew(self):
        self.write('all.py', PLAIN)
        some = list(events(400))
        server = self.serve(self.config(f'python: {{file: all.py, of: [{COLUMNS}]}}', '{tumbling: 1h}'))
        self.post(server, some)
        self.write('all.py', PLAIN.replace("weight = 1.0", "weight = 1.0\n    state_version = 2"))
        server.process.send_signal(signal.SIGHUP)
        harness.wait_until(lambda: 'has another definition than before' in ''.join(server.log), 'the new definition')
        server.stop()


class Environment(Case):
    def test_packages_of_a_virtual_environment(self):
        self.write('where.py', 'import sys\nfrom typing import NamedTuple\nimport weir, only_there\nclass Row(NamedTuple):\n    n: str\n'
                               '@weir.window\ndef f(n) -> Row:\n    return Row(only_there.WORD)\n')
        config = self.config('python_window: {file: where.py, of: n, as: w}')
        path = self.write('weir.yaml', config)
        self.assertIn("No module named 'only_there'",
                      harness.weir('check', '--no-database', '-c', path, cwd=self.folder).stderr)
        python = self.python()
        made = subprocess.run([python, '-m', 'venv', '--without-pip', os.path.join(self.folder, 'venv')], check=False)
        if made.returncode != 0:
            self.skipTest(f'{python} cannot make a virtual environment')
        site, = harness.glob.glob(os.path.join(self.folder, 'venv', 'lib', 'python*', 'site-packages'))
        self.write(os.path.join(site, 'only_there.py'), 'WORD = "found"\n')
        done = self.run_with(config, events(100), harness.environment(VIRTUAL_ENV=os.path.join(self.folder, 'venv')))
        self.assertEqual(done.returncode, 0, done.stderr)
        rows = harness.read_rows(os.path.join(self.folder, 'weir.db'), 'SELECT DISTINCT n FROM p_w')
        self.assertEqual(rows, [('found',)])

    def python(self):
        """The program of the plugin's interpreter."""
        self.write('who.py', 'import sys\nraise RuntimeError(sys.executable)\n')
        path = self.write('who.yaml', self.config('python: {file: who.py, of: n}'))
        said = harness.weir('check', '--no-database', '-c', path, cwd=self.folder).stderr
        return re.search(r'RuntimeError: (/[^"\s]*)', said)[1]

    def test_the_process_keeps_its_signals_and_what_is_printed_goes_to_standard_error(self):
        self.write('loud.py', 'from typing import NamedTuple\nimport signal, weir\nclass Row(NamedTuple):\n    n: str\n'
                              'print("loaded")\n'
                              '@weir.window\ndef f(n) -> Row:\n    return Row(repr(signal.getsignal(signal.SIGINT)))\n')
        done = self.run_with(self.config('python_window: {file: loud.py, of: n, as: w}'), events(100))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn('loaded', done.stderr)
        self.assertNotIn('loaded', done.stdout)
        rows = harness.read_rows(os.path.join(self.folder, 'weir.db'), 'SELECT DISTINCT n FROM p_w')
        self.assertNotIn('default_int_handler', rows[0][0])


class Examples(Case):
    """What README and etc/examples say, and what weir plugin new --python makes."""

    def test_the_one_of_the_readme(self):
        with open(os.path.join(harness.SOURCE, 'README.md'), encoding='utf-8') as file:
            text = file.read()
        config = re.search(r'```yaml\n(.*?)```', text, re.DOTALL)[1]
        self.write('revenue.py', re.search(r'```python\n(.*?)```', text, re.DOTALL)[1])
        line = re.search(r'`- (python: .*?)`', text)[1]
        self.write('shop.yaml', f'{config}      - {line}\n')
        orders = [json.loads(order) for order in re.findall(r'^ +(\{"ts":.*?\})', text, re.MULTILINE)]
        self.assertEqual(len(orders), 4)
        done = harness.weir('run', '-c', 'shop.yaml', '-d', 'r.db', '--stream', 'orders', cwd=self.folder,
                            stdin=''.join(json.dumps(o) + '\n' for o in orders))
        self.assertEqual(done.returncode, 0, done.stderr)
        want = collections.defaultdict(list)
        for o in orders:
            want[o['ts'][:18], o['product']].append(o['price'] * o['qty'])
        self.assertEqual(sorted(harness.read_rows(os.path.join(self.folder, 'r.db'),
                                                  'SELECT product, revenue, largest FROM orders_10s')),
                         sorted((p, sum(v), max(v)) for (_, p), v in want.items()))

    def test_the_one_of_the_guide(self):
        self.need_numpy()
        with open(os.path.join(harness.SOURCE, 'docs', 'write-an-analyzer.md'), encoding='utf-8') as file:
            text = file.read()
        self.write('share.py', re.search(r'`share.py`:\n\n```python\n(.*?)```', text, re.DOTALL)[1])
        line = re.search(r'`(python: \{file: share.py.*?\})`', text)[1]
        some = [{**e, 'x': e['x'] + 300} for e in events(1000)]
        want = collections.defaultdict(list)
        for e in some:
            want[e['ts'] // 10000 * 10000 * MS, e['key']].append(e['x'] > 300)
        found = self.rows(self.config(line.replace('of: ms', 'of: x')), some, columns='ms_over, ms_share')
        self.assertEqual({r[:2]: r[2:] for r in found}, {k: (sum(v), sum(v) / len(v)) for k, v in want.items()})

    def test_those_of_numpy_and_pandas(self):
        dice = random.Random(3)
        trades = [{'ts': T0 + 37 * i, 'symbol': dice.choice('ABCDE'), 'price': 100 + dice.randrange(-400, 400) / 16,
                   'qty': dice.randrange(1, 9), 'side': dice.choice(('buy', 'sell'))} for i in range(3000)]
        folder = os.path.join(harness.SOURCE, 'etc', 'examples', 'python')
        done = harness.weir('run', '-c', 'finance.yaml', '-d', os.path.join(self.folder, 'r.db'), '--stream', 'trades', cwd=folder,
                            stdin=''.join(json.dumps(t) + '\n' for t in trades))
        if "No module named 'numpy'" in done.stderr or "No module named 'pandas'" in done.stderr:
            self.skipTest('no numpy or no pandas for the Python that weir was built with')
        self.assertEqual(done.returncode, 0, done.stderr)
        windows = collections.defaultdict(lambda: collections.defaultdict(list))
        for t in trades:
            windows[t['ts'] // 60000][t['symbol']].append(t)
        impacts, movers = {}, []
        for w, symbols in windows.items():
            changes = []
            for symbol, of in symbols.items():
                steps = [(b['price'] - a['price'], b['qty'] if b['side'] == 'buy' else -b['qty']) for a, b in zip(of, of[1:])]
                impacts[w * 60000000, symbol] = (sum(x * y for y, x in steps) / sum(x * x for _, x in steps), len(steps))
                changes.append((symbol, (of[-1]['price'] / of[0]['price'] - 1) * 100, len(of)))
            movers += sorted(changes, key=lambda c: (-abs(c[1]), c[0]))[:3]
        database = os.path.join(self.folder, 'r.db')
        for start, symbol, impact, steps in harness.read_rows(database, 'SELECT window_start, symbol, impact, steps FROM impact'):
            self.assertAlmostEqual(impact, impacts[start, symbol][0], 9)
            self.assertEqual(steps, impacts.pop((start, symbol))[1])
        self.assertFalse(impacts)
        found = harness.read_rows(database, 'SELECT symbol, change, trades FROM movers_top ORDER BY window_start, rank')
        self.assertEqual([(s, round(c, 9), n) for s, c, n in found], [(s, round(c, 9), n) for s, c, n in movers])

    def test_a_new_one_passes_its_tests(self):
        done = harness.weir('plugin', 'new', '--python', 'mine', cwd=self.folder)
        self.assertEqual(done.returncode, 0, done.stderr)
        mine = os.path.join(self.folder, 'mine')
        self.assertEqual(sorted(os.listdir(mine)), ['Makefile', 'mine.py', 'test.yaml', 'test_mine.py', 'weir.yaml'])
        python = next((p for p in (sys.executable, '/usr/bin/python3') if subprocess.run(
            [p, '-c', 'import pytest'], stderr=subprocess.DEVNULL, check=False).returncode == 0), None)
        if python is None:
            self.skipTest('no pytest')
        env = {k: v for k, v in harness.environment().items() if k not in ('MAKEFLAGS', 'MFLAGS', 'MAKELEVEL')}
        done = subprocess.run([os.environ.get('MAKE', 'make'), '-C', mine, 'test', 'PYTHON=' + python, 'WEIR=' + harness.WEIR,
                               'pythondir=' + os.path.join(harness.SOURCE, 'plugins', 'python')],
                              env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn('2 passed', done.stdout)
        self.assertIn('1 case, 0 failed', done.stdout)


class Standalone(unittest.TestCase):
    """The module `weir` by itself, in the Python that runs this."""

    def setUp(self):
        if sys.version_info < (3, 10):
            self.skipTest('the module wants Python 3.10')
        self.folder = harness.folder_for_test(self)
        with open(os.path.join(self.folder, 'all.py'), 'w', encoding='utf-8') as file:
            file.write(PLAIN)
        for path in (os.path.join(harness.SOURCE, 'plugins', 'python'), self.folder):
            sys.path.insert(0, path)
            self.addCleanup(sys.path.remove, path)
        sys.modules.pop('all', None)

    def test_run_gives_what_the_server_does(self):
        import all as analyzer  # pylint: disable=import-error,import-outside-toplevel
        import weir  # pylint: disable=import-error,import-outside-toplevel
        some = list(events(3000))
        columns = {k: [e[k] for e in some] for k in ('n', 'x', 'ok', 'note', 'at')}
        columns['at'] = [weir.moment(v) for v in columns['at']]
        row = weir.run(analyzer.Everything, columns)
        want = everything_of(some)
        self.assertEqual((*row[:4], weir.micros(row[4])), want)
        self.assertEqual(row.all_ok, bool(want[2]))

    def test_run_refuses_what_the_server_refuses(self):
        import weir  # pylint: disable=import-error,import-outside-toplevel
        import typing

        class Row(typing.NamedTuple):
            n: int

        class Wrong(weir.Fold):
            def update(self, n):
                pass

            def emit(self) -> Row:
                return Row('a')
        with self.assertRaisesRegex(TypeError, "output 'n' is declared as int, and is 'a'"):
            weir.run(Wrong, {'n': [1]})
        with self.assertRaisesRegex(TypeError, 'Wrong.update takes n, but is given 2 columns'):
            weir.run(Wrong, {'n': [1], 'x': [1]})


if __name__ == '__main__':
    harness.main()
