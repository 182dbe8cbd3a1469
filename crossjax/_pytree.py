"""Frozen hardware specs that are JAX pytrees, and the checks they make at the door.

A *spec* is a frozen dataclass whose physical numbers are leaves (traced: swept, vmapped and differentiated
without a recompile) and whose structure (bits, sizes, names, strategies) is static metadata::

    @spec
    class ADC:
        bits: int = static(default=8)      # structure: part of the compilation key
        range: float = 10.0        # a leaf

JAX rebuilds specs inside transformations, with tracers in place of numbers, so every check looks at
concrete Python numbers only.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, TypeVar, dataclass_transform

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

T = TypeVar("T")


def static(*, default: Any = dataclasses.MISSING) -> Any:
    """A field that is structure: hashable, compared by value, and never traced."""
    return dataclasses.field(default=default, metadata={"static": True})


@dataclass_transform(frozen_default=True, field_specifiers=(static, dataclasses.field))
def spec(cls: type[T]) -> type[T]:
    """Make ``cls`` a frozen dataclass and a pytree; its optional ``_check`` method validates concrete values.

    Numbers are canonicalised at construction: Python and NumPy scalars become ``float``, sequences become
    tuples. One kind of leaf means one compilation, whatever kind of number the user wrote.
    """
    check: Callable[[Any], None] = getattr(cls, "_check", lambda self: None)

    def post_init(self: Any) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            fixed = _structure(value) if field.metadata.get("static") else _number(value)
            if fixed is not value:
                object.__setattr__(self, field.name, fixed)
        check(self)

    cls.__post_init__ = post_init  # type: ignore[attr-defined]
    return jax.tree_util.register_dataclass(dataclasses.dataclass(frozen=True)(cls))


def _number(value: Any) -> Any:
    if isinstance(value, bool | str) or value is None:
        return value
    if isinstance(value, int | float | np.integer | np.floating):
        return float(value)
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return tuple(_number(v) for v in value)
    return value


def _structure(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def strong(tree: T) -> T:
    """The tree with all numbers as arrays of JAX's default float: one compilation, whatever kind the user wrote."""
    dtype = jax.dtypes.canonicalize_dtype(float)

    def one(leaf: Any) -> Any:
        if isinstance(leaf, jax.core.Tracer) or not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
            return leaf
        if isinstance(leaf, jax.Array):
            return leaf if leaf.dtype == dtype and not leaf.weak_type else jnp.asarray(leaf, dtype)
        return np.asarray(leaf, dtype)

    return jax.tree.map(one, tree)


def replace(spec: T, /, **changes: Any) -> T:
    """A copy of a spec with some fields changed: ``replace(tile, adc=None)``.

    Dotted names reach inside: ``replace(tile, **{"device.g_max": 30.0})``.

    Raises:
        TypeError: if a field does not exist; the message lists the ones that do.
    """
    flat: dict[str, Any] = {}
    nested: dict[str, dict[str, Any]] = {}
    for name, value in changes.items():
        head, _, rest = name.partition(".")
        if rest:
            nested.setdefault(head, {})[rest] = value
        else:
            flat[head] = value
    known = [f.name for f in dataclasses.fields(spec)]  # type: ignore[arg-type]
    for name in (*flat, *nested):
        if name not in known:
            raise TypeError(f"{type(spec).__name__} has no field {name!r}; it has {', '.join(known)}")
    for name, inner in nested.items():
        child = flat.get(name, getattr(spec, name))
        if child is None:
            raise TypeError(f"{type(spec).__name__}.{name} is None (switched off), so it has no fields to change")
        flat[name] = replace(child, **inner)
    return dataclasses.replace(spec, **flat)  # type: ignore[type-var]


# ---------------------------------------------------------------------------------------- checks


def is_concrete(value: Any) -> bool:
    """Whether ``value`` is a plain Python number (the only thing a spec may judge)."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def check_range(
    owner: object, name: str, *, low: float = -math.inf, high: float = math.inf, strict: bool = False
) -> None:
    """Raise ``ValueError`` unless the number ``owner.name`` is finite and in [low, high] (above low if strict).

    Tuples are checked element by element; arrays, tracers and None pass.
    """
    value = getattr(owner, name)
    for v in value if isinstance(value, tuple) else (value,):
        if not is_concrete(v):
            continue
        below = v <= low if strict else v < low
        if not math.isfinite(v) or below or v > high:
            bounds = [f"{'>' if strict else '≥'} {low:g}"] if low > -math.inf else []
            bounds += [f"≤ {high:g}"] if high < math.inf else []
            wanted = " and ".join(bounds) or "finite"
            raise ValueError(f"{type(owner).__name__}.{name} must be {wanted}, got {v:g}")


def check_choice(owner: object, name: str, choices: tuple[Any, ...]) -> None:
    """Raise ``ValueError`` unless the static field ``owner.name`` is one of ``choices``."""
    value = getattr(owner, name)
    if value not in choices:
        options = ", ".join(repr(c) for c in choices)
        raise ValueError(f"{type(owner).__name__}.{name} must be one of {options}, got {value!r}")


def check_count(owner: object, name: str, *, low: int = 1) -> None:
    """Raise ``ValueError`` unless the static field ``owner.name`` is a whole number of at least ``low``."""
    value = getattr(owner, name)
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < low:
        raise ValueError(f"{type(owner).__name__}.{name} must be a whole number ≥ {low}, got {value!r}")
