"""Answers of the provider for moments in the past: from the database, whose chunks are compressed.

    DATALAYER_TEST_URL=postgresql+asyncpg://… python -m benchmarks.provider_history [--rows 50000000] [--runs 200] [--profile] [--quick]

Says something on a native server only; fifty million rows are made in some minutes. Seven timeframes of 100 candles, order book,
imbalances, five indicators computed over 480 candles, and five minutes of context on either side, of random moments, each in a
transaction of its own. Beside it, turn by turn, the same where PostgreSQL compares each chunk with its constraints, which is its
default. What was expected and what was found stands in docs/adr/0015-provider.md.

Beside the time that went by stands the processor time of this process and of the server's for it, where that runs on this
machine: where others use the machine as well, it is what can be compared.
`--profile` says where the time goes: by statements, and by functions of this process.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import random
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import event

from benchmarks.harness import SYMBOL, benchmark_engine
from benchmarks.made_market import END
from benchmarks.provider import INDICATORS, check, profiled, store
from benchmarks.statement_times import statement_table, statements_of
from datalayer.config import Settings
from datalayer.db.connection import create_engine
from datalayer.provider import UnifiedDataProvider

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncEngine

WARM_UP = 3


class Way:
    """An engine with a provider on it, and the times of its answers."""

    def __init__(self, engine: AsyncEngine, **parameters: str) -> None:
        self.engine = engine
        self.provider = UnifiedDataProvider(engine, indicators=INDICATORS)
        self.ms: list[tuple[float, ...]] = []
        self._processes: list[int] = []

        @event.listens_for(engine.sync_engine, "connect")
        def connected(dbapi: Any, _record: Any) -> None:
            self._processes.append(dbapi.driver_connection.get_server_pid())
            for name, value in parameters.items():
                dbapi.run_async(lambda driver: driver.execute(f"SET {name} = {value}"))  # noqa: B023 (runs at once)

    async def answer(self, moment: datetime) -> None:
        begin = self._now()
        found = await self.provider.get_inference_data(SYMBOL, moment)
        self.ms.append(tuple(after - before for before, after in zip(begin, self._now(), strict=True)))
        check(found)

    @property
    def p95_ms(self) -> float:
        return float(np.percentile([times[0] for times in self.ms[WARM_UP:]], 95))

    def _now(self) -> tuple[float, ...]:
        return time.perf_counter() * 1e3, time.thread_time() * 1e3, sum(map(processor_ms, self._processes))

    def line(self, name: str) -> str:
        wall, ours, servers = np.array(self.ms[WARM_UP:]).T
        times = ((wall, (50, 95, 99)), (ours, (50,)), (servers, (50,)), (ours + servers, (50, 95)))
        cells = [f"{ms:.2f}" for column, shares in times for ms in np.percentile(column, shares)]
        return f"| {name} | {' | '.join(cells)} |"


def processor_ms(process: int) -> float:
    """Return the milliseconds of processor time that a process of this machine has had; NaN: there is no such process."""
    with suppress(OSError):
        return int(Path(f"/proc/{process}/schedstat").read_text().split()[0]) / 1e6
    return float("nan")


def moments(number: int) -> list[datetime]:
    rng = random.Random(15)  # noqa: S311 (no secret)
    last = END - timedelta(hours=1)
    return [last - timedelta(microseconds=rng.randrange(36_000_000_000)) for _ in range(number)]


async def answered(ways: Sequence[Way], runs: int) -> None:
    """Ask for so many moments, each way in turn."""
    for way in ways:
        await way.provider.open()
    for moment in moments(WARM_UP + runs):
        for way in ways:
            await way.answer(moment)


def print_table(ways: dict[str, Way]) -> None:
    print(
        "| answer | p50, ms | p95 | p99 | processor here p50 | server's | both, p50 | p95 |\n|---"
        + "|---:" * 7
        + "|"
    )
    for name, way in ways.items():
        print(way.line(name))


async def explained(way: Way, runs: int) -> None:
    answers = []
    with cProfile.Profile() as profile:
        for moment in moments(runs):
            with statements_of(way.engine) as sent:
                await way.answer(moment)
            answers.append(sent)
    async with way.engine.connect() as conn:
        print(f"\n{await statement_table(conn, answers)}")
    profiled(profile, "here")


async def main() -> None:
    parser = argparse.ArgumentParser(description="answers of the provider for moments in the past")
    parser.add_argument("--rows", type=int, default=50_000_000, help="1s candles in the database")
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument(
        "--quick", action="store_true", help="few rows and runs: shows that it works, says nothing"
    )
    chosen = parser.parse_args()
    rows, runs = (100_000, 3) if chosen.quick else (chosen.rows, chosen.runs)
    async with benchmark_engine() as engine:
        await store(engine, rows)
        settings = Settings.load(database_url=engine.url.render_as_string(hide_password=False))
        ways = {
            "ours": Way(create_engine(engine.url, settings)),
            "chunks compared with their constraints": Way(
                create_engine(engine.url, settings), constraint_exclusion="partition"
            ),
        }
        print(f"\n{rows:,} 1s candles in the database\n")
        await answered(list(ways.values()), runs)
        print_table(ways)
        if chosen.profile:
            await explained(ways["ours"], min(runs, 50))
        for way in ways.values():
            await way.engine.dispose()


if __name__ == "__main__":
    asyncio.run(main())
