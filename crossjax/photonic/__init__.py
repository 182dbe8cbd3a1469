"""Photonic arrays: phase-change synapses on waveguides, rings, wavelengths on one bus, detectors, and spiking cells.

>>> tile = cx.photonic.array(rows=784, cols=256)   # a `Tile`: 16 levels of GST, 16 wavelengths a bus
>>> chip, _ = cx.program(key, tile, weights)
"""

from crossjax.photonic.gst import Film, GSTPulse, gst
from crossjax.photonic.neuron import GSTNeuron
from crossjax.photonic.presets import array
from crossjax.photonic.rings import Ring, add_drop, all_pass, mixed_index
from crossjax.photonic.wdm import WDM, Detector

__all__ = [
    "WDM", "Detector", "Film", "GSTNeuron", "GSTPulse", "Ring", "add_drop", "all_pass", "array", "gst", "mixed_index",
]  # fmt: skip
