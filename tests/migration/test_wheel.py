"""The wheel carries the migrations: `datalayer db upgrade` works where no checkout is."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from datalayer.db import migrations

if TYPE_CHECKING:
    from datalayer.config import Settings

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of an environment with the wheel, and the dependencies of the running one, but not its checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=CHECKOUT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True, capture_output=True)
    binaries = folder / "venv" / "bin"
    install = [binaries / "python", "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel]
    subprocess.run(install, check=True, capture_output=True)
    (site_packages,) = folder.glob("venv/lib/python*/site-packages")
    # A folder named in a .pth file is searched last, and the .pth file of our own checkout in it is not read.
    (site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return binaries


def run(installed: Path, folder: Path, settings: Settings, *command: str) -> str:
    environment = {
        "DATALAYER_DATABASE_URL": settings.require_url().render_as_string(hide_password=False),
        "DATALAYER_DATABASE_SCHEMA": settings.database_schema,
        "HOME": str(folder),
        "PATH": str(installed),
    }
    done = subprocess.run(
        [installed / command[0], *command[1:]],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_an_installed_wheel_migrates_by_the_same_revisions(
    installed: Path, tmp_path: Path, empty_schema: Settings
) -> None:
    where = run(
        installed, tmp_path, empty_schema, "python", "-c", "import datalayer; print(datalayer.__file__)"
    )
    assert Path(where).is_relative_to(installed.parent)
    listed = run(installed, tmp_path, empty_schema, "datalayer", "db", "history")
    assert listed.splitlines() == [f"{revision.id}  {revision.title}" for revision in migrations.history()]
    run(installed, tmp_path, empty_schema, "datalayer", "db", "upgrade")
    assert run(installed, tmp_path, empty_schema, "datalayer", "db", "current") == migrations.history()[-1].id
    assert "as this package wants it" in run(installed, tmp_path, empty_schema, "datalayer", "db", "check")
