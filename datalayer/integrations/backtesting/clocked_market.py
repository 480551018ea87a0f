"""A provider that answers nothing that is later than a clock."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from datalayer.domain.moments import utc_moment
from datalayer.errors import LookAheadError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime


class ClockedMarket:
    """What a provider answers at the clock of a backtest, and nothing later.

    Each method has the arguments and answers of the provider's of that name; those of an asynchronous provider are
    awaited. Where the provider would answer as of now, this one answers as of the clock.

    Args:
        market: a `datalayer.UnifiedDataProvider` or its blocking twin.
        clock: returns the moment of the backtest, aware.
    """

    def __init__(self, market: Any, clock: Callable[[], datetime]) -> None:
        self._market, self._clock = market, clock

    def get_inference_data(
        self,
        symbol: str,
        timestamp: datetime | None = None,
        context_window_minutes: float = 0.0,
        **options: Any,
    ) -> Any:
        """As `UnifiedDataProvider.get_inference_data`; there is no context unless it is asked for.

        Raises:
            LookAheadError: `timestamp`, or the context after it, is later than the clock.
        """
        moment = self._visible("timestamp", timestamp)
        self._visible("end of context", moment + timedelta(minutes=context_window_minutes))
        return self._market.get_inference_data(symbol, moment, context_window_minutes, **options)

    def get_multi_timeframe_data(self, symbol: str, *args: Any, **options: Any) -> Any:
        """As `UnifiedDataProvider.get_multi_timeframe_data`.

        Raises:
            LookAheadError: `as_of` is later than the clock.
        """
        options["as_of"] = self._visible("as_of", options.get("as_of"))
        return self._market.get_multi_timeframe_data(symbol, *args, **options)

    def get_order_book_data(
        self, symbol: str, timestamp: datetime | None = None, *args: Any, **options: Any
    ) -> Any:
        """As `UnifiedDataProvider.get_order_book_data`.

        Raises:
            LookAheadError: `timestamp` is later than the clock.
        """
        return self._market.get_order_book_data(
            symbol, self._visible("timestamp", timestamp), *args, **options
        )

    def get_trades(self, symbol: str, *args: Any, **options: Any) -> Any:
        """As `UnifiedDataProvider.get_trades`.

        Raises:
            LookAheadError: `as_of` is later than the clock.
        """
        options["as_of"] = self._visible("as_of", options.get("as_of"))
        return self._market.get_trades(symbol, *args, **options)

    def _visible(self, asked: str, moment: datetime | None) -> datetime:
        now = self._clock()
        wanted = now if moment is None else utc_moment(moment, asked)
        if wanted > now:
            told = f"{asked}={wanted.isoformat()}"
            raise LookAheadError(told, wanted, now)
        return wanted
