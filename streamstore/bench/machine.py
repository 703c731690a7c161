"""Facts about the machine that a figure means nothing without."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path


def facts(directory: Path) -> dict[str, str]:
    """Return processor, memory, kernel, Python, compiler, and the file system that holds `directory`."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    kind, device, options = mount_of(directory)
    return {
        "cpu": _field("/proc/cpuinfo", "model name") or platform.machine(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{memory / 2**30:.1f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "compiler": _first_line(os.environ.get("CC", "gcc"), "--version"),
        "filesystem": f"{kind} ({options})",
        "device": device,
        "load at the start": " ".join(f"{value:.2f}" for value in os.getloadavg()),
        "virtual machine": "yes" if "hypervisor" in _field("/proc/cpuinfo", "flags").split() else "no",
    }


def mount_of(directory: Path) -> tuple[str, str, str]:
    """Return the type, device and mount options of the file system that holds a directory."""
    best: tuple[int, tuple[str, str, str]] = (-1, ("unknown", "unknown", ""))
    resolved = directory.resolve()
    for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines():
        device, point, kind, options = line.split()[:4]
        where = Path(point.replace("\\040", " "))
        if (where == resolved or where in resolved.parents) and len(where.parts) >= best[0]:
            best = (len(where.parts), (kind, device, options))
    return best[1]


def commit(root: Path) -> str:
    """Return the short commit of the checkout, with a mark where files differ from it; empty outside git."""
    name = _first_line("git", "-C", str(root), "rev-parse", "--short", "HEAD")
    if not name:
        return ""
    changed = _first_line("git", "-C", str(root), "status", "--porcelain", "--untracked-files=no")
    return f"{name}+changes" if changed else name


def private_bytes(process: int | str = "self") -> int:
    """Return the anonymous resident memory (RssAnon) of a process."""
    return int(_field(f"/proc/{process}/status", "RssAnon").split()[0]) * 1024


def disk_bytes(directory: Path) -> int:
    """Return the space that the files under a directory take on disk."""
    return sum(path.lstat().st_blocks * 512 for path in directory.rglob("*"))


def descriptors() -> int:
    """Return how many descriptors this process has open."""
    return len(os.listdir("/proc/self/fd")) - 1


def _field(path: str, name: str) -> str:
    with open(path, encoding="utf-8") as lines:
        return next((line.split(":", 1)[1].strip() for line in lines if line.split(":")[0].strip() == name), "")


def _first_line(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.splitlines()[0].strip() if done.returncode == 0 and done.stdout else ""
