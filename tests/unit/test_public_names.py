"""What can be imported from `datalayer` is described in the reference."""

from pathlib import Path

import pytest

import datalayer

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


@pytest.mark.parametrize("name", [name for name in datalayer.__all__ if name != "Settings"])
def test_every_public_name_has_its_place_in_the_reference(name: str) -> None:
    assert f"\n::: datalayer.{name}\n" in (REFERENCE / "api.md").read_text()
