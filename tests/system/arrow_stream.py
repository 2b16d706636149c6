# SPDX-License-Identifier: Apache-2.0
"""A reader of Arrow's IPC streams for the types that weir writes, from the specification and with the standard library alone; strict
about what other readers may take as granted: sizes, alignment, counts of nulls, UTF-8."""

import struct

INT, FLOAT, BINARY, UTF8, BOOL, TIMESTAMP = 2, 3, 4, 5, 6, 10


class Cut(Exception):
    """The stream ends within a message."""


class Table:
    """A table of a FlatBuffer."""

    def __init__(self, data, place):
        self.data, self.place = data, place
        vtable = place - struct.unpack_from('<i', data, place)[0]
        size, self.size = struct.unpack_from('<HH', data, vtable)
        self.fields = struct.unpack_from(f'<{size // 2 - 2}H', data, vtable + 4)

    def number(self, i, form, default=0):
        if i >= len(self.fields) or not self.fields[i]:
            return default
        size = struct.calcsize(form)
        assert (self.place + self.fields[i]) % size == 0 and self.fields[i] + size <= self.size
        return struct.unpack_from('<' + form, self.data, self.place + self.fields[i])[0]

    def refers(self, i):
        assert self.fields[i]
        at = self.place + self.fields[i]
        return at + struct.unpack_from('<I', self.data, at)[0]

    def table(self, i):
        return Table(self.data, self.refers(i))

    def text(self, i):
        at = self.refers(i)
        size, = struct.unpack_from('<I', self.data, at)
        assert self.data[at + 4 + size] == 0
        return self.data[at + 4:at + 4 + size].decode()

    def tables(self, i):
        at = self.refers(i)
        n, = struct.unpack_from('<I', self.data, at)
        places = [at + 4 + 4 * k for k in range(n)]
        return [Table(self.data, p + struct.unpack_from('<I', self.data, p)[0]) for p in places]

    def structs(self, i, form):
        at = self.refers(i)
        n, = struct.unpack_from('<I', self.data, at)
        assert (at + 4) % 8 == 0
        return [struct.unpack_from('<' + form, self.data, at + 4 + k * struct.calcsize(form)) for k in range(n)]


def take(data, at, size):
    if at + size > len(data):
        raise Cut(f'{len(data)} bytes, {at + size} are needed')
    return data[at:at + size]


def messages(data):
    """The header's type, the header, the body."""
    at = 0
    while at < len(data):
        mark, = struct.unpack('<I', take(data, at, 4))
        size, = struct.unpack('<i', take(data, at + 4, 4))
        assert mark == 0xffffffff and at % 8 == 0 and size % 8 == 0
        at += 8
        if size == 0:
            assert at == len(data), 'bytes behind the end'
            return
        meta = take(data, at, size)
        message = Table(meta, struct.unpack_from('<I', meta)[0])
        assert message.number(0, 'h') == 4  # version 5 of the format
        body = take(data, at + size, message.number(3, 'q'))
        assert len(body) % 8 == 0
        at += size + len(body)
        yield message.number(1, 'B'), message.table(2), body
    # No end: a stream may simply stop there, says the specification.


def field_type(field):
    kind = field.number(2, 'B')
    what = field.table(3)
    if kind == INT:
        assert what.number(0, 'i') == 64 and what.number(1, 'B') == 1
        return 'int64'
    if kind == FLOAT:
        assert what.number(0, 'h') == 2
        return 'float64'
    if kind == TIMESTAMP:
        assert what.number(0, 'h') == 2 and what.text(1) == 'UTC'
        return 'timestamp'
    return {BINARY: 'binary', UTF8: 'utf8', BOOL: 'bool'}[kind]


def bits(data, n):
    assert len(data) >= (n + 7) // 8
    return [data[i // 8] >> i % 8 & 1 for i in range(n)]


def column(kind, n, nulls, buffers):
    """Values, None where they are null, and how many buffers they were in."""
    valid = bits(buffers[0], n) if buffers[0] else [1] * n
    assert valid.count(0) == nulls, (kind, n, nulls)
    if kind in ('utf8', 'binary'):
        ends = struct.unpack_from(f'={n + 1}i', buffers[1])
        assert ends[0] == 0 and list(ends) == sorted(ends) and ends[-1] == len(buffers[2])
        values = [buffers[2][a:b] for a, b in zip(ends, ends[1:])]
        if kind == 'utf8':
            values = [v.decode() for v in values]
    elif kind == 'bool':
        values = [bool(b) for b in bits(buffers[1], n)]
    else:
        values = list(struct.unpack_from(f'={n}{"d" if kind == "float64" else "q"}', buffers[1]))
    return [v if ok else None for v, ok in zip(values, valid)], 3 if kind in ('utf8', 'binary') else 2


def read(data):
    """[(name, type), ...], and rows as tuples of each batch; a timestamp is a number of microseconds."""
    schema, batches = None, []
    for kind, header, body in messages(data):
        if kind == 1:
            assert schema is None and header.number(0, 'h') == 0
            schema = [(f.text(0), field_type(f)) for f in header.tables(1)]
            assert all(f.number(1, 'B') == 1 and not f.tables(5) for f in header.tables(1))
            continue
        assert kind == 3 and schema
        n, nodes, places = header.number(0, 'q'), header.structs(1, 'qq'), header.structs(2, 'qq')
        assert len(nodes) == len(schema) and all(length == n for length, _ in nodes)
        assert all(at % 8 == 0 for at, _ in places)
        buffers, columns = [take(body, at, size) for at, size in places], []
        for (_, kind), (_, nulls) in zip(schema, nodes):
            values, used = column(kind, n, nulls, buffers)
            columns.append(values)
            buffers = buffers[used:]
        assert not buffers
        batches.append(list(zip(*columns)))
    if schema is None:
        raise Cut('no schema')
    return schema, batches
