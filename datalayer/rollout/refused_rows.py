"""Rows that the rules refuse: Parquet has them, the database has them in quarantine, and that is no difference."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datalayer.domain.validation import DataValidator
from datalayer.rollout.parquet_candles import VALUES

if TYPE_CHECKING:
    from datetime import datetime

    import pandas as pd

    from datalayer.domain.instrument import Instrument
    from datalayer.domain.timeframe import Timeframe


def without_refused(
    parquet: pd.DataFrame,
    stored: pd.DataFrame,
    instrument: Instrument | None,
    timeframe: Timeframe,
    now: datetime,
) -> pd.DataFrame:
    """Return candles of Parquet without those that the database lacks since a rule refuses them.

    Args:
        parquet: as `ParquetCandles.query_ohlcv_data` returns it.
        stored: the same range of the database.
        instrument: as it is registered; None: it is not, and nothing is taken off.
        timeframe: of the candles.
        now: the clock, for times in the future.
    """
    absent = parquet.index.difference(stored.index)
    if instrument is None or not len(absent):
        return parquet
    rows = parquet.loc[absent]
    raw = {"ts": rows.index} | {name: rows[name].to_numpy() for name in VALUES}
    result = DataValidator(instrument).validate_candles(raw, timeframe, now=now)
    return parquet.drop(absent.difference(absent[result.accepted_rows]))
