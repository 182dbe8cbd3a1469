"""Charge-trapping memory (SONOS): programming error and read noise of a subthreshold cell, in its read current."""

from __future__ import annotations

from crossjax._checks import ensure
from crossjax._kinds import door
from crossjax.devices.device import Device
from crossjax.devices.laws import Saturating, Squared
from crossjax.devices.noise import ProgrammingError, ReadNoise

NA_PER_US = 100.0
"""Read current per conductance: 0.1 V, the read voltage at which CrossSim's 1600 nA are its 16 µS."""


@door
def sonos(i_max: float = 1600.0) -> Device:
    """40 nm SONOS, right after programming; conductance is read current at 0.1 V, so 1600 nA are 16 µS.

    * error σ = 19.88665 (1 − e^(−I / 176.3115 nA)) nA: write error and variation from device to device;
    * noise of one MVM σ = 12.58037 (1 − e^(−I / 215.36557 nA)) nA per device.

    Agrawal et al., IEDM 2022, 21.7, figures 10(a) and 11(b): statistics of 128 K devices, whose currents are
    published; the coefficients are CrossSim's fits to the figures, the paper itself was not read. A cell has one
    read voltage, and CrossSim's pair of numbers (1600 nA, 16 µS) makes it 0.1 V. What retention adds over 1 to 5
    days (figure 10: a shift of the mean and a growing spread) is not modelled: without drift, the device keeps its
    error of day 0 for ever.

    Args:
        i_max: current of a full conductance, nA; the errors do not depend on it. At most 3200, the largest
            current of the fits.

    Raises:
        ValueError: for a current outside (0, 3200] nA.
    """
    fitted = "SONOS currents are fitted up to 3200 nA: i_max must be in (0, 3200]"
    ensure(lambda i: (i > 0) & (i <= 3200), fitted, i_max)
    g_max = i_max / NA_PER_US
    error = Saturating(19.88665 / NA_PER_US, i_max / 176.3115)
    noise = Saturating(12.58037 / NA_PER_US, i_max / 215.36557)
    return Device(
        g_max=g_max,
        programming=ProgrammingError(error, g_ref=g_max),
        read=ReadNoise(Squared(noise), g_ref=g_max),
    )
