"""Connecting by asyncpg: what it is told, and how its failures are called."""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from datalayer.db.driver_errors import network_error
from datalayer.db.transaction_pooler import pooler_arguments
from datalayer.errors import ConfigurationError
from datalayer.timescale.quoting import identifier

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

    from datalayer.config import Settings

# After this the server has not only failed to answer, it has failed to end the statement: nobody is there.
_GRACE_S: Final = 5.0
# A server that vanished without a word is noticed after 30 + 3 * 10 s, also by a connection that only waits.
_KEEPALIVE: Final = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}


def search_path(schema: str) -> str:
    """Return the `search_path` that puts `schema` before `public`, where TimescaleDB's functions live."""
    return "public" if schema == "public" else f"{identifier(schema)}, public"


def session_settings(settings: Settings) -> dict[str, str]:
    """Return the server's parameters, by name, that every statement of ours runs under."""
    chosen = {
        # Compiling takes ten times as long as the short queries over many chunks that it is meant to speed up.
        "jit": "off",
        # TimescaleDB has left out the chunks that do not matter; to compare each that is left with its constraints again
        # is a quarter of what the server does for an answer from history (docs/adr/0015-provider.md).
        "constraint_exclusion": "off",
        "search_path": search_path(settings.database_schema),
        "timezone": "UTC",
    }
    if settings.statement_timeout_s is not None:
        chosen["statement_timeout"] = f"{settings.statement_timeout_s * 1000:.0f}"
    return chosen


def connect_arguments(settings: Settings) -> dict[str, Any]:
    """Return the arguments for SQLAlchemy's asyncpg dialect."""
    arguments: dict[str, Any] = {"async_creator_fn": connect_driver, "timeout": settings.connect_timeout_s}
    server_settings = {"application_name": settings.application_name}
    if settings.pooler == "transaction":
        arguments |= pooler_arguments(session_settings(settings))
    else:
        server_settings |= session_settings(settings)
    if settings.statement_timeout_s is not None:
        arguments["command_timeout"] = settings.statement_timeout_s + _GRACE_S
    if settings.target_session_attrs != "any":
        arguments["target_session_attrs"] = settings.target_session_attrs
    if settings.tls is not None:
        arguments["ssl"] = _tls(settings)
    return arguments | {"server_settings": server_settings}


def driver_url(url: URL, settings: Settings) -> URL:
    """Return the address as asyncpg takes it: libpq's `sslmode` is called `ssl`.

    Raises:
        ConfigurationError: the address and the setting `tls` both say how to encrypt.
    """
    mode = url.query.get("sslmode", url.query.get("ssl"))
    if mode is None:
        return url
    if settings.tls is not None:
        msg = f"the address says {mode!r} and DATALAYER_TLS {settings.tls!r}; leave one of them out"
        raise ConfigurationError(msg)
    return url.difference_update_query(["sslmode"]).update_query_dict({"ssl": mode})


async def connect_driver(*arguments: Any, **options: Any) -> Any:
    """Connect as `asyncpg.connect` does.

    Raises:
        DatabaseUnavailableError: the network does not lead to a server, or it does not answer in time.
    """
    try:
        connection = await asyncpg.connect(*arguments, **options)
    except OSError as exc:
        raise network_error(exc) from exc
    _keep_alive(connection)
    return connection


def _keep_alive(connection: Any) -> None:
    # asyncpg offers no way to its socket, and leaves keepalive off.
    open_socket = connection._transport.get_extra_info("socket")  # noqa: SLF001
    if open_socket is None or open_socket.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    open_socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE.items():
        if hasattr(socket, name):
            open_socket.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _tls(settings: Settings) -> ssl.SSLContext | str:
    if settings.tls in {"disable", "prefer"}:
        return str(settings.tls)
    try:
        context = ssl.create_default_context(cafile=settings.tls_root_cert)
        if settings.tls_cert is not None:
            context.load_cert_chain(settings.tls_cert, settings.tls_key, password="")
    except OSError as exc:  # ssl.SSLError is one
        msg = f"a certificate cannot be loaded: {exc}; look at DATALAYER_TLS_ROOT_CERT, _CERT and _KEY"
        raise ConfigurationError(msg) from exc
    context.check_hostname = settings.tls == "verify-full"
    if settings.tls == "require":
        context.verify_mode = ssl.CERT_NONE
    return context
