"""Puts into an encrypted stream: routed by the plain key, encrypted, and appended shard by shard.

The slow twin of `_hot.Target`, with its methods and its errors; `bind` chooses between the two, and with them come the
terms: a number that the catalog raises with each start, stop and rotation, and the core compares under the append lock.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from streamstore import attributes, native, routing
from streamstore.errors import InvalidArgumentError, StreamStoreError
from streamstore.events import StreamInfo
from streamstore.native import PutResult, PutResults
from streamstore.sealing import Sealed, StreamKeys
from streamstore.values import Appended, HashRange


def bind(
    logs: Sequence[native.Log], ranges: Sequence[HashRange], info: StreamInfo, keys: StreamKeys
) -> native.Target | SealedTarget:
    """The way in for puts into these logs (`ranges[i]` is what `logs[i]` owns), as the catalog says in `info`.

    From its return on, no writer of whatever process gets a record in under older settings. Raises KeyUnavailableError.
    """
    for log in logs:
        hold_to(log, info)
    if info.key_id:
        return SealedTarget(logs, ranges, info, keys)
    return native.make_target(
        logs, ranges, record_size_max=info.max_record_size, sync=info.durability == "sync", terms=info.terms + 1
    )


def hold_to(log: native.Log, info: StreamInfo) -> None:
    """Let nothing in that was put together under older settings of the stream than these."""
    if info.terms and log.terms <= info.terms:  # a control file begins with none, and so does a stream
        log.raise_terms(info.terms + 1)


def append(
    log: native.Log,
    info: StreamInfo,
    keys: StreamKeys,
    entries: Sequence[tuple[Any, Any, Any]],
    blocks: Sequence[bytes | None],
    expected_tail: int = 0,
) -> Appended:
    """Append checked entries to one log as one batch, encrypted where the stream is; published, not yet durable.

    Raises SettingsChangedError where `info` is out of date, TailMismatchError, KeyUnavailableError.
    """
    hold_to(log, info)
    terms = info.terms + 1
    if not info.key_id:
        return log.append(entries, expected_tail=expected_tail, attributes=blocks, terms=terms)
    sealed = [keys.seal(info, entry, block) for entry, block in zip(entries, blocks, strict=True)]
    return _append(log, sealed, terms, expected_tail)


def _append(log: native.Log, sealed: Sequence[Sealed], terms: int, expected_tail: int = 0) -> Appended:
    return log.append(
        [item.entry for item in sealed],
        attributes=[item.attributes for item in sealed],
        seals=[item.seal for item in sealed],
        expected_tail=expected_tail,
        terms=terms,
    )


class SealedTarget:
    """The open shards of an encrypted stream as one place to put records. Any thread; as the catalog was once."""

    def __init__(
        self, logs: Sequence[native.Log], ranges: Sequence[HashRange], info: StreamInfo, keys: StreamKeys
    ) -> None:
        keys.cipher(info.key_id)  # a key that is not there is told before the first put
        self._logs, self._ranges = logs, ranges
        self._info, self._keys = info, keys
        self._sync = info.durability == "sync"

    def put_record(
        self,
        data: Any,
        partition_key: str | None,
        explicit_hash_key: int | None = None,
        attribute_block: bytes | None = None,
        sync: bool = False,
    ) -> PutResult:
        """Encrypt and append one record to the shard of its key; durable at return if the stream or the call says
        sync.
        """
        entry = (data, partition_key, explicit_hash_key)
        log = self._logs[self._checked(entry, -1)]
        appended = append(log, self._info, self._keys, [entry], [attribute_block])
        if sync or self._sync:
            log.sync(appended.end_position)
        return _results(log, appended)[0]

    def try_put_record(self, data: Any, partition_key: str | None, explicit_hash_key: int | None = None) -> None:
        """None: what is encrypted here is put by those who may wait."""

    def put_records(
        self, entries: Iterable[Any], attribute_blocks: Iterable[bytes | None] | None = None, sync: bool = False
    ) -> PutResults:
        """Encrypt and append entries, in order within each shard; all are checked before one is written.

        Where a shard fails, PartialPutError has a PutResult or an exception for each entry.
        """
        pairs = [attributes.normalize(entry, index) for index, entry in enumerate(entries)]
        blocks = [block for _, block in pairs] if attribute_blocks is None else list(attribute_blocks)
        shares: dict[int, list[int]] = {}
        for index, (entry, _) in enumerate(pairs):
            shares.setdefault(self._checked(entry, index), []).append(index)
        outcomes: list[Any] = [None] * len(pairs)
        written: list[tuple[native.Log, Appended, list[int]]] = []
        for place, indexes in sorted(shares.items()):
            log = self._logs[place]
            try:
                chosen = [pairs[index][0] for index in indexes]
                appended = append(log, self._info, self._keys, chosen, [blocks[index] for index in indexes])
            except StreamStoreError as failure:
                _note(outcomes, indexes, [failure] * len(indexes))
            else:
                _note(outcomes, indexes, _results(log, appended))
                written.append((log, appended, indexes))
        for log, appended, indexes in written if sync or self._sync else ():
            try:
                log.sync(appended.end_position)
            except StreamStoreError as failure:
                _note(outcomes, indexes, [failure] * len(indexes))
        return native.whole_results(outcomes)

    def _checked(self, entry: tuple[Any, Any, Any], index: int) -> int:
        """The place in `logs` of the shard that an entry goes to."""
        attributes.check(entry, index, self._info.max_record_size)
        if len(self._logs) == 1:
            return 0
        _, key, hash_key = entry
        if hash_key is None:
            if key is None:
                where = f"entry {index}: " if index >= 0 else ""
                raise InvalidArgumentError(f"{where}partition_key is None: give explicit_hash_key to place the record")
            hash_key = routing.hash_key(key)
        return routing.route(self._ranges, hash_key)


def _results(log: native.Log, appended: Appended) -> list[PutResult]:
    return [
        native.make_put_result(log.shard_id, log.shard_index, appended.epoch, position, appended.arrival_us)
        for position in appended.positions
    ]


def _note(outcomes: list[Any], indexes: Sequence[int], found: Sequence[Any]) -> None:
    for index, outcome in zip(indexes, found, strict=True):
        outcomes[index] = outcome
