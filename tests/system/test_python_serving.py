# SPDX-License-Identifier: Apache-2.0
"""Analyzers in Python: crashes, files that change, the interpreter, and the examples."""

import collections
import json
import os
import random
import re
import signal
import subprocess
import sys

import harness
from pythons import COLUMNS, Case, GROUPS, MS, PLAIN, T0, events, expected, lines


class Serving(Case):
    def serve(self, config):
        server = harness.Server(config, self.folder)
        server.__enter__()
        self.addCleanup(server.kill)
        return server

    def post(self, server, some):
        server.post_ok('input', ''.join(lines(some)))

    def finish(self, server, upto_ms):
        self.post(server, [{'ts': upto_ms + 100000, 'key': 'end'}])
        server.wait_watermark('p', (upto_ms + 90000) * MS)

    def found(self, server):
        return {r[:2]: r[2:] for r in server.rows(
            "SELECT window_start, key, rows, total, all_ok, least, last FROM p WHERE key IS NOT 'end'")}

    def test_killed_and_read_again(self):
        """States are in checkpoints, what came behind them in the journal."""
        self.check_killed(PLAIN)

    def test_killed_with_records(self):
        self.need_numpy()
        self.check_killed(GROUPS)

    def check_killed(self, text):
        self.write('all.py', text)
        some = list(events(2400))
        server = self.serve(self.config(f'python: {{file: all.py, of: [{COLUMNS}]}}', '{hopping: 30s, by: 10s}', ', workers: 2'))
        for i in range(0, len(some), 300):
            self.post(server, some[i:i + 300])
            if i in (600, 1500):
                harness.wait_until(lambda: server.rows('SELECT count(*) FROM weir_checkpoints')[0][0], 'a checkpoint')
                server.restart()
        self.finish(server, some[-1]['ts'])
        self.assertEqual(self.found(server), expected(some, 30, 10))
        server.stop()

    def test_sighup_takes_an_edited_file(self):
        """Open windows go on: objects of the old class become those of the new one."""
        self.write('all.py', PLAIN)
        some = list(events(800))
        server = self.serve(self.config(f'python: {{file: all.py, of: [{COLUMNS}]}}', '{tumbling: 1h}'))
        self.post(server, some[:400])
        self.write('all.py', PLAIN.replace("Row(self.rows, self.total, ", "Row(self.rows, -self.total, "))
        server.process.send_signal(signal.SIGHUP)
        harness.wait_until(lambda: "pipeline 'p' is exchanged" in ''.join(server.log), 'the exchange')
        self.post(server, some[400:])
        self.finish(server, some[-1]['ts'] + 3600000)
        negative = {k: (v[0], -v[1], *v[2:]) for k, v in expected(some, 3600, 3600).items()}
        self.assertEqual(self.found(server), negative)
        before = len(server.log)
        server.process.send_signal(signal.SIGHUP)
        harness.wait_until(lambda: 'configuration' in ''.join(server.log[before:]), 'the reload')
        self.assertNotIn('is exchanged', ''.join(server.log[before:]), 'the file is as it was')
        server.stop()

    def test_a_file_that_failed_is_mended(self):
        """The pipeline goes on where it stopped, without a gap."""
        self.write('all.py', PLAIN.replace('self.rows += sum(n)', 'raise RuntimeError("not today")'))
        some = list(events(800))
        server = self.serve(self.config(f'python: {{file: all.py, of: [{COLUMNS}]}}'))
        self.post(server, some[:400])
        harness.wait_until(lambda: "pipeline 'p' stops" in ''.join(server.log), 'the end of the pipeline')
        said = server.get_json('/api/v1/pipelines')
        self.assertIn('all.py:23: RuntimeError: not today', json.dumps(said))
        self.write('all.py', PLAIN)
        server.process.send_signal(signal.SIGHUP)
        harness.wait_until(lambda: "pipeline 'p' is exchanged" in ''.join(server.log), 'the exchange')
        self.post(server, some[400:])
        self.finish(server, some[-1]['ts'])
        self.assertEqual(self.found(server), expected(some))
        server.stop()

    def test_another_form_of_states_begins_anew(self):
        self.write('all.py', PLAIN)
        some = list(events(400))
        server = self.serve(self.config(f'python: {{file: all.py, of: [{COLUMNS}]}}', '{tumbling: 1h}'))
        self.post(server, some)
        self.write('all.py', PLAIN.replace("weight = 1.0", "weight = 1.0\n    state_version = 2"))
        server.process.send_signal(signal.SIGHUP)
        harness.wait_until(lambda: 'has another definition than before' in ''.join(server.log), 'the new definition')
        server.stop()


class Environment(Case):
    def test_packages_of_a_virtual_environment(self):
        self.write('where.py', 'import sys\nfrom typing import NamedTuple\nimport weir, only_there\nclass Row(NamedTuple):\n    n: str\n'
                               '@weir.window\ndef f(n) -> Row:\n    return Row(only_there.WORD)\n')
        config = self.config('python_window: {file: where.py, of: n, as: w}')
        path = self.write('weir.yaml', config)
        self.assertIn("No module named 'only_there'",
                      harness.weir('check', '--no-database', '-c', path, cwd=self.folder).stderr)
        python = self.python()
        made = subprocess.run([python, '-m', 'venv', '--without-pip', os.path.join(self.folder, 'venv')], check=False)
        if made.returncode != 0:
            self.skipTest(f'{python} cannot make a virtual environment')
        site, = harness.glob.glob(os.path.join(self.folder, 'venv', 'lib', 'python*', 'site-packages'))
        self.write(os.path.join(site, 'only_there.py'), 'WORD = "found"\n')
        done = self.run_with(config, events(100), harness.environment(VIRTUAL_ENV=os.path.join(self.folder, 'venv')))
        self.assertEqual(done.returncode, 0, done.stderr)
        rows = harness.read_rows(os.path.join(self.folder, 'weir.db'), 'SELECT DISTINCT n FROM p_w')
        self.assertEqual(rows, [('found',)])

    def python(self):
        """The program of the plugin's interpreter."""
        self.write('who.py', 'import sys\nraise RuntimeError(sys.executable)\n')
        path = self.write('who.yaml', self.config('python: {file: who.py, of: n}'))
        said = harness.weir('check', '--no-database', '-c', path, cwd=self.folder).stderr
        return re.search(r'RuntimeError: (/[^"\s]*)', said)[1]

    def test_the_process_keeps_its_signals_and_what_is_printed_goes_to_standard_error(self):
        self.write('loud.py', 'from typing import NamedTuple\nimport signal, weir\nclass Row(NamedTuple):\n    n: str\n'
                              'print("loaded")\n'
                              '@weir.window\ndef f(n) -> Row:\n    return Row(repr(signal.getsignal(signal.SIGINT)))\n')
        done = self.run_with(self.config('python_window: {file: loud.py, of: n, as: w}'), events(100))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn('loaded', done.stderr)
        self.assertNotIn('loaded', done.stdout)
        rows = harness.read_rows(os.path.join(self.folder, 'weir.db'), 'SELECT DISTINCT n FROM p_w')
        self.assertNotIn('default_int_handler', rows[0][0])


class Examples(Case):
    """What README and etc/examples say, and what weir plugin new --python makes."""

    def test_the_one_of_the_readme(self):
        with open(os.path.join(harness.SOURCE, 'README.md'), encoding='utf-8') as file:
            text = file.read()
        config = re.search(r'```yaml\n(.*?)```', text, re.DOTALL)[1]
        self.write('revenue.py', re.search(r'```python\n(.*?)```', text, re.DOTALL)[1])
        line = re.search(r'`- (python: .*?)`', text)[1]
        self.write('shop.yaml', f'{config}      - {line}\n')
        orders = [json.loads(order) for order in re.findall(r'^ +(\{"ts":.*?\})', text, re.MULTILINE)]
        self.assertEqual(len(orders), 4)
        done = harness.weir('run', '-c', 'shop.yaml', '-d', 'r.db', '--stream', 'orders', cwd=self.folder,
                            stdin=''.join(json.dumps(o) + '\n' for o in orders))
        self.assertEqual(done.returncode, 0, done.stderr)
        want = collections.defaultdict(list)
        for o in orders:
            want[o['ts'][:18], o['product']].append(o['price'] * o['qty'])
        self.assertEqual(sorted(harness.read_rows(os.path.join(self.folder, 'r.db'),
                                                  'SELECT product, revenue, largest FROM orders_10s')),
                         sorted((p, sum(v), max(v)) for (_, p), v in want.items()))

    def test_the_one_of_the_guide(self):
        self.need_numpy()
        with open(os.path.join(harness.SOURCE, 'docs', 'write-an-analyzer.md'), encoding='utf-8') as file:
            text = file.read()
        self.write('share.py', re.search(r'`share.py`:\n\n```python\n(.*?)```', text, re.DOTALL)[1])
        line = re.search(r'`(python: \{file: share.py.*?\})`', text)[1]
        some = [{**e, 'x': e['x'] + 300} for e in events(1000)]
        want = collections.defaultdict(list)
        for e in some:
            want[e['ts'] // 10000 * 10000 * MS, e['key']].append(e['x'] > 300)
        found = self.rows(self.config(line.replace('of: ms', 'of: x')), some, columns='ms_over, ms_share')
        self.assertEqual({r[:2]: r[2:] for r in found}, {k: (sum(v), sum(v) / len(v)) for k, v in want.items()})

    def test_those_of_numpy_and_pandas(self):
        dice = random.Random(3)
        trades = [{'ts': T0 + 37 * i, 'symbol': dice.choice('ABCDE'), 'price': 100 + dice.randrange(-400, 400) / 16,
                   'qty': dice.randrange(1, 9), 'side': dice.choice(('buy', 'sell'))} for i in range(3000)]
        folder = os.path.join(harness.SOURCE, 'etc', 'examples', 'python')
        done = harness.weir('run', '-c', 'finance.yaml', '-d', os.path.join(self.folder, 'r.db'), '--stream', 'trades', cwd=folder,
                            stdin=''.join(json.dumps(t) + '\n' for t in trades))
        if "No module named 'numpy'" in done.stderr or "No module named 'pandas'" in done.stderr:
            self.skipTest('no numpy or no pandas for the Python that weir was built with')
        self.assertEqual(done.returncode, 0, done.stderr)
        windows = collections.defaultdict(lambda: collections.defaultdict(list))
        for t in trades:
            windows[t['ts'] // 60000][t['symbol']].append(t)
        impacts, movers = {}, []
        for w, symbols in windows.items():
            changes = []
            for symbol, of in symbols.items():
                steps = [(b['price'] - a['price'], b['qty'] if b['side'] == 'buy' else -b['qty']) for a, b in zip(of, of[1:])]
                impacts[w * 60000000, symbol] = (sum(x * y for y, x in steps) / sum(x * x for _, x in steps), len(steps))
                changes.append((symbol, (of[-1]['price'] / of[0]['price'] - 1) * 100, len(of)))
            movers += sorted(changes, key=lambda c: (-abs(c[1]), c[0]))[:3]
        database = os.path.join(self.folder, 'r.db')
        for start, symbol, impact, steps in harness.read_rows(database, 'SELECT window_start, symbol, impact, steps FROM impact'):
            self.assertAlmostEqual(impact, impacts[start, symbol][0], 9)
            self.assertEqual(steps, impacts.pop((start, symbol))[1])
        self.assertFalse(impacts)
        found = harness.read_rows(database, 'SELECT symbol, change, trades FROM movers_top ORDER BY window_start, rank')
        self.assertEqual([(s, round(c, 9), n) for s, c, n in found], [(s, round(c, 9), n) for s, c, n in movers])

    def test_those_of_scikit_learn_and_polars(self):
        dice = random.Random(4)
        trades = [{'ts': T0 + 61 * i, 'symbol': dice.choice('ABCDE'), 'price': 100 + dice.randrange(-400, 400) / 16,
                   'qty': dice.randrange(1, 9), 'side': dice.choice(('buy', 'sell'))} for i in range(3000)]
        folder = os.path.join(harness.SOURCE, 'etc', 'examples', 'python')
        database = os.path.join(self.folder, 'r.db')
        done = harness.weir('run', '-c', 'learn.yaml', '-d', database, '--stream', 'trades', cwd=folder,
                            stdin=''.join(json.dumps(t) + '\n' for t in trades))
        if 'No module named' in done.stderr:
            self.skipTest('no scikit-learn or no polars for the Python that weir was built with')
        self.assertEqual(done.returncode, 0, done.stderr)
        models, minutes = {}, collections.defaultdict(lambda: collections.defaultdict(lambda: [0.0, 0]))
        for t in trades:
            last, slope, intercept, steps = models.get((t['ts'] // 3600000, t['symbol']), (None, 0.0, 0.0, 0))
            if last is not None:  # a step of stochastic gradient descent, squared error
                x = t['qty'] if t['side'] == 'buy' else -t['qty']
                error = slope * x + intercept - (t['price'] - last)
                slope, intercept, steps = slope - 0.001 * error * x, intercept - 0.001 * error, steps + 1
            models[t['ts'] // 3600000, t['symbol']] = t['price'], slope, intercept, steps
            of = minutes[t['ts'] // 60000][t['symbol']]
            of[0] += t['price'] * t['qty']
            of[1] += 1
        found = harness.read_rows(database, 'SELECT window_start, symbol, slope, intercept, steps FROM model')
        self.assertEqual(len(found), len(models))
        for start, symbol, slope, intercept, steps in found:
            want = models[start // 3600000000, symbol]
            self.assertEqual(steps, want[3])
            self.assertAlmostEqual(slope, want[1], 9)
            self.assertAlmostEqual(intercept, want[2], 9)
        top = [(s, round(v[0], 6), v[1]) for m in sorted(minutes)
               for s, v in sorted(minutes[m].items(), key=lambda item: (-item[1][0], item[0]))[:3]]
        found = harness.read_rows(database, 'SELECT symbol, turnover, trades FROM turnover_top ORDER BY window_start, rank')
        self.assertEqual([(s, round(v, 6), n) for s, v, n in found], top)

    def test_a_new_one_passes_its_tests(self):
        done = harness.weir('plugin', 'new', '--python', 'mine', cwd=self.folder)
        self.assertEqual(done.returncode, 0, done.stderr)
        mine = os.path.join(self.folder, 'mine')
        self.assertEqual(sorted(os.listdir(mine)), ['Makefile', 'mine.py', 'test.yaml', 'test_mine.py', 'weir.yaml'])
        python = next((p for p in (sys.executable, '/usr/bin/python3') if subprocess.run(
            [p, '-c', 'import pytest'], stderr=subprocess.DEVNULL, check=False).returncode == 0), None)
        if python is None:
            self.skipTest('no pytest')
        env = {k: v for k, v in harness.environment().items() if k not in ('MAKEFLAGS', 'MFLAGS', 'MAKELEVEL')}
        done = subprocess.run([os.environ.get('MAKE', 'make'), '-C', mine, 'test', 'PYTHON=' + python, 'WEIR=' + harness.WEIR,
                               'pythondir=' + os.path.join(harness.SOURCE, 'plugins', 'python'),
                               'plugindir=' + os.path.join(harness.BUILD, 'plugins')],
                              env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn('2 passed', done.stdout)
        self.assertIn('ok    split ', done.stdout)
        self.assertIn('ok    process ', done.stdout)
        self.assertIn('1 case, 0 failed', done.stdout)


if __name__ == '__main__':
    harness.main()
