"""Datasheets: what a piece of hardware is made of, every number with its meaning and its source.

print(cx.describe(tile))              # all of it; in a notebook the last line of a cell is enough
print(cx.describe(tile, "device.drift"))
print(cx.describe(cx.ADC))            # what the fields of a class mean
"""

from __future__ import annotations

import dataclasses
import html
import inspect
import textwrap
from typing import Any

from crossjax import _show, catalogue
from crossjax._checks import KindError, check_name
from crossjax.store import is_spec

WIDTH = 118


@dataclasses.dataclass(frozen=True)
class Line:
    """One line of a datasheet.

    Attributes:
        name: dotted name of the field, as `crossjax.replace` takes it.
        value: its value as text; "off" for None.
        meaning: what it is, with its unit.
        part: whether it is a part with fields of its own.
    """

    name: str
    value: str
    meaning: str
    part: bool


@dataclasses.dataclass(frozen=True)
class Datasheet:
    """What `describe` found; prints as text, shows as a table in a notebook.

    Attributes:
        title: kind of the hardware.
        text: what it is, and the papers that it is from.
        lines: its fields.
    """

    title: str
    text: str
    lines: tuple[Line, ...]

    def __str__(self) -> str:
        wide = max((len(line.name) for line in self.lines), default=0)
        much = min(max((len(line.value) for line in self.lines), default=0), 34)
        indent = " " * (wide + much + 6)
        said = [self.title, *textwrap.wrap(self.text, WIDTH, break_on_hyphens=False), ""]
        for line in self.lines:
            head = f"  {line.name:<{wide}}  {line.value:<{much}}  "
            meaning = textwrap.wrap(line.meaning, max(WIDTH - len(indent), 40), break_on_hyphens=False) or [""]
            said += [head + meaning[0], *(indent + more for more in meaning[1:])]
        return "\n".join(row.rstrip() for row in said)

    def _repr_html_(self) -> str:
        rows = "".join(
            f'<tr><td style="text-align:left">{"<b>" if line.part else ""}{html.escape(line.name)}</td>'
            f'<td style="text-align:left">{html.escape(line.value)}</td>'
            f'<td style="text-align:left;white-space:normal">{html.escape(line.meaning)}</td></tr>'
            for line in self.lines
        )
        return f"<p><b>{html.escape(self.title)}</b> {html.escape(self.text)}</p><table>{rows}</table>"

    def to_pandas(self) -> Any:
        """The lines as a data frame."""
        import pandas

        return pandas.DataFrame([dataclasses.asdict(line) for line in self.lines])


def describe(thing: Any, name: str | None = None) -> Datasheet:
    """The datasheet of a tile, a device, a chip, any other part or class of parts, or of one field of it.

    Args:
        thing: hardware (`Tile`, `Device`, `ADC` …), a chip, a class of parts, or the name of a part or a preset
            ("hermes", "devices.pcm").
        name: dotted name of a field, to be told about that alone.

    Raises:
        TypeError: for something else.
        ValueError: for an unknown name (the nearest one is suggested).
    """
    source = ""
    if isinstance(thing, str):
        maker = catalogue.part(f"presets.{thing}" if f"presets.{thing}" in catalogue.parts() else thing)
        needed = catalogue.needs(maker)
        thing, source = (maker, "") if needed else (maker(), "" if isinstance(maker, type) else sourced(maker))
    if inspect.isfunction(thing) and thing in catalogue.parts().values():
        lines, title, source = tuple(_of_function(thing)), thing.__name__, sourced(thing)
    elif isinstance(thing, type) and is_spec(thing):
        lines, title, source = tuple(_of_class(thing)), thing.__name__, sourced(thing)
    elif is_spec(type(thing)):
        lines, title, source = tuple(_of(thing)), type(thing).__name__, source or sourced(type(thing))
    else:
        raise KindError(
            f"describe takes hardware made of crossjax's parts, or a class of it; got {type(thing).__name__}"
        )
    if name is not None:
        check_name(name, [line.name for line in lines], f"field of {title}")
        lines = tuple(line for line in lines if line.name == name or line.name.startswith(f"{name}."))
        title = f"{title}.{name}"
    return Datasheet(title, source, lines)


def _of_function(maker: Any) -> list[Line]:
    meanings = _show.listed(maker.__doc__ or "")
    found = []
    for argument in inspect.signature(maker).parameters.values():
        default = "needed" if argument.default is argument.empty else _show.value_text(argument.default)
        found.append(Line(argument.name, default, meanings.get(argument.name, ""), False))
    return found


def _of(thing: Any) -> list[Line]:
    found = []
    for name, value, meaning in _show.rows(thing):
        part = dataclasses.is_dataclass(value) and not isinstance(value, type)
        if part:
            meaning = " ".join(filter(None, (meaning, _show.summary(type(value)))))
        found.append(Line(name, _show.value_text(value), meaning, part))
    return found


def _of_class(cls: type) -> list[Line]:
    meanings = _show.meanings(cls)
    found = []
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        default = "needed" if field.default is dataclasses.MISSING else _show.value_text(field.default)
        kind = "structure" if field.metadata.get("static") else "leaf"
        found.append(Line(field.name, default, f"[{kind}] {meanings.get(field.name, '')}", False))
    return found


def sourced(thing: Any) -> str:
    """What a docstring says before its lists of arguments: what it is, equations and papers."""
    said = inspect.cleandoc(thing.__doc__ or "").split("\n\n")
    kept = [p for p in said if not p.startswith(("Args:", "Attributes:", "Returns:", "Raises:"))]
    return " ".join(" ".join(kept).split())
