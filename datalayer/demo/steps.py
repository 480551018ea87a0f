"""The steps of the demo as they go on: progress bars in a terminal, one line each anywhere else."""

from __future__ import annotations

from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Final, Self

from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from rich.console import Console
    from rich.progress import Task, TaskID

_TITLE_WIDTH: Final = 38


class Step:
    """One step that goes on.

    Attributes:
        seconds: how long it took, once it is over.
    """

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task
        self.seconds = 0.0

    def advance(self, count: int) -> None:
        """Say that so many more of the announced items are done."""
        self._progress.advance(self._task, count)

    def say(self, line: str) -> None:
        """Show what the step is at right now."""
        self._progress.update(self._task, description=line[:_TITLE_WIDTH])


class _Count(ProgressColumn):
    """How many of how many; nothing for a step that is one thing."""

    def render(self, task: Task) -> Text:
        total = int(task.total or 1)
        return Text(
            "" if total == 1 else f"{int(task.completed):,}/{total:,}", "progress.download", justify="right"
        )


class Steps:
    """Shows steps one below the other; a context manager.

    Args:
        console: where to show them.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            SpinnerColumn(finished_text="[green]✓[/green]"),
            TextColumn(f"{{task.description:<{_TITLE_WIDTH}}}"),
            BarColumn(bar_width=None),
            _Count(),
            TimeElapsedColumn(),
            console=console,
            expand=True,
            disable=not console.is_terminal,
        )

    @contextmanager
    def step(self, title: str, total: int = 1) -> Iterator[Step]:
        """Show one step from its beginning to its end.

        Args:
            title: what is done.
            total: how many items; a step that never advances counts as one.
        """
        task = self._progress.add_task(title, total=total)
        step = Step(self._progress, task)
        began = perf_counter()
        yield step
        step.seconds = perf_counter() - began
        self._progress.update(task, completed=total, description=title)
        if not self._console.is_terminal:
            self._console.print(f"{title:<{_TITLE_WIDTH}} {step.seconds:6.1f} s")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
