# SPDX-License-Identifier: Apache-2.0
"""Who had most turnover in a window: polars over all its trades, which it takes by Arrow."""
from collections.abc import Iterator
from typing import NamedTuple

import polars as pl

import weir


class Row(NamedTuple):
    symbol: str
    turnover: float
    trades: int


@weir.window(arrays='arrow')
def turnover(symbol, price, qty, *, n: int = 3) -> Iterator[Row]:
    trades = pl.DataFrame({'symbol': pl.Series(symbol), 'price': pl.Series(price), 'qty': pl.Series(qty)})
    of = trades.group_by('symbol').agg((pl.col('price') * pl.col('qty')).sum().alias('turnover'), pl.len().alias('trades'))
    for row in of.sort('turnover', 'symbol', descending=[True, False]).head(n).iter_rows():
        yield Row(*row)
