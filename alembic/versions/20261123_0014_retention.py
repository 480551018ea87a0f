"""Retention policies, paused.

Imported history is older than any window, and a job that nobody switched on must not delete it. `datalayer db policies
--resume-retention` switches them on.

Revision ID: 0014
Revises: 0013
"""

from __future__ import annotations

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

POLICIES = (
    ("trades", "365 days"),
    ("order_books", "30 days"),
    ("order_book_imbalances", "90 days"),
    ("order_book_1s", "180 days"),
)


def upgrade() -> None:
    for relation, drop_after in POLICIES:
        op.add_retention_policy(relation, drop_after=drop_after, schedule_interval="1 day", paused=True)


def downgrade() -> None:
    for relation, _ in POLICIES:
        op.remove_retention_policy(relation)
