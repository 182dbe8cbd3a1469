"""The parts that files and the command line may name, each by the name that it has under ``cx.`` in Python."""

from __future__ import annotations

import functools
import importlib
import inspect
import typing
from collections.abc import Callable, Sequence
from typing import Any

from crossjax._checks import KindError, check_name
from crossjax._kinds import methods_of
from crossjax.store import is_spec

ROOMS = (
    "circuits",
    "devices",
    "tiles",
    "photonic",
    "pulsed",
    "presets",
)  # of hardware; the first that has a name gives it
_HELD = ("Chip", "Reading", "DeviceState", "PulsedState", "ColumnSpread")  # what hardware holds, not what it is
_TOP = ("ADC", "DAC", "Device", "Faults", "Pairs", "SharedReference", "Strategy", "Tile", "Wires", "bit_slices")


@functools.cache
def parts() -> dict[str, Callable[..., Any]]:
    """Every class of hardware, and every function that makes some of plain numbers, by name."""
    import crossjax

    found: dict[str, Callable[..., Any]] = {name: getattr(crossjax, name) for name in _TOP}
    for room in ROOMS:
        module = importlib.import_module(f"crossjax.{room}")
        for name in module.__all__:
            value = getattr(module, name)
            if name not in _HELD and value not in found.values() and _makes_hardware(value):
                found[f"{room}.{name}"] = value
    from crossjax.tiles import splits

    found |= {f"tiles.splits.{c.__name__}": c for c in vars(splits).values() if isinstance(c, type) and is_spec(c)}
    return found


def _makes_hardware(value: Any) -> bool:
    if isinstance(value, type):
        return is_spec(value)
    if not inspect.isfunction(value):
        return False
    try:
        made = typing.get_type_hints(value).get("return")
    except NameError:
        return False
    return isinstance(made, type) and is_spec(made) and not {"key", "name", "tile", "g"} & set(needs(value))


def part(name: str, types: Sequence[type] = ()) -> Callable[..., Any]:
    """The part of this name; "cx." before it, or the room left out where one has it, is no matter.

    Args:
        name: "devices.pcm", "cx.ADC", "PowerLawDrift".
        types: spec classes of one's own.

    Raises:
        ValueError: for an unknown name; says the nearest one.
    """
    known = parts() | {cls.__name__: cls for cls in types}
    name = name.removeprefix("cx.").removeprefix("crossjax.")
    if name not in known:
        same = [full for full in known if full.split(".")[-1] == name]
        if len(same) == 1:
            return known[same[0]]
        if len(same) > 1:
            raise ValueError(f"part {name!r} is one of {', '.join(same)}: say which")
    check_name(name, tuple(known), "part")
    return known[name]


def name_of(cls: type) -> str:
    """The name under which `part` finds a class; of a class of one's own its own.

    Raises:
        TypeError: for a class of crossjax that is no part of hardware.
    """
    found = next((name for name, value in parts().items() if value is cls), None)
    if found is None and cls.__module__.startswith("crossjax."):
        raise KindError(f"a {cls.__name__} is no part of hardware that a file describes: crossjax.save keeps it")
    return found or cls.__name__


def needs(maker: Callable[..., Any]) -> list[str]:
    """Arguments without a default."""
    return [p.name for p in inspect.signature(maker).parameters.values() if p.default is p.empty]


def fitting(kind: type) -> list[str]:
    """Names of the classes that are, or do what, an annotation asks for."""
    classes = {name: value for name, value in parts().items() if isinstance(value, type)}
    if getattr(kind, "_is_protocol", False):
        return [name for name, value in classes.items() if all(hasattr(value, m) for m in methods_of(kind))]
    return [name for name, value in classes.items() if issubclass(value, kind)]
