"""Coming from elsewhere: other simulators' hardware, other libraries' networks, and netlists of ours for others.

cx.interop.aihwkit.tile("StandardHWATrainingPreset").tile
cx.interop.linen.load(model, params), cx.interop.equinox.load(model, net)
cx.interop.spice.netlist(g, v, r_word=2.0, r_bit=2.0)
"""

import importlib
from typing import Any

__all__ = ["aihwkit", "equinox", "linen", "spice", "torch"]


def __getattr__(name: str) -> Any:
    """Each is imported when it is first used: some bring what others do not need."""
    if name in __all__:
        return importlib.import_module(f"crossjax.interop.{name}")
    raise AttributeError(f"module 'crossjax.interop' has no attribute {name!r}")
