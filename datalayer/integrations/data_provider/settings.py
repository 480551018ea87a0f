"""How the drop-in shapes its answers, so that code written for another `DataProvider` finds what it looks for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import pandas as pd

from datalayer.domain.moments import EPOCH, utc_moment
from datalayer.domain.symbols import SymbolSpelling, spell_symbol
from datalayer.errors import InvalidInputError

if TYPE_CHECKING:
    from datetime import tzinfo

Times: TypeAlias = Literal["aware", "naive", "milliseconds"]
"""Times as aware UTC, as naive times of `zone`, or as whole milliseconds since 1970 UTC."""

Index: TypeAlias = Literal["timestamp", "integer"]
"""Frames are indexed by open time, or by 0, 1, 2 … with the open times in the first column."""

VALUES: Final = ("open", "high", "low", "close", "volume")
_COLUMNS: Final = ("timestamp", *VALUES)
_MILLISECOND: Final = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class LegacySettings:
    """How the drop-in shapes its answers.

    Attributes:
        columns: names of open time, open, high, low, close and volume, in this order.
        index: see `Index`.
        times: see `Times`.
        zone: of naive times, as in `Europe/Sofia`.
        symbols: how symbols are spelled in answers, as in `BTCUSDT` (see `SymbolSpelling`); any known spelling is understood in questions.
        forming_is_latest: whether the candle that forms is the last row of `get_latest_candles`, as exchanges' REST
            answers have it. It is not marked there.
        warn: whether each old method raises a `DeprecationWarning` at the line that calls it, naming the new call.

    Raises:
        InvalidInputError: names the field that cannot be used.
    """

    columns: tuple[str, str, str, str, str, str] = _COLUMNS
    index: Index = "timestamp"
    times: Times = "naive"
    zone: str = "UTC"
    symbols: SymbolSpelling | str = SymbolSpelling.CANONICAL
    forming_is_latest: bool = False
    warn: bool = False

    def __post_init__(self) -> None:
        if len(set(self.columns)) != len(_COLUMNS):
            raise InvalidInputError("columns", self.columns, f"name each of {', '.join(_COLUMNS)} once")
        for field, words in (("index", get_args(Index)), ("times", get_args(Times))):
            if getattr(self, field) not in words:
                raise InvalidInputError(field, getattr(self, field), f"use {' or '.join(words)}")
        spell_symbol("BTC/USDT", self.symbols)  # refuses another spelling
        _zone(self.zone)

    def spelled(self, symbol: str) -> str:
        """Return a symbol as answers spell it."""
        return spell_symbol(symbol, self.symbols)

    def frame(self, candles: pd.DataFrame | None, **attrs: Any) -> pd.DataFrame:
        """Return candles in this shape.

        Args:
            candles: indexed by open time (aware), with columns open, high, low, close and volume; others are left out. None:
                there are none.
            attrs: attributes of the frame.

        Returns:
            A new frame, ascending; values float64. Times are int64 milliseconds or datetime64[ns], as pandas made them before
            its third release: code that divides them by 10**9 relies on it.
        """
        if candles is None:
            candles = pd.DataFrame(
                dict.fromkeys(VALUES, ()), index=pd.DatetimeIndex([], tz=UTC), dtype=np.float64
            )
        shaped = pd.DataFrame(
            {name: candles[column].to_numpy(copy=True) for name, column in self._renamed()},
            index=self._index(pd.DatetimeIndex(candles.index)),
        )
        if self.index == "integer":
            shaped = shaped.reset_index()
        for name, value in attrs.items():
            shaped.attrs[name] = value
        return shaped

    def time(self, moment: datetime) -> datetime | int:
        """Return an aware moment in this shape."""
        if self.times == "milliseconds":
            return (moment - EPOCH) // _MILLISECOND
        if self.times == "aware":
            return moment.astimezone(UTC)
        return moment.astimezone(_zone(self.zone)).replace(tzinfo=None)

    def moment(self, time: datetime | float, field: str) -> datetime:
        """Return the aware moment that a caller means.

        Args:
            time: aware; or, as `times` says, naive or in milliseconds.
            field: name for the error.

        Raises:
            InvalidInputError: it is none of these, or a naive time that `zone` has twice or not at all.
        """
        if self.times == "milliseconds" and isinstance(time, int | float):
            try:
                return EPOCH + time * _MILLISECOND
            except (OverflowError, ValueError) as exc:
                raise InvalidInputError(field, time, "are no milliseconds since 1970 UTC") from exc
        if self.times == "naive" and isinstance(time, datetime) and time.tzinfo is None:
            local = pd.Timestamp(time).tz_localize(_zone(self.zone), ambiguous="NaT", nonexistent="NaT")
            if pd.isna(local):
                hint = f"{self.zone} has this time twice or not at all; give an aware one"
                raise InvalidInputError(field, time, hint)
            return local.tz_convert(UTC).to_pydatetime()
        return utc_moment(time, field)  # type: ignore[arg-type]  # which refuses what is no datetime

    def _renamed(self) -> zip[tuple[str, str]]:
        return zip(self.columns[1:], VALUES, strict=True)

    def _index(self, opened: pd.DatetimeIndex) -> pd.Index[Any]:
        utc = opened.tz_convert(UTC)
        if self.times == "milliseconds":
            return pd.Index(utc.as_unit("ms").asi8, name=self.columns[0])
        if self.times == "naive":
            utc = utc.tz_convert(_zone(self.zone)).tz_localize(None)
        return utc.as_unit("ns").rename(self.columns[0])


def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as exc:
        raise InvalidInputError("zone", name, "is no time zone, as in Europe/Sofia") from exc
