# SPDX-License-Identifier: Apache-2.0
"""Analyzers in Python that ask for Arrow: columns by its C data interface, read by ctypes as the specification has it, and by
pyarrow, polars and pandas where the Python of the plugin has them."""

import collections

import harness
from pythons import COLUMNS, PLAIN, ROW, Case, events, everything_of, expected

# The structures of the specification; no library of Arrow is needed.
CTYPES = '''
import ctypes

class Schema(ctypes.Structure):
    _fields_ = [('format', ctypes.c_char_p), ('name', ctypes.c_char_p), ('metadata', ctypes.c_void_p), ('flags', ctypes.c_int64),
                ('n_children', ctypes.c_int64), ('children', ctypes.c_void_p), ('dictionary', ctypes.c_void_p),
                ('release', ctypes.c_void_p), ('private', ctypes.c_void_p)]

class Array(ctypes.Structure):
    _fields_ = [('length', ctypes.c_int64), ('null_count', ctypes.c_int64), ('offset', ctypes.c_int64), ('n_buffers', ctypes.c_int64),
                ('n_children', ctypes.c_int64), ('buffers', ctypes.POINTER(ctypes.c_void_p)), ('children', ctypes.c_void_p),
                ('dictionary', ctypes.c_void_p), ('release', ctypes.c_void_p), ('private', ctypes.c_void_p)]

pointer = ctypes.pythonapi.PyCapsule_GetPointer
pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]

def values(column):
    """Those of a column, None where it is null."""
    capsules = column.__arrow_c_array__()
    schema = Schema.from_address(pointer(capsules[0], b'arrow_schema'))
    array = Array.from_address(pointer(capsules[1], b'arrow_array'))
    n, form = array.length, schema.format.decode()
    assert n == len(column) and array.offset == array.n_children == 0 and schema.release and array.release

    def bit(buffer, i):
        return ctypes.c_uint8.from_address(array.buffers[buffer] + i // 8).value >> i % 8 & 1

    def one(i):
        if array.null_count and not bit(0, i):
            return None
        if form == 'b':
            return bool(bit(1, i))
        if form == 'u':
            first, end = (ctypes.c_int32 * 2).from_address(array.buffers[1] + 4 * i)
            return ctypes.string_at(array.buffers[2] + first, end - first).decode()
        return {'l': ctypes.c_int64, 'g': ctypes.c_double, 'tsu:UTC': ctypes.c_int64}[form].from_address(array.buffers[1] + 8 * i).value
    found = [one(i) for i in range(n)]
    assert array.null_count == found.count(None) and array.n_buffers == (3 if form == 'u' else 2)
    return found
'''
FOLD = PLAIN.replace("arrays = 'memoryview'", "arrays = 'arrow'").replace(
    'assert type(n) is type(x) is type(ok) is type(at) is memoryview and type(note) is list',
    'n, x, ok, note, at = map(values, (n, x, ok, note, at))') + CTYPES
NULLS = '''
from typing import NamedTuple
import weir

class Row(NamedTuple):
    n: int
    nulls: int

@weir.window(arrays='arrow')
def count(n, x, ok, note, at) -> Row:
    all = [v for column in (n, x, ok, note, at) for v in values(column)]
    return Row(len(n), all.count(None))
''' + CTYPES
KEPT = '''
from typing import NamedTuple
import weir

class Row(NamedTuple):
    n: int

class Keeps(weir.Fold):
    arrays = 'arrow'
    def update(self, n):
        self.n = n
    def emit(self) -> Row:
        return Row(len(values(self.n)))
''' + CTYPES
LIBRARY = {
    'pyarrow': '''
import pyarrow as pa, pyarrow.compute as pc

@weir.window(arrays='arrow')
def everything(n, x, ok, note, at) -> Row:
    n, x, ok, note, at = map(pa.array, (n, x, ok, note, at))
    return Row(pc.sum(n).as_py(), pc.sum(x).as_py(), pc.all(ok).as_py(), pc.min(note).as_py(), pc.max(at).as_py())
''',
    'polars': '''
import polars as pl

@weir.window(arrays='arrow')
def everything(n, x, ok, note, at) -> Row:
    frame = pl.DataFrame({'n': pl.Series(n), 'x': pl.Series(x), 'ok': pl.Series(ok), 'note': pl.Series(note), 'at': pl.Series(at)})
    return Row(*frame.select(pl.col('n').sum(), pl.col('x').sum(), pl.col('ok').all(), pl.col('note').min(), pl.col('at').max()).row(0))
''',
    'pandas': '''
import pyarrow as pa, pandas as pd

@weir.window(arrays='arrow')
def everything(n, x, ok, note, at) -> Row:
    frame = pa.table({'n': pa.array(n), 'x': pa.array(x), 'ok': pa.array(ok), 'note': pa.array(note), 'at': pa.array(at)}).to_pandas()
    return Row(int(frame.n.sum()), frame.x.sum(), bool(frame.ok.all()), frame.note.min(), frame['at'].max().to_pydatetime())
'''}


class Arrow(Case):
    def test_a_fold(self):
        self.write('all.py', FOLD)
        some = list(events(2000, nulls=True))
        for window, size, by in (('{tumbling: 10s}', 10, 10), ('{hopping: 30s, by: 10s}', 30, 10)):
            found = self.rows(self.config(f'python: {{file: all.py, of: [{COLUMNS}]}}', window), some)
            self.assertEqual({r[:2]: r[2:] for r in found}, expected(some, size, by))

    def test_nulls_and_all_rows_of_a_window(self):
        self.write('nulls.py', NULLS)
        some = list(events(2000, nulls=True))
        found = self.rows(self.config(f'python_window: {{file: nulls.py, of: [{COLUMNS}], nulls: keep, as: w}}'), some, 'p_w', 'n, nulls')
        want = collections.defaultdict(lambda: [0, 0])
        for e in some:
            group = want[e['ts'] // 10000 * 10000000, e['key']]
            group[0] += 1
            group[1] += len(e) < 7
        self.assertEqual({r[:2]: list(r[2:]) for r in found}, dict(want))

    def test_a_column_is_there_for_the_call_only(self):
        self.write('kept.py', KEPT)
        done = self.run_with(self.config('python: {file: kept.py, of: n}'), list(events(50)))
        self.assertNotEqual(done.returncode, 0)
        self.assertIn('RuntimeError: a column is there for the call only', done.stderr)

    def test_libraries_take_them(self):
        some = list(events(1500))
        for name, text in LIBRARY.items():
            with self.subTest(library=name):
                self.write('all.py', ROW + text)
                config = self.config(f'python_window: {{file: all.py, of: [{COLUMNS}], as: whole}}')
                done = harness.weir('check', '--no-database', '-c', self.write('weir.yaml', config), cwd=self.folder)
                if 'No module named' in done.stderr:
                    self.skipTest(f'no {name} for the Python that weir was built with')
                found = self.rows(config, some, 'p_whole')
                self.assertEqual({r[:2]: r[2:] for r in found}, expected(some))
                self.assertEqual(everything_of(some)[0], sum(r[2] for r in found))


if __name__ == '__main__':
    harness.main()
