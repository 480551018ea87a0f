"""The worked example: the same strategy from the database and from the Parquet file, and through `backtesting.py`."""

from __future__ import annotations

import importlib.util
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from datalayer.demo.samples import load_month
from datalayer.integrations.backtesting import read_backtesting_frame, read_wide_frames
from tests.integration.backtesting.writing import BTC, write
from tests.market_files import market_frame

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of libraries for plots, which it imports
    import backtesting

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from sqlalchemy.ext.asyncio import AsyncEngine

    from datalayer import sync

EXAMPLE = Path(__file__).parents[3] / "examples" / "backtest.py"
YEAR = "ohlcv/binance_spot_BTCUSDT_1m_2024.parquet"


@pytest.fixture(scope="module")
def example() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("examples_backtest", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def bounds(frame: pd.DataFrame, beyond: str = "1min") -> dict[str, Any]:
    first, last = frame.index[0], frame.index[-1] + pd.Timedelta(beyond)
    return {"start": first.to_pydatetime(), "end": last.to_pydatetime()}


async def test_the_real_year_gives_the_same_trades_and_equity(
    example: ModuleType, engine: AsyncEngine, market: sync.UnifiedDataProvider
) -> None:
    year = market_frame(YEAR)
    await write(engine, BTC, "1m", year)
    ours = example.run(example.from_database(market, **bounds(year, "2min")))
    theirs = example.run(example.from_frame(year))
    assert len(ours.equity) == len(year) == 527_040
    assert len(ours.trades) > 100
    assert ours.trades == theirs.trades
    assert ours.equity == theirs.equity


def test_the_example_runs_by_itself(
    example: ModuleType, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "days.parquet"
    load_month().iloc[: 2 * 1440].reset_index().to_parquet(path)
    assert example.main(path)
    assert "2,880 candles of BTC/USDT" in capsys.readouterr().out


class Cross(backtesting.Strategy):
    """The averages again, and the hour before as a filter."""

    def init(self) -> None:
        close = pd.Series(np.asarray(self.data.Close))
        self.fast = self.I(lambda: close.rolling(60).mean(), name="fast")
        self.slow = self.I(lambda: close.rolling(600).mean(), name="slow")
        self.hour = self.I(lambda values: values, self.data.Close_1h, name="hour")

    def next(self) -> None:
        wants = self.fast[-1] > self.slow[-1] and self.data.Close[-1] > self.hour[-1]
        if wants and not self.position:
            self.buy()
        elif self.fast[-1] < self.slow[-1] and self.position:
            self.position.close()


def backtested(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # deprecations of pandas and a bar of progress, inside of backtesting.py
        found = backtesting.Backtest(frame, Cross, cash=1e6, commission=0.001, finalize_trades=True).run()
    return found["_trades"], found["_equity_curve"]


async def test_backtesting_py_gives_the_same_from_both(
    engine: AsyncEngine, market: sync.UnifiedDataProvider
) -> None:
    month = load_month()
    await write(engine, BTC, "1m", month)
    frame = market.run(read_backtesting_frame(market.asynchronous, BTC, "1m", **bounds(month), joined=["1h"]))
    plain = month.set_axis(month.index.as_unit("us")).rename(columns=str.capitalize)
    hours = plain["Close"].resample("1h").last()
    hours.index += pd.Timedelta("1h")  # known from its end on
    plain["Close_1h"] = hours.reindex(plain.index + pd.Timedelta("1min"), method="ffill").to_numpy()
    pd.testing.assert_frame_equal(frame[plain.columns], plain, check_exact=True, check_freq=False)
    (trades, equity), (expected_trades, expected_equity) = backtested(frame), backtested(plain)
    assert len(trades) > 20
    pd.testing.assert_frame_equal(trades, expected_trades, check_exact=True)
    pd.testing.assert_frame_equal(equity, expected_equity, check_exact=True, check_freq=False)


async def test_a_backtest_by_columns_gives_the_same_from_both(
    engine: AsyncEngine, market: sync.UnifiedDataProvider
) -> None:
    month = load_month()
    await write(engine, BTC, "1m", month)
    frames = market.run(read_wide_frames(market.asynchronous, [BTC], "1m", **bounds(month)))

    def equity(close: pd.DataFrame) -> pd.DataFrame:
        holds = (close.rolling(60).mean() > close.rolling(600).mean()).shift(fill_value=False)
        return (1 + close.pct_change().where(holds, 0)).cumprod()

    plain = month.set_axis(month.index.as_unit("us"))[["close"]].set_axis([BTC], axis=1)
    pd.testing.assert_frame_equal(equity(frames["close"]), equity(plain), check_exact=True, check_freq=False)
