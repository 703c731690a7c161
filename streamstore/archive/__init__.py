"""A stream as a file, and back: archives of our own, JSON lines, Parquet."""

from __future__ import annotations

from streamstore.archive.exporting import ExportResult, export_stream
from streamstore.archive.importing import ImportResult, import_stream

__all__ = ["ExportResult", "ImportResult", "export_stream", "import_stream"]
