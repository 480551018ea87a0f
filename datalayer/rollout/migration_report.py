"""What became of a migration: each file, each aggregate."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from datalayer.rollout.aggregate_check import AggregateCheck
    from datalayer.rollout.discovery import NotUnderstood
    from datalayer.rollout.ledger import LedgerFile, LedgerRun
    from datalayer.rollout.verification import FileVerification


@dataclass(frozen=True, slots=True)
class FileReport:
    """What became of a file.

    Attributes:
        noted: what the ledger said of it.
        verification: the comparison with the database; None: it did not come to that.
        counts: what became of its rows when they were written, by the names of `ledger.COUNTS`; empty: it was taken out again.
        failure: why it was taken out again, or could not be compared; None: it was not.
    """

    noted: LedgerFile
    verification: FileVerification | None
    counts: dict[str, int]
    failure: str | None = None

    @property
    def is_right(self) -> bool:
        """Whether it is stored, and every row was found as it should be."""
        return self.failure is None and self.verification is not None and self.verification.is_right


@dataclass(slots=True)
class MigrationReport:
    """What became of a migration.

    Attributes:
        folder: the cache folder.
        run: the run; None: there was nothing to do.
        not_understood: files that were passed over, with the reason.
        files: what became of each file of the run.
        aggregates: aggregates over the migrated range, compared with a recomputation.
    """

    folder: Path
    run: LedgerRun | None
    not_understood: tuple[NotUnderstood, ...] = ()
    files: list[FileReport] = field(default_factory=list)
    aggregates: list[AggregateCheck] = field(default_factory=list)

    @property
    def is_right(self) -> bool:
        """Whether all files are stored and verified, and the aggregates are what they should be."""
        return all(file.is_right for file in self.files) and not any(
            check.different for check in self.aggregates
        )
