# SPDX-License-Identifier: Apache-2.0
"""Price impact of trades (Kyle's lambda) of many symbols at once: how far the price moves for each unit of signed
volume, by least squares through the origin, of steps from trade to trade. numpy, whose arrays hold all symbols of a call."""
from typing import NamedTuple

import numpy as np

import weir


class Row(NamedTuple):
    impact: float | None  # price for each unit bought; null without two trades
    steps: int


class Impact(weir.Groups):
    # Steps are between trades as they come, the order of the log. Without merge: windows of one size.
    state = np.dtype([('steps', np.int64), ('xy', np.float64), ('xx', np.float64), ('last', np.float64)])

    def init(self, state):
        state['last'] = np.nan

    def update(self, state, group, price, signed):
        order = np.argsort(group, kind='stable')  # each symbol's trades side by side
        group, price, signed = group[order], price[order], signed[order]
        first = np.r_[True, group[1:] != group[:-1]]
        before = np.r_[np.nan, price[:-1]]
        before[first] = state['last'][group[first]]
        step = price - before
        known = ~np.isnan(step)
        n = len(state)
        state['steps'] += np.bincount(group[known], minlength=n)
        state['xy'] += np.bincount(group[known], (step * signed)[known], n)
        state['xx'] += np.bincount(group[known], (signed * signed)[known], n)
        last = np.r_[group[1:] != group[:-1], True]
        state['last'][group[last]] = price[last]

    def emit(self, state) -> Row:
        with np.errstate(divide='ignore', invalid='ignore'):
            return Row(np.where(state['xx'] > 0, state['xy'] / state['xx'], np.nan), state['steps'])
