"""How a running data layer is: what is stored, what the database does by itself, and what is wrong.

Metrics for Prometheus are in `datalayer.monitoring.metrics`, which needs the extra `metrics`.
"""

from datalayer.monitoring.checks import diagnose
from datalayer.monitoring.findings import Finding, HealthLimits, Verdict
from datalayer.monitoring.inspection import inspect_database
from datalayer.monitoring.state import DatabaseState, JobState, RelationState, SeriesState
from datalayer.monitoring.watch import DatabaseWatch

__all__ = [
    "DatabaseState",
    "DatabaseWatch",
    "Finding",
    "HealthLimits",
    "JobState",
    "RelationState",
    "SeriesState",
    "Verdict",
    "diagnose",
    "inspect_database",
]
