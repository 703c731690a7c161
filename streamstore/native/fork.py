"""What happens in a forked child: whatever inherits something from its parent is told once, before anything else runs.

A child has one thread, and locks of the others may have been held at the fork: `_after_fork` makes them anew.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any

_lock = threading.RLock()  # a signal's handler may fork, or open a store, while its thread does the same
_watchers: tuple[weakref.WeakSet[Any], weakref.WeakSet[Any]] = (weakref.WeakSet(), weakref.WeakSet())


def watch_fork(watcher: Any, *, first: bool = False) -> None:
    """Have `watcher._after_fork()` called in every forked child, for as long as the watcher lives.

    Those that are `first` come first: what the others do may already use them.
    """
    with _lock:
        _watchers[not first].add(watcher)


def _after_fork_in_child() -> None:
    _lock.release()
    for watchers in _watchers:
        for watcher in list(watchers):
            watcher._after_fork()


os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_after_fork_in_child)
