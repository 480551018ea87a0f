"""`Feed`: an exchange's live market data into a pipeline."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Self

from datalayer.domain.symbols import canonical_symbol
from datalayer.domain.timeframe import Timeframe
from datalayer.errors import InvalidInputError
from datalayer.ingestion import UnitOfWork
from datalayer.integrations.feeds.connection import Connection
from datalayer.integrations.feeds.exchange import Channel, Stream
from datalayer.integrations.feeds.gaps import GapKeeper
from datalayer.integrations.feeds.rest import RestClient
from datalayer.integrations.feeds.resuming import Resumption, register_instruments
from datalayer.integrations.feeds.router import Router
from datalayer.integrations.feeds.seconds import SecondBuilder
from datalayer.integrations.feeds.sequence import Sequence
from datalayer.integrations.feeds.settings import FeedSettings
from datalayer.integrations.feeds.statistics import FaultLog, FeedStatistics
from datalayer.integrations.feeds.symbol_state import BookSampling, SymbolState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from datalayer.domain.feed_gap import FeedGap
    from datalayer.ingestion import DataIngestionPipeline
    from datalayer.integrations.feeds.events import Quote
    from datalayer.integrations.feeds.exchange import Exchange
    from datalayer.integrations.feeds.seconds import Block
    from datalayer.integrations.feeds.sequence import Hole

DEFAULT_CHANNELS: Final = (Channel.TRADES, Channel.ORDER_BOOK)


class Feed:
    """Streams an exchange's market data into a pipeline, and keeps the series whole; to be used with `async with`.

    *Connections* are made anew when they are lost, silent or stalled, after waits that grow and are random, and before the exchange
    cuts them; then the successor is complete before the old one is closed. While the pipeline is slow, sockets are read slowly.

    *Holes* are noticed by trade ids, by open times of candles, and by the order book's own rules; also the one since the last
    start. They are noted in the database (`UnitOfWork.feed_gaps`), filled from the REST interface where the exchange
    has what is missing, and stay visible in `CoverageRepository.query_coverage` otherwise.

    *Nothing stops it* but the end of the pipeline: messages that cannot be read are counted, and kept in quarantine.

    *1s candles* are the exchange's own where it sends them and they are subscribed to; else they are made from the trades. Seconds
    that touch a hole in the trades are withheld until that is filled.

    Args:
        exchange: the adapter.
        symbols: in any known spelling. Those that are not registered are, with the scales that the exchange says.
        pipeline: open; it must stay so until the feed has stopped.
        channels: what to subscribe to besides candles.
        candles: timeframes of the candles; None: all that the exchange sends; empty: none.
        settings: how it works.
        on_quote: takes best bids and asks, which are not stored; it must be quick.

    Raises:
        InvalidInputError: a symbol names no pair or is there twice, there is none, or the exchange has no candles of a
            timeframe.
    """

    def __init__(
        self,
        exchange: Exchange,
        symbols: Iterable[str],
        *,
        pipeline: DataIngestionPipeline,
        channels: Iterable[Channel] = DEFAULT_CHANNELS,
        candles: Iterable[Timeframe | str] | None = None,
        settings: FeedSettings | None = None,
        on_quote: Callable[[Quote], None] | None = None,
    ) -> None:
        self._exchange, self._pipeline = exchange, pipeline
        self.settings = settings or FeedSettings()
        self.symbols = _checked_symbols(symbols)
        self._channels = frozenset(channels)
        self._timeframes = _checked_timeframes(exchange, candles)
        self._faults = FaultLog(exchange.name, self.settings.log_every_s)
        self._rest = RestClient(exchange, self.settings)
        states = {symbol: self._new_state(symbol) for symbol in self.symbols}
        self._router = Router(
            exchange,
            states=states,
            settings=self.settings,
            pipeline=pipeline,
            rest=self._rest,
            faults=self._faults,
            on_quote=on_quote,
        )
        self._router.gaps = self._gaps = GapKeeper(self._router, pipeline)
        self._connections = [Connection(self._router, streams) for streams in self._plan()]
        self._tasks: list[asyncio.Task[None]] = []
        self._resources = AsyncExitStack()

    async def start(self) -> Self:
        """Register instruments, find out where to go on, and begin to stream.

        Raises:
            ExchangeError: the exchange does not say what a symbol is.
            InvalidInputError: it does not have a symbol.
            DatabaseError: the server refuses, or is away.
        """
        await self._resources.enter_async_context(self._rest)
        try:
            await self._pipeline.flush()  # what an earlier run left in the outbox
            await register_instruments(self._pipeline.database, self._exchange, self._rest, self.symbols)
            for gap, hole, block in await self._resume():
                self._gaps.open(gap, hole, block)
        except BaseException:
            await self._resources.aclose()
            raise
        self._tasks = [
            asyncio.create_task(connection.run(), name=f"{self._exchange.name} connection")
            for connection in self._connections
        ]
        return self

    async def stop(self) -> None:
        """Close the connections, after what has come is taken in. May be repeated."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._gaps.stop()
        await self._resources.aclose()

    async def wait(self) -> None:
        """Wait until the feed ends; that is when it is stopped, or fails for a reason that no new connection can mend.

        Raises:
            IngestionClosedError: the pipeline was closed.
        """
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            if not task.cancelled():
                task.result()

    async def idle(self) -> None:
        """Wait until no hole is being taken care of: each is filled, lost, or left open."""
        await self._gaps.idle()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def statistics(self) -> FeedStatistics:
        """A snapshot of what it has done, and how it is."""
        states = self._router.states.items()
        has_books = Channel.ORDER_BOOK in self._channels
        return FeedStatistics(
            self._exchange.name,
            tuple(connection.statistics for connection in self._connections),
            dict(self._router.events),
            dict(self._faults.counts),
            {state: count for state, count in self._gaps.counts.items() if count},
            tuple(symbol for symbol, state in states if has_books and not state.books.is_valid),
        )

    async def _resume(self) -> list[tuple[FeedGap, Hole, Block | None]]:
        gaps = []
        async with UnitOfWork(self._pipeline.database) as uow:
            for symbol in self.symbols:
                state = self._router.states[symbol]
                lookback = timedelta(seconds=self.settings.lookback_s)
                gaps += await Resumption(uow, symbol, state, self._exchange.name, lookback).run()
        return gaps

    def _new_state(self, symbol: str) -> SymbolState:
        makes_seconds = Channel.TRADES in self._channels and Timeframe.S1 not in self._timeframes
        return SymbolState(
            trades=Sequence(),
            candles={timeframe: Sequence() for timeframe in self._timeframes},
            books=BookSampling(self.settings),
            seconds=SecondBuilder(symbol, self.settings.silent_seconds) if makes_seconds else None,
        )

    def _plan(self) -> list[list[Stream]]:
        streams = [
            Stream(symbol, channel, timeframe)
            for symbol in self.symbols
            for channel in Channel
            if channel in self._channels or channel is Channel.CANDLES
            for timeframe in (self._timeframes if channel is Channel.CANDLES else (None,))
        ]
        most = self._exchange.limits.streams_per_connection
        return [streams[first : first + most] for first in range(0, len(streams), most)]


def _checked_symbols(symbols: Iterable[str]) -> tuple[str, ...]:
    canonical = tuple(canonical_symbol(symbol) for symbol in symbols)
    if not canonical or len(set(canonical)) < len(canonical):
        raise InvalidInputError("symbols", canonical, "give at least one, and each once")
    return canonical


def _checked_timeframes(
    exchange: Exchange, candles: Iterable[Timeframe | str] | None
) -> tuple[Timeframe, ...]:
    chosen = exchange.timeframes if candles is None else {Timeframe.parse(one) for one in candles}
    if missing := chosen - exchange.timeframes:
        labels = ", ".join(one.label for one in sorted(exchange.timeframes)) or "none"
        raise InvalidInputError("candles", min(missing).label, f"{exchange.name} sends {labels}")
    return tuple(sorted(chosen))
