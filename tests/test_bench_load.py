"""streamstore.bench.load: what load counts, what a stall looks like, and how results are shown."""

from __future__ import annotations

import json
import re
import time
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from command_line import run, succeed
from fake_endpoint import FakeEndpoint

import streamstore
from streamstore import clock, limits
from streamstore.bench import compare, result
from streamstore.bench.load import LoadPlan, Tally, run_load
from streamstore.bench.load.outcome import label_of, results_of, seconds_of
from streamstore.bench.load.signing import Credentials, Signer
from streamstore.bench.load.subject import subject_of
from streamstore.bench.load.table import table
from streamstore.bench.load.tally import Timeline
from streamstore.bench.load.web_page import page
from streamstore.cli.bench import live_text
from streamstore.errors import InvalidArgumentError
from streamstore.kinesis import eventstream


def test_every_record_that_is_counted_was_sent(tmp_path: Path) -> None:
    """Warming up is sent and not counted; all that was planned is one or the other."""
    with FakeEndpoint() as endpoint:
        plan = LoadPlan(rate=400, duration=1.0, warmup=0.5, threads=2, batch=2, drain=60)
        total = run_load(plan, subject_of(endpoint.address)).total()
        assert total.operations == 200
        assert (total.records, total.refused) == (200, 200)  # the endpoint says that it refused one of each two
        assert len(endpoint.puts) == 300
        assert all(len(body["Records"]) == 2 for body in endpoint.puts)
        assert total.latency_us.count == total.service_us.count == 200


def test_a_stall_shows_up_in_full() -> None:
    """One call in the middle is held for a second: all that was planned meanwhile counts as waiting from its moment
    on, though the endpoint answered each of them at once.
    """
    with FakeEndpoint(lambda number: 1.0 if number == 50 else 0.0) as endpoint:
        plan = LoadPlan(rate=200, duration=2.0, warmup=0.0, threads=1, drain=60)
        total = run_load(plan, subject_of(endpoint.address)).total()
    assert total.operations == 400
    assert sum(count for bound, count in total.latency_us.steps([200_000, 1 << 62]) if bound > 200_000) >= 160
    assert total.latency_us.highest >= 1_000_000
    assert total.service_us.percentile(100 * 398 / 400) < total.latency_us.percentile(70)


def test_what_is_never_carried_out_counts_too() -> None:
    """An endpoint that hangs: planned operations are given up behind the drain, and their waiting is counted."""
    with FakeEndpoint(lambda number: 1.5 if number >= 10 else 0.0) as endpoint:
        plan = LoadPlan(rate=100, duration=1.0, warmup=0.0, threads=1, drain=0.2)
        total = run_load(plan, subject_of(endpoint.address)).total()
    assert total.operations + total.unfinished == 100
    assert total.unfinished >= 80
    assert total.latency_us.count == 100
    assert total.latency_us.percentile(21) >= 200_000  # each of them from its moment to behind the drain


def test_errors_are_counted_by_their_text() -> None:
    """A refusal does not end the run; its time counts."""
    with FakeEndpoint(lambda number: -1.0 if number % 2 else 0.0) as endpoint:
        plan = LoadPlan(rate=100, duration=0.5, warmup=0.0, threads=1, drain=60)
        total = run_load(plan, subject_of(endpoint.address)).total()
    assert total.errors == {"CallError: ProvisionedThroughputExceededException: slow down": 25}
    assert (total.operations, total.error_count, total.latency_us.count) == (25, 25, 50)


def test_an_endpoint_that_is_not_there() -> None:
    """The error comes at once, not as a report of nothing but failures."""
    with pytest.raises(ConnectionRefusedError, match=r"127\.0\.0\.1:9"):
        run_load(LoadPlan(), subject_of("http://127.0.0.1:9/x"))


@pytest.mark.parametrize("workload", ["put", "get", "end-to-end", "fan-out", "mixed"])
def test_an_embedded_stream(tmp_path: Path, workload: str) -> None:
    """Each workload runs in two processes, and what it says it put is in the stream."""
    subject = subject_of(f"store:{tmp_path}/data#load", durability="process")
    readers = 2 if workload in ("end-to-end", "fan-out", "mixed") else 1
    plan = LoadPlan(
        workload=workload, rate=200, duration=1.0, warmup=0.0, threads=2, processes=2, readers=readers, prefill=1000
    )
    total = run_load(plan, subject, shards=2).total()
    assert subject.durability() == "process"
    subject.close()
    with streamstore.open(tmp_path / "data", create=False) as store:
        found = len(list(store.stream("load").read("TRIM_HORIZON")))
    assert found == (1000 if workload == "get" else 200)
    assert total.records == (400 if workload == "fan-out" else 200)
    assert not total.errors


def test_a_queue(tmp_path: Path) -> None:
    """Puts are measured from their moment to the acknowledgement; nothing is left."""
    subject = subject_of(f"queue:{tmp_path}/data#jobs", durability="process")
    plan = LoadPlan(workload="queue", rate=200, duration=1.0, warmup=0.2, threads=2, readers=2)
    assert run_load(plan, subject).total().records == 200
    subject.close()
    with streamstore.Queue(tmp_path / "data", "jobs", codec="bytes") as queue:
        assert queue.qsize() == 0


@pytest.mark.parametrize("workload", ["put", "get", "end-to-end", "fan-out"])
def test_our_server(tmp_path: Path, workload: str) -> None:
    """The same over HTTP, subscriptions included."""
    pytest.importorskip("granian")
    with streamstore.serve_in_thread(tmp_path / "data") as server:
        subject = subject_of(f"{server.url}/load")
        readers = 2 if workload in ("end-to-end", "fan-out") else 1
        plan = LoadPlan(workload=workload, rate=100, duration=1.0, warmup=0.0, threads=2, readers=readers, prefill=500)
        total = run_load(plan, subject, shards=2).total()
    assert total.records == (200 if workload == "fan-out" else 100)
    assert not total.errors


def test_more_readers_than_shards(tmp_path: Path) -> None:
    """Two readers of one shard would count everything twice."""
    plan = LoadPlan(workload="end-to-end", readers=2, duration=0.5)
    with pytest.raises(InvalidArgumentError, match="2 readers share 1 shards"):
        run_load(plan, subject_of(f"store:{tmp_path}/data#load", durability="process"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"workload": "x"}, {"rate": -1}, {"rate": float("nan")}, {"batch": 0}, {"batch": 501}, {"size": 15},
        {"duration": 0}, {"threads": 0}, {"processes": 65}, {"prefill": -1},
    ],
)  # fmt: skip
def test_wrong_plans(wrong: dict[str, Any]) -> None:
    """Refused before anything is made."""
    with pytest.raises(InvalidArgumentError):
        LoadPlan(**wrong)


def test_wrong_subjects() -> None:
    """What is no subject is told with what would be one."""
    for address in ("nothing", "store:dir", "queue:#x", "http://host:1", "http:///x"):
        with pytest.raises(InvalidArgumentError):
            subject_of(address)


@pytest.mark.parametrize("token", ["token", None])
def test_signatures(monkeypatch: pytest.MonkeyPatch, token: str | None) -> None:
    """As botocore signs the same request, with and without a session's token, and also when a day has passed."""
    botocore = pytest.importorskip("botocore.auth")
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials as Known

    signer = Signer(Credentials("AKID", "secret", token), "eu-west-1", "127.0.0.1:4567")
    auth = botocore.SigV4Auth(Known("AKID", "secret", token), "kinesis", "eu-west-1")
    for moment in [time.gmtime(seconds) for seconds in (1_779_012_000, 1_779_012_060, 1_779_112_000)]:
        monkeypatch.setattr(time, "gmtime", lambda now=moment: now)
        headers = signer.headers("Kinesis_20131202.PutRecord", "application/x-amz-json-1.1", b"{}")
        claimed = headers.pop("authorization")
        assert headers["x-amz-date"] == time.strftime("%Y%m%dT%H%M%SZ", moment)
        assert headers.get("x-amz-security-token") == token
        request = AWSRequest("POST", "http://127.0.0.1:4567/", data=b"{}", headers=headers)
        request.context["timestamp"] = headers["x-amz-date"]
        text = auth.string_to_sign(request, auth.canonical_request(request))
        assert claimed == (
            f"AWS4-HMAC-SHA256 Credential={auth.scope(request)}, "
            f"SignedHeaders={auth.signed_headers(auth.headers_to_sign(request))}, "
            f"Signature={auth.signature(text, request)}"
        )


def test_event_streams_are_read() -> None:
    """Message by message; a damaged or cut one is an error."""
    first = eventstream.event("A", "x", b"one")
    packed = first + eventstream.exception("B", "x", b"two")

    def reader(data: bytes) -> Any:
        rest = [data]

        def read(size: int) -> bytes:
            taken, rest[0] = rest[0][:size], rest[0][size:]
            return taken

        return read

    read = reader(packed)
    found = [eventstream.read_message(read) for _ in range(3)]
    assert found == [("A", b"one"), ("B", b"two"), None]
    for at in range(len(first)):
        damaged = bytearray(packed)
        damaged[at] ^= 1
        with pytest.raises(ValueError, match="an event stream"):
            eventstream.read_message(reader(bytes(damaged)))
    with pytest.raises(ValueError, match="in the middle"):
        eventstream.read_message(reader(packed[:20]))
    odd = bytearray(first)
    odd[odd.index(b":event-type") + len(":event-type")] = 6  # a header that is no text, under right checks
    odd[-4:] = zlib.crc32(bytes(odd[:-4])).to_bytes(4, "big")
    with pytest.raises(ValueError, match="no string"):
        eventstream.read_message(reader(bytes(odd)))


def timeline(slow_us: int = 900) -> Timeline:
    """Three seconds of a hundred operations each, one of which is slow."""
    made = Timeline()
    for second in range(3):
        tally = made.at(second)
        for number in range(100):
            took = slow_us if number == 50 else 100 + number
            tally.done(0.0, 0.0, took / 1e6, 2, 200)
        tally.failed("it broke", 0.0, 0.000_2)
    return made


PLAN = LoadPlan(rate=200, duration=3, batch=2)
LONG = LoadPlan(rate=1, duration=5)


def made_run(*named: tuple[str, Timeline]) -> result.Run:
    """A run of some subjects."""
    rows = [row for label, each in named for row in results_of(PLAN, label, "process", each)]
    facts = {"cores": "2", "kernel": "Linux 6", "filesystem": "ext4 (rw)", "cpu": "c"}
    return result.Run("load", PLAN.describe(), "2026-01-01T00:00:00+00:00", "", facts, {}, tuple(rows))


def test_results_fit_the_schema(tmp_path: Path) -> None:
    """They are written and read again, and say what was tallied."""
    run = made_run(("ours", timeline()))
    result.dump(run, tmp_path / "run.json")
    assert result.load(tmp_path / "run.json") == run
    rows = {row.id: row for row in run.results}
    rate = rows["put.ours.rate"]
    assert rate.value == 200
    assert rate.ours is not None
    assert rate.ours.rounds == (200.0, 200.0, 200.0)
    assert rate.ours.extra["failed operations"] == 3
    curve = rows["put.ours.p99"].ours
    assert curve is not None
    assert curve.extra["p100"] == pytest.approx(0.0009, rel=0.001)
    assert seconds_of(rows["put.ours.p99"], "p99") == pytest.approx(dict.fromkeys(range(3), 0.0002), rel=0.1)
    assert seconds_of(rows["put.ours.rate"], "lag ms") == dict.fromkeys(range(3), 0.0)
    assert rows["put.ours.p50"].value == pytest.approx(0.00015, rel=0.02)


def test_the_table_fits_80_columns() -> None:
    """Whatever subjects are called: a long label stands above its figures. What went wrong stands below."""
    long = "https://kinesis.eu-central-1.amazonaws.com/orders.v2-of-all"
    run = made_run(("ours", timeline()), (long, timeline(5_000_000)), (long + "/more" * 9, timeline(999_999_999)))
    lines = table(run).splitlines()
    assert max(map(len, lines)) <= 80
    assert f"{long} [process]" in lines
    assert re.search(r"^ +200 /s .* 5 s +5 s$", lines[lines.index(f"{long} [process]") + 1])
    assert any(line.startswith("...") and line.endswith("/more/more [process]") for line in lines)
    assert "ours: 3 failed operations" in lines
    assert any(re.search(r"^ours \[process\] +200 /s", line) for line in lines)
    assert table(made_run(("ours", timeline()))).splitlines()[2].lstrip().startswith("rate")


@pytest.mark.parametrize("label", ["ours", "https://kinesis.eu-central-1.amazonaws.com/orders.v2-of-all-customers"])
def test_the_live_line_fits_80_columns(label: str) -> None:
    """While it warms up, while it runs, and however large its figures are: a long label gives way to them."""
    plan = LoadPlan(rate=200, duration=86_400, warmup=2)
    seen = Timeline()
    seen.at(86_000).done(0.0, 0.0, 59.123, 123_456_789_000, 200)
    said = [live_text(label, plan, at, each) for at, each in ((1.0, Timeline()), (5.0, Timeline()), (86_001, seen))]
    assert max(map(len, said)) < 80
    assert said[0].endswith(": warming up, 1 s")
    assert said[1].endswith(": 3 of 86400 s")
    assert said[2].endswith(": 85999 of 86400 s, 123,456,789,000 records, p50 59.1 s, p99 59.1 s")
    assert all(line.startswith(("ours:", "...", "https")) for line in said)


def test_the_table_says_what_is_short_of_the_plan() -> None:
    """A rate below the wanted one by a hundredth, and how far readers were behind."""
    slow = timeline()
    slow.seconds[0] = Tally()
    slow.at(1).lag_ms = 1500
    lines = table(made_run(("slow", slow), ("ours", timeline()))).splitlines()
    text = " ".join(line.strip() for line in lines)
    assert "slow: 2 failed operations, 67% of the wanted 200 /s, readers at most 1.5 s behind" in text
    assert not any("of the wanted" in line for line in lines if line.startswith("ours: "))


@pytest.mark.parametrize("later_s", [0, 60])
@pytest.mark.parametrize("door", ["store", "server"])
def test_reads_take_turns_and_begin_anew(
    tmp_path: Path, door: str, later_s: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shard by shard, and each again from its beginning when it is through; 0 ms behind alone is no end yet, nor is an
    answer that could have been longer.
    """
    now_us = clock.now_us() + later_s * 1_000_000
    if later_s:  # a read ends at the first record that fills it
        monkeypatch.setattr(limits, "READ_BATCH_SIZE", 1)
        monkeypatch.setattr(limits, "READ_CHUNK_SIZE", 4096)
    filling = b" " * 3000
    with streamstore.open(tmp_path / "data", durability="process") as store:
        stream = store.create_stream("load", 2)
        for index in range(2):
            stream.shards()[index].append([(b"%d%d" % (index, number) + filling, "k") for number in range(3)])
        monkeypatch.setattr(clock, "now_us", lambda: now_us)  # not later: nothing is older than a millisecond
        if door == "store":
            found = turns(f"store:{tmp_path}/data#load")
        else:
            pytest.importorskip("granian")
            with streamstore.serve_in_thread(store) as server:
                found = turns(f"{server.url}/load")
    for index in range(2):
        mine = [data for data in found if data[0] == ord("0") + index]
        assert len(mine) > 6
        assert mine == [b"%d%d" % (index, number % 3) + filling for number in range(len(mine))]


def turns(address: str) -> list[bytes]:
    """What twenty reads of two records give."""
    subject = subject_of(address)
    connection = subject.connect()
    reading = connection.reading(0, 1, tip=False, fan_out=False)
    found = [data for _ in range(20) for data in reading.read(2).data]
    reading.close()
    connection.close()
    subject.close()
    return found


class _Checker(HTMLParser):
    """Tags that are opened are closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.pictures = 0

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag not in ("meta", "br"):
            self.open.append(tag)
        self.pictures += tag == "svg"

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open[-1] in ("td", "th", "tr") and self.open[-1] != tag:
            self.open.pop()
        assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_nothing() -> None:
    """Three pictures and a key for each subject, no address to load anything from, and names are escaped."""
    text = page(made_run(("ours", timeline()), ("<script>alert(1)</script>", timeline(2000))))
    checker = _Checker()
    checker.feed(text)
    assert checker.open == []
    assert checker.pictures == 3 + 2
    assert "<script" not in text
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
    assert text.count("<polyline") == 2 * 2 + 2 + 2


def test_what_is_worked_off_late_does_not_raise_the_rate() -> None:
    """Ten records a second for three seconds, of which the last ten were taken after the end, at once or much later."""
    for late, rate in ((2, 10), (3, 10), (8, 30 / 8), (12, 2.5)):
        seen = Timeline()
        for second in (0, 1, late):
            seen.at(second).done(0.0, 0.0, 0.01, 10, 100)
        assert results_of(LoadPlan(rate=10, duration=3), "slow", "sync", seen)[0].value == pytest.approx(rate)


def test_the_page_shows_gaps_and_lag() -> None:
    """A second in which nothing ended is a gap at its place, one that stands alone a dot; nobody answered, no curve of
    the calls; readers that were behind are a picture of their own.
    """
    slow, dead = Timeline(), Timeline()
    for second in (0, 2, 3):
        slow.at(second).done(0.0, 0.0, 0.01, 1, 100)
    slow.at(3).lag_ms = 1500
    dead.at(4).given_up(5.0)
    rows = [row for each in (("slow", slow), ("dead", dead)) for row in results_of(LONG, each[0], "unknown", each[1])]
    text = page(result.Run("load", "m", "2026-01-01T00:00:00+00:00", "", {}, {}, tuple(rows)))
    percentiles, rates, each_second, lag = text.split("<h3>")[1:5]
    assert percentiles.count("<polyline") == 3  # none of the calls of the dead one
    assert (rates.count("<polyline"), rates.count("<circle")) == (2, 0)
    assert (each_second.count("<polyline"), each_second.count("<circle")) == (1, 2)
    assert (lag.count("<polyline"), lag.count("<circle")) == (1, 2)
    assert ">2 s<" in lag
    assert "behind" not in page(made_run(("ours", timeline())))


@pytest.mark.parametrize(
    ("most", "top"), [(195, "200 /s"), (253, "300 /s"), (5_000, "5.00 k/s"), (1_234_567, "1.25 M/s")]
)
def test_axes_have_round_numbers(most: int, top: str) -> None:
    """The highest line is round, and not below what is shown."""
    seen = Timeline()
    for second in range(2):
        seen.at(second).done(0.0, 0.0, 0.001, most, 1)
    rates = page(made_run(("ours", seen))).split("<h3>")[2]
    assert re.findall(r'text-anchor="end">([^<]+/s)<', rates)[-1] == top


def test_compare_knows_noise() -> None:
    """A change is one where it is larger than what the seconds scatter by themselves."""

    def row(value: float, spread: float) -> result.Run:
        side = result.Side("ours", "process", "records/s", value, tuple([value] * 16))
        one = result.Result(
            "put.ours.rate", "put", "t", "records/s", value, value * (1 - spread), value * (1 + spread), ours=side
        )
        return result.Run("load", "m", "s", "", results=(one.judged(),))

    def kind(before: result.Run, after: result.Run) -> str:
        return compare.compare(before, after)[0].kind

    assert kind(row(100, 0.01), row(115, 0.01)) == "better"
    assert kind(row(100, 0.01), row(80, 0.01)) == "worse"
    assert kind(row(100, 0.01), row(95, 0.01)) == "same"
    assert kind(row(100, 0.2), row(80, 0.2)) == "same"  # its notches are 0.16 wide on each side


def test_the_verb(tmp_path: Path) -> None:
    """Two subjects in one run: a table, a page, and a file that compares with itself."""
    one, two = (f"{name}=store:{tmp_path}/{name}#s" for name in ("one", "two"))
    quick = ("--rate", 100, "--duration", 2, "--warmup", 0, "--durability", "process")
    done = succeed("bench", "run", one, two, *quick, "-o", tmp_path / "r.json", "--html", tmp_path / "r.html")
    assert re.search(r"one \[process\] +100 /s", done.text)
    assert re.search(r"two \[process\] +100 /s", done.text)
    assert "<polyline" in (tmp_path / "r.html").read_text()
    assert json.loads((tmp_path / "r.json").read_text())["calibration"]["fdatasync p50"]["value"] > 0
    succeed("bench", "compare", tmp_path / "r.json", tmp_path / "r.json")
    succeed("bench", "report", tmp_path / "r.json", "--output", tmp_path / "again.html")
    assert (tmp_path / "again.html").read_text() == (tmp_path / "r.html").read_text()
    assert run("bench", "run", one, one, *quick).code == 1
    assert run("bench", "run", "nothing").code == 2
    assert run("bench", "run", one, "--size", 3).code == 2


def test_labels() -> None:
    """The address, without what all have."""
    assert label_of("http://127.0.0.1:4567/x") == "127.0.0.1:4567/x"
    assert label_of("store:data/#x") == "store:data/#x"


def test_tallies_add_up() -> None:
    """Counts are summed, the lag is the worst."""
    left, right = Tally(), Tally()
    left.done(0, 0.5, 1.0, 3, 30)
    left.failed("x", 0, 0.1)
    left.lag_ms, right.lag_ms = 5, 3
    right.given_up(2.0)
    right.failed("x", 0, 1.0)
    right.failed("y", 0, 1.0)
    right.done(0, 0.9, 1.0, 4, 40)
    right.refused = 2
    left.add(right)
    assert (left.operations, left.records, left.bytes, left.refused, left.unfinished) == (2, 7, 70, 2, 1)
    assert (left.latency_us.count, left.service_us.count, left.lag_ms) == (6, 2, 5)
    assert left.errors == {"x": 2, "y": 1}
    assert left.service_us.highest == 500_000
