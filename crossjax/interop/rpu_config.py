"""aihwkit's configurations as plain dictionaries, complete and checked, with or without aihwkit.

    object, its dictionary, a preset's name ──complete──► {"class": "InferenceRPUConfig", "forward": {"class": …}, …}

aihwkit has no dictionary form of its own. Here every part is a dictionary with its class beside its fields,
enumerations by name; `as_dict` makes one of an object. ``dataclasses.asdict``, which loses the classes, is understood
for parts whose class is no question. Names and defaults are those of aihwkit 1.2 (`benchmarks/aihwkit_tables.py` writes
them down).
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import json
from collections.abc import Mapping
from importlib import resources
from typing import Any

from crossjax._checks import KindError, check_name

IGNORED = (  # of how aihwkit computes, not of hardware
    "tile_class", "tile_array_class", "simulator_tile_class", "runtime", "construction_seed", "count_pulses",
    "scale_ratio",
)  # fmt: skip


@functools.cache
def tables() -> dict[str, Any]:
    """Aihwkit's classes with their defaults, and its presets as what they change."""
    file = resources.files("crossjax") / "included" / "aihwkit.json"
    return json.loads(file.read_text(encoding="utf-8"))


def presets() -> tuple[str, ...]:
    """Names of all of aihwkit's presets: of configurations and of devices."""
    return tuple(tables()["presets"])


def as_dict(config: Any) -> Any:
    """An aihwkit object, with all that is in it, as dictionaries that JSON can hold.

    It looks at the object's attributes only; aihwkit need not be importable for what was unpickled without it.
    """
    if isinstance(config, Mapping):
        return {str(k): as_dict(v) for k, v in config.items() if str(k) not in IGNORED}
    if isinstance(config, list | tuple):
        return [as_dict(v) for v in config]
    if isinstance(config, enum.Enum):
        return config.name
    if isinstance(config, bool | int | float | str) or config is None:
        return config
    if isinstance(config, type):
        return config.__name__
    if hasattr(config, "tolist"):
        return config.tolist()
    if not (dataclasses.is_dataclass(config) or hasattr(config, "__dict__")):
        raise KindError(f"an aihwkit configuration is a dataclass or a dictionary, got {type(config).__name__}")
    known = tables()["classes"]
    kind = next((cls.__name__ for cls in type(config).__mro__ if cls.__name__ in known), type(config).__name__)
    fields = {k: as_dict(v) for k, v in vars(config).items() if k not in IGNORED and not k.startswith("_")}
    return {"class": kind, **fields}


def complete(config: Any, kind: str | None = None) -> dict[str, Any]:
    """A configuration as dictionaries with every field, at aihwkit's default where it says nothing.

    Args:
        config: an object, a dictionary, or the name of a preset.
        kind: class to take where a dictionary does not say which.

    Raises:
        TypeError: for something else.
        ValueError: for an unknown preset, class or field; says the nearest name, and where.
    """
    if isinstance(config, str):
        check_name(config, presets(), "preset of aihwkit")
        config = tables()["presets"][config]
    found = as_dict(config)
    if not isinstance(found, dict):
        raise KindError(f"an aihwkit configuration is a dataclass or a dictionary, got {type(config).__name__}")
    return _filled(found, kind, "")


def _filled(given: Mapping[str, Any], kind: str | None, where: str) -> dict[str, Any]:
    known = tables()["classes"]
    kind = given.get("class") or _guessed(given, kind)
    if kind is None:
        raise ValueError(
            f'nothing tells which class of aihwkit {where or "this dictionary"} is: add "class" beside its fields '
            f"(crossjax.interop.aihwkit.as_dict does)"
        )
    if kind in tables()["presets"]:
        return _filled({**tables()["presets"][kind], **{k: v for k, v in given.items() if k != "class"}}, None, where)
    check_name(kind, tuple(known), f"class of aihwkit{_at(where)}")
    defaults = known[kind]
    for name in given:
        if name != "class" and name not in IGNORED:
            check_name(name, tuple(defaults), f"field of {kind}{_at(where)}")
    found: dict[str, Any] = {"class": kind}
    for name, default in defaults.items():
        found[name] = _value(given.get(name, default), default, f"{where}.{name}" if where else name)
    return found


def _value(value: Any, default: Any, where: str) -> Any:
    if isinstance(value, list):
        return [_listed(v, f"{where}[{k}]") for k, v in enumerate(value)]
    if not isinstance(value, dict):
        return value
    if isinstance(default, dict) and "class" in default:
        return _filled(value, _guessed(value, default["class"]), where)
    return _filled(value, None, where) if "class" in value else value


def _listed(value: Any, where: str) -> Any:
    """A member of a list: a part of whatever class has its fields."""
    return _filled(value, None, where) if isinstance(value, dict) else value


def _guessed(given: Mapping[str, Any], default: str | None = None) -> str | None:
    """The class of a dictionary that does not say: ``default`` if it has all the fields, or the smallest that does."""
    known, names = tables()["classes"], set(given) - set(IGNORED) - {"class"}
    if default is not None and names <= set(known[default]):
        return default
    having = {kind: len(fields) for kind, fields in known.items() if names and names <= set(fields)}
    smallest = [kind for kind, count in having.items() if count == min(having.values())]
    return min(smallest, key=lambda kind: ("Preset" in kind or "Standard" in kind, len(kind)), default=default)


def word(value: Any) -> str:
    """An enumeration's member in small letters, however it is written: "absmax" for ABS_MAX and AbsMax."""
    return "".join(c for c in str(value).split(".")[-1].lower() if c.isalnum())


def _at(where: str) -> str:
    return f" ({where})" if where else ""
