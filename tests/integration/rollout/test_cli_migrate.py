"""`datalayer migrate`: what it prints, and its exit codes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from datalayer.cli import app
from datalayer.errors import InvalidInputError
from tests.cache_folders import real_candles, write_file
from tests.shell import shell_on

if TYPE_CHECKING:
    from pathlib import Path

    from typer.testing import CliRunner

    from datalayer.config import Settings


@pytest.fixture
def cli(settings: Settings) -> CliRunner:
    return shell_on(settings)


def call(cli: CliRunner, *arguments: str, exit_code: int = 0) -> str:
    result = cli.invoke(app, ["migrate", *arguments], catch_exceptions=False)
    assert result.exit_code == exit_code, result.output
    return result.stdout


def test_from_the_plan_to_the_archive_and_back_out(cli: CliRunner, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    path = write_file(cache / "BTCUSDT_1m.parquet", real_candles(0, 500))
    (cache / "notes.txt").write_text("x")
    planned = call(cli, "run", str(cache), "--dry-run")
    assert planned == call(cli, "plan", str(cache))
    for said in (
        "1 files, 500 rows to take",
        "BTC/USDT 1m",
        "prices need 2 digits",
        "not understood: notes.txt",
    ):
        assert said in planned
    assert len(call(cli, "list").splitlines()) == 1

    report = call(cli, "run", str(cache), "--report", str(tmp_path / "reports"))
    assert "Every row is accounted for; 1 files were passed over" in report
    assert "500 rows of 1 files" in report
    found = re.search(r"run (\d+):", report)
    assert found is not None
    run = found[1]
    assert {file.suffix for file in (tmp_path / "reports").iterdir()} == {".json", ".md", ".html"}
    assert "nothing to do" in call(cli, "run", str(cache))
    assert "done" in call(cli, "list")
    assert "Every row is accounted for" in call(cli, "verify", run)

    manifest = call(cli, "archive", run, "--to", str(tmp_path / "archive")).removeprefix("archived: ").strip()
    assert not path.exists()
    assert call(cli, "restore", run, manifest).strip() == "BTCUSDT_1m.parquet"
    assert path.exists()
    assert "500 rows taken out" in call(cli, "rollback", run)
    assert "rolled_back" in call(cli, "list")


def test_what_is_not_right_is_exit_code_3(cli: CliRunner, tmp_path: Path) -> None:
    write_file(tmp_path / "BTCUSDT_1m.parquet", real_candles(0, 100))
    call(cli, "run", str(tmp_path))
    write_file(tmp_path / "BTCUSDT_1m.parquet", real_candles(0, 100).assign(volume=1.0))
    assert "stored with other values" in call(cli, "run", str(tmp_path), "--on-conflict", "fail", exit_code=3)


def test_wrong_usage(cli: CliRunner, tmp_path: Path) -> None:
    call(cli, "run", str(tmp_path / "absent"), exit_code=2)
    call(cli, "run", str(tmp_path), "--on-conflict", "maybe", exit_code=2)
    with pytest.raises(InvalidInputError, match="is no timezone"):
        call(cli, "plan", str(tmp_path), "--naive-zone", "Mars/Olympus")
    with pytest.raises(InvalidInputError, match="there is no such run"):
        call(cli, "verify", "999")


def test_the_rollout_is_told_and_refused_with_reasons(cli: CliRunner, tmp_path: Path) -> None:
    write_file(tmp_path / "BTCUSDT_1m.parquet", real_candles(0, 50))

    def rollout(*arguments: str) -> tuple[int, str]:
        result = cli.invoke(app, ["rollout", *arguments], catch_exceptions=False)
        return result.exit_code, result.output

    code, told = rollout("status", str(tmp_path))
    assert (code, "-> 0 parquet" in told) == (0, True)
    assert rollout("advance", str(tmp_path)) == (0, "now in phase 1 dual write\n")
    code, told = rollout("advance", str(tmp_path))
    assert code == 3
    assert "no candle has reached both sides" in told
    assert rollout("back", str(tmp_path)) == (0, "now in phase 0 parquet\n")
    assert rollout("back", str(tmp_path))[0] == 3
    told = rollout("status", str(tmp_path))[1]
    assert told.index("entered 1 dual write") < told.index("back from 1 dual write")
