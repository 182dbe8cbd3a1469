"""How far a training run is."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Bar:
    """A progress bar with loss, accuracy and images/s; use it as a context.

    Args:
        label: its text.
        steps, begin: of the whole run, and those done before.
        shown: where there is a terminal or a notebook.
    """

    def __init__(self, label: str, steps: int, begin: int, *, shown: bool = True) -> None:
        columns = (
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]:.3f}  accuracy {task.fields[accuracy]:.3f}  "
                       "{task.fields[speed]:.0f} images/s"),
            TimeRemainingColumn(),
        )  # fmt: skip
        console = Console()
        seen = console.is_terminal or console.is_jupyter  # elsewhere a bar leaves nothing but empty lines
        self.progress = Progress(*columns, console=console, transient=True, disable=not (shown and seen))
        self.task = self.progress.add_task(
            label, total=steps, completed=begin, loss=float("nan"), accuracy=float("nan"), speed=0.0
        )

    def __enter__(self) -> Bar:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def show(self, done: int, loss: float, accuracy: float, speed: float) -> None:
        """How far it is."""
        self.progress.update(self.task, completed=done, loss=loss, accuracy=accuracy, speed=speed)
