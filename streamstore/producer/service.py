"""The Kinesis API as a target, through a boto3 client: the service, our server, or a store in this process."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any

from streamstore import InvalidArgumentError, StreamNotFoundError, StreamStoreError, limits
from streamstore.aggregation import check_ranges
from streamstore.producer.knobs import Knobs
from streamstore.producer.parcel import Answer, Kind, Parcel, ShardMap
from streamstore.values import HashRange

_THROTTLED = {
    "ProvisionedThroughputExceededException", "ThrottlingException", "LimitExceededException", "KMSThrottlingException",
    "RequestLimitExceeded",
}  # fmt: skip
# About one of the records, perhaps: each is tried alone.
_ABOUT_A_RECORD = {"ValidationException", "InvalidArgumentException", "SerializationException"}
_REFUSED = {
    *_ABOUT_A_RECORD, "ResourceNotFoundException", "AccessDeniedException", "UnrecognizedClientException",
    "InvalidSignatureException", "IncompleteSignatureException", "MissingAuthenticationTokenException",
    "KMSDisabledException", "KMSInvalidStateException", "KMSAccessDeniedException", "KMSNotFoundException",
    "KMSOptInRequired", "UnknownOperationException",
}  # fmt: skip
_RECORD_KIB = 1024
_ARN = re.compile(r"arn:[^:]*:kinesis:")


def connect(endpoint_url: str, knobs: Knobs, options: dict[str, Any]) -> Any:
    """A boto3 client for an endpoint, with the timeouts and connections that the knobs say. Needs the extra boto3.

    What a `config` among the options says holds over the knobs.
    """
    try:
        import boto3
        from botocore.config import Config
    except ImportError:
        raise StreamStoreError("boto3 is not installed: pip install 'streamstore-kinesis[boto3]'") from None
    config = Config(
        connect_timeout=knobs.connect_timeout / 1000,
        read_timeout=knobs.request_timeout / 1000,
        max_pool_connections=knobs.max_connections,
        retries={"total_max_attempts": 1},  # every try is the producer's, and told
    )
    config = config.merge(options.get("config") or Config())
    return boto3.client("kinesis", **{**options, "endpoint_url": endpoint_url, "config": config})


class ServiceTarget:
    """Puts through PutRecords. The client is the caller's, and closed only where it was made here."""

    is_local = False

    def __init__(self, client: Any, stream: str, *, own: bool) -> None:
        self._client = client
        self._own = own
        self._named = {"StreamARN": stream} if _ARN.match(stream) else {"StreamName": stream}
        self.name = stream.rpartition("/")[2]

    def look(self, others: Collection[str] = ()) -> ShardMap:
        try:
            summary = self._client.describe_stream_summary(**self._named)["StreamDescriptionSummary"]
            found = self._shards({"Type": "AT_LATEST"})
        except Exception as error:
            if _code(error) == "ResourceNotFoundException":
                raise StreamNotFoundError(str(error)) from error
            raise
        ranges = {shard_id: owned for shard_id, (owned, is_open) in found.items() if is_open}
        closed = {}
        if not ranges.keys() >= set(others):
            everything = self._shards({"Type": "FROM_TRIM_HORIZON"})
            closed = {shard_id: everything[shard_id][0] for shard_id in others if shard_id in everything}
        shard_ids = sorted(ranges, key=lambda shard_id: ranges[shard_id].start)
        return ShardMap(
            shard_ids,
            check_ranges(ranges.values()),  # raises in the middle of a reshard: it is looked again
            summary.get("MaxRecordSizeInKiB", _RECORD_KIB) * limits.KIB,
            summary.get("RecordDistributionStrategy") == "AUTO",
            closed,
        )

    def _shards(self, which: dict[str, str]) -> dict[str, tuple[HashRange, bool]]:
        """Ranges of shards by id, and whether they are open."""
        found: dict[str, tuple[HashRange, bool]] = {}
        request: dict[str, Any] = {**self._named, "ShardFilter": which, "MaxResults": 1000}
        while True:
            answer = self._client.list_shards(**request)
            for shard in answer["Shards"]:
                owned = shard["HashKeyRange"]
                is_open = "EndingSequenceNumber" not in shard["SequenceNumberRange"]
                found[shard["ShardId"]] = (
                    HashRange(int(owned["StartingHashKey"]), int(owned["EndingHashKey"])),
                    is_open,
                )
            if "NextToken" not in answer:
                return found
            request = {"NextToken": answer["NextToken"]}

    def put(self, parcels: Sequence[Parcel]) -> list[Answer]:
        try:
            answer = self._client.put_records(Records=[_record(each) for each in parcels], **self._named)
        except Exception as error:
            if _code(error) in _ABOUT_A_RECORD and len(parcels) > 1:
                return [self.put([each])[0] for each in parcels]
            return [_failed(error)] * len(parcels)
        return [_answer(each) for each in answer["Records"]]

    def close(self) -> None:
        if self._own:
            self._client.close()


def _record(parcel: Parcel) -> dict[str, Any]:
    record = {"Data": parcel.data, "PartitionKey": parcel.partition_key}
    if parcel.explicit_hash_key is not None:
        record["ExplicitHashKey"] = str(parcel.explicit_hash_key)
    return record


def _answer(result: dict[str, Any]) -> Answer:
    code = result.get("ErrorCode")
    if not code:
        return Answer(Kind.STORED, result["ShardId"], result["SequenceNumber"])
    return Answer(
        Kind.THROTTLED if code in _THROTTLED else Kind.AGAIN, code=code, message=result.get("ErrorMessage", "")
    )


def _failed(error: Exception) -> Answer:
    code = _code(error)
    if code in _THROTTLED:
        kind = Kind.THROTTLED
    elif code in _REFUSED or isinstance(error, (InvalidArgumentError, TypeError)) or _is_about_arguments(error):
        kind = Kind.REFUSED
    else:
        kind = Kind.AGAIN  # the way there, or a fault of the service's: perhaps it was stored, perhaps not
    return Answer(kind, code=code, message=str(error), cause=error)


def _is_about_arguments(error: Exception) -> bool:
    return type(error).__name__ in ("ParamValidationError", "NoCredentialsError", "PartialCredentialsError")


def _code(error: Exception) -> str:
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return str(response.get("Error", {}).get("Code", type(error).__name__))
    return type(error).__name__
