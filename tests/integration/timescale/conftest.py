from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import create_engine, event
from sqlalchemy.engine import make_url

from datalayer.timescale.quoting import identifier
from tests.conftest import new_database
from tests.integration.timescale.project import AlembicProject

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
async def database_url() -> AsyncIterator[str]:
    """A database apart from that of the other tests, whose tables lie on the search path of a project here."""
    async with new_database() as url:
        yield url


@pytest.fixture
def own_schema() -> str:
    return f"timescale_{uuid.uuid4().hex[:8]}"


@pytest.fixture
def search_path(own_schema: str) -> str:
    return f"{identifier(own_schema)}, public"


@pytest.fixture
def project(database_url: str, own_schema: str, search_path: str, tmp_path: Path) -> Iterator[AlembicProject]:
    engine = create_engine(make_url(database_url).set(drivername="postgresql+psycopg"))

    @event.listens_for(engine, "connect")
    def set_search_path(connection, _record) -> None:  # noqa: ANN001 (psycopg's)
        connection.execute(f"SET search_path = {search_path}")
        connection.commit()

    own = AlembicProject(tmp_path / "migrations", engine, own_schema)
    own.execute(
        f"CREATE SCHEMA {identifier(own_schema)}", "CREATE EXTENSION IF NOT EXISTS timescaledb SCHEMA public"
    )
    yield own
    own.drop()
    engine.dispose()
