"""PutRecord and PutRecords: where a record goes, what is refused before a byte moves, and what each entry comes to."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from streamstore import InvalidArgumentError, PartialPutError, RecordTooLargeError, Stream, StreamStoreError, routing
from streamstore.kinesis import errors, sequence
from streamstore.kinesis.call import Call, Request
from streamstore.kinesis.shortcuts import Entries, Entry
from streamstore.kinesis.values import ResultList
from streamstore.limits import HASH_KEY_END
from streamstore.native import PutResults

BATCH_SIZE_MAX = 10 << 20


def put_record(call: Call, request: Request) -> dict[str, Any]:
    stream = call.readable(request)
    settings = call.settings(stream)
    entry = _entry(request, settings.distribution == "AUTO", "")
    _check_size(entry, settings.record_size_max(stream), 0)
    if (number := request.get("SequenceNumberForOrdering")) is not None:
        if settings.distribution == "AUTO":
            raise errors.invalid("SequenceNumberForOrdering cannot be used with the AUTO record distribution strategy.")
        if not sequence.is_past(call, stream, number):
            raise errors.invalid(
                f"ExclusiveMinimumSequenceNumber {number} used in PutRecord on stream {stream.name} under account "
                f"{call.account} is invalid."
            )
    if request.get("DryRun"):
        raise errors.dry_run()
    if call.service.throttle is not None and (shard_id := _over_rate(call, stream, entry)):
        raise errors.throttled(shard_id, stream.name, call.account)
    if call.service.faults is not None:
        call.service.faults.check_shard(call, stream, call.lineage(stream).route(_hash_key(entry)))
    try:
        result = stream.put_record(entry[0], entry[1], explicit_hash_key=entry[2])
    except RecordTooLargeError:
        raise errors.too_long(len(entry[0]), "data", stream.info.max_record_size) from None
    answer = {"ShardId": result.shard_id, "SequenceNumber": result.sequence_number}
    return {**answer, "EncryptionType": "KMS"} if settings.key_id else answer


def put_records(call: Call, request: Request) -> dict[str, Any]:
    stream = call.readable(request)
    settings = call.settings(stream)
    entries = _entries(request["Records"], settings.distribution == "AUTO")
    total = _check_sizes(request["Records"], entries, settings.record_size_max(stream))
    if total > BATCH_SIZE_MAX:
        raise errors.invalid("Records size exceeds 10 MB limit")
    if request.get("DryRun"):
        raise errors.dry_run()
    results = _put_all(call, stream, entries)
    whole = isinstance(results, PutResults)
    failed = 0 if whole else sum(isinstance(item, errors.ServiceError) for item in results)
    answer: dict[str, Any] = {"FailedRecordCount": failed, "Records": ResultList(results)}
    return {**answer, "EncryptionType": "KMS"} if settings.key_id else answer


def _entry(item: Request, auto: bool, path: str) -> Entry:
    key, text = item.get("PartitionKey"), item.get("ExplicitHashKey")
    explicit = None
    if text is not None:
        explicit = int(text)
        if explicit >= HASH_KEY_END:
            raise errors.invalid(
                "Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, 2^128-1]. "
                f"Specified value was {text}"
            )
    if auto:
        explicit = random.getrandbits(128)
    elif key is None:
        raise errors.validation([errors.constraint("null", f"{path}partitionKey", "Member must not be null")])
    return item["Data"], key, explicit


def _check_size(entry: Entry, high: int, place: int) -> int:
    """The bytes of data and key together; ValidationException where they are over the stream's limit."""
    key = entry[1]
    size = len(entry[0]) + (0 if key is None else len(key) if key.isascii() else len(key.encode()))
    if size > high:
        raise errors.too_long(size, f"records.{place}.member.data" if place else "data", high)
    return size


def _check_sizes(items: Sequence[Any], entries: Sequence[Entry], high: int) -> int:
    if isinstance(items, Entries) and items.largest <= high:
        return items.total
    return sum(_check_size(entry, high, place) for place, entry in enumerate(entries, 1))


def _entries(items: Sequence[Any], auto: bool) -> Sequence[Entry]:
    if isinstance(items, Entries):
        return [(data, key, random.getrandbits(128)) for data, key, _ in items] if auto else items
    return [_entry(item, auto, f"records.{place}.member.") for place, item in enumerate(items, 1)]


def _hash_key(entry: Entry) -> int:
    return routing.hash_key(entry[1] or "") if entry[2] is None else entry[2]


def _over_rate(call: Call, stream: Stream, entry: Entry) -> str:
    """The id of the record's shard where its rate is used up, else nothing."""
    throttle = call.service.throttle
    assert throttle is not None
    index = call.lineage(stream).route(_hash_key(entry))
    if throttle.put(stream.info.id, index, len(entry[0]) + len((entry[1] or "").encode()), call.now_us):
        return ""
    return routing.shard_id(index)


def _put_all(call: Call, stream: Stream, entries: Sequence[Entry]) -> Sequence[Any]:
    """What each entry came to: a PutResult or a ServiceError."""
    if call.service.throttle is None and call.service.faults is None:
        return _store(stream, entries)
    results: list[Any] = [None] * len(entries)
    waiting = list(range(len(entries)))
    if call.service.throttle is not None:
        passed = []
        for place in waiting:
            if shard_id := _over_rate(call, stream, entries[place]):
                results[place] = errors.throttled(shard_id, stream.name, call.account)
            else:
                passed.append(place)
        waiting = passed
    if call.service.faults is not None:
        waiting = call.service.faults.drop(call, stream, entries, waiting, results)
    if waiting:
        for place, item in zip(waiting, _store(stream, [entries[place] for place in waiting]), strict=True):
            results[place] = item
    return results


def _store(stream: Stream, entries: Sequence[Entry]) -> Sequence[Any]:
    try:
        return stream.put_records(entries)
    except PartialPutError as error:
        return [errors.from_store(item) if isinstance(item, StreamStoreError) else item for item in error.results]
    except RecordTooLargeError as error:
        raise errors.refused(str(error)) from None
    except InvalidArgumentError as error:
        raise errors.invalid(str(error)) from None
