"""Metrics as Prometheus reads them."""

from __future__ import annotations

import asyncio
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric
    from prometheus_client.samples import Sample


@dataclass
class Scrape:
    """One answer."""

    text: str

    @property
    def families(self) -> dict[str, Metric]:
        """By name; of the moments at which counters began nothing is told."""
        families = text_string_to_metric_families(self.text)
        return {family.name: family for family in families if not family.name.endswith("_created")}

    @property
    def samples(self) -> list[Sample]:
        return [sample for family in self.families.values() for sample in family.samples]

    def value(self, name: str, **labels: str) -> float:
        (found,) = [one.value for one in self.samples if one.name == name and one.labels == labels]
        return float(found)

    def labels(self, name: str, label: str) -> set[str]:
        return {one.labels[label] for one in self.samples if one.name == name}


async def scrape(address: str) -> Scrape:
    """Read from another thread, as from another machine, while the event loop goes on."""

    def read() -> str:
        with urllib.request.urlopen(address, timeout=30) as answer:  # noqa: S310 (our own address)
            text: str = answer.read().decode()
            return text

    return Scrape(await asyncio.to_thread(read))
