"""Our own models through autogenerate: the same database as the revisions make, and nothing left on the way back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datalayer.db import migrations
from datalayer.db.connection import create_engine
from datalayer.models import Base
from tests.catalog import describe_schema

if TYPE_CHECKING:
    from datalayer.config import Settings
    from tests.integration.timescale.project import AlembicProject

# Views, functions and triggers are no part of the metadata; definitions and running numbers are compared by Alembic.
COMPARED = ("column", "constraint", "index", "policy", "chunks", "compression")


async def lines_of(settings: Settings) -> list[str]:
    engine = create_engine(settings.require_url(), settings)
    async with engine.connect() as conn:
        lines = await describe_schema(conn)
    await engine.dispose()
    return [
        line
        for line in lines
        if line.startswith(COMPARED) and "_decoded" not in line and "alembic" not in line
    ]


async def test_autogenerate_makes_what_the_revisions_make(
    project: AlembicProject, empty_schema: Settings
) -> None:
    text = project.autogenerate(Base.metadata)
    assert text.count("op.create_hypertable(") == 4
    assert text.count("op.create_continuous_aggregate(") == 8
    project.upgrade()
    project.check(Base.metadata)

    await migrations.upgrade(empty_schema)
    generated = empty_schema.model_copy(update={"database_schema": project.schema})
    assert await lines_of(generated) == await lines_of(empty_schema)

    project.downgrade("base")
    assert {
        row[0]
        for row in project.rows(
            "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'v')"
        )
    } == {"alembic_version"}
    assert (
        project.rows("SELECT FROM timescaledb_information.jobs WHERE hypertable_schema = current_schema()")
        == []
    )
