-- The roles of the data layer, as `datalayer db roles` makes them; `datalayer db roles --sql` prints this.
-- Run by psql, as a user who owns the database and may create roles. It may be repeated.
\set ON_ERROR_STOP on
SET client_min_messages = warning;
BEGIN;
DO $roles$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['datalayer_migrate', 'datalayer_write', 'datalayer_read'] LOOP
        IF to_regrole(role) IS NULL THEN
            EXECUTE format('CREATE ROLE %I', role);
        END IF;
    END LOOP;
    IF NOT pg_has_role('datalayer_migrate', 'USAGE') THEN
        GRANT datalayer_migrate TO CURRENT_USER;  -- else an administrator who is no superuser could not hand over to it
    END IF;
    EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO datalayer_migrate, datalayer_write', current_database());
END $roles$;
-- TimescaleDB runs policies as the owner of their tables, and only if he may log in. Without a password he cannot.
ALTER ROLE datalayer_migrate LOGIN;
GRANT datalayer_read TO datalayer_write;
CREATE EXTENSION IF NOT EXISTS timescaledb SCHEMA public;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
CREATE SCHEMA IF NOT EXISTS "public";
GRANT USAGE, CREATE ON SCHEMA "public" TO datalayer_migrate;
GRANT USAGE ON SCHEMA "public" TO datalayer_read;
-- What somebody else has created there is handed over; chunks and policies follow their tables.
DO $owner$
DECLARE
    command text;
BEGIN
    FOR command IN
        SELECT format(
            'ALTER %s %s OWNER TO datalayer_migrate',
            CASE WHEN a.view_name IS NOT NULL OR c.relkind = 'm' THEN 'MATERIALIZED VIEW'
                 WHEN c.relkind = 'v' THEN 'VIEW' ELSE 'TABLE' END,
            format('%I.%I', c.nspname, c.relname)
        )
        FROM (SELECT c.*, n.nspname 
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.oid = to_regnamespace('"public"') AND c.relkind IN ('r', 'p', 'v', 'm')
      AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.objid = c.oid AND d.deptype = 'e')
) AS c
        LEFT JOIN timescaledb_information.continuous_aggregates AS a ON (a.view_schema, a.view_name) = (c.nspname, c.relname)
        WHERE c.relowner <> 'datalayer_migrate'::regrole
        UNION ALL
        SELECT format('ALTER ROUTINE %s OWNER TO datalayer_migrate', p.oid::regprocedure)
        FROM pg_proc AS p WHERE p.pronamespace = to_regnamespace('"public"') AND p.proowner <> 'datalayer_migrate'::regrole
          AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.objid = p.oid AND d.deptype = 'e')
    LOOP
        EXECUTE command;
    END LOOP;
END $owner$;

DO $rights$
DECLARE
    relation record;
BEGIN
    IF to_regrole('datalayer_write') IS NULL OR to_regrole('datalayer_read') IS NULL THEN
        RETURN;  -- nobody has made the roles: whoever owns the schema is its only user
    END IF;
    FOR relation IN
        SELECT format('%I.%I', n.nspname, c.relname) AS name, c.oid, c.relkind IN ('r', 'p') AND c.relname <> 'alembic_version' AS is_written,
               c.relname = 'dirty_ranges' AS is_cleared
        
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.oid = to_regnamespace('"public"') AND c.relkind IN ('r', 'p', 'v', 'm')
      AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.objid = c.oid AND d.deptype = 'e')

    LOOP
        IF NOT has_table_privilege('datalayer_read', relation.oid, 'SELECT') THEN
            EXECUTE format('GRANT SELECT ON %s TO datalayer_read', relation.name);
        END IF;
        IF relation.is_written AND NOT has_table_privilege('datalayer_write', relation.oid, 'INSERT') THEN
            EXECUTE format('GRANT INSERT, UPDATE ON %s TO datalayer_write', relation.name);
        END IF;
        IF relation.is_cleared AND NOT has_table_privilege('datalayer_write', relation.oid, 'DELETE') THEN
            EXECUTE format('GRANT DELETE ON %s TO datalayer_write', relation.name);
        END IF;
    END LOOP;
END $rights$;
COMMIT;
