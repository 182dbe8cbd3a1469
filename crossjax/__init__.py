"""crossjax: a differentiable simulator of analog in-memory computing.

>>> import jax, crossjax as cx
>>> tile = cx.presets.hermes()
>>> chip, history = cx.program(key, tile, weights, cx.GDP())
>>> y = cx.mvm(key, tile, chip, x, t=86_400.0)

What flows through it, and the rooms it passes, each once:

    weights ─► program ─► method ─► core ─► write ─► controller ─► device law
                 │        (programming)     (tiles)         (devices)
    Tile ──build──► Chip ──write──► Chip ──read(t)──► Reading ──mvm(x)──► y
                     ▲                │                  ▲
                     └────────────────┘                  └── weights that are trained (nn), disturbed
    x ─► DAC ─► lines (wires) ─► noise ─► ADC ─► scales ─► y                    (circuits, tiles)

Beside the tile stand memories that are searched (`cam`, and `hdc` on them) and parts for arrays of light (`photonic`).

Devices and circuits know nothing of tiles, tiles nothing of methods, methods nothing of networks (`nn`), networks
nothing of training and experiments. A key is passed to every verb, and what is random in it has a name of its own.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from crossjax import (
    cam,
    devices,
    features,
    hdc,
    images,
    insitu,
    interop,
    keys,
    photonic,
    presets,
    pulsed,
    strategies,
    text,
)
from crossjax._checks import checks
from crossjax._pytree import check_choice, check_count, check_order, check_range, replace, spec, static
from crossjax.circuits import ADC, DAC, Wires, percentile_range, wires
from crossjax.datasheet import Datasheet, describe
from crossjax.devices import Device, Faults
from crossjax.hardware_files import load_hardware, save_hardware
from crossjax.memory import forget_compiled
from crossjax.population import stream
from crossjax.programming import (
    GDP,
    Core,
    Exact,
    History,
    Iterative,
    OneShot,
    RowWise,
    SimulatedCore,
    mvm_error,
    program,
    program_core,
    random_inputs,
)
from crossjax.store import load, save
from crossjax.tiles import (
    Chip,
    Pairs,
    Reading,
    SharedReference,
    Strategy,
    Tile,
    adc_inputs,
    bit_slices,
    build,
    calibrate_ranges,
    mvm,
    read,
    remember,
    typical_ranges,
    weights_at,
    write,
)

if TYPE_CHECKING:
    from crossjax import nn, plot, training

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`nn` and `training` bring Flax and Orbax, `plot` Matplotlib: they are imported when they are first used."""
    if name in ("nn", "plot", "training"):
        return importlib.import_module(f"crossjax.{name}")
    raise AttributeError(f"module 'crossjax' has no attribute {name!r}")


__all__ = [
    "ADC",
    "DAC",
    "GDP",
    "Chip",
    "Core",
    "Datasheet",
    "Device",
    "Exact",
    "Faults",
    "History",
    "Iterative",
    "OneShot",
    "Pairs",
    "Reading",
    "RowWise",
    "SharedReference",
    "SimulatedCore",
    "Strategy",
    "Tile",
    "Wires",
    "adc_inputs",
    "bit_slices",
    "build",
    "calibrate_ranges",
    "cam",
    "check_choice",
    "check_count",
    "check_order",
    "check_range",
    "checks",
    "describe",
    "devices",
    "features",
    "forget_compiled",
    "hdc",
    "images",
    "insitu",
    "interop",
    "keys",
    "load",
    "load_hardware",
    "mvm",
    "mvm_error",
    "nn",
    "percentile_range",
    "photonic",
    "plot",
    "presets",
    "program",
    "program_core",
    "pulsed",
    "random_inputs",
    "read",
    "remember",
    "replace",
    "save",
    "save_hardware",
    "spec",
    "static",
    "strategies",
    "stream",
    "text",
    "training",
    "typical_ranges",
    "weights_at",
    "wires",
    "write",
]  # fmt: skip
