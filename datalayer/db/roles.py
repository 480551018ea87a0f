"""Three roles with the least rights that their work needs: who owns the schema, who writes, who reads.

Roles belong to a server and revisions to a database, so an administrator makes the roles once, without passwords; each upgrade
of the schema then gives them their rights on what it brought. Why it is cut like this: ADR 0022.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from datalayer.config import EMBEDDED_SCHEME
from datalayer.db.connection import DatabaseConnectionManager
from datalayer.db.copy_transfer import driver_connection
from datalayer.db.driver_errors import driver_operation
from datalayer.db.role_names import MIGRATE, READ, WRITE
from datalayer.db.server_gate import check_server
from datalayer.errors import ConfigurationError
from datalayer.timescale.quoting import identifier, literal

if TYPE_CHECKING:
    from datalayer.config import Settings

# The only list that writers take from; everything else that was stored stays, and is marked at most.
_CLEARED: Final = "dirty_ranges"
_OWN: Final = """
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.oid = to_regnamespace({schema}) AND c.relkind IN ('r', 'p', 'v', 'm')
      AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.objid = c.oid AND d.deptype = 'e')
"""
_RIGHTS: Final = f"""
DO $rights$
DECLARE
    relation record;
BEGIN
    IF to_regrole('{WRITE}') IS NULL OR to_regrole('{READ}') IS NULL THEN
        RETURN;  -- nobody has made the roles: whoever owns the schema is its only user
    END IF;
    FOR relation IN
        SELECT format('%I.%I', n.nspname, c.relname) AS name, c.oid, c.relkind IN ('r', 'p') AND c.relname <> 'alembic_version' AS is_written,
               c.relname = '{_CLEARED}' AS is_cleared
        {_OWN}
    LOOP
        IF NOT has_table_privilege('{READ}', relation.oid, 'SELECT') THEN
            EXECUTE format('GRANT SELECT ON %s TO {READ}', relation.name);
        END IF;
        IF relation.is_written AND NOT has_table_privilege('{WRITE}', relation.oid, 'INSERT') THEN
            EXECUTE format('GRANT INSERT, UPDATE ON %s TO {WRITE}', relation.name);
        END IF;
        IF relation.is_cleared AND NOT has_table_privilege('{WRITE}', relation.oid, 'DELETE') THEN
            EXECUTE format('GRANT DELETE ON %s TO {WRITE}', relation.name);
        END IF;
    END LOOP;
END $rights$;
"""
_HEAD: Final = """\
-- The roles of the data layer, as `datalayer db roles` makes them; `datalayer db roles --sql` prints this.
-- Run by psql, as a user who owns the database and may create roles. It may be repeated.
\\set ON_ERROR_STOP on
SET client_min_messages = warning;
BEGIN;
"""
_ROLES: Final = f"""\
DO $roles$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['{MIGRATE}', '{WRITE}', '{READ}'] LOOP
        IF to_regrole(role) IS NULL THEN
            EXECUTE format('CREATE ROLE %I', role);
        END IF;
    END LOOP;
    IF NOT pg_has_role('{MIGRATE}', 'USAGE') THEN
        GRANT {MIGRATE} TO CURRENT_USER;  -- else an administrator who is no superuser could not hand over to it
    END IF;
    EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO {MIGRATE}, {WRITE}', current_database());
END $roles$;
-- TimescaleDB runs policies as the owner of their tables, and only if he may log in. Without a password he cannot.
ALTER ROLE {MIGRATE} LOGIN;
GRANT {READ} TO {WRITE};
CREATE EXTENSION IF NOT EXISTS timescaledb SCHEMA public;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
CREATE SCHEMA IF NOT EXISTS {{name}};
GRANT USAGE, CREATE ON SCHEMA {{name}} TO {MIGRATE};
GRANT USAGE ON SCHEMA {{name}} TO {READ};
-- What somebody else has created there is handed over; chunks and policies follow their tables.
DO $owner$
DECLARE
    command text;
BEGIN
    FOR command IN
        SELECT format(
            'ALTER %s %s OWNER TO {MIGRATE}',
            CASE WHEN a.view_name IS NOT NULL OR c.relkind = 'm' THEN 'MATERIALIZED VIEW'
                 WHEN c.relkind = 'v' THEN 'VIEW' ELSE 'TABLE' END,
            format('%I.%I', c.nspname, c.relname)
        )
        FROM (SELECT c.*, n.nspname {_OWN}) AS c
        LEFT JOIN timescaledb_information.continuous_aggregates AS a ON (a.view_schema, a.view_name) = (c.nspname, c.relname)
        WHERE c.relowner <> '{MIGRATE}'::regrole
        UNION ALL
        SELECT format('ALTER ROUTINE %s OWNER TO {MIGRATE}', p.oid::regprocedure)
        FROM pg_proc AS p WHERE p.pronamespace = to_regnamespace({{schema}}) AND p.proowner <> '{MIGRATE}'::regrole
          AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.objid = p.oid AND d.deptype = 'e')
    LOOP
        EXECUTE command;
    END LOOP;
END $owner$;
"""


def rights_sql(schema: str) -> str:
    """Return a statement that gives the roles their rights on what a schema holds now; does nothing without roles."""
    return _filled(_RIGHTS, schema)


def roles_script(schema: str) -> str:
    """Return a script for psql that makes the roles and hands a schema over to them. It may be repeated."""
    return f"{_HEAD}{_roles_sql(schema)}COMMIT;\n"


def _roles_sql(schema: str) -> str:
    return _filled(_ROLES, schema) + rights_sql(schema)


async def create_roles(settings: Settings) -> None:
    """Make the roles on the server, and give them their rights on the database and the schema, in one transaction.

    May be repeated. Everything in the schema belongs to `datalayer_migrate` afterwards, so nothing of others may lie there.

    Args:
        settings: database and schema; the user must own the database and be allowed to create roles.

    Raises:
        ConfigurationError: no database is configured, it is embedded, or it is behind a transaction pooler.
        DatabaseError: the server refuses; nothing was changed.
        UnsupportedServerError: the server will not do.
    """
    if settings.require_url().drivername == EMBEDDED_SCHEME:
        msg = "the embedded database has one user; roles are for a server"
        raise ConfigurationError(msg)
    async with (
        DatabaseConnectionManager(settings.for_maintenance()) as database,
        database.engine.connect() as conn,
    ):
        await conn.run_sync(check_server)
        async with conn.begin(), driver_operation(conn):
            await (await driver_connection(conn)).execute(_roles_sql(settings.database_schema))


def _filled(sql: str, schema: str) -> str:
    name = identifier(schema)
    return sql.replace("{schema}", literal(name)).replace("{name}", name)
