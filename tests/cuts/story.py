"""What a workload did, moment by moment, and what must therefore be true of a store whose power was cut in one of them.

An event counts for a cut in moment k if its own moment is below k: a mark ends a moment after all that came before it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Event(NamedTuple):
    """One thing that began or ended: `what` says which, `values` with what."""

    moment: int
    what: str
    values: dict[str, Any]


class Wrong(Exception):
    """A promise was broken; the message says which and where."""


@dataclass
class Record:
    """One record that somebody attempted to put."""

    key: str
    number: int = 0  # 0: nobody was told one
    shard: str = ""
    required: bool = False
    may_go: bool = False  # a clear began after it
    gone: bool = False  # it was cleared, or a recovery that went through did not find it
    secret: bool = False  # it may stand in no file in plain


@dataclass
class Known:
    """What must be true of one stream."""

    durability: str
    created: bool = False
    may_be_gone: bool = False
    gone: bool = False
    records: dict[bytes, Record] = field(default_factory=dict)
    batches: list[list[bytes]] = field(default_factory=list)  # of one key each
    reshards: int = 0  # that were acknowledged
    highest: dict[str, int] = field(default_factory=dict)  # the highest number that anybody was told, by shard
    sealed: bool = False  # what is put now is encrypted
    drops: bool = False  # a put may drop what is oldest
    max_bytes: int = 0  # that was acknowledged; 0: none
    consumed: bool = False  # there may be a named consumer
    committing: set[bytes] = field(default_factory=set)  # by it: a commit of them began
    committed: set[bytes] = field(default_factory=set)  # and was acknowledged

    def told(self, data: bytes, shard: str, number: int) -> None:
        """Somebody was told the number of a record: it names this one for ever."""
        record = self.records[data]
        if record.number and (record.number, record.shard) != (number, shard):
            raise Wrong(f"{data[:20]!r} was {record.number} in {record.shard} and is {number} in {shard}")
        others = [other for other, one in self.records.items() if one.number == number and other != data]
        if others:
            raise Wrong(f"number {number} of {shard} names {data[:20]!r} and {others[0][:20]!r}")
        record.number, record.shard = number, shard
        self.highest[shard] = max(self.highest.get(shard, 0), number)


def known(events: Iterable[Event]) -> dict[str, Known]:
    """What must be true after these events and a power cut."""
    streams: dict[str, Known] = {}
    for _, what, values in events:
        if what == "flush began":
            values["published"] = [
                record for stream in streams.values() for record in stream.records.values() if record.number
            ]
        elif what == "flushed":
            for record in values["of"]["published"]:
                record.required = True
        elif what == "create began":
            streams[values["name"]] = Known(values["durability"])
        elif what != "clock" and not what.startswith("queue "):
            _change(streams[values["name"]], what, values)
    return streams


def _change(stream: Known, what: str, values: dict[str, Any]) -> None:
    if what == "created":
        stream.created = True
    elif what == "delete began":
        stream.may_be_gone = True
    elif what == "deleted":
        stream.gone = True
    elif what == "put began":
        for record in stream.records.values():
            record.may_go |= stream.drops
        for data, key, _ in values["entries"]:
            stream.records[data] = Record(key, secret=stream.sealed)
        if values["one key"]:
            stream.batches.append([entry[0] for entry in values["entries"]])
    elif what == "put":
        for data, shard, number in values["results"]:
            stream.told(data, shard, number)
            if values["sync"] or stream.durability == "sync":
                stream.records[data].required = True
    elif what == "clear began":
        for record in stream.records.values():
            record.may_go = True
    elif what == "cleared":
        for data in values["of"]:
            stream.records[data].gone = True
    elif what == "left":
        for data, record in stream.records.items():
            record.may_go = record.may_go and data not in values["found"]
            record.gone |= data not in values["found"]
    elif what == "resharded":
        stream.reshards += 1
    elif what == "settled":
        for record in stream.records.values():
            record.gone = True
        for data, shard, number in values["found"]:
            stream.told(data, shard, number)
            stream.records[data].gone = False
            stream.records[data].required = True
    else:
        _change_settings(stream, what, values)


def _change_settings(stream: Known, what: str, values: dict[str, Any]) -> None:
    if what == "limit began":
        stream.drops = True
        for record in stream.records.values():
            record.may_go = True
    elif what == "limited":
        stream.max_bytes = values["max_bytes"]
    elif what in ("encrypted", "in plain"):
        stream.sealed = what == "encrypted"
    elif what == "consume began":
        stream.consumed = True
    elif what == "commit began":
        stream.committing |= set(values["of"])
    elif what == "committed":
        stream.committed |= set(values["of"])
    elif what == "reset began":
        stream.committed = set()
    elif what == "reset":
        stream.committing = set()
    else:
        raise AssertionError(what)
