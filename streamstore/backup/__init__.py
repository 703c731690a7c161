"""Backup and what goes with it: snapshot and restore of a store, verifying all of it, repairing what is damaged."""

from __future__ import annotations

from streamstore.backup.repairing import RepairResult, repair
from streamstore.backup.restoring import restore
from streamstore.backup.snapshot import SnapshotResult, snapshot
from streamstore.backup.verifying import Report, verify

__all__ = ["RepairResult", "Report", "SnapshotResult", "repair", "restore", "snapshot", "verify"]
