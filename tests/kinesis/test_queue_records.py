"""A queue's records through the API: received, acknowledged, given time, dead, restored; one entry stops no other."""

from __future__ import annotations

import threading
import time

import pytest
from boto_clients import no_retries
from queue_calls import dead_after, failure, handles, make_queue, make_stream, outcome, put, receive

import streamstore
from streamstore import clock, errors
from streamstore.kinesis import deliveries, wire
from streamstore.kinesis import handles as tokens
from streamstore.kinesis.door import client
from streamstore.kinesis.faults import Faults
from streamstore.kinesis.wire import HttpRequest
from streamstore.queue import events
from streamstore.retention import TrustedClock

VISIBILITY = "VisibilityTimeoutSeconds"
DEAD = "DeadLetterConfiguration"


@pytest.fixture
def queue(kinesis):
    """The ARN of a queue over a stream of one shard; what is received stays in flight for long."""
    make_stream(kinesis)
    return make_queue(kinesis, **{VISIBILITY: 1000, DEAD: dead_after(2)})


def bodies(records):
    return [record["Data"] for record in records]


def test_a_record_is_what_was_put(kinesis, queue):
    """Data, key, times; its id is that of the stream's record, in every queue and delivery; its handle is not."""
    put(kinesis, b"\0\xff", key="clé")
    other = make_queue(kinesis, "other", **{VISIBILITY: 0})
    options = {"StreamName": "s", "ShardId": "0", "ShardIteratorType": "TRIM_HORIZON"}
    iterator = kinesis.get_shard_iterator(**options)["ShardIterator"]
    original = kinesis.get_records(ShardIterator=iterator)["Records"][0]
    first, again, elsewhere = (receive(kinesis, arn)[0] for arn in (other, other, queue))
    for record in (first, again, elsewhere):
        assert (record["Data"], record["PartitionKey"]) == (b"\0\xff", "clé")
        assert record["RecordId"] == original["SequenceNumber"]
        assert record["ApproximateArrivalTimestamp"] == original["ApproximateArrivalTimestamp"]
    assert [item["ReceiveCount"] for item in (first, again, elsewhere)] == [1, 2, 1]
    assert first["FirstReceiveTimestamp"] == again["FirstReceiveTimestamp"]
    assert len({item["ReceiptHandle"] for item in (first, again, elsewhere)}) == 3
    assert first["RecordId"].isascii()
    assert len(first["RecordId"]) <= 64


def test_up_to_ten_come_at_once(kinesis, queue):
    """Ten where nothing is said, fewer where it is; in the order of a shard."""
    put(kinesis, *[b"%d" % n for n in range(14)])
    counts = [len(receive(kinesis, queue, **options)) for options in ({"Limit": 3}, {}, {"Limit": 10})]
    assert counts == [3, 10, 1]


@pytest.mark.parametrize("dead", [False, True])
@pytest.mark.parametrize(
    "wrong",
    [
        {"Limit": 0},
        {"Limit": 11},
        {"WaitTimeSeconds": 0},
        {"WaitTimeSeconds": 21},
        {VISIBILITY: -1},
        {VISIBILITY: 43201},
    ],
)
def test_receives_out_of_range_are_refused(store, dead, wrong):
    """Before anything is received."""
    kinesis = client(store, config=no_retries())
    make_stream(kinesis)
    arn = make_queue(kinesis)
    call = kinesis.receive_dead_letter_queue_records if dead else kinesis.receive_queue_records
    assert failure(call, QueueARN=arn, **wrong) == "ValidationException"
    put(kinesis, b"x")
    assert len(receive(kinesis, arn, Limit=10, WaitTimeSeconds=20, VisibilityTimeoutSeconds=43200)) == 1


def test_entries_out_of_range_are_refused(store):
    """None, more than ten, handles too short or too long or missing, visibilities; in all five that take entries."""
    kinesis = client(store, config=no_retries())
    make_stream(kinesis)
    arn = make_queue(kinesis)
    for name, more in (
        ("acknowledge_queue_records", {}),
        ("update_queue_records_visibility", {VISIBILITY: 1}),
        ("acknowledge_dead_letter_queue_records", {}),
        ("restore_dead_letter_queue_records", {}),
        ("update_dead_letter_queue_records_visibility", {VISIBILITY: 1}),
    ):
        call = getattr(kinesis, name)
        good = {"ReceiptHandle": "x", **more}
        wrong = [[], [good] * 11, [{**good, "ReceiptHandle": ""}], [{**good, "ReceiptHandle": "x" * 1025}], [{}]]
        if more:
            wrong += [[{**good, VISIBILITY: value}] for value in (-1, 43201, None)]
        for entries in wrong:
            assert failure(call, QueueARN=arn, Entries=entries) == "ValidationException", (name, entries)
        assert failure(call, QueueARN=arn) == "ValidationException", name
        longest = {**good, "ReceiptHandle": "x" * 1024, **({VISIBILITY: 43200} if more else {})}
        assert outcome(call(QueueARN=arn, Entries=[good] * 9 + [longest])) == (0, ["InvalidArgumentException"] * 10)


def test_a_receive_waits_for_a_record(kinesis, queue):
    """And answers as soon as there is one; with none, an empty list when its time is over."""
    began = time.monotonic()
    assert receive(kinesis, queue, WaitTimeSeconds=1) == []
    assert time.monotonic() - began >= 1
    found = []
    waiting = threading.Thread(target=lambda: found.extend(receive(kinesis, queue, WaitTimeSeconds=20)))
    waiting.start()
    put(kinesis, b"late")
    waiting.join(15)
    assert bodies(found) == [b"late"]


def test_a_receive_waits_for_what_is_given_back_and_for_dead_letters(kinesis, queue):
    """Also in a thread that waited before there was any."""
    put(kinesis, b"x")
    record = receive(kinesis, queue)
    found = []
    waiting = [
        threading.Thread(
            target=lambda d=dead: found.append((d, bodies(receive(kinesis, queue, d, WaitTimeSeconds=20))))
        )
        for dead in (False, True)
    ]
    waiting[0].start()
    kinesis.update_queue_records_visibility(QueueARN=queue, Entries=handles(record, VisibilityTimeoutSeconds=0))
    waiting[0].join(15)
    assert found == [(False, [b"x"])]
    waiting[1].start()
    kinesis.update_queue(QueueARN=queue, QueueAttributes={DEAD: dead_after(1)})
    put(kinesis, b"y")
    receive(kinesis, queue, VisibilityTimeoutSeconds=0)
    waiting[1].join(15)
    assert found[1:] == [(True, [b"y"])]


def test_a_receive_that_waits_goes_by_the_visibility_of_the_moment(kinesis, queue, store):
    """Where the request says none: what an update says holds for what is received after it."""
    found = []
    waiting = threading.Thread(target=lambda: found.extend(receive(kinesis, queue, WaitTimeSeconds=20)))
    waiting.start()
    kinesis.update_queue(QueueARN=queue, QueueAttributes={VISIBILITY: 0})
    put(kinesis, b"x")
    waiting.join(15)
    assert bodies(found) == [b"x"]
    assert store.open_queue("q").stats()["in_flight"] == 0


def test_a_record_comes_again_until_it_is_acknowledged(kinesis, queue):
    """At once with no visibility; a handle of an earlier delivery is no good any more."""
    put(kinesis, b"x")
    first = receive(kinesis, queue, VisibilityTimeoutSeconds=0)
    second = receive(kinesis, queue)
    assert [item["ReceiveCount"] for item in first + second] == [1, 2]
    call = kinesis.acknowledge_queue_records
    assert outcome(call(QueueARN=queue, Entries=handles(first))) == (0, ["InvalidArgumentException"])
    assert outcome(call(QueueARN=queue, Entries=handles(second))) == (1, [])
    assert outcome(call(QueueARN=queue, Entries=handles(second))) == (1, [])  # again is no failure
    assert receive(kinesis, queue) == []


def test_each_entry_has_a_result_of_its_own(kinesis, queue):
    """Good ones are done beside those that are not, in both lists in the order of the request."""
    put(kinesis, b"a", b"b", b"c")
    other = make_queue(kinesis, "other")
    foreign = receive(kinesis, other, Limit=1)
    a, b, c = receive(kinesis, queue)
    torn = {**b, "ReceiptHandle": b["ReceiptHandle"][:-4] + "AAA="}
    garbage = {"ReceiptHandle": "é" * 8}
    answer = kinesis.acknowledge_queue_records(QueueARN=queue, Entries=handles([garbage, c, torn, a, *foreign, a]))
    assert answer["Successful"] == handles([c, a, a])
    assert [item["ReceiptHandle"] for item in answer["Failed"]] == [
        item["ReceiptHandle"] for item in (garbage, torn, *foreign)
    ]
    assert {item["ErrorCode"] for item in answer["Failed"]} == {"InvalidArgumentException"}
    assert all(item["ErrorMessage"] for item in answer["Failed"])
    changed = kinesis.update_queue_records_visibility(
        QueueARN=queue, Entries=[*handles([a], VisibilityTimeoutSeconds=5), *handles([b], VisibilityTimeoutSeconds=0)]
    )
    assert outcome(changed) == (1, ["ResourceNotFoundException"])
    assert bodies(receive(kinesis, queue)) == [b"b"]


def test_acknowledging_touches_neither_the_stream_nor_other_queues(kinesis, queue):
    """The record stays for whoever else reads it."""
    put(kinesis, b"x")
    other = make_queue(kinesis, "other")
    kinesis.acknowledge_queue_records(QueueARN=queue, Entries=handles(receive(kinesis, queue)))
    assert bodies(receive(kinesis, other)) == [b"x"]


def test_records_of_all_shards_come_also_after_a_split(kinesis):
    """Acknowledged in one call though they stand in several."""
    make_stream(kinesis, shards=2)
    arn = make_queue(kinesis, **{VISIBILITY: 1000})
    for round in range(2):
        for key in range(8):
            put(kinesis, b"%d" % (8 * round + key), key=f"k{key}")
        if not round:
            kinesis.split_shard(StreamName="s", ShardToSplit="0", NewStartingHashKey=str(1 << 126))
    found = []
    while len(found) < 16:
        records = receive(kinesis, arn, WaitTimeSeconds=5)
        assert records
        assert outcome(kinesis.acknowledge_queue_records(QueueARN=arn, Entries=handles(records))) == (len(records), [])
        found += bodies(records)
    assert sorted(map(int, found)) == list(range(16))


# --- dead letters -------------------------------------------------------------------------------------------------


def die(kinesis, arn, *records):
    """Put, and receive too often; the last receive."""
    put(kinesis, *records)
    for _ in range(2):
        last = receive(kinesis, arn, VisibilityTimeoutSeconds=0)
        assert bodies(last) == list(records)
    return last


def test_what_is_received_too_often_is_a_dead_letter(kinesis, queue):
    """Received no more; shown with its data, its receives and a handle of its own, to one receiver at a time."""
    last = die(kinesis, queue, b"a", b"b")
    letters = receive(kinesis, queue, dead=True, Limit=1)
    assert [(item["Data"], item["ReceiveCount"], item["PartitionKey"]) for item in letters] == [(b"a", 2, "k")]
    assert bodies(receive(kinesis, queue, dead=True, VisibilityTimeoutSeconds=0)) == [b"b"]
    assert receive(kinesis, queue) == []
    for call, more in (
        (kinesis.acknowledge_queue_records, {}),
        (kinesis.update_queue_records_visibility, {"VisibilityTimeoutSeconds": 1}),
    ):
        assert outcome(call(QueueARN=queue, Entries=handles(last, **more))) == (0, ["InvalidArgumentException"] * 2)
    put(kinesis, b"live")
    live = receive(kinesis, queue)
    assert bodies(live) == [b"live"]
    wrong = kinesis.acknowledge_queue_records(QueueARN=queue, Entries=handles(letters))
    assert outcome(wrong) == (0, ["InvalidArgumentException"])
    wrong = kinesis.acknowledge_dead_letter_queue_records(QueueARN=queue, Entries=handles(live))
    assert outcome(wrong) == (0, ["InvalidArgumentException"])


def test_a_dead_letter_is_acknowledged_or_restored(kinesis, queue):
    """Restored it counts from one again; a handle that was overtaken or used up is refused, entry by entry."""
    die(kinesis, queue, b"a", b"b", b"c")
    first = receive(kinesis, queue, dead=True, VisibilityTimeoutSeconds=0)
    a, b, c = receive(kinesis, queue, dead=True)
    restored = kinesis.restore_dead_letter_queue_records(
        QueueARN=queue, Entries=handles([first[0], a, {"ReceiptHandle": "x"}])
    )
    assert outcome(restored) == (1, ["InvalidArgumentException"] * 2)
    done = kinesis.acknowledge_dead_letter_queue_records(QueueARN=queue, Entries=handles([b, b, a]))
    assert outcome(done) == (2, ["InvalidArgumentException"])
    again = kinesis.acknowledge_dead_letter_queue_records(QueueARN=queue, Entries=handles([b]))
    assert outcome(again) == (1, [])
    gone = kinesis.restore_dead_letter_queue_records(QueueARN=queue, Entries=handles([b]))
    assert outcome(gone) == (0, ["ResourceNotFoundException"])
    back = receive(kinesis, queue)
    assert [(item["Data"], item["ReceiveCount"]) for item in back] == [(b"a", 1)]
    later = kinesis.update_dead_letter_queue_records_visibility(
        QueueARN=queue, Entries=handles([c, a, b], VisibilityTimeoutSeconds=0)
    )
    assert outcome(later) == (1, ["InvalidArgumentException", "ResourceNotFoundException"])
    assert bodies(receive(kinesis, queue, dead=True)) == [b"c"]


def test_without_dead_letters_a_record_comes_for_ever(kinesis):
    """TargetType NONE."""
    make_stream(kinesis)
    arn = make_queue(kinesis, **{VISIBILITY: 0, DEAD: dead_after(0)})
    put(kinesis, b"x")
    assert [receive(kinesis, arn)[0]["ReceiveCount"] for _ in range(9)] == list(range(1, 10))
    assert receive(kinesis, arn, dead=True) == []


def test_retention_takes_records_out_of_a_queue(store):
    """Those that wait, those in flight, and dead letters."""
    moved = [0]
    store.clock = TrustedClock(lambda: 0, lambda: clock.now_us() + moved[0])
    kinesis = client(store, config=no_retries())
    make_stream(kinesis)
    arn = make_queue(kinesis, **{VISIBILITY: 0, DEAD: dead_after(1)})
    put(kinesis, b"dies")
    receive(kinesis, arn)
    put(kinesis, b"held", b"waits")
    held = receive(kinesis, arn, Limit=1, VisibilityTimeoutSeconds=1)
    assert bodies(held) == [b"held"]
    moved[0] = 25 * 3600 * 1_000_000
    assert receive(kinesis, arn, dead=True) == []
    assert receive(kinesis, arn, WaitTimeSeconds=2) == []
    facts = store.open_queue("q").stats()
    assert (facts["dead"], facts["fresh"], facts["total_expired"]) == (0, 0, 3)


def test_the_services_time_ends_visibility_timeouts(kinesis, queue, service):
    """As tests move it on: records and dead letters are there again, and a receive that waits is woken."""
    put(kinesis, b"a")
    receive(kinesis, queue)
    service.advance(900_000_000)
    assert receive(kinesis, queue) == []
    found = []
    waiting = threading.Thread(target=lambda: found.extend(receive(kinesis, queue, WaitTimeSeconds=20)))
    waiting.start()
    service.advance(101_000_000)
    waiting.join(15)
    assert [(item["Data"], item["ReceiveCount"]) for item in found] == [(b"a", 2)]
    service.advance(1_001_000_000)
    assert bodies(receive(kinesis, queue, dead=True)) == [b"a"]
    assert receive(kinesis, queue, dead=True) == []
    service.advance(1_001_000_000)
    assert bodies(receive(kinesis, queue, dead=True)) == [b"a"]


# --- the same queue in Python -------------------------------------------------------------------------------------


def test_the_embedded_queue_and_the_wire_are_one(kinesis, queue, store):
    """What one has in flight the other does not get; each sees what the other settled."""
    put(kinesis, b"a", b"b", b"c")
    embedded = store.open_queue("q")
    (theirs,) = receive(kinesis, queue, Limit=1)
    mine = embedded.get()
    assert (theirs["Data"], mine.body) == (b"a", b"b")
    mine.nack()
    (again,) = receive(kinesis, queue, Limit=1)
    assert (again["Data"], again["ReceiveCount"]) == (b"b", 2)
    assert again["FirstReceiveTimestamp"].timestamp() == pytest.approx(mine.first_received.timestamp(), abs=0.002)
    kinesis.acknowledge_queue_records(QueueARN=queue, Entries=handles([theirs, again]))
    assert embedded.get().body == b"c"
    facts = embedded.stats()
    assert (facts["total_acknowledged"], facts["in_flight"]) == (2, 1)


def test_what_the_wire_holds_outlives_the_process_that_handed_it_out(store, tmp_path):
    """Only time takes it, as with the service; what this process holds itself comes back at once."""
    kinesis = client(store, config=no_retries())
    make_stream(kinesis)
    arn = make_queue(kinesis, **{VISIBILITY: 1000})
    put(kinesis, b"a", b"b")
    receive(kinesis, arn, Limit=1)
    assert store.open_queue("q").get().body == b"b"
    store.close()
    with streamstore.open(tmp_path / "store") as again:
        assert [item.body for item in again.open_queue("q").get_many(10)] == [b"b"]


def test_handles_from_before_a_power_cut_are_refused_where_the_cut_may_have_taken_records(store, monkeypatch):
    """A position may hold another record by now. On a `sync` stream it cannot."""
    kinesis = client(store, config=no_retries())
    arns = []
    for name, durability in (("s", "process"), ("t", "sync")):
        store.create_stream(name, durability=durability)
        arns.append(make_queue(kinesis, name, stream=name))
        put(kinesis, b"x", stream=name)
    entries = [handles(receive(kinesis, arn)) for arn in arns]
    monkeypatch.setattr(deliveries, "_boot", lambda engine: 7)
    outcomes = [
        outcome(kinesis.acknowledge_queue_records(QueueARN=arn, Entries=entry))
        for arn, entry in zip(arns, entries, strict=True)
    ]
    assert outcomes == [(0, ["InvalidArgumentException"]), (1, [])]


def test_a_delivery_that_a_power_cut_took_back_is_not_acknowledged(kinesis, queue, store):
    """Neither here nor in Python: what will be received again was not done for good."""
    put(kinesis, b"x")
    embedded = store.open_queue("q")
    message = embedded.get()
    message.extend(0)
    record = receive(kinesis, queue)
    with embedded.engine.journal.lock:  # what is left where the cut took the end of the delivery log
        start = embedded.engine.source.first(0)
        assert embedded.engine.journal.append(events.other("lose", 0, start))
    for call, more in (
        (kinesis.acknowledge_queue_records, {}),
        (kinesis.update_queue_records_visibility, {"VisibilityTimeoutSeconds": 1}),
    ):
        assert outcome(call(QueueARN=queue, Entries=handles(record, **more))) == (0, ["InvalidArgumentException"])
    with pytest.raises(errors.StaleReceiptError):
        embedded.ack(message.receipt)
    assert bodies(receive(kinesis, queue)) == [b"x"]


def test_what_settles_is_durable_when_it_is_answered(store):
    """On a `sync` stream: acknowledgements and restores, of records and dead letters; not receives."""
    kinesis = client(store, config=no_retries())
    store.create_stream("t", durability="sync")
    arn = make_queue(kinesis, stream="t", **{VISIBILITY: 1000, DEAD: dead_after(1)})
    journal = store.open_queue("q").engine.journal

    def unsynced():
        return journal.tail - journal.open().state().durable

    put(kinesis, b"a", b"b", b"c", stream="t")
    done = receive(kinesis, arn, Limit=1)
    assert unsynced() > 0
    kinesis.acknowledge_queue_records(QueueARN=arn, Entries=handles(done))
    assert unsynced() == 0
    receive(kinesis, arn, VisibilityTimeoutSeconds=0)
    for call in (kinesis.restore_dead_letter_queue_records, kinesis.acknowledge_dead_letter_queue_records):
        letters = receive(kinesis, arn, dead=True, Limit=1)
        assert unsynced() > 0
        call(QueueARN=arn, Entries=handles(letters))
        assert unsynced() == 0


def test_handles_are_ours_or_nothing():
    """Every bit counts."""
    key = b"k" * 32
    handle = tokens.Handle(tokens.LIVE, 7, 1, 4096, 99, 5)
    text = tokens.encode(key, handle)
    assert tokens.decode(key, text) == handle
    assert tokens.decode(b"other" * 6, text) is None
    for place, char in enumerate(text):
        assert tokens.decode(key, text[:place] + ("A" if char != "A" else "B") + text[place + 1 :]) is None
    for other in ("", text + "\n", text[:-4], text.rstrip("="), "é"):
        assert tokens.decode(key, other) is None


def test_in_cbor_data_is_bytes_and_times_are_tagged(service):
    """As all else in that encoding."""
    cbor2 = pytest.importorskip("cbor2")
    kinesis = client(service.store, service=service, config=no_retries())
    make_stream(kinesis)
    arn = make_queue(kinesis)
    put(kinesis, b"\0x")
    headers = {
        "content-type": "application/x-amz-cbor-1.1",
        "x-amz-target": "Kinesis_20131202.ReceiveQueueRecords",
    }
    request = HttpRequest("POST", "/", "", headers, cbor2.dumps({"QueueARN": arn}))
    answer = wire.answer(service, request, lambda asked, operation: service.caller)
    (record,) = wire.codec_for("application/x-amz-cbor-1.1").decode(answer.body)["QueueRecords"]
    assert (answer.status, record["Data"], record["ReceiveCount"]) == (200, b"\0x", 1)
    assert abs(record["FirstReceiveTimestamp"].ms - service.now_us() // 1000) < 60_000


def test_a_lost_answer_leaves_its_records_in_flight(store, service):
    """The fault that a test asks for strikes when there are records, and not when there is nothing yet."""
    service.faults = Faults()
    kinesis = client(store, service=service, config=no_retries())
    make_stream(kinesis)
    arn = make_queue(kinesis)
    service.faults.drop_answers("ReceiveQueueRecords")
    threading.Timer(0.1, put, (kinesis, b"x")).start()
    with pytest.raises(Exception, match="InternalFailure"):
        receive(kinesis, arn, WaitTimeSeconds=20)
    assert store.open_queue("q").stats()["in_flight"] == 1
