"""The KPL's knobs by their names in snake_case, with its defaults and in its units (milliseconds), and some of ours."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from streamstore import InvalidArgumentError, InvalidTypeError, limits

AGGREGATION_COUNT_MAX = 4_294_967_295
COLLECTION_SIZE_MIN = 52_224
TIME_MAX_MS = 7 * 86_400_000


@dataclass(frozen=True)
class Knobs:
    """Every setting of a Producer; see docs/producer.md for what each does."""

    aggregation_enabled: bool = True
    aggregation_max_count: int = AGGREGATION_COUNT_MAX
    aggregation_max_size: int = 51_200
    collection_max_count: int = 500
    collection_max_size: int = 5 * limits.MIB
    record_max_buffered_time: int = 100
    record_ttl: int = 30_000
    rate_limit: int | None = None
    fail_if_throttled: bool = False
    request_timeout: int = 6_000
    connect_timeout: int = 6_000
    max_connections: int = 24
    metrics_level: str = "detailed"
    metrics_granularity: str = "shard"
    preserve_order: bool = False
    max_outstanding_records: int = 200_000
    max_outstanding_bytes: int = 64 * limits.MIB

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name == "rate_limit" and value is None:
                continue
            wanted, given = int if each.default is None else type(each.default), type(value)
            if given is not wanted:
                raise InvalidTypeError(f"{each.name} is {wanted.__name__}, not {given.__name__}")
            if each.name in _RANGES and not _RANGES[each.name][0] <= value <= _RANGES[each.name][1]:
                low, high = _RANGES[each.name]
                raise InvalidArgumentError(f"{each.name} is {low} to {high}, not {value}")
            if each.name in _CHOICES and value not in _CHOICES[each.name]:
                raise InvalidArgumentError(f"{each.name} is {' or '.join(_CHOICES[each.name])}, not {value!r}")

    @property
    def buffered_s(self) -> float:
        """record_max_buffered_time in seconds."""
        return self.record_max_buffered_time / 1000

    @property
    def ttl_s(self) -> float:
        """record_ttl in seconds."""
        return self.record_ttl / 1000


_RANGES = {
    "aggregation_max_count": (1, AGGREGATION_COUNT_MAX),
    "aggregation_max_size": (limits.AGGREGATE_SIZE_MIN, limits.AGGREGATE_SIZE_MAX),
    "collection_max_count": (1, 500),
    "collection_max_size": (COLLECTION_SIZE_MIN, limits.AGGREGATE_SIZE_MAX),
    "record_max_buffered_time": (0, TIME_MAX_MS),
    "record_ttl": (100, TIME_MAX_MS),
    "rate_limit": (0, 1_000_000),
    "request_timeout": (100, 600_000),
    "connect_timeout": (100, 300_000),
    "max_connections": (1, 256),
    "max_outstanding_records": (1, 1 << 40),
    "max_outstanding_bytes": (1, 1 << 50),
}
_CHOICES = {
    "metrics_level": ("none", "summary", "detailed"),
    "metrics_granularity": ("global", "stream", "shard"),
}

_URL = "the endpoint is the first argument, a URL"
_CLIENT = "client_options has what boto3.client takes"
_VERIFY = 'client_options={"verify": ...} has it'
_PROXY = 'client_options={"config": botocore.config.Config(proxies=...)} has it'
_STS = "boto3 asks for credentials as it is set up to"
_UPLOAD = "nothing is uploaded: metrics() has the figures"
_NATIVE = "there is no native process"
_GLUE = "records are what the caller made of them"
ELSEWHERE = {
    "ca_cert_file": _VERIFY,
    "ca_cert_path": _VERIFY,
    "cloudwatch_endpoint": _UPLOAD,
    "cloudwatch_port": _UPLOAD,
    "credentials_provider": _CLIENT,
    "credentials_refresh_delay": "boto3 asks for new credentials before the old ones end",
    "enable_core_dumps": _NATIVE,
    "enable_oldest_future_tracker": "every future is settled once record_ttl and one request are over",
    "glue_schema_registry_configuration": _GLUE,
    "glue_schema_registry_credentials_provider": _GLUE,
    "glue_schema_registry_properties_file_path": _GLUE,
    "kinesis_endpoint": _URL,
    "kinesis_port": _URL,
    "log_level": "the logger streamstore.producer has a level",
    "metrics_credentials_provider": _UPLOAD,
    "metrics_namespace": _UPLOAD,
    "metrics_upload_delay": _UPLOAD,
    "min_connections": "connections are made when requests need them, up to max_connections",
    "native_executable": _NATIVE,
    "proxy_host": _PROXY,
    "proxy_password": _PROXY,
    "proxy_port": _PROXY,
    "proxy_user_name": _PROXY,
    "region": _CLIENT,
    "sts_endpoint": _STS,
    "sts_port": _STS,
    "temp_directory": _NATIVE,
    "thread_pool_size": _NATIVE,
    "threading_model": _NATIVE,
    "user_record_timeout_in_millis": "every future is settled once record_ttl and one request are over",
    "verify_certificate": _VERIFY,
}
"""Settings of the KPL that are no knobs here, and what to do instead."""


def knobs_of(given: dict[str, Any]) -> Knobs:
    """The knobs of those names. Raises InvalidTypeError for a name that is none, and as Knobs does."""
    known = {each.name for each in fields(Knobs)}
    for name in given:
        if name in ELSEWHERE:
            raise InvalidTypeError(f"{name} is a setting of the KPL that is no knob here: {ELSEWHERE[name]}")
        if name not in known:
            raise InvalidTypeError(f"Producer() got an unexpected keyword argument {name!r}")
    return Knobs(**given)
