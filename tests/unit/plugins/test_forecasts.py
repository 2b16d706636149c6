# SPDX-License-Identifier: Apache-2.0
"""holt_winters with fit, against statsmodels' own fit on the recorded series. Needs statsmodels: in this Python, or in that of
$WEIR_STATSMODELS. WEIR_LONG=1 (./dev hard) takes all 30 series, of several lengths and seasons."""

import csv
import glob
import json
import os
import subprocess
import sys
import unittest

from test_values import drive, numbers

S = 1000000
EVERY, END = 50, 1000000  # seconds; the end is that of the window of drive
LONG = os.environ.get('WEIR_LONG') == '1'
SHAPES = ((0, 400), (24, 480), (12, 300), (7, 900)) if LONG else ((0, 300), (12, 300))

# [[season, values], ...] to [[error, forecast, alpha, beta, gamma], ...]; the beginning as the manual page says.
STATSMODELS = '''
import json, math, sys, warnings
import numpy as np
from statsmodels.tsa.holtwinters import ExponentialSmoothing
warnings.simplefilter('ignore')
np.seterr(all='ignore')

def fit(m, y):
    if m:
        one, two = np.mean(y[:m]), np.mean(y[m:2 * m])
        trend = (two - one) / m
        more = {'seasonal': 'add', 'seasonal_periods': m, 'initial_level': one + (m - 1) / 2 * trend,
                'initial_seasonal': [y[i] - one - (i - (m - 1) / 2) * trend for i in range(m)]}
    else:
        trend, more = y[1] - y[0], {'initial_level': y[1]}
    model = ExponentialSmoothing(np.array(y[m or 2:]), trend='add', initialization_method='known', initial_trend=trend, **more)
    found = model.fit()
    p = [found.params[f'smoothing_{what}'] for what in ('level', 'trend', 'seasonal')]
    return [math.sqrt(found.sse / len(found.resid)), float(found.forecast(1)[0]), *map(float, p)]

json.dump([fit(m, y) for m, y in json.load(sys.stdin)], sys.stdout)
'''


def recorded():
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), *['..'] * 3)
    data = os.environ.get('WEIR_DATA') or os.path.join(source, '..', 'shared', 'data')
    paths = sorted(glob.glob(os.path.join(data, 'nab', '*', '*.csv')))
    if not paths:
        raise unittest.SkipTest(f'no recorded data at {data}; $WEIR_DATA says where it is')
    for path in paths if LONG else paths[2::7]:
        with open(path, newline='', encoding='ascii') as file:
            yield os.path.basename(path), [float(row['value']) for row in csv.DictReader(file)]


class Forecasts(unittest.TestCase):
    def test_fitted_as_statsmodels_does(self):
        series = [(name, m, values[100:100 + n]) for name, values in recorded() for m, n in SHAPES]
        python = os.environ.get('WEIR_STATSMODELS', sys.executable)
        if subprocess.run([python, '-c', 'import statsmodels.tsa.holtwinters'], stderr=subprocess.DEVNULL, check=False).returncode != 0:
            self.skipTest('no statsmodels')
        done = subprocess.run([python, '-c', STATSMODELS], input=json.dumps([(m, y) for _, m, y in series]), text=True,
                              stdout=subprocess.PIPE, check=True)
        for (name, m, y), (error, forecast, *smoothing) in zip(series, json.loads(done.stdout), strict=True):
            rows = [((END - (len(y) - i) * EVERY) * S, v) for i, v in enumerate(y)]
            found = numbers(drive('holt_winters', rows, 'of=x:f', f'every={EVERY}s', f'season={m}', 'fit=true',
                                  f'history={len(y)}')[0], [float] * 8)
            with self.subTest(name, season=m, found=found, error=error, forecast=forecast, smoothing=smoothing):
                # Never a worse fit, and where it is as good, the same forecast.
                self.assertLessEqual(found[4], error * (1 + 1e-6))
                if found[4] >= error * (1 - 1e-6):
                    self.assertLessEqual(abs(found[0] - forecast), 0.01 * error)


if __name__ == '__main__':
    unittest.main()
