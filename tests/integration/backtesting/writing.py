"""Candles that tests of backtests have stored."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from datalayer import Timeframe, UnitOfWork

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncEngine

BTC, ETH = "BTC/USDT", "ETH/USDT"
START = datetime(2024, 8, 8, 10, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


async def write(
    engine: AsyncEngine, symbol: str, timeframe: Timeframe | str, frame: pd.DataFrame, *, size_scale: int = 6
) -> None:
    async with UnitOfWork(engine) as uow:
        await uow.instruments.ensure(symbol, 2, size_scale)
        await uow.candles.upsert_candles(symbol, timeframe, frame)
        await uow.commit()


def numbered(
    numbers: Sequence[int], timeframe: Timeframe = Timeframe.M1, *, volume: float = 1
) -> pd.DataFrame:
    """Candles whose close tells their number from `START` on."""
    index = pd.DatetimeIndex([START + n * timeframe.length for n in numbers], name="timestamp").as_unit("us")
    close = 1_000.0 + np.array(numbers)
    columns = {"open": close - 0.5, "high": close + 1, "low": close - 1, "close": close, "volume": volume}
    return pd.DataFrame(columns, index=index)
