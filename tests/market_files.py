"""The large files of real market data, which lie beside a checkout and not in it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


def market_file(name: str) -> Path:
    """Return the path of a file; skips the test where the data are absent."""
    path = SHARED_DATA / name
    if not path.exists():
        pytest.skip(f"the real market data ({name}) are not beside this checkout")
    return path


def market_frame(name: str) -> pd.DataFrame:
    """Return a Parquet file indexed by `timestamp`, in microseconds as everything that is stored."""
    frame = pd.read_parquet(market_file(name)).set_index("timestamp")
    frame.index = frame.index.as_unit("us")  # type: ignore[attr-defined]
    return frame
