# SPDX-License-Identifier: Apache-2.0
"""The rule of the Numenta Anomaly Benchmark: A. Lavin, S. Ahmad, "Evaluating real-time anomaly detection algorithms - the
Numenta Anomaly Benchmark", ICMLA 2015 (arXiv 1510.03336), section III.

Within a labelled window the first verdict counts, the earlier the more; a window without one costs, and so does every verdict
outside, the less the closer it follows a window. The first 15 % of a series, of 5,000 rows at most, are to learn from. Rows are
scored, not times: some times come twice, or go back."""

import math

PROFILES = {'standard': (1.0, 0.11, 1.0), 'low FP': (1.0, 0.22, 1.0), 'low FN': (1.0, 0.11, 2.0)}  # weights TP, FP, FN


def sigmoid(x):
    return -1.0 if x >= 3 else 2 / (1 + math.exp(5 * x)) - 1


def rows_to_learn(n):
    return int(min(0.15 * n, 0.15 * 5000))


class Tally:
    """What verdicts on several series come to, in one profile."""

    def __init__(self, profile):
        self.hit, self.false, self.miss = PROFILES[profile]
        self.raw, self.windows, self.missed, self.wrong = 0.0, 0, 0, 0

    def add(self, n, windows, verdicts):
        """A series of n rows; windows are [(first, last)], in order; verdicts are rows, rising."""
        learnt = rows_to_learn(n)
        windows = [(a, b) for a, b in windows if b >= learnt]
        verdicts = [i for i in verdicts if i >= learnt]
        self.windows += len(windows)
        for a, b in windows:
            first = next((i for i in verdicts if a <= i <= b), None)
            if first is None:
                self.missed += 1
                self.raw -= self.miss
            else:
                self.raw += self.hit * sigmoid(-(b - first + 1) / (b - a + 1)) / sigmoid(-1)
        for i in verdicts:
            if any(a <= i <= b for a, b in windows):
                continue
            self.wrong += 1
            before = [(a, b) for a, b in windows if b < i]
            self.raw += self.false * (sigmoid((i - before[-1][1]) / (before[-1][1] - before[-1][0])) if before else -1)

    def score(self):
        """0: no verdict at all; 100: one at the first row of each window, and no other."""
        if not self.windows:
            return None
        return 100 * (self.raw + self.miss * self.windows) / ((self.hit + self.miss) * self.windows)
