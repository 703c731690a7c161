"""Rules by which bytes are damaged and repaired: what did not stand where they did is there as before."""

from __future__ import annotations

import os
import random
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import rule

import streamstore
from oracle.actions import rows
from oracle.base import SEEDS
from oracle.expected import Broken, Item
from oracle.limiting import Limiting

BLOCK = 64 << 10
FRAME_MIN = 48


class Damaging(Limiting):
    """Nobody has the store open while its disk fails, and while it is repaired."""

    @rule(seed=SEEDS, size=st.sampled_from([1, 1, 1, 200, 5000]), manifest=st.booleans())
    def damage_and_repair(self, seed: int, size: int, manifest: bool) -> None:
        """Some bytes of one segment are others, or the manifest is gone too."""
        self.finish()
        self.settle()
        if not self.expected.settled or any(shard.first != shard.horizon for shard in self.expected.shards):
            return  # what nobody can see may be what is lost
        chance = random.Random(seed)
        self.before_close()
        self.child.do("close")
        self.store.close()
        hit = self.overwrite(chance, size)
        if manifest:
            os.remove(os.path.join(self.path, "manifest"))
        self.tell(f"damage {size} bytes: {hit}, manifest gone: {manifest}")
        result = streamstore.repair(self.path)
        if result.damage:
            raise Broken(f"repair leaves {result.damage}")
        self.open()
        self.child.do("open", self.path)
        self.after_open()
        self.give_up(hit, size)

    def overwrite(self, chance: random.Random, size: int) -> tuple[int, str, int] | None:
        """Let some bytes of a segment be others; returns shard, file and offset."""
        files = sorted(Path(self.path, "streams", str(self.stream.info.id)).glob("*/*.seg"))
        if not files:
            return None
        file = chance.choice(files)
        taken = file.stat().st_size
        offset = chance.randrange(taken)
        with file.open("r+b") as segment:
            segment.seek(offset)
            found = segment.read(size)
            segment.seek(offset)
            segment.write(bytes(byte ^ 0xFF for byte in found))
        return int(file.parent.name), file.name, offset

    def give_up(self, hit: tuple[int, str, int] | None, size: int) -> None:
        """What is not there any more stood where the damage was, and nothing else is missing."""
        found = {row[1] for row in rows(self.stream.read())}
        lost = [item for item in self.expected.kept if item.number not in found]
        if not lost:
            return
        self.tell(f"lost: {len(lost)} records")
        own = next(shard for shard in self.expected.shards if hit and shard.index == hit[0])
        there = [item for item in own.items if not item.lost]  # between them some may have been lost before
        first = there.index(lost[0])
        if there[first : first + len(lost)] != lost:
            raise Broken(f"what is lost of shard {own.index} is not one range")
        if hit and len(lost) > 2 + size // FRAME_MIN and not self.one_block(lost):
            raise Broken(f"{len(lost)} records are lost for {size} bytes of {hit[1]}")
        for item in lost:
            item.lost = True

    @staticmethod
    def one_block(lost: list[Item]) -> bool:
        """Whether they can have stood in a block or two of a compacted segment."""
        return sum(len(item.data) + FRAME_MIN for item in lost[1:]) <= 2 * BLOCK
