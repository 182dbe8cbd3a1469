"""Resistive RAM (filamentary oxides): programming error as published, no drift exponent."""

from __future__ import annotations

from crossjax.devices.device import Device
from crossjax.devices.laws import ClippedLine, Polynomial
from crossjax.devices.noise import ProgrammingError
from crossjax.devices.writes import Rewrite

_WAN = {
    "1 s": (0.348, 16.03, -43.853, 45.393, -16.815),
    "1 d": (0.701, 22.086, -50.773, 47.095, -16.458),
    "2 d": (0.782, 20.274, -43.507, 37.062, -11.934),
}


def reram_wan(g_max: float = 40.0, *, after: str = "1 s") -> Device:
    """HfO₂ RRAM of the NeuRRAM chip: σ of the conductance a given time after write-verify.

    Fourth-order fit in x = g / 40 µS to Wan et al., Nature 608:504 (2022); relaxation is part of the fit, so
    the error is the one at ``after``. Scaled in proportion at another g_max.

    Args:
        g_max: largest conductance, µS.
        after: "1 s", "1 d" or "2 d" since programming.

    Raises:
        ValueError: for another time.
    """
    if after not in _WAN:
        raise ValueError(f"RRAM errors were measured after {', '.join(_WAN)}; got {after!r}")
    error = ProgrammingError(Polynomial(_WAN[after]), g_ref=40.0)
    return Device(g_max=g_max, programming=error, write=Rewrite(error))


def reram_milo() -> Device:
    """HfO₂ RRAM, 50 to 225 µS: σ = max(−0.009107 g + 4.782321, 0) µS.

    Milo et al., IRPS 2021. Conductances below 50 µS were not measured: g_min is 50.
    """
    error = ProgrammingError(ClippedLine(-0.009107 * 225.0, 4.782321), g_ref=225.0)
    return Device(g_max=225.0, g_min=50.0, programming=error, write=Rewrite(error))
