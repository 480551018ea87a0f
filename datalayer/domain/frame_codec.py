"""What the standard frames share: one document, written as dict, JSON, Arrow IPC and Parquet."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from datetime import datetime
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, ClassVar, Final, NoReturn, Self

import pyarrow as pa
import pyarrow.parquet as pq

from datalayer.domain.frame_seal import parquet_footer_bytes, sealed, unsealed
from datalayer.domain.frame_tables import (
    same_tables,
    table_from_arrow,
    table_from_dict,
    table_layout,
    table_to_arrow,
    table_to_dict,
)
from datalayer.domain.frame_values import member
from datalayer.domain.moments import utc_moment
from datalayer.errors import InvalidInputError

if TYPE_CHECKING:
    import pandas as pd

_HEADER: Final = "header"
_KIND: Final = "kind"
_VERSION: Final = "format_version"
_DIGEST_BYTES: Final = 32


class StandardFrame(ABC):
    """A value made of plain facts and tables that goes through text and bytes and comes back exactly.

    Written is what `format_version` says; another version is refused and never guessed at.
    """

    __slots__ = ()

    kind: ClassVar[str]
    format_version: ClassVar[int]

    @abstractmethod
    def _facts(self) -> dict[str, Any]:
        """Everything but the tables, as values that JSON has."""

    @abstractmethod
    def _tables(self) -> dict[str, pd.DataFrame]:
        """The tables by name."""

    @classmethod
    @abstractmethod
    def _made(cls, facts: Any, tables: dict[str, pd.DataFrame]) -> Self:
        """The value of which `_facts` and `_tables` are these."""

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        assert isinstance(other, StandardFrame)  # noqa: S101 (for mypy)
        return self._facts() == other._facts() and same_tables(self._tables(), other._tables())

    __hash__ = None  # type: ignore[assignment]  # tables have none

    def to_dict(self) -> dict[str, Any]:
        """Return it as values that JSON has: times as ISO texts with offset, NaN as None, infinities as texts."""
        tables = {name: table_to_dict(table) for name, table in self._tables().items()}
        return {**self._head(), "tables": tables}

    @classmethod
    def from_dict(cls, data: Any) -> Self:
        """Return what `to_dict` wrote.

        Raises:
            InvalidInputError: another kind or version, or malformed; names the part.
        """
        facts = cls._checked_head(data)
        tables = member(data, "tables", cls.kind)
        if not isinstance(tables, dict):
            raise InvalidInputError("tables", type(tables).__name__, "is no mapping of tables")
        return cls._made(facts, {str(n): table_from_dict(table, str(n)) for n, table in tables.items()})

    def content_hash(self) -> str:
        """Return a digest of what it says: of the text of `to_json` (BLAKE2b, 256 bits, hexadecimal)."""
        return digest_of(self.to_json())

    def to_json(self) -> str:
        """Return `to_dict` as JSON text (RFC 8259: no NaN in it)."""
        return json.dumps(self.to_dict(), allow_nan=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Return what `to_json` wrote.

        Raises:
            InvalidInputError: no JSON, another kind or version, or malformed.
        """
        try:
            data = json.loads(text, parse_constant=_no_constant)
        except (ValueError, TypeError, RecursionError) as exc:
            raise InvalidInputError("json", type(text).__name__, f"is no JSON: {exc}") from exc
        return cls.from_dict(data)

    def to_arrow(self) -> pa.Table:
        """Return it as an Arrow table of one row, so that many can be concatenated: `header` and a list for each table."""
        tables = self._tables()
        layouts = {name: table_layout(table) for name, table in tables.items()}
        header = json.dumps({**self._head(), "layouts": layouts}, allow_nan=False)
        columns = {_HEADER: pa.array([header])} | {n: table_to_arrow(t) for n, t in tables.items()}
        return pa.table(columns)

    @classmethod
    def from_arrow(cls, table: pa.Table) -> Self:
        """Return what `to_arrow` wrote; of many rows take one, as in `table.slice(7, 1)`.

        Raises:
            InvalidInputError: not one row, another kind or version, or malformed.
        """
        try:
            return cls._of_arrow(table)
        except (pa.ArrowException, UnicodeDecodeError) as exc:
            raise InvalidInputError("table", type(table).__name__, f"is malformed: {exc}") from exc

    @classmethod
    def _of_arrow(cls, table: Any) -> Self:
        if not isinstance(table, pa.Table) or table.num_rows != 1:
            raise InvalidInputError("table", type(table).__name__, "give a pyarrow.Table of one row")
        names = table.column_names
        if _HEADER not in names or len(set(names)) < len(names):
            raise InvalidInputError("table", names, "give columns named each once, one of them header")
        table.validate(full=True)
        try:
            header = json.loads(table[_HEADER][0].as_py())
        except (ValueError, TypeError, RecursionError) as exc:
            raise InvalidInputError(_HEADER, type(table).__name__, f"is no JSON: {exc}") from exc
        facts, layouts = cls._checked_head(header), member(header, "layouts", _HEADER)
        if not isinstance(layouts, dict) or not set(layouts) <= set(names):
            raise InvalidInputError("layouts", str(layouts), "names tables that are not there")
        tables = {name: table_from_arrow(table[name], layout, name) for name, layout in layouts.items()}
        return cls._made(facts, tables)

    def to_ipc(self) -> bytes:
        """Return it as an Arrow IPC stream, followed by a digest, at which other readers do not look."""
        table = self.to_arrow()
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        return sealed(sink.getvalue().to_pybytes(), tail_bytes=0)

    @classmethod
    def from_ipc(cls, data: bytes) -> Self:
        """Return what `to_ipc` wrote.

        Raises:
            InvalidInputError: not the very bytes that were written, or another kind or version. A stream of another writer
                has no digest: read it by pyarrow, and give the table to `from_arrow`.
        """
        stream = unsealed(data, tail_bytes=0)
        try:
            table = pa.ipc.open_stream(stream).read_all()
        except (pa.ArrowException, OSError) as exc:
            raise InvalidInputError("data", type(data).__name__, f"is no Arrow IPC stream: {exc}") from exc
        return cls.from_arrow(table)

    def to_parquet(self) -> bytes:
        """Return it as the bytes of a Parquet file (zstd), with a digest before its footer, at which others do not look."""
        sink = pa.BufferOutputStream()
        pq.write_table(self.to_arrow(), sink, compression="zstd")
        data = sink.getvalue().to_pybytes()
        return sealed(data, tail_bytes=parquet_footer_bytes(data))

    @classmethod
    def from_parquet(cls, data: bytes) -> Self:
        """Return what `to_parquet` wrote.

        Raises:
            InvalidInputError: not the very bytes that were written, or another kind or version. A file of another writer has
                no digest: read it by pyarrow, and give the table to `from_arrow`.
        """
        file = unsealed(data, tail_bytes=parquet_footer_bytes(data))
        try:
            table = pq.read_table(pa.BufferReader(file))
        except (pa.ArrowException, OSError) as exc:
            raise InvalidInputError("data", type(data).__name__, f"is no Parquet file: {exc}") from exc
        return cls.from_arrow(table)

    def _head(self) -> dict[str, Any]:
        return {_KIND: self.kind, _VERSION: self.format_version, "facts": self._facts()}

    @classmethod
    def _checked_head(cls, data: Any) -> Any:
        for name, wanted in ((_KIND, cls.kind), (_VERSION, cls.format_version)):
            found = member(data, name, cls.kind)
            if type(found) is not type(wanted) or found != wanted:
                hint = f"this is read as {name}={wanted!r}; read it with the release that wrote it"
                raise InvalidInputError(name, found, hint)
        return member(data, "facts", cls.kind)


def _no_constant(name: str) -> NoReturn:
    msg = f"{name} is no JSON"
    raise ValueError(msg)


def digest_of(text: str) -> str:
    """Return the `content_hash` of a frame that `to_json` wrote as this text."""
    return blake2b(text.encode(), digest_size=_DIGEST_BYTES).hexdigest()


def moment_text(moment: datetime) -> str:
    """Return an aware moment as ISO text in UTC."""
    return utc_moment(moment, "moment").isoformat()


def moment_of(text: Any, field: str) -> datetime:
    """Return the moment that `moment_text` wrote.

    Raises:
        InvalidInputError: no ISO text, or naive.
    """
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError) as exc:
        raise InvalidInputError(field, text, "is no time, as in 2024-08-08T10:00:00+00:00") from exc
    return utc_moment(moment, field)
