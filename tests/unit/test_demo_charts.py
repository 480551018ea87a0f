from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

from datalayer.demo import samples
from datalayer.demo.png_chart import save_png_chart
from datalayer.demo.terminal_chart import MIN_WIDTH, candle_chart, depth_ladder
from datalayer.domain.order_book import OrderBookColumns
from datalayer.domain.timeframe import Timeframe

if TYPE_CHECKING:
    from pathlib import Path

BOOK = OrderBookColumns(
    timestamps=np.array(["2024-08-09T00:05:05"], "datetime64[us]"),
    bid_prices=np.array([[61602.01, 61602.0, np.nan]]),
    bid_sizes=np.array([[1.0, 3.0, np.nan]]),
    ask_prices=np.array([[61602.02, 61602.5, 61603.0]]),
    ask_sizes=np.array([[2.0, 2.0, 4.0]]),
    last_update_ids=np.array([7], np.int64),
)


@pytest.fixture(scope="module")
def candles() -> pd.DataFrame:
    frame = samples.load_month().iloc[:120]
    frame.attrs["symbol"] = "BTC/USDT"
    return frame


def flat(price: float, rows: int = 1) -> pd.DataFrame:
    index = pd.date_range("2024-08-08", periods=rows, freq="15min", tz="UTC", name="timestamp")
    values = dict.fromkeys(("open", "high", "low", "close"), price) | {"volume": 0.0}
    frame = pd.DataFrame(values, index=index)
    frame.attrs["symbol"] = "BTC/USDT"
    return frame


@pytest.mark.parametrize("width", [MIN_WIDTH, 80, 100, 200])
def test_pictures_fit_the_terminal(candles: pd.DataFrame, width: int) -> None:
    for picture in (candle_chart(candles, width), depth_ladder(BOOK, width)):
        assert max(map(len, picture.plain.splitlines())) <= width


def test_each_candle_is_one_column_from_high_to_low() -> None:
    frame = flat(100.0, rows=3)
    frame.loc[frame.index[1], ["open", "high", "low", "close"]] = [100.0, 110.0, 90.0, 105.0]
    rows = candle_chart(frame, 80).plain.splitlines()[:-1]

    columns = ["".join(row[place] for row in rows) for place in range(3)]
    assert columns[0].strip() == columns[2].strip()
    assert len(columns[0].strip()) == 1
    assert " " not in columns[1]
    assert "◂100.00" in "".join(rows)


def test_a_market_without_movement_is_drawn(tmp_path: Path) -> None:
    assert "◂61,602.00" in candle_chart(flat(61602.0), 80).plain

    save_png_chart(tmp_path / "flat.png", flat(61602.0), Timeframe.M15, BOOK)
    assert imread(tmp_path / "flat.png").shape[:2] == (750, 1500)


def test_the_ladder_shows_both_sides_and_sums() -> None:
    first, second = depth_ladder(BOOK, 100).plain.splitlines()

    assert "1.00000  61,602.01 │ 61,602.02  2.00000" in first
    assert second.count("█") > first.count("█")


def test_the_png_is_a_picture(candles: pd.DataFrame, tmp_path: Path) -> None:
    save_png_chart(tmp_path / "chart.png", candles, Timeframe.M1, BOOK)

    picture = imread(tmp_path / "chart.png")
    assert picture.shape[:2] == (750, 1500)
    assert picture[:, :1000].std() > 0.05
    assert picture[:, 1100:].std() > 0.05
