"""Branch coverage: counts of several objects are those of one source, and the list of the untaken is held to them."""

from __future__ import annotations

import pytest
from branches.counting import Branch, Line, add_up
from branches.explaining import UNTAKEN, against, read


def file_of(name, *lines):
    """What gcov says of one file: a line is its number, its function and the counts of its branches."""
    return {
        "file": name,
        "lines": [
            {"line_number": number, "function_name": function, "branches": [{"count": count} for count in counts]}
            for number, function, counts in lines
        ],
    }


def test_a_header_is_counted_once():
    """Two objects include it: a branch that either takes is taken; what is not ours, or has no branch, is left out."""
    found = add_up(
        [
            file_of("csrc/log.h", (7, "twice", [3, 0]), (8, "twice", [])),
            file_of("csrc/log.h", (7, "twice", [1, 2])),
            file_of("csrc/killpoint.h", (1, "reach", [0, 1])),
            file_of("/usr/include/stdlib.h", (1, "atoi", [0, 1])),
        ]
    )
    assert found == {Line("csrc/log.h", 7, "twice"): [4, 2]}


TEXT = """# a comment
= No test can make it.
csrc/a.c f #1: if (x)
? csrc/a.c f [2] #1: if (x)
"""
NEVER, BY_CHANCE = Branch("csrc/a.c", "f", "if (x)", 1, 1), Branch("csrc/a.c", "f", "if (x)", 2, 1)
OTHER = Branch("csrc/a.c", "f", "while (y)", 1, 2)


def test_what_is_listed_and_what_is_counted_agree():
    """A branch by chance may be taken or not; the others are as they are listed."""
    assert read(TEXT).never == {NEVER: "No test can make it."}
    assert [str(NEVER), f"? {BY_CHANCE}"] == TEXT.splitlines()[2:]
    assert against(read(TEXT), [OTHER], [NEVER, BY_CHANCE]) == []
    assert against(read(TEXT), [OTHER, BY_CHANCE], [NEVER]) == []


def test_what_does_not_agree_is_told():
    """Listed and taken, not listed and not taken, listed and gone."""
    assert against(read(TEXT), [NEVER], [BY_CHANCE, OTHER]) == [
        f"taken, though listed as never: {NEVER}",
        f"not taken, and not listed: {OTHER}",
    ]
    assert against(read(TEXT), [], [NEVER]) == [f"listed, and not in the sources: {BY_CHANCE}"]


@pytest.mark.parametrize("line", ["csrc/a.c f #1: if (x)", "= Why.\nnonsense", TEXT + "csrc/a.c f #1: if (x)"])
def test_a_list_that_is_none_is_refused(line):
    """No reason, no branch, twice the same."""
    with pytest.raises(ValueError, match=r"no branch|twice"):
        read(line)


def test_the_list_can_be_read():
    """Ours."""
    assert read(UNTAKEN.read_text(encoding="utf-8"))
