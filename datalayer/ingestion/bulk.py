"""History at once: a frame or a Parquet file of candles, straight into the table where it holds nothing yet."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pandas as pd
import pyarrow.parquet as pq

from datalayer.domain.write_counts import WriteCounts
from datalayer.errors import InvalidInputError
from datalayer.ingestion.unit_of_work import UnitOfWork

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.ext.asyncio import AsyncEngine

    from datalayer.db.connection import DatabaseConnectionManager
    from datalayer.db.staged_write import OnConflict
    from datalayer.domain.timeframe import Timeframe

ROWS_PER_TRANSACTION: Final = 100_000
_TIMES: Final = ("timestamp", "ts")


async def load_candles(
    database: DatabaseConnectionManager | AsyncEngine,
    symbol: str,
    timeframe: Timeframe | str,
    source: pd.DataFrame | Path,
    *,
    on_conflict: OnConflict = "update",
    rows_per_transaction: int = ROWS_PER_TRANSACTION,
) -> WriteCounts:
    """Write the candles of a frame or of a Parquet file; repeating it changes nothing.

    The file is read in pieces, the next one while the last is written. Each piece is a transaction: after an error those before
    it are stored, and a repetition does the rest.

    Args:
        database: an open connection manager, or an engine.
        symbol: a registered instrument, in any known spelling.
        timeframe: length of the candles.
        source: as `CandleRepository.upsert_candles` takes it; a file may have its open times in a column `timestamp` or `ts`.
        on_conflict: what happens to candles that are stored with other values.
        rows_per_transaction: rows of a piece.

    Returns:
        Exact counts.

    Raises:
        InvalidInputError: as for `upsert_candles`, or the file has no column of times.
        ScaleError: a value has more decimals than its instrument's scale.
        ConflictError: a stored candle says something else, and `on_conflict` is "error".
        DatabaseError: the server refuses.
        OSError: the file cannot be read.
    """
    pieces = _pieces(source, rows_per_transaction)
    counts = WriteCounts()
    following = asyncio.create_task(asyncio.to_thread(next, pieces, None))
    try:
        while (piece := await following) is not None:
            following = asyncio.create_task(asyncio.to_thread(next, pieces, None))
            async with UnitOfWork(database) as uow:
                written = await uow.candles.upsert_candles(symbol, timeframe, piece, on_conflict=on_conflict)
                await uow.commit()
            counts += written
    finally:
        await asyncio.gather(following, return_exceptions=True)
    return counts


def _pieces(source: pd.DataFrame | Path, rows: int) -> Iterator[pd.DataFrame]:
    if isinstance(source, Path):
        with pq.ParquetFile(source) as file:
            for batch in file.iter_batches(batch_size=rows):
                yield _indexed(batch.to_pandas(), source)
    else:
        for start in range(0, len(source), rows):
            yield source.iloc[start : start + rows]


def _indexed(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    if isinstance(frame.index, pd.DatetimeIndex):
        return frame
    columns: list[Any] = [name for name in _TIMES if name in frame.columns]
    if not columns:
        hint = f"{path} has no column {' or '.join(_TIMES)}"
        raise InvalidInputError("timestamp", list(map(str, frame.columns)), hint)
    return frame.set_index(columns[0])
