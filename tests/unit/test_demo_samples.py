"""The demo's samples are what `datalayer/demo/data/SOURCES.md` says, cut again from the full files where they are."""

from __future__ import annotations

import gzip
import lzma
from pathlib import Path

import pandas as pd
import pytest

from datalayer import demo
from tests.market_files import SHARED_DATA

SAMPLES = Path(demo.__file__).parent / "data"
pytestmark = pytest.mark.skipif(
    not SHARED_DATA.is_dir(), reason="the full market data is not beside the checkout"
)


def test_candles() -> None:
    year = pd.read_parquet(SHARED_DATA / "ohlcv" / "binance_spot_BTCUSDT_1m_2024.parquet")
    month = year[(year["timestamp"] >= "2024-08-01") & (year["timestamp"] < "2024-09-01")].reset_index(
        drop=True
    )

    pd.testing.assert_frame_equal(
        pd.read_parquet(SAMPLES / "binance_spot_BTCUSDT_1m_202408.parquet"), month, check_exact=True
    )


def test_official_candles() -> None:
    days = [
        gzip.decompress((SHARED_DATA / f"vision_daily_csv/BTCUSDT-1m-2024-08-{d}.csv.gz").read_bytes())
        for d in ("08", "09")
    ]
    lines = [line for day in days for line in day.splitlines(keepends=True)]
    kept = [line for line in lines if 1723161300000 <= int(line.split(b",")[0]) <= 1723161840000]

    assert (SAMPLES / "binance_spot_BTCUSDT_1m_official_10_minutes.csv").read_bytes() == b"".join(kept)


@pytest.mark.parametrize("day", ["20240808", "20240809"])
def test_recording(day: str) -> None:
    lines = gzip.decompress((SHARED_DATA / f"captures/spot_btcusdt_{day}.gz").read_bytes()).splitlines(
        keepends=True
    )
    kept = [line for line in lines if b"@bookTicker" not in line]

    assert lzma.decompress((SAMPLES / f"spot_btcusdt_{day}.xz").read_bytes()) == b"".join(kept)
