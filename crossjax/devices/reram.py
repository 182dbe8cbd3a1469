"""Resistive RAM (filamentary oxides): programming error as published, no drift exponent."""

from __future__ import annotations

import math

from crossjax._kinds import door
from crossjax.devices.device import Device
from crossjax.devices.laws import ClippedLine, ClippedLog, Polynomial, Relative
from crossjax.devices.noise import FlickerNoise, LogRelaxation, ProgrammingError

_WAN = {
    "1 s": (0.348, 16.03, -43.853, 45.393, -16.815),
    "1 d": (0.701, 22.086, -50.773, 47.095, -16.458),
    "2 d": (0.782, 20.274, -43.507, 37.062, -11.934),
}


@door
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
    return Device(g_max=g_max, programming=error)


def reram_milo() -> Device:
    """HfO₂ RRAM, 50 to 225 µS: σ = max(−0.009107 g + 4.782321, 0) µS.

    Milo et al., IRPS 2021. Conductances below 50 µS were not measured: g_min is 50, and no write lands below it.
    """
    error = ProgrammingError(ClippedLine(-0.009107 * 225.0, 4.782321), g_ref=225.0)
    return Device(g_max=225.0, g_min=50.0, programming=error)


_CMO = {0.2: (0.00081107, 0.00106879), 2.0: (0.0112185391, 0.01129027418)}


@door
def reram_cmo(*, acceptance: float = 0.2) -> Device:
    """CMO/HfOₓ RRAM, 9 to 88.19 µS: programming error, relaxation and 1/f noise, from 1 s after programming.

    * σ_P = c₀ + c₁ g µS, by the acceptance of program-and-verify (close to a uniform error of ± the acceptance);
    * relaxation, the same at every conductance: `LogRelaxation` by −0.089 ln τ + (0.412 + 0.0420 ln τ) ξ µS;
    * 1/f noise σ = 0.02773 log₁₀(g / µS) √ln((τ + t_read) / 2 t_read) µS, τ = t + 1 s, t_read = 1 µs, here a
      fraction of the conductance by log₁₀ at the programmed value.

    Falcone et al., arXiv:2502.04524 (2025): an array of analog filamentary CMO/HfOₓ cells, programmed by
    program-and-verify. The coefficients are those of IBM's aihwkit, which has the fit, and the range of conductances
    is its example's; of the paper only the abstract was read. aihwkit clips what relaxation leaves to that range and
    draws it anew at every evaluation; here it may leave the range, and is drawn once.

    Args:
        acceptance: how near its target a device must be to be accepted, %: 0.2 or 2.

    Raises:
        ValueError: for another acceptance.
    """
    if acceptance not in _CMO:
        raise ValueError(f"acceptance must be 0.2 or 2 % of the target, as CMO RRAM was programmed; got {acceptance!r}")
    g_max, noise = 88.19, 0.0277316483
    c0, c1 = _CMO[acceptance]
    absolute = ClippedLog(noise / math.log(10.0), noise * math.log10(g_max), 0.0, 1.0)  # µS; 1 is out of reach
    return Device(
        g_max=g_max,
        g_min=9.0,
        programming=ProgrammingError(Polynomial((c0, c1 * g_max)), g_ref=g_max),
        drift=LogRelaxation(-0.08900206, (0.41183342, 0.04201137), g_ref=g_max, t_0=1.0),
        flicker=FlickerNoise(Relative(absolute, g_max), t_0=1.0, t_read=1e-6),
    )
