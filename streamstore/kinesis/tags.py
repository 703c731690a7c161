"""Tags of streams and consumers, by the older operations and the newer ones."""

from __future__ import annotations

import unicodedata
from typing import Any

from streamstore.kinesis import errors, resources, settings
from streamstore.kinesis.call import Call, Request
from streamstore.kinesis.settings import Settings

TAGS_MAX = 50
RESERVED = "aws:"
_MARKS = frozenset("_./=+-%@:")


def _valid(text: str) -> bool:
    return all(char in _MARKS or char.isspace() or unicodedata.category(char)[0] in "LN" for char in text)


def merge(present: dict[str, str], more: dict[str, str | None], what: str, account: str) -> None:
    """Add tags to those of a resource. Raises InvalidArgumentException for characters, reserved keys, or too many."""
    words = [*more.keys(), *(value or "" for value in more.values())]
    if not all(map(_valid, words)):
        raise errors.invalid(
            "Some tags contain invalid characters. Valid characters: Unicode letters, digits, white space, "
            "_ . / = + - % @."
        )
    if any("%" in word for word in words):
        raise errors.invalid(
            f"Failed to add tags to {what} under account {account} because some tags contained illegal characters. The "
            "allowed characters are Unicode letters, white-spaces, '_',',','/','=','+','-','@'."
        )
    if any(key.startswith(RESERVED) for key in more):
        raise errors.invalid(
            f"Failed to add tags to {what} under account {account} because tag keys cannot begin with '{RESERVED}', "
            "which is reserved."
        )
    if len({*present, *more}) > TAGS_MAX:
        raise errors.invalid(
            f"Failed to add tags to {what} under account {account} because a given {what.split()[0]} cannot have more "
            f"than {TAGS_MAX} tags associated with it."
        )
    present.update({key: value or "" for key, value in more.items()})


def _listed(tags: dict[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in sorted(tags.items())]


# --- of a stream, by name -----------------------------------------------------------------------------------------


def add_to_stream(call: Call, request: Request) -> None:
    stream = call.stream(request)
    settings.change(stream, lambda kept: merge(kept.tags, request["Tags"], f"stream {stream.name}", call.account))


def remove_from_stream(call: Call, request: Request) -> None:
    settings.change(call.stream(request), lambda kept: _remove(kept.tags, request["TagKeys"]))


def _remove(present: dict[str, str], keys: list[str]) -> None:
    for key in keys:
        present.pop(key, None)


def list_for_stream(call: Call, request: Request) -> dict[str, Any]:
    limit = request.get("Limit", TAGS_MAX)
    after = request.get("ExclusiveStartTagKey", "")
    listed = [tag for tag in _listed(call.settings(call.stream(request)).tags) if tag["Key"] > after]
    return {"Tags": listed[:limit], "HasMoreTags": len(listed) > limit}


# --- of any resource, by ARN --------------------------------------------------------------------------------------


def add(call: Call, request: Request) -> None:
    found = resources.find(call, request["ResourceARN"])

    def edit(kept: Settings) -> None:
        present = dict(found.tags(kept))
        merge(present, request["Tags"], found.what, call.account)
        found.set_tags(kept, present)

    settings.change(found.stream, edit)


def remove(call: Call, request: Request) -> None:
    found = resources.find(call, request["ResourceARN"])

    def edit(kept: Settings) -> None:
        present = dict(found.tags(kept))
        _remove(present, request["TagKeys"])
        found.set_tags(kept, present)

    settings.change(found.stream, edit)


def list_for_resource(call: Call, request: Request) -> dict[str, Any]:
    found = resources.find(call, request["ResourceARN"])
    return {"Tags": _listed(found.tags(call.settings(found.stream)))}
