"""A target behind the Kinesis API: AWS, `streamstore serve`, or any emulator, by boto3."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import Any

from streamstore.errors import InvalidArgumentError, StorageError
from streamstore.targets.target import Item, Target

BATCH_RECORDS_MAX = 500
BATCH_SIZE_MAX = 5 << 20
KEY_OF_NONE = "-"
# An access key id and its secret, and a region, where none are set up: emulators take any.
MADE_UP_KEYS = ("local", "local")
REGION_DEFAULT = "us-east-1"
_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 5.0
_REFUSED_LATER = {"ProvisionedThroughputExceededException", "InternalFailure", "KMSThrottlingException"}
# How boto3 calls: while records are under way again and again, for about a minute; the first call once, and soon.
_PATIENT: dict[str, Any] = {"retries": {"total_max_attempts": 11, "mode": "standard"}}
_AT_ONCE: dict[str, Any] = {
    "retries": {"total_max_attempts": 1, "mode": "standard"},
    "connect_timeout": 5,
    "read_timeout": 20,
}


def make_client(endpoint_url: str | None = None, region: str | None = None, **options: Any) -> Any:
    """A boto3 client for Kinesis (extra `boto3`), by boto3's own rules for what is not given.

    An endpoint of one's own that no credentials were set up for gets made-up ones, which emulators take. What fails is
    tried again for about a minute.
    """
    return _maker(endpoint_url, region, options)(_PATIENT)


def reach(endpoint_url: str | None, region: str | None, stream: str) -> Any:
    """A client as of `make_client`, whose endpoint has answered a first call, which is not tried again.

    Raises StorageError where it cannot be connected to, or has no such stream. Any other answer, such as that the
    caller may not ask, says nothing about what else it may do.
    """
    make = _maker(endpoint_url, region, {})
    from botocore import exceptions

    asking = make(_AT_ONCE)
    try:
        asking.describe_stream_summary(**naming(stream))
    except (exceptions.ConnectionError, exceptions.HTTPClientError) as error:
        raise StorageError(str(error)) from error
    except exceptions.ClientError as error:
        if error.response["Error"]["Code"] == "ResourceNotFoundException":
            raise StorageError(f"{asking.meta.endpoint_url} has no stream {stream!r}") from error
    finally:
        asking.close()
    return make(_PATIENT)


def naming(stream: str) -> dict[str, str]:
    """The parameter that names a stream, which may be given by its ARN."""
    return {"StreamARN": stream} if stream.startswith("arn:") else {"StreamName": stream}


def _maker(endpoint_url: str | None, region: str | None, options: dict[str, Any]) -> Callable[[dict[str, Any]], Any]:
    """What makes clients that differ in how they call: credentials, whose search may take seconds, are found once."""
    try:
        import boto3
        from botocore.config import Config
    except ImportError:
        raise InvalidArgumentError("a Kinesis endpoint needs boto3: pip install 'streamstore-kinesis[boto3]'") from None
    session = boto3.session.Session()
    if endpoint_url is not None and session.get_credentials() is None:
        key_id, secret = MADE_UP_KEYS
        options = {"aws_access_key_id": key_id, "aws_secret_access_key": secret, **options}
    options = {"endpoint_url": endpoint_url, "region_name": region or session.region_name or REGION_DEFAULT, **options}
    return lambda calling: session.client("kinesis", config=Config(max_pool_connections=64, **calling), **options)


class KinesisTarget(Target):
    """Puts to a stream of a Kinesis endpoint, up to 500 records and 5 MiB a call.

    What is refused for the moment is sent again until it is taken, with growing pauses, for `patience` seconds; then
    StorageError. Records refused so come behind others of their shard: `reordered` counts them. A record without a
    partition key goes with "-" and its hash key. Attributes and event times have no place in the API and stay behind.
    """

    def __init__(self, client: Any, stream: str, *, patience: float = 60.0) -> None:
        super().__init__()
        self.name = f"{client.meta.endpoint_url}/{stream}"
        self.reordered = 0
        self._client = client
        self._named = naming(stream)
        self._patience = patience

    def _send(self, items: Sequence[Item]) -> None:
        batch: list[dict[str, Any]] = []
        size = 0
        for item in items:
            entry = _entry(item)
            entry_size = len(entry["Data"]) + len(entry["PartitionKey"].encode())
            if batch and (len(batch) == BATCH_RECORDS_MAX or size + entry_size > BATCH_SIZE_MAX):
                self._put(batch)
                batch, size = [], 0
            batch.append(entry)
            size += entry_size
        if batch:
            self._put(batch)

    def _put(self, batch: list[dict[str, Any]]) -> None:
        pause = _FIRST_PAUSE
        give_up = time.monotonic() + self._patience
        while True:
            answer = self._client.put_records(Records=batch, **self._named)
            if not answer["FailedRecordCount"]:
                return
            results = answer["Records"]
            refused = [index for index, each in enumerate(results) if each.get("ErrorCode")]
            self.reordered += _overtaken(refused, len(results))
            code = results[refused[0]]["ErrorCode"]
            if code not in _REFUSED_LATER or time.monotonic() > give_up:
                text = results[refused[0]].get("ErrorMessage", "")
                raise StorageError(f"{self.name} refused {len(refused)} records ({code}: {text})")
            batch = [batch[index] for index in refused]
            self.retries += len(batch)
            time.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(pause * 2, _LONGEST_PAUSE)


def _overtaken(refused: list[int], count: int) -> int:
    """How many of the refused had a later one taken: all but those at the very end."""
    end = count
    for index in reversed(refused):
        if index != end - 1:
            break
        end = index
    return sum(index < end for index in refused)


def _entry(item: Item) -> dict[str, Any]:
    entry: dict[str, Any] = {"Data": bytes(item.data), "PartitionKey": item.partition_key or KEY_OF_NONE}
    if item.explicit_hash_key is not None:
        entry["ExplicitHashKey"] = str(item.explicit_hash_key)
    return entry
