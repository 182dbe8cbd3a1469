"""What an annotation lets in: the fields of specs and the arguments of public functions are of the kind they say.

    float             a number, or an array of real numbers (a traced one in a sweep, a gradient, a vmap)
    int, bool, str    themselves
    tuple[float, …]   so many numbers; a list, or a 1-D NumPy array, becomes a tuple
    Device, Drift, …  an instance of the class, or of anything with the methods of the protocol
    X | None          either

What it does not know, and names that cannot be found at run time, pass.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import functools
import inspect
import numbers
import sys
import types
import typing
from collections.abc import Callable, Iterable
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from crossjax._checks import KindError, check_key, check_time, checking, is_array, is_real, shown

P = ParamSpec("P")
R = TypeVar("R")

_UNFIT: Any = object()


def hints_of(owner: Any, names: Iterable[str]) -> dict[str, Any]:
    """Annotations by name; what cannot be resolved (a local class, an import for type checkers) is ``Any``."""
    try:
        found = typing.get_type_hints(owner)
    except (NameError, AttributeError, TypeError):
        scope = vars(sys.modules[owner.__module__])
        found = {}
        for name, text in inspect.get_annotations(owner).items():
            try:
                found[name] = eval(text, scope) if isinstance(text, str) else text
            except (NameError, AttributeError, TypeError):
                found[name] = Any
    return {name: found.get(name, Any) for name in names}


def fitted(where: str, hint: Any, value: Any, *, use: str = "argument") -> Any:
    """The value in its one form, or a `KindError` that names ``where`` it was given.

    Args:
        where: "Tile.noise" or "vectors".
        hint: the annotation.
        value: what was given.
        use: "leaf" (to be traced), "static" (structure of a spec) or "argument" (of a function, left as it is).
    """
    if _sure(hint, type(value), use):
        return value
    fixed = _fit(hint, value, use)
    if fixed is _UNFIT:
        raise KindError(f"{where} must be {describe(hint, use)}, got {shown(value)}")
    return value if use == "argument" else fixed


@functools.cache
def _sure(hint: Any, kind: type, use: str) -> bool:
    """Whether any value of this type fits as it is: what saves most fields of most specs a closer look."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return any(_sure(part, kind, use) for part in typing.get_args(hint))
    if hint in (float, str, bool, type(None)):
        return kind is hint
    if hint in (jax.Array, Any):
        return issubclass(kind, jax.Array)
    if isinstance(hint, type) and hasattr(hint, "__dataclass_fields__"):
        return issubclass(kind, hint)
    return hint is int and kind is int and use != "leaf"


def _fit(hint: Any, value: Any, use: str) -> Any:
    if isinstance(hint, TypeVar):
        hint = hint.__bound__ or Any
    if hint is Any or hint is object or isinstance(hint, str | typing.ForwardRef):
        return _free(value, use)
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return next((fixed for part in parts for fixed in [_fit(part, value, use)] if fixed is not _UNFIT), _UNFIT)
    if hint is type(None) or hint is None:
        return value if value is None else _UNFIT
    if hint in _PLAIN:
        return _PLAIN[hint](value, use)
    if origin is tuple:
        return _tuple(parts, value, use)
    if origin is typing.Literal:
        return value if any(value is p or (type(value) is type(p) and value == p) for p in parts) else _UNFIT
    if origin is collections.abc.Callable or hint is collections.abc.Callable:
        return value if callable(value) and _is_part(value, use) else _UNFIT
    if origin is collections.abc.Sequence:
        return _members(parts[0], value, use)
    kind = origin or hint
    if not isinstance(kind, type):
        return value
    if getattr(kind, "_is_protocol", False):
        return value if all(hasattr(value, m) for m in methods_of(kind)) and _is_part(value, use) else _UNFIT
    return value if isinstance(value, kind) else _UNFIT


def _number(value: Any, use: str) -> Any:
    if type(value) is float:
        return value
    if not is_real(value):
        return _UNFIT
    if isinstance(value, numbers.Real | np.generic) or (isinstance(value, np.ndarray) and value.ndim == 0):
        try:
            return float(value)
        except OverflowError:
            return _UNFIT
    return _UNFIT if use == "static" else value


def _whole(value: Any, use: str) -> Any:
    if use == "leaf":  # leaves are floats, whatever number they were
        return _number(value, use)
    if not isinstance(value, int | np.integer) or isinstance(value, bool):
        return _UNFIT
    return int(value) if isinstance(value, np.integer) else value


def _array(value: Any, use: str) -> Any:
    if is_array(value):
        known = any(jnp.issubdtype(value.dtype, k) for k in (np.number, np.bool_, jax.dtypes.prng_key))
        return value if known or use != "argument" else _UNFIT
    if is_real(value):
        return float(value) if use == "leaf" else value
    if use == "argument" and isinstance(value, list | tuple):  # rows of numbers
        return value if all(_array(v, use) is not _UNFIT for v in value) else _UNFIT
    return _UNFIT


_PLAIN: dict[Any, Callable[[Any, str], Any]] = {
    float: _number,
    int: _whole,
    bool: lambda value, use: bool(value) if isinstance(value, bool | np.bool_) else _UNFIT,
    str: lambda value, use: value if isinstance(value, str) else _UNFIT,
    jax.Array: _array,
    np.ndarray: _array,
}


def _tuple(parts: tuple[Any, ...], value: Any, use: str) -> Any:
    if use == "leaf" and is_array(value) and len(value.shape) > 0 and float in parts:
        if not is_real(value) or 0 in value.shape or (parts[-1] is not ... and value.shape[0] != len(parts)):
            return _UNFIT
        return tuple(float(v) for v in value) if isinstance(value, np.ndarray) and value.ndim == 1 else value
    if not isinstance(value, list | tuple) or (len(value) == 0 and float in parts):
        return _UNFIT
    if parts[-1:] == (...,):
        parts = (parts[0],) * len(value)
    if len(parts) != len(value):
        return _UNFIT
    fixed = tuple(_fit(part, v, use) for part, v in zip(parts, value, strict=True))
    return _UNFIT if any(v is _UNFIT for v in fixed) else fixed


def _members(part: Any, value: Any, use: str) -> Any:
    if isinstance(value, str) or not isinstance(value, collections.abc.Iterable) or not hasattr(value, "__len__"):
        return _UNFIT
    if is_array(value):
        return value if part is not float or is_real(value) else _UNFIT
    return value if all(_fit(part, v, use) is not _UNFIT for v in value) else _UNFIT


def _free(value: Any, use: str) -> Any:
    if isinstance(value, list) or (type(value) is tuple and use == "leaf"):
        return tuple(_free(v, use) for v in value)
    return float(value) if use == "leaf" and isinstance(value, numbers.Real) and is_real(value) else value


def _is_part(value: Any, use: str) -> bool:
    """An instance, and, as part of a spec, one that JAX can look into."""
    return not isinstance(value, type) and (use == "argument" or not jax.tree_util.all_leaves([value]))


@functools.cache
def methods_of(protocol: type) -> tuple[str, ...]:
    bases = [base for base in protocol.__mro__ if getattr(base, "_is_protocol", False)]
    return tuple(name for base in bases for name in vars(base) if not name.startswith("_"))


# --------------------------------------------------------------------------------------------- in words


def describe(hint: Any, use: str = "argument") -> str:
    """An annotation in words: "a Drift or None"."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if jax.Array in parts:  # whatever else is like an array goes without saying
            parts = (jax.Array, *[p for p in parts if p is type(None) or hasattr(p, "__dataclass_fields__")])
        return " or ".join(dict.fromkeys(describe(part, use) for part in parts))
    if hint in _WORDS:
        return _WORDS[hint]
    if origin is typing.Literal:
        return "one of " + ", ".join(map(repr, parts))
    if origin is tuple and float in parts:
        return "one or more numbers" if parts[-1] is ... else f"{len(parts)} numbers"
    if origin in (tuple, collections.abc.Sequence):
        kinds = dict.fromkeys(p.__name__ for p in parts if hasattr(p, "__dataclass_fields__"))
        return "a sequence" + (f" of {' or '.join(kinds)}" if kinds else "")
    if origin is collections.abc.Callable:
        if use != "leaf":
            return "a function"
        return "a law as crossjax.devices has them (your own: decorate its class with crossjax.spec)"
    name = getattr(origin or hint, "__name__", str(hint))
    word = f"{'an' if name[0] in 'AEIO' else 'a'} {name}"
    if getattr(hint, "_is_protocol", False):
        methods = [name for name in methods_of(hint) if callable(getattr(hint, name, None))]
        return (
            f"{word} with {' and '.join(methods)} (an instance, not the class; a part: decorate it with crossjax.spec)"
        )
    return word


_WORDS: dict[Any, str] = {
    float: "a number",
    int: "a whole number",
    bool: "True or False",
    str: "text",
    type(None): "None",
    jax.Array: "an array of real numbers",
    np.ndarray: "an array of real numbers",
}


# ------------------------------------------------------------------------------------------ at the doors


def door(function: Callable[P, R]) -> Callable[P, R]:
    """Check the arguments of a public function by their annotations; ``key`` is a key and ``t`` a time, in seconds."""
    parameters = inspect.signature(function).parameters
    names = tuple(n for n, p in parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD)

    @functools.cache
    def kinds() -> dict[str, Any]:  # at the first call, when all names of the module are there
        return {n: h for n, h in hints_of(function, parameters).items() if h is not Any}

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        known, again = kinds(), checking()
        for name, value in (*zip(names, args, strict=False), *kwargs.items()):
            if name == "key":
                if value is not None or type(None) not in typing.get_args(known.get(name)):
                    check_key(value)
            elif name == "t":
                check_time(value)
            elif name in known:
                fitted(name, known[name], value)
                if again:
                    _check_again(value)
        return function(*args, **kwargs)

    return checked


def _check_again(value: Any) -> None:
    """Check a spec that was traced since it was constructed, and its parts, inside `crossjax.checks`."""
    if hasattr(value, "_flat"):
        value.__post_init__()
        for part in value._flat[0]:
            _check_again(part)


# ------------------------------------------------------------------------------------------ of a spec


def fields_of(cls: type) -> list[tuple[str, Any, str]]:
    """(name, annotation, "leaf" or "static") of the fields of a spec."""
    fields = dataclasses.fields(cls)
    hints = hints_of(cls, [f.name for f in fields])
    return [(f.name, hints[f.name], "static" if f.metadata.get("static") else "leaf") for f in fields]


def is_number(hint: Any) -> bool:
    """Whether the annotation is of one or several numbers."""
    return hint is float or any(is_number(part) for part in typing.get_args(hint))
