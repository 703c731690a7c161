"""What a run of load is: a frozen value that goes to every process."""

from __future__ import annotations

import math
from dataclasses import dataclass

from streamstore.errors import InvalidArgumentError

WORKLOADS = ("put", "get", "end-to-end", "fan-out", "mixed", "queue")
PAYLOAD_MIN = 16


@dataclass(frozen=True)
class LoadPlan:
    """`rate` records a second in all (0: each thread as fast as it can), in operations of `batch` records.

    `duration` seconds are measured after `warmup` seconds that are not. The load comes from `processes` times `threads`
    threads, each with a connection of its own; `readers` threads read in the workloads that have readers. Operations
    still planned when the time is over are carried out for at most `drain` seconds more. Raises InvalidArgumentError.
    """

    workload: str = "put"
    rate: float = 1000.0
    batch: int = 1
    size: int = 100
    duration: float = 10.0
    warmup: float = 2.0
    drain: float = 10.0
    threads: int = 4
    processes: int = 1
    readers: int = 1
    keys: int = 1000
    prefill: int = 20_000

    def __post_init__(self) -> None:
        whole = {
            "threads": 256,
            "processes": 64,
            "readers": 2000,
            "keys": 10_000_000,
            "batch": 500 if self.workload != "get" else 10_000,
        }
        for name, most in whole.items():
            if not 1 <= getattr(self, name) <= most:
                raise InvalidArgumentError(f"{name} is from 1 to {most:,}, not {getattr(self, name)}")
        for name in ("rate", "warmup", "drain"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise InvalidArgumentError(f"{name} is at least 0, not {getattr(self, name)}")
        if not (math.isfinite(self.duration) and self.duration > 0):
            raise InvalidArgumentError(f"duration is more than 0 seconds, not {self.duration}")
        if not PAYLOAD_MIN <= self.size <= 10 << 20:
            raise InvalidArgumentError(f"size is from {PAYLOAD_MIN} to {10 << 20:,} bytes, not {self.size}")
        if self.workload not in WORKLOADS:
            raise InvalidArgumentError(f"{self.workload!r} is no workload; there are {', '.join(WORKLOADS)}")
        if not 0 <= self.prefill <= 100_000_000:
            raise InvalidArgumentError(f"prefill is at least 0, not {self.prefill}")

    @property
    def open_loop(self) -> bool:
        """Is each operation planned for a moment, whatever became of those before it?"""
        return self.rate > 0

    @property
    def interval(self) -> float:
        """Seconds between two operations of one process."""
        return self.batch * self.processes / self.rate

    def describe(self) -> str:
        """The load in a few words."""
        loop = f"open loop, {self.rate:,.0f} records/s" if self.open_loop else "closed loop"
        workers = f"{self.processes} x {self.threads} threads" if self.processes > 1 else f"{self.threads} threads"
        readers = f", {self.readers} readers" if self.workload in ("end-to-end", "fan-out", "mixed") else ""
        return f"{self.workload}, {loop}, {self.batch} x {self.size} B, {workers}{readers}, {self.duration:g} s"
