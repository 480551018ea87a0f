"""How long reads take, told to whoever wants to know: the hook of the metrics, since what is read has no owner to hand one to."""

from __future__ import annotations

import inspect
from contextlib import contextmanager
from functools import wraps
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, Protocol, TypeAlias, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

P = ParamSpec("P")
T = TypeVar("T")

Stage: TypeAlias = Literal["cache", "query", "provider"]
"""Where a read is timed: in the cache, at the database (its answer made into a frame included), or as a whole."""


class OnRead(Protocol):
    """Is told of each read of the process, in the thread that read. It must be quick, and must not raise."""

    def __call__(self, stage: Stage, kind: str, duration_s: float) -> None:
        """Take how long one took, whether it gave an answer or an error."""


_observers: tuple[OnRead, ...] = ()


@contextmanager
def reads_observed(observer: OnRead) -> Iterator[None]:
    """Tell an observer of all reads of this process within the block; to be entered and left in the main thread.

    Args:
        observer: see `OnRead`. Several may be at work at once.
    """
    global _observers  # noqa: PLW0603 (one process, one list: a read has nobody to ask whom to tell)
    _observers = (*_observers, observer)
    try:
        yield
    finally:
        _observers = tuple(one for one in _observers if one is not observer)


def timed(stage: Stage, kind: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Return a decorator of a method, plain or `async`, that is a read of a kind; unobserved it only looks whether it is."""

    def decorate(method: Callable[P, T]) -> Callable[P, T]:
        if inspect.iscoroutinefunction(method):
            return cast("Callable[P, T]", _timed_coroutine(stage, kind, method))

        @wraps(method)
        def read(*args: P.args, **kwargs: P.kwargs) -> T:
            if not _observers:
                return method(*args, **kwargs)
            started = perf_counter()
            try:
                return method(*args, **kwargs)
            finally:
                _tell(stage, kind, perf_counter() - started)

        return read

    return decorate


def _timed_coroutine(stage: Stage, kind: str, method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    async def read(*args: Any, **kwargs: Any) -> Any:
        started = perf_counter()
        try:
            return await method(*args, **kwargs)
        finally:
            _tell(stage, kind, perf_counter() - started)

    return read


def _tell(stage: Stage, kind: str, duration_s: float) -> None:
    for observer in _observers:
        observer(stage, kind, duration_s)
