"""Nobody else on the machine gets in."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest
from sqlalchemy.engine import make_url

from datalayer.embedded import EmbeddedTimescale
from datalayer.embedded.daemon import find_server
from datalayer.embedded.private import require_private
from datalayer.embedded.runtime import ensure_runtime
from datalayer.errors import EmbeddedStartError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import RunChild

NOBODY = 65534
CONNECT_AS = """
    import os, socket, sys
    os.setgroups([])
    os.setgid(int(sys.argv[1]))
    os.setuid(int(sys.argv[1]))
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(sys.argv[2])
"""


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _listening_ports(pid: int) -> list[str]:
    """The TCP ports that a process listens on, from the kernel's tables."""
    sockets = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed since it was listed
            sockets.add(str(link.readlink()))
    listening = "0A"
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == listening and f"socket:[{fields[9]}]" in sockets:
                found.append(fields[1])
    return found


def test_folders_files_and_sockets_are_closed_to_others(folder: Path) -> None:
    folder.chmod(0o755)
    with EmbeddedTimescale(folder) as embedded:
        sockets = embedded.status().socket_dir
        assert _mode(folder) == _mode(sockets) == 0o700
        for name in ("server.json", "server.log", "lock", "users"):
            assert _mode(folder / name) == 0o600, name
        for name in (".s.PGSQL.5432", "control.sock"):
            assert stat.S_ISSOCK((sockets / name).stat().st_mode)
            assert _mode(sockets / name) & 0o077 == 0, name


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("name", [".s.PGSQL.5432", "control.sock"])
def test_another_user_cannot_connect(server: EmbeddedTimescale, name: str, run_child: RunChild) -> None:
    address = server.status().socket_dir / name
    with run_child(CONNECT_AS, NOBODY, address) as stranger, run_child(CONNECT_AS, 0, address) as ourselves:
        assert "PermissionError" in stranger.communicate()[1]
        assert ourselves.communicate()[1] == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_somebody_elses_folder_is_refused(tmp_path: Path) -> None:
    os.chown(tmp_path, NOBODY, NOBODY)
    with pytest.raises(EmbeddedStartError, match=f"belongs to user {NOBODY}"):
        EmbeddedTimescale(tmp_path).start()


def test_a_folder_open_to_others_is_not_private(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    tmp_path.chmod(0o710)
    with pytest.raises(EmbeddedStartError, match="mode 710"):
        require_private(tmp_path)
    with pytest.raises(EmbeddedStartError, match="not a folder"):
        require_private(tmp_path / "link")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_no_tcp_by_default(server: EmbeddedTimescale) -> None:
    assert _listening_ports(server.pid) == []
    assert server.status().tcp_port is None


@pytest.fixture(scope="module")
def tcp_server() -> EmbeddedTimescale:
    with EmbeddedTimescale(tcp=True) as embedded:
        yield embedded


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_tcp_is_on_loopback_only(tcp_server: EmbeddedTimescale) -> None:
    port = tcp_server.status().tcp_port
    assert _listening_ports(tcp_server.pid) == [f"0100007F:{port:04X}"]


async def test_tcp_takes_the_right_password(tcp_server: EmbeddedTimescale) -> None:
    conn = await asyncpg.connect(tcp_server.url.replace("+asyncpg", "", 1))
    assert await conn.fetchval("SELECT 42") == 42
    await conn.close()


@pytest.mark.parametrize("password", ["wrong", ""])
async def test_tcp_refuses_any_other_password(tcp_server: EmbeddedTimescale, password: str) -> None:
    url = make_url(tcp_server.url)
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(
            host=url.host, port=url.port, user="postgres", database="postgres", password=password
        )


def test_the_password_is_not_in_the_representation(tcp_server: EmbeddedTimescale) -> None:
    password = make_url(tcp_server.url).password
    assert len(password) >= 32
    assert password not in repr(tcp_server)
    assert password.encode() not in Path(f"/proc/{tcp_server.pid}/cmdline").read_bytes()


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[Path]:
    """A folder that this process cannot look into, not even when it runs as root."""
    folder = tmp_path / "closed"
    folder.mkdir(mode=0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(NOBODY)
    yield folder
    os.seteuid(user)


def test_another_users_cache_is_an_error_that_names_the_remedy(closed: Path) -> None:
    with pytest.raises(EmbeddedStartError, match=r"Permission denied.*DATALAYER_CACHE_DIR"):
        ensure_runtime(closed, print)


def test_another_users_folder_is_an_error_that_names_it(closed: Path) -> None:
    with pytest.raises(EmbeddedStartError, match=r"closed/database cannot be looked at"):
        find_server(closed / "database")
