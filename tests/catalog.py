"""What a database looks like from outside: everything that exists in it, and one schema in words."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sqlalchemy import text

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

_OBJECTS = """
    SELECT 'relation', n.nspname, relname, relkind::text FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
    UNION ALL SELECT 'function', n.nspname, proname, pg_get_function_identity_arguments(p.oid) FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace
    UNION ALL SELECT 'type', n.nspname, typname, '' FROM pg_type t JOIN pg_namespace n ON n.oid = typnamespace
    UNION ALL SELECT 'constraint', n.nspname, conname, conrelid::regclass::text FROM pg_constraint c JOIN pg_namespace n ON n.oid = connamespace
    UNION ALL SELECT 'trigger', tgrelid::regclass::text, tgname, '' FROM pg_trigger
    UNION ALL SELECT 'comment', classoid::regclass::text, objoid::text || '/' || objsubid, description FROM pg_description
    UNION ALL SELECT 'schema', nspname, '', '' FROM pg_namespace
"""
# Toast tables and temporary schemas are named by numbers that come and go.
_PASSING = re.compile(r"pg_toast|pg_temp")
_CATALOG_TABLES = text("""
    SELECT format('%I.%I', nspname, relname) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
    WHERE relkind = 'r' AND (nspname IN ('_timescaledb_catalog', '_timescaledb_config') OR relname = 'bgw_job_stat')
      AND relname NOT IN ('metadata', 'telemetry_event', 'compression_algorithm')
""")

_SCHEMA = """
    SELECT 'relation', relname, relkind::text || ' ' || COALESCE(obj_description(c.oid, 'pg_class'), '')
    FROM pg_class c WHERE relnamespace = quote_ident(current_schema())::regnamespace AND relkind <> 'i'
    UNION ALL SELECT 'column', attrelid::regclass::text, concat_ws(' ', attname, format_type(atttypid, atttypmod), attnotnull, attidentity,
        (SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid = attrelid AND adnum = attnum), col_description(attrelid, attnum))
    FROM pg_attribute JOIN pg_class c ON c.oid = attrelid WHERE relnamespace = quote_ident(current_schema())::regnamespace AND attnum > 0 AND relkind <> 'i'
    UNION ALL SELECT 'constraint', conname, conrelid::regclass::text || ' ' || pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = quote_ident(current_schema())::regnamespace
    UNION ALL SELECT 'index', indexname, indexdef FROM pg_indexes WHERE schemaname = current_schema()
    UNION ALL SELECT 'view', viewname, definition FROM pg_views WHERE schemaname = current_schema()
    UNION ALL SELECT 'trigger', tgname, pg_get_triggerdef(t.oid) FROM pg_trigger t JOIN pg_class c ON c.oid = tgrelid WHERE NOT tgisinternal AND relnamespace = quote_ident(current_schema())::regnamespace
    UNION ALL SELECT 'function', proname, pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = quote_ident(current_schema())::regnamespace
    UNION ALL SELECT 'policy', hypertable_name::text, concat_ws(' ', proc_name, schedule_interval, scheduled, config - 'mat_hypertable_id' - 'hypertable_id')
    FROM timescaledb_information.jobs WHERE hypertable_schema = current_schema()
    UNION ALL SELECT 'chunks', COALESCE(view_name, d.hypertable_name), time_interval::text FROM timescaledb_information.dimensions d
    LEFT JOIN timescaledb_information.continuous_aggregates a ON a.materialization_hypertable_name = d.hypertable_name
    WHERE COALESCE(view_schema, d.hypertable_schema) = current_schema()
    UNION ALL SELECT 'compression', COALESCE(view_name, s.hypertable_name), concat_ws(' ', attname, segmentby_column_index, orderby_column_index, orderby_asc)
    FROM timescaledb_information.compression_settings s
    LEFT JOIN timescaledb_information.continuous_aggregates a ON a.materialization_hypertable_name = s.hypertable_name
    WHERE COALESCE(view_schema, s.hypertable_schema) = current_schema()
    UNION ALL SELECT 'aggregate', view_name, concat_ws(' ', materialized_only, compression_enabled, view_definition)
    FROM timescaledb_information.continuous_aggregates WHERE view_schema = current_schema()
"""


async def list_traces(conn: AsyncConnection) -> set[str]:
    """Return one line for each object of the database and for each row of TimescaleDB's own catalog."""
    found = {" | ".join(map(str, row)) for row in await conn.execute(text(_OBJECTS))}
    for table in (await conn.scalars(_CATALOG_TABLES)).all():
        found |= {f"{table} {row}" for row in await conn.scalars(text(f"SELECT t::text FROM {table} AS t"))}
    return {line for line in found if not _PASSING.search(line)}


async def describe_schema(conn: AsyncConnection) -> list[str]:
    """Return the current schema in sorted lines, without its name and without TimescaleDB's running numbers."""
    schema = await conn.scalar(text("SELECT quote_ident(current_schema())"))
    lines = (" | ".join(map(str, row)) for row in await conn.execute(text(_SCHEMA)))
    number = re.compile(r"(hypertable_|ts_cagg_\w+_|trigger\('|watermark\()\d+")
    return sorted(number.sub(r"\1#", line).replace(f"{schema}.", "") for line in lines)
