"""Reading the metrics that a service serves, without a Prometheus."""

from __future__ import annotations

import math
import re
import urllib.request
from dataclasses import dataclass, field
from http.client import HTTPException
from time import monotonic
from typing import TYPE_CHECKING, Final

from datalayer.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Mapping

_TIMEOUT_S: Final = 5.0
_SAMPLE: Final = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$")
_LABEL: Final = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True)
class Reading:
    """What was served at one moment.

    Attributes:
        at: seconds that never run backwards.
        values: by name and labels.
    """

    at: float
    values: Mapping[tuple[str, frozenset[tuple[str, str]]], float] = field(default_factory=dict)

    def total(self, name: str, **labels: str) -> float:
        """Return the sum of all samples with a name and, among others, these labels; 0: there are none."""
        wanted = frozenset(labels.items())
        return sum(value for (given, own), value in self.values.items() if given == name and wanted <= own)

    def by_label(self, name: str, label: str) -> dict[str, float]:
        """Return the sums of a name by one of its labels."""
        found: dict[str, float] = {}
        for (given, own), value in self.values.items():
            if given == name and (key := dict(own).get(label)) is not None:
                found[key] = found.get(key, 0.0) + value
        return found


def read_endpoint(address: str) -> Reading:
    """Read what is served at an address; blocks for some seconds at most.

    Raises:
        InvalidInputError: the address is none of HTTP.
        OSError: nothing answers there, or something else than metrics.
    """
    checked_address(address)
    try:
        with urllib.request.urlopen(address, timeout=_TIMEOUT_S) as answer:  # noqa: S310 (checked just now)
            samples = [
                found for line in answer.read().decode().splitlines() if (found := _SAMPLE.match(line))
            ]
        values = {(one[1], frozenset(_LABEL.findall(one[2] or ""))): float(one[3]) for one in samples}
    except (HTTPException, ValueError) as exc:
        msg = f"these are no metrics: {exc}"
        raise OSError(msg) from exc
    return Reading(monotonic(), values)


def checked_address(address: str) -> str:
    """Return the address of metrics.

    Raises:
        InvalidInputError: it is none of HTTP.
    """
    if not address.startswith(("http://", "https://")):
        raise InvalidInputError("metrics", address, "give an address such as http://127.0.0.1:9464/metrics")
    return address


def rate(before: Reading, after: Reading, name: str, **labels: str) -> float:
    """Return how much a counter grew in a second between two readings; after a restart of the service, since that."""
    grown = after.total(name, **labels) - before.total(name, **labels)
    if grown < 0:
        grown = after.total(name, **labels)
    return grown / max(after.at - before.at, 1e-9)


def quantile(before: Reading, after: Reading, name: str, part: float, **labels: str) -> float:
    """Return a quantile of what a histogram took in between two readings, as Prometheus interpolates it; NaN: nothing.

    Args:
        before: the earlier one.
        after: the later one.
        name: of the histogram, without `_bucket`.
        part: in [0, 1].
        labels: of the series that count; several are added up.
    """
    bounds = after.by_label(f"{name}_bucket", "le")
    counted = {
        float(bound): max(
            after.total(f"{name}_bucket", le=bound, **labels)
            - before.total(f"{name}_bucket", le=bound, **labels),
            0.0,
        )
        for bound in bounds
    }
    wanted = part * counted.get(math.inf, 0.0)
    if wanted <= 0:
        return math.nan
    lower, below = 0.0, 0.0
    for bound, count in sorted(counted.items()):
        if count >= wanted:
            return (
                lower if math.isinf(bound) else lower + (bound - lower) * (wanted - below) / (count - below)
            )
        lower, below = bound, count
    return math.nan
