"""`datalayer annotations`: labels of ranges of time, and what they were made on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer
from rich.console import Console
from rich.table import Table

from datalayer import sync
from datalayer.cli.market_arguments import AsOf, moment
from datalayer.cli.market_output import write_file, write_parquet
from datalayer.integrations.annotation import AnnotationStore

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from datalayer.integrations.annotation import Annotation

app = typer.Typer(
    no_args_is_help=True,
    help="List annotations, show what they were made on, and export them for training.",
    epilog="Exit codes: 0 done, 1 error, 2 wrong usage, 3 history is not today what it was when the label was made.",
)

CHANGED = 3
_UNCUT_WIDTH = 240  # one line an annotation, for people and for grep

Symbol = Annotated[str | None, typer.Option(help="Only of this instrument, in any known spelling.")]
Label = Annotated[str | None, typer.Option(help="Only with this label.")]
Author = Annotated[str | None, typer.Option(help="Only those that this author changed last.")]
Start = Annotated[str | None, typer.Option(help="Only those that end after it.", metavar="TIME")]
End = Annotated[str | None, typer.Option(help="Only those that begin before it.", metavar="TIME")]


@app.command(name="list")
def list_(
    *,
    symbol: Symbol = None,
    start: Start = None,
    end: End = None,
    label: Label = None,
    author: Author = None,
    as_of: AsOf = None,
) -> None:
    """List annotations, ordered by their ranges."""
    words = {"symbol": symbol, "label": label, "author": author}
    wanted = _wanted(words, {"start": start, "end": end, "as_of": as_of})
    with sync.connect() as market:
        found = AnnotationStore(market).list_annotations(**wanted)
    Console(width=_UNCUT_WIDTH, markup=False).print(_table(found))


@app.command()
def show(
    annotation_id: Annotated[UUID, typer.Argument(metavar="ID", help="As `list` shows it.")],
    *,
    parquet: Annotated[
        Path | None, typer.Option(help="Write what it was made on, for `InferenceDataFrame.from_parquet`.")
    ] = None,
) -> None:
    """Show an annotation with its history, and the candles that are not today what it was made on."""
    with sync.connect() as market:
        store = AnnotationStore(market)
        revisions, changes = store.list_revisions(annotation_id), store.list_changes(annotation_id)
        if parquet is not None:
            seen = store.get_data(annotation_id).to_parquet()
            write_file("parquet", parquet, lambda path: path.write_bytes(seen))
    Console(width=_UNCUT_WIDTH, markup=False).print(_table(revisions))
    if changes.empty:
        typer.echo("history is what it was made on")
        return
    typer.echo(f"{len(changes):,} candles are not what it was made on:")
    for timeframe, row in zip(changes.index, changes.to_dict("records"), strict=True):
        typer.echo(f"{timeframe[0]} {timeframe[1]:%F %T}Z {_told(row)}")
    raise typer.Exit(CHANGED)


@app.command()
def export(
    file: Annotated[Path, typer.Argument(help="Parquet file to write.")],
    *,
    symbol: Symbol = None,
    start: Start = None,
    end: End = None,
    label: Label = None,
    author: Author = None,
    as_of: AsOf = None,
) -> None:
    """Write a row for each labelled candle: what was known at its close, of the data that its label was made on."""
    words = {"symbol": symbol, "label": label, "author": author}
    wanted = _wanted(words, {"start": start, "end": end, "as_of": as_of})
    with sync.connect() as market:
        store = AnnotationStore(market)
        found = store.list_annotations(**wanted)
        rows = store.training_rows(found)
    write_file("file", file, lambda path: write_parquet(path, rows))
    typer.echo(f"{len(rows):,} rows of {len(found):,} annotations")


def _wanted(words: dict[str, str | None], times: dict[str, str | None]) -> dict[str, Any]:
    return words | {name: moment(text, name) for name, text in times.items()}


def _table(found: list[Annotation]) -> Table:
    table = Table(
        "id", "rev.", "symbol", "timeframes", "start", "end", "label", "author", "changed", "note", box=None
    )
    for column in table.columns:
        column.no_wrap = True
    for one in found:
        labels = ",".join(timeframe.label for timeframe in one.timeframes)
        times = [f"{at:%F %T}Z" for at in (one.start, one.end)]
        changed = "-" if one.updated_at is None else f"{one.updated_at:%F %T}Z"
        said = f"({one.label}: taken back)" if one.is_deleted else one.label
        table.add_row(
            *(str(one.id), str(one.revision), one.symbol, labels, *times, said, one.author, changed, one.note)
        )
    return table


def _told(row: Mapping[Hashable, Any]) -> str:
    names = ("open", "high", "low", "close", "volume")
    pairs = [(name, row[f"{name}_then"], row[f"{name}_now"]) for name in names]
    if row["change"] != "changed":
        return str(row["change"])
    return ", ".join(f"{name} {then:g} -> {now:g}" for name, then, now in pairs if then != now)
