"""The real embedded server: one in memory for the session, one on disk as a template to copy."""

from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import pytest

from datalayer.config import Settings
from datalayer.embedded import EmbeddedTimescale
from datalayer.embedded.node import get_node
from datalayer.embedded.runtime import ensure_runtime
from datalayer.errors import EmbeddedStartError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path


class RunChild(Protocol):
    def __call__(self, code: str, *arguments: object) -> AbstractContextManager[subprocess.Popen[str]]: ...


@pytest.fixture(scope="session", autouse=True)
def _runtime_is_there() -> None:
    try:
        get_node(with_npm=False)
    except EmbeddedStartError as exc:
        pytest.skip(str(exc))
    ensure_runtime(Settings.load().cache_dir, print)


@pytest.fixture(scope="session")
def server() -> Iterator[EmbeddedTimescale]:
    """A server in memory that all tests share: each makes its own tables."""
    with EmbeddedTimescale() as embedded:
        yield embedded


@pytest.fixture(scope="session")
def dsn(server: EmbeddedTimescale) -> str:
    """The address as asyncpg and psycopg take it."""
    return server.url.replace("+asyncpg", "", 1)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database folder, closed in order."""
    folder = tmp_path_factory.mktemp("template") / "database"
    with EmbeddedTimescale(folder):
        pass
    return folder


@pytest.fixture
def folder(template: Path, tmp_path: Path) -> Path:
    """A database folder of one's own, without the seconds that making one takes."""
    return shutil.copytree(template, tmp_path / "database")


@pytest.fixture
def run_child() -> RunChild:
    """Run Python code in a process of its own; it is killed at the end if it still runs."""
    return _run_child


@contextmanager
def _run_child(code: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code), *map(str, arguments)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        try:
            yield child
        finally:
            child.kill()
