"""Devices without a material: ideal, and programming error of any size, shape and dependence."""

from __future__ import annotations

from crossjax._checks import ensure_range
from crossjax._kinds import door
from crossjax.devices.device import Device
from crossjax.devices.laws import ClippedPower, Constant, Law, Polynomial
from crossjax.devices.noise import PowerLawDrift, ProgrammingError


@door
def ideal(g_max: float = 25.0) -> Device:
    """A device that does what it is told."""
    return Device(g_max=g_max)


@door
def noisy(
    g_max: float = 25.0,
    *,
    sigma: float = 0.02,
    dependence: str = "independent",
    distribution: str = "normal",
    drift: float | None = None,
    t_0: float = 20.0,
) -> Device:
    """A device with a textbook programming error, and drift by a constant exponent if wanted.

    Args:
        g_max: largest conductance, µS.
        sigma: standard deviation as a fraction: of g_max (independent), of g (proportional), or of g_max at
            g = g_max (inverse, growing as g_max / g and capped at 0.2 g_max).
        dependence: "independent" g + ε, "proportional" g (1 + ε), or "inverse" g + ε / g.
        distribution: "normal" or "uniform", of that standard deviation.
        drift: drift exponent ν, None for none.
        t_0: seconds between programming and the first read.

    Raises:
        ValueError: for an unknown dependence or distribution, or a number that is negative (0, for g_max and t_0).
    """
    ensure_range("g_max", g_max, low=0, strict=True)
    ensure_range("sigma", sigma, low=0)
    ensure_range("drift", 0.0 if drift is None else drift, low=0)
    ensure_range("t_0", t_0, low=0, strict=True)
    laws: dict[str, Law] = {
        "independent": Constant(sigma * g_max),
        "proportional": Polynomial((0.0, sigma * g_max)),
        "inverse": ClippedPower(sigma * g_max, 1.0, 0.2 * g_max),
    }
    if dependence not in laws:
        raise ValueError(f"dependence must be one of {', '.join(laws)}, got {dependence!r}")
    error = ProgrammingError(laws[dependence], g_ref=g_max, distribution=distribution)
    law = None if drift is None else PowerLawDrift(Constant(drift), None, t_0)
    return Device(g_max=g_max, programming=error, drift=law)
