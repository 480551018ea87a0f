"""Holes in what a feed brings: noted in the database, filled from the exchange's REST interface, and resolved."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final, TypeVar

from datalayer.db.retry import RetryableDBOperation
from datalayer.domain.moments import EPOCH
from datalayer.domain.trade import Trade
from datalayer.errors import DatabaseError, ExchangeError, InvalidInputError
from datalayer.ingestion import UnitOfWork
from datalayer.integrations.feeds.seconds import SECOND, second_of, seconds_of_trades, with_silent

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from datetime import datetime

    from datalayer.domain.candle import Candle
    from datalayer.domain.feed_gap import FeedGap, GapState
    from datalayer.ingestion import DataIngestionPipeline
    from datalayer.integrations.feeds.exchange import RestRequest
    from datalayer.integrations.feeds.router import Router
    from datalayer.integrations.feeds.seconds import Block
    from datalayer.integrations.feeds.sequence import Hole

T = TypeVar("T")

_AT_ONCE: Final = 4
_PIECE: Final = timedelta(hours=1)
_REBUILD_S: Final = 10.0


class GapKeeper:
    """Takes care of holes, a task each.

    Args:
        router: takes what is filled in.
        pipeline: what is filled in must be in the database before a hole counts as filled.
    """

    def __init__(self, router: Router, pipeline: DataIngestionPipeline) -> None:
        self._router, self._pipeline, self._settings = router, pipeline, router.settings
        self._tasks: set[asyncio.Task[None]] = set()
        self._rebuilds: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self.counts: Counter[GapState] = Counter()

    def open(self, gap: FeedGap, hole: Hole, block: Block | None) -> None:
        """Take care of a hole.

        Args:
            gap: what to note.
            hole: shrinks as what is missing comes.
            block: seconds that wait for it.
        """
        self._begin(self._close(gap, hole, block))

    def note_lost(self, gap: FeedGap) -> None:
        """Note a hole that nothing can fill."""
        self.counts["lost"] += 1
        self._begin(self._stored(lambda uow: uow.feed_gaps.record(replace(gap, state="lost"))))

    def rebuild_due(self, symbol: str) -> None:
        """Make 1s candles from stored trades, where they are over and were withheld until now."""
        builder = self._router.states[symbol].seconds
        for block in () if builder is None else builder.due_blocks():
            task = self._begin(self._rebuild(symbol, block))
            self._rebuilds.add(task)
            task.add_done_callback(self._rebuilds.discard)

    async def idle(self) -> None:
        """Return when nothing is being taken care of."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def stop(self) -> None:
        """End; holes that are open are noted as such, and the next start goes on with them.

        Candles that are being made are waited for, as long as a database that answers needs.
        """
        for task in self._tasks - self._rebuilds:
            task.cancel()
        if self._rebuilds:
            await asyncio.wait(self._rebuilds, timeout=_REBUILD_S)
        for task in self._rebuilds:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, work: Coroutine[object, object, object]) -> asyncio.Task[None]:
        async def run() -> None:
            await work

        task = asyncio.create_task(run(), name=f"{self._router.exchange.name} hole")
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._router.faults.note("failed", f"{task.get_name()}: {error!r}")

    async def _close(self, gap: FeedGap, hole: Hole, block: Block | None) -> None:
        await asyncio.sleep(self._settings.settle_s)
        if hole.missing:  # else messages came out of order
            gap_id = await self._stored(lambda uow: uow.feed_gaps.record(gap))
            self.counts["open"] += 1
            self._router.faults.note("hole", gap)
            state = await self._resolved(gap, hole)
            await self._pipeline.flush()
            filled = hole.size - hole.remaining
            await self._stored(lambda uow: uow.feed_gaps.resolve(gap_id, state, filled))
            self.counts["open"] -= 1
            self.counts[state] += 1
        if block is not None and not hole.missing:
            block.is_complete = True
            self.rebuild_due(gap.symbol)

    async def _resolved(self, gap: FeedGap, hole: Hole) -> GapState:
        if (gap.end - gap.start).total_seconds() > self._settings.backfill_max_s:
            self._router.faults.note("hole", f"longer than backfill_max_s, it is left open: {gap}")
            return "open"
        while (state := await self._filled(gap, hole)) == "open":  # noqa: ASYNC110 (nothing tells when it could be)
            await asyncio.sleep(self._settings.backfill_retry_s)
        return state

    async def _filled(self, gap: FeedGap, hole: Hole) -> GapState:
        empty = 0
        async with self._slots:
            while hole.missing and empty < self._settings.backfill_attempts:
                request = self._request(gap, *hole.missing[0])
                if request is None:
                    return "lost"
                before = hole.remaining
                try:
                    await self._take(gap, hole, await self._router.rest.get(request))
                except (ExchangeError, InvalidInputError) as exc:
                    self._router.faults.note("failed", f"{gap.symbol}: backfill: {exc}")
                    return "open"
                empty = empty + 1 if hole.remaining == before else 0
                if empty:
                    await asyncio.sleep(self._settings.retry_wait_initial_s * 2**empty)
        return "lost" if hole.missing else "filled"

    def _request(self, gap: FeedGap, first: int, last: int) -> RestRequest | None:
        exchange = self._router.exchange
        if gap.timeframe is None:
            return exchange.trades_request(gap.symbol, first, last)
        length = gap.timeframe.length
        return exchange.candles_request(
            gap.symbol, gap.timeframe, EPOCH + first * length, EPOCH + (last + 1) * length
        )

    async def _take(self, gap: FeedGap, hole: Hole, body: bytes) -> None:
        exchange = self._router.exchange
        records: list[Trade] | list[Candle] = (
            exchange.parse_trades(body, gap.symbol)
            if gap.timeframe is None
            else exchange.parse_candles(body, gap.symbol, gap.timeframe)
        )
        for record in records:
            number = (
                record.trade_id
                if isinstance(record, Trade)
                else (record.ts - EPOCH) // record.timeframe.length
            )
            if any(first <= number <= last for first, last in hole.missing):
                await self._router.take(record, None)

    async def _rebuild(self, symbol: str, block: Block) -> None:
        await asyncio.sleep(
            self._settings.settle_s
        )  # a trade of another connection may be on its way to the pipeline
        await self._pipeline.flush()
        start, end = EPOCH + block.first * SECOND, EPOCH + (block.last + 1) * SECOND
        while start < end:
            piece_end = min(start + _PIECE, end)
            candles = await self._stored(self._seconds(symbol, start, piece_end))
            await self._router.ingest_seconds(candles)
            start = piece_end

    def _seconds(
        self, symbol: str, start: datetime, end: datetime
    ) -> Callable[[UnitOfWork], Awaitable[list[Candle]]]:
        builder = self._router.states[symbol].seconds

        async def read(uow: UnitOfWork) -> list[Candle]:
            trades = await uow.trades.query_trades(symbol, start, end, as_of=end)
            times = trades.index.tz_localize(None).to_numpy()  # type: ignore[attr-defined]
            values = [trades[name].to_numpy() for name in ("trade_id", "price", "size")]
            made = seconds_of_trades(symbol, times, *values)
            if self._settings.silent_seconds == "fill":
                made = with_silent(made)
            return [
                candle for candle in made if builder is None or not builder.is_withheld(second_of(candle.ts))
            ]

        return read

    async def _stored(self, work: Callable[[UnitOfWork], Awaitable[T]]) -> T:
        """Run a unit of work; a database that is away is waited for without end."""

        async def run() -> T:
            async with UnitOfWork(self._pipeline.database) as uow:
                result = await work(uow)
                await uow.commit()
                return result

        while True:
            try:
                return await RetryableDBOperation()(run)
            except DatabaseError as exc:
                self._router.faults.note("failed", f"a hole cannot be noted: {exc}")
                await asyncio.sleep(self._settings.retry_wait_initial_s)
