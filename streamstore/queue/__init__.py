"""Queues: deliveries over a stream. Receipts, visibility, receive counts, dead letters; and the face of queue.Queue.

`state` says what an event means (pure), `engine` decides and publishes, `source` reads the stream, `queue` and
`message` are what people use.
"""

from __future__ import annotations

from streamstore.queue.dead import DeadLetter, DeadLetters
from streamstore.queue.message import Message
from streamstore.queue.queue import Queue
from streamstore.queue.settings import QueueSettings

__all__ = ["DeadLetter", "DeadLetters", "Message", "Queue", "QueueSettings"]
