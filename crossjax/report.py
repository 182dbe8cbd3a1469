"""What a run leaves behind: a folder with result.json, CSV curves, PNG plots and a page that shows them.

A run works in ``DIR.partial`` (`crossjax.run_folder`) and becomes ``DIR`` when everything is written. A stage that
finished is remembered there, so that an interrupted run with the same inputs goes on where it stopped.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from crossjax.report_page import page
from crossjax.run_folder import RunFolder, atomic, write_text

console = Console(width=None if sys.stdout.isatty() else 140)


def figure(name: str, ours: float, *, paper: float | None = None, unit: str = "") -> dict[str, Any]:
    """One entry of result.json's ``figures``: what we measured beside what the paper says."""
    return {"name": name, "paper": paper, "ours": float(ours), "unit": unit}


class Run:
    """One run. Create it with `open_run`.

    Attributes:
        work: its folder while it runs; what is kept there is gone when it is finished.
        results: what the finished folder will hold.
    """

    def __init__(self, name: str, folder: RunFolder, inputs: Mapping[str, Any], tag: str, *, force: bool) -> None:
        self.name, self.inputs, self.force = name, dict(inputs), force
        self.work, self.results = folder.work, folder.results
        self._folder, self._tag = folder, tag
        self.begin = time.perf_counter()
        self.images: list[tuple[str, str]] = []
        self.tables: list[tuple[str, list[str], list[list[str]]]] = []

    def stage(self, name: str, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The (JSON-able) result of ``compute``, or what it gave before the run was interrupted.

        A kept result that was damaged or edited meanwhile is computed again, and named.
        """
        file = self.work / "stages" / f"{hashlib.sha256(name.encode(errors='backslashreplace')).hexdigest()[:16]}.json"
        if file.exists():
            try:
                kept = json.loads(file.read_text(encoding="utf-8"))
                if kept["sha256"] == self._digest(name, kept["result"]):
                    return kept["result"]
            except (ValueError, KeyError, TypeError, RecursionError):
                pass
            say(f"{file} is damaged: computing {printable(name)} again")
        result = json.loads(json.dumps(compute(), default=_plain))
        write_text(file, json.dumps({"stage": name, "sha256": self._digest(name, result), "result": result}))
        return result

    def csv(self, name: str, columns: Mapping[str, Sequence[Any]]) -> None:
        """Write equally long columns to NAME.csv; text that a spreadsheet would take for a formula is quoted by '."""
        with (
            atomic(self.results / f"{name}.csv") as file,
            file.open("w", newline="", encoding="utf-8", errors="backslashreplace") as stream,
        ):
            writer = csv.writer(stream)
            writer.writerow(map(_inert, columns))
            writer.writerows(map(_inert, row) for row in zip(*columns.values(), strict=True))

    def plot(self, name: str, figure: Any, caption: str) -> None:
        """Save a Matplotlib figure as NAME.png; the caption says what its axes, curves and bands are."""
        with atomic(self.results / f"{name}.png") as file:
            figure.savefig(file, dpi=144, bbox_inches="tight", format="png")
        self.images.append((name, " ".join(caption.split())))

    def table(self, title: str, head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Print a table and keep it for the report."""
        text = self.keep(title, head, rows)
        shown = Table(title=Text(title), title_justify="left")
        for k, column in enumerate(head):
            shown.add_column(Text(column), justify="left" if k == 0 else "right")
        for row in text:
            shown.add_row(*map(Text, row))
        console.print(shown)

    def keep(self, title: str, head: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[list[str]]:
        """Keep a table for the report without printing it; returns its cells as text."""
        text = [[printable(str(cell)) for cell in row] for row in rows]
        self.tables.append((title, list(head), text))
        return text

    def finish(self, figures: Sequence[dict[str, Any]], said: str, **extra: Any) -> Path:
        """Write result.json and report.html, and give the folder its final name.

        Args:
            figures: entries of result.json, see `figure`; a table of the report, beside the paper's where it has them.
            said: what was done and what was found, in two sentences; ``{name}`` stands for a figure, with a format as
                in f-strings. Printed, and how the report opens.
            extra: what else result.json has.

        Raises:
            FileExistsError: if something else has come to stand there meanwhile; the run stays unfinished.
            OSError: if it cannot be written.
        """
        seconds, said = time.perf_counter() - self.begin, said.format_map({f["name"]: f["ours"] for f in figures})
        result = {
            "name": self.name,
            "found": said,
            "inputs": self.inputs,
            **extra,
            "seconds": round(seconds, 2),
            "versions": versions(),
            "device": device(),
            "figures": list(figures),
        }
        self._table_of(figures)
        facts = {k: v for k, v in json.loads(json.dumps(result, default=_plain)).items() if k != "figures"}
        plots = [(self.results / f"{name}.png", caption) for name, caption in self.images]
        write_text(
            self.results / "report.html",
            page(f"crossjax {self.name}", said, self.tables, plots, facts),
        )
        write_text(self.results / "result.json", json.dumps(result, indent=2, default=_plain) + "\n")
        self._folder.commit(force=self.force)
        out = self._folder.out
        say(said)
        say(f"{out / 'report.html'}  ({seconds:.1f} s)", style="bold")
        return out

    def _table_of(self, figures: Sequence[Mapping[str, Any]]) -> None:
        """The figures of result.json as a table, the paper's beside ours where there are any."""
        papers = any(f["paper"] is not None for f in figures)
        rows = [
            [
                f["name"],
                *([] if not papers else ["" if f["paper"] is None else f"{f['paper']:g}"]),
                "" if f["ours"] is None else f"{f['ours']:.5g}",
                f["unit"],
            ]
            for f in figures
        ]
        if rows:
            self.keep("Figures", ["figure", *(["paper"] if papers else []), "ours", "unit"], rows)

    def _digest(self, name: str, result: Any) -> str:
        """Of a stage's result, in this run and no other."""
        return hashlib.sha256(json.dumps([self._tag, name, result]).encode()).hexdigest()


@contextmanager
def open_run(
    name: str,
    out: Path | None,
    inputs: Mapping[str, Any],
    *,
    recorded: Mapping[str, Any] | None = None,
    force: bool = False,
) -> Iterator[Run]:
    """A run's folder, new or resumed, and this process's alone; an unfinished one stays as ``DIR.partial``.

    Args:
        name: of the experiment.
        out: the folder; None: ``runs/NAME``.
        inputs: all that decides the result, files by their digest: an interrupted run resumes with the same ones.
        recorded: what result.json shows beside them, such as where a file lay.
        force: replace the result of an earlier run when this one is complete, and discard an interrupted one with
            other inputs.

    Raises:
        BlockingIOError: if another process works on the folder.
        FileExistsError: if ``out`` exists and ``force`` is not set, or it or ``DIR.partial`` is not a run's.
        OSError: if it cannot be written.
        ValueError: if ``DIR.partial`` belongs to a run with other inputs and ``force`` is not set, or ``out`` is the
            current folder.
    """
    folder = RunFolder(Path("runs") / name if out is None else Path(out))
    tag = json.dumps({"name": name, "inputs": dict(inputs), "versions": versions()}, sort_keys=True, default=_plain)
    with folder.owned():
        if folder.begin(tag, force=force):
            say(f"resuming {folder.work}")
        try:
            yield Run(name, folder, {**(recorded or {}), **inputs}, tag, force=force)
        finally:
            folder.abandon()


def say(text: str, style: str | None = None) -> None:
    """Print one line as it is: square brackets are no markup, and long paths are not broken."""
    console.print(Text(printable(text), style or ""), soft_wrap=True)


def printable(text: str) -> str:
    """Text from a file as a terminal, a table or a plot may show it: control characters are written out."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def file_digest(path: Path) -> str:
    """SHA-256 of a file, so that a resumed run can tell whether its input changed."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def versions() -> dict[str, str]:
    """Versions that decide a result."""
    import jax

    from crossjax import __version__

    return {
        "crossjax": __version__,
        "jax": jax.__version__,
        "jaxlib": metadata.version("jaxlib"),
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def device() -> str:
    """What it ran on."""
    import jax

    first = jax.devices()[0]
    return f"{first.device_kind} ({os.cpu_count()} cores)" if first.platform == "cpu" else first.device_kind


def mean_sd(values: Any, digits: int = 4) -> str:
    """'mean ± SD' of a population."""
    values = np.asarray(values, float).ravel()
    return f"{values.mean():.{digits}f}" + (f" ± {values.std(ddof=1):.{digits}f}" if values.size > 1 else "")


def columns(samples: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Columns of a CSV: NAME, the means, and NAME SD, the standard deviations.

    ``samples``: of every column a sequence of rows, of every row the samples. One sample has no deviation, none has no
    mean either: those cells are empty.
    """
    found: dict[str, list[Any]] = {}
    for name, rows in samples.items():
        arrays = [np.asarray(r, float).ravel() for r in rows]
        found[name] = [float(a.mean()) if a.size else "" for a in arrays]
        found[f"{name} SD"] = [float(a.std(ddof=1)) if a.size > 1 else "" for a in arrays]
    return found


def _inert(cell: Any) -> Any:
    """A CSV cell that no spreadsheet computes."""
    if not isinstance(cell, str) or not cell.startswith(("=", "+", "-", "@", "\t", "\r")):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    return str(value)
