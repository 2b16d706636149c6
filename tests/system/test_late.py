# SPDX-License-Identifier: Apache-2.0
"""Late events: dropped, kept in a table of their own, or folded into results that are given out again;
held against a model in Python that goes event by event."""

import collections
import json
import os
import random
import re
import unittest

import harness

MS = 1000
T0 = 1700000000000  # ms, a multiple of 10 s
FIELDS = 'fields: {key: string, qty: int, note: string, ok: bool, row: int, at: time, price: float}'
REVISE = 'late: revise, allowed_lateness: 3s'
COMMON = 'key: [key], window: {tumbling: 1s}, out_of_orderness: 300ms, idle_timeout: 1h'
SIZES = {'single': 1, 'sevens': 7, 'whole': 10000}
CONFIG = '''
server: {listen: {listen}, database: {folder}/weir.db, plugin_path: ["{folder}"]}
streams:
''' + ''.join(f'  {name}: {{time: {{field: ts, unit: ms}}, {FIELDS}}}\n' for name in (
    *SIZES, 'steps', 'sets', 'aside', 'limited', 'behind')) + '''
pipelines:
''' + ''.join(f'''
  {name}_{policy}_{workers}: {{from: {name}, {COMMON}, workers: {workers}, {settings},
    analyzers: [count, {{stats: {{of: qty, emit: [sum]}}}}, {{topk: {{of: qty, k: 2}}}}]}}
''' for name in SIZES for workers in (1, 4)
        for policy, settings in (('drop', 'late: drop'), ('side', 'late: side'), ('revise', REVISE))) + f'''
  steps_1s: {{from: steps, {COMMON}, {REVISE}, analyzers: [count]}}
  sets_1s: {{from: sets, {COMMON}, {REVISE}, analyzers: [missing]}}
  aside_1s: {{from: aside, {COMMON}, late: side, where: qty >= 0, analyzers: [{{topk: {{of: qty}}}}]}}
  behind_1s: {{from: behind, {COMMON}, analyzers: [count]}}
  limited_1s: {{from: limited, {COMMON}, max_groups: 2, analyzers: [count]}}
'''

# As many rows as are missing to three of the sum of qty: late events make them fewer, down to none.
MISSING = '''
#include <weir/plugin.h>
struct config { const char *of; };
static const struct weir_param params[] = {
    {.name = "of", .type = WEIR_PARAM_COLUMN, .init = "qty", .help = "what is added",
     .column_types = WEIR_TYPES(WEIR_INT)}, {0}};
static const struct weir_output outputs[] = {{.name = "lacks", .type = WEIR_INT, .help = "so many"}, {0}};
static void step(int64_t *sum, const struct weir_rows *r, uint32_t row) { *sum += weir_int(r->in[0], row); }
WEIR_STEP(update, int64_t, step)
static int emit_one(struct weir_ctx *ctx, const int64_t *sum, const struct weir_window *w, struct weir_out *out)
{
    int err = 0;
    for (int64_t i = *sum; !err && i < 3; i++) {
        weir_put_int(ctx, out, 0, i + 1);
        err = ctx->host->row(ctx, out);
    }
    return err;
}
WEIR_EMIT(emit, int64_t, emit_one)
static const struct weir_analyzer missing = {
    .name = "missing", .version = "1", .help = "what is missing", .flags = WEIR_MANY_ROWS,
    .params = params, .outputs = outputs, .config_size = sizeof(struct config), .state_size = 8,
    .update = update, .emit = emit};
WEIR_PLUGIN(missing);
'''


def event(ms, key='a', qty=1, **more):
    return {'ts': T0 + ms, 'key': key, 'qty': qty, **more}


def disorderly(n):
    """50 events a second of event time over five keys; one in ten up to six seconds behind."""
    dice = random.Random(11)
    events = []
    for i in range(n):
        behind = dice.randrange(6000) if dice.random() < 0.1 else dice.randrange(200)
        events.append(event(20 * i - behind, dice.choice('abcde'), dice.randrange(8)))
    return events


class Model:
    """The definition: an event is late when its window ended at or before the watermark, the newest time
    so far less 300 ms. With a lateness it is folded in as long as the watermark has not passed the end
    of its window by so much, and raises the revision of its group."""

    def __init__(self, events, lateness_ms=0):
        newest = float('-inf')
        self.late, self.folded = [], 0  # numbers of events that are not folded in
        self.groups = collections.defaultdict(list)
        self.revision = collections.Counter()
        for i, e in enumerate(events):
            newest = max(newest, e['ts'])
            watermark, start = newest - 300, e['ts'] // 1000 * 1000
            if start + 1000 <= watermark:
                if start + 1000 + lateness_ms <= watermark:
                    self.late.append(i)
                    continue
                self.folded += 1
                self.revision[start, e['key']] += 1
            self.groups[start, e['key']].append(e['qty'])
        self.closed = {group: found for group, found in self.groups.items() if group[0] + 1000 <= newest - 300}

    def rows(self):
        return sorted((start * MS, key, self.revision[start, key], len(found), sum(found))
                      for (start, key), found in self.closed.items())

    def top_rows(self):
        rows = []
        for (start, key), found in self.closed.items():
            most = sorted(collections.Counter(found).items(), key=lambda item: (-item[1], item[0]))[:2]
            rows += [(start * MS, key, rank, self.revision[start, key], *item)
                     for rank, item in enumerate(most, 1)]
        return sorted(rows)


class Late(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = harness.tempfile.mkdtemp(prefix='weir-test-')
        cls.addClassCleanup(harness.shutil.rmtree, folder, ignore_errors=True)
        harness.compile_plugin(folder, 'missing', MISSING)
        cls.server = harness.Server.for_class(cls, CONFIG, folder)

    def post(self, stream, *events):
        self.server.post_ok(stream, list(events))

    def wait(self, pipeline, ms):
        self.server.wait_watermark(pipeline, (T0 + ms) * MS)

    def late(self, pipeline):
        return {outcome: self.server.metric('weir_pipeline_late_total', pipeline=pipeline, outcome=outcome)
                for outcome in ('drop', 'side', 'revise')}

    def results(self, pipeline, table, query=''):
        answer = self.server.get(f'/api/v1/pipelines/{pipeline}/results/{table}?format=ndjson&limit=all{query}')
        self.assertEqual(answer.status, 200, answer.body)
        return [json.loads(line) for line in answer.body.splitlines()]

    # ---- All three, whatever the requests and the workers ----------------------------------------

    def check_disorder(self, stream):
        size = SIZES[stream]
        events = disorderly(1500) + [event(60000, '~')]
        for i in range(0, len(events), size):
            self.post(stream, *events[i:i + size])
        plain, revised = Model(events), Model(events, 3000)
        self.assertGreater(len(plain.late), 60)
        self.assertGreater(len(revised.late), 20)
        self.assertGreater(revised.folded, 40)
        for workers in (1, 4):
            with self.subTest(workers=workers):
                for policy in ('drop', 'side', 'revise'):
                    self.wait(f'{stream}_{policy}_{workers}', 59700)
                self.check_plain(f'{stream}_drop_{workers}', plain, drop=len(plain.late))
                self.check_plain(f'{stream}_side_{workers}', plain, side=len(plain.late))
                self.check_side(f'{stream}_side_{workers}', [events[i] for i in plain.late])
                self.check_revised(f'{stream}_revise_{workers}', revised)

    def check_plain(self, pipeline, model, **late):
        self.assertEqual(self.late(pipeline), {'drop': 0, 'side': 0, 'revise': 0, **late})
        found = self.server.rows(f'SELECT window_start, key, 0, count, qty_sum FROM {pipeline} '
                                 'ORDER BY window_start, key')
        self.assertEqual(found, [(*row[:2], 0, *row[3:]) for row in model.rows()])

    def check_side(self, pipeline, late):
        found = self.results(pipeline, f'{pipeline}_late', '&times=us')
        places = [(row['position'], row['row']) for row in found]
        self.assertEqual(len(set(places)), len(found))
        found.sort(key=lambda row: (row['position'], row['row']))  # the order of the log
        self.assertEqual([(row['window_start'], row['ts'], row['key'], row['qty']) for row in found],
                         [(e['ts'] // 1000 * 1000 * MS, e['ts'] * MS, e['key'], e['qty']) for e in late])

    def check_revised(self, pipeline, model):
        self.assertEqual(self.late(pipeline),
                         {'drop': len(model.late), 'side': 0, 'revise': model.folded})
        self.assertEqual(self.server.rows(f'SELECT window_start, key, revision, count, qty_sum '
                                          f'FROM {pipeline} ORDER BY 1, 2'), model.rows())
        self.assertEqual(self.server.rows(f'SELECT window_start, key, rank, revision, qty, qty_count '
                                          f'FROM {pipeline}_topk ORDER BY 1, 2, 3'), model.top_rows())
        status = self.server.get_json(f'/api/v1/pipelines/{pipeline}')['status']
        self.assertEqual(status['late'], len(model.late) + model.folded)
        self.assertEqual(status['late_by_outcome'],
                         {'drop': len(model.late), 'side': 0, 'revise': model.folded})
        self.assertLessEqual(status['revisions'], model.folded)

    def test_one_event_a_request(self):
        self.check_disorder('single')

    def test_seven_events_a_request(self):
        self.check_disorder('sevens')

    def test_all_events_in_one_request(self):
        self.check_disorder('whole')

    # ---- Revisions -------------------------------------------------------------------------------

    def test_row_is_given_out_again_for_each_late_event(self):
        self.post('steps', event(100), event(200), event(1300))
        self.wait('steps_1s', 1000)
        rows = 'SELECT key, count, revision FROM steps_1s ORDER BY window_start, key'
        self.assertEqual(self.server.rows(rows), [('a', 2, 0)])
        revisions = 0
        for key, expected in (('a', [('a', 3, 1)]), ('b', [('a', 3, 1), ('b', 1, 1)]),
                              ('a', [('a', 4, 2), ('b', 1, 1)])):
            self.post('steps', event(300, key))
            harness.wait_until(lambda want=expected: self.server.rows(rows) == want, f'revision {expected}')
            revisions += 1
            self.server.wait_metric('weir_pipeline_revisions_total', revisions, pipeline='steps_1s')
        self.post('steps', event(4299))  # the watermark is 3.999 s: one event more
        self.post('steps', event(999))
        harness.wait_until(lambda: ('a', 5, 3) in self.server.rows(rows), 'the last revision')
        self.post('steps', event(4300), event(999))  # and 4 s, the end and 3 s
        self.server.wait_metric('weir_pipeline_late_total', 1, pipeline='steps_1s', outcome='drop')
        self.wait('steps_1s', 4000)
        self.assertEqual(self.server.rows(rows), [('a', 5, 3), ('b', 1, 1), ('a', 1, 0)])
        # The window of 1.3 s is in memory still, and so is that of 4.299 s.
        self.server.wait_metric('weir_pipeline_groups', 2, pipeline='steps_1s')
        answer = self.results('steps_1s', 'steps_1s', '&key=b')
        self.assertEqual([(row['count'], row['revision']) for row in answer], [(1, 1)])

    def test_set_of_rows_is_replaced_and_may_become_empty(self):
        rows = 'SELECT key, rank, revision, lacks FROM sets_1s_missing ORDER BY key, rank'
        self.post('sets', event(100, 'a', 0), event(100, 'b', 2), event(1300, '~'))
        self.wait('sets_1s', 1000)
        b = [('b', 1, 0, 3)]
        self.assertEqual(self.server.rows(rows), [('a', 1, 0, 1), ('a', 2, 0, 2), ('a', 3, 0, 3), *b])
        for qty, expected in ((1, [('a', 1, 1, 2), ('a', 2, 1, 3)]), (5, []), (-4, [('a', 1, 3, 3)])):
            self.post('sets', event(100, 'a', qty))
            harness.wait_until(lambda want=expected: self.server.rows(rows) == want + b, f'{expected}')
        self.server.wait_metric('weir_pipeline_rows_total', 4 + 2 + 0 + 1, pipeline='sets_1s')
        status = self.server.get_json('/api/v1/pipelines/sets_1s')
        self.assertEqual((status['late'], status['allowed_lateness'], status['over_max_groups']),
                         ('revise', '3s', 'drop'))

    # ---- The table of late events ----------------------------------------------------------------

    def test_late_event_is_kept_with_all_its_fields(self):
        self.post('aside', event(1400, 'z'))
        self.wait('aside_1s', 1000)
        at = '2026-01-02T03:04:05.678000Z'
        self.post('aside', event(999, 'ä', 7, note='', ok=True, row=-1, at=at, price=0.1), event(999, qty=-1),
                  event(1000, 'in time'), event(0, key=None), {'ts': T0 - 1, 'key': 'b', 'qty': 0})
        self.server.wait_metric('weir_pipeline_late_total', 2, pipeline='aside_1s', outcome='side')
        table = 'aside_1s_late'
        harness.wait_until(lambda: self.server.rows(f'SELECT 1 FROM {table}'), 'the commit')
        found = self.results('aside_1s', table)
        self.assertEqual([list(row) for row in found],
                         2 * [['window_start', 'window_end', 'position', 'row', 'ts', 'key', 'qty', 'note',
                               'ok', 'row_', 'at', 'price']])
        self.assertEqual([tuple(row.values()) for row in found], [
            ('2023-11-14T22:13:19Z', '2023-11-14T22:13:20Z', 2, 4, '2023-11-14T22:13:19.999000Z', 'b', 0,
             *[None] * 5),
            ('2023-11-14T22:13:20Z', '2023-11-14T22:13:21Z', 2, 0, '2023-11-14T22:13:20.999000Z', 'ä', 7, '',
             True, -1, at, 0.1)])
        self.assertEqual([row['key'] for row in self.results('aside_1s', table, '&position=2&row=0')], ['ä'])
        # The shell reads the same, and the view shows times.
        shell = harness.sqlite3_shell(f'.open --readonly weir.db\nSELECT window_start, window_end, ts, "key", '
                                      f'at, price FROM {table}_readable WHERE ok;\n', self.server.folder)
        self.assertEqual(shell, '2023-11-14T22:13:20Z|2023-11-14T22:13:21Z|2023-11-14T22:13:20.999000Z|ä|'
                                '2026-01-02T03:04:05.678000Z|0.1\n')
        # The table with results is still the one that need not be named.
        self.post('aside', event(9000, 'z'))
        self.wait('aside_1s', 8700)
        answer = self.server.get_json('/api/v1/pipelines/aside_1s/results')
        self.assertEqual([(row['key'], row['rank']) for row in answer], [('in time', 1), ('z', 1)])
        tables = self.server.get_json('/api/v1/pipelines/aside_1s')['tables']
        self.assertEqual([t['name'] for t in tables], ['aside_1s_topk', table])

    # ---- max_groups ------------------------------------------------------------------------------

    def test_log_says_once_that_most_of_what_comes_is_late(self):
        def said():
            return [line for line in self.server.log if "'behind_1s'" in line and 'window had been closed' in line]
        self.server.post_ok('behind', [event(100000 + i) for i in range(10)])
        for _ in range(20):
            self.server.post_ok('behind', [event(i) for i in range(30)])
        found = re.search(r'\b(\d+) of (\d+) events came after their window had been closed, and were dropped',
                          harness.wait_until(said, 'the warning')[0])
        late, of = int(found[1]), int(found[2])
        self.assertEqual((late % 30, of - late in (0, 10)), (0, True), found[0])  # requests may have been joined
        harness.wait_until(lambda: self.server.metric('weir_pipeline_late_total', pipeline='behind_1s') == 600,
                           'all to be counted')
        self.assertEqual(len(said()), 1)

    def test_events_over_max_groups_are_dropped_with_one_warning(self):
        for ms in range(0, 5000, 500):
            self.post('limited', *[event(ms, key) for key in 'abcd'])
        self.post('limited', event(9000))
        self.wait('limited_1s', 8700)
        def said():
            return [line for line in self.server.log if "'limited_1s'" in line and 'max_groups' in line]
        self.assertEqual(len(harness.wait_until(said, 'the warning')), 1, said())
        self.assertGreater(self.server.metric('weir_pipeline_dropped_total', pipeline='limited_1s',
                                              reason='max_groups'), 0)


class Restart(unittest.TestCase):
    """kill -9 behind a checkpoint whose groups a changed configuration cannot take."""

    CONFIG = f'''
server: {{listen: {{listen}}, database: {{folder}}/weir.db, commit_interval: 5ms, checkpoint_interval: 1h}}
streams: {{input: {{time: {{field: ts, unit: ms}}, {FIELDS}}}}}
pipelines:
  p: {{from: input, key: [key], window: {{tumbling: 1s}}, idle_timeout: 1h,
      late: revise, allowed_lateness: 1h, analyzers: [count]}}
'''

    def test_complete_result_is_not_replaced_by_a_part(self):
        with harness.Server(self.CONFIG) as server:
            def rows():
                return server.rows('SELECT key, count, revision FROM p ORDER BY window_start')
            server.post_ok('input', [event(100), event(200)])
            server.stop()  # a checkpoint with the group open
            server.start()
            server.post_ok('input', [event(300), event(1300)])
            server.wait_watermark('p', (T0 + 1300) * MS)
            self.assertEqual(rows(), [('a', 3, 0)])
            server.kill()
            with open(server.path, encoding='utf-8') as file:
                text = file.read()
            with open(server.path, 'w', encoding='utf-8') as file:
                file.write(text.replace('[count]', '[count, {stats: {of: qty, emit: [max]}}]'))
            server.start()
            self.assertTrue(any('starts afresh' in line for line in server.log))
            server.post_ok('input', [event(400), event(1400), event(2300)])
            server.wait_watermark('p', (T0 + 2300) * MS)
            self.assertEqual(rows(), [('a', 3, 0), ('a', 2, 0)])


class Files(unittest.TestCase):
    """`weir run` and `weir check`."""

    def setUp(self):
        self.folder = harness.folder_for_test(self)

    def run_weir(self, settings, events, command='run', live=True):
        with open(os.path.join(self.folder, 'weir.yaml'), 'w', encoding='utf-8') as file:
            file.write('server: {database: weir.db}\nstreams:\n  input:\n    time: {field: ts, unit: ms}\n'
                       f'    fields: {{key: string, qty: int}}\npipelines:\n  p:\n    from: input\n{settings}'
                       '    key: key\n    window: {tumbling: 1s}\n'
                       '    analyzers: [count, stats: {of: qty, emit: [sum]}]\n')
        more = ('--stream', 'input', *(['--live'] if live else [])) if command == 'run' else ()
        return harness.weir(command, '-c', 'weir.yaml', *more, cwd=self.folder,
                            stdin=''.join(json.dumps(e) + '\n' for e in events))

    def rows(self, sql):
        return harness.read_rows(os.path.join(self.folder, 'weir.db'), sql)

    def test_summary_says_what_became_of_late_events(self):
        events = [event(0), event(1000), event(999), event(999), event(5000), event(1500), event(1)]
        for settings, words, lost in (('', ', 4 late\n', 4),
                                      ('    late: side\n', ', 4 late, in the table of late events\n', 0),
                                      ('    late: revise\n    allowed_lateness: 4s\n',
                                       ', 1 late, 3 late that revised results\n', 1)):
            harness.shutil.rmtree(self.folder)
            os.mkdir(self.folder)
            done = self.run_weir(settings, events)
            self.assertEqual(done.returncode, 65 if lost else 0, done.stderr)
            self.assertEqual(f'{lost} events came after their window had been closed; without --live' in
                             done.stderr, lost > 0, done.stderr)
            self.assertIn(words, done.stderr)
        self.assertEqual(self.rows('SELECT window_start, count, revision FROM p'),
                         [(T0 * MS, 3, 2), ((T0 + 1000) * MS, 2, 1), ((T0 + 5000) * MS, 1, 0)])

    def test_nothing_is_late_where_windows_stay_open_until_the_end(self):
        events = [event(0), event(1000), event(999), event(999), event(5000), event(1500), event(1)]
        for settings in ('', '    late: side\n', '    late: revise\n    allowed_lateness: 4s\n'):
            harness.shutil.rmtree(self.folder)
            os.mkdir(self.folder)
            done = self.run_weir(settings, events, live=False)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertNotIn('late', done.stderr)
            self.assertEqual(self.rows('SELECT window_start, count FROM p'),
                             [(T0 * MS, 4), ((T0 + 1000) * MS, 2), ((T0 + 5000) * MS, 1)])

    def test_table_that_is_there_gets_a_revision_and_what_it_holds_is_not_replaced_by_a_part(self):
        self.run_weir('', [event(0), event(1, qty=5), event(500, 'b')])
        self.assertEqual(self.rows('SELECT * FROM p'),
                         [(T0 * MS, 'a', 2, 6, (T0 + 1000) * MS), (T0 * MS, 'b', 1, 1, (T0 + 1000) * MS)])
        done = self.run_weir('    late: revise\n    allowed_lateness: 1h\n',
                             [event(2000), event(3500), event(2001), event(2), event(3, 'c')])
        self.assertIn(', 2 late, 1 late that revised results\n', done.stderr)
        columns = 'SELECT window_start, key, count, qty_sum, revision FROM p'
        expected = [(T0 * MS, 'a', 2, 6, 0), (T0 * MS, 'b', 1, 1, 0), ((T0 + 2000) * MS, 'a', 2, 2, 1),
                    ((T0 + 3000) * MS, 'a', 1, 1, 0)]
        self.assertEqual(self.rows(columns), expected)
        done = self.run_weir('    late: drop\n', [event(9000)])
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.rows(columns), [*expected, ((T0 + 9000) * MS, 'a', 1, 1, 0)])

    def test_pipeline_over_max_groups_fails_where_told_to(self):
        events = [event(0), event(1, 'b'), event(2, 'c')]
        done = self.run_weir('    max_groups: 2\n    over_max_groups: fail\n', events)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("pipeline 'p' stops", done.stderr)
        self.assertIn('max_groups: 2 groups are open', done.stderr)
        self.assertEqual(self.rows('SELECT count(*) FROM p'), [(0,)])
        done = self.run_weir('    max_groups: 2\n    over_max_groups: drop\n', events)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(', 1 over max_groups\n', done.stderr)
        self.assertEqual(self.rows('SELECT key, count FROM p'), [('a', 1), ('b', 1)])

    def test_settings_that_do_not_go_together_are_refused_with_their_place(self):
        for settings, place, words in (
                ('    late: revise\n', '9:11', "'late: revise' needs 'allowed_lateness'"),
                ('    allowed_lateness: 1s\n', '9:23', "raise 'out_of_orderness'"),
                ('    late: side\n    allowed_lateness: 1s\n', '10:23', "raise 'out_of_orderness'"),
                ('    late: revise\n    allowed_lateness: 2h\n    retain: 1h\n', '10:23',
                 "longer than 'retain'"),
                ('    late: revised\n', '9:11', "expected 'drop', 'side' or 'revise', found 'revised'"),
                ('    over_max_groups: stop\n', '9:22', "expected 'drop' or 'fail', found 'stop'")):
            with self.subTest(settings=settings):
                done = self.run_weir(settings, [], 'check')
                self.assertEqual(done.returncode, 78, done.stderr)
                self.assertIn(f'weir.yaml:{place}: ', done.stderr)
                self.assertIn(words, done.stderr)


if __name__ == '__main__':
    harness.main()
