# SPDX-License-Identifier: Apache-2.0
"""Plays a power loss on the files of a program that ran with powerloss.so and was killed: each write
that was not synced is, at random, there, gone, or torn at sectors of 512 bytes, in any order; of the
names that were made, moved or removed since the last sync of their folder, the last so many are as before.

    powerloss.py FOLDER STATE SEED [any]

With "any", names come to disk in any order, too, as POSIX allows and no file system with a journal does."""

import collections
import os
import random
import shutil
import struct
import sys

import harness

SECTOR = 512
MAGIC = 0x70776c73
WRITE, TRUNCATE, SYNC, DONE = 1, 2, 3, 4
RECORD = struct.Struct('=IIQQQQQ')
LIBRARY = os.path.join(harness.BUILD, 'tests', 'crash', 'powerloss.so')

Change = collections.namedtuple('Change', 'kind seq offset old size end')
Name = collections.namedtuple('Name', 'seq kind path other kept')


# ---- Contents -------------------------------------------------------------------------------------


def parse(path):
    """The changes of a file that no sync has followed, and the seqs of those that are on disk all the
    same. The last record may be torn, by the kill: what it tells of was not done."""
    with open(path, 'rb') as file:
        data = file.read()
    changes, done, at = [], set(), 0
    while at + RECORD.size <= len(data):
        magic, kind, seq, offset, length, size, end = RECORD.unpack_from(data, at)
        if magic != MAGIC:
            raise AssertionError(f'{path}: no record at {at}')
        at += RECORD.size
        if at + length > len(data):
            break
        if kind == SYNC:
            changes = [change for change in changes if change.seq > seq]
        elif kind == DONE:
            done.add(seq)
        else:
            changes.append(Change(kind, seq, offset, data[at:at + length], size, end))
        at += length
    return changes, done


class Image:
    """The sectors of a file that changes touched: as they are, as they were, and as a disk may have
    them."""

    def __init__(self, path, changes):
        with open(path, 'rb') as file:
            self.now = file.read()
        self.changes = changes
        self.size = changes[0].size
        self.sectors = {}       # as on disk: number of the sector -> bytes
        self.after = self.walk_back()

    def walk_back(self):
        """What each change wrote: a list of {sector: bytes}, in order. Leaves in self.sectors what was
        there before the first of them."""
        after = []
        for change in reversed(self.changes):
            wrote = {}
            for number in self.touched(change):
                wrote[number] = self.sectors.get(number, self.sector(self.now, number))
                self.sectors[number] = self.sector(change.old, number - change.offset // SECTOR)
            after.append(wrote)
        return after[::-1]

    @staticmethod
    def touched(change):
        """A change of size touches what it cuts off."""
        end = change.end if change.kind == WRITE else max(change.end, change.size)
        return range(change.offset // SECTOR, -(-end // SECTOR))

    @staticmethod
    def sector(data, number):
        return data[number * SECTOR:(number + 1) * SECTOR].ljust(SECTOR, b'\0')

    def do(self, number, sectors):
        """Change `number` reaches the disk, in these sectors."""
        change = self.changes[number]
        for sector in sectors:
            self.sectors[sector] = self.after[number][sector]
        if change.kind == TRUNCATE:
            self.size = change.end
        elif sectors:
            self.size = max(self.size, change.end)

    def save(self, path):
        with open(path, 'r+b') as file:
            for number, data in self.sectors.items():
                if number * SECTOR < self.size:
                    file.seek(number * SECTOR)
                    file.write(data)
            file.truncate(self.size)


def tear(dice, sectors):
    """Some of the sectors: the first, the last, or any."""
    if len(sectors) == 1:
        return []
    at = dice.randrange(1, len(sectors))
    return dice.choice((sectors[:at], sectors[at:], [s for s in sectors if dice.random() < 0.5]))


def play_file(dice, path, undo, counts, log):
    changes, done = parse(undo)
    if not changes:
        return
    own = collections.Counter()
    image = Image(path, changes)
    stays = dice.choice((0.0, 0.1, 0.5, 0.9, 1.0))
    torn = dice.choice((0.0, 0.2, 0.5))
    for number, change in enumerate(changes):
        sectors = list(image.touched(change))
        if change.seq in done or dice.random() < stays:
            own['kept'] += 1
        elif change.kind == WRITE and dice.random() < torn:
            own['torn'] += 1
            sectors = tear(dice, sectors)
        else:
            own['dropped'] += 1
            continue
        image.do(number, sectors)
    image.save(path)
    counts += own
    log.append(f'{path}: {dict(own)}, now {image.size} bytes')


# ---- Names ----------------------------------------------------------------------------------------


def parse_names(path):
    """The changes of names that no sync of their folder has followed, in order."""
    names = []
    with open(path, encoding='utf-8') as file:
        for line in file:
            if not line.endswith('\n'):
                break
            seq, kind, path, other, kept = line[:-1].split('\t')
            if kind == 'S':
                names = [n for n in names if n.seq > int(seq) or os.path.dirname(n.other or n.path) != path]
            else:
                names.append(Name(int(seq), kind, path, other, kept))
    return names


def related(names):
    """Lists of changes, each in order, that have no name in common with those of another list."""
    groups = []
    for name in names:
        own = {name.path, name.other} - {''}
        hit = [group for group in groups if group[0] & own]
        groups = [group for group in groups if not group[0] & own]
        groups.append((own.union(*(group[0] for group in hit)),
                       sorted(sum((group[1] for group in hit), []) + [name])))
    return [group[1] for group in groups]


def undo_name(state, name):
    """Unless it was not even made: the kill may have come between the note of a change and itself."""
    kept = os.path.join(state, 'kept', name.kept) if name.kept else None
    if name.kind == 'C':
        if os.path.isdir(name.path):
            shutil.rmtree(name.path)
        elif os.path.exists(name.path):
            os.remove(name.path)
    elif not os.path.exists(name.path):
        if name.kind == 'R':
            os.mkdir(name.path)
        if name.kind == 'M':
            os.rename(name.other, name.path)
        if kept:
            os.rename(kept, name.other or name.path)


def play_names(dice, state, any_order, counts, log):
    """Of all changes, or of each list of related ones, the last so many are undone."""
    names = parse_names(os.path.join(state, 'names'))
    for group in related(names) if any_order else [names]:
        upto = dice.randint(0, len(group)) if dice.random() < 0.5 else dice.choice((0, len(group)))
        for name in reversed(group[upto:]):
            undo_name(state, name)
            counts['undone names'] += 1
        log += [f'{"stays" if i < upto else "undone"}: {" ".join(name[1:])}' for i, name in enumerate(group)]


# ---- All of it ------------------------------------------------------------------------------------


def inodes(*folders):
    found = {}
    for top in folders:
        for folder, _, files in os.walk(top):
            for name in files:
                path = os.path.join(folder, name)
                found[os.stat(path).st_ino] = path
    return found


def clear(state):
    """What is there now has been on disk for ever."""
    shutil.rmtree(state, ignore_errors=True)
    for name in ('undo', 'kept'):
        os.makedirs(os.path.join(state, name))
    open(os.path.join(state, 'names'), 'wb').close()


def play(folder, state, seed, any_order=False):
    """What was done, by kind: a Counter. The details are in FOLDER/powerloss.log."""
    refused = os.path.join(state, 'refused')
    if os.path.exists(refused):
        with open(refused, encoding='utf-8') as file:
            raise AssertionError(f'powerloss does not model: {file.read()}')
    dice, counts, log = random.Random(seed), collections.Counter(), [f'-- seed {seed}']
    paths = inodes(os.path.join(state, 'kept'), folder)
    for undo in sorted(os.listdir(os.path.join(state, 'undo')), key=int):
        if int(undo) in paths:
            play_file(dice, paths[int(undo)], os.path.join(state, 'undo', undo), counts, log)
    play_names(dice, state, any_order, counts, log)
    clear(state)
    with open(os.path.join(folder, 'powerloss.log'), 'a', encoding='utf-8') as file:
        file.write('\n'.join(log) + '\n')
    return counts


class Recorder:
    """Of a folder, from now on; what it keeps lies beside it."""

    def __init__(self, folder):
        if not os.path.exists(LIBRARY):
            raise AssertionError(f'{LIBRARY} is missing: make tests/crash/powerloss.so')
        self.folder, self.state = os.path.realpath(folder), os.path.realpath(folder) + '.powerloss'
        clear(self.state)

    def environment(self):
        return {'LD_PRELOAD': LIBRARY, 'POWERLOSS_FOLDER': self.folder, 'POWERLOSS_STATE': self.state}

    def play(self, seed, any_order=False):
        return play(self.folder, self.state, seed, any_order)

    def remove(self):
        shutil.rmtree(self.state, ignore_errors=True)


if __name__ == '__main__':
    print(dict(play(os.path.realpath(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4:] == ['any'])))
