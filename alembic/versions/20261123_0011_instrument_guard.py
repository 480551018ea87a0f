"""Guard of the instruments that have rows.

A foreign key would cost a trigger call a row on the hypertables; this holds the same promise from the other side, for
the aggregates too, since they outlive their sources.

Revision ID: 0011
Revises: 0010
"""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

RELATIONS = (
    "candles, candles_1m, candles_5m, candles_15m, candles_1h, candles_4h, candles_1d, "
    "trades, order_books, order_book_1s, order_book_1m, order_book_imbalances"
)


def upgrade() -> None:
    op.execute(f"""
        CREATE FUNCTION guard_instruments() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE
            relation text;
            used boolean;
        BEGIN
            IF TG_OP = 'TRUNCATE' THEN
                RAISE EXCEPTION 'truncate of instruments is refused: rows that stay would belong to whoever gets their ids'
                    USING ERRCODE = 'restrict_violation', CONSTRAINT = 'guard_instruments', TABLE = TG_TABLE_NAME,
                    SCHEMA = TG_TABLE_SCHEMA, HINT = 'DELETE looks at each instrument before it goes.';
            END IF;
            IF TG_OP = 'UPDATE' AND current_setting('datalayer.rescaling', true) = OLD.symbol AND NEW.id = OLD.id THEN
                RETURN NEW;
            END IF;
            FOREACH relation IN ARRAY string_to_array('{RELATIONS}', ', ') LOOP
                EXECUTE format(
                    'SELECT EXISTS (SELECT FROM %I.%I WHERE instrument_id = $1)', TG_TABLE_SCHEMA, relation
                ) INTO used USING OLD.id;
                IF used THEN
                    RAISE EXCEPTION '% of % is refused: % has rows of it, whose integers mean something only with its id and scales',
                        lower(TG_OP), OLD.symbol, relation
                        USING ERRCODE = 'restrict_violation', CONSTRAINT = 'guard_instruments', TABLE = TG_TABLE_NAME,
                        SCHEMA = TG_TABLE_SCHEMA,
                        HINT = 'A scale may change while the instrument has no rows; to delete it, delete its rows first.';
                END IF;
            END LOOP;
            RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
        END $$
    """)
    op.execute(
        "COMMENT ON FUNCTION guard_instruments() IS 'refuses what would alter the meaning of stored rows; whoever rewrites "
        "the rows of one instrument in the same transaction sets datalayer.rescaling to its symbol'"
    )
    op.execute("""
        CREATE TRIGGER guard_instruments_delete BEFORE DELETE ON instruments
        FOR EACH ROW EXECUTE FUNCTION guard_instruments()
    """)
    op.execute("""
        CREATE TRIGGER guard_instruments_update BEFORE UPDATE ON instruments
        FOR EACH ROW WHEN ((NEW.id, NEW.price_scale, NEW.size_scale) IS DISTINCT FROM (OLD.id, OLD.price_scale, OLD.size_scale))
        EXECUTE FUNCTION guard_instruments()
    """)
    op.execute("""
        CREATE TRIGGER guard_instruments_truncate BEFORE TRUNCATE ON instruments
        FOR EACH STATEMENT EXECUTE FUNCTION guard_instruments()
    """)


def downgrade() -> None:
    for event in ("truncate", "update", "delete"):
        op.execute(f"DROP TRIGGER guard_instruments_{event} ON instruments")
    op.execute("DROP FUNCTION guard_instruments()")
