"""What all rules of the machine are made of: two processes on one store, the oracle beside it, and the story.

Randomness inside a rule comes from a seed that the rule draws, so that what a kill happened to hit never changes what
is drawn next. What the rules did is told in `story`, which a failure prints.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Set
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize

from oracle.actions import ACTIONS, NAME, Entry, open_store, ring_of, rows
from oracle.child import Child
from oracle.expected import KEYS_END, Broken, Expected, Item, Seen
from streamstore import key_file

RECORD_SIZE_MAX = 10_000
SEEDS = st.integers(0, (1 << 32) - 1)
SIDES = st.sampled_from(["here", "there"])
KEYS = [f"key-{number}" for number in range(12)]

_spare: list[Child] = []


def spare_child() -> Child:
    """A child that has nothing open, and one more on its way for the next who asks."""
    while len(_spare) < 2:
        _spare.append(Child())
    return _spare.pop(0)


def end_children() -> None:
    """Let the spare ones go."""
    while _spare:
        _spare.pop().end()


class Saved:
    """A position that somebody kept, and what had been seen or passed over before it, or may have been."""

    def __init__(self, position: Any, passed: set[int], hidden: set[int]) -> None:
        self.position = json.loads(json.dumps(position))
        self.passed = passed  # ids of items
        self.hidden = hidden  # these were past retention when somebody looked: not his, or his, should they come back


class Base(RuleBasedStateMachine):
    """What all rules need: the store here and there, the oracle, and the story."""

    steps = 0
    progress: Callable[[], None] = staticmethod(lambda: None)
    failed: ClassVar[list[tuple[BaseException, list[str]]]] = []  # what went wrong, and the story up to there

    def __init__(self) -> None:
        super().__init__()
        self.story: list[str] = []
        self.path = tempfile.mkdtemp(prefix="streamstore-oracle-")
        self.child = spare_child()
        self.saved: list[Saved] = []
        self.made = 0

    @initialize(shards=st.integers(1, 5), durability=st.sampled_from(["sync", "interval", "process"]))
    def begin(self, shards: int, durability: str) -> None:
        """An empty stream, open in two processes."""
        self.shard_count, self.durability = shards, durability
        key_file.create(ring_of(self.path))
        self.store = open_store(self.path, create=True)
        self.create()
        self.child.do("open", self.path)
        self.after_open()

    def before_close(self) -> None:
        """Called when this process is about to let go of the store."""

    def after_open(self) -> None:
        """Called when both processes have opened the store."""

    def create(self) -> None:
        """The stream, and nothing expected in it."""
        self.stream = self.store.create_stream(
            NAME,
            self.shard_count,
            durability=self.durability,
            segment_size=128 * 1024,
            max_record_size=RECORD_SIZE_MAX,
        )
        self.expected = Expected(self.shard_count)
        self.saved = []

    def teardown(self) -> None:
        """Both processes let go; the child lives on for the next run."""
        error = sys.exc_info()[1]
        if isinstance(error, Exception):
            self.tell(f"the store as it was left: {self.path}")
            Base.failed.append((error, self.story))
        if hasattr(self, "store"):
            self.store.close()
            self.child.do("close")
        _spare.append(self.child)
        if not isinstance(error, Exception):
            shutil.rmtree(self.path)
            os.remove(ring_of(self.path))

    # --- what rules are made of -------------------------------------------------------------------------------------

    def tell(self, what: str) -> None:
        """One line of the story."""
        self.story.append(what)

    def act(self, side: str, name: str, *arguments: Any, **options: Any) -> Any:
        """Perform an action in this process or in the other."""
        if side == "there":
            return self.child.do(name, *arguments, **options)
        return ACTIONS[name](self.store, *arguments, **options)

    def entry(self, chance: random.Random) -> Entry:
        """A record unlike any other, unless it is empty."""
        self.made += 1
        size = chance.choice((0, 1, 20, 60, 60, 300, 300, 4000, RECORD_SIZE_MAX - 40))
        head = b"%d/" % self.made
        data = (head + b"." * (size - len(head)))[: max(size, len(head) * (size > 0))]
        key = chance.choice(KEYS)
        hash_key = chance.choice((None, None, None, 0, KEYS_END - 1, chance.randrange(KEYS_END)))
        return data, key, hash_key

    def entries(self, chance: random.Random, count: int) -> list[Entry]:
        """Several records."""
        return [self.entry(chance) for _ in range(count)]

    def took(self, entries: list[Entry], told: list[tuple[int, str]]) -> None:
        """The oracle learns what was acknowledged."""
        items = [Item(*entry) for entry in entries]
        # A batch may be what finishes the step that somebody died over: some of it stands before the end, some behind.
        before = [self.expected.route(item).index if self.expected.half_done else None for item in items]
        self.adopt()
        if len(entries) != len(told):
            raise Broken(f"{len(told)} results for {len(entries)} entries")
        for item, owner, (shard, number) in zip(items, before, told, strict=True):
            self.expected.put(item, shard, number, owner)

    def adopt(self) -> None:
        """Take in what may have changed of the stream's shards."""

    def settle(self) -> None:
        """Read everything, and hold it against the oracle."""
        self.adopt()
        self.expected.settle([Seen(*row) for row in rows(self.stream.read())])
        listed = [shard for shard in self.expected.shards if not shard.expired]
        for own, shard in zip(listed, self.stream.shards(), strict=True):
            unseen = sum(len(maybe.items) for maybe in own.maybes) + sum(item.lost for item in own.items)
            if not 0 <= shard.record_count - len(own.kept) <= unseen:
                raise Broken(f"shard {own.index} counts {shard.record_count} records and not {len(own.kept)}")

    def agree(self, found: list[Any], wanted: list[Item], hidden: Set[int] = frozenset()) -> None:
        """These records, each once; the order within a shard is theirs. Those `hidden` (ids) may be there or not."""
        lanes: dict[int, list[str]] = {}
        for row in found:
            lanes.setdefault(row[0], []).append(row[1])
        given = {row[1] for row in found}
        numbers = {item.number for item in wanted if id(item) not in hidden or item.number in given}
        for shard in self.expected.shards:
            own = [item.number for item in shard.items if item.number in numbers]
            if lanes.get(shard.index, []) != own:
                raise Broken(
                    f"shard {shard.index}: read {len(lanes.get(shard.index, []))} records and not the {len(own)} wanted"
                )
