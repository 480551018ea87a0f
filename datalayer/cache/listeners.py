"""Who is told of what comes into a cache."""

from __future__ import annotations

import logging
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from datalayer.domain.candle import Candle
    from datalayer.domain.imbalances import OrderBookImbalances
    from datalayer.domain.order_book import OrderBook
    from datalayer.domain.trade import Trade

    CacheItem: TypeAlias = Candle | Trade | OrderBook | OrderBookImbalances
    CacheListener: TypeAlias = Callable[[str, CacheItem | None], None]

logger = logging.getLogger(__name__)


class Listeners:
    """See the module. Safe from several threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._listeners: tuple[CacheListener, ...] = ()

    def __bool__(self) -> bool:
        return bool(self._listeners)

    def add(self, listener: CacheListener) -> Callable[[], None]:
        """Tell a listener from now on; return what ends that."""

        def listening(symbol: str, item: CacheItem | None) -> None:
            listener(symbol, item)

        def remove() -> None:
            with self._lock:
                self._listeners = tuple(one for one in self._listeners if one is not listening)

        with self._lock:
            self._listeners = (*self._listeners, listening)
        return remove

    def tell(self, symbol: str, item: CacheItem | None) -> None:
        """Call each listener, in the order in which they were added."""
        for listener in self._listeners:
            try:
                listener(symbol, item)
            except Exception:  # one that is broken must not stop the feed, nor the others
                logger.exception("a listener to the cache failed at %s of %s", type(item).__name__, symbol)
