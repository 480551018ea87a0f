"""Who owns the schema: all revisions up and down, policies, repairs; and a schema that somebody else had made."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from datalayer import Settings
from datalayer.cli import app
from datalayer.db import migrations
from datalayer.db.role_names import MIGRATE
from datalayer.db.roles import create_roles, roles_script
from datalayer.errors import ConfigurationError, DatabaseError, MigrationError
from datalayer.repositories.rescale import widen_scales
from datalayer.rollout.manager import DataMigrationManager
from datalayer.timescale import compress_chunks
from tests.cache_folders import real_candles, write_file
from tests.integration.roles.conftest import needs_timescaledb
from tests.own_cluster import needs_own_cluster
from tests.refreshing import refresh
from tests.sample_rows import fill_every_table
from tests.shell import shell_on

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.roles.conftest import Users

pytestmark = [*needs_own_cluster, needs_timescaledb]
OWNERS = """
    SELECT DISTINCT pg_get_userbyid(c.relowner) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = current_schema() OR c.relname ~ '^(_hyper|compress_hyper|_materialized|_compressed_h|_partial|_direct)'
    UNION SELECT owner::text FROM timescaledb_information.jobs WHERE hypertable_name IS NOT NULL
"""
POLICIES = """
    SELECT job_id FROM timescaledb_information.jobs WHERE hypertable_name IS NOT NULL AND proc_name <> 'policy_retention'
"""


async def test_all_revisions_run_up_and_down(users: Users) -> None:
    await users.cluster.execute("CREATE DATABASE fresh OWNER administrator")
    own = {"database_schema": 'My "Data'}
    administrator = users.settings("administrator", "fresh").model_copy(update=own)
    owner = users.settings(MIGRATE, "fresh").model_copy(update=own)
    await create_roles(administrator)
    for _ in range(2):
        await migrations.upgrade(owner)
        assert await migrations.check(owner) == []
        assert await migrations.downgrade(owner, "base") is None


async def test_who_does_not_own_the_schema_is_told_who_does(users: Users) -> None:
    with pytest.raises(MigrationError, match=MIGRATE) as refused:
        await migrations.downgrade(users.settings("feed"), "-1")
    assert refused.value.sqlstate == "42501"


@pytest.mark.skipif(shutil.which("psql") is None, reason="psql is not installed")
@pytest.mark.parametrize("by", ["command", "psql"])
async def test_a_schema_that_a_superuser_has_made_is_handed_over(
    users: Users, tmp_path: Path, by: str
) -> None:
    await users.cluster.execute(f"CREATE DATABASE taken_{by}")
    settings = users.settings("postgres", f"taken_{by}")
    await migrations.upgrade(settings)
    async with users.engine("postgres", f"taken_{by}").begin() as conn:
        await fill_every_table(conn)
    await compress_chunks(users.engine("postgres", f"taken_{by}"), "candles")
    if by == "command":
        await create_roles(settings)
    else:
        await asyncio.to_thread(run_psql, settings, tmp_path)

    owner = users.engine(MIGRATE, f"taken_{by}")
    async with owner.execution_options(isolation_level="AUTOCOMMIT").connect() as conn:
        assert (await conn.scalars(text(OWNERS))).all() == [MIGRATE]
        for number in (await conn.scalars(text(POLICIES))).all():
            await conn.execute(text(f"CALL run_job({number})"))
    assert not (await refresh(owner, audit=True)).unfinished
    async with owner.begin() as conn:
        await widen_scales(conn, "BTC/USDT", price_scale=4)
    assert await migrations.check(users.settings(MIGRATE, f"taken_{by}")) == []


def run_psql(settings: Settings, folder: Path) -> None:
    script = folder / "roles.sql"
    script.write_text(roles_script("public"))
    url = settings.require_url().set(drivername="postgresql").render_as_string(hide_password=False)
    subprocess.run(["psql", "-v", "ON_ERROR_STOP=1", "--quiet", f"--file={script}", url], check=True)


async def test_a_migration_from_parquet_is_taken_in_and_out_by_the_owner(
    users: Users, tmp_path: Path
) -> None:
    write_file(tmp_path / "BTCUSDT_1m.parquet", real_candles(stop=300))
    owner = DataMigrationManager(users[MIGRATE], tmp_path)
    report = await owner.migrate()
    assert report.is_right
    assert report.run is not None
    with pytest.raises(DatabaseError, match=MIGRATE) as refused:
        await DataMigrationManager(users["feed"], tmp_path).rollback(report.run.id)
    assert refused.value.sqlstate == "42501"
    (undone,) = (await owner.rollback(report.run.id)).values()
    assert undone.removed == 300


def test_the_command_prints_the_script_and_refuses_the_embedded_database(users: Users) -> None:
    shell = shell_on(users.settings("administrator"))
    assert shell.invoke(app, ["db", "roles", "--sql"]).output == roles_script("public")
    assert "datalayer_read reads" in shell.invoke(app, ["db", "roles"]).output
    refused = shell_on(Settings.load(database_url="embedded:///:memory:")).invoke(app, ["db", "roles"])
    assert isinstance(refused.exception, ConfigurationError)
