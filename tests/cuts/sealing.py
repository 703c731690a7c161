"""Streams that are encrypted: begun, under another key, in plain again; and whether anything stands in the files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from cuts.story import Known, Wrong
from cuts.workload import Actor

_TELLING = 40  # bytes of a record that no other data has by chance


def start(actor: Actor, name: str) -> None:
    """No record that is put from the return on may stand in plain anywhere."""
    actor.store.stream(name).start_encryption()
    actor.note("encrypted", name=name)


def rotate(actor: Actor, name: str) -> None:
    """Another data key; the older ones stay good for what is under them."""
    actor.store.stream(name).rotate_key()
    actor.note("encrypted", name=name)


def stop(actor: Actor, name: str) -> None:
    """From now on in plain."""
    actor.note("in plain", name=name)
    actor.store.stream(name).stop_encryption()


def rewrap(actor: Actor, name: str) -> None:
    """All data keys under the master key as it is now."""
    actor.store.stream(name).rewrap_keys()


def hold(path: Path, streams: Iterable[Known]) -> None:
    """Raise Wrong where a record that had to be sealed can be read in a file of the store."""
    secrets = [
        data[:_TELLING]
        for stream in streams
        for data, record in stream.records.items()
        if record.secret and len(data) >= _TELLING
    ]
    if not secrets:
        return
    for file in path.rglob("*.seg*"):
        raw = file.read_bytes()
        for secret in secrets:
            if secret in raw:
                raise Wrong(f"{file.relative_to(path)} has in plain what was encrypted: {secret!r}")
