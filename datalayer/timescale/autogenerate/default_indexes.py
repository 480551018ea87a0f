"""The indexes that TimescaleDB makes by itself, which no metadata knows of."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from alembic.operations.ops import DropIndexOp, ModifyTableOps

if TYPE_CHECKING:
    from collections.abc import Mapping

    from alembic.operations.ops import MigrateOperation, UpgradeOps

    from datalayer.timescale.specs import HypertableSpec, Key


def hide_default_indexes(
    upgrade_ops: UpgradeOps, hypertables: Mapping[Key, HypertableSpec]
) -> dict[Key, HypertableSpec]:
    """Take the dropping of default indexes out of the operations; return the hypertables with a note of who has them."""
    having: set[Key] = set()

    def is_wanted(op: MigrateOperation) -> bool:
        spec = hypertables.get((op.schema, op.table_name or "")) if isinstance(op, DropIndexOp) else None
        if spec is None or not isinstance(op, DropIndexOp) or op.index_name not in _names(spec):
            return True
        having.add(spec.key)
        return False

    for op in upgrade_ops.ops:
        if isinstance(op, ModifyTableOps):
            op.ops = [inner for inner in op.ops if is_wanted(inner)]
    upgrade_ops.ops = [
        op
        for op in upgrade_ops.ops
        if is_wanted(op) and not (isinstance(op, ModifyTableOps) and op.is_empty())
    ]
    return {key: replace(spec, create_default_indexes=key in having) for key, spec in hypertables.items()}


def _names(spec: HypertableSpec) -> list[str]:
    """Return the names that TimescaleDB gives: table and time column, and each further dimension before the time column."""
    columns = [spec.time_column, *(f"{by.column}_{spec.time_column}" for by in spec.dimensions)]
    return [f"{spec.name}_{name}_idx" for name in columns]
