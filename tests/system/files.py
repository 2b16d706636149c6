# SPDX-License-Identifier: Apache-2.0
"""A journal and a database as files: where things are in them, and how to damage them. Read by the drawing
in docs/journal.md and by SQLite's description of its file format, not by weir."""

import collections
import glob
import os
import sqlite3
import struct

BLOCK = 4096
HEAD = struct.Struct('<IIQQQIIIIQQ')  # magic, crc, segment, first, size, n, crc, flags, 0, before, salt

Frame = collections.namedtuple('Frame', 'path offset first n size')


def segments(journal):
    return sorted(glob.glob(os.path.join(journal, '*.journal')))


def frames(journal):
    """Of all segments, in order."""
    found = []
    for path in segments(journal):
        with open(path, 'rb') as file:
            data = file.read()
        at = 0
        while at + HEAD.size <= len(data):
            head = HEAD.unpack_from(data, at)
            if head[2] != int(os.path.basename(path).split('.')[0]):
                break
            found.append(Frame(path, at, head[3], head[5], head[4]))
            at += (HEAD.size + head[4] + BLOCK - 1) // BLOCK * BLOCK
    return found


def flip(path, offset, mask=0xff):
    with open(path, 'r+b') as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ mask]))


def damage_frame(frame):
    """A bit in the middle of the payload."""
    flip(frame.path, frame.offset + HEAD.size + frame.size // 2, 0x10)


def damage_page(database, table):
    """The kind of the first page of a table: no page of a B-tree begins so."""
    connection = sqlite3.connect(f'file:{database}?mode=ro', uri=True)
    try:
        page, = connection.execute('SELECT rootpage FROM sqlite_schema WHERE name = ?',
                                   (table,)).fetchone()
        size, = connection.execute('PRAGMA page_size').fetchone()
    finally:
        connection.close()
    flip(database, (page - 1) * size)
