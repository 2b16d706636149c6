# SPDX-License-Identifier: Apache-2.0
"""The analyzer `sql`: statements over windows of random rows, against the same statements over a table of these rows;
what it refuses; what statements that want all of the machine cost; crashes and late events."""

import json
import os
import random
import re
import signal
import sqlite3
import unittest

import harness

MS = 1000
T0 = 1700000000000  # ms, a multiple of 10 s
FIELDS = 'symbol: string, name: string, n: int, x: float, ok: bool, at: time'
COLUMNS = ('ts', 'symbol', 'name', 'n', 'x', 'ok', 'at')
TYPES = ('INTEGER', 'TEXT', 'TEXT', 'INTEGER', 'REAL', 'INTEGER', 'INTEGER')
HEAD = '''
server: {listen: {listen}, database: {folder}/weir.db, checkpoint_interval: CHECKPOINT}
streams:
  input: {time: {field: ts, unit: ms}, fields: {FIELDS}}
  other: {time: {field: ts, unit: ms}, fields: {k: string}}
pipelines:
'''.replace('FIELDS', FIELDS)

# Each orders its rows: their rank is compared, too.
STATEMENTS = {
    'groups': 'SELECT symbol, sum(n) AS n, count(*) AS c, avg(x) AS x FROM events GROUP BY symbol',
    'best': 'SELECT symbol, count(n) AS c FROM events GROUP BY symbol ORDER BY c DESC, symbol LIMIT 3',
    'as_they_lie': 'SELECT rowid AS id, ts, symbol, n, x, ok, at FROM events',
    'by_name': 'SELECT name, min(n) AS least, max(x) AS most FROM events GROUP BY name',
    'down': 'SELECT name, n, ts FROM events ORDER BY name DESC, n DESC, ts, rowid',
    'up': 'SELECT x, n, symbol FROM events ORDER BY x, n DESC, rowid',
    'pairs': 'SELECT symbol, ok, count(*) AS c FROM events GROUP BY symbol, ok',
    'no_case': 'SELECT lower(symbol) AS s, count(*) AS c FROM events GROUP BY symbol COLLATE NOCASE ORDER BY s',
    'distinct_names': 'SELECT DISTINCT name FROM events ORDER BY name',
    'distinct_times': 'SELECT DISTINCT ts FROM events ORDER BY ts',
    'one': "SELECT n, x FROM events WHERE symbol = 'b' ORDER BY rowid",
    'some': "SELECT symbol, n FROM events WHERE symbol IN ('a', 'zz', 'b') AND ok = 1 ORDER BY rowid",
    'text_is_number': "SELECT n, symbol FROM events WHERE n = '5' OR x = '-0.5' ORDER BY rowid",
    'number_is_text': 'SELECT name FROM events WHERE name = 7 ORDER BY rowid',
    'float_is_int': 'SELECT n, x FROM events WHERE n = 5.0 ORDER BY rowid',
    'no_such': "SELECT count(*) AS c, sum(n) AS n FROM events WHERE ok = 7 OR symbol = ''",
    'joined': 'SELECT a.rowid AS a, b.rowid AS b FROM events AS a JOIN events AS b ON a.n = b.n AND a.rowid < b.rowid '
              'ORDER BY a.rowid, b.rowid',
    'joined_by_name': 'SELECT a.name, count(*) AS c FROM events AS a, events AS b WHERE a.name = b.name GROUP BY a.name',
    'joined_by_x': 'SELECT a.x, count(*) AS c FROM events AS a LEFT JOIN events AS b ON b.x = a.x GROUP BY a.x',
    'ranked': 'WITH r AS (SELECT symbol, n, row_number() OVER (PARTITION BY symbol ORDER BY n DESC, rowid) AS place '
              'FROM events) SELECT * FROM r WHERE place <= 2 ORDER BY symbol, place',
    'steps': 'SELECT ts, n - lag(n, 1, 0) OVER (ORDER BY rowid) AS step FROM events ORDER BY rowid',
    'lists': 'SELECT symbol, json_group_array(n) AS list, group_concat(symbol, \'\') AS t FROM events GROUP BY symbol',
    'times': "SELECT strftime('%H:%M', ts / 1000000, 'unixepoch') AS minute, count(*) AS c FROM events GROUP BY minute",
    'window_itself': 'SELECT :window_start AS w, :window_end - :window_start AS size, min(ts) - :window_start AS d FROM events',
    'casts': 'SELECT CAST(sum(n) AS REAL) AS r, CAST(max(x) AS INTEGER) AS i, CAST(max(n) AS TEXT) AS t FROM events',
    'recursion': 'WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < (SELECT count(*) FROM events)) '
                 'SELECT max(i) AS m FROM c',
    'compound': "SELECT 'n' AS what, count(n) AS c FROM events UNION ALL SELECT 'x', count(x) FROM events",
}
# That read columns which they do not name, or not where they read them.
UNNAMED = {
    'using': 'SELECT count(*) AS c FROM events AS a JOIN events AS b USING (n)',
    'using_two': 'SELECT a.rowid AS a, b.rowid AS b FROM events AS a JOIN events AS b USING (n, ok) '
                 'WHERE a.rowid < b.rowid ORDER BY 1, 2',
    'using_left': 'SELECT a.rowid AS a, count(b.rowid) AS c FROM events AS a LEFT JOIN events AS b USING (name) '
                  'GROUP BY 1 ORDER BY 1',
    'using_number': 'SELECT a.rowid AS id FROM events AS a JOIN (SELECT 5 AS n) USING (n) ORDER BY 1',
    'using_three': 'SELECT count(*) AS c FROM (events AS a JOIN events AS b USING (symbol, n)) JOIN events AS c USING (x, name)',
    'using_select': 'SELECT count(*) AS c FROM events AS a JOIN (SELECT n + 1 AS n FROM events) USING (n)',
    'using_star': 'SELECT * FROM events AS a JOIN events AS b USING (ts, symbol, name, n, x, ok, at) ORDER BY a.rowid, b.rowid',
    'using_inside': 'SELECT count(*) AS c FROM events AS a WHERE EXISTS '
                    '(SELECT 1 FROM events AS b JOIN events AS c USING (symbol, n) WHERE b.rowid < a.rowid AND c.rowid > a.rowid)',
    'using_scalar': 'SELECT (SELECT count(*) FROM events AS b JOIN events AS c USING (at)) AS c',
    'using_recursion': 'WITH RECURSIVE c(n) AS (SELECT -9 UNION SELECT n + 1 FROM c JOIN events USING (n) WHERE n < 20) '
                       'SELECT max(n) AS m FROM c',
    'natural': 'SELECT count(*) AS c FROM events AS a NATURAL JOIN events AS b',
    'natural_left': 'SELECT count(*) AS c, count(b.rowid) AS d FROM events AS a NATURAL LEFT JOIN events AS b',
    'natural_with': 'WITH w AS (SELECT n, ok FROM events WHERE x < 0) SELECT count(*) AS c FROM w NATURAL JOIN w AS v',
    'natural_cross': 'SELECT count(*) AS c FROM events AS a NATURAL JOIN (SELECT DISTINCT symbol, ok FROM events)',
    'in_table': 'SELECT count(*) AS c FROM events WHERE (ts, symbol, name, n, x, ok, at) IN events',
    'exists_star': 'SELECT count(*) AS c FROM events AS a WHERE EXISTS (SELECT * FROM events AS b WHERE b.n > a.n)',
    'count_star': 'SELECT count(*) AS c FROM events',
    'count_select': 'SELECT count(*) AS c FROM (SELECT * FROM events)',
    'count_distinct': 'SELECT count(*) AS c FROM (SELECT DISTINCT * FROM events)',
    'except_star': 'SELECT count(*) AS c FROM (SELECT * FROM events EXCEPT SELECT * FROM events WHERE ok)',
    'ordinals': 'SELECT symbol, n, count(*) AS c FROM events GROUP BY 1, 2 ORDER BY 1, 2',
    'window_clause': 'SELECT rowid AS id, count(*) OVER w AS c FROM events '
                     'WINDOW w AS (PARTITION BY symbol ORDER BY n, rowid) ORDER BY 1',
    'window_range': 'SELECT rowid AS id, count(*) OVER (ORDER BY ts RANGE BETWEEN 1000000 PRECEDING AND CURRENT ROW) AS c '
                    'FROM events ORDER BY 1',
    'cut_inside': 'SELECT count(*) AS c FROM (SELECT rowid FROM events ORDER BY x, ok LIMIT 7) AS a',
}
if sqlite3.sqlite_version_info >= (3, 39):  # the oldest that has RIGHT and FULL JOIN
    UNNAMED |= {
        'using_full': 'SELECT count(*) AS c, count(a.rowid) AS a, count(b.rowid) AS b '
                      'FROM events AS a FULL JOIN events AS b USING (n)',
        'using_right': 'SELECT a.rowid AS a, b.rowid AS b FROM (SELECT n FROM events WHERE ok) AS c '
                       'RIGHT JOIN events AS b USING (n) LEFT JOIN events AS a USING (at) ORDER BY 1, 2',
        'using_either': 'SELECT n, count(*) AS c FROM events AS a FULL JOIN (SELECT n + 1 AS n FROM events) AS b USING (n) '
                        'GROUP BY 1 ORDER BY 1',
        'natural_full': 'SELECT count(*) AS c FROM events AS a NATURAL FULL JOIN events AS b',
    }
KEYED = {
    'of_key': 'SELECT ok, count(*) AS c, total(x) AS t FROM events GROUP BY ok',
    'all_of_key': 'SELECT rowid AS id, n, name FROM events',
}


def quoted(sql):
    return json.dumps(sql)


def events(n, seed=1):
    dice = random.Random(seed)
    for i in range(n):
        # Without many decimals: sums are exact, whatever adds them up.
        yield {'ts': T0 + 20 * i - dice.choice((0, 0, 40, 3000)), 'symbol': dice.choice(('a', 'b', 'B', 'ab', 'c', None)),
               'name': dice.choice((None, '', '7', 'äöü', 'a longer name', f'a longer name {dice.randrange(5)}')),
               'n': dice.choice((None, dice.randrange(-9, 9), 2 ** 53 + dice.randrange(3))),
               'x': dice.choice((None, dice.randrange(100) / 4 - 9, -0.5, 0.0, -0.0, 1e300)),
               'ok': dice.choice((None, True, False)), 'at': dice.choice((None, T0 * MS + i))}


def expected(rows, sql, keyed=False):
    """{(window_start, key): rows} as SQLite computes them over a table."""
    groups = {}
    for place, row in enumerate(rows):
        if not keyed or row['symbol'] is not None:
            groups.setdefault((row['ts'] // 10000 * 10000 * MS, row['symbol'] if keyed else None), []).append(row)
    found = {}
    for (start, key), these in groups.items():
        db = sqlite3.connect(':memory:')
        db.execute('CREATE TABLE events(' + ', '.join(f'{c} {t}' for c, t in zip(COLUMNS, TYPES)) + ')')
        these.sort(key=lambda row: row['ts'])
        db.executemany(f'INSERT INTO events VALUES ({",".join("?" * len(COLUMNS))})',
                       [[row['ts'] * MS, *(row[c] for c in COLUMNS[1:])] for row in these])
        result = db.execute(sql, {'window_start': start, 'window_end': start + 10 * 10 ** 6}).fetchall()
        if result:
            found[start, key] = result
        db.close()
    return found


def stored(server, table, keyed=False, revised=False):
    key = 'symbol' if keyed else 'NULL'
    skip = 3 + keyed + revised  # that, window_start, the key, rank, revision; window_end stands last in the file
    found = {}
    where = 'WHERE rank > 0' if revised else ''
    for row in server.rows(f'SELECT {key}, * FROM {table} {where} ORDER BY window_start, 1, rank'):
        found.setdefault((row[1], row[0]), []).append(row[skip:-1])
    return found


class Sql(unittest.TestCase):
    maxDiff = 3000

    def server(self, pipelines, checkpoint='1h'):
        self.folder = harness.folder_for_test(self)
        server = harness.Server((HEAD + pipelines).replace('CHECKPOINT', checkpoint), folder=self.folder)
        self.addCleanup(server.kill)
        server.start()
        return server

    def check_file(self, analyzer, more='window: {tumbling: 10s}'):
        folder = harness.folder_for_test(self)
        with open(os.path.join(folder, 'weir.yaml'), 'w', encoding='utf-8') as file:
            file.write(HEAD.replace('{folder}', folder).replace('{listen}', '127.0.0.1:0').replace('CHECKPOINT', '1h') +
                       f'  p:\n    from: input\n    {more}\n    analyzers:\n      - {analyzer}\n')
        return harness.weir('check', '-c', 'weir.yaml', cwd=folder)

    def finish(self, server, names):
        server.post_ok('input', [{'ts': T0 + 10 ** 6}])
        for name in names:
            server.wait_watermark(name, (T0 + 10 ** 6 - 20000) * MS)
            self.assertIsNone(server.get_json(f'/api/v1/pipelines/{name}')['status']['error'])

    def error(self, server, name):
        return server.get_json(f'/api/v1/pipelines/{name}')['status']['error']

    def test_statements_give_what_they_give_over_a_table(self):
        server = self.server(
            '  all: {from: input, window: {tumbling: 10s}, out_of_orderness: 20s, idle_timeout: 1h, analyzers: [\n' +
            ',\n'.join(f'    {{sql: {quoted(sql)}, as: {name}}}' for name, sql in STATEMENTS.items()) + ']}\n' +
            ''.join(f'  keyed_{w}: {{from: input, key: symbol, window: {{tumbling: 10s}}, out_of_orderness: 20s, '
                    f'idle_timeout: 1h, workers: {w}, analyzers: [count, ' +
                    ', '.join(f'{{sql: {quoted(sql)}, as: {name}}}' for name, sql in KEYED.items()) + ']}\n'
                    for w in (1, 2, 7)))
        rows = list(events(1500))
        for at in range(0, len(rows), 400):
            server.post_ok('input', rows[at:at + 400])
        self.finish(server, ['all', 'keyed_1', 'keyed_2', 'keyed_7'])
        for name, sql in STATEMENTS.items():
            with self.subTest(name):
                self.assertEqual(stored(server, f'all_{name}'), expected(rows, sql))
        for name, sql in KEYED.items():
            for w in (1, 2, 7):
                with self.subTest(name, workers=w):
                    self.assertEqual(stored(server, f'keyed_{w}_{name}', True), expected(rows, sql, True))

    def test_columns_that_are_read_without_a_name_are_kept(self):
        """Each statement has a pipeline of its own: nothing else has its columns kept."""
        server = self.server(''.join(
            f'  {name}: {{from: input, window: {{tumbling: 10s}}, out_of_orderness: 20s, idle_timeout: 1h, '
            f'analyzers: [{{sql: {quoted(sql)}, as: all}}]}}\n' for name, sql in UNNAMED.items()))
        rows = list(events(700, 4))
        server.post_ok('input', rows)
        self.finish(server, list(UNNAMED))
        for name, sql in UNNAMED.items():
            with self.subTest(name):
                self.assertEqual(stored(server, f'{name}_all'), expected(rows, sql))

    def test_types_are_those_of_columns_casts_and_a_trial(self):
        types = {'ts': 'time', 'ok': 'bool', 'x': 'float', 'name': 'string', 'n': 'int', 'sum(n)': 'int', 'sum(x)': 'float',
                 'max(name)': 'string', 'n * x': 'float', 'CAST(n AS TEXT)': 'string', 'CAST(1/0 AS REAL)': 'float',
                 "sum(n) FILTER (WHERE symbol = 'x')": None, ':window_start': 'int', 'coalesce(name, symbol)': 'string',
                 'CASE WHEN n > 0 THEN 1 ELSE 0.5 END': 'float', "CASE WHEN n > 0 THEN 1 ELSE 'x' END": None}
        for expression, kind in types.items():
            with self.subTest(expression):
                done = self.check_file('sql: ' + quoted(f"SELECT {expression} AS c FROM events WHERE symbol = 'XY'"))
                if kind is None:
                    self.assertIn("the type of its column 'c' is not known before there are rows: CAST(", done.stderr)
                    continue
                self.assertEqual(done.returncode, 0, done.stderr)
        known = {e: k for e, k in types.items() if k}
        server = self.server('  p: {from: input, window: {tumbling: 10s}, analyzers: [' + ', '.join(
            f'{{sql: {quoted(f"SELECT {e} AS c FROM events")}, as: t{i}}}' for i, e in enumerate(known)) + ']}\n')
        found = [t['columns'][-1]['type'] for t in server.get_json('/api/v1/pipelines/p')['tables']]
        self.assertEqual(found, list(known.values()))

    def test_what_it_cannot_do_is_refused_with_the_reason(self):
        for sql, fault in {
                'SELECT count(*) FROM events': "its column 1 is called 'count(*)': AS gives it a name",
                'SELECT n, N FROM events': "output 'n' stands twice",
                'SELECT nosuch FROM events': 'no such column: nosuch',
                'SELECT n FROM trades': 'no such table: trades',
                'SELECT random() AS r FROM events': 'not authorized to use function: random',
                'SELECT CURRENT_TIMESTAMP AS t': 'not authorized to use function: CURRENT_TIMESTAMP',
                "SELECT date('now') AS d FROM events": "'now' depends on the machine",
                "SELECT load_extension('x') AS n": 'not authorized to use function: load_extension',
                "ATTACH 'x' AS y": 'only SELECT is allowed',
                'PRAGMA table_list': 'only SELECT is allowed',
                'CREATE TABLE x(y)': 'only SELECT is allowed',
                'DELETE FROM events': 'table events may not be modified',
                'SELECT * FROM pragma_table_list': 'only SELECT is allowed',
                'SELECT name FROM sqlite_master': 'access to sqlite_master.name is prohibited',
                'SELECT 1 AS n; SELECT 2': 'one SELECT is expected',
                'EXPLAIN SELECT 1 AS n': 'one SELECT is expected',
                '-- nothing': 'one SELECT is expected',
                'SELECT n FROM events WHERE n > ?1': "there is no '?1'",
                'SELECT n FROM events WHERE n > :least': "there is no ':least'",
                'SELECT symbol = "buy" AS b FROM events': 'no such column: buy',
                'WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) AS n FROM c':
                    'took more than 0.1 s of CPU time (timeout)',
        }.items():
            with self.subTest(sql):
                done = self.check_file(f'sql: {{select: {quoted(sql)}, timeout: 0.1}}')
                self.assertEqual(done.returncode, 78, done.stderr)
                self.assertIn(f"weir.yaml:11:9: analyzer 'sql': ", done.stderr)
                self.assertIn(fault, done.stderr)
        done = self.check_file('sql', 'window: {tumbling: 10s}')
        self.assertIn("analyzer 'sql' needs the parameter 'select'", done.stderr)
        done = self.check_file('sql: "SELECT symbol FROM events"', 'key: symbol\n    window: {tumbling: 10s}')
        self.assertIn("column 'symbol' is in table 'p_sql' already", done.stderr)

    def test_statements_that_want_all_of_the_machine_stop_their_pipeline_only(self):
        endless = 'WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 9e15 * max(0, (SELECT min(n) '\
                  'FROM events) - 5)) '
        kinds = {
            'endless': ('{select: ' + quoted(endless + 'SELECT max(i) AS m FROM c') + ', timeout: 0.2}',
                        'the statement took more than 0.2 s of CPU time (timeout)'),
            'hungry': ('{select: ' + quoted(endless + 'SELECT count(*) AS m FROM (SELECT DISTINCT hex(i) AS h FROM c)') +
                       ', memory: 4, timeout: 60}', 'the statement needs more than 4 MiB in between (memory)'),
            'sorting': ('{select: ' + quoted(endless + "SELECT CAST(max(h) AS TEXT) AS m FROM (SELECT hex(i) AS h FROM c ORDER BY "
                                             "hex(i) || 'x' LIMIT -1 OFFSET 1)") + ', memory: 4, timeout: 60}',
                        'the statement needs more than 4 MiB in between (memory)'),
            'overflow': (quoted('SELECT sum(n + 9223372036854775700) AS m FROM events WHERE n > 90'), 'integer overflow'),
            'too_long': (quoted("SELECT CAST(max(length(replace(hex(zeroblob(n * 100000)), '0', '00'))) AS INTEGER) AS m "
                                "FROM events WHERE n > 90"),
                         'string or blob too big'),
            'other_type': (quoted("SELECT CASE WHEN n > 2000000 THEN 'many' ELSE n END AS m FROM events ORDER BY rowid"),
                           "its column 'm' is an integer, and a row has a text there: CAST in the statement says"),
            'not_text': (quoted("SELECT CASE WHEN n > 2000000 THEN CAST(x'ff' AS TEXT) ELSE 'few' END AS m FROM events"),
                         'is not UTF-8'),
        }
        server = self.server(
            '  good: {from: input, window: {tumbling: 10s}, idle_timeout: 1h, analyzers: [count]}\n' +
            '  cut: {from: input, window: {tumbling: 10s}, idle_timeout: 1h, analyzers: [count, {sql: {select: ' +
            quoted('SELECT a.n AS a, b.n AS b FROM events AS a, events AS b ORDER BY a.rowid, b.rowid') + ', limit: 7}}]}\n' +
            ''.join(f'  {name}: {{from: input, window: {{tumbling: 10s}}, idle_timeout: 1h, analyzers: [{{sql: {sql}}}]}}\n'
                    for name, (sql, _) in kinds.items()))
        rows = [{'ts': T0 + i, 'n': n} for i, n in enumerate((100, 101, 2000001, 102))]
        server.post_ok('input', rows)
        server.post_ok('input', [{'ts': T0 + 10 ** 5, 'n': 1}])
        for name, (_, fault) in kinds.items():
            with self.subTest(name):
                harness.wait_until(lambda: self.error(server, name), f'{name} to stop')
                self.assertIn(f"analyzer 'sql': ", self.error(server, name))
                self.assertIn(fault, self.error(server, name))
        for name in ('good', 'cut'):
            server.wait_watermark(name, (T0 + 10 ** 5) * MS)
            self.assertIsNone(self.error(server, name))
        self.assertEqual(server.rows('SELECT a, b FROM cut_sql'),
                         [(a['n'], b['n']) for a in rows for b in rows][:7])
        self.assertEqual(server.metric('weir_analyzer_skipped_total', pipeline='cut', reason='cut'), 1)
        self.assertEqual(len([line for line in server.log if 'gives more than 7 rows for a window' in line]), 1)

    def test_crashes_and_late_events_leave_the_results_of_all_rows(self):
        """Rows that come late take results away, and bring others."""
        few = 'SELECT symbol, count(*) AS c FROM events GROUP BY symbol HAVING count(*) < 40'
        best = 'SELECT n, x, rowid AS id FROM events WHERE n IS NOT NULL ORDER BY n DESC, rowid LIMIT 4'
        server = self.server(''.join(
            f'  p_{w}: {{from: input, {key}window: {{tumbling: 10s}}, idle_timeout: 1h, workers: {w}, late: revise, '
            f'allowed_lateness: 1h, analyzers: [{{sql: {quoted(few)}, as: few}}, {{sql: {quoted(best)}, as: best}}]}}\n'
            .replace('SELECT symbol,', 'SELECT symbol AS s,') for w, key in ((1, ''), (3, 'key: symbol, '))), '20ms')
        rows, dice, at = list(events(2500, 2)), random.Random(3), 0
        kill_at = [400, 1100, 1900]
        while at < len(rows):
            n = dice.choice((1, 30, 90))
            server.post_ok('input', rows[at:at + n])
            at += n
            if kill_at and at > kill_at[0]:
                kill_at.pop(0)
                harness.wait_until(lambda: server.rows('SELECT count(*) FROM weir_states')[0][0] > 2, 'a checkpoint')
                server.restart()
        self.finish(server, ['p_1', 'p_3'])
        last = (T0 + 10 ** 6) * MS
        for name, sql in (('few', few), ('best', best)):
            for pipeline, keyed in (('p_1', False), ('p_3', True)):
                with self.subTest(name, pipeline=pipeline):
                    found = stored(server, f'{pipeline}_{name}', keyed, True)
                    self.assertEqual({k: v for k, v in found.items() if k[0] < last}, expected(rows, sql, keyed))
        self.assertTrue(server.rows('SELECT 1 FROM p_1_few WHERE revision > 0'))

    def test_the_examples_of_the_manual_page_work(self):
        with open(os.path.join(harness.SOURCE, 'plugins', 'sql', 'weir-sql.7'), encoding='utf-8') as file:
            page = file.read()
        best, pauses = re.findall(r'(?s)\.Bd -literal -offset indent\npipelines:\n(.*?)\.Ed', page)
        streams = ('  trades: {time: {field: ts, unit: ms}, fields: {symbol: string, price: float, qty: int}}\n'
                   '  purchases: {time: {field: ts, unit: ms}, fields: {user: string, amount: float}}\n')
        self.folder = harness.folder_for_test(self)
        server = harness.Server(HEAD.replace('CHECKPOINT', '1h').replace('pipelines:', streams + 'pipelines:') +
                                best + pauses, folder=self.folder)
        self.addCleanup(server.kill)
        server.start()
        server.post_ok('trades', [{'ts': T0 + i, 'symbol': s, 'price': p, 'qty': q} for i, (s, p, q) in enumerate((
            ('A', 10.5, 3), ('B', 2.0, 9), ('C', 1.0, 7), ('D', 5.0, 1), ('A', 11.0, 5), ('B', 1.5, 1)))])
        server.post_ok('purchases', [{'ts': T0 + i * 1000, 'user': u, 'amount': a} for i, (u, a) in enumerate((
            ('ann', 1.5), ('bob', 2.0), ('ann', 4.0), ('ann', 0.5)))])
        server.post_ok('trades', [{'ts': T0 + 10000, 'symbol': 'A'}])
        server.post_ok('purchases', [{'ts': T0 + 86400 * 1000, 'user': 'ann'}])
        server.wait_watermark('best', (T0 + 10000) * MS)
        server.wait_watermark('pauses', (T0 + 86400 * 1000) * MS)
        self.assertEqual(server.rows('SELECT rank, symbol, volume, spread FROM best_sql'),
                         [(1, 'B', 10, 0.5), (2, 'A', 8, 0.5), (3, 'C', 7, 0.0)])
        self.assertEqual(server.rows('SELECT user, rank, ts, amount, since FROM pauses_list'), [
            ('ann', 1, T0 * MS, 1.5, None), ('ann', 2, (T0 + 2000) * MS, 4.0, 2 * 10 ** 6),
            ('ann', 3, (T0 + 3000) * MS, 0.5, 10 ** 6), ('bob', 1, (T0 + 1000) * MS, 2.0, None)])

    def test_the_example_of_the_configuration_works(self):
        with open(os.path.join(harness.SOURCE, 'docs', 'weir.yaml.5'), encoding='utf-8') as file:
            text, = re.findall(r'(?s)by a statement over all rows of the window:\n.Bd [^\n]*\n(.*?)\.Ed', file.read())
        self.folder = harness.folder_for_test(self)
        server = harness.Server('server: {listen: {listen}, database: {folder}/weir.db}\n' + text, folder=self.folder)
        self.addCleanup(server.kill)
        server.start()
        steps = [(0, 1, 'buy', 5.0), (30, 2, 'buy', 1.5), (40, 2, 'buy', 2.0), (90, 1, 'pay', 5.0), (700, 3, 'buy', 4.0)]
        begin = T0 // 60000 * 60
        server.post_ok('steps', [{'ts': begin + s, 'cart': c, 'step': what, 'amount': a} for s, c, what, a in steps] +
                       [{'ts': begin + 3600, 'cart': 9, 'step': 'buy', 'amount': 1.0}])
        server.wait_watermark('unpaid', (begin + 3600) * 10 ** 6)
        expected_rows = []
        for start in range(begin - 540, begin + 720, 60):
            inside = [s for s in steps if start <= begin + s[0] < start + 600]
            paid = {c for _, c, what, _ in inside if what == 'pay'}
            for cart in sorted({c for _, c, what, _ in inside if what == 'buy'} - paid):
                expected_rows.append((start * 10 ** 6, cart, sum(a for _, c, what, a in inside
                                                                 if c == cart and what == 'buy')))
        self.assertEqual(server.rows('SELECT window_start, cart, amount FROM unpaid_sql WHERE cart < 9'), expected_rows)

    def test_a_statement_can_change_between_two_starts(self):
        """Rows that were kept go on, as long as the statement reads the same columns, whatever else the stream gets."""
        pipeline = '  p: {from: input, window: {tumbling: 10s}, idle_timeout: 1h, analyzers: [{sql: {select: SQL}}]}\n'
        server = self.server(pipeline.replace('SQL', quoted('SELECT sum(n) AS s FROM events')), '10ms')
        server.post_ok('input', [{'ts': T0, 'n': 3}, {'ts': T0 + 1, 'n': 4}])
        server.stop()
        with open(server.path, encoding='utf-8') as file:
            text = file.read()
        with open(server.path, 'w', encoding='utf-8') as file:
            file.write(text.replace('sum(n)', '10 * sum(n)').replace('n: int,', 'n: int, more: int,')
                       .replace('at: time}', 'at: time}, derive: {twice: 2 * n}'))
        server.start()
        server.post_ok('input', [{'ts': T0 + 2, 'n': 5}])
        self.finish(server, ['p'])
        self.assertEqual(server.rows('SELECT s FROM p_sql'), [(120,)])


if __name__ == '__main__':
    harness.main()
