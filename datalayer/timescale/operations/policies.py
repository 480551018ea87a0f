"""Adding, changing and removing policies."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Self

from alembic.operations import Operations

from datalayer.timescale.intervals import Interval
from datalayer.timescale.operations.base import Call, TimescaleOp
from datalayer.timescale.specs import CompressionPolicy, PolicyKind, RefreshPolicy, RetentionPolicy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from datalayer.timescale.intervals import IntervalLike
    from datalayer.timescale.specs import Policy

KEEP: Final = "keep"
"""Leaves a setting as it is; None is a value of its own."""
Keep = Literal["keep"]
_NO_INTERVALS: Final = ("buckets_per_batch", "newest_first", "paused")
_DEFAULTS: Final = {"phase": None, "buckets_per_batch": None, "newest_first": None, "paused": False}


def settings_of(policy: Policy) -> dict[str, Any]:
    """Return the settings of a policy by name."""
    return {field.name: getattr(policy, field.name) for field in fields(policy)}


def _plain(value: Any) -> Any:
    return value.plain if isinstance(value, Interval) else value


def _changes(**values: Any) -> dict[str, Any]:
    """Return the settings that are to change, intervals read."""
    return {
        name: value if value is None or name in _NO_INTERVALS else Interval.of(value, name)
        for name, value in values.items()
        if value != KEEP
    }


@Operations.register_operation("add_refresh_policy")
@Operations.register_operation("add_compression_policy")
@Operations.register_operation("add_retention_policy")
class AddPolicyOp(TimescaleOp):
    """A policy is made."""

    def __init__(self, name: str, schema: str | None, policy: Policy, *, with_relation: bool = False) -> None:
        super().__init__(name, schema, with_relation=with_relation)
        self.kind = policy.kind
        self.policy = policy

    @classmethod
    def add_refresh_policy(
        cls,
        operations: Operations,
        relation: str,
        *,
        start_offset: IntervalLike | None,
        end_offset: IntervalLike | None,
        schedule_interval: IntervalLike,
        phase: IntervalLike | None = None,
        buckets_per_batch: int | None = None,
        newest_first: bool | None = None,
        paused: bool = False,
        schema: str | None = None,
    ) -> Any:
        """Bring a continuous aggregate up to date from time to time; before its compression policy.

        Args: those of `RefreshPolicy`.
        """
        policy = RefreshPolicy(
            start_offset=start_offset,
            end_offset=end_offset,
            schedule_interval=schedule_interval,
            phase=phase,
            buckets_per_batch=buckets_per_batch,
            newest_first=newest_first,
            paused=paused,
        )
        return operations.invoke(cls(relation, schema, policy))

    @classmethod
    def add_compression_policy(
        cls,
        operations: Operations,
        relation: str,
        *,
        compress_after: IntervalLike,
        schedule_interval: IntervalLike = "12 hours",
        paused: bool = False,
        schema: str | None = None,
    ) -> Any:
        """Compress the chunks of a hypertable or continuous aggregate from some age on.

        Args: those of `CompressionPolicy`.
        """
        policy = CompressionPolicy(
            compress_after=compress_after, schedule_interval=schedule_interval, paused=paused
        )
        return operations.invoke(cls(relation, schema, policy))

    @classmethod
    def add_retention_policy(
        cls,
        operations: Operations,
        relation: str,
        *,
        drop_after: IntervalLike,
        schedule_interval: IntervalLike = "1 day",
        paused: bool = False,
        schema: str | None = None,
    ) -> Any:
        """Drop the chunks of a hypertable or continuous aggregate from some age on, with the rows in them.

        Args: those of `RetentionPolicy`.
        """
        policy = RetentionPolicy(drop_after=drop_after, schedule_interval=schedule_interval, paused=paused)
        return operations.invoke(cls(relation, schema, policy))

    def reverse(self) -> RemovePolicyOp:
        """Return what undoes it."""
        return RemovePolicyOp(
            self.name, self.schema, self.policy.kind, policy=self.policy, with_relation=self.with_relation
        )

    def call(self) -> Call:
        """Return how it is written in a revision."""
        settings = settings_of(self.policy).items()
        given = {
            name: _plain(value)
            for name, value in settings
            if _DEFAULTS.get(name, value) != value or name not in _DEFAULTS
        }
        return Call(f"add_{self.policy.kind.name.lower()}_policy", (self.name,), self._with_schema(**given))


@Operations.register_operation("remove_refresh_policy")
@Operations.register_operation("remove_compression_policy")
@Operations.register_operation("remove_retention_policy")
class RemovePolicyOp(TimescaleOp):
    """A policy is removed."""

    removes: ClassVar[bool] = True

    def __init__(
        self,
        name: str,
        schema: str | None,
        kind: PolicyKind,
        *,
        policy: Policy | None = None,
        with_relation: bool = False,
    ) -> None:
        super().__init__(name, schema, with_relation=with_relation)
        self.kind = kind
        self.policy = policy

    @classmethod
    def remove_refresh_policy(
        cls, operations: Operations, relation: str, *, schema: str | None = None
    ) -> Any:
        """No longer refresh a continuous aggregate by itself; what is materialised stays. Without a policy it does nothing."""
        return operations.invoke(cls(relation, schema, PolicyKind.REFRESH))

    @classmethod
    def remove_compression_policy(
        cls, operations: Operations, relation: str, *, schema: str | None = None
    ) -> Any:
        """No longer compress chunks by itself; those that are compressed stay so. Without a policy it does nothing."""
        return operations.invoke(cls(relation, schema, PolicyKind.COMPRESSION))

    @classmethod
    def remove_retention_policy(
        cls, operations: Operations, relation: str, *, schema: str | None = None
    ) -> Any:
        """No longer drop chunks. Without a policy it does nothing."""
        return operations.invoke(cls(relation, schema, PolicyKind.RETENTION))

    def reverse(self) -> AddPolicyOp:
        """Return what undoes it."""
        if self.policy is None:
            raise self._unknown_before()
        return AddPolicyOp(self.name, self.schema, self.policy, with_relation=self.with_relation)

    def call(self) -> Call:
        """Return how it is written in a revision."""
        return Call(f"remove_{self.kind.name.lower()}_policy", (self.name,), self._with_schema())


@Operations.register_operation("alter_refresh_policy")
@Operations.register_operation("alter_compression_policy")
@Operations.register_operation("alter_retention_policy")
class AlterPolicyOp(TimescaleOp):
    """Settings of a policy change; its job keeps number and history."""

    def __init__(
        self,
        name: str,
        schema: str | None,
        kind: PolicyKind,
        changes: Mapping[str, Any],
        existing: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(name, schema)
        self.kind = kind
        self.changes = dict(changes)
        self.existing = existing

    @classmethod
    def alter_refresh_policy(
        cls,
        operations: Operations,
        relation: str,
        *,
        start_offset: IntervalLike | Keep | None = KEEP,
        end_offset: IntervalLike | Keep | None = KEEP,
        schedule_interval: IntervalLike | Keep = KEEP,
        phase: IntervalLike | Keep | None = KEEP,
        buckets_per_batch: int | Keep | None = KEEP,
        newest_first: bool | Keep | None = KEEP,
        paused: bool | Keep = KEEP,
        schema: str | None = None,
    ) -> Any:
        """Change settings of a refresh policy; those that are not given stay.

        Args: those of `RefreshPolicy`.
        """
        changes = _changes(
            start_offset=start_offset,
            end_offset=end_offset,
            schedule_interval=schedule_interval,
            phase=phase,
            buckets_per_batch=buckets_per_batch,
            newest_first=newest_first,
            paused=paused,
        )
        return operations.invoke(cls(relation, schema, PolicyKind.REFRESH, changes))

    @classmethod
    def alter_compression_policy(
        cls,
        operations: Operations,
        relation: str,
        *,
        compress_after: IntervalLike | Keep = KEEP,
        schedule_interval: IntervalLike | Keep = KEEP,
        paused: bool | Keep = KEEP,
        schema: str | None = None,
    ) -> Any:
        """Change settings of a compression policy; those that are not given stay.

        Args: those of `CompressionPolicy`.
        """
        changes = _changes(compress_after=compress_after, schedule_interval=schedule_interval, paused=paused)
        return operations.invoke(cls(relation, schema, PolicyKind.COMPRESSION, changes))

    @classmethod
    def alter_retention_policy(
        cls,
        operations: Operations,
        relation: str,
        *,
        drop_after: IntervalLike | Keep = KEEP,
        schedule_interval: IntervalLike | Keep = KEEP,
        paused: bool | Keep = KEEP,
        schema: str | None = None,
    ) -> Any:
        """Change settings of a retention policy; those that are not given stay.

        Args: those of `RetentionPolicy`.
        """
        changes = _changes(drop_after=drop_after, schedule_interval=schedule_interval, paused=paused)
        return operations.invoke(cls(relation, schema, PolicyKind.RETENTION, changes))

    def reverse(self) -> Self:
        """Return what undoes it."""
        if self.existing is None:
            raise self._unknown_before()
        return type(self)(self.name, self.schema, self.kind, self.existing, self.changes)

    def call(self) -> Call:
        """Return how it is written in a revision."""
        changes = {name: _plain(value) for name, value in self.changes.items()}
        return Call(f"alter_{self.kind.name.lower()}_policy", (self.name,), self._with_schema(**changes))

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """Return what `alembic check` reports, found before declared."""
        found = self.existing or {}
        changes = {n: (_plain(found.get(n)), _plain(value)) for n, value in self.changes.items()}
        return (self.call().name, self.schema, self.name, changes)
