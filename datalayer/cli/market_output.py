"""Where an answer goes: to the terminal as tables or JSON, or to files."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import typer
from rich.console import Console

from datalayer.errors import ConfigurationError, InvalidInputError
from datalayer.whole_file import whole_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import RenderableType

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
ParquetFile = Annotated[
    Path | None, typer.Option("--parquet", help="Write a Parquet file instead.", metavar="FILE")
]
PlotFile = Annotated[
    Path | None, typer.Option("--plot", help="Draw a picture (PNG) instead.", metavar="FILE")
]

_UNCUT_WIDTH: Final = 200  # one line a row, for people and for grep; a narrow terminal wraps it


@dataclass(frozen=True, slots=True)
class Output:
    """Where an answer goes.

    Raises:
        ConfigurationError: a picture is wanted, and matplotlib is not installed.
        InvalidInputError: the folder of a file is not there, or may not be written.
    """

    as_json: bool
    parquet: Path | None
    plot: Path | None

    def __post_init__(self) -> None:
        if self.plot is not None and find_spec("matplotlib") is None:
            msg = "--plot needs matplotlib, the extra `plot` of this package; `pip install matplotlib` brings it"
            raise ConfigurationError(msg)
        for option, path in (("parquet", self.parquet), ("plot", self.plot)):
            if path is not None and not (os.access(path, os.W_OK) or os.access(path.parent, os.W_OK)):
                hint = f"cannot be written: there is no folder {path.parent}, or you may not write in it"
                raise InvalidInputError(option, str(path), hint)

    def give(
        self,
        *,
        tables: Callable[[], list[RenderableType]],
        document: Callable[[], Any],
        parquet: Callable[[Path], None],
        plot: Callable[[Path], None],
    ) -> None:
        """Write the files that are wanted, and print JSON, or tables if there is nothing else.

        Raises:
            InvalidInputError: a file cannot be written; then it is as it was before.
        """
        for option, path, write in (("parquet", self.parquet, parquet), ("plot", self.plot, plot)):
            if path is not None:
                write_file(option, path, write)
        if self.as_json:
            typer.echo(json.dumps(document(), allow_nan=False, indent=2))
        elif self.parquet is None and self.plot is None:
            Console(width=_UNCUT_WIDTH, markup=False, highlight=False).print(*tables(), sep="\n")


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a frame with its index as values that JSON has: times as ISO texts, None for what is unknown."""
    flat = frame.reset_index()
    columns = {name: [_plain(value) for value in flat[name].astype(object)] for name in flat.columns}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def write_parquet(path: Path, frame: pd.DataFrame, **facts: str) -> None:
    """Write a frame with its index; the facts go to the metadata of the file."""
    bare = frame.copy(deep=False)
    bare.attrs = {}  # it has times, which pandas' own metadata cannot hold
    table = pa.Table.from_pandas(bare)
    named = {name.encode(): fact.encode() for name, fact in facts.items()}
    with whole_file(path) as file:
        pq.write_table(table.replace_schema_metadata({**(table.schema.metadata or {}), **named}), file)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if pd.isna(value):
        return None
    return value.item() if hasattr(value, "item") else value


def write_file(option: str, path: Path, write: Callable[[Path], object]) -> None:
    """Let something write a file, and say so.

    Raises:
        InvalidInputError: it cannot be written; names the option.
    """
    try:
        write(path)
    except OSError as exc:
        raise InvalidInputError(option, str(path), f"cannot be written: {exc.strerror or exc}") from exc
    typer.echo(f"written: {path}", err=True)
