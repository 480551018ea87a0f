"""What can be handed in to the drop-in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime

    import pandas as pd

    from datalayer.domain.candle import Candle
    from datalayer.domain.timeframe import Timeframe
    from datalayer.provider import UnifiedDataProvider


class CandleReads(Protocol):
    """Where candles come from instead of the provider, for instance `datalayer.rollout.switched_candles.SwitchedCandles`."""

    async def query_ohlcv_data(
        self, symbol: str, timeframe: Timeframe | str, *, limit: int | None = None
    ) -> pd.DataFrame:
        """Return the last closed candles, as `CandleRepository.query_ohlcv_data` does."""


class StartFeed(Protocol):
    """Makes what streams: on entering it live data begin to come, and when it is left they have ended and are stored."""

    def __call__(self, market: UnifiedDataProvider) -> AbstractAsyncContextManager[object]:
        """Return it; `market` has the database to write to and the cache to fill. It is entered in the provider's loop."""


class FetchCandles(Protocol):
    """Asks the exchange for candles."""

    async def __call__(
        self, symbol: str, timeframe: Timeframe, start: datetime, end: datetime
    ) -> Iterable[Candle]:
        """Return the candles with open times in `[start, end)` (UTC) that the exchange has, in any order.

        One that had not closed by then may be among them; it is not stored.
        """
