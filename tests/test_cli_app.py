"""streamstore.cli.app, exits, arguments and output: exit codes, one line on stderr, completion, units."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import click
import pytest
from command_line import ROOT, run, succeed

from streamstore import errors
from streamstore.cli.app import VERBS
from streamstore.cli.arguments import POSITION, SIZE, SequenceNumber, parse_time
from streamstore.cli.exits import DAMAGED, FAILED, NOT_FOUND, USAGE, VerbError, explain
from streamstore.cli.output import duration_text, iso_us, printable, size_text


def test_help_lists_every_verb() -> None:
    """`streamstore --help` and no verb at all show the verbs and the exit codes."""
    text = succeed("--help").text
    for verb in VERBS:
        assert f"\n  {verb} " in text
    assert "141" in text
    assert succeed("--version").text.startswith("streamstore ")


@pytest.mark.parametrize("arguments", [["nonsense"], ["read"], ["list", "--nonsense", "x"]], ids=lambda each: each[0])
def test_wrong_usage_ends_with_2(arguments: list[str]) -> None:
    """Unknown verbs, missing arguments, unknown options."""
    result = run(*arguments)
    assert result.code == USAGE
    assert result.out == b""
    assert "Traceback" not in result.err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.StreamNotFoundError("x"), NOT_FOUND),
        (errors.StoreNotFoundError("x"), NOT_FOUND),
        (errors.CorruptRangeError("x"), DAMAGED),
        (errors.InvalidArgumentError("x"), USAGE),
        (errors.RecordTooLargeError("x"), FAILED),
        (errors.StoreFullError("x"), FAILED),
        (errors.DurabilityUnknownError("x"), FAILED),
        (errors.StorageError("x"), FAILED),
        (FileNotFoundError(2, "No such file", "f"), NOT_FOUND),
        (PermissionError(13, "Permission denied", "f"), FAILED),
        (VerbError("x", 7), 7),
        (RuntimeError("a\nb"), FAILED),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_error_is_a_code_and_a_line(error: Exception, code: int) -> None:
    """Each error has its exit code and one line of text."""
    found, line = explain(error)
    assert found == code
    assert line
    assert "\n" not in line


def test_a_foreign_directory_is_refused_and_left_alone(tmp_path: Path) -> None:
    """A directory that is no store gives one line, no traceback, and keeps its files."""
    (tmp_path / "manifest").write_text("something else")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for verb in (["list", tmp_path], ["create", tmp_path, "s"], ["put", tmp_path, "s", "x"]):
        result = run(*verb)
        assert result.code in (FAILED, NOT_FOUND), result
        assert result.err.startswith("streamstore: ")
        assert result.err.count("\n") == 1
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    """--debug raises where the line would hide where it came from."""
    with pytest.raises(VerbError):
        run("--debug", "list", tmp_path / "missing")


def test_stream_names_complete(tmp_path: Path) -> None:
    """The shell's completion offers verbs and the streams of the directory, and makes no store."""
    place = tmp_path / "store"
    for name in ("clicks", "clones", "jobs"):
        succeed("create", place, name)
    assert _complete("streamstore rea", 1) == ["read"]
    assert _complete(f"streamstore read {place} cl", 3) == ["clicks", "clones"]
    assert _complete(f"streamstore stat {place} j", 3) == ["jobs"]
    assert _complete(f"streamstore read {tmp_path / 'missing'} x", 3) == []
    assert not (tmp_path / "missing").exists()


def _complete(line: str, word: int) -> list[str]:
    environment = {**os.environ, "_STREAMSTORE_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(word)}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    code = "import sys; from streamstore.cli import main; sys.exit(main())"
    found = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, check=True
    ).stdout.decode()
    return [item.split(",")[1] for item in found.split()]


@pytest.mark.parametrize(
    ("text", "size"), [("1", 1), ("64k", 65536), ("1MiB", 1 << 20), ("1.5 m", 3 << 19), ("2GB", 2 << 30), ("10b", 10)]
)
def test_sizes(text: str, size: int) -> None:
    """Sizes are in powers of 1024, with or without a unit's tail."""
    assert SIZE.convert(text, None, None) == size


@pytest.mark.parametrize("text", ["", "x", "-1", "1 2", "1e3", "k"])
def test_no_sizes(text: str) -> None:
    """What is no size is wrong usage."""
    with pytest.raises(click.UsageError):
        SIZE.convert(text, None, None)


def test_times() -> None:
    """ISO 8601 (UTC where no zone is given), epoch seconds, ages; nothing else."""
    noon = datetime(2015, 5, 17, 12, tzinfo=timezone.utc)
    for text in ("2015-05-17T12:00:00Z", "2015-05-17 12:00", "2015-05-17T14:00:00+02:00", "1431864000", "1431864000.0"):
        assert parse_time(text) == noon
    for text in ("15m ago", "15m", "-15m"):
        age = parse_time(text)
        assert age is not None
        assert timedelta(minutes=14) < datetime.now(timezone.utc) - age < timedelta(minutes=16)
    for text in ("", "tomorrow", "15 parsecs", "nan", "1e300"):
        assert parse_time(text) is None


def test_positions() -> None:
    """Words in any case, sequence numbers, JSON; anything else is wrong usage."""
    assert POSITION.convert("latest", None, None) == "LATEST"
    assert isinstance(POSITION.convert("4" * 56, None, None), SequenceNumber)
    assert POSITION.convert('{"v": 1}', None, None) == {"v": 1}
    for text in ("", "first", "{", "@/nonexistent"):
        with pytest.raises(click.UsageError):
            POSITION.convert(text, None, None)


def test_units_for_people() -> None:
    """Sizes, durations and times in the form a person reads."""
    assert [size_text(size) for size in (0, 1023, 1024, 3 << 19, 5 << 40)] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "1.5 MiB",
        "5.0 TiB",
    ]
    assert [duration_text(each) for each in (2e-6, 0.0123, 1.5, 125)] == ["2 us", "12.3 ms", "1.5 s", "2 min 5 s"]
    assert [duration_text(each) for each in (7199, 7200, 172_799, 172_800)] == [
        "119 min 59 s",
        "2 h 0 min",
        "47 h 59 min",
        "2 d 0 h",
    ]
    assert iso_us(1_431_864_000_000_001) == "2015-05-17T12:00:00.000001Z"
    assert iso_us(1 << 62).endswith(" us")
    assert printable("ok ö") == "ok ö"
    assert printable("a\x1b\u202e") == "a\\x1b\\u202e"
