"""Start- and StopStreamEncryption: any KeyId stands for a key of the store's own ring, and another one for a new key.

The ring is the one that the store was opened with; a key file that is not there yet is made when it is first needed.
"""

from __future__ import annotations

import os

from streamstore import InvalidArgumentError, KeyUnavailableError, Store, Stream, key_file, keys
from streamstore.kinesis import errors, settings
from streamstore.kinesis.call import Call, Request
from streamstore.kinesis.errors import ServiceError
from streamstore.kinesis.settings import Settings


def default_ring(directory: str | os.PathLike[str]) -> str:
    """The key file of a store that is opened for this API: beside its directory, so that no copy of it has both."""
    return f"{os.path.abspath(os.fsdecode(directory))}.keys"


def start(call: Call, request: Request) -> None:
    stream = call.active(request)
    if request["EncryptionType"] != "KMS":
        raise errors.invalid("StartStreamEncryption needs EncryptionType KMS.")
    key_id, former = request["KeyId"], call.settings(stream).key_id
    if former == key_id:
        return
    _make_key_file(call.store)
    try:
        if former:
            stream.rotate_key()
        else:
            stream.start_encryption()
    except KeyUnavailableError as error:
        raise ServiceError("KMSNotFoundException", str(error)) from None
    _keep(call, stream, key_id)


def _make_key_file(store: Store) -> None:
    ring = store.key_ring
    if isinstance(ring, keys.FileKeyRing) and not os.path.exists(ring.path):
        try:
            key_file.create(ring.path)
        except InvalidArgumentError:
            return  # another process was faster


def stop(call: Call, request: Request) -> None:
    stream = call.active(request)
    if request["EncryptionType"] != "KMS":
        raise errors.invalid("StopStreamEncryption needs EncryptionType KMS.")
    if call.settings(stream).key_id:
        stream.stop_encryption()
        _keep(call, stream, "")


def _keep(call: Call, stream: Stream, key_id: str) -> None:
    def edit(kept: Settings) -> None:
        kept.key_id = key_id

    settings.change(stream, edit)
    call.changed(stream)
