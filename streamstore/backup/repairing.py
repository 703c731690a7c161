"""`repair`: make a damaged store whole again, on request only.

Nothing is deleted: what is replaced or taken out is kept under `damaged/`, with a list of what and why.

It goes in rounds: verify, put right the gravest kind of damage, verify again; because what a missing manifest or a
foreign file hides shows only once it is gone. Each step replaces one file by one rename, so a kill in between leaves a
store that the next repair takes up.
"""

from __future__ import annotations

import fcntl
import json
import os
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from streamstore import clock, errors
from streamstore.backup import mending
from streamstore.backup.assembly import storage_errors, sync_directory
from streamstore.backup.damage import Damage
from streamstore.backup.mending import Step
from streamstore.backup.verifying import Progress, Report, verify
from streamstore.opening import open as open_store

_ROUNDS_MAX = 8
_LOCK_BYTE_OPEN = 1 << 21
_LOCK_BYTE_PRESENCE = _LOCK_BYTE_OPEN + 1
# In this order: what comes first hides what comes later.
_KINDS = (("manifest",), ("foreign",), ("header",), ("catalog",), ("lineage",), ("missing", "frames"), ("index",))


class RepairResult(NamedTuple):
    """What repair did, or with dry_run what it would do first.

    `steps` are dicts: `what`, `path`, `why`, and for records lost `stream`, `shard_id`, `begin`, `end`,
    `first_sequence_number`, `last_sequence_number`, `records_lost`. `kept` is the directory of the originals.
    `damage` is what verify still finds, empty where all is good.
    """

    steps: list[dict[str, Any]]
    kept: str | None
    damage: list[Damage]
    notes: list[str]


@dataclass
class _Repair:
    path: str
    kept: str
    steps: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def keep(self, file: str) -> None:
        """Give a file a second name under `damaged/`, durably, before anything happens to the first one."""
        aside = os.path.join(self.kept, os.path.relpath(file, self.path))
        os.makedirs(os.path.dirname(aside), mode=0o700, exist_ok=True)
        number = 0
        while True:
            try:
                os.link(file, aside + (f".{number}" if number else ""), follow_symlinks=False)
                break
            except FileExistsError:
                number += 1
        directory = os.path.dirname(aside)
        while len(directory) >= len(self.path):
            sync_directory(directory)
            directory = os.path.dirname(directory)

    def write_list(self) -> None:
        """Say beside the originals what was done and why."""
        os.makedirs(self.kept, mode=0o700, exist_ok=True)
        text = json.dumps({"made_us": clock.now_us(), "steps": self.steps, "notes": self.notes}, indent=2)
        new = os.path.join(self.kept, "repair.json.new")
        with open(new, "w", encoding="utf-8") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.rename(new, os.path.join(self.kept, "repair.json"))
        sync_directory(self.kept)


def repair(
    path: str | os.PathLike[str], *, dry_run: bool = False, progress: Callable[..., None] | None = None
) -> RepairResult:
    """Make a damaged store readable again without an error: damaged ranges become known gaps, the rest stays as it is.

    The manifest, the catalog, segment headers and indexes are made again from what holds; frames that do not hold are
    replaced by pads, so that every other record keeps its position and sequence number; missing segments likewise.
    Nothing is deleted: originals are kept under `damaged/` in the store, with repair.json saying what and why. Nobody
    else may have the store open. With dry_run nothing is changed, and `steps` is what would be done first. Raises
    StoreNotFoundError, StorageError, StoreFullError, FormatVersionError; what cannot be put right is left in `damage`.
    """
    directory = os.path.abspath(os.fsdecode(path))
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    work = _Repair(directory, _unused(os.path.join(directory, "damaged", stamp)))
    if not dry_run:
        _settle(directory)
    report = verify(directory, progress=progress)
    with storage_errors(directory):
        for _ in range(_ROUNDS_MAX):
            seen = _signature(directory)
            steps = list(_plan(work, report))
            if dry_run or not steps:
                work.steps += [step.facts for step in steps] if dry_run else []
                break
            with _alone(directory):
                if _signature(directory) != seen:
                    raise errors.StorageError(f"{directory}: somebody changed the store meanwhile; run it again")
                _carry_out(work, [step for step in steps if not step.in_store])
            mending.in_store(directory, [step for step in steps if step.in_store])
            work.steps += [step.facts for step in steps if step.in_store]
            work.write_list()
            _settle(directory)
            report = verify(directory, progress=progress)
    kept = work.kept if work.steps and not dry_run else None
    return RepairResult(work.steps, kept, report.damage, work.notes)


def _settle(path: str) -> None:
    """Let recovery settle what no hint proves to be durable, as any opener would: to a read-only look the newest events
    and records may not be there yet, and what it shows may be cut.
    """
    with suppress(errors.StreamStoreError), open_store(path, create=False, maintenance=False) as store:
        for info in store.catalog.refresh().streams.values():
            stream = store.stream_of(info)
            for index in store.attachment.written_shards(info.id):
                if index in info.lineage:
                    with suppress(errors.StreamStoreError):
                        stream.log(index).held()


def _unused(path: str) -> str:
    number = 0
    while os.path.lexists(path + (f".{number}" if number else "")):
        number += 1
    return path + (f".{number}" if number else "")


def _plan(work: _Repair, report: Report) -> Iterator[Step]:
    """The steps against the gravest kind of damage there is."""
    catalog = [each for each in report.damage if each["stream"] == "catalog" and each["kind"] != "index"]
    for kinds in _KINDS:
        if kinds == ("catalog",):
            if catalog:
                yield mending.catalog(work.path, work.notes)
                return
            continue
        found = [each for each in report.damage if each["kind"] in kinds and each not in catalog]
        if kinds == ("foreign",):
            found = [each for each in report.damage if each["kind"] == "foreign"]
        steps = list(mending.steps(work.path, kinds[0], found, work.notes))
        if steps:
            yield from steps
            return


def _carry_out(work: _Repair, steps: list[Step]) -> None:
    for step in steps:
        for file in step.replaces:
            if os.path.lexists(file):
                work.keep(file)
        work.steps.append(step.facts)
        work.write_list()
        step.run()


def _signature(path: str) -> list[tuple[str, int, int, int]]:
    """What tells whether anybody wrote to the store: names, inodes, sizes, times of all its files."""
    found = []
    for directory, _, names in os.walk(path):
        if os.path.relpath(directory, path).split(os.sep)[0] == "damaged":
            continue
        for name in names:
            if name == "lock":
                continue  # written by whoever only looks
            facts = os.lstat(os.path.join(directory, name))
            found.append((os.path.join(directory, name), facts.st_ino, facts.st_size, facts.st_mtime_ns))
    return sorted(found)


@contextmanager
def _alone(path: str) -> Iterator[None]:
    """Keep every other process from opening the store. Raises StorageError where one has it open."""
    handle = os.open(os.path.join(path, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        for byte in (_LOCK_BYTE_OPEN, _LOCK_BYTE_PRESENCE):
            lock = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0)
            try:
                fcntl.fcntl(handle, fcntl.F_OFD_SETLK, lock)
            except (BlockingIOError, PermissionError):
                raise errors.StorageError(
                    f"{path}: a process has the store open; `streamstore stat` shows which. Close it first"
                ) from None
        yield
    finally:
        os.close(handle)


__all__ = ["Progress", "RepairResult", "repair"]
