"""The standard frames through dict, JSON, Arrow IPC and Parquet: exactly what went in comes out, or a named error."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datalayer.domain.inference_frame import InferenceDataFrame
from datalayer.domain.order_book_frame import OrderBookDataFrame
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
        pd.testing.assert_frame_equal(theirs._tables()[name], table, check_exact=True, check_freq=False)


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
    table = pd.DataFrame({"price": [5e-324], "size": [-0.0], "cumulative_size": [0.1 + 0.2]})
    frame = OrderBookDataFrame("BTC/USDT", AS_OF, table, table)
    for back in (frame.from_json(frame.to_json()), frame.from_parquet(frame.to_parquet())):
        assert [str(value) for value in back.bids.iloc[0]] == ["5e-324", "-0.0", "0.30000000000000004"]


@given(frames=st.lists(inference_frames(), min_size=2, max_size=3))
@settings(max_examples=10)
def test_many_of_one_layout_share_a_table(frames: list[InferenceDataFrame]) -> None:
    same = [frame for frame in frames if frame.to_arrow().schema == frames[0].to_arrow().schema]
    table = pa.concat_tables([frame.to_arrow() for frame in same])
    for row, frame in enumerate(same):
        assert_same(frame, InferenceDataFrame.from_arrow(table.slice(row, 1)))


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
