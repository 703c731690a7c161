"""How long and how much a stream keeps: the part of a Stream that says it and changes it, and that makes room.

Knows settings as the catalog has them and what grants do with them; no shard and no record.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from streamstore import grants, limits, native, retention, settings
from streamstore.catalog import Catalog
from streamstore.events import StreamInfo


class Keeper(Protocol):
    """What a stream must have to be kept within bounds."""

    attachment: native.Attachment
    horizon: retention.Horizon

    @property
    def info(self) -> StreamInfo: ...
    @property
    def catalog(self) -> Catalog: ...
    def check(self) -> StreamInfo: ...
    def log(self, index: int) -> native.Log: ...
    def written(self) -> list[int]: ...


class Keeping:
    """What of a Stream has to do with retention and max_bytes."""

    @property
    def retention_hours(self: Keeper) -> int:
        """How long records can be read, as the catalog says now."""
        return settings.current(self.catalog.refresh(), self.info).retention_hours

    @property
    def max_bytes(self: Keeper) -> int | None:
        """How many bytes the stream may keep, as the catalog says now; None for any number."""
        return settings.current(self.catalog.refresh(), self.info).max_bytes or None

    @property
    def on_full(self: Keeper) -> str:
        """What a put does that finds no place within max_bytes: `error`, `drop_oldest` or `block`."""
        return settings.current(self.catalog.refresh(), self.info).on_full

    def kept_us(self: Keeper) -> int:
        """How long records are kept, in microseconds, internal overrides included."""
        info = settings.current(self.catalog.refresh(), self.info)
        return retention.retention_us(info.retention_hours, info.retention_us)

    def set_retention(self: Keeper, hours: int) -> None:
        """Keep records for so many hours from now on, 24 to 8,760; durable at return.

        What falls out is gone for every reader within a second. When the time is raised, records that had fallen out
        come back as far as their files were not dropped yet. Raises InvalidArgumentError, InvalidTypeError,
        StreamNotFoundError, ReadOnlyError, StoreFullError.
        """
        settings.check_int("hours", hours, limits.RETENTION_HOURS_MIN, limits.RETENTION_HOURS_MAX)
        self.catalog.publish("alter", self.info, set={"retention_hours": hours, "retention_us": 0})
        self.horizon.forget()

    def set_limit(self: Keeper, max_bytes: int | None, on_full: str | None = None) -> None:
        """Keep at most so many bytes from now on (None: any number), in every process; durable at return.

        Counted are records with their frames, before compression, from the oldest segment that is kept. `on_full` is
        what a put does that finds no place: "error" raises StreamFullError, "drop_oldest" drops the oldest records of
        the stream, a segment at a time, "block" waits until something was trimmed; None leaves it as it is. Where more
        is kept already, "drop_oldest" comes down to the limit at the next put. Raises InvalidArgumentError,
        InvalidTypeError, StreamNotFoundError, ReadOnlyError, StoreFullError.
        """
        chosen = self.check().on_full if on_full is None else on_full
        values = {"max_bytes": settings.max_bytes(max_bytes), "on_full": settings.on_full(chosen)}
        self.catalog.publish("alter", self.info, set=values)
        grants.renew(self)

    def kept_bytes(self: Keeper) -> int:
        """What the stream keeps, as max_bytes counts it: from the oldest segment that is there."""
        return grants.kept(self, self.check())

    def make_room(self: Keeper, needs: Mapping[int, int]) -> None:
        """Return once each of these shards may take so many bytes more. Raises StreamFullError."""
        grants.make_room(self, needs)

    def ensure_limits(self: Keeper, info: StreamInfo) -> None:
        """Before the first put of an incarnation, or to new shards: none goes without its limit."""
        grants.ensure(self, info)
