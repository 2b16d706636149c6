# SPDX-License-Identifier: Apache-2.0
"""Analyzers in Python: what folds and functions give, against the same computed here from the events, and what they may not
do."""

import collections
import importlib
import os
import sys
import unittest

import harness
from pythons import ARRAYS, COLUMNS, Case, FUNCTION, GROUPS, MS, PLAIN, TOGETHER, everything_of, events, expected


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

    def test_many_groups_at_once_with_the_rows_of_each_together(self):
        self.need_numpy()
        self.check_everything(TOGETHER)

    def test_arrays_of_results(self):
        """Masked, not a number, no time, one value for all, another type, a view of the records that were lent."""
        self.need_numpy()
        self.write('results.py', '''
from datetime import datetime
from typing import NamedTuple
import numpy as np
import weir
class Row(NamedTuple):
    total: int
    masked: int
    half: float
    nan: float
    up: bool
    one: int
    word: str
    first: datetime
    never: datetime
    wide: float
class Results(weir.Groups):
    state = np.dtype([('total', 'i8')])
    def update(self, state, group, n):
        state['total'] += np.bincount(group, n, len(state)).astype('i8')
    def emit(self, state) -> Row:
        total = state['total']
        odd, seconds = total % 2 == 1, total.astype('M8[s]')
        return Row(total, np.ma.masked_array(total, odd), total / 2, np.where(odd, np.nan, total), total > 0, 7, total.astype('U'),
                   seconds, np.where(odd, np.datetime64('NaT'), seconds), total.astype('longdouble'))
''')
        some = list(events(1500))
        found = self.rows(self.config('python: {file: results.py, of: n, as: r}'), some,
                          columns=', '.join(f'r_{n}' for n in 'total masked half nan up one word first never wide'.split()))
        wanted = {}
        for e in some:
            group = e['ts'] // 10000 * 10000 * MS, e['key']
            wanted[group] = wanted.get(group, 0) + e['n']
        self.assertEqual({r[:2]: r[2:] for r in found},
                         {k: (t, None if t % 2 else t, t / 2, None if t % 2 else t, int(t > 0), 7, str(t), t * 1000000,
                              None if t % 2 else t * 1000000, t) for k, t in wanted.items()})

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
        self.check(good.replace('def update', 'async def update'), 'A.update is an async def')
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

    def test_arrays_of_results_are_checked(self):
        self.need_numpy()
        for result, message in (("np.full(len(state), 'a')", "output 'n' is declared as int, and is 'a', of type str"),
                                ('state["n"] + 0.5', "output 'n' is declared as int, and is 0.5, of type float"),
                                ('np.full(len(state), 2 ** 64 - 1, "u8")', 'does not fit 64 bits'),
                                ('np.zeros(len(state) + 1, int)', "output 'n' has 4 values, and there are 3 groups")):
            self.write('bad.py', 'from typing import NamedTuple\nimport numpy as np\nimport weir\nclass Row(NamedTuple):\n    n: int\n'
                                 'class Bad(weir.Groups):\n    state = np.dtype([("n", "i8")])\n'
                                 f'    def update(self, state, group, n):\n        pass\n    def emit(self, state) -> Row:\n        return Row({result})\n')
            done = self.run_with(self.config('python: {file: bad.py, of: n}'), events(1500))
            self.assertIn("pipeline 'p' stops", done.stderr)
            self.assertIn(message, done.stderr)

    def test_windows_that_are_merged_need_merge(self):
        self.write('bad.py', PLAIN.replace('def merge', 'def forge'))
        done = self.run_with(self.config(f'python: {{file: bad.py, of: [{COLUMNS}]}}', '{hopping: 20s, by: 10s}'), events(2000))
        self.assertIn('Everything has no merge', done.stderr)


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

    def test_run_groups_gives_what_the_server_does(self):
        try:
            import numpy  # pylint: disable=import-outside-toplevel,unused-import
        except ImportError:
            self.skipTest('numpy is not there')
        import weir  # pylint: disable=import-error,import-outside-toplevel
        some = list(events(3000))
        columns = {k: [e[k] for e in some] for k in ('n', 'x', 'ok', 'note', 'at')}
        columns['at'] = [weir.moment(v) for v in columns['at']]
        for name, text in (('groups', GROUPS), ('together', TOGETHER)):
            with open(os.path.join(self.folder, f'all_{name}.py'), 'w', encoding='utf-8') as file:
                file.write(text)
            module = importlib.import_module(f'all_{name}')
            self.addCleanup(sys.modules.pop, f'all_{name}')
            rows = weir.run_groups(module.Everything, ['abc'.index(e['key']) for e in some], columns)
            self.assertEqual([(*row[:4], weir.micros(row[4])) for row in rows],
                             [everything_of([e for e in some if e['key'] == key]) for key in 'abc'])

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
