"""Metrics for Prometheus: what a process measures of itself, and what a database tells of itself."""

from datalayer.errors import ConfigurationError

try:
    import prometheus_client  # noqa: F401 (the one place that says which extra is missing)
except ImportError as exc:
    msg = "metrics need prometheus-client, the extra `metrics` of this package; `pip install prometheus-client` brings it"
    raise ConfigurationError(msg) from exc

from datalayer.monitoring.metrics.database import DatabaseCollector
from datalayer.monitoring.metrics.disks import DiskCollector
from datalayer.monitoring.metrics.feeds import FeedCollector
from datalayer.monitoring.metrics.service import ServiceMetrics
from datalayer.monitoring.metrics.serving import DEFAULT_PORT, serve_metrics

__all__ = [
    "DEFAULT_PORT",
    "DatabaseCollector",
    "DiskCollector",
    "FeedCollector",
    "ServiceMetrics",
    "serve_metrics",
]
