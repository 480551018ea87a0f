"""Writes `docs/reference/configuration.md` from the settings: python -m tools.configuration_page."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

from pydantic import SecretStr

from datalayer.config import Settings

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "configuration.md"
HEAD = """\
# Configuration

Settings come from environment variables. Whatever is not acceptable, or contradicts another setting, is refused when a program
starts, by its name and with the reason; a password is never repeated. `datalayer.Settings.load` takes the same names in small
letters, without the prefix, as arguments, which win over the environment.

This page is written from the settings by `python -m tools.configuration_page`.

| variable | value | default | meaning |
|---|---|---|---|
"""
TAIL = """
The embedded database also uses `XDG_RUNTIME_DIR` and `TMPDIR` for its sockets.

What the settings of connections do together is in [Connect, and stay connected](../how-to/connections.md); how secrets get to a
service is in [Deploy](../how-to/deployment.md#passwords-and-who-may-what).

## In Python

::: datalayer.config
    options:
      members: [Settings, parse_database_url]
      show_root_heading: false
"""
KINDS = {
    int: "whole number",
    float: "number",
    str: "text",
    SecretStr: "address of a database, which may hold a password",
}
BOUNDS = {"ge": "from {}", "gt": "above {}", "min_length": "", "max_length": "up to {} characters"}


def page() -> str:
    """Return the page as it should be."""
    meanings = attributes(Settings)
    rows = (
        f"| `DATALAYER_{name.upper()}` | {kind(field)} | {default(field)} | {meanings[name]} |\n"
        for name, field in Settings.model_fields.items()
    )
    return HEAD + "".join(rows) + TAIL


def attributes(documented: type) -> dict[str, str]:
    """Return the text of each attribute in a Google docstring, as one line that stands in a table."""
    _, _, section = inspect.getdoc(documented).partition("Attributes:\n")  # type: ignore[union-attr]
    entries = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", section, re.MULTILINE)
    return {name: re.sub(r"\s+", " ", text).replace("|", "\\|") for name, text in entries}


def kind(field: FieldInfo) -> str:
    """Return what a value may be, in words."""
    union = get_origin(field.annotation) in {Union, UnionType}
    (annotation,) = (
        [one for one in get_args(field.annotation) if one is not NoneType] if union else [field.annotation]
    )
    if get_origin(annotation) is Literal:
        return "one of " + ", ".join(f"`{choice}`" for choice in get_args(annotation))
    if annotation not in KINDS:
        return "folder" if field.default_factory else "file that is there"
    bounds = [limit for constraint in field.metadata for limit in words(constraint)]
    return ", ".join([KINDS[annotation], *bounds])


def words(constraint: Any) -> list[str]:
    """Return a constraint of pydantic in words."""
    found = {name: getattr(constraint, name, None) for name in BOUNDS}
    return [
        BOUNDS[name].format(f"{limit:g}")
        for name, limit in found.items()
        if limit is not None and BOUNDS[name]
    ]


def default(field: FieldInfo) -> str:
    """Return a default as it is written in the environment."""
    if field.default_factory is not None:
        return "the user's own"
    return "none" if field.default is None else f"`{field.default}`"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
