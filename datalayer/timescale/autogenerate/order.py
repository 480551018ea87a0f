"""Putting the operations in an order that runs forwards, and backwards when each is reversed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alembic.operations.ops import (
    CreateTableOp,
    DropColumnOp,
    DropTableOp,
    MigrateOperation,
    ModifyTableOps,
)

from datalayer.timescale.hypertable import DIALECT_ARGUMENT, INFO
from datalayer.timescale.specs import PolicyKind

if TYPE_CHECKING:
    from alembic.operations.ops import UpgradeOps

    from datalayer.timescale.autogenerate.differences import Differences


def arrange(upgrade_ops: UpgradeOps, differences: Differences) -> None:
    """Put what was found among the operations on tables.

    Aggregates that go, go first, policies and compression of what stays next. Then tables and hypertables, aggregates over
    them, compression, and policies last. An aggregate that replaced ones are to read is made and filled before them, one
    that they have read goes after. What drops tables and columns comes behind new definitions of aggregates, which
    may have read them.
    """
    constructive, destructive = _tables(upgrade_ops, differences)
    kinds = list(PolicyKind)
    policies = sorted(differences.policies, key=lambda op: kinds.index(op.kind))
    upgrade_ops.ops = [
        *differences.dropped_aggregates,
        *differences.removed_policies,
        *differences.removed_compression,
        *constructive,
        *differences.altered,
        *differences.inserted_aggregates,
        *differences.replaced,
        *differences.taken_out_aggregates,
        *differences.created_aggregates,
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
        elif isinstance(op, ModifyTableOps) and differences.replaced:
            _split(op, constructive, destructive)
        else:
            constructive.append(op)
    for undone_ops in removed.values():
        constructive += undone_ops
    constructive += created.values()
    return constructive, destructive


def _split(
    op: ModifyTableOps, constructive: list[MigrateOperation], destructive: list[MigrateOperation]
) -> None:
    for part, wanted in ((constructive, False), (destructive, True)):
        inner = [change for change in op.ops if isinstance(change, DropColumnOp) is wanted]
        if inner:
            part.append(ModifyTableOps(op.table_name, inner, schema=op.schema))
