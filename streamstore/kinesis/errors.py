"""The service's errors: their type names, HTTP statuses and texts, and what an error of the store becomes."""

from __future__ import annotations

from collections.abc import Sequence

from streamstore import errors as store_errors


class ServiceError(Exception):
    """An error as the service gives it: `type` is its name on the wire, `text` what it says (empty: nothing)."""

    def __init__(self, type: str, text: str = "", status: int = 400) -> None:
        super().__init__(f"{type}: {text}")
        self.type = type
        self.text = text
        self.status = status


def serialization(text: str = "") -> ServiceError:
    return ServiceError("SerializationException", text)


def invalid(text: str) -> ServiceError:
    return ServiceError("InvalidArgumentException", text)


def validation(problems: Sequence[str]) -> ServiceError:
    """One ValidationException over several problems, each `Value 'v' at 'path' failed to satisfy constraint: ...`."""
    count = f"{len(problems)} validation error{'s' if len(problems) > 1 else ''} detected: "
    return ServiceError("ValidationException", count + "; ".join(problems))


def refused(text: str) -> ServiceError:
    """A ValidationException with a text of its own."""
    return ServiceError("ValidationException", text)


def constraint(value: str, path: str, rule: str) -> str:
    return f"Value {value} at '{path}' failed to satisfy constraint: {rule}"


def too_long(size: int, path: str, high: int) -> ServiceError:
    """The ValidationException of a record whose data, or data and key together, are over the limit."""
    shown = f"'java.nio.HeapByteBuffer[pos=0 lim={size} cap={size}]'"
    return validation([constraint(shown, path, f"Member must have length less than or equal to {high}")])


def not_found(text: str) -> ServiceError:
    return ServiceError("ResourceNotFoundException", text)


def no_stream(name: str, account: str) -> ServiceError:
    return not_found(f"Stream {name} under account {account} not found.")


def no_shard(shard_id: str, name: str, account: str) -> ServiceError:
    return not_found(f"Shard {shard_id} in stream {name} under account {account} does not exist")


def in_use(text: str) -> ServiceError:
    return ServiceError("ResourceInUseException", text)


def limit_exceeded(text: str) -> ServiceError:
    return ServiceError("LimitExceededException", text)


def denied(text: str) -> ServiceError:
    return ServiceError("AccessDeniedException", text)


def throttled(shard_id: str, name: str, account: str) -> ServiceError:
    return ServiceError("ProvisionedThroughputExceededException", throttle_text(shard_id, name, account))


def throttle_text(shard_id: str, name: str, account: str) -> str:
    return f"Rate exceeded for shard {shard_id} in stream {name} under account {account}."


def expired_token() -> ServiceError:
    return ServiceError("ExpiredNextTokenException", "The pagination token passed to the operation is expired.")


def dry_run() -> ServiceError:
    """What a request with DryRun gets that would have succeeded."""
    return ServiceError("DryRunOperationException", "Request would have succeeded, but DryRun flag is set.")


def internal(text: str = "") -> ServiceError:
    return ServiceError("InternalFailure", text, status=500)


def from_store(error: store_errors.StreamStoreError, declared: frozenset[str] = frozenset()) -> ServiceError:
    """What a client sees of an error that no handler has a better text for, from an operation that declares those.

    A full disk or quota is a throttle, because that is what clients wait and try again for; what the machine failed in
    is an InternalFailure, and what it says stays on this side.
    """
    if isinstance(error, store_errors.StreamNotFoundError):
        return not_found(str(error))
    if isinstance(error, store_errors.StreamExistsError):
        return in_use(str(error))
    if isinstance(error, store_errors.StoreFullError):
        kind = "Throttling" if "ThrottlingException" in declared else "ProvisionedThroughputExceeded"
        return ServiceError(f"{kind}Exception", f"The store is full: {error}")
    if isinstance(error, store_errors.KeyUnavailableError):
        return ServiceError("KMSInvalidStateException", str(error))
    if isinstance(error, store_errors.RecordTooLargeError):
        return refused(str(error))
    if isinstance(error, store_errors.ReadOnlyError):
        return denied("The store is open read-only.")
    if isinstance(error, (store_errors.InvalidArgumentError, store_errors.InvalidTypeError)):
        return invalid(str(error))
    return internal()
