"""A photonic array, put together."""

from __future__ import annotations

from crossjax._kinds import door
from crossjax.photonic.gst import gst
from crossjax.photonic.wdm import WDM, Detector
from crossjax.tiles import Pairs, Tile


@door
def array(
    rows: int = 256,
    cols: int = 256,
    *,
    levels: int | None = 16,
    energy_noise: float | None = 0.01,
    crosstalk: WDM | None = WDM(),
    detector: Detector | None = Detector(),
) -> Tile:
    """An array of GST synapses: weights as differences of two transmissions, a wavelength a row, a detector a line.

    Args:
        rows, cols: of one array.
        levels: of a synapse; None: any.
        energy_noise: of a write pulse, relative.
        crosstalk: between wavelengths; None for none.
        detector: its noise; None for none.

    Raises:
        ValueError: for numbers out of range.
    """
    device = gst(levels, noise=energy_noise)
    return Tile(
        rows, cols, device=device, cell=Pairs(), noise=detector, wires=crosstalk, subtract="digital", compensation=None
    )
