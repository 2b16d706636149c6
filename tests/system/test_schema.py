# SPDX-License-Identifier: Apache-2.0
"""weir schema: what `weir check` takes is valid, in all examples of the tree, and what is misspelt is not."""

import glob
import json
import os
import re
import unittest

import harness

try:
    import jsonschema
    import yaml
except ImportError:
    jsonschema = None

GOOD = '''
server: {listen: 127.0.0.1:0, max_body: 64MiB, queue_wait: 250ms, log_json: yes, plugin_path: [a, b], max_record: 4096}
streams:
  trades: {time: {field: ts, unit: ms}, fields: {symbol: string, side: string, price: float, qty: int, up: bool, at: time},
           derive: {notional: price * qty}, max_future_skew: off, ack: memory}
  seen: {time: arrival}
pipelines:
  p: {from: trades, key: [symbol], where: price > 0, window: {tumbling: [10s, 1m], offset: 1s}, idle_timeout: off,
      retain: [1h, forever], late: revise, allowed_lateness: 1m, workers: 2, over_max_groups: fail,
      analyzers: [count, {count: {of: price, where: qty > 1, as: big}}, stats: {of: price, emit: [mean, max]},
                  {stats: {of: qty, emit: "min, max"}, as: q}, quantiles: {of: price, q: [0.5, 0.99]},
                  topk: {of: side, k: 3}, distinct: {of: [symbol, up]}, first: price]}
  h: {from: trades, window: {hopping: 1m, by: 10s}, analyzers: [count: ]}
'''
# Each with what is put in its place; both check and schema refuse it.
BAD = [
    ('max_body: 64MiB', 'max_body: 64Mib'), ('queue_wait: 250ms', 'queue_wait: 250'), ('log_json: yes', 'log_json: maybe'),
    ('max_record: 4096', 'max_record: 3'), ('server: {', 'server: {listne: a, '), ('unit: ms', 'unit: hours'),
    ('symbol: string', 'symbol: text'), ('fields: {', 'felds: {'), ('ack: memory', 'ack: never'), ('trades:', 'Trades:'),
    ('tumbling: [10s, 1m]', 'tumbling: [10s]'), ('tumbling: [10s, 1m]', 'tumbling: 10'), ('offset: 1s', 'ofset: 1s'),
    ('by: 10s', 'bye: 10s'), ('late: revise', 'late: later'), ('workers: 2', 'workers: 65'), ('workers: 2', 'workers: many'),
    ('over_max_groups: fail', 'over_max_groups: stop'), ('[count,', '[cuont,'), ('[count,', '[quantiles,'),
    ('emit: [mean, max]', 'emit: [mean, most]'), ('k: 3', 'k: three'), ('k: 3', 'k: 0'), ('k: 3', 'kk: 3'),
    ('q: [0.5, 0.99]', 'q: [0.5, 1.5]'), ('topk: {of: side,', 'topk: {'), ('from: trades, key', 'key'),
    ('as: q}', 'as: q, of: x}'), ('pipelines:', 'pipeline:'), ('retain: [1h, forever]', 'retain: [1h, never]'),
]


def core_loader():
    """YAML 1.2, as editors and weir read it: `off` and `yes` are text, as are times."""
    class Loader(yaml.SafeLoader):
        yaml_implicit_resolvers = {}
    for tag, pattern, first in (('bool', r'true|True|TRUE|false|False|FALSE', 'tTfF'), ('null', r'~|null|Null|NULL|', 'nN~\0'),
                                ('int', r'[-+]?[0-9]+', '-+0123456789'),
                                ('float', r'[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?', '-+.0123456789')):
        Loader.add_implicit_resolver(f'tag:yaml.org,2002:{tag}', re.compile(f'^(?:{pattern})$'), list(first) + [''])
    return Loader


@unittest.skipIf(jsonschema is None, 'no jsonschema, or no yaml')
class Schema(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        done = harness.weir('schema')
        assert done.returncode == 0, done.stderr
        cls.schema = json.loads(done.stdout)
        cls.validator = jsonschema.Draft202012Validator(cls.schema)
        cls.loader = core_loader()

    def is_valid(self, text):
        return self.validator.is_valid(yaml.load(text, Loader=self.loader))

    def is_good(self, text):
        folder = harness.folder_for_test(self)
        path = os.path.join(folder, 'weir.yaml')
        with open(path, 'w', encoding='utf-8') as file:
            file.write(text)
        done = harness.weir('check', '--no-database', '-c', path)
        return done.returncode == 0, done.stderr

    def test_it_is_a_schema(self):
        jsonschema.Draft202012Validator.check_schema(self.schema)

    def test_what_check_takes_is_valid(self):
        good, said = self.is_good(GOOD)
        self.assertTrue(good, said)
        faults = list(self.validator.iter_errors(yaml.load(GOOD, Loader=self.loader)))
        self.assertEqual([f.message for f in faults], [])

    def test_the_examples_are_valid_and_name_the_schema(self):
        found = [p for p in glob.glob(os.path.join(harness.SOURCE, '*', '*.yaml')) +
                 glob.glob(os.path.join(harness.SOURCE, '*', '*', '*.yaml'))
                 if not re.match('build|tests/|etc/new/', os.path.relpath(p, harness.SOURCE))]
        self.assertGreater(len(found), 2)
        for path in found:
            with open(path, encoding='utf-8') as file:
                text = file.read()
            if not re.search('(?m)^streams:', text) or not re.search('(?m)^pipelines:', text):
                continue  # a part of one
            self.assertTrue(self.is_valid(text), path)
            self.assertRegex(text, r'(?m)^# yaml-language-server: \$schema=\S+$', path)

    def test_what_is_misspelt_is_refused_by_both(self):
        for old, new in BAD:
            self.assertIn(old, GOOD)
            text = GOOD.replace(old, new, 1)
            self.assertFalse(self.is_good(text)[0], new)
            self.assertFalse(self.is_valid(text), new)

    def test_variables_may_stand_for_values(self):
        text = GOOD.replace('workers: 2', 'workers: "${N:-2}"').replace('250ms', '"${WAIT:-1s}"').replace('k: 3', 'k: "${K:-3}"')
        self.assertTrue(self.is_good(text)[0])
        self.assertTrue(self.is_valid(text))


if __name__ == '__main__':
    harness.main()
