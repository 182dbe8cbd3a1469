"""What a reproduction is told, declared once: the command line, its help, and the inputs of the run follow from it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from crossjax import report
from crossjax._checks import check_name

Size = TypeVar("Size")


@dataclasses.dataclass(frozen=True)
class Options:
    """What every paper has; its own are a subclass, and the numbers of a run a frozen dataclass of presets.

    Attributes:
        preset: quick (two cores, minutes) or paper (as published; wants a GPU).
        seed: makes a run repeatable.
        out: folder for the results (default runs/PAPER).
        force: replace an existing folder.
    """

    preset: Literal["quick", "paper"] = "quick"
    seed: int = 0
    out: Path | None = None
    force: bool = False

    def sized(self, presets: Mapping[str, Size]) -> Size:
        """The preset, with the numbers that were given instead of its own.

        Raises:
            ValueError: for an unknown preset.
        """
        check_name(self.preset, tuple(presets), "preset")
        size: Any = presets[self.preset]
        given = {f.name: value for f in dataclasses.fields(size) if (value := vars(self).get(f.name)) is not None}
        return dataclasses.replace(size, **given)

    def inputs(self, size: Any, **found: Any) -> dict[str, Any]:
        """What decides the result, to be resumed with: the options, files by their digest, sizes and what was found.

        Raises:
            OSError: for a file that cannot be read.
        """
        own = {k: v for k, v in vars(self).items() if k not in ("out", "force")} | dataclasses.asdict(size) | found
        return {k: report.file_digest(v) if isinstance(v, Path) else v for k, v in own.items()}
