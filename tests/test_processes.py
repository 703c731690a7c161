"""Several real processes on one directory: writers, tailers, kills, deletes, signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

import streamstore
from streamstore import errors


def start(code, *arguments):
    """A Python process that runs `code` with the package of this test run, its output a pipe."""
    return subprocess.Popen(
        [sys.executable, "-c", "import sys, streamstore\n" + textwrap.dedent(code), *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )


def finish(process):
    out, _ = process.communicate(timeout=100)
    assert process.returncode == 0
    return out.split()


WRITER = """
    who, count = sys.argv[2], int(sys.argv[3])
    with streamstore.open(sys.argv[1], create=False) as store:
        stream = store.stream("s")
        for turn in range(count):
            result = stream.put_record(f"{who}-{turn}".encode(), f"{who}-{turn % 7}")
            print(result.sequence_number, flush=True)
"""

TAILER = """
    count = int(sys.argv[2])
    with streamstore.open(sys.argv[1], create=False) as store:
        with store.stream("s").read(follow=True, timeout=60) as reader:
            print("ready", flush=True)
            for record in reader:
                print(record.data.decode(), record.sequence_number)
                count -= 1
                if not count:
                    break
"""


@pytest.mark.parametrize("shard_count", [1, 16])
@pytest.mark.parametrize("durability", ["process", "sync"])
def test_four_writers_and_two_tailers(tmp_path, shard_count, durability):
    """No loss, no duplicate, order kept per writer and key, and each tailer sees every record once."""
    count = 200
    with streamstore.open(tmp_path) as store:
        stream = store.create_stream("s", shard_count, durability=durability)
        tailers = [start(TAILER, tmp_path, 4 * count) for _ in range(2)]
        for tailer in tailers:
            assert tailer.stdout.readline() == "ready\n"
        writers = [start(WRITER, tmp_path, who, count) for who in "abcd"]
        acknowledged = [number for writer in writers for number in finish(writer)]
        assert len(set(acknowledged)) == 4 * count
        for tailer in tailers:
            told = finish(tailer)
            names, numbers = told[::2], told[1::2]
            assert sorted(numbers) == sorted(acknowledged)
            for who in "abcd":
                for lane in range(7):
                    own = [int(name[2:]) for name in names if name[0] == who and int(name[2:]) % 7 == lane]
                    assert own == sorted(own)
        assert sorted(record.sequence_number for record in stream.read()) == sorted(acknowledged)


@pytest.mark.parametrize("durability", ["process", "sync"])
def test_killed_writers_lose_nothing_that_was_acknowledged(tmp_path, durability):
    """Whoever is left goes on, and no number is given twice."""
    with streamstore.open(tmp_path) as store:
        stream = store.create_stream("s", 2, durability=durability)
        acknowledged = []
        for turn in range(6):
            victims = [start(WRITER, tmp_path, f"v{turn}{who}", 100_000) for who in range(2)]
            for victim in victims:
                acknowledged += [victim.stdout.readline().strip() for _ in range(20)]
            for victim in victims:
                victim.send_signal(signal.SIGKILL)
            for victim in victims:
                whole, _, _ = victim.stdout.read().rpartition("\n")
                acknowledged += whole.split()
                victim.communicate(timeout=100)
            acknowledged.append(stream.put_record(b"survivor", f"k{turn}").sequence_number)
        store.flush()  # makes visible what a victim had published and not synced yet
        found = numbers_by_shard(stream)
        assert len(set().union(*found.values())) == sum(map(len, found.values()))
        assert set(acknowledged) <= set().union(*found.values())
    with streamstore.open(tmp_path) as store:
        assert numbers_by_shard(store.stream("s")) == found


def numbers_by_shard(stream):
    """Between shards an unmerged read promises no order: where one batch ends depends on what had been written."""
    found = {}
    for record in stream.read():
        found.setdefault(record.shard_id, []).append(record.sequence_number)
    return found


def test_the_catalog_is_followed_across_processes(tmp_path):
    """What one process creates and deletes, the next call of another sees."""
    code = """
        with streamstore.open(sys.argv[1]) as store:
            for line in sys.stdin:
                verb, name = line.split()
                {"create": store.create_stream, "delete": store.delete_stream}[verb](name)
                print("done", flush=True)
    """
    with streamstore.open(tmp_path) as store:
        other = start(code, tmp_path)

        def tell(line):
            other.stdin.write(line + "\n")
            other.stdin.flush()
            assert other.stdout.readline() == "done\n"

        tell("create a")
        stream = store.stream("a")
        stream.put_record(b"x", "k")
        tell("delete a")
        with pytest.raises(errors.StreamNotFoundError):
            stream.put_record(b"x", "k")
        tell("create a")
        assert list(store.stream("a").read()) == []
        other.stdin.close()
        other.wait(60)
        other.stdout.close()


def test_racing_processes_create_each_stream_once(tmp_path):
    """The catalog's compare-and-append decides."""
    code = """
        with streamstore.open(sys.argv[1]) as store:
            for turn in range(40):
                print(turn, store.create_stream(f"s{turn}", exist_ok=True).info.id)
    """
    told = [finish(process) for process in [start(code, tmp_path) for _ in range(4)]]
    assert all(each == told[0] for each in told)
    assert sorted(map(int, told[0][1::2])) == list(range(1, 41))


def test_a_killed_process_that_waits_harms_nobody(tmp_path):
    """Its slot is found dead, and writers go on."""
    with streamstore.open(tmp_path) as store:
        stream = store.create_stream("s", durability="process")
        tailer = start(TAILER, tmp_path, 10)
        assert tailer.stdout.readline() == "ready\n"
        tailer.kill()
        tailer.communicate()
        stream.put_record(b"x", "k")
        alive = [process["pid"] for process in store.attachment.processes() if process["alive"]]
        assert alive == [os.getpid()]


@pytest.mark.parametrize("shard_count", [1, 3])
def test_ctrl_c_ends_a_wait(tmp_path, shard_count):
    """KeyboardInterrupt comes out of the iteration, and the position is still right."""
    code = """
        with streamstore.open(sys.argv[1], create=False) as store:
            reader = store.stream("s").read(follow=True)
            try:
                for record in reader:
                    print(record.data.decode(), flush=True)
            except KeyboardInterrupt:
                left = list(store.stream("s").read(reader.position))
                print("interrupted", len(left), flush=True)
    """
    with streamstore.open(tmp_path) as store:
        store.create_stream("s", shard_count, durability="process").put_record(b"one", "k")
        waiting = start(code, tmp_path)
        assert waiting.stdout.readline() == "one\n"
        time.sleep(0.3)
        waiting.send_signal(signal.SIGINT)
        assert waiting.stdout.readline() == "interrupted 0\n"
        waiting.communicate()


@pytest.mark.parametrize("shard_count", [1, 3])
def test_a_record_whose_writer_died_before_its_sync_is_still_seen(tmp_path, shard_count):
    """A follower that hears nothing makes it durable itself."""
    code = """
        import os
        store = streamstore.open(sys.argv[1], create=False)
        store.stream("s").log(0).append([(b"orphan", "k")])
        os.kill(os.getpid(), 9)
    """
    with streamstore.open(tmp_path) as store:
        stream = store.create_stream("s", shard_count)
        with stream.read(follow=True, timeout=30) as reader:
            start(code, tmp_path).communicate()
            assert next(reader).data == b"orphan"


def test_an_exit_without_close_is_a_close(tmp_path):
    """What a process stream holds is durable after the interpreter ended normally."""
    code = """
        store = streamstore.open(sys.argv[1], durability="process")
        store.create_stream("s").put_record(b"x", "k")
    """
    finish(start(code, tmp_path))
    with streamstore.open(tmp_path) as store:
        log = store.stream("s").log(0)
        assert log.state().record_count == 1
        assert log.recovery()["torn_bytes"] == 0
        assert log.recovery()["copied_bytes"] == 0


def test_a_flush_covers_what_other_processes_published(tmp_path):
    """Everything before the call is durable after it, whoever wrote it."""
    code = """
        with streamstore.open(sys.argv[1], create=False) as store:
            store.stream("s").put_records([(b"x" * 100, "k")] * 50)
            print("written", flush=True)
            sys.stdin.readline()
    """
    with streamstore.open(tmp_path) as store:
        stream = store.create_stream("s", durability="process")
        other = start(code, tmp_path)
        assert other.stdout.readline() == "written\n"
        store.flush()
        state = stream.log(0).state()
        assert state.durable == state.tail > 5000
        other.communicate("\n")


def test_readers_of_a_read_only_handle_see_what_writers_publish(tmp_path):
    """A reader needs no right to write, and follows."""
    code = """
        with streamstore.open(sys.argv[1], read_only=True) as store:
            reader = store.stream("s").read(follow=True, timeout=30)
            print("ready", flush=True)
            print(next(reader).data.decode(), flush=True)
    """
    with streamstore.open(tmp_path) as store:
        stream = store.create_stream("s", durability="process")
        other = start(code, tmp_path)
        assert other.stdout.readline() == "ready\n"
        stream.put_record(b"hello", "k")
        assert finish(other) == ["hello"]
