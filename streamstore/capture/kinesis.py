"""A stream behind the Kinesis API as the source of a capture: AWS, our own server, any emulator. What all ways of
reading its shards have in common; the ways are in `polling` and `fanout`.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, NamedTuple, Protocol

from streamstore import clock
from streamstore.capture.shards import Shard, Shards
from streamstore.capture.source import Lag, Taken
from streamstore.errors import InvalidArgumentError
from streamstore.native import Record
from streamstore.targets.endpoint import naming
from streamstore.values import PutEntry

# How many fetched pages may wait to be put; a reader that is faster waits then.
PAGES_WAITING = 16
RECORDS_AT_ONCE = 10_000
WAIT = 0.3
LIST_INTERVAL = 10.0
LIST_INTERVAL_CHILDLESS = 1.0
STARTS = ("TRIM_HORIZON", "LATEST")


class Page(NamedTuple):
    """Records of one shard, in order, that are not in yet, and the number up to which all is once they are; `failure`
    ends the capture.
    """

    shard: Shard
    records: Sequence[Mapping[str, Any]]
    last: str | None
    failure: BaseException | None = None


class Reading(Protocol):
    """A way to read shards: `start` begins with some, in threads of its own, which give pages to `give`."""

    def start(self, shards: Sequence[Shard], *, follow: bool) -> None: ...
    def close(self) -> None: ...


class KinesisSource:
    """The records of a Kinesis stream, shard by shard, children behind their parents.

    A record is put with its partition key; where that would not place it in its shard's range (it had a hash key of its
    own, which GetRecords does not tell), the start of the range is its hash key. Made by `open_source`.
    """

    def __init__(self, client: Any, stream: str, *, start: Any = "TRIM_HORIZON", source_id: str | None = None) -> None:
        self.client = client
        self.named = naming(stream)
        summary = client.describe_stream_summary(**self.named)["StreamDescriptionSummary"]
        self.arn: str = summary["StreamARN"]
        self.stream: str = summary["StreamName"]
        # A stream that was deleted and made anew is another one.
        self.id = source_id or f"{self.arn}@{int(summary['StreamCreationTimestamp'].timestamp())}"
        self.name = f"{client.meta.endpoint_url}/{self.stream}"
        self._open_shards = summary["OpenShardCount"]
        self.retries = 0
        self.shards = Shards(start_of(start))
        self.stopped = threading.Event()
        self._pages: queue.Queue[Page] = queue.Queue(PAGES_WAITING)
        self._passed: list[Page] = []
        self._reading: Reading | None = None

    def read_by(self, reading: Reading) -> KinesisSource:
        """Say how its shards are read."""
        self._reading = reading
        return self

    @property
    def shard_count(self) -> int:
        """How many shards of it are open."""
        return int(self._open_shards)

    def hash_keys(self, shard_id: str) -> tuple[int, int]:
        """The first and the last hash key of a shard that was listed."""
        return self.shards.hash_keys(shard_id)

    # --- what a capture asks for ------------------------------------------------------------------------------------

    def fit(self, record_size_max: int) -> None:
        pass  # records are taken whole; the put of one that is too large is refused

    def restore(self, state: Any) -> None:
        if state is not None:
            self.shards.restore(state["shards"])
        self.list_shards()

    def seen(self, source: Mapping[str, Any], record: Record) -> None:
        self.shards.seen(source["shard_id"], source["sequence_number"])

    def batches(self, *, follow: bool) -> Iterator[Sequence[Taken]]:
        assert self._reading is not None
        listed_at = time.monotonic()
        while not self.stopped.is_set():
            self._reading.start(self.shards.ready(), follow=follow)
            page = self._next_page()
            if page is None:
                yield []
            else:
                yield from self._together(page)
            # Also while pages keep coming: whoever goes on for a shard that has ended must not wait for a quiet moment.
            soon = self.shards.childless or not follow
            if time.monotonic() - listed_at > (LIST_INTERVAL_CHILDLESS if soon else LIST_INTERVAL):
                self.list_shards()
                listed_at = time.monotonic()
            # Pages are passed on before their shard counts as done: with all done and none there, all are through.
            idle = page is None and self._pages.empty()
            if not follow and idle and self.shards.is_done and not self.list_shards():
                return

    def _next_page(self) -> Page | None:
        try:
            return self._pages.get(timeout=WAIT)
        except queue.Empty:
            return None

    def _together(self, page: Page) -> Iterator[Sequence[Taken]]:
        """A page and what else waits, as one batch: one wait for the disk serves all."""
        batch: list[Taken] = []
        following: Page | None = page
        self._passed = []
        while following is not None:
            if following.failure is not None:
                if batch:
                    yield batch
                raise following.failure
            batch += [self._taken(following.shard, record) for record in following.records]
            self._passed.append(following)
            if len(batch) >= RECORDS_AT_ONCE:
                break
            try:
                following = self._pages.get_nowait()
            except queue.Empty:
                following = None
        if not batch:
            self.took(batch)
        yield batch

    def _taken(self, shard: Shard, record: Mapping[str, Any]) -> Taken:
        key, number = record["PartitionKey"], record["SequenceNumber"]
        source = {
            "from": self.id,
            "stream": self.stream,
            "shard_id": shard.id,
            "sequence_number": number,
            "arrival_us": clock.to_us(record["ApproximateArrivalTimestamp"]),
        }
        if shard.parents:
            source["parents"] = list(shard.parents)
        return Taken(shard.id, int(number), PutEntry(record["Data"], key, shard.hash_key(key), None, None, source))

    def took(self, batch: Sequence[Taken]) -> None:
        for page in self._passed:
            assert page.last is not None
            self.shards.took(page.shard, page.last)
        self._passed = []

    def is_settled(self) -> bool:
        return self.shards.is_settled

    def state(self) -> Any:
        return {"arn": self.arn, "shards": self.shards.to_map()}

    def lag(self) -> Lag:
        amount, shards = self.shards.lag()
        return Lag(amount, "ms", shards)

    def notes(self) -> dict[str, Any]:
        return {"retries": self.retries} if self.retries else {}

    def close(self) -> None:
        self.stopped.set()
        while True:  # a reader that waits for a place among the pages sees that it is over
            try:
                self._pages.get_nowait()
            except queue.Empty:
                break
        if self._reading is not None:
            self._reading.close()

    # --- what a way of reading asks for -----------------------------------------------------------------------------

    def give(self, shard: Shard, records: Sequence[Mapping[str, Any]], *, ended: bool = False) -> None:
        """Some records that were fetched, in order, each shard by one thread at a time; waits for a place."""
        fresh = [record for record in records if record["SequenceNumber"] not in shard.has] if shard.has else records
        if records:
            shard.read = records[-1]["SequenceNumber"]
            self._pass_on(Page(shard, fresh, shard.read))
        if ended:
            self.shards.ended(shard)

    def fail(self, shard: Shard, failure: BaseException) -> None:
        """What a thread cannot go on from is raised where the batches are asked for."""
        self._pass_on(Page(shard, (), None, failure))

    def _pass_on(self, page: Page) -> None:
        while not self.stopped.is_set():
            try:
                self._pages.put(page, timeout=WAIT)
                return
            except queue.Full:
                continue

    def list_shards(self) -> bool:
        """Ask for the shards; True where one is new."""
        listed: list[Mapping[str, Any]] = []
        request = dict(self.named)
        while True:
            answer = self.client.list_shards(**request)
            listed += answer["Shards"]
            if not answer.get("NextToken"):
                return self.shards.note(listed)
            request = {"NextToken": answer["NextToken"]}


def start_of(start: Any) -> dict[str, Any]:
    """The parameters of GetShardIterator for a start: TRIM_HORIZON, LATEST, an aware datetime, seconds since 1970.

    LATEST is the time of now, so that whoever goes on after nothing was taken begins at the same place.
    """
    if start == "TRIM_HORIZON":
        return {"ShardIteratorType": "TRIM_HORIZON"}
    if start == "LATEST":
        return {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": datetime.now(timezone.utc).timestamp()}
    try:
        return {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": clock.to_us(start) / 1_000_000}
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(f"start is TRIM_HORIZON, LATEST or a time: {error}") from None
