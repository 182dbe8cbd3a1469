"""The datasheet of some hardware: the command ``crossjax describe``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

import crossjax as cx
from crossjax import hardware_files, plot, report
from crossjax.datasheet import Datasheet
from crossjax.hardware_files import to_document
from crossjax.plot.devices import CAPTION as DEVICE


def describe(
    hardware: Annotated[str, tyro.conf.Positional], *, out: Path | None = None, force: bool = False
) -> Path | dict[str, object]:
    """Print a one-page datasheet of some hardware: parts, numbers, units, meanings and sources.

    Args:
        hardware: a preset (ideal, pcm, pcm_msp_lsp, hermes, standard), a part ("devices.reram_wan", "ADC"), or a .toml
            or .json file.
        out: folder for the datasheet with plots (report.html) and the hardware (hardware.toml); default: only print.
        force: replace an existing folder.

    Returns:
        The folder; without one the hardware as a dictionary.

    Raises:
        ValueError: for an unknown name (the nearest one is suggested), or a file that describes no hardware.
        OSError: for a missing file, or a folder that exists or cannot be written.
    """
    found = hardware_files.find(hardware)
    bare = isinstance(found, type) or (callable(found) and not hardware_files.is_part(found))
    if bare and out is not None:
        raise ValueError(
            f"{hardware} is a class without numbers: a datasheet with plots needs a preset, a device or a file"
        )
    sheet = cx.describe(found) if hardware.lower().endswith(hardware_files.KINDS) else cx.describe(hardware)
    for line in str(sheet).splitlines():
        report.say(line)
    if out is None:
        return {line.name: line.meaning for line in sheet.lines} if bare else dict(to_document(found))
    inputs = {"hardware": hardware, "document": to_document(found)}
    with report.open_run("describe", out, inputs, force=force) as run:
        return write(run, sheet, found)


def write(run: report.Run, sheet: Datasheet, found: object) -> Path:
    """The table, the plots of the device, hardware.toml, result.json and report.html."""
    run.keep(
        f"{sheet.title}: every number", ["field", "value", "meaning"],
        [[line.name, line.value, line.meaning] for line in sheet.lines],
    )  # fmt: skip
    run.csv("datasheet", {k: [getattr(line, k) for line in sheet.lines] for k in ("name", "value", "meaning")})
    device = found.device if isinstance(found, cx.Tile) else found
    kinds = device.parts if isinstance(device, cx.devices.Mixed) else (device,)
    for k, kind in enumerate(kinds, 1):
        if isinstance(kind, cx.Device):
            name = "device" if len(kinds) == 1 else f"device_{k}"
            run.plot(name, plot.device(kind)[0].figure, DEVICE)
    hardware_files.save_hardware(run.results / "hardware.toml", found)
    return run.finish([report.figure("fields", len(sheet.lines))], sheet.text.replace("{", "{{").replace("}", "}}"))
