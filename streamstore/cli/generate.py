"""`generate`: made-up records by a template or a scenario, at a rate, to a stream, a file, an endpoint or stdout."""

from __future__ import annotations

import json
import random
import signal
import sys
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Any

import click

from streamstore.cli.arguments import DURABILITIES, json_option, parse_time
from streamstore.cli.exits import INTERRUPTED
from streamstore.cli.output import print_json, size_text
from streamstore.cli.progress import RunProgress
from streamstore.generate import (
    SCENARIOS,
    Arrivals,
    Bursts,
    Constant,
    Filler,
    FlatOut,
    Generated,
    Generator,
    Keys,
    Periodic,
    Poisson,
    Sizes,
    Source,
    Template,
    preview,
    scenario,
)
from streamstore.targets import open_target
from streamstore.targets.addresses import FORMS
from streamstore.values import PutEntry

PREVIEW_RECORDS = 5
EPILOG = "\b\nTARGET is one of\n" + "\n".join(f"  {line}" for line in FORMS.splitlines())


@click.command(epilog=EPILOG)
@click.argument("target", required=False)
@click.option("-t", "--template", "template", metavar="TEXT|@FILE", help="What a record is, with {{functions}} in it.")
@click.option("-s", "--scenario", "scenario_name", type=click.Choice(list(SCENARIOS)), help="A ready-made source.")
@click.option("--size", metavar="DISTRIBUTION", help="Letters only, of sizes: 100, uniform:100:1000, lognormal:300:1.")
@click.option("-k", "--key", metavar="TEXT", help="Template of the partition key.  [default: random]")
@click.option("--keys", type=click.IntRange(min=1), help="Draw the partition key from so many.")
@click.option("--zipf", type=float, default=1.0, show_default=True, help="With --keys: how skewed; 0 makes all equal.")
@click.option("-n", "--count", type=click.IntRange(min=0), help="How many records.")
@click.option("-d", "--duration", type=click.FloatRange(min=0), metavar="SECONDS", help="For how long.")
@click.option("-r", "--rate", type=float, help="Records a second, evenly.  [default: as fast as it goes]")
@click.option("--poisson", is_flag=True, help="With --rate: independent of each other, so many on average.")
@click.option(
    "--burst", nargs=2, type=float, metavar="ON OFF", help="With --rate: for ON seconds, then OFF seconds not."
)
@click.option(
    "--week",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help='JSON {"means": [168 numbers], "sigmas": [...], "smooth": true}: the rate of each hour from Monday on.',
)
@click.option("--start", metavar="TIME", help="Simulate time from here on: event times as planned, sent flat out.")
@click.option("--stamp", is_flag=True, help="Give each record its moment as event time.")
@click.option("--seed", type=int, help="The same seed makes the same records at the same gaps.")
@click.option("--locale", default="en_US", show_default=True, help="For names of people and places.")
@click.option("--preview", "preview_only", is_flag=True, help=f"Show {PREVIEW_RECORDS} records (or --count) and end.")
@click.option("--shards", type=click.IntRange(min=1), default=1, show_default=True, help="Of a stream that is made.")
@click.option("--durability", type=DURABILITIES, help="Of a stream that is made.")
@click.option("--region", help="For a Kinesis endpoint.")
@click.option("--progress/--no-progress", default=None, help="Show how far it is.  [default: on a terminal]")
@json_option
def generate(target: str | None, as_json: bool, preview_only: bool, progress: bool | None, **options: Any) -> None:
    """Make records up and send them to TARGET.

    Templates are those of the Kinesis Data Generator; docs/generate.md lists the functions.

    \b
    Examples:
      streamstore generate --scenario clickstream --preview
      streamstore generate store:data/#clicks --scenario clickstream --count 100000 --shards 4
      streamstore generate store:data/#sensors -t '{"id": {{random.number(50)}}}' --rate 500 --duration 60
      streamstore generate http://127.0.0.1:4567/clicks --size lognormal:300:1 --keys 1000 --rate 1000 --poisson -d 10
    """
    source = _source(options)
    start = _start(options["start"])
    if preview_only:
        count = PREVIEW_RECORDS if options["count"] is None else options["count"]
        _show(preview(source, count, start=start), as_json)
        return
    if target is None:
        raise click.UsageError("a TARGET is wanted, or --preview")
    arrivals = _arrivals(options)
    with open_target(
        target, region=options["region"], durability=options["durability"], shards=options["shards"]
    ) as where:
        generator = Generator(
            source,
            where,
            arrivals=arrivals,
            count=options["count"],
            duration=options["duration"],
            start=start,
            stamped=options["stamp"],
            seed=options["seed"],
        )
        with RunProgress("generate", None, progress) as shown, _Interrupts(generator):
            done = generator.run(lambda records, size: shown.update(size, records))
    _report(done, target, as_json)
    if done.stopped:
        click.get_current_context().exit(INTERRUPTED)


class _Interrupts:
    """While it lasts, the first Ctrl-C ends the run behind the batch being sent; the second one ends it at once."""

    def __init__(self, generator: Generator) -> None:
        self._generator = generator
        self._before: Any = None

    def __enter__(self) -> None:
        self._before = signal.signal(signal.SIGINT, self._stop)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, self._before)
        self._generator.stop()

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)


class _Keyed:
    """A source whose records get keys of a set."""

    def __init__(self, source: Source, keys: Keys, seed: int | None) -> None:
        self._source, self._keys, self._chance = source, keys, random.Random(seed)

    def make(self, moment_us: int) -> PutEntry:
        """A record of the source, under another key."""
        return self._source.make(moment_us)._replace(partition_key=self._keys.draw(self._chance))


def _source(options: dict[str, Any]) -> Source:
    chosen = [name for name in ("template", "scenario_name", "size") if options[name] is not None]
    if len(chosen) != 1:
        raise click.UsageError("give one of --template, --scenario and --size")
    if options["key"] is not None and (options["keys"] or options["template"] is None):
        raise click.UsageError("--key goes with --template, and not with --keys")
    seed = options["seed"]
    keys = Keys(options["keys"], options["zipf"]) if options["keys"] else None
    if options["size"] is not None:
        return Filler(Sizes(options["size"]), keys, seed=seed)
    if options["scenario_name"] is not None:
        source = scenario(options["scenario_name"], seed=seed)
    else:
        source = Template(_text(options["template"]), key=options["key"], seed=seed, locale=options["locale"])
    return source if keys is None else _Keyed(source, keys, seed)


def _text(given: str) -> str:
    if not given.startswith("@"):
        return given
    try:
        return sys.stdin.read() if given == "@-" else Path(given[1:]).read_text(encoding="utf-8").rstrip("\n")
    except UnicodeDecodeError as error:
        raise click.BadParameter(f"{given[1:]}: {error}", param_hint="--template") from None


def _arrivals(options: dict[str, Any]) -> Arrivals:
    rate, poisson, burst, week = (options[name] for name in ("rate", "poisson", "burst", "week"))
    if week is not None:
        if rate is not None or poisson or burst:
            raise click.UsageError("--week says the rate by itself")
        return _week(week)
    if rate is None:
        if poisson or burst:
            raise click.UsageError("--poisson and --burst go with --rate")
        return FlatOut()
    if poisson and burst:
        raise click.UsageError("--poisson and --burst do not go together")
    if burst:
        return Bursts(rate, *burst)
    return Poisson(rate) if poisson else Constant(rate)


def _week(path: Path) -> Periodic:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        means = [float(number) for number in document["means"]]
        sigmas = [float(number) for number in document.get("sigmas", [0] * len(means))]
        smooth = bool(document.get("smooth", False))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise click.BadParameter(f"{path}: {type(error).__name__}: {error}", param_hint="--week") from None
    return Periodic(means, sigmas, smooth=smooth)


def _start(text: str | None) -> datetime | None:
    if text is None:
        return None
    moment = parse_time(text)
    if moment is None:
        raise click.BadParameter(f"{text!r} is no time", param_hint="--start")
    return moment


def _show(records: list[PutEntry], as_json: bool) -> None:
    for record in records:
        text = record.data.decode(errors="replace")
        if as_json:
            print_json({"partition_key": record.partition_key, "data": text})
        else:
            click.echo(f"{record.partition_key}\t{text}")


def _report(done: Generated, target: str, as_json: bool) -> None:
    late = {f"p{share:g}": done.late_us.percentile(share) for share in (50, 99, 99.9)} if done.late_us.count else {}
    if as_json:
        found = {"records": done.records, "bytes": done.bytes, "seconds": round(done.seconds, 6)}
        report = {**found, "late_us": late, "stopped": done.stopped}
        # The records have stdout where the target is stdout.
        click.echo(json.dumps(report), err=True) if target in ("-", "json:-") else print_json(report)
        return
    rate = done.records / done.seconds if done.seconds else 0.0
    line = f"{done.records:,} records, {size_text(done.bytes)}, {done.seconds:.1f} s, {rate:,.0f} a second"
    if late:
        line += "; taken later than planned: " + ", ".join(f"{name} {us / 1000:.1f} ms" for name, us in late.items())
    click.echo(line + ("; stopped" if done.stopped else ""), err=True)
