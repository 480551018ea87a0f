"""Where a feed goes on: instruments that it has to register, what is stored last, and holes that are not filled."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pandas as pd

from datalayer.domain.feed_gap import FeedGap
from datalayer.domain.moments import EPOCH
from datalayer.ingestion import UnitOfWork
from datalayer.integrations.feeds.seconds import SECOND, second_of
from datalayer.integrations.feeds.sequence import Hole, Sequence
from datalayer.repositories import CoverageRepository

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy.ext.asyncio import AsyncEngine

    from datalayer.db.connection import DatabaseConnectionManager
    from datalayer.domain.coverage import StoredRange
    from datalayer.domain.timeframe import Timeframe
    from datalayer.integrations.feeds.exchange import Exchange
    from datalayer.integrations.feeds.rest import RestClient
    from datalayer.integrations.feeds.seconds import Block
    from datalayer.integrations.feeds.symbol_state import SymbolState

_CLOCKS_APART = timedelta(days=1)


async def register_instruments(
    database: DatabaseConnectionManager | AsyncEngine,
    exchange: Exchange,
    rest: RestClient,
    symbols: Iterable[str],
) -> None:
    """Register the symbols that are not, with the scales that the exchange says.

    Raises:
        ExchangeError: it does not say.
        InvalidInputError: it does not have a symbol, or its answer cannot be read.
        DatabaseError: the server refuses.
    """
    async with UnitOfWork(database) as uow:
        known = {instrument.symbol for instrument in await uow.instruments.list_all()}
    listed = [
        exchange.parse_instrument(await rest.get(exchange.instrument_request(symbol)), symbol)
        for symbol in symbols
        if symbol not in known
    ]
    async with UnitOfWork(database) as uow:
        for one in listed:
            await uow.instruments.ensure(one.symbol, one.scales.price, one.scales.size, details=one.details)
        await uow.commit()


class Resumption:
    """Makes the state of one symbol go on from what is stored.

    Args:
        uow: reads only.
        symbol: canonical, registered.
        state: fresh.
        source: name of the exchange.
        lookback: how far before the last trade and candle holes are looked for that nobody has noted.
    """

    def __init__(
        self, uow: UnitOfWork, symbol: str, state: SymbolState, source: str, lookback: timedelta
    ) -> None:
        self._uow, self._symbol, self._state = uow, symbol, state
        self._source, self._lookback = source, lookback
        self._coverage = CoverageRepository(uow.connection)
        self._as_of = datetime.now(UTC) + _CLOCKS_APART
        self._gaps: list[tuple[FeedGap, Hole, Block | None]] = []

    async def run(self) -> list[tuple[FeedGap, Hole, Block | None]]:
        """Return the holes that are to be filled, as `GapKeeper.open` takes them.

        Raises:
            DatabaseError: the server refuses.
        """
        known = await self._uow.feed_gaps.list_gaps([self._symbol])
        ranges = await self._coverage.list_stored_ranges([self._symbol], as_of=self._as_of)
        for stored in ranges:
            if stored.kind == "order_books":
                self._state.books.resume(stored.last)
            elif stored.kind == "trades":
                await self._trades(stored, [gap for gap in known if gap.kind == "trades"])
            elif stored.timeframe in self._state.candles:
                timeframe = stored.timeframe
                await self._candles(stored, timeframe, [gap for gap in known if gap.timeframe is timeframe])
        if ranges:
            self._expect_first_candles(max(stored.last for stored in ranges))
        return self._gaps

    def _expect_first_candles(self, last: datetime) -> None:
        """A timeframe of which nothing is stored yet: the candle that formed when the last run ended is the first."""
        for timeframe, series in self._state.candles.items():
            if series.last is None:
                number = (last - EPOCH) // timeframe.length - 1
                self._state.candles[timeframe] = Sequence(number, EPOCH + number * timeframe.length)

    async def _trades(self, stored: StoredRange, noted: list[FeedGap]) -> None:
        last = await self._uow.trades.query_trades(self._symbol, limit=1, as_of=self._as_of)
        ids = self._state.trades = Sequence(int(last["trade_id"].iloc[0]), stored.last)
        self._state.whole_from = EPOCH + (second_of(stored.first) + 1) * SECOND
        found = await self._uow.feed_gaps.list_trade_id_gaps(self._symbol, stored.last - self._lookback)
        for first, final, start, end in found:
            if not any((gap.first_id or 0) <= final and first <= (gap.last_id or 0) for gap in noted):
                gap = FeedGap(self._symbol, "trades", None, start, end, self._source, "restart")
                gap = replace(gap, missing=final - first + 1, first_id=first, last_id=final)
                noted.append(gap)
        for gap in noted:
            if gap.first_id is not None and gap.last_id is not None:
                self._add(gap, ids, gap.first_id, gap.last_id)

    async def _candles(self, stored: StoredRange, timeframe: Timeframe, noted: list[FeedGap]) -> None:
        length = timeframe.length
        series = self._state.candles[timeframe] = Sequence((stored.last - EPOCH) // length, stored.last)
        since = max(stored.first, stored.last - self._lookback)
        missing = await self._coverage.query_missing_intervals(
            self._symbol, timeframe, since, stored.last, as_of=self._as_of, stored_only=True
        )
        starts, ends = (pd.DatetimeIndex(missing[name]).to_pydatetime() for name in ("start", "end"))
        for start, end in zip(starts, ends, strict=True):
            if not any(gap.start < end and start < gap.end for gap in noted):
                count = (end - start) // length
                gap = FeedGap(self._symbol, "candles", timeframe, start, end, self._source, "restart", count)
                noted.append(gap)
        for gap in noted:
            self._add(gap, series, (gap.start - EPOCH) // length, (gap.end - EPOCH) // length - 1)

    def _add(self, gap: FeedGap, series: Sequence, first: int, last: int) -> None:
        builder, block = self._state.seconds, None
        if builder is not None and gap.kind == "trades":
            block = builder.block(gap.start, gap.end)
        if gap.state == "open":
            hole = Hole(first, last, gap.start, gap.end, gap.cause)
            series.holes.append(hole)
            self._gaps.append((gap, hole, block))
