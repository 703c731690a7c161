"""What the documents tell a reader to type works, in the order in which it stands there."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import documents
import pytest

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
DOCUMENTS = [README, *sorted((ROOT / "docs").glob("*.md"))]

# A command that ends only by Ctrl-C gets one after this long, and must take it well.
ENDLESS = re.compile(r"--follow\b|\bstreamstore serve\b")
ENDLESS_SECONDS = 3
COMMAND_SECONDS = 100

ACCESS_LOG = "".join(
    f'10.0.0.{i % 7} - - [17/May/2015:10:{i // 60:02}:{i % 60:02} +0000] "GET /{i} HTTP/1.1" 200 {i} "-" "agent/1.0"\n'
    for i in range(300)
)
JSON_LINES = "".join(
    f'{{"user": "user-{i % 7}", "n": {i}, "time": "2024-05-17T10:{i // 60:02}:{i % 60:02}Z"}}\n' for i in range(300)
)


@pytest.fixture
def workplace(tmp_path):
    """Give a directory with the input files that the documents speak of."""
    for name in ("access.log", "app.log"):
        (tmp_path / name).write_text(ACCESS_LOG)
    for name in ("events.jsonl", "clicks.jsonl"):
        (tmp_path / name).write_text(JSON_LINES)
    return tmp_path


def test_the_readme_has_a_python_block_and_a_command():
    """The README shows a program and a command line; without them the tests below would prove nothing."""
    assert documents.python_to_run(README)
    assert documents.commands(README.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_the_python_of_a_document_runs(path, workplace):
    """The Python blocks of one document, taken as one program in a new directory, run without error or warning."""
    found = documents.python_to_run(path)
    if not found:
        pytest.skip("no Python block to run")
    program = f"{path.stem}_document.py"  # not queue.py, which a module of Python's own is called
    (workplace / program).write_text(documents.script(path, found), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", program],
        cwd=workplace, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_the_commands_of_the_readme_run(workplace):
    """The `streamstore` lines of the README, typed one after the other in a new directory, all exit with 0."""
    environment = dict(os.environ, PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    for line, command in documents.commands(README.read_text(encoding="utf-8")):
        output, status = type_in(command, workplace, environment)
        assert status == 0, f"README.md:{line}: {command}\nexit {status}\n{output}"


def type_in(command: str, directory: Path, environment: dict[str, str]) -> tuple[str, int]:
    """Run one command line in a shell and return (output, exit status); an endless one is interrupted from outside."""
    process = subprocess.Popen(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=directory, env=environment, text=True, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        output, _ = process.communicate(timeout=ENDLESS_SECONDS if ENDLESS.search(command) else COMMAND_SECONDS)
        return output, process.returncode
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGINT)
    try:
        output, _ = process.communicate(timeout=10)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        return output + "\n(Ctrl-C did not end it)", -signal.SIGKILL
    ended_by_us = ENDLESS.search(command) and process.returncode in {0, 130, -signal.SIGINT}
    return output, 0 if ended_by_us else process.returncode or 1


# ---- The reader of documents is itself tested: a block that it overlooks would never be run. ----

DOCUMENT = """# X
```python
a = 1
```
text
<!-- not runnable: needs a service -->
```python
b = 2
```
```console
$ streamstore list data/ \\
    --json
{"clicks"}
$ ls
$ cat x | streamstore put data/ clicks
```
<!-- runnable -->
```python
c = 3
```
```bash
# streamstore nothing
streamstore read data/ clicks
.venv/bin/streamstore stat data/
make demo
```
"""


def test_blocks_to_run_are_found(tmp_path):
    """All Python of a README runs but what says why not; elsewhere only what is marked."""
    for name, expected in (("README.md", ["a = 1\n", "c = 3\n"]), ("format.md", ["c = 3\n"])):
        (tmp_path / name).write_text(DOCUMENT)
        assert [block.text for block in documents.python_to_run(tmp_path / name)] == expected


def test_a_script_keeps_the_line_numbers(tmp_path):
    """A traceback of the joined program points at the line in the document."""
    (tmp_path / "README.md").write_text(DOCUMENT)
    found = documents.python_to_run(tmp_path / "README.md")
    lines = documents.script(tmp_path / "README.md", found).splitlines()
    assert [(number, line) for number, line in enumerate(lines, 1) if line] == [(3, "a = 1"), (19, "c = 3")]


def test_commands_are_found():
    """Prompts, continued lines, pipes and a path before the program are understood; output is not run."""
    assert documents.commands(DOCUMENT) == [
        (11, "streamstore list data/     --json"),
        (15, "cat x | streamstore put data/ clicks"),
        (23, "streamstore read data/ clicks"),
        (24, "streamstore stat data/"),
    ]


def test_a_failing_and_an_endless_command_are_told_apart(tmp_path):
    """A command's failure is seen; one that follows is interrupted and counts as good when it ends."""
    environment = dict(os.environ)
    assert type_in("exit 3", tmp_path, environment) == ("", 3)
    assert type_in("echo x; exec sleep 60 # --follow", tmp_path, environment) == ("x\n", 0)
