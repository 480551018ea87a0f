"""`UnifiedDataProvider`: one API for live inference, annotation and backtests."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args, overload

from datalayer.cache.guarded_store import wall_clock
from datalayer.domain.moments import utc_moment
from datalayer.domain.order_book_frame import Aggregation
from datalayer.domain.timeframe import Timeframe
from datalayer.errors import InvalidInputError
from datalayer.provider.arguments import checked_count, checked_range, checked_window, recipes_of
from datalayer.provider.candle_answers import CandleQuery, CandleReader
from datalayer.provider.event_answers import BookQuery, EventReader, TradeQuery
from datalayer.provider.freshness import refuse_stale
from datalayer.provider.inference import InferenceQuery, InferenceReader, is_empty
from datalayer.provider.reads import span_text
from datalayer.provider.reports import ProviderReports
from datalayer.provider.subscribing import subscription_to
from datalayer.timings import timed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    import pandas as pd
    from sqlalchemy.ext.asyncio import AsyncEngine

    from datalayer.cache import DataCacheManager
    from datalayer.db.connection import DatabaseConnectionManager
    from datalayer.domain.indicators import Indicator
    from datalayer.domain.inference_frame import InferenceDataFrame
    from datalayer.domain.order_book_frame import OrderBookDataFrame
    from datalayer.provider.settings import ProviderSettings
    from datalayer.provider.subscription import Subscription
    from datalayer.provider.updates import WhenSlow


class UnifiedDataProvider(ProviderReports):
    """Answers every question about market data, of now and of any moment before, in one form.

        async with datalayer.connect(symbols=["BTC/USDT"]) as market:
            now = await market.get_inference_data("BTC/USDT")
            then = await market.get_inference_data("BTC/USDT", datetime(2024, 8, 8, 10, tzinfo=UTC))

    *Live and historical answers are the same.* What is in an answer was visible at its `as_of`, and nothing later. A live
    answer has as its `as_of` the last moment of which everything has come, at most `settle_s` ago; ask history for that very
    moment, later, and the same comes back: candles, those that form, order book, imbalances, indicators. What may differ
    is what came later than `settle_s`, or out of its order; where an answer relied on silence it says so
    (`quality.unconfirmed_s`).

    *Cache and database are one series.* What the cache has completely comes from it, the rest from the database, joined at
    open times: no gap, nothing twice. On a warm cache a live answer makes no round trip. `sources` tells where each part is from.

    *Old data are told.* `quality` has ages and marks what is stale; with `max_age_s` stale data are refused.

    It belongs to the event loop that opened it; `datalayer.sync` has the same for threads and scripts.

    Args:
        database: an open connection manager, or an engine; it stays the caller's.
        cache: filled by a `DataIngestionPipeline` in this process. None: an own, empty one.
        symbols: what may be asked for, in any known spelling; they are loaded into the cache by `open()`. None: whatever is
            registered.
        timeframes: what may be asked for, and what an answer has if nothing else is said.
        indicators: what `get_inference_data` computes if nothing else is said.
        settings: how it answers.
        clock: returns the time, aware; the cache's should be the same one.

    Raises:
        InvalidInputError: a symbol or timeframe cannot be read or is there twice, or two indicators make one column.
    """

    def __init__(
        self,
        database: DatabaseConnectionManager | AsyncEngine,
        *,
        cache: DataCacheManager | None = None,
        symbols: Iterable[str] | None = None,
        timeframes: Iterable[Timeframe | str] = tuple(Timeframe),
        indicators: Sequence[Indicator] = (),
        settings: ProviderSettings | None = None,
        clock: Callable[[], datetime] = wall_clock,
    ) -> None:
        super().__init__(
            database,
            cache=cache,
            symbols=symbols,
            timeframes=timeframes,
            indicators=indicators,
            settings=settings,
            clock=clock,
        )
        self._inference = InferenceReader(self._cache, self.settings)
        self._candles = CandleReader(self._cache, self.settings, self._reads)
        self._events = EventReader(self._cache, self.settings, self._reads)
        self._recipes = recipes_of(self._indicators)

    @timed("provider", "inference_data")
    async def get_inference_data(
        self,
        symbol: str,
        timestamp: datetime | None = None,
        context_window_minutes: float = 5.0,
        *,
        timeframes: Iterable[Timeframe | str] | None = None,
        candles: int = 100,
        indicators: Sequence[Indicator] | None = None,
        include_forming: bool = True,
        include_order_book: bool = True,
        max_age_s: float | Mapping[str, float] | None = None,
    ) -> InferenceDataFrame:
        """Return everything that is known of a symbol at one moment.

        Args:
            symbol: in any known spelling.
            timestamp: the moment, aware. None: now.
            context_window_minutes: candles that closed in the minutes before and after the moment are given apart, as
                `context_before` and `context_after`. The latter holds the future of `timestamp`: for annotation and training
                targets, never for features. Live there is none. 0: no context.
            timeframes: some of the provider's. None: all of them.
            candles: number of candles of each timeframe; there are fewer if fewer are stored. Of 1s, those of `window_s`.
            indicators: computed over `settings.depth` candles up to each row. None: the provider's.
            include_forming: give the candle that was not closed as the last one of each timeframe, marked.
            include_order_book: give the last order book and imbalances, at most `window_s` old.
            max_age_s: refuse data that are older at `timestamp`, in seconds: of all parts, or by part as in
                `quality.staleness_s` (`{"order_book": 5}`); of candles since the next one should have closed. Live it counts
                from the moment of the call, and the answer lies up to `settle_s` before that: a limit below `settle_s` and
                the time between two books refuses answers that nothing is wrong with. None: any age.

        Raises:
            InvalidInputError: the symbol or a timeframe is none of the provider's, or `timestamp` is naive or in the future.
            NoDataError: nothing of the symbol was visible then; tells what is stored.
            StaleDataError: a part is older than `max_age_s`, or not there.
            DatabaseError: the server refuses.
        """
        name = await self._known(symbol)
        query = InferenceQuery(
            name,
            None if timestamp is None else utc_moment(timestamp, "timestamp"),
            checked_window(context_window_minutes),
            self._catalog.chosen(timeframes),
            checked_count("candles", candles),
            self._recipes if indicators is None else recipes_of(indicators),
            include_forming,
            include_order_book,
        )
        moment = self._inference.find_moment(query)
        frame = self._inference.find_in_cache(query, moment)
        if frame is None:
            async with self._reads.begin() as conn:
                frame = await self._inference.read(conn, query, moment)
        if is_empty(frame):
            raise await self._reads.no_data(name, f"data visible at {moment.as_of.isoformat()}")
        if moment.is_live:
            self._lateness.answered(name, moment.as_of)
        lag_s = (frame.timestamp - frame.as_of).total_seconds()
        refuse_stale(name, frame.quality.staleness_s, lag_s, max_age_s)
        return frame

    @timed("provider", "multi_timeframe_data")
    async def get_multi_timeframe_data(
        self,
        symbol: str,
        timeframes: Iterable[Timeframe | str] | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        limit: int | None = None,
        *,
        align: bool = True,
        as_of: datetime | None = None,
        include_forming: bool = False,
        max_age_s: float | Mapping[str, float] | None = None,
    ) -> dict[str, pd.DataFrame]:
        """Return candles of several timeframes, side by side at the same moments, or as they are.

        Candles that are not stored at their timeframe are generated from lower ones, which `source` tells.

        Args:
            symbol: in any known spelling.
            timeframes: some of the provider's. None: all of them.
            start: first open time of the shortest timeframe (aligned) or of each (not aligned), aware, included. Give this
                or `limit`.
            end: aware, excluded. None: to the last one that is closed.
            limit: only the last so many rows; not aligned, of each timeframe.
            align: all frames have the same index: the moments at which a candle of the shortest timeframe closed; each row
                shows the last candle that was closed by then, and `open_time` which one that is.
            as_of: what was closed at this time, aware. None: now, or rather the last moment of which everything has come.
            include_forming: not aligned only: add the candles that form, and a column is_forming.
            max_age_s: as for `get_inference_data`, by `candles.1m` and so on; only where `end` is None.

        Returns:
            By label (as in `5m`), in the order of `timeframes`, frames as from `CandleRepository.query_multi_timeframe_ohlcv`.
            `attrs` has symbol, timeframe, as_of, and `from_cache`: the open time (UTC) from which on candles are from the
            cache, or None.

        Raises:
            InvalidInputError: the symbol or a timeframe is none of the provider's, a time is naive, `end` is before
                `start`, neither `start` nor `limit` is given, or forming candles are asked for side by side with closed ones.
            NoDataError: there is no candle of any of the timeframes; tells what is stored.
            StaleDataError: a timeframe is older than `max_age_s`.
            DatabaseError: the server refuses.
        """
        name = await self._known(symbol)
        query = CandleQuery(
            name,
            self._catalog.chosen(timeframes),
            *checked_range(start, end, limit),
            None if as_of is None else utc_moment(as_of, "as_of"),
            align,
            include_forming,
        )
        if align and include_forming:
            hint = "aligned rows show closed candles only; use align=False"
            raise InvalidInputError("include_forming", include_forming, hint)
        moment = self._candles.find_moment(query)
        frames = await self._candles.read(query, moment)
        if limit != 0 and not any(map(len, frames.values())):
            labels = ", ".join(frames)
            raise await self._reads.no_data(name, f"candles {labels}{span_text(start, end, moment.as_of)}")
        if max_age_s is not None and end is None:
            lag_s = (moment.asked - moment.as_of).total_seconds()
            refuse_stale(name, await self._candles.ages_s(query, moment), lag_s, max_age_s)
        return frames

    @overload
    async def get_order_book_data(
        self,
        symbol: str,
        timestamp: datetime | None = None,
        aggregation: Aggregation = "raw",
        limit: None = None,
        *,
        max_age_s: float | None = None,
    ) -> OrderBookDataFrame: ...

    @overload
    async def get_order_book_data(
        self,
        symbol: str,
        timestamp: datetime | None = None,
        aggregation: Aggregation = "raw",
        *,
        limit: int,
        max_age_s: float | None = None,
    ) -> list[OrderBookDataFrame]: ...

    @timed("provider", "order_book_data")
    async def get_order_book_data(
        self,
        symbol: str,
        timestamp: datetime | None = None,
        aggregation: Aggregation = "raw",
        limit: int | None = None,
        *,
        max_age_s: float | None = None,
    ) -> OrderBookDataFrame | list[OrderBookDataFrame]:
        """Return the last order book of a moment with its imbalances, or the last so many.

        Args:
            symbol: in any known spelling.
            timestamp: the moment, aware. None: now.
            aggregation: "raw": snapshots as they came. "1s", "1m": of each second or minute that was over, the last snapshot,
                named by the start; seconds and minutes without one are absent.
            limit: None: the last one, by itself. A number: a list of the last so many, ascending.
            max_age_s: refuse a last book that is older at `timestamp`, in seconds.

        Raises:
            InvalidInputError: the symbol is none of the provider's, `timestamp` is naive or in the future, there is no such
                aggregation, or `limit` is negative.
            NoDataError: there was no book; tells what is stored.
            StaleDataError: the last one is older than `max_age_s`.
            DatabaseError: the server refuses.
        """
        name = await self._known(symbol)
        if aggregation not in get_args(Aggregation):
            raise InvalidInputError("aggregation", aggregation, f"use {', '.join(get_args(Aggregation))}")
        count = 1 if limit is None else checked_count("limit", limit, least=0)
        moment_asked = None if timestamp is None else utc_moment(timestamp, "timestamp")
        query = BookQuery(name, moment_asked, aggregation, count)
        moment = self._events.find_moment(query)
        books = await self._events.read_books(query, moment) if count else []
        if not books and count:
            raise await self._reads.no_data(name, f"order book{span_text(None, None, moment.as_of)}")
        if books and max_age_s is not None:
            age_s = (moment.asked - books[-1].known_at).total_seconds()
            refuse_stale(name, {"order_book": age_s}, 0.0, max_age_s)
        return books[-1] if limit is None else books

    @timed("provider", "trades")
    async def get_trades(
        self,
        symbol: str,
        start: datetime | None = None,
        end: datetime | None = None,
        limit: int | None = None,
        *,
        as_of: datetime | None = None,
    ) -> pd.DataFrame:
        """Return the trades with times in `[start, end)`.

        Args:
            symbol: in any known spelling.
            start: first time, aware, included. Give this or `limit`.
            end: aware, excluded. None: to the last one.
            limit: only the last so many.
            as_of: what was visible at this time, aware: `ts <= as_of`. None: now.

        Returns:
            A frame as from `TradeRepository.query_trades`.

        Raises:
            InvalidInputError: the symbol is none of the provider's, a time is naive, `end` is before `start`, or neither
                `start` nor `limit` is given.
            NoDataError: there is none; tells what is stored.
            DatabaseError: the server refuses.
        """
        name = await self._known(symbol)
        first, last, count = checked_range(start, end, limit)
        moment = self._cache.now if as_of is None else utc_moment(as_of, "as_of")
        query = TradeQuery(name, first, last, count, moment, is_live=as_of is None)
        trades = await self._events.read_trades(query)
        if limit != 0 and not len(trades):
            raise await self._reads.no_data(name, f"trades{span_text(start, end, moment)}")
        return trades

    def subscribe(
        self,
        symbol: str,
        stream: Timeframe | str,
        *,
        since: datetime | None = None,
        max_lag: int = 1_000,
        when_slow: WhenSlow = "error",
        include_forming: bool = False,
    ) -> Subscription:
        """Return what comes into the cache from now on, as an asynchronous iterator.

            async with market.subscribe("BTC/USDT", "1m") as closed:
                async for candle in closed:
                    ...

        Closed candles come once each, in order, and not before they are closed and whole; a candle that is corrected
        afterwards does not come again. Order books and trades come as they come in, each once.

        Args:
            symbol: in any known spelling.
            stream: a timeframe, "book" (`OrderBookDataFrame`, with its imbalances) or "trades" (`Trade`).
            since: of a timeframe: first open time, aware; what has closed since comes first, from cache and database, without
                a gap to what follows. None: what closes from now on.
            max_lag: most updates that wait for the subscriber.
            when_slow: see `WhenSlow`.
            include_forming: of a timeframe: give the candle that forms too, each time that it has changed, as far as the
                subscriber keeps up: only its last state waits.

        Raises:
            InvalidInputError: the symbol is none of the provider's, there is no such stream, `since` is naive or not for
                this stream, or `max_lag` is not positive.
        """
        self._check_open()
        subscription = subscription_to(
            self._catalog.get(symbol),
            stream,
            since=since,
            max_lag=max_lag,
            when_slow=when_slow,
            include_forming=include_forming,
            catalog=self._catalog,
            cache=self._cache,
            candles=self._candles,
            on_close=self._subscriptions.discard,
        )
        self._subscriptions.add(subscription)
        return subscription
