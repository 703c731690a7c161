"""The Parquet form (extra `arrow`): columns for analysis, and still all that an import needs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

from streamstore.archive.rows import Origin, Row, unpack_block
from streamstore.errors import InvalidArgumentError

_GROUP = 100_000
_GROUP_SIZE = 64 << 20
_BATCH = 1000


def _modules() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise InvalidArgumentError(
            "Parquet needs pyarrow: pip install 'streamstore-kinesis[arrow]', or export an archive or JSON lines"
        ) from None
    return pyarrow, pyarrow.parquet


def _schema(pyarrow: Any, origin: Origin | None) -> Any:
    moment = pyarrow.timestamp("us", tz="UTC")
    fields = [
        ("shard_id", pyarrow.string()),
        ("sequence_number", pyarrow.string()),
        ("arrival_time", moment),
        ("partition_key", pyarrow.string()),
        ("explicit_hash_key", pyarrow.string()),
        ("event_time", moment),
        ("attributes", pyarrow.binary()),
        ("data", pyarrow.binary()),
    ]
    said = {} if origin is None else {"streamstore.from": origin.token, "streamstore.stream": origin.stream}
    return pyarrow.schema(fields, metadata=said)


class ParquetSink:
    """Writes a Parquet file; not to a pipe that somebody reads on the way, since its directory stands at the end."""

    def __init__(self, file: BinaryIO, origin: Origin | None) -> None:
        self._pyarrow, parquet = _modules()
        self._schema = _schema(self._pyarrow, origin)
        self._writer = parquet.ParquetWriter(file, self._schema, compression="lz4", use_dictionary=["shard_id"])
        self._waiting: list[Row] = []
        self._size = 0

    def rows(self, rows: list[Row]) -> None:
        self._waiting += rows
        self._size += sum(len(row.data) for row in rows)
        if len(self._waiting) >= _GROUP or self._size >= _GROUP_SIZE:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            rows = self._waiting
            columns = [
                [row.shard_id for row in rows],
                [row.sequence_number for row in rows],
                [row.arrival_us or None for row in rows],
                [row.partition_key for row in rows],
                [None if row.explicit_hash_key is None else str(row.explicit_hash_key) for row in rows],
                [unpack_block(row.block).get("t") for row in rows],
                [row.block or None for row in rows],
                [row.data for row in rows],
            ]
            arrays = [
                self._pyarrow.array(values, type=field.type)
                for values, field in zip(columns, self._schema, strict=True)
            ]
            self._writer.write_table(self._pyarrow.Table.from_arrays(arrays, schema=self._schema))
            self._waiting, self._size = [], 0

    def end(self) -> None:
        self._flush()
        self._writer.close()


class ParquetSource:
    """Reads what ParquetSink writes."""

    def __init__(self, file: BinaryIO) -> None:
        pyarrow, parquet = _modules()
        try:
            self._file = parquet.ParquetFile(file)
        except (pyarrow.ArrowInvalid, OSError) as error:
            raise InvalidArgumentError(f"this is no Parquet file that can be read ({error})") from None
        said = self._file.schema_arrow.metadata or {}
        if b"streamstore.from" not in said or not set(_schema(pyarrow, None).names) <= set(
            self._file.schema_arrow.names
        ):
            raise InvalidArgumentError("this Parquet file is no export of a stream")
        self.origin = Origin(said[b"streamstore.from"].decode(), said[b"streamstore.stream"].decode())

    def batches(self) -> Iterator[list[Row]]:
        """The records, some rows at a time."""
        for batch in self._file.iter_batches(_BATCH):
            arrivals = batch.column("arrival_time").cast("int64").to_pylist()
            names = ("shard_id", "sequence_number", "partition_key", "explicit_hash_key", "attributes", "data")
            columns = [batch.column(name).to_pylist() for name in names]
            yield [
                Row(shard, number, arrival, key, None if hash_key is None else int(hash_key), block or b"", data)
                for arrival, (shard, number, key, hash_key, block, data) in zip(
                    arrivals, zip(*columns, strict=True), strict=True
                )
            ]
