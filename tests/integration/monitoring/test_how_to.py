"""The example of the page on monitoring runs, and serves what it says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from datalayer import DataCacheManager, DataIngestionPipeline
from datalayer.db.connection import DatabaseConnectionManager
from tests.integration.documentation.examples import page_blocks, run
from tests.integration.ingestion.market import BTC, trade
from tests.scraping import scrape

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from datalayer.config import Settings


async def test_the_page(settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    accepted: list[float] = []

    async def feed(pipeline: DataIngestionPipeline) -> None:
        await pipeline.ingest_trade(trade(symbol=BTC))
        await pipeline.flush()
        found = await scrape(capsys.readouterr().out.split()[-1])
        accepted.append(found.value("datalayer_ingestion_accepted_total", kind="reject"))

    (code,) = page_blocks("docs/how-to/monitoring.md")
    async with DatabaseConnectionManager(settings) as database:
        names: dict[str, Any] = {
            "DataIngestionPipeline": DataIngestionPipeline,
            "database": database,
            "outbox": tmp_path / "outbox",
            "cache": DataCacheManager(),
            "feed": feed,
        }
        await run(code.replace("port=9464", "port=0"), "monitoring.md", names)
    assert accepted == [1]  # an instrument that nobody registered goes to quarantine
