"""I/O faults: each call that the core makes fails in turn, and what comes of it is held against what was promised."""
