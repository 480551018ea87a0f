"""Sliding windows over a stream of candles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    import pandas as pd

    from datalayer.domain.sliding_windows import SlidingWindows, WindowBlock
    from datalayer.repositories.history_stream import BatchStream


class WindowStream:
    """Blocks of windows, ascending; made by `MarketHistory.stream_windows`. Errors and ending are those of `BatchStream`.

    Args:
        candles: what to read.
        windows: what to make of it.
    """

    def __init__(self, candles: BatchStream[pd.DataFrame], windows: SlidingWindows) -> None:
        self._candles, self._windows = candles, windows
        self._blocks: Iterator[WindowBlock] = iter(())

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> WindowBlock:
        """Return the next block.

        Raises:
            StopAsyncIteration: the range is at its end, or the stream is closed.
            MissingDataError: candles are missing, and the policy is "refuse".
            DatabaseError: a batch could not be read, after all tries.
        """
        while (block := next(self._blocks, None)) is None:
            self._blocks = self._windows.add(await anext(self._candles))
        return block

    async def aclose(self) -> None:
        """Stop reading, and wait until the connection is given back. May be called again."""
        self._blocks = iter(())
        await self._candles.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
