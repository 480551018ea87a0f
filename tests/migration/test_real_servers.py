"""The gate on real servers that will not do; each is a cluster of its own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from datalayer.config import Settings
from datalayer.db import migrations
from datalayer.errors import UnsupportedServerError

if TYPE_CHECKING:
    from collections.abc import Iterator

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")) + [
    Path(found) for found in [shutil.which("initdb")] if found
]
# PostgreSQL refuses to run as root.
AS_USER: dict[str, str] = {"user": "nobody"} if os.geteuid() == 0 else {}

pytestmark = [
    pytest.mark.native,
    pytest.mark.skipif(not BINARIES, reason="no initdb on this machine"),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        data = Path(folder) / "data"
        data.mkdir()
        if AS_USER:
            Path(folder).chmod(0o755)
            shutil.chown(data, AS_USER["user"])
        command = [
            BINARIES[0],
            f"--pgdata={data}",
            "--username=postgres",
            "--auth=trust",
            "--no-sync",
            "--encoding=UTF8",
        ]
        subprocess.run(command, check=True, capture_output=True, cwd="/", **AS_USER)  # type: ignore[call-overload]
        yield data


@contextmanager
def running(data: Path, **settings: str) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "unix_socket_directories": "",
        "fsync": "off",
        **settings,
    }
    command = [BINARIES[0].with_name("pg_ctl"), f"--pgdata={data}", "--wait", "--silent", f"--log={data}/log"]
    arguments = " ".join(f"-c {name}={value or chr(39) * 2}" for name, value in options.items())
    subprocess.run([*command, f"--options={arguments}", "start"], check=True, cwd="/", **AS_USER)  # type: ignore[call-overload]
    try:
        yield f"postgresql+asyncpg://postgres@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run([*command, "--mode=immediate", "stop"], check=True, cwd="/", **AS_USER)  # type: ignore[call-overload]


async def refused(url: str) -> str:
    """Try to migrate a schema of its own, and make sure that nothing at all was changed."""
    objects = text(
        "SELECT (SELECT count(*) FROM pg_class), (SELECT count(*) FROM pg_namespace), (SELECT count(*) FROM pg_extension)"
    )
    engine = create_async_engine(url)
    async with engine.connect() as conn:
        before = (await conn.execute(objects)).one()
    with pytest.raises(UnsupportedServerError) as refusal:
        await migrations.upgrade(Settings.load(database_url=url, database_schema="own"))
    async with engine.connect() as conn:
        assert (await conn.execute(objects)).one() == before
    await engine.dispose()
    return str(refusal.value)


async def test_a_server_without_timescaledb_loaded_is_refused_unchanged(cluster: Path) -> None:
    with running(cluster) as url:
        assert "shared_preload_libraries" in await refused(url)


async def test_the_apache_licence_is_refused_unchanged(cluster: Path) -> None:
    if not list(Path(BINARIES[0]).parents[1].glob("lib/timescaledb.so")):
        pytest.skip("this PostgreSQL has no TimescaleDB library")
    preload = {"shared_preload_libraries": "timescaledb", "timescaledb.telemetry_level": "off"}
    with running(cluster, **preload, **{"timescaledb.license": "apache"}) as url:
        assert "apache licence" in await refused(url)
    with running(cluster, **preload) as url:
        assert await migrations.upgrade(Settings.load(database_url=url)) == migrations.history()[-1].id
