"""A plain table with rows, and all that hangs on it, becomes a hypertable and a plain table again."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Identity,
    Index,
    Integer,
    MetaData,
    Table,
    func,
    select,
)
from sqlalchemy.exc import DBAPIError

from datalayer.timescale import CompressionPolicy, HashDimension, continuous_aggregate, time_bucket
from tests.catalog import _SCHEMA
from tests.integration.timescale.declared import ALL, BY_DEVICE, FILL, ROWS, compress, readings

if TYPE_CHECKING:
    from tests.integration.timescale.project import AlembicProject

AROUND = [
    "CREATE SEQUENCE numbers OWNED BY readings.number",
    "ALTER TABLE readings ALTER number SET DEFAULT nextval('numbers')",
    "ALTER TABLE readings ADD CONSTRAINT not_absurd CHECK (value < 1e9)",
    "ALTER TABLE readings ALTER value SET STATISTICS 500",
    "COMMENT ON CONSTRAINT not_absurd ON readings IS 'it''s a check'",
    "COMMENT ON INDEX by_value IS 'for the largest'",
    "CREATE STATISTICS together ON device, value FROM readings",
    "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
    "CREATE TRIGGER kept BEFORE INSERT ON readings FOR EACH ROW EXECUTE FUNCTION keep()",
    "CREATE TRIGGER off BEFORE UPDATE ON readings FOR EACH ROW EXECUTE FUNCTION keep()",
    "COMMENT ON TRIGGER kept ON readings IS 'keeps'",
    "GRANT SELECT ON readings TO PUBLIC",
    "GRANT INSERT, UPDATE ON readings TO pg_monitor WITH GRANT OPTION",
    "GRANT UPDATE (value) ON readings TO pg_read_all_stats",
    "ALTER TABLE readings SET (fillfactor = 80, autovacuum_enabled = false)",
]
# Beside what a schema says in words: rights, comments, storage options, statistics, owned sequences, whether a trigger is on.
FURTHER = """
    SELECT 'rights', attname, acl::text FROM (
        SELECT '' AS attname, relacl AS acl FROM pg_class WHERE oid = 'readings'::regclass
        UNION ALL SELECT attname, attacl FROM pg_attribute WHERE attrelid = 'readings'::regclass
    ) AS a WHERE acl IS NOT NULL
    UNION ALL SELECT 'options', reloptions::text, relrowsecurity::text FROM pg_class WHERE oid = 'readings'::regclass
    UNION ALL SELECT 'statistics target', attname, COALESCE(attstattarget, -1)::text FROM pg_attribute WHERE attrelid = 'readings'::regclass AND attnum > 0
    UNION ALL SELECT 'trigger', tgname, tgenabled::text FROM pg_trigger WHERE tgrelid = 'readings'::regclass AND NOT tgisinternal
    UNION ALL SELECT 'comment', conname, obj_description(oid, 'pg_constraint') FROM pg_constraint WHERE conrelid = 'readings'::regclass
    UNION ALL SELECT 'comment', tgname, obj_description(oid, 'pg_trigger') FROM pg_trigger WHERE tgrelid = 'readings'::regclass AND NOT tgisinternal
    UNION ALL SELECT 'comment', relname, obj_description(oid, 'pg_class') FROM pg_class WHERE relnamespace = quote_ident(current_schema())::regnamespace
    UNION ALL SELECT 'statistics', stxname, pg_get_statisticsobjdef(oid) FROM pg_statistic_ext WHERE stxrelid = 'readings'::regclass
    UNION ALL SELECT 'sequence', COALESCE(pg_get_serial_sequence('readings', 'number'), '?'), COALESCE(pg_get_serial_sequence('readings', 'id'), '?')
    UNION ALL SELECT 'policy', polname, pg_get_expr(polqual, polrelid) FROM pg_policy WHERE polrelid = 'readings'::regclass
"""
EVERYTHING = ALL.replace("value", "id, number, value")


def declare(*, hypertable: Any = None) -> MetaData:
    metadata = MetaData()
    Table("devices", metadata, Column("id", Integer, primary_key=True, autoincrement=False))
    table = readings(
        metadata,
        Column("id", BigInteger, Identity(always=True), nullable=False),
        Column("number", Integer, nullable=False),
        hypertable=hypertable,
        comment="it's 100% of them",
    )
    table.c.device.append_foreign_key(ForeignKey("devices.id", name="known", ondelete="CASCADE"))
    table.c.value.comment = "in °C"
    Index("by_value", table.c.value.desc())
    Index("partial", table.c.number.desc(), table.c.ts, postgresql_where=table.c.device > 1)
    return metadata


def description(project: AlembicProject) -> list[str]:
    """Without the marks that TimescaleDB and Alembic leave, and the order in which rights were given."""
    rows = [*project.rows(_SCHEMA), *project.rows(FURTHER)]
    lines = (" | ".join(map(str, row)) for row in rows if "RI_Constraint" not in str(row))  # numbered
    sort = re.compile(r"\{.*\}")
    return sorted(
        sort.sub(lambda found: ",".join(sorted(found[0].strip("{}").split(","))), line) for line in lines
    )


def test_a_hypertable_made_by_hand_is_taken_over(project: AlembicProject) -> None:
    """As many have it: default indexes, compression without an order, an aggregate whose bucket is called bucket."""
    project.execute(
        "CREATE TABLE readings (ts timestamptz, device int, value float8, PRIMARY KEY (ts, device))",
        "SELECT create_hypertable('readings', 'ts')",
        "ALTER TABLE readings SET (timescaledb.compress, timescaledb.compress_segmentby = 'device')",
        "SELECT add_compression_policy('readings', INTERVAL '7 days')",
        FILL,
        "CREATE MATERIALIZED VIEW hourly WITH (timescaledb.continuous) AS"
        " SELECT time_bucket('1 hour', ts) AS bucket, device, max(value) AS highest FROM readings GROUP BY bucket, device",
        compress("readings"),
    )
    rows = project.rows(ALL)
    metadata = MetaData()
    policies = [CompressionPolicy(compress_after="7 days")]
    hypertable = {"chunk_interval": "7 days", "compression": BY_DEVICE, "policies": policies}
    c = readings(metadata, hypertable=hypertable).c
    bucket = time_bucket("1 hour", c.ts)
    definition = select(bucket.label("bucket"), c.device, func.max(c.value).label("highest"))
    definition = definition.group_by(bucket, c.device)
    continuous_aggregate("hourly", metadata, definition, materialized_only=True)
    differences = project.differences(metadata)
    if differences:  # whether the order is set by itself depends on the version
        assert differences == [("alter_compression", None, "readings", {"order_by": ([], ["ts DESC"])})]
    project.migrate(metadata)
    project.downgrade("-1")
    project.upgrade()
    assert project.rows(ALL) == rows


@pytest.fixture
def filled(project: AlembicProject) -> AlembicProject:
    project.migrate(declare())
    project.execute("INSERT INTO devices SELECT generate_series(1, 3)", *AROUND, FILL)
    project.execute("ALTER TABLE readings DISABLE TRIGGER off", "DELETE FROM readings WHERE number % 7 = 0")
    return project


@pytest.mark.parametrize(
    "further", [{}, {"dimensions": [HashDimension("device", 2)]}], ids=["time", "time and device"]
)
def test_round_trip_of_a_table_with_rows(filled: AlembicProject, further: dict[str, Any]) -> None:
    before, rows = description(filled), filled.rows(EVERYTHING)
    assert 0 < len(rows) < ROWS
    declared = declare(hypertable={"compression": BY_DEVICE, **further})
    written = filled.migrate(declared)
    assert "migrate_data=True" in written
    assert filled.rows(EVERYTHING) == rows
    assert filled.rows("SELECT count(*) FROM ONLY readings")[0][0] == 0, "all rows are in chunks"
    filled.execute(compress("readings"))
    assert filled.rows(EVERYTHING) == rows

    filled.downgrade("-1")
    assert filled.differences(declare()) == []
    assert filled.rows(EVERYTHING) == rows
    assert description(filled) == before


def test_numbering_goes_on_where_it_was(filled: AlembicProject) -> None:
    add = "INSERT INTO readings (ts, device, value) VALUES ('2025-01-01Z', 1, 1) RETURNING id, number"
    filled.migrate(declare(hypertable={}))
    filled.downgrade("-1")
    (highest,) = filled.rows("SELECT max(id), max(number) FROM readings")
    filled.execute(add)
    assert filled.rows("SELECT max(id), max(number) FROM readings") == [(ROWS + 1, ROWS + 1)]
    assert all(value <= ROWS for value in highest)


def test_row_security_stays(filled: AlembicProject) -> None:
    filled.execute(
        "ALTER TABLE readings ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY own_device ON readings FOR SELECT TO pg_monitor USING (device = 1)",
    )
    before = description(filled)
    filled.migrate(declare(hypertable={}))
    filled.downgrade("-1")
    assert description(filled) == before


def test_what_reads_a_hypertable_stops_its_undoing(filled: AlembicProject) -> None:
    filled.migrate(declare(hypertable={}))
    rows = filled.rows(EVERYTHING)
    filled.execute("CREATE VIEW latest AS SELECT max(ts) FROM readings")
    with pytest.raises(DBAPIError, match="latest"):
        filled.downgrade("-1")
    assert filled.rows(EVERYTHING) == rows
    assert filled.differences(declare(hypertable={})) == []
