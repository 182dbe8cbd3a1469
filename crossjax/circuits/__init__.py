"""What stands around the array: converters and wires."""

from crossjax.circuits.converters import ADC, DAC, ColumnSpread, percentile_range
from crossjax.circuits.wires import NotConvergedError, Wires

__all__ = ["ADC", "DAC", "ColumnSpread", "NotConvergedError", "Wires", "percentile_range"]
