"""What a run leaves behind: a folder with result.json, CSV curves, PNG plots and a page that shows them.

A run works in ``DIR.partial`` and renames it to ``DIR`` when everything is written. A stage that finished is
remembered there, so that an interrupted run with the same inputs goes on where it stopped.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import html
import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

console = Console(width=None if sys.stdout.isatty() else 140)


def figure(name: str, ours: float, *, paper: float | None = None, unit: str = "") -> dict[str, Any]:
    """One entry of result.json's ``figures``: what we measured beside what the paper says."""
    return {"name": name, "paper": paper, "ours": float(ours), "unit": unit}


class Run:
    """One run's folder. Create it with `open_run`."""

    def __init__(self, name: str, out: Path, inputs: Mapping[str, Any]) -> None:
        self.name, self.out, self.inputs = name, out, dict(inputs)
        self.work = out.with_name(out.name + ".partial")
        self.begin = time.perf_counter()
        self.images: list[str] = []
        self.tables: list[tuple[str, list[str], list[list[str]]]] = []

    def stage(self, name: str, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The (JSON-able) result of ``compute``, or what it gave before the run was interrupted."""
        file = self.work / "stages" / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.json"
        if file.exists():
            return json.loads(file.read_text())
        result = json.loads(json.dumps(compute(), default=_plain))
        write_text(file, json.dumps(result))
        return result

    def csv(self, name: str, columns: Mapping[str, Sequence[Any]]) -> None:
        """Write equally long columns to NAME.csv."""
        with atomic(self.work / f"{name}.csv") as file, file.open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(columns)
            writer.writerows(zip(*columns.values(), strict=True))

    def plot(self, name: str, figure: Any) -> None:
        """Save a Matplotlib figure as NAME.png."""
        with atomic(self.work / f"{name}.png") as file:
            figure.savefig(file, dpi=144, bbox_inches="tight", format="png")
        self.images.append(name)

    def table(self, title: str, head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Print a table and keep it for the report."""
        text = [[str(cell) for cell in row] for row in rows]
        shown = Table(title=title, title_justify="left")
        for k, column in enumerate(head):
            shown.add_column(column, justify="left" if k == 0 else "right")
        for row in text:
            shown.add_row(*map(escape, row))
        console.print(shown)
        self.tables.append((title, list(head), text))

    def finish(self, figures: Sequence[dict[str, Any]], **extra: Any) -> Path:
        """Write result.json and report.html, and give the folder its final name."""
        seconds = time.perf_counter() - self.begin
        result = {
            "name": self.name,
            "inputs": self.inputs,
            **extra,
            "seconds": round(seconds, 2),
            "versions": versions(),
            "device": device(),
            "figures": list(figures),
        }
        write_text(self.work / "result.json", json.dumps(result, indent=2, default=_plain) + "\n")
        write_text(self.work / "report.html", self._page(result))
        shutil.rmtree(self.work / "stages", ignore_errors=True)
        (self.work / "inputs.json").unlink(missing_ok=True)
        if self.out.exists():  # --force
            shutil.rmtree(self.out)
        os.replace(self.work, self.out)
        console.print(f"[bold]{self.out / 'report.html'}[/bold]  ({seconds:.1f} s)")
        return self.out

    def _page(self, result: Mapping[str, Any]) -> str:
        def cells(tag: str, row: Sequence[str]) -> str:
            return "<tr>" + "".join(f"<{tag}>{html.escape(c)}</{tag}>" for c in row) + "</tr>"

        parts = [
            f"<h2>{html.escape(title)}</h2><table>{cells('th', head)}{''.join(cells('td', r) for r in rows)}</table>"
            for title, head, rows in self.tables
        ]
        for name in self.images:
            data = base64.b64encode((self.work / f"{name}.png").read_bytes()).decode()
            parts.append(f'<img alt="{html.escape(name)}" src="data:image/png;base64,{data}">')
        facts = {k: v for k, v in result.items() if k != "figures"}
        parts.append(f"<h2>Run</h2><pre>{html.escape(json.dumps(facts, indent=2, default=_plain))}</pre>")
        return _PAGE.format(title=html.escape(f"crossjax {self.name}"), body="\n".join(parts))


@contextmanager
def open_run(name: str, out: Path | None, inputs: Mapping[str, Any], *, force: bool = False) -> Iterator[Run]:
    """A run's folder, new or resumed; an unfinished one stays as ``DIR.partial``.

    Raises:
        FileExistsError: if ``out`` exists and ``force`` is not set.
        OSError: if it cannot be written.
        ValueError: if ``DIR.partial`` belongs to a run with other inputs and ``force`` is not set.
    """
    out = Path("runs") / name if out is None else Path(out)
    run = Run(name, out, inputs)
    if out.exists():
        if not force:
            raise FileExistsError(f"{out} exists: choose another --out, or replace it with --force")
        if not (out / "result.json").is_file():
            raise FileExistsError(
                f"{out} is not the folder of an earlier run: remove it yourself, or choose another --out"
            )
    tag = json.dumps({"name": name, "inputs": run.inputs, "versions": versions()}, sort_keys=True, default=_plain)
    mark = run.work / "inputs.json"
    if run.work.exists():
        same = mark.exists() and mark.read_text() == tag
        if not same and not force:
            raise ValueError(
                f"{run.work} is an interrupted run with other inputs: finish that one, or discard it with --force"
            )
        if not same or force:
            shutil.rmtree(run.work)
        else:
            console.print(f"resuming {run.work}")
    try:
        (run.work / "stages").mkdir(parents=True, exist_ok=True)
        if not mark.exists():
            write_text(mark, tag)
    except OSError as error:
        raise OSError(f"cannot write to {out.parent}: {error.strerror or error}") from error
    yield run


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path that becomes ``path`` if the block succeeds, and disappears if it does not."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a whole file or nothing."""
    with atomic(path) as file:
        file.write_text(text, encoding="utf-8")


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


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    return str(value)


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>
 body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }}
 table {{ border-collapse: collapse; margin: 0 0 1rem }} td, th {{ padding: .25rem .75rem; text-align: right }}
 td:first-child, th:first-child {{ text-align: left }} tr + tr {{ border-top: 1px solid #ddd }}
 img {{ max-width: 100%; margin: .5rem 0 }} pre {{ background: #f6f6f6; padding: 1rem; overflow: auto }}
</style></head><body><h1>{title}</h1>
{body}
</body></html>
"""
