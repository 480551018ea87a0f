"""The database that commands work on."""

from __future__ import annotations

from datalayer.config import Settings


def database_settings() -> Settings:
    """Return the settings, in which there is a database.

    Raises:
        ConfigurationError: `DATALAYER_DATABASE_URL` is not set.
    """
    settings = Settings.load()
    settings.require_url()
    return settings
