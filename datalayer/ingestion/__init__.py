"""Taking market data in: one transaction over all repositories, and a pipeline that loses nothing."""

from datalayer.ingestion.bulk import load_candles
from datalayer.ingestion.events import EventKind
from datalayer.ingestion.outcomes import Ingested
from datalayer.ingestion.pipeline import DataIngestionPipeline
from datalayer.ingestion.ports import IngestionHooks
from datalayer.ingestion.settings import IngestionSettings
from datalayer.ingestion.signals import cancelled_by_signals
from datalayer.ingestion.unit_of_work import UnitOfWork

__all__ = [
    "DataIngestionPipeline",
    "EventKind",
    "Ingested",
    "IngestionHooks",
    "IngestionSettings",
    "UnitOfWork",
    "cancelled_by_signals",
    "load_candles",
]
