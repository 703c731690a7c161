"""Load on any stream, open loop: operations at planned moments, and how long each took from its planned moment on."""

from __future__ import annotations

from streamstore.bench.load.plan import WORKLOADS, LoadPlan
from streamstore.bench.load.running import run_load
from streamstore.bench.load.tally import Tally

__all__ = ["LoadPlan", "Tally", "WORKLOADS", "run_load"]
