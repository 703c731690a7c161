"""The model of a queue, by plain lists: two handles and a child process, time that is moved by hand, everything that
can be done to a message, to its stream and to whoever holds it. A handle may be one over the Kinesis API.

The oracle holds: what was put is delivered, in order, until it is acknowledged, dead or past retention; nothing
acknowledged comes again; a redelivery has a nack, the time or the end of its holder behind it.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from queue_actor import Actor, ChildActor, LocalActor, Nursery, moved_wall_us

from streamstore import clock, limits
from streamstore.native import parse_sequence_number
from streamstore.queue import engine

SECOND = 1_000_000
VISIBILITY = 30
RECEIVES_MAX = 3
OTHER, CHILD = 1, 2
WHO = st.integers(0, CHILD)
WHICH = st.integers(0, 1_000)  # taken modulo what there is: a kill does not always come at the same moment
STALE = "StaleReceiptError"


@dataclass
class Put:
    """What the oracle knows of one message."""

    body: int
    key: str | None
    name: int  # shard << 64 | position
    ready_us: int  # by the moved clock; while held, the end of its visibility
    delayed: bool = False
    receives: int = 0
    holder: int | None = None
    delivery: int = 0
    state: str = "live"


@dataclass
class Held:
    """One delivery."""

    put: Put
    delivery: int
    receipt: str
    who: int


class QueueModel(RuleBasedStateMachine):
    """Actors 0 and 1 are two openings of one store here, actor 2 is another process, which is killed now and then."""

    options: ClassVar[dict[str, Any]] = {}
    nursery: ClassVar[Nursery]
    over = False  # over a stream that forgets
    local: ClassVar[type[Actor]] = Actor  # what actor 1 is made of
    outlived = False  # what actor 1 has received stays in flight when it ends

    @initialize()
    def begin(self) -> None:
        self.path = tempfile.mkdtemp(prefix="queue-model-")
        self.now_us = clock.boot_us()
        self.real_boot_ns, self.real_now_us = clock.boot_ns, clock.now_us
        clock.boot_ns, clock.now_us = lambda: self.now_us * 1000, lambda: moved_wall_us(self.now_us)
        self.chosen = {"visibility": VISIBILITY, "max_receive_count": RECEIVES_MAX, **self.options}
        self.actors: list[Any] = [self.opened(0), self.opened(1)]
        self.actors.append(self.opened(CHILD))
        self.puts: list[Put] = []
        self.held: list[Held] = []
        self.ids: dict[str, int] = {}
        self.unheard: set[int] = set()
        self.bodies = 0

    def opened(self, who: int) -> Any:
        if who == CHILD:
            return ChildActor(self.nursery, self.path, self.over, self.chosen, self.now_us)
        return LocalActor(self.path, self.over, self.chosen, self.local if who == OTHER else Actor)

    def teardown(self) -> None:
        if hasattr(self, "actors"):
            try:
                self.compare()
            finally:
                clock.boot_ns, clock.now_us = self.real_boot_ns, self.real_now_us
                for actor in self.actors:
                    actor.kill()
                shutil.rmtree(self.path, ignore_errors=True)

    def ask(self, who: int, name: str, *arguments: Any) -> Any:
        return self.actors[who].ask(name, *arguments)

    # --- what the oracle expects ------------------------------------------------------------------------------------

    def live(self) -> list[Put]:
        return [put for put in self.puts if put.state == "live"]

    def settle_time(self, who: int) -> None:
        """What came due too often is dead, at the next look: have somebody look."""
        spent = [put for put in self.live() if put.ready_us <= self.now_us and put.receives >= RECEIVES_MAX]
        if spent:
            for put in spent:
                put.state, put.holder = "dead", None
            assert self.ask(who, "dead_count") == sum(put.state == "dead" for put in self.puts)

    def deliverable(self) -> list[Put]:
        """By shard and position, which is the order of a shard's deliveries; one a key where keys have an order."""
        busy: set[str] = set()
        found = []
        for put in sorted(self.live(), key=lambda put: put.name):
            if self.options.get("key_order") and put.key is not None:
                if put.key in busy:
                    continue
                busy.add(put.key)
            if put.ready_us <= self.now_us:
                found.append(put)
        return found

    def check_order(self, got: list[Put], expected: list[Put], lineage: dict[str, list[str]]) -> None:
        """Each shard in its order, and no shard before those that it came from."""
        for shard in {put.name >> 64 for put in expected}:
            mine = [put.body for put in got if put.name >> 64 == shard]
            assert mine == [put.body for put in expected if put.name >> 64 == shard][: len(mine)]
        if self.options.get("key_order"):
            return  # what waits for its key was passed over
        waiting = {put.name >> 64 for put in expected if not put.receives and not put.delayed and put not in got}
        for put in got:
            parents = {int(item.rsplit("-", 1)[1]) for item in lineage[f"shardId-{put.name >> 64:012d}"]}
            assert put.receives or not parents & waiting, (put, parents, waiting)

    def received(self, who: int, answers: Iterable[Any], visibility: float | None) -> list[Put]:
        """Note deliveries."""
        found = []
        for body, receipt, number, receives, key in answers:
            put = next(item for item in self.puts if item.body == body)
            _, position, shard = parse_sequence_number(number)
            assert (shard << 64 | position, key, receives) == (put.name, put.key, put.receives + 1)
            put.delivery += 1
            put.holder = who
            found.append(put)
            self.held.append(Held(put, put.delivery, receipt, who))
        for put in found:
            self.deliver(put, visibility)
        return found

    def deliver(self, put: Put, visibility: float | None) -> None:
        put.receives += 1
        put.ready_us = self.now_us + (VISIBILITY * SECOND if visibility is None else 0)

    def bury(self, who: int) -> None:
        """A process ended: what it held is ready, for others as soon as they heard that it held it."""
        self.unheard = set(range(CHILD + 1))
        if who == OTHER and self.outlived:
            return
        for put in self.live():
            if put.holder == who:
                put.ready_us, put.holder = 0, None

    def note_put(self, bodies: list[int], answers: Any, key: str | None, delay: int) -> None:
        for body, (_, number) in zip(bodies, answers, strict=True):
            _, position, shard = parse_sequence_number(number)
            # A delay counts from the arrival, which nobody moves here: far longer than a test.
            ready_us = self.started_us() + delay * SECOND if delay else 0
            self.puts.append(Put(body, key, shard << 64 | position, ready_us, bool(delay)))

    def started_us(self) -> int:
        return self.real_boot_ns() // 1000

    def next_bodies(self, count: int) -> list[int]:
        self.bodies += count
        return list(range(self.bodies - count, self.bodies))

    # --- rules ------------------------------------------------------------------------------------------------------

    @rule(who=WHO, key=st.sampled_from([None, "a", "b"]), delay=st.sampled_from([0, 0, 0, 2_000]))
    def put(self, who: int, key: str | None, delay: int) -> None:
        bodies = self.next_bodies(1)
        self.note_put(bodies, self.ask(who, "put", bodies, key, delay, None), key, delay)

    @rule(who=WHO, count=st.integers(2, 5))
    def put_many(self, who: int, count: int) -> None:
        bodies = self.next_bodies(count)
        self.note_put(bodies, self.ask(who, "put", bodies, None, 0, None), None, 0)

    @precondition(lambda self: self.options.get("dedup_window"))
    @rule(who=WHO, id=st.sampled_from(["x", "y", "z"]))
    def put_once(self, who: int, id: str) -> None:
        """An id that was put already puts nothing, whatever became of its message since."""
        bodies = self.next_bodies(1)
        answers = self.ask(who, "put", bodies, None, 0, [id])
        _, position, shard = parse_sequence_number(answers[0][1])
        if id in self.ids:
            assert shard << 64 | position == self.ids[id]
        else:
            self.note_put(bodies, answers, None, 0)
            self.ids[id] = shard << 64 | position

    @rule(who=WHO, count=st.integers(1, 4), visibility=st.sampled_from([None, None, 0]))
    def get(self, who: int, count: int, visibility: float | None) -> None:
        self.move(1)  # what was due at the moment of another receive is not due for this one before the next
        self.settle_time(who)
        if who in self.unheard:
            self.ask(who, "stats")
            self.unheard.remove(who)
        expected = self.deliverable()
        lineage = self.ask(0, "lineage")
        first = {put.body: put.receives for put in expected}
        got = self.received(who, self.ask(who, "get", count, visibility), visibility)
        assert len(got) == min(count, len(expected))
        after = [put.receives for put in got]
        for put in got:
            put.receives = first[put.body]
        self.check_order(got, expected, lineage)
        for put, receives in zip(got, after, strict=True):
            put.receives = receives

    @rule(
        which=WHICH,
        act=st.sampled_from(["ack", "ack", "nack", "slow nack", "dead", "extend", "give up"]),
        where=st.sampled_from([None, None, 0, 1, CHILD]),
    )
    def settle(self, which: int, act: str, where: int | None) -> None:
        """By the message where it was received, else by its receipt, in any process."""
        if self.held:
            self.settle_one(self.held[which % len(self.held)], act, where)

    @rule(who=WHO, count=st.integers(1, 4), act=st.sampled_from(["ack", "nack", "dead", "extend"]))
    def work(self, who: int, count: int, act: str) -> None:
        """Receive and settle at once, as workers do."""
        before = len(self.held)
        self.get(who, count, None)
        for held in self.held[before:]:
            self.settle_one(held, act, None)

    def settle_one(self, held: Held, act: str, where: int | None) -> None:
        who = held.who if where is None else where
        if act in ("nack", "slow nack", "dead") and not self.ask(held.who, "is_open", held.receipt):
            return  # only who received it can do that
        who = held.who if act in ("nack", "slow nack", "dead") else who
        put = held.put
        current = put.state == "live" and put.delivery == held.delivery
        answer = self.ask(who, "settle", held.receipt, act)
        if not current:
            assert answer is None if act == "ack" and put.state == "acked" else answer[0] == STALE
            return
        assert answer is None
        if act == "ack":
            put.state = "acked"
        elif act == "dead" or ("nack" in act and put.receives >= RECEIVES_MAX):
            put.state = "dead"
        elif "nack" in act:
            put.delivery += 1
            put.holder = None
            put.ready_us = self.now_us + (50 * SECOND if act == "slow nack" else 0)
        else:
            put.ready_us = self.now_us + (200 * SECOND if act == "extend" else 0)
            if put.holder is None and not (who == OTHER and self.outlived):
                put.holder = who  # what a dead process held is held by who extends it

    @rule(seconds=st.sampled_from([1, 29, 30, 101, 5_000]))
    def let_time_pass(self, seconds: int) -> None:
        self.move(seconds * SECOND)

    def move(self, us: int) -> None:
        self.now_us += us
        self.ask(CHILD, "freeze", self.now_us)

    @rule(who=WHO)
    def reopen(self, who: int) -> None:
        """What the handle, or the process, held is free at once, unless it outlives it; and nothing else changed."""
        self.actors[who].kill()
        self.actors[who] = self.opened(who)
        self.bury(who)

    @rule(who=WHO)
    def receive_too_often(self, who: int) -> None:
        """So that there are dead letters to look at."""
        for _ in range(RECEIVES_MAX):
            self.get(who, 3, 0)

    @rule(count=st.integers(1, 4), after_ms=st.sampled_from([0, 0.05, 0.2, 1]))
    def die_receiving(self, count: int, after_ms: float) -> None:
        """It happened or it did not; what was received is free again, and counts."""
        self.settle_time(0)
        self.actors[CHILD].kill("get", count, None, after_s=after_ms / 1_000)
        self.bury(CHILD)
        expected = self.deliverable()
        found = self.ask(0, "receives")
        got = [put for put in expected if found.get(put.name, 0) == put.receives + 1]
        assert len(got) <= min(count, len(expected))  # of several shards it may have come to some
        for put in got:
            put.receives += 1
            put.delivery += 1
            put.ready_us, put.holder = 0, None
        self.actors[CHILD] = self.opened(CHILD)

    @rule(count=st.integers(1, 5), after_ms=st.sampled_from([0, 0.05, 0.2, 1]))
    def die_putting(self, count: int, after_ms: float) -> None:
        """All of them were put, or none (with ids: the first of them); where the answer came all were."""
        before = self.ask(0, "stats")
        bodies = self.next_bodies(count)
        answer = self.actors[CHILD].kill("put", bodies, "a", 0, None, after_s=after_ms / 1_000)
        self.bury(CHILD)
        after = self.ask(0, "stats")
        added = sum(after[kind] - before[kind] for kind in ("fresh", "waiting", "in_flight", "dead"))
        assert added in ((count,) if answer else range(count + 1) if self.options.get("dedup_window") else (0, count))
        if added:
            shard = [item for item in self.actors[0].actor.queue.stream.shards() if not item.is_closed]
            records = [item for part in shard for item in part.read(start="TRIM_HORIZON", limit=10_000)]
            self.note_records(bodies[:added], records)
        self.actors[CHILD] = self.opened(CHILD)

    def note_records(self, bodies: list[int], records: list[Any]) -> None:
        decode = self.actors[0].actor.queue.codec.decode
        found = {decode(record.data): record for record in records}
        self.note_put(bodies, [("", found[body].sequence_number) for body in bodies], "a", 0)

    @rule(which=WHICH, after_ms=st.sampled_from([0, 0.05, 0.2, 1]))
    def die_acknowledging(self, which: int, after_ms: float) -> None:
        """Where the answer came it never comes again; else it may."""
        theirs = [item for item in self.held if item.who == CHILD]
        if not theirs:
            return
        held = theirs[which % len(theirs)]
        put = held.put
        current = put.state == "live" and put.delivery == held.delivery
        answered = self.actors[CHILD].kill("is_open_then_ack", held.receipt, after_s=after_ms / 1_000)
        there = put.name in self.ask(0, "receives")
        self.bury(CHILD)
        if current:
            assert not (there and answered == "acked")
            if not there:
                put.state = "acked"
        self.actors[CHILD] = self.opened(CHILD)

    @rule(who=WHO)
    def restore(self, who: int) -> None:
        self.settle_time(who)
        assert self.ask(who, "restore") == sum(put.state == "dead" for put in self.puts)
        for put in self.puts:
            if put.state == "dead":
                put.state, put.ready_us, put.receives, put.holder = "live", 0, 0, None
                put.delivery += 1
                put.delayed = True  # it waits behind the cursor, as what was delayed does

    @rule(who=WHO)
    def purge_dead(self, who: int) -> None:
        self.settle_time(who)
        assert self.ask(who, "bury") == sum(put.state == "dead" for put in self.puts)
        for put in self.puts:
            if put.state == "dead":
                put.state = "acked"

    @rule(who=WHO, sure=st.sampled_from([False, False, True]))
    def purge(self, who: int, sure: bool) -> None:
        """Everything, in flight or not."""
        if sure:
            assert self.ask(who, "purge") == sum(put.state != "acked" for put in self.puts)
            for put in self.puts:
                put.state = "acked"

    @rule(who=WHO, how=st.sampled_from(["maintain", "roll"]))
    def tidy(self, who: int, how: str) -> None:
        """What is done leaves the disk, and the journal is cut, at any moment."""
        self.settle_time(who)
        assert not self.ask(who, how)

    @rule(who=WHO, count=st.integers(1, 3))
    def reshard(self, who: int, count: int) -> None:
        """Messages stay where they were put; the next ones go elsewhere."""
        assert self.ask(who, "reshard", count) is None

    @precondition(lambda self: self.over)
    @rule(who=WHO, sure=st.sampled_from([False, True]))
    def forget(self, who: int, sure: bool) -> None:
        """Retention takes every record, whatever became of its message."""
        if sure:
            assert self.ask(who, "clear") is None
            self.ask(who, "stats")  # whoever looks next notes it for all; until then receipts are as good as before
            for put in self.puts:
                put.state = "acked"  # its receipts are as those of what was acknowledged

    @rule(who=WHO)
    def look_at_dead_letters(self, who: int) -> None:
        self.settle_time(who)
        dead = sorted((put for put in self.puts if put.state == "dead"), key=lambda put: put.name)
        assert self.ask(who, "dead") == [put.body for put in dead]

    @rule()
    def compare(self) -> None:
        """All have the same figures. Not after every step: in between they are to be behind one another."""
        stats = [self.ask(who, "stats") for who in range(CHILD + 1)]
        assert stats[0] == stats[1] == stats[2]
        left = sum(put.state != "acked" for put in self.puts)
        assert sum(stats[0][kind] for kind in ("fresh", "waiting", "in_flight", "dead")) == left


class KeyedQueueModel(QueueModel):
    """The same with one message of a key in flight."""

    options: ClassVar[dict[str, Any]] = {"key_order": True}


class DedupQueueModel(QueueModel):
    """The same with ids that are put once."""

    options: ClassVar[dict[str, Any]] = {"dedup_window": 7 * 86_400}


class StreamQueueModel(QueueModel):
    """The same over a stream of others, whose retention wins."""

    over = True


def run(model: type[QueueModel], nursery: Nursery, examples: int, steps: int, monkeypatch: Any) -> None:
    """Run it so often, with logs that are cut often and the dead looked for at every receive."""
    monkeypatch.setattr(model, "nursery", nursery, raising=False)
    monkeypatch.setattr(limits, "JOURNAL_ROLL_SIZE", 8 * limits.KIB)
    monkeypatch.setattr(engine, "LOOK_US", 0)
    run_state_machine_as_test(
        model,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=examples < 100,
            phases=(Phase.generate,),  # a kill does not come at the same moment again: what failed is told as it was
            suppress_health_check=list(HealthCheck),
        ),
    )
