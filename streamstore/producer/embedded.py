"""An embedded stream as a target: aggregates go into the very shard that they were made for, or nowhere."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress

from streamstore import (
    InvalidArgumentError,
    PartialPutError,
    PutResult,
    RecordTooLargeError,
    ShardClosedError,
    StoreFullError,
    Stream,
    StreamStoreError,
    limits,
)
from streamstore.errors import SettingsChangedError, StaleHandleError
from streamstore.producer.parcel import Answer, Kind, Parcel, ShardMap

# What the Kinesis API keeps of a stream, and under which name.
_API_SETTINGS = "kinesis"


class EmbeddedTarget:
    """Puts into a Stream. A shard that was split or merged takes nothing, so no aggregate ever lands elsewhere."""

    is_local = True

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.name = stream.name

    def look(self, others: Collection[str] = ()) -> ShardMap:
        with suppress(StreamStoreError):
            self._stream.finish_reshard()  # whoever closed a shard may have died before saying who goes on
        info = self._stream.check()
        shards = info.lineage
        settings = self._stream.annotation(_API_SETTINGS) or {}
        return ShardMap(
            [self._stream.lazy_shard(index).id for index in shards.open],
            shards.open_ranges,
            min(info.max_record_size, limits.RECORD_SIZE_MAX),
            settings.get("distribution") == "AUTO",
        )

    def put(self, parcels: Sequence[Parcel]) -> list[Answer]:
        answers: dict[int, Answer] = {}
        by_shard: dict[str, list[Parcel]] = {}
        for parcel in parcels:
            by_shard.setdefault(parcel.shard_id, []).append(parcel)
        for shard_id, own in by_shard.items():
            for parcel, answer in zip(own, self._put(shard_id, own), strict=True):
                answers[id(parcel)] = answer
        return [answers[id(parcel)] for parcel in parcels]

    def _put(self, shard_id: str, parcels: list[Parcel]) -> list[Answer]:
        entries = [(each.data, each.partition_key, each.explicit_hash_key) for each in parcels]
        try:
            if all(len(each.items) == 1 for each in parcels):  # wherever they belong now is right
                return [_stored(result) for result in self._stream.put_records(entries)]
            return [_stored(result) for result in self._stream.shard(shard_id).append(entries)]
        except PartialPutError as partial:
            return [_stored(each) if isinstance(each, PutResult) else _failed(each) for each in partial.results]
        except RecordTooLargeError as error:
            if len(parcels) == 1:
                return [_failed(error)]
            return [self._put(shard_id, [each])[0] for each in parcels]  # none was written; the others are to be
        except Exception as error:
            return [_failed(error)] * len(parcels)

    def close(self) -> None:
        return


def _stored(result: PutResult) -> Answer:
    return Answer(Kind.STORED, result.shard_id, result.sequence_number)


def _failed(error: BaseException) -> Answer:
    kind = Kind.REFUSED
    if isinstance(error, ShardClosedError):
        kind = Kind.MOVED
    elif isinstance(error, (StoreFullError, SettingsChangedError)) and not isinstance(error, StaleHandleError):
        kind = Kind.AGAIN
    elif isinstance(error, InvalidArgumentError) and "shard" in str(error):
        kind = Kind.MOVED  # the shard has expired since
    code = type(error).__name__ if isinstance(error, StreamStoreError) else f"Unexpected {type(error).__name__}"
    return Answer(kind, code=code, message=str(error), cause=error)
