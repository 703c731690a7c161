"""Who came from whom among the shards of a stream that the catalog has forgotten: from the close frames of shards that
ended, and, where those have expired, from what their children say of themselves. Reads only.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from streamstore import description, native, reshard
from streamstore.backup import layout, packed, salvage
from streamstore.errors import FormatVersionError
from streamstore.lineage import Child, Closed, Lineage, Step
from streamstore.values import HashRange

_CLOSE = 2
_CLOSE_SEGMENT_MAX = 1 << 20
_GONE = Closed(0, 0, 0, 0)


class Said(NamedTuple):
    """What is known of one shard from its newest description."""

    hash_range: HashRange
    parents: tuple[int, ...]


def lineage(known_so_far: Lineage, logs: dict[int, tuple[str, list[layout.Header]]]) -> Lineage:
    """What the files add to a lineage; `logs` is index to (directory, headers that hold)."""
    said: dict[int, Said] = {}
    steps: dict[tuple[int, ...], tuple[Step, dict[int, Closed]]] = {}
    for index, (directory, headers) in logs.items():
        for header in headers:
            facts = description.parse(header.description, header.stream_id, index)
            shard = None if facts is None else description.of_shard(facts)
            if shard is not None:
                said[index] = Said(*shard)
        closed = _closed(directory, headers)
        if closed is not None:
            step, facts_of_end = closed
            children = tuple(child.index for child in step.children)
            steps.setdefault(children, (step, {}))[1][index] = facts_of_end
    known = {child for children in steps for child in children}
    for step in _guessed(said, known, known_so_far):
        steps[tuple(child.index for child in step.children)] = (step, {})
    found = known_so_far
    gone: list[int] = []
    for _, (step, ends) in sorted(steps.items()):
        if all(parent in found and found.is_open(parent) for parent in step.parents):
            missing = [parent for parent in step.parents if parent not in ends]
            guessed = {parent: _end(*logs[parent], step) if parent in logs else _GONE for parent in missing}
            found = found.close(step, {**guessed, **ends})
            gone += [parent for parent in missing if guessed[parent] == _GONE]
    return found.expire(gone) if gone else found


def _closed(directory: str, headers: list[layout.Header]) -> tuple[Step, Closed] | None:
    """The step that ended a log, and its end; None where no close frame is its last."""
    if not headers:
        return None
    last = headers[-1]
    with open(os.path.join(directory, f"{last.ordinal:012d}.seg"), "rb") as file:
        file.seek(layout.HEADER_SIZE)
        raw = file.read(_CLOSE_SEGMENT_MAX)
    size = int.from_bytes(raw[4:8], "little")
    record = native.decode_frame(raw[:size], last.base, 0, last.salt) if size >= layout.FRAME_SIZE_MIN else None
    if record is None or record["type"] != _CLOSE:
        return None
    begin = record["data_offset"]
    try:
        step = reshard.decode(raw[begin : begin + record["data_size"]])
    except FormatVersionError:
        return None
    return step, Closed(last.base + size, record["epoch"], last.base_ordinal, record["arrival_us"])


def _end(directory: str, headers: list[layout.Header], step: Step) -> Closed:
    """Where a log would end that has lost its close frame: one such frame behind what it holds."""
    if not headers:
        return _GONE
    last = headers[-1]
    path = os.path.join(directory, f"{last.ordinal:012d}.seg")
    if last.incompat:
        with open(path, "rb") as file:
            said = packed.fields(file.read(layout.HEADER_SIZE))
        end, records, arrival_us = said.end, said.records, said.last_arrival_us
    else:
        (end, records), arrival_us = salvage.walk(path, last, []), last.floor_arrival_us
    return Closed(end + salvage.close_size(reshard.encode(step)), last.epoch, last.base_ordinal + records, arrival_us)


def _guessed(said: dict[int, Said], known: set[int], lineage_so_far: Lineage) -> list[Step]:
    """The steps whose parents left no close frame: their children name them. A child that was never written said
    nothing; where one of two is known, the other has the rest of the parent's keys and the index next to it.
    """
    families: dict[tuple[int, ...], list[Child]] = {}
    for index, shard in said.items():
        if shard.parents and index not in known:
            families.setdefault(shard.parents, []).append(Child(index, *shard.hash_range))
    steps = []
    for parents, children in families.items():
        whole = _range_of(parents[0], said, lineage_so_far) if len(parents) == 1 else None
        if whole is not None and len(children) == 1:
            child = children[0]
            if child.start > whole.start:
                children.insert(0, Child(child.index - 1, whole.start, child.start - 1))
            elif child.end < whole.end:
                children.append(Child(child.index + 1, child.end + 1, whole.end))
        steps.append(Step(parents, tuple(sorted(children))))
    return steps


def _range_of(index: int, said: dict[int, Said], lineage_so_far: Lineage) -> HashRange | None:
    if index in said:
        return said[index].hash_range
    return lineage_so_far[index].hash_range if index in lineage_so_far else None
