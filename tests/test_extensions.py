"""Everything that is made of parts takes one of your own, made of public names only: a few lines each."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from own import injection, learning_rule, match_cell  # docs/own: what the documentation shows, run as it is
from own.cell import Offset
from own.converter import DeadZone
from own.device_law import Collapse
from own.hardware import Mesh
from own.layer import Gate
from own.method import Halving
from own.readout import Exactly, Mirrored, RootMeanSquare
from own.write_law import Bounded

import crossjax as cx
from crossjax import devices

pytestmark = pytest.mark.slow

KEY = jax.random.key(0)
W = jax.random.normal(jax.random.key(1), (12, 6)) / 3
X = jax.random.normal(jax.random.key(2), (32, 12)) / 3


def test_a_spec_of_your_own_checks_itself():
    @cx.spec
    class Part:
        gain: float = 1.0
        modes: tuple[str, ...] = cx.static(default=("a",))

        def __post_init__(self):
            cx.check_range(self, "gain", low=0)
            if self.modes == ():
                object.__setattr__(self, "modes", ["none"])

    @cx.spec
    class More(Part):
        order: int = cx.static(default=1)

        def __post_init__(self):
            super().__post_init__()
            cx.check_count(self, "order")

    @cx.spec
    class Heir(Part):
        rest: float = 0.0

    assert Part(modes=()).modes == ("none",) and Heir(2).gain == 2.0
    assert jax.tree.leaves(More(2, order=3)) == [2.0] and jax.tree.leaves(Heir(rest=3)) == [1.0, 3.0]
    for make in (Part, More, Heir):
        with pytest.raises(ValueError, match=rf"{make.__name__}\.gain must be ≥ 0"):
            make(gain=-1.0)
    with pytest.raises(ValueError, match=r"More\.order"):
        More(order=0)


# ------------------------------------------------------------------------------------------------ devices


def test_a_device_law():
    tile = cx.Tile(16, 16, cx.Device(drift=Collapse(1e-3)), compensation=None)
    chip, _ = cx.program(KEY, tile, W, cx.Exact())
    held = [jnp.abs(cx.weights_at(KEY, tile, chip, t=t)).max() for t in (0.0, 1e3, 1e6)]
    top = jnp.abs(W).max()
    assert jnp.allclose(held[0], top) and held[1] < 0.7 * top and jnp.allclose(held[2], 0.2 * top, rtol=1e-4)

    def error(rate):
        drifting = cx.replace(tile, **{"device.drift.rate": rate})
        return cx.mvm_error(KEY, drifting, cx.program(KEY, drifting, W, cx.Exact())[0], W, X, t=300.0)

    assert jax.grad(error)(1e-3) > 0


def test_a_write_law():
    tile = cx.Tile(16, 16, cx.Device(write=Bounded(), programming=devices.ByPulses()), compensation=None)
    chip, pulses = cx.build(KEY, tile, (12, 6)), 0
    for n in range(3):
        chip, sent = cx.write(cx.keys.numbered(KEY, n), tile, chip, jnp.full((12, 6), 0.01))
        pulses += int(sent)
    assert pulses == 3 * 72
    assert jnp.allclose(cx.weights_at(KEY, tile, chip), 1 - 0.95**3, atol=1e-6)


# -------------------------------------------------------------------------------------- cells and circuits


def test_a_cell():
    tile = cx.Tile(16, 16, cell=Offset())
    chip, _ = cx.program(KEY, tile, W)
    assert cx.mvm_error(KEY, tile, chip, W, X) < 1e-5
    chip, _ = cx.write(KEY, tile, chip, -0.01 * jnp.sign(W), where=jnp.arange(6) < 3)
    wanted = jnp.where(jnp.arange(6) < 3, W - 0.01 * jnp.sign(W), W)
    assert jnp.allclose(cx.weights_at(KEY, tile, chip), wanted, atol=1e-5)


def test_a_converter_effect():
    tile = cx.Tile(16, 16, adc=DeadZone(bits=10, range=2.0, zone=0.5), compensation=None)
    chip, _ = cx.program(KEY, tile, W, cx.Exact())
    small = 0.1 * X
    y, full = cx.mvm(KEY, tile, chip, small), cx.mvm(KEY, tile, chip, 10 * X)
    assert jnp.mean(y == 0) > 0.8 and jnp.mean(full == 0) < 0.2
    with pytest.raises(ValueError, match="ADC DeadZone, the tile ADC ADC"):
        cx.mvm(KEY, cx.replace(tile, adc=cx.ADC()), chip, X)
    _, history = cx.program(KEY, tile, W, cx.GDP(iterations=3, batch=16))
    assert jnp.isfinite(history.mvm_error).all()


def test_a_subtraction():
    tile = cx.Tile(16, 16, subtract=Mirrored(0.05), compensation=None)
    chip, _ = cx.program(KEY, tile, W, cx.Exact())
    wanted = jnp.maximum(W, 0) - 1.05 * jnp.maximum(-W, 0)
    assert jnp.allclose(cx.mvm(KEY, tile, chip, X), X @ wanted, atol=1e-5)
    assert jnp.allclose(cx.weights_at(KEY, tile, chip), wanted, atol=1e-5)
    plain = nnx.Linear(12, 6, use_bias=False, rngs=nnx.Rngs(0))
    seen = jnp.maximum(plain.kernel[...], 0) - 1.05 * jnp.maximum(-plain.kernel[...], 0)
    assert jnp.allclose(cx.nn.to_analog(plain, tile)(X), X @ seen, atol=1e-5)  # training sees it as well
    with pytest.raises(ValueError, match="analog subtraction, the tile mirrored"):
        cx.mvm(KEY, tile, cx.program(KEY, cx.Tile(16, 16, compensation=None), W)[0], X)


def test_an_input_scaling_and_what_saturation_does():
    dac, adc = cx.DAC(None, scaling=RootMeanSquare(10.0)), cx.ADC(None, range=0.05, on_saturation=Exactly())
    tile = cx.Tile(16, 16, dac=dac, adc=adc, compensation=None)
    chip, _ = cx.program(KEY, tile, W, cx.Exact())
    for size in (1.0, 1e3):  # no size is too large for them, and none is rounded here
        assert jnp.allclose(cx.mvm(KEY, tile, chip, size * X), size * X @ W, rtol=1e-4, atol=1e-4 * size)
    clipped = cx.replace(tile, **{"adc.on_saturation": "clip"})
    assert jnp.abs(cx.mvm(KEY, clipped, chip, X) - X @ W).max() > 0.1
    assert not jnp.any(cx.mvm(KEY, tile, chip, jnp.zeros_like(X)))


# --------------------------------------------------------------------------------------- programming methods


def test_a_programming_method():
    tile = cx.Tile(16, 16, compensation=None)
    chip, history = cx.program(KEY, tile, W, Halving())
    assert jnp.allclose(history.mvm_error, 0.5 ** jnp.arange(1, 6), rtol=0.02)
    assert cx.mvm_error(KEY, tile, chip, W, X) == pytest.approx(1 / 32, rel=0.1)


# -------------------------------------------------------------------------------------------------- networks


def test_a_layer_type():
    model = nnx.Sequential(Gate(12, rngs=nnx.Rngs(0)), nnx.Linear(12, 6, rngs=nnx.Rngs(1)))
    with pytest.raises(ValueError, match=r"holds layers\.0\.table itself"):
        cx.nn.to_analog(model, cx.Tile(), report=None)
    cx.nn.register(Gate, "product", kernel="table")
    analog = cx.nn.to_analog(model, cx.Tile(16, 16, compensation=None), report=None, example=X)
    assert [row["calls"] for row in cx.nn.account(analog)] == [1, 1]
    assert jnp.allclose(analog(X), model(X), atol=1e-5)
    chip, histories = cx.nn.program(KEY, cx.nn.to_analog(model, cx.presets.pcm(), report=None), report=None)
    now = cx.nn.read(KEY, chip, t=86_400.0)
    assert set(histories) == {"layers.0", "layers.1"}
    assert 0.01 < jnp.linalg.norm(now(X) - model(X)) / jnp.linalg.norm(model(X)) < 0.5
    with pytest.raises(ValueError, match="registered with product, which it does not have"):
        bare = Gate(3, rngs=nnx.Rngs(0))
        del bare.product
        cx.nn.to_analog(bare, cx.Tile(), report=None)
    with pytest.raises(TypeError, match=r"takes a type of nnx\.Module"):
        cx.nn.register(model, "product")


def test_hardware_that_is_no_tile():
    model = nnx.Sequential(
        nnx.Conv(1, 4, (2, 2), feature_group_count=1, rngs=nnx.Rngs(0)), nnx.Conv(4, 4, (2, 2), feature_group_count=2,
        rngs=nnx.Rngs(1)), lambda x: x.reshape(x.shape[0], -1), nnx.Linear(16, 3, rngs=nnx.Rngs(2)),
    )  # fmt: skip
    x = jax.random.normal(KEY, (8, 2, 2, 1))
    analog = cx.nn.to_analog(model, Mesh(), [(r"layers\.3", cx.presets.pcm())], report=None)
    assert {r["tiles"] for r in cx.nn.account(analog)} == {1, 2}
    tuned = cx.nn.calibrate(analog, x)
    tuned.eval()
    chip, _ = cx.nn.program(KEY, tuned, report=None)
    error = [jnp.linalg.norm(cx.nn.read(KEY, chip, t)(x) - model(x)) / jnp.linalg.norm(model(x)) for t in (0.0, 1e3)]
    assert 0.005 < error[0] < 0.3 < error[1]
    found = cx.nn.evaluate(KEY, tuned, lambda net: jnp.mean((net(x) - model(x)) ** 2), chips=2, times=[0.0, 1e3])
    assert found.shape == (2, 2) and (found[:, 1] > 2 * found[:, 0]).all()
    with pytest.raises(ValueError, match="Mesh has no straight-through gradient"):
        nnx.grad(lambda net: jnp.sum(net(x)))(cx.nn.read(KEY, chip, straight_through=True))
    with pytest.raises(ValueError, match="would be 0"):
        nnx.grad(lambda net: jnp.sum(net(x)))(cx.nn.read(KEY, chip))

    @cx.spec
    class Unfinished(cx.nn.Hardware):
        bits: int = cx.static(default=6)

    with pytest.raises(TypeError, match="abstract"):
        Unfinished()
    with pytest.raises(TypeError, match=r"tile must be a Tile, other hardware \(a crossjax.spec\) or None"):
        cx.nn.to_analog(model, Mesh, report=None)


# ------------------------------------------------------------------------------- learning, training, searching


def test_an_in_situ_learning_rule():
    """Pulsed stochastic gradient descent on one tile, for three devices at once: it learns a linear map."""
    last = learning_rule.loss[:, -20:].mean(axis=1)
    assert learning_rule.chips.cells.g.shape[0] == 3 and (learning_rule.pulses > 0).all()
    assert (learning_rule.loss[:, 0] > 0.8).all() and (last < 0.15).all() and last[0] < last[1] < last[2]


def test_an_injection():
    flips = injection.SignFlips(0.25)
    w = jnp.ones((1, 1, 64, 64))
    assert jnp.mean(flips.disturb(KEY, cx.Tile(), w, None) == -1) == pytest.approx(0.25, abs=0.03)
    assert cx.nn.accuracy(injection.trained, jnp.asarray(injection.x), jnp.asarray(injection.y)) > 0.8


def test_a_cell_that_is_searched():
    found = cx.cam.search(KEY, match_cell.memory, match_cell.chip, match_cell.stored)
    assert (found == jnp.arange(10)).all()
    with pytest.raises(ValueError, match=r"Saturating\.scale"):
        match_cell.Saturating(scale=0.0)
