"""The products of a network on tiles: what `to_analog` puts into the slots of Flax's layers.

An op turns the layer's kernel into matrices (groups, rows, cols), one chip a group, and the layer's inputs into
vectors. What the matrices conduct depends on what the op holds:

    nothing      a perfectly programmed chip of the kernel, with injected noise unless ``deterministic``: training
    a reading    the programmed chip at one moment (see `crossjax.nn.program` and `crossjax.nn.read`): inference

Noise is a function of the op's key and of the inputs: no state changes in a call, so ops work in jit, vmap, scan and
remat, and the same call twice gives the same result. Time steps, calls of a shared layer and examples under vmap whose
inputs differ in any bit see noise of their own; those whose inputs are equal see the same, unless they are told apart
by `crossjax.nn.at_step`. Weights with injected noise are those of one chip: they follow from the key alone.

A chip computes in single precision, whatever comes in; what goes out is of the type that the digital layer returns.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
from flax import nnx
from jax import Array, lax
from jax.custom_derivatives import SymbolicZero

from crossjax._numerics import at_least_single
from crossjax._random import keyed_by, named, numbered, split
from crossjax.nn.hardware import Hardware, as_hardware
from crossjax.tiles.conv import Window
from crossjax.tiles.injection import Injection


class Tiles(nnx.Variable):
    """The `Tile` of a layer, or other hardware; its numbers are traced."""


class Injections(nnx.Variable):
    """What disturbs the weights of a layer while training."""


class NoiseKey(nnx.Variable):
    """The key of a layer's noise; see `crossjax.nn.set_key`."""


class Step(nnx.Variable):
    """The steps (n, …) that a call is, the outermost first; see `crossjax.nn.at_step`."""


class Programmed(nnx.Variable):
    """The chip of a layer."""


class Conducting(nnx.Variable):
    """What the chip of a layer conducts at one moment."""


class Held(nnx.Variable):
    """What a layer multiplies with, worked out once for many calls; see `crossjax.nn.held`."""


class InputRange(nnx.Param):
    """A learned input range: the input that becomes a full signal of the DAC."""


class Observed(nnx.Variable):
    """(calls, DAC range, ADC range): what inputs and bit-line sums need, measured while ``observe`` is set.

    Of other hardware than tiles, calls and what its ``needed`` measures.
    """


class Op(nnx.Module):
    """What all products on tiles share; not called itself.

    Attributes:
        tile: the hardware, a `Tile` or what is `Hardware`.
        injections: for training.
        key: of the noise.
        step: which the call is, where somebody says so.
        chip, reading: after programming, and at one moment.
        held: what a loop of calls multiplies with.
        input_range: learned, or None for the tile's own.
        straight_through: the kernel's gradient is that of the product with it, while the outputs are those of the
            reading; otherwise a reading refuses to be differentiated by the kernel.
        deterministic: no injected noise (``model.eval()`` sets it, ``model.train()`` clears it).
        digital: compute the exact product instead.
        observe: percentile of inputs and sums to measure, and compute the exact product; None does not.
        calibrated: the ranges of the converters come from data.
        calls: how often one call of the network calls the layer; None: not known (see `to_analog`).
    """

    def __init__(self, tile: Any, injections: Sequence[Injection], key: Array, *, learn_range: bool) -> None:
        strong = jnp.zeros(()).dtype
        self.tile = Tiles(jax.tree.map(lambda a: jnp.asarray(a, strong), tile))
        self.injections = Injections(jax.tree.map(lambda a: jnp.asarray(a, strong), tuple(injections)))
        self.key = NoiseKey(key)
        self.step: Step | None = nnx.data(None)
        self.chip: Programmed | None = nnx.data(None)
        self.reading: Conducting | None = nnx.data(None)
        self.held: Held | None = nnx.data(None)
        given = as_hardware(tile).input_range
        self.input_range: InputRange | None = nnx.data(None)
        if learn_range and given is not None:
            self.input_range = InputRange(jnp.asarray(given, strong))
        self.observed: Observed | None = nnx.data(None)
        self.straight_through = False
        self.deterministic = False
        self.digital = False
        self.observe: float | None = None
        self.calibrated = False
        self.calls: int | None = None

    def put(self, tile: Any) -> None:
        """Other hardware, in place; the type of its numbers stays."""
        strong = jnp.zeros(()).dtype
        self.tile.set_value(jax.tree.map(lambda a: jnp.asarray(a, strong), tile))

    def hardware(self) -> Any:
        """The tile, or other hardware, as it is now, learned input range included."""
        tile = self.tile.get_value()
        if self.input_range is None:
            return tile
        learned = self.input_range.get_value()
        if not isinstance(learned, jax.core.Tracer) and not 0 < float(learned) < math.inf:
            raise ValueError(
                f"a learned input range is {float(learned):g}, and no input fits that: train it with "
                "crossjax.training.ranges, which keeps it positive"
            )
        return as_hardware(tile).with_input_range(jnp.where(learned > 0, learned, jnp.nan))

    @property
    def on(self) -> Hardware:
        """`hardware` as layers ask it."""
        return as_hardware(self.hardware())

    @property
    def conducts(self) -> bool:
        """Whether its products are those of the tile, and not exact."""
        return not self.digital and self.observe is None

    def fresh(self, x: Array) -> Array:
        """The key of the noise of this product with ``x``."""
        key = self.key.get_value()
        if self.step is not None:
            key = named(key, "step")
            for n in self.step.get_value():
                key = numbered(key, n)
        return keyed_by(key, x)

    def readings(self, matrices: Array) -> Any:
        """What is multiplied with, stacked over groups, for kernel matrices (groups, rows, cols)."""
        found, on = self._conducting(matrices), self.on
        if self.step is None:
            return found
        step = self.step.get_value()
        return jax.vmap(lambda reading: on.at_step(reading, step))(found)

    def _conducting(self, matrices: Array) -> Any:
        if self.held is not None:
            return self.held.get_value()
        if self.reading is not None:
            return self._followed(self.reading.get_value(), matrices)
        if self.chip is not None:
            raise ValueError("this layer is programmed but not read: call crossjax.nn.read(key, model, t) first")
        on, injections = self.on, () if self.deterministic else self.injections.get_value()
        return self._each(lambda k, w: on.ideal_reading(k, w, injections), at_least_single(matrices))

    def _each(self, f: Callable[..., Any], *stacked: Any) -> Any:
        """``f(key, …)`` of every group, stacked."""
        key, count = self.key.get_value(), jax.tree.leaves(stacked)[0].shape[0]
        if count == 1:
            return jax.tree.map(lambda a: a[None], f(key, *only(stacked)))
        return jax.vmap(f)(split(named(key, "groups"), count), *stacked)

    def _followed(self, reading: Any, matrices: Array) -> Any:
        """A reading whose derivative by the kernel matrices is that of `straight_through`, or refused."""
        if self.straight_through:
            return self._each(self.on.follow, reading, at_least_single(matrices))
        return _refuse_gradient(reading, matrices)

    def note(self, matrices: Array, x: Array, driven: Array | None = None) -> None:
        """Remember the ranges that inputs (groups, vectors, rows) need, those that are ``driven`` (likewise)."""
        assert self.observe is not None and self.observed is not None
        on, percentile = self.on, self.observe

        def ranges(w: Array, x: Array, driven: Array | None) -> Array:
            return jnp.append(1.0, on.needed(w, x, percentile, driven))

        found = jax.vmap(ranges)(at_least_single(matrices), at_least_single(x), driven)
        self.observed[...] = jnp.maximum(self.observed[...], found.max(axis=0))


@jax.custom_jvp
def _refuse_gradient(reading: Any, matrices: Array) -> Any:
    """What a chip conducts; refuses to be differentiated by the kernel matrices, which it does not follow."""
    return reading


def _refuse_gradient_jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Any, Any]:
    (reading, matrices), (moved, kernel) = primals, tangents
    if not isinstance(kernel, SymbolicZero):
        raise ValueError(
            f"the gradient by a kernel {matrices.shape[1:]} whose chip is programmed and read would be 0, since the "
            "chip conducts what it conducts: read it with crossjax.nn.read(…, straight_through=True) for the gradient "
            "of the product, or differentiate by other parameters only (nnx.grad(…, argnums=nnx.DiffState(0, filter)))"
        )
    return reading, moved


_refuse_gradient.defjvp(_refuse_gradient_jvp, symbolic_zeros=True)


class MatrixOp(Op):
    """``lax.dot_general(x, kernel)`` on tiles: Linear, LinearGeneral, attention's projections, recurrent cells.

    Attributes:
        contracted: how many leading axes of the kernel meet the inputs.
    """

    def __init__(self, contracted: int, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.contracted = contracted

    def matrices(self, kernel: Array) -> Array:
        """(1, rows, cols)."""
        return self.flat(kernel)

    def flat(self, kernel: Array) -> Array:
        """(1, rows, cols) of a kernel whose contracted axes come first."""
        return kernel.reshape(1, math.prod(kernel.shape[: self.contracted]), -1)

    def __call__(
        self, x: Array, kernel: Array, dimension_numbers: Any = None, precision: Any = None, **options: Any
    ) -> Array:
        """As `lax.dot_general`, for a kernel without batch axes; without dimension numbers as `jnp.matmul`."""
        if dimension_numbers is None:
            inner = range(x.ndim - self.contracted, x.ndim), range(self.contracted)
            dimension_numbers = (tuple(map(tuple, inner)), ((), ()))
        (mine, theirs), (batch, _) = dimension_numbers
        if batch or tuple(theirs) != tuple(range(self.contracted)):
            raise ValueError("a layer with batch axes in its kernel is several matrices: keep it digital by a rule")
        exact = partial(lax.dot_general, dimension_numbers=dimension_numbers, precision=precision, **options)
        if self.digital:
            return exact(x, kernel)
        dtype = jax.eval_shape(exact, x, kernel).dtype
        x = jnp.moveaxis(x, mine, range(x.ndim - len(mine), x.ndim))
        batch_shape = x.shape[: x.ndim - len(mine)]
        matrices, vectors = self.flat(kernel), x.reshape(*batch_shape, -1)
        if self.observe is not None:
            self.note(matrices, vectors.reshape(1, -1, vectors.shape[-1]))
            y = at_least_single(vectors) @ at_least_single(matrices[0])
        else:
            y = self.on.multiply(self.fresh(x), only(self.readings(matrices)), vectors)
        return y.astype(dtype).reshape(*batch_shape, *kernel.shape[self.contracted :])

    def look_up(self, rows: Array, kernel: Array) -> Array:
        """Rows of the matrix (…, cols) for indices (…): a full signal on one word line each."""
        matrices = self.flat(kernel)
        return self.on.look_up(self.fresh(rows), only(self.readings(matrices)), rows, matrices.shape[1])


class EinsumOp(MatrixOp):
    """``jnp.einsum(equation, x, kernel)`` on tiles, for an equation that is one matrix product.

    Attributes:
        order: kernel axes in the order (contracted …, others …).
    """

    def __init__(self, equation: str, *arguments: Any, **options: Any) -> None:
        self.order, contracted = einsum_axes(equation)
        super().__init__(contracted, *arguments, **options)

    def matrices(self, kernel: Array) -> Array:
        """(1, rows, cols)."""
        return self.flat(kernel.transpose(self.order))

    def __call__(self, equation: str, x: Array, kernel: Array, precision: Any = None, **options: Any) -> Array:  # type: ignore[override]
        """As `jnp.einsum`."""
        ins, result = equation.replace(" ", "").split("->")
        left, right = ins.split(",")
        if "..." in left:
            spare = [c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if c not in equation][: x.ndim - len(left) + 3]
            left, result = left.replace("...", "".join(spare)), result.replace("...", "".join(spare))
        summed = [right[k] for k in self.order[: self.contracted]]
        mine = tuple(left.index(c) for c in summed)
        dimensions = ((mine, tuple(range(self.contracted))), ((), ()))
        y = super().__call__(x, kernel.transpose(self.order), dimensions, precision, **options)
        have = [c for c in left if c not in summed] + [right[k] for k in self.order[self.contracted :]]
        return y.transpose([have.index(c) for c in result])


def einsum_axes(equation: str) -> tuple[tuple[int, ...], int]:
    """Kernel axes in the order (contracted …, others …), and how many are contracted.

    Raises:
        ValueError: if the equation is more than one product with one matrix.
    """
    ins, result = equation.replace(" ", "").split("->")
    left, right = ins.split(",")
    if "..." in right or len(set(right)) < len(right):
        raise ValueError(f"einsum {equation!r}: the kernel's axes must all be named, once")
    summed = [k for k, c in enumerate(right) if c not in result]
    if any(c in left for k, c in enumerate(right) if k not in summed) or any(right[k] not in left for k in summed):
        raise ValueError(f"einsum {equation!r} is not a product with one matrix")
    if any(c not in result and c not in right for c in left.replace("...", "")):
        raise ValueError(f"einsum {equation!r} sums inputs without a weight")
    return tuple(summed) + tuple(k for k in range(len(right)) if k not in summed), len(summed)


class ConvOp(Op):
    """``lax.conv_general_dilated(x, kernel)`` on tiles, channels last, any rank, stride, dilations and groups.

    Attributes:
        groups: the feature groups, each a matrix of its own.
        causal: the layer has put zeros before the input itself: they are padding, too.
        flipped: kernels come with their taps reversed and as (…, outputs, inputs), as a transposed convolution's may.
    """

    def __init__(
        self, groups: int, *arguments: Any, causal: bool = False, flipped: bool = False, **options: Any
    ) -> None:
        super().__init__(*arguments, **options)
        self.groups = groups
        self.causal = causal
        self.flipped = flipped

    def oriented(self, kernel: Array) -> Array:
        """(…, inputs, outputs) with the taps in the order of the inputs."""
        return jnp.flip(kernel, tuple(range(kernel.ndim - 2))).swapaxes(-1, -2) if self.flipped else kernel

    def matrices(self, kernel: Array) -> Array:
        """(groups, taps · inputs, outputs)."""
        kernel = self.oriented(kernel)
        kernel = kernel.reshape(-1, self.groups, kernel.shape[-1] // self.groups)
        return kernel.transpose(1, 0, 2)

    def __call__(
        self,
        x: Array,
        kernel: Array,
        window_strides: Sequence[int],
        padding: Any,
        lhs_dilation: Sequence[int] | None = None,
        rhs_dilation: Sequence[int] | None = None,
        dimension_numbers: Any = None,
        feature_group_count: int = 1,
        precision: Any = None,
        **options: Any,
    ) -> Array:
        """As `lax.conv_general_dilated`, channels last."""
        size = kernel.shape[:-2]
        dilation = tuple(rhs_dilation or (1,) * len(size))
        if self.causal:
            before = dilation[0] * (size[0] - 1)
            x, padding = x[:, before:], [(before, 0)]
        window = Window.of(x.shape[1:-1], size, window_strides, dilation, padding, lhs_dilation)
        exact = partial(
            lax.conv_general_dilated, window_strides=window.strides, padding=window.padding, lhs_dilation=lhs_dilation,
            rhs_dilation=dilation, dimension_numbers=dimension_numbers, feature_group_count=feature_group_count,
            precision=precision, **options,
        )  # fmt: skip
        if self.digital:
            return exact(x, self.oriented(kernel))
        dtype, key = jax.eval_shape(exact, x, self.oriented(kernel)).dtype, self.fresh(x)
        x, kernel = at_least_single(x), at_least_single(kernel)
        matrices = self.matrices(kernel)
        if self.groups == 1:
            parts = x[None]
        else:
            parts = jnp.moveaxis(x.reshape(*x.shape[:-1], self.groups, -1), -2, 0)
        if self.observe is not None:
            patches, driven = jax.vmap(window.patches)(parts), jax.vmap(partial(self.on.driven, window))(parts)
            flat = (self.groups, -1, patches.shape[-1])
            self.note(matrices, patches.reshape(flat), None if driven is None else driven.reshape(flat))
            y = jax.vmap(window.convolve)(parts, matrices)
        elif self.groups == 1:
            y = self.on.convolve(key, only(self.readings(matrices)), x, window)[None]
        else:
            on, keys = self.on, split(key, self.groups)
            y = jax.vmap(lambda k, r, p: on.convolve(k, r, p, window))(keys, self.readings(matrices), parts)
        y = y[0] if self.groups == 1 else jnp.moveaxis(y, 0, -2).reshape(*y.shape[1:-1], -1)
        return y.astype(dtype)


def only(readings: Any) -> Any:
    """The reading of a layer of one group."""
    return jax.tree.map(lambda a: a[0], readings)
