"""What the API keeps of a stream and the store has no use for: tags, mode, consumers, policy, monitoring.

One map per stream in the catalog, under the name "kinesis"; keys that this version does not know are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from streamstore import Stream

NAME = "kinesis"
RECORD_SIZE_MAX = 10 << 20


@dataclass
class Settings:
    """The settings of one stream, as they are kept."""

    mode: str = "PROVISIONED"
    tags: dict[str, str] = field(default_factory=dict)
    consumers: dict[str, dict[str, Any]] = field(default_factory=dict)
    policy: str = ""
    metrics: list[str] = field(default_factory=list)
    distribution: str = "USER_PARTITION_KEY"
    warm_mibps: int = 0
    record_kib: int = 0  # 0: the store's own limit, for streams that were not made through the API
    key_id: str = ""
    scalings_us: list[int] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)

    def record_size_max(self, stream: Stream) -> int:
        """The most bytes that data and key of one record may have on the wire."""
        most = min(stream.info.max_record_size, RECORD_SIZE_MAX)
        return min(self.record_kib * 1024, most) if self.record_kib else most

    @classmethod
    def of(cls, stream: Stream) -> Settings:
        """The settings of a stream as the catalog has them now."""
        return cls.from_map(stream.annotation(NAME))

    @classmethod
    def from_map(cls, source: Mapping[str, Any] | None) -> Settings:
        known: dict[str, Any] = {}
        extra: dict[str, Any] = {}
        for name, value in (source or {}).items():
            (known if name in _KNOWN else extra)[name] = value
        # Containers are copied: what the catalog hands out is everybody's.
        copied: dict[str, Any] = {
            name: type(value)(value) if isinstance(value, (dict, list)) else value for name, value in known.items()
        }
        return cls(**copied, extra=extra)

    def to_map(self) -> dict[str, Any]:
        """What `from_map` takes back; what is as it was made is left out."""
        fresh = Settings()
        changed = {name: getattr(self, name) for name in _KNOWN if getattr(self, name) != getattr(fresh, name)}
        return {**self.extra, **changed}


_KNOWN = tuple(name for name in Settings.__dataclass_fields__ if name != "extra")


def change(stream: Stream, edit: Callable[[Settings], object]) -> Settings:
    """Change a stream's settings, durably; `edit` may raise to refuse, and runs again where another was faster."""

    def update(source: Mapping[str, Any] | None) -> Mapping[str, Any]:
        settings = Settings.from_map(source)
        edit(settings)
        return settings.to_map()

    return Settings.from_map(stream.annotate(NAME, update))
