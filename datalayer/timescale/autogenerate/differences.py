"""The differences, by kind; `order` puts them in a row."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from datalayer.errors import ConfigurationError
from datalayer.timescale.introspection import refuse_second_refresh
from datalayer.timescale.operations import (
    AddPolicyOp,
    AlterCompressionOp,
    AlterContinuousAggregateOp,
    AlterHypertableOp,
    AlterPolicyOp,
    CreateContinuousAggregateOp,
    CreateHypertableOp,
    DisableCompressionOp,
    DropContinuousAggregateOp,
    DropHypertableOp,
    EnableCompressionOp,
    RefreshContinuousAggregateOp,
    RemovePolicyOp,
    ReplaceContinuousAggregatesOp,
    TimescaleOp,
)
from datalayer.timescale.operations.policies import settings_of
from datalayer.timescale.quoting import statement
from datalayer.timescale.specs import PolicyKind, RefreshPolicy
from datalayer.timescale.temporary_view import temporary_view

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from sqlalchemy import Connection

    from datalayer.timescale.introspection import Found
    from datalayer.timescale.specs import AggregateSpec, Compression, HypertableSpec, Key, Policy, Relation

_NOT_COMPARED_IF_NONE: Final = ("phase", "buckets_per_batch", "newest_first")


@dataclass(slots=True)
class Differences:
    """Operations by kind.

    Attributes:
        connection: to the server that is compared.
        found: what is on it.
        dropped_columns: those that tables are to lose.
        rebuilt: aggregates that get another definition, or read one that does.
        created: for each declared hypertable that is none yet, what makes it one.
        removed: for each hypertable that is not declared, what undoes it and what goes with it.
        dropped_aggregates: those that are not declared, readers first, each behind what goes with it.
        inserted_aggregates: those that are not there yet and that replaced ones will read, sources first, each refreshed.
        replaced: those with another definition, and all that read them.
        taken_out_aggregates: as `dropped_aggregates`, of those that replaced ones have read.
        created_aggregates: the others that are not there yet, sources first.
        altered: of hypertables and aggregates, what changes in place.
        removed_compression: of what stays.
        altered_compression: of what stays.
        compression: what is switched on.
        removed_policies: of what stays.
        grown_windows: refresh policies that reach further.
        policies: what is made or changed otherwise.
    """

    connection: Connection
    found: Found
    dropped_columns: Mapping[Key, Collection[str]] = field(default_factory=dict)
    rebuilt: set[Key] = field(default_factory=set)
    created: dict[Key, CreateHypertableOp] = field(default_factory=dict)
    removed: dict[Key, list[TimescaleOp]] = field(default_factory=dict)
    dropped_aggregates: list[TimescaleOp] = field(default_factory=list)
    inserted_aggregates: list[TimescaleOp] = field(default_factory=list)
    replaced: list[TimescaleOp] = field(default_factory=list)
    taken_out_aggregates: list[TimescaleOp] = field(default_factory=list)
    created_aggregates: list[TimescaleOp] = field(default_factory=list)
    altered: list[TimescaleOp] = field(default_factory=list)
    removed_compression: list[TimescaleOp] = field(default_factory=list)
    altered_compression: list[TimescaleOp] = field(default_factory=list)
    compression: list[TimescaleOp] = field(default_factory=list)
    removed_policies: list[TimescaleOp] = field(default_factory=list)
    grown_windows: list[AlterPolicyOp] = field(default_factory=list)
    policies: list[AddPolicyOp | AlterPolicyOp] = field(default_factory=list)

    def add_hypertable(self, declared: HypertableSpec, found: HypertableSpec | None) -> None:
        """Compare a declared hypertable with what is on the server; None: nothing or a table."""
        if found is None:
            self.created[declared.key] = CreateHypertableOp(declared, migrate_data=True)
            self._add_extras(declared, None)
            return
        _refuse_other_dimensions(declared, found)
        if (
            declared.chunk_interval not in {None, found.chunk_interval}
            and declared.chunk_interval is not None
        ):
            self.altered.append(
                AlterHypertableOp(
                    declared.name, declared.schema, declared.chunk_interval, found.chunk_interval
                )
            )
        self._add_extras(declared, found)

    def remove_hypertable(self, found: HypertableSpec) -> None:
        """Undo a hypertable that is not declared."""
        self.removed[found.key] = [
            *_without_extras(found),
            DropHypertableOp(found.name, found.schema, spec=found),
        ]

    def add_aggregates(self, declared: Mapping[Key, AggregateSpec]) -> None:
        """Compare all continuous aggregates."""
        present = self.found.aggregates
        self._replace_aggregates(declared)
        read = _all_sources(present, self.rebuilt)
        for key, found in reversed(list(present.items())):
            if key not in declared:
                self._drop_aggregate(found, is_read=key in read)
        read = _all_sources(declared, self.rebuilt)
        for key, spec in declared.items():
            existing = present.get(key)
            if existing is None:
                self._create_aggregate(spec, is_read=key in read)
            else:
                self._alter_aggregate(spec, existing)
            self._add_extras(spec, existing)

    def _drop_aggregate(self, found: AggregateSpec, *, is_read: bool) -> None:
        dropped = [
            *_with_relation(_without_extras(found)),
            DropContinuousAggregateOp(found.name, found.schema, spec=found),
        ]
        if is_read:
            _refuse_two_changes(found, self.rebuilt)
            # On the way back it is filled before others read it.
            self.taken_out_aggregates += [
                RefreshContinuousAggregateOp(found.name, found.schema, is_silent=True),
                *dropped,
            ]
        else:
            self.dropped_aggregates += dropped

    def _create_aggregate(self, spec: AggregateSpec, *, is_read: bool) -> None:
        created = CreateContinuousAggregateOp(spec)
        if is_read:
            _refuse_two_changes(spec, self.rebuilt)
            self.inserted_aggregates += [created, RefreshContinuousAggregateOp(spec.name, spec.schema)]
        else:
            self.created_aggregates.append(created)

    def _replace_aggregates(self, declared: Mapping[Key, AggregateSpec]) -> None:
        new: dict[Key, str] = {}
        old: dict[Key, str] = {}
        for key, spec in declared.items():
            found = self.found.aggregates.get(key)
            if found is not None and (self.rebuilt & set(spec.sources) or self._differs(spec, found)):
                self.rebuilt.add(key)
                new[key], old[key] = spec.definition, found.definition
        if new:
            self.replaced.append(ReplaceContinuousAggregatesOp(new, old))

    def _differs(self, declared: AggregateSpec, found: AggregateSpec) -> bool:
        """Let the server write the declared definition in its own words, and compare those."""
        with temporary_view(self.connection, declared.definition) as view:
            if view is None:
                return True  # it reads something that is not there yet
            words = self.connection.scalar(statement(f"SELECT pg_get_viewdef('{view}'::regclass)"))
        return str(words).rstrip(";").split() != found.definition.split()

    def _alter_aggregate(self, declared: AggregateSpec, found: AggregateSpec) -> None:
        names = ["materialized_only", "comment"]
        names += ["chunk_interval"] if declared.chunk_interval is not None else []
        changes = {name: getattr(declared, name) for name in names if _differ(declared, found, name)}
        if changes:
            existing = {name: getattr(found, name) for name in changes}
            self.altered.append(AlterContinuousAggregateOp(declared.name, declared.schema, changes, existing))

    def _add_extras(self, declared: Relation, found: Relation | None) -> None:
        if found is not None:
            refuse_second_refresh(found)
            found = self._compress_anew(declared, found) if self._loses_columns(declared, found) else found
        self._compare_compression(declared, found.compression if found else None, is_new=found is None)
        for kind in PolicyKind:
            self._compare_policy(
                declared,
                declared.find_policy(kind),
                found.find_policy(kind) if found else None,
                is_new=found is None,
            )

    def _loses_columns(self, declared: Relation, found: Relation) -> bool:
        """Say whether chunks are compressed by a column that goes, for which TimescaleDB wants them decompressed."""
        if declared.compression is None or found.compression is None:
            return False
        names = {*found.compression.segment_by, *(by.column for by in found.compression.order_by)}
        return not names.isdisjoint(self.dropped_columns.get(found.key, ()))

    def _compress_anew(self, declared: Relation, found: Relation) -> Relation:
        """Switch compression off and on again, its policy with it; return what is found otherwise."""
        kind = PolicyKind.COMPRESSION
        bare = replace(declared, compression=None)
        policy = declared.find_policy(kind)
        self._compare_policy(bare, None, found.find_policy(kind), is_new=False)
        self._compare_compression(bare, found.compression, is_new=False)
        self._compare_compression(declared, None, is_new=False)
        self._compare_policy(declared, policy, None, is_new=False)
        others = [each for each in found.policies if each.kind is not kind]
        policies = (*others, *([policy] if policy else []))
        return replace(found, compression=declared.compression, policies=policies)

    def _compare_compression(self, declared: Relation, found: Compression | None, *, is_new: bool) -> None:
        name, schema, wanted = declared.name, declared.schema, declared.compression
        if wanted is None and found is not None:
            self.removed_compression.append(DisableCompressionOp(name, schema, compression=found))
        elif wanted is not None and found is None:
            self.compression.append(EnableCompressionOp(name, schema, wanted, with_relation=is_new))
        elif wanted is not None and found is not None and wanted != found:
            self._alter_compression(declared, wanted, found)

    def _alter_compression(self, declared: Relation, wanted: Compression, found: Compression) -> None:
        """Of an aggregate that is replaced, columns may come and go: each way they are set behind that."""
        arguments = (declared.name, declared.schema, wanted, found)
        if declared.key in self.rebuilt:
            self.altered.append(AlterCompressionOp(*arguments, is_silent=True))
            self.altered_compression.append(AlterCompressionOp(*arguments, is_silent=False))
        else:
            self.altered_compression.append(AlterCompressionOp(*arguments))

    def _compare_policy(
        self, relation: Relation, declared: Policy | None, found: Policy | None, *, is_new: bool
    ) -> None:
        name, schema = relation.name, relation.schema
        if declared is None and found is not None:
            self.removed_policies.append(RemovePolicyOp(name, schema, found.kind, policy=found))
        elif declared is not None and found is None:
            self.policies.append(AddPolicyOp(name, schema, declared, with_relation=is_new))
        elif declared is not None and found is not None:
            changes = _changed_settings(declared, found)
            if changes:
                existing = {setting: settings_of(found)[setting] for setting in changes}
                has_grown = _window(declared) > _window(found)
                altered = self.grown_windows if has_grown else self.policies
                altered.append(AlterPolicyOp(name, schema, declared.kind, changes, existing))


def _differ(declared: object, found: object, name: str) -> bool:
    return bool(getattr(declared, name) != getattr(found, name))


def _changed_settings(declared: Policy, found: Policy) -> dict[str, Any]:
    changes = {}
    for name, value in settings_of(declared).items():
        free = (name in _NOT_COMPARED_IF_NONE and value is None) or (name == "paused" and value)
        if not free and _differ(declared, found, name):
            changes[name] = value
    phase = getattr(declared, "phase", None)
    if "schedule_interval" in changes and phase is not None:
        changes["phase"] = phase  # it counts from multiples of the schedule
    return changes


def _window(policy: Policy) -> float:
    """Return how long the window of a refresh is; what is open is infinite."""
    if not isinstance(policy, RefreshPolicy):
        return 0
    start, end = policy.start_offset, policy.end_offset
    return math.inf if start is None or end is None else start.size - end.size


def _all_sources(aggregates: Mapping[Key, AggregateSpec], readers: set[Key]) -> set[Key]:
    """Return the aggregates that `readers` read, through others too."""
    sources: set[Key] = set()
    for key in reversed(list(aggregates)):  # readers come after their sources
        if key in readers or key in sources:
            sources.update(aggregates[key].sources)
    return sources


def _refuse_two_changes(between: AggregateSpec, rebuilt: set[Key]) -> None:
    changed = rebuilt & set(between.sources)
    if changed:
        msg = (
            f"continuous aggregate {between.name} comes or goes between {next(iter(changed))[1]} and what reads it, while the "
            "definition of the former changes: declare one of the two changes first, in a revision of its own"
        )
        raise ConfigurationError(msg)


def _without_extras(found: Relation) -> Iterator[TimescaleOp]:
    """Yield what takes compression and policies off, in the order in which the reverse puts them on again."""
    for policy in reversed(found.policies):
        yield RemovePolicyOp(found.name, found.schema, policy.kind, policy=policy)
    if found.compression is not None:
        yield DisableCompressionOp(found.name, found.schema, compression=found.compression)


def _with_relation(operations: Iterator[TimescaleOp]) -> Iterator[TimescaleOp]:
    for op in operations:
        op.with_relation = True
        yield op


def _refuse_other_dimensions(declared: HypertableSpec, found: HypertableSpec) -> None:
    for name in ("time_column", "dimensions"):
        if _differ(declared, found, name):
            msg = (
                f"hypertable {declared.name}: {name} is declared as {getattr(declared, name)!r} and is {getattr(found, name)!r} "
                "on the server; TimescaleDB cannot change it: create another hypertable and copy the rows"
            )
            raise ConfigurationError(msg)
