"""The machine: all rules, what holds after each step, and how a run of it is made, seeded and told of."""

from __future__ import annotations

import traceback
from collections.abc import Callable

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import invariant, run_state_machine_as_test

from oracle.base import Base
from oracle.damaging import Damaging


class Machine(Damaging):
    """All rules, and what holds after each."""

    @invariant()
    def everything_is_there_once_and_in_order(self) -> None:
        """The store says what the oracle says."""
        if hasattr(self, "store"):
            Base.steps += 1
            Base.progress()
            self.settle()


class Failed(AssertionError):
    """The store and the oracle did not agree; the message tells the story up to there."""


def run(
    number: int, examples: int, steps: int, progress: Callable[[], None] = lambda: None, *, shrink: bool = False
) -> None:
    """Run so many examples of so many steps, all from one seed. Raises Failed with the shortest story of each failure;
    `shrink` takes minutes over making it shorter.

    What a kill hits is not in the seed, so a failure behind a kill may need more than one run to come again.
    """
    Base.failed.clear()
    Base.progress = staticmethod(progress)
    chosen = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    try:
        run_state_machine_as_test(seed(number)(Machine), settings=chosen)
    except Exception as error:
        raise Failed(f"seed {number}:\n{stories() or error}") from None


def stories() -> str:
    """The shortest story for each place at which something went wrong, and what went wrong."""
    shortest: dict[tuple[str, int], tuple[BaseException, list[str]]] = {}
    for error, story in Base.failed:
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = last.filename, last.lineno or 0
        if place not in shortest or len(story) < len(shortest[place][1]):
            shortest[place] = error, story
    return "\n\n".join(
        "\n".join([*story, "".join(traceback.format_exception(error)).rstrip()]) for error, story in shortest.values()
    )
