"""What became of one user record: a future that can be waited for, awaited, and asked for its attempts.

Thousands are made and settled in a millisecond, so none has a lock of its own: whoever waits does so at the producer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, NamedTuple

from streamstore import UserRecordFailedError, native

if TYPE_CHECKING:
    from streamstore.producer.inbox import Inbox


class Attempt(NamedTuple):
    """One try to put a user record; times in milliseconds. `error_code` is None for the one that succeeded."""

    delay_ms: float
    duration_ms: float
    error_code: str | None
    error_message: str | None


class UserRecordResult(NamedTuple):
    """Where a user record stands; `sub_sequence_number` is its place in the aggregate, 0 where it went alone."""

    shard_id: str
    sequence_number: str
    sub_sequence_number: int
    attempts: tuple[Attempt, ...]


class Try(NamedTuple):
    """A request as all records in it know it; monotonic seconds."""

    begun: float
    ended: float
    code: str | None = None
    message: str | None = None


class Done(NamedTuple):
    """What the user records of one Kinesis record have in common once it is stored."""

    shard_id: str
    sequence_number: str
    last: Try


class Failed(NamedTuple):
    """Why a user record was given up."""

    code: str
    message: str
    cause: BaseException | None = None


class UserRecordFuture(native.UserPut):
    """The future of one user record. Any thread; made by Producer.put_record.

    `result` and `exception` wait, `await` gives what `result` would.
    """

    __slots__ = ()

    @property
    def _inbox(self) -> Inbox:
        inbox: Inbox = self._home
        return inbox

    def __repr__(self) -> str:
        outcome = self._outcome
        said = "stored" if outcome is not None else "outstanding"
        if isinstance(outcome, Failed):
            said = f"failed: {outcome.code}"
        return f"<UserRecordFuture {said}>"

    def done(self) -> bool:
        """Is it known what became of it?"""
        return self._outcome is not None

    def result(self, timeout: float | None = None) -> UserRecordResult:
        """Where it stands, once that is known; as durable then as the stream.

        Raises UserRecordFailedError where it was given up, with its attempts; TimeoutError after `timeout` seconds.
        """
        error = self.exception(timeout)
        if error is not None:
            raise error
        outcome = self._outcome
        assert isinstance(outcome, Done)
        return UserRecordResult(outcome.shard_id, outcome.sequence_number, self._part, self.attempts)

    def exception(self, timeout: float | None = None) -> UserRecordFailedError | None:
        """The error that `result` would raise, or None. Raises TimeoutError."""
        if self._outcome is None and not self._inbox.wait_for(self.done, timeout):
            raise TimeoutError(f"the user record is still outstanding after {timeout} s")
        outcome = self._outcome
        if not isinstance(outcome, Failed):
            return None
        error = UserRecordFailedError(f"{outcome.code}: {outcome.message}")
        error.code, error.attempts, error.__cause__ = outcome.code, self.attempts, outcome.cause
        return error

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Every try so far, oldest first."""
        tries = list(self._tries or ())
        if isinstance(self._outcome, Done):
            tries.append(self._outcome.last)
        found, since = [], self._arrived
        for each in tries:
            found.append(
                Attempt((each.begun - since) * 1000, (each.ended - each.begun) * 1000, each.code, each.message)
            )
            since = each.ended
        return tuple(found)

    def add_done_callback(self, function: Callable[[UserRecordFuture], Any]) -> None:
        """Call `function(future)` once it is done: in a thread of the producer's, or here where it is already.

        What it raises is logged and goes no further.
        """
        with self._inbox.lock:
            if self._callbacks is None:
                self._callbacks = []
            self._callbacks.append(function)
        if self._outcome is not None:
            self.run_callbacks()

    def run_callbacks(self) -> None:
        """Call each callback that nobody has called yet."""
        callbacks = self._callbacks
        while callbacks:
            try:
                function = callbacks.pop(0)  # whoever gets it calls it
            except IndexError:
                return
            try:
                function(self)
            except Exception:
                self._inbox.log.exception("a callback of a user record's future raised")

    def note(self, tried: Try) -> None:
        """Remember a try that failed."""
        if self._tries is None:
            self._tries = []
        self._tries.append(tried)

    def __await__(self) -> Generator[Any, None, UserRecordResult]:
        if self._outcome is None:
            loop = asyncio.get_running_loop()
            waiter = loop.create_future()
            self.add_done_callback(lambda _: _wake(loop, waiter))
            yield from waiter
        return self.result(0)


def _wake(loop: asyncio.AbstractEventLoop, waiter: asyncio.Future[None]) -> None:
    def settle() -> None:
        if not waiter.done():
            waiter.set_result(None)

    try:
        loop.call_soon_threadsafe(settle)
    except RuntimeError:
        return  # the loop was closed: nobody waits any more
