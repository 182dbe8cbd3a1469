"""Frozen hardware specs that are JAX pytrees, and the checks they make at the door.

A *spec* is a frozen dataclass whose physical numbers are leaves (traced: swept, vmapped and differentiated
without a recompile) and whose structure (bits, sizes, names, strategies) is static metadata::

    @spec
    class ADC:
        bits: int = static(default=8)      # structure: part of the compilation key
        range: float = 10.0        # a leaf

What a user constructs is checked: every field is of the kind its annotation says (`_kinds`), numbers are finite, and
``__post_init__`` or ``_check`` says the rest. What JAX rebuilds inside its transformations, with tracers, masks or
placeholders in place of numbers, is not.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import operator
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar, dataclass_transform

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax.tree_util import GetAttrKey

from crossjax._checks import KindError, ensure, ensure_range, is_real, shown
from crossjax._kinds import fields_of, fitted, is_number
from crossjax._show import page, text

T = TypeVar("T")


def static(*, default: Any = dataclasses.MISSING) -> Any:
    """A field that is structure: hashable, compared by value, and never traced."""
    return dataclasses.field(default=default, metadata={"static": True})


@dataclass_transform(frozen_default=True, field_specifiers=(static, dataclasses.field))
def spec(cls: type[T]) -> type[T]:
    """Make ``cls`` a frozen dataclass and a pytree whose fields are checked when it is constructed.

    Its own ``__post_init__`` adds what annotations cannot say (`check_range`, `check_choice`, `check_order`,
    `check_count`; crossjax's specs do it in a ``_check``). It sees fields of the right kind, and what it sets by
    ``object.__setattr__`` is checked as well. Numbers are canonicalised: Python and NumPy scalars become ``float``,
    sequences become tuples. One kind of leaf means one compilation, whatever kind of number the user wrote.
    """
    own = getattr(cls, "__post_init__", None)
    own = getattr(own, "own", own)  # that of a spec, which it is made from: what its author wrote
    check: Callable[[Any], None] = getattr(cls, "_check", lambda self: None)
    kinds = functools.cache(lambda: fields_of(made))  # at the first construction, when all names are there

    def fit(self: Any) -> None:
        for name, hint, use in kinds():
            value = getattr(self, name)
            fixed = fitted(f"{cls.__name__}.{name}", hint, value, use=use)
            if fixed is not value:
                object.__setattr__(self, name, fixed)

    def post_init(self: Any) -> None:
        fit(self)
        if own is not None:
            own(self)
            fit(self)
        check(self)
        for name in numbers():
            check_range(self, name)
        _remember(self, leaves, statics)

    post_init.own = own  # type: ignore[attr-defined]
    cls.__post_init__ = post_init  # type: ignore[attr-defined]
    shown_by_itself = "__repr__" in vars(cls)
    made = dataclasses.dataclass(frozen=True, repr=False)(cls)
    if not shown_by_itself:
        made.__repr__ = text  # type: ignore[method-assign]
    made._repr_html_ = page  # type: ignore[attr-defined]
    numbers = functools.cache(lambda: [name for name, hint, use in kinds() if use == "leaf" and is_number(hint)])
    leaves = tuple(f.name for f in dataclasses.fields(made) if not f.metadata.get("static"))  # type: ignore[arg-type]
    statics = tuple(f.name for f in dataclasses.fields(made) if f.metadata.get("static"))  # type: ignore[arg-type]
    _register(made, leaves, statics)
    return made


def _remember(self: Any, leaves: tuple[str, ...], statics: tuple[str, ...]) -> None:
    fields = self.__dict__
    fields["_flat"] = tuple(fields[n] for n in leaves), tuple(fields[n] for n in statics)


def _register(cls: type, leaves: tuple[str, ...], statics: tuple[str, ...]) -> None:
    """As `jax.tree_util.register_dataclass`, except that what JAX rebuilds does not go through ``__init__``.

    A spec carries its own flattened form, so that flattening it, which every call of a compiled function does, takes
    no Python.
    """
    keys = tuple(GetAttrKey(name) for name in leaves)

    def with_keys(self: Any) -> tuple[Any, Any]:
        children, structure = self._flat
        return tuple(zip(keys, children, strict=True)), structure

    def rebuilt(structure: tuple[Any, ...], children: Iterable[Any]) -> Any:
        self = object.__new__(cls)
        self.__dict__.update(zip(leaves, children, strict=True))
        self.__dict__.update(zip(statics, structure, strict=True))
        self.__dict__["_flat"] = (children, structure)
        return self

    jax.tree_util.register_pytree_with_keys(cls, with_keys, rebuilt, operator.attrgetter("_flat"))


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
        ValueError: for a value that the field cannot have.
    """
    flat: dict[str, Any] = {}
    nested: dict[str, dict[str, Any]] = {}
    for name, value in changes.items():
        head, _, rest = name.partition(".")
        if rest:
            nested.setdefault(head, {})[rest] = value
        else:
            flat[head] = value
    if not hasattr(spec, "_flat"):
        raise KindError(f"replace changes fields of a spec, such as a Tile; got {shown(spec)}")
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


def elements(value: Any) -> Iterator[Any]:
    """The numbers and arrays of a field that has one or several; nothing for None."""
    for v in value if isinstance(value, tuple) else (value,):
        if is_real(v):
            yield v


def check_range(
    owner: object, name: str, *, low: float = -math.inf, high: float = math.inf, strict: bool = False
) -> None:
    """Raise ``ValueError`` unless the number ``owner.name`` is finite and in [low, high] (above low if strict).

    Tuples and arrays are checked element by element, tracers inside `crossjax.checks`; None passes.
    """
    for v in elements(getattr(owner, name)):
        ensure_range(f"{type(owner).__name__}.{name}", v, low=low, high=high, strict=strict)


def check_order(owner: object, low: str, high: str, *, strict: bool = False) -> None:
    """Raise ``ValueError`` unless the number ``owner.low`` is at most ``owner.high`` (below it if strict)."""
    wanted = f"{type(owner).__name__}.{low} must be {'below' if strict else 'at most'} {high}"
    ensure(lambda a, b: (a < b) if strict else (a <= b), wanted, getattr(owner, low), getattr(owner, high))


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
