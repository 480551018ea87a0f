"""A dump of a whole database comes back row by row, with its compression, its aggregates, its policies and its rights."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from datalayer import Settings
from datalayer.cli import app
from datalayer.db import migrations
from datalayer.db.connection import create_engine
from datalayer.db.digest import digest_database
from datalayer.db.driver_errors import database_errors_translated
from datalayer.db.role_names import MIGRATE
from datalayer.db.roles import create_roles
from datalayer.errors import DatabaseError
from datalayer.timescale import compress_chunks
from tests.integration.roles.conftest import PRELOAD, needs_timescaledb
from tests.own_cluster import OwnCluster, needs_own_cluster, new_cluster
from tests.refreshing import assert_right_and_clean, materialise, refresh
from tests.sample_rows import END, START, fill_every_table
from tests.shell import shell_on

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncConnection

pytestmark = [
    *needs_own_cluster,
    needs_timescaledb,
    pytest.mark.skipif(shutil.which("pg_restore") is None, reason="pg_restore is not installed"),
]

# Policies of the copy begin at once, and would compress what they find due while it is being compared.
QUIET = {"timescaledb.max_background_workers": "0"}


@pytest.fixture(scope="module")
async def cluster() -> AsyncIterator[OwnCluster]:
    """A server with a database in which everything is: rows, compressed ones too, aggregates, what is late, what is paused."""
    with new_cluster() as cluster, cluster.running(**PRELOAD, **QUIET):
        await cluster.execute("CREATE DATABASE market", "CREATE ROLE feed LOGIN", "CREATE ROLE model LOGIN")
        await create_roles(settings(cluster, "market"))
        await cluster.execute("GRANT datalayer_write TO feed", "GRANT datalayer_read TO model")
        owner = settings(cluster, "market", MIGRATE)
        await migrations.upgrade(owner)
        engine = create_engine(owner.require_url(), owner)
        async with engine.begin() as conn:
            await fill_every_table(conn)
        for family in ("candles", "order_books"):
            await materialise(engine, family, START, END)
        for relation in ("candles", "trades", "order_books", "candles_1m", "order_book_1s"):
            assert (await compress_chunks(engine, relation)).chunks > 0
        async with engine.begin() as conn:
            # A compressed chunk with a row that was written later, which no aggregate has yet.
            await conn.execute(text("UPDATE candles SET volume = 77 WHERE ts = :ts"), {"ts": START})
            await conn.execute(
                text("INSERT INTO dirty_ranges (relation, start_ts, end_ts) VALUES ('candles', :a, :b)"),
                {"a": START, "b": END},
            )
        await engine.dispose()
        yield cluster


def settings(cluster: OwnCluster, database: str, user: str = "postgres") -> Settings:
    return Settings.load(database_url=f"postgresql+asyncpg://{user}@127.0.0.1:{cluster.port}/{database}")


async def restored(cluster: OwnCluster, folder: Path, name: str) -> Settings:
    """Dump `market` and restore it into a new database, as `docs/how-to/backup.md` says."""
    environment = os.environ | {"PGHOST": "127.0.0.1", "PGPORT": str(cluster.port), "PGUSER": "postgres"}

    def run(*command: str) -> None:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def dump_and_restore() -> None:
        version = "SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'"
        found = subprocess.run(
            ["psql", "-At", "market", "-c", version],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        run("pg_dump", "--format=custom", f"--file={folder}/market.dump", "market")
        run("createdb", name)
        run(
            "psql",
            "--quiet",
            "-v",
            "ON_ERROR_STOP=1",
            name,
            "-c",
            f"CREATE EXTENSION timescaledb SCHEMA public VERSION '{found}'",
        )
        run("psql", "--quiet", "-v", "ON_ERROR_STOP=1", name, "-c", "SELECT timescaledb_pre_restore()")
        run("pg_restore", "--exit-on-error", f"--dbname={name}", f"{folder}/market.dump")
        run(
            "psql",
            "--quiet",
            "-v",
            "ON_ERROR_STOP=1",
            name,
            "-c",
            "SELECT timescaledb_post_restore()",
            "-c",
            "ANALYZE",
        )

    await asyncio.to_thread(dump_and_restore)
    return settings(cluster, name)


async def contents(of: Settings) -> dict[str, list[str]]:
    """Return every row of every table and aggregate as text, and what TimescaleDB knows of chunks and jobs."""
    engine = create_engine(of.require_url(), of)
    async with engine.connect() as conn:
        names = [one.relation for one in await digest_database(of) if not one.relation.startswith("(")]
        found = {
            name: await texts(conn, f"SELECT CAST(r AS text) FROM {name} AS r ORDER BY 1") for name in names
        }
        found["chunks"] = await texts(conn, CHUNKS)
        found["jobs"] = await texts(conn, JOBS)
        found["rights"] = await texts(conn, RIGHTS)
    await engine.dispose()
    return found


CHUNKS = "SELECT CAST(c AS text) FROM timescaledb_information.chunks AS c ORDER BY 1"
JOBS = """
    SELECT format('%s %s %s %s %s %s', proc_name, hypertable_name, owner, scheduled, schedule_interval, config)
    FROM timescaledb_information.jobs WHERE hypertable_name IS NOT NULL ORDER BY 1
"""
RIGHTS = """
    SELECT format('%s %s %s', oid::regclass, pg_get_userbyid(relowner), relacl) FROM pg_class
    WHERE relname ~ '^(candles|trades|order_book|instruments|dirty|_hyper|_materialized|compress_hyper)' AND relkind IN ('r', 'v') ORDER BY 1
"""


async def texts(conn: AsyncConnection, query: str) -> list[str]:
    return list((await conn.scalars(text(query))).all())


async def test_everything_is_there_again_and_works(cluster: OwnCluster, tmp_path: Path) -> None:
    market = settings(cluster, "market")
    copy = await restored(cluster, tmp_path, "copy")
    before, after = await contents(market), await contents(copy)
    assert len(before["candles"]) == 7200
    assert any("t" in chunk for chunk in before["chunks"])
    for name, rows in before.items():
        assert after[name] == rows, name
    assert await digest_database(copy) == await digest_database(market)
    assert await migrations.check(settings(cluster, "copy", MIGRATE)) == []

    owner = settings(cluster, "copy", MIGRATE)
    engine = create_engine(owner.require_url(), owner)
    assert (await refresh(engine, audit=True)).cleared
    await assert_right_and_clean(engine)
    async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as conn:
        for job in await texts(
            conn,
            "SELECT job_id::text FROM timescaledb_information.jobs WHERE proc_name ~ 'compression|refresh'",
        ):
            await conn.execute(text(f"CALL run_job({job})"))
    await engine.dispose()
    feed = settings(cluster, "copy", "feed")
    engine = create_engine(feed.require_url(), feed)
    async with engine.begin() as conn:
        await conn.execute(text("UPDATE candles SET volume = volume + 1"))
    with pytest.raises(DatabaseError, match="permission denied"), database_errors_translated():
        async with engine.begin() as conn:
            await conn.execute(text("DELETE FROM candles"))
    await engine.dispose()


CHANGES = (
    ("candles", "UPDATE candles SET close = close + 1 WHERE ts = (SELECT max(ts) FROM candles)"),
    ("trades", "DELETE FROM trades WHERE trade_id = 500"),
    ("order_books", "UPDATE order_books SET bid_sizes[2] = bid_sizes[2] + 1 WHERE last_update_id = 7"),
    (
        "order_book_imbalances",
        "UPDATE order_book_imbalances SET book_imbalance_1s = 0.2500000000000001 WHERE ts = (SELECT min(ts) FROM order_book_imbalances)",
    ),
    ("rejected_records", "UPDATE rejected_records SET payload = '\\xff01'"),
    (
        "(policies)",
        "SELECT alter_job(job_id, scheduled => true) FROM timescaledb_information.jobs WHERE hypertable_name = 'trades' AND proc_name = 'policy_retention'",
    ),
)


@pytest.mark.parametrize(("relation", "change"), CHANGES, ids=[relation for relation, _ in CHANGES])
async def test_the_digest_tells_what_differs(cluster: OwnCluster, relation: str, change: str) -> None:
    market = settings(cluster, "market", MIGRATE)
    before = await digest_database(market)
    engine = create_engine(market.require_url(), market)
    async with engine.connect() as conn:
        await conn.execute(text(change))
        await conn.commit()
    await engine.dispose()
    after = await digest_database(market)
    different = {one.relation for one, other in zip(before, after, strict=True) if one != other}
    assert relation in different
    assert all(one.startswith(relation.rstrip("s")) for one in different)


async def test_what_is_later_can_be_left_out(cluster: OwnCluster) -> None:
    market = settings(cluster, "market", MIGRATE)
    before = await digest_database(market, end=END)
    engine = create_engine(market.require_url(), market)
    async with engine.begin() as conn:
        await conn.execute(
            text(
                "INSERT INTO candles SELECT CAST(:ts AS timestamptz), open, high, low, close, volume, timeframe, trade_count, instrument_id"
                " FROM candles LIMIT 1"
            ),
            {"ts": END},
        )
    await engine.dispose()
    assert await digest_database(market, end=END) == before
    assert await digest_database(market) != before


async def test_the_command_prints_a_line_a_relation(cluster: OwnCluster) -> None:
    market = settings(cluster, "market")
    printed = await asyncio.to_thread(
        shell_on(market).invoke, app, ["db", "digest", "--end", END.isoformat()]
    )
    lines = [line.split() for line in printed.stdout.splitlines()]
    expected = await digest_database(market, end=END)
    assert lines == [
        [one.relation, str(one.rows), one.digest, str(one.compressed_chunks)] for one in expected
    ]
