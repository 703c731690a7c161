"""A stream behind the Kinesis API under load: AWS, `streamstore serve`, or any emulator."""

from __future__ import annotations

import base64
import contextlib
import os
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from streamstore.bench.load.fan_out import Subscriptions
from streamstore.bench.load.kinesis_client import CallError, KinesisClient
from streamstore.bench.load.signing import Credentials
from streamstore.bench.load.subject import Read, share_of
from streamstore.errors import InvalidArgumentError, StorageError
from streamstore.targets.addresses import split_endpoint
from streamstore.targets.endpoint import MADE_UP_KEYS, REGION_DEFAULT

_ACTIVE_WITHIN_S = 60.0
_POLL_S = 0.01


class Endpoint:
    """An address http://HOST:PORT/STREAM, or kinesis:STREAM for AWS itself."""

    def __init__(self, address: str, region: str | None) -> None:
        self.address = address
        self._region = region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or REGION_DEFAULT
        if address.startswith("kinesis:"):
            self._url = f"https://kinesis.{self._region}.amazonaws.com"
            self.stream = address.removeprefix("kinesis:")
        else:
            self._url, self.stream = split_endpoint(address)
        if not self.stream or not urlsplit(self._url).netloc:
            raise InvalidArgumentError(f"{address!r} names no stream: http://HOST:PORT/STREAM is wanted")
        self._credentials = _credentials(needed=address.startswith("kinesis:"))

    def _client(self) -> KinesisClient:
        return KinesisClient(self._url, self._region, self._credentials)

    def prepare(self, shards: int) -> None:
        """Make the stream where it is missing, and wait until it is active."""
        client = self._client()
        try:
            with contextlib.suppress(_ResourceInUse):
                _naming(client, "CreateStream", {"StreamName": self.stream, "ShardCount": shards})
            deadline = time.monotonic() + _ACTIVE_WITHIN_S
            while self._status(client) != "ACTIVE":
                if time.monotonic() > deadline:
                    raise StorageError(f"{self.address} was not active within {_ACTIVE_WITHIN_S:g} s")
                time.sleep(0.1)
        finally:
            client.close()

    def _status(self, client: KinesisClient) -> str:
        answer = client.call("DescribeStream", {"StreamName": self.stream})
        return str(answer["StreamDescription"]["StreamStatus"])

    def durability(self) -> str:
        """Nobody can see that from here."""
        return "unknown"

    def connect(self) -> EndpointConnection:
        """A connection of its own."""
        return EndpointConnection(self._client(), self.stream, self._client)

    def close(self) -> None:
        """Nothing is open but connections."""


class _ResourceInUse(Exception):
    """The stream is there already."""


def _naming(client: KinesisClient, operation: str, document: dict[str, Any]) -> dict[str, Any]:
    try:
        return client.call(operation, document)
    except CallError as error:
        if error.code == "ResourceInUseException":
            raise _ResourceInUse from None
        raise


def _credentials(*, needed: bool) -> Credentials:
    """Those that AWS's own rules find, by boto3 where it is installed; for emulators any do."""
    key_id, secret = os.environ.get("AWS_ACCESS_KEY_ID"), os.environ.get("AWS_SECRET_ACCESS_KEY")
    if key_id and secret:
        return Credentials(key_id, secret, os.environ.get("AWS_SESSION_TOKEN") or None)
    if not needed:
        return Credentials(*MADE_UP_KEYS)
    try:
        import boto3
    except ImportError:
        raise InvalidArgumentError(
            "credentials for AWS: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
            "pip install 'streamstore-kinesis[boto3]'"
        ) from None
    found = boto3.session.Session().get_credentials()
    if found is None:
        raise InvalidArgumentError("there are no credentials for AWS; `aws configure` makes some")
    frozen = found.get_frozen_credentials()
    return Credentials(frozen.access_key, frozen.secret_key, frozen.token)


class EndpointConnection:
    """Puts and reads over one connection."""

    def __init__(self, client: KinesisClient, stream: str, another: Any) -> None:
        self._client = client
        self._stream = stream
        self._another = another

    def put(self, entries: Sequence[tuple[bytes, str]]) -> int:
        """PutRecord for one, PutRecords for more."""
        if len(entries) == 1:
            data, key = entries[0]
            document = {"StreamName": self._stream, "Data": base64.b64encode(data).decode(), "PartitionKey": key}
            self._client.call("PutRecord", document)
            return 0
        records = [{"Data": base64.b64encode(data).decode(), "PartitionKey": key} for data, key in entries]
        answer = self._client.call("PutRecords", {"StreamName": self._stream, "Records": records})
        return int(answer.get("FailedRecordCount") or 0)

    def reading(self, share: int, shares: int, *, tip: bool, fan_out: bool) -> EndpointReading | Subscriptions:
        """Iterators at some shards, or subscriptions to all of them."""
        shard_ids = self._shards()
        if fan_out:
            return Subscriptions(self._another, self._client, self._stream, shard_ids)
        mine = share_of(shard_ids, share, shares, tip=tip)
        return EndpointReading(self._client, self._stream, mine, "LATEST" if tip else "TRIM_HORIZON")

    def _shards(self) -> list[str]:
        answer = self._client.call("ListShards", {"StreamName": self._stream})
        found = [*answer["Shards"]]
        while answer.get("NextToken"):
            answer = self._client.call("ListShards", {"NextToken": answer["NextToken"]})
            found += answer["Shards"]
        return [shard["ShardId"] for shard in found if shard["SequenceNumberRange"].get("EndingSequenceNumber") is None]

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


class EndpointReading:
    """An iterator in each of some shards."""

    def __init__(self, client: KinesisClient, stream: str, shard_ids: Sequence[str], start: str) -> None:
        self._client = client
        self._stream = stream
        self._shards = list(shard_ids)
        self._start = start
        self._iterators = [self._iterator(shard_id) for shard_id in self._shards]
        self._turn = 0

    def _iterator(self, shard_id: str) -> str:
        document = {"StreamName": self._stream, "ShardId": shard_id, "ShardIteratorType": self._start}
        return str(self._client.call("GetShardIterator", document)["ShardIterator"])

    def read(self, limit: int) -> Read:
        """A GetRecords of the shard whose turn it is; at its tip from its beginning."""
        turn = self._turn = (self._turn + 1) % len(self._shards)
        found = self._get(turn, limit)
        if (
            len(found.data) < limit and found.behind_ms == 0
        ):  # a full answer may be 0 ms behind what is younger than one
            self._iterators[turn] = self._iterator(self._shards[turn])
        return found

    def follow(self, limit: int) -> Read:
        """A GetRecords of the next shard; a short pause where it had nothing."""
        turn = self._turn = (self._turn + 1) % len(self._shards)
        found = self._get(turn, limit)
        if not found.data:
            time.sleep(_POLL_S / len(self._shards))
        return found

    def _get(self, turn: int, limit: int) -> Read:
        answer = self._client.call("GetRecords", {"ShardIterator": self._iterators[turn], "Limit": limit})
        self._iterators[turn] = answer.get("NextShardIterator") or self._iterator(self._shards[turn])
        data = [base64.b64decode(record["Data"]) for record in answer["Records"]]
        return Read(data, int(answer.get("MillisBehindLatest") or 0))

    def close(self) -> None:
        """Iterators need no closing."""
