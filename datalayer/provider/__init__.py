"""One API for live inference, annotation and backtests."""

from datalayer.provider.connecting import connect
from datalayer.provider.health import ProviderHealth
from datalayer.provider.lateness import LateData
from datalayer.provider.settings import ProviderSettings
from datalayer.provider.subscription import Subscription
from datalayer.provider.unified import UnifiedDataProvider
from datalayer.provider.updates import Update, UpdateGap, WhenSlow

__all__ = [
    "LateData",
    "ProviderHealth",
    "ProviderSettings",
    "Subscription",
    "UnifiedDataProvider",
    "Update",
    "UpdateGap",
    "WhenSlow",
    "connect",
]
