"""What stands around the array: converters and wires."""

from crossjax.circuits.converters import ADC, DAC, ColumnSpread, percentile_range
from crossjax.circuits.scaling import AbsMax, Clip, FixedRange, Halve, InputScaling, Saturation
from crossjax.circuits.wires import NotConvergedError, StaticDrop, Wires

__all__ = [
    "ADC", "DAC", "AbsMax", "Clip", "ColumnSpread", "FixedRange", "Halve", "InputScaling", "NotConvergedError",
    "Saturation", "StaticDrop", "Wires", "percentile_range",
]  # fmt: skip
