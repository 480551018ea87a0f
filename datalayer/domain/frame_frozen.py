"""Mappings inside of the standard frames that nobody can change afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from datalayer.domain.timeframe import Timeframe
from datalayer.errors import InvalidInputError

if TYPE_CHECKING:
    import pandas as pd

Key = TypeVar("Key")
Value_co = TypeVar("Value_co", covariant=True)


class FrozenMapping(Mapping[Key, Value_co]):
    """A mapping with its own copy of the items. Can be pickled, which `types.MappingProxyType` cannot."""

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[Key, Value_co]) -> None:
        self._items = dict(items)

    def __getitem__(self, key: Key) -> Value_co:
        return self._items[key]

    def __iter__(self) -> Iterator[Key]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return repr(self._items)


class FrozenTables(FrozenMapping[Timeframe, "pd.DataFrame"]):
    """Tables by timeframe. They are copied on the way in, and handed out as copies: what was checked once stays so."""

    __slots__ = ()

    def __init__(self, tables: Mapping[Any, pd.DataFrame], field: str) -> None:
        kept = {Timeframe.parse(key): _copied(table) for key, table in tables.items()}
        if len(kept) < len(tables):
            raise InvalidInputError(field, list(tables), "names a timeframe twice")
        super().__init__(kept)

    def __getitem__(self, key: Timeframe) -> pd.DataFrame:
        return _copied(self._items[key])

    def kept(self) -> Mapping[Timeframe, pd.DataFrame]:
        """Return the tables themselves, for reading only."""
        return self._items


def _copied(table: pd.DataFrame) -> pd.DataFrame:
    # A deep copy of pandas shares its index, the times of which can be written to.
    return table.copy().set_axis(table.index.copy(deep=True), axis="index")
