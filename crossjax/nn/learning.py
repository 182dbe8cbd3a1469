"""Layers whose weights are pulsed devices that learn: the hardware of training on the chip.

A network with `Learning` hardware is one like any other: `to_analog` puts it under layers, `program` draws devices that
hold the weights that the network begins with, `read` lets them conduct. What trains it is `crossjax.training.InSitu`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from crossjax._numerics import ratio
from crossjax._pytree import check_range, replace, spec, static
from crossjax._random import named
from crossjax.insitu.product import Sides, Tape, conducting, product
from crossjax.insitu.schemes import PulsedSGD, Scheme
from crossjax.nn.hardware import Hardware
from crossjax.nn.walk import layers
from crossjax.programming import Method
from crossjax.tiles.injection import Injection
from crossjax.tiles.mvm import multiply


@spec
class LearningChip:
    """The devices of a layer.

    Attributes:
        state: of its scheme.
        scale: weight that a normalised weight of 1 stands for.
    """

    state: Any
    scale: Array


@spec
class LearningReading:
    """What they conduct.

    Attributes:
        w: normalised weights (rows, cols).
        scale: as of the chip.
        tape: see `crossjax.insitu.Tape`; None where nothing is learned from the call.
    """

    w: Array
    scale: Array
    tape: Tape | None = None


@spec
class Learning(Hardware):
    """Hardware of a layer that learns on its devices.

    Attributes:
        scheme: what an update does.
        sides: converters and noise of products in both directions.
        rate: this layer's learning rate, relative to the network's.
        scale: weight that a normalised weight of 1 stands for; None: ``headroom`` times the largest one at first.
        headroom: how far weights may grow.
        remember: read only what remains for inference, where a scheme tells the two apart (`Significance.trained`).
        count: whether pulses are counted.
    """

    scheme: Scheme = PulsedSGD()
    sides: Sides = Sides()
    rate: float = 1.0
    scale: float | None = None
    headroom: float = 4.0
    remember: bool = static(default=False)
    count: bool = static(default=False)

    def _check(self) -> None:
        check_range(self, "rate", low=0)
        check_range(self, "scale", low=0, strict=True)
        check_range(self, "headroom", low=0, strict=True)

    def ideal_reading(self, key: Array, weights: Array, injections: Sequence[Injection]) -> Any:
        """See `Hardware.ideal_reading`: weights as they are, between the same converters."""
        if injections:
            raise ValueError("injected noise is for training off the chip: this layer learns on its devices")
        return LearningReading(weights, jnp.ones((), weights.dtype))

    def program(self, key: Array, weights: Array, method: Method) -> tuple[LearningChip, None]:
        """See `Hardware.program`: devices as they were made, put where the weights are, whatever the ``method``."""
        largest = jnp.max(jnp.abs(weights))
        scale = jnp.where(largest == 0, 1.0, self.headroom * largest) if self.scale is None else self.scale
        scale = jnp.asarray(scale, weights.dtype)
        return LearningChip(self.scheme.start(key, weights / scale, count=self.count), scale), None

    def read(self, key: Array, chip: LearningChip, t: Array | float, compensate: bool) -> LearningReading:
        """See `Hardware.read`; time is what training brings along, and ``t`` without effect."""
        whole = getattr(self.scheme, "trained", None) if self.remember else None
        w = (whole or self.scheme.weights)(chip.state)
        return LearningReading(w, chip.scale)

    def at_step(self, reading: LearningReading, step: Array) -> LearningReading:
        """See `Hardware.at_step`: with the tape of that call, where there are several."""
        if reading.tape is None or jnp.ndim(reading.tape.calls) == 0:
            return reading
        if step.shape != (1,):
            raise ValueError(f"what learns on devices is called at steps, not at {step.shape[0]} steps within steps")
        return replace(reading, tape=jax.tree.map(lambda a: a[step[0]], reading.tape))

    def multiply(self, key: Array, reading: LearningReading, x: Array) -> Array:
        """See `Hardware.multiply`; differentiable in x, by the transposed array, and in the tape."""
        if reading.tape is None:
            w = conducting(self.sides.forward, reading.w, reading.scale)
            return multiply(named(key, "forward"), self.sides.forward, w, x)
        return product(key, self.sides, reading.w, reading.scale, reading.tape, x)

    def learned(self, key: Array, chip: LearningChip, tape: Tape, rate: Array | float, n: Array) -> LearningChip:
        """The chip after a mini-batch, before anything is settled: what was on its rows and columns, examples first."""
        step = ratio(jnp.asarray(rate * self.rate), chip.scale)
        return replace(chip, state=self.scheme.learn(key, chip.state, tape.x, -tape.d, step, n))

    def settled(self, key: Array, chip: LearningChip, before: Array, after: Array) -> LearningChip:
        """The chip after what is due between examples ``before`` and ``after``."""
        return replace(chip, state=self.scheme.settle(key, chip.state, before, after))


def learners(model: nnx.Module) -> list[tuple[str, Any]]:
    """(path, op) of the layers that learn on their devices."""
    return [(name, op) for name, _, op in layers(model) if isinstance(op.tile.get_value(), Learning)]


def pulses(model: nnx.Module) -> dict[str, dict[str, Array]]:
    """Pulses that the devices of every layer have had, by what they are: {"layers.0": {"msp": (devices, rows, cols)}}.

    Raises:
        ValueError: for hardware that does not count (``Learning(count=True)``).
    """
    found = {}
    for name, op in learners(model):
        if not op.tile.get_value().count:
            raise ValueError(f"{name} does not count its pulses: give its hardware count=True")
        chip = jax.tree.map(lambda a: a[0], op.chip.get_value())
        found[name] = op.tile.get_value().scheme.pulses(chip.state)
    return found


class _Call(NamedTuple):
    """What one call multiplies: shapes, type, and whether it is one at a step."""

    x: tuple[int, ...]
    y: tuple[int, ...]
    dtype: jnp.dtype
    stepped: bool


class _Recorder(Hardware):
    """Stands in for hardware while one call is traced, and notes the shapes of what it multiplies."""

    def __init__(self, cols: int, seen: list[_Call]) -> None:
        self.cols, self.seen, self.stepped = cols, seen, False

    def ideal_reading(self, key: Array, weights: Array, injections: Sequence[Injection]) -> Any:
        return weights

    def program(self, key: Array, weights: Array, method: Method) -> tuple[Any, None]:
        return weights, None

    def read(self, key: Array, chip: Any, t: Array | float, compensate: bool) -> Any:
        return chip

    def at_step(self, reading: Any, step: Array) -> Any:
        self.stepped = True
        return reading

    def multiply(self, key: Array, reading: Any, x: Array) -> Array:
        y = jnp.zeros((*x.shape[:-1], self.cols), x.dtype)
        self.seen.append(_Call(x.shape, y.shape, x.dtype, self.stepped))
        self.stepped = False
        return y


jax.tree_util.register_pytree_node(_Recorder, lambda r: ((), r), lambda r, _: r)


def tapes(model: nnx.Module, x: Any) -> dict[str, Tape]:
    """Blank tapes (zeros) of every learning layer for a batch like ``x``.

    Raises:
        ValueError: for a layer that one call of the network does not call, or calls several times other than by
            `at_step` with the steps 0, 1, 2 …: what its devices would be told is the sum of what several calls ask for,
            and pulses cannot be sent by a sum of vectors.
    """
    graph, state = nnx.split(model)
    seen: dict[str, list[_Call]] = {name: [] for name, _ in learners(model)}

    def call(state: Any, x: Any) -> Any:
        net = nnx.merge(graph, state, copy=True)
        for name, op in learners(net):
            op.tile = type(op.tile)(_Recorder(op.reading.get_value().w.shape[-1], seen[name]))
        return net(x)  # type: ignore[operator]

    jax.eval_shape(call, state, x)
    found = {}
    for name, op in learners(model):
        calls, kinds = op.calls or len(seen[name]), set(seen[name])
        if op.calls is None and any(call.stepped for call in kinds):
            raise ValueError(
                f"how often layer {name!r} is called is not known: convert the network with to_analog(…, example=x)"
            )
        if len(kinds) != 1 or (calls > 1 and not seen[name][0].stepped):
            raise ValueError(
                f"layer {name!r} is called {calls} times in one call of the network, and what learns on devices must "
                "be called once, or by crossjax.nn.at_step with the steps 0, 1, 2 … and vectors of one shape. Else "
                "keep it digital by a rule"
            )
        if op.chip.get_value().scale.shape[0] != 1:
            raise ValueError(f"layer {name!r} has several groups, which do not learn on devices: keep it digital")
        one, many = seen[name][0], () if calls == 1 else (calls,)
        x, d = (jnp.zeros(many + shape, one.dtype) for shape in (one.x, one.y))
        found[name] = Tape(x, d, jnp.zeros(many))
    return found
