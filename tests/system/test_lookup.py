# SPDX-License-Identifier: Apache-2.0
"""http_lookup, against a service of Python's own: what rows get, in order, whatever the service does; expected is what the
service has answered."""

import collections
import random
import threading

import harness
from service import WithService, config, expected, in_file, lookup, of_key, status, trades


class Answers(WithService):
    def test_each_row_gets_its_own_in_order(self):
        service = self.service(lambda key, n: (of_key(key), random.random() * 0.02))
        rows = [(i, f's{i * 7 % 50}') for i in range(1000)]
        with harness.Server(config(lookup(service.url + '/users/{symbol}', more=', headers: {X-Key: abc}'))) as server:
            for first in range(0, 1000, 100):
                server.post_ok('trades', trades(rows[first:first + 100]))
            self.wait_rows(server, 1000)
            self.assertEqual(in_file(server), expected(rows))
            self.assertEqual(service.total(), 50)  # the others are known
            self.assertTrue(all(path.startswith('/users/') and h['X-Key'] == 'abc' for _, path, h in service.keys))
            now = status(server)
            self.assertEqual((now['found'], now['missing'], now['failed'], now['last_error']), (50, 0, 0, None))
            self.assertEqual(server.metric('weir_lookups_total', lookup='s0', outcome='found'), 50)

    def test_columns_serve_where_key_derive_and_analyzers(self):
        service = self.service()
        body = '''    derive: {twice: tier * 2}
    where: tier <> 3
    key: [country]
    window: {tumbling: 1s}
    analyzers: [count, {sum: {of: twice}}, {count: {where: twice > 4, as: big}}]
'''
        rows = [(i, 'x' * (1 + i % 3) + chr(97 + i % 11)) for i in range(500)]
        with harness.Server(config(lookup(service.url + '/{symbol}'), body=body)) as server:
            server.post_ok('trades', trades(rows + [(5000, 'end')]))
            wanted = collections.defaultdict(lambda: [0, 0, 0])
            for _, _, country, tier in expected(rows):
                if tier != 3:
                    wanted[country] = [a + b for a, b in zip(wanted[country], (1, 2 * tier, 2 * tier > 4))]
            self.wait_rows(server, len(wanted))
            self.assertEqual({row[0]: list(row[1:]) for row in in_file(server, 'country, count, twice_sum, big')}, dict(wanted))

    def test_several_fields_and_services(self):
        first, second = self.service(), self.service(lambda key, _: {'name': f'<{key}>', 'list': [1, 2.5]})
        both = (lookup(first.url + '/{symbol}'),
                lookup(second.url + '/a?n={n}&ok={ok}&u=/{user}', columns='name: string, f: {path: "list[1]", type: float}'))
        rows = [(1, 'a b/\u00e9'), (2, '..'), (3, 'c?d#e%41')]
        body = '    window: none\n    select: [n, symbol, country, name, f]\n'
        with harness.Server(config(*both, body=body)) as server:
            server.post_ok('trades', trades(rows))
            self.wait_rows(server, 3)
            self.assertEqual(in_file(server, 'n, symbol, country, name, f'),
                             [(i, s, of_key(s)['country'], f'<{s}>', 2.5) for i, s in rows])
            self.assertEqual({path.split('&u=')[0] for _, path, _ in second.keys}, {f'/a?n={i}&ok=true' for i in (1, 2, 3)})

    def test_what_is_missing_is_null(self):
        replies = {'gone': 404, 'none': {'other': 1}, 'part': {'country': 'X'}, 'null': {'country': None, 'account': None}}
        service = self.service(lambda key, _: replies[key])
        with harness.Server(config(lookup(service.url + '/{symbol}'))) as server:
            server.post_ok('trades', trades(enumerate(replies)) + '\n{"ts": 1764000000009, "n": 9}')
            self.wait_rows(server, 5)
            self.assertEqual(in_file(server), [(0, 'gone', None, None), (1, 'none', None, None), (2, 'part', 'X', None),
                                               (3, 'null', None, None), (9, None, None, None)])
            self.assertEqual((status(server)['found'], status(server)['missing'], status(server)['failed']), (2, 2, 0))

    def test_answers_are_kept_for_a_time_and_up_to_a_size(self):
        service = self.service()
        lookups = (lookup(service.url + '/a/{symbol}', more=', cache_ttl: 0s'),
                   lookup(service.url + '/b/{user}', columns='id: string', more=', cache_size: 500'))
        rows = [(i, f's{i % 10}') for i in range(20)]
        with harness.Server(config(*lookups)) as server:
            for k, row in enumerate(rows, 1):
                server.post_ok('trades', trades([row]))
                self.wait_rows(server, k)
            self.assertEqual(in_file(server), expected(rows))
            paths = collections.Counter(path[:3] for _, path, _ in service.keys)
            self.assertEqual(paths, {'/a/': 20, '/b/': 20})  # of ten the oldest are gone
            self.assertLessEqual(status(server, 's1')['kept_bytes'], 500)
            self.assertGreater(status(server, 's1')['kept_bytes'], 0)

    def test_many_are_under_way_on_one_thread(self):
        service = self.service(lambda key, n: service.hold_until(31) and of_key(key))
        rows = [(i, f's{i}') for i in range(400)]
        with harness.Server(config(lookup(service.url + '/{symbol}', more=', in_flight: 60, timeout: 10m'))) as server:
            server.post_ok('trades', trades(rows))
            self.wait_rows(server, 400)
            self.assertEqual(in_file(server), expected(rows))
            self.assertGreater(service.most, 30)
            self.assertLessEqual(service.most, 60)

    def test_hundreds_at_once(self):
        """Nobody is answered before 150 wait."""
        full = threading.Event()

        def answer(key, _):
            if service.flying >= 150:
                full.set()
            full.wait(harness.LIMIT_S)
            return of_key(key)
        service = self.service(answer)
        rows = [(i, f'u{i % 400}') for i in range(800)]
        with harness.Server(config(lookup(service.url + '/{symbol}', more=', in_flight: 200, timeout: 60s'))) as server:
            server.post_ok('trades', trades(rows))
            self.wait_rows(server, 800)
            self.assertEqual(in_file(server), expected(rows))
            self.assertGreaterEqual(service.most, 150)
            self.assertEqual(service.total(), 400)

    def test_where_says_which_events_are_asked_about(self):
        service = self.service()
        # abs of the least integer fails, that is for n = 5.
        where = 'n % 3 = 2 AND abs(n - 9223372036854775807 - 6) > 0'
        text = config(lookup(service.url + '/{symbol}', more=f', where: "{where}"'), checkpoint='1h')
        rows = [(i, f'u{i % 50}') for i in range(3000)]
        wanted = [row if row[0] % 3 == 2 and row[0] != 5 else (*row[:2], None, None) for row in expected(rows)]
        with harness.Server(text) as server:
            server.post_ok('trades', trades(rows[:1500]))
            self.wait_rows(server, 1500)
            self.assertEqual(service.total(), 50)
            self.assertEqual(server.metric('weir_lookup_failed_events_total', lookup='s0', outcome='where_error'), 1)
            server.kill()
            server.start()
            server.post_ok('trades', trades(rows[1500:]))
            self.wait_rows(server, 3000)
            self.assertEqual(in_file(server), wanted)

    def test_of_whom_where_is_never_true_nobody_is_asked(self):
        service = self.service()
        rows = [(i, f'u{i % 7}') for i in range(100)]
        with harness.Server(config(lookup(service.url + '/{symbol}', more=", where: \"symbol < 'u3'\""))) as server:
            server.post_ok('trades', trades(rows))
            self.wait_rows(server, 100)
            self.assertEqual(in_file(server), [row if row[1] < 'u3' else (*row[:2], None, None) for row in expected(rows)])
            self.assertEqual(set(service.asked), {'u0', 'u1', 'u2'})

    def test_large_answers_are_not_all_held_at_once(self):
        held = threading.Event()
        self.addCleanup(held.set)
        service = self.service(lambda key, _: (held.wait(4 * harness.LIMIT_S) if key == 'first' else None, {'country': key + 'x' * 8000, 'more': 'y' * 8000})[1])
        config_text = config(lookup(service.url + '/{symbol}', 'country: string, more: string', more=', cache_ttl: 0s, timeout: 10m'),
                             body='    derive: {size: length(country) + length(more)}\n    window: none\n    select: [n, size]\n')
        with harness.Server(config_text) as server:
            server.post_ok('trades', trades([(0, 'first')]))
            harness.wait_until(lambda: service.total() == 1, 'the first key to be asked for')
            server.post_ok('trades', trades((i, f's{i}') for i in range(1, 5000)))
            limit = (64 << 20) // 16000
            harness.wait_until(lambda: status(server)['found'] > limit - 200 and not service.flying - 1, 'as many as may be held',
                               limit_s=4 * harness.LIMIT_S)
            self.assertLess(service.total(), limit + 200)  # those under way came, too
            held.set()
            self.wait_rows(server, 5000, limit_s=4 * harness.LIMIT_S)
            self.assertEqual(server.rows('SELECT n, size FROM rows ORDER BY 1'),
                             [(0, 16005)] + [(i, 16000 + len(f's{i}')) for i in range(1, 5000)])


class Failures(WithService):
    def test_failures_are_repeated(self):
        script = [500, 503, (429, {'Retry-After': '1'})]
        service = self.service(lambda key, n: script[n] if n < 3 else of_key(key))
        with harness.Server(config(lookup(service.url + '/{symbol}'))) as server:
            server.post_ok('trades', trades([(1, 'a')]))
            self.wait_rows(server, 1)
            self.assertEqual(in_file(server), expected([(1, 'a')]))
            times = [t for t, _, _ in service.keys]
            self.assertGreaterEqual(times[3] - times[2], 0.95)
            self.assertEqual(status(server)['failed_requests'], 3)
            self.assertIn('429', status(server)['last_error'])

    def test_what_nobody_answers_is_null_or_dropped(self):
        replies = {'bad': 400, 'text': 'no JSON', 'type': {'country': 5}, 'down': 500, 'two': '{"country":"a"}{"country":"b"}'}
        service = self.service(lambda key, _: replies.get(key, of_key(key)))
        rows = [(i, s) for i, s in enumerate(['a', 'bad', 'text', 'b', 'type', 'down', 'two', 'a'])]
        for policy in ('null', 'drop'):
            with self.subTest(policy=policy):
                with harness.Server(config(lookup(service.url + '/{symbol}', more=f', on_error: {policy}, retries: 1'))) as server:
                    server.post_ok('trades', trades(rows))
                    fine = expected([row for row in rows if row[1] not in replies])
                    lost = [(i, s, None, None) for i, s in rows if s in replies] if policy == 'null' else []
                    self.wait_rows(server, len(fine) + len(lost))
                    self.assertEqual(in_file(server), sorted(fine + lost))
                    now = status(server)
                    self.assertEqual((now['failed'], now['failed_requests'], now['null_events'], now['dropped_events']),
                                     (5, 1, 5 * (policy == 'null'), 5 * (policy == 'drop')))

    def test_dropped_rows_move_time_on(self):
        service = self.service(lambda key, _: 400 if key == 'bad' else of_key(key))
        body = '    key: [country]\n    window: {tumbling: 1s}\n    analyzers: [count]\n'
        with harness.Server(config(lookup(service.url + '/{symbol}', more=', on_error: drop'), body=body)) as server:
            server.post_ok('trades', trades([(1, 'a'), (2, 'bad'), (3, 'a'), (2000, 'bad')]))
            self.wait_rows(server, 1)
            self.assertEqual(in_file(server, 'country, count'), [('C1', 2)])

    def test_a_pipeline_stops_where_it_is_told_to(self):
        service = self.service(lambda key, _: 400 if key == 'bad' else of_key(key))
        server = harness.Server(config(lookup(service.url + '/{symbol}', more=', on_error: stop')))
        self.addCleanup(server.remove_folder)
        self.addCleanup(server.kill)
        server.start()
        server.post_ok('trades', trades([(1, 'a')]))
        self.wait_rows(server, 1)
        server.post_ok('trades', trades([(2, 'bad')]))
        harness.wait_until(lambda: server.get_json('/api/v1/pipelines/rows')['status']['error'], 'the pipeline stops')
        self.assertIn("http_lookup 's0': HTTP status 400", server.get_json('/api/v1/pipelines/rows')['status']['error'])
        self.assertEqual(in_file(server), expected([(1, 'a')]))

    def test_a_service_that_is_down_is_hardly_asked(self):
        down = [True]
        service = self.service(lambda key, _: 500 if down[0] else of_key(key))
        more = ', retries: 1, break_after: 5, in_flight: 2, max_backoff: 1s, cache_ttl: 0s'
        with harness.Server(config(lookup(service.url + '/{symbol}', more=more))) as server:
            server.post_ok('trades', trades([(i, f's{i}') for i in range(500)]))
            self.wait_rows(server, 500)
            self.assertTrue(all(row[2] is None for row in in_file(server)))
            self.assertLess(service.total(), 30)
            self.assertEqual((status(server)['state'], status(server)['failed']), ('broken', 500))
            down[0] = False
            number = iter(range(500, 10000))

            def well():
                server.post_ok('trades', trades([(next(number), 'again')]))
                return status(server)['state'] == 'well'
            harness.wait_until(well, 'the service is well again')
            harness.wait_until(lambda: any('answers again' in line for line in server.log), 'a line in the log')
            self.assertEqual(sum('answers again' in line for line in server.log), 1)

    def test_one_that_does_not_answer_in_time(self):
        limit_s = round(harness.LIMIT_S / 30)  # the second time it is answered sooner
        service = self.service(lambda key, n: (of_key(key), 2 * limit_s) if n == 0 else of_key(key))
        with harness.Server(config(lookup(service.url + '/{symbol}', more=f', timeout: {limit_s}s'))) as server:
            server.post_ok('trades', trades([(1, 'a')]))
            self.wait_rows(server, 1)
            self.assertEqual(in_file(server), expected([(1, 'a')]))
            self.assertGreaterEqual(status(server)['failed_requests'], 1)  # more where the machine is slow


class Refused(WithService):
    def test_settings_that_cannot_be(self):
        faults = (('url: "ftp://a/{user}"', 'expected a URL'),
                  ('url: "http://{user}/"', 'behind the host'),
                  ('url: "http://a/{usr}"', "no field 'usr', did you mean 'user'"),
                  ('url: "http://a/{ts}"', "'ts' is a time"),
                  ('url: "http://a/{user"', "'{' without '}'"),
                  ('url: "http://a/"', 'names no field'),
                  ('url: "http://a/{user}", on_error: skip', 'null'),
                  ('url: "http://a/{user}", in_flight: 0', 'from 1 to 10000'),
                  ('url: "http://a/{user}", where: "n >"', 'where: '),
                  ('url: "http://a/{user}", where: tier > 1', 'no such column: tier'),  # of what it gives itself
                  ('url: "http://a/{user}", backoff: 1m', "'backoff' is longer than 'max_backoff'"),
                  ('url: "http://a/{user}", columns: {user: string}', "a column 'user' already"),
                  ('url: "http://a/{user}", columns: {c: {type: string, path: "a[*]", each: true}}', 'one row'))
        for fault, text in faults:
            with self.subTest(fault=fault):
                columns = '' if 'columns' in fault else ', columns: {country: string, tier: int}'
                done = self.check(harness.folder_for_test(self), config(f'{{{fault}{columns}}}'))
                self.assertEqual(done.returncode, 78, done.stderr)
                self.assertIn(text, done.stderr)

    def test_only_the_first_of_a_chain_looks_up(self):
        chain = '  next:\n    from: rows\n    http_lookup: {x: {url: "http://a/{n}", columns: {z: int}}}\n    window: none\n    select: [z]\n'
        done = self.check(harness.folder_for_test(self), config(lookup('http://a/{user}'), more=chain))
        self.assertEqual(done.returncode, 78)
        self.assertIn("'http_lookup' is for pipelines that read a stream", done.stderr)


if __name__ == '__main__':
    harness.main()
