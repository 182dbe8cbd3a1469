"""Checks of values at the doors of the library: numbers, keys and times, and `checks`, which reaches inside jit.

A concrete number is judged where it is given. A traced one is unknown there: it passes, unless `checks` is on, which
puts the same checks into the computation, where they raise when it runs.
"""

from __future__ import annotations

import difflib
import functools
import logging
import math
import numbers
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeGuard

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax import Array

_checking = jax.make_user_context(False)  # JAX's own: part of the key of every compiled function


class KindError(TypeError, ValueError):
    """A value of the wrong kind, such as text for a number: Python's TypeError, and a ValueError like all else here."""


class _BadValueError(ValueError):
    """What a check inside a computation found; JAX reports it as text, in an error of its own."""


@contextmanager
def checks() -> Iterator[None]:
    """Check values inside jit, vmap and grad too, where they are unknown until they are computed.

        with cx.checks():
            y = jax.jit(step)(weights)  # ValueError: weights must be finite, got nan

    Weights, inputs, times and the numbers of specs that reach crossjax inside traced code are then checked as they are
    outside. The first bad one stops the computation; inside the block this is JAX's error (`JaxRuntimeError`), which
    leaves the block as a ``ValueError`` of one line. Functions are compiled once more for it; outside it costs nothing.

    Raises:
        ValueError: when a check fails, at the latest at the end of the block.
    """
    logger = logging.getLogger("jax._src.debugging")  # it would print a traceback as well
    logger.addFilter(_is_news)
    try:
        with _checking(True):
            yield
        jax.effects_barrier()
    except jax.errors.JaxRuntimeError as error:
        found = re.findall(rf"{_BadValueError.__name__}: (.+)", str(error))
        if not found:
            raise
        raise ValueError(found[-1].strip()) from error
    finally:
        logger.removeFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    return record.exc_info is None or record.exc_info[0] is not _BadValueError


def checking() -> bool:
    """Whether `checks` is on."""
    return bool(_checking.value)


def is_traced(value: Any) -> TypeGuard[jax.core.Tracer]:
    """Whether the value is not known yet."""
    return isinstance(value, jax.core.Tracer)


def ensure(holds: Callable[..., Any], wanted: str, *values: Any) -> None:
    """Raise ``ValueError``, "WANTED, got …", unless ``holds(*values)`` is true everywhere.

    A ``{}`` in ``wanted`` is where the values go instead. For numbers, arrays and tracers; ``holds`` is written with
    operators that all of them have. Of a traced value nothing is known: it passes, or, inside `checks`, the check
    becomes part of the computation.
    """
    if any(is_traced(v) for v in values):
        if checking():
            a = [jnp.asarray(v) for v in values]
            good = jnp.asarray(holds(*a))
            worst = [_first_bad(good, v) for v in a]
            jax.debug.callback(functools.partial(_report, wanted), jnp.all(good), *worst)
        return
    if all(isinstance(v, float | int) for v in values):
        if not holds(*values):
            raise ValueError(_told(wanted, values))
        return
    a = [np.asarray(v) for v in values]
    good = np.asarray(holds(*a))
    if not good.all():
        raise ValueError(_told(wanted, [_first_bad(good, v) for v in a]))


def _first_bad(good: Any, value: Any) -> Any:
    flat = jnp if is_traced(good) or is_traced(value) else np
    return flat.broadcast_to(value, good.shape).reshape(-1)[flat.argmin(good.reshape(-1))] if good.ndim else value


def _report(wanted: str, good: Array, *values: Array) -> None:
    if not np.all(good):
        raise _BadValueError(_told(wanted, [np.ravel(v)[0] for v in values]))


def _told(wanted: str, values: Sequence[Any]) -> str:
    found = [f"{float(v):g}" for v in values]
    return wanted.format(*found) if "{}" in wanted else f"{wanted}, got {' and '.join(found)}"


def ensure_range(
    name: str, value: Any, *, low: float = -math.inf, high: float = math.inf, strict: bool = False
) -> None:
    """Raise ``ValueError`` unless a number or an array is finite and in [low, high] (above low if strict).

    Finite, and above 0, in JAX's floats: 1e39 is infinite in float32, and 1e-46 is 0.
    """
    if type(value) is float and 1e-37 < value < 1e37 and low < value <= high:
        return
    bounds = [f"{'>' if strict else '≥'} {low:g}"] if low > -math.inf else []
    bounds += [f"≤ {high:g}"] if high < math.inf else []
    floats = jnp.finfo(jnp.zeros(()).dtype)
    top, bottom = float(floats.max), max(low, float(floats.tiny)) if strict and low == 0 else low
    if isinstance(value, float | int) and (math.inf > abs(value) > top or 0 < abs(value) < float(floats.tiny)):
        bounds += [f"what {floats.dtype} holds"]

    def holds(v: Any) -> Any:
        return (abs(v) <= top) & ((v > bottom) if strict and low != 0 else (v >= bottom)) & (v <= high)

    ensure(holds, f"{name} must be {' and '.join(bounds) or 'finite'}", value)


def is_finite(value: Any) -> Any:
    """Where a number, array or tracer is finite, in operators that all of them have."""
    return abs(value) < math.inf


# ------------------------------------------------------------------------------------------------ kinds


def is_array(value: Any) -> bool:
    """Whether the value has a type and a shape: an array, a tracer, a NumPy scalar."""
    return hasattr(value, "dtype") and hasattr(value, "shape")


def is_real(value: Any) -> bool:
    """Whether the value is a real number or an array of them (bool is neither)."""
    if is_array(value):
        return bool(jnp.issubdtype(value.dtype, jnp.floating) or jnp.issubdtype(value.dtype, jnp.integer))
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def shown(value: Any) -> str:
    """A value of the wrong kind as a message shows it, in one line."""
    if is_array(value) and value.shape != ():
        return f"an array of {value.dtype} with shape {tuple(value.shape)}"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if is_traced(value):
        return f"a traced {value.dtype}"
    text = " ".join(repr(value).split())
    text = text if len(text) <= 60 else text[:57] + "..."
    return text if value is None or isinstance(value, bool) else f"{text} ({type(value).__name__})"


def as_array(name: str, values: Any) -> np.ndarray:
    """Concrete real numbers as an array, or a ``ValueError`` that names them."""
    try:
        found = np.asarray(values)
    except ValueError as error:  # rows of different lengths
        raise ValueError(f"{name} must be an array: {error}") from error
    if isinstance(values, bool) or (found.dtype.kind not in "fiub" and not jnp.issubdtype(found.dtype, jnp.floating)):
        raise KindError(f"{name} must be real numbers, got {found.dtype}")
    return found


def check_key(key: Any) -> None:
    """Raise unless ``key`` is one JAX key: typed, ``jax.random.key(0)``, or of the old kind, ``jax.random.PRNGKey(0)``.

    Shapes and types are known under every transformation, so this holds there as well.
    """
    if is_array(key):
        if jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
            if key.shape == ():
                return
            raise KindError(
                f"key is an array of keys with shape {tuple(key.shape)}, and one is needed: take jax.vmap for several, "
                "or one of them, key[0]"
            )
        if key.dtype == np.uint32 and len(key.shape) == 1 and key.shape == _raw_shape():
            return
    raise KindError(f"key must be a JAX key such as jax.random.key(0), got {shown(key)}")


@functools.cache
def _raw_shape() -> tuple[int, ...]:
    return jax.eval_shape(lambda: jax.random.PRNGKey(0)).shape


def check_time(t: Any) -> None:
    """Raise unless ``t`` is one time in seconds, finite and ≥ 0."""
    if not is_real(t):
        raise KindError(f"t must be a time in seconds after the first read, got {shown(t)}")
    if np.ndim(t) != 0:
        raise KindError(f"t is one time in seconds; use jax.vmap for several (got shape {np.shape(t)})")
    largest = float(jnp.finfo(jnp.zeros(()).dtype).max)
    ensure(lambda t: (t >= 0) & (t <= largest), "time must be finite and ≥ 0 seconds after the first read", t)


def check_name(name: str, known: Sequence[str], what: str) -> None:
    """Raise ``ValueError`` for an unknown name, with the nearest one."""
    if name in known:
        return
    near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(known)}"
    raise ValueError(f"unknown {what} {name!r}; {hint}")
