"""`_hot` objects that the garbage collector takes apart: cycles go, and who is called then meets no freed memory."""

from __future__ import annotations

import ctypes
import gc
import weakref

import fake_core
import pytest

from streamstore import _hot
from streamstore._core import ffi


class Watched:
    """Tells when it is gone."""


def test_a_producers_parts_in_a_cycle_are_collected():
    """The intake knows whom to wake, who knows the intake; a user record knows its home and its callbacks."""

    class Future(_hot.UserPut):
        pass

    class Home:
        def wake(self):
            pass

    home, watched = Home(), Watched()
    home.intake = _hot.Intake(Future, home, home.wake, 1 << 30, 1 << 30, 1 << 40, 1 << 20)
    home.put = home.intake.put(b"a", "k")
    home.put._outcome, home.put._tries, home.put._callbacks = home, [home], [home.wake]
    home.watched = watched
    gone = weakref.ref(watched)
    del home, watched
    assert gone() is not None
    gc.collect()
    assert gone() is None


def test_a_target_is_shut_before_what_it_keeps_alive_goes(fake, log):
    """With its keepalive go the logs: who puts a record while that is freed is told that the store is closed."""
    told = []

    @ffi.callback("void(void *)")
    def release(memory):
        target = ctypes.cast(address, ctypes.py_object).value
        for put in (
            lambda: target.put_record(b"late", "k"),
            lambda: target.put_records([(b"late", "k")]),
            lambda: target.try_put_record(b"late", "k"),
        ):
            try:
                told.append(put())
            except fake_core.StatusError as error:
                told.append(error.args[0])

    gc.disable()  # nothing moves them before it is looked who comes first
    try:
        holder = {}  # of no interest to the collector before it holds a container, so that the target comes first
        target = fake.hot.Target(0, [log.address], [1], ["s"], 1 << 20, False, holder)
        address = id(target)
        holder["target"] = target
        holder["memory"] = _hot.own(64, int(ffi.cast("uintptr_t", release)))
        objects = [id(each) for each in gc.get_objects()]
        first = objects.index(address) < objects.index(id(holder))
        del target, holder
        gc.collect()
    finally:
        gc.enable()
    assert len(told) == 3
    if first:
        assert (told, log.count()) == ([fake_core.CLOSED, fake_core.CLOSED, None], 0)
    else:  # what it keeps alive was taken apart before it, and was still whole when it was used
        assert log.count() == 3


@pytest.mark.parametrize("name", ["put_record", "put_records", "read"])
def test_what_is_done_in_a_finalizer_of_the_same_garbage_holds(fake, log, name):
    """Finalizers come before anything is taken apart: a last put or read in one does all that it ever does."""
    done = []

    class Late:
        def __init__(self):
            self.me, self.target = self, fake.target(log)

        def __del__(self):
            call = {
                "put_record": lambda: self.target.put_record(b"late", "k"),
                "put_records": lambda: self.target.put_records([(b"late", "k")])[0],
                "read": lambda: fake.records(log)[0],
            }[name]
            done.append(call().position)

    fake.put(log, (b"early", "k"))
    first = fake.records(log)[0]
    Late()
    gc.collect()
    assert done == [first.position if name == "read" else first.next_position]
