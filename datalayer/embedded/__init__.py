"""A TimescaleDB in WebAssembly, behind one narrow interface: for machines without a server."""

from datalayer.embedded.server import EmbeddedTimescale
from datalayer.embedded.status import EmbeddedStatus, JobStatus

__all__ = ["EmbeddedStatus", "EmbeddedTimescale", "JobStatus"]
