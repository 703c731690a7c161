"""The file that holds master keys: made, read and added to. Knows bytes and files, and never shows a key.

One key a line, 64 hexadecimal digits, the present one first; empty lines and what follows a # are ignored. Only its
owner may be able to read it.
"""

from __future__ import annotations

import os
import secrets
import stat

from streamstore.errors import InvalidArgumentError, KeyUnavailableError, StorageError

_KEY_SIZE = 32
_SIZE_MAX = 64 * 1024
_TITLE = "# streamstore master keys: the first wraps new data keys, all of them unwrap. Keep it secret, and keep it.\n"


def read_masters(path: str) -> list[bytes]:
    """The keys in the file, at least one. KeyUnavailableError where it is missing, open to others, or holds no keys."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise KeyUnavailableError(f"the key file {path} cannot be opened ({error.strerror})") from None
    with os.fdopen(handle, "rb") as file:
        facts = os.fstat(handle)
        if not stat.S_ISREG(facts.st_mode):
            raise KeyUnavailableError(f"{path} is not a file of keys")
        if facts.st_mode & 0o077:
            raise KeyUnavailableError(
                f"the key file {path} is open to others (mode {stat.S_IMODE(facts.st_mode):04o}): chmod 600 it"
            )
        raw = file.read(_SIZE_MAX)
    keys = []
    for number, line in enumerate(raw.decode("ascii", "replace").splitlines(), 1):
        digits = line.partition("#")[0].strip()
        if not digits:
            continue
        try:
            key = bytes.fromhex(digits)
        except ValueError:
            key = b""
        if len(key) != _KEY_SIZE:
            raise KeyUnavailableError(f"the key file {path}, line {number}: no key of 64 hexadecimal digits")
        keys.append(key)
    if not keys:
        raise KeyUnavailableError(f"the key file {path} holds no key")
    return keys


def create(path: str) -> bytes:
    """Make a file with one new master key and return the key; durable at return.

    Raises InvalidArgumentError where something stands there: no key is ever written over. StorageError.
    """
    key = secrets.token_bytes(_KEY_SIZE)
    try:
        _write(path, [key])
    except FileExistsError:
        raise InvalidArgumentError(f"{path} exists already, and no key is ever written over") from None
    except OSError as error:
        raise _failed(path, error) from None
    _sync_directory(path)
    return key


def add(path: str) -> bytes:
    """Put a new master key in front of those in the file and return it; durable at return.

    What is wrapped under the older ones stays readable. Raises KeyUnavailableError, StorageError.
    """
    keys = [secrets.token_bytes(_KEY_SIZE), *read_masters(path)]
    real = os.path.realpath(path)
    aside = f"{real}.new"
    try:
        if os.path.lexists(aside):
            os.unlink(aside)  # left by a crash; it never had the name that counts
        _write(aside, keys)
        os.rename(aside, real)
    except OSError as error:
        raise _failed(path, error) from None
    _sync_directory(real)
    return keys[0]


def _write(path: str, keys: list[bytes]) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "w", encoding="ascii") as file:
        os.fchmod(handle, 0o600)  # whatever the umask
        file.write(_TITLE + "".join(f"{key.hex()}\n" for key in keys))
        file.flush()
        os.fsync(handle)


def _sync_directory(path: str) -> None:
    handle = os.open(os.path.dirname(os.path.abspath(path)), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _failed(path: str, error: OSError) -> StorageError:
    failure = StorageError(f"the key file {path} cannot be written ({error.strerror})")
    failure.errno = error.errno or 0
    return failure
