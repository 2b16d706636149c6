#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Events for the pages docs/finance.md, docs/shop.md and docs/social.md, the same on every machine, and plots of what
weir makes of them.

    fields.py events finance|shop|social             NDJSON, an hour of it
    fields.py plot finance|shop|social DATABASE      SVG"""

import json
import random
import sqlite3
import sys

T0 = 1764000000  # 2025-11-24 16:00 UTC
dice = random.Random(7).random  # the one method that is the same in every version of Python


def choose(pairs):
    at = dice() * sum(weight for _, weight in pairs)
    for word, weight in pairs:
        at -= weight
        if at < 0:
            return word
    return pairs[-1][0]


# ---- Events -----------------------------------------------------------------------------------------


def finance():
    """Four symbols, seven trades in two seconds; in minute 40 ACME falls by 6 %, at ten times the volume."""
    price = {'ACME': 120.0, 'BOLT': 48.0, 'CORE': 310.0, 'DELTA': 15.0}
    for i in range(12600):
        t = T0 + i * 2 / 7
        crash = 40 * 60 <= t - T0 < 41 * 60
        symbol = choose([('ACME', 5 if crash else 4), ('BOLT', 3), ('CORE', 2), ('DELTA', 1)])
        price[symbol] *= 1 + (dice() - 0.5) * 0.002 + (-0.0007 if crash and symbol == 'ACME' else 0)
        many = 10 if crash and symbol == 'ACME' else 1
        side = 'sell' if dice() < (0.8 if many > 1 else 0.5) else 'buy'
        yield {'ts': int(t * 1000), 'symbol': symbol, 'price': round(price[symbol], 2), 'qty': many * (1 + int(dice() * 100)),
               'side': side}


def shop():
    """A visitor every two seconds; from minute 30 to 40 the cart of Germans does not work."""
    products = [('headphones', 30), ('keyboard', 18), ('monitor', 14), ('webcam', 8)]
    cost = {'headphones': 89.0, 'keyboard': 129.0, 'monitor': 349.0, 'webcam': 74.0}
    events = []
    for i in range(1800):
        t, country = T0 + i * 2, choose([('DE', 5), ('FR', 3), ('US', 4)])
        for _ in range(1 + int(dice() * 3)):
            product = choose(products)
            click = {'visitor': f'v{i}', 'product': product, 'country': country}
            events.append({'ts': int(t * 1000), 'event': 'view', **click})
            t += 1 + dice() * 15
            broken = country == 'DE' and 30 * 60 <= t - T0 < 40 * 60
            if dice() < 0.4 and not broken:
                events.append({'ts': int(t * 1000), 'event': 'cart', **click})
                t += 1 + dice() * 15
                if dice() < 0.6:
                    events.append({'ts': int(t * 1000), 'event': 'order', **click, 'amount': cost[product]})
    yield from sorted(events, key=lambda e: e['ts'])


def social():
    """Three hashtags a second; from minute 35 to 42 people write about an eclipse."""
    tags = [('news', 8), ('music', 6), ('football', 5), ('travel', 3), ('eclipse', 0.3)]
    for i in range(10800):
        t = T0 + i / 3
        lang = choose([('en', 5), ('de', 2)])
        seen = lang == 'en' and 35 * 60 <= t - T0 < 42 * 60
        tag = choose(tags + [('eclipse', 18 if seen else 0)])
        yield {'ts': int(t * 1000), 'lang': lang, 'user': f'u{int(dice() ** 2 * 400)}', 'tag': tag}


# ---- Plots ------------------------------------------------------------------------------------------

WIDTH, HEIGHT, LEFT, TOP = 720, 130, 56, 34
COLORS = ('#2f6db5', '#c8553d', '#4b8f4b', '#8a63a8', '#b58b2f')


class Plot:
    """Panels below each other, with one axis of time: minutes since T0."""

    def __init__(self, title):
        self.parts, self.top, self.title = [], TOP, title

    def x(self, us):
        return LEFT + (us / 1e6 - T0) / 3600 * (WIDTH - LEFT - 16)

    def text(self, x, y, text, more=''):
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" {more}>{text}</text>')

    def panel(self, name, lines, marks=(), bars=False):
        """lines: {label: [(us, value)]}; marks: [us]."""
        values = [v for points in lines.values() for _, v in points]
        low, high = min(values), max(values)
        if bars or 0 < low < 0.3 * high:
            low = 0
        bottom = self.top + HEIGHT

        def y(v):
            return bottom - (v - low) / (high - low) * (HEIGHT - 24)

        for us in marks:
            self.parts.append(f'<line x1="{self.x(us):.1f}" y1="{self.top + 18}" x2="{self.x(us):.1f}" y2="{bottom}" class="m"/>')
        for v in (low, high):
            self.parts.append(f'<line x1="{LEFT}" y1="{y(v):.1f}" x2="{WIDTH - 16}" y2="{y(v):.1f}" class="g"/>')
            self.text(LEFT - 6, y(v) + 4, f'{v:,.0f}' if high >= 10 and high - low > 3 else f'{v:.2g}', 'text-anchor="end"')
        self.text(LEFT, self.top + 10, name, 'class="b"')
        for i, (label, points) in enumerate(lines.items()):
            color = COLORS[i % len(COLORS)]
            if bars:
                self.parts += [f'<line x1="{self.x(us):.1f}" y1="{bottom}" x2="{self.x(us):.1f}" y2="{y(v):.1f}" '
                               f'stroke="{color}" stroke-width="1.4"/>' for us, v in points]
            else:
                self.parts.append(f'<polyline fill="none" stroke="{color}" stroke-width="1.4" points="'
                                  + ' '.join(f'{self.x(us):.1f},{y(v):.1f}' for us, v in points) + '"/>')
            if len(lines) > 1:
                self.text(WIDTH - 16 - 80 * (len(lines) - 1 - i), self.top + 10, label, f'text-anchor="end" style="fill:{color}"')
        self.top = bottom + 16

    def svg(self):
        for minute in range(0, 61, 10):
            self.text(self.x((T0 + 60 * minute) * 1e6), self.top + 8, f'16:{minute:02}' if minute < 60 else '17:00',
                      'text-anchor="middle"')
        return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self.top + 18}" width="{WIDTH}" '
                f'height="{self.top + 18}" role="img" aria-label="{self.title}">\n'
                '<style>text{font:11px sans-serif;fill:#444}.b{font-weight:700}.g{stroke:#ddd}'
                '.m{stroke:#d22;stroke-width:1.2;stroke-dasharray:3 2}</style>\n'
                '<rect width="100%" height="100%" fill="#fff"/>\n' + f'<text x="{LEFT}" y="18" class="b">{self.title}</text>\n'
                + '\n'.join(self.parts) + '\n</svg>\n')


def series(rows):
    """(label, us, value) to {label: [(us, value)]}"""
    found = {}
    for label, us, value in rows:
        found.setdefault(label, []).append((us, value))
    return found


def plot_finance(sql):
    plot = Plot('ACME: candles of 10 seconds')
    verdicts = [us for us, in sql("SELECT window_start FROM unusual WHERE symbol = 'ACME' AND notional_sum_anomaly")]
    plot.panel('close and volume-weighted mean', series(
        sql("SELECT 'close', window_start, price_close FROM candles_10s WHERE symbol = 'ACME' UNION ALL "
            "SELECT 'vwap', window_start, vwap FROM candles_10s WHERE symbol = 'ACME'")), verdicts)
    plot.panel('money traded, and verdicts on it', series(
        sql("SELECT '', window_start, notional_sum FROM candles_10s WHERE symbol = 'ACME'")), verdicts, bars=True)
    plot.panel('bought less sold, a minute', series(
        sql("SELECT '', window_start, signed_sum FROM candles_1m WHERE symbol = 'ACME'")))
    return plot


def plot_shop(sql):
    plot = Plot('A shop: looks, carts and orders of each minute')
    for country in ('DE', 'FR'):
        plot.panel(f'visitors in {country}', series(
            sql(f"SELECT step, window_start, users FROM conversion_funnel WHERE country = '{country}' ORDER BY rank, 2")))
    plot.panel('baskets left', series(sql("SELECT '', window_start, sum(baskets) FROM left_sql GROUP BY 2")), bars=True)
    return plot


def plot_social(sql):
    plot = Plot('Hashtags in English')
    plot.panel('uses in a minute', series(
        sql("SELECT tag, window_start, tag_count FROM talk_1m_topk WHERE lang = 'en' "
            "AND tag IN ('news', 'music', 'eclipse') ORDER BY tag, 2")))
    plot.panel('entropy of tags in 10 seconds, bits', series(
        sql("SELECT '', window_start, tag_entropy FROM talk_10s WHERE lang = 'en'")))
    plot.panel('different users in a minute', series(
        sql("SELECT '', window_start, user_distinct FROM talk_1m WHERE lang = 'en'")))
    return plot


EVENTS = {'finance': finance, 'shop': shop, 'social': social}
PLOTS = {'finance': plot_finance, 'shop': plot_shop, 'social': plot_social}


def main(arguments):
    if len(arguments) == 2 and arguments[0] == 'events' and arguments[1] in EVENTS:
        for event in EVENTS[arguments[1]]():
            print(json.dumps(event, separators=(',', ':')))
    elif len(arguments) == 3 and arguments[0] == 'plot' and arguments[1] in PLOTS:
        database = sqlite3.connect(f'file:{arguments[2]}?mode=ro', uri=True)
        print(PLOTS[arguments[1]](lambda text: database.execute(text).fetchall()).svg(), end='')
    else:
        raise SystemExit(__doc__)


if __name__ == '__main__':
    main(sys.argv[1:])
