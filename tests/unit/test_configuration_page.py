"""The page on configuration says what the settings say."""

from __future__ import annotations

from datalayer.config import Settings
from tools.configuration_page import PAGE, attributes, page


def test_the_page_is_what_the_settings_give() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "write it anew: python -m tools.configuration_page"


def test_every_setting_has_a_line_with_its_meaning() -> None:
    assert list(attributes(Settings)) == list(Settings.model_fields)
    lines = [line for line in page().splitlines() if line.startswith("| `DATALAYER_")]
    assert [line.split("`")[1].removeprefix("DATALAYER_").lower() for line in lines] == list(
        Settings.model_fields
    )
    assert all(len(line.replace("\\|", "").split("|")) == 6 and not line.endswith("|  |") for line in lines)
