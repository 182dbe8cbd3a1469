"""Devices by name: what the command line's ``--device`` takes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from crossjax._checks import check_name
from crossjax._kinds import door
from crossjax.devices.device import Device
from crossjax.devices.fefet import fefet
from crossjax.devices.generic import ideal
from crossjax.devices.pcm import hermes, pcm, pcm_pulsed
from crossjax.devices.reram import reram_cmo, reram_milo, reram_wan
from crossjax.devices.sonos import sonos

DEVICES: dict[str, Callable[[], Device]] = {
    "pcm": pcm,
    "pcm_pulsed": pcm_pulsed,
    "hermes": hermes,
    "hermes_single": partial(hermes, 1),
    "reram_wan": reram_wan,
    "reram_milo": reram_milo,
    "reram_cmo": reram_cmo,
    "sonos": sonos,
    "fefet": fefet,
    "ideal": ideal,
}


@door
def get(name: str) -> Device:
    """A device by its name, with its published numbers.

    Raises:
        ValueError: for an unknown name; says the nearest one.
    """
    check_name(name, tuple(DEVICES), "device")
    return DEVICES[name]()
