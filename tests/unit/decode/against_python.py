#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The JSON decoder against Python's json: random lines, half of them damaged; same verdicts, same values.

    against_python.py [LINES [SEED]]      20000 lines, seed 1; $WEIR_BUILD is the build folder

Python is asked for the text of each number, so that what an exact 64-bit integer or time should be is
worked out here with integers of any size; doubles are Python's own.
"""
import json
import os
import random
import re
import subprocess
import sys

PROGRAM = os.path.join(os.environ.get('WEIR_BUILD', '.'), 'tests/unit/decode/verdicts')
INT64_MIN, INT64_MAX = -2**63, 2**63 - 1
TIME_MAX_US = 2**62
DEPTH_MAX = 64
COLUMNS = ('ts', 'symbol', 'price', 'qty', 'ok')


# ---- What Python makes of a line -----------------------------------------------------------------

class Number(str):
    """A number as it is written."""


class Pairs(list):
    """An object, with keys that come twice."""


class Wrong(Exception):
    """A value that its column cannot take, for one of the reasons args."""


def no_constant(text):
    raise ValueError(text)


loads = json.JSONDecoder(object_pairs_hook=Pairs, parse_int=Number, parse_float=Number,
                         parse_constant=no_constant).decode


def depth(value):
    """Of nested arrays and objects; raises UnicodeEncodeError for lone surrogates."""
    if isinstance(value, str):
        value.encode()
        return 0
    if isinstance(value, Pairs):
        return 1 + max((max(depth(k), depth(v)) for k, v in value), default=0)
    if isinstance(value, list):
        return 1 + max((depth(v) for v in value), default=0)
    return 0


def scaled(text, shift):
    """(digits, exponent) of the number times 10**shift; digits without zeros at the end."""
    sign, whole, fraction, exponent = re.fullmatch(
        r'(-?)(\d+)(?:\.(\d+))?(?:[eE]([-+]?\d+))?', text).groups()
    digits = int(whole + (fraction or ''))
    exponent = int(exponent or 0) - len(fraction or '') + shift
    if digits == 0:
        return 0, 0
    while digits % 10 == 0:
        digits //= 10
        exponent += 1
    return -digits if sign else digits, exponent


def fits(digits, exponent):
    if len(str(abs(digits))) + exponent > 20 or not INT64_MIN <= digits * 10**exponent <= INT64_MAX:
        raise Wrong('range')
    return digits * 10**exponent


def to_int(v):
    if not isinstance(v, Number):
        raise Wrong('type')
    digits, exponent = scaled(v, 0)
    if exponent < 0:
        both = len(str(abs(digits))) + exponent > 18
        raise Wrong('type', 'range') if both else Wrong('type')
    return str(fits(digits, exponent))


def to_time(v):
    if v is None:
        return None
    if not isinstance(v, Number):
        raise Wrong('type')
    digits, exponent = scaled(v, 3)
    if exponent < 0:
        kept = abs(digits) // 10**-exponent if -exponent < 10000 else 0
        digits, exponent = kept if digits >= 0 else -kept, 0
    us = fits(digits, exponent)
    if abs(us) > TIME_MAX_US:
        raise Wrong('range')
    return str(us)


def to_float(v):
    if not isinstance(v, Number):
        raise Wrong('type')
    f = float(v)
    if f in (float('inf'), float('-inf')):
        raise Wrong('range')
    return f


def to_string(v):
    if not isinstance(v, str) or isinstance(v, Number):
        raise Wrong('type')
    return 's' + v.encode().hex()


def to_bool(v):
    if not isinstance(v, bool):
        raise Wrong('type')
    return 't' if v else 'f'


CONVERT = dict(zip(COLUMNS, (to_time, to_string, to_float, to_int, to_bool)))


def expected(line):
    """A row, a set of reasons of which one has to be given, or None for a blank line."""
    try:
        text = line.decode()
        if not text.strip(' \t\r'):
            return None
        value = loads(text)
        nested = depth(value)
    except (ValueError, RecursionError):
        return {'syntax', 'utf8', 'type', 'range', 'depth'}
    if not isinstance(value, Pairs):
        return {'type', 'depth'}
    row, reasons = dict.fromkeys(COLUMNS), set()
    for key, v in value:
        if key not in row:
            continue
        try:
            row[key] = None if v is None else CONVERT[key](v)
        except Wrong as wrong:
            reasons.update(wrong.args)
    if nested > DEPTH_MAX:
        reasons.add('depth')
    if row['ts'] is None:
        reasons.add('no_time')
    return reasons or row


def agrees(got, want):
    if want is None:
        return got == ''
    if isinstance(want, set):
        return got[:1] == '!' and got[1:] in want
    cells = got.split('\t')
    if len(cells) != len(COLUMNS):
        return False
    for name, cell in zip(COLUMNS, cells):
        v = want[name]
        if v is None:
            same = cell == '-'
        elif name == 'price':
            same = cell != '-' and float.fromhex(cell).hex() == v.hex()
        else:
            same = cell == v
        if not same:
            return False
    return True


# ---- Lines ---------------------------------------------------------------------------------------

BYTES = b'{}[]:,"\\/0123456789.-+eE tfnulrasbx\t\r\0\x1f\x7f\x80\xbf\xc2\xe0\xed\xf0\xf4\xff'
TOKENS = (b'null', b'true', b'false', b'{}', b'[]', b'""', b'\\u', b'\\ud83d', b'\\ude00', b'\\u0000',
          b'e5', b'E-5', b'.0', b'00', b'-', b'NaN', b'Infinity', b'"ts":', b'"qty":1,', b',"ts":2',
          b'\xc3\xa9', b'\xf0\x9f\x98\x80', b'\xed\xa0\x80', b'\xef\xbb\xbf', b'  ', b'\\"', b'[1,',
          b'{"a":', b'9223372036854775807', b'9223372036854775808', b'1e400', b'/**/')
WORDS = ('', 'a', 'SYM0042', 'sixteen bytes 16', 'seventeen bytes17', 'tab\\t', '\\u00e9', 'é', '€',
         '😀', '\\ud83d\\ude00', '\\ud83d', '\\ude00', '\\u0000', '\\"', '\\\\', '\\/', '\x7f',
         'a longer text that fills more than one or two of the blocks that are copied at once, é ',
         'x' * 63, 'x' * 64, 'x' * 200)


class Lines:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.layouts = []

    def digits(self, least, most):
        n = self.random.randint(least, most)
        return ''.join(self.random.choices('0123456789', k=n))

    def number(self):
        r = self.random
        kind = r.randrange(10)
        if kind == 0:
            return r.choice(('0', '-0', '-0.0', '0e5', '0.00', '1e0', '17.0', '1E2', '123e-2', '5e-324',
                             '2.2250738585072011e-308', '1.7976931348623157e308', '1.8e308',
                             '9223372036854775807', '-9223372036854775808', '9223372036854775808',
                             '9007199254740993', '1e19', '1e18', '1e-30', '1e999999999999999999999'))
        text = r.choice(('', '', '-')) + (self.digits(1, 20 if kind == 1 else 7).lstrip('0') or '0')
        if kind in (2, 3, 4):
            text += '.' + self.digits(1, 3)
        elif kind in (5, 6):
            text += '.' + self.digits(1, 22)
        if kind in (4, 6, 7):
            text += r.choice('eE') + r.choice(('', '+', '-')) + self.digits(1, 3 if kind == 7 else 2)
        if kind == 8:
            text = repr(r.uniform(-1, 1) * 10.0 ** r.randint(-30, 30))
        if kind == 9:
            text = str(r.getrandbits(r.randint(1, 66)))
        return text

    def string(self):
        return '"' + ''.join(self.random.choices(WORDS, k=self.random.randrange(3))) + '"'

    def any(self, depth=0):
        r = self.random
        kind = r.randrange(8 if depth < 5 else 4)
        if kind < 2:
            return self.number()
        if kind < 4:
            return r.choice((self.string(), self.string(), 'null', 'true', 'false'))
        if kind == 4 and r.randrange(400) == 0:
            n = r.randint(DEPTH_MAX - 3, DEPTH_MAX + 2)
            return '[' * n + ']' * n
        items = [self.any(depth + 1) for _ in range(r.randrange(3))]
        if kind < 6:
            return '[' + ','.join(items) + ']'
        return '{' + ','.join(self.string() + ':' + v for v in items) + '}'

    def value(self, key):
        r = self.random
        chance = r.randrange(40)
        if chance == 0:
            return self.any()
        if chance == 1:
            return 'null'
        if key == 'ts':
            return str(1700000000000 + r.randrange(1000000)) if chance < 35 else self.number()
        if key == 'symbol':
            return self.string()
        if key in ('price', 'qty'):
            return self.number() if chance < 6 or key == 'price' else str(r.randrange(1000))
        if key == 'ok':
            return r.choice(('true', 'false'))
        return self.any()

    def layout(self):
        r = self.random
        keys = [k for k in COLUMNS if k == 'ts' or r.random() < 0.9]
        keys += r.choices(('more', 'side', 'ts', 'qty', '', 'a key that is longer than a layout may be kept'),
                          k=r.choice((0, 0, 1, 2)))
        r.shuffle(keys)
        space = r.choice(('', '', ' ', '\t ', '\r'))
        names = [k if r.random() < 0.97 or not k else '\\u%04x' % ord(k[0]) + k[1:] for k in keys]
        return keys, names, space

    def line(self):
        r = self.random
        if not self.layouts or r.random() < 0.05:
            self.layouts = (self.layouts + [self.layout()])[-6:]
        keys, names, s = r.choice(self.layouts[-2:] if r.random() < 0.7 else self.layouts)
        pairs = [f'{s}"{name}"{s}:{s}{self.value(key)}{s}' for key, name in zip(keys, names)]
        line = (s + '{' + ','.join(pairs) + '}' + s).encode()
        return self.damage(line) if r.random() < 0.5 else line

    def damage(self, line):
        r = self.random
        for _ in range(r.choice((1, 1, 1, 2, 3))):
            at = r.randrange(len(line) + 1)
            kind = r.randrange(5)
            if kind == 0:
                line = line[:at] + bytes((r.choice(BYTES),)) + line[at + 1:]
            elif kind == 1:
                line = line[:at] + line[at + r.choice((1, 1, 2, 8)):]
            elif kind == 2:
                line = line[:at] + r.choice(TOKENS) + line[at:]
            elif kind == 3:
                piece = line[at:at + r.randrange(1, 12)]
                to = r.randrange(len(line) + 1)
                line = line[:to] + piece + line[to:]
            else:
                line = line[:at]
        return line.replace(b'\n', b' ')


def compare(lines):
    out = subprocess.run([PROGRAM], input=b'\n'.join(lines) + b'\n', stdout=subprocess.PIPE,
                         check=True).stdout.decode().split('\n')
    assert len(out) == len(lines) + 1, 'a verdict a line'
    taken = 0
    for line, got in zip(lines, out):
        want = expected(line)
        taken += isinstance(want, dict)
        if not agrees(got, want):
            sys.exit(f'line {line!r}\ndecoder {got!r}\nexpected {want!r}')
    return taken


def main():
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 20000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    lines = Lines(seed)
    taken = 0
    for begin in range(0, n, 50000):
        taken += compare([lines.line() for _ in range(min(50000, n - begin))])
    print(f'{n} lines of seed {seed}, {taken} accepted by both, {n - taken} rejected by both or blank')
    if not n // 5 <= taken <= n - n // 5:
        sys.exit('too few lines are of one kind: the comparison says little')


main()
