"""The table of verbs, and the one place where an exception becomes a line on stderr and an exit code.

A verb's module is imported when the verb is used, so that `streamstore put` does not pay for the others.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from streamstore.cli.exits import FAILED, INTERRUPTED, OK, PIPE_CLOSED, USAGE, explain

VERBS = {
    "create": "streams:create",
    "delete": "streams:delete",
    "list": "streams:list_streams",
    "describe": "describe:describe",
    "reshard": "reshard:reshard",
    "put": "put:put",
    "ingest": "ingest.command:ingest",
    "read": "read:read",
    "tail": "tail:tail",
    "stat": "stat:stat",
    "retention": "maintain:retention",
    "encryption": "encryption:encryption",
    "key": "encryption:key",
    "maintain": "maintain:maintain",
    "inspect": "inspect:inspect",
    "verify": "verify:verify",
    "repair": "repair:repair",
    "export": "transfer:export_verb",
    "import": "transfer:import_verb",
    "snapshot": "backup:snapshot",
    "restore": "backup:restore",
    "queue": "queue.command:queue",
    "capture": "capture.command:capture",
    "replay": "replay.command:replay",
    "generate": "generate:generate",
    "bench": "bench:bench",
    "serve": "serve:serve",
    "demo": "demo.command:demo",
}


class _InterruptedError(Exception):
    """Ctrl-C, past click, which would print an empty line."""


class _PipeClosedError(Exception):
    """The reader of our output went away, past click, which would exit with 1."""


class VerbGroup(click.Group):
    """Verbs in the order of the table, each loaded at its first use."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except KeyboardInterrupt:
            raise _InterruptedError from None
        except BrokenPipeError:
            raise _PipeClosedError from None

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        module, name = VERBS[cmd_name].split(":")
        command = getattr(importlib.import_module(f"streamstore.cli.{module}"), name)
        assert isinstance(command, click.Command)
        return command


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("streamstore-kinesis")
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "unknown"


def _print_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        click.echo(f"streamstore {_version()}")
        ctx.exit()


@click.group(cls=VerbGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version and exit.",
)
@click.option("--debug", is_flag=True, help="Show the traceback behind an error.")
@click.option(
    "--key-ring",
    metavar="RING",
    envvar="STREAMSTORE_KEY_RING",
    help="Who has the keys of encrypted streams: a key file, env:NAME or kms:KEY.  [env: STREAMSTORE_KEY_RING]",
)
@click.pass_context
def verbs(ctx: click.Context, debug: bool, key_ring: str | None) -> None:
    """Durable streams of records in a directory.

    Every verb takes the directory first and the stream second:

    \b
      streamstore create data/ clicks --shards 4
      streamstore ingest data/ clicks access.log --key-regex '^(\\S+)'
      streamstore read data/ clicks --raw

    \b
    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no such store or stream,
    4 damage found, 130 interrupted, 141 the reader of the output went away.
    """
    ctx.obj = {"debug": debug, "key_ring": key_ring}


def main(args: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code (0 done, 1 failed, 2 usage, 3 not found, 4 damage, 130 interrupted, 141
    closed pipe).
    """
    arguments = list(sys.argv[1:] if args is None else args)
    try:
        result = verbs.main(args=arguments, prog_name="streamstore", standalone_mode=False)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.UsageError as error:
        error.show()
        return USAGE
    except click.ClickException as error:
        error.show()
        return FAILED
    except _PipeClosedError:
        return _pipe_closed()
    except (_InterruptedError, KeyboardInterrupt, click.Abort):
        print("streamstore: interrupted", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        if "--debug" in arguments:
            raise
        code, line = explain(error)
        print(f"streamstore: {line}", file=sys.stderr)
        return code
    return result if isinstance(result, int) else OK


def _pipe_closed() -> int:
    """Point stdout at nothing, so that the interpreter's last flush does not complain, and say what the shell would."""
    try:
        sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, sys.stdout.fileno())
        os.close(sink)
    except (OSError, ValueError):  # stdout has no descriptor (a test's), or there is no null device
        pass
    return PIPE_CLOSED
