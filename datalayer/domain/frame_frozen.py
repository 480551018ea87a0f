"""Mappings and tables inside of the standard frames that nobody can change afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import pandas as pd

from datalayer.domain.candle_table import ArrayTables
from datalayer.domain.frame_tables import check_names
from datalayer.domain.order_book import LevelArrays
from datalayer.domain.timeframe import Timeframe
from datalayer.errors import InvalidInputError

Key = TypeVar("Key")
Value_co = TypeVar("Value_co", covariant=True)


class FrozenMapping(Mapping[Key, Value_co]):
    """A mapping with its own copy of the items. Can be pickled, which `types.MappingProxyType` cannot."""

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[Key, Value_co]) -> None:
        self._items: Mapping[Key, Value_co] = dict(items)

    def __getitem__(self, key: Key) -> Value_co:
        return self._items[key]

    def __iter__(self) -> Iterator[Key]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return repr(self._items)


class FrozenTables(FrozenMapping[Timeframe, pd.DataFrame]):
    """Tables by timeframe. They are copied on the way in, and handed out as copies: what was checked once stays so."""

    __slots__ = ()

    _items: Mapping[Timeframe, pd.DataFrame]

    def __init__(self, tables: Mapping[Any, pd.DataFrame], field: str) -> None:
        if isinstance(tables, ArrayTables):
            self._items = tables  # nobody can change them
            return
        given = [(Timeframe.parse(key), table) for key, table in tables.items()]
        kept = {timeframe: _plain(table, f"{field}.{timeframe.label}") for timeframe, table in given}
        if len(kept) < len(tables):
            raise InvalidInputError(field, list(tables), "names a timeframe twice")
        super().__init__(kept)

    def __getitem__(self, key: Timeframe) -> pd.DataFrame:
        return _copied(self._items[key])

    def kept(self) -> Mapping[Timeframe, pd.DataFrame]:
        """Return the tables themselves, for reading only."""
        return self._items


class FrozenTable:
    """A field of a frozen dataclass without slots: a table that is copied on the way in, and handed out as a copy."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: object | None, owner: type | None = None) -> pd.DataFrame:
        if instance is None:
            raise AttributeError(self._name)  # by which a dataclass sees that there is no default
        return _copied(kept_table(instance, self._name))

    def __set__(self, instance: object, table: pd.DataFrame | LevelArrays) -> None:
        kept = table if isinstance(table, LevelArrays) else _plain(table, self._name)
        vars(instance)[self._name] = kept


def kept_table(instance: object, name: str) -> pd.DataFrame:
    """Return the table of a `FrozenTable` itself, for reading only."""
    table: pd.DataFrame | LevelArrays = vars(instance)[name]
    if isinstance(table, LevelArrays):
        table = vars(instance)[name] = table.frame()
    return table


def _copied(table: pd.DataFrame) -> pd.DataFrame:
    # A deep copy of pandas shares its index, the times of which can be written to.
    return table.copy().set_axis(table.index.copy(deep=True), axis="index")


def _plain(table: pd.DataFrame, field: str) -> pd.DataFrame:
    """Return a copy without what goes through neither text nor Arrow: frequency, attributes, names of the axes."""
    if not isinstance(table, pd.DataFrame):
        raise InvalidInputError(field, type(table).__name__, "give a pandas.DataFrame")
    check_names(list(table.columns), field)
    plain, index, rows = table.copy(), table.index, pd.RangeIndex(len(table))
    if isinstance(index, pd.DatetimeIndex):
        plain.index = pd.DatetimeIndex(index, freq=None, copy=True)  # type: ignore[arg-type]  # unknown to its stubs
    elif index.equals(rows):
        plain.index = rows
    plain.columns = list(table.columns)  # from which pandas makes an index
    plain.attrs = {}
    return plain
