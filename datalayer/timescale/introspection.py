"""What hypertables and continuous aggregates a server has, in the same values as models declare them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import bindparam, text

from datalayer.errors import ConfigurationError
from datalayer.timescale.intervals import Interval
from datalayer.timescale.specs import (
    AggregateSpec,
    Compression,
    CompressionPolicy,
    HashDimension,
    HypertableSpec,
    OrderBy,
    PolicyKind,
    RangeDimension,
    RefreshPolicy,
    RetentionPolicy,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from sqlalchemy import Connection

    from datalayer.timescale.specs import Dimension, Key, Policy, Relation

BUCKET_ORIGIN: Final = datetime(2000, 1, 3, tzinfo=UTC)
"""From where `time_bucket` counts."""

INTERNAL_SCHEMAS: Final = (
    "_timescaledb_cache",
    "_timescaledb_catalog",
    "_timescaledb_config",
    "_timescaledb_debug",
    "_timescaledb_functions",
    "_timescaledb_internal",
    "timescaledb_experimental",
    "timescaledb_information",
)
"""Schemas of TimescaleDB's own objects, the chunks among them."""


def _interval(expression: str) -> str:
    """Return SQL for the months and microseconds of an interval, whatever the server's `intervalstyle`."""
    months = f"extract(year FROM {expression}) * 12 + extract(month FROM {expression})"
    rest = f"extract(day FROM {expression}) * 86400 + extract(hour FROM {expression}) * 3600"
    rest += f" + extract(minute FROM {expression}) * 60 + extract(second FROM {expression})"
    return f"CASE WHEN {expression} IS NULL THEN NULL ELSE ARRAY[{months}, ({rest}) * 1000000]::bigint[] END"


def _setting(name: str) -> str:
    """Return SQL for an interval or a number in the configuration of a job, as an array of one or two numbers."""
    value = f"(j.config ->> '{name}')"
    number = f"jsonb_typeof(j.config -> '{name}') = 'number'"
    return (
        f"CASE WHEN {number} THEN ARRAY[{value}::bigint] ELSE {_interval(f'{value}::interval')} END AS {name}"
    )


# What is materialised lies in a hypertable of its own; people know the name of the view. Whether the first view lists those
# hypertables too depends on the version.
_RELATIONS = """
    SELECT hypertable_schema AS schema, hypertable_name AS name, hypertable_schema AS storage_schema, hypertable_name AS storage,
           compression_enabled, NULL::text AS view_definition, NULL::boolean AS materialized_only, NULL::name AS source_schema,
           NULL::name AS source, NULL::text AS comment
    FROM timescaledb_information.hypertables
    WHERE (hypertable_schema, hypertable_name) NOT IN (
        SELECT materialization_hypertable_schema, materialization_hypertable_name
        FROM timescaledb_information.continuous_aggregates
    )
    UNION ALL
    SELECT view_schema, view_name, materialization_hypertable_schema, materialization_hypertable_name,
           compression_enabled, view_definition, materialized_only, hypertable_schema, hypertable_name,
           obj_description((quote_ident(view_schema) || '.' || quote_ident(view_name))::regclass, 'pg_class')
    FROM timescaledb_information.continuous_aggregates
"""
_WANTED = "WHERE r.schema IN :schemas"
_LIST = text(f"SELECT * FROM ({_RELATIONS}) AS r {_WANTED} ORDER BY r.schema, r.name")
_DIMENSIONS = text(f"""
    SELECT r.schema, r.name, d.column_name, d.num_partitions,
           CASE WHEN d.integer_interval IS NULL THEN {_interval("d.time_interval")} ELSE ARRAY[d.integer_interval] END AS length
    FROM ({_RELATIONS}) AS r JOIN timescaledb_information.dimensions AS d
        ON (d.hypertable_schema, d.hypertable_name) = (r.storage_schema, r.storage)
    {_WANTED} ORDER BY d.dimension_number
""")
_COMPRESSION = text(f"""
    SELECT r.schema, r.name, s.attname, s.segmentby_column_index, s.orderby_asc, s.orderby_nullsfirst
    FROM ({_RELATIONS}) AS r JOIN timescaledb_information.compression_settings AS s
        ON (s.hypertable_schema, s.hypertable_name) = (r.storage_schema, r.storage)
    {_WANTED} ORDER BY s.segmentby_column_index, s.orderby_column_index
""")
_POLICIES = text(f"""
    SELECT j.hypertable_schema AS schema, j.hypertable_name AS name, j.proc_name, j.scheduled,
           {_interval("j.schedule_interval")} AS schedule_interval,
           {", ".join(_setting(name) for name in ("start_offset", "end_offset", "compress_after", "drop_after"))},
           (j.config ->> 'buckets_per_batch')::integer AS buckets_per_batch,
           (j.config ->> 'refresh_newest_first')::boolean AS newest_first,
           CASE WHEN j.fixed_schedule THEN j.initial_start END AS initial_start
    FROM timescaledb_information.jobs AS j
    WHERE j.hypertable_schema IN :schemas AND j.proc_name IN :kinds ORDER BY j.job_id
""")


@dataclass(frozen=True, slots=True)
class Found:
    """The hypertables and continuous aggregates of some schemas, by schema and name.

    Attributes:
        hypertables: without those that hold what aggregates have materialised.
        aggregates: each after those it reads.
    """

    hypertables: Mapping[Key, HypertableSpec]
    aggregates: Mapping[Key, AggregateSpec]


def find_relations(connection: Connection, schemas: Collection[str | None] = (None,)) -> Found:
    """Return what is in some schemas.

    Args:
        connection: of a database with TimescaleDB; without the extension nothing is found.
        schemas: their names; None stands for the first of the search path, and is what keys say for it.
    """
    if (
        not schemas
        or connection.scalar(text("SELECT to_regclass('timescaledb_information.hypertables')")) is None
    ):
        return Found({}, {})
    default = connection.scalar(text("SELECT current_schema()"))
    return _Reader(connection, {name or default: name for name in schemas}).read()


def refuse_second_refresh(found: Relation) -> None:
    """Refuse an aggregate to which somebody gave a second refresh policy, which cannot be declared.

    Raises:
        ConfigurationError: names the windows of all.
    """
    policies = [policy for policy in found.policies if isinstance(policy, RefreshPolicy)]
    if len(policies) > 1:
        windows = " and ".join(f"{policy.start_offset} to {policy.end_offset}" for policy in policies)
        msg = (
            f"continuous aggregate {found.name} has {len(policies)} refresh policies on the server, of the windows {windows}; "
            "one can be declared: remove the others with delete_job"
        )
        raise ConfigurationError(msg)


class _Reader:
    """One reading; keys name the default schema as the caller did."""

    def __init__(self, connection: Connection, names: Mapping[str, str | None]) -> None:
        self._connection = connection
        self._names = names

    def read(self) -> Found:
        dimensions, compression = self._grouped(_DIMENSIONS), self._grouped(_COMPRESSION)
        policies = self._grouped(_POLICIES, kinds=[kind.value for kind in PolicyKind])
        hypertables: dict[Key, HypertableSpec] = {}
        aggregates: dict[Key, AggregateSpec] = {}
        views: dict[Key, Key] = {}
        for row in self._rows(_LIST):
            key = self._key(row)
            first, *further = dimensions[key]
            common: dict[str, Any] = {
                "name": row["name"],
                "schema": key[0],
                "chunk_interval": _length(first["length"]),
                "compression": _compression(compression[key]) if row["compression_enabled"] else None,
                "policies": tuple(sorted(map(_policy, policies[key]), key=_position)),
            }
            if row["view_definition"] is None:
                hypertables[key] = HypertableSpec(
                    **common, time_column=first["column_name"], dimensions=tuple(map(_dimension, further))
                )
                continue
            views[row["storage_schema"], row["storage"]] = key
            aggregates[key] = AggregateSpec(
                **common,
                definition=row["view_definition"].strip().rstrip(";"),
                materialized_only=row["materialized_only"],
                comment=row["comment"],
                sources=((row["source_schema"], row["source"]),),
            )
        return Found(hypertables, self._sorted(aggregates, views))

    def _sorted(
        self, aggregates: dict[Key, AggregateSpec], views: Mapping[Key, Key]
    ) -> dict[Key, AggregateSpec]:
        """Name the sources as people do, and put each aggregate behind its source."""
        named = {}
        for key, spec in aggregates.items():
            (source,) = spec.sources
            named[key] = replace(
                spec, sources=(views.get(source, (self._names.get(source[0] or "", source[0]), source[1])),)
            )
        done: dict[Key, AggregateSpec] = {}
        while len(done) < len(named):
            done |= {k: s for k, s in named.items() if all(x in done or x not in named for x in s.sources)}
        return done

    def _grouped(self, statement: Any, **parameters: Any) -> defaultdict[Key, list[Mapping[str, Any]]]:
        grouped = defaultdict(list)
        for row in self._rows(statement, **parameters):
            grouped[self._key(row)].append(row)
        return grouped

    def _rows(self, statement: Any, **parameters: Any) -> list[Any]:
        values = {"schemas": list(self._names), **parameters}
        bound = statement.bindparams(*(bindparam(name, expanding=True) for name in values))
        return list(self._connection.execute(bound, values).mappings())

    def _key(self, row: Mapping[str, Any]) -> Key:
        return self._names[row["schema"]], row["name"]


def _length(numbers: list[int] | None) -> Interval | None:
    if numbers is None:
        return None
    return Interval(integer=numbers[0]) if len(numbers) == 1 else Interval(*numbers)


def _dimension(row: Mapping[str, Any]) -> Dimension:
    length = _length(row["length"])
    if length is None:
        return HashDimension(row["column_name"], row["num_partitions"])
    return RangeDimension(row["column_name"], length)


def _compression(rows: list[Mapping[str, Any]]) -> Compression:
    segment_by = [row["attname"] for row in rows if row["segmentby_column_index"] is not None]
    order_by = [
        OrderBy(row["attname"], not row["orderby_asc"], row["orderby_nullsfirst"])
        for row in rows
        if row["segmentby_column_index"] is None
    ]
    return Compression(segment_by=segment_by, order_by=order_by)


def _policy(row: Mapping[str, Any]) -> Policy:
    common: dict[str, Any] = {
        "schedule_interval": _length(row["schedule_interval"]),
        "paused": not row["scheduled"],
    }
    kind = PolicyKind(row["proc_name"])
    if kind is PolicyKind.COMPRESSION:
        return CompressionPolicy(compress_after=_length(row["compress_after"]), **common)  # type: ignore[arg-type]
    if kind is PolicyKind.RETENTION:
        return RetentionPolicy(drop_after=_length(row["drop_after"]), **common)  # type: ignore[arg-type]
    return RefreshPolicy(
        start_offset=_length(row["start_offset"]),
        end_offset=_length(row["end_offset"]),
        phase=_phase(row["initial_start"], common["schedule_interval"]),
        buckets_per_batch=row["buckets_per_batch"],
        newest_first=row["newest_first"],
        **common,
    )


def _phase(initial_start: datetime | None, schedule: Interval) -> Interval | None:
    """Return how long after a multiple of the schedule a job starts; months have no fixed multiples."""
    if initial_start is None or schedule.months or not schedule.microseconds:
        return None
    return Interval.of((initial_start - BUCKET_ORIGIN) % timedelta(microseconds=schedule.microseconds))


def _position(policy: Policy) -> int:
    return tuple(PolicyKind).index(policy.kind)
