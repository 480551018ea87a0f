"""Two deploys at once, and the limits of a migration's transactions."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from datalayer.db import migrations
from datalayer.db.connection import create_engine
from datalayer.db.deploy_lock import deploy_lock
from datalayer.db.migration_run import MigrationLimits, limit_transactions
from datalayer.errors import InvalidInputError, MigrationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from datalayer.config import Settings

CHECKOUT = Path(__file__).parents[2]
HEAD = migrations.history()[-1].id


@pytest.fixture
async def own_engine(empty_schema: Settings) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(empty_schema.require_url(), empty_schema)
    yield engine
    await engine.dispose()


async def schema_exists(conn: AsyncConnection, schema: str) -> bool:
    found = await conn.scalar(
        text("SELECT count(*) FROM pg_namespace WHERE nspname = :schema"), {"schema": schema}
    )
    await conn.rollback()
    return bool(found)


async def test_two_deploys_at_once_on_an_empty_database_both_end_at_head(empty_schema: Settings) -> None:
    reached = await asyncio.gather(migrations.upgrade(empty_schema), migrations.upgrade(empty_schema))
    assert reached == [HEAD, HEAD]


async def test_two_processes_at_once_on_an_empty_database_both_end_at_head(empty_schema: Settings) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "DATALAYER_DATABASE_URL": empty_schema.require_url().render_as_string(hide_password=False),
        "DATALAYER_DATABASE_SCHEMA": empty_schema.database_schema,
    }
    command = [sys.executable, "-m", "alembic", "upgrade", "head"]
    deploys = [
        await asyncio.create_subprocess_exec(
            *command, cwd=CHECKOUT, env=environment, stderr=asyncio.subprocess.PIPE
        )
        for _ in range(2)
    ]
    outputs = [(await deploy.communicate())[1].decode() for deploy in deploys]
    assert [deploy.returncode for deploy in deploys] == [0, 0], outputs
    assert sum(output.count("Running upgrade") for output in outputs) == len(migrations.history())
    assert await migrations.current(empty_schema) == HEAD


@pytest.mark.parametrize("command", [["upgrade", "head"], ["downgrade", "base"], ["current"], ["check"]])
def test_alembic_without_an_address_refuses_in_one_sentence(command: list[str]) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "alembic", *command],
        cwd=CHECKOUT,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode != 0
    assert run.stdout.startswith("FAILED: DATALAYER_DATABASE_URL is not set")
    assert "Traceback" not in run.stderr


async def test_two_schemas_at_once_in_one_process(empty_schema: Settings, own_engine: AsyncEngine) -> None:
    other = empty_schema.model_copy(update={"database_schema": f"{empty_schema.database_schema}_2"})
    assert await asyncio.gather(migrations.upgrade(empty_schema), migrations.upgrade(other)) == [HEAD, HEAD]
    async with own_engine.begin() as conn:
        await conn.execute(text(f"DROP SCHEMA {other.database_schema} CASCADE"))


async def test_a_second_deploy_is_refused_and_changes_nothing(
    empty_schema: Settings, own_engine: AsyncEngine
) -> None:
    schema = empty_schema.database_schema
    async with own_engine.connect() as first:
        async with deploy_lock(first, schema, 5.0):
            with pytest.raises(MigrationError, match="another deploy is migrating schema") as refused:
                await migrations.upgrade(empty_schema, limits=MigrationLimits(deploy_wait_s=0.2))
            assert refused.value.sqlstate == "55P03"
            assert not await schema_exists(first, schema)
        assert await migrations.upgrade(empty_schema) == HEAD


async def test_deploys_of_different_schemas_do_not_wait(
    empty_schema: Settings, own_engine: AsyncEngine
) -> None:
    async with (
        own_engine.connect() as first,
        own_engine.connect() as second,
        deploy_lock(first, empty_schema.database_schema, 5.0),
        deploy_lock(second, "another", 0.2),
    ):
        assert not first.in_transaction()


async def test_the_lock_is_free_after_an_error(empty_schema: Settings, own_engine: AsyncEngine) -> None:
    schema = empty_schema.database_schema
    async with own_engine.connect() as first, own_engine.connect() as second:
        with pytest.raises(ZeroDivisionError):
            async with deploy_lock(first, schema, 5.0):
                raise ZeroDivisionError
        async with deploy_lock(second, schema, 0.2):
            assert not second.in_transaction()


async def test_an_unknown_revision_is_a_migration_error(empty_schema: Settings) -> None:
    with pytest.raises(MigrationError, match="nowhere"):
        await migrations.upgrade(empty_schema, "nowhere")


@pytest.mark.native
async def test_a_migration_gives_up_waiting_for_a_lock(
    empty_schema: Settings, own_engine: AsyncEngine
) -> None:
    await migrations.upgrade(empty_schema)
    async with own_engine.connect() as reader:
        await reader.execute(text("LOCK TABLE trades IN ACCESS SHARE MODE"))
        with pytest.raises(MigrationError, match="lock timeout") as refused:
            await migrations.downgrade(empty_schema, "0004", MigrationLimits(lock_timeout_s=0.2))
        await reader.rollback()
    assert refused.value.sqlstate == "55P03"
    reached = await migrations.current(empty_schema)
    assert reached is not None
    assert reached > "0004"
    assert f"the database is at {reached}" in str(refused.value)


async def test_each_transaction_gets_its_timeouts_and_leaves_none_behind(own_engine: AsyncEngine) -> None:
    show = text("SELECT current_setting('lock_timeout'), current_setting('statement_timeout')")
    async with own_engine.connect() as conn:
        default = (await conn.execute(show)).one()
        await conn.rollback()
        await conn.run_sync(limit_transactions, MigrationLimits(lock_timeout_s=7, statement_timeout_s=11))
        async with conn.begin():
            assert (await conn.execute(show)).one() == ("7s", "11s")
    async with own_engine.connect() as conn:
        assert (await conn.execute(show)).one() == default


def test_limits_are_read_from_x_arguments() -> None:
    assert MigrationLimits.parse({"lock_timeout_s": "2.5"}) == MigrationLimits(lock_timeout_s=2.5)


@pytest.mark.parametrize(
    ("name", "value"), [("lock_timeout", "1"), ("lock_timeout_s", "soon"), ("deploy_wait_s", "0")]
)
def test_wrong_x_arguments_are_refused(name: str, value: str) -> None:
    with pytest.raises(InvalidInputError, match=name):
        MigrationLimits.parse({name: value})
