"""The indexes that TimescaleDB makes by itself, which no metadata knows of."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from alembic.operations.ops import DropIndexOp, ModifyTableOps

if TYPE_CHECKING:
    from collections.abc import Mapping

    from alembic.operations.ops import MigrateOperation, UpgradeOps

    from datalayer.timescale.specs import HypertableSpec, Key

_MAX_BYTES: Final = 63
_NUMBERED: Final = re.compile(r".*_(idx\d*)", re.DOTALL)
"""A number is added where the name is taken."""


def hide_default_indexes(
    upgrade_ops: UpgradeOps, hypertables: Mapping[Key, HypertableSpec]
) -> dict[Key, HypertableSpec]:
    """Take the dropping of default indexes out of the operations; return the hypertables with a note of who has them."""
    having: set[Key] = set()

    def is_wanted(op: MigrateOperation) -> bool:
        spec = hypertables.get((op.schema, op.table_name or "")) if isinstance(op, DropIndexOp) else None
        if spec is None or not isinstance(op, DropIndexOp) or not _is_default(op.index_name, spec):
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


def _is_default(name: str | None, spec: HypertableSpec) -> bool:
    """Say whether TimescaleDB would give that name: table and time column, or a further dimension before the time column."""
    found = _NUMBERED.fullmatch(name or "")
    columns = [spec.time_column, *(f"{by.column}_{spec.time_column}" for by in spec.dimensions)]
    return found is not None and any(_shortened(spec.name, column, found[1]) == name for column in columns)


def _shortened(table: str, column: str, label: str) -> str:
    """Return the name that PostgreSQL makes of the three, the longer of the first two cut until all fits."""
    first, second = table.encode(), column.encode()[:_MAX_BYTES]
    while len(first) + len(second) + len(label) + 2 > _MAX_BYTES:
        first, second = (first[:-1], second) if len(first) > len(second) else (first, second[:-1])
    return "_".join((first.decode(errors="ignore"), second.decode(errors="ignore"), label))
