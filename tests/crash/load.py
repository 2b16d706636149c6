# SPDX-License-Identifier: Apache-2.0
"""What clients send, and what they know of it afterwards.

    Dice -> Request (events, body) -> Client sends it -> fate -> Ledger

A client knows of a request that it was acknowledged, or refused; of one without an answer it knows
nothing, but that it was taken as a whole or not at all, or, with a chunked body, up to some event. One
with an Idempotency-Key is sent again until it is answered."""

import bisect
import gzip
import http.client
import json
import random
import socket
import threading
import time

import harness
from setting import HOUR_US, MINUTE_US, ORDER_US, SLACK_US, SPAN_US, STREAMS

NAMES = ('ash', 'beech', 'cedar', 'elm', 'fir', 'hazel', 'ivy', 'larch', 'lime', 'maple', 'oak', 'pine')
TAGS = tuple(f'tag {n}' for n in range(20))
SOURCES = ('', 'north', 'south', 'west')
BAD_LINES = (b'{"ts":\n', b'not an event\n', b'{"id":1,"request":1,"name":"no time"}\n',
             b'{"ts":1,"name":"\xff\xfe"}\n')
NUMBERS = 8
TIMEOUT_S = harness.LIMIT_S
ROUND_EVENTS = 40000
ALONE = 1 << 17  # us; more events than a round has

# Fates.
ACKED = 'acknowledged'   # counted once
REFUSED = 'refused'      # not counted
WHOLE = 'whole or not'   # as a whole or not at all
PREFIX = 'a prefix'      # the first so many events, none and all included


def value_of(number):
    """A value of 40 bits that looks random, so that no two sets of events have the same sum."""
    return (number * 0x9E3779B97F4A7C15 + 0xD1B54A32D192ED03 & 0xFFFFFFFFFFFFFFFF) * \
        0xBF58476D1CE4E5B9 >> 24 & 0xFFFFFFFFFF


def event_of(dice, number, clock_us, alone=False):
    """(time_us, id, r, x, y, name, number, tag, ends_us); x is a multiple of 1/8, so that its sums are exact,
    y is any positive number. A few end before they begin. No two that are `alone` have one time."""
    r = value_of(number)
    time_us = clock_us - int(SPAN_US * dice.random() ** 3)
    if alone:
        time_us += number % ALONE - time_us % ALONE
    return (time_us, number, r, (r & 0xFFFFF) / 8 - 65536, r / 1000,
            NAMES[min(int(dice.expovariate(0.4)), len(NAMES) - 1)], r % NUMBERS, TAGS[r // 8 % len(TAGS)],
            time_us + (r // 1000 % 20 - 1) * MINUTE_US)


def line_of(request, event):
    return (b'{"ts":%d,"request":%d,"id":%d,"r":%d,"x":%.3f,"y":%s,"name":"%s","ends":%d,"more":{"number":%d,'
            b'"tags":["%s","and"]}}\n') % (
        event[0], request, event[1], event[2], event[3], repr(event[4]).encode(), event[5].encode(), event[8],
        event[6], event[7].encode())


class Request:
    """shape: 'length', 'chunked', 'gzip', 'array'. `cut` is where the client goes away, a share of the
    body; None: it does not."""

    def __init__(self, number, stream, source, key, shape, clock_us, events, lines, bad=0, cut=None):
        self.number, self.stream, self.source, self.key, self.shape = number, stream, source, key, shape
        self.clock_us, self.events, self.lines, self.bad, self.cut = clock_us, events, lines, bad, cut
        self.fate = None

    def body(self):
        if self.shape == 'array':
            return b'[' + b','.join(self.lines) + b']'
        return b''.join(self.lines)


class Clock:
    """The event time of the load. It stands still while a request that may still be counted is SLACK
    behind, or when the end of the era is near."""

    def __init__(self, start_us, end_us):
        self.now_us, self.end_us = start_us, end_us
        self.lock = threading.Lock()
        self.open = []  # clocks of requests that may still be counted, sorted

    def take(self):
        with self.lock:
            oldest = self.open[0] if self.open else self.now_us
            if self.now_us + MINUTE_US <= min(oldest + SLACK_US, self.end_us):
                self.now_us += MINUTE_US
            bisect.insort(self.open, self.now_us)
            return self.now_us

    def give_back(self, clock_us):
        with self.lock:
            self.open.remove(clock_us)


class Ledger:
    """All requests of a chain of rounds, and which are still to be answered. Any thread."""

    def __init__(self):
        self.lock = threading.Lock()
        self.requests = []   # all that were sent, also in part
        self.pending = []    # have a key and no answer
        self.answered = []   # have a key and an answer: may be sent again
        self.faults = []     # texts
        self.next_request = self.next_id = self.round_id = 1

    def begin_round(self):
        self.round_id = self.next_id

    def has_enough(self):
        """Further requests are to be small: a round is not to take minutes to compare."""
        return self.next_id - self.round_id > ROUND_EVENTS

    def forget_bodies(self):
        """Of a round that is over: no request of it will be sent again."""
        for request in self.requests:
            request.lines = None
        self.answered.clear()

    def numbers(self, n_events):
        """A request number, and the first of so many event ids."""
        with self.lock:
            self.next_request += 1
            self.next_id += n_events
            return self.next_request - 1, self.next_id - n_events

    def sent(self, request):
        with self.lock:
            self.requests.append(request)

    def fault(self, text):
        with self.lock:
            self.faults.append(text)

    def take_pending(self):
        with self.lock:
            return self.pending.pop(0) if self.pending else None

    def put_pending(self, request):
        with self.lock:
            self.pending.append(request)

    def any_answered(self, dice):
        with self.lock:
            return dice.choice(self.answered[-40:]) if self.answered else None

    def events(self):
        return sum(len(request.events) for request in self.requests)


def new_request(dice, ledger, clock):
    """As a producer would make it: many small, some large; some with bad lines; some break off."""
    small = dice.random() * (0.6 if ledger.has_enough() else 1)
    n = 1 if small < 0.3 else dice.randint(2, 20) if small < 0.6 else \
        dice.randint(20, 300) if small < 0.9 else dice.randint(300, 4000)
    number, first = ledger.numbers(n)
    clock_us = clock.take()
    stream = 'volatile' if dice.random() < 0.1 else 'other' if dice.random() < 0.25 else 'main'
    events = [event_of(dice, first + i, clock_us, stream == 'other') for i in range(n)]
    lines = [line_of(number, event) for event in events]
    shape = dice.choice(('length', 'length', 'length', 'chunked', 'gzip', 'array'))
    bad = 0
    if shape in ('length', 'chunked') and dice.random() < 0.15:
        bad = dice.randint(1, 3)
        for _ in range(bad):
            lines.insert(dice.randint(0, len(lines)), dice.choice(BAD_LINES))
    cut = dice.random() if shape in ('length', 'chunked') and dice.random() < 0.05 else None
    key = None
    if cut is None and dice.random() < (0.2 if shape == 'chunked' else 0.5):
        key = f'request-{number}-{dice.getrandbits(32):08x}'
    return Request(number, stream, dice.choice(SOURCES), key, shape, clock_us, events, lines, bad, cut)


class Client:
    """One connection, one thread."""

    def __init__(self, ledger, clock, server, dice, known, repeats=True):
        self.repeats = repeats
        self.ledger, self.clock, self.server, self.dice, self.known = ledger, clock, server, dice, known
        self.connection = None

    # ---- One request -----------------------------------------------------------------------------

    def connect(self):
        if self.connection is None:
            self.connection = http.client.HTTPConnection('127.0.0.1', self.server.port,
                                                         timeout=TIMEOUT_S)
            self.connection.connect()
            self.connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self):
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def pieces(self, request):
        body, at = request.body(), 0
        while at < len(body):
            size = self.dice.choice((100, 2000, 50000))
            yield body[at:at + size]
            at += size

    def headers(self, request):
        headers = {'Content-Type': 'application/json' if request.shape == 'array' else
                   'application/x-ndjson'}
        if request.source:
            headers['Weir-Source'] = request.source
        if request.key:
            headers['Idempotency-Key'] = request.key
        if request.shape == 'gzip':
            headers['Content-Encoding'] = 'gzip'
        return headers

    def send(self, request):
        """(status, headers, body of the answer)"""
        self.connect()
        path = f'/api/v1/streams/{request.stream}/events'
        if request.shape == 'chunked':
            self.connection.request('POST', path, self.pieces(request), self.headers(request),
                                    encode_chunked=True)
        else:
            body = request.body()
            if request.shape == 'gzip':
                body = gzip.compress(body, 1)
            self.connection.request('POST', path, body, self.headers(request))
        reply = self.connection.getresponse()
        return reply.status, reply.headers, reply.read()

    def send_part(self, request):
        """Goes away in mid-body, and waits until the server has noticed: then nothing more of it can
        be counted."""
        self.close()
        self.connect()
        body = request.body()
        upto = min(int(len(body) * request.cut), len(body) - 1)
        put = self.connection.putheader
        self.connection.putrequest('POST', f'/api/v1/streams/{request.stream}/events')
        for name, value in self.headers(request).items():
            put(name, value)
        if request.shape == 'chunked':
            put('Transfer-Encoding', 'chunked')
            self.connection.endheaders()
            if upto:
                self.connection.send(b'%x\r\n%s\r\n' % (upto, body[:upto]))
        else:
            put('Content-Length', str(len(body)))
            self.connection.endheaders()
            self.connection.send(body[:upto])
        self.connection.sock.shutdown(socket.SHUT_WR)
        try:
            while self.connection.sock.recv(65536):
                pass
        finally:
            self.close()

    # ---- What came of it -------------------------------------------------------------------------

    def settle(self, request, fate):
        if request.fate is None:  # not one that was only repeated
            request.fate = fate
            self.clock.give_back(request.clock_us)

    def open_fate(self, request):
        """A body without a length is taken piece by piece, unless it can be sent again."""
        whole = request.shape != 'chunked' or request.key and self.known['Idempotency-Key']
        return WHOLE if whole else PREFIX

    def answered(self, request, status, headers, text):
        if status == 200:
            self.acknowledged(request, headers, text)
        elif status in (429, 503, 507) or status == 409 and request.key:
            time.sleep(0.002)
            if request.key:
                self.ledger.put_pending(request)
            else:  # of a body that is taken piece by piece some may have been before
                self.settle(request, PREFIX if request.shape == 'chunked' else REFUSED)
        else:
            self.ledger.fault(f'request {request.number} ({request.shape}): {status} {text[:300]!r}')
            self.settle(request, self.open_fate(request))

    def acknowledged(self, request, headers, text):
        said = json.loads(text)
        if (said['accepted'], said['rejected']) != (len(request.events), request.bad):
            self.ledger.fault(f'request {request.number} of {len(request.events)} events and '
                              f'{request.bad} others: {text[:300]!r}')
        durable = request.stream != 'volatile' or not self.known['ack: memory']
        if self.known['journal'] and bool(said['durable']) != durable:
            self.ledger.fault(f'request {request.number} to {request.stream}: {text[:300]!r}')
        if request.fate == ACKED and self.known['Idempotency-Key'] and \
                headers['Idempotency-Replayed'] != 'true':
            self.ledger.fault(f'request {request.number} is not known any more: {text[:300]!r}')
        if request.fate is None:
            self.settle(request, ACKED if durable else self.open_fate(request))
            if request.key and durable:  # of others the key, too, may be lost
                with self.ledger.lock:
                    self.ledger.answered.append(request)

    def unanswered(self, request):
        if request.fate is not None:  # was answered before, and only repeated
            return
        if request.key:
            self.ledger.put_pending(request)
        else:
            self.settle(request, self.open_fate(request))

    def step(self, request):
        """Sends it, and writes down what came of it. False: the server is gone."""
        try:
            if request.cut is not None:
                self.send_part(request)
                self.settle(request, PREFIX if request.shape == 'chunked' else REFUSED)
            else:
                self.answered(request, *self.send(request))
            return True
        except (OSError, http.client.HTTPException) as error:
            self.close()
            if request.cut is not None:
                self.settle(request, PREFIX if request.shape == 'chunked' else REFUSED)
            else:
                self.unanswered(request)
            if not self.server.gone():
                self.ledger.fault(f'request {request.number} ({request.shape}) to a server that lives: '
                                  f'{error!r}')
            return False

    # ---- Many ------------------------------------------------------------------------------------

    def next(self):
        """What was not answered goes first; sometimes what was answered goes again."""
        request = self.ledger.take_pending()
        if request is None and self.repeats and self.dice.random() < 0.05:
            request = self.ledger.any_answered(self.dice)
        if request is None:
            request = new_request(self.dice, self.ledger, self.clock)
            self.ledger.sent(request)
        return request

    def run(self, stop):
        """Until told to stop or the server is gone."""
        try:
            while not stop.is_set() and self.step(self.next()):
                pass
        except Exception as error:  # a fault of this program must not be taken for a pass
            self.ledger.fault(f'client: {error!r}')
            raise
        finally:
            self.close()

    def finish(self):
        """Sends again what has no answer yet, until all of it has one."""
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            request = self.ledger.take_pending()
            if request is None or not self.step(request):
                break
            if time.monotonic() > deadline:
                self.ledger.fault(f'request {request.number} is refused for ever')
                break
        self.close()

    def close_windows(self, time_us):
        """Those of the load; events wait for the other stream to be past them."""
        for stream in STREAMS:
            for source in SOURCES:
                self.post(stream, source, time_us + (ORDER_US + HOUR_US if stream == 'other' else 0))

    def post(self, stream, source, time_us):
        """One event that closes windows, from a source. Acknowledged when this returns."""
        number, first = self.ledger.numbers(1)
        event = event_of(random.Random(number), first, time_us)
        event = (time_us, *event[1:8], time_us + HOUR_US)
        key = f'closing-{number}'
        request = Request(number, stream, source, key, 'length', self.clock.take(), [event],
                          [line_of(number, event)])
        self.ledger.sent(request)
        self.ledger.put_pending(request)
        self.finish()
