"""Records of letters that mean nothing, by size and key alone: load where only bytes count."""

from __future__ import annotations

import random

from streamstore.generate.sizes import Sizes
from streamstore.generate.skew import Keys
from streamstore.values import PutEntry

_ALPHABET = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
_STOCK = 1 << 20


class Filler:
    """Records of a distribution of sizes, cut out of one stock of letters at places drawn by chance."""

    def __init__(self, sizes: Sizes, keys: Keys | None = None, *, seed: int | None = None) -> None:
        self._chance = random.Random(seed)
        self._sizes = sizes
        self._keys = keys
        self._stock = self._chance.randbytes(_STOCK).translate(_ALPHABET * 4)

    def make(self, moment_us: int) -> PutEntry:
        """One record. Its key is one of the keys, or 16 hex digits nobody has had."""
        size = self._sizes.draw(self._chance)
        key = f"{self._chance.getrandbits(64):016x}" if self._keys is None else self._keys.draw(self._chance)
        return PutEntry(self._cut(size), key)

    def _cut(self, size: int) -> bytes:
        parts = []
        while size > 0:
            at = self._chance.randrange(_STOCK)
            parts.append(self._stock[at : at + size])
            size -= len(parts[-1])
        return b"".join(parts)
