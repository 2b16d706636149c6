# SPDX-License-Identifier: Apache-2.0
"""What an analyzer does to its process stays there: each way to die, and each thing that it may not do."""

import json
import os
import re
import unittest

from apart import BAD, Case, children, hostile, letters, simple, sums
import harness

ENDS = ('segv', 'aborts', 'exits', 'hangs', 'stops', 'leaks', 'deep', 'outside', 'dies')
REFUSED = ('forks', 'execs', 'sockets', 'writes', 'removes', 'kills', 'owns', 'nices', 'schedules')


class Dies(Case, unittest.TestCase):
    """One event ends the process, three times; it is left out of that analyzer's results, all others are counted once."""
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.made = simple(4000, bad=(1501,))
        cls.left = [e for e in cls.made if e['v'] != BAD]
        cls.until = cls.made[-1]['ts'] // 1000 * 1000000
        # A sanitizer has its own way with a wrong address and at an exit, and with memory.
        cls.ends = [how for how in ENDS if not (harness.sanitized() and how == 'leaks')]
        cls.running = cls.server(''.join(hostile(how, how) for how in cls.ends))
        cls.running.__enter__()
        cls.addClassCleanup(cls.running.__exit__, None, None, None)
        for at in range(0, len(cls.made), 250):
            cls.running.post_ok('input', cls.made[at:at + 250])

    def check(self, how, said):
        server = self.running
        if how not in self.ends:
            self.skipTest('with a sanitizer there is no limit of memory')
        if harness.sanitized() and how in ('segv', 'exits', 'deep', 'outside'):
            said = 'exited with status|killed by signal'
        server.wait_watermark(how, self.until)
        rows = server.rows(f'SELECT window_start / 1000, k, rows, sum FROM {how}')
        self.assertEqual({(start, k): (n, total) for start, k, n, total in rows}, sums(self.left))
        self.assertGreaterEqual(server.metric('weir_analyzer_restarts_total', pipeline=how), 3)
        status = server.get_json(f'/api/v1/pipelines/{how}')
        process, = status['processes']
        self.assertEqual([process['analyzer'], process['set_aside']], ['hostile', 1])
        self.assertIn(process['pid'], children(server.process.pid))
        self.assertFalse(status['status']['restarting'])
        found = harness.wait_until(lambda: [one for one in letters(server, 1) or () if f"pipeline '{how}'," in one[0]], 'a letter')
        (message, record), = found
        self.assertRegex(message, rf"analyzer 'hostile': set aside, its process (was )?({said}).*, in update, at entry \d+, 3 times")
        self.assertEqual(json.loads(record), {'ts': '2023-11-14T22:13:27.505000Z', 'k': 'b', 'user': None,
                                              's': None, 'v': BAD, 'w': None, 'yes': None})

    def test_one_that_reads_a_wrong_address(self):
        self.check('segv', 'killed by signal 11')

    def test_one_that_gives_up(self):
        self.check('aborts', 'killed by signal 6')

    def test_one_that_calls_exit(self):
        self.check('exits', 'exited with status 0')

    def test_one_that_hangs(self):
        self.check('hangs', r'did not go on for [\d.]+ s \(limit_time\)')

    def test_one_that_is_stopped(self):
        self.check('stops', r'did not go on for [\d.]+ s \(limit_time\)')

    def test_one_that_leaks(self):
        self.check('leaks', 'killed by signal 11')

    def test_one_that_fills_its_stack(self):
        self.check('deep', 'killed by signal 11')

    def test_one_that_writes_outside_its_memory(self):
        self.check('outside', 'killed by signal 11')

    def test_one_that_is_killed(self):
        self.check('dies', 'killed by signal 9')

    def test_others_have_all_events(self):
        self.running.wait_watermark('fine', self.until)
        self.check_fine(self.running, self.made)


class Refused(Case, unittest.TestCase):
    """Calls that reach beyond its process fail, and it goes on."""
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.made = simple(2000, bad=(333, 1000))
        cls.until = cls.made[-1]['ts'] // 1000 * 1000000
        cls.running = cls.server(''.join(hostile(how, how) for how in REFUSED))
        cls.running.__enter__()
        cls.addClassCleanup(cls.running.__exit__, None, None, None)
        with open(os.path.join(cls.running.folder, 'file'), 'w', encoding='ascii') as file:
            file.write('mine')
        cls.running.post_ok('input', cls.made)

    def check(self, how):
        self.running.wait_watermark(how, self.until)
        rows = self.running.rows(f'SELECT window_start / 1000, k, rows, sum, done FROM {how}')
        self.assertEqual({(start, k): (n, total) for start, k, n, total, _ in rows}, sums(self.made))
        self.assertEqual({done for *_, done in rows}, {0})
        self.assertEqual(self.running.metric('weir_analyzer_restarts_total', pipeline=how), 0)

    def check_file(self):
        with open(os.path.join(self.running.folder, 'file'), encoding='ascii') as file:
            self.assertEqual(file.read(), 'mine')

    def test_one_that_forks(self):
        self.check('forks')

    def test_one_that_starts_a_program(self):
        self.check('execs')

    def test_one_that_opens_a_socket(self):
        self.check('sockets')

    def test_one_that_writes_to_a_file(self):
        self.check('writes')
        self.check_file()

    def test_one_that_removes_a_file(self):
        self.check('removes')
        self.check_file()

    def test_one_that_ends_the_server(self):
        self.check('kills')

    def test_one_that_has_signals_sent_to_the_server(self):
        self.check('owns')

    def test_one_that_has_the_server_wait(self):
        self.check('nices')
        self.check('schedules')

    def test_others_have_all_events(self):
        self.running.wait_watermark('fine', self.until)
        self.check_fine(self.running, self.made)


if __name__ == '__main__':
    harness.main()
