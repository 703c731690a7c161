"""Named consumers: a place in a stream that the store remembers, shared between processes shard by shard.

`state` says what an event means (pure), `group` decides and publishes, `consumer` reads.
"""

from __future__ import annotations

from streamstore.consumer.consumer import Consumer, Lag, names, open_consumer

__all__ = ["Consumer", "Lag", "names", "open_consumer"]
