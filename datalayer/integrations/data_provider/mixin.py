"""The old methods, for `DataProvider` and for classes that must keep a base of their own."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from datalayer.domain.symbols import canonical_symbol
from datalayer.domain.timeframe import Timeframe
from datalayer.errors import ConfigurationError, InvalidInputError, NoDataError, StaleDataError
from datalayer.integrations.data_provider.access import DataLayerAccess
from datalayer.integrations.data_provider.events import book_of
from datalayer.integrations.data_provider.price import find_price
from datalayer.integrations.data_provider.replaced import replaced_by

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    import pandas as pd

    import datalayer.sync
    from datalayer.integrations.data_provider.ports import CandleReads, FetchCandles, StartFeed
    from datalayer.integrations.data_provider.price import CurrentPrice
    from datalayer.integrations.data_provider.settings import LegacySettings
    from datalayer.integrations.data_provider.subscriber import SubscriberStatistics

_SIDES: Final = 20


class DataProviderMixin:
    """The methods that existing code calls, answered by a `datalayer.sync.UnifiedDataProvider`.

        class Provider(DataProviderMixin, TheirOwnBase):
            def __init__(self, market: datalayer.sync.UnifiedDataProvider) -> None:
                super().__init__()
                self.attach_data_layer(market)

    It comes before the other base, whose methods of the same names it replaces, and keeps one attribute, `data_layer`.

    All methods may be called by any number of threads at the same time. Symbols and timeframes are understood in any known
    spelling. What is not there is an empty frame or None, as old code expects; a symbol or timeframe that the provider was not
    made for is an `InvalidInputError` (a `ValueError`), and a database that fails a `DatabaseError`: neither is taken for
    "no data". Frames are the caller's own.

    Each method names what replaces it, in its attribute `replaced_by` too.
    """

    data_layer: DataLayerAccess

    def attach_data_layer(
        self,
        market: datalayer.sync.UnifiedDataProvider,
        *,
        settings: LegacySettings | None = None,
        candles: CandleReads | None = None,
        feed: StartFeed | None = None,
        fetch: FetchCandles | None = None,
    ) -> None:
        """Say what answers; as the arguments of `DataProvider`."""
        self.data_layer = DataLayerAccess(market, settings=settings, candles=candles, feed=feed, fetch=fetch)

    @replaced_by("market.get_multi_timeframe_data(symbol, [timeframe], limit=limit, align=False)")
    def get_historical_data(
        self, symbol: str, timeframe: Timeframe | str, limit: int = 1_000, refresh: bool = False
    ) -> pd.DataFrame:
        """Return the last closed candles.

        New: `market.get_multi_timeframe_data(symbol, [timeframe], limit=limit, align=False)`

        Args:
            symbol: in any known spelling.
            timeframe: length of the candles.
            limit: the last so many; fewer if there are fewer.
            refresh: ask the exchange for them first, and store what it says in the database. A candle that closed less than five
                seconds ago may not be closed by its clock, and goes over none that is stored. Without `fetch` nothing is done,
                since the feed keeps that up to date; a warning says so, and `attrs["refreshed"]` is False.

        Returns:
            A frame as `LegacySettings` say; empty if there is nothing. `attrs` has symbol, timeframe and refreshed.
        """
        length = self._length(timeframe)
        refreshed = refresh and self.data_layer.refresh(symbol, length, limit)
        return self._frame(symbol, length, limit, refreshed=refreshed)

    @replaced_by(
        "market.get_multi_timeframe_data(symbol, [timeframe], limit=limit, align=False, include_forming=True)"
    )
    def get_latest_candles(self, symbol: str, timeframe: Timeframe | str, limit: int = 100) -> pd.DataFrame:
        """Return the last candles; the last of them is the one that forms if `LegacySettings.forming_is_latest`.

        New: `market.get_multi_timeframe_data(symbol, [timeframe], limit=limit, align=False, include_forming=True)`

        Args:
            symbol: in any known spelling.
            timeframe: length of the candles.
            limit: the last so many, that which forms included.

        Returns:
            A frame as `LegacySettings` say; empty if there is nothing. `attrs` has symbol and timeframe.
        """
        length = self._length(timeframe)
        forming = self.data_layer.settings.forming_is_latest
        return self._frame(symbol, length, limit, include_forming=forming)

    @replaced_by("market.get_inference_data(symbol, timestamp)")
    def get_data(
        self, symbol: str, timestamp: datetime | float | None = None, limit: int = 100
    ) -> dict[str, Any] | None:
        """Return everything that was known of a symbol at one moment, and nothing that came later.

        New: `market.get_inference_data(symbol, timestamp)`

        Args:
            symbol: in any known spelling.
            timestamp: the moment, aware or as `LegacySettings.times` says. None: now.
            limit: number of candles of each timeframe.

        Returns:
            symbol, timestamp; `candles` and `indicators`, frames by timeframe; `order_book` (None: none) as from
            `get_order_book`; `imbalances`, floats by name (NaN: not known). None: nothing was known.

        Raises:
            InvalidInputError: `timestamp` is in the future, or cannot be read.
        """
        layer = self.data_layer
        at = None if timestamp is None else layer.settings.moment(timestamp, "timestamp")
        try:
            frame = layer.market.get_inference_data(symbol, at, 0.0, candles=limit, include_forming=False)
        except NoDataError:
            return None
        book = frame.order_book
        return {
            "symbol": layer.settings.spelled(symbol),
            "timestamp": layer.settings.time(frame.as_of),
            "candles": {t.label: layer.shaped(symbol, table) for t, table in frame.candles.items()},
            "indicators": {t.label: table for t, table in frame.indicators.items()},
            "order_book": None if book is None else book_of(book, layer.settings),
            "imbalances": dict(frame.imbalances),
        }

    @replaced_by("market.get_trades(symbol, limit=1)")
    def get_current_price(self, symbol: str, max_age_s: float | None = None) -> CurrentPrice | None:
        """Return the price of the last trade, or the close of the last candle, whichever is newer.

        New: `market.get_trades(symbol, limit=1)`

        Args:
            symbol: in any known spelling.
            max_age_s: refuse a price that may be older, in seconds. None: any age; it is told by `CurrentPrice.age_s`.

        Returns:
            A float in the quote asset, which knows its age. None: nothing is known.

        Raises:
            StaleDataError: it may be older than `max_age_s`, or there is none.
        """
        price = find_price(self.data_layer, symbol)
        if max_age_s is not None:
            age_s = math.nan if price is None else price.age_s
            if not age_s <= max_age_s:
                raise StaleDataError(canonical_symbol(symbol), "price", age_s, max_age_s)
        return price

    @replaced_by("market.get_multi_timeframe_data(symbol, timeframes, limit=limit)")
    def get_multi_timeframe_data(
        self, symbol: str, timeframes: Iterable[Timeframe | str] | None = None, limit: int = 100
    ) -> dict[str, pd.DataFrame]:
        """Return the last closed candles of several timeframes, each by itself.

        New: `market.get_multi_timeframe_data(symbol, timeframes, limit=limit)`, which puts them side by side at the same moments.

        Args:
            symbol: in any known spelling.
            timeframes: None: all of the provider's.
            limit: the last so many of each.

        Returns:
            Frames as `LegacySettings` say, by label as in `1m`, in the order of `timeframes`; empty ones where there is nothing.
        """
        layer = self.data_layer
        given = layer.market.timeframes if timeframes is None else timeframes
        lengths = [self._length(timeframe) for timeframe in given]
        found = layer.candles(symbol, lengths, limit)
        return {t.label: layer.shaped(symbol, found.get(t.label), timeframe=t.label) for t in lengths}

    @replaced_by("market.get_order_book_data(symbol)")
    def get_order_book(
        self, symbol: str, depth: int = _SIDES, max_age_s: float | None = None
    ) -> dict[str, Any] | None:
        """Return the last order book.

        New: `market.get_order_book_data(symbol)`

        Args:
            symbol: in any known spelling.
            depth: number of levels of each side.
            max_age_s: refuse an older one, in seconds. None: any age.

        Returns:
            symbol, timestamp (exchange time), `bids` and `asks`: lists of `[price, size]`, best first. None: there is none.

        Raises:
            StaleDataError: it is older than `max_age_s`.
        """
        layer = self.data_layer
        try:
            book = layer.market.get_order_book_data(symbol, max_age_s=max_age_s)
        except NoDataError:
            return None
        return book_of(book, layer.settings, depth)

    @replaced_by("market.subscribe(symbol, stream)")
    def subscribe(
        self,
        callback: Callable[[dict[str, Any]], object],
        symbols: Iterable[str] | None = None,
        stream: Timeframe | str = "trades",
        *,
        name: str = "",
        max_waiting: int = 1_000,
    ) -> str:
        """Call back with what comes in from now on.

        New: `market.subscribe(symbol, stream)`

        Each subscriber has a thread of its own, in which it is called with one event at a time, those of a symbol in
        their order. What it raises is logged and concerns nobody else. For one that is slow `max_waiting` events wait; then
        the oldest are dropped, which is logged, and counted in `get_subscriber_statistics`.

        Args:
            callback: takes a dictionary. Of trades: symbol, timestamp, price, volume, side (buy, sell, unknown), trade_id. Of a
                timeframe, closed candles once each: symbol, timeframe, and the names of `LegacySettings.columns`. Of books: as
                from `get_order_book`.
            symbols: None: all of the provider's.
            stream: "trades", "book", or a timeframe.
            name: for logs.
            max_waiting: most events that wait.

        Returns:
            What `unsubscribe` takes.
        """
        layer = self.data_layer
        chosen = layer.market.symbols if symbols is None else symbols
        if isinstance(chosen, str):
            raise InvalidInputError("symbols", chosen, "give a list, as in ['BTC/USDT']")
        label = stream.label if isinstance(stream, Timeframe) else stream
        return layer.subscribe(name, callback, chosen, label, max_waiting)

    @replaced_by("subscription.close()")
    def unsubscribe(self, subscriber_id: str) -> bool:
        """Call back no more: no call begins after the one that may be running. False: there is no such subscriber.

        New: `subscription.close()`
        """
        return self.data_layer.unsubscribe(subscriber_id)

    def get_subscriber_statistics(self) -> dict[str, SubscriberStatistics]:
        """Return what became of each subscriber's events, by what `subscribe` returned."""
        return {key: one.statistics for key, one in self.data_layer.subscribers.items()}

    def start_real_time_streaming(self) -> None:
        """Start the feed, and return when it runs. Nothing happens if it does.

        Raises:
            ConfigurationError: there is no feed.
        """
        streaming = self.data_layer.streaming
        if streaming is None:
            msg = "there is no feed to start; give one to the drop-in, or run it in a process of its own"
            raise ConfigurationError(msg)
        streaming.start()

    def stop_real_time_streaming(self) -> None:
        """Stop the feed, and return when what it brought is stored. Nothing happens if it does not run."""
        if self.data_layer.streaming is not None:
            self.data_layer.streaming.stop()

    @property
    def is_streaming(self) -> bool:
        """Whether the feed was started, and has neither been stopped nor failed."""
        streaming = self.data_layer.streaming
        return streaming is not None and streaming.is_running

    def _frame(
        self, symbol: str, length: Timeframe, limit: int, *, include_forming: bool = False, **attrs: Any
    ) -> pd.DataFrame:
        layer = self.data_layer
        found = layer.candles(symbol, [length], limit, include_forming=include_forming)
        return layer.shaped(symbol, found.get(length.label), timeframe=length.label, **attrs)

    def _length(self, timeframe: Timeframe | str) -> Timeframe:
        length, known = Timeframe.parse(timeframe), self.data_layer.market.timeframes
        if length not in known:
            raise InvalidInputError("timeframe", timeframe, f"use one of {', '.join(t.label for t in known)}")
        return length
