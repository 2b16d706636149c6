# SPDX-License-Identifier: Apache-2.0
"""Events of Nexmark, by the rules of its published generators (Apache Beam's and nexmark/nexmark's): of 50 events 1 is a
person, 3 are auctions, 46 are bids; half of the bids go to the hot auction of the moment, three quarters come from
the hot bidder; 10,000 events a second of event time. The same seed, the same events."""

import json
import os
import random

BASE_MS = 1767225600000  # 2026-01-01
FIRST_PERSON = FIRST_AUCTION = 1000
PERSONS, AUCTIONS, BIDS = 1, 3, 46
EVERY = PERSONS + AUCTIONS + BIDS
ACTIVE_PERSONS, FLYING_AUCTIONS, LEAD = 1000, 100, 10
HOT_AUCTION, HOT_SELLER, HOT_BIDDER, HOT_CHANNEL = 2, 4, 4, 2  # one in so many is not hot
HOT_STEP = 100
HOT_CHANNELS = ('Google', 'Facebook', 'Baidu', 'Apple')
CHANNELS, CATEGORIES, FIRST_CATEGORY = 10000, 5, 10
STATES = ('AZ', 'CA', 'ID', 'OR', 'WA', 'WY')
CITIES = ('Phoenix', 'Los Angeles', 'San Francisco', 'Boise', 'Portland', 'Bend', 'Redmond', 'Seattle', 'Kent', 'Cheyenne')
FIRST = ('Peter', 'Paul', 'Luke', 'John', 'Saul', 'Vicky', 'Kate', 'Julie', 'Sarah', 'Deiter', 'Walter')
LAST = ('Shultz', 'Abrams', 'Spencer', 'White', 'Bartels', 'Walton', 'Smith', 'Jones', 'Noris')
LETTERS = 'abcdefghijklmnopqrstuvwxyz'


class Generator:
    def __init__(self, seed):
        self.dice = random.Random(seed)

    def text(self, most):
        dice = self.dice
        return ''.join(dice.choices(LETTERS, k=dice.randrange(3, most)))

    def extra(self, used, wanted):
        size = max(0, wanted - used)
        return ''.join(self.dice.choices(LETTERS, k=self.dice.randrange(size * 4 // 5, size * 6 // 5 + 1)))

    def price(self):
        return round(10 ** (self.dice.random() * 6) * 100)

    def last_person(self, n):
        return n // EVERY

    def last_auction(self, n):
        epoch, place = divmod(n, EVERY)
        if place < PERSONS:
            return epoch * AUCTIONS - 1
        return epoch * AUCTIONS + min(place - PERSONS, AUCTIONS - 1)

    def some_person(self, n):
        persons = self.last_person(n) + 1
        active = min(persons, ACTIVE_PERSONS)
        return persons - active + self.dice.randrange(active + LEAD)

    def some_auction(self, n):
        last = max(self.last_auction(n), 0)
        first = max(last - FLYING_AUCTIONS, 0)
        return first + self.dice.randrange(last - first + 1 + LEAD)

    def person(self, n, ms):
        dice = self.dice
        return {'id': FIRST_PERSON + self.last_person(n), 'name': f'{dice.choice(FIRST)} {dice.choice(LAST)}',
                'emailAddress': f'{self.text(7)}@{self.text(5)}.com',
                'creditCard': ' '.join(f'{dice.randrange(10000):04}' for _ in range(4)), 'city': dice.choice(CITIES),
                'state': dice.choice(STATES), 'dateTime': ms, 'extra': self.extra(100, 200)}

    def auction(self, n, ms):
        dice, bid = self.dice, self.price()
        if dice.randrange(HOT_SELLER):
            seller = self.last_person(n) // HOT_STEP * HOT_STEP
        else:
            seller = self.some_person(n)
        return {'id': FIRST_AUCTION + self.last_auction(n), 'itemName': self.text(20), 'description': self.text(100),
                'initialBid': bid, 'reserve': bid + self.price(), 'dateTime': ms,
                'expires': ms + 1 + dice.randrange(2 * FLYING_AUCTIONS * EVERY // AUCTIONS // 10),
                'seller': FIRST_PERSON + seller, 'category': FIRST_CATEGORY + dice.randrange(CATEGORIES),
                'extra': self.extra(300, 500)}

    def bid(self, n, ms):
        dice = self.dice
        if dice.randrange(HOT_AUCTION):
            auction = max(self.last_auction(n), 0) // HOT_STEP * HOT_STEP
        else:
            auction = self.some_auction(n)
        if dice.randrange(HOT_BIDDER):
            bidder = self.last_person(n) // HOT_STEP * HOT_STEP + 1
        else:
            bidder = self.some_person(n)
        url = f'https://www.nexmark.com/{self.text(6)}/{self.text(6)}/{self.text(6)}/item.htm?query=1'
        if dice.randrange(HOT_CHANNEL):
            channel = dice.choice(HOT_CHANNELS)
        else:
            number = dice.randrange(CHANNELS)
            channel = f'channel-{number}'
            if dice.randrange(10):
                url += f'&channel_id={number}'
        return {'auction': FIRST_AUCTION + auction, 'bidder': FIRST_PERSON + bidder, 'price': self.price(),
                'channel': channel, 'url': url, 'dateTime': ms, 'extra': self.extra(32, 100)}


def make(folder, events, seed=1):
    """Files persons.ndjson, auctions.ndjson, bids.ndjson; the bids."""
    g, bids = Generator(seed), []
    files = {name: open(os.path.join(folder, name + '.ndjson'), 'w', encoding='ascii')
             for name in ('persons', 'auctions', 'bids')}
    for n in range(events):
        place, ms = n % EVERY, BASE_MS + n // 10
        if place < PERSONS:
            name, event = 'persons', g.person(n, ms)
        elif place < PERSONS + AUCTIONS:
            name, event = 'auctions', g.auction(n, ms)
        else:
            name, event = 'bids', g.bid(n, ms)
            bids.append(event)
        files[name].write(json.dumps(event) + '\n')
    for file in files.values():
        file.close()
    return bids
