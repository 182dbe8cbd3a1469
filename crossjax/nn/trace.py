"""What a network does with its parameters, found by tracing one call: see `trace`.

The call is traced once with a marker in every slot of a layer on tiles, and the program that comes out is followed
with parameters known and inputs unknown. No input is ever computed with, so that shapes suffice for an example.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from crossjax.nn.provable import refused
from crossjax.nn.walk import Place, layers, masked, received, slot_of

_MARK = "crossjax slot "
_PRODUCTS = ("dot_general", "ragged_dot_general", "conv_general_dilated")
_STATE = (nnx.BatchStat, nnx.Cache, nnx.Intermediate, nnx.RngState)


@dataclass
class Findings:
    """What a call does.

    Attributes:
        calls: how often every layer on tiles is called, by path; a scan counts its steps, a while loop counts once.
        wrong: layers whose slot does not receive the kernel that their chip would hold, and why.
        multiplied: ids of the variables that inputs are multiplied with outside any slot.
    """

    calls: dict[str, int]
    wrong: dict[str, str] = field(default_factory=dict)
    multiplied: set[int] = field(default_factory=set)


@dataclass(frozen=True)
class _Value:
    """A value of the program: how to compute it if inputs do not matter, the variables it is made of, or data."""

    known: Callable[[], Any] | None = None
    sources: frozenset[int] = frozenset()
    data: bool = False


_DATA = _Value(data=True)


class _Marker:
    """Stands in a slot: the exact product, under a name by which `trace` finds it."""

    digital = True

    def __init__(self, name: str, op: Any) -> None:
        self.name, self.op = name, op

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        lead, (x, kernel, *rest) = (arguments[:1], arguments[1:]) if isinstance(arguments[0], str) else ((), arguments)

        def product(x: Any, kernel: Any) -> Any:
            return self.op(*lead, x, kernel, *rest, **options)

        product.__name__ = _MARK + self.name
        return jax.jit(product)(x, kernel)


def trace(model: nnx.Module, example: Any) -> Findings:
    """Follow one call of a network on tiles, in evaluation mode.

    Args:
        model: the network; variables are named by the ids they have here.
        example: the input, or a tuple of the call's arguments; arrays or `jax.ShapeDtypeStruct`.
    """
    marked, variables = nnx.clone(model), {}
    for path, node in nnx.iter_graph(model):
        if isinstance(node, nnx.Variable) and not isinstance(node, _STATE):
            variables[path] = id(node)
    marked.eval()
    for name, layer, op in layers(marked):
        op.digital = True
        setattr(layer, slot_of(layer) or "", nnx.static(_Marker(name, op)))
    graph, state = nnx.split(marked)
    known, _ = jax.tree_util.tree_flatten_with_path(state, is_leaf=lambda v: isinstance(v, nnx.Variable))
    inputs: list[_Value] = []
    for path, variable in known:
        sources = variables.get(tuple(getattr(p, "key", getattr(p, "idx", None)) for p in path))
        for leaf in jax.tree.leaves(variable):
            secret = jnp.issubdtype(jnp.result_type(leaf), jax.dtypes.prng_key)
            keep = None if secret else (lambda leaf=leaf: leaf)
            inputs.append(_Value(keep, frozenset() if sources is None else frozenset([sources])))
    arguments, structure = jax.tree.flatten(example if isinstance(example, tuple) else (example,))
    arrays = {k: a for k, a in enumerate(arguments) if hasattr(a, "shape") and hasattr(a, "dtype")}

    def call(state: Any, arrays: Mapping[int, Any]) -> Any:
        filled = [arrays.get(k, a) for k, a in enumerate(arguments)]
        out = nnx.merge(graph, state, copy=True)(*jax.tree.unflatten(structure, filled))  # type: ignore[operator]
        return [leaf for leaf in jax.tree.leaves(out) if isinstance(leaf, jax.Array)]

    program = jax.make_jaxpr(call)(state, arrays)
    kernels = {name: masked(layer) for name, layer, _ in layers(received(model))}
    walk = _Walk(Findings(dict.fromkeys(kernels, 0)), kernels)
    walk.closed(program, [*inputs, *[_DATA] * len(arrays)], 1)
    return walk.found


def follow(model: nnx.Module, where: Sequence[Place], kept: Sequence[Place], example: Any) -> dict[str, int]:
    """How often one call of a network calls each of its layers on tiles; see `trace`.

    Raises:
        ValueError: for a layer whose slot does not receive its kernel, and for a parameter that inputs are multiplied
            with outside any slot, unless it belongs to a module that is ``kept`` digital.
    """
    found = trace(model, example)
    by_name = {place.name: place for place in where}
    for name, why in found.wrong.items():
        raise refused(by_name[name], why)
    outside = found.multiplied - {id(v) for place in kept for v in place.own.values()}
    for place in where:
        own = [name for name, variable in place.own.items() if id(variable) in outside]
        if own:
            raise refused(place, f"inputs are multiplied with {', '.join(own)} outside any layer on tiles")
    return found.calls


class _Walk:
    """Follows a program with known parameters and unknown inputs, and notes what it finds."""

    def __init__(self, found: Findings, kernels: Mapping[str, Any]) -> None:
        self.found, self.kernels = found, kernels

    def closed(self, program: Jaxpr | ClosedJaxpr, values: Iterable[_Value], times: int) -> list[_Value]:
        """Outputs for inputs; ``times``: how often it runs."""
        jaxpr, consts = (program.jaxpr, program.consts) if isinstance(program, ClosedJaxpr) else (program, ())
        have: dict[Any, _Value] = dict(zip(jaxpr.invars, values, strict=True))
        have |= {v: _Value(lambda c=c: c) for v, c in zip(jaxpr.constvars, consts, strict=True)}

        def read(atom: Any) -> _Value:
            return _Value(lambda: atom.val) if isinstance(atom, Literal) else have[atom]

        for eqn in jaxpr.eqns:
            outs = self.step(eqn, [read(v) for v in eqn.invars], times)
            have.update(zip(eqn.outvars, outs, strict=True))
        return [read(v) for v in jaxpr.outvars]

    def step(self, eqn: Any, values: list[_Value], times: int) -> Sequence[_Value]:
        """Outputs of one equation."""
        name, options = eqn.primitive.name, eqn.params
        inner = [p for p in options.values() if isinstance(p, Jaxpr | ClosedJaxpr)]
        if str(options.get("name", "")).startswith(_MARK):
            self.slot(options["name"].removeprefix(_MARK), values, times)
            return [_DATA] * len(eqn.outvars)
        if name == "scan":
            body: Any = getattr(
                inner[0], "jaxpr", inner[0]
            )  # inputs and outputs of the steps have an axis more outside
            stepped = sum(a.aval.ndim > b.aval.ndim for a, b in zip(eqn.invars, body.invars, strict=True))
            carried = sum(a.aval.ndim == b.aval.ndim for a, b in zip(eqn.outvars, body.outvars, strict=True))
            split = len(values) - stepped
            steps = [_Value(None, v.sources, v.data) for v in values[split:]]
            return self.loop(inner[0], values[: split - carried], values[split - carried : split], steps,
                             times * options["length"])  # fmt: skip
        if name == "while":
            tests, consts = options["cond_nconsts"], options["body_nconsts"]
            carry = values[tests + consts :]
            outs = self.loop(options["body_jaxpr"], values[tests : tests + consts], carry, [], times)
            self.closed(options["cond_jaxpr"], [*values[:tests], *outs], times)
            return outs
        if name == "cond":
            branches = [self.branch(b, values[1:], times) for b in options["branches"]]
            self.found.calls = {n: max(calls[n] for calls, _ in branches) for n in self.found.calls}
            ways = zip(*[outs for _, outs in branches], strict=True)
            return [outs[0] if all(o is outs[0] for o in outs) else self.join([values[0], *outs]) for outs in ways]
        if [len(getattr(program, "jaxpr", program).invars) for program in inner] == [len(values)]:  # jit, remat, …
            return self.closed(inner[0], values, times)
        out = self.join(values)
        if out.data and name in _PRODUCTS:
            self.found.multiplied |= set().union(*[v.sources for v in values if not v.data])
        if out.data or inner or any(v.known is None for v in values):
            return [out] * len(eqn.outvars)
        compute = cache(lambda: eqn.primitive.bind(*[v.known() for v in values], **options))  # type: ignore[misc]
        if not eqn.primitive.multiple_results:
            return [_Value(compute, out.sources)]
        return [_Value(lambda k=k: compute()[k], out.sources) for k in range(len(eqn.outvars))]

    def join(self, values: Sequence[_Value]) -> _Value:
        """What is made of several values, itself unknown; what data enters is data, whatever else does."""
        data = any(v.data for v in values)
        return _DATA if data else _Value(None, frozenset().union(*[v.sources for v in values]))

    def branch(self, program: Any, values: list[_Value], times: int) -> tuple[dict[str, int], list[_Value]]:
        """Calls so far with those of one branch of several, and its outputs."""
        before = dict(self.found.calls)
        outs, after = self.closed(program, values, times), self.found.calls
        self.found.calls = before
        return after, outs

    def loop(
        self, body: Any, consts: list[_Value], carry: list[_Value], steps: list[_Value], times: int
    ) -> list[_Value]:
        """Outputs of a body that is repeated: what it hands on unchanged stays known."""
        while True:
            quiet = _Walk(Findings(dict.fromkeys(self.kernels, 0)), self.kernels)
            outs = quiet.closed(body, [*consts, *carry, *steps], times)
            widened = [a if a is b else self.join([a, b]) for a, b in zip(carry, outs, strict=False)]
            if widened == carry:
                return self.closed(body, [*consts, *carry, *steps], times)
            carry = widened

    def slot(self, name: str, operands: Sequence[_Value], times: int) -> None:
        """Note a call of a layer, and whether it received its kernel."""
        kernel = operands[1]
        why: str | None
        if len(operands) > 2 or (kernel.data and operands[0].sources):
            why = "a derivative of it is taken within the call, which is a product with its transpose"
        elif kernel.data:
            why = "the kernel that its slot receives depends on the network's inputs"
        elif kernel.known is None:
            why = "its slot receives another kernel at every step of a loop, and a chip holds one"
        else:
            self.found.calls[name] += times
            why = _differ(kernel.known(), self.kernels[name])
        if why is not None:
            self.found.wrong[name] = why


def _differ(got: Any, own: Any) -> str | None:
    """How the kernel that a slot receives differs from the layer's own beyond rounding; None if it does not."""
    if got is own:
        return None
    what = "its slot receives another kernel than the layer's own"
    if jnp.shape(got) != jnp.shape(own):
        return f"{what}, of shape {jnp.shape(got)}"
    rounding = max(float(jnp.finfo(jnp.result_type(a)).eps) for a in (got, own))
    got, own = np.asarray(got, np.float64), np.asarray(own, np.float64)
    off, norm = float(np.linalg.norm(got - own)), float(np.linalg.norm(own))
    if off <= 16 * rounding * norm:
        return None
    return f"{what}, off by {100 * off / norm:.3g} %" if norm else f"{what}, which is zero"
