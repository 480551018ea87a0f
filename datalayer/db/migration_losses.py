"""What a downgrade would throw away."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from alembic.script import ScriptDirectory
from sqlalchemy import text

from datalayer.db import migrations
from datalayer.db.connection import DatabaseConnectionManager
from datalayer.timescale.quoting import identifier

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from datalayer.config import Settings

_COUNT_LIMIT: Final = 1_000_000
_DROP: Final = re.compile(r'(?:^|; )DROP (?:TABLE|MATERIALIZED VIEW) "?(\w+)', re.MULTILINE)
_STORAGE = text("""
    SELECT format('%I.%I', materialization_hypertable_schema, materialization_hypertable_name)
    FROM timescaledb_information.continuous_aggregates WHERE view_schema = current_schema() AND view_name = :name
""")


@dataclass(frozen=True, slots=True)
class Loss:
    """Rows that a downgrade drops.

    Attributes:
        relation: table or continuous aggregate.
        rows: how many; of an aggregate those that are materialised.
        exact: False: there are more than `rows`.
    """

    relation: str
    rows: int
    exact: bool

    def __str__(self) -> str:
        return f"{self.relation}: {'' if self.exact else 'more than '}{self.rows:,} rows"


async def list_losses(settings: Settings, revision: str) -> list[Loss]:
    """Return the relations with rows that `downgrade(settings, revision)` would drop, in the order of dropping."""
    at = await migrations.current(settings)
    if at is None:
        return []
    dropped = _DROP.findall(migrations.downgrade_script(settings, at, _absolute(at, revision)))
    async with DatabaseConnectionManager(settings) as database, database.engine.connect() as conn:
        losses = [await _loss(conn, relation) for relation in dropped]
    return [loss for loss in losses if loss.rows]


def _absolute(at: str, revision: str) -> str:
    directory = ScriptDirectory(str(migrations.script_location()))
    with migrations.refusals_translated():
        undone = list(directory.iterate_revisions(at, revision))
    down = undone[-1].down_revision if undone else at
    return down if isinstance(down, str) else "base"


async def _loss(conn: AsyncConnection, relation: str) -> Loss:
    storage = await conn.scalar(_STORAGE, {"name": relation}) or identifier(relation)
    counted = await conn.scalar(
        text(f"SELECT count(*) FROM (SELECT FROM {storage} LIMIT {_COUNT_LIMIT + 1}) AS counted")
    )
    return Loss(relation, min(int(counted or 0), _COUNT_LIMIT), exact=int(counted or 0) <= _COUNT_LIMIT)
