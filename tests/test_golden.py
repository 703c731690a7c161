"""The golden files of format version 1: the core, the second implementation and the document say the same of them."""

from __future__ import annotations

import json
import struct
import tarfile
from pathlib import Path

import golden.make_v1 as make_v1
import pytest
from model import cases, dump
from model import format as v1
from model.core import Core, CoreError, Status
from model.tree import tree_hash

GOLDEN = Path(__file__).resolve().parent / "golden" / "v1"
CASES = {case.name: case for case in cases.all_cases()}


def records(frames):
    """What a reader must get of these frames: the data ones, numbered over the whole log."""
    return [frame for frame in frames if frame.type == v1.DATA]


def make_store(root, files=None, manifest=None):
    """A store at `root` whose shard 0 of stream 1 holds these files."""
    (root / "streams/1/0").mkdir(parents=True)
    (root / "manifest").write_bytes((manifest or v1.Manifest(cases.STORE_ID, cases.TIME_US)).encode())
    for name, data in (files or {}).items():
        (root / "streams/1/0" / name).write_bytes(data)
    return root


@pytest.fixture
def golden_store(tmp_path):
    """A copy of the whole golden store."""
    with tarfile.open(GOLDEN / "store.tar") as archive:
        for member in archive.getmembers():
            target = tmp_path / member.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(archive.extractfile(member).read())
    return tmp_path


# ---- The files are what they were ----


def test_the_generator_writes_the_golden_files_byte_for_byte():
    """The encoder written from the document makes exactly the committed files: format version 1 has not moved."""
    made = make_v1.golden_files()
    found = {path.relative_to(GOLDEN).as_posix(): path.read_bytes() for path in GOLDEN.rglob("*") if path.is_file()}
    assert made.keys() == found.keys()
    assert [path for path in made if made[path] != found[path]] == []


def test_the_worked_example_of_the_document_is_the_golden_file():
    """The bytes in docs/format.md are those of the golden files."""
    text = make_v1.DOCUMENT.read_text(encoding="utf-8")
    assert make_v1.document_with_example(text) == text


@pytest.mark.parametrize("name", CASES)
def test_the_dump_beside_a_golden_file_shows_every_byte(name):
    """The hex of an annotated dump, put together again, is the file."""
    for path in sorted((GOLDEN / name).glob("*.seg")):
        data = bytearray(path.stat().st_size)
        for line in dump.dump_segment(path.read_bytes()):
            if line[:6].strip().isdigit() and not line[8:].startswith("..."):
                raw = bytes.fromhex(line[8:55])
                offset = int(line[:6])
                data[offset : offset + len(raw)] = raw
        assert bytes(data) == path.read_bytes()


# ---- The core reads them, and the model agrees ----


@pytest.mark.parametrize("name", CASES)
def test_the_core_decodes_each_golden_frame_as_the_model_does(name):
    """Position, number, times, sizes and content of every frame are the same in both implementations."""
    for path in sorted((GOLDEN / name).glob("*.seg")):
        header, frames, _ = v1.decode_segment(path.read_bytes())
        assert frames
        if header.incompat & v1.COMPACTED:
            continue  # no frame stands by itself there: it is read by the log's own way below
        for frame in frames:
            raw = path.read_bytes()[v1.SEGMENT_HEADER_SIZE + frame.position - header.base :]
            found, kind = Core.decode(raw, frame.position, header.base_ordinal, header.salt)
            expected = v1.replace(frame, ordinal=header.base_ordinal + frame.ordinal, durable=0)
            assert (found, kind) == (expected, frame.type)


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_the_core_recovers_and_reads_a_golden_shard(name, read_only, tmp_path):
    """The records, the tail, the verdict and the closed mark are those that the case was made to have."""
    case = CASES[name]
    make_store(tmp_path, {path.name: path.read_bytes() for path in (GOLDEN / name).glob("*.seg")})
    with Core(tmp_path, read_only=read_only) as core:
        log = core.log(1, 0, start=case.start)
        state = log.state()
        assert log.recovery().verdict == ord(case.verdict)
        assert state.tail == case.frames[-1].position + case.frames[-1].size
        assert bool(state.closed) == case.closed
        if not read_only or case.verdict == "A":
            expected = [v1.replace(frame, durable=0) for frame in records(v1.read_log(case.files.values()))]
            found = log.read()
            assert found == [frame for frame in expected if frame.position < state.visible]
            assert [(frame.position, frame.data) for frame in found] == [
                (frame.position, frame.data) for frame in records(case.frames) if frame.position < state.visible
            ]
            assert found or state.visible < state.tail


@pytest.mark.parametrize("name", CASES)
def test_a_read_only_look_changes_nothing(name, tmp_path):
    """Reading a shard read-only, torn or not, leaves every byte of the directory as it was."""
    make_store(tmp_path, CASES[name].files)
    before = tree_hash(tmp_path)
    with Core(tmp_path, read_only=True) as core:
        core.log(1, 0, start=CASES[name].start).read()
    assert tree_hash(tmp_path) == before


def test_the_golden_store_opens_and_reads(golden_store):
    """A whole store of version 1 is read through the public interface, by names and sequence numbers."""
    import streamstore

    with streamstore.open(golden_store) as store:
        store.clock.wall = lambda: 1_700_000_100_000_000  # the day the files are of
        assert sorted(store.list_streams()) == [".", "golden"]
        for name, stream_id, shards in (("golden", 1, 2), (".", 2, 1)):
            found = {}
            for record in store.stream(name).read("TRIM_HORIZON"):
                found.setdefault(record.shard_id, []).append(record)
            assert len(found) == shards
            for index, shard_id in enumerate(sorted(found)):
                path = f"streams/{stream_id}/{index}/000000000001.seg"
                _, frames, _ = v1.decode_segment(cases.store_files()[path])
                assert [
                    (record.data, record.partition_key, record.sequence_number, record.arrival_us)
                    for record in found[shard_id]
                ] == [
                    (
                        frame.data,
                        frame.key.decode(),
                        v1.sequence_number(frame.epoch, frame.position, index),
                        frame.arrival_us,
                    )
                    for frame in frames
                ]


def in_this_boot(control):
    """A control file as processes of this boot leave it that published in each of its logs."""
    raw = bytearray(control)
    boot = Path("/proc/sys/kernel/random/boot_id").read_bytes()
    struct.pack_into("<Q", raw, 144, v1.checksum(boot, int.from_bytes(v1.CONTROL_MAGIC, "little")))
    for entry in range(v1.CONTROL_HEADER_SIZE, len(raw), v1.CONTROL_ENTRY_SIZE):
        struct.pack_into("<I", raw, entry + 188, 1)
    return bytes(raw)


@pytest.mark.parametrize("hints", ["of this boot", "of another", "none"])
def test_a_clean_mark_lets_the_golden_store_go_on_in_place(golden_store, hints):
    """With the control file of a clean close in this boot an append goes on in the segment. With one of another boot it
    begins a new one, and copies nothing; with none it copies what nothing proves durable.
    """
    control = golden_store / "control"
    if hints == "none":
        control.unlink()
    elif hints == "of this boot":
        control.write_bytes(in_this_boot(control.read_bytes()))
    in_place = hints == "of this boot"
    with Core(golden_store) as core:
        log = core.log(1, 0)
        before = log.state()
        assert (log.recovery().in_place, log.recovery().copied_bytes) == (in_place, 192 if hints == "none" else 0)
        log.append([v1.Frame(0, 0, 0, 0, data=b"more", key=b"k")])
        log.sync()
        assert [frame.data for frame in log.read()] == [b"golden 0 0", b"golden 0 1", b"golden 0 2", b"more"]
        assert log.state().epoch > cases.EPOCH
        assert log.state().segment_ordinal == (1 if in_place else 2)
        assert log.state().tail == before.tail + (48 if in_place else 0) + 56


# ---- What the core writes, the model reads byte for byte ----

ENTRIES = [
    v1.Frame(0, 0, 0, 0, data=data, key=key, attributes=attributes, hash_key=hash_key)
    for data in (b"", b"1", b"data of 17 bytes.", bytes(range(256)) * 4)
    for key in (None, b"", b"key", "schl\u00fcssel".encode() * 20)
    for attributes in (b"", cases.ATTRIBUTES)
    for hash_key in (None, 0, (1 << 128) - 1)
]


@pytest.mark.parametrize("pwrite", [False, True])
def test_the_model_encodes_what_the_core_wrote_byte_for_byte(tmp_path, pwrite):
    """A log that rolled, went on in place and was closed comes out of the model's encoder alike."""
    for reopening in range(2):
        with Core(tmp_path, create=reopening == 0, pwrite=pwrite) as core:
            log = core.log(1, 7, segment_size=128 << 10, description=cases.DESCRIPTION)
            for _ in range(1 + 3 * reopening):
                log.append(ENTRIES)
                log.sync()
            if reopening:
                log.append([v1.Frame(0, 0, 0, 0, data=cases.CHILDREN)], close=True)
    found = []
    paths = sorted((tmp_path / "streams/1/7").iterdir())
    ends = [v1.decode_segment_header(path.read_bytes()).base for path in paths[1:]] + [0]
    for path, end in zip(paths, ends, strict=True):
        raw = path.read_bytes()
        header, frames, zero = v1.decode_segment(raw)
        assert header.description == cases.DESCRIPTION
        assert f"{header.ordinal:012d}.seg" == path.name
        size = v1.SEGMENT_HEADER_SIZE + sum(frame.size for frame in frames)
        index = b"" if zero else v1.encode_index(header, frames, end)  # written by another thread, perhaps
        assert v1.encode_segment(header, frames, tail=0) + index + bytes(len(raw) - size - len(index)) == raw
        found += frames
    assert [(f.data, f.key, f.attributes, f.hash_key) for f in records(found)] == [
        (f.data, f.key, f.attributes, f.hash_key) for f in ENTRIES * 5
    ]
    assert {frame.type for frame in found} == {v1.DATA, v1.EPOCH, v1.CLOSE}
    assert all(frame.durable <= frame.position for frame in found)
    assert v1.decode_manifest((tmp_path / "manifest").read_bytes()).encode() == (tmp_path / "manifest").read_bytes()


# ---- What is none of ours: a clear error, and nothing changed ----

MANIFEST = v1.Manifest(cases.STORE_ID, cases.TIME_US)
CLEAN = CASES["clean"].files["000000000001.seg"]
HEADER = v1.decode_segment_header(CLEAN)


def test_a_golden_index_is_believed_only_if_it_holds(tmp_path):
    """The trailer serves seeks by time and count; one with a damaged bit is none, and the frames answer the same."""
    case = CASES["sealed"]
    name = min(case.files)
    header, frames, zero = v1.decode_segment(case.files[name])
    offset = v1.SEGMENT_HEADER_SIZE + sum(frame.size for frame in frames)
    assert not zero
    assert int.from_bytes(case.files[name][offset + 12 : offset + 16], "little") == 2
    for bit, present in ((None, 1), (offset * 8, 0), ((offset + 50) * 8, 0), ((offset + 95) * 8, 0)):
        data = bytearray(case.files[name])
        if bit is not None:
            data[bit // 8] ^= 1
        root = make_store(tmp_path / str(bit), {**case.files, name: bytes(data)})
        last = case.frames[-1]
        hint = v1.ControlEntry(1, 0, 0, last.position + last.size, last.position)
        (root / "control").write_bytes(v1.encode_control(cases.STORE_ID, [hint], 1))
        with Core(root, read_only=True) as core:
            log = core.log(1, 0, start=case.start)
            assert log.segments()[0].index_present == present
            for frame in records(case.frames[:4]):
                assert log.seek_time(frame.arrival_us) == frame.position
                assert log.seek_ordinal(header.base_ordinal + frame.ordinal) == frame.position


def damaged(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


BAD_MANIFESTS = {
    "a later version": (v1.replace(MANIFEST, version=2).encode(), Status.FORMAT, Status.FORMAT),
    "an incompatible feature": (v1.replace(MANIFEST, incompat=1 << 31).encode(), Status.FORMAT, Status.FORMAT),
    "a feature that forbids writing": (v1.replace(MANIFEST, read_only_compat=1).encode(), Status.FORMAT, None),
    "a feature that nobody need know": (v1.replace(MANIFEST, compat=1).encode(), None, None),
    "a damaged byte": (damaged(MANIFEST.encode(), 30), Status.CORRUPT, Status.CORRUPT),
    "a damaged magic": (damaged(MANIFEST.encode(), 3), Status.FOREIGN, Status.FOREIGN),
    "a short file": (MANIFEST.encode()[:63], Status.FOREIGN, Status.FOREIGN),
    "an empty file": (b"", Status.FOREIGN, Status.FOREIGN),
    "somebody else's": (
        b'{"name": "a web manifest", "icons": [], "start_url": "/index.html", "x": 1}',
        *[Status.FOREIGN] * 2,
    ),
}


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("name", BAD_MANIFESTS)
def test_a_manifest_that_is_not_ours_is_refused(name, read_only, tmp_path):
    """Each has its own status, whether for writing or for reading, and opening changes no byte."""
    manifest, *statuses = BAD_MANIFESTS[name]
    make_store(tmp_path, CASES["clean"].files)
    (tmp_path / "manifest").write_bytes(manifest)
    before = tree_hash(tmp_path)
    expected = statuses[read_only]
    if expected is None:
        with Core(tmp_path, read_only=read_only) as core:
            assert core.log(1, 0).read()
        return
    with pytest.raises(CoreError) as error:
        Core(tmp_path, read_only=read_only, create=not read_only)
    assert error.value.status == expected
    assert tree_hash(tmp_path) == before


FOREIGN_DIRECTORIES = {
    "a project": ["README.md", "src"],
    "a store without its manifest": ["control", "lock", "streams"],
    "a name like ours": ["manifest.json"],
}


@pytest.mark.parametrize("name", FOREIGN_DIRECTORIES)
def test_a_foreign_directory_is_never_taken(name, tmp_path):
    """A directory that holds other files becomes no store, asked to create or not."""
    for each in FOREIGN_DIRECTORIES[name]:
        (tmp_path / each).write_text(each)
    before = tree_hash(tmp_path)
    for options in ({"create": True}, {}, {"read_only": True}):
        with pytest.raises(CoreError) as error:
            Core(tmp_path, **options)
        assert error.value.status == Status.FOREIGN
        assert tree_hash(tmp_path) == before


BAD_SEGMENTS = {
    "a segment of another store": (v1.replace(HEADER, store_id=cases.OTHER_STORE_ID), Status.FOREIGN),
    "a segment of another stream": (v1.replace(HEADER, stream_id=2), Status.FOREIGN),
    "a segment of another shard": (v1.replace(HEADER, shard=1), Status.FOREIGN),
    "a segment under another's name": (v1.replace(HEADER, ordinal=2), Status.FOREIGN),
    "a later version": (v1.replace(HEADER, version=2), Status.FORMAT),
    "an incompatible feature": (v1.replace(HEADER, incompat=2), Status.FORMAT),
}


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("name", BAD_SEGMENTS)
def test_a_segment_that_is_not_ours_is_refused(name, read_only, tmp_path):
    """Reading and writing the shard fail with the reason; no segment is changed, cut or added."""
    header, status = BAD_SEGMENTS[name]
    make_store(tmp_path, {"000000000001.seg": header.encode() + CLEAN[v1.SEGMENT_HEADER_SIZE :]})
    before = tree_hash(tmp_path if read_only else tmp_path / "streams")
    with Core(tmp_path, read_only=read_only) as core:
        log = core.log(1, 0)
        calls = [log.state, log.read] + ([] if read_only else [lambda: log.append(ENTRIES[:1])])
        for call in calls:
            with pytest.raises(CoreError) as error:
                call()
            assert error.value.status == status
    assert tree_hash(tmp_path if read_only else tmp_path / "streams") == before


def test_a_directory_of_another_store_is_refused(tmp_path):
    """A shard directory moved in from another store is not read, and not written to."""
    other = make_store(tmp_path / "other", manifest=v1.replace(MANIFEST, store_id=cases.OTHER_STORE_ID))
    with Core(other) as core:
        core.log(1, 0).append(ENTRIES[:2])
    ours = make_store(tmp_path / "ours", {path.name: path.read_bytes() for path in other.glob("streams/1/0/*")})
    with Core(ours) as core, pytest.raises(CoreError) as error:
        core.log(1, 0).read()
    assert error.value.status == Status.FOREIGN


@pytest.mark.parametrize(
    "frame",
    [
        v1.Frame(v1.FIRST_POSITION, cases.EPOCH, cases.TIME_US, 1, flags=v1.PRESENT | 32, data=b"compressed?"),
        v1.Frame(v1.FIRST_POSITION, cases.EPOCH, cases.TIME_US, 1, type=5, data=b"of another kind"),
    ],
)
def test_a_frame_of_a_later_version_is_neither_skipped_nor_guessed_at(frame, tmp_path):
    """An unknown flag or type whose checks hold ends the read with its own status, in both implementations."""
    raw = frame.encode(HEADER.salt)
    with pytest.raises(v1.UnknownError):
        v1.decode_frame(raw, frame.position, HEADER.salt)
    with pytest.raises(CoreError) as error:
        Core.decode(raw, frame.position, 0, HEADER.salt)
    assert error.value.status == Status.FORMAT
    make_store(tmp_path, {"000000000001.seg": v1.encode_segment(HEADER, [frame])})
    with Core(tmp_path) as core:
        log = core.log(1, 0)
        for call in (log.read, lambda: log.get(frame.position)):
            if frame.type == v1.DATA or call == log.read:
                with pytest.raises(CoreError) as error:
                    call()
                assert error.value.status == Status.FORMAT


def test_the_two_implementations_agree_on_every_damaged_bit_of_a_frame():
    """Any single flipped bit of a frame is found by both."""
    frame = CASES["clean"].frames[6]
    raw = frame.encode(HEADER.salt)
    for bit in range(len(raw) * 8):
        bad = bytearray(raw)
        bad[bit // 8] ^= 1 << bit % 8
        with pytest.raises(v1.DamagedError):
            v1.decode_frame(bytes(bad), frame.position, HEADER.salt)
        with pytest.raises(CoreError) as error:
            Core.decode(bytes(bad), frame.position, 0, HEADER.salt)
        assert error.value.status == Status.CORRUPT


def test_the_catalog_of_the_golden_store_is_what_the_document_says():
    """The golden catalog's first event is the map that docs/format.md shows."""
    import msgpack

    _, frames, _ = v1.decode_segment(cases.store_files()["catalog/000000000001.seg"])
    event = msgpack.unpackb(frames[0].data)
    text = make_v1.DOCUMENT.read_text(encoding="utf-8")
    assert json.dumps(event) in text
