"""Opening a store: the directory, its parents, what a crash left half done. Knows what a store is, not what it does."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from streamstore import settings
from streamstore.errors import InvalidArgumentError, InvalidTypeError, StorageError
from streamstore.keys import KeyRing, ring_of
from streamstore.store import Store


def open(
    path: str | os.PathLike[str],
    *,
    durability: str = "sync",
    create: bool = True,
    read_only: bool = False,
    account: str = "000000000000",
    region: str = "us-east-1",
    sync_interval: float = 0.1,
    maintenance: bool = True,
    key_ring: str | os.PathLike[str] | KeyRing | None = None,
) -> Store:
    """Open the store in a directory, making it where there is none (unless create=False or read_only=True).

    `durability` is the default for new streams: "sync", "interval" (synced every `sync_interval` seconds) or
    "process". Account and region are the view: streams of other ones are not seen. `key_ring` unwraps the keys of
    encrypted streams: the path of a key file, "env:NAME", "kms:KEY" or a KeyRing. A thread in the background drops
    what is past retention, unless maintenance=False (then it is for `store.maintain` or `streamstore maintain`). Raises
    StoreNotFoundError, FormatVersionError, ForeignFileError, StorageError, InvalidArgumentError, InvalidTypeError.
    """
    options = {
        "durability": durability,
        "read_only": bool(read_only),
        "account": account,
        "region": region,
        "sync_interval": sync_interval,
        "maintenance": bool(maintenance),
        "key_ring": ring_of(key_ring),
    }
    settings.check_options(options)
    try:
        directory = os.path.abspath(os.fsdecode(path))
    except TypeError:
        raise InvalidTypeError(f"a path is a str or os.PathLike, not {type(path).__name__}") from None
    if "\0" in directory:  # the system would take what stands before it for the path
        raise InvalidArgumentError(f"{directory!r} is no path: it has a NUL in it")
    if create and not read_only:
        _make_parents(directory)
    store = Store(directory, options, create=create and not read_only)
    if store.attachment.info()["first_opener"] and not read_only:
        try:
            store.remove_orphans()
            store.finish_reshards()
        except BaseException:
            store.close()
            raise
    return store


def _make_parents(directory: str) -> None:
    """Make the directories above a store such that they survive a power cut, as the store itself does."""
    missing = []
    parent = os.path.dirname(directory)
    while not os.path.isdir(parent):
        missing.append(parent)
        parent = os.path.dirname(parent)
    for path in reversed(missing):
        try:
            os.makedirs(path, exist_ok=True)
            handle = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            failure = StorageError(f"{path}: the directory cannot be made ({error.strerror})")
            failure.errno = error.errno or 0
            raise failure from None
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def temporary(**options: Any) -> Iterator[Store]:
    """A store in a new directory, closed and deleted at the end: for tests. Options are those of `open`."""
    directory = tempfile.mkdtemp(prefix="streamstore-")
    try:
        with open(directory, **options) as store:
            yield store
    finally:
        with suppress(FileNotFoundError):
            shutil.rmtree(directory)
