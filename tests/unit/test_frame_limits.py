"""Standard frames at the ends of what they can hold: what would not come back is refused when it is made, and by name."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from datalayer.domain.inference_frame import InferenceDataFrame, QualityFlags
from datalayer.domain.order_book_frame import OrderBookDataFrame
from datalayer.domain.timeframe import Timeframe
from datalayer.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable

AS_OF = datetime(2024, 8, 8, 10, 3, tzinfo=UTC)
LEVELS = pd.DataFrame({name: [1.0] for name in ("price", "size", "cumulative_size")})
NO_LEVELS = LEVELS.iloc[:0]
NAMES = ("open", "high", "low", "close", "volume")
SURROGATE = pd.Index([*NAMES, "\ud800"], dtype=object)
LAST_MINUTE = 2**63 - 1 - (2**63 - 1) % 60_000_000


def candles(*opens_us: int, **more: Any) -> pd.DataFrame:
    index = pd.DatetimeIndex(np.array(opens_us).view("M8[us]"), name="timestamp").tz_localize("UTC")
    return pd.DataFrame({name: np.ones(len(index)) for name in NAMES} | more, index=index)


def minutes_before(*minutes: int) -> pd.DataFrame:
    return candles(*(int((AS_OF - timedelta(minutes=m)).timestamp()) * 1_000_000 for m in minutes))


def frame(**parts: Any) -> InferenceDataFrame:
    defaults: dict[str, Any] = {"symbol": "BTC/USDT", "timestamp": AS_OF, "as_of": AS_OF, "candles": {}}
    return InferenceDataFrame(**defaults | parts)


KNOWN = frame(candles={Timeframe.M1: minutes_before(3, 2, 1)})


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
@pytest.mark.parametrize("field", ["timestamp", "as_of"])
def test_a_time_that_leaves_the_calendar_is_refused(field: str, moment: str) -> None:
    document = KNOWN.to_dict()
    document["facts"][field] = moment

    with pytest.raises(InvalidInputError, match=field):
        InferenceDataFrame.from_dict(document)


def test_an_aggregation_that_never_ends_is_refused() -> None:
    last = datetime.max.replace(tzinfo=UTC)

    assert OrderBookDataFrame("BTC/USDT", last, LEVELS, NO_LEVELS).known_at == last
    with pytest.raises(InvalidInputError, match="timestamp"):
        OrderBookDataFrame("BTC/USDT", last, LEVELS, NO_LEVELS, aggregation="1m")


@pytest.mark.parametrize("group", ["candles", "context_before", "context_after"])
@pytest.mark.parametrize(
    "open_us", [LAST_MINUTE, -LAST_MINUTE, 253_402_300_800_000_000, -62_135_596_860_000_000]
)
def test_rows_outside_of_the_years_1_to_9999_are_refused(group: str, open_us: int) -> None:
    for table in (candles(open_us), candles(open_us, is_forming=[True])):
        with pytest.raises(InvalidInputError, match=group):
            frame(**{group: {Timeframe.M1: table}})


def test_the_first_and_the_last_minute_of_the_calendar_come_back() -> None:
    first, last = candles(-62_135_596_800_000_000), candles(253_402_300_740_000_000)
    edges = frame(candles={Timeframe.M1: first}, context_after={Timeframe.M1: last})

    assert InferenceDataFrame.from_json(edges.to_json()) == edges
    assert InferenceDataFrame.from_parquet(edges.to_parquet()) == edges


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (
            lambda: frame(
                candles={"1m": minutes_before(1).assign(more=1.0).set_axis(SURROGATE, axis="columns")}
            ),
            "candles.1m",
        ),
        (lambda: frame(sources={1: "cache"}), "sources"),
        (lambda: frame(sources={("candles", "1m"): "cache"}), "sources"),
        (lambda: frame(sources={"candles.1m": 1}), "sources.candles.1m"),
        (lambda: QualityFlags(missing_candles={Timeframe.M1: 3.5}), "missing_candles.1m"),  # type: ignore[dict-item]
        (lambda: QualityFlags(missing_candles={Timeframe.M1: -1}), "missing_candles.1m"),
        (lambda: QualityFlags(missing_candles={"1m": 1, "60s": 2}), "missing_candles"),  # type: ignore[dict-item]
        (lambda: QualityFlags(forming=["1M"]), "timeframe"),  # type: ignore[arg-type]
        (lambda: QualityFlags(staleness_s={"order_book": -0.001}), "staleness_s.order_book"),
        (lambda: QualityFlags(staleness_s={"order_book": "1"}), "staleness_s.order_book"),  # type: ignore[dict-item]
        (lambda: QualityFlags(staleness_s={"order_book": np.timedelta64(1, "ms")}), "staleness_s.order_book"),  # type: ignore[dict-item]
        (lambda: frame(imbalances={"book_imbalance_1s": "0.5"}), "imbalances.book_imbalance_1s"),
        (lambda: frame(imbalances={"book_imbalance_1s": 10**400}), "imbalances.book_imbalance_1s"),
        (lambda: frame(imbalances={"book_imbalance_1s": None}), "imbalances.book_imbalance_1s"),
        (lambda: frame(candles={"1m": minutes_before(1).assign(trade_count=1.5)}), "candles.1m"),
        (lambda: frame(candles={"1m": minutes_before(1)["open"]}), "candles.1m"),
        (lambda: frame(order_book="none"), "order_book"),
    ],
)
def test_what_text_would_change_is_refused(make: Callable[[], object], field: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        make()

    assert caught.value.field == field


def test_flags_take_timeframes_in_any_spelling_and_counts_of_numpy() -> None:
    flags = QualityFlags({"60s": np.int64(3)}, {"order_book": np.float32(1.5)}, {"60s"})  # type: ignore[dict-item, arg-type]

    assert flags == QualityFlags({Timeframe.M1: 3}, {"order_book": 1.5}, frozenset({Timeframe.M1}))
    made = frame(quality=flags, candles={"1m": minutes_before(1).assign(is_forming=True)})
    assert InferenceDataFrame.from_json(made.to_json()).quality == flags


@pytest.mark.parametrize("marked", [False, True])
def test_flags_and_candles_agree_on_what_is_forming(marked: bool) -> None:
    """A candle that is half built must not be told as a final one, nor the other way round."""
    table = minutes_before(2, 1).assign(is_forming=[False, marked])
    told = QualityFlags(forming=frozenset() if marked else frozenset({Timeframe.M1}))

    with pytest.raises(InvalidInputError, match=r"^quality\.forming="):
        frame(candles={"1m": table}, quality=told)
    with pytest.raises(InvalidInputError, match=r"^quality\.forming="):
        frame(quality=QualityFlags(forming=frozenset({Timeframe.H4})))


def test_times_that_are_written_to_in_place_do_not_move_rows() -> None:
    given = minutes_before(3, 2, 1)
    made = frame(candles={Timeframe.M1: given})
    for index in (given.index, made.candles[Timeframe.M1].index):
        counts = index.asi8  # type: ignore[attr-defined]
        counts.flags.writeable = True
        counts += 3_600_000_000

    assert made == KNOWN


@pytest.mark.parametrize("name", ["\ud800", "timestamp", "row", 1])
def test_a_document_with_such_a_column_is_refused(name: Any) -> None:
    document = KNOWN.to_dict()
    columns = document["tables"]["candles.1m"]["columns"]
    columns[name] = columns["open"]

    with pytest.raises(InvalidInputError, match=r"candles\.1m"):
        InferenceDataFrame.from_dict(document)


def column(table: pa.Table, name: str, value: Any) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, value)


def with_null_row(table: pa.Table) -> pa.Table:
    rows = table["candles.1m"].combine_chunks().flatten()
    fields = [rows.field(number) for number in range(rows.type.num_fields)]
    nulled = pa.StructArray.from_arrays(fields, fields=list(rows.type), mask=pa.array([False, True, False]))
    return column(table, "candles.1m", pa.ListArray.from_arrays(pa.array([0, 3], pa.int32()), nulled))


def with_dtypes(table: pa.Table, dtypes: Any) -> pa.Table:
    header = json.loads(table["header"][0].as_py())
    header["layouts"]["candles.1m"]["columns"] = dtypes
    return column(table, "header", pa.array([json.dumps(header)]))


@pytest.mark.parametrize(
    "change",
    [
        with_null_row,
        lambda table: table.append_column("candles.1m", table["candles.1m"]),
        lambda table: with_dtypes(table, {name: ["float64"] for name in NAMES}),
        lambda table: column(table, "header", pa.array([None], pa.string())),
        lambda table: table.to_batches()[0],
        lambda _: None,
    ],
)
def test_malformed_arrow_is_refused(change: Callable[[pa.Table], Any]) -> None:
    with pytest.raises(InvalidInputError):
        InferenceDataFrame.from_arrow(change(KNOWN.to_arrow()))
