"""One queue, worked on in Python and over HTTP, while workers and the server are killed; and a thousand that wait."""

from __future__ import annotations

from pathlib import Path

import pytest
from running import STRESS, run, seed

pytest.importorskip("granian")


@pytest.mark.parametrize("durability", ["sync", "process"])
@pytest.mark.parametrize(
    ("messages", "kills", "server_kills"),
    [
        pytest.param(3_000, 8, 1, id="short"),
        pytest.param(200_000, 400, 60, id="long", marks=STRESS),
    ],
)
def test_random_kills_of_workers_and_server(
    tmp_path: Path, messages: int, kills: int, server_kills: int, durability: str
) -> None:
    """Nothing is lost, and nothing comes again whose acknowledgement had returned, from either side."""
    short = messages < 10_000
    arguments = ("--messages", messages, "--kills", kills, "--server-kills", server_kills, "--durability", durability)
    print(
        run(
            "kill_wire_workers.py",
            tmp_path / "store",
            *arguments,
            "--seed",
            seed(short),
            timeout=100 if short else 3000,
        )
    )


@pytest.mark.parametrize("queues", [1, pytest.param(100, marks=STRESS)])
def test_a_thousand_wait_on_one_server(tmp_path: Path, queues: int) -> None:
    """With the threads that it has anyway, and next to no processor time; each gets its record."""
    print(run("wait_on_server.py", tmp_path / "store", "--queues", queues, timeout=100))
