"""Searching the cube of strategies: by gradients, by evolution, and as it was published.

    descend     Adam from many starts at once, the points kept inside the cube
    evolve      differential evolution whose whole population is one call of the closed form
    published   differential evolution as in Mackin et al. (2022), on sampled weights, one strategy at a time

All three return what the closed form makes of the best point they found, however they searched.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax
from scipy import optimize

from crossjax._kinds import door
from crossjax._pytree import spec, strong
from crossjax._random import named, uniform
from crossjax.devices.device import Device
from crossjax.devices.moments import has_moments
from crossjax.strategies.cube import Cube, at_point, point_of
from crossjax.strategies.density import Density
from crossjax.strategies.objective import TIMES, WeightError, check_times, decoded, of_devices, summed
from crossjax.strategies.sampled import SampledLoss, in_numpy
from crossjax.tiles.cells import Pairs, UnitCell
from crossjax.tiles.strategy import Strategy, as_strategy

PUBLISHED = {"popsize": 100, "init": "latinhypercube", "recombination": 0.6, "mutation": (0.0, 0.2), "tol": 0.0}
"""Settings of SciPy's differential evolution in the paper; evolution goes on until it stagnates."""


@dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes:
        method: its name.
        strategy: the best one.
        loss: mean square error over weights and times, in closed form.
        seconds: that it took, compilation included.
        trace: (seconds, loss) of the best so far, as the search saw them: the published one with sampling noise.
        evaluations: strategies that were evaluated.
        ended: why it ended.
    """

    method: str
    strategy: Strategy
    loss: float
    seconds: float
    trace: np.ndarray
    evaluations: int
    ended: str

    @property
    def error(self) -> float:
        """Root of the loss, in units of the largest weight."""
        return self.loss**0.5


@spec
class Problem:
    """What strategies are compared by: a device at every conductance and time, tabulated once.

    Attributes:
        density: of the weights.
        mean, variance: of a device's conductance in spans, (1 + times, points), over normalised targets in [0, 1].
    """

    density: Density
    mean: Array
    variance: Array

    def error(self, cell: UnitCell) -> WeightError:
        """`weight_error` of a cell, by the table."""
        x = cell.encode(self.density.weights[:, None])
        place = jnp.clip(x, 0.0, 1.0) * (self.mean.shape[1] - 1)
        below = jnp.clip(lax.stop_gradient(place).astype(int), 0, self.mean.shape[1] - 2)
        share = place - below

        def look_up(table: Array) -> Array:
            rows = table.T
            return jnp.moveaxis(rows[below] * (1 - share)[..., None] + rows[below + 1] * share[..., None], -1, 0)

        return summed(self.density, *decoded(cell, look_up(self.mean), look_up(self.variance)), True)


@partial(jax.jit, static_argnums=3)
def _tabulated(device: Device, density: Density, times: Array, points: int) -> Problem:
    return Problem(density, *of_devices(device, jnp.linspace(0.0, 1.0, points), times))


def problem(device: Device, density: Density, times: Sequence[float] | Array = TIMES, points: int = 513) -> Problem:
    """The problem of such a device: see `Problem`; ``points`` are linear in between.

    Raises:
        ValueError: for times that do not ascend, or a device without a closed form.
    """
    if why := has_moments(device):
        raise ValueError(f"this device has no closed form to search with, since {why}")
    return _tabulated(strong(device), strong(density), check_times(times), points)


@jax.jit
def _loss(problem: Problem, cube: Cube, point: Array) -> Array:
    return problem.error(at_point(cube, point)).loss


@door
def descend(
    key: Array, problem: Problem, cube: Cube, *, starts: int = 64, steps: int = 400, rate: float = 0.03
) -> Found:
    """Adam on the logarithm of the loss from many points at once, each kept inside the cube.

    The first points are those of the fixed splits, the others are random.

    Args:
        key: randomness of the others.
        problem: what strategies are compared by.
        cube: the strategies.
        starts: points.
        steps: of each; the rate falls to 0 by a cosine.
        rate: of the first step, as a fraction of the cube's side.

    Raises:
        ValueError: for less than one start or step.
    """
    if starts < 1 or steps < 1:
        raise ValueError(f"a search needs at least 1 start and 1 step, got {starts} and {steps}")
    begin = time.perf_counter()
    first, speed = fixed_points(cube), jnp.asarray(rate)
    program = descent.lower(key, problem, cube, first, starts, steps, speed).compile()
    compiled = time.perf_counter() - begin
    points, losses = jax.block_until_ready(program(key, problem, cube, first, speed))
    best = np.minimum.accumulate(np.min(np.asarray(losses), axis=0))
    clock = np.linspace(compiled, time.perf_counter() - begin, len(best) + 1)[1:]
    trace = np.stack([clock, best], axis=1)
    which = int(jnp.argmin(jnp.min(losses, axis=1)))
    ended = f"{starts} starts of {steps} steps"
    return _found("gradient", problem, cube, points[which], begin, trace, starts * steps, ended)


def fixed_points(cube: Cube) -> Array:
    """Where the fixed splits lie, (3, dimensions)."""
    splits = [as_strategy(Pairs(cube.factors, split)) for split in ("lsp_first", "msp_first", "equal")]
    return jnp.stack([point_of(cube, strategy) for strategy in splits])


@partial(jax.jit, static_argnums=(4, 5))
def descent(
    key: Array, problem: Problem, cube: Cube, first: Array, starts: int = 64, steps: int = 400,
    rate: Array | float = 0.03,
) -> tuple[Array, Array]:  # fmt: skip
    """`descend`, pure: the best point of every start (starts, dimensions), and its losses (starts, steps).

    To be vmapped over problems: a population of devices, say. ``first`` are the first starts.
    """
    optimiser = optax.adam(optax.cosine_decay_schedule(rate, steps))

    def run(point: Array) -> tuple[Array, Array]:
        def step(carry: Any, _: None) -> tuple[Any, Array]:
            point, state, best, least = carry
            value, slope = jax.value_and_grad(lambda p: jnp.log(_loss(problem, cube, p)))(point)
            best, least = jnp.where(value < least, point, best), jnp.minimum(value, least)
            update, state = optimiser.update(slope, state)
            point = optax.projections.projection_hypercube(optax.apply_updates(point, update))
            return (point, state, best, least), jnp.exp(value)

        begin = point, optimiser.init(point), point, jnp.inf
        (_, _, best, _), losses = lax.scan(step, begin, None, length=steps)
        return best, losses

    more = uniform(named(key, "starts"), (max(starts - len(first), 0), cube.dimensions), 0.0, 1.0)
    return jax.vmap(run)(jnp.concatenate([first, more])[:starts])


def evolve(seed: int, problem: Problem, cube: Cube, *, generations: int = 300, **settings: Any) -> Found:
    """SciPy's differential evolution on the closed form, a whole generation in one call.

    Args:
        seed: of the generator.
        problem, cube: as for `descend`.
        generations: at most; it ends when its best has not improved by 0.1 % in 30 of them.
        settings: of `scipy.optimize.differential_evolution`, instead of ours (popsize 15, mutation 0.3 to 0.8,
            recombination 0.7).
    """
    begin, watch = time.perf_counter(), _Watch(limit=np.inf)
    population = jax.jit(jax.vmap(lambda p: _loss(problem, cube, p)))

    def of_all(points: np.ndarray) -> np.ndarray:
        return np.asarray(population(jnp.asarray(points.T, jnp.float32)), np.float64)

    options = PUBLISHED | {"popsize": 15, "mutation": (0.3, 0.8), "recombination": 0.7} | settings
    result = optimize.differential_evolution(
        of_all, [(0.0, 1.0)] * cube.dimensions, rng=np.random.default_rng(seed), maxiter=generations, polish=False,
        vectorized=True, updating="deferred", callback=watch, **options,
    )  # fmt: skip
    count = result.nfev * options["popsize"] * cube.dimensions
    return _found("evolution", problem, cube, result.x, begin, watch.trace, count, watch.ended or "generations used up")


def published(
    seed: int, problem: Problem, cube: Cube, sampled: SampledLoss, *, limit: float = 240.0,
    progress: Callable[[float, float], None] = lambda seconds, loss: None, **settings: Any,
) -> Found:  # fmt: skip
    """Differential evolution with the published settings on a sampled objective.

    Args:
        seed: of the generators of strategies and of samples.
        problem: what its result is judged by in the end.
        cube: as for `descend`.
        sampled: what it searches by.
        limit: seconds after which it is stopped, at the end of a generation; it also ends as `evolve` does.
        progress: called with seconds and the best loss, as sampled, after every generation.
        settings: of `scipy.optimize.differential_evolution`, instead of the published ones.
    """
    begin, watch, random = time.perf_counter(), _Watch(limit, progress), np.random.default_rng(seed)

    def of_one(point: np.ndarray) -> float:
        return sampled(random, *in_numpy(cube, point))

    result = optimize.differential_evolution(
        of_one, [(0.0, 1.0)] * cube.dimensions, rng=np.random.default_rng(seed), maxiter=10_000, polish=False,
        callback=watch, **(PUBLISHED | settings),
    )  # fmt: skip
    return _found("published", problem, cube, result.x, begin, watch.trace, result.nfev, watch.ended or "converged")


class _Watch:
    """Stops an evolution at a time limit, or when its best has not improved by 0.1 % in 30 generations."""

    def __init__(self, limit: float, progress: Callable[[float, float], None] = lambda seconds, loss: None) -> None:
        self.begin, self.limit, self.ended, self.progress = time.perf_counter(), limit, "", progress
        self.rows: list[tuple[float, float]] = []

    def __call__(self, intermediate_result: Any) -> bool:
        seconds, best = time.perf_counter() - self.begin, float(intermediate_result.fun)
        self.rows.append((seconds, best))
        self.progress(seconds, best)
        if seconds > self.limit:
            self.ended = f"stopped after {self.limit:g} s"
        elif len(self.rows) > 30 and best > 0.999 * self.rows[-31][1]:
            self.ended = "no better for 30 generations"
        return bool(self.ended)

    @property
    def trace(self) -> np.ndarray:
        return np.asarray(self.rows).reshape(-1, 2)


def _found(
    method: str, problem: Problem, cube: Cube, point: Any, begin: float, trace: np.ndarray, count: int, ended: str
) -> Found:
    point = jnp.asarray(point, jnp.zeros(()).dtype)
    loss = float(_loss(problem, cube, point))
    return Found(method, at_point(cube, point), loss, time.perf_counter() - begin, trace, int(count), ended)
