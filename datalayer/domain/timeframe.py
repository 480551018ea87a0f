"""Candle lengths."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Final

import pandas as pd

from datalayer.domain.moments import EPOCH, utc_moment
from datalayer.errors import InvalidInputError

_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_WORDS: Final = (
    "s|sec|secs|second|seconds",
    "m|min|mins|minute|minutes",
    "h|hr|hrs|hour|hours",
    "d|day|days",
)
_UNITS: Final = {word: words[0] for words in _WORDS for word in words.split("|")}
# `5m`, `5min`, `5 minutes`; MetaTrader's `M5`; ISO 8601's `PT5M`. A capital M behind a number is a month to exchanges and
# to pandas; a T is a minute to old pandas and a trade to charting software, so it is none of the units.
_COUNTED: Final = re.compile(r"(\d{1,5}) ?([A-Za-z]+)", re.ASCII)
_LETTER_FIRST: Final = re.compile(r"([SMHD])(\d{1,5})", re.ASCII)
_ISO: Final = re.compile(r"P(?:T(\d{1,5})([SMH])|(\d{1,5})(D))", re.ASCII)


class Timeframe(IntEnum):
    """Length of a candle; the integer value is its number of seconds, which is also what the database stores.

    A candle is named by its open time `ts`, covers `[ts, ts + length)` and is closed from `ts + length` on.
    """

    S1 = 1
    M1 = 60
    M5 = 300
    M15 = 900
    H1 = 3_600
    H4 = 14_400
    D1 = 86_400

    # An enumeration hashes its name, in Python; timeframes are keys wherever single candles go by.
    __hash__ = int.__hash__

    @classmethod
    def parse(cls, text: str | timedelta | Timeframe) -> Timeframe:
        """Return the timeframe that is written as `1m`, or as exchanges, pandas, MetaTrader and ISO 8601 write it.

        `1m`, `1min`, `1 minute`, `60s`, `M1`, `PT1M` and `timedelta(minutes=1)` are one minute; `1h`, `1H`, `60m`,
        `H1` one hour; `1d`, `1D`, `24h` one day. `1M` is a month and refused; so is a bare number, which is seconds to
        some exchanges and minutes to others.

        Raises:
            InvalidInputError: another spelling or length; names the supported ones.
        """
        if isinstance(text, cls):
            return text
        seconds = text.total_seconds() if isinstance(text, timedelta) else _seconds(text)
        for timeframe in cls:
            if timeframe.value == seconds:
                return timeframe
        raise InvalidInputError("timeframe", text, "use one of " + ", ".join(t.label for t in cls))

    @property
    def label(self) -> str:
        """The usual spelling, such as `5m`."""
        return _LABELS[self]

    @property
    def length(self) -> timedelta:
        """Time from a candle's open to its close."""
        return timedelta(seconds=self.value)

    @property
    def offset(self) -> pd.offsets.BaseOffset:
        """The length for pandas, as in `frame.resample(timeframe.offset)`; days are of 24 hours, in UTC."""
        return pd.tseries.frequencies.to_offset(pd.Timedelta(seconds=self.value))

    @property
    def parent(self) -> Timeframe | None:
        """The next longer timeframe, or None for `1d`."""
        members = list(Timeframe)
        position = members.index(self) + 1
        return members[position] if position < len(members) else None

    def floor(self, moment: datetime) -> datetime:
        """Return the open time (UTC) of the candle that contains `moment`.

        Raises:
            InvalidInputError: `moment` is naive.
        """
        utc = utc_moment(moment, "moment")
        return utc - (utc - EPOCH) % self.length

    def ceil(self, moment: datetime) -> datetime:
        """Return the open time (UTC) of the first candle that opens at `moment` or later.

        Raises:
            InvalidInputError: `moment` is naive.
        """
        utc = utc_moment(moment, "moment")
        return utc + (EPOCH - utc) % self.length


_LABELS: Final = {int(one): f"{one.name[1:]}{one.name[0].lower()}" for one in Timeframe}


def _seconds(text: object) -> int | None:
    if not isinstance(text, str):
        return None
    stripped = text.strip()
    if found := _COUNTED.fullmatch(stripped):
        count, unit = found[1], _unit(found[2])
    elif found := _LETTER_FIRST.fullmatch(stripped):
        unit, count = found[1].lower(), found[2]
    elif found := _ISO.fullmatch(stripped):
        count, unit = (found[1], found[2].lower()) if found[1] else (found[3], "d")
    else:
        return None
    return None if unit is None else int(count) * _SECONDS[unit]


def _unit(word: str) -> str | None:
    return None if word == "M" else _UNITS.get(word.lower())
