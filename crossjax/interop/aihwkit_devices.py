"""aihwkit's noise models and conductance converters as devices and cells, field by field."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from crossjax import devices
from crossjax._pytree import replace
from crossjax.devices import (
    Branches,
    ClippedLog,
    ClippedPower,
    Constant,
    Device,
    FlickerNoise,
    LogRelaxation,
    Polynomial,
    PowerLawDrift,
    ProgrammingError,
)
from crossjax.interop.notes import Notes
from crossjax.tiles import Pairs, SharedReference, Strategy, UnitCell


def scaled(law: Any, by: float) -> Any:
    """A law of aihwkit's devices, times a number."""
    if isinstance(law, Polynomial):
        return Polynomial(tuple(by * c for c in law.coefficients))
    if isinstance(law, ClippedLog):
        return ClippedLog(by * law.slope, by * law.offset, by * law.low, by * law.high)
    if isinstance(law, ClippedPower):
        return ClippedPower(by * law.scale, law.power, by * law.cap)
    if isinstance(law, Constant):
        return Constant(by * law.value)
    return replace(law, below=scaled(law.below, by), above=scaled(law.above, by))


def device(model: Mapping[str, Any], after: float | None, notes: Notes) -> tuple[Device, UnitCell]:
    """Device and cell of a noise model, without read noise."""
    kind, converter = model["class"], model["g_converter"]
    g_max, g_min = converter["g_max"], converter.get("g_min", 0.0)
    if model.get("g_max", g_max) != g_max:
        raise ValueError(
            f"{kind} has g_max = {model['g_max']:g}, and its g_converter {g_max:g}: give the converter's, which counts"
        )
    makers: dict[str, Callable[..., Device]] = {
        "PCMLikeNoiseModel": _pcm, "CustomDriftPCMLikeNoiseModel": _custom_drift, "HermesNoiseModel": _hermes,
        "StateIndependentNoiseModel": _state_independent, "ReRamWan2022NoiseModel": _wan, "ReRamCMONoiseModel": _cmo,
    }  # fmt: skip
    if kind not in makers:
        raise ValueError(
            f"noise_model {kind} is unknown: give the tile a device of your own, "
            "crossjax.replace(found.tile, device=…), and any known noise model here"
        )
    device = makers[kind](model, g_max, after, notes)
    return replace(device, g_max=g_max, g_min=g_min), _cell(converter, notes)


def _error(model: Mapping[str, Any], g_ref: float) -> ProgrammingError | None:
    size = model["prog_noise_scale"]
    return ProgrammingError(scaled(Polynomial(tuple(model["prog_coeff"])), size), g_ref=g_ref) if size else None


def _aged(model: Mapping[str, Any], mean: Any, spread: Any, q: Any) -> dict[str, Any]:
    drift, read = model["drift_scale"], model["read_noise_scale"]
    return {
        "drift": PowerLawDrift(scaled(mean, drift), scaled(spread, drift), model["t_0"]) if drift else None,
        "flicker": FlickerNoise(scaled(q, read), model["t_0"], model["t_read"]) if read else None,
    }


def _pcm(model: Mapping[str, Any], g_max: float, after: float | None, notes: Notes) -> Device:
    base: Any = devices.pcm(g_max)
    laws = base.drift.mean, base.drift.spread, base.flicker.q
    return replace(base, programming=_error(model, model["prog_coeff_g_max_reference"]), **_aged(model, *laws))


def _custom_drift(model: Mapping[str, Any], g_max: float, after: float | None, notes: Notes) -> Device:
    given = model["custom_drift_model"]
    if not given:
        raise ValueError("CustomDriftPCMLikeNoiseModel needs its custom_drift_model: g_lst, nu_mean_lst and nu_std_lst")
    base: Any = devices.pcm(g_max)
    mean, spread = (_linear(given["g_lst"], given[k], g_max) for k in ("nu_mean_lst", "nu_std_lst"))
    aged = _aged(model, mean, spread, base.flicker.q)
    return replace(base, programming=_error(model, model["prog_coeff_g_max_reference"]), **aged)


def _linear(g: list[float], values: list[float], g_max: float) -> Any:
    """The law that is linear between points (g in µS), in x = g / g_max."""
    law: Any = Constant(float(values[-1]))
    for k in range(len(g) - 2, -1, -1):
        slope = (values[k + 1] - values[k]) / (g[k + 1] - g[k]) * g_max
        piece = Polynomial((values[k] - slope * g[k] / g_max, slope))
        law = Branches(g[k + 1] / g_max, piece, law)
    return Branches(g[0] / g_max, Constant(float(values[0])), law)


def _hermes(model: Mapping[str, Any], g_max: float, after: float | None, notes: Notes) -> Device:
    base: Any = devices.hermes(int(model["num_devices"]))
    laws = base.drift.mean, base.drift.spread, base.flicker.q
    return replace(base, programming=_error(model, model["prog_coeff_g_max_reference"]), **_aged(model, *laws))


def _state_independent(model: Mapping[str, Any], g_max: float, after: float | None, notes: Notes) -> Device:
    laws = Constant(model["drift_nu_mean"]), Constant(model["drift_nu_std"]), Constant(1.0 / g_max)
    return Device(g_max=g_max, programming=_error(model, g_max), **_aged(model, *laws))


def _wan(model: Mapping[str, Any], g_max: float, after: float | None, notes: Notes) -> Device:
    known = {float(t): tuple(c) for t, c in model["coeff_dic"].items()}
    if after is None:
        after = min(known)
        notes.near(f"noise_model: its statistics are those {after:g} s after programming; after= says another time")
    if after not in known:
        raise ValueError(f"after must be one of {', '.join(f'{t:g}' for t in sorted(known))} s, got {after!r}")
    law = scaled(Polynomial(known[after]), model["noise_scale"])
    return Device(g_max=g_max, programming=ProgrammingError(law, g_ref=model["coeff_g_max_reference"]))


def _cmo(model: Mapping[str, Any], g_max: float, after: float | None, notes: Notes) -> Device:
    known = {float(k): c for k, c in model["coeff_dict"].items()}
    c0, c1 = known[float(model["acceptance_range"])]
    base: Any = devices.reram_cmo()
    size, drift, decay = model["prog_noise_scale"], model["drift_scale"], model["decay_dict"]
    slope, fixed = decay["std"]
    relaxing = LogRelaxation(drift * decay["mean"][0], (drift * fixed, drift * slope), g_ref=g_max, t_0=1.0)
    notes.near(
        "noise_model: relaxation is counted from 1 s after programming, drawn once, and not clipped to the range"
    )
    if model["read_noise_scale"] not in (0, 1):
        notes.lacks(f"noise_model.read_noise_scale = {model['read_noise_scale']:g}")
    return replace(
        base, g_max=g_max, drift=relaxing if drift else None,
        programming=ProgrammingError(scaled(Polynomial((c0, c1 * g_max)), size), g_ref=g_max) if size else None,
        flicker=base.flicker if model["read_noise_scale"] else None,
    )  # fmt: skip


def _cell(converter: Mapping[str, Any], notes: Notes) -> UnitCell:
    kind = converter["class"]
    if kind == "SinglePairConductanceConverter":
        return Pairs()
    if kind in ("NPairConductanceConverter", "DualPairConductanceConverter"):
        factors = [float(f) for f in converter["f_lst"] or ()]
        if not factors:
            raise ValueError(f"{kind} needs its f_lst")
        largest = tuple(sorted(factors, reverse=True))
        if factors == sorted(factors):
            return Pairs(largest, "lsp_first")
        if factors == list(largest):
            return Pairs(largest, "msp_first")
        raise ValueError(f"{kind}.f_lst {factors} is in neither order: sort it, or describe the cell as a Strategy")
    if kind == "CustomPairConductanceConverter":
        return _strategy(converter)
    if kind == "SingleDeviceConductanceConverter":
        notes.near(
            "g_converter: one device against a reference column with errors of its own; aihwkit's offset is exact"
        )
        return SharedReference()
    notes.lacks(f"g_converter = {kind}")
    return Pairs()


def _strategy(converter: Mapping[str, Any]) -> Strategy:
    factors, lines = converter["f_lst"], converter["g_lst"]
    if not factors or not lines or len(lines) != 2 * len(factors):
        raise ValueError("CustomPairConductanceConverter needs f_lst and a g_lst of two lines for each factor")
    x = (np.asarray(lines, float) - converter["g_min"]) / (converter["g_max"] - converter["g_min"])
    if x.shape[1] % 2 == 0 or not np.allclose(x[0::2], x[1::2, ::-1], atol=1e-6):
        raise ValueError(
            "CustomPairConductanceConverter.g_lst must be mirrored, each pair's lines, around a weight of 0"
        )
    order = np.argsort(factors, kind="stable")[::-1]
    half = x.reshape(len(factors), 2, -1)[order][..., x.shape[1] // 2 :].reshape(len(lines), -1)
    weights = tuple(float(factors[k]) for k in order)
    scale = float(sum(f * (half[2 * k, -1] - half[2 * k + 1, -1]) for k, f in enumerate(weights)))
    return Strategy(weights, jnp.linspace(0.0, 1.0, half.shape[1]), jnp.asarray(half), scale)
