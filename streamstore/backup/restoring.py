"""`restore`: a store's second life, from a snapshot or any other store's directory."""

from __future__ import annotations

import os

from streamstore.backup.snapshot import Progress, SnapshotResult, copy_as_new
from streamstore.backup.verifying import require_intact
from streamstore.opening import open as open_store


def restore(
    snapshot: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    verify: bool = True,
    progress: Progress | None = None,
) -> SnapshotResult:
    """Make a store of its own, in a new directory, from a snapshot (or any store's directory).

    It has a new store id, and every epoch to come in it is above every one in the snapshot and the clock's, so that no
    sequence number is used again. Records keep their sequence numbers; positions saved outside of the store do not
    fit the new one. Needs no key for encrypted records. The snapshot is not changed. Durable and, unless `verify` is
    False, checked byte by byte at return; a crash leaves nothing that opens. Raises StoreNotFoundError,
    InvalidArgumentError where the target exists, CorruptRangeError where the result does not verify, StoreFullError,
    StorageError.
    """
    with open_store(snapshot, create=False, read_only=True) as store:
        return copy_as_new(store, os.fsdecode(target), require_intact if verify else None, progress)
