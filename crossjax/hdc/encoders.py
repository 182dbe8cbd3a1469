"""Encoders: data to hypervectors, vectors of thousands of components in which everything is spread over everything.

* `Projection`     a random projection, x P, on a crossbar tile if there is one
* `LevelPosition`  Σ_f position_f ∘ level(x_f), the hash table of records
* `NGrams`         Σ_i ρ^(n−1) S[c_i] ∘ … ∘ S[c_(i+n−1)], of texts, from their histograms of n-grams

An encoder says what is random (`draw`: a book of random vectors, or a chip that holds them) and what becomes of data
(`encode`). Encodings are real-valued; `levels.py` makes few bits of them.
"""

from __future__ import annotations

from typing import Any, Protocol

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from crossjax._checks import KindError, as_array, ensure, is_finite, is_traced, shown
from crossjax._numerics import at_least_single
from crossjax._pytree import check_count, check_order, spec, static
from crossjax._random import named, uniform
from crossjax.programming import program
from crossjax.tiles import Tile, mvm, read


class Encoder(Protocol):
    """From data to hypervectors."""

    def draw(self, key: Array) -> Any:
        """What is random in it, drawn once: a pytree of arrays."""
        ...

    def encode(self, key: Array, book: Any, x: Array) -> Array:
        """Hypervectors (…, D) of data (…, features)."""
        ...


def signs(key: Array, shape: tuple[int, ...]) -> Array:
    """Random components ±1."""
    return jnp.where(uniform(key, shape) < 0.5, -1.0, 1.0)


def _data(x: Array | np.ndarray, features: int) -> Array:
    x = at_least_single(x if is_traced(x) else as_array("x", x))
    ensure(is_finite, "x must be finite", x)
    if x.ndim < 1 or x.shape[-1] != features:
        raise ValueError(f"x must end in {features} features, got shape {x.shape}")
    return x


@spec
class Projection:
    """A random projection: every component is Σ ± x_f.

    Attributes:
        features: of the data.
        dimensions: D.
        tile: the crossbar that it runs on, its matrix programmed in one shot; None: the exact product. Converters'
            ranges are the tile's: centre and scale the data.
    """

    features: int = static()
    dimensions: int = static(default=4000)
    tile: Tile | None = None

    def _check(self) -> None:
        check_count(self, "features")
        check_count(self, "dimensions")

    def draw(self, key: Array) -> Any:
        """See `Encoder.draw`: the matrix (features, D) of ±1, or the reading of a chip that holds it."""
        matrix = signs(named(key, "projection"), (self.features, self.dimensions))
        if self.tile is None:
            return matrix
        chip, _ = program(named(key, "program"), self.tile, matrix)
        return read(named(key, "read"), self.tile, chip)

    def encode(self, key: Array, book: Any, x: Array) -> Array:
        """See `Encoder.encode`; ``key`` is the noise of the MVMs."""
        x = _data(x, self.features)
        return x @ book if self.tile is None else mvm(key, self.tile, book, x)


@spec
class LevelPosition:
    """Records: the vector of a feature's value, bound to (multiplied by) the vector of its position, all summed.

    The vectors of values are a chain: from one random vector to its half-way opposite, equally many components flip
    from each value to the next, so that near values are near.

    Attributes:
        features: of the data.
        dimensions: D.
        levels: values that are told apart.
        low, high: range of the data; what is beyond counts as its end.
    """

    features: int = static()
    dimensions: int = static(default=4000)
    levels: int = static(default=100)
    low: float = 0.0
    high: float = 1.0

    def _check(self) -> None:
        check_count(self, "features")
        check_count(self, "dimensions")
        check_count(self, "levels", low=2)
        check_order(self, "low", "high", strict=True)
        if self.levels - 1 > self.dimensions // 2:
            raise ValueError(
                f"LevelPosition.levels ({self.levels}) need as many components that flip, half of dimensions less one: "
                f"at least {2 * (self.levels - 1)} dimensions, got {self.dimensions}"
            )

    def draw(self, key: Array) -> Array:
        """See `Encoder.draw`: vectors of the positions, bound to that of the lowest value, (features, D)."""
        return signs(named(key, "positions"), (self.features, self.dimensions))

    @property
    def flips(self) -> np.ndarray:
        """The value from which on a component is the opposite, (D // 2,), evenly spread; the others never are."""
        half = self.dimensions // 2
        return 1 + np.arange(half) * (self.levels - 1) // max(half, 1)

    def encode(self, key: Array, book: Array, x: Array) -> Array:
        """See `Encoder.encode`: one product for all components that flip at one value. Its gradient by x is 0."""
        x = (_data(x, self.features) - self.low) / (self.high - self.low)
        value = lax.stop_gradient(jnp.round(jnp.clip(x, 0.0, 1.0) * (self.levels - 1)))
        half, flips = self.dimensions // 2, self.flips
        kept = jnp.broadcast_to(jnp.sum(book[:, half:], axis=0), (*x.shape[:-1], self.dimensions - half))
        starts = np.searchsorted(flips, np.arange(1, self.levels))
        size = int(np.diff(np.append(starts, half)).max())  # some values have one component more than others
        which = np.minimum(starts[:, None] + np.arange(size), half - 1)
        groups = book[:, which].swapaxes(0, 1)  # (values, features, size)

        def one(group: tuple[Array, Array]) -> Array:
            at, vectors = group
            return jnp.where(value >= at, -1.0, jnp.where(jnp.isnan(value), value, 1.0)) @ vectors

        found = jnp.moveaxis(lax.map(one, (jnp.arange(1, self.levels), groups)), 0, -2)
        place = flips - 1, np.arange(half) - starts[flips - 1]
        return jnp.concatenate([found[..., place[0], place[1]], kept], axis=-1)


@spec
class NGrams:
    """Texts by their n-grams: the vector of a symbol, permuted by its place, all n multiplied, all n-grams summed.

    A text goes in as its histogram of n-grams (`histogram`), so that encoding is a product with the book of all
    n-grams' vectors, however long the text is (Rahimi et al., ISLPED 2016, whose languages these are).

    Attributes:
        symbols: of the alphabet.
        n: length of an n-gram.
        dimensions: D.
    """

    symbols: int = static(default=27)
    n: int = static(default=3)
    dimensions: int = static(default=4000)

    def _check(self) -> None:
        for name in ("symbols", "n", "dimensions"):
            check_count(self, name)
        if self.symbols**self.n > 2**20:
            raise ValueError(
                f"NGrams of {self.symbols} symbols and n = {self.n} are {self.symbols**self.n:,}: take fewer"
            )

    @property
    def features(self) -> int:
        """How many n-grams there are."""
        return self.symbols**self.n

    def draw(self, key: Array) -> Array:
        """See `Encoder.draw`: the vectors ±1 of all n-grams, (symbols^n, D), as bytes."""
        symbols = signs(named(key, "symbols"), (self.symbols, self.dimensions)).astype(jnp.int8)
        book = symbols
        for _ in range(self.n - 1):
            book = jnp.roll(book, 1, axis=-1)[:, None] * symbols[None]
            book = book.reshape(-1, self.dimensions)
        return book

    def encode(self, key: Array, book: Array, x: Array) -> Array:
        """See `Encoder.encode`: of histograms (…, symbols^n)."""
        return _data(x, self.features) @ book.astype(jnp.zeros(()).dtype)

    def histogram(self, text: np.ndarray) -> np.ndarray:
        """How often every n-gram is in a text of symbols (length,), (symbols^n,); one shorter than n has none.

        Raises:
            ValueError: for symbols that the alphabet does not have.
        """
        text = np.asarray(text)
        if text.ndim != 1 or not np.issubdtype(text.dtype, np.integer):
            raise KindError(f"a text is whole numbers (length,), got {shown(text)}")
        if text.size and not 0 <= text.min() <= text.max() < self.symbols:
            raise ValueError(f"symbols must be from 0 to {self.symbols - 1}, got {text.min()} to {text.max()}")
        count = max(len(text) - self.n + 1, 0)
        code = np.zeros(count, np.int64)
        for k in range(self.n):
            code = code * self.symbols + text[k : k + count]
        return np.bincount(code, minlength=self.features)
