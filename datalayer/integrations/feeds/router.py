"""From events of an exchange to the pipeline: what comes twice is dropped, what is missing is noticed."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from datalayer.domain.candle import Candle
from datalayer.domain.feed_gap import FeedGap
from datalayer.domain.moments import EPOCH, from_microseconds, to_microseconds
from datalayer.domain.trade import Trade
from datalayer.errors import InvalidInputError
from datalayer.ingestion import Ingested
from datalayer.integrations.feeds.events import Heartbeat, Quote, Unknown
from datalayer.integrations.feeds.exchange import Channel
from datalayer.integrations.feeds.sequence import Hole, Seen
from datalayer.integrations.feeds.symbol_state import order_book

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from datalayer.domain.coverage import SeriesKind
    from datalayer.domain.timeframe import Timeframe
    from datalayer.ingestion import DataIngestionPipeline
    from datalayer.integrations.depth import BookEvent, BookRules
    from datalayer.integrations.feeds.events import FeedEvent
    from datalayer.integrations.feeds.exchange import Exchange, Stream
    from datalayer.integrations.feeds.gaps import GapKeeper
    from datalayer.integrations.feeds.rest import RestClient
    from datalayer.integrations.feeds.settings import FeedSettings
    from datalayer.integrations.feeds.statistics import FaultLog
    from datalayer.integrations.feeds.symbol_state import SymbolState

_SECOND_US: Final = 1_000_000
_MOST_AHEAD: Final = timedelta(minutes=5)  # as the rules of the pipeline have it


class Router:
    """Takes the events of all connections of a feed; see `Feed`.

    Attributes:
        symbols: canonical symbols by the spelling of the exchange.
        states: by canonical symbol.
        events: what went to the pipeline, by kind.
        faults: what was wrong, by kind.
        gaps: takes the holes; set by the feed.
    """

    gaps: GapKeeper

    def __init__(
        self,
        exchange: Exchange,
        *,
        states: Mapping[str, SymbolState],
        settings: FeedSettings,
        pipeline: DataIngestionPipeline,
        rest: RestClient,
        faults: FaultLog,
        on_quote: Callable[[Quote], None] | None,
    ) -> None:
        self.exchange, self.states, self.settings, self.rest = exchange, states, settings, rest
        self.symbols = {exchange.spell(symbol): symbol for symbol in states}
        self.events: Counter[str] = Counter()
        self.faults = faults
        self._pipeline, self._on_quote = pipeline, on_quote

    async def take(self, event: FeedEvent, frame: str | bytes | None) -> None:
        """Take an event in; returns when the pipeline has it safe."""
        match event:
            case Trade() | Candle() if self._is_ahead(event.ts):
                await self._ahead(event, frame)
            case Trade():
                await self._trade(event, frame)
            case Candle():
                await self._candle(event, frame)
            case Quote():
                self.events["quotes"] += 1
                if self._on_quote is not None:
                    self._on_quote(event)
            case Heartbeat():
                await self._heartbeat(event)
            case Unknown(kind):
                error = InvalidInputError("kind", kind, "no message that this feed reads")
                await self.keep(frame or "", "unknown", error)

    async def keep(self, frame: str | bytes, kind: str, error: InvalidInputError) -> None:
        """Count a message that cannot be read, and keep it in quarantine."""
        self.faults.note(kind, error)
        await self._pipeline.reject_message(frame, error)

    def disconnected(self, streams: Iterable[Stream]) -> None:
        """Note that a connection of some streams has ended: what is missing from now on is for that."""
        for stream in streams:
            state = self.states[stream.symbol]
            series = state.candles.get(stream.timeframe) if stream.timeframe is not None else None
            series = state.trades if stream.channel is Channel.TRADES else series
            if series is not None and series.cause == "sequence":
                series.cause = "reconnect"

    async def book_changed(
        self, symbol: str, time_us: int, event: BookEvent, book: BookRules, frame: str | bytes
    ) -> None:
        """Take in that a message was handed to an order book; a sample goes to the pipeline when one is due."""
        if self._is_ahead(time := from_microseconds(time_us)):
            self.faults.note("ahead", f"{symbol}: an order book of {time}")
            return
        await self._clock(symbol, time_us)
        sampling = self.states[symbol].books
        if (sample := sampling.find_sample(time_us, event, book)) is None:
            return
        snapshot = order_book(symbol, sample)
        hole = sampling.find_hole(snapshot.ts)
        outcome = await self._pipeline.ingest_orderbook_snapshot(snapshot, received=frame)
        self._count("order_books", outcome)
        if hole is not None:
            since, cause, missing = hole
            source = self.exchange.name
            self.gaps.note_lost(
                FeedGap(symbol, "order_books", None, since, snapshot.ts, source, cause, missing)
            )

    async def ingest_seconds(self, candles: Iterable[Candle]) -> None:
        """Hand over 1s candles that were made from trades."""
        for candle in candles:
            self._count("candles", await self._pipeline.ingest_ohlcv_candle(candle))

    @staticmethod
    def _is_ahead(time: datetime) -> bool:
        """Tell whether a time is nonsense: whatever waits for it would wait for years, and what is between would count as missing."""
        return time - datetime.now(UTC) > _MOST_AHEAD

    async def _ahead(self, event: Trade | Candle, frame: str | bytes | None) -> None:
        """Hand a record from far ahead to the pipeline, which refuses it; nothing here goes by it, and what it stands for is missing."""
        self.faults.note("ahead", event)
        if isinstance(event, Trade):
            self._count("trades", await self._pipeline.ingest_trade(event, received=frame))
        else:
            self._count("candles", await self._pipeline.ingest_ohlcv_candle(event, received=frame))

    async def _trade(self, trade: Trade, frame: str | bytes | None) -> None:
        state = self.states[trade.symbol]
        before, cause = state.trades.time, state.trades.cause
        seen, hole = state.trades.see(trade.trade_id, trade.ts)
        if seen is Seen.REPEATED:
            self.faults.counts["repeated"] += 1
            return
        if seen is not Seen.NEXT and frame is not None:
            self.faults.note("late" if seen is Seen.MISSED else "restarted", trade)
        if seen is Seen.NEXT and hole is not None:
            self._open(trade.symbol, None, hole)
        candles: list[Candle] = []
        if state.seconds is not None:
            if seen is Seen.NEXT and cause == "restart" and before is not None:
                since = before - timedelta(seconds=self.settings.lookback_s)
                state.seconds.block(max(since, state.whole_from), trade.ts, is_complete=True)
            candles = state.seconds.take(trade, is_next=seen is Seen.NEXT)
        # The candles first: what a death in between leaves out is after the last stored trade, where the next start looks.
        await self.ingest_seconds(candles)
        outcome = await self._pipeline.ingest_trade(trade, received=frame)
        self._count("trades" if frame is not None else "backfilled_trades", outcome)
        if outcome is Ingested.REJECTED and state.seconds is not None:
            state.seconds.block(trade.ts, trade.ts, is_complete=True)
        await self._clock(trade.symbol, to_microseconds(trade.ts))

    async def _candle(self, candle: Candle, frame: str | bytes | None) -> None:
        series = self.states[candle.symbol].candles[candle.timeframe]
        number = (candle.ts - EPOCH) // candle.timeframe.length
        if candle.is_forming:
            hole, seen = series.expect(number, candle.ts), None
            if series.last is not None and number <= series.last:
                self.faults.counts["repeated"] += 1
                return
        else:
            seen, hole = series.see(number, candle.ts)
        if seen in (Seen.MISSED, Seen.REPEATED) and frame is not None:
            self.faults.counts["late" if seen is Seen.MISSED else "repeated"] += 1
        elif hole is not None and seen is not Seen.MISSED:
            self._open(candle.symbol, candle.timeframe, hole)
        outcome = await self._pipeline.ingest_ohlcv_candle(candle, received=frame)
        kind = "forming" if candle.is_forming else "candles"
        self._count(kind if frame is not None else "backfilled_candles", outcome)

    async def _heartbeat(self, event: Heartbeat) -> None:
        state = self.states[event.symbol]
        time = from_microseconds(event.time_us)
        if self._is_ahead(time):
            self.faults.note("ahead", event)
            return
        if event.last_trade_id is not None and state.trades.last is not None:
            hole = state.trades.expect(event.last_trade_id + 1, time)
            if hole is not None:
                self._open(event.symbol, None, hole)
        await self._clock(event.symbol, event.time_us)

    async def _clock(self, symbol: str, time_us: int) -> None:
        """Note the exchange's time: seconds may be over."""
        state = self.states[symbol]
        if (builder := state.seconds) is None:
            return
        # After a lost connection the order book may speak first; the second that broke off waits for the trades to tell.
        if state.trades.cause == "sequence":
            grace_us = self.settings.second_grace_ms * 1_000
            await self.ingest_seconds(builder.advance((time_us - grace_us) // _SECOND_US))
        self.gaps.rebuild_due(symbol)

    def _open(self, symbol: str, timeframe: Timeframe | None, hole: Hole) -> None:
        """Have a hole taken care of, in candles or (timeframe None) in trades."""
        kind: SeriesKind = "trades" if timeframe is None else "candles"
        span, source, block = (hole.start, hole.end), self.exchange.name, None
        ids: tuple[int | None, int | None] = hole.first, hole.last
        if timeframe is not None:
            length = timeframe.length
            span, ids = (EPOCH + hole.first * length, EPOCH + (hole.last + 1) * length), (None, None)
        elif (builder := self.states[symbol].seconds) is not None:
            block = builder.block(hole.start, hole.end)
        gap = FeedGap(symbol, kind, timeframe, *span, source, hole.cause, hole.size, *ids)
        self.gaps.open(gap, hole, block)

    def _count(self, kind: str, outcome: Ingested) -> None:
        if outcome is Ingested.REJECTED:
            self.faults.note("rejected", kind)
        else:
            self.events[kind] += 1
