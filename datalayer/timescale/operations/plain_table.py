"""Turning a hypertable back into an ordinary table."""

from __future__ import annotations

from datalayer.timescale.quoting import identifier, qualified, regclass


def plain_table(name: str, schema: str | None) -> str:
    """Return a block that copies the rows of a hypertable to an ordinary table and puts that in its place.

    The new table gets the constraints, indexes, triggers, comments, sequences, owner and grants of the old one.
    """
    copy = "plain_" + name
    return f"""
        DO $plain$
        DECLARE
            old regclass := {regclass(name, schema)};
            new regclass;
            owner name;
            words text;
            restore text[];
            sequences text[];
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
            SELECT pg_get_userbyid(relowner), obj_description(oid, 'pg_class') INTO owner, words FROM pg_class WHERE oid = old;
            -- Primary key before foreign keys, constraints before further indexes.
            restore := ARRAY(
                SELECT format('ALTER TABLE {_format(name, schema)} ADD CONSTRAINT %I %s', conname, pg_get_constraintdef(oid))
                FROM pg_constraint WHERE conrelid = old AND contype <> 'n' AND contype <> 't'
                ORDER BY position(contype::text IN 'pucxf')
            ) || ARRAY(
                SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = old
                AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid AND conrelid = old)
            ) || ARRAY(
                SELECT pg_get_triggerdef(oid) FROM pg_trigger
                WHERE tgrelid = old AND NOT tgisinternal AND tgname <> 'ts_insert_blocker'
            ) || ARRAY(
                SELECT format('GRANT %s ON {_format(name, schema)} TO %s%s', privilege_type,
                    CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END,
                    CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
                FROM pg_class, aclexplode(relacl) WHERE pg_class.oid = old AND grantee <> relowner
            );
            -- Sequences of serial columns belong to the old table and would go with it.
            sequences := ARRAY(
                SELECT format('ALTER SEQUENCE %s OWNED BY {_format(name, schema)}.%I', d.objid::regclass, attname)
                FROM pg_depend AS d JOIN pg_attribute ON attrelid = old AND attnum = refobjsubid
                WHERE refobjid = old AND refclassid = 'pg_class'::regclass AND classid = 'pg_class'::regclass AND deptype = 'a'
                AND EXISTS (SELECT FROM pg_class WHERE oid = d.objid AND relkind = 'S')
            );
            FOREACH command IN ARRAY sequences LOOP
                EXECUTE regexp_replace(command, ' OWNED BY .*', ' OWNED BY NONE');
            END LOOP;
            CREATE TABLE {qualified(copy, schema)} (
                LIKE {qualified(name, schema)} INCLUDING COMMENTS INCLUDING COMPRESSION INCLUDING DEFAULTS
                INCLUDING GENERATED INCLUDING IDENTITY INCLUDING STATISTICS INCLUDING STORAGE
            );
            new := {regclass(copy, schema)};
            EXECUTE format('INSERT INTO %s (%s) OVERRIDING SYSTEM VALUE SELECT %2$s FROM %s', new, (
                SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
                WHERE attrelid = old AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
            ), old);
            FOR command IN
                SELECT format('SELECT setval(%L, last_value, is_called) FROM %s',
                    pg_get_serial_sequence(new::text, attname), pg_get_serial_sequence(old::text, attname))
                FROM pg_attribute WHERE attrelid = old AND attidentity <> ''
            LOOP
                EXECUTE command;
            END LOOP;
            DROP TABLE {qualified(name, schema)};
            ALTER TABLE {qualified(copy, schema)} RENAME TO {identifier(name)};
            EXECUTE format('ALTER TABLE {_format(name, schema)} OWNER TO %I', owner);
            IF words IS NOT NULL THEN
                EXECUTE format('COMMENT ON TABLE {_format(name, schema)} IS %L', words);
            END IF;
            FOREACH command IN ARRAY restore || sequences LOOP
                EXECUTE command;
            END LOOP;
        END $plain$
    """


def _format(name: str, schema: str | None) -> str:
    """Return the name for the first argument of SQL's `format`, inside of a literal."""
    return qualified(name, schema).replace("%", "%%").replace("'", "''")
