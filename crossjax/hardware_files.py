"""Hardware as text: a `Tile`, or any part of one, in a TOML or JSON file, for people and for the command line.

A table is a part. ``part`` says which one, by the name that it has under ``cx.``; the other keys are its fields, or
the arguments of the function that makes it. What is "off" (JSON: null) is None. A table without ``part`` changes fields
of what stands there: the default, or what the function above made of it.

    part = "presets.hermes"         # begin from a preset; "Tile", the default, begins from an ideal tile
    gain = 0.03                     # its argument
    noise = "off"                   # a field of the tile

    [adc]                           # fields of the preset's ADC
    range = 8.0

    [device]
    part = "devices.reram_wan"      # another device
    after = "1 d"

    [device.faults]                 # a part that is off there, and whose kind is no question
    low = 0.01

`save_hardware` writes every field, those at their defaults too: such a file means the same in later versions. Chips,
which hold arrays of devices, are for `crossjax.save`.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import tomllib
import types as python_types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w

from crossjax import catalogue
from crossjax._checks import KindError, as_array, check_name, is_array, is_traced
from crossjax._kinds import hints_of
from crossjax._pytree import replace
from crossjax.run_folder import write_text
from crossjax.store import is_spec
from crossjax.tiles.tile import Tile

Types = Sequence[type]
KINDS = (".toml", ".json")


def load_hardware(path: str | Path, *, types: Types = ()) -> Any:
    """The tile, or other part, of a TOML or JSON file (the form: `crossjax.hardware_files`).

    Args:
        path: the file, ``.toml`` or ``.json``.
        types: your own spec classes that it names.

    Raises:
        OSError: if it cannot be read.
        ValueError: for another kind of file, text that is not TOML or JSON, an unknown part or field (the nearest one
            is suggested), or a value that the field cannot have; says where.
    """
    path = Path(path)
    if path.suffix.lower() not in KINDS:
        raise ValueError(f"{path} must be a .toml or .json file that describes hardware (chips: crossjax.load)")
    try:
        read = path.read_text(encoding="utf-8")
        found = tomllib.loads(read) if path.suffix.lower() == ".toml" else json.loads(read)
    except (tomllib.TOMLDecodeError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not {path.suffix[1:].upper()}: {error}") from error
    try:
        return from_document(found, types=types)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from error


def save_hardware(path: str | Path, hardware: Any) -> None:
    """Write a tile, or any other part, to a TOML or JSON file that `load_hardware` reads as the same.

    Raises:
        OSError: if it cannot be written.
        TypeError: for something that is no spec, or holds traced numbers or functions.
        ValueError: for another kind of file.
    """
    path = Path(path)
    if path.suffix.lower() not in KINDS:
        raise ValueError(f"{path} must end in .toml or .json")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent} to write {path.name} in: make it first")
    document = to_document(hardware)
    if path.suffix.lower() == ".json":
        write_text(path, json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    else:
        write_text(path, tomli_w.dumps(document))


def find(name: str, *, types: Types = ()) -> Any:
    """Hardware by the name of a preset or a part, or by a file: what ``crossjax describe`` takes.

    Returns:
        A tile, a device …; the class or function itself of a part that has numbers without defaults.

    Raises:
        OSError: for a file that is not there.
        ValueError: for an unknown name (the nearest one is suggested), or a file that describes no hardware.
    """
    from crossjax import presets

    if name.lower().endswith(KINDS):
        return load_hardware(name, types=types)
    if name in presets.PRESETS:
        return presets.get(name)
    maker = catalogue.part(name, types)
    return maker if catalogue.needs(maker) else maker()


def find_tile(name: str) -> Tile:
    """A tile by the name of a preset, or by a file: what ``--tile`` takes.

    Raises:
        OSError: for a file that is not there.
        ValueError: for an unknown name, or a file that describes no tile.
    """
    from crossjax import presets

    if not name.lower().endswith(KINDS):
        return presets.get(name)
    found = load_hardware(name)
    if not isinstance(found, Tile):
        raise ValueError(f"{name} describes a {type(found).__name__}, and a Tile is needed")
    return found


# ------------------------------------------------------------------------------ parts as documents


def is_part(thing: Any) -> bool:
    """Whether something is a part with numbers of its own, no class or function."""
    return is_spec(type(thing))


def to_document(part: Any) -> dict[str, Any]:
    """A part as nested dictionaries of plain values, every field of it.

    Raises:
        TypeError: for something that is no spec, or holds traced numbers or functions.
    """
    if not is_spec(type(part)):
        raise KindError(f"hardware must be a Tile or a part of one, got {type(part).__name__}")
    found: dict[str, Any] = {"part": catalogue.name_of(type(part))}
    for field in dataclasses.fields(part):
        found[field.name] = _plain(getattr(part, field.name), f"{type(part).__name__}.{field.name}")
    return dict(sorted(found.items(), key=lambda item: isinstance(item[1], dict)))  # TOML's order: numbers first


def _plain(value: Any, where: str) -> Any:
    if value is None:
        return "off"
    if is_spec(type(value)):
        return to_document(value)
    if isinstance(value, tuple):
        return [_plain(v, where) for v in value]
    if is_traced(value):
        raise KindError(f"{where} is traced: write hardware outside of jit, vmap and grad")
    if is_array(value):
        return _numbers(np.asarray(value))
    if isinstance(value, bool | str | int | float):
        return value
    raise KindError(f"{where} cannot be written as text: it is a {type(value).__name__}")


def _numbers(value: np.ndarray) -> Any:
    """Numbers as the shortest text that is the same number of their type."""
    if value.ndim:
        return [_numbers(v) for v in value]
    return float(str(value)) if value.dtype.kind == "f" else value.item()


def from_document(document: Any, *, types: Types = ()) -> Any:
    """The part of what `to_document` wrote, or somebody by hand; see `load_hardware` for the errors."""
    return _build(document, Tile, "", types)


def _build(table: Any, default: Any, where: str, types: Types) -> Any:
    """The part of a table. ``default``: what it changes or is made of where it does not say, or None."""
    if not isinstance(table, Mapping):
        raise KindError(f"{where or 'the file'} must be a table of fields, got {table!r}")
    given = dict(table)
    name = given.pop("part", None)
    if name is not None:
        if not isinstance(name, str):
            raise KindError(f"{_join(where, 'part')} must be the name of a part, got {name!r}")
        try:
            default = catalogue.part(name, types)
        except ValueError as error:
            raise ValueError(f"{where}: {error}" if where else str(error)) from None
    if is_spec(type(default)):  # an object: change its fields
        return _changed(default, given, where, types)
    arguments = inspect.signature(default).parameters
    if isinstance(default, type):
        for field in given:
            check_name(field, tuple(arguments), f"field of {default.__name__}{_at(where)}")
        _all_there(default, given, where)
        hints = hints_of(default, arguments)
        return default(
            **{k: _value(v, hints[k], _default(default, k), _join(where, k), types) for k, v in given.items()}
        )
    own = {k: _argument(v, _join(where, k), types) for k, v in given.items() if k in arguments}
    _all_there(default, own, where)
    made = default(**own)
    return _changed(made, {k: v for k, v in given.items() if k not in own}, where, types, also=tuple(arguments))


def _all_there(maker: Any, given: Mapping[str, Any], where: str) -> None:
    if missing := [name for name in catalogue.needs(maker) if name not in given]:
        raise ValueError(f"{where or maker.__name__} must say {', '.join(missing)}: a {maker.__name__} has no defaults")


def _changed(part: Any, given: Mapping[str, Any], where: str, types: Types, also: tuple[str, ...] = ()) -> Any:
    known = [f.name for f in dataclasses.fields(part)]
    for field in given:
        check_name(field, (*known, *also), f"field of {type(part).__name__}{_at(where)}")
    hints = hints_of(type(part), known)
    made = {k: _value(v, hints[k], getattr(part, k), _join(where, k), types) for k, v in given.items()}
    return replace(part, **made) if made else part


def _default(cls: type, name: str) -> Any:
    field = next(f for f in dataclasses.fields(cls) if f.name == name)  # type: ignore[arg-type]
    return None if field.default is dataclasses.MISSING else field.default


def _value(value: Any, hint: Any, default: Any, where: str, types: Types) -> Any:
    """A field's value of what the file has for it."""
    choices = _members(hint)
    if value is None or (value == "off" and type(None) in choices):
        return None
    if isinstance(value, Mapping):
        if not is_spec(type(default)):
            default = _only(choices, where) if "part" not in value else None
        return _build(value, default, where, types)
    if isinstance(value, list):
        if any(isinstance(v, Mapping) for v in value):
            return tuple(_listed(v, f"{where}.{k}", types) for k, v in enumerate(value))
        nested = any(isinstance(v, list) for v in value)
        if nested or not any(typing.get_origin(c) is tuple for c in choices):
            return as_array(where, value)
    return value


def _only(choices: Sequence[Any], where: str) -> type:
    """The one class that a field can have a part of, where the file does not say."""
    kinds = [c for c in choices if isinstance(c, type) and c is not type(None) and c not in (bool, int, float, str)]
    if len(kinds) == 1 and is_spec(kinds[0]):
        return kinds[0]
    names = [name for kind in kinds for name in catalogue.fitting(kind)]
    raise ValueError(f'{where} is off there: say which part it is to be, as part = "…": {", ".join(names)}')


def _argument(value: Any, where: str, types: Types) -> Any:
    if isinstance(value, Mapping):
        return _listed(value, where, types)
    return None if isinstance(value, str) and value == "off" else value


def _listed(value: Any, where: str, types: Types) -> Any:
    """A part that nothing stands for yet: it must say which."""
    if isinstance(value, Mapping) and "part" not in value:
        raise ValueError(f'{where} must say which part it is, as part = "…"')
    return _build(value, None, where, types)


def _members(hint: Any) -> tuple[Any, ...]:
    """What a union is made of; a hint alone otherwise."""
    if typing.get_origin(hint) in (typing.Union, python_types.UnionType):
        return tuple(inner for part in typing.get_args(hint) for inner in _members(part))
    return (hint,)


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _at(where: str) -> str:
    return f" ({where})" if where else ""
