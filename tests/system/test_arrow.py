# SPDX-License-Identifier: Apache-2.0
"""Results and SQL as a stream of Arrow: read by a reader made from the specification, and by pyarrow, polars, DuckDB and pandas where
they are installed (`./dev clients`); the values are those that SQLite's library gives."""

import gzip
import http.client
import json
import math
import os
import random
import sqlite3
import struct
import subprocess
import unittest
import urllib.parse

import arrow_stream
import harness
import test_clients

TYPE = 'application/vnd.apache.arrow.stream'
T0 = 1700000000000  # ms, a multiple of 10 s
RESULTS = '/api/v1/pipelines/{}/results?'
CONFIG = '''
server: {listen: {listen}, database: {folder}/weir.db, sql_timeout: 10m, sql_max_rows: 60000, sql_max_bytes: 4MiB}
streams:
  input: {time: {field: ts, unit: ms}, fields: {city: string, n: int, x: float, ok: bool, at: time}}
pipelines:
  rows: {from: input, window: none, select: [city, n, x, ok, at]}
  cities:
    from: input
    key: [city]
    window: {tumbling: 10s}
    idle_timeout: 1h
    analyzers: [count, {stats: {of: x, emit: [sum, max]}}, {topk: {of: n, k: 2}}]
'''
CITIES = ['Bern', 'Zürich', 'São Paulo', '', 'a,"b"\n', '東京', '🛰']
EDGES = (2**63 - 1, -2**63, 0, -1, 2**53, 2**53 + 1)
N = 25000


def events():
    dice = random.Random(7)
    for i in range(N):
        event = {'ts': T0 + i, 'city': dice.choice(CITIES), 'n': dice.choice(EDGES + (i,)),
                 'x': dice.choice((dice.random(), 1e300, -0.0, 5e-324)), 'ok': dice.random() < 0.5,
                 'at': f'2026-01-02T03:04:05.{dice.randrange(10**6):06}Z'}
        if i % 3 == 0:
            del event[dice.choice(('city', 'n', 'x', 'ok', 'at'))]
        yield event


def same(found, expected):
    """As values, and of the same type: -0.0 is not 0.0, nor 1 is 1.0."""
    return [[repr(v) for v in row] for row in found] == [[repr(v) for v in row] for row in expected]


class Arrow(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = harness.Server.for_class(cls, CONFIG)
        cls.server.post_ok('input', list(events()) + [{'ts': T0 + 60000, 'city': 'last'}])
        cls.server.wait_watermark('cities', (T0 + 60000) * 1000)
        harness.wait_until(lambda: cls.server.rows('SELECT count(*) FROM rows') == [(N + 1,)], 'all rows')

    def ask(self, path, method='GET', **headers):
        answer = self.server.request(method, path, headers=headers)
        self.assertEqual(answer.status, 200, answer.body)
        return answer

    def results(self, pipeline, **query):
        answer = self.ask(RESULTS.format(pipeline) + urllib.parse.urlencode({'format': 'arrow', **query}))
        self.assertEqual(answer.headers['Content-Type'], TYPE)
        schema, batches = arrow_stream.read(answer.body)
        return answer, schema, batches

    def sql(self, statement, status=200, **more):
        answer = self.server.request('POST', '/api/v1/sql', json.dumps({'sql': statement, 'format': 'arrow', **more}).encode(),
                                     {'Content-Type': 'application/json'})
        self.assertEqual(answer.status, status, answer.body)
        return answer

    def cut(self, query):
        """What came of an answer that ends in the middle."""
        connection = http.client.HTTPConnection('127.0.0.1', self.server.port, timeout=harness.LIMIT_S)
        self.addCleanup(connection.close)
        connection.request('GET', '/api/v1/sql?' + urllib.parse.urlencode({'format': 'arrow', **query}))
        answer = connection.getresponse()
        self.assertEqual(answer.status, 200)
        with self.assertRaises(http.client.IncompleteRead) as raised:
            answer.read()
        return raised.exception.partial

    # ---- Results ---------------------------------------------------------------------------------

    def test_each_type_and_nulls(self):
        _, schema, batches = self.results('rows', limit='all')
        self.assertEqual(schema, [('ts', 'timestamp'), ('position', 'int64'), ('row', 'int64'), ('city', 'utf8'), ('n', 'int64'),
                                  ('x', 'float64'), ('ok', 'bool'), ('at', 'timestamp')])
        expected = [(*row[:6], None if row[6] is None else bool(row[6]), row[7]) for row in self.server.rows(
            'SELECT ts, position, row, city, n, x, ok, at FROM rows ORDER BY ts, position, row')]
        self.assertEqual(len(expected), N + 1)
        self.assertTrue(same([row for batch in batches for row in batch], expected))
        self.assertGreater(len(batches), 5)
        self.assertLessEqual(max(map(len, batches)), 10000)

    def test_times_are_timestamps_or_numbers(self):
        stored = [at for at, in self.server.rows('SELECT at FROM rows ORDER BY ts, position, row LIMIT 500')]
        for times, unit_us, kind in (('rfc3339', 1, 'timestamp'), ('us', 1, 'int64'), ('ms', 1000, 'int64'), ('s', 10**6, 'int64')):
            _, schema, batches = self.results('rows', limit=500, columns='at', times=times)
            self.assertEqual(schema, [('at', kind)])
            self.assertEqual([at for batch in batches for at, in batch], [at if at is None else at // unit_us for at in stored])

    def test_pages_and_filters(self):
        columns, rows, more = 'window_start,city,count,x_sum,x_max,window_end', [], {}
        for _ in range(100):
            answer, schema, batches = self.results('cities', limit=3, columns=columns, **more)
            rows += [row for batch in batches for row in batch]
            if not answer.headers['Weir-Next-Cursor']:
                break
            more = {'cursor': answer.headers['Weir-Next-Cursor']}
        self.assertEqual([kind for _, kind in schema], ['timestamp', 'utf8', 'int64', 'float64', 'float64', 'timestamp'])
        expected = self.server.rows(f'SELECT {columns} FROM cities ORDER BY window_start, city')
        self.assertTrue(same(rows, expected))
        _, _, batches = self.results('cities', city='東京', columns=columns, order='desc')
        self.assertTrue(same(batches[0], [row for row in expected[::-1] if row[1] == '東京']))

    def test_no_rows_have_a_schema(self):
        _, schema, batches = self.results('cities', city='nowhere')
        self.assertEqual((schema[0], batches), (('window_start', 'timestamp'), []))

    def test_columns_of_one_name_have_two(self):
        _, schema, _ = self.results('cities', columns='city,count,city')
        self.assertEqual([name for name, _ in schema], ['city', 'count', 'city_2'])

    def test_open_windows_changes_and_dead_letters(self):
        _, schema, batches = self.results('cities', live=1, limit='all')
        self.assertEqual(schema[-1], ('open', 'bool'))
        self.assertEqual({row[-1] for batch in batches for row in batch}, {False, True})
        answer, schema, batches = self.results('cities', changed_since='now')
        self.assertEqual((schema[0][1], batches), ('timestamp', []))
        self.server.post_ok('input', [{'ts': T0 + 80000, 'city': 'last'}])
        harness.wait_until(lambda: self.results('cities', changed_since=answer.headers['Weir-Next-Cursor'])[2], 'a row that was committed')
        self.assertEqual(self.server.post('input', '{"ts":"never"}\n').status, 422)
        harness.wait_until(lambda: self.server.rows('SELECT 1 FROM weir_dead_letters'), 'the dead letter')
        schema, batches = arrow_stream.read(self.ask('/api/v1/streams/input/dead-letters?format=arrow').body)
        self.assertEqual(dict(schema)['received'], 'timestamp')
        self.assertEqual([row[7:] for row in batches[0]], [('{"ts":"never"}', False, False)])

    # ---- HTTP ------------------------------------------------------------------------------------

    def test_the_accept_header_chooses_it_only_by_name(self):
        path = RESULTS.format('cities') + 'limit=2'
        for accept in (TYPE, TYPE.upper(), f'application/json;q=0.5, {TYPE}', f'{TYPE}, */*', f'application/json;q=0, text/*;q=0, '
                       'application/x-ndjson;q=0, */*'):
            answer = self.ask(path, Accept=accept)
            self.assertEqual(answer.headers['Content-Type'], TYPE, accept)
            self.assertIn('Accept', answer.headers.get_all('Vary'))
            arrow_stream.read(answer.body)
        for accept in ('*/*', 'application/*', f'application/json, {TYPE};q=0.9'):
            self.assertEqual(self.ask(path, Accept=accept).headers['Content-Type'], 'application/json', accept)
        self.assertEqual(self.ask('/api/v1/sql?q=SELECT+1', Accept=TYPE).headers['Content-Type'], TYPE)

    def test_head_has_the_same_head(self):
        for path in (RESULTS.format('cities') + 'limit=2&', '/api/v1/sql?q=SELECT+1&'):
            get, head = self.ask(path + 'format=arrow'), self.ask(path + 'format=arrow', 'HEAD')
            self.assertEqual((head.headers['Content-Type'], head.body), (TYPE, b''))
            if 'Content-Length' in head.headers:
                self.assertEqual(head.headers['Content-Length'], get.headers['Content-Length'])

    def test_it_comes_packed(self):
        path = RESULTS.format('rows') + 'limit=all&format=arrow'
        packed = self.ask(path, **{'Accept-Encoding': 'gzip'})
        self.assertEqual(packed.headers['Content-Encoding'], 'gzip')
        self.assertEqual(gzip.decompress(packed.body), self.ask(path).body)

    # ---- SQL -------------------------------------------------------------------------------------

    def test_sql_of_result_tables(self):
        statement = 'SELECT r.*, n / 2 + 0.5 AS half, city || x AS text FROM rows AS r ORDER BY ts, position, row LIMIT 1500'
        schema, batches = arrow_stream.read(self.sql(statement).body)
        self.assertEqual([kind for _, kind in schema], ['int64'] * 3 + ['utf8', 'int64', 'float64', 'int64', 'int64'] + ['float64', 'utf8'])
        expected = self.server.rows(statement)
        self.assertTrue(same([row for batch in batches for row in batch], expected))
        schema, _ = arrow_stream.read(self.sql(statement, times='rfc3339').body)
        self.assertEqual([name for name, kind in schema if kind == 'timestamp'], ['ts', 'at'])

    def test_a_type_that_changes_in_mid_answer_cuts_it(self):
        """64 KiB settle what a column is; a reader of what came so far notices, too."""
        numbers = 'WITH RECURSIVE i(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM i WHERE n < 50000) SELECT n, '
        for late, fits in (("'text'", False), ('2.5', False), ('3.0', True), ('NULL', True), ("x'00'", False)):
            statement = numbers + f'CASE WHEN n = 40000 THEN {late} ELSE n END AS v FROM i'
            if fits:
                _, batches = arrow_stream.read(self.sql(statement).body)
                rows = [row for batch in batches for row in batch]
                self.assertEqual((len(rows), rows[39999][1]), (50000, 3 if late == '3.0' else None))
                continue
            with self.assertRaises(arrow_stream.Cut):
                arrow_stream.read(self.cut({'q': statement}))
            harness.wait_until(lambda: any("column 'v' is int64 by its first rows, and row 40000 has" in line
                                           for line in self.server.log), 'why it was cut')
        statement = numbers + 'CASE WHEN n = 40000 THEN CAST(n AS TEXT) ELSE CAST(n AS TEXT) END AS v FROM i'
        self.assertEqual(arrow_stream.read(self.sql(statement).body)[0], [('n', 'int64'), ('v', 'utf8')])

    def test_limits_are_said_or_cut_it(self):
        numbers = 'WITH RECURSIVE i(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM i WHERE n < 100000) SELECT n{} FROM i'
        with self.assertRaises(arrow_stream.Cut):  # sql_max_rows
            arrow_stream.read(self.cut({'q': numbers.format('')}))
        with self.assertRaises(arrow_stream.Cut):  # sql_max_bytes
            arrow_stream.read(self.cut({'q': numbers.format(', printf(\'%1000d\', n)')}))
        config = CONFIG.replace('sql_max_rows: 60000, sql_max_bytes: 4MiB', 'sql_max_rows: 100, sql_max_bytes: 2KiB')
        with harness.Server(config) as server:
            for more, n, why in ('', 100, 'rows'), (', n AS m, n AS k', 2048 // 25, 'bytes'):
                query = urllib.parse.urlencode({'format': 'arrow', 'q': numbers.format(more)})
                answer = server.get('/api/v1/sql?' + query)
                self.assertEqual((answer.status, answer.headers['Weir-Truncated']), (200, why))
                _, batches = arrow_stream.read(answer.body)
                self.assertEqual([row[0] for row in batches[0]], list(range(1, len(batches[0]) + 1)))
                self.assertAlmostEqual(len(batches[0]), n, delta=5)

    def test_a_wrong_statement_is_a_problem(self):
        for statement in ('SELECT nowhere', "SELECT json('no')"):
            self.assertEqual(self.sql(statement, status=400).headers['Content-Type'], 'application/problem+json')

    # ---- Other readers ---------------------------------------------------------------------------

    def check_reader(self, modules, script):
        """It prints of each column how many are null, and the greatest `n` and `at`."""
        path = self.server.folder + '/rows.arrow'
        with open(path, 'wb') as file:
            file.write(self.ask(RESULTS.format('rows') + 'limit=all&format=arrow').body)
        done = subprocess.run([test_clients.python(*modules), '-c', 'import json, sys\npath, url = sys.argv[1:]\n' + script, path,
                               f'http://127.0.0.1:{self.server.port}'],
                              text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=harness.LIMIT_S, check=False)
        self.assertEqual(done.returncode, 0, done.stdout)
        columns = ('city', 'n', 'x', 'ok', 'at')
        expected = self.server.rows(f'SELECT {", ".join(f"count(*) - count({c})" for c in columns)}, max(n), max(at) FROM rows')
        self.assertEqual(json.loads(done.stdout), list(expected[0]))

    def test_pyarrow(self):
        self.check_reader(['pyarrow'], '''
import pyarrow as pa, pyarrow.compute as pc
t = pa.ipc.open_stream(path).read_all()
t.validate(full=True)
assert t.schema.field('at').type == pa.timestamp('us', 'UTC') and t.schema.field('ok').type == pa.bool_(), t.schema
print(json.dumps([t[c].null_count for c in ('city', 'n', 'x', 'ok', 'at')] + [pc.max(t['n']).as_py(), pc.max(t['at']).value]))
whole = open(path, 'rb').read()
for size in (len(whole) - 4, len(whole) // 2):  # a batch is missing, or a part of one
    try:
        pa.ipc.open_stream(whole[:size]).read_all()
        sys.exit(f'{size} bytes of {len(whole)} are taken')
    except (pa.ArrowInvalid, OSError):
        pass
''')

    def test_polars(self):
        self.check_reader(['polars'], '''
import polars as pl
t = pl.read_ipc_stream(path)
assert t.schema['at'] == pl.Datetime('us', 'UTC') and t.schema['ok'] == pl.Boolean, t.schema
print(json.dumps([t[c].null_count() for c in ('city', 'n', 'x', 'ok', 'at')] + [t['n'].max(), t['at'].to_physical().max()]))
''')

    def test_duckdb_by_pyarrow(self):
        self.check_reader(['duckdb', 'pyarrow'], '''
import duckdb, pyarrow as pa
rows = pa.ipc.open_stream(path)
print(json.dumps(duckdb.sql('SELECT ' + ', '.join(f'count(*) - count("{c}")' for c in ('city', 'n', 'x', 'ok', 'at')) +
                            ', max(n), epoch_us(max("at")) FROM rows').fetchall()[0]))
''')

    def test_pandas_by_pyarrow(self):
        self.check_reader(['pandas', 'pyarrow'], '''
import pandas as pd, pyarrow as pa
t = pa.ipc.open_stream(path).read_pandas(types_mapper=pd.ArrowDtype)
print(json.dumps([int(t[c].isna().sum()) for c in ('city', 'n', 'x', 'ok', 'at')] +
                 [int(t['n'].max()), t['at'].max().value // 1000]))
''')


# ---- Tables by chance ------------------------------------------------------------------------------

TEXTS = ('', 'x', 'ä', '東京', '🛰', 'a\0b', '"', "'", 'x' * 1000, '12', '1.5')
VALUES = {
    int: lambda dice: dice.choice(EDGES + (1, dice.randrange(-9, 9), dice.randrange(-2**53, 2**53))),
    float: lambda dice: dice.choice((0.0, -0.0, 1.5, 1e300, 5e-324, math.inf, -math.inf, dice.random(), float(dice.randrange(9)))),
    str: lambda dice: dice.choice(TEXTS),
    bytes: lambda dice: dice.choice((b'', b'\0', b'\xff\xfe', dice.randbytes(5))),
}
KINDS = ((int,), (float,), (str,), (bytes,), (int, float), (int, str), (float, str), (bytes, str), (int, float, str, bytes), ())
DECLARED = {'INTEGER': 'int64', 'INT': 'int64', 'REAL': 'float64', 'TEXT': 'utf8', 'BLOB': None, 'VARCHAR(5)': None, '': None}
STRICT = {'INTEGER': int, 'INT': int, 'REAL': float, 'TEXT': str, 'BLOB': bytes}


def exact(n):
    return -2**53 <= n <= 2**53


def expected_type(declared, values):
    """The first of int64, float64, utf8 that holds all without loss; binary where all are blobs."""
    kinds = {type(v) for v in values if v is not None}
    kinds |= {'int64': {int}, 'float64': {float}, 'utf8': {str}}.get(declared, set())
    if not kinds or str in kinds or (bytes in kinds and len(kinds) > 1):
        return 'utf8'
    if bytes in kinds:
        return 'binary'
    if float in kinds:
        return 'float64' if all(exact(v) for v in values if isinstance(v, int)) else 'utf8'
    return 'int64'


def is_shown(found, value, kind):
    """Is it the value, in a column of this type?"""
    if value is None or kind == 'binary' or kind == 'int64':
        return found == value and type(found) is type(value)
    if kind == 'float64':
        return struct.pack('d', found) == struct.pack('d', float(value))
    if isinstance(value, bytes):
        return found == value.hex()
    if isinstance(value, str):
        return found == value
    return float(found) == value if isinstance(value, float) else int(float(found) if '.' in found else found) == value


class Chance(unittest.TestCase):
    def setUp(self):
        self.folder = harness.folder_for_test(self)
        self.path = os.path.join(self.folder, 'chance.db')

    def select(self, statement):
        done = subprocess.run([harness.WEIR, 'sql', '-d', self.path, '-f', 'arrow', statement], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, env=harness.environment(), timeout=harness.LIMIT_S, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, b''))
        return done.stdout

    def empty(self):
        """A database without a table that matters."""
        db = sqlite3.connect(self.path)
        db.execute('CREATE TABLE t (n)')
        db.close()

    def table(self, dice, db, name):
        """Columns with their declarations, strict or not, and rows; the values are those that SQLite has made of them."""
        strict = dice.random() < 0.5
        declared = [dice.choice(list(STRICT) if strict else list(DECLARED)) for _ in range(dice.randrange(1, 7))]
        kinds = [(STRICT[d],) if strict else dice.choice(KINDS) for d in declared]
        db.execute(f'CREATE TABLE {name} ({", ".join(f"c{i} {d}" for i, d in enumerate(declared))}) {"STRICT" if strict else ""}')
        nulls, n = dice.choice((0, 0.2, 0.9, 1)), dice.choice((0, 1, 7, 8, 9, 200))
        rows = [[None if not k or dice.random() < nulls else VALUES[dice.choice(k)](dice) for k in kinds] for _ in range(n)]
        db.executemany(f'INSERT INTO {name} VALUES ({", ".join("?" * len(declared))})', rows)
        db.commit()
        return declared

    def streams(self, seed, n):
        """Of tables by chance; each is what SQLite says of the table."""
        dice = random.Random(seed)
        db = sqlite3.connect(self.path)
        self.addCleanup(db.close)
        streams = []
        for i in range(n):
            with self.subTest(i=i):
                declared = self.table(dice, db, f't{i}')
                # An expression has no declaration; both ways the values are the same.
                names = [(f'c{k}', d) if dice.random() < 0.7 else (f'iif(1, c{k}, 0)', '') for k, d in enumerate(declared)]
                statement = f'SELECT {", ".join(n for n, _ in names)} FROM t{i}'
                rows = db.execute(statement).fetchall()
                streams.append(self.select(statement))
                schema, batches = arrow_stream.read(streams[-1])
                found = [row for batch in batches for row in batch]
                self.assertEqual(len(found), len(rows))
                for k, (_, d) in enumerate(names):
                    values = [row[k] for row in rows]
                    self.assertEqual(schema[k][1], expected_type(DECLARED[d], values), (k, d, values))
                    for a, b in zip(found, values):
                        self.assertTrue(is_shown(a[k], b, schema[k][1]), (a[k], b, schema[k]))
        return streams

    def test_tables_by_chance(self):
        self.streams(13, 60)

    def test_others_read_what_we_do(self):
        python = test_clients.python('pyarrow', 'polars')
        streams = self.streams(14, 60)
        script = '''
import io, json, os, sys
import polars, pyarrow
for name in sorted(os.listdir(sys.argv[1])):
    data = open(os.path.join(sys.argv[1], name), 'rb').read()
    t = pyarrow.ipc.open_stream(data).read_all()
    t.validate(full=True)
    rows = [list(r) for r in zip(*(c.to_pylist() for c in t.columns))]
    p = polars.read_ipc_stream(io.BytesIO(data))
    assert [list(r) for r in p.rows()] == rows, (name, p.rows(), rows)
    print(json.dumps([[str(type(v)) + repr(v) for v in r] for r in rows]))
'''
        folder = os.path.join(self.folder, 'streams')
        os.mkdir(folder)
        for i, data in enumerate(streams):
            with open(os.path.join(folder, f'{i:03}'), 'wb') as file:
                file.write(data)
        done = subprocess.run([python, '-c', script, folder], text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=harness.LIMIT_S, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        for data, line in zip(streams, done.stdout.splitlines(), strict=True):
            _, batches = arrow_stream.read(data)
            self.assertEqual(json.loads(line), [[str(type(v)) + repr(v) for v in row] for batch in batches for row in batch])

    def test_integers_are_shown_as_such_whatever_stands_beside_them(self):
        self.empty()
        rows = "WITH n(v) AS (VALUES (1700000000000000), {}(-9007199254740992), ('x')) SELECT v FROM n"
        for beside, shown in (('', []), ('(2.5), ', ['2.5']), ('(1e300), ', ['1e300'])):
            schema, batches = arrow_stream.read(self.select(rows.format(beside)))
            self.assertEqual(schema, [('v', 'utf8')])
            found = [v.replace('e+', 'e') for batch in batches for v, in batch]
            self.assertEqual(found, ['1700000000000000', *shown, '-9007199254740992', 'x'])

    def test_rows_before_an_error_are_given(self):
        self.empty()
        statement = 'WITH n(v) AS (VALUES (1), (2), (-9223372036854775808)) SELECT abs(v) AS v FROM n'
        done = subprocess.run([harness.WEIR, 'sql', '-d', self.path, '-f', 'arrow', statement], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, env=harness.environment(), timeout=harness.LIMIT_S, check=False)
        self.assertEqual((done.returncode, done.stderr), (1, b'weir sql: integer overflow\n'))
        with self.assertRaises(arrow_stream.Cut):
            arrow_stream.read(done.stdout)
        _, batches = arrow_stream.read(done.stdout + bytes(4))  # the end that it lacks
        self.assertEqual(batches, [[(1,), (2,)]])

    def test_what_is_no_utf8_and_large_values(self):
        db = sqlite3.connect(self.path)
        self.addCleanup(db.close)
        db.execute('CREATE TABLE t (n INTEGER PRIMARY KEY, v TEXT)')
        db.executemany('INSERT INTO t (v) VALUES (?)', [('ä' * size,) for size in (1, 100000, 3000000, 0, 70000)])
        db.commit()
        _, batches = arrow_stream.read(self.select('SELECT v FROM t ORDER BY n'))
        self.assertEqual([v for batch in batches for v, in batch], [v for v, in db.execute('SELECT v FROM t ORDER BY n')])
        self.assertGreater(len(batches), 2)
        _, batches = arrow_stream.read(self.select("SELECT CAST(x'61ff62c3' AS TEXT) AS \"\u00e4\""))
        self.assertEqual(batches, [[('a\ufffdb\ufffd',)]])


if __name__ == '__main__':
    harness.main()
