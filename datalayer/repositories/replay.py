"""Several streams merged in the order in which their rows became visible."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Generic, Self, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

    from numpy.typing import NDArray

    from datalayer.domain.replay_event import ReplayEvent
    from datalayer.repositories.history_stream import BatchStream
    from datalayer.repositories.replay_records import Records

Batch = TypeVar("Batch")

_EVENTS_PER_BLOCK: Final = 1_000
_NEVER_US: Final = np.iinfo(np.int64).max


class Feed(Generic[Batch]):
    """The rows of one stream that have been read and not given yet.

    Args:
        stream: the batches.
        records: what its rows are.
    """

    def __init__(self, stream: BatchStream[Batch], records: Records[Batch]) -> None:
        self.stream, self.records = stream, records
        self._read: deque[tuple[Batch, NDArray[np.int64]]] = deque()
        self._given = 0  # rows of the first batch
        self._is_at_end = False

    @property
    def is_empty(self) -> bool:
        """Whether nothing is there, though there may be more."""
        return not self._read and not self._is_at_end

    @property
    def known_until_us(self) -> int:
        """Before this time nothing more will come; microseconds since 1970."""
        return _NEVER_US if self._is_at_end else int(self._read[-1][1][-1])

    async def extend(self) -> None:
        """Read one more batch."""
        try:
            batch = await anext(self.stream)
        except StopAsyncIteration:
            self._is_at_end = True
        else:
            self._read.append((batch, self.records.visible_us(batch)))

    def times_before(self, moment_us: int) -> NDArray[np.int64]:
        """Return the times of the rows that come before a moment."""
        parts = [times for _, times in self._read]
        times = np.concatenate(parts)[self._given :] if parts else np.zeros(0, np.int64)
        return times[: np.searchsorted(times, moment_us)]

    def take(self, count: int) -> list[ReplayEvent]:
        """Return the next rows as events, and forget them."""
        events: list[ReplayEvent] = []
        while len(events) < count:
            batch, times = self._read[0]
            end = min(self._given + count - len(events), len(times))
            events += self.records.events(batch, slice(self._given, end))
            self._given = end
            if end == len(times):
                self._read.popleft()
                self._given = 0
        return events


class Replay:
    """Events in the order in which they became visible; made by `MarketHistory.replay`.

        async with history.replay(["BTC/USDT"], start=start, end=end, timeframes=["1m"], trades=True) as events:
            async for event in events:
                ...

    An error in reading reaches the caller in place of the next event; asked again, it goes on there. To stop early leave
    `async with`, or call `aclose()`: no task and no connection is left behind.

    Args:
        feeds: what to merge. Of events at the same time, those of the earlier feed come first.
    """

    def __init__(self, feeds: Sequence[Feed[Any]]) -> None:
        self._feeds = feeds
        self._order: NDArray[np.int64] = np.zeros(0, np.int64)  # of which feed each of the next events is
        self._block: Iterator[ReplayEvent] = iter(())
        self._is_closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ReplayEvent:
        """Return the next event.

        Raises:
            StopAsyncIteration: all have been given, or the replay is closed.
            DatabaseError: a batch could not be read, after all tries.
        """
        for event in self._block:
            return event
        await asyncio.sleep(0)  # for the tasks that read ahead, beside a caller that only computes
        while not len(self._order):
            self._order = await self._next_order()
        self._block = iter(self._next_block())
        return next(self._block)

    async def aclose(self) -> None:
        """Stop, and wait until all connections are given back. May be called again."""
        self._is_closed, self._block = True, iter(())
        await asyncio.gather(*(feed.stream.aclose() for feed in self._feeds))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _next_order(self) -> NDArray[np.int64]:
        """Read until some events are known to be the next ones; none if a moment is not known to its end yet."""
        if self._is_closed:
            raise StopAsyncIteration
        for feed in self._feeds:
            feed.stream.read_ahead()
        for feed in self._feeds:
            if feed.is_empty:
                await feed.extend()
        until_us = min((feed.known_until_us for feed in self._feeds), default=_NEVER_US)
        times = [feed.times_before(until_us) for feed in self._feeds]
        if until_us == _NEVER_US and not any(map(len, times)):
            raise StopAsyncIteration
        if not any(map(len, times)):
            # More may come at that very moment, as many trades share one.
            for feed in self._feeds:
                if feed.known_until_us == until_us:
                    await feed.extend()
        feeds = np.repeat(np.arange(len(times)), [len(part) for part in times])
        return feeds[np.argsort(np.concatenate(times), kind="stable")]

    def _next_block(self) -> list[ReplayEvent]:
        block, order = self._order[:_EVENTS_PER_BLOCK], self._order[_EVENTS_PER_BLOCK:]
        counts = np.bincount(block, minlength=len(self._feeds)).tolist()
        taken = [iter(feed.take(count)) for feed, count in zip(self._feeds, counts, strict=True)]
        self._order = order
        return [next(taken[feed]) for feed in block.tolist()]
