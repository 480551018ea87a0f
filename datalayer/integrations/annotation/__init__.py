"""For tools in which people label ranges of time: what they look at, and what they say."""

from datalayer.domain.annotation import Annotation
from datalayer.integrations.annotation.loader import HistoricalDataLoader
from datalayer.integrations.annotation.store import AnnotationStore

__all__ = ["Annotation", "AnnotationStore", "HistoricalDataLoader"]
