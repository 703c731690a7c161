"""A secret and its partition key, and whether files hold them."""

from __future__ import annotations

from pathlib import Path

SECRET = b"a secret nobody may find"
KEY = "key-of-a-secret"


def on_disk(directory: Path, *words: bytes) -> set[bytes]:
    """Which of these words any file below holds."""
    found = set()
    for path in directory.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            found |= {word for word in words if word in data}
    return found
