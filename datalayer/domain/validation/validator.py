"""Validation of market data before it is stored."""

from __future__ import annotations

from datetime import UTC, datetime
from math import nan
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np

from datalayer.domain.moments import utc_moment
from datalayer.domain.order_book import OrderBookColumns
from datalayer.domain.timeframe import Timeframe
from datalayer.domain.validation import candles, order_books, trades
from datalayer.domain.validation.checked import Checked, Context
from datalayer.domain.validation.plain import PlainRecords
from datalayer.domain.validation.raw_columns import RawColumns, raw_columns, record_fields, row_count, taken
from datalayer.domain.validation.result import RejectedRows, ValidationResult
from datalayer.domain.validation.rules import Kind, ValidationLimits
from datalayer.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from datalayer.domain.instrument import Instrument

Accepted = TypeVar("Accepted")
Payload: TypeAlias = bytes | str


class DataValidator:
    """Tells data of one instrument that may be stored from data that may not; changes nothing and does no I/O.

    Data come as a DataFrame (its DatetimeIndex, or else a column `ts` or `timestamp`, is the time), as a mapping of columns,
    or as a sequence of records, each a mapping of values or an object with these attributes. Numbers may be float, int,
    `Decimal` or str. Times are aware; arrays of numpy's datetime64 and naive datetimes are refused, since nothing says
    that they are UTC. A column `symbol` (any known spelling) or `timeframe` is checked where it is there.

    A row that breaks several rules is rejected by the first of them: symbol and timeframe; the time; each column by itself;
    how columns fit together; and last, whether rows of one key contradict each other. Bad values never raise; only data
    of another shape do.

    Of the rows of one key, the last candle and the first trade or order book are kept, as if all were written one by one.
    Rows that repeat that one, and candles that it continues (revisions of a forming candle), are dropped and told in the
    warnings; one that contradicts it is rejected. Nothing else is dropped.

    Args:
        instrument: whose symbol and scales the data must have.
        limits: what is plausible.
    """

    def __init__(self, instrument: Instrument, limits: ValidationLimits | None = None) -> None:
        self._instrument = instrument
        self._limits = limits or ValidationLimits()
        self._plain = PlainRecords(instrument, self._limits)

    @property
    def instrument(self) -> Instrument:
        """The instrument whose data are checked."""
        return self._instrument

    @property
    def plain(self) -> PlainRecords:
        """The short way for single records that are plainly right."""
        return self._plain

    def validate_candles(
        self,
        data: pd.DataFrame | Mapping[str, Any] | Sequence[Any],
        timeframe: Timeframe | str,
        *,
        now: datetime | None = None,
        last_price: float | None = None,
        payloads: Sequence[Payload] | None = None,
    ) -> ValidationResult[pd.DataFrame]:
        """Check candles of one timeframe, closed or forming.

        Args:
            data: columns ts (open time), open, high, low, close (quote asset), volume (base asset), and, where known,
                trade_count (missing: the source does not say).
            timeframe: length of the candles.
            now: the clock, aware. None: that of this machine.
            last_price: close of the candle before the first one; None: unknown, so that the first is no spike.
            payloads: each row exactly as received, for quarantine.

        Returns:
            `accepted` is a frame as `CandleRepository.upsert_candles` takes it: index `timestamp` (datetime64[us, UTC],
            ascending, unique), prices and volume as float64 (`Decimal` objects in a column where a count of steps reaches
            2**52), trade_count as Int64 if given. A high or low is a spike against the close of the candle before.

        Raises:
            InvalidInputError: a column is missing or twice, a frame has a time in its index and in a column, columns
                differ in length, the timeframe is unknown, or `now` is naive.
        """
        length = Timeframe.parse(timeframe)
        raw = raw_columns(data, candles.REQUIRED, candles.OPTIONAL)
        checked = candles.check_candles(raw, self._context(now, last_price), length)
        return self._result("candle", checked, raw, payloads)

    def validate_trades(
        self,
        data: pd.DataFrame | Mapping[str, Any] | Sequence[Any],
        *,
        now: datetime | None = None,
        last_price: float | None = None,
        payloads: Sequence[Payload] | None = None,
    ) -> ValidationResult[pd.DataFrame]:
        """Check trades.

        Args:
            data: columns ts (exchange time), trade_id (int), price (quote asset), size (base asset), side (1: the
                aggressor bought, -1: sold, 0: unknown).
            now: as for `validate_candles`.
            last_price: price of the trade before the first one; None: unknown.
            payloads: as for `validate_candles`.

        Returns:
            `accepted` is a frame as `TradeRepository.insert_trades` takes it: index `timestamp` (datetime64[us, UTC],
            ascending by time and id), trade_id int64, price and size as in candles, side int8. A price is a spike
            against the trade before it.

        Raises:
            InvalidInputError: as for `validate_candles`.
        """
        raw = raw_columns(data, trades.REQUIRED, trades.OPTIONAL)
        checked = trades.check_trades(raw, self._context(now, last_price))
        return self._result("trade", checked, raw, payloads)

    def validate_order_books(
        self,
        data: OrderBookColumns | pd.DataFrame | Mapping[str, Any] | Sequence[Any],
        *,
        now: datetime | None = None,
        last_price: float | None = None,
        payloads: Sequence[Payload] | None = None,
    ) -> ValidationResult[OrderBookColumns]:
        """Check order-book snapshots. Levels of size zero are no levels: they are left out, and counted in a warning.

        Args:
            data: columns ts (exchange time), bid_prices, bid_sizes, ask_prices, ask_sizes (lists of equal length for each
                side, best level first; or float64 arrays `[n, levels]`, padded with NaN at the end of a row), and, where
                known, last_update_id (missing or -1: the exchange has none). A side may be empty.
            now: as for `validate_candles`.
            last_price: mid price of the book before the first one; None: unknown.
            payloads: as for `validate_candles`.

        Returns:
            `accepted` is what `OrderBookRepository.insert_order_books` takes, ascending by time. A mid price is a spike
            against that of the book before it that has both sides.

        Raises:
            InvalidInputError: as for `validate_candles`.
        """
        columns = order_books.columns_of_books(data) if isinstance(data, OrderBookColumns) else data
        raw = raw_columns(columns, order_books.REQUIRED, order_books.OPTIONAL)
        checked = order_books.check_order_books(raw, self._context(now, last_price))
        return self._result("order_book", checked, raw, payloads)

    def validate_candle(
        self,
        record: Any,
        timeframe: Timeframe | str | None = None,
        *,
        now: datetime | None = None,
        last_price: float | None = None,
        payload: Payload | None = None,
    ) -> ValidationResult[pd.DataFrame]:
        """Check one candle, a mapping of values or an object with attributes; see `validate_candles`.

        Args:
            record: the candle.
            timeframe: its length. None: the record says it.
            now: as for `validate_candles`.
            last_price: close of the candle before; None: unknown.
            payload: the record exactly as received.

        Raises:
            InvalidInputError: neither `timeframe` nor the record names a known timeframe, or `now` is naive.
        """
        length = Timeframe.parse(_own_timeframe(record) if timeframe is None else timeframe)
        return self.validate_candles(
            [record], length, now=now, last_price=last_price, payloads=_single(payload)
        )

    def validate_trade(
        self,
        record: Any,
        *,
        now: datetime | None = None,
        last_price: float | None = None,
        payload: Payload | None = None,
    ) -> ValidationResult[pd.DataFrame]:
        """Check one trade, a mapping of values or an object with attributes; see `validate_trades`."""
        return self.validate_trades([record], now=now, last_price=last_price, payloads=_single(payload))

    def validate_order_book(
        self,
        record: Any,
        *,
        now: datetime | None = None,
        last_price: float | None = None,
        payload: Payload | None = None,
    ) -> ValidationResult[OrderBookColumns]:
        """Check one snapshot, a mapping of values or an object with attributes; see `validate_order_books`."""
        return self.validate_order_books([record], now=now, last_price=last_price, payloads=_single(payload))

    def _context(self, now: datetime | None, last_price: float | None) -> Context:
        moment = datetime.now(UTC) if now is None else utc_moment(now, "now")
        return Context(
            self._instrument, self._limits, moment, nan if last_price is None else float(last_price)
        )

    def _result(
        self, kind: Kind, checked: Checked[Accepted], raw: RawColumns, payloads: Sequence[Payload] | None
    ) -> ValidationResult[Accepted]:
        if payloads is not None and len(payloads) != row_count(raw):
            raise InvalidInputError(
                "payloads", len(payloads), f"give one for each of the {row_count(raw)} rows"
            )
        refused = np.flatnonzero(~checked.findings.accepted)
        symbol = self._instrument.symbol
        received = None if payloads is None else [payloads[row] for row in refused.tolist()]
        rejected = RejectedRows(
            refused, kind, symbol, checked.findings, checked.times, taken(raw, refused), received
        )
        batch = checked.batch
        return ValidationResult(
            checked.accepted, batch.kept, rejected, tuple(checked.warnings), batch.dropped
        )


def _own_timeframe(record: Any) -> Any:
    return record_fields(record, candles.OPTIONAL).get("timeframe")


def _single(payload: Payload | None) -> list[Payload] | None:
    return None if payload is None else [payload]
