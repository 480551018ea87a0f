"""Encryption: how much of the server's certificate each mode checks."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from datalayer import DatabaseConnectionManager, Settings
from datalayer.errors import ConfigurationError, DatabaseUnavailableError
from tests.own_cluster import AS_USER, OwnCluster, needs_own_cluster, new_cluster

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [
    *needs_own_cluster,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl on this machine"),
]


def make_certificate(folder: Path, name: str) -> Path:
    """Make a certificate for 127.0.0.1 that vouches for itself, and its key beside it."""
    certificate = folder / f"{name}.crt"
    command = [
        *(
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
        ),
        *("-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1"),
        *("-keyout", certificate.with_suffix(".key"), "-out", certificate),
    ]
    subprocess.run(command, check=True, capture_output=True)
    return certificate


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("certificates")
    return make_certificate(folder, "server"), make_certificate(folder, "stranger")


@pytest.fixture(scope="module")
def cluster(certificates: tuple[Path, Path]) -> Iterator[OwnCluster]:
    with new_cluster() as cluster:
        for file in (certificates[0], certificates[0].with_suffix(".key")):
            copy = cluster.data / file.name
            shutil.copyfile(file, copy)
            copy.chmod(0o600)
            if AS_USER:
                shutil.chown(copy, AS_USER["user"])
        with cluster.running(ssl="on", ssl_cert_file="server.crt", ssl_key_file="server.key"):
            yield cluster


async def is_encrypted(settings: Settings) -> bool:
    async with DatabaseConnectionManager(settings) as database, database.engine.connect() as conn:
        return bool(await conn.scalar(text("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")))


@pytest.mark.parametrize(
    ("tls", "expected"), [("disable", False), ("prefer", True), ("require", True), (None, True)]
)
async def test_a_mode_that_trusts_anybody(cluster: OwnCluster, tls: str | None, *, expected: bool) -> None:
    assert await is_encrypted(Settings.load(database_url=cluster.url, tls=tls)) is expected


@pytest.mark.parametrize("tls", ["verify-ca", "verify-full"])
async def test_a_server_that_is_trusted_and_one_that_is_not(
    cluster: OwnCluster, certificates: tuple[Path, Path], tls: str
) -> None:
    trusted, stranger = certificates
    assert await is_encrypted(Settings.load(database_url=cluster.url, tls=tls, tls_root_cert=trusted))
    for root in (stranger, None):
        with pytest.raises(DatabaseUnavailableError, match="certificate verify failed"):
            await is_encrypted(Settings.load(database_url=cluster.url, tls=tls, tls_root_cert=root))


async def test_only_the_full_check_minds_the_name_of_the_host(
    cluster: OwnCluster, certificates: tuple[Path, Path]
) -> None:
    by_name = cluster.url.replace("127.0.0.1", "localhost")
    settings = Settings.load(database_url=by_name, tls="verify-ca", tls_root_cert=certificates[0])
    assert await is_encrypted(settings)
    with pytest.raises(DatabaseUnavailableError, match="Hostname mismatch"):
        await is_encrypted(settings.model_copy(update={"tls": "verify-full"}))


async def test_the_mode_may_stand_in_the_address_as_libpq_spells_it(cluster: OwnCluster) -> None:
    assert await is_encrypted(Settings.load(database_url=cluster.url + "?sslmode=require"))
    assert not await is_encrypted(Settings.load(database_url=cluster.url + "?sslmode=disable"))


async def test_a_file_that_is_no_certificate_is_named(
    cluster: OwnCluster, certificates: tuple[Path, Path]
) -> None:
    key = certificates[0].with_suffix(".key")
    with pytest.raises(ConfigurationError, match="DATALAYER_TLS_ROOT_CERT"):
        await is_encrypted(Settings.load(database_url=cluster.url, tls="verify-full", tls_root_cert=key))
