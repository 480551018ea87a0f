"""The three kinds of records that are migrated: how they are checked, written and compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from datalayer.errors import InvalidInputError
from datalayer.repositories import candles, order_books, trades

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from datalayer.db.aggregates import Family
    from datalayer.db.copy_columns import Column, PgType
    from datalayer.db.staged_write import WriteTarget
    from datalayer.domain.instrument import Instrument
    from datalayer.domain.timeframe import Timeframe
    from datalayer.domain.validation import DataValidator
    from datalayer.domain.validation.result import ValidationResult
    from datalayer.domain.validation.rules import Kind

_NONE: Final = -1  # no count, update id or price that is stored is negative


@dataclass(frozen=True, slots=True)
class RecordKind:
    """One kind of records.

    Attributes:
        name: as in `rejected_records.kind`.
        target: its hypertable and key.
        types: the columns that differ from row to row, the key first.
        nullable: those that may be NULL, and are then read as -1.
        prices: columns in price steps.
        sizes: columns in size steps.
        validate: checks what a file holds.
        columns: what is written of that.
        family: the aggregates over its hypertable; None: there are none.
    """

    name: Kind
    target: WriteTarget
    types: Mapping[str, PgType]
    nullable: frozenset[str]
    prices: frozenset[str]
    sizes: frozenset[str]
    validate: Callable[[DataValidator, Any, Timeframe | None, datetime], ValidationResult[Any]]
    columns: Callable[[Any, Instrument, Timeframe | None], list[Column]]
    family: Family | None

    @property
    def key(self) -> tuple[str, ...]:
        """Columns of the key that differ from row to row."""
        return tuple(name for name in self.target.key if name in self.types)

    @property
    def values(self) -> tuple[str, ...]:
        """Columns that are compared."""
        return tuple(name for name in self.types if name not in self.target.key)

    @property
    def select(self) -> str:
        """The columns of `types` as SQL."""
        return ", ".join(
            f"coalesce({name}, {_NONE})" if name in self.nullable else name for name in self.types
        )

    def constants(self, instrument: Instrument, timeframe: Timeframe | None) -> dict[str, tuple[PgType, int]]:
        """Return the columns that are the same in every row of a file."""
        same: dict[str, tuple[PgType, int]] = {"instrument_id": ("int2", instrument.id)}
        return same if timeframe is None else same | {"timeframe": ("int4", timeframe.value)}

    def comparable(self, columns: list[Column]) -> dict[str, Column]:
        """Return what is to be written as it will be read back: by name, and what is NULL as -1."""
        found = {column.name: column for column in columns}
        return {name: _without_null(found[name]) for name in self.types}

    def writable(self, rows: Mapping[str, Column]) -> list[Column]:
        """Return what was read back, or is like it, as it is written."""
        return [_with_null(column) if name in self.nullable else column for name, column in rows.items()]


def _with_null(column: Column) -> Column:
    valid = column.data != _NONE
    return type(column)(column.name, column.pg_type, column.data, None if valid.all() else valid)


def _without_null(column: Column) -> Column:
    if column.valid is None:
        return column
    return type(column)(column.name, column.pg_type, np.where(column.valid, column.data, _NONE))


def _known(timeframe: Timeframe | None) -> Timeframe:
    if timeframe is None:
        raise InvalidInputError("timeframe", None, "candles have one")
    return timeframe


CANDLES: Final = RecordKind(
    name="candle",
    target=candles.TARGET,
    types={
        "ts": "timestamptz",
        **dict.fromkeys(("open", "high", "low", "close", "volume"), "int8"),
        "trade_count": "int4",
    },
    nullable=frozenset({"trade_count"}),
    prices=frozenset({"open", "high", "low", "close"}),
    sizes=frozenset({"volume"}),
    validate=lambda validator, data, timeframe, now: validator.validate_candles(
        data, _known(timeframe), now=now
    ),
    columns=lambda accepted, instrument, timeframe: candles.candle_columns(
        accepted, instrument, _known(timeframe)
    ),
    family="candles",
)
TRADES: Final = RecordKind(
    name="trade",
    target=trades.TARGET,
    types=trades.TRADE_COLUMNS,
    nullable=frozenset(),
    prices=frozenset({"price"}),
    sizes=frozenset({"size"}),
    validate=lambda validator, data, _, now: validator.validate_trades(data, now=now),
    columns=lambda accepted, instrument, _: trades.trade_columns(accepted, instrument),
    family=None,
)
ORDER_BOOKS: Final = RecordKind(
    name="order_book",
    target=order_books.TARGET,
    types={
        "ts": "timestamptz",
        **dict.fromkeys(("last_update_id", "best_bid", "best_ask", "bid_volume", "ask_volume"), "int8"),
        **dict.fromkeys(("bid_prices", "bid_sizes", "ask_prices", "ask_sizes"), "int8[]"),
    },
    nullable=frozenset({"last_update_id", "best_bid", "best_ask"}),
    prices=frozenset({"bid_prices", "ask_prices", "best_bid", "best_ask"}),
    sizes=frozenset({"bid_sizes", "ask_sizes", "bid_volume", "ask_volume"}),
    validate=lambda validator, data, _, now: validator.validate_order_books(data, now=now),
    columns=lambda accepted, instrument, _: order_books.book_columns(accepted, instrument),
    family="order_books",
)
KINDS: Final[Mapping[str, RecordKind]] = {kind.name: kind for kind in (CANDLES, TRADES, ORDER_BOOKS)}
"""By name."""


def feeds_aggregates(kind: RecordKind, timeframe: Timeframe | None) -> bool:
    """Tell whether aggregates read these records: of candles only those of one second."""
    return kind.family is not None and (timeframe is None or timeframe.value == 1)
