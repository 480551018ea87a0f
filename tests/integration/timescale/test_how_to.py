"""`docs/how-to/timescale-alembic.md` from top to bottom: its files are written, its commands run, what it shows compared."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy.engine import make_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.timescale.project import AlembicProject

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "timescale-alembic.md"
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
COMMAND_LIMIT_S = 120


@dataclass
class Reader:
    """Does what the page says, in a folder."""

    folder: Path
    project: AlembicProject
    printed: str = ""

    def follow(self, page: str) -> None:
        for kind, title, body in BLOCK.findall(page):
            if kind == "console":
                for command, shown in _commands(body):
                    self._run(shlex.split(command))
                    assert shown.strip() in self.printed
            elif kind == "sql":
                self.project.execute(body)
            elif kind == "text" and not title:
                assert body.strip() in self.printed
            elif title == "python: refused":
                self._run([sys.executable, "-c", body])
            elif ": " in title:
                self._revision(*title.split(": "), body)
            else:
                (self.folder / title).write_text(body)

    def _revision(self, pattern: str, what: str, body: str) -> None:
        (path,) = self.folder.glob(pattern)
        text = path.read_text()
        if what == "shown":
            assert body in text
        else:
            path.write_text(text.replace("    pass\n", f"    {body}", 1))

    def _run(self, command: list[str]) -> None:
        url = make_url(str(self.project.engine.url.render_as_string(hide_password=False)))
        url = url.update_query_dict({"options": f"-csearch_path={self.project.schema},public"})
        done = subprocess.run(
            [sys.executable, "-m", *command] if command[0] == "alembic" else command,
            cwd=self.folder,
            env={
                **os.environ,
                "DATABASE_URL": url.render_as_string(hide_password=False),
                "PYTHONPATH": str(self.folder),
            },
            capture_output=True,
            text=True,
            timeout=COMMAND_LIMIT_S,
            check=False,
        )
        self.printed = done.stdout + done.stderr


def _commands(body: str) -> Iterator[tuple[str, str]]:
    for part in body.split("$ ")[1:]:
        command, _, shown = part.partition("\n")
        yield command, shown


def test_the_page_does_what_it_shows(project: AlembicProject, tmp_path: Path) -> None:
    folder = tmp_path / "plain"
    folder.mkdir()
    Reader(folder, project).follow(PAGE.read_text())
    names = project.rows(
        "SELECT view_name FROM timescaledb_information.continuous_aggregates WHERE view_schema = current_schema()"
    )
    assert {row[0] for row in names} == {"readings_1h", "readings_1d"}
