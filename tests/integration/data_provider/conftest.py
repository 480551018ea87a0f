"""The clock of the provider's tests."""

from tests.integration.provider.conftest import clock

__all__ = ["clock"]
