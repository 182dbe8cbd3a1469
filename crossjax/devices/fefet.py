"""Ferroelectric transistors in a crossbar: the spread of threshold voltages seen as one of conductances."""

from __future__ import annotations

from crossjax._checks import ensure_range
from crossjax._kinds import door
from crossjax.devices.device import Device
from crossjax.devices.laws import Constant
from crossjax.devices.noise import ProgrammingError


@door
def fefet(g_max: float = 10.0, *, spread: float = 0.03, overdrive: float = 0.6, on_off: float = 1e4) -> Device:
    """A FeFET in its linear region: G ∝ V_G − V_th, so that σ_G = g_max · σ_Vth / overdrive whatever G is.

    A long-channel transistor in the triode region, read at one V_G; a target of g_min is an erased transistor, which is
    off and does not spread. Numbers of a plausible one, not of a publication. Retention, read disturb and cycling are
    not modelled.

    Args:
        g_max: conductance of the lowest threshold, µS.
        spread: standard deviation of threshold voltages from write to write, V.
        overdrive: V_G − V_th of that state, V.
        on_off: ratio of g_max to what an off transistor leaks.

    Raises:
        ValueError: for numbers that are not positive (0, for the spread), or a ratio of at most 1.
    """
    for name, value in (("g_max", g_max), ("overdrive", overdrive)):
        ensure_range(name, value, low=0, strict=True)
    ensure_range("spread", spread, low=0)
    ensure_range("on_off", on_off, low=1, strict=True)
    error = ProgrammingError(Constant(g_max * spread / overdrive), g_ref=g_max)
    return Device(g_max=g_max, g_min=g_max / on_off, programming=error, reset_zero=True)
