"""LZ4 blocks: our coder and decoder against the package, also on what is damaged."""

from __future__ import annotations

import lz4.block
from hypothesis import given, settings
from hypothesis import strategies as st

from streamstore._core import ffi, lib


def expand(block, size):
    out = ffi.new("uint8_t[]", max(size, 1))
    status = lib.ss_lz4_expand(block, len(block), out, size)
    return bytes(ffi.buffer(out, size)) if status == lib.SS_OK else None


words = st.lists(st.sampled_from([b"", b"a", b"GET /", b"0" * 40, bytes(range(256)), b"xyz" * 30]), max_size=80)


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(st.binary(max_size=4000), words.map(b"".join)), st.sampled_from(["default", "fast", "high_compression"])
)
def test_what_the_package_compressed_expands_to_the_same(data, mode):
    """Every block of the package expands; at any other size than its own it does not."""
    block = lz4.block.compress(data, mode=mode, store_size=False)
    assert expand(block, len(data)) == data
    assert expand(block, len(data) + 1) is None
    if data:
        assert expand(block, len(data) - 1) is None
        assert expand(block[:-1], len(data)) is None


@settings(max_examples=500, deadline=None)
@given(st.one_of(st.binary(max_size=4000), words.map(b"".join)), st.integers(0, 300))
def test_what_the_core_compressed_the_package_expands(data, short):
    """Within the room that is given, or not at all; what repeats shrinks."""
    room = max(len(data) + 16 - short, 0)
    out = ffi.new("uint8_t[]", room + 1)
    size = lib.ss_lz4_compress(data, len(data), out, room)
    assert size <= room
    if size:
        block = bytes(ffi.buffer(out, size))
        assert lz4.block.decompress(block, uncompressed_size=len(data)) == data
        assert expand(block, len(data)) == data
    else:
        assert room < len(data) + 16


@settings(max_examples=500, deadline=None)
@given(words.map(b"".join).filter(bool), st.data())
def test_a_damaged_block_expands_as_in_the_package_or_not_at_all(data, draw):
    """Bytes flipped, cut or added: what is written is what the package writes, or refused."""
    block = bytearray(lz4.block.compress(data, store_size=False))
    for _ in range(draw.draw(st.integers(1, 4))):
        block[draw.draw(st.integers(0, len(block) - 1))] = draw.draw(st.integers(0, 255))
    found = expand(bytes(block), len(data))
    if found is not None:
        assert lz4.block.decompress(bytes(block), uncompressed_size=len(data)) == found
