# SPDX-License-Identifier: Apache-2.0
"""Joins with tables of the database: each row has what the sqlite3 library finds in the same table, as it was when it was read,
also once more after kill -9."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import unittest

import harness

S = 1000000
T0 = 1700000000 * S
HEAD = '''
server: {listen: {listen}, database: {folder}/weir.db, commit_interval: 5ms, checkpoint_interval: 20ms, linger: 1ms}
streams:
  orders: {time: {field: ts, unit: us}, fields: {id: int, product: int, cur: string, gift: bool, n: int}}
  quotes: {time: {field: ts, unit: us}, fields: {sym: string, bid: float}}
pipelines:
'''
JOIN = '''{products: {table: products, on: {product: id, gift: is_gift},
      columns: {name: string, price: float, stock: int, sold: {column: is sold, type: bool}}},
    rates: {table: rates, on: {cur: currency}, time: {field: since, unit: ms}, within: 1h, lead: 1m, columns: {rate: float}},
    names: {table: cur_names, on: {cur: code}, time: since, columns: {long: {column: name, type: string}}}}'''
CONFIG = HEAD + f'''
  rows: {{from: orders, window: none, select: [id, name, price, stock, sold, rate, long, value], join: {JOIN},
    derive: {{value: n * price * rate}}}}
''' + ''.join(f'''
  by_name_{w}: {{from: orders, key: [name], window: {{tumbling: 1h}}, workers: {w}, join: {JOIN}, where: rate IS NOT NULL,
    analyzers: [count, {{stats: {{of: rate, emit: [min, max]}}}}]}}
''' for w in (1, 2, 7))
TABLES = '''
CREATE TABLE products (name TEXT, "is sold" BOOLEAN, id INTEGER, is_gift INT, price DECIMAL(10, 2), stock BIGINT,
    PRIMARY KEY (id, is_gift)) WITHOUT ROWID;
CREATE TABLE rates (currency TEXT COLLATE NOCASE, since INTEGER, rate REAL);
CREATE TABLE all_names (code VARCHAR(3), since TEXT, name TEXT, more BLOB);
CREATE VIEW cur_names AS SELECT code, since, name FROM all_names;
'''


def fill(path, seed):
    dice = random.Random(seed)
    db = sqlite3.connect(path)
    db.executescript(TABLES)
    for i in range(300):
        for gift in (0, 1) if dice.random() < 0.7 else (0,):
            db.execute('INSERT INTO products VALUES (?, ?, ?, ?, ?, ?)',
                       (dice.choice((None, f'n{i % 9}ü', '')), dice.choice((None, 0, 1)), i, gift,
                        dice.choice((None, i, i / 8)), dice.choice((None, -2 ** 63, 2 ** 63 - 1, i))))
    rates = [(f'c{dice.randrange(9)}', (T0 + dice.randrange(-5000, 5000) * S) // 1000, dice.randrange(1000) / 8)
             for _ in range(500)]
    db.executemany('INSERT INTO rates VALUES (?, ?, ?)', {r[:2]: r for r in rates}.values())
    db.execute('INSERT INTO rates VALUES (NULL, 5, 6)')
    db.execute("INSERT INTO rates VALUES ('c1', NULL, 6)")
    db.executemany('INSERT INTO all_names VALUES (?, ?, ?, NULL)',
                   [('c1', '1900-01-01', 'old one'), ('c1', '2023-11-14 22:13:20', 'new one'),  # which is T0
                    ('c2', '2023-11-15T00:13:21+02:00', 'two, 1 s later'), ('C3', '1900-01-01', 'another one')])
    db.commit()
    db.close()


def orders_of(seed, n):
    dice = random.Random(seed)
    events = [{'ts': T0 + dice.randrange(-6000, 6000) * S, 'id': i, 'product': dice.randrange(350),
               'cur': f'c{dice.randrange(11)}', 'gift': dice.random() < 0.5, 'n': dice.randrange(9)} for i in range(n)]
    for event in events:
        if dice.random() < 0.05:
            event[dice.choice(('product', 'cur', 'gift'))] = None
        if dice.random() < 0.05:
            event['ts'] = T0 + dice.choice((0, S, -1, S - 1))
    return sorted(events, key=lambda e: e['ts'])


def expected(path, events):
    """By SQLite, over the same table."""
    db = sqlite3.connect(path)
    db.execute('CREATE TEMP TABLE o (id, ts, product, cur, gift, n)')
    db.executemany('INSERT INTO o VALUES (:id, :ts, :product, :cur, :gift, :n)', events)
    rows = db.execute('''
WITH r AS (SELECT o.id, CASE WHEN before.rowid IS NOT NULL THEN before.rate ELSE behind.rate END AS rate FROM o
  LEFT JOIN rates before ON before.rowid = (SELECT rowid FROM rates i WHERE i.currency = o.cur COLLATE BINARY
    AND i.since * 1000 BETWEEN o.ts - 3600000000 AND o.ts ORDER BY i.since DESC LIMIT 1)
  LEFT JOIN rates behind ON behind.rowid = (SELECT rowid FROM rates i WHERE i.currency = o.cur COLLATE BINARY
    AND i.since * 1000 BETWEEN o.ts + 1 AND o.ts + 60000000 ORDER BY i.since LIMIT 1))
SELECT o.id, p.name, p.price, p.stock, p."is sold", r.rate,
  (SELECT name FROM all_names i WHERE code = o.cur AND unixepoch(since) * 1000000 <= o.ts
     ORDER BY unixepoch(since) DESC LIMIT 1), o.n * p.price * r.rate
  FROM o JOIN r USING (id) LEFT JOIN products p ON p.id = o.product AND p.is_gift = o.gift ORDER BY o.id''').fetchall()
    db.close()
    return rows


def change(path, *statements):
    db = sqlite3.connect(path, timeout=harness.LIMIT_S)
    with db:
        for statement in statements:
            db.execute(statement)
    db.close()


class Lookup(unittest.TestCase):
    def check(self, path, events, rows):
        found = harness.read_rows(path, 'SELECT id, name, price, stock, sold, rate, long, value FROM rows ORDER BY id')
        self.assertEqual(len(found), len(rows))
        for one, other in zip(found, rows):
            self.assertEqual(one, other)
        by_name = {}
        for event, row in zip(sorted(events, key=lambda e: e['id']), rows):
            if row[1] is not None and row[5] is not None:
                by_name.setdefault((event['ts'] // (3600 * S) * 3600 * S, row[1]), []).append(row[5])
        by_name = sorted((*k, len(v), min(v), max(v)) for k, v in by_name.items())
        for w in (1, 2, 7):
            self.assertEqual(harness.read_rows(path, f'SELECT window_start, name, count, rate_min, rate_max FROM by_name_{w}'
                                               ' ORDER BY 1, 2'), by_name)

    def test_each_row_has_what_sqlite_finds(self):
        folder = harness.folder_for_test(self)
        path = os.path.join(folder, 'weir.db')
        fill(path, 1)
        events = orders_of(2, 5000)
        rows = expected(path, events)
        with open(os.path.join(folder, 'weir.yaml'), 'w', encoding='utf-8') as file:
            file.write(CONFIG.replace('{folder}', folder).replace('{listen}', '127.0.0.1:0'))
        with open(os.path.join(folder, 'orders.ndjson'), 'w', encoding='utf-8') as file:
            file.writelines(json.dumps(event) + '\n' for event in events)
        done = harness.weir('run', '-q', '-c', 'weir.yaml', '-s', 'orders=orders.ndjson', cwd=folder)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.check(path, events, rows)
        self.assertGreater(sum(row[6] == 'two, 1 s later' for row in rows), 10)
        self.assertGreater(sum(row[1] is None for row in rows), 10)

    def test_killed_and_copied(self):
        """In a server, in pieces, with kill -9: windows of an hour, so that there is always something to read again."""
        folder = harness.folder_for_test(self)
        fill(os.path.join(folder, 'weir.db'), 3)
        events = orders_of(4, 3000)
        with harness.Server(CONFIG, folder=folder) as server:
            rows = expected(server.database, events)
            for i in range(0, len(events), 150):
                server.post_ok('orders', events[i:i + 150])
                if i % 600 == 450:
                    server.restart()
            server.post_ok('orders', [{'ts': T0 + 10 * 3600 * S, 'id': 10 ** 6}])
            for w in (1, 2, 7):
                server.wait_watermark(f'by_name_{w}', T0 + 10 * 3600 * S)
            harness.wait_until(lambda: server.rows('SELECT 1 FROM rows WHERE id = 1000000'), 'the last row')
            status = server.get_json('/api/v1/pipelines/rows')['joined_tables']
            self.assertEqual([(t['name'], t['table'], t['wrong_values']) for t in status],
                             [('products', 'products', 0), ('rates', 'rates', 0), ('names', 'cur_names', 0)])
            n = server.rows('SELECT count(*) FROM products')[0][0]
            self.assertEqual(status[0]['rows'], n)
            self.assertEqual(server.metric('weir_pipeline_table_rows', pipeline='rows', join='products'), n)
            self.assertGreater(server.metric('weir_pipeline_table_missing_total', pipeline='rows', join='rates'), 0)
            server.stop()
            change(server.database, 'DELETE FROM rows WHERE id = 1000000')
            self.check(server.database, events, rows)
            done = harness.weir('check', '--database', server.database)
            self.assertEqual(done.returncode, 0, done.stderr + done.stdout)
            self.assertIn('rows.products', done.stdout + done.stderr)


class Changes(unittest.TestCase):
    """When a table that has changed is read again."""
    CONFIG = HEAD + '''
  seen: {from: orders, window: none, select: [id, version], join: {t: {table: t, on: {product: id}, columns: {version: int}}}}
  hours: {from: orders, window: {tumbling: 1h}, key: [version], join: {t: {table: t, on: {product: id},
    columns: {version: int}}}, analyzers: [count]}
  other: {from: orders, window: {tumbling: 1h}, analyzers: [count]}
'''

    def setUp(self):
        self.folder = harness.folder_for_test(self)
        change(os.path.join(self.folder, 'weir.db'), 'CREATE TABLE t (id INTEGER PRIMARY KEY, version INTEGER)',
               'INSERT INTO t VALUES (1, 1)')

    def set_version(self, server, version):
        change(server.database, f'UPDATE t SET version = {version}')

    def reload(self, server, said='the configuration was read again'):
        before = ''.join(server.log).count(said)
        server.process.send_signal(signal.SIGHUP)
        harness.wait_until(lambda: ''.join(server.log).count(said) > before, said)

    def post(self, server, event):
        server.post_ok('orders', [{'ts': T0 + event, 'id': event, 'product': 1}])
        harness.wait_until(lambda: server.rows('SELECT 1 FROM seen WHERE id = ?', event), f'row {event}')

    def versions(self, server):
        return [version for _, version in server.rows('SELECT id, version FROM seen ORDER BY id')]

    def test_at_a_reload_and_at_a_start_with_nothing_to_read_again(self):
        config = self.CONFIG.replace('checkpoint_interval: 20ms', 'checkpoint_interval: 1h')
        with harness.Server(config, folder=self.folder) as server:
            self.post(server, 0)
            self.set_version(server, 2)
            self.post(server, 1)  # as before
            server.restart()
            self.post(server, 2)  # two rows were read again, in open windows: still as before
            self.reload(server, "'hours' is exchanged")
            self.assertNotIn("'other' is exchanged", ''.join(server.log))
            self.post(server, 3)
            self.reload(server)
            self.assertEqual(''.join(server.log).count("'seen' is exchanged"), 1)
            server.restart()  # the new one was stored with the checkpoint of the reload
            self.post(server, 4)
            self.set_version(server, 3)
            server.stop()
            server.start()
            self.post(server, 5)
            server.restart()
            self.post(server, 6)
            self.assertEqual(self.versions(server), [1, 1, 1, 2, 2, 3, 3])
            server.post_ok('orders', [{'ts': T0 + 7200 * S, 'id': 9}])
            server.wait_watermark('hours', T0 + 7200 * S)
            self.assertEqual(server.rows('SELECT version, count FROM hours ORDER BY 1'), [(1, 3), (2, 2), (3, 2)])

    def test_what_was_seen_stays_whatever_happens(self):
        """The table changes all the time, with reloads, stops and kills: a row in the file never becomes another one, and
        all rows of one version stand together."""
        dice = random.Random(7)
        with harness.Server(self.CONFIG, folder=self.folder) as server:
            seen, version, event = {}, 1, 0
            for _ in range(14):
                for _ in range(dice.randrange(1, 40)):
                    server.post_ok('orders', [{'ts': T0 + event, 'id': event, 'product': 1}])
                    event += 1
                    if dice.random() < 0.1:
                        version += 1
                        self.set_version(server, version)
                what = dice.choice(('kill', 'kill', 'reload', 'stop'))
                seen.update(server.rows('SELECT id, version FROM seen'))
                if what == 'kill':
                    server.restart()
                elif what == 'reload':
                    self.reload(server)
                else:
                    server.stop()
                    server.start()
                now = dict(server.rows('SELECT id, version FROM seen'))
                self.assertEqual({k: now.get(k) for k in seen}, seen)
            self.post(server, event)
            all_versions = self.versions(server)
            self.assertEqual(len(all_versions), event + 1)
            self.assertEqual(all_versions, sorted(all_versions))
            self.assertGreater(len(set(all_versions)), 3)
            server.post_ok('orders', [{'ts': T0 + 7200 * S, 'id': 10 ** 6, 'product': 1}])
            server.wait_watermark('hours', T0 + 7200 * S)
            counted = {v: all_versions.count(v) for v in set(all_versions)}
            self.assertEqual(dict(server.rows('SELECT version, count FROM hours')), counted)

    def test_a_table_that_cannot_be_read_leaves_all_as_it_is(self):
        with harness.Server(self.CONFIG, folder=self.folder) as server:
            self.post(server, 0)
            change(server.database, 'ALTER TABLE t RENAME TO away')
            self.reload(server, 'there is no table')
            self.post(server, 1)
            change(server.database, 'ALTER TABLE away RENAME TO t')
            self.set_version(server, 2)
            self.reload(server, "'seen' is exchanged")
            self.post(server, 2)
            self.assertEqual(self.versions(server), [1, 1, 2])

    def test_a_backfill_finds_one_table_whatever_changes_meanwhile(self):
        """Files and the journal are read with the table as it was when the first row was given out, also behind kill -9."""
        old = [{'ts': T0 + i, 'id': i, 'product': 1} for i in range(30000)]
        path = os.path.join(self.folder, 'old.ndjson')
        with open(path, 'w', encoding='utf-8') as file:
            file.writelines(json.dumps(e) + '\n' for e in old)
        other = self.CONFIG[self.CONFIG.index('  other:'):]
        with harness.Server(HEAD + other, folder=self.folder) as server:
            server.post_ok('orders', [{'ts': T0 + 50000 + i, 'id': 50000 + i, 'product': 1} for i in range(500)])
            with open(server.path, 'w', encoding='utf-8') as file:
                file.write(self.CONFIG.replace('from: orders,', f'from: orders, backfill: [{path}, journal],', 2)
                           .replace('{folder}', server.folder).replace('{listen}', '127.0.0.1:0'))
            self.reload(server)
            for version in (2, 3):
                harness.wait_until(lambda: server.rows('SELECT 1 FROM seen LIMIT 1'), 'a row')
                self.set_version(server, version)
                server.restart()
            server.post_ok('orders', [{'ts': T0 + 60000, 'id': 60000, 'product': 1}])
            harness.wait_until(lambda: server.rows('SELECT 1 FROM seen WHERE id = 60000'), 'the last row')
            self.assertEqual(server.rows('SELECT version, count(*) FROM seen WHERE id < 60000 GROUP BY 1'), [(1, 30500)])
            server.post_ok('orders', [{'ts': T0 + 7200 * S, 'id': 10 ** 6, 'product': 1}])
            server.wait_watermark('hours', T0 + 7200 * S)
            self.assertEqual(server.rows('SELECT sum(count) FROM hours'), [(30501,)])

    def test_left_out_for_a_while(self):
        with harness.Server(self.CONFIG, folder=self.folder) as server:
            self.post(server, 0)
            server.stop()
            self.set_version(server, 2)
            server.arguments = ['--without', 'seen']
            server.start()
            server.post_ok('orders', [{'ts': T0 + 1, 'id': 1, 'product': 1}])
            self.reload(server)
            server.stop()
            server.arguments = []
            server.start()  # what it missed is read again: as it was stored
            self.post(server, 2)
            self.assertEqual(self.versions(server), [1, 1, 1])

    def test_a_reload_that_is_refused_while_rows_wait_for_a_stream(self):
        """What waits, and the places in the journals, are as before: also for a start behind kill -9."""
        config = HEAD + '''
  both: {from: orders, window: none, select: [id, bid, version], idle_timeout: 1h,
    join: {t: {table: t, on: {product: id}, columns: {version: int}},
           quotes: {on: {cur: sym}, as_of: true, within: 1h, columns: [bid]}}}
'''
        with harness.Server(config, folder=self.folder) as server:
            server.post_ok('quotes', [{'ts': T0, 'sym': 'A', 'bid': 2.5}])
            server.post_ok('orders', [{'ts': T0 + S + i, 'id': i, 'product': 1, 'cur': 'A'} for i in range(5)])
            with open(server.path, 'a', encoding='utf-8') as file:
                file.write('  more: {from: orders, window: none, select: [id], idle_timeout: 2h,'
                           ' join: {t: {table: not_there, on: {product: id}, columns: {version: int}}}}\n')
            with open(server.path, encoding='utf-8') as file:
                text = file.read()
            with open(server.path, 'w', encoding='utf-8') as file:
                file.write(text.replace('idle_timeout: 1h', 'idle_timeout: 2h', 1))
            for _ in range(2):
                self.reload(server, 'there is no table')
            with open(server.path, 'w', encoding='utf-8') as file:
                file.write(text[:text.index('  more:')])
            self.assertEqual(server.rows('SELECT count(*) FROM both'), [(0,)])
            server.restart()
            server.post_ok('quotes', [{'ts': T0 + 2 * S, 'sym': 'A', 'bid': 9}])
            harness.wait_until(lambda: len(server.rows('SELECT id FROM both')) == 5, 'the rows')
            self.assertEqual(server.rows('SELECT id, bid, version FROM both ORDER BY id'), [(i, 2.5, 1) for i in range(5)])

    def test_together_with_a_stream(self):
        config = HEAD + '''
  both: {from: orders, window: none, select: [id, bid, version, v], derive: {v: bid * version}, idle_timeout: 1h,
    join: {t: {table: t, on: {product: id}, columns: {version: int}},
           quotes: {on: {cur: sym}, as_of: true, within: 1h, columns: [bid]}}}
'''
        with harness.Server(config, folder=self.folder) as server:
            server.post_ok('quotes', [{'ts': T0, 'sym': 'A', 'bid': 2.5}, {'ts': T0 + 60 * S, 'sym': 'Z'}])
            server.post_ok('orders', [{'ts': T0 + i, 'id': i, 'product': i % 2, 'cur': 'AB'[i // 2]} for i in range(4)])
            harness.wait_until(lambda: len(server.rows('SELECT id FROM both')) == 4, 'the rows')
            self.assertEqual(server.rows('SELECT * FROM both ORDER BY id')[0][-4:], (0, 2.5, None, None))
            self.assertEqual([row[-3:] for row in server.rows('SELECT * FROM both ORDER BY id')],
                             [(2.5, None, None), (2.5, 1, 2.5), (None, None, None), (None, 1, None)])
            self.assertEqual([j['stream'] for j in server.get_json('/api/v1/pipelines/both/watermarks')['joins']], ['quotes'])


class Refused(unittest.TestCase):
    CONFIG = '''server: {database: weir.db}
streams: {orders: {time: {field: ts, unit: us}, fields: {product: int, cur: string, price: float}}}
pipelines:
  p:
    from: orders
    window: none
    select: [product]
    join:
      t: {table: t, on: [product], columns: {name: string}}
'''

    def check(self, join, sql, *said, status=78, edit=lambda text: text):
        folder = harness.folder_for_test(self)
        text = edit(self.CONFIG.replace('{table: t, on: [product], columns: {name: string}}', join))
        with open(os.path.join(folder, 'weir.yaml'), 'w', encoding='utf-8') as file:
            file.write(text)
        if sql is not None:
            db = sqlite3.connect(os.path.join(folder, 'weir.db'))
            db.executescript(sql)
            db.close()
        done = harness.weir('check', '-c', 'weir.yaml', cwd=folder)
        self.assertEqual(done.returncode, status, done.stderr)
        for words in said:
            self.assertIn(words, done.stderr)

    TABLE = 'CREATE TABLE t (product INTEGER, name TEXT, since INTEGER, at TEXT, price REAL, pic BLOB);'

    def test_what_the_configuration_says_wrongly(self):
        for join, said in (
                ('{table: t, on: [product]}', "weir.yaml:9:10: the key 'columns' is missing in join 't'"),
                ('{table: t, on: [produkt], columns: {name: string}}', "weir.yaml:9:26: the stream has no field 'produkt'"),
                ('{table: t, on: [price], columns: {name: string}}', "'price' is a float: tables are joined on"),
                ('{table: t, on: [product], columns: [name]}', "weir.yaml:9:45: 1 to 64 columns of the table are expected"),
                ('{table: t, on: [product], columns: {name: text}}', 'weir.yaml:9:52:'),
                ('{table: t, on: [product], columns: {name: time}}', 'weir.yaml:9:52: '),
                ('{table: t, on: [product], columns: {cur: string}}', "there is a column 'cur' already"),
                ('{table: t, on: [product], columns: {a: {column: name}}}', "the 'type' of 'a' is missing"),
                ('{table: t, on: [product], columns: {a: {colum: name, type: int}}}', "not 'colum'"),
                ('{table: t, on: [product], within: 1h, columns: {name: string}}', "weir.yaml:9:44: 'within' and 'lead' are for"),
                ('{table: weir_meta, on: [product], columns: {key: string}}', "'weir_meta' is not a table of yours"),
                ('{table: t, on: [product], as_of: true, columns: {name: string}}', "as_of")):
            self.check(join, None, said)

    def test_with_other_services(self):
        self.check('{table: t, on: [product], columns: {name: string}}', None, "'http_lookup' and 'join' do not go together",
                   edit=lambda text: text + '    http_lookup: {a: {url: "http://127.0.0.1:1/{cur}", columns: {x: int}}}\n')

    def test_what_the_database_has_not(self):
        self.check('{table: t, on: [product], columns: {name: string}}', None, "weir.yaml:9:18: there is no table 't', nor a "
                   'database')
        self.check('{table: products, on: [product], columns: {name: string}}', 'CREATE TABLE product (product INTEGER);',
                   "weir.yaml:9:18: there is no table 'products' in the database", "'product'")
        for join, said in (
                ('{table: t, on: {product: prodict}, columns: {name: string}}', "weir.yaml:9:35: table 't' has no column 'prodict'"),
                ('{table: t, on: [product], columns: {nam: string}}', "weir.yaml:9:46: table 't' has no column 'nam'"),
                ('{table: t, on: [product], columns: {name: int}}', 'is declared TEXT, and of type int here'),
                ('{table: t, on: {cur: product}, columns: {name: string}}', 'is declared INTEGER, and of type string here'),
                ('{table: t, on: [product], columns: {pic: string}}', 'is declared BLOB'),
                ('{table: t, on: [product], time: since, columns: {name: string}}', 'numbers have a unit'),
                ('{table: t, on: [product], time: {field: at, unit: s}, columns: {name: string}}', 'times with a unit are')):
            self.check(join, self.TABLE, said)

    def test_rows_that_say_too_much(self):
        self.check('{table: t, on: {product: product, cur: name}, columns: {pric: {column: price, type: float}}}', self.TABLE +
                   "INSERT INTO t (product, name) VALUES (7, 'a\"b'), (8, 'x'), (7, 'a\"b')",
                   "weir.yaml:9:18: table 't' has two rows with product 7, name \"a\\\"b\"; which of them holds when")
        self.check('{table: t, on: [product], time: at, columns: {name: string}}', self.TABLE + "INSERT INTO t (product, at) VALUES"
                   " (7, '2026-01-01 02:00:00+02:00'), (7, '2026-01-01 01:00:00Z'), (7, '2026-01-01T00:00:00Z')",
                   'product 7, of one time')
        if harness.sanitized():  # a million rows may take longer than the minute that there is for them
            return
        self.check('{table: t, on: [product], columns: {name: string}}', 'CREATE VIEW t AS WITH RECURSIVE n(product) AS (SELECT 1'
                   ' UNION ALL SELECT product + 1 FROM n LIMIT 1000001) SELECT product, NULL AS name FROM n',
                   "weir.yaml:9:18: table 't' has more than 1000000 rows")
        self.check('{table: t, on: [product], columns: {name: string}}', "CREATE VIEW t AS SELECT 1 AS product,"
                   " replace(hex(zeroblob(35000000)), '00', 'ab') AS name", 'a text of more than 64 MiB')

    def test_values_of_other_types_are_null(self):
        folder = harness.folder_for_test(self)
        with open(os.path.join(folder, 'weir.yaml'), 'w', encoding='utf-8') as file:
            file.write(self.CONFIG.replace('{table: t, on: [product], columns: {name: string}}', '{table: t, on: [product], columns:'
                                           ' {name: string, whole: int, real: float, flag: bool}}')
                       .replace('select: [product]', 'select: [product, name, whole, real, flag]'))
        change(os.path.join(folder, 'weir.db'), 'CREATE TABLE t (product INTEGER, name, whole, real, flag)',
               "INSERT INTO t VALUES (1, 'x', 1, 1, 1), (2, 2, 2.5, 'b', 2), (3, x'61', '3', NULL, 'true'), ('no', 'a', 1, 2, 0),"
               " (4, CAST(x'ff' AS TEXT), 1e3, 2.5, 0), (5, NULL, NULL, NULL, NULL)")
        with open(os.path.join(folder, 'orders.ndjson'), 'w', encoding='utf-8') as file:
            file.writelines(json.dumps({'ts': i, 'product': i}) + '\n' for i in range(1, 7))
        done = harness.weir('run', '-q', '-c', 'weir.yaml', '-s', 'orders=orders.ndjson', cwd=folder)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("10 values of table 't' are not of the types", done.stderr)
        self.assertEqual(harness.read_rows(os.path.join(folder, 'weir.db'), 'SELECT product, name, whole, real, flag FROM p'
                                           ' ORDER BY product'),
                         [(1, 'x', 1, 1.0, 1), (2, None, None, None, None), (3, None, None, None, None),
                          (4, None, None, 2.5, 0), (5, None, None, None, None), (6, None, None, None, None)])


class Manual(unittest.TestCase):
    def test_the_example_of_the_manual(self):
        with open(os.path.join(harness.SOURCE, 'docs', 'weir.yaml.5'), encoding='utf-8') as file:
            page = file.read()
        at = page.index('table: rates')
        sql = page.index('CREATE TABLE products', at)
        folder = harness.folder_for_test(self)
        with open(os.path.join(folder, 'weir.yaml'), 'w', encoding='utf-8') as file:
            file.write(page[page.rindex('server:', 0, at):page.index('.Ed', at)])
        dice = random.Random(10)
        first = T0 // S
        db = sqlite3.connect(os.path.join(folder, 'sales.db'))
        db.executescript(page[sql:page.index('.Ed', sql)])
        db.executemany('INSERT INTO products VALUES (?, ?, ?)', [(i, f'c{i % 3}', i / 4) for i in range(20)])
        db.executemany('INSERT INTO rates VALUES (?, ?, ?)', [(c, first + i * 86400 + 1000 * k, 1 + dice.randrange(8) / 8)
                                                              for k, c in enumerate(('EUR', 'USD')) for i in range(3)])
        orders = [(first + i * 300, dice.randrange(25), dice.choice(('EUR', 'USD', 'DKK')), dice.randrange(5)) for i in range(3000)]
        db.execute('CREATE TABLE o (ts, product, currency, quantity)')
        db.executemany('INSERT INTO o VALUES (?, ?, ?, ?)', orders)
        want = db.execute('''SELECT ts / 3600 * 3600000000, category, count(v), sum(v) FROM (SELECT ts, category, quantity * price *
  (SELECT rate FROM rates r WHERE r.currency = o.currency AND since BETWEEN ts - 7 * 86400 AND ts ORDER BY since DESC LIMIT 1) AS v
  FROM o JOIN products ON id = product) GROUP BY 1, 2 ORDER BY 1, 2''').fetchall()
        db.commit()
        db.close()
        with open(os.path.join(folder, 'orders.ndjson'), 'w', encoding='utf-8') as file:
            file.writelines(json.dumps(dict(zip(('ts', 'product', 'currency', 'quantity'), o))) + '\n' for o in orders)
        done = harness.weir('run', '-q', '-c', 'weir.yaml', '-s', 'orders=orders.ndjson', cwd=folder)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(harness.read_rows(os.path.join(folder, 'sales.db'), 'SELECT window_start, category, revenue_count,'
                                           ' revenue_sum FROM sales ORDER BY 1, 2'), want)


class Elsewhere(unittest.TestCase):
    def test_the_graph(self):
        folder = harness.folder_for_test(self)
        with open(os.path.join(folder, 'weir.yaml'), 'w', encoding='utf-8') as file:
            file.write(Refused.CONFIG.replace('table: t,', 'table: \'a "b"\','))
        done = harness.weir('check', '--graph', '-c', 'weir.yaml', cwd=folder)
        self.assertIn('pipeline p: none, joins table a "b"', done.stdout)
        done = harness.weir('check', '--graph=dot', '-c', 'weir.yaml', cwd=folder)
        self.assertIn('"table a \\"b\\"" -> "pipeline p" [style=dashed];', done.stdout)

    def test_cases(self):
        folder = harness.folder_for_test(self)
        with open(os.path.join(folder, 'case.yaml'), 'w', encoding='utf-8') as file:
            file.write(Refused.CONFIG.replace('select: [product]', 'select: [product, name]') + '''
sql: "CREATE TABLE t (product INTEGER, name TEXT); INSERT INTO t VALUES (1, 'one')"
cases:
  as it stands above:
    events: {orders: [{ts: 1, product: 1}, {ts: 2, product: 2}]}
    expect: {p: [{product: 1, name: one}, {product: 2, name: null}]}
  of a file:
    sql: t.sql
    events: {orders: [{ts: 1, product: 1}]}
    expect: {p: [{product: 1, name: uno}]}
''')
        with open(os.path.join(folder, 't.sql'), 'w', encoding='utf-8') as file:
            file.write("CREATE TABLE t (product INTEGER, name TEXT);\nINSERT INTO t VALUES (1, 'uno');\n")
        done = harness.weir('test', 'case.yaml', cwd=folder)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn('2 cases, 0 failed', done.stdout)
        os.remove(os.path.join(folder, 't.sql'))
        done = harness.weir('test', 'case.yaml', cwd=folder)
        self.assertEqual(done.returncode, 78, done.stdout + done.stderr)
        self.assertIn("'t.sql': No such file", done.stderr)


if __name__ == '__main__':
    harness.main()
