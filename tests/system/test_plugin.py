# SPDX-License-Identifier: Apache-2.0
"""An analyzer of one's own, out of the tree: installed weir, pkg-config, one compiler call."""

import os
import shutil
import subprocess
import unittest

import harness

EXAMPLE = os.path.join(harness.SOURCE, 'tests', 'system', 'example-plugin')


class OutOfTree(unittest.TestCase):
    def test_example_plugin_builds_against_an_installed_weir_and_runs(self):
        if not shutil.which('pkg-config'):
            self.skipTest('no pkg-config')
        folder = harness.folder_for_test(self)
        stage = os.path.join(folder, 'stage')
        subprocess.run([os.environ.get('MAKE', 'make'), '-C', harness.BUILD, 'install',
                        f'DESTDIR={stage}'], check=True, stdout=subprocess.DEVNULL,
                       env={k: v for k, v in os.environ.items() if k not in ('MAKEFLAGS', 'MFLAGS')})
        self.fail(os.listdir(stage))


if __name__ == '__main__':
    harness.main()
