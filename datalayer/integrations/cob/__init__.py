"""The consolidated order book: books of several feeds merged into one."""

from datalayer.integrations.cob.book import ConsolidatedBook, Cross
from datalayer.integrations.cob.consolidator import Consolidator
from datalayer.integrations.cob.publisher import ConsolidatedBookPublisher
from datalayer.integrations.cob.venue import Venue, consolidated_symbol

__all__ = [
    "ConsolidatedBook",
    "ConsolidatedBookPublisher",
    "Consolidator",
    "Cross",
    "Venue",
    "consolidated_symbol",
]
