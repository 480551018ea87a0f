"""`DataProvider`: in the place of the class of that name that trading systems have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from datalayer.integrations.data_provider.mixin import DataProviderMixin

if TYPE_CHECKING:
    from types import TracebackType

    import datalayer.sync
    from datalayer.integrations.data_provider.ports import CandleReads, FetchCandles, StartFeed
    from datalayer.integrations.data_provider.settings import LegacySettings


class DataProvider(DataProviderMixin):
    """A drop-in with the methods of `DataProviderMixin`.

        with datalayer.sync.connect(symbols=["BTC/USDT"]) as market, DataProvider(market) as provider:
            provider.get_historical_data("BTCUSDT", "1m", limit=500)

    Args:
        market: answers; it is open, and stays the caller's.
        settings: names of columns, index, times, spelling of symbols.
        candles: where candles come from instead of `market`, for instance a `SwitchedCandles` while the switch from Parquet
            is going on. It has closed ones only.
        feed: what `start_real_time_streaming` starts.
        fetch: what `refresh=True` asks.
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
        self.attach_data_layer(market, settings=settings, candles=candles, feed=feed, fetch=fetch)

    def close(self) -> None:
        """Stop the feed and end all subscribers. May be repeated."""
        self.data_layer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
