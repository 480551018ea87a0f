"""What it costs to keep the very data of each annotation: bytes a label, and medians of what a tool does with it.

    DATALAYER_TEST_URL=postgresql+asyncpg://… python -m benchmarks.annotations [--rows N] [--runs K] [--quick]

Each label is of five minutes, on a frame of all timeframes with 100 known candles each and 30 minutes around its moment. `rows` are
the labels.
"""

from __future__ import annotations

import asyncio
import statistics
import zlib
from datetime import timedelta
from typing import TYPE_CHECKING

from benchmarks.harness import SYMBOL, Comparison, Stopwatch, arguments, benchmark_engine, candles
from datalayer import Annotation, UnifiedDataProvider, UnitOfWork

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from datalayer import InferenceDataFrame

LABELS = 20
MINUTES = 20_000


class Labels:
    """The same moments, labelled anew in each run."""

    def __init__(self, engine: AsyncEngine, frames: list[InferenceDataFrame]) -> None:
        self.engine, self.frames = engine, frames
        self.saved: list[Annotation] = []

    async def hash(self) -> float:
        with Stopwatch() as watch:
            for frame in self.frames:
                frame.content_hash()
        return watch.seconds

    async def save(self) -> float:
        labels = [
            Annotation(SYMBOL, ("1m",), f.as_of, f.as_of + timedelta(minutes=5), "x", "bench")
            for f in self.frames
        ]
        with Stopwatch() as watch:
            for label, frame in zip(labels, self.frames, strict=True):
                async with UnitOfWork(self.engine) as uow:
                    self.saved = [*self.saved[-LABELS + 1 :], await uow.annotations.save(label, frame)]
                    await uow.commit()
        return watch.seconds

    async def read(self) -> float:
        async with UnitOfWork(self.engine) as uow:
            with Stopwatch() as watch:
                for label in self.saved:
                    await uow.annotations.get_data(label.id)
        return watch.seconds

    async def changes(self) -> float:
        async with UnitOfWork(self.engine) as uow:
            with Stopwatch() as watch:
                for label in self.saved:
                    assert (await uow.annotations.list_changes(label.id)).empty
        return watch.seconds


async def main() -> None:
    chosen = arguments(__doc__ or "")
    async with benchmark_engine() as engine:
        frame = candles(MINUTES)
        async with UnitOfWork(engine) as uow:
            await uow.candles.upsert_candles(SYMBOL, "1m", frame)
            await uow.commit()
        moments = [frame.index[-1] - timedelta(minutes=200 * (n + 1)) for n in range(LABELS)]
        async with UnifiedDataProvider(engine) as market:
            frames = [await market.get_inference_data(SYMBOL, moment, 30) for moment in moments]
        written = {
            "JSON": [f.to_json().encode() for f in frames],
            "JSON, zlib": [zlib.compress(f.to_json().encode()) for f in frames],
            "Parquet": [f.to_parquet() for f in frames],
            "Arrow IPC, zlib": [zlib.compress(f.to_ipc()) for f in frames],
        }
        for name, each in written.items():
            print(f"{name}: {statistics.median(map(len, each)):,.0f} bytes a label (median)")
        work = Labels(engine, frames)
        ways = {"digest": work.hash, "save": work.save, "get_data": work.read, "list_changes": work.changes}
        comparison = Comparison("What a tool does, for 20 labels", LABELS, "save", ways)
        await comparison.run(chosen.runs)
        print(comparison.table())


if __name__ == "__main__":
    asyncio.run(main())
