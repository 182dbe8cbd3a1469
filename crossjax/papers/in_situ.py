"""What the three papers on training on the chip share: MNIST as they see it, paired runs over variants, and knobs."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from jax.sharding import PartitionSpec as P

from crossjax import nn, training
from crossjax._random import named, split
from crossjax.images import Images, mnist
from crossjax.nn.convert import Rule
from crossjax.nn.learning import learners
from crossjax.population import divided, shared, streamed
from crossjax.report import Run

Data = tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def digits_of(
    images: Images, *, rows: slice = slice(None), cols: slice = slice(None), count: int | None = None
) -> Data:
    """MNIST as floats in [0, 1]: the first ``count`` training images and all test images, cropped, (n, h, w, 1)."""

    def part(pair: tuple[np.ndarray, np.ndarray], count: int | None) -> tuple[np.ndarray, np.ndarray]:
        x, y = pair
        return (x[:count, rows, cols] / np.float32(255)).astype(np.float32), y[:count].astype(np.int32)

    return part(images.train, count), part(images.test, None)


def load(folder: Any, **how: Any) -> Data:
    """MNIST from a data folder; see `digits_of`."""
    return digits_of(mnist(folder), **how)


@dataclasses.dataclass(frozen=True)
class Falling:
    """A learning rate that falls to a tenth over so many examples."""

    rate: float
    examples: int

    def __call__(self, n: Any) -> Any:
        """After ``n`` of them."""
        return self.rate * 0.1 ** (n / self.examples)


class Trained:
    """Runs of one network on one data set: accuracy of the test after every epoch, for any hardware and seed.

    Seeds are paired: the same seed has the same first weights, order of examples and draws of devices, whatever the
    hardware is. One program serves all variants whose structure is the same, for as long as the object lives.
    """

    def __init__(
        self, model: Callable[[nnx.Rngs], nnx.Module], data: Data, step: training.InSitu, rules: Sequence[Rule] = ()
    ) -> None:
        self.model, self.rules, self.step = model, tuple(rules), step
        (x, y), (x_test, y_test) = data
        self.data = (jnp.asarray(x), jnp.asarray(y)), (jnp.asarray(x_test), jnp.asarray(y_test))
        self.example = jax.ShapeDtypeStruct((step.minibatch, *x.shape[1:]), jnp.float32)
        self._programs: dict[Any, Any] = {}

    def on_chip(self, key: Array, learning: nn.Learning | None) -> Any:
        """The network with fresh weights, its devices drawn; digital where there is no hardware."""
        model = self.model(nnx.Rngs(jax.random.key(0)))
        graph, params, rest = nnx.split(model, nnx.Param, ...)
        fresh = nnx.merge(graph, _drawn(named(key, "weights"), params), rest)
        analog = nn.to_analog(fresh, learning or nn.Learning(), self.rules, example=self.example, report=None)
        chips, _ = nn.program(named(key, "devices"), analog, ranges="keep", report=None)
        return nn.read(named(key, "read"), chips)

    def course(
        self, key: Array, learning: nn.Learning, epochs: int, data: Any = None, *, counted: bool = False
    ) -> dict[str, Array]:
        """One run: accuracies (epochs,), with the pulses of every kind of device where they are counted."""
        data, test = data or self.data
        found = training.course(
            named(key, "run"), self.on_chip(key, learning), data, self.step, epochs=epochs, test=test
        )
        result = {"test": found.test, "train": found.accuracy}
        if hasattr(learning.scheme, "trained"):  # what remains without the less significant part
            alone = nnx.clone(found.model)
            for _, op in learners(alone):
                op.put(_remembering(op.tile.get_value()))
            result["remembered"] = training.judge(nn.read(key, alone), *test)
        if counted:
            result |= {f"pulses {kind}": part for kind, part in _spent(nn.pulses(found.model)).items()}
        return result

    def runs(
        self, key: Array, variants: nn.Learning, seeds: int, epochs: int, *, batch: int = 1, counted: bool = False
    ) -> dict[str, np.ndarray]:
        """Runs of every variant and seed, (variants, seeds, …).

        Args:
            key: of all seeds.
            variants: hardware whose leaves have a first axis of variants.
            seeds: how many, the same ones for every variant.
            epochs: of a run.
            batch: runs at a time; bounds the memory.
            counted: whether pulses are reported.
        """
        count = jax.tree.leaves(variants)[0].shape[0]
        pairs = [np.repeat(np.arange(count), seeds), np.tile(np.arange(seeds), count)]
        each = jax.tree.map(lambda a: jnp.asarray(a)[pairs[0]], variants), split(key, seeds)[pairs[1]]
        structure = (jax.tree.structure(variants), count * seeds, epochs, counted)
        if structure not in self._programs:
            size = min(batch, count * seeds)

            def all_runs(
                each: Any, data: Any
            ) -> Any:  # data is an argument: a constant would be folded into the program
                return streamed(lambda v: self.course(v[1], v[0], epochs, data, counted=counted), each, size)

            mesh = divided(count * seeds, each)
            every, whole = P("chips"), P()
            program = jax.jit(all_runs) if mesh is None else shared(all_runs, mesh, every, (every, whole))
            self._programs[structure] = program
        found = self._programs[structure](each, self.data)
        return {name: np.asarray(a).reshape(count, seeds, *a.shape[1:]) for name, a in found.items()}


def _drawn(key: Array, params: Any) -> Any:
    """Fresh weights: uniform within ± √(3 / inputs) of every kernel, biases 0."""
    leaves, structure = jax.tree.flatten(params)
    keys = split(key, len(leaves))

    def one(k: Array, a: Array) -> Array:
        if a.ndim < 2:
            return jnp.zeros_like(a)
        limit = (3.0 / np.prod(a.shape[:-1])) ** 0.5
        return jax.random.uniform(k, a.shape, a.dtype, -limit, limit)

    return jax.tree.unflatten(structure, [one(keys[k], a) for k, a in enumerate(leaves)])


def _remembering(hardware: nn.Learning) -> nn.Learning:
    return dataclasses.replace(hardware, remember=True)


def _spent(found: Mapping[str, Mapping[str, Array]]) -> dict[str, Array]:
    """(mean, largest) pulses per device of every kind, over all layers."""
    kinds: dict[str, list[Array]] = {}
    for layer in found.values():
        for kind, counts in layer.items():
            kinds.setdefault(kind, []).append(counts.reshape(-1))
    flat = {kind: jnp.concatenate(parts).astype(jnp.float32) for kind, parts in kinds.items()}
    return {kind: jnp.stack([a.mean(), a.max()]) for kind, a in flat.items()}


def stacked(variants: Sequence[Any]) -> Any:
    """Hardware of one structure as one tree with a first axis of variants."""
    return jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(a, jnp.float32) for a in leaves]), *variants)


def tolerable(
    values: Sequence[float] | np.ndarray, accuracies: np.ndarray, reference: float, drop: float = 1.0
) -> float | None:
    """The value at which the mean accuracy (%) is ``drop`` points below the reference, linear in between.

    None where no value of the sweep costs as much: what is tolerable is beyond its end.
    """
    lost = reference - np.asarray(accuracies, float)
    for k, (a, b) in enumerate(itertools.pairwise(lost)):
        if b >= drop > a:
            return float(values[k] + (values[k + 1] - values[k]) * (drop - a) / (b - a))
    return float(values[0]) if lost[0] >= drop else None


def mean_se(values: np.ndarray) -> tuple[float, float]:
    """Mean and standard error over the last axis."""
    values = np.asarray(values, float)
    return float(values.mean()), float(values.std(ddof=1) / len(values) ** 0.5) if len(values) > 1 else float("nan")


def stage(run: Run, name: str, compute: Callable[[], Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """A stage of a run whose result is arrays by name."""
    kept = run.stage(name, lambda: {k: np.asarray(v).tolist() for k, v in compute().items()})
    return {k: np.asarray(v) for k, v in kept.items()}
