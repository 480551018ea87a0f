"""Annotations as values."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
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


def test_frames_of_the_first_format_stay_readable_under_their_digest() -> None:
    """Stored annotations are of this format; a release that writes another one still has to read it."""
    text = (Path(__file__).parents[1] / "golden" / "inference_frame_v1.json").read_text()
    frame = InferenceDataFrame.from_json(text)
    assert frame.content_hash() == "7222156ae0e4d126ebf9f04ded481d2daa1a4c8c47f2bffd03c972f123fde581"
    assert frame.to_json() == text
    assert InferenceDataFrame.from_parquet(frame.to_parquet()).content_hash() == frame.content_hash()
    assert replace(frame, symbol="BTC/USDC", order_book=None).content_hash() != frame.content_hash()
