# SPDX-License-Identifier: Apache-2.0
"""Webhooks as alerts, against a model; the examples of alerts.yaml and of the manual page."""

import collections
import json
import os
import random
import re
import time

import harness
from receiver import T0, WithReceivers, config, first_of_each, in_file, shown, status, trades


def model(rows, hold, repeat, resolved):
    """What alerts there are: (kind, symbol, second, since) of (second, symbol, whether the condition holds)."""
    since, told, found = {}, {}, []
    for second, symbol, holds in rows:
        if holds:
            begun = since.setdefault(symbol, second)
            if symbol not in told:
                if second - begun >= hold:
                    told[symbol] = second
                    found.append(('firing', symbol, second, begun))
            elif repeat is not None and second - told[symbol] >= repeat:
                told[symbol] = second
                found.append(('repeat', symbol, second, begun))
        elif symbol in since:
            begun = since.pop(symbol)
            if told.pop(symbol, None) is not None and resolved:
                found.append(('resolved', symbol, second, begun))
    return found


class Alerts(WithReceivers):
    def prices(self, seed, seconds, symbols):
        """Walks that stay on one side for a while."""
        dice = random.Random(seed)
        hot = {name: False for name in symbols}
        found = {}
        for s in range(seconds):
            for name in symbols:
                if dice.random() < 0.2:
                    hot[name] = not hot[name]
                found[s, name] = (100 if hot[name] else 1) + dice.random()
        return found

    def told(self, receiver):
        """As model says it; times of a notice are ends of windows, a second behind their start."""
        found = []
        for item in first_of_each(receiver.items()):
            (second, symbol), _ = shown(item['row'])
            begun = int(time.mktime(time.strptime(item['since'], '%Y-%m-%dT%H:%M:%SZ'))) - time.timezone - T0
            found.append((item['kind'], symbol, second, begun - 1))
        return found

    def check(self, receiver, expected, symbols):
        receiver.wait(0, items=len(expected))
        told = self.told(receiver)
        for name in symbols:
            self.assertEqual([t for t in told if t[1] == name], [e for e in expected if e[1] == name])

    def test_as_the_model_says(self):
        symbols = 'ABCDEF'
        for hold, repeat, resolved in ((0, None, True), (3, None, True), (2, 4, True), (3, 3, False)):
            with self.subTest(hold=hold, repeat=repeat, resolved=resolved):
                prices = self.prices(hold, 60, symbols)
                expected = model([(s, n, prices[s, n] > 50) for s in range(59) for n in symbols], hold, repeat, resolved)
                self.assertGreater(len(expected), 20)
                receiver = self.receiver()
                hook = (f'to: "{receiver.url}", when: price_max > 50, for: {hold}s, resolved: {str(resolved).lower()}, '
                        f'repeat: {"never" if repeat is None else f"{repeat}s"}, batch: 3, in_flight: 2')
                with harness.Server(config(hook)) as server:
                    server.post_ok('trades', trades(0, 60, symbols, lambda s, n: prices[s, n]))
                    self.check(receiver, expected, symbols)
                    firing = {e[1] for e in expected if e[0] == 'firing'}
                    harness.wait_until(lambda: status(server)['lag'] == 0, 'no lag')
                    if resolved:
                        ended = {n: [e[0] for e in expected if e[1] == n][-1] == 'resolved' for n in firing}
                        self.assertEqual(status(server)['firing'], sum(not e for e in ended.values()))

    def test_killed_in_the_middle(self):
        symbols = 'ABCD'
        prices = self.prices(9, 80, symbols)
        expected = model([(s, n, prices[s, n] > 50) for s in range(79) for n in symbols], 2, 5, True)
        script = [random.choice([200, 500, 'cut', 'half', 503]) for _ in range(60)]
        receiver = self.receiver(*script)
        hook = f'to: "{receiver.url}", when: price_max > 50, for: 2s, repeat: 5s, backoff: 10ms, max_backoff: 30ms'
        with harness.Server(config(hook)) as server:
            for n in range(4):
                enough = len(receiver.requests) + random.randrange(1, 4)
                server.post_ok('trades', trades(20 * n, 20 * n + 20, symbols, lambda s, n: prices[s, n]))
                harness.wait_until(lambda: len(receiver.requests) >= enough or (  # pylint: disable=cell-var-from-loop
                    server.watermark('seconds') == (T0 + 20 * n + 19) * 1000000 and status(server)['lag'] == 0), 'some, or all')
                server.restart()
            self.check(receiver, expected, symbols)
            self.assertEqual(len(first_of_each(receiver.items())), len(expected))

    def test_keys_are_bounded(self):
        receiver = self.receiver()
        hook = f'to: "{receiver.url}", when: price_max > 50, max_keys: 3'
        with harness.Server(config(hook)) as server:
            server.post_ok('trades', trades(0, 2, 'ABCDE', lambda *_: 100))
            receiver.wait(3)
            harness.wait_until(lambda: status(server)['lag'] == 0, 'no lag')
            self.assertEqual((status(server)['over_keys'], status(server)['firing']), (2, 3))

    def test_an_older_row_that_is_revised_changes_no_alert(self):
        receiver = self.receiver()
        hook = f'to: "{receiver.url}", when: price_max > 50, for: 0s'
        late = '    late: revise\n    allowed_lateness: 1h'
        with harness.Server(config(hook, more=late)) as server:
            server.post_ok('trades', trades(0, 5, 'A', lambda *_: 100))
            receiver.wait(1)
            server.post_ok('trades', trades(2, 3, 'A', lambda *_: 200))
            harness.wait_until(lambda: (2, 'A') in in_file(server) and in_file(server)[2, 'A'][0] == 2, 'the revision')
            server.post_ok('trades', trades(5, 8, 'A', lambda *_: 1))
            receiver.wait(2)
            self.assertEqual(self.told(receiver), [('firing', 'A', 0, 0), ('resolved', 'A', 5, 0)])


class Examples(WithReceivers):
    def test_alerts_on_trades(self):
        alerts, chat, candles = self.receiver(), self.receiver(), self.receiver()
        with open(os.path.join(harness.SOURCE, 'etc', 'examples', 'alerts.yaml'), encoding='utf-8') as file:
            text = file.read().replace('127.0.0.1:8080', '{listen}').replace('database: ', 'database: {folder}/')
        dice, trades_, price = random.Random(3), [], {'A': 100.0, 'B': 100.0}
        for s in range(0, 200):
            for name in price:
                if name == 'A':  # falls for a minute and a half, then not
                    price[name] *= 0.995 if 50 <= s < 140 else 1
                trades_.append({'ts': (T0 + s) * 1000, 'symbol': name, 'price': price[name], 'qty': dice.randrange(1, 2000), 'side': 'buy'})
        with harness.Server(text, ALERTS=alerts.url, CHAT=chat.url, CANDLES=candles.url, ALERTS_SECRET='s') as server:
            server.post_ok('trades', trades_)
            candles.wait(0, items=2 * 19)
            windows = collections.defaultdict(list)
            for t in trades_:
                windows[t['ts'] // 10000 - T0 // 10, t['symbol']].append(t)
            closed = {k: v for k, v in windows.items() if k[0] < 19}
            expected = model([(w, n, v[-1]['price'] < 0.99 * v[0]['price']) for (w, n), v in sorted(closed.items())], 3, 360, True)
            self.assertEqual([e[:2] for e in expected], [('firing', 'A'), ('resolved', 'A')])
            alerts.wait(0, items=2)
            self.assertEqual([(i['kind'], i['row']['symbol'], i['row']['window_start']) for i in alerts.items()],
                             [(kind, n, time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(T0 + 10 * w))) for kind, n, w, _ in expected])
            self.assertIn('webhook-signature', alerts.requests[0].headers)
            large = sorted((n, sum(t['price'] * t['qty'] for t in v)) for (_, n), v in closed.items()
                           if sum(t['price'] * t['qty'] for t in v) > 1000000)
            self.assertGreater(len(large), 3)
            chat.wait(len(large))
            self.assertEqual(sorted(json.loads(r.body)['text'].split(':')[0] for r in chat.requests), [n for n, _ in large])

    def test_the_manual(self):
        receiver = self.receiver()
        with open(os.path.join(harness.SOURCE, 'docs', 'weir.yaml.5'), encoding='utf-8') as file:
            example = next(e for e in re.findall(r'\.Bd -literal -offset indent\n(streams:.*?)\.Ed', file.read(), re.S) if 'webhook:' in e)
        text = 'server: {listen: {listen}, database: {folder}/weir.db}\n' + example
        with harness.Server(text, ALERTS=receiver.url) as server:
            warm = {('a', m): 2 < m < 12 for m in range(15)} | {('b', m): m % 5 > 0 for m in range(15)}
            server.post_ok('readings', [{'ts': T0 + 60 * m, 'store': store, 'celsius': 8 if hot else 2}
                                        for (store, m), hot in sorted(warm.items(), key=lambda x: x[0][1])])
            receiver.wait(0, items=2)
            told = [(i['kind'], i['row']['store'], i['row']['window_start']) for i in receiver.items()]
            expected = model(sorted((m, store, hot) for (store, m), hot in warm.items() if m < 14), 5, 60, True)
            self.assertEqual(told, [(kind, store, time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(T0 + 60 * m)))
                                    for kind, store, m, _ in expected])
            self.assertEqual(told, [('firing', 'a', '2025-11-24T16:08:00Z'), ('resolved', 'a', '2025-11-24T16:12:00Z')])


if __name__ == '__main__':
    harness.main()
