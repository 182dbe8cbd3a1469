"""Training on the chip: forward, backward and update on the same devices.

What one mini-batch does is a pure function of the network's state, so that a run is a scan and a population, or a sweep
over any number of the hardware, is a vmap of it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import Array, lax

from crossjax._checks import ensure_range
from crossjax._kinds import door
from crossjax._random import named, numbered
from crossjax.insitu.schemes import Scheme
from crossjax.nn.chips import program, read
from crossjax.nn.convert import Model, Rule, set_key, to_analog
from crossjax.nn.learning import Learning, learners, tapes
from crossjax.nn.ops import Conducting, Programmed
from crossjax.training.fit import Trained, fit
from crossjax.training.losses import Loss, bounded, cross_entropy
from crossjax.training.steps import Prepare


@dataclasses.dataclass(frozen=True)
class InSitu:
    """A `Step` in which layers on `crossjax.nn.Learning` hardware learn by pulses, and all others by an optimiser.

    A batch of ``fit`` is cut into mini-batches, one after the other: with one of 1 every example is an update.

    Attributes:
        rate: learning rate of the devices, of the weights as the network has them; a number, or a schedule, a function
            of how many examples came before.
        minibatch: examples whose loss is averaged for an update.
        optimiser: of digital parameters; None: gradient descent at the same rate.
        loss: (model, x, y) → (loss, logits).
    """

    rate: Any
    minibatch: int = 1
    optimiser: optax.GradientTransformation | None = None
    loss: Loss = cross_entropy

    @property
    def _digital(self) -> optax.GradientTransformation:
        """The optimiser of digital parameters."""
        if self.optimiser is not None:
            return self.optimiser
        return optax.sgd(self.rate if not callable(self.rate) else lambda k: self.rate(k * self.minibatch))

    def init(self, model: Any) -> Any:
        """Examples seen, and the optimiser's state."""
        if not learners(model):
            raise ValueError(
                "no layer of this network learns on its devices: convert it with to_analog and crossjax.nn.Learning"
            )
        return jnp.zeros((), jnp.int32), self._digital.init(digital_parameters(model))

    def update(self, key: Array, model: Any, state: Any, x: Array, y: Array) -> tuple[Any, Array, Array]:
        """One batch of `fit`."""
        if x.shape[0] % self.minibatch:
            raise ValueError(f"a batch of {x.shape[0]} is not made of whole mini-batches of {self.minibatch}")
        count = x.shape[0] // self.minibatch
        cut = [a.reshape(count, self.minibatch, *a.shape[1:]) for a in (x, y)]
        graph, begin = nnx.split(model)
        seen, optimiser = state
        examples = lambda k: (cut[0][k], cut[1][k])  # noqa: E731
        (after, optimiser), losses, right = self.learned(key, graph, (begin, optimiser), examples, count, seen)
        nnx.update(model, after)
        return (seen + x.shape[0], optimiser), losses.mean(), right.mean()

    def learned(
        self, key: Array, graph: Any, carry: Any, examples: Callable[[Array], Any], count: int, seen: Array
    ) -> tuple[Any, Array, Array]:
        """``count`` mini-batches, in blocks between which layers settle what is due.

        Args:
            key: of all of them.
            graph: of the network.
            carry: (its state, the optimiser's).
            examples: the number of a mini-batch to its inputs and labels.
            count: how many.
            seen: examples that came before, the same for all networks of a vmap.

        Returns:
            (carry, losses (count,), accuracies (count,)).
        """
        periods = [op.tile.get_value().scheme.period for _, op in learners(nnx.merge(graph, carry[0], copy=True))]
        periods = [p for p in periods if p is not None]
        size = count if not periods else math.gcd(count, max(math.gcd(*periods) // self.minibatch, 1))

        def one(carry: Any, k: Array) -> tuple[Any, Any]:
            state, optimiser = carry
            net = nnx.merge(graph, state, copy=True)
            x, y = examples(k)
            optimiser, *found = self.learn(numbered(key, k), net, optimiser, x, y, seen + k * self.minibatch)
            return (nnx.split(net)[1], optimiser), found

        def block(carry: Any, j: Array) -> tuple[Any, Any]:
            carry, found = lax.scan(one, carry, j * size + jnp.arange(size))
            if periods:
                net = nnx.merge(graph, carry[0], copy=True)
                before = seen + j * size * self.minibatch
                _settle(numbered(named(key, "settle"), j), net, before, before + size * self.minibatch)
                carry = nnx.split(net)[1], carry[1]
            return carry, found

        carry, (losses, right) = lax.scan(block, carry, jnp.arange(count // size))
        return carry, losses.reshape(count), right.reshape(count)

    def learn(self, key: Array, net: Any, optimiser: Any, x: Array, y: Array, n: Array) -> tuple[Any, Array, Array]:
        """One mini-batch, in place: (optimiser state, loss, accuracy).

        ``n``, examples that came before, must be the same for all networks of a vmap: transfers go by it.
        """
        set_key(net, named(key, "noise"))
        graph, params, rest = nnx.split(net, nnx.Param, ...)
        digital, kernels = _parted(net, params)
        blank = tapes(net, x)

        def loss(digital: Any, tapes: Any) -> tuple[Array, Any]:
            model = nnx.merge(graph, nnx.merge_state(digital, kernels), rest, copy=True)
            for name, op in learners(model):
                reading = op.reading.get_value()
                op.reading = Conducting(dataclasses.replace(reading, tape=jax.tree.map(lambda a: a[None], tapes[name])))
            value, logits = self.loss(model, x, y)
            right = jnp.mean(jnp.argmax(logits, axis=-1) == y)
            for _, op in learners(model):
                op.reading = Conducting(dataclasses.replace(op.reading.get_value(), tape=None))
            return value, (right, nnx.split(model, nnx.Param, ...)[2])

        gradient = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)
        (value, (right, rest)), (slope, found) = gradient(digital, blank)
        nnx.update(net, rest)
        rate = self.rate(n) if callable(self.rate) else self.rate
        for name, op in learners(net):
            on, chip = op.tile.get_value(), _only(op.chip.get_value())
            _conduct(op, on.learned(named(named(key, "update"), name), chip, found[name].by_example(), rate, n))
            value = jnp.where(found[name].whole, value, jnp.nan)  # a call was left out, or written over another
        changes, optimiser = self._digital.update(slope, optimiser, digital)
        nnx.update(net, optax.apply_updates(digital, changes))
        return optimiser, value, right


def _settle(key: Array, net: nnx.Module, before: Array, after: Array) -> None:
    """What is due in every layer, in place."""
    for name, op in learners(net):
        chip = _only(op.chip.get_value())
        _conduct(op, op.tile.get_value().settled(named(key, name), chip, before, after))


def _conduct(op: Any, chip: Any) -> None:
    """Let a layer conduct as its devices are now, in place."""
    op.chip = Programmed(_stacked(chip))
    op.reading = Conducting(_stacked(op.tile.get_value().read(op.key.get_value(), chip, 0.0, True)))


def _only(tree: Any) -> Any:
    return jax.tree.map(lambda a: a[0], tree)


def _stacked(tree: Any) -> Any:
    return jax.tree.map(lambda a: a[None], tree)


def _parted(net: nnx.Module, params: Any) -> tuple[Any, Any]:
    """Parameters that are digital, and the kernels of layers that learn on devices."""
    on = {tuple(name.split(".")) for name, _ in learners(net)}

    def is_kernel(path: Any, _: Any) -> bool:
        return tuple(map(str, path[:-1])) in on and path[-1] == "kernel"

    kernels, digital = nnx.split_state(params, is_kernel, ...)
    return digital, kernels


def digital_parameters(net: nnx.Module) -> Any:
    """The parameters that are not on devices."""
    return _parted(net, nnx.state(net, nnx.Param))[0]


@door
def fit_in_situ(
    key: Array,
    model: Model,
    data: tuple[np.ndarray, np.ndarray],
    scheme: Scheme | Learning,
    rules: Sequence[Rule] = (),
    *,
    rate: Any,
    epochs: int = 1,
    minibatch: int = 1,
    optimiser: optax.GradientTransformation | None = None,
    loss: Loss | None = None,
    prepare: Prepare | None = None,
    batch: int = 500,
    **options: Any,
) -> Trained[Model]:
    """Train a digital network on pulsed devices, from the weights that it has.

    Args:
        key: randomness of devices, order, noise and pulses.
        model: a digital network.
        data: examples (n, …) and labels.
        scheme: how layers learn, or whole `crossjax.nn.Learning` hardware with converters and scales of its own.
        rules: as of `to_analog`: other hardware for some layers, None for digital ones. Embeddings, norms and biases
            are digital.
        rate: learning rate of the devices, a number or a schedule over examples; of the weights.
        epochs: how often the data are gone through.
        minibatch: examples an update.
        optimiser: of digital parameters; None: gradient descent at the same rate.
        loss: cross-entropy if none is given.
        prepare: as of `fit`.
        batch: examples between two looks at the loss, a multiple of ``minibatch``; fewer where there are fewer.
        **options: of `fit`: checkpoints, every, progress, label, order, guard.

    Raises:
        ValueError: as `to_analog` and `fit`; for a layer that is called more than once in a call, other than by
            `crossjax.nn.at_step` (`crossjax.nn.language.LSTM` does so), and epochs, minibatch or rate out of range.
        FloatingPointError: when the loss is NaN or infinite, as it is after a step of a layer that was left out or
            taken twice.
    """
    if epochs < 1 or minibatch < 1:
        raise ValueError(f"epochs and minibatch must be at least 1, got {epochs} and {minibatch}")
    if not callable(rate):
        ensure_range("rate", rate, low=0)
    on = scheme if isinstance(scheme, Learning) else Learning(scheme)
    x = np.asarray(data[0])
    batch = min(batch, len(x)) // minibatch * minibatch
    if batch == 0:
        raise ValueError(f"a mini-batch of {minibatch} does not fit into {len(x)} examples")
    one = jax.ShapeDtypeStruct((minibatch, *x.shape[1:]), x.dtype)
    if prepare is not None:
        one = jax.eval_shape(prepare, key, one)
    analog = to_analog(model, on, rules, key=named(key, "network"), example=one, report=None)
    chips, _ = program(named(key, "devices"), analog, ranges="keep", report=None)
    ready = read(named(key, "read"), chips)
    highest = int(np.max(data[1])) if len(data[1]) else 0
    step = InSitu(rate, minibatch, optimiser, bounded(loss or cross_entropy, highest))
    return fit(
        named(key, "training"), ready, data, step=step, steps=epochs * (len(x) // batch), batch=batch, prepare=prepare,
        **{"label": "training on the chip", **options},
    )  # fmt: skip


class Course(NamedTuple):
    """A run: the network, and after every epoch the mean loss, the accuracy while learning and of the test."""

    model: Any
    loss: Array
    accuracy: Array
    test: Array | None


def course(
    key: Array,
    model: Any,
    data: tuple[Array, Array],
    step: InSitu,
    *,
    epochs: int,
    test: tuple[Array, Array] | None = None,
) -> Course:
    """A whole run as one pure function, without a bar or checkpoints: to be jitted, vmapped and streamed.

        run = lambda learning: course(key, on(learning), data, step, epochs=2, test=test).test[-1]
        accuracies = cx.stream(run, variants, batch=8)  # any leaf of the hardware: no recompilation

    Args:
        key: randomness of order, noise and pulses.
        model: a network whose devices are drawn and read (`crossjax.nn.program`, `read`).
        data: examples and labels, in the form that the network takes; what does not fill a mini-batch is left out.
        step: what a mini-batch does.
        epochs: how often the data are gone through, in a new order each time.
        test: examples and labels to judge by, after every epoch, without an update.
    """
    x, y = (jnp.asarray(a) for a in data)
    graph, begin = nnx.split(model)
    seen, optimiser = step.init(model)
    size = step.minibatch
    count = x.shape[0] // size

    def epoch(carry: Any, k: Array) -> tuple[Any, Any]:
        order = jax.random.permutation(numbered(named(key, "order"), k), x.shape[0])[: count * size]
        order = order.reshape(count, size)
        own = numbered(named(key, "steps"), k)
        before = seen + k * count * size
        carry, losses, right = step.learned(own, graph, carry, lambda j: (x[order[j]], y[order[j]]), count, before)
        judged = None if test is None else judge(nnx.merge(graph, carry[0], copy=True), *test)
        return carry, (losses.mean(), right.mean(), judged)

    (state, _), (losses, right, judged) = lax.scan(epoch, (begin, optimiser), jnp.arange(epochs))
    return Course(nnx.merge(graph, state, copy=True), losses, right, judged)


def judge(model: Any, x: Array, y: Array) -> Array:
    """Accuracy of a network on examples, as it is."""
    model.eval()
    return jnp.mean(jnp.argmax(model(jnp.asarray(x)), axis=-1) == jnp.asarray(y))
