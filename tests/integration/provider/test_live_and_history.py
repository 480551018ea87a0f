"""The real recording goes through pipeline, cache and database; what was answered live, history answers later, to the last bit."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event

from datalayer import DataIngestionPipeline, InferenceDataFrame, Timeframe, UnifiedDataProvider, UnitOfWork
from datalayer.domain.indicators import Atr, BollingerBands, Ema, Macd, Obv, Rsi, Vwap
from datalayer.ingestion import IngestionSettings
from tests.integration.ingestion.market import BTC
from tests.integration.provider.capture import replayed
from tests.integration.provider.conftest import Clock

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

INDICATORS = (Ema(20), Rsi(14), Atr(14), Macd(), BollingerBands(), Vwap(), Obv())
# The whole recording is eleven minutes; what is asked for in two minutes over midnight takes a tenth of a minute.
IS_LONG = bool(os.environ.get("DATALAYER_WHOLE_CAPTURE"))
EVERY, LENGTH = (
    (timedelta(milliseconds=700), timedelta(hours=1))
    if IS_LONG
    else (timedelta(milliseconds=1_700), timedelta(seconds=110))
)


def differences(live: InferenceDataFrame, stored: InferenceDataFrame) -> list[str]:
    """Return what is not the same, but for where it is from and when it was asked for."""
    ours, theirs = _comparable(live), _comparable(stored)
    return sorted(name for name in {*ours, *theirs} if ours.get(name) != theirs.get(name))


def _comparable(frame: InferenceDataFrame) -> dict[str, Any]:
    whole = frame.to_dict()
    facts, tables = whole["facts"], whole["tables"]
    quality = {
        f"quality.{name}": value for name, value in facts["quality"].items() if name != "unconfirmed_s"
    }
    told_apart = {"sources", "timestamp", "quality"}
    return (
        {name: value for name, value in facts.items() if name not in told_apart}
        | quality
        | {name: table for name, table in tables.items() if not name.startswith("context_after")}
    )


class RoundTrips:
    """Counts the connections that are taken from the pool; every statement needs one."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.count = 0
        event.listen(engine.sync_engine, "engine_connect", self._note)

    def _note(self, *_: Any) -> None:
        self.count += 1


@pytest.fixture
async def recorded(engine: AsyncEngine) -> tuple[list[InferenceDataFrame], int]:
    """Live answers while the recording is fed, and how many of them asked the database."""
    clock = Clock(datetime(2024, 8, 8, tzinfo=UTC))
    cache, answers, asked = clock.cache(), [], 0
    async with UnitOfWork(engine) as uow:
        await uow.instruments.ensure(BTC, 2, 5)
        await uow.commit()
    async with (
        DataIngestionPipeline(
            engine,
            outbox=None,
            cache=cache,
            settings=IngestionSettings(flush_after_s=60),
            clock=lambda: clock().timestamp(),
        ) as pipeline,
        UnifiedDataProvider(engine, cache=cache, symbols=[BTC], indicators=INDICATORS) as provider,
    ):
        trips = RoundTrips(engine)
        async for _ in replayed(pipeline, clock, EVERY, LENGTH):
            before = trips.count
            answers.append(await provider.get_inference_data(BTC))
            asked += trips.count - before
        await pipeline.flush()
    return answers, asked


async def test_history_gives_what_was_given_live(
    engine: AsyncEngine, recorded: tuple[list[InferenceDataFrame], int]
) -> None:
    answers, asked = recorded
    assert len(answers) > 50
    assert asked == 0
    async with UnifiedDataProvider(engine, indicators=INDICATORS) as provider:
        for live in answers:
            stored = await provider.get_inference_data(BTC, live.as_of)
            assert differences(live, stored) == [], live.as_of
            assert stored.as_of == stored.timestamp == live.as_of
            assert stored.sources["candles.1m"].startswith("database")
    last = answers[-1]
    assert last.order_book is not None
    assert all(len(last.candles[timeframe]) for timeframe in Timeframe)
    assert {len(table.columns) for table in last.indicators.values()} == {11}
    assert last.quality.forming == {*Timeframe} - {Timeframe.S1}


async def test_a_live_answer_is_of_the_last_moment_of_which_everything_has_come(
    recorded: tuple[list[InferenceDataFrame], int],
) -> None:
    answers, _ = recorded
    lags = sorted((live.timestamp - live.as_of).total_seconds() for live in answers)
    assert lags[0] >= 0
    assert lags[-1] <= 2.0
    assert lags[len(lags) // 2] < 0.5  # books come every 500 ms
    assert not any(
        live.quality.unconfirmed_s for live in answers if (live.timestamp - live.as_of).total_seconds() < 2
    )
