"""TA-Lib, found and checked: what it returns depends on its version and on settings of the whole process."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

from datalayer.errors import ConfigurationError

if TYPE_CHECKING:
    from types import ModuleType

# Before 0.8, bands of prices with a step of 1e-8 had no width: https://github.com/TA-Lib/ta-lib/issues/243.
MINIMUM_VERSION: Final = (0, 8)
_INSTALL: Final = f"run: pip install 'TA-Lib>={MINIMUM_VERSION[0]}.{MINIMUM_VERSION[1]}'"
_RECURSIVE: Final = ("EMA", "RSI", "CMO", "ATR")


def load_talib() -> ModuleType:
    """Return the module `talib`.

    Raises:
        ConfigurationError: it is not installed or too old, or this process has set one of its unstable periods, which
            makes more rows NaN. Says what to run or to call.
    """
    try:
        talib = importlib.import_module("talib")
    except ModuleNotFoundError as exc:
        msg = f"indicators are computed by TA-Lib, which is not installed; {_INSTALL}"
        raise ConfigurationError(msg) from exc
    _check_version(talib)
    _check_unstable_periods(talib)
    return talib


def _check_version(talib: ModuleType) -> None:
    major, minor = talib.__version__.split(".")[:2]
    if (int(major), int(minor)) < MINIMUM_VERSION:
        msg = f"TA-Lib {talib.__version__} gives wrong values for small prices; {_INSTALL}"
        raise ConfigurationError(msg)


def _check_unstable_periods(talib: ModuleType) -> None:
    for name in _RECURSIVE:
        if talib.get_unstable_period(name):
            msg = f"TA-Lib has an unstable period set in this process; call talib.set_unstable_period({name!r}, 0)"
            raise ConfigurationError(msg)
