"""Candles, trades and order books on their way in."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from datalayer.domain.candle import UNKNOWN_COUNT, Candle
from datalayer.domain.imbalance_tracker import ImbalanceTracker
from datalayer.domain.moments import from_microseconds
from datalayer.domain.order_book import OrderBook
from datalayer.domain.order_book_frame import IMBALANCES
from datalayer.domain.steps import from_steps, to_steps
from datalayer.domain.timeframe import Timeframe
from datalayer.domain.trade import Side, Trade
from datalayer.domain.validation.plain import CandleSteps, OrderBookSteps, TradeSteps
from datalayer.domain.validation.raw_columns import record_fields
from datalayer.errors import InvalidInputError
from datalayer.ingestion.codec import encode_candle, encode_imbalances, encode_order_book, encode_trade
from datalayer.ingestion.events import EventKind
from datalayer.ingestion.intake import Intake
from datalayer.ingestion.outcomes import Ingested

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from datalayer.domain.order_book import OrderBookColumns
    from datalayer.domain.validation import ValidationResult
    from datalayer.ingestion.streams import Stream

_PRICES: Final = ("open", "high", "low", "close")
_VALUES: Final = (*_PRICES, "volume")
_LEVELS: Final = ("bid_prices", "bid_sizes", "ask_prices", "ask_sizes")
# Keys of `Stream.last` besides those of candles, which are their timeframes.
_TRADES: Final = 0
_BOOKS: Final = -1


class CandleIntake(Intake[Candle, CandleSteps]):
    """Candles. Forming ones go to the cache only: they are no history."""

    kind = EventKind.CANDLE
    value = Candle
    fields = ("symbol", "timeframe", "ts", *_VALUES, "trade_count", "is_forming")
    prices = _PRICES
    sizes = ("volume",)

    def plain(self, record: Any) -> Candle | None:
        """Return the record as a value of this library, or None if it cannot be one."""
        given = record_fields(record, self.fields)
        try:
            timeframe = Timeframe.parse(given["timeframe"])
            values = {name: given[name] for name in ("symbol", "ts", *_VALUES)}
        except (InvalidInputError, KeyError):
            return None
        return Candle(
            **values,
            timeframe=timeframe,
            trade_count=given.get("trade_count"),
            is_forming=given.get("is_forming") is True,
        )

    def steps(self, stream: Stream, record: Candle, now_us: int) -> CandleSteps | None:
        """Return the record in steps, if it is plainly right."""
        return stream.plain.candle(record, now_us, stream.last.get(record.timeframe))

    def accept(self, stream: Stream, record: Candle, steps: CandleSteps) -> Ingested:
        """Put a record that keeps to the rules into cache and outbox."""
        core = self._core
        stream.last[record.timeframe] = steps.close
        if core.cache is not None:
            core.cache.put_candle(record if _is_in_floats(record) else _candle(stream, record, steps))
        if record.is_forming:
            self.forming += 1
            return Ingested.FORMING
        core.put(EventKind.CANDLE, encode_candle(stream.number, record.timeframe, steps))
        return Ingested.ACCEPTED

    def validate(
        self, stream: Stream, record: Any, received: bytes | str | None
    ) -> ValidationResult[pd.DataFrame]:
        """Ask the rules."""
        given = self.plain(record)
        last = None if given is None else stream.last.get(given.timeframe)
        return stream.validator.validate_candle(
            record, now=from_microseconds(self._now_us()), last_price=_price(stream, last), payload=received
        )

    def accepted(self, stream: Stream, record: Any, accepted: pd.DataFrame) -> tuple[Candle, CandleSteps]:
        """Return what the rules accepted as a value and in steps."""
        given = self.plain(record)
        if given is None:
            raise InvalidInputError("timeframe", record, "the record names none")
        prices = {name: _count(accepted, name, stream.scales[0]) for name in _PRICES}
        volume, count = _count(accepted, "volume", stream.scales[1]), UNKNOWN_COUNT
        if "trade_count" in accepted and not accepted["trade_count"].isna().iloc[0]:
            count = int(accepted["trade_count"].iloc[0])
        steps = CandleSteps(_micros(accepted), **prices, volume=volume, trade_count=count)
        return _candle(stream, given, steps), steps

    def timeframe(self, fields: Mapping[str, Any]) -> str | None:
        """Return the timeframe, if it can be told."""
        try:
            return Timeframe.parse(fields["timeframe"]).label
        except (InvalidInputError, KeyError):
            return None


class TradeIntake(Intake[Trade, TradeSteps]):
    """Trades. They count in the imbalances of the books after them."""

    kind = EventKind.TRADE
    value = Trade
    fields = ("symbol", "ts", "trade_id", "price", "size", "side")
    prices = ("price",)
    sizes = ("size",)

    def plain(self, record: Any) -> Trade | None:
        """Return the record as a value of this library, or None if it cannot be one."""
        given = record_fields(record, self.fields)
        return Trade(*(given[name] for name in self.fields)) if given.keys() >= set(self.fields) else None

    def steps(self, stream: Stream, record: Trade, now_us: int) -> TradeSteps | None:
        """Return the record in steps, if it is plainly right."""
        return stream.plain.trade(record, now_us, stream.last.get(_TRADES))

    def accept(self, stream: Stream, record: Trade, steps: TradeSteps) -> Ingested:
        """Put a record that keeps to the rules into cache and outbox."""
        core = self._core
        stream.last[_TRADES] = steps.price
        trade = record if type(record.price) is float is type(record.size) else _trade(stream, steps)
        if core.settings.imbalances:
            tracker_of(stream, steps.ts).add_trade(trade)
        if core.cache is not None:
            core.cache.put_trade(trade)
        core.put(EventKind.TRADE, encode_trade(stream.number, steps))
        return Ingested.ACCEPTED

    def validate(
        self, stream: Stream, record: Any, received: bytes | str | None
    ) -> ValidationResult[pd.DataFrame]:
        """Ask the rules."""
        last = _price(stream, stream.last.get(_TRADES))
        return stream.validator.validate_trade(
            record, now=from_microseconds(self._now_us()), last_price=last, payload=received
        )

    def accepted(self, stream: Stream, record: Any, accepted: pd.DataFrame) -> tuple[Trade, TradeSteps]:  # noqa: ARG002
        """Return what the rules accepted as a value and in steps."""
        steps = TradeSteps(
            _micros(accepted),
            int(accepted["trade_id"].iloc[0]),
            _count(accepted, "price", stream.scales[0]),
            _count(accepted, "size", stream.scales[1]),
            int(accepted["side"].iloc[0]),
        )
        return _trade(stream, steps), steps


class OrderBookIntake(Intake[OrderBook, OrderBookSteps]):
    """Order-book snapshots. At each of them imbalances are computed, cached and stored."""

    kind = EventKind.ORDER_BOOK
    value = OrderBook
    fields = ("symbol", "ts", *_LEVELS, "last_update_id")
    prices = ("bid_prices", "ask_prices")
    sizes = ("bid_sizes", "ask_sizes")

    def plain(self, record: Any) -> OrderBook | None:
        """Return the record as a value of this library, or None if it cannot be one."""
        given = record_fields(record, self.fields)
        levels = [given.get(name) for name in _LEVELS]
        if not all(isinstance(side, list | tuple) and all(type(v) is float for v in side) for side in levels):
            return None
        arrays: dict[str, Any] = {name: np.array(given[name], dtype=np.float64) for name in _LEVELS}
        labels: dict[str, Any] = {name: given.get(name) for name in ("symbol", "ts", "last_update_id")}
        return OrderBook(**labels, **arrays)

    def steps(self, stream: Stream, record: OrderBook, now_us: int) -> OrderBookSteps | None:
        """Return the record in steps, if it is plainly right."""
        return stream.plain.order_book(record, now_us, stream.last.get(_BOOKS))

    def accept(self, stream: Stream, record: OrderBook, steps: OrderBookSteps) -> Ingested:
        """Put a record that keeps to the rules into cache and outbox, and the imbalances at it."""
        core = self._core
        if len(steps.bid_prices) and len(steps.ask_prices):
            stream.last[_BOOKS] = int(steps.bid_prices[0]) + int(steps.ask_prices[0])
        imbalances = None
        if core.settings.imbalances:
            imbalances = tracker_of(stream, steps.ts).add_book(record)
        if core.cache is not None:
            core.cache.put_orderbook(record)
            if imbalances is not None:
                core.cache.put_imbalances(imbalances)
        core.put(EventKind.ORDER_BOOK, encode_order_book(stream.number, steps))
        if imbalances is not None:
            values = [getattr(imbalances, name) for name in IMBALANCES]
            core.put(EventKind.IMBALANCE, encode_imbalances(stream.number, steps.ts, values))
        return Ingested.ACCEPTED

    def validate(
        self, stream: Stream, record: Any, received: bytes | str | None
    ) -> ValidationResult[OrderBookColumns]:
        """Ask the rules."""
        last = stream.last.get(_BOOKS)
        mid = None if last is None else last / 2 / 10.0 ** stream.scales[0]
        return stream.validator.validate_order_book(
            record, now=from_microseconds(self._now_us()), last_price=mid, payload=received
        )

    def accepted(
        self,
        stream: Stream,
        record: Any,  # noqa: ARG002
        accepted: OrderBookColumns,
    ) -> tuple[OrderBook, OrderBookSteps]:
        """Return what the rules accepted as a value and in steps."""
        book = accepted.book(0, stream.symbol)
        scales = zip(_LEVELS, (*stream.scales, *stream.scales), strict=True)
        levels = {name: to_steps(getattr(book, name), scale, field=name) for name, scale in scales}
        update_id = int(accepted.last_update_ids[0])
        return book, OrderBookSteps(int(accepted.timestamps.astype(np.int64)[0]), update_id, **levels)


def tracker_of(stream: Stream, ts_us: int) -> ImbalanceTracker:
    """Return the imbalances of a stream; what came before the first event is not known to it."""
    if stream.tracker is None:
        stream.tracker = ImbalanceTracker(
            stream.symbol, size_scale=stream.scales[1], since=from_microseconds(ts_us - 1)
        )
    return stream.tracker


def _is_in_floats(candle: Candle) -> bool:
    return (
        type(candle.open)
        is type(candle.high)
        is type(candle.low)
        is type(candle.close)
        is type(candle.volume)
        is float
    )


def _candle(stream: Stream, given: Candle, steps: CandleSteps) -> Candle:
    values: dict[str, Any] = {name: _float(getattr(steps, name), stream.scales[0]) for name in _PRICES}
    count = None if steps.trade_count == UNKNOWN_COUNT else steps.trade_count
    return replace(
        given,
        symbol=stream.symbol,
        ts=from_microseconds(steps.ts),
        **values,
        volume=_float(steps.volume, stream.scales[1]),
        trade_count=count,
    )


def _trade(stream: Stream, steps: TradeSteps) -> Trade:
    price, size = _float(steps.price, stream.scales[0]), _float(steps.size, stream.scales[1])
    return Trade(stream.symbol, from_microseconds(steps.ts), steps.trade_id, price, size, Side(steps.side))


def _float(steps: int, scale: int) -> float:
    return float(from_steps(np.array([steps], np.int64), scale)[0])


def _price(stream: Stream, steps: int | None) -> float | None:
    return None if steps is None else steps / 10.0 ** stream.scales[0]


def _count(frame: pd.DataFrame, name: str, scale: int) -> int:
    return int(to_steps(frame[name].to_numpy(), scale, field=name)[0])


def _micros(frame: pd.DataFrame) -> int:
    return int(frame.index.tz_localize(None).to_numpy().astype("datetime64[us]").astype(np.int64)[0])  # type: ignore[attr-defined]
