"""What all operations share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from alembic.operations import MigrateOperation

if TYPE_CHECKING:
    from datalayer.timescale.specs import Key


@dataclass(frozen=True, slots=True)
class Call:
    """How an operation is written in a revision.

    Attributes:
        name: of the function of `alembic.op`.
        args: positional arguments.
        kwargs: named arguments; those that are defaults are left out by who makes the call.
    """

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)


class TimescaleOp(MigrateOperation, ABC):
    """An operation on one hypertable or continuous aggregate.

    Attributes:
        name: of the relation, unquoted.
        schema: None: the first of the search path.
        with_relation: the relation itself is created or dropped in the same revision. What only takes something off it is
            not written down then, since it goes with the relation.
    """

    removes: ClassVar[bool] = False
    """Takes something off a relation, as opposed to giving it something."""

    def __init__(self, name: str, schema: str | None, *, with_relation: bool = False) -> None:
        self.name = name
        self.schema = schema
        self.with_relation = with_relation

    @property
    def key(self) -> Key:
        """What names the relation in a database."""
        return self.schema, self.name

    @property
    def is_silent(self) -> bool:
        """Whether nothing is to be written or done, since the relation goes."""
        return self.removes and self.with_relation

    @abstractmethod
    def call(self) -> Call:
        """Return how it is written in a revision."""

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """Return what `alembic check` reports."""
        call = self.call()
        return (call.name, *call.args, call.kwargs)

    def _unknown_before(self) -> ValueError:
        msg = f"{self.call().name} of {self.name} was written by hand and does not know what was there before; write the downgrade by hand too"
        return ValueError(msg)

    def _with_schema(self, **kwargs: Any) -> dict[str, Any]:
        return kwargs if self.schema is None else {**kwargs, "schema": self.schema}
