"""TimescaleDB from Python: declared on SQLAlchemy models, migrated by Alembic, read back. Knows nothing of trading."""

from datalayer.timescale.aggregate import continuous_aggregate, list_aggregates
from datalayer.timescale.chunks import (
    Chunk,
    CompressionStatistics,
    chunk_sizes,
    compress_chunks,
    compression_statistics,
    list_chunks,
    relation_size,
)
from datalayer.timescale.functions import first, last, time_bucket
from datalayer.timescale.hypertable import Hypertable, find_hypertable
from datalayer.timescale.intervals import Interval, IntervalLike
from datalayer.timescale.introspection import Found, find_relations
from datalayer.timescale.jobs import Job, list_jobs, switch_jobs
from datalayer.timescale.refresh import refresh_continuous_aggregate
from datalayer.timescale.server import Feature, Server
from datalayer.timescale.specs import (
    AggregateSpec,
    Compression,
    CompressionPolicy,
    HashDimension,
    HypertableSpec,
    OrderBy,
    PolicyKind,
    RangeDimension,
    RefreshPolicy,
    RetentionPolicy,
)

__all__ = [
    "AggregateSpec",
    "Chunk",
    "Compression",
    "CompressionPolicy",
    "CompressionStatistics",
    "Feature",
    "Found",
    "HashDimension",
    "Hypertable",
    "HypertableSpec",
    "Interval",
    "IntervalLike",
    "Job",
    "OrderBy",
    "PolicyKind",
    "RangeDimension",
    "RefreshPolicy",
    "RetentionPolicy",
    "Server",
    "chunk_sizes",
    "compress_chunks",
    "compression_statistics",
    "continuous_aggregate",
    "find_hypertable",
    "find_relations",
    "first",
    "last",
    "list_aggregates",
    "list_chunks",
    "list_jobs",
    "refresh_continuous_aggregate",
    "relation_size",
    "switch_jobs",
    "time_bucket",
]
