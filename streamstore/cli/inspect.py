"""`inspect`: segment files byte by byte, with what each byte means. Works on files, whoever has the store open;
changes nothing.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgpack

from streamstore import native
from streamstore.cli import compacted_file
from streamstore.cli.arguments import optional_stream_argument
from streamstore.cli.exits import DAMAGED, NOT_FOUND, OK, VerbError
from streamstore.cli.output import iso_us, json_value, printable, size_text
from streamstore.cli.segment_file import Frame, SegmentFile, segment_paths

PREVIEW = 60


@click.command()
@click.argument("directory", metavar="DIRECTORY|SEGMENT_FILE", type=click.Path(path_type=Path))
@optional_stream_argument
@click.argument("shard", required=False)
@click.option("--segment", "ordinal", type=int, help="Only the segment with this ordinal.")
@click.option("--from", "begin", type=int, default=0, help="Only frames from this position on.")
@click.option("--limit", type=click.IntRange(min=0), help="At most so many frames a segment.")
@click.option("--hex", "as_hex", is_flag=True, help="The bytes of each frame too.")
@click.option("--json", "as_json", is_flag=True, help="A JSON object a line: segments, frames, indexes.")
def inspect(
    directory: Path,
    stream: str | None,
    shard: str | None,
    ordinal: int | None,
    begin: int,
    limit: int | None,
    as_hex: bool,
    as_json: bool,
) -> int:
    """Show a segment file, or all those of a shard, with every field explained.

    STREAM is a name, a stream's number, or `catalog`. Exit code 4 where anything is damaged.

    \b
    Examples:
      streamstore inspect data/ clicks 0 --limit 5
      streamstore inspect data/streams/1/0/000000000001.seg --hex
    """
    paths = _paths(directory, stream, shard)
    if ordinal is not None:
        paths = [path for path in paths if int(path.stem) == ordinal]
        if not paths:
            raise VerbError(f"there is no segment {ordinal}", NOT_FOUND)
    damaged = False
    for path in paths:
        if path.stat().st_size == 0:
            sys.stdout.write(f"{path}: empty, made ahead and never written\n")
            continue
        dump = _json_lines if as_json else _text_lines
        for line, bad in dump(SegmentFile(path), begin, limit, as_hex):
            damaged |= bad
            sys.stdout.write(line + "\n")
    return DAMAGED if damaged else OK


def _paths(target: Path, stream: str | None, shard: str | None) -> list[Path]:
    if target.is_file():
        return [target]
    if not target.is_dir():
        raise VerbError(f"{target}: there is no such file or directory", NOT_FOUND)
    if stream is None:
        raise click.UsageError("a directory needs a stream and a shard: `streamstore inspect DIR STREAM SHARD`")
    if stream == "catalog":
        place = target / "catalog"
    else:
        place = target / "streams" / str(_stream_number(target, stream)) / str(int((shard or "0").rpartition("-")[2]))
    paths = segment_paths(place) if place.is_dir() else []
    if not paths:
        raise VerbError(
            f"{place}: no segments there; nothing was put into that shard yet, or there is no such shard", NOT_FOUND
        )
    return paths


def _stream_number(store: Path, name: str) -> int:
    """The number of the stream's directory, found in the segment headers: that works without the catalog too."""
    numbers = sorted((int(path.name) for path in (store / "streams").glob("*") if path.name.isdigit()), reverse=True)
    for number in numbers:
        for path in (store / "streams" / str(number)).glob("*/*.seg"):
            try:
                description = SegmentFile(path).description
            except VerbError:
                continue
            if isinstance(description, dict) and name in (description.get("name"), description.get("n")):
                return number
            break
    if name.isdigit() and int(name) in numbers:
        return int(name)
    raise VerbError(f"no segment of {store} belongs to a stream {name!r}; an empty stream has none", NOT_FOUND)


def _text_lines(file: SegmentFile, begin: int, limit: int | None, as_hex: bool) -> Iterator[tuple[str, bool]]:
    holds = file.header_holds
    yield f"{file.path}  {size_text(file.file_size)}", False
    yield f"  header, {len(file.header)} bytes, check {'holds' if holds else 'DOES NOT HOLD'}", not holds
    for field in file.fields:
        yield f"    {field.offset:6d} +{field.size:<3d} {field.name:<22} {_meaning(field.name, field.value)}", False
    if file.description is not None:
        yield f"    {128:6d}      description            {json.dumps(file.description, default=json_value)}", False
    if compacted_file.is_compacted(file):
        yield from _block_lines(file, begin, limit, as_hex)
        return
    offset = 4096
    shown = 0
    for frame in file.frames():
        offset = frame.offset + frame.size
        if frame.position < begin or (limit is not None and shown >= limit):
            if frame.record is None:
                yield f"  {_frame_line(frame)}", True
            continue
        shown += 1
        yield f"  {_frame_line(frame)}", frame.record is None
        if as_hex:
            yield from ((line, False) for line in hex_lines(frame.raw, frame.offset))
    index = file.index(offset)
    if index is not None:
        state = "check holds" if index["holds"] else "check does not hold, so that a scan makes it anew"
        yield f"  index at {offset}: {index['records']} records, end {index['end']}, {state}", False
        for position, arrival_us, ordinal in index["marks"]:
            yield f"    position {position:<14d} arrival {iso_us(arrival_us)} records before {ordinal}", False
    elif offset < file.file_size:
        yield f"  {file.file_size - offset} bytes from {offset} on: zeros, allocated and not written", False


def _block_lines(file: SegmentFile, begin: int, limit: int | None, as_hex: bool) -> Iterator[tuple[str, bool]]:
    """Of a compacted segment: what its header says, its blocks, the frames in them, the index."""
    for name, value in compacted_file.facts(file).items():
        yield f"                 {name:<22} {_meaning(name, value)}", False
    shown = 0
    for block in compacted_file.blocks(file):
        how = "LZ4" if block.flags & compacted_file.LZ4 else "as it is"
        sealed = f", encrypted under data key {block.key_id}" if block.flags & compacted_file.SEALED else ""
        state = "check holds" if block.holds else "THE CHECK DOES NOT HOLD"
        end = block.position + block.raw_size
        yield (
            f"  {block.offset:10d} +{64 + block.stored_size:<6d} block   position {block.position} to {end}, "
            f"{block.raw_size} bytes in {block.stored_size}, {how}{sealed}, {state}",
            not block.holds,
        )
        for frame in block.frames:
            if frame.position >= begin and (limit is None or shown < limit):
                shown += 1
                yield f"    {_frame_line(frame)}", frame.record is None
                if as_hex:
                    yield from ((line, False) for line in hex_lines(frame.raw, frame.offset))
    found = compacted_file.index(file)
    state = "check holds" if found["holds"] else "check does not hold, so that the blocks are walked instead"
    yield f"  index at {found['offset']}: {len(found['marks'])} blocks, {state}", False
    for position, epoch in found["epochs"]:
        yield f"    from position {position:<14d} epoch {epoch}", False


def _block_json(file: SegmentFile, begin: int, limit: int | None) -> Iterator[tuple[str, bool]]:
    shown = 0
    for block in compacted_file.blocks(file):
        yield _json("block", block.to_map()), not block.holds
        for frame in block.frames:
            if frame.record is not None and frame.position >= begin and (limit is None or shown < limit):
                shown += 1
                yield _json("frame", {"block": block.offset, "position": frame.position, **frame.record}), False
    yield _json("index", compacted_file.index(file)), False


def _meaning(name: str, value: Any) -> str:
    if name in ("created_us", "floor_arrival_us", "last_arrival_us"):
        return f"{value}  ({iso_us(value)})" if value else "0"
    if name in ("salt", "magic", "index_check"):
        return f"{value:#018x}"
    return str(value)


def _frame_line(frame: Frame) -> str:
    place = f"{frame.offset:10d} +{frame.size:<6d} {frame.kind:<7} position {frame.position}"
    if frame.record is None:
        return f"{place} to {frame.position + frame.size}: the checks do not hold"
    record = frame.record
    number = native.sequence_number(record["epoch"], record["position"], 0) if record["type"] == 1 else ""
    durable = "unknown" if frame.durable is None else str(frame.durable)
    checks = "check {:08x} {:016x}".format(*frame.checks)
    line = f"{place} epoch {record['epoch']} ordinal {record['ordinal']} arrival {iso_us(record['arrival_us'])}"
    line += f" durable {durable} {checks}"
    if record["type"] != 1:
        return line
    if frame.data_key:  # the rest is ciphertext, which says nothing
        return f"{line} number {number} data {record['data_size']} encrypted under data key {frame.data_key}"
    if record["key_size"] >= 0:
        line += f" key {printable(frame.part('key').decode(errors='backslashreplace'))!r}"
    if record["hash_key_present"]:
        line += f" hash key {record['hash_key_hi'] << 64 | record['hash_key_lo']}"
    if record["attributes_size"]:
        line += f" attributes {json.dumps(_unpacked(frame.part('attributes')), default=json_value)}"
    data = frame.part("data")
    more = "..." if len(data) > PREVIEW else ""
    return (
        f"{line} number {number} data {len(data)} {printable(data[:PREVIEW].decode(errors='backslashreplace'))}{more}"
    )


def _unpacked(block: bytes) -> Any:
    try:
        return msgpack.unpackb(block, strict_map_key=False)
    except Exception:  # shown as bytes then
        return block


def hex_lines(raw: bytes, offset: int) -> Iterator[str]:
    """Sixteen bytes a line, with the file offset before and the printable ones behind."""
    for at in range(0, len(raw), 16):
        row = raw[at : at + 16]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        yield f"      {offset + at:08x}  {row.hex(' '):<47}  {text}"


def _json_lines(file: SegmentFile, begin: int, limit: int | None, as_hex: bool) -> Iterator[tuple[str, bool]]:
    header = {
        "path": str(file.path),
        "file_size": file.file_size,
        "header_holds": file.header_holds,
        "description": file.description,
    }
    compacted = compacted_file.facts(file) if compacted_file.is_compacted(file) else {}
    yield _json("segment", {**header, **file.facts, **compacted}), not file.header_holds
    if compacted:
        yield from _block_json(file, begin, limit)
        return
    offset = 4096
    shown = 0
    for frame in file.frames():
        offset = frame.offset + frame.size
        bad = frame.record is None
        if not bad and (frame.position < begin or (limit is not None and shown >= limit)):
            continue
        shown += 1
        facts: dict[str, Any] = {
            "offset": frame.offset,
            "size": frame.size,
            "kind": frame.kind,
            "position": frame.position,
        }
        if frame.record is not None:
            facts |= {
                name: frame.record[name]
                for name in ("epoch", "ordinal", "arrival_us", "attributes_size", "key_size", "data_size")
            }
            facts |= {
                "durable": frame.durable,
                "data_key": frame.data_key,
                "checks": [f"{frame.checks[0]:08x}", f"{frame.checks[1]:016x}"],
            }
        if as_hex:
            facts["hex"] = frame.raw.hex()
        yield _json("frame", facts), bad
    index = file.index(offset)
    if index is not None:
        yield _json("index", index), False


def _json(kind: str, facts: dict[str, Any]) -> str:
    return json.dumps({"kind": kind, **facts}, default=json_value)
