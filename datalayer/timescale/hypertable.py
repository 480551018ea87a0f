"""Declaring a table a hypertable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Table
from sqlalchemy.schema import SchemaItem

from datalayer.errors import ConfigurationError
from datalayer.timescale.intervals import Interval
from datalayer.timescale.lint import refuse_contradictions
from datalayer.timescale.specs import HypertableSpec, PolicyKind, RangeDimension

if TYPE_CHECKING:
    from collections.abc import Sequence

    from datalayer.timescale.intervals import IntervalLike
    from datalayer.timescale.specs import Compression, CompressionPolicy, Dimension, Policy, RetentionPolicy

INFO: Final = "timescale.hypertable"
DIALECT_ARGUMENT: Final = "timescaledb_hypertable"
_DEFAULT_CHUNK_INTERVAL: Final = "7 days"
_ORDER: Final = tuple(PolicyKind)


class Hypertable(SchemaItem):
    """Makes the table it is given to a hypertable; goes among the arguments of `Table` or into `__table_args__`.

        class Reading(Base):
            __tablename__ = "readings"
            __table_args__ = (Hypertable("ts", chunk_interval="1 day"),)
            ts: Mapped[datetime] = mapped_column(DateTime(timezone=True), primary_key=True)
            value: Mapped[float]

    It tells migrations what to make (`datalayer.timescale.plugin`); `MetaData.create_all` makes a plain table.

    Args:
        time_column: the column that chunks are ranges of.
        chunk_interval: length of a chunk.
        dimensions: further ones.
        create_default_indexes: let TimescaleDB make an index on the time column that the metadata does not know.
        compression: how chunks are compressed; None: not at all.
        policies: compression and retention policy.

    Raises:
        ConfigurationError: a column does not exist, or windows contradict each other.
    """

    __visit_name__ = "hypertable"

    def __init__(
        self,
        time_column: str,
        *,
        chunk_interval: IntervalLike = _DEFAULT_CHUNK_INTERVAL,
        dimensions: Sequence[Dimension] = (),
        create_default_indexes: bool = False,
        compression: Compression | None = None,
        policies: Sequence[CompressionPolicy | RetentionPolicy] = (),
    ) -> None:
        self.time_column = time_column
        self.chunk_interval = Interval.of(chunk_interval, "chunk_interval").fixed
        self.dimensions = tuple(dimensions)
        self.create_default_indexes = create_default_indexes
        self.compression = compression
        self.policies = tuple(policies)

    def _set_parent(self, parent: Any, **_: Any) -> None:
        if not isinstance(parent, Table):
            msg = f"Hypertable belongs among the arguments of a table, not of {parent!r}"
            raise ConfigurationError(msg)
        parent.info[INFO] = self
        refuse_contradictions([self.spec(parent)])

    def spec(self, table: Table) -> HypertableSpec:
        """Return what is declared of `table`."""
        return HypertableSpec(
            name=table.name,
            schema=table.schema,
            chunk_interval=self.chunk_interval,
            compression=self.compression,
            policies=ordered(self.policies),
            time_column=self.time_column,
            dimensions=self.dimensions,
            create_default_indexes=self.create_default_indexes,
        )


def find_hypertable(table: Table) -> HypertableSpec | None:
    """Return what is declared of a table, by `Hypertable` or by the arguments of the `sqlalchemy-timescaledb` dialect.

    Raises:
        ConfigurationError: a column that is named does not exist, one that chunks are ranges of is nullable, or compression
            does not order by time.
    """
    declared = table.info.get(INFO) or _of_dialect(table)
    if declared is None:
        return None
    spec: HypertableSpec = declared.spec(table)
    refuse_unknown_columns(
        f"hypertable {table.name}",
        table,
        spec.time_column,
        *(dimension.column for dimension in spec.dimensions),
    )
    refuse_wrong_compression(f"hypertable {table.name}", table, spec.time_column, spec.compression)
    by_range = [by.column for by in spec.dimensions if isinstance(by, RangeDimension)]
    for column in [spec.time_column, *by_range]:
        if table.columns[column].nullable:
            msg = f"hypertable {table.name}: column {column!r} must be declared with nullable=False, as TimescaleDB makes it NOT NULL"
            raise ConfigurationError(msg)
    return spec


def refuse_wrong_compression(
    what: str, table: Table, time_column: str, compression: Compression | None
) -> None:
    """Refuse compression by columns that do not exist, or not ordered by time.

    Raises:
        ConfigurationError: names `what`.
    """
    if compression is None:
        return
    order_by = [by.column for by in compression.order_by]
    refuse_unknown_columns(what, table, *compression.segment_by, *order_by)
    if time_column not in order_by:
        msg = f"{what}: order_by={order_by} of its compression must name {time_column!r} too, which TimescaleDB would add by itself"
        raise ConfigurationError(msg)


def refuse_unknown_columns(what: str, table: Table, *names: str) -> None:
    """Refuse names that are no columns of a table.

    Raises:
        ConfigurationError: names `what` and the columns that there are.
    """
    for name in names:
        if name not in table.columns:
            msg = f"{what}: there is no column {name!r}; it has {', '.join(table.columns.keys())}"
            raise ConfigurationError(msg)


def ordered(policies: Sequence[Policy]) -> tuple[Policy, ...]:
    """Return policies in the order in which they are made, one of a kind at most."""
    kinds = [policy.kind for policy in policies]
    if len(set(kinds)) < len(kinds):
        msg = "a relation has one policy of each kind at most, not " + ", ".join(
            kind.name.lower() for kind in kinds
        )
        raise ConfigurationError(msg)
    return tuple(sorted(policies, key=lambda policy: _ORDER.index(policy.kind)))


def _of_dialect(table: Table) -> Hypertable | None:
    arguments = table.kwargs.get(DIALECT_ARGUMENT)
    if not arguments:
        return None
    interval = arguments.get("chunk_time_interval", _DEFAULT_CHUNK_INTERVAL)
    if isinstance(interval, str) and interval.isdigit():
        interval = int(interval)
    # The dialect itself leaves the default indexes to TimescaleDB.
    return Hypertable(arguments["time_column_name"], chunk_interval=interval, create_default_indexes=True)
