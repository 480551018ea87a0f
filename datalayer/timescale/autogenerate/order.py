"""Putting the operations in an order that runs forwards, and backwards when each is reversed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alembic.operations.ops import (
    AddColumnOp,
    CreateIndexOp,
    CreateTableOp,
    DropColumnOp,
    DropConstraintOp,
    DropIndexOp,
    DropTableOp,
    MigrateOperation,
    ModifyTableOps,
)

from datalayer.timescale.hypertable import DIALECT_ARGUMENT, INFO
from datalayer.timescale.specs import PolicyKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alembic.operations.ops import UpgradeOps

    from datalayer.timescale.autogenerate.differences import Differences
    from datalayer.timescale.specs import Key


def arrange(upgrade_ops: UpgradeOps, differences: Differences) -> None:
    """Put what was found among the operations on tables.

    Policies and compression of what stays go first: switching compression off commits what was done before it, and policies
    are what may be removed again after an interruption. Then aggregates that go, tables and hypertables, aggregates over
    them, compression, and policies last. An aggregate that replaced ones are to read is made and filled before them, one
    that they have read goes after. What drops tables and columns comes behind new definitions of aggregates, which may have
    read them, and behind other columns of compression. A refresh window that grows does so before buckets may.
    """
    constructive, destructive = _tables(upgrade_ops, differences)
    if differences.replaced:
        _make_repeatable([*constructive, *destructive])
    kinds = list(PolicyKind)
    policies = sorted(differences.policies, key=lambda op: kinds.index(op.kind))
    upgrade_ops.ops = [
        *differences.removed_policies,
        *differences.removed_compression,
        *differences.dropped_aggregates,
        *constructive,
        *differences.altered,
        *differences.grown_windows,
        *differences.inserted_aggregates,
        *differences.replaced,
        *differences.taken_out_aggregates,
        *differences.created_aggregates,
        *differences.altered_compression,
        *destructive,
        *differences.compression,
        *policies,
    ]


def _tables(
    upgrade_ops: UpgradeOps, differences: Differences
) -> tuple[list[MigrateOperation], list[MigrateOperation]]:
    """Return the operations on tables, with those on hypertables among them: what makes, and what drops."""
    constructive: list[MigrateOperation] = []
    destructive: list[MigrateOperation] = []
    created, removed = dict(differences.created), dict(differences.removed)
    for op in upgrade_ops.ops:
        if isinstance(op, CreateTableOp):
            op.info.pop(INFO, None)  # what these two declare is an operation of its own
            op.kw.pop(DIALECT_ARGUMENT, None)
            constructive.append(op)
            made = created.pop((op.schema, op.table_name), None)
            if made is not None:
                made.migrate_data, made.with_relation = False, True
                constructive.append(made)
        elif isinstance(op, DropTableOp):
            for undone in removed.pop((op.schema, op.table_name), []):
                undone.with_relation = True
                destructive.append(undone)
            destructive.append(op)
        elif isinstance(op, ModifyTableOps) and (differences.replaced or differences.altered_compression):
            _split(op, constructive, destructive)
        else:
            constructive.append(op)
    for undone_ops in removed.values():
        constructive += undone_ops
    constructive += created.values()
    return constructive, destructive


def _make_repeatable(operations: Sequence[MigrateOperation]) -> None:
    """What a replacement commits runs again when that was interrupted."""
    for op in operations:
        if isinstance(op, ModifyTableOps):
            _make_repeatable(op.ops)
        elif isinstance(op, (AddColumnOp, CreateIndexOp, CreateTableOp)):
            op.if_not_exists = True
        elif isinstance(op, (DropColumnOp, DropConstraintOp, DropIndexOp)):
            op.if_exists = True


def dropped_columns(upgrade_ops: UpgradeOps) -> dict[Key, set[str]]:
    """Return the columns that tables are to lose."""
    return {
        (op.schema, op.table_name): {
            change.column_name for change in op.ops if isinstance(change, DropColumnOp)
        }
        for op in upgrade_ops.ops
        if isinstance(op, ModifyTableOps)
    }


def _split(
    op: ModifyTableOps, constructive: list[MigrateOperation], destructive: list[MigrateOperation]
) -> None:
    for part, wanted in ((constructive, False), (destructive, True)):
        inner = [change for change in op.ops if isinstance(change, DropColumnOp) is wanted]
        if inner:
            part.append(ModifyTableOps(op.table_name, inner, schema=op.schema))
