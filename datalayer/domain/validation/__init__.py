"""Validation of market data: every rule has a name, nothing that is refused is lost, nothing is changed in silence."""

from datalayer.domain.validation.result import (
    RejectedRow,
    RejectedRows,
    ValidationResult,
    ValidationWarning,
)
from datalayer.domain.validation.rules import Notice, Rule, ValidationLimits
from datalayer.domain.validation.validator import DataValidator

__all__ = [
    "DataValidator",
    "Notice",
    "RejectedRow",
    "RejectedRows",
    "Rule",
    "ValidationLimits",
    "ValidationResult",
    "ValidationWarning",
]
