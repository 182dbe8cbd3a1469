"""The best strategy at every significance F, beside the fixed ones: what a run of any size reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from crossjax._random import named
from crossjax.strategies.cube import Cube
from crossjax.strategies.search import Found, Problem, descend
from crossjax.tiles.cells import Pairs
from crossjax.tiles.strategy import Strategy, as_strategy

FIXED = {"LSP first": "lsp_first", "MSP first": "msp_first", "equal": "equal"}


@dataclass(frozen=True)
class Scan:
    """What two pairs can do at one significance F, as root mean square errors.

    Attributes:
        factor: F.
        best: what the search found.
        fixed: errors of the fixed splits, by their name.
    """

    factor: float
    best: Found
    fixed: Mapping[str, float]


def knots_for(factors: Sequence[float], count: int = 6) -> tuple[float, ...]:
    """So many evenly spaced weights, and those at which a fixed split bends, so that it is among the strategies.

    Knots nearer than a hundredth of their distance to one another count once.
    """
    even = np.linspace(0.0, 1.0, count)
    bends = np.asarray(as_strategy(Pairs(tuple(factors))).knots)
    kept: list[float] = []
    for at in sorted({*even.tolist(), *bends.tolist()}):
        if not kept or at - kept[-1] > 0.01 / (count - 1):
            kept.append(at)
    return (*kept[:-1], 1.0)


def scan(
    key: Array, problem: Problem, factors: Sequence[float], *, knots: int = 6, bends: bool = True, **options: Any
) -> list[Scan]:
    """Search at every F; ``bends``: whether knots lie where the fixed splits bend, besides the evenly spaced ones."""
    found = []
    for factor in factors:
        at = knots_for((factor, 1.0), knots) if bends else tuple(np.linspace(0.0, 1.0, knots).tolist())
        best = descend(named(key, f"F {factor}"), problem, Cube((factor, 1.0), at), **options)
        found.append(Scan(factor, best, {name: error(problem, split, factor) for name, split in FIXED.items()}))
    return found


def error(problem: Problem, split: str, factor: float) -> float:
    """Root mean square error of two pairs with a fixed split."""
    return float(jnp.sqrt(problem.error(Pairs((factor, 1.0), split)).loss))


def one_pair(problem: Problem) -> float:
    """Root mean square error of a single pair."""
    return float(jnp.sqrt(problem.error(Pairs()).loss))


def is_lsp_first(strategy: Strategy, tolerance: float = 0.05) -> bool:
    """Whether the less significant pair holds a weight alone as long as it can."""
    plus, minus = (np.asarray(strategy.x[k]) for k in (0, 1))
    share = np.abs(plus - minus)
    alone = np.asarray(strategy.knots) * float(strategy.scale) <= float(strategy.factors[1]) * (1 + 1e-6)
    return bool(share[alone].max(initial=0.0) <= tolerance)


def as_record(strategy: Strategy) -> dict[str, Any]:
    """A strategy as JSON holds it."""
    return {
        "factors": [float(f) for f in strategy.factors], "knots": np.asarray(strategy.knots, float).tolist(),
        "x": np.asarray(strategy.x, float).tolist(), "scale": float(strategy.scale),
    }  # fmt: skip


def from_record(record: Mapping[str, Any]) -> Strategy:
    """The strategy of `as_record`."""
    return Strategy(
        tuple(record["factors"]), jnp.asarray(record["knots"]), jnp.asarray(record["x"]), float(record["scale"])
    )
