"""`snapshot` and `restore`: a store into a new directory, as it is or as a store of its own."""

from __future__ import annotations

import errno
from pathlib import Path

import click

import streamstore
from streamstore import errors
from streamstore.backup import SnapshotResult
from streamstore.cli.arguments import directory_argument, json_option, open_to_read, open_to_write
from streamstore.cli.output import duration_text, note, print_json, size_text
from streamstore.cli.progress import CountProgress
from streamstore.store import Store

_target_argument = click.argument("target", type=click.Path(path_type=Path, file_okay=False))
_progress_option = click.option(
    "--progress/--no-progress", default=None, help="Show how far it is, on stderr.  [default: on a terminal]"
)


@click.command()
@directory_argument
@_target_argument
@_progress_option
@json_option
def snapshot(directory: Path, target: Path, progress: bool | None, as_json: bool) -> None:
    """Copy the whole store as of now into the new directory TARGET, while others write.

    Every record acknowledged before is in it. On the same file system sealed segments are hard links, so it takes
    little time and space. It opens as a store; `streamstore restore` gives one an identity of its own.

    \b
    Example:
      streamstore snapshot data/ backup/monday
    """
    with _open(directory) as store, CountProgress("streams", progress) as bar:
        made = store.snapshot(target, progress=bar.update)
    _print(made, as_json, "snapshot")


@click.command()
@click.argument("source", type=click.Path(path_type=Path, file_okay=False))
@_target_argument
@click.option("--no-verify", is_flag=True, help="Do not check the result byte by byte.")
@_progress_option
@json_option
def restore(source: Path, target: Path, no_verify: bool, progress: bool | None, as_json: bool) -> None:
    """Make a store of its own in the new directory TARGET from the snapshot (or store) SOURCE.

    It has a new id, and gives no sequence number a second time. Records keep theirs. SOURCE is not changed.

    \b
    Example:
      streamstore restore backup/monday restored
    """
    with CountProgress("streams", progress) as bar:
        made = streamstore.restore(source, target, verify=not no_verify, progress=bar.update)
    _print(made, as_json, "store")


def _open(directory: Path) -> Store:
    """For writing where it can be, so that what no sync has covered yet can be synced and taken."""
    try:
        return open_to_write(directory)
    except (errors.ReadOnlyError, errors.StorageError) as error:
        if isinstance(error, errors.StorageError) and error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise
        return open_to_read(directory)


def _print(made: SnapshotResult, as_json: bool, what: str) -> None:
    if as_json:
        print_json(made._asdict())
        return
    for line in made.notes:
        note(line)
    linked = f"{size_text(made.linked_bytes)} linked, " if made.linked_bytes else ""
    note(
        f"{what} {made.path}: {made.records:,} records in {made.streams} streams, {made.shards} shards; "
        f"{linked}{size_text(made.copied_bytes)} copied in {duration_text(made.seconds)}"
    )
