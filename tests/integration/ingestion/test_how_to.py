"""`docs/how-to/ingest.md` from top to bottom: its code runs, on a database that has nothing but an instrument."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from datalayer import UnitOfWork
from tests.integration.ingestion.market import BTC, START, candle, scalar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest
    from sqlalchemy.ext.asyncio import AsyncEngine

    from datalayer import Candle, Settings

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "ingest.md"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


async def feed() -> AsyncIterator[Candle]:
    for n in range(3):
        yield candle(n)


def candles(days: int) -> pd.DataFrame:
    values = {"open": 10.0, "high": 20.0, "low": 5.0, "close": 11.0, "volume": 1.5}
    start = START + pd.Timedelta(days=days)
    return pd.DataFrame(values, index=pd.date_range(start, periods=3, freq="1min", name="timestamp"))


async def test_the_page_does_what_it_shows(
    engine: AsyncEngine, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATALAYER_DATABASE_URL", settings.require_url().render_as_string(hide_password=False))
    async with UnitOfWork(engine) as uow:
        await uow.instruments.ensure(BTC, 2, 5)
        await uow.commit()
    candles(1).to_parquet("btcusdt-1m-2024.parquet")
    hooks = dict.fromkeys(("page_somebody", "count_rejected", "observe_batch"), print)
    names: dict[str, Any] = {"feed": feed, "database": engine, "frame": candles(2), **hooks}
    blocks = BLOCK.findall(PAGE.read_text())
    assert len(blocks) == 5
    for block in blocks:
        code = compile(block, str(PAGE), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        ran = eval(code, names)  # noqa: S307 (our own page)
        if inspect.isawaitable(ran):
            await ran
    await names["main"]()
    assert names["counts"].inserted == 3
    assert await scalar(engine, "SELECT count(*) FROM candles") == 9
