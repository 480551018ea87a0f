from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from datalayer.config import Settings
from datalayer.demo import samples
from datalayer.demo.database import demo_settings, describe_place, removal_hint
from datalayer.demo.findings import CHECKED_COLUMNS, Check
from datalayer.demo.report import check_table, verdict
from datalayer.demo.steps import Steps

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd


@pytest.fixture
def official() -> pd.DataFrame:
    return samples.load_official_minutes()[list(CHECKED_COLUMNS)]


def shown(check: Check) -> str:
    console = Console(width=100)
    with console.capture() as capture:
        console.print(check_table(check), verdict(check))
    return capture.get()


def test_equal_decimals_pass_whatever_their_trailing_zeros(official: pd.DataFrame) -> None:
    ours = official.map(lambda value: value.normalize() if isinstance(value, Decimal) else value)

    assert Check(ours, official).passed
    assert "PASSED: all 60 values of 10 minutes" in shown(Check(ours, official))


def test_the_last_digit_of_one_value_fails(official: pd.DataFrame) -> None:
    ours = official.copy()
    ours.loc[ours.index[3], "volume"] += Decimal("0.00001")
    check = Check(ours, official)

    assert not check.passed
    assert "77.14203" in shown(check)
    assert "≠ 77.14202" in shown(check)
    assert "FAILED: 1 of 60 values" in shown(check)


def test_a_missing_minute_fails(official: pd.DataFrame) -> None:
    check = Check(official.drop(official.index[4]).reindex(official.index), official)

    assert not check.passed
    assert "≠ 61,717.64" in shown(check)
    assert "FAILED: 6 of 60 values" in shown(check)


def test_nothing_to_compare_is_no_pass(official: pd.DataFrame) -> None:
    assert not Check(official.iloc[:0], official.iloc[:0]).passed


def test_the_place_is_said_without_the_password(tmp_path: Path) -> None:
    configured = Settings.load(database_url="postgresql://reader:hidden@db.example/market")

    server, folder = demo_settings(configured, None), demo_settings(configured, tmp_path)
    memory = demo_settings(Settings.load(), None)

    assert {s.database_schema for s in (server, folder, memory)} == {"datalayer_demo"}
    assert "db.example" in describe_place(server)
    assert "hidden" not in describe_place(server)
    assert str(tmp_path) in describe_place(folder)
    assert "in memory" in describe_place(memory)
    assert "production wants a server" in describe_place(memory)
    assert "--drop" in (removal_hint(server) or "")
    assert f"--path {tmp_path}" in (removal_hint(folder) or "")
    assert removal_hint(memory) is None


def test_steps_are_one_line_each_where_there_is_no_terminal() -> None:
    console = Console(width=80, force_terminal=False)
    with console.capture() as capture, Steps(console) as steps:
        with steps.step("First") as step:
            step.say("starting")
        with steps.step("Second", 10) as step:
            step.advance(10)

    lines = capture.get().rstrip().splitlines()
    assert [line.split()[0] for line in lines] == ["First", "Second"]
    assert all(line.endswith(" s") for line in lines)
