"""Prometheus' own tool, where it is installed (Debian: `apt-get install prometheus`)."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client.samples import Sample

ROOT = Path(__file__).parents[1]
RULES = ROOT / "deploy" / "prometheus" / "datalayer.rules.yml"
DASHBOARD = ROOT / "deploy" / "grafana" / "dashboards" / "datalayer.json"

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None,
    reason="promtool is not installed; `apt-get install prometheus` brings it",
)


def rules() -> list[dict[str, Any]]:
    """All alerts."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def run_rule_tests(folder: Path, tests: list[dict[str, Any]], every: str = "1m") -> str:
    """Run tests by `promtool test rules`; returns what it says, empty if they pass."""
    path = folder / "test.yml"
    path.write_text(
        yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": every, "tests": tests})
    )
    found = subprocess.run(
        ["promtool", "test", "rules", str(path)], capture_output=True, text=True, check=False
    )
    return "" if found.returncode == 0 else found.stdout + found.stderr


def input_series(samples: Iterable[Sample]) -> list[dict[str, str]]:
    """Samples of a scrape as series that stay as they are for a quarter of an hour."""
    return [{"series": selector(one.name, one.labels), "values": f"{one.value!r}x15"} for one in samples]


def selector(name: str, labels: dict[str, str]) -> str:
    """A series as PromQL names it."""
    inner = ", ".join(f'{label}="{value}"' for label, value in labels.items())
    return f"{name}{{{inner}}}"
