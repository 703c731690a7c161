"""`python -m oracle [--steps N] [--seed S]`: a long run of the machine in parts, each from a seed of its own."""

from __future__ import annotations

import argparse
import logging
import secrets
import sys
import time

from progress import Progress

from oracle.base import Base, end_children
from oracle.machine import Failed, run

EXAMPLES = 10
STEPS = 50


def main() -> int:
    """Run until so many steps were made; tell how it goes, and how a failure is made again."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m oracle")
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 31), help="a failure tells its own")
    parser.add_argument("--shrink", action="store_true", help="take minutes over making the story of a failure short")
    options = parser.parse_args()
    number, begun, shown = options.seed, time.monotonic(), Progress()

    def progress() -> None:
        shown.tell(f"{Base.steps:,} of {options.steps:,} steps, seed {number}")

    logging.getLogger("streamstore").setLevel(logging.ERROR)  # reads are told to skip what was trimmed, and say so
    print(f"seed {options.seed}")
    while Base.steps < options.steps:
        try:
            run(
                number, min(EXAMPLES, -(-(options.steps - Base.steps) // STEPS)), STEPS, progress, shrink=options.shrink
            )
        except Failed as failure:
            shown.end(f"{failure}\n\nAgain: make model SEED={number}")
            return 1
        number += 1
    end_children()
    shown.end()
    print(f"{Base.steps:,} steps, seeds {options.seed} to {number - 1}, {time.monotonic() - begun:.0f} s: all agreed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
