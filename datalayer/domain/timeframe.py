"""Candle lengths."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import IntEnum

from datalayer.domain.moments import utc_moment
from datalayer.errors import InvalidInputError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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

    @classmethod
    def parse(cls, text: str | Timeframe) -> Timeframe:
        """Return the timeframe written as `1s`, `1m`, `5m`, `15m`, `1h`, `4h` or `1d`.

        Raises:
            InvalidInputError: any other spelling; names the supported ones.
        """
        if isinstance(text, cls):
            return text
        for timeframe in cls:
            if timeframe.label == text:
                return timeframe
        raise InvalidInputError("timeframe", text, "use one of " + ", ".join(t.label for t in cls))

    @property
    def label(self) -> str:
        """The usual spelling, such as `5m`."""
        return f"{self.name[1:]}{self.name[0].lower()}"

    @property
    def length(self) -> timedelta:
        """Time from a candle's open to its close."""
        return timedelta(seconds=self.value)

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
        return utc - (utc - _EPOCH) % self.length
