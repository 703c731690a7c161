"""The way in for puts: bound to the open shards in C, and bound anew when they are other ones.

A put goes straight through what is bound. One that fails in a way that a new binding may cure (its shard was split or
merged, the process forked) comes back here, with those entries alone that were not written, and goes in again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from streamstore import native, routing, sealed_target
from streamstore.errors import (
    ClosedError,
    ForkedError,
    PartialPutError,
    ReadOnlyError,
    SettingsChangedError,
    ShardClosedError,
    StaleHandleError,
    StreamFullError,
    StreamStoreError,
)
from streamstore.events import StreamInfo
from streamstore.native import PutResult, PutResults
from streamstore.sealing import StreamKeys

CURABLE = (
    ShardClosedError,
    StaleHandleError,
    ForkedError,
    ClosedError,
    StreamFullError,
    SettingsChangedError,
)
"""What a new binding may cure; nothing was written where one of these is raised."""


class DoorHome(Protocol):
    """What the door asks of its stream."""

    attachment: native.Attachment
    keys: StreamKeys

    def check(self) -> StreamInfo: ...
    def log(self, index: int) -> native.Log: ...
    def explain(self, error: StreamStoreError) -> StreamStoreError: ...
    def finish_closed(self, indexes: Iterable[int]) -> None: ...
    def ensure_limits(self, info: StreamInfo) -> None: ...
    def make_room(self, needs: Mapping[int, int]) -> None: ...


class _Binding(NamedTuple):
    """A target, and the shards it was bound to in the order of their hash keys."""

    target: native.Target | sealed_target.SealedTarget
    open: Sequence[int]


class Door:
    """Puts of one stream. `put_record` and `put_records` are what is bound now; who meets CURABLE calls `*_again`."""

    __slots__ = ("__weakref__", "_home", "_lock", "put_record", "put_records", "try_put_record")

    def __init__(self, home: DoorHome) -> None:
        self._home = home
        self.put_record: Callable[..., PutResult] = self._first_put
        self.put_records: Callable[..., PutResults] = self._first_put_many
        self.try_put_record: Callable[..., PutResult | None] = _would_wait
        self._after_fork()
        native.watch_fork(self)

    def _after_fork(self) -> None:
        self._lock = threading.RLock()

    def _first_put(self, *arguments: Any) -> PutResult:
        return self._bind().target.put_record(*arguments)

    def _first_put_many(self, *arguments: Any) -> PutResults:
        return self._bind().target.put_records(*arguments)

    def forget(self) -> None:
        """Bind anew at the next put."""
        self.put_record, self.put_records = self._first_put, self._first_put_many
        self.try_put_record = _would_wait

    def _bind(self) -> _Binding:
        if self._home.attachment.read_only:
            raise ReadOnlyError(f"{self._home.attachment.path} is open read-only")
        with self._lock:
            info = self._home.check()
            shards = info.lineage
            self._home.ensure_limits(info)
            logs = [self._home.log(index) for index in shards.open]
            target = sealed_target.bind(logs, shards.open_ranges, info, self._home.keys)
            self.put_record, self.put_records = target.put_record, target.put_records
            self.try_put_record = target.try_put_record
            return _Binding(target, shards.open)

    def _rebind(self, error: StreamStoreError, tried: _Binding | None) -> _Binding:
        """A new door after a failure that may only mean that the old one is out of date; `tried` was bound after that,
        and failed. Otherwise raises the error that says why.
        """
        if isinstance(error, (ClosedError, StaleHandleError)) or self._home.attachment.read_only:
            self.forget()
            raise self._home.explain(error) from None
        if isinstance(error, ShardClosedError) and tried is not None and self._is_current(tried):
            # A shard ended and nobody said who goes on: somebody is at it or died at it, and it is finished here.
            self._home.finish_closed(tried.open)
            if self._is_current(tried):
                self.forget()
                raise self._home.explain(error) from None
        return self._bind()

    def _is_current(self, binding: _Binding) -> bool:
        return self._home.check().lineage.open == binding.open

    def put_record_again(self, error: StreamStoreError, *arguments: Any) -> PutResult:
        """Put a record that met `error`, of CURABLE; through as many reshards as come in between."""
        binding = None
        while True:
            if isinstance(error, StreamFullError):
                self._make_room([(*arguments[:3],)], [arguments[3]], [0])
            binding = self._rebind(error, binding)
            try:
                return binding.target.put_record(*arguments)
            except CURABLE as failure:
                error = failure

    def _make_room(self, entries: Sequence[Any], blocks: Sequence[Any] | None, places: Sequence[int]) -> None:
        """Have the shards granted what these entries take. Raises StreamFullError."""
        lineage = self._home.check().lineage
        needs: dict[int, int] = {}
        for place in places:
            data, key, hash_key = (*entries[place], None, None)[:3]
            block = blocks[place] if blocks else None
            if len(lineage.open) == 1:
                index = lineage.open[0]
            else:
                index = lineage.route(routing.hash_key(key) if hash_key is None else hash_key)
            needs[index] = needs.get(index, 0) + native.frame_size_max(data, key, block)
        self._home.make_room(needs)

    def put_records_again(
        self, error: StreamStoreError, entries: Sequence[Any], blocks: Sequence[Any] | None, sync: bool
    ) -> PutResults:
        """Put those entries of a batch again which `error`, of CURABLE or a PartialPutError, says were not written for
        a reason of CURABLE. Results are in the order of `entries`.

        Raises PartialPutError where some stay unwritten; the reason itself where nothing was written.
        """
        outcomes: list[Any] = list(error.results) if isinstance(error, PartialPutError) else [error] * len(entries)
        binding = None
        while left := [place for place, outcome in enumerate(outcomes) if isinstance(outcome, CURABLE)]:
            try:
                if full := [place for place in left if isinstance(outcomes[place], StreamFullError)]:
                    self._make_room(entries, blocks, full)
                binding = self._rebind(outcomes[left[0]], binding)
                done = _try(binding, entries, blocks, sync, left)
            except StreamStoreError as failure:
                if len(left) == len(outcomes):
                    raise
                _note(outcomes, left, [failure] * len(left))
                break
            _note(outcomes, left, done)
        return native.whole_results(outcomes)


def _would_wait(*arguments: Any) -> None:
    """What a door says that is not bound yet."""


def _try(
    binding: _Binding, entries: Sequence[Any], blocks: Sequence[Any] | None, sync: bool, places: Sequence[int]
) -> Sequence[Any]:
    """Put the entries at these places: an outcome for each."""
    chosen = [entries[place] for place in places]
    their_blocks = None if blocks is None else [blocks[place] for place in places]
    try:
        return binding.target.put_records(chosen, their_blocks, sync)
    except PartialPutError as partial:
        return partial.results
    except CURABLE as failure:
        return [failure] * len(places)


def _note(outcomes: list[Any], places: Sequence[int], found: Sequence[Any]) -> None:
    for place, outcome in zip(places, found, strict=True):
        outcomes[place] = outcome
