"""What is handed in and out of the quarantine."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias

from datalayer.domain.symbols import canonical_symbol
from datalayer.domain.validation.result import shown
from datalayer.repositories.reject_payload import RejectPayload, decode_payload, encode_record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from datalayer.domain.validation import RejectedRow
    from datalayer.errors import InvalidInputError

RejectStatus: TypeAlias = Literal["open", "retried", "discarded"]
"""What became of a record: nothing yet; what it says is stored by now; somebody threw it away."""

COLUMNS: Final = (
    "id",
    "received_at",
    "kind",
    "symbol",
    "ts",
    "source",
    "rule",
    "field",
    "value",
    "message",
    "payload",
    "status",
    "resolved_at",
)


class RejectKey(NamedTuple):
    """What rejected records are counted by. None of it comes from the record itself, so that there are few of them.

    Attributes:
        source: feed or file.
        kind: `candle`, `trade` or `order_book`.
        rule: name of the rule that refused it.
    """

    source: str
    kind: str
    rule: str


@dataclass(frozen=True, slots=True)
class Reject:
    """A record in quarantine.

    Attributes:
        id: its number.
        received_at: when it was kept, UTC.
        kind: `candle`, `trade`, `order_book` or `imbalance`.
        symbol: as received; None: unreadable.
        ts: its time, UTC; None: unreadable.
        source: feed or file it came from.
        rule: name of the rule that refused it last.
        field: offending field; None: the record as a whole.
        value: offending value as text, shortened.
        message: what is wrong and what to do.
        payload: the record; see `datalayer.repositories.reject_payload`.
        status: see `RejectStatus`.
        resolved_at: when it was retried or discarded, UTC; None: open.
    """

    id: int
    received_at: datetime
    kind: str
    symbol: str | None
    ts: datetime | None
    source: str
    rule: str
    field: str | None
    value: str | None
    message: str
    payload: bytes
    status: RejectStatus
    resolved_at: datetime | None

    def decoded(self) -> RejectPayload:
        """Return the record's values as they were given.

        Raises:
            InvalidInputError: the payload was written by something else.
        """
        return decode_payload(self.payload)


@dataclass(frozen=True, slots=True)
class RejectReason:
    """Why a record is refused.

    Attributes:
        rule: name of the rule, or `database`.
        field: offending field; None: the record as a whole.
        value: offending value as text, shortened.
        message: what is wrong and what to do.
    """

    rule: str
    field: str | None
    value: str | None
    message: str

    @classmethod
    def of_row(cls, row: RejectedRow) -> RejectReason:
        """Return the reason that validation gives."""
        return cls(row.rule.value, shown(row.field), row.value_text, row.message)

    @classmethod
    def of_reject(cls, reject: Reject) -> RejectReason:
        """Return the reason that a record was kept with."""
        return cls(reject.rule, reject.field, reject.value, reject.message)

    @classmethod
    def of_error(cls, error: InvalidInputError) -> RejectReason:
        """Return the reason that keeps a record from being validated at all; the field stands for the rule."""
        value = shown(error.value)
        return cls(error.field, error.field, value, f"{error.field} = {value}: {error.hint}")


@dataclass(frozen=True, slots=True)
class KeptReject:
    """A record on its way into quarantine; the attributes are those of `Reject`."""

    kind: str
    symbol: str | None
    ts: datetime | None
    source: str
    rule: str
    field: str | None
    value: str | None
    message: str
    payload: bytes

    @classmethod
    def of_row(cls, row: RejectedRow, source: str, timeframe: str | None) -> KeptReject:
        """Return what is kept of a row that validation refused.

        Args:
            row: as validation hands it back.
            source: feed or file that it came from.
            timeframe: of a candle, as in `1m`; None: each record says it, or it is none.
        """
        reason = RejectReason.of_row(row)
        payload = encode_record(row.record, timeframe, row.payload)
        return cls(
            row.kind,
            shown(row.symbol),
            row.ts,
            shown(source),
            reason.rule,
            reason.field,
            reason.value,
            reason.message,
            payload,
        )

    @classmethod
    def of_record(
        cls,
        kind: str,
        record: Mapping[str, Any],
        reason: RejectReason,
        *,
        source: str,
        timeframe: str | None = None,
        received: bytes | None = None,
    ) -> KeptReject:
        """Return what is kept of a record that was refused otherwise.

        Args:
            kind: of the record.
            record: its values by column; `symbol` and an aware `ts` are looked at.
            reason: why.
            source: feed or file that it came from.
            timeframe: of a candle, as in `1m`.
            received: the record exactly as received.
        """
        symbol, ts = record.get("symbol"), record.get("ts")
        moment = ts if isinstance(ts, datetime) and ts.utcoffset() is not None else None
        payload = encode_record(record, timeframe, received)
        name = None if symbol is None else shown(symbol)
        return cls(
            kind,
            name,
            moment,
            shown(source),
            reason.rule,
            reason.field,
            reason.value,
            reason.message,
            payload,
        )

    @property
    def key(self) -> RejectKey:
        """What it is counted by."""
        return RejectKey(self.source, self.kind, self.rule)


@dataclass(frozen=True, slots=True)
class RejectFilter:
    """Which records are meant; all conditions hold together.

    Attributes:
        ids: only these; None: any.
        status: None: any.
        kind: None: any.
        symbol: in any known spelling, compared with what the records say without regard to theirs; None: any.
        rule: None: any.
    """

    ids: tuple[int, ...] | None = None
    status: RejectStatus | None = "open"
    kind: str | None = None
    symbol: str | None = None
    rule: str | None = None

    def where(self) -> tuple[str, dict[str, Any]]:
        """Return the condition as SQL, and its parameters.

        Raises:
            InvalidInputError: the symbol names no pair.
        """
        given = {"ids": self.ids, "status": self.status, "kind": self.kind, "rule": self.rule}
        parameters: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        conditions = [
            "id = ANY (CAST(:ids AS bigint[]))" if name == "ids" else f"{name} = :{name}"
            for name in parameters
        ]
        if self.symbol is not None:
            conditions.append("regexp_replace(upper(symbol), '[/_-]', '', 'g') = :letters")
            parameters["letters"] = canonical_symbol(self.symbol).replace("/", "")
        return " AND ".join(conditions) or "true", parameters
