"""A fresh `_hot` module over tests/c/fake_core.c, a core of memory that gives any answer on request.

Knows the seam (the function table and `bind`) and nothing of streams. The module is a second instance beside the one
that the package uses, so a test can bind it to whatever it likes.
"""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import msgpack
from compiling import shared_library

# Statuses, and what scripts speak of: as in csrc/status.h and tests/c/fake_core.c.
OK, FULL, CORRUPT, TRIMMED, SHARD_CLOSED, POISONED, CLOSED = 0, 5, 7, 8, 9, 11, 14
INTERRUPTED, WOULD_BLOCK, SMALL = 20, 21, 23
APPEND_TRY, APPEND, SYNC, READ, GET, STATE = range(6)

EPOCH = 1_700_000_000_000_000
FIRST = 64
HEADER = 48


class StatusError(Exception):
    """What the bound `raise_for` raises: (status, context)."""


class PartialError(Exception):
    """What the bound `partial_put` raises: (results,)."""


class ArgumentError(ValueError):
    """Bound as errors["argument"]."""


class ArgumentTypeError(TypeError):
    """Bound as errors["type"]."""


class TooLargeError(ValueError):
    """Bound as errors["too_large"]."""


def raise_for(status: int, context: str) -> NoReturn:
    """Raise a status as it came."""
    raise StatusError(status, context)


def partial_put(results: list[Any]) -> NoReturn:
    """Raise results as they came."""
    raise PartialError(results)


def make_time(us: int) -> datetime:
    """Microseconds since 1970 as an aware time."""
    return datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(microseconds=us)


ERRORS = {"argument": ArgumentError, "type": ArgumentTypeError, "too_large": TooLargeError}


def build(directory: Path) -> ctypes.CDLL:
    """Compile fake_core.c and load it. Skips the test where there is no C compiler."""
    core = ctypes.CDLL(str(shared_library("fake_core.c", directory / "libfake_core.so")))
    address, number, signed = ctypes.c_void_p, ctypes.c_uint64, ctypes.c_int
    for name, result, arguments in (
        ("log_new", address, []),
        ("log_free", None, [address]),
        ("script", None, [address, signed, signed, signed]),
        ("gate", None, [address, signed, signed]),
        ("waiting", signed, [address]),
        ("calls", signed, [address, signed]),
        ("synced", number, [address]),
        ("count", number, [address]),
        ("damage", None, [address, number, number]),
        ("close", None, [address]),
        ("seal", None, [address]),
        ("ranges_new", address, [ctypes.c_uint32, signed]),
        ("ranges_free", None, [address]),
        ("functions", address, []),
        ("functions_of_another_build", address, []),
    ):
        function = getattr(core, f"fake_core_{name}")
        function.restype, function.argtypes = result, arguments
    return core


def fresh_module() -> ModuleType:
    """A new instance of streamstore._hot, not yet bound and not in sys.modules."""
    spec = importlib.util.find_spec("streamstore._hot")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Log:
    """One log of the fake core."""

    def __init__(self, core: ctypes.CDLL) -> None:
        self._core = core
        self.address: int = core.fake_core_log_new()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        function = getattr(self._core, f"fake_core_{name}")
        return lambda *arguments: function(self.address, *arguments)

    def __del__(self) -> None:
        self._core.fake_core_log_free(self.address)


class Ranges:
    """A routing table of the fake core: FNV-1a of the key, modulo the number of shards."""

    def __init__(self, core: ctypes.CDLL, count: int, *, broken: bool = False) -> None:
        self._core = core
        self.address: int = core.fake_core_ranges_new(count, int(broken))

    def __del__(self) -> None:
        self._core.fake_core_ranges_free(self.address)


def route(key: str | int, count: int) -> int:
    """The shard that Ranges gives to a partition key, or to an explicit hash key."""
    value = 0xCBF29CE484222325
    if isinstance(key, int):
        value = key >> 64
    else:
        for byte in key.encode():
            value = (value ^ byte) * 0x100000001B3 & (1 << 64) - 1
    return value % count


class Fake:
    """A bound module, and logs to use it on."""

    def __init__(self, core: ctypes.CDLL, raise_for: Callable[[int, str], NoReturn] = raise_for) -> None:
        self.core = core
        self.hot: Any = fresh_module()
        self.hot.bind(self.core.fake_core_functions(), raise_for, msgpack.unpackb, make_time, partial_put, ERRORS)

    def log(self) -> Log:
        """A new, empty log."""
        return Log(self.core)

    def target(self, *logs: Log, record_size_max: int = 1 << 20, sync: bool = False, broken: bool = False) -> Any:
        """A Target over the logs; shard i is called shard-i and has index 100 + i."""
        ranges = Ranges(self.core, len(logs), broken=broken) if len(logs) > 1 else None
        return self.hot.Target(
            ranges.address if ranges else 0,
            [log.address for log in logs],
            [100 + i for i in range(len(logs))],
            [f"shard-{i}" for i in range(len(logs))],
            record_size_max,
            sync,
            (ranges, logs),
        )

    def read(self, log: Log, position: int = FIRST, end: int = 0, limit: int = 1000, buffer_size: int = 1 << 16) -> Any:
        """The tuple that _hot.read gives for shard-0."""
        return self.hot.read(log.address, 100, "shard-0", position, end, limit, buffer_size)

    def get(self, log: Log, position: int = FIRST, epoch: int = EPOCH) -> Any:
        """The Record that _hot.get gives for shard-0, or None."""
        return self.hot.get(log.address, 100, "shard-0", position, epoch)

    def records(self, log: Log, **options: int) -> list[Any]:
        """The records of one read."""
        result = self.read(log, **options)
        assert result[4] == OK
        records: list[Any] = result[0]
        return records

    def put(self, log: Log, *entries: tuple[Any, ...], attribute_blocks: list[bytes | None] | None = None) -> Any:
        """Put entries into one log."""
        return self.target(log).put_records(entries, attribute_blocks)

    def put_one(
        self,
        door: str,
        log: Log,
        data: Any,
        key: Any = "k",
        hash_key: Any = None,
        block: Any = None,
        *,
        sync: bool = False,
        record_size_max: int = 1 << 20,
    ) -> Any:
        """Put one record by put_record ("one") or by put_records ("batch"); its PutResult."""
        target = self.target(log, record_size_max=record_size_max)
        if door == "one":
            return target.put_record(data, key, hash_key, block, sync)
        return target.put_records([(data, key, hash_key)], [block], sync)[0]
