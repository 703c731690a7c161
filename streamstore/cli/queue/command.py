"""`queue put | get | ls | dead | restore | purge | work`: queues from a shell."""

from __future__ import annotations

import json
import os
import queue as std
import sys
from pathlib import Path
from typing import Any

import click

from streamstore.cli.arguments import directory_argument, json_option, open_to_read, open_to_write
from streamstore.cli.exits import NOT_FOUND, USAGE, VerbError
from streamstore.cli.output import iso, print_json, print_table, writable
from streamstore.cli.queue.work import work
from streamstore.limits import QUEUE_VISIBILITY_MAX_S
from streamstore.queue import DeadLetter, Message, Queue
from streamstore.queue.settings import check_name

EMPTY = 5
"""`queue get` found nothing to get."""


@click.group()
def queue() -> None:
    """Work in, work out, nothing lost: queues in a store.

    \b
    Examples:
      streamstore queue put data/ jobs '{"user": 42}'
      streamstore queue work data/ jobs --jobs 4 -- ./handle.sh
      streamstore queue ls data/
    """


@queue.command()
@directory_argument
@click.argument("name")
@click.argument("body", required=False)
@click.option("--key", help="What the order by key goes by.")
@click.option("--id", "message_id", help="Put once within the queue's dedup window.")
@click.option(
    "--delay", type=click.FloatRange(0, QUEUE_VISIBILITY_MAX_S), default=0, help="Seconds before it can be received."
)
@click.option("--lines", is_flag=True, help="A message for each line of stdin.")
@json_option
def put(
    directory: Path,
    name: str,
    body: str | None,
    key: str | None,
    message_id: str | None,
    delay: float,
    lines: bool,
    as_json: bool,
) -> None:
    """Put one message into the queue NAME (made where it is not there) and print its number.

    BODY is JSON, or text where it is none, or bytes where it is no text; `-`, or nothing, takes all of stdin.
    """
    check_name(name)
    if lines and (body not in (None, "-") or message_id is not None):
        raise click.UsageError("--lines takes its messages from stdin, and gives them no id")
    with open_to_write(directory, create=True) as store:
        target = store.queue(name)
        if lines:
            bodies = [_body(target, line) for line in sys.stdin.buffer.read().splitlines()]
            results = list(target.put_many(bodies, delay=delay, keys=[key] * len(bodies)))
        else:
            raw = sys.stdin.buffer.read() if body in (None, "-") else os.fsencode(str(body))
            results = [target.put(_body(target, raw), key=key, id=message_id, delay=delay)]
        numbers = [result.sequence_number for result in results]
    if as_json:
        print_json({"ids": numbers})
        return
    for number in numbers:
        click.echo(number)


def _body(target: Queue, raw: bytes) -> Any:
    if target.codec.name in ("bytes", ""):
        return raw
    try:
        return json.loads(raw)
    except RecursionError:
        raise VerbError("the body is nested too deeply", USAGE) from None
    except ValueError:
        pass
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw  # what is no text is kept as it is, or refused by the codec


def text_of(item: Message | DeadLetter) -> Any:
    """A body for people and programs: what it decodes to, or its bytes where it cannot be decoded."""
    try:
        return item.body
    except Exception:  # whatever the codec raises: the message is shown all the same
        return item.data


@queue.command()
@directory_argument
@click.argument("name")
@click.option("-n", "--count", type=click.IntRange(1, 10_000), default=1, show_default=True, help="How many at most.")
@click.option(
    "--timeout", type=click.FloatRange(min=0), default=0, show_default=True, help="Seconds to wait for the first."
)
@click.option("--keep", is_flag=True, help="Give them back instead of acknowledging them.")
@json_option
def get(directory: Path, name: str, count: int, timeout: float, keep: bool, as_json: bool) -> None:
    """Receive messages of the queue NAME, print a body a line, and acknowledge them once they are printed.

    Exits with 5 where there is none.
    """
    with open_to_write(directory) as store:
        target = existing(store, name)
        try:
            messages = target.get_many(count, timeout=timeout)
        except std.Empty:
            raise VerbError(f"the queue {name!r} is empty", EMPTY) from None
        if as_json:
            print_json([_facts(message) for message in messages])
        else:
            for message in messages:
                _print_body(text_of(message))
        sys.stdout.flush()
        if keep:
            target.nack_many(messages)
        else:
            target.ack_many(messages)


def existing(store: Any, name: str) -> Queue:
    """The queue of that name, which must be there: a verb that takes out makes none."""
    if name not in store.list_queues():
        raise VerbError(f"there is no queue {name!r} in {store.path}; `streamstore queue put` makes one", NOT_FOUND)
    found: Queue = store.open_queue(name)
    return found


def _print_body(body: Any) -> None:
    if isinstance(body, bytes):
        sys.stdout.buffer.write(body + b"\n")
    else:
        text = body if isinstance(body, str) else json.dumps(body, ensure_ascii=False, default=str)
        sys.stdout.write(writable(text) + "\n")
    sys.stdout.flush()


def _facts(message: Message) -> dict[str, Any]:
    return {
        "id": message.id,
        "body": text_of(message),
        "key": message.key,
        "receive_count": message.receive_count,
        "put": iso(message.put_time),
    }


@queue.command("ls")
@directory_argument
@json_option
def list_queues(directory: Path, as_json: bool) -> None:
    """List the queues with what is in them."""
    with open_to_read(directory) as store:
        found = [(name, store.open_queue(name)) for name in store.list_queues()]
        rows = [{"name": name, "stream": each.settings.stream, **each.stats()} for name, each in found]
    if as_json:
        print_json(rows)
        return
    columns = ["name", "stream", "fresh", "waiting", "in_flight", "dead", "total_acknowledged", "total_expired"]
    print_table(columns, [[row[column] for column in columns] for row in rows], right=columns[2:])


@queue.command()
@directory_argument
@click.argument("name")
@json_option
def dead(directory: Path, name: str, as_json: bool) -> None:
    """List the dead letters of the queue NAME."""
    with open_to_write(directory) as store:
        rows = [
            {
                "id": letter.id,
                "died": iso(letter.died),
                "receive_count": letter.receive_count,
                "reason": letter.reason,
                "body": text_of(letter),
            }
            for letter in existing(store, name).dead_letters
        ]
    if as_json:
        print_json(rows)
        return
    columns = ["id", "died", "receive_count", "reason", "body"]
    print_table(columns, [[row[column] for column in columns] for row in rows], right=["receive_count"])


@queue.command()
@directory_argument
@click.argument("name")
@click.argument("ids", nargs=-1)
@json_option
def restore(directory: Path, name: str, ids: tuple[str, ...], as_json: bool) -> None:
    """Put the dead letters of these IDS (all, where none is given) back into the queue NAME."""
    with open_to_write(directory) as store:
        count = existing(store, name).dead_letters.restore(ids or None)
    _print_count("restored", count, as_json)


@queue.command()
@directory_argument
@click.argument("name")
@click.option("--dead", "only_dead", is_flag=True, help="Only the dead letters.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def purge(directory: Path, name: str, only_dead: bool, yes: bool, as_json: bool) -> None:
    """Remove every message of the queue NAME, those in flight and dead letters too."""
    with open_to_write(directory) as store:
        target = existing(store, name)
        if not yes:
            click.confirm(
                f"Remove all {'dead letters' if only_dead else 'messages'} of {name!r}?", abort=True, err=True
            )
        count = target.dead_letters.purge() if only_dead else target.purge()
    _print_count("removed", count, as_json)


def _print_count(what: str, count: int, as_json: bool) -> None:
    if as_json:
        print_json({what: count})
    else:
        click.echo(f"{what} {count}")


queue.add_command(work)
