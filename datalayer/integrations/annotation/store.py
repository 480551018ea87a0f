"""Annotations for code that blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import pandas as pd

from datalayer.domain.annotated_candles import labelled_rows
from datalayer.ingestion import UnitOfWork

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from datetime import datetime
    from uuid import UUID

    import datalayer.sync
    from datalayer.domain.annotation import Annotation
    from datalayer.domain.inference_frame import InferenceDataFrame
    from datalayer.repositories import AnnotationRepository

T = TypeVar("T")


class AnnotationStore:
    """What people say of ranges of time, each with the very data that they looked at; safe from any number of threads.

        with datalayer.sync.connect() as market:
            store, loader = AnnotationStore(market), HistoricalDataLoader(market)
            start, end = datetime(2024, 8, 8, 10, 1, tzinfo=UTC), datetime(2024, 8, 8, 10, 3, tzinfo=UTC)
            frame = loader.get_context("BTC/USDT", start, window_minutes=30)
            saved = store.save(Annotation("BTC/USDT", ("1m",), start, end, "breakout", author="anna"), frame)
            assert store.get_data(saved.id) == frame

    Each method is a transaction of its own. For several in one, and in coroutines, there is `UnitOfWork.annotations`.

    Args:
        market: on whose database it works; open.
    """

    def __init__(self, market: datalayer.sync.UnifiedDataProvider) -> None:
        self._market = market

    def save(self, annotation: Annotation, frame: InferenceDataFrame | None = None) -> Annotation:
        """As `AnnotationRepository.save`, committed."""
        return self._run(lambda annotations: annotations.save(annotation, frame), commit=True)

    def delete(self, annotation_id: UUID, *, author: str) -> bool:
        """As `AnnotationRepository.delete`, committed."""
        return self._run(lambda annotations: annotations.delete(annotation_id, author=author), commit=True)

    def get(self, annotation_id: UUID) -> Annotation:
        """As `AnnotationRepository.get`."""
        return self._run(lambda annotations: annotations.get(annotation_id))

    def list_revisions(self, annotation_id: UUID) -> list[Annotation]:
        """As `AnnotationRepository.list_revisions`."""
        return self._run(lambda annotations: annotations.list_revisions(annotation_id))

    def list_annotations(
        self,
        *,
        symbol: str | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        label: str | None = None,
        author: str | None = None,
        as_of: datetime | None = None,
    ) -> list[Annotation]:
        """As `AnnotationRepository.list_annotations`."""
        wanted = {"symbol": symbol, "start": start, "end": end, "label": label, "author": author}
        return self._run(lambda annotations: annotations.list_annotations(**wanted, as_of=as_of))  # type: ignore[arg-type]

    def get_data(self, annotation_id: UUID, revision: int | None = None) -> InferenceDataFrame:
        """As `AnnotationRepository.get_data`."""
        return self._run(lambda annotations: annotations.get_data(annotation_id, revision))

    def list_changes(self, annotation_id: UUID, revision: int | None = None) -> pd.DataFrame:
        """As `AnnotationRepository.list_changes`."""
        return self._run(lambda annotations: annotations.list_changes(annotation_id, revision))

    def training_rows(self, annotations: Iterable[Annotation]) -> pd.DataFrame:
        """Return a row for each labelled candle, made of the data that each annotation was made on.

        Args:
            annotations: stored, for instance from `list_annotations`.

        Returns:
            The rows of `datalayer.domain.annotated_candles.labelled_rows`, annotation after annotation: what was known at the
            close of each candle, and the label.
        """
        chosen = list(annotations)

        async def read(stored: AnnotationRepository) -> list[pd.DataFrame]:
            return [labelled_rows(one, await stored.get_data(one.id, one.revision)) for one in chosen]

        rows = self._run(read)
        if rows:
            return pd.concat(rows)
        return pd.DataFrame(index=pd.DatetimeIndex([], dtype="datetime64[us, UTC]", name="timestamp"))

    def _run(self, work: Callable[[AnnotationRepository], Awaitable[T]], *, commit: bool = False) -> T:
        async def unit() -> T:
            async with UnitOfWork(self._market.asynchronous.database) as uow:
                done = await work(uow.annotations)
                if commit:
                    await uow.commit()
            return done

        return self._market.run(unit())
