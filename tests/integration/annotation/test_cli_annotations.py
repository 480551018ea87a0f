"""`datalayer annotations` on a database with two of them."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from datalayer import InferenceDataFrame, UnitOfWork
from datalayer.cli import app
from datalayer.integrations.annotation import Annotation
from tests.cache_folders import real_candles
from tests.integration.annotation.conftest import BTC, MOMENT
from tests.shell import shell_on

if TYPE_CHECKING:
    from pathlib import Path

    import datalayer.sync
    from datalayer import Settings
    from datalayer.integrations.annotation import AnnotationStore, HistoricalDataLoader


@pytest.fixture
def saved(store: AnnotationStore, loader: HistoricalDataLoader) -> list[Annotation]:
    frame = loader.get_context(BTC, MOMENT, window_minutes=30)
    end = MOMENT + timedelta(minutes=5)
    return [
        store.save(Annotation(BTC, ("1m",), MOMENT, end, label, "anna", "a note"), frame)  # type: ignore[arg-type]
        for label in ("breakout", "range")
    ]


def test_list_show_and_export(
    saved: list[Annotation], market: datalayer.sync.UnifiedDataProvider, settings: Settings, tmp_path: Path
) -> None:
    shell, first = shell_on(settings), saved[0]
    listed = shell.invoke(app, ["annotations", "list", "--symbol", "btcusdt"])
    assert listed.exit_code == 0, listed.output
    assert [line.split()[0] for line in listed.stdout.splitlines()[1:]] == sorted(
        str(one.id) for one in saved
    )
    only = shell.invoke(app, ["annotations", "list", "--label", "range", "--start", "2024-08-01T05:00Z"])
    assert [line.split()[0] for line in only.stdout.splitlines()[1:]] == [str(saved[1].id)]

    seen = tmp_path / "seen.parquet"
    shown = shell.invoke(app, ["annotations", "show", str(first.id), "--parquet", str(seen)])
    assert shown.exit_code == 0, shown.output
    assert "history is what it was made on" in shown.stdout
    assert InferenceDataFrame.from_parquet(seen.read_bytes()).content_hash() == first.data_hash

    async def correct() -> None:
        async with UnitOfWork(market.asynchronous.database) as uow:
            row = real_candles(0, 600).loc[[MOMENT]].assign(volume=1.0)
            await uow.candles.upsert_candles(BTC, "1m", row)
            await uow.commit()

    market.run(correct())
    shown = shell.invoke(app, ["annotations", "show", str(first.id)])
    assert shown.exit_code == 3
    assert "1m 2024-08-01 05:00:00Z volume" in shown.stdout

    rows = tmp_path / "rows.parquet"
    exported = shell.invoke(app, ["annotations", "export", str(rows), "--label", "breakout"])
    assert "5 rows of 1 annotations" in exported.stdout
    assert pd.read_parquet(rows)["label"].tolist() == ["breakout"] * 5
