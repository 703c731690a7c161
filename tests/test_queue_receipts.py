"""Receipts as text, kept somewhere while the store lived on: after a reboot, after a power cut, in a restored store."""

from __future__ import annotations

import queue as std
import shutil

import pytest

import streamstore
from streamstore import clock, errors
from streamstore.queue import each
from streamstore.queue.attach import parse_receipt


@pytest.fixture
def path(tmp_path):
    with streamstore.open(tmp_path / "store", durability="process") as store:
        queue = store.queue("jobs")
        queue.put_many(["first", "a", "b"])
        queue.get().ack()
    return tmp_path / "store"


@pytest.fixture
def reboot(monkeypatch):
    """The machine starts anew: another boot id, and a boot clock that begins at nothing."""
    boots = []

    def again():
        boots.append(1)
        boot, began_ns = f"boot {len(boots)}", clock.boot_ns()
        monkeypatch.setattr(clock, "boot_id", lambda: boot)
        boot_ns = clock.boot_ns
        monkeypatch.setattr(clock, "boot_ns", lambda: boot_ns() - began_ns + 1_000_000)

    return again


def test_a_receipt_from_before_a_reboot_is_good_until_somebody_receives_again(path, reboot):
    """Nothing is in flight after one, and an acknowledgement that comes first still counts."""
    with streamstore.open(path) as store:
        receipts = [message.receipt for message in store.queue("jobs").get_many(2, visibility=43_200)]
    reboot()
    with streamstore.open(path) as store:
        queue = store.queue("jobs")
        assert queue.qsize() == 2
        queue.ack(receipts[0])
        queue.ack(receipts[0])
        again = queue.get_nowait()
        assert (again.body, again.receive_count) == ("b", 2)
        for call in (lambda: queue.ack(receipts[1]), lambda: queue.extend(receipts[1], 5)):
            with pytest.raises(errors.StaleReceiptError, match="delivered again"):
                call()
        again.ack()
        assert queue.stats()["total_acknowledged"] == 3


def test_an_extension_from_before_a_reboot_is_of_the_clock_that_runs_now(path, reboot):
    """A receipt that is still good extends from now on, whatever the boot clock said before."""
    with streamstore.open(path) as store:
        receipt = store.queue("jobs").get(visibility=43_200).receipt
    reboot()
    with streamstore.open(path) as store:
        queue = store.queue("jobs")
        queue.extend(receipt, 600)
        assert queue.get_nowait().body == "b"
        with pytest.raises(std.Empty):
            queue.get_nowait()
        (delivery,) = [item for item in queue.engine.journal.state.live.values() if item.receives == 1][:1]
        assert 500_000_000 < delivery.deadline_us - clock.boot_us() <= 600_000_000
        queue.ack(receipt)


@pytest.mark.parametrize("rebooted", [True, False])
def test_a_receipt_whose_delivery_was_lost_acknowledges_no_other(path, tmp_path, reboot, rebooted):
    """A power cut, or a restore, took the delivery: the message goes to another worker, under another number."""
    shutil.copytree(path, tmp_path / "before")
    with streamstore.open(path) as store:
        lost = store.queue("jobs").get().receipt
    shutil.rmtree(path)
    shutil.move(tmp_path / "before", path)
    if rebooted:
        reboot()
    with streamstore.open(path) as store:
        queue = store.queue("jobs")
        with pytest.raises(errors.StaleReceiptError, match="never given"):
            queue.ack(lost)
        other = queue.get_nowait()
        assert other.body == "a"
        for call in (lambda: queue.ack(lost), lambda: queue.extend(lost, 0), lambda: queue.ack(other, lost)):
            with pytest.raises(errors.StaleReceiptError, match="delivered again"):
                call()
        assert queue.stats()["in_flight"] == 1
        other.ack()


def test_numbers_stay_apart_where_the_wall_clock_went_back(path, tmp_path, monkeypatch, reboot):
    """A machine that forgets the time with its power: the attachment that numbered what was lost is durable."""
    with streamstore.open(path) as store:
        queue = store.queue("jobs")
        assert queue.qsize() == 2
        shutil.copytree(path, tmp_path / "cut")  # as a power cut leaves it: what is synced is there
        lost = queue.get().receipt
    reboot()
    monkeypatch.setattr(clock, "now_us", lambda: 1_000_000)
    with streamstore.open(tmp_path / "cut") as store:
        queue = store.queue("jobs")
        other = queue.get_nowait()
        with pytest.raises(errors.StaleReceiptError, match="delivered again"):
            queue.ack(lost)
        other.ack()


@pytest.mark.parametrize("noticed", [False, True])
@pytest.mark.parametrize("wire", [False, True])
def test_what_a_dead_process_held_is_kept_by_who_extends_it(path, noticed, wire):
    """Its death gave it back; the extension takes it again, for its whole time, until the one who extended ends."""
    with streamstore.open(path) as store, streamstore.open(path) as other:
        queue, follower = store.queue("jobs"), other.queue("jobs")
        with streamstore.open(path) as dying:
            receipt = dying.queue("jobs").get(visibility=600).receipt
        if noticed:
            assert follower.stats()["waiting"] == 1
        if wire:
            assert each.extend(queue.engine, [parse_receipt(receipt)], [600_000_000]) == [None]
        else:
            queue.extend(receipt, 600)
        for worker in (follower, queue):
            assert worker.stats()["in_flight"] == 1
        assert follower.get_nowait().body == "b"
        for worker in (follower, queue):
            with pytest.raises(std.Empty):
                worker.get_nowait()
        store.close()
        if wire:
            with pytest.raises(std.Empty):
                follower.get_nowait()
        else:
            assert follower.get(timeout=10).body == "a"
            with pytest.raises(errors.StaleReceiptError):
                follower.ack(receipt)


@pytest.fixture
def expired(tmp_path):
    """A queue over a stream, and a message in flight whose record retention took, which nobody noticed yet."""
    with streamstore.open(tmp_path / "expired", maintenance=False) as store:
        stream = store.create_stream("clicks")
        queue = store.create_queue("billing", "clicks", start="TRIM_HORIZON", max_receive_count=0)
        stream.put_record(b"old", "k")
        message = queue.get()
        stream.clear()
        yield queue, message


@pytest.mark.parametrize("act", ["ack", "nack", "extend", "dead"])
def test_a_receipt_is_good_until_somebody_notices_that_its_record_expired(expired, act):
    """The work was done: it counts as acknowledged. Whatever else is said of it, nobody gets it, and it is counted."""
    queue, message = expired
    assert not getattr(message, act)(*([5] if act == "extend" else []))
    with pytest.raises(std.Empty):
        queue.get_nowait()
    assert list(queue.dead_letters) == []
    facts = queue.stats()
    assert (facts["total_acknowledged"], facts["total_expired"]) == ((1, 0) if act == "ack" else (0, 1))
    assert (facts["waiting"], facts["in_flight"], facts["dead"]) == (0, 0, 0)


@pytest.mark.parametrize("act", ["ack", "nack", "extend", "dead"])
def test_what_expired_and_was_noticed_is_as_what_was_acknowledged(expired, act):
    """Any look of any process notices it."""
    queue, message = expired
    assert queue.stats()["total_expired"] == 1
    if act == "ack":
        message.ack()
    else:
        with pytest.raises(errors.StaleReceiptError):
            getattr(message, act)(*([5] if act == "extend" else []))
    facts = queue.stats()
    assert (facts["total_acknowledged"], facts["total_expired"]) == (0, 1)
