"""The hypertables, aggregates, policies and chunk lengths that the revisions made are those that the models declare."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from datalayer.models import Base
from datalayer.timescale import (
    PolicyKind,
    find_hypertable,
    find_relations,
    list_aggregates,
    list_jobs,
    switch_jobs,
)

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from datalayer.timescale import AggregateSpec, HypertableSpec

HYPERTABLES = [spec for table in Base.metadata.tables.values() if (spec := find_hypertable(table))]
AGGREGATES = list_aggregates(Base.metadata)


def test_four_hypertables_and_eight_aggregates_are_declared() -> None:
    assert {spec.name for spec in HYPERTABLES} == {
        "candles",
        "trades",
        "order_books",
        "order_book_imbalances",
    }
    candles = [f"candles_{label}" for label in ("1m", "5m", "15m", "1h", "4h", "1d")]
    assert [spec.name for spec in AGGREGATES] == [*candles, "order_book_1s", "order_book_1m"]


@pytest.mark.parametrize("declared", HYPERTABLES, ids=lambda spec: spec.name)
async def test_a_hypertable_is_as_declared(untouched: AsyncConnection, declared: HypertableSpec) -> None:
    found = await untouched.run_sync(find_relations)
    assert found.hypertables[declared.key] == declared


@pytest.mark.parametrize("declared", AGGREGATES, ids=lambda spec: spec.name)
async def test_an_aggregate_is_as_declared(untouched: AsyncConnection, declared: AggregateSpec) -> None:
    found = (await untouched.run_sync(find_relations)).aggregates[declared.key]
    # The server has its own words for the definition (`datalayer db check` compares them) and does not tell the bucket.
    assert replace(found, definition=declared.definition, bucket=declared.bucket) == declared


async def test_only_retention_is_paused(untouched: AsyncConnection) -> None:
    jobs = await untouched.run_sync(list_jobs)
    assert {job.kind for job in jobs if not job.scheduled} == {PolicyKind.RETENTION}
    assert {job.kind for job in jobs if job.scheduled} == {PolicyKind.REFRESH, PolicyKind.COMPRESSION}


async def test_retention_is_resumed_and_paused_deliberately(untouched: AsyncConnection) -> None:
    for scheduled in (True, True, False):
        switched = await untouched.run_sync(switch_jobs, PolicyKind.RETENTION, scheduled=scheduled)
        assert [(job.relation, job.scheduled) for job in switched] == [
            (relation, scheduled)
            for relation in ("order_book_1s", "order_book_imbalances", "order_books", "trades")
        ]
    assert all(job.scheduled for job in await untouched.run_sync(list_jobs, PolicyKind.COMPRESSION))
    await untouched.rollback()


async def test_refresh_is_one_transaction_and_levels_start_apart(untouched: AsyncConnection) -> None:
    """Otherwise closed candles vanish or are wrong for a while: ADR 0006."""
    rows = await untouched.execute(
        text("""
            SELECT hypertable_name, config, extract(second FROM initial_start)::int AS second
            FROM timescaledb_information.jobs
            WHERE proc_name = 'policy_refresh_continuous_aggregate' AND hypertable_schema = current_schema()
        """)
    )
    found = {row.hypertable_name: row for row in rows}
    assert found.keys() == {spec.name for spec in AGGREGATES}
    for row in found.values():
        assert (row.config["buckets_per_batch"], row.config["refresh_newest_first"]) == (0, False)
    for family in (
        [s.name for s in AGGREGATES if s.name.startswith(kind)] for kind in ("candles", "order_book")
    ):
        seconds = [found[name].second for name in family]
        assert seconds == sorted(set(seconds))
