# SPDX-License-Identifier: Apache-2.0
"""A fold and a function that keep the laws of analyzers whatever comes, nulls too: weir plugin check."""
from collections.abc import Iterator
from typing import NamedTuple

import weir


class Row(NamedTuple):
    rows: int
    parity: int
    least: str | None


class Lawful(weir.Fold):
    arrays = 'memoryview'

    def __init__(self):
        self.rows, self.parity, self.least = 0, 0, None

    def update(self, a, b):
        for v in a:
            self.rows += 1
            self.parity ^= v or 0
        self.see(b)

    def see(self, strings):
        some = [s for s in (self.least, *strings) if s is not None]
        self.least = min(some) if some else None

    def merge(self, other):
        self.rows += other.rows
        self.parity ^= other.parity
        self.see([other.least])

    def emit(self) -> Row:
        return Row(self.rows, self.parity, self.least)


@weir.window
def lawful(a, b) -> Iterator[Row]:
    for v, s in zip(a.tolist() if hasattr(a, 'tolist') else a, b):
        yield Row(1, v or 0, s)
