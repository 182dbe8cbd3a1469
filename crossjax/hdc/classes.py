"""Class vectors: summed, retrained on what they get wrong, and looked up by a search that may be a memory's.

Training keeps real-valued class vectors and searches a copy of few bits, as the hardware would hold it: QuantHD (Imani
et al., IEEE TCAD 39:2268, 2020). Where the search is a content-addressable memory with the spread of its devices, it
is retraining that sees the hardware (HWART of Kazemi et al., arXiv:2106.12029, of which the abstract was read).
"""

from __future__ import annotations

from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax

from crossjax._checks import KindError, as_array, ensure, ensure_range, is_finite, is_traced, shown
from crossjax._kinds import door
from crossjax._numerics import at_least_single, ratio
from crossjax._pytree import check_range, spec, strong
from crossjax._random import named, numbered
from crossjax.cam import CAM, CAMChip, currents, read, search, write
from crossjax.hdc.levels import quantise, standardise


class Searched(Protocol):
    """How class vectors are held and looked up."""

    def store(self, key: Array, vectors: Array, held: Any) -> tuple[Any, Array]:
        """What holds class vectors (classes, D), and how many cells were written; ``held`` is what did, or None."""
        ...

    def classify(self, key: Array, held: Any, h: Array) -> Array:
        """The class (…,) of hypervectors (…, D)."""
        ...

    def logits(self, key: Array, held: Any, h: Array) -> Array:
        """(…, classes), large for the nearest; differentiable in the vectors that were stored."""
        ...


@spec
class Cosine:
    """In floating point: the largest cosine.

    Attributes:
        temperature: τ of the logits, cosine / τ.
    """

    temperature: float = 0.1

    def _check(self) -> None:
        check_range(self, "temperature", low=0, strict=True)

    def store(self, key: Array, vectors: Array, held: Any) -> tuple[Array, Array]:
        """See `Searched.store`: normalised."""
        return _unit(vectors), jnp.asarray(vectors.size)

    def classify(self, key: Array, held: Array, h: Array) -> Array:
        """See `Searched.classify`."""
        return jnp.argmax(h @ held.T, axis=-1)

    def logits(self, key: Array, held: Array, h: Array) -> Array:
        """See `Searched.logits`."""
        return _unit(h) @ held.T / self.temperature


@spec
class InMemory:
    """In a content-addressable memory: vectors and queries in its levels, the nearest row.

    Attributes:
        memory: the hardware.
        temperature: τ of the logits −d / τ, in units of the deviation of a query's distances from row to row.
    """

    memory: CAM = CAM()
    temperature: float = 0.2

    def _check(self) -> None:
        check_range(self, "temperature", low=0, strict=True)

    def levels(self, h: Array) -> Array:
        """Levels of hypervectors."""
        return quantise(standardise(h), self.memory.bits)

    def store(self, key: Array, vectors: Array, held: CAMChip | None) -> tuple[CAMChip, Array]:
        """See `Searched.store`: cells whose level stays are not written again."""
        return write(key, self.memory, self.levels(vectors), chip=held)

    def classify(self, key: Array, held: CAMChip, h: Array) -> Array:
        """See `Searched.classify`."""
        return search(key, self.memory, read(self.memory, held), self.levels(h))

    def logits(self, key: Array, held: CAMChip, h: Array) -> Array:
        """See `Searched.logits`."""
        d = currents(key, self.memory, read(self.memory, held), self.levels(h))
        scale = lax.stop_gradient(jnp.std(d, axis=-1, keepdims=True))
        return -ratio(d, self.temperature * scale)


@spec
class Classifier:
    """A trained classifier.

    Attributes:
        vectors: class vectors (classes, D), real-valued.
        held: what is searched.
        search: how.
        accuracy: on the training set, before every epoch and at the end, (epochs + 1,).
        written: cells that were written in all.
    """

    vectors: Array
    held: Any
    search: Searched
    accuracy: Array
    written: Array

    def classify(self, key: Array, h: Array) -> Array:
        """The class (…,) of hypervectors (…, D)."""
        return self.search.classify(key, self.held, h)


@door
def bundle(h: Array | np.ndarray, y: Array | np.ndarray, classes: int) -> Array:
    """Class vectors (classes, D): the sum of the hypervectors (n, D) of every class, labels (n,).

    Raises:
        ValueError: for data that do not fit, labels out of range, or a class without examples.
    """
    h, y = _checked(h, y, classes)
    if not is_traced(y):
        missing = np.setdiff1d(np.arange(classes), np.asarray(y))
        if missing.size:
            raise ValueError(f"{missing.size} of {classes} classes have no example (the first is {missing[0]})")
    return _sums(y, h, classes)


@door
def retrain(
    key: Array,
    h: Array | np.ndarray,
    y: Array | np.ndarray,
    search: Searched,
    *,
    classes: int,
    epochs: int = 20,
    rate: float = 0.03,
) -> Classifier:
    """Class vectors as means, then `epochs` of retraining: C_true += rate · h and C_found −= rate · h for every error.

    The copy that is searched is written anew after every epoch (QuantHD, see above); where it is a memory, that is a
    write of the cells whose level changed. The rate falls to 0 in equal steps, without which the last epochs are up and
    down.

    Args:
        key: of the writes and searches.
        h: hypervectors (n, D); they count standardised.
        y: labels (n,).
        search: what holds and searches the class vectors: `InMemory`, `Cosine`, or your own.
        classes: how many.
        epochs: 0 for the means alone.
        rate: of the first update, in units of one (standardised) example.

    Raises:
        ValueError: for data that do not fit, labels out of range, a class without examples, or numbers out of range.
    """
    if epochs < 0:
        raise ValueError(f"epochs must be at least 0, got {epochs}")
    ensure_range("rate", rate, low=0)
    h, y = _checked(h, y, classes)
    return _retrain(key, h, y, _means(h, y, classes), strong(search), jnp.asarray(rate, h.dtype), epochs)


@partial(jax.jit, static_argnums=6)
def _retrain(key: Array, h: Array, y: Array, vectors: Array, search: Searched, rate: Array, epochs: int) -> Classifier:
    h = standardise(h)
    classes = vectors.shape[0]
    held, written = search.store(named(numbered(key, 0), "store"), vectors, None)

    def found(n: Array | int, held: Any) -> Array:
        return search.classify(named(numbered(key, n), "search"), held, h)

    def epoch(carry: tuple[Any, ...], n: Array) -> tuple[tuple[Any, ...], Array]:
        vectors, held, written = carry
        guess = found(n, held)
        vectors = vectors + rate * (1.0 - n / epochs) * _sums(y, h, classes, guess)
        held, more = search.store(named(numbered(key, n + 1), "store"), vectors, held)
        return (vectors, held, written + more), jnp.mean(guess == y)

    (vectors, held, written), rights = lax.scan(epoch, (vectors, held, written), jnp.arange(epochs))
    return Classifier(vectors, held, search, jnp.append(rights, jnp.mean(found(epochs, held) == y)), written)


@door
def descend(
    key: Array,
    h: Array | np.ndarray,
    y: Array | np.ndarray,
    search: Searched,
    *,
    classes: int,
    epochs: int = 20,
    rate: float = 0.03,
    batch: int = 100,
) -> Classifier:
    """Class vectors by gradient descent of the cross-entropy of `Searched.logits`, through the levels of the memory.

    Adam, from the means in units of their deviation. The memory is written anew for every batch: its spread is
    another one each time.

    Args:
        key: of the order, the writes and the searches.
        h, y, search, classes: as in `retrain`.
        epochs: passes over the data.
        rate: of Adam.
        batch: examples in a step; what does not fill one is left out of that epoch.

    Raises:
        ValueError: as `retrain`; for a batch larger than the data.
    """
    h, y = _checked(h, y, classes)
    if epochs < 1 or not 1 <= batch <= len(h):
        raise ValueError(f"epochs must be at least 1 and batch from 1 to {len(h)}, got {epochs} and {batch}")
    ensure_range("rate", rate, low=0)
    return _descend(key, h, y, _means(h, y, classes), strong(search), jnp.asarray(rate, h.dtype), epochs, batch)


@partial(jax.jit, static_argnums=(6, 7))
def _descend(
    key: Array, h: Array, y: Array, vectors: Array, search: Searched, rate: Array, epochs: int, batch: int
) -> Classifier:
    h = standardise(h)
    optimiser = optax.adam(rate)
    steps = h.shape[0] // batch

    def loss(vectors: Array, k: Array, x: Array, t: Array) -> tuple[Array, Array]:
        held, _ = search.store(named(k, "store"), vectors, None)
        logits = search.logits(named(k, "search"), held, x)
        value = optax.softmax_cross_entropy_with_integer_labels(logits, t).mean()
        return value, jnp.mean(jnp.argmax(logits, axis=-1) == t)

    def step(carry: tuple[Any, ...], which: tuple[Array, Array]) -> tuple[tuple[Any, ...], Array]:
        vectors, state = carry
        n, rows = which
        (_, right), gradient = jax.value_and_grad(loss, has_aux=True)(vectors, numbered(key, n), h[rows], y[rows])
        updates, state = optimiser.update(gradient, state, vectors)
        return (optax.apply_updates(vectors, updates), state), right

    def order(n: Array) -> Array:
        return jax.random.permutation(numbered(named(key, "order"), n), h.shape[0])[: steps * batch]

    rows = jax.vmap(order)(jnp.arange(epochs)).reshape(-1, batch)
    begin = standardise(vectors)
    (vectors, _), rights = lax.scan(step, (begin, optimiser.init(begin)), (jnp.arange(epochs * steps), rows))
    last = numbered(key, epochs * steps)
    held, cells = search.store(named(last, "store"), vectors, None)
    written = cells * (epochs * steps + 1.0)
    right = jnp.mean(search.classify(named(last, "search"), held, h) == y)
    accuracy = jnp.append(rights.reshape(epochs, steps).mean(axis=1), right)
    return Classifier(vectors, held, search, accuracy, written)


# ----------------------------------------------------------------------------------------------------- checks


def _means(h: Array, y: Array, classes: int) -> Array:
    """Class vectors to begin with: the mean of the standardised hypervectors of every class."""
    vectors = bundle(standardise(h), y, classes)
    return vectors / jnp.bincount(y, length=classes)[:, None]


def _sums(y: Array, h: Array, classes: int, found: Array | None = None) -> Array:
    """Sums of h by label; of the difference that moves them from what was found to the label, where that is given."""
    share = jax.nn.one_hot(y, classes, dtype=h.dtype)
    if found is not None:
        share = share - jax.nn.one_hot(found, classes, dtype=h.dtype)
    return share.T @ h


def _unit(h: Array) -> Array:
    return ratio(h, jnp.sqrt(jnp.sum(h * h, axis=-1, keepdims=True) + 1e-30))


def _checked(h: Array | np.ndarray, y: Array | np.ndarray, classes: int) -> tuple[Array, Array]:
    """Hypervectors (n, D) and labels (n,) that go together."""
    h = at_least_single(h if is_traced(h) else as_array("h", h))
    ensure(is_finite, "h must be finite", h)
    if classes < 1:
        raise ValueError(f"classes must be at least 1, got {classes}")
    if not is_traced(y):
        known = np.asarray(y)
        if known.ndim != 1 or not np.issubdtype(known.dtype, np.integer):
            raise KindError(f"y must be whole-number labels (n,), got {shown(y)}")
        if known.size and not 0 <= known.min() <= known.max() < classes:
            raise ValueError(f"labels must be from 0 to {classes - 1}, got {known.min()} to {known.max()}")
    y = jnp.asarray(y)
    if h.ndim != 2 or y.shape != h.shape[:1] or h.size == 0:
        raise ValueError(f"h must be hypervectors (n, D) with labels (n,), got shapes {h.shape} and {y.shape}")
    return h, y
