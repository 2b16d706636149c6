# SPDX-License-Identifier: Apache-2.0
"""An analyzer's process ends, by itself or with the server: the pipeline goes on where it was, or says why not."""

import os
import unittest

from apart import HOSTILE, T0, Case, children, hostile, is_zombie, kill, letters, simple, sums
import harness


class Ends(Case, unittest.TestCase):
    def test_a_process_that_is_killed_is_started_again_and_nothing_is_lost_or_doubled(self):
        made = simple(8000)
        with self.server(hostile('p', 'fails'), 'checkpoint_interval: 50ms') as server:
            for at in range(0, len(made), 500):
                server.post_ok('input', made[at:at + 500])
                if at in (1000, 2500, 3000, 6000):
                    for pid in harness.wait_until(lambda: children(server.process.pid), 'a process'):
                        kill(pid)  # the next events find out
            server.wait_watermark('p', made[-1]['ts'] // 1000 * 1000000)
            rows = server.rows('SELECT window_start / 1000, k, rows, sum FROM p')
            self.assertEqual({(start, k): (n, total) for start, k, n, total in rows}, sums(made))
            self.check_fine(server, made)
            self.assertGreaterEqual(server.metric('weir_analyzer_restarts_total', pipeline='p'), 1)
            self.assertEqual(letters(server, 0), [])

    def test_on_crash_stop_stops_the_pipeline(self):
        made = simple(2000, bad=(900,))
        server = self.server(hostile('p', 'dies', ', on_crash: stop'))
        self.addCleanup(server.remove_folder)
        self.addCleanup(server.kill)
        server.start()
        server.post_ok('input', made)
        server.wait_watermark('fine', made[-1]['ts'] // 1000 * 1000000)
        harness.wait_until(lambda: server.get('/ready').status == 503, 'the failure')
        self.assertIn(b'its process was killed by signal 9', server.get('/ready').body)
        self.assertIn(b'in update, at entry 1', server.get('/ready').body)
        self.check_fine(server, made)
        server.process.terminate()
        self.assertEqual(server.process.wait(harness.LIMIT_S), 1)

    def test_what_an_analyzer_says_is_said(self):
        server = self.server(hostile('fails', 'fails'))
        self.addCleanup(server.remove_folder)
        self.addCleanup(server.kill)
        server.start()
        made = simple(2000, bad=(900,))
        server.post_ok('input', made)
        harness.wait_until(lambda: server.get('/ready').status == 503, 'the failure')
        self.assertIn(b"analyzer 'hostile': it says why", server.get('/ready').body)
        server.wait_watermark('fine', made[-1]['ts'] // 1000 * 1000000)
        self.check_fine(server, made)

    def test_the_way_can_change_between_two_starts(self):
        made = simple()
        body = '  p: {from: input, key: [k], window: {tumbling: 1h}, idle_timeout: 1h, analyzers: [{sum: {of: v}, run: WAY}, {topk: {of: s}, run: WAY}]}\n'
        with self.server(body.replace('WAY', 'thread')) as server:
            for way in ('process', 'thread', None):
                server.post_ok('input', made)
                if not way:
                    break
                server.stop()
                server.kill()
                with open(server.path, encoding='utf-8') as file:
                    text = file.read()
                with open(server.path, 'w', encoding='utf-8') as file:
                    file.write(text.replace('run: process', f'run: {way}') if way == 'thread'
                               else text.replace('run: thread', f'run: {way}'))
                server.start()
            server.post_ok('input', [{'ts': T0 + 7200000, 'k': 'end'}])
            server.wait_watermark('p', (T0 + 3600000) * 1000)
            expected = {k: 3 * sum(e['v'] for e in made if e['k'] == k) for k in 'ab'}
            self.assertEqual(dict(server.rows("SELECT k, v_sum FROM p WHERE k <> 'end'")), expected)

    def test_processes_end_with_the_server(self):
        with self.server(hostile('p', 'fails')) as server:
            server.post_ok('input', simple())
            found = children(server.process.pid)
            self.assertEqual(len(found), 1)
            server.process.kill()
            harness.wait_until(lambda: not os.path.exists(f'/proc/{found[0]}') or is_zombie(found[0]), 'its end')
            server.restart()

    def test_one_that_dies_in_loading_states_keeps_nobody_from_starting(self):
        """The server starts, the others go on; once it is another plugin, it goes on from where it was."""
        # States of more bytes than a ring has, and of two groups: their loading is found to have failed with the next event.
        made = [*simple(2002), *({'ts': T0 + 10005, 'k': f'k{i}', 'v': i} for i in range(1500))]
        end = {'ts': T0 + 20000, 'k': 'a', 'v': 1}
        wanted = {'p': [*made, end], 'q': [*made, end], 'few': [*made[:2002], end]}
        with self.server(hostile('p', 'loads') + hostile('q', 'loads', ', on_crash: stop') +
                         hostile('few', 'loads', where="k IN ('a', 'b')")) as server:
            server.post_ok('input', made)
            for name in wanted:
                server.wait_watermark(name, (T0 + 10000) * 1000)
            server.stop()
            server.start_process()
            server.wait_port()
            for name in 'pq':
                self.wait_failure(server, name)
            server.post_ok('input', [end])
            server.wait_watermark('fine', (T0 + 20000) * 1000)
            self.check_fine(server, [*made, end])
            self.wait_failure(server, 'few')
            server.kill()
            mended = harness.folder_for_test(self)
            harness.compile_plugin(mended, 'hostile', HOSTILE.replace('if (c->how == LOADS)', 'if (0)'))
            server.start(WEIR_PLUGIN_PATH=f'{harness.plugin_path()}:{mended}')
            for name, all_ in wanted.items():
                server.wait_watermark(name, (T0 + 20000) * 1000)
                rows = server.rows(f'SELECT window_start / 1000, k, rows, sum FROM {name}')
                self.assertEqual({(start, k): (n, total) for start, k, n, total in rows}, sums(all_))

    def test_one_that_fails_for_open_windows_fails_in_that_answer_only(self):
        made = simple(2000, bad=(1801,))
        answers = []
        with self.server(hostile('process', 'early', ', as: x') +
                         hostile('thread', 'early', ', as: x').replace('run: process, memory: 64MiB, limit_time: 30s, ', '')) as server:
            for at in (0, 1000):
                server.post_ok('input', made[at:at + 1000])
                for name in ('process', 'thread'):
                    server.wait_watermark(name, (T0 + at * 5 + 4000) * 1000)
                    answer = server.get(f'/api/v1/pipelines/{name}/results?live=1&order=desc')
                    answers.append((answer.status, answer.body.decode().replace(f"'{name}'", '')))
            (good, before), (good_, before_), (bad, after), (bad_, after_) = answers
            self.assertEqual((good, good_, before), (200, 200, before_))
            self.assertEqual((bad, after), (bad_, after_))
            self.assertIn("not yet", after)
            self.assertGreaterEqual(bad, 400)
            end = [*made, {'ts': T0 + 20000, 'k': 'a', 'v': 1}]
            server.post_ok('input', end[-1:])
            for name in ('process', 'thread'):
                server.wait_watermark(name, (T0 + 20000) * 1000)
                rows = server.rows(f'SELECT window_start / 1000, k, x_rows, x_sum FROM {name}')
                self.assertEqual({(start, k): (n, total) for start, k, n, total in rows}, sums(end))
            self.assertEqual(server.metric('weir_analyzer_restarts_total', pipeline='process'), 0)

    def wait_failure(self, server, name):
        """For good, by `on_crash`, or the third time."""
        def failed():
            status = server.get_json(f'/api/v1/pipelines/{name}')['status']
            return not status['restarting'] and status['error']
        def stays():
            return sum(f"pipeline '{name}' stays as it is" in line for line in server.log)
        if name != 'q':  # tried again, it is one that failed for a moment, too
            harness.wait_until(stays, f'the last try of {name}')
        self.assertIn('its process was killed by signal 9 (Killed), in load', harness.wait_until(failed, f'the end of {name}'))
        self.assertEqual(stays(), name != 'q')


if __name__ == '__main__':
    harness.main()
