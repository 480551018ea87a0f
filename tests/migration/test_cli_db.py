"""`datalayer db` on a real database: what it prints, its exit codes, and what it refuses."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text
from typer.testing import CliRunner, Result

from datalayer.cli.db import app
from datalayer.db import migrations
from datalayer.db.connection import create_engine
from datalayer.errors import ConfigurationError, MigrationError
from tests.sample_rows import fill_every_table
from tests.shell import shell_on

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sqlalchemy.ext.asyncio import AsyncConnection

    from datalayer.config import Settings

HEAD = migrations.history()[-1].id
NOT_AS_WANTED = 3


@pytest.fixture
def cli(empty_schema: Settings) -> CliRunner:
    return shell_on(empty_schema)


def call(cli: CliRunner, *arguments: str, exit_code: int = 0) -> str:
    result: Result = cli.invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == exit_code, result.output
    return result.output


def test_from_nothing_to_head_and_back(cli: CliRunner) -> None:
    assert call(cli, "current").strip() == "base"
    assert HEAD in call(cli, "check", exit_code=NOT_AS_WANTED)
    for _ in range(2):
        assert f"at revision {HEAD}" in call(cli, "upgrade")
    assert call(cli, "current").strip() == HEAD
    assert "as this package wants it" in call(cli, "check")
    assert "at revision base" in call(cli, "downgrade", "base")


def test_a_difference_is_printed(cli: CliRunner, empty_schema: Settings) -> None:
    call(cli, "upgrade")
    run_sql(empty_schema, "ALTER TABLE dirty_ranges ADD COLUMN extra integer")
    assert "extra" in call(cli, "check", exit_code=NOT_AS_WANTED)


def test_a_policy_changed_by_hand_is_printed_with_both_values(cli: CliRunner, empty_schema: Settings) -> None:
    call(cli, "upgrade")
    run_sql(
        empty_schema,
        "SELECT alter_job(job_id, schedule_interval => interval '2 hours') FROM timescaledb_information.jobs "
        "WHERE hypertable_schema = current_schema() AND hypertable_name = 'trades' AND proc_name = 'policy_compression'",
    )
    printed = call(cli, "check", exit_code=NOT_AS_WANTED).splitlines()
    assert printed == [
        "alter_compression_policy trades: schedule_interval is '2 hours', declared as '12 hours'"
    ]
    call(cli, "policies", "--resume-retention")  # a deliberate switch is no difference
    assert call(cli, "check", exit_code=NOT_AS_WANTED).splitlines() == printed


def test_data_is_dropped_only_with_yes(cli: CliRunner, empty_schema: Settings) -> None:
    call(cli, "upgrade")
    fill(empty_schema)
    printed = call(cli, "downgrade", "base", exit_code=NOT_AS_WANTED)
    assert "candles: 7,200 rows" in printed
    assert "--yes" in printed
    assert call(cli, "current").strip() == HEAD
    assert "at revision base" in call(cli, "downgrade", "base", "--yes")


def test_retention_is_switched_deliberately(cli: CliRunner) -> None:
    call(cli, "upgrade")
    assert retention_states(call(cli, "policies")) == {"paused"}
    assert retention_states(call(cli, "policies", "--resume-retention")) == {"on"}
    assert retention_states(call(cli, "policies", "--pause-retention")) == {"paused"}
    call(cli, "policies", "--resume-retention", "--pause-retention", exit_code=2)


def retention_states(printed: str) -> set[str]:
    lines = [line for line in printed.splitlines() if line.strip().startswith("retention")]
    assert len(lines) == 4
    return {state for line in lines for state in ("paused", "on") if f" {state} " in line}


def test_history_and_script_need_no_database() -> None:
    cli = CliRunner()
    assert call(cli, "history").splitlines()[-1].startswith(HEAD)
    assert "DO $gate$" in call(cli, "upgrade", "--sql")


@pytest.mark.parametrize(
    "arguments", [["upgrade"], ["downgrade", "base"], ["current"], ["check"], ["policies"]]
)
def test_without_an_address_nothing_starts(arguments: list[str]) -> None:
    with pytest.raises(ConfigurationError, match="DATALAYER_DATABASE_URL is not set"):
        CliRunner().invoke(app, arguments, catch_exceptions=False)


@pytest.mark.parametrize(
    "arguments", [["upgrade", "none"], ["upgrade", "none", "--sql"], ["downgrade", "none"]]
)
def test_an_unknown_revision_is_refused_in_one_sentence(cli: CliRunner, arguments: list[str]) -> None:
    call(cli, "upgrade", "0002")
    with pytest.raises(MigrationError, match=r"^Alembic refused: .*'none'$"):
        call(cli, *arguments)


def run_sql(settings: Settings, statement: str) -> None:
    in_own_loop(settings, lambda conn: conn.execute(text(statement)))


def fill(settings: Settings) -> None:
    in_own_loop(settings, fill_every_table)


def in_own_loop(settings: Settings, work: Callable[[AsyncConnection], Awaitable[object]]) -> None:
    async def run() -> None:
        engine = create_engine(settings.require_url(), settings)
        async with engine.begin() as conn:
            await work(conn)
        await engine.dispose()

    asyncio.run(run())
