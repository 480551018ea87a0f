"""Whatever is written, compressed and refreshed in whatever order: outside of dirty ranges the aggregates are right at any
moment, and after the refresher they are right everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datalayer.db.aggregates import AGGREGATES, refresh_aggregates
from datalayer.repositories.dirty_ranges import DirtyRangeRepository
from datalayer.timescale import compress_chunks
from tests.aggregate_oracle import book_of, candle_of, recomputed, rows_of
from tests.conftest import empty
from tests.late_rows import BTC, ETH, seconds, write_books, write_candles
from tests.refreshing import LEVELS, assert_right_and_clean, refresh, run_job, server_now

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from datalayer.db.aggregates import Family

ORACLES: dict[Family, Any] = {"candles": candle_of, "order_books": book_of}
AGES_H = (0.2, 3.0, 30.0, 40.0, 311.5, 313.0, 480.0)
"""Around the windows of the policies, 36 hours and 13 days, and far behind."""


@dataclass(frozen=True)
class Written:
    family: Family
    age_h: float
    shift_s: int
    count: int
    step_s: int
    price: float
    symbol: str


@dataclass(frozen=True)
class Job:
    level: str


@dataclass(frozen=True)
class ByHand:
    family: Family
    age_h: float
    hours: int


@dataclass(frozen=True)
class Compressed:
    relation: str


FAMILIES = st.sampled_from(["candles", "order_books"])
WRITTEN = st.builds(
    Written,
    family=FAMILIES,
    age_h=st.sampled_from(AGES_H),
    shift_s=st.integers(0, 400),
    count=st.integers(1, 12),
    step_s=st.sampled_from([1, 7, 61]),
    price=st.integers(50, 900).map(float),
    symbol=st.sampled_from([BTC, ETH]),
)
STEPS = (
    WRITTEN
    | st.builds(Job, st.sampled_from(LEVELS))
    | st.just("refresher")
    | st.builds(ByHand, FAMILIES, st.sampled_from(AGES_H), st.integers(1, 200))
    | st.builds(Compressed, st.sampled_from(["candles", "order_books", *LEVELS]))
)
Step = Written | Job | ByHand | Compressed | Literal["refresher"]


async def do(engine: AsyncEngine, step: Step, now: datetime) -> None:
    match step:
        case Written():
            write = write_candles if step.family == "candles" else write_books
            start = now - timedelta(hours=step.age_h) + timedelta(seconds=step.shift_s)
            async with engine.begin() as conn:
                await write(
                    conn, seconds(start, step.count, step=step.step_s), step.price, symbol=step.symbol
                )
        case Job():
            await run_job(engine, step.level)
        case ByHand():
            start = now - timedelta(hours=step.age_h)
            await refresh_aggregates(engine, step.family, start, start + timedelta(hours=step.hours))
        case Compressed():
            await compress_chunks(engine, step.relation)
        case _:
            await refresh(engine, audit=True)


async def assert_right_where_not_dirty(engine: AsyncEngine, now: datetime) -> None:
    ever = now - timedelta(days=99), now + timedelta(days=99)
    async with engine.connect() as conn:
        for family, levels in AGGREGATES.items():
            source = await rows_of(conn, family, "timeframe = 1" if family == "candles" else "true")
            for level in levels:
                ranges = await DirtyRangeRepository(conn).list_dirty_buckets(family, level.bucket, *ever)

                def is_clean(row: dict[str, Any], ranges: list[tuple[datetime, datetime]] = ranges) -> bool:
                    return not any(start <= row["ts"] < end for start, end in ranges)

                shown = filter(is_clean, await rows_of(conn, level.name))
                assert [*shown] == [*filter(is_clean, recomputed(source, level.bucket, ORACLES[family]))]


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(steps=st.lists(STEPS, min_size=2, max_size=14))
async def test_the_aggregates_are_right_where_nothing_is_dirty(
    engine: AsyncEngine, steps: list[Step]
) -> None:
    await empty(engine)
    async with engine.begin() as conn:
        now = await server_now(conn)
    for step in steps:
        await do(engine, step, now)
        await assert_right_where_not_dirty(engine, now)
    await refresh(engine, audit=True)
    await assert_right_and_clean(engine)
