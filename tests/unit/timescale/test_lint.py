"""Windows that contradict each other are refused when they are declared, with the two settings named."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import BigInteger, Column, MetaData, Table, func, select

from datalayer.errors import ConfigurationError
from datalayer.timescale import (
    Compression,
    CompressionPolicy,
    Hypertable,
    RefreshPolicy,
    RetentionPolicy,
    continuous_aggregate,
    find_hypertable,
    time_bucket,
)
from tests.integration.timescale.declared import BY_DEVICE, readings, rolled_up

if TYPE_CHECKING:
    from collections.abc import Sequence

    from datalayer.timescale.specs import Policy


def refresh(start: str | None, end: str | None = "1 hour", phase: str | None = None) -> RefreshPolicy:
    return RefreshPolicy(start_offset=start, end_offset=end, schedule_interval="1 hour", phase=phase)


def compress(after: str) -> CompressionPolicy:
    return CompressionPolicy(compress_after=after)


def retain(after: str) -> RetentionPolicy:
    return RetentionPolicy(drop_after=after)


def declare(
    table: list[Policy], hourly: list[Policy], daily: Sequence[Policy] = (), widths: Any = ("1 hour", "1 day")
) -> None:
    source = readings(MetaData(), hypertable={"compression": BY_DEVICE, "policies": table})
    below = rolled_up(source, "hourly", widths[0], compression=BY_DEVICE, policies=hourly)
    rolled_up(below, "daily", widths[1], compression=BY_DEVICE, policies=daily)


@pytest.mark.parametrize(
    ("table", "hourly", "daily", "words"),
    [
        (
            [compress("3 days"), retain("2 days")],
            [],
            [],
            "readings.retention.drop_after=2 days must be longer than readings.compression.compress_after=3 days",
        ),
        (
            [retain("2 days")],
            [refresh("3 days")],
            [],
            "readings.retention.drop_after=2 days must be longer than hourly.refresh.start_offset=3 days",
        ),
        (
            [retain("3 days")],
            [refresh("3 days")],
            [],
            "readings.retention.drop_after=3 days must be longer than hourly.refresh.start_offset=3 days",
        ),
        (
            [compress("2 days")],
            [refresh("3 days")],
            [],
            "readings.compression.compress_after=2 days must be longer than hourly.refresh.start_offset=3 days",
        ),
        (
            [],
            [refresh("3 days"), compress("1 day")],
            [],
            "hourly.compression.compress_after=1 day must be longer than hourly.refresh.start_offset=3 days",
        ),
        (
            [],
            [refresh("3 days"), retain("1 day")],
            [],
            "hourly.retention.drop_after=1 day must be longer than hourly.refresh.start_offset=3 days",
        ),
        (
            [],
            [retain("9 days")],
            [refresh("10 days", "1 day")],
            "hourly.retention.drop_after=9 days must be longer than daily.refresh.start_offset=10 days",
        ),
        (
            [],
            [refresh("9 days")],
            [refresh("8 days")],
            "daily.refresh.start_offset=8 days must not be shorter than hourly.refresh.start_offset=9 days",
        ),
        (
            [],
            [refresh("9 days", "3 hours")],
            [refresh("9 days", "2 hours")],
            "daily.refresh.end_offset=2 hours must not be shorter than hourly.refresh.end_offset=3 hours",
        ),
        (
            [retain("90 days")],
            [refresh(None)],
            [],
            "readings.retention.drop_after=90 days must be longer than hourly.refresh.start_offset=None",
        ),
        (
            [],
            [refresh(None), retain("90 days")],
            [],
            "hourly.retention.drop_after=90 days must be longer than hourly.refresh.start_offset=None",
        ),
        (
            [],
            [refresh(None)],
            [refresh("90 days")],
            "daily.refresh.start_offset=90 days must not be shorter than hourly.refresh.start_offset=None",
        ),
        (
            [],
            [refresh("9 days", "3 hours")],
            [refresh("9 days", None)],
            "daily.refresh.end_offset=None must not be shorter than hourly.refresh.end_offset=3 hours",
        ),
        (
            [],
            [refresh("2 hours")],
            [],
            "hourly.refresh.start_offset=2 hours must lie two times hourly.bucket=1 hour before hourly.refresh.end_offset=1 hour",
        ),
        (
            [],
            [refresh("3 days", phase="20 seconds")],
            [refresh("4 days", phase="10 seconds")],
            "daily.refresh.phase=10 seconds must be later than hourly.refresh.phase=20 seconds",
        ),
    ],
)
def test_a_contradiction_names_both_settings(
    table: list[Policy], hourly: list[Policy], daily: list[Policy], words: str
) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(words)):
        declare(table, hourly, daily)


@pytest.mark.parametrize(
    ("table", "hourly", "daily"),
    [
        ([], [], []),
        (
            [compress("4 days"), retain("5 days")],
            [refresh("3 days"), compress("5 days"), retain("30 days")],
            [refresh("4 days", "1 day")],
        ),
        ([compress("1 day")], [refresh(None), compress("1 day")], [refresh(None)]),
        ([], [refresh("3 days", None)], [refresh("3 days", "1 hour")]),
        (
            [compress("1 month"), retain("31 days")],
            [refresh("3 days", phase="10 seconds")],
            [refresh("4 days", "2 hours", phase="20 seconds")],
        ),
    ],
)
def test_what_agrees_is_accepted(table: list[Policy], hourly: list[Policy], daily: list[Policy]) -> None:
    declare(table, hourly, daily)


@pytest.mark.parametrize(
    "widths",
    [
        ("7 hours", "1 day"),
        ("1 day", "1 hour"),
        ("1 day", "1 day"),
        ("1 month", "3 days"),
        ("2 months", "3 months"),
    ],
)
def test_buckets_of_a_hierarchy_divide_each_other(widths: tuple[str, str]) -> None:
    with pytest.raises(ConfigurationError, match=r"daily\.bucket=.* must be a multiple of hourly\.bucket="):
        declare([], [], [], widths)


@pytest.mark.parametrize(
    "widths", [("15 minutes", "4 hours"), ("1 day", "1 month"), ("1 month", "1 year"), ("6 hours", "7 days")]
)
def test_buckets_that_divide_each_other(widths: tuple[str, str]) -> None:
    declare([], [], [], widths)


def test_several_contradictions_are_told_at_once() -> None:
    with pytest.raises(ConfigurationError) as refusal:
        declare([compress("1 day"), retain("2 days")], [refresh("3 days")])
    assert str(refusal.value).count("must be longer than hourly.refresh.start_offset=3 days") == 2


def test_windows_of_integers_are_compared_with_each_other() -> None:
    metadata = MetaData()
    table = Table(
        "numbers",
        metadata,
        Column("ts", BigInteger, primary_key=True),
        Hypertable("ts", chunk_interval=100, policies=[RetentionPolicy(drop_after=50)]),
    )
    bucket = time_bucket(10, table.c.ts)
    with pytest.raises(
        ConfigurationError,
        match=r"numbers\.retention\.drop_after=50 must be longer than tens\.refresh\.start_offset=60",
    ):
        continuous_aggregate(
            "tens",
            metadata,
            select(bucket.label("ts"), func.count().label("n")).group_by(bucket),
            materialized_only=True,
            policies=[RefreshPolicy(start_offset=60, end_offset=10, schedule_interval="1 hour")],
        )


def test_two_policies_of_a_kind_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="one policy of each kind at most, not retention, retention"):
        declare([], [retain("2 days"), retain("3 days")])


@pytest.mark.parametrize(
    ("compression", "words"),
    [
        (Compression(order_by=[]), r"order_by=\[\] of its compression must name 'ts' too"),
        (Compression(order_by=["value"]), r"order_by=\['value'\] of its compression must name 'ts' too"),
        (
            Compression(segment_by=["site"], order_by=["ts"]),
            "there is no column 'site'; it has",
        ),
        (Compression(order_by=["ts", "site"]), "there is no column 'site'; it has"),
    ],
)
def test_compression_names_columns_and_the_time(compression: Compression, words: str) -> None:
    """TimescaleDB adds the time by itself, and every comparison from then on would find that."""
    with pytest.raises(ConfigurationError, match=f"hypertable readings: {words}"):
        find_hypertable(readings(MetaData(), hypertable={"compression": compression}))
    with pytest.raises(ConfigurationError, match=f"continuous aggregate hourly: {words}"):
        rolled_up(readings(MetaData()), "hourly", "1 hour", compression=compression)


def test_a_column_that_does_not_exist_is_refused() -> None:
    source = readings(MetaData(), hypertable={"time_column": "at"})
    with pytest.raises(
        ConfigurationError, match="hypertable readings: there is no column 'at'; it has ts, device, value"
    ):
        rolled_up(source, "hourly", "1 hour")
