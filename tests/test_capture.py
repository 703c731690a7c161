"""streamstore.capture: streams of other places, each record once, whatever ends a run."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

import streamstore
from streamstore import InvalidArgumentError, InvalidTypeError, PutEntry
from streamstore.capture import Capture, captures, open_source, read_from
from streamstore.capture.addresses import kinesis_source
from streamstore.capture.ledger import numbers_of
from streamstore.limits import HASH_KEY_END

pytest.importorskip("boto3")


@pytest.fixture
def store() -> Iterator[Any]:
    """The store that captures go into."""
    with streamstore.temporary(durability="process") as store:
        yield store


@pytest.fixture(autouse=True)
def _hurry(monkeypatch):
    """Nobody waits here for more than a moment."""
    monkeypatch.setattr("streamstore.capture.kinesis.WAIT", 0.05)
    monkeypatch.setattr("streamstore.capture.streams.WAIT", 0.05)


@pytest.fixture
def origin() -> Iterator[Any]:
    """The store that is captured from."""
    with streamstore.temporary(durability="process") as store:
        yield store


def put(stream: Any, count: int, first: int = 0) -> None:
    """Numbered records; every third has a hash key of its own."""
    stream.put_records(
        [
            PutEntry(b"%d" % number, f"u{number % 9}", (number * 0x9E3779B97F4A7C15 << 64) % HASH_KEY_END)
            if number % 3 == 0
            else PutEntry(b"%d" % number, f"u{number % 9}")
            for number in range(first, first + count)
        ]
    )


def by_api(origin: Any, **options: Any) -> Any:
    """The stream `s` as a source, by the Kinesis API in process."""
    return kinesis_source(None, "s", client=origin.boto3_client(), interval=0.02, **options)


def directly(origin: Any, **options: Any) -> Any:
    """The stream `s` as a source, by the store."""
    from streamstore.capture.streams import StreamSource

    return StreamSource(origin.stream("s"), **options)


KINDS = {"kinesis": by_api, "store": directly}


def once(stream: Any, source: Any) -> int:
    """Capture what there is; how many were put."""
    with Capture(stream, source) as capture:
        return capture.run(follow=False).records


def same(captured: Any, original: Any) -> bool:
    """Whether a capture has every record once: data, key, number, time to the millisecond, shard and its parents; and
    in the order of its shard.
    """
    parents = {shard.id: list(shard.parents) for shard in original.shards()}
    wanted = {}
    for record in original.read():
        facts = (record.data, record.partition_key, record.arrival_us // 1000, parents[record.shard_id])
        wanted[record.shard_id, record.sequence_number] = facts
    found = list(captured.read())
    got = {
        numbers_of(record): (
            record.data,
            record.partition_key,
            record.source["arrival_us"] // 1000,
            record.source.get("parents", []),
        )
        for record in found
    }
    return got == wanted and len(found) == len(wanted) and in_order(found)


def in_order(records: Sequence[Any]) -> bool:
    """Whether within each shard here what is of one shard there comes in its order."""
    last: dict[tuple[str, str], int] = {}
    for record in records:
        where = (record.shard_id, record.source["shard_id"])
        number = int(record.source["sequence_number"])
        if last.get(where, -1) >= number:
            return False
        last[where] = number
    return True


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_is_captured_with_its_splits_and_merges(store, origin, kind):
    """Data, keys, numbers, times, lineage and order are those of the source; a second run finds nothing new."""
    stream = origin.create_stream("s", shard_count=2)
    put(stream, 100)
    stream.split_shard("shardId-000000000000")
    put(stream, 100, 100)
    stream.merge_shards("shardId-000000000003", "shardId-000000000001")
    put(stream, 100, 200)
    copy = store.create_stream("copy", shard_count=2)
    assert once(copy, KINDS[kind](origin)) == 300
    assert same(copy, stream)
    assert once(copy, KINDS[kind](origin)) == 0
    put(stream, 50, 300)
    assert once(copy, KINDS[kind](origin)) == 50
    assert same(copy, stream)


def test_a_record_is_placed_within_the_range_of_its_shard(store, origin):
    """One with a hash key of its own, which the API does not tell, goes to where its shard's range begins."""
    stream = origin.create_stream("s", shard_count=4)
    put(stream, 200)
    copy = store.create_stream("copy", shard_count=4)
    once(copy, by_api(origin))
    assert {record.data: record.shard_id for record in copy.read()} == {
        record.data: record.shard_id for record in stream.read()
    }
    placed = {record.data for record in copy.read() if record.explicit_hash_key is not None}
    assert placed <= {record.data for record in stream.read() if record.explicit_hash_key is not None}
    assert len(placed) > 20


def test_attributes_times_and_sources_go_on_from_a_store(store, origin):
    """From another store nothing is lost: hash key, attributes, event time, and the source of a source."""
    stream = origin.create_stream("s")
    entry = PutEntry(b"x", None, 77, {"a": 1}, 1_700_000_000, {"id": "elsewhere"})
    stream.put_records([entry])
    copy = store.create_stream("copy", shard_count=2)
    once(copy, stream)
    (record,) = copy.read()
    assert (record.data, record.partition_key, record.explicit_hash_key) == (b"x", None, 77)
    assert (record.attributes, record.event_time.timestamp()) == ({"a": 1}, 1_700_000_000)
    assert record.source["source"] == {"id": "elsewhere"}


class KilledError(Exception):
    """Stands for a kill."""


class Killing:
    """A source that dies at its `count`-th batch: before the put, in the middle of it, or after it."""

    def __init__(self, source: Any, stream: Any, count: int, how: str) -> None:
        self._source, self._stream, self._left, self._how = source, stream, count, how

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def batches(self, *, follow: bool) -> Iterator[Any]:
        for batch in self._source.batches(follow=follow):
            self._left -= bool(batch)
            if self._left or not batch:
                yield batch
                continue
            if self._how == "half":  # as when it died between two shards
                chance = random.Random(len(batch))
                lucky = chance.sample(range(4), 2)
                some = [taken.entry for taken in batch if hash(taken.unit) % 4 in lucky or chance.random() < 0.3]
                shards: dict[str, list[Any]] = {}
                for entry in some:
                    shards.setdefault(entry.source["shard_id"], []).append(entry)
                for entries in shards.values():
                    self._stream.put_records(entries)
            elif self._how == "all":
                self._stream.put_records([taken.entry for taken in batch])
            raise KilledError


@pytest.mark.parametrize("how", ["none", "half", "all"])
@pytest.mark.parametrize("kind", KINDS)
def test_whenever_it_dies_the_next_run_takes_each_record_once(store, origin, kind, how):
    """Before, in the middle of and after a put; with new records, and again with none, behind each death."""
    stream = origin.create_stream("s", shard_count=3)
    copy = store.create_stream("copy", shard_count=2)
    for number in range(4):
        put(stream, 40, number * 40)
        if number == 2:
            stream.split_shard("shardId-000000000001")
        with Capture(copy, Killing(KINDS[kind](origin), copy, 1, how)) as capture, pytest.raises(KilledError):
            capture.run(follow=False)
    once(copy, KINDS[kind](origin))
    found = list(copy.read())
    assert {numbers_of(record) for record in found} == {
        (record.shard_id, record.sequence_number) for record in stream.read()
    }
    assert len(found) == len({numbers_of(record) for record in found})
    assert once(copy, KINDS[kind](origin)) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_it_follows_while_the_source_is_resharded(store, origin, kind):
    """What is put while it runs comes in, also by shards that were not there; stop leaves a checkpoint."""
    stream = origin.create_stream("s", shard_count=2)
    copy = store.create_stream("copy", shard_count=4)
    with Capture(copy, KINDS[kind](origin)) as capture:
        thread = threading.Thread(target=capture.run)
        thread.start()
        for step in range(5):
            put(stream, 30, step * 30)
            stream.update_shard_count(2 + step % 3)
        limit = time.monotonic() + 60
        while capture.records < 150 and time.monotonic() < limit:
            time.sleep(0.01)
        capture.stop()
        thread.join()
    assert same(copy, stream)
    with Capture(copy, KINDS[kind](origin)) as capture:
        assert capture.resumed == 0


class Busy:
    """A way of reading in which one shard ended at once, and another one always has something."""

    def __init__(self, source: Any) -> None:
        self.source = source
        self.started: list[str] = []
        self.busy: Any = None

    def start(self, shards: Sequence[Any], *, follow: bool) -> None:
        for shard in shards:
            self.started.append(shard.id)
            if shard.id.endswith("0"):
                self.source.shards.ended(shard)
            elif shard.id.endswith("1"):
                self.busy = shard
        now = datetime.now(timezone.utc)
        record = {"PartitionKey": "k", "SequenceNumber": str(time.monotonic_ns()), "Data": b"x"}
        self.source.give(self.busy, [{**record, "ApproximateArrivalTimestamp": now}])

    def close(self) -> None:
        pass


def test_new_shards_are_found_while_others_are_busy(store, origin, monkeypatch):
    """Those that go on for a shard that has ended do not wait until nothing comes from the others."""
    monkeypatch.setattr("streamstore.capture.kinesis.LIST_INTERVAL_CHILDLESS", 0.02)
    stream = origin.create_stream("s", shard_count=2)
    source = by_api(origin)
    reading = Busy(source)
    source.read_by(reading)
    with Capture(store.create_stream("c"), source) as capture:
        stream.split_shard("shardId-000000000000")
        limit = time.monotonic() + 20
        for batch in source.batches(follow=True):
            assert batch, "it was not busy"
            capture.take(batch)
            if len(reading.started) == 4:
                break
            assert time.monotonic() < limit, f"only {reading.started} were found"
    assert [int(shard_id[-1]) for shard_id in reading.started] == [0, 1, 2, 3]


@pytest.mark.parametrize("kind", KINDS)
def test_the_start_is_where_the_first_run_begins(store, origin, kind):
    """LATEST and a time leave out what was there before; whoever goes on begins at the same place."""
    stream = origin.create_stream("s", shard_count=2)
    put(stream, 10)
    time.sleep(0.02)
    copy = store.create_stream("copy")
    with Capture(copy, KINDS[kind](origin, start="LATEST")):
        pass
    time.sleep(0.02)
    put(stream, 5, 10)
    stream.split_shard("shardId-000000000000")
    put(stream, 5, 15)
    assert once(copy, KINDS[kind](origin)) == 10
    assert {record.data for record in copy.read()} == {b"%d" % number for number in range(10, 20)}
    between = datetime.now(timezone.utc)
    time.sleep(0.02)
    put(stream, 3, 20)
    assert once(store.create_stream("other"), KINDS[kind](origin, start=between)) == 3


def test_a_clock_that_is_ahead_of_the_services_is_waited_for(store, origin):
    """The service refuses a time that has not come for it; one far ahead is wrong, and refused for good."""
    stream = origin.create_stream("s")
    ahead = datetime.now(timezone.utc) + timedelta(seconds=1)
    put(stream, 3)
    assert once(store.create_stream("copy"), by_api(origin, start=ahead)) == 0
    with pytest.raises(Exception, match="InvalidArgument"):
        once(store.create_stream("other"), by_api(origin, start=ahead + timedelta(days=1)))


def test_only_one_capture_of_a_source_runs(store, origin):
    """A second one is refused while the first is open; of another source, or into another stream, it is not."""
    origin.create_stream("s")
    copy, other = store.create_stream("copy"), store.create_stream("other")
    with Capture(copy, by_api(origin)) as capture:
        with pytest.raises(InvalidArgumentError, match="another capture"):
            Capture(copy, by_api(origin))
        capture.run(follow=False)
        with pytest.raises(streamstore.ClosedError):
            capture.run(follow=False)
        Capture(other, by_api(origin)).close()
        Capture(copy, by_api(origin, source_id="mine")).close()
    Capture(copy, by_api(origin)).close()


def test_a_stream_made_anew_is_another_source(store, origin):
    """What the old one gave is not taken for what the new one has."""
    put(origin.create_stream("s"), 5)
    copy = store.create_stream("copy")
    once(copy, directly(origin))
    origin.delete_stream("s")
    put(origin.create_stream("s"), 5)
    assert once(copy, directly(origin)) == 5


def test_what_was_captured_can_be_asked_for(store, origin):
    """The checkpoints, with the lineage of the source."""
    stream = origin.create_stream("s", shard_count=2)
    put(stream, 50)
    stream.split_shard("shardId-000000000000")
    copy = store.create_stream("copy")
    once(copy, by_api(origin))
    ((_, kept),) = captures(copy).items()
    shards = kept["state"]["shards"]
    assert {name: (shard["parents"], shard["ended"]) for name, shard in shards.items()} == {
        shard.id: (list(shard.parents), shard.is_closed) for shard in stream.shards()
    }
    last = [record for record in stream.read() if record.shard_id == "shardId-000000000001"][-1]
    assert shards["shardId-000000000001"]["number"] == last.sequence_number


class Troubled:
    """A client whose calls fail now and then, as those of the service do."""

    def __init__(self, client: Any, codes: Mapping[str, Sequence[str]]) -> None:
        self._client, self._codes = client, {name: list(some) for name, some in codes.items()}
        self.meta = client.meta

    def __getattr__(self, name: str) -> Any:
        from botocore.exceptions import ClientError, EndpointConnectionError

        def call(**request: Any) -> Any:
            if codes := self._codes.get(name):
                code = codes.pop()
                if code == "connection":
                    raise EndpointConnectionError(endpoint_url="http://nowhere")
                raise ClientError({"Error": {"Code": code, "Message": "so"}}, name)
            return getattr(self._client, name)(**request)

        return call


def test_what_passes_is_tried_again(store, origin):
    """Throttling, expired iterators, lost connections and failures of the service end nothing."""
    stream = origin.create_stream("s", shard_count=2)
    put(stream, 50)
    codes = ["ExpiredIteratorException", "ProvisionedThroughputExceededException", "connection", "InternalFailure"]
    client = Troubled(origin.boto3_client(), {"get_records": codes, "get_shard_iterator": ["LimitExceededException"]})
    copy = store.create_stream("copy")
    source = kinesis_source(None, "s", client=client, interval=0.02)
    assert once(copy, source) == 50
    assert source.notes() == {"retries": 4}
    assert same(copy, stream)


def test_what_lasts_is_raised(store, origin):
    """A stream that goes away ends the capture with the service's own error; what came before is in."""
    stream = origin.create_stream("s")
    put(stream, 5)
    client = Troubled(origin.boto3_client(), {"get_records": ["AccessDeniedException"]})
    copy = store.create_stream("copy")
    with pytest.raises(Exception, match="AccessDenied"):
        once(copy, kinesis_source(None, "s", client=client))
    assert once(copy, by_api(origin)) == 5


def test_what_is_no_source_is_refused(store, origin, tmp_path):
    """An address of no kind, a stream that is not there, a time that is none."""
    copy = store.create_stream("copy")
    for address in ("nothing:x", "http://", "store:no-name"):
        with pytest.raises(InvalidArgumentError):
            open_source(address)
    with pytest.raises(InvalidTypeError):
        Capture(copy, 5)
    with pytest.raises(InvalidArgumentError, match="region"):
        Capture(copy, by_api(origin) if origin.list_streams() else origin, region="x")
    origin.create_stream("s")
    with pytest.raises(InvalidArgumentError, match="start"):
        by_api(origin, start="YESTERDAY")
    with pytest.raises(streamstore.StoreNotFoundError):
        open_source(f"store:{tmp_path / 'none'}#s")


def test_a_checkpoint_of_the_source_works_on_the_capture(store, origin):
    """What a reader of the source did is left out, its shard's parents too; of other shards everything comes."""
    stream = origin.create_stream("s", shard_count=2)
    put(stream, 60)
    stream.split_shard("shardId-000000000000")
    put(stream, 60, 60)
    copy = store.create_stream("copy")
    once(copy, by_api(origin))
    copy.put_record(b"not captured")
    shards = [[r for r in stream.read() if r.shard_id == f"shardId-00000000000{index}"] for index in range(4)]
    checkpoint = {
        "shardId-000000000001": shards[1][10].sequence_number,
        "shardId-000000000002": shards[2][-1].sequence_number,
    }
    wanted = [*shards[1][11:], *shards[3]]
    assert {record.data for record in read_from(copy, checkpoint)} == {r.data for r in wanted} | {b"not captured"}
    assert len(list(read_from(copy, {}))) == 121


def test_enhanced_fan_out_takes_the_same(store, origin):
    """As a consumer registered for it: what there is, then what comes, across a split; polling goes on behind that."""
    pytest.importorskip("granian")
    stream = origin.create_stream("s")
    put(stream, 50)
    copy = store.create_stream("copy", shard_count=2)
    with streamstore.serve_in_thread(origin) as server:
        with Capture(copy, f"{server.url}/s", consumer="me") as capture:
            assert capture.run(follow=False).records == 50
        with Capture(copy, f"{server.url}/s", consumer="me") as capture:
            thread = threading.Thread(target=capture.run)
            thread.start()
            put(stream, 30, 50)
            stream.split_shard("shardId-000000000000")
            put(stream, 30, 80)
            limit = time.monotonic() + 60
            while capture.records < 60 and time.monotonic() < limit:
                time.sleep(0.01)
            capture.stop()
            thread.join()
        put(stream, 5, 110)
        assert once(copy, open_source(f"{server.url}/s", interval=0.05)) == 5
    assert same(copy, stream)


def test_each_key_stays_in_order_across_splits_and_merges(store, origin):
    """Shards that came from others wait for those, however long these take to be read."""
    stream = origin.create_stream("s", shard_count=2)
    for step in range(4):
        stream.put_records([(b"%d" % (step * 30 + number), f"u{number % 9}") for number in range(30)])
        stream.update_shard_count((3, 2, 4, 1)[step])
    client = Troubled(origin.boto3_client(), {"get_shard_iterator": ["LimitExceededException"] * 2})
    copy = store.create_stream("copy")
    assert once(copy, kinesis_source(None, "s", client=client, interval=0.02)) == 120
    found = list(copy.read())
    for user in range(9):
        mine = [int(record.data) for record in found if record.partition_key == f"u{user}"]
        assert mine == sorted(mine)
