# SPDX-License-Identifier: Apache-2.0
"""An analyzer that crashes in a thread takes the server along once; the next start names it and goes on without a crash."""

import json
import os
import signal
import socket
import unittest

from apart import BAD, T0, Case, letters, simple, sums
import harness

PIPELINE = (
    "  %s: {from: input, key: [k], window: {tumbling: 1s}, idle_timeout: 1h, analyzers: [count, {hostile: {how: %s, of: v, "
    "at: %d, file: \"{folder}/file\"}%s}]}\n")
READER = '  reader: {from: %s, window: {tumbling: 1s}, analyzers: [{sum: {of: count}}]}\n'


@unittest.skipIf(harness.sanitized(), 'a sanitizer handles the signals of a crash itself')
class Crash(Case, unittest.TestCase):
    def serve(self, body, server=''):
        made = self.server(body, server)
        self.addCleanup(made.remove_folder)
        self.addCleanup(made.kill)
        if 'webhook' in body and 'without libcurl' in harness.weir('check', '-c', made.path, env=made.env).stderr:
            self.skipTest('built without libcurl')
        made.start()
        return made

    def post(self, server, made):
        for at in range(0, len(made), 100):
            server.post_ok('input', made[at:at + 100])

    def post_until_it_ends(self, server, made):
        try:
            self.post(server, made)
        except (OSError, harness.http.client.HTTPException):
            pass
        self.ended(server)

    def ended(self, server):
        self.assertEqual(server.process.wait(harness.LIMIT_S), -signal.SIGSEGV)
        server.close()

    def log(self, server):
        return ''.join(server.log)

    def errors(self, server):
        return {p['name']: p['status']['error'] for p in server.get_json('/api/v1/pipelines')}

    def again(self, server):
        """It need not be ready: a pipeline that has stopped says no."""
        server.start_process()
        server.wait_port()
        harness.wait_until(lambda: server.get('/ready').status == 200 or 'stays as it is' in self.log(server), 'a start')

    def crashes(self, server):
        with open(os.path.join(server.folder, 'weir.db.journal', '.crashes'), encoding='ascii') as file:
            return [line.split() for line in file]

    def until(self, made):
        return made[-1]['ts'] // 1000 * 1000000

    def rows(self, server, name, column='sum'):
        return {(start, k): (n, total) for start, k, n, total in server.rows(
            f'SELECT window_start / 1000, k, rows, {column} FROM {name}')}

    def edit(self, server, old, new):
        with open(server.path, encoding='utf-8') as file:
            text = file.read()
        self.assertIn(old, text)
        with open(server.path, 'w', encoding='utf-8') as file:
            file.write(text.replace(old, new))

    def test_in_taking_rows(self):
        """Then in a process of its own, where the one event that it cannot take is set aside, also for starts to come."""
        made = simple(2000, bad=(701,))
        server = self.serve(PIPELINE % ('p', 'segv', BAD, '') + READER % 'p')
        self.post(server, made[:700])
        self.post_until_it_ends(server, made[700:701] + made[701:702])
        # A start that fails says so, too.
        with socket.create_server(('127.0.0.1', 0)) as taken:
            self.edit(server, '127.0.0.1:0', f'127.0.0.1:{taken.getsockname()[1]}')
            server.start_process()
            self.assertNotEqual(server.process.wait(harness.LIMIT_S), 0)
            self.edit(server, f'127.0.0.1:{taken.getsockname()[1]}', '127.0.0.1:0')
        said = self.log(server)
        self.again(server)
        self.assertNotIn('ended by signal', self.log(server))
        self.assertRegex(said, r"ended by signal 11 \(Segmentation fault\) in pipeline 'p', "
                                           r"analyzer 'hostile' at place 2, at entry \d+")
        self.assertIn("pipeline 'p': analyzer 'hostile' at place 2 ended the server", self.log(server))
        harness.wait_until(lambda: letters(server, 1), 'the letter')
        self.post(server, made[702:])
        server.wait_watermark('p', self.until(made))
        left = [e for e in made if e['v'] != BAD]
        self.assertEqual(self.rows(server, 'p'), sums(left))
        self.check_fine(server, made)
        process, = server.get_json('/api/v1/pipelines/p')['processes']
        self.assertEqual([process['analyzer'], process['place'], process['set_aside']], ['hostile', 2, 1])
        thread, aside = sorted(self.crashes(server), reverse=True)
        self.assertEqual(thread[:5], ['thread', 'p', '2', 'hostile', '11'])
        self.assertEqual(aside[:4], ['aside', 'p', '2', 'hostile'])
        # A kill goes back to the last checkpoint: what was set aside stays so, and is not tried again.
        server.kill()
        self.again(server)
        more = [{'ts': made[-1]['ts'] + 5 + i * 5, 'k': 'ab'[i % 2], 'v': i} for i in range(400)]
        self.post(server, more)
        server.wait_watermark('p', self.until(more))
        self.assertEqual(self.rows(server, 'p'), sums(left + more))
        self.assertEqual(server.metric('weir_analyzer_restarts_total', pipeline='p'), 0)
        self.assertEqual(len(letters(server, 1)), 1)
        # A reload leaves it there; with another configuration it runs in a thread once more.
        server.process.send_signal(signal.SIGHUP)
        harness.wait_until(lambda: 'the configuration was read again' in self.log(server), 'the reload')
        self.assertEqual(len(server.get_json('/api/v1/pipelines/p')['processes']), 1)
        self.edit(server, 'how: segv', 'how: fails')
        server.process.send_signal(signal.SIGHUP)
        harness.wait_until(lambda: "pipeline 'p' is exchanged" in self.log(server), 'the exchange')
        self.assertEqual(server.get_json('/api/v1/pipelines/p')['processes'], [])
        server.stop()
        self.again(server)
        self.assertIn('it runs as configured', self.log(server))
        self.assertEqual([line[0] for line in self.crashes(server)], ['aside'])

    def test_in_giving_results(self):
        """No event can be set aside for it: the pipeline stops, and all others go on."""
        made = simple(1000, bad=(301,))
        server = self.serve(PIPELINE % ('p', 'emits', BAD, ''))
        self.post_until_it_ends(server, made[:500])
        self.again(server)
        harness.wait_until(lambda: 'stays as it is' in self.log(server), 'the end of the pipeline')
        self.assertRegex(self.errors(server)['p'], r"analyzer 'hostile': its process was killed by signal 11 .*, in emit")
        self.assertIsNone(self.errors(server)['fine'])

    def test_in_loading_a_state(self):
        made = simple(1000, bad=(901,))
        server = self.serve(PIPELINE % ('p', 'reads', BAD, '') + PIPELINE % ('whole', 'fails', BAD - 1, ''))
        self.post(server, made)
        server.stop()
        server.process = None
        server.start_process()
        self.ended(server)
        self.again(server)
        self.assertRegex(self.log(server), r"in pipeline 'p', analyzer 'hostile' at place 2, at entry \d+")
        more = [{'ts': made[-1]['ts'] + 5 + i * 5, 'k': 'ab'[i % 2], 'v': i} for i in range(400)]
        self.post(server, more)
        harness.wait_until(lambda: 'stays as it is' in self.log(server), 'the end of the pipeline')
        server.wait_watermark('whole', self.until(more))
        self.assertEqual(self.rows(server, 'whole'), sums(made + more))
        self.check_fine(server, made + more)
        self.assertRegex(self.errors(server)['p'], 'its process was killed by signal 11 .*, in load')

    def test_in_being_opened(self):
        """Also in its process: the pipeline is left out, with those that read it, and keeps its place."""
        made = simple(1000)
        server = self.serve(PIPELINE % ('p', 'opens', BAD, '') + READER % 'p')
        self.post(server, made[:500])
        server.stop()
        with open(os.path.join(server.folder, 'file'), 'w', encoding='ascii'):
            pass
        server.process = None
        server.start_process()
        self.ended(server)
        self.again(server)
        self.assertIn("in pipeline 'p', analyzer 'hostile' at place 2, at entry 0", self.log(server))
        errors = self.errors(server)
        self.assertRegex(errors['p'], 'cannot run in a process of its own: .*its process was killed by signal 11 .*, in open')
        self.assertIn("pipeline 'p', which it reads, has stopped", errors['reader'])
        self.assertIsNone(errors['fine'])
        self.post(server, made[500:])
        server.wait_watermark('fine', self.until(made))
        self.check_fine(server, made)
        for _ in range(2):  # no reload, nor start, ends it
            server.process.send_signal(signal.SIGHUP)
            harness.wait_until(lambda: 'the configuration was read again' in self.log(server), 'the reload')
            server.stop()
            self.again(server)
        server.stop()
        with open(os.path.join(server.folder, 'file'), 'w', encoding='ascii') as file:
            file.write('another one')  # a parameter names it, so that it is tried in a thread once more
        server.process = None
        server.start_process()
        self.ended(server)
        self.again(server)
        server.stop()
        os.remove(os.path.join(server.folder, 'file'))
        self.again(server)
        for name in ('p', 'reader'):
            server.wait_watermark(name, self.until(made))
        self.assertEqual(self.rows(server, 'p'), sums(made))

    def test_on_crash_stop_leaves_the_pipeline_out(self):
        made = simple(1000, bad=(301,))
        server = self.serve(PIPELINE % ('p', 'segv', BAD, ', on_crash: stop'))
        self.post(server, made[:300])
        self.post_until_it_ends(server, made[300:302])
        self.again(server)
        self.assertRegex(self.errors(server)['p'],
                         r"^analyzer 'hostile' ended the server by signal 11 \(Segmentation fault\) at entry \d+ \(on_crash: stop\)$")
        self.post(server, made[302:])
        server.wait_watermark('fine', self.until(made))
        self.check_fine(server, made)
        # It has kept its place.
        self.edit(server, 'how: segv', 'how: fails')
        self.edit(server, f'at: {BAD}', f'at: {BAD - 1}')
        server.process.send_signal(signal.SIGHUP)
        harness.wait_until(lambda: "pipeline 'p' is exchanged" in self.log(server), 'the exchange')
        server.wait_watermark('p', self.until(made))
        self.assertEqual(self.rows(server, 'p'), sums(made))

    def test_left_out_before_its_tables_are_known(self):
        """Some analyzers say in `open` what they give, which none does here: whatever asks for tables finds none."""
        made = simple(1000, bad=(301,))
        hook = ', webhook: {to: "http://127.0.0.1:9/"}}\n'
        server = self.serve(
            (PIPELINE % ('p', 'segv', BAD, ', on_crash: stop')).replace('[count,', '[{sum: {of: v}, as: total},').replace('}\n', hook) +
            '  reader: {from: p, window: {tumbling: 1s}, analyzers: [{sum: {of: total}}]' + hook)
        self.post(server, made[:300])
        server.wait_watermark('p', self.until(made[:300]))
        hooks = 'SELECT pipeline, table_name, since, position FROM weir_hooks ORDER BY 1'
        before = server.rows(hooks)
        self.assertEqual([pipeline for pipeline, *_ in before], ['p', 'reader'])
        self.post_until_it_ends(server, made[300:302])
        for _ in range(2):
            self.again(server)
            self.assertIn('on_crash: stop', self.errors(server)['p'])
            server.process.send_signal(signal.SIGHUP)
            harness.wait_until(lambda: 'the configuration was read again' in self.log(server), 'the reload')
            for path in ('p/results', 'p/results/p', 'p/results/p?changed_since=now', 'p/results/live'):
                answer = server.get('/api/v1/pipelines/' + path)
                self.assertEqual((answer.status, json.loads(answer.body)['code']), (503, 'pipeline_failed'), path)
            self.assertEqual(server.get('/api/v1/pipelines/reader/results').status, 404)
            self.assertEqual(server.get_json('/api/v1/pipelines/p')['tables'], [])
            for path in ('/metrics', '/api/v1/pipelines/p/watermarks', '/api/v1/pipelines', '/api/v1/streams'):
                self.assertEqual(server.get(path).status, 200, path)
            self.assertEqual(server.rows(hooks), before)
            server.stop()
        self.again(server)
        self.post(server, made[302:])
        server.wait_watermark('fine', self.until(made))
        self.check_fine(server, made)
        self.edit(server, f'at: {BAD}', f'at: {BAD - 1}')
        server.process.send_signal(signal.SIGHUP)
        harness.wait_until(lambda: "pipeline 'p' is exchanged" in self.log(server), 'the exchange')
        for name in ('p', 'reader'):
            server.wait_watermark(name, self.until(made))
        self.assertEqual(self.rows(server, 'p', 'total'), {key: (n, total) for key, (n, total) in sums(made).items()})

    def test_what_was_set_aside_of_a_pipeline_that_begins_afresh(self):
        """Rows that it reads get numbers anew: they are not those that were set aside."""
        made = [{'ts': T0 + i * 100, 'k': 'a', 'v': i} for i in range(200)]
        of = sums(made)
        bad = of[T0 + 4000, 'a'][1]
        server = self.serve(
            '  p: {from: input, window: {tumbling: 1s}, idle_timeout: 1h, analyzers: [{sum: {of: v}, as: total}]}\n'
            f'  reader: {{from: p, window: {{tumbling: 2s}}, analyzers: [{{hostile: {{how: segv, of: total, at: {bad}}}, run: process}}]}}\n')
        self.post(server, made)
        harness.wait_until(lambda: 'an event is set aside' in self.log(server), 'the event that is set aside')
        self.assertEqual(len(harness.wait_until(lambda: letters(server, 1), 'the letter')), 1)
        self.assertEqual([line[:4] for line in self.crashes(server)], [['aside', 'reader', '1', 'hostile']])
        self.edit(server, f'at: {bad}', f'at: {bad + 0.5}')
        server.process.send_signal(signal.SIGHUP)
        harness.wait_until(lambda: 'the configuration was read again' in self.log(server), 'the reload')
        self.assertEqual(self.crashes(server), [])

    def test_that_one_cannot_run_in_a_process(self):
        """Results that are replaced are taken out again, which a process does not do."""
        made = simple(1000, bad=(301,))
        body = ("  each: {from: input, key: [k], window: {global: 1s}, idle_timeout: 1h, analyzers: [{sum: {of: v}, as: total}]}\n"
                "  p: {from: each, window: {global: 1s}, analyzers: [{takes: {of: total}}]}\n")
        harness.compile_plugin(self.folder, 'takes', TAKES)
        server = self.serve(body)
        self.post_until_it_ends(server, made)
        self.again(server)
        self.assertRegex(self.errors(server)['p'], "cannot run in a process of its own: .*'run: process' is not for results")
        self.assertIsNone(self.errors(server)['each'])
        self.assertIsNone(self.errors(server)['fine'])


# Sums, and takes out; crashes at the first value that is taken out.
TAKES = r'''
#include <weir/plugin.h>
struct config { const char *of; };
struct state { double sum; };
static const struct weir_param params[] = {
    {.name = "of", .type = WEIR_PARAM_COLUMN, .flags = WEIR_REQUIRED, .offset = offsetof(struct config, of),
     .column_types = WEIR_NUMBERS, .help = "a column"}, {0}};
static const struct weir_output outputs[] = {{"taken", WEIR_FLOAT, "sum", NULL}, {0}};
static void step(struct state *s, const struct weir_rows *r, uint32_t row) { s->sum += weir_number(r->in[0], row); }
static int retract(struct weir_ctx *ctx, const struct weir_rows *r) { *(volatile int *)8 = 1; return 0; }
static int emit_one(struct weir_ctx *c, const struct state *s, const struct weir_window *w, struct weir_out *o)
{
    return weir_put_float(c, o, 0, s->sum);
}
WEIR_STEP(update, struct state, step)
WEIR_EMIT(emit, struct state, emit_one)
static const struct weir_analyzer takes = {.name = "takes", .version = "1", .help = "Sums", .params = params,
    .outputs = outputs, .config_size = sizeof(struct config), .state_size = sizeof(struct state), .update = update,
    .retract = retract, .emit = emit};
WEIR_PLUGIN(takes);
'''

if __name__ == '__main__':
    unittest.main()
