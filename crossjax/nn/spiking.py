"""Spiking networks: a ReLU network whose activations are rates of spikes, over time steps, on the same tiles.

    x ──rate──► spikes ──layer──► current ──► membranes ──fire at θ──► spikes ──► … ──layer──► summed outputs

A converted network has the weights of the one that it comes from, and thresholds that are balanced to its activations
(Diehl et al., IJCNN 2015; Rueckauer et al., Front. Neurosci. 11:682, 2017). On tiles every step is an MVM with noise of
its own. Chips are programmed once, and read once, for all steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array, lax

from crossjax._checks import KindError, ensure, shown
from crossjax._kinds import door
from crossjax._numerics import at_least_single, fire
from crossjax._pytree import check_choice, spec, static
from crossjax._random import keyed_by, named, numbered, uniform
from crossjax.nn.change import at_step
from crossjax.nn.convert import digital
from crossjax.nn.walk import ops


class Neuron(Protocol):
    """A cell that integrates and fires."""

    def start(self, shape: tuple[int, ...]) -> Any:
        """Membranes at rest: a pytree of arrays."""
        ...

    def step(self, key: Array, state: Any, current: Array, threshold: Array) -> tuple[Any, Array]:
        """(membranes, spikes) after one step of currents, for the current that fires a membrane at rest at once."""
        ...


@spec
class IntegrateAndFire:
    """V ← V + current; a spike where V ≥ θ; then V ← V − θ ("soft", the rest is kept) or 0 ("hard").

    A spike's surrogate gradient is a triangle around the threshold (`fire`).

    Attributes:
        reset: "soft" or "hard".
    """

    reset: str = static(default="soft")

    def _check(self) -> None:
        check_choice(self, "reset", ("soft", "hard"))

    def start(self, shape: tuple[int, ...]) -> Array:
        """See `Neuron.start`."""
        return jnp.zeros(shape)

    def step(self, key: Array, state: Array, current: Array, threshold: Array) -> tuple[Array, Array]:
        """See `Neuron.step`."""
        state = state + current
        spikes = fire(state, threshold)
        return state - spikes * (threshold if self.reset == "soft" else state), spikes


_RATES = "inputs must be within [0, 1], rates of spikes"


def _is_rate(x: Any) -> Any:
    return (x >= 0) & (x <= 1)


class Thresholds(nnx.Variable):
    """The current that fires a neuron of every hidden layer at once, (layers,)."""


class SpikeKey(nnx.Variable):
    """The key of random input spikes and of the neurons' noise."""


class Spiking(nnx.Module):
    """A network of layers in a row, spiking; made by `spiking`.

    Attributes:
        layers: linear layers; the last one's outputs are summed over time.
        thresholds: of the hidden layers.
        neuron: of all of them.
        steps: T.
        coding: of the inputs, within [0, 1]: "regular" spikes, as many as the rate says; "random" ones; or "current",
            the inputs themselves at every step.
    """

    def __init__(
        self, layers: Sequence[Any], thresholds: Array, neuron: Neuron, steps: int, coding: str, key: Array
    ) -> None:
        self.layers = nnx.List(layers)
        self.thresholds = Thresholds(thresholds)
        self.neuron = nnx.data(neuron)
        self.steps, self.coding = steps, coding
        self.key = SpikeKey(key)

    def __call__(self, x: Array) -> Array:
        """(batch, …) → outputs (batch, classes), means over T steps."""
        return self.course(x)[-1]

    def course(self, x: Array) -> Array:
        """Outputs after every step, (T, batch, classes): the mean so far."""
        x = at_least_single(x)
        ensure(_is_rate, _RATES, x)
        x = x.reshape(x.shape[0], -1)
        thresholds, key = self.thresholds[...], keyed_by(self.key[...], x)
        hidden = len(self.layers) - 1
        shapes = [(x.shape[0], layer.kernel[...].shape[-1]) for layer in self.layers]
        scales = [jnp.ones(()), *thresholds]  # what a spike stands for

        def step(carry: tuple[Any, ...], n: Array) -> tuple[tuple[Any, ...], Array]:
            states, phase, total = carry
            now, k = at_step(self, n), numbered(key, n)
            phase, spikes = self._inputs(named(k, "inputs"), x, phase)
            after = []
            for m in range(hidden):
                current = scales[m] * _product(now.layers[m], spikes) + _bias(now.layers[m])
                state, spikes = self.neuron.step(named(k, f"layer {m}"), states[m], current, thresholds[m])
                after.append(state)
            total = total + scales[hidden] * _product(now.layers[hidden], spikes) + _bias(now.layers[hidden])
            return (after, phase, total), total / (n + 1)

        rest = [self.neuron.start(shape) for shape in shapes[:-1]]
        begin = rest, jnp.zeros_like(x), jnp.zeros(shapes[-1], x.dtype)
        return lax.scan(step, begin, jnp.arange(self.steps))[1]

    def _inputs(self, key: Array, x: Array, phase: Array) -> tuple[Array, Array]:
        """(what regular spikes still owe, signals of one step)."""
        if self.coding == "current":
            return phase, x
        if self.coding == "random":
            return phase, (uniform(key, x.shape) < x).astype(x.dtype)
        phase = phase + x
        spikes = fire(phase + 1e-6, jnp.ones(()))
        return phase - spikes, spikes


def _product(layer: Any, x: Array) -> Array:
    """A layer's product, its bias left to `_bias`: a spike stands for more than 1, a bias does not."""
    return layer(x) - _bias(layer)


def _bias(layer: Any) -> Array | float:
    return 0.0 if layer.bias is None else layer.bias[...]


@door
def spiking(
    model: Any,
    x: Array,
    *,
    steps: int = 128,
    neuron: Neuron = IntegrateAndFire(),
    coding: str = "regular",
    percentile: float = 99.9,
    key: Array | None = None,
) -> Spiking:
    """The spiking network of a perceptron with ReLU (`nn.models.MLP`, or anything with its ``layers``).

    Thresholds are a percentile of every layer's activations for typical inputs, in the exact network: a rate of one
    spike a step stands for that activation. Larger ones are clipped, and a larger percentile needs more steps. Layers
    on tiles stay there: convert or program before or after.

    Args:
        model: the network, with ``layers`` of `nnx.Linear` and ReLU between.
        x: typical inputs (batch, …) within [0, 1].
        steps: T.
        neuron: of the hidden layers.
        coding: of the inputs; see `Spiking`.
        percentile: of activations, in (0, 100].
        key: of random inputs and the neurons' noise; None: ``jax.random.key(0)``.

    Raises:
        ValueError: for steps below 1, an unknown coding, inputs outside [0, 1], or another kind of network.
    """
    layers = getattr(model, "layers", None)
    if not isinstance(layers, nnx.List | list | tuple) or len(layers) < 2 or not all(
        isinstance(layer, nnx.Linear) for layer in layers
    ):  # fmt: skip
        raise KindError(f"spiking takes a network with layers, two or more nnx.Linear, got {shown(model)}")
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    if coding not in ("regular", "random", "current"):
        raise ValueError(f"coding must be regular, random or current, got {coding!r}")
    ensure(lambda p: (p > 0) & (p <= 100), "percentile must be in (0, 100]", percentile)
    x = at_least_single(x)
    ensure(_is_rate, _RATES, x)
    exact: Any = digital(model) if any(True for _ in ops(model)) else model
    a, found = x.reshape(x.shape[0], -1), []
    for layer in exact.layers[:-1]:
        a = jax.nn.relu(layer(a))
        top = jnp.percentile(a, percentile)
        found.append(jnp.where(top > 0, top, jnp.maximum(jnp.max(a), 1e-6)))
    if not jnp.allclose(exact.layers[-1](a), exact(x), rtol=1e-3, atol=1e-4 * float(jnp.max(jnp.abs(a)))):
        raise KindError(
            f"{type(model).__name__} is not its layers with ReLU between: its outputs for x differ from theirs, and "
            "spikes stand for activations of ReLU"
        )
    made = Spiking(
        list(nnx.clone(model).layers),
        jnp.stack(found),
        neuron,
        steps,
        coding,
        jax.random.key(0) if key is None else key,
    )
    made.eval()
    return made
