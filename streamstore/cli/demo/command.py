"""The verb `demo`: where it runs, how it looks. The story is in `story`."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from streamstore.cli.demo.report import document, print_report
from streamstore.cli.demo.story import Say, Story
from streamstore.cli.exits import FAILED, OK, VerbError
from streamstore.cli.output import console, print_json

EVENTS = 200_000
EVENTS_MIN = 5_000


@click.command()
@click.argument("directory", required=False, type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--events", type=click.IntRange(min=EVENTS_MIN), default=EVENTS, show_default=True, help="How many events to write."
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def demo(directory: Path | None, events: int, as_json: bool) -> int:
    """Write a clickstream from two processes, kill one, and show that nothing is lost.

    Two processes write events with the durability `sync`, a third one tails them. Half-way one writer is killed with
    SIGKILL, and a fresh
    process takes over its part. At the end all are killed, the store is opened again, and every record is compared with
    what was written
    and with what was acknowledged. It runs in a temporary directory, or in DIRECTORY, which must be empty and is kept.
    The exit code is 1 if any check fails.

    \b
    Examples:
      streamstore demo
      streamstore demo /mnt/disk/demo --json
    """
    began = time.monotonic()
    with _place(directory) as place, _voice(quiet=as_json) as say:
        story = Story(place, events, say)
        story.run()
        story.figures |= {"file_system": file_system(place), "elapsed_s": round(time.monotonic() - began, 3)}
    if as_json:
        print_json(document(story))
    else:
        print_report(story, kept=directory)
    return OK if all(story.checks.values()) else FAILED


@contextmanager
def _place(directory: Path | None) -> Iterator[Path]:
    if directory is not None:
        directory.mkdir(parents=True, exist_ok=True)
        if any(directory.iterdir()):
            raise VerbError(f"{directory} is not empty; the demo wants a directory of its own")
        yield directory
        return
    temporary = Path(tempfile.mkdtemp(prefix="streamstore-demo-", dir=_real_disk()))
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _real_disk() -> str | None:
    """A place for temporary files where a sync means something: /tmp often lies in memory, /var/tmp does not."""
    chosen = Path(tempfile.gettempdir())
    other = Path("/var/tmp")
    in_memory = file_system(chosen) == "tmpfs" and "TMPDIR" not in os.environ
    return (
        str(other)
        if in_memory and other.is_dir() and os.access(other, os.W_OK) and file_system(other) != "tmpfs"
        else None
    )


def file_system(path: Path) -> str:
    """The type of the file system that holds `path`, such as ext4; `unknown` where the kernel does not say."""
    path = path.resolve()
    best, kind = "", "unknown"
    try:
        lines = Path("/proc/self/mounts").read_text().splitlines()
    except OSError:
        return kind
    for line in lines:
        point, fs_type = line.split()[1:3]
        if path.is_relative_to(point) and len(point) >= len(best):
            best, kind = point, fs_type
    return kind


@contextmanager
def _voice(*, quiet: bool) -> Iterator[Say]:
    """How the story is told while it runs: a spinner on a terminal, plain lines elsewhere, on stderr, nothing for
    programs.
    """
    if quiet:
        yield lambda line: None
    elif sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        screen = console(stderr=True)
        told: list[str] = []
        with screen.status("") as status:

            def say(line: str) -> None:
                if told:
                    screen.print(f"  {told[-1]}", style="dim")
                told.append(line)
                status.update(line)

            yield say
    else:
        yield lambda line: print(f"... {line}", file=sys.stderr, flush=True)
