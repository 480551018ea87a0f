"""Annotations as values."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from datalayer import InferenceDataFrame, Timeframe
from datalayer.domain.annotation import Annotation
from datalayer.errors import InvalidInputError

START = datetime(2024, 8, 8, 10, tzinfo=UTC)


def made(**change: Any) -> Annotation:
    values = {"symbol": "btc-usdt", "timeframes": ["1h", "1m", "60s"], "label": "top", "author": "anna"}
    return Annotation(**{**values, "start": START, "end": START + timedelta(minutes=1), **change})


def test_spellings_are_settled_once() -> None:
    one = made()
    assert (one.symbol, one.timeframes) == ("BTC/USDT", (Timeframe.M1, Timeframe.H1))
    assert one.id != made().id


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"end": START}, "end"),
        ({"start": START.replace(tzinfo=None)}, "start"),
        ({"timeframes": ()}, "timeframes"),
        ({"timeframes": "1m"}, "timeframes"),
        ({"timeframes": ("1w",)}, "timeframe"),
        ({"label": " "}, "label"),
        ({"author": ""}, "author"),
        ({"symbol": "?"}, "symbol"),
    ],
)
def test_what_says_nothing_is_refused(change: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        made(**change)
    assert refused.value.field == field


def test_an_edit_is_the_next_revision_of_the_same() -> None:
    one = made()
    edited = one.edited(author="boris", label="bottom")
    assert (edited.id, edited.revision, edited.author, edited.label) == (one.id, 2, "boris", "bottom")
    for name in ("symbol", "id", "revision", "mood"):
        with pytest.raises(InvalidInputError, match="cannot be changed"):
            one.edited(author="boris", **{name: "ETH/USDT"})


def test_the_digest_of_a_frame_is_of_what_it_says() -> None:
    def frame(**change: Any) -> InferenceDataFrame:
        values: dict[str, Any] = {"symbol": "BTC/USDT", "timestamp": START, "as_of": START, "candles": {}}
        return InferenceDataFrame(**{**values, **change})

    # The same in every release that writes this format: stored annotations are found by it.
    pinned = "d34d753ea197d183085718d3424b4cc22ae225e17c250a71d0190847bfc2a011"
    assert frame().content_hash() == pinned
    assert InferenceDataFrame.from_parquet(frame().to_parquet()).content_hash() == frame().content_hash()
    assert (
        frame(sources={"a": "1", "b": "2"}).content_hash()
        == frame(sources={"b": "2", "a": "1"}).content_hash()
    )
    assert frame(symbol="ETH/USDT").content_hash() != frame().content_hash()
