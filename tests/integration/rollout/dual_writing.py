"""What tests of the dual writer write, and the phase that they write in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import text

from datalayer import Candle, Timeframe
from datalayer.domain.scales import Scales
from datalayer.ingestion import IngestionSettings

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from datalayer.rollout.phase_state import Phase

SYMBOL = "BTC/USDT"
START = datetime(2024, 8, 8, tzinfo=UTC)
SETTINGS = IngestionSettings(
    flush_after_s=0.02,
    unknown_instruments="register",
    scales={SYMBOL: Scales(0, 0)},
    retry_wait_max_s=0.2,
)


def candle(minute: int, close: float = 2.0) -> Candle:
    ts = START + timedelta(minutes=minute)
    return Candle(SYMBOL, Timeframe.M1, ts, 1.0, close, 1.0, close, 1.0, int(close))


async def enter(engine: AsyncEngine, phase: Phase) -> None:
    entered = "INSERT INTO rollout_phases (phase, note, entered_at) VALUES (:phase, 'test', '2024-08-01+00')"
    async with engine.begin() as conn:
        await conn.execute(text(entered), {"phase": phase.value})
