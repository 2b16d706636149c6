# SPDX-License-Identifier: Apache-2.0
"""How far a trade moves the price, by a linear model of scikit-learn that learns with each trade (partial_fit). Samples are taken one
after the other, so it makes no difference in how many pieces they come."""
from typing import NamedTuple

import numpy as np
from sklearn.linear_model import SGDRegressor

import weir


class Row(NamedTuple):
    slope: float | None  # of the step for each unit bought; null without two trades
    intercept: float | None
    steps: int


class Steps(weir.Fold):
    arrays = 'numpy'
    rate = 0.001

    def __init__(self):
        self.last, self.steps = None, 0
        self.model = SGDRegressor(penalty=None, learning_rate='constant', eta0=self.rate, shuffle=False)

    def update(self, price, signed):
        before = np.r_[price[0] if self.last is None else self.last, price[:-1]]
        first = self.last is None  # its step is not known
        step, signed = (price - before)[first:], signed[first:]
        if len(step):
            self.model.partial_fit(signed.reshape(-1, 1).astype(float), step)
            self.steps += len(step)
        self.last = float(price[-1])

    def emit(self) -> Row:
        if not self.steps:
            return Row(None, None, 0)
        return Row(self.model.coef_[0], self.model.intercept_[0], self.steps)
