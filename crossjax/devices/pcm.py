"""Phase-change memory: the statistical model, the HERMES core's devices, and the pulse-level model."""

from __future__ import annotations

from crossjax._checks import ensure_range
from crossjax._kinds import door
from crossjax.devices.device import Device
from crossjax.devices.laws import Branches, ClippedLog, ClippedPower, Constant, Polynomial
from crossjax.devices.melt_quench import MeltQuench
from crossjax.devices.noise import ByPulses, FlickerNoise, PowerLawDrift, ProgrammingError, ReadNoise
from crossjax.devices.set_pulses import SetPulses


@door
def pcm(g_max: float = 25.0, *, reset_zero: bool = False) -> Device:
    """Doped-GST mushroom-cell PCM, 90 nm: the statistical model of a million devices.

    * programming error σ_P = 0.26348 + 1.9650 x − 1.1731 x² µS, x = g_T / 25 µS, scaled with g_max;
    * drift ν ~ |N(μ_ν, σ_ν)|, first read 20 s after programming;
    * accumulated 1/f noise, reads of 250 ns;
    * noise of one MVM σ = 0.0175 √(g g_max) per device.

    Nandakumar et al., ICECS 2019; Joshi et al., Nat. Commun. 11:2473 (2020); Rasch et al., Nat. Commun.
    14:5282 (2023). A write pulse is a partial RESET with 0.7 of σ_P.

    Args:
        g_max: largest conductance, µS.
        reset_zero: see `Device`.
    """
    error = ProgrammingError(Polynomial((0.26348, 1.9650, -1.1731)), g_ref=25.0)
    return Device(
        g_max=g_max,
        programming=error,
        drift=PowerLawDrift(
            mean=ClippedLog(-0.0155, 0.0244, 0.049, 0.1),
            spread=ClippedLog(-0.0125, -0.0059, 0.008, 0.045),
            t_0=20.0,
        ),
        flicker=FlickerNoise(ClippedPower(0.0088, 0.65, 0.2), t_0=20.0, t_read=250e-9),
        read=ReadNoise(Polynomial((0.0, 0.0175**2 * 25.0**2)), g_ref=25.0),
        write=MeltQuench(noise=0.7, spread=0.05),
        reset_zero=reset_zero,
    )


@door
def hermes(devices_per_polarity: int = 2, *, reset_zero: bool = False) -> Device:
    """PCM of IBM's 14 nm HERMES core: one or two devices in parallel on each polarity.

    Statistics fitted to the core (Le Gallo et al., Nat. Electron. 6:680 (2023)); `Device` describes one
    polarity of the cell, so g_max is 20.7 µS for two devices and 10.35 µS for one.

    Args:
        devices_per_polarity: 1 or 2.
        reset_zero: see `Device`.

    Raises:
        ValueError: for any other number of devices.
    """
    if devices_per_polarity == 2:
        g_max, t_0 = 20.7, 300.0
        sigma = Polynomial((0.16603222, 4.71806468, -8.48101252, 4.68961419))
        spread = Branches(0.3055, ClippedLog(-0.0117, -0.0057, 0.0091, 0.04), Polynomial((0.0073, 0.0093, -0.0118)))
        q = Branches(0.16, ClippedLog(-0.0117, -0.0069, 0.015, 0.04), Polynomial((0.0123, 0.0211, -0.0280, 0.0069)))
    elif devices_per_polarity == 1:
        g_max, t_0 = 10.35, 200.0
        sigma = Polynomial((0.15781817, 2.32443916, -2.16310839, 0.68841818))
        spread = Branches(0.3039, ClippedLog(-0.0120, -0.0023, 0.0124, 0.04), Polynomial((0.0104, 0.0116, -0.0165)))
        q = Branches(0.1591, ClippedLog(-0.0078, 0.0038, 0.0179, 0.04), Polynomial((0.0088, 0.0768, -0.1352, 0.0664)))
    else:
        raise ValueError(f"the HERMES cell has 1 or 2 devices per polarity, got {devices_per_polarity!r}")
    mean = Branches(0.0945, ClippedLog(-0.0387, -0.0182, 0.072, 0.13), Polynomial((0.0736, -0.0126, -0.0436)))
    error = ProgrammingError(sigma, g_ref=g_max)
    return Device(
        g_max=g_max,
        programming=error,
        drift=PowerLawDrift(mean, spread, t_0),
        flicker=FlickerNoise(q, t_0, t_read=512e-9),
        write=MeltQuench(noise=0.7, spread=0.06),
        reset_zero=reset_zero,
        parallel=devices_per_polarity,
    )


@door
def pcm_pulsed(g_max: float = 20.0) -> Device:
    """PCM at pulse level: accumulating SET pulses and RESET, g in [0.1, g_max] µS.

    Nandakumar et al., J. Appl. Phys. 124:152135 (2018): read noise σ = 0.03 g + 0.13 µS, ν = 0.04 from
    t_0 = 38.6 s. Programming to a target has no statistical law here: it is a sequence of pulses.

    Args:
        g_max: where conductance is clipped, µS; the published model clips at 20, and 20 pulses reach 9.4.
    """
    ensure_range("g_max", g_max, low=0.1, strict=True)
    a, b = 0.03, 0.13
    return Device(
        g_max=g_max,
        g_min=0.1,
        programming=ByPulses(),
        drift=PowerLawDrift(Constant(0.04), None, t_0=38.6),
        read=ReadNoise(Polynomial((b * b, 2 * a * b * g_max, (a * g_max) ** 2)), g_ref=g_max),
        write=SetPulses(),
    )
