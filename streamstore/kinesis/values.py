"""What handlers answer with besides plain dicts, lists and strings: times, and lists of the store's own records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from streamstore import Record
from streamstore.kinesis.errors import ServiceError


class Moment:
    """A time in milliseconds since 1970; each encoding writes it in its own way."""

    __slots__ = ("ms",)

    def __init__(self, ms: int) -> None:
        self.ms = ms


class RecordList(list[Record]):
    """Records as GetRecords and fan-out events carry them; `encrypted` says what they are marked as."""

    __slots__ = ("encrypted",)

    def __init__(self, records: Iterable[Record], *, encrypted: bool = False) -> None:
        super().__init__(records)
        self.encrypted = encrypted

    def maps(self) -> Iterator[dict[str, Any]]:
        """Each as a map, for encodings without a way of their own."""
        for record in self:
            item: dict[str, Any] = {
                "SequenceNumber": record.sequence_number,
                "ApproximateArrivalTimestamp": Moment(record.arrival_us // 1000),
                "Data": record.data,
            }
            if record.partition_key is not None:
                item["PartitionKey"] = record.partition_key
            if self.encrypted:
                item["EncryptionType"] = "KMS"
            yield item


class ResultList(list[Any]):
    """What each entry of a PutRecords came to: the store's own PutResult, or a ServiceError."""

    __slots__ = ()

    def maps(self) -> Iterator[dict[str, Any]]:
        """Each as a map."""
        for item in self:
            if isinstance(item, ServiceError):
                yield {"ErrorCode": item.type, "ErrorMessage": item.text or "Internal service failure."}
            else:
                yield {"SequenceNumber": item.sequence_number, "ShardId": item.shard_id}


class Caller(NamedTuple):
    """On whose behalf a request runs: what ARNs show, and the access key that was proved, where keys are checked."""

    account: str
    region: str
    key_id: str = ""
