"""streamstore.targets: what each target takes, keeps and refuses."""

from __future__ import annotations

import contextlib
import io
import json
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from fake_endpoint import FakeEndpoint

import streamstore
from streamstore import ClosedError, InvalidArgumentError, PutEntry, StorageError
from streamstore.capture import open_source
from streamstore.targets import (
    CallableTarget,
    JsonLinesTarget,
    KinesisTarget,
    NullTarget,
    RawTarget,
    StreamTarget,
    open_target,
)

ENTRIES = [
    PutEntry(b"one", "user-1", None, {"n": 1}, 1_715_940_303.5, {"id": "elsewhere"}),
    PutEntry(b"\xff\x00", None, 7),
    PutEntry(b"three", "user-3"),
]


@pytest.fixture
def stream(tmp_path: Path) -> Any:
    """A stream that has the entries."""
    with streamstore.open(tmp_path / "store", durability="process") as store:
        stream = store.create_stream("s")
        stream.put_records(ENTRIES)
        yield stream


def test_raw_is_a_line_for_each():
    """The data and a newline; nothing for an empty batch."""
    file = io.BytesIO()
    with RawTarget(file) as target:
        target.send(ENTRIES)
        target.send([])
    assert file.getvalue() == b"one\n\xff\x00\nthree\n"
    assert target.records == 3


def test_json_lines_say_all_of_an_entry():
    """Keys, times, attributes and source are in the line; data that is no text as base64."""
    file = io.BytesIO()
    JsonLinesTarget(file).send(ENTRIES)
    first, second, third = map(json.loads, file.getvalue().splitlines())
    assert first == {
        "partition_key": "user-1",
        "event_time": "2024-05-17T10:05:03.500000Z",
        "attributes": {"n": 1},
        "source": {"id": "elsewhere"},
        "data": "one",
    }
    assert second == {"partition_key": None, "explicit_hash_key": "7", "data_base64": "/wA="}
    assert third == {"partition_key": "user-3", "data": "three"}


def test_json_lines_of_records_say_where_they_stand(stream):
    """A record's line has its shard, number and arrival too."""
    file = io.BytesIO()
    records = list(stream.read())
    JsonLinesTarget(file).send(records)
    line = json.loads(file.getvalue().splitlines()[0])
    assert (line["shard_id"], line["sequence_number"]) == (records[0].shard_id, records[0].sequence_number)
    assert line["arrival_time"] == records[0].arrival_time.isoformat(timespec="microseconds").replace("+00:00", "Z")


def test_a_file_of_json_lines_must_not_exist(tmp_path):
    """Nothing is written over."""
    path = tmp_path / "out.jsonl"
    with open_target(str(path)) as target:
        target.send(ENTRIES)
    assert len(path.read_bytes().splitlines()) == 3
    with pytest.raises(InvalidArgumentError, match="exists already"):
        open_target(str(path))


def test_parquet_has_its_name_when_it_is_whole(tmp_path, stream):
    """Until the close there is only a partial file; after a failure there is none."""
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "out.parquet"
    with open_target(str(path)) as target:
        target.send(ENTRIES)
        target.send(list(stream.read()))
        assert not path.exists()
    table = parquet.read_table(path)
    assert table.column("data").to_pylist() == [b"one", b"\xff\x00", b"three"] * 2
    assert table.column("explicit_hash_key").to_pylist() == [None, "7", None] * 2
    assert [value is None for value in table.column("arrival_time").to_pylist()] == [True] * 3 + [False] * 3
    other = tmp_path / "other.parquet"
    target = open_target(str(other))
    target.send([PutEntry(b"x")])
    with pytest.raises(ZeroDivisionError), target:
        raise ZeroDivisionError
    assert list(tmp_path.glob("other*")) == []


def test_parquet_writes_over_nothing(tmp_path, monkeypatch):
    """A file of that name stays, one that a killed run left half is replaced, a link is not followed; synced at the
    end.
    """
    pytest.importorskip("pyarrow")
    path = tmp_path / "out.parquet"
    path.write_text("mine")
    with pytest.raises(InvalidArgumentError, match="exists already"):
        open_target(str(path))
    assert path.read_text() == "mine"
    path.rename(tmp_path / "out.parquet.partial")
    synced = []
    monkeypatch.setattr("streamstore.targets.files.os.fsync", synced.append)
    with open_target(str(path)) as target:
        target.send(ENTRIES)
    assert len(synced) == 1
    assert path.read_bytes()[:4] == b"PAR1"
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "other.parquet.partial").symlink_to(tmp_path / "mine")
    with pytest.raises(StorageError):
        open_target(str(tmp_path / "other.parquet"))
    assert (tmp_path / "mine").read_text() == "mine"


def test_attributes_that_json_has_no_word_for():
    """Bytes are told as base64; what has no form at all is refused."""
    file = io.BytesIO()
    JsonLinesTarget(file).send([PutEntry(b"x", attributes={"raw": b"\xff"})])
    assert json.loads(file.getvalue())["attributes"] == {"raw": {"$base64": "/w=="}}
    with pytest.raises(InvalidArgumentError, match="type object"):
        JsonLinesTarget(file).send([PutEntry(b"x", attributes={"odd": object()})])


def test_a_stream_target_keeps_keys_times_and_says_where_from(tmp_path, stream):
    """A source goes on as it is; a record without one gets the stream it came from."""
    with open_target(f"store:{tmp_path / 'copy'}#c", durability="process", shards=2, origin=stream) as target:
        target.send(list(stream.read()))
    with streamstore.open(tmp_path / "copy", create=False) as store:
        assert len(store.stream("c").shards()) == 2
        copies = {record.data: record for record in store.stream("c").read()}
    original = {record.data: record for record in stream.read()}
    assert copies.keys() == original.keys()
    assert copies[b"one"].source == {"id": "elsewhere"}
    assert copies[b"one"].attributes == {"n": 1}
    assert copies[b"one"].event_time == original[b"one"].event_time
    three = original[b"three"]
    assert copies[b"three"].source == {
        "from": stream.token,
        "stream": "s",
        "shard_id": three.shard_id,
        "sequence_number": three.sequence_number,
        "arrival_us": three.arrival_us,
    }


def test_a_queue_target_puts_messages(tmp_path):
    """Each item is a message, in order."""
    with open_target(f"queue:{tmp_path / 'q'}#jobs", durability="process") as target:
        target.send([PutEntry(b"a", "k"), PutEntry(b"b", "k")])
    with streamstore.Queue(tmp_path / "q", "jobs", codec="bytes") as queue:
        assert [queue.get(timeout=5).body for _ in range(2)] == [b"a", b"b"]


def test_a_callable_gets_each_item_or_batches():
    """One call an item, or one a batch."""
    seen: list[Any] = []
    CallableTarget(seen.append).send(ENTRIES)
    CallableTarget(seen.append, batches=True).send(ENTRIES)
    assert seen == [*ENTRIES, ENTRIES]


def test_null_counts():
    """What goes nowhere is counted all the same."""
    target = NullTarget()
    target.send(ENTRIES)
    assert target.records == 3


def test_a_kinesis_target_keeps_within_a_calls_limits(stream):
    """What is too much for one PutRecords goes in several, in order; keys and hash keys as they were."""
    pytest.importorskip("boto3")
    with streamstore.temporary() as store:
        store.create_stream("k", shard_count=2)
        client = store.boto3_client()
        many = [PutEntry(b"%d" % index + b"x" * 9000, f"user-{index % 9}") for index in range(1300)]
        target = KinesisTarget(client, "k")
        target.send([*many, PutEntry(b"no key", None, 1 << 127)])
        found = list(store.stream("k").read(merge=True))
    assert target.records == 1301
    assert {record.data for record in found} == {entry.data for entry in many} | {b"no key"}
    for user in range(9):
        mine = [int(record.data.rstrip(b"x")) for record in found if record.partition_key == f"user-{user}"]
        assert mine == sorted(mine)
    last = next(record for record in found if record.data == b"no key")
    assert (last.partition_key, last.shard_id) == ("-", "shardId-000000000001")


class Taking:
    """A client that takes everything; how many records came with each call, and to which stream."""

    class meta:  # noqa: N801
        endpoint_url = "http://nowhere"

    def __init__(self) -> None:
        self.calls: list[tuple[int, dict[str, Any]]] = []

    def put_records(self, *, Records: list[dict[str, Any]], **named: Any) -> dict[str, Any]:  # noqa: N803
        self.calls.append((len(Records), named))
        return {"FailedRecordCount": 0}


def test_a_call_has_500_records_and_5_mib_at_most():
    """Data and keys count; what just fits goes in one call. A stream may be named by its ARN."""
    client = Taking()
    KinesisTarget(client, "s").send([PutEntry(b"x", "k")] * 1001)
    KinesisTarget(client, "s").send([PutEntry(b"x" * ((1 << 20) - 8), "k" * 8)] * 11)
    KinesisTarget(client, "arn:s").send([PutEntry(b"x" * ((1 << 20) - 8), "k" * 9)] * 9)
    by_name, by_arn = {"StreamName": "s"}, {"StreamARN": "arn:s"}
    assert client.calls == [
        *[(count, by_name) for count in (500, 500, 1)],
        *[(count, by_name) for count in (5, 5, 1)],
        *[(count, by_arn) for count in (4, 4, 1)],
    ]


class Refusing:
    """A client that refuses what it is told to, once for each call."""

    class meta:  # noqa: N801
        endpoint_url = "http://nowhere"

    def __init__(self, *refused: set[int], code: str = "ProvisionedThroughputExceededException") -> None:
        self._refused = list(refused)
        self._code = code
        self.taken: list[bytes] = []

    def put_records(self, *, Records: list[dict[str, Any]], StreamName: str) -> dict[str, Any]:  # noqa: N803
        assert StreamName == "s"
        refused = self._refused.pop(0) if self._refused else set()
        self.taken += [each["Data"] for index, each in enumerate(Records) if index not in refused]
        results = [{"ErrorCode": self._code} if index in refused else {} for index in range(len(Records))]
        return {"FailedRecordCount": len(refused), "Records": results}


def test_what_is_refused_for_the_moment_is_sent_again_and_counted():
    """All of it gets there; those that others overtook are counted, those at the end of a batch are not."""
    client = Refusing({0, 2})
    target = KinesisTarget(client, "s")
    target.send(ENTRIES)
    assert client.taken == [b"\xff\x00", b"one", b"three"]
    assert (target.records, target.retries, target.reordered) == (3, 2, 1)


def test_pauses_grow(monkeypatch):
    """From a twentieth of a second to five, each a little shorter by chance."""
    pauses: list[float] = []
    monkeypatch.setattr("streamstore.targets.endpoint.time.sleep", pauses.append)
    KinesisTarget(Refusing(*[{0}] * 10), "s").send(ENTRIES[:1])
    full = [min(0.05 * 2**turn, 5.0) for turn in range(10)]
    assert all(0.5 * most <= pause <= most for pause, most in zip(pauses, full, strict=True))


def test_what_is_refused_for_good_is_an_error():
    """An error of another kind, or one that lasts longer than the patience, is raised."""
    with pytest.raises(StorageError, match=r"refused 1 records \(ValidationException"):
        KinesisTarget(Refusing({1}, code="ValidationException"), "s").send(ENTRIES)
    with pytest.raises(StorageError, match="ProvisionedThroughputExceededException"):
        KinesisTarget(Refusing({1}), "s", patience=-1.0).send(ENTRIES)


def test_addresses_name_targets(tmp_path, monkeypatch):
    """Each form of an address gives its target, and what is none says what would be."""
    (tmp_path / "mine_to_call.py").write_text("seen = []\ndef take(record): seen.append(record)\nnumber = 3\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with open_target("python:mine_to_call:take") as target:
        target.send(ENTRIES)
    assert sys.modules["mine_to_call"].seen == ENTRIES
    assert isinstance(open_target("null:"), NullTarget)
    assert isinstance(open_target("-"), RawTarget)
    assert isinstance(open_target("json:-"), JsonLinesTarget)
    wrong = ["nowhere", "out.csv", "store:no-name", "http://", "http://x", "http:///x", "kinesis:"]
    functions = ["mine_to_call", "mine_to_call:none", "mine_to_call:number", "no_such_module_here:f"]
    for address in (*wrong, *(f"python:{name}" for name in functions)):
        with pytest.raises(InvalidArgumentError):
            open_target(address)


def test_what_a_named_function_raises_names_it(tmp_path, monkeypatch):
    """So that nobody takes it for a fault of ours; the cause is kept."""
    (tmp_path / "mine_that_fails.py").write_text("def take(record): raise ZeroDivisionError('so')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with open_target("python:mine_that_fails:take") as target:
        with pytest.raises(InvalidArgumentError, match="mine_that_fails:take failed: ZeroDivisionError: so") as raised:
            target.send(ENTRIES)
    assert isinstance(raised.value.__cause__, ZeroDivisionError)


def test_an_endpoint_by_its_address(monkeypatch, stream):
    """http://HOST:PORT/NAME is an endpoint and a stream, and asks for no credentials that nobody set up."""
    pytest.importorskip("boto3")
    pytest.importorskip("granian")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_DEFAULT_REGION", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with streamstore.temporary(durability="process") as store, streamstore.serve_in_thread(store) as server:
        store.create_stream("clicks")
        with open_target(f"{server.url}/clicks") as target:
            target.send(ENTRIES)
        assert target.name == f"{server.url}/clicks"
        assert sum(shard.record_count for shard in store.stream("clicks").shards()) == 3


@pytest.mark.parametrize("opened", [open_target, open_source])
def test_an_endpoint_that_does_not_answer_is_told_at_the_first_call(opened):
    """It is asked once and not again and again; likewise where nobody listens at all."""
    pytest.importorskip("boto3")
    calls = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def hang_up() -> None:
            with contextlib.suppress(OSError):  # the end of the test
                while True:
                    caller, _ = listening.accept()
                    calls.append(caller.recv(1))
                    caller.close()

        threading.Thread(target=hang_up, daemon=True).start()
        port = listening.getsockname()[1]
        with pytest.raises(StorageError, match=f"127.0.0.1:{port}"):
            opened(f"http://127.0.0.1:{port}/clicks")
        listening.shutdown(socket.SHUT_RDWR)
    assert calls == [b"P"]
    with pytest.raises(StorageError, match=f"Could not connect to .*127.0.0.1:{port}"):
        opened(f"http://127.0.0.1:{port}/clicks")


def test_an_endpoint_is_asked_for_its_stream_first():
    """One without it is told before anything is sent; one that refuses to say may take records all the same."""
    pytest.importorskip("boto3")
    pytest.importorskip("granian")
    with streamstore.temporary(durability="process") as store, streamstore.serve_in_thread(store) as server:
        for opened in (open_target, open_source):
            with pytest.raises(StorageError, match=f"{server.url} has no stream 'clicks'"):
                opened(f"{server.url}/clicks")
    with FakeEndpoint(lambda _: -1.0) as fake:
        assert open_target(fake.address).name == fake.address


def test_an_endpoint_that_goes_away_for_a_while_is_waited_for():
    """What is sent while it is away gets there when it is back."""
    pytest.importorskip("boto3")
    pytest.importorskip("granian")
    with streamstore.temporary(durability="process") as store:
        store.create_stream("clicks")
        with streamstore.serve_in_thread(store) as server:
            target = open_target(f"{server.url}/clicks")
            target.send(ENTRIES)
        sending = threading.Thread(target=target.send, args=(ENTRIES,))
        sending.start()
        time.sleep(0.2)  # so that a first try finds nobody
        with streamstore.serve_in_thread(store, port=int(server.url.rpartition(":")[2])):
            sending.join()
        assert target.records == 6
        assert sum(shard.record_count for shard in store.stream("clicks").shards()) == 6


def test_a_stream_target_closes_what_it_opened(tmp_path):
    """The store that an address opened is closed with the target; one that was given stays open."""
    with streamstore.open(tmp_path / "store") as store:
        with StreamTarget(store.create_stream("s")) as target:
            target.send(ENTRIES)
        assert not store.closed
    with open_target(f"store:{tmp_path / 'own'}#s") as target:
        target.send(ENTRIES)
    with pytest.raises(ClosedError):
        target.send(ENTRIES)
