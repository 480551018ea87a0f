"""A file is there as a whole or not at all, whatever happens while it is written."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from contextlib import contextmanager
from threading import Thread
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from datalayer.charts.picture import save_picture
from datalayer.cli.market_output import Output, write_parquet
from datalayer.errors import InvalidInputError
from datalayer.whole_file import whole_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FRAME = pd.DataFrame({"price": range(10_000)})
KILLED = """
import os, sys
from pathlib import Path
from datalayer.whole_file import whole_file
with whole_file(Path(sys.argv[1])) as file:
    file.write(bytes(100_000))
    file.flush()
    os.kill(os.getpid(), 9)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a file in a folder of its own, with something in it."""
    found = tmp_path / "there" / "a.parquet"
    found.parent.mkdir()
    found.write_bytes(b"before")
    return found


@contextmanager
def full_disk() -> Iterator[None]:
    """Let no file grow beyond 1,000 bytes: the system refuses the write itself, as it does on a full disk.

    For as short as can be: what the tests print may go to a file too.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def closed_folder(path: Path) -> Iterator[Path]:
    """Return a file in a folder that may not be written; root, who may everything, becomes somebody else."""
    is_root = os.getuid() == 0
    path.parent.chmod(0o500)
    if is_root:
        os.setresuid(65_534, 65_534, 0)
    yield path
    if is_root:
        os.setresuid(0, 0, 0)
    path.parent.chmod(0o700)


def test_it_takes_its_place_at_the_end(path: Path) -> None:
    with whole_file(path) as file:
        file.write(b"after")
        file.flush()
        assert path.read_bytes() == b"before"
    assert path.read_bytes() == b"after"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("kind", ["parquet", "plot"])
def test_a_full_disk_changes_nothing(path: Path, kind: str) -> None:
    output = Output(
        as_json=False, parquet=path if kind == "parquet" else None, plot=path if kind == "plot" else None
    )
    with (
        pytest.raises(InvalidInputError, match=f"{kind}='.*': cannot be written: File too large"),
        full_disk(),
    ):
        output.give(
            tables=list,
            document=dict,
            parquet=lambda file: write_parquet(file, FRAME),
            plot=lambda file: save_picture(file, lambda figure: figure.add_subplot()),
        )
    assert path.read_bytes() == b"before"
    assert list(path.parent.iterdir()) == [path]


def test_a_killed_process_changes_nothing(path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, path], timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"before"
    (left,) = set(path.parent.iterdir()) - {path}
    assert left.name.endswith(".partial")


def test_a_folder_that_may_not_be_written_is_refused_before_anything_is_read(closed_folder: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"there is no folder .*there, or you may not write in it"):
        Output(as_json=False, parquet=closed_folder.with_name("new.parquet"), plot=None)


def test_two_writers_do_not_mix(path: Path) -> None:
    with whole_file(path) as one, whole_file(path) as other:
        one.write(b"1" * 1_000)
        other.write(b"2" * 1_000)
        one.write(b"1" * 1_000)
    assert path.read_bytes() == b"1" * 2_000
    assert list(path.parent.iterdir()) == [path]


def test_a_link_stays_one(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.parquet"
    link.symlink_to(path)
    with whole_file(link) as file:
        file.write(b"after")
    assert link.is_symlink()
    assert path.read_bytes() == b"after"


def test_a_pipe_takes_it_as_it_comes(tmp_path: Path) -> None:
    pipe, found = tmp_path / "pipe", list[bytes]()
    os.mkfifo(pipe)
    reader = Thread(target=lambda: found.append(pipe.read_bytes()))
    reader.start()
    with whole_file(pipe) as file:
        file.write(b"as it comes")
    reader.join()
    assert found == [b"as it comes"]
    assert pipe.is_fifo()
