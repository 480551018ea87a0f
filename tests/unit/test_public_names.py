"""What can be imported from `datalayer` is described in the reference, each class on a page of its own."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

import datalayer

CHECKOUT = Path(__file__).parents[2]
REFERENCE = CHECKOUT / "docs" / "reference"
CLASSES = [name for name in datalayer.__all__ if inspect.isclass(getattr(datalayer, name))]
OTHERS = [name for name in datalayer.__all__ if name not in CLASSES]


@pytest.mark.parametrize("name", [name for name in CLASSES if name != "Settings"])
def test_every_public_class_has_a_page(name: str) -> None:
    assert (REFERENCE / "classes" / f"{name}.md").read_text().startswith(f"::: datalayer.{name}\n")
    assert f"- {name}: reference/classes/{name}.md\n" in (CHECKOUT / "mkdocs.yml").read_text()
    assert f"[{name}](classes/{name}.md)" in (REFERENCE / "api.md").read_text()


@pytest.mark.parametrize("name", OTHERS)
def test_every_public_function_has_its_place_in_the_reference(name: str) -> None:
    assert f"\n::: datalayer.{name}\n" in (REFERENCE / "api.md").read_text()
