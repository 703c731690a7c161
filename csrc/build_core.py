"""Describe `streamstore._core` to cffi. The declarations are the marked parts of the public headers: nothing to drift.

Knows where the headers are and nothing about what they say. The compiler's flags come from setup.py.
"""

from __future__ import annotations

import glob
import re
from pathlib import Path

import cffi

HEADERS = ("status.h", "streamstore.h")  # in the order in which one includes the other
# What the core calls back: written in Python, in streamstore/native.
CALLED_BACK = """
extern "Python" ss_status streamstore_unseal(void *, uint32_t, uint32_t, const uint8_t *, const uint8_t *,
                                             const uint8_t *, size_t, const uint8_t *, size_t, uint8_t *);
"""
MARKED = re.compile(r"/\* cffi: begin \*/\n(.*?)/\* cffi: end \*/", re.DOTALL)


def declarations(directory: Path) -> str:
    """Return the marked parts of the headers, joined; each header must have at least one."""
    found = []
    for name in HEADERS:
        parts = MARKED.findall((directory / name).read_text(encoding="utf-8"))
        if not parts:
            raise ValueError(f"{name} has no part between the cffi marks")
        found.extend(parts)
    return "\n".join(found)


here = Path(__file__).parent
ffibuilder = cffi.FFI()
ffibuilder.cdef(declarations(here) + CALLED_BACK)
ffibuilder.set_source(
    "streamstore._core",
    '#include "streamstore.h"',
    sources=sorted(glob.glob("csrc/*.c")),
    depends=sorted(glob.glob("csrc/*.h")),
    include_dirs=["csrc"],
)
