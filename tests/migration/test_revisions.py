"""The history of revisions, by pytest-alembic's built-in tests."""

from __future__ import annotations

import pytest
from pytest_alembic.tests import (
    test_model_definitions_match_ddl,
    test_single_head_revision,
    test_up_down_consistency,
    test_upgrade,
)

__all__ = [
    "test_model_definitions_match_ddl",
    "test_single_head_revision",
    "test_up_down_consistency",
    "test_upgrade",
]


@pytest.fixture(params=["own", 'My "Data'])
def schema_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)
