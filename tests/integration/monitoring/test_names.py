"""The names of metrics and labels that are really given: those in the docs, in the alerts and on the dashboard are among them."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import empty
from tests.monitored import fail_once, monitored, work
from tests.promtool import DASHBOARD, input_series, needs_promtool, rules, run_rule_tests

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from datalayer.config import Settings
    from tests.scraping import Scrape

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "metrics.md"
WRITE = os.environ.get("DATALAYER_TEST_WRITE_DOCS")
BEGIN, END = "<!-- metrics: written by the test that compares them -->\n", "<!-- end -->\n"
SELECTOR = re.compile(r"datalayer_\w+(?:\{[^}]*\})?")
OF_PROMETHEUS = {"job", "instance"}


@pytest.fixture(scope="module")
async def everything(migrated: Settings, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scrape]:
    """A scrape in which every metric has a value."""
    folder = tmp_path_factory.mktemp("service")
    async with monitored(migrated, folder) as service:
        await work(service)
        await fail_once(service, folder)
        yield await service.scrape()
        await empty(service.database.engine)


def table(found: Scrape) -> str:
    """The metrics as a Markdown table."""
    lines = ["| metric | type | labels | meaning |", "|---|---|---|---|"]
    for name, family in sorted(found.families.items()):
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        shown = f"{name}_total" if family.type == "counter" else name
        listed = ", ".join(f"`{label}`" for label in sorted(labels)) or "-"
        lines.append(f"| `{shown}` | {family.type} | {listed} | {family.documentation} |")
    return "\n".join(lines) + "\n"


def queries() -> dict[str, str]:
    """The queries of the dashboard by panel."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return {
        f"{panel['title']} {target['refId']}": target["expr"]
        .replace("$__rate_interval", "5m")
        .replace("$symbol", ".*")
        for panel in panels
        for target in panel.get("targets", ())
    }


def expressions() -> list[str]:
    return [*queries().values(), *(rule["expr"] for rule in rules())]


async def test_the_page_lists_what_is_given(everything: Scrape) -> None:
    listed = table(everything)
    head, _, rest = PAGE.read_text().partition(BEGIN)
    written, _, tail = rest.partition(END)
    if WRITE:
        PAGE.write_text(f"{head}{BEGIN}{listed}{END}{tail}")
        pytest.skip("the page is written anew")
    assert written == listed


async def test_every_metric_and_label_that_is_asked_for_is_given(everything: Scrape) -> None:
    labels: dict[str, set[str]] = {}
    for sample in everything.samples:
        labels.setdefault(sample.name, set()).update(sample.labels)
    for expression in expressions():
        names = re.findall(r"datalayer_\w+", expression)
        assert set(names) <= set(labels), expression
        known = {label for name in names for label in labels[name]} | OF_PROMETHEUS
        grouped = {
            label for group in re.findall(r"by \(([^)]*)\)", expression) for label in group.split(", ")
        }
        matched = set(re.findall(r"(\w+)(?:=~|!=|=)\"", expression))
        assert grouped | matched <= known, expression
    for rule in rules():
        named = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
        assert named <= {label for name in labels for label in labels[name]} | OF_PROMETHEUS


@needs_promtool
async def test_every_query_of_the_dashboard_and_the_alerts_finds_something(
    everything: Scrape, tmp_path: Path
) -> None:
    # What is compared finds nothing while all is well: of that, its series alone.
    asked = {query for query in queries().values() if not re.search(r"[<>]|==", query)}
    asked |= {series for expression in expressions() for series in SELECTOR.findall(expression)}
    tests = [_finds_something(query) for query in sorted(asked)]
    one = {"interval": "1m", "input_series": input_series(everything.samples), "promql_expr_test": tests}
    assert run_rule_tests(tmp_path, [one]) == ""


@needs_promtool
def test_a_query_that_finds_nothing_is_seen(tmp_path: Path) -> None:
    one = {"interval": "1m", "input_series": [], "promql_expr_test": [_finds_something("datalayer_nothing")]}
    assert "FAILED" in run_rule_tests(tmp_path, [one])


def _finds_something(query: str) -> dict[str, Any]:
    return {
        "expr": f"count({query}) > bool 0",
        "eval_time": "10m",
        "exp_samples": [{"labels": "{}", "value": 1}],
    }
