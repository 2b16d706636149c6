#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""bench/skew.py: its formulas beside what is drawn by chance, and its fluid beside what can be said by hand."""

import importlib.util
import math
import os
import random
import subprocess
import sys
import unittest

import harness

PROGRAM = os.path.join(harness.SOURCE, 'bench', 'skew.py')


def load():
    spec = importlib.util.spec_from_file_location('skew', PROGRAM)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


skew = load()


class Skew(unittest.TestCase):
    def test_partials_are_those_that_are_drawn(self):
        draw = random.Random(7)
        for exponent, keys, events in ((0.0, 500, 400), (1.2, 2000, 3000), (1.5, 10000, 20000)):
            shares = skew.zipf(keys, exponent)
            self.assertAlmostEqual(sum(shares), 1, 9)
            seen = [len(set(draw.choices(range(keys), shares, k=events))) for _ in range(40)]
            partials, _ = skew.two_phase(shares, 8, 2, events, 1)
            self.assertAlmostEqual(partials / (sum(seen) / len(seen) / events), 1, 1)

    def test_busiest_partition_is_that_of_the_events_that_are_drawn(self):
        draw = random.Random(8)
        shares = skew.zipf(1000, 1.2)
        count = [0] * 16
        for key in draw.choices(range(1000), shares, k=200000):
            count[skew.partition_of(key, 16)] += 1
        part, node = skew.by_key(shares, 16, 4)
        self.assertAlmostEqual(part, max(count) * 16 / 200000, 1)
        self.assertAlmostEqual(node, max(sum(count[n::4]) for n in range(4)) * 4 / 200000, 1)

    def test_nothing_is_busier_than_all_of_it(self):
        self.assertEqual(skew.by_key([1.0], 4, 2), (4, 2))
        self.assertEqual(skew.two_phase([1.0], 4, 2, 100, 0)[1], 1)

    def test_lost_node_is_caught_up_by_what_is_left(self):
        # 2 nodes, 2 partitions of 1 M/s; the one left has 3 M/s for both: 3 M wait after 3 s, and 1 M/s is to spare.
        o = skew.options(['lost', '--nodes', '2', '--partitions', '2', '--rate', '2e6', '--capacity', '3e6',
                          '--session-s', '3', '--state-mb', '1e-9'])
        moved, resumes, worst, caught = skew.lose_node(o, True)
        self.assertEqual(moved, 1)
        self.assertAlmostEqual(resumes, 3, 3)
        self.assertAlmostEqual(worst, 3, delta=0.2)
        self.assertTrue(5 < caught < 6.2, caught)
        o.capacity = 1.9e6
        self.assertEqual(skew.lose_node(o, True)[3], math.inf)

    def test_eager_assignment_stops_all(self):
        o = skew.options(['lost', '--nodes', '4', '--partitions', '16', '--rate', '1e6', '--capacity', '1e6'])
        sticky, eager = skew.lose_node(o, True), skew.lose_node(o, False)
        self.assertEqual(sticky[0], 4)
        self.assertGreater(eager[0], 4)

    def test_cost_is_that_of_the_dearest(self):
        o = skew.options(['cost', '--cpu-s-per-million', '0.5', '--row-cpu-us', '1', '--rows-s', '600000', '--busy', '0.5',
                          '--cores', '10', '--gbit-s', '10', '--event-bytes', '100', '--compression', '2'])
        self.assertEqual(skew.cost(o, 1e7), [('cores', (5 / .5 + .6 / .5) / 10), ('network', 4e9 / 5e9), ('PostgreSQL', 2)])

    def test_it_runs_and_says_what_it_cannot(self):
        out = subprocess.run([sys.executable, PROGRAM], stdout=subprocess.PIPE, text=True, check=True).stdout
        self.assertEqual(out.count('events/s in all'), 2)
        self.assertIn('PostgreSQL servers', out)
        for bad in (['--nodes', '1'], ['--keys', '0'], ['--partitions', '4', '--nodes', '5']):
            done = subprocess.run([sys.executable, PROGRAM, *bad], stderr=subprocess.PIPE, text=True, check=False)
            self.assertEqual(done.returncode, 2)
            self.assertIn('at least two nodes', done.stderr)


if __name__ == '__main__':
    unittest.main()
