"""`key` and `encryption`: files of master keys, and the encryption of a stream. Shows no key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from streamstore import key_file, keys
from streamstore.cli.arguments import (
    directory_argument,
    json_option,
    open_to_read,
    open_to_write,
    stream_argument,
)
from streamstore.cli.output import iso_us, note, print_json, print_table, printable
from streamstore.stream import Stream
from streamstore.values import Encryption

_CHANGES = {
    "start": Stream.start_encryption,
    "rotate": Stream.rotate_key,
    "rewrap": Stream.rewrap_keys,
}


@click.group()
def key() -> None:
    """Make and change a file of master keys, which encrypted streams need.

    Keep it apart from the store, and keep a copy: without it what is encrypted is gone.

    \b
    Examples:
      streamstore key create master.key
      streamstore key add master.key
    """


@key.command("create")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def create_key(file: Path) -> None:
    """Make FILE with one new master key, readable by its owner alone. Never writes over a file."""
    master = key_file.create(str(file))
    note(f"{file}: made, with master key {keys.fingerprint(master)}")


@key.command("add")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
def add_key(file: Path) -> None:
    """Put a new master key in front of those in FILE; the older ones still unwrap.

    `streamstore encryption DIRECTORY STREAM --rewrap` then takes each stream over.
    """
    master = key_file.add(str(file))
    note(f"{file}: new data keys are wrapped under master key {keys.fingerprint(master)} from now on")


@click.command()
@directory_argument
@stream_argument
@click.option("--start", "change", flag_value="start", help="Encrypt what is written from now on.")
@click.option("--stop", "change", flag_value="stop", help="Write in plain from now on.")
@click.option(
    "--rotate", "change", flag_value="rotate", help="Encrypt what is written from now on under a new data key."
)
@click.option("--rewrap", "change", flag_value="rewrap", help="Wrap all data keys under the ring's present master key.")
@click.option("--master", metavar="KEY", help="With AWS KMS: the id, ARN or alias of the master key to wrap under.")
@json_option
def encryption(directory: Path, stream: str, change: str | None, master: str | None, as_json: bool) -> None:
    """Show whether a stream is encrypted and under which keys, or change it.

    The key ring is a file, env:NAME or kms:KEY, and comes before the verb (or from STREAMSTORE_KEY_RING).

    \b
    Examples:
      streamstore encryption data/ clicks
      streamstore --key-ring master.key encryption data/ clicks --start
    """
    if master and change in (None, "stop"):
        raise click.UsageError("--master goes with --start, --rotate or --rewrap")
    with open_to_write(directory) if change else open_to_read(directory) as store:
        found = store.stream(stream)
        if change is None:
            facts = found.encryption
        elif change == "stop":
            facts = found.stop_encryption()
        else:
            facts = _CHANGES[change](found, master)
    if as_json:
        print_json(document(facts))
        return
    state = f"encrypted under data key {facts.key_id}" if facts.enabled else "not encrypted"
    print(f"{printable(stream)}: {state}")
    rows = [[item.key_id, item.ring, item.master, iso_us(item.created_us)] for item in facts.keys]
    if rows:
        print_table(["DATA KEY", "RING", "MASTER KEY", "MADE"], rows, right=["DATA KEY"])


def document(facts: Encryption) -> dict[str, Any]:
    """The facts as JSON has them."""
    return {"enabled": facts.enabled, "key_id": facts.key_id, "keys": [item._asdict() for item in facts.keys]}
