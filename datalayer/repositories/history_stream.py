"""Batches read one after the other, the next one while the caller works on the last."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Generic, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from types import TracebackType

    from datalayer.repositories.history_batches import Position

Batch = TypeVar("Batch")

_LAST_BATCH_S: Final = 1.0


class BatchStream(Generic[Batch]):
    """Batches in ascending order, each once; made by `MarketHistory`.

        async with history.stream_trades("BTC/USDT", start=start, end=end) as batches:
            async for batch in batches:
                ...

    While a batch is in the caller's hands the next one is read, in a task and a transaction of its own: so two batches are
    held at most. Reading goes on whenever the event loop has its turn; a caller that only computes gives it one by
    `await asyncio.sleep(0)`, or computes in a thread.

    An error in reading reaches the caller with the next batch. The stream stays where it was, as it does if the caller is
    cancelled: asked again, it reads the same batch again. Only the end of the range ends it.

    To stop early leave `async with`, or call `aclose()`: no task and no connection is left behind.

    Args:
        name: of the task that reads.
        first: where to begin.
        read: returns the batch from a position on, and the next position; None after the last one.
    """

    def __init__(
        self,
        name: str,
        first: Position | None,
        read: Callable[[Position], Coroutine[Any, Any, tuple[Batch | None, Position | None]]],
    ) -> None:
        self._name, self._position, self._read = name, first, read
        self._reading: asyncio.Task[tuple[Batch | None, Position | None]] | None = None
        self._is_asked = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Batch:
        """Return the next batch, which has at least one row.

        Raises:
            StopAsyncIteration: the range is at its end, or the stream is closed.
            DatabaseError: the batch could not be read, after all tries.
            RuntimeError: another task is waiting for the same batch.
        """
        if self._is_asked:
            msg = "two tasks ask for the next batch of one stream; give each its own"
            raise RuntimeError(msg)
        self._is_asked = True
        try:
            while (batch := await self._next()) is None:
                pass
        finally:
            self._is_asked = False
        return batch

    def read_ahead(self) -> None:
        """Begin to read the next batch, unless that has been done.

        What failed before anybody asked for it is read anew: the reason may have passed.
        """
        if self._reading is None or _has_failed(self._reading):
            self._reading = self._begin()

    async def aclose(self) -> None:
        """Stop reading, and wait until the connection is given back. May be called again.

        The batch that is being read has a second to end; after that it is cancelled, which costs the connection.
        """
        self._position = None
        reading, self._reading = self._reading, None
        if reading is None:
            return
        _, late = await asyncio.wait([reading], timeout=_LAST_BATCH_S)
        if late:
            reading.cancel()
            await asyncio.wait([reading])
        if not reading.cancelled():
            reading.exception()  # it has nobody to reach any more

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _next(self) -> Batch | None:
        self.read_ahead()
        if (reading := self._reading) is None:
            raise StopAsyncIteration
        try:
            batch, position = await reading
        except asyncio.CancelledError:
            if self._reading is not reading and reading.cancelled() and not _is_cancelled():
                raise StopAsyncIteration from None  # closed by another task
            self._forget(reading)
            raise
        except BaseException:
            self._forget(reading)
            raise
        if self._reading is not reading:
            raise StopAsyncIteration  # closed by another task
        self._position = position
        self._reading = self._begin()
        return batch

    def _forget(self, reading: asyncio.Task[tuple[Batch | None, Position | None]]) -> None:
        if self._reading is reading:
            self._reading = None

    def _begin(self) -> asyncio.Task[tuple[Batch | None, Position | None]] | None:
        if self._position is None:
            return None
        return asyncio.create_task(self._read(self._position), name=f"reading ahead: {self._name}")


def _has_failed(reading: asyncio.Task[Any]) -> bool:
    return reading.done() and (reading.cancelled() or reading.exception() is not None)


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
