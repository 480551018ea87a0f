"""Files put away after success, and brought back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from datalayer.errors import InvalidInputError
from datalayer.rollout.archive import MANIFEST, archive_run, restore_archive
from datalayer.rollout.manager import DataMigrationManager
from tests.cache_folders import real_candles, write_file

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncEngine


async def migrated_run(engine: AsyncEngine, cache: Path) -> int:
    report = await DataMigrationManager(engine, cache).migrate()
    assert report.run is not None
    return report.run.id


async def test_there_and_back(engine: AsyncEngine, tmp_path: Path) -> None:
    cache, archive = tmp_path / "cache", tmp_path / "archive"
    names = ("BTCUSDT_1m.parquet", "ETHUSDT/1m.parquet")
    for name in names:
        write_file(cache / name, real_candles(0, 100))
    before = {name: ((cache / name).read_bytes(), (cache / name).stat().st_mtime_ns) for name in names}
    run = await migrated_run(engine, cache)

    manifest = await archive_run(engine, run, archive)
    assert not list(cache.rglob("*.parquet"))
    assert {line["path"] for line in json.loads(manifest.read_text())["files"]} == set(names)
    assert await archive_run(engine, run, archive) == manifest  # again, nothing left to do
    assert (await DataMigrationManager(engine, cache).migrate()).run is None

    assert sorted(await restore_archive(engine, manifest, run)) == sorted(names)
    assert {n: ((cache / n).read_bytes(), (cache / n).stat().st_mtime_ns) for n in names} == before
    assert (await DataMigrationManager(engine, cache).migrate()).run is None
    again = await archive_run(engine, run, archive)
    assert again.name == MANIFEST


async def test_an_interrupted_move_goes_on(engine: AsyncEngine, tmp_path: Path) -> None:
    cache, archive = tmp_path / "cache", tmp_path / "archive"
    first = write_file(cache / "BTCUSDT_1m.parquet", real_candles(0, 100))
    write_file(cache / "ETHUSDT_1m.parquet", real_candles(0, 100))
    run = await migrated_run(engine, cache)
    whole = first.read_bytes()
    target = archive / f"run-{run}"
    target.mkdir(parents=True)
    (target / ".BTCUSDT_1m.parquet.partial").write_bytes(whole[:50])
    (target / "BTCUSDT_1m.parquet").write_bytes(whole)  # copied, and killed before the original went
    await archive_run(engine, run, archive)
    assert (target / "BTCUSDT_1m.parquet").read_bytes() == whole
    assert not list(cache.rglob("*.parquet"))


async def test_what_is_not_verified_or_was_changed_is_not_moved(engine: AsyncEngine, tmp_path: Path) -> None:
    cache, archive = tmp_path / "cache", tmp_path / "archive"
    path = write_file(cache / "BTCUSDT_1m.parquet", real_candles(0, 100))
    run = await migrated_run(engine, cache)
    write_file(path, real_candles(0, 101))
    with pytest.raises(InvalidInputError, match="another hash"):
        await archive_run(engine, run, archive)
    await DataMigrationManager(engine, cache).rollback(run)
    with pytest.raises(InvalidInputError, match="not done and verified"):
        await archive_run(engine, run, archive)
    assert path.exists()


async def test_nothing_is_overwritten_by_a_restore(engine: AsyncEngine, tmp_path: Path) -> None:
    cache, archive = tmp_path / "cache", tmp_path / "archive"
    path = write_file(cache / "BTCUSDT_1m.parquet", real_candles(0, 100))
    manifest = await archive_run(engine, await migrated_run(engine, cache), archive)
    write_file(path, real_candles(0, 200))
    newer = path.read_bytes()
    with pytest.raises(InvalidInputError, match="another hash"):
        await restore_archive(engine, manifest, int(manifest.parent.name.removeprefix("run-")))
    assert path.read_bytes() == newer
