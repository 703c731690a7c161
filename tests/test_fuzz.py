"""The fuzz targets build, run over their corpus without a finding, and find a bug that is put in."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
from seeded.__main__ import SEEDS
from seeded.seed import ROOT

HERE = Path(__file__).resolve().parent / "fuzz"


def load(name):
    """A program of tests/fuzz as a module."""
    spec = importlib.util.spec_from_file_location(f"fuzz_{name.strip('_')}", HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def program(tmp_path, monkeypatch):
    """The driver of the targets in C, with its scratch files out of the tree."""
    module = load("__main__")
    monkeypatch.setattr(module, "SCRATCH", tmp_path)
    return module


def test_a_target_finds_nothing_in_its_corpus(program):
    """Every kept input and some thousand changed ones, under the sanitizers."""
    target = program.Target("blocks")
    target.build()
    runs, well, said = target.run(1, 1)
    assert well, said
    assert runs >= len(list(target.corpus.iterdir()))


def test_a_bug_that_is_put_in_is_found(program, tmp_path, monkeypatch):
    """A match that reaches before the beginning of its block: the corpus alone shows it to the sanitizers."""
    seed = next(seed for seed in SEEDS if seed.name == "match-before-the-beginning")
    sources = tmp_path / "tree"
    (sources / "csrc").mkdir(parents=True)
    for source in (ROOT / "csrc").glob("*.[ch]"):
        text = source.read_text(encoding="utf-8")
        (sources / "csrc" / source.name).write_text(seed.plant(text) if source.name == "lz4.c" else text)
    (sources / "tests").symlink_to(ROOT / "tests")
    monkeypatch.setattr(program, "ROOT", sources)
    target = program.Target("blocks")
    target.build()
    _, well, said = target.run(10, 1)
    assert not well
    assert "Sanitizer" in said


def test_parsers_under_atheris():
    """Each target of the fuzzer for Python gets through its seeds: they reach what they are for."""
    parsers = load("parsers")
    sys.path.insert(0, str(ROOT))
    targets = parsers.targets()
    sys.path.remove(str(ROOT))
    assert targets.keys() == parsers.SEEDS.keys()
    for name, parse in targets.items():
        for data in [b"", *parsers.SEEDS[name]]:
            parse(data)
