"""The Kinesis API over a store: one table of operations behind two doors, boto3 in process and HTTP."""

from __future__ import annotations
