# SPDX-License-Identifier: Apache-2.0
"""W1's job in Python: for each symbol in each 10 s the number of trades, quantity, turnover, lowest and highest price. By an object for
each group, by arrays of many groups, and, as a program, without weir: what a script does that reads the same file.

    python3 bench/fold.py FILE     prints events, groups, seconds of CPU time, those of the fold alone, and a sum to compare
"""
import json
import sys
import time
from typing import NamedTuple

try:
    import numpy as np
    import weir
except ImportError:  # the program needs neither
    weir = np = None


class Row(NamedTuple):
    n: int
    qty: int
    turnover: float
    low: float
    high: float


if weir:
    class Objects(weir.Fold):
        arrays = 'memoryview'

        def __init__(self):
            self.n, self.qty, self.turnover, self.low, self.high = 0, 0, 0.0, float('inf'), float('-inf')

        def update(self, price, qty):
            self.n += len(price)
            self.qty += sum(qty)
            self.turnover += sum(p * q for p, q in zip(price, qty))
            self.low = min(self.low, min(price))
            self.high = max(self.high, max(price))

        def merge(self, other):
            self.n += other.n
            self.qty += other.qty
            self.turnover += other.turnover
            self.low = min(self.low, other.low)
            self.high = max(self.high, other.high)

        def emit(self) -> Row:
            return Row(self.n, self.qty, self.turnover, self.low, self.high)

    class Arrays(weir.Groups):
        together = True
        state = np.dtype([('n', 'i8'), ('qty', 'i8'), ('turnover', 'f8'), ('low', 'f8'), ('high', 'f8')])

        def init(self, state):
            state['low'], state['high'] = np.inf, -np.inf

        def update(self, state, first, price, qty):
            state['n'] += np.add.reduceat(np.ones_like(qty), first)
            state['qty'] += np.add.reduceat(qty, first)
            state['turnover'] += np.add.reduceat(price * qty, first)
            state['low'] = np.minimum(state['low'], np.minimum.reduceat(price, first))
            state['high'] = np.maximum(state['high'], np.maximum.reduceat(price, first))

        def merge(self, state, other):
            for name in ('n', 'qty', 'turnover'):
                state[name] += other[name]
            state['low'] = np.minimum(state['low'], other['low'])
            state['high'] = np.maximum(state['high'], other['high'])

        def emit(self, state) -> Row:
            return Row(*[state[name] for name in state.dtype.names])


def main(path):
    groups, n = {}, 0
    began, fold = time.process_time(), 0.0
    with open(path, encoding='ascii') as file:
        while lines := file.readlines(1 << 20):
            events = [json.loads(line) for line in lines]
            n += len(events)
            fold -= time.process_time()
            for event in events:
                key = event['symbol'], event['ts'] // 10000
                price, qty = event['price'], event['qty']
                group = groups.get(key)
                if group is None:
                    groups[key] = [1, qty, price * qty, price, price]
                    continue
                group[0] += 1
                group[1] += qty
                group[2] += price * qty
                group[3] = min(group[3], price)
                group[4] = max(group[4], price)
            fold += time.process_time()
    print(n, len(groups), time.process_time() - began, fold, sum(g[1] for g in groups.values()))


if __name__ == '__main__':
    main(sys.argv[1])
