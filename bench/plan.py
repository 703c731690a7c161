"""How much each run does: the sizes of quick and full mode, side by side. Bars do not depend on the mode."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

MB = 1_000_000
GB = 1_000_000_000


@dataclass(frozen=True)
class Plan:
    """The sizes of one run; `directory` is where every store of it goes."""

    mode: str
    directory: Path
    rounds: int
    warm_rounds: int
    puts: int  # records a round, one at a time
    batched: int  # records a round, in batches of 500
    reads: int  # records read in a round
    sync_puts: int  # records a round, each synced
    sync_batches: int  # batches of 500 a round, each synced
    pings: int  # hand-overs a round between two processes
    queue_puts: int
    history: int  # messages that went through a queue
    gets: int
    kills: int
    small_bytes: int  # "flat from small to large"
    large_bytes: int
    streams: int
    shards: int
    replay_seconds: float  # a replay of so long, at so many records a second as its rows say
    http_rounds: int
    http_seconds: float  # of load a round
    http_calls: int  # of PutRecord through boto3 a round; of batches a fiftieth
    http_bytes: int  # through the server whose memory is watched
    warm_bytes: int  # memory touched before anything is timed


def plan(mode: str, directory: Path) -> Plan:
    """Return the sizes of "quick" (under two minutes) or "full"."""
    if mode == "quick":
        return Plan(
            mode, directory, rounds=7, warm_rounds=2, puts=50_000, batched=100_000, reads=300_000, sync_puts=200,
            sync_batches=40, pings=300, queue_puts=2_000, history=100_000, gets=1_000, kills=3, small_bytes=100 * MB,
            large_bytes=GB, streams=100, shards=1_000, replay_seconds=1, http_rounds=3, http_seconds=1,
            http_calls=200, http_bytes=200 * MB, warm_bytes=6 * GB,
        )  # fmt: skip
    return Plan(
        mode, directory, rounds=15, warm_rounds=3, puts=100_000, batched=200_000, reads=1_000_000, sync_puts=500,
        sync_batches=100, pings=1_000, queue_puts=10_000, history=1_000_000, gets=2_000, kills=5, small_bytes=GB,
        large_bytes=10 * GB, streams=1_000, shards=10_000, replay_seconds=3, http_rounds=7, http_seconds=3,
        http_calls=500, http_bytes=10 * GB, warm_bytes=14 * GB,
    )  # fmt: skip
