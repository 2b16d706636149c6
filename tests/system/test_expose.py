# SPDX-License-Identifier: Apache-2.0
"""`expose`: results as gauges in /metrics are those of the newest window, as Python sums up what was posted."""

import collections
import concurrent.futures
import gzip
import http.client
import random
import shutil
import signal
import subprocess
import unittest

import harness

T0 = 1700000000000
CONFIG = '''
server: {listen: {listen}, database: {folder}/weir.db}
streams:
  trades:
    time: {field: ts, unit: ms}
    fields: {symbol: string, venue: int, buy: bool, price: float, pipeline: string}
pipelines:
  by_symbol:
    from: trades
    key: [symbol, buy]
    window: {tumbling: 1500ms}
    idle_timeout: 1h
    analyzers: [count, {stats: {of: price, emit: [mean, max]}}]
    %s
  all:
    from: trades
    window: {hopping: 2s, by: 1s}
    idle_timeout: 1h
    analyzers: [count]
    expose: [count]
'''
EXPOSE = 'expose: [count, price_mean, price_max]'
SYMBOLS = ['A', 'B "q"', 'C\\x', 'D\nd', 'Ü']


def gauges(server):
    """{(pipeline, column, keys): value}, read by our own rules of the text format."""
    found = {}
    for labels, value in server.metrics()['weir_result']:
        labels = {k: v.replace('\\n', '\n').replace('\\"', '"').replace('\\\\', '\\') for k, v in labels.items()}
        key = (labels.pop('pipeline'), labels.pop('column'), tuple(sorted(labels.items())))
        assert key not in found, key
        found[key] = value
    return found


class Expose(unittest.TestCase):
    def post(self, server, first, n):
        """Events of one window, and one behind it; what the window says."""
        events = [{'ts': first + i, 'symbol': SYMBOLS[i % 5], 'buy': i % 3 == 0, 'price': None if i % 5 == 1 else i / 8}
                  for i in range(n)]
        server.post_ok('trades', events)
        expected = {}
        for symbol in SYMBOLS:
            for buy in (False, True):
                of = [e for e in events if (e['symbol'], e['buy']) == (symbol, buy)]
                prices = [e['price'] for e in of if e['price'] is not None]
                keys = (('buy', str(buy).lower()), ('symbol', symbol))
                if of:
                    expected['by_symbol', 'count', keys] = len(of)
                if prices:
                    expected['by_symbol', 'price_mean', keys] = sum(prices) / len(prices)
                    expected['by_symbol', 'price_max', keys] = max(prices)
        return expected

    def of_symbols(self, server):
        return {key: value for key, value in gauges(server).items() if key[0] == 'by_symbol'}

    def test_the_newest_window(self):
        first = T0 // 1500 * 1500
        with harness.Server(CONFIG % EXPOSE) as server:
            self.assertEqual(gauges(server), {})
            expected = self.post(server, first, 30)
            server.post_ok('trades', [{'ts': first + 1500, 'symbol': 'A', 'buy': True, 'price': 2.5}])
            harness.wait_until(lambda: self.of_symbols(server) == expected, 'the first window')
            self.assertEqual(server.metric('weir_result_window_end_timestamp_seconds', pipeline='by_symbol'), (first + 1500) / 1000)
            self.assertEqual(server.metric('weir_result_cut', pipeline='by_symbol'), 0)
            # A key that has nothing in the next one is gone.
            server.post_ok('trades', [{'ts': first + 10000, 'symbol': 'A', 'buy': True, 'price': 0}])
            keys = (('buy', 'true'), ('symbol', 'A'))
            expected = {('by_symbol', 'count', keys): 1, ('by_symbol', 'price_mean', keys): 2.5, ('by_symbol', 'price_max', keys): 2.5}
            harness.wait_until(lambda: self.of_symbols(server) == expected, 'the second window')
            harness.wait_until(lambda: gauges(server).get(('all', 'count', ())) == 1, 'the last window of all')
            program = shutil.which('promtool')
            if program:
                done = subprocess.run([program, 'check', 'metrics'], input=server.get('/metrics').body, stdout=subprocess.PIPE,
                                      stderr=subprocess.STDOUT, check=False)
                self.assertEqual((done.returncode, done.stdout), (0, b''))
            head = server.request('HEAD', '/metrics')
            self.assertEqual((head.status, head.body), (200, b''))
            server.restart()
            self.assertEqual(self.of_symbols(server), expected)

    def test_a_thousand_keys_are_shown_and_many_may_ask(self):
        with harness.Server(CONFIG % 'expose: [count]') as server:
            for first, n in ((T0, 1000), (T0 + 3000, 1001)):
                server.post_ok('trades', [{'ts': first, 'symbol': f'{i:04}', 'buy': True} for i in range(n)] +
                               [{'ts': first + 3000, 'symbol': '~', 'buy': True}])
                harness.wait_until(lambda n=n: self.of_symbols(server) and
                                   server.metric('weir_result_cut', pipeline='by_symbol') == (n > 1000), 'the window')
                self.assertEqual(sorted(dict(key[2])['symbol'] for key in self.of_symbols(server)), [f'{i:04}' for i in range(1000)])
            with concurrent.futures.ThreadPoolExecutor(16) as pool:
                def ask(_):
                    connection = http.client.HTTPConnection('127.0.0.1', server.port, timeout=harness.LIMIT_S)
                    connection.request('GET', '/metrics', headers={'Accept-Encoding': 'gzip'})
                    answer = connection.getresponse()
                    text = gzip.decompress(answer.read()).decode()
                    connection.close()
                    return answer.status, text.count('weir_result{pipeline="by_symbol"')
                self.assertEqual(set(pool.map(ask, range(64))), {(200, 1000)})

    def test_it_comes_and_goes_with_a_reload(self):
        with harness.Server(CONFIG % '') as server:
            first = T0 // 1500 * 1500
            expected = self.post(server, first, 30)
            server.post_ok('trades', [{'ts': first + 10000, 'symbol': 'A', 'buy': True}])
            server.wait_watermark('by_symbol', (first + 10000) * 1000)
            self.assertEqual(self.of_symbols(server), {})
            for text, want in ((EXPOSE, expected), ('', {})):
                with open(server.path, 'w', encoding='utf-8') as file:
                    file.write((CONFIG % text).replace('{folder}', server.folder).replace('{listen}', '127.0.0.1:0'))
                server.process.send_signal(signal.SIGHUP)
                harness.wait_until(lambda w=want: self.of_symbols(server) == w, 'the reload')

    def test_of_windows_by_key_each_has_its_newest(self):
        with harness.Server((CONFIG % EXPOSE).replace('window: {tumbling: 1500ms}', 'window: {count: 3}')) as server:
            dice, rows, expected, ends = random.Random(3), collections.defaultdict(list), {}, {}
            for i in range(400):
                symbol, buy, price = dice.choice(SYMBOLS), dice.random() < 0.5, dice.randrange(1000) / 8
                server_row = {'ts': T0 + 7 * i, 'symbol': symbol, 'buy': buy, 'price': price}
                rows[symbol, buy].append(server_row)
            server.post_ok('trades', sorted(sum(rows.values(), []), key=lambda r: r['ts']))
            for (symbol, buy), of in rows.items():
                last = of[len(of) // 3 * 3 - 3:len(of) // 3 * 3]
                keys = (('buy', str(buy).lower()), ('symbol', symbol))
                prices = [r['price'] for r in last]
                expected['by_symbol', 'count', keys] = 3
                expected['by_symbol', 'price_mean', keys] = sum(prices) / 3
                expected['by_symbol', 'price_max', keys] = max(prices)
                ends[keys] = last[-1]['ts']
            harness.wait_until(lambda: self.of_symbols(server).keys() == expected.keys(), 'windows of all keys')
            harness.wait_until(lambda: len(server.rows('SELECT 1 FROM by_symbol')) == sum(len(of) // 3 for of in rows.values()),
                               'all windows')
            found = self.of_symbols(server)
            for key, value in expected.items():
                self.assertAlmostEqual(found[key], value, 9, key)
            found = {tuple(sorted((k, v.replace('\\n', '\n').replace('\\"', '"').replace('\\\\', '\\')) for k, v in labels.items() if k != 'pipeline')):
                     value for labels, value in server.metrics()['weir_result_window_end_timestamp_seconds']
                     if labels['pipeline'] == 'by_symbol'}
            self.assertEqual(found.keys(), ends.keys())
            for keys, end in ends.items():  # the end lies behind its last row
                self.assertGreaterEqual(found[keys], end / 1000)
                self.assertLess(found[keys], end / 1000 + 0.002)

    def test_what_cannot_be_exposed(self):
        folder = harness.folder_for_test(self)
        path = f'{folder}/weir.yaml'
        for text, complaint in (
                ('expose: [count, price_maen]', "14:21: table 'by_symbol' has no result 'price_maen', did you mean 'price_mean'?"),
                ('expose: [symbol]', "14:14: table 'by_symbol' has no result 'symbol'"),
                ('expose: count', "14:13: expected a list of columns"), ('expose: []', '14:13: a pipeline exposes 1 to 32 columns'),
                ('expose: [count, count]', "14:21: 'count' is there twice")):
            with open(path, 'w', encoding='utf-8') as file:
                file.write((CONFIG % text).replace('{folder}', folder).replace('{listen}', '127.0.0.1:0'))
            self.assertIn(complaint, harness.weir('check', '-c', path).stderr, text)
        for before, after, complaint in (
                ('key: [symbol, buy]', 'key: [pipeline]', "the key 'pipeline' has the name of another label"),
                ('analyzers: [count, {stats: {of: price, emit: [mean, max]}}]', 'analyzers: [{topk: {of: venue}}]',
                 'no analyzer here gives one row a key')):
            with open(path, 'w', encoding='utf-8') as file:
                file.write((CONFIG % 'expose: [count]').replace(before, after).replace('{folder}', folder)
                           .replace('{listen}', '127.0.0.1:0'))
            self.assertIn(complaint, harness.weir('check', '-c', path).stderr, after)


if __name__ == '__main__':
    harness.main()
