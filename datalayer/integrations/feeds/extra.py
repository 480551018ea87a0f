"""The packages of the extra `feeds`; where they are missing the error names it."""

from __future__ import annotations

from datalayer.errors import ConfigurationError

try:
    import aiohttp
    import websockets
    from websockets.asyncio.client import ClientConnection, connect
except ModuleNotFoundError as exc:
    msg = f"live feeds need the package {exc.name}; run `pip install 'datalayer[feeds]'`"
    raise ConfigurationError(msg) from exc

__all__ = ["ClientConnection", "aiohttp", "connect", "websockets"]
