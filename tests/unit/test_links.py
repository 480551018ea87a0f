"""Links of the pages outside of `docs/` lead somewhere; mkdocs looks at those inside."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
LINK = re.compile(r"\]\((?!https?://)([^)#]+)(?:#([^)]*))?\)")


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_every_link_leads_somewhere(name: str) -> None:
    page = (CHECKOUT / name).read_text()
    links = LINK.findall(page)
    assert links or name != "README.md"
    for target, anchor in links:
        assert (CHECKOUT / target).exists(), target
        if anchor:
            heads = re.findall(r"^#+ (.*)$", (CHECKOUT / target).read_text(), re.MULTILINE)
            assert anchor in {
                re.sub(r"[^\w\- ]", "", head).strip().lower().replace(" ", "-") for head in heads
            }
