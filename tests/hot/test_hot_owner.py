"""`_hot.own()`: memory that is freed with the last reference to it, and by no collector's finalizers before that."""

from __future__ import annotations

import gc

import pytest

from streamstore import _hot
from streamstore._core import ffi


@pytest.fixture
def freed():
    """What was freed, in order, and the address of the function that notes it."""
    noted = []
    callback = ffi.callback("void(void *)", lambda memory: noted.append(int(ffi.cast("uintptr_t", memory))))
    return noted, int(ffi.cast("uintptr_t", callback)), callback


def test_memory_is_freed_with_the_last_reference(freed):
    """Once, whoever holds it last."""
    noted, release, _ = freed
    owner = _hot.own(64, release)
    other = owner
    del owner
    assert noted == []
    del other
    assert noted == [64]


def test_who_is_finalized_in_the_same_garbage_still_has_it(freed):
    """A __del__ in a cycle with the memory comes before its end; a finalizer of cffi's own might have come first."""
    noted, release, _ = freed
    seen = []

    class Late:
        def __init__(self):
            self.me, self.memory = self, _hot.own(64, release)

        def __del__(self):
            seen.append(list(noted))

    Late()
    gc.collect()
    assert (seen, noted) == ([[]], [64])


def test_what_is_disowned_is_never_freed(freed):
    """It is another process's."""
    noted, release, _ = freed
    owner = _hot.own(64, release)
    _hot.disown(owner)
    del owner
    assert noted == []


def test_nothing_else_can_be_owned_or_disowned(freed):
    """Addresses that are none, and objects of somebody else's."""
    for arguments in ((0, freed[1]), (64, 0), (-1, freed[1]), ("a", freed[1]), (64, "a"), (64,)):
        with pytest.raises((TypeError, ValueError, OverflowError)):
            _hot.own(*arguments)
    for other in (None, 64, object()):
        with pytest.raises(TypeError):
            _hot.disown(other)
