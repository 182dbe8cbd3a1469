"""What stands around the array: converters and wires."""

from crossjax.circuits.converters import ADC, DAC, ColumnSpread, percentile_range
from crossjax.circuits.wires import NotConvergedError, StaticDrop, Wires

__all__ = ["ADC", "DAC", "ColumnSpread", "NotConvergedError", "StaticDrop", "Wires", "percentile_range"]
