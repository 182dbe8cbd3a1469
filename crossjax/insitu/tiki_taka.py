"""Tiki-Taka: a fast array gathers gradients, a slow one is the weight, a digital buffer between them filters.

Gokmen, Front. Artif. Intell. 4:699148 (2021) is v2; Rasch et al., Nat. Commun. 15:7133 (2024) add choppers (c-TTv2) and
dynamic references (AGAD). Formulas are those of IBM's aihwkit 1.2, as its source has them:

    A += pulses of (c x, δ);   every few examples one row r of A is read:   H_r += c_r (A_r − μ_r) λ
    |H| ≥ 1: trunc(H) pulses to C_r;    w = γ c A + C
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array, lax

from crossjax._checks import check_name
from crossjax._numerics import ratio
from crossjax._pytree import check_choice, check_count, check_range, replace, spec, static
from crossjax._random import named, normal, uniform
from crossjax.insitu.schemes import BaseScheme, in_sequence
from crossjax.insitu.synapses import Single
from crossjax.insitu.trains import Trains, of_example
from crossjax.pulsed.device import PulsedState
from crossjax.pulsed.named import get

Scalar = Array | float


@spec
class TikiTakaState:
    """Both arrays and what is kept digitally.

    Attributes:
        fast, slow: A and C.
        buffer: H, (rows, cols).
        chopper: c, (rows,).
        past, running: μ of the last period and the mean that will be the next one's, (rows, cols); None without.
        reads: of every row, (rows,).
        x_max, d_max: running averages of the largest |x| and |δ|.
    """

    fast: PulsedState
    slow: PulsedState
    buffer: Array
    chopper: Array
    past: Array | None
    running: Array | None
    reads: Array
    x_max: Array
    d_max: Array


@spec
class TikiTaka(BaseScheme):
    """Version 2, chopped, or with dynamic references.

    Attributes:
        kind: "v2", "chopped" or "agad".
        fast, slow: devices of A and C.
        fast_rate: pulses of a whole train (31) that the largest element of an average outer product gets on A.
        granularity: how much A must gather for a step of C, in its own steps, times rows · every (aihwkit's
            auto_granularity); larger filters more.
        every: examples between two reads of a row.
        chop: how often a row's chopper flips after it is read (chopped: a probability; AGAD: one over the period).
        tail: of AGAD, reads of a period that the running mean goes over.
        visible: γ, how much of A is seen in the weights; None for nothing.
        forget: what is left of H after a step, a factor.
        most: pulses to C at once.
        read_noise: standard deviation of reading A.
        trains: those to A.
    """

    kind: str = static(default="agad")
    fast: Single = Single()
    slow: Single = Single()
    fast_rate: float = 0.1
    granularity: float = 1000.0
    every: int = static(default=1)
    chop: float = 0.1
    tail: float = 5.0
    visible: float | None = None
    forget: float = 0.0
    most: int = static(default=1)
    read_noise: float | None = None
    trains: Trains = Trains()

    def _check(self) -> None:
        check_choice(self, "kind", ("v2", "chopped", "agad"))
        check_count(self, "every")
        check_count(self, "most")
        for name in ("fast_rate", "granularity", "tail"):
            check_range(self, name, low=0, strict=True)
        check_range(self, "chop", low=0, high=1, strict=self.kind == "agad")
        check_range(self, "forget", low=0, high=1)
        for name in ("read_noise", "visible"):
            check_range(self, name, low=0)

    def start(self, key: Array, w: Array, *, count: bool = False) -> TikiTakaState:
        """See `Scheme.start`: C holds the weights, A nothing."""
        shape, rows, one = (w.shape[0], w.shape[1]), w.shape[0], jnp.ones((), w.dtype)
        fast, slow = (
            part.draw(named(key, name), shape, count=count) for name, part in (("fast", self.fast), ("slow", self.slow))
        )
        fast = self.fast.put(named(key, "put fast"), fast, jnp.zeros_like(w))
        slow = self.slow.put(named(key, "put slow"), slow, w)
        dynamic = jnp.zeros_like(w) if self.kind == "agad" else None
        return TikiTakaState(
            fast, slow, jnp.zeros_like(w), jnp.ones(rows, w.dtype), dynamic, dynamic, jnp.zeros(rows, jnp.int32), one,
            one,
        )  # fmt: skip

    def weights(self, state: TikiTakaState) -> Array:
        """See `Scheme.weights`: γ c A + C."""
        slow = self.slow.value(state.slow)
        if self.visible is None:
            return slow
        return self.visible * state.chopper[:, None] * self.fast.value(state.fast) + slow

    def learn(self, key: Array, state: TikiTakaState, x: Array, d: Array, rate: Scalar, n: Array) -> TikiTakaState:
        """See `Scheme.learn`."""

        def one(key: Array, state: TikiTakaState, x: Array, d: Array, n: Array) -> TikiTakaState:
            state = self._gathered(key, state, x, d, n)
            if self.every == 1:
                return self._passed_on(key, state, n % x.shape[-1], rate)
            turn, due = n // self.every, (n + 1) % self.every == 0
            return lax.cond(due, lambda s: self._passed_on(key, s, turn % x.shape[-1], rate), lambda s: s, state)

        state = in_sequence(one, key, state, x, d, n)
        fast = self.fast.rest(named(key, "fast"), state.fast)
        return replace(state, fast=fast, slow=self.slow.rest(named(key, "slow"), state.slow))

    def _gathered(self, key: Array, state: TikiTakaState, x: Array, d: Array, n: Array) -> TikiTakaState:
        """After the pulses of one example on A, at a rate that follows the size of the vectors."""
        weight = jnp.where(n == 0, 0.0, 0.99)
        x_max = weight * state.x_max + (1.0 - weight) * jnp.max(jnp.abs(x))
        d_max = weight * state.d_max + (1.0 - weight) * jnp.max(jnp.abs(d))
        rate = ratio(jnp.asarray(self.fast_rate * self.trains.longest * self.fast.step), x_max * d_max)
        counts = of_example(self.trains, named(key, "counts"), state.chopper * x, d, rate, self.fast.step)
        return replace(state, fast=self.fast.pulse(named(key, "fast"), state.fast, counts), x_max=x_max, d_max=d_max)

    def _passed_on(self, key: Array, state: TikiTakaState, row: Array, rate: Scalar) -> TikiTakaState:
        """After one row of A was read, and C got what the buffer had full."""

        def of(a: Array) -> Array:
            return lax.dynamic_slice_in_dim(a, row, 1)

        def back(a: Array, new: Array) -> Array:
            return lax.dynamic_update_slice_in_dim(a, new, row, 0)

        read = self.fast.value(jax.tree.map(of, state.fast))
        if self.read_noise is not None:
            read = read + self.read_noise * normal(named(key, "read"), read.shape)
        rows = state.buffer.shape[0]
        scale = rate / (self.fast.step * self.granularity / (rows * self.every))
        sign, seen = of(state.chopper)[:, None], of(state.reads)[:, None] + 1
        buffer, gathered, changes = of(state.buffer), read, {}
        flip = jnp.zeros((1, 1), bool)
        if self.kind == "chopped":
            flip = uniform(named(key, "flip"), (1, 1)) < self.chop
        elif self.kind == "agad":
            assert state.past is not None and state.running is not None
            period = jnp.maximum(jnp.ceil(1.0 / jnp.asarray(self.chop)), 2.0)
            flip = seen % period == 0
            gathered = (read - of(state.past)) * (seen >= period)
            share = jnp.minimum(self.tail / period, 1.0)
            running = jnp.where((seen - 1) % period == 0, read, (1.0 - share) * of(state.running) + share * read)
            changes = {"running": back(state.running, running),
                       "past": back(state.past, jnp.where(flip, running, of(state.past)))}  # fmt: skip
        buffer = buffer + sign * gathered * scale
        steps = jnp.clip(jnp.trunc(buffer), -self.most, self.most)
        left = jnp.where(steps != 0, self.forget * buffer, buffer)
        slow = self.slow.pulse(named(key, "slow"), jax.tree.map(of, state.slow), steps.astype(jnp.int32),
                               1 if self.most == 1 else None)  # fmt: skip
        chopper = jnp.where(flip, -sign, sign)[:, 0]
        return replace(
            state, slow=jax.tree.map(back, state.slow, slow), buffer=back(state.buffer, left),
            chopper=back(state.chopper, chopper), reads=back(state.reads, seen[:, 0]), **changes,
        )  # fmt: skip

    def pulses(self, state: TikiTakaState) -> dict[str, Array]:
        """See `Scheme.pulses`."""
        return {"fast": self.fast.pulses(state.fast), "slow": self.slow.pulses(state.slow)}


def from_preset(kind: str, name: str) -> TikiTaka:
    """The settings of aihwkit's presets for a device by its name: fast rate, granularity and choppers.

    Several pulses of one example are taken together (`Pulsed.together`).

    Raises:
        ValueError: for an unknown device, or a kind that aihwkit has no numbers for on it.
    """
    check_name(kind, tuple(_PRESETS), "kind of Tiki-Taka")
    check_name(name, tuple(_PRESETS[kind]), f"device with settings of {kind}")
    rate, granularity, chop, tail = _PRESETS[kind][name]
    device = Single(replace(get(name), together=True))
    return TikiTaka(kind, device, device, rate, granularity, chop=chop, tail=tail)


# fast rate, granularity, chop and tail
_PRESETS = {
    "v2": {
        "reram_es": (0.5, 1000.0, 0.0, 5.0), "reram_sb": (0.5, 1000.0, 0.0, 5.0), "capacitor": (0.1, 1000.0, 0.0, 5.0),
        "ecram": (0.1, 500.0, 0.0, 5.0), "ecram_mo": (0.1, 500.0, 0.0, 5.0), "idealized": (0.1, 500.0, 0.0, 5.0),
    },
    "chopped": {
        "reram_es": (0.5, 1000.0, 0.01, 5.0), "reram_sb": (0.5, 1000.0, 0.01, 5.0),
        "capacitor": (0.1, 1000.0, 0.01, 5.0), "ecram": (1.0, 500.0, 0.01, 5.0), "ecram_mo": (0.1, 500.0, 0.001, 5.0),
        "idealized": (0.1, 500.0, 0.001, 5.0),
    },
    "agad": {
        "reram_es": (0.5, 1000.0, 0.02, 5.0), "reram_sb": (0.5, 1000.0, 0.02, 5.0),
        "capacitor": (0.1, 1000.0, 0.01, 20.0), "ecram": (0.1, 750.0, 0.005, 50.0),
        "ecram_mo": (0.1, 500.0, 0.005, 50.0), "idealized": (0.1, 500.0, 0.005, 50.0),
    },
}  # fmt: skip
