"""Gradient-descent-based programming: the MVM error is descended, and no cell is ever read."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from crossjax._numerics import ratio
from crossjax._pytree import check_choice, check_count, check_range, spec, static
from crossjax._random import named, numbered
from crossjax.devices.noise import FlickerNoise
from crossjax.programming.core import Programmable
from crossjax.programming.history import Spent, Sums, measure
from crossjax.programming.methods import power


@spec
class GDP:
    """Gradient-descent-based programming: descend the MVM error that the core itself shows.

    Each iteration sends random inputs X through the core's own converters, compares with Y = X W, and takes
    the gradient of ½‖Ŷ − Y‖² with respect to the weights, Xᵀ(Ŷ − Y). Divided by Σ x² it estimates every
    weight's error without reading a single cell. Büchel et al., IEDM 2022 / JETCAS 2023.

    A pulse rewrites a cell with fresh noise, so it must be worth it. The estimates since a cell's last pulse are
    averaged, and the cell is pulsed when the mean m exceeds what a rewrite would leave, what is not sure about m, and
    what could not be known about the cell in the iterations that are left after another pulse:

        m² > D² + confidence² v(n) + caution v(left),   v(n) = SE² / n + Q² w² (1/f noise in the mean of n iterations)

    The dead zone is D = dead_zone · σ_write^⅓ σ̄_write^⅔ (σ̄: mean over the tile): a cell is hit within ± D by about
    σ_write / D pulses and keeps an error of D²/3, so a pulse is worth the same everywhere where D³ ∝ σ_write. All of
    it follows from the device's write and 1/f noise and the measured residual: one set of numbers serves any
    weights, any device and any converter. What typical drift is going to take until the end is added to the error.

    Attributes:
        iterations: number of batches.
        batch: random inputs per iteration.
        step: fraction of the estimated error that a pulse is to correct.
        decay: step_k = step / (1 + decay k).
        deviation: standard deviation of the Gaussian inputs, in full inputs; less where the ADCs would saturate.
        dead_zone, confidence, caution: as above.
        patience: stop pulsing once the smoothed MVM error has not improved by 0.1 % for so many iterations;
            None: never.
        gradient: "outer", Xᵀ(Ŷ − Y), which needs no model; or "vjp", the vector-Jacobian product of the core's
            model, which knows each column's gain, leaves out saturated outputs and sees the wires. An instrument
            has no model, and lines that are digitised one by one use the outer product.
        seconds: from one iteration to the next, for drift and 1/f noise meanwhile; None: no longer than its reads.
    """

    iterations: int = static(default=200)
    batch: int = static(default=1024)
    step: float = 0.25
    decay: float = 0.0
    deviation: float = 0.6
    dead_zone: float = 0.22
    confidence: float = 1.35
    caution: float = 1.0
    patience: int | None = static(default=None)
    gradient: str = static(default="outer")
    seconds: float | None = 1.0

    def _check(self) -> None:
        check_count(self, "iterations")
        check_count(self, "batch")
        check_range(self, "step", low=0, high=2, strict=True)
        check_range(self, "deviation", low=0, high=10, strict=True)
        for name in ("decay", "dead_zone", "confidence", "caution"):
            check_range(self, name, low=0)
        check_range(self, "seconds", low=0, strict=True)
        check_choice(self, "gradient", ("outer", "vjp"))
        if self.patience is not None:
            check_count(self, "patience")

    def run(self, key: Array, core: Programmable, weights: Array, input_limit: Array) -> tuple[Programmable, Sums]:
        """See `Method.run`."""
        core, first = core.write(named(key, "first"), weights)
        deviation = jnp.minimum(input_limit, self.deviation)
        average, dead = self._average(core, weights), self._dead_zone(core, weights) + core.rounding(weights)

        def draw(k: Array | int) -> Array:
            return core.inputs(numbered(named(key, "inputs"), k), self.batch, weights.shape[0], deviation)

        def step(core: Programmable, state: _State, key: Array, k: Array) -> tuple[Programmable, _State, Sums]:
            x, wanted = state.inputs, state.inputs @ weights
            residual = core.mvm(named(key, "mvm"), x) - wanted
            energy, error2 = power(x)[:, None], power(residual)
            left = self.iterations - 1 - k
            estimate = ratio(core.pull_back(x, residual, weights, self.gradient), energy) + core.expected_change(left)

            count = state.seen + 1
            mean = state.mean + (estimate - state.mean) * average.gain[count]
            standard = ratio(error2 / self.batch, energy)
            enough = dead**2 + self.confidence**2 * average.variance(standard, count)
            enough = enough + self.caution * average.variance(standard, jnp.maximum(left, 1))
            loss = jnp.sum(error2)
            due, best, waited = mean * mean > enough, state.best, state.waited
            if self.patience is not None:
                loss = jnp.where(k == 0, loss, 0.8 * state.loss + 0.2 * loss)
                better = loss < 0.998 * best
                best, waited = jnp.where(better, loss, best), jnp.where(better, 0, waited + 1)
                due = due & (waited < self.patience)
            size = self.step / (1.0 + self.decay * k)
            core, pulses = core.pulse(named(key, "pulse"), jnp.where(due, -size * mean, 0.0))
            spent = Spent(pulses + jnp.where(k == 0, first, 0), self.batch, 0)
            errors = jnp.sum(error2), jnp.sum(power(wanted))
            record = measure(core, errors, weights, spent, mean * mean <= enough)
            state = _State(jnp.where(due, 0.0, mean), jnp.where(due, 0, count), loss, best, waited, draw(k + 1))
            return core, state, record

        zero, infinite = jnp.zeros_like(weights), jnp.asarray(jnp.inf, weights.dtype)
        start = _State(zero, zero.astype(jnp.int32), infinite, infinite, jnp.zeros((), jnp.int32), draw(0))
        core, _, sums = core.repeat(step, start, key, self.iterations, reads=self.batch, seconds=self.seconds)
        return core, sums

    def _dead_zone(self, core: Programmable, weights: Array) -> Array:
        sigma = core.write_noise(weights)
        return self.dead_zone * jnp.cbrt(sigma * jnp.mean(sigma * sigma))

    def _average(self, core: Programmable, weights: Array) -> _Average:
        """Weights of the estimates since a pulse, and how far their mean is to be trusted.

        1/f noise is small at first and grows: with it, the n-th estimate counts 1/√n, which is close to the best
        linear estimate; without, all count alike.
        """
        age = np.arange(1, self.iterations + 1)
        share = 1.0 / np.sqrt(age) if core.flickers else np.ones(self.iterations)
        total = np.cumsum(share)
        flicker = FlickerNoise.variances_of_means(share, FlickerNoise.octaves(self.iterations))

        def table(values: np.ndarray) -> Array:
            return jnp.asarray(np.concatenate([values[:1], values]), weights.dtype)

        moment = core.moment_noise(weights, self.seconds, self.batch)
        return _Average(
            table(share / total), table(np.cumsum(share**2) / total**2), table(flicker),
            core.flicker_noise(weights) ** 2, jnp.asarray(moment, weights.dtype) ** 2,
        )  # fmt: skip


class _Average(NamedTuple):
    """A weighted mean of estimates: tables over their number, and variances of the weights (r, c) by 1/f noise."""

    gain: Array
    white: Array
    flicker: Array
    q2: Array
    moment: Array

    def variance(self, standard: Array, count: Array) -> Array:
        """v(n) of the docstring of `GDP`; ``standard`` is the square of one estimate's standard error."""
        return (standard + self.moment) * self.white[count] + self.q2 * self.flicker[count]


class _State(NamedTuple):
    """Between iterations: mean and number of the estimates since a cell's last pulse, and what patience looks at.

    The inputs of the next iteration are here to be drawn once: inside it XLA would draw them anew for every use.
    """

    mean: Array
    seen: Array
    loss: Array
    best: Array
    waited: Array
    inputs: Array
