"""Power cuts of a real file system: the short run of `make power`."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from cuts import seam
from cuts.story import Event, Wrong
from power import __main__ as power
from power import sightings

CUTS = 5


@pytest.mark.root
def test_a_file_system_goes_down_under_its_writers(tmp_path):
    """What was acknowledged before the cut is there once it is mounted again, and nothing counts as damage."""
    if power.possible():
        pytest.skip(power.possible())
    paths = os.pathsep.join(map(str, (seam.ROOT, seam.ROOT / "tests")))
    command = [sys.executable, "-m", "power", "--cuts", str(CUTS), "--seed", "1", "--base", str(tmp_path)]
    done = subprocess.run(
        [*command, "--figures", str(tmp_path)],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    told = json.loads((tmp_path / "power.json").read_text())
    assert told["cases"] == CUTS
    assert told["records"] > 0


def test_what_was_seen_and_is_gone_is_told(store):
    """A follower of the `sync` stream noted a record; a store without it, or with another before it, is wrong."""
    stream = store.create_stream(sightings.FOLLOWED)
    events = []
    for n in range(1, 4):
        events.append(Event(2 * n, "put began", {"name": sightings.FOLLOWED, "entries": [(b"%d/" % n, "k", None)]}))
        told = stream.put_record(b"%d/" % n, "k") if n < 3 else None
        place = (told.shard_id, int(told.sequence_number)) if told else (stream.shards()[0].id, 1 << 185)
        sight = {"name": sightings.FOLLOWED, "who": 1, "records": [(b"%d/" % n, *place)]}
        events.append(Event(2 * n + 1, "seen", sight))
    store.close()
    assert sightings.hold(store.path, events[:4]) == 2
    with pytest.raises(Wrong, match="is gone"):
        sightings.hold(store.path, events)
    with pytest.raises(Wrong, match="never put"):
        sightings.hold(store.path, events[2:4])
