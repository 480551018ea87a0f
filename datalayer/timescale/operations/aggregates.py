"""Creating, changing, replacing and refreshing continuous aggregates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from alembic.operations import Operations

from datalayer.timescale.intervals import Interval
from datalayer.timescale.operations.base import Call, TimescaleOp
from datalayer.timescale.refresh import BUCKETS_PER_BATCH
from datalayer.timescale.specs import AggregateSpec

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from datalayer.timescale.intervals import IntervalLike
    from datalayer.timescale.specs import Key


@Operations.register_operation("create_continuous_aggregate")
class CreateContinuousAggregateOp(TimescaleOp):
    """An aggregate is made, with nothing materialised."""

    def __init__(self, spec: AggregateSpec) -> None:
        super().__init__(spec.name, spec.schema, with_relation=True)
        self.spec = spec

    @classmethod
    def create_continuous_aggregate(
        cls,
        operations: Operations,
        name: str,
        definition: str,
        *,
        materialized_only: bool,
        chunk_interval: IntervalLike | None = None,
        create_group_indexes: bool = True,
        comment: str | None = None,
        schema: str | None = None,
    ) -> Any:
        """Create a continuous aggregate; `refresh_continuous_aggregate` or a policy fills it.

        Args:
            operations: given by Alembic.
            name: of the view.
            definition: SELECT with one `time_bucket`, grouped by it, over a hypertable or another continuous aggregate.
            materialized_only: False: what is not materialised yet is computed at query time.
            chunk_interval: of what is materialised; None: TimescaleDB's choice.
            create_group_indexes: let TimescaleDB index each group column with the bucket.
            comment: of the view.
            schema: None: the first of the search path.
        """
        spec = AggregateSpec(
            name=name,
            schema=schema,
            chunk_interval=None
            if chunk_interval is None
            else Interval.of(chunk_interval, "chunk_interval").fixed,
            compression=None,
            policies=(),
            definition=definition,
            materialized_only=materialized_only,
            create_group_indexes=create_group_indexes,
            comment=comment,
        )
        return operations.invoke(cls(spec))

    def reverse(self) -> DropContinuousAggregateOp:
        """Return what undoes it."""
        return DropContinuousAggregateOp(self.name, self.schema, spec=self.spec)

    def call(self) -> Call:
        """Return how it is written in a revision."""
        spec = self.spec
        kwargs: dict[str, Any] = {"materialized_only": spec.materialized_only}
        if spec.chunk_interval is not None:
            kwargs["chunk_interval"] = spec.chunk_interval.plain
        if not spec.create_group_indexes:
            kwargs["create_group_indexes"] = False
        if spec.comment is not None:
            kwargs["comment"] = spec.comment
        return Call("create_continuous_aggregate", (spec.name, spec.definition), self._with_schema(**kwargs))


@Operations.register_operation("drop_continuous_aggregate")
class DropContinuousAggregateOp(TimescaleOp):
    """An aggregate is dropped, with what it has materialised and its policies."""

    def __init__(self, name: str, schema: str | None, *, spec: AggregateSpec | None = None) -> None:
        super().__init__(name, schema)
        self.spec = spec

    @classmethod
    def drop_continuous_aggregate(
        cls, operations: Operations, name: str, *, schema: str | None = None
    ) -> Any:
        """Drop a continuous aggregate with all that it has materialised and its policies.

        Args:
            operations: given by Alembic.
            name: of the view; no other aggregate or view reads it.
            schema: None: the first of the search path.
        """
        return operations.invoke(cls(name, schema))

    def reverse(self) -> CreateContinuousAggregateOp:
        """Return what undoes it."""
        if self.spec is None:
            raise self._unknown_before()
        return CreateContinuousAggregateOp(self.spec)

    def call(self) -> Call:
        """Return how it is written in a revision."""
        return Call("drop_continuous_aggregate", (self.name,), self._with_schema())


@Operations.register_operation("rename_continuous_aggregate")
class RenameContinuousAggregateOp(TimescaleOp):
    """An aggregate gets another name."""

    def __init__(self, name: str, schema: str | None, new_name: str) -> None:
        super().__init__(name, schema)
        self.new_name = new_name

    @classmethod
    def rename_continuous_aggregate(
        cls, operations: Operations, name: str, new_name: str, *, schema: str | None = None
    ) -> Any:
        """Rename a continuous aggregate; rows, policies and what reads it stay. A comparison cannot know of it.

        Args:
            operations: given by Alembic.
            name: old name.
            new_name: new name, in the same schema.
            schema: None: the first of the search path.
        """
        return operations.invoke(cls(name, schema, new_name))

    def reverse(self) -> Self:
        """Return what undoes it."""
        return type(self)(self.new_name, self.schema, self.name)

    def call(self) -> Call:
        """Return how it is written in a revision."""
        return Call("rename_continuous_aggregate", (self.name, self.new_name), self._with_schema())


ALTERABLE = ("materialized_only", "chunk_interval", "comment")


@Operations.register_operation("alter_continuous_aggregate")
class AlterContinuousAggregateOp(TimescaleOp):
    """What can be changed of an aggregate in place changes."""

    def __init__(
        self,
        name: str,
        schema: str | None,
        changes: Mapping[str, Any],
        existing: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(name, schema)
        self.changes = dict(changes)
        self.existing = existing

    @classmethod
    def alter_continuous_aggregate(
        cls,
        operations: Operations,
        name: str,
        *,
        materialized_only: bool | None = None,
        chunk_interval: IntervalLike | None = None,
        comment: str | None = None,
        schema: str | None = None,
    ) -> Any:
        """Change what can be changed of a continuous aggregate in place; what is not given stays.

        Args:
            operations: given by Alembic.
            name: of the view.
            materialized_only: whether only what is materialised is visible.
            chunk_interval: of what is materialised from now on.
            comment: of the view; an empty text removes it.
            schema: None: the first of the search path.
        """
        interval = None if chunk_interval is None else Interval.of(chunk_interval, "chunk_interval").fixed
        given = {
            "materialized_only": materialized_only,
            "chunk_interval": interval,
            "comment": comment,
        }
        changes = {field: value for field, value in given.items() if value is not None}
        return operations.invoke(cls(name, schema, changes))

    def reverse(self) -> Self:
        """Return what undoes it."""
        if self.existing is None:
            raise self._unknown_before()
        return type(self)(self.name, self.schema, self.existing, self.changes)

    def call(self) -> Call:
        """Return how it is written in a revision."""
        changes = {field: getattr(value, "plain", value) for field, value in self.changes.items()}
        if "comment" in changes:
            changes["comment"] = changes["comment"] or ""
        return Call("alter_continuous_aggregate", (self.name,), self._with_schema(**changes))

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """Return what `alembic check` reports, found before declared."""
        found = self.existing or {}
        changes = {
            field: (getattr(found.get(field), "plain", found.get(field)), getattr(value, "plain", value))
            for field, value in self.changes.items()
        }
        return ("alter_continuous_aggregate", self.schema, self.name, changes)


@Operations.register_operation("replace_continuous_aggregates")
class ReplaceContinuousAggregatesOp(TimescaleOp):
    """Aggregates that read each other get new definitions."""

    def __init__(
        self,
        definitions: Mapping[Key, str],
        existing: Mapping[Key, str] | None = None,
        *,
        accept_loss: bool = False,
    ) -> None:
        schemas = {schema for schema, _ in definitions}
        super().__init__(next(name for _, name in definitions), schemas.pop() if len(schemas) == 1 else None)
        self.definitions = dict(definitions)
        self.existing = existing
        self.accept_loss = accept_loss

    @classmethod
    def replace_continuous_aggregates(
        cls,
        operations: Operations,
        definitions: Mapping[str | tuple[str | None, str], str],
        *,
        accept_loss: bool = False,
        schema: str | None = None,
    ) -> Any:
        """Give continuous aggregates new definitions and fill them again from their source.

        TimescaleDB cannot change a definition, so they are dropped and created anew, with their options, compression,
        policies, indexes, comment, owner and grants, in one transaction; what is of a column that the new definition lacks
        is left out. Then they are refreshed as far as they were, in batches, which
        commits. Until that is done, what is not materialised is computed at query time, or missing where
        `materialized_only` is on. May be repeated after an interruption.

        Before anything is dropped, what the source no longer has (it was dropped by a retention policy, say) is looked for:
        those rows could not be made again. Needs a connection; a script (`--sql`) cannot look.

        Args:
            operations: given by Alembic.
            definitions: new SELECT by name, or by schema and name, sources before what reads them. Every aggregate that
                reads one of them is among them, changed or not.
            accept_loss: go on although rows cannot be made again.
            schema: of names that are given without one; None: the first of the search path.

        Raises:
            MigrationError: rows would be lost; nothing was changed. Says how many, of which aggregate, and of which time.
        """
        keyed = {
            name if isinstance(name, tuple) else (schema, name): sql for name, sql in definitions.items()
        }
        return operations.invoke(cls(keyed, accept_loss=accept_loss))

    def reverse(self) -> Self:
        """Return what undoes it."""
        if self.existing is None:
            raise self._unknown_before()
        return type(self)(self.existing, self.definitions)

    def call(self) -> Call:
        """Return how it is written in a revision."""
        kwargs = {"accept_loss": True} if self.accept_loss else {}
        return Call(
            "replace_continuous_aggregates", (self._by_name(self.definitions),), self._with_schema(**kwargs)
        )

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """Return what `alembic check` reports, found before declared."""
        found = self.existing or {}
        changes = {key: (found.get(key), new) for key, new in self.definitions.items()}
        return ("replace_continuous_aggregates", self.schema, self._by_name(changes))

    def _by_name(self, values: Mapping[Key, Any]) -> dict[Any, Any]:
        """Schemas are written where they are more than one."""
        return {key if key[0] != self.schema else key[1]: value for key, value in values.items()}


@Operations.register_operation("refresh_continuous_aggregate")
class RefreshContinuousAggregateOp(TimescaleOp):
    """A range of an aggregate is materialised; its reverse does nothing, and the reverse of that is the refresh again."""

    def __init__(
        self,
        name: str,
        schema: str | None,
        start: datetime | int | None = None,
        end: datetime | int | None = None,
        buckets_per_batch: int = BUCKETS_PER_BATCH,
        *,
        is_silent: bool = False,
    ) -> None:
        super().__init__(name, schema)
        self.start = start
        self.end = end
        self.buckets_per_batch = buckets_per_batch
        self._is_silent = is_silent

    @property
    def is_silent(self) -> bool:
        """Whether it stands for the way back only."""
        return self._is_silent

    @classmethod
    def refresh_continuous_aggregate(
        cls,
        operations: Operations,
        name: str,
        *,
        start: datetime | int | None = None,
        end: datetime | int | None = None,
        buckets_per_batch: int = BUCKETS_PER_BATCH,
        schema: str | None = None,
    ) -> Any:
        """Materialise a range of a continuous aggregate, outside of the transaction, in batches; commits what went before.

        Its reverse is nothing: what is materialised goes with the aggregate. In a script (`--sql`) it
        begins where the data begins.

        Args: those of `datalayer.timescale.refresh_continuous_aggregate`.
        """
        return operations.invoke(cls(name, schema, start, end, buckets_per_batch))

    def reverse(self) -> Self:
        """Return what undoes it."""
        window = (self.start, self.end, self.buckets_per_batch)
        return type(self)(self.name, self.schema, *window, is_silent=not self.is_silent)

    def call(self) -> Call:
        """Return how it is written in a revision."""
        given = {"start": self.start, "end": self.end, "buckets_per_batch": self.buckets_per_batch}
        defaults = {"start": None, "end": None, "buckets_per_batch": BUCKETS_PER_BATCH}
        kwargs = {field: value for field, value in given.items() if value != defaults[field]}
        return Call("refresh_continuous_aggregate", (self.name,), self._with_schema(**kwargs))
