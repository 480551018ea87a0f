"""The pages of who runs it: a section for each alert, and no command or option that does not exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from datalayer.cli import app

CHECKOUT = Path(__file__).parents[3]
RUNBOOK = CHECKOUT / "docs/how-to/runbook.md"
RULES = yaml.safe_load((CHECKOUT / "deploy/prometheus/datalayer.rules.yml").read_text(encoding="utf-8"))
ALERTS = {rule["alert"]: rule for group in RULES["groups"] for rule in group["rules"] if "alert" in rule}
PAGES = [
    CHECKOUT / f"docs/how-to/{name}.md" for name in ("deployment", "backup", "runbook", "troubleshooting")
]
COMMAND = re.compile(r"`(datalayer [^`]+)`|^ {4,}(?:\S+=\S* )*(datalayer .+)$", re.MULTILINE)


def told(page: Path) -> list[str]:
    return [
        inline or line.split("  ")[0] for inline, line in COMMAND.findall(page.read_text(encoding="utf-8"))
    ]


def unknown(command_line: str) -> str | None:
    """Return the first word of a command line that the program does not know, or None."""
    words = shlex.split(command_line.split(" > ", maxsplit=1)[0], comments=True)[1:]
    command: Any = typer.main.get_command(app)
    while words and hasattr(command, "commands"):
        if words[0] not in command.commands:
            return words[0]
        command = command.commands[words.pop(0)]
    options = {
        option for parameter in command.params for option in [*parameter.opts, *parameter.secondary_opts]
    }
    return next((word for word in words if word.startswith("--") and word not in options), None)


def test_every_alert_has_a_section_and_leads_to_it() -> None:
    sections = re.findall(r"^## (.+)$", RUNBOOK.read_text(encoding="utf-8"), re.MULTILINE)
    assert sections == list(ALERTS)
    for name, rule in ALERTS.items():
        assert rule["annotations"]["runbook_url"] == f"docs/how-to/runbook.md#{name.lower()}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_is_one(page: Path) -> None:
    assert [(line, unknown(line)) for line in told(page) if unknown(line) is not None] == []


def test_commands_are_found_and_wrong_ones_noticed() -> None:
    assert sum(len(told(page)) for page in PAGES) > 40
    assert unknown("datalayer db polices") == "polices"
    assert unknown("datalayer db digest --until now > file") == "--until"
