# SPDX-License-Identifier: Apache-2.0
"""Shards under many faults, a few in each round, another seed each: ./dev shards. Its last lines say what became of the rows of all rounds."""

import argparse
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
A_ROUND = 8


def one(seed):
    done = subprocess.run([sys.executable, os.path.join(HERE, 'test_shards.py'),
                           'Shards.test_rows_of_all_are_those_of_one_whatever_ends'], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False,
                          env={**os.environ, 'WEIR_SHARD_SEED': str(seed), 'WEIR_SHARD_FAULTS': str(A_ROUND)})
    if done.returncode:
        print(done.stdout[-3000:])
    wrong = [int(n) for n in re.search(r'wrong=(\d+) lost=(\d+)', done.stdout + ' wrong=0 lost=0').groups()]
    print(f'seed {seed}:', 'FAILED' if done.returncode else 'skipped' if 'skipped=' in done.stdout else 'ok', flush=True)
    return done.returncode, 'skipped=' in done.stdout, wrong


def main():
    parser = argparse.ArgumentParser(prog='./dev shards')
    parser.add_argument('--faults', type=int, default=104)
    parser.add_argument('--seed', type=int, default=1)
    given = parser.parse_args()
    rounds = [one(given.seed + i) for i in range(-(-given.faults // A_ROUND))]
    failed, skipped = sum(code != 0 for code, _, _ in rounds), sum(skip for _, skip, _ in rounds)
    print(f'faults={A_ROUND * (len(rounds) - skipped)} wrong={sum(wrong for _, _, (wrong, _) in rounds)}'
          f' lost={sum(lost for _, _, (_, lost) in rounds)}')
    print(f'{len(rounds) - failed - skipped} passed, {failed} failed, {skipped} skipped')
    return failed != 0


if __name__ == '__main__':
    sys.exit(main())
