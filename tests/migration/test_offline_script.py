"""`upgrade --sql`: a script that a DBA runs by psql, to the same end as an upgrade online."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from datalayer.db import migrations
from datalayer.db.connection import create_engine
from tests.catalog import describe_schema

if TYPE_CHECKING:
    from pathlib import Path

    from datalayer.config import Settings

needs_psql = pytest.mark.skipif(shutil.which("psql") is None, reason="psql is not installed")


async def description(settings: Settings) -> list[str]:
    engine = create_engine(settings.require_url(), settings)
    async with engine.connect() as conn:
        lines = await describe_schema(conn)
    await engine.dispose()
    return lines


def run_psql(settings: Settings, script: Path) -> subprocess.CompletedProcess[str]:
    url = settings.require_url().set(drivername="postgresql")
    command = [
        "psql",
        "--no-psqlrc",
        "--quiet",
        f"--file={script}",
        url.render_as_string(hide_password=False),
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@needs_psql
@pytest.mark.native
@pytest.mark.parametrize("schema_name", ["own", 'My "Data'])
async def test_psql_runs_the_script_to_the_same_schema(empty_schema: Settings, tmp_path: Path) -> None:
    script = tmp_path / "upgrade.sql"
    script.write_text(migrations.script(empty_schema))
    done = run_psql(empty_schema, script)
    assert done.returncode == 0, done.stderr
    by_psql = await description(empty_schema)

    assert await migrations.downgrade(empty_schema, "base") is None
    await migrations.upgrade(empty_schema)
    assert by_psql == await description(empty_schema)


@needs_psql
@pytest.mark.native
@pytest.mark.parametrize(
    ("limit", "raised", "words"),
    [
        ("major < 15", "major < 99", "PostgreSQL 15 or newer is needed"),
        ("ARRAY[2, 18]", "ARRAY[2, 999]", "TimescaleDB 2.18 or newer is needed, this database has 2."),
        ("licence <> 'timescale'", "licence <> 'other'", "runs under the timescale licence"),
    ],
)
def test_psql_stops_at_the_gate(
    empty_schema: Settings, tmp_path: Path, limit: str, raised: str, words: str
) -> None:
    script = tmp_path / "upgrade.sql"
    script.write_text(migrations.script(empty_schema).replace(limit, raised, 1))
    done = run_psql(empty_schema, script)
    assert done.returncode == 3
    assert words in done.stderr
    assert "CREATE" not in done.stdout


def test_the_script_needs_no_database(empty_schema: Settings) -> None:
    script = migrations.script(empty_schema.model_copy(update={"database_url": None}))
    assert script.index("DO $gate$") < script.index("pg_advisory_lock") < script.index("CREATE EXTENSION")
    assert script.count("BEGIN;") == script.count("COMMIT;") == len(migrations.history())


def test_part_of_the_history_can_be_scripted(empty_schema: Settings) -> None:
    script = migrations.script(empty_schema, "0013:0014")
    assert "add_retention_policy" in script
    assert "CREATE TABLE" not in script
