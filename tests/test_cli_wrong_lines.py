"""Command lines that cannot be carried out: each ends with an exit code and a remark that says why, no traceback."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import Result, run

import streamstore

# S: a store with the streams `s` and `t` and the queue `jobs`; F: an empty directory; T: a text file; J: broken JSON;
# N: a path where nothing is.
LINES = """
create S s
create S a/b
create S queue/x
create T x
create G x --shards 0
create G x --max-record-size 0
create G x --retention 1
delete S none --yes
delete N s --yes
list N
list T
describe S none
reshard S s
reshard S s --count 0
reshard S s --split shardId-000000000009
reshard S s --split x
reshard S s --split shardId-000000000000 --at 0
reshard S s --split shardId-000000000000 --at x
reshard S s --merge shardId-000000000000 shardId-000000000000
reshard S s --count 2 --merge a b
put S none x
put S s x --key ""
put S s x --hash-key -1
put S s x --attribute x
put S s x --event-time never
ingest S s N
ingest S s F
ingest S s T --key-regex (
ingest S s T --key-regex a --key-field b
ingest S s T --time-field a --time-format '%d %d'
ingest S s T --time-field a --time-format %Q
ingest S none T
read S s --start yesterday
read S s --start {}
read S s --start '{"v": 1, "shards": 5}'
read S s --start @T
read S s --shard shardId-9
read S s --shard nothing
read S s --limit -1
read S s --start 4444444444444444444444444444444444444444444444444444444
tail S s -n -1
tail S none
stat S none
stat N
stat S --interval -1
retention S s --hours 1
retention S s --max-bytes lots
retention S s --on-full explode
encryption S s --start
encryption S s --rotate
--key-ring N encryption S s --start
--key-ring T encryption S s --start
--key-ring env:NO_SUCH_VARIABLE encryption S s --start
--key-ring nonsense: encryption S s --start
key create T
key add N
maintain N
inspect T
inspect S none
inspect S s shardId-000000000009
inspect S s 0 --segment 99
verify N
repair F
restore F N
restore N other
verify S none
export S none N
export S s T
export S s N --form nothing
export S s N --start never
export S s F
import S s N
import S s T
import S s J --form jsonl
import S s T --form parquet
import S none J
snapshot S F/..
snapshot S S/inside
snapshot N other
restore S F/..
queue put S a/b 1
queue put S jobs 1 --delay -5
queue put S jobs 1 --delay 43201
queue put S jobs 1 --key ""
queue put S jobs 1 --lines
queue put S jobs --lines --id 1
queue put S jobs 999999999999999999999999999999
queue get S jobs --timeout -1
queue get S none --timeout 0
queue get S jobs -n 0
queue dead S none
queue restore S jobs 99
queue restore S jobs x
queue restore S none
queue purge S none --yes
queue work S jobs -j 0 -- true
queue work S jobs --timeout -1 -- true
queue work S jobs --back-off -1 -- true
queue work S jobs -- ./none
queue work S jobs -- T
queue work S a/b -- true
capture S s nonsense --once
capture S s N/x.log --once --key-regex (
capture S s store:N#s --once
capture S s store:S#none --once
capture S none store:S#s --once
capture S s http://127.0.0.1:9/x --once --create --region x
capture S s store:S#s --once --start never
capture S s T --once --multi-line (
replay S none -
replay S s nowhere
replay S s store:S
replay S s out.csv
replay S s T.parquet --by event
replay S s - --by event
replay S s - --by source
replay S s - --speed 0
replay S s - --rate -1
replay S s - --hash-keys 5-4
replay S s - --match (
replay S s - --where nothing:nothing
replay S s - --where os:getcwd --speed max
replay S s - --follow --dry-run
replay S s - --timeout -5 --follow
replay S s python:os:nothing
replay S s python:os:sep
replay S s queue:S
replay S s kinesis:
generate null:
generate null: --size big -n 1
generate null: -t {{x -n 1
generate null: -t x -n 1 --rate -1
generate null: -t x -n 1 --rate nan
generate null: -t x -n 1 --start soon
generate null: -t x -n 1 --burst 0 0 --rate 1
generate null: -t x -n 1 --week J
generate null: -t @N -n 1
generate null: -t {{name.firstName}} -n 1 --locale xx_XX
generate null: --scenario nothing
generate null: --size 5 --keys 5 --zipf -1 -n 1
generate store:S#t --size 2000000 -n 1
generate F/none/x.jsonl -t x -n 1
generate T/x.parquet -t x -n 1
bench run nothing
bench run store:S#s --rate -1
bench run store:S#s --batch 0
bench run store:S#s --duration nan
bench run store:S#s --workload fan-out --readers 0
bench run queue:S#jobs --workload fan-out
bench run http://127.0.0.1:9/x --duration 0.1
bench compare J J
bench compare N N
bench report J
bench report T
serve S --port 70000
serve S --host 0.0.0.0
serve S --tls-cert N
serve S --credentials N
serve S --credentials T
serve S --account x
demo T
"""


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What the letters stand for."""
    root = tmp_path_factory.mktemp("wrong")
    with streamstore.open(root / "S", durability="process") as store:
        store.create_stream("s", shard_count=2).put_records([(b"one", "k"), (b"two", "l")])
        store.create_stream("t", max_record_size=1 << 20)
        store.queue("jobs").put(1)
    (root / "F").mkdir()
    (root / "T").write_text("just text\n")
    (root / "J").write_text('{"means": [1, "x"]\n')
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield {"root": str(root)}


@pytest.mark.parametrize("line", LINES.strip().splitlines())
def test_a_wrong_line_is_a_code_and_a_remark(places: dict[str, str], line: str) -> None:
    """Nothing on stdout, no traceback, no internal error, and nothing that a library says by itself."""
    found: Result = run(*shlex.split(line))
    assert found.code in (1, 2, 3, 5), found
    assert found.err.strip()
    for word in ("Traceback", "internal error", "Error:  "):
        assert word not in found.err
    assert len(found.err.splitlines()) <= 16
    assert Path(places["root"], "T").read_text() == "just text\n"
