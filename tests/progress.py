"""How far a long program is: on a terminal one line that is renewed, elsewhere, as in a log, a line now and then."""

from __future__ import annotations

import sys
import time

RENEWED_EVERY_S = 1.0
LINE_EVERY_S = 10.0


class Progress:
    """Tells on stderr; `tell` may be called as often as one likes."""

    def __init__(self) -> None:
        self._on_terminal = sys.stderr.isatty()
        self._told = time.monotonic() - (RENEWED_EVERY_S if self._on_terminal else 0)
        self._width = 0  # of the line that stands, where it is renewed

    def tell(self, text: str) -> None:
        """Show this, unless something was shown only just now."""
        now = time.monotonic()
        if now - self._told < (RENEWED_EVERY_S if self._on_terminal else LINE_EVERY_S):
            return
        self._told = now
        if self._on_terminal:
            print(f"\r{text:<{self._width}}", end="", file=sys.stderr, flush=True)
            self._width = len(text)
        else:
            print(text, file=sys.stderr, flush=True)

    def end(self, text: str = "") -> None:
        """Leave the line that stands, and say this below it."""
        if self._width:
            print(file=sys.stderr)
            self._width = 0
        if text:
            print(text, file=sys.stderr, flush=True)
