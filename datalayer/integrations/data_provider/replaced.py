"""Old methods that tell which call replaces them."""

from __future__ import annotations

import warnings
from functools import wraps
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
R = TypeVar("R")
Owner = TypeVar("Owner")


def replaced_by(
    call: str,
) -> Callable[[Callable[Concatenate[Owner, P], R]], Callable[Concatenate[Owner, P], R]]:
    """Mark a method of `DataProviderMixin` as an old one.

    Where `LegacySettings.warn` is set, a call raises a `DeprecationWarning` that points to the caller's line; Python's filters
    decide what becomes of it (by default each line tells once).

    Args:
        call: what to write instead; the method has it as `replaced_by`.
    """

    def mark(method: Callable[Concatenate[Owner, P], R]) -> Callable[Concatenate[Owner, P], R]:
        @wraps(method)
        def told(self: Owner, *args: P.args, **kwargs: P.kwargs) -> R:
            if self.data_layer.settings.warn:  # type: ignore[attr-defined]  # the mixin has it
                warnings.warn(
                    f"{method.__name__} is an old name; use {call}", DeprecationWarning, stacklevel=2
                )
            return method(self, *args, **kwargs)

        told.replaced_by = call  # type: ignore[attr-defined]
        return told  # type: ignore[return-value]  # `self` has a name here, and none there

    return mark
