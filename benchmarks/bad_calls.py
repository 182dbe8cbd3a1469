"""``python -m benchmarks.bad_calls [--out FILE]``: thousands of bad calls of the Python face, and what becomes of them.

Generated, not written: every field of every spec and every argument of every public function gets values that its
annotation or its docstring forbids, keys that are none, and related arguments that do not belong together. A value that
means something anywhere is not a bad one: an integer or a NumPy scalar for a number, an array for a leaf (a sweep), a
list for a matrix, an ADC of another resolution at the read, NaN among inputs (it stays NaN).

    clear        a ValueError or TypeError of crossjax in one line that names the argument or field
    unclear      any other error
    NaN          an answer with NaN in it
    finite       an answer of finite numbers: the worst
    accepted     nothing computed: a spec that was made, a function that was returned
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import json
import re
import time
import traceback
import typing
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import crossjax as cx
from benchmarks.bad_values import CHOICES, FLAGS, INF, NAN, NUMBERS, PARTS, SEQUENCES, WHOLE, WRONG
from benchmarks.good_calls import Setting, functions, setting
from crossjax import devices, training
from crossjax._kinds import fields_of
from crossjax.circuits.laws import CubicLaw, SinhLaw
from crossjax.circuits.wires import StaticDrop
from crossjax.store import is_spec

OUTCOMES = ("clear", "unclear", "NaN", "finite", "accepted")


class Case(NamedTuple):
    """One bad call: what it is about, how it reads, the call, and words of which its error must hold one."""

    group: str
    name: str
    call: Callable[[], Any]
    words: tuple[str, ...]


# ------------------------------------------------------------------------------------------------ specs

LAW = devices.Constant(0.1)
SPECS: list[Any] = [
    cx.Tile(), cx.Device(), cx.Pairs((2.0, 1.0)), cx.ADC(), cx.DAC(), cx.Wires(), cx.Faults(), cx.GDP(), cx.Iterative(),
    StaticDrop(), SinhLaw(1.0), CubicLaw(1.0), training.WeightNoise(), training.DeviceNoise(), training.DropConnect(),
    LAW, devices.Polynomial((1.0, 2.0)), devices.ClippedLog(1.0, 0.0, 0.1, 0.2), devices.ClippedPower(1.0, 1.0, 1.0),
    devices.ClippedLine(1.0, 1.0), devices.Saturating(1.0, 1.0), devices.Squared(LAW), devices.Relative(LAW, 25.0),
    devices.Branches(0.5, LAW, LAW), devices.ProgrammingError(LAW, 25.0), devices.PowerLawDrift(LAW, LAW, 20.0),
    devices.LogRelaxation(0.1, (0.1, 0.1), 25.0), devices.FlickerNoise(LAW, 20.0, 1e-6), devices.ReadNoise(LAW, 25.0),
    devices.Rewrite(), devices.MeltQuench(), devices.SetPulses(), devices.Mixed((cx.Device(), cx.Device())),
]  # fmt: skip


def made_of_nothing() -> list[Any]:
    """Every spec of the other rooms that needs no argument, with its defaults."""
    found = {type(good) for good in SPECS} | {cx.circuits.ColumnSpread}  # which is what a chip holds
    rooms = (
        cx.circuits,
        cx.tiles,
        cx.devices,
        cx.pulsed,
        cx.insitu,
        cx.cam,
        cx.hdc,
        cx.photonic,
        cx.programming,
        cx.training,
    )
    for room in rooms:
        for name in room.__all__:
            kind = getattr(room, name)
            if isinstance(kind, type) and is_spec(kind) and kind not in found:
                found.add(kind)
                if all(f.default is not dataclasses.MISSING for f in dataclasses.fields(kind)):
                    SPECS.append(kind())
    return SPECS


NEGATIVE = {  # fields that may be negative: coefficients, places
    "Constant": "value", "Polynomial": "coefficients", "ClippedLog": "slope offset low high",
    "Saturating": "scale rate",
    "ClippedPower": "scale power cap", "ClippedLine": "slope offset low", "Branches": "split", "SinhLaw": "alpha",
    "LogRelaxation": "mean", "SetPulses": "mean", "ExpStep": "a_up a_down gamma_up gamma_down a b",
    "LinearStep": "low", "Pulsed": "asymmetry low reset reference", "FeFET": "margin", "Ring": "detuning",
}  # fmt: skip
LAWS = {
    "law",
    "below",
    "above",
    "sigma",
    "mean",
    "spread",
    "q",
    "variance",
}  # any function of an array


def spec_cases() -> Iterator[Case]:
    """Every field of every spec, constructed and replaced, also deep inside a tile."""
    for good in made_of_nothing():
        kind = type(good)
        for name, hint, use in fields_of(kind):
            for bad in _bad_values(kind.__name__, name, hint, use):
                yield Case(
                    "spec, constructed", f"{kind.__name__}({name}={_text(bad)})", _made(good, name, bad), (name,)
                )
                if isinstance(good, cx.ADC | cx.DAC | cx.Device | cx.Pairs):
                    yield _inside(good, name, bad)


def _made(good: Any, name: str, bad: Any) -> Callable[[], Any]:
    fields = {f.name: getattr(good, f.name) for f in dataclasses.fields(good)} | {name: bad}
    return lambda: type(good)(**fields)


def _inside(good: Any, name: str, bad: Any) -> Case:
    part = {cx.ADC: "adc", cx.DAC: "dac", cx.Device: "device", cx.Pairs: "cell"}[type(good)]
    path = f"{part}.{name}"
    tile = cx.replace(cx.Tile(), **{part: good})
    return Case(
        "spec, replaced", f"replace(tile, {path}={_text(bad)})", lambda: cx.replace(tile, **{path: bad}), (name,)
    )


def _bad_values(kind: str, name: str, hint: Any, use: str) -> Iterator[Any]:
    parts = typing.get_args(hint) or (hint,)
    optional = type(None) in parts
    if not optional:
        yield None
    if any(typing.get_origin(p) is tuple for p in (hint, *parts)):
        yield from SEQUENCES
    elif use == "leaf" and float in parts:
        yield from NUMBERS
        if name not in NEGATIVE.get(kind, "").split():
            yield from (-1.0, -3, np.array([-1.0, -2.0]), jnp.array(-1.0))
    elif int in parts:
        yield from (v for v in WHOLE)
        yield 0
    elif bool in parts:
        yield from FLAGS
    elif str in parts:
        yield from CHOICES
    else:
        law = kind != "Device" and name in LAWS
        right = tuple(p for p in parts if isinstance(p, type) and p is not type(None))  # of this very kind
        yield from (v for v in PARTS if not ((isinstance(v, cx.Device) and name == "device") or type(v) in right))
        yield from (cx.ADC(), cx.GDP()) if name not in ("adc",) else (cx.DAC(), cx.GDP())
        if not law:
            yield LAW


# -------------------------------------------------------------------------------------------- functions


ALSO = {  # other words for an argument, or the argument that does not fit to it
    "t": ("time",), "weights": ("x",), "name": ("tile",), "images": ("x",), "data": ("label",), "g": ("conductances",),
}  # fmt: skip


def _fits(function: str, name: str, bad: Any) -> bool:
    """Whether this wrong value happens to be right here."""
    shape = np.shape(bad) if isinstance(bad, np.ndarray | float) else None
    real = shape is not None and np.asarray(bad).dtype.kind == "f"
    if name == "weights" and function == "mvm_error":  # documented to pass through
        return shape == (4, 3) and real
    if name == "weights" and function == "calibrate_ranges":
        return shape == (4, 5)
    if name == "weights" and function in ("program", "program_core", "random_inputs", "typical_ranges"):
        return shape in ((4, 5), (12, 1), (1, 2))  # an instrument's shape only it knows
    if (function, name) in (("mvm_error", "x"), ("program", "chip")):
        return bad is None
    if (function, name) == ("write", "where"):
        return bad is None or (isinstance(bad, np.ndarray) and bad.dtype == bool and bad.shape == (1,))
    if name in ("g", "w"):
        return shape == (4, 5) or (shape == (1, 2) and function.endswith("_conductance"))
    if name.startswith("r_") and function != "wires.first_order_conductance":  # a broken line
        return isinstance(bad, float) and bad == INF
    if name == "input_limit":  # nothing saturates
        return real and bool(np.all(np.asarray(bad) == INF))
    return name == "report" or (name == "measure" and callable(bad))


def _may_be_none(function: Callable[..., Any], name: str) -> bool:
    known = inspect.signature(function).parameters.get(name)
    return known is not None and known.default is None


def argument_cases(s: Setting) -> Iterator[Case]:
    """Every argument of every public function."""
    for label, (function, good) in functions(s).items():
        for name, value in good.items():
            if label == "replace" and name == "rows":
                continue
            for bad in _wrong(label, name, value):
                if _fits(label, name, bad) or (bad is None and _may_be_none(function, name)):
                    continue
                group = "keys" if name == "key" else "arguments"
                words = (name, *ALSO.get(name, ()))
                yield Case(group, f"{label}({name}={_text(bad)})", _called(label, function, good, name, bad), words)


def _wrong(label: str, name: str, value: Any) -> list[Any]:
    if label == "stream" and name == "chips":
        return []
    if name in WRONG:
        return WRONG[name]
    if isinstance(value, bool):
        return [*FLAGS, None]
    if isinstance(value, int):
        return [*WHOLE, None, 0]
    if isinstance(value, str):
        return [*CHOICES, None]
    optional = value is None
    return [v for v in (*NUMBERS, None, -1.0) if not (optional and v is None) and not isinstance(v, jax.Array)]


def _called(label: str, function: Callable[..., Any], good: dict[str, Any], name: str, bad: Any) -> Callable[[], Any]:
    if label == "replace":
        return lambda: function(bad, rows=3)
    return lambda: function(**(good | {name: bad}))


# --------------------------------------------------------------------------------------- related arguments


def pair_cases(s: Setting) -> Iterator[Case]:
    """Chips with other tiles, weights of other chips, populations without vmap, values inside jit."""
    doors = {
        "mvm": lambda tile, chip: cx.mvm(s.key, tile, chip, s.x),
        "read": lambda tile, chip: cx.read(s.key, tile, chip, 1e4),
        "weights_at": lambda tile, chip: cx.weights_at(s.key, tile, chip),
        "mvm_error": lambda tile, chip: cx.mvm_error(s.key, tile, chip, s.weights, s.x),
    }
    for door, call in doors.items():
        for mine, tile in s.tiles.items():
            for theirs, chip in s.chips.items():
                if mine == theirs or _compatible(mine, theirs):
                    continue
                name = f"{door}({mine}, chip of {theirs})"
                yield Case("chip and tile", name, lambda c=call, a=tile, b=chip: c(a, b), ("tile",))
        population = jax.tree.map(lambda a: jnp.stack([a, a]), s.chips["pcm"])
        yield Case(
            "chip and tile", f"{door}(population)", lambda c=call, p=population: c(s.tiles["pcm"], p), ("population",)
        )
    reading = cx.read(s.key, s.tiles["pcm"], s.chips["pcm"])
    for mine in ("small", "digital"):
        call = lambda tile=s.tiles[mine]: cx.mvm(s.key, tile, reading, s.x)  # noqa: E731
        yield Case("chip and tile", f"mvm({mine}, reading of pcm)", call, ("tile",))
    for door in ("read", "weights_at"):
        function = getattr(cx, door)
        yield Case("chip and tile", f"{door}(reading)", lambda f=function: f(s.key, s.tiles["pcm"], reading), ("chip",))


def _compatible(mine: str, theirs: str) -> bool:
    """What differs is the converters' spread that the chip has and the tile does not ask for, or no compensation."""
    return (mine, theirs) in (("hermes", "spread"), ("uncompensated", "pcm"), ("uncompensated", "vectors"))


def traced_cases(s: Setting) -> Iterator[Case]:
    """Values that are unknown until they are computed, inside `crossjax.checks`."""
    tile, chip = s.tiles["ideal"], s.chips["ideal"]

    def product(x: Any, t: Any, noise: Any) -> Any:
        return cx.mvm(s.key, cx.replace(tile, noise=noise), chip, x, t)

    def program(w: Any) -> Any:
        return cx.program(s.key, tile, w, cx.Exact())[0]

    def checked(f: Callable[..., Any], *args: Any) -> Callable[[], Any]:
        def call() -> Any:
            with cx.checks():
                return f(*args)

        return call

    jitted, swept, written = jax.jit(product), jax.jit(jax.vmap(product, (None, 0, 0))), jax.jit(program)
    one, two = jnp.asarray(s.x), jnp.ones(2)
    for bad in (NAN, INF, -INF):
        yield Case("traced", f"jit(mvm)(x={bad})", checked(jitted, one.at[1, 2].set(bad), 0.0, 0.1), ("x",))
        yield Case("traced", f"jit(program)(weights={bad})", checked(written, s.weights * bad), ("weights",))
    for bad in (NAN, INF, -1.0):
        yield Case("traced", f"jit(mvm)(t={bad})", checked(jitted, one, bad, 0.1), ("time",))
        yield Case("traced", f"jit(mvm)(noise={bad})", checked(jitted, one, 0.0, bad), ("noise",))
        yield Case("traced", f"vmap(mvm)(t={bad})", checked(swept, one, two.at[1].set(bad), two), ("time",))
        yield Case("traced", f"vmap(mvm)(noise={bad})", checked(swept, one, two, two.at[1].set(bad)), ("noise",))


# -------------------------------------------------------------------------------------------- outcomes


def outcome(case: Case) -> tuple[str, str]:
    """What becomes of a bad call, and its message."""
    try:
        answer = case.call()
    except Exception as error:
        message = str(error)
        frames = traceback.extract_tb(error.__traceback__)
        ours = re.search(r"/crossjax/[^\n]*\.py$", frames[-1].filename) is not None
        plain = isinstance(error, ValueError | TypeError) and ours and "\n" not in message and len(message) < 500
        clear = plain and any(re.search(rf"\b{w.rstrip('s').replace('_', '[ _]')}", message) for w in case.words)
        return ("clear" if clear else "unclear"), f"{type(error).__name__}: {message}"
    leaves = [a for a in jax.tree.leaves(answer) if isinstance(a, jax.Array | np.ndarray) and np.size(a)]
    numbers = [np.asarray(a, float) for a in leaves if jnp.issubdtype(a.dtype, jnp.floating)]
    if (dataclasses.is_dataclass(answer) and not isinstance(answer, cx.Chip | cx.Reading)) or not numbers:
        return "accepted", repr(answer)[:80]
    return ("finite" if all(np.isfinite(a).all() for a in numbers) else "NaN"), ""


def _text(value: Any) -> str:
    text = " ".join(re.sub(r" at 0x[0-9a-f]+", "", repr(value)).split())
    return text if len(text) < 50 else text[:47] + "..."


def main() -> None:
    """Run all cases; print a table, and every one that was not refused clearly."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, help="write every case as JSON")
    out = parser.parse_args().out
    jax.config.update("jax_traceback_filtering", "off")  # where an error comes from, not where JAX says so
    begin, s = time.perf_counter(), setting()
    table: dict[str, Counter[str]] = {}
    rows = []
    for cases in (spec_cases(), argument_cases(s), pair_cases(s), traced_cases(s)):
        for case in cases:
            what, message = outcome(case)
            table.setdefault(case.group, Counter())[what] += 1
            rows.append({"group": case.group, "call": case.name, "outcome": what, "message": message})
            if what != "clear":
                print(f"{what:9s} {case.name}  {' '.join(message.split())[:160]}")
    total = sum(table.values(), Counter())
    print(f"\n{'bad calls':20s}{'tried':>8s}" + "".join(f"{o:>10s}" for o in OUTCOMES))
    for group, counts in (*table.items(), ("all", total)):
        print(f"{group:20s}{sum(counts.values()):8d}" + "".join(f"{counts[o]:10d}" for o in OUTCOMES))
    accepted = sum(total[o] for o in OUTCOMES[2:]) / len(rows)
    print(f"\n{100 * accepted:.2f} % of {len(rows)} accepted, {time.perf_counter() - begin:.0f} s")
    if out is not None:
        summary = {group: dict(counts) for group, counts in table.items()}
        out.write_text(json.dumps({"table": summary, "cases": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
