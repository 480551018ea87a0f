"""The policies and chunk lengths that the revisions made are those of the one typed place."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import text

from datalayer.models.windows import (
    ALL_WINDOWS,
    COMPRESSION_SCHEDULE,
    RETENTION_SCHEDULE,
    Windows,
    windows_of,
)
from datalayer.timescale.policies import Policy, PolicyKind, list_policies, switch_policies

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

Expected = dict[tuple[str, str], tuple[timedelta, dict[str, timedelta]]]


def expected_policies(windows: Windows) -> Expected:
    found: Expected = {
        (windows.relation, PolicyKind.COMPRESSION): (
            COMPRESSION_SCHEDULE,
            {"compress_after": windows.compress_after},
        )
    }
    if windows.drop_after is not None:
        found[windows.relation, PolicyKind.RETENTION] = (
            RETENTION_SCHEDULE,
            {"drop_after": windows.drop_after},
        )
    if windows.refresh is not None:
        offsets = {"start_offset": windows.refresh.start_offset, "end_offset": windows.refresh.end_offset}
        found[windows.relation, PolicyKind.REFRESH] = (windows.refresh.schedule_interval, offsets)
    return found


def as_found(policies: list[Policy]) -> Expected:
    return {(p.relation, p.kind): (p.schedule_interval, p.windows) for p in policies}


async def test_policies_are_those_written_down(untouched: AsyncConnection) -> None:
    expected: Expected = {}
    for windows in ALL_WINDOWS:
        expected |= expected_policies(windows)
    assert as_found(await list_policies(untouched)) == expected


async def test_only_retention_is_paused(untouched: AsyncConnection) -> None:
    policies = await list_policies(untouched)
    assert {p.kind for p in policies if not p.scheduled} == {PolicyKind.RETENTION}
    assert {p.kind for p in policies if p.scheduled} == {PolicyKind.REFRESH, PolicyKind.COMPRESSION}


async def test_retention_is_resumed_and_paused_deliberately(untouched: AsyncConnection) -> None:
    for scheduled in (True, True, False):
        switched = await switch_policies(untouched, PolicyKind.RETENTION, scheduled=scheduled)
        assert [(p.relation, p.scheduled) for p in switched] == [
            (relation, scheduled)
            for relation in ("order_book_1s", "order_book_imbalances", "order_books", "trades")
        ]
    assert all(p.scheduled for p in await list_policies(untouched, PolicyKind.COMPRESSION))
    await untouched.rollback()


async def test_chunk_lengths_are_those_written_down(untouched: AsyncConnection) -> None:
    rows = await untouched.execute(
        text("""
            SELECT COALESCE(a.view_name, d.hypertable_name), d.time_interval FROM timescaledb_information.dimensions AS d
            LEFT JOIN timescaledb_information.continuous_aggregates AS a
                ON a.materialization_hypertable_name = d.hypertable_name
                AND a.materialization_hypertable_schema = d.hypertable_schema
            WHERE COALESCE(a.view_schema, d.hypertable_schema) = current_schema()
        """)
    )
    assert {row[0]: row[1] for row in rows} == {w.relation: w.chunk_interval for w in ALL_WINDOWS}


async def test_refresh_is_one_transaction_and_levels_start_apart(untouched: AsyncConnection) -> None:
    """Otherwise closed candles vanish or are wrong for a while: ADR 0006."""
    rows = await untouched.execute(
        text("""
            SELECT hypertable_name, config, extract(second FROM initial_start)::int AS second
            FROM timescaledb_information.jobs
            WHERE proc_name = 'policy_refresh_continuous_aggregate' AND hypertable_schema = current_schema()
        """)
    )
    found = {row.hypertable_name: (row.config, row.second) for row in rows}
    assert found.keys() == {w.relation for w in ALL_WINDOWS if w.refresh}
    for relation, (config, second) in found.items():
        assert (config["buckets_per_batch"], config["refresh_newest_first"]) == (0, False)
        refresh = windows_of(relation).refresh
        assert refresh is not None
        assert second == refresh.second
