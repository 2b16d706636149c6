# SPDX-License-Identifier: Apache-2.0
"""Records that were rejected are kept, and can be read, posted again, and deleted."""

import csv
import gzip
import io
import json
import os
import re
import unittest

import harness

CONFIG = '''
server: {listen: {listen}, database: {folder}/weir.db, sql_timeout: 10m, dead_letters: 500}
streams:
  ticks: {time: {field: ts, unit: ms}, fields: {k: string, v: int}}
  pages: {time: {field: ts, unit: ms}, fields: {k: string, v: int}}
  rows: {time: {field: ts, unit: ms}, fields: {k: string, v: int}}
  bytes: {time: {field: ts, unit: ms}, fields: {k: string, v: int}}
  flood: {time: {field: ts, unit: ms}, fields: {k: string, v: int}}
  empty: {time: {field: ts, unit: ms}, fields: {k: string, v: int}}
  twice: {time: {field: ts, unit: ms}, fields: {k: string, v: int}}
pipelines:
  ticks_1s: {from: ticks, window: {tumbling: 1s}, analyzers: [count]}
'''
GOOD = '{"ts":1700000000000,"k":"a","v":1}'


class DeadLetters(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = harness.Server.for_class(cls, CONFIG)

    def url(self, stream, arguments=''):
        return f'/api/v1/streams/{stream}/dead-letters{arguments}'

    def letters(self, stream, n, arguments='?limit=10000'):
        """All of them, newest first, once there are n."""
        self.server.wait_metric('weir_dead_letters_total', n, stream=stream)
        return self.server.get_json(self.url(stream, arguments))

    def test_rejected_lines_are_kept_as_they_came(self):
        bad = ['{"ts":1700000000000,"v":"x"}', '{"v":1}', 'línea {', '[1, "\\u00e4"]']
        body = '\n'.join([GOOD, bad[0], GOOD, bad[1], bad[2], GOOD, bad[3]])
        answer = json.loads(self.server.post('ticks', body, Weir_Source='north').body)
        self.assertEqual((answer['accepted'], answer['rejected']), (3, 4))
        found = self.letters('ticks', 4)
        self.assertEqual([d['record'] for d in found], bad[::-1])
        self.assertEqual([d['number'] for d in found], [4, 3, 2, 1])
        self.assertEqual([{key: d[key] for key in ('line', 'column', 'reason', 'message')}
                          for d in found[::-1]],
                         [{'line': e['line'], 'column': e.get('column', 0), 'reason': e['reason'],
                           'message': e['message']} for e in answer['errors']])
        for letter in found:
            self.assertEqual(letter['source'], 'north')
            self.assertEqual((letter['escaped'], letter['truncated']), (False, False))
            self.assertRegex(letter['received'], r'^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z$')
        sql = 'SELECT number, record FROM weir_dead_letters WHERE stream = \'ticks\' ORDER BY number'
        said = self.server.request('POST', '/api/v1/sql', sql, {'Content-Type': 'text/plain'})
        self.assertEqual(json.loads(said.body)['rows'], [[i + 1, b] for i, b in enumerate(bad)])

    def test_pages_and_formats(self):
        for i in range(25):
            self.server.post('pages', f'{{"n":{i}, "x": "a, \\"b\\""}}')
        whole = self.letters('pages', 25)
        self.assertEqual([json.loads(d['record'])['n'] for d in whole], list(range(24, -1, -1)))
        found, url = [], self.url('pages', '?limit=10&format=ndjson')
        sizes = []
        while url:
            answer = self.server.get(url)
            self.assertEqual(answer.headers['Content-Type'], 'application/x-ndjson')
            page = [json.loads(line) for line in answer.body.splitlines()]
            sizes.append(len(page))
            found += page
            link = re.fullmatch('<(.*)>; rel="next"', answer.headers.get('Link', ''))
            url = link and link[1]
            self.assertEqual(bool(link), 'Weir-Next-Cursor' in answer.headers)
        self.assertEqual(sizes, [10, 10, 5])
        self.assertEqual(found, whole)
        self.assertNotIn('Link', self.server.get(self.url('pages', '?limit=25')).headers)
        text = self.server.get(self.url('pages'), Accept='text/csv').body.decode()
        rows = list(csv.DictReader(io.StringIO(text, newline='')))
        self.assertEqual([r['record'] for r in rows], [d['record'] for d in whole])
        stored = self.server.rows("SELECT received / 1000 FROM weir_dead_letters WHERE stream = 'pages' ORDER BY number DESC")
        self.assertEqual([(r['received'],) for r in json.loads(self.server.get(self.url('pages', '?times=ms')).body)], stored)
        self.assertEqual(self.server.get(self.url('pages', '?times=ns')).status, 400)

    def test_rows_of_csv_and_long_records(self):
        long = '1,"' + 'é' * 3000 + '",x'
        self.server.post('rows', f'ts,k,v\r\n1,"a\r\nb",x\r\n{long}\r\n1,2\r\n', 'text/csv')
        few, cut, lines = self.letters('rows', 3)
        self.assertEqual((few['record'], few['reason'], few['line']), ('1,2', 'fields', 5))
        self.assertEqual((lines['record'], lines['line']), ('1,"a\r\nb",x', 2))
        self.assertEqual(cut['truncated'], True)
        self.assertEqual(cut['record'], long.encode()[:4096].decode(errors='ignore'))

    def test_bytes_that_are_no_text(self):
        raw = b'{"k": "\\u0041 \xff\xfe \x00 \xc3\xa4"}'
        self.server.post('bytes', raw)
        letter, = self.letters('bytes', 1)
        self.assertTrue(letter['escaped'])
        # as the manual says: \xNN is a byte, \\ a backslash
        again = re.sub(rb'\\(x(..)|\\)', lambda m: bytes.fromhex(m[2].decode()) if m[2] else b'\\',
                       letter['record'].encode())
        self.assertEqual(again, raw)

    def test_table_is_bounded(self):
        for i in range(30):
            self.server.post('flood', ''.join(f'[{i * 40 + k}]\n' for k in range(40)))
        found = self.letters('flood', 1200)
        self.assertEqual([json.loads(d['record'])[0] for d in found], list(range(1199, 699, -1)))
        self.assertEqual(self.server.rows("SELECT count(*) FROM weir_dead_letters WHERE stream = 'flood'"),
                         [(500,)])

    def test_delete_empties_one_stream(self):
        self.server.post('empty', '{]\n{]\n')
        self.server.post('twice', '{]\n')
        self.letters('empty', 2)
        self.letters('twice', 1)
        answer = self.server.request('DELETE', self.url('empty'))
        self.assertEqual((answer.status, answer.body), (204, b''))
        self.assertEqual(self.server.get_json(self.url('empty')), [])
        self.assertEqual(len(self.server.get_json(self.url('twice'))), 1)
        self.server.post('empty', '{]\n')
        letter, = self.letters('empty', 3)
        self.assertEqual(letter['number'], 3)

    def test_faults_are_told(self):
        for url, status, code in [(self.url('nobody'), 404, 'unknown_stream'),
                                  (self.url('ticks', '?limit=0'), 400, 'bad_parameter'),
                                  (self.url('ticks', '?limit=10001'), 400, 'bad_parameter'),
                                  (self.url('ticks', '?cursor=x'), 400, 'bad_parameter'),
                                  (self.url('ticks', '?format=xml'), 400, 'bad_parameter'),
                                  (self.url('ticks', '?to=now'), 400, 'bad_parameter')]:
            answer = self.server.get(url)
            self.assertEqual((answer.status, json.loads(answer.body)['code']), (status, code), url)
        self.assertEqual(self.server.get(self.url('ticks'), Accept='image/png').status, 406)
        self.assertEqual(self.server.request('DELETE', self.url('nobody')).status, 404)
        self.assertEqual(self.server.request('DELETE', self.url('ticks', '?x=1')).status, 400)
        answer = self.server.request('PUT', self.url('ticks'), '')
        self.assertEqual(answer.status, 405)


class Run(unittest.TestCase):
    def test_weir_run_keeps_them_too(self):
        folder = harness.folder_for_test(self)
        path = os.path.join(folder, 'weir.yaml')
        database = os.path.join(folder, 'weir.db')
        with open(path, 'w', encoding='ascii') as file:
            file.write(CONFIG.replace('{folder}', folder).replace('{listen}', '127.0.0.1:0'))
        events = os.path.join(folder, 'events.ndjson.gz')
        with gzip.open(events, 'wt') as file:
            file.write(f'{GOOD}\n{{"v":1}}\n{GOOD}\n{{"ts":')
        done = harness.weir('run', '-q', '-c', path, '--stream', 'ticks', events)
        self.assertEqual(done.returncode, 65, done.stderr)
        self.assertEqual(harness.read_rows(database, 'SELECT stream, number, source, line, reason, record '
                                                     'FROM weir_dead_letters ORDER BY number'),
                         [('ticks', 1, events, 2, 'no_time', '{"v":1}'),
                          ('ticks', 2, events, 4, 'syntax', '{"ts":')])

    def test_none_are_kept_when_it_is_off(self):
        folder = harness.folder_for_test(self)
        with harness.Server(CONFIG.replace('dead_letters: 500', 'dead_letters: 0'), folder) as server:
            server.post('ticks', '{]\n')
            self.assertEqual(server.metric('weir_rejected_total', stream='ticks', reason='syntax'), 1)
        self.assertEqual(harness.read_rows(os.path.join(folder, 'weir.db'),
                                           'SELECT count(*) FROM weir_dead_letters'), [(0,)])


if __name__ == '__main__':
    harness.main()
