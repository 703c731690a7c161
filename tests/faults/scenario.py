"""What is done while calls fail, and with what: scenarios, and the ways in which each kind of call can fail."""

from __future__ import annotations

import errno
import importlib.util
import shutil
from collections.abc import Callable
from typing import NamedTuple

from cuts import consuming, keeping, queueing, sealing
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


def _queue(actor: Actor) -> None:
    queueing.create(actor, "q", "sync")
    queueing.put(actor, "q", 4)
    queueing.receive(actor, "q", 3)
    queueing.settle(actor, "q", "ack", 1)
    queueing.settle(actor, "q", "kill", 1)
    queueing.tidy(actor)


def _consume(actor: Actor) -> None:
    consuming.consume(actor, "s", 4)
    consuming.commit(actor, "s")
    actor.some("s")


def _encrypt(actor: Actor) -> None:
    sealing.start(actor, "s")
    actor.some("s")
    sealing.rotate(actor, "s")
    actor.some("s", 3)


def _limit(actor: Actor) -> None:
    keeping.limit(actor, "s")
    for _ in range(3):
        actor.some("s", 1, large=True)


def recover(actor: Actor) -> None:
    """Open what a death left, and take it up."""
    actor.open()
    actor.some("s")


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
    "recover": recover,
    "expire": keeping.expire,
    "limit": _limit,
    "consume": _consume,
    "queue": _queue,
    **({"encrypt": _encrypt} if importlib.util.find_spec("cryptography") else {}),
}
"""By name; "s" is there, with records in sealed segments and in the one that is written to. "reopen" fails while it
closes and opens, "recover" while it opens after a death; in all others the store is open, and recovers at first
touch."""
