"""Candles in Parquet, for as long as they are written there: read by the API of the database, written atomically."""

from __future__ import annotations

import fcntl
import re
import threading
from collections import OrderedDict
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from datalayer.domain.moments import utc_moment
from datalayer.domain.symbols import SymbolSpelling, canonical_symbol, spell_symbol
from datalayer.domain.timeframe import Timeframe
from datalayer.errors import InvalidInputError
from datalayer.rollout.discovery import discover, find_candles
from datalayer.rollout.patterns import DEFAULT_PATTERNS
from datalayer.rollout.source_times import micros_of
from datalayer.whole_file import whole_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import tzinfo
    from pathlib import Path

    from datalayer.rollout.discovery import FoundFile
    from datalayer.rollout.patterns import FilePattern

VALUES: Final = ("open", "high", "low", "close", "volume")
_LIVE: Final = re.compile(r"_live_\d{4}-\d\d(-\d\d)?\.parquet$")
_LOCK: Final = ".datalayer.lock"
_PARTIALS: Final = ".*_live_*.partial"
_INSTANT: Final = timedelta(microseconds=1)
_CACHED_ROWS: Final = 2_000_000


class ParquetCandles:
    """The candles of a cache folder.

    What is written goes to files of its own, one a month, or a day for 1s (`BTCUSDT_1m_live_2024-08.parquet`): older files are
    never changed, and what is rewritten stays small. A file is complete at any moment: it is written beside, synced, and
    renamed. Several processes may write: a lock on a hidden file of the folder keeps them apart.

    What was read is kept in memory until its file changes, 50 bytes a row and two million rows at most.

    Args:
        folder: the cache folder.
        patterns: what the names of files mean.
        naive_zone: what timezone naive times are in.
    """

    def __init__(
        self,
        folder: Path,
        *,
        patterns: Sequence[FilePattern] = DEFAULT_PATTERNS,
        naive_zone: tzinfo = UTC,
    ) -> None:
        self.folder = folder
        self._patterns = patterns
        self._zone = naive_zone
        self._writing = threading.Lock()
        self._is_tidied = False
        self._remembered: OrderedDict[Path, tuple[tuple[int, ...], pd.DataFrame]] = OrderedDict()
        self._remembering = threading.Lock()

    def query_ohlcv_data(
        self,
        symbol: str,
        timeframe: Timeframe | str,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        limit: int | None = None,
        as_of: datetime | None = None,
        live_only: bool = False,
    ) -> pd.DataFrame:
        """Return closed candles whose open time is in `[start, end)`, as `CandleRepository.query_ohlcv_data` does.

        Where files overlap and differ, the one that ends last counts; a last candle that was not closed when its file was
        written is none.

        Args:
            symbol: in any known spelling.
            timeframe: length of the candles; of those that lie in files, nothing is rolled up.
            start: first open time, aware, included; None: from the first.
            end: aware, excluded; None: to the last visible one.
            limit: only the last so many.
            as_of: what was closed at this time, aware. None: now.
            live_only: only what was written by `write`.

        Raises:
            InvalidInputError: the symbol names no pair, or a time is naive.
            OSError: a file of this series cannot be read: an answer without it would have a hole that nobody sees.
        """
        name, length = canonical_symbol(symbol), Timeframe.parse(timeframe)
        visible = datetime.now(UTC) if as_of is None else utc_moment(as_of, "as_of")
        stop = visible - length.length + _INSTANT
        if end is not None:
            stop = min(stop, utc_moment(end, "end"))
        first = None if start is None else utc_moment(start, "start")
        frames = [self._read(file, length) for file in self._files(name, length, live_only=live_only)]
        ascending = sorted((frame for frame in frames if len(frame)), key=lambda frame: frame.index[-1])
        chosen = _last(_merged([_last(_within(frame, first, stop), limit) for frame in ascending]), limit)
        chosen.attrs = {"symbol": name, "timeframe": length.label}
        return chosen

    def list_series(self, *, live_only: bool = False) -> list[tuple[str, Timeframe]]:
        """Return which series the folder has candles of, ordered."""
        found = {
            (file.named.symbol, file.named.timeframe)
            for file in discover(self.folder, self._patterns).files
            if file.named.timeframe is not None and (not live_only or _LIVE.search(file.name))
        }
        return sorted(found)

    def write(self, symbol: str, timeframe: Timeframe, frame: pd.DataFrame) -> None:
        """Write candles; those of the same times are replaced. May be repeated.

        Args:
            symbol: canonical.
            timeframe: of the candles.
            frame: as `query_ohlcv_data` returns it; trade_count may be absent.

        Raises:
            OSError: a file cannot be written; it is as it was.
        """
        joined = spell_symbol(symbol, SymbolSpelling.JOINED)
        periods = frame.index.strftime("%Y-%m-%d" if timeframe < Timeframe.M1 else "%Y-%m")  # type: ignore[attr-defined]
        with self._writing, self._other_processes_kept_out():
            for period in sorted(set(periods)):
                path = self.folder / f"{joined}_{timeframe.label}_live_{period}.parquet"
                parts = [_frame(pq.read_table(path))] if path.exists() else []
                _replace(path, _merged([*parts, _shaped(frame[periods == period])]))

    @contextmanager
    def _other_processes_kept_out(self) -> Iterator[None]:
        with (self.folder / _LOCK).open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # until it is closed, or this process dies
            if not self._is_tidied:
                for left in self.folder.glob(_PARTIALS):  # by somebody who was killed
                    left.unlink()
                self._is_tidied = True
            yield

    def _files(self, symbol: str, length: Timeframe, *, live_only: bool) -> list[FoundFile]:
        found = find_candles(self.folder, self._patterns, symbol, length)
        return [file for file in found if not live_only or _LIVE.search(file.name)]

    def _rows(self, found: FoundFile) -> pd.DataFrame:
        """Return the rows of a file, ascending; nobody writes to them."""
        status = found.path.stat()
        stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
        with self._remembering:
            if (known := self._remembered.get(found.path)) is not None and known[0] == stamp:
                self._remembered.move_to_end(found.path)
                return known[1]
        try:
            raw = found.layout.raw(pq.read_table(found.path, columns=found.layout.needed), self._zone)
        except InvalidInputError as exc:
            msg = f"{found.name}: {exc.hint}"
            raise OSError(msg) from exc
        frame = _shaped(
            pd.DataFrame({name: raw[name] for name in raw if name != "ts"}, index=_index(raw["ts"]))
        )
        frame = _merged([frame[frame.index.notna()].sort_index(kind="stable")])
        with self._remembering:
            self._remembered[found.path] = (stamp, frame)
            while sum(len(rows) for _, rows in self._remembered.values()) > _CACHED_ROWS:
                self._remembered.popitem(last=False)
        return frame

    def _read(self, found: FoundFile, length: Timeframe) -> pd.DataFrame:
        frame = self._rows(found)
        if not len(frame):
            return frame
        # As the migration does it: the candle that was forming when the file was written is no history.
        as_of = found.modified_at if frame.index[-1] <= found.modified_at else datetime.now(UTC)
        forming = frame.index.searchsorted([as_of - length.length, as_of], side="right")
        return frame if forming[0] == forming[1] else frame.drop(frame.index[slice(*forming)])


def same_rows(one: pd.DataFrame, other: pd.DataFrame) -> tuple[int, int, str | None]:
    """Compare two frames of candles by time and exact values; what a side does not know of trades counts as equal.

    Returns:
        Rows that either has, rows that they do not agree on, and what the first of those is about.
    """
    both = one.index.union(other.index)
    left, right = one.reindex(both), other.reindex(both)
    wrong = np.zeros(len(both), dtype=bool)
    for name in VALUES:
        wrong |= left[name].to_numpy() != right[name].to_numpy()  # a missing row is NaN, and like nothing
    counts = (left["trade_count"] != right["trade_count"]).fillna(value=False).to_numpy(dtype=bool)
    wrong |= counts
    if not wrong.any():
        return len(both), 0, None
    first = both[int(np.argmax(wrong))]
    sides = [dict(frame.loc[first, list(VALUES)]) if first in frame.index else None for frame in (one, other)]
    return len(both), int(wrong.sum()), f"{first}: {sides[0]} in Parquet, {sides[1]} in the database"


def _within(frame: pd.DataFrame, start: datetime | None, stop: datetime) -> pd.DataFrame:
    first = 0 if start is None else frame.index.searchsorted(pd.Timestamp(start))
    return frame.iloc[first : frame.index.searchsorted(pd.Timestamp(stop))]


def _last(frame: pd.DataFrame, limit: int | None) -> pd.DataFrame:
    return frame if limit is None else frame.iloc[max(len(frame) - limit, 0) :]


def _index(times: pd.DatetimeIndex) -> pd.DatetimeIndex:
    micros = micros_of(times).view("datetime64[us]")
    return pd.DatetimeIndex(micros, name="timestamp").tz_localize("UTC")


def _shaped(frame: pd.DataFrame) -> pd.DataFrame:
    columns: dict[str, Any] = {name: frame[name].to_numpy(np.float64) for name in VALUES}
    counts = frame["trade_count"] if "trade_count" in frame else pd.Series(pd.NA, index=frame.index)
    columns["trade_count"] = counts.astype("Int64").array
    return pd.DataFrame(columns, index=_index(pd.DatetimeIndex(frame.index)))


def _frame(table: pa.Table) -> pd.DataFrame:
    return _shaped(table.to_pandas().set_index("timestamp"))


def _merged(frames: list[pd.DataFrame]) -> pd.DataFrame:
    if not frames:
        empty = {name: np.zeros(0) for name in VALUES} | {"trade_count": pd.array([], dtype="Int64")}
        return _shaped(pd.DataFrame(empty, index=pd.DatetimeIndex([], tz="UTC")))
    together = pd.concat(frames)
    return together[~together.index.duplicated(keep="last")].sort_index()


def _replace(path: Path, frame: pd.DataFrame) -> None:
    if frame.empty:
        raise InvalidInputError("frame", 0, "has no candles")
    with whole_file(path) as file:
        pq.write_table(pa.Table.from_pandas(frame.reset_index(), preserve_index=False), file)
