"""Rules by which processes end: closed, or killed in the middle of something."""

from __future__ import annotations

import pickle
import random
import time

from hypothesis import strategies as st
from hypothesis.stateful import rule

from oracle.actions import NAME, Entry, open_store
from oracle.base import SEEDS, spare_child
from oracle.child import Command
from oracle.expected import Broken, Item
from oracle.writing import Writing


class Dying(Writing):
    """Processes that end: closed, or killed in the middle of something."""

    def commands(self, chance: random.Random, count: int) -> list[tuple[Command, list[Item]]]:
        """Puts for a process that will not get through all of them."""
        made = []
        for _ in range(count):
            batch = chance.random() < 0.6
            entries = self.entries(chance, chance.randint(1, 60) if batch else 1)
            command: Command = (
                ("put_many", (entries,), {"sync": False}) if batch else ("put", entries[0:1], {"sync": False})
            )
            made.append((command, [Item(*entry) for entry in entries]))
        return made

    def kill_over(self, seed: int, count: int, last: Command | None = None, *, everybody: bool = False) -> None:
        """Let the child put, and then do the last thing, and kill it somewhere on the way."""
        chance = random.Random(seed)
        self.finish()  # else nobody could say to which shards the puts went that told nothing
        if everybody:
            self.before_close()
            self.store.close()
        puts = self.commands(chance, count)
        answered = chance.randint(0, count)
        self.child.send([command for command, _ in puts] + ([last] if last else []))
        told = [self.child.take() for _ in range(count if last else answered)]
        time.sleep(chance.random() ** 3 * (0.02 if last else 0.002))
        self.child.kill()
        try:
            while True:
                told.append(self.child.take())
        except (EOFError, pickle.UnpicklingError):
            pass
        self.child.end()
        del told[count:]  # the last thing told no number
        for (_, items), results in zip(puts, told, strict=False):
            for item, (shard, number) in zip(items, results, strict=True):
                self.expected.put(item, shard, number)
        self.expected.maybe([items for _, items in puts[len(told) :]])
        self.tell(f"killed over {count} puts, after {len(told)} answers{f', and {last[0]}' if last else ''}")

    def finish(self) -> None:
        """Let nothing be half done but what the next to die leaves."""

    @rule(seed=SEEDS, count=st.integers(0, 12))
    def kill(self, seed: int, count: int) -> None:
        """The other process dies in the middle of its puts; this one goes on."""
        self.kill_over(seed, count)
        self.child = spare_child()
        self.child.do("open", self.path)
        self.after_open()

    @rule(seed=SEEDS, count=st.integers(0, 12))
    def everybody_dies(self, seed: int, count: int) -> None:
        """The last process that has the store open dies: the next one recovers it."""
        self.kill_over(seed, count, everybody=True)
        self.child = spare_child()
        self.open()
        self.child.do("open", self.path)
        self.after_open()

    @rule(other_too=st.booleans())
    def reopen(self, other_too: bool) -> None:
        """A clean close, of this process or of both."""
        self.tell(f"reopen, other too: {other_too}")
        if other_too:
            self.child.do("close")
        self.before_close()
        self.store.close()
        self.open()
        if other_too:
            self.child.do("open", self.path)
        self.after_open()

    def open(self) -> None:
        """The store again, in this process."""
        self.store = open_store(self.path)
        self.stream = self.store.stream(NAME)

    @rule()
    def delete_and_create_again(self) -> None:
        """A stream of the same name is another one, whose numbers are above all of the old one's."""
        self.tell("delete and create again")
        highest = max((int(shard.items[-1].number) for shard in self.expected.shards if shard.items), default=0)
        self.before_close()  # followers of the old stream
        self.store.delete_stream(NAME)
        self.create()
        self.after_open()
        entry: Entry = (b"first", "key-0", None)
        told = self.act("here", "put", entry, sync=False)
        if int(told[0][1]) <= highest:
            raise Broken(f"number {told[0][1]} of the new stream is not above {highest} of the old")
        self.took([entry], told)
