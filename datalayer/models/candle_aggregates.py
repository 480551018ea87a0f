"""Candles of 1m to 1d, rolled up from the 1s candles: each continuous aggregate reads the one below it.

They are real-time: what is not yet materialised is computed at query time. A trade count is unknown as soon as that of one
part is: a sum over the others would look like a smaller market.
"""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 (SQLAlchemy reads it at run time)
from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, Table, case, cast, func, select
from sqlalchemy.orm import Mapped  # noqa: TC002 (so does SQLAlchemy)

from datalayer.models import windows
from datalayer.models.base import Base
from datalayer.models.candles import Candle
from datalayer.timescale import Compression, continuous_aggregate, first, last, time_bucket

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement

    from datalayer.models.windows import Windows


def _total(column: Any) -> ColumnElement[int]:
    return cast(func.sum(column), BigInteger)


def _rolled_up(label: str, bucket: str, source: Any, own: Windows) -> Table:
    columns = source.c
    of_stored_candles = source is Candle.__table__
    start = time_bucket(bucket, columns.ts)
    trade_count = case((func.count(columns.trade_count) == func.count(), _total(columns.trade_count)))
    definition = select(
        columns.instrument_id,
        start.label("ts"),
        first(columns.open, columns.ts).label("open"),
        func.max(columns.high).label("high"),
        func.min(columns.low).label("low"),
        last(columns.close, columns.ts).label("close"),
        _total(columns.volume).label("volume"),
        trade_count.label("trade_count"),
        (func.count() if of_stored_candles else _total(columns.candle_count)).label("candle_count"),
    ).group_by(columns.instrument_id, start)
    return continuous_aggregate(
        f"candles_{label}",
        Base.metadata,
        definition.where(columns.timeframe == 1) if of_stored_candles else definition,
        materialized_only=False,
        chunk_interval=own.chunk_interval,
        compression=Compression(segment_by=("instrument_id",), order_by=("ts",)),
        policies=own.policies,
        comment=f"candles of {bucket} by open time, rolled up from 1s candles; candle_count says from how many",
    )


class _RolledUpCandle:
    """A candle of an aggregate: prices in price steps, volume in size steps, `ts` its open time in UTC."""

    instrument_id: Mapped[int]
    ts: Mapped[datetime]
    open: Mapped[int]
    high: Mapped[int]
    low: Mapped[int]
    close: Mapped[int]
    volume: Mapped[int]
    trade_count: Mapped[int | None]
    candle_count: Mapped[int]


class Candle1m(_RolledUpCandle, Base):
    """A candle of one minute."""

    __table__ = _rolled_up("1m", "1 minute", Candle.__table__, windows.CANDLES_1M)


class Candle5m(_RolledUpCandle, Base):
    """A candle of five minutes."""

    __table__ = _rolled_up("5m", "5 minutes", Candle1m.__table__, windows.CANDLES_5M)


class Candle15m(_RolledUpCandle, Base):
    """A candle of fifteen minutes."""

    __table__ = _rolled_up("15m", "15 minutes", Candle5m.__table__, windows.CANDLES_15M)


class Candle1h(_RolledUpCandle, Base):
    """A candle of one hour."""

    __table__ = _rolled_up("1h", "1 hour", Candle15m.__table__, windows.CANDLES_1H)


class Candle4h(_RolledUpCandle, Base):
    """A candle of four hours."""

    __table__ = _rolled_up("4h", "4 hours", Candle1h.__table__, windows.CANDLES_4H)


class Candle1d(_RolledUpCandle, Base):
    """A candle of one day, from midnight UTC."""

    __table__ = _rolled_up("1d", "1 day", Candle4h.__table__, windows.CANDLES_1D)
