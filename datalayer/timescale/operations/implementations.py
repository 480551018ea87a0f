"""What the operations do to a database, or write into a script."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alembic.operations import Operations

from datalayer.timescale import ddl
from datalayer.timescale.operations import aggregates, compression, hypertables, policies
from datalayer.timescale.operations.plain_table import plain_table
from datalayer.timescale.operations.replace import replace_aggregates
from datalayer.timescale.quoting import regclass, statement
from datalayer.timescale.refresh import moment_sql, refresh_continuous_aggregate
from datalayer.timescale.server import ASSUMED, Feature, Server, version_numbers

if TYPE_CHECKING:
    from collections.abc import Iterable


def _server(operations: Operations) -> Server:
    context = operations.get_context()
    if context.as_sql or context.connection is None:
        version = context.opts.get("timescaledb_version")
        return Server(version_numbers(version)) if version else ASSUMED
    return Server.of(context.connection)


def _run(operations: Operations, statements: Iterable[str]) -> None:
    for sql in statements:
        operations.execute(statement(sql))


@Operations.implementation_for(hypertables.CreateHypertableOp)
def _create_hypertable(operations: Operations, op: hypertables.CreateHypertableOp) -> None:
    _run(operations, ddl.create_hypertable(op.spec, _server(operations), migrate_data=op.migrate_data))


@Operations.implementation_for(hypertables.DropHypertableOp)
def _drop_hypertable(operations: Operations, op: hypertables.DropHypertableOp) -> None:
    _run(operations, [plain_table(op.name, op.schema, keep_rows=op.keep_rows)])


@Operations.implementation_for(hypertables.AlterHypertableOp)
def _alter_hypertable(operations: Operations, op: hypertables.AlterHypertableOp) -> None:
    _run(operations, [ddl.set_chunk_interval(op.key, op.chunk_interval, _server(operations))])


@Operations.implementation_for(compression.EnableCompressionOp)
@Operations.implementation_for(compression.AlterCompressionOp)
def _enable_compression(
    operations: Operations, op: compression.EnableCompressionOp | compression.AlterCompressionOp
) -> None:
    _run(operations, [ddl.enable_compression(op.key, op.compression, _server(operations))])


@Operations.implementation_for(compression.DisableCompressionOp)
def _disable_compression(operations: Operations, op: compression.DisableCompressionOp) -> None:
    server = _server(operations)
    with operations.get_context().autocommit_block():
        _run(operations, [ddl.decompress(op.key, op.max_growth_bytes, server)])
    _run(operations, [ddl.disable_compression(op.key, server)])


@Operations.implementation_for(aggregates.CreateContinuousAggregateOp)
def _create_aggregate(operations: Operations, op: aggregates.CreateContinuousAggregateOp) -> None:
    server = _server(operations)
    server.require(Feature.CONTINUOUS_AGGREGATES)
    _run(operations, ddl.create_aggregate(op.spec, server))


@Operations.implementation_for(aggregates.DropContinuousAggregateOp)
def _drop_aggregate(operations: Operations, op: aggregates.DropContinuousAggregateOp) -> None:
    _run(operations, [ddl.drop_aggregate(op.key)])


@Operations.implementation_for(aggregates.RenameContinuousAggregateOp)
def _rename_aggregate(operations: Operations, op: aggregates.RenameContinuousAggregateOp) -> None:
    _run(operations, [ddl.rename_aggregate(op.key, op.new_name)])


@Operations.implementation_for(aggregates.AlterContinuousAggregateOp)
def _alter_aggregate(operations: Operations, op: aggregates.AlterContinuousAggregateOp) -> None:
    changes = op.changes
    if "materialized_only" in changes:
        only = changes["materialized_only"]
        _run(operations, [ddl.set_materialized_only(op.key, materialized_only=only)])
    if changes.get("chunk_interval") is not None:
        _run(operations, [ddl.set_chunk_interval(op.key, changes["chunk_interval"], _server(operations))])
    if "comment" in changes:
        _run(operations, [ddl.comment(op.key, changes["comment"] or None)])


@Operations.implementation_for(aggregates.ReplaceContinuousAggregatesOp)
def _replace_aggregates(operations: Operations, op: aggregates.ReplaceContinuousAggregatesOp) -> None:
    replace_aggregates(operations, op.definitions, accept_loss=op.accept_loss)


@Operations.implementation_for(aggregates.RefreshContinuousAggregateOp)
def _refresh_aggregate(operations: Operations, op: aggregates.RefreshContinuousAggregateOp) -> None:
    context = operations.get_context()
    with context.autocommit_block():
        if context.as_sql or context.connection is None:
            # A script cannot see how far it is materialised; rows before a later start would vanish from sight.
            bounds = map(moment_sql, (None, op.end))
            function = _server(operations).function("refresh_continuous_aggregate")
            _run(operations, [f"CALL {function}({regclass(op.name, op.schema)}, {', '.join(bounds)})"])
            return
        refresh_continuous_aggregate(
            context.connection,
            op.name,
            schema=op.schema,
            start=op.start,
            end=op.end,
            buckets_per_batch=op.buckets_per_batch,
        )


@Operations.implementation_for(policies.AddPolicyOp)
def _add_policy(operations: Operations, op: policies.AddPolicyOp) -> None:
    _run(operations, ddl.add_policy(op.key, op.policy, _server(operations)))


@Operations.implementation_for(policies.AlterPolicyOp)
def _alter_policy(operations: Operations, op: policies.AlterPolicyOp) -> None:
    _run(operations, [ddl.alter_policy(op.key, op.kind, op.changes, _server(operations))])


@Operations.implementation_for(policies.RemovePolicyOp)
def _remove_policy(operations: Operations, op: policies.RemovePolicyOp) -> None:
    _run(operations, [ddl.remove_policy(op.key, op.kind, _server(operations))])
