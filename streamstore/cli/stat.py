"""`stat`: sizes, rates, who holds what, waiters and sync latency, read from the control page without disturbing
anybody.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from streamstore.cli.arguments import (
    directory_argument,
    json_option,
    open_to_read,
    optional_stream_argument,
)
from streamstore.cli.output import duration_text, iso_us, note, print_facts, print_json, print_table, size_text

Stats = dict[str, Any]


@click.command()
@directory_argument
@optional_stream_argument
@click.option(
    "--interval",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    help="Seconds over which rates are taken; 0 for none.",
)
@click.option("--watch", is_flag=True, help="Again and again, until Ctrl-C.")
@json_option
def stat(directory: Path, stream: str | None, interval: float, watch: bool, as_json: bool) -> None:
    """Show the state of a store and of the shards of STREAM (or of all streams).

    \b
    Sizes, rates, dirty bytes (published, not known durable), who is attached and who holds an
    append lock or syncs, who waits, how long syncs take, what deleted files still pin.
    Examples:
      streamstore stat data/
      streamstore stat data/ clicks --watch
    """
    with open_to_read(directory) as store:
        before, since = store.stats(stream), time.monotonic()
        while True:
            time.sleep(max(interval, 0.1) if watch else interval)
            after, now = store.stats(stream), time.monotonic()
            document = _document(directory, before, after, now - since)
            if as_json:
                print_json(document)
            else:
                _print(document, clear=watch)
            sys.stdout.flush()
            if not watch:
                return
            before, since = after, now


def _shards(stats: Stats) -> dict[tuple[str, str], Stats]:
    return {(stream["name"], shard["shard_id"]): shard for stream in stats["streams"] for shard in stream["shards"]}


def _document(directory: Path, before: Stats, after: Stats, seconds: float) -> dict[str, Any]:
    pids = {process["slot"]: process["pid"] for process in after["processes"]}
    earlier = _shards(before)
    rows = [_row(*key, earlier.get(key, now), now, seconds, pids) for key, now in _shards(after).items()]
    return {
        "directory": str(directory),
        "store_id": after["store_id"],
        "incarnation": after["incarnation"],
        "frozen_view": bool(after["private_recovery"]),
        "poisoned_errno": after["poison"],
        "interval_s": round(seconds, 3),
        "clock_jump_s": round(after["clock_jump_us"] / 1e6, 1),
        "clock_trusted": after["clock_trusted"],
        "maintained": iso_us(after["maintained_us"]) if after["maintained_us"] else None,
        "disk_bytes": disk_bytes(directory),
        "pinned_bytes": sum(pinned_bytes(directory, pid) or 0 for pid in pids.values()),
        "processes": [_process(process, rows) for process in after["processes"]],
        "streams": [{key: value for key, value in stream.items() if key != "shards"} for stream in after["streams"]],
        "shards": rows,
    }


def _row(stream: str, shard: str, before: Stats, now: Stats, seconds: float, pids: dict[int, int]) -> dict[str, Any]:
    syncs = now["sync_count"] - before["sync_count"]
    sync_us = now["sync_total_us"] - before["sync_total_us"]
    puts = now["synced_puts"]
    return {
        "stream": stream,
        "shard_id": shard,
        "records": now["record_count"] - now["start_record_count"],
        "bytes": now["bytes"],
        "segments": now["segment_count"],
        "compacted_segments": now["compacted_segments"],
        "compaction_ratio": _ratio(now["compacted_bytes"], now["compacted_file_bytes"]),
        "disk_bytes": now["disk_bytes"],
        "dirty_bytes": now["dirty_bytes"],
        "records_per_s": round((now["record_count"] - before["record_count"]) / seconds, 1) if seconds else None,
        "bytes_per_s": round((now["tail"] - before["tail"]) / seconds, 1) if seconds else None,
        "syncs_per_s": round(syncs / seconds, 1) if seconds else None,
        "sync_mean_us": round(sync_us / syncs) if syncs else _mean(now["sync_total_us"], now["sync_count"]),
        "sync_max_us": now["sync_max_us"],
        "mean_group": round(puts / now["sync_count"], 2) if now["sync_count"] else None,
        "lock_pid": pids.get(now["lock_slot"]) if now["lock_slot"] else None,
        "sync_pid": pids.get(now["sync_slot"]) if now["sync_slot"] else None,
        "readers_wait": bool(now["tail_waiters"]),
        "writers_wait": bool(now["durable_waiters"]),
        "last_arrival": iso_us(now["last_arrival_us"]) if now["last_arrival_us"] else None,
        "closed": bool(now["closed"]),
    }


def _ratio(log_bytes: int, file_bytes: int) -> float | None:
    return round(log_bytes / file_bytes, 2) if file_bytes else None


def _mean(total: int, count: int) -> int | None:
    return round(total / count) if count else None


def _process(process: dict[str, int], rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    pid = process["pid"]
    held = [f"{row['stream']}/{row['shard_id']}" for row in rows if row["lock_pid"] == pid]
    syncing = [f"{row['stream']}/{row['shard_id']}" for row in rows if row["sync_pid"] == pid]
    return {
        "pid": pid,
        "slot": process["slot"],
        "alive": bool(process["alive"]),
        "attached": iso_us(process["attached_us"]),
        "command": _command(pid),
        "locks": held,
        "syncs": syncing,
    }


def _command(pid: int) -> str | None:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return None


def disk_bytes(directory: Path) -> int:
    """What the files under `directory` take on the disk."""
    total = 0
    for path in directory.rglob("*"):
        try:
            total += path.lstat().st_blocks * 512
        except OSError:  # gone meanwhile
            continue
    return total


def pinned_bytes(directory: Path, pid: int) -> int | None:
    """What deleted files of the store still take because process `pid` holds them; None where we may not look."""
    root = str(directory.resolve()) + "/"
    sizes: dict[tuple[int, int], int] = {}
    try:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            if _is_pinned(link, root):
                status = link.stat()
                sizes[status.st_dev, status.st_ino] = status.st_blocks * 512
        for link in Path(f"/proc/{pid}/map_files").iterdir():
            if _is_pinned(link, root):
                status = link.stat()
                sizes[status.st_dev, status.st_ino] = status.st_blocks * 512
    except OSError:
        return sum(sizes.values()) if sizes else None
    return sum(sizes.values())


def _is_pinned(link: Path, root: str) -> bool:
    try:
        target = str(link.readlink())
    except OSError:
        return False
    return target.startswith(root) and target.endswith(" (deleted)")


def _print(document: dict[str, Any], *, clear: bool) -> None:
    if clear and sys.stdout.isatty():
        sys.stdout.write("\x1b[2J\x1b[H")
    if document["poisoned_errno"]:
        note("a sync failed: nothing is acknowledged until every process has closed the store and one opens it again")
    if not document["clock_trusted"]:
        note(
            "the wall clock jumped, so nothing is trimmed; `streamstore maintain --accept-clock` says that it is right"
        )
    for each in document["streams"]:
        if each["max_bytes"]:
            full = f"{size_text(each['kept_bytes'])} of at most {size_text(each['max_bytes'])}"
            note(f"{each['name']} keeps {full}; on full: {each['on_full']}")
    print_facts(
        [
            ("store", f"{document['directory']}  (id {document['store_id']}, incarnation {document['incarnation']})"),
            ("on disk", size_text(document["disk_bytes"])),
            ("pinned", f"{size_text(document['pinned_bytes'])} of deleted files that a process still holds"),
            ("view", "frozen: nobody has the store open" if document["frozen_view"] else "live"),
            ("maintained", document["maintained"] or "never"),
        ]
    )
    print()
    if document["processes"]:
        rows = [
            [
                each["pid"],
                each["command"],
                each["slot"],
                "alive" if each["alive"] else "dead",
                each["attached"],
                ", ".join(each["locks"]),
                ", ".join(each["syncs"]),
            ]
            for each in document["processes"]
        ]
        print_table(["PID", "COMMAND", "SLOT", "STATE", "ATTACHED", "HOLDS", "SYNCS"], rows)
        print()
    columns = [
        "STREAM",
        "SHARD",
        "RECORDS",
        "SIZE",
        "ON DISK",
        "SEGMENTS",
        "COMPACTED",
        "DIRTY",
        "RECORDS/S",
        "BYTES/S",
        "SYNCS/S",
        "SYNC MEAN",
        "SYNC MAX",
        "GROUP",
        "WAITING",
        "LOCK",
    ]
    print_table(columns, [_cells(row) for row in document["shards"]], right=columns[2:14])


def _cells(row: dict[str, Any]) -> list[Any]:
    waiting = [name for name, waits in (("readers", row["readers_wait"]), ("writers", row["writers_wait"])) if waits]
    mean, largest = row["sync_mean_us"], row["sync_max_us"]
    return [
        row["stream"],
        int(row["shard_id"].rpartition("-")[2]),
        f"{row['records']:,}",
        size_text(row["bytes"]),
        size_text(row["disk_bytes"]),
        row["segments"],
        f"{row['compacted_segments']}, {row['compaction_ratio']}x" if row["compaction_ratio"] else None,
        size_text(row["dirty_bytes"]),
        None if row["records_per_s"] is None else f"{row['records_per_s']:,.0f}",
        None if row["bytes_per_s"] is None else size_text(row["bytes_per_s"]),
        None if row["syncs_per_s"] is None else f"{row['syncs_per_s']:,.0f}",
        None if mean is None else duration_text(mean / 1e6),
        duration_text(largest / 1e6) if largest else None,
        row["mean_group"],
        ", ".join(waiting) or None,
        row["lock_pid"],
    ]
