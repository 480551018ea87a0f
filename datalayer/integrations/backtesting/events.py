"""The replay of everything, for code that blocks."""

from __future__ import annotations

from itertools import repeat
from typing import TYPE_CHECKING, Any, Final, Self

from datalayer.repositories import MarketHistory

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType

    from datalayer import sync
    from datalayer.domain.replay_event import ReplayEvent

_AT_ONCE: Final = 1_000


class BlockingReplay:
    """`MarketHistory.replay` as an iterator that blocks: candles, trades and order books as they became visible.

        with BlockingReplay(market, ["BTC/USDT"], start=start, end=end, trades=True) as events:
            for visible_at, symbol, kind, record in events:
                ...

    Args:
        market: an open provider of `datalayer.sync`.
        symbols: as for `MarketHistory.replay`.
        options: likewise.

    Raises:
        InvalidInputError: as from `MarketHistory.replay`.
    """

    def __init__(self, market: sync.UnifiedDataProvider, symbols: Iterable[str], **options: Any) -> None:
        self._run = market.run
        self._events = MarketHistory(market.asynchronous.database).replay(symbols, **options)
        self._some: Iterator[ReplayEvent] = iter(())

    def __iter__(self) -> Iterator[ReplayEvent]:
        """Give the next events, until the end; a new `for` goes on where the last one stopped.

        Raises:
            DatabaseError: a batch could not be read, after all tries; asked again, it goes on there.
        """
        while True:
            yield from self._some
            if not (some := self._run(self._next())):
                return
            self._some = iter(some)

    async def _next(self) -> list[ReplayEvent]:
        """Return the next events, some at a time: a call into the event loop for each would cost twenty times as much."""
        some: list[ReplayEvent] = []
        try:
            for _ in repeat(None, _AT_ONCE):
                some.append(await anext(self._events))  # noqa: PERF401 (what came before an error counts)
        except StopAsyncIteration:
            return some
        except Exception:
            if not some:
                raise
        return some

    def close(self) -> None:
        """Stop reading, and give the connections back. May be repeated."""
        self._some = iter(())
        self._run(self._events.aclose())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
