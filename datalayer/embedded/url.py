"""What an `embedded:///` address names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from datalayer.config import EMBEDDED_SCHEME
from datalayer.errors import ConfigurationError

if TYPE_CHECKING:
    from sqlalchemy.engine import URL


def embedded_folder(url: URL) -> Path | None:
    """Return the folder of an embedded address.

    Args:
        url: parsed by `datalayer.config.parse_database_url`.

    Returns:
        The absolute folder, or None for `embedded:///:memory:`: a private database that ends with its process.

    Raises:
        ConfigurationError: the address names a server.
    """
    if url.drivername != EMBEDDED_SCHEME:
        msg = f"an address that starts with {url.drivername!r} is a server's; an embedded one starts with embedded:///"
        raise ConfigurationError(msg)
    if url.database == ":memory:":
        return None
    return Path("/", url.database or "")
