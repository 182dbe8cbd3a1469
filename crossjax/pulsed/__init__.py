"""Devices as pulses see them: responses, jump tables, and presets by name."""

from crossjax.pulsed.device import Pulsed, PulsedState
from crossjax.pulsed.named import PULSED, from_table, get
from crossjax.pulsed.steps import (
    ConstantStep,
    ExpStep,
    JumpingStep,
    LinearStep,
    PiecewiseStep,
    PowStep,
    SaturatingStep,
    Steps,
    neurosim_curvature,
    soft_bounds,
)
from crossjax.pulsed.tables import JumpTable, from_cdf, from_ramps, load_table

__all__ = [
    "PULSED", "ConstantStep", "ExpStep", "JumpTable", "JumpingStep", "LinearStep", "PiecewiseStep", "PowStep",
    "Pulsed", "PulsedState", "SaturatingStep", "Steps", "from_cdf", "from_ramps", "from_table", "get", "load_table",
    "neurosim_curvature", "soft_bounds",
]  # fmt: skip
