"""Pulsed devices by name, with the numbers of IBM's aihwkit 1.2, whose users know them; sources in their docstrings.

Numbers of aihwkit's ``configs/devices.py``. Steps and bounds are in units of a weight of 1.
"""

from __future__ import annotations

from collections.abc import Callable

from crossjax._checks import check_name
from crossjax._kinds import door
from crossjax._pytree import replace
from crossjax.pulsed.device import Pulsed
from crossjax.pulsed.steps import ExpStep, LinearStep, SaturatingStep, neurosim_curvature, soft_bounds
from crossjax.pulsed.tables import JumpTable


def ideal() -> Pulsed:
    """A linear, symmetric device of 1,000 states without any spread or noise, between −1 and 1."""
    return Pulsed(step=0.002)


def idealized() -> Pulsed:
    """The IdealizedPreset of aihwkit: constant steps of 0.0002 (10,000 states), spreads of 0.3."""
    return Pulsed(step=0.0002, step_spread=0.3, low_spread=0.3, high_spread=0.3, asymmetry_spread=0.0, noise=0.3)


def gokmen_vlasov() -> Pulsed:
    """Constant steps of 0.0016 (1,200 states); Gokmen and Vlasov, Front. Neurosci. 10:333 (2016)."""
    return replace(idealized(), step=0.0016, asymmetry_spread=0.01)


def reram_es() -> Pulsed:
    """ReRAM with exponential steps: Gong et al., Nat. Commun. 9:2102 (2018)."""
    law = ExpStep(a_up=-1.18445, a_down=-0.081404, gamma_up=5.0, gamma_down=5.0, a=-0.5, b=-0.5)
    return Pulsed(
        law, step=0.00135, asymmetry=0.259359, step_spread=0.2, asymmetry_spread=0.05, low_spread=0.3, high_spread=0.3,
        noise=5.0, write_noise=75.0,
    )  # fmt: skip


def reram_sb() -> Pulsed:
    """ReRAM with soft bounds, the numbers of aihwkit's ReRamSBPreset: another fit to Gong et al. (2018)."""
    return Pulsed(
        soft_bounds(), step=0.002, low=-0.75, high=1.25, step_spread=0.3, asymmetry_spread=0.01, low_spread=0.4,
        high_spread=0.24, noise=3.75, additive=True, write_noise=56.0,
    )  # fmt: skip


def capacitor() -> Pulsed:
    """A capacitor in 14 nm CMOS, nearly linear, leaking: Li et al., VLSI 2018."""
    return Pulsed(
        LinearStep(0.05, 0.05, spread=0.01), step=0.005, step_spread=0.1, asymmetry_spread=0.06, low_spread=0.07,
        high_spread=0.07, noise=0.3, additive=True, lifetime=1e6, lifetime_spread=0.3,
    )  # fmt: skip


def ecram() -> Pulsed:
    """Lithium electrochemical RAM: Tang et al., IEDM 2018."""
    law = LinearStep(0.1153, 0.5085, spread=0.05, low=-0.8276, high=1.1724)
    return Pulsed(
        law, step=0.002, low=-0.8276, high=1.1724, step_spread=0.1, asymmetry_spread=0.01, low_spread=0.05,
        high_spread=0.05, noise=0.3,
    )  # fmt: skip


def ecram_mo() -> Pulsed:
    """Metal-oxide electrochemical RAM: Kim et al., IEDM 2019."""
    law = LinearStep(0.4152, 0.7342, spread=0.05, low=-0.8286, high=1.1714)
    return replace(ecram(), law=law, step=2.8214e-4, low=-0.8286, high=1.1714, noise=2.0)


def pcm() -> Pulsed:
    """Phase-change memory under SET pulses, for one of a one-sided pair, 0 to 2; a pulse down is a RESET.

    aihwkit's PCMPreset; Nandakumar et al., J. Appl. Phys. 124:152135 (2018).
    """
    law = ExpStep(a_up=-27.235, a_down=-2.235, gamma_up=2.5, gamma_down=2.5, a=-1.0, b=0.0)
    return Pulsed(
        law, step=0.01, low=0.0, high=2.0, step_spread=0.2, asymmetry_spread=0.05, high_spread=0.1, noise=0.6,
        noise_floor=0.042, noise_slope=0.108, reset=0.01, reset_spread=0.02, reset_noise=0.01,
    )  # fmt: skip


def reram_om() -> Pulsed:
    """An array of optimised-material ReRAM, read against its symmetry point; Gong et al., IEDM 2022."""
    return _array(0.0949, 0.7829, 0.3499, 0.5695, 0.4158, 1.4113)


def reram_hfo2() -> Pulsed:
    """An array of baseline HfO₂ ReRAM, read against its symmetry point; Gong et al., IEDM 2022."""
    return _array(0.4622, 0.7125, 0.4295, 0.5990, 0.2174, 0.5841)


def _array(step: float, spread: float, high_spread: float, low_spread: float, noise: float, write: float) -> Pulsed:
    return Pulsed(
        soft_bounds(), step=step, step_spread=spread, lognormal=True, asymmetry_spread=0.01, low_spread=low_spread,
        high_spread=high_spread, noise=noise, additive=True, write_noise=write, reference_spread=0.05,
        at_symmetry=True,
    )  # fmt: skip


@door
def from_table(table: JumpTable) -> Pulsed:
    """The device that a jump table was measured on, 0 to 1 over its range: the table's mean step is the device's.

    `Pulsed.step` scales the jumps, so that another step than this one would be another device.
    """
    return Pulsed(table, step=table.mean, low=0.0, high=1.0)


def ag_a_si() -> Pulsed:
    """Ag:a-Si, 3 to 38 nS as 0 to 1: 500 levels, NeuroSim's nonlinearity 2.4 / 4.88, noise of 3.5 % of the range.

    Jo et al., Nano Lett. 10:1297 (2010), by XBTorch's numbers.
    """
    law = SaturatingStep(500.0, neurosim_curvature(2.4), neurosim_curvature(4.88))
    return Pulsed(law, step=1 / 500, low=0.0, high=1.0, noise=0.035 * 500, additive=True)


PULSED: dict[str, Callable[[], Pulsed]] = {
    "ideal": ideal,
    "idealized": idealized,
    "gokmen_vlasov": gokmen_vlasov,
    "reram_es": reram_es,
    "reram_sb": reram_sb,
    "capacitor": capacitor,
    "ecram": ecram,
    "ecram_mo": ecram_mo,
    "pcm": pcm,
    "reram_om": reram_om,
    "reram_hfo2": reram_hfo2,
    "ag_a_si": ag_a_si,
}


@door
def get(name: str) -> Pulsed:
    """A pulsed device by its name.

    Raises:
        ValueError: for an unknown name; says the nearest one.
    """
    check_name(name, tuple(PULSED), "pulsed device")
    return PULSED[name]()
