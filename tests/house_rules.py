"""The rules of the house as functions from a file's text to complaints; the tables hold the exceptions, with reasons.

Knows nothing about pytest or which files exist: test_house_rules.py brings the tree and proves that each rule bites.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import PurePosixPath

FILE_LINES_MAX = 500
LINE_LENGTH_MAX = 120
PYTHON_FUNCTION_LINES_MAX = 60
C_FUNCTION_LINES_MAX = 100

# DESIGN, section 4: a module imports only from lower levels; a package has one level, and may use itself freely.
# Steps of a tenth order modules of one level of the design among themselves.
LEVELS: dict[str, float] = {
    "errors": 0,
    "limits": 0,
    "clock": 0,
    "values": 0,
    "native": 1,
    "routing": 1,
    "iterators": 1,
    "retention": 1,
    "aggregation": 1.1,
    "fields": 1,  # key and time of a line
    "user_records": 1.2,  # aggregates taken apart by the reads above
    "source_lock": 1,
    "attributes": 1,
    "histogram": 1,
    "arrow": 1.5,
    "lineage": 1.4,  # the shards of one stream as a value
    "events": 1.5,  # what the catalog's log says, and what follows from it
    "bounds": 1.7,  # of a read, in each shard
    "cursor": 1.8,  # one shard of a read
    "frontier": 1.9,  # the shards of a read among themselves
    "shard": 2,
    "catalog": 2,
    "journal": 2,  # one log of events that several processes fold
    "compaction": 2,
    "compacting": 2.5,  # one stream by its logs, and all of them in turn
    "reader": 2,  # follows many shards by what native and iterators give
    "settings": 1.6,
    "description": 1.6,  # what segments say of their stream
    "reshard": 2.5,  # changes the shards of one stream
    "door": 2.6,  # puts to them
    "key_file": 1.2,
    "keys": 1.3,
    "sealing": 1.7,
    "sealed_target": 1.8,
    "block_sealing": 1.8,
    "encryption": 2.5,
    "trim": 2.6,
    "grants": 2.7,
    "keeping": 2.8,
    "newest": 2.9,
    "stream": 3,
    "stats": 3.5,
    "maintenance": 3.8,
    "store": 4,
    "opening": 4.5,
    "backup": 4.6,  # the whole directory: beside the store, over its public API and its logs
    "inner": 4.5,  # streams of the store's own, for what queues and consumers know
    "queue": 5,
    "consumer": 5,
    "producer": 5,
    "archive": 5,  # a stream as a file
    "aio": 5.5,  # twins of what is below
    "kinesis": 6,
    "targets": 6.5,  # where records are sent to: shared by replay, generate and bench
    "server": 7,
    "capture": 7,
    "replay": 7,
    "generate": 7,
    "bench": 7,
    "demo": 7,
    "cli": 8,
    "pytest_plugin": 8,
    "__main__": 9,
}
# `import streamstore` means the store's public API, for level 5 and above; the package gathers names from below 8.
PUBLIC_API_LEVEL = 4
PACKAGE_LEVEL = 8

# The only upward imports, and only inside a function or under TYPE_CHECKING: conveniences of the public API.
LAZY_UPWARD = {
    ("store", "backup"): "store.snapshot()",
    ("store", "queue"): "store.queue() and store.create_queue()",
    ("store", "kinesis"): "store.boto3_client()",
    ("stream", "consumer"): "stream.consumer()",
    ("store", "consumer"): "store.list_consumers()",
}

C_MODULES = {"_core", "_hot"}
C_MODULE_IMPORTER = "native"

# DESIGN, section 4, for the core: bytes know nothing of files, files nothing of bytes. Group -> its files (`log_seek.c`
# goes with `log.c`), and the groups whose headers they may include besides their own.
C_GROUPS: dict[str, tuple[set[str], set[str]]] = {
    "interface": ({"status", "streamstore"}, set()),
    "bytes": ({"md5", "xxh3", "lz4", "ranges", "format", "record", "columns", "aggregate"}, {"interface"}),
    "system": ({"file", "wait", "killpoint"}, {"interface"}),
    "parts": (
        {"lock", "control", "manifest", "reserve", "segment", "packed", "scan"},
        {"interface", "bytes", "system"},
    ),
    "whole": (
        {"log", "recovery", "flusher", "preparer", "worker", "store", "functions"},
        {"interface", "bytes", "system", "parts"},
    ),
}

PRINTERS = {"cli", "bench", "demo"}

BANNED_MODULE_NAMES = {"utils", "util", "helpers", "helper", "common", "misc"}

# Spelled in pieces, so that this file passes its own rule.
BANNED_WORDS = {
    "work left undone": re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b"),
    "a promise to do it later": re.compile(r"\bfor" + r" now\b", re.IGNORECASE),
    "a path of the workplace": re.compile(r"(?<![\w.])/wo" + r"rk/|/tmp/br" + r"ief\b"),
    "a tool of the workplace": re.compile(r"\biss" + r"ues (show|list|close|comment|take)\b"),
    "a package registry's host": re.compile(
        r"\bpy" + r"pi\.org|python" + r"hosted\.org|registry\.np" + r"mjs|crates\.io\b|proxy\.go" + r"lang"
    ),
}
STUB = re.compile(r"\bNotImplemented" + r"Error\b")


def complaints(path: str, text: str) -> Iterator[str]:
    """Yield what is wrong with the file at `path` (relative to the root), as `path:line: rule`."""
    suffix = PurePosixPath(path).suffix
    yield from _at(path, banned_words(text))
    if suffix in {".py", ".c", ".h"}:
        yield from _at(path, layout(text))
        yield from _at(path, module_name(path))
    if suffix in {".c", ".h"}:
        yield from _at(path, c_top(path, text))
        yield from _at(path, c_function_lengths(text))
        if PurePosixPath(path).parent.as_posix() == "csrc":
            yield from _at(path, c_layers(path, text))
    if suffix == ".py":
        tree = ast.parse(text)
        yield from _at(path, python_function_lengths(tree))
        yield from _at(path, python_top(tree))
        if path.startswith("streamstore/"):
            yield from _at(path, layers(path, tree))
            yield from _at(path, prints(path, tree))
            yield from _at(path, stubs(text))
        if path.startswith("tests/"):
            yield from _at(path, test_docstrings(tree))


def _at(path: str, found: Iterator[tuple[int, str]]) -> Iterator[str]:
    return (f"{path}:{line}: {what}" for line, what in found)


def banned_words(text: str) -> Iterator[tuple[int, str]]:
    """No word of BANNED_WORDS, in whatever file."""
    for number, line in enumerate(text.splitlines(), 1):
        for what, pattern in BANNED_WORDS.items():
            if match := pattern.search(line):
                yield number, f"{what}: {match.group()!r}"


def layout(text: str) -> Iterator[tuple[int, str]]:
    """At most 500 lines of at most 120 characters."""
    lines = text.splitlines()
    if len(lines) > FILE_LINES_MAX:
        yield len(lines), f"{len(lines)} lines in one file"
    for number, line in enumerate(lines, 1):
        if len(line) > LINE_LENGTH_MAX:
            yield number, f"a line of {len(line)} characters"


def module_name(path: str) -> Iterator[tuple[int, str]]:
    """A name says what is inside."""
    stem = PurePosixPath(path).stem
    if stem in BANNED_MODULE_NAMES:
        yield 1, f"a file called {stem!r} says nothing about what is inside"


def stubs(text: str) -> Iterator[tuple[int, str]]:
    """The package has nothing that only pretends to be there."""
    for number, line in enumerate(text.splitlines(), 1):
        if STUB.search(line):
            yield number, "a stub"


def python_top(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """A module says first what lives in it, and its annotations are lazy."""
    if not ast.get_docstring(tree):
        yield 1, "no docstring at the top"
    lazy = any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body)
    if not lazy and len(tree.body) > 1:
        yield 1, "no `from __future__ import annotations`"


def python_function_lengths(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """A function fits on a screen."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > PYTHON_FUNCTION_LINES_MAX:
                yield node.lineno, f"{node.name}() has {length} lines"


def prints(path: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Only the command line talks to people."""
    if _module_of(path) in PRINTERS:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            yield node.lineno, "print() outside of the command line"


def test_docstrings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """A test's docstring is a sentence of behaviour."""
    for node in ast.walk(tree):
        test = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
        if test and not ast.get_docstring(node):
            yield node.lineno, f"{node.name}() has no docstring"


# ---- Layers ----


def layers(path: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """A module imports only from lower levels; `native` alone imports the C modules."""
    importer = _module_of(path)
    if importer != "__init__" and importer not in LEVELS:
        yield 1, f"{importer!r} has no level: place it in LEVELS (tests/house_rules.py) and in ARCHITECTURE.md"
        return
    level = PACKAGE_LEVEL if importer == "__init__" else LEVELS[importer]
    for line, imported, lazy in _imports_of_ours(path, tree):
        if imported in C_MODULES:
            if importer != C_MODULE_IMPORTER:
                yield line, f"{importer} imports {imported}: only {C_MODULE_IMPORTER} may"
        elif imported != importer and not (lazy and (importer, imported) in LAZY_UPWARD):
            imported_level = PUBLIC_API_LEVEL if imported == "__init__" else LEVELS.get(imported)
            if imported_level is None:
                yield line, f"{imported!r} has no level: place it in LEVELS (tests/house_rules.py)"
            elif imported_level >= level:
                yield line, f"{importer} (level {level}) imports {imported} (level {imported_level})"


def _module_of(path: str) -> str:
    """The first name under the package: `server` for streamstore/server/http.py, `__init__` for the package itself."""
    return PurePosixPath(path).parts[1].removesuffix(".py")


def _imports_of_ours(path: str, tree: ast.Module) -> Iterator[tuple[int, str, bool]]:
    """Yield (line, top-level module of ours, whether it is imported only when needed or only for types)."""
    package = PurePosixPath(path).parent.parts
    for node, lazy in _statements(tree, lazy=False):
        if isinstance(node, ast.Import):
            for alias in node.names:
                parts = alias.name.split(".")
                if parts[0] == "streamstore":
                    yield node.lineno, parts[1] if len(parts) > 1 else "__init__", lazy
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            parts = base + (node.module.split(".") if node.module else [])
            if parts[:1] != ["streamstore"]:
                continue
            if len(parts) > 1:
                yield node.lineno, parts[1], lazy
                continue
            for alias in node.names:  # `from streamstore import x`: a module of ours, or a public name
                known = alias.name in LEVELS or alias.name in C_MODULES
                yield node.lineno, alias.name if known else "__init__", lazy


def _statements(node: ast.AST, *, lazy: bool) -> Iterator[tuple[ast.AST, bool]]:
    for child in ast.iter_child_nodes(node):
        function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
        types_only = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
        yield child, lazy
        yield from _statements(child, lazy=lazy or function or types_only)


# ---- C, by what our layout guarantees: a function's head begins, and its last brace stands, in column 0 ----

C_ATTRIBUTE = re.compile(r"\b__attribute__\(\((?:[^()]|\([^()]*\))*\)\)\s*")
C_HEAD = re.compile(r"^(?P<before>[A-Za-z_][\w \t*]*?)\b(?P<name>\w+)\(")
C_NOT_A_HEAD = re.compile(r"^(typedef|_Static_assert|return|else|if|for|while|switch)\b")


# What a header that is included several times, once for each instruction set, says in its first comment.
UNGUARDED = re.compile(r"^/\*(?:(?!\*/).)*\bNo include guard, on purpose\.")


def c_functions(text: str) -> Iterator[tuple[str, bool, int, int]]:
    """Yield (name, static, first line, last line) of each function defined in `text`."""
    lines = text.splitlines()
    head: tuple[str, bool, int] | None = None
    in_body = False
    for number, line in enumerate(lines, 1):
        if in_body:
            if line.startswith("}") and head is not None:
                yield head[0], head[1], head[2], number
                head, in_body = None, False
            continue
        if not C_NOT_A_HEAD.match(line) and (match := C_HEAD.match(C_ATTRIBUTE.sub("", line))):
            head = match["name"], "static" in match["before"].split(), number
        if head is not None:
            if line.rstrip().endswith("{"):
                in_body = True
            elif line.rstrip().endswith(";"):
                head = None


def c_function_lengths(text: str) -> Iterator[tuple[int, str]]:
    """A C function is at most 100 lines."""
    for name, _, first, last in c_functions(text):
        if last - first + 1 > C_FUNCTION_LINES_MAX:
            yield first, f"{name}() has {last - first + 1} lines"


def c_top(path: str, text: str) -> Iterator[tuple[int, str]]:
    """A C file begins with what lives in it; name.h has the guard STREAMSTORE_NAME_H (the public one STREAMSTORE_H)."""
    if not text.startswith("/*"):
        yield 1, "no comment at the top"
    name = PurePosixPath(path)
    if name.suffix == ".h" and UNGUARDED.search(" ".join(text[:1000].replace(" * ", "").split())):
        if "#ifndef STREAMSTORE_" in text:
            yield 1, "has the include guard that it says it has not"
    elif name.suffix == ".h":
        stem = name.stem.upper()
        guard = "STREAMSTORE_H" if stem == "STREAMSTORE" else f"STREAMSTORE_{stem}_H"
        if not re.search(rf"^#ifndef {guard}\n#define {guard}\n", text, re.MULTILINE) or not text.endswith("#endif\n"):
            yield 1, f"no include guard {guard}"


def c_layers(path: str, text: str) -> Iterator[tuple[int, str]]:
    """A core file includes only headers of its own group and of the groups that its group may know."""
    group = _c_group(PurePosixPath(path).stem)
    if group is None:
        yield 1, "in no group: place it in C_GROUPS (tests/house_rules.py) and in ARCHITECTURE.md"
        return
    for number, line in enumerate(text.splitlines(), 1):
        if match := re.match(r'#include "(\w+)\.h"', line):
            included = _c_group(match[1])
            if included != group and included not in C_GROUPS[group][1]:
                yield number, f"{group} includes {match[1]}.h, which is of {included}"


def _c_group(stem: str) -> str | None:
    words = stem.split("_")
    for count in range(len(words), 0, -1):
        for group, (files, _) in C_GROUPS.items():
            if "_".join(words[:count]) in files:
                return group
    return None


def c_exports(path: str, text: str, public: frozenset[str]) -> Iterator[str]:
    """Yield the functions of a file that are visible elsewhere under a name that is not the file's.

    `ring_read.c` exports `ss_ring_read_*` or `ss_ring_*`, or what the public header (names in `public`) declares.
    """
    words = PurePosixPath(path).stem.split("_")
    prefixes = tuple("ss_" + "_".join(words[:count]) for count in range(1, len(words) + 1))
    for name, static, line, _ in c_functions(text):
        fits = any(name == prefix or name.startswith(prefix + "_") for prefix in prefixes)
        if not static and not fits and name not in public:
            yield f"{path}:{line}: {name}() is not a name of this file"


def declared(header: str) -> frozenset[str]:
    """Return the names of all functions that a header declares."""
    code = re.sub(r"/\*.*?\*/", "", header, flags=re.DOTALL)
    return frozenset(re.findall(r"\b(ss_\w+)\(", code))


# ---- The map ----


def unmapped(paths: list[str], architecture: str) -> list[str]:
    """Return the source files that ARCHITECTURE.md does not name (`md5.[ch]` and `md5.{c,h}` name two)."""
    missing = []
    for path in paths:
        name = PurePosixPath(path)
        spellings = [name.name]
        if name.suffix in {".c", ".h"}:
            spellings += [f"{name.stem}.[ch]", f"{name.stem}.c/.h", f"{name.stem}.{{c,h}}"]
        if not any(re.search(rf"(?<![\w.]){re.escape(each)}(?!\w)", architecture) for each in spellings):
            missing.append(path)
    return missing


def dangling(paths: list[str], architecture: str) -> list[str]:
    """Return the source files that ARCHITECTURE.md names by their path and that do not exist."""
    named = set(re.findall(r"\b(?:streamstore|csrc)/[\w/]+\.(?:py|c|h)\b", architecture))
    return sorted(named - set(paths))
