"""What keeps a store in order while it is used: files past retention go, what a crash left half deleted goes.

One process at a time does it, and nobody waits for it.
"""

from __future__ import annotations

from streamstore.maintenance.caretaker import Caretaker
from streamstore.maintenance.rounds import Report, Rounds

__all__ = ["Caretaker", "Report", "Rounds"]
