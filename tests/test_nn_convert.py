"""What reaches a layer's slot is what its chip holds, or the layer is refused by name."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

import crossjax as cx
from crossjax import nn

IDEAL = cx.presets.ideal(20, 8)
KEY = jax.random.key(7)


def normal(*shape):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


X = normal(4, 16)
FAST = {"kernel_init": lambda key, shape, dtype: normal(*shape), "rngs": nnx.Rngs(0)}  # nothing to compile


def quiet(model, rules=(), tile=IDEAL, **options):
    return nn.to_analog(model, tile, rules, report=None, **options)


def programmed(analog):
    return nn.read(KEY, nn.program(KEY, analog)[0])


def linear(inputs=16, outputs=8, seed=0):
    return nnx.Linear(inputs, outputs, rngs=nnx.Rngs(seed))


class Outer(nnx.Module):
    def __init__(self, part):
        self.part = part

    def __call__(self, x):
        return self.part(x)


# ------------------------------------------------------------------ what the chip holds is what the slot receives


def weight_norm(layer, factor=3.0, **options):
    norm = nnx.WeightNorm(layer, rngs=nnx.Rngs(1), **options)
    for path, scale in (norm.scales or {}).items():
        norm.scales[path] = jax.tree.map(lambda a: factor * a, scale)
    return norm


def masked():
    return nnx.Conv(4, 8, (2, 2), mask=jnp.abs(normal(2, 2, 4, 8)).round(), **FAST)


def tied():
    model = nnx.Sequential(linear(16, 16), linear(16, 16, 1))
    model.layers[1].kernel = model.layers[0].kernel
    return model


def frozen():
    model = linear()
    model.kernel = nnx.BatchStat(model.kernel[...])
    return model


KERNELS = {
    "weight norm": (lambda: Outer(weight_norm(linear())), X),
    "weight norm, whole kernel": (lambda: weight_norm(linear(), feature_axes=None, use_scale=False), X),
    "spectral norm": (lambda: nnx.SpectralNorm(linear(), rngs=nnx.Rngs(1)), X),
    "norm of a norm": (lambda: nnx.SpectralNorm(weight_norm(linear()), rngs=nnx.Rngs(1)), X),
    "weight norm of a stack": (lambda: weight_norm(nnx.Sequential(linear(16, 16), linear(16, 16))), X),
    "mask": (masked, X.reshape(1, 4, 4, 4)),
    "tied": (tied, X),
    "not a parameter": (frozen, X),
}


@pytest.mark.parametrize("name", KERNELS)
def test_a_chip_holds_the_kernel_that_the_layer_multiplies_with(name):
    build, x = KERNELS[name]
    model = build()
    model.eval()
    analog = quiet(model)
    assert [op.calls for op in nn.convert.ops(quiet(model, example=x))] == [1] * len(list(nn.convert.ops(analog)))
    chip = programmed(analog)  # before any call, which would rescale the kernels in place
    np.testing.assert_allclose(chip(x), model(x), rtol=1e-4, atol=1e-5)


def test_training_goes_through_the_norm():
    graph, params, rest = nnx.split(quiet(weight_norm(linear())), nnx.Param, ...)
    digital = nnx.split(weight_norm(linear()), nnx.Param, ...)

    def slope(graph, params, rest):
        return jax.grad(lambda p: jnp.sum(jnp.sin(nnx.merge(graph, p, rest, copy=True)(X))))(params)

    found, wanted = slope(graph, params, rest), slope(*digital)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), found, wanted)


# ------------------------------------------------------------------------------- refused, unless an example settles it


class Relu(nnx.Linear):
    def __call__(self, x):
        return nnx.relu(super().__call__(x))


class Doubled(nnx.Linear):
    def __call__(self, x):
        return self.dot_general(x, 2 * self.kernel[...], (((1,), (0,)), ((), ())))


class PastTheSlot(nnx.Linear):
    def __call__(self, x):
        return x @ self.kernel[...]


class Scaling(Outer):
    def __call__(self, x):
        self.part.kernel[...] = 0.5 * self.part.kernel[...]
        return self.part(x)


class Decoder(Outer):
    def __call__(self, x):
        return self.part(x) @ self.part.kernel[...].T


class Rewriting(Outer):
    def __call__(self, x):
        state = nnx.state(self.part, nnx.Param)
        nnx.update(self.part, jax.tree.map(lambda a: 2 * a, state))
        return self.part(x)


class Energy(Outer):
    def __call__(self, x):
        return jax.grad(lambda x: jnp.sum(jnp.tanh(self.part(x) - self.part.kernel[...][0])))(x)


class Penalised(Outer):
    def penalty(self):
        return jnp.sum(self.part.kernel[...] ** 2)


class Twice(Outer):
    def __init__(self, part):
        super().__init__(part)
        self.normed = nnx.WeightNorm(part, rngs=nnx.Rngs(1))

    def __call__(self, x):
        return self.part(x) + self.normed(x)


class Loose(Outer):
    """Added, broadcast, looked up, a query of its own; ``mix`` only where it is multiplied with."""

    def __init__(self, part, multiply=False):
        super().__init__(part)
        rngs = nnx.Rngs(3)
        self.position = nnx.Param(rngs.normal((4, 16)))
        self.tables = nnx.List([nnx.Param(rngs.normal((5, 16)))])
        self.query = nnx.Param(rngs.normal((3, 16)))
        self.multiply = multiply

    def __call__(self, x):
        index = (x[:, 0] > 0).astype(jnp.int32)
        y = jnp.concatenate(
            [self.part(x + self.position[...] + self.tables[0][...][index]), self.part(self.query[...])]
        )
        return jnp.tanh(self.query[...]) @ x.T if self.multiply else y


OPEN = {
    "own call": (lambda: Outer(Relu(16, 8, rngs=nnx.Rngs(0))), r"part \(Relu\).*Relu.__call__", None),
    "scaled": (lambda: Outer(Doubled(16, 8, rngs=nnx.Rngs(0))), r"part \(Doubled\)", "another kernel.*100 %"),
    "past the slot": (lambda: PastTheSlot(16, 8, rngs=nnx.Rngs(0)), "PastTheSlot", "multiplied with .*kernel"),
    "scaled by a parent": (lambda: Scaling(linear()), r"part \(Linear\).*Scaling.__call__", "another kernel.*50 %"),
    "transposed by a parent": (lambda: Decoder(linear()), "Decoder.__call__", "multiplied with .*kernel"),
    "rewritten": (lambda: Rewriting(linear()), "Rewriting.__call__", "another kernel.*100 %"),
    "a derivative": (lambda: Energy(linear()), "Energy", "derivative"),
    "a penalty": (lambda: Penalised(linear()), "Penalised.penalty", None),
    "with and without a norm": (lambda: Twice(linear()), "past them", "another kernel"),
    "added parameters": (lambda: Loose(linear()), r"tables \(List\).*tables.0", None),
    "a multiplied parameter": (lambda: Loose(linear(), True), "itself", "Loose.*multiplied with query"),
    "low rank": (
        lambda: Outer(nnx.LoRALinear(16, 8, lora_rank=2, rngs=nnx.Rngs(0))),
        "lora_a",
        r"lora_a, part.lora.lora_b",
    ),
}


@pytest.mark.parametrize("name", OPEN)
def test_what_code_leaves_open_an_example_settles(name):
    build, why, verdict = OPEN[name]
    with pytest.raises(ValueError, match=f"{why}.*example=.*rule"):
        quiet(build())
    if verdict is None:
        analog = quiet(build(), example=X)
        np.testing.assert_allclose(programmed(analog)(X), build()(X), rtol=1e-4, atol=1e-5)
    else:
        with pytest.raises(ValueError, match=f"{verdict}.*rule"):
            quiet(build(), example=jax.ShapeDtypeStruct(X.shape, X.dtype))


# ------------------------------------------------------------------------------------------- refused whatever calls it


def stacked(layer):
    one = layer.embedding if isinstance(layer, nnx.Embed) else layer.kernel
    one.set_value(jnp.stack([one[...]] * 3))
    return Outer(layer)


def vmapped():
    make = nnx.split_rngs(splits=3)(nnx.vmap(lambda r: nnx.Linear(16, 8, rngs=r), in_axes=(0,), out_axes=0))
    return Outer(make(nnx.Rngs(0)))


@pytest.mark.parametrize(
    ("build", "why"),
    [
        (vmapped, r"part \(Linear\).*\(3, 16, 8\).*one by one"),
        (lambda: stacked(nnx.Conv(4, 5, (3,), **FAST)), r"\(3, 3, 4, 5\)"),
        (lambda: stacked(nnx.ConvTranspose(4, 5, (3,), **FAST)), r"\(3, 3, 4, 5\)"),
        (lambda: stacked(nnx.LinearGeneral((2, 8), 3, axis=(-2, -1), **FAST)), r"\(3, 2, 8, 3\)"),
        (lambda: stacked(nnx.Einsum("ab,bc->ac", (16, 8), **FAST)), r"\(3, 16, 8\)"),
        (lambda: stacked(nnx.Embed(16, 8, rngs=nnx.Rngs(0))), r"\(3, 16, 8\)"),
        (lambda: Outer(nnx.Linear(16, 8, dot_general=lambda *a, **k: 0, rngs=nnx.Rngs(0))), "dot_general is not Flax"),
        (lambda: Outer(type("Mine", (nnx.Embed,), {})(16, 8, rngs=nnx.Rngs(0))), "part.*made from nnx.Embed"),
        (lambda: Outer(linen_inside()), r"part \(ToNNX\).*kernel"),
    ],
)
def test_layers_that_cannot_be_converted_are_named(build, why):
    embed = [("part", IDEAL)] if isinstance(build().part, nnx.Embed) else []
    with pytest.raises(ValueError, match=why):
        quiet(build(), embed)
    quiet(build(), [(r"part.*", None)])


def linen_inside():
    return nnx.bridge.ToNNX(linen.Dense(3), rngs=nnx.Rngs(0)).lazy_init(X)


@pytest.mark.parametrize(
    ("model", "todo"),
    [
        (linen.Dense(3), r"a Dense: build.*flax\.nnx.*interop\.linen"),
        (type("Net", (object,), {"__module__": "equinox._module"})(), r"a Net: build.*interop\.equinox"),
        (type("Net", (object,), {"__module__": "torch.nn.modules.module"})(), r"interop\.torch\.load"),
        (nnx.Linear, "class Linear, not a model"),
        (lambda x: x, "a function"),
    ],
)
def test_other_kinds_of_models_are_refused_with_what_to_do(model, todo):
    with pytest.raises(TypeError, match=todo):
        quiet(model)


def test_converting_nothing_is_an_error():
    for model in (nnx.BatchNorm(3, rngs=nnx.Rngs(0)), Outer(nnx.Embed(9, 4, rngs=nnx.Rngs(0)))):
        with pytest.raises(ValueError, match="nothing to convert"):
            quiet(model)
    assert not list(nn.convert.ops(quiet(linear(), tile=None)))  # by choice


def test_an_embedding_on_tiles_does_not_attend():
    embed, tokens = nnx.Embed(16, 8, rngs=nnx.Rngs(0)), jnp.asarray([[0, 3, 15, -1, -16, 16, -17]])
    analog = quiet(embed, [(nnx.Embed, IDEAL)])
    np.testing.assert_allclose(programmed(analog)(tokens), embed(tokens), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="integers"):
        analog(X)
    with pytest.raises(ValueError, match="compute the outputs with"):
        programmed(analog).attend(X[:, :8])
    np.testing.assert_array_equal(nn.digital(analog).attend(X[:, :8]), embed.attend(X[:, :8]))


# -------------------------------------------------------------------------------------------- paths, calls, accounts


class Shared(nnx.Module):
    def __init__(self):
        self.decoder = self.encoder = linear(16, 16)
        self.cell = nnx.RNN(nnx.SimpleCell(16, 16, rngs=nnx.Rngs(0)), rngs=nnx.Rngs(0))
        self.heads = nnx.data({"last": linear(16, 16), "unused": linear(16, 16)})
        self.position = nnx.Param(jnp.ones((1, 16)))
        self.gate = nnx.Param(jnp.ones(16))

    def __call__(self, x, steps, deep=True):
        x = self.decoder(self.encoder(x + self.position[...]))
        x = nnx.vmap(lambda layer, x: layer(x), in_axes=(None, 0))(self.encoder, x) if deep else x
        y = self.cell(jnp.broadcast_to(x[:, None], (4, 5, 16)))[:, -1]
        y = jax.lax.cond(steps > 3, lambda y: self.heads["last"](self.heads["last"](y)), self.heads["last"], y)
        return jax.checkpoint(self.encoder)(y) * (x @ self.gate[...])[:, None]


@pytest.mark.parametrize("name", ["encoder", "decoder", "(en|de)coder"])
def test_a_rule_matches_any_path_of_a_shared_layer(name):
    analog = quiet(Shared(), [(name, cx.replace(IDEAL, rows=2))])
    assert [r["tiles"] for r in nn.account(analog) if r["path"] == "decoder"] == [16]
    with pytest.raises(ValueError, match=r"layers are .*decoder, encoder"):
        quiet(Shared(), [("coder", None)])


def test_an_example_counts_the_calls():
    example = X, jnp.asarray(2), True
    with pytest.raises(ValueError, match=r"the model \(Shared\).*multiplied with gate .*rule \(''"):
        quiet(Shared(), example=example)
    analog = quiet(Shared(), [("", None)], example=example)
    calls = {r["path"]: r["calls"] for r in nn.account(analog)}
    assert calls == {
        "": None, "cell.cell.dense_h": 5, "cell.cell.dense_i": 5, "decoder": 4, "heads.last": 2, "heads.unused": 0,
    }  # fmt: skip
    assert "calls" in nn.summary(analog) and "calls" not in nn.summary(quiet(Shared()))


# ------------------------------------------------------------------------------------------- transposed convolutions


TRANSPOSED = [
    ({"kernel_size": (3, 3), "strides": (2, 2)}, (2, 5, 4, 3)),
    ({"kernel_size": (3, 2), "strides": (1, 3), "padding": "VALID", "use_bias": False}, (2, 5, 4, 3)),
    ({"kernel_size": (2, 3), "strides": 3, "kernel_dilation": (1, 2), "transpose_kernel": True}, (2, 5, 4, 3)),
    ({"kernel_size": (3, 3), "strides": 2, "padding": "VALID", "kernel_dilation": 2}, (5, 4, 3)),
    ({"kernel_size": (3, 4), "strides": (2, 1), "padding": "CIRCULAR"}, (2, 5, 4, 3)),
    ({"kernel_size": (4, 3), "strides": (2, 1), "padding": "CIRCULAR", "transpose_kernel": True}, (2, 5, 4, 3)),
    ({"kernel_size": (7, 2), "strides": (1, 3), "padding": "CIRCULAR", "kernel_dilation": 2}, (2, 3, 4, 3)),
    ({"kernel_size": (3, 3), "strides": 2, "padding": ((0, 2), (3, -1))}, (2, 2, 5, 4, 3)),
    ({"kernel_size": 4, "strides": 2, "padding": 1}, (2, 5, 3)),
]


@pytest.mark.parametrize(("options", "shape"), TRANSPOSED)
def test_a_transposed_convolution_is_flax_own(options, shape):
    layer, x = nnx.ConvTranspose(3, 4, **options, **FAST), normal(*shape)
    np.testing.assert_allclose(nn.digital(quiet(layer))(x), layer(x), rtol=1e-5, atol=1e-5)


def test_a_transposed_convolution_on_tiles():
    mask = jnp.abs(normal(2, 2, 8, 4)).round()
    layer = nnx.ConvTranspose(4, 8, (2, 2), 2, padding="CIRCULAR", transpose_kernel=True, mask=mask, **FAST)
    x = X.reshape(1, 4, 4, 4)
    chip = programmed(quiet(layer, example=x))  # in one convolution
    np.testing.assert_allclose(chip(x), layer(x), rtol=1e-4, atol=1e-5)

    def slope(model):
        graph, params, rest = nnx.split(model, nnx.Param, ...)
        return jax.grad(lambda p: jnp.sum(jnp.sin(nnx.merge(graph, p, rest)(x))))(params)

    patches = quiet(layer, tile=cx.replace(IDEAL, rows=7))  # patch by patch
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), slope(patches), slope(layer))


def test_a_convolution_dilates_its_input():
    layer = nnx.Conv(3, 4, (3,), padding=2, input_dilation=2, strides=3, **FAST)
    x = normal(2, 5, 3)
    for rows in (64, 7):
        np.testing.assert_allclose(quiet(layer, tile=cx.replace(IDEAL, rows=rows))(x), layer(x), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="'SAME' has no meaning"):
        quiet(nnx.Conv(3, 4, (3,), input_dilation=2, rngs=nnx.Rngs(0)))(x)
