"""What the writer does for each kind of events: columns for the database, and single events back as what they were."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from datalayer.db.copy_columns import Column
from datalayer.domain.candle import UNKNOWN_COUNT, Candle
from datalayer.domain.imbalances import OrderBookImbalances
from datalayer.domain.moments import from_microseconds
from datalayer.domain.order_book import UNKNOWN_UPDATE_ID, OrderBook
from datalayer.domain.order_book_frame import IMBALANCES
from datalayer.domain.steps import PriceType, from_steps
from datalayer.domain.timeframe import Timeframe
from datalayer.domain.trade import Side, Trade
from datalayer.ingestion.codec import (
    CANDLE_DTYPE,
    IMBALANCE_DTYPE,
    TRADE_DTYPE,
    decode_order_book,
    decode_rows,
)
from datalayer.ingestion.events import EventKind
from datalayer.ingestion.rescaled import Rescaling, first_of_key, last_known, last_of_key
from datalayer.repositories import step_writes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from sqlalchemy.ext.asyncio import AsyncConnection

    from datalayer.db.copy_columns import PgType
    from datalayer.domain.instrument import Instrument
    from datalayer.domain.validation.plain import OrderBookSteps
    from datalayer.domain.write_counts import WriteCounts
    from datalayer.ingestion.streams import Streams

_PRICES: Final = ("open", "high", "low", "close")
_LEVELS: Final = ("bid_prices", "bid_sizes", "ask_prices", "ask_sizes")
Item = Candle | Trade | OrderBook | OrderBookImbalances


class Store(Protocol):
    """Events of one kind."""

    kind: EventKind

    def numbers(self, payloads: Sequence[bytes]) -> NDArray[np.uint32]:
        """Return the stream of each event."""

    def columns(
        self, payloads: Sequence[bytes], streams: Streams, stored: Mapping[str, Instrument]
    ) -> tuple[list[Column], NDArray[np.bool_]]:
        """Return the rows to write, and which events the stored scales do not hold."""

    async def write(self, conn: AsyncConnection, columns: Sequence[Column]) -> WriteCounts:
        """Write them."""

    def item(self, payload: bytes, streams: Streams, price_type: PriceType) -> Item:
        """Return one event as it is in the cache, with prices and sizes of a type."""


class CandleStore:
    """Candles; of several revisions of one candle the last counts."""

    kind = EventKind.CANDLE

    def numbers(self, payloads: Sequence[bytes]) -> NDArray[np.uint32]:
        """Return the stream of each event."""
        return np.asarray(decode_rows(payloads, CANDLE_DTYPE)["stream"])

    def columns(
        self, payloads: Sequence[bytes], streams: Streams, stored: Mapping[str, Instrument]
    ) -> tuple[list[Column], NDArray[np.bool_]]:
        """Return the rows to write, and which events the stored scales do not hold."""
        rows = decode_rows(payloads, CANDLE_DTYPE)
        rescale = Rescaling(rows["stream"], streams, stored)
        steps = {name: rescale(rows[name], "price") for name in _PRICES}
        steps["volume"] = rescale(rows["volume"], "size")
        fit = np.flatnonzero(~rescale.misfits)
        key = [rescale.ids[fit], rows["timeframe"][fit], rows["ts"][fit]]
        kept = fit[last_of_key(*key)]
        # As if all revisions were written one by one: a count stays known if a later revision does not say it.
        counts = rows["trade_count"][fit][last_known(rows["trade_count"][fit] != UNKNOWN_COUNT, *key)]
        columns = [
            Column("instrument_id", "int2", rescale.ids[kept]),
            Column("timeframe", "int4", rows["timeframe"][kept].astype(np.int32)),
            _times(rows["ts"][kept]),
            *(Column(name, "int8", values[kept]) for name, values in steps.items()),
            _nullable("trade_count", "int4", counts, counts != UNKNOWN_COUNT),
        ]
        return columns, rescale.misfits

    async def write(self, conn: AsyncConnection, columns: Sequence[Column]) -> WriteCounts:
        """Write them."""
        return await step_writes.write_candle_steps(conn, columns)

    def item(self, payload: bytes, streams: Streams, price_type: PriceType) -> Candle:
        """Return one event as it was handed in, with prices and sizes of a type."""
        row = decode_rows([payload], CANDLE_DTYPE)[0]
        stream = streams[int(row["stream"])]
        prices = {name: _value(row[name], stream.scales[0], price_type) for name in _PRICES}
        return Candle(
            symbol=stream.symbol,
            timeframe=Timeframe(int(row["timeframe"])),
            ts=from_microseconds(int(row["ts"])),
            **prices,
            volume=_value(row["volume"], stream.scales[1], price_type),
            trade_count=None if row["trade_count"] == UNKNOWN_COUNT else int(row["trade_count"]),
        )


class TradeStore:
    """Trades; of several of one time and id the first counts."""

    kind = EventKind.TRADE

    def numbers(self, payloads: Sequence[bytes]) -> NDArray[np.uint32]:
        """Return the stream of each event."""
        return np.asarray(decode_rows(payloads, TRADE_DTYPE)["stream"])

    def columns(
        self, payloads: Sequence[bytes], streams: Streams, stored: Mapping[str, Instrument]
    ) -> tuple[list[Column], NDArray[np.bool_]]:
        """Return the rows to write, and which events the stored scales do not hold."""
        rows = decode_rows(payloads, TRADE_DTYPE)
        rescale = Rescaling(rows["stream"], streams, stored)
        price, size = rescale(rows["price"], "price"), rescale(rows["size"], "size")
        fit = np.flatnonzero(~rescale.misfits)
        kept = fit[first_of_key(rescale.ids[fit], rows["ts"][fit], rows["trade_id"][fit])]
        columns = [
            Column("instrument_id", "int2", rescale.ids[kept]),
            _times(rows["ts"][kept]),
            Column("trade_id", "int8", rows["trade_id"][kept].astype(np.int64)),
            Column("price", "int8", price[kept]),
            Column("size", "int8", size[kept]),
            Column("side", "int2", rows["side"][kept].astype(np.int16)),
        ]
        return columns, rescale.misfits

    async def write(self, conn: AsyncConnection, columns: Sequence[Column]) -> WriteCounts:
        """Write them."""
        return await step_writes.write_trade_steps(conn, columns)

    def item(self, payload: bytes, streams: Streams, price_type: PriceType) -> Trade:
        """Return one event as it was handed in, with prices and sizes of a type."""
        row = decode_rows([payload], TRADE_DTYPE)[0]
        stream = streams[int(row["stream"])]
        price, size = (
            _value(row[name], scale, price_type)
            for name, scale in zip(("price", "size"), stream.scales, strict=True)
        )
        side = Side(int(row["side"]))
        return Trade(
            stream.symbol, from_microseconds(int(row["ts"])), int(row["trade_id"]), price, size, side
        )


class OrderBookStore:
    """Order-book snapshots; of several of one time the first counts."""

    kind = EventKind.ORDER_BOOK

    def numbers(self, payloads: Sequence[bytes]) -> NDArray[np.uint32]:
        """Return the stream of each event."""
        return np.array([int.from_bytes(payload[:4], "little") for payload in payloads], np.uint32)

    def columns(
        self, payloads: Sequence[bytes], streams: Streams, stored: Mapping[str, Instrument]
    ) -> tuple[list[Column], NDArray[np.bool_]]:
        """Return the rows to write, and which events the stored scales do not hold."""
        books = [decode_order_book(payload)[1] for payload in payloads]
        rescale = Rescaling(self.numbers(payloads), streams, stored)
        times = np.array([book.ts for book in books], np.int64)
        sides = [_side(side, books, rescale) for side in ("bid", "ask")]
        update_ids = np.array([book.last_update_id for book in books], np.int64)
        fit = np.flatnonzero(~rescale.misfits)
        kept = fit[first_of_key(rescale.ids[fit], times[fit])]
        columns = [
            Column("instrument_id", "int2", rescale.ids),
            _times(times),
            _nullable("last_update_id", "int8", update_ids, update_ids != UNKNOWN_UPDATE_ID),
            *(column for side in sides for column in side),
        ]
        return [column.rows(kept) for column in columns], rescale.misfits

    async def write(self, conn: AsyncConnection, columns: Sequence[Column]) -> WriteCounts:
        """Write them."""
        return await step_writes.write_order_book_steps(conn, columns)

    def item(self, payload: bytes, streams: Streams, price_type: PriceType) -> OrderBook:
        """Return one event as it was handed in, with prices and sizes of a type."""
        number, book = decode_order_book(payload)
        stream = streams[number]
        scales = dict(zip(_LEVELS, (*stream.scales, *stream.scales), strict=True))
        levels = {name: from_steps(getattr(book, name), scale, price_type) for name, scale in scales.items()}
        return OrderBook(
            symbol=stream.symbol,
            ts=from_microseconds(int(book.ts)),
            **levels,
            last_update_id=None if book.last_update_id == UNKNOWN_UPDATE_ID else book.last_update_id,
        )


class ImbalanceStore:
    """Imbalances; of several of one moment the last counts."""

    kind = EventKind.IMBALANCE

    def numbers(self, payloads: Sequence[bytes]) -> NDArray[np.uint32]:
        """Return the stream of each event."""
        return np.asarray(decode_rows(payloads, IMBALANCE_DTYPE)["stream"])

    def columns(
        self, payloads: Sequence[bytes], streams: Streams, stored: Mapping[str, Instrument]
    ) -> tuple[list[Column], NDArray[np.bool_]]:
        """Return the rows to write; there are no scales that could not hold them."""
        rows = decode_rows(payloads, IMBALANCE_DTYPE)
        rescale = Rescaling(rows["stream"], streams, stored)
        kept = last_of_key(rescale.ids, rows["ts"])
        known = {name: ~np.isnan(rows[name][kept]) for name in IMBALANCES}
        columns = [
            Column("instrument_id", "int2", rescale.ids[kept]),
            _times(rows["ts"][kept]),
            *(_nullable(name, "float8", np.nan_to_num(rows[name][kept]), known[name]) for name in IMBALANCES),
        ]
        return columns, rescale.misfits

    async def write(self, conn: AsyncConnection, columns: Sequence[Column]) -> WriteCounts:
        """Write them."""
        return await step_writes.write_imbalance_rows(conn, columns)

    def item(self, payload: bytes, streams: Streams, price_type: PriceType) -> OrderBookImbalances:  # noqa: ARG002
        """Return one event as it is in the cache; it has no prices."""
        row = decode_rows([payload], IMBALANCE_DTYPE)[0]
        values = [float(row[name]) for name in IMBALANCES]
        return OrderBookImbalances(
            streams[int(row["stream"])].symbol, from_microseconds(int(row["ts"])), *values
        )


def _times(micros: NDArray[Any]) -> Column:
    return Column("ts", "timestamptz", micros.astype(np.int64).view("datetime64[us]"))


def _nullable(name: str, pg_type: PgType, values: NDArray[Any], valid: NDArray[np.bool_]) -> Column:
    # What is NULL has one value under it: rows that are equal must not differ there.
    return Column(name, pg_type, np.where(valid, values, 0), None if valid.all() else valid)


def _side(side: str, books: Sequence[OrderBookSteps], rescale: Rescaling) -> list[Column]:
    prices, sizes = ([getattr(book, f"{side}_{name}") for book in books] for name in ("prices", "sizes"))
    lengths = np.array([len(levels) for levels in prices], np.int64)
    price_steps = rescale(_padded(prices, lengths), "price")
    size_steps = rescale(_padded(sizes, lengths), "size")
    best = price_steps[:, 0] if price_steps.shape[1] else np.zeros(len(lengths), np.int64)
    return [
        Column(f"{side}_prices", "int8[]", price_steps, lengths=lengths),
        Column(f"{side}_sizes", "int8[]", size_steps, lengths=lengths),
        Column(f"best_{side}", "int8", best, None if lengths.all() else lengths > 0),
        Column(f"{side}_volume", "int8", size_steps.sum(axis=1)),
    ]


def _padded(levels: list[NDArray[np.int64]], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    padded = np.zeros((len(levels), int(lengths.max(initial=0))), np.int64)
    padded[np.arange(padded.shape[1]) < lengths[:, None]] = np.concatenate(levels)
    return padded


def _value(steps: Any, scale: int, price_type: PriceType) -> Any:
    value = from_steps(np.array([steps], np.int64), scale, price_type)[0]
    return value.item() if isinstance(value, np.generic) else value
