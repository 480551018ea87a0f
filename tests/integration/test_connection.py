"""The connection manager, on the embedded database and on whatever server the tests run against."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from datalayer import DatabaseConnectionManager, Settings
from datalayer.config import EMBEDDED_MEMORY_URL
from datalayer.errors import ConfigurationError, DatabaseUnavailableError

if TYPE_CHECKING:
    from pathlib import Path


async def _one(database: DatabaseConnectionManager, sql: str) -> object:
    async with database.engine.connect() as conn:
        return await conn.scalar(text(sql))


async def test_every_connection_has_the_configured_session(settings: Settings) -> None:
    named = Settings.load(
        database_url=settings.database_url, database_schema='Odd "name"', application_name="a test"
    )
    async with DatabaseConnectionManager(named) as database:
        assert await _one(database, "SELECT current_setting('search_path')") == '"Odd ""name""", public'
        assert await _one(database, "SELECT current_setting('TimeZone')") == "UTC"
        assert await _one(database, "SELECT current_setting('application_name')") == "a test"


async def test_the_manager_may_be_opened_and_closed_again(settings: Settings) -> None:
    database = DatabaseConnectionManager(settings)
    with pytest.raises(ConfigurationError, match="not open"):
        _ = database.engine
    for _ in range(2):
        assert await database.open() is await database.open()
        assert await _one(database, "SELECT 1") == 1
        await database.close()
        await database.close()


async def test_an_embedded_folder_keeps_its_data(tmp_path: Path) -> None:
    settings = Settings.load(database_url=f"embedded://{tmp_path}/market")
    steps: list[str] = []
    async with DatabaseConnectionManager(settings, on_progress=steps.append) as database:
        async with database.engine.begin() as conn:
            await conn.execute(text("CREATE TABLE kept AS SELECT 42 AS answer"))
        assert database.embedded is not None
        assert database.embedded.path == tmp_path / "market"
    assert steps
    async with DatabaseConnectionManager(settings) as database:
        assert await _one(database, "SELECT answer FROM kept") == 42


async def test_two_databases_in_memory_are_apart() -> None:
    settings = Settings.load(database_url=EMBEDDED_MEMORY_URL)
    async with DatabaseConnectionManager(settings) as one, DatabaseConnectionManager(settings) as other:
        async with one.engine.begin() as conn:
            await conn.execute(text("CREATE TABLE mine (id int)"))
        assert await _one(other, "SELECT to_regclass('mine')") is None


def test_an_unattended_manager_has_no_default() -> None:
    with pytest.raises(ConfigurationError, match="DATALAYER_DATABASE_URL is not set"):
        DatabaseConnectionManager(Settings.load())


@pytest.mark.parametrize(
    "url",
    ["postgresql://u:hunter2@127.0.0.1:1/d", "postgresql://u:hunter2@/d?host=/nowhere&password=hunter2"],
)
async def test_nothing_answering_is_one_sentence_without_the_password(url: str) -> None:
    with pytest.raises(DatabaseUnavailableError, match="no database answers at postgresql") as caught:
        await DatabaseConnectionManager(Settings.load(database_url=url)).open()
    assert "hunter2" not in str(caught.value)


@pytest.mark.native
async def test_a_refused_login_is_one_sentence_without_the_password(settings: Settings) -> None:
    assert settings.database_url is not None
    url = make_url(settings.database_url.get_secret_value()).set(database="no_such_database")
    text_url = url.set(password="hunter2").render_as_string(hide_password=False)  # noqa: S106 - the point of the test
    with pytest.raises(DatabaseUnavailableError, match="no_such_database") as caught:
        await DatabaseConnectionManager(Settings.load(database_url=text_url)).open()
    assert caught.value.sqlstate == "3D000"
    assert "hunter2" not in str(caught.value)
