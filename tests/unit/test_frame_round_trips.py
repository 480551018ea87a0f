"""The standard frames through dict, JSON, Arrow IPC and Parquet: exactly what went in comes out, or a named error."""

from __future__ import annotations

import contextlib
import io
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datalayer.domain.inference_frame import InferenceDataFrame
from datalayer.domain.order_book_frame import OrderBookDataFrame
from datalayer.domain.timeframe import Timeframe
from datalayer.errors import InvalidInputError
from tests.frames import AS_OF, inference_frames, order_book_frames

if TYPE_CHECKING:
    from datalayer.domain.frame_codec import StandardFrame

FRAMES = st.one_of(order_book_frames(), inference_frames())
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


def assert_same(ours: StandardFrame, theirs: StandardFrame) -> None:
    assert ours == theirs
    for name, table in ours._tables().items():
        pd.testing.assert_frame_equal(theirs._tables()[name], table, check_exact=True)
        assert theirs._tables()[name].columns.dtype == table.columns.dtype


@given(frame=FRAMES)
@settings(max_examples=60)
def test_every_way_out_and_back_is_exact(frame: StandardFrame) -> None:
    kind = type(frame)
    assert_same(frame, kind.from_dict(frame.to_dict()))
    assert_same(frame, kind.from_json(frame.to_json()))
    assert_same(frame, kind.from_arrow(frame.to_arrow()))
    assert_same(frame, kind.from_ipc(frame.to_ipc()))
    assert_same(frame, kind.from_parquet(frame.to_parquet()))
    assert frame.to_json() == kind.from_parquet(frame.to_parquet()).to_json()


def test_negative_zero_and_the_smallest_float_survive() -> None:
    table = CANDLES.assign(open=5e-324, high=-0.0, low=0.1 + 0.2, close=-1.7976931348623157e308)
    frame = InferenceDataFrame("BTC/USDT", AS_OF, AS_OF, {Timeframe.M1: table})
    for back in (frame.from_json(frame.to_json()), frame.from_parquet(frame.to_parquet())):
        values = [str(value) for value in back.candles[Timeframe.M1].iloc[0, :4]]
        assert values == ["5e-324", "-0.0", "0.30000000000000004", "-1.7976931348623157e+308"]


@given(frames=st.lists(inference_frames(), min_size=2, max_size=3))
@settings(max_examples=10)
def test_many_of_one_layout_share_a_table(frames: list[InferenceDataFrame]) -> None:
    same = [frame for frame in frames if frame.to_arrow().schema == frames[0].to_arrow().schema]
    table = pa.concat_tables([frame.to_arrow() for frame in same])
    for row, frame in enumerate(same):
        assert_same(frame, InferenceDataFrame.from_arrow(table.slice(row, 1)))


def test_what_goes_through_neither_text_nor_arrow_is_left_out_when_it_is_made() -> None:
    """Frequency, attributes, names of the axes, columns of another type: else a frame would not come back as it was."""
    index = pd.date_range("2024-08-08 10:00", periods=3, freq="min", tz="UTC", unit="us", name="timestamp")
    names = pd.CategoricalIndex(CANDLES.columns, name="field")
    table = pd.DataFrame(CANDLES.iloc[[0, 0, 0]].to_numpy(np.float64), index, CANDLES.columns).set_axis(
        names, axis=1
    )
    table.attrs["next_close"] = 1.0
    numbers: list[pd.Index[Any]] = [
        pd.Index([0.0, 1.0]),
        pd.Index([0, 1], dtype="int8"),
        pd.RangeIndex(2, name="x"),
    ]

    made: list[StandardFrame] = [InferenceDataFrame("BTC/USDT", AS_OF, AS_OF, {Timeframe.M1: table})]
    made += [OrderBookDataFrame("BTC/USDT", AS_OF, NO_LEVELS, LEVELS.set_axis(index)) for index in numbers]
    for frame in made:
        for kept in frame._tables().values():
            assert (kept.attrs, kept.columns.name) == ({}, None)
        for back in (frame.from_json(frame.to_json()), frame.from_ipc(frame.to_ipc())):
            assert_same(frame, back)
            for name, kept in frame._tables().items():
                assert type(back._tables()[name].index) is type(kept.index)


@given(frame=FRAMES, version=st.integers() | st.text(max_size=2))
@settings(max_examples=20)
def test_another_version_is_refused(frame: StandardFrame, version: Any) -> None:
    if version != type(frame).format_version:
        with pytest.raises(InvalidInputError, match="format_version"):
            type(frame).from_dict(frame.to_dict() | {"format_version": version})


def test_a_book_is_no_inference_frame() -> None:
    frame = OrderBookDataFrame("BTC/USDT", AS_OF, NO_LEVELS, NO_LEVELS)
    with pytest.raises(InvalidInputError, match="kind='order_book'"):
        InferenceDataFrame.from_json(frame.to_json())


NO_LEVELS = pd.DataFrame({name: pd.Series(dtype="float64") for name in ("price", "size", "cumulative_size")})


def _broken(data: Any, path: list[Any], value: Any) -> Any:
    """`data` with something else at a place."""
    copy = json.loads(json.dumps(data))
    at = copy
    for key in path[:-1]:
        at = at[key]
    if value is None and isinstance(at, dict):
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return copy


def _places(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [place for key, value in inner for place in ((*path, key), *_places(value, (*path, key)))]


@given(frame=FRAMES, value=ANYTHING, data=st.data())
@settings(max_examples=150)
def test_malformed_input_is_refused_by_one_error(frame: StandardFrame, value: Any, data: Any) -> None:
    document = frame.to_dict()
    place = data.draw(st.sampled_from(_places(document)))
    with contextlib.suppress(InvalidInputError):  # anything else fails the test
        type(frame).from_dict(_broken(document, list(place), value))


@given(junk=st.binary(max_size=200))
def test_bytes_that_are_no_frame_are_refused(junk: bytes) -> None:
    for kind in (InferenceDataFrame, OrderBookDataFrame):
        for read in (kind.from_ipc, kind.from_parquet, kind.from_json):
            with pytest.raises(InvalidInputError):
                read(junk)


@given(frame=FRAMES, place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@settings(max_examples=60)
def test_a_wrong_bit_never_becomes_another_value(frame: StandardFrame, place: float, bit: int) -> None:
    def flipped(data: bytes) -> bytes:
        changed = bytearray(data)
        changed[int(place * len(data))] ^= 1 << bit
        return bytes(changed)

    for read, data in (
        (type(frame).from_ipc, frame.to_ipc()),
        (type(frame).from_parquet, frame.to_parquet()),
    ):
        for altered in (flipped(data), data[: int(place * len(data))], data + b"\0"):
            with pytest.raises(InvalidInputError):
                read(altered)


def test_other_readers_of_arrow_and_parquet_read_it() -> None:
    frame = OrderBookDataFrame("BTC/USDT", AS_OF, NO_LEVELS, NO_LEVELS)
    table = pa.ipc.open_stream(frame.to_ipc()).read_all()
    assert_same(frame, OrderBookDataFrame.from_arrow(table))
    assert pd.read_parquet(io.BytesIO(frame.to_parquet())).shape == (1, 3)


def test_a_file_of_another_writer_has_no_digest() -> None:
    frame = OrderBookDataFrame("BTC/USDT", AS_OF, NO_LEVELS, NO_LEVELS)
    sink = io.BytesIO()
    pq.write_table(frame.to_arrow(), sink)
    with pytest.raises(InvalidInputError, match="no bytes that this library wrote"):
        OrderBookDataFrame.from_parquet(sink.getvalue())
    assert_same(frame, OrderBookDataFrame.from_arrow(pq.read_table(io.BytesIO(sink.getvalue()))))


LEVELS = pd.DataFrame({"price": [1.0, 2.0], "size": [1.0, 2.0], "cumulative_size": [1.0, 3.0]})
CANDLES = pd.DataFrame(
    {name: [1.0] for name in ("open", "high", "low", "close", "volume")} | {"trades": [3], "busy": [True]},
    index=pd.DatetimeIndex(["2024-08-08 10:00+00:00"], name="timestamp").as_unit("us"),
)


@pytest.mark.parametrize(
    ("path", "value", "error"),
    [
        (["timestamp"], ["2024-08-08T10:00:00"], r"candles\.1m\.timestamp\[0\]='2024-08-08T10:00:00'"),
        (["timestamp"], ["now"], r"candles\.1m\.timestamp\[0\]='now'"),
        (["timestamp"], ["2024-13-08T10:00:00+00:00"], r"candles\.1m\.timestamp"),
        (["timestamp"], ["2024-08-08T10:00:00.000000001+00:00"], r"candles\.1m\.timestamp\[0\]"),
        (["timestamp"], [1_723_111_200], r"candles\.1m\.timestamp\[0\]"),
        (["timestamp"], [], r"candles\.1m\.timestamp=0"),
        (["rows"], -1, r"candles\.1m\.rows=-1"),
        (["columns", "close", "values", 0], "abc", r"candles\.1m\.close\[0\]='abc'"),
        (["columns", "close", "values", 0], True, r"candles\.1m\.close\[0\]=True"),
        (["columns", "close", "values", 0], 2**53 + 1, r"candles\.1m\.close\[0\]"),
        (["columns", "close", "values", 0], float("inf"), r"candles\.1m\.close\[0\]=inf"),
        (["columns", "close", "values"], [], r"candles\.1m\.close=0"),
        (["columns", "close", "dtype"], "float32", r"candles\.1m\.close\.dtype='float32'"),
        (["columns", "trades", "values", 0], 1.5, r"candles\.1m\.trades\[0\]=1\.5"),
        (["columns", "trades", "values", 0], None, r"candles\.1m\.trades\[0\]=None"),
        (["columns", "busy", "values", 0], 2, r"candles\.1m\.busy\[0\]=2"),
    ],
)
def test_a_malformed_value_is_named_and_never_bent_to_fit(path: list[Any], value: Any, error: str) -> None:
    frame = InferenceDataFrame("BTC/USDT", AS_OF, AS_OF, {Timeframe.M1: CANDLES})
    document = frame.to_dict()
    at = document["tables"]["candles.1m"]
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    with pytest.raises(InvalidInputError, match=f"^{error}"):
        InferenceDataFrame.from_dict(document)


@pytest.mark.parametrize("count", [1.5, None, -1, True, float("nan"), float("inf"), 10**400])
def test_a_count_of_missing_candles_is_a_count(count: Any) -> None:
    document = InferenceDataFrame("BTC/USDT", AS_OF, AS_OF, {}).to_dict()
    document["facts"]["quality"]["missing_candles"] = {"1m": count}
    with pytest.raises(InvalidInputError, match=r"^missing_candles\.1m="):
        InferenceDataFrame.from_dict(document)


@pytest.mark.parametrize("number", ["1e400", "NaN", "Infinity"])
def test_a_number_that_json_or_a_float_has_not_is_refused(number: str) -> None:
    text = OrderBookDataFrame("BTC/USDT", AS_OF, NO_LEVELS, LEVELS).to_json()
    with pytest.raises(InvalidInputError):
        OrderBookDataFrame.from_json(text.replace("2.0", number, 1))


def test_the_same_timeframe_in_two_spellings_is_refused() -> None:
    document = InferenceDataFrame("BTC/USDT", AS_OF, AS_OF, {Timeframe.M1: CANDLES}).to_dict()
    document["tables"]["candles.60s"] = document["tables"]["candles.1m"]
    with pytest.raises(InvalidInputError, match="twice"):
        InferenceDataFrame.from_dict(document)
