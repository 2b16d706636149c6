# SPDX-License-Identifier: Apache-2.0
"""The configurations of etc/examples over generated events, against Python's own computation."""

import collections
import json
import os
import random
import unittest

import harness

T0 = 1764000000000  # a full minute, 16:00 UTC
EXAMPLES = os.path.join(harness.SOURCE, 'etc', 'examples')


def run(test, name, stream, events):
    """Rows of a table, by a function, after `weir run` over the events in an order by chance."""
    folder = harness.folder_for_test(test)
    lines = [json.dumps(e) + '\n' for e in events]
    random.Random(5).shuffle(lines)
    done = harness.weir('run', '-c', os.path.join(EXAMPLES, name), '--database', os.path.join(folder, 'r.db'),
                        '--stream', stream, '-', stdin=''.join(lines), cwd=folder)
    test.assertEqual(done.returncode, 0, done.stderr)
    return lambda sql: harness.read_rows(os.path.join(folder, 'r.db'), sql)


def sessions(events, key, gap_ms):
    """(key, number of events) of each session, sorted."""
    found, at = [], {}
    for e in sorted(events, key=lambda e: e['ts']):
        open_one = at.get(e[key])
        if open_one and e['ts'] < open_one[0] + gap_ms:
            open_one[1] += 1
        else:
            open_one = at[e[key]] = [0, 1, e[key]]
            found.append(open_one)
        open_one[0] = e['ts']
    return sorted((k, n) for _, n, k in found)


class Examples(unittest.TestCase):
    maxDiff = None

    def test_finance(self):
        dice = random.Random(1)
        trades = [{'ts': T0 + dice.randrange(600000), 'symbol': dice.choice('ABCDEFGH'), 'price': dice.randrange(400, 4000) / 4,
                   'qty': dice.randrange(1, 200), 'side': dice.choice(['buy', 'sell'])} for _ in range(4000)]
        rows = run(self, 'finance.yaml', 'trades', trades)
        for table, size in (('candles_10s', 10000), ('candles_1m', 60000), ('candles_1h', 3600000)):
            want = collections.defaultdict(lambda: [0, 0.0, 0])
            for t in trades:
                w = want[(t['ts'] // size * size * 1000, t['symbol'])]
                w[0] += 1
                w[1] += t['price'] * t['qty']
                w[2] += t['qty'] if t['side'] == 'buy' else -t['qty']
            self.assertEqual(rows(f'SELECT window_start, symbol, count, notional_sum, signed_sum FROM {table} ORDER BY 1, 2'),
                             [(*k, *want[k]) for k in sorted(want)])
        top = collections.defaultdict(collections.Counter)
        for t in trades:
            top[t['ts'] // 60000 * 60000000][t['symbol']] += t['price'] * t['qty']
        self.assertEqual(rows('SELECT window_start, symbol, notional FROM leaders_sql ORDER BY 1, rank'),
                         [(w, s, v) for w in sorted(top) for s, v in sorted(top[w].items(), key=lambda x: (-x[1], x[0]))[:5]])
        blocks = collections.Counter(t['symbol'] for t in trades
                                     if T0 + 60000 <= t['ts'] < T0 + 120000 and t['price'] * t['qty'] >= 100000)
        self.assertEqual(rows(f'SELECT symbol, blocks FROM sizes WHERE window_start = {(T0 + 60000) * 1000} AND blocks > 0 ORDER BY 1'),
                         sorted(blocks.items()))
        self.assertEqual(rows('SELECT symbol, count FROM bursts ORDER BY 1, 2'), sessions(trades, 'symbol', 200))
        self.assertEqual(rows('SELECT symbol, count FROM latest ORDER BY 1'), sorted(collections.Counter(t['symbol'] for t in trades).items()))

    def test_shop(self):
        dice = random.Random(2)
        clicks = []
        for v in range(300):
            at, country = T0 + dice.randrange(500000), dice.choice(['DE', 'FR'])
            for _ in range(dice.randrange(1, 5)):
                product = dice.choice(['tea', 'cup', 'pot'])
                for event, chance in (('view', 1), ('cart', 0.6), ('order', 0.5)):
                    if dice.random() > chance:
                        break
                    click = {'ts': at, 'visitor': f'v{v}', 'event': event, 'product': product, 'country': country}
                    clicks.append(click if event != 'order' else {**click, 'amount': dice.randrange(1, 90) / 2})
                    at += dice.randrange(1, 20000)
        rows = run(self, 'shop.yaml', 'clicks', clicks)
        orders = [c for c in clicks if c['event'] == 'order']
        self.assertEqual(rows('SELECT visitor, product, country, amount FROM orders ORDER BY 1, 2, 4'),
                         sorted((c['visitor'], c['product'], c['country'], c['amount']) for c in orders))
        self.assertEqual(rows('SELECT visitor, count FROM visits ORDER BY 1, 2'), sessions(clicks, 'visitor', 60000))
        self.assertEqual(rows('SELECT sum(amount_sum), sum(orders), sum(views) FROM visits'),
                         [(sum(c['amount'] for c in orders), len(orders), sum(c['event'] == 'view' for c in clicks))])
        self.assertEqual(rows('SELECT country, visitor_distinct, orders FROM days ORDER BY 1'),
                         [(k, len({c['visitor'] for c in clicks if c['country'] == k}), sum(c['country'] == k for c in orders))
                          for k in ('DE', 'FR')])
        left = collections.Counter()
        for c in clicks:
            minute = c['ts'] // 60000
            left[(minute * 60000000, c['product'])] += c['event'] == 'cart' and not any(
                (o['visitor'], o['product'], o['ts'] // 60000) == (c['visitor'], c['product'], minute) for o in orders)
        self.assertEqual(rows('SELECT window_start, product, baskets FROM left_sql ORDER BY 1, 2'),
                         sorted((*k, n) for k, n in left.items() if n))

    def test_social(self):
        dice = random.Random(3)
        uses = [{'ts': T0 + 60 * i, 'lang': dice.choice(['en', 'es']), 'user': f'u{int(dice.paretovariate(1.1))}',
                 'tag': '#' + dice.choice('aaaabbc')} for i in range(5000)]
        rows = run(self, 'social.yaml', 'hashtags', uses)
        want = collections.defaultdict(set)
        for u in uses:
            want[(u['ts'] // 60000 * 60000000, u['lang'])].add(u['user'])
        self.assertEqual(rows('SELECT window_start, lang, user_distinct FROM talk_1m ORDER BY 1, 2'),
                         [(*k, len(want[k])) for k in sorted(want)])
        self.assertEqual(rows('SELECT tag, count(*), sum(count) FROM hundreds WHERE count = 100 GROUP BY tag ORDER BY tag'),
                         [(tag, n // 100, n // 100 * 100) for tag, n in sorted(collections.Counter(u['tag'] for u in uses).items())])
        self.assertEqual(rows('SELECT user, count FROM loud ORDER BY 1, 2'), sessions(uses, 'user', 5000))
        tens = collections.defaultdict(collections.Counter)
        for u in uses:
            tens[(u['ts'] // 10000, u['lang'])][u['tag']] += 1
        led = collections.Counter()
        for (ten, lang), tags in tens.items():
            best = max(tags.values())
            first = sorted(t for t, n in tags.items() if n == best)
            if len(first) == 1:
                led[(ten // 6 * 60000000, lang, first[0])] += 1
        got = {(w, lang, tag): n for w, lang, tag, n in rows('SELECT window_start, lang, tag, count FROM leaders')}
        for k, n in led.items():
            self.assertGreaterEqual(got.get(k, 0), n, k)
        self.assertEqual(sum(got.values()), len(tens))


if __name__ == '__main__':
    harness.main()
