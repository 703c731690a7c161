"""Time as integers: microseconds since 1970 UTC, and their way from and to what people write. Knows nothing of ours.

Bad values raise plain ValueError and TypeError here; the callers above turn them into the package's own errors.
"""

from __future__ import annotations

import ctypes
import math
import time
from datetime import datetime, timedelta, timezone
from functools import partial

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
LAST_US = 253_402_300_799_999_999
"""The last microsecond of the year 9999, behind which there is no datetime."""
_MICROSECOND = timedelta(microseconds=1)
boot_ns = partial(time.clock_gettime_ns, time.CLOCK_BOOTTIME)
"""Nanoseconds of the clock that `boot_us` reads, with no step between: for what is asked every microsecond."""


def now_us() -> int:
    """Microseconds of the wall clock; 0 where it stands before 1970."""
    return max(0, time.time_ns() // 1000)


def to_datetime(us: int) -> datetime:
    """The aware datetime (UTC) at `us`, exact to the microsecond."""
    return EPOCH + timedelta(microseconds=us)


def to_us(value: datetime | int | float) -> int:
    """Microseconds of an aware datetime, or of seconds since 1970.

    Raises ValueError for a naive datetime, a time before 1970 and what is no finite number, TypeError for other types.
    """
    if isinstance(value, datetime):
        if value.tzinfo is None or value.utcoffset() is None:
            raise ValueError(
                f"naive datetime {value!r}: say which time zone it means, for example .replace(tzinfo=timezone.utc)"
            )
        us = (value - EPOCH) // _MICROSECOND
    elif isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"a time is an aware datetime or seconds since 1970, not {type(value).__name__}")
    elif not math.isfinite(value):
        raise ValueError(f"{value!r} is not a time")
    else:
        us = value * 1_000_000 if isinstance(value, int) else round(value * 1_000_000)
    if not 0 <= us <= LAST_US:
        raise ValueError(f"{value!r} lies before 1970 or too far ahead (times are in seconds, not milliseconds)")
    return us


def timeout_us(seconds: float | None) -> int:
    """A relative timeout in microseconds, -1 for none given (wait without limit)."""
    if seconds is None:
        return -1
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise TypeError(f"a timeout is a number of seconds or None, not {type(seconds).__name__}")
    if math.isnan(seconds) or seconds < 0:
        raise ValueError(f"timeout {seconds!r} is negative or no number")
    return -1 if math.isinf(seconds) else round(seconds * 1_000_000)


def monotonic_us() -> int:
    """Microseconds of a clock that never goes back, for timeouts."""
    return time.monotonic_ns() // 1000


def boot_us() -> int:
    """Microseconds of the clock that starts at boot and runs on while the machine sleeps."""
    return boot_ns() // 1000


def boot_id() -> str:
    """What tells this boot of the machine from every other; "" where the system does not say."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def is_synchronised() -> bool:
    """Does the kernel say that something (NTP, a hypervisor) keeps the wall clock right? False where it cannot tell."""
    try:
        adjtimex = ctypes.CDLL(None, use_errno=True).adjtimex
    except (OSError, AttributeError):
        return False
    state = _Timex()  # modes 0: read only
    return adjtimex(ctypes.byref(state)) not in (-1, _TIME_ERROR) and not state.status & _STA_UNSYNC


_TIME_ERROR = 5
_STA_UNSYNC = 0x40


class _Timex(ctypes.Structure):
    """struct timex as far as it is looked at, with room for the rest."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("frequency", ctypes.c_long),
        ("maximum_error", ctypes.c_long),
        ("estimated_error", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    )
