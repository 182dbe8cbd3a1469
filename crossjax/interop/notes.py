"""What an import found: the hardware, and what of the original is not, or not quite, in it."""

from __future__ import annotations

from typing import Any, NamedTuple


class Imported(NamedTuple):
    """Hardware from elsewhere.

    Attributes:
        hardware: a `crossjax.Tile`, or a `crossjax.nn.Learning`.
        injections: what disturbs weights while training, for `crossjax.nn.to_analog`.
        notes: what has no counterpart ("left out: …") and what is only nearly the same ("nearly: …").
    """

    hardware: Any
    injections: tuple[Any, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def tile(self) -> Any:
        """The hardware, where it is a tile."""
        return self.hardware

    def __str__(self) -> str:
        return "\n".join([str(self.hardware), *(f"  {note}" for note in self.notes)])


class Notes:
    """Notes while they are taken."""

    def __init__(self) -> None:
        self._lacking: dict[str, None] = {}
        self._near: dict[str, None] = {}

    def lacks(self, what: str) -> None:
        """Something has no counterpart."""
        self._lacking[what] = None

    def near(self, what: str) -> None:
        """Something is only nearly the same."""
        self._near[what] = None

    def finished(self, unsupported: str) -> tuple[str, ...]:
        """All of them.

        Raises:
            ValueError: if something has no counterpart and ``unsupported`` is "refuse".
        """
        if self._lacking and unsupported == "refuse":
            raise ValueError(
                f"crossjax has no counterpart of {'; '.join(self._lacking)}. "
                'unsupported="report" leaves them out, and lists them'
            )
        return (*(f"left out: {what}" for what in self._lacking), *(f"nearly: {what}" for what in self._near))
