"""Weights on conductances: unit cells, one crossbar tile, and matrices cut into grids of tiles."""

from crossjax.tiles.binary import Complementary
from crossjax.tiles.cells import BaseCell, Differential, Pairs, SharedReference, UnitCell, bit_slices
from crossjax.tiles.comparators import with_thresholds
from crossjax.tiles.grid import Grid
from crossjax.tiles.injection import Injection
from crossjax.tiles.mvm import mvm, read, remember, weights_at
from crossjax.tiles.ranges import adc_inputs, calibrate_ranges, typical_ranges
from crossjax.tiles.strategy import Strategy
from crossjax.tiles.subtraction import Analog, Digital, Subtraction
from crossjax.tiles.tile import Chip, Reading, Tile
from crossjax.tiles.writing import build, write

__all__ = [
    "Analog", "BaseCell", "Chip", "Complementary", "Differential", "Digital", "Grid", "Injection", "Pairs", "Reading",
    "SharedReference", "Strategy", "Subtraction", "Tile", "UnitCell", "adc_inputs", "bit_slices", "build",
    "calibrate_ranges", "mvm", "read", "remember",
    "typical_ranges", "weights_at", "with_thresholds", "write",
]  # fmt: skip
