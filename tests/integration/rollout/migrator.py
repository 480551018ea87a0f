"""A process that migrates or rolls back until it is killed; prints a line for each transaction that is done.

python migrator.py DATABASE_URL FOLDER migrate|RUN
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from sqlalchemy.engine import make_url

from datalayer import Settings
from datalayer.db.connection import create_engine
from datalayer.rollout import undo
from datalayer.rollout.manager import DataMigrationManager

ROWS_PER_PIECE = 100


def tell(what: object) -> None:
    os.write(1, f"{what}\n".encode())


async def main(url: str, folder: str, what: str) -> None:
    undo_piece = undo._undo_piece

    async def told(*arguments: object) -> object:
        done = await undo_piece(*arguments)  # type: ignore[arg-type]
        tell("undone")
        return done

    undo._undo_piece = told  # type: ignore[assignment]
    engine = create_engine(make_url(url), Settings.load(database_url=url, connect_timeout_s=5))
    manager = DataMigrationManager(
        engine, Path(folder), rows_per_piece=ROWS_PER_PIECE, on_conflict="prefer_file", on_progress=tell
    )
    if what == "migrate":
        report = await manager.migrate()
        assert report.is_right, report.files
    else:
        await manager.rollback(int(what))
    await engine.dispose()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
