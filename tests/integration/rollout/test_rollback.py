"""What a run brought is taken out again, exactly that, whatever happens meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from unittest.mock import AsyncMock

import pandas as pd
import pytest
from sqlalchemy import text

from datalayer import AggregateRefresher
from datalayer.repositories.rescale import widen_scales
from datalayer.rollout import undo
from tests.cache_folders import real_candles, write_file
from tests.integration.rollout.migrating import (
    SYMBOL,
    assert_same,
    everything,
    manager,
    number,
    rolled_up,
    store,
    stored,
    totals,
)

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncEngine


async def test_a_rollback_takes_out_exactly_what_the_run_brought(engine: AsyncEngine, tmp_path: Path) -> None:
    candles = real_candles(0, 3_000)
    await store(engine, candles.iloc[:200])  # before, the same rows
    await store(engine, candles.iloc[200:210].assign(volume=1.0))  # before, other values
    write_file(tmp_path / "BTCUSDT_1m.parquet", candles.iloc[:2_000])
    run = number(await manager(engine, tmp_path, on_conflict="prefer_file").migrate())
    since = candles.iloc[1_000:1_010].assign(volume=2.0)
    await store(engine, since)  # the live feed corrects rows that were brought
    await store(engine, candles.iloc[205:207].assign(volume=3.0))  # and rows that were overwritten
    await store(engine, candles.iloc[2_000:2_500])  # and adds new ones
    async with engine.begin() as conn:  # and somebody deletes some
        await conn.execute(text("DELETE FROM candles WHERE ts = :ts"), {"ts": candles.index[1_500]})

    done = (await manager(engine, tmp_path).rollback(run))["BTCUSDT_1m.parquet"]
    assert (done.removed, done.restored, done.left) == (1_790 - 11, 8, 13)
    before = candles.iloc[200:210].assign(volume=[1.0] * 5 + [3.0] * 2 + [1.0] * 3)
    assert_same(
        await stored(engine), pd.concat([candles.iloc[:200], before, since, candles.iloc[2_000:2_500]])
    )
    rows = await everything(engine)
    assert await manager(engine, tmp_path).rollback(run) == {}
    assert await everything(engine) == rows


async def test_a_rollback_after_the_scale_was_widened(engine: AsyncEngine, tmp_path: Path) -> None:
    candles = real_candles(0, 1_000)
    await store(engine, candles.iloc[10:20].assign(volume=1.0))
    write_file(tmp_path / "BTCUSDT_1m.parquet", candles)
    migration = manager(engine, tmp_path, on_conflict="prefer_file")
    report = await migration.migrate()
    assert report.is_right
    async with engine.begin() as conn:
        await widen_scales(conn, SYMBOL, price_scale=4, size_scale=8)
    assert (await migration.verify(number(report))).is_right
    await migration.rollback(number(report))
    assert_same(await stored(engine), candles.iloc[10:20].assign(volume=1.0))


@pytest.mark.parametrize("then", ["rollback", "refresher", "migrate"])
async def test_a_rollback_that_is_killed_between_two_pieces_ends_right_by_whatever_comes_next(
    engine: AsyncEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, then: str
) -> None:
    seconds = real_candles(0, 3_000)
    seconds.index = pd.date_range("2024-08-01", periods=3_000, freq="1s", tz="UTC", name="timestamp")
    await store(engine, seconds.iloc[:630], "1s")
    write_file(tmp_path / "BTCUSDT_1s.parquet", seconds)
    migration = manager(engine, tmp_path)
    run = number(await migration.migrate())
    left = iter(range(2))
    undo_piece = undo._undo_piece

    async def killed(*arguments: Any) -> Any:
        if next(left, None) is None:
            raise ConnectionError
        return await undo_piece(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(undo, "_undo_piece", killed)
        with pytest.raises(ConnectionError):
            await migration.rollback(run)
    expected = len(await stored(engine, "1s"))
    assert expected < 3_000
    if then == "rollback":
        await migration.rollback(run)
        expected = 630
    if then == "migrate":  # which does not take the file for migrated
        report = await migration.migrate()
        assert report.is_right
        assert totals(report) == {"inserted": 2_370, "unchanged": 630}
        expected = 3_000
    await AggregateRefresher(engine).run()
    assert len(await stored(engine, "1s")) == expected
    async with engine.connect() as conn:
        assert await conn.scalar(text("SELECT count(*) FROM dirty_ranges")) == 0
        for name in ("candles_1m", "candles_5m", "candles_1d"):
            assert await conn.scalar(text(f"SELECT sum(candle_count) FROM {name}")) == expected


@pytest.mark.parametrize("is_interrupted", [False, True])
async def test_aggregates_forget_what_is_taken_out_and_nothing_else(
    engine: AsyncEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_interrupted: bool
) -> None:
    seconds = real_candles(0, 3_000)
    seconds.index = pd.date_range("2024-08-01", periods=3_000, freq="1s", tz="UTC", name="timestamp")
    await store(engine, seconds.iloc[:630], "1s")
    await AggregateRefresher(engine).run()
    before = await rolled_up(engine)
    write_file(tmp_path / "BTCUSDT_1s.parquet", seconds)
    migration = manager(engine, tmp_path)
    report = await migration.migrate()
    assert len(await rolled_up(engine)) == 50

    if is_interrupted:  # between the last row and the aggregates, and nobody repeats it
        with monkeypatch.context() as patch:
            patch.setattr(undo, "refresh_dirty", AsyncMock(side_effect=ConnectionError))
            with pytest.raises(ConnectionError):
                await migration.rollback(number(report))
        await AggregateRefresher(engine).run()
    else:
        await migration.rollback(number(report))
    assert_same(await rolled_up(engine), before)
    async with engine.connect() as conn:
        assert await conn.scalar(text("SELECT count(*) FROM dirty_ranges")) == 0
        for name in ("candles_1m", "candles_5m", "candles_1d"):
            assert await conn.scalar(text(f"SELECT sum(candle_count) FROM {name}")) == 630
