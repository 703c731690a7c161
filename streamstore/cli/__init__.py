"""The command line: prints and parses, and nothing else. What a verb does is in the levels below; what it says is
here.
"""

from __future__ import annotations

from streamstore.cli.app import main

__all__ = ["main"]
