# SPDX-License-Identifier: Apache-2.0
"""Windows that are not simply one after the other: held against a model in Python that puts each event into each
window that holds its time, over disorder, late events, gaps, duplicates and times before 1970."""

import collections
import datetime
import functools
import json
import os
import random
import re
import signal
import unittest
import zoneinfo

import harness

MS = 1000
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
DELAY_MS = 300   # out_of_orderness
EXTRA_MS = 3000  # allowed_lateness
POLICIES = {'drop': 'late: drop', 'side': 'late: side', 'revise': 'late: revise, allowed_lateness: 3s'}
STREAM = '{time: {field: ts, unit: ms, check_unit: false}, fields: {key: string, qty: int, x: float}}'
ANALYZERS = '[count, {stats: {of: qty, emit: [sum, max]}}, {topk: {of: qty, k: 2}}]'


def hopping(size, by, offset=0):
    """The windows of a time, in milliseconds, by table ('': the pipeline's own)."""
    def windows(ts):
        first = (ts - offset) // by * by + offset
        return [('', start, start + size) for start in range(first, ts - size, -by)]
    return windows


def cascade(*sizes, offset=0):
    """Of each size one."""
    def windows(ts):
        starts = [(name, size, (ts - offset) // size * size + offset) for name, size in sizes]
        return [(name, start, start + size) for name, size, start in starts]
    return windows


def zoned(zone, of):
    """Local days, weeks that begin on Monday, months, by Python's own table of zones."""
    def start_of(day):
        midnight = datetime.datetime(day.year, day.month, day.day, tzinfo=zoneinfo.ZoneInfo(zone))
        return round(midnight.timestamp() * 1000)

    def next_of(day):
        if of == 'quarter':
            return (day + datetime.timedelta(95)).replace(day=1)
        if of == 'month':
            return (day.replace(day=28) + datetime.timedelta(4)).replace(day=1)
        return day + datetime.timedelta(7 if of == 'week' else 1)

    @functools.lru_cache(None)
    def windows(ts):
        at = EPOCH + datetime.timedelta(milliseconds=ts)
        day = at.astimezone(zoneinfo.ZoneInfo(zone)).date()
        if of == 'week':
            day -= datetime.timedelta(day.weekday())
        elif of == 'month':
            day = day.replace(day=1)
        elif of == 'quarter':
            day = day.replace(day=1, month=(day.month - 1) // 3 * 3 + 1)
        return [('', start_of(day), start_of(next_of(day)))]
    return windows


def zoned_steps(zone, **sizes):
    """Of each size one; those in milliseconds begin with the day, and the last ends with it."""
    days, of = zoned(zone, 'day'), {name: size if isinstance(size, int) else zoned(zone, size) for name, size in sizes.items()}

    @functools.lru_cache(None)
    def windows(ts):
        found = []
        for name, size in of.items():
            if not isinstance(size, int):
                found.append((name, *size(ts)[0][1:]))
                continue
            _, begin, end = days(ts)[0]
            start = begin + (ts - begin) // size * size
            found.append((name, start, min(start + size, end)))
        return found
    return windows


HOUR = 3600000
# Name to YAML and windows.
KINDS = {
    'hop': ('{hopping: 3s, by: 1s}', hopping(3000, 1000)),
    'odd': ('{hopping: 2500ms, by: 1s, offset: 700ms}', hopping(2500, 1000, 700)),
    'steps': ('{tumbling: [1s, 2s, 10s], offset: 500ms}',
              cascade(('_1s', 1000), ('_2s', 2000), ('_10s', 10000), offset=500)),
}
# The same with 20 ms for 2000 s, so that they are days and not seconds.
SLOW = 100000
ZONED = {
    'berlin': ('{tumbling: 1d, zone: Europe/Berlin}', zoned('Europe/Berlin', 'day')),
    'paulo': ('{tumbling: 24h, zone: America/Sao_Paulo}', zoned('America/Sao_Paulo', 'day')),
    'howe': ('{tumbling: 1d, zone: Australia/Lord_Howe}', zoned('Australia/Lord_Howe', 'day')),
    'week': ('{tumbling: 1w, zone: Europe/Berlin}', zoned('Europe/Berlin', 'week')),
    'month': ('{tumbling: 1mo, zone: America/Sao_Paulo}', zoned('America/Sao_Paulo', 'month')),
    'hours': ('{tumbling: [1h, 1d, 1mo], zone: Australia/Lord_Howe}',
              zoned_steps('Australia/Lord_Howe', _1h=HOUR, _1d='day', _1mo='month')),
    'weeks': ('{tumbling: [3h, 12h, 1w], zone: Europe/Berlin}',
              zoned_steps('Europe/Berlin', _3h=3 * HOUR, _12h=12 * HOUR, _7d='week')),
    'quarters': ('{tumbling: [1d, 1mo, 3mo], zone: America/Sao_Paulo}',
                 zoned_steps('America/Sao_Paulo', _1d='day', _1mo='month', _3mo='quarter')),
}
WINDOWS = {kind: windows for kind, (_, windows) in {**KINDS, **ZONED}.items()}


def pipeline(name, stream, kind, policy, workers):
    slow = SLOW if kind in ZONED else 1
    yaml = {**KINDS, **ZONED}[kind][0]
    late = POLICIES[policy].replace('3s', f'{EXTRA_MS * slow}ms')
    return (f'  {name}: {{from: {stream}, key: [key], window: {yaml}, out_of_orderness: {DELAY_MS * slow}ms,'
            f' idle_timeout: 1h, workers: {workers}, {late}, analyzers: {ANALYZERS}}}\n')


def config(streams, pipelines, server=''):
    return (f'server: {{listen: {{listen}}, database: {{folder}}/weir.db, {server}}}\nstreams:\n' +
            ''.join(f'  {name}: {STREAM}\n' for name in streams) + 'pipelines:\n' + ''.join(pipelines))


def disorderly(n, first_ms, seed, slow=1):
    """50 events a second of event time over five keys; one in ten up to six seconds behind, some twice; nothing for
    a minute and a half in the middle."""
    dice = random.Random(seed)
    events = []
    for i in range(n):
        behind = dice.randrange(6000) if dice.random() < 0.1 else dice.randrange(200)
        at = first_ms + slow * (20 * i - behind + (90000 if i > n // 2 else 0))
        events.append({'ts': at, 'key': dice.choice('abcde'), 'qty': dice.randrange(8)})
        if dice.random() < 0.02:
            events.append(events[-1])
    return events


class Model:
    """An event is in a window unless the watermark, the newest time so far less 300 ms, had reached its end. With a
    lateness it is in it as long as the watermark is behind the end by less, and raises the revision of its group."""

    def __init__(self, kind, policy, events):
        slow = SLOW if kind in ZONED else 1
        extra = EXTRA_MS * slow if policy == 'revise' else 0
        newest = float('-inf')
        self.late, self.folded = [], 0
        found = collections.defaultdict(list)
        revision = collections.Counter()
        for e in events:
            newest = max(newest, e['ts'])
            watermark = newest - DELAY_MS * slow
            windows = WINDOWS[kind](e['ts'])
            open_ = [w for w in windows if w[2] > watermark]
            revised = [w for w in windows if w[2] <= watermark < w[2] + extra]
            for table, start, end in open_ + revised:
                found[table, start, end, e['key']].append(e['qty'])
            for table, start, end in revised:
                revision[table, start, end, e['key']] += 1
            self.folded += bool(revised)
            if not open_ and not revised:
                self.late.append(e)
        self.rows = collections.defaultdict(list)
        self.top = collections.defaultdict(list)
        for group in sorted(found):
            table, start, end, key = group
            if end > newest - DELAY_MS * slow:
                continue
            values = found[group]
            self.rows[table].append((start * MS, end * MS, key, revision[group], len(values), sum(values),
                                     max(values)))
            most = sorted(collections.Counter(values).items(), key=lambda item: (-item[1], item[0]))[:2]
            self.top[table] += [(start * MS, end * MS, key, rank, *item) for rank, item in enumerate(most, 1)]


class Windows(unittest.TestCase):
    def check(self, server, name, kind, policy, events):
        model = Model(kind, policy, events)
        revision = 'revision' if policy == 'revise' else '0'
        for table, rows in model.rows.items():
            self.assertGreater(len(rows), 4)
            self.assertEqual(server.rows(f'SELECT window_start, window_end, key, {revision}, count, qty_sum, qty_max '
                                         f'FROM {name}{table} ORDER BY 1, 2, 3'), rows)
            self.assertEqual(server.rows(f'SELECT window_start, window_end, key, rank, qty, qty_count '
                                         f'FROM {name}{table}_topk ORDER BY 1, 2, 3, 4'), model.top[table])
        if policy == 'side':
            self.assertEqual(server.rows(f'SELECT ts, key, qty FROM {name}_late ORDER BY position, row'),
                             [(e['ts'] * MS, e['key'], e['qty']) for e in model.late])
            for start, end, ts in server.rows(f'SELECT window_start, window_end, ts FROM {name}_late'):
                last = max(WINDOWS[kind](ts // MS), key=lambda window: (window[2], -window[1]))
                self.assertEqual((start, end), (last[1] * MS, last[2] * MS))
        return model

    def post(self, server, stream, events, size):
        for i in range(0, len(events), size):
            server.post_ok(stream, events[i:i + size])

    def wait(self, server, name, events, slow=1):
        server.wait_watermark(name, (max(e['ts'] for e in events) - DELAY_MS * slow) * MS)

    def names(self, stream, workers, kinds=tuple(KINDS)):
        return [(f'{stream}_{kind}_{policy}', kind, policy, workers[i % len(workers)])
                for kind in kinds for i, policy in enumerate(POLICIES)]

    def test_results_are_those_of_the_model(self):
        """In small requests and large ones, with 1, 2 and 7 workers, after 1970 and across its begin."""
        cases = {'small': (1700000000000, 3, (1, 2, 7)), 'large': (1700000000000, 4000, (7, 1, 2)),
                 'past': (-40000, 500, (2, 7, 1))}
        events = {stream: disorderly(1500, first, 7) + [{'ts': first + 200000, 'key': '~', 'qty': 0}]
                  for stream, (first, _, _) in cases.items()}
        text = config(cases, [pipeline(name, stream, kind, policy, workers) for stream in cases
                              for name, kind, policy, workers in self.names(stream, cases[stream][2])])
        with harness.Server(text) as server:
            for stream, (_, size, _) in cases.items():
                self.post(server, stream, events[stream], size)
            with harness.one_connection():
                for stream, (_, _, workers) in cases.items():
                    for name, kind, policy, _ in self.names(stream, workers):
                        with self.subTest(pipeline=name):
                            self.wait(server, name, events[stream])
                            model = self.check(server, name, kind, policy, events[stream])
                            status = server.get_json(f'/api/v1/pipelines/{name}')['status']
                            folded = model.folded if policy == 'revise' else 0
                            self.assertEqual(status['late'], len(model.late) + folded)
                            self.assertEqual(status['late_by_outcome']['revise'], folded)

    def test_days_weeks_and_months_of_zones(self):
        """Over the changes of clocks in spring 2024 and autumn 2018, and in Brazil in 1949; with a kill -9."""
        for zone in ('Europe/Berlin', 'America/Sao_Paulo', 'Australia/Lord_Howe'):
            try:
                zoneinfo.ZoneInfo(zone)
            except zoneinfo.ZoneInfoNotFoundError:
                self.skipTest('no tzdata')
        cases = {'spring': ('2024-03-25', 3000, (1, 2, 7)), 'autumn': ('2018-10-28', 50, (7, 1, 2)),
                 'old': ('1949-11-25', 3000, (2, 7, 1))}
        events = {}
        for stream, (day, _, _) in cases.items():
            first = round((datetime.datetime.fromisoformat(day + 'T00:00+00:00') - EPOCH).total_seconds() * 1000)
            events[stream] = (disorderly(1500, first, 9, SLOW) +
                              [{'ts': first + SLOW * 200000, 'key': '~', 'qty': 0}])
        text = config(cases, [pipeline(*name[:1], stream, *name[1:]) for stream in cases
                              for name in self.names(stream, cases[stream][2], ZONED)],
                      'checkpoint_interval: 20ms')
        with harness.Server(text) as server:
            for part in range(2):
                for stream, (_, size, _) in cases.items():
                    half = len(events[stream]) // 2
                    self.post(server, stream, events[stream][half * part:half * (part + 1) + 9 * part], size)
                if part == 0:
                    server.restart()
            with harness.one_connection():
                for stream, (_, _, workers) in cases.items():
                    for name, kind, policy, _ in self.names(stream, workers, ZONED):
                        with self.subTest(pipeline=name):
                            self.wait(server, name, events[stream], SLOW)
                            self.check(server, name, kind, policy, events[stream])
            said = server.get_json('/api/v1/pipelines/spring_month_drop')
            self.assertEqual((said['window'], said['window_zone']), ('1mo', 'America/Sao_Paulo'))

    def test_killed_changed_and_copied(self):
        """kill -9 in the middle, twice; another number of workers by SIGHUP; and a server on a copy."""
        events = disorderly(1600, 1700000000000, 11)[:1600]
        end = [{'ts': 1700000300000, 'key': '~', 'qty': 0}]
        names = self.names('input', (1, 2, 7))
        text = config(['input'], [pipeline(name, 'input', *of) for name, *of in names],
                      'commit_interval: 5ms, checkpoint_interval: 20ms')
        with harness.Server(text) as server:
            for i in range(4):
                self.post(server, 'input', events[i * 400:(i + 1) * 400], 57)
                if i < 2:
                    server.restart()
                elif i == 2:
                    self.change_workers(server)
                    said = server.request('POST', '/api/v1/backup')
                    self.assertEqual(said.status, 201, said.body)
            self.post(server, 'input', end, 1)
            self.check_all(server, names, events + end)
            copy = os.path.join(server.folder, json.loads(said.body)['path'])
            with harness.Server(text, folder=copy) as second:
                self.post(second, 'input', events[1200:] + end, 400)
                self.check_all(second, names, events + end)

    def check_all(self, server, names, events):
        for name, kind, policy, _ in names:
            with self.subTest(pipeline=name):
                self.wait(server, name, events)
                self.check(server, name, kind, policy, events)

    def change_workers(self, server):
        with open(server.path, encoding='utf-8') as file:
            text = file.read()
        with open(server.path, 'w', encoding='utf-8') as file:
            file.write(re.sub(r'workers: \d', 'workers: 3', text))
        server.process.send_signal(signal.SIGHUP)
        harness.wait_until(lambda: any('was read again' in line for line in server.log), 'the log')

    def test_results_are_deleted_behind_retain(self):
        text = config(['input'], [pipeline('p', 'input', 'hop', 'drop', 1).replace('late:', 'retain: 5s, late:')])
        with harness.Server(text) as server:
            for second in range(20):
                self.post(server, 'input', [{'ts': 1000 * second, 'key': 'a', 'qty': 1}], 1)
            server.wait_watermark('p', 18700 * MS)
            # The watermark is 18.7 s: windows that ended at or before 13.7 s go.
            harness.wait_until(lambda: server.rows('SELECT min(window_end) FROM p') == [(14000 * MS,)], 'retention')
            self.assertEqual(server.rows('SELECT max(window_end) FROM p'), [(18000 * MS,)])

    def test_each_size_of_windows_has_a_retain(self):
        text = config(['input'], [pipeline('p', 'input', 'steps', 'drop', 1)
                                  .replace('late:', 'retain: [2s, forever, 20s], late:')])
        with harness.Server(text) as server:
            for second in range(51):
                self.post(server, 'input', [{'ts': 1000 * second, 'key': 'a', 'qty': 1}], 1)
            server.wait_watermark('p', 49700 * MS)

            def first(table):
                return lambda: server.rows(f'SELECT min(window_end) / 1000 FROM {table}')[0][0]
            # What ended at or before 47.7 s goes, at or before 29.7 s, and nothing.
            harness.wait_until(lambda: first('p_1s')() == 48500, 'retention')
            harness.wait_until(lambda: first('p_10s')() == 30500, 'retention')
            self.assertEqual(first('p_2s')(), 500)
            # Each table is a result of its own.
            answer = server.get('/api/v1/pipelines/p/results/p_2s?limit=1&format=ndjson')
            self.assertEqual(json.loads(answer.body)['window_end'], '1970-01-01T00:00:00.500000Z')
            answer = server.get('/api/v1/pipelines/p/results')
            self.assertEqual(answer.status, 404)
            self.assertIn('there are: p_1s p_1s_topk p_2s p_2s_topk p_10s p_10s_topk', json.loads(answer.body)['detail'])
            said = server.get_json('/api/v1/pipelines/p')
            self.assertEqual(said['window_sizes'], ['1s', '2s', '10s'])
            self.assertEqual([t['retain'] for t in said['tables']], ['2s', '2s', None, None, '20s', '20s'])

    def test_watermarks_say_which_window_is_open(self):
        text = config(['input'], [pipeline('p', 'input', 'odd', 'drop', 1)])
        with harness.Server(text) as server:
            self.post(server, 'input', [{'ts': 1700000001000, 'key': 'a', 'qty': 1}], 1)
            server.wait_watermark('p', 1700000000700 * MS)
            said = server.get_json('/api/v1/pipelines/p/watermarks')
            # Of 2.5 s, from each full second and 0.7 s: the first that ends behind 22:13:20.700 ends at 21.200.
            self.assertEqual(said['open_window'], {'start': '2023-11-14T22:13:18.700000Z',
                                                   'end': '2023-11-14T22:13:21.200000Z'})
            self.assertIn('windows up to 2023-11-14T22:13:21.200000Z close', said['waits_for'])
            said = server.get_json('/api/v1/pipelines/p')
            self.assertEqual((said['window_kind'], said['window'], said['window_by'], said['window_offset']),
                             ('hopping', '2500ms', '1s', '700ms'))


# ---- What the manual shows ---------------------------------------------------------------------------


def seconds(text):
    return int(text[:-1]) * {'s': 1, 'm': 60, 'h': 3600}[text[-1]]


def windows_of(text):
    """`{tumbling: [10s, 1m]}` or `{hopping: 1m, by: 10s}` as above."""
    word = dict(re.findall(r'(\w+): (\[[^]]*\]|[^,}]+)', text))
    if 'hopping' in word:
        return hopping(1000 * seconds(word['hopping']), 1000 * seconds(word['by']))
    if 'zone' in word:
        return zoned(word['zone'], {'d': 'day', 'w': 'week', 'o': 'month'}[word['tumbling'][-1]])
    sizes = re.findall(r'\w+', word['tumbling'])
    return cascade(*((f'_{size}' if len(sizes) > 1 else '', 1000 * seconds(size)) for size in sizes))


class Manual(unittest.TestCase):
    def test_examples_do_what_is_said(self):
        """Configurations of one such pipeline among the examples of weir.yaml(5), over trades of a day."""
        with open(os.path.join(harness.SOURCE, 'docs', 'weir.yaml.5'), encoding='utf-8') as file:
            text = file.read().split('.Sh EXAMPLES')[1]
        examples = [e for e in re.findall(r'\.Bd -literal -offset indent\n(.*?)\.Ed', text, re.S)
                    if re.search('tumbling|hopping', e) and e.count('from:') == 1 and 'trades:' in e]
        self.assertGreaterEqual(len(examples), 4)
        dice = random.Random(3)
        trades = [{'ts': 1700000000000 + 42000 * i, 'symbol': dice.choice(['ACME', 'INIT']), 'qty': 1 + i % 7,
                   'price': dice.randrange(1, 100) / 4} for i in range(2000)]
        for i, example in enumerate(examples):
            name, window = re.search(r'pipelines:\n  (\w+):\n.*?window: (\{.*?\})\n', example, re.S).groups()
            with self.subTest(window=window):
                folder = harness.folder_for_test(self)
                path = os.path.join(folder, f'{i}.yaml')
                server = '' if 'server:' in example else 'server: {database: x.db}\n'
                with open(path, 'w', encoding='utf-8') as file:
                    file.write(server + example)
                done = harness.weir('run', '-c', path, '--database', os.path.join(folder, f'{i}.db'), '--stream', 'trades', '-',
                                    stdin=''.join(json.dumps(t) + '\n' for t in trades), cwd=folder)
                self.assertEqual(done.returncode, 0, done.stderr)
                found = collections.Counter((name + table, start * MS, end * MS, t['symbol'])
                                            for t in trades for table, start, end in windows_of(window)(t['ts']))
                for table in {group[0] for group in found}:
                    self.assertEqual(harness.read_rows(os.path.join(folder, f'{i}.db'),
                                                       'SELECT window_start, window_end, symbol, count '
                                                       f'FROM {table} ORDER BY 1, 2, 3'),
                                     [(*group[1:], n) for group, n in sorted(found.items()) if group[0] == table])


class Files(unittest.TestCase):
    def test_run_over_files_in_any_order(self):
        """Nothing is late: windows stay open until the end."""
        folder = harness.folder_for_test(self)
        events = disorderly(3000, 1700000000000, 5)
        path = os.path.join(folder, 'weir.yaml')
        with open(path, 'w', encoding='utf-8') as file:
            file.write(config(['input'], [pipeline(kind, 'input', kind, 'drop', 2) for kind in KINDS])
                       .replace('{folder}', folder).replace('{listen}', '127.0.0.1:0'))
        random.Random(1).shuffle(events)
        body = ''.join(json.dumps(e) + '\n' for e in events)
        done = harness.weir('run', '-c', path, '--stream', 'input', '-', stdin=body)
        self.assertEqual(done.returncode, 0, done.stderr)
        for kind, (_, windows) in KINDS.items():
            found = collections.defaultdict(list)
            for e in events:
                for table, start, end in windows(e['ts']):
                    found[kind + table, start * MS, end * MS, e['key']].append(e['qty'])
            for table in {group[0] for group in found}:
                self.assertEqual(harness.read_rows(os.path.join(folder, 'weir.db'),
                                                   'SELECT window_start, window_end, key, count, qty_sum '
                                                   f'FROM {table} ORDER BY 1, 2, 3'),
                                 [(*group[1:], len(values), sum(values)) for group, values in sorted(found.items())
                                  if group[0] == table])


if __name__ == '__main__':
    harness.main()
