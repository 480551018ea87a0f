"""What an operation was given is written down, be it made by autogenerate or put into a revision by a hook."""

from __future__ import annotations

import io
import textwrap
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest
from alembic.autogenerate import render_python_code
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.operations.ops import UpgradeOps

import datalayer.timescale.plugin  # noqa: F401 (registers the operations)
from datalayer.timescale import Compression
from datalayer.timescale.operations import (
    AlterCompressionOp,
    DisableCompressionOp,
    RefreshContinuousAggregateOp,
    ReplaceContinuousAggregatesOp,
    TimescaleOp,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

BERLIN = timezone(timedelta(hours=1))
START = datetime(2024, 3, 1, 1, tzinfo=BERLIN)
IN_UTC = "datetime.datetime(2024, 3, 1, 0, 0, tzinfo=datetime.timezone.utc)"


@pytest.mark.parametrize(
    ("op", "written"),
    [
        (RefreshContinuousAggregateOp("hourly", None), ["op.refresh_continuous_aggregate('hourly')"]),
        (
            RefreshContinuousAggregateOp("hourly", "own", START, 7, 0),
            [f"start={IN_UTC}", "end=7", "buckets_per_batch=0", "schema='own'"],
        ),
        (DisableCompressionOp("hourly", None), ["op.disable_compression('hourly')"]),
        (DisableCompressionOp("hourly", None, max_growth_bytes=None), ["max_growth_bytes=None"]),
        (
            ReplaceContinuousAggregatesOp({(None, "hourly"): "SELECT 1"}, accept_loss=True),
            ["'hourly': 'SELECT 1'", "accept_loss=True"],
        ),
        (
            ReplaceContinuousAggregatesOp({("a", "hourly"): "SELECT 1", ("a", "daily"): "SELECT 2"}),
            ["'daily': 'SELECT 2'", "schema='a'"],
        ),
        (
            ReplaceContinuousAggregatesOp({("a", "hourly"): "SELECT 1", (None, "daily"): "SELECT 2"}),
            ["('a', 'hourly'): 'SELECT 1'", "'daily': 'SELECT 2'"],
        ),
    ],
)
def test_what_is_given_is_written(op: TimescaleOp, written: list[str]) -> None:
    text = render_python_code(UpgradeOps([op]))
    for part in written:
        assert part in text
    assert ("schema=" in text) is ("schema=" in str(written))


def test_what_is_written_is_what_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    definitions: Mapping[tuple[str | None, str], str] = {
        ("a", "hourly"): "SELECT 1",
        (None, "daily"): "SELECT 2",
    }
    text = render_python_code(UpgradeOps([ReplaceContinuousAggregatesOp(definitions)]))
    run: list[ReplaceContinuousAggregatesOp] = []
    context = MigrationContext.configure(
        dialect_name="postgresql", opts={"output_buffer": io.StringIO(), "as_sql": True}
    )
    with Operations.context(context) as op:
        monkeypatch.setattr(op, "invoke", run.append)
        exec(textwrap.dedent(text.partition("\n")[2]), {"op": op})  # noqa: S102 (the text of a revision)
    assert [each.definitions for each in run] == [definitions]


def test_one_way_operations_are_written_once() -> None:
    silent = AlterCompressionOp(
        "hourly", None, Compression(order_by=["ts"]), Compression(order_by=["ts DESC"]), is_silent=True
    )
    assert silent.is_silent
    assert not silent.reverse().is_silent
    assert silent.reverse().reverse().is_silent
    assert "alter_compression" not in render_python_code(UpgradeOps([silent]))
    assert "order_by=['ts DESC']" in render_python_code(UpgradeOps([silent.reverse()]))
