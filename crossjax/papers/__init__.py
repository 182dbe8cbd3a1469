"""Papers reproduced on their own data: what ``crossjax reproduce`` knows.

A new one is a module here, with a frozen dataclass ``Options`` (a subclass of `crossjax.papers.options.Options`: its
fields and their docstrings are the command line) and a function ``reproduce(options)``; and a line of `PAPERS`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from crossjax._checks import check_name
from crossjax.papers.options import Options

PAPERS = {
    "joshi2020": "noise-aware training, drift, GDC, AdaBS",
    "buchel2022": "gradient-descent programming",
    "mackin2022": "optimised programming strategies",
    "tsai2019": "LSTMs by closed-loop tuning",
    "cristiano2018": "training on the chip with MSP and LSP",
    "nandakumar2020": "mixed-precision training",
    "femfet": "hybrid synapses of volatile and non-volatile bits",
    "mimhd": "hyperdimensional computing in FeFET content-addressable memories",
    "simba": "a binary network on a stochastic memory",
    "photonic-snn": "a spiking network on photonic phase-change synapses",
}


def reproduce(paper: str, options: Options | None = None) -> Path:
    """Reproduce a paper's experiment; returns the folder with its results.

    Args:
        paper: one of `PAPERS`.
        options: of this paper; what another paper's have in common with them is taken over.

    Raises:
        ValueError: for an unknown paper; what the paper's ``reproduce`` raises besides.
        TypeError: for an option that the paper does not have.
    """
    check_name(paper, tuple(PAPERS), "paper")
    found = _module(paper)
    given = vars(options or Options())
    return found.reproduce(options if isinstance(options, found.Options) else found.Options(**given))


def command(arguments: Sequence[str]) -> Callable[..., Path]:
    """`reproduce` as the command line has it: with the options of the paper that the arguments name, if they do."""
    named = next((a for a in arguments if a in PAPERS), None)
    kind: Any = Options if named is None else _module(named).Options
    names, what = tyro.conf.arg(name=""), " or ".join(f"{name} ({what})" for name, what in PAPERS.items())
    what += "" if named else "; `crossjax reproduce PAPER --help` has all of its options"

    def reproduce_(paper: Any, options: Any = kind()) -> Path:
        """Reproduce a paper's experiment on its own data; an interrupted run resumes."""
        return reproduce(paper, options)

    choice = Annotated[Literal[tuple(PAPERS)], tyro.conf.Positional, tyro.conf.arg(help=what)]  # pyright: ignore
    reproduce_.__annotations__ |= {"paper": choice, "options": Annotated[kind, names]}
    return reproduce_


def _module(paper: str) -> Any:
    return importlib.import_module(f"{__name__}.{paper.replace('-', '_')}")
