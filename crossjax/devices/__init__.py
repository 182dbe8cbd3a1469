"""One memory device, elementwise on arrays of any shape: program, drift, read, pulse."""

from crossjax.devices.device import Device, DeviceState
from crossjax.devices.faults import Faults
from crossjax.devices.fefet import fefet
from crossjax.devices.generic import ideal, noisy
from crossjax.devices.laws import (
    Branches,
    ClippedLine,
    ClippedLog,
    ClippedPower,
    Constant,
    Law,
    Polynomial,
    Relative,
    Saturating,
    Squared,
)
from crossjax.devices.melt_quench import MeltQuench
from crossjax.devices.mixed import Mixed
from crossjax.devices.moments import moments
from crossjax.devices.named import DEVICES, get
from crossjax.devices.noise import (
    ByPulses,
    Drift,
    FlickerNoise,
    LogRelaxation,
    PowerLawDrift,
    ProgrammingError,
    ReadNoise,
)
from crossjax.devices.pcm import hermes, pcm, pcm_pulsed
from crossjax.devices.reram import reram_cmo, reram_milo, reram_wan
from crossjax.devices.set_pulses import SetPulses
from crossjax.devices.sonos import sonos
from crossjax.devices.writes import OwnError, Plan, Rewrite, Stepped, Write

__all__ = [
    "DEVICES", "Branches", "ByPulses", "ClippedLine", "ClippedLog", "ClippedPower", "Constant", "Device",
    "DeviceState", "Drift", "Faults", "FlickerNoise", "Law", "LogRelaxation", "MeltQuench", "Mixed", "OwnError", "Plan",
    "Polynomial", "PowerLawDrift", "ProgrammingError", "ReadNoise", "Relative", "Rewrite", "Saturating", "SetPulses",
    "Squared", "Stepped", "Write", "fefet", "get", "hermes", "ideal", "moments", "noisy", "pcm", "pcm_pulsed",
    "reram_cmo", "reram_milo", "reram_wan", "sonos",
]  # fmt: skip
