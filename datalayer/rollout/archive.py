"""Migrated files put away, and brought back: moved with a manifest of their hashes, never overwritten, never half there."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from datalayer.errors import InvalidInputError
from datalayer.ingestion.unit_of_work import UnitOfWork
from datalayer.rollout.ledger import MigrationLedger
from datalayer.rollout.source_file import sha256_of
from datalayer.whole_file import sync_folder, whole_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncEngine

MANIFEST: Final = "manifest.json"
_TAKEN: Final = ("verified", "archived")


@dataclass(frozen=True, slots=True)
class ArchivedFile:
    """A line of a manifest.

    Attributes:
        path: below the cache folder, and below the archive.
        sha256: of the file.
        size_bytes: of the file.
    """

    path: str
    sha256: str
    size_bytes: int


async def archive_run(engine: AsyncEngine, run_id: int, folder: Path) -> Path:
    """Move the files of a run that is done into `folder/run-RUN`, with a manifest; may be repeated after an interruption.

    Args:
        engine: on the database.
        run_id: number of the run.
        folder: of archives; made if need be.

    Returns:
        The manifest.

    Raises:
        InvalidInputError: there is no such run, not all of it is verified, or a file is not what was migrated.
        DatabaseError: the server refuses, or the connection is lost.
        OSError: a file cannot be moved.
    """
    async with engine.connect() as conn:
        ledger = MigrationLedger(conn)
        run, files = await ledger.get_run(run_id), await ledger.list_files(run_id)
        # A file that has grown since, and was taken again by a later run, is that run's to put away.
        later = {f.path for f in await ledger.list_files() if f.run_id > run_id and f.state in _TAKEN}
    open_files = [file.path for file in files if file.state not in _TAKEN]
    if run.state != "done" or open_files:
        hint = (
            f"is not done and verified ({', '.join(open_files) or run.state}); only what is may be put away"
        )
        raise InvalidInputError("run", run_id, hint)
    target = folder / f"run-{run_id}"
    hashes = {file.path: file.sha256 for file in files if file.path not in later}
    manifest = await asyncio.to_thread(_put_away, Path(run.folder), target, hashes)
    async with UnitOfWork(engine) as uow:
        for file in files:
            where = "superseded by a later run" if file.path in later else str(target / file.path)
            await MigrationLedger(uow.connection).set_file_state(file.id, "archived", where)
        await uow.commit()
    return manifest


async def restore_archive(engine: AsyncEngine, manifest: Path, run_id: int) -> list[str]:
    """Move the files of a manifest back to where they were; may be repeated.

    Args:
        engine: on the database.
        manifest: as `archive_run` returned it.
        run_id: number of the run.

    Returns:
        Their paths below the cache folder.

    Raises:
        InvalidInputError: a file is not what was archived, or another one is in its place by now.
        DatabaseError: the server refuses, or the connection is lost.
        OSError: a file cannot be moved.
    """
    async with engine.connect() as conn:
        run, files = (
            await MigrationLedger(conn).get_run(run_id),
            await MigrationLedger(conn).list_files(run_id),
        )
    paths = await asyncio.to_thread(_bring_back, manifest, Path(run.folder))
    async with UnitOfWork(engine) as uow:
        for file in files:
            if file.path in paths:
                await MigrationLedger(uow.connection).set_file_state(file.id, "verified")
        await uow.commit()
    return paths


def read_manifest(manifest: Path) -> list[ArchivedFile]:
    """Return the lines of a manifest.

    Raises:
        InvalidInputError: it is none.
    """
    try:
        return [ArchivedFile(**line) for line in json.loads(manifest.read_text(encoding="utf-8"))["files"]]
    except (ValueError, KeyError, TypeError) as exc:
        raise InvalidInputError("manifest", str(manifest), f"is no manifest of an archive: {exc}") from exc


def move_checked(source: Path, target: Path, sha256: str) -> None:
    """Move a file, across file systems too, so that at any moment one of the two is whole.

    Raises:
        InvalidInputError: the file has another hash, or another file is in the target's place.
        OSError: it cannot be moved.
    """
    if target.exists() and not source.exists():
        _check(target, sha256)
        return
    _check(source, sha256)
    if target.exists():
        _check(target, sha256)
    target.parent.mkdir(parents=True, exist_ok=True)
    # A copy under another name, checked before the original goes: a rename alone cannot cross file systems.
    partial = target.with_name(f".{target.name}.partial")
    shutil.copy2(source, partial)
    with partial.open("rb") as copied:
        os.fsync(copied.fileno())
    _check(partial, sha256)
    partial.replace(target)
    sync_folder(target.parent)
    source.unlink()


def _put_away(folder: Path, target: Path, hashes: dict[str, str]) -> Path:
    for path, sha256 in hashes.items():
        _check(folder / path if (folder / path).exists() else target / path, sha256)
    manifest = target.absolute() / MANIFEST
    if not manifest.exists():
        lines = [
            ArchivedFile(path, sha256, (folder / path).stat().st_size) for path, sha256 in hashes.items()
        ]
        _write_manifest(manifest, folder, lines)
    for path, sha256 in hashes.items():
        move_checked(folder / path, target / path, sha256)
    return manifest


def _bring_back(manifest: Path, folder: Path) -> list[str]:
    lines = read_manifest(manifest)
    for line in lines:
        move_checked(manifest.parent / line.path, folder / line.path, line.sha256)
    manifest.rename(manifest.with_suffix(".restored.json"))
    return [line.path for line in lines]


def _write_manifest(manifest: Path, folder: Path, lines: Sequence[ArchivedFile]) -> None:
    manifest.parent.mkdir(parents=True, exist_ok=True)
    content = {"folder": str(folder), "files": [asdict(line) for line in lines]}
    with whole_file(manifest) as file:
        file.write(json.dumps(content, indent=2).encode())


def _check(path: Path, sha256: str) -> None:
    if not path.exists():
        raise InvalidInputError("path", str(path), "is gone; nothing was moved over it")
    if sha256_of(path) != sha256:
        raise InvalidInputError("path", str(path), "is not what was migrated: its content has another hash")
