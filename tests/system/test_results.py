# SPDX-License-Identifier: Apache-2.0
"""Reading results: filters, pages, formats and SQL agree with the table in the file."""

import csv
import datetime
import io
import json
import math
import os
import random
import re
import subprocess
import unittest
import urllib.parse

import harness

T0 = 1700000000000
CONFIG = '''
server: {listen: {listen}, database: {folder}/weir.db, sql_timeout: 10m}
streams:
  input: {time: {field: ts, unit: ms}, fields: {city: string, n: int, x: float, tag: string}}
pipelines:
  cities:
    from: input
    key: [city, n]
    window: {tumbling: 1s}
    idle_timeout: 1h
    analyzers:
      - count
      - stats: {of: x, emit: [sum, max]}
      - {topk: {of: tag, k: 2}, run: process}
'''
CITIES = ['Bern', 'Zürich', 'São Paulo', 'O"Fallon', "L'Aquila", 'a,b', 'x&y=z', '東京']
COLUMNS = ['window_start', 'window_end', 'city', 'n', 'count', 'x_sum', 'x_max']


def rfc3339(us):
    when = datetime.datetime.fromtimestamp(us // 1000000, datetime.timezone.utc)
    fraction = us % 1000000
    return when.strftime('%Y-%m-%dT%H:%M:%S') + (f'.{fraction:06d}' if fraction else '') + 'Z'


class Results(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = harness.Server.for_class(cls, CONFIG)
        dice = random.Random(2)
        events = [{'ts': T0 + i * 10, 'city': dice.choice(CITIES), 'n': dice.randrange(3),
                   'tag': dice.choice('abcde'), 'x': dice.choice([None, dice.random(), 1e-7, 1e22])} for i in range(3000)]
        cls.server.post_ok('input', events + [{'ts': T0 + 60000, 'city': '~', 'n': 0}])
        cls.server.wait_watermark('cities', (T0 + 60000) * 1000)
        columns = ', '.join(COLUMNS).replace('window_end', 'window_start + 1000000')
        cls.table = [dict(zip(COLUMNS, row)) for row in cls.server.rows(
            f'SELECT {columns} FROM cities ORDER BY window_start, city, n')]
        for row in cls.table:
            row.update({c: rfc3339(row[c]) for c in COLUMNS[:2]})

    def results(self, table='', **query):
        path = '/api/v1/pipelines/cities/results' + (f'/{table}' if table else '')
        return self.server.get(path + '?' + urllib.parse.urlencode(query))

    def ndjson(self, table='', **query):
        answer = self.results(table, format='ndjson', limit=10000, **query)
        self.assertEqual(answer.status, 200, answer.body)
        return [json.loads(line) for line in answer.body.decode().splitlines()]

    def plain(self, rows):
        return [{c: row[c] for c in COLUMNS} for row in rows]

    def test_all_rows_in_the_order_of_the_primary_key(self):
        self.assertGreater(len(self.table), 500)
        self.assertEqual(self.plain(self.ndjson()), self.table)

    def test_json_ndjson_and_csv_say_the_same(self):
        whole = json.loads(self.results(format='json', limit=10000).body)
        rows = whole if isinstance(whole, list) else whole['rows']
        self.assertEqual(self.plain(rows), self.table)
        text = self.results(format='csv', limit=10000).body.decode()
        found = [{**row, 'n': int(row['n']), 'count': int(row['count']),
                  'x_sum': float(row['x_sum']) if row['x_sum'] else None,
                  'x_max': float(row['x_max']) if row['x_max'] else None}
                 for row in csv.DictReader(io.StringIO(text, newline=''))]
        self.assertEqual(self.plain(found), self.table)

    def test_accept_header_chooses_the_format(self):
        for kind in ('application/json', 'application/x-ndjson', 'text/csv'):
            answer = self.server.get('/api/v1/pipelines/cities/results?limit=3', Accept=kind)
            self.assertEqual(answer.headers['Content-Type'].split(';')[0], kind)
            self.assertIn('Accept', answer.headers.get_all('Vary'))  # for caches
        for path in ('/api/v1/sql?q=SELECT+1', '/api/v1/streams/input/dead-letters'):
            self.assertIn('Accept', self.server.get(path).headers.get_all('Vary'))
        self.assertNotIn('Accept', self.server.get('/api/v1/pipelines/cities/results?format=csv').headers.get_all('Vary'))

    def test_key_columns_filter_by_name(self):
        for city in CITIES:
            self.assertEqual(self.plain(self.ndjson(city=city)),
                             [r for r in self.table if r['city'] == city])
        self.assertEqual(self.plain(self.ndjson(city='Bern', n=1)),
                         [r for r in self.table if (r['city'], r['n']) == ('Bern', 1)])
        self.assertEqual(self.ndjson(city="' OR 1=1 --"), [])

    def test_from_and_to_cut_by_window_start(self):
        start, end = rfc3339((T0 + 5000) * 1000), rfc3339((T0 + 9000) * 1000)
        expected = [r for r in self.table if start <= r['window_start'] < end]
        self.assertEqual(len({r['window_start'] for r in expected}), 4)
        found = self.server.get('/api/v1/pipelines/cities/results?format=ndjson&limit=10000&'
                                f'from={start}&to={end}').body.decode().splitlines()
        self.assertEqual(self.plain(map(json.loads, found)), expected)
        self.assertEqual(self.ndjson(**{'from': '-15m'}), [])
        # Nanoseconds; microseconds; milliseconds, as Grafana's ${__from}; seconds.
        for unit in (1000000, 1000, 1, 1 / 1000):
            query = {'from': int((T0 + 5000) * unit), 'to': int((T0 + 9000) * unit)}
            self.assertEqual(self.plain(self.ndjson(**query)), expected, query)

    def test_columns_are_chosen_and_ordered(self):
        found = self.ndjson(columns='x_sum,city')
        self.assertEqual([list(row.items()) for row in found],
                         [[('x_sum', r['x_sum']), ('city', r['city'])] for r in self.table])

    def test_descending_order(self):
        self.assertEqual(self.plain(self.ndjson(order='desc')), self.table[::-1])

    def check_pages(self, **query):
        rows, cursor, pages = [], None, 0
        while True:
            more = {'cursor': cursor} if cursor else {}
            answer = self.results(format='json', limit=97, **query, **more)
            self.assertEqual(answer.status, 200, answer.body)
            whole = json.loads(answer.body)
            rows += whole if isinstance(whole, list) else whole['rows']
            pages += 1
            cursor = (answer.headers['Weir-Next-Cursor'] if isinstance(whole, list)
                      else whole.get('next_cursor'))
            if not cursor:
                return rows, pages
            self.assertLess(pages, 100)

    def test_pages_by_cursor_are_the_whole_table(self):
        rows, pages = self.check_pages()
        self.assertEqual(self.plain(rows), self.table)
        self.assertGreaterEqual(pages, math.ceil(len(self.table) / 97))
        rows, _ = self.check_pages(order='desc')
        self.assertEqual(self.plain(rows), self.table[::-1])
        rows, _ = self.check_pages(city='Zürich')
        self.assertEqual(self.plain(rows), [r for r in self.table if r['city'] == 'Zürich'])

    def test_table_of_an_analyzer_with_many_rows(self):
        found = self.ndjson('cities_topk')
        expected = self.server.rows('SELECT window_start, city, n, rank FROM cities_topk '
                                    'ORDER BY 1, 2, 3, 4')
        self.assertEqual([(r['window_start'], r['n'], r['rank']) for r in found],
                         [(rfc3339(r[0]), r[2], r[3]) for r in expected])

    def test_wrong_questions_are_refused(self):
        for query in ({'limit': 'many'}, {'limit': -1}, {'from': 'yesterday'}, {'order': 'up'},
                      {'columns': 'nothing'}, {'cursor': 'forged'}, {'format': 'xml'}, {'nothing': 1},
                      {'n': 'one'}):
            with self.subTest(query=query):
                answer = self.results(**query)
                self.assertEqual(answer.status, 400, answer.body)
                self.assertEqual(answer.headers['Content-Type'], 'application/problem+json')
        self.assertEqual(self.server.get('/api/v1/pipelines/nothing/results').status, 404)
        self.assertEqual(self.results('nothing').status, 404)

    # ---- SQL -------------------------------------------------------------------------------------

    def sql(self, statement, form='ndjson', **more):
        body = json.dumps({'sql': statement, **more})
        return self.server.request('POST', f'/api/v1/sql?format={form}', body.encode(),
                                   {'Content-Type': 'application/json'})

    def test_sql_gives_what_sqlite_gives(self):
        statement = ('SELECT city, sum(count) AS events, max(x_max) AS most, NULL AS empty FROM cities '
                     'GROUP BY city ORDER BY city')
        expected = self.server.rows(statement)
        answer = self.sql(statement)
        self.assertEqual(answer.status, 200, answer.body)
        found = [tuple(json.loads(line).values()) for line in answer.body.decode().splitlines()]
        self.assertEqual(found, expected)

    def test_sql_by_get_and_as_plain_text(self):
        statement = 'SELECT count(*) AS n FROM cities'
        expected = len(self.table)
        query = urllib.parse.urlencode({'sql': statement})
        for answer in (self.server.get('/api/v1/sql?format=ndjson&' + query),
                       self.server.request('POST', '/api/v1/sql?format=ndjson', statement.encode(),
                                           {'Content-Type': 'text/plain'})):
            self.assertEqual(answer.status, 200, answer.body)
            self.assertEqual(json.loads(answer.body), {'n': expected})

    def test_sql_with_named_parameters(self):
        answer = self.sql('SELECT sum(count) AS n FROM cities WHERE city = :city AND n >= :least',
                          params={'city': '東京', 'least': 1})
        self.assertEqual(answer.status, 200, answer.body)
        self.assertEqual(json.loads(answer.body)['n'], sum(
            r['count'] for r in self.table if r['city'] == '東京' and r['n'] >= 1))

    def test_sql_may_use_json_and_table_valued_functions(self):
        answer = self.sql("SELECT key, value FROM json_each('{\"a\":1,\"b\":\"two\"}')")
        self.assertEqual(answer.status, 200, answer.body)
        self.assertEqual([json.loads(line) for line in answer.body.splitlines()],
                         [{'key': 'a', 'value': 1}, {'key': 'b', 'value': 'two'}])
        answer = self.sql("SELECT name FROM pragma_table_info('cities')")
        stored = [c for c in COLUMNS if c != 'window_end']  # table_info leaves out what is computed
        self.assertEqual([json.loads(line)['name'] for line in answer.body.splitlines()], stored)

    def test_sql_prints_doubles_exactly_and_infinities_as_null(self):
        answer = self.sql('SELECT 0.1 AS a, 1e300 AS b, 9e999 AS c, 5e-324 AS d, 9007199254740993 AS e, '
                          '-0.1 AS f, 123456789.12345678 AS g')
        self.assertEqual(json.loads(answer.body), {
            'a': 0.1, 'b': 1e300, 'c': None, 'd': 5e-324, 'e': 9007199254740993, 'f': -0.1,
            'g': 123456789.12345678})

    def test_command_line_sql_agrees(self):
        done = harness.weir('sql', '-c', self.server.path, '--format', 'ndjson',
                            'SELECT count(*) AS n, sum(count) AS events FROM cities',
                            cwd=self.server.folder)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(json.loads(done.stdout), {'n': len(self.table), 'events': 3000})
        done = harness.weir('sql', '-c', self.server.path, 'DELETE FROM cities',
                            cwd=self.server.folder)
        self.assertNotEqual(done.returncode, 0)

    def test_command_line_sql_reads_standard_input(self):
        for statement, status in (('SELECT 1 AS n', 0), ('SELECT 1' + ' ' * 65536, 1)):
            done = harness.weir('sql', '-c', self.server.path, '--format', 'csv', '-', stdin=statement,
                                cwd=self.server.folder)
            self.assertEqual(done.returncode, status, done.stderr)
            self.assertEqual(done.stdout.split(), ['n', '1'] if status == 0 else [])
        folder = os.open(self.server.folder, os.O_RDONLY)
        self.addCleanup(os.close, folder)
        done = subprocess.run([harness.WEIR, 'sql', '-d', self.server.database, '-'], stdin=folder,
                              stderr=subprocess.PIPE, text=True, check=False)
        self.assertEqual(done.returncode, 74)
        self.assertIn('directory', done.stderr)

    def test_no_name_comes_twice_in_an_object(self):
        """Readers of JSON keep one of the values, silently."""
        def pairs(text):
            names = []
            json.loads(text, object_pairs_hook=lambda found: names.extend(name for name, _ in found))
            return names
        answer = self.sql('SELECT 1 AS a, 2 AS a_2, 3 AS a, 4 AS b, 5 AS a')
        self.assertEqual(pairs(answer.body), ['a', 'a_2', 'a_3', 'b', 'a_4'])
        self.assertEqual(list(json.loads(answer.body).values()), [1, 2, 3, 4, 5])
        for form in ('json', 'ndjson'):
            answer = self.results(columns='count,count', limit=1, format=form)
            self.assertEqual(pairs(answer.body), ['count', 'count_2'])
        answer = self.sql('SELECT 1 AS a, 2 AS a', 'json')
        self.assertEqual(json.loads(answer.body)['columns'], ['a', 'a'])

    def table_of(self, statement):
        done = harness.weir('sql', '-c', self.server.path, statement, cwd=self.server.folder)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_tables_of_the_command_line_are_as_wide_as_what_is_in_them(self):
        self.assertEqual(self.table_of("SELECT 'Zürich' AS city, 7 AS n, 'x' AS z UNION ALL SELECT 'Rom', 12345, NULL"),
                         'city    n      z\n'
                         'Zürich  7      x\n'
                         'Rom     12345  \n')
        self.assertEqual(self.table_of('SELECT 1 AS n WHERE 0'), 'n\n')
        long = 'y' * 100
        self.assertEqual(self.table_of(f"SELECT '{long}' AS a, 1 AS b UNION ALL SELECT 'z', 2"),
                         f'a  b\n{long}  1\nz  2\n')

    def test_tables_of_the_command_line_may_be_long(self):
        """Columns are measured by the first rows; later ones follow at once."""
        text = self.table_of('WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 20000) '
                             "SELECT n, 'a' AS a FROM c")
        lines = text.splitlines()
        self.assertEqual(lines[0], 'n    a')
        wrong = [line for n, line in enumerate(lines[1:], 1) if line != f'{n:<3}  a']
        self.assertEqual((len(lines), wrong[:3]), (20001, []))

    # ---- The rest --------------------------------------------------------------------------------

    def test_description_of_the_api_can_be_read_by_generators(self):
        """Arrays say what is in them, references lead somewhere, names of operations are unique."""
        document = json.loads(self.server.get('/openapi.json').body)
        seen = []

        def walk(node, place):
            if isinstance(node, list):
                for i, item in enumerate(node):
                    walk(item, f'{place}/{i}')
            elif isinstance(node, dict):
                types = node.get('type')
                if types == 'array' or isinstance(types, list) and 'array' in types:
                    self.assertIn('items', node, place)
                if '$ref' in node:
                    at = document
                    for name in node['$ref'].removeprefix('#/').split('/'):
                        at = at[name]
                if 'responses' in node and 'operationId' in node:
                    seen.append(node['operationId'])
                for name, item in node.items():
                    walk(item, f'{place}/{name}')
        walk(document, '')
        self.assertGreater(len(seen), 10)
        self.assertEqual(len(seen), len(set(seen)))

    def test_streams_pipelines_and_plugins_are_listed(self):
        self.assertIn('"input"', self.server.get('/api/v1/streams').body.decode())
        self.assertIn('"cities"', self.server.get('/api/v1/pipelines').body.decode())
        plugins = self.server.get('/api/v1/plugins').body.decode()
        for name in ('anomaly', 'change', 'collect', 'count', 'covariance', 'delta', 'distinct', 'drawdown', 'entropy', 'ewma',
                     'first', 'funnel', 'gap', 'histogram', 'holt_winters', 'imbalance', 'last', 'mad', 'mode',
                     'moments', 'ohlc', 'path', 'quantiles', 'rate', 'retention', 'sample', 'sessions', 'sql',
                     'stats', 'sum', 'threshold', 'time_weighted', 'topk', 'trending', 'twap', 'volatility', 'vwap'):
            self.assertIn(f'"{name}"', plugins)
            self.assertIn(name, harness.weir('plugins').stdout)
        self.assertEqual(self.server.get('/live').status, 200)
        version = harness.weir('version').stdout.split()[-1]
        self.assertIn(version, self.server.get('/version').body.decode())

    def test_metrics_have_help_and_type_and_no_duplicates(self):
        seen, names = set(), set()
        for line in self.server.get('/metrics').body.decode().splitlines():
            if line.startswith('# TYPE '):
                name = line.split()[2]
                self.assertNotIn(name, names)
                names.add(name)
            elif not line.startswith('#'):
                sample = line.rsplit(' ', 1)[0]
                self.assertNotIn(sample, seen)
                seen.add(sample)
                self.assertIn(re.sub('(_duration_seconds)_(bucket|sum|count)$', r'\1', sample.split('{')[0]), names)
                self.assertTrue(sample.startswith('weir_') or sample.startswith('process_'), sample)
        self.assertEqual(self.server.metric('weir_events_total', stream='input'), 3001)
        with open(os.path.join(harness.SOURCE, 'docs', 'weir-api.7'), encoding='ascii') as file:
            page = file.read()
        section = page[page.index('.Sh METRICS'):page.index('.Sh EXAMPLES')]
        of_others = ('weir_webhook_', 'weir_lookup', 'weir_pipeline_table_', 'weir_result', 'weir_source_', 'weir_worker_')  # there is none here
        documented = set(re.findall(r'\b(?:weir|process)_\w+', section))
        self.assertEqual({n for n in documented if not n.startswith(of_others)}, names)

    def test_every_status_that_is_answered_is_counted(self):
        self.assertEqual(self.server.get('/api/v1/streams', Origin='http://elsewhere').status, 403)
        self.assertEqual(self.server.get('/api/v1/sql?q=SELECT+1', Accept='image/png').status, 406)
        self.assertEqual(self.server.request('POST', '/api/v1/backup').status, 201)
        for status in (201, 403, 406):
            self.assertEqual(self.server.metric('weir_http_requests_total', status=str(status)), 1)

    def test_table_has_its_types_and_key(self):
        sql, = self.server.rows("SELECT sql FROM sqlite_schema WHERE name = 'cities'")[0]
        self.assertRegex(sql, r'STRICT')
        self.assertRegex(sql, r'WITHOUT ROWID')
        found = self.server.rows("SELECT name, type, pk FROM pragma_table_info('cities')")
        self.assertEqual(found, [('window_start', 'INTEGER', 1), ('city', 'TEXT', 2), ('n', 'INTEGER', 3),
                                 ('count', 'INTEGER', 0), ('x_sum', 'REAL', 0), ('x_max', 'REAL', 0)])


if __name__ == '__main__':
    harness.main()
