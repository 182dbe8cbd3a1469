"""Random numbers: one key per effect, and normal numbers that cost about a nanosecond.

Drawing noise, not multiplying matrices, is what a simulator of noisy hardware spends its time on:
``jax.random.normal`` on a CPU costs more than the product it disturbs. `normal` here hashes a counter with
the key (two rounds of a 32-bit mixer with full avalanche) and turns each word into one Gaussian by the
Box-Muller formula, with polynomial log and cosine that XLA vectorises and fuses into whatever uses them.
The result depends on (key, position) alone, so a vmapped draw equals the same draws in a loop.

Keys are derived by the same mixer: a few integer operations that fuse, where every `jax.random.fold_in` would be a
loop of eight kernels. They were nine tenths of what a program of noisy hardware had to compile.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from crossjax._checks import check_key


def seeded(seed: int) -> Array:
    """The key of a run's seed.

    Raises:
        ValueError: if it is not a whole number of 32 bits: of a larger one JAX would drop the rest.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < 2**32:
        raise ValueError(f"seed must be a whole number from 0 to {2**32 - 1}, got {seed!r}")
    return jax.random.key(int(seed))


def named(key: Array, name: str) -> Array:
    """The key for one named effect: two effects never share draws, and switching one off moves no other's."""
    return _derive(key, np.uint32(_word(name)), np.uint32(_NAMED))


def all_named(key: Array, names: Sequence[str]) -> Array:
    """The keys for several names, stacked."""
    return _derive(key, np.asarray([_word(name) for name in names], np.uint32), np.uint32(_NAMED))


def _word(name: str) -> int:
    return zlib.crc32(name.encode(errors="backslashreplace"))


def numbered(key: Array, n: Array | int) -> Array:
    """The n-th key after this one: of a batch, a step, a moment."""
    return _derive(key, jnp.asarray(n).astype(jnp.uint32), np.uint32(_NUMBERED))


def split(key: Array, count: int) -> Array:
    """Keys for a batch of independent chips, tiles or iterations."""
    return _derive(key, np.arange(count, dtype=np.uint32), np.uint32(_SPLIT))


_NAMED, _NUMBERED, _SPLIT = 0x243F6A88, 0x85A308D3, 0x13198A2E  # three kinds that never meet
_APART = 0x9E3779B9


def _derive(key: Array, words: Array | np.ndarray | np.uint32, kind: np.uint32) -> Array:
    """Keys (…) for words (…): every word of a key depends on all words of the old one."""
    check_key(key)
    return _derived(key, words, kind)


@partial(jax.jit, inline=True)
def _derived(key: Array, words: Array | np.ndarray | np.uint32, kind: np.uint32) -> Array:
    typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    old = jax.random.key_data(key) if typed else key
    state = _mix(jnp.asarray(words) + kind)
    for k in range(old.shape[-1]):
        state = _mix(state + old[k])
    new = []
    for k in range(old.shape[-1]):
        state = _mix(state ^ (old[k] + np.uint32(_APART * (k + 1) % 2**32)))
        new.append(state)
    # a barrier: fused with what is derived from it in turn, the code of a key would double with every step
    data = lax.optimization_barrier(jnp.stack(new, axis=-1))
    return jax.random.wrap_key_data(data, impl=jax.random.key_impl(key)) if typed else data


def normal(key: Array, shape: Sequence[int], dtype: jnp.dtype | type | None = None) -> Array:
    """Standard normal numbers, one per element, fused and vectorised (about 1 ns each on two CPU cores).

    Tails follow the Gaussian to 5.1 σ (radius from 18 bits, angle from 14), computed in float32. Good for
    simulation, not for cryptography. One call draws at most 2³² numbers.

    Args:
        key: a typed JAX key (``jax.random.key(seed)``) or a legacy uint32 key.
        shape: shape of the draw.
        dtype: floating type of the result; the default is JAX's default float.
    """
    word = _hash(key, tuple(shape))
    radius = (_to_float(word >> 14) + np.float32(0.5)) * np.float32(2**-18)
    turn = _to_float(word & np.uint32(0x3FFF)) * np.float32(2**-14) - np.float32(0.5)
    z = lax.sqrt(np.float32(-2.0) * _log(radius)) * _cos_turn(turn)
    return z.astype(dtype or jnp.zeros(()).dtype)


def normal_pair(key: Array, shape: Sequence[int]) -> tuple[Array, Array]:
    """Two independent draws for little more than the price of one; the first is that of `normal`."""
    word = _hash(key, tuple(shape))
    turn = _to_float(word & np.uint32(0x3FFF)) * np.float32(2**-14) - np.float32(0.5)
    size = lax.sqrt(np.float32(-2.0) * _log((_to_float(word >> 14) + np.float32(0.5)) * np.float32(2**-18)))
    sine = jnp.sign(turn) * _cos_turn(jnp.abs(turn) - np.float32(0.25))
    dtype = jnp.zeros(()).dtype
    return (size * _cos_turn(turn)).astype(dtype), (size * sine).astype(dtype)


def uniform(key: Array, shape: Sequence[int], low: float = 0.0, high: float = 1.0) -> Array:
    """Uniform numbers in (low, high), by the same hash (24 bits)."""
    u = (_to_float(_hash(key, tuple(shape)) >> 8) + np.float32(0.5)) * np.float32(2**-24)
    return (low + (high - low) * u).astype(jnp.zeros(()).dtype)


def keyed_by(key: Array, x: Array) -> Array:
    """The key that belongs to these numbers: inputs that differ anywhere, or in order, get noise of their own.

    The bits are hashed with their position, summed along the first axis (0.4 ns a number on two CPU cores), and the
    sums hashed with theirs into two words, which are folded in.
    """
    words = _words(lax.stop_gradient(x))
    words = words.reshape(words.shape[0], -1)
    row, column = (lax.broadcasted_iota(jnp.uint32, words.shape, k) for k in (0, 1))
    sums = jnp.sum(_mix(words + row * _ODD[0] + column * _ODD[1]), axis=0, dtype=jnp.uint32)
    first = _mix(sums + lax.iota(jnp.uint32, sums.size) * _ODD[0])
    for word in (first, _mix(first ^ _ODD[1])):
        key = numbered(key, jnp.sum(word, dtype=jnp.uint32))
    return key


_ODD = np.uint32(0x9E3779B9), np.uint32(0x85EBCA6B)


def _words(x: Array) -> Array:
    """The bits of numbers of any type as 32-bit words."""
    if x.dtype.itemsize < 4 and jnp.issubdtype(x.dtype, jnp.floating):
        return lax.bitcast_convert_type(x.astype(jnp.float32), jnp.uint32)
    if x.dtype.itemsize < 4:
        return x.astype(jnp.uint32)
    return lax.bitcast_convert_type(x, jnp.uint32)  # 64 bits: two words, one more axis


# ------------------------------------------------------------------------------- hash and Gaussian


def _hash(key: Array, shape: tuple[int, ...]) -> Array:
    size = math.prod(shape)
    if size > 2**32:
        raise ValueError(f"one draw holds at most 2**32 numbers, asked for shape {shape}: split the key and the draw")
    data = jax.random.key_data(key) if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else key
    word = lax.iota(jnp.uint32, size).reshape(shape)
    word = _mix(word + data[0])
    for k in range(1, data.shape[-1]):
        word = _mix(word ^ data[k])
    return word


def _mix(h: Array) -> Array:
    """A bijection of 32-bit words whose every output bit flips with probability ½ ± 0.5 % for every input bit."""
    h = (h ^ (h >> 16)) * np.uint32(0x21F0AAAD)
    h = (h ^ (h >> 15)) * np.uint32(0xD35A2D97)
    return h ^ (h >> 15)


def _to_float(word: Array) -> Array:
    return word.astype(jnp.int32).astype(jnp.float32)  # signed conversion is the one that CPUs vectorise


# log(1 + m) = m · P(m) on [1/√2 − 1, √2 − 1] and sin(2πs) = s · Q(s²) on [−¼, ¼]: fitted once, at import, by
# least squares on Chebyshev points (absolute errors 3e-7 and 1e-7, below what 18 and 14 bits resolve).
def _fit(f: np.ufunc, low: float, high: float, degree: int) -> np.ndarray:
    nodes = np.cos(np.pi * (np.arange(400) + 0.5) / 400) * (high - low) / 2 + (high + low) / 2
    series = np.polynomial.Chebyshev.fit(nodes, f(nodes), degree)
    return series.convert(kind=np.polynomial.Polynomial).coef.astype(np.float32)


_LOG = _fit(lambda m: np.log1p(m) / m, math.sqrt(0.5) - 1, math.sqrt(2.0) - 1, 7)  # type: ignore[arg-type]
_SIN = _fit(lambda z: np.sin(2 * np.pi * np.sqrt(z)) / np.sqrt(z), 1e-9, 0.0625, 5)  # type: ignore[arg-type]


def _horner(coefficients: np.ndarray, x: Array) -> Array:
    value = jnp.full_like(x, coefficients[-1])
    for c in coefficients[-2::-1]:
        value = value * x + c
    return value


def _log(u: Array) -> Array:
    """Natural logarithm of float32 in (0, 1)."""
    offset = lax.bitcast_convert_type(u, jnp.int32) - np.int32(0x3F3504F3)  # exponent relative to 1/√2
    exponent = (offset >> 23).astype(jnp.float32)
    mantissa = lax.bitcast_convert_type((offset & np.int32(0x7FFFFF)) + np.int32(0x3F3504F3), jnp.float32)
    m = mantissa - np.float32(1.0)
    return exponent * np.float32(math.log(2.0)) + m * _horner(_LOG, m)


def _cos_turn(t: Array) -> Array:
    """cos(2πt) for t in [−½, ½]."""
    s = np.float32(0.25) - jnp.abs(t)
    return s * _horner(_SIN, s * s)
