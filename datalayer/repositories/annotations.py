"""Annotations: every revision of them, and the very data that they were made on."""

from __future__ import annotations

import zlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import text

from datalayer.db.driver_errors import driver_errors_translated
from datalayer.domain.annotated_candles import check_shown, closed_candles, compared
from datalayer.domain.annotation import Annotation
from datalayer.domain.frame_codec import digest_of
from datalayer.domain.inference_frame import InferenceDataFrame
from datalayer.domain.moments import utc_moment
from datalayer.domain.symbols import canonical_symbol
from datalayer.domain.timeframe import Timeframe
from datalayer.errors import AlteredDataError, ConflictError, InvalidInputError
from datalayer.repositories.candles import CandleRepository

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    import pandas as pd
    from sqlalchemy.ext.asyncio import AsyncConnection

_KEEP_DATA: Final = text("""
    INSERT INTO annotation_data (content_hash, frame) VALUES (:content_hash, :frame) ON CONFLICT DO NOTHING
""")
# Only after the revision before it, and only once: whoever comes second is told by what is stored then.
_INSERT: Final = text("""
    INSERT INTO annotations (id, revision, symbol, timeframes, start_ts, end_ts, label, note, author, is_deleted, content_hash)
    SELECT :id, :revision, :symbol, CAST(:timeframes AS integer[]), CAST(:start AS timestamptz), CAST(:end AS timestamptz),
           CAST(:label AS text), CAST(:note AS text), CAST(:author AS text), CAST(:is_deleted AS boolean), :content_hash
    WHERE :revision = 1 OR EXISTS (SELECT FROM annotations WHERE id = :id AND revision = :revision - 1)
    ON CONFLICT DO NOTHING
""")
_SELECT: Final = """
    SELECT a.symbol, a.timeframes, a.start_ts, a.end_ts, a.label, a.author, a.note, a.id, a.revision, a.is_deleted,
           encode(a.content_hash, 'hex'), first.recorded_at, a.recorded_at
    FROM annotations AS a JOIN annotations AS first ON first.id = a.id AND first.revision = 1
"""
_IS_LAST: Final = """
    NOT EXISTS (
        SELECT FROM annotations AS later WHERE later.id = a.id AND later.revision > a.revision
        AND (CAST(:as_of AS timestamptz) IS NULL OR later.recorded_at <= :as_of)
    )
"""
_ALL_OF_ONE: Final = text(f"{_SELECT} WHERE a.id = :id ORDER BY a.revision")
_LIST: Final = text(f"""
    {_SELECT} WHERE {_IS_LAST} AND NOT a.is_deleted
      AND (CAST(:as_of AS timestamptz) IS NULL OR a.recorded_at <= :as_of)
      AND (CAST(:symbol AS text) IS NULL OR a.symbol = :symbol)
      AND (CAST(:start AS timestamptz) IS NULL OR a.end_ts > :start)
      AND (CAST(:end AS timestamptz) IS NULL OR a.start_ts < :end)
      AND (CAST(:label AS text) IS NULL OR a.label = :label)
      AND (CAST(:author AS text) IS NULL OR a.author = :author)
    ORDER BY a.start_ts, a.end_ts, a.id
""")
_DATA: Final = text("SELECT frame FROM annotation_data WHERE content_hash = decode(:content_hash, 'hex')")


class AnnotationRepository:
    """Writes and reads annotations inside the caller's transaction; never commits.

    Args:
        conn: connection inside the caller's transaction.
    """

    def __init__(self, conn: AsyncConnection) -> None:
        self._conn = conn

    async def save(self, annotation: Annotation, frame: InferenceDataFrame | None = None) -> Annotation:
        """Store a revision, and the data that it was made on. May be repeated: the same once more changes nothing.

        Args:
            annotation: new, or `edited` from the last revision.
            frame: what its author saw. None: that of the revision before.

        Returns:
            The annotation as stored, with data_hash, created_at and updated_at.

        Raises:
            InvalidInputError: a new one comes without a frame, or the frame does not show the range.
            ConflictError: this revision is stored with other values, or is not the next one: somebody else has edited it.
            DatabaseError: the server refuses; the transaction is aborted.
        """
        shown = frame
        if shown is None:
            if annotation.revision == 1:
                raise InvalidInputError("frame", None, "a new annotation needs what it was made on")
            shown = await self.get_data(annotation.id)
        check_shown(annotation, shown)
        digest = shown.content_hash()
        row = _row(annotation, digest)
        with driver_errors_translated():
            if frame is not None:
                data = {"content_hash": row["content_hash"], "frame": zlib.compress(frame.to_json().encode())}
                await self._conn.execute(_KEEP_DATA, data)
            await self._conn.execute(_INSERT, row)
        return await self._stored(replace(annotation, data_hash=digest))

    async def delete(self, annotation_id: UUID, *, author: str) -> bool:
        """Take an annotation back, by a revision that says so. Its history and its data stay.

        Returns:
            Whether it was there; False: it is deleted already.

        Raises:
            InvalidInputError: there is none of this id.
            ConflictError: somebody edits it at this moment.
        """
        last = (await self.list_revisions(annotation_id))[-1]
        if last.is_deleted:
            return False
        await self.save(last.edited(author=author, is_deleted=True))
        return True

    async def get(self, annotation_id: UUID) -> Annotation:
        """Return the last revision, also of one that is deleted.

        Raises:
            InvalidInputError: there is none of this id.
        """
        return (await self.list_revisions(annotation_id))[-1]

    async def list_revisions(self, annotation_id: UUID) -> list[Annotation]:
        """Return all revisions, the oldest first.

        Raises:
            InvalidInputError: there is none of this id.
        """
        with driver_errors_translated():
            rows = (await self._conn.execute(_ALL_OF_ONE, {"id": annotation_id})).all()
        if not rows:
            raise InvalidInputError("annotation_id", str(annotation_id), "there is no such annotation")
        return [_annotation(row) for row in rows]

    async def list_annotations(
        self,
        *,
        symbol: str | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        label: str | None = None,
        author: str | None = None,
        as_of: datetime | None = None,
    ) -> list[Annotation]:
        """Return the last revisions of those that are not deleted, ordered by range.

        Args:
            symbol: only of this one, in any known spelling.
            start: only those that end after it, aware.
            end: only those that begin before it, aware: together those that have a moment in `[start, end)`.
            label: only those with this one.
            author: only those whose last revision is by this one.
            as_of: as they were at this time, aware: later edits, deletions and annotations are not seen. None: now.
        """
        times = {"start": start, "end": end, "as_of": as_of}
        values = {name: None if at is None else utc_moment(at, name) for name, at in times.items()}
        words = {
            "symbol": None if symbol is None else canonical_symbol(symbol),
            "label": label,
            "author": author,
        }
        with driver_errors_translated():
            return [_annotation(row) for row in await self._conn.execute(_LIST, values | words)]

    async def get_data(self, annotation_id: UUID, revision: int | None = None) -> InferenceDataFrame:
        """Return the very data that an annotation was made on, whatever history says today.

        Args:
            annotation_id: of the annotation.
            revision: None: the last one.

        Raises:
            InvalidInputError: there is no such annotation or revision.
            AlteredDataError: what is stored is not what was written.
        """
        revisions = await self.list_revisions(annotation_id)
        if revision is not None and not 0 < revision <= len(revisions):
            raise InvalidInputError("revision", revision, f"there are 1 to {len(revisions)}")
        digest = revisions[-1 if revision is None else revision - 1].data_hash
        with driver_errors_translated():
            data = await self._conn.scalar(_DATA, {"content_hash": digest})
        return _unpacked(data, str(digest))

    async def list_changes(self, annotation_id: UUID, revision: int | None = None) -> pd.DataFrame:
        """Return the candles that an annotation was made on and that history has otherwise today.

        Compared are the closed candles of each timeframe from the first to the last one that its data show.

        Args:
            annotation_id: of the annotation.
            revision: None: the last one.

        Returns:
            Index `timeframe` (as in 1m) and `timestamp` (open time, UTC); column `change`: changed, added (not there then) or
            removed (not there now); and open_then, open_now and so on (float64; NaN: none). Empty: all is as it was.

        Raises:
            InvalidInputError: there is no such annotation or revision, or its symbol is not registered any more.
            AlteredDataError: what is stored is not what was written.
        """
        frame = await self.get_data(annotation_id, revision)
        then = {t: table for t, table in closed_candles(frame).items() if len(table)}
        candles, now = CandleRepository(self._conn), {}
        for timeframe, table in then.items():
            first, last = table.index[0].to_pydatetime(), table.index[-1].to_pydatetime()
            now[timeframe] = await candles.query_ohlcv_data(
                frame.symbol, timeframe, start=first, end=last + timeframe.length
            )
        return compared(then, now)

    async def _stored(self, annotation: Annotation) -> Annotation:
        with driver_errors_translated():
            rows = (await self._conn.execute(_ALL_OF_ONE, {"id": annotation.id})).all()
        revisions = [_annotation(row) for row in rows]
        if annotation.revision > len(revisions):
            hint = f"the last revision is {len(revisions)}; read it, and edit that"
        else:
            found = revisions[annotation.revision - 1]
            if found == replace(annotation, created_at=found.created_at, updated_at=found.updated_at):
                return found
            hint = "somebody else has edited it; read the last revision, and edit that"
        raise ConflictError("annotations", {"id": annotation.id, "revision": annotation.revision}, hint)


def _row(annotation: Annotation, digest: str) -> dict[str, Any]:
    names = ("id", "revision", "symbol", "start", "end", "label", "note", "author", "is_deleted")
    values: dict[str, Any] = {name: getattr(annotation, name) for name in names}
    lengths = [timeframe.value for timeframe in annotation.timeframes]
    return values | {"timeframes": lengths, "content_hash": bytes.fromhex(digest)}


def _annotation(row: Any) -> Annotation:
    symbol, lengths, *rest = row
    return Annotation(symbol, tuple(map(Timeframe, lengths)), *rest)


def _unpacked(data: Any, digest: str) -> InferenceDataFrame:
    try:
        text = zlib.decompress(data).decode()
    except (zlib.error, UnicodeDecodeError) as exc:
        raise AlteredDataError("annotation_data", digest, str(exc)) from exc
    if (found := digest_of(text)) != digest:
        raise AlteredDataError("annotation_data", digest, f"it is {found} now")
    return InferenceDataFrame.from_json(text)
