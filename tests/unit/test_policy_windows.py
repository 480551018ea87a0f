"""Windows of policies that contradict each other are refused, by the names of both settings."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from datalayer.db.aggregates import AGGREGATES
from datalayer.errors import ConfigurationError
from datalayer.models.window_lint import lint
from datalayer.models.windows import (
    ALL_WINDOWS,
    CANDLE_AGGREGATES,
    HYPERTABLES,
    ORDER_BOOK_AGGREGATES,
    Refresh,
    Windows,
    windows_of,
)

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
SOURCE = Windows("ticks", chunk_interval=DAY, compress_after=4 * DAY, drop_after=8 * DAY)
LOWER = Windows(
    "ticks_1h",
    chunk_interval=DAY,
    compress_after=4 * DAY,
    source="ticks",
    bucket=HOUR,
    refresh=Refresh(start_offset=DAY, end_offset=HOUR, schedule_interval=HOUR, second=0),
)
UPPER = Windows(
    "ticks_4h",
    chunk_interval=DAY,
    compress_after=4 * DAY,
    source="ticks_1h",
    bucket=4 * HOUR,
    refresh=Refresh(start_offset=2 * DAY, end_offset=4 * HOUR, schedule_interval=HOUR, second=10),
)


def refreshed(windows: Windows, **change: timedelta | int) -> Windows:
    assert windows.refresh is not None
    return replace(windows, refresh=replace(windows.refresh, **change))


def test_our_windows_do_not_contradict_each_other() -> None:
    lint(ALL_WINDOWS)
    lint((SOURCE, LOWER, UPPER))


@pytest.mark.parametrize(
    ("source", "lower", "upper", "first", "second"),
    [
        (
            replace(SOURCE, drop_after=DAY, compress_after=HOUR),
            LOWER,
            UPPER,
            "ticks.drop_after",
            "ticks_1h.refresh.start_offset",
        ),
        (replace(SOURCE, drop_after=4 * DAY), LOWER, UPPER, "ticks.drop_after", "ticks.compress_after"),
        (
            replace(SOURCE, compress_after=DAY),
            LOWER,
            UPPER,
            "ticks.compress_after",
            "ticks_1h.refresh.start_offset",
        ),
        (
            SOURCE,
            replace(LOWER, compress_after=DAY),
            UPPER,
            "ticks_1h.compress_after",
            "ticks_1h.refresh.start_offset",
        ),
        (
            SOURCE,
            replace(LOWER, compress_after=2 * DAY),
            UPPER,
            "ticks_1h.compress_after",
            "ticks_4h.refresh.start_offset",
        ),
        (
            SOURCE,
            replace(LOWER, drop_after=2 * DAY),
            UPPER,
            "ticks_1h.drop_after",
            "ticks_4h.refresh.start_offset",
        ),
        (
            SOURCE,
            LOWER,
            replace(UPPER, compress_after=2 * DAY),
            "ticks_4h.compress_after",
            "ticks_4h.refresh.start_offset",
        ),
        (
            SOURCE,
            LOWER,
            refreshed(UPPER, start_offset=DAY - HOUR),
            "ticks_4h.refresh.start_offset",
            "ticks_1h.refresh.start_offset",
        ),
        (
            SOURCE,
            LOWER,
            refreshed(UPPER, end_offset=HOUR / 2),
            "ticks_4h.refresh.end_offset",
            "ticks_1h.refresh.end_offset",
        ),
        (SOURCE, LOWER, replace(UPPER, bucket=1.5 * HOUR), "ticks_4h.bucket", "ticks_1h.bucket"),
        (
            SOURCE,
            refreshed(LOWER, start_offset=2 * HOUR),
            UPPER,
            "ticks_1h.refresh.start_offset",
            "ticks_1h.bucket",
        ),
        (SOURCE, LOWER, refreshed(UPPER, second=0), "ticks_4h.refresh.second", "ticks_1h.refresh.second"),
    ],
)
def test_a_contradiction_names_both_settings(
    source: Windows, lower: Windows, upper: Windows, first: str, second: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        lint((source, lower, upper))
    assert any(f"{first}=" in fault and f"{second}=" in fault for fault in str(refused.value).split("; "))


def test_retention_inside_the_refresh_window_is_refused_on_our_own_tables() -> None:
    order_books = replace(
        windows_of("order_books"), drop_after=timedelta(minutes=50), compress_after=timedelta(minutes=40)
    )
    with pytest.raises(
        ConfigurationError,
        match=r"order_books\.drop_after=0:50:00 must be longer than order_book_1s\.refresh",
    ):
        lint((order_books, *ORDER_BOOK_AGGREGATES))


def test_every_aggregate_has_windows_in_the_same_order() -> None:
    for family, windows in (("candles", CANDLE_AGGREGATES), ("order_books", ORDER_BOOK_AGGREGATES)):
        assert [(a.name, a.bucket.length) for a in AGGREGATES[family]] == [
            (w.relation, w.bucket) for w in windows
        ]
        assert [w.source for w in windows] == [family, *(w.relation for w in windows[:-1])]
    assert {w.relation for w in HYPERTABLES} == {"candles", "trades", "order_books", "order_book_imbalances"}
