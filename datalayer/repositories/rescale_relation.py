"""Rewriting the rows that one relation has of an instrument: looked at, changed chunk by chunk, looked at again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from sqlalchemy import text

from datalayer.domain.steps import MAX_STEPS
from datalayer.errors import DatabaseError, ScaleError
from datalayer.timescale.chunks import list_chunks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlalchemy.ext.asyncio import AsyncConnection

    from datalayer.domain.instrument import Instrument
    from datalayer.repositories.rescale_columns import StepRelation, Unit

# Their sums are of the longest buckets, so that no shorter bucket exceeds what these do not.
_LONGEST_BUCKETS: Final = frozenset({"candles_1d", "order_book_1m"})


@dataclass(frozen=True, slots=True)
class WideningProgress:
    """How far a widening is.

    Attributes:
        relation: hypertable or aggregate that is being rewritten.
        chunk: which of its chunks comes next, counted from 1.
        chunks: how many chunks it has.
    """

    relation: str
    chunk: int
    chunks: int


OnProgress: TypeAlias = "Callable[[WideningProgress], None]"


@dataclass(frozen=True, slots=True)
class Held:
    """What rows of an instrument a relation has.

    Attributes:
        rows: how many.
        sums: the exact sum of each column; 0 of a list.
    """

    rows: int
    sums: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RelationRewrite:
    """The part of a widening that is about one relation, inside the caller's transaction.

    Attributes:
        conn: connection inside the caller's transaction.
        storage: where the relation's rows are, as SQL.
        relation: with only those columns that change.
        instrument: whose rows.
        factors: what the counts of each unit are multiplied by.
    """

    conn: AsyncConnection
    storage: str
    relation: StepRelation
    instrument: Instrument
    factors: Mapping[Unit, int]

    async def held(self) -> Held:
        """Return what there is now."""
        # Of a list its own sum would take as long as all the rest, and it is rewritten with the other columns of its row.
        sums = ["0" if c.is_list else f"coalesce(sum({c.name}), 0)" for c in self.relation.columns]
        statement = text(
            f"SELECT {', '.join(['count(*)', *sums])} FROM {self.storage} WHERE instrument_id = :id"
        )
        row = (await self.conn.execute(statement, {"id": self.instrument.id})).one()
        return Held(int(row[0]), tuple(int(total) for total in row[1:]))

    async def check_limits(self) -> None:
        """Refuse what would exceed its column, before anything is changed.

        Raises:
            ScaleError: names relation, column, value and row.
        """
        await self._refuse_beyond(self.storage)
        # What is not materialised yet is computed by whoever reads it, and must not fail then.
        if self.relation.name in _LONGEST_BUCKETS:
            await self._refuse_beyond(self.relation.name)

    async def rewrite(self, on_progress: OnProgress | None) -> None:
        """Change all rows chunk by chunk, so that what a statement remembers of its rows stays small."""
        assignments = ", ".join(f"{c.name} = {c.scaled(self.factors[c.unit])}" for c in self.relation.columns)
        update = text(
            f"UPDATE {self.storage} SET {assignments} WHERE instrument_id = :id"
            " AND ts >= CAST(:start AS timestamptz) AND ts < CAST(:end AS timestamptz)"
        )
        chunks = await self.conn.run_sync(list_chunks, self.relation.name)
        for number, chunk in enumerate(chunks, start=1):
            if on_progress is not None:
                on_progress(WideningProgress(self.relation.name, number, len(chunks)))
            values = {"id": self.instrument.id, "start": chunk.range_start, "end": chunk.range_end}
            await self.conn.execute(update, values)

    async def check_rewritten(self, before: Held) -> None:
        """Refuse a result that is not exactly the rows of before, in the new steps.

        Raises:
            DatabaseError: rows are missing, new, or not multiplied once.
        """
        grown = [
            total * self.factors[c.unit] for total, c in zip(before.sums, self.relation.columns, strict=True)
        ]
        found = await self.held()
        if found != Held(before.rows, tuple(grown)):
            msg = (
                f"{self.relation.name} is not what rewriting should have made of it ({found.rows} rows, expected "
                f"{before.rows}): something changed rows of {self.instrument.symbol} meanwhile; roll back and try again"
            )
            raise DatabaseError(msg)

    async def _refuse_beyond(self, source: str) -> None:
        exceeding = [column.exceeds(self.factors[column.unit]) for column in self.relation.columns]
        names = ", ".join(column.name for column in self.relation.columns)
        statement = text(
            f"SELECT ts, ARRAY[{', '.join(exceeding)}] AS exceeding, {names} FROM {source}"
            f" WHERE instrument_id = :id AND ({' OR '.join(exceeding)}) ORDER BY ts LIMIT 1"
        )
        row = (await self.conn.execute(statement, {"id": self.instrument.id})).one_or_none()
        if row is None:
            return
        column = next(c for c, beyond in zip(self.relation.columns, row.exceeding, strict=True) if beyond)
        limit = "2**53" if column.limit == MAX_STEPS else "2**63-1"
        hint = (
            f"{self.relation.name} of {self.instrument.symbol} has this at {row.ts.isoformat()}; "
            f"{self.factors[column.unit]} times as many steps exceed {limit}; choose a smaller {column.unit}_scale"
        )
        raise ScaleError(column.name, getattr(row, column.name), hint)
