"""Creating, changing and undoing hypertables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

from alembic.operations import Operations

from datalayer.timescale.intervals import Interval
from datalayer.timescale.operations.base import Call, TimescaleOp
from datalayer.timescale.specs import HypertableSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from datalayer.timescale.intervals import IntervalLike
    from datalayer.timescale.specs import Dimension


@Operations.register_operation("create_hypertable")
class CreateHypertableOp(TimescaleOp):
    """A table becomes a hypertable."""

    def __init__(
        self, spec: HypertableSpec, *, migrate_data: bool = False, with_relation: bool = False
    ) -> None:
        super().__init__(spec.name, spec.schema, with_relation=with_relation)
        self.spec = spec
        self.migrate_data = migrate_data

    @classmethod
    def create_hypertable(
        cls,
        operations: Operations,
        table_name: str,
        time_column: str,
        *,
        chunk_interval: IntervalLike = "7 days",
        dimensions: Sequence[Dimension] = (),
        create_default_indexes: bool = False,
        migrate_data: bool = False,
        schema: str | None = None,
    ) -> Any:
        """Turn a table into a hypertable.

        Args:
            operations: given by Alembic.
            table_name: an ordinary table; its unique constraints contain the columns of all dimensions.
            time_column: column that chunks are ranges of.
            chunk_interval: length of a chunk: timedelta, text such as "7 days", or int for an integer column.
            dimensions: further ones.
            create_default_indexes: let TimescaleDB index the time column.
            migrate_data: the table may have rows, which move to chunks; it is locked meanwhile.
            schema: None: the first of the search path.
        """
        spec = HypertableSpec(
            name=table_name,
            schema=schema,
            chunk_interval=Interval.of(chunk_interval, "chunk_interval").fixed,
            compression=None,
            policies=(),
            time_column=time_column,
            dimensions=tuple(dimensions),
            create_default_indexes=create_default_indexes,
        )
        return operations.invoke(cls(spec, migrate_data=migrate_data))

    def reverse(self) -> DropHypertableOp:
        """Return what undoes it."""
        return DropHypertableOp(self.name, self.schema, spec=self.spec, with_relation=self.with_relation)

    def call(self) -> Call:
        """Return how it is written in a revision."""
        spec = self.spec
        kwargs: dict[str, Any] = {}
        if spec.chunk_interval is not None:
            kwargs["chunk_interval"] = spec.chunk_interval.plain
        if spec.dimensions:
            kwargs["dimensions"] = list(spec.dimensions)
        if spec.create_default_indexes:
            kwargs["create_default_indexes"] = True
        if self.migrate_data:
            kwargs["migrate_data"] = True
        return Call("create_hypertable", (spec.name, spec.time_column), self._with_schema(**kwargs))


@Operations.register_operation("drop_hypertable")
class DropHypertableOp(TimescaleOp):
    """A hypertable becomes an ordinary table again."""

    removes: ClassVar[bool] = True

    def __init__(
        self,
        name: str,
        schema: str | None,
        *,
        spec: HypertableSpec | None = None,
        keep_rows: bool = True,
        with_relation: bool = False,
    ) -> None:
        super().__init__(name, schema, with_relation=with_relation)
        self.spec = spec
        self._keep_rows = keep_rows

    @property
    def keep_rows(self) -> bool:
        """Whether the ordinary table gets the rows; not if it is dropped next."""
        return self._keep_rows and not self.with_relation

    @property
    def is_silent(self) -> bool:
        """Dropping the table is enough, unless it has compressed chunks."""
        return self.with_relation and (self.spec is None or self.spec.compression is None)

    @classmethod
    def drop_hypertable(
        cls,
        operations: Operations,
        table_name: str,
        *,
        keep_rows: bool = True,
        schema: str | None = None,
    ) -> Any:
        """Turn a hypertable into an ordinary table; all rows stay.

        TimescaleDB has no way back, so the rows are copied to a new table, which takes the place of the old one with its
        constraints, indexes, triggers, comments, owner and grants; it needs the disk space twice and locks the table
        meanwhile.

        Args:
            operations: given by Alembic.
            table_name: a hypertable that no continuous aggregate, view or foreign key refers to.
            keep_rows: False: the ordinary table is empty, for `op.drop_table` to follow. Where chunks are compressed that
                alone would leave the compressed halves on disk for ever (TimescaleDB 2.28).
            schema: None: the first of the search path.
        """
        return operations.invoke(cls(table_name, schema, keep_rows=keep_rows))

    def reverse(self) -> CreateHypertableOp:
        """Return what undoes it."""
        if self.spec is None:
            raise self._unknown_before()
        return CreateHypertableOp(
            self.spec, migrate_data=not self.with_relation, with_relation=self.with_relation
        )

    def call(self) -> Call:
        """Return how it is written in a revision."""
        kwargs = {} if self.keep_rows else {"keep_rows": False}
        return Call("drop_hypertable", (self.name,), self._with_schema(**kwargs))


@Operations.register_operation("alter_hypertable")
class AlterHypertableOp(TimescaleOp):
    """The length of future chunks changes."""

    def __init__(
        self, name: str, schema: str | None, chunk_interval: Interval, existing: Interval | None = None
    ) -> None:
        super().__init__(name, schema)
        self.chunk_interval = chunk_interval
        self.existing = existing

    @classmethod
    def alter_hypertable(
        cls,
        operations: Operations,
        table_name: str,
        *,
        chunk_interval: IntervalLike,
        schema: str | None = None,
    ) -> Any:
        """Set the length of chunks that are made from now on.

        Args:
            operations: given by Alembic.
            table_name: a hypertable.
            chunk_interval: as for `create_hypertable`.
            schema: None: the first of the search path.
        """
        return operations.invoke(cls(table_name, schema, Interval.of(chunk_interval, "chunk_interval").fixed))

    def reverse(self) -> Self:
        """Return what undoes it."""
        if self.existing is None:
            raise self._unknown_before()
        return type(self)(self.name, self.schema, self.existing, self.chunk_interval)

    def call(self) -> Call:
        """Return how it is written in a revision."""
        kwargs = {"chunk_interval": self.chunk_interval.plain}
        return Call("alter_hypertable", (self.name,), self._with_schema(**kwargs))

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """Return what `alembic check` reports, found before declared."""
        change = (str(self.existing), str(self.chunk_interval))
        return ("alter_hypertable", self.schema, self.name, {"chunk_interval": change})
