"""The life of a stream's encryption: start, stop, new data keys, new master keys. Knows the catalog and logs' terms.

A change is durable in the catalog first; then every open shard is held to the new settings, so that a writer of any
process that was bound before is turned away and binds anew. A crash between the two leaves the second to the next who
binds.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from streamstore import clock, sealed_target
from streamstore.block_sealing import BlockSealer
from streamstore.catalog import Catalog
from streamstore.errors import InvalidArgumentError, InvalidTypeError, KeyUnavailableError, SettingsChangedError
from streamstore.events import StreamInfo
from streamstore.keys import KeyContext, KeyRing
from streamstore.native import Attachment, Log
from streamstore.sealing import StreamKeys
from streamstore.values import Appended, DataKey, Encryption

KEY_ID_MAX = (1 << 32) - 1
_TRIES_MAX = 16


class EncryptionHome(Protocol):
    """What is asked of the store that the stream lives in."""

    catalog: Catalog
    key_ring: KeyRing | None

    @property
    def store_id(self) -> str: ...


class _Streamlike(Protocol):
    """What is asked of the stream itself."""

    attachment: Attachment
    keys: StreamKeys

    @property
    def _home(self) -> EncryptionHome: ...
    @property
    def info(self) -> StreamInfo: ...
    def check(self) -> StreamInfo: ...
    def log(self, index: int) -> Log: ...


class EncryptedStream:
    """What a stream can do about its encryption: a base of Stream."""

    @property
    def encryption(self: _Streamlike) -> Encryption:
        """Whether the records of puts that begin from now on are encrypted, and under which keys.

        On a store that is open read-only: as the catalog says.
        """
        info = self.check()
        # Who changed it may have died before it told the writers; what is said here is to hold for them, too.
        return _hold(self, info) if info.terms and not self.attachment.read_only else facts(info)

    def start_encryption(self: _Streamlike, key_id: str | None = None) -> Encryption:
        """Encrypt every record that is written from the return on, by whatever process; durable at return.

        `key_id` names a master key of the ring (for KMS: id, ARN or alias), None its usual one. Where the stream is
        encrypted already, only another master key changes something. What was written before stays as it is, until a
        compaction. Raises KeyUnavailableError, StreamNotFoundError, ReadOnlyError, StoreFullError.
        """
        return _hold(self, _begin(self._home, self.info, key_id, anew=False))

    def rotate_key(self: _Streamlike, key_id: str | None = None) -> Encryption:
        """Encrypt what is written from the return on under a new data key; what is older stays readable, under the
        older ones. Durable at return.

        Starts encryption where there was none. Raises what start_encryption raises.
        """
        return _hold(self, _begin(self._home, self.info, key_id, anew=True))

    def stop_encryption(self: _Streamlike) -> Encryption:
        """Write every record in plain from the return on; what is encrypted stays so, and its keys stay needed.

        Durable at return. Raises StreamNotFoundError, ReadOnlyError, StoreFullError.
        """
        return _hold(self, _end(self._home, self.info))

    def rewrap_keys(self: _Streamlike, key_id: str | None = None) -> Encryption:
        """Wrap all data keys anew under the ring's present master key, or the one named; no record is touched.

        Durable at return; then the older master key is needed for backups alone. Raises KeyUnavailableError where the
        ring cannot unwrap one of them, with nothing changed.
        """
        return facts(_rewrap(self._home, self.info, key_id))

    def sealer(self: _Streamlike, log: Log) -> BlockSealer | None:
        """Who opens and seals what compaction touches of a log; None where nothing was ever encrypted."""
        info = self.check()
        if not info.keys:
            return None
        sealed_target.hold_to(log, info)  # so that a file that is made knows the key that its blocks are sealed with
        return BlockSealer(self.keys, info.key_id or max(info.keys))

    def append(
        self: _Streamlike,
        log: Log,
        entries: list[tuple[Any, Any, Any]],
        attribute_blocks: list[bytes | None],
        tail: int = 0,
    ) -> Appended:
        """Append checked entries to a shard's log, as the stream's settings ask; published, not yet durable."""
        for _ in range(_TRIES_MAX):
            with suppress(SettingsChangedError):
                return sealed_target.append(log, self.check(), self.keys, entries, attribute_blocks, tail)
        return sealed_target.append(log, self.check(), self.keys, entries, attribute_blocks, tail)


def facts(info: StreamInfo) -> Encryption:
    """What the catalog says of a stream's encryption; no key."""
    return Encryption(
        bool(info.key_id),
        info.key_id,
        tuple(
            DataKey(key_id, str(item.get("ring", "")), str(item.get("master", "")), int(item.get("created_us", 0)))
            for key_id, item in sorted(info.keys.items())
        ),
    )


def _begin(home: EncryptionHome, info: StreamInfo, master: str | None, *, anew: bool) -> StreamInfo:
    """Have records encrypted from now on, under a new data key if there is none in use or `anew` says so.

    What the catalog says then; the logs are not held to it yet. Raises KeyUnavailableError, StreamNotFoundError.
    """
    if master is not None and not isinstance(master, str):
        raise InvalidTypeError(f"key_id is a str that names a master key, or None, not {type(master).__name__}")
    ring = _ring(home, info)
    while True:
        info = home.catalog.find(info.key)
        if info.key_id and not anew and master in (None, info.keys[info.key_id].get("master")):
            return info
        key_id = max(info.keys, default=0) + 1
        if key_id > KEY_ID_MAX:
            raise InvalidArgumentError(f"the stream {info.name!r} has had every data key there can be")
        context = KeyContext(home.store_id, info.id, key_id)
        wrapped = {**ring.generate(context, master)[1], "store": home.store_id, "created_us": clock.now_us()}
        changed = home.catalog.alter(info, _adding(key_id, wrapped))
        if changed.keys.get(key_id) == wrapped:
            return changed


def _adding(key_id: int, wrapped: dict[str, Any]) -> Callable[[StreamInfo], dict[str, Any] | None]:
    def decide(found: StreamInfo) -> dict[str, Any] | None:
        if key_id in found.keys:
            return None  # another process was faster: decide again, with its key in view
        return {"key_id": key_id, "keys": {**found.keys, key_id: wrapped}, "terms": found.terms + 1}

    return decide


def _end(home: EncryptionHome, info: StreamInfo) -> StreamInfo:
    """Have records written in plain from now on; the data keys stay for what is encrypted."""

    def decide(found: StreamInfo) -> dict[str, Any] | None:
        return {"key_id": 0, "terms": found.terms + 1} if found.key_id else None

    return home.catalog.alter(info, decide)


def _rewrap(home: EncryptionHome, info: StreamInfo, master: str | None) -> StreamInfo:
    """Wrap every data key anew under the ring's present master key, or the one named; no record is touched.

    Raises KeyUnavailableError where the ring cannot unwrap one of them; then nothing was changed.
    """
    ring = _ring(home, info)
    while True:
        info = home.catalog.find(info.key)
        fresh = {}
        for key_id, item in info.keys.items():
            context = KeyContext(str(item.get("store", "")), info.id, key_id)
            fresh[key_id] = {**item, **ring.wrap(ring.unwrap(item, context), context, master)}
        before = info.keys

        def decide(found: StreamInfo, before: Any = before, fresh: dict[int, Any] = fresh) -> dict[str, Any] | None:
            return {"keys": fresh} if found.keys == before and fresh else None

        changed = home.catalog.alter(info, decide)
        if changed.keys == fresh:
            return changed


def _hold(stream: _Streamlike, info: StreamInfo) -> Encryption:
    """From now on no process gets a record in that was put together under older settings."""
    stream.check()  # so that segment headers of logs not attached yet know the new keys
    for index in info.lineage.open:
        sealed_target.hold_to(stream.log(index), info)
    return facts(info)


def _ring(home: EncryptionHome, info: StreamInfo) -> KeyRing:
    if home.key_ring is None:
        raise KeyUnavailableError(f"stream {info.name!r}: encryption needs a key ring: open the store with key_ring=")
    return home.key_ring
