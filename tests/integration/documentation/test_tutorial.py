"""`docs/tutorial/model-input.md` as a reader goes through it: files written, commands run, what they print compared.

Only its installation is left out: this environment is one.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from matplotlib.image import imread

from tests.integration.documentation.examples import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = CHECKOUT / "docs" / "tutorial" / "model-input.md"
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
STOP = "datalayer server stop --path market"


class Reader:
    """Does what the page says, in an empty folder."""

    def __init__(self, folder: Path) -> None:
        programs = Path(sys.executable).parent
        self.folder = folder
        self.environment = {
            **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "DATALAYER_DATABASE_URL": f"embedded://{folder}/market",
        }

    def run(self, command: str) -> str:
        done = subprocess.run(
            shlex.split(command),
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    def follow(self, page: str) -> None:
        for kind, title, body in BLOCK.findall(page):
            if kind == "python":
                (self.folder / title).write_text(body)
            elif kind == "console":
                command, _, shown = body.removeprefix("$ ").partition("\n")
                printed = [line.rstrip() for line in self.run(command).splitlines()]
                assert not shown or printed == shown.splitlines()


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    made = Reader(tmp_path)
    yield made
    if (tmp_path / "market").exists():
        made.run(STOP)


def test_the_tutorial_does_what_it_shows(reader: Reader) -> None:
    page = PAGE.read_text()
    assert STOP in page
    reader.follow(page)
    picture = imread(reader.folder / "moment.png")
    assert picture.shape == imread(CHECKOUT / "docs" / "images" / "moment.png").shape
