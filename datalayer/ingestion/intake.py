"""From a record to an event: validated, in the cache, in the outbox."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import numpy as np

from datalayer.domain.symbols import canonical_symbol
from datalayer.domain.validation.raw_columns import record_fields
from datalayer.errors import InvalidInputError
from datalayer.ingestion.codec import encode_reject
from datalayer.ingestion.events import EventKind
from datalayer.ingestion.outcomes import Ingested
from datalayer.repositories.reject_rows import KeptReject, RejectReason

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from datalayer.domain.candle import Candle
    from datalayer.domain.order_book import OrderBook
    from datalayer.domain.trade import Trade
    from datalayer.domain.validation import ValidationResult
    from datalayer.ingestion.core import PipelineCore
    from datalayer.ingestion.streams import Stream

Record = TypeVar("Record", bound="Candle | Trade | OrderBook")
Steps = TypeVar("Steps")


class Intake(ABC, Generic[Record, Steps]):
    """One kind of records.

    Args:
        core: takes the events.
        now_us: the clock, in microseconds since 1970 UTC.
    """

    kind: ClassVar[EventKind]
    value: ClassVar[type]
    fields: ClassVar[tuple[str, ...]]
    prices: ClassVar[tuple[str, ...]]
    sizes: ClassVar[tuple[str, ...]]

    def __init__(self, core: PipelineCore, now_us: Callable[[], int]) -> None:
        self._core, self._now_us = core, now_us
        self.rejected = self.flagged = self.forming = self.looked_at = 0

    def take(self, record: Any, received: bytes | str | None) -> Ingested | None:
        """Take a record in, without waiting; None: its instrument has to be looked up first.

        The pipeline must be open.
        """
        is_value = type(record) is self.value
        plain = record if is_value else self.plain(record)
        symbol = _symbol(record) if plain is None else plain.symbol
        stream = self._core.streams.current.get(symbol) if type(symbol) is str else None
        if stream is None:
            return None
        if plain is not None:
            steps = self.steps(stream, plain, self._now_us())
            if steps is not None:
                return self.accept(stream, plain, steps)
        return self._judge(stream, record, received)

    async def introduce(self, record: Any, received: bytes | str | None) -> Ingested:
        """Look up the instrument of a record, and take it in.

        Raises:
            IngestionClosedError: the pipeline takes nothing in any more.
        """
        fields = record_fields(record, self.fields)
        try:
            canonical = canonical_symbol(symbol if isinstance(symbol := fields.get("symbol"), str) else "")
            prices, sizes = _values(fields, self.prices), _values(fields, self.sizes)
            stream = await self._core.directory.resolve(canonical, prices, sizes)
        except InvalidInputError as exc:
            await self._room()
            return self._refuse(fields, RejectReason.of_error(exc), received)
        await self._room()
        # In the spelling of the stream from here on; the rules take any.
        known = fields | {"symbol": stream.symbol}
        outcome = self.take(record if symbol == stream.symbol else known, received)
        return self._judge(stream, record, received) if outcome is None else outcome

    async def _room(self) -> None:
        """Wait for room anew: others who waited for the same answer may have taken what there was."""
        await self._core.room(self.kind)

    @abstractmethod
    def plain(self, record: Any) -> Record | None:
        """Return the record as a value of this library, or None if it cannot be one."""

    @abstractmethod
    def steps(self, stream: Stream, record: Record, now_us: int) -> Steps | None:
        """Return the record in steps, if it is plainly right."""

    @abstractmethod
    def accept(self, stream: Stream, record: Record, steps: Steps) -> Ingested:
        """Put a record that keeps to the rules into cache and outbox."""

    @abstractmethod
    def validate(self, stream: Stream, record: Any, received: bytes | str | None) -> ValidationResult[Any]:
        """Ask the rules."""

    @abstractmethod
    def accepted(self, stream: Stream, record: Any, accepted: Any) -> tuple[Record, Steps]:
        """Return what the rules accepted as a value and in steps."""

    def timeframe(self, fields: Mapping[str, Any]) -> str | None:  # noqa: ARG002
        """Return the timeframe of a candle, if it can be told."""
        return None

    def _judge(self, stream: Stream, record: Any, received: bytes | str | None) -> Ingested:
        self.looked_at += 1
        try:
            result = self.validate(stream, record, received)
        except InvalidInputError as exc:  # it does not even say what it is
            fields = record_fields(record, self.fields)
            return self._refuse(fields, RejectReason.of_error(exc), received)
        self.flagged += sum(result.warning_counts().values())
        if not result.is_clean:
            row = result.rejected[0]
            kept = KeptReject.of_row(row, self._core.settings.source, self.timeframe(row.record))
            return self._reject(kept)
        value, steps = self.accepted(stream, record, result.accepted)
        return self.accept(stream, value, steps)

    def _refuse(self, fields: dict[str, Any], reason: RejectReason, received: bytes | str | None) -> Ingested:
        kept = KeptReject.of_record(
            self.kind.label,
            fields,
            reason,
            source=self._core.settings.source,
            timeframe=self.timeframe(fields),
            received=received.encode(errors="surrogatepass") if isinstance(received, str) else received,
        )
        return self._reject(kept)

    def _reject(self, kept: KeptReject) -> Ingested:
        self.rejected += 1
        self._core.put(EventKind.REJECT, encode_reject(kept))
        return Ingested.REJECTED


def _symbol(record: Any) -> object:
    return record.get("symbol") if isinstance(record, dict) else getattr(record, "symbol", None)


def _values(fields: Mapping[str, Any], names: Sequence[str]) -> list[Any]:
    values: list[Any] = []
    for value in (fields.get(name) for name in names):
        values.extend(value if isinstance(value, list | tuple | np.ndarray) else [value])
    return values
