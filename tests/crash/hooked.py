# SPDX-License-Identifier: Apache-2.0
"""A receiver of webhooks that is down at times, slow, or answers otherwise than it should: what it has taken, and whether that is
all of a table, each row at least once, and in order for each key."""

import datetime
import json
import random
import time

import harness
from receiver import Receiver

DOWN_S, SLOW_S = 0.05, 0.02


def microseconds(text):
    return int(datetime.datetime.fromisoformat(text.replace('Z', '+00:00')).timestamp() * 1000000)


class Hooked(Receiver):
    def __init__(self, table, columns):
        self.table, self.columns, self.down_until = table, columns, 0
        self.begin()
        super().__init__()

    def begin(self):
        """Another database."""
        self.rows, self.seen, self.last, self.faults = {}, set(), {}, []

    def yaml(self):
        return (f'    webhook: {{to: "{self.url}", batch: 20, in_flight: 3, backoff: 10ms, max_backoff: 50ms, '
                'timeout: 2s}\n')

    def take(self, request):
        fate, now = random.random(), time.monotonic()
        with self.changed:
            if fate < 0.02:
                self.down_until = now + DOWN_S
            if now < self.down_until:
                return random.choice((503, 'cut'))
            if fate < 0.1:
                return random.choice((500, 429, 'cut'))
            for item in json.loads(request.body)['rows']:
                self.note(item)
        if fate < 0.15:
            time.sleep(SLOW_S)
        return 'half' if fate > 0.97 else 200  # it has had them, and weir does not know

    def note(self, item):
        number, row = int(item['id'].split('-')[1]), item['row']
        if number in self.seen:
            return
        self.seen.add(number)
        if number < self.last.get(row['name'], 0):
            self.faults.append(f'the webhook of {self.table} had row {number} of {row["name"]} behind {self.last[row["name"]]}')
        self.last[row['name']] = number
        self.rows[microseconds(row['window_start']), row['name']] = tuple(row[c] for c in self.columns)

    def check(self, server, verdict):
        """Once it has all of the table."""
        def lag():
            return server.get_json(f'/api/v1/pipelines/{self.table}')['webhooks'][0]['lag']
        harness.wait_until(lambda: lag() == 0, 'all rows at the receiver of the webhook')
        found = {row[:2]: row[2:] for row in
                 server.rows(f'SELECT window_start, name, {", ".join(self.columns)} FROM {self.table}')}
        with self.changed:
            for key, row in found.items():
                if key not in self.rows:
                    verdict.lose(1, f'the webhook of {self.table} has not had {key}')
                elif self.rows[key] != row:
                    verdict.fault(f'the webhook of {self.table} had {self.rows[key]} for {key}, and it is {row}')
            for text in self.faults:
                verdict.fault(text)
            self.faults.clear()
