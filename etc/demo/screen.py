# SPDX-License-Identifier: Apache-2.0
#
# What the demo shows: results of its pipelines, asked for by the REST API with the very requests that
# stand on the screen as curl lines, as text of at most 80 columns and at least 24 lines.
import csv
import http.client
import io
import json
import time
import unicodedata
import urllib.parse

COLUMNS = 80
LINES = 24
BOLD, DIM, GREEN, RED, PLAIN = "\033[1m", "\033[2m", "\033[32m", "\033[31m", "\033[0m"


def width(text):
    """Columns on a terminal: Chinese and Japanese letters take two."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def number(text, digits=2):
    """Figures as people read them; "-" for null."""
    return "-" if text == "" else f"{float(text):,.{digits}f}"


def size(text):
    """Bytes with a unit: 12.3k."""
    value = float(text or 0)
    for unit in ("", "k", "M", "G"):
        if value < 1000:
            break
        value /= 1000
    return f"{value:.0f}{unit}" if unit == "" or value >= 100 else f"{value:.1f}{unit}"


class Screen:
    def __init__(self, url, sql, color):
        self.base = url
        self.api = url + "/api/v1"
        self.sql = sql
        self.color = color
        self.connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=10)
        self.seen = []  # (time, events taken since the start)

    # ---- Asking --------------------------------------------------------------------------------

    def ask(self, path, body=None):
        headers = {"Content-Type": "text/plain"} if body else {}
        self.connection.request("POST" if body else "GET", path, body, headers)
        answer = self.connection.getresponse()
        text = answer.read().decode()
        if answer.status not in (200, 204):
            raise RuntimeError(f"{path}: {answer.status} {text}")
        return text

    def results(self, request):
        return list(csv.DictReader(io.StringIO(self.ask("/api/v1" + request))))

    def events(self):
        """Events that all streams have taken, and how many a second in the last ones."""
        total = 0
        for line in self.ask("/metrics").splitlines():
            if line.startswith("weir_events_total"):
                total += float(line.rsplit(" ", 1)[1])
        self.seen = [s for s in self.seen if s[0] > time.monotonic() - 10]
        self.seen.append((time.monotonic(), total))
        begin, first = self.seen[0]
        seconds = self.seen[-1][0] - begin
        return int(total), (total - first) / seconds if seconds else 0

    # ---- Text ----------------------------------------------------------------------------------

    def paint(self, code, text):
        return f"{code}{text}{PLAIN}" if self.color else text

    def section(self, title, note, curl):
        return [self.paint(BOLD, title) + " " + note, self.paint(DIM, "  " + curl)]

    def market(self, rows):
        request = "/pipelines/trades_10s/results?from=-40s&format=csv"
        found = self.results(request)
        windows = sorted({r["window_start"] for r in found})[-2:]
        before = {r["symbol"]: r for r in found if windows and r["window_start"] == windows[0]}
        out = self.section("MARKET", "simulated trades, by symbol and 10 s", f'curl "$W{request}"')
        head = ("symbol", "trades", "volume", "open", "high", "low", "close", "vwap", "")
        form = "  {:<7}{:>7}{:>9}{:>10}{:>10}{:>10}{:>10}{:>10} {}"
        out.append(form.format(*head).rstrip())
        latest = [r for r in found if windows and r["window_start"] == windows[-1]]
        for r in sorted(latest, key=lambda r: -int(r["count"]))[:rows]:
            change = self.change(before.get(r["symbol"], {}).get("price_close"), r["price_close"])
            figures = [number(r[c]) for c in ("price_open", "price_high", "price_low", "price_close")]
            out.append(form.format(r["symbol"], number(r["count"], 0), number(r["qty_sum"], 0),
                                   *figures, number(r["vwap"]), change).rstrip())
        return out, windows[-1] if windows else None

    def change(self, before, now):
        if not before or before == now:
            return ""
        up = float(now) > float(before)
        return self.paint(GREEN if up else RED, "+" if up else "-")

    def shop(self, rows):
        out = self.section("SHOP", "simulated clicks: conversion of the last minute (SQL)",
                           "curl -H content-type:text/plain --data-binary @etc/demo/shop.sql $W/sql")
        form = "  {:<16}{:>8}{:>8}{:>12}{:>14}"
        out.append(form.format("product", "views", "orders", "conversion", "revenue"))
        found = csv.DictReader(io.StringIO(self.ask("/api/v1/sql?format=csv", self.sql)))
        for r in list(found)[:rows]:
            out.append(form.format(r["product"], r["views"], r["orders"],
                                   number(r["conversion_percent"], 1) + " %", number(r["revenue"])))
        return out

    def social(self):
        request = "/pipelines/tags_10s/results/tags_10s_topk?from=-40s&format=csv"
        found = self.results(request)
        last = max((r["window_start"] for r in found), default=None)
        out = self.section("SOCIAL", "simulated posts: hashtags most used in 10 s, by language",
                           f'curl "$W{request}"')
        for lang in sorted({r["lang"] for r in found}):
            line = f"  {lang} "
            for r in found:
                if r["lang"] == lang and r["window_start"] == last:
                    item = f' {r["tag"]} {r["tag_count"]}'
                    if width(line + item) <= COLUMNS:
                        line += item
            out.append(line)
        return out

    def machine(self, rows):
        request = "/pipelines/machine_5s/results?from=-1m&format=csv"
        found = self.results(request)
        out = self.section("THIS MACHINE", "real: its load in 5 s, from /proc", f'curl "$W{request}"')
        form = "  {:<10}{:>9}{:>9}{:>9}{:>8}{:>10}{:>11}{:>10}"
        out.append(form.format("window", "cpu %", "most", "memory %", "load", "read/s", "written/s",
                               "net in/s"))
        for r in sorted(found, key=lambda r: r["window_start"], reverse=True)[:rows]:
            out.append(form.format(r["window_start"][11:19], number(r["cpu_mean"], 1),
                                   number(r["cpu_max"], 1), number(r["memory_mean"], 1),
                                   number(r["load1_mean"]), size(r["disk_read_mean"]),
                                   size(r["disk_written_mean"]), size(r["net_in_mean"])))
        return out

    def frame(self, lines=LINES):
        """The whole screen as lines of text; what does not fit into `lines` is left out."""
        spare = max(0, lines - LINES)
        gap = [""] if spare >= 4 else []
        spare -= 4 * len(gap)
        more_market = min(spare // 2, 8)
        more_shop = min((spare - more_market) // 2, 5)
        total, rate = self.events()
        market, last = self.market(4 + more_market)
        left = f"{total:,} events" + (f", {rate:,.0f}/s" if rate else "")
        right = f"  last window {last[11:19]}" if last else "  the first window is still open"
        out = [self.paint(BOLD, "weir") + f"  W={self.api}  {left}{right}"]
        for part in (market, self.shop(3 + more_shop), self.social(), self.machine(2)):
            out += gap + part
        return out[:lines]
