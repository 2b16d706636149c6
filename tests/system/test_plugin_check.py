# SPDX-License-Identifier: Apache-2.0
"""weir plugin check: the plugins that ship keep the laws (all of them with WEIR_LONG=1, ./dev hard; test_laws has them, too); each of many broken ones is caught, with rows that a hand can
count, and the program that shows it compiles and shows it."""

import glob
import os
import re
import subprocess
import threading
import unittest

import harness

LONG = os.environ.get('WEIR_LONG') == '1'
# What is broken, the first law that says so, and whether the program shows it by its status (what is printed can be
# seen only).
BROKEN = {
    'SPLIT': ('split', True), 'LAYOUT': ('layout', True), 'GROUPS': ('groups', True), 'EMIT': ('emit', True),
    'SAVE': ('save', True), 'CONTEXTS': ('contexts', True), 'EMPTY': ('empty', True), 'MERGE': ('merge', True),
    'RETRACT': ('retract', True), 'LOST': ('split', True), 'LEAKS': ('leaks', True), 'MEMORY': ('memory', True),
    'DAMAGE': ('damage', True), 'PROCESS': ('process', True), 'OUTSIDE': ('split', True), 'BEYOND': ('split', True),
    'STRINGS': ('split', True), 'PRINTS': ('split', False), 'WRITES': ('split', True), 'GIVES': ('split', True),
}
# Parameters that no table can give.
LAWFUL = os.path.join(harness.SOURCE, 'tests', 'plugins', 'lawful.py')
WITH = {'score': 'of: "v:string", url: "http://h/"',
        'funnel': 'steps: view > cart > paid',
        'sql': 'select: "SELECT x, count(*) AS n FROM events GROUP BY x", columns: ["x:string"]',
        'python': f'file: {LAWFUL}, of: ["a:int", "b:string"]',
        'python_window': f'file: {LAWFUL}, of: ["a:int", "b:string"]'}
CC = [*os.environ.get('CC', 'cc').split(), '-std=gnu11', '-I', os.path.join(harness.SOURCE, 'include')]
INSTRUMENT = subprocess.run(['grep', '-h', '^INSTRUMENT_CFLAGS', os.path.join(harness.BUILD, 'Makefile')],
                            stdout=subprocess.PIPE, text=True, check=False).stdout
SANITIZED = 'fsanitize' in INSTRUMENT


def in_turns(items, act, at_once=2):
    """act(item) for all of them, on some threads."""
    left, lock = list(items), threading.Lock()

    def work():
        while True:
            with lock:
                if not left:
                    return
                item = left.pop()
            act(item)
    threads = [threading.Thread(target=work) for _ in range(at_once)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@unittest.skipIf('thread' in INSTRUMENT, 'broken plugins break otherwise there; test_laws runs all laws with it')
class Check(unittest.TestCase):
    def setUp(self):
        self.folder = harness.folder_for_test(self)

    def build(self, name, *flags):
        folder = os.path.join(self.folder, name)
        os.makedirs(folder, exist_ok=True)
        path = os.path.join(folder, 'breaks.so')
        subprocess.run([*CC, '-w', '-shared', '-fPIC', '-fno-stack-protector', *flags,
                        os.path.join(harness.SOURCE, 'tests/plugins/breaks.c'), '-o', path], check=True)
        return folder, path

    def test_what_ships_keeps_all_laws(self):
        found, said = sorted(glob.glob(os.path.join(harness.BUILD, 'plugins', '*.so'))), {}
        self.assertGreater(len(found), 10)
        if not LONG:  # those that test_laws has no parameters for, and some
            found = [path for i, path in enumerate(found) if os.path.basename(path)[:-3] in WITH or i % 6 == 0]

        def check(path):
            given = WITH.get(os.path.basename(path)[:-3])
            done = harness.weir('plugin', 'check', path, *(['--with', given] if given else []))
            if done.returncode != 0:
                said[path] = done.stdout + done.stderr
        in_turns(found, check)
        self.assertEqual(said, {})

    def test_each_broken_one_is_caught_and_shown(self):
        faults = []
        _, good = self.build('good')

        def check(name):
            law, shows = BROKEN[name]
            folder, path = self.build(name, f'-DBREAK={name}')
            program = os.path.join(folder, 'counter.c')
            done = harness.weir('plugin', 'check', path, '-o', program)
            first = re.search(r'^FAIL  (\w+).*\n((?:        .*\n)+)', done.stdout, re.M)
            if done.returncode != 1 or not first or first.group(1) != law:
                faults.append((name, done.returncode, done.stdout))
                return
            if int(re.search(r'; with (\d+) rows?$', first.group(2), re.M).group(1)) > 5:
                faults.append((name, 'too many rows', first.group(2)))
            subprocess.run([*CC, '-Wall', '-Wextra', '-Werror', '-o', program[:-2], program, '-lm', '-ldl'], check=True)
            shown = subprocess.run([program[:-2], path], stdout=subprocess.PIPE, check=False)
            # What lies behind a string in memory is another thing there.
            shows = shows and not (name == 'STRINGS' and harness.sanitized())
            if shows and shown.returncode == 0:
                faults.append((name, 'the program does not show it', shown.stdout))
            # The same steps with the analyzer as it should be.
            shown = subprocess.run([program[:-2], good], stdout=subprocess.PIPE, check=False)
            if shown.returncode != 0 and name != 'RETRACT':
                faults.append((name, 'the program finds fault with a good one', shown.stdout))
        in_turns(BROKEN, check)
        self.assertEqual(faults, [])

    def test_what_is_not_broken_is_not_caught(self):
        _, path = self.build('good')
        done = harness.weir('plugin', 'check', path)
        self.assertEqual((done.returncode, done.stderr), (0, ''), done.stdout)
        self.assertNotIn('FAIL', done.stdout)
        for law in ('load', 'split', 'merge', 'process'):
            self.assertRegex(done.stdout, rf'(?m)^ok    {law} ')

    def test_parameters_can_be_given(self):
        _, path = self.build('good')
        done = harness.weir('plugin', 'check', '--with', 'of: price', path)
        self.assertIn('with      {of: price', done.stdout)
        self.assertEqual(done.returncode, 0)
        for given, status, said in (('of: price:float', 65, "column 'price' is of type float, but 'of' of 'breaks' takes: int"),
                                    ('fo: price', 65, "'breaks' has no parameter 'fo', did you mean 'of'?"),
                                    ('of: x:itn', 65, "'itn' is no type")):
            done = harness.weir('plugin', 'check', '--with', given, path)
            self.assertEqual(done.returncode, status)
            self.assertIn(said, done.stdout)

    def test_threads_of_a_library_beneath_python_are_held_to_one_unless_the_user_says_how_many(self):
        """As OpenBLAS begins them when numpy is imported."""
        python = os.path.join(harness.BUILD, 'plugins', 'python.so')
        if not os.path.exists(python) or SANITIZED:
            self.skipTest('built without Python, or sanitized')
        path = os.path.join(self.folder, 'threads.py')
        with open(path, 'w', encoding='utf-8') as file:
            file.write('import os, threading, time\nfrom typing import NamedTuple\nimport weir\n'
                       'for _ in range(int(os.environ.get("OPENBLAS_NUM_THREADS", "4")) - 1):\n'
                       '    threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()\n'
                       'class Row(NamedTuple):\n    n: int\n'
                       '@weir.window\ndef rows(x) -> Row:\n    return Row(len(x))\n')
        python = python.replace('python.so', 'python_window.so')
        others = ('split', 'layout', 'groups', 'emit', 'contexts', 'leaks', 'memory', 'threads')
        command = ('plugin', 'check', '--with', f'file: {path}, of: ["x:int"], nulls: skip', python,
                   *(a for law in others for a in ('--without', law)))
        done = harness.weir(*command)
        self.assertEqual((done.returncode, done.stderr), (0, ''), done.stdout)
        self.assertIn('ok    process ', done.stdout)
        done = harness.weir(*command, env=harness.environment(OPENBLAS_NUM_THREADS='3'))
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stdout, 'it changes what belongs to the process: threads 3 -> threads [56]')  # 6: numpy's, too

    def test_the_program_is_written_where_it_is_wanted_only(self):
        _, path = self.build('MERGE', '-DBREAK=MERGE')
        done = harness.weir('plugin', 'check', path)
        self.assertEqual(done.returncode, 1)
        self.assertIn('-o FILE writes a program in C that shows it', done.stdout)
        self.assertNotIn('#include', done.stdout)

    def test_laws_can_be_left_out(self):
        _, path = self.build('MERGE', '-DBREAK=MERGE')
        self.assertEqual(harness.weir('plugin', 'check', '--without', 'merge', path).returncode, 0)
        self.assertEqual(harness.weir('plugin', 'check', '--without', 'murge', path).returncode, 64)

    @unittest.skipUnless(LONG, 'eight seconds of a core: only in ./dev hard')
    def test_one_that_hangs_is_ended(self):
        _, path = self.build('HANGS', '-DBREAK=HANGS')
        done = harness.weir('plugin', 'check', '--limit', '1', path)
        self.assertEqual(done.returncode, 1)
        self.assertIn('update did not come back', done.stdout)

    def test_what_is_no_plugin_is_told(self):
        path = os.path.join(self.folder, 'text.so')
        with open(path, 'w', encoding='ascii') as file:
            file.write('no plugin')
        self.assertEqual(harness.weir('plugin', 'check', path).returncode, 1)
        self.assertEqual(harness.weir('plugin', 'check', os.path.join(self.folder, 'none.so')).returncode, 1)
        self.assertEqual(harness.weir('plugin', 'check', 'plugin.c').returncode, 65)
        self.assertEqual(harness.weir('plugin', 'check').returncode, 64)
        harness.compile_plugin(self.folder, 'early',
                               '__attribute__((constructor)) static void f(void) { *(volatile int *)8 = 1; }')
        done = harness.weir('plugin', 'check', os.path.join(self.folder, 'early.so'))
        self.assertEqual(done.returncode, 1)
        if not SANITIZED:
            self.assertIn('signal 11', done.stdout)

    @unittest.skipIf(SANITIZED, 'it is there already')
    def test_a_sanitizer_that_it_was_built_with_is_put_in_front(self):
        try:
            _, path = self.build('STRINGS', '-DBREAK=STRINGS', '-fsanitize=address', '-g')
        except subprocess.CalledProcessError:
            self.skipTest('no address sanitizer')
        done = harness.weir('plugin', 'check', path)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn('AddressSanitizer: stack-buffer-overflow', done.stdout)


if __name__ == '__main__':
    harness.main()
