"""One database migrated by Alembic for the whole session, empty at the start of every test that uses it."""

from __future__ import annotations

import os
import uuid
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import hypothesis
import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from datalayer.config import Settings, parse_database_url
from datalayer.db import migrations
from datalayer.db.connection import create_engine
from datalayer.embedded import EmbeddedTimescale
from datalayer.timescale.quoting import identifier

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from sqlalchemy.engine import URL
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

TEST_URL = os.environ.get("DATALAYER_TEST_URL")
PREFIX = "DATALAYER_"

# How long an example takes says nothing on a shared machine. CI judges a change, so it tries the same examples each time;
# everybody else explores.
hypothesis.settings.register_profile("untimed", deadline=None, derandomize=bool(os.environ.get("CI")))
hypothesis.settings.load_profile("untimed")


def pytest_configure(config: pytest.Config) -> None:
    """Keep pytest-alembic from collecting by itself: its collector needs pytest < 9.2, and we import its tests."""
    config.option.pytest_alembic_tests_path = "imported by tests/migration/test_revisions.py"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a native server when none is named."""
    if TEST_URL is None:
        for item in items:
            if item.get_closest_marker("native"):
                item.add_marker(pytest.mark.skip(reason="DATALAYER_TEST_URL names no native server"))


@pytest.fixture(scope="session", autouse=True)
def _no_settings_from_outside() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(PREFIX)]:
            if name != "DATALAYER_CACHE_DIR":  # where the embedded runtime is installed, not what is tested
                patch.delenv(name)
        yield


@asynccontextmanager
async def new_database() -> AsyncIterator[str]:
    """Address of an empty database, gone at the end: an own one on the native server, else an embedded one."""
    if TEST_URL is None:
        with EmbeddedTimescale(background_jobs=False) as embedded:
            yield embedded.url
        return
    server = parse_database_url(TEST_URL)
    name = f"datalayer_test_{uuid.uuid4().hex[:12]}"
    await _administer(server, f'CREATE DATABASE "{name}"')
    try:
        own = server.set(database=name)
        # Jobs would start by themselves in the middle of tests; those that test them run them.
        await _administer(own, "CREATE EXTENSION timescaledb SCHEMA public")
        await _administer(own, "SELECT _timescaledb_functions.stop_background_workers()")
        yield own.render_as_string(hide_password=False)
    finally:
        await _administer(server, f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture(scope="session")
async def database_url() -> AsyncIterator[str]:
    """Address of the database that most tests share."""
    async with new_database() as url:
        yield url


@pytest.fixture(scope="session")
async def migrated(database_url: str) -> Settings:
    """Settings of the database, migrated to head in `public`."""
    settings = Settings.load(database_url=database_url)
    await migrations.upgrade(settings)
    return settings


@pytest.fixture(scope="session")
async def _session_engine(migrated: Settings) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(make_url(migrated.database_url.get_secret_value()), migrated)  # type: ignore[union-attr]
    yield engine
    await engine.dispose()


@pytest.fixture
async def engine(_session_engine: AsyncEngine) -> AsyncIterator[AsyncEngine]:
    """The engine on the migrated database; what a test commits is gone before the next one."""
    yield _session_engine
    await empty(_session_engine)


@pytest.fixture
async def conn(_session_engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A connection in a transaction that is rolled back: the quick way, for tests that need no second connection."""
    async with _session_engine.connect() as connection, connection.begin() as transaction:
        yield connection
        await transaction.rollback()


@pytest.fixture
def settings(migrated: Settings, engine: AsyncEngine) -> Settings:  # noqa: ARG001 (emptied like the engine)
    """Settings that name the migrated database, emptied between tests."""
    return migrated


@pytest.fixture
def schema_name() -> str:
    """Name of `empty_schema`; parametrize it to have another."""
    return "own"


@pytest.fixture
async def empty_schema(schema_name: str, database_url: str) -> AsyncIterator[Settings]:
    """Settings of an own schema that does not exist yet, for tests of migrations; dropped at the end."""
    schema = (
        f"{schema_name} {uuid.uuid4().hex[:8]}"
        if " " in schema_name
        else f"{schema_name}_{uuid.uuid4().hex[:8]}"
    )
    yield Settings.load(database_url=database_url, database_schema=schema)
    await _administer(make_url(database_url), f"DROP SCHEMA IF EXISTS {identifier(schema)} CASCADE")


async def _administer(url: URL, statement: str) -> None:
    engine = create_async_engine(url, isolation_level="AUTOCOMMIT")
    try:
        async with engine.connect() as conn:
            await conn.execute(text(statement))
    finally:
        await engine.dispose()


# Hypertables and aggregates that have chunks; truncating is slow on those that have none too.
_FILLED = text("""
    SELECT format('%I', COALESCE(a.user_view_name, h.table_name)) AS name
    FROM _timescaledb_catalog.hypertable h LEFT JOIN _timescaledb_catalog.continuous_agg a ON a.mat_hypertable_id = h.id
    WHERE COALESCE(a.user_view_schema, h.schema_name) = current_schema()
      AND EXISTS (SELECT FROM _timescaledb_catalog.chunk c WHERE c.hypertable_id = h.id)
""")


# Those that others refer to come last.
_PLAIN = (
    *("migration_pieces", "migration_files", "migration_runs", "rollout_phases", "shadow_reads"),
    *("annotations", "annotation_data", "feed_gaps", "rejected_records", "dirty_ranges", "instruments"),
)


async def empty(engine: AsyncEngine) -> None:
    """Delete all rows of the migrated database."""
    async with engine.connect() as conn:
        filled = (await conn.scalars(_FILLED)).all()
        await conn.rollback()
        statements = [
            *(f"TRUNCATE {name}" for name in filled),
            *(f"DELETE FROM {table}" for table in _PLAIN),
        ]
        # The simple protocol: TimescaleDB alters a prepared TRUNCATE of an aggregate, which fails when it runs again.
        driver = (await conn.get_raw_connection()).driver_connection
        assert driver is not None
        await driver.execute("; ".join(statements))
