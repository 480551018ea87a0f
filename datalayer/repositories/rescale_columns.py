"""Which columns count steps: all that a change of scale has to rewrite."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from datalayer.db.aggregates import AGGREGATES
from datalayer.domain.steps import MAX_STEPS

if TYPE_CHECKING:
    from collections.abc import Mapping

Unit: TypeAlias = Literal["price", "size"]

_SUM_LIMIT: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class StepColumn:
    """A column of counts, or of lists of counts.

    Attributes:
        name: of the column.
        unit: whose scale gives the counts their meaning.
        limit: largest magnitude: 2**53 of a single value, 2**63-1 of what is computed from several.
        is_list: it holds an array of counts.
    """

    name: str
    unit: Unit
    limit: int = MAX_STEPS
    is_list: bool = False

    def scaled(self, factor: int) -> str:
        """Return the SQL of the new value."""
        if not self.is_list:
            return f"{self.name} * {factor}"
        return (
            f"ARRAY(SELECT level * {factor} FROM unnest({self.name}) WITH ORDINALITY AS levels (level, place)"
            " ORDER BY place)"
        )

    def exceeds(self, factor: int) -> str:
        """Return the SQL that tells whether the new value would be beyond the limit."""
        most = self.limit // factor
        if self.is_list:
            return f"({most} < ANY ({self.name}) OR {-most} > ANY ({self.name}))"
        return f"({self.name} > {most} OR {self.name} < {-most})"


@dataclass(frozen=True, slots=True)
class StepRelation:
    """A hypertable or continuous aggregate with counts.

    Attributes:
        name: of the hypertable or aggregate.
        columns: those that count steps.
        is_aggregate: its rows are in a hypertable of TimescaleDB's own.
    """

    name: str
    columns: tuple[StepColumn, ...]
    is_aggregate: bool = False

    def changed(self, factors: Mapping[Unit, int]) -> StepRelation:
        """Return the relation with only those columns that these factors change."""
        columns = tuple(column for column in self.columns if factors[column.unit] != 1)
        return StepRelation(self.name, columns, self.is_aggregate)


def _columns(
    unit: Unit, *names: str, limit: int = MAX_STEPS, is_list: bool = False
) -> tuple[StepColumn, ...]:
    return tuple(StepColumn(name, unit, limit, is_list) for name in names)


_OHLC: Final = _columns("price", "open", "high", "low", "close")
_BOOK: Final = (
    *_columns("price", "best_bid", "best_ask"),
    *_columns("size", "bid_volume", "ask_volume", limit=_SUM_LIMIT),
    *_columns("price", "bid_prices", "ask_prices", is_list=True),
    *_columns("size", "bid_sizes", "ask_sizes", is_list=True),
)
_BOOK_BUCKET: Final = (
    *_columns("price", "mid2_open", "mid2_high", "mid2_low", "mid2_close", limit=_SUM_LIMIT),
    *_columns("price", "spread_min", "spread_max", "spread_sum", limit=_SUM_LIMIT),
    *_columns("size", "bid_volume_sum", "ask_volume_sum", limit=_SUM_LIMIT),
)
_CANDLE_BUCKET: Final = (*_OHLC, *_columns("size", "volume", limit=_SUM_LIMIT))

RELATIONS: Final = (
    StepRelation("candles", (*_OHLC, *_columns("size", "volume"))),
    *(StepRelation(aggregate.name, _CANDLE_BUCKET, is_aggregate=True) for aggregate in AGGREGATES["candles"]),
    StepRelation("trades", (*_columns("price", "price"), *_columns("size", "size"))),
    StepRelation("order_books", _BOOK),
    *(
        StepRelation(aggregate.name, _BOOK_BUCKET, is_aggregate=True)
        for aggregate in AGGREGATES["order_books"]
    ),
)
"""All relations with counts, each aggregate after the one it reads."""
