"""Updates as they come into the cache, for one subscriber."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self

from datalayer.domain.order_book import OrderBook
from datalayer.domain.order_book_frame import OrderBookDataFrame

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from datalayer.cache import DataCacheManager
    from datalayer.provider.update_sources import UpdateSource
    from datalayer.provider.updates import Update


class Subscription:
    """An asynchronous iterator over updates; made by `UnifiedDataProvider.subscribe`.

    It begins with `async with` or the first update that is asked for, and ends with `close()`, with the provider, or, if the
    subscriber is too slow and asked to be told, with `SlowConsumerError`. For one task at a time.

    Args:
        source: what it gives.
        cache: where updates come in.
        on_close: is told when it ends.
    """

    def __init__(
        self, source: UpdateSource, cache: DataCacheManager, on_close: Callable[[Subscription], None]
    ) -> None:
        self._source = source
        self._cache = cache
        self._on_close = on_close
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ready = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._remove: Callable[[], None] | None = None
        self._is_due = False
        self._is_closed = False

    @property
    def waiting(self) -> int:
        """Number of updates that wait to be taken."""
        return self._source.waiting

    def close(self) -> None:
        """End it, in the event loop that it belongs to. May be repeated."""
        self._is_closed = True
        if self._remove is not None:
            self._remove()
        if self._timer is not None:
            self._timer.cancel()
        self._ready.set()
        self._on_close(self)

    def begin(self) -> None:
        """Take note of what comes in from now on. May be repeated."""
        if self._loop is None and not self._is_closed:
            self._loop = asyncio.get_running_loop()
            self._remove = self._cache.add_listener(self._listen)
            self._source.begin()
            self._look()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Update:
        self.begin()
        while not self._is_closed:
            try:
                update = await self._source.next()
            except Exception:
                self.close()
                raise
            if update is not None:
                return self._shown(update)
            await self._ready.wait()
            self._ready.clear()
        raise StopAsyncIteration

    async def __aenter__(self) -> Self:
        self.begin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _listen(self, symbol: str, item: Any) -> None:
        """Take in what comes into the cache, in the thread that writes."""
        loop = self._loop
        if symbol != self._source.symbol or loop is None or not self._source.takes(item) or self._is_due:
            return
        self._is_due = True
        try:
            loop.call_soon_threadsafe(self._look)
        except RuntimeError:  # the loop is closed: nobody will ask again
            self._is_closed = True

    def _look(self) -> None:
        """See what is new, and when to look again though nothing comes."""
        self._is_due = False
        if self._is_closed or self._loop is None:
            return
        again_s = self._source.look()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if again_s is not None:
            self._timer = self._loop.call_later(again_s, self._look)
        self._ready.set()

    def _shown(self, update: Any) -> Update:
        if not isinstance(update, OrderBook):
            shown: Update = update
            return shown
        found = self._cache.get_latest_imbalances(update.symbol, as_of=update.ts)
        at_book = found.values() if found is not None and found.ts == update.ts else {}
        return OrderBookDataFrame.from_book(update, imbalances=at_book)
