"""What one process does: threads that take planned operations in turn, readers, and a tally of each second.

Operation n of a process is planned for begin + n * interval, whatever became of those before it. A thread that is free
takes the next one and waits for its moment; where none is free it begins late, and its latency says so.
"""

from __future__ import annotations

import itertools
import random
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

from streamstore.bench.load.plan import PAYLOAD_MIN, LoadPlan
from streamstore.bench.load.subject import Connection, Reading, Subject
from streamstore.bench.load.tally import Tally, Timeline

# What the payload begins with where readers are to tell how long it took: the planned moment, on the clock that all
# processes of a machine share.
_STAMP = struct.Struct(">Qd")
_MAGIC = 0x73_74_72_65_61_6D_62_31
_FILLING = random.Random(0).randbytes(1 << 16).hex().encode()
_POST_READ_S = 2.0
_STAMPED = ("end-to-end", "fan-out", "queue")
_FOLLOWED = (*_STAMPED, "mixed")


class Planned(NamedTuple):
    """An operation: its number, and the moment it is planned for (None: as soon as a thread is free)."""

    number: int
    moment: float | None


class Worker:
    """The threads of one process: `prepare` connects them, `run` carries out the plan."""

    def __init__(self, plan: LoadPlan, subject: Subject, process: int) -> None:
        self._plan = plan
        self._subject = subject
        self._process = process
        self._begin = self._measured = self._end = 0.0
        self._connections: list[Connection] = []
        self._readings: list[Reading] = []
        self._numbers = itertools.count()
        self._stopped = threading.Event()
        self._put_over = threading.Event()
        self._lock = threading.Lock()
        self._timeline = Timeline()
        self._failures: list[BaseException] = []

    def prepare(self) -> None:
        """Connect every thread, and put readers to their places: before anybody puts, or they would miss what comes."""
        plan = self._plan
        count = 0 if plan.workload not in _FOLLOWED else len(range(self._process, plan.readers, plan.processes))
        self._connections = [self._subject.connect() for _ in range(plan.threads + count)]
        if plan.workload == "get":
            shares, first = plan.threads * plan.processes, self._process * plan.threads
            for number, connection in enumerate(self._connections):
                self._readings.append(connection.reading(first + number, shares, tip=False, fan_out=False))
        for number, connection in enumerate(self._connections[plan.threads :]):
            share = self._process + number * plan.processes
            fan_out = plan.workload == "fan-out"
            self._readings.append(connection.reading(share, plan.readers, tip=True, fan_out=fan_out))

    def close(self) -> None:
        """Give back what `prepare` opened."""
        for reading in self._readings:
            reading.close()
        for connection in self._connections:
            connection.close()

    def run(self, begin: float) -> None:
        """Carry out the plan, warming up from the monotonic moment `begin` on; returns when it is over.

        Raises what ended a thread.
        """
        plan = self._plan
        self._begin = begin + (self._process / plan.processes) * plan.interval if plan.open_loop else begin
        self._measured = begin + plan.warmup
        self._end = self._measured + plan.duration
        if plan.workload == "get":
            threads = [self._thread(self._reads, reading) for reading in self._readings]
            readers = []
        else:
            threads = [self._thread(self._puts, connection) for connection in self._connections[: plan.threads]]
            readers = [self._thread(self._follows, reading) for reading in self._readings]
        for thread in (*readers, *threads):
            thread.start()
        for thread in threads:
            thread.join()
        self._put_over.set()
        for thread in readers:
            thread.join()
        if self._failures:
            raise self._failures[0]

    def stop(self) -> None:
        """End it early; what is under way is carried out."""
        self._stopped.set()

    def take(self) -> Timeline:
        """What was tallied since the last call."""
        with self._lock:
            taken, self._timeline = self._timeline, Timeline()
        return taken

    def _thread(self, work: Callable[[Any], None], place: Any) -> threading.Thread:
        return threading.Thread(target=self._guarded, args=(work, place))

    def _guarded(self, work: Callable[[Any], None], place: Any) -> None:
        try:
            work(place)
        except BaseException as error:
            self._failures.append(error)
            self._stopped.set()

    def _planned(self) -> Iterator[Planned]:
        """The operations this thread gets, each when its moment has come."""
        plan = self._plan
        for number in self._numbers:
            if not plan.open_loop:
                if time.monotonic() >= self._end or self._stopped.is_set():
                    return
                yield Planned(number, None)
                continue
            moment = self._begin + number * plan.interval
            if moment >= self._end or self._stopped.is_set():
                return
            now = time.monotonic()
            if now >= self._end + plan.drain:
                self._note(now, moment, partial(Tally.given_up, waited=now - moment))
                continue
            self._sleep_until(moment)
            yield Planned(number, moment)

    def _sleep_until(self, moment: float) -> None:
        left = moment - time.monotonic()
        if left > 0:
            time.sleep(left)

    def _note(self, ended: float, planned: float, count: Callable[[Tally], None]) -> None:
        """Tally what was planned for the time that is measured, in the second in which it ended."""
        if planned >= self._measured:
            with self._lock:
                count(self._timeline.at(max(0, int(ended - self._measured))))

    def _puts(self, connection: Connection) -> None:
        plan = self._plan
        make = _Maker(plan, self._process)
        stamped = plan.workload in _STAMPED  # then it is the readers who say how long it took
        for planned in self._planned():
            begun = time.monotonic()
            moment = begun if planned.moment is None else planned.moment
            entries = make.entries(moment if stamped else None)
            try:
                refused = connection.put(entries)
            except Exception as error:
                self._failed(error, moment)
                continue
            ended = time.monotonic()
            self._note(ended, moment, partial(Tally.refuse, count=refused))
            if not stamped:
                taken = plan.batch - refused
                self._note(ended, moment, partial(_done, moment, begun, ended, taken, taken * plan.size))

    def _failed(self, error: Exception, moment: float) -> None:
        ended = time.monotonic()
        text = f"{type(error).__name__}: {error}"[:200]
        self._note(ended, moment, partial(Tally.failed, text=text, planned=moment, ended=ended))
        if not self._plan.open_loop:
            time.sleep(0.01)  # a closed loop of failures would do nothing but fail

    def _reads(self, reading: Reading) -> None:
        for planned in self._planned():
            self._read_once(reading, planned)

    def _read_once(self, reading: Reading, planned: Planned) -> None:
        begun = time.monotonic()
        moment = begun if planned.moment is None else planned.moment
        try:
            found = reading.read(self._plan.batch)
        except Exception as error:
            self._failed(error, moment)
            return
        ended = time.monotonic()
        size = sum(map(len, found.data))
        self._note(ended, moment, partial(_done, moment, begun, ended, len(found.data), size))

    def _follows(self, reading: Reading) -> None:
        silent_since = None
        while not self._stopped.is_set():
            found = reading.follow(1000)
            now = time.monotonic()
            if found.data:
                self._arrived(found.data, found.behind_ms, now)
                silent_since = None
            elif self._put_over.is_set():
                silent_since = silent_since or now
                if now - silent_since >= _POST_READ_S or now >= self._end + self._plan.drain:
                    return

    def _arrived(self, data: Sequence[bytes], behind_ms: int, now: float) -> None:
        with self._lock:
            for payload in data:
                moment = _moment_of(payload)
                if moment is None or not self._measured <= moment:
                    continue
                tally = self._timeline.at(max(0, int(now - self._measured)))
                tally.done(moment, moment, now, 1, len(payload))
                tally.lag_ms = max(tally.lag_ms, behind_ms)


def _done(planned: float, begun: float, ended: float, records: int, size: int, tally: Tally) -> None:
    tally.done(planned, begun, ended, records, size)


def _moment_of(payload: bytes) -> float | None:
    if len(payload) < PAYLOAD_MIN:
        return None
    magic, moment = _STAMP.unpack_from(payload)
    return float(moment) if magic == _MAGIC else None


class _Maker:
    """Payloads and keys for puts, made with as little work as can be."""

    def __init__(self, plan: LoadPlan, process: int) -> None:
        self._plan = plan
        self._chance = random.Random(process << 32 ^ threading.get_ident())
        self._rest = (_FILLING * (plan.size // len(_FILLING) + 1))[: plan.size - PAYLOAD_MIN]
        self._keys = [f"key-{number}" for number in range(min(plan.keys, 100_000))]

    def entries(self, moment: float | None) -> list[tuple[bytes, str]]:
        """One operation's worth; all records of a batch bear its moment."""
        head = _STAMP.pack(_MAGIC, moment) if moment is not None else _FILLING[:PAYLOAD_MIN]
        data = head + self._rest
        return [(data, self._chance.choice(self._keys)) for _ in range(self._plan.batch)]


def prefill(plan: LoadPlan, subject: Subject) -> None:
    """Put the records that a workload of reads will read."""
    connection = subject.connect()
    try:
        make = _Maker(LoadPlan(size=plan.size, keys=plan.keys, batch=min(500, max(plan.prefill, 1))), 0)
        for _ in range(0, plan.prefill, 500):
            entries = make.entries(None)
            while refused := connection.put(entries):
                entries = entries[:refused]
    finally:
        connection.close()
