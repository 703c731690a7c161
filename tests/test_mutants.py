"""Mutants are the same ones for the same seed and named by words; the list of survivors is held against a run."""

from __future__ import annotations

import pytest
from seeded.mutant import Mutant, drawn, mutants
from seeded.mutants import FIRST
from seeded.seed import ROOT
from seeded.surviving import SURVIVORS, against, read

SOURCE = """/* a comment, 1 */
static int first(int x)
{
    if (x > 0)
        return 1; /* 5 */
    return 2;
}

ss_status second(const char *text,
                 int y)
{
    assert(y == 3);
    if (y > 0)
        y = 4;
    if (y > 0)
        return 0;
}
"""


def test_each_place_and_its_name():
    """Every small change of a line inside of a function, told by the function, the words and which line of these."""
    found = mutants("csrc/a.c", SOURCE)
    names = [str(each) for each in found]
    assert "csrc/a.c first: if (x > 0) => if (x >= 0)" in names
    assert "csrc/a.c first: return 1; /* 5 */ => return 0; /* 5 */" in names
    assert "csrc/a.c second: y = 4; => ;" in names
    assert "csrc/a.c second [2]: if (y > 0) => if (0)" in names
    assert not [name for name in names if "assert" in name or "=> return 1; /* 6 */" in name]
    assert len(set(found)) == len(found) == 17
    assert [Mutant.named(name) for name in names] == found


def test_the_change_is_made_in_its_line_alone():
    """The second of two equal lines; a line that is not there is told."""
    mutant = Mutant("csrc/a.c", "second", "if (y > 0)", 2, "if (0)")
    before, after = SOURCE.splitlines(), mutant.plant(SOURCE).splitlines()
    assert [index for index, line in enumerate(after) if line != before[index]] == [14]
    assert after[14] == "if (0)"
    with pytest.raises(ValueError, match="not in the sources"):
        mutant._replace(turn=3).plant(SOURCE)


def test_a_draw_is_a_function_of_seed_and_names():
    """Another seed draws others; a line that is added changes the order of no mutant of before."""
    found = mutants("csrc/a.c", SOURCE)
    order = drawn(found, 1)
    assert order == drawn(reversed(found), 1) != drawn(found, 2)
    more = drawn(mutants("csrc/a.c", SOURCE.replace("    return 2;", "    x = x + 7;\n    return 2;")), 1)
    assert len(more) > len(order) == len([each for each in more if each in set(order)])
    assert [each for each in more if each in set(order)] == order


A = Mutant("csrc/a.c", "first", "if (x > 0)", 1, "if (0)")
B = Mutant("csrc/a.c", "first", "if (x > 0)", 1, "if (1)")
C = Mutant("csrc/a.c", "second", "y = 4;", 1, ";")
TEXT = f"# a comment\n= The same: for a reason.\n{A}\n\n= Chance: threads.\n? {B}\n"


def test_what_is_listed_and_what_survives_agree():
    """One by chance may be noticed or not; one that was not drawn is not asked for."""
    explained = read(TEXT)
    assert explained.kind(A) == "The same"
    assert explained.kind(C) == ""
    assert against(explained, [A, B, C], [A, B], [C]) == []
    assert against(explained, [A, B, C], [A], [B]) == []
    assert against(explained, [A, B, C], [], []) == []


def test_what_does_not_agree_is_told():
    """Survived and not listed, listed and noticed, listed and gone."""
    assert against(read(TEXT), [A, C], [C], [A]) == [
        f"survived, and is not explained: {C}",
        f"noticed, though listed as a survivor: {A}",
        f"listed, and not in the sources: {B}",
    ]


@pytest.mark.parametrize("text", [str(A), "= The same: x\nnonsense", TEXT + str(A), f"= Perhaps: x\n{A}"])
def test_a_list_that_is_none_is_refused(text):
    """No reason, no mutant, twice the same, no kind of reason."""
    with pytest.raises(ValueError, match=r"no mutant|twice|none of the kinds"):
        read(text)


def test_the_list_fits_the_sources():
    """Every mutant that is explained is one that could be drawn."""
    every = [each for file in FIRST for each in mutants(file, (ROOT / file).read_text(encoding="utf-8"))]
    assert against(read(SURVIVORS.read_text(encoding="utf-8")), every, [], []) == []
