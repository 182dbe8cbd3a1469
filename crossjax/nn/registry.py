"""Which types of layers go on hardware, and how: Flax's own, and those that `register` adds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from flax import nnx

from crossjax._checks import KindError, shown
from crossjax.nn.layers import ConvTranspose, Embed
from crossjax.nn.ops import ConvOp, EinsumOp, MatrixOp, Op

Makes = Callable[[Any], Callable[..., Op]]


@dataclass(frozen=True)
class Kind:
    """How layers of one type go on hardware; see `register`.

    Attributes:
        slot, op, kernel: as there.
        becomes: the type that has the slot, for a layer of Flax that has none.
        own: registered by the user, whose word it is that the slot receives the kernel.
        holds: from the layer to the kernel that its slot receives; None: the parameter, times its mask.
    """

    slot: str
    op: Makes
    kernel: str = "kernel"
    becomes: type | None = None
    own: bool = False
    holds: Callable[[Any], Any] | None = None


def _matrix(layer: Any) -> Callable[..., Op]:
    return partial(MatrixOp, 1)


_KINDS: dict[type, Kind] = {
    nnx.Linear: Kind("dot_general", _matrix),
    nnx.LinearGeneral: Kind("dot_general", lambda layer: partial(MatrixOp, len(layer.axis))),
    nnx.Conv: Kind(
        "conv_general_dilated",
        lambda layer: partial(ConvOp, layer.feature_group_count, causal=layer.padding == "CAUSAL"),
    ),
    nnx.ConvTranspose: Kind(
        "conv_general_dilated",
        lambda layer: partial(ConvOp, 1, flipped=layer.transpose_kernel),
        becomes=ConvTranspose,
    ),
    nnx.Einsum: Kind("einsum_op", lambda layer: partial(EinsumOp, layer.einsum_str)),
    nnx.Embed: Kind("analog", _matrix, "embedding", Embed),
}


def register(
    layer: type,
    slot: str,
    *,
    kernel: str = "kernel",
    op: Makes = _matrix,
    holds: Callable[[Any], Any] | None = None,
) -> None:
    """Let `to_analog` put layers of a type of your own on hardware, from now on.

        class Gate(nnx.Module):
            def __init__(self, rows, cols, *, rngs):
                self.kernel = nnx.Param(nnx.initializers.lecun_normal()(rngs.params(), (rows, cols)))
                self.product = jnp.matmul

            def __call__(self, x):
                return nnx.sigmoid(self.product(x, self.kernel[...]))

        cx.nn.register(Gate, "product")

    Args:
        layer: the type; types made from it count as well. Of one that was registered before, the last word holds.
        slot: the attribute that it calls with (inputs, kernel, …) in place of the product. You say that it receives
            the layer's parameter (times its ``mask``, if there is one) and nothing else; an example has it traced.
        kernel: the attribute of that parameter.
        op: a function of the layer that returns what makes its op of (hardware, injections, key=…, learn_range=…), an
            `nn.Op`: ``functools.partial(nn.ConvOp, groups)``, say. By default the product with a matrix (rows, cols).
        holds: a function of the layer to the kernel that its slot receives, and its chip holds, where that is made of
            the parameter: its signs, say. By default the parameter (times the layer's ``mask``).

    Raises:
        TypeError: for a layer that is no type of `nnx.Module`.
    """
    if not (isinstance(layer, type) and issubclass(layer, nnx.Module)):
        raise KindError(f"register takes a type of nnx.Module, got {shown(layer)}")
    _KINDS[layer] = Kind(slot, op, kernel, own=True, holds=holds)


def kind_of(module: Any) -> Kind | None:
    """How a module goes on hardware; None for one that is no layer."""
    return next((_KINDS[cls] for cls in type(module).__mro__ if cls in _KINDS), None)
