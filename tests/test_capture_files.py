"""streamstore.capture.files: every line of growing files once, whatever rotation and kills do."""

from __future__ import annotations

import os
import random
import re
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import streamstore
from streamstore import InvalidArgumentError
from streamstore.capture import Capture, open_source
from streamstore.capture.cutting import cut
from streamstore.capture.files import FileSource
from streamstore.fields import FieldTaker


@pytest.fixture(autouse=True)
def _hurry(monkeypatch):
    """Nobody waits here for more than a moment."""
    monkeypatch.setattr("streamstore.capture.folder.SETTLE", 0.05)
    monkeypatch.setattr("streamstore.capture.files.ROTATED_QUIET", 0.0)


@pytest.fixture
def stream() -> Iterator[Any]:
    """The stream that captures go into."""
    with streamstore.temporary(durability="process") as store:
        yield store.create_stream("s", shard_count=3)


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """The directory of the files."""
    path = tmp_path / "logs"
    path.mkdir()
    return path


class Writer:
    """Writes numbered lines to a file, and knows which."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: list[bytes] = []

    def write(self, count: int) -> None:
        """Append so many lines."""
        with open(self.path, "ab") as file:
            for _ in range(count):
                line = b"%d line of %s" % (len(self.lines), self.path.name.encode())
                self.lines.append(line)
                file.write(line + b"\n")


class Tail:
    """A capture of files in steps, which can be killed between any two."""

    def __init__(self, stream: Any, *patterns: Path, **options: Any) -> None:
        self.stream, self.patterns, self.options = stream, [str(pattern) for pattern in patterns], options
        self.start()

    def start(self) -> None:
        """Begin, or go on."""
        source = FileSource(self.patterns, taker=FieldTaker(key_regex=r"^(\d+)"), interval=0, **self.options)
        self.capture = Capture(self.stream, source)
        self.flow = self.capture.source.batches(follow=True)

    def step(self) -> None:
        """Take what there is, until there is nothing."""
        while batch := next(self.flow):
            self.capture.take(batch)
        self.capture.take(batch)

    def kill(self, how: str = "none") -> None:
        """Die before, in the middle of, or after the put of what comes next; begin again."""
        batch = next(self.flow)
        some = {"none": [], "all": batch, "half": [taken for taken in batch if int(taken.entry.partition_key) % 3 == 1]}
        if some[how]:
            self.stream.put_records([taken.entry for taken in some[how]])
        self.capture.close()
        self.start()

    @property
    def notes(self) -> dict[str, Any]:
        return self.capture.source.notes()

    def lines(self) -> list[bytes]:
        """All that was captured."""
        return [record.data for record in self.stream.read()]


def once(tail: Tail, lines: list[bytes]) -> bool:
    """Whether just these lines are in, each once."""
    found, wanted = Counter(tail.lines()), Counter(lines)
    assert not wanted - found, f"missing: {sorted(wanted - found)[:5]}"
    assert not found - wanted, f"too many: {sorted(found - wanted)[:5]}"
    return True


def test_lines_come_once_each_with_their_places(stream, logs):
    """Byte for byte without the newline; a line that has only begun waits for its end."""
    path = logs / "app.log"
    path.write_bytes(b"1 one\r\n\n2 \xff\xfe\n3 beg")
    tail = Tail(stream, path)
    tail.step()
    assert once(tail, [b"1 one\r", b"", b"2 \xff\xfe"])
    with open(path, "ab") as file:
        file.write(b"un\n")
    tail.step()
    assert once(tail, [b"1 one\r", b"", b"2 \xff\xfe", b"3 begun"])
    places = sorted((r.source["position"], r.source["next"], r.source["line"], r.data) for r in stream.read())
    assert places == [(0, 7, 1, b"1 one\r"), (7, 8, 2, b""), (8, 13, 3, b"2 \xff\xfe"), (13, 21, 4, b"3 begun")]
    assert {record.source["path"] for record in stream.read()} == {str(path)}


@pytest.mark.parametrize("how", ["none", "half", "all"])
@pytest.mark.parametrize("kind", ["rename", "rename out", "create", "truncate", "copytruncate", "copytruncate out"])
def test_rotation_and_kills(stream, logs, kind, how):
    """Every line that stands in a file comes once, whenever the capture died; what truncation took is said."""
    writer = Writer(logs / "app.log")
    tail = Tail(stream, logs / ("app.log" if kind.endswith("out") else "app*"))
    dropped: list[bytes] = []
    for number in range(1, 4):
        writer.write(50)
        tail.step()
        writer.write(30)
        if number != 1:
            tail.kill(how)
        if kind != "truncate":
            writer.write(20)
        else:
            tail.step()
        rotate(kind.removesuffix(" out"), writer, number)
        if number != 3:
            tail.kill(how)
        writer.write(40)
        tail.step()
    assert once(tail, [line for line in writer.lines if line not in dropped])
    assert tail.notes.get("bytes_lost", 0) == 0
    # Who dies in the moment of noticing one may find the copy the next time, and not that anything was truncated.
    least = 0 if "truncate" not in kind else 3 if how == "none" else 1
    assert least <= tail.notes.get("truncated", 0) <= (3 if least else 0)


def rotate(kind: str, writer: Writer, number: int) -> None:
    """What log rotation does."""
    if kind == "rename":
        for old in range(number, 0, -1):
            source = writer.path.with_name(f"app.log.{old - 1}") if old > 1 else writer.path
            source.rename(writer.path.with_name(f"app.log.{old}"))
    elif kind == "create":
        writer.path = writer.path.with_name(f"app-{number}.log")
    elif kind == "truncate":
        os.truncate(writer.path, 0)
    else:
        shutil.copy(writer.path, writer.path.with_name(f"app.log.{number}"))
        os.truncate(writer.path, 0)


def test_what_a_truncation_took_is_said(stream, logs):
    """What was seen to be there and was in no copy is counted in bytes."""
    writer = Writer(logs / "app.log")
    tail = Tail(stream, logs / "app.log")
    writer.write(10)
    tail.step()
    had = writer.path.stat().st_size
    writer.write(10)
    tail.capture.source._folder.look()
    seen = writer.path.stat().st_size
    os.truncate(writer.path, 0)
    writer.write(3)
    tail.step()
    assert tail.notes == {"truncated": 1, "bytes_lost": seen - had}
    assert once(tail, writer.lines[:10] + writer.lines[20:])


def test_a_copy_in_the_making_is_not_taken_for_new(stream, logs):
    """Of copytruncate the copy is there first, and grows; of a copy that stays beside the file nothing comes twice."""
    writer = Writer(logs / "app.log")
    tail = Tail(stream, logs / "app.log*")
    writer.write(200)
    tail.step()
    content = writer.path.read_bytes()
    copy = logs / "app.log.1"
    for size in (1, 300, 1000, len(content)):
        copy.write_bytes(content[:size])
        tail.step()
    tail.kill()
    tail.step()
    writer.write(20)  # into the original, before it is truncated and after it was copied: gone with the truncation
    tail.step()
    os.truncate(writer.path, 0)
    writer.write(5)
    tail.step()
    assert once(tail, writer.lines)


def test_files_that_begin_alike_are_files_of_their_own(stream, logs):
    """The same header in each, as of many formats; the successor of a renamed file may even have the same lines."""
    header = b"#Fields: a b c\n" * 60
    tail = Tail(stream, logs / "*.log*")
    for name in ("a.log", "b.log"):
        (logs / name).write_bytes(header)
        tail.step()
        with open(logs / name, "ab") as file:
            file.write(name.encode() + b"\n")
        tail.step()
    (logs / "a.log").rename(logs / "a.log.1")
    (logs / "a.log").write_bytes(header)
    tail.step()
    assert Counter(tail.lines()) == Counter([b"#Fields: a b c"] * 180 + [b"a.log", b"b.log"])


def test_a_file_that_was_deleted_is_read_to_its_end(stream, logs):
    """What its writer writes to it still comes; another file in the same inode is another one."""
    path = logs / "app.log"
    tail = Tail(stream, path)
    with open(path, "ab", buffering=0) as file:
        file.write(b"1 a\n")
        tail.step()
        path.unlink()
        file.write(b"2 b\n")
        tail.step()
    path.write_bytes(b"3 c\n4 d\n")
    tail.step()
    assert once(tail, [b"1 a", b"2 b", b"3 c", b"4 d"])


def test_a_last_line_without_a_newline_comes_when_its_file_was_rotated(stream, logs):
    """Not before; and it says so."""
    path = logs / "app.log"
    path.write_bytes(b"1 a\n2 b")
    tail = Tail(stream, logs / "app.log*")
    tail.step()
    path.rename(logs / "app.log.1")
    path.write_bytes(b"3 c\n")
    tail.step()
    tail.step()
    assert once(tail, [b"1 a", b"2 b", b"3 c"])
    assert [record.data for record in stream.read() if record.source.get("newline") is False] == [b"2 b"]


def test_a_record_of_several_lines(stream, logs, monkeypatch):
    """It begins with a line that fits, and ends where the next one begins, or when it is quiet; also past a kill."""
    monkeypatch.setattr("streamstore.capture.files.QUIET", 3600.0)
    path = logs / "app.log"
    path.write_bytes(b"1 error\n  at a\n  at b\n2 next\n  at c\n")
    tail = Tail(stream, path, multi_line=r"^\d")
    tail.step()
    assert once(tail, [b"1 error\n  at a\n  at b"])
    tail.kill()
    with open(path, "ab") as file:
        file.write(b"  at d\n3 la")
    tail.step()
    assert len(tail.lines()) == 1  # the line that has begun may belong to the second record
    monkeypatch.setattr("streamstore.capture.files.QUIET", -1.0)
    with open(path, "ab") as file:
        file.write(b"st\n")
    tail.kill("all")
    tail.step()
    assert once(tail, [b"1 error\n  at a\n  at b", b"2 next\n  at c\n  at d", b"3 last"])
    assert [record.source["line"] for record in sorted(stream.read(), key=lambda r: r.data)] == [1, 4, 7]


def test_a_line_that_is_too_long_is_cut(logs):
    """In pieces of the largest size, each of which says so, but the last."""
    path = logs / "app.log"
    path.write_bytes(b"x" * 2500 + b"\nshort\n")
    with streamstore.temporary(durability="process") as store:
        tail = Tail(store.create_stream("s", max_record_size=2024), path)
        tail.step()
        assert once(tail, [b"x" * 1000, b"x" * 1000, b"x" * 500, b"short"])


def test_from_the_end_only_what_is_new(stream, logs):
    """Lines that stood there are left out, also by who goes on; files that come later are taken whole."""
    writer = Writer(logs / "app.log")
    writer.write(10)
    tail = Tail(stream, logs / "*.log", from_end=True)
    writer.write(5)
    tail.kill("half")
    tail.step()
    writer.write(5)
    tail.kill("half")
    other = Writer(logs / "other.log")
    other.write(3)
    tail.step()
    assert once(tail, writer.lines[10:] + other.lines)


def test_from_the_end_is_from_the_last_whole_line(stream, logs):
    """What has only begun comes when it ends; files that appear while it runs are taken whole."""
    (logs / "app.log").write_bytes(b"1 old\n2 be")
    tail = Tail(stream, logs / "*.log", from_end=True)
    tail.step()
    with open(logs / "app.log", "ab") as file:
        file.write(b"gun\n3 new\n")
    (logs / "other.log").write_bytes(b"4 other\n")
    tail.step()
    assert once(tail, [b"2 begun", b"3 new", b"4 other"])


def test_a_line_may_be_longer_than_what_is_read_at_once(stream, logs):
    """Up to what a record may have."""
    line = b"7 " + b"x" * 700_000
    (logs / "app.log").write_bytes(b"6\n" + line + b"\n8\n")
    tail = Tail(stream, logs / "app.log")
    tail.step()
    assert once(tail, [b"6", line, b"8"])


def test_lines_without_a_key_stay_together_through_a_rotation(stream, logs):
    """They are placed by the path under which their file was first seen."""
    path = logs / "app.log"
    tail = Tail(stream, logs / "app.log*")
    with open(path, "ab", buffering=0) as file:
        file.write(b"one\n")
        tail.step()
        path.rename(logs / "app.log.1")
        file.write(b"two\n")
        tail.step()
    (logs / "app.log.2").write_bytes(b"three\n")
    tail.step()
    placed = {record.data: record.explicit_hash_key for record in stream.read()}
    assert placed[b"one"] == placed[b"two"] != placed[b"three"]


def test_who_does_not_follow_takes_the_last_record_of_several_lines(stream, logs, monkeypatch):
    """However short a time nothing came."""
    monkeypatch.setattr("streamstore.capture.files.QUIET", 3600.0)
    (logs / "app.log").write_bytes(b"1 a\n  b\n2 c\n  d\n")
    with Capture(stream, FileSource([f"{logs}/app.log"], multi_line=r"^\d")) as capture:
        assert capture.run(follow=False).records == 2


def test_files_that_are_gone_are_let_go(stream, logs, monkeypatch):
    """One that was deleted as soon as it was read; one that was moved out of the patterns once nobody writes to it. Of
    those that are gone a few are remembered.
    """
    monkeypatch.setattr("streamstore.capture.folder.REMEMBERED", 2)
    tail = Tail(stream, logs / "*.log")
    tracked = tail.capture.source._folder.tracked
    for number in range(5):
        path = logs / f"{number}.log"
        path.write_bytes(b"%d here\n" % number)
        tail.step()
        path.unlink()
        tail.step()
        assert all(each.file < 0 for each in tracked.values())
    assert len(tracked) == 2
    with open(logs / "moved.log", "ab", buffering=0) as file:
        file.write(b"8 here\n")
        tail.step()
        (logs / "moved.log").rename(logs / "elsewhere")
        tail.step()
        file.write(b"9 there\n")
        tail.step()
    assert once(tail, [*(b"%d here" % number for number in range(5)), b"8 here", b"9 there"])


def test_packed_files_and_directories_are_left_alone(stream, logs):
    """What compression makes of a rotated file is not taken again."""
    (logs / "app.log.1.gz").write_bytes(b"1 packed\n")
    (logs / "app.log.d").mkdir()
    (logs / "app.log").write_bytes(b"2 plain\n")
    tail = Tail(stream, logs / "app.log*")
    tail.step()
    assert once(tail, [b"2 plain"])


def test_an_address_with_a_path_is_of_files(stream, logs):
    """As on the command line; `once` ends when all is in."""
    (logs / "app.log").write_bytes(b"1 a\n2 b\n")
    with Capture(stream, str(logs / "*.log")) as capture:
        assert capture.run(follow=False).records == 2
    with Capture(stream, f"file:{logs}/*.log") as capture:
        assert capture.run(follow=False).records == 0
    with pytest.raises(InvalidArgumentError):
        open_source(str(logs / "*.log"), start=5.0)
    with pytest.raises(InvalidArgumentError):
        open_source(str(logs / "*.log"), multi_line="(")


@pytest.mark.parametrize("seed", range(6))
def test_any_order_of_writes_rotations_and_kills(stream, logs, seed):
    """Whatever happens in whatever order, every line comes once."""
    chance = random.Random(seed)
    writer = Writer(logs / "app.log")
    tail = Tail(stream, logs / "app*")
    rotations = 0
    for _ in range(40):
        what = chance.choice(["write", "write", "step", "kill", "rename", "copytruncate", "look"])
        if what == "write":
            writer.write(chance.randrange(1, 60))
        elif what == "step":
            tail.step()
        elif what == "kill":
            tail.kill(chance.choice(["none", "half", "all"]))
        elif what == "look":
            tail.capture.source._folder.look()
        elif writer.path.exists() and writer.path.stat().st_size:
            rotations += 1
            target = logs / f"app.log.{rotations}"
            if what == "rename":
                writer.path.rename(target)
            else:
                tail.step()
                writer.write(chance.randrange(5))
                shutil.copy(writer.path, target)
                os.truncate(writer.path, 0)
    tail.step()
    tail.step()
    assert once(tail, writer.lines)


@given(
    st.lists(st.sampled_from([b"a", b"bb", b"S", b"Sx", b"", b"y" * 9]), max_size=12),
    st.booleans(),
    st.booleans(),
    st.integers(1, 12),
)
def test_pieces_are_all_of_the_bytes_in_order(lines, multi_line, newline, size_max):
    """Put together again they are what was cut, however it was cut; none is too long."""
    data = b"\n".join(lines) + (b"\n" if newline and lines else b"")
    start = re.compile(b"^S") if multi_line else None
    pieces = cut(data, size_max, start=start, finished=True)
    assert b"".join(data[piece.begin : piece.end] for piece in pieces) == data
    assert all(len(piece.data) <= size_max for piece in pieces)
    assert all(piece.data + b"\n" * piece.whole == data[piece.begin : piece.end] for piece in pieces)
    if not multi_line or size_max >= len(data):  # what is too long is cut before it is known where it would end
        some = cut(data, size_max, start=start)
        assert some == pieces[: len(some)]


@pytest.mark.parametrize("name", ["app.log.1", "app-1.log"])
@pytest.mark.parametrize("more", [0, 30])
def test_a_copy_that_is_found_with_its_original_is_no_other_file(stream, logs, name, more):
    """The first look comes between copying and truncating: whatever the copy is called, and has the original grown."""
    writer = Writer(logs / "app.log")
    writer.write(100)
    shutil.copy(writer.path, logs / name)
    os.utime(writer.path, ns=(1, 1))  # written to before it was copied, however coarse the clock of files is
    writer.write(more)
    tail = Tail(stream, logs / "*log*")
    tail.step()
    assert once(tail, writer.lines)
    os.truncate(writer.path, 0)
    writer.write(50)
    tail.step()
    assert once(tail, writer.lines)


def test_files_with_the_same_beginning_are_two_from_the_first_look(stream, logs):
    """What differs at its end is no copy, however long the header is that both have."""
    first, second = Writer(logs / "a.log"), Writer(logs / "b.log")
    for writer in (first, second):
        writer.path.write_bytes(b"header\n" * 200)
        writer.lines += [b"header"] * 200
    first.write(100)
    second.write(50)
    tail = Tail(stream, logs / "*.log")
    tail.step()
    assert once(tail, first.lines + second.lines)


@pytest.mark.parametrize("options", [{}, {"multi_line": "^begin"}])
def test_what_came_since_an_old_look_is_not_at_its_end(stream, logs, monkeypatch, options):
    """A capture that is behind by more than a line may wait cuts none that is being written, though the file was
    rotated in the meantime; quiet counts from the growth that was seen.
    """
    later = 0.0
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + later, sleep=time.sleep)
    monkeypatch.setattr("streamstore.capture.files.time", clock)
    monkeypatch.setattr("streamstore.capture.files.ROTATED_QUIET", 5.0)
    path = logs / "app.log"
    path.write_bytes(b"begin 1\n")
    source = FileSource([str(logs / "app.log*")], **options)
    with Capture(stream, source) as capture:
        (tracked,) = source._folder.tracked.values()
        with open(path, "ab") as file:
            file.write(b"begin 2\nbegin 3 of wh")
        path.rename(logs / "app.log.1")
        path.write_bytes(b"")
        later = 10.0
        found = source._fetch(tracked, follow=True)
        assert found is not None
        assert [taken.entry.data for taken in found] == [b"begin 1", b"begin 2"][: 1 if options else 2]
        capture.stop()
