"""What makes a stream the end of `logging` and of anything that writes to a file."""

from __future__ import annotations

import io
import logging
import threading
from typing import Any

from streamstore import ClosedError, ForkedError
from streamstore.errors import BackPressureError
from streamstore.producer.producer import Producer


class LogHandler(logging.Handler):
    """A logging handler whose formatted records become user records, with the logger's name as the partition key.

    `target` is a Producer, which stays open, or what makes one (a Stream, a client, a URL; then with its arguments),
    which is closed with the handler. `emit` never waits: where nothing more may be outstanding, a record is dropped
    and counted in `dropped_count`. Formatted text is UTF-8.
    """

    def __init__(self, target: Any, *arguments: Any, level: int | str = logging.NOTSET, **knobs: Any) -> None:
        super().__init__(level)
        self._own = not isinstance(target, Producer)
        self.producer: Producer = target if isinstance(target, Producer) else Producer(target, *arguments, **knobs)
        self.dropped_count = 0

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith("streamstore"):  # what the way there says must not go the way there
            return
        try:
            text = self.format(record)
            self.producer.put_record(text.encode(errors="backslashreplace"), record.name[:256] or "root", timeout=0)
        except (BackPressureError, ClosedError, ForkedError):
            self.dropped_count += 1
        except Exception:
            self.handleError(record)

    def flush(self) -> None:
        """Wait until what was logged so far is stored or given up."""
        if not self.producer.closed:
            self.producer.flush()

    def close(self) -> None:
        """Close the producer, where it is the handler's own."""
        if self._own:
            self.producer.close()
        super().close()


class RecordWriter(io.RawIOBase):
    """A binary file for writing whose lines become user records, without their newline, under one partition key.

    What follows the last newline becomes a record at `flush` or `close`. Wrap it in io.TextIOWrapper for text, as for
    `print`. The producer stays open; `flush` waits until everything is stored and raises UserRecordFailedError for
    the first line since the last flush that was given up.
    """

    def __init__(self, producer: Producer, partition_key: str) -> None:
        super().__init__()
        self._producer = producer
        self._key = partition_key
        self._rest = b""
        self._futures: list[Any] = []
        self._lock = threading.Lock()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        """Take bytes; the number of them. Waits where as much is outstanding as may be."""
        if self.closed:
            raise ValueError("I/O operation on closed file")
        data = bytes(data)
        with self._lock:
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                self._put(line)
        return len(data)

    def _put(self, line: bytes) -> None:
        self._futures = [future for future in self._futures if not future.done() or future.exception(0)]
        self._futures.append(self._producer.put_record(line, self._key))

    def flush(self) -> None:
        """Make a record of an unfinished line, and wait until all is stored."""
        if self.closed:
            return
        with self._lock:
            if self._rest:
                self._put(self._rest)
                self._rest = b""
            futures, self._futures = self._futures, []
        if futures:
            self._producer.flush()
        for future in futures:
            future.result()
