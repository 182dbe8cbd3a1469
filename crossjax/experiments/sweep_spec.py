"""A sweep as a file says it: which experiment, which numbers of its hardware, and where they are tried."""

from __future__ import annotations

import dataclasses
import itertools
import math
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from crossjax._checks import check_name

Values = tuple[float | int | str, ...]


@dataclasses.dataclass(frozen=True)
class Spec:
    """A sweep.

    Attributes:
        experiment: "program", "in-situ", or "module:function".
        settings: of the experiment.
        knobs: values of every number that is swept, by its dotted name.
        design: "grid", every combination; or "random", so many points between the ends of each.
        points: of a random design.
        seeds: runs of every point, the same seeds at all.
    """

    experiment: str
    settings: Mapping[str, Any]
    knobs: Mapping[str, Values]
    design: str
    points: int
    seeds: int

    def rows(self, seed: int) -> list[dict[str, Any]]:
        """The points, as values by knob."""
        if self.design == "grid":
            return [dict(zip(self.knobs, row, strict=True)) for row in itertools.product(*self.knobs.values())]
        rng = np.random.default_rng(seed)
        return [{name: _between(rng, values) for name, values in self.knobs.items()} for _ in range(self.points)]


def _between(rng: np.random.Generator, values: Values) -> Any:
    """Anywhere between the ends of numbers, evenly in the logarithm where they are; one of whole numbers or names."""
    numbers = [v for v in values if isinstance(v, float)]
    if len(numbers) < len(values):
        return values[rng.integers(len(values))]
    low, high = numbers[0], numbers[-1]
    if low > 0 and len(values) > 2 and math.isclose(numbers[1] / low, numbers[2] / numbers[1], rel_tol=1e-6):
        return float(math.exp(rng.uniform(math.log(low), math.log(high))))
    return float(rng.uniform(low, high))


def read(path: Path) -> Spec:
    """The sweep of a TOML file.

    Raises:
        OSError: if it cannot be read.
        ValueError: for a file that is not TOML, a key that it does not know (the nearest one is suggested), a knob
            without values, or no knob at all.
    """
    try:
        found = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not TOML: {error}") from error
    for name in found:
        check_name(name, ("experiment", "settings", "knobs", "design", "points", "seeds"), f"key of {path}")
    design = found.get("design", "grid")
    check_name(design, ("grid", "random"), "design")
    knobs = found.get("knobs", {})
    if not isinstance(knobs, dict) or not knobs:
        raise ValueError(f"{path} sweeps nothing: name numbers and their values under [knobs]")
    values = {name: tuple(_values(name, given)) for name, given in _flat(knobs)}
    points, seeds = found.get("points", 0), found.get("seeds", 1)
    if not _whole(seeds) or seeds < 1:
        raise ValueError(f"seeds must be a whole number of at least 1, got {seeds!r}")
    if (design == "random") != bool(points) or not _whole(points) or points < 0:
        raise ValueError(
            f"points is for a random design, which needs at least 1: got {points!r} with design {design!r}"
        )
    settings = found.get("settings", {})
    if not isinstance(settings, dict):
        raise ValueError(f"settings of {path} must be a table, got {settings!r}")
    if "experiment" not in found:
        raise ValueError(f'{path} names no experiment: experiment = "program", "in-situ" or "module:function"')
    return Spec(str(found["experiment"]), settings, values, design, points, seeds)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _flat(knobs: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Knobs by their dotted names, quoted or not."""
    for name, value in knobs.items():
        if isinstance(value, dict) and not {"low", "high"} & set(value):
            yield from _flat(value, f"{above}{name}.")
        else:
            yield above + name, value


def _values(name: str, given: Any) -> Sequence[Any]:
    """Values of a knob: a list, or {low, high, count, log}."""
    if isinstance(given, dict):
        for key in given:
            check_name(key, ("low", "high", "count", "log"), f"key of knob {name}")
        low, high, count = given.get("low"), given.get("high"), given.get("count", 5)
        numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in (low, high))
        if not numbers or not _whole(count) or count < 2 or not low < high:  # type: ignore[operator]
            raise ValueError(f"knob {name} needs low < high and a count of at least 2, got {given}")
        if given.get("log") and low <= 0:  # type: ignore[operator]
            raise ValueError(f"knob {name} is logarithmic, and begins at {low}")
        space = np.geomspace if given.get("log") else np.linspace
        return [float(v) for v in space(low, high, count)]  # type: ignore[arg-type]
    if not isinstance(given, list) or not given:
        raise ValueError(f"knob {name} needs a list of values, or low, high and count; got {given!r}")
    if not all(isinstance(v, int | float | str) for v in given):
        raise ValueError(f"values of knob {name} must be numbers or names, got {given!r}")
    if any(isinstance(v, float) and not math.isfinite(v) for v in given):
        raise ValueError(f"values of knob {name} must be finite, got {given!r}")
    return given


def fields_of(spec: Any, above: str = "") -> Iterator[str]:
    """Dotted names of all fields of a hardware spec, those of its parts included."""
    for f in dataclasses.fields(spec):
        value = getattr(spec, f.name)
        yield above + f.name
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            yield from fields_of(value, f"{above}{f.name}.")
