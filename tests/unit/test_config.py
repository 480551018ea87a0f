"""Settings: addresses are understood or refused, and no secret is ever shown."""

import traceback
from pathlib import Path

import pytest

from datalayer.config import Settings, embedded_address, parse_database_url, read_secret, redact
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


@pytest.mark.parametrize("written", ["hunter2", "hunter2\n", "hunter2\r\n"])
def test_the_password_comes_from_a_file_and_is_never_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    secret = tmp_path / "password"
    secret.write_bytes(written.encode())
    monkeypatch.setenv("DATALAYER_DATABASE_URL", "postgresql://feed@h/market")
    monkeypatch.setenv("DATALAYER_DATABASE_PASSWORD_FILE", str(secret))
    settings = Settings.load()
    assert settings.require_url().password == "hunter2"  # noqa: S105 - the point of the test
    shown = f"{settings!r} {settings} {settings.url!r} {settings.url} {settings.model_dump_json()}"
    assert "hunter2" not in shown
    secret.write_text("changed")
    assert settings.require_url().password == "changed"  # noqa: S105
    secret.unlink()
    with pytest.raises(ConfigurationError, match="cannot be read"):
        settings.require_url()


def test_a_character_that_an_address_would_escape_is_itself_in_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("p@ss:w/rd%40 \n")
    settings = Settings.load(database_url="postgresql://feed@h/market", database_password_file=secret)
    assert settings.require_url().password == "p@ss:w/rd%40 "  # noqa: S105


@pytest.mark.parametrize("written", [b"", b"\n", b"hunter2\nhunter3\n", b"hunter2\xff", b"hunter2\0"])
def test_a_file_that_holds_no_password_is_refused_without_repeating_it(
    tmp_path: Path, written: bytes
) -> None:
    secret = tmp_path / "password"
    secret.write_bytes(written)
    with pytest.raises(ConfigurationError, match="DATALAYER_DATABASE_PASSWORD_FILE") as caught:
        Settings.load(database_url="postgresql://feed@h/market", database_password_file=secret)
    assert str(secret) in str(caught.value)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigurationError, match="DATALAYER_DATABASE_PASSWORD_FILE: Path does not point to a file"
    ):
        Settings.load(database_url="postgresql://feed@h/market", database_password_file=tmp_path / "none")


def test_a_file_that_cannot_be_read_is_named_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigurationError, match=r"cannot be read \(Is a directory\); the user of this process"
    ):
        read_secret(tmp_path)


@pytest.mark.parametrize(
    "url", ["postgresql://u:p@h/d", "postgresql://u@h/d?password=p", "embedded:///:memory:", None]
)
def test_a_password_file_needs_an_address_that_lacks_one(tmp_path: Path, url: str | None) -> None:
    secret = tmp_path / "password"
    secret.write_text("hunter2")
    with pytest.raises(
        ConfigurationError, match=r"DATALAYER_DATABASE_PASSWORD_FILE: .* DATALAYER_DATABASE_URL"
    ):
        Settings.load(database_url=url, database_password_file=secret)


def test_the_configured_password_goes_to_no_other_server(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("hunter2")
    settings = Settings.load(database_url="postgresql://feed@h/market", database_password_file=secret)
    other = settings.for_interactive_use("postgresql://feed@elsewhere/market")
    assert other.require_url().password is None
