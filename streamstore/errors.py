"""Every exception the package raises, and nothing else: no policy, no status codes of the core (those are `native`'s).

All are picklable: the constructor takes the message alone, extra facts are attributes that travel with the instance.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class StreamStoreError(Exception):
    """The root of everything that can go wrong here.

    ::

        StreamStoreError
        ├── StreamNotFoundError         no such stream, or it was deleted
        │   └── StoreNotFoundError      no store in that directory
        ├── StreamExistsError           the name is taken
        ├── ShardClosedError            a closed shard takes no more records
        ├── TrimmedError                the position lies before what is still kept
        ├── IteratorExpiredError        a shard iterator older than five minutes
        ├── ClosedError                 the store or reader was closed
        ├── ForkedError                 the object belongs to the parent process
        ├── StaleReceiptError           a message's receipt was overtaken by a later delivery
        ├── StoreFullError              the disk or quota is full; nothing was written
        │   └── StreamFullError         the stream holds its max_bytes
        ├── DurabilityUnknownError      a sync failed; what is durable is known after a reopen
        ├── CorruptRangeError           records that were durable are damaged
        ├── PartialPutError             some entries of a batch failed
        ├── FormatVersionError          the files need a newer (or other) version of this package
        │   └── ForeignFileError        no store of ours, or a file of another store
        ├── StaleHandleError            the store was recovered by somebody else; open it again
        ├── SettingsChangedError        the stream's settings changed in the middle of a put
        ├── TailMismatchError           compare-and-append found another tail
        ├── ReadOnlyError               a write on a read-only handle
        ├── KeyUnavailableError         the key of an encrypted record is not there
        ├── StorageError                a system call failed (`.errno`)
        ├── UserRecordFailedError       a producer gave a user record up
        ├── BackPressureError           as many user records are outstanding as may be
        ├── RecordTooLargeError         a record, or its attributes, over the limit
        ├── InvalidArgumentError        a value out of its range (also a ValueError)
        └── InvalidTypeError            a value of the wrong type (also a TypeError)
    """


class StreamNotFoundError(StreamStoreError):
    """No stream of that name in this account and region, or it was deleted."""


class StoreNotFoundError(StreamNotFoundError):
    """There is no store in that directory, and the call was not one that makes it."""


class StreamExistsError(StreamStoreError):
    """A stream of that name exists already in this account and region."""


class ShardClosedError(StreamStoreError):
    """The shard was closed by a split or a merge and takes no more records."""


class TrimmedError(StreamStoreError):
    """The position lies before the oldest record that is still kept.

    `shard_id` says where; read on from `next_position`, the oldest record kept, or use `on_trimmed="skip"`.
    """

    shard_id: str | None = None
    next_position: dict[str, Any] | None = None


class IteratorExpiredError(StreamStoreError):
    """The shard iterator is older than five minutes."""


class ClosedError(StreamStoreError):
    """The store, stream or reader was closed."""


class ForkedError(StreamStoreError):
    """The object was made before a fork and belongs to the parent process."""


class StaleReceiptError(StreamStoreError):
    """The message was delivered again (or acknowledged) since this receipt was given."""


class StoreFullError(StreamStoreError):
    """The disk or quota is full. Nothing of the failed call was written; the store goes on once there is space."""


class StreamFullError(StoreFullError):
    """The stream holds its max_bytes and takes no more until something is trimmed. Nothing was written."""


class DurabilityUnknownError(StreamStoreError):
    """A sync failed, so nobody knows what of the unacknowledged data is durable: close the store and open it again."""


class CorruptRangeError(StreamStoreError):
    """Bytes that were durable are damaged. Everything before them was delivered.

    `shard_id`; `first` and `last`, the lowest and highest sequence number that may be lost; `begin` and `end`, the
    damaged range of positions in bytes; `next_position`, from where a read goes on behind the damage.
    """

    shard_id: str | None = None
    first: str | None = None
    last: str | None = None
    begin: int = 0
    end: int = 0
    next_position: dict[str, Any] | None = None


class PartialPutError(StreamStoreError):
    """Some entries of a put_records call failed in storage.

    `results` has one item per entry, in order: a PutResult for what is stored, an exception for what is not.
    """

    results: Sequence[Any] = ()


class FormatVersionError(StreamStoreError):
    """The files were written by a version, or with a feature, that this build does not know. Nothing was changed."""


class ForeignFileError(FormatVersionError):
    """The directory holds something that is not a store, or a file that belongs to another store. Nothing was
    changed.
    """


class StaleHandleError(StreamStoreError):
    """The store was recovered by another process since this handle was opened: close it and open again."""


class SettingsChangedError(StreamStoreError):
    """The stream's settings changed while a put was under way, again and again. Nothing was written: put again."""


class TailMismatchError(StreamStoreError):
    """Compare-and-append found another tail than the expected one. Nothing was written; read on and decide again."""


class ReadOnlyError(StreamStoreError):
    """A write on a handle that was opened with read_only=True, or on a read-only medium."""


class KeyUnavailableError(StreamStoreError):
    """The key that a record is encrypted with, or is to be, is not available: no key ring, or one that lacks it."""


class StorageError(StreamStoreError):
    """A system call failed; `errno` has its number, 0 where the cause is none of the kernel's."""

    errno: int = 0


class UserRecordFailedError(StreamStoreError):
    """A producer gave up a user record: refused, or its time was over before it was stored.

    `code` says why in the service's words (or `Expired`); `attempts` has every try, oldest first.
    """

    code: str = ""
    attempts: Sequence[Any] = ()


class BackPressureError(StreamStoreError):
    """As many user records, or bytes of them, are outstanding at a producer as may be. Nothing was taken."""


class InvalidArgumentError(StreamStoreError, ValueError):
    """An argument is out of its range. Nothing was done."""


class RecordTooLargeError(StreamStoreError):
    """Key and data together, or the encoded attributes, are over the limit. Nothing was written."""


class InvalidTypeError(StreamStoreError, TypeError):
    """An argument is of the wrong type. Nothing was done."""
