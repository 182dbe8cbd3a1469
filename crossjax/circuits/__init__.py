"""What stands around the array: converters."""

from crossjax.circuits.converters import ADC, DAC, ColumnSpread, percentile_range

__all__ = ["ADC", "DAC", "ColumnSpread", "percentile_range"]
