# SPDX-License-Identifier: Apache-2.0
"""The queries of bench/nexmark give, on a few thousand events, what SQLite and Python give."""

import os
import subprocess
import sys
import unittest

import harness


class Nexmark(unittest.TestCase):
    def test_queries_give_what_sqlite_and_python_give(self):
        done = subprocess.run([sys.executable, os.path.join(harness.SOURCE, 'bench', 'nexmark', 'run'), harness.BUILD,
                               '--events', '6000', '--seed', '3'], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, timeout=harness.LIMIT_S * 4, check=False)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertGreaterEqual(done.stdout.count('  yes\n'), 23)


if __name__ == '__main__':
    harness.main()
