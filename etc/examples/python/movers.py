# SPDX-License-Identifier: Apache-2.0
"""Who moved most in a window: pandas over all its trades. Columns become a DataFrame without a copy."""
from collections.abc import Iterator
from typing import NamedTuple

import pandas as pd

import weir


class Row(NamedTuple):
    symbol: str
    first: float
    last: float
    change: float  # percent
    trades: int


@weir.window
def movers(symbol, price, *, n: int = 3) -> Iterator[Row]:
    trades = pd.DataFrame({'symbol': symbol, 'price': price})
    found = trades.groupby('symbol', sort=True)['price'].agg(['first', 'last', 'size'])
    found['change'] = (found['last'] / found['first'] - 1) * 100
    top = found.reindex(found['change'].abs().sort_values(ascending=False, kind='stable').index)[:n]
    for row in top.itertuples():
        yield Row(row.Index, row.first, row.last, row.change, row.size)
