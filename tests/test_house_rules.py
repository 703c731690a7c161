"""The tree obeys house_rules.py, and every rule there is shown to bite on a snippet that breaks it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import house_rules as rules
import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCE_DIRECTORIES = ("streamstore", "csrc", "tests", "bench", "docs", "scripts", ".ci")
TEXT_SUFFIXES = {".py", ".c", ".h", ".md", ".toml", ".in", ".txt", ".sh", ".yml", ".yaml", ""}


def source_files() -> dict[str, str]:
    """Return the text of every file that people write, by its path from the root."""
    found = [path for path in ROOT.iterdir() if path.is_file() and path.suffix in TEXT_SUFFIXES]
    for directory in SOURCE_DIRECTORIES:
        found += [path for path in (ROOT / directory).rglob("*") if path.is_file() and path.suffix in TEXT_SUFFIXES]
    found = [path for path in found if "__pycache__" not in path.parts and ".egg-info" not in str(path)]
    found = [path for path in found if path.name != ".git"]  # a file, in a worktree
    return {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in sorted(found)}


FILES = source_files()
MAPPED = [name for name in FILES if name.startswith(("streamstore/", "csrc/")) and name.endswith((".py", ".c", ".h"))]


@pytest.mark.parametrize("path", FILES)
def test_a_file_obeys_the_house_rules(path):
    """No file of the project breaks a rule."""
    assert list(rules.complaints(path, FILES[path])) == []


def test_the_tree_was_found():
    """The rules would prove nothing over an empty list of files."""
    assert {"setup.py", "Makefile", ".ci/run", "csrc/streamstore.h", "tests/test_house_rules.py"} <= set(FILES)
    assert len(MAPPED) > 10


def test_a_c_file_exports_only_its_own_names():
    """What one C file shows to others begins with that file's name, stands in the public header, or is CPython's."""
    public = rules.declared(FILES["csrc/streamstore.h"]) | {"PyInit__hot"}
    sources = {path: text for path, text in FILES.items() if path.startswith("csrc/") and path.endswith(".c")}
    assert [complaint for path, text in sources.items() for complaint in rules.c_exports(path, text, public)] == []


def test_the_map_names_every_source_file():
    """ARCHITECTURE.md has every source file on it, and none that is gone."""
    if "ARCHITECTURE.md" not in FILES:
        pytest.skip("there is no ARCHITECTURE.md")
    assert rules.unmapped(MAPPED, FILES["ARCHITECTURE.md"]) == []
    assert rules.dangling(MAPPED, FILES["ARCHITECTURE.md"]) == []


def test_the_layers_of_the_page_are_those_that_hold():
    """ARCHITECTURE.md shows every package at the level that imports are held to; steps of a tenth are ours."""
    shown = {}
    for level, names in re.findall(r"^ *([\d.]+) +(\w+(?:, \w+)*) {2,}", FILES["ARCHITECTURE.md"], re.MULTILINE):
        shown |= dict.fromkeys(names.split(", "), int(float(level)))
    assert shown == {name: int(rules.LEVELS[name]) for name in shown}
    packages = {path.parent.name for path in (ROOT / "streamstore").glob("*/__init__.py")}
    assert packages <= set(shown)


# ---- Each rule bites ----

PY = '"""Top."""\n\nfrom __future__ import annotations\n'
H = "/* Top. */\n#ifndef STREAMSTORE_X_H\n#define STREAMSTORE_X_H\n{}\n#endif\n"
LONG_PYTHON = PY + "def f():\n" + "    a = 1\n" * 60
LONG_C = "/* Top. */\nint ss_f(int a,\n         int b)\n{\n" + "    a++;\n" * 100 + "}\n"
WORK = "/wo" + "rk/main"

BAD = [
    ("streamstore/shard.py", PY + "import streamstore.store\n", "imports store (level 4)"),
    ("streamstore/shard.py", PY + "from streamstore.catalog import Catalog\n", "imports catalog (level 2)"),
    ("streamstore/shard.py", PY + "from .stream import Stream\n", "imports stream"),
    ("streamstore/shard.py", PY + "from . import stream\n", "imports stream"),
    ("streamstore/shard.py", PY + "from streamstore import open\n", "imports __init__"),
    ("streamstore/shard.py", PY + "def f():\n    from streamstore import store\n", "imports store"),
    ("streamstore/shard.py", PY + "def f():\n    if f:\n        import streamstore.aio\n", "imports aio"),
    ("streamstore/store.py", PY + "from streamstore.queue import Queue\n", "imports queue"),
    ("streamstore/server/http.py", PY + "from ..capture import x\n", "imports capture"),
    ("streamstore/routing.py", PY + "from streamstore._core import lib\n", "only native may"),
    ("streamstore/cli.py", PY + "from streamstore import _hot\n", "only native may"),
    ("streamstore/novelty.py", PY, "has no level"),
    ("streamstore/stream.py", PY + "from streamstore.novelty import x\n", "has no level"),
    ("streamstore/shard.py", PY + "print('x')\n", "print()"),
    ("streamstore/shard.py", PY + "def f():\n    raise NotImplemented" + "Error\n", "a stub"),
    ("streamstore/shard.py", "from __future__ import annotations\nx = 1\n", "no docstring"),
    ("streamstore/shard.py", '"""Top."""\nx = 1\n', "annotations"),
    ("streamstore/shard.py", LONG_PYTHON, "f() has 61 lines"),
    ("streamstore/util" + "s.py", PY, "says nothing"),
    ("csrc/com" + "mon.h", H.format(""), "says nothing"),
    ("tests/test_x.py", PY + "def test_y():\n    assert 1\n", "test_y() has no docstring"),
    ("tests/test_x.py", PY + "x = 1\n" * 500, "503 lines"),
    ("csrc/x.c", "/* Top. */\n/* " + "x" * 120 + " */\n", "a line of 126"),
    ("csrc/x.c", "int x;\n", "no comment at the top"),
    ("csrc/x.h", "/* Top. */\nint x;\n", "no include guard STREAMSTORE_X_H"),
    ("csrc/y.h", H.format("int x;"), "no include guard STREAMSTORE_Y_H"),
    ("csrc/x.h", "/* Top. No include guard, on\n * purpose. */\n" + H.format(""), "it says it has not"),
    ("csrc/x.h", "/* Top. */\n/* No include guard, on purpose. */\n", "no include guard"),
    ("csrc/record.c", '/* Top. */\n#include "file.h"\n', "bytes includes file.h, which is of system"),
    ("csrc/file.c", '/* Top. */\n#include "format.h"\n', "system includes format.h, which is of bytes"),
    ("csrc/segment_x.h", H.format('#include "log.h"'), "parts includes log.h, which is of whole"),
    ("csrc/novelty.c", "/* Top. */\n", "in no group"),
    ("csrc/x.c", LONG_C, "ss_f() has 104 lines"),
    ("csrc/x.c", "/* Top. TO" + "DO */\n", "undone"),
    ("docs/x.md", "This does for " + "now.\n", "later"),
    ("Makefile", f"cp {WORK}/x .\n", "a path of the workplace"),
    ("README.md", "see iss" + "ues show 2\n", "a tool of the workplace"),
    ("README.md", "https://py" + "pi.org/x\n", "registry"),
]


@pytest.mark.parametrize(("path", "text", "complaint"), BAD)
def test_a_rule_bites(path, text, complaint):
    """A file that breaks a rule is complained about, by that rule."""
    found = list(rules.complaints(path, text))
    assert any(complaint in each for each in found), found


GOOD = [
    ("streamstore/stream.py", PY + "from streamstore.shard import Shard\nimport json\n"),
    ("streamstore/store.py", PY + "def f():\n    from streamstore.queue import Queue\n"),
    ("streamstore/store.py", PY + "if TYPE_CHECKING:\n    from streamstore.queue import Queue\n"),
    ("streamstore/queue.py", PY + "from streamstore import open\n"),
    ("streamstore/__init__.py", PY + "from streamstore.store import Store\n"),
    ("streamstore/server/http.py", PY + "from . import frames\nfrom ..store import Store\n"),
    ("streamstore/native.py", PY + "from streamstore import _core, _hot\n"),
    ("streamstore/cli.py", PY + "print(1)\n"),
    ("streamstore/shard.py", PY + "def f():\n" + "    a = 1\n" * 59),
    ("csrc/ranges.h", "/* T. */\n#ifndef STREAMSTORE_RANGES_H\n#define STREAMSTORE_RANGES_H\n#endif\n"),
    ("csrc/log_seek.c", '/* Top. */\n#include <stdio.h>\n#include "log.h"\n#include "file.h"\n'),
    ("csrc/python/x.h", H.format("int x;")),
    ("csrc/md5_lanes.h", "/* Top. No include guard, on\n * purpose. */\nint NAME(x);\n"),
]


@pytest.mark.parametrize(("path", "text"), GOOD)
def test_a_rule_lets_good_code_pass(path, text):
    """A file that obeys the rules is not complained about."""
    assert list(rules.complaints(path, text)) == []


def test_functions_are_found_in_c():
    """The scan sees a definition with its whole length, whatever its head looks like, and no declaration."""
    text = (
        "ss_status ss_a(int x);\n"
        "static inline int b(void)\n{\n}\n"
        "static const char *const names[] = {\n    0,\n};\n"
        "struct s {\n    int (*call)(int);\n};\n"
        "struct s *ss_c(int first,\n               int second)\n{\n    if (first) {\n    }\n}\n"
        "int ss_d(void) {\n}\n"
        '__attribute__((target("avx2"), cold)) static inline int e(void)\n{\n}\n'
    )
    found = [("b", True, 2, 4), ("ss_c", False, 11, 16), ("ss_d", False, 17, 18), ("e", True, 19, 21)]
    assert list(rules.c_functions(text)) == found


def test_a_foreign_export_is_found():
    """A visible name that is neither the file's nor the public header's is reported."""
    text = "int ss_ring_x(void)\n{\n}\nint ss_log(void)\n{\n}\nint ss_log_y(void)\n{\n}\nint other(void)\n{\n}\n"
    found = list(rules.c_exports("csrc/ring_read.c", text, frozenset({"ss_log"})))
    assert [each.split(": ")[1].split("(")[0] for each in found] == ["ss_log_y", "other"]
    assert rules.declared("/* ss_no(1) */ int ss_log(int x);\nvoid ss_b(void);") == {"ss_log", "ss_b"}


def test_a_hole_in_the_map_is_found():
    """A file that is missing on the map, and one that is only on the map, are both reported."""
    architecture = "- `csrc/md5.c, md5.h`: the hash\n- `log.[ch]`\n- `streamstore/gone.py`: nothing\n"
    paths = ["csrc/md5.c", "csrc/md5.h", "csrc/log.c", "csrc/log.h", "csrc/catalog.c", "streamstore/log.py"]
    assert rules.unmapped(paths, architecture) == ["csrc/catalog.c", "streamstore/log.py"]
    assert rules.dangling(paths, architecture) == ["streamstore/gone.py"]


def test_the_lazy_upward_imports_go_upward():
    """The list of exceptions holds only what would otherwise be forbidden."""
    assert all(rules.LEVELS[a] < rules.LEVELS[b] for a, b in rules.LAZY_UPWARD)


def test_every_python_file_parses_on_the_oldest_python():
    """No file uses syntax that Python 3.10 has not."""
    for path, text in FILES.items():
        if path.endswith(".py"):
            ast.parse(text, filename=path, feature_version=(3, 10))
