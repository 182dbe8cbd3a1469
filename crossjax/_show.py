"""How specs are shown: one line in a console, a table with meanings in a notebook; arrays by size and span only."""

from __future__ import annotations

import dataclasses
import html
import inspect
import re
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from crossjax._checks import is_array, is_traced

DEEP = 2  # parts within parts that a console shows


def text(spec: Any, depth: int = 0) -> str:
    """A spec as Python would build it: fields at their defaults left out, deep parts as "…"."""
    own = []
    for field in dataclasses.fields(spec):
        value = getattr(spec, field.name)
        if is_default(field, value):
            continue
        own.append(f"{field.name}={short(value, depth + 1)}")
    return f"{type(spec).__name__}({', '.join(own)})"


def is_default(field: dataclasses.Field[Any], value: Any) -> bool:
    """Whether a field has its default, told without looking into arrays."""
    default = field.default
    if value is default:
        return True
    plain = bool | int | float | str | tuple
    return isinstance(value, plain) and type(value) is type(default) and _hashable(value) and value == default


def _hashable(value: Any) -> bool:
    return not isinstance(value, tuple) or all(isinstance(v, bool | int | float | str) for v in value)


def short(value: Any, depth: int) -> str:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        if depth > DEEP:
            return f"{type(value).__name__}(…)"
        return text(value, depth)
    if isinstance(value, tuple | list) and not hasattr(value, "_fields"):
        inner = ", ".join(short(v, depth + 1) for v in value[:4]) + (", …" if len(value) > 4 else "")
        return f"({inner})" if isinstance(value, tuple) else f"[{inner}]"
    if is_array(value):
        return number(value)
    if callable(value):
        return getattr(value, "__name__", type(value).__name__)
    return f"{value:.6g}" if isinstance(value, float) else repr(value)


def number(value: Any) -> str:
    """A number or an array: its value where there is one, its type and shape where there are many."""
    if value.shape == () and not is_traced(value) and not jnp.issubdtype(value.dtype, jax.dtypes.extended):
        return f"{np.asarray(value).item():.6g}" if value.dtype.kind in "fiu" else str(np.asarray(value).item())
    return f"{value.dtype}{list(value.shape)}"


def rows(spec: Any, above: str = "") -> Iterator[tuple[str, Any, str]]:
    """(dotted name, value, meaning) of every field, parts included; a part stands before its own fields."""
    for field in dataclasses.fields(spec):
        value, name = getattr(spec, field.name), above + field.name
        yield name, value, meanings(type(spec)).get(field.name, "")
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            yield from rows(value, f"{name}.")


def meanings(cls: type) -> dict[str, str]:
    """What each field of a class means, by the "Attributes" (or "Args") of its docstring and its bases'."""
    found: dict[str, str] = {}
    for owner in reversed(cls.__mro__):
        found |= listed(vars(owner).get("__doc__") or "")
    return found


def listed(docstring: str) -> dict[str, str]:
    """Names and what is said of them, under "Attributes:" or "Args:" of a docstring."""
    block = re.search(r"^(Attributes|Args):\n(.*?)(?=^\S|\Z)", inspect.cleandoc(docstring), re.MULTILINE | re.DOTALL)
    if block is None:
        return {}
    entries = re.findall(r"^    (\w[\w, ]*):\s+(.*?)(?=^    \S|\Z)", block[2], re.MULTILINE | re.DOTALL)
    return {name.strip(): " ".join(said.split()) for names, said in entries for name in names.split(",")}


def summary(cls: type) -> str:
    """The first paragraph of a class's docstring."""
    return " ".join(inspect.cleandoc(cls.__doc__ or "").split("\n\n")[0].split())


def value_text(value: Any) -> str:
    """One cell of a table: the class of a part, a number, what an array spans."""
    if value is None:
        return "off"
    if is_array(value) and value.shape != () and not is_traced(value) and value.dtype.kind in "fiu" and value.size:
        found = np.asarray(value, np.float64)
        return f"{number(value)}: {found.min():.4g} … {found.max():.4g}, mean {found.mean():.4g}"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return type(value).__name__
    return short(value, DEEP)


def page(spec: Any) -> str:
    """A spec for a notebook: what it is, its size if it holds arrays, and a table of its fields."""
    held = sum(leaf.nbytes for leaf in jax.tree.leaves(spec) if is_array(leaf) and leaf.shape and not is_traced(leaf))
    size = f" · {held / 1e6:.3g} MB" if held > 1000 else ""
    body = []
    for name, value, meaning in rows(spec):
        if value is None:
            continue
        indent = 1.2 * name.count(".")
        body.append(
            f'<tr><td style="text-align:left;padding-left:{indent + 0.3}em">{html.escape(name.split(".")[-1])}</td>'
            f'<td style="text-align:left">{html.escape(value_text(value))}</td>'
            f'<td style="text-align:left;max-width:36em;white-space:normal">{html.escape(_first(meaning))}</td></tr>'
        )
    off = [name for name, value, _ in rows(spec) if value is None]
    note = f"<p><small>off: {html.escape(', '.join(off))}</small></p>" if off else ""
    return (
        f"<p><b>{type(spec).__name__}</b>{size} <small>{html.escape(summary(type(spec)))}</small></p>"
        f"<table>{''.join(body)}</table>{note}"
    )


def _first(meaning: str) -> str:
    """The first sentence, or clause, of a meaning."""
    return re.split(r"(?<=[a-z\])µΩ0-9])\.\s", meaning)[0]
