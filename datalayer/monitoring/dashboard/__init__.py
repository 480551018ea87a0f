"""A read-only web page about the database. Needs the extra `dashboard`."""

from datalayer.errors import ConfigurationError

try:
    import aiohttp  # noqa: F401 (the one place that says which extra is missing)
except ImportError as exc:
    msg = (
        "the dashboard needs aiohttp, the extra `dashboard` of this package; `pip install aiohttp` brings it"
    )
    raise ConfigurationError(msg) from exc

from datalayer.monitoring.dashboard.site import serve_dashboard

__all__ = ["serve_dashboard"]
