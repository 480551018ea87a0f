"""History for backtests: a clock that cannot be looked past, and frames for engines that exist."""

from datalayer.integrations.backtesting.clocked_market import ClockedMarket
from datalayer.integrations.backtesting.complete_candles import MissingPolicy
from datalayer.integrations.backtesting.events import BlockingReplay
from datalayer.integrations.backtesting.frames import read_backtesting_frame, read_wide_frames
from datalayer.integrations.backtesting.series import CandleSeries
from datalayer.integrations.backtesting.source import AsyncBacktestSource, BacktestSource

__all__ = [
    "AsyncBacktestSource",
    "BacktestSource",
    "BlockingReplay",
    "CandleSeries",
    "ClockedMarket",
    "MissingPolicy",
    "read_backtesting_frame",
    "read_wide_frames",
]
