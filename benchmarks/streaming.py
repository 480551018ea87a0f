"""History for backtests: streams, a replay and sliding windows, each beside the ways that one would write by hand.

    DATALAYER_TEST_URL=postgresql+asyncpg://… python -m benchmarks.streaming [--rows N] [--runs K] [--quick]

Predictions for a native server, 2 quiet cores, 100,000 rows, written down before the first run: trades in batches as fast
as in one frame, four times as fast as a cursor of asyncpg; a caller that waits as long as a batch takes waits for half of
it; 500,000 events/s in a replay of two symbols, twice as fast as heapq.merge of rows; two million windows/s into a loop,
thirty times as fast as slices of a frame. The first and the third were wrong: each batch is a transaction with five round
trips, and an event is a record with a time, which costs more than a row of a frame that is in memory already.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from benchmarks.harness import SYMBOL, Comparison, Stopwatch, arguments, benchmark_engine, candles
from datalayer.db.copy_transfer import driver_connection
from datalayer.repositories import CandleRepository, InstrumentRepository, MarketHistory, TradeRepository

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    import pandas as pd
    from sqlalchemy.ext.asyncio import AsyncEngine

OTHER = "ETH/USDT"
START = datetime(2024, 1, 1, tzinfo=UTC)  # as the candles
BATCH_ROWS = 10_000
WINDOW = 60
FILL = """
    INSERT INTO trades (ts, trade_id, price, size, side, instrument_id)
    SELECT CAST(:start AS timestamptz) + n / 3 * INTERVAL '50 milliseconds', n, 6000000 + n * 31 % 10007, 1 + n % 977,
           1 - n % 2 * 2, i.id
    FROM generate_series(0, CAST(:rows AS integer) - 1) AS n, instruments AS i
"""


async def timed(work: Callable[[], Awaitable[int]], rows: int) -> float:
    with Stopwatch() as watch:
        seen = await work()
    assert seen == rows, (seen, rows)
    return watch.seconds


async def cpu_us(work: Callable[[], Awaitable[int]]) -> float:
    """What other processes do on the machine does not count."""
    begun = time.process_time()
    await work()
    return (time.process_time() - begun) * 1e6


class Trades:
    """All trades of one symbol through the caller's hands, and what happens if he takes his time."""

    def __init__(self, engine: AsyncEngine, pause_s: float = 0.0) -> None:
        self.engine, self.history, self.pause_s = engine, MarketHistory(engine), pause_s

    async def ours(self) -> int:
        seen = 0
        async with self.history.stream_trades(SYMBOL, start=START, batch_rows=BATCH_ROWS) as batches:
            async for batch in batches:
                seen += len(batch)
                await asyncio.sleep(self.pause_s)
        return seen

    async def one_after_the_other(self) -> int:
        """The same batches without reading ahead."""
        seen = 0
        stream = self.history.stream_trades(SYMBOL, start=START, batch_rows=BATCH_ROWS)
        position = stream._position  # noqa: SLF001 - what is compared is just this
        while position is not None:
            batch, position = await stream._read(position)  # noqa: SLF001
            if batch is not None:
                seen += len(batch)
                await asyncio.sleep(self.pause_s)
        return seen

    async def at_once(self) -> int:
        async with self.engine.begin() as conn:
            return len(await TradeRepository(conn).query_trades(SYMBOL))

    async def cursor(self) -> int:
        seen = 0
        async with self.engine.begin() as conn:
            driver = await driver_connection(conn)
            query = (
                "SELECT ts, trade_id, price / 100.0::float8, size / 1e6::float8, side FROM trades"
                " WHERE instrument_id = (SELECT id FROM instruments WHERE symbol = $1) ORDER BY ts, trade_id"
            )
            async for _ in driver.cursor(query, SYMBOL, prefetch=BATCH_ROWS):
                seen += 1
        return seen


class Events:
    """Trades of two symbols and candles of one, in the order in which they became visible."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine, self.history = engine, MarketHistory(engine)

    async def ours(self) -> int:
        seen = 0
        async with self.history.replay(
            [SYMBOL, OTHER], start=START, timeframes=["1m"], trades=True
        ) as events:
            async for _ in events:
                seen += 1
        return seen

    async def merged_rows(self) -> int:
        """Everything in memory, rows of frames by `heapq.merge`."""
        async with self.engine.begin() as conn:
            frames = [await TradeRepository(conn).query_trades(symbol) for symbol in (SYMBOL, OTHER)]
            minutes = await CandleRepository(conn).query_ohlcv_data(SYMBOL, "1m", start=START)
        rows = [
            frame.itertuples() for frame in [minutes.set_index(minutes.index + timedelta(minutes=1)), *frames]
        ]
        return sum(1 for _ in heapq.merge(*rows, key=itemgetter(0)))


class Windows:
    """The last 60 closes at each close of a candle."""

    def __init__(self, engine: AsyncEngine, frame: pd.DataFrame) -> None:
        self.engine, self.history = engine, MarketHistory(engine)
        self.start, self.end = frame.index[0], frame.index[-1] + timedelta(minutes=1)

    async def ours(self) -> int:
        seen = 0
        async with self.history.stream_windows(
            SYMBOL, "1m", WINDOW, start=self.start, end=self.end, columns=["close"]
        ) as blocks:
            async for block in blocks:
                for _, _ in block:
                    seen += 1
        return seen

    async def read(self) -> pd.DataFrame:
        async with self.engine.begin() as conn:
            return await CandleRepository(conn).query_ohlcv_data(
                SYMBOL, "1m", start=self.start, end=self.end, columns=["close"]
            )

    async def slices(self) -> int:
        frame = await self.read()
        return sum(1 for _ in windows_of(frame))

    async def queries(self, steps: int) -> float:
        """Seconds for all of them, by some: nobody waits for the rest."""
        async with self.engine.begin() as conn:
            with Stopwatch() as watch:
                for step in range(steps):
                    as_of = self.start + timedelta(minutes=WINDOW + step)
                    await CandleRepository(conn).query_ohlcv_data(
                        SYMBOL, "1m", limit=WINDOW, as_of=as_of, columns=["close"]
                    )
        return watch.seconds / steps


def windows_of(frame: pd.DataFrame) -> Iterator[tuple[pd.Timestamp, Any]]:
    for end in range(WINDOW, len(frame) + 1):
        yield frame.index[end - 1], frame.iloc[end - WINDOW : end]


async def compare(title: str, rows: int, runs: int, ways: dict[str, Callable[[], Awaitable[float]]]) -> None:
    comparison = Comparison(title, rows, "ours", ways)
    await comparison.run(runs)
    print(comparison.table())


async def compare_trades(engine: AsyncEngine, rows: int, runs: int) -> None:
    trades = Trades(engine)
    ways = {
        "ours": lambda: timed(trades.ours, rows),
        "the same, not read ahead": lambda: timed(trades.one_after_the_other, rows),
        "all in one frame": lambda: timed(trades.at_once, rows),
        "asyncpg cursor": lambda: timed(trades.cursor, rows),
    }
    await compare(f"{rows:,} trades in batches of {BATCH_ROWS:,}", rows, runs, ways)
    batches = max(rows // BATCH_ROWS, 1)
    slow = Trades(engine, pause_s=await timed(trades.one_after_the_other, rows) / batches)
    ways = {
        "ours": lambda: timed(slow.ours, rows),
        "the same, not read ahead": lambda: timed(slow.one_after_the_other, rows),
    }
    await compare(
        "The same, the caller waiting as long for something else as a batch takes", rows, runs, ways
    )


async def main() -> None:
    chosen = arguments("streams of history")
    async with benchmark_engine() as engine:
        frame = candles(chosen.rows)
        async with engine.begin() as conn:
            await InstrumentRepository(conn).ensure(OTHER, 2, 6)
            await conn.execute(text(FILL), {"start": START, "rows": chosen.rows})
            await CandleRepository(conn).upsert_candles(SYMBOL, "1m", frame)
        async with engine.connect() as conn:
            await (await conn.execution_options(isolation_level="AUTOCOMMIT")).execute(text("ANALYZE"))
        await compare_trades(engine, chosen.rows, chosen.runs)

        events = Events(engine)
        count = 3 * chosen.rows
        ways: dict[str, Any] = {
            "ours": lambda: timed(events.ours, count),
            "heapq.merge of all rows": lambda: timed(events.merged_rows, count),
        }
        await compare(f"Replay of {count:,} events", count, chosen.runs, ways)
        print(
            f"\nours: {await cpu_us(events.ours) / count:.1f} µs of this process an event, reading included"
        )

        windows, steps = Windows(engine, frame), chosen.rows - WINDOW + 1
        ways = {
            "ours": lambda: timed(windows.ours, steps),
            "slices of a frame": lambda: timed(windows.slices, steps),
            "a query each (projected)": lambda: windows_by_query(windows, steps),
        }
        await compare(f"{steps:,} windows of {WINDOW} candles, one at a time", steps, chosen.runs, ways)


async def windows_by_query(windows: Windows, steps: int) -> float:
    return await windows.queries(min(steps, 100)) * steps


if __name__ == "__main__":
    asyncio.run(main())
