"""Order books of 1s and 1m as continuous aggregates.

Everything is kept as sums and counts of integers, so that a minute rolls up exactly from its seconds, and again to the same
in any order. A book with an empty side has no mid and no spread and is left out of them; it does count in volumes and
imbalance (-1 or 1), and a book with both sides empty counts there as 0.
"""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 (SQLAlchemy reads it at run time)
from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, Double, Table, and_, cast, func, select
from sqlalchemy.orm import Mapped  # noqa: TC002 (so does SQLAlchemy)

from datalayer.domain.imbalances import IMBALANCE_PARTS
from datalayer.models import windows
from datalayer.models.base import Base
from datalayer.models.order_books import OrderBook
from datalayer.timescale import Compression, continuous_aggregate, first, last, time_bucket

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement

    from datalayer.models.windows import Windows


def _total(column: Any) -> ColumnElement[int]:
    return cast(func.sum(column), BigInteger)


def _of_books(bucket: str) -> Any:
    book = OrderBook
    start = time_bucket(bucket, book.ts)
    quoted = and_(book.best_bid.is_not(None), book.best_ask.is_not(None))
    mid2, spread = book.best_bid + book.best_ask, book.best_ask - book.best_bid
    volume = cast(book.bid_volume, Double) + book.ask_volume
    imbalance = cast(book.bid_volume - book.ask_volume, Double) / func.nullif(volume, 0, type_=Double)
    return select(
        book.instrument_id,
        start.label("ts"),
        func.count().label("book_count"),
        func.count().filter(quoted).label("quoted_count"),
        first(mid2, book.ts).filter(quoted).label("mid2_open"),
        func.max(mid2).label("mid2_high"),
        func.min(mid2).label("mid2_low"),
        last(mid2, book.ts).filter(quoted).label("mid2_close"),
        func.min(spread).label("spread_min"),
        func.max(spread).label("spread_max"),
        _total(spread).label("spread_sum"),
        _total(book.bid_volume).label("bid_volume_sum"),
        _total(book.ask_volume).label("ask_volume_sum"),
        _total(cast(func.round(func.coalesce(imbalance, 0) * IMBALANCE_PARTS), BigInteger)).label(
            "imbalance_sum"
        ),
    ).group_by(book.instrument_id, start)


def _of_seconds(bucket: str) -> Any:
    columns = OrderBook1s.__table__.c
    start = time_bucket(bucket, columns.ts)
    quoted = columns.quoted_count > 0
    return select(
        columns.instrument_id,
        start.label("ts"),
        _total(columns.book_count).label("book_count"),
        _total(columns.quoted_count).label("quoted_count"),
        first(columns.mid2_open, columns.ts).filter(quoted).label("mid2_open"),
        func.max(columns.mid2_high).label("mid2_high"),
        func.min(columns.mid2_low).label("mid2_low"),
        last(columns.mid2_close, columns.ts).filter(quoted).label("mid2_close"),
        func.min(columns.spread_min).label("spread_min"),
        func.max(columns.spread_max).label("spread_max"),
        _total(columns.spread_sum).label("spread_sum"),
        _total(columns.bid_volume_sum).label("bid_volume_sum"),
        _total(columns.ask_volume_sum).label("ask_volume_sum"),
        _total(columns.imbalance_sum).label("imbalance_sum"),
    ).group_by(columns.instrument_id, start)


def _aggregated(label: str, bucket: str, definition: Any, own: Windows) -> Table:
    return continuous_aggregate(
        f"order_book_{label}",
        Base.metadata,
        definition,
        materialized_only=False,
        chunk_interval=own.chunk_interval,
        compression=Compression(segment_by=("instrument_id",), order_by=("ts",)),
        policies=own.policies,
        comment=f"order books of {bucket} by open time. mid2 is best_bid + best_ask, twice the mid, in price steps; it and "
        "the spread come from the quoted_count books that have both sides. Averages: spread_sum / quoted_count; volume and "
        "imbalance sums / book_count; imbalances are summed in units of 2^-40",
    )


class _AggregatedOrderBook:
    """Books of a bucket: prices in price steps, volumes in size steps, `ts` the bucket's start in UTC.

    The imbalance is summed in units of `1 / IMBALANCE_PARTS`.
    """

    instrument_id: Mapped[int]
    ts: Mapped[datetime]
    book_count: Mapped[int]
    quoted_count: Mapped[int]
    mid2_open: Mapped[int | None]
    mid2_high: Mapped[int | None]
    mid2_low: Mapped[int | None]
    mid2_close: Mapped[int | None]
    spread_min: Mapped[int | None]
    spread_max: Mapped[int | None]
    spread_sum: Mapped[int | None]
    bid_volume_sum: Mapped[int]
    ask_volume_sum: Mapped[int]
    imbalance_sum: Mapped[int]


class OrderBook1s(_AggregatedOrderBook, Base):
    """The books of one second."""

    __table__ = _aggregated("1s", "1 second", _of_books("1 second"), windows.ORDER_BOOK_1S)


class OrderBook1m(_AggregatedOrderBook, Base):
    """The books of one minute."""

    __table__ = _aggregated("1m", "1 minute", _of_seconds("1 minute"), windows.ORDER_BOOK_1M)
