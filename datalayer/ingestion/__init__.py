"""Taking market data in: one transaction over all repositories, and a pipeline that loses nothing."""

from datalayer.ingestion.unit_of_work import UnitOfWork

__all__ = ["UnitOfWork"]
