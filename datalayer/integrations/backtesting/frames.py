"""Frames of candles in the shapes that engines for backtests take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pandas as pd

from datalayer.domain.moments import utc_moment
from datalayer.domain.sliding_windows import OHLCV
from datalayer.domain.symbols import canonical_symbol
from datalayer.domain.timeframe import Timeframe
from datalayer.errors import InvalidInputError
from datalayer.integrations.backtesting.complete_candles import CompleteCandles
from datalayer.provider.reads import Reads

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from datalayer.integrations.backtesting.complete_candles import MissingPolicy
    from datalayer.provider import UnifiedDataProvider

_CAPITALS: Final = {name: name.capitalize() for name in OHLCV}


async def read_backtesting_frame(
    market: UnifiedDataProvider,
    symbol: str,
    timeframe: Timeframe | str,
    *,
    start: datetime,
    end: datetime,
    as_of: datetime | None = None,
    missing: MissingPolicy = "refuse",
    joined: Iterable[Timeframe | str] = (),
    is_naive: bool = False,
) -> pd.DataFrame:
    """Return a frame for `backtesting.py`: `Backtest(frame, Strategy)`.

        frame = await read_backtesting_frame(market, "BTC/USDT", "1m", start=start, end=end, joined=["1h"])

    A blocking provider runs it: `market.run(read_backtesting_frame(market.asynchronous, …))`.

    Args:
        market: an open provider.
        symbol: a registered instrument, in any known spelling.
        timeframe: of the rows.
        start: first open time, aware, included.
        end: aware, excluded.
        as_of: what was closed at this time, aware. None: now.
        missing: see `MissingPolicy`.
        joined: longer timeframes, whose candles stand beside the rows: in each row the one that was the last to close
            when the row closed. The hour from 09:00 on stands in the rows that close from 10:00 to 10:59.
        is_naive: make the index naive, in UTC, for tools that take no other.

    Returns:
        Indexed by open time `timestamp` (datetime64[us, UTC]), ascending, unique. Columns Open, High, Low, Close, Volume, and for
        each joined timeframe the same with its label, as in `Close_1h`; float64, NaN only in joined ones, where no such
        candle was closed. `attrs` has symbol and timeframe.

    Raises:
        MissingDataError: candles are missing, and the policy is "refuse"; of joined ones, behind the first there is.
        InvalidInputError: symbol unknown, a time naive, `end` before `start`, no such policy, or a joined timeframe is not
            longer than the rows.
        DatabaseError: the server refuses.
    """
    reader = _Reader(market, Timeframe.parse(timeframe), joined, (start, end))
    (frame,) = await reader.read([canonical_symbol(symbol)], missing, as_of)
    frame = frame.rename(columns=lambda name: _capital(str(name)))
    frame.attrs = {"symbol": canonical_symbol(symbol), "timeframe": reader.timeframe.label}
    return frame.tz_localize(None) if is_naive else frame


async def read_wide_frames(
    market: UnifiedDataProvider,
    symbols: Iterable[str],
    timeframe: Timeframe | str,
    *,
    start: datetime,
    end: datetime,
    as_of: datetime | None = None,
    missing: MissingPolicy = "refuse",
    joined: Iterable[Timeframe | str] = (),
    is_naive: bool = False,
) -> dict[str, pd.DataFrame]:
    """Return a frame for each field with a column for each symbol, as `vectorbt` and others that work by columns take them.

        frames = await read_wide_frames(market, ["BTC/USDT"], "1m", start=start, end=end)
        held = frames["close"] > frames["close"].rolling(60).mean()

    Args:
        market: an open provider.
        symbols: registered instruments, in any known spelling.
        timeframe: see `read_backtesting_frame`, as for those that follow.
        start: likewise.
        end: likewise.
        as_of: likewise.
        missing: likewise; a candle that is left out is NaN where another symbol has one.
        joined: likewise.
        is_naive: likewise.

    Returns:
        By field (open, high, low, close, volume, and as in `close_1h`), frames with one index of open times `timestamp`
        (datetime64[us, UTC]), ascending, unique, and the canonical symbols as columns, in the order given; float64.

    Raises:
        MissingDataError: as from `read_backtesting_frame`, as are the others.
        InvalidInputError: also if there is no symbol, or one twice.
        DatabaseError: the server refuses.
    """
    names = [canonical_symbol(symbol) for symbol in symbols]
    if not names or len(set(names)) < len(names):
        raise InvalidInputError("symbols", names, "give at least one symbol, each once")
    reader = _Reader(market, Timeframe.parse(timeframe), joined, (start, end))
    frames = await reader.read(names, missing, as_of)
    wide = pd.concat(dict(zip(names, frames, strict=True)), axis=1, sort=True)
    if is_naive:
        wide = wide.tz_localize(None)
    by_field = wide.swaplevel(axis=1)
    return {field: pd.DataFrame(by_field[field][names]) for field in frames[0].columns}


class _Reader:
    """Rows of one timeframe with longer ones beside them."""

    def __init__(
        self,
        market: UnifiedDataProvider,
        timeframe: Timeframe,
        joined: Iterable[Timeframe | str],
        between: tuple[datetime, datetime],
    ) -> None:
        self._reads, self.timeframe = Reads(market.database), timeframe
        self._joined = [Timeframe.parse(longer) for longer in joined]
        for longer in self._joined:
            if longer <= timeframe:
                raise InvalidInputError(
                    "joined", longer.label, f"give timeframes longer than {timeframe.label}"
                )
        self._start, self._end = utc_moment(between[0], "start"), utc_moment(between[1], "end")

    async def read(
        self, symbols: list[str], missing: MissingPolicy, as_of: datetime | None
    ) -> list[pd.DataFrame]:
        """Return a frame for each symbol, all of one state of the database."""
        async with self._reads.begin() as conn:
            candles = CompleteCandles(conn, missing, as_of)
            return [await self._frame(candles, symbol) for symbol in symbols]

    async def _frame(self, candles: CompleteCandles, symbol: str) -> pd.DataFrame:
        rows = await candles.read(symbol, self.timeframe, self._start, self._end)
        parts = [rows]
        for longer in self._joined if len(rows) else ():
            closes = pd.DatetimeIndex(rows.index) + self.timeframe.length
            beside = await candles.read_joined(symbol, longer, closes)
            parts.append(beside.set_axis(rows.index).add_suffix(f"_{longer.label}"))
        return pd.concat(parts, axis=1)


def _capital(name: str) -> str:
    field, _, label = name.partition("_")
    return "_".join([_CAPITALS[field], *filter(None, [label])])
