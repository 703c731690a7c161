"""The shards of a capture split and merged as those of its source were, each when the first record of one comes in.

Nothing is kept of it: what is to be done follows from the shards that are open, so that whoever goes on after a kill
does the rest. Shards of a source that are read at the same time share no hash keys, as children come behind their
parents: none takes apart what another one needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from streamstore.capture.source import Taken
from streamstore.shard import Shard
from streamstore.stream import Stream

KeysOf = Callable[[str], tuple[int, int]]


class Mirror:
    """Gives each shard of a source, whose hash keys `keys_of` tells, a shard of its own in a stream."""

    def __init__(self, stream: Stream, keys_of: KeysOf) -> None:
        self._stream = stream
        self._keys_of = keys_of
        self._fitted: set[str] = set()

    def parts(self, batch: Sequence[Taken]) -> Iterator[Sequence[Taken]]:
        """A batch in pieces, each to be put before the next is asked for: what lies before a shard's first record goes
        where it belongs before the shards change.
        """
        begin = 0
        for index, taken in enumerate(batch):
            if taken.unit not in self._fitted:
                if index > begin:
                    yield batch[begin:index]
                fit(self._stream, *self._keys_of(taken.unit))
                self._fitted.add(taken.unit)
                begin = index
        if begin < len(batch):
            yield batch[begin:]


def fit(stream: Stream, first: int, last: int) -> None:
    """Split and merge until one open shard has exactly the hash keys from `first` to `last`.

    As durable as a split, step by step, and every state in between is whole; nothing to do where there is such a shard.
    """
    for cut in (first, last + 1):
        for shard in _open(stream):
            if shard.hash_range.start < cut <= shard.hash_range.end:
                stream.split_shard(shard.id, cut)
    within = [shard for shard in _open(stream) if first <= shard.hash_range.start and shard.hash_range.end <= last]
    whole = within[0]
    for shard in within[1:]:
        whole = stream.merge_shards(whole.id, shard.id)


def _open(stream: Stream) -> list[Shard]:
    return sorted((shard for shard in stream.shards() if not shard.is_closed), key=lambda shard: shard.hash_range.start)
