"""crossjax: a differentiable simulator of analog in-memory computing.

>>> import jax, crossjax as cx
>>> tile = cx.presets.hermes()
>>> chip, history = cx.program(key, tile, weights, cx.GDP())
>>> y = cx.mvm(key, tile, chip, x, t=86_400.0)
"""

from crossjax import devices, presets
from crossjax._pytree import replace, spec
from crossjax.circuits import ADC, DAC, Wires, percentile_range, wires
from crossjax.compensation import calibrate_ranges
from crossjax.devices import Device, Faults
from crossjax.population import stream
from crossjax.programming import (
    GDP,
    Core,
    History,
    Iterative,
    OneShot,
    SimulatedCore,
    mvm_error,
    program,
    program_core,
    random_inputs,
)
from crossjax.tiles import Chip, Pairs, Reading, SharedReference, Tile, bit_slices, mvm, read, weights_at

__version__ = "0.1.0"

__all__ = [
    "ADC",
    "DAC",
    "GDP",
    "Chip",
    "Core",
    "Device",
    "Faults",
    "History",
    "Iterative",
    "OneShot",
    "Pairs",
    "Reading",
    "SharedReference",
    "SimulatedCore",
    "Tile",
    "Wires",
    "bit_slices",
    "calibrate_ranges",
    "devices",
    "mvm",
    "mvm_error",
    "percentile_range",
    "presets",
    "program",
    "program_core",
    "random_inputs",
    "read",
    "replace",
    "spec",
    "stream",
    "weights_at",
    "wires",
]  # fmt: skip
