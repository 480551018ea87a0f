"""Calls of code from outside, a cache or a hook, whose failures must not stop the pipeline or cost it a record."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import fields
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

from datalayer.ingestion.ports import IngestionHooks

if TYPE_CHECKING:
    from datalayer.ingestion.ports import LiveCache

logger = logging.getLogger(__name__)

Function = TypeVar("Function", bound=Callable[..., Any])


class ContainedCache:
    """A cache of which nothing that it raises gets out.

    Args:
        cache: the cache.
    """

    def __init__(self, cache: LiveCache) -> None:
        self.put_candle = contained(cache.put_candle)
        self.put_trade = contained(cache.put_trade)
        self.put_orderbook = contained(cache.put_orderbook)
        self.put_imbalances = contained(cache.put_imbalances)
        self.discard = contained(cache.discard)


def contained_hooks(hooks: IngestionHooks) -> IngestionHooks:
    """Return the hooks, and nothing that they raise gets out."""
    given = (getattr(hooks, field.name) for field in fields(hooks))
    return IngestionHooks(*(None if hook is None else contained(hook) for hook in given))


def contained(function: Function) -> Function:
    """Return the function; what it raises is logged instead, the first time, the second, the fourth, and so on."""
    failures = 0

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        nonlocal failures
        try:
            return function(*args, **kwargs)
        except Exception:
            failures += 1
            if not failures & (failures - 1):
                logger.exception("%r failed, %d times by now; the pipeline goes on", function, failures)

    return cast("Function", call)
