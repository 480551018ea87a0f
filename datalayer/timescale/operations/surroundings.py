"""What goes with a continuous aggregate when it is dropped, beside what its specification says, and how it comes again."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import text

from datalayer.timescale import ddl
from datalayer.timescale.operations.rights import grants
from datalayer.timescale.quoting import identifier, regclass, statement
from datalayer.timescale.specs import Compression, OrderBy

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sqlalchemy import Connection

    from datalayer.timescale.server import Server
    from datalayer.timescale.specs import AggregateSpec, Key, Policy

JOB: Final = text("""
    SELECT job_id, scheduled, max_runtime::text, max_retries, retry_period::text, initial_start::text,
           fixed_schedule, pg_get_userbyid(owner) AS owner,
           owner IN (SELECT oid FROM pg_roles WHERE rolcanlogin) AS can_log_in, config - 'mat_hypertable_id' - 'hypertable_id' AS config
    FROM timescaledb_information.jobs
    WHERE proc_name = :kind AND format('%I.%I', hypertable_schema, hypertable_name)::regclass = CAST(:view AS text)::regclass
""")
"""The job of a policy of an aggregate, `:kind` of it and `:view` the quoted name."""

_OWNER = text("SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = CAST(:view AS text)::regclass")
# A unique index cannot be made on an aggregate. Those that nobody has named are called after what is materialised.
_INDEXES: Final = """
    SELECT substr(definition, strpos(definition, ' USING ')) AS how, indnkeyatts > 1 AS of_several,
           CASE WHEN starts_with(relname, (SELECT relname FROM pg_class WHERE oid = indrelid) || '_') THEN ''
                ELSE quote_ident(relname) END AS name,
           ARRAY(SELECT attname::text FROM pg_depend JOIN pg_attribute ON (attrelid, attnum) = (refobjid, refobjsubid)
                 WHERE (classid, objid, refobjid) = ('pg_class'::regclass, indexrelid, indrelid)) AS columns
    FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid, LATERAL pg_get_indexdef(indexrelid) AS definition
    WHERE indrelid = {} AND NOT indisunique ORDER BY relname
"""
_COLUMNS: Final = """
    SELECT attname, attname = (
        SELECT column_name FROM timescaledb_information.dimensions
        WHERE dimension_number = 1 AND format('%I.%I', hypertable_schema, hypertable_name)::regclass = {}
    ) AS is_bucket
    FROM pg_attribute WHERE attrelid = {}::regclass AND attnum > 0
"""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What goes with an aggregate.

    Attributes:
        owner: of the view.
        column_grants: statements, each with the column it is of.
        grants: statements.
        indexes: name, empty where nobody gave one, what follows the name of the relation, and columns.
        has_group_indexes: TimescaleDB has indexed what is grouped by.
        jobs: rows of `JOB` by policy.
    """

    owner: str
    column_grants: Sequence[tuple[str, str]]
    grants: Sequence[str]
    indexes: Sequence[tuple[str, str, set[str]]]
    has_group_indexes: bool
    jobs: Mapping[Policy, Mapping[str, Any]]

    @classmethod
    def of(cls, connection: Connection, spec: AggregateSpec) -> Surroundings:
        """Return what goes with an aggregate that is there."""
        view = {"view": ddl.relation(spec.key)}
        jobs = {
            policy: dict(connection.execute(JOB, {**view, "kind": policy.kind.value}).mappings().one())
            for policy in spec.policies
        }
        view_literal = regclass(spec.name, spec.schema)
        given = connection.execute(statement(grants(f"{view_literal}::regclass", view_literal))).all()
        indexes = _indexes(connection, spec.key)
        return cls(
            owner=str(connection.scalar(_OWNER, view)),
            column_grants=[(row.of_column, row.command) for row in given if row.of_column is not None],
            grants=[row.command for row in given if row.of_column is None],
            indexes=[(row.name, row.how, set(row.columns)) for row in indexes],
            has_group_indexes=any(row.of_several and not row.name for row in indexes)
            or not _has_groups(spec.definition),
            jobs=jobs,
        )


def creation(
    connection: Connection, spec: AggregateSpec, surroundings: Surroundings, server: Server
) -> Iterator[str]:
    """Yield the statements that make an aggregate with all that went with it, each to be run before the next is asked for.

    What refers to columns that the definition no longer has is left out. A job belongs to the owner at its making. What is
    compressed takes no grants on columns.
    """
    yield from ddl.create_aggregate(
        replace(spec, create_group_indexes=surroundings.has_group_indexes), server
    )
    for job in surroundings.jobs.values():
        if job["can_log_in"]:
            yield _owned_by(spec.key, job["owner"])
    query = _COLUMNS.format(ddl.storage(spec.key), regclass(spec.name, spec.schema))
    columns: dict[str, bool] = {row.attname: row.is_bucket for row in connection.execute(statement(query))}
    yield from (command for column, command in surroundings.column_grants if column in columns)
    made = {row.how for row in _indexes(connection, spec.key)}
    for name, how, of_columns in surroundings.indexes:
        if how not in made and of_columns <= columns.keys():
            yield f"CREATE INDEX {name} ON {ddl.relation(spec.key)}{how}"
    if spec.compression is not None:
        yield ddl.enable_compression(spec.key, _remaining(spec.compression, columns), server)
    for policy in spec.policies:
        yield from ddl.add_policy(spec.key, policy, server)
    yield _owned_by(spec.key, surroundings.owner)
    yield from surroundings.grants


def _indexes(connection: Connection, key: Key) -> Sequence[Any]:
    return connection.execute(statement(_INDEXES.format(ddl.storage(key)))).all()


def _remaining(compression: Compression, columns: Mapping[str, bool]) -> Compression:
    order_by = [by for by in compression.order_by if by.column in columns]
    ordered = {by.column for by in order_by}
    buckets = [name for name, is_bucket in columns.items() if is_bucket and name not in ordered]
    segment_by = [column for column in compression.segment_by if column in columns]
    return Compression(segment_by=segment_by, order_by=[*order_by, *map(OrderBy, buckets)])


def _has_groups(definition: str) -> bool:
    """Say whether a definition in the server's words is grouped by more than the bucket."""
    clause, inner = definition.rpartition("GROUP BY")[2], None
    while clause != inner:
        clause, inner = re.sub(r"\([^()]*\)", "", clause), clause
    return "," in clause.partition("HAVING")[0]


def _owned_by(key: Key, owner: str) -> str:
    return f"ALTER MATERIALIZED VIEW {ddl.relation(key)} OWNER TO {identifier(owner)}"
