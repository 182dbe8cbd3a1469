"""Conductances of varying significance: small ones learn, large ones remember.

    w = U + s L / F      U: most significant pair (MSP) or digital levels, L: less significant (LSP), s: polarity

Ambrogio et al., Nature 558:60 (2018); Cristiano et al., J. Appl. Phys. 124:151901 (2018); polarity inversion by US
patents 11,074,499 and 11,915,132; the hybrid cell of ferroelectric memory (Sun et al., IEDM 2018; Kazemi et al., ISCAS
2020) is the same with a digital upper part. Every example pulses L in open loop. Every T examples U is written to
hold the whole weight, L keeps what is missing, and s is inverted, so that the fixed asymmetry of L cancels.
"""

from __future__ import annotations

from typing import Any, Protocol

import jax.numpy as jnp
from jax import Array, lax

from crossjax._numerics import clip_inside
from crossjax._pytree import check_choice, check_count, check_range, replace, spec, static
from crossjax._random import named, normal, numbered
from crossjax.insitu.schemes import BaseScheme, in_sequence, is_due, moved
from crossjax.insitu.synapses import Against, OneSided, Synapse
from crossjax.insitu.trains import Counts, Rounded, of_example
from crossjax.pulsed.device import Pulsed

Scalar = Array | float


class Upper(Protocol):
    """The significant part of a weight."""

    def draw(self, key: Array, shape: tuple[int, int], *, count: bool = False) -> Any:
        """As it was made."""
        ...

    def put(self, key: Array, state: Any, w: Array) -> Any:
        """Holding weights: a beginning."""
        ...

    def value(self, state: Any) -> Array:
        """The weights that it stands for, in [−1, 1]."""
        ...

    def write(self, key: Array, state: Any, w: Array) -> Any:
        """Written to hold weights as well as it can."""
        ...

    def known(self, key: Array, state: Any) -> Array:
        """What the controller takes its value to be, to find what is missing."""
        ...

    def pulses(self, state: Any) -> Array:
        """Write pulses of each device, (devices, rows, cols)."""
        ...


@spec
class Tuned:
    """Devices that are written in closed loop: read, pulse what is off, more gently where a pulse went too far.

    The row-wise tuning of Narayanan et al., IEEE T-ED 68:6629 (2021), as `crossjax.RowWise`, by whole pulses.

    Attributes:
        synapse: the devices; a pair is RESET first where ``erase`` says so.
        rounds: reads, each followed by pulses where they are needed.
        tolerance: a weight within this error is left.
        gain: the fraction of the error that pulses are to correct, shrunk after an overshoot.
        shrink, grow: what the gain is multiplied with after an overshoot and an undershoot.
        most: pulses between two reads.
        read_noise: standard deviation of one read, of the weight.
        erase: RESET before writing; what is needed where devices only go up. False: from what they hold.
    """

    synapse: Synapse = OneSided(high=1.0)
    rounds: int = static(default=10)
    tolerance: float = 0.005
    gain: float = 0.5
    shrink: float = 0.5
    grow: float = 1.2
    most: int = static(default=16)
    read_noise: float | None = None
    erase: bool = static(default=True)

    def _check(self) -> None:
        check_count(self, "rounds")
        check_count(self, "most")
        check_range(self, "tolerance", low=0)
        check_range(self, "gain", low=0, high=2, strict=True)
        check_range(self, "shrink", low=0, high=1, strict=True)
        check_range(self, "grow", low=1)
        check_range(self, "read_noise", low=0)

    def draw(self, key: Array, shape: tuple[int, int], *, count: bool = False) -> Any:
        """See `Upper.draw`."""
        return self.synapse.draw(key, shape, count=count)

    def put(self, key: Array, state: Any, w: Array) -> Any:
        """See `Upper.put`."""
        return self.synapse.put(key, state, w)

    def value(self, state: Any) -> Array:
        """See `Upper.value`."""
        return self.synapse.value(state)

    def write(self, key: Array, state: Any, w: Array) -> Any:
        """See `Upper.write`."""
        if self.erase:
            state = self.synapse.erase(named(key, "erase"), state)

        def tune(carry: tuple[Any, Array, Array], k: Array) -> tuple[tuple[Any, Array, Array], None]:
            state, gain, before = carry
            error = w - self.known(numbered(named(key, "read"), k), state)
            off = jnp.abs(error) > self.tolerance
            turned = error * before
            gain = gain * jnp.where(turned < 0, self.shrink, jnp.where(turned > 0, self.grow, 1.0))
            gain = jnp.clip(gain, 0.05, 1.0)
            wanted = jnp.round(gain * error / self.synapse.step)
            wanted = jnp.where(wanted == 0, jnp.sign(error), wanted)
            n = jnp.where(off, jnp.clip(wanted, -self.most, self.most), 0.0).astype(jnp.int32)
            state = self.synapse.pulse(numbered(named(key, "tune"), k), state, n)
            return (state, gain, jnp.where(off, error, 0.0)), None

        begin = state, jnp.full(w.shape, jnp.asarray(self.gain, w.dtype)), jnp.zeros_like(w)
        return lax.scan(tune, begin, jnp.arange(self.rounds))[0][0]

    def known(self, key: Array, state: Any) -> Array:
        """See `Upper.known`: one read."""
        w = self.value(state)
        return w if self.read_noise is None else w + self.read_noise * normal(named(key, "verify"), w.shape)

    def pulses(self, state: Any) -> Array:
        """See `Upper.pulses`."""
        return self.synapse.pulses(state)


@spec
class LevelState:
    """Codes, what they conduct, and how often each was written."""

    code: Array
    w: Array
    pulses: Array | None = None


@spec
class Levels:
    """A digital upper part of so many bits, such as the polarisation of a ferroelectric transistor.

    Attributes:
        bits: 2^bits codes, evenly spaced, two's complement: −2^(b−1) … 2^(b−1) − 1 over 2^(b−1).
        noise: standard deviation of what a written code conducts, in steps; static until it is written again.
    """

    bits: int = static(default=4)
    noise: float | None = None

    def _check(self) -> None:
        check_count(self, "bits")
        check_range(self, "noise", low=0)

    @property
    def half(self) -> int:
        """Codes on one side of 0."""
        return 2 ** (self.bits - 1)

    def draw(self, key: Array, shape: tuple[int, int], *, count: bool = False) -> LevelState:
        """See `Upper.draw`."""
        return LevelState(jnp.zeros(shape), jnp.zeros(shape), jnp.zeros(shape, jnp.int32) if count else None)

    def put(self, key: Array, state: LevelState, w: Array) -> LevelState:
        """See `Upper.put`: all are written."""
        code = jnp.clip(jnp.round(w * self.half), -self.half, self.half - 1)
        return replace(state, code=code, w=self._written(key, code))

    def _written(self, key: Array, code: Array) -> Array:
        if self.noise is None:
            return code / self.half
        return (code + self.noise * normal(named(key, "code"), code.shape)) / self.half

    def value(self, state: LevelState) -> Array:
        """See `Upper.value`."""
        return state.w

    def write(self, key: Array, state: LevelState, w: Array) -> LevelState:
        """See `Upper.write`: only codes that change."""
        code = jnp.clip(jnp.round(w * self.half), -self.half, self.half - 1)
        hit = code != state.code
        count = None if state.pulses is None else state.pulses + hit
        return LevelState(code, jnp.where(hit, self._written(key, code), state.w), count)

    def known(self, key: Array, state: LevelState) -> Array:
        """See `Upper.known`: the code, which the controller keeps."""
        return state.code / self.half

    def pulses(self, state: LevelState) -> Array:
        """See `Upper.pulses`."""
        if state.pulses is None:
            raise ValueError("pulses were not counted: start with count=True")
        return state.pulses[None]


@spec
class SignificanceState:
    """Both parts of the weights, and the polarity of the lower one."""

    upper: Any
    lower: Any
    sign: Array


@spec
class Significance(BaseScheme):
    """MSP and LSP, or a hybrid cell.

    Attributes:
        upper: what remembers.
        lower: what learns, in [−1, 1].
        factor: F: the full range of the lower part is 1/F of the upper one's.
        every: T, examples between two transfers.
        invert: polarity inversion at every transfer.
        counts: how an example becomes pulses of the lower part.
        residue: what the lower part holds after a transfer: "rewrite", it is RESET and pulsed in open loop to what is
            missing; "subtract", it is moved by exactly what the upper part took; "drop", it is RESET.
        transfer_noise: of the read of the whole weight that a transfer begins with; None for none.
    """

    upper: Upper = Tuned()
    lower: Synapse = Against(Pulsed(low=0.0))
    factor: float = 3.0
    every: int = static(default=8000)
    invert: bool = static(default=True)
    counts: Counts = Rounded()
    residue: str = static(default="rewrite")
    transfer_noise: float | None = None

    def _check(self) -> None:
        check_range(self, "factor", low=0, strict=True)
        check_count(self, "every")
        check_choice(self, "residue", ("rewrite", "subtract", "drop"))
        check_range(self, "transfer_noise", low=0)

    def start(self, key: Array, w: Array, *, count: bool = False) -> SignificanceState:
        """See `Scheme.start`: in the upper part."""
        shape = (w.shape[0], w.shape[1])
        upper = self.upper.draw(named(key, "upper"), shape, count=count)
        upper = self.upper.put(named(key, "put"), upper, w)
        lower = self.lower.draw(named(key, "lower"), shape, count=count)
        lower = self.lower.put(named(key, "rest"), lower, (w - self.upper.value(upper)) * self.factor)
        return SignificanceState(upper, lower, jnp.ones((), w.dtype))

    def weights(self, state: SignificanceState) -> Array:
        """See `Scheme.weights`."""
        return self.upper.value(state.upper) + state.sign * self.lower.value(state.lower) / self.factor

    def trained(self, state: SignificanceState) -> Array:
        """What remains for inference: the upper part alone."""
        return self.upper.value(state.upper)

    @property
    def period(self) -> int | None:
        """See `Scheme.period`: T."""
        return self.every

    def settle(self, key: Array, state: SignificanceState, before: Array, after: Array) -> SignificanceState:
        """See `Scheme.settle`: a transfer comes after the mini-batch that completes T examples."""
        due = is_due(self.every, before, after)
        return lax.cond(due, lambda s: self.transfer(named(key, "transfer"), s), lambda s: s, state)

    def learn(
        self, key: Array, state: SignificanceState, x: Array, d: Array, rate: Scalar, n: Array
    ) -> SignificanceState:
        """See `Scheme.learn`."""

        def one(key: Array, lower: Any, x: Array, d: Array, n: Array) -> Any:
            step = self.lower.step / self.factor
            counts = of_example(self.counts, named(key, "counts"), x, state.sign * d, rate, step)
            return self.lower.rest(named(key, "leak"), moved(key, self.lower, lower, self.counts, counts))

        return replace(state, lower=in_sequence(one, key, state.lower, x, d, n))

    def transfer(self, key: Array, state: SignificanceState) -> SignificanceState:
        """The whole weight to the upper part, what is missing to the lower one, with the other sign."""
        w = self.weights(state)
        if self.transfer_noise is not None:
            w = w + self.transfer_noise * normal(named(key, "read"), w.shape)
        before = self.upper.known(named(key, "before"), state.upper)
        upper = self.upper.write(named(key, "write"), state.upper, clip_inside(w, -1.0, 1.0))
        sign = -state.sign if self.invert else state.sign
        after = self.upper.known(named(key, "after"), upper)
        lower = state.lower
        if self.residue == "subtract":
            held = self.lower.value(lower) - state.sign * self.factor * (after - before)
            lower = self.lower.put(named(key, "subtract"), lower, held * sign * state.sign)
        else:
            lower = self.lower.erase(named(key, "erase"), lower)
        if self.residue == "rewrite":
            steps = jnp.round(clip_inside((w - after) * self.factor * sign, -1.0, 1.0) / self.lower.step)
            lower = self.lower.pulse(named(key, "rewrite"), lower, steps.astype(jnp.int32))
        return SignificanceState(upper, lower, sign)

    def pulses(self, state: SignificanceState) -> dict[str, Array]:
        """See `Scheme.pulses`."""
        return {"msp": self.upper.pulses(state.upper), "lsp": self.lower.pulses(state.lower)}
