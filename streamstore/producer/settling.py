"""Telling futures what became of their user records, and counting it."""

from __future__ import annotations

from collections.abc import Sequence

from streamstore import native
from streamstore.producer.future import Done, Failed, Try, UserRecordFuture
from streamstore.producer.inbox import Inbox
from streamstore.producer.metrics import Metrics
from streamstore.producer.parcel import Answer, Parcel


class Settling:
    """Settles futures. Used by the sender alone."""

    def __init__(self, inbox: Inbox, metrics: Metrics) -> None:
        self._inbox = inbox
        self._metrics = metrics

    def sent(self, parcels: Sequence[Parcel], now: float) -> None:
        """These go into one request now."""
        add = self._metrics.add
        users = 0
        for parcel in parcels:
            count = len(parcel.items)
            users += count
            longest, shortest = now - parcel.items[0]._arrived, now - parcel.items[-1]._arrived
            sum_ms = (longest + shortest) * 500 * count
            add("BufferingTime", sum_ms, count=count, low=shortest * 1000, high=longest * 1000)
            add("UserRecordsPerKinesisRecord", count)
        add("UserRecordsPerPutRecordsRequest", users)
        add("KinesisRecordsPerPutRecordsRequest", len(parcels))

    def store(self, stored: Sequence[tuple[Parcel, Answer]], tried: Try, request_count: int) -> None:
        """These are stored: their futures say where."""
        add = self._metrics.add
        add("RequestTime", (tried.ended - tried.begun) * 1000)
        if not stored:
            return
        waited_for: list[UserRecordFuture] = []
        records = size = retries = 0
        for parcel, answer in stored:
            own, tries, listeners = native.settle(parcel.items, Done(answer.shard_id, answer.sequence_number, tried))
            records += len(parcel.items)
            size += own
            retries += tries
            waited_for += listeners or ()
            for dimension in ("", answer.shard_id) if self._metrics.per_shard else ("",):
                add("UserRecordsPut", len(parcel.items), dimension=dimension)
                add("UserRecordsDataPut", own, dimension=dimension)
                add("KinesisRecordsPut", 1, dimension=dimension)
                add("KinesisRecordsDataPut", len(parcel.data), dimension=dimension)
        add("RetriesPerRecord", retries, count=records)
        self._inbox.forget(records, size)
        for future in waited_for:
            future.run_callbacks()

    def tried(self, records: int, tried: Try) -> None:
        """So many user records have to go in again."""
        self._metrics.add("ErrorsByCode", records, dimension=tried.code or "")
        self._metrics.add("AllErrors", records)

    def fail(self, items: Sequence[UserRecordFuture], tried: Try, cause: BaseException | None) -> None:
        """These are given up: their futures say why."""
        for item in items:
            item.note(tried)
        failed = Failed(tried.code or "", tried.message or "", cause)
        size, _, listeners = native.settle(list(items), failed)
        self.tried(len(items), tried)
        self._inbox.forget(len(items), size)
        for item in listeners or ():
            item.run_callbacks()
