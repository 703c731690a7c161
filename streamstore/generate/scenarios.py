"""Ready-made sources that look like something: a shop's clickstream, sensors, web logs, trades, orders."""

from __future__ import annotations

import json
import random
from collections.abc import Callable

from streamstore import clock
from streamstore.errors import InvalidArgumentError
from streamstore.generate.clickstream import Visitors
from streamstore.generate.generating import Source
from streamstore.generate.skew import Keys
from streamstore.values import PutEntry


def _json(**fields: object) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode()


class Clickstream:
    """Sessions of users walking through a shop, page by page; the key is the user."""

    def __init__(self, seed: int | None = None) -> None:
        self._visitors = Visitors(random.Random(seed))
        self._number = 0

    def make(self, moment_us: int) -> PutEntry:
        """One click."""
        event = self._visitors.click(self._number, moment_us // 1000)
        self._number += 1
        return PutEntry(event.data, event.user)


class Sensors:
    """2,000 devices, each with a temperature, a humidity and a battery of its own that drift; the key is the device."""

    DEVICES = 2_000

    def __init__(self, seed: int | None = None) -> None:
        self._chance = chance = random.Random(seed)
        self._temperature = [chance.gauss(21, 6) for _ in range(self.DEVICES)]
        self._humidity = [chance.uniform(25, 70) for _ in range(self.DEVICES)]
        self._battery = [chance.uniform(20, 100) for _ in range(self.DEVICES)]

    def make(self, moment_us: int) -> PutEntry:
        """One reading."""
        chance = self._chance
        device = chance.randrange(self.DEVICES)
        self._temperature[device] += chance.gauss(0, 0.1) - 0.001 * (self._temperature[device] - 21)
        self._humidity[device] = min(100.0, max(0.0, self._humidity[device] + chance.gauss(0, 0.3)))
        self._battery[device] = max(0.0, self._battery[device] - 0.001) or 100.0  # changed when it was empty
        name = f"device-{device:04d}"
        data = _json(
            device=name,
            time=moment_us // 1000,
            temperature=round(self._temperature[device], 2),
            humidity=round(self._humidity[device], 1),
            battery=round(self._battery[device], 1),
            status="FAIL" if chance.random() < 0.001 else "WARN" if self._battery[device] < 10 else "OK",
        )
        return PutEntry(data, name)


_PATHS = (
    "/", "/index.html", "/products", "/products/{n}", "/cart", "/checkout", "/search?q={n}", "/images/logo.png",
    "/css/site.css", "/js/app.js", "/api/v1/items/{n}", "/api/v1/users/{n}/orders", "/blog/{n}", "/feed.xml",
)  # fmt: skip
_AGENTS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 14_5) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Safari/605",
    "Mozilla/5.0 (X11; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0",
    "curl/8.5.0",
)
_STATUSES = ((200, 870), (304, 60), (404, 35), (301, 15), (500, 8), (403, 7), (503, 5))


class WebLogs:
    """Lines of a web server in the combined format; a few clients and pages are much busier; the key is the client."""

    CLIENTS = 5_000

    def __init__(self, seed: int | None = None) -> None:
        self._chance = chance = random.Random(seed)
        self._clients = Keys(self.CLIENTS, 1.1)
        self._addresses = ["%d.%d.%d.%d" % tuple(chance.randbytes(4)) for _ in range(self.CLIENTS)]
        self._paths = Keys(len(_PATHS), 0.8)

    def make(self, moment_us: int) -> PutEntry:
        """One line, without a newline."""
        chance = self._chance
        client = self._addresses[self._clients.rank(chance)]
        path = _PATHS[self._paths.rank(chance)].replace("{n}", str(chance.randrange(10_000)))
        statuses, weights = zip(*_STATUSES, strict=True)
        status = chance.choices(statuses, weights)[0]
        size = 0 if status == 304 else int(chance.lognormvariate(8, 1.5))
        method = "POST" if path == "/checkout" or chance.random() < 0.05 else "GET"
        at = clock.to_datetime(moment_us).strftime("%d/%b/%Y:%H:%M:%S +0000")
        agent = _AGENTS[int(len(_AGENTS) * chance.random() ** 2)]
        line = f'{client} - - [{at}] "{method} {path} HTTP/1.1" {status} {size} "-" "{agent}"'
        return PutEntry(line.encode(), client)


_SYMBOLS = (
    "AMZN AAPL MSFT GOOG META NVDA TSLA JPM V WMT XOM UNH JNJ PG MA HD CVX MRK ABBV PEP KO BAC COST PFE TMO CSCO MCD "
    "ACN ABT DHR NKE LIN TXN NEE VZ PM ADBE CRM CMCSA WFC"
).split()


class Trades:
    """A stock exchange: prices that walk at random, the big symbols trade most; the key is the symbol."""

    def __init__(self, seed: int | None = None) -> None:
        self._chance = chance = random.Random(seed)
        self._keys = Keys(len(_SYMBOLS), 0.9)
        self._prices = [chance.uniform(20, 900) for _ in _SYMBOLS]
        self._number = 0

    def make(self, moment_us: int) -> PutEntry:
        """One trade."""
        chance = self._chance
        place = self._keys.rank(chance)
        self._prices[place] = max(0.01, self._prices[place] * (1 + chance.gauss(0, 0.0005)))
        self._number += 1
        data = _json(
            trade=self._number,
            time_us=moment_us,
            symbol=_SYMBOLS[place],
            side="BUY" if chance.random() < 0.5 else "SELL",
            price=round(self._prices[place], 2),
            quantity=max(1, int(chance.lognormvariate(4, 1))),
        )
        return PutEntry(data, _SYMBOLS[place])


_NEXT_STATUS = {"placed": "paid", "paid": "shipped", "shipped": "delivered"}


class Orders:
    """A web shop's orders, each placed, paid, shipped and delivered in turn, some cancelled; the key is the order."""

    OPEN_MAX = 5_000

    def __init__(self, seed: int | None = None) -> None:
        self._chance = random.Random(seed)
        self._customers = Keys(20_000, 0.9, "customer-")
        self._open: list[dict[str, object]] = []
        self._number = 0

    def make(self, moment_us: int) -> PutEntry:
        """One event of an order."""
        chance = self._chance
        if self._open and (len(self._open) >= self.OPEN_MAX or chance.random() < 0.7):
            order = self._step(chance.randrange(len(self._open)))
        else:
            order = self._place()
            self._open.append(order)
        return PutEntry(_json(**order, time=moment_us // 1000), str(order["order"]))

    def _place(self) -> dict[str, object]:
        chance = self._chance
        self._number += 1
        items = [
            {"product": chance.randrange(5_000), "quantity": 1 + int(4 * chance.random() ** 3), "price": _price(chance)}
            for _ in range(1 + int(5 * chance.random() ** 2))
        ]
        total = round(sum(float(str(item["price"])) * int(item["quantity"]) for item in items), 2)
        customer = self._customers.draw(chance)
        return {
            "order": f"order-{self._number:08d}",
            "status": "placed",
            "customer": customer,
            "items": items,
            "total": total,
        }

    def _step(self, place: int) -> dict[str, object]:
        order = self._open[place]
        cancelled = order["status"] == "placed" and self._chance.random() < 0.03
        order = {**order, "status": "cancelled" if cancelled else _NEXT_STATUS[str(order["status"])]}
        if order["status"] in _NEXT_STATUS:
            self._open[place] = order
        else:
            self._open[place] = self._open[-1]
            self._open.pop()
        return order


def _price(chance: random.Random) -> float:
    return round(chance.lognormvariate(3, 0.8), 2)


SCENARIOS: dict[str, Callable[[int | None], Source]] = {
    "clickstream": Clickstream,
    "iot": Sensors,
    "logs": WebLogs,
    "trades": Trades,
    "orders": Orders,
}


def scenario(name: str, *, seed: int | None = None) -> Source:
    """The source called `name`, one of SCENARIOS; the same seed and moments give the same records.

    Raises InvalidArgumentError.
    """
    if name not in SCENARIOS:
        raise InvalidArgumentError(f"there is no scenario {name!r}; there are {', '.join(SCENARIOS)}")
    return SCENARIOS[name](seed)
