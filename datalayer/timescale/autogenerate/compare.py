"""The comparator: what of the declared differs from what is on the server, as operations in an order that runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alembic.autogenerate import comparators
from alembic.util import DispatchPriority, PriorityDispatchResult, to_list

from datalayer.timescale.aggregate import list_aggregates
from datalayer.timescale.autogenerate.default_indexes import hide_default_indexes
from datalayer.timescale.autogenerate.differences import Differences
from datalayer.timescale.autogenerate.order import arrange
from datalayer.timescale.hypertable import find_hypertable
from datalayer.timescale.introspection import INTERNAL_SCHEMAS, Found, find_relations

if TYPE_CHECKING:
    from alembic.autogenerate.api import AutogenContext
    from alembic.operations.ops import UpgradeOps

    from datalayer.timescale.specs import AggregateSpec, HypertableSpec, Key, Relation

_DIALECTS = ("postgresql", "timescaledb")


@comparators.dispatch_for("schema", priority=DispatchPriority.FIRST)
def hide_internal_schemas(
    _context: AutogenContext, _upgrade_ops: UpgradeOps, schemas: set[str | None]
) -> PriorityDispatchResult:
    """Keep the comparison of tables away from chunks and catalogs."""
    schemas.difference_update(INTERNAL_SCHEMAS)
    return PriorityDispatchResult.CONTINUE


@comparators.dispatch_for("schema", priority=DispatchPriority.LAST)
def compare(
    context: AutogenContext, upgrade_ops: UpgradeOps, schemas: set[str | None]
) -> PriorityDispatchResult:
    """Add the operations for hypertables and continuous aggregates to those for tables."""
    connection = context.connection
    if connection is None or connection.dialect.name not in _DIALECTS:
        return PriorityDispatchResult.CONTINUE
    found = _filtered(context, find_relations(connection, schemas))
    found = Found(hide_default_indexes(upgrade_ops, found.hypertables), found.aggregates)
    hypertables, aggregates = _declared(context, schemas)
    differences = Differences(connection, found)
    for key, hypertable in hypertables.items():
        differences.add_hypertable(hypertable, found.hypertables.get(key))
    for key, undeclared in found.hypertables.items():
        if key not in hypertables:
            differences.remove_hypertable(undeclared)
    differences.add_aggregates(aggregates)
    arrange(upgrade_ops, differences)
    return PriorityDispatchResult.CONTINUE


def _declared(
    context: AutogenContext, schemas: set[str | None]
) -> tuple[dict[Key, HypertableSpec], dict[Key, AggregateSpec]]:
    assert context.connection is not None  # noqa: S101 (compare has looked)
    default = context.connection.dialect.default_schema_name

    def key(relation: Relation) -> Key:
        return (None if relation.schema == default and None in schemas else relation.schema), relation.name

    metadatas: Any = to_list(context.metadata)
    tables = [table for metadata in metadatas for table in metadata.sorted_tables]
    hypertables = [spec for table in tables if (spec := find_hypertable(table)) is not None]
    aggregates = [spec for metadata in metadatas for spec in list_aggregates(metadata)]
    return (
        {key(spec): spec for spec in hypertables if key(spec)[0] in schemas},
        {key(spec): spec for spec in aggregates if key(spec)[0] in schemas},
    )


def _filtered(context: AutogenContext, found: Found) -> Found:
    """Leave out what the `include_name` of `env.py` leaves out."""

    def is_wanted(key: Key) -> bool:
        return bool(context.run_name_filters(key[1], "table", {"schema_name": key[0]}))

    return Found(
        {key: spec for key, spec in found.hypertables.items() if is_wanted(key)},
        {
            key: spec
            for key, spec in found.aggregates.items()
            # Not one of Alembic's own kinds; a filter that asks for the kind lets it pass.
            if context.run_name_filters(key[1], "continuous_aggregate", {"schema_name": key[0]})  # type: ignore[arg-type]
        },
    )
