"""The command line on the database of a test."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typer.testing import CliRunner

if TYPE_CHECKING:
    from datalayer.config import Settings


def shell_on(settings: Settings) -> CliRunner:
    """Return a runner whose environment names the database and the schema of some settings."""
    url = settings.require_url().render_as_string(hide_password=False)
    return CliRunner(
        env={"DATALAYER_DATABASE_URL": url, "DATALAYER_DATABASE_SCHEMA": settings.database_schema}
    )
