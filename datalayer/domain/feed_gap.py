"""Holes that a live feed knows of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from datetime import datetime

    from datalayer.domain.coverage import SeriesKind
    from datalayer.domain.timeframe import Timeframe

GapState: TypeAlias = Literal["open", "filled", "lost"]
"""Nobody has filled it yet; all of it was filled; the exchange does not have what is missing."""

GapCause: TypeAlias = Literal["restart", "reconnect", "sequence"]
"""The feed was not running; its connection was down; a message was missing on a connection that was up."""


@dataclass(frozen=True, slots=True)
class FeedGap:
    """A hole in what a feed has brought of one series.

    Attributes:
        symbol: canonical, as in `BTC/USDT`.
        kind: what is missing; the name of its table.
        timeframe: of candles; None for the other kinds.
        start: of candles the first open time that is missing, of others the time of the last event before; UTC.
        end: of candles the open time after the last one missing, of others the time of the first event after; UTC.
        source: name of the exchange.
        cause: see `GapCause`.
        missing: how many candles or trades are or were missing; None: that cannot be told.
        first_id: of trades the first id that is missing, None for others.
        last_id: likewise the last one, included.
        state: see `GapState`.
        filled: how many of the missing have been filled.
        id: its number in the database; None: it is not there yet.
    """

    symbol: str
    kind: SeriesKind
    timeframe: Timeframe | None
    start: datetime
    end: datetime
    source: str
    cause: GapCause
    missing: int | None = None
    first_id: int | None = None
    last_id: int | None = None
    state: GapState = "open"
    filled: int = 0
    id: int | None = None
