"""docs/cli.md has every command, with its arguments and every option, and none that is gone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click

from streamstore.cli.app import VERBS, verbs

TEXT = (Path(__file__).resolve().parent.parent / "docs" / "cli.md").read_text(encoding="utf-8")
CODE = re.compile(r"`([^`]+)`")


def rows(heading: str) -> Iterator[tuple[list[str], list[str]]]:
    """What stands in code in the first cell of each row of the table behind a heading, and what in the second."""
    lines = iter(TEXT.partition(heading)[2].splitlines())
    for line in lines:
        if line.startswith("| `"):
            first, second = re.split(r"(?<!\\)\|", line.strip("|"), maxsplit=1)
            yield CODE.findall(first.replace("\\|", "|")), CODE.findall(second)
        elif line.startswith("#"):
            return


def usage(command: click.Command, path: tuple[str, ...]) -> str:
    """A command with its arguments, as they are given."""
    words = list(path)
    for each in command.params:
        if isinstance(each, click.Argument):
            word = each.metavar or f"{each.human_readable_name.upper()}{'...' if each.nargs == -1 else ''}"
            words.append(word if each.required else f"[{word.strip('[]')}]")
    return " ".join(words)


def commands(command: click.Command, path: tuple[str, ...], context: click.Context) -> Iterator[tuple[str, list[str]]]:
    """(usage, options) of a command, or of all in a group; an option has its names, the short one first."""
    options = [" ".join(each.opts + each.secondary_opts) for each in command.params if isinstance(each, click.Option)]
    if options or not isinstance(command, click.Group):
        yield usage(command, path or ("streamstore",)), options
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from commands(found, (*path, name), context)


def test_every_verb_says_what_it_does() -> None:
    """The first table has a row for each."""
    named = {code.split()[0] for first, _ in rows("| verb | what it does |") for code in first}
    assert named == set(VERBS)


def test_every_command_has_its_options() -> None:
    """The last table, to the letter: usage, then the names of each option."""
    found = [(code, options) for (code,), options in rows("## Every option")]
    assert found == list(commands(verbs, (), click.Context(verbs)))
