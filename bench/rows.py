"""Every row there is: its id, where it is printed, its unit and its bar. Bars stand here and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass

from streamstore.bench.result import AT_LEAST, AT_MOST, Bar

MIB = 1 << 20
GIB = 1 << 30


@dataclass(frozen=True)
class Row:
    """One row as declared; what is measured fills in the rest. `note` says how to read it."""

    id: str
    group: str
    title: str
    unit: str = "x"
    bar: Bar | None = None
    record_bytes: int = 100
    note: str = ""


def at_least(value: float) -> Bar:
    """Return the bar that a row must reach."""
    return Bar(AT_LEAST, value)


def at_most(value: float) -> Bar:
    """Return the bar that a row must stay under."""
    return Bar(AT_MOST, value)


WRITING = [
    Row("put_record", "write", "put_record, one thread; LMDB put per transaction", bar=at_least(2)),
    Row("put_records.1_shard", "write", "put_records of 500, 1 shard; LMDB 500 puts per transaction", bar=at_least(3)),
    Row(
        "put_records.16_shards",
        "write",
        "put_records of 500, 16 shards; LMDB 500 puts per transaction",
        bar=at_least(2),
    ),
    Row("put_records.putmulti", "write", "put_records of 500, 1 shard; LMDB 500 by Cursor.putmulti"),
    Row("put_record.interval", "write", "put_record, one thread, interval; LMDB put per transaction"),
]
READING = [
    Row("read.records", "read", "read from the start, .data of every Record; LMDB cursor", bar=at_least(1)),
    Row("read.untouched", "read", "read from the start, Records not looked at; LMDB cursor"),
    Row("read.arrow", "read", "read from the start as Arrow, numbers as integers; LMDB cursor", bar=at_least(3)),
    *(
        Row(
            f"replay.{by}",
            "read",
            f"replay flat out by {what}, 4 shards, to nowhere; reading the stream, Records not looked at",
            bar=at_least(0.5),
        )
        for by, what in (("arrival", "arrival"), ("event", "event time"))
    ),
]
FLOOR_OF_BATCH = "put_records of 500, one shard; pwrite + fdatasync of the same bytes"
SYNC = [
    Row("put_record.sync", "sync", "put_record, one thread; pwrite + fdatasync of the same bytes", bar=at_least(0.8)),
    Row("put_record.sync.16_threads", "sync", "put_record, 16 threads; one thread", bar=at_least(3)),
    Row("put_record.sync.group", "sync", "puts made durable by one sync, 16 threads", "puts", at_least(6)),
    Row("put_records.sync", "sync", "put_records of 500, one shard; SQLite 500 per transaction", bar=at_least(5)),
    Row("put_records.sync.floor", "sync", FLOOR_OF_BATCH),
]
CORE = [
    Row(
        "core.append",
        "core",
        "append of 1 KB in C; memcpy + checksum into a populated mapping",
        "x",
        at_least(0.5),
        1024,
    ),
    Row("core.append_batch", "core", "append of 500 x 1 KB in C; memcpy + checksum likewise", record_bytes=1024),
]
LATENCY = [
    Row(
        "tail", "latency", "put in one process to read in another, waiting, p50; half a pipe round trip", bar=at_most(2)
    ),
    Row("tail.p99", "latency", "the same at p99"),
    Row("tail.two_cores", "latency", "the same at p50, the two processes held on two cores"),
    Row(
        "replay.timing",
        "latency",
        "replay at 3600x, 10,000 records/s with random gaps: how late they are, p50",
        "s",
        at_most(1e-3),
    ),
    Row("replay.timing.p99", "latency", "the same at p99", "s", at_most(5e-3)),
    Row(
        "replay.gaps",
        "latency",
        "gaps of a stream captured, replayed to another server and captured again; of the first capture, p50",
        "s",
        at_most(1e-3),
        note="The API tells arrival times in whole milliseconds, and so do both captures.",
    ),
    Row("replay.gaps.p99", "latency", "the same at p99", "s", at_most(5e-3)),
]
RECOVERY = [
    Row("get", "recovery", "shard.get, warm, in the large store", "s", at_most(5e-6), 1024),
    Row("get.flat", "recovery", "shard.get, large store over small store", "x", at_most(1.5), 1024),
    Row("open", "recovery", "open after kill -9, large store", "s", at_most(0.1), 1024),
    Row("open.flat", "recovery", "open after kill -9, large store over small store", "x", at_most(2), 1024),
    Row("touch", "recovery", "first read and first put of a shard after kill -9, large store", "s", at_most(0.2), 1024),
    Row("touch.flat", "recovery", "first touch after kill -9, large store over small store", "x", at_most(2), 1024),
]
BACKUP = [
    Row("snapshot", "recovery", "snapshot by hard links, large store, one shard", "s", at_most(2), 1024),
    Row("verify", "recovery", "verify, large store, cold; reading its files", bar=at_least(0.5), record_bytes=1024),
    Row("seek.time", "recovery", "seek by time, warm, in the large store", "s", at_most(1e-3), 1024),
]
COMPACTION = [
    Row(
        "compaction.read",
        "read",
        "read a compacted stream, .data of every Record; the same stream plain",
        bar=at_least(0.33),
    ),
    Row("compaction.append", "write", "p99.9 of put_record while compaction runs; while it does not", bar=at_most(1.2)),
    Row(
        "compaction.ratio",
        "write",
        "bytes of a web server's log, keys and frames; of its compacted files",
        bar=at_least(3),
    ),
]
MEMORY = [
    Row(
        f"memory.{name}",
        "memory",
        f"private memory (peak RssAnon) of the {who} process",
        "bytes",
        at_most(64 * MIB),
        1024,
    )
    for name, who in (("write", "writing"), ("read", "reading"))
]


def _scale(name: str, what: str) -> list[Row]:
    return [
        Row(f"scale.{name}.create", "scale", f"{what}: create", "s"),
        Row(f"scale.{name}.put", "scale", f"{what}: one put to each", "s"),
        Row(f"scale.{name}.open", "scale", f"{what}: open", "s", at_most(0.1)),
        Row(f"scale.{name}.read", "scale", f"{what}: read all", "s"),
        Row(f"scale.{name}.descriptors", "scale", f"{what}: open descriptors, at most", "", at_most(1023)),
        Row(f"scale.{name}.disk", "scale", f"{what}: disk space, one small record each", "bytes", at_most(GIB)),
    ]


SCALE = [*_scale("streams", "many streams of 1 shard"), *_scale("shards", "1 stream of many shards")]
RIVAL_QUEUES = ("persist_files", "litequeue", "rocksdb", "persist_sqlite", "rocksdb_sync", "sqlite_sync")
QUEUES = [
    Row(f"queues.{name}.{what}", "queues", f"{title}, one at a time")
    for name in RIVAL_QUEUES
    for what, title in (("put", "put"), ("get", "take or read back"))
]
WORK = [
    Row("work.litequeue.one", "work", "put + get + ack, one at a time; litequeue put + pop + done", bar=at_least(10)),
    Row("work.persist.one", "work", "put + get + ack, one at a time; SQLiteAckQueue put + get + ack", bar=at_least(20)),
    Row("work.litequeue.batch", "work", "put + get + ack in batches of 100; litequeue", bar=at_least(50)),
    Row("work.persist.batch", "work", "put + get + ack in batches of 100; SQLiteAckQueue", bar=at_least(50)),
    Row("work.litequeue.sync", "work", "put + get + ack, synced, 8 threads; litequeue, synced", bar=at_least(3)),
    Row("work.persist.sync", "work", "put + get + ack, synced, 8 threads; SQLiteAckQueue, synced", bar=at_least(3)),
    Row(
        "work.hand_over",
        "work",
        "put to a worker that waits in another process, p50; half a pipe round trip",
        bar=at_most(2),
    ),
    Row("work.waiting", "work", "1,000 threads that wait in one process", "cores", at_most(0.01)),
    Row("work.history.open", "work", "open to first message after kill -9, a history behind it", "s", at_most(0.2)),
    Row(
        "work.history.memory", "work", "memory (RssAnon) of that process; of one whose queue is new", bar=at_most(1.25)
    ),
    Row("work.history.disk", "work", "disk space of a queue once all is acknowledged", "bytes", at_most(MIB)),
]
_CALLS = {"put_records": "PutRecords of 500", "get_records": "GetRecords of 1,000", "put_record": "PutRecord"}
_WIRE_BARS = {"put_records": 15, "get_records": 10, "put_record": 3}
HTTP = [
    *(
        Row(f"http.{name}{kind}", "http", f"{title} over HTTP, 8 connections{mode}; kinesalite", bar=bar)
        for name, title in _CALLS.items()
        for kind, mode, bar in (("", "", at_least(_WIRE_BARS[name])), (".sync", ", sync", None))
    ),
    *(
        Row(f"boto3.{door}.{name}", "http", f"{title} by boto3 {where}; a constant answer", bar=at_most(1.3))
        for door, where in (("http", "over HTTP"), ("process", "in process"))
        for name, title in _CALLS.items()
    ),
    Row("serve.start", "http", "from `streamstore serve` to its ready line", "s", at_most(0.5)),
    Row("serve.idle", "http", "private memory (RssAnon) of the server, idle", "bytes", at_most(80_000_000)),
    Row("serve.volume", "http", "the same while records pass, peak", "bytes", at_most(200_000_000), 1000),
]
PRODUCER = [
    Row(
        "producer.embedded",
        "producer",
        "Producer into an embedded stream, 4 shards",
        "records/s",
        at_least(500_000),
    ),
    Row(
        "producer.server",
        "producer",
        "Producer through `streamstore serve`, 4 shards",
        "records/s",
        at_least(100_000),
    ),
    Row("aggregate", "producer", "records into aggregates; aws-kinesis-agg", bar=at_least(10)),
    Row("deaggregate", "producer", "aggregates into user records; hashlib.md5 of the same bytes", bar=at_least(0.5)),
]
ROWS = {
    row.id: row
    for row in [
        *WRITING,
        *READING,
        *SYNC,
        *CORE,
        *LATENCY,
        *RECOVERY,
        *BACKUP,
        *COMPACTION,
        *MEMORY,
        *SCALE,
        *WORK,
        *HTTP,
        *PRODUCER,
        *QUEUES,
    ]
}
