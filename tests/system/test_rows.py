# SPDX-License-Identifier: Apache-2.0
"""What a row is: derived columns, `where` of an analyzer, fields by path, lists, lenient values."""

import collections
import http.client
import json
import random
import signal
import sqlite3
import threading
import unittest

import harness

T0 = 1700000000000
TRADES = '''
server: {listen: {listen}, database: {folder}/weir.db, commit_interval: 5ms, checkpoint_interval: 30ms}
streams:
  trades:
    time: {field: ts, unit: ms}
    fields: {symbol: string, price: float, qty: int, side: string}
    derive:
      notional: price * qty
      buy: side = 'buy'
      tag: "lower(symbol) || '/' || side"       # SQLite's own functions
      signed: CASE WHEN buy THEN notional ELSE -notional END
      each: qty / (qty - 3)                     # null where qty is 3
pipelines:
  flow: {from: trades, key: [tag, buy], where: notional > 20, window: {tumbling: 10s}, out_of_orderness: 1h,
         idle_timeout: 1h, workers: 2,
         analyzers: [count, {sum: {of: signed}}, {stats: {of: each, emit: [count, min, max]}}]}
  own: {from: trades, derive: {large: notional >= 500, half: {expr: price / 2, type: float}, name: 'CASE WHEN large THEN tag END'},
        key: [large], window: {tumbling: 10s}, out_of_orderness: 1h, idle_timeout: 1h, workers: 3,
        analyzers: [count, {stats: {of: half, emit: [sum]}}, {topk: {of: name, k: 3}}]}
'''
WITH_DERIVED = '''
WITH a AS (SELECT *, price * qty AS notional, side = 'buy' AS buy, lower(symbol) || '/' || side AS tag FROM trades),
     e AS (SELECT *, CASE WHEN buy THEN notional ELSE -notional END AS signed, qty / (qty - 3) AS each,
           notional >= 500 AS large FROM a)
'''


def trades(seed, n):
    """Prices are multiples of 1/4, so that sums are exact in any order; some values are missing."""
    dice = random.Random(seed)
    for i in range(n):
        event = {'ts': T0 + i * 40, 'symbol': dice.choice(['AA', 'Bb', 'cc']), 'price': dice.randrange(400) / 4,
                 'qty': dice.randrange(12), 'side': dice.choice(['buy', 'sell'])}
        for name in ('symbol', 'price', 'qty', 'side'):
            if dice.random() < 0.05:
                event[name] = None
        yield event


def by_sqlite(events, sql):
    db = sqlite3.connect(':memory:')
    db.execute('CREATE TABLE trades(ts INTEGER, symbol TEXT, price REAL, qty INTEGER, side TEXT)')
    db.executemany('INSERT INTO trades VALUES (:ts, :symbol, :price, :qty, :side)', events)
    rows = db.execute(sql).fetchall()
    db.close()
    return rows


def post_in_parts(server, stream, events, size):
    for i in range(0, len(events), size):
        server.post_ok(stream, events[i:i + size])


END = {'ts': T0 + 2 * 3600 * 1000 + 60000, 'symbol': 'end'}  # closes the windows before it


class Derived(unittest.TestCase):
    def compare(self, server, events):
        end = (T0 + 4000 * 40) * 1000
        for pipeline in ('flow', 'own'):
            server.wait_watermark(pipeline, end)
        flow = f'SELECT window_start, tag, buy, count, signed_sum, each_count, each_min, each_max FROM flow WHERE window_end <= {end} ORDER BY 1, 2, 3'
        expected = by_sqlite(events, WITH_DERIVED + f'''
            SELECT ts / 10000 * 10000000, tag, buy, count(*), coalesce(sum(signed), 0), count(each), min(each), max(each) FROM e
            WHERE notional > 20 AND tag IS NOT NULL AND buy IS NOT NULL GROUP BY 1, 2, 3
            HAVING ts / 10000 * 10000000 + 10000000 <= {end} ORDER BY 1, 2, 3''')
        self.assertGreater(len(expected), 50)
        self.assertEqual(server.rows(flow), expected)
        own = f'SELECT window_start, large, count, half_sum FROM own WHERE window_end <= {end} ORDER BY 1, 2'
        expected = by_sqlite(events, WITH_DERIVED + f'''
            SELECT ts / 10000 * 10000000, large, count(*), sum(price / 2) FROM e WHERE large IS NOT NULL GROUP BY 1, 2
            HAVING ts / 10000 * 10000000 + 10000000 <= {end} ORDER BY 1, 2''')
        self.assertEqual(server.rows(own), expected)

    def test_derived_columns_are_keys_conditions_and_inputs(self):
        events = list(trades(1, 4000))
        with harness.Server(TRADES) as server:
            post_in_parts(server, 'trades', events + [END], 700)
            self.compare(server, events)
            fields = server.get_json('/api/v1/streams')[0]['derive']
            self.assertEqual(fields[0], {'name': 'notional', 'type': 'float', 'expr': 'price * qty'})

    def test_a_killed_server_derives_the_same_again(self):
        events = list(trades(2, 4000))
        server = harness.Server(TRADES)
        self.addCleanup(server.remove_folder)
        self.addCleanup(server.kill)
        server.start()
        for i in range(4):
            post_in_parts(server, 'trades', events[i * 1000:(i + 1) * 1000], 90)
            server.restart()
        server.post_ok('trades', [END])
        self.compare(server, events)

    def test_a_value_that_does_not_fit_is_null_and_counted(self):
        config = '''
server: {listen: {listen}, database: {folder}/weir.db, commit_interval: 5ms}
streams:
  s: {time: {field: ts, unit: ms}, fields: {n: int}, derive: {more: n + 1, k: {expr: n / 2.0, type: int}}}
pipelines:
  p: {from: s, derive: {twice: n * 2}, window: {tumbling: 1s}, analyzers: [count, {stats: {of: more, emit: [count]}},
      {stats: {of: k, emit: [count, max]}}, {stats: {of: twice, emit: [count]}}]}
'''
        with harness.Server(config) as server:
            server.post_ok('s', [{'ts': T0, 'n': 2**63 - 1}, {'ts': T0, 'n': 7}, {'ts': T0, 'n': 8}, {'ts': T0 + 5000, 'n': 0}])
            server.wait_watermark('p', (T0 + 1000) * 1000)
            # 2**63-1 + 1 is no whole number any more; 7 / 2.0 is none; half of 2**63-1 is, as a double, 2**62
            self.assertEqual(server.rows('SELECT count, more_count, k_count, k_max, twice_count FROM p'),
                             [(3, 2, 2, 2**62, 2)])
            server.wait_metric('weir_log_derive_errors_total', 2, stream='s')
            server.wait_metric('weir_pipeline_derive_errors_total', 1, pipeline='p')


NESTED = '''
server: {listen: {listen}, database: {folder}/weir.db, commit_interval: 5ms}
streams:
  posts:
    time: {field: ts, path: meta.ts, unit: ms}
    fields:
      user: {path: user.id, type: string}
      city: {path: user.home.city, type: string, default: nowhere}
      second: {path: "codes[1]", type: int}
      tag: {path: "tags[*]", type: string, each: true}
      level: {name: "@log.level", type: string}
      likes: {type: int, default: 3}
    derive: {k1: "coalesce(user, '~')", k2: "coalesce(tag, '~')", k3: "coalesce(level, '~')", k4: "coalesce(second, -1)"}
pipelines:
  p: {from: posts, key: [k1, k2, k3, k4, city, likes], window: {tumbling: 1h}, out_of_orderness: 1d, idle_timeout: 1h, analyzers: [count]}
'''


def nested_posts(dice, n):
    """Records of all forms, and the rows that each of them is; None: it is wrong."""
    def maybe(value, *others):
        return value if dice.random() < 0.7 else dice.choice([None, *others])

    for _ in range(n):
        record, rows = {'meta': {'x': [{}], 'ts': T0 + dice.randrange(1000)}}, 1
        user = maybe({'id': maybe('u' + chr(dice.randrange(97, 102)) + '\u00e9', 7), 'home': maybe({'city': maybe('Ulm', 'K\u00f6ln')}, {}, 5)}, {}, 'x')
        if dice.random() < 0.9:
            record['user'] = user
        if dice.random() < 0.8:
            record['codes'] = maybe([dice.randrange(9) for _ in range(dice.randrange(4))], [], {}, [1, 'x'])
        if dice.random() < 0.95:
            record['tags'] = maybe([maybe(dice.choice('abc'), 'a"b', 4) for _ in range(dice.randrange(4))], [], 'a')
        if dice.random() < 0.7:
            record['@log.level'] = maybe('warn', 'info', 3)
        if dice.random() < 0.7:
            record['likes'] = maybe(dice.randrange(3), 'x')
        record['other'] = dice.choice([{'id': 'no', 'tags': ['no']}, [1, {'id': 2}], None])
        keys = list(record)
        dice.shuffle(keys)
        record = {k: record[k] for k in keys}
        yield json.dumps(record, ensure_ascii=dice.random() < 0.5, separators=dice.choice([(',', ':'), (', ', ': ')])), rows_of(record)


def rows_of(record):
    def within(value, kind):
        if value is not None and not isinstance(value, kind):
            raise TypeError
        return value

    def of(value, kind):
        if value is not None and type(value) is not kind:
            raise TypeError
        return value

    try:
        user = within(record.get('user'), dict) or {}
        home = within(user.get('home'), dict) or {}
        codes = within(record.get('codes'), list) or []
        tags = within(record.get('tags'), list) or []
        base = (of(user.get('id'), str), of(record.get('@log.level'), str), of(codes[1], int) if len(codes) > 1 else None,
                of(home.get('city'), str), of(record.get('likes'), int))
        return [(base[0] or '~', '~' if of(tag, str) is None else tag, base[1] or '~', -1 if base[2] is None else base[2],
                 base[3] or 'nowhere', 3 if base[4] is None else base[4]) for tag in tags]
    except TypeError:
        return None


class Nested(unittest.TestCase):
    def test_fields_by_path_are_what_python_finds(self):
        posts = list(nested_posts(random.Random(5), 4000))
        expected = collections.Counter(row for _, rows in posts for row in rows or [])
        wrong = sum(rows is None for _, rows in posts)
        self.assertGreater(len(expected), 200)
        for content_type in ('application/x-ndjson', 'application/json'):
            with harness.Server(NESTED) as server:
                for i in range(0, len(posts), 500):
                    lines = [line for line, _ in posts[i:i + 500]]
                    body = '\n'.join(lines) if 'nd' in content_type else '[' + ',\n'.join(lines) + ']'
                    server.post('posts', body, content_type)
                server.post_ok('posts', [{'meta': {'ts': T0 + 3 * 86400000}, 'tags': ['end']}])
                server.wait_watermark('p', (T0 + 3600000) * 1000)
                rows = server.rows(f'SELECT k1, k2, k3, k4, city, likes, sum(count) FROM p WHERE window_start < {T0 + 3600000}000 GROUP BY 1, 2, 3, 4, 5, 6')
                self.assertEqual({row[:-1]: row[-1] for row in rows}, dict(expected))
                self.assertEqual(server.get_json('/api/v1/streams')[0]['rejected'], wrong)

    def test_strings_are_numbers_and_times_where_the_stream_is_lenient(self):
        config = '''
server: {listen: {listen}, database: {folder}/weir.db, commit_interval: 5ms}
streams:
  lenient: {time: {field: timestamp, name: "@timestamp"}, lenient: [numbers, times], fields: {price: float, n: int}}
  strict: {time: {field: timestamp, name: "@timestamp"}, fields: {price: float, n: int}}
pipelines:
  p: {from: lenient, window: {tumbling: 1m}, analyzers: [count, {sum: {of: n}}, {stats: {of: price, emit: [max]}}]}
'''
        body = [{'@timestamp': '2026-01-02T03:04', 'price': '1.25', 'n': '-4'},
                {'@timestamp': '2026-01-02T04:04:30+0100', 'price': 1, 'n': 5},
                {'@timestamp': '2026-01-02T05:00+02', 'n': 5}]
        with harness.Server(config) as server:
            server.post_ok('lenient', body[:2])
            self.assertEqual(json.loads(server.post('lenient', [{'@timestamp': '2026-01-02T03:05', 'n': 'x'}]).body)['errors'][0]['column'], 41)
            server.post_ok('lenient', [{'@timestamp': '2026-01-02T05:30+02'}])
            begin = 1767323040000000  # 2026-01-02T03:04:00Z
            server.wait_watermark('p', begin + 60000000)
            self.assertEqual(server.rows(f'SELECT count, n_sum, price_max FROM p WHERE window_start = {begin}'), [(2, 1, 1.25)])
            refused = server.post('strict', body)
            self.assertEqual((refused.status, [e['line'] for e in json.loads(refused.body)['errors']]), (422, [1, 2, 3]))


def widening(fields, derive='', more='', analyzers='count, {sum: {of: n}}'):
    return f'''
server: {{listen: {{listen}}, database: {{folder}}/weir.db, commit_interval: 5ms, checkpoint_interval: 20ms}}
streams:
  s: {{time: {{field: ts, unit: ms}}, fields: {{k: string, n: int{fields}}}{derive}}}
pipelines:
  p: {{from: s, key: [k], window: {{tumbling: 1h}}, out_of_orderness: 1d, idle_timeout: 1h, workers: 2, analyzers: [{analyzers}]}}
{more}'''


class Widened(unittest.TestCase):
    """Fields and derived columns are added while events flow."""

    def reload(self, server, config, expect='was read again'):
        config = config.replace('{folder}', server.folder).replace('{listen}', '127.0.0.1:0')
        with open(server.path, 'w', encoding='utf-8') as file:
            file.write(config)
        before = len(server.log)
        server.process.send_signal(signal.SIGHUP)
        harness.wait_until(lambda: any('SIGHUP' in line and 'the configuration ' in line for line in server.log[before:]),
                           'the verdict')
        self.assertIn(expect, ''.join(server.log[before:]))

    def start(self):
        server = harness.Server(widening(''))
        self.addCleanup(server.remove_folder)
        self.addCleanup(server.kill)
        server.start()
        return server

    def finish(self, server, *pipelines):
        server.post_ok('s', [{'ts': T0 + 3 * 86400000, 'k': 'end'}])
        for pipeline in pipelines:
            server.wait_watermark(pipeline, (T0 + 3600000) * 1000)

    def test_events_flow_while_fields_are_added(self):
        server = self.start()
        sent = collections.Counter()
        stop = threading.Event()

        def send(name):
            connection = http.client.HTTPConnection('127.0.0.1', server.port, timeout=harness.LIMIT_S)
            while not stop.is_set():
                body = ''.join(json.dumps({'ts': T0 + i, 'k': name, 'n': i, 'extra': 2, 'u': {'id': 'x'}}) + '\n' for i in range(20))
                connection.request('POST', '/api/v1/streams/s/events', body, {'Content-Type': 'application/x-ndjson'})
                answer = connection.getresponse()
                answer.read()
                sent[name] += 20 * (answer.status == 200)
            connection.close()

        senders = [threading.Thread(target=send, args=(name,)) for name in 'abc']
        for sender in senders:
            sender.start()
        q = "  q: {from: s, key: [k], window: {tumbling: 1h}, out_of_orderness: 1d, idle_timeout: 1h, analyzers: [count, {stats: {of: twice, emit: [count, sum]}}, {topk: {of: id, k: 1}}]}\n"
        for config in (widening(', extra: int'),
                       widening(', extra: int', ', derive: {twice: extra * 2}'),
                       widening(', extra: int, id: {type: string, path: u.id}', ', derive: {more: n + 1, twice: extra * 2}', q)):
            self.reload(server, config)
            so_far = sum(sent.values())
            harness.wait_until(lambda n=so_far: sum(sent.values()) > n + 200, 'more events')
        stop.set()
        for sender in senders:
            sender.join()
        before = {name: n for name, n in sent.items()}
        server.post_ok('s', [{'ts': T0, 'k': 'z', 'n': 1, 'extra': 5, 'u': {'id': 'y'}}, {'ts': T0, 'k': 'z', 'n': 1}])
        server.restart()  # the journal has rows of all four forms
        self.finish(server, 'p', 'q')
        window = T0 // 3600000 * 3600000 * 1000
        self.assertEqual(dict(server.rows(f"SELECT k, count FROM p WHERE window_start = {window} AND k <> 'z'")), before)
        self.assertEqual(dict(server.rows(f"SELECT k, n_sum FROM p WHERE window_start = {window} AND k <> 'z'")),
                         {name: n // 20 * 190 for name, n in before.items()})
        self.assertEqual(server.rows(f"SELECT count, twice_count, twice_sum FROM q WHERE window_start = {window} AND k = 'z'"), [(2, 1, 10)])
        self.assertEqual(server.rows("SELECT id FROM q_topk WHERE k = 'z'"), [('y',)])

    def test_rows_of_before_have_nulls_in_new_columns(self):
        server = self.start()
        server.post_ok('s', [{'ts': T0, 'k': 'a', 'n': i, 'extra': 1} for i in range(10)])
        with_extra = widening(', extra: int', ', derive: {more: n + 1, known: extra IS NOT NULL}',
                              analyzers='count, {sum: {of: n}}, {count: {where: known, as: new}}')
        self.reload(server, with_extra)  # another definition: p begins anew behind the ten
        server.post_ok('s', [{'ts': T0, 'k': 'a', 'n': i, 'extra': 1} for i in range(5)])
        server.restart()
        self.finish(server, 'p')
        self.assertEqual(server.rows("SELECT count, n_sum, new FROM p WHERE k = 'a'"), [(5, 10, 5)])
        fields = [f['name'] for f in server.get_json('/api/v1/streams')[0]['fields']]
        self.assertEqual(fields, ['k', 'n', 'extra'])

    def test_other_changes_of_a_stream_take_a_restart(self):
        server = self.start()
        for config, why in ((widening('').replace('k: string', 'k: int'), 'fields are only added'),
                            (widening('').replace('{k: string, n: int}', '{k: string}').replace(', {sum: {of: n}}', ''), 'fields are only added'),
                            (widening('').replace('k: string, n: int', 'n: int, k: string'), 'fields are only added'),
                            (widening('').replace('unit: ms', 'unit: us'), 'than before (time)'),
                            (widening('').replace('fields:', 'ack: memory, fields:'), 'than before (ack)')):
            self.reload(server, config, why)
        self.reload(server, widening(', x: int'))
        fields = [f['name'] for f in server.get_json('/api/v1/streams')[0]['fields']]
        self.assertEqual(fields, ['k', 'n', 'x'])


class Where(unittest.TestCase):
    """`where` of an analyzer: SQL has FILTER for it."""

    CONFIG = '''
server: {listen: {listen}, database: {folder}/weir.db, commit_interval: 5ms, checkpoint_interval: 30ms}
streams:
  trades: {time: {field: ts, unit: ms}, fields: {symbol: string, price: float, qty: int, side: string}, derive: {value: price * qty}}
pipelines:
  p:
    from: trades
    where: qty <> 7
    key: [symbol]
    window: {tumbling: 10s}
    out_of_orderness: 1h
    idle_timeout: 1h
    workers: 2
    analyzers:
      - count
      - count: {where: side = 'buy', as: buys}
      - count: {where: side = 'sell'}
        as: sells
      - sum: {of: value, where: side = 'buy'}
        as: bought
      - stats: {of: price, emit: [min, max], where: value > 300 AND side LIKE 's%', as: large}
      - topk: {of: side, k: 2, where: price > 50}
      - count: {where: abs(CASE qty WHEN 3 THEN -9223372036854775807 - 1 ELSE 1 END) = 1, as: sound}
'''

    def test_analyzers_get_the_rows_of_their_condition(self):
        events = list(trades(3, 4000))
        server = harness.Server(self.CONFIG)
        self.addCleanup(server.remove_folder)
        self.addCleanup(server.kill)
        server.start()
        post_in_parts(server, 'trades', events[:2100], 333)
        server.restart()
        post_in_parts(server, 'trades', events[2100:] + [END], 333)
        end = (T0 + 4000 * 40) * 1000
        server.wait_watermark('p', end)
        expected = by_sqlite(events, f'''
            SELECT ts / 10000 * 10000000, symbol, count(*), count(*) FILTER (WHERE side = 'buy'), count(*) FILTER (WHERE side = 'sell'),
                   sum(price * qty) FILTER (WHERE side = 'buy'), min(price) FILTER (WHERE price * qty > 300 AND side LIKE 's%'),
                   max(price) FILTER (WHERE price * qty > 300 AND side LIKE 's%'), count(*) FILTER (WHERE qty IS NOT 3)
            FROM trades WHERE qty <> 7 AND symbol IS NOT NULL GROUP BY 1, 2
            HAVING ts / 10000 * 10000000 + 10000000 <= {end} ORDER BY 1, 2''')
        self.assertEqual(server.rows(
            f'SELECT window_start, symbol, count, buys, sells, bought, large_price_min, large_price_max, sound FROM p WHERE window_end <= {end} ORDER BY 1, 2'),
            expected)
        expected = by_sqlite(events, f'''
            SELECT ts / 10000 * 10000000 AS w, symbol, side, count(*) FROM trades
            WHERE qty <> 7 AND symbol IS NOT NULL AND price > 50 AND side IS NOT NULL GROUP BY 1, 2, 3
            HAVING w + 10000000 <= {end} ORDER BY 1, 2, 3''')
        self.assertEqual(server.rows(
            f'SELECT window_start, symbol, side, side_count FROM p_topk WHERE window_end <= {end} ORDER BY 1, 2, 3'), expected)
        self.assertGreater(server.metric('weir_analyzer_skipped_total', analyzer='count', place='7', reason='where_error'), 0)


if __name__ == '__main__':
    harness.main()
