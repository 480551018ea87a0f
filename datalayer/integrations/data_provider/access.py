"""What a drop-in holds: the provider that answers, and who is told of what comes in."""

from __future__ import annotations

import asyncio
import logging
import threading
import uuid
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import pandas as pd

from datalayer.errors import InvalidInputError, NoDataError, ProviderClosedError
from datalayer.ingestion import UnitOfWork
from datalayer.integrations.data_provider.events import event_of
from datalayer.integrations.data_provider.settings import LegacySettings
from datalayer.integrations.data_provider.streaming import Streaming
from datalayer.integrations.data_provider.subscriber import Subscriber
from datalayer.provider import Subscription, UpdateGap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import datalayer.sync
    from datalayer.domain.timeframe import Timeframe
    from datalayer.integrations.data_provider.ports import CandleReads, FetchCandles, StartFeed

logger = logging.getLogger(__name__)

_JOIN_S: Final = 5.0
# An exchange may be asked before it has closed a candle by its own clock. What it says then must not go over its last word,
# which the feed may have stored meanwhile.
_UNTIL_FINAL: Final = timedelta(seconds=5)
_Subscribed: TypeAlias = tuple[Subscriber, list[Subscription]]


class DataLayerAccess:
    """What stands behind `DataProviderMixin`, which has the old names; this one needs none of them.

    Args:
        market: answers; open.
        settings: shape of the answers.
        candles: where candles come from instead; None: from `market`.
        feed: what streams; None: `start` is refused.
        fetch: asks the exchange for candles; None: `refresh` does nothing, and says so.
    """

    def __init__(
        self,
        market: datalayer.sync.UnifiedDataProvider,
        *,
        settings: LegacySettings | None = None,
        candles: CandleReads | None = None,
        feed: StartFeed | None = None,
        fetch: FetchCandles | None = None,
    ) -> None:
        self.market = market
        self.settings = settings or LegacySettings()
        self.streaming = None if feed is None else Streaming(market, feed)
        self._source = candles
        self._fetch = fetch
        self._lock = threading.Lock()
        self._subscribers: dict[str, _Subscribed] = {}
        self._pumps: set[asyncio.Task[None]] = set()
        self._has_told_no_fetch = False

    def candles(
        self, symbol: str, timeframes: Iterable[Timeframe], limit: int, *, include_forming: bool = False
    ) -> dict[str, pd.DataFrame]:
        """Return the last candles of each timeframe by label, as the provider shapes them; without those there are none of."""
        source = self._source
        if source is not None:
            return {t.label: self.market.run(_read(source, symbol, t, limit)) for t in timeframes}
        return self.from_market(symbol, timeframes, limit, include_forming=include_forming)

    def from_market(
        self, symbol: str, timeframes: Iterable[Timeframe], limit: int, *, include_forming: bool
    ) -> dict[str, pd.DataFrame]:
        """Return what `candles` does, from the provider in any case."""
        try:
            return self.market.get_multi_timeframe_data(
                symbol, list(timeframes), limit=limit, align=False, include_forming=include_forming
            )
        except NoDataError:
            return {}

    def shaped(self, symbol: str, found: pd.DataFrame | None, **attrs: Any) -> pd.DataFrame:
        """Return candles as the settings say; None: an empty frame."""
        return self.settings.frame(found, symbol=self.settings.spelled(symbol), **attrs)

    def refresh(self, symbol: str, timeframe: Timeframe, limit: int) -> bool:
        """Fetch the last closed candles from the exchange and store them; False: nobody knows how."""
        if self._fetch is None:
            if not self._has_told_no_fetch:
                self._has_told_no_fetch = True
                logger.warning(
                    "refresh=True does nothing: the feed keeps the database up to date; give `fetch` to ask the exchange"
                )
            return False
        self.market.run(self._fetched(self._fetch, symbol, timeframe, limit))
        return True

    def subscribe(
        self,
        name: str,
        callback: Callable[[Any], object],
        symbols: Iterable[str],
        stream: str,
        max_waiting: int,
    ) -> str:
        """Call back with what comes in from now on; return the key of it."""
        if max_waiting < 1:
            raise InvalidInputError("max_waiting", max_waiting, "give at least 1")
        key = uuid.uuid4().hex[:12]
        subscriber = Subscriber(name or key, callback, max_waiting)
        try:
            subscriptions = self.market.run(self._begin(subscriber, list(symbols), stream))
        except BaseException:
            subscriber.close()
            raise
        with self._lock:
            self._subscribers[key] = (subscriber, subscriptions)
        return key

    def unsubscribe(self, key: str) -> bool:
        """End one; False: there is none of that key."""
        with self._lock:
            found = self._subscribers.pop(key, None)
        if found is None:
            return False
        subscriber, subscriptions = found
        subscriber.close()
        with suppress(ProviderClosedError):  # which has ended them
            self.market.run(_end(subscriptions))
        return True

    @property
    def subscribers(self) -> dict[str, Subscriber]:
        """Those that are subscribed, by key."""
        with self._lock:
            return {key: subscriber for key, (subscriber, _) in self._subscribers.items()}

    def close(self) -> None:
        """Stop the feed, end all subscribers, and wait a little for calls that run. The provider stays open."""
        if self.streaming is not None:
            self.streaming.stop()
        ended = self.subscribers
        for key in ended:
            self.unsubscribe(key)
        for subscriber in ended.values():
            subscriber.join(_JOIN_S)

    async def _begin(self, subscriber: Subscriber, symbols: list[str], stream: str) -> list[Subscription]:
        made = list[Subscription]()
        try:
            for symbol in symbols:
                made.append(self.market.asynchronous.subscribe(symbol, stream, when_slow="drop_oldest"))
        except BaseException:
            await _end(made)
            raise
        for subscription in made:
            subscription.begin()
            pump = asyncio.create_task(self._pump(subscription, subscriber))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)
        return made

    async def _pump(self, subscription: Subscription, subscriber: Subscriber) -> None:
        try:
            async for update in subscription:
                if isinstance(update, UpdateGap):
                    subscriber.note_dropped(update.dropped)
                else:
                    subscriber.put(lambda update=update: event_of(update, self.settings))  # type: ignore[misc]
        except Exception:
            logger.exception("subscriber %s is told nothing more", subscriber.name)

    async def _fetched(self, fetch: FetchCandles, symbol: str, timeframe: Timeframe, limit: int) -> None:
        now = self.market.cache.now
        end = timeframe.floor(now)
        found = await fetch(symbol, timeframe, end - limit * timeframe.length, end)
        closed = [candle for candle in found if candle.ts < end and not candle.is_forming]
        if not closed:
            return
        frame = pd.DataFrame(closed).set_index("ts")
        is_final = frame.index < timeframe.floor(now - _UNTIL_FINAL)
        async with UnitOfWork(self.market.asynchronous.database) as uow:
            await uow.candles.upsert_candles(symbol, timeframe, frame[is_final])
            await uow.candles.upsert_candles(symbol, timeframe, frame[~is_final], on_conflict="ignore")
            await uow.commit()
        await self.market.asynchronous.warm_up([symbol])  # which fills the holes of the cache


async def _read(source: CandleReads, symbol: str, timeframe: Timeframe, limit: int) -> pd.DataFrame:
    return await source.query_ohlcv_data(symbol, timeframe, limit=limit)


async def _end(subscriptions: list[Subscription]) -> None:
    for subscription in subscriptions:
        subscription.close()
