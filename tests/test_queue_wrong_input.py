"""What a queue says to wrong input: an error of its own for each case, before anything is done, and nothing lost."""

from __future__ import annotations

import math
import queue as std

import pytest

import streamstore
from streamstore import errors

BAD_DURATIONS = [
    (-1, errors.InvalidArgumentError),
    (43_201, errors.InvalidArgumentError),
    (math.nan, errors.InvalidArgumentError),
    (math.inf, errors.InvalidArgumentError),
    ("9", errors.InvalidTypeError),
    (True, errors.InvalidTypeError),
]
CALLS_OF_A_QUEUE = {
    "put": lambda queue: queue.put("x"),
    "put_nowait": lambda queue: queue.put_nowait("x"),
    "put_many": lambda queue: queue.put_many(["x"]),
    "get": lambda queue: queue.get(timeout=1),
    "get_nowait": lambda queue: queue.get_nowait(),
    "get_many": lambda queue: queue.get_many(2, timeout=1),
    "ack": lambda queue: queue.ack("0-64-1"),
    "extend": lambda queue: queue.extend("0-64-1", 5),
    "qsize": lambda queue: queue.qsize(),
    "empty": lambda queue: queue.empty(),
    "full": lambda queue: queue.full(),
    "stats": lambda queue: queue.stats(),
    "join": lambda queue: queue.join(timeout=1),
    "purge": lambda queue: queue.purge(),
    "configure": lambda queue: queue.configure(visibility=7),
    "dead letters": lambda queue: queue.dead_letters.list(),
    "dead restore": lambda queue: queue.dead_letters.restore(),
    "dead purge": lambda queue: queue.dead_letters.purge(),
    "dead receive": lambda queue: queue.dead_letters.receive(),
    "len of dead": lambda queue: len(queue.dead_letters),
}
CALLS_OF_A_MESSAGE = {
    "ack": lambda message: message.ack(),
    "nack": lambda message: message.nack(),
    "dead": lambda message: message.dead("why"),
    "extend": lambda message: message.extend(5),
}


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda store: store.queue(7), errors.InvalidTypeError),
        (lambda store: store.queue("no/such"), errors.InvalidArgumentError),
        (lambda store: store.queue("jobs", colour="red"), errors.InvalidArgumentError),
        (lambda store: store.queue("jobs", codec="pickle"), errors.InvalidArgumentError),
        (lambda store: store.queue("jobs", codec=7), errors.InvalidTypeError),
        (lambda store: store.queue("jobs", max_receive_count=1_001), errors.InvalidArgumentError),
        (lambda store: store.queue("plain"), errors.StreamExistsError),
        (lambda store: store.create_queue("over", "none"), errors.StreamNotFoundError),
        (lambda store: store.queue("jobs").put(1, key=""), errors.InvalidArgumentError),
        (lambda store: store.queue("jobs").put(1, id=3), errors.InvalidTypeError),
        (lambda store: store.queue("jobs").get(timeout=-1), errors.InvalidArgumentError),
        (lambda store: store.queue("jobs").get(timeout="soon"), errors.InvalidTypeError),
        (lambda store: store.queue("jobs", max_records=5).put(1, timeout=-1), errors.InvalidArgumentError),
        (lambda store: store.queue("jobs").get_many(0), errors.InvalidArgumentError),
        (lambda store: store.queue("jobs").get_many(1.5), errors.InvalidTypeError),
        (lambda store: store.queue("jobs").put_many([1, 2], keys=["a"]), errors.InvalidArgumentError),
        (lambda store: store.queue("jobs").put_many([1, 2], ids=["a"]), errors.InvalidArgumentError),
        (lambda store: store.queue("jobs").dead_letters.receive(0), errors.InvalidArgumentError),
        (lambda store: store.queue("jobs").dead_letters.restore([7]), errors.InvalidArgumentError),
        (lambda store: store.queue("jobs").dead_letters.purge(["7"]), errors.InvalidArgumentError),
    ],
)
def test_wrong_arguments_have_their_own_errors(store, call, error):
    """Nothing is put, nothing is lost."""
    store.create_stream("plain")
    with pytest.raises(error):
        call(store)
    if "jobs" in store.list_queues():
        assert store.queue("jobs").empty()


@pytest.mark.parametrize(("duration", "error"), BAD_DURATIONS)
def test_a_visibility_out_of_its_range_is_refused_everywhere(store, duration, error):
    """In the settings, in a receive, in an extension, as a delay; the message stays what it was."""
    with pytest.raises(error):
        store.queue("jobs", visibility=duration)
    queue = store.queue("jobs")
    queue.put("x")
    for call in (
        lambda: queue.get(visibility=duration),
        lambda: queue.get_many(2, visibility=duration),
        lambda: queue.configure(visibility=duration),
        lambda: queue.put("y", delay=duration),
        lambda: queue.dead_letters.receive(visibility=duration),
    ):
        with pytest.raises(error):
            call()
    assert queue.qsize() == 1
    message = queue.get()
    for call in (
        lambda: message.extend(duration),
        lambda: queue.extend(message.receipt, duration),
        lambda: message.nack(duration),
    ):
        with pytest.raises(error):
            call()
    assert not message.settled
    message.ack()


@pytest.mark.parametrize(
    "call", [lambda store: store.open_queue("nope"), lambda store: store.delete_queue("nope")], ids=["open", "delete"]
)
def test_a_queue_that_is_not_there_is_not_found(store, call):
    """By its name; none is made."""
    with pytest.raises(errors.StreamNotFoundError, match="nope"):
        call(store)
    assert store.list_queues() == []


MALFORMED = ["nonsense", "", "1-2", "0-64-1-1", "a-64-1", "0-x-1", "0-64-²", "-0-64-1", f"0-{1 << 64}-1"]
NEVER_GIVEN = ["0-64-9", "0-64-0", "0-6400-1", "7-64-1"]


@pytest.mark.parametrize(
    ("receipt", "error"),
    [(text, errors.InvalidArgumentError) for text in MALFORMED]
    + [(text, errors.StaleReceiptError) for text in NEVER_GIVEN],
)
def test_a_bad_receipt_is_refused(store, receipt, error):
    """Also one that is well written and was never given: of another queue, or made up. What is in flight stays so."""
    queue = store.queue("jobs")
    queue.put_many(["x", "y"])
    message = queue.get()
    for call in (lambda: queue.ack(receipt), lambda: queue.extend(receipt, 5), lambda: queue.ack(message, receipt)):
        with pytest.raises(error):
            call()
    for wrong in (7, None, b"0-64-1"):
        with pytest.raises(errors.InvalidTypeError):
            queue.ack(wrong)
    assert (queue.stats()["in_flight"], queue.qsize()) == (1, 1)
    queue.ack(message.receipt)
    queue.ack(message.receipt)


class Unpackable:
    """No codec knows it."""


def nested(depth):
    body = []
    for _ in range(depth):
        body = [body]
    return body


@pytest.mark.parametrize(
    ("codec", "body", "error"),
    [
        ("msgpack", Unpackable(), errors.InvalidTypeError),
        ("msgpack", 1 << 70, errors.InvalidTypeError),
        ("msgpack", nested(20_000), errors.InvalidArgumentError),
        ("json", nested(20_000), errors.InvalidArgumentError),
        ("json", {1, 2}, errors.InvalidTypeError),
        ("bytes", "text", errors.InvalidTypeError),
        ((str, bytes.decode), "gives a str", errors.InvalidTypeError),
        ((int.to_bytes, int.from_bytes), "no int", errors.InvalidTypeError),
        ((lambda body: bytes([body]), ord), 256, errors.InvalidArgumentError),
    ],
)
def test_a_body_that_the_codec_cannot_take_is_refused(store, codec, body, error):
    """Alone or among others: nothing of that call is put."""
    queue = store.queue("jobs", codec=codec)
    good = {"bytes": b"good"}.get(codec, 7) if isinstance(codec, str) else 7
    with pytest.raises(error):
        queue.put(body)
    with pytest.raises(error):
        queue.put_many([good, body] if isinstance(codec, str) else [body])
    assert queue.empty()


def test_a_body_that_cannot_be_decoded_is_no_loss(store):
    """It raises where it is looked at; the message can be settled, and its bytes are there."""
    store.queue("jobs", codec="bytes").put(b"\xc1")
    queue = store.open_queue("jobs", codec="json")
    message = queue.get()
    with pytest.raises(ValueError, match="decode"):
        print(message.body)
    assert message.data == b"\xc1"
    message.dead("no JSON")
    assert [letter.data for letter in queue.dead_letters] == [b"\xc1"]


@pytest.mark.parametrize("options", [{}, {"max_records": 100}, {"shard_count": 3}])
def test_a_message_over_the_limit_is_refused(store, options):
    """Alone, or with others, of which none is put then."""
    queue = store.queue("jobs", codec="bytes", max_record_size=5_000, **options)
    with pytest.raises(errors.RecordTooLargeError):
        queue.put(b"x" * 5_001)
    with pytest.raises(errors.RecordTooLargeError):
        queue.put_many([b"small", b"x" * 5_001])
    assert queue.empty()
    queue.put(b"x" * 5_000)
    assert queue.qsize() == 1


@pytest.mark.parametrize("close", ["queue", "store"])
@pytest.mark.parametrize("call", CALLS_OF_A_QUEUE.values(), ids=CALLS_OF_A_QUEUE)
def test_a_closed_queue_says_so(tmp_path, call, close):
    """Every call ends in ClosedError, and what was in it is there for the next one."""
    with streamstore.open(tmp_path / "s") as store:
        queue = store.queue("jobs")
        queue.put("kept")
        (queue if close == "queue" else store).close()
        with pytest.raises(errors.ClosedError):
            call(queue)
    with streamstore.open(tmp_path / "s") as store:
        assert store.queue("jobs").get_nowait().body == "kept"


@pytest.mark.parametrize("call", CALLS_OF_A_MESSAGE.values(), ids=CALLS_OF_A_MESSAGE)
def test_a_message_of_a_closed_store_says_so(tmp_path, call):
    """It comes again."""
    with streamstore.open(tmp_path / "s") as store:
        queue = store.queue("jobs")
        queue.put("kept")
        message = queue.get()
    with pytest.raises(errors.ClosedError):
        call(message)
    with streamstore.open(tmp_path / "s") as store:
        assert store.queue("jobs").get_nowait().receive_count == 2


def test_a_queue_that_is_full_by_its_settings_waits_for_nobody(store):
    """on_full="error" holds for many as for one."""
    queue = store.queue("jobs", max_records=2, on_full="error")
    queue.put_many([1, 2])
    for call in (lambda: queue.put(3), lambda: queue.put_many([3]), lambda: queue.put_nowait(3)):
        with pytest.raises(std.Full):
            call()
    assert queue.qsize() == 2
