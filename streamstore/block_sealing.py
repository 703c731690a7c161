"""Encryption as compaction needs it: frames of a block are opened before it is compressed, the block is sealed after.

Works on bytes in memory, as docs/format.md has them. Knows a stream's keys and no file.
"""

from __future__ import annotations

import os
import struct

from streamstore import keys
from streamstore.errors import CorruptRangeError
from streamstore.sealing import NONCE_SIZE, TAG_SIZE, StreamKeys

_HEADER = struct.Struct("<4xIQQQQ")  # frame size, position, arrival and key size, epoch and flags, counts
_HEADER_SIZE = 48
_SEAL_SIZE = 32
_BODY = _HEADER_SIZE + _SEAL_SIZE
_FLAGS = 24  # where the byte of flags stands
_HASH_KEY, _SEALED, _OPENED = 2, 8, 16


class BlockSealer:
    """Opens the encrypted frames of a stream's blocks, and seals the blocks (compaction.Sealer)."""

    def __init__(self, stream_keys: StreamKeys, key_id: int) -> None:
        self._keys = stream_keys
        self.key_id = key_id
        """The key that blocks are encrypted with: the present one, or the last there was if new records are plain."""

    def open_frames(self, raw: memoryview) -> None:
        """Decrypt in place each encrypted frame of a block: its seal becomes zeros, its size and place stay.

        Raises KeyUnavailableError, CorruptRangeError; then some frames are open and some are not.
        """
        at = 0
        while at < len(raw):
            size, position, arrival, epoch, counts = _HEADER.unpack_from(raw, at)
            if size < _HEADER_SIZE or size > len(raw) - at:
                raise CorruptRangeError(f"no frame stands at position {position}")
            if epoch & _SEALED:
                self._open(raw[at : at + size], position, arrival & 0xFFF, epoch, counts)
            at += size

    def _open(self, frame: memoryview, position: int, key_field: int, flags: int, counts: int) -> None:
        attributes_size, pad = counts >> 3 & 0x1FFF, counts & 7
        first = _BODY + attributes_size
        hash_key = bytes(frame[first : first + 16]) if flags & _HASH_KEY else b""
        second, end = first + len(hash_key), len(frame) - pad
        if end < second + max(key_field - 1, 0):
            raise CorruptRangeError(f"no frame stands at position {position}")
        seal = bytes(frame[_HEADER_SIZE:_BODY])
        key_id = int.from_bytes(seal[:4], "little")
        box = b"".join((frame[_BODY:first], frame[second:end], seal[-TAG_SIZE:]))
        covered = struct.pack("<IIII", self._keys.stream_id, key_id, attributes_size, key_field) + hash_key
        plain = self._keys.decrypt(key_id, seal[4 : 4 + NONCE_SIZE], box, covered)
        if plain is None:
            raise CorruptRangeError(f"the encrypted record at position {position} does not hold: it was changed")
        frame[_HEADER_SIZE:_BODY] = bytes(_SEAL_SIZE)
        frame[_BODY:first] = plain[:attributes_size]
        frame[second:end] = plain[attributes_size:]
        frame[_FLAGS] = flags & 0xFF & ~_SEALED | _OPENED

    def seal(self, key_id: int, plain: bytes, associated: bytes) -> tuple[bytes, bytes, bytes]:
        """(nonce, tag, what `plain` is encrypted to, of the same size). Raises KeyUnavailableError."""
        nonce = os.urandom(NONCE_SIZE)
        box: bytes = self._keys.cipher(key_id).encrypt(nonce, plain, associated)
        return nonce, box[-TAG_SIZE:], box[:-TAG_SIZE]


def unsealer(stream_keys: StreamKeys) -> keys.Unseal:
    """What opens the sealed blocks of a stream: (key id, nonce, box, associated) to what was sealed.

    It raises KeyUnavailableError, and CorruptRangeError where the key is there and the tag does not hold.
    """

    def unseal(key_id: int, nonce: bytes, box: bytes, associated: bytes) -> bytes:
        plain = stream_keys.decrypt(key_id, nonce, box, associated)
        if plain is None:
            raise CorruptRangeError("an encrypted block does not hold: it was changed")
        return plain

    return unseal
