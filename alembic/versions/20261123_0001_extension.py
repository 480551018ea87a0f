"""The TimescaleDB extension.

It belongs to the database, not to this schema: it stays on downgrade, and `public` holds its functions.

Revision ID: 0001
Revises:
"""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE EXTENSION IF NOT EXISTS timescaledb SCHEMA public")
    # Which licence a build has is known for certain only now; a refusal here rolls the extension back too.
    op.execute("""
        DO $$
        BEGIN
            IF current_setting('timescaledb.license') <> 'timescale' THEN
                RAISE EXCEPTION 'this TimescaleDB runs under the % licence; continuous aggregates and compression '
                    'need the community edition with timescaledb.license = timescale',
                    current_setting('timescaledb.license') USING ERRCODE = 'feature_not_supported';
            END IF;
        END $$
    """)


def downgrade() -> None:
    """Leave the extension: other schemas of the database may use it."""
