"""Rules that copy the whole store: a snapshot has what the store has, and goes on where it stood."""

from __future__ import annotations

import os
import shutil
import tempfile

from hypothesis import strategies as st
from hypothesis.stateful import rule

import streamstore
from oracle.actions import ACTIONS, Entry, open_store, ring_of, rows
from oracle.aging import Aging
from oracle.base import SIDES
from oracle.expected import Broken, Item


class Copying(Aging):
    """Snapshots, opened and written to, and stores restored from them."""

    @rule(side=SIDES, verify=st.booleans(), restore=st.booleans(), merge=st.booleans())
    def copy(self, side: str, verify: bool, restore: bool, merge: bool) -> None:
        """Everything there is, as it is; what is put there has numbers of its own."""
        if any(shard.may_be_cleared for shard in self.expected.shards):
            return  # a clear that somebody died over may be in the copy and not here, nor need it be
        self.tell(f"copy {side}, restore: {restore}")
        with tempfile.TemporaryDirectory(prefix="streamstore-oracle-copy-") as directory:
            target = os.path.join(directory, "snapshot")
            self.act(side, "snapshot", target)
            self.settle()  # what was published and not yet durable is now
            if restore:
                streamstore.restore(target, os.path.join(directory, "restored"), verify=verify)
                shutil.rmtree(target)
                target = os.path.join(directory, "restored")
            with open_store(target, ring_of(self.path)) as store:
                self.look_at(store, restored=restore, merge=merge)

    def look_at(self, store: streamstore.Store, *, restored: bool, merge: bool) -> None:
        """Hold the copy against the oracle, read to its end from saved positions, and put a record."""
        if self.clock is not None:
            ACTIONS["set_clock"](store, *self.clock)
        self.agree(ACTIONS["read"](store, "TRIM_HORIZON", merge=merge), self.expected.kept)
        if not restored:
            for saved in self.saved[-2:]:
                found = ACTIONS["read"](store, saved.position, merge=merge)
                self.agree(found, self.not_in(saved.passed), saved.hidden)
        entry: Entry = (b"in the copy", "key-0", None)
        ((shard, number),) = ACTIONS["put"](store, entry, sync=False)
        # Of the shard here: in the copy a step that somebody died over may have been carried out.
        highest = max((int(item.number) for item in self.expected.route(Item(*entry)).items), default=0)
        if int(number) <= highest:
            raise Broken(f"shard {shard}: number {number} in the copy is not above {highest}")
        if self.clock is None and rows(store.stream("s").last(1))[0][2] != entry[0]:
            raise Broken("the record put into the copy is not its last")
