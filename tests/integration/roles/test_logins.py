"""What a new database of `deploy/compose.yaml` is set up by: roles and logins, with passwords from files."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from datalayer import Settings, UnitOfWork
from datalayer.db import migrations
from datalayer.db.connection import DatabaseConnectionManager
from datalayer.errors import DatabaseError
from tests.integration.roles.conftest import PRELOAD, needs_timescaledb
from tests.own_cluster import needs_own_cluster, new_cluster

if TYPE_CHECKING:
    from tests.own_cluster import OwnCluster

pytestmark = [*needs_own_cluster, needs_timescaledb]
DEPLOY = Path(__file__).parents[3] / "deploy"


def set_up(cluster: OwnCluster, secrets: Path) -> None:
    """Do what the image of the database does with the files when it makes a new database."""
    subprocess.run([DEPLOY / "make-secrets.sh", secrets], check=True)
    environment = os.environ | {
        "PGHOST": "127.0.0.1",
        "PGPORT": str(cluster.port),
        "POSTGRES_USER": "postgres",
        "POSTGRES_DB": "market",
        "SECRETS": str(secrets),
    }
    roles = ["psql", "--username=postgres", "--dbname=market", f"--file={DEPLOY}/database/10-roles.sql"]
    for command in (roles, [DEPLOY / "database" / "20-logins.sh"]):
        subprocess.run(command, check=True, env=environment, capture_output=True)
    rules = cluster.data / "pg_hba.conf"
    rules.write_text("host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n")


def settings(cluster: OwnCluster, user: str, secret: Path) -> Settings:
    url = f"postgresql+asyncpg://{user}@127.0.0.1:{cluster.port}/market"
    return Settings.load(database_url=url, database_password_file=secret, statement_timeout_s=None)


async def test_each_service_logs_in_with_the_password_of_its_file(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    with new_cluster() as cluster, cluster.running(**PRELOAD):
        await cluster.execute("CREATE DATABASE market", "ALTER SYSTEM SET log_statement = 'all'")
        await cluster.execute("SELECT pg_reload_conf()")
        await asyncio.to_thread(set_up, cluster, secrets)
        await cluster.execute("SELECT pg_reload_conf()")
        await migrations.upgrade(settings(cluster, "datalayer_migrate", secrets / "migrate_password"))
        async with (
            DatabaseConnectionManager(settings(cluster, "feed", secrets / "feed_password")) as database,
            UnitOfWork(database) as uow,
        ):
            await uow.instruments.ensure("BTC/USDT", 2, 5)
            await uow.commit()
        async with (
            DatabaseConnectionManager(settings(cluster, "monitor", secrets / "monitor_password")) as database,
            UnitOfWork(database) as uow,
        ):
            assert [one.symbol for one in await uow.instruments.list_all()] == ["BTC/USDT"]
        with pytest.raises(DatabaseError, match="password authentication failed"):
            async with DatabaseConnectionManager(settings(cluster, "feed", secrets / "migrate_password")):
                pass
        log = (cluster.data / "log").read_text()
    assert "CREATE ROLE" in log
    assert not [file for file in secrets.iterdir() if file.read_text().strip() in log]
