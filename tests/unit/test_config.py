"""Settings: addresses are understood or refused, and no secret is ever shown."""

import traceback
from pathlib import Path

import pytest

from datalayer.config import Settings, embedded_address, parse_database_url, redact
from datalayer.errors import ConfigurationError


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+asyncpg"])
def test_every_spelling_of_postgresql_uses_asyncpg(scheme: str) -> None:
    assert parse_database_url(f"{scheme}://u:p@h:5433/d").drivername == "postgresql+asyncpg"


def test_the_timescaledb_dialect_is_kept() -> None:
    assert parse_database_url("timescaledb://u@h/d").drivername == "timescaledb+asyncpg"


@pytest.mark.parametrize(
    "text",
    [
        "mysql://root:hunter2@h/d",
        "hunter2",
        "postgresql+psycopg2://u:hunter2@h/d",
        "postgresql://u:p@ss:hunter2@h/d",
        "",
    ],
)
def test_another_database_is_refused_without_repeating_the_secret(text: str) -> None:
    with pytest.raises(ConfigurationError, match="embedded:///") as caught:
        parse_database_url(text)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("text", ["embedded://host/folder", "embedded:///", "embedded://"])
def test_an_embedded_database_is_named_by_an_absolute_folder(text: str) -> None:
    with pytest.raises(ConfigurationError, match="embedded:///"):
        parse_database_url(text)


def test_redact_masks_password_and_query_values() -> None:
    text = redact("postgresql://u:hunter2@h/d?password=hunter2&sslpassword=hunter2")
    assert "hunter2" not in text
    assert "u:***@h/d" in text


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATALAYER_POOL_MAX_SIZE", "9")
    assert Settings.load().pool_max_size == 9
    assert Settings.load(pool_max_size=3).pool_max_size == 3


def test_a_bad_setting_is_named_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATALAYER_POOL_MAX_SIZE", "none")
    monkeypatch.setenv("DATALAYER_DATABASE_URL", "mysql://root:hunter2@h/d")
    with pytest.raises(ConfigurationError) as caught:
        Settings.load()
    assert "DATALAYER_POOL_MAX_SIZE" in str(caught.value)
    assert "DATALAYER_DATABASE_URL" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="POOLSIZE"):
        Settings.load(poolsize=3)


def test_settings_never_print_the_password() -> None:
    settings = Settings.load(database_url="postgresql://u:hunter2@h/d")
    assert "hunter2" not in repr(settings)
    assert settings.url is not None
    assert settings.url.password == "hunter2"  # noqa: S105 - the point of the test


def test_unattended_use_refuses_to_start_without_an_address() -> None:
    with pytest.raises(ConfigurationError, match="DATALAYER_DATABASE_URL is not set"):
        Settings.load().require_url()


def test_interactive_use_falls_back_to_the_embedded_database(tmp_path: Path) -> None:
    settings = Settings.load(embedded_dir=tmp_path, pool_max_size=3)
    interactive = settings.for_interactive_use()
    assert interactive.require_url().drivername == "embedded"
    assert interactive.pool_max_size == 3
    assert embedded_address(tmp_path) in settings.embedded_notice
    assert "production wants a server" in settings.embedded_notice


def test_interactive_use_keeps_a_configured_address() -> None:
    settings = Settings.load(database_url="postgresql://u@h/d")
    assert settings.for_interactive_use() is settings
    assert settings.for_interactive_use("postgresql://u@other/d").require_url().host == "other"
