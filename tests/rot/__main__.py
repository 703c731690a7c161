"""`python -m rot [--cases N]`: spoils one file of a store, and holds what is read, verified and repaired against it.

A read gives the original bytes or raises; nothing is missing in silence; verify names exactly what is lost, by bytes
and by sequence numbers (`oracle`), and nothing it does not know is returned; after repair verify is content, and what
is read is a part of what was there. Where two files changed places that counts as one fault.
"""

from __future__ import annotations

import argparse
import logging
import random
import secrets
import shutil
import sys
import tempfile
import time
from pathlib import Path

import figures
from progress import Progress

import streamstore
from rot.damaging import RING, STREAMS, Rows, make, rows, spoil
from rot.oracle import Broken, Oracle, numbers_of


class Wrong(Exception):
    """A promise was broken."""


def part_of(found: Rows, all_rows: Rows) -> None:
    """Nothing but what was put, as it was put, in its order."""
    strange = {number: row for number, row in found.items() if all_rows.get(number) != row}
    if strange:
        raise Wrong(f"wrong data: {list(strange.items())[:2]!r:.300}")


def case(oracle: Oracle, older: Path, all_rows: Rows, path: Path, chance: random.Random) -> tuple[str, bool]:
    """One fault; returns what it was and whether a read noticed."""
    shutil.copytree(oracle.root, path)
    done = spoil(path, older, chance)
    try:
        damage = streamstore.verify(path, key_ring=RING).damage
        oracle.hold(path, damage)
    except streamstore.StreamStoreError as error:
        raise Wrong(f"{done}: verify refuses: {error!r:.300}") from error
    except Broken as error:
        raise Wrong(f"{done}: {error!s:.1500}") from error
    noticed = False
    try:
        found = rows(path)
        part_of(found, all_rows)
        if len(found) < len(all_rows):
            raise Wrong(
                f"{done}: {len(all_rows) - len(found)} records are missing in silence; verify: {damage[:1]!r:.300}"
            )
    except streamstore.StreamStoreError as error:
        noticed = True
        if not damage:
            raise Wrong(f"{done}: a read raised, and verify had found nothing") from None
        try:
            oracle.hold_error(error)
        except Broken as broken:
            raise Wrong(f"{done}: a read raised {error!r:.300}: {broken!s:.1200}") from None
    try:
        part_of(rows(path, "skip"), all_rows)
    except streamstore.StreamStoreError:
        pass  # no catalog, no manifest: nothing can be skipped
    try:
        left = streamstore.repair(path).damage
        if left:
            raise Wrong(f"{done}: repair left {left[0]!r:.300}")
        part_of(rows(path), all_rows)
    except streamstore.StreamStoreError as error:
        raise Wrong(f"{done}: not repaired: {error!r:.300}") from error
    return done, noticed


def main() -> int:
    """Spoil so many times; leave the figures, also at Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m rot")
    parser.add_argument("--cases", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 31))
    parser.add_argument("--going-on", action="store_true", help="tell of all that is wrong, not only the first")
    parser.add_argument("--base", type=Path, default=Path("/dev/shm"), help="a directory of a file system in memory")
    parser.add_argument("--figures", type=Path, default=figures.PROOF, help="where rot.json is put")
    options = parser.parse_args()
    logging.getLogger("streamstore").setLevel(logging.CRITICAL)
    base = Path(tempfile.mkdtemp(prefix="streamstore-rot-", dir=options.base))
    progress = Progress()
    begun, cases, noticed, records, wrong = time.monotonic(), 0, 0, 0, list[str]()
    try:
        all_rows = make(base / "origin", base / "older")
        oracle = Oracle(base / "origin", numbers_of(base / "origin", STREAMS, key_ring=RING))
        while cases < options.cases and (options.going_on or not wrong):
            chance = random.Random(options.seed + cases)
            try:
                noticed += case(oracle, base / "older", all_rows, base / "store", chance)[1]
            except Wrong as error:
                wrong.append(f"seed {options.seed + cases}: {error}")
            finally:
                shutil.rmtree(base / "store")
            cases, records = cases + 1, records + len(all_rows)
            progress.tell(f"{cases:,} of {options.cases:,} cases")
    except KeyboardInterrupt:
        progress.end("ended before its time")
    finally:
        shutil.rmtree(base)
    seconds, seeds = time.monotonic() - begun, f"{options.seed} to {options.seed + cases - 1}"
    note = f"{noticed:,} of them cost records, each told of"
    figures.Figures("rot", seeds, cases, cases, records, 0, len(wrong), 0, seconds, note).write(
        options.base, options.figures
    )
    progress.end()
    print("\n".join(wrong))
    print(f"{cases:,} cases, {note}, {seconds:.0f} s, {len(wrong)} wrong")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
