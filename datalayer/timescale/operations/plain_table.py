"""Turning a hypertable back into an ordinary table."""

from __future__ import annotations

from typing import Final

from datalayer.timescale.operations.rights import grants
from datalayer.timescale.quoting import identifier, qualified, regclass

# The statements that make what hangs on a table, for the table that takes its place. Primary key before foreign keys,
# constraints before further indexes, all of them before comments. `old` is the table and `own` its name, quoted.
_RESTORE: Final = (
    """SELECT format('ALTER TABLE %s ADD CONSTRAINT %I %s', own, conname, pg_get_constraintdef(oid))
       FROM pg_constraint WHERE conrelid = old AND contype <> 'n' AND contype <> 't' ORDER BY position(contype::text IN 'pucxf')""",
    """SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = old
       AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid AND conrelid = old)""",
    """SELECT pg_get_triggerdef(oid) FROM pg_trigger
       WHERE tgrelid = old AND NOT tgisinternal AND tgname <> 'ts_insert_blocker'""",
    """SELECT format('ALTER TABLE %s %s TRIGGER %I', own,
           CASE tgenabled WHEN 'D' THEN 'DISABLE' WHEN 'A' THEN 'ENABLE ALWAYS' ELSE 'ENABLE REPLICA' END, tgname)
       FROM pg_trigger WHERE tgrelid = old AND NOT tgisinternal AND tgenabled <> 'O'""",
    "SELECT pg_get_statisticsobjdef(oid) FROM pg_statistic_ext WHERE stxrelid = old",
    """SELECT format('CREATE POLICY %I ON %s AS %s FOR %s TO %s', polname, own,
           CASE WHEN polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,
           CASE polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE' ELSE 'ALL' END,
           (SELECT string_agg(CASE role WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(role)) END, ', ') FROM unnest(polroles) AS role))
           || COALESCE(' USING (' || pg_get_expr(polqual, old) || ')', '')
           || COALESCE(' WITH CHECK (' || pg_get_expr(polwithcheck, old) || ')', '')
       FROM pg_policy WHERE polrelid = old""",
    """SELECT format('ALTER TABLE %s %s ROW LEVEL SECURITY', own, command)
       FROM pg_class, LATERAL (VALUES ('ENABLE', relrowsecurity), ('FORCE', relforcerowsecurity)) AS c (command, wanted)
       WHERE oid = old AND wanted""",
    """SELECT format('ALTER TABLE %s SET (%s)', own, array_to_string(reloptions, ', ')) FROM pg_class
       WHERE oid = old AND reloptions IS NOT NULL""",
    """SELECT format('ALTER TABLE %s ALTER %I SET STATISTICS %s', own, attname, attstattarget) FROM pg_attribute
       WHERE attrelid = old AND attnum > 0 AND attstattarget >= 0 AND NOT attisdropped""",
    """SELECT format('ALTER TABLE %s REPLICA IDENTITY %s', own, CASE relreplident WHEN 'f' THEN 'FULL' WHEN 'n' THEN 'NOTHING'
           ELSE 'USING INDEX ' || (SELECT quote_ident(relname) FROM pg_index JOIN pg_class AS i ON i.oid = indexrelid WHERE indrelid = old AND indisreplident) END)
       FROM pg_class WHERE oid = old AND relreplident <> 'd'""",
    """SELECT format('COMMENT ON TABLE %s IS %L', own, obj_description(old, 'pg_class'))
       WHERE obj_description(old, 'pg_class') IS NOT NULL""",
    """SELECT format('COMMENT ON CONSTRAINT %I ON %s IS %L', conname, own, description)
       FROM pg_constraint AS o JOIN pg_description ON objoid = o.oid AND classoid = 'pg_constraint'::regclass WHERE conrelid = old""",
    """SELECT format('COMMENT ON TRIGGER %I ON %s IS %L', tgname, own, description)
       FROM pg_trigger AS o JOIN pg_description ON objoid = o.oid AND classoid = 'pg_trigger'::regclass WHERE tgrelid = old""",
    """SELECT format('COMMENT ON INDEX %s IS %L', indexrelid::regclass, description)
       FROM pg_index JOIN pg_description ON objoid = indexrelid AND classoid = 'pg_class'::regclass WHERE indrelid = old""",
    f"SELECT command FROM ({grants('old', 'own')}) AS granted",
    # Sequences of serial columns belong to the old table and would go with it.
    """SELECT format('ALTER SEQUENCE %s OWNED BY %s.%I', sequence, own, attname) FROM unnest(sequences, owners) AS s (sequence, attname)""",
)


def plain_table(name: str, schema: str | None, *, keep_rows: bool = True) -> str:
    """Return a block that copies the rows of a hypertable to an ordinary table and puts that in its place.

    The new table gets the constraints, indexes, statistics, triggers, row security, storage options, comments, sequences,
    owner and grants of the old one.
    """
    copy = "plain_" + name
    empty = f"TRUNCATE {qualified(name, schema)};"  # DROP TABLE alone leaves the compressed halves of chunks behind
    restore = " || ".join(f"ARRAY({query})" for query in _RESTORE)
    return f"""
        DO $plain$
        #variable_conflict use_column
        DECLARE
            old regclass := {regclass(name, schema)};
            own text := {regclass(name, schema)};
            new regclass;
            owner name;
            restore text[];
            sequences regclass[];
            owners name[];
            sequence_of_old regclass;
            sequence_of_new text;
            command text;
            reader text;
        BEGIN
            SELECT format('%I.%I', view_schema, view_name) INTO reader FROM timescaledb_information.continuous_aggregates
            WHERE format('%I.%I', hypertable_schema, hypertable_name)::regclass = old LIMIT 1;
            IF FOUND THEN
                RAISE EXCEPTION '% is read by the continuous aggregate %; drop that first', old, reader
                    USING ERRCODE = 'dependent_objects_still_exist';
            END IF;
            LOCK TABLE {qualified(name, schema)} IN ACCESS EXCLUSIVE MODE;
            {"" if keep_rows else empty}
            SELECT pg_get_userbyid(relowner) INTO owner FROM pg_class WHERE oid = old;
            SELECT array_agg(objid::regclass), array_agg(attname) INTO sequences, owners
            FROM pg_depend JOIN pg_attribute ON attrelid = old AND attnum = refobjsubid
            WHERE refobjid = old AND refclassid = 'pg_class'::regclass AND classid = 'pg_class'::regclass AND deptype = 'a'
            AND EXISTS (SELECT FROM pg_class WHERE oid = objid AND relkind = 'S');
            restore := {restore};
            FOREACH command IN ARRAY COALESCE(sequences, '{{}}') LOOP
                EXECUTE format('ALTER SEQUENCE %s OWNED BY NONE', command);
            END LOOP;
            CREATE TABLE {qualified(copy, schema)} (
                LIKE {qualified(name, schema)} INCLUDING COMMENTS INCLUDING COMPRESSION INCLUDING DEFAULTS
                INCLUDING GENERATED INCLUDING IDENTITY INCLUDING STORAGE
            );
            new := {regclass(copy, schema)};
            EXECUTE format('INSERT INTO %s (%s) OVERRIDING SYSTEM VALUE SELECT %2$s FROM %s', new, (
                SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
                WHERE attrelid = old AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
            ), old);
            FOR sequence_of_old, sequence_of_new IN
                SELECT pg_get_serial_sequence(old::text, attname)::regclass, pg_get_serial_sequence(new::text, attname)
                FROM pg_attribute WHERE attrelid = old AND attidentity <> ''
            LOOP
                EXECUTE format('SELECT setval(%L, last_value, is_called) FROM %s', sequence_of_new, sequence_of_old);
                restore := restore || (SELECT format('ALTER SEQUENCE %s RENAME TO %I', sequence_of_new, relname)
                                       FROM pg_class WHERE oid = sequence_of_old);
            END LOOP;
            {empty}
            DROP TABLE {qualified(name, schema)};
            ALTER TABLE {qualified(copy, schema)} RENAME TO {identifier(name)};
            EXECUTE format('ALTER TABLE %s OWNER TO %I', own, owner);
            FOREACH command IN ARRAY restore LOOP
                EXECUTE command;
            END LOOP;
        END $plain$
    """
