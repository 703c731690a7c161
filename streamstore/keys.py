"""Key rings: whoever wraps the data keys of streams under a master key, and unwraps them.

A data key is 32 random bytes; the catalog holds it wrapped, and nothing holds it plain but memory. Knows no stream and
no record. No message, repr or pickle of anything here has a key in it.

What a ring makes of a data key is a plain map that the catalog keeps:

    ring    "master", "callable" or "kms": which kind can unwrap it
    master  which master key it was (a fingerprint, or the key's id in KMS)
    box     the wrapped key; of a "master" ring nonce 12, ciphertext 32, tag 16 (AES-256-GCM over the context)
"""

from __future__ import annotations

import hashlib
import importlib
import os
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from streamstore.errors import InvalidArgumentError, InvalidTypeError, KeyUnavailableError
from streamstore.key_file import read_masters

DATA_KEY_SIZE = 32
Unseal = Callable[[int, bytes, bytes, bytes], bytes]
_NONCE_SIZE = 12
_TAG_SIZE = 16


class KeyContext(NamedTuple):
    """What a wrapped data key is bound to: it unwraps for no other store, stream or key id."""

    store_id: str
    stream_id: int
    key_id: int

    def to_map(self) -> dict[str, str]:
        """As KMS takes it: its encryption context, which its logs show."""
        return {
            "streamstore:store": self.store_id,
            "streamstore:stream": str(self.stream_id),
            "streamstore:key": str(self.key_id),
        }

    def to_bytes(self) -> bytes:
        """As a cipher takes it."""
        return f"streamstore key {self.store_id}/{self.stream_id}/{self.key_id}".encode()


def cipher(key: bytes) -> Any:
    """AES-256-GCM under that key. KeyUnavailableError where the package for it is missing."""
    try:
        aead = importlib.import_module("cryptography.hazmat.primitives.ciphers.aead")
    except ImportError:
        raise KeyUnavailableError(
            "encryption needs the package cryptography: install streamstore-kinesis[crypto]"
        ) from None
    return aead.AESGCM(key)


class KeyRing(ABC):
    """Wraps and unwraps data keys. To make one of your own, `CallableKeyRing` is usually enough."""

    kind: str
    name: str
    """What messages call it."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    def _reference(self) -> tuple[Any, ...]:
        """What a ring is told by from others of its class."""
        return (id(self),)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, KeyRing) and type(self) is type(other) and self._reference() == other._reference()

    def __hash__(self) -> int:
        return hash((type(self), self._reference()))

    def generate(self, context: KeyContext, master: str | None = None) -> tuple[bytes, dict[str, Any]]:
        """A new data key, and the same wrapped."""
        key = secrets.token_bytes(DATA_KEY_SIZE)
        return key, self.wrap(key, context, master)

    @abstractmethod
    def wrap(self, key: bytes, context: KeyContext, master: str | None = None) -> dict[str, Any]:
        """The key as the catalog may hold it, under the ring's present master key or the one named."""

    @abstractmethod
    def unwrap(self, wrapped: Mapping[str, Any], context: KeyContext) -> bytes:
        """The key itself. Raises KeyUnavailableError."""

    def _check(self, wrapped: Mapping[str, Any]) -> bytes:
        if wrapped.get("ring") != self.kind:
            raise KeyUnavailableError(f"it was wrapped by a ring of kind {wrapped.get('ring')!r}, not {self.kind!r}")
        box = wrapped.get("box")
        if not isinstance(box, bytes):
            raise KeyUnavailableError("the catalog holds no wrapped key for it")
        return box


class MasterKeyRing(KeyRing):
    """Data keys wrapped under a master key of 32 bytes that is at hand. Of several the first wraps, all unwrap."""

    kind = "master"

    @abstractmethod
    def masters(self) -> list[bytes]:
        """The master keys, the present one first; at least one. Raises KeyUnavailableError."""

    def wrap(self, key: bytes, context: KeyContext, master: str | None = None) -> dict[str, Any]:
        """The key under the first master. `master` may name only that one."""
        present = self.masters()[0]
        if master is not None and master != fingerprint(present):
            raise InvalidArgumentError(f"{self.name} wraps under its first master key, {fingerprint(present)}")
        nonce = secrets.token_bytes(_NONCE_SIZE)
        box = nonce + cipher(present).encrypt(nonce, key, context.to_bytes())
        return {"ring": self.kind, "master": fingerprint(present), "box": box}

    def unwrap(self, wrapped: Mapping[str, Any], context: KeyContext) -> bytes:
        """The key itself. KeyUnavailableError where the ring has not the master, or the box was tampered with."""
        box = self._check(wrapped)
        wanted = wrapped.get("master")
        if len(box) != _NONCE_SIZE + DATA_KEY_SIZE + _TAG_SIZE:
            raise KeyUnavailableError("the catalog holds no whole key for it")
        for master in self.masters():
            if fingerprint(master) == wanted:
                try:
                    key: bytes = cipher(master).decrypt(box[:_NONCE_SIZE], box[_NONCE_SIZE:], context.to_bytes())
                except tag_errors():
                    raise KeyUnavailableError(
                        f"the wrapped key does not hold under master key {wanted}: the catalog was tampered with"
                    ) from None
                return key
        raise KeyUnavailableError(f"it is wrapped under master key {wanted}, which the ring does not have")


class FileKeyRing(MasterKeyRing):
    """The master keys in a file of one's own: mode 0600, one a line as 64 hexadecimal digits, the present one first."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.path.abspath(os.fsdecode(path))
        self.name = f"file {self.path}"

    def masters(self) -> list[bytes]:
        """Read anew each time, so that a master key that was added is there at once."""
        return read_masters(self.path)

    def _reference(self) -> tuple[str]:
        return (self.path,)

    def __reduce__(self) -> tuple[Callable[..., FileKeyRing], tuple[str]]:
        return FileKeyRing, self._reference()


class EnvironmentKeyRing(MasterKeyRing):
    """The master keys in an environment variable: 64 hexadecimal digits each, apart by spaces or commas."""

    def __init__(self, variable: str) -> None:
        self.variable = variable
        self.name = f"environment variable {variable}"

    def masters(self) -> list[bytes]:
        """What the variable holds now."""
        words = os.environ.get(self.variable, "").replace(",", " ").split()
        if not words:
            raise KeyUnavailableError(f"the environment variable {self.variable} is not set")
        try:
            found = [bytes.fromhex(word) for word in words]
        except ValueError:
            found = []
        if not found or any(len(key) != DATA_KEY_SIZE for key in found):
            raise KeyUnavailableError(f"the environment variable {self.variable} holds no key of 64 hexadecimal digits")
        return found

    def _reference(self) -> tuple[str]:
        return (self.variable,)

    def __reduce__(self) -> tuple[Callable[..., EnvironmentKeyRing], tuple[str]]:
        return EnvironmentKeyRing, self._reference()


class CallableKeyRing(KeyRing):
    """Data keys wrapped by functions: `wrap(key, context)` gives bytes, `unwrap(box, context)` gives the key again.

    The context is a dict of str. Whatever `unwrap` raises becomes a KeyUnavailableError. Pickles if the functions do.
    """

    kind = "callable"

    def __init__(
        self,
        wrap: Callable[[bytes, dict[str, str]], bytes],
        unwrap: Callable[[bytes, dict[str, str]], bytes],
        name: str = "callable",
    ) -> None:
        self.name = name
        self._wrap, self._unwrap = wrap, unwrap

    def wrap(self, key: bytes, context: KeyContext, master: str | None = None) -> dict[str, Any]:
        """The key as the function wraps it."""
        try:
            box = self._wrap(key, context.to_map())
        except Exception as error:
            raise KeyUnavailableError(f"{self.name}: wrapping failed with {type(error).__name__}") from None
        if not isinstance(box, bytes):
            raise InvalidTypeError(f"{self.name}: wrap() gives bytes, not {type(box).__name__}")
        return {"ring": self.kind, "master": master or "", "box": box}

    def unwrap(self, wrapped: Mapping[str, Any], context: KeyContext) -> bytes:
        """The key as the function unwraps it."""
        box = self._check(wrapped)
        try:
            key = self._unwrap(box, context.to_map())
        except Exception as error:
            # Neither its text nor its traceback: they may hold what it worked with.
            raise KeyUnavailableError(f"unwrapping failed with {type(error).__name__}") from None
        if type(key) is not bytes or len(key) != DATA_KEY_SIZE:
            raise KeyUnavailableError(f"unwrap() gave no key of {DATA_KEY_SIZE} bytes")
        return key

    def _reference(self) -> tuple[Any, ...]:
        return (self._wrap, self._unwrap, self.name)

    def __reduce__(self) -> tuple[Callable[..., CallableKeyRing], tuple[Any, ...]]:
        return CallableKeyRing, self._reference()


class KmsKeyRing(KeyRing):
    """Data keys wrapped by AWS KMS under a key of it (id, ARN or alias), through boto3 (the extra `kms`).

    `client` is what boto3.client("kms") gives, made at first use where it is None; it is not pickled. Store, stream and
    key id are the encryption context. KMS must be reached once a data key and process.
    """

    kind = "kms"

    def __init__(self, key_id: str, client: Any = None) -> None:
        if not key_id:
            raise InvalidArgumentError("a KMS key has an id, an ARN or an alias; 'kms:' alone names none")
        self.key_id = key_id
        self.name = f"KMS key {key_id}"
        self._client = client

    def _call(self, operation: str, **arguments: Any) -> Any:
        if self._client is None:
            try:
                boto3 = importlib.import_module("boto3")
            except ImportError:
                raise KeyUnavailableError("AWS KMS needs the package boto3: install streamstore-kinesis[kms]") from None
            self._client = boto3.client("kms")
        try:
            return getattr(self._client, operation)(**arguments)
        except Exception as error:
            code = _code_of(error)
            raise KeyUnavailableError(f"{self.name}: {operation} failed with {code}") from None

    def generate(self, context: KeyContext, master: str | None = None) -> tuple[bytes, dict[str, Any]]:
        """A data key that KMS made."""
        key_id = master or self.key_id
        answer = self._call("generate_data_key", KeyId=key_id, KeySpec="AES_256", EncryptionContext=context.to_map())
        return answer["Plaintext"], {"ring": self.kind, "master": key_id, "box": answer["CiphertextBlob"]}

    def wrap(self, key: bytes, context: KeyContext, master: str | None = None) -> dict[str, Any]:
        """The key as KMS encrypts it."""
        key_id = master or self.key_id
        answer = self._call("encrypt", KeyId=key_id, Plaintext=key, EncryptionContext=context.to_map())
        return {"ring": self.kind, "master": key_id, "box": answer["CiphertextBlob"]}

    def unwrap(self, wrapped: Mapping[str, Any], context: KeyContext) -> bytes:
        """The key as KMS decrypts it."""
        box = self._check(wrapped)
        answer = self._call(
            "decrypt",
            KeyId=wrapped.get("master") or self.key_id,
            CiphertextBlob=box,
            EncryptionContext=context.to_map(),
        )
        key: bytes = answer["Plaintext"]
        return key

    def _reference(self) -> tuple[str]:
        return (self.key_id,)

    def __reduce__(self) -> tuple[Callable[..., KmsKeyRing], tuple[str]]:
        return KmsKeyRing, self._reference()


def _code_of(error: Exception) -> str:
    """What botocore calls it, never its text."""
    response = getattr(error, "response", None)
    code = response.get("Error", {}).get("Code") if isinstance(response, dict) else None
    return str(code or type(error).__name__)


def fingerprint(master: bytes) -> str:
    """What tells master keys apart in messages and in the catalog: 16 digits of a hash that no key follows from."""
    return hashlib.sha256(b"streamstore master key" + master).hexdigest()[:16]


def ring_of(value: Any) -> KeyRing | None:
    """The ring that a caller means: a KeyRing, a path, "env:NAME", "kms:KEY" or None.

    Raises InvalidTypeError, InvalidArgumentError.
    """
    if value is None or isinstance(value, KeyRing):
        return value
    if isinstance(value, str) and value.startswith("env:"):
        return EnvironmentKeyRing(value.removeprefix("env:"))
    if isinstance(value, str) and value.startswith("kms:"):
        return KmsKeyRing(value.removeprefix("kms:"))
    if isinstance(value, (str, os.PathLike)) and os.fspath(value):
        return FileKeyRing(value)
    raise InvalidTypeError(f"key_ring is a path, 'env:NAME', 'kms:KEY', a KeyRing or None, not {type(value).__name__}")


def tag_errors() -> type[Exception]:
    """What a cipher raises for bytes that it did not make; to be asked only where there is one."""
    found: type[Exception] = importlib.import_module("cryptography.exceptions").InvalidTag
    return found
