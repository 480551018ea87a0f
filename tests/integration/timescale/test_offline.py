"""`--sql`: the script of every operation, run by psql, ends where the operations themselves end."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.util import CommandError
from sqlalchemy.engine import make_url

import datalayer.timescale.plugin  # noqa: F401 (registers the operations)
from datalayer.errors import UnsupportedServerError
from datalayer.timescale.quoting import identifier
from tests.catalog import _SCHEMA
from tests.integration.timescale.declared import FILL

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.timescale.project import AlembicProject

DEFINITION = "SELECT time_bucket('1 hour', ts) AS ts, device, max(value) AS value FROM readings GROUP BY 1, 2"
UPGRADE = f"""
op.execute('CREATE TABLE readings (ts timestamptz, device integer, value float8, PRIMARY KEY (ts, device))')
op.execute('CREATE TABLE plain (LIKE readings INCLUDING ALL)')
op.execute({FILL!r})
op.execute('INSERT INTO plain SELECT * FROM readings')
op.create_hypertable('readings', 'ts', chunk_interval='1 day', migrate_data=True)
op.create_hypertable('plain', 'ts', chunk_interval='1 day', migrate_data=True)
op.drop_hypertable('plain')
op.alter_hypertable('readings', chunk_interval='2 days')
op.enable_compression('readings', segment_by=['device'], order_by=['ts'])
op.alter_compression('readings', segment_by=['device'], order_by=['ts DESC'])
op.create_continuous_aggregate('hourly', {DEFINITION!r}, materialized_only=True, comment="it's :hourly")
op.create_continuous_aggregate('gone', {DEFINITION!r}, materialized_only=True)
op.refresh_continuous_aggregate('hourly', start=datetime(2024, 3, 2, tzinfo=UTC), end=datetime(2024, 3, 4, tzinfo=UTC))
op.alter_continuous_aggregate('hourly', materialized_only=False, chunk_interval='20 days')
op.rename_continuous_aggregate('hourly', 'by hour')
op.drop_continuous_aggregate('gone')
op.enable_compression('by hour', segment_by=['device'], order_by=['ts'])
op.disable_compression('by hour')
op.add_refresh_policy('by hour', start_offset='3 days', end_offset='1 hour', schedule_interval='1 hour', newest_first=False)
op.add_compression_policy('readings', compress_after='30 days')
op.add_retention_policy('readings', drop_after='60 days', paused=True)
op.add_retention_policy('by hour', drop_after='60 days')
op.alter_refresh_policy('by hour', start_offset=None, schedule_interval='2 hours', phase='10 seconds', buckets_per_batch=7)
op.alter_compression_policy('readings', compress_after='1 month')
op.alter_retention_policy('readings', drop_after='90 days', paused=False)
op.remove_retention_policy('by hour')
"""
CALLS = UPGRADE.strip().splitlines()


def script(body: str) -> str:
    output = io.StringIO()
    context = MigrationContext.configure(
        dialect_name="postgresql",
        dialect_opts={"paramstyle": "named"},
        opts={"as_sql": True, "output_buffer": output, "literal_binds": True},
    )
    with context.begin_transaction(), Operations.context(context) as op:
        exec(body, {"op": op, "datetime": datetime, "UTC": UTC})  # noqa: S102 (the same text as in the revision)
    return output.getvalue()


def state(project: AlembicProject) -> tuple[list[str], list[object]]:
    number = re.compile(r"(hypertable_|ts_cagg_\w+_|trigger\('|watermark\()\d+")
    lines = (" | ".join(map(str, row)) for row in project.rows(_SCHEMA) if "alembic_version" not in str(row))
    rows = [
        project.rows(f'SELECT * FROM "{name}" ORDER BY 1, 2') for name in ("readings", "plain", "by hour")
    ]
    materialized = project.rows("SELECT (SELECT count(*) FROM show_chunks('\"by hour\"'))")
    return sorted(number.sub(r"\1#", line) for line in lines), [*rows, materialized]


@pytest.mark.skipif(shutil.which("psql") is None, reason="psql is not installed")
def test_psql_ends_where_the_operations_end(
    project: AlembicProject, database_url: str, search_path: str, tmp_path: Path
) -> None:
    project.run("from datetime import UTC, datetime\n    " + "\n    ".join(CALLS))
    online = state(project)
    project.drop()
    project.execute(f"CREATE SCHEMA {identifier(project.schema)}")

    path = tmp_path / "upgrade.sql"
    path.write_text(f"SET search_path = {search_path};\n" + script(UPGRADE))
    url = make_url(database_url).set(drivername="postgresql").render_as_string(hide_password=False)
    done = subprocess.run(
        ["psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", f"--file={path}", url],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    offline = state(project)
    assert offline[0] == online[0]
    assert offline[1] == online[1]


def test_every_operation_is_in_the_script() -> None:
    operations = {name for name in dir(Operations) if callable(getattr(Operations, name)) and _is_ours(name)}
    called = {line.split("(")[0].removeprefix("op.") for line in CALLS}
    assert operations - called == {
        "replace_continuous_aggregates",
        "remove_refresh_policy",
        "remove_compression_policy",
    }


def _is_ours(name: str) -> bool:
    return bool(re.search("hypertable|aggregate|compression|_policy", name))


def test_replacing_refuses_a_script() -> None:
    with pytest.raises(CommandError, match="which a script cannot do; run this revision with a connection"):
        script(f"op.replace_continuous_aggregates({{'hourly': {DEFINITION!r}}})")


def test_a_script_is_written_for_the_version_that_is_said() -> None:
    def written(version: str) -> str:
        output = io.StringIO()
        context = MigrationContext.configure(
            dialect_name="postgresql",
            opts={"as_sql": True, "output_buffer": output, "timescaledb_version": version},
        )
        with Operations.context(context) as op:
            op.enable_compression("readings", order_by=["ts"])  # type: ignore[attr-defined]
        return output.getvalue()

    assert "timescaledb.compress," in written("2.17.2")
    assert "timescaledb.enable_columnstore," in written("2.18.0")
    with pytest.raises(UnsupportedServerError, match=r"need TimescaleDB 2\.13 or newer, this is 2\.12"):
        written("2.12")
