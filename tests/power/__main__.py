"""`python -m power [--cuts N]`: shuts an ext4 file system down under several writing processes, mounts it again, looks.

The shutdown (an ioctl of ext4's own) drops what is in memory and in the journal's uncommitted part, as a power cut
does. Before some cuts random parts of the files are written back, so that what survives is no prefix of what was
written. Needs root, mkfs.ext4 and loop devices; says so elsewhere, and makes none.
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import figures
from cuts.judge import judge
from cuts.seam import Untraced
from cuts.story import Wrong
from cuts.workload import Actor
from progress import Progress

from power import sightings
from power.writers import STREAMS, Diary, read, start, write

SHUTDOWN, NOLOGFLUSH = 0x8004587D, 2
IMAGE_SIZE = 256 << 20
WRITERS, FOLLOWERS = 3, 2


class Held(Exception):
    """Another mount namespace holds the file system that went down, so that it cannot be mounted anew: no cut."""


class Disk:
    """An ext4 file system in a file, mounted at a directory."""

    def __init__(self, base: Path) -> None:
        self.image, self.mount_point = base / "disk", base / "mount"
        self.mount_point.mkdir(parents=True)
        with open(self.image, "wb") as file:
            file.truncate(IMAGE_SIZE)
        subprocess.run(["mkfs.ext4", "-q", "-F", str(self.image)], check=True, capture_output=True)

    def mount(self) -> None:
        """Mount it; again where it is still down, because some other mount namespace holds the old one."""
        for _ in range(20):
            command = ["mount", "-o", "loop", str(self.image), str(self.mount_point)]
            subprocess.run(command, check=True, capture_output=True)
            try:
                (self.mount_point / "probe").write_bytes(b"")
                return
            except OSError:
                self.unmount()
                time.sleep(0.1)
        raise Held(str(self.image))

    def unmount(self) -> None:
        subprocess.run(["umount", str(self.mount_point)], check=True, capture_output=True)

    def cut(self) -> int:
        """The power goes; returns when. What is told after that was told by nobody: a machine without power says no
        more, while here processes run on, and a sync under way may come back as if it had gone well.
        """
        handle = os.open(self.mount_point, os.O_RDONLY)
        when = time.monotonic_ns()
        try:
            fcntl.ioctl(handle, SHUTDOWN, NOLOGFLUSH.to_bytes(4, "little"))
        finally:
            os.close(handle)
        return when

    def write_back_some(self, chance: random.Random) -> None:
        """Let random parts of the files reach the disk, as the kernel may at any time."""
        library = ctypes.CDLL(None, use_errno=True)
        library.sync_file_range.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
        for path in (self.mount_point / "store").rglob("*"):
            if path.is_file() and chance.random() < 0.7:
                with suppress(OSError), open(path, "rb") as file:
                    for _ in range(chance.randint(1, 4)):
                        library.sync_file_range(
                            file.fileno(), chance.randrange(32) << 12, 4096 << chance.randrange(4), 7
                        )


def one_cut(disk: Disk, base: Path, seed: int) -> int:
    """Writers, a cut in the middle of what they do, and what is there afterwards; returns records read."""
    chance = random.Random(seed)
    path = disk.mount_point / "store"
    diaries = [base / f"diary-{number}" for number in range(WRITERS + FOLLOWERS + 1)]
    for diary in diaries:
        diary.unlink(missing_ok=True)
    disk.mount()
    try:
        shutil.rmtree(path, ignore_errors=True)
        first = Diary(path, diaries[-1], seed, 0)
        first.open()
        for name, durability in STREAMS.items():
            first.create(name, durability, chance.randint(1, 2))
        children = [start(partial(write, path, diaries[n], seed + n, n)) for n in range(WRITERS)]
        children += [
            start(partial(sightings.follow, path, diaries[WRITERS + n], read_only=n > 0)) for n in range(FOLLOWERS)
        ]
        try:
            time.sleep(0.02 + chance.random() ** 2 * 0.3)
            if chance.random() < 0.6:
                disk.write_back_some(chance)
            when = disk.cut()
        finally:
            for child in children:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
            first.store.close()
    finally:
        disk.unmount()
    disk.mount()
    try:
        after = Actor(path, Untraced(), seed, 1_000_000_000)
        events = read([diary for diary in diaries if diary.exists()])
        kept = [event for event in events if event.moment < when or event.what.endswith("began")]
        told = [event for event in kept if event.what != "seen"]
        if seed % 2:  # who opens the store first, and finds it as it was left
            sightings.hold(path, kept)
        records = judge(after, told, verify=True, again=True)
        sightings.hold(path, kept)
        return records
    finally:
        disk.unmount()


def possible() -> str:
    """Why it cannot be done here; empty where it can."""
    if os.geteuid() != 0:
        return "needs root"
    if not shutil.which("mkfs.ext4") or not Path("/dev/loop-control").exists():
        return "needs mkfs.ext4 and loop devices"
    return ""


def main() -> int:
    """Cut so many times; leave the figures, also at Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m power")
    parser.add_argument("--cuts", type=int, default=500)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 31))
    parser.add_argument("--base", type=Path, default=Path("/dev/shm"), help="where the file system's file is put")
    parser.add_argument("--figures", type=Path, default=figures.PROOF, help="where power.json is put")
    options = parser.parse_args()
    if possible():
        print(f"power cuts are not made here: {possible()}")
        return 0
    base = Path(tempfile.mkdtemp(prefix="streamstore-power-", dir=options.base))
    progress = Progress()
    begun, cuts, records, wrong, seed = time.monotonic(), 0, 0, "", options.seed
    try:
        disk, seed = Disk(base / "0"), options.seed - 1
        while cuts < options.cuts:
            seed += 1
            try:
                records += one_cut(disk, base, seed)
            except Held:
                disk = Disk(base / f"{seed + 1}")
                continue
            cuts += 1
            progress.tell(f"{cuts:,} of {options.cuts:,} cuts, seed {seed}")
    except Wrong as error:
        wrong = f"seed {seed}: {error}"
        progress.end(wrong)
    except KeyboardInterrupt:
        progress.end("ended before its time")
    finally:
        shutil.rmtree(base)
    seconds = time.monotonic() - begun
    note = f"ext4 shut down under {WRITERS + FOLLOWERS + 1} processes, three durabilities"
    told = figures.Figures(
        "power", f"{options.seed} to {options.seed + cuts}", cuts, cuts, records, bool(wrong), 0, 0, seconds, note
    )
    told.write(options.base, options.figures)
    progress.end()
    print(f"{cuts:,} cuts, {records:,} records, {seconds:.0f} s, {int(bool(wrong))} wrong")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
