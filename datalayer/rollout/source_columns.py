"""Which column of a file is what: caches name them in many ways."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from datalayer.errors import InvalidInputError
from datalayer.rollout.source_times import utc_times

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import tzinfo

    from numpy.typing import NDArray

    from datalayer.domain.validation.rules import Kind

_TIMES: Final = ("timestamp", "ts", "open_time", "opentime", "time", "datetime", "date")
_NAMES: Final[Mapping[Kind, Mapping[str, tuple[str, ...]]]] = {
    "candle": {
        **{name: (name, name[0]) for name in ("open", "high", "low", "close")},
        "volume": ("volume", "vol", "v", "base_volume"),
        "trade_count": ("trade_count", "trades", "number_of_trades", "num_trades", "n"),
    },
    "trade": {
        "trade_id": ("trade_id", "id", "tradeid", "agg_trade_id"),
        "price": ("price", "p"),
        "size": ("size", "qty", "quantity", "amount", "q"),
        "side": ("side", "is_buyer_maker"),
    },
    "order_book": {
        **{name: (name,) for name in ("bid_prices", "bid_sizes", "ask_prices", "ask_sizes")},
        "last_update_id": ("last_update_id", "update_id"),
    },
}
_OPTIONAL: Final = ("trade_count", "last_update_id")
_SIDES: Final = {"buy": 1, "b": 1, "sell": -1, "s": -1, "unknown": 0, "": 0}


@dataclass(frozen=True, slots=True)
class SourceLayout:
    """Where a file has what is migrated.

    Attributes:
        time: name of the column of times.
        columns: names in the file, by ours.
        narrow: those of them that are 32-bit floats, which hold seven digits and no more.
    """

    time: str
    columns: Mapping[str, str]
    narrow: tuple[str, ...] = ()

    @classmethod
    def of(cls, schema: pa.Schema, kind: Kind) -> SourceLayout:
        """Return the layout of a file; an index that pandas kept counts as a column.

        Raises:
            InvalidInputError: a column is missing; names those that are there.
        """
        there: dict[str, str] = {}
        for name in schema.names:
            there.setdefault(name.lower(), name)
        columns = {
            ours: there[found]
            for ours, names in _NAMES[kind].items()
            if (found := next((name for name in names if name in there), None)) is not None
        }
        missing = [name for name in _NAMES[kind] if name not in columns and name not in _OPTIONAL]
        time = _time_column(schema, there)
        _refuse_twins(schema, [*columns.values(), *([] if time is None else [time])])
        if time is None:
            missing.insert(0, "timestamp")
        if time is None or missing:
            hint = f"has no column {', '.join(missing)}; it has {', '.join(schema.names)}"
            raise InvalidInputError("columns", schema.names, hint)
        if kind == "trade" and pa.types.is_null(schema.field(columns["trade_id"]).type):
            hint = "has no trade ids, without which equal trades cannot be told apart; they are not guessed"
            raise InvalidInputError("trade_id", None, hint)
        narrow = [name for name in columns.values() if pa.types.is_float32(schema.field(name).type)]
        return cls(time, columns, tuple(narrow))

    @property
    def needed(self) -> list[str]:
        """Names of the columns to read."""
        return [self.time, *self.columns.values()]

    def raw(self, table: pa.Table, naive_zone: tzinfo) -> dict[str, Any]:
        """Return a table as validation takes it: `ts` as an aware index, numbers as arrays."""
        columns: dict[str, Any] = {"ts": utc_times(table[self.time], naive_zone)}
        for ours, theirs in self.columns.items():
            columns[ours] = _side(table[theirs], theirs) if ours == "side" else _values(table[theirs])
        return columns


def _refuse_twins(schema: pa.Schema, used: list[str]) -> None:
    """Refuse columns that differ in case only, one of which is needed: which one is meant is not guessed."""
    for name in used:
        twins = [other for other in schema.names if other.lower() == name.lower()]
        if len(twins) > 1:
            hint = f"has columns {' and '.join(twins)}; leave the one that is meant"
            raise InvalidInputError("columns", twins, hint)


def _time_column(schema: pa.Schema, there: Mapping[str, str]) -> str | None:
    index = (schema.pandas_metadata or {}).get("index_columns", [])
    kept = [name for name in index if isinstance(name, str) and name in schema.names]
    found = [there[name] for name in _TIMES if name in there]
    # An index without a name, or with another one, is a time only if nothing else is.
    return next(iter([*found, *kept]), None)


def _values(column: Any) -> Any:
    if pa.types.is_nested(column.type):
        return column.combine_chunks().to_numpy(zero_copy_only=False)
    if pa.types.is_float32(column.type):
        # The shortest decimal that is this float: 0.1 as it was written, and not 0.10000000149 as a double has it.
        return column.cast(pa.string()).cast(pa.float64()).to_numpy()
    if pa.types.is_integer(column.type) and column.null_count:
        return column.to_pandas(types_mapper=lambda _: pd.Int64Dtype()).array
    return column.to_numpy()


def _side(column: Any, name: str) -> NDArray[Any]:
    if pa.types.is_boolean(column.type):
        # Where the maker bought, the aggressor, whose side it is, sold.
        return np.where(column.to_numpy(), -1, 1) if name.lower() == "is_buyer_maker" else column.to_numpy()
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        return np.asarray(column.to_numpy())
    texts = pc.utf8_lower(column.cast(pa.string())).fill_null("").to_numpy()
    unique, places = np.unique(texts.astype(str), return_inverse=True)
    # What is no side is left as it is: validation refuses it with its value.
    sides = [_SIDES.get(text, text) for text in unique.tolist()]
    same = all(isinstance(side, int) for side in sides)
    return np.array(sides, dtype=np.int64 if same else object)[places]
