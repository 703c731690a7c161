"""Seeded bugs fit the sources they are put into; suites that find a bug or a mutant are told from those that do not."""

from __future__ import annotations

import contextlib
import dataclasses
import json

import pytest
from figures import BEGIN, COLUMNS, END, Figures, put_into, read_all
from seeded.__main__ import SEEDS, Suites
from seeded.building import CBuild, NotBuilt
from seeded.mutant import Mutant
from seeded.mutants import noticed, suites
from seeded.seed import ROOT, Misfit


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    """Where the core is built, once for all tests that change a file of it."""
    return tmp_path_factory.mktemp("seeded")


BY_NAME = {seed.name: seed for seed in SEEDS}


def test_there_are_enough_of_them():
    """No name stands twice, and there are at least 30."""
    assert len(BY_NAME) == len(SEEDS) >= 30


@pytest.mark.parametrize("seed", SEEDS, ids=[seed.name for seed in SEEDS])
def test_a_seed_fits_its_source(seed):
    """The words it changes stand in its file exactly once; whoever rewords that line rewords the seed."""
    text = (ROOT / seed.file).read_text(encoding="utf-8")
    assert seed.plant(text) != text


def test_words_that_are_not_there_are_told():
    """A seed whose line was reworded is no seed any more, and says so."""
    with pytest.raises(Misfit, match="0 times"):
        BY_NAME["no-salt"].plant("something else")


def test_a_bug_is_caught_and_another_missed(scratch):
    """The suite of a bug fails with it and passes without; a suite that looks elsewhere misses it."""
    seed = BY_NAME["body-not-checked"]
    with contextlib.closing(Suites(scratch)) as both:
        assert both.catches(seed)
        assert not both.catches(dataclasses.replace(seed, suite="plain/test_md5"))


NOTICED = {
    "csrc/record.c place_holds: return frame_size >= FRAME_BODY && frame_size % 8 == 0 &&"
    " format_load64(from + FRAME_POSITION) == position; => return frame_size >= FRAME_BODY && frame_size % 8 == 0 ||"
    " format_load64(from + FRAME_POSITION) == position;": "plain/test_record",
    "csrc/record.c words_put: writer->to += 8; => ;": "plain/test_record",
    "csrc/lock.c ss_lock_detach: atomic_store(&self->slots[self->slot].pid, 0); => ;": "plain/test_lock",
    "csrc/log_sync.c sync_round: count_sync(entry, started, records); => ;": "plain/test_rounds",
}


def test_some_are_noticed_and_one_survives(scratch):
    """Four by a suite that knows their file; one is not a change, and one the suite does not look at."""
    with contextlib.closing(CBuild(scratch)) as build:
        for name, suite in NOTICED.items():
            mutant = Mutant.named(name)
            assert mutant is not None
            assert suite in suites(mutant.file)
            assert noticed(build, mutant, ["plain/test_md5", suite]) == suite, name
        plain = mutant.plant((ROOT / mutant.file).read_text(encoding="utf-8"))
        assert not build.same_code("log_sync.c", plain)
        with pytest.raises(NotBuilt):
            noticed(build, mutant._replace(changed=mutant.words + " /* the same */"), ["plain/test_md5"])
        with pytest.raises(NotBuilt):
            noticed(build, mutant._replace(changed="nonsense("), ["plain/test_md5"])


def test_figures_become_a_table(tmp_path):
    """What suites wrote stands in the page, in place of what was there; a file that lacks a figure is refused."""
    Figures("kills", "1 to 3", 2000, 2000, 123456, 0, 0, 0, 61.25).write(tmp_path, tmp_path / "proof")
    page = tmp_path / "page.md"
    page.write_text(f"# Title\n\n{BEGIN}\nold\n{END}\nrest\n", encoding="utf-8")
    put_into(page, read_all(tmp_path / "proof"))
    text = page.read_text(encoding="utf-8")
    assert "| kills | 1 to 3 | 2,000 | 2,000 | 123,456 | 0 | 0 | 0 | 61.2 |" in text
    assert "old" not in text
    assert text.endswith(f"{END}\nrest\n")
    (tmp_path / "proof" / "bad.json").write_text(json.dumps(dict.fromkeys(COLUMNS[1:], 0)), encoding="utf-8")
    with pytest.raises(ValueError, match="lacks suite"):
        read_all(tmp_path / "proof")
