"""Rules by which a stream is encrypted, or no more, or under other keys: what can be read stays the same."""

from __future__ import annotations

import random

from hypothesis import strategies as st
from hypothesis.stateful import rule

from oracle.actions import encryption
from oracle.base import SEEDS, SIDES, spare_child
from oracle.compacting import Compacting
from oracle.expected import Broken

HOW = st.sampled_from(["start", "stop", "rotate", "rewrap"])


class Encrypting(Compacting):
    """Both processes have the key ring."""

    def create(self) -> None:
        """A new stream is in plain and has no keys."""
        super().create()
        self.encrypted, self.data_keys = False, 0

    @rule(side=SIDES, how=HOW, seed=SEEDS)
    def encrypt(self, side: str, how: str, seed: int) -> None:
        """What comes from now on is encrypted, by whatever process, or is not: the other one was bound before."""
        other = "here" if side == "there" else "there"
        self.put_and_look(other, seed)
        self.tell(f"encryption {side}: {how}")
        told = self.act(side, "encrypt", how)
        self.data_keys += how == "rotate" or (how == "start" and not self.encrypted)
        self.encrypted = {"start": True, "rotate": True, "stop": False}.get(how, self.encrypted)
        if told != (self.encrypted, self.data_keys):
            raise Broken(f"encryption is {told}, and not {(self.encrypted, self.data_keys)}")
        self.put_and_look(other, seed + 1)

    @rule(side=SIDES, seed=SEEDS)
    def put_and_look_how_it_stands(self, side: str, seed: int) -> None:
        """A durable record is encrypted in its segment exactly if the stream is."""
        self.put_and_look(side, seed)

    def put_and_look(self, side: str, seed: int) -> None:
        """Put one record, and hold how it stands against how it should."""
        entry = self.entry(random.Random(seed))
        self.tell(f"put {side} and look: {len(entry[0])} bytes")
        told = self.act(side, "put", entry, sync=True)
        self.took([entry], told)
        if self.act(side, "is_sealed", *told[0]) != self.encrypted:
            raise Broken(f"the stream is {'' if self.encrypted else 'not '}encrypted, and the record is otherwise")

    @rule(seed=SEEDS, count=st.integers(0, 3), everybody=st.booleans(), how=HOW)
    def die_over_encryption(self, seed: int, count: int, everybody: bool, how: str) -> None:
        """After some puts the other process changes it, and is killed somewhere on the way."""
        self.kill_over(seed, count, ("encrypt", (how,), {}), everybody=everybody)
        self.child = spare_child()
        if everybody:
            self.open()
        self.child.do("open", self.path)
        self.after_open()
        self.store.catalog.settle()  # what the dead process had published and nobody could see
        known, (self.encrypted, self.data_keys) = self.data_keys, encryption(self.stream.encryption)
        if self.data_keys - known not in (0, 1):
            raise Broken(f"{self.data_keys} data keys after a death, and {known} before")
