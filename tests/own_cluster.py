"""A PostgreSQL server of a test's own on 127.0.0.1, to be configured, restarted and paused at will."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")) + [
    Path(found) for found in [shutil.which("initdb")] if found
]
# PostgreSQL refuses to run as root.
AS_USER: dict[str, Any] = {"user": "nobody"} if os.geteuid() == 0 else {}

needs_own_cluster = [
    pytest.mark.native,
    pytest.mark.skipif(not BINARIES, reason="no initdb on this machine"),
]


class OwnCluster:
    """One cluster; its port stays the same from start to start."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.port = free_port()
        command = [
            BINARIES[0],
            f"--pgdata={data}",
            "--username=postgres",
            "--auth=trust",
            "--no-sync",
            "--encoding=UTF8",
        ]
        subprocess.run(command, check=True, capture_output=True, cwd="/", **AS_USER)

    @property
    def url(self) -> str:
        return f"postgresql+asyncpg://postgres@127.0.0.1:{self.port}/postgres"

    def start(self, **settings: str) -> None:
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "fsync": "off",
            **settings,
        }
        arguments = " ".join(f"-c {name}={value or chr(39) * 2}" for name, value in options.items())
        self._control(f"--options={arguments}", "start")

    def stop(self, mode: str = "immediate") -> None:
        self._control(f"--mode={mode}", "stop")

    @contextmanager
    def running(self, **settings: str) -> Iterator[str]:
        """Start it for a while; stop it whatever state it is in then."""
        self.start(**settings)
        try:
            yield self.url
        finally:
            if (self.data / "postmaster.pid").exists():
                self.stop()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop all of its processes in their tracks: the kernel still accepts connections, nobody answers."""
        postmaster = int((self.data / "postmaster.pid").read_text().split()[0])
        os.kill(postmaster, signal.SIGSTOP)  # first, so that no further child appears
        listed = subprocess.run(
            ["pgrep", "--parent", str(postmaster)], check=True, capture_output=True, text=True
        )
        stopped = [postmaster, *map(int, listed.stdout.split())]
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in reversed(stopped):
                os.kill(pid, signal.SIGCONT)

    async def execute(self, *statements: str) -> None:
        """Run statements one by one, each by itself, on a connection of their own."""
        connection = await asyncpg.connect(
            host="127.0.0.1", port=self.port, user="postgres", database="postgres"
        )
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    def _control(self, *arguments: str) -> None:
        command = [BINARIES[0].with_name("pg_ctl"), f"--pgdata={self.data}", "--wait", "--silent"]
        subprocess.run([*command, f"--log={self.data}/log", *arguments], check=True, cwd="/", **AS_USER)


@contextmanager
def new_cluster() -> Iterator[OwnCluster]:
    """Make a cluster, not started, in a folder that is removed afterwards."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        yield OwnCluster(folder_of_server(Path(folder), "data"))


def folder_of_server(parent: Path, name: str) -> Path:
    """Make a folder that belongs to the user whom servers run as."""
    folder = parent / name
    folder.mkdir(mode=0o700)
    if AS_USER:
        parent.chmod(0o755)
        shutil.chown(folder, AS_USER["user"])
    return folder


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on.

    It is below those that the kernel gives to outgoing connections: one of them could have it while a server restarts.
    """
    while True:
        port = 20_000 + secrets.randbelow(10_000)
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port
