"""What a continuous aggregate holds that its source could not give again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from datalayer.timescale.ddl import relation
from datalayer.timescale.quoting import identifier, identifiers, literal, qualified, statement
from datalayer.timescale.temporary_view import temporary_view

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from datalayer.timescale.specs import AggregateSpec

_STORAGE = text("""
    SELECT a.materialization_hypertable_schema AS schema, a.materialization_hypertable_name AS name, d.column_name AS bucket,
           d.time_interval IS NOT NULL AS is_timed, a.view_definition AS definition,
           format('%I.%I', a.hypertable_schema, a.hypertable_name) AS source,
           (SELECT bucket_width FROM _timescaledb_catalog.continuous_aggs_bucket_function WHERE mat_hypertable_id = h.id) AS width,
           (SELECT COALESCE(bucket_timezone, 'UTC') FROM _timescaledb_catalog.continuous_aggs_bucket_function WHERE mat_hypertable_id = h.id) AS timezone,
           ARRAY(SELECT attname::text FROM pg_attribute WHERE attrelid = CAST(:view AS text)::regclass AND attnum > 0
                 AND NOT attisdropped ORDER BY attnum) AS columns
    FROM timescaledb_information.continuous_aggregates AS a JOIN timescaledb_information.dimensions AS d
        ON (d.hypertable_schema, d.hypertable_name) = (a.materialization_hypertable_schema, a.materialization_hypertable_name)
    JOIN _timescaledb_catalog.hypertable AS h
        ON (h.schema_name, h.table_name) = (a.materialization_hypertable_schema, a.materialization_hypertable_name)
    WHERE d.dimension_number = 1 AND format('%I.%I', a.view_schema, a.view_name)::regclass = CAST(:view AS text)::regclass
""")
_READS_OTHER = text("""
    SELECT NOT EXISTS (
        SELECT FROM pg_depend JOIN pg_rewrite AS r ON r.oid = objid AND classid = 'pg_rewrite'::regclass
        WHERE ev_class = CAST(:view AS text)::regclass AND refobjid = CAST(:source AS text)::regclass
    ) AND EXISTS (SELECT FROM pg_attribute WHERE attrelid = CAST(:view AS text)::regclass AND attname = :bucket)
""")


@dataclass(frozen=True, slots=True)
class Loss:
    """Rows that could not be made again.

    Attributes:
        name: of the aggregate.
        rows: how many.
        first: bucket of the earliest, as text.
        last: bucket of the latest, as text.
    """

    name: str
    rows: int
    first: str
    last: str

    def __str__(self) -> str:
        return f"{self.name} holds {self.rows:,} rows of buckets from {self.first} to {self.last} that its source no longer has"


def find_loss(connection: Connection, spec: AggregateSpec, new_definition: str) -> Loss | None:
    """Return what an aggregate has materialised and could not be made again.

    Those are buckets of which its present definition gives fewer rows than are materialised. A bucket of which dropped chunks
    held only the beginning gives as many rows as before, with other values: of the buckets at which the source's chunks
    begin, values are compared; late rows in one of those that were not refreshed yet look the same. It computes the
    aggregate once over all that the source has.

    Where the new definition reads another source, those are also the buckets before the first that it gives.
    """
    storage = connection.execute(_STORAGE, {"view": relation(spec.key)}).one()
    return _lost_by_source(connection, spec, storage) or _lost_by_other_source(
        connection, spec, storage, new_definition
    )


def _lost_by_other_source(
    connection: Connection, spec: AggregateSpec, storage: Any, new_definition: str
) -> Loss | None:
    stored, bucket = qualified(storage.name, storage.schema), identifier(storage.bucket)
    with temporary_view(connection, new_definition) as view:
        names = {"view": view, "source": storage.source, "bucket": storage.bucket}
        if view is None or not connection.scalar(_READS_OTHER, names):
            return None
        row = connection.execute(
            statement(f"""
                SELECT sum(n)::bigint AS n, min(bucket)::text AS first, max(bucket)::text AS last
                FROM (SELECT {bucket} AS bucket, count(*) AS n, lead({bucket}) OVER (ORDER BY {bucket}) AS next FROM {stored} GROUP BY 1) AS stored,
                     (SELECT min({bucket}) AS first FROM {view}) AS given
                WHERE given.first IS NULL OR next <= given.first
            """)
        ).one()
    return Loss(spec.name, row.n, row.first, row.last) if row.n else None


def _lost_by_source(connection: Connection, spec: AggregateSpec, storage: Any) -> Loss | None:
    stored, bucket = qualified(storage.name, storage.schema), identifier(storage.bucket)
    definition = storage.definition.strip().rstrip(";")
    partly = _partly(storage, stored, bucket, definition)
    row = connection.execute(
        statement(f"""
            WITH lost AS (
                SELECT bucket, stored.n - COALESCE(given.n, 0) AS n
                FROM (SELECT {bucket} AS bucket, count(*) AS n FROM {stored} GROUP BY 1) AS stored
                LEFT JOIN (SELECT {bucket} AS bucket, count(*) AS n FROM ({definition}) AS d GROUP BY 1) AS given USING (bucket)
                WHERE stored.n > COALESCE(given.n, 0)
                {partly}
            )
            SELECT sum(n)::bigint AS n, min(bucket)::text AS first, max(bucket)::text AS last
            FROM (SELECT bucket, max(n) AS n FROM lost GROUP BY bucket) AS lost
        """)
    ).one()
    return Loss(spec.name, row.n, row.first, row.last) if row.n else None


def _partly(storage: Any, stored: str, bucket: str, definition: str) -> str:
    source, columns = storage.source, identifiers(storage.columns)
    number = "" if storage.is_timed else "_integer"
    # With nothing before it, a chunk is the first or follows one that was dropped. A bucket that ends before the chunk begins
    # has nothing to do with it.
    end = _end(storage, bucket)
    starts = f"""
        SELECT (SELECT max({bucket}) FROM {stored} WHERE {bucket} < c.range_start{number} AND {end} > c.range_start{number})
        FROM timescaledb_information.chunks AS c WHERE format('%I.%I', hypertable_schema, hypertable_name)::regclass = {literal(source)}::regclass
        AND NOT EXISTS (
            SELECT FROM timescaledb_information.chunks AS p
            WHERE (p.hypertable_schema, p.hypertable_name) = (c.hypertable_schema, c.hypertable_name)
            AND p.range_start{number} < c.range_start{number} AND p.range_end{number} >= c.range_start{number}
        )
    """
    return f"""
        UNION ALL
        SELECT {bucket}, count(*) FROM (
            SELECT {columns} FROM {stored} WHERE {bucket} IN ({starts})
            EXCEPT
            SELECT {columns} FROM ({definition}) AS d WHERE {bucket} IN ({starts})
        ) AS changed GROUP BY {bucket}
    """


def _end(storage: Any, bucket: str) -> str:
    if not storage.is_timed:
        return f"({bucket} + {storage.width})"
    timezone, width = literal(storage.timezone), literal(storage.width)
    return f"({bucket}::timestamptz AT TIME ZONE {timezone} + {width}::interval) AT TIME ZONE {timezone}"
