"""What `refresh=True` asks, of an exchange that there is an adapter for. Needs the extra `feeds`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datalayer.errors import InvalidInputError
from datalayer.integrations.feeds import FeedSettings
from datalayer.integrations.feeds.rest import RestClient

if TYPE_CHECKING:
    from datetime import datetime

    from datalayer.domain.candle import Candle
    from datalayer.domain.timeframe import Timeframe
    from datalayer.integrations.feeds import Exchange


class ExchangeCandles:
    """Asks the REST interface of an exchange for candles, page by page; a `FetchCandles` for `DataProvider`.

    Args:
        exchange: the adapter.
        settings: time limits and retries.
    """

    def __init__(self, exchange: Exchange, settings: FeedSettings | None = None) -> None:
        self._exchange = exchange
        self._settings = settings or FeedSettings()

    async def __call__(
        self, symbol: str, timeframe: Timeframe, start: datetime, end: datetime
    ) -> list[Candle]:
        """Return the candles with open times in `[start, end)` that the exchange has; see `FetchCandles`.

        Raises:
            InvalidInputError: it has no candles of this timeframe.
            ExchangeError: it refuses, or does not answer.
        """
        found: list[Candle] = []
        async with RestClient(self._exchange, self._settings) as rest:
            while start < end:
                request = self._exchange.candles_request(symbol, timeframe, start, end)
                if request is None:
                    hint = f"{self._exchange.name} gives no candles of it"
                    raise InvalidInputError("timeframe", timeframe.label, hint)
                page = self._exchange.parse_candles(await rest.get(request), symbol, timeframe)
                found += page
                following = max((candle.closed_at for candle in page), default=end)
                if following <= start:
                    break
                start = following
        return found
