"""A clickstream that looks like one: sessions of skewed users walking through a shop. The same seed gives the same
bytes; no I/O.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import accumulate
from typing import NamedTuple
from zlib import crc32

SEED = 20260517
USERS = 20_000
SESSIONS_AT_ONCE = 400
PRODUCTS = 5_000
FIRST_EVENT_MS = 1_779_012_000_000

# From a page, where people go next, and how often.
_NEXT = {
    "home": (("search", 35), ("category", 40), ("product", 15), ("leave", 10)),
    "search": (("product", 60), ("search", 20), ("leave", 20)),
    "category": (("product", 65), ("category", 20), ("leave", 15)),
    "product": (("product", 30), ("add_to_cart", 12), ("category", 18), ("search", 15), ("leave", 25)),
    "add_to_cart": (("checkout", 35), ("product", 45), ("leave", 20)),
    "checkout": (("purchase", 70), ("leave", 30)),
    "purchase": (("home", 25), ("leave", 75)),
}
_STEPS = {
    page: ([to for to, _ in ways], list(accumulate(weight for _, weight in ways))) for page, ways in _NEXT.items()
}
_DEVICES = ("ios", "android", "desktop-chrome", "desktop-firefox", "desktop-safari", "tablet")
_COUNTRIES = ("DE", "FR", "US", "GB", "ES", "IT", "NL", "PL", "SE", "AT")
_TERMS = ("lamp", "desk", "oak+table", "red+chair", "rug+200x300", "mirror", "shelf", "sofa+grey")


class Event(NamedTuple):
    """One click: who (the partition key), when, and the JSON."""

    user: str
    time_ms: int
    data: bytes


class _Session:
    """One visit: a walk from page to page until it leaves."""

    __slots__ = ("country", "device", "id", "page", "referrer", "user")

    def __init__(self, chance: random.Random, user: str) -> None:
        self.user = user
        self.id = f"{chance.getrandbits(48):012x}"
        self.page = "home"
        self.device = chance.choice(_DEVICES)
        self.country = chance.choice(_COUNTRIES)
        self.referrer = "/"


class Visitors:
    """Those who are in the shop at one time; users follow a Zipf-like law, so that some are much busier."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._weights = list(accumulate(1 / (rank + 10) ** 1.05 for rank in range(USERS)))
        self._names = [f"user-{number:06d}" for number in range(USERS)]
        self._sessions = [self._arrive() for _ in range(SESSIONS_AT_ONCE)]

    def _arrive(self) -> _Session:
        return _Session(self._chance, self._chance.choices(self._names, cum_weights=self._weights)[0])

    def click(self, number: int, time_ms: int) -> Event:
        """The next click of one of them, 150 to 250 bytes."""
        chance = self._chance
        place = int(chance.random() * SESSIONS_AT_ONCE)
        session = self._sessions[place]
        event = _click(session, number, time_ms, chance.random)
        ways, cumulated = _STEPS[session.page]
        session.page = chance.choices(ways, cum_weights=cumulated)[0]
        if session.page == "leave":
            self._sessions[place] = self._arrive()
        return event


def clickstream(count: int, seed: int = SEED) -> Iterator[Event]:
    """`count` events in order of time, some 250 a second."""
    chance = random.Random(seed)
    visitors = Visitors(chance)
    time_ms = float(FIRST_EVENT_MS)
    for number in range(count):
        time_ms += -4.0 + 8.0 * chance.random() + 4.0
        yield visitors.click(number, int(time_ms))


def _click(session: _Session, number: int, time_ms: int, draw: object) -> Event:
    assert callable(draw)
    url = _url(session.page, draw)
    text = (
        f'{{"event":{number},"time":{time_ms},"type":"{session.page}","user":"{session.user}","session":"{session.id}",'
        f'"url":"{url}","referrer":"{session.referrer}","device":"{session.device}","country":"{session.country}",'
        f'"load_ms":{int(20 + 400 * draw() ** 3)}}}'
    )
    session.referrer = url
    return Event(session.user, time_ms, text.encode())


def _url(page: str, draw: object) -> str:
    assert callable(draw)
    if page == "product":
        return f"/product/{int(PRODUCTS * draw() ** 2)}"
    if page == "search":
        return f"/search?q={_TERMS[int(draw() * len(_TERMS))]}"
    if page == "category":
        return f"/category/{int(24 * draw())}"
    return "/" if page == "home" else f"/{page.replace('_', '-')}"


def event_number(data: bytes) -> int:
    """The number of an event, out of its bytes."""
    return int(data[9 : data.index(b",")])


def user_of(data: bytes) -> str:
    """The partition key of an event, out of its bytes."""
    return data.split(b'"user":"', 1)[1].split(b'"', 1)[0].decode()


def part_of(user: str | None) -> int:
    """Which of two writers puts a user's events: always the same one, so that each user's order can be checked."""
    return crc32((user or "").encode()) & 1
