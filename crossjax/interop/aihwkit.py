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

from collections.abc import Mapping
from typing import Any

from crossjax import devices
from crossjax._checks import check_name
from crossjax._pytree import replace
from crossjax.circuits import ADC, DAC, StaticDrop, Wires
from crossjax.devices import Constant, Device, Polynomial, ReadNoise
from crossjax.interop.aihwkit_devices import device
from crossjax.interop.aihwkit_training import hardware, pulsed
from crossjax.interop.notes import Imported, Notes
from crossjax.interop.rpu_config import as_dict, complete, presets, word
from crossjax.tiles import Pairs, Tile, UnitCell
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
    made, cell = device(doc["noise_model"], after, notes)
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
        if isinstance(parts.get("wires"), Wires):
            notes.lacks("forward.ir_drop_rs of arrays that learn: pulsed arrays have no network of wires")
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
