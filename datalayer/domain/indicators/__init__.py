"""Technical indicators of candles, computed by TA-Lib: at each row from that row and earlier ones only."""

from datalayer.domain.indicators.catalog import Atr, BollingerBands, Ema, Macd, Obv, Rsi, Sma, Vwap
from datalayer.domain.indicators.compute import compute_indicators
from datalayer.domain.indicators.runs import Gaps
from datalayer.domain.indicators.spec import CandleColumn, Indicator

__all__ = [
    "Atr",
    "BollingerBands",
    "CandleColumn",
    "Ema",
    "Gaps",
    "Indicator",
    "Macd",
    "Obv",
    "Rsi",
    "Sma",
    "Vwap",
    "compute_indicators",
]
