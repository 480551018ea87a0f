"""Exact prices and sizes: decimal values as whole counts of an instrument's smallest step."""

from __future__ import annotations

from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np

from datalayer.errors import InvalidInputError, ScaleError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

PriceType: TypeAlias = Literal["float", "decimal", "fixed"]
"""How prices and sizes are handed out: nearest float64, `Decimal` with exactly `scale` digits, or int64 steps."""

MAX_SCALE: Final = 18
MAX_INFERRED_SCALE: Final = 12
MAX_STEPS: Final = 2**53
"""Largest count: up to here an integer is a float64, so that one division gives the nearest float of the value."""

LARGER_SCALE: Final = "the instrument needs a larger scale, which `datalayer instruments widen` gives it"

# Below this, multiplying the float by 10**scale errs by less than half a step, so rounding finds the right count;
# from here to MAX_STEPS the shortest decimal text of the float decides.
_SAFE_PRODUCT: Final = 2.0**51
_FLOAT64_BYTES: Final = 8  # numpy's longer floats hold what a float64 would round
_DECIMALS: Final = Context(prec=60, traps=[Inexact, InvalidOperation])


def check_scale(scale: int, field: str = "scale") -> None:
    """Refuse a scale that is not 0 to 18.

    Raises:
        InvalidInputError: names `field` and the scale.
    """
    if not 0 <= scale <= MAX_SCALE:
        raise InvalidInputError(field, scale, f"a scale counts decimal digits, 0 to {MAX_SCALE}")


def to_steps(values: ArrayLike, scale: int, *, field: str) -> NDArray[np.int64]:
    """Turn values into exact counts of `10**-scale`; nothing is ever rounded.

    A float is accepted only if it is the nearest float64 of exactly one number with at most `scale` decimals. From
    2**52 steps on some are that of two, and which one was meant cannot be known; give those as `Decimal` or str.

    Args:
        values: array or list, of any shape, of float, int, `Decimal` or str. Floats and ints are converted by columns,
            objects one by one.
        scale: decimal digits of one step, 0 to 18.
        field: name of the column, for the error.

    Returns:
        int64 array of the same shape, each at most 2**53 in magnitude.

    Raises:
        ScaleError: a value is NaN, infinite, has more than `scale` decimals, exceeds 2**53 steps, or is a float that
            stands for two counts. Names the field, the value, its row, and the command that widens the scale.
        InvalidInputError: `scale` is out of range, or a value is no number.
    """
    check_scale(scale)
    array = np.asarray(values)
    if array.dtype.kind == "f" and array.dtype.itemsize <= _FLOAT64_BYTES:
        return _steps_of_floats(array.astype(np.float64, copy=False), scale, field)
    if array.dtype.kind in "iu":
        return _steps_of_integers(array, scale, field)
    return _steps_of_objects(array, scale, field)


def from_steps(steps: NDArray[np.int64], scale: int, price_type: PriceType = "float") -> NDArray[Any]:
    """Turn counts of `10**-scale` back into values.

    Args:
        steps: int64 array of any shape.
        scale: decimal digits of one step, 0 to 18.
        price_type: see `PriceType`.

    Returns:
        An array of the same shape: float64, each the float nearest to the exact value; object of `Decimal` with
        exactly `scale` digits after the point; or `steps` itself for "fixed".

    Raises:
        InvalidInputError: `scale` or `price_type` is not one of the possible ones.
    """
    check_scale(scale)
    if price_type == "fixed":
        return steps
    if price_type == "float":
        return _floats(steps, scale)
    if price_type == "decimal":
        return _decimals(steps, scale)
    raise InvalidInputError("price_type", price_type, "use one of float, decimal, fixed")


def infer_scale(values: ArrayLike, *, field: str = "values") -> int:
    """Return the smallest scale, at most 12, that holds every value exactly; 0 for no values.

    Args:
        values: as for `to_steps`.
        field: name of the column, for the error.

    Raises:
        ScaleError: no scale up to 12 holds them all; the message is that of the largest scale that was tried.
    """
    array = np.asarray(values)
    for scale in range(MAX_INFERRED_SCALE):
        try:
            to_steps(array, scale, field=field)
        except ScaleError:
            continue
        return scale
    to_steps(array, MAX_INFERRED_SCALE, field=field)
    return MAX_INFERRED_SCALE


def _steps_of_floats(values: NDArray[np.float64], scale: int, field: str) -> NDArray[np.int64]:
    factor = 10.0**scale
    with np.errstate(over="ignore", invalid="ignore"):
        counts = np.rint(values * factor)
        exact = (np.abs(counts) < _SAFE_PRODUCT) & (counts / factor == values)
    if exact.all():
        return counts.astype(np.int64)
    steps = np.where(exact, counts, 0.0).astype(np.int64)
    # An infinite product only says that the count is too large, which the text of the value says better.
    for row in np.argwhere(~exact):
        where = tuple(row)
        steps[where] = _count(Decimal(repr(float(values[where]))), scale, field, float(values[where]), where)
    return steps


def _steps_of_integers(values: NDArray[Any], scale: int, field: str) -> NDArray[np.int64]:
    limit = MAX_STEPS // 10**scale
    outside = (values > limit) | (values < -limit)
    if outside.any():
        where = tuple(np.argwhere(outside)[0])
        raise _too_large(field, values[where].item(), where)
    steps: NDArray[np.int64] = values.astype(np.int64) * 10**scale
    return steps


def _steps_of_objects(values: NDArray[Any], scale: int, field: str) -> NDArray[np.int64]:
    steps = np.empty(values.shape, dtype=np.int64)
    for where in np.ndindex(values.shape):
        value = plain_scalar(values[where])
        steps[where] = _count(_decimal(value, field, where), scale, field, value, where)
    return steps


def plain_scalar(value: Any) -> Any:
    """Return a number of numpy's as that of Python; times and durations, which numpy would make numbers, as they are."""
    return value.item() if isinstance(value, np.generic) and value.dtype.kind not in "mM" else value


def _decimal(value: Any, field: str, where: tuple[int, ...]) -> Decimal:
    if isinstance(value, float):
        return Decimal(repr(value))
    # Python reads 1_0 as 10, and digits of other scripts; an exchange means neither.
    is_odd = isinstance(value, bool) or (isinstance(value, str) and ("_" in value or not value.isascii()))
    if isinstance(value, Decimal | str | int) and not is_odd:
        try:
            return Decimal(value)
        except InvalidOperation:
            pass
    raise InvalidInputError(field, value, f"row {_row(where)} is no number; give float, int, Decimal or str")


def _count(exact: Decimal, scale: int, field: str, value: Any, where: tuple[int, ...]) -> int:
    if not exact.is_finite():
        raise ScaleError(
            field, value, f"row {_row(where)} is not a finite number; leave the row out or mend it"
        )
    # Compared by exponent first: a text such as 1e999999999 must not be expanded.
    if exact and exact.adjusted() + scale > len(str(MAX_STEPS)):
        raise _too_large(field, value, where)
    scaled = _scaled(exact, scale)
    if scaled is None:
        hint = f"row {_row(where)} has more than {scale} decimals; {LARGER_SCALE}"
        raise ScaleError(field, value, hint)
    if abs(scaled) > MAX_STEPS:
        raise _too_large(field, value, where)
    count = int(scaled)
    if isinstance(value, float) and any((count + other) / 10**scale == value for other in (-1, 1)):
        hint = (
            f"row {_row(where)} is the nearest float of two values at this scale; give it as Decimal or str"
        )
        raise ScaleError(field, value, hint)
    return count


def _scaled(exact: Decimal, scale: int) -> Decimal | None:
    """Return `exact * 10**scale` if that is a whole number, else None."""
    try:
        return exact.scaleb(scale, _DECIMALS).to_integral_exact(context=_DECIMALS)
    except Inexact:
        return None


def _too_large(field: str, value: Any, where: tuple[int, ...]) -> ScaleError:
    hint = (
        f"row {_row(where)} exceeds 2**53 steps, beyond which floats are not exact; a smaller scale is needed"
    )
    return ScaleError(field, value, hint)


def _row(where: tuple[int, ...]) -> str:
    return ", ".join(str(int(part)) for part in where)


def _floats(steps: NDArray[np.int64], scale: int) -> NDArray[np.float64]:
    values: NDArray[np.float64] = np.true_divide(steps, 10.0**scale)
    # Sums of many volumes may pass the limit of single values; there, one division would round twice.
    for where in np.argwhere((steps > MAX_STEPS) | (steps < -MAX_STEPS)):
        values[tuple(where)] = float(Decimal(int(steps[tuple(where)])).scaleb(-scale, _DECIMALS))
    return values


def _decimals(steps: NDArray[np.int64], scale: int) -> NDArray[Any]:
    values = np.empty(steps.shape, dtype=object)
    for position, count in enumerate(steps.ravel().tolist()):
        values.flat[position] = Decimal(count).scaleb(-scale, _DECIMALS)
    return values
