"""Instruments as events refer to them: symbol and scales under a number that the outbox knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from datalayer.domain.instrument import Instrument
from datalayer.domain.validation import DataValidator

if TYPE_CHECKING:
    from collections.abc import Iterable

    from datalayer.domain.imbalance_tracker import ImbalanceTracker
    from datalayer.domain.scales import Scales
    from datalayer.domain.validation import ValidationLimits

NO_ID: Final = 0
"""Stands for the id of an instrument that only the database knows; no row has it."""


class Labels(Protocol):
    """Numbers for texts, as the outbox gives them."""

    def labels(self) -> dict[str, int]:
        """Return all labels with their numbers."""

    def label(self, text: str) -> int:
        """Return the number of a label."""


class Stream:
    """One instrument with one pair of scales, and what is remembered of its last records.

    Attributes:
        number: of its label.
        symbol: canonical.
        scales: price scale and size scale, in which its events are counted.
        validator: its rules.
        plain: their short way.
        last: by timeframe (0: of trades, -1: of books, twice the mid) the last price in steps.
        tracker: imbalances; None until the first book or trade.
    """

    __slots__ = ("last", "number", "plain", "scales", "symbol", "tracker", "validator")

    def __init__(self, number: int, instrument: Instrument, limits: ValidationLimits) -> None:
        self.number = number
        self.symbol = instrument.symbol
        self.scales = instrument.price_scale, instrument.size_scale
        self.validator = DataValidator(instrument, limits)
        self.plain = self.validator.plain
        self.last: dict[int, int] = {}
        self.tracker: ImbalanceTracker | None = None


class Streams:
    """All streams of a pipeline; the current one of a symbol is that of the scales that were seen last.

    Args:
        labels: the outbox. What it knows from earlier runs is known again.
        limits: what is plausible.
    """

    def __init__(self, labels: Labels, limits: ValidationLimits) -> None:
        self._labels, self._limits = labels, limits
        self._by_number: dict[int, Stream] = {}
        self.remembered: dict[str, Stream] = {}
        self.current: dict[str, Stream] = {}
        for text, number in sorted(labels.labels().items(), key=lambda label: label[1]):
            symbol, price_scale, size_scale = text.split(" ")
            self._make(number, Instrument(NO_ID, symbol, int(price_scale), int(size_scale)))

    def __getitem__(self, number: int) -> Stream:
        return self._by_number[number]

    def use(self, symbol: str, scales: Scales | tuple[int, int]) -> Stream:
        """Make the stream of a symbol with these scales the current one, and return it."""
        price_scale, size_scale = scales if isinstance(scales, tuple) else (scales.price, scales.size)
        current = self.current.get(symbol)
        if current is not None and current.scales == (price_scale, size_scale):
            return current
        number = self._labels.label(f"{symbol} {price_scale} {size_scale}")
        stream = self._by_number.get(number) or self._make(
            number, Instrument(NO_ID, symbol, price_scale, size_scale)
        )
        self.current[symbol] = stream
        return stream

    def follow(self, stored: Iterable[Instrument]) -> None:
        """Take over scales that somebody changed in the database."""
        for instrument in stored:
            if instrument.symbol in self.current:
                self.use(instrument.symbol, (instrument.price_scale, instrument.size_scale))

    def _make(self, number: int, instrument: Instrument) -> Stream:
        stream = self._by_number[number] = Stream(number, instrument, self._limits)
        self.remembered[instrument.symbol] = stream
        return stream
