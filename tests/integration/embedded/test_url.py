from __future__ import annotations

from pathlib import Path

import pytest

from datalayer.config import embedded_address, parse_database_url
from datalayer.embedded.url import embedded_folder
from datalayer.errors import ConfigurationError


def test_an_embedded_address_names_a_folder() -> None:
    assert embedded_folder(parse_database_url("embedded:////srv/my data")) == Path("/srv/my data")
    assert embedded_folder(parse_database_url("embedded:///srv/market")) == Path("/srv/market")


def test_the_address_of_any_folder_leads_back_to_it() -> None:
    folder = Path("/srv/what? 100%41 #ü@:&+")
    assert embedded_folder(parse_database_url(embedded_address(folder))) == folder


@pytest.mark.parametrize(
    "text", ["embedded:///srv/what?", "embedded:///srv/what?now", "embedded:///srv/a?b=c"]
)
def test_a_question_mark_does_not_lead_to_another_folder(text: str) -> None:
    with pytest.raises(ConfigurationError, match="%3F"):
        parse_database_url(text)


def test_memory_is_no_folder() -> None:
    assert embedded_folder(parse_database_url("embedded:///:memory:")) is None


def test_a_servers_address_is_refused_without_being_shown() -> None:
    with pytest.raises(ConfigurationError, match="is a server's") as refused:
        embedded_folder(parse_database_url("postgresql://me:secret@host/market"))
    assert "secret" not in str(refused.value)
