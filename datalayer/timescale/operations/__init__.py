"""Alembic operations for what TimescaleDB adds to PostgreSQL; importing it registers them on `alembic.op`."""

import datalayer.timescale.operations.implementations  # noqa: F401  (registers what the operations do)
from datalayer.timescale.operations.aggregates import (
    AlterContinuousAggregateOp,
    CreateContinuousAggregateOp,
    DropContinuousAggregateOp,
    RefreshContinuousAggregateOp,
    RenameContinuousAggregateOp,
    ReplaceContinuousAggregatesOp,
)
from datalayer.timescale.operations.base import TimescaleOp
from datalayer.timescale.operations.compression import (
    AlterCompressionOp,
    DisableCompressionOp,
    EnableCompressionOp,
)
from datalayer.timescale.operations.hypertables import AlterHypertableOp, CreateHypertableOp, DropHypertableOp
from datalayer.timescale.operations.policies import AddPolicyOp, AlterPolicyOp, RemovePolicyOp

__all__ = [
    "AddPolicyOp",
    "AlterCompressionOp",
    "AlterContinuousAggregateOp",
    "AlterHypertableOp",
    "AlterPolicyOp",
    "CreateContinuousAggregateOp",
    "CreateHypertableOp",
    "DisableCompressionOp",
    "DropContinuousAggregateOp",
    "DropHypertableOp",
    "EnableCompressionOp",
    "RefreshContinuousAggregateOp",
    "RemovePolicyOp",
    "RenameContinuousAggregateOp",
    "ReplaceContinuousAggregatesOp",
    "TimescaleOp",
]
