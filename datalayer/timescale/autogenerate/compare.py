"""The comparator: what of the declared differs from what is on the server, as operations in an order that runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alembic.autogenerate import comparators
from alembic.util import DispatchPriority, PriorityDispatchResult

from datalayer.timescale.autogenerate.default_indexes import hide_default_indexes
from datalayer.timescale.autogenerate.differences import Differences
from datalayer.timescale.autogenerate.filters import Filters
from datalayer.timescale.autogenerate.order import arrange, dropped_columns
from datalayer.timescale.introspection import INTERNAL_SCHEMAS, Found, find_relations

if TYPE_CHECKING:
    from alembic.autogenerate.api import AutogenContext
    from alembic.operations.ops import UpgradeOps

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
    filters = Filters(context, schemas)
    found = filters.left_of_server(find_relations(connection, schemas))
    found = Found(hide_default_indexes(upgrade_ops, found.hypertables), found.aggregates)
    hypertables, aggregates = filters.left_of_models(found)
    differences = Differences(connection, found, dropped_columns(upgrade_ops))
    for key, hypertable in hypertables.items():
        differences.add_hypertable(hypertable, found.hypertables.get(key))
    for key, undeclared in found.hypertables.items():
        if key not in hypertables:
            differences.remove_hypertable(undeclared)
    differences.add_aggregates(aggregates)
    arrange(upgrade_ops, differences)
    return PriorityDispatchResult.CONTINUE
