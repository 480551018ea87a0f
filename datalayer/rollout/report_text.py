"""A migration's report as JSON, Markdown and HTML: the same facts in each."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from contextlib import ExitStack
from html import escape
from typing import TYPE_CHECKING, Any, Final

from datalayer.rollout.coverage_picture import coverage_strip, coverage_svg
from datalayer.rollout.ledger import COUNTS
from datalayer.whole_file import whole_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncEngine

    from datalayer.rollout.coverage_picture import Strip
    from datalayer.rollout.migration_report import FileReport, MigrationReport

_COMPARED: Final = ("equal", "kept", "forming", "repeated", "rejected", "missing", "altered")
_BAD: Final = ("missing", "altered")
_STYLE: Final = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 78rem; padding: 0 1rem; color: #1d2329;
  overflow-wrap: anywhere; }
.wide { overflow-x: auto; } .wide svg { min-width: 46rem; } .wide table { min-width: 58rem; overflow-wrap: normal; }
table { border-collapse: collapse; width: 100%; font-size: 13px; } th, td { padding: .3rem .5rem; text-align: right; }
th { border-bottom: 2px solid #c9d0d6; } td { border-bottom: 1px solid #e5e9ec; } tfoot td { border-top: 2px solid #c9d0d6; }
th:nth-child(-n+2), td:nth-child(-n+2) { text-align: left; } .name { overflow-wrap: anywhere; } .series { white-space: nowrap; }
.right { color: #2f8f5b; font-weight: 600; } .wrong { color: #c8354a; font-weight: 600; } .none { color: #a3acb5; }
li { margin: .2rem 0; } li.wrong { font-weight: 400; }
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
    verdict = _verdict(report) if report.is_right else f"**{_verdict(report)}**"
    intro = (
        f"{verdict} `{facts['folder']}`: {facts['rows']:,} rows of {len(facts['files'])} files; rows that were stored with "
        f"other values before: {facts['on_conflict']}."
    )
    lines = [
        f"# Migration run {facts['run']}",
        "",
        intro,
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
    lines += [f"- passed over: `{r['file']}`: {r['reason']}" for r in facts["not_understood"]]
    return "\n".join(lines) + "\n"


def summary(report: MigrationReport) -> Iterator[str]:
    """Yield the report in lines for a terminal: what is not zero, and what is wrong."""
    facts = report_facts(report)
    yield f"run {facts['run']}: {facts['rows']:,} rows of {len(facts['files'])} files. {_verdict(report)}"
    for file in facts["files"]:
        counts = ", ".join(f"{file[name]:,} {name}" for name in _COMPARED if file[name])
        lacks = f"; the file lacks {file['gaps']:,} candles" if file["gaps"] else ""
        yield f"{'right' if file['is_right'] else 'WRONG'}  {file['file']}"
        yield f"       {file['series']}, {file['rows']:,} rows: {counts or 'not compared'}{lacks}"
    yield from (f"wrong: {finding}" for finding in _findings(facts))
    for check in facts["aggregates"]:
        if check["different"]:
            yield f"wrong: {check['name']}: {check['different']:,} of {check['buckets']:,} buckets differ"
    yield from (f"passed over: {refused['file']}: {refused['reason']}" for refused in facts["not_understood"])


def html(report: MigrationReport, strips: Sequence[Strip]) -> str:
    """Return the report as one HTML page that needs nothing else, with the coverage picture."""
    facts = report_facts(report)
    heads = "".join(
        f"<th>{escape(name)}</th>" for name in ("file", "series", "rows", *_COMPARED, "file lacks", "")
    )
    rows = "".join(_html_row(file) for file in facts["files"])
    total = _html_numbers(
        {"rows": facts["rows"], "gaps": sum(f["gaps"] for f in facts["files"])} | facts["compared"]
    )
    aggregates = [
        (
            "wrong" if c["different"] else "",
            f"{c['name']}: {c['buckets']:,} buckets, {c['different']:,} different",
        )
        for c in facts["aggregates"]
    ]
    passed_over = [("", f"{refused['file']}: {refused['reason']}") for refused in facts["not_understood"]]
    kind = "right" if report.is_right else "wrong"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>Migration run {facts['run']}</title><style>{_STYLE}</style><h1>Migration run {facts['run']}</h1>"
        f'<p class="{kind}">{escape(_verdict(report))}</p>'
        f"<p>{escape(facts['folder'])}: {facts['rows']:,} rows of {len(facts['files'])} files; rows that were stored with "
        f"other values before: {facts['on_conflict']}.</p>"
        f'<h2>Coverage</h2><div class="wide">{coverage_svg(strips) if strips else "<p>No candles.</p>"}</div>'
        f'<h2>Files</h2><div class="wide"><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody>'
        f"<tfoot><tr><td>total</td><td></td>{total}<td></td></tr></tfoot></table></div>"
        f"{_listed('Findings', [('wrong', finding) for finding in _findings(facts)])}"
        f"{_listed('Aggregates, recomputed', aggregates)}{_listed('Passed over', passed_over)}</html>\n"
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
    with ExitStack() as whole:  # all of them, or none
        files = [whole.enter_context(whole_file(path)) for path in paths]
        for file, content in zip(files, texts.values(), strict=True):
            file.write(content.encode())
            file.flush()
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
        failure = file["failure"] or ""
        said = [failure] if failure else []
        said += [finding for finding in file["findings"] if not failure.startswith(finding)]
        yield from (f"{file['file']}: {text}" for text in said)


def _verdict(report: MigrationReport) -> str:
    said = "Every row is accounted for" if report.is_right else "Not everything is right, see the findings"
    if count := len(report.not_understood):
        said += f"; {count} files were passed over, see the end"
    return f"{said}."


def _listed(title: str, notes: Sequence[tuple[str, str]]) -> str:
    listed = "".join(f'<li class="{kind}">{escape(note)}</li>' for kind, note in notes)
    return f"<h2>{title}</h2><ul>{listed}</ul>" if notes else ""


def _html_row(file: dict[str, Any]) -> str:
    verdict = '<td class="right">right</td>' if file["is_right"] else '<td class="wrong">wrong</td>'
    names = f'<td class="name">{escape(file["file"])}</td><td class="series">{escape(file["series"])}</td>'
    return f"<tr>{names}{_html_numbers(file)}{verdict}</tr>"


def _html_numbers(values: dict[str, Any]) -> str:
    cells = []
    for name in ("rows", *_COMPARED, "gaps"):
        kind = "" if values[name] else "none"
        if values[name] and name in _BAD:
            kind = "wrong"
        cells.append(f'<td class="{kind}">{values[name]:,}</td>')
    return "".join(cells)


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
