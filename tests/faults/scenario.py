"""What is done while calls fail, and with what: scenarios, and the ways in which each kind of call can fail."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from typing import NamedTuple

from cuts.workload import Actor


class Fault(NamedTuple):
    """One way for a kind of call to fail: `kind` as the library names it."""

    kind: str
    error: int
    lasting: bool
    short_write: bool = False

    @property
    def harmless(self) -> bool:
        """Nobody may notice: the call is made again, or goes on where it stopped."""
        return self.error == errno.EINTR or self.short_write

    def __str__(self) -> str:
        what = "short" if self.short_write else errno.errorcode[self.error]
        return f"{self.kind} {what}{' from then on' if self.lasting else ''}"


_ERRORS = {
    "openat": (errno.EMFILE, errno.EIO),
    "mkdirat": (errno.ENOSPC, errno.EIO),
    "fstat": (errno.EIO,),
    "unlinkat": (errno.EIO,),
    "renameat": (errno.EIO, errno.ENOSPC),
    "pread": (errno.EIO,),
    "pwrite": (errno.ENOSPC, errno.EIO),
    "fallocate": (errno.ENOSPC, errno.EIO),
    "ftruncate": (errno.ENOSPC,),
    "fdatasync": (errno.EIO, errno.ENOSPC),
    "fsync": (errno.EIO,),
    "msync": (errno.EIO,),
    "fstatfs": (errno.EIO,),
    "mmap": (errno.ENOMEM,),
    "madvise": (errno.ENOMEM, errno.EFAULT),
    "fcntl": (errno.ENOLCK,),
    "readdir": (errno.EIO,),
    "getrandom": (errno.EIO,),
    "malloc": (errno.ENOMEM,),
    "pthread_create": (errno.EAGAIN,),
}
_INTERRUPTED = ("openat", "pread", "pwrite", "fallocate", "fdatasync", "fsync", "msync", "getrandom")


def faults() -> list[Fault]:
    """All ways, each once and from then on; an interruption comes only once, or it would never end."""
    ways = [
        Fault(kind, error, lasting) for kind, errors in _ERRORS.items() for error in errors for lasting in (False, True)
    ]
    ways += [Fault(kind, errno.EINTR, False) for kind in _INTERRUPTED]
    return [*ways, Fault("pwrite", 0, False, short_write=True), Fault("pwrite", 0, True, short_write=True)]


def _append(actor: Actor) -> None:
    for _ in range(3):
        actor.some("s")
    actor.some("s", 7)


def _roll(actor: Actor) -> None:
    for _ in range(3):
        actor.some("s", 1, large=True)
    actor.flush()


def _compact(actor: Actor) -> None:
    actor.seal("s")
    actor.compact("s")
    actor.some("s")


def _reshard(actor: Actor) -> None:
    actor.split("s")
    actor.some("s", 5, one_key=False)
    actor.merge("s")


def _streams(actor: Actor) -> None:
    actor.create("t", "sync", 2)
    actor.some("t", 3, one_key=False)
    actor.delete("t")


def _read(actor: Actor) -> None:
    stream = actor.store.stream("s")
    read = list(stream.read())
    stream.shard(read[0].shard_id).get(read[0].sequence_number)
    stream.last(2)


def _snapshot(actor: Actor) -> None:
    target = actor.path.with_name(actor.path.name + "-snapshot")
    try:
        actor.store.snapshot(target)
    finally:
        shutil.rmtree(target, ignore_errors=True)


SCENARIOS: dict[str, Callable[[Actor], None]] = {
    "append": _append,
    "roll": _roll,
    "compact": _compact,
    "clear": lambda actor: (actor.clear("s", list(actor.events)), actor.some("s"))[0],
    "reshard": _reshard,
    "streams": _streams,
    "read": _read,
    "snapshot": _snapshot,
    "maintain": lambda actor: actor.store.maintain() and None,
    "reopen": lambda actor: actor.reopen(),
}
"""By name; "s" is there, with records in sealed segments and in the one that is written to. "reopen" fails while it
closes, recovers and opens."""
