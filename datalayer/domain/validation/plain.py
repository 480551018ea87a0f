"""A short way for records that come one by one and are plainly right; the rules themselves stand elsewhere, once.

The rules look at columns, which costs half a millisecond for a single record. What passes here keeps to all of them: each
test is at least as strict as the rule. Nothing is refused here: a record that does not pass is for the rules to judge.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Context, Decimal, DecimalException, Inexact, InvalidOperation
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from datalayer.domain.candle import UNKNOWN_COUNT, Candle
from datalayer.domain.moments import EPOCH, MICROSECOND
from datalayer.domain.order_book import UNKNOWN_UPDATE_ID, OrderBook
from datalayer.domain.timeframe import Timeframe
from datalayer.domain.trade import Side, Trade
from datalayer.domain.validation.numbers import AMBIGUOUS_STEPS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from datalayer.domain.instrument import Instrument
    from datalayer.domain.validation.rules import ValidationLimits

_SECOND_US: Final = 1_000_000
_INT4_MAX: Final = 2**31 - 1
_INT8_MAX: Final = 2**63 - 1
# Half of what `to_steps` takes without a closer look; sums of many sizes still fit into 64 bits.
_CLEAR_STEPS: Final = 2**50
_MOST_DIGITS: Final = 16
_DECIMALS: Final = Context(prec=60, traps=[Inexact, InvalidOperation])
_SIDES: Final = (int, Side)
_FAULTS: Final = (ValueError, TypeError, ArithmeticError, DecimalException, AttributeError)


class CandleSteps(NamedTuple):
    """A candle in exact counts; `ts` in microseconds since 1970 UTC, `trade_count` -1 where it is unknown."""

    ts: int
    open: int
    high: int
    low: int
    close: int
    volume: int
    trade_count: int


class TradeSteps(NamedTuple):
    """A trade in exact counts; `ts` in microseconds since 1970 UTC."""

    ts: int
    trade_id: int
    price: int
    size: int
    side: int


class OrderBookSteps(NamedTuple):
    """A snapshot in exact counts, int64 arrays; `ts` in microseconds since 1970 UTC."""

    ts: int
    last_update_id: int
    bid_prices: NDArray[np.int64]
    bid_sizes: NDArray[np.int64]
    ask_prices: NDArray[np.int64]
    ask_sizes: NDArray[np.int64]


class PlainRecords:
    """Tells of single records of one instrument whether they are plainly right.

    Args:
        instrument: whose symbol and scales they must have.
        limits: what is plausible.
    """

    __slots__ = ("_earliest_us", "_future_us", "_price", "_size", "_spike", "_symbol")

    def __init__(self, instrument: Instrument, limits: ValidationLimits) -> None:
        self._symbol = instrument.symbol
        self._price = _Counter(instrument.price_scale)
        self._size = _Counter(instrument.size_scale)
        self._earliest_us = (limits.earliest - EPOCH) // MICROSECOND
        self._future_us = round(limits.future_s * _SECOND_US)
        self._spike = 1.0 + limits.spike

    def candle(self, record: Candle, now_us: int, last_close: int | None) -> CandleSteps | None:
        """Return a candle in steps, or None for one that is not plainly right, or whose price stands out.

        Args:
            record: a candle of this library; anything else is not plain.
            now_us: the clock, in microseconds since 1970 UTC.
            last_close: close of the candle before it, in steps; None: unknown.
        """
        try:
            return self._candle(record, now_us, last_close)
        except _FAULTS:
            return None

    def trade(self, record: Trade, now_us: int, last_price: int | None) -> TradeSteps | None:
        """Return a trade in steps, or None for one that is not plainly right, or whose price stands out.

        Args:
            record: a trade of this library; anything else is not plain.
            now_us: the clock, in microseconds since 1970 UTC.
            last_price: price of the trade before it, in steps; None: unknown.
        """
        try:
            return self._trade(record, now_us, last_price)
        except _FAULTS:
            return None

    def order_book(self, record: OrderBook, now_us: int, last_mid: float | None) -> OrderBookSteps | None:
        """Return a snapshot in steps, or None for one that is not plainly right, or whose mid price stands out.

        Args:
            record: a snapshot of this library with float64 levels; anything else is not plain.
            now_us: the clock, in microseconds since 1970 UTC.
            last_mid: twice the mid price of the book before it, in steps; None: unknown.
        """
        try:
            return self._order_book(record, now_us, last_mid)
        except _FAULTS:
            return None

    def _candle(self, record: Candle, now_us: int, last_close: int | None) -> CandleSteps:
        if type(record) is not Candle or record.symbol != self._symbol:
            raise ValueError
        opened, high, low, close = self._prices(record)
        volume, ts = self._size(record.volume), self._time(record.ts, now_us)
        count = UNKNOWN_COUNT if record.trade_count is None else record.trade_count
        if not (type(count) is int and (0 <= count <= _INT4_MAX or record.trade_count is None)):
            raise ValueError
        if type(record.timeframe) is not Timeframe or ts % (record.timeframe * _SECOND_US):
            raise ValueError
        if not (0 < low <= opened <= high and low <= close <= high and volume >= 0):
            raise ValueError
        if last_close and (high > last_close * self._spike or low * self._spike < last_close):
            raise ValueError
        return CandleSteps(ts, opened, high, low, close, volume, count)

    def _prices(self, record: Candle) -> tuple[int, int, int, int]:
        price, factor = self._price, self._price.factor
        opened, high, low, close = record.open, record.high, record.low, record.close
        if type(opened) is type(high) is type(low) is type(close) is float:
            # As `_Counter` does, in half the time. Those that are not between low and high are refused anyway.
            steps = round(opened * factor), round(high * factor), round(low * factor), round(close * factor)
            if (
                steps[0] / factor == opened
                and steps[1] / factor == high
                and steps[2] / factor == low
                and steps[3] / factor == close
                and steps[1] < _CLEAR_STEPS
            ):
                return steps
            raise ValueError
        return price(opened), price(high), price(low), price(close)

    def _trade(self, record: Trade, now_us: int, last_price: int | None) -> TradeSteps:
        if type(record) is not Trade or record.symbol != self._symbol:
            raise ValueError
        ts, price, size = self._time(record.ts, now_us), self._price(record.price), self._size(record.size)
        trade_id, side = record.trade_id, record.side
        if type(trade_id) is not int or not -_INT8_MAX <= trade_id <= _INT8_MAX or price <= 0 or size <= 0:
            raise ValueError
        if type(side) not in _SIDES or not -1 <= side <= 1:
            raise ValueError
        if last_price and (price > last_price * self._spike or price * self._spike < last_price):
            raise ValueError
        return TradeSteps(ts, trade_id, price, size, int(side))

    def _order_book(self, record: OrderBook, now_us: int, last_mid: float | None) -> OrderBookSteps:
        if type(record) is not OrderBook or record.symbol != self._symbol:
            raise ValueError
        update_id = UNKNOWN_UPDATE_ID if record.last_update_id is None else record.last_update_id
        if type(update_id) is not int or not UNKNOWN_UPDATE_ID <= update_id <= _INT8_MAX:
            raise ValueError
        ts = self._time(record.ts, now_us)
        bids = self._side(record.bid_prices, record.bid_sizes, -1)
        asks = self._side(record.ask_prices, record.ask_sizes, 1)
        if len(bids[0]) and len(asks[0]):
            mid = int(bids[0][0]) + int(asks[0][0])
            stands_out = last_mid and (mid > last_mid * self._spike or mid * self._spike < last_mid)
            if stands_out or bids[0][0] >= asks[0][0]:
                raise ValueError
        return OrderBookSteps(ts, update_id, *bids, *asks)

    def _time(self, ts: Any, now_us: int) -> int:
        if type(ts) is not datetime or ts.tzinfo is not UTC:
            raise ValueError
        micros = (ts - EPOCH) // MICROSECOND
        if not self._earliest_us <= micros <= now_us + self._future_us:
            raise ValueError
        return micros

    def _side(
        self, prices: NDArray[np.float64], sizes: NDArray[np.float64], direction: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        if prices.shape != sizes.shape:
            raise ValueError
        price_steps, size_steps = _levels(prices, self._price.factor), _levels(sizes, self._size.factor)
        if not len(prices):
            return price_steps, size_steps
        # A level of size zero is none, and its removal is worth a notice: that is for the rules.
        if price_steps.min() <= 0 or size_steps.min() <= 0 or float(sum(size_steps.tolist())) >= _INT8_MAX:
            raise ValueError
        if ((price_steps[1:] - price_steps[:-1]) * direction <= 0).any():
            raise ValueError
        return price_steps, size_steps


class _Counter:
    """Turns single values into exact counts of steps, or raises."""

    __slots__ = ("_scale", "factor")

    def __init__(self, scale: int) -> None:
        self._scale = scale
        self.factor = 10.0**scale

    def __call__(self, value: Any) -> int:
        if type(value) is float:
            count: int = round(value * self.factor)
            if count / self.factor != value or not -_CLEAR_STEPS < count < _CLEAR_STEPS:
                raise ValueError
            return count
        return self._other(value)

    def _other(self, value: Any) -> int:
        if type(value) is str and value.isascii() and "_" not in value:
            value = Decimal(value)
        if type(value) is int and -_CLEAR_STEPS < value < _CLEAR_STEPS:
            value = Decimal(value)
        if type(value) is not Decimal:
            raise ValueError
        scaled = value.scaleb(self._scale, _DECIMALS)
        # By the exponent first: a text such as 1e999999999 must not be expanded.
        if scaled.adjusted() > _MOST_DIGITS:
            raise ValueError
        count = int(scaled)
        if count != scaled or not -AMBIGUOUS_STEPS < count < AMBIGUOUS_STEPS:
            raise ValueError
        return count


def _levels(values: NDArray[np.float64], factor: float) -> NDArray[np.int64]:
    if values.dtype != np.float64 or values.ndim != 1:
        raise ValueError
    counts = np.rint(values * factor)
    if not ((counts / factor == values).all() and (np.abs(counts) < _CLEAR_STEPS).all()):
        raise ValueError
    return counts.astype(np.int64)
