"""Declaring continuous aggregates as selectable tables over a `select()`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Column, MetaData, PrimaryKeyConstraint, Select, Table
from sqlalchemy.dialects import postgresql
from sqlalchemy.sql import visitors
from sqlalchemy.sql.elements import Label
from sqlalchemy.sql.functions import FunctionElement

from datalayer.errors import ConfigurationError
from datalayer.timescale.functions import BUCKET
from datalayer.timescale.hypertable import find_hypertable, ordered, refuse_wrong_compression
from datalayer.timescale.intervals import Interval
from datalayer.timescale.lint import refuse_contradictions
from datalayer.timescale.specs import AggregateSpec

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from datalayer.timescale.intervals import IntervalLike
    from datalayer.timescale.specs import Compression, Key, Policy, Relation

_INFO: Final = "timescale.aggregates"
_TABLES: Final = "timescale.aggregate_tables"
_DECLARED_IN: Final = "timescale.declared_in"


def continuous_aggregate(
    name: str,
    metadata: MetaData,
    definition: Select[Any],
    *,
    materialized_only: bool,
    schema: str | None = None,
    chunk_interval: IntervalLike | None = None,
    create_group_indexes: bool = True,
    compression: Compression | None = None,
    policies: Sequence[Policy] = (),
    comment: str | None = None,
) -> Table:
    """Declare a continuous aggregate and return it as a table, to select from or to map a class to.

        class Hourly(Base):
            __table__ = continuous_aggregate(
                "readings_1h",
                Base.metadata,
                select(Reading.device, time_bucket("1 hour", Reading.ts).label("ts"), func.max(Reading.value).label("highest"))
                .group_by(Reading.device, time_bucket("1 hour", Reading.ts)),
                materialized_only=False,
                policies=[RefreshPolicy(start_offset="3 days", end_offset="1 hour", schedule_interval="1 hour")],
            )

    The table is in a `MetaData` of its own, so `create_all` and the comparison of tables pass it by. Its columns have the
    labels and types of the SELECT; what is grouped by (plain columns and the bucket) is its primary key for the ORM.

    Args:
        name: of the view.
        metadata: of the tables that it reads; the aggregate is registered there. That of an aggregate stands for it.
        definition: SELECT with one `time_bucket` and labels for all that is computed. Its sources are hypertables, or
            continuous aggregates, declared before.
        materialized_only: False: what is not materialised yet is computed at query time. Has no default, as
            TimescaleDB's own changed between versions.
        schema: None: that of the metadata, else the first of the search path.
        chunk_interval: of what is materialised; None: TimescaleDB's choice.
        create_group_indexes: let TimescaleDB index each group column with the bucket.
        compression: how chunks are compressed; None: not at all.
        policies: refresh, compression and retention policy.
        comment: of the view.

    Raises:
        ConfigurationError: no bucket, a computed column without a label, the name is taken, compression by a column that does
            not exist or not ordered by the bucket, or windows of policies contradict each other.
    """
    metadata = metadata.info.get(_DECLARED_IN, metadata)
    schema = schema if schema is not None else metadata.schema
    known: dict[Key, AggregateSpec] = metadata.info.setdefault(_INFO, {})
    if (schema, name) in known:
        msg = f"continuous aggregate {name} is declared twice"
        raise ConfigurationError(msg)
    bucket = _bucket(name, definition)
    spec = AggregateSpec(
        name=name,
        schema=schema,
        chunk_interval=None
        if chunk_interval is None
        else Interval.of(chunk_interval, "chunk_interval").fixed,
        compression=compression,
        policies=ordered(policies),
        definition=_sql(definition),
        materialized_only=materialized_only,
        create_group_indexes=create_group_indexes,
        comment=comment,
        sources=tuple(_sources(definition)),
        bucket=_width(bucket),
    )
    table = _table(spec, metadata, definition)
    refuse_wrong_compression(f"continuous aggregate {name}", table, bucket.key, compression)
    refuse_contradictions([*_relations(metadata), spec])
    known[spec.key] = spec
    return table


def list_aggregates(metadata: MetaData) -> list[AggregateSpec]:
    """Return the declared continuous aggregates, each after those it reads."""
    return list(metadata.info.get(_INFO, {}).values())


def aggregate_tables(metadata: MetaData) -> list[Table]:
    """Return the tables that stand for the declared continuous aggregates."""
    own: MetaData | None = metadata.info.get(_TABLES)
    return [] if own is None else list(own.tables.values())


def _relations(metadata: MetaData) -> Iterator[Relation]:
    for table in metadata.tables.values():
        hypertable = find_hypertable(table)
        if hypertable is not None:
            yield hypertable
    yield from list_aggregates(metadata)


def _table(spec: AggregateSpec, metadata: MetaData, definition: Select[Any]) -> Table:
    own = metadata.info.setdefault(_TABLES, MetaData(info={_DECLARED_IN: metadata}))
    columns, keys = [], []
    for selected in definition.selected_columns:
        element = selected.element if isinstance(selected, Label) else selected
        is_key = isinstance(element, Column) or _is_bucket(element)
        if not isinstance(selected, (Column, Label)):
            msg = f"continuous aggregate {spec.name}: give {selected} a .label(...)"
            raise ConfigurationError(msg)
        columns.append(Column(selected.key, selected.type, nullable=not is_key))
        keys += [selected.key] if is_key else []
    return Table(
        spec.name, own, *columns, PrimaryKeyConstraint(*keys), schema=spec.schema, comment=spec.comment
    )


def _sql(definition: Select[Any]) -> str:
    dialect = postgresql.dialect(paramstyle="named")  # type: ignore[no-untyped-call]  # a percent sign is itself
    return str(definition.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))


def _sources(definition: Select[Any]) -> Iterator[Key]:
    seen = set()
    for element in visitors.iterate(definition):
        if isinstance(element, Table) and element not in seen:
            seen.add(element)
            yield element.schema, element.name


def _bucket(name: str, definition: Select[Any]) -> Label[Any]:
    for selected in definition.selected_columns:
        if isinstance(selected, Label) and _is_bucket(selected.element):
            return selected
    msg = f"continuous aggregate {name}: select one time_bucket(...), with a .label(...)"
    raise ConfigurationError(msg)


def _width(bucket: Label[Any]) -> Interval:
    width = str(next(iter(bucket.element.clauses)))
    return Interval.of(int(width) if width.isdigit() else width.removeprefix("INTERVAL ").strip("'"))


def _is_bucket(element: Any) -> bool:
    return isinstance(element, FunctionElement) and getattr(element, "name", None) == BUCKET
