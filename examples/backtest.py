"""A moving-average strategy, from the database and from a Parquet file: the same trades, the same equity.

    python examples/backtest.py                   # August 2024, BTC/USDT 1m, which is in the repository
    python examples/backtest.py --parquet FILE    # any file with timestamp, open, high, low, close, volume

It works on an embedded database of its own, gone at the end. The strategy is plain blocking Python: at each close it sees
the last candles and says whether to hold the coin; it is traded at the open of the next candle.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

import datalayer.sync
from datalayer import UnitOfWork
from datalayer.config import EMBEDDED_MEMORY_URL
from datalayer.demo.samples import load_month
from datalayer.integrations.backtesting import BacktestSource

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    import numpy as np
    from numpy.typing import NDArray

SYMBOL = "BTC/USDT"
FAST, SLOW = 60, 600
FEE = 0.001
OPEN, CLOSE = 0, 3


@dataclass
class MovingAverageCross:
    """Holds the coin while the fast average of closes is above the slow one.

    Attributes:
        cash: in the quote asset.
        coins: in the base asset.
        trades: time of the decision, price and coins (bought, or negative: sold) of each trade.
        equity: value of everything at the close of each candle.
    """

    cash: float = 10_000.0
    coins: float = 0.0
    trades: list[tuple[datetime, float, float]] = field(default_factory=list)
    equity: list[float] = field(default_factory=list)
    _wants_coin: bool = False
    _decided_at: datetime | None = None

    def step(self, now: datetime, window: NDArray[np.float64]) -> None:
        """Trade what was decided at the last close, at the open of the candle that has closed now; then decide anew."""
        if self._decided_at is not None and self._wants_coin != (self.coins > 0):
            self._trade(self._decided_at, float(window[-1, OPEN]))
        closes = window[:, CLOSE]
        self._wants_coin = len(closes) == SLOW and closes[-FAST:].sum() / FAST > closes.sum() / SLOW
        self._decided_at = now
        self.equity.append(self.cash + self.coins * float(closes[-1]))

    def _trade(self, decided_at: datetime, price: float) -> None:
        if self._wants_coin:
            bought = self.cash * (1 - FEE) / price
            self.cash, self.coins = 0.0, bought
        else:
            bought = -self.coins
            self.cash, self.coins = self.coins * price * (1 - FEE), 0.0
        self.trades.append((decided_at, price, bought))


def run(steps: Iterable[tuple[datetime, NDArray[np.float64]]]) -> MovingAverageCross:
    """Let the strategy see window after window."""
    strategy = MovingAverageCross()
    for now, window in steps:
        strategy.step(now, window)
    return strategy


def from_database(
    market: datalayer.sync.UnifiedDataProvider, start: datetime, end: datetime
) -> Iterator[tuple[datetime, NDArray[np.float64]]]:
    """Yield the moments of a backtest with what was visible at them, from the database."""
    with BacktestSource(market, [SYMBOL], {"1m": SLOW}, start=start, end=end, on_gap="refuse") as source:
        candles = source.series(SYMBOL, "1m")
        for now in source:
            yield now, candles.window()


def from_frame(frame: pd.DataFrame) -> Iterator[tuple[datetime, NDArray[np.float64]]]:
    """Yield the same from a frame of all candles."""
    rows = frame[["open", "high", "low", "close", "volume"]].to_numpy()
    rows.flags.writeable = False
    closes = (frame.index + pd.Timedelta(minutes=1)).to_pydatetime()
    for end, now in enumerate(closes, start=1):
        yield now, rows[max(end - SLOW, 0) : end]


def load(market: datalayer.sync.UnifiedDataProvider, frame: pd.DataFrame) -> None:
    """Store the candles."""

    async def write() -> None:
        async with UnitOfWork(market.asynchronous.database) as uow:
            await uow.instruments.ensure(SYMBOL, price_scale=2, size_scale=6)
            await uow.candles.upsert_candles(SYMBOL, "1m", frame)
            await uow.commit()

    market.run(write())


def main(parquet: Path | None) -> bool:
    """Run both, tell what came out, and return whether it is the same."""
    frame = load_month() if parquet is None else pd.read_parquet(parquet).set_index("timestamp")
    start, end = frame.index[0].to_pydatetime(), frame.index[-1].to_pydatetime() + pd.Timedelta(minutes=2)
    with datalayer.sync.connect(EMBEDDED_MEMORY_URL) as market:
        load(market, frame)
        begun = time.perf_counter()
        ours = run(from_database(market, start, end))
        seconds = time.perf_counter() - begun
    theirs = run(from_frame(frame))
    is_same = (ours.trades, ours.equity) == (theirs.trades, theirs.equity)
    print(f"{len(frame):,} candles of {SYMBOL}, {start:%Y-%m-%d} to {end:%Y-%m-%d}, in {seconds:.1f} s")
    print(f"{len(ours.trades)} trades; equity {ours.equity[0]:,.2f} -> {ours.equity[-1]:,.2f}")
    print(f"the same from {parquet or 'the Parquet file of the demo'}: {'yes' if is_same else 'NO'}")
    return is_same


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--parquet", type=Path, help="1m candles; default: the month that is in the repository"
    )
    sys.exit(not main(parser.parse_args().parquet))
