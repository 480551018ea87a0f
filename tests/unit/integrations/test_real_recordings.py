"""Full recordings against what was rebuilt from them independently."""

from __future__ import annotations

import gzip

import numpy as np
import pandas as pd
import pytest

from datalayer.integrations.binance.messages import parse_capture_line
from datalayer.integrations.binance.replay import StreamReplay
from datalayer.integrations.fields import E8, Levels
from datalayer.integrations.tick_aggregation import aggregate_trades, candle_frame
from tests.market_files import SHARED_DATA

DAYS = "20240808-09"

pytestmark = pytest.mark.skipif(
    not SHARED_DATA.is_dir(), reason="the full market data is not beside the checkout"
)


@pytest.fixture(scope="module", params=["BTCUSDT", "ETHUSDT"])
def recording(request: pytest.FixtureRequest) -> tuple[str, StreamReplay]:
    replay = StreamReplay()
    for day in ("20240808", "20240809"):
        packed = (SHARED_DATA / "captures" / f"spot_{request.param.lower()}_{day}.gz").read_bytes()
        for line in gzip.decompress(packed).splitlines():
            replay.feed(parse_capture_line(line).message)
    return request.param, replay


def test_order_books(recording: tuple[str, StreamReplay]) -> None:
    symbol, replay = recording
    expected = pd.read_parquet(
        SHARED_DATA / "orderbook" / f"binance_spot_{symbol}_top20_500ms_{DAYS}.parquet"
    )

    assert replay.faults == []
    assert [book.last_update_id for book in replay.books] == expected["update_id"].tolist()
    times = np.array([book.event_time_us for book in replay.books]).astype("datetime64[us]")
    assert np.array_equal(times, expected["timestamp"].dt.tz_localize(None).to_numpy())
    for side in ("bid", "ask"):
        levels = [getattr(book.levels, f"{side}s") for book in replay.books]
        assert np.array_equal(_values(levels, 0), np.stack(expected[f"{side}_prices"].tolist()))
        assert np.array_equal(_values(levels, 1), np.stack(expected[f"{side}_sizes"].tolist()))


def test_trades(recording: tuple[str, StreamReplay]) -> None:
    symbol, replay = recording
    trades = replay.trades()
    expected = pd.read_parquet(SHARED_DATA / "trades" / f"binance_spot_{symbol}_{DAYS}.parquet")

    assert np.array_equal(trades.timestamps, expected["timestamp"].dt.tz_localize(None).to_numpy())
    assert np.array_equal(trades.trade_ids, expected["trade_id"])
    assert np.array_equal(trades.prices / E8, expected["price"])
    assert np.array_equal(trades.sizes / E8, expected["size"])
    assert np.array_equal(trades.sides, expected["side"].map({"buy": 1, "sell": -1}))


def test_candles_of_one_second(recording: tuple[str, StreamReplay]) -> None:
    symbol, replay = recording
    frame = candle_frame(aggregate_trades(replay.trades()), price_step=E8, size_step=E8)
    expected = pd.read_parquet(
        SHARED_DATA / "ohlcv" / f"binance_spot_{symbol}_1s_derived_from_trades_{DAYS}.parquet"
    )
    # The derived volumes were summed in doubles; rounded to the exchange's smallest size they are exact.
    expected = expected.set_index("timestamp").assign(volume=lambda f: f["volume"].round(5))

    pd.testing.assert_frame_equal(frame.drop(columns="trade_count"), expected, check_exact=True)


def _values(levels: list[Levels], position: int) -> np.ndarray:
    return np.array([[level[position] for level in side] for side in levels]) / E8
