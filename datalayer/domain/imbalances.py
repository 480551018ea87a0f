"""Imbalances of the book and of traded volume, at each book, over windows before it.

*Book imbalance.* A book with volumes `b` and `a` (sums of all its bid and ask sizes) has the imbalance `(b - a) / (b + a)`;
with nothing on either side it has 0. Over a window it is the mean over the books of the window. It is the volume order
imbalance of Á. Cartea, S. Jaimungal and J. Penalva, "Algorithmic and High-Frequency Trading", Cambridge University Press
2015, chapter 12, and the queue imbalance of M. Gould and J. Bonart, "Queue imbalance as a one-tick-ahead price predictor in
a limit order book", Market Microstructure and Liquidity 2(2), 2016, with all stored levels in the place of the best ones.

*Volume imbalance.* `(bought - sold) / (bought + sold)`, sizes of the trades of the window by the side of the aggressor;
trades of unknown side do not count. It is the trade imbalance of R. Cont, A. Kukanov and S. Stoikov, "The price impact of
order book events", Journal of Financial Econometrics 12(1), 2014, as a share of the volume: the scaled order imbalance of
T. Chordia and A. Subrahmanyam, "Order imbalance and individual stock returns", Journal of Financial Economics 72(3), 2004.

The window of `w` seconds at `ts` is `(ts - w, ts]`. Everything is summed in integers (sizes in steps, the imbalance of a book in
units of 2**-40, which moves it by less than 1e-12), so that a value does not depend on the order of the sums: live and from
the database it is the same, bit by bit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from datalayer.domain.order_book_frame import IMBALANCES

if TYPE_CHECKING:
    from datetime import datetime

IMBALANCE_PARTS: Final = 2**40
"""Sums of imbalances are kept as integers, in units of `1 / IMBALANCE_PARTS`."""

WINDOWS_S: Final = (1, 5, 15, 60)
"""Lengths of the windows in seconds."""


@dataclass(frozen=True, slots=True, eq=False)
class OrderBookImbalances:
    """The imbalances as known at one book, each in [-1, 1]; positive is buying pressure. NaN: not known.

    A plain value, made without any check. NaN equals NaN.

    Attributes:
        symbol: canonical, as in `BTC/USDT`.
        ts: exchange time of the book, the end of the windows, aware.
        book_imbalance_1s: mean imbalance of the books of the last second; likewise over 5, 15 and 60 s.
        book_imbalance_5s: see above.
        book_imbalance_15s: see above.
        book_imbalance_60s: see above.
        volume_imbalance_1s: imbalance of the traded volume of the last second; likewise over 5, 15 and 60 s. NaN also
            where nothing was traded.
        volume_imbalance_5s: see above.
        volume_imbalance_15s: see above.
        volume_imbalance_60s: see above.
    """

    symbol: str
    ts: datetime
    book_imbalance_1s: float = math.nan
    book_imbalance_5s: float = math.nan
    book_imbalance_15s: float = math.nan
    book_imbalance_60s: float = math.nan
    volume_imbalance_1s: float = math.nan
    volume_imbalance_5s: float = math.nan
    volume_imbalance_15s: float = math.nan
    volume_imbalance_60s: float = math.nan

    def values(self) -> dict[str, float]:
        """Return the eight `IMBALANCES` by name, as `OrderBookDataFrame` takes them."""
        return {name: getattr(self, name) for name in IMBALANCES}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, OrderBookImbalances):
            return NotImplemented
        pairs = zip(self.values().values(), other.values().values(), strict=True)
        same = all(one == two or (math.isnan(one) and math.isnan(two)) for one, two in pairs)
        return same and (self.symbol, self.ts) == (other.symbol, other.ts)

    def __hash__(self) -> int:
        return hash((self.symbol, self.ts))
