"""aihwkit's devices that learn by pulses, and what is made of them: unit cells, updates, Tiki-Taka, mixed precision."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from crossjax._pytree import replace
from crossjax.insitu import (
    Expected,
    Implicit,
    MeanCount,
    MixedPrecision,
    OneSided,
    PulsedSGD,
    Scheme,
    Sides,
    Single,
    TikiTaka,
    Trains,
)
from crossjax.interop.notes import Notes
from crossjax.interop.rpu_config import complete, word
from crossjax.nn import Learning
from crossjax.pulsed import (
    ConstantStep,
    ExpStep,
    LinearStep,
    PiecewiseStep,
    PowStep,
    Pulsed,
    Steps,
    soft_bounds,
)
from crossjax.tiles import Tile

LONGEST = 32  # slots of a train


def pulsed(device: Any, *, unsupported: str = "refuse") -> Pulsed:
    """The device of an aihwkit device configuration: an object, its dictionary, or a preset's name.

    Args:
        device: such as ``ReRamESPresetDevice()``, or ``"ReRamESPresetDevice"``.
        unsupported: "refuse" or "report", which leaves out what has no counterpart.

    Raises:
        TypeError, ValueError: as `crossjax.interop.aihwkit.tile`.
    """
    notes = Notes()
    found = _pulsed(complete(device, "ConstantStepDevice"), notes)
    notes.finished(unsupported)
    return found


def hardware(doc: Mapping[str, Any], sides: tuple[Tile, Tile], notes: Notes) -> Learning:
    """The hardware of a complete configuration, with its two sides."""
    omega = doc["mapping"]["weight_scaling_omega"]
    where: dict[str, Any] = {"headroom": 1.0 / omega} if omega > 0 else {"scale": 1.0}
    return Learning(_scheme(doc["device"], doc["update"], notes), Sides(*sides), **where)


def _scheme(device: Mapping[str, Any], update: Mapping[str, Any], notes: Notes) -> Scheme:
    kind = device["class"]
    if kind == "DigitalRankUpdateCell" or kind == "MixedPrecisionCompound":
        return _mixed(device, update, notes)
    if kind in ("OneSidedUnitCell", "DifferenceUnitCell"):
        if device["copy_inverted"]:
            notes.lacks(f"device.copy_inverted of a {kind}")
        return PulsedSGD(_one_sided(device, notes), _counts(update, notes), every=max(device["refresh_every"], 1))
    if kind in ("ChoppedTransferCompound", "DynamicTransferCompound"):
        return _tiki_taka(device, update, notes)
    if "dw_min" in device:
        return PulsedSGD(Single(_pulsed(device, notes)), _counts(update, notes))
    if kind in ("IdealDevice", "FloatingPointDevice"):
        notes.near(f"device {kind}: digital weights; here a device of 10⁶ states that takes expected values")
        return PulsedSGD(Single(Pulsed(step=1e-5, low=-5.0, high=5.0)), Expected())
    raise ValueError(
        f"crossjax has no counterpart of a {kind}: its schemes are PulsedSGD, Significance, MixedPrecision and "
        "TikiTaka (crossjax.insitu), which take devices of crossjax.interop.aihwkit.pulsed"
    )


def _trains(update: Mapping[str, Any], notes: Notes) -> Trains:
    longest = int(update["desired_bl"])
    if longest > LONGEST:
        notes.near(f"update.desired_bl = {longest}: trains here have at most {LONGEST} slots")
        longest = LONGEST
    for name, neutral in (("um_grad_scale", 1.0), ("res", 0), ("d_sparsity", False), ("sto_round", False)):
        if update[name] not in (neutral, -1):
            notes.lacks(f"update.{name} = {update[name]!r}")
    adaptive = bool(update["update_bl_management"])
    return Trains(longest, balanced=adaptive or bool(update["update_management"]), adaptive=adaptive)


def _counts(update: Mapping[str, Any], notes: Notes) -> Any:
    trains, kind = _trains(update, notes), word(update["pulse_type"])
    if kind in ("stochasticcompressed", "stochastic"):
        return trains
    if kind == "meancount":
        return MeanCount(trains)
    if kind == "deterministicimplicit":
        if update["x_res_implicit"] != update["d_res_implicit"]:
            notes.lacks("update.x_res_implicit and d_res_implicit that differ")
        return Implicit(trains, update["x_res_implicit"] or None)
    if kind in ("nonewithdevice", "none"):
        if kind == "none":
            notes.near("update.pulse_type = NONE: expected values on the device, within its bounds")
        return Expected()
    notes.lacks(f"update.pulse_type = {update['pulse_type']}")
    return trains


def _one_sided(device: Mapping[str, Any], notes: Notes) -> OneSided:
    never = device["refresh_every"] == 0
    high = 1.0 if never else device["refresh_upper_thres"]
    if not never:
        notes.near("device.refresh_forward and refresh_update: a refresh here reads without noise, and writes once")
    return OneSided(_pulsed(device["unit_cell_devices"][0], notes), high=high, low=device["refresh_lower_thres"])


def _mixed(device: Mapping[str, Any], update: Mapping[str, Any], notes: Notes) -> MixedPrecision:
    if device["class"] != "MixedPrecisionCompound":
        raise ValueError(f"crossjax has no counterpart of a {device['class']}")
    for name, neutral in (("transfer_every", 1), ("n_rows_per_transfer", -1), ("random_row", False), ("transfer_lr", 1),
                          ("stoc_round_x", True), ("stoc_round_d", True)):  # fmt: skip
        if device[name] != neutral:
            notes.lacks(f"device.{name} = {device[name]!r}")
    inner = device["device"]
    pair = inner["class"] in ("OneSidedUnitCell", "DifferenceUnitCell")
    return MixedPrecision(
        _one_sided(inner, notes) if pair else Single(_pulsed(inner, notes)), epsilon=device["granularity"] or None,
        sent="stochastic", most=min(int(update["desired_bl"]), 31), x_bins=device["n_x_bins"] or None,
        d_bins=device["n_d_bins"] or None,
    )  # fmt: skip


def _tiki_taka(device: Mapping[str, Any], update: Mapping[str, Any], notes: Notes) -> TikiTaka:
    dynamic = device["class"] == "DynamicTransferCompound"
    expected = {
        "auto_scale": True, "out_chop_prob": 0, "transfer_columns": True, "n_reads_per_transfer": 1, "step": 1,
        "buffer_granularity": 1, "transfer_lr": 1, "correct_gradient_magnitudes": False, "no_buffer": False,
        "forget_buffer": True, "with_reset_prob": 0, "random_selection": False, "buffer_cap": 0,
        "experimental_correct_accumulation": False, "scale_fast_lr": False, "scale_transfer_lr": True,
        "gamma_vec": [], "transfer_every_vec": [], "transfer_lr_vec": [], "in_chop_random": not dynamic,
    }  # fmt: skip
    for name, neutral in expected.items():
        if device.get(name, neutral) != neutral:
            notes.lacks(f"device.{name} = {device[name]!r}")
    if device["auto_granularity"] <= 0:
        raise ValueError("device.auto_granularity must be above 0: crossjax's threshold follows it")
    if device["units_in_mbatch"]:
        notes.lacks("device.units_in_mbatch")
    fast, slow = (Single(replace(_pulsed(d, notes), together=True)) for d in device["unit_cell_devices"])
    read, chop = device["transfer_forward"], device["in_chop_prob"]
    if not read["is_perfect"] and (read["out_res"] > 0 or read["inp_res"] > 0):
        notes.near("device.transfer_forward: A is read with its output noise, and without converters")
    trains = _trains(update, notes)
    return TikiTaka(
        kind="agad" if dynamic else "chopped" if chop > 0 else "v2", fast=fast, slow=slow,
        fast_rate=device["fast_lr"] * update["desired_bl"] / trains.longest, granularity=device["auto_granularity"],
        every=max(int(device["transfer_every"]), 1), chop=chop, tail=device.get("tail_weightening", 5.0),
        visible=device["gamma"] or None, forget=device["momentum"],
        most=int(device["transfer_update"]["desired_bl"]),
        read_noise=None if read["is_perfect"] else read["out_noise"] or None, trains=trains,
    )  # fmt: skip


# --------------------------------------------------------------------------------------------- devices


def _pulsed(doc: Mapping[str, Any], notes: Notes) -> Pulsed:
    """One device, field by field."""
    kind = doc["class"]
    if "w_max" not in doc:
        raise ValueError(f"a {kind} is no device that pulses change: crossjax.pulsed has those with a step, dw_min")
    if kind == "SoftBoundsPmaxDevice":
        return _saturating(doc, notes)
    for name in ("diffusion_dtod", "slope_up_dtod", "slope_down_dtod", "pow_gamma_dtod", "pow_up_down_dtod",
                 "reverse_up", "reverse_down", "allow_increasing", "perfect_bias"):  # fmt: skip
        if doc.get(name):
            notes.lacks(f"{name} = {doc[name]!r} of a {kind}")
    if not doc["enforce_consistency"]:
        notes.lacks(f"enforce_consistency = False of a {kind}")
    if (doc.get("drift") or {}).get("nu"):
        notes.lacks(f"drift of a {kind}")
    if doc["corrupt_devices_prob"]:
        notes.near(
            "corrupt_devices_prob: devices are stuck anywhere in their range, there within corrupt_devices_range"
        )
    law, changes = _law(doc, notes)
    fields: dict[str, Any] = {
        "step": doc["dw_min"], "step_spread": doc["dw_min_dtod"] or None, "noise": doc["dw_min_std"] or None,
        "lognormal": doc["dw_min_dtod_log_normal"], "asymmetry": doc["up_down"],
        "asymmetry_spread": doc["up_down_dtod"] or None, "high": doc["w_max"], "low": doc["w_min"],
        "high_spread": doc["w_max_dtod"] or None, "low_spread": doc["w_min_dtod"] or None,
        "lifetime": doc["lifetime"] or None, "lifetime_spread": doc["lifetime_dtod"] or None,
        "diffusion": doc["diffusion"] or None, "reset": doc["reset"], "reset_spread": doc["reset_dtod"] or None,
        "reset_noise": doc["reset_std"] or None, "faults": doc["corrupt_devices_prob"] or None,
        "write_noise": doc.get("write_noise_std") or None,
    }  # fmt: skip
    return Pulsed(law, **(fields | changes))


def _law(doc: Mapping[str, Any], notes: Notes) -> tuple[Steps, dict[str, Any]]:
    """The response of a device, and what its class sets besides."""
    kind = doc["class"]
    additive = {"additive": not doc.get("mult_noise", True)}
    if kind in ("ConstantStepDevice", "PulsedDevice"):
        return ConstantStep(), {}
    if kind == "LinearStepDevice":
        if doc["gamma_up_dtod"] != doc["gamma_down_dtod"]:
            notes.lacks("gamma_up_dtod and gamma_down_dtod that differ")
        own = not doc["mean_bound_reference"]
        law = LinearStep(
            doc["gamma_up"], doc["gamma_down"], doc["gamma_up_dtod"] or None, own_bounds=own,
            high=doc["w_max"], low=doc["w_min"],
        )  # fmt: skip
        return law, additive
    if kind == "SoftBoundsDevice":
        return soft_bounds(), additive
    if kind == "SoftBoundsReferenceDevice":
        against = {"reference": doc["reference_mean"] or None, "reference_spread": doc["reference_std"] or None}
        return soft_bounds(), additive | against | {"at_symmetry": bool(doc["subtract_symmetry_point"])}
    if kind == "ExpStepDevice":
        law = ExpStep(doc["A_up"], doc["A_down"], doc["gamma_up"], doc["gamma_down"], doc["a"], doc["b"])
        noise = {"noise_floor": doc["dw_min_std_add"] or None, "noise_slope": doc["dw_min_std_slope"] or None}
        return law, noise
    if kind in ("PowStepDevice", "PowStepReferenceDevice"):
        ud, gamma = doc["pow_up_down"], doc["pow_gamma"]
        law = PowStep(gamma * (1.0 + min(ud, 0.0)), gamma * (1.0 - max(ud, 0.0)))
        if kind == "PowStepDevice":
            return law, {}
        if doc["subtract_symmetry_point"]:
            notes.lacks("subtract_symmetry_point of a PowStepReferenceDevice")
        return law, {"reference": doc["reference_mean"] or None, "reference_spread": doc["reference_std"] or None}
    if kind == "PiecewiseStepDevice":
        up, down = tuple(doc["piecewise_up"]), tuple(doc["piecewise_down"])
        if len(up) == len(down) == 1:
            if up != down:
                notes.lacks("piecewise_up and piecewise_down of one node that differ")
            return ConstantStep(), {"step": doc["dw_min"] * up[0]}
        return PiecewiseStep(*(nodes * 2 if len(nodes) == 1 else nodes for nodes in (up, down))), {}
    raise ValueError(f"crossjax has no counterpart of a {kind}")


def _saturating(doc: Mapping[str, Any], notes: Notes) -> Pulsed:
    """Soft bounds by the number of pulses that the range takes."""
    low, alpha = doc["range_min"], doc["alpha"]
    bound = (doc["range_max"] - low) / -math.expm1(-doc["p_max"] * alpha)
    filled = {
        **doc, "class": "SoftBoundsDevice", "w_min": low, "w_max": low + bound, "dw_min": bound * alpha,
        "up_down": 1.0 + 2.0 * low / bound,
    }  # fmt: skip
    return _pulsed(filled, notes)
