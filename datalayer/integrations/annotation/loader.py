"""What an annotation tool shows: candles of a range, and everything around a moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from datalayer.domain.timeframe import Timeframe
from datalayer.errors import NoDataError
from datalayer.integrations.data_provider.settings import LegacySettings

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    import pandas as pd

    import datalayer.sync
    from datalayer.domain.inference_frame import InferenceDataFrame

_AWARE: Final = LegacySettings(times="aware")


class HistoricalDataLoader:
    """In the place of the class of that name that annotation tools have; blocking, and safe from any number of threads.

        with datalayer.sync.connect() as market:
            loader = HistoricalDataLoader(market)
            chart = loader.get_data("BTC/USDT", "1m", end=datetime(2024, 8, 8, 10, 2, tzinfo=UTC), limit=100)
            frame = loader.get_context("BTC/USDT", datetime(2024, 8, 8, 10, 1, tzinfo=UTC), window_minutes=10)

    Args:
        market: answers; open.
        settings: names of columns, index and times of what `get_data` returns, as for a `DataProvider`. None: the names of
            this library, and aware times.
    """

    def __init__(
        self, market: datalayer.sync.UnifiedDataProvider, settings: LegacySettings | None = None
    ) -> None:
        self._market = market
        self._settings = settings or _AWARE

    def get_data(
        self,
        symbol: str,
        timeframe: Timeframe | str,
        start: datetime | None = None,
        end: datetime | None = None,
        limit: int = 500,
    ) -> pd.DataFrame:
        """Return closed candles for a chart, as they are stored today, by their open times.

        The last one before `end` may have closed after it: what was known at a moment, `get_context` gives.

        Args:
            symbol: in any known spelling.
            timeframe: length of the candles.
            start: first open time, included; aware, or as `LegacySettings.times` says.
            end: excluded, likewise. None, with a start: `limit` lengths after it, to go forward page by page.
            limit: the last so many; with `end` alone to go back page by page.

        Returns:
            A frame as `LegacySettings` say, ascending; empty if there is nothing.

        Raises:
            InvalidInputError: the symbol or timeframe is none of the provider's, or a time is naive where none is expected.
        """
        length = Timeframe.parse(timeframe)
        return self.get_multi_timeframe_data(symbol, [length], start, end, limit)[length.label]

    def get_multi_timeframe_data(
        self,
        symbol: str,
        timeframes: Iterable[Timeframe | str],
        start: datetime | None = None,
        end: datetime | None = None,
        limit: int = 500,
    ) -> dict[str, pd.DataFrame]:
        """Return what `get_data` does for several timeframes, by label as in `1m`."""
        read = self._settings.moment
        first, last = (
            None if at is None else read(at, name) for name, at in (("start", start), ("end", end))
        )
        lengths = [Timeframe.parse(timeframe) for timeframe in timeframes]
        return {length.label: self._page(symbol, length, first, last, limit) for length in lengths}

    def get_context(
        self,
        symbol: str,
        timestamp: datetime,
        window_minutes: float = 30.0,
        *,
        timeframes: Iterable[Timeframe | str] | None = None,
        candles: int = 100,
    ) -> InferenceDataFrame:
        """Return everything that was known at a moment, of all timeframes, and apart from it what came before and after.

        It is what an annotation is stored with.

        Args:
            symbol: in any known spelling.
            timestamp: the moment; aware, or as `LegacySettings.times` says.
            window_minutes: of `context_before` and `context_after`, each.
            timeframes: some of the provider's. None: all of them.
            candles: number of known candles of each timeframe.

        Raises:
            NoDataError: nothing was known then.
            InvalidInputError: as for `get_data`, or the moment is in the future.
        """
        moment = self._settings.moment(timestamp, "timestamp")
        return self._market.get_inference_data(
            symbol, moment, window_minutes, timeframes=timeframes, candles=candles
        )

    def _page(
        self, symbol: str, length: Timeframe, start: datetime | None, end: datetime | None, limit: int
    ) -> pd.DataFrame:
        if start is not None and end is None:
            end = length.ceil(start) + limit * length.length
        try:
            found = self._market.get_multi_timeframe_data(symbol, [length], start, end, limit, align=False)
        except NoDataError:
            found = {}
        labels = {"symbol": self._settings.spelled(symbol), "timeframe": length.label}
        return self._settings.frame(found.get(length.label), **labels)
