"""docs/kinesis.md has a row for every operation, and the tests it names exist."""

from __future__ import annotations

import re
from pathlib import Path

from streamstore.kinesis.operations import OPERATIONS

ROOT = Path(__file__).resolve().parent.parent.parent


def test_every_operation_is_in_the_document():
    """Once each; done or a 400, as the table of operations has it."""
    text = (ROOT / "docs" / "kinesis.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\w+) \| (done|400) \| [^|]* \| ([a-z_, ]+) \|$", text, re.MULTILINE)
    assert [name for name, _, _ in rows] == list(OPERATIONS)
    for name, state, tests in rows:
        absent = OPERATIONS[name].handler == "absent:channel"
        assert (state == "400") == absent, name
        for test in tests.split(", "):
            assert (ROOT / "tests" / "kinesis" / f"test_{test}.py").is_file(), test
