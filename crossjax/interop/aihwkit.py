"""aihwkit's configurations as hardware of crossjax.

    found = cx.interop.aihwkit.tile("StandardHWATrainingPreset")       # a preset of aihwkit by name
    found = cx.interop.aihwkit.tile(rpu_config)                         # the object, or its dictionary
    found.tile, found.injections, found.notes

aihwkit need not be installed: `as_dict` makes a dictionary of an object where it is. What has no counterpart is
refused, or listed, by choice; what is only nearly the same is always listed. Converters, output and read noise and the
devices' laws of aihwkit 1.2 were compared with the peer's own outputs (`benchmarks/aihwkit_peer.py`).

aihwkit counts outputs in units of its tile's weights, whose largest is ``mapping.weight_scaling_omega``; here a full
input on a full weight is 1. With its default of 0 the weights lie on the tile as they are: then the ADC's range and the
noise depend on the largest weight of a matrix, which no configuration knows, and you say it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from crossjax import devices
from crossjax._checks import check_name
from crossjax._pytree import replace
from crossjax.circuits import ADC, DAC, StaticDrop, Wires
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
    ReadNoise,
)
from crossjax.interop.aihwkit_training import hardware, pulsed
from crossjax.interop.notes import Imported, Notes
from crossjax.interop.rpu_config import as_dict, complete, presets, word
from crossjax.tiles import Pairs, SharedReference, Strategy, Tile, UnitCell
from crossjax.tiles.injection import DeviceNoise, DropConnect, WeightNoise

UNCUT = 1 << 20  # rows or columns of a tile that cuts nothing
NEUTRAL = {  # of IOParameters: without effect
    "inp_sto_round": False, "inp_noise": 0, "inp_asymmetry": 0, "out_sto_round": False, "out_noise_std": 0,
    "out_scale": 1, "out_asymmetry": 0, "out_nonlinearity": 0, "out_nonlinearity_std": 0, "slope_calibration": 0,
    "v_offset_std": 0, "r_series": 0, "bm_test_negative_bound": True, "w_read_asymmetry_dtod": 0, "max_bm_factor": 1000,
    "max_bm_res": 0.25,
}  # fmt: skip
OF_LEARNING = {"weight_scaling_columnwise": False, "learn_out_scaling": False, "out_scaling_columnwise": False}


def tile(
    config: Any,
    *,
    largest: float | None = None,
    input_range: float | None = None,
    after: float | None = None,
    unsupported: str = "refuse",
) -> Imported:
    """The tile that an aihwkit configuration for inference describes.

    Args:
        config: an ``InferenceRPUConfig`` (any of its kinds), its dictionary (`as_dict`), or the name of a preset.
        largest: largest weight of the matrix, for configurations that do not scale weights
            (``weight_scaling_omega = 0``); None: 1, and a note says so.
        input_range: of the DAC, where aihwkit learns one; None: its ``init_value``, and a note says so.
        after: seconds after programming, for devices whose statistics are of one time (``ReRamWan2022NoiseModel``).
        unsupported: what has no counterpart: "refuse" it, or "report" it in the notes.

    Returns:
        The tile, the injections for `crossjax.nn.to_analog`, and the notes.

    Raises:
        TypeError: for something that is no configuration.
        ValueError: for unknown names and fields (the nearest is suggested), a configuration for training on the chip
            (see `learning`), numbers that mean nothing, and, unless they are to be reported, effects without
            counterpart.
    """
    check_name(unsupported, ("refuse", "report"), "way with the unsupported")
    doc, notes = complete(config, "InferenceRPUConfig"), Notes()
    if doc["class"] == "FloatingPointRPUConfig":
        return Imported(Tile(UNCUT, UNCUT, device=devices.ideal(), compensation=None))
    if "noise_model" not in doc:
        raise ValueError(
            f"a {doc['class']} is for training on the chip: use crossjax.interop.aihwkit.learning, or an "
            f"InferenceRPUConfig"
        )
    io, mapping, remap = doc["forward"], doc["mapping"], doc["remap"]
    omega = mapping["weight_scaling_omega"] or (remap["remapped_wmax"] if word(remap["type"]) != "none" else 0.0)
    if not omega:
        omega = 1.0 if largest is None else largest
        if largest is None and not io["is_perfect"]:
            notes.near("mapping.weight_scaling_omega = 0: the largest weight is taken to be 1; say it as largest=")
    columnwise = (mapping["weight_scaling_columnwise"] and mapping["weight_scaling_omega"] > 0) or word(
        remap["type"]
    ) == "channelwisesymmetric"
    made, cell = _device(doc["noise_model"], after, notes)
    perfect = io["is_perfect"] or word(io["mv_type"]) == "ideal"
    parts: dict[str, Any] = {} if perfect else _periphery(io, omega, _input_range(doc, input_range, notes), notes)
    read = None if perfect else _read_noise(io, made, cell, omega, notes)
    compensation, reference = _compensation(doc["drift_compensation"], notes)
    _of_training(doc, notes)
    found = Tile(
        rows=mapping["max_input_size"] or UNCUT, cols=mapping["max_output_size"] or UNCUT,
        device=replace(made, read=read), cell=cell, scaling="column" if columnwise else "tile",
        compensation=compensation, reference=reference, **parts,
    )  # fmt: skip
    injections = _injections(doc["modifier"], omega, "column" if columnwise else "tile", notes)
    return Imported(found, injections, notes.finished(unsupported))


def learning(config: Any, *, unsupported: str = "refuse") -> Imported:
    """The hardware, for `crossjax.nn.to_analog`, that an aihwkit configuration for training on the chip describes.

    Args:
        config: a ``SingleRPUConfig``, ``UnitCellRPUConfig`` or ``DigitalRankUpdateRPUConfig``, its dictionary, or the
            name of a preset.
        unsupported: as for `tile`.

    Returns:
        A `crossjax.nn.Learning` (``.hardware``), and the notes.

    Raises:
        TypeError, ValueError: as `tile`; for a configuration for inference as well.
    """
    check_name(unsupported, ("refuse", "report"), "way with the unsupported")
    doc, notes = complete(config, "SingleRPUConfig"), Notes()
    if "noise_model" in doc or "device" not in doc:
        raise ValueError(f"a {doc['class']} is not for training on the chip: use crossjax.interop.aihwkit.tile")

    def side(io: Mapping[str, Any], rows: int, cols: int, *, back: bool = False) -> Tile:
        parts = {} if io["is_perfect"] else _periphery(io, 1.0, 1.0, notes)
        if parts.get("wires") is not None:
            notes.lacks("forward.ir_drop of arrays that learn: pulsed arrays have no wires")
            parts["wires"] = None
        if back and parts.get("adc") is not None:  # aihwkit has no bound management backwards
            parts["adc"] = replace(parts["adc"], on_saturation="clip")
        return Tile(rows, cols, compensation=None, **parts)

    for name, neutral in OF_LEARNING.items():
        if doc["mapping"][name] != neutral:
            notes.lacks(f"mapping.{name} = {doc['mapping'][name]!r} of arrays that learn")
    if doc["pre_post"]["input_range"]["enable"]:
        notes.lacks("pre_post.input_range of arrays that learn")
    for side_name in ("forward", "backward"):
        if doc[side_name]["w_noise"] and word(doc[side_name]["w_noise_type"]) != "none":
            notes.lacks(f"{side_name}.w_noise of arrays that learn: noise of their products is out_noise alone")
    rows, cols = (doc["mapping"][k] or UNCUT for k in ("max_input_size", "max_output_size"))
    sides = side(doc["forward"], rows, cols), side(doc["backward"], cols, rows, back=True)
    found = hardware(doc, sides, notes)
    return Imported(found, (), notes.finished(unsupported))


# ------------------------------------------------------------------------------------------- periphery


def _input_range(doc: Mapping[str, Any], given: float | None, notes: Notes) -> float:
    ranges = doc["pre_post"]["input_range"]
    if given is not None:
        return given
    if not ranges["enable"]:
        return 1.0
    if ranges["learn_input_range"] or ranges["init_from_data"]:
        notes.near(
            f"pre_post.input_range: aihwkit sets it from data or learns it; {ranges['init_value']} is where it begins "
            "(input_range= says another, to_analog(learn_ranges=True) learns it)"
        )
    return ranges["init_value"]


def _periphery(io: Mapping[str, Any], omega: float, full: float, notes: Notes) -> dict[str, Any]:
    """Converters, output noise and wires of an IOParameters."""
    for name, neutral in NEUTRAL.items():
        if io[name] != neutral:
            notes.lacks(f"forward.{name} = {io[name]!r}")
    if word(io["mv_type"]) not in ("onepass", "bitwise"):
        notes.lacks(f"forward.mv_type = {io['mv_type']}")
    return {
        "dac": _dac(io, full, notes), "adc": _adc(io, omega, notes), "noise": io["out_noise"] / omega or None,
        "wires": _wires(io, omega, notes),
    }  # fmt: skip


def _levels(name: str, res: float, notes: Notes) -> int | None:
    """Levels of a converter: aihwkit gives a number of steps, or one step as a fraction of them; None: no rounding."""
    if res <= 0:
        return None
    steps = res if res > 1 else 1.0 / res
    whole = round(steps)
    if abs(steps - whole) > 1e-3 * steps or whole < 2:
        raise ValueError(f"{name} = {res:g} is {steps:g} steps: a converter has a whole number of them, at least 2")
    if whole % 2:
        notes.lacks(f"{name}: an odd number of steps, {whole}; {whole + 2} levels are nearest")
        return whole + 2
    return whole + 1


def _dac(io: Mapping[str, Any], full: float, notes: Notes) -> DAC | None:
    levels, how = _levels("inp_res", io["inp_res"], notes), word(io["noise_management"])
    if io["inp_bound"] <= 0:
        if levels is not None:
            notes.lacks("forward.inp_bound ≤ 0: a DAC of steps without ends")
        return None
    reach, scaling = full * io["inp_bound"], "fixed"
    if how == "absmax":
        scaling, reach = "absmax", 1.0
        if io["inp_bound"] != 1:
            notes.lacks(f"forward.inp_bound = {io['inp_bound']:g} with noise management ABS_MAX")
        if io["nm_thres"] > 0:
            notes.lacks(f"forward.nm_thres = {io['nm_thres']:g} with noise management ABS_MAX")
    elif how == "constant":
        reach = full * io["inp_bound"] * (io["nm_thres"] if io["nm_thres"] > 0 else 1.0)
    elif how != "none":
        notes.lacks(f"forward.noise_management = {io['noise_management']}")
    slices = 1 if word(io["mv_type"]) == "bitwise" else None
    if slices:
        notes.near("forward.mv_type = BIT_WISE: bits are sent as full signals here, as two steps of the DAC there")
    return DAC(bits=None, levels=levels, range=reach, scaling=scaling, slice_bits=slices)


def _adc(io: Mapping[str, Any], omega: float, notes: Notes) -> ADC | None:
    levels, how = _levels("out_res", io["out_res"], notes), word(io["bound_management"])
    if io["out_bound"] <= 0:
        if levels is not None:
            notes.lacks("forward.out_bound ≤ 0: an ADC of steps without ends")
        return None
    if how == "iterativeworstcase":
        notes.near("forward.bound_management = ITERATIVE_WORST_CASE: as ITERATIVE")
    elif how not in ("none", "iterative"):
        notes.lacks(f"forward.bound_management = {io['bound_management']}")
    again = "halve" if how.startswith("iterative") else "clip"
    return ADC(bits=None, levels=levels, range=io["out_bound"] / omega, on_saturation=again)


def _wires(io: Mapping[str, Any], omega: float, notes: Notes) -> StaticDrop | Wires | None:
    if io["ir_drop"] <= 0:
        return None
    if "ir_drop_rs" in io:
        notes.near(
            "forward.ir_drop_rs: exact wires of bit lines sensed at the bottom; aihwkit senses even columns at one end "
            "and odd ones at the other, step by step of its pulse-width inputs"
        )
        return Wires(r_word=0.0, r_bit=io["ir_drop"] * io["ir_drop_rs"])
    notes.near(
        "forward.ir_drop: the same polynomial, with the last row at the sense node; aihwkit has the first one there, "
        "so that rows, and inputs, in the other order give its numbers"
    )
    return StaticDrop(segment=io["ir_drop"] * 1e6 / (io["ir_drop_g_ratio"] * 5.0), g_ref=5.0 * omega)


def _read_noise(io: Mapping[str, Any], device: Device, cell: UnitCell, omega: float, notes: Notes) -> ReadNoise | None:
    kind, size = word(io["w_noise_type"]), io["w_noise"]
    if not size or kind == "none":
        return None
    pairs = getattr(cell, "factors", None)
    if not isinstance(cell, Pairs) or (kind == "pcmread" and pairs != (1.0,)):
        notes.lacks(f"forward.w_noise_type = {io['w_noise_type']} on a {type(cell).__name__} of factors {pairs}")
        return None
    span = device.g_max - device.g_min
    if kind == "additiveconstant":
        share = sum(pairs) ** 2 / (2.0 * sum(f * f for f in pairs))  # type: ignore[union-attr]
        return ReadNoise(Constant((size * span / omega) ** 2 * share), g_ref=device.g_max)
    if kind == "pcmread":
        k = size**2 * span / omega
        return ReadNoise(Polynomial((-k * device.g_min, k * device.g_max)), g_ref=device.g_max)
    notes.lacks(f"forward.w_noise_type = {io['w_noise_type']}")
    return None


def _compensation(found: Any, notes: Notes) -> tuple[str | None, str]:
    if found is None:
        return None, "first"
    kinds = {
        "GlobalDriftCompensation": ("tile", "first"),
        "PerColumnDriftCompensation": ("column", "first"),
        "GlobalDriftCompensationWithExactReference": ("tile", "ideal"),
    }
    kind = found["class"]
    if kind not in kinds:
        notes.lacks(f"drift_compensation = {kind}")
        return "tile", "first"
    if kind.endswith("ExactReference"):
        notes.near("drift_compensation: compared with what was programmed; aihwkit compares with the targets")
    return kinds[kind]


# --------------------------------------------------------------------------------------------- devices


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


def _device(model: Mapping[str, Any], after: float | None, notes: Notes) -> tuple[Device, UnitCell]:
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


# -------------------------------------------------------------------------------------- what training has


def _injections(modifier: Mapping[str, Any], omega: float, per: str, notes: Notes) -> tuple[Any, ...]:
    kind, found = word(modifier["type"]), []
    if kind == "none":
        return ()
    if modifier["enable_during_test"]:
        notes.lacks("modifier.enable_during_test")
    if kind in ("addnormal", "discretizeaddnormal"):
        share = (
            modifier["std_dev"]
            if modifier["rel_to_actual_wmax"]
            else modifier["std_dev"] * modifier["assumed_wmax"] / omega
        )
        fresh = "vector" if modifier["per_batch_sample"] else "batch"
        found.append(WeightNoise(share, per=per, fresh=fresh))
    elif kind in ("prognoise", "pcmnoise"):
        t = modifier["pcm_t_inference"] if kind == "pcmnoise" else None
        found.append(DeviceNoise(t=t))
        notes.near(f"modifier.type = {modifier['type']}: the errors of the tile's own device")
    elif kind not in ("copy", "dropconnect", "discretize"):
        notes.lacks(f"modifier.type = {modifier['type']}")
    if kind.startswith("discretize"):
        notes.lacks(
            f"modifier.res = {modifier['res']:g}: states are the device's here, Device(states=…), not training's"
        )
    if modifier["pdrop"]:
        found.append(DropConnect(modifier["pdrop"]))
    return tuple(found)


def _of_training(doc: Mapping[str, Any], notes: Notes) -> None:
    clip, mapping = doc["clip"], doc["mapping"]
    kind = word(clip["type"])
    if kind == "fixedvalue":
        notes.near(
            f"clip: while training, put crossjax.training.bound_weights({clip['fixed_value']:g}) last in the chain"
        )
    elif kind == "layergaussian":
        notes.near(f"clip: while training, put crossjax.training.clip_weights({clip['sigma']:g}) last in the chain")
    elif kind != "none":
        notes.near(f"clip.type = {clip['type']} is not there, and without effect on inference")
    if mapping["learn_out_scaling"]:
        notes.near("mapping.learn_out_scaling: a digital factor that training learns, 1 at first, is not there")
    if not mapping["digital_bias"]:
        notes.near("mapping.digital_bias = False: biases are digital here")


__all__ = ["Imported", "as_dict", "complete", "learning", "presets", "pulsed", "tile"]
