"""Consolidated books into a pipeline, at a steady pace."""

from __future__ import annotations

import asyncio
from collections import Counter
from math import isfinite
from typing import TYPE_CHECKING

from datalayer.errors import InvalidInputError

if TYPE_CHECKING:
    from datalayer.ingestion import DataIngestionPipeline
    from datalayer.ingestion.outcomes import Ingested
    from datalayer.integrations.cob.consolidator import Consolidator


class ConsolidatedBookPublisher:
    """Hands the consolidated book to a pipeline again and again: from there it goes to cache, database and provider.

        async with DataIngestionPipeline(market.database, outbox=None, cache=market.cache) as pipeline:
            publisher = ConsolidatedBookPublisher(books, pipeline, cadence_s=0.5)
            await publisher.publish()

    `outcomes` counts what the pipeline said to snapshots, `crossed` those that were crossed, `withheld` those that were not made.
    The instrument `books.symbol` must be registered, or the pipeline do so. Imbalances are computed by the pipeline, of the levels
    that are handed over; those of volume are not known, since trades are not consolidated.

    Args:
        books: what to publish.
        pipeline: open.
        cadence_s: seconds between two snapshots of `run()`, which are due at whole multiples of it.
        levels: most levels of a side.
        min_venues: publish nothing while fewer venues are fresh.

    Raises:
        InvalidInputError: a number is out of range.
    """

    def __init__(
        self,
        books: Consolidator,
        pipeline: DataIngestionPipeline,
        *,
        cadence_s: float = 1.0,
        levels: int = 20,
        min_venues: int = 1,
    ) -> None:
        if not (isfinite(cadence_s) and cadence_s > 0):
            raise InvalidInputError("cadence_s", cadence_s, "give seconds above zero")
        if levels < 1:
            raise InvalidInputError("levels", levels, "a book has at least one level")
        if not 1 <= min_venues <= len(books.venues):
            raise InvalidInputError("min_venues", min_venues, f"there are {len(books.venues)} venues")
        self._books, self._pipeline = books, pipeline
        self._cadence_s, self._levels, self._min_venues = cadence_s, levels, min_venues
        self.outcomes: Counter[Ingested] = Counter()
        self.withheld = self.crossed = 0

    async def publish(self) -> Ingested | None:
        """Hand the book of now over, netted where it is crossed; None: too few venues are fresh, which `withheld` counts.

        Raises:
            IngestionClosedError: the pipeline is not open.
        """
        book = self._books.find_book()
        if book is None or len(book.ages_s) < self._min_venues:
            self.withheld += 1
            return None
        self.crossed += book.cross is not None
        outcome = await self._pipeline.ingest_orderbook_snapshot(book.order_book(self._levels))
        self.outcomes[outcome] += 1
        return outcome

    async def run(self) -> None:
        """Publish until cancelled.

        Raises:
            IngestionClosedError: the pipeline is closed.
        """
        while True:
            now = self._books.now().timestamp()
            await asyncio.sleep(self._cadence_s - now % self._cadence_s)
            await self.publish()
