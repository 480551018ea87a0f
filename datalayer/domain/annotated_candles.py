"""The candles inside of a frame that was annotated: whether they are all there, compared with others, as rows for training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from datalayer.domain.frame_tables import FORMING, PRICES
from datalayer.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from datalayer.domain.annotation import Annotation
    from datalayer.domain.inference_frame import InferenceDataFrame
    from datalayer.domain.timeframe import Timeframe

_VALUES: Final = list(PRICES)
_COMPARED: Final = [f"{name}_{when}" for name in PRICES for when in ("then", "now")]


def closed_candles(frame: InferenceDataFrame) -> dict[Timeframe, pd.DataFrame]:
    """Return all closed candles of a frame, known and later ones, as one table a timeframe (open, high, low, close, volume)."""
    groups = (frame.context_before, frame.candles, frame.context_after)
    timeframes = sorted({timeframe for group in groups for timeframe in group})
    return {t: _joined([group[t] for group in groups if t in group]) for t in timeframes}


def check_shown(annotation: Annotation, frame: InferenceDataFrame) -> None:
    """Refuse a frame that does not show all of what is labelled.

    Raises:
        InvalidInputError: it is of another symbol, or of one of the timeframes it has no closed candle in the range, or begins after the
            first or ends before the last one that opens there.
    """
    if frame.symbol != annotation.symbol:
        raise InvalidInputError("frame", frame.symbol, f"is of another symbol than {annotation.symbol}")
    tables = closed_candles(frame)
    for timeframe in annotation.timeframes:
        opens = list(tables[timeframe].index) if timeframe in tables else []
        first = timeframe.ceil(annotation.start)
        last = timeframe.ceil(annotation.end) - timeframe.length
        is_in_range = any(annotation.start <= moment < annotation.end for moment in opens)
        if not (is_in_range and min(opens) <= first and max(opens) >= last):
            hint = (
                f"does not show the candles of {timeframe.label} in [{annotation.start}, {annotation.end}); "
                "ask for it with a larger context_window_minutes, or label what there is"
            )
            raise InvalidInputError("frame", f"as of {frame.as_of}", hint)


def compared(then: Mapping[Timeframe, pd.DataFrame], now: Mapping[Timeframe, pd.DataFrame]) -> pd.DataFrame:
    """Return the candles that are not the same in both, value by value.

    Returns:
        Index `timeframe` (as in 1m) and `timestamp`; column `change`: changed, added (not there then) or removed (not there
        now); and open_then, open_now and so on, NaN where there is none. No rows: nothing differs.
    """
    parts = {t.label: _differences(table, now[t]) for t, table in then.items()}
    found = pd.concat(parts, names=["timeframe", "timestamp"])
    return found[["change", *_COMPARED]]


def labelled_rows(annotation: Annotation, frame: InferenceDataFrame) -> pd.DataFrame:
    """Return a row for each candle that is labelled, with what was known when it closed.

    A row is of a closed candle of the shortest labelled timeframe that opens in the annotation's range. It stands at the
    moment of the close, and has of every timeframe of the frame the last candle that was closed by then: nothing in it came
    later, but for the label, which is for targets.

    Args:
        annotation: what was labelled.
        frame: what it was made on.

    Returns:
        Index `timestamp` (datetime64[us, UTC], ascending): the moment. Columns annotation_id (str), symbol, label, open_time
        (of the labelled candle), and `1m.open`, `1m.volume` and so on (float64; NaN: the frame shows none
        that was closed by then).
    """
    tables = closed_candles(frame)
    base = annotation.timeframes[0]
    labelled = tables[base]
    labelled = labelled[(labelled.index >= annotation.start) & (labelled.index < annotation.end)]
    opened = pd.DatetimeIndex(labelled.index)
    rows = pd.DataFrame(
        {
            "annotation_id": str(annotation.id),
            "symbol": annotation.symbol,
            "label": annotation.label,
            "open_time": opened,
        },
        index=(opened + base.length).rename("timestamp"),
    )
    for timeframe, table in tables.items():
        known = table.set_index((pd.DatetimeIndex(table.index) + timeframe.length).rename("timestamp"))
        known.columns = pd.Index([f"{timeframe.label}.{name}" for name in _VALUES])
        rows = pd.merge_asof(rows, known, left_index=True, right_index=True)
    return rows


def _joined(tables: list[pd.DataFrame]) -> pd.DataFrame:
    closed = [table[~table[FORMING]] if FORMING in table else table for table in tables]
    together = pd.concat([table[_VALUES] for table in closed])
    return together[~together.index.duplicated()].sort_index()


def _differences(then: pd.DataFrame, now: pd.DataFrame) -> pd.DataFrame:
    both = then.index.union(now.index)
    old, new = (table.reindex(both)[_VALUES] for table in (then, now))
    differs = (old.to_numpy() != new.to_numpy()).any(axis=1)
    was, is_ = both.isin(then.index), both.isin(now.index)
    change = np.select([~was, ~is_], ["added", "removed"], "changed")
    joined = old.add_suffix("_then").join(new.add_suffix("_now"))
    joined["change"] = change
    found: pd.DataFrame = joined[differs | ~was | ~is_]
    return found
