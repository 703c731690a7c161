"""`python -m streamstore.bench`: compare two result files, print one as a page, or print the schema."""

from __future__ import annotations

from pathlib import Path

import click

from streamstore.bench import compare as comparison
from streamstore.bench import report, result


@click.group()
def main() -> None:
    """Work with benchmark results."""


@main.command("compare")
@click.argument("before", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("after", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--noise", default=comparison.NOISE_RATIO, show_default=True, help="Smaller changes count as none.")
def compare_files(before: Path, after: Path, noise: float) -> None:
    """Show what changed from BEFORE to AFTER; exit 1 where a row got worse, failed or lost its bar."""
    old, new = _loaded(before), _loaded(after)
    changes = comparison.compare(old, new, noise=noise)
    click.echo(comparison.table(old, new, changes))
    raise SystemExit(1 if comparison.regressions(changes) else 0)


@main.command("report")
@click.argument("results", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="The page; its plot goes beside it.")
def report_file(results: Path, output: Path | None) -> None:
    """Make the Markdown page (and the plot) of one result file."""
    run = _loaded(results)
    if output is None:
        click.echo(report.page(run, plot_name=None))
    else:
        report.write(run, output)


@main.command("schema")
def schema() -> None:
    """Print the JSON Schema of a result file."""
    click.echo(report.as_json(result.json_schema()))


def _loaded(path: Path) -> result.Run:
    try:
        return result.load(path)
    except result.SchemaError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
