"""@: the mean of a column, and of how many values. See weir-python(7)."""
from typing import NamedTuple

import weir


class Row(NamedTuple):
    """What it gives for each group, one key in one window."""
    mean: float
    n: int


class Mean(weir.Fold):
    """What is remembered of a group. Rows with a null do not come."""

    def __init__(self):
        self.n = 0
        self.total = 0.0

    def update(self, value):
        """Some rows of the group: an array of numpy, or a memoryview without it. Keep copies only."""
        self.n += len(value)
        self.total += float(sum(value))

    def merge(self, other):
        """Two parts of a window become one, in any order."""
        self.n += other.n
        self.total += other.total

    def emit(self) -> Row:
        """A result is due; there may be more later."""
        return Row(self.total / self.n, self.n)
