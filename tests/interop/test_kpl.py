"""The Kinesis Producer Library, its native program included, over TLS; who it is it asks moto's STS."""

from __future__ import annotations

import shutil

import pytest
from test_interop import HERE, PLACE, have, run
from test_kcl import moto

import streamstore

pytest.importorskip("granian")
pytest.importorskip("cryptography")
from streamstore.server import certificate

pytestmark = pytest.mark.stress
RECORDS = 2000


def test_the_kpl_puts_aggregates_over_tls(tmp_path):
    """Each user record is there once, in the shard and under the number that it was told."""
    place = PLACE / "kpl"
    shutil.copytree(HERE / "kpl", place, dirs_exist_ok=True)
    have("kpl", ["mvn", "-q", "-B", "-f", str(place / "pom.xml"), "compile"])
    pair = certificate.obtain(str(tmp_path / "tls"), ["localhost", "127.0.0.1"])
    with (
        moto("-s", "-c", pair[0], "-k", pair[1]) as sts,
        streamstore.open(tmp_path / "store", durability="process") as store,
        streamstore.serve_in_thread(store, certificate=pair[0], key=pair[1]) as server,
    ):
        stream = store.create_stream("s", 4)
        arguments = f"{server.server.port} {sts.rpartition(':')[2]} s {RECORDS}"
        printed = run(
            "mvn", "-q", "-B", "-f", str(place / "pom.xml"), "compile", "exec:java", f"-Dexec.args={arguments}",
            timeout=400,
        )  # fmt: skip
        told = [line.split()[-2:] for line in printed.splitlines() if "PUT " in line]
        seen = sorted(
            (int(record.data), record.shard_id, record.sequence_number) for record in stream.read(deaggregate=True)
        )
        stored = sum(len(shard.read()) for shard in stream.shards())
    assert [list(place) for _, *place in seen] == told
    assert [number for number, *_ in seen] == list(range(RECORDS))
    assert stored < RECORDS  # before it knows the shards it sends them one by one, then as aggregates
