"""A migration's report as JSON, Markdown and HTML: the same facts in each."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from html import escape
from typing import TYPE_CHECKING, Any, Final

from datalayer.rollout.coverage_picture import coverage_strip, coverage_svg
from datalayer.rollout.ledger import COUNTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncEngine

    from datalayer.rollout.coverage_picture import Strip
    from datalayer.rollout.migration_report import FileReport, MigrationReport

_COMPARED: Final = ("equal", "kept", "forming", "repeated", "rejected", "missing", "altered")
_STYLE: Final = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 78rem; padding: 0 1rem; color: #1d2329; }
table { border-collapse: collapse; width: 100%; font-size: 13px; } th, td { padding: .3rem .5rem; text-align: right; }
th { border-bottom: 2px solid #c9d0d6; } td { border-bottom: 1px solid #e5e9ec; } th:first-child, td:first-child { text-align: left; }
.right { color: #2f8f5b; font-weight: 600; } .wrong { color: #c8354a; font-weight: 600; } li { margin: .2rem 0; }
"""


def report_facts(report: MigrationReport) -> dict[str, Any]:
    """Return the report as what JSON can hold; times in ISO 8601, UTC."""
    return {
        "folder": str(report.folder),
        "run": None if report.run is None else report.run.id,
        "on_conflict": None if report.run is None else report.run.on_conflict,
        "is_right": report.is_right,
        "rows": sum(file.noted.row_count for file in report.files),
        "compared": dict(_totals(report)),
        "files": [_file_facts(file) for file in report.files],
        "aggregates": [
            {
                "name": check.name,
                "start": _text(check.start),
                "end": _text(check.end),
                "buckets": check.buckets,
                "different": check.different,
            }
            for check in report.aggregates
        ],
        "not_understood": [{"file": r.name, "reason": r.reason} for r in report.not_understood],
    }


def markdown(report: MigrationReport) -> str:
    """Return the report as Markdown."""
    facts = report_facts(report)
    verdict = "every row is accounted for" if report.is_right else "**not right, see below**"
    lines = [
        f"# Migration run {facts['run']}",
        "",
        f"`{facts['folder']}`, stored rows: {facts['on_conflict']}. {facts['rows']:,} rows: {verdict}.",
        "",
        f"| file | series | rows | {' | '.join(_COMPARED)} | candles the file lacks | |",
        f"|---|---|{'---:|' * (len(_COMPARED) + 2)}---|",
    ]
    for file in facts["files"]:
        counts = " | ".join(f"{file[name]:,}" for name in _COMPARED)
        verdict = "right" if file["is_right"] else "**wrong**"
        lines.append(
            f"| {file['file']} | {file['series']} | {file['rows']:,} | {counts} | {file['gaps']:,} | {verdict} |"
        )
    counts = " | ".join(f"{facts['compared'].get(name, 0):,}" for name in _COMPARED)
    lines += [f"| total | | {facts['rows']:,} | {counts} | | |", ""]
    lines += [f"- {finding}" for finding in _findings(facts)]
    for check in facts["aggregates"]:
        lines.append(
            f"- {check['name']}: {check['buckets']:,} buckets recomputed, {check['different']:,} different"
        )
    lines += [f"- not understood: `{r['file']}`: {r['reason']}" for r in facts["not_understood"]]
    return "\n".join(lines) + "\n"


def html(report: MigrationReport, strips: Sequence[Strip]) -> str:
    """Return the report as one HTML page that needs nothing else, with the coverage picture."""
    facts = report_facts(report)
    heads = "".join(
        f"<th>{escape(name)}</th>" for name in ("file", "series", "rows", *_COMPARED, "file lacks", "")
    )
    rows = "".join(_html_row(file) for file in facts["files"])
    notes = [
        *(("wrong", finding) for finding in _findings(facts)),
        *(
            (
                "wrong" if c["different"] else "",
                f"{c['name']}: {c['buckets']:,} buckets, {c['different']:,} different",
            )
            for c in facts["aggregates"]
        ),
        *(("", f"not understood: {r['file']}: {r['reason']}") for r in facts["not_understood"]),
    ]
    listed = "".join(f'<li class="{kind}">{escape(note)}</li>' for kind, note in notes)
    verdict = (
        '<p class="right">Every row is accounted for.</p>'
        if report.is_right
        else '<p class="wrong">Not everything is right.</p>'
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Migration run {facts["run"]}</title>'
        f"<style>{_STYLE}</style><h1>Migration run {facts['run']}</h1>{verdict}"
        f"<p>{escape(facts['folder'])}: {facts['rows']:,} rows of {len(facts['files'])} files; stored rows: "
        f"{facts['on_conflict']}.</p><h2>Coverage</h2>{coverage_svg(strips) if strips else '<p>No candles.</p>'}"
        f"<h2>Files</h2><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
        f"<h2>Findings</h2><ul>{listed}</ul></html>\n"
    )


async def write_report(engine: AsyncEngine, report: MigrationReport, folder: Path) -> list[Path]:
    """Write `migration-RUN.json`, `.md` and `.html`.

    Args:
        engine: on the database, for the picture.
        report: of a run.
        folder: where to; made if need be.

    Returns:
        The files.

    Raises:
        DatabaseError: the server refuses, or the connection is lost.
        OSError: a file cannot be written; then none is.
    """
    strips = await _strips(engine, report)
    return await asyncio.to_thread(_write, report, strips, folder)


def _write(report: MigrationReport, strips: Sequence[Strip], folder: Path) -> list[Path]:
    name = f"migration-{0 if report.run is None else report.run.id}"
    texts = {
        "json": json.dumps(report_facts(report), indent=2) + "\n",
        "md": markdown(report),
        "html": html(report, strips),
    }
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.{ending}" for ending in texts]
    partial = {path: path.with_name(f".{path.name}.partial") for path in paths}
    try:
        for path, content in zip(paths, texts.values(), strict=True):
            partial[path].write_text(content, encoding="utf-8")
        for path in paths:
            partial[path].replace(path)
    finally:
        for left in partial.values():
            left.unlink(missing_ok=True)
    return paths


async def _strips(engine: AsyncEngine, report: MigrationReport) -> list[Strip]:
    ranges: dict[Any, tuple[datetime, datetime]] = {}
    for file in report.files:
        noted = file.noted
        if noted.length is None or noted.first_ts is None or noted.last_ts is None:
            continue
        start, end = ranges.get((noted.symbol, noted.length), (noted.first_ts, noted.last_ts))
        floor = noted.length.floor
        ranges[noted.symbol, noted.length] = floor(min(start, noted.first_ts)), floor(max(end, noted.last_ts))
    async with engine.connect() as conn:
        return [
            await coverage_strip(conn, symbol, length, first, last)
            for (symbol, length), (first, last) in sorted(ranges.items())
        ]


def _file_facts(file: FileReport) -> dict[str, Any]:
    found, noted = file.verification, file.noted
    compared = {name: 0 if found is None else getattr(found, name) for name in _COMPARED}
    label = noted.kind if noted.length is None else noted.length.label
    return {
        "file": noted.path,
        "sha256": noted.sha256,
        "series": f"{noted.symbol} {label}",
        "rows": noted.row_count,
        "first": _text(noted.first_ts),
        "last": _text(noted.last_ts),
        "is_right": file.is_right,
        **compared,
        "gaps": 0 if found is None else found.gaps,
        "written": {name: file.counts.get(name, 0) for name in COUNTS},
        "failure": file.failure,
        "findings": [] if found is None else found.findings,
    }


def _totals(report: MigrationReport) -> Counter[str]:
    totals = Counter(dict.fromkeys(_COMPARED, 0))
    for file in report.files:
        if file.verification is not None:
            totals.update({name: getattr(file.verification, name) for name in _COMPARED})
    return totals


def _findings(facts: dict[str, Any]) -> Iterator[str]:
    for file in facts["files"]:
        if file["failure"]:
            yield f"{file['file']}: {file['failure']}"
        yield from (f"{file['file']}: {finding}" for finding in file["findings"])


def _html_row(file: dict[str, Any]) -> str:
    numbers = "".join(f"<td>{file[name]:,}</td>" for name in ("rows", *_COMPARED, "gaps"))
    verdict = '<td class="right">right</td>' if file["is_right"] else '<td class="wrong">wrong</td>'
    return f"<tr><td>{escape(file['file'])}</td><td>{escape(file['series'])}</td>{numbers}{verdict}</tr>"


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
