"""How full disks are."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from prometheus_client.registry import Collector

from datalayer.monitoring.metrics.families import gauge

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from prometheus_client.core import Metric


class DiskCollector(Collector):
    """Room on the disks of some folders.

    Args:
        folders: by the name that becomes the label, such as `outbox`. One that is not there has no samples.
    """

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self._folders = dict(folders)

    def collect(self) -> Iterator[Metric]:
        """Return size and room."""
        usages = {name: shutil.disk_usage(path) for name, path in self._folders.items() if path.exists()}
        free = [((name,), usage.free) for name, usage in usages.items()]
        sizes = [((name,), usage.total) for name, usage in usages.items()]
        yield gauge("datalayer_disk_free_bytes", "Bytes free on the disk of a folder.", free, ("folder",))
        yield gauge("datalayer_disk_size_bytes", "Size of the disk of a folder.", sizes, ("folder",))
