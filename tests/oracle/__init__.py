"""Random operations on a store (`machine`) held against plain lists (`expected`). `python -m oracle` runs long."""

from __future__ import annotations
