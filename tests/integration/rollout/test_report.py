"""Reports say the same facts as JSON, Markdown and HTML, and the picture shows the gaps."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import numpy as np

from datalayer.domain.timeframe import Timeframe
from datalayer.rollout.coverage_picture import coverage_strip
from datalayer.rollout.manager import DataMigrationManager
from datalayer.rollout.report_text import write_report
from tests.cache_folders import real_candles, write_file

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncEngine


async def test_the_three_forms_of_a_report(engine: AsyncEngine, tmp_path: Path) -> None:
    candles = real_candles(0, 4_000)
    cache = tmp_path / "cache"
    write_file(cache / "BTCUSDT_1m.parquet", candles.drop(candles.index[1_000:1_500]))
    write_file(cache / "ETHUSDT_1m.parquet", candles.iloc[:50])
    (cache / "odd.txt").write_text("x")
    report = await DataMigrationManager(engine, cache).migrate()
    paths = {
        path.suffix: path.read_text() for path in await write_report(engine, report, tmp_path / "reports")
    }
    facts = json.loads(paths[".json"])
    assert (facts["is_right"], facts["rows"], facts["compared"]["equal"]) == (True, 3_550, 3_550)
    assert [file["gaps"] for file in facts["files"]] == [500, 0]
    assert facts["not_understood"] == [{"file": "odd.txt", "reason": "is no Parquet file by its name"}]
    for ending in (".md", ".html"):
        for said in ("BTCUSDT_1m.parquet", "3,500", "ETH/USDT 1m", "odd.txt", "500"):
            assert said in paths[ending]
    svg = re.search(r"<svg.*</svg>", paths[".html"], re.DOTALL)
    assert svg is not None
    picture = ET.fromstring(svg[0])  # noqa: S314 (our own)
    strips = [rect for rect in picture.iter("{http://www.w3.org/2000/svg}rect") if rect.get("height") == "22"]
    red = [float(rect.get("width", 0)) for rect in strips if rect.get("fill") == "#c8354a"]
    assert red == [125.0]  # 500 of 4,000 candles, of a strip of 1,000
    assert len(strips) == 4  # before the gap, the gap, after it, and the other series


async def test_a_single_missing_candle_can_be_seen_in_a_month(engine: AsyncEngine, tmp_path: Path) -> None:
    candles = real_candles(0, 44_640)
    write_file(tmp_path / "BTCUSDT_1m.parquet", candles.drop(candles.index[20_000]))
    await DataMigrationManager(engine, tmp_path).migrate()
    async with engine.connect() as conn:
        strip = await coverage_strip(conn, "BTC/USDT", Timeframe.M1, candles.index[0], candles.index[-1])
    assert np.flatnonzero(strip.shares < 1).tolist() == [20_000 * 400 // 44_640]
    assert (strip.stored, strip.possible) == (44_639, 44_640)
    assert strip.shares.max() == 1
