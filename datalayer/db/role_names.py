"""The roles of a server that `datalayer db roles` makes."""

from __future__ import annotations

from typing import Final

MIGRATE: Final = "datalayer_migrate"
"""Owns the schema: runs revisions, refreshes aggregates, takes files of a migration in and out, widens scales."""
WRITE: Final = "datalayer_write"
"""Inserts and updates, and reads."""
READ: Final = "datalayer_read"
"""Reads."""
