"""Serving metrics to Prometheus."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, start_http_server

from datalayer.errors import ConfigurationError
from datalayer.monitoring.metrics.service import ServiceMetrics
from datalayer.timings import reads_observed

if TYPE_CHECKING:
    from collections.abc import Iterator

DEFAULT_PORT: Final = 9464


@contextmanager
def serve_metrics(
    metrics: ServiceMetrics | CollectorRegistry, *, host: str = "127.0.0.1", port: int = DEFAULT_PORT
) -> Iterator[str]:
    """Serve metrics over HTTP within the block, in a thread of their own; reads of this process are measured meanwhile.

    There is no login and no encryption: other machines should reach it through a network that is trusted.

    Args:
        metrics: what is served; a registry with collectors will do.
        host: address to listen on. Default: only this machine reaches it.
        port: 0: any that is free.

    Yields:
        Where they are, as in `http://127.0.0.1:9464/metrics`.

    Raises:
        ConfigurationError: it cannot listen there.
    """
    registry = metrics.registry if isinstance(metrics, ServiceMetrics) else metrics
    with ExitStack() as ending:
        try:
            server, thread = start_http_server(port, host, registry)
        except OSError as exc:
            msg = f"metrics cannot be served at {host}:{port}: {exc.strerror or exc}; choose another port"
            raise ConfigurationError(msg) from exc
        ending.callback(thread.join)
        ending.callback(server.server_close)
        ending.callback(server.shutdown)
        if isinstance(metrics, ServiceMetrics):
            ending.enter_context(reads_observed(metrics.reads.take))
        shown = f"[{host}]" if ":" in host else host
        yield f"http://{shown}:{server.server_port}/metrics"
