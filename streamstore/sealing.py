"""The data keys of one stream, and records under them: AES-256-GCM over attributes, partition key and data.

docs/format.md has the bytes. Keys come from the catalog, wrapped, and from a ring that unwraps them; they are kept in
memory for as long as the stream's object lives. Knows no log.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

from streamstore import keys, native
from streamstore.errors import CorruptRangeError, KeyUnavailableError
from streamstore.events import StreamInfo
from streamstore.keys import KeyContext, KeyRing
from streamstore.native import Record

NONCE_SIZE = 12
TAG_SIZE = 16
_KEY_ID = struct.Struct("<I")
_COVERED = struct.Struct("<IIII")


class Sealed(NamedTuple):
    """An encrypted record as an append takes it: an entry, its attributes, and the seal that goes in front."""

    entry: tuple[bytes, bytes | None, int | None]
    attributes: bytes | None
    seal: bytes


class StreamKeys:
    """The data keys of one stream. Any thread; `find` tells what the catalog says of the stream now."""

    def __init__(self, find: Callable[[], StreamInfo], ring: KeyRing | None) -> None:
        self._find = find
        self._ring = ring
        self._ciphers: dict[int, Any] = {}
        self._info: StreamInfo | None = None

    def __repr__(self) -> str:
        return f"<StreamKeys of {self._info.name if self._info else '?'}>"

    def __reduce__(self) -> str:
        raise TypeError("data keys are not pickled")

    def cipher(self, key_id: int) -> Any:
        """What encrypts and decrypts under that data key. Raises KeyUnavailableError, naming stream, key and ring."""
        found = self._ciphers.get(key_id)
        if found is None:
            found = self._ciphers[key_id] = keys.cipher(self._unwrap(key_id))
        return found

    def _unwrap(self, key_id: int) -> bytes:
        if self._info is None or key_id not in self._info.keys:
            self._info = self._find()
        info = self._info
        what = f"stream {info.name!r}: data key {key_id}"
        wrapped = info.keys.get(key_id)
        if wrapped is None:
            raise KeyUnavailableError(f"{what} is not in the catalog")
        if self._ring is None:
            raise KeyUnavailableError(f"{what} is needed, and the store was opened without a key ring (key_ring=)")
        try:
            return self._ring.unwrap(wrapped, KeyContext(str(wrapped.get("store", "")), info.id, key_id))
        except KeyUnavailableError as error:
            raise KeyUnavailableError(f"{what} is not available from {self._ring!r}: {error}") from None

    def seal(self, info: StreamInfo, entry: tuple[Any, Any, Any], attributes: bytes | None) -> Sealed:
        """Encrypt a checked entry (data, partition key, explicit hash key) under the present key of `info`."""
        data, key, hash_key = entry
        block, key_bytes = attributes or b"", b"" if key is None else key.encode()
        plain = b"".join((block, key_bytes, data.tobytes() if isinstance(data, memoryview) else data))
        nonce = os.urandom(NONCE_SIZE)
        covered = _covered(info.id, info.key_id, len(block), -1 if key is None else len(key_bytes), hash_key)
        box: bytes = self.cipher(info.key_id).encrypt(nonce, plain, covered)
        key_end = len(block) + len(key_bytes)
        return Sealed(
            (box[key_end:-TAG_SIZE], None if key is None else box[len(block) : key_end], hash_key),
            box[: len(block)] if block else None,
            b"".join((_KEY_ID.pack(info.key_id), nonce, box[-TAG_SIZE:])),
        )

    def open(self, record: Record) -> Record:
        """The record in plain; one that is not encrypted as it is.

        Raises KeyUnavailableError, and CorruptRangeError where the key is there and the tag does not hold.
        """
        parts = native.sealed_parts(record, self.stream_id)
        if parts is None:
            return record
        plain = self.decrypt(*parts)
        if plain is None:
            raise CorruptRangeError(
                f"{record.shard_id}: the encrypted record {record.sequence_number} does not hold: it was changed"
            )
        return native.open_record(record, plain)

    def decrypt(self, key_id: int, nonce: bytes, box: bytes, covered: bytes) -> bytes | None:
        """What was encrypted under a data key; None where the tag does not hold. Raises KeyUnavailableError."""
        cipher = self.cipher(key_id)
        try:
            plain: bytes = cipher.decrypt(nonce, box, covered)
        except keys.tag_errors():
            return None
        return plain

    @property
    def stream_id(self) -> int:
        if self._info is None:
            self._info = self._find()
        return self._info.id

    def info(self) -> StreamInfo:
        """What the catalog says of the stream now."""
        return self._find()


def _covered(stream_id: int, key_id: int, attributes_size: int, key_size: int, hash_key: int | None) -> bytes:
    head = _COVERED.pack(stream_id, key_id, attributes_size, key_size + 1)
    return head if hash_key is None else head + hash_key.to_bytes(16, "little")
