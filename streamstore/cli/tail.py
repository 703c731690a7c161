"""`tail`: the newest records, and what comes after them."""

from __future__ import annotations

from pathlib import Path

import click

from streamstore import errors
from streamstore.cli.arguments import directory_argument, open_to_read, open_to_write, stream_argument
from streamstore.cli.output import note
from streamstore.cli.records import deaggregate_options, form_options, writer_for
from streamstore.store import Store


@click.command()
@directory_argument
@stream_argument
@click.option(
    "-n",
    "count",
    type=click.IntRange(min=0),
    default=10,
    show_default=True,
    help="How many of the newest records to begin with.",
)
@click.option("-f", "--follow", is_flag=True, help="Go on with what is put from now on, until Ctrl-C.")
@click.option(
    "--timeout", type=click.FloatRange(min=0), help="With --follow: end after this many seconds without a record."
)
@click.option("--attributes", is_flag=True, help="Show attributes too.")
@deaggregate_options
@form_options
def tail(
    directory: Path,
    stream: str,
    count: int,
    follow: bool,
    timeout: float | None,
    attributes: bool,
    deaggregate: bool,
    range_rule: str | None,
    form: str | None,
) -> None:
    """Print the newest records of STREAM, in order of arrival.

    \b
    Examples:
      streamstore tail data/ clicks -n 3
      streamstore tail data/ clicks --follow --raw | grep checkout
    """
    writer = writer_for(form, attributes=attributes, follow=follow)
    with _open_to_follow(directory) if follow else open_to_read(directory) as store:
        handle = store.stream(stream)
        if not follow:
            writer.records(handle.last(count, deaggregate=range_rule or deaggregate))
            writer.end()
            return
        # The reader is bound to the tails before the newest records are looked up, so that nothing falls between.
        apart = range_rule or deaggregate
        with handle.read("LATEST", follow=True, timeout=timeout, deaggregate=apart) as reader:
            newest = handle.last(count, deaggregate=apart)
            writer.records(newest)
            seen = {record.sequence_number for record in newest}
            for records in reader.batches():
                writer.records(
                    [record for record in records if record.sequence_number not in seen] if seen else records
                )
        writer.end()


def _open_to_follow(directory: Path) -> Store:
    """Open so that later writers are seen; without write access only a view as of now can be had, and that is said."""
    try:
        return open_to_write(directory)
    except (PermissionError, errors.ReadOnlyError):
        note(f"{directory} cannot be written to: while nobody else has it open, later records do not show")
        return open_to_read(directory)
