"""The SQL that makes, changes and removes what TimescaleDB adds to PostgreSQL."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from datalayer.errors import InvalidInputError
from datalayer.timescale.quoting import identifiers, literal, qualified, regclass
from datalayer.timescale.server import Feature
from datalayer.timescale.specs import (
    HashDimension,
    PolicyKind,
    RefreshPolicy,
    RetentionPolicy,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from datalayer.timescale.intervals import Interval
    from datalayer.timescale.server import Server
    from datalayer.timescale.specs import AggregateSpec, Compression, HypertableSpec, Key, Policy

FIRST_RUN_DELAY: Final = "INTERVAL '3 minutes'"
"""From the making of a policy with a phase to its first run at the earliest: the deploy should be over by then."""

_AGGREGATES: Final = "timescaledb_information.continuous_aggregates"
_JOBS: Final = "timescaledb_information.jobs"
_BY_CREATION: Final = {"compress_after": "compress_created_before", "drop_after": "drop_created_before"}
"""What takes the place of an age in policies that go by the creation of chunks, which cannot be declared."""
_CONFIG_NAMES: Final = {"newest_first": "refresh_newest_first"}
_SETTINGS: Final = (
    "start_offset",
    "end_offset",
    "compress_after",
    "drop_after",
    "buckets_per_batch",
    "newest_first",
)


def relation(key: Key) -> str:
    """Return the quoted name of a relation."""
    schema, name = key
    return qualified(name, schema)


def _regclass(key: Key) -> str:
    schema, name = key
    return regclass(name, schema)


def storage(key: Key) -> str:
    """Return an expression for the hypertable that holds the rows of a hypertable or aggregate."""
    return f"""COALESCE(
        (SELECT format('%I.%I', materialization_hypertable_schema, materialization_hypertable_name)::regclass
         FROM {_AGGREGATES} WHERE format('%I.%I', view_schema, view_name)::regclass = {_regclass(key)}::regclass),
        {_regclass(key)}::regclass
    )"""


def create_hypertable(spec: HypertableSpec, server: Server, *, migrate_data: bool) -> Iterator[str]:
    """Yield the statements that turn a table into a hypertable."""
    interval = f", {spec.chunk_interval.sql}" if spec.chunk_interval else ""
    options = f"create_default_indexes => {_boolean(spec.create_default_indexes)}"
    options += ", migrate_data => true" if migrate_data else ""
    by_range, by_hash = server.function("by_range"), server.function("by_hash")
    table = _regclass(spec.key)
    yield (
        f"SELECT {server.function('create_hypertable')}"
        f"({table}, {by_range}({literal(spec.time_column)}{interval}), {options})"
    )
    for dimension in spec.dimensions:
        column = literal(dimension.column)
        made = (
            f"{by_hash}({column}, {dimension.partitions})"
            if isinstance(dimension, HashDimension)
            else f"{by_range}({column}, {dimension.interval.sql})"
        )
        yield f"SELECT {server.function('add_dimension')}({table}, {made})"


def set_chunk_interval(key: Key, interval: Interval, server: Server) -> str:
    """Return the statement that sets the length of future chunks."""
    return f"SELECT {server.function('set_chunk_time_interval')}({_regclass(key)}, {interval.sql})"


def enable_compression(key: Key, compression: Compression, server: Server) -> str:
    """Return the statement that switches compression on or changes its columns, for chunks compressed from now on.

    Without an order the present one stays; TimescaleDB takes no empty one.
    """
    order_by = ", ".join(
        f"{qualified(by.column)}{' DESC' if by.descending else ''} NULLS {'FIRST' if by.nulls_first else 'LAST'}"
        for by in compression.order_by
    )
    on, segment, order = _compression_options(server)
    options = [on, f"{segment} = {literal(identifiers(compression.segment_by))}"]
    options += [f"{order} = {literal(order_by)}"] if order_by else []
    return _alter(key, f"SET ({', '.join(options)})")


def disable_compression(key: Key, server: Server) -> str:
    """Return the statement that switches compression off; no chunk may be compressed then."""
    on, _, _ = _compression_options(server)
    return _alter(key, f"SET ({on} = false)")


def decompress(key: Key, max_growth_bytes: int | None, server: Server) -> str:
    """Return a block that decompresses all chunks, each in a transaction of its own; to be run outside of transactions.

    It says beforehand how much the relation will grow, and refuses if that is more than `max_growth_bytes`.
    """
    table = _regclass(key)
    limit = "NULL" if max_growth_bytes is None else str(max_growth_bytes)
    return f"""
        DO $decompress$
        DECLARE
            chunk regclass;
            chunks bigint;
            growth bigint;
        BEGIN
            SELECT count(*), COALESCE(sum(before_compression_total_bytes - after_compression_total_bytes), 0)
            INTO chunks, growth
            FROM {server.function("chunk_compression_stats")}({storage(key)}) WHERE compression_status = 'Compressed';
            IF growth > {limit} THEN
                RAISE EXCEPTION '% chunks of % would grow by about % when decompressed, more than the % allowed; nothing was changed',
                    chunks, {table}, pg_size_pretty(growth), pg_size_pretty({limit}::bigint)
                    USING ERRCODE = 'disk_full', HINT = 'See to free disk space, then raise max_growth_bytes of disable_compression.';
            END IF;
            RAISE NOTICE 'decompressing % chunks of %, which grow by about %', chunks, {table}, pg_size_pretty(growth);
            PERFORM {server.function("alter_job")}(job_id, scheduled => false) FROM {_JOBS} WHERE {_is_job(key, PolicyKind.COMPRESSION)};
            COMMIT;
            FOR chunk IN SELECT {server.function("show_chunks")}({table}) LOOP
                PERFORM {server.function("decompress_chunk")}(chunk, if_compressed => true);
                COMMIT;
            END LOOP;
        END $decompress$
    """


def create_aggregate(spec: AggregateSpec, server: Server) -> Iterator[str]:
    """Yield the statements that make an aggregate without materialising anything."""
    options = f"timescaledb.continuous, timescaledb.materialized_only = {_boolean(spec.materialized_only)}"
    if not spec.create_group_indexes:
        options += ", timescaledb.create_group_indexes = false"
    definition = spec.definition.strip().rstrip(";")
    yield f"CREATE MATERIALIZED VIEW {relation(spec.key)} WITH ({options}) AS\n{definition}\nWITH NO DATA"
    if spec.chunk_interval is not None:
        yield set_chunk_interval(spec.key, spec.chunk_interval, server)
    if spec.comment is not None:
        yield comment(spec.key, spec.comment)


def drop_aggregate(key: Key) -> str:
    """Return the block that drops an aggregate and what it has materialised.

    It is emptied first, else TimescaleDB 2.28 leaves the compressed halves of its chunks behind.
    """
    view = relation(key)
    return f"DO $drop$ BEGIN TRUNCATE {view}; DROP MATERIALIZED VIEW {view}; END $drop$"


def rename_aggregate(key: Key, new_name: str) -> str:
    """Return the statement that renames an aggregate."""
    return f"ALTER MATERIALIZED VIEW {relation(key)} RENAME TO {qualified(new_name)}"


def set_materialized_only(key: Key, *, materialized_only: bool) -> str:
    """Return the statement that switches the computing at query time off or on."""
    return f"ALTER MATERIALIZED VIEW {relation(key)} SET (timescaledb.materialized_only = {_boolean(materialized_only)})"


def comment(key: Key, words: str | None) -> str:
    """Return the statement that comments an aggregate; None removes the comment."""
    return f"COMMENT ON VIEW {relation(key)} IS {'NULL' if words is None else literal(words)}"


def add_policy(key: Key, policy: Policy, server: Server) -> Iterator[str]:
    """Yield the statements that make a policy."""
    server.require(Feature.POLICIES)
    _refuse_without_age(policy)
    every = f"schedule_interval => {policy.schedule_interval.sql}"
    table = _regclass(key)
    if isinstance(policy, RefreshPolicy):
        offsets = f"start_offset => {_sql(policy.start_offset)}, end_offset => {_sql(policy.end_offset)}"
        start = (
            ""
            if policy.phase is None
            else f", initial_start => {_initial_start(policy.schedule_interval.sql, policy.phase, server)}"
        )
        yield f"SELECT {server.function('add_continuous_aggregate_policy')}({table}, {offsets}, {every}{start})"
    elif isinstance(policy, RetentionPolicy):
        function = server.function("add_retention_policy")
        yield f"SELECT {function}({table}, drop_after => {policy.drop_after.sql}, {every})"
    elif server.has(Feature.COLUMNSTORE_NAMES):
        function = server.function("add_columnstore_policy")
        yield f"CALL {function}({table}, after => {policy.compress_after.sql}, {every})"
    else:
        function = server.function("add_compression_policy")
        yield f"SELECT {function}({table}, compress_after => {policy.compress_after.sql}, {every})"
    # By the configuration, which servers that know no batches accept too.
    settings = {name: getattr(policy, name, None) for name in ("buckets_per_batch", "newest_first")}
    changes = {name: value for name, value in settings.items() if value is not None}
    if policy.paused:
        changes["paused"] = True
    if changes:
        yield alter_policy(key, policy.kind, changes, server)


def _refuse_without_age(policy: Policy) -> None:
    """A policy that somebody made by the creation of chunks has none."""
    for field in _BY_CREATION:
        if getattr(policy, field, "") is None:
            raise InvalidInputError(
                field, None, f"give an age such as '90 days'; make a policy by {_BY_CREATION[field]} by hand"
            )


def alter_policy(key: Key, kind: PolicyKind, changes: Mapping[str, Any], server: Server) -> str:
    """Return the statement that changes settings of a policy; its job keeps number and history.

    Args:
        key: relation.
        kind: of the policy.
        changes: the new values by the names of the settings; intervals as `Interval`.
        server: where it runs.
    """
    arguments = ["job.job_id"]
    if "schedule_interval" in changes:
        arguments.append(f"schedule_interval => {changes['schedule_interval'].sql}")
    if changes.keys() & set(_SETTINGS):
        arguments.append(f"config => {_config(changes)}")
    if "paused" in changes:
        arguments.append(f"scheduled => {_boolean(not changes['paused'])}")
    if "phase" in changes:
        phase = changes["phase"]
        arguments.append(f"fixed_schedule => {_boolean(phase is not None)}")
        every = (
            changes["schedule_interval"].sql if "schedule_interval" in changes else "job.schedule_interval"
        )
        if phase is not None:
            arguments.append(f"initial_start => {_initial_start(every, phase, server)}")
    return f"""
        DO $policy$
        DECLARE
            job record;
        BEGIN
            SELECT job_id, schedule_interval, config INTO job FROM {_JOBS} WHERE {_is_job(key, kind)};
            IF NOT FOUND THEN
                RAISE EXCEPTION 'there is no {kind.name.lower()} policy on %', {_regclass(key)} USING ERRCODE = 'undefined_object';
            END IF;
            PERFORM {server.function("alter_job")}({", ".join(arguments)});
        END $policy$
    """


def remove_policy(key: Key, kind: PolicyKind, server: Server) -> str:
    """Return the statement that removes a policy; where there is none it does nothing.

    A revision that was interrupted while chunks were decompressed has removed them already when it runs again.
    """
    arguments = f"{_regclass(key)}, if_exists => true"
    if kind is PolicyKind.REFRESH:
        return f"SELECT {server.function('remove_continuous_aggregate_policy')}({arguments})"
    if kind is PolicyKind.RETENTION:
        return f"SELECT {server.function('remove_retention_policy')}({arguments})"
    if server.has(Feature.COLUMNSTORE_NAMES):
        return f"CALL {server.function('remove_columnstore_policy')}({arguments})"
    return f"SELECT {server.function('remove_compression_policy')}({arguments})"


def _alter(key: Key, action: str) -> str:
    """An aggregate is altered as a materialized view, a hypertable as a table; a script cannot know which it will meet."""
    return f"""
        DO $alter$
        BEGIN
            IF EXISTS (SELECT FROM {_AGGREGATES} WHERE format('%I.%I', view_schema, view_name)::regclass = {_regclass(key)}::regclass) THEN
                ALTER MATERIALIZED VIEW {relation(key)} {action};
            ELSE
                ALTER TABLE {relation(key)} {action};
            END IF;
        END $alter$
    """


def _compression_options(server: Server) -> tuple[str, str, str]:
    server.require(Feature.COMPRESSION)
    if server.has(Feature.COLUMNSTORE_NAMES):
        return "timescaledb.enable_columnstore", "timescaledb.segmentby", "timescaledb.orderby"
    return "timescaledb.compress", "timescaledb.compress_segmentby", "timescaledb.compress_orderby"


def _is_job(key: Key, kind: PolicyKind) -> str:
    return f"""proc_name = '{kind.value}' AND (hypertable_schema, hypertable_name) = (
        SELECT nspname, relname FROM pg_class JOIN pg_namespace AS n ON n.oid = relnamespace
        WHERE pg_class.oid = {_regclass(key)}::regclass
    )"""


def _initial_start(every: str, phase: Interval, server: Server) -> str:
    return f"{server.function('time_bucket')}({every}, now() + {FIRST_RUN_DELAY}) + {every} + {phase.sql}"


def _config(changes: Mapping[str, Any]) -> str:
    """Return an expression for the new configuration; None is a value of an offset, of the rest the server's own choice."""
    given = {name: changes[name] for name in _SETTINGS if name in changes}
    kept = {n: v for n, v in given.items() if v is not None or n.endswith("_offset")}
    merged = {_CONFIG_NAMES.get(name, name): getattr(value, "plain", value) for name, value in kept.items()}
    names = [_CONFIG_NAMES.get(name, name) for name in sorted(given.keys() - kept.keys())]
    names += [by_creation for name, by_creation in _BY_CREATION.items() if name in kept]
    left_out = "".join(f" - {literal(name)}" for name in names)
    return f"(job.config || {literal(json.dumps(merged))}){left_out}"


def _sql(interval: Interval | None) -> str:
    return "NULL" if interval is None else interval.sql


def _boolean(value: bool) -> str:
    return "true" if value else "false"
