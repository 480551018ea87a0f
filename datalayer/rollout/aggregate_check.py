"""Aggregates over a migrated range: brought up to date, and compared with what their definitions say now."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from datalayer.db.aggregates import AGGREGATES
from datalayer.db.driver_errors import driver_errors_translated
from datalayer.models import Base
from datalayer.repositories.refresher import AggregateRefresher
from datalayer.rollout.record_kinds import KINDS, feeds_aggregates
from datalayer.timescale.aggregate import aggregate_tables, list_aggregates

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncEngine

    from datalayer.db.aggregates import Family
    from datalayer.rollout.ledger import LedgerFile

_PAUSE_S: Final = 1.0
_COMPARE: Final = """
    WITH again AS (SELECT {columns} FROM ({definition}) AS d WHERE ts >= :start AND ts < :end),
         shown AS (SELECT {columns} FROM {name} WHERE ts >= :start AND ts < :end)
    SELECT (SELECT count(*) FROM again), (SELECT count(*) FROM (
        (TABLE again EXCEPT ALL TABLE shown) UNION ALL (TABLE shown EXCEPT ALL TABLE again)
    ) AS different)
"""


@dataclass(frozen=True, slots=True)
class AggregateCheck:
    """How an aggregate compares with a recomputation from the level that it reads.

    Attributes:
        name: of the aggregate.
        start: first moment that was compared, UTC.
        end: end, exclusive.
        buckets: how many there are.
        different: rows that only one of the two has.
    """

    name: str
    start: datetime
    end: datetime
    buckets: int
    different: int


async def check_aggregates(
    engine: AsyncEngine, family: Family, start: datetime, end: datetime
) -> list[AggregateCheck]:
    """Compare each aggregate over a range with its definition over the one below.

    Args:
        engine: on a migrated database.
        family: the source hypertable.
        start: first moment, inclusive, aware; moved outward to whole days, as is the end.
        end: end, exclusive, aware.

    Raises:
        DatabaseError: the server refuses.
    """
    wanted = {aggregate.name: aggregate.bucket for aggregate in AGGREGATES[family]}
    longest = max(wanted.values())
    start, end = longest.floor(start), longest.ceil(end)
    tables = {table.name: table for table in aggregate_tables(Base.metadata)}
    checks = []
    async with engine.connect() as conn:
        for spec in list_aggregates(Base.metadata):
            if spec.name not in wanted:
                continue
            columns = ", ".join(column.name for column in tables[spec.name].columns)
            query = _COMPARE.format(definition=spec.definition, columns=columns, name=spec.name)
            with driver_errors_translated():
                buckets, different = (await conn.execute(text(query), {"start": start, "end": end})).one()
            checks.append(AggregateCheck(spec.name, start, end, buckets, different))
    return checks


async def check_migrated(engine: AsyncEngine, files: Iterable[LedgerFile]) -> list[AggregateCheck]:
    """Refresh what is dirty, and compare the aggregates over the ranges of those files that they are made of.

    Raises:
        DatabaseError: the server refuses.
    """
    ranges: dict[Family, tuple[datetime, datetime]] = {}
    for noted in files:
        family = KINDS[noted.kind].family
        if family is None or noted.first_ts is None or noted.last_ts is None:
            continue
        if feeds_aggregates(KINDS[noted.kind], noted.length):
            start, last = ranges.get(family, (noted.first_ts, noted.last_ts))
            ranges[family] = min(start, noted.first_ts), max(last, noted.last_ts)
    if ranges:
        await refresh_dirty(engine)
    checks = []
    for family, (start, last) in ranges.items():
        checks += await check_aggregates(engine, family, start, last + timedelta(microseconds=1))
    return checks


async def refresh_dirty(engine: AsyncEngine) -> None:
    """Work off the list, after whoever is at it: what was migrated or taken out meanwhile is not on theirs.

    Raises:
        DatabaseError: the server refuses, or the connection is lost; what is left stays on the list.
    """
    refresher = AggregateRefresher(engine)
    while (await refresher.run(audit=False)).is_busy:  # noqa: ASYNC110 (the other may be in another process)
        await asyncio.sleep(_PAUSE_S)
