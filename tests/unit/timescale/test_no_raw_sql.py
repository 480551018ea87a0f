"""Models and revisions say what they want by constructs and operations; TimescaleDB's SQL is written in one package."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[3]
RAW = re.compile(
    r"create_hypertable|add_dimension|_policy\(|set_chunk_time_interval|timescaledb\.(continuous|compress|enable)|create\s+materialized\s+view",
    re.IGNORECASE,
)
FILES = [*ROOT.glob("datalayer/models/*.py"), *ROOT.glob("alembic/**/*.py")]


def texts(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_the_files_are_found() -> None:
    assert len(FILES) > len(list(ROOT.glob("alembic/versions/*.py"))) > 0


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_raw_sql_of_timescaledb_is_left(path: Path) -> None:
    assert [text for text in texts(path) if RAW.search(text)] == []


@pytest.mark.parametrize(
    "text",
    [
        "SELECT create_hypertable('a', 'ts')",
        "CALL add_columnstore_policy('a')",
        "CREATE MATERIALIZED VIEW a WITH (timescaledb.continuous)",
    ],
)
def test_it_would_be_found(text: str, tmp_path: Path) -> None:
    path = tmp_path / "revision.py"
    path.write_text(f"op.execute({text!r})")
    assert any(map(RAW.search, texts(path)))
