"""Write the golden files of format version 1 and the worked example of docs/format.md; run it as a script.

Salts and times are fixed, so the bytes are too. Files of a released version are never made anew: a change here that
changes them is a change of the format.
"""

from __future__ import annotations

import io
import sys
import tarfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from model import cases, dump  # noqa: E402
from model import format as v1  # noqa: E402

DOCUMENT = HERE.parent.parent / "docs" / "format.md"
BEGIN, END = "<!-- example: begin -->", "<!-- example: end -->"


def store_tar() -> bytes:
    """The whole store as one archive, so that files without a suffix and empty tails are kept as they are."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path, data in sorted(cases.store_files().items()):
            member = tarfile.TarInfo(path)
            member.size, member.mode = len(data), 0o600
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


def golden_files() -> dict[str, bytes]:
    """Every file under v1/ by its path there."""
    files = {"store.tar": store_tar()}
    for case in cases.all_cases():
        for name, data in case.files.items():
            path = f"{case.name}/{name}"
            files[path] = data
            files[path.replace(".seg", ".txt")] = ("\n".join(dump.dump_segment(data)) + "\n").encode()
    return files


def example() -> str:
    """The worked example as the document shows it: a manifest, a segment header, and two frames."""
    data = cases.clean().files["000000000001.seg"]
    _, frames, _ = v1.decode_segment(data)
    offset = v1.SEGMENT_HEADER_SIZE
    lines = ["manifest", *dump.dump_manifest(cases.store_files()["manifest"]), ""]
    lines += ["streams/1/0/000000000001.seg", *dump.dump_header(data)]
    for frame in frames:
        if frame.position in (frames[0].position, frames[8].position):
            lines += dump.dump_frame(data, offset, frame)
        offset += frame.size
    data = cases.compacted().files["000000000002.seg"]
    block = dump.dump_block(data, v1.SEGMENT_HEADER_SIZE)[0]
    lines += ["", "streams/1/0/000000000002.seg, compacted", *dump.dump_header(data), *block]
    return "\n".join(["```text", *lines, "```"])


def document_with_example(text: str) -> str:
    """The document with the example between its marks replaced."""
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    return f"{before}{BEGIN}\n{example()}\n{END}{after}"


def main() -> None:
    for path, data in golden_files().items():
        target = HERE / "v1" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    if DOCUMENT.exists():
        DOCUMENT.write_text(document_with_example(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
