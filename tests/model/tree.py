"""One hash over a directory: names, kinds, sizes, modes and every byte."""

from __future__ import annotations

import hashlib
from pathlib import Path


def tree_hash(root: Path) -> str:
    """The same string as long as nothing under `root` was added, removed or changed."""
    total = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        info = path.lstat()
        total.update(f"{path.relative_to(root)} {info.st_mode:o} {info.st_size}\n".encode())
        if path.is_file():
            total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()
