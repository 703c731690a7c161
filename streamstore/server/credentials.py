"""The credentials file: who may call, with which secret, and what each may do.

    {"keys": [{"access_key_id": "...", "secret_access_key": "...", "rights": ["read", "write", "admin"],
               "streams": ["clicks", "logs-*"], "principal": "arn:aws:iam::000000000000:user/ann"}]}

`streams` are patterns of names (all where absent), `principal` is what resource policies name.
"""

from __future__ import annotations

import fnmatch
import json
import os
import stat
from dataclasses import dataclass, field

from streamstore import InvalidArgumentError
from streamstore.kinesis.operations import ADMIN, READ, WRITE

RIGHTS = (READ, WRITE, ADMIN)


@dataclass(frozen=True)
class Credential:
    """One key. Its secret is in no repr."""

    key_id: str
    secret: str = field(repr=False)
    rights: frozenset[str] = frozenset()
    streams: tuple[str, ...] = ("*",)
    principal: str = ""

    def covers(self, name: str) -> bool:
        """Is the stream of that name among its streams?"""
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self.streams)


def load(path: str) -> dict[str, Credential]:
    """The keys of a file, by id. Raises InvalidArgumentError for a file that others can read, or without form."""
    try:
        with open(path, encoding="utf-8") as file:
            mode = os.fstat(file.fileno()).st_mode
            if mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise InvalidArgumentError(f"{path} holds secrets, and others may open it: chmod 600 {path}")
            document = json.load(file)
        found = [_credential(item) for item in document["keys"]]
    except OSError as error:
        raise InvalidArgumentError(f"{path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, InvalidArgumentError):
            raise
        # Not the error's own text: it may quote the file.
        raise InvalidArgumentError(f"{path} is no credentials file ({type(error).__name__})") from None
    if not found:
        raise InvalidArgumentError(f"{path} has no keys")
    return {item.key_id: item for item in found}


def _credential(item: dict[str, object]) -> Credential:
    key_id, secret = item["access_key_id"], item["secret_access_key"]
    rights, streams = item.get("rights", []), item.get("streams", ["*"])
    if not isinstance(key_id, str) or not isinstance(secret, str) or not key_id or not secret:
        raise ValueError("a key without id or secret")
    if not isinstance(rights, list) or not isinstance(streams, list) or not set(rights) <= set(RIGHTS):
        raise InvalidArgumentError(f"the rights of key {key_id} are a list out of {', '.join(RIGHTS)}")
    return Credential(key_id, secret, frozenset(rights), tuple(map(str, streams)), str(item.get("principal", "")))
