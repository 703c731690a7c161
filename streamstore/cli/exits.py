"""Exit codes, and what each error of the library tells a person to do. Knows errors, not verbs."""

from __future__ import annotations

import os

from streamstore import errors

OK = 0
FAILED = 1
USAGE = 2
NOT_FOUND = 3
DAMAGED = 4
INTERRUPTED = 130
PIPE_CLOSED = 141


class VerbError(Exception):
    """A verb cannot go on: one line that says what to do, and the exit code."""

    def __init__(self, message: str, code: int = FAILED) -> None:
        super().__init__(message)
        self.code = code


# The first class that fits gives the code and the advice; `{}` takes the error's own text.
_ADVICE: tuple[tuple[type[BaseException], int, str], ...] = (
    (errors.StreamNotFoundError, NOT_FOUND, "{}; `streamstore list DIR` shows what there is"),
    (errors.StreamExistsError, FAILED, "a stream of that name is there already; --exist-ok takes it as it is"),
    (errors.TrimmedError, FAILED, "{}; --start TRIM_HORIZON begins at the oldest record there is"),
    (errors.StoreFullError, FAILED, "{}; nothing acknowledged is lost: make space and run it again"),
    (
        errors.DurabilityUnknownError,
        FAILED,
        "{}; a sync failed: check the disk, end every process on the store, then run it again",
    ),
    (errors.RecordTooLargeError, FAILED, "{}; the stream's limit is shown by `streamstore describe DIR STREAM`"),
    (errors.ForeignFileError, FAILED, "{}"),
    (errors.FormatVersionError, FAILED, "{}; use the release that wrote it, or a newer one"),
    (errors.ReadOnlyError, FAILED, "{}; the directory or the medium cannot be written to"),
    (errors.StaleHandleError, FAILED, "{}; the store was reopened by others after a failed sync: run it again"),
    (errors.InvalidArgumentError, USAGE, "{}"),
    (errors.InvalidTypeError, USAGE, "{}"),
)


def explain(error: BaseException) -> tuple[int, str]:
    """Return the exit code and the one line for `error`."""
    if isinstance(error, VerbError):
        return error.code, _one_line(str(error))
    if isinstance(error, errors.CorruptRangeError):
        more = "; `streamstore verify DIR STREAM` shows all, `read --skip-damaged` reads the rest"
        return DAMAGED, damage_line(error) + (more if error.shard_id else "")
    for kind, code, advice in _ADVICE:
        if isinstance(error, kind):
            return code, _one_line(advice.format(str(error)))
    if isinstance(error, FileNotFoundError):
        return NOT_FOUND, f"{os.fspath(error.filename or '')}: there is no such file"
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        return FAILED, f"{place}{error.strerror or error}"
    if isinstance(error, errors.StreamStoreError):
        return FAILED, _one_line(str(error))
    if type(error).__module__.startswith("botocore"):  # what a Kinesis endpoint answered, or that it does not
        return FAILED, _one_line(str(error))
    return FAILED, _one_line(f"internal error, please report it: {type(error).__name__}: {error} (--debug shows where)")


def damage_line(error: errors.CorruptRangeError) -> str:
    """Which bytes and which sequence numbers a damaged range takes."""
    if error.shard_id is None:
        return _one_line(str(error))
    where = f"{error.shard_id}: bytes {error.begin} to {error.end} are damaged"
    return f"{where}, sequence numbers {error.first} to {error.last}"


def _one_line(text: str) -> str:
    return " ".join(text.split())
