"""Which servers are refused: the decision alone."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from datalayer.db.server_gate import ServerFacts, find_refusal, offline_gate

GOOD = ServerFacts(170_005, "2.23.0", "2.23.0", loaded=True, licence="timescale")


@pytest.mark.parametrize("postgresql", [150_000, 160_004, 170_005, 180_000])
@pytest.mark.parametrize("version", ["2.18.0", "2.18", "2.23.0-dev", "2.28.0", "2.100.1", "3.0.0"])
def test_supported_servers_pass(postgresql: int, version: str) -> None:
    assert find_refusal(replace(GOOD, server_version_num=postgresql, installed_version=version)) is None


def test_an_extension_not_yet_created_passes_by_what_is_available() -> None:
    assert find_refusal(replace(GOOD, installed_version=None, licence=None)) is None
    assert "2.17.2" in str(find_refusal(replace(GOOD, installed_version=None, available_version="2.17.2")))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"server_version_num": 140_012}, "PostgreSQL 15 or newer is needed, this server is 14"),
        ({"installed_version": None, "available_version": None}, "has no TimescaleDB; install the package"),
        ({"loaded": False}, "add timescaledb to shared_preload_libraries and restart"),
        ({"installed_version": "2.17.2"}, "2.18 or newer is needed, this database has 2.17.2"),
        ({"installed_version": "1.7.5"}, "ALTER EXTENSION timescaledb UPDATE"),
        ({"installed_version": "2.9.0"}, "2.18 or newer"),
        ({"licence": "apache"}, "apache licence"),
    ],
)
def test_a_refusal_is_one_sentence_that_says_what_to_do(change: dict[str, object], words: str) -> None:
    refusal = find_refusal(replace(GOOD, **change))
    assert refusal is not None
    assert words in refusal
    assert ";" in refusal
    assert ". " not in refusal
    assert "\n" not in refusal


def test_of_several_faults_the_deepest_is_named() -> None:
    facts = [
        ServerFacts(postgresql, available, installed, loaded=loaded, licence=licence)
        for postgresql, available, installed, loaded, licence in product(
            (140_000, 150_000),
            (None, "2.17.0", "2.28.0"),
            (None, "2.17.0", "2.28.0"),
            (False, True),
            (None, "apache", "timescale"),
        )
    ]
    accepted = [fact for fact in facts if find_refusal(fact) is None]
    assert accepted
    for fact in accepted:
        assert fact.server_version_num >= 150_000
        assert (fact.installed_version or fact.available_version) == "2.28.0"
        assert fact.loaded
        assert fact.licence != "apache"


def test_the_offline_gate_says_the_same_words() -> None:
    gate = offline_gate()
    for change in ({"server_version_num": 140_012}, {"loaded": False}, {"licence": "apache"}):
        refusal = find_refusal(replace(GOOD, **change))
        assert refusal is not None
        assert refusal.replace(" 14;", " %;").replace("apache", "%") in gate
