"""What one second, one thread or a whole run came to: counts, and times in microseconds. Tallies add up."""

from __future__ import annotations

from collections.abc import Iterable

from streamstore.histogram import Histogram


class Tally:
    """Operations that ended: `latency_us` from their planned moment, `service_us` from when they were begun.

    The difference is the time that an operation waited behind others: what a closed loop never shows (coordinated
    omission). `errors` counts operations that failed, by their text; `refused` records that a put did not take;
    `unfinished` planned operations that were given up, which are in `latency_us` with the time they had waited so far.
    `lag` is the most that readers were behind, in milliseconds.
    """

    def __init__(self) -> None:
        self.latency_us = Histogram()
        self.service_us = Histogram()
        self.operations = 0
        self.records = 0
        self.bytes = 0
        self.refused = 0
        self.unfinished = 0
        self.lag_ms = 0
        self.errors: dict[str, int] = {}

    def done(self, planned: float, begun: float, ended: float, records: int, size: int) -> None:
        """Count an operation by its moments, in seconds of one clock."""
        self.latency_us.add(int((ended - planned) * 1e6))
        self.service_us.add(int((ended - begun) * 1e6))
        self.operations += 1
        self.records += records
        self.bytes += size

    def failed(self, text: str, planned: float, ended: float) -> None:
        """Count an operation that raised; its time counts as well."""
        self.errors[text] = self.errors.get(text, 0) + 1
        self.latency_us.add(int((ended - planned) * 1e6))

    def refuse(self, count: int) -> None:
        """Count records that a put did not take."""
        self.refused += count

    def given_up(self, waited: float) -> None:
        """Count an operation that was planned and not carried out."""
        self.unfinished += 1
        self.latency_us.add(int(waited * 1e6))

    def add(self, other: Tally) -> None:
        """Count all that another has counted."""
        self.latency_us.merge(other.latency_us)
        self.service_us.merge(other.service_us)
        for name in ("operations", "records", "bytes", "refused", "unfinished"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.lag_ms = max(self.lag_ms, other.lag_ms)
        for text, count in other.errors.items():
            self.errors[text] = self.errors.get(text, 0) + count

    @property
    def error_count(self) -> int:
        """How many operations failed."""
        return sum(self.errors.values())


class Timeline:
    """A tally a second, by when operations ended; those of one process, or of all."""

    def __init__(self) -> None:
        self.seconds: dict[int, Tally] = {}

    def at(self, second: int) -> Tally:
        """The tally of a second of the measurement, the first being 0."""
        return self.seconds.setdefault(second, Tally())

    def add(self, other: Timeline) -> None:
        """Count all that another has counted."""
        for second, tally in other.seconds.items():
            self.at(second).add(tally)

    def total(self) -> Tally:
        """All seconds in one."""
        return summed(self.seconds.values())


def summed(tallies: Iterable[Tally]) -> Tally:
    """Many tallies in one."""
    whole = Tally()
    for tally in tallies:
        whole.add(tally)
    return whole
