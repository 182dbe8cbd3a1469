"""One memory device, elementwise on arrays of any shape: program, drift, read, pulse."""

from crossjax.devices.device import Device, DeviceState
from crossjax.devices.faults import Faults
from crossjax.devices.generic import ideal, noisy
from crossjax.devices.laws import Branches, ClippedLine, ClippedLog, ClippedPower, Constant, Law, Polynomial
from crossjax.devices.noise import ByPulses, FlickerNoise, PowerLawDrift, ProgrammingError, ReadNoise
from crossjax.devices.pcm import hermes, pcm, pcm_pulsed
from crossjax.devices.reram import reram_milo, reram_wan
from crossjax.devices.writes import MeltQuench, Rewrite, SetPulses, Write

__all__ = [
    "Branches", "ByPulses", "ClippedLine", "ClippedLog", "ClippedPower", "Constant", "Device", "DeviceState", "Faults",
    "FlickerNoise", "Law", "MeltQuench", "Polynomial", "PowerLawDrift", "ProgrammingError", "ReadNoise", "Rewrite",
    "SetPulses", "Write", "hermes", "ideal", "noisy", "pcm", "pcm_pulsed", "reram_milo", "reram_wan",
]  # fmt: skip
