"""The programs in `examples/` run as they are, in an empty folder."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.integration.documentation.examples import CHECKOUT

if TYPE_CHECKING:
    from pathlib import Path


def printed(folder: Path, name: str, *arguments: str) -> str:
    command = [sys.executable, str(CHECKOUT / "examples" / name), *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_annotation(tmp_path: Path) -> None:
    told = printed(tmp_path, "annotation.py")
    assert "capitulation by anna in [06:30, 06:45)" in told
    assert re.search(r"06:31:00\+00:00  capitulation  50468\.00", told)
    assert len(re.findall(r"^(?:1m|5m|1h) .* changed ", told, re.MULTILINE)) == 3


def test_live_inference(tmp_path: Path) -> None:
    told = printed(tmp_path, "live_inference.py", "2")
    assert len(re.findall(r"^\d\d:\d\d:\d\d\.\d{3}(?: +-?\d+\.\d{4}){5}$", told, re.MULTILINE)) == 2
