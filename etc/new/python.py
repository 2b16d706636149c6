"""@: the mean of a column, and of how many values. See weir-python(7)."""
from typing import NamedTuple

import weir


class Row(NamedTuple):
    """What it gives for each group, one key in one window."""
    mean: float | None  # None is null
    n: int


class Mean(weir.Fold):
    """What is remembered of a group. Rows with a null do not come, but with nulls: keep."""
    arrays = 'memoryview'  # without it columns are arrays of numpy, if that is there

    def __init__(self):
        self.n = 0
        self.total = 0.0

    def update(self, value):
        """Some rows of the group, in their order. Keep copies only."""
        for v in value:  # one by one: with sum(value) the result would depend on how rows were cut into calls
            if v is not None:
                self.n += 1
                self.total += v

    def merge(self, other):
        """Two parts of a window become one, in any order."""
        self.n += other.n
        self.total += other.total

    def emit(self) -> Row:
        """A result is due; there may be more later."""
        return Row(self.total / self.n if self.n else None, self.n)
